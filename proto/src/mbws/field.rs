//! The two tables of MBWS: its verbs and its fields, each with its name in text and its number in binary.
//!
//! A field has one name and one number, whichever verbs it occurs in, so both bindings are read and written from this
//! one list (MBWS.md §4.3; `proto/mbws.proto` says the same: test `the_schema_and_the_tables_agree`).

use super::DecodeError;

/// Declares an enum whose arms have a name and a number on the wire, and the look-ups between the three.
macro_rules! wire_table {
    ($(#[$doc:meta])* $table:ident { $($arm:ident = $number:literal $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum $table { $($arm = $number,)* }

        impl $table {
            /// The name in the text binding.
            pub(super) const fn name(self) -> &'static str {
                match self { $($table::$arm => $name,)* }
            }

            /// The number in the binary binding.
            pub(super) const fn number(self) -> u32 {
                self as u32
            }

            pub(super) fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some($table::$arm),)* _ => None }
            }

            pub(super) fn from_number(number: u64) -> Option<Self> {
                match number { $($number => Some($table::$arm),)* _ => None }
            }
        }
    };
}

wire_table! {
    /// A frame's verb; the number is that of its arm in the binary header's `oneof`.
    Verb {
        Open = 1 "open",
        Opened = 2 "opened",
        Hold = 3 "hold",
        Send = 4 "send",
        Consume = 5 "consume",
        Credit = 6 "credit",
        Settle = 7 "settle",
        Cancel = 8 "cancel",
        Confirm = 9 "confirm",
        Deliver = 10 "deliver",
        Error = 11 "error",
        Close = 12 "close",
    }
}

wire_table! {
    /// A header field. Those of `send` and `deliver` have the numbers below 16, whose tags are one byte.
    Field {
        Seq = 1 "seq",
        Consumer = 2 "consumer",
        Address = 3 "address",
        Offset = 4 "offset",
        Attempt = 5 "attempt",
        Timestamp = 6 "timestamp",
        MessageId = 7 "message-id",
        CorrelationId = 8 "correlation-id",
        ReplyTo = 9 "reply-to",
        ContentType = 10 "content-type",
        Key = 11 "key",
        Priority = 12 "priority",
        Ttl = 13 "ttl",
        // In binary a flag, the body is text; in text a word, the body is base64.
        BodyEncoding = 14 "body-encoding",
        // In text the name goes on: `property.NAME`.
        Property = 15 "property",
        Delay = 16 "delay",
        Transient = 17 "transient",
        Limit = 18 "limit",
        Mode = 19 "mode",
        From = 20 "from",
        Filter = 21 "filter",
        Settle = 22 "settle",
        Exclusive = 23 "exclusive",
        Accepted = 24 "accepted",
        Released = 25 "released",
        Rejected = 26 "rejected",
        Code = 27 "code",
        Reason = 28 "reason",
        Upto = 29 "upto",
        Failed = 30 "failed",
        Offsets = 31 "offsets",
        Version = 32 "version",
        Session = 33 "session",
        Expiry = 34 "expiry",
        Name = 35 "name",
        Role = 36 "role",
        Accept = 37 "accept",
        User = 38 "user",
        Password = 39 "password",
        Token = 40 "token",
        Heartbeat = 41 "heartbeat",
        Resumed = 42 "resumed",
        Confirmed = 43 "confirmed",
        Window = 44 "window",
        MaxFrame = 45 "max-frame",
        Broker = 46 "broker",
        Server = 47 "server",
    }
}

/// A set of fields, as bits by their numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FieldSet(u64);

impl FieldSet {
    pub(super) const fn of(fields: &[Field]) -> Self {
        let mut bits = 0;
        let mut rest = fields;
        while let [field, others @ ..] = rest {
            bits |= 1 << field.number();
            rest = others;
        }
        FieldSet(bits)
    }

    /// Notes that `field` has been read.
    ///
    /// # Errors
    /// [`DecodeError::Repeated`] if it had been before.
    pub(super) fn note(&mut self, field: Field) -> Result<(), DecodeError> {
        let bit = 1 << field.number();
        if self.0 & bit != 0 {
            return Err(DecodeError::Repeated {
                field: field.name(),
            });
        }
        self.0 |= bit;
        Ok(())
    }

    /// Errors with the first field of `required` that is not in this set.
    pub(super) fn check_required(self, required: FieldSet) -> Result<(), DecodeError> {
        let missing = required.0 & !self.0;
        match Field::from_number(u64::from(missing.trailing_zeros())) {
            Some(field) => Err(DecodeError::Missing {
                field: field.name(),
            }),
            None => Ok(()),
        }
    }
}
