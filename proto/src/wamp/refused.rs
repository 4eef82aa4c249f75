//! What is refused because of its size or depth, and what one serializer cannot say of another's; the rest is in
//! `proto/vectors/wamp/bad.json`.

use bytes::{Bytes, BytesMut};

use super::vectors::{unhex, variant_of};
use super::*;

/// The name of the error that `bytes` are refused with.
fn refusal(serializer: Serializer, bytes: &[u8], limits: &Limits) -> String {
    let decoded = decode(serializer, &Bytes::copy_from_slice(bytes), limits);
    variant_of(&decoded.unwrap_err())
}

/// A PUBLISH up to its arguments, which follow.
fn head(serializer: Serializer) -> &'static [u8] {
    match serializer {
        Serializer::Json => b"[16,1,{},\"x.y\",",
        Serializer::MsgPack => b"\x95\x10\x01\x80\xa3x.y",
        Serializer::Cbor => b"\x85\x10\x01\xa0\x63x.y",
        Serializer::Ubjson | Serializer::UbjsonLegacy => b"[U\x10U\x01{}SU\x03x.y",
    }
}

#[test]
fn a_nesting_bomb_costs_nothing_and_is_refused() {
    let bombs: [(Serializer, &[u8]); 12] = [
        (Serializer::Json, b"["),
        (Serializer::Json, b"{\"\":"),
        (Serializer::MsgPack, b"\x91"),
        (Serializer::MsgPack, b"\x81\xa0"),
        (Serializer::MsgPack, b"\xdd\0\0\0\x01"),
        (Serializer::Cbor, b"\x81"),
        (Serializer::Cbor, b"\x9f"),
        (Serializer::Cbor, b"\xbf\x60"),
        (Serializer::Ubjson, b"["),
        (Serializer::Ubjson, b"{U\0"),
        (Serializer::Ubjson, b"[#U\x01"),
        (Serializer::UbjsonLegacy, b"["),
    ];
    for (serializer, bomb) in bombs {
        // In the payload, in the options, and as the message.
        let before_options = match serializer {
            Serializer::Json => 6,
            Serializer::MsgPack | Serializer::Cbor => 3,
            Serializer::Ubjson | Serializer::UbjsonLegacy => 5,
        };
        for at in [head(serializer), &head(serializer)[..before_options], b""] {
            let mut bytes = at.to_vec();
            for _ in 0..200_000 {
                bytes.extend_from_slice(bomb);
            }
            let mut limits = Limits::default();
            let refused = refusal(
                serializer,
                &bytes[..limits.bytes_max.min(bytes.len())],
                &limits,
            );
            assert!(
                ["TooDeep", "NotAMessage", "WrongType"].contains(&refused.as_str()),
                "{refused}"
            );
            limits.depth_max = usize::MAX;
            limits.bytes_max = usize::MAX;
            assert_eq!(
                refusal(serializer, &bytes, &limits),
                refused,
                "{serializer:?} {bomb:?}"
            );
        }
    }
}

#[test]
fn a_chain_of_tags_is_stepped_over() {
    let mut bytes = head(Serializer::Cbor).to_vec();
    bytes.push(0x81);
    bytes.extend(std::iter::repeat_n(0xc0, 500_000));
    bytes.push(0x01);
    let decoded = decode(Serializer::Cbor, &bytes.clone().into(), &Limits::default());
    assert_eq!(decoded.unwrap().name(), "PUBLISH");
    bytes.pop();
    assert_eq!(
        refusal(Serializer::Cbor, &bytes, &Limits::default()),
        "Truncated"
    );
}

#[test]
fn depth_is_counted_from_the_message_on() {
    let limits = Limits {
        depth_max: 3,
        ..Limits::default()
    };
    for (args, taken) in [
        ("[[]]", true),
        ("[[1],{}]", true),
        ("[[[]]]", false),
        ("[{\"a\":[]}]", false),
    ] {
        let frame = Bytes::from(format!("[16,1,{{}},\"x.y\",{args}]"));
        let decoded = decode(Serializer::Json, &frame, &limits);
        assert_eq!(decoded.is_ok(), taken, "{args}");
        if !taken {
            assert_eq!(decoded, Err(DecodeError::TooDeep { max: 3 }));
        }
    }
}

#[test]
fn a_claimed_length_or_count_is_not_believed() {
    let claims: [(Serializer, &str); 16] = [
        (Serializer::MsgPack, "ddffffffff"),
        (Serializer::MsgPack, "91dfffffffff"),
        (Serializer::MsgPack, "91dbffffffff"),
        (Serializer::MsgPack, "91c6ffffffff"),
        (Serializer::MsgPack, "91c9ffffffff05"),
        (Serializer::Cbor, "9bffffffffffffffff"),
        (Serializer::Cbor, "9b7fffffffffffffff"),
        (Serializer::Cbor, "81bbffffffffffffffff"),
        (Serializer::Cbor, "815bffffffffffffffff"),
        (Serializer::Cbor, "817bffffffffffffffff"),
        (Serializer::Cbor, "815f5bffffffffffffffff"),
        (Serializer::Ubjson, "5b2355ff"),
        (Serializer::Ubjson, "5b5b2455234dffffffffffffffff"),
        (Serializer::Ubjson, "5b5b2442234dffffffffffffffff"),
        (Serializer::Ubjson, "5b534dffffffffffffffff"),
        (Serializer::UbjsonLegacy, "5b5b2444234c7fffffffffffffff"),
    ];
    for (serializer, claim) in claims {
        let mut bytes = head(serializer).to_vec();
        bytes.extend_from_slice(&unhex(claim));
        let refused = refusal(serializer, &bytes, &Limits::default());
        assert_eq!(refused, "Truncated", "{serializer:?} {claim}");
    }
}

#[test]
fn what_is_larger_than_the_limits_is_refused() {
    let limits = Limits {
        bytes_max: 200,
        options_bytes_max: 16,
        text_bytes_max: 8,
        ..Limits::default()
    };
    let long = "x".repeat(200);
    for (text, error) in [
        (format!("[1,\"{long}\",{{}}]"), "TooLarge"),
        ("[1,\"12345678\",{}]".into(), ""),
        ("[1,\"123456789\",{}]".into(), "FieldTooLarge"),
        ("[1,\"\\u0031\\u0032\\u0033\\u0034\",{}]".into(), ""),
        ("[1,\"r\",{\"a\":\"12345678\"}]".into(), ""),
        (
            "[1,\"r\",{\"a\":\"1234567890123\"}]".into(),
            "FieldTooLarge",
        ),
        (
            "[1,\"r\",{\"a\":[1,2,3,4,5,6,7,8,9]}]".into(),
            "FieldTooLarge",
        ),
        (format!("[5,\"{}\",{{}}]", &long[..64]), ""),
        (format!("[5,\"{}\",{{}}]", &long[..65]), "FieldTooLarge"),
    ] {
        let decoded = decode(Serializer::Json, &Bytes::from(text.clone()), &limits);
        let refused = decoded.map_or_else(|error| variant_of(&error), |_| String::new());
        assert_eq!(refused, error, "{text}");
    }
}

#[test]
fn a_person_is_told_what_is_wrong() {
    for (text, message) in [
        (
            "[16,0,{},\"x\"]",
            "PUBLISH.request should be an id from 1 to 2^53",
        ),
        (
            "[16,true,{},\"x\"]",
            "PUBLISH.request is a bool, and should be a non-negative integer",
        ),
        (
            "[16,1,{},7]",
            "PUBLISH.topic is an integer, and should be a string",
        ),
        ("[16,1,{}]", "PUBLISH should have 4 to 6 elements"),
        ("[17,1]", "PUBLISHED should have 3 elements"),
        ("[35]", "UNSUBSCRIBED should have 2 or 3 elements"),
        ("[99]", "there is no message of code 99"),
        (
            "{}",
            "a message is a list that begins with its code, and this is a dict",
        ),
        ("[1,x", "not well-formed json at byte 3: there is no value"),
        ("[1,", "the message ends too early, after 3 bytes"),
        (
            "[337,1]]",
            "there are bytes behind the message, from byte 7 on",
        ),
    ] {
        let decoded = decode(Serializer::Json, &Bytes::from(text), &Limits::default());
        assert_eq!(decoded.unwrap_err().to_string(), message, "{text}");
    }
}

#[test]
fn what_a_serializer_has_no_words_for_is_told() {
    let number = |text: &str| Value::Number(text.into());
    let (json, msgpack) = (Serializer::Json, Serializer::MsgPack);
    for (from, to, value, error) in [
        (
            Serializer::Cbor,
            json,
            Value::Float(f64::NAN),
            EncodeError::NotFinite { to: json },
        ),
        (
            msgpack,
            json,
            Value::Float(f64::INFINITY),
            EncodeError::NotFinite { to: json },
        ),
        (
            json,
            msgpack,
            number("18446744073709551616"),
            EncodeError::Number { to: msgpack },
        ),
        (
            json,
            msgpack,
            number("1e999"),
            EncodeError::Number { to: msgpack },
        ),
        (
            json,
            Serializer::Cbor,
            number("1e999"),
            EncodeError::Number {
                to: Serializer::Cbor,
            },
        ),
    ] {
        let payload =
            Payload::from_values(from, std::slice::from_ref(&value), &Dict::new()).unwrap();
        assert_eq!(payload.to(to), Err(error.clone()));
        let message = Message::Result {
            request: 1,
            details: Dict::new(),
            payload,
        };
        let mut out = BytesMut::from("kept");
        assert_eq!(encode(to, &message, &mut out), Err(error));
        assert_eq!(out, "kept");
    }
}

#[test]
fn more_digits_than_a_float_has_become_the_nearest_float() {
    let payload = Payload::from_single_raw(Serializer::Json, b"0.10000000000000001").unwrap();
    let there = payload.to(Serializer::MsgPack).unwrap().into_owned();
    assert_eq!(there.args(), Ok(vec![Value::Float(0.1)]));
    let there = payload.to(Serializer::UbjsonLegacy).unwrap().into_owned();
    assert_eq!(
        there.to(Serializer::Json).unwrap().into_owned(),
        payload,
        "it keeps the digits"
    );
}

#[test]
fn a_raw_value_is_to_be_exactly_one() {
    for (serializer, raw, taken) in [
        (Serializer::Json, &b" {\"a\":[1]} "[..], true),
        (Serializer::Json, b"", false),
        (Serializer::Json, b"1,2", false),
        (Serializer::Json, b"1]", false),
        (Serializer::Json, b"[1", false),
        (Serializer::MsgPack, b"\x81\xa1a\x01", true),
        (Serializer::MsgPack, b"\x01\x01", false),
        (Serializer::MsgPack, b"\x81\x01\x01", false),
        (Serializer::Cbor, b"\x9f\xff", true),
        (Serializer::Cbor, b"\xff", false),
        (Serializer::Cbor, b"\xc0", false),
        (Serializer::Ubjson, b"U\x05", true),
        (Serializer::Ubjson, b"U\x05]", false),
        (Serializer::UbjsonLegacy, b"NZ", true),
        (Serializer::UbjsonLegacy, b"N", false),
    ] {
        let made = Payload::from_single_raw(serializer, raw);
        assert_eq!(made.is_ok(), taken, "{serializer:?} {raw:?}");
    }
}

#[test]
fn only_one_argument_by_place_alone_is_single() {
    for (args, kwargs, single) in [
        ("[]", "{}", false),
        ("[1]", "{}", true),
        ("[1,2]", "{}", false),
        ("[1]", "{\"a\":1}", false),
        ("[[1,2]]", "{}", true),
    ] {
        let frame = Bytes::from(format!("[50,1,{{}},{args},{kwargs}]"));
        let Ok(Message::Result { payload, .. }) =
            decode(Serializer::Json, &frame, &Limits::default())
        else {
            panic!("{frame:?}");
        };
        assert_eq!(payload.single().is_some(), single, "{frame:?}");
    }
}

#[test]
fn the_single_item_of_a_typed_list_is_a_value_of_its_own() {
    let frame = unhex("5b5532 5501 7b7d 5b2469235501 07 5d");
    let decoded = decode(Serializer::Ubjson, &frame, &Limits::default());
    let Ok(Message::Result { payload, .. }) = decoded else {
        panic!("{decoded:?}");
    };
    assert_eq!(&payload.single().unwrap().raw[..], b"U\x07");
}

#[test]
fn a_payload_is_a_slice_of_its_frame() {
    let frame = Bytes::from("[36,1,2,{},[\"some text\"],{}]");
    let Ok(Message::Event { payload, .. }) = decode(Serializer::Json, &frame, &Limits::default())
    else {
        panic!("{frame:?}");
    };
    let within = |bytes: &Bytes| frame.as_ptr_range().contains(&bytes.as_ptr());
    assert!(within(payload.raw_args().unwrap()));
    assert_eq!(payload.raw_kwargs(), None);
    assert_eq!(payload.len(), "[\"some text\"]".len());
    let single = payload.single().unwrap();
    assert!(within(&single.raw));
    let Some(Content::Text(text)) = single.content else {
        panic!("{single:?}");
    };
    assert!(within(&text));
    assert_eq!(text, "some text");
}
