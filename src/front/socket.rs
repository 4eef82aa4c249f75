//! A WebSocket that moves MBWS frames in batches: many messages a wake-up, many frames a flush.
//!
//! ```text
//! next() … now_or_never()*  ─▶ Heard ─▶ driver
//! driver ─▶ frame ─▶ encoded ─▶ write buffer ─▶ one flush
//! ```
//!
//! Always, each with a test of its name in `front::tests`:
//! - `a_peer_that_does_not_read_is_not_written_to`: past the kernel's buffers one write buffer and one frame wait here.
//!
//! Not here: when to read or to write (drive), what a frame means (session).

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use restante_proto::mbws::{Code, Frame, encode_binary, encode_text};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::Utf8Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use crate::session::mbws::Binding;

/// Tungstenite clears the free part of this before every read, so that a large one makes small messages slow: 8 KiB
/// costs 14 KiB a connection and is three times as fast on many connections as the default of 128 KiB.
const READ_BUFFER_BYTES: usize = 8 * 1024;
/// Written when there is so much, flushed or not.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// Frames of a batch are encoded into pieces of one buffer of this size, or of the frame's if it is larger.
const ENCODE_BYTES: usize = 4 * 1024;
/// RFC 6455 §5.5.
const CLOSE_REASON_BYTES_MAX: usize = 123;

/// One upgraded connection.
pub(super) struct Socket {
    ws: WebSocketStream<TcpStream>,
    encoded: BytesMut,
    /// Whether the peer takes no more for now: something waits in the write buffer.
    blocked: bool,
    /// Whether reading has come to an end.
    ended: bool,
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
    /// A whole message.
    Message(Bytes, Binding),
    /// A ping or a pong.
    Alive,
    /// Something that ends the connection with an error.
    Bad {
        code: Code,
        reason: String,
        /// The message's, where it was one.
        binding: Option<Binding>,
    },
    /// The peer closes the WebSocket in good order.
    Closed,
    /// The connection is gone.
    Gone,
}

impl Turn {
    /// How many messages it brought.
    pub(super) fn messages(&self) -> u64 {
        u64::from(matches!(self, Turn::Heard(Heard::Message(..))))
    }

    /// How many bytes of messages.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Turn::Heard(Heard::Message(message, _)) => message.len(),
            Turn::Heard(_) | Turn::Flushed => 0,
        }
    }
}

impl Socket {
    /// On a TCP connection that has been upgraded, after which `early` came. No message is longer than `bytes_max`.
    pub(super) async fn new(stream: TcpStream, early: Bytes, bytes_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            // Never reached: nothing is written while something waits. A delivery may be longer than what its sender
            // sent by base64 and the broker's own fields.
            .max_write_buffer_size(WRITE_BUFFER_BYTES + 2 * bytes_max + 64 * 1024)
            .max_message_size(Some(bytes_max))
            .max_frame_size(Some(bytes_max))
            .accept_unmasked_frames(false);
        let (early, role) = (early.to_vec(), Role::Server);
        Socket {
            ws: WebSocketStream::from_partially_read(stream, early, role, Some(config)).await,
            encoded: BytesMut::new(),
            blocked: false,
            ended: false,
        }
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
            return Poll::Ready(match flushed {
                Ok(()) => Turn::Flushed,
                Err(_) => Turn::Heard(Heard::Gone),
            });
        }
        if read {
            return self
                .ws
                .poll_next_unpin(cx)
                .map(|item| Turn::Heard(self.heard(item)));
        }
        Poll::Pending
    }

    /// A message, if one is there already.
    pub(super) fn hear_now(&mut self) -> Option<Heard> {
        let item = self.ws.next().now_or_never()?;
        Some(self.heard(item))
    }

    /// Writes frames for as long as the peer takes them, with one flush at the end; says how many.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn write(
        &mut self,
        mut next: impl FnMut() -> Option<(Frame, Binding)>,
    ) -> Result<u64, WsError> {
        let mut written = 0;
        while !self.blocked
            && let Some((frame, binding)) = next()
        {
            let message = self.encode(&frame, binding);
            self.ws.start_send_unpin(message)?;
            self.advance(|ws, cx| ws.poll_ready_unpin(cx))?;
            written += 1;
        }
        if written > 0 {
            self.encoded = BytesMut::new();
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
        while let Some(Ok(_)) = self.ws.next().await {}
        if self.ended {
            // After an error the WebSocket layer reads no more. What still comes is of no interest.
            let mut stream = self.ws.into_inner();
            if stream.shutdown().await.is_ok() {
                let rest = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                tracing::trace!(?rest, "read to the end after an error");
            }
        }
    }

    fn flush(&mut self) -> Result<(), WsError> {
        self.advance(|ws, cx| ws.poll_flush_unpin(cx))
    }

    /// Tries something that only the peer's slowness can hold up. Nobody is woken for it: the next turn sees to that.
    fn advance(
        &mut self,
        mut poll: impl FnMut(
            &mut WebSocketStream<TcpStream>,
            &mut Context<'_>,
        ) -> Poll<Result<(), WsError>>,
    ) -> Result<(), WsError> {
        match poll_fn(|cx| poll(&mut self.ws, cx)).now_or_never() {
            Some(done) => done,
            None => {
                self.blocked = true;
                Ok(())
            }
        }
    }

    fn encode(&mut self, frame: &Frame, binding: Binding) -> Message {
        if self.encoded.capacity() == 0 {
            self.encoded.reserve(ENCODE_BYTES);
        }
        match binding {
            Binding::Binary => {
                encode_binary(frame, &mut self.encoded);
                Message::Binary(self.encoded.split().freeze())
            }
            Binding::Text => {
                encode_text(frame, &mut self.encoded);
                let text = Utf8Bytes::try_from(self.encoded.split().freeze());
                Message::Text(text.expect("a frame in text is UTF-8"))
            }
        }
    }

    fn heard(&mut self, item: Option<Result<Message, WsError>>) -> Heard {
        match item {
            Some(Ok(Message::Text(text))) => Heard::Message(Bytes::from(text), Binding::Text),
            Some(Ok(Message::Binary(bytes))) => Heard::Message(bytes, Binding::Binary),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Heard::Alive,
            Some(Ok(Message::Close(_))) => Heard::Closed,
            Some(Err(error)) => {
                self.ended = true;
                bad(error)
            }
            None => Heard::Gone,
        }
    }
}

/// What an error of the WebSocket layer means; none of its texts quotes the peer.
fn bad(error: WsError) -> Heard {
    let (code, binding) = match &error {
        WsError::Utf8(_) => (Code::NotUtf8, Some(Binding::Text)),
        WsError::Capacity(_) => (Code::TooBig, None),
        WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return Heard::Gone,
        WsError::Protocol(_) | WsError::AttackAttempt => (Code::Protocol, None),
        _ => return Heard::Gone,
    };
    let reason = match &error {
        WsError::Utf8(_) => "a text message must be UTF-8".to_owned(),
        error => error.to_string(),
    };
    Heard::Bad {
        code,
        reason,
        binding,
    }
}
