//! Many retained messages: what they cost in memory, how long a look at one and at all takes, and whether a look at all
//! stalls a client that has nothing to do with them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use restante_proto::mqtt::{Packet, PacketId, Qos};

use super::super::pool::{Counted, Meter, Pool};
use super::super::row::Row;
use super::Mqtt;
use super::door::Door;
use super::flow::{Load, granted, plain, publish, take};
use super::peer::{Peer, Template, Wish};

const MESSAGES: u64 = 1_000_000;
/// Nothing more comes.
const QUIET: Duration = Duration::from_secs(5);
/// Messages a second of the client that must not be stalled.
const PROBES: u32 = 500;
/// How long that one is measured without a look at all.
const ALONE: Duration = Duration::from_secs(3);

/// Publishes them, looks at one, then at all, while another client goes on.
///
/// # Errors
/// A client that ended.
pub(super) async fn measure(door: &Door, pool: &Pool, args: &Mqtt) -> anyhow::Result<Vec<Row>> {
    let n_messages = args.messages.unwrap_or(MESSAGES);
    let kept = keep(door, pool, args, n_messages).await?;
    let (_, one) = look(door, pool, &topic(n_messages / 2), 1).await?;
    let (alone, ()) = probed(door, pool, args, async {
        tokio::time::sleep(ALONE).await;
        Ok(())
    })
    .await?;
    let all = look(door, pool, "bench/retained/#", n_messages);
    let (beside, (n_found, lasted)) = probed(door, pool, args, all).await?;
    let mut exact = Row::new("retained: one", args.size);
    exact.messages = Some(1);
    exact.p50_ms = Some(one.as_secs_f64() * 1e3);
    let counted = Counted {
        published: 0,
        delivered: n_found,
        seconds: lasted.as_secs_f64(),
        cpu_seconds: None,
    };
    let mut every = Row::new("retained: all", args.size).counted(&counted);
    every.messages = Some(n_messages);
    every.missing = Some(n_messages.saturating_sub(n_found));
    every.rss_kib = door.process.map(|it| it.resident_kib()).transpose()?;
    let mut quiet = Row::new("another alone", args.size);
    quiet.times(&alone);
    let mut busy = Row::new("another beside", args.size);
    busy.times(&beside);
    Ok(vec![kept, exact, every, quiet, busy])
}

fn topic(number: u64) -> String {
    format!("bench/retained/{}/{}", number / 1000, number % 1000)
}

async fn keep(door: &Door, pool: &Pool, args: &Mqtt, n_messages: u64) -> anyhow::Result<Row> {
    let resident = || door.process.map(|it| it.resident_kib()).transpose();
    let before = resident()?;
    let entrance = Arc::clone(&door.entrance);
    let (window, size) = (args.window, args.size);
    let begun = Instant::now();
    let cpu = door.cpu_seconds()?;
    let keeping = pool.spawn(0, async move {
        let (mut peer, connack) = Peer::connect(&entrance, "bench-keep", Wish::PLAIN).await?;
        let window = u64::from(granted(&connack, window));
        let (mut n_sent, mut n_acknowledged) = (0u64, 0u64);
        let mut id = PacketId::FIRST;
        while n_acknowledged < n_messages {
            while n_sent < n_messages && n_sent - n_acknowledged < window {
                let topic = topic(n_sent);
                let mut template =
                    Template::new(entrance.version, &topic, Qos::AtLeastOnce, true, size)?;
                template.stamp(id, 0, n_sent);
                id = id.next();
                peer.put(&template);
                n_sent += 1;
            }
            peer.flush().await?;
            peer.hear().await?;
            while let Some(packet) = peer.take()? {
                match packet {
                    Packet::Puback(ack) if ack.reason.is_error() => {
                        anyhow::bail!("a message was refused: {}", ack.reason);
                    }
                    Packet::Puback(_) => n_acknowledged += 1,
                    _ => {}
                }
            }
        }
        peer.leave().await
    });
    keeping.await??;
    let counted = Counted {
        published: n_messages,
        delivered: 0,
        seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: door.cpu_since(cpu)?,
    };
    let after = resident()?;
    let mut row = Row::new("retained", args.size).counted(&counted);
    row.window = Some(args.window);
    row.messages = Some(n_messages);
    row.rss_kib = after;
    row.kib_each = after
        .zip(before)
        .map(|(after, before)| (after as f64 - before as f64) / n_messages as f64);
    Ok(row)
}

/// Subscribes, and takes what is retained until so many came, or nothing does; how many, and how long the last took.
async fn look(
    door: &Door,
    pool: &Pool,
    filter: &str,
    n_wanted: u64,
) -> anyhow::Result<(u64, Duration)> {
    let entrance = Arc::clone(&door.entrance);
    let filter = filter.to_owned();
    let looking = pool.spawn(0, async move {
        let (mut peer, _) = Peer::connect(&entrance, "bench-look", Wish::PLAIN).await?;
        let begun = Instant::now();
        let mut n_found = peer.ask(&filter, Qos::AtMostOnce).await?;
        let mut lasted = begun.elapsed();
        while n_found < n_wanted {
            let Ok(heard) = tokio::time::timeout(QUIET, peer.hear()).await else {
                break;
            };
            heard?;
            while let Some(packet) = peer.take()? {
                n_found += u64::from(matches!(packet, Packet::Publish(_)));
            }
            lasted = begun.elapsed();
        }
        peer.leave().await?;
        anyhow::Ok((n_found, lasted))
    });
    looking.await?
}

/// Has a pair exchange messages at its own pace meanwhile.
async fn probed<T>(
    door: &Door,
    pool: &Pool,
    args: &Mqtt,
    meanwhile: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(Histogram<u64>, T)> {
    const TOPIC: &str = "bench/probe";
    let meter = Meter::new();
    let (entrance, shared) = (Arc::clone(&door.entrance), Arc::clone(&meter));
    let subscriber = pool.spawn(0, async move {
        let filters = [TOPIC.to_owned()];
        let (peer, _) = plain(&entrance, "bench-probe-s", &filters, Qos::AtLeastOnce).await?;
        take(peer, shared, true).await
    });
    let (entrance, shared, size) = (Arc::clone(&door.entrance), Arc::clone(&meter), args.size);
    let publisher = pool.spawn(0, async move {
        let (peer, connack) = Peer::connect(&entrance, "bench-probe-p", Wish::PLAIN).await?;
        let template = Template::new(entrance.version, TOPIC, Qos::AtLeastOnce, false, size)?;
        let load = Load {
            window: granted(&connack, 1000),
            n_messages: u64::MAX,
            every: Some(Duration::from_secs(1) / PROBES),
        };
        publish(peer, vec![template], load, shared).await
    });
    tokio::time::sleep(args.warm_up).await;
    meter.begin();
    let done = meanwhile.await;
    meter.stop();
    publisher.await??;
    subscriber.await??;
    let n = meter.delivered.load(Ordering::Relaxed);
    anyhow::ensure!(n > 0, "nothing came");
    Ok((meter.latency(), done?))
}
