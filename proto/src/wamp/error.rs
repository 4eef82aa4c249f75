//! Why bytes are no message, and why a message cannot be written.

use super::Serializer;

/// Why bytes are no message. Its `Display` is a clause for a person, fit for the `message` of an ABORT.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More bytes than [`Limits::bytes_max`](super::Limits::bytes_max).
    #[error("the message has {bytes} bytes, and {max} are taken")]
    TooLarge {
        /// How many it has.
        bytes: usize,
        /// How many are taken.
        max: usize,
    },
    /// The bytes are not well-formed in the serializer.
    #[error("not well-formed {} at byte {at}: {what}", .serializer.name())]
    Malformed {
        /// As what they were read.
        serializer: Serializer,
        /// Where.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// The bytes end within the message.
    #[error("the message ends too early, after {at} bytes")]
    Truncated {
        /// How many bytes were read.
        at: usize,
    },
    /// Lists and dicts are nested deeper than [`Limits::depth_max`](super::Limits::depth_max).
    #[error("lists and dicts are nested deeper than {max} levels")]
    TooDeep {
        /// How many levels are taken.
        max: usize,
    },
    /// A key of a dict is not a string.
    #[error("a key of a dict is not a string, at byte {at}")]
    KeyNotText {
        /// Where.
        at: usize,
    },
    /// There is something behind the message.
    #[error("there are bytes behind the message, from byte {at} on")]
    TrailingBytes {
        /// Where they begin.
        at: usize,
    },
    /// It is well-formed, and not a list that begins with an integer.
    #[error("a message is a list that begins with its code, and this is {found}")]
    NotAMessage {
        /// What it is.
        found: &'static str,
    },
    /// There is no message of this code.
    #[error("there is no message of code {0}")]
    UnknownCode(u64),
    /// Too few elements, or too many.
    #[error("{message} should have {}", Elements(*.min, *.max))]
    Arity {
        /// The message's name.
        message: &'static str,
        /// How many elements it has at least, its code included.
        min: usize,
        /// And at most.
        max: usize,
    },
    /// A field of another type than it should be.
    #[error("{message}.{field} is {found}, and should be {expected}")]
    WrongType {
        /// The message's name.
        message: &'static str,
        /// The field's.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A field of the right type, and a value that it may not have.
    #[error("{message}.{field} should be {expected}")]
    WrongValue {
        /// The message's name.
        message: &'static str,
        /// The field's.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A field has more bytes than [`Limits`](super::Limits) say.
    #[error("{message}.{field} has more than {max} bytes")]
    FieldTooLarge {
        /// The message's name.
        message: &'static str,
        /// The field's.
        field: &'static str,
        /// How many are taken.
        max: usize,
    },
    /// Bytes stand where the list of arguments should: the payload transparency of one client library, which is no
    /// part of WAMP (payload passthru mode has the bytes as the one argument).
    #[error("the arguments of {message} are opaque bytes, and should be a list")]
    OpaquePayload {
        /// The message's name.
        message: &'static str,
    },
}

struct Elements(usize, usize);

impl std::fmt::Display for Elements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Elements(min, max) = self;
        match max - min {
            0 => write!(f, "{min} elements"),
            1 => write!(f, "{min} or {max} elements"),
            _ => write!(f, "{min} to {max} elements"),
        }
    }
}

/// Why a message or payload cannot be written in a serializer. Nothing is written then. Answered, where there is a
/// request to answer, with `wamp.error.invalid_argument`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A float that is not finite, which JSON has no words for.
    #[error("{} cannot say a number that is infinite or not one", .to.name())]
    NotFinite {
        /// The serializer.
        to: Serializer,
    },
    /// A number of more digits, or larger, than the serializer's numbers can be.
    #[error("{} cannot say a number as large as this one", .to.name())]
    Number {
        /// The serializer.
        to: Serializer,
    },
    /// A string, list or dict with more than 2³² − 1 bytes or items.
    #[error("{} cannot say anything as long as this", .to.name())]
    TooLong {
        /// The serializer.
        to: Serializer,
    },
    /// Values within values, more than 128 deep.
    #[error("lists and dicts are nested too deep")]
    TooDeep,
    /// The raw bytes of a payload are not what they should be; `decode` lets no such payload through.
    #[error("the payload is not well-formed {}: {what}", .serializer.name())]
    Payload {
        /// As what it was read.
        serializer: Serializer,
        /// What is wrong.
        what: &'static str,
    },
}

/// What is wrong at a place in the input; [`Reader`](super::read::Reader) knows the place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Truncated,
    TooDeep,
    KeyNotText,
    TrailingBytes,
    Malformed(&'static str),
}

impl Fault {
    /// The fault in words.
    pub(super) fn what(self) -> &'static str {
        match self {
            Fault::Truncated => "it ends too early",
            Fault::TooDeep => "it is nested too deep",
            Fault::KeyNotText => "a key of a dict is not a string",
            Fault::TrailingBytes => "there are bytes behind it",
            Fault::Malformed(what) => what,
        }
    }
}
