//! What the client has sent and the broker has not confirmed yet; and what it could not take, which is tried again in order while
//! the client has to wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::message::NewMessage;

/// How many are tried again at once: of many clients that wait for room each costs little.
const AT_ONCE: usize = 16;

/// What is kept of a message.
#[derive(Debug)]
pub(super) enum Kept {
    /// Of a PUSH's: all else is the same for all of them.
    Body(Bytes),
    /// Of another.
    Whole(Box<NewMessage>),
}

/// Messages on their way into the broker.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// With their tags, ascending.
    unconfirmed: VecDeque<(u64, Kept)>,
    bytes: usize,
    /// To be tried again, in order.
    again: VecDeque<Kept>,
    /// When.
    again_at: Option<Instant>,
}

impl Sending {
    /// It was called with that tag.
    pub(super) fn push(&mut self, tag: u64, message: Kept) {
        self.bytes += weight(&message);
        self.unconfirmed.push_back((tag, message));
    }

    /// Takes what is confirmed up to a tag, in order.
    pub(super) fn confirmed(&mut self, upto: u64) -> Vec<(u64, Kept)> {
        let n = self.unconfirmed.partition_point(|(tag, _)| *tag <= upto);
        let taken: Vec<_> = self.unconfirmed.drain(..n).collect();
        self.bytes -= taken.iter().map(|(_, it)| weight(it)).sum::<usize>();
        taken
    }

    /// The broker could not take them: they are tried again after a while, before those that were put here earlier, which the client
    /// has sent behind them.
    pub(super) fn put_back(&mut self, messages: VecDeque<Kept>, now: Instant, after: Duration) {
        if messages.is_empty() {
            return;
        }
        for message in messages.into_iter().rev() {
            self.again.push_front(message);
        }
        self.again_at = Some(now + after);
    }

    /// All that was tried was taken: the next ones are tried at once.
    pub(super) fn go_on(&mut self, now: Instant) {
        if !self.again.is_empty() {
            self.again_at = Some(now);
        }
    }

    /// Whether more may be sent.
    pub(super) fn has_room(&self, window: usize, bytes: usize) -> bool {
        self.again.is_empty() && self.unconfirmed.len() < window && self.bytes < bytes
    }

    /// Whether something could not be taken yet.
    pub(super) fn has_to_wait(&self) -> bool {
        !self.again.is_empty()
    }

    /// Whether all is confirmed, and nothing is to be tried again.
    pub(super) fn is_empty(&self) -> bool {
        self.unconfirmed.is_empty() && self.again.is_empty()
    }

    /// When something is to be tried again; none as long as more is on its way.
    pub(super) fn again_at(&self) -> Option<Instant> {
        self.again_at.filter(|_| self.unconfirmed.is_empty())
    }

    /// What is to be tried again now, the first few of it. Only once all that was sent behind it is confirmed too, so that the order
    /// stays.
    pub(super) fn due(&mut self, now: Instant) -> VecDeque<Kept> {
        if self.again_at().is_none_or(|at| at > now) {
            return VecDeque::new();
        }
        self.again_at = None;
        let n = self.again.len().min(AT_ONCE);
        self.again.drain(..n).collect()
    }
}

fn weight(message: &Kept) -> usize {
    match message {
        Kept::Body(body) => body.len(),
        Kept::Whole(message) => message.body.len(),
    }
}
