//! Sessions that do nothing: what one costs in memory.

use std::sync::Arc;
use std::time::Duration;

use super::super::pool::Pool;
use super::super::row::Row;
use super::Wamp;
use super::door::Door;
use super::peer::Peer;

/// For what opening them took to be given back.
const SETTLE: Duration = Duration::from_secs(3);
/// Sessions that are opened at the same time.
const AT_ONCE: u32 = 64;

/// Opens them, and compares the router's memory.
///
/// # Errors
/// One that cannot be opened.
pub(super) async fn measure(door: &Door, pool: &Pool, args: &Wamp) -> anyhow::Result<Row> {
    if door.process.is_none() {
        eprintln!("idle: name the router's process with --pid to see its memory");
    }
    let before = door.resident_kib()?;
    let mut peers = Vec::new();
    let mut n_left = args.sessions;
    while n_left > 0 {
        let some = n_left.min(AT_ONCE);
        n_left -= some;
        let opening: Vec<_> = (0..some)
            .map(|_| {
                let entrance = Arc::clone(&door.entrance);
                pool.spawn(0, async move { Peer::connect(&entrance).await })
            })
            .collect();
        for peer in opening {
            peers.push(peer.await??);
        }
    }
    tokio::time::sleep(SETTLE.max(args.seconds)).await;
    let after = door.resident_kib()?;
    let mut row = Row::new("idle", args.size);
    row.size = None;
    row.connections = Some(peers.len() as u64);
    row.rss_kib = after;
    row.kib_each = after
        .zip(before)
        .map(|(after, before)| (after as f64 - before as f64) / f64::from(args.sessions));
    drop(peers);
    Ok(row)
}
