//! Deliveries to the client: PUBLISH out, its acknowledgements in, and what the broker is told of them (MQTT 5.0 §4.3, §4.4,
//! §4.9).
//!
//! ```text
//! q  own queue            id = (offset - 1) % 32767 + 1, the same after any crash   PUBACK, PUBREC ─▶ Settle
//! s  shared subscription  an id that is free, above those                          PUBACK         ─▶ Settle
//! t  listener             an id that is free                                        nothing to settle
//! ```
//!
//! Never more than the client's receive maximum are unacknowledged: the own queue's credit is what it may have, and what comes
//! on top from other consumers waits here. A delivery whose id is still in use waits too, and all behind it.
//!
//! What no subscription wants any more is let go of. What the client may have begun to receive is completed all the same
//! [MQTT-3.10.4-3], unless the right to consume it is gone too: that it came back says only that it was on its way before.
//!
//! A QoS 2 delivery is settled, durably, before its PUBREL goes out. From there on only its id is left: the broker remembers
//! it until PUBCOMP, and a session that is resumed begins with those PUBRELs.

use std::collections::VecDeque;
use std::sync::Arc;

use restante_proto::mbws::Ranges;
use restante_proto::mqtt::{Ack, PacketId, PacketType, Qos, ReasonCode, SubscriptionId};
use restante_storage::UnixMillis;
use rustc_hash::FxHashMap;

use super::calls::Waits;
use super::output::{Answer, Outgoing};
use super::publish::NOT_FOUND;
use super::subscribe::{Key, is_for};
use super::wish::Wish;
use super::{Session, topic, translate};
use crate::broker::{Call, Delivery, LISTENER, OWN_CONSUMER, Settle};
use crate::message::Message;

/// Packet ids of the own queue's deliveries: 1 to this.
const OWN_IDS: u16 = 32_767;
/// The most that may be unacknowledged, whatever is configured: ids of the own queue that follow each other never meet.
const WINDOW_MAX: u16 = OWN_IDS;
/// How many deliveries of one shared subscription wait for this client's word at most: what it holds, no other member has.
const SHARED_WINDOW: u16 = 64;

/// Which of a session's consumers a delivery comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Own,
    Listener,
    Shared(Arc<str>),
}

impl Origin {
    fn of(consumer: &Arc<str>) -> Self {
        match consumer.as_ref() {
            OWN_CONSUMER => Origin::Own,
            LISTENER => Origin::Listener,
            _ => Origin::Shared(Arc::clone(consumer)),
        }
    }

    /// Whether there is something to settle, of that consumer.
    fn settles(&self, consumer: &str) -> bool {
        match self {
            Origin::Own => consumer == OWN_CONSUMER,
            Origin::Listener => false,
            Origin::Shared(name) => **name == *consumer,
        }
    }

    /// The name of its consumer.
    fn consumer(&self) -> Arc<str> {
        match self {
            Origin::Own => OWN_CONSUMER.into(),
            Origin::Listener => LISTENER.into(),
            Origin::Shared(name) => Arc::clone(name),
        }
    }
}

/// Deliveries that are under way.
#[derive(Debug)]
pub(super) struct Outbound {
    /// How many may be unacknowledged.
    window: u16,
    /// How many of `flights` count towards it.
    n_open: u16,
    flights: FxHashMap<PacketId, Flight>,
    /// Deliveries that wait for a place or an id, in order.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// The first of the ids that are given to whatever has none of its own.
    free_ids_from: u16,
    /// Where to look for the next free one.
    next_id: u16,
    own: Credit,
    shared: FxHashMap<Arc<str>, Credit>,
    /// Deliveries that are done with and not settled yet, in a box: an idle connection has none.
    done: Option<Box<Done>>,
    /// The call that settled the last ones.
    settled: u64,
}

/// A delivery that was sent and whose id is not free yet.
#[derive(Debug)]
struct Flight {
    origin: Origin,
    offset: u64,
    step: Step,
    /// Whether it counts towards the client's receive maximum: not if only its PUBREL was sent over this connection.
    counts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// QoS 1.
    WaitsForPuback,
    /// QoS 2.
    WaitsForPubrec,
    /// PUBREC came, and it is not durable yet that it did.
    Received,
    /// PUBREL was sent.
    WaitsForPubcomp,
}

#[derive(Debug)]
struct Waiting {
    origin: Origin,
    offset: u64,
    outgoing: Box<Outgoing>,
}

/// Deliveries of one consumer.
#[derive(Debug)]
struct Done {
    consumer: Arc<str>,
    offsets: Ranges,
}

/// How many deliveries one consumer has been allowed.
#[derive(Debug, Clone, Copy, Default)]
struct Credit {
    /// Deliveries that are done with.
    done: u64,
    /// The limit that the broker was told last.
    told: u64,
}

impl Credit {
    /// One more is done with; the limit to be told, if it is worth it.
    fn done(&mut self, window: u16) -> Option<u64> {
        self.done += 1;
        let window = u64::from(window);
        let limit = self.done + window;
        (limit - self.told.min(limit) >= window.div_ceil(4)).then(|| self.tell(window))
    }

    fn tell(&mut self, window: u64) -> u64 {
        self.told = self.done + window;
        self.told
    }
}

impl Outbound {
    pub(super) fn new() -> Self {
        Outbound {
            window: 0,
            n_open: 0,
            flights: FxHashMap::default(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            free_ids_from: 1,
            next_id: 1,
            own: Credit::default(),
            shared: FxHashMap::default(),
            done: None,
            settled: 0,
        }
    }

    /// What the client takes at a time.
    pub(super) fn begin(&mut self, receive_maximum: u16) {
        self.window = receive_maximum.min(WINDOW_MAX);
    }

    /// The own queue's deliveries have ids of their own.
    pub(super) fn is_durable(&mut self) {
        (self.free_ids_from, self.next_id) = (OWN_IDS + 1, OWN_IDS + 1);
    }

    /// A consumer begins, or ends: its deliveries are counted anew.
    pub(super) fn begins_consumer(&mut self, consumer: Arc<str>) {
        self.shared.remove(&consumer);
    }

    /// How many deliveries wait for a place, and their bytes.
    pub(super) fn n_waiting(&self) -> (usize, usize) {
        (self.waiting.len(), self.waiting_bytes)
    }

    fn is_full(&self) -> bool {
        self.n_open >= self.window
    }

    /// The id for a delivery, unless it is in use.
    fn id_for(&mut self, origin: &Origin, offset: u64) -> Option<PacketId> {
        match origin {
            Origin::Own => {
                let number = offset.saturating_sub(1) % u64::from(OWN_IDS) + 1;
                let id = PacketId::new(u16::try_from(number).ok()?)?;
                (!self.flights.contains_key(&id)).then_some(id)
            }
            Origin::Listener | Origin::Shared(_) => self.free_id(),
        }
    }

    fn free_id(&mut self) -> Option<PacketId> {
        for _ in self.free_ids_from..=u16::MAX {
            let id = PacketId::new(self.next_id)?;
            self.next_id = self.next_id.checked_add(1).unwrap_or(self.free_ids_from);
            if !self.flights.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }

    fn land(&mut self, id: PacketId) -> Option<Flight> {
        let flight = self.flights.remove(&id)?;
        self.n_open -= u16::from(flight.counts);
        Some(flight)
    }
}

impl Session {
    /// Goes on with PUBRELs that were not answered: before any delivery [MQTT-4.4.0-1].
    pub(super) fn release_again(&mut self, releasing: &[u16]) {
        for id in releasing.iter().copied().filter_map(PacketId::new) {
            let flight = Flight {
                origin: Origin::Own,
                offset: 0,
                step: Step::WaitsForPubcomp,
                counts: false,
            };
            self.outbound.flights.insert(id, flight);
            self.output.answer(Answer::new(PacketType::Pubrel, id));
        }
    }

    /// A subscription is confirmed, or goes on: its consumer may deliver.
    pub(super) fn grant(&mut self, key: &Key, qos: Qos) {
        match key.consumer() {
            Some(consumer) => self.grant_shared(consumer),
            None if qos > Qos::AtMostOnce => self.grant_own(),
            None => {}
        }
    }

    pub(super) fn grant_own(&mut self) {
        if !self.is_durable {
            return;
        }
        let limit = self.outbound.own.tell(u64::from(self.outbound.window));
        let consumer = OWN_CONSUMER.into();
        self.wishes.push_back(Wish::Credit { consumer, limit });
    }

    pub(super) fn grant_shared(&mut self, consumer: Arc<str>) {
        let window = self.outbound.window.min(SHARED_WINDOW);
        let credit = self.outbound.shared.entry(Arc::clone(&consumer));
        let limit = credit.or_default().tell(u64::from(window));
        self.wishes.push_back(Wish::Credit { consumer, limit });
    }

    pub(super) fn deliver(&mut self, delivery: Delivery, wall: UnixMillis) {
        let Delivery {
            consumer,
            offset,
            attempt,
            barred,
            message,
        } = delivery;
        let origin = Origin::of(&consumer);
        let is_again = attempt > 1;
        let wanted = self.wanted(&origin, &message, is_again && !barred);
        let Some((qos, ids, as_published)) = wanted else {
            self.tally.unwanted += 1;
            return self.is_done_with(&origin, offset);
        };
        let expires = message.expires;
        if !is_again && expires.is_some_and(|expires| expires <= wall) {
            return self.is_done_with(&origin, offset);
        }
        let Some(publish) = message.publish(translate::deliver) else {
            self.tally.unspeakable += 1;
            return self.is_done_with(&origin, offset);
        };
        let outgoing = Box::new(Outgoing {
            publish: Arc::clone(publish),
            qos,
            dup: is_again,
            retain: message.retained || (message.retain && as_published),
            id: None,
            ids,
            expires,
        });
        if self.output.is_too_large(&outgoing, wall) {
            self.tally.too_large += 1;
            return self.is_done_with(&origin, offset);
        }
        if qos == Qos::AtMostOnce {
            self.output.publish(outgoing);
            return self.is_done_with(&origin, offset);
        }
        self.outbound.waiting_bytes += outgoing.n_bytes();
        self.outbound.waiting.push_back(Waiting {
            origin,
            offset,
            outgoing,
        });
        self.send_waiting();
    }

    /// With which QoS a delivery goes out, for which subscriptions, and whether RETAIN is as its sender has set it. None: for none any
    /// more, and it is not to be completed.
    fn wanted(
        &self,
        origin: &Origin,
        message: &Message,
        completes: bool,
    ) -> Option<(Qos, Vec<SubscriptionId>, bool)> {
        let bound = message.qos_bound.and_then(Qos::from_u8);
        let bound = bound.unwrap_or(Qos::ExactlyOnce);
        match self.subscriptions.matching(origin, &message.address) {
            Some(it) => Some((bound.min(it.qos), it.ids, it.retain_as_published)),
            // What the client may have begun to receive is completed [MQTT-3.10.4-3].
            None if completes => Some((bound.min(Qos::AtLeastOnce), Vec::new(), false)),
            None => None,
        }
    }

    /// The right to a subscription is gone: what waits for it does so no more, unless another one wants it too.
    pub(super) fn let_go_of(&mut self, key: &Key) {
        let subscriptions = &self.subscriptions;
        let is_wanted = |it: &Waiting| {
            let address = topic::to_address(it.outgoing.publish.topic().as_str());
            !is_for(key, &it.origin, &address)
                || subscriptions.matching(&it.origin, &address).is_some()
        };
        let waiting = std::mem::take(&mut self.outbound.waiting).into_iter();
        let (kept, unwanted): (Vec<_>, Vec<_>) = waiting.partition(is_wanted);
        self.outbound.waiting = kept.into();
        for it in unwanted {
            self.outbound.waiting_bytes -= it.outgoing.n_bytes();
            self.tally.unwanted += 1;
            // Of a shared one, all that was not settled has gone back to its group.
            if !matches!(it.origin, Origin::Shared(_)) {
                self.is_done_with(&it.origin, it.offset);
            }
        }
        self.send_waiting();
    }

    /// Sends what waits, as far as there are places and ids.
    fn send_waiting(&mut self) {
        while !self.outbound.is_full() {
            let Some(next) = self.outbound.waiting.pop_front() else {
                break;
            };
            let Some(id) = self.outbound.id_for(&next.origin, next.offset) else {
                self.outbound.waiting.push_front(next);
                break;
            };
            self.send(id, next);
        }
        if self.outbound.waiting.is_empty() && self.outbound.waiting.capacity() > IDLE_CAPACITY {
            self.outbound.waiting.shrink_to(IDLE_CAPACITY);
        }
    }

    fn send(&mut self, id: PacketId, next: Waiting) {
        let Waiting {
            origin,
            offset,
            mut outgoing,
        } = next;
        self.outbound.waiting_bytes -= outgoing.n_bytes();
        outgoing.id = Some(id);
        let step = match outgoing.qos {
            Qos::ExactlyOnce => Step::WaitsForPubrec,
            _ => Step::WaitsForPuback,
        };
        let flight = Flight {
            origin,
            offset,
            step,
            counts: true,
        };
        self.outbound.n_open += 1;
        self.outbound.flights.insert(id, flight);
        self.output.publish(outgoing);
    }

    pub(super) fn puback(&mut self, ack: &Ack) {
        let id = ack.packet_id;
        match self.outbound.flights.get(&id).map(|it| it.step) {
            // A refusal ends it as well: sent again it would be refused again.
            Some(Step::WaitsForPuback) => self.lands(id),
            Some(_) => self.fail(ReasonCode::ProtocolError, "a PUBACK for a QoS 2 PUBLISH"),
            // There is no answer that could tell.
            None => {}
        }
    }

    pub(super) fn pubrec(&mut self, ack: &Ack) {
        let id = ack.packet_id;
        match self.outbound.flights.get(&id).map(|it| it.step) {
            // The client does not want it: no PUBREL follows.
            Some(Step::WaitsForPubrec) if ack.reason.is_error() => self.lands(id),
            Some(Step::WaitsForPubrec) => self.received(id),
            Some(Step::WaitsForPuback) => {
                self.fail(ReasonCode::ProtocolError, "a PUBREC for a QoS 1 PUBLISH");
            }
            Some(Step::WaitsForPubcomp) => self.tell(Answer::new(PacketType::Pubrel, id)),
            // Its PUBREL is under way.
            Some(Step::Received) => {}
            None if ack.reason.is_error() => {}
            None => self.tell(Answer::new(PacketType::Pubrel, id).with(NOT_FOUND)),
        }
    }

    /// The client has a QoS 2 delivery: it is settled, and only then released.
    fn received(&mut self, id: PacketId) {
        let Some(flight) = self.outbound.flights.get_mut(&id) else {
            return;
        };
        let offset = flight.offset;
        match flight.origin.clone() {
            Origin::Own => {
                flight.step = Step::Received;
                let mut settle = accepted(OWN_CONSUMER, Ranges::from_iter([offset]));
                settle.releasing.push(id.get());
                let wish = self.calls.call_for(Call::Settle(settle), Waits::Pubrel(id));
                self.wishes.push_back(wish);
            }
            origin => {
                flight.step = Step::WaitsForPubcomp;
                self.settle(&origin, offset);
                self.tell(Answer::new(PacketType::Pubrel, id));
            }
        }
    }

    /// It is durable that the client has a QoS 2 delivery.
    pub(super) fn release(&mut self, id: PacketId) {
        if let Some(flight) = self.outbound.flights.get_mut(&id) {
            flight.step = Step::WaitsForPubcomp;
            self.output.answer(Answer::new(PacketType::Pubrel, id));
        }
    }

    pub(super) fn pubcomp(&mut self, ack: &Ack) {
        let id = ack.packet_id;
        match self.outbound.flights.get(&id).map(|it| it.step) {
            Some(Step::WaitsForPubcomp) => {}
            Some(_) => {
                let why = "a PUBCOMP for a PUBLISH that was not released";
                return self.fail(ReasonCode::ProtocolError, why);
            }
            None => return,
        }
        let Some(flight) = self.outbound.land(id) else {
            return;
        };
        if flight.origin == Origin::Own {
            let wish = self.calls.call(Call::Complete { packet: id.get() });
            self.wishes.push_back(wish);
        }
        if flight.counts {
            self.has_done(&flight.origin);
        }
        self.send_waiting();
    }

    /// A delivery is acknowledged whole.
    fn lands(&mut self, id: PacketId) {
        if let Some(flight) = self.outbound.land(id) {
            self.is_done_with(&flight.origin, flight.offset);
            self.send_waiting();
        }
    }

    /// The broker need not keep a delivery any more.
    fn is_done_with(&mut self, origin: &Origin, offset: u64) {
        self.settle(origin, offset);
        self.has_done(origin);
    }

    /// It is to be settled: with others that follow, for each settlement is a record of the log.
    fn settle(&mut self, origin: &Origin, offset: u64) {
        if matches!(origin, Origin::Listener) {
            return;
        }
        match &mut self.outbound.done {
            Some(done) if origin.settles(&done.consumer) => done.offsets.insert(offset),
            _ => {
                self.settle_now();
                self.outbound.done = Some(Box::new(Done {
                    consumer: origin.consumer(),
                    offsets: Ranges::from_iter([offset]),
                }));
            }
        }
    }

    /// Nothing more comes just now: what is done with by now is settled, with one call; but while the last settlement is on its
    /// way to the disk, it waits for that, and others with it. To be called before wishes are taken for the last time.
    pub fn settle_up(&mut self) {
        if self.calls.is_confirmed(self.outbound.settled) {
            self.settle_now();
        }
    }

    /// What is done with is settled, whatever is on its way: the connection ends, or what follows may end what it is for.
    pub fn settle_now(&mut self) {
        if let Some(done) = self.outbound.done.take() {
            let settle = Call::Settle(accepted(&done.consumer, done.offsets));
            self.outbound.settled = self.calls.next();
            let wish = self.calls.call(settle);
            self.wishes.push_back(wish);
        }
    }

    /// There is room for another delivery of that consumer.
    fn has_done(&mut self, origin: &Origin) {
        let window = self.outbound.window;
        let (consumer, limit): (Arc<str>, _) = match origin {
            Origin::Own => match self.outbound.own.done(window) {
                Some(limit) => (OWN_CONSUMER.into(), limit),
                None => return,
            },
            // Its credit has no end: what does not fit is dropped where it waits, in the broker.
            Origin::Listener => return,
            Origin::Shared(name) => {
                let Some(credit) = self.outbound.shared.get_mut(name) else {
                    return;
                };
                match credit.done(window.min(SHARED_WINDOW)) {
                    Some(limit) => (Arc::clone(name), limit),
                    None => return,
                }
            }
        };
        self.settle_now();
        self.wishes.push_back(Wish::Credit { consumer, limit });
    }
}

fn accepted(consumer: &str, accepted: Ranges) -> Settle {
    Settle {
        consumer: consumer.to_owned(),
        accepted,
        ..Settle::default()
    }
}

/// Room that an idle connection may keep: there are many of them.
const IDLE_CAPACITY: usize = 32;
