//! Restante, a durable store-and-forward message broker: the library behind the `restante` program.

pub mod access;
pub mod audit;
pub mod broker;
pub mod cli;
pub mod client;
pub mod config;
mod control;
pub mod definitions;
mod disk;
pub mod engine;
mod exposition;
pub mod front;
pub mod logs;
pub mod message;
mod meters;
pub mod refusal;
pub mod registry;
mod reload;
pub mod router;
pub mod routes;
pub mod serve;
pub mod session;
mod sys;
pub mod systemd;
pub mod tls;
pub mod trace;
mod wamp;
