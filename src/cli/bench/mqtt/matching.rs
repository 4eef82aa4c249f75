//! What a publish costs among a million subscriptions, against a thousand.
//!
//! None of the many is for the topic that is published to, but some have wildcards where it is looked for. Its one subscriber
//! keeps nothing, so that what is measured is the look, and not the disk.

use std::sync::Arc;

use restante_proto::mqtt::Qos;

use super::super::pool::{Meter, Pool};
use super::super::row::Row;
use super::Mqtt;
use super::door::Door;
use super::flow::{Load, Task, granted, plain, publish, take};
use super::peer::{Peer, Template, Wish};

/// Subscriptions of one session: what a broker of ours grants.
const EACH: u32 = 1000;
const FEW: u32 = 1000;

/// Twice each, in turn: nothing on a shared machine is the same for long.
///
/// # Errors
/// A client that ended.
pub(super) async fn measure(door: &Door, pool: &Pool, args: &Mqtt) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut holders = Vec::new();
    for n_subscriptions in [FEW, args.subscriptions] {
        while (holders.len() as u32) * EACH < n_subscriptions {
            holders.push(hold(door, pool, holders.len() as u32).await?);
        }
        let mut row = publishing(door, pool, args).await?;
        row.subscriptions = Some(u64::from(holders.len() as u32 * EACH));
        row.rss_kib = door.process.map(|it| it.resident_kib()).transpose()?;
        rows.push(row);
    }
    if let [few, many] = &mut rows[..] {
        many.ratio = few
            .publishes_per_second()
            .zip(many.publishes_per_second())
            .map(|(few, many)| few / many);
    }
    drop(holders);
    Ok(rows)
}

/// A client with its thousand subscriptions.
async fn hold(door: &Door, pool: &Pool, number: u32) -> anyhow::Result<Peer> {
    let entrance = Arc::clone(&door.entrance);
    let holder = pool.spawn(0, async move {
        let client = format!("bench-{}-m{number}", std::process::id());
        let filters: Vec<String> = (0..EACH).map(|it| filter(number, it)).collect();
        let (peer, _) = plain(&entrance, &client, &filters, Qos::AtLeastOnce).await?;
        anyhow::Ok(peer)
    });
    holder.await?
}

/// Half of them exact, half with wildcards; all are in the way of `bench/match/hot/topic`.
fn filter(session: u32, number: u32) -> String {
    match number % 4 {
        0 => format!("bench/match/{session}/{number}"),
        1 => format!("bench/match/hot/{session}x{number}"),
        2 => format!("bench/+/{session}/{number}/#"),
        _ => format!("bench/match/+/{session}x{number}"),
    }
}

async fn publishing(door: &Door, pool: &Pool, args: &Mqtt) -> anyhow::Result<Row> {
    const TOPIC: &str = "bench/match/hot/topic";
    let meter = Meter::new();
    let run = std::process::id();
    let entrance = Arc::clone(&door.entrance);
    let shared = Arc::clone(&meter);
    let subscriber: Task<u64> = pool.spawn(0, async move {
        let client = format!("bench-{run}-ms");
        let filter = [TOPIC.to_owned()];
        let (peer, _) = plain(&entrance, &client, &filter, Qos::AtLeastOnce).await?;
        take(peer, shared, true).await
    });
    let entrance = Arc::clone(&door.entrance);
    let (shared, size, window) = (Arc::clone(&meter), args.size, args.window);
    let publisher: Task<u64> = pool.spawn(0, async move {
        let client = format!("bench-{run}-mp");
        let (peer, connack) = Peer::connect(&entrance, &client, Wish::PLAIN).await?;
        let template = Template::new(entrance.version, TOPIC, Qos::AtLeastOnce, false, size)?;
        let load = Load {
            window: granted(&connack, window),
            n_messages: u64::MAX,
            every: None,
        };
        publish(peer, vec![template], load, shared).await
    });
    let counted = meter
        .count(args.warm_up, args.seconds, door.process)
        .await?;
    meter.stop();
    publisher.await??;
    subscriber.await??;
    let mut row = Row::new("match", args.size).counted(&counted);
    row.publishers = Some(1);
    row.subscribers = Some(1);
    row.window = Some(args.window);
    row.times(&meter.latency());
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_filters_are_the_same() {
        let all: std::collections::HashSet<String> = (0..3)
            .flat_map(|session| (0..EACH).map(move |number| filter(session, number)))
            .collect();
        assert_eq!(all.len(), 3 * EACH as usize);
    }
}
