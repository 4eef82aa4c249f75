//! The header of REQ and REP, SURVEYOR and RESPONDENT.
//!
//! ```text
//! [0 | 31 bits: a channel]*  [1 | 31 bits: the id]  body …        words of 32 bits, big-endian
//! ```
//!
//! Every device on the way of a request puts the channel that it came by in front, and takes it off the answer; whoever
//! answers puts all words in front of the answer, as they came (`sp-request-reply-01` §3, `sp-surveyor-01` §3).

use std::fmt;

use bytes::Bytes;
use smallvec::SmallVec;

use super::HeaderError;

/// How many words a request may have in both libraries, the id included: a device or a worker drops what has more.
pub const HOPS_MAX: u8 = 8;

/// What marks the last word.
const ID: u32 = 1 << 31;

/// The words in front of a body: channels, and an id. Kept as numbers, so that it does not keep the message that it was in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Stack {
    /// One at least; the last one and none before it has the high bit.
    words: SmallVec<[u32; 4]>,
}

impl Stack {
    /// A stack of an id alone, as a client's request has it: its high bit is set.
    pub fn of(id: u32) -> Stack {
        let words = SmallVec::from_slice(&[id | ID]);
        Stack { words }
    }

    /// Splits a message into its words, of which it may have `words_max`, and the body, a slice of it.
    ///
    /// # Errors
    /// [`HeaderError::NoId`] and [`HeaderError::TooDeep`]; with either, the message is dropped.
    pub fn split(message: &Bytes, words_max: u8) -> Result<(Stack, Bytes), HeaderError> {
        let (all, _) = message.as_chunks::<4>();
        let mut words = SmallVec::new();
        for word in all {
            if words.len() == usize::from(words_max) {
                return Err(HeaderError::TooDeep { max: words_max });
            }
            let word = u32::from_be_bytes(*word);
            words.push(word);
            if word & ID != 0 {
                let body = message.slice(words.len() * 4..);
                return Ok((Stack { words }, body));
            }
        }
        Err(HeaderError::NoId {
            bytes: message.len(),
        })
    }

    /// This one with a channel in front, whose high bit is cleared.
    #[must_use]
    pub fn behind(&self, channel: u32) -> Stack {
        let mut words = SmallVec::with_capacity(self.words.len() + 1);
        words.push(channel & !ID);
        words.extend_from_slice(&self.words);
        Stack { words }
    }

    /// The channel in front, and the rest. None: there is an id alone.
    pub fn split_first(&self) -> Option<(u32, Stack)> {
        match self.words.split_first()? {
            (_, []) => None,
            (channel, rest) => {
                let words = SmallVec::from_slice(rest);
                Some((*channel, Stack { words }))
            }
        }
    }

    /// The id, with its high bit.
    pub fn id(&self) -> u32 {
        self.words.last().copied().unwrap_or(ID)
    }

    /// All words, front to back; one at least.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The bytes that stand in front of the body.
    pub fn to_bytes(&self) -> SmallVec<[u8; 32]> {
        self.words
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect()
    }
}

/// As on the wire: `00000101 81234567`.
impl fmt::Display for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, word) in self.words.iter().enumerate() {
            let gap = if n > 0 { " " } else { "" };
            write!(f, "{gap}{word:08x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stack({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(words: &[u32], body: &[u8], max: u8) -> Result<(Vec<u32>, Bytes), HeaderError> {
        let words = words.iter().flat_map(|word| word.to_be_bytes());
        let message: Bytes = words.chain(body.iter().copied()).collect();
        let (stack, body) = Stack::split(&message, max)?;
        Ok((stack.words().to_vec(), body))
    }

    #[test]
    fn words_end_with_the_first_that_has_the_high_bit() {
        for words in [
            &[0x8123_4567][..],
            &[0x101, 0x8123_4567],
            &[0, 0x7fff_ffff, 0x8000_0000],
        ] {
            for body in [&b""[..], b"Q", b"\x80\0\0\0"] {
                let body = Bytes::copy_from_slice(body);
                assert_eq!(split(words, &body, 8), Ok((words.to_vec(), body)));
            }
        }
    }

    #[test]
    fn a_message_without_an_id_is_none() {
        for (words, body) in [
            (&[][..], &b""[..]),
            (&[], b"\x81\0\0"),
            (&[1], b""),
            (&[1, 2], b"\xff\xff\xff"),
        ] {
            let bytes = words.len() * 4 + body.len();
            assert_eq!(split(words, body, 8), Err(HeaderError::NoId { bytes }));
        }
    }

    #[test]
    fn the_id_counts_as_a_hop() {
        let mut words = vec![7; 7];
        words.push(0x8000_0001);
        assert!(split(&words, b"Q", HOPS_MAX).is_ok());
        words.insert(0, 7);
        assert_eq!(words.len(), 9);
        assert_eq!(
            split(&words, b"Q", HOPS_MAX),
            Err(HeaderError::TooDeep { max: 8 })
        );
        assert!(split(&words, b"Q", 9).is_ok());
    }

    #[test]
    fn a_device_puts_its_word_in_front_and_takes_it_off_again() {
        let request = Stack::of(0x0123_4567);
        assert_eq!(request.words(), [0x8123_4567]);
        assert_eq!(request.split_first(), None);
        let behind = request.behind(0x8000_0101);
        assert_eq!(behind.to_string(), "00000101 81234567");
        assert_eq!(behind.id(), request.id());
        assert_eq!(behind.split_first(), Some((0x101, request)));
    }
}
