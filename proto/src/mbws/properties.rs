//! What holds of any frame and of any bytes.

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::*;

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(frame in any_frame()) {
        prop_assert_eq!(decode_text(&text_of(&frame), &Limits::default()), Ok(frame.clone()));
        prop_assert_eq!(decode_binary(&binary_of(&frame), &Limits::default()), Ok(frame));
    }

    #[test]
    fn prost_reads_and_writes_the_same_header(frame in any_frame()) {
        let encoded = binary_of(&frame);
        let mut rest = &encoded[..];
        let header_bytes = prost::encoding::decode_varint(&mut rest).unwrap();
        let header = &rest[..usize::try_from(header_bytes).unwrap()];
        let read = schema::Header::decode(header).unwrap();
        prop_assert!(read.verb.is_some());
        // It drops what it does not know, so no byte is lost only if it knows every field.
        prop_assert_eq!(read.encode_to_vec(), header);
    }

    #[test]
    fn a_frame_is_behind_what_was_in_the_buffer(frame in any_frame()) {
        let mut out = BytesMut::from("before");
        encode_text(&frame, &mut out);
        let behind_text = out.len();
        encode_binary(&frame, &mut out);
        prop_assert_eq!(&out[6..behind_text], &text_of(&frame));
        prop_assert_eq!(&out[behind_text..], &binary_of(&frame));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(
        bytes in vec(any::<u8>(), 0..256),
        frame in any_frame(),
        at in any::<prop::sample::Index>(),
        change in any::<u8>(),
    ) {
        let mut inputs = vec![bytes.clone()];
        let mut with_length = Vec::new();
        encode_varint(bytes.len() as u64, &mut with_length);
        with_length.extend(&bytes);
        inputs.push(with_length);
        for encoded in [text_of(&frame), binary_of(&frame)] {
            let at = at.index(encoded.len());
            inputs.push(encoded[..at].to_vec());
            let mut changed = encoded.to_vec();
            changed[at] = change;
            inputs.push(changed);
        }
        for input in inputs {
            let input = Bytes::from(input);
            for frame in both(&input).into_iter().flatten() {
                // Whatever is taken for a frame is one.
                prop_assert_eq!(decode_text(&text_of(&frame), &Limits::default()), Ok(frame.clone()));
                prop_assert_eq!(decode_binary(&binary_of(&frame), &Limits::default()), Ok(frame));
            }
        }
    }

    #[test]
    fn a_frame_cut_within_its_header_is_none(frame in any_frame(), at in any::<prop::sample::Index>()) {
        let body_bytes = match &frame {
            Frame::Send(send) => send.body.bytes.len(),
            Frame::Deliver(deliver) => deliver.body.bytes.len(),
            _ => 0,
        };
        let encoded = binary_of(&frame);
        let cut = encoded.slice(..at.index(encoded.len() - body_bytes));
        prop_assert!(decode_binary(&cut, &Limits::default()).is_err());
    }

    #[test]
    fn unknown_fields_are_passed_over(frame in any_frame(), bytes in vec(any::<u8>(), 0..8)) {
        let text = String::from_utf8(text_of(&frame).to_vec()).unwrap();
        let text = text.replacen('\n', "\nsome-day:\\q\nproperty:x\n", 1);
        prop_assert_eq!(decode_text(&Bytes::from(text), &Limits::default()), Ok(frame.clone()));

        let mut unknown = Vec::new();
        prost::encoding::bytes::encode(1000, &bytes, &mut unknown);
        prost::encoding::fixed32::encode(1001, &7, &mut unknown);
        prost::encoding::fixed64::encode(1001, &7, &mut unknown);
        prost::encoding::uint64::encode(1001, &7, &mut unknown);
        prop_assert_eq!(decode_binary(&with_fields(&frame, &unknown), &Limits::default()), Ok(frame));
    }

    #[test]
    fn a_field_given_twice_is_refused(frame in any_frame(), number in 1u32..=47) {
        prop_assume!(number != 15 && number != 30);
        let mut twice = Vec::new();
        prost::encoding::uint64::encode(number, &1, &mut twice);
        prost::encoding::uint64::encode(number, &1, &mut twice);
        let refused = decode_binary(&with_fields(&frame, &twice), &Limits::default());
        prop_assert_eq!(refused.map_err(|error| error.code()), Err(Code::Protocol));
    }
}

#[test]
fn a_claimed_length_reserves_nothing() {
    // With no limit to stop it, a decoder that trusted a claim would ask for more memory than there is, and abort.
    let limits = Limits {
        frame_bytes_max: usize::MAX,
        header_bytes_max: usize::MAX,
        field_bytes_max: usize::MAX,
        properties_max: usize::MAX,
        ranges_max: usize::MAX,
        ..Limits::default()
    };
    for claim in [1 << 20, 1 << 40, 1 << 62, u64::MAX >> 1, u64::MAX] {
        let mut claims = Vec::new();
        encode_varint(claim, &mut claims);
        let decoded = decode_binary(&Bytes::from(claims.clone()), &limits);
        assert_eq!(decoded, Err(DecodeError::Truncated), "header of {claim}");

        for number in 1..=47 {
            for verb in 1..=12 {
                let mut arm = Vec::new();
                encode_varint(number << 3 | 2, &mut arm);
                arm.extend(&claims);
                let decoded = decode_binary(&frame_of(verb, &arm, &[]), &limits);
                assert_eq!(decoded, Err(DecodeError::Truncated), "{number} of {claim}");
            }
        }
    }
}

#[test]
fn a_body_is_a_slice_of_its_message() {
    let frame = Frame::Send(Box::new(Send {
        seq: 1,
        body: Body {
            bytes: Bytes::from_static(b"hello"),
            text: true,
        },
        ..Send::default()
    }));
    for (input, decoded) in [
        (text_of(&frame), decode_text as Decode),
        (binary_of(&frame), decode_binary as Decode),
    ]
    .map(|(input, decode)| (input.clone(), decode(&input, &Limits::default())))
    {
        let Ok(Frame::Send(send)) = decoded else {
            panic!("{decoded:?}");
        };
        let behind = input.as_ptr_range().end;
        assert_eq!(send.body.bytes.as_ptr_range().end, behind);
    }
}

#[test]
fn a_body_wrongly_said_to_be_text_goes_as_base64_in_text() {
    let body = Body {
        bytes: Bytes::from_static(b"\xff"),
        text: true,
    };
    let frame = Frame::Send(Box::new(Send {
        seq: 1,
        body,
        ..Send::default()
    }));
    assert!(text_of(&frame).ends_with(b"body-encoding:base64\n\n/w=="));
    let decoded = decode_binary(&binary_of(&frame), &Limits::default());
    assert_eq!(decoded, Err(DecodeError::NotUtf8 { part: "body" }));
}

#[test]
fn a_logged_open_gives_no_secret_away() {
    let open = Open {
        password: Some("hunter2".to_owned()),
        token: Some("hunter3".to_owned()),
        ..Open::default()
    };
    assert!(!format!("{open:?}").contains("hunter"));
}

type Decode = fn(&Bytes, &Limits) -> Result<Frame, DecodeError>;

fn both(input: &Bytes) -> [Result<Frame, DecodeError>; 2] {
    let limits = Limits::default();
    [decode_text(input, &limits), decode_binary(input, &limits)]
}

fn text_of(frame: &Frame) -> Bytes {
    let mut out = BytesMut::new();
    encode_text(frame, &mut out);
    out.freeze()
}

fn binary_of(frame: &Frame) -> Bytes {
    let mut out = BytesMut::new();
    encode_binary(frame, &mut out);
    out.freeze()
}

/// The binary frame that has `arm` for its verb's fields.
fn frame_of(verb: u64, arm: &[u8], body: &[u8]) -> Bytes {
    let mut header = Vec::new();
    encode_varint(verb << 3 | 2, &mut header);
    encode_varint(arm.len() as u64, &mut header);
    header.extend(arm);
    let mut out = BytesMut::new();
    encode_varint(header.len() as u64, &mut out);
    out.put_slice(&header);
    out.put_slice(body);
    out.freeze()
}

/// `frame` with more fields behind its own.
fn with_fields(frame: &Frame, fields: &[u8]) -> Bytes {
    let encoded = binary_of(frame);
    let mut rest = &encoded[..];
    let header_bytes = prost::encoding::decode_varint(&mut rest).unwrap();
    let (mut header, body) = rest.split_at(usize::try_from(header_bytes).unwrap());
    let verb = prost::encoding::decode_varint(&mut header).unwrap() >> 3;
    let arm_bytes = prost::encoding::decode_varint(&mut header).unwrap();
    assert_eq!(header.len() as u64, arm_bytes);
    assert!(encoded_len_varint(arm_bytes) > 0);
    frame_of(verb, &[header, fields].concat(), body)
}

fn any_frame() -> impl Strategy<Value = Frame> {
    prop_oneof![
        any_open().prop_map(Frame::Open),
        any_opened().prop_map(Frame::Opened),
        (any_text(), any_ranges())
            .prop_map(|(consumer, offsets)| Frame::Hold(Hold { consumer, offsets })),
        any_send().prop_map(|send| Frame::Send(Box::new(send))),
        any_consume().prop_map(Frame::Consume),
        (any_text(), any::<u64>())
            .prop_map(|(consumer, limit)| Frame::Credit(Credit { consumer, limit })),
        any_settle().prop_map(Frame::Settle),
        any_cancel().prop_map(Frame::Cancel),
        (any::<u64>(), vec((any::<u64>(), any_code()), 0..4))
            .prop_map(|(upto, failed)| Frame::Confirm(Confirm { upto, failed })),
        any_deliver().prop_map(|deliver| Frame::Deliver(Box::new(deliver))),
        (any_code(), any_text())
            .prop_map(|(code, reason)| Frame::Error(ErrorFrame { code, reason })),
        option::of(any_text()).prop_map(|reason| Frame::Close(Close { reason })),
    ]
}

fn any_open() -> impl Strategy<Value = Open> {
    let texts = [(); 5].map(|()| option::of(any_text()));
    let role = prop::sample::select(vec![Role::Client, Role::Broker]);
    let accept = prop::sample::select(vec![Accept::Text, Accept::Binary, Accept::Both]);
    let numbers = (any::<u32>(), any::<u64>(), option::of(any::<u32>()));
    (texts, role, accept, numbers).prop_map(|(texts, role, accept, numbers)| {
        let [session, name, user, password, token] = texts;
        let (version, expiry, heartbeat) = numbers;
        Open {
            version,
            session,
            expiry,
            name,
            role,
            accept,
            user,
            password,
            token,
            heartbeat,
        }
    })
}

fn any_opened() -> impl Strategy<Value = Opened> {
    let texts = [(); 3].map(|()| any_text());
    (texts, any::<bool>(), any::<[u64; 2]>(), any::<[u32; 3]>()).prop_map(
        |([session, broker, server], resumed, [confirmed, expiry], numbers)| {
            let [window, max_frame, heartbeat] = numbers;
            Opened {
                session,
                resumed,
                confirmed,
                expiry,
                window,
                max_frame,
                heartbeat,
                broker,
                server,
            }
        },
    )
}

fn any_fields() -> impl Strategy<Value = MessageFields> {
    let texts = [(); 5].map(|()| option::of(any_text()));
    (texts, option::of(0u8..=9), any_properties()).prop_map(|(texts, priority, properties)| {
        let [message_id, correlation_id, reply_to, content_type, key] = texts;
        MessageFields {
            message_id,
            correlation_id,
            reply_to,
            content_type,
            key,
            priority,
            properties,
        }
    })
}

fn any_send() -> impl Strategy<Value = Send> {
    let times = (option::of(any::<u64>()), option::of(any::<u64>()));
    let parts = (any_seq(), any_text(), any_fields(), times);
    (parts, any::<bool>(), any_body()).prop_map(
        |((seq, address, fields, times), transient, body)| {
            let (ttl, delay) = times;
            Send {
                seq,
                address,
                fields,
                ttl,
                delay,
                transient,
                body,
            }
        },
    )
}

fn any_deliver() -> impl Strategy<Value = Deliver> {
    let numbers = (any::<[u64; 2]>(), any::<u32>(), option::of(any::<u64>()));
    (
        [(); 2].map(|()| any_text()),
        numbers,
        any_fields(),
        any_body(),
    )
        .prop_map(
            |([consumer, address], ([offset, timestamp], attempt, ttl), fields, body)| Deliver {
                consumer,
                address,
                offset,
                attempt,
                timestamp,
                ttl,
                fields,
                body,
            },
        )
}

fn any_consume() -> impl Strategy<Value = Consume> {
    let mode = prop::sample::select(vec![Mode::Queue, Mode::Topic, Mode::Browse, Mode::Replay]);
    let settle = prop::sample::select(vec![SettleMode::Explicit, SettleMode::Auto]);
    let from = prop_oneof![
        Just(From::Earliest),
        Just(From::Latest),
        any::<u64>().prop_map(From::Offset),
        any::<u64>().prop_map(From::Time),
    ];
    let names = (any_seq(), any_text(), any_text());
    let options = (
        option::of(any::<u64>()),
        mode,
        option::of(from),
        option::of(any_text()),
        settle,
        any::<bool>(),
    );
    (names, options).prop_map(|((seq, consumer, address), options)| {
        let (limit, mode, from, filter, settle, exclusive) = options;
        Consume {
            seq,
            consumer,
            address,
            limit,
            mode,
            from,
            filter,
            settle,
            exclusive,
        }
    })
}

fn any_settle() -> impl Strategy<Value = Settle> {
    let ranges = [(); 3].map(|()| any_ranges());
    let delay = option::of(any::<u64>());
    (any_seq(), any_text(), ranges, delay, option::of(any_text())).prop_map(
        |(seq, consumer, [accepted, released, rejected], delay, reason)| Settle {
            seq,
            consumer,
            accepted,
            released,
            rejected,
            delay,
            reason,
        },
    )
}

fn any_cancel() -> impl Strategy<Value = Cancel> {
    let code = option::of(any_code());
    (
        option::of(any_seq()),
        any_text(),
        code,
        option::of(any_text()),
    )
        .prop_map(|(seq, consumer, code, reason)| Cancel {
            seq,
            consumer,
            code,
            reason,
        })
}

fn any_seq() -> impl Strategy<Value = u64> {
    prop_oneof![1..300u64, 1..=u64::MAX]
}

/// Any characters, those that are escaped above all.
fn any_text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        prop::sample::select(vec!['\\', '\n', '\r', ':', 'c', 'n', 'r', '\0']),
        any::<char>(),
    ];
    vec(character, 0..8).prop_map(String::from_iter)
}

fn any_properties() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(any_text(), any_text(), 0..4)
}

fn any_code() -> impl Strategy<Value = Code> {
    prop::sample::select(Code::ALL.to_vec())
}

fn any_ranges() -> impl Strategy<Value = Ranges> {
    let bounds = prop_oneof![any::<[u64; 2]>(), [0..40u64, 0..40u64]];
    vec(bounds, 0..6).prop_map(|bounds| {
        let mut ranges = Ranges::new();
        for [a, b] in bounds {
            ranges.insert_range(a.min(b), a.max(b));
        }
        ranges
    })
}

fn any_body() -> impl Strategy<Value = Body> {
    prop_oneof![
        vec(any::<u8>(), 0..2000).prop_map(|bytes| Body {
            bytes: bytes.into(),
            text: false,
        }),
        any_text().prop_map(|text| Body {
            bytes: text.into(),
            text: true,
        }),
    ]
}
