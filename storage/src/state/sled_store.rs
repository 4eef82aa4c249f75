//! The state store on disk: one tree of sled 0.34, used only in the ways that were measured to hold.
//!
//! ```text
//! checkpoint ─▶ apply_batch ─▶ flush ─▶ fsync of new files in blobs/ ─▶ fsync of db ─▶ Ok
//!      └─ any error or panic ─▶ file BROKEN ─▶ every later call and the next open are refused
//! ```
//!
//! sled's own `flush()` is no durability point: it hands pages to the disk without an fsync, and a power cut loses
//! them all. So every checkpoint ends with an fsync of ours. sled panics on some of what it finds on a disk, so every
//! call is made inside `catch_unwind`. A batch that fails half-way is *not* taken back by sled: it closes the batch
//! as if it had never been one and may write the first half of it. Therefore the marker file, and therefore a broken
//! database is leaked and not dropped, since dropping it flushes.
//!
//! Always, each with a test of its name in `state/conformance.rs`:
//! - `a_killed_process_leaves_whole_checkpoints`, and `half_a_checkpoint_is_never_opened`.
//! - `what_cannot_be_opened_is_set_aside`: a start never fails for what is in this directory.
//! - `no_page_becomes_a_file_of_its_own`.
//!
//! Not here: retries. Files: FORMAT.md §6.

use std::any::Any;
use std::collections::HashSet;
use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

use super::{StateBatch, StateError, StateStore, Visit};
use crate::UnixMillis;

/// sled's page cache. Its real memory is a small multiple of this.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// The unit of sled's file, 4 times its default.
///
/// A page above a quarter of it becomes a file in `blobs/`, and if that file is missing after a power cut sled drops
/// the page without a word: half a checkpoint. A leaf splits above 16 rows and a merge can add 4 more, so 2 MiB hold
/// any leaf of rows of `VALUE_BYTES_MAX`; by default, rows of 8 kB are too large already. 8 MiB needed twice the disk
/// and three times the memory for 10,000 rows of 8 kB in motion.
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;

/// How long an open waits for the lock: sled's I/O threads may hold it for a moment after a store was dropped.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// sled's one large file, which all syncs are about.
const DB: &str = "db";

/// Its presence means: a checkpoint failed here and may be there by half.
const BROKEN: &str = "BROKEN";

/// A state store in a directory.
pub struct SledStore {
    /// `None` only while it is dropped.
    db: Option<sled::Db>,
    dir: PathBuf,
    /// The file `db`, opened once: an error of writing it back is reported to every handle that was open by then.
    db_file: File,
    /// Held through a checkpoint: the names of the files in `blobs/` that are known to be on disk. None is ever
    /// written twice.
    synced_blobs: Mutex<HashSet<OsString>>,
    broken: AtomicBool,
    /// sled has panicked: it may wait for ever for what that thread was about to do, and is not called again.
    lost: AtomicBool,
}

/// A store, and how it was come by.
#[derive(Debug)]
pub struct Opened {
    /// The store, open.
    pub store: SledStore,
    /// Whether it was made just now, and so is empty. `false` says nothing of what is in it.
    pub fresh: bool,
    /// What was in its place and could not be opened; `None` from [`SledStore::open`].
    pub set_aside: Option<SetAside>,
}

/// A directory that could not be opened and was moved. Nobody needs it except to find out why; nobody removes it.
#[derive(Debug)]
pub struct SetAside {
    /// Where it is now.
    pub moved_to: PathBuf,
    /// Why it could not be opened.
    pub because: StateError,
}

impl SledStore {
    /// Opens the store in `dir`, or makes an empty one where there is none. May take seconds after a crash.
    ///
    /// When it returns, the files that it found or made are on disk, and so are their names.
    ///
    /// # Errors
    /// [`StateError::InUse`]; [`StateError::Io`]; [`StateError::Broken`], [`StateError::Store`],
    /// [`StateError::Panicked`]: see [`open_or_set_aside`](SledStore::open_or_set_aside).
    pub fn open(dir: &Path) -> Result<Opened, StateError> {
        if dir.join(BROKEN).exists() {
            return Err(StateError::Broken);
        }
        wait_for_lock(dir)?;
        let db = guarded("open", || {
            sled::Config::new()
                .path(dir)
                .cache_capacity(CACHE_BYTES)
                .segment_size(SEGMENT_BYTES)
                .flush_every_ms(None)
                .open()
        })?;
        sync_all_below(dir)?;
        sync_parent(dir)?;
        let db_path = dir.join(DB);
        let db_file = File::open(&db_path).map_err(io_error("open", &db_path))?;
        let fresh = !db.was_recovered();
        let store = SledStore {
            db: Some(db),
            dir: dir.to_owned(),
            db_file,
            synced_blobs: Mutex::default(),
            broken: AtomicBool::new(false),
            lost: AtomicBool::new(false),
        };
        Ok(Opened {
            store,
            fresh,
            set_aside: None,
        })
    }

    /// As [`open`](SledStore::open), but what cannot be opened for what is in it is moved to `DIR.bad-<now_millis>`
    /// (or the next number that is free) and an empty store is made in its place. The caller logs that and replays
    /// the whole log.
    ///
    /// # Errors
    /// What another directory would not help against: [`StateError::InUse`], and a file system that is full, read-only,
    /// forbids it, or has no file handles left.
    pub fn open_or_set_aside(dir: &Path, now: UnixMillis) -> Result<Opened, StateError> {
        let because = match SledStore::open(dir) {
            Err(error) if lies_in_the_contents(&error) => error,
            opened_or_hopeless => return opened_or_hopeless,
        };
        let moved_to = free_name(dir, now);
        fs::rename(dir, &moved_to).map_err(io_error("set aside", dir))?;
        sync_parent(dir)?;
        let opened = SledStore::open(dir)?;
        Ok(Opened {
            set_aside: Some(SetAside { moved_to, because }),
            ..opened
        })
    }

    fn db(&self) -> Result<&sled::Db, StateError> {
        if self.broken.load(Ordering::Acquire) {
            return Err(StateError::Broken);
        }
        self.db.as_ref().ok_or(StateError::Broken)
    }

    /// The call's result; its failure breaks the store.
    fn or_broken<T>(&self, result: Result<T, StateError>) -> Result<T, StateError> {
        if matches!(result, Err(StateError::Panicked { .. })) {
            self.lost.store(true, Ordering::Release);
        }
        if result.is_err() && !self.broken.swap(true, Ordering::AcqRel) {
            self.mark_broken();
        }
        result
    }

    /// For the next open. Without it that open may succeed and find half a checkpoint.
    fn mark_broken(&self) {
        let path = self.dir.join(BROKEN);
        let marked = File::create(&path).and_then(|file| file.sync_all());
        let marked = marked.and_then(|()| File::open(&self.dir)?.sync_all());
        if let Err(error) = marked {
            tracing::error!(
                path = %path.display(), %error,
                "cannot mark the state store as broken: delete its directory before the next start"
            );
        }
    }

    fn write(&self, db: &sled::Db, batch: StateBatch) -> Result<(), StateError> {
        let mut synced_blobs = self.synced_blobs.lock();
        // Asked again: the checkpoint before, which we may have waited for, may have failed.
        self.db()?;
        let batch = into_sled(batch);
        guarded("write a checkpoint", || db.apply_batch(batch))?;
        guarded("flush a checkpoint", || db.flush())?;
        self.sync_new_blobs(&mut synced_blobs)?;
        let path = self.dir.join(DB);
        self.db_file.sync_all().map_err(io_error("sync", &path))
    }

    /// None is expected, see [`SEGMENT_BYTES`]; one that is there all the same must last.
    fn sync_new_blobs(&self, synced: &mut HashSet<OsString>) -> Result<(), StateError> {
        let blobs = self.dir.join("blobs");
        let mut present = HashSet::new();
        let mut any_new = false;
        for entry in fs::read_dir(&blobs).map_err(io_error("list", &blobs))? {
            let entry = entry.map_err(io_error("list", &blobs))?;
            if !synced.contains(&entry.file_name()) {
                sync_if_there(&entry.path())?;
                any_new = true;
            }
            present.insert(entry.file_name());
        }
        if any_new {
            sync(&blobs)?;
        }
        *synced = present;
        Ok(())
    }
}

impl StateStore for SledStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let db = self.db()?;
        let row = self.or_broken(guarded("read a row", || db.get(key)))?;
        Ok(row.map(|value| value.to_vec()))
    }

    fn salvage(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        // After an error, sled answers what it has in memory or on disk, or with that error again.
        if self.lost.load(Ordering::Acquire) {
            return Err(StateError::Broken);
        }
        let db = self.db.as_ref().ok_or(StateError::Broken)?;
        let row = self.or_broken(guarded("read a row", || db.get(key)))?;
        Ok(row.map(|value| value.to_vec()))
    }

    fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), StateError> {
        let mut rows = self.db()?.scan_prefix(prefix);
        // Only sled's part runs guarded: a panic of `visit` is the caller's own.
        while let Some((key, value)) =
            self.or_broken(guarded("read rows", || rows.next().transpose()))?
        {
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn checkpoint(&self, batch: StateBatch) -> Result<(), StateError> {
        let db = self.db()?;
        batch.check_sizes()?;
        if batch.is_empty() {
            return Ok(());
        }
        self.or_broken(self.write(db, batch))
    }

    fn bytes_on_disk(&self) -> u64 {
        bytes_below(&self.dir)
    }
}

impl std::fmt::Debug for SledStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledStore")
            .field("dir", &self.dir)
            .field("broken", &self.broken)
            .finish()
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let db = self.db.take();
        if self.broken.load(Ordering::Acquire) {
            std::mem::forget(db);
            return;
        }
        // sled flushes and syncs on drop, and panics where that fails. All that was promised is on disk already.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(db))) {
            tracing::warn!(
                message = panic_text(panic.as_ref()),
                "the state store panicked while it was closed"
            );
        }
    }
}

fn into_sled(batch: StateBatch) -> sled::Batch {
    let mut rows = sled::Batch::default();
    for (key, value) in batch.changes {
        match value {
            Some(value) => rows.insert(key, value),
            None => rows.remove(key),
        }
    }
    rows
}

/// Calls sled so that whatever happens there is an error here.
fn guarded<T, E>(doing: &'static str, call: impl FnOnce() -> Result<T, E>) -> Result<T, StateError>
where
    E: Error + Send + Sync + 'static,
{
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| StateError::Store {
            doing,
            source: Box::new(error),
        }),
        Err(panic) => Err(StateError::Panicked {
            doing,
            message: panic_text(panic.as_ref()),
        }),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}

/// Whether a fresh directory would open where this one did not.
fn lies_in_the_contents(error: &StateError) -> bool {
    match error {
        StateError::Broken | StateError::Panicked { .. } => true,
        StateError::Store { source, .. } => match source.downcast_ref() {
            Some(sled::Error::Io(error)) => !lies_in_the_surroundings(error),
            _ => true,
        },
        StateError::Io { source, .. } => !lies_in_the_surroundings(source),
        StateError::InUse { .. }
        | StateError::KeyTooLong { .. }
        | StateError::ValueTooLong { .. } => false,
    }
}

fn lies_in_the_surroundings(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    use rustix::io::Errno;
    let no_handles = [Errno::MFILE, Errno::NFILE].map(|errno| errno.raw_os_error());
    matches!(
        error.kind(),
        PermissionDenied | StorageFull | QuotaExceeded | ReadOnlyFilesystem | OutOfMemory
    ) || error
        .raw_os_error()
        .is_some_and(|errno| no_handles.contains(&errno))
}

/// Returns once nobody holds sled's lock; sled itself asks once, and answers with a text.
fn wait_for_lock(dir: &Path) -> Result<(), StateError> {
    let path = dir.join(DB);
    let db_file = match File::open(&path) {
        Ok(db_file) => db_file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("open", &path)(error)),
    };
    let deadline = Instant::now() + LOCK_WAIT;
    while let Err(errno) = flock(&db_file, FlockOperation::NonBlockingLockExclusive) {
        if errno != rustix::io::Errno::WOULDBLOCK {
            return Err(io_error("lock", &path)(errno.into()));
        }
        if Instant::now() >= deadline {
            return Err(StateError::InUse {
                path: dir.to_owned(),
            });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // Closing the file gives the lock back.
    Ok(())
}

fn free_name(dir: &Path, now: UnixMillis) -> PathBuf {
    let named = |millis: u64| {
        let mut name = dir.file_name().unwrap_or(OsStr::new("state")).to_owned();
        name.push(format!(".bad-{millis}"));
        dir.with_file_name(name)
    };
    let mut millis = now.get();
    while named(millis).exists() {
        millis += 1;
    }
    named(millis)
}

fn sync_all_below(dir: &Path) -> Result<(), StateError> {
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let path = entry.map_err(io_error("list", dir))?.path();
        if path.is_dir() {
            sync_all_below(&path)?;
        } else {
            sync_if_there(&path)?;
        }
    }
    sync(dir)
}

fn sync_parent(dir: &Path) -> Result<(), StateError> {
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync(Path::new(".")),
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}

/// sled's I/O threads may remove a file after it was listed.
fn sync_if_there(path: &Path) -> Result<(), StateError> {
    match sync(path) {
        Err(StateError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn sync(path: &Path) -> Result<(), StateError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(io_error("sync", path))
}

fn bytes_below(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.blocks() * 512; // st_blocks counts in 512 bytes, whatever the file system's own are
    }
    fs::read_dir(path).map_or(0, |entries| {
        entries
            .flatten()
            .map(|entry| bytes_below(&entry.path()))
            .sum()
    })
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}
