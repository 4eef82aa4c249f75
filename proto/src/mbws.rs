//! MBWS, the MessageBroker WebSocket Subprotocol, in Restante's profile version 1 (`proto/MBWS.md`).
//!
//! A WebSocket message is one [`Frame`], in one of two bindings: [`decode_text`] and [`encode_text`] for text messages,
//! [`decode_binary`] and [`encode_binary`] for binary ones. All four are pure functions; a decoded body is a slice of
//! the message that it came in.
//!
//! Always, each with a test of its name in `properties`:
//! - `what_is_encoded_decodes_to_itself`, in both bindings, and protobuf's own decoder reads the same from the binary one.
//! - `no_bytes_make_a_decoder_panic`, cut or changed anywhere.
//! - `a_claimed_length_reserves_nothing`: memory follows bytes that are there, never a number that a peer wrote.
//!
//! Not here: what a frame means, and the grammar of addresses and filters (session).

mod binary;
mod error;
mod field;
mod frame;
mod layout;
mod limits;
mod ranges;
mod text;

pub use binary::{decode_binary, encode_binary};
pub use error::DecodeError;
pub use frame::*;
pub use limits::Limits;
pub use ranges::{Ranges, RangesError};
pub use text::{decode_text, encode_text};

#[cfg(test)]
mod properties;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod vectors;
