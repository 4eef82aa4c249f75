//! Several messages in one: the batched subprotocols of WebSocket, and long-poll.
//!
//! JSON messages are each followed by a separator, of other serializers each follows its length in four bytes,
//! big-endian. The separator is 0x1E in the specification and 0x18 in autobahn and crossbar; both are taken, and what
//! a peer uses it is answered with.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Serializer;

const SEPARATOR: u8 = 0x1e;
const AUTOBAHNS_SEPARATOR: u8 = 0x18;

/// How one peer frames its messages.
#[derive(Debug, Clone)]
pub struct Batch {
    serializer: Serializer,
    separator: u8,
}

/// Why bytes are no batch: the transport fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// There is no message at all.
    #[error("the batch is empty")]
    Empty,
    /// There are more messages than are taken at once.
    #[error("the batch has more than {max} messages")]
    TooMany {
        /// How many are taken.
        max: usize,
    },
    /// The last message is not all there, or its separator is missing.
    #[error("the batch ends within a message")]
    Truncated,
    /// A message to be sent is too long for its length to be written.
    #[error("the message is too long for a batch")]
    TooLong,
}

impl Batch {
    /// The framing of a peer that was not heard yet.
    pub fn new(serializer: Serializer) -> Batch {
        Batch {
            serializer,
            separator: SEPARATOR,
        }
    }

    /// The messages that `received` holds, at most `messages_max` of them, as slices of it. Remembers the separator.
    ///
    /// # Errors
    /// [`BatchError`].
    pub fn split(
        &mut self,
        received: &Bytes,
        messages_max: usize,
    ) -> Result<Vec<Bytes>, BatchError> {
        if received.is_empty() {
            return Err(BatchError::Empty);
        }
        let mut rest = received.clone();
        let mut messages = Vec::new();
        while !rest.is_empty() {
            if messages.len() >= messages_max {
                return Err(BatchError::TooMany { max: messages_max });
            }
            messages.push(self.split_one(&mut rest)?);
        }
        Ok(messages)
    }

    fn split_one(&mut self, rest: &mut Bytes) -> Result<Bytes, BatchError> {
        if self.serializer.is_text() {
            // Neither separator occurs within JSON: control characters are escaped there.
            let is_separator = |b: &u8| matches!(*b, SEPARATOR | AUTOBAHNS_SEPARATOR);
            let length = rest.iter().position(is_separator);
            let message = rest.split_to(length.ok_or(BatchError::Truncated)?);
            self.separator = rest.get_u8();
            return Ok(message);
        }
        let length = rest.try_get_u32().map_err(|_| BatchError::Truncated)?;
        let length = usize::try_from(length).map_err(|_| BatchError::Truncated)?;
        if length > rest.len() {
            return Err(BatchError::Truncated);
        }
        Ok(rest.split_to(length))
    }

    /// Appends the one message that `write` writes behind what `out` holds.
    ///
    /// # Errors
    /// What `write` says, or [`BatchError::TooLong`]; `out` is as it was.
    pub fn append<E: From<BatchError>>(
        &self,
        out: &mut BytesMut,
        write: impl FnOnce(&mut BytesMut) -> Result<(), E>,
    ) -> Result<(), E> {
        let before = out.len();
        let framed = self.write_framed(out, write);
        if framed.is_err() {
            out.truncate(before);
        }
        framed
    }

    fn write_framed<E: From<BatchError>>(
        &self,
        out: &mut BytesMut,
        write: impl FnOnce(&mut BytesMut) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.serializer.is_text() {
            write(out)?;
            out.put_u8(self.separator);
            return Ok(());
        }
        let head = out.len();
        out.put_u32(0);
        let start = out.len();
        write(out)?;
        let length = u32::try_from(out.len() - start).map_err(|_| BatchError::TooLong)?;
        if let Some(head) = out.get_mut(head..start) {
            head.copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    /// Appends a message that is written already.
    ///
    /// # Errors
    /// [`BatchError::TooLong`].
    pub fn append_message(&self, out: &mut BytesMut, message: &[u8]) -> Result<(), BatchError> {
        self.append(out, |out| {
            out.put_slice(message);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(serializer: Serializer, bytes: &'static [u8]) -> Result<Vec<Bytes>, BatchError> {
        Batch::new(serializer).split(&Bytes::from_static(bytes), 3)
    }

    #[test]
    fn what_is_appended_is_split_again() {
        for serializer in Serializer::ALL {
            let mut batch = Batch::new(serializer);
            let mut out = BytesMut::new();
            let messages = ["[1]", "[2,3]", "[]"].map(Bytes::from);
            for message in &messages {
                batch.append_message(&mut out, message).unwrap();
            }
            assert_eq!(batch.split(&out.freeze(), 3), Ok(messages.to_vec()));
        }
    }

    #[test]
    fn a_peer_is_answered_with_its_separator() {
        let mut batch = Batch::new(Serializer::Json);
        for (received, separator) in [("[1]\x18[2]\x18", b"[9]\x18"), ("[1]\x1e", b"[9]\x1e")] {
            batch.split(&Bytes::from(received), 9).unwrap();
            let mut out = BytesMut::new();
            batch.append_message(&mut out, b"[9]").unwrap();
            assert_eq!(&out[..], separator);
        }
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        for serializer in Serializer::ALL {
            assert_eq!(split(serializer, b""), Err(BatchError::Empty));
        }
        let too_many = Err(BatchError::TooMany { max: 3 });
        assert_eq!(split(Serializer::Json, b"1\x1e2\x1e3\x1e4\x1e"), too_many);
        assert_eq!(split(Serializer::Cbor, &[0; 16]), too_many);
        for bytes in [&b"\0"[..], b"\0\0\0", b"\0\0\0\x02x", b"\xff\xff\xff\xffx"] {
            assert_eq!(
                split(Serializer::MsgPack, bytes),
                Err(BatchError::Truncated)
            );
        }
        assert_eq!(
            split(Serializer::Json, b"[1]\x1e[2]"),
            Err(BatchError::Truncated)
        );
    }

    #[test]
    fn a_message_that_cannot_be_written_leaves_no_trace() {
        let mut out = BytesMut::from("x");
        let batch = Batch::new(Serializer::MsgPack);
        let failed = batch.append(&mut out, |out| {
            out.put_slice(b"half");
            Err(BatchError::TooLong)
        });
        assert_eq!(failed, Err(BatchError::TooLong));
        assert_eq!(out, "x");
    }
}
