//! Callers and callees: a callee gives back what it is given.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use restante_proto::wamp::{Dict, Message};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::pool::{Counted, Meter, Pool, Times, quiet};
use super::super::row::Row;
use super::Wamp;
use super::door::Door;
use super::pace::Pace;
use super::peer::{Offer, Pattern, Peer};
use super::template::{Template, time_of};

/// A task of a client.
pub(super) type Task<T> = JoinHandle<anyhow::Result<T>>;

/// Who calls, and whom.
pub(super) struct Calling {
    /// One callee each.
    pub(super) registered: Vec<Pattern>,
    /// One caller each.
    pub(super) called: Vec<String>,
}

/// All callers at once, each calling one callee.
///
/// # Errors
/// A client that ended.
pub(super) async fn measure(door: &Door, pool: &Pool, args: &Wamp) -> anyhow::Result<Row> {
    let run = std::process::id();
    let name = |number: u32| format!("bench.{run}.echo.{number}");
    let calling = Calling {
        registered: (0..args.callees).map(|it| (name(it), "exact")).collect(),
        called: (0..args.clients)
            .map(|it| name(it % args.callees))
            .collect(),
    };
    let mut row = run_calls(door, pool, args, "rpc", calling).await?;
    row.callers = Some(args.clients);
    row.callees = Some(args.callees);
    Ok(row)
}

/// Has them call for a while.
///
/// # Errors
/// A client that ended.
pub(super) async fn run_calls(
    door: &Door,
    pool: &Pool,
    args: &Wamp,
    scenario: &'static str,
    calling: Calling,
) -> anyhow::Result<Row> {
    let meter = Meter::new();
    let over = watch::Sender::new(false);
    let mut callees: Vec<Task<()>> = Vec::new();
    for (number, pattern) in calling.registered.into_iter().enumerate() {
        let entrance = Arc::clone(&door.entrance);
        let peer = pool.spawn(number, async move {
            let mut peer = Peer::connect(&entrance).await?;
            peer.offer(Offer::Registration, &[pattern]).await?;
            anyhow::Ok(peer)
        });
        let peer = peer.await??;
        callees.push(pool.spawn(number, answer(peer, over.subscribe())));
    }
    let mut callers: Vec<Task<u64>> = Vec::new();
    let (n_callers, rate) = (calling.called.len(), args.rate);
    for (number, procedure) in calling.called.into_iter().enumerate() {
        let entrance = Arc::clone(&door.entrance);
        let (shared, size, window) = (Arc::clone(&meter), args.size, u64::from(args.window));
        callers.push(pool.spawn(number, async move {
            let make = |request, payload| Message::Call {
                request,
                options: Dict::new(),
                procedure,
                payload,
            };
            let template = Template::new(&entrance, size, make)?;
            let peer = Peer::connect(&entrance).await?;
            let pace = Pace::new(rate, number, n_callers, shared.nanos());
            call(peer, template, (pace, window), shared).await
        }));
    }
    let counted = meter
        .count(args.warm_up, args.seconds, door.process)
        .await?;
    meter.stop();
    let mut n_missing = 0;
    for caller in callers {
        n_missing += caller.await??;
    }
    over.send_replace(true);
    for callee in callees {
        callee.await??;
    }
    Ok(row(scenario, args, &counted, &meter, n_missing))
}

fn row(
    scenario: &'static str,
    args: &Wamp,
    counted: &Counted,
    meter: &Meter,
    n_missing: u64,
) -> Row {
    let mut row = Row::new(scenario, args.size).called(counted);
    row.window = Some(args.window);
    row.missing = Some(n_missing);
    row.times(&meter.latency());
    row
}

/// Calls until it is told to stop; how many calls have no result.
async fn call(
    mut peer: Peer,
    mut template: Template,
    (mut pace, window): (Pace, u64),
    meter: Arc<Meter>,
) -> anyhow::Result<u64> {
    let mut stop = meter.stopped();
    let mut times = Times::new();
    let (mut n_called, mut n_returned) = (0, 0);
    loop {
        let stopped = *stop.borrow();
        if !stopped {
            while n_called - n_returned < window
                && let Some(time) = pace.next(meter.nanos())
            {
                peer.put(&mut template, time);
                n_called += 1;
            }
            peer.flush().await?;
        } else if n_called == n_returned {
            break;
        }
        let has_room = n_called - n_returned < window;
        if !has_room {
            pace.hold();
        }
        tokio::select! {
            heard = peer.hear() => heard?,
            () = pace.due(&meter), if has_room && !stopped => continue,
            () = quiet(&mut stop) => break,
        }
        let counting = meter.is_counting();
        let now = meter.nanos();
        let mut n = 0;
        while let Some(message) = peer.take()? {
            if let Message::Result { payload, .. } = message {
                n += 1;
                if counting {
                    times.record(now.saturating_sub(time_of(&payload)));
                }
            }
        }
        n_returned += n;
        meter.delivered.fetch_add(n, Ordering::Relaxed);
    }
    meter.add(&times);
    Ok(n_called - n_returned)
}

/// Gives back what it is given, until it is over.
async fn answer(mut peer: Peer, mut over: watch::Receiver<bool>) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            heard = peer.hear() => heard?,
            _ = over.wait_for(|over| *over) => return Ok(()),
        }
        while let Some(message) = peer.take()? {
            if let Message::Invocation {
                request, payload, ..
            } = message
            {
                peer.put_yield(request, payload)?;
            }
        }
        peer.flush().await?;
    }
}
