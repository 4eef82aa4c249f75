//! Conversations: one state machine a protocol, each from frames to broker calls and from events to frames.
//!
//! A session here is pure: `handle_*` for what happens to it, `poll_*` for what it wants, and time comes in. So a test
//! drives it with a script.
//!
//! Not here: sockets, tasks, sleeping (front), and what a call does (broker).

mod credentials;
pub mod mbws;
pub mod mqtt;
mod rate;
pub mod sp;
pub mod wamp;

pub use credentials::{Credentials, NotAttached};
