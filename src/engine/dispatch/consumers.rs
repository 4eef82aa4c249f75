//! Consumers come, get credit, are suspended, go on and go.

use restante_storage::{Offset, QueueId, SessionNo};

use crate::engine::queue::{NOBODY, Queue};
use crate::engine::{Engine, is_transient};
use crate::refusal::Refusal;

/// A consumer, for as long as the broker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConsumerId(pub u64);

impl ConsumerId {
    /// The first that may come behind it.
    pub(super) fn next(self) -> Self {
        ConsumerId(self.0.saturating_add(1))
    }
}

/// A consumer of a queue.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Consumer {
    pub(in crate::engine) queue: QueueId,
    /// How many deliveries it has been sent since it was last activated.
    pub(in crate::engine) sent: u64,
    /// How many it may be sent.
    pub(in crate::engine) limit: u64,
    /// The durable session it belongs to, and its name there.
    pub(in crate::engine) session: Option<(SessionNo, String)>,
    /// Whether somebody is there to take deliveries.
    pub(in crate::engine) active: bool,
}

impl Consumer {
    /// Whether it has credit left and somebody to use it.
    pub(in crate::engine) fn may_take(&self) -> bool {
        self.active && self.sent < self.limit
    }
}

/// A consumer of a session that goes on.
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
    /// one wants to and is not alone; or it keeps a history, from which nobody consumes.
    pub fn add_consumer(
        &mut self,
        queue: QueueId,
        exclusive: bool,
        session: Option<(SessionNo, String)>,
    ) -> Result<ConsumerId, Refusal> {
        if self.queues.get(&queue).is_some_and(Queue::is_history) {
            return Err(Refusal::InUse);
        }
        self.place_consumer(queue, exclusive, session)
    }

    fn place_consumer(
        &mut self,
        queue: QueueId,
        exclusive: bool,
        session: Option<(SessionNo, String)>,
    ) -> Result<ConsumerId, Refusal> {
        let id = ConsumerId(self.next_consumer);
        let it = self.queues.get_mut(&queue).ok_or(Refusal::NoRoute)?;
        if it.live.leaving {
            return Err(Refusal::NoRoute);
        }
        if it.live.exclusive.is_some() || (exclusive && !it.live.consumers.is_empty()) {
            return Err(Refusal::InUse);
        }
        it.live.consumers.push(id);
        it.live.exclusive = exclusive.then_some(id);
        self.next_consumer += 1;
        if let Some((session, _)) = &session {
            self.of_session.entry(*session).or_default().push(id);
        }
        let consumer = Consumer {
            queue,
            sent: 0,
            limit: 0,
            session,
            active: true,
        };
        self.consumers.insert(id, consumer);
        self.touch(queue);
        Ok(id)
    }

    /// A consumer of a session after a restart; nobody is there yet.
    pub(in crate::engine) fn revive_consumer(
        &mut self,
        queue: QueueId,
        exclusive: bool,
        session: (SessionNo, String),
    ) {
        if let Ok(id) = self.place_consumer(queue, exclusive, Some(session)) {
            self.suspend_consumer(id);
        }
    }

    /// Ends a consumer. What it had in flight comes back through the log (see [`Engine::take_errands`]).
    pub fn remove_consumer(&mut self, id: ConsumerId) {
        let Some(queue_id) = self.forget_consumer(id) else {
            return;
        };
        let Some(queue) = self.queues.get_mut(&queue_id) else {
            return;
        };
        let live = &mut queue.live;
        if let Some(at) = live.consumers.iter().position(|other| *other == id) {
            live.consumers.remove(at);
        }
        live.willing.remove(&id);
        if live.exclusive == Some(id) {
            live.exclusive = None;
        }
        self.take_back_all(queue_id, id);
        if let Some(queue) = self.queues.get_mut(&queue_id) {
            queue.live.in_flight.forget(id);
        }
        self.touch(queue_id);
        self.look_at_linger(queue_id);
    }

    /// A consumer is no more; gives its queue.
    pub(in crate::engine) fn forget_consumer(&mut self, id: ConsumerId) -> Option<QueueId> {
        let consumer = self.consumers.remove(&id)?;
        if let Some((session, _)) = &consumer.session
            && let Some(ids) = self.of_session.get_mut(session)
        {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.of_session.remove(session);
            }
        }
        Some(consumer.queue)
    }

    /// The consumers of a durable session, oldest first.
    pub(in crate::engine) fn consumers_of(&self, session: SessionNo) -> Vec<ConsumerId> {
        self.of_session.get(&session).cloned().unwrap_or_default()
    }

    /// Whether its session calls a consumer that.
    pub(in crate::engine) fn is_consumer(&self, id: ConsumerId, name: &str) -> bool {
        let session = self.consumers.get(&id).and_then(|it| it.session.as_ref());
        session.is_some_and(|(_, known)| known == name)
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
        let (queue, may_take) = (consumer.queue, consumer.may_take());
        if let Some(queue) = self.queues.get_mut(&queue).filter(|_| may_take) {
            queue.live.willing.insert(id);
        }
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
                && !queue.live.in_flight.contains(*offset)
                && !self.dying.contains(&(queue_id, *offset))
            {
                queue.live.returned.remove(offset);
                queue.live.in_flight.insert(*offset, id);
            }
        }
        let mut back = queue.live.in_flight.of(id);
        back.retain(|it| offsets.binary_search(it).is_err());
        self.take_back(queue_id, &back);
        self.touch(queue_id);
    }

    /// The consumers of a durable session, for a client that goes on with it. None of them gets anything before
    /// [`Engine::credit`], which then counts from zero.
    pub fn resume_consumers(&mut self, session: SessionNo) -> Vec<Resumed> {
        let mut resumed = Vec::new();
        for id in self.consumers_of(session) {
            let Some(consumer) = self.consumers.get_mut(&id) else {
                continue;
            };
            let Some((_, name)) = consumer.session.clone() else {
                continue;
            };
            let known = self.sessions.get(&session);
            let Some(known) = known.and_then(|it| it.consumer(&name)) else {
                // In memory, or its record did not get to the log: it ended with the socket.
                self.remove_consumer(id);
                continue;
            };
            (consumer.sent, consumer.limit, consumer.active) = (0, 0, true);
            let auto_settle = known.auto_settle;
            let queue = consumer.queue;
            if let Some(queue) = self.queues.get_mut(&queue) {
                queue.live.willing.remove(&id);
            }
            resumed.push(Resumed {
                id,
                name,
                queue,
                auto_settle,
                in_flight: self.held_by(queue, id),
            });
        }
        resumed
    }

    /// Nobody is there to take deliveries of this consumer for now; what it has in flight stays with it.
    pub fn suspend_consumer(&mut self, id: ConsumerId) {
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.active = false;
            if let Some(queue) = self.queues.get_mut(&consumer.queue) {
                queue.live.willing.remove(&id);
            }
        }
    }

    /// What a consumer of a queue has, ascending.
    fn held_by(&self, id: QueueId, holder: ConsumerId) -> Vec<Offset> {
        let queue = self.queues.get(&id);
        queue.map_or_else(Vec::new, |queue| queue.live.in_flight.of(holder))
    }

    /// Takes all from a consumer that it has of its queue.
    pub(in crate::engine) fn take_back_all(&mut self, id: QueueId, holder: ConsumerId) {
        let back = self.held_by(id, holder);
        self.take_back(id, &back);
    }

    /// Takes what is in flight from its holder: it comes back, through the log where that has it.
    fn take_back(&mut self, id: QueueId, back: &[Offset]) {
        if let Some(queue) = self.queues.get_mut(&id) {
            for offset in back {
                queue.live.in_flight.insert(*offset, NOBODY);
            }
        }
        if is_transient(id) {
            self.return_held(id, back);
        } else {
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.live.coming_back.extend(back);
            }
            self.lost.extend(back.iter().map(|offset| (id, *offset)));
        }
    }
}
