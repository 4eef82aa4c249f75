//! What a message says beside its payload, as EVENT.Details.

use restante_proto::wamp::Dict;

use super::{body, uri};
use crate::message::{Message, PRIORITY_DEFAULT};

/// What an event says beside its payload, to all who get it.
pub(crate) fn details(message: &Message, is_pattern: bool) -> Dict {
    let mut details = Dict::new();
    if is_pattern {
        details.insert("topic", &*uri::to_uri(&message.address));
    }
    if let Some(part) = &message.wamp {
        if let Some(publisher) = &part.publisher {
            details.insert("publisher", publisher.session);
            details.insert("publisher_authid", publisher.authid.as_str());
            details.insert("publisher_authrole", publisher.authrole.as_str());
        }
        if part.trust > 0 {
            details.insert("trustlevel", part.trust - 1);
        }
        if let Some(passthru) = &part.passthru {
            details.insert("ppt_scheme", passthru.scheme.as_str());
            for (key, value) in [
                ("ppt_serializer", &passthru.serializer),
                ("ppt_cipher", &passthru.cipher),
                ("ppt_keyid", &passthru.keyid),
            ] {
                if let Some(value) = value {
                    details.insert(key, value.as_str());
                }
            }
        }
    }
    say_properties(message, &mut details);
    details
}

/// What a message has in every other door.
fn say_properties(message: &Message, details: &mut Dict) {
    // A WAMP client's message has an id that says nothing, unless it gave one.
    if message.wamp.as_ref().is_none_or(|it| it.publication == 0) {
        details.insert("_message_id", message.message_id.as_str());
    }
    if let Some(id) = &message.correlation_id {
        details.insert("_correlation_id", id.as_str());
    }
    if let Some(to) = &message.reply_to {
        details.insert("_reply_to", &*uri::to_uri(to));
    }
    if let Some(content_type) = message.content_type.as_deref()
        && !body::is_told_by_arguments(content_type)
    {
        details.insert("_content_type", content_type);
    }
    if let Some(key) = &message.key {
        details.insert("_key", key.as_str());
    }
    if message.priority != PRIORITY_DEFAULT {
        details.insert("_priority", i64::from(message.priority));
    }
    if !message.properties.is_empty() {
        let properties = message.properties.iter();
        let properties: Dict = properties
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        details.insert("_properties", properties);
    }
}
