//! One queue: what waits in it (durable part), and who is to get what next (live part).
//!
//! ```text
//! offsets:   settled … │ returned? in flight? ready … │ cursor ▶ ready … │ next (not yet given)
//! ```
//!
//! Next to be delivered is the lowest offset that was given back, else the first pending one at the cursor: what comes
//! back goes ahead of what is newer, in its old order (MBWS.md I5).
//!
//! Always, each with a test of its name in `engine/tests/`:
//! - `released_messages_come_back_in_their_old_order_ahead_of_newer_ones`
//! - `an_offset_is_in_flight_with_at_most_one_consumer`
//!
//! Not here: records (fold), which consumer's turn it is (dispatch).

mod contents;
mod in_flight;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use contents::{Contents, loaded};
use in_flight::InFlight;
use restante_storage::payload::DefineQueue;
use restante_storage::{Lsn, Offset, QueueId, SessionNo, UnixMillis};

use super::chunk::{Cause, Chunk, Dying, Mark, Ref, SLOTS};
use super::dispatch::ConsumerId;
use super::fold::BindingChange;
use super::handle::{Gauges, QueueHandle};

/// Gives back the bodies of chunks that left memory: the state store, seen from the engine.
pub trait Bodies: Send {
    /// The body's row of a chunk, as the last finished checkpoint holds it.
    fn body(&self, queue: QueueId, chunk: u64) -> Vec<u8>;

    /// Called where a row is not what was written: the state store is to be thrown away and rebuilt from the log.
    /// Does not return, for the engine cannot go on.
    fn damaged(&self, queue: QueueId, chunk: u64) -> !;
}

/// Where the bytes of a waiting message are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the log.
    Log {
        /// Its record.
        lsn: Lsn,
        /// Bytes of the record, less what names its other targets.
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
    /// Deliveries that came back, for whatever reason.
    pub(super) acquired: u32,
    /// Deliveries that a consumer gave back as failed.
    pub(super) failed: u32,
    /// Whether it is given up already.
    pub(super) dying: bool,
}

/// When to look for expired messages in which chunk: each chunk's `armed`, and nothing else.
pub(super) type Expiries = BTreeSet<(UnixMillis, QueueId, u64)>;

/// A queue. Its rows in the state store are made in `rows.rs`.
pub(super) struct Queue {
    pub(super) id: QueueId,
    /// None while replay has met its messages but not yet its definition.
    pub(super) def: Option<Arc<DefineQueue>>,
    /// The oldest LSN that the log must keep for its definition.
    pub(super) home: Lsn,
    /// The offset that the next message gets, as far as the log has told.
    pub(super) next: Offset,
    pub(super) n_messages: u64,
    pub(super) bytes: u64,
    /// The lowest offset that waits, and when it came.
    head: Option<(Offset, UnixMillis)>,
    /// `head` was settled, or is not known: it is looked up when it is wanted.
    head_moved: bool,
    pub(super) live: Live,
    pub(super) handle: Option<Arc<QueueHandle>>,
    pub(super) gauges: Arc<Gauges>,
    /// While there is no definition: bindings that came and went, and when.
    pub(super) meanwhile: Vec<(Lsn, BindingChange)>,
    /// The first offset whose fate is known; none: not even one is. It is the very first unless the log's beginning is
    /// gone.
    pub(super) known_from: Option<Offset>,
    contents: Contents,
    /// Whether it stands in the engine's list of queues for the next checkpoint.
    pub(super) listed: bool,
    /// Chunks for the next checkpoint, those that are no more included.
    listed_chunks: Vec<u64>,
}

/// What ends with the process: who holds what, and what is next.
#[derive(Debug, Default)]
pub(super) struct Live {
    /// Every pending offset below it is in flight, returned or given up.
    pub(super) cursor: Offset,
    pub(super) returned: BTreeSet<Offset>,
    /// Who has what; [`NOBODY`]: a record is being written that says what becomes of it.
    pub(super) in_flight: InFlight,
    /// Taken back from a consumer, and not ready before a record says so: nothing behind it is delivered until then.
    /// May hold offsets of which that is no longer so.
    pub(super) coming_back: BTreeSet<Offset>,
    /// Oldest first.
    pub(super) consumers: Vec<ConsumerId>,
    /// Those of them who are there and have credit.
    pub(super) willing: BTreeSet<ConsumerId>,
    /// Whose turn it is, or was: then the next one's.
    pub(super) turn: ConsumerId,
    pub(super) exclusive: Option<ConsumerId>,
    /// Whether it stands in the engine's list of queues to look at.
    pub(super) touched: bool,
    /// Whether it stands in the engine's list of histories that have more than they may.
    pub(super) surplus: bool,
    /// Whether its definition is being written again.
    pub(super) rewriting: bool,
    /// Whether a record is being written that deletes it: nobody consumes from it any more.
    pub(super) leaving: bool,
}

/// Holds what no consumer has and none may get.
pub(super) const NOBODY: ConsumerId = ConsumerId(0);
/// Holds what an administrator is about to delete or move: as [`NOBODY`], but whatever else becomes of it, it stays there
/// until a record takes it out or it is given back.
pub(super) const CLAIMED: ConsumerId = ConsumerId(u64::MAX);

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
            head: None,
            head_moved: false,
            live: Live {
                cursor: first,
                ..Live::default()
            },
            handle: None,
            gauges: Arc::default(),
            meanwhile: Vec::new(),
            known_from: Some(first),
            contents,
            listed: false,
            listed_chunks: Vec::new(),
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

    /// Takes the list of chunks that changed since the last call, ascending.
    pub(super) fn take_listed_chunks(&mut self) -> Vec<u64> {
        let mut numbers = std::mem::take(&mut self.listed_chunks);
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Takes the history of the message at `offset`, if it waits there, to change it.
    pub(super) fn mark_mut(&mut self, offset: Offset) -> Option<&mut Mark> {
        match &mut self.contents {
            Contents::Durable(chunks) => {
                let number = chunk_of(offset);
                let chunk = chunks.get_mut(&number)?;
                if !chunk.is_pending(slot_of(offset)) {
                    return None;
                }
                if chunk.list() {
                    self.listed_chunks.push(number);
                }
                Some(chunk.mark_mut(slot_of(offset)))
            }
            Contents::Transient(held) => held.get_mut(&offset).map(|held| &mut held.mark),
        }
    }

    /// Takes the next offset to be delivered off the ready ones.
    pub(super) fn next_ready(&mut self, bodies: &dyn Bodies) -> Option<(Offset, Entry)> {
        let first_back = self.first_coming_back();
        let overtakes = |offset: Offset| first_back.is_some_and(|first| first < offset);
        if self.live.returned.first().copied().is_some_and(overtakes) {
            return None;
        }
        if let Some(offset) = self.live.returned.pop_first() {
            let entry = self.entry(offset, bodies);
            return Some((offset, entry.expect("what came back still waits")));
        }
        loop {
            let Some(offset) = self.next_pending(self.live.cursor) else {
                self.live.cursor = self.live.cursor.max(self.next);
                return None;
            };
            if overtakes(offset) {
                return None;
            }
            self.live.cursor = offset.next();
            if !self.live.in_flight.is_empty() && self.live.in_flight.contains(offset) {
                continue;
            }
            if let Some(entry) = self.entry(offset, bodies).filter(|entry| !entry.dying) {
                return Some((offset, entry));
            }
        }
    }

    /// The offset that is to be delivered next, as far as order is concerned.
    pub(super) fn next_in_line(&self) -> Option<Offset> {
        if let Some(offset) = self.live.returned.first() {
            return Some(*offset);
        }
        let mut from = self.live.cursor;
        while let Some(offset) = self.next_pending(from) {
            if !self.live.in_flight.contains(offset) && self.dying(offset).is_none() {
                return Some(offset);
            }
            from = offset.next();
        }
        None
    }

    /// The lowest offset that is on its way back. The record that settles it makes the queue be looked at again.
    pub(super) fn first_coming_back(&mut self) -> Option<Offset> {
        while let Some(offset) = self.live.coming_back.first().copied() {
            if self.live.in_flight.get(offset) == Some(NOBODY) {
                return Some(offset);
            }
            self.live.coming_back.pop_first();
        }
        None
    }

    /// A pending message is nobody's any more: ready, unless it is given up.
    pub(super) fn make_ready(
        &mut self,
        offset: Offset,
        bodies: &dyn Bodies,
        expiries: &mut Expiries,
    ) {
        self.live.in_flight.remove(offset);
        let Some(entry) = self.entry(offset, bodies).filter(|entry| !entry.dying) else {
            return;
        };
        if offset < self.live.cursor {
            self.live.returned.insert(offset);
        }
        if let Some(at) = entry.expires {
            self.arm(chunk_of(offset), at, expiries);
        }
    }

    /// Why a message is not to be delivered but to be given up, if so.
    pub(super) fn over(&self, entry: &Entry, now: UnixMillis) -> Option<Cause> {
        if self.is_exhausted(entry.failed) {
            return Some(Cause::MaxAttempts);
        }
        let expiry = self.expiry(entry.time, entry.expires);
        expiry.is_some_and(|at| at <= now).then_some(Cause::Expired)
    }

    /// Why a message that waits at `offset` is given up, if it is.
    pub(super) fn dying(&self, offset: Offset) -> Option<&Dying> {
        let chunk = self.chunks()?.get(&chunk_of(offset))?;
        chunk.mark(slot_of(offset))?.dying.as_ref()
    }

    /// Whether a message that failed so often is to be given up.
    pub(super) fn is_exhausted(&self, failed: u32) -> bool {
        let attempts_max = self.def.as_ref().map_or(0, |def| def.max_attempts);
        attempts_max > 0 && failed >= attempts_max
    }

    /// The session whose own queue it is.
    pub(super) fn owner(&self) -> Option<SessionNo> {
        let owner = self.def.as_ref().map_or(0, |def| def.session);
        (owner > 0).then(|| SessionNo::new(owner))
    }

    /// Whether it has a dead-letter address.
    pub(super) fn has_dead_letter(&self) -> bool {
        let def = self.def.as_ref();
        def.is_some_and(|def| def.dead_letter.is_some())
    }

    /// Waiting messages that failed too often and are not given up yet.
    pub(super) fn exhausted(&self) -> Vec<Offset> {
        let chunks = self.chunks().into_iter().flatten();
        chunks
            .flat_map(|(number, chunk)| {
                let marks = chunk.marks();
                marks
                    .filter(|(_, mark)| mark.dying.is_none() && self.is_exhausted(mark.failed))
                    .map(|(slot, _)| offset_of(*number, slot))
            })
            .collect()
    }

    /// Makes the engine look for expired messages in a chunk at `at`, if not before.
    fn arm(&mut self, number: u64, at: UnixMillis, expiries: &mut Expiries) {
        let id = self.id;
        let chunk = self.chunks_mut().and_then(|chunks| chunks.get_mut(&number));
        if let Some(chunk) = chunk {
            arm(chunk, id, number, at, expiries);
        }
    }

    /// The chunk with its references in memory.
    pub(super) fn resident(&mut self, number: u64, bodies: &dyn Bodies) -> Option<&mut Chunk> {
        let id = self.id;
        let chunk = self.chunks_mut()?.get_mut(&number)?;
        loaded(chunk, id, number, bodies);
        Some(chunk)
    }

    /// The lowest offset that waits, and when it came.
    pub(super) fn head(&mut self, bodies: &dyn Bodies) -> Option<(Offset, UnixMillis)> {
        if std::mem::take(&mut self.head_moved) {
            let from = self.head.map_or(Offset::ZERO, |(offset, _)| offset);
            let first = self.next_pending(from);
            self.head = first.and_then(|offset| Some((offset, self.entry(offset, bodies)?.time)));
        }
        self.head
    }

    /// The head as the state store has it; none: it must be looked up.
    pub(super) fn load_head(&mut self, head: Option<(Offset, UnixMillis)>) {
        self.head = head;
        self.head_moved = head.is_none() && self.n_messages > 0;
    }

    /// Whether it gives no messages to consumers for now.
    pub(super) fn is_paused(&self) -> bool {
        self.def.as_ref().is_some_and(|def| def.paused.is_some())
    }

    /// Whether it keeps a history: nobody gets anything from it.
    pub(super) fn is_history(&self) -> bool {
        self.def.as_ref().is_some_and(|def| def.history)
    }

    /// Whether it keeps a history, and that would be more than it may with so many messages and bytes.
    pub(super) fn is_surplus(&self, n_messages: u64, bytes: u64) -> bool {
        let exceeds = |number: u64, most: u64| most > 0 && number > most;
        self.def.as_ref().is_some_and(|def| {
            def.history && (exceeds(n_messages, def.max_messages) || exceeds(bytes, def.max_bytes))
        })
    }

    /// Whether it has more than a history may.
    pub(super) fn has_surplus(&self) -> bool {
        self.is_surplus(self.n_messages, self.bytes)
    }

    /// Whether what is known of a chunk's messages is in memory.
    pub(super) fn is_resident(&self, number: u64) -> bool {
        let chunk = self.chunks().and_then(|chunks| chunks.get(&number));
        chunk.is_none_or(Chunk::is_resident)
    }

    /// Lets a chunk that was read back for a look leave memory again.
    pub(super) fn let_go(&mut self, number: Option<u64>) {
        let chunks = self.chunks_mut();
        let chunk = number.and_then(|number| chunks?.get_mut(&number));
        if let Some(chunk) = chunk.filter(|chunk| !chunk.body_dirty && chunk.is_resident()) {
            chunk.evict();
        }
    }

    /// When a message that was taken at `time` and asked for `expires` is gone from this queue.
    fn expiry(&self, time: UnixMillis, expires: Option<UnixMillis>) -> Option<UnixMillis> {
        let ttl = self.def.as_ref().map_or(0, |def| def.ttl_ms);
        let by_queue = (ttl > 0).then(|| time.saturating_add(ttl));
        match (by_queue, expires) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// What limits look at: with every message.
    pub(super) fn publish_depth(&self) {
        self.gauges
            .messages
            .store(self.n_messages, Ordering::Relaxed);
        self.gauges.bytes.store(self.bytes, Ordering::Relaxed);
    }

    /// What only listings look at: once in a round.
    pub(super) fn publish_gauges(&mut self, bodies: &dyn Bodies) {
        self.publish_depth();
        let oldest = self.head(bodies).map_or(0, |(_, time)| time.get().max(1));
        for (gauge, value) in [
            (&self.gauges.in_flight, self.live.in_flight.len() as u64),
            (&self.gauges.consumers, self.live.consumers.len() as u64),
            (&self.gauges.next, self.next.get()),
            (&self.gauges.oldest, oldest),
        ] {
            gauge.store(value, Ordering::Relaxed);
        }
    }
}

/// Makes the engine look for expired messages in a chunk at `at`, if not before.
pub(super) fn arm(
    chunk: &mut Chunk,
    id: QueueId,
    number: u64,
    at: UnixMillis,
    expiries: &mut Expiries,
) {
    let armed = chunk.armed();
    if armed.is_some_and(|armed| armed <= at) {
        return;
    }
    if let Some(armed) = armed {
        expiries.remove(&(armed, id, number));
    }
    expiries.insert((at, id, number));
    chunk.arm(Some(at));
}

pub(super) fn chunk_of(offset: Offset) -> u64 {
    offset.get() / SLOTS
}

pub(super) fn slot_of(offset: Offset) -> u64 {
    offset.get() % SLOTS
}

/// The offset of a chunk's slot.
pub(super) fn offset_of(number: u64, slot: u64) -> Offset {
    Offset::new(number * SLOTS + slot)
}
