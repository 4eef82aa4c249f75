//! Publishing: from a session's message to a record for the durable queues that its address leads to, and to those who
//! take it without the log.
//!
//! Comes before: `session`. Goes on to: `attachment.rs` (the batch), `log` (storage), or straight to outboxes.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use restante_storage::payload::{Envelope, Pair, WampPart};
use restante_storage::{Draft, Kind, QueueId, Refused, encode_detached};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;
use uuid::Uuid;

use super::attachment::{Attachment, Outcome, own_name};
use super::call::{Landed, Protocol};
use super::core::{Ask, Elsewhere, Extras};
use super::news::{is_told, is_wamps};
use super::outbox::{Notice, Outbox, Subscriber};
use super::placing::{Landing, Placed};
use super::{Routes, Shared, now};
use crate::access::{Permit, Principal};
use crate::engine::address::{Address, Filter, Space};
use crate::engine::{ConsumerId, QueueHandle};
use crate::message::{NewMessage, SpSend, WampSend, is_reserved_property, may_be_told};
use crate::refusal::Refusal;
use crate::registry::Verb;
use crate::router::ShardKey;
use crate::routes::Sent;
use crate::trace;

/// What its sender asks for a message, as far as it decides who takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Care {
    keep: Keep,
    /// Somebody is to answer it: queues for requests take it as well.
    asked: bool,
}

/// For which MQTT sessions a message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// For those that want that, as for all others.
    Wanted,
    /// MQTT's QoS 0: they are told of it and keep nothing; but for those whose client is away it is kept where the flag says so.
    Told(bool),
}

impl Care {
    /// Everybody who wants to keep it does, and nobody is to answer it.
    pub(super) const KEPT: Care = Care {
        keep: Keep::Wanted,
        asked: false,
    };
    /// The same, and somebody is to answer it.
    pub(super) const ASKED: Care = Care {
        keep: Keep::Wanted,
        asked: true,
    };
    /// MQTT sessions are told of it, and nobody is to answer it.
    pub(super) const TOLD: Care = Care {
        keep: Keep::Told(false),
        asked: false,
    };
}

/// Who takes what is sent to an address.
#[derive(Debug, Default)]
pub(super) struct Takers {
    /// Ascending, unless there is more than one landing.
    pub(super) durable: SmallVec<[QueueId; 4]>,
    pub(super) transient: SmallVec<[QueueId; 2]>,
    pub(super) topics: Vec<Arc<Subscriber>>,
    /// Of the durable ones, those that keep a history, ascending: whatever they take, it goes its way as if they were not there.
    histories: SmallVec<[QueueId; 1]>,
    /// Queues that drop it because they are full, ascending.
    shed: SmallVec<[QueueId; 1]>,
    /// Queues of MQTT sessions that keep nothing of what is only told, and whether they are full.
    passed_over: SmallVec<[(QueueId, bool); 1]>,
    /// Of those that take it, the ones that may take no more.
    full: SmallVec<[QueueId; 1]>,
    /// Whether one of them is for requests.
    pub(super) waits_for_answer: bool,
    /// Whether somebody consumes from one of the queues.
    attended: bool,
}

impl Takers {
    /// From the routing snapshot, without a lock.
    pub(super) fn of(routes: &Routes, realm: &str, address: &str, care: Care) -> Self {
        let mut takers = Takers::default();
        if let Some(realm) = routes.queues.get(realm) {
            let mut found: SmallVec<[Arc<QueueHandle>; 4]> = SmallVec::new();
            realm.bindings.collect_unique(address, &mut found);
            let (mut requests, mut is_named) = (None, false);
            for handle in found {
                if handle.requests.is_some() {
                    requests = Some(handle).filter(|_| care.asked);
                    continue;
                }
                is_named |= !handle.is_transient() && *handle.name == *address;
                if handle.sheds && takers.leaves_out(&handle, care) {
                    continue;
                }
                if handle.history {
                    takers.histories.push(handle.id);
                }
                if handle.is_full() {
                    takers.full.push(handle.id);
                }
                takers.attended |= handle.gauges.consumers.load(Ordering::Relaxed) > 0;
                if handle.is_transient() {
                    takers.transient.push(handle.id);
                } else {
                    takers.durable.push(handle.id);
                }
            }
            // Those who answer take from a durable queue of the address's name as soon as there is one.
            if let Some(handle) = requests.filter(|_| !is_named) {
                takers.take_requests(&handle);
            }
        }
        if let Some(topics) = routes.topics.get(realm).filter(|topics| !topics.is_empty()) {
            let mut found: SmallVec<[Arc<Subscriber>; 4]> = SmallVec::new();
            topics.collect_unique(address, &mut found);
            found.retain(|it| !takers.keeps_for(it));
            takers.topics.extend(found);
        }
        if care.keep == Keep::Told(true) && !takers.passed_over.is_empty() {
            takers.keep_for_absent();
        }
        takers
    }

    /// A queue for requests takes it.
    fn take_requests(&mut self, handle: &QueueHandle) {
        self.waits_for_answer = true;
        self.attended |= handle.gauges.consumers.load(Ordering::Relaxed) > 0;
        if handle.is_full() {
            self.full.push(handle.id);
        }
        self.transient.push(handle.id);
    }

    /// Whether a queue that sheds is left out, and why.
    fn leaves_out(&mut self, handle: &QueueHandle, care: Care) -> bool {
        // A queue that groups share takes it as any other does.
        if care.keep != Keep::Wanted && handle.is_owned() {
            self.passed_over.push((handle.id, handle.is_full()));
            return true;
        }
        let full = handle.is_full();
        if full {
            self.shed.push(handle.id);
        }
        full
    }

    /// Whether the session of a listener has it from its own queue, or had that queue room.
    fn keeps_for(&self, listener: &Subscriber) -> bool {
        let own = listener.queue();
        own != QueueId::ZERO
            && (self.durable.binary_search(&own).is_ok() || self.shed.binary_search(&own).is_ok())
    }

    /// Sessions that nobody listens for keep it.
    fn keep_for_absent(&mut self) {
        let mut present: Vec<QueueId> = self.topics.iter().map(|it| it.queue()).collect();
        present.sort_unstable();
        for (id, full) in &self.passed_over {
            if present.binary_search(id).is_ok() {
                continue;
            }
            if *full {
                self.shed.push(*id);
            } else {
                self.durable.push(*id);
            }
        }
        self.durable.sort_unstable();
    }

    /// Leaves out the session that has sent it: its queue and its listener.
    pub(super) fn leave_out_own(&mut self, queue: Option<QueueId>, listener: Option<&Subscriber>) {
        self.durable.retain(|id| Some(*id) != queue);
        self.shed.retain(|id| Some(*id) != queue);
        self.topics.retain(|it| Some(&**it) != listener);
    }

    /// Leaves out all queues but histories.
    fn leave_out_queues(&mut self) {
        self.durable
            .clone_from(&SmallVec::from_slice(&self.histories));
        self.transient.clear();
        self.shed.clear();
        self.full.clear();
    }

    /// Leaves out histories.
    pub(super) fn leave_out_histories(&mut self) {
        let histories = std::mem::take(&mut self.histories);
        self.durable.retain(|id| !histories.contains(id));
    }

    /// Whether that queue drops it because it is full.
    pub(super) fn sheds(&self, queue: QueueId) -> bool {
        self.shed.contains(&queue)
    }

    /// How many queues drop it because they are full.
    pub(super) fn n_shed(&self) -> u64 {
        self.shed.len() as u64
    }

    /// Whether nobody gets it in the end, although somebody is bound.
    pub(super) fn come_to_nothing(&self) -> bool {
        self.durable.is_empty() && self.transient.is_empty() && self.topics.is_empty()
    }

    /// Whether one of its queues may take no more.
    pub(super) fn is_full(&self) -> bool {
        !self.full.is_empty()
    }

    /// Leaves out the queues that may take no more, as it does those that shed.
    pub(super) fn shed_what_is_full(&mut self) {
        let full = std::mem::take(&mut self.full);
        self.durable.retain(|id| !full.contains(id));
        self.transient.retain(|id| !full.contains(id));
        self.shed.extend(full);
        self.shed.sort_unstable();
    }

    /// Whoever listens takes nothing from a queue, and does not stand for one either (MBWS.md §4.10). Nor does a history, from which
    /// nobody will ever consume it.
    pub(super) fn have_no_queue(&self) -> bool {
        // One that is full or keeps nothing of this is there all the same: no other is made in its place.
        self.have_no_durable()
            && self.transient.is_empty()
            && self.shed.is_empty()
            && self.passed_over.is_empty()
    }

    /// Whether no durable queue takes it that somebody may consume from.
    pub(super) fn have_no_durable(&self) -> bool {
        self.durable.len() == self.histories.len()
    }

    /// Whether somebody takes it who does not stand for a queue.
    pub(super) fn has_others(&self) -> bool {
        !self.topics.is_empty() || !self.histories.is_empty()
    }

    /// Whether somebody who takes it might answer, now or later: no history does.
    pub(super) fn may_answer(&self) -> bool {
        !self.have_no_queue() || !self.topics.is_empty()
    }

    /// Whether somebody is there who takes it and might answer.
    pub(super) fn may_answer_now(&self) -> bool {
        self.attended || !self.topics.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.have_no_queue() && !self.has_others()
    }

    /// Of the listeners that share a subscription, leaves the one that the key belongs to: of two that go by one name, the first.
    fn leave_to_owners(&mut self, key: ShardKey) {
        let mut owners: FxHashMap<&str, (u64, Reverse<ConsumerId>)> = FxHashMap::default();
        for it in &self.topics {
            if let Some(fit) = it.fits(key) {
                let candidate = (fit, Reverse(it.id()));
                let best = owners.entry(it.name()).or_insert(candidate);
                *best = candidate.max(*best);
            }
        }
        if owners.is_empty() {
            return;
        }
        let owners: FxHashSet<ConsumerId> = owners.values().map(|(_, id)| id.0).collect();
        self.topics
            .retain(|it| it.fits(key).is_none() || owners.contains(&it.id()));
    }

    /// Leaves out who has it already, and notes the others: each is looked up, however many there are.
    pub(super) fn leave_out(&mut self, seen: &mut Seen) {
        let histories = &mut self.histories;
        self.durable.retain(|id| {
            let is_new = seen.durable.insert(*id);
            if !is_new {
                histories.retain(|it| it != id);
            }
            is_new
        });
        self.transient.retain(|id| seen.transient.insert(*id));
        self.shed.retain(|id| seen.shed.insert(*id));
        self.topics.retain(|it| seen.topics.insert(it.id()));
    }

    /// Leaves out listeners whose session has it from its own queue under another address.
    pub(super) fn leave_out_kept(&mut self, seen: &Seen) {
        self.topics.retain(|it| !seen.durable.contains(&it.queue()));
    }
}

/// Who takes a message at the addresses that were looked at.
#[derive(Debug, Default)]
pub(super) struct Seen {
    durable: FxHashSet<QueueId>,
    transient: FxHashSet<QueueId>,
    shed: FxHashSet<QueueId>,
    topics: FxHashSet<ConsumerId>,
}

impl Shared {
    /// Whether a message is looked at.
    ///
    /// # Errors
    /// [`Refusal::Denied`]: whoever sends it may not. [`Refusal::Expired`].
    pub(super) fn admits(
        &self,
        who: &Principal,
        client: Option<&str>,
        realm: &str,
        address: &Address,
        message: &NewMessage,
    ) -> Result<Permit, Refusal> {
        let permit = self.permit(who, client, Verb::Send, realm, address);
        let permit = permit.ok_or(Refusal::Denied)?;
        if message.ttl_ms == Some(0) {
            return Err(Refusal::Expired);
        }
        Ok(permit)
    }

    /// What a publisher asks for a message, as far as it decides who takes it.
    pub(super) fn care(&self, message: &NewMessage) -> Care {
        let keep = match message.qos {
            Some(0) => Keep::Told(self.settings.mqtt.queue_qos0_offline),
            _ => Keep::Wanted,
        };
        // A survey is for those who are there, and never waits; what is to be kept is not for queues in memory.
        let others = matches!(message.sp, Some(SpSend::Told | SpSend::AskedDurably));
        Care {
            keep,
            asked: message.reply_to.is_some() && !others,
        }
    }

    /// The one decision for an address. See [`Attachment::permit`].
    pub(super) fn permit(
        &self,
        who: &Principal,
        client: Option<&str>,
        verb: Verb,
        realm: &str,
        address: &Address,
    ) -> Option<Permit> {
        let address = address.as_str();
        match decided_by_space(verb, address) {
            Some(allowed) => allowed.then(Permit::default),
            None => self.access.load().permit(who, client, verb, realm, address),
        }
    }
}

/// What is decided for clients by the space that an address or a filter is in, whoever they are; none: rules decide.
///
/// A temporary address is known only to those who were told of it: that is the right to send there. What WAMP reserves may be called
/// by rules, and nobody registers there. Who listens is another question ([`is_told`]).
pub fn decided_by_space(verb: Verb, asked: &str) -> Option<bool> {
    match (asked.as_bytes().first(), verb) {
        (Some(b'~'), Verb::Send) => Some(true),
        (Some(b'$'), Verb::Call) if is_wamps(asked) => None,
        (Some(b'~' | b'$'), _) => Some(false),
        _ => None,
    }
}

impl Attachment {
    pub(super) fn publish(&mut self, tag: u64, message: &NewMessage) -> Outcome {
        if let Some(why) = self.waits_behind(message) {
            return Outcome::Refused(why);
        }
        let full_name = self.own_temporary(&message.address);
        let text = full_name.as_deref().unwrap_or(&message.address);
        let Ok(address) = Address::parse(text, self.shared.settings.address) else {
            return Outcome::Refused(Refusal::BadAddress);
        };
        let (who, client) = (&self.principal, self.client());
        match self
            .shared
            .admits(who, client, &self.realm, &address, message)
        {
            Ok(permit) if message.sp == Some(SpSend::ToPeer) => {
                self.publish_to_peer(&address, message, permit)
            }
            Ok(permit) => self.publish_allowed(tag, &address, message, permit),
            Err(why) => {
                if why == Refusal::Denied {
                    self.tell_denied(Verb::Send, address.as_str());
                }
                Outcome::Refused(why)
            }
        }
    }

    /// Publishes for the broker itself: nobody's rights are looked at, and nobody hears what becomes of it.
    pub(super) fn publish_unasked(&mut self, message: &NewMessage) {
        if let Ok(address) = Address::parse(&message.address, self.shared.settings.address) {
            self.publish_allowed(0, &address, message, Permit::default());
        }
    }

    fn publish_allowed(
        &mut self,
        tag: u64,
        address: &Address,
        message: &NewMessage,
        permit: Permit,
    ) -> Outcome {
        let uuid = message.message_id.is_none().then(Uuid::now_v7);
        let id = match (&message.message_id, &uuid) {
            (Some(id), _) => id.as_bytes(),
            (None, uuid) => uuid.as_ref().map_or(&[][..], |uuid| uuid.as_bytes()),
        };
        let sent = Sent {
            address: address.as_str(),
            message,
            id,
        };
        let retains = self.retains(message) && address.space() == Space::Ordinary;
        if retains && let Some(outcome) = self.lacks_room_to_retain(tag, message, address) {
            return outcome;
        }
        let lands_nowhere = self.may_land_nowhere(message);
        // A request that nobody takes waits in memory.
        let is_kept = matches!(message.sp, None | Some(SpSend::AskedDurably));
        let may_make = !lands_nowhere && is_kept && self.may_make_queue(tag, address);
        let care = self.shared.care(message);
        let mut placed = self
            .shared
            .place(&self.realm, address, &sent, may_make, care, None);
        self.leave_out_own(&mut placed);
        if message.sp == Some(SpSend::ToOthers) {
            self.leave_out_self(&mut placed);
        }
        if let Some(wamp) = &message.wamp {
            self.leave_out_unwanted(&mut placed, wamp);
        }
        // A queue that nobody consumes from does not stand in a procedure's way: a request that came too early may have made it.
        let has_takers = match &placed {
            Placed::Dropped => true,
            Placed::Lands(landings) => landings.iter().any(|it| it.takers.may_answer_now()),
            Placed::Makes { landings, .. } => !landings.is_empty(),
            Placed::NoRoute => false,
        };
        if !has_takers && let Some(outcome) = self.call_by_message(address, message) {
            return outcome;
        }
        let has_nobody = matches!(placed, Placed::NoRoute);
        if message.sp == Some(SpSend::Asked) && (has_nobody || placed.waits_for_answer()) {
            // Whoever answers may leave before: then it waits for the next one.
            match self.wait_for_requests(tag, address) {
                None if has_nobody => return Outcome::Refused(Refusal::NoRoute),
                None => {}
                Some(outcome) => return outcome,
            }
        }
        if lands_nowhere && has_nobody {
            if !retains {
                return self.landed_nowhere(tag);
            }
            let takers = Takers::default();
            let address = address.as_str().to_owned();
            placed = Placed::Lands(SmallVec::from_iter([Landing { address, takers }]));
        }
        if let Some(why) = self.shared.refuses(&self.realm, &placed) {
            return Outcome::Refused(why);
        }
        let landings = match placed {
            Placed::Lands(landings) => landings,
            Placed::Makes { addresses, .. } => return self.declare(tag, &addresses),
            Placed::Dropped => {
                self.shared.stats.dropped_by_route();
                self.landed = Landed::Dropped;
                return Outcome::Done;
            }
            Placed::NoRoute => return Outcome::Refused(Refusal::NoRoute),
        };
        let n_shed: u64 = landings.iter().map(|it| it.takers.n_shed()).sum();
        if n_shed > 0 {
            self.shared.stats.shed(n_shed);
        }
        if !retains && landings.iter().all(|it| it.takers.come_to_nothing()) {
            if lands_nowhere {
                return self.landed_nowhere(tag);
            }
            self.landed = Landed::Dropped;
            return Outcome::Done;
        }
        let outcome = self.store(tag, (message, permit), uuid, landings, retains);
        if !matches!(outcome, Outcome::Refused(_)) {
            self.landed = match outcome {
                Outcome::Logged => Landed::Stored,
                _ => Landed::Delivered,
            };
            self.shared.stats.published(self.protocol);
            if tracing::enabled!(tracing::Level::DEBUG) {
                self.tell_published(address.as_str(), message);
            }
        }
        outcome
    }

    /// Whether its sender wants it kept at its address, and its door has a word for that. What is for certain WAMP sessions has
    /// nobody who could be told of it later.
    fn retains(&self, message: &NewMessage) -> bool {
        let speaks_of_it = match &message.wamp {
            Some(wamp) => !wamp.is_for_sessions(),
            None => message.qos.is_some(),
        };
        message.retain && speaks_of_it
    }

    /// Whether the client's protocol has topics, where it is no fault that nobody listens.
    fn may_land_nowhere(&self, message: &NewMessage) -> bool {
        let told = matches!(message.sp, Some(SpSend::Told | SpSend::ToOthers));
        told || matches!(self.protocol, Protocol::Mqtt | Protocol::Wamp)
    }

    /// Leaves out what the client listens to itself.
    fn leave_out_self(&self, placed: &mut Placed) {
        for landing in placed.landings_mut() {
            let topics = &mut landing.takers.topics;
            topics.retain(|it| !Arc::ptr_eq(it.outbox(), &self.outbox));
        }
    }

    /// Leaves out whom a WAMP client does not want to be told.
    fn leave_out_unwanted(&self, placed: &mut Placed, wamp: &WampSend) {
        for landing in placed.landings_mut() {
            let takers = &mut landing.takers;
            if wamp.is_for_chosen() {
                takers.leave_out_queues();
            }
            if wamp.is_for_sessions() {
                takers.leave_out_histories();
            }
            takers
                .topics
                .retain(|it| is_wanted(wamp, &self.outbox, it.outbox()));
            if let Some(key) = &wamp.rkey {
                takers.leave_to_owners(ShardKey::of(key));
            }
        }
    }

    /// An MQTT or WAMP client's message that nobody wants, or has room for: published all the same, and the session is told
    /// (MQTT 5.0: reason code 0x10).
    fn landed_nowhere(&mut self, tag: u64) -> Outcome {
        self.landed = Landed::Nowhere;
        if tag > 0 {
            self.failed.push((tag, Refusal::NoRoute));
        }
        self.shared.stats.published(self.protocol);
        Outcome::Done
    }

    fn tell_published(&self, address: &str, message: &NewMessage) {
        let trace = trace::of_properties(&message.properties);
        tracing::debug!(
            realm = &*self.realm,
            address,
            session = %self.uuid,
            trace_id = trace.map(|it| tracing::field::display(it.trace_id())),
            span_id = trace.map(|it| tracing::field::display(it.span_id())),
            "published"
        );
    }

    /// `~NAME` is short for this session's temporary queue of that name.
    pub(super) fn own_temporary(&self, address: &str) -> Option<String> {
        own_name(address).map(|name| self.temporary_address(name))
    }

    /// Whether a queue of the address's name may be made; once for a call.
    fn may_make_queue(&self, tag: u64, address: &Address) -> bool {
        let ordinary = address.space() == Space::Ordinary;
        self.shared.settings.create_on_send && ordinary && self.declared_for != tag
    }

    /// What is kept of what its sender says, whatever the door: all but what the broker alone says. A trust level is said by
    /// [`trusted`].
    pub(super) fn envelope(
        &self,
        address: String,
        message: &NewMessage,
        uuid: Option<Uuid>,
    ) -> Envelope {
        let reply_to = message
            .reply_to
            .as_ref()
            .map(|to| self.own_temporary(to).unwrap_or_else(|| to.clone()));
        let is_theirs = |name: &str| !is_reserved_property(name);
        let mut properties = message.properties.clone();
        properties.retain(|name, _| is_theirs(name));
        let ordered = message.ordered.iter().filter(|(name, _)| is_theirs(name));
        Envelope {
            address,
            uuid: uuid.map_or_else(Bytes::new, |uuid| Bytes::copy_from_slice(uuid.as_bytes())),
            message_id: message.message_id.clone(),
            correlation_id: message.correlation_id.clone(),
            reply_to,
            content_type: message.content_type.clone(),
            key: message.key.clone(),
            text: message.text,
            properties,
            qos_bound: message.qos.map_or(0, |qos| u32::from(qos) + 1),
            ordered: ordered.map(pair).collect(),
            received: self.session.map_or(0, |_| u32::from(message.packet)),
            wamp: message.wamp.as_ref().map(|it| Box::new(it.part.clone())),
            ..Envelope::default()
        }
    }

    /// Writes the message for all durable queues at once, with those who take it beside them; or hands it over. One that is
    /// retained is kept at the address where it lands, or lands first.
    fn store(
        &mut self,
        tag: u64,
        (message, permit): (&NewMessage, Permit),
        uuid: Option<Uuid>,
        landings: SmallVec<[Landing; 1]>,
        retains: bool,
    ) -> Outcome {
        let mut landings = landings.into_iter();
        let Some(first) = landings.next() else {
            return Outcome::Done;
        };
        let mut envelope = self.envelope(first.address, message, uuid);
        trusted(&mut envelope, permit);
        let kind = if retains {
            envelope.realm = self.realm.to_string();
            Kind::Retain
        } else {
            Kind::Enqueue
        };
        let Takers {
            mut durable,
            transient,
            topics,
            ..
        } = first.takers;
        let time = *self.began.get_or_insert_with(now);
        let mut draft = Draft {
            priority: message.priority,
            expires: message.ttl_ms.map(|ttl| time.saturating_add(ttl)),
            body: &message.body,
            ..Draft::new(kind, time, &())
        };
        let others = elsewhere(&draft, &mut envelope, &mut durable, landings);
        draft.envelope = &envelope;
        if durable.is_empty() && !retains {
            self.hand_over(&draft, transient, &topics);
            for other in others {
                self.hand_over_record(&draft, other.record, other.queues, &other.topics);
            }
            return Outcome::Done;
        }
        draft.origin = self.origin(tag);
        draft.targets = &durable;
        match self.push_draft(tag, &draft) {
            Ok(index) => {
                if !transient.is_empty() || !topics.is_empty() || !others.is_empty() {
                    let extras = Extras {
                        queues: transient,
                        topics,
                        others,
                    };
                    self.extras(index, extras);
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
        &mut self,
        draft: &Draft<'_>,
        queues: SmallVec<[QueueId; 2]>,
        topics: &[Arc<Subscriber>],
    ) {
        self.hand_over_record(draft, encode_detached(draft), queues, topics);
    }

    pub(super) fn hand_over_record(
        &mut self,
        draft: &Draft<'_>,
        record: Bytes,
        queues: SmallVec<[QueueId; 2]>,
        topics: &[Arc<Subscriber>],
    ) {
        if !topics.is_empty() {
            let notice = Notice::new(record.clone());
            for subscriber in topics {
                if subscriber.offer(&notice) {
                    self.bells.ring_later(subscriber.outbox());
                } else {
                    self.shared.missed_by(subscriber);
                }
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

    /// The one decision for an address; a temporary one is its own session's to consume from.
    pub(super) fn may(&self, verb: Verb, address: &Address) -> bool {
        self.permit(verb, address).is_some()
    }

    /// The same, with what comes with it; none: the client may not.
    pub(super) fn permit(&self, verb: Verb, address: &Address) -> Option<Permit> {
        let (who, client) = (&self.principal, self.client());
        let shared = &self.shared;
        let permit = shared.permit(who, client, verb, &self.realm, address);
        if permit.is_none() {
            self.tell_denied(verb, address.as_str());
        }
        permit
    }

    /// Whether the client may do that with all that a filter matches.
    pub(super) fn may_do(&self, verb: Verb, filter: &str) -> bool {
        let allowed = self.is_allowed(verb, filter);
        if !allowed {
            self.tell_denied(verb, filter);
        }
        allowed
    }

    /// Whether the client may listen to all that a filter matches.
    pub(super) fn may_listen(&self, filter: &Filter) -> bool {
        self.may_do(Verb::Consume, filter.as_str())
    }

    /// The same of any verb, where nobody has tried it: if not, that is no denial. To consume is to listen.
    pub(super) fn is_allowed(&self, verb: Verb, filter: &str) -> bool {
        let is_heard = verb == Verb::Consume && is_told(filter);
        let decided = decided_by_space(verb, filter).filter(|_| !is_heard);
        decided.unwrap_or_else(|| {
            let (who, client) = (&self.principal, self.client());
            self.shared.allows(who, client, verb, &self.realm, filter)
        })
    }
}

/// Says how far the sender is trusted. Nobody else has a word in it: what the envelope said of it before does not count.
pub(super) fn trusted(envelope: &mut Envelope, permit: Permit) {
    let trust = permit.trustlevel.map_or(0, |level| u32::from(level) + 1);
    match &mut envelope.wamp {
        Some(part) => part.trust = trust,
        None if trust > 0 => {
            envelope.wamp = Some(Box::new(WampPart {
                trust,
                ..WampPart::default()
            }));
        }
        None => {}
    }
}

/// Whether a WAMP client, whose outbox is `own`, wants a listener to be told of its event (subscriber black- and whitelisting,
/// publisher exclusion). Who speaks another protocol has a name, and neither a session nor a role of WAMP's.
fn is_wanted(wamp: &WampSend, own: &Arc<Outbox>, other: &Arc<Outbox>) -> bool {
    if !wamp.to_self && Arc::ptr_eq(own, other) {
        return false;
    }
    let card = &other.card;
    let (session, authid, authrole) = match &card.wamp {
        Some(client) => (client.session, &*client.authid, &*client.authrole),
        None => (0, &*card.principal, ""),
    };
    wamp.is_for_session(session) && may_be_told(&wamp.part, authid, authrole)
}

/// The landings behind the first: their durable queues come to the record, which notes under which address they have
/// it; for the others there is a record each, of which the log knows nothing.
pub(super) fn elsewhere(
    draft: &Draft<'_>,
    envelope: &mut Envelope,
    durable: &mut SmallVec<[QueueId; 4]>,
    landings: impl Iterator<Item = Landing>,
) -> Vec<Elsewhere> {
    let mut others = Vec::new();
    let mut routed = Vec::new();
    for landing in landings {
        let Takers {
            durable: queues,
            transient,
            topics,
            ..
        } = landing.takers;
        if !transient.is_empty() || !topics.is_empty() {
            let renamed = Envelope {
                address: landing.address.clone(),
                ..envelope.clone()
            };
            let record = encode_detached(&Draft {
                envelope: &renamed,
                ..*draft
            });
            others.push(Elsewhere {
                record,
                queues: transient,
                topics,
            });
        }
        if !queues.is_empty() {
            durable.extend_from_slice(&queues);
            routed.push(restante_storage::payload::Routed {
                address: landing.address,
                queues: queues.iter().map(|id| id.get()).collect(),
            });
        }
    }
    envelope.routed = routed;
    others
}

fn pair((name, value): &(String, String)) -> Pair {
    Pair {
        name: name.clone(),
        value: value.clone(),
    }
}
