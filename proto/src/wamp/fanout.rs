//! One event for many subscribers of one serializer.

use bytes::{BufMut, Bytes, BytesMut};

use super::write::Writer;
use super::{Dict, EncodeError, Payload, Serializer};

const EVENT: u64 = 36;

/// All of an EVENT behind the subscription's id, written once. Cloning copies nothing.
#[derive(Debug, Clone)]
pub struct EventTail {
    serializer: Serializer,
    /// Elements of the whole message.
    elements: usize,
    bytes: Bytes,
}

impl EventTail {
    /// The tail of an event.
    ///
    /// # Errors
    /// [`EncodeError`]: the serializer has no words for something in it: its subscribers cannot have this event.
    pub fn new(
        serializer: Serializer,
        publication: u64,
        details: &Dict,
        payload: &Payload,
    ) -> Result<EventTail, EncodeError> {
        let mut out = BytesMut::with_capacity(payload.len() + 64);
        let mut writer = Writer::behind(serializer, &mut out);
        writer.uint(publication);
        writer.entries(details)?;
        payload.write(serializer, &mut writer)?;
        writer.end_list();
        Ok(EventTail {
            serializer,
            elements: 4 + payload.elements(),
            bytes: out.freeze(),
        })
    }

    /// Which serializer it is written in.
    pub fn serializer(&self) -> Serializer {
        self.serializer
    }

    /// About how many bytes the event has: exact but for the subscription's id and the head, at most 24 more.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never so: there is a publication's id at least.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Writes the event behind what `out` holds.
pub fn write_event(out: &mut BytesMut, subscription: u64, tail: &EventTail) {
    out.reserve(tail.bytes.len() + 24);
    let mut writer = Writer::new(tail.serializer, out);
    // It fails of lengths beyond 32 bits only, and this is at most 6.
    if writer.list(tail.elements).is_ok() {
        writer.uint(EVENT);
        writer.uint(subscription);
        out.put_slice(&tail.bytes);
    }
}
