//! Answers that wait for their clients to take them: so many bytes of them at once, over all connections.
//!
//! ```text
//! answer ─▶ room? ─ yes ▶ its bytes, with a share of the budget in them ─▶ written, or the connection is gone ─▶ given back
//!             └──── no ─▶ 503, Retry-After
//! ```
//!
//! The share is in the bytes themselves, so that it is held for exactly as long as these are, wherever hyper has them. Small
//! answers are not counted: there is one of them a connection at most. What is larger than the budget is let through
//! alone.
//!
//! Always, with a test of its name below: `what_is_not_taken_is_counted_until_it_is_gone`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// An answer of this size, or less, is not counted.
const SMALL_BYTES: usize = 16 * 1024;

/// How much may wait.
#[derive(Clone)]
pub(crate) struct Budget {
    bytes_max: usize,
    bytes: Arc<AtomicUsize>,
}

/// Bytes that are counted for as long as they are there.
struct Counted {
    bytes: Bytes,
    of: Budget,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Budget {
        Budget {
            bytes_max,
            bytes: Arc::default(),
        }
    }

    /// The same bytes, counted; none: there is no room for them, and they are not to go anyhow.
    pub(crate) fn count(&self, bytes: Bytes, anyhow: bool) -> Option<Bytes> {
        let more = bytes.len();
        if more <= SMALL_BYTES {
            return Some(bytes);
        }
        let room = |waiting: usize| {
            let sum = waiting.saturating_add(more);
            (anyhow || waiting == 0 || sum <= self.bytes_max).then_some(sum)
        };
        let counted = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        counted.ok()?;
        let of = self.clone();
        Some(Bytes::from_owner(Counted { bytes, of }))
    }
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_is_counted_until_it_is_gone() {
        let budget = Budget::new(3 * SMALL_BYTES);
        let of = |len: usize| budget.count(vec![7; len].into(), false);
        let first = of(2 * SMALL_BYTES).unwrap();
        assert_eq!(first, vec![7; 2 * SMALL_BYTES]);
        assert!(of(2 * SMALL_BYTES).is_none(), "no room");
        assert!(of(SMALL_BYTES).is_some(), "small ones always go");
        let part = first.slice(5..9);
        drop(first);
        assert!(of(2 * SMALL_BYTES).is_none(), "a part of it is still there");
        let anyhow = budget.count(vec![7; 4 * SMALL_BYTES].into(), true);
        assert!(anyhow.is_some(), "of a change");
        drop((part, anyhow));
        let large = of(9 * SMALL_BYTES);
        assert!(large.is_some(), "alone, anything goes");
        assert!(of(SMALL_BYTES + 1).is_none());
        drop(large);
        assert_eq!(budget.bytes.load(Ordering::Relaxed), 0);
    }
}
