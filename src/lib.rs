//! Restante, a durable store-and-forward message broker: the library behind the `restante` program.

pub mod access;
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
mod control;
mod disk;
pub mod engine;
pub mod front;
pub mod message;
pub mod refusal;
pub mod serve;
pub mod session;
