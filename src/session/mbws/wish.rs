//! What passes between a session and its driver, besides frames.

use std::num::NonZeroU32;
use std::time::Duration;

use restante_proto::mbws::{Code, Ranges};

use super::AttachWish;
use crate::broker::Call;

/// What every session of one broker is told, in the broker's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The broker's id, as told in `opened`.
    pub broker: String,
    /// Product and version, as told in `opened`.
    pub server: String,
    /// How many sequenced frames of one socket may be unconfirmed; at least 1.
    pub window: u32,
    /// Largest WebSocket message that is taken, in bytes, as told in `opened`.
    pub frame_bytes_max: u32,
    /// Time between pings where the client wishes none other; whole seconds, at least 1.
    pub heartbeat: Duration,
    /// How long a client may take from its connection's beginning to its `open`.
    pub open_within: Duration,
    /// `send`s a second from one connection, a second's worth at once; none: no limit.
    pub publish_rate: Option<NonZeroU32>,
}

/// The binding of one frame: a text or a binary WebSocket message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// MBWS.md §5.
    Text,
    /// MBWS.md §6.
    Binary,
}

/// What a session wants of its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Authenticate and attach; answered by [`Session::handle_attached`](super::Session::handle_attached).
    Attach(Box<AttachWish>),
    /// Hand this to the attachment; answered by [`Event::Confirmed`](crate::broker::Event::Confirmed).
    Call {
        /// The frame's seq.
        tag: u64,
        /// What it asks.
        call: Call,
    },
    /// Raise a consumer's credit.
    Credit {
        /// The client's name for the consumer.
        consumer: String,
        /// The absolute count.
        limit: u64,
    },
    /// Say what a resumed client has in hand.
    Hold {
        /// The client's name for the consumer.
        consumer: String,
        /// Offsets in hand.
        offsets: Ranges,
    },
    /// End the session for good.
    End,
}

/// Why and how the WebSocket is to be closed, once all frames are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// The WebSocket close code.
    pub close_code: u16,
    /// The code of the `error` frame before it; none for an orderly end.
    pub code: Option<Code>,
    /// Why, for people; ours, without any of the client's text.
    pub reason: String,
}
