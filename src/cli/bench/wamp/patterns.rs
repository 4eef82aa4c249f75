//! What a call and a publish cost among many subscriptions and registrations, against few.
//!
//! None of the many is for what is called and published, but all are in the way: patterns that are looked at for it, or names
//! beside it.

use std::sync::Arc;

use super::super::pool::Pool;
use super::super::row::Row;
use super::door::Door;
use super::peer::{Offer, Pattern, Peer};
use super::rpc::{Calling, run_calls};
use super::{Wamp, events};

/// Subscriptions, and registrations, of one session.
const EACH: u32 = 1000;
const FEW: u32 = 100;

/// # Errors
/// A client that ended.
pub(super) async fn measure(door: &Door, pool: &Pool, args: &Wamp) -> anyhow::Result<Vec<Row>> {
    let mut holders = vec![hold(door, pool, 0, FEW).await?];
    let few = both(door, pool, args, FEW).await?;
    let mut n_held = FEW;
    while n_held < args.patterns {
        let n = EACH.min(args.patterns - n_held);
        holders.push(hold(door, pool, holders.len() as u32, n).await?);
        n_held += n;
    }
    let mut many = both(door, pool, args, n_held).await?;
    for (many, few) in many.iter_mut().zip(&few) {
        many.compare(few);
        many.rss_kib = door.resident_kib()?;
    }
    drop(holders);
    Ok(few.into_iter().chain(many).collect())
}

/// A session with its subscriptions and registrations.
async fn hold(door: &Door, pool: &Pool, number: u32, n: u32) -> anyhow::Result<Peer> {
    let entrance = Arc::clone(&door.entrance);
    let holder = pool.spawn(0, async move {
        let mut peer = Peer::connect(&entrance).await?;
        let all: Vec<Pattern> = (0..n).map(|it| pattern(number, it)).collect();
        peer.offer(Offer::Subscription, &all).await?;
        peer.offer(Offer::Registration, &all).await?;
        anyhow::Ok(peer)
    });
    holder.await?
}

/// Exact names, prefixes and wildcards, in the way of `bench.RUN.pattern.hot.item`.
fn pattern(session: u32, number: u32) -> Pattern {
    let run = std::process::id();
    match number % 5 {
        0 => (
            format!("bench.{run}.pattern.hot.{session}x{number}"),
            "exact",
        ),
        1 => (
            format!("bench.{run}.pattern.hot.i{session}x{number}"),
            "prefix",
        ),
        2 => (
            format!("bench.{run}.pattern.h{session}x{number}."),
            "prefix",
        ),
        3 => (
            format!("bench.{run}.pattern..{session}x{number}"),
            "wildcard",
        ),
        _ => (format!("bench..{session}x{number}.hot."), "wildcard"),
    }
}

async fn both(door: &Door, pool: &Pool, args: &Wamp, n_held: u32) -> anyhow::Result<Vec<Row>> {
    let run = std::process::id();
    let hot = format!("bench.{run}.pattern.hot.item");
    let calling = Calling {
        // Found last: names and prefixes go first.
        registered: vec![(format!("bench.{run}..hot.item"), "wildcard")],
        called: vec![hot.clone()],
    };
    let mut called = run_calls(door, pool, args, "patterns: call", calling).await?;
    called.callers = Some(1);
    called.callees = Some(1);
    let scenario = ("patterns: publish", true);
    let mut published = events::run_events(door, pool, args, scenario, vec![hot]).await?;
    called.subscriptions = Some(u64::from(n_held));
    published.subscriptions = Some(u64::from(n_held));
    Ok(vec![called, published])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_patterns_are_the_same_and_none_is_for_what_is_hot() {
        let all: HashSet<Pattern> = (0..3)
            .flat_map(|session| (0..EACH).map(move |number| pattern(session, number)))
            .collect();
        assert_eq!(all.len(), 3 * EACH as usize);
        let hot = format!("bench.{}.pattern.hot.item", std::process::id());
        for (uri, how) in &all {
            let is_for_it = match *how {
                "exact" => *uri == hot,
                "prefix" => hot.starts_with(uri),
                _ => {
                    let mut parts = uri.split('.').zip(hot.split('.'));
                    parts.all(|(it, part)| it.is_empty() || it == part)
                }
            };
            assert!(!is_for_it, "{uri} {how}");
        }
    }
}
