//! A state store in memory, for tests of what is above it: it fails and crashes when it is told to.
//!
//! It keeps the rows as of the last checkpoint, and what that checkpoint replaced, so that it can go back by one.
//! Nothing in it outlives the process.

use std::collections::BTreeMap;
use std::io;

use parking_lot::Mutex;

use super::{Change, StateBatch, StateError, StateStore, Visit};

/// Rows in a map. A crash is [`MemoryStore::crash`]; what is left then is what a restart would find.
#[derive(Debug, Default)]
pub struct MemoryStore {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the last checkpoint replaced, newest change last: undone from the end.
    replaced: Vec<Change>,
    fail_next: Option<Failure>,
    broken: bool,
}

/// What a checkpoint that is told to fail leaves on the disk. The caller sees the same error for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing of its batch.
    BeforeWriting,
    /// All of its batch, as when only the last sync failed.
    AfterWriting,
}

/// Which checkpoint is the newest that a crash leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashTo {
    /// The last one that was written.
    TheLast,
    /// The one before it: the disk had claimed a sync that it had not done. Twice in a row goes back no further.
    TheOneBefore,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        MemoryStore::default()
    }

    /// Makes the next checkpoint that is not empty fail, which breaks the store until [`crash`](MemoryStore::crash).
    pub fn fail_next_checkpoint(&self, failure: Failure) {
        self.inner.lock().fail_next = Some(failure);
    }

    /// Becomes what a restart would find: the rows of the checkpoint that `to` names, and not broken.
    pub fn crash(&self, to: CrashTo) {
        let mut inner = self.inner.lock();
        let replaced = std::mem::take(&mut inner.replaced);
        if to == CrashTo::TheOneBefore {
            for change in replaced.into_iter().rev() {
                inner.apply(change);
            }
        }
        inner.broken = false;
        inner.fail_next = None;
    }
}

impl Inner {
    fn check(&self) -> Result<(), StateError> {
        if self.broken {
            Err(StateError::Broken)
        } else {
            Ok(())
        }
    }

    /// Gives back the change that undoes it.
    fn apply(&mut self, (key, value): Change) -> Change {
        let before = match value {
            Some(value) => self.rows.insert(key.clone(), value),
            None => self.rows.remove(&key),
        };
        (key, before)
    }

    fn write(&mut self, batch: StateBatch) {
        self.replaced = batch
            .changes
            .into_iter()
            .map(|change| self.apply(change))
            .collect();
    }

    fn fail(&mut self, failure: Failure, batch: StateBatch) -> StateError {
        if failure == Failure::AfterWriting {
            self.write(batch);
        }
        self.broken = true;
        StateError::Store {
            doing: "sync a checkpoint",
            source: Box::new(io::Error::other("told to fail")),
        }
    }
}

impl StateStore for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let inner = self.inner.lock();
        inner.check()?;
        Ok(inner.rows.get(key).cloned())
    }

    fn salvage(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.inner.lock().rows.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StateError> {
        let inner = self.inner.lock();
        inner.check()?;
        let from_prefix = inner.rows.range(prefix.to_vec()..);
        for (key, value) in from_prefix.take_while(|(key, _)| key.starts_with(prefix)) {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn checkpoint(&self, batch: StateBatch) -> Result<(), StateError> {
        let mut inner = self.inner.lock();
        inner.check()?;
        batch.check_sizes()?;
        if batch.is_empty() {
            return Ok(());
        }
        match inner.fail_next.take() {
            Some(failure) => Err(inner.fail(failure, batch)),
            None => {
                inner.write(batch);
                Ok(())
            }
        }
    }

    fn bytes_on_disk(&self) -> u64 {
        let bytes: usize = self
            .inner
            .lock()
            .rows
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum();
        u64::try_from(bytes).expect("a length fits 64 bits")
    }
}
