//! Durable sessions that nobody is attached to, and when they end.
//!
//! Always, with a test of this name: `whoever_comes_back_does_not_end`. Not here: what the end of a session is (fold).

use std::collections::BTreeSet;

use restante_storage::{SessionNo, UnixMillis};
use rustc_hash::FxHashMap;

/// By session and by time: to find those that are over costs what they are, not what all are.
#[derive(Debug, Default)]
pub(super) struct Detached {
    ends: FxHashMap<SessionNo, UnixMillis>,
    by_time: BTreeSet<(UnixMillis, SessionNo)>,
}

impl Detached {
    /// When it ends; none: somebody is attached to it.
    pub(super) fn get(&self, session: SessionNo) -> Option<UnixMillis> {
        self.ends.get(&session).copied()
    }

    pub(super) fn insert(&mut self, session: SessionNo, at: UnixMillis) {
        self.remove(session);
        self.ends.insert(session, at);
        self.by_time.insert((at, session));
    }

    pub(super) fn remove(&mut self, session: SessionNo) {
        if let Some(at) = self.ends.remove(&session) {
            self.by_time.remove(&(at, session));
        }
    }

    /// Those whose time is up, the longest over first; so many at most.
    pub(super) fn over(&self, now: UnixMillis, limit: usize) -> Vec<SessionNo> {
        let over = self.by_time.iter().take_while(|(at, _)| *at <= now);
        over.take(limit).map(|(_, session)| *session).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_back_does_not_end() {
        let (at, session) = (UnixMillis::new, SessionNo::new);
        let mut detached = Detached::default();
        for (number, ends) in [(1, 30), (2, 10), (3, 20), (4, 5), (4, 90)] {
            detached.insert(session(number), at(ends));
        }
        detached.remove(session(2));
        assert_eq!(detached.over(at(29), 9), [session(3)]);
        assert_eq!(detached.over(at(90), 2), [session(3), session(1)]);
        assert_eq!(detached.get(session(2)), None);
        assert_eq!(detached.get(session(4)), Some(at(90)));
    }
}
