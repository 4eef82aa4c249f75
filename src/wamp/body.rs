//! A WAMP payload as the body of a message and back, so that every door has the same message.
//!
//! | arguments | body | content type |
//! |---|---|---|
//! | none | none | none |
//! | one string | the text (`text` is set) | none |
//! | one binary | the bytes | `application/octet-stream` |
//! | any other one | the value as its sender wrote it | `application/json`, `/msgpack`, `/cbor`, `/x-bjdata`, `/ubjson` |
//! | more, or by name | the list of both, `[args, kwargs]`, likewise | `application/x.wamp+json`, `+msgpack` and so on |
//! | payload passthru | the bytes of the one argument | none; its attributes stand in the record |
//!
//! The other way round, a body whose content type is one of these and which is what that says becomes these arguments again; any other one
//! becomes one argument: a string if it is text, else binary; none if there are no bytes and nothing says what they are.
//!
//! Always, each with a test of its name below:
//! - `a_payload_comes_back_as_it_was`, in every serializer.
//! - `a_body_of_another_door_is_one_argument`.

use bytes::Bytes;
use restante_proto::wamp::{Content, EncodeError, Payload, Serializer};

use crate::message::Message;

/// The content type of bytes about which nothing is known.
const BYTES: &str = "application/octet-stream";

/// Serializers, with the content types of one value, and of a list of arguments.
const TYPES: [(Serializer, &str, &str); 5] = [
    (
        Serializer::Json,
        "application/json",
        "application/x.wamp+json",
    ),
    (
        Serializer::MsgPack,
        "application/msgpack",
        "application/x.wamp+msgpack",
    ),
    (
        Serializer::Cbor,
        "application/cbor",
        "application/x.wamp+cbor",
    ),
    (
        Serializer::Ubjson,
        "application/x-bjdata",
        "application/x.wamp+bjdata",
    ),
    (
        Serializer::UbjsonLegacy,
        "application/ubjson",
        "application/x.wamp+ubjson",
    ),
];

/// A message's body, and what it says of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Body {
    /// The bytes.
    pub(crate) bytes: Bytes,
    /// Whether they are text.
    pub(crate) text: bool,
    /// What they are; none: nothing that needs to be said.
    pub(crate) content_type: Option<&'static str>,
}

/// The body of a payload. `never_empty`: none of no bytes at all, which would mean something else.
///
/// # Errors
/// Only where a payload is not what its serializer says, which no decoded one is.
pub(crate) fn of_payload(payload: &Payload, never_empty: bool) -> Result<Body, EncodeError> {
    if payload.is_empty() && !never_empty {
        return Ok(Body::default());
    }
    let serializer = payload.serializer();
    let (one, list) = types(serializer);
    let Some(value) = payload.single() else {
        return Ok(Body {
            bytes: payload.to_list(),
            text: false,
            content_type: Some(list),
        });
    };
    Ok(match value.content {
        Some(Content::Text(bytes)) if !(bytes.is_empty() && never_empty) => Body {
            bytes,
            text: true,
            content_type: None,
        },
        Some(Content::Bytes(bytes)) if !(bytes.is_empty() && never_empty) => Body {
            bytes,
            text: false,
            content_type: Some(BYTES),
        },
        _ => Body {
            bytes: value.raw,
            text: false,
            content_type: Some(one),
        },
    })
}

/// The body of a payload that is passed through: its one argument, which must be binary.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn of_opaque(payload: &Payload) -> Result<Body, &'static str> {
    let value = payload.single().and_then(|it| it.content);
    match value {
        Some(Content::Bytes(bytes)) => Ok(Body {
            bytes,
            ..Body::default()
        }),
        _ => Err("with ppt_scheme, the payload is one argument, and binary"),
    }
}

/// The arguments of a message, in `serializer` where they have to be made; else as they are.
///
/// # Errors
/// [`EncodeError::TooLong`], for bodies that no serializer holds.
pub(crate) fn to_payload(
    message: &Message,
    serializer: Serializer,
) -> Result<Payload, EncodeError> {
    let passed = message.wamp.as_ref().and_then(|it| it.passthru.as_ref());
    if passed.is_some() {
        return Payload::from_single_bytes(serializer, &message.body);
    }
    let given = message.content_type.as_deref();
    if let Some(payload) = given.and_then(|it| of_type(it, &message.body)) {
        return Ok(payload);
    }
    if message.text
        && let Ok(text) = std::str::from_utf8(&message.body)
    {
        return Payload::from_single_text(serializer, text);
    }
    if message.body.is_empty() && given.is_none() {
        return Ok(Payload::none());
    }
    Payload::from_single_bytes(serializer, &message.body)
}

/// Whether a content type is told by the arguments, and need not be.
pub(crate) fn is_told_by_arguments(content_type: &str) -> bool {
    content_type == BYTES
        || TYPES
            .iter()
            .any(|(_, one, list)| content_type == *one || content_type == *list)
}

/// The arguments in a body of that content type, if that is what it is.
fn of_type(content_type: &str, body: &Bytes) -> Option<Payload> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let (serializer, one, _) = TYPES.iter().find(|(_, one, list)| {
        essence.eq_ignore_ascii_case(one) || essence.eq_ignore_ascii_case(list)
    })?;
    if essence.eq_ignore_ascii_case(one) {
        return Payload::from_single_raw(*serializer, body).ok();
    }
    Payload::from_list(*serializer, body).ok()
}

fn types(serializer: Serializer) -> (&'static str, &'static str) {
    let found = TYPES.iter().find(|(it, ..)| *it == serializer);
    found.map_or((BYTES, BYTES), |(_, one, list)| (one, list))
}

#[cfg(test)]
mod tests {
    use restante_proto::wamp::{Dict, Value};

    use super::*;

    fn message(body: Body) -> Message {
        Message {
            body: body.bytes,
            text: body.text,
            content_type: body.content_type.map(str::to_owned),
            ..Message::default()
        }
    }

    #[test]
    fn a_payload_comes_back_as_it_was() {
        let dict = |n: i64| Dict::new().with("a", n).with("é", "x");
        let bytes = || Value::Bytes(Bytes::from_static(b"\0\xFF"));
        for (args, kwargs) in [
            (vec![], Dict::new()),
            (vec!["text".into()], Dict::new()),
            (vec!["".into()], Dict::new()),
            (vec!["\"\\\n é".into()], Dict::new()),
            (vec![bytes()], Dict::new()),
            (vec![Value::Bytes(Bytes::new())], Dict::new()),
            (vec![Value::Null], Dict::new()),
            (vec![7.into()], Dict::new()),
            (vec![Value::Float(0.5)], Dict::new()),
            (vec![Value::List(vec![])], Dict::new()),
            (vec![Value::Dict(dict(1))], Dict::new()),
            (vec![1.into(), "b".into(), bytes()], Dict::new()),
            (vec![], dict(2)),
            (vec!["one".into()], dict(3)),
        ] {
            for serializer in Serializer::ALL {
                for never_empty in [false, true] {
                    let payload = Payload::from_values(serializer, &args, &kwargs).unwrap();
                    let body = of_payload(&payload, never_empty).unwrap();
                    assert!(!never_empty || !body.bytes.is_empty(), "{args:?}");
                    let back = to_payload(&message(body), serializer).unwrap();
                    let back = (back.args().unwrap(), back.kwargs().unwrap());
                    assert_eq!(back, (args.clone(), kwargs.clone()), "{serializer:?}");
                }
            }
        }
    }

    #[test]
    fn a_body_of_another_door_is_one_argument() {
        let text = |bytes: &'static str| Value::Str(bytes.to_owned());
        let raw = |bytes: &'static [u8]| Value::Bytes(Bytes::from_static(bytes));
        for (body, is_text, content_type, expected) in [
            (&b"hello"[..], true, None, vec![text("hello")]),
            (b"hello", false, None, vec![raw(b"hello")]),
            (b"", true, None, vec![text("")]),
            (b"", false, None, vec![]),
            (b"", false, Some("image/png"), vec![raw(b"")]),
            (b"<p>", true, Some("text/html"), vec![text("<p>")]),
            (
                b" [1] ",
                true,
                Some("application/json; charset=utf-8"),
                vec![Value::List(vec![1.into()])],
            ),
            (b"[1", true, Some("application/json"), vec![text("[1")]),
            (b"[1", false, Some("APPLICATION/JSON"), vec![raw(b"[1")]),
            (
                b"\x93\x01\x02\x03",
                false,
                Some("application/x.wamp+msgpack"),
                vec![raw(b"\x93\x01\x02\x03")],
            ),
        ] {
            let message = Message {
                body: Bytes::copy_from_slice(body),
                text: is_text,
                content_type: content_type.map(str::to_owned),
                ..Message::default()
            };
            for serializer in Serializer::ALL {
                let payload = to_payload(&message, serializer).unwrap();
                assert_eq!(payload.args().unwrap(), expected, "{content_type:?}");
                assert!(payload.kwargs().unwrap().is_empty());
            }
        }
    }

    #[test]
    fn what_is_passed_through_is_one_binary_argument() {
        let one =
            |value: Value| Payload::from_values(Serializer::Cbor, &[value], &Dict::new()).unwrap();
        let bytes = Bytes::from_static(b"\x01");
        assert_eq!(
            of_opaque(&one(Value::Bytes(bytes.clone()))).unwrap().bytes,
            bytes
        );
        assert!(of_opaque(&one("text".into())).is_err());
        assert!(of_opaque(&Payload::none()).is_err());
    }
}
