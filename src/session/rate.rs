//! How many `send`s a second a connection may make.
//!
//! One instant says it all: when the next `send` would be due if they came evenly. A client may run ahead of it by a
//! second's worth (the generic cell rate algorithm, ITU-T I.371).

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

const BURST: Duration = Duration::from_secs(1);

/// A token bucket of a second's worth.
#[derive(Debug)]
pub(super) struct Bucket {
    interval: Duration,
    due: Instant,
}

impl Bucket {
    /// Full at `now`.
    pub(super) fn new(per_second: NonZeroU32, now: Instant) -> Self {
        Bucket {
            interval: BURST / per_second.get(),
            due: now,
        }
    }

    /// Takes one if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let due = self.due.max(now) + self.interval;
        let ahead = due.saturating_duration_since(now);
        let granted = ahead <= BURST;
        if granted {
            self.due = due;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(bucket: &mut Bucket, now: Instant, asked: usize) -> usize {
        (0..asked).filter(|_| bucket.take(now)).count()
    }

    #[test]
    fn a_second_s_worth_may_come_at_once_and_is_refilled_evenly() {
        let start = Instant::now();
        let mut bucket = Bucket::new(NonZeroU32::new(10).unwrap(), start);
        assert_eq!(granted(&mut bucket, start, 20), 10);
        assert_eq!(granted(&mut bucket, start + BURST / 2, 20), 5);
        assert_eq!(granted(&mut bucket, start + BURST * 60, 20), 10);
    }
}
