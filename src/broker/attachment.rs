//! An attachment: one client inside the broker. It turns a session's calls into records, keeps count of what is
//! confirmed, and fetches the bytes of what is delivered.
//!
//! ```text
//! call(tag) ─▶ publish.rs / here ─▶ batch ─ flush ─▶ log ─▶ core ─▶ outbox ─ drain ─▶ Confirmed, Delivery
//! ```
//!
//! A call that needs something made first (a queue that its address leads to) waits here, and all calls behind it: the
//! order of a session's frames is kept.
//!
//! Comes before: `session`. Goes on to: `log` (storage), `core.rs`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use restante_proto::mbws::Ranges;
use restante_storage::payload::{self, DefineQueue, DefineSession, EndSession, SessionConsumer};
use restante_storage::{
    Draft, DraftBatch, Kind, Offset, Origin, QueueId, Refused, Seq, SessionNo, Stamp, UnixMillis,
};
use smallvec::SmallVec;
use uuid::Uuid;

use super::call::{
    Attach, Attached, Call, Consume, Delivery, End, Event, Landed, Protocol, Settle, Source,
};
use super::core::{Ask, AttachedSession, Batch, Extras, NewConsumer};
use super::fetch::{Fetch, Missing};
use super::making::Reserved;
use super::mqtt::Mqtt;
use super::outbox::{Bells, Made, Meter, Outbox, Subscriber};
use super::rights::{ending, own_queue};
use super::sp::Joined;
use super::wamp::{Due, Wamp};
use super::{Shared, now};
use crate::access::Principal;
use crate::engine::address::{Address, Filter, Space};
use crate::engine::{ConsumerId, Left, QueueHandle, is_transient};
use crate::refusal::Refusal;
use crate::registry::Verb;
use crate::trace;

/// Bytes of records after which a batch goes to the log by itself.
const BATCH_BYTES: usize = 1 << 20;
/// How far ahead of what was drained the engine may hand out deliveries of one consumer: bounds the outbox.
const AHEAD: u64 = 4096;

/// One client inside the broker. Owned by the task that drives its socket; dropping it means that the socket is gone.
pub struct Attachment {
    pub(super) shared: Arc<Shared>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) principal: Principal,
    pub(super) realm: Arc<str>,
    pub(super) protocol: Protocol,
    pub(super) uuid: Uuid,
    /// The durable session, where it is one.
    pub(super) session: Option<SessionNo>,
    /// A durable session was asked for, and nothing was heard yet.
    pub(super) attaching: bool,
    expiry_ms: u64,
    /// The session has a will, which is to be published when the client is lost.
    has_will: bool,
    /// A durable session's name for people, as it is in the log.
    name: Option<String>,
    /// What there is for MQTT alone.
    pub(super) mqtt: Option<Box<Mqtt>>,
    /// What there is for WAMP alone.
    pub(super) wamp: Option<Box<Wamp>>,
    /// What of the queues in memory that SP clients share it has joined.
    pub(super) joined: Option<Joined>,
    /// Messages by which calls go in and out by other doors, until they are sent.
    pub(super) due: Vec<Due>,
    pub(super) consumers: HashMap<Arc<str>, Consumer>,
    temporary: HashMap<String, Arc<QueueHandle>>,

    // Calls on their way.
    pub(super) batch: DraftBatch<Batch>,
    /// A full batch that waits for room in the log. In a box: seldom is there one.
    stalled: Option<Box<DraftBatch<Batch>>>,
    serial: u64,
    /// When the batch at hand was begun: the time of all its records.
    pub(super) began: Option<UnixMillis>,
    /// Batches in the log: serial, first tag, and when they went.
    in_log: VecDeque<(u64, u64, Instant)>,
    /// The first tag of the batch at hand.
    batch_first: Option<u64>,
    called: u64,
    confirmed: u64,
    pub(super) failed: Vec<(u64, Refusal)>,
    deferred: VecDeque<(u64, Call)>,
    waits: Option<Waits>,
    /// The call for which a queue was asked for, so that it is asked for once.
    pub(super) declared_for: u64,
    pub(super) landed: Landed,
    /// Of those who are told of what nobody keeps.
    pub(super) bells: Bells,

    // Deliveries on their way.
    fetch: Fetch,
    events: Vec<Event>,
    /// Nothing more is called before others had their turn.
    pub(super) has_to_rest: bool,
    /// Who the client is and what it consumes is to be looked at.
    pub(super) rights_changed: bool,
    ended: bool,
    /// The durable session's end is written.
    over: bool,
}

/// What the first deferred call waits for.
#[derive(Debug)]
enum Waits {
    /// The batch of that serial: then it is tried again.
    Applied(u64),
    /// The core's answer.
    Answer,
    /// The batch of that serial, in which a durable session's consumer begins: then it gets its credit.
    Begun(u64, u64),
}

pub(super) struct Consumer {
    name: Arc<str>,
    kind: ConsumerKind,
    /// Deliveries that the client has and has not settled.
    in_hand: Ranges,
    /// It goes on after a crash of the broker: what it has in hand is the client's word.
    trusted: bool,
    auto_settle: bool,
    limit: u64,
    drained: u64,
    /// What the engine was last told.
    granted: u64,
}

/// Whether a listener is a consumer of its session still.
pub(super) fn is_consumer(consumers: &HashMap<Arc<str>, Consumer>, listener: &Subscriber) -> bool {
    let known = consumers.get(listener.name());
    known.is_some_and(|it| it.id() == listener.id())
}

impl Consumer {
    fn id(&self) -> ConsumerId {
        match &self.kind {
            ConsumerKind::Queue { id, .. } => *id,
            ConsumerKind::Topic { subscriber, .. } | ConsumerKind::Listener { subscriber } => {
                subscriber.id()
            }
        }
    }
}

pub(super) enum ConsumerKind {
    Queue {
        id: ConsumerId,
        queue: QueueId,
        /// What the right to consume is about; none: a temporary queue of its own.
        address: Option<Arc<str>>,
        /// The filter that it takes the right to consume besides, for as long as the client is attached.
        filter: Option<Arc<str>>,
        /// What its client may be sent, for whoever looks.
        meter: Meter,
    },
    Topic {
        subscriber: Arc<Subscriber>,
        filter: Filter,
    },
    /// Of an MQTT session, for all its filters.
    Listener { subscriber: Arc<Subscriber> },
}

/// What became of a call at once.
pub(super) enum Outcome {
    /// Its record is in the batch.
    Logged,
    /// Done, and nothing of it is stored.
    Done,
    /// Refused.
    Refused(Refusal),
    /// To be tried again when the batch of that serial is applied.
    Again(u64),
    /// Deferred; `waits` says for what.
    Waits,
}

impl Attachment {
    pub(super) fn new(shared: Arc<Shared>, outbox: Arc<Outbox>, wish: &Attach, uuid: Uuid) -> Self {
        let batch = DraftBatch::new(shared.log().limits(), Batch::default());
        Attachment {
            outbox,
            principal: wish.principal.clone(),
            realm: Arc::clone(&wish.realm),
            protocol: wish.protocol,
            uuid,
            session: None,
            attaching: false,
            expiry_ms: 0,
            has_will: false,
            name: None,
            mqtt: Mqtt::new(wish),
            wamp: None,
            joined: None,
            due: Vec::new(),
            consumers: HashMap::new(),
            temporary: HashMap::new(),
            batch,
            stalled: None,
            serial: 0,
            began: None,
            in_log: VecDeque::new(),
            batch_first: None,
            called: 0,
            confirmed: 0,
            failed: Vec::new(),
            deferred: VecDeque::new(),
            waits: None,
            declared_for: 0,
            landed: Landed::Dropped,
            bells: Bells::default(),
            fetch: Fetch::new(shared.reader()),
            events: Vec::new(),
            has_to_rest: false,
            rights_changed: false,
            ended: false,
            over: false,
            shared,
        }
    }

    /// Goes on with a durable session.
    pub(super) fn resume(&mut self, it: AttachedSession, resumed: bool) -> Attached {
        self.session = Some(it.number);
        self.outbox.card.becomes_durable();
        self.attaching = false;
        self.expiry_ms = it.whole.expiry_ms;
        self.has_will = it.whole.will.is_some();
        self.name.clone_from(&it.whole.name);
        (self.called, self.confirmed) = (it.whole.seq, it.whole.seq);
        for (consumer, meter) in it.consumers {
            let mut in_hand = Ranges::new();
            for offset in &consumer.in_flight {
                in_hand.insert(offset.get());
            }
            let kind = ConsumerKind::Queue {
                id: consumer.id,
                queue: consumer.queue,
                address: match &self.mqtt {
                    Some(_) => None,
                    None => self.shared.queue_name(&self.realm, consumer.queue.get()),
                },
                filter: None,
                meter,
            };
            self.add(consumer.name.as_str().into(), kind, consumer.auto_settle, 0);
            if let Some(known) = self.consumers.get_mut(consumer.name.as_str()) {
                (known.in_hand, known.trusted) = (in_hand, true);
            }
        }
        for (name, filter, subscriber) in it.topics {
            self.add(name, ConsumerKind::Topic { subscriber, filter }, true, 0);
        }
        let mqtt = self.resume_mqtt(&it.whole, it.listener);
        let told = self.mqtt.is_none();
        let failures = it.whole.failures.iter().filter(|_| told);
        let failed = failures.filter_map(|it| Some((it.seq, Refusal::from_number(it.refusal)?)));
        Attached {
            session: self.uuid,
            resumed,
            confirmed: it.whole.seq,
            failed: failed.collect(),
            expiry: std::time::Duration::from_millis(it.whole.expiry_ms),
            mqtt: mqtt.map(Box::new),
        }
    }

    /// What a session that ends with its socket begins with.
    pub(super) fn begin_plain(&mut self) -> Attached {
        self.attaching = false;
        self.look_again();
        Attached {
            session: self.uuid,
            resumed: false,
            confirmed: 0,
            failed: Vec::new(),
            expiry: std::time::Duration::ZERO,
            mqtt: self.mqtt.as_ref().map(|mqtt| Box::new(mqtt.state(None))),
        }
    }

    /// Takes a wish; answered, in order of tags, by [`Event::Confirmed`]. Never waits. Tags ascend by one.
    pub fn call(&mut self, tag: u64, call: Call) {
        if self.waits.is_some() || !self.deferred.is_empty() {
            self.deferred.push_back((tag, call));
            return;
        }
        self.run(tag, call);
    }

    fn run(&mut self, tag: u64, call: Call) {
        let outcome = match &call {
            Call::Publish(message) if message.qos.is_some() => self.publish_mqtt(tag, message),
            Call::Publish(message) => self.publish(tag, message),
            Call::Consume(wish) => self.consume(tag, wish),
            Call::Settle(wish) => self.settle(tag, wish),
            Call::Cancel { consumer } => self.cancel(tag, consumer),
            Call::Subscribe(wish) => self.subscribe(tag, wish),
            Call::Unsubscribe { filter, share } => self.unsubscribe(tag, filter, share.as_deref()),
            Call::Forget { packet } => {
                let forgotten = u32::from(*packet);
                let advance = payload::Advance {
                    forgotten,
                    ..payload::Advance::default()
                };
                self.forget(tag, &advance)
            }
            Call::Complete { packet } => {
                let completed = u32::from(*packet);
                let advance = payload::Advance {
                    completed,
                    ..payload::Advance::default()
                };
                self.forget(tag, &advance)
            }
            Call::Refuse(refusal) => Outcome::Refused(*refusal),
        };
        match outcome {
            Outcome::Logged => self.called = tag,
            Outcome::Done => self.finish(tag, None),
            Outcome::Refused(refusal) => self.finish(tag, Some(refusal)),
            Outcome::Again(serial) => {
                self.waits = Some(Waits::Applied(serial));
                self.deferred.push_front((tag, call));
            }
            Outcome::Waits => self.deferred.push_front((tag, call)),
        }
    }

    /// A call leaves no record of its own; in a durable session its tag still takes its place in the log. Not in MQTT's, whose
    /// clients know nothing of tags: after a crash, what such a call was told is asked for again by a packet of its own.
    fn finish(&mut self, tag: u64, refusal: Option<Refusal>) {
        if let Some(refusal) = refusal {
            self.shared.stats.refused(self.protocol, refusal);
        }
        if self.session.is_some() && self.mqtt.is_none() {
            let advance = payload::Advance {
                refusal: refusal.map_or(0, Refusal::number),
                ..payload::Advance::default()
            };
            self.push(tag, Kind::Advance, &advance);
        } else if let Some(refusal) = refusal {
            self.failed.push((tag, refusal));
        }
        self.called = tag;
    }

    /// Puts a record without targets into the batch.
    pub(super) fn push(
        &mut self,
        tag: u64,
        kind: Kind,
        envelope: &dyn restante_storage::EncodeEnvelope,
    ) {
        let draft = Draft {
            origin: self.origin(tag),
            ..Draft::new(kind, now(), envelope)
        };
        // Definitions and settlements are far below the limits that could refuse them: the frame's limit is lower.
        if let Err(refused) = self.push_draft(tag, &draft) {
            tracing::error!(%refused, ?kind, "a record that must fit did not");
        }
    }

    pub(super) fn origin(&self, tag: u64) -> Option<Origin> {
        let session = self.session.filter(|_| tag > 0)?;
        Some(Origin {
            session,
            seq: Seq::new(tag),
        })
    }

    /// Puts a record into the batch, which goes to the log first where it is full.
    pub(super) fn push_draft(&mut self, tag: u64, draft: &Draft<'_>) -> Result<usize, Refused> {
        if self.batch.len_bytes() + draft.body.len() >= BATCH_BYTES {
            self.flush();
        }
        let index = match self.batch.push(draft) {
            Err(Refused::BatchFull) => {
                self.flush();
                self.batch.push(draft)?
            }
            other => other?,
        };
        self.batch.companion_mut().tags.push(tag);
        if tag > 0 {
            self.batch_first.get_or_insert(tag);
        }
        Ok(index)
    }

    /// Hands the batch to the log, to try the call at hand again when that is applied.
    pub(super) fn again(&mut self) -> Outcome {
        self.flush();
        Outcome::Again(self.serial)
    }

    pub(super) fn extras(&mut self, index: usize, extras: Extras) {
        self.batch.companion_mut().extras.push((index, extras));
    }

    /// Hands all calls since the last flush to the log, as one batch. Call it when a read brought nothing more.
    pub fn flush(&mut self) {
        self.bells.ring();
        self.began = None;
        if self.batch.is_empty() {
            return;
        }
        let fresh = DraftBatch::new(self.shared.log().limits(), Batch::default());
        let mut batch = std::mem::replace(&mut self.batch, fresh);
        self.serial += 1;
        let companion = batch.companion_mut();
        companion.from = Some(Arc::clone(&self.outbox));
        companion.serial = self.serial;
        // A batch without tags (settled by the broker itself) must not hold up confirms.
        let first = self.batch_first.take().unwrap_or(u64::MAX);
        self.in_log.push_back((self.serial, first, Instant::now()));
        // Where there is no room, `has_room` tells the driver: only what one read brought comes here while one is stalled.
        self.submit_stalled_now();
        self.submit(batch);
    }

    fn submit(&mut self, mut batch: DraftBatch<Batch>) {
        match self.shared.log().try_reserve(batch.len_bytes()) {
            Ok(Some(permit)) => {
                batch.hold(permit);
                self.submit_held(batch);
            }
            Ok(None) => self.stalled = Some(Box::new(batch)),
            Err(_closed) => self.log_failed(),
        }
    }

    /// Lets a batch into the log beyond what is reserved: at most one for each client.
    pub(super) fn submit_stalled_now(&mut self) {
        if let Some(batch) = self.stalled.take() {
            self.submit_held(*batch);
        }
    }

    fn submit_held(&mut self, batch: DraftBatch<Batch>) {
        let submitted = {
            let _in_order_with_a_takeover = self.outbox.gate.lock();
            if self.outbox.is_closed() {
                return;
            }
            self.shared.log().submit(batch)
        };
        if submitted.is_err() {
            self.log_failed();
        }
    }

    fn log_failed(&mut self) {
        self.outbox.end(End::LogFailed);
    }

    /// Whether more calls may be made now. While false, the driver must not read its socket: backpressure.
    pub fn has_room(&self) -> bool {
        self.waits.is_none()
            && self.deferred.is_empty()
            && self.stalled.is_none()
            && !self.has_to_rest
            && self.may_be_told_more()
    }

    /// False for a WAMP client that does not take what it was answered: what it asks besides would be answered as well.
    fn may_be_told_more(&self) -> bool {
        self.wamp.is_none() || self.outbox.put(|waiting| waiting.has_room_to_tell())
    }

    /// What became of the last message that was published and not refused.
    pub fn landed(&self) -> Landed {
        self.landed
    }

    /// Whether every call so far is confirmed.
    pub fn is_settled(&self) -> bool {
        self.has_room() && self.batch.is_empty() && self.confirmed == self.called
    }

    /// Waits until there is something to [`drain`](Self::drain) or there is room again. Cancel-safe.
    pub async fn ready(&mut self) {
        self.ready_for(true).await;
    }

    /// The same; where `deliveries` are not wanted, those that wait are no reason to wake, and `drain(0)` leaves them.
    pub async fn ready_for(&mut self, deliveries: bool) {
        if std::mem::take(&mut self.has_to_rest) {
            return tokio::task::yield_now().await;
        }
        // Calls that left no record behind (refused, or for listeners only) are confirmed without any news from the core.
        if !self.events.is_empty() || self.confirmable() > self.confirmed {
            return;
        }
        let delivers = deliveries && !self.ended && self.stalled.is_none();
        if delivers
            && (self.fetch.has_more(&self.outbox) || self.is_told() || self.has_to_go_on_telling())
        {
            return;
        }
        let bytes = self.stalled.as_ref().map(|it| it.len_bytes());
        let log = self.shared.log().clone();
        let good_for = self.good_for().filter(|_| !self.ended);
        tokio::select! {
            () = self.outbox.rung() => {}
            () = self.fetch.fetched() => {}
            () = tokio::time::sleep(good_for.unwrap_or_default()), if good_for.is_some() => {}
            permit = log.reserve(bytes.unwrap_or(0)), if bytes.is_some() => {
                if let (Ok(permit), Some(mut batch)) = (permit, self.stalled.take()) {
                    batch.hold(permit);
                    self.submit_held(*batch);
                }
            }
        }
    }

    /// Whether there is something that a WAMP session is to hear.
    fn is_told(&self) -> bool {
        self.wamp.is_some() && self.outbox.put(|waiting| !waiting.wamp.is_empty())
    }

    /// Waits for what is heeded even while the client takes nothing: its rights have changed or what it has shown has
    /// expired, or it is over. Then [`drain`](Self::drain) no bytes. Cancel-safe.
    pub async fn alarmed(&mut self) {
        let good_for = self.good_for().filter(|_| !self.ended);
        tokio::select! {
            () = self.outbox.alarmed() => {}
            // A consumer that begins is waited for before rights are looked at.
            () = self.outbox.rung(), if self.rights_changed => {}
            () = tokio::time::sleep(good_for.unwrap_or_default()), if good_for.is_some() => {}
        }
    }

    /// Takes what is ready: confirms, deliveries up to about `bytes_max` of bodies (of none: no delivery), the end. Never
    /// waits.
    pub fn drain(&mut self, bytes_max: usize) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.events);
        let (applied, answers, cancelled, told) = self.outbox.put(|waiting| {
            self.failed.append(&mut waiting.failed);
            self.rights_changed |= std::mem::take(&mut waiting.rights_changed);
            (
                waiting.applied,
                std::mem::take(&mut waiting.answers),
                std::mem::take(&mut waiting.cancelled),
                waiting.told.take(),
            )
        });
        if let Some(next) = told {
            self.has_told(next);
        }
        for answer in answers {
            self.answered(answer.tag, answer.made);
        }
        while let Some((serial, _, since)) = self
            .in_log
            .front()
            .copied()
            .filter(|(serial, ..)| *serial <= applied)
        {
            self.shared.stats.confirm_latency(since.elapsed());
            self.in_log.pop_front();
            self.applied(serial);
        }
        self.run_deferred();
        self.heed_rights();
        if self.has_expired() {
            self.look_again();
        }
        self.flush();
        let mut end = self.outbox.put(|waiting| waiting.end);
        events.append(&mut self.events);
        events.extend(cancelled.into_iter().filter_map(|(id, name)| {
            let known = self.consumers.get(&name)?;
            let gone = (known.id() == id).then(|| self.consumers.remove(&name))??;
            Some(Event::Cancelled {
                consumer: gone.name,
                why: Refusal::NoRoute,
            })
        }));
        self.confirm(&mut events);
        // What the broker settles itself needs room in the log too.
        if !self.ended && self.stalled.is_none() && end != Some(End::Revoked) && bytes_max > 0 {
            if self.wamp.is_some() {
                self.outbox
                    .put(|waiting| waiting.take_told(bytes_max, &mut events));
            }
            self.deliver(bytes_max, &mut events);
            self.go_on_telling();
        } else if bytes_max == 0 && !self.ended {
            end = end.or(self.outbox.put(|waiting| waiting.take_goodbye(&mut events)));
        }
        if let Some(end) = end
            && !self.ended
        {
            self.ended = end != End::ShuttingDown;
            events.push(Event::Ended(end));
            self.outbox.put(|waiting| waiting.end = None);
        }
        events
    }

    /// Up to which tag everything is done with.
    fn confirmable(&self) -> u64 {
        let in_log = self.in_log.iter().map(|(_, first, _)| *first);
        let first_open = in_log.chain(self.batch_first).min();
        first_open.map_or(self.called, |first| {
            self.called.min(first.saturating_sub(1))
        })
    }

    fn confirm(&mut self, events: &mut Vec<Event>) {
        let upto = self.confirmable();
        if upto <= self.confirmed {
            return;
        }
        self.confirmed = upto;
        self.failed.sort_unstable_by_key(|(tag, _)| *tag);
        self.failed.dedup_by_key(|(tag, _)| *tag);
        let covered = self.failed.partition_point(|(tag, _)| *tag <= upto);
        let failed = self.failed.drain(..covered).collect();
        events.push(Event::Confirmed { upto, failed });
    }

    fn deliver(&mut self, bytes_max: usize, events: &mut Vec<Event>) {
        let parcels = self.fetch.take(&self.outbox, bytes_max);
        let mut auto: HashMap<QueueId, Vec<Offset>> = HashMap::new();
        let mut n_delivered = 0;
        let mut oldest: Option<UnixMillis> = None;
        let tells = tracing::enabled!(tracing::Level::DEBUG);
        for (parcel, delivery) in parcels {
            if self.passes_over(&parcel, &delivery) {
                continue;
            }
            // What was on its way to a consumer that is cancelled is not its successor's of the same name.
            let known = self.consumers.get_mut(&parcel.name);
            let Some(consumer) = known.filter(|it| it.id() == parcel.consumer) else {
                continue;
            };
            let mut delivery = match delivery {
                Ok(delivery) => delivery,
                Err(why) => {
                    if let Some(queue) = parcel.queue {
                        let (outbox, damaged) = (Arc::clone(&self.outbox), why == Missing::Damaged);
                        self.shared.ask(Ask::Undelivered(
                            parcel.consumer,
                            outbox,
                            queue,
                            parcel.offset,
                            damaged,
                        ));
                    }
                    continue;
                }
            };
            consumer.drained += 1;
            n_delivered += 1;
            if let Some(mqtt) = self.mqtt.as_ref().filter(|_| delivery.attempt > 1) {
                let (verb, address) = (Verb::Consume, delivery.message.address.as_str());
                let (who, client) = (&self.principal, Some(&*mqtt.client));
                delivery.barred = !self.shared.allows(who, client, verb, &self.realm, address);
            }
            let time = delivery.message.time;
            oldest = Some(oldest.map_or(time, |oldest: UnixMillis| oldest.min(time)));
            if tells {
                tell_delivered(&self.realm, self.uuid, &delivery);
            }
            if let Some(queue) = parcel.queue {
                if consumer.auto_settle {
                    auto.entry(queue).or_default().push(parcel.offset);
                } else {
                    consumer.in_hand.insert(parcel.offset.get());
                }
            }
            events.push(Event::Delivery(Box::new(delivery)));
        }
        self.shared.stats.delivered(self.protocol, n_delivered);
        if let Some(oldest) = oldest {
            self.shared.stats.delivery_age(oldest, now());
        }
        for (queue, mut offsets) in auto {
            offsets.sort_unstable();
            let accepted = crate::engine::ranges(offsets.into_iter());
            self.push_settle(
                0,
                payload::Settle {
                    queue: queue.get(),
                    accepted,
                    ..payload::Settle::default()
                },
            );
        }
        self.flush();
        self.grant();
    }

    /// Lets the engine hand out more, where much of what it handed out was drained.
    fn grant(&mut self) {
        for consumer in self.consumers.values_mut() {
            let ConsumerKind::Queue { id, .. } = &consumer.kind else {
                continue;
            };
            let wanted = consumer.limit.min(consumer.drained.saturating_add(AHEAD));
            if wanted > consumer.granted
                && (wanted == consumer.limit || wanted - consumer.granted >= AHEAD / 4)
            {
                consumer.granted = wanted;
                let outbox = Arc::clone(&self.outbox);
                self.shared.ask(Ask::Credit(*id, outbox, wanted));
            }
        }
    }

    fn applied(&mut self, serial: u64) {
        match self.waits.take() {
            Some(Waits::Applied(at)) if at <= serial => {}
            Some(Waits::Begun(at, limit)) if at <= serial => {
                if let Some((_, Call::Consume(wish))) = self.deferred.pop_front() {
                    self.credit(&wish.consumer, limit);
                }
            }
            other => self.waits = other,
        }
    }

    /// Not while a consumer begins: then right after it has, and before the next one does.
    fn heed_rights(&mut self) {
        if self.waits.is_none() && std::mem::take(&mut self.rights_changed) {
            self.look_again();
        }
    }

    fn run_deferred(&mut self) {
        while self.waits.is_none() {
            self.heed_rights();
            let Some((tag, call)) = self.deferred.pop_front() else {
                return;
            };
            self.run(tag, call);
        }
    }

    /// Raises to `limit` how many deliveries `consumer` may have been sent on this socket. Not answered; where there is
    /// no such consumer (any more), the client hears that it is cancelled.
    pub fn credit(&mut self, consumer: &str, limit: u64) {
        match self.consumers.get_mut(consumer) {
            None => self.gone(consumer),
            Some(known) => {
                known.limit = known.limit.max(limit);
                match &known.kind {
                    ConsumerKind::Topic { subscriber, .. } => subscriber.credit(limit),
                    ConsumerKind::Listener { .. } => {}
                    ConsumerKind::Queue { id, meter, .. } => {
                        meter.store(known.limit, Ordering::Relaxed);
                        if std::mem::take(&mut known.trusted) && !known.in_hand.is_empty() {
                            // No `hold` came: the client has nothing in hand, all goes back.
                            known.in_hand = Ranges::new();
                            let outbox = Arc::clone(&self.outbox);
                            self.shared.ask(Ask::Hold(*id, outbox, Vec::new()));
                        }
                        self.grant();
                    }
                }
            }
        }
    }

    /// After a resume, before credit: what the client still has in hand; all else of that consumer goes back.
    pub fn hold(&mut self, consumer: &str, offsets: &Ranges) {
        let Some(known) = self.consumers.get_mut(consumer) else {
            return self.gone(consumer);
        };
        let ConsumerKind::Queue { id, .. } = &known.kind else {
            return;
        };
        if !std::mem::take(&mut known.trusted) {
            return; // only the first word after a resume counts
        }
        // More than anybody has in hand: nothing is believed, and all of it comes again.
        let nothing = Ranges::new();
        let offsets = if offsets.count() > HOLD_MAX {
            &nothing
        } else {
            offsets
        };
        known.in_hand = offsets.clone();
        let offsets = offsets
            .iter()
            .flat_map(|(first, last)| (first..=last).map(Offset::new))
            .collect();
        let outbox = Arc::clone(&self.outbox);
        self.shared.ask(Ask::Hold(*id, outbox, offsets));
    }

    fn gone(&mut self, consumer: &str) {
        let waits_for_it = self
            .deferred
            .iter()
            .any(|(_, call)| matches!(call, Call::Consume(wish) if wish.consumer == consumer));
        if !waits_for_it {
            self.events.push(Event::Cancelled {
                consumer: consumer.into(),
                why: Refusal::NoSuchConsumer,
            });
        }
    }

    fn consume(&mut self, tag: u64, wish: &Consume) -> Outcome {
        if self.consumers.contains_key(wish.consumer.as_str()) {
            return Outcome::Refused(Refusal::InUse);
        }
        let settings = &self.shared.settings;
        let most = match &self.wamp {
            // Its subscriptions are consumers, and one more gets answers.
            Some(_) => settings.wamp.limits.subscriptions_per_session_max + 1,
            None => settings.consumers_per_session,
        };
        if self.consumers.len() >= most {
            return Outcome::Refused(Refusal::TooMany);
        }
        match &wish.source {
            Source::Topic => self.consume_topic(tag, wish),
            Source::Durable { filter } => self.consume_durable(tag, wish, filter),
            Source::Requests => self.consume_requests(tag, wish),
            Source::Pair { version } => self.consume_pair(tag, wish, *version),
            Source::Queue => match own_name(&wish.address) {
                Some(name) => self.consume_temporary(tag, wish, name),
                None => self.consume_queue(tag, wish),
            },
        }
    }

    fn consume_queue(&mut self, tag: u64, wish: &Consume) -> Outcome {
        let Ok(address) = Address::parse(&wish.address, self.shared.settings.address) else {
            return Outcome::Refused(Refusal::BadAddress);
        };
        let own_temporary = self
            .temporary
            .values()
            .any(|handle| *handle.name == *address.as_str());
        if !own_temporary && !self.may(Verb::Consume, &address) {
            return Outcome::Refused(Refusal::Denied);
        }
        let routes = self.shared.routes.load();
        let handle = routes
            .queues
            .get(&self.realm)
            .and_then(|realm| realm.names.get(address.as_str()))
            .cloned();
        match handle {
            Some(handle) => self.ask_consumer(
                tag,
                wish.consumer.as_str().into(),
                handle.id,
                wish.exclusive,
            ),
            None if self.declared_for == tag || !self.shared.settings.create_on_consume => {
                Outcome::Refused(Refusal::NoRoute)
            }
            None => self.declare(tag, std::slice::from_ref(&address)),
        }
    }

    /// From a queue that is made for what it is bound to: see [`Source::Durable`].
    fn consume_durable(&mut self, tag: u64, wish: &Consume, filter: &str) -> Outcome {
        let limits = self.shared.settings.address;
        let address = Address::parse(&wish.address, limits).ok();
        let Some(address) = address.filter(|it| it.space() == Space::Ordinary) else {
            return Outcome::Refused(Refusal::BadAddress);
        };
        let filter = Filter::parse(filter, limits).ok();
        let Some(filter) = filter.filter(|it| it.space() == Space::Ordinary) else {
            return Outcome::Refused(Refusal::BadFilter);
        };
        if !self.may(Verb::Consume, &address) || !self.may_listen(&filter) {
            return Outcome::Refused(Refusal::Denied);
        }
        let routes = self.shared.routes.load();
        let realm = routes.queues.get(&self.realm);
        let handle = realm.and_then(|realm| realm.names.get(address.as_str()));
        match handle {
            Some(handle) if is_bound(handle, &filter) => {
                let (name, queue) = (wish.consumer.as_str().into(), handle.id);
                self.ask_consumer(tag, name, queue, wish.exclusive)
            }
            Some(_) => Outcome::Refused(Refusal::InUse),
            None if self.declared_for == tag || !self.shared.settings.create_on_consume => {
                Outcome::Refused(Refusal::NoRoute)
            }
            None if self.makes_too_many_shapes(&filter) => Outcome::Refused(Refusal::TooMany),
            None => {
                let reserved = self.shared.reserve_queues(&self.realm, &[address.as_str()]);
                let def = DefineQueue {
                    bindings: vec![filter.as_str().to_owned()],
                    ..(self.shared.settings).queue_definition(&self.realm, &address)
                };
                self.define_queues(tag, reserved, &[def], Refusal::BadFilter)
            }
        }
    }

    fn consume_temporary(&mut self, tag: u64, wish: &Consume, name: &str) -> Outcome {
        if let Some(handle) = self.temporary.get(name) {
            let id = handle.id;
            return self.ask_consumer(tag, wish.consumer.as_str().into(), id, wish.exclusive);
        }
        // They live as long as the socket, whether or not they have a consumer.
        if self.temporary.len() >= self.shared.settings.consumers_per_session {
            return Outcome::Refused(Refusal::TooMany);
        }
        let full = self.temporary_address(name);
        if Address::parse(&full, self.shared.settings.address).is_err() {
            return Outcome::Refused(Refusal::BadAddress);
        }
        let (realm, outbox) = (Arc::clone(&self.realm), Arc::clone(&self.outbox));
        self.shared.ask(Ask::AddTransientQueue {
            realm,
            name: full.into(),
            outbox,
            tag,
        });
        self.waits = Some(Waits::Answer);
        Outcome::Waits
    }

    /// The address that everybody knows `~NAME` of this session by.
    pub(super) fn temporary_address(&self, name: &str) -> String {
        format!("~{}/{name}", self.uuid)
    }

    fn consume_topic(&mut self, tag: u64, wish: &Consume) -> Outcome {
        let Ok(filter) = Filter::parse(&wish.address, self.shared.settings.address) else {
            return Outcome::Refused(Refusal::BadFilter);
        };
        if !self.may_listen(&filter) {
            return Outcome::Refused(Refusal::Denied);
        }
        if self.makes_too_many_shapes(&filter) {
            return Outcome::Refused(Refusal::TooMany);
        }
        self.shared.ask(Ask::Subscribe {
            realm: Arc::clone(&self.realm),
            filter,
            outbox: Arc::clone(&self.outbox),
            name: wish.consumer.as_str().into(),
            limit: wish.limit,
            shard: wish.shard,
            tag,
        });
        self.waits = Some(Waits::Answer);
        Outcome::Waits
    }

    /// Has the core make a consumer.
    pub(super) fn ask_consumer(
        &mut self,
        tag: u64,
        name: Arc<str>,
        queue: QueueId,
        exclusive: bool,
    ) -> Outcome {
        self.shared.ask(Ask::AddConsumer(NewConsumer {
            outbox: Arc::clone(&self.outbox),
            tag,
            name,
            queue,
            exclusive,
            session: self.session,
        }));
        self.await_answer();
        Outcome::Waits
    }

    /// The call at hand waits for the core.
    pub(super) fn await_answer(&mut self) {
        self.waits = Some(Waits::Answer);
    }

    pub(super) fn has_consumer_named(&self, name: &str) -> bool {
        self.consumers.contains_key(name)
    }

    /// The queue that a consumer consumes from.
    pub(super) fn queue_of(&self, name: &str) -> Option<QueueId> {
        match self.consumers.get(name)?.kind {
            ConsumerKind::Queue { queue, .. } => Some(queue),
            ConsumerKind::Topic { .. } | ConsumerKind::Listener { .. } => None,
        }
    }

    /// The core has made what the first deferred call wants, or refused it.
    fn answered(&mut self, tag: u64, made: Result<Made, Refusal>) {
        self.waits = None;
        if let Some((_, Call::Subscribe(wish))) = self.deferred.front() {
            let wish = wish.clone();
            return self.subscription_answered(tag, &wish, made);
        }
        match made {
            Err(refusal) => {
                self.deferred.pop_front();
                self.finish(tag, Some(refusal));
            }
            Ok(Made::Nothing) => {
                self.deferred.pop_front();
                self.finish(tag, None);
            }
            Ok(Made::Room) => self.has_room_to_retain(tag),
            // A subscription's, and so not of this call.
            Ok(Made::Retained(_)) => {}
            Ok(Made::Consumer(id, queue, meter)) => self.has_consumer(tag, id, queue, meter),
            Ok(Made::Subscriber(subscriber) | Made::Listener(subscriber)) => {
                self.subscribed(tag, subscriber);
            }
            Ok(Made::Joined(joined)) => self.has_joined(joined),
            Ok(Made::Queue(handle)) => {
                // The call is tried again, and finds it.
                if let Some(name) = handle.name.strip_prefix(&self.temporary_address("")) {
                    self.temporary.insert(name.to_owned(), Arc::clone(&handle));
                }
            }
        }
    }

    /// The same for a subscription, which is tried again and finds it.
    fn subscription_answered(
        &mut self,
        tag: u64,
        wish: &super::call::Subscribe,
        made: Result<Made, Refusal>,
    ) {
        let refusal = match made {
            Ok(Made::Consumer(id, queue, meter)) => {
                return self.subscription_consumes(wish, id, queue, meter);
            }
            Ok(Made::Listener(listener) | Made::Subscriber(listener)) => {
                return self.subscription_listens(tag, wish, listener);
            }
            Ok(Made::Retained(page)) => return self.has_listed(page),
            Ok(Made::Queue(_) | Made::Joined(_) | Made::Nothing | Made::Room) => return,
            Err(Refusal::NoRoute) => match self.try_again_shared(tag, wish) {
                Some(Outcome::Again(serial)) => {
                    self.waits = Some(Waits::Applied(serial));
                    return;
                }
                Some(Outcome::Refused(refusal)) => refusal,
                _ => Refusal::NoRoute,
            },
            Err(refusal) => refusal,
        };
        self.deferred.pop_front();
        self.unhear(tag);
        self.finish(tag, Some(refusal));
    }

    fn has_consumer(&mut self, tag: u64, id: ConsumerId, queue: QueueId, meter: Meter) {
        let Some((_, Call::Consume(wish))) = self.deferred.pop_front() else {
            return;
        };
        self.is_listed_at(&wish);
        self.add(
            wish.consumer.as_str().into(),
            ConsumerKind::Queue {
                id,
                queue,
                address: ordinary(&wish.address),
                filter: match &wish.source {
                    Source::Durable { filter } => Some(filter.as_str().into()),
                    Source::Queue | Source::Topic | Source::Requests | Source::Pair { .. } => None,
                },
                meter,
            },
            wish.auto_settle,
            0,
        );
        if self.session.is_none() || is_transient(queue) {
            self.finish(tag, None);
            self.credit(&wish.consumer, wish.limit);
            return;
        }
        // Nothing is delivered before the session is sure to know the consumer after a crash.
        let consumer = SessionConsumer {
            name: wish.consumer.clone(),
            queue: queue.get(),
            auto_settle: wish.auto_settle,
            exclusive: wish.exclusive,
            filter: String::new(),
        };
        self.begin(tag, consumer);
        self.waits = Some(Waits::Begun(self.serial, wish.limit));
        self.deferred.push_front((tag, Call::Consume(wish)));
    }

    /// A durable session's consumer goes to the log.
    fn begin(&mut self, tag: u64, consumer: SessionConsumer) {
        self.push(
            tag,
            Kind::Consume,
            &payload::Consume {
                consumer: Some(consumer),
            },
        );
        self.called = tag;
        self.flush();
    }

    fn subscribed(&mut self, tag: u64, subscriber: Arc<Subscriber>) {
        let Some((_, Call::Consume(wish))) = self.deferred.pop_front() else {
            return;
        };
        let Ok(filter) = Filter::parse(&wish.address, self.shared.settings.address) else {
            return;
        };
        if wish.retained
            && let Some(wamp) = self.wamp.as_mut()
        {
            let (listener, filter) = (Arc::clone(&subscriber), filter.clone());
            let listens = |it: &Subscriber| is_consumer(&self.consumers, it);
            wamp.telling.push(listener, filter, listens);
        }
        self.add(
            wish.consumer.as_str().into(),
            ConsumerKind::Topic { subscriber, filter },
            true,
            wish.limit,
        );
        if self.session.is_none() {
            return self.finish(tag, None);
        }
        let (name, filter) = (wish.consumer, wish.address);
        self.begin(
            tag,
            SessionConsumer {
                name,
                queue: 0,
                auto_settle: true,
                exclusive: false,
                filter,
            },
        );
    }

    /// By name: what each consumer needs the right to consume for.
    pub(super) fn consumed(&self) -> impl Iterator<Item = (Arc<str>, Arc<str>)> + '_ {
        self.consumers.iter().flat_map(|(name, consumer)| {
            let asked = match &consumer.kind {
                ConsumerKind::Queue {
                    address, filter, ..
                } => [address.clone(), filter.clone()],
                ConsumerKind::Topic { filter, .. } => [Some(filter.as_str().into()), None],
                ConsumerKind::Listener { .. } => [None, None],
            };
            let asked = asked.into_iter().flatten();
            asked.map(|asked| (Arc::clone(name), asked))
        })
    }

    pub(super) fn remove_consumer(&mut self, name: &str) -> Option<Consumer> {
        self.consumers.remove(name)
    }

    /// Has the session hear of something.
    pub(super) fn say(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The session hears that the right to a subscription is gone, as it was after the last call that was run, or after the one that
    /// has begun it.
    pub(super) fn say_unsubscribed(&mut self, share: &str, filter: &str, begun: Option<u64>) {
        self.say(Event::Unsubscribed {
            filter: filter.to_owned(),
            share: (!share.is_empty()).then(|| share.to_owned()),
            upto: begun.unwrap_or(self.called),
        });
    }

    pub(super) fn add(
        &mut self,
        name: Arc<str>,
        kind: ConsumerKind,
        auto_settle: bool,
        limit: u64,
    ) {
        // The right may have gone since it was looked at.
        self.rights_changed = true;
        let consumer = Consumer {
            name: Arc::clone(&name),
            kind,
            in_hand: Ranges::new(),
            trusted: false,
            auto_settle,
            limit,
            drained: 0,
            granted: 0,
        };
        self.consumers.insert(name, consumer);
    }

    fn settle(&mut self, tag: u64, wish: &Settle) -> Outcome {
        let Some(consumer) = self.consumers.get_mut(wish.consumer.as_str()) else {
            return Outcome::Refused(Refusal::NoSuchConsumer);
        };
        let ConsumerKind::Queue { queue, .. } = &consumer.kind else {
            return Outcome::Refused(Refusal::NoSuchDelivery);
        };
        let queue = *queue;
        let mut all = true;
        let mut in_hand = |ranges: &Ranges| {
            take_in_hand(&mut consumer.in_hand, consumer.trusted, ranges, &mut all)
        };
        let record = payload::Settle {
            queue: queue.get(),
            accepted: in_hand(&wish.accepted),
            released: in_hand(&wish.released),
            rejected: in_hand(&wish.rejected),
            reason: wish
                .reason
                .as_deref()
                .map(|reason| reason.chars().take(REASON_CHARS_MAX).collect()),
            refusal: if all {
                0
            } else {
                Refusal::NoSuchDelivery.number()
            },
            releasing: match self.session {
                Some(_) => wish.releasing.iter().copied().map(u32::from).collect(),
                None => Vec::new(),
            },
            ..payload::Settle::default()
        };
        self.shared.stats.settled(&record);
        if record.accepted.is_empty() && record.released.is_empty() && record.rejected.is_empty() {
            return if all {
                Outcome::Done
            } else {
                Outcome::Refused(Refusal::NoSuchDelivery)
            };
        }
        if !is_transient(queue) {
            self.push(tag, Kind::Settle, &record);
            return Outcome::Logged;
        }
        self.push_settle(tag, record);
        if all {
            Outcome::Done
        } else {
            Outcome::Refused(Refusal::NoSuchDelivery)
        }
    }

    pub(super) fn push_settle(&mut self, tag: u64, settle: payload::Settle) {
        let queue = QueueId::new(settle.queue);
        if is_transient(queue) {
            let outbox = Arc::clone(&self.outbox);
            self.shared.ask(Ask::SettleTransient {
                queue,
                settle,
                outbox,
                tag,
            });
        } else {
            self.push(tag, Kind::Settle, &settle);
        }
    }

    fn cancel(&mut self, tag: u64, name: &str) -> Outcome {
        let Some(consumer) = self.consumers.remove(name) else {
            return Outcome::Refused(Refusal::NoSuchConsumer);
        };
        self.shut(&consumer);
        if self.session.is_none() {
            return Outcome::Done;
        }
        self.push(
            tag,
            Kind::Cancel,
            &payload::Cancel {
                consumer: name.to_owned(),
                session: 0,
            },
        );
        Outcome::Logged
    }

    pub(super) fn shut(&self, consumer: &Consumer) {
        match &consumer.kind {
            ConsumerKind::Queue { id, .. } => {
                let outbox = Arc::clone(&self.outbox);
                self.shared.ask(Ask::RemoveConsumer(*id, outbox));
            }
            ConsumerKind::Topic { subscriber, filter } => self.shared.ask(Ask::Unsubscribe {
                realm: Arc::clone(&self.realm),
                filter: filter.clone(),
                subscriber: Arc::clone(subscriber),
            }),
            ConsumerKind::Listener { subscriber } => self.shut_listener(subscriber),
        }
    }

    /// Writes down queues for `addresses`; the call that wants them is tried again once they are there.
    pub(super) fn declare(&mut self, tag: u64, addresses: &[Address]) -> Outcome {
        let names: SmallVec<[&str; 4]> = addresses.iter().map(Address::as_str).collect();
        let reserved = self.shared.reserve_queues(&self.realm, &names);
        let settings = &self.shared.settings;
        let queues = addresses
            .iter()
            .map(|address| settings.queue_definition(&self.realm, address));
        let queues: SmallVec<[DefineQueue; 1]> = queues.collect();
        self.define_queues(tag, reserved, &queues, Refusal::BadAddress)
    }

    /// Writes down queues, for which `reserved` stands until everybody sees them; the call that wants them is tried again
    /// once they are there. `misfit`: what a definition is refused as that no record holds.
    pub(super) fn define_queues(
        &mut self,
        tag: u64,
        reserved: Result<Reserved, Refusal>,
        queues: &[DefineQueue],
        misfit: Refusal,
    ) -> Outcome {
        let reserved = match reserved {
            Ok(reserved) => reserved,
            Err(refusal) => return Outcome::Refused(refusal),
        };
        let all_fit = queues.iter().all(|def| {
            let draft = Draft {
                stamp: Stamp::Floor,
                ..Draft::new(Kind::DefineQueue, now(), def)
            };
            self.push_draft(0, &draft).is_ok()
        });
        if !self.batch.is_empty() {
            // The last of them is in it.
            self.batch.companion_mut().reserved.push(reserved);
            self.flush();
        }
        if !all_fit {
            return Outcome::Refused(misfit);
        }
        self.declared_for = tag;
        Outcome::Again(self.serial)
    }

    /// Changes how long a durable session outlives its socket, from now on; cut to the configured maximum. Not answered, and
    /// durable once what is called behind it is confirmed. Changes nothing in a session that ends with its socket.
    pub fn set_expiry(&mut self, expiry: std::time::Duration) {
        let Some(session) = self.session else { return };
        let most = self.shared.settings.session_expiry_max;
        self.expiry_ms = u64::try_from(expiry.min(most).as_millis()).unwrap_or(u64::MAX);
        let changed = DefineSession {
            number: session.get(),
            uuid: bytes::Bytes::copy_from_slice(self.uuid.as_bytes()),
            realm: self.realm.to_string(),
            principal: self.principal.name.to_string(),
            name: self.name.clone(),
            expiry_ms: self.expiry_ms,
            keeps_will: true,
            ..DefineSession::default()
        };
        self.push(0, Kind::DefineSession, &changed);
    }

    /// The client says goodbye: its will is not published. Not answered.
    pub fn give_up_will(&mut self) {
        self.has_will = false;
    }

    /// Ends the session for good (MBWS `close`): what it had not settled is released, its temporary queues go. If it has a
    /// will, that is published first.
    pub fn end(mut self) {
        if self.has_will {
            self.set_expiry(std::time::Duration::ZERO);
        } else {
            self.expiry_ms = 0;
            self.write_end();
        }
        self.flush();
        self.submit_stalled_now();
    }

    /// The record of the durable session's end.
    pub(super) fn write_end(&mut self) {
        let Some(session) = self.session.filter(|_| !self.over) else {
            return;
        };
        self.over = true;
        let end = EndSession {
            session: session.get(),
            queue: self.own_queue(),
        };
        if let Err(refused) = self.push_draft(0, &ending(&end, &own_queue(&end))) {
            tracing::error!(%refused, "a session's end did not fit");
        }
    }
}

/// What the right to consume is about.
fn ordinary(address: &str) -> Option<Arc<str>> {
    (!address.starts_with('~')).then(|| address.into())
}

/// Whether a queue takes what that very filter matches.
fn is_bound(queue: &QueueHandle, filter: &Filter) -> bool {
    let bindings = queue.def.iter().flat_map(|def| &def.bindings);
    bindings.into_iter().any(|it| it == filter.as_str())
}

/// The NAME of `~NAME`: a temporary queue of the session that says so. `~SESSION/NAME` is one of any session's.
pub(super) fn own_name(address: &str) -> Option<&str> {
    let name = address.strip_prefix('~')?;
    let first = name.split_once('/').map_or("", |(first, _)| first);
    let is_session = first.len() == uuid::fmt::Hyphenated::LENGTH && Uuid::try_parse(first).is_ok();
    (!is_session).then_some(name)
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.leave_realm();
        // Its client may be back at once, and must not find it.
        if self.mqtt.is_some() && self.expiry_ms == 0 && !self.has_will {
            self.write_end();
        }
        self.flush();
        self.submit_stalled_now();
        for consumer in self.consumers.values() {
            let is_kept =
                self.session.is_some() && matches!(consumer.kind, ConsumerKind::Queue { .. });
            if !is_kept || self.in_memory(consumer) {
                self.shut(consumer);
            }
        }
        self.undo_unheard();
        self.leave_joint();
        for handle in self.temporary.values() {
            self.shared.ask(Ask::RemoveTransientQueue(handle.id));
        }
        if let Some(session) = self.session {
            let ends_at = now().saturating_add(self.expiry_ms);
            let outbox = Arc::clone(&self.outbox);
            let how = match self.has_will {
                true => Left::Lost,
                false => Left::WithGoodbye,
            };
            self.shared.ask(Ask::Detach {
                session,
                outbox,
                how,
                ends_at,
            });
            self.leave_behind();
        } else if self.attaching {
            let (uuid, outbox) = (self.uuid, Arc::clone(&self.outbox));
            self.shared.ask(Ask::Abandon { uuid, outbox });
        }
        self.shared.left(&self.outbox);
    }
}

impl Attachment {
    /// What the core was asked to make, and whose answer was not heard: nobody else would ever remove it.
    fn undo_unheard(&self) {
        if !matches!(self.waits, Some(Waits::Answer)) {
            return;
        }
        let filter = match self.deferred.front() {
            Some((_, Call::Consume(wish))) if wish.source == Source::Topic => {
                Filter::parse(&wish.address, self.shared.settings.address).ok()
            }
            Some((_, Call::Subscribe(wish))) => {
                Filter::parse(&wish.filter, self.shared.settings.address).ok()
            }
            _ => None,
        };
        self.shared.ask(Ask::Undo {
            realm: Arc::clone(&self.realm),
            filter,
            outbox: Arc::clone(&self.outbox),
        });
    }

    fn in_memory(&self, consumer: &Consumer) -> bool {
        matches!(consumer.kind, ConsumerKind::Queue { queue, .. } if is_transient(queue))
    }
}

/// Characters of a consumer's reason that are kept.
const REASON_CHARS_MAX: usize = 256;
/// Offsets that one `hold` may name.
const HOLD_MAX: u64 = 1 << 20;

/// Takes `ranges` out of what is in hand; gives those that were, as they stand in a record. After a crash of the broker
/// (`trusted`) the client's word counts, and the engine finds out what is not so.
fn take_in_hand(in_hand: &mut Ranges, trusted: bool, ranges: &Ranges, all: &mut bool) -> Vec<u64> {
    let mut taken = Vec::new();
    for (first, last) in ranges.iter() {
        if trusted && last - first < HOLD_MAX {
            in_hand.remove_range(first, last);
            taken.extend([first, last]);
            continue;
        }
        let mut found: SmallVec<[(u64, u64); 4]> = SmallVec::new();
        found.extend(in_hand.within(first, last));
        // What is in hand is in memory, so that only the range as told may be of all numbers there are.
        let n_found: u64 = found.iter().map(|(f, l)| l - f + 1).sum();
        *all &= n_found.checked_sub(1) == Some(last - first);
        for (f, l) in found {
            in_hand.remove_range(f, l);
            taken.extend([f, l]);
        }
    }
    taken
}

fn tell_delivered(realm: &str, session: Uuid, delivery: &Delivery) {
    let trace = trace::of_properties(&delivery.message.properties);
    tracing::debug!(
        realm,
        address = delivery.message.address,
        offset = delivery.offset,
        attempt = delivery.attempt,
        %session,
        trace_id = trace.map(|it| tracing::field::display(it.trace_id())),
        span_id = trace.map(|it| tracing::field::display(it.span_id())),
        "delivered"
    );
}
