//! One queue: what waits in it (durable part), and who is to get what next (live part).
//!
//!     offsets:   settled … │ returned? in flight? ready … │ cursor ▶ ready … │ next (not yet given)
//!
//! Next to be delivered is the lowest offset that was given back, else the first pending one at the cursor: what comes
//! back goes ahead of what is newer, in its old order (MBWS.md I5).
//!
//! Always, each with a test of its name in `engine/tests.rs`:
//! - `released_messages_come_back_in_their_old_order_ahead_of_newer_ones`
//! - `an_offset_is_in_flight_with_at_most_one_consumer`
//!
//! Not here: records (fold), which consumer's turn it is (dispatch).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use restante_storage::payload::DefineQueue;
use restante_storage::{Lsn, Offset, QueueId, UnixMillis};
use rustc_hash::FxHashMap;

use super::chunk::{Chunk, Damaged, Mark, Ref, SLOTS};
use super::dispatch::ConsumerId;
use super::fold::BindingChange;

/// Gives back the bodies of chunks that left memory: the state store, seen from the engine.
pub trait Bodies: Send {
    /// The body's row of a chunk, as the last finished checkpoint holds it.
    fn body(&self, queue: QueueId, chunk: u64) -> Vec<u8>;

    /// Called where a row is not what was written: the state store is to be thrown away and rebuilt from the log.
    /// Does not return, for the engine cannot go on.
    fn damaged(&self, queue: QueueId, chunk: u64) -> !;
}

/// What everybody may know of a queue without asking the engine: shared with routing snapshots.
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

/// Where the bytes of a waiting message are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the log.
    Log {
        /// Its record.
        lsn: Lsn,
        /// Bytes of the record.
        bytes: u32,
    },
    /// In memory: an encoded record.
    Memory(Bytes),
}

/// A waiting message, as far as the engine knows it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) time: UnixMillis,
    pub(super) expires: Option<UnixMillis>,
}

/// A message of a transient queue.
#[derive(Debug, Clone)]
struct Held {
    record: Bytes,
    time: UnixMillis,
    expires: Option<UnixMillis>,
    mark: Mark,
}

#[derive(Debug)]
enum Contents {
    Durable(BTreeMap<u64, Chunk>),
    Transient(BTreeMap<Offset, Held>),
}

/// A queue. Its rows in the state store are made in `rows.rs`.
pub(super) struct Queue {
    pub(super) id: QueueId,
    /// None while replay has met its messages but not yet its definition.
    pub(super) def: Option<DefineQueue>,
    /// The oldest LSN that the log must keep for its definition.
    pub(super) home: Lsn,
    /// The offset that the next message gets, as far as the log has told.
    pub(super) next: Offset,
    pub(super) n_messages: u64,
    pub(super) bytes: u64,
    pub(super) live: Live,
    pub(super) handle: Option<Arc<QueueHandle>>,
    /// While there is no definition: bindings that came and went, and when.
    pub(super) meanwhile: Vec<(Lsn, BindingChange)>,
    contents: Contents,
}

/// What ends with the process: who holds what, and what is next.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Every pending offset below it is in flight, returned, dying or expiring.
    pub(super) cursor: Offset,
    pub(super) returned: BTreeSet<Offset>,
    pub(super) in_flight: FxHashMap<Offset, ConsumerId>,
    pub(super) consumers: Vec<ConsumerId>,
    pub(super) turn: usize,
    pub(super) exclusive: Option<ConsumerId>,
    /// Whether it stands in the engine's list of queues to look at.
    pub(super) touched: bool,
}

impl Queue {
    pub(super) fn durable(id: QueueId) -> Self {
        Self::with(id, Contents::Durable(BTreeMap::new()))
    }

    pub(super) fn transient(id: QueueId) -> Self {
        Self::with(id, Contents::Transient(BTreeMap::new()))
    }

    fn with(id: QueueId, contents: Contents) -> Self {
        let first = Offset::ZERO.next();
        Queue {
            id,
            def: None,
            home: Lsn::ZERO,
            next: first,
            n_messages: 0,
            bytes: 0,
            live: Live {
                cursor: first,
                ..Live::default()
            },
            handle: None,
            meanwhile: Vec::new(),
            contents,
        }
    }

    pub(super) fn chunks(&self) -> Option<&BTreeMap<u64, Chunk>> {
        match &self.contents {
            Contents::Durable(chunks) => Some(chunks),
            Contents::Transient(_) => None,
        }
    }

    pub(super) fn chunks_mut(&mut self) -> Option<&mut BTreeMap<u64, Chunk>> {
        match &mut self.contents {
            Contents::Durable(chunks) => Some(chunks),
            Contents::Transient(_) => None,
        }
    }

    /// Puts a message of the log at its offset.
    pub(super) fn push(&mut self, offset: Offset, it: Ref) {
        let Contents::Durable(chunks) = &mut self.contents else {
            return;
        };
        chunks
            .entry(chunk_of(offset))
            .or_insert_with(Chunk::new)
            .set(slot_of(offset), it);
        self.n_messages += 1;
        self.bytes += u64::from(it.bytes);
        self.publish_depth();
    }

    /// Puts a message that lives in memory at the end.
    pub(super) fn push_held(
        &mut self,
        record: Bytes,
        time: UnixMillis,
        expires: Option<UnixMillis>,
    ) {
        let Contents::Transient(held) = &mut self.contents else {
            return;
        };
        self.n_messages += 1;
        self.bytes += record.len() as u64;
        held.insert(
            self.next,
            Held {
                record,
                time,
                expires,
                mark: Mark::default(),
            },
        );
        self.next = self.next.next();
        self.publish_depth();
    }

    pub(super) fn is_pending(&self, offset: Offset) -> bool {
        match &self.contents {
            Contents::Durable(chunks) => chunks
                .get(&chunk_of(offset))
                .is_some_and(|chunk| chunk.is_pending(slot_of(offset))),
            Contents::Transient(held) => held.contains_key(&offset),
        }
    }

    pub(super) fn mark(&self, offset: Offset) -> Option<&Mark> {
        match &self.contents {
            Contents::Durable(chunks) => chunks.get(&chunk_of(offset))?.mark(slot_of(offset)),
            Contents::Transient(held) => held.get(&offset).map(|held| &held.mark),
        }
    }

    /// The history of a pending message, to change.
    pub(super) fn mark_mut(&mut self, offset: Offset) -> Option<&mut Mark> {
        if !self.is_pending(offset) {
            return None;
        }
        match &mut self.contents {
            Contents::Durable(chunks) => {
                Some(chunks.get_mut(&chunk_of(offset))?.mark_mut(slot_of(offset)))
            }
            Contents::Transient(held) => held.get_mut(&offset).map(|held| &mut held.mark),
        }
    }

    /// The message at `offset`, if it waits there.
    pub(super) fn entry(&mut self, offset: Offset, bodies: &dyn Bodies) -> Option<Entry> {
        if !self.is_pending(offset) {
            return None;
        }
        match &self.contents {
            Contents::Durable(_) => {
                let it = self.reference(offset, bodies)?;
                let place = Place::Log {
                    lsn: it.lsn,
                    bytes: it.bytes,
                };
                Some(Entry {
                    place,
                    time: it.time,
                    expires: it.expires,
                })
            }
            Contents::Transient(held) => {
                let held = held.get(&offset)?;
                Some(Entry {
                    place: Place::Memory(held.record.clone()),
                    time: held.time,
                    expires: held.expires,
                })
            }
        }
    }

    /// Takes a pending message out for good; gives its reference, where it has one in the log.
    pub(super) fn take(&mut self, offset: Offset, bodies: &dyn Bodies) -> Option<Option<Ref>> {
        if !self.is_pending(offset) {
            return None;
        }
        let it = self.reference(offset, bodies);
        match &mut self.contents {
            Contents::Durable(chunks) => {
                let number = chunk_of(offset);
                let chunk = chunks.get_mut(&number)?;
                chunk.clear(slot_of(offset));
                // The chunk that still grows stays; `next` lies in it.
                if chunk.n_pending() == 0 && number < chunk_of(self.next) {
                    chunks.remove(&number);
                }
                self.bytes -= it.map_or(0, |it| u64::from(it.bytes));
            }
            Contents::Transient(held) => {
                self.bytes -= held
                    .remove(&offset)
                    .map_or(0, |held| held.record.len() as u64);
            }
        }
        self.n_messages -= 1;
        self.live.in_flight.remove(&offset);
        self.live.returned.remove(&offset);
        self.publish_depth();
        Some(it)
    }

    /// The first pending offset at or after `from`, whatever its state.
    pub(super) fn next_pending(&self, from: Offset) -> Option<Offset> {
        match &self.contents {
            Contents::Durable(chunks) => {
                let (number, slot) = (chunk_of(from), slot_of(from));
                let here = chunks
                    .get(&number)
                    .and_then(|chunk| chunk.next_pending(slot))
                    .map(|slot| (number, slot));
                let (number, slot) = here.or_else(|| {
                    let mut later = chunks.range(number + 1..);
                    later.find_map(|(number, chunk)| {
                        chunk.next_pending(0).map(|slot| (*number, slot))
                    })
                })?;
                Some(Offset::new(number * SLOTS + slot))
            }
            Contents::Transient(held) => held.range(from..).next().map(|(offset, _)| *offset),
        }
    }

    /// The chunks that have not left memory, or whose first expiry is to be computed anew, need their references.
    pub(super) fn resident(&mut self, number: u64, bodies: &dyn Bodies) -> Option<&mut Chunk> {
        let id = self.id;
        let Contents::Durable(chunks) = &mut self.contents else {
            return None;
        };
        let chunk = chunks.get_mut(&number)?;
        if !chunk.is_resident()
            && let Err(Damaged) = chunk.load(&bodies.body(id, number))
        {
            bodies.damaged(id, number);
        }
        Some(chunk)
    }

    /// When the message at the head was taken.
    pub(super) fn oldest(&mut self, bodies: &dyn Bodies) -> Option<UnixMillis> {
        let head = self.next_pending(Offset::ZERO)?;
        self.entry(head, bodies).map(|entry| entry.time)
    }

    /// When a message that was taken at `time` and asked for `expires` is gone from this queue.
    pub(super) fn expiry(
        &self,
        time: UnixMillis,
        expires: Option<UnixMillis>,
    ) -> Option<UnixMillis> {
        let ttl = self.def.as_ref().map_or(0, |def| def.ttl_ms);
        let by_queue = (ttl > 0).then(|| time.saturating_add(ttl));
        match (by_queue, expires) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn reference(&mut self, offset: Offset, bodies: &dyn Bodies) -> Option<Ref> {
        self.resident(chunk_of(offset), bodies)?
            .get(slot_of(offset))
    }

    pub(super) fn publish_depth(&self) {
        if let Some(handle) = &self.handle {
            handle.messages.store(self.n_messages, Ordering::Relaxed);
            handle.bytes.store(self.bytes, Ordering::Relaxed);
        }
    }
}

pub(super) fn chunk_of(offset: Offset) -> u64 {
    offset.get() / SLOTS
}

pub(super) fn slot_of(offset: Offset) -> u64 {
    offset.get() % SLOTS
}
