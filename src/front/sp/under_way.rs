//! Deliveries on their way to a client's system, or to the client.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// How long it takes to the second look, at first.
const LOOK_AFTER_MIN: Duration = Duration::from_millis(1);
/// And at most.
const LOOK_AFTER_MAX: Duration = Duration::from_millis(64);

/// What is written and not known to be there.
#[derive(Debug)]
pub(super) struct UnderWay {
    /// Whether the client answers pings, each of which says that it has taken the message before the one in front of it.
    pongs: bool,
    /// Where each counted message ends, in bytes of the connection.
    ends: VecDeque<u64>,
    /// Whether the message being written is counted.
    is_counted: bool,
    /// A ping to be written.
    ping: Option<u64>,
    /// Counted messages that were written, and that are known to be there.
    written: u64,
    arrived: u64,
    look_at: Option<Instant>,
    look_after: Duration,
}

impl UnderWay {
    pub(super) fn new(pongs: bool) -> Self {
        UnderWay {
            pongs,
            ends: VecDeque::new(),
            is_counted: false,
            ping: None,
            written: 0,
            arrived: 0,
            look_at: None,
            look_after: LOOK_AFTER_MIN,
        }
    }

    /// A message begins.
    pub(super) fn begins(&mut self, is_counted: bool) {
        self.is_counted = is_counted;
    }

    /// It ends there.
    pub(super) fn ends_at(&mut self, position: u64) {
        if !std::mem::take(&mut self.is_counted) {
            return;
        }
        self.written += 1;
        if self.pongs {
            self.ping = Some(self.written);
        } else {
            self.ends.push_back(position);
            self.look_after = LOOK_AFTER_MIN;
            self.look_at = None;
        }
    }

    /// What a ping has that is to be written now.
    pub(super) fn ping(&mut self) -> Option<Bytes> {
        let number = self.ping.take()?;
        Some(Bytes::copy_from_slice(&number.to_be_bytes()))
    }

    /// The client has answered a ping; how many messages more it has taken. A client that holds a message it has not taken reads no
    /// further, so the ping behind it is answered only once it was: but one message more may be in between.
    pub(super) fn ponged(&mut self, payload: &[u8]) -> usize {
        let number = payload.try_into().ok().map(u64::from_be_bytes);
        let Some(number) = number.filter(|it| self.pongs && *it <= self.written) else {
            return 0;
        };
        let taken = number.saturating_sub(1);
        let more = taken.saturating_sub(self.arrived);
        self.arrived = self.arrived.max(taken);
        usize::try_from(more).unwrap_or(usize::MAX)
    }

    /// Whether it is time to look.
    pub(super) fn is_to_look(&self, now: Instant) -> bool {
        !self.ends.is_empty() && self.look_at.is_none_or(|at| at <= now)
    }

    /// The connection is over: what is there now counts, and what is not never will.
    pub(super) fn is_to_look_at_last(&mut self) {
        self.look_at = None;
    }

    /// When to look again.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.look_at.filter(|_| !self.ends.is_empty())
    }

    /// All up to a position is there; how many messages more that is.
    pub(super) fn arrived(&mut self, position: u64, now: Instant) -> usize {
        let n = self.ends.partition_point(|end| *end <= position);
        self.ends.drain(..n);
        if n > 0 {
            self.look_after = LOOK_AFTER_MIN;
        }
        self.look_at = Some(now + self.look_after);
        self.look_after = (self.look_after * 2).min(LOOK_AFTER_MAX);
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_counted_once_and_in_order() {
        let now = Instant::now();
        let mut it = UnderWay::new(false);
        for (counted, end) in [(true, 10), (false, 20), (true, 30)] {
            it.begins(counted);
            it.ends_at(end);
        }
        assert!(it.is_to_look(now) && it.ping().is_none());
        assert_eq!(it.arrived(9, now), 0);
        assert!(!it.is_to_look(now));
        let later = it.look_at().unwrap();
        assert!(it.is_to_look(later));
        assert_eq!(it.arrived(29, later), 1);
        assert_eq!(it.arrived(100, later), 1);
        assert!(it.look_at().is_none() && !it.is_to_look(later + LOOK_AFTER_MAX));
    }

    #[test]
    fn a_pong_says_that_the_message_before_was_taken() {
        let mut it = UnderWay::new(true);
        let mut pings = Vec::new();
        for end in [10, 20, 30] {
            it.begins(true);
            it.ends_at(end);
            pings.push(it.ping().unwrap());
        }
        assert_eq!(it.ponged(&pings[0]), 0);
        assert_eq!(it.ponged(&pings[2]), 2);
        assert_eq!(it.ponged(&pings[1]), 0, "late");
        for wrong in [&b""[..], b"12345678", &4_u64.to_be_bytes()] {
            assert_eq!(it.ponged(wrong), 0);
        }
    }
}
