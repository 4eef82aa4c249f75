//! Who takes from queues, and which durable sessions there are.

use std::ops::Bound;

use restante_storage::payload::DefineSession;
use restante_storage::{QueueId, SessionNo, UnixMillis};
use uuid::Uuid;

use crate::engine::{ConsumerId, Engine};

/// A consumer of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerReport {
    /// Which.
    pub id: ConsumerId,
    /// The durable session it belongs to, and its name there.
    pub session: Option<(SessionNo, String)>,
    /// Whether its client is there.
    pub active: bool,
    /// Deliveries since its client came.
    pub sent: u64,
    /// Deliveries that it may have been sent by now, as far as the engine was told.
    pub limit: u64,
    /// Deliveries that it has.
    pub unsettled: u64,
    /// Whether no other may take from the queue.
    pub exclusive: bool,
}

/// A durable session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionReport {
    /// Its number.
    pub number: SessionNo,
    /// Its id.
    pub uuid: Uuid,
    /// What the log knows of it; without refusals.
    pub whole: DefineSession,
    /// When it ends unless its client comes back; none: its client is there.
    pub ends_at: Option<UnixMillis>,
    /// Deliveries that its consumers have.
    pub unsettled: u64,
}

impl Engine {
    /// The consumers of a queue, oldest first.
    pub fn queue_consumers(&self, id: QueueId) -> Vec<ConsumerReport> {
        let Some(queue) = self.queues.get(&id) else {
            return Vec::new();
        };
        let consumers = queue.live.consumers.iter();
        consumers
            .filter_map(|id| {
                let it = self.consumers.get(id)?;
                Some(ConsumerReport {
                    id: *id,
                    session: it.session.clone(),
                    active: it.active,
                    sent: it.sent,
                    limit: it.limit,
                    unsettled: queue.live.in_flight.n_of(*id),
                    exclusive: queue.live.exclusive == Some(*id),
                })
            })
            .collect()
    }

    /// Deliveries that these have together.
    pub fn unsettled(&self, of: impl Iterator<Item = ConsumerId>) -> u64 {
        of.filter_map(|id| {
            let queue = self.queues.get(&self.consumers.get(&id)?.queue)?;
            Some(queue.live.in_flight.n_of(id))
        })
        .sum()
    }

    /// The durable sessions behind that id, in order of ids; `limit` at most.
    pub fn sessions_after(&self, after: Option<Uuid>, limit: usize) -> Vec<SessionReport> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let here = self.session_ids.range((from, Bound::Unbounded));
        here.take(limit)
            .filter_map(|(uuid, number)| self.session_report(*uuid, *number))
            .collect()
    }

    /// The durable session with that id.
    pub fn session_of(&self, uuid: Uuid) -> Option<SessionReport> {
        self.session_report(uuid, self.session_number(uuid)?)
    }

    fn session_report(&self, uuid: Uuid, number: SessionNo) -> Option<SessionReport> {
        let mut whole = self.session(number)?;
        whole.failures.clear();
        Some(SessionReport {
            number,
            uuid,
            whole,
            ends_at: self.detached.get(number),
            unsettled: self.unsettled(self.consumers_of(number).into_iter()),
        })
    }

    /// Takes everything back that a session's consumers have: it is ready again once the log says so (see
    /// [`Engine::take_errands`]).
    pub fn release_session(&mut self, number: SessionNo) {
        for id in self.consumers_of(number) {
            if let Some(queue) = self.consumers.get(&id).map(|it| it.queue) {
                self.take_back_all(queue, id);
                self.touch(queue);
            }
        }
    }
}
