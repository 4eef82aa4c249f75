//! Segments before and after their life: spares are made ready, released segments become spares or go.
//!
//! ```text
//! make: create .tmp ▶ zeros ▶ sync ▶ rename ▶ sync folder ▶ ready ─take▶ writer
//! free: oldest first: rename to a spare, or remove ▶ sync folder ▶ next one
//! ```
//!
//! A spare is written in full beforehand, so that a commit overwrites blocks that it already has: faster, and a full
//! disk shows up here, where it is no error: `disk_low` is raised and the thread tries again.
//! The folder is synced after every single step: a power cut that kept a later removal and lost an earlier one would
//! leave a gap between segments, and one that lost a rename would leave a live name on a recycled file.
//!
//! Always, with tests of these names: `a_full_disk_is_no_failure`, `segments_go_oldest_first`.
//!
//! Not here: which segments may go (the engine says so), what becomes of a spare (writer).

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::LogScan;
use super::segment::{FileName, list_files, segment_path};
use crate::{Disk, LogError, SegmentNo};

/// How long after a failed attempt to make a spare the next one comes, if nothing else happens.
const RETRY: Duration = Duration::from_secs(1);
const ZEROS_BYTES: u64 = 1 << 20;

/// Makes spares and frees segments, in a thread of its own.
pub(crate) struct Housekeeper {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Inner {
    disk: Arc<dyn Disk>,
    wal: PathBuf,
    segment_bytes: u64,
    spares_max: usize,
    /// No spare is ready, and the last attempt to make one failed.
    low: AtomicBool,
    /// The writer waits for a spare.
    wanted: AtomicBool,
    state: Mutex<State>,
    /// There is work, or the end.
    work: Condvar,
    /// A spare is ready, or the work is done, or none will come.
    news: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<PathBuf>,
    to_free: VecDeque<SegmentNo>,
    next_spare: u64,
    working: bool,
    /// The last attempt to make a spare failed.
    short: bool,
    /// Another attempt is due although the last one failed.
    retry: bool,
    /// Nobody waits for space any more.
    called_off: bool,
    /// The thread is to end.
    ended: bool,
    /// A step failed after which no name in the folder is certain: nothing more is done here.
    broken: bool,
    /// Why, until the writer has heard of it.
    failure: Option<LogError>,
}

enum Job {
    Free(SegmentNo),
    Make,
}

/// What a step came to.
enum Done {
    Ready(PathBuf),
    Removed,
    /// No spare could be made now.
    Short(io::Error),
    Broken(LogError),
}

impl Housekeeper {
    /// Takes over the spares that an earlier run left, and starts the thread.
    pub(crate) fn start(scan: &LogScan) -> Result<Self, LogError> {
        let inner = Arc::new(Inner {
            disk: scan.disk.clone(),
            wal: scan.wal.clone(),
            segment_bytes: scan.geometry.segment_bytes(),
            spares_max: scan.options.spares.max(1),
            low: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            news: Condvar::new(),
        });
        inner.take_over()?;
        let run = {
            let inner = inner.clone();
            move || inner.run()
        };
        let thread = thread::Builder::new()
            .name("log-housekeeper".into())
            .spawn(run)
            .map_err(LogError::io("starting a thread for", &scan.wal))?;
        Ok(Housekeeper {
            inner,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Waits for a spare and takes it. None: the wait was called off.
    pub(crate) fn take(&self) -> Result<Option<PathBuf>, LogError> {
        let mut state = self.inner.state.lock();
        loop {
            if let Some(failure) = state.failure.take() {
                return Err(failure);
            }
            if let Some(spare) = state.ready.pop_front() {
                self.inner.set_low(&state);
                return Ok(Some(spare));
            }
            if state.ended || (state.called_off && state.short) {
                return Ok(None);
            }
            self.inner.wanted.store(true, Ordering::Relaxed);
            self.inner.news.wait(&mut state);
            self.inner.wanted.store(false, Ordering::Relaxed);
        }
    }

    /// Lets the thread make up for what was taken. Not part of `take`, so that its writes do not compete with those
    /// of the commit that took.
    pub(crate) fn wake(&self) {
        self.inner.work.notify_one();
    }

    /// Frees `segments`, in this order, after those already waiting.
    pub(crate) fn free(&self, segments: impl IntoIterator<Item = SegmentNo>) {
        self.inner.state.lock().to_free.extend(segments);
        self.inner.work.notify_one();
    }

    /// Whether a commit that needs a segment would have to wait for space.
    pub(crate) fn is_short(&self) -> bool {
        self.inner.low.load(Ordering::Relaxed)
    }

    /// Whether a commit does wait for space.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.is_short() && self.inner.wanted.load(Ordering::Relaxed)
    }

    /// Waits until nothing is left to do, or nothing can be done now.
    pub(crate) fn wait_idle(&self) {
        let mut state = self.inner.state.lock();
        while !state.ended && (state.working || self.inner.job(&state).is_some()) {
            self.inner.news.wait(&mut state);
        }
    }

    /// From now on nobody waits for space: what cannot be had at once is not coming.
    pub(crate) fn call_off(&self) {
        self.inner.state.lock().called_off = true;
        self.inner.news.notify_all();
    }

    /// Ends the thread after its present step, and waits for it.
    pub(crate) fn stop(&self) {
        self.inner.state.lock().ended = true;
        self.inner.work.notify_all();
        self.inner.news.notify_all();
        if let Some(thread) = self.thread.lock().take() {
            thread
                .join()
                .unwrap_or_else(|_panic| tracing::error!("the log's housekeeper panicked"));
        }
    }
}

impl Inner {
    /// What is to be done next. Freeing comes first: it may bring the space that a spare needs.
    fn job(&self, state: &State) -> Option<Job> {
        if state.broken {
            return None;
        }
        if let Some(segment) = state.to_free.front() {
            return Some(Job::Free(*segment));
        }
        let wanted = state.ready.len() < self.spares_max && (!state.short || state.retry);
        wanted.then_some(Job::Make)
    }

    fn set_low(&self, state: &State) {
        self.low
            .store(state.short && state.ready.is_empty(), Ordering::Relaxed);
    }

    /// What is removed here may come back after a power cut, to be removed again.
    fn take_over(&self) -> Result<(), LogError> {
        let mut state = self.state.lock();
        for file in list_files(&*self.disk, &self.wal)? {
            let path = file.path(&self.wal);
            match file {
                FileName::Segment(_) => continue,
                FileName::Spare(number) => {
                    state.next_spare = state.next_spare.max(number + 1);
                    if state.ready.len() < self.spares_max && self.is_whole(&path) {
                        state.ready.push_back(path);
                        continue;
                    }
                }
                FileName::SpareInMaking(_) => {}
            }
            self.disk
                .remove(&path)
                .map_err(LogError::io("removing", &path))?;
        }
        Ok(())
    }

    fn is_whole(&self, path: &Path) -> bool {
        self.disk
            .open_read(path)
            .and_then(|file| file.len_bytes())
            .is_ok_and(|len| len == self.segment_bytes)
    }

    fn run(&self) {
        let mut state = self.state.lock();
        while !state.ended {
            if let Some(job) = self.job(&state) {
                state.working = true;
                let (spare, room) = (state.next_spare, state.ready.len() < self.spares_max);
                state.next_spare += 1;
                drop(state);
                let done = match job {
                    Job::Free(segment) if room => self.recycle(segment, spare),
                    Job::Free(segment) => self.remove(&segment_path(&self.wal, segment)),
                    Job::Make => self.make(spare),
                };
                state = self.state.lock();
                state.working = false;
                if let Job::Free(_) = job {
                    state.to_free.pop_front();
                }
                note(&mut state, done);
                self.set_low(&state);
                self.news.notify_all();
            } else if state.short {
                self.work.wait_for(&mut state, RETRY);
                state.retry = true;
            } else {
                self.work.wait(&mut state);
            }
        }
    }

    /// Makes a spare, whole and durable before it has its name.
    fn make(&self, number: u64) -> Done {
        let (beside, path) = (
            FileName::SpareInMaking(number).path(&self.wal),
            FileName::Spare(number).path(&self.wal),
        );
        if let Err(source) = self
            .write_zeros(&beside)
            .and_then(|()| self.disk.rename(&beside, &path))
        {
            // What is left of it costs space, and is removed at the next start if it cannot be now.
            self.disk.remove(&beside).unwrap_or_else(|error| {
                tracing::debug!(path = %beside.display(), %error, "cannot remove an unfinished spare segment");
            });
            return Done::Short(source);
        }
        self.synced(Done::Ready(path))
    }

    fn write_zeros(&self, path: &Path) -> io::Result<()> {
        let file = self.disk.create_new(path)?;
        let zeros = vec![0; ZEROS_BYTES.min(self.segment_bytes) as usize];
        let mut at = 0;
        while at < self.segment_bytes {
            let n = (self.segment_bytes - at).min(ZEROS_BYTES);
            file.write_at(zeros.get(..n as usize).unwrap_or(&zeros), at)?;
            at += n;
        }
        file.sync_all()
    }

    /// Makes a spare of a released segment. Its stale records need no wiping: the next header has another salt.
    fn recycle(&self, segment: SegmentNo, number: u64) -> Done {
        let (from, to) = (
            segment_path(&self.wal, segment),
            FileName::Spare(number).path(&self.wal),
        );
        if !self.is_whole(&from) {
            return self.remove(&from);
        }
        match self.disk.rename(&from, &to) {
            Ok(()) => self.synced(Done::Ready(to)),
            Err(source) => Done::Broken(LogError::poisoned("renaming", &from)(source)),
        }
    }

    fn remove(&self, path: &Path) -> Done {
        match self.disk.remove(path) {
            Ok(()) => self.synced(Done::Removed),
            Err(source) => Done::Broken(LogError::poisoned("removing", path)(source)),
        }
    }

    fn synced(&self, done: Done) -> Done {
        match self.disk.sync_dir(&self.wal) {
            Ok(()) => done,
            Err(source) => Done::Broken(LogError::poisoned("syncing", &self.wal)(source)),
        }
    }
}

fn note(state: &mut State, done: Done) {
    state.retry = false;
    match done {
        Done::Ready(spare) => {
            if std::mem::take(&mut state.short) {
                tracing::info!("there is room for log segments again");
            }
            state.ready.push_back(spare);
        }
        Done::Removed => state.retry = true,
        Done::Short(error) => {
            if !std::mem::replace(&mut state.short, true) {
                tracing::warn!(%error, "cannot make a spare log segment; trying again until it works");
            }
        }
        Done::Broken(failure) => {
            state.broken = true;
            state.failure = Some(failure);
        }
    }
}
