//! Messages: they come, are settled, are given up, and move on.

use std::collections::BTreeSet;

use restante_storage::payload::Settle;
use restante_storage::{Offset, QueueId, RecordRef, Source};

use super::decode;
use crate::engine::chunk::{Cause, Dying, Ref};
use crate::engine::queue::{Bodies, CLAIMED, Expiries, NOBODY, Queue};
use crate::engine::segments::Segments;
use crate::engine::{Engine, is_transient};
use crate::refusal::Refusal;

/// A queue, and what of the engine a message's change also changes.
pub(super) struct Desk<'a> {
    pub(super) queue: &'a mut Queue,
    bodies: &'a dyn Bodies,
    pub(super) expiries: &'a mut Expiries,
    segments: &'a mut Segments,
    dying: &'a mut BTreeSet<(QueueId, Offset)>,
    given_up: &'a mut Vec<(QueueId, Offset, Cause)>,
    dropped: &'a mut Vec<(QueueId, Cause)>,
    /// Queues for the next checkpoint.
    listed: &'a mut Vec<QueueId>,
    /// Queues for the next dispatch.
    touched: &'a mut Vec<QueueId>,
    /// Histories that have more than they may.
    surplus: &'a mut Vec<QueueId>,
    replaying: bool,
}

impl Engine {
    pub(super) fn enqueue(&mut self, record: &RecordRef<'_>, fresh: bool) -> Option<Refusal> {
        let source = record.source().filter(|_| fresh);
        if let Some((session, will)) = source.and_then(Source::will) {
            self.end_will(record.lsn(), session, will);
        } else if let Some(source) = source {
            // Nothing but this record takes a message that is on its way to the dead-letter address, and only one is
            // ever written for it, so it needs no condition: its source may even lie in a part of the log that is gone.
            self.moving.remove(&(source.queue, source.offset));
            if let Some(mut desk) = self.desk(source.queue) {
                desk.take(source.offset);
                desk.done();
            }
        }
        let it = Ref {
            lsn: record.lsn(),
            bytes: share(record),
            time: record.time(),
            expires: record.expires(),
        };
        for (id, offset) in record.targets() {
            let Some(mut desk) = self.desk(id) else {
                continue;
            };
            desk.queue.known_from.get_or_insert(offset);
            if fresh {
                desk.push(offset, it);
            }
            // Numbers are used up whatever becomes of the message.
            desk.queue.advance(offset.next(), desk.expiries);
            desk.done();
        }
        if fresh {
            self.receive(record);
        }
        None
    }

    pub(super) fn settle(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let mut it = decode::<Settle>(record);
        let all = self.settle_queue(QueueId::new(it.queue), &it);
        self.release(record, std::mem::take(&mut it.releasing));
        match Refusal::from_number(it.refusal) {
            Some(refusal) => Some(refusal),
            None => (!all).then_some(Refusal::NoSuchDelivery),
        }
    }

    /// Settles messages of a queue in memory as a `Settle` record would; whether all were there.
    pub fn settle_transient(&mut self, id: QueueId, it: &Settle) -> bool {
        self.settle_queue(id, it)
    }

    /// Whether all that a consumer settled was there.
    fn settle_queue(&mut self, id: QueueId, it: &Settle) -> bool {
        let unknown = self.past.may_have(id);
        let Some(mut desk) = self.desk(id) else {
            return unknown
                || [&it.accepted, &it.released, &it.rejected]
                    .iter()
                    .all(|it| it.is_empty());
        };
        let mut all = desk.each(&it.accepted, Desk::accept);
        all &= desk.each(&it.released, Desk::release);
        let reason = it.reason.as_deref();
        all &= desk.each(&it.rejected, |desk, offset| {
            desk.give_up(offset, Cause::Rejected, reason)
        });
        for (ranges, cause) in [
            (&it.expired, Cause::Expired),
            (&it.exhausted, Cause::MaxAttempts),
            (&it.unreadable, Cause::Unreadable),
        ] {
            desk.each(ranges, |desk, offset| desk.give_up(offset, cause, None));
        }
        desk.each(&it.dropped, Desk::discard);
        desk.each(&it.returned, Desk::give_back);
        desk.done();
        all
    }

    /// Makes messages ready again that came back from a consumer of a queue in memory.
    pub(in crate::engine) fn return_held(&mut self, id: QueueId, offsets: &[Offset]) {
        if let Some(mut desk) = self.desk(id) {
            for offset in offsets {
                desk.give_back(*offset);
            }
            desk.done();
        }
    }

    pub(super) fn desk(&mut self, id: QueueId) -> Option<Desk<'_>> {
        self.admit_queue(id);
        Some(Desk {
            queue: self.queues.get_mut(&id)?,
            bodies: &*self.bodies,
            expiries: &mut self.expiries,
            segments: &mut self.segments,
            dying: &mut self.dying,
            given_up: &mut self.given_up,
            dropped: &mut self.dropped,
            listed: &mut self.dirty.queues,
            touched: &mut self.touched,
            surplus: &mut self.surplus,
            replaying: self.past.is_replaying(),
        })
    }
}

impl Desk<'_> {
    /// The queue has changed: the next checkpoint and the next dispatch look at it.
    pub(super) fn done(&mut self) {
        let Queue {
            id, listed, live, ..
        } = &mut *self.queue;
        if !is_transient(*id) && !std::mem::replace(listed, true) {
            self.listed.push(*id);
        }
        if !std::mem::replace(&mut live.touched, true) {
            self.touched.push(*id);
        }
        if self.queue.has_surplus() && !std::mem::replace(&mut self.queue.live.surplus, true) {
            self.surplus.push(self.queue.id);
        }
    }

    pub(super) fn push(&mut self, offset: Offset, it: Ref) {
        self.queue.push(offset, it, self.bodies, self.expiries);
        self.segments.add(it.lsn);
    }

    /// Does `settle` with each waiting offset of ranges as they stand in a record; whether it found all it should have.
    /// However wide a range is, the cost is that of what waits there.
    fn each(&mut self, ranges: &[u64], mut settle: impl FnMut(&mut Self, Offset) -> bool) -> bool {
        let (pairs, _) = ranges.as_chunks::<2>();
        let mut all = true;
        for [first, last] in pairs {
            let (first, last) = (Offset::new(*first), Offset::new(*last));
            if first == last {
                all &= settle(self, first) || self.may_have_had(first);
                continue;
            }
            // What lay before the first offset that is known of may have been there.
            let mut expected = first.max(self.queue.known_from.unwrap_or(Offset::new(u64::MAX)));
            let mut from = first;
            while let Some(offset) = self.queue.next_pending(from).filter(|it| *it <= last) {
                from = offset.next();
                if settle(self, offset) && offset == expected {
                    expected = offset.next();
                }
            }
            all &= expected > last;
        }
        all
    }

    /// Whether the offset may have waited in the part of the log that is gone.
    fn may_have_had(&self, offset: Offset) -> bool {
        self.queue.known_from.is_none_or(|known| offset < known)
    }

    fn is_dying(&self, offset: Offset) -> bool {
        !self.dying.is_empty() && self.dying.contains(&(self.queue.id, offset))
    }

    /// A consumer has accepted it; whether it was still there to be accepted.
    fn accept(&mut self, offset: Offset) -> bool {
        !self.is_dying(offset) && self.take(offset)
    }

    /// Takes a message out for good; whether it was there.
    fn take(&mut self, offset: Offset) -> bool {
        let Some(it) = self.queue.take(offset, self.bodies, self.expiries) else {
            return false;
        };
        if !self.dying.is_empty() {
            self.dying.remove(&(self.queue.id, offset));
        }
        if let Some(it) = it {
            self.segments.remove(it.lsn);
        }
        true
    }

    /// A consumer gave it back as failed; whether it was there.
    fn release(&mut self, offset: Offset) -> bool {
        if self.is_dying(offset) {
            return false;
        }
        let Some(mark) = self.queue.mark_mut(offset) else {
            return false;
        };
        mark.acquired = mark.acquired.saturating_add(1);
        mark.failed = mark.failed.saturating_add(1);
        let failed = mark.failed;
        if self.is_claimed(offset) {
            return true;
        }
        if self.queue.is_exhausted(failed) && !self.replaying {
            // It takes a record of its own: what this one does must not depend on the definition.
            self.queue.live.returned.remove(&offset);
            self.queue.live.in_flight.insert(offset, NOBODY);
            self.given_up
                .push((self.queue.id, offset, Cause::MaxAttempts));
        } else {
            self.queue.make_ready(offset, self.bodies, self.expiries);
        }
        true
    }

    /// Its consumer is gone, or does not hold it: one acquisition; whether it was there.
    fn give_back(&mut self, offset: Offset) -> bool {
        let Some(mark) = self.queue.mark_mut(offset) else {
            return false;
        };
        mark.acquired = mark.acquired.saturating_add(1);
        // A record before this one may have given it to somebody else meanwhile.
        let holder = self.queue.live.in_flight.get(offset);
        if holder.is_none_or(|holder| holder == NOBODY) {
            self.queue.make_ready(offset, self.bodies, self.expiries);
        }
        true
    }

    /// The queue gives a message up: it is on its way to the dead-letter address, or to nowhere where there is none.
    /// Whether it was there.
    fn give_up(&mut self, offset: Offset, cause: Cause, reason: Option<&str>) -> bool {
        let id = self.queue.id;
        if is_transient(id) {
            let there = self.take(offset);
            if there {
                self.dropped.push((id, cause));
            }
            return there;
        }
        let Some(mark) = self.queue.mark_mut(offset) else {
            return false;
        };
        if mark.dying.is_some() {
            return false;
        }
        mark.dying = Some(Dying {
            cause,
            reason: reason.map(str::to_owned),
        });
        if !self.is_claimed(offset) {
            self.queue.live.in_flight.remove(offset);
        }
        self.queue.live.returned.remove(&offset);
        self.dying.insert((id, offset));
        true
    }

    /// Whether an administrator is about to delete or move it.
    fn is_claimed(&self, offset: Offset) -> bool {
        self.queue.live.in_flight.get(offset) == Some(CLAIMED)
    }

    /// It is gone for good: there is no dead-letter address, or an administrator has deleted it.
    fn discard(&mut self, offset: Offset) -> bool {
        if self.is_claimed(offset) {
            return self.take(offset); // counted by whoever has claimed it
        }
        let Some(mark) = self.queue.mark_mut(offset) else {
            return false;
        };
        let failed = mark.failed;
        let dying = mark.dying.as_ref().map(|dying| dying.cause);
        let cause = match dying {
            Some(cause) => cause,
            None if self.queue.has_surplus() => Cause::Surplus,
            None if self.queue.is_exhausted(failed) => Cause::MaxAttempts,
            None => Cause::Expired,
        };
        if !self.replaying {
            self.dropped.push((self.queue.id, cause));
        }
        self.take(offset)
    }
}

/// Bytes of a record that name one target.
const TARGET_BYTES: usize = 16;

/// What a record costs each queue that it is for: all of it but the places in the others, which are theirs to pay. However
/// many take it with them, a queue's limit is about its own messages.
pub(super) fn share(record: &RecordRef<'_>) -> u32 {
    let others = record.targets().count().saturating_sub(1);
    let places = u32::try_from(others * TARGET_BYTES).unwrap_or(u32::MAX);
    record.len_bytes().saturating_sub(places)
}
