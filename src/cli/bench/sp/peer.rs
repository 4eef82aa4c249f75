//! A client of SP, as far as load needs one: messages in and out of a socket, in large pieces.

use std::io::Cursor;

use anyhow::{Context, bail, ensure};
use bytes::{Buf as _, BytesMut};
use restante_proto::sp::Role;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::super::bytes as wire;
use super::door::Place;

/// Of nothing, for the example of RFC 6455: whom we ask does not share a cache with anybody.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Bytes of the answer to an upgrade.
const ANSWER_BYTES_MAX: usize = 8 * 1024;
/// What a client masks with. It says nothing that any proxy could mistake, so it may say it plainly: no byte is changed.
const MASK: [u8; 4] = [0; 4];
/// Bytes of a time in a body.
const TIME_BYTES: usize = 8;

/// One connection.
pub(super) struct Peer {
    stream: TcpStream,
    input: BytesMut,
    /// How much of it was taken.
    n_taken: usize,
    output: BytesMut,
}

impl Peer {
    /// Connects as a client of that role.
    ///
    /// # Errors
    /// It is not let in.
    pub(super) async fn connect(place: &Place, role: Role) -> anyhow::Result<Peer> {
        let mut stream = TcpStream::connect(place.address)
            .await
            .with_context(|| format!("cannot connect to {}", place.address))?;
        stream.set_nodelay(true)?;
        upgrade(&mut stream, place, role).await?;
        Ok(Peer {
            stream,
            input: BytesMut::new(),
            n_taken: 0,
            output: BytesMut::new(),
        })
    }

    /// Puts a frame, as [`frame`] makes one, to what is to be written.
    pub(super) fn put(&mut self, frame: &[u8]) {
        self.output.extend_from_slice(frame);
    }

    /// Writes what is to be written.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn flush(&mut self) -> anyhow::Result<()> {
        wire::flush(&self.stream, &mut self.output).await
    }

    /// Waits for bytes, and takes what is there. Cancel-safe.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn hear(&mut self) -> anyhow::Result<()> {
        self.input.advance(std::mem::take(&mut self.n_taken));
        wire::hear(&self.stream, &mut self.input).await
    }

    /// The next message of those that are here.
    ///
    /// # Errors
    /// What came is none.
    pub(super) fn take(&mut self) -> anyhow::Result<Option<&[u8]>> {
        let input = self.input.get(self.n_taken..).unwrap_or_default();
        let Some((n_head, length)) = head(input)? else {
            return Ok(None);
        };
        let Some(body) = input.get(n_head..n_head + length) else {
            return Ok(None);
        };
        self.n_taken += n_head + length;
        Ok(Some(body))
    }
}

/// How long the head and the body of the frame are that begins there, once all of its head is.
fn head(input: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let mut cursor = Cursor::new(input);
    let Some((header, length)) = FrameHeader::parse(&mut cursor)? else {
        return Ok(None);
    };
    match header.opcode {
        OpCode::Data(Data::Binary) => {}
        other => bail!("the other end has sent a frame of {other}"),
    }
    ensure!(
        header.is_final && header.mask.is_none(),
        "a message in pieces, or masked"
    );
    Ok(Some((cursor.position() as usize, usize::try_from(length)?)))
}

/// A message as a client sends it.
///
/// # Errors
/// Never, with what is there.
pub(super) fn frame(message: &[u8]) -> anyhow::Result<Vec<u8>> {
    let header = FrameHeader {
        opcode: OpCode::Data(Data::Binary),
        mask: Some(MASK),
        ..FrameHeader::default()
    };
    let mut frame = Vec::with_capacity(message.len() + 14);
    header.format(message.len() as u64, &mut frame)?;
    frame.extend_from_slice(message);
    Ok(frame)
}

/// A frame of a body that has a time in front.
///
/// # Errors
/// As [`frame`].
pub(super) fn template(size: u32) -> anyhow::Result<Vec<u8>> {
    frame(&vec![b'x'; size as usize])
}

/// Puts the time into a frame of a body of `size` bytes.
pub(super) fn stamp(frame: &mut [u8], size: u32, nanos: u64) {
    let at = frame.len().saturating_sub(size as usize);
    if let Some(place) = frame.get_mut(at..at + TIME_BYTES) {
        place.copy_from_slice(&nanos.to_le_bytes());
    }
}

/// The time in front of a body.
pub(super) fn time_of(body: &[u8]) -> u64 {
    body.first_chunk().map_or(0, |it| u64::from_le_bytes(*it))
}

async fn upgrade(stream: &mut TcpStream, place: &Place, role: Role) -> anyhow::Result<()> {
    let (path, host, token) = (&place.path, &place.host, role.token());
    let mut asked = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {token}\r\n"
    );
    if let Some(shown) = &place.authorization {
        asked.push_str(&format!("Authorization: {shown}\r\n"));
    }
    asked.push_str("\r\n");
    stream.write_all(asked.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        // Byte by byte: a message may come right behind.
        ensure!(answer.len() < ANSWER_BYTES_MAX, "the answer has no end");
        let byte = stream.read_u8().await;
        answer.push(byte.context("the other end has closed a connection")?);
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    ensure!(status.contains(" 101 "), "no SP at {path}: {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stamped_is_found_again() {
        for size in [16, 125, 126, 300, 60_000] {
            let mut frame = template(size).unwrap();
            stamp(&mut frame, size, 7);
            let mut header = Cursor::new(&frame);
            let (_, length) = FrameHeader::parse(&mut header).unwrap().unwrap();
            let body = &frame[header.position() as usize..];
            assert_eq!((length, time_of(body)), (u64::from(size), 7));
        }
    }

    #[test]
    fn a_frame_cut_anywhere_waits_for_the_rest() {
        let whole = [&[0x82, 126, 1, 44][..], &[7; 300]].concat();
        for n in 0..4 {
            assert_eq!(head(&whole[..n]).unwrap(), None);
        }
        assert_eq!(head(&whole).unwrap(), Some((4, 300)));
        for wrong in [&[0x02, 1, 7][..], &[0x82, 0x81, 0, 0, 0, 0, 7], &[0x88, 0]] {
            assert!(head(wrong).is_err());
        }
    }
}
