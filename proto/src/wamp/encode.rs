//! A message to bytes.

use bytes::BytesMut;

use super::value::Dict;
use super::write::Writer;
use super::{EncodeError, Message, Payload, Serializer};

/// Writes `message` behind what `out` holds. A payload of the same serializer is copied as it is; another one is
/// transcoded.
///
/// # Errors
/// [`EncodeError`]: the serializer has no words for something; `out` is as it was.
pub fn encode(
    serializer: Serializer,
    message: &Message,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let before = out.len();
    let written = message.write(serializer, &mut Writer::new(serializer, out));
    if written.is_err() {
        out.truncate(before);
    }
    written
}

/// A field of a message.
pub(super) trait Field {
    /// How many elements it is.
    fn elements(&self) -> usize {
        1
    }

    /// Writes them.
    fn write(&self, to: Serializer, writer: &mut Writer<'_>) -> Result<(), EncodeError>;
}

impl Field for u64 {
    fn write(&self, _to: Serializer, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.uint(*self);
        Ok(())
    }
}

impl Field for u16 {
    fn write(&self, _to: Serializer, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.uint(u64::from(*self));
        Ok(())
    }
}

impl Field for String {
    fn write(&self, _to: Serializer, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.text(self)
    }
}

impl Field for Dict {
    fn write(&self, _to: Serializer, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        writer.entries(self)
    }
}

impl Field for Option<Dict> {
    fn elements(&self) -> usize {
        usize::from(self.is_some())
    }

    fn write(&self, to: Serializer, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        match self {
            Some(dict) => dict.write(to, writer),
            None => Ok(()),
        }
    }
}

impl Field for Payload {
    fn elements(&self) -> usize {
        Payload::elements(self)
    }

    fn write(&self, to: Serializer, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        Payload::write(self, to, writer)
    }
}
