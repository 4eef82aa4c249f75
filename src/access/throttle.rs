//! Who was wrong too often lately has to wait, longer each time; and a table that forgets, so that strangers cannot fill
//! memory.
//!
//! Each name has a bucket that holds `per_minute` tries and fills up evenly within a minute. Only what was wrong takes one. Once
//! it is empty, each further wrong try closes it for twice as long as the one before, up to a maximum; a name that was
//! quiet for as long again after that begins anew. So nobody is locked out for good.
//!
//! Always, with tests of these names below: `a_name_waits_longer_each_time`, `nobody_waits_longer_than_the_most`,
//! `a_quiet_name_is_forgiven`, `a_table_is_bounded`.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

const MINUTE: Duration = Duration::from_mins(1);

/// Per generation: at 100 bytes an entry, less than 2 MiB for a full table.
const ENTRIES_MAX: usize = 8192;

/// A map that keeps what was put in for a while, and forgets it before twice that has passed.
///
/// Two generations: when the younger is that old or full, it becomes the older, and what was the older is dropped.
pub(super) struct Recent<K, V> {
    keep: Duration,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    young_since: Instant,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    pub(super) fn new(now: Instant, keep: Duration) -> Self {
        Recent {
            keep,
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
        if aged >= self.keep || self.young.len() >= ENTRIES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_since = now;
        }
        self.young.insert(key, value);
    }
}

/// How often a name was wrong of late.
#[derive(Clone, Copy)]
struct Record {
    /// When its bucket is full again.
    full_at: Instant,
    /// Wrong tries since the bucket was empty first.
    strikes: u32,
    /// Until when it has to wait.
    closed_until: Instant,
}

/// The buckets of one kind of name.
pub(super) struct Throttle<K> {
    /// What one wrong try costs; also the first wait.
    cost: Duration,
    /// The longest wait.
    wait_max: Duration,
    records: Mutex<Recent<K, Record>>,
}

impl<K: Hash + Eq> Throttle<K> {
    /// Buckets of `per_minute` tries, at least 1, that are closed for `wait_max` at most.
    pub(super) fn new(now: Instant, per_minute: u32, wait_max: Duration) -> Self {
        Throttle {
            cost: MINUTE / per_minute.max(1),
            wait_max,
            records: Mutex::new(Recent::new(now, 2 * wait_max + MINUTE)),
        }
    }

    /// How long `name` has to wait; `None` if it may try now.
    pub(super) fn wait<Q: Hash + Eq + ?Sized>(&self, now: Instant, name: &Q) -> Option<Duration>
    where
        K: Borrow<Q>,
    {
        let closed_until = self.records.lock().get(name)?.closed_until;
        let wait = closed_until.saturating_duration_since(now);
        (wait > Duration::ZERO).then_some(wait)
    }

    /// Notes that `name` was wrong. True: it has to wait from now on, and had not to before.
    pub(super) fn charge(&self, now: Instant, name: K) -> bool {
        let mut table = self.records.lock();
        let mut record = table.get(&name).copied().unwrap_or(Record {
            full_at: now,
            strikes: 0,
            closed_until: now,
        });
        if now >= record.closed_until + self.wait_max {
            record.strikes = 0;
        }
        record.full_at = (record.full_at.max(now) + self.cost).min(now + MINUTE);
        if record.strikes > 0 || record.full_at + self.cost > now + MINUTE {
            let wait = self.cost.saturating_mul(1 << record.strikes.min(16));
            record.closed_until = now + wait.min(self.wait_max);
            record.strikes = record.strikes.saturating_add(1);
        }
        let first = record.strikes == 1;
        table.insert(now, name, record);
        first
    }

    #[cfg(test)]
    pub(super) fn is_charged(&self, name: &K) -> bool {
        self.records.lock().get(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_mins(5);

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_name_may_be_wrong_so_often_and_then_waits() {
        let start = Instant::now();
        let throttle: Throttle<String> = Throttle::new(start, 3, MOST);
        let mut told = Vec::new();
        for _ in 0..3 {
            assert_eq!(throttle.wait(start, "ada"), None);
            told.push(throttle.charge(start, "ada".to_owned()));
        }
        assert_eq!(throttle.wait(start, "ada"), Some(Duration::from_secs(20)));
        // Told when it begins to wait.
        assert_eq!(told, [false, false, true]);
        assert_eq!(throttle.wait(start, "bob"), None);
        assert_eq!(
            throttle.wait(after(start, 19), "ada"),
            Some(Duration::from_secs(1))
        );
        assert_eq!(throttle.wait(after(start, 20), "ada"), None);
    }

    #[test]
    fn a_slow_name_never_waits() {
        let start = Instant::now();
        let throttle: Throttle<u32> = Throttle::new(start, 3, MOST);
        for try_ in 0..100 {
            let now = after(start, try_ * 20);
            assert_eq!(throttle.wait(now, &7), None);
            throttle.charge(now, 7);
        }
    }

    #[test]
    fn a_name_waits_longer_each_time() {
        let start = Instant::now();
        let throttle: Throttle<u32> = Throttle::new(start, 2, MOST);
        throttle.charge(start, 7);
        let mut now = start;
        for seconds in [30, 60, 120, 240, 300, 300] {
            throttle.charge(now, 7);
            assert_eq!(throttle.wait(now, &7), Some(Duration::from_secs(seconds)));
            now = after(now, seconds);
            assert_eq!(throttle.wait(now, &7), None);
        }
    }

    #[test]
    fn nobody_waits_longer_than_the_most() {
        let start = Instant::now();
        let throttle: Throttle<u32> = Throttle::new(start, 2, MOST);
        for _ in 0..1000 {
            throttle.charge(start, 7);
        }
        assert_eq!(throttle.wait(start, &7), Some(MOST));
        assert_eq!(throttle.wait(after(start, 300), &7), None);
    }

    #[test]
    fn a_quiet_name_is_forgiven() {
        let start = Instant::now();
        let throttle: Throttle<u32> = Throttle::new(start, 2, MOST);
        for _ in 0..10 {
            throttle.charge(start, 7);
        }
        let later = after(start, 600);
        throttle.charge(later, 7);
        assert_eq!(throttle.wait(later, &7), None);
        throttle.charge(later, 7);
        assert_eq!(throttle.wait(later, &7), Some(Duration::from_secs(30)));
    }

    #[test]
    fn what_was_charged_is_remembered_while_it_counts() {
        let start = Instant::now();
        let throttle: Throttle<u32> = Throttle::new(start, 1, MOST);
        throttle.charge(after(start, 659), 7);
        throttle.charge(after(start, 661), 8);
        assert_eq!(
            throttle.wait(after(start, 718), &7),
            Some(Duration::from_secs(1))
        );
    }

    #[test]
    fn a_table_is_bounded() {
        let start = Instant::now();
        let throttle: Throttle<usize> = Throttle::new(start, 1, MOST);
        for name in 0..ENTRIES_MAX * 5 {
            throttle.charge(start, name);
        }
        let table = throttle.records.lock();
        assert!(table.young.len() + table.old.len() <= 2 * ENTRIES_MAX);
    }
}
