//! WAMP's transports through sockets, with an echo in the place of sessions: what tells WAMP from the rest, its frames, batches and
//! requests, its limits.

mod client;
mod echo;
mod long_poll;
mod raw_socket;
mod unix;
mod web_socket;
mod wire;

pub(crate) use echo::Echo;
pub(in crate::front) use echo::echo;
