//! The state store: the fold's result as rows, a cache of the log that may be deleted at any time while stopped.
//!
//! ```text
//! checkpoint: one atomic batch ─▶ flush ─▶ fsync of the file ─▶ Ok: durable
//! ```
//!
//! sled 0.34 is used within what it can do (FORMAT.md, "State store"): one tree, one writer, one batch a checkpoint, rows
//! of at most some kilobytes, no row for a single message. Its own `flush` leaves the bytes to the drive's cache, so the
//! file is synced besides; what it may still lose or mix in a power cut is found out by the sums in the rows.
//!
//! Always, each with a test of its name in `storage/tests/state.rs`:
//! - `a_finished_checkpoint_is_there_after_reopening`
//! - `a_killed_process_leaves_whole_checkpoints`
//! - `a_store_that_cannot_be_opened_is_set_aside`
//!
//! Not here: what the rows mean (engine).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::UnixMillis;

/// Memory that sled may use for its page cache; what it really takes is a small multiple.
const CACHE_BYTES: u64 = 64 << 20;

/// The state store failed; the log still has everything.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file system said no.
    #[error("{doing} {} failed", path.display())]
    Io {
        /// What was being done, as a participle.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// sled reported an error.
    #[error("the state store failed while {doing}")]
    Store {
        /// What was being done, as a participle.
        doing: &'static str,
        /// What sled said.
        source: Box<sled::Error>,
    },
    /// sled panicked.
    #[error("the state store broke down while {doing}")]
    Panicked {
        /// What was being done, as a participle.
        doing: &'static str,
    },
}

/// Rows to put and to remove, in order, all or none.
#[derive(Debug, Clone, Default)]
pub struct StateBatch {
    changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl StateBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a row, in place of any of that key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push((key, Some(value)));
    }

    /// Removes a row, if there is one.
    pub fn remove(&mut self, key: Vec<u8>) {
        self.changes.push((key, None));
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> usize {
        self.changes
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len))
            .sum()
    }
}

/// Rows by key, changed in whole checkpoints.
pub trait StateStore: Send + Sync {
    /// The row of that key.
    ///
    /// # Errors
    /// [`StateError`]: throw the store away, the log rebuilds it.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// Visits the rows whose key begins with `prefix`, in order of keys, until told to stop.
    ///
    /// # Errors
    /// As [`StateStore::get`].
    fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StateError>;

    /// Applies a batch, all or none. Durable on return.
    ///
    /// # Errors
    /// As [`StateStore::get`]; whether the batch is in is then unknown.
    fn checkpoint(&self, batch: StateBatch) -> Result<(), StateError>;

    /// Bytes that it takes on disk.
    fn bytes_on_disk(&self) -> u64;
}

/// The store that a broker uses.
pub struct SledStore {
    db: sled::Db,
    dir: PathBuf,
}

impl SledStore {
    /// Opens the store in `dir`, making an empty one where there is none.
    ///
    /// # Errors
    /// [`StateError`]: it cannot be opened; see [`SledStore::open_or_set_aside`].
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let open = || {
            sled::Config::new()
                .path(dir)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .open()
        };
        let db = guarded("being opened", open)?;
        let store = SledStore {
            db,
            dir: dir.to_owned(),
        };
        guarded("being opened", || store.db.flush())?;
        for file in ["db", "conf"] {
            store.sync(&dir.join(file))?;
        }
        store.sync(dir)?;
        if let Some(parent) = dir.parent() {
            store.sync(parent)?;
        }
        Ok(store)
    }

    /// As [`SledStore::open`]; a store that cannot be opened is moved to `state.sled.bad-…` beside it and an empty one
    /// takes its place. Gives where the bad one went, if there was one.
    ///
    /// # Errors
    /// [`StateError`]: not even an empty one can be made.
    pub fn open_or_set_aside(
        dir: &Path,
        now: UnixMillis,
    ) -> Result<(Self, Option<PathBuf>), StateError> {
        match Self::open(dir) {
            Ok(store) => Ok((store, None)),
            Err(error) => {
                tracing::warn!(%error, dir = %dir.display(), "the state store cannot be opened: the log rebuilds it");
                let aside = set_aside(dir, now)?;
                Ok((Self::open(dir)?, Some(aside)))
            }
        }
    }

    fn sync(&self, path: &Path) -> Result<(), StateError> {
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.map_err(|source| StateError::Io {
            doing: "syncing",
            path: path.to_owned(),
            source,
        })
    }
}

/// Moves a store's folder out of the way; durable on return. Gives where it went.
///
/// # Errors
/// [`StateError::Io`].
pub fn set_aside(dir: &Path, now: UnixMillis) -> Result<PathBuf, StateError> {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".bad-{now}"));
    let aside = dir.with_file_name(name);
    let parent = dir.parent().unwrap_or(Path::new("."));
    let moved = fs::rename(dir, &aside).and_then(|()| File::open(parent)?.sync_all());
    moved.map_err(|source| StateError::Io {
        doing: "moving",
        path: dir.to_owned(),
        source,
    })?;
    Ok(aside)
}

/// sled panics where it should give an error; nobody above may go down with it.
fn guarded<T>(
    doing: &'static str,
    call: impl FnOnce() -> sled::Result<T>,
) -> Result<T, StateError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(StateError::Store {
            doing,
            source: Box::new(source),
        }),
        Err(_panic) => Err(StateError::Panicked { doing }),
    }
}

impl StateStore for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(guarded("being read", || self.db.get(key))?.map(|value| value.to_vec()))
    }

    fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        guarded("being read", || {
            for row in self.db.scan_prefix(prefix) {
                let (key, value) = row?;
                if visit(&key, &value).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn checkpoint(&self, batch: StateBatch) -> Result<(), StateError> {
        let mut changes = sled::Batch::default();
        for (key, value) in batch.changes {
            match value {
                Some(value) => changes.insert(key, value),
                None => changes.remove(key),
            }
        }
        guarded("being written", || self.db.apply_batch(changes))?;
        guarded("being flushed", || self.db.flush())?;
        self.sync(&self.dir.join("db"))
    }

    fn bytes_on_disk(&self) -> u64 {
        guarded("being measured", || self.db.size_on_disk()).unwrap_or(0)
    }
}

/// A store in memory, for tests: it can fail, and crash back to an earlier checkpoint.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    before: BTreeMap<Vec<u8>, Vec<u8>>,
    failing: bool,
}

impl MemoryStore {
    /// From here on, every checkpoint fails.
    pub fn fail(&self) {
        self.state.lock().failing = true;
    }

    /// A copy as a crash may leave it: with the last checkpoint, or without it if that had not finished.
    #[must_use]
    pub fn crashed(&self, with_last: bool) -> MemoryStore {
        let state = self.state.lock();
        let rows = if with_last {
            state.rows.clone()
        } else {
            state.before.clone()
        };
        MemoryStore {
            state: Mutex::new(Memory {
                before: rows.clone(),
                rows,
                failing: false,
            }),
        }
    }
}

impl StateStore for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.state.lock().rows.get(key).cloned())
    }

    fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        let rows = self.state.lock().rows.clone();
        for (key, value) in rows
            .range(prefix.to_vec()..)
            .take_while(|(key, _)| key.starts_with(prefix))
        {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn checkpoint(&self, batch: StateBatch) -> Result<(), StateError> {
        let mut state = self.state.lock();
        if state.failing {
            return Err(StateError::Panicked {
                doing: "being written",
            });
        }
        state.before = state.rows.clone();
        for (key, value) in batch.changes {
            match value {
                Some(value) => state.rows.insert(key, value),
                None => state.rows.remove(&key),
            };
        }
        Ok(())
    }

    fn bytes_on_disk(&self) -> u64 {
        self.state
            .lock()
            .rows
            .iter()
            .map(|(key, value)| (key.len() + value.len()) as u64)
            .sum()
    }
}
