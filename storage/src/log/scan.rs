//! What a start finds: which segments there are, where the log ends, and whether that end is a torn tail or corruption.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::{Commit, Log, LogOptions};
use crate::{Damage, Disk, LogError, Lsn, Offset, QueueId, RecordRef, SegmentNo};

/// A log that was opened, locked and checked, and takes no records yet.
pub struct LogScan {}

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailEnd {
    /// Where the next record will begin, or could: everything before it was replayed.
    pub end: Lsn,
    /// Records that were visited.
    pub n_records: u64,
    /// What a crash left half-written and is dropped; none: the last thing written is whole.
    pub torn: Option<Torn>,
}

/// The place where a crash cut the log. Nothing from there on was ever acknowledged (under `SyncPolicy::Always`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// Which segment.
    pub segment: SegmentNo,
    /// Where in its file.
    pub offset: u64,
    /// What is there.
    pub what: Damage,
}

impl LogScan {
    /// This log's node, made with the folder.
    pub fn node(&self) -> Uuid {
        todo!()
    }

    /// Where the oldest record that is left begins, or will.
    pub fn oldest(&self) -> Lsn {
        todo!()
    }

    /// Calls `visit` for every record from `from` on, in order, and finds the log's end. `from` is [`LogScan::oldest`]
    /// or a mark of this log.
    ///
    /// # Errors
    /// [`LogError::NoLongerThere`]: `from` is before the oldest segment. [`LogError::Corrupt`]: what was once durable
    /// is wrong or missing. [`LogError::Newer`]; [`LogError::Io`].
    pub fn replay(
        &mut self,
        from: Lsn,
        visit: &mut dyn FnMut(RecordRef<'_>),
    ) -> Result<TailEnd, LogError> {
        todo!("{from} {}", size_of_val(visit))
    }

    /// Seals what is there and starts the writer. Every record that `replay` showed is durable when this returns.
    ///
    /// `next_offsets` are the queues' next offsets after replay; a queue that is not in it begins at 1. `sink` gets
    /// every commit, in order, in the writer's thread. `on_failure` is called at most once, when the log has failed
    /// for good: from then on every mark stands still and every batch is refused.
    ///
    /// # Errors
    /// [`LogError::Io`]: the old end could not be sealed.
    pub fn start<T: Send + 'static>(
        self,
        next_offsets: HashMap<QueueId, Offset>,
        sink: impl FnMut(Commit<T>) + Send + 'static,
        on_failure: impl FnOnce(Arc<LogError>) + Send + 'static,
    ) -> Result<Log<T>, LogError> {
        drop((next_offsets, sink, on_failure));
        todo!()
    }

    pub(crate) fn open(
        _disk: Arc<dyn Disk>,
        _dir: &Path,
        _options: LogOptions,
    ) -> Result<Self, LogError> {
        todo!()
    }
}
