//! WAMP version 2: the messages as values, and as bytes in each serializer. For both ends: a router's sessions and our
//! own clients.
//!
//! ```text
//! a frame ─▶ decode ─▶ Message ─▶ encode ─▶ bytes
//!            limits,   its Payload is a slice of the frame:
//!            types,    spliced when both ends speak the same serializer,
//!            arity     transcoded, token by token, when they do not
//!                      EventTail: one event, encoded once for many subscribers
//! ```
//!
//! A message is one list whose tail is the application's payload. The list's head is decoded; the payload is only
//! looked over (well-formed, not too deep, keys are strings) and kept as the bytes that it came as.
//!
//! Always, each with a test of its name in `properties`:
//! - `what_is_encoded_decodes_to_itself`, in every serializer.
//! - `no_bytes_make_the_decoder_panic`, and what it took for a message is one.
//! - `a_message_cut_anywhere_is_refused`.
//! - `a_transcoded_payload_says_the_same`, wherever the target has words for it.
//!
//! Not here: what needs memory of earlier messages (whether a request id is the next one, what was announced): the
//! session. Bytes on a TCP stream: [`rawsocket`]. Several messages in one WebSocket message: [`Batch`].
//!
//! Sources: the WAMP specification (basic and advanced profile); where it is silent or peers differ, the most lenient
//! reading that cannot be mistaken: integral floats are integers, null and undefined options are absent.

mod batch;
mod cbor;
mod decode;
mod encode;
mod error;
mod fanout;
mod json;
mod limits;
mod list;
mod message;
mod msgpack;
mod number;
mod payload;
pub mod rawsocket;
mod read;
mod serializer;
mod transcode;
mod ubjson;
pub mod uri;
mod value;
mod write;

pub use batch::{Batch, BatchError};
pub use decode::decode;
pub use encode::encode;
pub use error::{DecodeError, EncodeError};
pub use fanout::{EventTail, write_event};
pub use limits::Limits;
pub use message::Message;
pub use payload::{Content, Payload, RawValue};
pub use serializer::Serializer;
pub use value::{Dict, ID_MAX, Value, WrongType};

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod vectors;
