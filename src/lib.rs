//! Restante, a durable store-and-forward message broker.

pub mod access;
pub mod config;
