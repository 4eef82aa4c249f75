//! The header of PAIR v1: one word, how many sockets a message has left.

use bytes::Bytes;

use super::HeaderError;

/// A hop count. Both libraries take up to 8, [`HOPS_MAX`](super::HOPS_MAX).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hops(u8);

impl Hops {
    /// That of a message that leaves its first socket.
    pub const FIRST: Hops = Hops(1);

    /// Splits a message into its count, at most `hops_max`, and the body, a slice of it.
    ///
    /// # Errors
    /// [`HeaderError`], which says what becomes of the message.
    pub fn split(message: &Bytes, hops_max: u8) -> Result<(Hops, Bytes), HeaderError> {
        let bytes = message.len();
        let word = message.first_chunk().ok_or(HeaderError::NoHops { bytes })?;
        let word = u32::from_be_bytes(*word);
        let hops = u8::try_from(word).map_err(|_| HeaderError::NotHops { word })?;
        if hops > hops_max {
            return Err(HeaderError::TooManyHops {
                hops,
                max: hops_max,
            });
        }
        Ok((Hops(hops), message.slice(4..)))
    }

    /// The count with which a message is sent on. None: it may not be, its receivers would drop it.
    pub fn next(self, hops_max: u8) -> Option<Hops> {
        let hops = self.0.checked_add(1)?;
        (hops <= hops_max).then_some(Hops(hops))
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The bytes that stand in front of the body.
    pub const fn to_bytes(self) -> [u8; 4] {
        [0, 0, 0, self.0]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CloseCode, HOPS_MAX, Verdict};
    use super::*;

    fn split(bytes: &'static [u8]) -> Result<(u8, Bytes), HeaderError> {
        let (hops, body) = Hops::split(&Bytes::from_static(bytes), HOPS_MAX)?;
        Ok((hops.number(), body))
    }

    #[test]
    fn a_count_is_one_word_and_no_more_than_the_limit() {
        assert_eq!(split(b"\0\0\0\x01Pc"), Ok((1, Bytes::from_static(b"Pc"))));
        assert_eq!(split(b"\0\0\0\0"), Ok((0, Bytes::new())));
        assert_eq!(split(b"\0\0\0\x08"), Ok((8, Bytes::new())));
        let too_many = split(b"\0\0\0\x09x").unwrap_err();
        assert_eq!(too_many, HeaderError::TooManyHops { hops: 9, max: 8 });
        assert_eq!(too_many.verdict(), Verdict::Drop);
    }

    #[test]
    fn what_is_no_count_closes() {
        let close = Verdict::Close(CloseCode::Protocol);
        for (bytes, error) in [
            (&b""[..], HeaderError::NoHops { bytes: 0 }),
            (b"\0\0\x01", HeaderError::NoHops { bytes: 3 }),
            (b"\0\0\x01\0x", HeaderError::NotHops { word: 0x100 }),
            (b"\x80\0\0\x01", HeaderError::NotHops { word: 0x8000_0001 }),
        ] {
            assert_eq!(split(bytes), Err(error));
            assert_eq!(error.verdict(), close);
        }
    }

    #[test]
    fn a_message_is_sent_on_with_one_more() {
        assert_eq!(
            Hops::FIRST.next(HOPS_MAX).map(Hops::to_bytes),
            Some([0, 0, 0, 2])
        );
        assert_eq!(Hops(7).next(8), Some(Hops(8)));
        assert_eq!(Hops(8).next(8), None);
        assert_eq!(Hops(255).next(255), None);
    }
}
