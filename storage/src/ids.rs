//! Numbers as types: two integers in one signature are never of the same type.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(u64);

        impl $name {
            /// The value that stands for "none" or "before the first".
            pub const ZERO: $name = $name(0);

            /// From the number as it is stored or sent.
            pub const fn new(number: u64) -> Self {
                $name(number)
            }

            /// The number as it is stored or sent.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The one after it.
            ///
            /// # Panics
            /// At `u64::MAX`, which no counter here reaches in a machine's lifetime.
            #[must_use]
            pub const fn next(self) -> Self {
                match self.0.checked_add(1) {
                    Some(number) => $name(number),
                    None => panic!("a 64-bit counter ran over"),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Log sequence number: a record's byte position in the endless log, its order and its address.
    ///
    /// Segment number and place in the segment follow from it by division (FORMAT.md §2). No record has LSN 0.
    Lsn
}
number! {
    /// A queue: the LSN of the record that first defined it, so it is never reused.
    QueueId
}
number! {
    /// A message's place in a queue, from 1, given by the log's writer; never changes and never reused.
    Offset
}
number! {
    /// A durable session: the LSN of the record that first defined it.
    SessionNo
}
number! {
    /// A client's count of its sequenced frames in one session, from 1.
    Seq
}
number! {
    /// A segment of the log: `lsn / segment_bytes`, from 0, never reused.
    SegmentNo
}
number! {
    /// Milliseconds since 1970-01-01 UTC.
    UnixMillis
}

impl Lsn {
    /// The LSN `bytes` further on in the log.
    #[must_use]
    pub const fn advance(self, bytes: u64) -> Self {
        match self.0.checked_add(bytes) {
            Some(number) => Lsn(number),
            None => panic!("the log ran over 2^64 bytes"),
        }
    }
}

impl Offset {
    /// The offset `n` further on in the queue.
    #[must_use]
    pub const fn advance(self, n: u64) -> Self {
        match self.0.checked_add(n) {
            Some(number) => Offset(number),
            None => panic!("a queue ran over 2^64 offsets"),
        }
    }
}

impl UnixMillis {
    /// `millis` later, or the end of time.
    #[must_use]
    pub const fn saturating_add(self, millis: u64) -> Self {
        UnixMillis(self.0.saturating_add(millis))
    }
}

/// The durable session's frame that caused a record: what makes a resend harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Which session.
    pub session: SessionNo,
    /// Which of its frames.
    pub seq: Seq,
}
