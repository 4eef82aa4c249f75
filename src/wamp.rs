//! What WAMP's names and payloads are inside the broker: pure functions, for its sessions and for its router's own messages.
//!
//! Not here: the protocol's rules (session), its bytes (`restante_proto`), who has subscribed and registered what (router).

pub(crate) mod body;
pub(crate) mod code;
pub(crate) mod details;
pub(crate) mod event;
pub(crate) mod history;
pub(crate) mod json;
pub(crate) mod options;
pub(crate) mod uri;

use sha2::{Digest as _, Sha256};

use crate::message::Message;

/// A publication's id: the publisher's session gave it one, or it follows from the message's id, so that it is the same each time
/// that the message is told. 1 to 2^53.
pub(crate) fn publication_of(message: &Message) -> u64 {
    let given = message.wamp.as_ref().map_or(0, |it| it.publication);
    if given > 0 {
        return given;
    }
    let digest = Sha256::digest(message.message_id.as_bytes());
    let first = digest.first_chunk::<8>().copied().unwrap_or_default();
    (u64::from_be_bytes(first) >> 11) + 1
}
