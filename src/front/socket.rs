//! A WebSocket that moves messages in batches: many of them a wake-up, many of them a flush.
//!
//! ```text
//! next() … now_or_never()*  ─▶ Heard ─▶ driver
//! driver ─▶ message ─▶ write buffer ─▶ one flush
//! ```
//!
//! Always, each with a test of its name in `front::tests`:
//! - `a_peer_that_does_not_read_is_not_written_to`: past the kernel's buffers one write buffer and one message wait here.
//!
//! Not here: when to read or to write (drive, mqtt), what is in a message (the codecs).

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use super::ration::{Rationed, STRANGER_BYTES_MAX};
use crate::tls::Stream;

/// Written when there is so much, flushed or not.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// RFC 6455 §5.5.
const CLOSE_REASON_BYTES_MAX: usize = 123;

/// One upgraded connection.
pub(super) struct Socket {
    ws: WebSocketStream<Rationed>,
    /// Room for messages of one batch.
    encoded: BytesMut,
    /// Whether the peer takes no more for now: something waits in the write buffer.
    blocked: bool,
    /// Whether reading has come to an end.
    ended: bool,
    /// Bytes of all frames so far, on the wire.
    queued: u64,
    /// Whether something could not be written, and never will be.
    failed: bool,
}

/// What a turn brought.
#[derive(Debug)]
pub(super) enum Turn {
    /// What waited is written; there is room again.
    Flushed,
    /// Something came.
    Heard(Heard),
}

/// What came.
#[derive(Debug)]
pub(super) enum Heard {
    /// A whole message, in UTF-8.
    Text(Bytes),
    /// A whole message.
    Binary(Bytes),
    /// A ping or a pong; of a pong, what it has.
    Alive(Option<Bytes>),
    /// Something that ends the connection with an error, and what is wrong with it.
    Bad(Fault, String),
    /// The peer closes the WebSocket in good order.
    Closed,
    /// The connection is gone.
    Gone,
}

/// What breaks the rules of WebSocket, or ours of sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// A text message that is not UTF-8.
    NotUtf8,
    /// A message that is too long.
    TooBig,
    /// Anything else.
    Protocol,
}

impl Turn {
    /// How many messages it brought.
    pub(super) fn messages(&self) -> u64 {
        u64::from(self.message().is_some())
    }

    /// How many bytes of messages.
    pub(super) fn bytes(&self) -> usize {
        self.message().map_or(0, Bytes::len)
    }

    fn message(&self) -> Option<&Bytes> {
        match self {
            Turn::Heard(Heard::Text(message) | Heard::Binary(message)) => Some(message),
            Turn::Heard(_) | Turn::Flushed => None,
        }
    }
}

impl Socket {
    /// On a connection that has been upgraded, after which `early` came. No message is longer than `bytes_max`, nor what comes
    /// before the client is [admitted](Self::admit) than `STRANGER_BYTES_MAX`.
    ///
    /// Tungstenite keeps a buffer of `read_bytes`, idle or not, and clears its free part before every read, so that a large one
    /// makes small messages slow: 8 KiB is three times as fast on many connections as the default of 128 KiB.
    pub(super) async fn new(
        stream: Stream,
        early: Bytes,
        bytes_max: usize,
        read_bytes: usize,
    ) -> Self {
        let config = config(bytes_max, read_bytes);
        let (early, role) = (early.to_vec(), Role::Server);
        let stream = Rationed::new(stream, early.len());
        Socket {
            ws: WebSocketStream::from_partially_read(stream, early, role, Some(config)).await,
            encoded: BytesMut::new(),
            blocked: false,
            ended: false,
            queued: 0,
            failed: false,
        }
    }

    /// Where the last frame ends that was written, in bytes from the first one's beginning.
    pub(super) fn position(&self) -> u64 {
        self.queued
    }

    /// How far the peer's system has what was written, likewise. Never too far.
    ///
    /// # Errors
    /// The system does not say.
    pub(super) fn arrived(&self) -> std::io::Result<u64> {
        let stream = self.ws.get_ref();
        let flushed = !self.blocked && !self.failed;
        let arrived = stream.arrived(flushed)?.unwrap_or(0);
        // A pong that another has replaced was counted, and is not among what was written.
        let is_all = flushed && arrived == stream.written();
        Ok(if is_all { self.queued } else { arrived })
    }

    /// Whether the peer has ended its side, though not all that it sent was read.
    pub(super) fn is_ended_by_peer(&self) -> bool {
        self.ws.get_ref().is_ended_by_peer()
    }

    /// Says that nothing more is written, without a word of WebSocket's: what the peer has sent can still be read.
    pub(super) fn end_writing(&mut self) {
        let shut = self.ws.get_mut().shutdown().now_or_never();
        tracing::trace!(?shut, "nothing more is written");
    }

    /// Ends the connection without a word of WebSocket's.
    pub(super) async fn cut(self) {
        let shut = self.ws.into_inner().shut().await;
        tracing::trace!(?shut, "cut");
    }

    /// It is known who the peer is: its messages may be as long as any.
    pub(super) fn admit(&mut self) {
        self.ws.get_mut().admit();
    }

    /// Whether the peer takes no more for now; a [`turn`](Self::turn) tells when it does.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Writes what waits and, if `read`, waits for a message. Cancel-safe.
    pub(super) async fn turn(&mut self, read: bool) -> Turn {
        poll_fn(|cx| self.poll_turn(cx, read)).await
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<Turn> {
        if self.blocked
            && let Poll::Ready(flushed) = self.ws.poll_flush_unpin(cx)
        {
            self.blocked = false;
            self.failed |= flushed.is_err();
            return Poll::Ready(match flushed {
                Ok(()) => Turn::Flushed,
                Err(_) => Turn::Heard(Heard::Gone),
            });
        }
        if !read {
            return Poll::Pending;
        }
        match self.ws.poll_next_unpin(cx) {
            Poll::Ready(item) => Poll::Ready(Turn::Heard(self.heard(item))),
            Poll::Pending if self.ws.get_ref().is_exceeded() => {
                self.ended = true;
                let why =
                    format!("more than {STRANGER_BYTES_MAX} bytes before the client is known");
                Poll::Ready(Turn::Heard(Heard::Bad(Fault::TooBig, why)))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// A message, if one is there already.
    pub(super) fn hear_now(&mut self) -> Option<Heard> {
        let item = self.ws.next().now_or_never()?;
        Some(self.heard(item))
    }

    /// Writes messages for as long as the peer takes them, with one flush at the end; says how many. `next` encodes one
    /// into the buffer that it is given, which it may make larger, and splits it off.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn write(
        &mut self,
        mut next: impl FnMut(&mut BytesMut) -> Option<Message>,
    ) -> Result<u64, WsError> {
        let mut written = 0;
        while !self.blocked
            && let Some(message) = next(&mut self.encoded)
        {
            self.queued += match &message {
                Message::Frame(frame) => frame.len() as u64,
                whole => wire_bytes(whole.len()),
            };
            let taken = self.ws.start_send_unpin(message);
            self.failed |= taken.is_err();
            taken?;
            self.advance(|ws, cx| ws.poll_ready_unpin(cx))?;
            written += 1;
        }
        // An idle connection keeps no room: there are many of them.
        self.encoded = BytesMut::new();
        if written > 0 {
            self.flush()?;
        }
        Ok(written)
    }

    /// Sends a ping, unless there is something that the peer does not take.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn ping(&mut self) -> Result<(), WsError> {
        if !self.blocked {
            self.ws.start_send_unpin(Message::Ping(Bytes::new()))?;
            self.flush()?;
        }
        Ok(())
    }

    /// Closes the WebSocket and waits until the peer has closed it too, so that it reads all that was written: a TCP
    /// connection closed with unread bytes is reset, and a reset overtakes data.
    pub(super) async fn close(mut self, code: u16, reason: &str) {
        let cut = reason.floor_char_boundary(CLOSE_REASON_BYTES_MAX);
        let reason = reason.get(..cut).unwrap_or_default();
        let frame = CloseFrame {
            code: CloseCode::from(code),
            reason: Utf8Bytes::from(reason),
        };
        if self.ws.send(Message::Close(Some(frame))).await.is_ok() {
            self.see_out().await;
        }
    }

    /// Reads on until the peer is gone; answers its close, if it sent one.
    pub(super) async fn see_out(mut self) {
        // What a stranger sends beyond its ration is not taken in any more, only read past.
        while !self.ws.get_ref().is_exceeded()
            && let Some(Ok(_)) = self.ws.next().await
        {}
        // TLS has an end of its own, without which the peer must take this for a connection that was cut.
        let mut stream = self.ws.into_inner();
        stream.admit();
        let ended = stream.shutdown().await;
        if self.ended && ended.is_ok() {
            // After an error the WebSocket layer reads no more. What still comes is of no interest.
            let rest = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            tracing::trace!(?rest, "read to the end after an error");
        }
    }

    fn flush(&mut self) -> Result<(), WsError> {
        self.advance(|ws, cx| ws.poll_flush_unpin(cx))
    }

    /// Tries something that only the peer's slowness can hold up. Nobody is woken for it: the next turn sees to that.
    fn advance(
        &mut self,
        mut poll: impl FnMut(
            &mut WebSocketStream<Rationed>,
            &mut Context<'_>,
        ) -> Poll<Result<(), WsError>>,
    ) -> Result<(), WsError> {
        match poll_fn(|cx| poll(&mut self.ws, cx)).now_or_never() {
            Some(done) => {
                self.failed |= done.is_err();
                done
            }
            None => {
                self.blocked = true;
                Ok(())
            }
        }
    }

    fn heard(&mut self, item: Option<Result<Message, WsError>>) -> Heard {
        match item {
            Some(Ok(Message::Text(text))) => Heard::Text(Bytes::from(text)),
            Some(Ok(Message::Binary(bytes))) => Heard::Binary(bytes),
            Some(Ok(Message::Ping(payload))) => {
                // It is answered by a pong of the same bytes.
                self.queued += wire_bytes(payload.len());
                Heard::Alive(None)
            }
            Some(Ok(Message::Pong(payload))) => Heard::Alive(Some(payload)),
            Some(Ok(Message::Frame(_))) => Heard::Alive(None),
            Some(Ok(Message::Close(_))) => Heard::Closed,
            Some(Err(error)) => {
                self.ended = true;
                bad(error)
            }
            None => Heard::Gone,
        }
    }
}

/// Bytes of a frame that a server sends (RFC 6455 §5.2).
fn wire_bytes(payload: usize) -> u64 {
    let head = match payload {
        0..126 => 2,
        126..0x1_0000 => 4,
        _ => 10,
    };
    payload as u64 + head
}

/// What WebSocket's layer takes and keeps. It answers pings and closes, of itself it sends nothing.
pub(super) fn config(bytes_max: usize, read_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(read_bytes)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        // Never reached: nothing is written while something waits. A delivery may be longer than what its sender
        // sent by base64 and the broker's own fields.
        .max_write_buffer_size(WRITE_BUFFER_BYTES + 2 * bytes_max + 64 * 1024)
        .max_message_size(Some(bytes_max))
        .max_frame_size(Some(bytes_max))
        .accept_unmasked_frames(false)
}

/// What an error of the WebSocket layer means; none of its texts quotes the peer.
pub(super) fn bad(error: WsError) -> Heard {
    let fault = match &error {
        WsError::Utf8(_) => Fault::NotUtf8,
        WsError::Capacity(_) => Fault::TooBig,
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return Heard::Gone,
        WsError::Protocol(_) | WsError::AttackAttempt => Fault::Protocol,
        _ => return Heard::Gone,
    };
    let reason = match fault {
        Fault::NotUtf8 => "a text message must be UTF-8".to_owned(),
        Fault::TooBig | Fault::Protocol => error.to_string(),
    };
    Heard::Bad(fault, reason)
}
