//! Histories: what their limits leave no room for, the oldest first.
//!
//! A history takes all that comes, and is trimmed behind that: by records, like all that becomes of messages. Between a publish and its
//! record it may have a little more than its limits say.
//!
//! Always, with tests of these names in `engine/tests/history.rs`:
//! - `the_oldest_go_when_a_history_has_more_than_it_may`
//! - `each_is_dropped_once`

use restante_storage::{Offset, QueueId};

use super::{Errand, settle_errands};
use crate::engine::Engine;
use crate::engine::queue::{NOBODY, Place};

/// Messages that one look at a history goes through, those that are on their way out already included.
const LOOKED_MAX: usize = 16 * 1024;

impl Engine {
    /// The oldest messages of histories that have more than they may go.
    pub(super) fn surplus_errands(&mut self, errands: &mut Vec<Errand>) {
        let mut dropped = Vec::new();
        for id in std::mem::take(&mut self.surplus) {
            self.trim(id, &mut dropped);
        }
        settle_errands(dropped, errands, |it| &mut it.dropped);
    }

    /// Whatever is left for the next look is looked at when the record about these is applied.
    fn trim(&mut self, id: QueueId, dropped: &mut Vec<(QueueId, Offset)>) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        queue.live.surplus = false;
        let (mut n_left, mut bytes_left) = (queue.n_messages, queue.bytes);
        let mut from = Offset::ZERO;
        for _ in 0..LOOKED_MAX {
            if !queue.is_surplus(n_left, bytes_left) {
                return;
            }
            let Some(offset) = queue.next_pending(from) else {
                return;
            };
            let Some(entry) = queue.entry(offset, &*self.bodies) else {
                return;
            };
            from = offset.next();
            n_left -= 1;
            bytes_left = bytes_left.saturating_sub(match entry.place {
                Place::Log { bytes, .. } => u64::from(bytes),
                Place::Memory(record) => record.len() as u64,
            });
            // Else somebody has it, or a record is being written that says what becomes of it.
            if queue.live.in_flight.insert_if_free(offset, NOBODY) {
                queue.live.returned.remove(&offset);
                dropped.push((id, offset));
            }
        }
    }

    /// A queue that has become a history may have more than that may.
    pub(in crate::engine) fn look_at_surplus(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.get_mut(&id)
            && queue.has_surplus()
            && !std::mem::replace(&mut queue.live.surplus, true)
        {
            self.surplus.push(id);
        }
    }
}
