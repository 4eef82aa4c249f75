//! Deliveries into EVENTs.
//!
//! What all who get an event have in common is encoded once for each serializer, and once more with the topic, for pattern-based
//! subscriptions. What is retained, or comes from a queue, has details of its own.
//!
//! What this client cannot be told, another one may: of a queue it goes back there a few times, for whoever else consumes from it, and then
//! to the queue's dead-letter address, as what a consumer rejects. What its publisher has kept from this client goes back as often as it
//! takes, with a while in between: it waits for somebody it is for.
//!
//! Rules: the WAMP specification, "Publishing and Events", "Event Retention".

use std::sync::Arc;
use std::time::{Duration, Instant};

use restante_proto::mbws::Ranges;
use restante_proto::wamp::{Dict, EventTail, Serializer};

use super::Session;
use super::output::Queued;
use super::subscribe::Topic;
use crate::broker::{Delivery, REPLIES, Settle};
use crate::message::{Message, may_be_told};
use crate::router::Match;
use crate::wamp::details::details;
use crate::wamp::{body, publication_of};

/// How often an event is on its way to clients that cannot be told of it.
const TRIES: u32 = 4;

/// How long what is for others stays here, so that it does not go round without end while none of them is there.
const FOR_OTHERS_FOR: Duration = Duration::from_secs(1);

/// An event of a shared queue that its publisher has kept from this client.
#[derive(Debug)]
pub(super) struct ForOthers {
    /// When it goes back.
    pub(super) until: Instant,
    subscription: u64,
    offset: u64,
}

impl Session {
    pub(super) fn deliver(&mut self, now: Instant, delivery: Delivery) {
        if *delivery.consumer == *REPLIES {
            return self.answered(delivery.message);
        }
        let Some((subscription, topic)) = self.topics.of_consumer(&delivery.consumer) else {
            self.tally.unwanted += 1;
            return;
        };
        let message = &delivery.message;
        let is_durable = topic.durable.is_some();
        let queued = is_durable.then(|| Queued {
            publication: publication_of(message),
            offset: delivery.offset,
            attempt: delivery.attempt,
        });
        if (message.retained || is_durable) && !self.is_eligible(message) {
            self.tally.unwanted += 1;
            if is_durable {
                self.for_others.push_back(ForOthers {
                    until: now + FOR_OTHERS_FOR,
                    subscription,
                    offset: delivery.offset,
                });
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
            let why = "the subscriber's serializer has no words for it";
            return self.give_back(subscription, queued, why);
        };
        if let Some(it) = queued {
            self.topics.is_out(it.publication, subscription, it.offset);
        }
        self.output.event(subscription, tail, queued);
    }

    /// An event that was to be sent is larger than what the client takes.
    pub(super) fn takes_less(&mut self, subscription: u64, queued: Queued, peer_max: usize) {
        let Queued {
            publication,
            offset,
            ..
        } = queued;
        if self.topics.is_back(publication, subscription, offset) {
            let why = format!("it is larger than the {peer_max} bytes that the subscriber takes");
            self.give_back(subscription, Some(queued), &why);
        }
    }

    /// A delivery that the client cannot be sent goes back to its queue, for others; but once it was tried often enough, it is rejected.
    fn give_back(&mut self, subscription: u64, queued: Option<Queued>, why: &str) {
        let Some(it) = queued else { return };
        self.tally.given_back += 1;
        let offset = Ranges::from_iter([it.offset]);
        let mut settle = Settle {
            consumer: subscription.to_string(),
            reason: Some(why.to_owned()),
            ..Settle::default()
        };
        if it.attempt < TRIES {
            settle.released = offset;
        } else {
            settle.rejected = offset;
        }
        self.settle(subscription, settle, None);
    }

    /// What is for others goes back to its queue once it has been here for long enough.
    pub(super) fn pass_on(&mut self, now: Instant) {
        while let Some(it) = self.for_others.pop_front_if(|it| it.until <= now) {
            let consumer = it.subscription.to_string();
            // The broker has it back already where the subscription is over.
            if self.topics.of_consumer(&consumer).is_none() {
                continue;
            }
            let settle = Settle {
                consumer,
                released: Ranges::from_iter([it.offset]),
                ..Settle::default()
            };
            self.settle(it.subscription, settle, None);
        }
    }

    /// Whether this client may be told of what was published before, as far as its publisher has said.
    fn is_eligible(&self, message: &Message) -> bool {
        let (Some(part), Some(me)) = (&message.wamp, &self.me) else {
            return true;
        };
        may_be_told(part, &me.authid, &me.authrole)
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
