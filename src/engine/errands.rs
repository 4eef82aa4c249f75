//! Errands: what the engine cannot do itself, because only the log changes durable state. The broker's keeper fetches
//! them and writes the records that do it.

use restante_storage::payload::{DefineQueue, DefineSession, DeleteQueue, EndSession, Settle};
use restante_storage::{Lsn, Offset, QueueId, SessionNo, UnixMillis};

use super::chunk::Cause;
use super::queue::Place;
use super::{Engine, is_transient};

/// A record that the engine wants written.
#[derive(Debug, Clone, PartialEq)]
pub enum Errand {
    /// Messages came back or expired (kind `Settle`).
    Settle(Settle),
    /// A message goes to its queue's dead-letter address (kind `Enqueue` with a source).
    Move(Move),
    /// A session's time is up (kind `EndSession`).
    End(EndSession),
    /// A queue's definition is to be written again, so that its segment may go (kind `DefineQueue`, its floor stamped).
    Queue(DefineQueue),
    /// A session is to be written again, so that its segment may go (kind `DefineSession`).
    Session(DefineSession),
    /// A queue is to go (kind `DeleteQueue`).
    Delete(DeleteQueue),
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

/// A queue as listings show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueReport {
    /// Its realm.
    pub realm: String,
    /// Its name.
    pub name: String,
    /// Whether it is in the log.
    pub durable: bool,
    /// Messages that wait for a consumer.
    pub ready: u64,
    /// Messages in the hands of consumers.
    pub unsettled: u64,
    /// Bytes of both.
    pub bytes: u64,
    /// Consumers, present or expected back.
    pub consumers: u64,
    /// The offset that the next message gets.
    pub next_offset: u64,
    /// When the message at the head was taken.
    pub oldest: Option<UnixMillis>,
    /// Its definition; none for queues in memory.
    pub def: Option<DefineQueue>,
}

/// Offsets that one record may name: bounds the record.
const OFFSETS_MAX: usize = 4096;

impl Engine {
    /// Takes what is to be written now, at most about `limit` records. Call again while it gives any.
    pub fn take_errands(&mut self, now: UnixMillis, limit: usize) -> Vec<Errand> {
        let mut errands = Vec::new();
        self.collect_expired(now, limit * 64);
        let lost = std::mem::take(&mut self.lost);
        settle_errands(lost, &mut errands, |offsets| Settle {
            returned: offsets,
            ..Settle::default()
        });
        let mut expiring = std::mem::take(&mut self.expiring);
        expiring.retain(|(queue, offset)| self.expire_in_memory(*queue, *offset));
        settle_errands(expiring, &mut errands, |offsets| Settle {
            expired: offsets,
            ..Settle::default()
        });
        self.move_errands(limit, &mut errands);
        let over: Vec<SessionNo> = self
            .detached
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(session, _)| *session)
            .take(limit)
            .collect();
        for session in over {
            self.detached.remove(&session);
            errands.push(Errand::End(EndSession {
                session: session.get(),
            }));
        }
        errands
    }

    /// Whether there is anything to be written that does not merely wait for its time.
    pub fn has_errands(&self) -> bool {
        !self.lost.is_empty() || !self.expiring.is_empty() || self.dying.len() > self.moving.len()
    }

    /// How many messages were dropped since the last call, by queue and why.
    pub fn take_dropped(&mut self) -> Vec<(QueueId, Cause)> {
        std::mem::take(&mut self.dropped)
    }

    /// An expired message of a queue in memory goes at once; whether it is one of the log's instead.
    fn expire_in_memory(&mut self, id: QueueId, offset: Offset) -> bool {
        if !is_transient(id) {
            return true;
        }
        if let Some(queue) = self.queues.get_mut(&id)
            && queue.take(offset, &*self.bodies).is_some()
        {
            self.dropped.push((id, Cause::Expired));
        }
        false
    }

    fn move_errands(&mut self, limit: usize, errands: &mut Vec<Errand>) {
        let waiting: Vec<(QueueId, Offset)> = self
            .dying
            .iter()
            .filter(|key| !self.moving.contains(key))
            .take(limit)
            .copied()
            .collect();
        for (id, offset) in waiting {
            if let Some(it) = self.move_of(id, offset) {
                self.moving.insert((id, offset));
                errands.push(Errand::Move(it));
            }
        }
    }

    fn move_of(&mut self, id: QueueId, offset: Offset) -> Option<Move> {
        let queue = self.queues.get_mut(&id)?;
        let place = queue.entry(offset, &*self.bodies)?.place;
        let mark = queue.mark(offset)?;
        let dying = mark.dying.as_ref()?;
        let handle = queue.handle.as_ref()?;
        Some(Move {
            queue: id,
            realm: handle.realm.clone(),
            name: handle.name.clone(),
            offset,
            place,
            address: queue.def.as_ref()?.dead_letter.clone()?,
            cause: dying.cause,
            reason: dying.reason.clone(),
            acquired: mark.acquired,
            failed: mark.failed,
        })
    }

    /// A move could not be made now; it is asked for again.
    pub fn move_failed(&mut self, queue: QueueId, offset: Offset) {
        self.moving.remove(&(queue, offset));
    }

    /// Below this LSN the log holds nothing that is needed, as far as the checkpoint at `checkpointed` covers.
    pub fn needed_from(&self, checkpointed: Lsn) -> Lsn {
        let first_live = self
            .live_in_segment
            .keys()
            .next()
            .map(|segment| Lsn::new(segment * self.segment_bytes));
        let homes = self
            .queues
            .values()
            .filter(|queue| queue.def.is_some() && !is_transient(queue.id))
            .map(|queue| queue.home)
            .chain(self.sessions.values().map(|session| session.home));
        homes.chain(first_live).fold(checkpointed, Lsn::min)
    }

    /// Definitions that alone keep the log from letting go of its oldest segments, which begin at `oldest`: to be
    /// written again.
    pub fn take_rewrites(&mut self, oldest: Lsn, checkpointed: Lsn, limit: usize) -> Vec<Errand> {
        let first_live = self
            .live_in_segment
            .keys()
            .next()
            .map(|segment| Lsn::new(segment * self.segment_bytes));
        let could_go_to = first_live.map_or(checkpointed, |lsn| lsn.min(checkpointed));
        let boundary = Lsn::new(could_go_to.get() / self.segment_bytes * self.segment_bytes);
        if boundary <= oldest {
            return Vec::new();
        }
        let as_of = self.applied.get();
        let queues = self
            .queues
            .values()
            .filter(|queue| queue.home < boundary)
            .filter_map(|queue| {
                let mut def = queue.def.clone()?;
                def.as_of = as_of;
                Some(Errand::Queue(def))
            });
        let sessions = self
            .sessions
            .values()
            .filter(|session| session.home < boundary)
            .filter_map(|session| {
                let mut def = session.whole()?;
                def.as_of = as_of;
                Some(Errand::Session(def))
            });
        queues.chain(sessions).take(limit).collect()
    }

    /// All queues, for listings, in order of realm and name.
    pub fn report(&mut self) -> Vec<QueueReport> {
        let bodies = &*self.bodies;
        let mut reports: Vec<QueueReport> = self
            .queues
            .values_mut()
            .filter_map(|queue| {
                let handle = queue.handle.clone()?;
                let unsettled = queue.live.in_flight.len() as u64;
                Some(QueueReport {
                    realm: handle.realm.to_string(),
                    name: handle.name.to_string(),
                    durable: !handle.is_transient(),
                    ready: queue.n_messages.saturating_sub(unsettled),
                    unsettled,
                    bytes: queue.bytes,
                    consumers: queue.live.consumers.len() as u64,
                    next_offset: queue.next.get(),
                    oldest: queue.oldest(bodies),
                    def: queue.def.clone(),
                })
            })
            .collect();
        reports.sort_by(|a, b| (&a.realm, &a.name).cmp(&(&b.realm, &b.name)));
        reports
    }
}

/// One `Settle` for each queue and at most [`OFFSETS_MAX`] offsets.
fn settle_errands(
    mut offsets: Vec<(QueueId, Offset)>,
    errands: &mut Vec<Errand>,
    settle: impl Fn(Vec<u64>) -> Settle,
) {
    offsets.sort_unstable();
    offsets.dedup();
    for of_queue in offsets.chunk_by(|a, b| a.0 == b.0) {
        for part in of_queue.chunks(OFFSETS_MAX) {
            let Some((queue, _)) = part.first() else {
                continue;
            };
            let mut record = settle(ranges(part.iter().map(|(_, offset)| *offset)));
            record.queue = queue.get();
            errands.push(Errand::Settle(record));
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
