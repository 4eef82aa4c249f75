//! Restante's storage: the write-ahead log that is the order and the truth, and the state store that is a cache of
//! its fold. Every byte on disk is described in `FORMAT.md`.
//!
//! Not here: what a record *means* (the engine), and any protocol's words.

mod ids;
pub mod payload;
pub mod state;

pub use ids::{Lsn, Offset, Origin, QueueId, Seq, SessionNo, UnixMillis};
