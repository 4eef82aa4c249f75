//! Connections that do nothing: what one costs in memory.

use std::sync::Arc;
use std::time::Duration;

use super::super::pool::Pool;
use super::super::row::Row;
use super::Mqtt;
use super::door::Door;
use super::peer::{Peer, Wish};

/// For what opening them took to be given back.
const SETTLE: Duration = Duration::from_secs(3);
/// Connections that are opened at the same time.
const AT_ONCE: usize = 64;
/// Long enough for none to be due while they are held.
const KEEP_ALIVE_SECS: u16 = 1200;

/// Opens them, and compares the broker's memory.
///
/// # Errors
/// One that cannot be opened.
pub(super) async fn measure(door: &Door, pool: &Pool, args: &Mqtt) -> anyhow::Result<Row> {
    let resident = || door.process.map(|it| it.resident_kib()).transpose();
    if door.process.is_none() {
        eprintln!("idle: name the broker's process with --pid to see its memory");
    }
    let before = resident()?;
    let wish = Wish {
        keep_alive_secs: KEEP_ALIVE_SECS,
        ..Wish::PLAIN
    };
    let mut peers = Vec::new();
    let mut n_left = args.connections as usize;
    while n_left > 0 {
        let some = n_left.min(AT_ONCE);
        n_left -= some;
        let opening: Vec<_> = (0..some)
            .map(|number| {
                let entrance = Arc::clone(&door.entrance);
                let client = format!("bench-{}-i{}", std::process::id(), n_left + number);
                pool.spawn(0, async move {
                    let (peer, _) = Peer::connect(&entrance, &client, wish).await?;
                    anyhow::Ok(peer)
                })
            })
            .collect();
        for peer in opening {
            peers.push(peer.await??);
        }
    }
    tokio::time::sleep(SETTLE.max(args.seconds)).await;
    let after = resident()?;
    let mut row = Row::new("idle", args.size);
    row.size = None;
    row.connections = Some(peers.len() as u64);
    row.rss_kib = after;
    row.kib_each = after
        .zip(before)
        .map(|(after, before)| (after as f64 - before as f64) / f64::from(args.connections));
    drop(peers);
    Ok(row)
}
