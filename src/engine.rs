//! The engine: the fold of the log into queues, and where an address leads. No I/O, no clock, no async.

pub mod address;
pub mod routing;
