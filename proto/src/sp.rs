//! SP, the scalability protocols of nanomsg and nng, over WebSocket: what a client's upgrade says, and the few bytes that
//! some of the patterns put in front of a message. For both ends: a broker's sessions and our own clients.
//!
//! ```text
//! Sec-WebSocket-Protocol ─▶ offered ─▶ Role: what the client is, and which token is echoed
//! GET /sp/ADDRESS?OPTIONS ─▶ Target ─▶ Name, Options
//!
//! WebSocket message ─▶ Stack::split or Hops::split ─▶ header, body   (most roles have no header: the message is the body)
//! header, body      ─▶ fragments                   ─▶ payloads of the frames of one WebSocket message
//! ```
//!
//! A client never says what it is, which messages it wants or whom it writes to: the token names the other side's role, and
//! the path is the address. All that a message has of SP is its header, which ends at the edge: queues hold bodies.
//!
//! Always, each with a test of its name in `properties`:
//! - `what_is_written_is_read_as_itself`: headers, fragments, paths, the latter also as the libraries rewrite them.
//! - `no_bytes_make_the_readers_panic`, and what they took for a header or a path can be written again.
//! - `a_body_is_a_slice_of_its_message`: nothing is copied, and nothing that is kept keeps the message.
//! - `fragments_are_the_message_and_none_is_too_long`.
//!
//! Not here: WebSocket frames (tungstenite), whether an address may be used (broker), what correlates with what (session).
//!
//! Sources: `sp-websocket-mapping-01` (`CONFORMANCE.md` beside this file has its sentences), `sp-request-reply-01`,
//! `sp-surveyor-01`, and for what they leave open libnanomsg 1.1.5 and nng 1.5 to 1.11, as observed on the wire.

mod error;
mod escape;
mod fragments;
mod hops;
mod offer;
mod options;
mod role;
mod stack;
mod target;

pub use error::{CloseCode, HeaderError, Verdict};
pub use fragments::{FRAGMENT_BYTES_MAX, Fragment, Fragments, fragments};
pub use hops::Hops;
pub use offer::{Offer, TOKEN_BYTES_MAX, offered};
pub use options::{
    CREDIT_MAX, DURABLE_BYTES_MAX, Options, OptionsError, PREFIX_BYTES_MAX, PREFIXES_MAX, Settle,
    Side,
};
pub use role::{HeaderKind, Role};
pub use stack::{HOPS_MAX, Stack};
pub use target::{Name, Target, TargetError};

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod wire;
