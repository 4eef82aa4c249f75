//! A segment file: its name, its header, and the arithmetic between LSNs and places (FORMAT.md §2).

use crate::{Lsn, SegmentNo};

/// Bytes of a segment's header; its first record begins after it.
pub(crate) const HEADER_BYTES: u64 = 4096;
/// Bytes kept free at a segment's end for the record that ends it.
pub(crate) const SEGMENT_END_BYTES: u64 = crate::record::HEAD_BYTES as u64;

/// A segment that the log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: SegmentNo,
    /// Where its first record begins.
    pub first: Lsn,
    /// Where the next segment's first record begins.
    pub next: Lsn,
}
