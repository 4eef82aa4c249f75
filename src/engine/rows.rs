//! The engine's state as rows of the state store: what a checkpoint writes, and how a restart begins from it.
//!
//!     dirty since the last checkpoint ─▶ rows ─▶ one atomic batch, with the LSN up to which it is true
//!
//! Rows (FORMAT.md, "State store"): `m/ckpt`, `q/` queues, `i/` pages that say which chunks a queue has, `b/` their
//! references, `a/` what became of those, `s/` sessions, `g/` waiting messages by segment.
//!
//! Each row that is not a chunk's is covered by a sum in `m/ckpt`, each chunk's by checksums in its `i/` page: a state
//! store that lost or mixed rows is found out and rebuilt from the log.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use restante_storage::payload::{DefineQueue, DefineSession};
use restante_storage::{Lsn, Offset, QueueId, Seq, SessionNo, UnixMillis};
use thiserror::Error;
use uuid::Uuid;

use super::chunk::{Chunk, Damaged, SLOTS, read_varint, varint};
use super::queue::{Queue, chunk_of};
use super::session::Session;
use super::{Bodies, Engine, is_transient};

/// The row that says up to which LSN the others are true.
pub const CKPT_KEY: &[u8] = b"m/ckpt";

/// Chunks in an index page.
const PAGE: u64 = 1024;
/// Segments in a row of live counts.
const SEGMENTS_PAGE: u64 = 1024;

/// What changed since the last checkpoint.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) queues: BTreeSet<QueueId>,
    pub(super) chunks: BTreeSet<(QueueId, u64)>,
    pub(super) sessions: BTreeSet<SessionNo>,
    pub(super) segments: BTreeSet<u64>,
    /// The sum's part for each row that stands in the state store.
    sums: BTreeMap<Vec<u8>, u64>,
    sum: u64,
    generation: u64,
}

/// Rows to put (or, where there is no value, to remove) in one batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The LSN up to which the state is true once they are in.
    pub lsn: Lsn,
    /// Key, and value or none.
    pub rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The state store is not what a checkpoint wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Damage {
    /// A row cannot be read.
    #[error("a row cannot be read")]
    Row,
    /// Rows are missing, or from different checkpoints.
    #[error("rows are missing or do not belong together")]
    Sum,
    /// It belongs to another log.
    #[error("it belongs to another data folder")]
    Foreign,
}

#[derive(Clone, PartialEq, Message)]
struct CheckpointRow {
    #[prost(uint64, tag = "1")]
    lsn: u64,
    #[prost(bytes = "vec", tag = "2")]
    node: Vec<u8>,
    #[prost(uint64, tag = "3")]
    generation: u64,
    #[prost(fixed64, tag = "4")]
    sum: u64,
    #[prost(uint64, tag = "5")]
    segment_bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
struct QueueRow {
    #[prost(message, optional, tag = "1")]
    def: Option<DefineQueue>,
    #[prost(uint64, tag = "2")]
    home: u64,
    #[prost(uint64, tag = "3")]
    next: u64,
    #[prost(uint64, tag = "4")]
    n_messages: u64,
    #[prost(uint64, tag = "5")]
    bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
struct SessionRow {
    #[prost(message, optional, tag = "1")]
    whole: Option<DefineSession>,
    #[prost(uint64, tag = "2")]
    home: u64,
}

impl Engine {
    /// Takes the rows that changed since the last call, true as of what is applied now. `node` is the log's.
    pub fn checkpoint(&mut self, node: Uuid) -> Checkpoint {
        let mut rows = Vec::new();
        let pages = self.chunk_rows(&mut rows);
        for (queue, page) in pages {
            let value = self
                .queues
                .get(&queue)
                .and_then(|queue| page_row(queue, page));
            self.summed(&mut rows, page_key(queue, page), value);
        }
        for id in std::mem::take(&mut self.dirty.queues) {
            let value = self
                .queues
                .get(&id)
                .filter(|queue| queue.def.is_some())
                .map(queue_row);
            self.summed(&mut rows, key(b"q/", id.get()), value);
        }
        for number in std::mem::take(&mut self.dirty.sessions) {
            let value = self.sessions.get(&number).and_then(session_row);
            self.summed(&mut rows, key(b"s/", number.get()), value);
        }
        let segments: BTreeSet<u64> = std::mem::take(&mut self.dirty.segments)
            .into_iter()
            .map(|segment| segment / SEGMENTS_PAGE)
            .collect();
        for page in segments {
            let value = self.segments_row(page);
            self.summed(&mut rows, key(b"g/", page), value);
        }
        self.dirty.generation += 1;
        let row = CheckpointRow {
            lsn: self.applied.get(),
            node: node.as_bytes().to_vec(),
            generation: self.dirty.generation,
            sum: self.dirty.sum,
            segment_bytes: self.segment_bytes,
        };
        rows.push((CKPT_KEY.to_vec(), Some(row.encode_to_vec())));
        Checkpoint {
            lsn: self.applied,
            rows,
        }
    }

    /// Bodies and marks of the chunks that changed; gives the index pages that change with them.
    fn chunk_rows(
        &mut self,
        rows: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>,
    ) -> BTreeSet<(QueueId, u64)> {
        let mut pages = BTreeSet::new();
        for (id, number) in std::mem::take(&mut self.dirty.chunks) {
            pages.insert((id, number / PAGE));
            let chunk = self
                .queues
                .get_mut(&id)
                .and_then(|queue| queue.chunks_mut()?.get_mut(&number));
            let Some(chunk) = chunk else {
                rows.push((chunk_key(b"b/", id, number), None));
                rows.push((chunk_key(b"a/", id, number), None));
                continue;
            };
            if std::mem::take(&mut chunk.body_dirty) {
                let row = chunk.body_row();
                chunk.body_crc = crc32fast::hash(&row);
                rows.push((chunk_key(b"b/", id, number), Some(row)));
            }
            if std::mem::take(&mut chunk.marks_dirty) {
                let row = chunk.marks_row();
                chunk.marks_crc = crc32fast::hash(&row);
                rows.push((chunk_key(b"a/", id, number), Some(row)));
            }
        }
        pages
    }

    fn summed(
        &mut self,
        rows: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>,
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    ) {
        let old = match &value {
            Some(value) => self.dirty.sums.insert(key.clone(), row_sum(&key, value)),
            None => self.dirty.sums.remove(&key),
        };
        let new = value.as_ref().map_or(0, |value| row_sum(&key, value));
        self.dirty.sum = self
            .dirty
            .sum
            .wrapping_sub(old.unwrap_or(0))
            .wrapping_add(new);
        rows.push((key, value));
    }

    fn segments_row(&self, page: u64) -> Option<Vec<u8>> {
        let mut row = Vec::new();
        for (segment, count) in self
            .live_in_segment
            .range(page * SEGMENTS_PAGE..(page + 1) * SEGMENTS_PAGE)
        {
            varint(&mut row, *segment);
            varint(&mut row, *count);
        }
        (!row.is_empty()).then_some(row)
    }

    /// A checkpoint is in the state store: full chunks that nobody works on may leave memory.
    pub fn evict(&mut self) {
        for queue in self.queues.values_mut() {
            let (head, tail) = (chunk_of(queue.live.cursor), chunk_of(queue.next));
            let Some(chunks) = queue.chunks_mut() else {
                continue;
            };
            for (number, chunk) in chunks.iter_mut() {
                if *number != tail
                    && !(head..=head + 1).contains(number)
                    && !chunk.body_dirty
                    && chunk.is_resident()
                {
                    chunk.evict();
                }
            }
        }
    }

    /// An engine that begins with what the state store holds, read through `scan(prefix, visit)` and `get`; none if the
    /// store is empty. Replay goes on from [`Engine::applied`].
    ///
    /// # Errors
    /// [`Damage`]: throw the store away and begin from the log alone.
    pub fn load(
        node: Uuid,
        segment_bytes: u64,
        bodies: Box<dyn Bodies>,
        scan: &mut dyn FnMut(&[u8], &mut dyn FnMut(&[u8], &[u8])),
        get: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<Option<Self>, Damage> {
        let Some(row) = get(CKPT_KEY) else {
            return Ok(None);
        };
        let row = CheckpointRow::decode(row.as_slice()).map_err(|_| Damage::Row)?;
        if row.node != node.as_bytes() || row.segment_bytes != segment_bytes {
            return Err(Damage::Foreign);
        }
        let mut engine = Engine::new(segment_bytes, bodies);
        engine.applied = Lsn::new(row.lsn);
        engine.dirty.generation = row.generation;
        for prefix in [b"q/", b"i/", b"s/", b"g/"] {
            engine.load_rows(prefix, scan, get)?;
        }
        if engine.dirty.sum != row.sum {
            return Err(Damage::Sum);
        }
        Ok(Some(engine))
    }

    fn load_rows(
        &mut self,
        prefix: &[u8; 2],
        scan: &mut dyn FnMut(&[u8], &mut dyn FnMut(&[u8], &[u8])),
        get: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Result<(), Damage> {
        let mut result = Ok(());
        scan(prefix, &mut |key, value| {
            let sum = row_sum(key, value);
            self.dirty.sums.insert(key.to_vec(), sum);
            self.dirty.sum = self.dirty.sum.wrapping_add(sum);
            if result.is_ok() {
                result = self.load_row(prefix, key, value, get).ok_or(Damage::Row);
            }
        });
        result
    }

    fn load_row(
        &mut self,
        prefix: &[u8; 2],
        key: &[u8],
        value: &[u8],
        get: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Option<()> {
        let mut numbers = key.get(2..)?;
        let first = take_u64(&mut numbers)?;
        match prefix {
            b"q/" => self.load_queue(QueueId::new(first), value),
            b"i/" => self.load_page(QueueId::new(first), take_u64(&mut numbers)?, value, get),
            b"s/" => self.load_session(SessionNo::new(first), value),
            _ => self.load_segments(value),
        }
    }

    fn load_queue(&mut self, id: QueueId, value: &[u8]) -> Option<()> {
        let row = QueueRow::decode(value).ok()?;
        let mut queue = Queue::durable(id);
        queue.home = Lsn::new(row.home);
        queue.next = Offset::new(row.next);
        queue.n_messages = row.n_messages;
        queue.bytes = row.bytes;
        self.queues.insert(id, queue);
        self.set_definition(id, row.def?);
        Some(())
    }

    fn load_page(
        &mut self,
        id: QueueId,
        page: u64,
        mut value: &[u8],
        get: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
    ) -> Option<()> {
        while !value.is_empty() {
            let number = page * PAGE + read_varint(&mut value)?;
            let body_crc = u32::try_from(read_varint(&mut value)?).ok()?;
            let marks_crc = u32::try_from(read_varint(&mut value)?).ok()?;
            let expires = read_varint(&mut value)?;
            let expires_min = (expires > 0).then(|| UnixMillis::new(expires));
            let marks = get(&chunk_key(b"a/", id, number))?;
            let chunk = match Chunk::stored(&marks, marks_crc, body_crc, expires_min) {
                Ok(chunk) => chunk,
                Err(Damaged) => return None,
            };
            if let Some(at) = expires_min {
                self.expiries.insert((at, id, number));
            }
            for (slot, mark) in chunk.marks() {
                if mark.dying.is_some() {
                    self.dying.insert((id, Offset::new(number * SLOTS + slot)));
                }
            }
            self.queues
                .get_mut(&id)?
                .chunks_mut()?
                .insert(number, chunk);
        }
        Some(())
    }

    fn load_session(&mut self, number: SessionNo, value: &[u8]) -> Option<()> {
        let row = SessionRow::decode(value).ok()?;
        let mut def = row.whole?;
        self.session_ids
            .insert(Uuid::from_slice(&def.uuid).ok()?, number);
        let mut session = Session::unknown(number);
        session.home = Lsn::new(row.home);
        session.seq = Seq::new(std::mem::take(&mut def.seq));
        session.failures = std::mem::take(&mut def.failures);
        session.consumers = std::mem::take(&mut def.consumers);
        session.def = Some(def);
        self.sessions.insert(number, session);
        Some(())
    }

    fn load_segments(&mut self, mut value: &[u8]) -> Option<()> {
        while !value.is_empty() {
            let segment = read_varint(&mut value)?;
            self.live_in_segment
                .insert(segment, read_varint(&mut value)?);
        }
        Some(())
    }

    /// The whole durable state as rows, in order of keys: two engines that agree here agree in everything durable.
    pub fn all_rows(&mut self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut rows = BTreeMap::new();
        let bodies = &*self.bodies;
        for queue in self
            .queues
            .values_mut()
            .filter(|queue| !is_transient(queue.id))
        {
            let id = queue.id;
            rows.insert(key(b"q/", id.get()), queue_row(queue));
            let numbers: Vec<u64> = queue
                .chunks()
                .map_or_else(Vec::new, |chunks| chunks.keys().copied().collect());
            for number in numbers {
                let Some(chunk) = queue.resident(number, bodies) else {
                    continue;
                };
                rows.insert(chunk_key(b"b/", id, number), chunk.body_row());
                rows.insert(chunk_key(b"a/", id, number), chunk.marks_row());
            }
        }
        for session in self.sessions.values() {
            rows.extend(session_row(session).map(|row| (key(b"s/", session.number.get()), row)));
        }
        for segment in self
            .live_in_segment
            .keys()
            .map(|segment| segment / SEGMENTS_PAGE)
            .collect::<BTreeSet<u64>>()
        {
            rows.extend(
                self.segments_row(segment)
                    .map(|row| (key(b"g/", segment), row)),
            );
        }
        rows
    }

    /// The key of a chunk's body, for [`Bodies`].
    pub fn body_key(queue: QueueId, chunk: u64) -> Vec<u8> {
        chunk_key(b"b/", queue, chunk)
    }

    /// What waits, whatever chunks and histories look like: queue name to (offset, LSN, failed attempts, dying).
    #[cfg(test)]
    pub(super) fn pending(&mut self) -> BTreeMap<std::sync::Arc<str>, Vec<(u64, u64, u32, bool)>> {
        let bodies = &*self.bodies;
        let mut all = BTreeMap::new();
        for queue in self.queues.values_mut() {
            let Some(handle) = queue.handle.clone() else {
                continue;
            };
            let mut waiting = Vec::new();
            let mut from = Offset::ZERO;
            while let Some(offset) = queue.next_pending(from) {
                from = offset.next();
                let lsn = match queue.entry(offset, bodies).map(|entry| entry.place) {
                    Some(super::Place::Log { lsn, .. }) => lsn.get(),
                    _ => 0,
                };
                let mark = queue.mark(offset).cloned().unwrap_or_default();
                waiting.push((offset.get(), lsn, mark.failed, mark.dying.is_some()));
            }
            all.insert(handle.name.clone(), waiting);
        }
        all
    }
}

fn queue_row(queue: &Queue) -> Vec<u8> {
    QueueRow {
        def: queue.def.clone(),
        home: queue.home.get(),
        next: queue.next.get(),
        n_messages: queue.n_messages,
        bytes: queue.bytes,
    }
    .encode_to_vec()
}

fn session_row(session: &Session) -> Option<Vec<u8>> {
    Some(
        SessionRow {
            whole: Some(session.whole()?),
            home: session.home.get(),
        }
        .encode_to_vec(),
    )
}

fn page_row(queue: &Queue, page: u64) -> Option<Vec<u8>> {
    let mut row = Vec::new();
    for (number, chunk) in queue.chunks()?.range(page * PAGE..(page + 1) * PAGE) {
        varint(&mut row, number % PAGE);
        varint(&mut row, u64::from(chunk.body_crc));
        varint(&mut row, u64::from(chunk.marks_crc));
        varint(&mut row, chunk.expires_min().map_or(0, UnixMillis::get));
    }
    (!row.is_empty()).then_some(row)
}

/// A row's part of the sum: sensitive to every bit of key and value, insensitive to order.
fn row_sum(key: &[u8], value: &[u8]) -> u64 {
    let mut first = crc32fast::Hasher::new_with_initial(0x9e37_79b9);
    first.update(key);
    first.update(value);
    let mut second = crc32fast::Hasher::new();
    second.update(value);
    second.update(key);
    (u64::from(first.finalize()) << 32) | u64::from(second.finalize())
}

fn key(prefix: &[u8; 2], number: u64) -> Vec<u8> {
    [prefix.as_slice(), &number.to_be_bytes()].concat()
}

fn page_key(queue: QueueId, page: u64) -> Vec<u8> {
    chunk_key(b"i/", queue, page)
}

fn chunk_key(prefix: &[u8; 2], queue: QueueId, number: u64) -> Vec<u8> {
    [
        prefix.as_slice(),
        &queue.get().to_be_bytes(),
        &number.to_be_bytes(),
    ]
    .concat()
}

fn take_u64(input: &mut &[u8]) -> Option<u64> {
    let (bytes, rest) = input.split_first_chunk::<8>()?;
    *input = rest;
    Some(u64::from_be_bytes(*bytes))
}
