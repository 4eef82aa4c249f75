//! Hands out what a realm's router says: into the outboxes of those concerned, counted.
//!
//! Always, with a test of its name in `broker/tests/wamp/admin.rs`:
//! - `calls_are_counted_by_how_they_end`

use std::sync::Arc;

use restante_proto::wamp::{Dict, Payload, Serializer};

use super::super::call::{End, Event};
use super::super::outbox::{Bells, Outbox, Waiting};
use super::super::stats::CallEnd;
use super::{Realm, WampTold};
use crate::broker::Shared;
use crate::router::{CallError, Party, SessionId, Sink, Testament, ToSession};

/// Bytes of what waits for a client that does not read, from which on it gets no more calls and meta events.
const TOLD_BYTES_MAX: usize = 8 << 20;
/// Pieces of it.
const TOLD_MAX: usize = 16_384;

/// Whoever carries out what a router says.
pub(super) struct Courier<'a> {
    pub(super) shared: &'a Shared,
    /// Of those that got something.
    pub(super) bells: &'a mut Bells,
    /// Of the attachment that has asked; none: an administrator has.
    pub(super) own: Option<&'a Arc<Outbox>>,
}

impl Courier<'_> {
    /// All of it, in its order. Gives what is for other doors.
    pub(super) fn carry_out(
        mut self,
        realm: &mut Realm,
        sink: Sink<Payload>,
    ) -> Vec<(u64, ToSession<Payload>)> {
        let (mut rest, mut for_doors) = (sink, Vec::new());
        while !rest.is_empty() {
            let Sink {
                messages,
                testaments,
            } = std::mem::take(&mut rest);
            for testament in testaments {
                self.hand_back(realm, testament);
            }
            for (party, message) in messages {
                if let Some(end) = end_of_call(&message) {
                    self.shared.stats.wamp.call_ended(end);
                }
                match party {
                    Party::Session(id) => self.tell(realm, id, message, &mut rest),
                    Party::Door(door) => for_doors.push((door, message)),
                }
            }
        }
        for_doors
    }

    fn tell(
        &mut self,
        realm: &mut Realm,
        id: SessionId,
        message: ToSession<Payload>,
        rest: &mut Sink<Payload>,
    ) {
        let is_bye = matches!(message, ToSession::Goodbye { .. });
        let Some(outbox) = realm.outboxes.get(&id) else {
            return;
        };
        let outbox = Arc::clone(outbox);
        if is_bye {
            // It is out of the router, and whatever waits for it does not keep it here.
            realm.outboxes.remove(&id);
            let told = WampTold::Said(Box::new(message));
            let weight = told.weight();
            outbox.put(|waiting| {
                waiting.is_killed = true;
                waiting.tell(told, weight);
            });
            return outbox.alert();
        }
        if !outbox.put(|waiting| waiting.has_room_to_tell()) {
            match message {
                ToSession::Invocation(it) => {
                    self.shared.stats.wamp.invocation_refused();
                    let uri = "wamp.error.unavailable";
                    let party = Party::Session(id);
                    let why = ["the callee does not take calls now".into()];
                    let payload = Payload::from_values(Serializer::Json, &why, &Dict::new());
                    let payload = payload.unwrap_or_default();
                    // It was sent to that callee just now.
                    realm
                        .router
                        .error(party, it.request, uri, None, payload, rest)
                        .ok();
                }
                ToSession::MetaEvent(_) => self.shared.stats.meta_event_dropped(),
                // Results that it has asked for, and does not take.
                _ => outbox.end(End::TooSlow),
            }
            return;
        }
        let told = WampTold::Said(Box::new(message));
        let weight = told.weight();
        outbox.put(|waiting| waiting.tell(told, weight));
        self.bells.ring_later(&outbox);
    }

    /// A session's testament is published by its own attachment, with its own rights.
    fn hand_back(&mut self, realm: &Realm, testament: Testament) {
        let author = testament.author.session;
        let outbox = author.and_then(|id| realm.outboxes.get(&id));
        if let Some(outbox) = outbox.or(self.own) {
            outbox.put(|waiting| waiting.testaments.push(testament));
        }
    }
}

/// How a call has ended, if that is what is told.
fn end_of_call(message: &ToSession<Payload>) -> Option<CallEnd> {
    match message {
        ToSession::Result(it) if !it.progress => Some(CallEnd::Result),
        ToSession::CallError(it) => Some(end_by_error(it)),
        _ => None,
    }
}

fn end_by_error(error: &CallError<Payload>) -> CallEnd {
    match (&*error.uri, &error.payload) {
        ("wamp.error.canceled", _) => CallEnd::Canceled,
        ("wamp.error.timeout", _) => CallEnd::Timeout,
        (_, Some(_)) => CallEnd::Error,
        (_, None) => CallEnd::Refused,
    }
}

impl Waiting {
    pub(super) fn tell(&mut self, told: WampTold, weight: usize) {
        self.told_bytes += weight;
        self.wamp.push_back(told);
    }

    /// Whether there is room for more that nobody has to have.
    pub(in crate::broker) fn has_room_to_tell(&self) -> bool {
        self.wamp.len() < TOLD_MAX && self.told_bytes < TOLD_BYTES_MAX
    }

    /// The GOODBYE of one that was killed, and does not take what came before.
    pub(in crate::broker) fn take_goodbye(&mut self, events: &mut Vec<Event>) -> Option<End> {
        let is_bye = |told: &WampTold| matches!(told, WampTold::Said(said) if matches!(**said, ToSession::Goodbye { .. }));
        if !std::mem::take(&mut self.is_killed) {
            return None;
        }
        self.told_bytes = 0;
        let bye = self.wamp.drain(..).find(is_bye);
        events.extend(bye.map(|told| Event::Wamp(Box::new(told))));
        Some(End::Kicked)
    }

    /// What the session is to hear, up to about so many bytes.
    pub(in crate::broker) fn take_told(&mut self, bytes_max: usize, events: &mut Vec<Event>) {
        let mut left = bytes_max;
        while left > 0
            && let Some(told) = self.wamp.pop_front()
        {
            let weight = told.weight();
            left = left.saturating_sub(weight);
            self.told_bytes = self.told_bytes.saturating_sub(weight);
            events.push(Event::Wamp(Box::new(told)));
        }
    }
}
