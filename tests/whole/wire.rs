//! Bytes of WebSocket frames, good and bad (RFC 6455 §5.2).

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0x5a, 0x17, 0xc3, 0x08];

/// One whole message.
pub(crate) fn message(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(FIN | opcode, payload)
}

/// A frame whose first byte is `first`, masked as a client must.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(first, MASKED, payload.len() as u64);
    bytes.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A frame as only a server may send it.
pub(crate) fn unmasked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = head(FIN | opcode, 0, payload.len() as u64);
    bytes.extend(payload);
    bytes
}

/// The head of a frame that claims `claimed` bytes, and none of them.
pub(crate) fn claim(opcode: u8, claimed: u64) -> Vec<u8> {
    let mut bytes = vec![FIN | opcode, MASKED | 127];
    bytes.extend(claimed.to_be_bytes());
    bytes.extend(MASK);
    bytes
}

/// A message in as many frames as there are parts, with a ping between them.
pub(crate) fn fragments(opcode: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let opcode = if index == 0 { opcode } else { 0 };
        let fin = if index + 1 == parts.len() { FIN } else { 0 };
        bytes.extend(frame(fin | opcode, part));
        if fin == 0 {
            bytes.extend(message(PING, b"between"));
        }
    }
    bytes
}

/// Unsigned LEB128.
pub(crate) fn leb128(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn head(first: u8, masked: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(masked | length as u8),
        126..=0xffff => {
            bytes.push(masked | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(masked | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes
}
