//! An outbox: what the engine's thread leaves for one client, and its session's task fetches.
//!
//! ```text
//! engine thread ─▶ { parcels, applied serial, refusals, answers, end } ─ one wake-up ─▶ Attachment::drain
//! ```
//!
//! A parcel names a message; its body stays in the log until there is room to send it. How many parcels wait is bounded
//! by credit: of queues by what the attachment has asked the engine for, of topics by [`TOPIC_PARCELS_MAX`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use restante_storage::{Offset, QueueId};
use tokio::sync::Notify;

use super::call::End;
use crate::engine::{ConsumerId, Place, QueueHandle};
use crate::refusal::Refusal;

/// Parcels of topics that may wait in one outbox; what comes on top is dropped and counted.
const TOPIC_PARCELS_MAX: usize = 16_384;
/// Bytes of them.
const TOPIC_BYTES_MAX: usize = 8 << 20;

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
    Consumer(ConsumerId, QueueId),
    /// A temporary queue.
    Queue(Arc<QueueHandle>),
    /// A consumer of a topic.
    Subscriber(Arc<Subscriber>),
}

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
    pub(super) end: Option<End>,
}

/// The place between the engine's thread and one session's task.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    bell: Notify,
    /// Whether the bell is to be rung at the end of the engine's round.
    marked: AtomicBool,
    /// Held while batches go to the log.
    pub(super) gate: Mutex<()>,
    /// Set, with the gate held, once the session has gone to another socket: nothing more goes to the log.
    closed: AtomicBool,
}

impl Outbox {
    /// Changes what waits, without waking anybody yet.
    pub(super) fn put<R>(&self, change: impl FnOnce(&mut Waiting) -> R) -> R {
        change(&mut self.waiting.lock())
    }

    /// Whether this is the first mark since the bell was last rung: then it must be rung after the round.
    pub(super) fn mark(&self) -> bool {
        !self.marked.swap(true, Ordering::Relaxed)
    }

    /// Wakes the session's task.
    pub(super) fn ring(&self) {
        self.marked.store(false, Ordering::Relaxed);
        self.bell.notify_one();
    }

    /// Waits for the bell. Cancel-safe: a ring that nobody waited for is kept.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Ends the attachment from the broker's side; the first reason counts.
    pub(super) fn end(&self, why: End) {
        self.put(|waiting| {
            waiting.end.get_or_insert(why);
        });
        self.ring();
    }

    /// Ends it because its session goes on elsewhere; from here on it hands nothing to the log.
    pub(super) fn take_over(&self) {
        {
            let _nobody_submits_meanwhile = self.gate.lock();
            self.closed.store(true, Ordering::Release);
        }
        self.end(End::TakenOver);
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

/// A consumer of a topic: gets what is sent while it listens and has credit.
#[derive(Debug)]
pub(crate) struct Subscriber {
    id: ConsumerId,
    name: Arc<str>,
    outbox: Arc<Outbox>,
    limit: AtomicU64,
    sent: AtomicU64,
}

impl Subscriber {
    pub(super) fn new(id: ConsumerId, name: Arc<str>, outbox: Arc<Outbox>, limit: u64) -> Self {
        Subscriber {
            id,
            name,
            outbox,
            limit: limit.into(),
            sent: 0.into(),
        }
    }

    pub(super) fn credit(&self, limit: u64) {
        self.limit.fetch_max(limit, Ordering::Relaxed);
    }

    /// Leaves an encoded record for it, if it has credit and room; whether it did. Rings no bell.
    pub(super) fn offer(&self, record: &Bytes) -> bool {
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
            });
            true
        })
    }

    pub(super) fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
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
