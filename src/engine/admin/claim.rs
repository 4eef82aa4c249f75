//! Messages that an administrator deletes or moves: first nobody gets them any more, then a record takes them out.

use restante_storage::{Offset, QueueId};

use crate::engine::chunk::Cause;
use crate::engine::queue::{CLAIMED, NOBODY};
use crate::engine::{ConsumerId, Engine};

/// Which messages to claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// What waits from the first to the last, both included; so many at most.
    Range(Offset, Offset, usize),
    /// Just these, ascending.
    These(Vec<Offset>),
}

/// What was claimed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// Ascending: each is taken out by a record, or given back by [`Engine::unclaim`].
    pub claimed: Vec<Offset>,
    /// How many wait and were left alone, as somebody has them or they are on their way elsewhere.
    pub left: u64,
    /// Where a range goes on; none: nothing more waits there.
    pub next: Option<Offset>,
}

impl Engine {
    /// Takes what is ready out of consumers' reach; none: no such queue.
    pub fn claim(&mut self, id: QueueId, wanted: &Wanted) -> Option<Claim> {
        let queue = self.queues.get(&id)?;
        let mut claim = Claim::default();
        let mut seen = Vec::new();
        match wanted {
            Wanted::These(offsets) => {
                seen.extend(offsets.iter().copied().filter(|it| queue.is_pending(*it)));
            }
            Wanted::Range(from, upto, limit) => {
                let mut from = *from;
                while let Some(offset) = queue.next_pending(from).filter(|it| it <= upto) {
                    if seen.len() >= *limit {
                        claim.next = Some(offset);
                        break;
                    }
                    seen.push(offset);
                    from = offset.next();
                }
            }
        }
        for offset in seen {
            if self.claim_one(id, offset) {
                claim.claimed.push(offset);
            } else {
                claim.left += 1;
            }
        }
        self.touch(id);
        Some(claim)
    }

    fn claim_one(&mut self, id: QueueId, offset: Offset) -> bool {
        if !self.dying.is_empty() && self.dying.contains(&(id, offset)) {
            return false;
        }
        let Some(queue) = self.queues.get_mut(&id) else {
            return false;
        };
        if queue.live.in_flight.contains(offset) {
            return false;
        }
        queue.live.returned.remove(&offset);
        queue.live.in_flight.insert(offset, CLAIMED);
        true
    }

    /// Gives claimed messages back that no record takes out: they are ready again, in their old place.
    pub fn unclaim(&mut self, id: QueueId, offsets: &[Offset]) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        for offset in offsets {
            if queue.live.in_flight.get(*offset) == Some(CLAIMED) {
                queue.make_ready(*offset, &*self.bodies, &mut self.expiries);
            }
        }
        self.touch(id);
    }

    /// Deletes claimed messages of a queue in memory; how many that were.
    pub fn delete_held(&mut self, id: QueueId, offsets: &[Offset]) -> u64 {
        let Some(queue) = self.queues.get_mut(&id) else {
            return 0;
        };
        let mut n_deleted = 0;
        for offset in offsets {
            if queue.live.in_flight.get(*offset) == Some(CLAIMED) {
                let taken = queue.take(*offset, &*self.bodies, &mut self.expiries);
                n_deleted += u64::from(taken.is_some());
            }
        }
        self.touch(id);
        n_deleted
    }

    /// What a consumer was sent did not get to its client: it has the credit for it back. `unreadable`: its bytes are lost,
    /// so it is given up, and its queue goes on.
    pub fn undelivered(&mut self, to: ConsumerId, id: QueueId, offset: Offset, unreadable: bool) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        if let Some(consumer) = self.consumers.get_mut(&to) {
            consumer.sent = consumer.sent.saturating_sub(1);
            if consumer.may_take() {
                queue.live.willing.insert(to);
            }
        }
        if unreadable && queue.live.in_flight.get(offset) == Some(to) {
            queue.live.in_flight.insert(offset, NOBODY);
            self.given_up.push((id, offset, Cause::Unreadable));
        }
        self.touch(id);
    }
}
