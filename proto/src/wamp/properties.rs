//! What holds of any message and of any bytes.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(
        serializer in any_serializer(),
        message in any_message(),
    ) {
        let message = in_serializer(serializer, message);
        let frame = encoded(serializer, &message);
        prop_assert_eq!(decode(serializer, &frame, &roomy()), Ok(message));
    }

    #[test]
    fn a_message_cut_anywhere_is_refused(
        serializer in any_serializer(),
        message in any_message(),
    ) {
        let frame = encoded(serializer, &in_serializer(serializer, message));
        for end in 0..frame.len() {
            let decoded = decode(serializer, &frame.slice(..end), &roomy());
            let truncated = matches!(decoded, Err(DecodeError::Truncated { .. }));
            // Of JSON, what is cut within a character is not utf-8.
            let within = serializer.is_text() && std::str::from_utf8(&frame[..end]).is_err();
            prop_assert!(truncated || (within && decoded.is_err()), "{}: {:?}", end, decoded);
        }
        let mut longer = frame.to_vec();
        longer.push(b'!');
        let decoded = decode(serializer, &longer.into(), &roomy());
        prop_assert_eq!(decoded, Err(DecodeError::TrailingBytes { at: frame.len() }));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(
        serializer in any_serializer(),
        bytes in vec(any::<u8>(), 0..128),
        message in any_message(),
        at in any::<prop::sample::Index>(),
        change in any::<u8>(),
    ) {
        check_any_bytes(serializer, bytes);
        let mut changed = encoded(serializer, &in_serializer(serializer, message)).to_vec();
        let at = at.index(changed.len());
        changed[at] = change;
        check_any_bytes(serializer, changed);
    }

    #[test]
    fn a_transcoded_payload_says_the_same(
        from in any_serializer(),
        to in any_serializer(),
        args in vec(any_value(), 0..4),
        kwargs in any_dict(),
    ) {
        let payload = Payload::from_values(from, &args, &kwargs).unwrap();
        prop_assert_eq!(payload.args(), Ok(args.clone()));
        prop_assert_eq!(payload.kwargs(), Ok(kwargs.clone()));
        let there = payload.to(to).unwrap().into_owned();
        prop_assert_eq!(there.args(), Ok(args));
        prop_assert_eq!(there.kwargs(), Ok(kwargs));
        prop_assert_eq!(there.to(from).unwrap().into_owned(), payload);
    }

    #[test]
    fn json_is_what_serde_json_reads_and_writes(
        // As it is built here, it does not read floats to the last digit.
        args in vec(any_value_with(Just(0.5)), 1..4),
    ) {
        let payload = Payload::from_values(Serializer::Json, &args, &Dict::new()).unwrap();
        let raw = payload.raw_args().unwrap();
        let read: serde_json::Value = serde_json::from_slice(raw).unwrap();
        let theirs = serde_json::to_vec(&read).unwrap();
        // It sorts keys, so that what is read of its text is compared as it has it.
        let ours = Payload::from_single_raw(Serializer::Json, &theirs).unwrap();
        let values = ours.args().unwrap();
        let again = Payload::from_values(Serializer::Json, &values, &Dict::new()).unwrap();
        let again: serde_json::Value = serde_json::from_slice(again.raw_args().unwrap()).unwrap();
        prop_assert_eq!(&again[0], &read);
    }

    #[test]
    fn an_event_of_a_tail_is_the_event(
        serializer in any_serializer(),
        payload_serializer in any_serializer(),
        subscription in any_id(),
        publication in any_id(),
        details in any_dict(),
        args in vec(any_value(), 0..3),
        kwargs in any_dict(),
    ) {
        let payload = Payload::from_values(payload_serializer, &args, &kwargs).unwrap();
        let tail = EventTail::new(serializer, publication, &details, &payload).unwrap();
        let mut out = BytesMut::new();
        write_event(&mut out, subscription, &tail);
        let event = Message::Event { subscription, publication, details, payload };
        prop_assert_eq!(out.freeze(), encoded(serializer, &event));
    }

    #[test]
    fn a_single_argument_is_found_and_made_again(
        serializer in any_serializer(),
        value in any_value(),
    ) {
        let payload = Payload::from_values(serializer, std::slice::from_ref(&value), &Dict::new());
        let payload = payload.unwrap();
        let single = payload.single().unwrap();
        let again = Payload::from_single_raw(serializer, &single.raw).unwrap();
        prop_assert_eq!(&again, &payload);
        let content = match value {
            Value::Str(text) => {
                let made = Payload::from_single_text(serializer, &text).unwrap();
                prop_assert_eq!(made, payload);
                Some(Content::Text(text.into()))
            }
            Value::Bytes(bytes) => {
                let made = Payload::from_single_bytes(serializer, &bytes).unwrap();
                prop_assert_eq!(made, payload);
                Some(Content::Bytes(bytes))
            }
            _ => None,
        };
        prop_assert_eq!(single.content, content);
    }
}

/// What is taken for a message is one, and can be written in its serializer and read again.
fn check_any_bytes(serializer: Serializer, bytes: Vec<u8>) {
    let Ok(message) = decode(serializer, &bytes.into(), &Limits::default()) else {
        return;
    };
    let mut out = BytesMut::new();
    if encode(serializer, &message, &mut out).is_ok() {
        let mut again = BytesMut::new();
        let read = decode(serializer, &out.clone().freeze(), &Limits::default()).unwrap();
        encode(serializer, &read, &mut again).unwrap();
        assert_eq!(again, out);
    }
    for other in Serializer::ALL {
        // Some things cannot be said in all of them; what was written can be read.
        out.clear();
        if encode(other, &message, &mut out).is_ok() {
            decode(other, &out.clone().freeze(), &roomy()).unwrap();
        }
    }
}

fn roomy() -> Limits {
    Limits {
        bytes_max: usize::MAX,
        depth_max: usize::MAX,
        options_bytes_max: usize::MAX,
        text_bytes_max: usize::MAX,
    }
}

fn encoded(serializer: Serializer, message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    encode(serializer, message, &mut out).unwrap();
    out.freeze()
}

/// The same message with its payload in this serializer.
fn in_serializer(serializer: Serializer, mut message: Message) -> Message {
    if let Message::Abort { payload, .. }
    | Message::Error { payload, .. }
    | Message::Publish { payload, .. }
    | Message::Event { payload, .. }
    | Message::Call { payload, .. }
    | Message::Result { payload, .. }
    | Message::Invocation { payload, .. }
    | Message::Yield { payload, .. } = &mut message
    {
        let (args, kwargs) = (payload.args().unwrap(), payload.kwargs().unwrap());
        *payload = Payload::from_values(serializer, &args, &kwargs).unwrap();
    }
    message
}

fn any_serializer() -> impl Strategy<Value = Serializer> {
    prop::sample::select(Serializer::ALL.to_vec())
}

fn any_id() -> impl Strategy<Value = u64> {
    prop_oneof![1..=ID_MAX, 1..300_u64, Just(ID_MAX)]
}

/// Text that begins with U+0000 may stand for bytes in JSON.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z.]{0,40}", any::<String>()]
        .prop_filter("bytes", |text| !text.starts_with('\0'))
}

/// Floats are finite, and numbers are integers: what every serializer can say. MessagePack has no larger ones.
fn any_value() -> impl Strategy<Value = Value> {
    any_value_with(any::<f64>().prop_filter("finite", |float| float.is_finite()))
}

fn any_value_with(floats: impl Strategy<Value = f64> + 'static) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        (-300..300_i64).prop_map(Value::Int),
        any::<u64>().prop_map(Value::from),
        floats.prop_map(Value::Float),
        any_text().prop_map(Value::Str),
        vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Bytes(bytes.into())),
    ];
    leaf.prop_recursive(4, 24, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Value::List),
            vec((any_text(), inner), 0..5)
                .prop_map(|entries| Value::Dict(entries.into_iter().collect())),
        ]
    })
}

fn any_dict() -> impl Strategy<Value = Dict> {
    vec(("[a-z_]{1,12}", any_value()), 0..4).prop_map(|entries| entries.into_iter().collect())
}

fn any_payload() -> impl Strategy<Value = Payload> {
    (vec(any_value(), 0..4), any_dict())
        .prop_map(|(args, kwargs)| Payload::from_values(Serializer::Json, &args, &kwargs).unwrap())
}

fn any_message() -> impl Strategy<Value = Message> {
    let parts = (any_id(), any_id(), any_dict(), any_text(), any_payload());
    (0..Message::ALL.len(), parts, any::<bool>()).prop_map(|(which, parts, flag)| {
        let (request, id, details, text, payload) = parts;
        message(
            Message::ALL[which].1,
            request,
            id,
            details,
            text,
            payload,
            flag,
        )
    })
}

fn message(
    code: u16,
    request: u64,
    id: u64,
    details: Dict,
    text: String,
    payload: Payload,
    flag: bool,
) -> Message {
    let if_any = flag.then(|| details.clone());
    let zero_or = if flag { 0 } else { request };
    match code {
        1 => Message::Hello {
            realm: text,
            details,
        },
        2 => Message::Welcome {
            session: id,
            details,
        },
        3 => Message::Abort {
            details,
            reason: text,
            payload,
        },
        4 => Message::Challenge {
            authmethod: text,
            extra: details,
        },
        5 => Message::Authenticate {
            signature: text,
            extra: details,
        },
        6 => Message::Goodbye {
            details,
            reason: text,
        },
        8 => Message::Error {
            request_type: 48,
            request,
            details,
            error: text,
            payload,
        },
        16 => Message::Publish {
            request,
            options: details,
            topic: text,
            payload,
        },
        17 => Message::Published {
            request,
            publication: id,
        },
        32 => Message::Subscribe {
            request,
            options: details,
            topic: text,
        },
        33 => Message::Subscribed {
            request,
            subscription: id,
        },
        34 => Message::Unsubscribe {
            request,
            subscription: id,
        },
        35 => Message::Unsubscribed {
            request: zero_or,
            details: if_any,
        },
        36 => Message::Event {
            subscription: id,
            publication: request,
            details,
            payload,
        },
        48 => Message::Call {
            request,
            options: details,
            procedure: text,
            payload,
        },
        49 => Message::Cancel {
            request,
            options: details,
        },
        50 => Message::Result {
            request,
            details,
            payload,
        },
        64 => Message::Register {
            request,
            options: details,
            procedure: text,
        },
        65 => Message::Registered {
            request,
            registration: id,
        },
        66 => Message::Unregister {
            request,
            registration: id,
        },
        67 => Message::Unregistered {
            request: zero_or,
            details: if_any,
        },
        68 => Message::Invocation {
            request,
            registration: id,
            details,
            payload,
        },
        69 => Message::Interrupt {
            request,
            options: details,
        },
        70 => Message::Yield {
            request,
            options: details,
            payload,
        },
        _ => Message::EventReceived { publication: id },
    }
}
