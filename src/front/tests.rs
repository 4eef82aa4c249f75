//! The front over real sockets on loopback, with a broker that does what the test says.

pub(super) mod broker;

mod conversation;
mod handshake;
mod limits;
mod mqtt;
mod server;
mod sp;
mod tls;
mod wamp;

pub(crate) use wamp::Echo;
pub(in crate::front) use wamp::echo;
