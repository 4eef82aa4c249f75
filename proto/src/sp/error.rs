//! What ends a connection, what ends only a message, and why.

/// Why a broker closes the WebSocket of an SP client.
///
/// libnanomsg never comes back after a Close, whatever its code: these are for what must be final. There is none for a
/// shutdown, a restart or too much load: for those the TCP connection ends, and the client connects again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseCode {
    /// Broken rules of WebSocket or of SP, and a token that is not spoken.
    Protocol = 1002,
    /// A text message that is not UTF-8.
    NotUtf8 = 1007,
    /// What the client does it may not do, and never will.
    Policy = 1008,
    /// A message longer than is taken.
    TooBig = 1009,
}

impl CloseCode {
    /// The number (RFC 6455 §7.4.1).
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// What becomes of a message that is against the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is counted, and otherwise as if it had not come; the connection goes on.
    Drop,
    /// The WebSocket is closed.
    Close(CloseCode),
}

/// What is wrong with the header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeaderError {
    /// The message ends before a word with the high bit (`sp-request-reply-01` §3, `sp-surveyor-01` §3).
    #[error("the message has {bytes} bytes and no request id among its words")]
    NoId {
        /// Bytes of the message.
        bytes: usize,
    },
    /// More words than there may be, the id included.
    #[error("there are more than {max} words in front of the body")]
    TooDeep {
        /// How many there may be.
        max: u8,
    },
    /// PAIR v1: the message is shorter than the word.
    #[error("the message has {bytes} bytes and no room for a hop count")]
    NoHops {
        /// Bytes of the message.
        bytes: usize,
    },
    /// PAIR v1: the word is no count: its upper 24 bits are not 0.
    #[error("{word:#010x} is no hop count")]
    NotHops {
        /// The word.
        word: u32,
    },
    /// PAIR v1: it went through more devices than it may.
    #[error("the message made {hops} hops, and {max} are allowed")]
    TooManyHops {
        /// How many it made.
        hops: u8,
        /// How many it may make.
        max: u8,
    },
}

impl HeaderError {
    /// What becomes of the message. Malformed requests, replies, surveys and responses are ignored, as the protocols demand;
    /// what no PAIR v1 socket can send closes, as in nng.
    pub const fn verdict(self) -> Verdict {
        match self {
            HeaderError::NoId { .. }
            | HeaderError::TooDeep { .. }
            | HeaderError::TooManyHops { .. } => Verdict::Drop,
            HeaderError::NoHops { .. } | HeaderError::NotHops { .. } => {
                Verdict::Close(CloseCode::Protocol)
            }
        }
    }
}
