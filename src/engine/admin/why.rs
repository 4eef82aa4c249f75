//! The one thing that keeps a queue from moving.
//!
//! What is looked at, in this order; the first that is so is told. Whatever comes later may be so as well, and would not
//! help if it were mended before:
//!
//! 1. nothing waits;
//! 2. it keeps a history;
//! 3. it is paused;
//! 4. nobody consumes it;
//! 5. all that waits is in consumers' hands, or else on its way back or elsewhere;
//! 6. its consumers are away;
//! 7. they have used up their credit;
//! 8. the next message is on its way back from a consumer that is gone, and nothing overtakes it.

use restante_storage::payload::Paused;
use restante_storage::{Offset, QueueId};

use crate::engine::queue::{NOBODY, Queue};
use crate::engine::{ConsumerId, Engine};

/// What keeps a queue from moving.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blocked {
    /// Nothing: what is ready is on its way out.
    Moving,
    /// Nothing waits.
    Empty,
    /// It keeps a history: nothing is to be delivered.
    History,
    /// Somebody has paused it.
    Paused(Paused),
    /// Nobody consumes it.
    NoConsumer,
    /// All that waits is given up or claimed, and on its way elsewhere.
    Leaving,
    /// All that waits is in the hands of these, as many with each.
    AllUnsettled(Vec<(ConsumerId, u64)>),
    /// None of these is there.
    Away(Vec<ConsumerId>),
    /// Of those who are there, none may be sent more.
    NoCredit(Vec<ConsumerId>),
    /// This message is on its way back.
    ComingBack(Offset),
}

impl Engine {
    /// What keeps a queue from moving; none: no such queue.
    pub fn why(&mut self, id: QueueId) -> Option<Blocked> {
        let queue = self.queues.get(&id)?;
        let live = &queue.live;
        let is_there = |id: &ConsumerId| self.consumers.get(id).is_some_and(|it| it.active);
        let early = if queue.n_messages == 0 {
            Blocked::Empty
        } else if queue.is_history() {
            Blocked::History
        } else if let Some(paused) = queue.def.as_ref().and_then(|def| def.paused.clone()) {
            Blocked::Paused(paused)
        } else if live.consumers.is_empty() {
            Blocked::NoConsumer
        } else if let Some(why) = self.nothing_ready(queue) {
            why
        } else if !live.consumers.iter().any(is_there) {
            Blocked::Away(live.consumers.clone())
        } else if live.willing.is_empty() {
            let there = live.consumers.iter().copied().filter(is_there);
            Blocked::NoCredit(there.collect())
        } else {
            return self.coming_back(id);
        };
        Some(early)
    }

    /// Why there is nothing that could be handed out, if there is not.
    fn nothing_ready(&self, queue: &Queue) -> Option<Blocked> {
        let live = &queue.live;
        let given_up = self.dying.range((queue.id, Offset::ZERO)..);
        let given_up = given_up.take_while(|(id, _)| *id == queue.id);
        let dying = given_up.filter(|(_, offset)| !live.in_flight.contains(*offset));
        let n_waiting = live.in_flight.len() as u64 + dying.count() as u64;
        if n_waiting < queue.n_messages {
            return None;
        }
        let mut hands: Vec<(ConsumerId, u64)> = live.in_flight.hands().collect();
        hands.sort_unstable();
        if !hands.is_empty() {
            return Some(Blocked::AllUnsettled(hands));
        }
        let first = live.coming_back.iter().copied();
        let mut first = first.filter(|offset| live.in_flight.get(*offset) == Some(NOBODY));
        Some(first.next().map_or(Blocked::Leaving, Blocked::ComingBack))
    }

    fn coming_back(&mut self, id: QueueId) -> Option<Blocked> {
        let queue = self.queues.get_mut(&id)?;
        let next = queue.next_in_line();
        let first = queue.first_coming_back();
        let overtakes = first.filter(|first| next.is_none_or(|next| first < &next));
        Some(overtakes.map_or(Blocked::Moving, Blocked::ComingBack))
    }
}
