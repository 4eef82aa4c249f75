//! The bytes of an MQTT connection as one stream, whether they come by TCP or in WebSocket messages (MQTT 5.0 §6).
//!
//! ```text
//! TCP or TLS ────────────▶ ┐
//!                          ├─ input ─▶ decoder        session ─▶ output ─▶ TCP, or one binary message
//! binary messages, joined ▶┘
//! ```
//!
//! Where a message begins and ends means nothing [MQTT-6.0.0-2]; one that is not binary ends the connection
//! [MQTT-6.0.0-1].
//!
//! Always, each with a test of its name in `front::tests`:
//! - `packets_may_be_cut_anywhere`, and share messages.
//! - `a_text_message_ends_the_connection`.

use bytes::{Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::front::door::Door;
use crate::front::socket::{self, Fault, Heard, Socket};
use crate::front::tcp::{self, Tcp};
use crate::tls::Stream;

/// What a WebSocket reads into, see [`Socket::new`]: packets are small, and connections many.
const READ_BYTES: usize = 2 * 1024;

/// One connection's bytes.
pub(super) enum Wire {
    Tcp(Tcp),
    /// In a box, so that those without do not pay for it.
    WebSocket(Box<Socket>),
}

/// What a turn brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// What waited is written; there is room again.
    Written,
    /// So many bytes, which are in the input. Of an empty message: 0.
    Bytes(usize),
    /// Something without a byte of MQTT's.
    Nothing,
    /// Nothing comes any more.
    Ended(Lost),
}

/// Why nothing comes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// The peer has closed in good order, as far as it can without a DISCONNECT.
    Closed,
    /// The connection is gone.
    Gone,
    /// A WebSocket message that is not binary.
    NotBinary,
    /// What came is no WebSocket's.
    Broken(Fault),
}

impl Wire {
    /// Of a connection that has found its door. No WebSocket message is longer than `bytes_max`.
    pub(super) async fn new(door: Door, stream: Stream, early: Bytes, bytes_max: usize) -> Self {
        match door {
            Door::MqttOverTcp => Wire::Tcp(Tcp::new(stream)),
            Door::MqttOverWebSocket | Door::Mbws | Door::Wamp(_) | Door::Sp => {
                let socket = Socket::new(stream, early, bytes_max, READ_BYTES).await;
                Wire::WebSocket(Box::new(socket))
            }
        }
    }

    /// It is known who the peer is. Of TCP the decoder knows that.
    pub(super) fn admit(&mut self) {
        if let Wire::WebSocket(socket) = self {
            socket.admit();
        }
    }

    /// Whether the peer takes no more for now; a [`turn`](Self::turn) tells when it does.
    pub(super) fn is_blocked(&self) -> bool {
        match self {
            Wire::Tcp(tcp) => tcp.is_blocked(),
            Wire::WebSocket(socket) => socket.is_blocked(),
        }
    }

    /// Writes what waits and, if `read`, waits for bytes, which it puts to `input`. Cancel-safe.
    pub(super) async fn turn(&mut self, read: bool, input: &mut BytesMut) -> Turn {
        match self {
            Wire::Tcp(tcp) => tcp.turn(read, input).await.into(),
            Wire::WebSocket(socket) => match socket.turn(read).await {
                socket::Turn::Flushed => Turn::Written,
                socket::Turn::Heard(heard) => join(heard, input),
            },
        }
    }

    /// The same, of what is there already.
    pub(super) fn turn_now(&mut self, input: &mut BytesMut) -> Option<Turn> {
        match self {
            Wire::Tcp(tcp) => tcp.turn_now(input).map(Turn::from),
            Wire::WebSocket(socket) => Some(join(socket.hear_now()?, input)),
        }
    }

    /// Has `fill` encode into what is sent, for as long as it does and the peer takes it.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) fn write(&mut self, mut fill: impl FnMut(&mut BytesMut)) -> Result<(), Lost> {
        match self {
            Wire::Tcp(tcp) => tcp.write(fill).map_err(|_| Lost::Gone),
            Wire::WebSocket(socket) => {
                let written = socket.write(|output| {
                    fill(output);
                    let message = output.split().freeze();
                    (!message.is_empty()).then_some(Message::Binary(message))
                });
                written.map(|_| ()).map_err(|_| Lost::Gone)
            }
        }
    }

    /// Closes the connection and waits until the peer has too, so that it reads all that was written. `code` and
    /// `reason` are for a WebSocket.
    pub(super) async fn close(self, code: u16, reason: &str) {
        match self {
            Wire::Tcp(tcp) => tcp.close().await,
            Wire::WebSocket(socket) => socket.close(code, reason).await,
        }
    }

    /// Answers the peer's close.
    pub(super) async fn see_out(self) {
        match self {
            Wire::Tcp(tcp) => tcp.close().await,
            Wire::WebSocket(socket) => socket.see_out().await,
        }
    }
}

impl From<tcp::Turn> for Turn {
    fn from(turn: tcp::Turn) -> Self {
        match turn {
            tcp::Turn::Written => Turn::Written,
            tcp::Turn::Bytes(n_bytes) => Turn::Bytes(n_bytes),
            tcp::Turn::Closed => Turn::Ended(Lost::Closed),
            tcp::Turn::Gone => Turn::Ended(Lost::Gone),
        }
    }
}

/// Puts a message's bytes behind those that are there.
fn join(heard: Heard, input: &mut BytesMut) -> Turn {
    match heard {
        Heard::Binary(bytes) => {
            let n_bytes = bytes.len();
            if input.is_empty() {
                *input = BytesMut::from(bytes);
            } else {
                input.extend_from_slice(&bytes);
            }
            Turn::Bytes(n_bytes)
        }
        Heard::Text(_) | Heard::Bad(Fault::NotUtf8, _) => Turn::Ended(Lost::NotBinary),
        Heard::Alive(_) => Turn::Nothing,
        Heard::Bad(fault, _) => Turn::Ended(Lost::Broken(fault)),
        Heard::Closed => Turn::Ended(Lost::Closed),
        Heard::Gone => Turn::Ended(Lost::Gone),
    }
}
