//! What can go wrong with the log, as data that a caller can match on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Lsn, SegmentNo};

/// The log cannot start, go on, or be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system said no. At start: the operator's matter. While reading: this record cannot be had now.
    #[error("{doing} {} failed", path.display())]
    Io {
        /// What was being done, as a participle: "writing", "opening".
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process (or another log of this one) has the folder.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// `META` is missing though there are segments, is damaged, or contradicts the segments.
    #[error("{} is unusable: {what}", path.display())]
    Meta {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: Damage,
    },
    /// Bytes that were once certainly written are wrong or missing. The log does not start by itself; `verify` shows
    /// the same place.
    #[error("segment {segment} is corrupt at byte {offset}: {what}")]
    Corrupt {
        /// Which segment.
        segment: SegmentNo,
        /// Where in its file.
        offset: u64,
        /// What is wrong there.
        what: Damage,
    },
    /// A format, kind or flag that this version does not know: it was written by a newer Restante.
    #[error("segment {segment} at byte {offset} was written by a newer Restante: {what}")]
    Newer {
        /// Which segment.
        segment: SegmentNo,
        /// Where in its file.
        offset: u64,
        /// What is unknown.
        what: Damage,
    },
    /// A write or sync failed while the log was running. Final: what the disk really has is known only after a restart.
    #[error("the log stopped for good: {doing} {} failed", path.display())]
    Poisoned {
        /// What was being done, as a participle.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The writer's thread panicked: a bug of ours, in the log or in the sink. Final, like a failed sync.
    #[error("the log's writer panicked")]
    Panicked,
    /// The log was closed while commits waited for disk space; those were never written nor confirmed.
    #[error("the log was closed while {batches} batches waited for disk space")]
    ClosedWhileFull {
        /// How many batches went unwritten.
        batches: usize,
    },
    /// An option that the folder or the format cannot take.
    #[error("{option} = {given} is outside {min}..={max}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// What was asked for.
        given: u64,
        /// The least that works.
        min: u64,
        /// The most that works.
        max: u64,
    },
    /// Replay was asked to begin where the log no longer reaches back to.
    #[error("the log begins at {oldest}, after {from}")]
    NoLongerThere {
        /// Where replay was to begin.
        from: Lsn,
        /// The oldest position that is left.
        oldest: Lsn,
    },
}

/// What is wrong with bytes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file is missing.
    #[error("the file is missing")]
    Missing,
    /// A magic number is not there.
    #[error("it does not begin as such a file does")]
    Magic,
    /// A format version that this program does not know.
    #[error("format version {0} is unknown")]
    Version(u32),
    /// The header belongs to another segment, node or segment size.
    #[error("its header belongs to another place or node")]
    Foreign,
    /// A record's length is impossible (zero where nothing was ever written).
    #[error("no record begins here (length {0})")]
    Length(u32),
    /// A record's own LSN does not fit its place.
    #[error("the record here calls itself {0}")]
    Lsn(Lsn),
    /// The checksum does not match.
    #[error("checksum mismatch")]
    Checksum,
    /// The bytes between this record and the next are not zero.
    #[error("the padding after the record is not zero")]
    Padding,
    /// The checksum matches but lengths inside do not add up.
    #[error("lengths inside the record do not add up")]
    Shape,
    /// A record kind of a newer version.
    #[error("record kind {0} is unknown")]
    Kind(u8),
    /// Flags or reserved bytes of a newer version.
    #[error("flags or reserved bytes {0:#x} are unknown")]
    Flags(u32),
    /// The segment stops without the record that ends it, though a later segment exists.
    #[error("the segment is unfinished though a later one exists")]
    Unfinished,
    /// A later record says that this place was synced.
    #[error("a record at {by} proves that this was once durable")]
    WasDurable {
        /// That later record.
        by: Lsn,
    },
    /// A record lies across a place where one should begin.
    #[error("the record at {0} lies across this place")]
    Inside(Lsn),
    /// The log stops before a position that the caller knows was reached.
    #[error("the log stops here, before {0}, which was once reached")]
    StopsBefore(Lsn),
}

/// The log takes no more: it was closed, or failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the log is closed")]
pub struct Closed;

/// A record could not be read back.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Its segment was released.
    #[error("{0} is no longer in the log")]
    Gone(Lsn),
    /// The disk failed, or what it has there is not that record.
    #[error("cannot read the log")]
    Log(#[from] Arc<LogError>),
}

impl LogError {
    /// For `map_err`: an I/O error with its place.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| LogError::Io {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// For `map_err`: an I/O error that ends the log.
    pub(crate) fn poisoned(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| LogError::Poisoned {
            doing,
            path: path.to_owned(),
            source,
        }
    }

    /// Damage at a place: corruption, or the mark of a newer version.
    pub(crate) fn damage(segment: SegmentNo, offset: u64, what: Damage) -> Self {
        if what.is_newer() {
            LogError::Newer {
                segment,
                offset,
                what,
            }
        } else {
            LogError::Corrupt {
                segment,
                offset,
                what,
            }
        }
    }
}

impl Damage {
    /// Whether a newer version is the likely reason: the checksum was right.
    pub(crate) const fn is_newer(self) -> bool {
        matches!(
            self,
            Damage::Version(_) | Damage::Kind(_) | Damage::Flags(_)
        )
    }
}
