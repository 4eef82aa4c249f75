//! Publishing: from a session's message to a record for the durable queues that its address leads to, and to those who
//! take it without the log.
//!
//! Comes before: `session`. Goes on to: `attachment.rs` (the batch), `log` (storage), or straight to outboxes.

use std::sync::Arc;

use bytes::Bytes;
use restante_storage::payload::Envelope;
use restante_storage::{Draft, Kind, QueueId, Refused, encode_detached};
use smallvec::SmallVec;
use uuid::Uuid;

use super::attachment::{Attachment, Outcome, own_name};
use super::core::{Ask, Extras};
use super::outbox::Subscriber;
use super::{Routes, now};
use crate::access::Verb;
use crate::engine::QueueHandle;
use crate::engine::address::{Address, Filter, Space};
use crate::message::NewMessage;
use crate::refusal::Refusal;

/// Who takes what is sent to an address.
#[derive(Debug, Default)]
pub(super) struct Takers {
    pub(super) durable: SmallVec<[QueueId; 4]>,
    pub(super) transient: SmallVec<[QueueId; 2]>,
    pub(super) topics: Vec<Arc<Subscriber>>,
    full: bool,
}

impl Takers {
    /// From the routing snapshot, without a lock.
    pub(super) fn of(routes: &Routes, realm: &str, address: &str) -> Self {
        let mut takers = Takers::default();
        if let Some(realm) = routes.queues.get(realm) {
            let mut found: SmallVec<[Arc<QueueHandle>; 4]> = SmallVec::new();
            realm.bindings.collect_unique(address, &mut found);
            for handle in found {
                takers.full |= handle.is_full();
                if handle.is_transient() {
                    takers.transient.push(handle.id);
                } else {
                    takers.durable.push(handle.id);
                }
            }
        }
        if let Some(topics) = routes.topics.get(realm).filter(|topics| !topics.is_empty()) {
            let mut found: SmallVec<[Arc<Subscriber>; 4]> = SmallVec::new();
            topics.collect_unique(address, &mut found);
            takers.topics.extend(found);
        }
        takers
    }

    /// Whoever listens takes nothing from a queue, and does not stand for one either (MBWS.md §4.10).
    fn have_no_queue(&self) -> bool {
        self.durable.is_empty() && self.transient.is_empty()
    }
}

impl Attachment {
    pub(super) fn publish(&mut self, tag: u64, message: &NewMessage) -> Outcome {
        let full_name = self.own_temporary(&message.address);
        let text = full_name.as_deref().unwrap_or(&message.address);
        let Ok(address) = Address::parse(text, self.shared.settings.address) else {
            return Outcome::Refused(Refusal::BadAddress);
        };
        if !self.may(Verb::Send, &address) {
            return Outcome::Refused(Refusal::Denied);
        }
        if message.ttl_ms == Some(0) {
            return Outcome::Refused(Refusal::Expired);
        }
        let takers = Takers::of(&self.shared.routes.load(), &self.realm, address.as_str());
        let may_make = self.may_make_queue(tag, &address);
        if takers.have_no_queue() && (may_make || takers.topics.is_empty()) {
            return self.no_route(tag, &address, may_make);
        }
        if takers.full || (!takers.durable.is_empty() && self.shared.is_disk_full()) {
            return Outcome::Refused(Refusal::Full);
        }
        let envelope = self.envelope(&address, message);
        let outcome = self.store(tag, message, &envelope, takers);
        if !matches!(outcome, Outcome::Refused(_)) {
            self.shared.stats.published(self.protocol);
        }
        outcome
    }

    /// `~NAME` is short for this session's temporary queue of that name.
    fn own_temporary(&self, address: &str) -> Option<String> {
        own_name(address).map(|name| self.temporary_address(name))
    }

    /// Whether a queue of the address's name may be made; once for a call.
    fn may_make_queue(&self, tag: u64, address: &Address) -> bool {
        let ordinary = address.space() == Space::Ordinary;
        self.shared.settings.create_on_send && ordinary && self.declared_for != tag
    }

    fn no_route(&mut self, tag: u64, address: &Address, may_make: bool) -> Outcome {
        if !may_make {
            return Outcome::Refused(Refusal::NoRoute);
        }
        if self.shared.is_disk_full() {
            return Outcome::Refused(Refusal::Full);
        }
        self.declare(tag, address)
    }

    fn envelope(&self, address: &Address, message: &NewMessage) -> Envelope {
        let reply_to = message
            .reply_to
            .as_ref()
            .map(|to| self.own_temporary(to).unwrap_or_else(|| to.clone()));
        let uuid = match message.message_id {
            Some(_) => Bytes::new(),
            None => Bytes::copy_from_slice(Uuid::now_v7().as_bytes()),
        };
        Envelope {
            address: address.as_str().to_owned(),
            uuid,
            message_id: message.message_id.clone(),
            correlation_id: message.correlation_id.clone(),
            reply_to,
            content_type: message.content_type.clone(),
            key: message.key.clone(),
            text: message.text,
            properties: message.properties.clone(),
            taken: 0,
        }
    }

    fn store(
        &mut self,
        tag: u64,
        message: &NewMessage,
        envelope: &Envelope,
        takers: Takers,
    ) -> Outcome {
        let time = *self.began.get_or_insert_with(now);
        let Takers {
            durable,
            transient,
            topics,
            ..
        } = takers;
        let draft = Draft {
            priority: message.priority,
            expires: message.ttl_ms.map(|ttl| time.saturating_add(ttl)),
            origin: self.origin(tag),
            targets: &durable,
            body: &message.body,
            ..Draft::new(Kind::Enqueue, time, envelope)
        };
        if durable.is_empty() {
            self.hand_over(&draft, transient, &topics);
            return Outcome::Done;
        }
        match self.push_draft(tag, &draft) {
            Ok(index) => {
                if !transient.is_empty() || !topics.is_empty() {
                    self.extras(
                        index,
                        Extras {
                            queues: transient,
                            topics,
                        },
                    );
                }
                Outcome::Logged
            }
            Err(Refused::TooLarge { .. } | Refused::BatchFull) => {
                Outcome::Refused(Refusal::TooLarge)
            }
            Err(Refused::TooManyTargets { .. }) => Outcome::Refused(Refusal::TooMany),
        }
    }

    /// Nobody who takes it keeps it on disk: it goes to them at once.
    fn hand_over(
        &self,
        draft: &Draft<'_>,
        queues: SmallVec<[QueueId; 2]>,
        topics: &[Arc<Subscriber>],
    ) {
        let record = encode_detached(draft);
        for subscriber in topics {
            if subscriber.offer(&record) {
                subscriber.outbox().ring();
            } else {
                self.shared.stats.topic_dropped();
            }
        }
        if !queues.is_empty() {
            let (time, expires) = (draft.time, draft.expires);
            self.shared.ask(Ask::Direct {
                queues,
                record,
                time,
                expires,
            });
        }
    }

    /// The one decision for an address. A temporary address is known only to those who were told of it: that is the
    /// right to send there, and its own session's to consume from it.
    pub(super) fn may(&self, verb: Verb, address: &Address) -> bool {
        match (address.space(), verb) {
            (Space::Ordinary, _) => {
                self.shared
                    .allows(&self.principal, verb, &self.realm, address.as_str())
            }
            (Space::Temporary, Verb::Send) => true,
            (Space::Temporary | Space::Broker, _) => false,
        }
    }

    /// Whether the client may listen to all that a filter matches.
    pub(super) fn may_listen(&self, filter: &Filter) -> bool {
        !filter.as_str().starts_with(['~', '$'])
            && self
                .shared
                .allows(&self.principal, Verb::Consume, &self.realm, filter.as_str())
    }
}
