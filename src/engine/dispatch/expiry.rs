//! Messages whose time is up: by their own wish in any place, by their queue's time to live from its head.
//!
//! Each is asked for once: from then on nobody holds it and nobody gets it, until a record says what became of it. What
//! a consumer has in hand may still be accepted; it is looked at again when it comes back.

use restante_storage::{Offset, QueueId, UnixMillis};

use crate::engine::Engine;
use crate::engine::chunk::Cause;
use crate::engine::queue::{NOBODY, arm, offset_of};

/// Chunks that one call looks into.
const CHUNKS_MAX: usize = 64;
/// Messages that one call looks at from a queue's head.
const HEAD_MAX: usize = 16 * 1024;

impl Engine {
    /// Finds what has expired by `now`; gives up after a while.
    pub(in crate::engine) fn collect_expired(&mut self, now: UnixMillis) {
        self.expire_in_chunks(now);
        for id in self.with_ttl.clone() {
            self.expire_from_head(id, now);
        }
        self.drop_expired_held(now);
    }

    /// What expires by its own wish, as far as one call looks.
    pub(in crate::engine) fn expire_in_chunks(&mut self, now: UnixMillis) {
        for _ in 0..CHUNKS_MAX {
            if self.expiries.first().is_none_or(|(at, _, _)| *at > now) {
                break;
            }
            if let Some((_, id, number)) = self.expiries.pop_first() {
                self.expire_in_chunk(id, number, now);
            }
        }
        self.more_expired = self.expiries.first().is_some_and(|(at, _, _)| *at <= now);
    }

    fn expire_in_chunk(&mut self, id: QueueId, number: u64, now: UnixMillis) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        let Some(chunk) = queue.resident(number, &*self.bodies) else {
            return;
        };
        chunk.arm(None);
        let expiring: Vec<(u64, UnixMillis)> = chunk.expiring().collect();
        chunk.set_expires_min(expiring.iter().map(|(_, at)| *at).min());
        for (slot, at) in expiring {
            let offset = offset_of(number, slot);
            if at <= now {
                if queue.live.in_flight.insert_if_free(offset, NOBODY) {
                    queue.live.returned.remove(&offset);
                    self.given_up.push((id, offset, Cause::Expired));
                }
            } else if let Some(chunk) = queue.resident(number, &*self.bodies) {
                arm(chunk, id, number, at, &mut self.expiries);
            }
        }
    }

    fn expire_from_head(&mut self, id: QueueId, now: UnixMillis) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        let mut from = Offset::ZERO;
        for _ in 0..HEAD_MAX {
            let Some(offset) = queue.next_pending(from) else {
                return;
            };
            from = offset.next();
            if queue.live.in_flight.contains(offset) {
                continue;
            }
            let Some(entry) = queue.entry(offset, &*self.bodies) else {
                return;
            };
            if entry.dying {
                continue;
            }
            let Some(cause) = queue.over(&entry, now) else {
                return;
            };
            queue.live.returned.remove(&offset);
            queue.live.in_flight.insert(offset, NOBODY);
            self.given_up.push((id, offset, cause));
        }
    }
}
