//! Requests of the client: their ids, and which of the broker's confirmations answers which.

use std::collections::VecDeque;

use crate::refusal::Refusal;

/// The largest id; 1 follows (wamp-proto, "IDs").
const ID_MAX: u64 = 1 << 53;

/// What a confirmed call of the broker's is the answer to.
#[derive(Debug)]
pub(super) enum Answer {
    /// A publication: PUBLISHED, if it is wanted.
    Published {
        request: u64,
        publication: u64,
        acknowledge: bool,
    },
    /// A subscription's consumer has begun.
    Subscribed { subscription: u64 },
    /// The consumer of what others answer has begun.
    Replies,
    /// A consumer was cancelled: UNSUBSCRIBED, if the client has asked for it.
    Unsubscribed { request: Option<u64> },
    /// Events of a durable subscription were acknowledged; RESULT, if that was a call.
    Received { request: Option<u64> },
}

/// What waits for an answer.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// The client's last id; 0: none yet.
    last: u64,
    /// The last id of the session before on the same connection: one client library goes on counting from there.
    before: u64,
    /// The last tag.
    tag: u64,
    /// By tag, ascending.
    pending: VecDeque<(u64, Answer)>,
    /// Whether an authentication's step is with the driver.
    pub(super) waits_for_driver: bool,
}

/// What an id of a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// A new request's.
    New,
    /// One that was used before.
    Old,
    /// Nobody's turn.
    Wrong,
}

impl Requests {
    /// Those of the next session on the same connection.
    pub(super) fn of_next_session(&self) -> Self {
        Requests {
            before: self.last.max(self.before),
            ..Requests::default()
        }
    }

    /// Whether it is that id's turn; if so, the next one's is next. `strict`: ids ascend by one. Else they tell requests apart and
    /// nothing more.
    pub(super) fn turn(&mut self, id: u64, strict: bool) -> Turn {
        let next = self.next();
        if id == next || (self.last == 0 && id == self.before + 1) {
            self.last = id;
            return Turn::New;
        }
        if !strict {
            let is_old = id <= self.last;
            self.last = self.last.max(id);
            return if is_old { Turn::Old } else { Turn::New };
        }
        if id < next { Turn::Old } else { Turn::Wrong }
    }

    /// The id that is expected next.
    pub(super) fn next(&self) -> u64 {
        if self.last >= ID_MAX {
            1
        } else {
            self.last + 1
        }
    }

    /// A tag for a call whose confirmation is that answer.
    pub(super) fn tag(&mut self, answer: Answer) -> u64 {
        self.tag += 1;
        self.pending.push_back((self.tag, answer));
        self.tag
    }

    /// Gives back room that nothing is in.
    pub(super) fn rest(&mut self) {
        self.pending.shrink_to(0);
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.pending.len() as u64
    }

    /// What is answered up to `upto`, in order, each with why it was refused.
    pub(super) fn confirmed(
        &mut self,
        upto: u64,
        failed: &[(u64, Refusal)],
    ) -> Vec<(Answer, Option<Refusal>)> {
        let n = self.pending.partition_point(|(tag, _)| *tag <= upto);
        let why = |tag: u64| {
            let at = failed.binary_search_by_key(&tag, |(tag, _)| *tag).ok()?;
            failed.get(at).map(|(_, refusal)| *refusal)
        };
        let answered = self.pending.drain(..n);
        let answered = answered.map(|(tag, answer)| (answer, why(tag))).collect();
        if self.pending.is_empty() && self.pending.capacity() > IDLE_CAPACITY {
            self.pending.shrink_to(IDLE_CAPACITY);
        }
        answered
    }
}

/// Room that is kept for what comes next.
const IDLE_CAPACITY: usize = 8;
