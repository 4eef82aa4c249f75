//! The log on a disk that loses, tears and fails: what it promises, against what it was asked to keep.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests may panic"
)]

mod crash;
mod damage;
mod fixtures;
mod housekeeping;
mod reading;
mod running;
mod world;
