//! MQTT through sockets: what tells it from the rest, its bytes over TCP and WebSocket, who is let in, its limits.

mod client;
mod limits;
mod login;
mod refused;
mod stream;
mod told;
