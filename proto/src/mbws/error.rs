//! What a decoder refuses, and how the session answers it (MBWS.md §4.6, §9).

use super::Code;

/// Bytes that are no frame. Every one of these ends the WebSocket: a frame that cannot be read may have had a `seq`,
/// so what comes after it has lost its place. The session itself survives and may be resumed.
///
/// What can be read but not granted (an address of bad grammar, a body too large for its queue) is no decode error: the
/// session refuses that one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The whole frame is longer than [`frame_bytes_max`](super::Limits::frame_bytes_max).
    #[error("frame of {bytes} bytes, the limit is {max}")]
    FrameTooBig {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The header is, or claims to be, longer than [`header_bytes_max`](super::Limits::header_bytes_max).
    #[error("header of {bytes} bytes, the limit is {max}")]
    HeaderTooBig {
        /// Its length, or as far as it was read.
        bytes: u64,
        /// The limit.
        max: usize,
    },
    /// One field's value is longer than [`field_bytes_max`](super::Limits::field_bytes_max).
    #[error("field {field} of {bytes} bytes, the limit is {max}")]
    FieldTooBig {
        /// Which field.
        field: &'static str,
        /// Length of its value on the wire.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// More properties than [`properties_max`](super::Limits::properties_max).
    #[error("more than {max} properties")]
    TooManyProperties {
        /// The limit.
        max: usize,
    },
    /// More ranges in one field than [`ranges_max`](super::Limits::ranges_max).
    #[error("more than {max} ranges in {field}")]
    TooManyRanges {
        /// Which field.
        field: &'static str,
        /// The limit.
        max: usize,
    },
    /// A text frame, a binary header's string, or a body said to be text is not UTF-8.
    #[error("{part} is not utf-8")]
    NotUtf8 {
        /// `frame`, `body`, or the field's name.
        part: &'static str,
    },
    /// The frame ends within its header.
    #[error("the frame ends within its header")]
    Truncated,
    /// A variable-length number that is cut off or longer than it may be.
    #[error("a varint is cut off or too long")]
    BadVarint,
    /// The binary header is no protobuf message with exactly one verb in it.
    #[error("the header is not one protobuf message of one verb")]
    BadHeader,
    /// A verb that this version does not know.
    #[error("unknown verb")]
    UnknownVerb,
    /// A header line of a text frame without a colon, or with a bare carriage return.
    #[error("header line {line} is not name:value")]
    BadLine {
        /// Which line, the verb's being 1.
        line: usize,
    },
    /// A backslash that begins none of the escapes of MBWS.md §5.
    #[error("unknown escape in field {field}")]
    BadEscape {
        /// Which field.
        field: &'static str,
    },
    /// A field that may occur once occurs again.
    #[error("field {field} is repeated")]
    Repeated {
        /// Which field; `property` for two properties of one name.
        field: &'static str,
    },
    /// A field that the verb cannot do without is absent.
    #[error("field {field} is missing")]
    Missing {
        /// Which field.
        field: &'static str,
    },
    /// A field's value is none of those that the field may have, or has the wrong protobuf wire type.
    #[error("field {field} has no such value")]
    BadValue {
        /// Which field.
        field: &'static str,
    },
    /// A body with `body-encoding:base64` is not base64 (RFC 4648 §4, padded).
    #[error("the body is not base64")]
    BadBase64,
    /// A body behind a verb that has none.
    #[error("{verb} has no body")]
    UnexpectedBody {
        /// Which verb.
        verb: &'static str,
    },
}

impl DecodeError {
    /// The code of the `error` frame that answers it: `too-big` past a limit, `not-utf8`, else `protocol`.
    pub fn code(&self) -> Code {
        match self {
            DecodeError::FrameTooBig { .. }
            | DecodeError::HeaderTooBig { .. }
            | DecodeError::FieldTooBig { .. }
            | DecodeError::TooManyProperties { .. }
            | DecodeError::TooManyRanges { .. } => Code::TooBig,
            DecodeError::NotUtf8 { .. } => Code::NotUtf8,
            DecodeError::Truncated
            | DecodeError::BadVarint
            | DecodeError::BadHeader
            | DecodeError::UnknownVerb
            | DecodeError::BadLine { .. }
            | DecodeError::BadEscape { .. }
            | DecodeError::Repeated { .. }
            | DecodeError::Missing { .. }
            | DecodeError::BadValue { .. }
            | DecodeError::BadBase64
            | DecodeError::UnexpectedBody { .. } => Code::Protocol,
        }
    }
}
