//! The state store: the fold's result as of a checkpoint, so that a restart replays a tail and not the whole log.
//!
//! ```text
//! engine ─▶ dirty rows ─▶ StateBatch ─▶ checkpoint() ─▶ one atomic batch ─▶ flush ─▶ fsync ─▶ Ok: durable
//! restart ─▶ get("m/ckpt"), scan("q/") … ─▶ replay of the log from there
//! ```
//!
//! It is a cache, never the truth: the log alone rebuilds it, and its directory may be deleted while the broker is
//! stopped. So a store that fails once is given up and not repaired: every later call is refused, and the next
//! open puts it aside and starts with an empty one. But for [`salvage`](StateStore::salvage): whoever has left something to
//! the store alone, and knows its checksum, may ask for it until then.
//!
//! Always, for both stores, each with a test of its name in `state/conformance.rs`:
//! - `a_checkpoint_is_there_after_reopening`, and `a_batch_applies_in_its_order`.
//! - `a_failed_checkpoint_is_final`: no row can be read or written after one, but for what is salvaged.
//! - `a_killed_process_leaves_whole_checkpoints` (sled only): all rows of a batch or none, and all that was promised.
//!
//! Not here: what a row means (the engine), when a checkpoint is made, which log segments it frees. Keys and files:
//! FORMAT.md §6. No row for each message, and no row larger than [`VALUE_BYTES_MAX`].

use std::error::Error;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

mod memory;
mod sled_store;

#[cfg(test)]
mod conformance;

pub use memory::{CrashTo, Failure, MemoryStore};
pub use sled_store::{Opened, SetAside, SledStore};

/// The longest key that a store takes, in bytes.
pub const KEY_BYTES_MAX: usize = 256;

/// The longest value that a store takes, in bytes.
// 24 KiB: 20 rows of it, the most that a leaf of sled's tree holds, stay below a quarter of `SEGMENT_BYTES`
// (sled_store.rs says why they must). A chunk of 1024 references with all its columns fits.
pub const VALUE_BYTES_MAX: usize = 24 * 1024;

/// What [`StateStore::scan`] shows rows to: it takes a key and its value, and answers `Break` when it has seen enough.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Rows by key, written in atomic and durable batches.
///
/// One writer at a time: a second [`checkpoint`](StateStore::checkpoint) waits for the first. All calls may block on
/// the disk, so none belongs on an async worker.
///
/// After any [`StateError`] except the two that refuse a row for its size, the store is broken: every later call
/// gives [`StateError::Broken`]. The caller goes on from the log: it exits and recovers, or rebuilds in a fresh store.
pub trait StateStore: Send + Sync {
    /// The value under `key`; `None` if there is no such row.
    ///
    /// What a checkpoint wrote may be seen a moment before that checkpoint is durable.
    ///
    /// # Errors
    /// [`StateError::Store`], [`StateError::Panicked`] if the row cannot be read; [`StateError::Broken`].
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// As [`get`](StateStore::get); after a failed checkpoint, what is found. That may be of before that checkpoint or of it,
    /// or nothing: for those alone who can tell whether it is what they look for.
    ///
    /// # Errors
    /// As [`get`](StateStore::get). [`StateError::Broken`] only where the store cannot be asked any more.
    fn salvage(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError>;

    /// Shows `visit` all rows whose keys begin with `prefix`, in order of key, until it answers `Break`.
    ///
    /// An empty prefix means all rows. Not a snapshot: of a checkpoint that is made meanwhile, some rows may be seen
    /// and others not. `visit` must not call the store, which may hold a lock meanwhile.
    ///
    /// # Errors
    /// As [`get`](StateStore::get); some rows may have been shown by then.
    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StateError>;

    /// Writes `batch` as one: after a crash all of it is there, or nothing of it. Durable when it returns `Ok`.
    ///
    /// An empty batch does nothing.
    ///
    /// # Errors
    /// [`StateError::KeyTooLong`], [`StateError::ValueTooLong`]: nothing was written and the store goes on.
    /// [`StateError::Store`], [`StateError::Panicked`], [`StateError::Io`]: whether the batch is there is not known,
    /// and the store is broken from now on.
    fn checkpoint(&self, batch: StateBatch) -> Result<(), StateError>;

    /// How much of the disk the store takes, in bytes; what cannot be read counts as zero.
    fn bytes_on_disk(&self) -> u64;
}

/// The rows that one checkpoint changes, in order: of two changes to one key the later holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateBatch {
    changes: Vec<Change>,
    bytes: u64,
}

/// A key and its new value; `None` removes the row.
type Change = (Vec<u8>, Option<Vec<u8>>);

impl StateBatch {
    /// A batch that changes nothing yet.
    pub fn new() -> Self {
        StateBatch::default()
    }

    /// Sets the row `key` to `value`, whether it is there or not.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.push(key.into(), Some(value.into()));
    }

    /// Removes the row `key`, if it is there.
    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.push(key.into(), None);
    }

    /// The sum of the lengths of all keys and values in it: what it holds in memory, roughly.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many changes it holds; two to one key count as two.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn push(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
        self.bytes += u64::try_from(bytes).expect("a length fits 64 bits");
        self.changes.push((key, value));
    }

    fn check_sizes(&self) -> Result<(), StateError> {
        for (key, value) in &self.changes {
            if key.len() > KEY_BYTES_MAX {
                return Err(StateError::KeyTooLong { bytes: key.len() });
            }
            if let Some(value) = value.as_ref().filter(|value| value.len() > VALUE_BYTES_MAX) {
                return Err(StateError::ValueTooLong {
                    key: key.clone(),
                    bytes: value.len(),
                });
            }
        }
        Ok(())
    }
}

/// Why the state store did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A key above [`KEY_BYTES_MAX`]: a bug of the caller, nothing was written.
    #[error("a state row's key has {bytes} bytes, {KEY_BYTES_MAX} are allowed")]
    KeyTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A value above [`VALUE_BYTES_MAX`]: a bug of the caller, nothing was written.
    #[error("the state row {key:02x?} has {bytes} bytes, {VALUE_BYTES_MAX} are allowed")]
    ValueTooLong {
        /// Whose value it is.
        key: Vec<u8>,
        /// How long it is.
        bytes: usize,
    },
    /// The file system refused something that we asked of it ourselves.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Somebody else has the store open: another process, or a store in this one that is not dropped yet.
    #[error("the state store {} is in use", path.display())]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// The store below refused, for what it found on disk or for what the disk said.
    #[error("the state store could not {doing}")]
    Store {
        /// What was being done, as a verb.
        doing: &'static str,
        /// What it said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The store below panicked.
    #[error("the state store panicked in {doing}: {message}")]
    Panicked {
        /// What was being done, as a verb.
        doing: &'static str,
        /// What the panic said; empty if it was no text.
        message: String,
    },
    /// An earlier call failed: nothing is read or written any more. On open: the run that wrote it ended so.
    #[error("the state store failed earlier and is not used any more")]
    Broken,
}
