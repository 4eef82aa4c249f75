//! The admin API over real sockets: a fake broker behind it, a client that sees every byte in front.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test's helper fails by panicking, as the test does"
)]

mod audit;
mod bodies;
mod client;
mod common;
mod connections;
mod description;
mod fake;
mod keys;
mod listing;
mod log;
mod paths;
mod resources;
mod rules;
mod secrets;
mod walk;
mod watched;
mod wire;
