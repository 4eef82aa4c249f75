//! A client's messages, whatever carries them: a WebSocket, RawSocket frames, or HTTP requests.
//!
//! One message each way is a `Bytes` in the client's serializer. Here it gets what is around it: a WebSocket message of the right
//! kind, a batch, a frame, a request's body. What of a batch or of a read is not taken yet waits here, and comes with the next turn.
//!
//! Always, each with a test of its name in `front::tests`:
//! - `every_transport_brings_messages_and_takes_them_back`, in every serializer, batched or not.
//! - `a_message_of_the_wrong_kind_ends_the_connection`.
//! - `a_batch_against_the_rules_ends_the_connection`.
//! - `a_wamp_peer_that_does_not_read_is_not_written_to`.
//! - `a_message_longer_than_the_peer_takes_is_not_sent`.
//! - `before_a_wamp_client_is_known_its_messages_are_short`.
//!
//! Not here: what is in a message (session), when to read, to write or to ping (drive).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;

use super::poll::Polled;
use super::raw::RawSocket;
use super::{Transport, Wamp, Way};
use crate::front::metrics::{self, Metrics};
use crate::front::socket::{self, Fault, Heard, Socket};
use crate::tls::Stream;
use restante_proto::wamp::{Batch, Serializer};

/// What a WebSocket reads into, see [`Socket::new`]: messages are small, and connections many.
const READ_BYTES: usize = 2 * 1024;
/// What a batch may have beyond the longest message.
pub(super) const BATCH_BYTES_MORE: usize = 64 * 1024;
/// How many messages a batch may have.
const BATCH_MESSAGES_MAX: usize = 4096;
/// About how long a batch gets.
const BATCH_BYTES: usize = 64 * 1024;

/// One client's transport.
pub(in crate::front) struct Wire {
    carrier: Carrier,
    way: Way,
    /// What a batch has brought and was not taken yet.
    rest: std::vec::IntoIter<Bytes>,
    batch: Batch,
    /// The longest message that is taken.
    bytes_max: usize,
    /// What a proof can be bound to, where it is one encrypted connection.
    channel: Option<Box<[u8; 32]>>,
    /// Messages and bytes that were not counted yet.
    came: (u64, u64),
    metrics: Arc<Metrics>,
    _open: metrics::Open,
}

enum Carrier {
    WebSocket(Box<Socket>),
    RawSocket(RawSocket),
    LongPoll(Box<Polled>),
}

/// What a turn brought.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::front) enum Turn {
    /// What waited is written; there is room again.
    Written,
    /// A whole message.
    Message(Bytes),
    /// A sign of life that is no message.
    Alive,
    /// Nothing comes any more.
    Ended(Lost),
}

/// Why nothing comes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) enum Lost {
    /// The peer has closed in good order.
    Closed,
    /// The connection is gone.
    Gone,
    /// A long-poll client was without a request for too long.
    Silent,
    /// A WebSocket message of text for a serializer of bytes, or the reverse.
    WrongKind,
    /// A batch that is none, or an empty one.
    BadBatch,
    /// What came is against the rules of what carries it, or too long.
    Broken(Fault),
}

impl Lost {
    /// The name used in metrics and logs.
    pub(in crate::front) fn as_str(self) -> &'static str {
        match self {
            Lost::Closed => "peer-closed",
            Lost::Gone => "gone",
            Lost::Silent => "silent",
            Lost::WrongKind => "wrong-kind",
            Lost::BadBatch => "bad-batch",
            Lost::Broken(Fault::TooBig) => "too-big",
            Lost::Broken(Fault::NotUtf8 | Fault::Protocol) => "bad-transport",
        }
    }

    /// What a WebSocket is closed with (RFC 6455 §7.4.1), and why; none where the peer hears nothing any more.
    pub(in crate::front) fn told(self) -> Option<(u16, &'static str)> {
        match self {
            Lost::Closed | Lost::Gone | Lost::Silent => None,
            Lost::WrongKind => Some((1002, "this subprotocol is in messages of the other kind")),
            Lost::BadBatch => Some((1002, "not a batch of messages")),
            Lost::Broken(Fault::NotUtf8) => Some((1007, "a text message must be UTF-8")),
            Lost::Broken(Fault::TooBig) => Some((1009, "too long a message")),
            Lost::Broken(Fault::Protocol) => Some((1002, "")),
        }
    }
}

impl Wire {
    /// Of a connection that has found its door, after which `early` came.
    pub(super) async fn new(
        way: Way,
        stream: Stream,
        early: Bytes,
        settings: &Wamp,
        metrics: Arc<Metrics>,
    ) -> Self {
        let bytes_max = settings.message_bytes_max;
        let channel = stream.channel_binding().map(Box::new);
        let carrier = match way.transport {
            Transport::WebSocket | Transport::LongPoll => {
                let more = if way.batched { BATCH_BYTES_MORE } else { 0 };
                let socket = Socket::new(stream, early, bytes_max + more, READ_BYTES).await;
                Carrier::WebSocket(Box::new(socket))
            }
            Transport::RawSocket | Transport::Unix => {
                Carrier::RawSocket(RawSocket::new(stream, bytes_max))
            }
        };
        Wire {
            channel,
            ..Wire::of(carrier, way, settings, metrics)
        }
    }

    /// Of a client that comes with HTTP requests.
    pub(super) fn polled(polled: Polled, way: Way, settings: &Wamp, metrics: Arc<Metrics>) -> Self {
        Wire::of(Carrier::LongPoll(Box::new(polled)), way, settings, metrics)
    }

    fn of(carrier: Carrier, way: Way, settings: &Wamp, metrics: Arc<Metrics>) -> Self {
        let (transport, serializer) = (way.transport.as_str(), way.serializer.name());
        Wire {
            carrier,
            way,
            rest: Vec::new().into_iter(),
            batch: Batch::new(way.serializer),
            bytes_max: settings.message_bytes_max,
            channel: None,
            came: (0, 0),
            metrics,
            _open: metrics::wamp_connection(transport, serializer),
        }
    }

    /// How its messages are written.
    pub(in crate::front) fn serializer(&self) -> Serializer {
        self.way.serializer
    }

    /// What a proof can be bound to, so that it is good on this connection alone (cryptosign).
    pub(in crate::front) fn channel(&self) -> Option<[u8; 32]> {
        self.channel.as_deref().copied()
    }

    /// What carries them.
    pub(in crate::front) fn transport(&self) -> Transport {
        self.way.transport
    }

    /// The longest message that the peer takes; none: it did not say. A longer one is not sent.
    pub(in crate::front) fn peer_bytes_max(&self) -> Option<usize> {
        self.way.peer_bytes_max
    }

    /// It is known who the peer is: its messages may be as long as any.
    pub(in crate::front) fn admit(&mut self) {
        match &mut self.carrier {
            Carrier::WebSocket(socket) => socket.admit(),
            Carrier::RawSocket(raw) => raw.admit(),
            Carrier::LongPoll(polled) => polled.admit(),
        }
    }

    /// Whether the peer takes no more for now; a [`turn`](Self::turn) tells when it does.
    pub(in crate::front) fn is_blocked(&self) -> bool {
        match &self.carrier {
            Carrier::WebSocket(socket) => socket.is_blocked(),
            Carrier::RawSocket(raw) => raw.is_blocked(),
            Carrier::LongPoll(polled) => polled.is_blocked(),
        }
    }

    /// Whether a peer that is silent for long although it was pinged is gone: some do not answer pings.
    pub(in crate::front) fn answers_pings(&self) -> bool {
        match &self.carrier {
            Carrier::WebSocket(_) => true,
            Carrier::RawSocket(raw) => raw.knows_pings(),
            // It is not pinged, and silent between two requests; how long it may be is looked at here.
            Carrier::LongPoll(_) => false,
        }
    }

    /// Writes what waits and, if `read`, waits for a message. Cancel-safe.
    pub(in crate::front) async fn turn(&mut self, read: bool) -> Turn {
        self.count();
        loop {
            if read && let Some(turn) = self.take_rest() {
                return turn;
            }
            let turn = match &mut self.carrier {
                Carrier::WebSocket(socket) => match socket.turn(read).await {
                    socket::Turn::Flushed => Turn::Written,
                    socket::Turn::Heard(heard) => of_heard(heard, self.way.serializer),
                },
                Carrier::RawSocket(raw) => raw.turn(read).await,
                Carrier::LongPoll(polled) => polled.turn(read).await,
            };
            if let Some(turn) = self.taken(turn) {
                return turn;
            }
        }
    }

    /// The same, of what is there already.
    pub(in crate::front) fn turn_now(&mut self) -> Option<Turn> {
        loop {
            if let Some(turn) = self.take_rest() {
                return Some(turn);
            }
            let turn = match &mut self.carrier {
                Carrier::WebSocket(socket) => of_heard(socket.hear_now()?, self.way.serializer),
                Carrier::RawSocket(raw) => raw.turn_now()?,
                Carrier::LongPoll(polled) => polled.turn_now()?,
            };
            if let Some(turn) = self.taken(turn) {
                return Some(turn);
            }
        }
    }

    /// Writes messages for as long as there are some and the peer takes them, with one flush at the end. `next` gives one that is
    /// encoded already, or encodes one into the buffer that it is given, which it may make larger, and splits it off.
    ///
    /// # Errors
    /// The connection is gone.
    pub(in crate::front) fn write(
        &mut self,
        mut next: impl FnMut(&mut BytesMut) -> Option<Bytes>,
    ) -> Result<(), Lost> {
        let (mut messages, mut bytes) = (0, 0);
        let bytes_max = self.way.peer_bytes_max.unwrap_or(usize::MAX);
        let next = |room: &mut BytesMut| {
            loop {
                let message = next(room)?;
                if message.len() > bytes_max {
                    // Whoever encodes knows the limit, and has something to say instead.
                    tracing::error!(length = message.len(), bytes_max, "not sent: too long");
                    continue;
                }
                messages += 1;
                bytes += message.len() as u64;
                return Some(message);
            }
        };
        let written = match &mut self.carrier {
            Carrier::WebSocket(socket) if self.way.batched => {
                write_batches(socket, &self.batch, self.way.serializer, next)
            }
            Carrier::WebSocket(socket) => write_each(socket, self.way.serializer, next),
            Carrier::RawSocket(raw) => raw.write(next).map_err(|_| Lost::Gone),
            Carrier::LongPoll(polled) => {
                polled.write(self.way.batched.then_some(&self.batch), next);
                Ok(())
            }
        };
        self.metrics.wamp_written(messages, bytes);
        written
    }

    /// Has the peer show that it lives, where it can and nothing waits that it does not take.
    ///
    /// # Errors
    /// The connection is gone.
    pub(in crate::front) fn ping(&mut self) -> Result<(), Lost> {
        match &mut self.carrier {
            Carrier::WebSocket(socket) => socket.ping().map_err(|_| Lost::Gone),
            Carrier::RawSocket(raw) => raw.ping().map_err(|_| Lost::Gone),
            Carrier::LongPoll(_) => Ok(()),
        }
    }

    /// Closes the connection and waits until the peer has too, or has fetched what there is for it, so that it reads all that was
    /// written. `code` and `reason` are for a WebSocket. The caller bounds how long that may take.
    pub(in crate::front) async fn close(mut self, code: u16, reason: &str) {
        self.count();
        match self.carrier {
            Carrier::WebSocket(socket) => socket.close(code, reason).await,
            Carrier::RawSocket(raw) => raw.close().await,
            Carrier::LongPoll(polled) => polled.close().await,
        }
    }

    /// Answers the peer's close.
    pub(in crate::front) async fn see_out(mut self) {
        self.count();
        match self.carrier {
            Carrier::WebSocket(socket) => socket.see_out().await,
            Carrier::RawSocket(raw) => raw.close().await,
            Carrier::LongPoll(_) => {}
        }
    }

    /// The next message of a batch that is here.
    fn take_rest(&mut self) -> Option<Turn> {
        let message = self.rest.next()?;
        if self.rest.as_slice().is_empty() {
            self.rest = Vec::new().into_iter();
        }
        if message.len() > self.bytes_max {
            return Some(Turn::Ended(Lost::Broken(Fault::TooBig)));
        }
        Some(self.counted(message))
    }

    /// What a turn of the carrier means; none: it is a batch, whose messages come one by one.
    fn taken(&mut self, turn: Turn) -> Option<Turn> {
        match turn {
            Turn::Message(batch) if self.way.batched => {
                match self.batch.split(&batch, BATCH_MESSAGES_MAX) {
                    Ok(messages) => {
                        self.rest = messages.into_iter();
                        None
                    }
                    Err(_) => Some(Turn::Ended(Lost::BadBatch)),
                }
            }
            Turn::Message(message) => Some(self.counted(message)),
            other => Some(other),
        }
    }

    fn counted(&mut self, message: Bytes) -> Turn {
        self.came.0 += 1;
        self.came.1 += message.len() as u64;
        Turn::Message(message)
    }

    /// Counts what came since the last turn that was waited for.
    fn count(&mut self) {
        let (messages, bytes) = std::mem::take(&mut self.came);
        self.metrics.wamp_read(messages, bytes);
    }
}

fn of_heard(heard: Heard, serializer: Serializer) -> Turn {
    match heard {
        Heard::Text(message) if serializer.is_text() => Turn::Message(message),
        Heard::Binary(message) if !serializer.is_text() => Turn::Message(message),
        Heard::Text(_) | Heard::Binary(_) => Turn::Ended(Lost::WrongKind),
        Heard::Alive(_) => Turn::Alive,
        Heard::Bad(fault, _) => Turn::Ended(Lost::Broken(fault)),
        Heard::Closed => Turn::Ended(Lost::Closed),
        Heard::Gone => Turn::Ended(Lost::Gone),
    }
}

fn write_each(
    socket: &mut Socket,
    serializer: Serializer,
    mut next: impl FnMut(&mut BytesMut) -> Option<Bytes>,
) -> Result<(), Lost> {
    let written = socket.write(|room| {
        loop {
            // What is no text is our mistake, and told as one.
            if let Some(message) = in_web_socket(next(room)?, serializer) {
                return Some(message);
            }
        }
    });
    written.map(|_| ()).map_err(|_| Lost::Gone)
}

fn write_batches(
    socket: &mut Socket,
    batch: &Batch,
    serializer: Serializer,
    mut next: impl FnMut(&mut BytesMut) -> Option<Bytes>,
) -> Result<(), Lost> {
    let written = socket.write(|room| {
        loop {
            let mut together = BytesMut::new();
            while together.len() < BATCH_BYTES
                && let Some(message) = next(room)
            {
                join(batch, &message, &mut together);
            }
            if together.is_empty() {
                return None;
            }
            if let Some(message) = in_web_socket(together.freeze(), serializer) {
                return Some(message);
            }
        }
    });
    written.map(|_| ()).map_err(|_| Lost::Gone)
}

/// Puts a message into a batch. None is so long that it could not be there.
pub(super) fn join(batch: &Batch, message: &[u8], together: &mut BytesMut) {
    if let Err(error) = batch.append_message(together, message) {
        tracing::error!(%error, "not sent");
    }
}

/// None: it should have been text.
fn in_web_socket(message: Bytes, serializer: Serializer) -> Option<Message> {
    if !serializer.is_text() {
        return Some(Message::Binary(message));
    }
    match Utf8Bytes::try_from(message) {
        Ok(text) => Some(Message::Text(text)),
        Err(error) => {
            tracing::error!(%error, "not sent: a message in JSON that is not UTF-8");
            None
        }
    }
}
