//! The write-ahead log: one order for everything durable, one fdatasync for everybody who came while the last one ran.
//!
//! ```text
//! DraftBatch ─submit▶ channel ─▶ writer thread ─▶ segment file ─▶ fdatasync ─▶ durable mark ─▶ tail ring ─▶ sink
//!                                    ▲ ready segment
//!                              housekeeper thread: makes spares, frees released segments
//! ```
//!
//! The writer takes all that waits (up to 2 MiB), writes it with one call, syncs once, moves the marks, and hands the
//! commit on. Under load batches grow and share the cost of a sync; when idle a lone message waits for nobody.
//! An LSN is a byte position in an endless log that is cut into segments; what is read and judged at a start is in
//! `scan`, what happens when a segment is full in `writer` and `housekeeper`.
//!
//! Always, each with a test of its name:
//! - `marks_never_overtake`: applied ≤ durable ≤ written ≤ appended.
//! - `a_failed_sync_is_final`: no mark moves after one; every later batch is refused.
//! - `nothing_acknowledged_is_lost`: whatever operation of the disk a power cut comes at.
//!
//! Not here: what a record means (engine), when a segment may go (the engine's checkpoints). Bytes: FORMAT.md.

mod commit;
mod ending;
mod handle;
mod housekeeper;
mod marks;
mod meta;
mod options;
mod permit;
mod reader;
mod scan;
pub(crate) mod segment;
mod tail;
mod verify;
mod walk;
pub(crate) mod writer;

pub use commit::Commit;
pub use handle::Log;
pub use marks::Marks;
pub use options::{Limits, LogOptions, SyncPolicy};
pub use permit::Permit;
pub use reader::LogReader;
pub use scan::{LogScan, TailEnd, Torn};
pub use segment::SegmentInfo;
pub use tail::TailCache;
pub use verify::{Report, SegmentReport, verify};
