//! What administration asks of the core. Each is answered from memory, in a slice that is bounded.

use std::sync::Arc;

use restante_admin_api::queue::{ConsumerInfo, SessionInfo, Why};
use restante_storage::{Offset, QueueId};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::broker::Shared;
use crate::broker::core::Ask;
use crate::broker::outbox::Outbox;
use crate::engine::{Looked, Wanted};

/// What the core does for administrators; the answer is none where there is no such queue.
pub(in crate::broker) enum AdminAsk {
    Look(QueueId, Wanted, oneshot::Sender<Option<Looked>>),
    Claim(QueueId, Wanted, oneshot::Sender<Option<Claims>>),
    Unclaim(QueueId, Vec<Offset>),
    /// Deletes what is claimed in a queue in memory; how many that were.
    DeleteHeld(QueueId, Vec<Offset>, oneshot::Sender<u64>),
    Why(QueueId, oneshot::Sender<Option<Why>>),
    Consumers(Vec<QueueId>, oneshot::Sender<Vec<ConsumerInfo>>),
    /// The durable session with that id.
    Session(Uuid, oneshot::Sender<Option<SessionInfo>>),
    /// Durable sessions behind an id.
    Sessions(Option<Uuid>, usize, oneshot::Sender<Vec<SessionInfo>>),
    /// Of sessions that end with their connections: how many consumers of queues each has, and how much in hand.
    Hands(Vec<Arc<Outbox>>, oneshot::Sender<Vec<(u64, u64)>>),
    /// All that a durable session has in hand is on its way back.
    Release(Uuid, oneshot::Sender<()>),
}

/// Messages that nobody gets while this is there. Dropped, it gives back those that no record was written for.
pub(in crate::broker) struct Claims {
    shared: Arc<Shared>,
    queue: QueueId,
    pub(super) offsets: Vec<Offset>,
    /// How many were left alone.
    pub(super) left: u64,
    /// Where a range goes on.
    pub(super) next: Option<Offset>,
}

impl Claims {
    pub(in crate::broker) fn new(
        shared: Arc<Shared>,
        queue: QueueId,
        claim: crate::engine::Claim,
    ) -> Self {
        Claims {
            shared,
            queue,
            offsets: claim.claimed,
            left: claim.left,
            next: claim.next,
        }
    }

    /// A record is in the log's hands for each: nothing is given back any more.
    pub(in crate::broker) fn into_offsets(mut self) -> Vec<Offset> {
        std::mem::take(&mut self.offsets)
    }

    /// Gives back those that `keep` does not want; how many those are.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Offset) -> bool) -> u64 {
        let before = self.offsets.clone();
        self.offsets.retain(keep);
        let kept = &self.offsets;
        let back: Vec<Offset> = before
            .into_iter()
            .filter(|it| kept.binary_search(it).is_err())
            .collect();
        let n_back = back.len() as u64;
        self.give_back(back);
        n_back
    }

    fn give_back(&self, offsets: Vec<Offset>) {
        if !offsets.is_empty() {
            let ask = AdminAsk::Unclaim(self.queue, offsets);
            self.shared.ask(Ask::Admin(ask));
        }
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let offsets = std::mem::take(&mut self.offsets);
        self.give_back(offsets);
    }
}
