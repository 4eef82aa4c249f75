//! Publishes from the client: PUBLISH in, PUBACK or PUBREC once it is stored, PUBREL in, PUBCOMP once it is forgotten
//! (MQTT 5.0 §3.3 to §3.7, §4.3).
//!
//! A QoS 2 packet id is remembered from its PUBLISH to its PUBREL, so that the same publish is not stored twice. Of a durable
//! session the broker remembers it too, beside the message; of a plain one only this.

use std::sync::Arc;
use std::time::Instant;

use restante_proto::mqtt::{
    Ack, PacketId, PacketType, PayloadFormat, Publish, Qos, ReasonCode, Version,
};
use rustc_hash::FxHashMap;

use super::calls::Waits;
use super::output::Answer;
use super::reasons::{self, Reason};
use super::wish::DeniedPublish;
use super::{Session, topic, translate};
use crate::broker::Call;
use crate::refusal::Refusal;

/// What is known of publishes that are under way, and of topic aliases.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    /// QoS 2 publishes that were not released yet, by packet id.
    remembered: FxHashMap<PacketId, Remembered>,
    /// Publishes of this connection that count towards our receive maximum.
    n_open: u16,
    /// The address behind each topic alias, at its number less one.
    aliases: Vec<Option<Arc<str>>>,
}

#[derive(Debug, Clone, Copy)]
struct Remembered {
    step: Step,
    /// Whether it counts towards our receive maximum: not if it was published over an earlier connection.
    counts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It is not stored yet: no PUBREC was sent.
    Called,
    /// PUBREC was sent, now or before.
    Taken,
    /// As `Taken`, but it was refused, and the broker knows nothing of it.
    Dropped,
    /// PUBREL came, and it is not forgotten yet.
    Released,
}

impl Inbound {
    /// Goes on with what a durable session remembers.
    pub(super) fn resume(&mut self, received: &[u16]) {
        let taken = Remembered {
            step: Step::Taken,
            counts: false,
        };
        let ids = received.iter().copied().filter_map(PacketId::new);
        self.remembered.extend(ids.map(|id| (id, taken)));
    }

    /// Whether a SUBSCRIBE may not have this id.
    pub(super) fn is_in_use(&self, id: PacketId) -> bool {
        self.remembered.contains_key(&id)
    }

    fn forget(&mut self, id: PacketId) {
        if self.remembered.remove(&id).is_some_and(|it| it.counts) {
            self.close_one();
        }
    }

    fn close_one(&mut self) {
        self.n_open = self.n_open.saturating_sub(1);
    }
}

impl Session {
    pub(super) fn publish(&mut self, now: Instant, publish: Publish) {
        let Some(address) = self.address_of(&publish) else {
            return;
        };
        let is_text = publish.properties.payload_format == Some(PayloadFormat::Utf8);
        let is_invalid = is_text && std::str::from_utf8(&publish.payload).is_err();
        match (publish.qos, publish.packet_id) {
            (Qos::AtLeastOnce, Some(id)) => {
                if self.opens_one() {
                    self.publish_for(now, publish, address, is_invalid, Waits::Puback(id));
                }
            }
            (Qos::ExactlyOnce, Some(id)) => {
                if self.is_news(id) {
                    self.publish_for(now, publish, address, is_invalid, Waits::Pubrec(id));
                }
            }
            _ if is_invalid => self.fail(ReasonCode::PayloadFormatInvalid, NOT_TEXT),
            _ => self.publish_for(now, publish, address, false, Waits::Unacknowledged),
        }
    }

    /// The address that it is for, by topic or alias.
    fn address_of(&mut self, publish: &Publish) -> Option<String> {
        let topic = publish.topic.as_str();
        let Some(alias) = publish.properties.topic_alias else {
            return Some(topic::to_address(topic).into_owned());
        };
        if alias.get() > self.settings.topic_alias_max {
            self.fail(
                ReasonCode::TopicAliasInvalid,
                "the topic alias is above the maximum that CONNACK has told",
            );
            return None;
        }
        let at = usize::from(alias.get()) - 1;
        let aliases = &mut self.inbound.aliases;
        if topic.is_empty() {
            let known = aliases.get(at).cloned().flatten();
            if known.is_none() {
                let why = "the topic is empty, and its alias was never set on this connection";
                self.fail(ReasonCode::TopicAliasInvalid, why);
            }
            return known.map(|address| address.as_ref().to_owned());
        }
        let address = topic::to_address(topic).into_owned();
        if aliases.len() <= at {
            aliases.resize(at + 1, None);
        }
        if let Some(place) = aliases.get_mut(at) {
            *place = Some(address.as_str().into());
        }
        Some(address)
    }

    /// Counts a QoS 1 or 2 publish; not if there are more than may be, and then the connection is over.
    fn opens_one(&mut self) -> bool {
        let max = self.settings.receive_maximum.get();
        if self.is_v5() && self.inbound.n_open >= max {
            let why = "more unanswered publishes than CONNACK's receive maximum";
            self.fail(ReasonCode::ReceiveMaximumExceeded, why);
            return false;
        }
        self.inbound.n_open = self.inbound.n_open.saturating_add(1);
        true
    }

    /// Whether a QoS 2 publish is not one that is known; who sends one again is answered again.
    fn is_news(&mut self, id: PacketId) -> bool {
        let Some(mut known) = self.inbound.remembered.get(&id).copied() else {
            let news = Remembered {
                step: Step::Called,
                counts: true,
            };
            let opened = self.opens_one();
            if opened {
                self.inbound.remembered.insert(id, news);
            }
            return opened;
        };
        if !known.counts {
            if !self.opens_one() {
                return false;
            }
            known.counts = true;
            self.inbound.remembered.insert(id, known);
        }
        // While it is not stored, the answer is under way.
        if known.step != Step::Called {
            self.tell(Answer::new(PacketType::Pubrec, id));
        }
        false
    }

    fn publish_for(
        &mut self,
        now: Instant,
        publish: Publish,
        address: String,
        is_invalid: bool,
        waits: Waits,
    ) {
        if is_invalid {
            return self.refuse_payload(waits);
        }
        let remembered = match &waits {
            Waits::Pubrec(id) if self.is_durable => id.get(),
            _ => 0,
        };
        let within_rate = self.publishing.as_mut().is_none_or(|it| it.take(now));
        let call = if within_rate {
            Call::Publish(translate::publish(publish, address, remembered))
        } else {
            Call::Refuse(Refusal::Rate)
        };
        let is_heard = !matches!(waits, Waits::Unacknowledged) || self.closes_for_denied();
        let wish = if is_heard {
            self.calls.call_for(call, waits)
        } else {
            self.calls.call(call)
        };
        self.wishes.push_back(wish);
    }

    /// Only 5.0 says of which format a payload is, so that its answer can tell.
    fn refuse_payload(&mut self, waits: Waits) {
        let reason = (ReasonCode::PayloadFormatInvalid, NOT_TEXT);
        match waits {
            Waits::Puback(id) => {
                self.inbound.close_one();
                self.tell(Answer::new(PacketType::Puback, id).with(reason));
            }
            Waits::Pubrec(id) => {
                self.inbound.forget(id);
                self.tell(Answer::new(PacketType::Pubrec, id).with(reason));
            }
            _ => {}
        }
    }

    fn closes_for_denied(&self) -> bool {
        !self.is_v5() && self.settings.denied_publish == DeniedPublish::Close
    }

    /// A QoS 0 publish is through, or was refused.
    pub(super) fn sent(&mut self, refusal: Option<Refusal>) {
        if let Some(why) = refusal
            && !reasons::is_for_now(why)
            && self.closes_for_denied()
        {
            self.is_taken(refusal);
        }
    }

    /// A QoS 1 publish is stored, or was refused.
    pub(super) fn acknowledge(&mut self, id: PacketId, refusal: Option<Refusal>) {
        let Some(reason) = self.is_taken(refusal) else {
            return;
        };
        self.inbound.close_one();
        self.output
            .answer(Answer::new(PacketType::Puback, id).with(reason));
    }

    /// A QoS 2 publish is stored, or was refused.
    pub(super) fn receive(&mut self, id: PacketId, refusal: Option<Refusal>) {
        let Some(reason) = self.is_taken(refusal) else {
            return;
        };
        if reason.0.is_error() {
            self.inbound.forget(id);
        } else if let Some(known) = self.inbound.remembered.get_mut(&id) {
            let is_stored = refusal.is_none_or(|why| !reasons::of_publish(why).0.is_error());
            known.step = if is_stored {
                Step::Taken
            } else {
                Step::Dropped
            };
        }
        self.output
            .answer(Answer::new(PacketType::Pubrec, id).with(reason));
    }

    /// What an acknowledgement says. None: 3.x has no word for it, and the connection is over.
    fn is_taken(&mut self, refusal: Option<Refusal>) -> Option<Reason> {
        let Some(why) = refusal else {
            return Some((ReasonCode::Success, ""));
        };
        let reason = reasons::of_publish(why);
        if self.is_v5() || !reason.0.is_error() {
            return Some(reason);
        }
        if reasons::is_for_now(why) || self.settings.denied_publish == DeniedPublish::Close {
            self.fail(reason.0, reason.1);
            return None;
        }
        self.tally.acknowledged_and_dropped += 1;
        Some((ReasonCode::Success, ""))
    }

    pub(super) fn pubrel(&mut self, ack: Ack) {
        let id = ack.packet_id;
        let step = self.inbound.remembered.get(&id).map(|it| it.step);
        match step {
            None => self.tell(Answer::new(PacketType::Pubcomp, id).with(NOT_FOUND)),
            Some(Step::Called) => {
                let why = "a PUBREL for a PUBLISH that has no PUBREC yet";
                self.fail(ReasonCode::ProtocolError, why);
            }
            Some(Step::Taken) if self.is_durable => {
                if let Some(known) = self.inbound.remembered.get_mut(&id) {
                    known.step = Step::Released;
                }
                let forget = Call::Forget { packet: id.get() };
                let wish = self.calls.call_for(forget, Waits::Pubcomp(id));
                self.wishes.push_back(wish);
            }
            Some(Step::Taken | Step::Dropped) => {
                self.inbound.forget(id);
                self.tell(Answer::new(PacketType::Pubcomp, id));
            }
            // Its PUBCOMP is under way.
            Some(Step::Released) => {}
        }
    }

    /// A QoS 2 publish is forgotten: its id may mean another one.
    pub(super) fn complete(&mut self, id: PacketId) {
        self.inbound.forget(id);
        self.output.answer(Answer::new(PacketType::Pubcomp, id));
    }

    pub(super) fn is_v5(&self) -> bool {
        self.version == Some(Version::V5)
    }
}

pub(super) const NOT_FOUND: Reason = (
    ReasonCode::PacketIdNotFound,
    "no such packet identifier in this session",
);
const NOT_TEXT: &str = "the payload format says UTF-8, and the payload is not";
