//! What can be set about a log, and the limits that follow.

use std::time::Duration;

use super::segment::{HEADER_BYTES, SEGMENT_END_BYTES};
use crate::LogError;

/// When a commit counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// After its fdatasync: survives a power cut.
    Always,
    /// After its write; fdatasync follows within this time. A power cut may take that much.
    Interval(Duration),
    /// After its write; fdatasync only when a segment ends or the log is closed.
    Never,
}

/// What can be set about a log.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Size of a segment file, a multiple of 4 KiB from 16 KiB to 1 GiB. A folder keeps the value it was made with.
    pub segment_bytes: u64,
    /// When a commit counts as stored.
    pub sync: SyncPolicy,
    /// A commit takes no further batch once it has this many bytes.
    pub commit_bytes_max: usize,
    /// Recent commits that are kept in memory for readers; 0: none.
    pub tail_bytes: usize,
    /// Segments made ready beforehand, and kept when segments are released.
    pub spares: usize,
    /// Batches that may wait for the writer; past it `submit` blocks.
    pub batches_max: usize,
    /// Largest record; a quarter of a segment where that is less.
    pub record_bytes_max: usize,
    /// Bytes that producers may have reserved and not yet seen committed; past it `reserve` waits.
    pub in_flight_bytes_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            segment_bytes: 64 << 20,
            sync: SyncPolicy::Always,
            commit_bytes_max: 2 << 20,
            tail_bytes: 64 << 20,
            spares: 2,
            batches_max: 16 << 10,
            record_bytes_max: 2 << 20,
            in_flight_bytes_max: 64 << 20,
        }
    }
}

/// Limits of a log that producers keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest record in bytes, head and targets included.
    pub record_bytes_max: usize,
    /// Largest batch: what one segment holds. Better keep to 1 MiB.
    pub batch_bytes_max: usize,
}

impl LogOptions {
    /// The least and the largest segment.
    pub(crate) const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 16 << 10..=1 << 30;

    /// Fits the options to the segment size that the folder really has.
    pub(crate) fn fit(&mut self, segment_bytes: u64) -> Result<Limits, LogError> {
        let (min, max) = Self::SEGMENT_BYTES.into_inner();
        if !(min..=max).contains(&segment_bytes) || !segment_bytes.is_multiple_of(4096) {
            return Err(LogError::Option {
                option: "segment_bytes",
                given: segment_bytes,
                min,
                max,
            });
        }
        self.segment_bytes = segment_bytes;
        self.record_bytes_max = self.record_bytes_max.min(segment_bytes as usize / 4);
        self.batches_max = self.batches_max.max(2);
        Ok(Limits {
            record_bytes_max: self.record_bytes_max,
            batch_bytes_max: (segment_bytes - HEADER_BYTES - SEGMENT_END_BYTES) as usize,
        })
    }
}
