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
use crate::message::{Message, may_be_told};
use crate::router::Match;
use crate::wamp::details::details;
use crate::wamp::{body, publication_of};

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
