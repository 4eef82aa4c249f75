//! What waits in a queue: in chunks, or in memory with its bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use restante_storage::{Offset, QueueId, UnixMillis};

use super::super::chunk::{Chunk, Damaged, Mark};
use super::{Bodies, Entry, Expiries, Place, Queue, Ref, arm, chunk_of, offset_of, slot_of};

/// What waits.
#[derive(Debug)]
pub(super) enum Contents {
    /// In the log: by chunk number.
    Durable(BTreeMap<u64, Chunk>),
    /// In memory.
    Transient(BTreeMap<Offset, Held>),
}

/// A message of a transient queue.
#[derive(Debug, Clone)]
pub(super) struct Held {
    record: Bytes,
    time: UnixMillis,
    expires: Option<UnixMillis>,
    pub(super) mark: Mark,
}

impl Queue {
    /// Puts a message of the log at its offset.
    pub(in crate::engine) fn push(
        &mut self,
        offset: Offset,
        it: Ref,
        bodies: &dyn Bodies,
        expiries: &mut Expiries,
    ) {
        let Contents::Durable(chunks) = &mut self.contents else {
            return;
        };
        let number = chunk_of(offset);
        let chunk = chunks.entry(number).or_insert_with(Chunk::new);
        loaded(chunk, self.id, number, bodies);
        chunk.set(slot_of(offset), it);
        if let Some(at) = it.expires {
            arm(chunk, self.id, number, at, expiries);
        }
        if chunk.list() {
            self.listed_chunks.push(number);
        }
        if self.n_messages == 0 {
            (self.head, self.head_moved) = (Some((offset, it.time)), false);
        }
        self.n_messages += 1;
        self.bytes += u64::from(it.bytes);
        self.publish_depth();
    }

    /// Offsets up to `next` are given, whatever became of their messages.
    pub(in crate::engine) fn advance(&mut self, next: Offset, expiries: &mut Expiries) {
        if next <= self.next {
            return;
        }
        let (before, after) = (chunk_of(self.next), chunk_of(next));
        self.next = next;
        if before < after {
            self.drop_if_empty(before, expiries);
        }
    }

    /// An empty chunk goes, unless it still grows.
    fn drop_if_empty(&mut self, number: u64, expiries: &mut Expiries) {
        let Contents::Durable(chunks) = &mut self.contents else {
            return;
        };
        let Some(chunk) = chunks.get_mut(&number).filter(|it| it.n_pending() == 0) else {
            return;
        };
        if chunk.list() {
            self.listed_chunks.push(number);
        }
        if let Some(armed) = chunk.armed() {
            expiries.remove(&(armed, self.id, number));
        }
        chunks.remove(&number);
    }

    /// Puts a message that lives in memory at the end.
    pub(in crate::engine) fn push_held(
        &mut self,
        record: Bytes,
        time: UnixMillis,
        expires: Option<UnixMillis>,
    ) {
        let Contents::Transient(held) = &mut self.contents else {
            return;
        };
        if self.n_messages == 0 {
            (self.head, self.head_moved) = (Some((self.next, time)), false);
        }
        self.n_messages += 1;
        self.bytes += record.len() as u64;
        let mark = Mark::default();
        let it = Held {
            record,
            time,
            expires,
            mark,
        };
        held.insert(self.next, it);
        self.next = self.next.next();
        self.publish_depth();
    }

    pub(in crate::engine) fn is_pending(&self, offset: Offset) -> bool {
        match &self.contents {
            Contents::Durable(chunks) => chunks
                .get(&chunk_of(offset))
                .is_some_and(|chunk| chunk.is_pending(slot_of(offset))),
            Contents::Transient(held) => held.contains_key(&offset),
        }
    }

    /// The message at `offset`, if it waits there.
    pub(in crate::engine) fn entry(
        &mut self,
        offset: Offset,
        bodies: &dyn Bodies,
    ) -> Option<Entry> {
        let (place, time, expires, mark) = match &mut self.contents {
            Contents::Durable(chunks) => {
                let (number, slot) = (chunk_of(offset), slot_of(offset));
                let chunk = chunks.get_mut(&number).filter(|it| it.is_pending(slot))?;
                loaded(chunk, self.id, number, bodies);
                let it = chunk.get(slot)?;
                let place = Place::Log {
                    lsn: it.lsn,
                    bytes: it.bytes,
                };
                (place, it.time, it.expires, chunk.mark(slot))
            }
            Contents::Transient(held) => {
                let it = held.get(&offset)?;
                let place = Place::Memory(it.record.clone());
                (place, it.time, it.expires, Some(&it.mark))
            }
        };
        Some(Entry {
            place,
            time,
            expires,
            acquired: mark.map_or(0, |mark| mark.acquired),
            failed: mark.map_or(0, |mark| mark.failed),
            dying: mark.is_some_and(|mark| mark.dying.is_some()),
        })
    }

    /// Takes a pending message out for good; gives its reference, where it has one in the log.
    pub(in crate::engine) fn take(
        &mut self,
        offset: Offset,
        bodies: &dyn Bodies,
        expiries: &mut Expiries,
    ) -> Option<Option<Ref>> {
        let it = match &mut self.contents {
            Contents::Durable(chunks) => {
                let (number, slot) = (chunk_of(offset), slot_of(offset));
                let chunk = chunks.get_mut(&number).filter(|it| it.is_pending(slot))?;
                loaded(chunk, self.id, number, bodies);
                let it = chunk.get(slot);
                chunk.clear(slot);
                if chunk.list() {
                    self.listed_chunks.push(number);
                }
                let done = chunk.n_pending() == 0;
                self.bytes -= it.map_or(0, |it| u64::from(it.bytes));
                if done && number < chunk_of(self.next) {
                    self.drop_if_empty(number, expiries);
                }
                it
            }
            Contents::Transient(held) => {
                self.bytes -= held.remove(&offset)?.record.len() as u64;
                None
            }
        };
        self.n_messages -= 1;
        if self.n_messages == 0 {
            (self.head, self.head_moved) = (None, false);
        } else if self.head.is_some_and(|(head, _)| head == offset) {
            self.head_moved = true;
        }
        self.live.in_flight.remove(offset);
        if !self.live.returned.is_empty() {
            self.live.returned.remove(&offset);
        }
        self.publish_depth();
        Some(it)
    }

    /// The first pending offset at or after `from`, whatever its state.
    pub(in crate::engine) fn next_pending(&self, from: Offset) -> Option<Offset> {
        match &self.contents {
            Contents::Durable(chunks) => {
                let (number, slot) = (chunk_of(from), slot_of(from));
                let here = chunks
                    .get(&number)
                    .and_then(|chunk| chunk.next_pending(slot));
                if let Some(slot) = here {
                    return Some(offset_of(number, slot));
                }
                chunks.range(number + 1..).find_map(|(number, chunk)| {
                    chunk.next_pending(0).map(|slot| offset_of(*number, slot))
                })
            }
            Contents::Transient(held) => held.range(from..).next().map(|(offset, _)| *offset),
        }
    }

    /// Messages in memory whose own time is up, ascending.
    pub(in crate::engine) fn held_expired(&self, now: UnixMillis) -> Vec<Offset> {
        let Contents::Transient(held) = &self.contents else {
            return Vec::new();
        };
        held.iter()
            .filter(|(offset, it)| {
                it.expires.is_some_and(|at| at <= now) && !self.live.in_flight.contains(**offset)
            })
            .map(|(offset, _)| *offset)
            .collect()
    }
}

/// Sees to it that a chunk's references are in memory.
pub(super) fn loaded(chunk: &mut Chunk, id: QueueId, number: u64, bodies: &dyn Bodies) {
    if !chunk.is_resident()
        && let Err(Damaged) = chunk.load(&bodies.body(id, number))
    {
        bodies.damaged(id, number);
    }
}
