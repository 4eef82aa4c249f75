//! The engine's state as rows of the state store: what a checkpoint writes, and how a restart begins from it.
//!
//! ```text
//! dirty since the last checkpoint ─▶ rows ─▶ one atomic batch, with the LSN up to which it is true
//! ```
//!
//! Rows (FORMAT.md, "State store"): `m/ckpt`, `q/` queues, `i/` pages that say which chunks a queue has, `b/` their
//! references, `a/` what became of those, `s/` sessions, `c/` documents, `g/` waiting messages by segment, `r/` messages kept at
//! their addresses.
//!
//! Each row that is not a chunk's is covered by a sum in `m/ckpt`, each chunk's by checksums in its `i/` page: a state
//! store that lost or mixed rows is found out and rebuilt from the log.

mod load;
mod whole;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use load::Scan;
use prost::Message;
use restante_storage::payload::{DefineQueue, DefineSession};
use restante_storage::{Lsn, QueueId, SessionNo, UnixMillis};
use thiserror::Error;
use uuid::Uuid;

use super::chunk::varint;
use super::queue::{Queue, chunk_of};
use super::session::Session;
use super::{Bodies, ConfigKey, Engine, is_transient};

/// The row that says up to which LSN the others are true.
pub const CKPT_KEY: &[u8] = b"m/ckpt";

/// Chunks in an index page.
const PAGE: u64 = 1024;
/// Checkpoints that may be on their way to the state store at once.
const CHECKPOINTS_MAX: usize = 4;

/// What changed since the last checkpoint.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// Each knows its chunks that changed.
    pub(super) queues: Vec<QueueId>,
    /// Queues that are no more, and their chunks.
    pub(super) gone: Vec<(QueueId, Vec<u64>)>,
    pub(super) sessions: Vec<SessionNo>,
    pub(super) config: BTreeSet<ConfigKey>,
    /// The sum's part for each row that stands in the state store.
    sums: BTreeMap<Vec<u8>, u64>,
    sum: u64,
    generation: u64,
    /// The last checkpoints: as of when, and from where on the log was needed then.
    needed: VecDeque<(Lsn, Lsn)>,
}

impl Dirty {
    /// How many checkpoints were made since the store was begun.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// From where on the log was needed at that checkpoint.
    pub(super) fn needed_at(&self, checkpoint: Lsn) -> Option<Lsn> {
        let mut latest_first = self.needed.iter().rev();
        let (_, needed) = latest_first.find(|(lsn, _)| *lsn == checkpoint)?;
        Some(*needed)
    }
}

type Rows = Vec<(Vec<u8>, Option<Vec<u8>>)>;

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
    #[prost(uint64, tag = "6")]
    head: u64,
    #[prost(uint64, tag = "7")]
    oldest: u64,
}

#[derive(Clone, PartialEq, Message)]
struct SessionRow {
    #[prost(message, optional, tag = "1")]
    whole: Option<DefineSession>,
    #[prost(uint64, tag = "2")]
    home: u64,
}

impl CheckpointRow {
    /// What must be right of this row, as a part of the sum.
    fn own_sum(&self) -> u64 {
        let row = CheckpointRow {
            sum: 0,
            ..self.clone()
        };
        row_sum(CKPT_KEY, &row.encode_to_vec())
    }
}

impl Engine {
    /// Takes the rows that changed since the last call, true as of what is applied now. `node` is the log's.
    ///
    /// # Panics
    /// While a log whose beginning is gone is replayed: what that is about is known only at its end.
    pub fn checkpoint(&mut self, node: Uuid) -> Checkpoint {
        assert!(
            !self.past.is_gone(),
            "a checkpoint needs definitions for all that it holds"
        );
        self.dig_all();
        let mut rows = Vec::new();
        for (id, numbers) in std::mem::take(&mut self.dirty.gone) {
            self.gone_rows(id, numbers, &mut rows);
        }
        for id in std::mem::take(&mut self.dirty.queues) {
            self.queue_rows(id, &mut rows);
        }
        for number in std::mem::take(&mut self.dirty.sessions) {
            let session = self.sessions.get_mut(&number);
            let value = session.and_then(|session| {
                session.unlist();
                session_row(session)
            });
            self.summed(&mut rows, key(b"s/", number.get()), value);
        }
        for document in std::mem::take(&mut self.dirty.config) {
            let value = self.config_row(&document);
            self.summed(&mut rows, document.row_key(), value);
        }
        for page in self.segments.take_listed() {
            let value = self.segments.row(page);
            self.summed(&mut rows, key(b"g/", page), value);
        }
        self.retained_rows(&mut rows);
        rows.push((CKPT_KEY.to_vec(), Some(self.checkpoint_row(node))));
        self.retained.checkpointed(self.dirty.generation);
        self.remember_needed(self.applied);
        Checkpoint {
            lsn: self.applied,
            rows,
        }
    }

    /// Nothing half done gets into rows: whoever goes on from them knows nothing of queues that are gone.
    fn dig_all(&mut self) {
        while self.dig(usize::MAX) {}
    }

    fn checkpoint_row(&mut self, node: Uuid) -> Vec<u8> {
        self.dirty.generation += 1;
        let mut row = CheckpointRow {
            lsn: self.applied.get(),
            node: node.as_bytes().to_vec(),
            generation: self.dirty.generation,
            sum: 0,
            segment_bytes: self.segments.bytes(),
        };
        row.sum = self.dirty.sum.wrapping_add(row.own_sum());
        row.encode_to_vec()
    }

    fn remember_needed(&mut self, checkpoint: Lsn) {
        let needed = self.needed_now().min(checkpoint);
        self.dirty.needed.push_back((checkpoint, needed));
        if self.dirty.needed.len() > CHECKPOINTS_MAX {
            self.dirty.needed.pop_front();
        }
    }

    /// A queue's own row, its chunks that changed, and the index pages that change with them.
    fn queue_rows(&mut self, id: QueueId, rows: &mut Rows) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        queue.listed = false;
        let numbers = queue.take_listed_chunks();
        let row = queue_row(queue, &*self.bodies);
        for number in &numbers {
            chunk_rows(queue, *number, rows);
        }
        let mut pages: Vec<u64> = numbers.iter().map(|number| number / PAGE).collect();
        pages.dedup();
        let pages: Vec<_> = pages
            .into_iter()
            .map(|page| (page_key(id, page), page_row(queue, page)))
            .collect();
        for (key, row) in pages {
            self.summed(rows, key, row);
        }
        self.summed(rows, key(b"q/", id.get()), Some(row));
    }

    fn gone_rows(&mut self, id: QueueId, numbers: Vec<u64>, rows: &mut Rows) {
        for number in &numbers {
            rows.push((chunk_key(b"b/", id, *number), None));
            rows.push((chunk_key(b"a/", id, *number), None));
        }
        let pages: BTreeSet<u64> = numbers.iter().map(|number| number / PAGE).collect();
        for page in pages {
            self.summed(rows, page_key(id, page), None);
        }
        self.summed(rows, key(b"q/", id.get()), None);
    }

    /// Of messages that are kept there may be millions: what the sum has of each follows from what the state store has, and is not
    /// in memory.
    fn retained_rows(&mut self, rows: &mut Rows) {
        for (key, old, new) in self.retained.take_changed() {
            let sum = |row: Option<&Vec<u8>>| row.map_or(0, |row| row_sum(&key, row));
            let (stored, now) = (sum(old.as_ref()), sum(new.as_ref()));
            self.dirty.sum = self.dirty.sum.wrapping_sub(stored).wrapping_add(now);
            if old != new {
                rows.push((key, new));
            }
        }
    }

    fn summed(&mut self, rows: &mut Rows, key: Vec<u8>, value: Option<Vec<u8>>) {
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

    /// The last checkpoint is in the state store: full chunks that nobody works on may leave memory. Not while another
    /// one is on its way there.
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

    /// The key of a chunk's body, for [`super::Bodies`].
    pub fn body_key(queue: QueueId, chunk: u64) -> Vec<u8> {
        chunk_key(b"b/", queue, chunk)
    }
}

/// A chunk's body and marks, as far as they changed; removals, where it is no more.
fn chunk_rows(queue: &mut Queue, number: u64, rows: &mut Rows) {
    let id = queue.id;
    let chunk = queue
        .chunks_mut()
        .and_then(|chunks| chunks.get_mut(&number));
    let Some(chunk) = chunk else {
        rows.push((chunk_key(b"b/", id, number), None));
        rows.push((chunk_key(b"a/", id, number), None));
        return;
    };
    chunk.unlist();
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

fn queue_row(queue: &mut Queue, bodies: &dyn Bodies) -> Vec<u8> {
    let head = queue.head(bodies);
    QueueRow {
        def: queue.def.as_deref().cloned(),
        home: queue.home.get(),
        next: queue.next.get(),
        n_messages: queue.n_messages,
        bytes: queue.bytes,
        head: head.map_or(0, |(offset, _)| offset.get()),
        oldest: head.map_or(0, |(_, time)| time.get()),
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
