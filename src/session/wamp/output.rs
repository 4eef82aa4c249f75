//! What is to be written: in order, encoded when there is room.
//!
//! An event is encoded once for all who get it and speak the same serializer; what stands before that is written here.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use restante_proto::wamp::{EncodeError, EventTail, Message, Serializer, encode, write_event};

use super::wish::Tally;
use crate::wamp::code;

/// Room that is kept for what comes next.
const IDLE_CAPACITY: usize = 8;

/// Something to be written.
#[derive(Debug)]
enum Out {
    Message(Box<Message>),
    Event {
        subscription: u64,
        tail: Arc<EventTail>,
        queued: Option<Queued>,
    },
}

/// Of an event that comes from a queue: which it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Queued {
    pub(super) publication: u64,
    pub(super) offset: u64,
    pub(super) attempt: u32,
}

/// What could not be written, for the session to see to.
#[derive(Debug)]
pub(super) enum Unwritten {
    Message {
        message: Box<Message>,
        why: Why,
    },
    /// It is larger than what the client takes, so many bytes.
    Event {
        subscription: u64,
        queued: Queued,
        peer_max: usize,
    },
}

/// Why it could not.
#[derive(Debug)]
pub(super) enum Why {
    /// The client takes so many bytes.
    TooLarge(usize),
    /// The client's serializer has no words for it.
    Unspeakable(EncodeError),
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Output {
    serializer: Serializer,
    queue: VecDeque<Out>,
    /// About how many bytes wait in it.
    n_bytes: usize,
}

impl Output {
    pub(super) fn new(serializer: Serializer) -> Self {
        Output {
            serializer,
            queue: VecDeque::new(),
            n_bytes: 0,
        }
    }

    pub(super) fn message(&mut self, message: Message) {
        self.n_bytes += weight(&message);
        self.queue.push_back(Out::Message(Box::new(message)));
    }

    /// `queued`: which it is in its queue, if it comes from one.
    pub(super) fn event(
        &mut self,
        subscription: u64,
        tail: Arc<EventTail>,
        queued: Option<Queued>,
    ) {
        self.n_bytes += tail.len();
        self.queue.push_back(Out::Event {
            subscription,
            tail,
            queued,
        });
    }

    /// Takes back what waits of a call's answers; whether the last of them is among it.
    pub(super) fn take_back(&mut self, request: u64) -> bool {
        let (mut is_over, mut n_bytes) = (false, 0);
        self.queue.retain(|out| {
            let Out::Message(message) = out else {
                return true;
            };
            let Some(is_last) = answers(message, request) else {
                return true;
            };
            is_over |= is_last;
            n_bytes += weight(message);
            false
        });
        self.n_bytes = self.n_bytes.saturating_sub(n_bytes);
        is_over
    }

    /// Gives back room that nothing is in.
    pub(super) fn rest(&mut self) {
        self.queue.shrink_to(0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Encodes the next message, in `room`, and splits it off. `peer_max`: what the client takes in one message. An event of no queue
    /// that cannot be written is passed over; all else is given back.
    pub(super) fn next(
        &mut self,
        peer_max: usize,
        room: &mut BytesMut,
        tally: &mut Tally,
    ) -> Option<Result<Bytes, Unwritten>> {
        while let Some(out) = self.queue.pop_front() {
            let unwritten = match out {
                Out::Message(message) => {
                    self.n_bytes = self.n_bytes.saturating_sub(weight(&message));
                    let why = match encode(self.serializer, &message, room) {
                        Ok(()) if room.len() <= peer_max => None,
                        Ok(()) => Some(Why::TooLarge(peer_max)),
                        Err(error) => Some(Why::Unspeakable(error)),
                    };
                    why.map(|why| Some(Unwritten::Message { message, why }))
                }
                Out::Event {
                    subscription,
                    tail,
                    queued,
                } => {
                    self.n_bytes = self.n_bytes.saturating_sub(tail.len());
                    write_event(room, subscription, &tail);
                    let event = |queued| Unwritten::Event {
                        subscription,
                        queued,
                        peer_max,
                    };
                    (room.len() > peer_max).then(|| queued.map(event))
                }
            };
            let Some(unwritten) = unwritten else {
                tally.written += 1;
                return Some(Ok(room.split().freeze()));
            };
            room.clear();
            match &unwritten {
                Some(Unwritten::Message {
                    why: Why::Unspeakable(_),
                    ..
                }) => tally.unspeakable += 1,
                _ => tally.too_large += 1,
            }
            if let Some(unwritten) = unwritten {
                return Some(Err(unwritten));
            }
        }
        if self.queue.capacity() > IDLE_CAPACITY {
            self.queue.shrink_to(IDLE_CAPACITY);
        }
        None
    }
}

/// Whether a message is the last answer to that call; none: it is no answer to it.
fn answers(message: &Message, call: u64) -> Option<bool> {
    match message {
        Message::Result {
            request, details, ..
        } if *request == call => Some(details.get("progress").is_none()),
        Message::Error {
            request_type: code::CALL,
            request,
            ..
        } if *request == call => Some(true),
        _ => None,
    }
}

/// About how many bytes a message holds on to.
fn weight(message: &Message) -> usize {
    const REST: usize = 128;
    let payload = match message {
        Message::Invocation { payload, .. }
        | Message::Result { payload, .. }
        | Message::Event { payload, .. }
        | Message::Error { payload, .. } => payload.len(),
        _ => 0,
    };
    payload + REST
}
