//! The admin API over real sockets: a fake broker behind it, a client that sees every byte in front.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helper fails by panicking, as the test does"
)]

mod client;
mod common;
mod connections;
mod fake;
mod listing;
mod log;
mod rules;
mod watched;
