//! Who gets what: consumers with credit take turns at a queue's next message.
//!
//! All of this is live only: a crash forgets it, and what was in flight is ready again (MBWS.md I4 says what a resumed
//! session does about that).

use restante_storage::{Offset, QueueId, SessionNo, UnixMillis};

use super::chunk::Cause;
use super::queue::{Place, Queue};
use super::{Effect, Engine};
use crate::refusal::Refusal;

/// A consumer, for as long as the broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerId(pub u64);

/// A consumer of a queue.
#[derive(Debug, Clone)]
pub(super) struct Consumer {
    pub(super) queue: QueueId,
    /// How many deliveries it has been sent since it was last activated.
    pub(super) sent: u64,
    /// How many it may be sent.
    pub(super) limit: u64,
    /// The durable session it belongs to, and its name there.
    pub(super) session: Option<(SessionNo, String)>,
    /// Whether somebody is there to take deliveries.
    pub(super) active: bool,
}

/// How an offset can be asked for by a session that goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// The consumer.
    pub id: ConsumerId,
    /// Its session's name for it.
    pub name: String,
    /// Its queue.
    pub queue: QueueId,
    /// Whether the broker settles as it sends.
    pub auto_settle: bool,
    /// What it has in flight, ascending.
    pub in_flight: Vec<Offset>,
}

impl Engine {
    /// Starts a consumer without credit.
    ///
    /// # Errors
    /// [`Refusal::NoRoute`]: there is no such queue. [`Refusal::InUse`]: another consumer has it exclusively, or this
    /// one wants to and is not alone.
    pub fn add_consumer(
        &mut self,
        queue: QueueId,
        exclusive: bool,
        session: Option<(SessionNo, String)>,
    ) -> Result<ConsumerId, Refusal> {
        let id = ConsumerId(self.next_consumer);
        let it = self.queues.get_mut(&queue).ok_or(Refusal::NoRoute)?;
        if it.live.exclusive.is_some() || (exclusive && !it.live.consumers.is_empty()) {
            return Err(Refusal::InUse);
        }
        it.live.consumers.push(id);
        it.live.exclusive = exclusive.then_some(id);
        self.next_consumer += 1;
        self.consumers.insert(
            id,
            Consumer {
                queue,
                sent: 0,
                limit: 0,
                session,
                active: true,
            },
        );
        Ok(id)
    }

    /// Ends a consumer. What it had in flight comes back through the log (see [`Engine::take_errands`]).
    pub fn remove_consumer(&mut self, id: ConsumerId) {
        let Some(consumer) = self.consumers.remove(&id) else {
            return;
        };
        let Some(queue) = self.queues.get_mut(&consumer.queue) else {
            return;
        };
        queue.live.consumers.retain(|other| *other != id);
        if queue.live.exclusive == Some(id) {
            queue.live.exclusive = None;
        }
        self.give_back(consumer.queue, |holder, _| holder == id);
        self.touch(consumer.queue);
    }

    /// Raises how many deliveries a consumer may have been sent since it was activated; never lowers it.
    pub fn credit(&mut self, id: ConsumerId, limit: u64) {
        let Some(consumer) = self.consumers.get_mut(&id) else {
            return;
        };
        if limit <= consumer.limit {
            return;
        }
        consumer.limit = limit;
        let queue = consumer.queue;
        self.touch(queue);
    }

    /// After a resume: `offsets` (ascending) stay with the consumer; all else it had goes back.
    pub fn hold(&mut self, id: ConsumerId, offsets: &[Offset]) {
        let Some(consumer) = self.consumers.get(&id) else {
            return;
        };
        let queue_id = consumer.queue;
        let Some(queue) = self.queues.get_mut(&queue_id) else {
            return;
        };
        for offset in offsets {
            // Free for the taking after a crash; with somebody else it stays with them.
            if queue.is_pending(*offset)
                && !queue.live.in_flight.contains_key(offset)
                && queue.mark(*offset).is_none_or(|mark| mark.dying.is_none())
            {
                queue.live.returned.remove(offset);
                queue.live.in_flight.insert(*offset, id);
            }
        }
        self.give_back(queue_id, |holder, offset| {
            holder == id && offsets.binary_search(&offset).is_err()
        });
        self.touch(queue_id);
    }

    /// The consumers of a durable session, for a client that goes on with it. None of them gets anything before
    /// [`Engine::credit`], which then counts from zero.
    pub fn resume_consumers(&mut self, session: SessionNo) -> Vec<Resumed> {
        let auto_settle = |name: &str| {
            let session = self.sessions.get(&session);
            session
                .and_then(|it| it.consumer(name))
                .is_some_and(|consumer| consumer.auto_settle)
        };
        let mut resumed: Vec<Resumed> = Vec::new();
        for (id, consumer) in &self.consumers {
            let Some((number, name)) = &consumer.session else {
                continue;
            };
            if *number != session {
                continue;
            }
            let mut in_flight: Vec<Offset> =
                self.queues
                    .get(&consumer.queue)
                    .map_or_else(Vec::new, |queue| {
                        queue
                            .live
                            .in_flight
                            .iter()
                            .filter(|(_, holder)| *holder == id)
                            .map(|(offset, _)| *offset)
                            .collect()
                    });
            in_flight.sort_unstable();
            resumed.push(Resumed {
                id: *id,
                name: name.clone(),
                queue: consumer.queue,
                auto_settle: auto_settle(name),
                in_flight,
            });
        }
        for it in &resumed {
            if let Some(consumer) = self.consumers.get_mut(&it.id) {
                (consumer.sent, consumer.limit, consumer.active) = (0, 0, true);
            }
        }
        resumed.sort_by_key(|it| it.id);
        resumed
    }

    /// Nobody is there to take deliveries of this consumer for now; what it has in flight stays with it.
    pub fn suspend_consumer(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.active = false;
        }
    }

    /// Hands out what the queues touched since the last call have ready, as [`Effect::Deliver`].
    pub fn dispatch(&mut self, now: UnixMillis) {
        while let Some(queue) = self.touched.pop() {
            if let Some(queue) = self.queues.get_mut(&queue) {
                queue.live.touched = false;
            }
            self.dispatch_queue(queue, now);
        }
    }

    fn dispatch_queue(&mut self, id: QueueId, now: UnixMillis) {
        let Some(mut queue) = self.queues.remove(&id) else {
            return;
        };
        while let Some(consumer) = self.next_consumer_of(&mut queue) {
            let Some(offset) = queue.next_ready() else {
                break;
            };
            self.hand_out(&mut queue, offset, consumer, now);
        }
        self.queues.insert(id, queue);
    }

    /// Whose turn it is among those with credit.
    fn next_consumer_of(&self, queue: &mut Queue) -> Option<ConsumerId> {
        let n_consumers = queue.live.consumers.len();
        for step in 0..n_consumers {
            let at = (queue.live.turn + step) % n_consumers;
            let id = *queue.live.consumers.get(at)?;
            let consumer = self.consumers.get(&id)?;
            if consumer.active && consumer.sent < consumer.limit {
                queue.live.turn = at + 1;
                return Some(id);
            }
        }
        None
    }

    fn hand_out(&mut self, queue: &mut Queue, offset: Offset, to: ConsumerId, now: UnixMillis) {
        let Some(entry) = queue.entry(offset, &*self.bodies) else {
            return;
        };
        if queue
            .expiry(entry.time, entry.expires)
            .is_some_and(|at| at <= now)
        {
            self.expiring.push((queue.id, offset));
            return;
        }
        if let Place::Log { lsn, .. } = &entry.place {
            assert!(
                *lsn < self.applied,
                "only what is durable is delivered: {lsn} is not below {}",
                self.applied
            );
        }
        queue.live.in_flight.insert(offset, to);
        if let Some(consumer) = self.consumers.get_mut(&to) {
            consumer.sent += 1;
        }
        let attempt = queue
            .mark(offset)
            .map_or(0, |mark| mark.acquired)
            .saturating_add(1);
        self.effects.push(Effect::Deliver {
            consumer: to,
            queue: queue.id,
            offset,
            attempt,
            place: entry.place,
        });
    }

    /// Puts on the list of what is to come back, through the log where the queue is durable, what `which` picks.
    fn give_back(&mut self, id: QueueId, which: impl Fn(ConsumerId, Offset) -> bool) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        let mut back: Vec<Offset> = queue
            .live
            .in_flight
            .iter()
            .filter(|(offset, holder)| which(**holder, **offset))
            .map(|(offset, _)| *offset)
            .collect();
        back.sort_unstable();
        for offset in &back {
            queue.live.in_flight.insert(*offset, NOBODY);
        }
        if super::queue::is_transient(id) {
            self.return_offsets(id, &back);
        } else {
            self.lost
                .extend(back.into_iter().map(|offset| (id, offset)));
        }
    }

    /// Makes offsets ready again that were in flight, counting one acquisition each.
    pub(super) fn return_offsets(&mut self, id: QueueId, offsets: &[Offset]) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        for offset in offsets {
            if let Some(mark) = queue.mark_mut(*offset) {
                mark.acquired = mark.acquired.saturating_add(1);
            }
            queue.make_ready(*offset);
        }
        self.touch(id);
    }

    pub(super) fn touch(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        if !queue.live.touched {
            queue.live.touched = true;
            self.touched.push(id);
        }
    }

    /// What has expired by `now`, at most about `limit` of it: messages whose own time is up in any place, and those
    /// whose queue's time to live is up, from its head.
    pub(super) fn collect_expired(&mut self, now: UnixMillis, limit: usize) {
        let due: Vec<(UnixMillis, QueueId, u64)> = self
            .expiries
            .range(..=(now, QueueId::new(u64::MAX), u64::MAX))
            .copied()
            .take(limit / 64 + 1)
            .collect();
        for key in due {
            self.expiries.remove(&key);
            self.expire_in_chunk(key.1, key.2, now);
        }
        let with_ttl: Vec<QueueId> = self.with_ttl.iter().copied().collect();
        for id in with_ttl {
            self.expire_from_head(id, now, limit);
        }
        self.expire_held(now);
    }

    fn expire_in_chunk(&mut self, id: QueueId, number: u64, now: UnixMillis) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        let Some(chunk) = queue.resident(number, &*self.bodies) else {
            return;
        };
        chunk.refresh_expires_min();
        let mut from = 0;
        let mut later: Option<UnixMillis> = None;
        while let Some(slot) = chunk.next_pending(from) {
            from = slot + 1;
            let Some(expires) = chunk.get(slot).and_then(|it| it.expires) else {
                continue;
            };
            if chunk.mark(slot).is_some_and(|mark| mark.dying.is_some()) {
                continue;
            }
            if expires <= now {
                self.expiring
                    .push((id, Offset::new(number * super::chunk::SLOTS + slot)));
            } else {
                later = Some(later.map_or(expires, |at| at.min(expires)));
            }
        }
        if let Some(at) = later {
            self.expiries.insert((at, id, number));
        }
    }

    fn expire_from_head(&mut self, id: QueueId, now: UnixMillis, limit: usize) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        let mut from = Offset::ZERO;
        for _ in 0..limit {
            let Some(offset) = queue.next_pending(from) else {
                return;
            };
            from = offset.next();
            if queue.mark(offset).is_some_and(|mark| mark.dying.is_some()) {
                continue;
            }
            let Some(entry) = queue.entry(offset, &*self.bodies) else {
                return;
            };
            let by_queue = queue.expiry(entry.time, None);
            if by_queue.is_none_or(|at| at > now) {
                return;
            }
            // In the hand of a consumer it may still be accepted.
            if !queue.live.in_flight.contains_key(&offset) {
                self.expiring.push((id, offset));
            }
        }
    }

    fn expire_held(&mut self, now: UnixMillis) {
        let ids: Vec<QueueId> = self
            .queues
            .keys()
            .rev()
            .take_while(|id| super::queue::is_transient(**id))
            .copied()
            .collect();
        for id in ids {
            let Some(queue) = self.queues.get_mut(&id) else {
                continue;
            };
            let mut from = Offset::ZERO;
            while let Some(offset) = queue.next_pending(from) {
                from = offset.next();
                let Some(entry) = queue.entry(offset, &*self.bodies) else {
                    break;
                };
                if entry.expires.is_some_and(|at| at <= now)
                    && !queue.live.in_flight.contains_key(&offset)
                {
                    let _gone = queue.take(offset, &*self.bodies);
                    self.dropped.push((id, Cause::Expired));
                }
            }
        }
    }
}

/// Holds what is on its way back to the queue.
const NOBODY: ConsumerId = ConsumerId(0);

impl Queue {
    /// Takes the next offset to be delivered off the ready ones.
    fn next_ready(&mut self) -> Option<Offset> {
        if let Some(offset) = self.live.returned.pop_first() {
            return Some(offset);
        }
        let mut from = self.live.cursor;
        loop {
            let Some(offset) = self.next_pending(from) else {
                self.live.cursor = self.next.max(from);
                return None;
            };
            from = offset.next();
            self.live.cursor = from;
            let dying = self.mark(offset).is_some_and(|mark| mark.dying.is_some());
            if !dying && !self.live.in_flight.contains_key(&offset) {
                return Some(offset);
            }
        }
    }

    /// A pending message is nobody's any more: ready, unless it is dying.
    pub(super) fn make_ready(&mut self, offset: Offset) {
        self.live.in_flight.remove(&offset);
        if !self.is_pending(offset) || self.mark(offset).is_some_and(|mark| mark.dying.is_some()) {
            return;
        }
        if offset < self.live.cursor {
            self.live.returned.insert(offset);
        }
    }
}
