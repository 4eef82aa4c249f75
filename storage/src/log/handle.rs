//! A running log, as producers, the engine and operators hold it.

use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;

use super::marks::MarksCell;
use super::permit::{Permit, Room};
use super::{Limits, LogOptions, LogReader, LogScan, Marks, SegmentInfo, TailCache};
use crate::{Closed, Disk, DraftBatch, LogError, Lsn};

/// A running log. Clones are handles to the same one.
pub struct Log<T> {
    shared: Arc<Shared>,
    batches: crossbeam_channel::Sender<Message<T>>,
}

/// What handles, readers and the log's threads share.
pub(crate) struct Shared {
    pub(crate) marks: MarksCell,
    pub(crate) tail: RwLock<TailCache>,
    pub(crate) room: Room,
    pub(crate) limits: Limits,
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
    /// [`Closed`]: the log was closed or has failed; the batch is dropped.
    pub fn submit(&self, batch: DraftBatch<T>) -> Result<(), Closed> {
        self.batches
            .send(Message::Batch(batch))
            .map_err(|_refused| Closed)
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
        todo!("{upto}")
    }

    /// Where the oldest record that is left begins.
    pub fn oldest(&self) -> Lsn {
        todo!()
    }

    /// The segments there are, oldest first.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        todo!()
    }

    /// Whether no segment is ready and none could be made: refuse publishes; settlements may still fit into the
    /// segment being written.
    pub fn disk_low(&self) -> bool {
        todo!()
    }

    /// Why the log has failed, if it has.
    pub fn failure(&self) -> Option<Arc<LogError>> {
        todo!()
    }

    /// Commits all that was submitted before, syncs, seals, and ends the log's threads. A second call waits as well.
    ///
    /// # Errors
    /// [`LogError::Poisoned`]: the log had failed, or did now. [`LogError::ClosedWhileFull`].
    pub fn close(&self) -> Result<(), Arc<LogError>> {
        self.batches.send(Message::Close).ok();
        todo!()
    }
}
