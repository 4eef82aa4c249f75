//! Sessions with a time each: those that nobody is attached to, and when they end; those whose will waits, and until when.
//!
//! Always, with a test of this name: `whoever_comes_back_is_not_over`. Not here: what happens then (fold, errands).

use std::collections::BTreeSet;

use restante_storage::{SessionNo, UnixMillis};
use rustc_hash::FxHashMap;

/// By session and by time: to find those that are over costs what they are, not what all are.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    of: FxHashMap<SessionNo, UnixMillis>,
    by_time: BTreeSet<(UnixMillis, SessionNo)>,
}

impl Deadlines {
    /// Its time; none: it is not here.
    pub(super) fn get(&self, session: SessionNo) -> Option<UnixMillis> {
        self.of.get(&session).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    pub(super) fn insert(&mut self, session: SessionNo, at: UnixMillis) {
        self.remove(session);
        self.of.insert(session, at);
        self.by_time.insert((at, session));
    }

    pub(super) fn remove(&mut self, session: SessionNo) {
        if let Some(at) = self.of.remove(&session) {
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
    fn whoever_comes_back_is_not_over() {
        let (at, session) = (UnixMillis::new, SessionNo::new);
        let mut deadlines = Deadlines::default();
        for (number, ends) in [(1, 30), (2, 10), (3, 20), (4, 5), (4, 90)] {
            deadlines.insert(session(number), at(ends));
        }
        deadlines.remove(session(2));
        assert_eq!(deadlines.over(at(29), 9), [session(3)]);
        assert_eq!(deadlines.over(at(90), 2), [session(3), session(1)]);
        assert_eq!(deadlines.get(session(2)), None);
        assert_eq!(deadlines.get(session(4)), Some(at(90)));
    }
}
