//! WAMP RawSocket: the handshake and the frames of a byte stream.
//!
//! ```text
//! client: 7F | LLLL SSSS | 00 | 00    messages up to 2^(9+L) bytes are taken; the serializer's number
//! router: the same, or 7F | EEEE 0000 | 00 | 00
//! frame:  RRRR X TTT | length, 24 bits, big-endian | as many bytes; X alone says 2^24
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Serializer;

/// The first byte of a handshake, which begins neither HTTP nor MQTT nor TLS.
pub const MAGIC: u8 = 0x7f;

/// Bytes of a handshake, and of a frame's head.
pub const HEAD_BYTES: usize = 4;

/// The longest message that any frame can hold: 2^24 bytes.
pub const FRAME_BYTES_MAX: usize = 1 << 24;

/// The shortest message that every peer has to take: 2^9 bytes.
pub const FRAME_BYTES_MIN: usize = 1 << 9;

/// What a peer says in its handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake {
    /// The serializer.
    pub serializer: Serializer,
    /// Bytes of the longest message that the peer takes: a power of two, from 512 to 2^24.
    pub message_bytes_max: usize,
}

/// How a router refuses a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Error 1.
    #[error("the serializer is not spoken here")]
    Serializer = 1,
    /// Error 2.
    #[error("the maximum length of messages is not acceptable")]
    Length = 2,
    /// Error 3.
    #[error("reserved bits of the handshake are set")]
    Reserved = 3,
    /// Error 4.
    #[error("there are too many connections")]
    TooMany = 4,
}

/// Why a handshake fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// It does not begin with [`MAGIC`]: close without an answer.
    #[error("this is not a handshake of WAMP RawSocket")]
    NotRawSocket,
    /// It is one, and is to be answered with [`refuse`]. For a client: how the router answered.
    #[error(transparent)]
    Refused(Refusal),
}

/// What a client says.
///
/// # Errors
/// [`HandshakeError`], which says how to answer.
pub fn parse_client(octets: [u8; HEAD_BYTES]) -> Result<Handshake, HandshakeError> {
    let [magic, both, reserved @ ..] = octets;
    if magic != MAGIC {
        return Err(HandshakeError::NotRawSocket);
    }
    if reserved != [0, 0] {
        return Err(HandshakeError::Refused(Refusal::Reserved));
    }
    let serializer = Serializer::from_rawsocket_number(both & 0x0f);
    Ok(Handshake {
        serializer: serializer.ok_or(HandshakeError::Refused(Refusal::Serializer))?,
        message_bytes_max: FRAME_BYTES_MIN << (both >> 4),
    })
}

/// What a router answers, read by a client.
///
/// # Errors
/// [`HandshakeError`]: a refusal of another number is one of reserved bits.
pub fn parse_router(octets: [u8; HEAD_BYTES]) -> Result<Handshake, HandshakeError> {
    if let [MAGIC, both, ..] = octets
        && both & 0x0f == 0
    {
        return Err(HandshakeError::Refused(match both >> 4 {
            1 => Refusal::Serializer,
            2 => Refusal::Length,
            4 => Refusal::TooMany,
            _ => Refusal::Reserved,
        }));
    }
    parse_client(octets)
}

/// A handshake's bytes, a client's or a router's: `message_bytes_max` is rounded down to a power of two, and up to 512.
pub fn handshake(serializer: Serializer, message_bytes_max: usize) -> [u8; HEAD_BYTES] {
    let max = message_bytes_max.clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX);
    let length = (max.ilog2() - FRAME_BYTES_MIN.ilog2()) as u8;
    [MAGIC, length << 4 | serializer.rawsocket_number(), 0, 0]
}

/// A refusal's bytes.
pub fn refuse(refusal: Refusal) -> [u8; HEAD_BYTES] {
    [MAGIC, (refusal as u8) << 4, 0, 0]
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A message, as the serializer has it.
    Message(Bytes),
    /// To be answered with a pong of the same bytes.
    Ping(Bytes),
    /// The answer to a ping.
    Pong(Bytes),
}

/// Why bytes are no frame: the connection fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Reserved bits are set, or the length is said twice.
    #[error("reserved bits of a frame are set")]
    Reserved,
    /// There is no frame of this type.
    #[error("there is no frame of type {0}")]
    UnknownType(u8),
    /// It is longer than is taken.
    #[error("the frame has {claimed} bytes, and {max} are taken")]
    TooLarge {
        /// How many bytes it says it has.
        claimed: usize,
        /// How many are taken.
        max: usize,
    },
}

/// Takes frames off a stream.
#[derive(Debug, Clone)]
pub struct FrameDecoder {
    message_bytes_max: usize,
}

impl FrameDecoder {
    /// A decoder of frames whose contents have at most `message_bytes_max` bytes: what the handshake promised to take.
    pub fn new(message_bytes_max: usize) -> FrameDecoder {
        FrameDecoder { message_bytes_max }
    }

    /// Splits one whole frame off the front of `input`, or leaves `input` as it was.
    ///
    /// `Ok(None)`: not all here yet; read more and call again.
    ///
    /// # Errors
    /// [`FrameError`]: close the connection; its bytes are not needed to know.
    pub fn decode(&self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(&[first, lengths @ ..]) = input.first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let frame: fn(Bytes) -> Frame = match first & 0x07 {
            0 => Frame::Message,
            1 => Frame::Ping,
            2 => Frame::Pong,
            other => return Err(FrameError::UnknownType(other)),
        };
        let length = lengths
            .iter()
            .fold(0, |n: usize, b| n << 8 | usize::from(*b));
        let length = match first >> 3 {
            0 => length,
            1 if length == 0 => FRAME_BYTES_MAX,
            _ => return Err(FrameError::Reserved),
        };
        if length > self.message_bytes_max {
            return Err(FrameError::TooLarge {
                claimed: length,
                max: self.message_bytes_max,
            });
        }
        if input.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        input.advance(HEAD_BYTES);
        Ok(Some(frame(input.split_to(length).freeze())))
    }
}

/// Writes a frame behind what `out` holds.
///
/// # Errors
/// [`FrameError::TooLarge`]: no frame holds more than 2^24 bytes.
pub fn encode_frame(frame: &Frame, out: &mut BytesMut) -> Result<(), FrameError> {
    let (kind, bytes) = match frame {
        Frame::Message(bytes) => (0, bytes),
        Frame::Ping(bytes) => (1, bytes),
        Frame::Pong(bytes) => (2, bytes),
    };
    let head = head(kind, bytes.len())?;
    out.reserve(HEAD_BYTES + bytes.len());
    out.put_slice(&head);
    out.put_slice(bytes);
    Ok(())
}

/// Writes the one message that `write` writes behind what `out` holds, framed: no longer than `message_bytes_max`,
/// what the peer takes.
///
/// # Errors
/// What `write` says, or [`FrameError::TooLarge`]; `out` is as it was.
pub fn append_message<E: From<FrameError>>(
    out: &mut BytesMut,
    message_bytes_max: usize,
    write: impl FnOnce(&mut BytesMut) -> Result<(), E>,
) -> Result<(), E> {
    let before = out.len();
    out.put_slice(&[0; HEAD_BYTES]);
    let written = write(out).and_then(|()| {
        let length = out.len().saturating_sub(before + HEAD_BYTES);
        if length > message_bytes_max {
            return Err(FrameError::TooLarge {
                claimed: length,
                max: message_bytes_max,
            }
            .into());
        }
        Ok(head(0, length)?)
    });
    match (written, out.get_mut(before..before + HEAD_BYTES)) {
        (Ok(head), Some(place)) => {
            place.copy_from_slice(&head);
            Ok(())
        }
        (Ok(_), None) => Ok(()),
        (Err(error), _) => {
            out.truncate(before);
            Err(error)
        }
    }
}

fn head(kind: u8, length: usize) -> Result<[u8; HEAD_BYTES], FrameError> {
    match length {
        0..FRAME_BYTES_MAX => {
            let [_, lengths @ ..] = (length as u32).to_be_bytes();
            let [a, b, c] = lengths;
            Ok([kind, a, b, c])
        }
        FRAME_BYTES_MAX => Ok([kind | 0x08, 0, 0, 0]),
        _ => Err(FrameError::TooLarge {
            claimed: length,
            max: FRAME_BYTES_MAX,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_says_what_it_was_made_of() {
        for serializer in Serializer::ALL {
            let octets = handshake(serializer, 1 << 20);
            let number = serializer.rawsocket_number();
            assert_eq!(octets, [0x7f, 0xb0 | number, 0, 0]);
            let read = parse_client(octets).unwrap();
            assert_eq!(read.message_bytes_max, 1 << 20);
            assert_eq!(read.serializer.rawsocket_number(), number);
            assert_eq!(parse_router(octets), Ok(read));
        }
        assert_eq!(handshake(Serializer::Json, usize::MAX), [0x7f, 0xf1, 0, 0]);
        assert_eq!(handshake(Serializer::Json, 0), [0x7f, 0x01, 0, 0]);
        assert_eq!(handshake(Serializer::Json, 1023), [0x7f, 0x01, 0, 0]);
    }

    #[test]
    fn a_bad_handshake_is_refused_with_its_number() {
        for (octets, refusal) in [
            ([0x7f, 0xf0, 0, 0], Refusal::Serializer),
            ([0x7f, 0xf5, 0, 0], Refusal::Serializer),
            ([0x7f, 0xf1, 1, 0], Refusal::Reserved),
            ([0x7f, 0xf1, 0, 1], Refusal::Reserved),
        ] {
            assert_eq!(parse_client(octets), Err(HandshakeError::Refused(refusal)));
        }
        let http = parse_client(*b"GET ");
        assert_eq!(http, Err(HandshakeError::NotRawSocket));
        for refusal in [
            Refusal::Serializer,
            Refusal::Length,
            Refusal::Reserved,
            Refusal::TooMany,
        ] {
            let octets = refuse(refusal);
            assert_eq!(octets, [0x7f, (refusal as u8) << 4, 0, 0]);
            assert_eq!(parse_router(octets), Err(HandshakeError::Refused(refusal)));
        }
    }

    #[test]
    fn frames_are_read_as_they_were_written_however_they_are_cut() {
        let frames = [
            Frame::Message(Bytes::from_static(b"[1]")),
            Frame::Ping(Bytes::new()),
            Frame::Pong(Bytes::from(vec![7; 70_000])),
            Frame::Message(Bytes::new()),
        ];
        let mut stream = BytesMut::new();
        for frame in &frames {
            encode_frame(frame, &mut stream).unwrap();
        }
        for size in [1, 3, 4, 5, 1000, stream.len()] {
            let decoder = FrameDecoder::new(1 << 17);
            let mut input = BytesMut::new();
            let mut read = Vec::new();
            for piece in stream.chunks(size) {
                input.extend_from_slice(piece);
                while let Some(frame) = decoder.decode(&mut input).unwrap() {
                    read.push(frame);
                }
            }
            assert_eq!(read, frames);
            assert!(input.is_empty());
        }
    }

    #[test]
    fn the_longest_frame_is_said_by_a_bit_of_its_own() {
        let message = Bytes::from(vec![0; FRAME_BYTES_MAX]);
        let mut out = BytesMut::new();
        encode_frame(&Frame::Message(message.clone()), &mut out).unwrap();
        assert_eq!(out[..4], [0x08, 0, 0, 0]);
        let frame = FrameDecoder::new(FRAME_BYTES_MAX).decode(&mut out);
        assert_eq!(frame, Ok(Some(Frame::Message(message))));
        let longer = Frame::Ping(Bytes::from(vec![0; FRAME_BYTES_MAX + 1]));
        assert!(encode_frame(&longer, &mut out).is_err());
    }

    #[test]
    fn a_bad_frame_is_refused_by_its_head_alone() {
        let decoder = FrameDecoder::new(512);
        for (head, error) in [
            ([0x10, 0, 0, 0], FrameError::Reserved),
            ([0x80, 0, 0, 0], FrameError::Reserved),
            ([0x08, 0, 0, 1], FrameError::Reserved),
            ([0x03, 0, 0, 0], FrameError::UnknownType(3)),
            ([0x07, 0, 0, 0], FrameError::UnknownType(7)),
            (
                [0x00, 0, 2, 1],
                FrameError::TooLarge {
                    claimed: 513,
                    max: 512,
                },
            ),
            (
                [0x01, 0xff, 0xff, 0xff],
                FrameError::TooLarge {
                    claimed: (1 << 24) - 1,
                    max: 512,
                },
            ),
            (
                [0x08, 0, 0, 0],
                FrameError::TooLarge {
                    claimed: 1 << 24,
                    max: 512,
                },
            ),
        ] {
            assert_eq!(decoder.decode(&mut BytesMut::from(&head[..])), Err(error));
        }
    }

    #[test]
    fn a_message_that_the_peer_does_not_take_leaves_no_trace() {
        let mut out = BytesMut::from("x");
        let write = |out: &mut BytesMut| {
            out.put_slice(&[1; 513]);
            Ok(())
        };
        let refused = append_message(&mut out, 512, write);
        assert_eq!(
            refused,
            Err(FrameError::TooLarge {
                claimed: 513,
                max: 512
            })
        );
        assert_eq!(out, "x");
        append_message(&mut out, 513, write).unwrap();
        assert_eq!(out[..6], [b'x', 0, 0, 2, 1, 1]);
    }
}
