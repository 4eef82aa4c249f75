//! The strings of MQTT: UTF-8 without U+0000, at most 65,535 bytes, as slices of the packet that they came in.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use super::Rule;

/// The longest string or binary field that a packet can hold, in bytes.
pub(super) const FIELD_BYTES_MAX: usize = u16::MAX as usize;

/// A UTF-8 string of MQTT: at most 65,535 bytes, without U+0000; a slice of its packet, so cloning it copies nothing.
///
/// [`as_bytes`](Str::as_bytes) and comparison are free; [`as_str`](Str::as_str) looks the bytes over once more, as
/// there is no unsafe code here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Str(Bytes);

/// Why bytes are no [`Str`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotText {
    /// Not well-formed UTF-8.
    #[error("not utf-8")]
    NotUtf8,
    /// There is a U+0000 in it.
    #[error("has a U+0000")]
    Nul,
    /// More than 65,535 bytes.
    #[error("longer than 65535 bytes")]
    TooLong,
}

impl Str {
    /// The string that `bytes` are; a `String`, a `Vec` or a `Bytes` is taken over without a copy.
    ///
    /// # Errors
    /// [`NotText`]: what MQTT does not let a string be.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Str, NotText> {
        let bytes = bytes.into();
        if bytes.len() > FIELD_BYTES_MAX {
            return Err(NotText::TooLong);
        }
        if std::str::from_utf8(&bytes).is_err() {
            return Err(NotText::NotUtf8);
        }
        if bytes.contains(&0) {
            return Err(NotText::Nul);
        }
        Ok(Str(bytes))
    }

    /// A string of this program's own, checked where it is written.
    ///
    /// # Panics
    /// If `text` is no MQTT string: at compile time, in a `const`.
    pub const fn from_static(text: &'static str) -> Str {
        assert!(text.len() <= FIELD_BYTES_MAX);
        let mut rest = text.as_bytes();
        while let [byte, behind @ ..] = rest {
            assert!(*byte != 0);
            rest = behind;
        }
        Str(Bytes::from_static(text.as_bytes()))
    }

    /// Its characters.
    pub fn as_str(&self) -> &str {
        // Checked when it was made.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its bytes, without the length that precedes them in a packet.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its bytes, shared with the packet that they came in.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no character.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As [`new`](Str::new), for bytes that had a two-byte length in front of them.
    pub(super) fn from_packet(bytes: Bytes) -> Result<Str, Rule> {
        if std::str::from_utf8(&bytes).is_err() {
            return Err(Rule::NotUtf8);
        }
        if bytes.contains(&0) {
            return Err(Rule::NulInString);
        }
        Ok(Str(bytes))
    }
}

impl Deref for Str {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl TryFrom<String> for Str {
    type Error = NotText;

    fn try_from(text: String) -> Result<Str, NotText> {
        Str::new(text)
    }
}

impl TryFrom<&str> for Str {
    type Error = NotText;

    /// Copies `text`.
    fn try_from(text: &str) -> Result<Str, NotText> {
        Str::new(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

/// Bytes that no log may show: a password, the data of an authentication. At most 65,535 bytes can be encoded.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(pub Bytes);

/// Only that there is one.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
