//! One publisher, many subscribers, QoS 0: as fast as they all have it.
//!
//! Nothing acknowledges QoS 0. So the publisher looks at what the subscribers count, who are in the same process: it goes
//! on while the slowest is not further behind than its window. What is not there after a while is lost, and not waited for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use restante_proto::mqtt::{Packet, PacketId, Qos};

use super::super::pace::Pace;
use super::super::pool::{Meter, Pool, Times};
use super::super::row::Row;
use super::Mqtt;
use super::door::Door;
use super::flow::{Task, plain};
use super::peer::{Peer, Template, Wish, stamp_of};

/// Every so many subscribers times what it gets.
const TIMED: usize = 50;

/// One publisher, many subscribers.
///
/// # Errors
/// A client that ended.
pub(super) async fn measure(door: &Door, pool: &Pool, args: &Mqtt) -> anyhow::Result<Row> {
    let meter = Meter::new();
    let pace = Pace::new();
    let run = std::process::id();
    let topic = format!("bench/{run}/all");
    let mut subscribers: Vec<Task<()>> = Vec::new();
    for number in 0..args.subscribers as usize {
        let (entrance, topic) = (Arc::clone(&door.entrance), topic.clone());
        let peer = pool.spawn(number, async move {
            let client = format!("bench-{run}-f{number}");
            plain(&entrance, &client, &[topic], Qos::AtMostOnce).await
        });
        let (peer, _) = peer.await??;
        let (meter, pace) = (Arc::clone(&meter), Arc::clone(&pace));
        subscribers.push(pool.spawn(number, take(peer, meter, pace, number % TIMED == 0)));
    }
    let entrance = Arc::clone(&door.entrance);
    let template = Template::new(entrance.version, &topic, Qos::AtMostOnce, false, args.size)?;
    let (n, window) = (u64::from(args.subscribers), u64::from(args.window));
    let shared = (Arc::clone(&meter), Arc::clone(&pace));
    let publisher = pool.spawn(0, async move {
        let client = format!("bench-{run}-fp");
        let (peer, _) = Peer::connect(&entrance, &client, Wish::PLAIN).await?;
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
        let there = meter.delivered.load(Ordering::Relaxed) + n_lost;
        let ahead = n_sent - there / n_subscribers;
        let burst = if *stop.borrow() {
            0
        } else {
            window.saturating_sub(ahead)
        };
        for _ in 0..burst {
            template.stamp(PacketId::FIRST, meter.nanos(), n_sent);
            peer.put(&template);
            n_sent += 1;
        }
        peer.flush().await?;
        meter.published.fetch_add(burst, Ordering::Relaxed);
        let all = n_sent * n_subscribers;
        // Half of the window at least, so that a write has many of them.
        let wanted = if burst == 0 && *stop.borrow() {
            all
        } else {
            all - (window / 2) * n_subscribers.min(all)
        };
        if !pace.reaches(&meter, wanted.saturating_sub(n_lost)).await {
            n_lost = all - meter.delivered.load(Ordering::Relaxed);
        }
        if burst == 0 && *stop.borrow() {
            peer.leave().await?;
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
        while let Some(packet) = peer.take()? {
            if let Packet::Publish(publish) = packet {
                n += 1;
                if let Some(times) = times.as_mut().filter(|_| counting) {
                    times.record(now.saturating_sub(stamp_of(&publish).0));
                }
            }
        }
        pace.came(&meter, n);
    }
    if let Some(times) = &times {
        meter.add(times);
    }
    peer.leave().await
}
