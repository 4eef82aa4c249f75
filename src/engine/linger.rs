//! Queues that go by themselves once nobody has consumed from them for a while (`DefineQueue.linger_ms`).
//!
//! The time is live: it begins anew at a restart. Whoever is expected back counts as a consumer. From the errand on, nobody may
//! consume from the queue any more, so that none is deleted under a consumer.

use restante_storage::payload::DeleteQueue;
use restante_storage::{QueueId, UnixMillis};

use super::{Engine, Errand};

impl Engine {
    /// That queue may have no consumer any more, or have begun without one.
    pub(super) fn look_at_linger(&mut self, id: QueueId) {
        let lingers = self.queues.get(&id).is_some_and(|queue| {
            let linger_ms = queue.def.as_ref().map_or(0, |def| def.linger_ms);
            linger_ms > 0 && queue.live.consumers.is_empty()
        });
        if lingers {
            // Anew: since the last look, somebody may have come and gone.
            self.idle.insert(id, None);
        }
    }

    /// Deletes those whose time is over.
    pub(super) fn linger_errands(&mut self, now: UnixMillis, errands: &mut Vec<Errand>) {
        let queues = &mut self.queues;
        self.idle.retain(|id, ends| {
            let Some(queue) = queues
                .get_mut(id)
                .filter(|queue| queue.live.consumers.is_empty())
            else {
                return false;
            };
            let Some(def) = queue.def.as_ref().filter(|def| def.linger_ms > 0) else {
                return false;
            };
            if *ends.get_or_insert(now.saturating_add(def.linger_ms)) > now {
                return true;
            }
            queue.live.leaving = true;
            errands.push(Errand::Delete(DeleteQueue {
                queue: id.get(),
                realm: def.realm.clone(),
                name: def.name.clone(),
            }));
            false
        });
    }
}
