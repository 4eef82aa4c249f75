//! MQTT 3.1, 3.1.1 and 5.0: the packets as values, and as bytes. For both ends: a server's sessions and our own clients.
//!
//! ```text
//! bytes, cut anywhere ─▶ Decoder ─▶ Packet ─▶ encode ─▶ bytes
//!                        limits,              SharedPublish: one message, encoded once for many subscribers
//!                        every rule that
//!                        one packet can break
//! ```
//!
//! A [`Decoder`] takes whole packets off a byte stream and refuses what breaks a [`Rule`] that can be judged without a
//! session's state: each rule has its reason code and its normative ids (`CONFORMANCE.md` beside this file lists those
//! ids and the tests that show them). Strings and payloads are slices of the input: whoever keeps a small one for long
//! copies it, or it keeps the whole of what was read with it. MQTT 3.1 is read as leniently as its text is.
//!
//! Always, each with a test of its name in `properties`:
//! - `what_is_encoded_decodes_to_itself`, in every version and cut at every byte.
//! - `no_bytes_make_the_decoder_panic`, and what it took for a packet is one.
//! - `a_claimed_length_reserves_nothing`: memory follows bytes that are there, never a number that a peer wrote.
//! - `the_length_is_known_before_encoding`, so that a receiver's maximum can be kept without a trial.
//!
//! Not here: what needs memory of earlier packets (packet ids in flight, topic aliases, receive maximum, keep alive):
//! the session.

mod decode;
mod encode;
mod error;
mod fanout;
mod limits;
mod packet;
mod property;
mod read;
mod reason;
mod text;
mod topic;
mod wire;

pub use decode::Decoder;
pub use encode::{EncodeError, encode, encode_within, encoded_len};
pub use error::{Error, Rule};
pub use fanout::{PublishHead, SharedPublish};
pub use limits::Limits;
pub use packet::*;
pub use property::{
    AckProperties, AuthProperties, ConnackProperties, ConnectProperties, DisconnectProperties,
    PublishProperties, SubscribeProperties, UnsubscribeProperties, UserProperties, WillProperties,
};
pub use reason::ReasonCode;
pub use text::{NotText, Secret, Str};
pub use topic::{Filter, check_topic, parse_filter};

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod vectors;
