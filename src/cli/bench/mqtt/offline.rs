//! A durable session whose client is away: filled, then drained. Each message has its number, so that what is missing is
//! known, and what comes twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use restante_proto::mqtt::{Packet, Qos};

use super::super::pool::{Counted, Meter, Pool};
use super::super::row::Row;
use super::Mqtt;
use super::door::Door;
use super::flow::{Load, acknowledge, granted, publish};
use super::peer::{Peer, Template, Wish, stamp_of};

/// The client that was away: the same in every run, for the halves may be two runs.
const CLIENT: &str = "bench-offline";
const TOPIC: &str = "bench/offline";
const MESSAGES: u64 = 100_000;
/// Nothing more comes.
const QUIET: Duration = Duration::from_secs(5);

/// Both halves; a broker of our own is killed in between.
///
/// # Errors
/// A client that ended, or a broker that does not start again.
pub(super) async fn measure(door: &mut Door, pool: &Pool, args: &Mqtt) -> anyhow::Result<Vec<Row>> {
    let filled = fill(door, pool, args).await?;
    if !door.kill().await? {
        eprintln!("offline: the broker is not ours to kill; `fill` and `drain` leave that to you");
    }
    let drained = drain(door, pool, args).await?;
    Ok(vec![filled, drained])
}

/// Fills the session.
///
/// # Errors
/// A client that ended.
pub(super) async fn fill(door: &Door, pool: &Pool, args: &Mqtt) -> anyhow::Result<Row> {
    let (mut peer, _) = Peer::connect(&door.entrance, CLIENT, Wish::NEW).await?;
    peer.subscribe(&[TOPIC.to_owned()], Qos::AtLeastOnce)
        .await?;
    peer.leave().await?;
    let entrance = Arc::clone(&door.entrance);
    let n_messages = args.messages.unwrap_or(MESSAGES);
    let (window, size) = (args.window, args.size);
    let begun = Instant::now();
    let cpu = door.cpu_seconds()?;
    let n_acknowledged = pool.spawn(0, async move {
        let (peer, connack) = Peer::connect(&entrance, "bench-fill", Wish::PLAIN).await?;
        let template = Template::new(entrance.version, TOPIC, Qos::AtLeastOnce, false, size)?;
        let load = Load {
            window: granted(&connack, window),
            n_messages,
            every: None,
        };
        publish(peer, vec![template], load, Meter::new()).await
    });
    let counted = Counted {
        published: n_acknowledged.await??,
        delivered: 0,
        seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: door.cpu_since(cpu)?,
    };
    let mut row = Row::new("fill", args.size).counted(&counted);
    row.messages = Some(n_messages);
    row.window = Some(args.window);
    Ok(row)
}

/// Drains it: from the CONNECT to the last message.
///
/// # Errors
/// The session is not there, or its connection is gone.
pub(super) async fn drain(door: &Door, pool: &Pool, args: &Mqtt) -> anyhow::Result<Row> {
    let entrance = Arc::clone(&door.entrance);
    let n_messages = args.messages.unwrap_or(MESSAGES);
    let cpu = door.cpu_seconds()?;
    let drained = pool.spawn(0, async move {
        let begun = Instant::now();
        let (mut peer, connack) = Peer::connect(&entrance, CLIENT, Wish::AGAIN).await?;
        anyhow::ensure!(connack.session_present, "the session is gone");
        let mut seen = Seen::new(n_messages);
        let mut lasted = begun.elapsed();
        while seen.n_missing > 0 {
            let Ok(heard) = tokio::time::timeout(QUIET, peer.hear()).await else {
                break;
            };
            heard?;
            while let Some(packet) = peer.take()? {
                if let Packet::Publish(publish) = packet {
                    seen.see(stamp_of(&publish).1);
                    acknowledge(&mut peer, &publish)?;
                }
            }
            peer.flush().await?;
            lasted = begun.elapsed();
        }
        peer.leave().await?;
        anyhow::Ok((seen, lasted))
    });
    let (seen, lasted) = drained.await??;
    let counted = Counted {
        published: 0,
        delivered: seen.n_seen,
        seconds: lasted.as_secs_f64(),
        cpu_seconds: door.cpu_since(cpu)?,
    };
    Peer::forget(&door.entrance, CLIENT).await?;
    let mut row = Row::new("drain", args.size).counted(&counted);
    row.messages = Some(n_messages);
    row.missing = Some(seen.n_missing);
    row.twice = Some(seen.n_twice);
    Ok(row)
}

/// Which numbers have come.
struct Seen {
    there: Vec<bool>,
    n_seen: u64,
    n_twice: u64,
    n_missing: u64,
}

impl Seen {
    fn new(n_messages: u64) -> Seen {
        Seen {
            there: vec![false; n_messages as usize],
            n_seen: 0,
            n_twice: 0,
            n_missing: n_messages,
        }
    }

    fn see(&mut self, number: u64) {
        self.n_seen += 1;
        match self.there.get_mut(number as usize) {
            Some(there) if !*there => {
                *there = true;
                self.n_missing -= 1;
            }
            _ => self.n_twice += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_comes_twice_is_known() {
        let mut seen = Seen::new(3);
        for number in [0, 2, 2, 9] {
            seen.see(number);
        }
        assert_eq!((seen.n_seen, seen.n_twice, seen.n_missing), (4, 2, 1));
    }
}
