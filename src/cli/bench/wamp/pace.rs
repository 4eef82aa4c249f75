//! When a client sends: as soon as its window allows, or at a rate that has nothing to do with the router.
//!
//! As fast as windows allow, the time of a round trip is the window by the rate: a router that is twice as fast has half of it, and
//! what it takes by itself is not seen. At a rate that every router keeps up with, it is.
//!
//! Always, each with a test of its name:
//! - `what_a_full_window_holds_up_counts_from_when_it_was_due`.
//! - `a_late_timer_is_not_the_router_s_fault`.

use super::super::pool::Meter;

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// When one client sends what.
#[derive(Debug)]
pub(super) struct Pace {
    /// Nanoseconds from one message to the next, and when the next is due; none: whenever there is room for one.
    due: Option<(u64, u64)>,
    /// Whether what is due had no room in the window.
    held: bool,
}

impl Pace {
    /// Of client `number` of `n_clients` that send `rate` messages a second together, evenly; from `now` on, in the meter's time.
    pub(super) fn new(rate: Option<u32>, number: usize, n_clients: usize, now: u64) -> Pace {
        let due = rate.map(|rate| {
            let every = (SECOND * n_clients.max(1) as u64 / u64::from(rate.max(1))).max(1);
            (every, now + every * number as u64 / n_clients.max(1) as u64)
        });
        Pace { due, held: false }
    }

    /// What the next message has for its time, if it is to be sent by now.
    pub(super) fn next(&mut self, now: u64) -> Option<u64> {
        let Some((every, due)) = &mut self.due else {
            return Some(now);
        };
        if *due > now {
            self.held = false;
            return None;
        }
        let time = if self.held { *due } else { now };
        *due += *every;
        Some(time)
    }

    /// There is no room: whatever falls due from now on waits for the router.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// Waits until the next message is due; for ever where that is no matter of time.
    pub(super) async fn due(&self, meter: &Meter) {
        match self.due {
            Some((_, due)) => tokio::time::sleep_until(meter.at(due).into()).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second of two clients that send 200 a second together: each 10 ms, it 5 ms behind the first.
    fn second() -> Pace {
        Pace::new(Some(200), 1, 2, 0)
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn what_a_full_window_holds_up_counts_from_when_it_was_due() {
        let mut pace = second();
        assert_eq!(pace.next(4 * MS), None);
        assert_eq!(pace.next(5 * MS), Some(5 * MS));
        pace.hold();
        assert_eq!(pace.next(26 * MS), Some(15 * MS));
        assert_eq!(pace.next(26 * MS), Some(25 * MS));
        assert_eq!(pace.next(26 * MS), None);
    }

    #[test]
    fn a_late_timer_is_not_the_router_s_fault() {
        let mut pace = second();
        assert_eq!(pace.next(6 * MS), Some(6 * MS));
        assert_eq!(pace.next(16 * MS), Some(16 * MS), "due at 15");
        pace.hold();
        assert_eq!(pace.next(20 * MS), None, "there was room again in time");
        assert_eq!(pace.next(26 * MS), Some(26 * MS));
    }

    #[test]
    fn without_a_rate_it_is_always_time() {
        let mut pace = Pace::new(None, 3, 4, 0);
        assert_eq!(pace.next(7), Some(7));
        pace.hold();
        assert_eq!(pace.next(8), Some(8));
    }
}
