//! The messages, each with its code and its fields in their order on the wire; decoding and encoding follow this table.

use super::decode::Fields;
use super::encode::Field;
use super::value::Dict;
use super::write::Writer;
use super::{DecodeError, EncodeError, Payload, Serializer};

/// Declares the messages: name on the wire, code, fields. `as` says how a field is read: one of the methods of
/// [`Fields`].
macro_rules! messages {
    ($(
        $(#[doc = $doc:literal])*
        $variant:ident $name:literal $code:literal {
            $($(#[doc = $field_doc:literal])* $field:ident: $type:ty as $kind:ident,)*
        }
    )*) => {
        /// A message.
        ///
        /// Ids are from 1 to 2^53. Options, details and extras are kept whole, with keys that nobody here knows.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Message {
            $(
                $(#[doc = $doc])*
                $variant {
                    $($(#[doc = $field_doc])* $field: $type,)*
                },
            )*
        }

        impl Message {
            /// Every message's name and code.
            pub const ALL: &[(&'static str, u16)] = &[$(($name, $code),)*];

            /// Its name in the specification, as `SUBSCRIBE`.
            pub const fn name(&self) -> &'static str {
                match self { $(Message::$variant { .. } => $name,)* }
            }

            /// Its code.
            pub const fn code(&self) -> u16 {
                match self { $(Message::$variant { .. } => $code,)* }
            }

            /// Reads the fields behind the code.
            pub(super) fn read(code: u64, fields: &mut Fields<'_, '_>) -> Result<Message, DecodeError> {
                match code {
                    $($code => {
                        const MIN: usize = 1 $(+ elements(stringify!($kind)).0)*;
                        const MAX: usize = 1 $(+ elements(stringify!($kind)).1)*;
                        fields.begin($name, MIN, MAX);
                        $(let $field = fields.$kind(stringify!($field))?;)*
                        fields.end()?;
                        Ok(Message::$variant { $($field),* })
                    })*
                    _ => Err(DecodeError::UnknownCode(code)),
                }
            }

            /// Writes the message.
            pub(super) fn write(&self, to: Serializer, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
                match self {
                    $(Message::$variant { $($field),* } => {
                        writer.list(1 $(+ $field.elements())*)?;
                        writer.uint($code);
                        $(Field::write($field, to, writer)?;)*
                    })*
                }
                writer.end_list();
                Ok(())
            }
        }
    };
}

/// How few and how many elements a field of a kind has.
const fn elements(kind: &str) -> (usize, usize) {
    match kind.as_bytes() {
        b"payload" => (0, 2),
        b"details_if_any" => (0, 1),
        _ => (1, 1),
    }
}

messages! {
    /// A client opens a session.
    Hello "HELLO" 1 {
        /// The realm that it wants to join.
        realm: String as text,
        /// Roles, and how it would like to prove who it is.
        details: Dict as dict,
    }
    /// The session is open.
    Welcome "WELCOME" 2 {
        /// The session's id.
        session: u64 as id,
        /// The router's roles, and who it takes the client for.
        details: Dict as dict,
    }
    /// The session is not opened, or ends at once. Never answered.
    Abort "ABORT" 3 {
        /// A `message` for a person.
        details: Dict as dict,
        /// Why, as a URI.
        reason: String as text,
        /// More about it.
        payload: Payload as payload,
    }
    /// The client is to prove who it is.
    Challenge "CHALLENGE" 4 {
        /// How.
        authmethod: String as text,
        /// What the method needs.
        extra: Dict as dict,
    }
    /// The client's proof.
    Authenticate "AUTHENTICATE" 5 {
        /// A signature, ticket or other proof.
        signature: String as signature,
        /// What the method needs.
        extra: Dict as dict,
    }
    /// The session ends; answered with the same.
    Goodbye "GOODBYE" 6 {
        /// A `message` for a person.
        details: Dict as dict,
        /// Why, as a URI.
        reason: String as text,
    }
    /// A request failed.
    Error "ERROR" 8 {
        /// The code of the message that asked: 16, 32, 34, 48, 64, 66, 68 or 70.
        request_type: u16 as request_type,
        /// Its request id.
        request: u64 as id,
        /// More for the protocol.
        details: Dict as dict,
        /// What failed, as a URI.
        error: String as text,
        /// More for the application.
        payload: Payload as payload,
    }
    /// An event for a topic.
    Publish "PUBLISH" 16 {
        /// The request's id.
        request: u64 as id,
        /// For whom, and how.
        options: Dict as dict,
        /// The topic, a URI.
        topic: String as text,
        /// The event.
        payload: Payload as payload,
    }
    /// The event was taken.
    Published "PUBLISHED" 17 {
        /// The id of the PUBLISH.
        request: u64 as id,
        /// The publication's id.
        publication: u64 as id,
    }
    /// Events of a topic are wanted.
    Subscribe "SUBSCRIBE" 32 {
        /// The request's id.
        request: u64 as id,
        /// How the topic matches, and more.
        options: Dict as dict,
        /// The topic or pattern, a URI.
        topic: String as text,
    }
    /// They will come.
    Subscribed "SUBSCRIBED" 33 {
        /// The id of the SUBSCRIBE.
        request: u64 as id,
        /// The subscription's id.
        subscription: u64 as id,
    }
    /// They are wanted no more.
    Unsubscribe "UNSUBSCRIBE" 34 {
        /// The request's id.
        request: u64 as id,
        /// The subscription's id.
        subscription: u64 as id,
    }
    /// They come no more.
    Unsubscribed "UNSUBSCRIBED" 35 {
        /// The id of the UNSUBSCRIBE; 0 if the router takes the subscription away.
        request: u64 as id_or_zero,
        /// Which subscription is taken away, and why.
        details: Option<Dict> as details_if_any,
    }
    /// An event.
    Event "EVENT" 36 {
        /// The subscription that it comes for.
        subscription: u64 as id,
        /// The publication's id.
        publication: u64 as id,
        /// Publisher, topic and more.
        details: Dict as dict,
        /// The event.
        payload: Payload as payload,
    }
    /// The subscriber has an event that it was asked to confirm (not in the specification; autobahn's code for it).
    EventReceived "EVENT_RECEIVED" 337 {
        /// The publication's id.
        publication: u64 as id,
    }
    /// A procedure is called.
    Call "CALL" 48 {
        /// The request's id.
        request: u64 as id,
        /// How.
        options: Dict as dict,
        /// The procedure, a URI.
        procedure: String as text,
        /// Its arguments.
        payload: Payload as payload,
    }
    /// A call's result is wanted no more.
    Cancel "CANCEL" 49 {
        /// The id of the CALL.
        request: u64 as id,
        /// The mode.
        options: Dict as dict,
    }
    /// The result, or a part of it.
    Result "RESULT" 50 {
        /// The id of the CALL.
        request: u64 as id,
        /// Whether more will come, and more.
        details: Dict as dict,
        /// The result.
        payload: Payload as payload,
    }
    /// A procedure is offered.
    Register "REGISTER" 64 {
        /// The request's id.
        request: u64 as id,
        /// How the procedure matches, how callees share it, and more.
        options: Dict as dict,
        /// The procedure or pattern, a URI.
        procedure: String as text,
    }
    /// It may be called.
    Registered "REGISTERED" 65 {
        /// The id of the REGISTER.
        request: u64 as id,
        /// The registration's id.
        registration: u64 as id,
    }
    /// It is offered no more.
    Unregister "UNREGISTER" 66 {
        /// The request's id.
        request: u64 as id,
        /// The registration's id.
        registration: u64 as id,
    }
    /// It is called no more.
    Unregistered "UNREGISTERED" 67 {
        /// The id of the UNREGISTER; 0 if the router takes the registration away.
        request: u64 as id_or_zero,
        /// Which registration is taken away, and why.
        details: Option<Dict> as details_if_any,
    }
    /// A callee is called.
    Invocation "INVOCATION" 68 {
        /// The invocation's id.
        request: u64 as id,
        /// The registration that it comes for.
        registration: u64 as id,
        /// Caller, procedure, timeout and more.
        details: Dict as dict,
        /// The arguments.
        payload: Payload as payload,
    }
    /// A callee need not go on.
    Interrupt "INTERRUPT" 69 {
        /// The id of the INVOCATION.
        request: u64 as id,
        /// The mode, and the reason.
        options: Dict as dict,
    }
    /// A callee's result, or a part of it.
    Yield "YIELD" 70 {
        /// The id of the INVOCATION.
        request: u64 as id,
        /// Whether more will come, and more.
        options: Dict as dict,
        /// The result.
        payload: Payload as payload,
    }
}
