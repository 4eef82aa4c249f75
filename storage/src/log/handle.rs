//! A running log, as producers, the engine and operators hold it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crossbeam_channel::Sender;
use parking_lot::{Mutex, RwLock};

use super::ending::Ended;
use super::housekeeper::Housekeeper;
use super::marks::MarksCell;
use super::permit::{Permit, Room};
use super::reader::OpenFiles;
use super::segment::Geometry;
use super::{Limits, LogOptions, LogReader, LogScan, Marks, SegmentInfo, SyncPolicy, TailCache};
use crate::record::Salt;
use crate::{Closed, Disk, DraftBatch, LogError, Lsn, SegmentNo};

/// A running log. Clones are handles to the same one. When the last is dropped without [`Log::close`], the log ends in
/// the same way, in the background.
pub struct Log<T> {
    shared: Arc<Shared>,
    batches: Sender<Message<T>>,
}

/// What handles, readers and the log's threads share.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) wal: PathBuf,
    pub(crate) geometry: Geometry,
    pub(crate) limits: Limits,
    pub(crate) marks: MarksCell,
    pub(crate) tail: RwLock<TailCache>,
    pub(crate) room: Room,
    /// The segments there are. Never empty again once there is one: the newest is never released.
    pub(crate) segments: RwLock<BTreeMap<SegmentNo, Salt>>,
    /// Whoever wants both this and `segments` takes `segments` first.
    pub(crate) files: Mutex<OpenFiles>,
    pub(crate) housekeeper: Housekeeper,
    pub(crate) failure: OnceLock<Arc<LogError>>,
    pub(crate) ended: Ended,
    /// The writer takes nothing more.
    pub(crate) over: AtomicBool,
    /// How many are about to hand it something.
    pub(crate) submitting: AtomicUsize,
}

/// What the writer is told.
pub(crate) enum Message<T> {
    Batch(DraftBatch<T>),
    Close,
}

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Log {
            shared: self.shared.clone(),
            batches: self.batches.clone(),
        }
    }
}

impl Log<()> {
    /// Opens and locks the log in `dir`, or makes a new one there; checks `META`, the segments' headers and that none
    /// is missing in between. Nothing that exists is changed yet.
    ///
    /// # Errors
    /// [`LogError::Locked`], [`LogError::Meta`], [`LogError::Corrupt`], [`LogError::Newer`], [`LogError::Option`],
    /// [`LogError::Io`].
    pub fn scan(disk: Arc<dyn Disk>, dir: &Path, options: LogOptions) -> Result<LogScan, LogError> {
        LogScan::open(disk, dir, options)
    }
}

impl<T: Send + 'static> Log<T> {
    /// Hands a batch to the writer; it comes back through the sink once it is stored. Blocks while
    /// `LogOptions::batches_max` batches wait, which a batch that holds a permit never meets.
    ///
    /// # Errors
    /// [`Closed`]: the log was closed or has failed; the batch is dropped. So is one that was taken and that the log's end overtakes.
    pub fn submit(&self, batch: DraftBatch<T>) -> Result<(), Closed> {
        self.send(Message::Batch(batch))
    }

    /// Waits for room for `bytes`, to be given to a batch by [`DraftBatch::hold`].
    ///
    /// # Errors
    /// [`Closed`]: the log was closed or has failed.
    pub async fn reserve(&self, bytes: usize) -> Result<Permit, Closed> {
        self.shared.room.reserve(bytes).await
    }

    /// As [`Log::reserve`], at once; `Ok(None)`: no room now.
    ///
    /// # Errors
    /// [`Closed`]: the log was closed or has failed.
    pub fn try_reserve(&self, bytes: usize) -> Result<Option<Permit>, Closed> {
        self.shared.room.try_reserve(bytes)
    }

    /// Limits that batches keep to.
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// How far the log has got.
    pub fn marks(&self) -> Marks {
        self.shared.marks.get()
    }

    /// The engine has folded everything before `end`.
    ///
    /// # Panics
    /// If the mark would overtake what is durable (with a lazy sync policy: written), or go back.
    pub fn set_applied(&self, end: Lsn) {
        self.shared.marks.set_applied(end);
    }

    /// For reading records back; outlives the handle.
    pub fn reader(&self) -> LogReader {
        LogReader {
            shared: self.shared.clone(),
        }
    }

    /// Nothing before `upto` is needed any more: segments that lie wholly before it go, oldest first, in the
    /// background. Reading there gives [`crate::ReadError::Gone`] at once. Never releases the segment being written.
    pub fn release(&self, upto: Lsn) {
        let mut segments = self.shared.segments.write();
        let Some(newest) = segments.keys().next_back().copied() else {
            return;
        };
        let kept = segments.split_off(&self.shared.geometry.segment_of(upto).min(newest));
        let released = std::mem::replace(&mut *segments, kept);
        // Still under the lock: two releases at once must not put theirs in the wrong order.
        self.shared
            .files
            .lock()
            .retain(|file| !released.contains_key(&file.number()));
        self.shared.housekeeper.free(released.into_keys());
    }

    /// Where the oldest record that is left begins.
    pub fn oldest(&self) -> Lsn {
        let oldest = self.shared.segments.read().keys().next().copied();
        self.shared.geometry.first(oldest.unwrap_or_default())
    }

    /// The segments there are, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared
            .segments
            .read()
            .keys()
            .map(|number| self.shared.geometry.info(*number))
            .collect()
    }

    /// Whether no segment is ready and none could be made: refuse publishes; settlements may still fit into the
    /// segment being written.
    pub fn disk_low(&self) -> bool {
        self.shared.housekeeper.is_short()
    }

    /// Whether commits wait for disk space: nothing is stored until there is some. Worth an alarm.
    pub fn is_stalled(&self) -> bool {
        self.shared.housekeeper.is_waited_for()
    }

    /// Bytes that may still be written to the log's file system.
    ///
    /// # Errors
    /// [`LogError::Io`].
    pub fn free_bytes(&self) -> Result<u64, LogError> {
        self.shared
            .disk
            .free_bytes(&self.shared.wal)
            .map_err(LogError::io("measuring", &self.shared.wal))
    }

    /// Waits until spares are ready and released segments are gone, or cannot be now.
    pub fn wait_for_housekeeping(&self) {
        self.shared.housekeeper.wait_idle();
    }

    /// Why the log has failed for good, if it has.
    pub fn failure(&self) -> Option<Arc<LogError>> {
        self.shared.failure.get().cloned()
    }

    /// Commits all that was submitted before, syncs, seals, and ends the log's threads. A second call waits as well.
    /// Not from inside the sink, which it would wait for.
    ///
    /// # Errors
    /// [`LogError::Poisoned`]: the log had failed, or did now. [`LogError::ClosedWhileFull`].
    pub fn close(&self) -> Result<(), Arc<LogError>> {
        self.shared.housekeeper.call_off();
        match self.send(Message::Close) {
            // Refused: it has ended already, or is about to.
            Ok(()) | Err(Closed) => self.shared.ended.wait(),
        }
    }

    /// To the writer, which drops it if it takes nothing more.
    fn send(&self, message: Message<T>) -> Result<(), Closed> {
        let submitting = &self.shared.submitting;
        submitting.fetch_add(1, Ordering::SeqCst);
        // Counted first: either the writer waits for this, or this sees that it is over.
        let sent = match self.shared.over.load(Ordering::SeqCst) {
            true => Err(Closed),
            false => self.batches.send(message).map_err(|_refused| Closed),
        };
        submitting.fetch_sub(1, Ordering::SeqCst);
        sent
    }
}

impl<T> Log<T> {
    pub(crate) fn new(shared: Arc<Shared>, batches: Sender<Message<T>>) -> Self {
        Log { shared, batches }
    }
}

impl Shared {
    /// For the log that `scan` found, whose next segment is `next`.
    pub(crate) fn new(scan: &LogScan, next: SegmentNo, housekeeper: Housekeeper) -> Self {
        let options = &scan.options;
        Shared {
            disk: scan.disk.clone(),
            wal: scan.wal.clone(),
            geometry: scan.geometry,
            limits: scan.limits,
            marks: MarksCell::new(
                scan.geometry.first(next),
                options.sync != SyncPolicy::Always,
            ),
            tail: RwLock::new(TailCache::new(options.tail_bytes)),
            room: Room::new(options.in_flight_bytes_max, options.batches_max),
            segments: RwLock::new(scan.segments.clone()),
            files: Mutex::default(),
            housekeeper,
            failure: OnceLock::new(),
            ended: Ended::default(),
            over: AtomicBool::new(false),
            submitting: AtomicUsize::new(0),
        }
    }
}
