//! How much a peer may claim.

/// Deeper than this is refused whatever the limits say: reading and dropping values recurse this far at most.
pub(super) const DEPTH_CAP: usize = 128;

/// Limits of what [`decode`](super::decode()) takes. All are checked before memory is reserved for what they limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message; default 1 MiB.
    pub bytes_max: usize,
    /// Lists and dicts within each other, the message itself included; default 64, at most 128.
    pub depth_max: usize,
    /// Bytes of the options, details or extra of a message, which are decoded into values; default 64 KiB.
    pub options_bytes_max: usize,
    /// Bytes of a URI or another string outside the payload and the options; default 1024. A signature may have 8 times
    /// as many.
    pub text_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bytes_max: 1024 * 1024,
            depth_max: 64,
            options_bytes_max: 64 * 1024,
            text_bytes_max: 1024,
        }
    }
}
