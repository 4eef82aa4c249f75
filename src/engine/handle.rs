//! What everybody may know of a queue without asking the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use restante_storage::payload::DefineQueue;
use restante_storage::{QueueId, UnixMillis};

/// A queue's name, limits and gauges, shared with routing snapshots.
#[derive(Debug)]
pub struct QueueHandle {
    /// Its id.
    pub id: QueueId,
    /// Its realm.
    pub realm: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Messages that may wait; 0: any number.
    pub max_messages: u64,
    /// Bytes that may wait; 0: any number.
    pub max_bytes: u64,
    /// Whether messages leave it out when it is full, in place of being refused.
    pub sheds: bool,
    /// Whether it keeps a history: it is never full, as the oldest go, and nobody consumes from it.
    pub history: bool,
    /// The address whose requests it takes, and nothing else; none: it takes what is sent to what it is bound to.
    pub requests: Option<Arc<str>>,
    /// What holds for it; none: it lives in memory only.
    pub def: Option<Arc<DefineQueue>>,
    /// How it stands, whatever handle one has.
    pub gauges: Arc<Gauges>,
}

/// How a queue stands, for listings and limits. Only the engine writes; numbers of one moment may be a round apart.
#[derive(Debug, Default)]
pub struct Gauges {
    /// Messages that wait, in consumers' hands or not, as of the last record applied.
    pub messages: AtomicU64,
    /// Bytes that wait, as of the last record applied.
    pub bytes: AtomicU64,
    /// Messages that are not to be handed out now: a consumer has them, or a record is being written about them.
    pub in_flight: AtomicU64,
    /// Consumers, present or expected back.
    pub consumers: AtomicU64,
    /// The offset that the next message gets.
    pub next: AtomicU64,
    /// When the message at the head came, in Unix milliseconds; 0: nothing waits.
    pub oldest: AtomicU64,
}

impl Gauges {
    /// When the message at the head came; none: nothing waits.
    pub fn oldest(&self) -> Option<UnixMillis> {
        let oldest = self.oldest.load(Ordering::Relaxed);
        (oldest > 0).then(|| UnixMillis::new(oldest))
    }
}

impl QueueHandle {
    /// Of a queue in the log.
    pub fn durable(id: QueueId, def: Arc<DefineQueue>, gauges: Arc<Gauges>) -> Self {
        QueueHandle {
            id,
            realm: def.realm.as_str().into(),
            name: def.name.as_str().into(),
            max_messages: def.max_messages,
            max_bytes: def.max_bytes,
            sheds: def.sheds,
            history: def.history,
            requests: None,
            def: Some(def),
            gauges,
        }
    }

    /// The bit that tells queues that live in memory from those in the log.
    const TRANSIENT: u64 = 1 << 63;

    /// The id of the `n`th queue that lives in memory only.
    pub fn transient_id(n: u64) -> QueueId {
        QueueId::new(Self::TRANSIENT | n)
    }

    /// Whether its messages live in memory only and end with the process.
    pub fn is_transient(&self) -> bool {
        is_transient(self.id)
    }

    /// Whether it may take no more.
    pub fn is_full(&self) -> bool {
        self.limit_reached().is_some()
    }

    /// The limit that keeps it from taking more, as `QueueSpec` calls it; none: it has room.
    pub fn limit_reached(&self) -> Option<&'static str> {
        if self.history {
            return None;
        }
        let (messages, bytes) = (&self.gauges.messages, &self.gauges.bytes);
        if self.max_messages > 0 && messages.load(Ordering::Relaxed) >= self.max_messages {
            return Some("max_messages");
        }
        (self.max_bytes > 0 && bytes.load(Ordering::Relaxed) >= self.max_bytes)
            .then_some("max_bytes")
    }

    /// Whether it is a session's own: nobody else consumes from it, or changes it.
    pub fn is_owned(&self) -> bool {
        self.def.as_ref().is_some_and(|def| def.session > 0)
    }

    /// What somebody has set, or a client's send or consumer has made: not where the broker has made it for subscriptions
    /// (`$…`), nor of a queue in memory.
    pub fn set_by_somebody(&self) -> Option<&Arc<DefineQueue>> {
        self.def.as_ref().filter(|_| !is_brokers_own(&self.name))
    }

    /// Whether it gives no messages to consumers for now.
    pub fn is_paused(&self) -> bool {
        self.def.as_ref().is_some_and(|def| def.paused.is_some())
    }
}

/// Whether the queue of that name is one that the broker has made for subscriptions: it comes and goes with these.
pub fn is_brokers_own(name: &str) -> bool {
    name.starts_with('$')
}

/// Whether that queue lives in memory only.
pub fn is_transient(id: QueueId) -> bool {
    id.get() & QueueHandle::TRANSIENT != 0
}

impl PartialEq for QueueHandle {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}
impl Eq for QueueHandle {}
impl PartialOrd for QueueHandle {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for QueueHandle {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.id.cmp(&other.id)
    }
}
impl std::hash::Hash for QueueHandle {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}
