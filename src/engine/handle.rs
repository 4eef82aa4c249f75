//! What everybody may know of a queue without asking the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use restante_storage::QueueId;

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
    /// Messages that wait, as of the last record applied.
    pub messages: AtomicU64,
    /// Bytes that wait, as of the last record applied.
    pub bytes: AtomicU64,
}

impl QueueHandle {
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
        (self.max_messages > 0 && self.messages.load(Ordering::Relaxed) >= self.max_messages)
            || (self.max_bytes > 0 && self.bytes.load(Ordering::Relaxed) >= self.max_bytes)
    }
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
