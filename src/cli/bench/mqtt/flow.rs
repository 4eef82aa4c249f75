//! Pairs of a publisher and a subscriber with a durable session, QoS 1 both ways; and the tasks of which other scenarios
//! are made too.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use restante_proto::mqtt::{Connack, Packet, PacketId, Publish, Qos};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::super::pool::{Meter, Pool, Times, quiet};
use super::super::row::Row;
use super::Mqtt;
use super::door::{Door, Entrance};
use super::peer::{Peer, Template, Wish, stamp_of};

/// A task of a client.
pub(super) type Task<T> = JoinHandle<anyhow::Result<T>>;

/// As many publishers as subscribers, in pairs.
///
/// # Errors
/// A client that ended.
pub(super) async fn measure(door: &Door, pool: &Pool, args: &Mqtt) -> anyhow::Result<Row> {
    let meter = Meter::new();
    let n = args.clients as usize;
    let run = std::process::id();
    let name = |number: usize| format!("bench-{run}-{number}");
    let topic = |number: usize| format!("bench/{run}/{number}");
    let mut peers = Vec::new();
    for number in 0..n {
        let (entrance, name) = (Arc::clone(&door.entrance), name(number));
        let filter = topic(number);
        peers.push(pool.spawn(number, async move {
            let (mut peer, _) = Peer::connect(&entrance, &name, Wish::NEW).await?;
            peer.subscribe(&[filter], Qos::AtLeastOnce).await?;
            anyhow::Ok(peer)
        }));
    }
    let mut subscribers = Vec::new();
    for (number, peer) in peers.into_iter().enumerate() {
        let peer = peer.await??;
        subscribers.push(pool.spawn(number, take(peer, Arc::clone(&meter), true)));
    }
    let mut publishers: Vec<Task<u64>> = Vec::new();
    for number in 0..n {
        let entrance = Arc::clone(&door.entrance);
        let (topic, client) = (topic(number), format!("bench-{run}-p{number}"));
        let (meter, window, size) = (Arc::clone(&meter), args.window, args.size);
        publishers.push(pool.spawn(number, async move {
            let (peer, connack) = Peer::connect(&entrance, &client, Wish::PLAIN).await?;
            let template = Template::new(entrance.version, &topic, Qos::AtLeastOnce, false, size)?;
            let load = Load {
                window: granted(&connack, window),
                n_messages: u64::MAX,
                every: None,
            };
            publish(peer, vec![template], load, meter).await
        }));
    }
    let counted = meter
        .count(args.warm_up, args.seconds, door.process)
        .await?;
    meter.stop();
    let mut n_acknowledged = 0;
    for publisher in publishers {
        n_acknowledged += publisher.await??;
    }
    let mut n_delivered = 0;
    for subscriber in subscribers {
        n_delivered += subscriber.await??;
    }
    for number in 0..n {
        Peer::forget(&door.entrance, &name(number)).await?;
    }
    let mut row = Row::new("qos1", args.size).counted(&counted);
    row.publishers = Some(args.clients);
    row.subscribers = Some(args.clients);
    row.window = Some(args.window);
    row.missing = Some(n_acknowledged.saturating_sub(n_delivered));
    row.times(&meter.latency());
    Ok(row)
}

/// What one publisher does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Messages that are not acknowledged.
    pub(super) window: u32,
    /// How many at all, if it is not stopped before.
    pub(super) n_messages: u64,
    /// Not faster than that.
    pub(super) every: Option<Duration>,
}

/// The window, as far as the broker takes it.
pub(super) fn granted(connack: &Connack, window: u32) -> u32 {
    let max = connack.properties.receive_maximum;
    max.map_or(window, |max| window.min(u32::from(max.get())))
}

/// Publishes with QoS 1, to the topics in turn, until all is acknowledged or it is told to stop; how many were.
///
/// # Errors
/// The connection is gone, or a message was refused.
pub(super) async fn publish(
    mut peer: Peer,
    mut templates: Vec<Template>,
    load: Load,
    meter: Arc<Meter>,
) -> anyhow::Result<u64> {
    let stop = meter.stopped();
    let begun = Instant::now();
    let (mut n_sent, mut n_acknowledged) = (0u64, 0u64);
    let mut next_id = PacketId::FIRST;
    loop {
        if !*stop.borrow() {
            let due = due(load, begun);
            while n_sent < due && n_sent - n_acknowledged < u64::from(load.window) {
                let turn = n_sent as usize % templates.len().max(1);
                let template = templates.get_mut(turn).context("a topic")?;
                template.stamp(next_id, meter.nanos(), n_sent);
                next_id = next_id.next();
                peer.put(template);
                n_sent += 1;
            }
            peer.flush().await?;
        }
        if n_sent == n_acknowledged {
            if *stop.borrow() || n_sent == load.n_messages {
                peer.leave().await?;
                return Ok(n_acknowledged);
            }
            if let Some(every) = load.every {
                sleep_until(begun + every.mul_f64(n_sent as f64)).await;
            }
            continue;
        }
        peer.hear().await?;
        let mut n = 0;
        while let Some(packet) = peer.take()? {
            match packet {
                Packet::Puback(ack) if ack.reason.is_error() => {
                    anyhow::bail!("a message was refused: {}", ack.reason);
                }
                Packet::Puback(_) => n += 1,
                Packet::Disconnect(it) => anyhow::bail!("disconnected: {}", it.reason),
                _ => {}
            }
        }
        n_acknowledged += n;
        meter.published.fetch_add(n, Ordering::Relaxed);
    }
}

/// How many may have been sent by now.
fn due(load: Load, begun: Instant) -> u64 {
    let due = load.every.map_or(u64::MAX, |every| {
        (begun.elapsed().as_secs_f64() / every.as_secs_f64()) as u64 + 1
    });
    due.min(load.n_messages)
}

/// Takes and acknowledges until the load has stopped and nothing came for a while; how many came.
///
/// # Errors
/// The connection is gone.
pub(super) async fn take(mut peer: Peer, meter: Arc<Meter>, timed: bool) -> anyhow::Result<u64> {
    let mut stop = meter.stopped();
    let mut times = Times::new();
    let mut n_all = 0;
    loop {
        let heard = tokio::select! {
            heard = peer.hear() => Some(heard),
            () = quiet(&mut stop) => None,
        };
        let Some(heard) = heard else { break };
        heard?;
        let timed = timed && meter.is_counting();
        let now = meter.nanos();
        let mut n = 0;
        while let Some(packet) = peer.take()? {
            if let Packet::Publish(publish) = packet {
                n += 1;
                if timed {
                    times.record(now.saturating_sub(stamp_of(&publish).0));
                }
                acknowledge(&mut peer, &publish)?;
            }
        }
        peer.flush().await?;
        n_all += n;
        meter.delivered.fetch_add(n, Ordering::Relaxed);
    }
    meter.add(&times);
    peer.leave().await?;
    Ok(n_all)
}

/// As its QoS wants it.
///
/// # Errors
/// Never, with what is there.
pub(super) fn acknowledge(peer: &mut Peer, publish: &Publish) -> anyhow::Result<()> {
    match (publish.qos, publish.packet_id) {
        (Qos::AtLeastOnce, Some(id)) => peer.put_puback(id),
        _ => Ok(()),
    }
}

/// A client with a session that ends with its connection.
///
/// # Errors
/// It is not let in.
pub(super) async fn plain(
    entrance: &Entrance,
    client: &str,
    filters: &[String],
    qos: Qos,
) -> anyhow::Result<(Peer, Connack)> {
    let (mut peer, connack) = Peer::connect(entrance, client, Wish::PLAIN).await?;
    peer.subscribe(filters, qos).await?;
    Ok((peer, connack))
}
