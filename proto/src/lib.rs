//! Everything that goes over a wire: frame types, sans-I/O codecs, limits and codes.
//!
//! A codec here is a pure function of bytes. Not here: sockets, clocks, queues, credentials.

pub mod mbws;
pub mod mqtt;
pub mod sp;
pub mod wamp;
