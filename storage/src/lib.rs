//! Restante's storage: the write-ahead log that is the order and the truth, and the state store that is a cache of
//! its fold. Every byte on disk is described in `FORMAT.md`.
//!
//! Not here: what a record *means* (the engine), and any protocol's words.

mod disk;
mod draft;
mod error;
mod ids;
mod log;
pub mod payload;
mod record;
#[cfg(feature = "sim")]
pub mod sim;
pub mod state;

pub use disk::{Disk, DiskFile, DiskLock, RealDisk};
pub use draft::{Draft, DraftBatch, EncodeEnvelope, Raw, Refused};
pub use error::{Closed, Damage, LogError, ReadError};
pub use ids::{Lsn, Offset, Origin, QueueId, SegmentNo, Seq, SessionNo, UnixMillis};
pub use log::{
    Commit, Limits, Log, LogOptions, LogReader, LogScan, Marks, Permit, Report, SegmentInfo,
    SegmentReport, SyncPolicy, TailCache, TailEnd, Torn, verify,
};
pub use record::{Kind, RecordRef, Source, Stamp, encode_detached};
