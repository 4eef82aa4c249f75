//! One WebSocket: frames in and out, with one flush for everything that was ready.
//!
//! Reading goes on while writing waits: a broker that stops reading until we have read what it wrote would otherwise
//! wait for us as we wait for it. So both are one poll, and nothing here is a future that must not be dropped.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use restante_proto::mbws::{self, Frame, Limits};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::error::Broken;
use super::options::Binding;
use crate::tls::Stream as Connection;

/// Encoded bytes that may wait for the socket before the application is made to wait.
const QUEUED_BYTES_MAX: usize = 256 * 1024;
/// Grown by this much at a time: many small frames share one allocation.
const CHUNK_BYTES: usize = 64 * 1024;
/// A broker is trusted with larger frames than its clients are, but not with all memory.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What came from the socket.
#[derive(Debug)]
pub(super) enum Incoming {
    Frame(Frame),
    /// Something that needs no answer from us; the peer is alive.
    Sign,
    /// Nothing came, but there is room for frames again.
    Room,
}

/// One open WebSocket.
pub(super) struct Wire {
    socket: WebSocketStream<Connection>,
    binding: Binding,
    limits: Limits,
    queue: VecDeque<Message>,
    queued_bytes: usize,
    unflushed: bool,
    buffer: BytesMut,
}

impl Wire {
    pub(super) fn new(socket: WebSocketStream<Connection>, binding: Binding) -> Self {
        Wire {
            socket,
            binding,
            limits: limits(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            unflushed: false,
            buffer: BytesMut::new(),
        }
    }

    /// The settings of the socket: small buffers, because each read clears the free part of its own.
    pub(super) fn config() -> WebSocketConfig {
        WebSocketConfig::default()
            .read_buffer_size(16 * 1024)
            .write_buffer_size(32 * 1024)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX))
    }

    /// Whether frames may be queued.
    pub(super) fn has_room(&self) -> bool {
        self.queued_bytes < QUEUED_BYTES_MAX
    }

    /// Encodes `frame` and queues it; sent by [`next`](Self::next).
    pub(super) fn queue(&mut self, frame: &Frame) {
        if self.buffer.capacity() < CHUNK_BYTES / 4 {
            self.buffer.reserve(CHUNK_BYTES);
        }
        let message = match self.binding {
            Binding::Binary => {
                mbws::encode_binary(frame, &mut self.buffer);
                Message::Binary(self.buffer.split().freeze())
            }
            Binding::Text => {
                mbws::encode_text(frame, &mut self.buffer);
                text_message(self.buffer.split().freeze())
            }
        };
        self.push(message);
    }

    /// Queues a ping.
    pub(super) fn ping(&mut self) {
        self.push(Message::Ping(Bytes::new()));
    }

    /// Queues the WebSocket's own goodbye.
    pub(super) fn goodbye(&mut self) {
        self.push(Message::Close(None));
    }

    fn push(&mut self, message: Message) {
        self.queued_bytes += message.len();
        self.queue.push_back(message);
    }

    /// Writes what is queued and reads what comes, whichever can be done. May be dropped half-way.
    pub(super) async fn next(&mut self) -> Result<Incoming, Broken> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Incoming, Broken>> {
        let had_room = self.has_room();
        self.poll_write(cx)?;
        match Pin::new(&mut self.socket).poll_next(cx) {
            Poll::Ready(Some(message)) => return Poll::Ready(self.decode(message?)),
            Poll::Ready(None) => return Poll::Ready(Err(Broken::Closed(None))),
            Poll::Pending => {}
        }
        if !had_room && self.has_room() {
            return Poll::Ready(Ok(Incoming::Room));
        }
        Poll::Pending
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), Broken> {
        while !self.queue.is_empty() {
            match Pin::new(&mut self.socket).poll_ready(cx)? {
                Poll::Pending => return Ok(()),
                Poll::Ready(()) => {}
            }
            if let Some(message) = self.queue.pop_front() {
                self.queued_bytes -= message.len();
                self.unflushed = true;
                Pin::new(&mut self.socket).start_send(message)?;
            }
        }
        if self.unflushed && Pin::new(&mut self.socket).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        Ok(())
    }

    fn decode(&self, message: Message) -> Result<Incoming, Broken> {
        match message {
            Message::Binary(bytes) => {
                let frame = mbws::decode_binary(&bytes, &self.limits)?;
                Ok(Incoming::Frame(frame))
            }
            Message::Text(text) => {
                let frame = mbws::decode_text(&Bytes::from(text), &self.limits)?;
                Ok(Incoming::Frame(frame))
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(Incoming::Sign),
            Message::Close(frame) => {
                let why = frame.filter(|frame| !frame.reason.is_empty());
                Err(Broken::Closed(why.map(|frame| frame.reason.to_string())))
            }
        }
    }
}

fn limits() -> Limits {
    Limits {
        frame_bytes_max: FRAME_BYTES_MAX,
        header_bytes_max: 1024 * 1024,
        field_bytes_max: 1024 * 1024,
        ..Limits::default()
    }
}

fn text_message(bytes: Bytes) -> Message {
    // The text codec writes UTF-8 only; were it not so, the broker would say `not-utf8`.
    let text = Utf8Bytes::try_from(bytes.clone());
    text.map_or(Message::Binary(bytes), Message::Text)
}
