//! The fold itself: what each kind of record does to the state.
//!
//! Comes from the log's commits (live) or its replay; goes on to `dispatch`. A record about something that is gone by
//! now has no effect but on the counters that must never go back.
//!
//! What happens to a *message* never depends on its queue's definition: whoever wrote the record looked at that. So a
//! log whose beginning is gone, where a definition may stand behind the messages, folds to the same.

mod messages;
mod past;
mod queues;
mod retained;
mod sessions;
mod subscriptions;

pub(super) use past::Past;
pub(super) use queues::BindingChange;
use restante_storage::{Kind, Lsn, Offset, QueueId, RecordRef, SessionNo, UnixMillis};

use super::chunk::Cause;
use super::queue::NOBODY;
use super::{Engine, Left};
use crate::refusal::Refusal;

impl Engine {
    /// Applies the next record of the log. Says what its sender is to be told in place of "done", if anything.
    ///
    /// # Panics
    /// If `record` is not beyond what was applied: an order that only our own bug can break.
    pub fn apply(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        assert!(
            record.lsn() >= self.applied,
            "{} was applied before {}",
            self.applied,
            record.lsn()
        );
        if self.applied == Lsn::ZERO {
            self.past.begin(self.segments.of(record.lsn()));
        }
        self.applied = record.end();
        let fresh = self.take_frame(record);
        let refusal = match record.kind() {
            Kind::Enqueue => self.enqueue(record, fresh),
            Kind::Retain => self.retain(record, fresh),
            _ if !fresh => None,
            Kind::Settle => self.settle(record),
            Kind::DefineQueue => self.define_queue(record),
            Kind::DeleteQueue => self.delete_queue(decode(record)),
            Kind::Bind => self.bind(record),
            Kind::Unbind => self.unbind(record),
            Kind::DefineSession => self.define_session(record),
            Kind::EndSession => self.end_session(record),
            Kind::Consume => self.consume(record),
            Kind::Cancel => self.cancel(record),
            Kind::Advance => self.advance(record),
            Kind::Subscribe => self.subscribe(record),
            Kind::Config => self.configure(record),
            Kind::Recall => self.recall(record),
            Kind::SegmentEnd => None,
        };
        if let (Some(origin), Some(refusal)) = (record.origin(), refusal) {
            self.refuse(record.lsn(), origin, refusal);
        }
        refusal
    }

    /// The past is over: what was met but never defined belongs to queues and sessions that are gone.
    pub fn finish_replay(&mut self, now: UnixMillis) {
        self.past = Past::Over;
        self.retained.past_is_over();
        let undefined: Vec<QueueId> = self
            .queues
            .values()
            .filter(|queue| queue.def.is_none() && queue.handle.is_none())
            .map(|queue| queue.id)
            .collect();
        for id in undefined {
            self.remove_queue(id);
        }
        self.sessions.retain(|_, session| session.is_known());
        self.remove_orphans();
        for queue in self.queues.values_mut() {
            queue.known_from = Some(Offset::ZERO.next());
        }
        let mut sessions: Vec<SessionNo> = self.sessions.keys().copied().collect();
        sessions.sort_unstable();
        for number in sessions {
            self.revive(number, now);
        }
        self.give_up_exhausted();
        for queue in self.queues.values_mut() {
            queue.publish_gauges(&*self.bodies);
        }
        self.effects.clear();
    }

    /// Queues of sessions that ended before the log begins.
    fn remove_orphans(&mut self) {
        let orphans: Vec<QueueId> = self
            .queues
            .values()
            .filter(|queue| {
                let owner = queue.owner();
                owner.is_some_and(|owner| !self.sessions.contains_key(&owner))
            })
            .map(|queue| queue.id)
            .collect();
        for id in orphans {
            self.remove_queue(id);
        }
    }

    /// A session's consumers after a restart: nobody is there yet, and what they had in flight is not known.
    fn revive(&mut self, number: SessionNo, now: UnixMillis) {
        let Some(session) = self.sessions.get(&number) else {
            return;
        };
        let ends = now.saturating_add(session.expiry_ms());
        let consumers = session.consumers.clone();
        self.detached.insert(number, ends);
        self.will_waits(number, Left::Lost, now, ends);
        for consumer in consumers {
            let queue = QueueId::new(consumer.queue);
            self.revive_consumer(queue, consumer.exclusive, (number, consumer.name));
        }
    }

    /// Messages that failed too often, and whose giving up a crash prevented.
    fn give_up_exhausted(&mut self) {
        let ids: Vec<QueueId> = self.queues.keys().copied().collect();
        for id in ids {
            self.give_up_exhausted_of(id);
        }
    }

    /// The same of one queue, whose definition may have changed. What somebody has in hand is looked at when it comes back.
    fn give_up_exhausted_of(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        if self.past.is_replaying() {
            return;
        }
        for offset in queue.exhausted() {
            if queue.live.in_flight.insert_if_free(offset, NOBODY) {
                queue.live.returned.remove(&offset);
                self.given_up.push((id, offset, Cause::MaxAttempts));
            }
        }
    }
}

/// The protobuf part of a record.
pub(super) fn decode<M: prost::Message + Default>(record: &RecordRef<'_>) -> M {
    match M::decode(record.envelope()) {
        Ok(it) => it,
        // The checksum was right, so these are the bytes that we wrote.
        Err(error) => panic!("record {} does not decode: {error}", record.lsn()),
    }
}
