//! Errands: what the engine cannot do itself, because only the log changes durable state. The broker's keeper fetches
//! them and writes the records that do it.

mod rewrites;
mod surplus;

use restante_storage::payload::{
    DefineQueue, DefineSession, DeleteQueue, EndSession, Envelope, Settle,
};
use restante_storage::{Offset, QueueId, UnixMillis};

use super::chunk::Cause;
use super::queue::{CLAIMED, Place};
use super::session::Session;
use super::wills::DueWill;
use super::{ConfigKey, Engine, RetainAgain, is_transient};

/// A record that the engine wants written.
#[derive(Debug, Clone, PartialEq)]
pub enum Errand {
    /// Messages came back, or are given up (kind `Settle`).
    Settle(Settle),
    /// A message goes to its queue's dead-letter address (kind `Enqueue` with a source).
    Move(Move),
    /// A session's time is up (kind `EndSession`).
    End(EndSession),
    /// A will is to be published or given up (kind `Enqueue` or `Retain` with a source).
    Will(Box<DueWill>),
    /// A queue's definition is to be written again, so that its segment may go (kind `DefineQueue`, its floor stamped).
    Queue(DefineQueue),
    /// A session is to be written again, so that its segment may go (kind `DefineSession`).
    Session(Box<DefineSession>),
    /// Documents are to be written again, so that their segments may go (kind `Config`, by its only writer).
    Config(Vec<ConfigKey>),
    /// A queue is to go (kind `DeleteQueue`).
    Delete(DeleteQueue),
    /// A message that is kept at its address is to be written again, so that its segment may go (kind `Retain`).
    Retain(RetainAgain),
    /// One has expired (kind `Retain`, without a body).
    Unretain(Envelope),
}

/// A message on its way to the dead-letter address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The queue that gives it up.
    pub queue: QueueId,
    /// Its realm.
    pub realm: std::sync::Arc<str>,
    /// Its name.
    pub name: std::sync::Arc<str>,
    /// The message's offset there.
    pub offset: Offset,
    /// Where its bytes are.
    pub place: Place,
    /// Where it is to go.
    pub address: String,
    /// Why.
    pub cause: Cause,
    /// The consumer's words.
    pub reason: Option<String>,
    /// How often it was delivered and came back, for whatever reason.
    pub acquired: u32,
    /// How often a consumer gave it back as failed.
    pub failed: u32,
}

/// Chunks of queues that are gone that one call looks at: each may be a read of the state store.
const DUG_MAX: usize = 16;
/// Offsets that one record may name: bounds the record.
const OFFSETS_MAX: usize = 4096;

impl Engine {
    /// Takes what is to be written now, at most about `limit` records. Call again while it gives any. Everything is
    /// given once: each record must get to the log, or for a [`Move`] [`Engine::move_failed`] be called.
    pub fn take_errands(&mut self, now: UnixMillis, limit: usize) -> Vec<Errand> {
        self.take(now, limit, true)
    }

    /// The same without looking for what is due by the clock, unless the last look left some: whoever rings does not have
    /// all queues and sessions looked at.
    pub fn take_news(&mut self, now: UnixMillis, limit: usize) -> Vec<Errand> {
        self.take(now, limit, false)
    }

    fn take(&mut self, now: UnixMillis, limit: usize, due: bool) -> Vec<Errand> {
        let mut errands = Vec::new();
        if due {
            self.collect_expired(now);
        } else if self.more_expired {
            self.expire_in_chunks(now);
        }
        let lost = std::mem::take(&mut self.lost);
        settle_errands(lost, &mut errands, |it| &mut it.returned);
        self.surplus_errands(&mut errands);
        self.give_up_errands(&mut errands);
        self.move_errands(limit, &mut errands);
        self.will_errands(due.then_some(now), limit, &mut errands);
        if due {
            self.end_errands(now, limit, &mut errands);
            self.linger_errands(now, &mut errands);
            self.retained_errands(now, limit.saturating_sub(errands.len()), &mut errands);
        }
        self.dig(DUG_MAX);
        errands
    }

    /// Whether there is anything to be written that does not merely wait for its time.
    pub fn has_errands(&self) -> bool {
        !self.lost.is_empty()
            || !self.given_up.is_empty()
            || self.dying.len() > self.moving.len()
            || !self.buried.is_empty()
            || !self.wills_due.is_empty()
            || !self.surplus.is_empty()
            || self.more_expired
    }

    /// How many messages were dropped since the last call, by queue and why.
    pub fn take_dropped(&mut self) -> Vec<(QueueId, Cause)> {
        std::mem::take(&mut self.dropped)
    }

    /// Messages that are over: to the dead-letter address if their queue has one, else to nowhere.
    fn give_up_errands(&mut self, errands: &mut Vec<Errand>) {
        let (mut expired, mut exhausted, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        let mut unreadable = Vec::new();
        for (id, offset, cause) in std::mem::take(&mut self.given_up) {
            if is_transient(id) {
                self.drop_held(id, offset, cause);
            } else if cause == Cause::Unreadable {
                unreadable.push((id, offset));
            } else if self.queues.get(&id).is_none_or(|it| !it.has_dead_letter()) {
                dropped.push((id, offset));
            } else if cause == Cause::MaxAttempts {
                exhausted.push((id, offset));
            } else {
                expired.push((id, offset));
            }
        }
        settle_errands(expired, errands, |it| &mut it.expired);
        settle_errands(exhausted, errands, |it| &mut it.exhausted);
        settle_errands(dropped, errands, |it| &mut it.dropped);
        settle_errands(unreadable, errands, |it| &mut it.unreadable);
    }

    fn move_errands(&mut self, limit: usize, errands: &mut Vec<Errand>) {
        let waiting: Vec<(QueueId, Offset)> = self
            .dying
            .iter()
            .filter(|key| !self.moving.contains(key) && !self.is_claimed(**key))
            .take(limit)
            .copied()
            .collect();
        let mut dropped = Vec::new();
        for (id, offset) in waiting {
            self.moving.insert((id, offset));
            match self.move_of(id, offset) {
                Some(it) => errands.push(Errand::Move(it)),
                None => dropped.push((id, offset)),
            }
        }
        settle_errands(dropped, errands, |it| &mut it.dropped);
    }

    /// Whether an administrator is about to delete or move it: whatever it was given up for then goes without saying.
    fn is_claimed(&self, (id, offset): (QueueId, Offset)) -> bool {
        let queue = self.queues.get(&id);
        queue.is_some_and(|queue| queue.live.in_flight.get(offset) == Some(CLAIMED))
    }

    fn end_errands(&mut self, now: UnixMillis, limit: usize, errands: &mut Vec<Errand>) {
        let over = self.detached.over(now, limit);
        for session in over {
            let known = self.sessions.get(&session);
            if known.and_then(Session::will).is_some() {
                continue; // that is published first
            }
            let own = known.and_then(Session::queue);
            self.detached.remove(session);
            errands.push(Errand::End(EndSession {
                session: session.get(),
                queue: own.map_or(0, QueueId::get),
            }));
        }
    }

    /// The move of a message that is given up; none: its queue has no dead-letter address.
    fn move_of(&mut self, id: QueueId, offset: Offset) -> Option<Move> {
        let queue = self.queues.get_mut(&id)?;
        let address = queue.def.as_ref()?.dead_letter.clone()?;
        let entry = queue.entry(offset, &*self.bodies)?;
        let handle = queue.handle.as_ref()?;
        let dying = queue.dying(offset)?;
        Some(Move {
            queue: id,
            realm: handle.realm.clone(),
            name: handle.name.clone(),
            offset,
            place: entry.place,
            address,
            cause: dying.cause,
            reason: dying.reason.clone(),
            acquired: entry.acquired,
            failed: entry.failed,
        })
    }

    /// A move could not be made now; it is asked for again.
    pub fn move_failed(&mut self, queue: QueueId, offset: Offset) {
        self.moving.remove(&(queue, offset));
    }
}

/// One `Settle` for each queue and at most [`OFFSETS_MAX`] offsets, which stand in that part of it.
pub(super) fn settle_errands(
    mut offsets: Vec<(QueueId, Offset)>,
    errands: &mut Vec<Errand>,
    part: fn(&mut Settle) -> &mut Vec<u64>,
) {
    offsets.sort_unstable();
    offsets.dedup();
    for of_queue in offsets.chunk_by(|a, b| a.0 == b.0) {
        for some in of_queue.chunks(OFFSETS_MAX) {
            let Some((queue, _)) = some.first() else {
                continue;
            };
            let mut settle = Settle {
                queue: queue.get(),
                ..Settle::default()
            };
            *part(&mut settle) = ranges(some.iter().map(|(_, offset)| *offset));
            errands.push(Errand::Settle(settle));
        }
    }
}

/// Ascending offsets as they stand in a record: first, last, first, last …
pub(crate) fn ranges(offsets: impl Iterator<Item = Offset>) -> Vec<u64> {
    let mut ranges: Vec<u64> = Vec::new();
    for offset in offsets {
        match ranges.last_mut() {
            Some(last) if *last + 1 == offset.get() => *last = offset.get(),
            _ => ranges.extend([offset.get(), offset.get()]),
        }
    }
    ranges
}
