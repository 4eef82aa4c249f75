//! WAMP over RawSocket: a handshake of four octets, then frames on the connection's own bytes.
//!
//! ```text
//! 7F │ LLLLSSSS │ 00 │ 00     both ways: the longest message that is taken, 2^(9+L); the serializer
//! 0000 XTTT │ length: X and 24 bits │ a message, or what a PING is to get back
//! ```
//!
//! A PING is answered before anything behind it is looked at. Some clients take PINGs for messages (autobahn on Twisted does):
//! only who has sent a PING or a PONG is sent any. Of the others the system finds out whether they live.
//!
//! Always, each with a test of its name in `front::tests`:
//! - `a_handshake_is_answered_by_the_book`.
//! - `a_ping_gets_its_payload_back_at_once`.
//! - `who_knows_no_pings_is_sent_none`.
//! - `a_frame_against_the_rules_ends_the_connection`.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::wire::{Lost, Turn};
use super::{Transport, Wamp, Way, dialect};
use crate::front::CLOSE_WITHIN;
use crate::front::ration::STRANGER_BYTES_MAX;
use crate::front::socket::Fault;
use crate::front::tcp::{self, Tcp};
use crate::tls::Stream;
use restante_proto::wamp::rawsocket::{
    Frame, FrameDecoder, FrameError, HEAD_BYTES, HandshakeError, Refusal, encode_frame, handshake,
    parse_client, refuse,
};

/// A WELCOME with all that it announces must fit into what a peer takes.
const PEER_BYTES_MIN: usize = 4 * 1024;
/// About how much is written at once.
const WRITE_BYTES: usize = 64 * 1024;

/// What a connection hears of which there are too many, before it has said anything.
pub(in crate::front) fn too_many() -> [u8; HEAD_BYTES] {
    refuse(Refusal::TooMany)
}

/// Hears what the peer wants to speak and answers it.
///
/// # Errors
/// It is not to be, and the peer was told so; why, for metrics and logs.
pub(in crate::front) async fn shake_hands(
    stream: &mut Stream,
    settings: &Wamp,
) -> Result<Way, &'static str> {
    let mut asked = [0; HEAD_BYTES];
    if stream.read_exact(&mut asked).await.is_err() {
        return Err("rawsocket-cut");
    }
    let unix = matches!(stream, Stream::Unix(_));
    let refused = match parse_client(asked) {
        Ok(wanted) if wanted.message_bytes_max >= PEER_BYTES_MIN => {
            let answer = handshake(wanted.serializer, settings.message_bytes_max);
            say(stream, &answer).await.map_err(|_| "rawsocket-cut")?;
            stream.keep_alive(settings.ping_interval);
            return Ok(Way {
                transport: if unix {
                    Transport::Unix
                } else {
                    Transport::RawSocket
                },
                serializer: dialect(wanted.serializer, settings.ubjson_legacy),
                batched: false,
                peer_bytes_max: Some(wanted.message_bytes_max),
            });
        }
        Ok(_) => Refusal::Length,
        Err(HandshakeError::Refused(refusal)) => refusal,
        Err(HandshakeError::NotRawSocket) => return Err("not-rawsocket"),
    };
    let told = timeout(CLOSE_WITHIN, tell_refused(stream, refused)).await;
    tracing::trace!(?told, ?refused, "refused");
    Err(match refused {
        Refusal::Serializer => "rawsocket-serializer",
        Refusal::Length => "rawsocket-length",
        Refusal::Reserved | Refusal::TooMany => "rawsocket-reserved",
    })
}

async fn say(stream: &mut Stream, octets: &[u8]) -> io::Result<()> {
    stream.write_all(octets).await?;
    stream.flush().await
}

/// Tells why, and reads on until the peer has ended its side: with bytes unread the connection would be reset.
async fn tell_refused(stream: &mut Stream, refused: Refusal) -> io::Result<u64> {
    say(stream, &refuse(refused)).await?;
    stream.shutdown().await?;
    tokio::io::copy(stream, &mut tokio::io::sink()).await
}

/// A connection that speaks RawSocket, behind its handshake.
pub(super) struct RawSocket {
    tcp: Tcp,
    /// What came and was not taken yet.
    input: BytesMut,
    decoder: FrameDecoder,
    /// What a frame may have, once the client is known.
    bytes_max: usize,
    /// Whether the peer knows PING and PONG.
    pings: bool,
}

impl RawSocket {
    pub(super) fn new(stream: Stream, bytes_max: usize) -> Self {
        RawSocket {
            tcp: Tcp::new(stream),
            input: BytesMut::new(),
            decoder: FrameDecoder::new(bytes_max.min(STRANGER_BYTES_MAX)),
            bytes_max,
            pings: false,
        }
    }

    pub(super) fn admit(&mut self) {
        self.decoder = FrameDecoder::new(self.bytes_max);
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.tcp.is_blocked()
    }

    /// Writes what waits and, if `read`, waits for a message. Cancel-safe.
    pub(super) async fn turn(&mut self, read: bool) -> Turn {
        loop {
            // No PING is taken whose PONG could not be written.
            let takes = read && !self.tcp.is_blocked();
            if takes && let Some(turn) = self.take() {
                return turn;
            }
            match self.tcp.turn(takes, &mut self.input).await {
                tcp::Turn::Written => return Turn::Written,
                tcp::Turn::Bytes(_) => {}
                tcp::Turn::Closed => return Turn::Ended(Lost::Closed),
                tcp::Turn::Gone => return Turn::Ended(Lost::Gone),
            }
        }
    }

    /// The same, of what is there already.
    pub(super) fn turn_now(&mut self) -> Option<Turn> {
        loop {
            if self.tcp.is_blocked() {
                return None;
            }
            if let Some(turn) = self.take() {
                return Some(turn);
            }
            match self.tcp.turn_now(&mut self.input)? {
                tcp::Turn::Written => return Some(Turn::Written),
                tcp::Turn::Bytes(_) => {}
                tcp::Turn::Closed => return Some(Turn::Ended(Lost::Closed)),
                tcp::Turn::Gone => return Some(Turn::Ended(Lost::Gone)),
            }
        }
    }

    /// Takes a frame, if there is a whole one.
    fn take(&mut self) -> Option<Turn> {
        let frame = match self.decoder.decode(&mut self.input) {
            Ok(frame) => frame?,
            Err(FrameError::TooLarge { .. }) => {
                return Some(Turn::Ended(Lost::Broken(Fault::TooBig)));
            }
            Err(FrameError::Reserved | FrameError::UnknownType(_)) => {
                return Some(Turn::Ended(Lost::Broken(Fault::Protocol)));
            }
        };
        if self.input.is_empty() {
            // An idle connection keeps no room: there are many of them.
            self.input = BytesMut::new();
        }
        self.pings |= !matches!(frame, Frame::Message(_));
        Some(match frame {
            Frame::Message(message) => Turn::Message(message),
            Frame::Pong(_) => Turn::Alive,
            Frame::Ping(payload) => match self.put(Frame::Pong(payload)) {
                Ok(()) => Turn::Alive,
                Err(_) => Turn::Ended(Lost::Gone),
            },
        })
    }

    /// Writes messages for as long as there are some and the peer takes them.
    pub(super) fn write(
        &mut self,
        mut next: impl FnMut(&mut BytesMut) -> Option<Bytes>,
    ) -> io::Result<()> {
        let mut room = BytesMut::new();
        self.tcp.write(|page| {
            while page.len() < WRITE_BYTES
                && let Some(message) = next(&mut room)
            {
                put(&Frame::Message(message), page);
            }
        })
    }

    /// Sends a PING to whoever knows them. Whether the peer's silence means something from now on.
    pub(super) fn ping(&mut self) -> io::Result<()> {
        if self.pings && !self.tcp.is_blocked() {
            self.put(Frame::Ping(Bytes::new()))?;
        }
        Ok(())
    }

    /// Whether the peer answers PINGs, as far as we know.
    pub(super) fn knows_pings(&self) -> bool {
        self.pings
    }

    pub(super) async fn close(self) {
        self.tcp.close().await;
    }

    /// Writes one frame. What the peer does not take at once waits.
    fn put(&mut self, frame: Frame) -> io::Result<()> {
        let mut frame = Some(frame);
        self.tcp.write(|page| {
            if let Some(frame) = frame.take() {
                put(&frame, page);
            }
        })
    }
}

/// No frame is too long here: no peer takes so much.
fn put(frame: &Frame, page: &mut BytesMut) {
    if let Err(error) = encode_frame(frame, page) {
        tracing::error!(%error, "not sent");
    }
}
