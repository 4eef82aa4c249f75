//! The core: the thread that owns the engine. Everything that changes or asks about queues and sessions comes to it as
//! an [`Ask`], in one channel; what follows goes out to outboxes.
//!
//! ```text
//! log writer ─ Commit ─▶┐                        ┌─▶ outboxes (parcels, refusals), then the applied serial, then bells
//! sessions ─── Ask ────▶├─ core: apply, dispatch ┼─▶ routing snapshot
//! keeper ───── Ask ────▶┘                        └─▶ log.set_applied
//! ```
//!
//! The core waits for nobody but its channel: outboxes are bounded by credit, and records that the engine wants
//! written are fetched by the keeper (`keeper.rs`), so that no circle of waiting threads can close.
//!
//! Comes before: `log` (storage). Goes on to: `attachment.rs`.

mod admin;
mod joint;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use restante_storage::payload::{DefineSession, Settle, Will};
use restante_storage::{Commit, Lsn, Offset, QueueId, RecordRef, SessionNo, UnixMillis};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use uuid::Uuid;

use self::joint::JointQueues;
use super::admin::AdminAsk;
use super::call::{End, LISTENER};
use super::making::Reserved;
use super::outbox::{Answer, Made, Meter, Notice, Outbox, Parcel, Subscriber};
use super::sp::Joint;
use super::{Routes, Shared, now};
use crate::engine::address::{AddressLimits, Filter};
use crate::engine::routing::Router;
use crate::engine::{
    Checkpoint, ConsumerId, DurableSession, Effect, Engine, Errand, Left, LookMax, Resumed,
};
use crate::refusal::Refusal;
use crate::router::ShardKey;

/// What comes back with a batch of records.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Whose it is; none: the keeper's.
    pub(super) from: Option<Arc<Outbox>>,
    /// Its number among that client's batches, from 1.
    pub(super) serial: u64,
    /// For each record, the tag of the call that caused it; 0: none.
    pub(super) tags: Vec<u64>,
    /// By record: who gets the message beside its durable queues, ascending.
    pub(super) extras: Vec<(usize, Extras)>,
    /// The client whose session this record defines or takes over. In a box: every connection has room for a batch or two.
    pub(super) attach: Option<Box<AttachOnApply>>,
    /// Hears where the last record lies once all are applied and what follows from them is to be seen.
    pub(super) told: Option<oneshot::Sender<Lsn>>,
    /// For the queues that its records make: let go once everybody sees these.
    pub(super) reserved: SmallVec<[Reserved; 1]>,
}

/// Takers of a message that are not in its record.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) queues: SmallVec<[QueueId; 2]>,
    pub(super) topics: Vec<Arc<Subscriber>>,
    /// Those who get it under another address.
    pub(super) others: Vec<Elsewhere>,
}

/// Takers of a message under another address than its record's.
#[derive(Debug)]
pub(super) struct Elsewhere {
    /// The message under that address.
    pub(super) record: Bytes,
    pub(super) queues: SmallVec<[QueueId; 2]>,
    pub(super) topics: Vec<Arc<Subscriber>>,
}

/// A client that waits for its session to be defined.
#[derive(Debug)]
pub(super) struct AttachOnApply {
    pub(super) uuid: Uuid,
    /// It is to begin with nothing: one that somebody else has made meanwhile, and used, will not do.
    pub(super) fresh: bool,
    /// Its will, without an id: likewise, another client's will not do.
    pub(super) will: Option<Will>,
    pub(super) reply: oneshot::Sender<Option<AttachedSession>>,
}

/// What a client that goes on with a durable session finds.
#[derive(Debug)]
pub(super) struct AttachedSession {
    pub(super) number: SessionNo,
    pub(super) whole: DefineSession,
    pub(super) consumers: Vec<(Resumed, Meter)>,
    pub(super) topics: Vec<(Arc<str>, Filter, Arc<Subscriber>)>,
    /// Of an MQTT session: bound to all that it subscribes to and does not share.
    pub(super) listener: Option<Arc<Subscriber>>,
}

/// A durable session as it is now.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) whole: DefineSession,
    pub(super) outbox: Option<Arc<Outbox>>,
}

/// A consumer that a client wants.
#[derive(Debug)]
pub(super) struct NewConsumer {
    pub(super) outbox: Arc<Outbox>,
    pub(super) tag: u64,
    pub(super) name: Arc<str>,
    pub(super) queue: QueueId,
    pub(super) exclusive: bool,
    pub(super) session: Option<SessionNo>,
}

/// Everything that the core does for others.
pub(super) enum Ask {
    Commit(Commit<Batch>),
    Direct {
        queues: SmallVec<[QueueId; 2]>,
        record: Bytes,
        time: UnixMillis,
        expires: Option<UnixMillis>,
    },
    AddConsumer(NewConsumer),
    RemoveConsumer(ConsumerId, Arc<Outbox>),
    Credit(ConsumerId, Arc<Outbox>, u64),
    Hold(ConsumerId, Arc<Outbox>, Vec<Offset>),
    SettleTransient {
        queue: QueueId,
        settle: Settle,
        outbox: Arc<Outbox>,
        tag: u64,
    },
    AddTransientQueue {
        realm: Arc<str>,
        name: Arc<str>,
        outbox: Arc<Outbox>,
        tag: u64,
    },
    RemoveTransientQueue(QueueId),
    /// An SP client shares a queue in memory, which is made if it is the first.
    Join {
        realm: Arc<str>,
        what: Joint,
        outbox: Arc<Outbox>,
        tag: u64,
    },
    /// It no longer does.
    Leave {
        realm: Arc<str>,
        what: Joint,
        outbox: Arc<Outbox>,
    },
    Subscribe {
        realm: Arc<str>,
        filter: Filter,
        outbox: Arc<Outbox>,
        name: Arc<str>,
        limit: u64,
        shard: Option<ShardKey>,
        tag: u64,
    },
    Unsubscribe {
        realm: Arc<str>,
        filter: Filter,
        subscriber: Arc<Subscriber>,
    },
    /// An MQTT session's listener hears of one filter more; made if there is none yet.
    Listen {
        realm: Arc<str>,
        filter: Filter,
        listener: Option<Arc<Subscriber>>,
        outbox: Arc<Outbox>,
        tag: u64,
    },
    /// It hears of these no more.
    Unlisten {
        realm: Arc<str>,
        filters: Vec<Filter>,
        listener: Arc<Subscriber>,
        /// Whose call waits for it.
        answer: Option<(Arc<Outbox>, u64)>,
    },
    /// What is kept and matches, behind that address, is to be recalled for a session's own queue.
    Retained {
        session: SessionNo,
        realm: Arc<str>,
        filter: Filter,
        after: Option<Arc<str>>,
        outbox: Arc<Outbox>,
        tag: u64,
    },
    /// What was listed so is not recalled.
    LeaveRecall(SessionNo),
    /// What is kept and matches, behind that address, is told to a listener.
    Tell {
        realm: Arc<str>,
        filter: Filter,
        after: Option<Arc<str>>,
        listener: Arc<Subscriber>,
    },
    /// As many messages are kept as may be: whether this address has one, which another may replace.
    HasRetained {
        realm: Arc<str>,
        address: String,
        outbox: Arc<Outbox>,
        tag: u64,
    },
    Find {
        uuid: Uuid,
        reply: oneshot::Sender<Option<Found>>,
    },
    Detach {
        session: SessionNo,
        outbox: Arc<Outbox>,
        how: Left,
        ends_at: UnixMillis,
    },
    /// A will is due, whatever its delay; heard once it is over.
    FireWill {
        session: SessionNo,
        will: Lsn,
        reply: oneshot::Sender<()>,
    },
    /// The client left before it heard that it goes on with that session.
    Abandon {
        uuid: Uuid,
        outbox: Arc<Outbox>,
    },
    /// The client left before it heard what was made for it; `filter`: of the topic that it wanted.
    Undo {
        realm: Arc<str>,
        filter: Option<Filter>,
        outbox: Arc<Outbox>,
    },
    /// `due`: those by the clock as well.
    Errands {
        due: bool,
        limit: usize,
        reply: Sender<Vec<Errand>>,
    },
    MoveFailed(QueueId, Offset),
    /// A slice of what is to be done before a checkpoint; whether there is more.
    Dig(Sender<bool>),
    Checkpoint {
        node: Uuid,
        reply: Sender<Checkpoint>,
    },
    Checkpointed {
        lsn: Lsn,
        oldest: Lsn,
        reply: Sender<(Lsn, Vec<Errand>)>,
    },
    Admin(AdminAsk),
    /// What this consumer was sent does not get to its client; `true`: nor ever to any, as it cannot be read.
    Undelivered(ConsumerId, Arc<Outbox>, QueueId, Offset, bool),
    /// Durable sessions behind that one, so many at most.
    DurableSessions(Option<Uuid>, usize, oneshot::Sender<Vec<DurableSession>>),
    /// Whether anybody is there.
    Answer(oneshot::Sender<()>),
    Stop,
}

/// How many asks are taken before outboxes are served: keeps a flood of small asks from delaying deliveries.
const ROUND_MAX: usize = 64;

pub(super) struct Core {
    engine: Engine,
    shared: Arc<Shared>,
    asks: Receiver<Ask>,
    ports: FxHashMap<ConsumerId, Port>,
    sessions: FxHashMap<SessionNo, Arc<Outbox>>,
    topics: BTreeMap<Arc<str>, Router<Arc<Subscriber>>>,
    topics_changed: bool,
    joint: HashMap<(Arc<str>, Joint), JointQueues>,
    next_subscriber: u64,
    /// Batches applied in this round: their owners are told once everything that follows is visible.
    applied: Vec<(Arc<Outbox>, u64)>,
    answers: Vec<(Arc<Outbox>, Answer)>,
    /// Whoever waits for a batch without an outbox, and where it lies.
    told: Vec<(oneshot::Sender<Lsn>, Lsn)>,
    /// What was reserved for queues that are made in this round.
    reserved: Vec<Reserved>,
    bells: Vec<Arc<Outbox>>,
    /// Whoever waits for a will to be over.
    mourners: Vec<(SessionNo, Lsn, oneshot::Sender<()>)>,
}

/// Where a consumer's deliveries go.
struct Port {
    outbox: Arc<Outbox>,
    name: Arc<str>,
    meter: Meter,
}

impl Core {
    pub(super) fn new(engine: Engine, shared: Arc<Shared>, asks: Receiver<Ask>) -> Self {
        Core {
            engine,
            shared,
            asks,
            ports: FxHashMap::default(),
            sessions: FxHashMap::default(),
            topics: BTreeMap::new(),
            topics_changed: false,
            joint: HashMap::new(),
            next_subscriber: 1 << 63,
            applied: Vec::new(),
            answers: Vec::new(),
            told: Vec::new(),
            reserved: Vec::new(),
            bells: Vec::new(),
            mourners: Vec::new(),
        }
    }

    /// Publishes the routes: nobody is to be let in before.
    pub(super) fn begin(&mut self) {
        self.finish_round();
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        while let Ok(first) = self.asks.recv() {
            let mut next = Some(first);
            for _ in 0..ROUND_MAX {
                match next.take() {
                    Some(Ask::Stop) => return self.finish_round(),
                    Some(ask) => self.handle(ask),
                    None => break,
                }
                next = self.asks.try_recv().ok();
            }
            if let Some(ask) = next {
                if matches!(ask, Ask::Stop) {
                    // Whoever was asked for in this round is answered.
                    return self.finish_round();
                }
                self.handle(ask);
            }
            self.finish_round();
        }
    }

    /// Deliveries, routes, then the news that batches are applied: whoever hears of it finds all that follows from it.
    fn finish_round(&mut self) {
        self.engine.dispatch(now());
        for effect in self.engine.take_effects() {
            self.carry_out(effect);
        }
        self.publish_routes();
        self.reserved.clear();
        for (queue, cause) in self.engine.take_dropped() {
            self.shared.stats.dropped(cause, self.engine.queue(queue));
        }
        let n_sessions = self.engine.n_sessions();
        self.shared.n_sessions.store(n_sessions, Ordering::Relaxed);
        let n_away = self.engine.n_away();
        self.shared.n_away.store(n_away, Ordering::Relaxed);
        let n_retained = self.engine.n_retained();
        self.shared.n_retained.store(n_retained, Ordering::Relaxed);
        self.shared.set_applied(self.engine.applied());
        for (outbox, serial) in std::mem::take(&mut self.applied) {
            outbox.put(|waiting| waiting.applied = serial);
            self.ring_later(&outbox);
        }
        for (outbox, answer) in std::mem::take(&mut self.answers) {
            outbox.put(|waiting| waiting.answers.push(answer));
            self.ring_later(&outbox);
        }
        for (told, lsn) in self.told.drain(..) {
            told.send(lsn).ok();
        }
        for outbox in self.bells.drain(..) {
            outbox.ring();
        }
        let (engine, mourners) = (&self.engine, &mut self.mourners);
        // Who has given up waiting, as on a full disk, is not to be kept.
        let is_over = |it: &mut (SessionNo, Lsn, oneshot::Sender<()>)| {
            it.2.is_closed() || !engine.has_will(it.0, it.1)
        };
        for (_, _, reply) in mourners.extract_if(.., is_over) {
            reply.send(()).ok();
        }
        if self.engine.has_errands() {
            self.shared.wake_keeper();
        }
    }

    fn handle(&mut self, ask: Ask) {
        match ask {
            Ask::Commit(commit) => self.apply(commit),
            Ask::Direct {
                queues,
                record,
                time,
                expires,
            } => {
                for queue in queues {
                    self.engine
                        .enqueue_transient(queue, record.clone(), time, expires);
                }
            }
            Ask::AddConsumer(wish) => self.add_consumer(wish),
            // A socket that its session has left has no say any more.
            Ask::RemoveConsumer(id, outbox) if self.serves(id, &outbox) => {
                self.ports.remove(&id);
                self.engine.remove_consumer(id);
            }
            Ask::Credit(id, outbox, limit) if self.serves(id, &outbox) => {
                self.engine.credit(id, limit);
            }
            Ask::Hold(id, outbox, offsets) if self.serves(id, &outbox) => {
                self.engine.hold(id, &offsets);
            }
            Ask::RemoveConsumer(..) | Ask::Credit(..) | Ask::Hold(..) => {}
            Ask::SettleTransient {
                queue,
                settle,
                outbox,
                tag,
            } => self.settle_transient(queue, &settle, &outbox, tag),
            Ask::AddTransientQueue {
                realm,
                name,
                outbox,
                tag,
            } => {
                let settings = &self.shared.settings;
                let handle = self.engine.add_transient_queue(
                    &realm,
                    &name,
                    None,
                    settings.temp_messages_max,
                    settings.temp_bytes_max,
                );
                self.answer(&outbox, tag, Ok(Made::Queue(handle)));
            }
            Ask::RemoveTransientQueue(id) => self.engine.remove_transient_queue(id),
            Ask::Join {
                realm,
                what,
                outbox,
                tag,
            } => {
                let joined = self.join(realm, what, &outbox);
                self.answer(&outbox, tag, joined.map(Made::Joined));
            }
            Ask::Leave {
                realm,
                what,
                outbox,
            } => self.leave(&(realm, what), &outbox),
            Ask::Subscribe {
                realm,
                filter,
                outbox,
                name,
                limit,
                shard,
                tag,
            } => {
                let subscriber = self.subscribe(realm, &filter, &outbox, (name, shard), limit);
                self.answer(&outbox, tag, Ok(Made::Subscriber(subscriber)));
            }
            Ask::Unsubscribe {
                realm,
                filter,
                subscriber,
            } => {
                self.unbind(&realm, [&filter], &subscriber);
            }
            Ask::Listen {
                realm,
                filter,
                listener,
                outbox,
                tag,
            } => {
                let listener = listener.unwrap_or_else(|| self.listener(&outbox));
                self.bind(realm, &filter, &listener);
                self.answer(&outbox, tag, Ok(Made::Listener(listener)));
            }
            Ask::Unlisten {
                realm,
                filters,
                listener,
                answer,
            } => {
                self.unbind(&realm, &filters, &listener);
                if let Some((outbox, tag)) = answer {
                    self.answer(&outbox, tag, Ok(Made::Nothing));
                }
            }
            Ask::Retained {
                session,
                realm,
                filter,
                after,
                outbox,
                tag,
            } => {
                let after = after.as_deref();
                let engine = &mut self.engine;
                let page = engine.list_for_recall(session, &realm, &filter, after, now(), PAGE);
                self.answer(&outbox, tag, Ok(Made::Retained(page)));
            }
            Ask::LeaveRecall(session) => self.engine.leave_recall(session),
            Ask::Tell {
                realm,
                filter,
                after,
                listener,
            } => {
                let after = after.as_deref();
                let page = self.engine.retained(&realm, &filter, after, now(), PAGE);
                listener.tell(page);
                self.ring_later(listener.outbox());
            }
            Ask::HasRetained {
                realm,
                address,
                outbox,
                tag,
            } => {
                let is_there = self.engine.is_retained(&realm, &address);
                let made = is_there.then_some(Made::Room).ok_or(Refusal::TooMany);
                self.answer(&outbox, tag, made);
            }
            Ask::Find { uuid, reply } => {
                reply.send(self.find(uuid)).ok();
            }
            Ask::Detach {
                session,
                outbox,
                how,
                ends_at,
            } => self.detach(session, &outbox, how, ends_at),
            Ask::FireWill {
                session,
                will,
                reply,
            } => {
                self.engine.fire_will(session, will);
                self.mourners.push((session, will, reply));
            }
            Ask::Abandon { uuid, outbox } => {
                if let Some(number) = self.engine.session_number(uuid) {
                    self.abandon(number, &outbox);
                }
            }
            Ask::Undo {
                realm,
                filter,
                outbox,
            } => self.undo(&realm, filter.as_ref(), &outbox),
            Ask::Errands { due, limit, reply } => {
                let errands = match due {
                    true => self.engine.take_errands(now(), limit),
                    false => self.engine.take_news(now(), limit),
                };
                reply.send(errands).ok();
            }
            Ask::MoveFailed(queue, offset) => self.engine.move_failed(queue, offset),
            Ask::Dig(reply) => {
                reply.send(self.engine.dig(DUG_AT_ONCE)).ok();
            }
            Ask::Checkpoint { node, reply } => {
                reply.send(self.engine.checkpoint(node)).ok();
            }
            Ask::Checkpointed { lsn, oldest, reply } => {
                self.engine.evict();
                let rewrites = self.engine.take_rewrites(oldest, lsn, REWRITES_MAX);
                reply.send((self.engine.needed_from(lsn), rewrites)).ok();
            }
            Ask::Admin(ask) => self.handle_admin(ask),
            Ask::Undelivered(id, outbox, queue, offset, unreadable) if self.serves(id, &outbox) => {
                self.engine.undelivered(id, queue, offset, unreadable);
            }
            Ask::Undelivered(..) => {}
            Ask::DurableSessions(after, limit, reply) => {
                reply.send(self.engine.durable_sessions(after, limit)).ok();
            }
            Ask::Answer(reply) => {
                reply.send(()).ok();
            }
            Ask::Stop => {}
        }
    }

    fn apply(&mut self, commit: Commit<Batch>) {
        let batches = commit.batches.len();
        let (mut n_records, mut firsts) = (0, SmallVec::<[Lsn; 16]>::new());
        for at in 0..batches {
            let Some((range, _)) = commit.batches.get(at) else {
                break;
            };
            let mut refused: Vec<(u64, Refusal)> = Vec::new();
            for (index, record) in commit.records(range.clone()).enumerate() {
                n_records += 1;
                let refusal = self.engine.apply(&record);
                firsts.extend((index == 0).then_some(record.lsn()));
                let Some((_, batch)) = commit.batches.get(at) else {
                    break;
                };
                if let Some(refusal) = refusal
                    && let Some(tag) = batch.tags.get(index).filter(|tag| **tag > 0)
                {
                    refused.push((*tag, refusal));
                }
                if let Ok(found) = batch
                    .extras
                    .binary_search_by_key(&index, |(index, _)| *index)
                    && let Some((_, extras)) = batch.extras.get(found)
                {
                    self.deliver_extras(&commit, &record, extras);
                }
            }
            if let Some((_, batch)) = commit.batches.get(at)
                && let Some(outbox) = batch.from.clone()
            {
                if !refused.is_empty() {
                    outbox.put(|waiting| waiting.failed.append(&mut refused));
                }
                if batch.serial > 0 {
                    self.applied.push((outbox, batch.serial));
                }
            }
        }
        self.shared.stats.committed(n_records, commit.bytes.len());
        // No batch is empty.
        for ((_, batch), first) in commit.batches.into_iter().zip(firsts) {
            self.told.extend(batch.told.map(|told| (told, first)));
            self.reserved.extend(batch.reserved);
            if let (Some(attach), Some(outbox)) = (batch.attach, batch.from) {
                self.attach(*attach, outbox);
            }
        }
    }

    fn deliver_extras(&mut self, commit: &Commit<Batch>, record: &RecordRef<'_>, extras: &Extras) {
        let start = record.lsn().get().saturating_sub(commit.first.get()) as usize;
        let bytes = commit
            .bytes
            .slice(start..start + record.len_bytes() as usize);
        for queue in &extras.queues {
            // A copy: a message in memory must not keep a whole commit alive.
            let own = Bytes::copy_from_slice(&bytes);
            self.engine
                .enqueue_transient(*queue, own, record.time(), record.expires());
        }
        for other in &extras.others {
            for queue in &other.queues {
                let own = other.record.clone();
                self.engine
                    .enqueue_transient(*queue, own, record.time(), record.expires());
            }
            self.offer(&Notice::new(other.record.clone()), &other.topics);
        }
        if extras.topics.is_empty() {
            return;
        }
        // A copy as well: a listener that does not read keeps many of them, each of another commit.
        let own = Bytes::copy_from_slice(&bytes);
        self.offer(&Notice::new(own), &extras.topics);
    }

    fn offer(&mut self, notice: &Notice, topics: &[Arc<Subscriber>]) {
        for subscriber in topics {
            if subscriber.offer(notice) {
                let outbox = Arc::clone(subscriber.outbox());
                self.ring_later(&outbox);
            } else {
                self.shared.missed_by(subscriber);
            }
        }
    }

    /// The session of a waiting client is defined: it goes on from here.
    fn attach(&mut self, wish: AttachOnApply, outbox: Arc<Outbox>) {
        let found = self.engine.session_number(wish.uuid);
        let taken = found
            .and_then(|number| self.sessions.get(&number))
            .is_some_and(|other| !other.is_closed());
        let attached = found.filter(|_| !taken).and_then(|number| {
            let whole = self.engine.session(number)?;
            let is_own = *whole.principal == *outbox.card.principal && is_same_will(&wish, &whole);
            if !is_own || wish.fresh && !is_unused(&whole) {
                return None;
            }
            self.engine.attach(number);
            let consumers = self.engine.resume_consumers(number);
            let mut resumed = Vec::with_capacity(consumers.len());
            for consumer in consumers {
                let meter = Meter::default();
                let port = Port {
                    outbox: Arc::clone(&outbox),
                    name: consumer.name.as_str().into(),
                    meter: Arc::clone(&meter),
                };
                self.ports.insert(consumer.id, port);
                resumed.push((consumer, meter));
            }
            self.sessions.insert(number, Arc::clone(&outbox));
            Some(AttachedSession {
                number,
                whole,
                consumers: resumed,
                topics: Vec::new(),
                listener: None,
            })
        });
        let attached = attached.map(|mut attached| {
            let realm: Arc<str> = attached.whole.realm.as_str().into();
            for consumer in attached
                .whole
                .consumers
                .iter()
                .filter(|consumer| !consumer.filter.is_empty())
            {
                let Ok(filter) = Filter::parse(&consumer.filter, self.shared.settings.address)
                else {
                    continue;
                };
                let name: Arc<str> = consumer.name.as_str().into();
                let subscriber = self.subscribe(
                    Arc::clone(&realm),
                    &filter,
                    &outbox,
                    (Arc::clone(&name), None),
                    0,
                );
                attached.topics.push((name, filter, subscriber));
            }
            attached.listener = self.resume_listener(&attached.whole, &outbox);
            attached
        });
        // Before the answer, so that what the client sends next finds its topics.
        self.publish_routes();
        let number = attached.as_ref().map(|it| it.number);
        if let (Err(_left), Some(number)) = (wish.reply.send(attached), number) {
            self.abandon(number, &outbox);
        }
    }

    /// Whether a consumer's deliveries go to that outbox.
    fn serves(&self, id: ConsumerId, outbox: &Arc<Outbox>) -> bool {
        let port = self.ports.get(&id);
        port.is_some_and(|port| Arc::ptr_eq(&port.outbox, outbox))
    }

    /// Nobody came for the session that was given to `outbox`: as if its socket had been lost at once.
    fn abandon(&mut self, number: SessionNo, outbox: &Arc<Outbox>) {
        let current = self.sessions.get(&number);
        if !current.is_some_and(|current| Arc::ptr_eq(current, outbox)) {
            return; // its session goes on elsewhere, or never was its own
        }
        let Some(session) = self.engine.session(number) else {
            return;
        };
        if let Some(topics) = self.topics.get_mut(session.realm.as_str()) {
            let consumed = session.consumers.iter().map(|it| &it.filter);
            let own = session.subscriptions.iter();
            let subscribed = own.filter(|it| it.share.is_empty()).map(|it| &it.filter);
            let filters = consumed.filter(|it| !it.is_empty()).chain(subscribed);
            for filter in filters.filter_map(|it| Filter::parse(it, AddressLimits::CEILING).ok()) {
                let bound = topics.bound_to(&filter);
                let of_it = bound.filter(|it| Arc::ptr_eq(it.outbox(), outbox));
                let of_it: SmallVec<[Arc<Subscriber>; 1]> = of_it.cloned().collect();
                for subscriber in &of_it {
                    topics.unbind(&filter, subscriber);
                    self.topics_changed = true;
                }
            }
        }
        // It has never heard that it is connected.
        let (how, ends_at) = (Left::WithGoodbye, now().saturating_add(session.expiry_ms));
        self.detach(number, outbox, how, ends_at);
    }

    /// Takes back what was made for a client that is gone.
    fn undo(&mut self, realm: &Arc<str>, filter: Option<&Filter>, outbox: &Arc<Outbox>) {
        let mut answers = outbox.put(|waiting| std::mem::take(&mut waiting.answers));
        self.answers.retain_mut(|(whose, answer)| {
            let other = !Arc::ptr_eq(whose, outbox);
            if !other {
                let made = std::mem::replace(&mut answer.made, Err(Refusal::NoRoute));
                answers.push(Answer {
                    tag: answer.tag,
                    made,
                });
            }
            other
        });
        for answer in answers {
            match answer.made {
                Ok(Made::Consumer(id, ..)) if self.serves(id, outbox) => {
                    self.ports.remove(&id);
                    self.engine.remove_consumer(id);
                }
                Ok(Made::Queue(handle)) => self.engine.remove_transient_queue(handle.id),
                Ok(Made::Joined(joined)) => {
                    self.leave(&(Arc::clone(realm), joined.what), outbox);
                }
                Ok(Made::Subscriber(subscriber) | Made::Listener(subscriber)) => {
                    self.unbind(realm, filter, &subscriber);
                }
                Ok(Made::Consumer(..) | Made::Nothing | Made::Retained(_) | Made::Room)
                | Err(_) => {}
            }
        }
    }

    fn find(&self, uuid: Uuid) -> Option<Found> {
        let number = self.engine.session_number(uuid)?;
        Some(Found {
            whole: self.engine.session(number)?,
            outbox: self.sessions.get(&number).cloned(),
        })
    }

    fn detach(&mut self, session: SessionNo, outbox: &Arc<Outbox>, how: Left, ends_at: UnixMillis) {
        if self
            .sessions
            .get(&session)
            .is_some_and(|current| Arc::ptr_eq(current, outbox))
        {
            self.sessions.remove(&session);
            self.engine.detach(session, how, now(), ends_at);
        }
    }

    fn add_consumer(&mut self, wish: NewConsumer) {
        // Its session has gone to another socket, which must not find a consumer that it did not ask for.
        if wish.outbox.is_closed() {
            return self.answer(&wish.outbox, wish.tag, Err(Refusal::NoRoute));
        }
        let session = wish.session.map(|number| (number, wish.name.to_string()));
        let result = self
            .engine
            .add_consumer(wish.queue, wish.exclusive, session);
        let meter = Meter::default();
        if let Ok(id) = result {
            self.ports.insert(
                id,
                Port {
                    outbox: Arc::clone(&wish.outbox),
                    name: wish.name,
                    meter: Arc::clone(&meter),
                },
            );
        }
        self.answer(
            &wish.outbox,
            wish.tag,
            result.map(|id| Made::Consumer(id, wish.queue, meter)),
        );
    }

    fn subscribe(
        &mut self,
        realm: Arc<str>,
        filter: &Filter,
        outbox: &Arc<Outbox>,
        (name, shard): (Arc<str>, Option<ShardKey>),
        limit: u64,
    ) -> Arc<Subscriber> {
        let subscriber = self.subscriber(outbox, name, limit, shard);
        self.bind(realm, filter, &subscriber);
        subscriber
    }

    fn subscriber(
        &mut self,
        outbox: &Arc<Outbox>,
        name: Arc<str>,
        limit: u64,
        shard: Option<ShardKey>,
    ) -> Arc<Subscriber> {
        let id = ConsumerId(self.next_subscriber);
        self.next_subscriber += 1;
        Arc::new(Subscriber::new(id, name, Arc::clone(outbox), limit, shard))
    }

    /// An MQTT session's listener: the outbox alone bounds what waits for it.
    fn listener(&mut self, outbox: &Arc<Outbox>) -> Arc<Subscriber> {
        self.subscriber(outbox, LISTENER.into(), u64::MAX, None)
    }

    /// The listener of an MQTT session that goes on.
    fn resume_listener(
        &mut self,
        whole: &DefineSession,
        outbox: &Arc<Outbox>,
    ) -> Option<Arc<Subscriber>> {
        let own = whole.subscriptions.iter().filter(|it| it.share.is_empty());
        let filters: Vec<Filter> = own
            .filter_map(|it| Filter::parse(&it.filter, AddressLimits::CEILING).ok())
            .collect();
        filters.first()?;
        let listener = self.listener(outbox);
        listener.stands_beside(QueueId::new(whole.queue));
        let realm: Arc<str> = whole.realm.as_str().into();
        for filter in &filters {
            self.bind(Arc::clone(&realm), filter, &listener);
        }
        Some(listener)
    }

    fn bind(&mut self, realm: Arc<str>, filter: &Filter, subscriber: &Arc<Subscriber>) {
        let topics = self.topics.entry(realm).or_default();
        topics.bind(filter, Arc::clone(subscriber));
        self.topics_changed = true;
    }

    fn unbind<'a>(
        &mut self,
        realm: &Arc<str>,
        filters: impl IntoIterator<Item = &'a Filter>,
        subscriber: &Arc<Subscriber>,
    ) {
        if let Some(topics) = self.topics.get_mut(realm) {
            for filter in filters {
                topics.unbind(filter, subscriber);
            }
            self.topics_changed = true;
        }
    }

    /// Told at the end of the round, when the routes are out.
    fn answer(&mut self, outbox: &Arc<Outbox>, tag: u64, made: Result<Made, Refusal>) {
        self.answers
            .push((Arc::clone(outbox), Answer { tag, made }));
    }

    fn settle_transient(
        &mut self,
        queue: QueueId,
        settle: &Settle,
        outbox: &Arc<Outbox>,
        tag: u64,
    ) {
        if !self.engine.settle_transient(queue, settle) && tag > 0 {
            outbox.put(|waiting| waiting.failed.push((tag, Refusal::NoSuchDelivery)));
            self.ring_later(outbox);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Deliver {
                consumer,
                queue,
                offset,
                attempt,
                place,
            } => {
                let Some(port) = self.ports.get(&consumer) else {
                    return;
                };
                let name = Arc::clone(&port.name);
                let parcel = Parcel {
                    consumer,
                    name,
                    queue: Some(queue),
                    offset,
                    attempt,
                    place,
                    decoded: None,
                };
                let outbox = Arc::clone(&port.outbox);
                outbox.put(|waiting| waiting.parcels.push_back(parcel));
                self.ring_later(&outbox);
            }
            Effect::Cancelled { consumer } => {
                let Some(port) = self.ports.remove(&consumer) else {
                    return;
                };
                port.outbox
                    .put(|waiting| waiting.cancelled.push((consumer, port.name)));
                self.ring_later(&port.outbox);
            }
            Effect::SessionEnded { session } => {
                // It may have been resumed while the record of its end was on its way.
                if let Some(outbox) = self.sessions.remove(&session) {
                    outbox.end(End::SessionOver);
                }
            }
        }
    }

    fn publish_routes(&mut self) {
        let changed = self.engine.changed_routes();
        if changed.is_none() && !self.topics_changed {
            return;
        }
        self.topics_changed = false;
        let has_new_queues = changed.is_some();
        let current = self.shared.routes.load();
        let queues = changed.unwrap_or_else(|| current.queues.clone());
        self.shared.routes.store(Arc::new(Routes {
            queues,
            topics: self.topics.clone(),
        }));
        if has_new_queues {
            self.move_requests();
        }
    }

    fn ring_later(&mut self, outbox: &Arc<Outbox>) {
        if outbox.mark() {
            self.bells.push(Arc::clone(outbox));
        }
    }
}

/// Whether a session has the will that its client wished for.
fn is_same_will(wish: &AttachOnApply, session: &DefineSession) -> bool {
    let nameless = |will: &Will| Will {
        id: 0,
        ..will.clone()
    };
    session.will.as_ref().map(nameless) == wish.will
}

/// Whether nobody has done anything in it yet.
fn is_unused(session: &DefineSession) -> bool {
    session.seq == 0 && session.queue == 0 && session.subscriptions.is_empty()
}

/// What one look at retained messages may cost: others wait meanwhile.
const PAGE: LookMax = LookMax {
    looked: 1024,
    found: 256,
};
/// Chunks of queues that are gone that one ask looks at.
const DUG_AT_ONCE: usize = 16;
/// Definitions written again after one checkpoint.
const REWRITES_MAX: usize = 4096;
