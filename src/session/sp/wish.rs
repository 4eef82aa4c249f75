//! What passes between a session and its driver, besides messages.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use restante_proto::sp::CloseCode;
use smallvec::SmallVec;

use crate::broker::Call;

/// What every session of one broker is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Deliveries that may be out at a time where the client asks for no other number; at least 1.
    pub credit: u32,
    /// Requests that one REP has in hand at a time, likewise.
    pub requests: u32,
    /// Words of a stack, or hops, that a message may have.
    pub hops_max: u8,
    /// Messages of one client that may be unconfirmed; at least 1.
    pub window: usize,
    /// Bytes of those.
    pub window_bytes: usize,
    /// After this time a request that was not answered may be asked anew, and one that is in hand goes to somebody else.
    pub reply_within: Duration,
    /// How long a message waits that could not be taken, before it is tried again.
    pub retry_after: Duration,
    /// Messages a second from one connection, a second's worth at once; none: no limit.
    pub publish_rate: Option<NonZeroU32>,
}

/// What a session wants of its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Hand this to the attachment; answered by [`Event::Confirmed`](crate::broker::Event::Confirmed).
    Call {
        /// Its number; they ascend by one.
        tag: u64,
        /// What it asks.
        call: Call,
    },
    /// Raise the credit of the session's consumer of that name.
    Credit {
        /// The consumer.
        consumer: &'static str,
        /// How many it may have been sent, in all.
        limit: u64,
    },
}

/// A message for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// What stands in front of the body.
    pub header: SmallVec<[u8; 32]>,
    /// The body.
    pub body: Bytes,
    /// Whether the driver says when the client has it: [`Session::handle_delivered`](super::Session::handle_delivered).
    pub is_counted: bool,
}

/// How the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The WebSocket is closed: the client of libnanomsg will not come back.
    Close {
        /// The code.
        code: CloseCode,
        /// Why, for people; ours, without any of the client's text.
        reason: &'static str,
    },
    /// The TCP connection ends, without a Close, after a while in which nothing is read: the client comes back.
    Cut {
        /// How long.
        after: Duration,
        /// Why, for the log.
        reason: &'static str,
    },
}

/// What becomes of a message that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Its header is no header.
    Malformed,
    /// It went through too many devices.
    TooDeep,
    /// A client of this role sends nothing.
    Unasked,
    /// It answers nothing that the client has in hand.
    NotAsked,
    /// The broker takes no such message.
    Refused,
}

impl Dropped {
    /// All of them.
    pub const ALL: [Dropped; 5] = [
        Dropped::Malformed,
        Dropped::TooDeep,
        Dropped::Unasked,
        Dropped::NotAsked,
        Dropped::Refused,
    ];

    /// The name used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Dropped::Malformed => "malformed",
            Dropped::TooDeep => "too-deep",
            Dropped::Unasked => "unasked",
            Dropped::NotAsked => "not-asked",
            Dropped::Refused => "refused",
        }
    }
}
