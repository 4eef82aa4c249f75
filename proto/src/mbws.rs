//! MBWS, the MessageBroker WebSocket Subprotocol, in Restante's profile version 1 (`proto/MBWS.md`).

mod frame;
pub use frame::*;
