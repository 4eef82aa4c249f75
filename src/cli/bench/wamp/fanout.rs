//! One publisher, many subscribers of one topic: as fast as they all have it. What is not there after a while is lost, and not
//! waited for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use restante_proto::wamp::Message;

use super::super::pace::Pace;
use super::super::pool::{Meter, Pool, Times};
use super::super::row::Row;
use super::Wamp;
use super::door::Door;
use super::events;
use super::peer::{Offer, Peer};
use super::rpc::Task;
use super::template::{Template, time_of};

/// Every so many subscribers times what it gets.
const TIMED: usize = 50;

/// One publisher, many subscribers.
///
/// # Errors
/// A client that ended.
pub(super) async fn measure(door: &Door, pool: &Pool, args: &Wamp) -> anyhow::Result<Row> {
    let meter = Meter::new();
    let pace = Pace::new();
    let topic = format!("bench.{}.all", std::process::id());
    let mut subscribers: Vec<Task<()>> = Vec::new();
    for number in 0..args.subscribers as usize {
        let (entrance, topic) = (Arc::clone(&door.entrance), topic.clone());
        let peer = pool.spawn(number, async move {
            let mut peer = Peer::connect(&entrance).await?;
            peer.offer(Offer::Subscription, &[(topic, "exact")]).await?;
            anyhow::Ok(peer)
        });
        let peer = peer.await??;
        let (meter, pace) = (Arc::clone(&meter), Arc::clone(&pace));
        let timed = number.is_multiple_of(TIMED);
        subscribers.push(pool.spawn(number, take(peer, meter, pace, timed)));
    }
    let entrance = Arc::clone(&door.entrance);
    let template = Template::new(&entrance, args.size, events::publish(topic, false))?;
    let (n, window) = (u64::from(args.subscribers), u64::from(args.window));
    let shared = (Arc::clone(&meter), Arc::clone(&pace));
    let publisher = pool.spawn(0, async move {
        let peer = Peer::connect(&entrance).await?;
        publish(peer, template, n, window, shared).await
    });
    let counted = meter
        .count(args.warm_up, args.seconds, door.process)
        .await?;
    meter.stop();
    let n_lost = publisher.await??;
    pace.end();
    for subscriber in subscribers {
        subscriber.await??;
    }
    let mut row = Row::new("fanout", args.size).counted(&counted);
    row.publishers = Some(1);
    row.subscribers = Some(args.subscribers);
    row.window = Some(args.window);
    row.missing = Some(n_lost);
    row.times(&meter.latency());
    Ok(row)
}

/// Publishes until it is told to stop; how many deliveries were lost.
async fn publish(
    mut peer: Peer,
    mut template: Template,
    n_subscribers: u64,
    window: u64,
    (meter, pace): (Arc<Meter>, Arc<Pace>),
) -> anyhow::Result<u64> {
    let stop = meter.stopped();
    let (mut n_sent, mut n_lost) = (0, 0);
    loop {
        let stopped = *stop.borrow();
        let burst = if stopped {
            0
        } else {
            let there = meter.delivered.load(Ordering::Relaxed) + n_lost;
            window.saturating_sub(n_sent - there / n_subscribers)
        };
        for _ in 0..burst {
            peer.put(&mut template, meter.nanos());
            n_sent += 1;
        }
        peer.flush().await?;
        meter.published.fetch_add(burst, Ordering::Relaxed);
        let all = n_sent * n_subscribers;
        // Half of the window at least, so that a write has many of them.
        let under_way = if stopped { 0 } else { window / 2 };
        let wanted = all.saturating_sub(under_way * n_subscribers);
        if !pace.reaches(&meter, wanted.saturating_sub(n_lost)).await {
            n_lost = all - meter.delivered.load(Ordering::Relaxed);
        }
        if stopped {
            return Ok(n_lost);
        }
    }
}

async fn take(
    mut peer: Peer,
    meter: Arc<Meter>,
    pace: Arc<Pace>,
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
        while let Some(message) = peer.take()? {
            if let Message::Event { payload, .. } = message {
                n += 1;
                if let Some(times) = times.as_mut().filter(|_| counting) {
                    times.record(now.saturating_sub(time_of(&payload)));
                }
            }
        }
        pace.came(&meter, n);
    }
    if let Some(times) = &times {
        meter.add(times);
    }
    Ok(())
}
