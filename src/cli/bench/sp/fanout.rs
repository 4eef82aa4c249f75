//! One PUB, many SUBs: as fast as they all have it, and, if that is asked for, at a rate, whatever becomes of it; in turn with a
//! hub without a broker.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use restante_proto::sp::Role;

use super::super::pace::Pace;
use super::super::pool::{Meter, Pool, Times};
use super::super::process::Process;
use super::Sp;
use super::door::{Door, Place};
use super::nng::Nng;
use super::peer::{Peer, stamp, template, time_of};
use super::push::{Task, connect};
use super::row::{Round, Row};

/// Every so many subscribers times what it gets.
const TIMED: usize = 10;
/// How long all SUBs have for the first message, and how often that is tried.
const FOUND_WITHIN: Duration = Duration::from_millis(250);
const TRIES: u64 = 40;
/// How finely a rate is followed.
const TICK: Duration = Duration::from_millis(1);

/// A hub to be measured.
struct Hub {
    publish: Place,
    subscribe: Place,
    process: Option<Process>,
}

/// How a PUB goes.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// With so many messages under way.
    Window(u64),
    /// So many a second.
    Rate(u32),
}

/// Rounds of each side.
///
/// # Errors
/// A client that ended.
pub(super) async fn measure(door: &Door, pool: &Pool, args: &Sp) -> anyhow::Result<Vec<Row>> {
    let mut rows = compare(door, pool, args, Load::Window(u64::from(args.burst))).await?;
    if let Some(rate) = args.rate {
        rows.extend(compare(door, pool, args, Load::Rate(rate)).await?);
    }
    Ok(rows)
}

async fn compare(door: &Door, pool: &Pool, args: &Sp, load: Load) -> anyhow::Result<Vec<Row>> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..args.rounds {
        let address = format!("bench/{}/fanout/{number}", std::process::id());
        let broker = Hub {
            publish: door.place(&address, ""),
            subscribe: door.place(&address, ""),
            process: door.process,
        };
        ours.push(round(&broker, pool, args, load).await?);
        if let Some(program) = &args.nng {
            let (running, publish, subscribe) = Nng::new(program).hub().await?;
            let hub = Hub {
                publish,
                subscribe,
                process: Some(Process::new(running.id())),
            };
            theirs.push(round(&hub, pool, args, load).await?);
        } else if let Some((publish, subscribe)) = &door.peer {
            let hub = Hub {
                publish: publish.clone(),
                subscribe: subscribe.clone(),
                process: None,
            };
            theirs.push(round(&hub, pool, args, load).await?);
        }
    }
    let row = |by, rounds: &[Round]| {
        let scenario = match load {
            Load::Window(_) => "fanout",
            Load::Rate(_) => "fanout, at a rate",
        };
        let mut row = Row::new(scenario, by, args.size, rounds);
        (row.senders, row.takers) = (Some(1), Some(args.subscribers));
        match load {
            Load::Window(_) => row.window = Some(args.burst),
            Load::Rate(rate) => row.sent_per_second = Some(rate),
        }
        row
    };
    if theirs.is_empty() {
        return Ok(vec![row("sp", &ours)]);
    }
    let by = if args.nng.is_some() {
        "nng hub"
    } else {
        "peer"
    };
    Ok(vec![
        row("sp", &ours).by_rate(&ours, &theirs),
        row(by, &theirs),
    ])
}

async fn round(hub: &Hub, pool: &Pool, args: &Sp, load: Load) -> anyhow::Result<Round> {
    let meter = Meter::new();
    let pace = Pace::new();
    let mut taking: Vec<Task> = Vec::new();
    for number in 0..args.subscribers as usize {
        let peer = connect(pool, number, &hub.subscribe, Role::Sub).await?;
        let shared = (Arc::clone(&meter), Arc::clone(&pace));
        let timed = number.is_multiple_of(TIMED);
        taking.push(pool.spawn(number, take(peer, shared, timed)));
    }
    let peer = connect(pool, 0, &hub.publish, Role::Pub).await?;
    let mut sender = Sender {
        peer,
        frame: template(args.size)?,
        size: args.size,
        n_subscribers: u64::from(args.subscribers),
        meter: Arc::clone(&meter),
        pace: Arc::clone(&pace),
    };
    let publishing = pool.spawn(0, async move {
        let found = sender.find_all().await?;
        match load {
            Load::Window(window) => sender.keep(window, found).await,
            Load::Rate(rate) => sender.keep_on(rate, found).await,
        }
    });
    let counted = meter.count(args.warm_up, args.seconds, hub.process).await?;
    meter.stop();
    let missing = publishing.await??;
    pace.end();
    for task in taking {
        task.await??;
    }
    Ok(Round::counted(&counted, &meter.latency(), missing))
}

struct Sender {
    peer: Peer,
    frame: Vec<u8>,
    size: u32,
    n_subscribers: u64,
    meter: Arc<Meter>,
    pace: Arc<Pace>,
}

impl Sender {
    async fn publish(&mut self, n: u64) -> anyhow::Result<()> {
        stamp(&mut self.frame, self.size, self.meter.nanos());
        for _ in 0..n {
            self.peer.put(&self.frame);
        }
        self.peer.flush().await?;
        self.meter.published.fetch_add(n, Ordering::Relaxed);
        Ok(())
    }

    /// Publishes until all SUBs get it, for who has been let in may not be known as one yet; how many messages that took, and how
    /// many deliveries were lost.
    async fn find_all(&mut self) -> anyhow::Result<(u64, u64)> {
        for n_sent in 1..=TRIES {
            let there = self.meter.delivered.load(Ordering::Relaxed);
            self.publish(1).await?;
            let all = self.pace.reaches(&self.meter, there + self.n_subscribers);
            if tokio::time::timeout(FOUND_WITHIN, all).await == Ok(true) {
                let there = self.meter.delivered.load(Ordering::Relaxed);
                return Ok((n_sent, n_sent * self.n_subscribers - there));
            }
        }
        anyhow::bail!("not all SUBs hear what is published");
    }

    /// Publishes until it is told to stop, never more than `window` ahead of all; how many deliveries were lost meanwhile.
    async fn keep(mut self, window: u64, found: (u64, u64)) -> anyhow::Result<u64> {
        let stop = self.meter.stopped();
        let (mut n_sent, mut n_lost) = found;
        loop {
            let stopped = *stop.borrow();
            let there = self.meter.delivered.load(Ordering::Relaxed) + n_lost;
            let n = match stopped {
                true => 0,
                false => window.saturating_sub(n_sent - there / self.n_subscribers),
            };
            self.publish(n).await?;
            n_sent += n;
            let all = n_sent * self.n_subscribers;
            // Half of the window at least, so that a write has many of them.
            let under_way = if stopped { 0 } else { window / 2 };
            let wanted = all.saturating_sub(under_way * self.n_subscribers);
            let wanted = wanted.saturating_sub(n_lost);
            if !self.pace.reaches(&self.meter, wanted).await {
                n_lost = all - self.meter.delivered.load(Ordering::Relaxed);
            }
            if stopped {
                return Ok(n_lost - found.1);
            }
        }
    }

    /// Publishes what is due, until it is told to stop; how many deliveries were lost meanwhile.
    async fn keep_on(mut self, rate: u32, (n_before, n_lost): (u64, u64)) -> anyhow::Result<u64> {
        let stop = self.meter.stopped();
        let begun = self.meter.nanos();
        let mut n_sent = 0;
        while !*stop.borrow() {
            let since = u128::from(self.meter.nanos() - begun);
            let due = (since * u128::from(rate) / 1_000_000_000) as u64;
            self.publish(due.saturating_sub(n_sent)).await?;
            n_sent = n_sent.max(due);
            tokio::time::sleep(TICK).await;
        }
        let all = (n_before + n_sent) * self.n_subscribers - n_lost;
        // What does not come in time is missing.
        let is_there = self.pace.reaches(&self.meter, all).await;
        let there = self.meter.delivered.load(Ordering::Relaxed);
        Ok(if is_there { 0 } else { all - there })
    }
}

async fn take(
    mut peer: Peer,
    (meter, pace): (Arc<Meter>, Arc<Pace>),
    timed: bool,
) -> anyhow::Result<()> {
    let mut over = pace.ended();
    let mut times = timed.then(Times::new);
    loop {
        tokio::select! {
            heard = peer.hear() => heard?,
            _ = over.wait_for(|over| *over) => break,
        }
        let counting = meter.is_counting();
        let now = meter.nanos();
        let mut n = 0;
        while let Some(body) = peer.take()? {
            n += 1;
            if let Some(times) = times.as_mut().filter(|_| counting) {
                times.record(now.saturating_sub(time_of(body)));
            }
        }
        pace.came(&meter, n);
    }
    if let Some(times) = &times {
        meter.add(times);
    }
    Ok(())
}
