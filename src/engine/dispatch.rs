//! Who gets what: consumers with credit take turns at a queue's next messages, some in a row where many wait.
//!
//! All of this is live only: a crash forgets it, and what was in flight is ready again (MBWS.md I4 says what a resumed
//! session does about that).
//!
//! Always, each with a test of its name in `engine/tests/`:
//! - `credit_is_absolute_and_never_exceeded`
//! - `consumers_with_credit_take_turns`
//! - `nothing_overtakes_what_is_coming_back`

mod consumers;
mod expiry;

pub(super) use consumers::Consumer;
pub use consumers::{ConsumerId, Resumed};
use restante_storage::{QueueId, UnixMillis};

use super::queue::{NOBODY, Place, Queue};
use super::{Effect, Engine};

impl Engine {
    /// Hands out what the queues touched since the last call have ready, as [`Effect::Deliver`].
    pub fn dispatch(&mut self, now: UnixMillis) {
        while let Some(queue) = self.touched.pop() {
            self.dispatch_queue(queue, now);
        }
    }

    fn dispatch_queue(&mut self, id: QueueId, now: UnixMillis) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        queue.live.touched = false;
        let run = queue.run();
        let mut left = run;
        while let Some(to) = queue.next_consumer() {
            let Some(consumer) = self.consumers.get_mut(&to) else {
                queue.live.willing.remove(&to);
                continue;
            };
            let Some((offset, entry)) = queue.next_ready(&*self.bodies) else {
                break;
            };
            if let Some(cause) = queue.over(&entry, now) {
                queue.live.in_flight.insert(offset, NOBODY);
                self.given_up.push((id, offset, cause));
                continue;
            }
            if let Place::Log { lsn, .. } = &entry.place {
                assert!(
                    *lsn < self.applied,
                    "only what is durable is delivered: {lsn} is not below {}",
                    self.applied
                );
            }
            consumer.sent += 1;
            if !consumer.may_take() {
                queue.live.willing.remove(&to);
            }
            left = if queue.live.turn == to { left } else { run } - 1;
            (queue.live.turn, left) = if left == 0 {
                (to.next(), run)
            } else {
                (to, left)
            };
            queue.live.in_flight.insert(offset, to);
            self.effects.push(Effect::Deliver {
                consumer: to,
                queue: id,
                offset,
                attempt: entry.acquired.saturating_add(1),
                place: entry.place,
            });
        }
        queue.publish_gauges(&*self.bodies);
    }

    /// That queue has something to dispatch.
    pub(super) fn touch(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.get_mut(&id)
            && !std::mem::replace(&mut queue.live.touched, true)
        {
            self.touched.push(id);
        }
    }
}

/// Messages that one consumer gets in one turn at most.
// 64: neighbours in a queue are settled as one range, so that many consumers of a busy queue cost little more than one
// (bench "both", 64 connections).
const RUN_MAX: u64 = 64;

impl Queue {
    /// How many messages in a row one consumer gets: its share of what is ready, so that few messages are still spread
    /// over all consumers.
    fn run(&self) -> u64 {
        let ready = self
            .n_messages
            .saturating_sub(self.live.in_flight.len() as u64);
        let share = ready / (self.live.consumers.len() as u64).max(1);
        share.clamp(1, RUN_MAX)
    }

    /// Whose turn it is among those with credit; none: nobody's, or the queue is paused or keeps a history.
    fn next_consumer(&self) -> Option<ConsumerId> {
        if self.is_paused() || self.is_history() {
            return None;
        }
        let live = &self.live;
        let behind = live.willing.range(live.turn..).next();
        behind.or_else(|| live.willing.first()).copied()
    }
}
