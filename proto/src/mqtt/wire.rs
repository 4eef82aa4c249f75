//! What fields are made of: numbers, lengths, strings. Both ways (MQTT 5.0 §1.5).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::text::FIELD_BYTES_MAX;
use super::{PacketId, Rule, Str};

/// The largest variable byte integer: four bytes of seven bits.
pub(super) const VARINT_MAX: u32 = 268_435_455;

/// A variable byte integer at the front of bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Varint {
    pub(super) value: u32,
    /// How many bytes it has.
    pub(super) n_bytes: usize,
}

impl Varint {
    /// Whether fewer bytes would have done [MQTT-1.5.5-1].
    pub(super) fn is_padded(&self) -> bool {
        self.n_bytes != varint_len(self.value)
    }

    /// None: it goes on beyond `bytes`.
    ///
    /// # Errors
    /// [`Rule::LengthTooLong`], as soon as the fourth byte says that there is a fifth.
    #[inline]
    pub(super) fn peek(bytes: &[u8]) -> Result<Option<Varint>, Rule> {
        let mut value = 0;
        for (n_before, byte) in bytes.iter().take(4).enumerate() {
            value |= u32::from(byte & 0x7F) << (7 * n_before);
            if byte & 0x80 == 0 {
                let n_bytes = n_before + 1;
                return Ok(Some(Varint { value, n_bytes }));
            }
        }
        if bytes.len() < 4 {
            Ok(None)
        } else {
            Err(Rule::LengthTooLong)
        }
    }
}

/// How many bytes a number has as a variable byte integer.
pub(super) const fn varint_len(value: u32) -> usize {
    match value {
        ..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

/// The fields of a packet that are still to be read. What it hands out are slices of the packet.
pub(super) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(super) fn new(rest: Bytes) -> Reader {
        Reader { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn into_rest(self) -> Bytes {
        self.rest
    }

    /// # Errors
    /// [`Rule::TrailingBytes`] if not all has been read.
    pub(super) fn end(self) -> Result<(), Rule> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Rule::TrailingBytes)
        }
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Rule> {
        self.rest.try_get_u8().map_err(|_| Rule::Truncated)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Rule> {
        self.rest.try_get_u16().map_err(|_| Rule::Truncated)
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, Rule> {
        self.rest.try_get_u32().map_err(|_| Rule::Truncated)
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u32, Rule> {
        let varint = Varint::peek(&self.rest)?.ok_or(Rule::Truncated)?;
        if varint.is_padded() {
            return Err(Rule::LengthNotMinimal);
        }
        self.rest.advance(varint.n_bytes);
        Ok(varint.value)
    }

    #[inline]
    pub(super) fn take(&mut self, n_bytes: usize) -> Result<Bytes, Rule> {
        if n_bytes > self.rest.len() {
            return Err(Rule::Truncated);
        }
        Ok(self.rest.split_to(n_bytes))
    }

    /// Bytes with a two-byte length in front of them.
    #[inline]
    pub(super) fn binary(&mut self) -> Result<Bytes, Rule> {
        let n_bytes = self.u16()?;
        self.take(usize::from(n_bytes))
    }

    #[inline]
    pub(super) fn text(&mut self) -> Result<Str, Rule> {
        Str::from_packet(self.binary()?)
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, Rule> {
        PacketId::new(self.u16()?).ok_or(Rule::PacketIdZero)
    }
}

/// Where fields are written to: a buffer, or a count of what would be.
pub(super) trait Sink {
    fn bytes(&mut self, bytes: &[u8]);

    fn u8(&mut self, number: u8) {
        self.bytes(&[number]);
    }

    fn u16(&mut self, number: u16) {
        self.bytes(&number.to_be_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.bytes(&number.to_be_bytes());
    }

    fn varint(&mut self, mut number: u32) {
        while number >= 0x80 {
            // The low seven bits: no bit is lost.
            self.u8((number & 0x7F) as u8 | 0x80);
            number >>= 7;
        }
        self.u8((number & 0x7F) as u8);
    }

    /// Bytes with a two-byte length in front of them.
    fn binary(&mut self, bytes: &[u8]) {
        // Longer ones have been counted before, and refused.
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
        self.bytes(bytes);
    }
}

impl Sink for BytesMut {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn u8(&mut self, number: u8) {
        self.put_u8(number);
    }

    #[inline]
    fn u16(&mut self, number: u16) {
        self.put_u16(number);
    }

    #[inline]
    fn u32(&mut self, number: u32) {
        self.put_u32(number);
    }
}

/// How long it would be.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) n_bytes: usize,
    /// There was a field longer than its two-byte length can say.
    pub(super) field_too_long: bool,
}

impl Sink for Count {
    #[inline]
    fn bytes(&mut self, bytes: &[u8]) {
        self.n_bytes = self.n_bytes.saturating_add(bytes.len());
    }

    #[inline]
    fn binary(&mut self, bytes: &[u8]) {
        self.field_too_long |= bytes.len() > FIELD_BYTES_MAX;
        self.n_bytes = self.n_bytes.saturating_add(2 + bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_byte_integer_has_one_to_four_bytes() {
        // The bounds of table 1-1 of 5.0, table 2.4 of 3.1.1.
        for (value, bytes) in [
            (0, &[0x00][..]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (16_383, &[0xFF, 0x7F]),
            (16_384, &[0x80, 0x80, 0x01]),
            (2_097_151, &[0xFF, 0xFF, 0x7F]),
            (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
            (VARINT_MAX, &[0xFF, 0xFF, 0xFF, 0x7F]),
        ] {
            let mut out = BytesMut::new();
            out.varint(value);
            assert_eq!(&out[..], bytes, "{value}");
            let n_bytes = bytes.len();
            assert_eq!(varint_len(value), n_bytes, "{value}");
            assert_eq!(Varint::peek(bytes), Ok(Some(Varint { value, n_bytes })));
            assert_eq!(Varint::peek(&bytes[..n_bytes - 1]), Ok(None), "{value}");
        }
    }

    #[test]
    fn a_fifth_byte_is_refused_before_it_comes() {
        let four = [0x80, 0x80, 0x80, 0x80];
        assert_eq!(Varint::peek(&four), Err(Rule::LengthTooLong));
        assert_eq!(Varint::peek(&four[..3]), Ok(None));
    }
}
