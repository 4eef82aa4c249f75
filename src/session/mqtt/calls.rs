//! Calls on their way through the broker, and the answers that wait for them: told in the order of the packets that they
//! answer, as MQTT wants it of PUBACK and PUBREC [MQTT-4.6.0-2, -3].

use std::collections::VecDeque;

use restante_proto::mqtt::PacketId;

use super::output::Answer;
use super::subscribe::Change;
use super::wish::Wish;
use crate::broker::Call;

/// What follows once a call is confirmed.
#[derive(Debug)]
pub(super) enum Waits {
    /// Nothing is told of a QoS 0 publish, unless its refusal closes the connection.
    Unacknowledged,
    /// PUBACK.
    Puback(PacketId),
    /// PUBREC.
    Pubrec(PacketId),
    /// PUBCOMP: a publish was forgotten.
    Pubcomp(PacketId),
    /// PUBREL: a delivery is settled.
    Pubrel(PacketId),
    /// One code of the first answer to SUBSCRIBE or UNSUBSCRIBE that is being filled in.
    Change(Box<Change>),
    /// That answer has all its codes.
    Codes,
    /// An answer that needed no call, behind those that came before it.
    Answer(Answer),
}

/// The calls of one connection.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// The last tag that was called.
    last: u64,
    /// The last tag that the broker confirmed; never above `last`.
    confirmed: u64,
    /// By tag, ascending; a tag may be there more than once.
    waiting: VecDeque<(u64, Waits)>,
}

impl Calls {
    /// From the last tag that is durable.
    pub(super) fn begin(&mut self, confirmed: u64) {
        (self.last, self.confirmed) = (confirmed, confirmed);
    }

    /// Whether that call is confirmed.
    pub(super) fn is_confirmed(&self, tag: u64) -> bool {
        tag <= self.confirmed
    }

    /// How many calls are not confirmed yet.
    pub(super) fn in_flight(&self) -> u64 {
        self.last - self.confirmed
    }

    /// The tag of the next call.
    pub(super) fn next(&self) -> u64 {
        self.last + 1
    }

    /// The changes of subscriptions that wait.
    pub(super) fn changes(&mut self) -> impl Iterator<Item = &mut Change> {
        self.waiting.iter_mut().filter_map(|(_, it)| match it {
            Waits::Change(change) => Some(&mut **change),
            _ => None,
        })
    }

    /// A call whose answer is of interest.
    pub(super) fn call_for(&mut self, call: Call, waits: Waits) -> Wish {
        let wish = self.call(call);
        self.waiting.push_back((self.last, waits));
        wish
    }

    /// A call whose answer is not.
    pub(super) fn call(&mut self, call: Call) -> Wish {
        self.last += 1;
        Wish::Call {
            tag: self.last,
            call,
        }
    }

    /// Puts what needs no call behind all answers that wait; gives it back if none does.
    pub(super) fn behind(&mut self, waits: Waits) -> Option<Waits> {
        if self.waiting.is_empty() {
            return Some(waits);
        }
        self.waiting.push_back((self.last, waits));
        None
    }

    /// All calls up to `upto` are confirmed.
    pub(super) fn confirmed(&mut self, upto: u64) {
        assert!(
            upto <= self.last,
            "confirmed up to {upto}, but called only up to {}",
            self.last
        );
        self.confirmed = self.confirmed.max(upto);
    }

    /// The next thing that waited and waits no more, with its tag.
    pub(super) fn next_confirmed(&mut self) -> Option<(u64, Waits)> {
        let confirmed = self.confirmed;
        let next = self.waiting.pop_front_if(|(tag, _)| *tag <= confirmed);
        if self.waiting.is_empty() && self.waiting.capacity() > IDLE_CAPACITY {
            self.waiting.shrink_to(IDLE_CAPACITY);
        }
        next
    }
}

/// Room that an idle connection may keep: there are many of them.
const IDLE_CAPACITY: usize = 32;
