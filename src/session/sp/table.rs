//! What waits for an answer, by a key, the oldest first: bounded in number and in time.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// Entries by key. Not more than there may be: the oldest goes for a new one.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    entries: HashMap<K, (u64, Instant, V)>,
    by_age: BTreeMap<u64, K>,
    next: u64,
    most: usize,
}

impl<K: Clone + Eq + Hash, V> Table<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Table {
            entries: HashMap::new(),
            by_age: BTreeMap::new(),
            next: 0,
            most: most.max(1),
        }
    }

    /// Puts an entry in, in place of one with the same key; gives what had to go for it.
    pub(super) fn insert(&mut self, key: K, now: Instant, value: V) -> Option<V> {
        let replaced = self.remove(&key);
        let displaced = match self.entries.len() < self.most {
            true => None,
            false => self.pop_oldest(),
        };
        self.by_age.insert(self.next, key.clone());
        self.entries.insert(key, (self.next, now, value));
        self.next += 1;
        replaced.or(displaced)
    }

    pub(super) fn remove<Q: Eq + Hash + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (age, _, value) = self.entries.remove(key)?;
        self.by_age.remove(&age);
        Some(value)
    }

    /// Since when the entry is there.
    pub(super) fn since(&self, key: &K) -> Option<Instant> {
        self.entries.get(key).map(|(_, since, _)| *since)
    }

    /// Since when the oldest is there.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let (_, key) = self.by_age.first_key_value()?;
        self.since(key)
    }

    /// Takes the oldest.
    pub(super) fn pop_oldest(&mut self) -> Option<V> {
        let (_, key) = self.by_age.pop_first()?;
        self.entries.remove(&key).map(|(_, _, value)| value)
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, _, value)| value)
    }
}
