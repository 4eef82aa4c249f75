//! Reading records back, from the ring of recent commits or from segment files.

use std::sync::Arc;

use bytes::Bytes;

use super::TailCache;
use super::handle::Shared;
use crate::{Lsn, ReadError};

/// Reads records back. Cheap to clone; reads block the thread for as long as the disk takes.
#[derive(Clone)]
pub struct LogReader {
    pub(crate) shared: Arc<Shared>,
}

impl LogReader {
    /// The whole record at `lsn` if it is still in the ring of recent commits; never touches the disk.
    pub fn cached(&self, lsn: Lsn) -> Option<Bytes> {
        self.with_tail(|tail| tail.get(lsn))
    }

    /// Resolves many LSNs under one lock of the ring. Keep it short: the writer waits for it.
    pub fn with_tail<R>(&self, look: impl FnOnce(&TailCache) -> R) -> R {
        look(&self.shared.tail.read())
    }

    /// The whole record at `lsn`, from the ring or the disk. `len_hint` is its [`crate::RecordRef::len_bytes`] where
    /// known, else 0: it saves a second read.
    ///
    /// # Errors
    /// [`ReadError::Gone`]: its segment was released. [`ReadError::Log`]: the disk failed, or no such record is there.
    pub fn read(&self, lsn: Lsn, len_hint: u32) -> Result<Bytes, ReadError> {
        todo!("{lsn} {len_hint}")
    }

    /// As [`LogReader::read`] for many, given as (LSN, length hint) in ascending order: what lies close together is
    /// fetched with one read of up to 1 MiB. The results are in the same order.
    pub fn read_many(&self, wanted: &[(Lsn, u32)]) -> Vec<Result<Bytes, ReadError>> {
        todo!("{wanted:?}")
    }
}
