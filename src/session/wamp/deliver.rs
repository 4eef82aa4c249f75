//! Deliveries into EVENTs.
//!
//! What all who get an event have in common is encoded once for each serializer, and once more with the topic, for pattern-based
//! subscriptions. What is retained, or comes from a queue, has details of its own.
//!
//! Rules: the WAMP specification, "Publishing and Events", "Event Retention".

use std::sync::Arc;

use restante_proto::wamp::{Dict, EventTail, Serializer};

use super::Session;
use super::subscribe::Topic;
use crate::broker::{Delivery, REPLIES};
use crate::message::{Message, PRIORITY_DEFAULT, may_be_told};
use crate::router::Match;
use crate::wamp::{body, publication_of, uri};

impl Session {
    pub(super) fn deliver(&mut self, delivery: Delivery) {
        if *delivery.consumer == *REPLIES {
            return self.answered(delivery.message);
        }
        let Some((subscription, topic)) = self.topics.of_consumer(&delivery.consumer) else {
            self.tally.unwanted += 1;
            return;
        };
        let message = &delivery.message;
        let is_durable = topic.durable.is_some();
        if (message.retained || is_durable) && !self.is_eligible(message) {
            self.tally.unwanted += 1;
            if is_durable {
                self.pass_over(subscription, delivery.offset);
            }
            return;
        }
        let serializer = self.transport.serializer;
        let tail = match (is_durable, message.retained) {
            (false, false) => {
                let is_pattern = topic.how != Match::Exact;
                let make =
                    |message: &Message| encode(message, serializer, details(message, is_pattern));
                message.event(serializer, is_pattern, make)
            }
            _ => encode(message, serializer, own_details(&delivery, topic)).map(Arc::new),
        };
        let Some(tail) = tail else {
            self.tally.unspeakable += 1;
            if is_durable {
                self.pass_over(subscription, delivery.offset);
            }
            return;
        };
        if is_durable {
            let publication = publication_of(message);
            self.topics
                .is_out(publication, subscription, delivery.offset);
        }
        self.output.event(subscription, tail);
    }

    /// Whether this client may be told of what was published before, as far as its publisher has said.
    fn is_eligible(&self, message: &Message) -> bool {
        let (Some(part), Some(me)) = (&message.wamp, &self.me) else {
            return true;
        };
        may_be_told(part, &me.authid, &me.authrole)
    }

    /// A delivery that the client is never sent is done with.
    fn pass_over(&mut self, subscription: u64, offset: u64) {
        let nobody = u64::MAX;
        self.topics.is_out(nobody, subscription, offset);
        self.acknowledge(&[nobody], None);
    }
}

fn encode(message: &Message, serializer: Serializer, details: Dict) -> Option<EventTail> {
    let payload = body::to_payload(message, serializer).ok()?;
    EventTail::new(serializer, publication_of(message), &details, &payload).ok()
}

/// What an event says beside its payload, to all who get it.
fn details(message: &Message, is_pattern: bool) -> Dict {
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
    if message.wamp.is_none() {
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

/// The same of one that is retained, or comes from a queue.
fn own_details(delivery: &Delivery, topic: &Topic) -> Dict {
    let message = &delivery.message;
    // A queue may be bound to more than its subscription says.
    let is_pattern = topic.how != Match::Exact || topic.durable.is_some();
    let mut details = details(message, is_pattern);
    if message.retained {
        details.insert("retained", true);
    }
    if topic.durable.is_some() {
        // What one widespread client library acknowledges by itself.
        details.insert("x_acknowledged_delivery", true);
        details.insert("_offset", delivery.offset);
        details.insert("_attempt", i64::from(delivery.attempt));
    }
    details
}
