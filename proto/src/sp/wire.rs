//! For tests: frames as clients mask them and as servers do not, without any of WebSocket's rules.

use bytes::{Bytes, BytesMut};

use super::{Fragment, fragments};

/// Binary, in a first frame.
const BINARY: u8 = 0x02;
/// Its text.
const TEXT: u8 = 0x01;
const CLOSE: u8 = 0x08;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Message(Bytes),
    Close(u16),
}

/// What masked frames, all of them whole, are together. Pings are passed over.
pub(super) fn sent(bytes: &[u8]) -> Vec<Sent> {
    let mut sent = Vec::new();
    let mut message = BytesMut::new();
    let mut rest = bytes;
    while let [first, second, after @ ..] = rest {
        let (length, after) = match second & 0x7f {
            126 => {
                let (length, after) = after.split_first_chunk::<2>().unwrap();
                (usize::from(u16::from_be_bytes(*length)), after)
            }
            127 => panic!("no vector is that long"),
            length => (usize::from(length), after),
        };
        let (mask, after) = after.split_first_chunk::<4>().unwrap();
        let (payload, after) = after.split_at(length);
        rest = after;
        assert_eq!(second & 0x80, 0x80, "it is masked");
        let payload = payload.iter().zip(mask.iter().cycle());
        let payload: Vec<u8> = payload.map(|(byte, mask)| byte ^ mask).collect();
        match first & 0x0f {
            CLOSE => sent.push(Sent::Close(u16::from_be_bytes([payload[0], payload[1]]))),
            0 | TEXT | BINARY => {
                message.extend_from_slice(&payload);
                if first & 0x80 != 0 {
                    sent.push(Sent::Message(message.split().freeze()));
                }
            }
            _ => {}
        }
    }
    assert!(rest.is_empty() && message.is_empty());
    sent
}

/// A server's frames of a message.
pub(super) fn served(header: &[u8], body: &Bytes) -> Vec<u8> {
    fragments(header, body.clone())
        .flat_map(|it| frame(&it))
        .collect()
}

fn frame(fragment: &Fragment) -> Vec<u8> {
    let opcode = if fragment.is_first { BINARY } else { 0 };
    let fin = if fragment.is_last { 0x80 } else { 0 };
    let length = fragment.payload.len();
    let mut frame = vec![fin | opcode];
    match length {
        0..126 => frame.push(length as u8),
        126..0x1_0000 => {
            frame.push(126);
            frame.extend((length as u16).to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&fragment.payload);
    assert_eq!(frame.len(), fragment.wire_bytes());
    frame
}
