//! WAMP at the front: its transports, up to whole messages as bytes.
//!
//! ```text
//! RawSocket (TCP, TLS, Unix socket) ─▶ raw  ─┐
//! WebSocket ─────────────────────────▶ wire ─┼─ messages ⇄ drive ⇄ session ⇄ broker
//! HTTP requests of long-poll ─▶ http ─▶ poll ┘
//! ```
//!
//! Not here: what is in a message (`restante_proto::wamp`, session).

mod drive;
pub(super) mod http;
mod poll;
mod raw;
mod wire;

use std::time::{Duration, Instant};

use restante_proto::wamp::Serializer;

use super::Front;
use super::door::Arrival;
#[cfg(test)]
use super::door::Client;
use super::newcomers::Newcomer;
use super::port::Inside;
use crate::session;
#[cfg(test)]
pub(super) use poll::ENDED_WITHIN;
pub(super) use poll::LongPolls;
pub(super) use raw::{shake_hands, too_many};
pub(super) use wire::{Lost, Turn, Wire};

/// The WAMP door.
#[derive(Debug, Clone, PartialEq)]
pub struct Wamp {
    /// Where WAMP over WebSocket is: each `/`, or without a slash at its end.
    pub paths: Vec<String>,
    /// A message, over whatever transport.
    pub message_bytes_max: usize,
    /// How often a client is pinged; silent for two of these, it is gone.
    pub ping_interval: Duration,
    /// Whether UBJSON is the big-endian one.
    pub ubjson_legacy: bool,
    /// Long-poll, below each path; none: it is not offered.
    pub long_poll: Option<LongPoll>,
    /// What sessions are told. Its `open_within` counts from accept.
    pub session: session::wamp::Settings,
    /// What tests have instead of sessions: whatever comes goes out again.
    #[cfg(test)]
    pub(crate) echo: Option<super::tests::Echo>,
}

/// WAMP over HTTP requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongPoll {
    /// How long a request waits for a message.
    pub poll_within: Duration,
    /// How long a client may be without a request.
    pub session_within: Duration,
}

/// How messages come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) transport: Transport,
    pub(super) serializer: Serializer,
    /// Whether several messages go together.
    pub(super) batched: bool,
    /// The longest message that the peer takes; none: it did not say.
    pub(super) peer_bytes_max: Option<usize>,
}

/// What carries messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    /// A message each, or a batch of them.
    WebSocket,
    /// Frames over TCP or TLS.
    RawSocket,
    /// The same over a Unix socket.
    Unix,
    /// HTTP requests.
    LongPoll,
}

impl Transport {
    /// The name used in metrics and logs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Transport::WebSocket => "websocket",
            Transport::RawSocket => "rawsocket",
            Transport::Unix => "unix",
            Transport::LongPoll => "longpoll",
        }
    }

    /// Whether messages come in the order in which the client sent them. Requests of long-poll go over several connections: a
    /// client that does not wait for the answer to each has some that overtake others, and in a browser cannot help it.
    pub(super) fn keeps_order(self) -> bool {
        self != Transport::LongPoll
    }
}

/// The serializer and whether messages are batched, of a subprotocol that is spoken here.
pub(super) fn spoken(subprotocol: &str, ubjson_legacy: bool) -> Option<(Serializer, bool)> {
    match Serializer::from_subprotocol(subprotocol)? {
        (Serializer::Ubjson | Serializer::UbjsonLegacy, true) => None,
        (serializer, batched) => Some((dialect(serializer, ubjson_legacy), batched)),
    }
}

/// Two dialects of UBJSON have one name.
fn dialect(serializer: Serializer, ubjson_legacy: bool) -> Serializer {
    match serializer {
        Serializer::Ubjson if ubjson_legacy => Serializer::UbjsonLegacy,
        other => other,
    }
}

/// Serves a connection that has found the WAMP door, to its end.
pub(super) async fn enter<B: Inside>(
    front: &Front<B>,
    arrival: Box<Arrival>,
    way: Way,
    began: Instant,
    newcomer: Newcomer,
) {
    let Some(settings) = &front.settings.wamp else {
        return;
    };
    // In a box that is dropped: how it begins is no part of what a connection costs afterwards.
    #[expect(
        clippy::async_yields_async,
        reason = "what comes next is not to be in that box"
    )]
    let opening = Box::pin(async move {
        let Arrival {
            stream,
            early,
            client,
        } = arrival.unboxed();
        let metrics = front.metrics.clone();
        let wire = Wire::new(way, stream, early, settings, metrics).await;
        drive(front, client, wire, began, newcomer)
    });
    let driven = opening.await;
    driven.await;
}

#[cfg(not(test))]
pub(super) use drive::drive;

/// As [`drive::drive`], or what tests have instead.
#[cfg(test)]
pub(super) async fn drive<B: Inside>(
    front: &Front<B>,
    client: Client,
    wire: Wire,
    began: Instant,
    newcomer: Newcomer,
) {
    if let Some(echo) = front.settings.wamp.as_ref().and_then(|it| it.echo.clone()) {
        return super::tests::echo(front, (client, wire), (began, newcomer), echo).await;
    }
    drive::drive(front, client, wire, began, newcomer).await;
}
