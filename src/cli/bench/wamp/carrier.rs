//! How messages are framed: RawSocket, or WebSocket as far as load needs it.

use std::io::Cursor;

use anyhow::{Context, bail, ensure};
use bytes::{Buf as _, Bytes, BytesMut};
use clap::ValueEnum;
use restante_proto::wamp::Serializer;
use restante_proto::wamp::rawsocket::{
    FRAME_BYTES_MAX, Frame, FrameDecoder, HEAD_BYTES, encode_frame, handshake, parse_router,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::door::Entrance;

/// Of nothing, for the example of RFC 6455: whom we ask does not share a cache with anybody.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Bytes of the answer to an upgrade.
const ANSWER_BYTES_MAX: usize = 8 * 1024;
/// What a client masks with. It says nothing that any proxy could mistake, so it may say it plainly: no byte is changed.
const MASK: [u8; 4] = [0; 4];

/// What carries messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Carrier {
    /// Frames over TCP
    #[value(name = "rawsocket")]
    RawSocket,
    /// WebSocket messages
    #[value(name = "websocket")]
    WebSocket,
}

impl Carrier {
    /// Agrees with the router on how to speak.
    ///
    /// # Errors
    /// It does not want to.
    pub(super) async fn shake_hands(
        self,
        stream: &mut TcpStream,
        entrance: &Entrance,
    ) -> anyhow::Result<()> {
        match self {
            Carrier::RawSocket => {
                let ours = handshake(entrance.serializer, FRAME_BYTES_MAX);
                stream.write_all(&ours).await?;
                let mut theirs = [0; HEAD_BYTES];
                stream.read_exact(&mut theirs).await?;
                parse_router(theirs)?;
                Ok(())
            }
            Carrier::WebSocket => upgrade(stream, entrance).await,
        }
    }

    /// Splits one whole frame off the front of `input`, or leaves it as it was.
    ///
    /// # Errors
    /// It is none, or says that the connection ends.
    pub(super) fn split(self, input: &mut BytesMut) -> anyhow::Result<Option<Frame>> {
        match self {
            Carrier::RawSocket => Ok(FrameDecoder::new(FRAME_BYTES_MAX).decode(input)?),
            Carrier::WebSocket => split_web_socket(input),
        }
    }

    /// Writes a frame behind what `out` holds.
    ///
    /// # Errors
    /// It is too large.
    pub(super) fn put(
        self,
        serializer: Serializer,
        frame: &Frame,
        out: &mut BytesMut,
    ) -> anyhow::Result<()> {
        if self == Carrier::RawSocket {
            return Ok(encode_frame(frame, out)?);
        }
        let (opcode, bytes) = match frame {
            Frame::Message(bytes) if serializer.is_text() => (OpCode::Data(Data::Text), bytes),
            Frame::Message(bytes) => (OpCode::Data(Data::Binary), bytes),
            Frame::Ping(bytes) => (OpCode::Control(Control::Ping), bytes),
            Frame::Pong(bytes) => (OpCode::Control(Control::Pong), bytes),
        };
        let header = FrameHeader {
            opcode,
            mask: Some(MASK),
            ..FrameHeader::default()
        };
        let mut head = [0u8; 14];
        let mut room = &mut head[..];
        header.format(bytes.len() as u64, &mut room)?;
        let n_left = room.len();
        let n_head = head.len() - n_left;
        out.extend_from_slice(head.get(..n_head).unwrap_or_default());
        out.extend_from_slice(bytes);
        Ok(())
    }
}

async fn upgrade(stream: &mut TcpStream, entrance: &Entrance) -> anyhow::Result<()> {
    let (path, host) = (&entrance.path, &entrance.host);
    let protocol = entrance.serializer.subprotocol(false);
    let asked = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        // A router has nothing to say before our HELLO: all that comes is the answer.
        ensure!(answer.len() < ANSWER_BYTES_MAX, "the answer has no end");
        let n_bytes = stream.read_buf(&mut answer).await?;
        ensure!(n_bytes > 0, "the router has closed a connection");
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    ensure!(status.contains(" 101 "), "no WebSocket there: {status}");
    ensure!(answer.contains(protocol), "{protocol} is not spoken there");
    Ok(())
}

fn split_web_socket(input: &mut BytesMut) -> anyhow::Result<Option<Frame>> {
    let mut cursor = Cursor::new(&input[..]);
    let Some((header, length)) = FrameHeader::parse(&mut cursor)? else {
        return Ok(None);
    };
    let n_head = cursor.position() as usize;
    let length = usize::try_from(length)?;
    let whole = n_head.checked_add(length).context("a length")?;
    ensure!(length <= FRAME_BYTES_MAX, "a message of {length} bytes");
    if input.len() < whole {
        return Ok(None);
    }
    ensure!(
        header.is_final && header.mask.is_none(),
        "a message in pieces, or masked"
    );
    input.advance(n_head);
    let bytes: Bytes = input.split_to(length).freeze();
    Ok(Some(match header.opcode {
        OpCode::Data(Data::Text | Data::Binary) => Frame::Message(bytes),
        OpCode::Control(Control::Ping) => Frame::Ping(bytes),
        OpCode::Control(Control::Pong) => Frame::Pong(bytes),
        _ => bail!("the router has closed a connection"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_cut_anywhere_waits_for_the_rest() {
        let mut whole = BytesMut::new();
        let header = FrameHeader {
            opcode: OpCode::Data(Data::Binary),
            ..FrameHeader::default()
        };
        let body = vec![7; 300];
        let mut head = Vec::new();
        header.format(body.len() as u64, &mut head).unwrap();
        whole.extend_from_slice(&head);
        whole.extend_from_slice(&body);
        for n in 0..whole.len() {
            let mut cut = BytesMut::from(&whole[..n]);
            assert_eq!(Carrier::WebSocket.split(&mut cut).unwrap(), None);
            assert_eq!(cut, whole[..n]);
        }
        let frame = Carrier::WebSocket.split(&mut whole).unwrap();
        assert_eq!(frame, Some(Frame::Message(body.into())));
        assert!(whole.is_empty());
    }

    #[test]
    fn what_a_client_sends_is_masked_with_nothing() {
        let mut out = BytesMut::new();
        let frame = Frame::Message(Bytes::from_static(b"[1]"));
        Carrier::WebSocket
            .put(Serializer::Json, &frame, &mut out)
            .unwrap();
        assert_eq!(&out[..], b"\x81\x83\0\0\0\0[1]");
    }
}
