//! Who was wrong too often lately has to wait; and a table that forgets, so that strangers cannot fill memory.
//!
//! Each name has a bucket that holds `per_minute` tries and fills up evenly within a minute. Only what was wrong takes
//! one. So nobody is locked out for longer than a minute after the last wrong try, and a bucket that nobody touched for a
//! minute is full, which is what one that is not in the table is: it may be forgotten.
//!
//! Always, with tests of these names below: `a_name_waits_no_longer_than_a_minute`, `a_table_is_bounded`.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

const MINUTE: Duration = Duration::from_mins(1);

/// Per generation: at 100 bytes an entry, less than 2 MiB for a full table.
const ENTRIES_MAX: usize = 8192;

/// A map that keeps what was put in within the last minute, and forgets it before two have passed.
///
/// Two generations: when the younger is a minute old or full, it becomes the older, and what was the older is dropped.
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    young_since: Instant,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    pub(super) fn new(now: Instant) -> Self {
        Recent {
            young: HashMap::new(),
            old: HashMap::new(),
            young_since: now,
        }
    }

    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    pub(super) fn insert(&mut self, now: Instant, key: K, value: V) {
        let aged = now.saturating_duration_since(self.young_since);
        if aged >= MINUTE || self.young.len() >= ENTRIES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_since = now;
        }
        self.young.insert(key, value);
    }
}

/// The buckets of one kind of name.
pub(super) struct Throttle<K> {
    /// What one wrong try costs.
    cost: Duration,
    /// When each name's bucket will be full again.
    full_at: Mutex<Recent<K, Instant>>,
}

impl<K: Hash + Eq> Throttle<K> {
    /// Buckets of `per_minute` tries; at least 1.
    pub(super) fn new(now: Instant, per_minute: u32) -> Self {
        Throttle {
            cost: MINUTE / per_minute.max(1),
            full_at: Mutex::new(Recent::new(now)),
        }
    }

    /// How long `name` has to wait; `None` if it may try now.
    pub(super) fn wait<Q: Hash + Eq + ?Sized>(&self, now: Instant, name: &Q) -> Option<Duration>
    where
        K: Borrow<Q>,
    {
        let full_at = *self.full_at.lock().get(name)?;
        let wait = (full_at.saturating_duration_since(now) + self.cost).saturating_sub(MINUTE);
        (wait > Duration::ZERO).then_some(wait)
    }

    /// Takes one try of `name`'s.
    pub(super) fn charge(&self, now: Instant, name: K) {
        let mut table = self.full_at.lock();
        let full_at = table.get(&name).copied().unwrap_or(now).max(now) + self.cost;
        table.insert(now, name, full_at.min(now + MINUTE));
    }

    #[cfg(test)]
    pub(super) fn is_charged(&self, name: &K) -> bool {
        self.full_at.lock().get(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_name_may_be_wrong_so_often_and_then_waits() {
        let start = Instant::now();
        let throttle: Throttle<String> = Throttle::new(start, 3);
        for _ in 0..3 {
            assert_eq!(throttle.wait(start, "ada"), None);
            throttle.charge(start, "ada".to_owned());
        }
        assert_eq!(throttle.wait(start, "ada"), Some(Duration::from_secs(20)));
        assert_eq!(throttle.wait(start, "bob"), None);
        assert_eq!(
            throttle.wait(after(start, 19), "ada"),
            Some(Duration::from_secs(1))
        );
        assert_eq!(throttle.wait(after(start, 20), "ada"), None);
        throttle.charge(after(start, 20), "ada".to_owned());
        assert_eq!(
            throttle.wait(after(start, 20), "ada"),
            Some(Duration::from_secs(20))
        );
    }

    #[test]
    fn a_name_waits_no_longer_than_a_minute() {
        let start = Instant::now();
        let throttle: Throttle<u32> = Throttle::new(start, 2);
        for _ in 0..1000 {
            throttle.charge(start, 7);
        }
        assert_eq!(throttle.wait(start, &7), Some(Duration::from_secs(30)));
        assert_eq!(throttle.wait(after(start, 30), &7), None);
    }

    #[test]
    fn what_was_charged_is_remembered_for_its_minute() {
        let start = Instant::now();
        let throttle: Throttle<u32> = Throttle::new(start, 1);
        throttle.charge(after(start, 59), 7);
        throttle.charge(after(start, 61), 8);
        assert_eq!(
            throttle.wait(after(start, 118), &7),
            Some(Duration::from_secs(1))
        );
    }

    #[test]
    fn a_table_is_bounded() {
        let start = Instant::now();
        let throttle: Throttle<usize> = Throttle::new(start, 1);
        for name in 0..ENTRIES_MAX * 5 {
            throttle.charge(start, name);
        }
        let table = throttle.full_at.lock();
        assert!(table.young.len() + table.old.len() <= 2 * ENTRIES_MAX);
    }
}
