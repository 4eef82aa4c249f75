//! Whether the peer still lives: when to ping it, and when to give it up (MBWS.md §4).
//!
//! Two clocks. *Silence* counts from the last thing heard, and only while we listen: who does not read cannot hear.
//! *Stall* counts from when the peer stopped taking what we write. Twice the heartbeat of either is the end. MQTT has a
//! clock of its own for silence, and only the [`Stall`] from here.

use std::time::{Duration, Instant};

/// The heartbeat of one connection.
#[derive(Debug)]
pub(super) struct Pulse {
    every: Duration,
    listening: bool,
    heard: Instant,
    pinged: Instant,
    stall: Stall,
}

/// How long the peer has taken nothing of what we write.
#[derive(Debug)]
pub(super) struct Stall {
    patience: Duration,
    since: Option<Instant>,
}

impl Stall {
    /// Gives a peer up after two heartbeats that are `every` so long.
    pub(super) fn new(every: Duration) -> Self {
        Stall {
            patience: every * 2,
            since: None,
        }
    }

    /// Whether the peer takes what we write, from now on.
    pub(super) fn look(&mut self, now: Instant, blocked: bool) {
        self.since = blocked.then(|| self.since.unwrap_or(now));
    }

    /// Whether it is to be given up.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next().is_some_and(|due| now >= due)
    }

    /// When it is, unless it takes something before.
    pub(super) fn next(&self) -> Option<Instant> {
        self.since.map(|since| since + self.patience)
    }
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    /// Send a ping.
    Ping,
    /// Nothing was heard for too long.
    Silent,
    /// Nothing could be written for too long.
    Stalled,
}

impl Pulse {
    pub(super) fn new(every: Duration, now: Instant) -> Self {
        Pulse {
            every,
            listening: true,
            heard: now,
            pinged: now,
            stall: Stall::new(every),
        }
    }

    /// Something came, whatever it was.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// What holds from now on: whether we listen, and whether the peer takes what we write.
    pub(super) fn look(&mut self, now: Instant, listening: bool, blocked: bool) {
        if !self.listening {
            self.heard = now;
        }
        self.listening = listening;
        self.stall.look(now, blocked);
    }

    /// What is due at `now`; a ping is told once.
    pub(super) fn due(&mut self, now: Instant) -> Option<Beat> {
        if self.stall.is_due(now) {
            return Some(Beat::Stalled);
        }
        if self.listening && now >= self.heard + self.stall.patience {
            return Some(Beat::Silent);
        }
        if now >= self.pinged + self.every {
            self.pinged = now;
            return Some(Beat::Ping);
        }
        None
    }

    /// When to ask again.
    pub(super) fn next(&self) -> Instant {
        let silent = self.listening.then(|| self.heard + self.stall.patience);
        let ends = silent.into_iter().chain(self.stall.next());
        ends.fold(self.pinged + self.every, Instant::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    /// A pulse, and the instants at `seconds` after its beginning.
    fn start() -> (Pulse, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Pulse::new(EVERY, start), move |seconds| {
            start + Duration::from_secs(seconds)
        })
    }

    #[test]
    fn a_ping_is_due_every_heartbeat() {
        let (mut pulse, at) = start();
        assert_eq!(pulse.next(), at(30));
        assert_eq!(pulse.due(at(29)), None);
        assert_eq!(pulse.due(at(30)), Some(Beat::Ping));
        assert_eq!(pulse.due(at(30)), None);
        pulse.heard(at(31));
        assert_eq!(pulse.due(at(60)), Some(Beat::Ping));
    }

    #[test]
    fn a_peer_silent_for_two_heartbeats_is_gone() {
        let (mut pulse, at) = start();
        pulse.heard(at(10));
        assert_eq!(pulse.due(at(69)), Some(Beat::Ping));
        assert_eq!(pulse.next(), at(70));
        assert_eq!(pulse.due(at(70)), Some(Beat::Silent));
    }

    #[test]
    fn silence_does_not_count_while_we_do_not_listen() {
        let (mut pulse, at) = start();
        pulse.look(at(10), false, false);
        assert_eq!(pulse.due(at(100)), Some(Beat::Ping));
        assert_eq!(pulse.next(), at(130));
        pulse.look(at(100), true, false);
        assert_eq!(pulse.due(at(159)), Some(Beat::Ping));
        assert_eq!(pulse.due(at(160)), Some(Beat::Silent));
    }

    #[test]
    fn a_peer_that_takes_nothing_for_two_heartbeats_is_gone() {
        let (mut pulse, at) = start();
        pulse.look(at(10), true, true);
        pulse.look(at(50), true, true);
        pulse.heard(at(69));
        assert_eq!(pulse.due(at(69)), Some(Beat::Ping));
        assert_eq!(pulse.due(at(70)), Some(Beat::Stalled));
    }

    #[test]
    fn a_peer_that_takes_something_again_is_not_stalled() {
        let (mut pulse, at) = start();
        pulse.look(at(10), true, true);
        pulse.look(at(69), true, false);
        pulse.heard(at(69));
        assert_eq!(pulse.due(at(70)), Some(Beat::Ping));
        assert_eq!(pulse.due(at(71)), None);
    }
}
