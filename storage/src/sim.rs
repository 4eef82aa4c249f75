//! A disk in memory that forgets, tears and fails: what the log's tests run on, here and in the crates above.
//!
//! ```text
//! writes, lengths ─▶ what a running process sees ─sync_data▶ what a power cut leaves (512-byte sectors)
//! names           ─▶ what a running process sees ─sync_dir▶  what a power cut leaves
//! ```
//!
//! [`SimDisk::crash`] gives the disk after a power cut: everything synced, and of the rest nothing, everything, or
//! whatever a seed picks (any sectors of any writes, any files' names; of one file's names, the older ones first).
//! [`SimDisk::halt_at`] stops the machine at one operation, so that a test can come by at every one in turn;
//! [`SimDisk::fail`] makes single operations fail; [`SimDisk::ignore`] makes the disk lie about a sync, to prove that
//! a test would notice its absence.
//!
//! Folders are durable at once and need not exist. Only operations that change something are counted.

mod crash;
mod fault;
mod file;
mod tape;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

pub use crash::Keep;
use fault::{Course, Plan, eio};
pub use fault::{Fault, Op, Why};
use file::{Inode, SimFile};
pub use tape::Tape;

use crate::{Disk, DiskFile, DiskLock};

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// A file, whatever its name.
type InodeNo = u64;

#[derive(Default)]
struct State {
    inodes: BTreeMap<InodeNo, Inode>,
    /// As a running process sees it.
    names: BTreeMap<PathBuf, InodeNo>,
    /// As a power cut leaves it.
    durable_names: BTreeMap<PathBuf, InodeNo>,
    /// What happened to names since their folder was last synced, in order.
    pending_names: Vec<NameChange>,
    next_inode: InodeNo,
    /// Counts unsynced writes, so that the last one of all is known.
    next_write: u64,
    locks: BTreeSet<PathBuf>,
    capacity: Option<u64>,
    plan: Plan,
}

/// What happened to a file's name.
#[derive(Debug, Clone)]
struct NameChange {
    inode: InodeNo,
    from: Option<PathBuf>,
    to: Option<PathBuf>,
}

impl SimDisk {
    /// An empty disk without limits or faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many changing operations there were.
    pub fn n_operations(&self) -> u64 {
        self.state.lock().plan.n_operations
    }

    /// The changing operations, one line each, for a failed test to print.
    pub fn trace(&self) -> Vec<String> {
        self.state.lock().plan.trace.clone()
    }

    /// Stops the machine at the `n`-th changing operation from the disk's beginning, counted from 1: that one and every
    /// later operation fails and changes nothing.
    pub fn halt_at(&self, n: u64) {
        self.state.lock().plan.halt_at = Some(n);
    }

    /// Adds a fault.
    pub fn fail(&self, fault: Fault) {
        self.state.lock().plan.faults.push(fault);
    }

    /// From now on, syncs for which `lie` says so succeed and do nothing. It is asked with the operation and its path,
    /// followed by " after " and the last unsynced change that it would cover.
    pub fn ignore(&self, lie: impl Fn(Op, &str) -> bool + Send + 'static) {
        let syncs = [Op::SyncData, Op::SyncAll, Op::SyncDir];
        self.state.lock().plan.ignored = Some(Box::new(move |op, what| {
            syncs.contains(&op) && lie(op, what)
        }));
    }

    /// From now on, no sync is ignored.
    pub fn heed(&self) {
        self.state.lock().plan.ignored = None;
    }

    /// From now on, files hold at most this many bytes together. None: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// A file's bytes as a running process sees them.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`].
    pub fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        Ok(state
            .inodes
            .get(&state.find(path)?)
            .map(|inode| inode.bytes().to_vec())
            .unwrap_or_default())
    }

    /// Replaces a file's bytes, durably: rot, or an operator's mistake.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`].
    pub fn set_bytes(&self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let mut state = self.state.lock();
        let number = state.find(path)?;
        state.inodes.insert(number, Inode::durable(bytes));
        Ok(())
    }

    /// Whether [`SimDisk::halt_at`] has come.
    pub fn is_halted(&self) -> bool {
        self.state.lock().plan.halted
    }

    /// The same disk for another process after this one was killed: what was not synced still is not. A disk of its
    /// own, without faults or locks.
    #[must_use]
    pub fn fork(&self) -> SimDisk {
        let state = self.state.lock();
        let fork = State {
            inodes: state.inodes.clone(),
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            pending_names: state.pending_names.clone(),
            next_inode: state.next_inode,
            next_write: state.next_write,
            ..State::default()
        };
        SimDisk {
            state: Arc::new(Mutex::new(fork)),
        }
    }
}

impl State {
    fn find(&self, path: &Path) -> io::Result<InodeNo> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Asks the plan about an operation that is whole or not at all. False: it is to be left out silently.
    fn begin(&mut self, op: Op, what: &str) -> io::Result<bool> {
        match self.plan.begin(op, what) {
            Course::Whole => Ok(true),
            Course::Skip => Ok(false),
            Course::Part(error) | Course::Fail(error) => Err(error),
        }
    }

    fn used_bytes(&self) -> u64 {
        self.names
            .values()
            .filter_map(|inode| self.inodes.get(inode))
            .map(|inode| inode.bytes().len() as u64)
            .sum()
    }

    /// Bytes that fit beside what is there.
    fn free_bytes(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| {
            capacity.saturating_sub(self.used_bytes())
        })
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, InodeNo>) {
        if let Some(from) = self
            .from
            .as_ref()
            .filter(|from| names.get(*from) == Some(&self.inode))
        {
            names.remove(from);
        }
        if let Some(to) = &self.to {
            names.insert(to.clone(), self.inode);
        }
    }

    fn describe(&self) -> String {
        let name = |path: &Option<PathBuf>| {
            path.as_deref()
                .map_or("-".into(), |path| path.display().to_string())
        };
        format!("{} -> {}", name(&self.from), name(&self.to))
    }

    fn is_in(&self, dir: &Path) -> bool {
        self.to
            .as_ref()
            .or(self.from.as_ref())
            .and_then(|path| path.parent())
            == Some(dir)
    }
}

impl Disk for SimDisk {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.begin(Op::Create, &path.to_string_lossy())?;
        if state.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.next_inode;
        state.next_inode += 1;
        state.inodes.insert(inode, Inode::default());
        state.change_name(NameChange {
            inode,
            from: None,
            to: Some(path.to_owned()),
        });
        Ok(Arc::new(SimFile::new(self, inode)))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.begin(Op::Open, &path.to_string_lossy())?;
        let inode = state.find(path)?;
        Ok(Arc::new(SimFile::new(self, inode)))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state.lock();
        state.begin(Op::List, &dir.to_string_lossy())?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(Op::Rename, &to.to_string_lossy())?;
        let inode = state.find(from)?;
        state.change_name(NameChange {
            inode,
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
        });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(Op::Remove, &path.to_string_lossy())?;
        let inode = state.find(path)?;
        state.change_name(NameChange {
            inode,
            from: Some(path.to_owned()),
            to: None,
        });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let last = state.pending_names.iter().rfind(|change| change.is_in(dir));
        let last = last.map_or("nothing".to_owned(), NameChange::describe);
        if state.begin(Op::SyncDir, &format!("{} after {last}", dir.display()))? {
            let (now, later) = std::mem::take(&mut state.pending_names)
                .into_iter()
                .partition(|name| name.is_in(dir));
            state.pending_names = later;
            let now: Vec<NameChange> = now;
            now.iter()
                .for_each(|change| change.apply(&mut state.durable_names));
        }
        Ok(())
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.state.lock().free_bytes())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        if self.is_halted() {
            return Err(eio());
        }
        if !self.state.lock().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock {
            disk: self.clone(),
            path: path.to_owned(),
        }))
    }
}

struct SimLock {
    disk: SimDisk,
    path: PathBuf,
}

impl DiskLock for SimLock {}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lock on {}", self.path.display())
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state.lock().locks.remove(&self.path);
    }
}
