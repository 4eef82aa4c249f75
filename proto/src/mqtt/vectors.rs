//! Packets as the standards' figures have them: bytes written by hand, read and written as they stand.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{Bytes, BytesMut};

use super::*;

/// Bytes as people write them: hexadecimal digits and 'text'.
pub(super) fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (at, part) in text.split('\'').enumerate() {
        if at % 2 == 1 {
            bytes.extend(part.as_bytes());
            continue;
        }
        let digits: Vec<char> = part.chars().filter(|c| !c.is_whitespace()).collect();
        assert!(digits.len().is_multiple_of(2), "{text}");
        for pair in digits.chunks(2) {
            let pair: String = pair.iter().collect();
            bytes.push(u8::from_str_radix(&pair, 16).expect(text));
        }
    }
    bytes
}

/// A decoder as it is once a client of this version is in, or as that client has it.
pub(super) fn decoder_for(version: Version, from_client: bool) -> Decoder {
    let limits = Limits::default();
    if !from_client {
        return Decoder::client(version, limits);
    }
    let mut decoder = Decoder::server(limits);
    let mut input = BytesMut::new();
    let connect = Packet::Connect(Box::new(Connect::new(version, text("c"))));
    encode(&connect, version, &mut input).unwrap();
    assert_eq!(decoder.decode(&mut input), Ok(Some(connect)));
    decoder.admit();
    decoder
}

pub(super) fn text(text: &str) -> Str {
    Str::try_from(text).unwrap()
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// What `bytes` say, read as from a client or a server.
fn decode_one(version: Version, from_client: bool, bytes: &[u8]) -> Packet {
    let is_connect = bytes[0] >> 4 == PacketType::Connect as u8;
    let mut decoder = if is_connect {
        Decoder::server(Limits::default())
    } else {
        decoder_for(version, from_client)
    };
    let mut input = BytesMut::from(bytes);
    let packet = decoder.decode(&mut input).unwrap().unwrap();
    assert!(input.is_empty());
    assert_eq!(decoder.version(), Some(version));
    packet
}

/// Reads and writes `hex`, which is `packet` in `version`.
#[track_caller]
fn check(version: Version, from_client: bool, hex: &str, packet: Packet) {
    let bytes = bytes_of(hex);
    assert_eq!(decode_one(version, from_client, &bytes), packet);
    let mut out = BytesMut::new();
    encode(&packet, version, &mut out).unwrap();
    assert_eq!(&out[..], &bytes[..], "{packet:?}");
    assert_eq!(encoded_len(&packet, version), Ok(bytes.len()));
}

/// Reads `hex`, which another encoder may write, as `packet`.
#[track_caller]
fn check_read(version: Version, from_client: bool, hex: &str, packet: Packet) {
    assert_eq!(decode_one(version, from_client, &bytes_of(hex)), packet);
}

const CLIENT: bool = true;
const SERVER: bool = false;

#[test]
fn connect_has_its_fields_in_their_order() {
    let plain = |version| Packet::Connect(Box::new(Connect::new(version, text("a"))));
    let hex = "10 0F 0006 'MQIsdp' 03 02 0000 0001 'a'";
    check(Version::V31, CLIENT, hex, plain(Version::V31));
    let hex = "10 0D 0004 'MQTT' 04 02 0000 0001 'a'";
    check(Version::V311, CLIENT, hex, plain(Version::V311));
    let hex = "10 0E 0004 'MQTT' 05 02 0000 00 0001 'a'";
    check(Version::V5, CLIENT, hex, plain(Version::V5));

    let full = |version| Connect {
        clean_start: false,
        keep_alive_secs: 60,
        will: Some(Will {
            qos: Qos::AtLeastOnce,
            retain: true,
            topic: text("w/t"),
            payload: Bytes::from("bye"),
            properties: WillProperties::default(),
        }),
        user_name: Some(text("me")),
        password: Some(Secret(Bytes::from("pw"))),
        ..Connect::new(version, text("id"))
    };
    let hex = "10 22 0006 'MQIsdp' 03 EC 003C 0002 'id' 0003 'w/t' 0003 'bye' 0002 'me' 0002 'pw'";
    let packet = Packet::Connect(Box::new(full(Version::V31)));
    check(Version::V31, CLIENT, hex, packet);
    let hex = "10 20 0004 'MQTT' 04 EC 003C 0002 'id' 0003 'w/t' 0003 'bye' 0002 'me' 0002 'pw'";
    let packet = Packet::Connect(Box::new(full(Version::V311)));
    check(Version::V311, CLIENT, hex, packet);

    let mut connect = full(Version::V5);
    connect.properties = ConnectProperties {
        session_expiry_secs: Some(10),
        receive_maximum: NonZeroU16::new(65_535),
        maximum_packet_size: NonZeroU32::new(0x10_0000),
        topic_alias_maximum: Some(10),
        request_response_information: Some(true),
        request_problem_information: Some(false),
        authentication_method: Some(text("SCRAM")),
        authentication_data: Some(Secret(Bytes::from_static(&[0, 1]))),
        user_properties: vec![(text("n"), text("v")), (text("n"), text(""))],
    };
    connect.will.as_mut().unwrap().properties = WillProperties {
        delay_secs: Some(5),
        payload_format: Some(PayloadFormat::Utf8),
        message_expiry_secs: Some(6),
        content_type: Some(text("ct")),
        response_topic: Some(text("r")),
        correlation_data: Some(Bytes::from_static(&[9])),
        user_properties: vec![(text("a"), text("b"))],
    };
    let hex = "10 70 0004 'MQTT' 05 EC 003C \
        2E 11 0000000A 21 FFFF 27 00100000 22 000A 19 01 17 00 15 0005 'SCRAM' 16 0002 0001 \
           26 0001 'n' 0001 'v' 26 0001 'n' 0000 \
        0002 'id' \
        20 18 00000005 01 01 02 00000006 03 0002 'ct' 08 0001 'r' 09 0001 09 26 0001 'a' 0001 'b' \
        0003 'w/t' 0003 'bye' 0002 'me' 0002 'pw'";
    check(Version::V5, CLIENT, hex, Packet::Connect(Box::new(connect)));
}

#[test]
fn a_3_1_client_may_set_a_flag_and_leave_the_field_out() {
    let connect = Connect::new(Version::V31, text("a"));
    let hex = "10 0F 0006 'MQIsdp' 03 C2 0000 0001 'a'";
    let packet = Packet::Connect(Box::new(connect));
    check_read(Version::V31, CLIENT, hex, packet);
}

#[test]
fn a_5_0_client_may_have_a_password_alone() {
    let connect = Connect {
        password: Some(Secret(Bytes::from("token"))),
        ..Connect::new(Version::V5, text(""))
    };
    let hex = "10 14 0004 'MQTT' 05 42 0000 00 0000 0005 'token'";
    let packet = Packet::Connect(Box::new(connect));
    check(Version::V5, CLIENT, hex, packet);
}

#[test]
fn connack_has_a_return_code_or_a_reason_code() {
    let connack = |session_present, reason| {
        Packet::Connack(Box::new(Connack {
            session_present,
            ..Connack::refused(reason)
        }))
    };
    let good = connack(true, ReasonCode::Success);
    check(Version::V311, SERVER, "20 02 01 00", good.clone());
    check(Version::V5, SERVER, "20 03 01 00 00", good);
    let good = connack(false, ReasonCode::Success);
    check(Version::V31, SERVER, "20 02 00 00", good);
    for (number, reason) in [
        ("01", ReasonCode::UnsupportedVersion),
        ("02", ReasonCode::ClientIdNotValid),
        ("03", ReasonCode::ServerUnavailable),
        ("04", ReasonCode::BadUserNameOrPassword),
        ("05", ReasonCode::NotAuthorized),
    ] {
        for version in [Version::V31, Version::V311] {
            let hex = format!("20 02 00 {number}");
            check(version, SERVER, &hex, connack(false, reason));
        }
    }
    let bad = connack(false, ReasonCode::Banned);
    check(Version::V5, SERVER, "20 03 00 8A 00", bad);

    let full = Connack {
        session_present: false,
        reason: ReasonCode::Success,
        properties: ConnackProperties {
            session_expiry_secs: Some(1),
            receive_maximum: NonZeroU16::new(2),
            maximum_qos: Some(Qos::AtLeastOnce),
            retain_available: Some(true),
            maximum_packet_size: NonZeroU32::new(3),
            assigned_client_id: Some(text("id")),
            topic_alias_maximum: Some(4),
            reason_string: Some(text("r")),
            wildcard_available: Some(true),
            subscription_id_available: Some(false),
            shared_available: Some(true),
            server_keep_alive_secs: Some(5),
            response_information: Some(text("i")),
            server_reference: Some(text("s")),
            authentication_method: Some(text("m")),
            authentication_data: Some(Secret(Bytes::from("d"))),
            user_properties: vec![(text("n"), text("v"))],
        },
    };
    let hex = "20 40 00 00 3D 11 00000001 21 0002 24 01 25 01 27 00000003 12 0002 'id' 22 0004 \
        1F 0001 'r' 28 01 29 00 2A 01 13 0005 1A 0001 'i' 1C 0001 's' 15 0001 'm' 16 0001 'd' \
        26 0001 'n' 0001 'v'";
    check(Version::V5, SERVER, hex, Packet::Connack(Box::new(full)));
}

#[test]
fn a_refusal_never_says_that_there_is_a_session() {
    let connack = Connack {
        session_present: true,
        ..Connack::refused(ReasonCode::NotAuthorized)
    };
    let packet = Packet::Connack(Box::new(connack));
    for (version, hex) in [
        (Version::V31, "20 02 00 05"),
        (Version::V311, "20 02 00 05"),
        (Version::V5, "20 03 00 87 00"),
    ] {
        let mut out = BytesMut::new();
        encode(&packet, version, &mut out).unwrap();
        assert_eq!(&out[..], bytes_of(hex));
    }
}

#[test]
fn no_code_is_written_that_its_packet_may_not_carry() {
    for reason in ReasonCode::ALL.iter().copied() {
        let ack = Ack::new(id(1), reason);
        let packet_id = id(1);
        let reasons = vec![ReasonCode::Success, reason];
        let properties = AckProperties::default();
        let packets = [
            Packet::Connack(Box::new(Connack::refused(reason))),
            Packet::Puback(ack.clone()),
            Packet::Pubrec(ack.clone()),
            Packet::Pubrel(ack.clone()),
            Packet::Pubcomp(ack),
            Packet::Suback(Suback {
                packet_id,
                reasons: reasons.clone(),
                properties: properties.clone(),
            }),
            Packet::Unsuback(Unsuback {
                packet_id,
                reasons,
                properties,
            }),
            Packet::Disconnect(Disconnect::new(reason)),
            Packet::Auth(Auth {
                reason,
                ..Auth::default()
            }),
        ];
        for packet in packets {
            let mut out = BytesMut::new();
            let written = encode(&packet, Version::V5, &mut out);
            let packet = packet.packet_type();
            let expected = if reason.fits(packet) {
                Ok(())
            } else {
                Err(EncodeError::ReasonNotAllowed { packet, reason })
            };
            assert_eq!(written, expected);
            assert_eq!(out.is_empty(), expected.is_err());
        }
    }
}

#[test]
fn the_table_of_codes_is_that_of_the_standard() {
    // How many codes the tables of §3.2.2.2 to §3.15.2.1 have; 0x8C in DISCONNECT is table 2-6's alone.
    for (packet, n_codes) in [
        (PacketType::Connack, 22),
        (PacketType::Puback, 9),
        (PacketType::Pubrec, 9),
        (PacketType::Pubrel, 2),
        (PacketType::Pubcomp, 2),
        (PacketType::Suback, 12),
        (PacketType::Unsuback, 7),
        (PacketType::Disconnect, 29 + 1),
        (PacketType::Auth, 3),
        (PacketType::Publish, 0),
    ] {
        let fits = |reason: &&ReasonCode| reason.fits(packet);
        assert_eq!(
            ReasonCode::ALL.iter().filter(fits).count(),
            n_codes,
            "{packet:?}"
        );
    }
}

#[test]
fn publish_has_an_id_with_a_qos_only() {
    let message = Publish {
        topic: text("a/b"),
        payload: Bytes::from("hi"),
        ..Publish::default()
    };
    let with_id = Publish {
        dup: true,
        qos: Qos::AtLeastOnce,
        retain: true,
        packet_id: Some(id(10)),
        ..message.clone()
    };
    let twice = Publish {
        qos: Qos::ExactlyOnce,
        packet_id: Some(id(0xFFFF)),
        payload: Bytes::new(),
        ..message.clone()
    };
    for from_client in [CLIENT, SERVER] {
        for version in [Version::V31, Version::V311] {
            let hex = "30 07 0003 'a/b' 'hi'";
            check(version, from_client, hex, Packet::Publish(message.clone()));
            let hex = "3B 09 0003 'a/b' 000A 'hi'";
            check(version, from_client, hex, Packet::Publish(with_id.clone()));
            let hex = "34 07 0003 'a/b' FFFF";
            check(version, from_client, hex, Packet::Publish(twice.clone()));
        }
        let hex = "30 08 0003 'a/b' 00 'hi'";
        let packet = Packet::Publish(message.clone());
        check(Version::V5, from_client, hex, packet);
        let hex = "3B 0A 0003 'a/b' 000A 00 'hi'";
        let packet = Packet::Publish(with_id.clone());
        check(Version::V5, from_client, hex, packet);
        let hex = "34 08 0003 'a/b' FFFF 00";
        let packet = Packet::Publish(twice.clone());
        check(Version::V5, from_client, hex, packet);
    }
}

#[test]
fn dup_is_not_written_without_a_qos() {
    let publish = Publish {
        dup: true,
        topic: text("a"),
        ..Publish::default()
    };
    let mut out = BytesMut::new();
    encode(&Packet::Publish(publish), Version::V311, &mut out).unwrap();
    assert_eq!(&out[..], bytes_of("30 03 0001 'a'"));
}

#[test]
fn a_topic_is_left_out_for_an_alias_alone() {
    let properties = PublishProperties::default();
    let shared = SharedPublish::new(text("a"), &properties, Bytes::from("x")).unwrap();
    let known = |topic_alias| PublishHead {
        topic_alias,
        topic_known: true,
        ..PublishHead::default()
    };
    let alias = NonZeroU16::new(1);
    for (version, head, hex) in [
        (Version::V5, known(alias), "30 07 0000 03 23 0001 'x'"),
        (Version::V5, known(None), "30 05 0001 'a' 00 'x'"),
        (Version::V311, known(alias), "30 04 0001 'a' 'x'"),
    ] {
        let mut out = BytesMut::new();
        shared.encode(version, &head, &mut out).unwrap();
        assert_eq!(&out[..], bytes_of(hex));
    }
}

#[test]
fn publish_keeps_its_properties_and_their_order() {
    let mut publish = Publish {
        topic: text("a"),
        properties: PublishProperties {
            payload_format: Some(PayloadFormat::Bytes),
            message_expiry_secs: Some(7),
            topic_alias: NonZeroU16::new(8),
            response_topic: Some(text("r")),
            correlation_data: Some(Bytes::from_static(&[0xFF, 0x00])),
            subscription_ids: Vec::new(),
            content_type: Some(text("c")),
            user_properties: vec![
                (text("b"), text("1")),
                (text("a"), text("2")),
                (text("b"), text("1")),
            ],
        },
        payload: Bytes::from("x"),
        ..Publish::default()
    };
    let hex = "30 31 0001 'a' 2C 01 00 02 00000007 23 0008 08 0001 'r' 09 0002 FF00 03 0001 'c' \
        26 0001 'b' 0001 '1' 26 0001 'a' 0001 '2' 26 0001 'b' 0001 '1' 'x'";
    let packet = Packet::Publish(publish.clone());
    check(Version::V5, CLIENT, hex, packet);

    publish.properties = PublishProperties {
        subscription_ids: [1, 268_435_455, 128]
            .map(|number| SubscriptionId::new(number).unwrap())
            .into(),
        ..PublishProperties::default()
    };
    let hex = "30 0F 0001 'a' 0A 0B 01 0B FFFFFF7F 0B 8001 'x'";
    let packet = Packet::Publish(publish.clone());
    check(Version::V5, SERVER, hex, packet);

    // An alias stands for the topic.
    publish.topic = text("");
    publish.properties = PublishProperties {
        topic_alias: NonZeroU16::new(8),
        ..PublishProperties::default()
    };
    let hex = "30 07 0000 03 23 0008 'x'";
    check(Version::V5, CLIENT, hex, Packet::Publish(publish));
}

#[test]
fn a_payload_is_text_if_it_is_said_to_be() {
    for (format, payload, good) in [
        (None, &b"\xFF"[..], true),
        (Some(PayloadFormat::Bytes), b"\xFF", true),
        (Some(PayloadFormat::Utf8), b"\xFF", false),
        (Some(PayloadFormat::Utf8), b"\xC3\x9F\0", true),
    ] {
        let publish = Publish {
            properties: PublishProperties {
                payload_format: format,
                ..PublishProperties::default()
            },
            payload: Bytes::from_static(payload),
            ..Publish::default()
        };
        assert_eq!(publish.has_its_format(), good, "{format:?} {payload:?}");
    }
}

#[test]
fn strings_keep_all_their_characters() {
    // A byte order mark, a supplementary character, a control character; nothing is stripped or normalized.
    let publish = Publish {
        topic: text("\u{FEFF}A\u{2A6D4}\u{1}/e\u{301}"),
        ..Publish::default()
    };
    for version in [Version::V311, Version::V5] {
        let properties = if version == Version::V5 { "00" } else { "" };
        let length = if version == Version::V5 { "10" } else { "0F" };
        let hex = format!("30 {length} 000D EFBBBF 41 F0AA9B94 01 '/' 'e' CC81 {properties}");
        let packet = Packet::Publish(publish.clone());
        check(version, CLIENT, &hex, packet);
    }
}

#[test]
fn acknowledgements_are_as_short_as_they_can_be() {
    type Arm = fn(Ack) -> Packet;
    let arms: [(&str, Arm, ReasonCode); 4] = [
        ("40", Packet::Puback, ReasonCode::NoMatchingSubscribers),
        ("50", Packet::Pubrec, ReasonCode::QuotaExceeded),
        ("62", Packet::Pubrel, ReasonCode::PacketIdNotFound),
        ("70", Packet::Pubcomp, ReasonCode::PacketIdNotFound),
    ];
    for (first, arm, reason) in arms {
        let number = reason.as_u8();
        for from_client in [CLIENT, SERVER] {
            let plain = Ack::new(id(0x1234), ReasonCode::Success);
            let hex = format!("{first} 02 1234");
            for version in [Version::V31, Version::V311, Version::V5] {
                check(version, from_client, &hex, arm(plain.clone()));
            }
            let hex = format!("{first} 03 1234 00");
            check_read(Version::V5, from_client, &hex, arm(plain.clone()));
            let hex = format!("{first} 04 1234 00 00");
            check_read(Version::V5, from_client, &hex, arm(plain.clone()));

            let mut told = Ack::new(id(0x1234), reason);
            let hex = format!("{first} 03 1234 {number:02X}");
            check(Version::V5, from_client, &hex, arm(told.clone()));
            told.properties = AckProperties {
                reason_string: Some(text("why")),
                user_properties: vec![(text("n"), text("v"))],
            };
            let hex = format!("{first} 11 1234 {number:02X} 0D 1F 0003 'why' 26 0001 'n' 0001 'v'");
            check(Version::V5, from_client, &hex, arm(told.clone()));
            told.reason = ReasonCode::Success;
            let hex = format!("{first} 11 1234 00 0D 1F 0003 'why' 26 0001 'n' 0001 'v'");
            check(Version::V5, from_client, &hex, arm(told));
        }
    }
}

#[test]
fn subscribe_has_a_byte_of_options_for_each_filter() {
    let mut subscribe = Subscribe {
        packet_id: id(10),
        subscriptions: vec![
            Subscription::new(text("a/b"), Qos::AtLeastOnce),
            Subscription::new(text("c/#"), Qos::ExactlyOnce),
            Subscription::new(text("+"), Qos::AtMostOnce),
        ],
        properties: SubscribeProperties::default(),
    };
    let packet = Packet::Subscribe(subscribe.clone());
    let hex = "82 12 000A 0003 'a/b' 01 0003 'c/#' 02 0001 '+' 00";
    check(Version::V31, CLIENT, hex, packet.clone());
    check(Version::V311, CLIENT, hex, packet.clone());
    let hex = "82 13 000A 00 0003 'a/b' 01 0003 'c/#' 02 0001 '+' 00";
    check(Version::V5, CLIENT, hex, packet);

    subscribe.subscriptions = vec![
        Subscription {
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
            ..Subscription::new(text("a"), Qos::ExactlyOnce)
        },
        Subscription {
            retain_handling: RetainHandling::SendIfNew,
            ..Subscription::new(text("$share/g/a"), Qos::AtMostOnce)
        },
    ];
    subscribe.properties = SubscribeProperties {
        subscription_id: SubscriptionId::new(200),
        user_properties: vec![(text("n"), text("v"))],
    };
    let hex = "82 1E 000A 0A 0B C801 26 0001 'n' 0001 'v' 0001 'a' 2E 000A '$share/g/a' 10";
    check(Version::V5, CLIENT, hex, Packet::Subscribe(subscribe));
}

#[test]
fn suback_has_a_code_for_each_filter() {
    let mut suback = Suback {
        packet_id: id(10),
        reasons: vec![
            ReasonCode::Success,
            ReasonCode::GrantedQos2,
            ReasonCode::Unspecified,
            ReasonCode::GrantedQos1,
        ],
        properties: AckProperties::default(),
    };
    let packet = Packet::Suback(suback.clone());
    check(Version::V311, SERVER, "90 06 000A 00028001", packet.clone());
    check(Version::V5, SERVER, "90 07 000A 00 00028001", packet);
    suback.reasons = vec![ReasonCode::NotAuthorized];
    suback.properties.reason_string = Some(text("no"));
    let hex = "90 09 000A 05 1F 0002 'no' 87";
    check(Version::V5, SERVER, hex, Packet::Suback(suback));
}

#[test]
fn unsubscribe_and_its_answer() {
    let mut unsubscribe = Unsubscribe {
        packet_id: id(10),
        filters: vec![text("a/b"), text("#")],
        properties: UnsubscribeProperties::default(),
    };
    let packet = Packet::Unsubscribe(unsubscribe.clone());
    let hex = "A2 0A 000A 0003 'a/b' 0001 '#'";
    check(Version::V31, CLIENT, hex, packet.clone());
    check(Version::V311, CLIENT, hex, packet);
    unsubscribe.properties.user_properties = vec![(text("n"), text("v"))];
    let hex = "A2 12 000A 07 26 0001 'n' 0001 'v' 0003 'a/b' 0001 '#'";
    check(Version::V5, CLIENT, hex, Packet::Unsubscribe(unsubscribe));

    let mut unsuback = Unsuback {
        packet_id: id(10),
        reasons: Vec::new(),
        properties: AckProperties::default(),
    };
    let packet = Packet::Unsuback(unsuback.clone());
    check(Version::V31, SERVER, "B0 02 000A", packet.clone());
    check(Version::V311, SERVER, "B0 02 000A", packet);
    unsuback.reasons = vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
    let packet = Packet::Unsuback(unsuback);
    check(Version::V5, SERVER, "B0 05 000A 00 0011", packet);
}

#[test]
fn ping_is_two_bytes_each_way() {
    for version in [Version::V31, Version::V311, Version::V5] {
        check(version, CLIENT, "C0 00", Packet::Pingreq);
        check(version, SERVER, "D0 00", Packet::Pingresp);
    }
}

#[test]
fn disconnect_says_why_in_5_0() {
    let plain = Packet::Disconnect(Disconnect::default());
    for version in [Version::V31, Version::V311, Version::V5] {
        check(version, CLIENT, "E0 00", plain.clone());
    }
    check(Version::V5, SERVER, "E0 00", plain.clone());
    check_read(Version::V5, CLIENT, "E0 02 00 00", plain);
    let taken_over = Disconnect::new(ReasonCode::SessionTakenOver);
    let packet = Packet::Disconnect(taken_over);
    check(Version::V5, SERVER, "E0 01 8E", packet.clone());
    check_read(Version::V5, SERVER, "E0 02 8E 00", packet);

    let mut full = Disconnect {
        reason: ReasonCode::DisconnectWithWill,
        properties: DisconnectProperties {
            session_expiry_secs: Some(30),
            reason_string: Some(text("r")),
            server_reference: None,
            user_properties: vec![(text("n"), text("v"))],
        },
    };
    let hex = "E0 12 04 10 11 0000001E 1F 0001 'r' 26 0001 'n' 0001 'v'";
    check(Version::V5, CLIENT, hex, Packet::Disconnect(full.clone()));
    full.reason = ReasonCode::UseAnotherServer;
    full.properties.session_expiry_secs = None;
    full.properties.server_reference = Some(text("other"));
    let hex = "E0 15 9C 13 1F 0001 'r' 1C 0005 'other' 26 0001 'n' 0001 'v'";
    check(Version::V5, SERVER, hex, Packet::Disconnect(full));
}

#[test]
fn auth_has_the_method_in_every_step() {
    let mut auth = Auth {
        reason: ReasonCode::ContinueAuthentication,
        properties: AuthProperties {
            authentication_method: Some(text("m")),
            authentication_data: Some(Secret(Bytes::from("d"))),
            reason_string: None,
            user_properties: Vec::new(),
        },
    };
    let hex = "F0 0A 18 08 15 0001 'm' 16 0001 'd'";
    check(Version::V5, CLIENT, hex, Packet::Auth(auth.clone()));
    check(Version::V5, SERVER, hex, Packet::Auth(auth.clone()));
    auth.reason = ReasonCode::Reauthenticate;
    auth.properties.authentication_data = None;
    auth.properties.user_properties = vec![(text("n"), text("v"))];
    let hex = "F0 0D 19 0B 15 0001 'm' 26 0001 'n' 0001 'v'";
    check(Version::V5, CLIENT, hex, Packet::Auth(auth));
    let packet = Packet::Auth(Auth::default());
    check(Version::V5, SERVER, "F0 00", packet);
}

#[test]
fn properties_may_come_in_any_order() {
    let publish = Publish {
        topic: text("a"),
        properties: PublishProperties {
            payload_format: Some(PayloadFormat::Utf8),
            content_type: Some(text("c")),
            user_properties: vec![(text("1"), text("")), (text("2"), text(""))],
            ..PublishProperties::default()
        },
        ..Publish::default()
    };
    let hex = "30 16 0001 'a' 12 26 0001 '1' 0000 03 0001 'c' 26 0001 '2' 0000 01 01";
    check_read(Version::V5, CLIENT, hex, Packet::Publish(publish));
}

#[test]
fn a_padded_length_is_read_in_3_x() {
    let publish = Publish {
        topic: text("a"),
        ..Publish::default()
    };
    let packet = Packet::Publish(publish);
    check_read(Version::V311, CLIENT, "30 838000 0001 'a'", packet);
}

#[test]
fn in_3_1_a_packet_sent_again_may_say_so() {
    let packet = Packet::Pubrel(Ack::new(id(1), ReasonCode::Success));
    check_read(Version::V31, CLIENT, "6A 02 0001", packet);
    let publish = Publish {
        topic: text("a"),
        ..Publish::default()
    };
    let packet = Packet::Publish(publish);
    check_read(Version::V31, CLIENT, "38 03 0001 'a'", packet);
    // And the bits beside the QoS of a subscription say nothing.
    let subscribe = Subscribe {
        packet_id: id(1),
        subscriptions: vec![Subscription::new(text("a"), Qos::AtLeastOnce)],
        properties: SubscribeProperties::default(),
    };
    let packet = Packet::Subscribe(subscribe);
    check_read(Version::V31, CLIENT, "8A 06 0001 0001 'a' FD", packet);
}

#[test]
fn an_older_version_is_told_what_it_can_read() {
    let failed = Suback {
        packet_id: id(1),
        reasons: vec![ReasonCode::NotAuthorized, ReasonCode::GrantedQos1],
        properties: AckProperties {
            reason_string: Some(text("not you")),
            ..AckProperties::default()
        },
    };
    let refused = Connack::refused(ReasonCode::ServerBusy);
    for (packet, hex) in [
        (Packet::Suback(failed), "90 04 0001 8001"),
        (Packet::Connack(Box::new(refused)), "20 02 00 03"),
        (
            Packet::Puback(Ack::new(id(1), ReasonCode::QuotaExceeded)),
            "40 02 0001",
        ),
    ] {
        let mut out = BytesMut::new();
        encode(&packet, Version::V311, &mut out).unwrap();
        assert_eq!(&out[..], bytes_of(hex));
    }
    let mut out = BytesMut::new();
    let auth = Packet::Auth(Auth::default());
    let encoded = encode(&auth, Version::V311, &mut out);
    assert_eq!(encoded, Err(EncodeError::NotInVersion));
    assert!(out.is_empty());
}

#[test]
fn every_return_code_has_a_reason_code_and_back() {
    for number in 0..=5 {
        let reason = ReasonCode::from_return_code(number).unwrap();
        assert_eq!(reason.return_code(), number);
    }
    assert_eq!(ReasonCode::from_return_code(6), None);
    for reason in ReasonCode::ALL {
        assert_eq!(ReasonCode::from_u8(reason.as_u8()), Some(*reason));
        assert_eq!(reason.is_error(), reason.return_code() != 0);
    }
}

#[test]
fn what_is_too_large_loses_user_properties_first_then_the_reason_string() {
    let mut puback = Ack::new(id(1), ReasonCode::QuotaExceeded);
    puback.properties = AckProperties {
        reason_string: Some(text("full")),
        user_properties: vec![(text("n"), text("v"))],
    };
    let whole = "40 12 0001 97 0E 1F 0004 'full' 26 0001 'n' 0001 'v'";
    let without_user = "40 0B 0001 97 07 1F 0004 'full'";
    let without_both = "40 03 0001 97";
    let packet = Packet::Puback(puback);
    for (max, hex) in [
        (u32::MAX, whole),
        (20, whole),
        (19, without_user),
        (13, without_user),
        (12, without_both),
        (5, without_both),
    ] {
        let mut out = BytesMut::new();
        encode_within(&packet, Version::V5, max, &mut out).unwrap();
        assert_eq!(&out[..], bytes_of(hex), "{max}");
    }
    let mut out = BytesMut::from("before");
    let encoded = encode_within(&packet, Version::V5, 4, &mut out);
    assert!(matches!(encoded, Err(EncodeError::TooLarge { max: 4, .. })));
    assert_eq!(&out[..], b"before");
}

#[test]
fn a_message_is_never_made_smaller() {
    let publish = Publish {
        topic: text("a"),
        properties: PublishProperties {
            user_properties: vec![(text("n"), text("v"))],
            ..PublishProperties::default()
        },
        ..Publish::default()
    };
    let packet = Packet::Publish(publish);
    let n_bytes = encoded_len(&packet, Version::V5).unwrap();
    let max = u32::try_from(n_bytes).unwrap();
    let mut out = BytesMut::new();
    let encoded = encode_within(&packet, Version::V5, max - 1, &mut out);
    assert!(matches!(encoded, Err(EncodeError::TooLarge { .. })));
    assert!(out.is_empty());
    encode_within(&packet, Version::V5, max, &mut out).unwrap();
    assert_eq!(out.len(), n_bytes);
}

#[test]
fn problem_information_is_dropped_where_it_must_be() {
    let properties = AckProperties {
        reason_string: Some(text("r")),
        user_properties: vec![(text("n"), text("v"))],
    };
    let mut packet = Packet::Pubrec(Ack {
        properties: properties.clone(),
        ..Ack::new(id(1), ReasonCode::Success)
    });
    packet.drop_problem_information();
    let plain = Packet::Pubrec(Ack::new(id(1), ReasonCode::Success));
    assert_eq!(packet, plain);

    let disconnect = Packet::Disconnect(Disconnect {
        reason: ReasonCode::ServerBusy,
        properties: DisconnectProperties {
            reason_string: properties.reason_string,
            user_properties: properties.user_properties,
            ..DisconnectProperties::default()
        },
    });
    let mut packet = disconnect.clone();
    packet.drop_problem_information();
    assert_eq!(packet, disconnect);
}

#[test]
fn a_field_too_long_for_its_length_is_not_written() {
    let connect = Connect {
        password: Some(Secret(Bytes::from(vec![0; 65_536]))),
        ..Connect::new(Version::V5, text("a"))
    };
    let packet = Packet::Connect(Box::new(connect));
    let mut out = BytesMut::new();
    let encoded = encode(&packet, Version::V5, &mut out);
    assert_eq!(encoded, Err(EncodeError::FieldTooLong));
    assert!(out.is_empty());
}

#[test]
fn a_string_is_one_that_a_packet_can_hold() {
    assert_eq!(Str::new(vec![b'a'; 65_536]), Err(NotText::TooLong));
    assert!(Str::new(vec![b'a'; 65_535]).is_ok());
    assert_eq!(Str::new(&b"a\0"[..]), Err(NotText::Nul));
    assert_eq!(Str::new(&b"\xFF"[..]), Err(NotText::NotUtf8));
    assert_eq!(Str::new(String::from("aß")).unwrap(), "aß");
}

#[test]
fn a_message_with_a_qos_needs_an_id() {
    let publish = Publish {
        qos: Qos::AtLeastOnce,
        topic: text("a"),
        ..Publish::default()
    };
    let packet = Packet::Publish(publish);
    let encoded = encode(&packet, Version::V311, &mut BytesMut::new());
    assert_eq!(encoded, Err(EncodeError::NoPacketId));
}

#[test]
fn no_secret_is_shown() {
    let connect = Connect {
        password: Some(Secret(Bytes::from("hunter2"))),
        ..Connect::new(Version::V5, text("a"))
    };
    assert!(!format!("{connect:?}").contains("hunter2"));
}

#[test]
fn packet_ids_go_round_without_0() {
    assert_eq!(PacketId::new(0), None);
    assert_eq!(id(1).next(), id(2));
    assert_eq!(id(65_535).next(), PacketId::FIRST);
}
