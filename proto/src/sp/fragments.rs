//! A message, cut for the wire.
//!
//! nng limits frames to 1 MiB apart from messages, and writes 64 KiB itself where it listens. So do we: where a client
//! has raised the limit of messages alone, a longer message still arrives. The boundaries mean nothing to anybody
//! (`sp-websocket-mapping-01` §3).

use bytes::{Bytes, BytesMut};

/// Bytes of the longest payload of a frame.
pub const FRAGMENT_BYTES_MAX: usize = 64 * 1024;

/// A frame of a message: binary if it is the first one, else a continuation; `FIN` if it is the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// What is in it. A slice of the body, unless the header is in front.
    pub payload: Bytes,
    /// Whether the message begins with it.
    pub is_first: bool,
    /// Whether the message ends with it.
    pub is_last: bool,
}

/// The frames of a message, in their order; one at least.
#[derive(Debug, Clone)]
pub struct Fragments {
    header: Bytes,
    body: Bytes,
    bytes_max: usize,
    is_first: bool,
    is_done: bool,
}

/// Cuts a message of a header, which may be empty, and a body.
pub fn fragments(header: &[u8], body: Bytes) -> Fragments {
    cut(header, body, FRAGMENT_BYTES_MAX)
}

/// The same for any length of frames but 0; one more than that is the header's, if it is longer.
pub(super) fn cut(header: &[u8], body: Bytes, bytes_max: usize) -> Fragments {
    Fragments {
        header: Bytes::copy_from_slice(header),
        body,
        bytes_max,
        is_first: true,
        is_done: false,
    }
}

impl Fragment {
    /// How many bytes the frame has on the wire, unmasked, as a server sends it (RFC 6455 §5.2).
    pub fn wire_bytes(&self) -> usize {
        let bytes = self.payload.len();
        bytes
            + match bytes {
                0..126 => 2,
                126..0x1_0000 => 4,
                _ => 10,
            }
    }
}

impl Iterator for Fragments {
    type Item = Fragment;

    fn next(&mut self) -> Option<Fragment> {
        if self.is_done {
            return None;
        }
        let room = self.bytes_max.saturating_sub(self.header.len());
        let body = self.body.split_to(room.min(self.body.len()));
        let payload = if self.header.is_empty() {
            body
        } else {
            let mut both = BytesMut::with_capacity(self.header.len() + body.len());
            both.extend_from_slice(&self.header);
            both.extend_from_slice(&body);
            self.header = Bytes::new();
            both.freeze()
        };
        let is_first = std::mem::replace(&mut self.is_first, false);
        self.is_done = self.body.is_empty();
        Some(Fragment {
            payload,
            is_first,
            is_last: self.is_done,
        })
    }
}
