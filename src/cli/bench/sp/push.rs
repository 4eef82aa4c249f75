//! PUSH to PULL over a durable queue, in turn with MBWS, and with the log alone.

use std::sync::Arc;

use restante_proto::sp::Role;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::super::load::Load;
use super::super::pool::{Pool, Times};
use super::super::raw;
use super::door::{Door, Place};
use super::flow::Flow;
use super::peer::{Peer, stamp, template, time_of};
use super::row::{Round, Row};
use super::{Sp, mbws};

/// A task of a client.
pub(super) type Task = JoinHandle<anyhow::Result<()>>;

/// Messages that a sender writes at once.
pub(super) const BATCH: u32 = 64;

/// Rounds of each side.
///
/// # Errors
/// A client that ended.
pub(super) async fn measure(door: &Door, pool: &Pool, args: &Sp) -> anyhow::Result<Vec<Row>> {
    let (mut sp, mut mbws, mut log) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..args.rounds {
        let address = |side: &str| format!("bench/{}/{side}/{number}", std::process::id());
        let (ours, theirs) = (address("sp"), address("mbws"));
        // Whoever comes first finds another disk than who comes second.
        if number % 2 == 0 {
            sp.push(round(door, pool, args, &ours).await?);
            mbws.push(mbws::round(door, args, &theirs).await?);
        } else {
            mbws.push(mbws::round(door, args, &theirs).await?);
            sp.push(round(door, pool, args, &ours).await?);
        }
        if !args.no_raw {
            log.push(alone(door, args).await?);
        }
    }
    let row = |by, rounds: &[Round]| {
        let mut row = Row::new("push", by, args.size, rounds);
        (row.senders, row.takers) = (Some(args.senders), Some(args.takers));
        row.window = Some(args.window);
        row
    };
    let mut rows = vec![row("sp", &sp).by_rate(&sp, &mbws), row("mbws", &mbws)];
    if !log.is_empty() {
        let mut row = Row::new("push", "log alone", args.size, &log);
        row.senders = Some(args.senders);
        row.window = Some(args.window);
        rows.push(row);
    }
    Ok(rows)
}

async fn round(door: &Door, pool: &Pool, args: &Sp, address: &str) -> anyhow::Result<Round> {
    let flow = Flow::new(u64::from(args.window) * u64::from(args.senders));
    let query = args.credit.map(|it| format!("?credit={it}"));
    let place = door.place(address, query.as_deref().unwrap_or_default());
    let (senders, takers) = (args.senders as usize, args.takers as usize);
    let mut taking: Vec<Task> = Vec::new();
    for number in 0..takers {
        let peer = connect(pool, number, &place, Role::Pull).await?;
        taking.push(pool.spawn(number, take(peer, Arc::clone(&flow))));
    }
    let mut sending: Vec<Task> = Vec::new();
    let place = door.place(address, "");
    for number in 0..senders {
        let peer = connect(pool, number, &place, Role::Push).await?;
        let flow = Arc::clone(&flow);
        sending.push(pool.spawn(number, send(peer, args.size, args.window, flow)));
    }
    let counted = flow
        .meter
        .count(args.warm_up, args.seconds, door.process)
        .await?;
    flow.meter.stop();
    // They stay until all has come: who goes may take with it what the broker has not read.
    let missing = flow.end().await;
    for task in sending.into_iter().chain(taking) {
        task.await??;
    }
    Ok(Round::counted(&counted, &flow.meter.latency(), missing))
}

/// Connects on the thread of the client's tasks.
///
/// # Errors
/// It is not let in.
pub(super) async fn connect(
    pool: &Pool,
    number: usize,
    place: &Place,
    role: Role,
) -> anyhow::Result<Peer> {
    let place = place.clone();
    let connecting = async move { Peer::connect(&place, role).await };
    pool.spawn(number, connecting).await?
}

async fn send(mut peer: Peer, size: u32, window: u32, flow: Arc<Flow>) -> anyhow::Result<()> {
    let mut stop = flow.meter.stopped();
    let mut over = flow.ended();
    let mut frame = template(size)?;
    let batch = batch(window);
    while flow.take_room(u64::from(batch), &mut stop).await {
        stamp(&mut frame, size, flow.meter.nanos());
        for _ in 0..batch {
            peer.put(&frame);
        }
        peer.flush().await?;
    }
    until(&mut over).await;
    Ok(())
}

/// Messages that are sent at once where so many may be under way.
pub(super) fn batch(window: u32) -> u32 {
    (window / 4).clamp(1, BATCH)
}

/// Takes until it is over.
///
/// # Errors
/// The connection is gone.
pub(super) async fn take(mut peer: Peer, flow: Arc<Flow>) -> anyhow::Result<()> {
    let mut over = flow.ended();
    let mut times = Times::new();
    loop {
        tokio::select! {
            heard = peer.hear() => heard?,
            () = until(&mut over) => break,
        }
        let counting = flow.meter.is_counting();
        let now = flow.meter.nanos();
        let mut n = 0;
        while let Some(body) = peer.take()? {
            n += 1;
            if counting {
                times.record(now.saturating_sub(time_of(body)));
            }
        }
        flow.came(n);
    }
    flow.meter.add(&times);
    Ok(())
}

async fn until(over: &mut watch::Receiver<bool>) {
    // Whoever says so is there as long as the clients are.
    drop(over.wait_for(|over| *over).await);
}

/// What the log does without a broker: what is sent is durable, and nobody takes it.
async fn alone(door: &Door, args: &Sp) -> anyhow::Result<Round> {
    let load = Load {
        size: args.size,
        connections: args.senders,
        window: args.window,
        time: args.seconds,
    };
    let raw = raw::measure(door.target.folder(), load).await?;
    let rate = raw.records as f64 / raw.seconds;
    Ok(Round::new(rate, &raw.latency))
}
