//! An outbox: what the engine's thread leaves for one client, and its session's task fetches.
//!
//! ```text
//! engine thread ─▶ { parcels, applied serial, refusals, answers, end } ─ one wake-up ─▶ Attachment::drain
//! ```
//!
//! A parcel names a message; its body stays in the log until there is room to send it. How many parcels wait is bounded
//! by credit: of queues by what the attachment has asked the engine for, of topics by [`TOPIC_PARCELS_MAX`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use restante_storage::{Lsn, Offset, QueueId};
use tokio::sync::Notify;

use super::call::End;
use super::card::Card;
use super::sp::Joined;
use super::wamp::WampTold;
use crate::engine::{ConsumerId, Place, QueueHandle, RetainedPage};
use crate::message::SharedMessage;
use crate::refusal::Refusal;
use crate::router::{ShardKey, Testament};

/// Parcels of topics that may wait in one outbox; what comes on top is dropped and counted.
const TOPIC_PARCELS_MAX: usize = 16_384;
/// Bytes of them.
const TOPIC_BYTES_MAX: usize = 8 << 20;

/// What the first of those who share a message has decoded of it.
type Decoded = OnceLock<Option<Arc<SharedMessage>>>;

/// A message for listeners: all of them share its record, and what is decoded of it.
#[derive(Debug)]
pub(super) struct Notice {
    record: Bytes,
    decoded: Arc<Decoded>,
}

impl Notice {
    /// Of an encoded record.
    pub(super) fn new(record: Bytes) -> Self {
        Notice {
            record,
            decoded: Arc::default(),
        }
    }
}

/// A message on its way to a consumer, without its bytes.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    /// For whom; another consumer may have the name by now.
    pub(super) consumer: ConsumerId,
    /// The session's name for the consumer.
    pub(super) name: Arc<str>,
    /// None: from a topic.
    pub(super) queue: Option<QueueId>,
    pub(super) offset: Offset,
    pub(super) attempt: u32,
    pub(super) place: Place,
    /// From a topic: shared with others who listen.
    pub(super) decoded: Option<Arc<Decoded>>,
}

/// What became of a wish that only the core can grant.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) tag: u64,
    pub(super) made: Result<Made, Refusal>,
}

/// What the core has made.
#[derive(Debug)]
pub(super) enum Made {
    /// A consumer of a queue.
    Consumer(ConsumerId, QueueId, Meter),
    /// A temporary queue.
    Queue(Arc<QueueHandle>),
    /// A queue in memory that SP clients share.
    Joined(Joined),
    /// A consumer of a topic.
    Subscriber(Arc<Subscriber>),
    /// An MQTT session's listener, with one more filter.
    Listener(Arc<Subscriber>),
    /// Nothing: what was to go is gone.
    Nothing,
    /// Messages that are kept at their addresses.
    Retained(RetainedPage),
    /// Room for one of those.
    Room,
}

/// How many deliveries a consumer's client has said that it may be sent, whatever the engine was told so far.
pub(super) type Meter = Arc<AtomicU64>;

/// Everything that waits for a session's task.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) parcels: VecDeque<Parcel>,
    topic_parcels: usize,
    topic_bytes: usize,
    /// All batches of this client up to this one are applied.
    pub(super) applied: u64,
    pub(super) failed: Vec<(u64, Refusal)>,
    pub(super) answers: Vec<Answer>,
    pub(super) cancelled: Vec<(ConsumerId, Arc<str>)>,
    /// Documents have changed: the client's rights are to be looked at.
    pub(super) rights_changed: bool,
    /// A page of retained messages was told to the listener: behind which address the next one begins, if there is one.
    pub(super) told: Option<Option<Arc<str>>>,
    /// What a WAMP client's session is to hear.
    pub(super) wamp: VecDeque<WampTold>,
    /// It was killed: the last of that is its GOODBYE.
    pub(super) is_killed: bool,
    /// About how many bytes that holds.
    pub(super) told_bytes: usize,
    /// What a WAMP client has left to be published when it is gone.
    pub(super) testaments: Vec<Testament>,
    pub(super) end: Option<End>,
}

/// The place between the engine's thread and one session's task.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Whose it is.
    pub(super) card: Card,
    waiting: Mutex<Waiting>,
    bell: Notify,
    /// Rung with the bell where it does not matter whether the client reads: its rights have changed, or it is over.
    alarm: Notify,
    /// Whether the bell is to be rung at the end of the engine's round.
    marked: AtomicBool,
    /// Held while batches go to the log.
    pub(super) gate: Mutex<()>,
    /// Set, with the gate held, once the session has gone to another socket: nothing more goes to the log.
    closed: AtomicBool,
    /// Set once its client's user, token or realm is gone for good: its session must not stay either.
    forfeit: AtomicBool,
}

impl Outbox {
    pub(super) fn new(card: Card) -> Self {
        Outbox {
            card,
            waiting: Mutex::default(),
            bell: Notify::new(),
            alarm: Notify::new(),
            marked: AtomicBool::new(false),
            gate: Mutex::default(),
            closed: AtomicBool::new(false),
            forfeit: AtomicBool::new(false),
        }
    }

    /// Changes what waits, without waking anybody yet.
    pub(super) fn put<R>(&self, change: impl FnOnce(&mut Waiting) -> R) -> R {
        change(&mut self.waiting.lock())
    }

    /// Whether this is the first mark since the bell was last rung: then it must be rung after the round.
    pub(super) fn mark(&self) -> bool {
        !self.marked.swap(true, Ordering::AcqRel)
    }

    /// Wakes the session's task.
    pub(super) fn ring(&self) {
        // What was put there before it was found marked is there for whom this wakes.
        self.marked.swap(false, Ordering::AcqRel);
        self.bell.notify_one();
    }

    /// Waits for the bell. Cancel-safe: a ring that nobody waited for is kept.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Waits until rights have changed or it is over. Cancel-safe, as [`rung`](Self::rung) is.
    pub(super) async fn alarmed(&self) {
        self.alarm.notified().await;
    }

    /// Wakes the session's task though its client may not read.
    pub(super) fn alert(&self) {
        self.ring();
        self.alarm.notify_one();
    }

    /// Has the attachment look at its client's rights.
    pub(super) fn look_again(&self) {
        self.put(|waiting| waiting.rights_changed = true);
        self.alert();
    }

    /// Ends the attachment from the broker's side; the first reason counts.
    pub(super) fn end(&self, why: End) {
        self.put(|waiting| {
            waiting.end.get_or_insert(why);
        });
        self.alert();
    }

    /// Ends it because its client's user, token or realm is gone, with its session: whoever gets the name later is another.
    pub(super) fn forfeit(&self) {
        self.forfeit.store(true, Ordering::Release);
        self.end(End::Revoked);
    }

    /// Whether its session has to end with it.
    pub(super) fn is_forfeit(&self) -> bool {
        self.forfeit.load(Ordering::Acquire)
    }

    /// Ends it because its session goes on elsewhere; from here on it hands nothing to the log.
    pub(super) fn take_over(&self) {
        self.close(End::TakenOver);
    }

    /// Ends it; from here on it hands nothing to the log.
    pub(super) fn close(&self, why: End) {
        {
            let _nobody_submits_meanwhile = self.gate.lock();
            self.closed.store(true, Ordering::Release);
        }
        self.end(why);
    }

    /// Whether the session has gone to another socket. Exact only with the gate held.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Takes parcels off the front while `more` says so.
    pub(super) fn take_parcels(&self, mut more: impl FnMut(&Parcel) -> bool) -> Vec<Parcel> {
        let mut waiting = self.waiting.lock();
        let mut taken = Vec::new();
        while waiting.parcels.front().is_some_and(&mut more) {
            let Some(parcel) = waiting.parcels.pop_front() else {
                break;
            };
            if parcel.queue.is_none()
                && let Place::Memory(record) = &parcel.place
            {
                waiting.topic_parcels -= 1;
                waiting.topic_bytes -= record.len();
            }
            taken.push(parcel);
        }
        taken
    }
}

/// Bells to be rung once all that came at once is handed over: each of them once.
///
/// Whatever becomes of their owner, they are rung: a bell that is marked and not rung would be silent for ever.
#[derive(Debug, Default)]
pub(super) struct Bells(Vec<Arc<Outbox>>);

impl Bells {
    /// One more, unless it is to be rung anyway.
    pub(super) fn ring_later(&mut self, outbox: &Arc<Outbox>) {
        if outbox.mark() {
            self.0.push(Arc::clone(outbox));
        }
    }

    pub(super) fn ring(&mut self) {
        for outbox in self.0.drain(..) {
            outbox.ring();
        }
        if self.0.capacity() > IDLE_CAPACITY {
            self.0 = Vec::new();
        }
    }
}

impl Drop for Bells {
    fn drop(&mut self) {
        self.ring();
    }
}

/// Room that an idle connection may keep: there are many of them.
const IDLE_CAPACITY: usize = 32;

/// A consumer of a topic: gets what is sent while it listens and has credit.
#[derive(Debug)]
pub(crate) struct Subscriber {
    id: ConsumerId,
    name: Arc<str>,
    outbox: Arc<Outbox>,
    limit: AtomicU64,
    sent: AtomicU64,
    /// The queue that keeps for the same session what it keeps at all: what goes there is not told here as well. 0: none.
    queue: AtomicU64,
    /// Which it is among those of its name that share what has a key; none: it is told of everything.
    shard: Option<ShardKey>,
}

impl Subscriber {
    pub(super) fn new(
        id: ConsumerId,
        name: Arc<str>,
        outbox: Arc<Outbox>,
        limit: u64,
        shard: Option<ShardKey>,
    ) -> Self {
        Subscriber {
            shard,
            id,
            name,
            outbox,
            limit: limit.into(),
            sent: 0.into(),
            queue: 0.into(),
        }
    }

    /// How well it fits a key; none: it shares with nobody.
    pub(super) fn fits(&self, key: ShardKey) -> Option<u64> {
        self.shard.map(|it| key.fit(it))
    }

    /// From now on its session's own queue is that one. To be said before the queue is bound to anything.
    pub(super) fn stands_beside(&self, queue: QueueId) {
        self.queue.store(queue.get(), Ordering::Relaxed);
    }

    /// Its session's own queue; none: [`QueueId::ZERO`].
    pub(super) fn queue(&self) -> QueueId {
        QueueId::new(self.queue.load(Ordering::Relaxed))
    }

    pub(super) fn credit(&self, limit: u64) {
        self.limit.fetch_max(limit, Ordering::Relaxed);
    }

    /// Leaves a message for it, if it has credit and room; whether it did. Rings no bell.
    pub(super) fn offer(&self, notice: &Notice) -> bool {
        let record = &notice.record;
        self.outbox.put(|waiting| {
            let sent = self.sent.load(Ordering::Relaxed);
            if sent >= self.limit.load(Ordering::Relaxed)
                || waiting.topic_parcels >= TOPIC_PARCELS_MAX
                || waiting.topic_bytes >= TOPIC_BYTES_MAX
            {
                return false;
            }
            self.sent.store(sent + 1, Ordering::Relaxed);
            waiting.topic_parcels += 1;
            waiting.topic_bytes += record.len();
            waiting.parcels.push_back(Parcel {
                consumer: self.id,
                name: Arc::clone(&self.name),
                queue: None,
                offset: Offset::new(sent + 1),
                attempt: 1,
                place: Place::Memory(record.clone()),
                decoded: Some(Arc::clone(&notice.decoded)),
            });
            true
        })
    }

    /// Tells it of messages that are kept in the log, whatever room there is: whoever asks for them sees to that.
    pub(super) fn tell(&self, page: RetainedPage) {
        self.outbox.put(|waiting| {
            for it in page.found {
                let sent = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
                waiting.parcels.push_back(Parcel {
                    consumer: self.id,
                    name: Arc::clone(&self.name),
                    queue: None,
                    offset: Offset::new(sent),
                    attempt: 1,
                    place: Place::Log {
                        lsn: Lsn::new(it.lsn),
                        bytes: it.bytes,
                    },
                    decoded: None,
                });
            }
            waiting.told = Some(page.next);
        });
    }

    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// The session's own name for it.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Deliveries that it may still be sent.
    pub(super) fn credit_left(&self) -> u64 {
        let sent = self.sent.load(Ordering::Relaxed);
        self.limit.load(Ordering::Relaxed).saturating_sub(sent)
    }

    pub(super) fn id(&self) -> ConsumerId {
        self.id
    }
}

impl PartialEq for Subscriber {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}
impl Eq for Subscriber {}
impl PartialOrd for Subscriber {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Subscriber {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}
