//! What breaks a rule: a row for each rule in each version that has it, and how each is answered.

use bytes::{Bytes, BytesMut};

use super::vectors::{bytes_of, decoder_for, text};
use super::wire::Sink as _;
use super::*;

use self::Version::{V5, V31, V311};

/// Where bytes come from, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Peer {
    /// The first bytes of a connection.
    Stranger,
    /// A client that is in.
    Client,
    /// A server.
    Server,
}
use self::Peer::{Client, Server, Stranger};

/// A packet of this first byte and body; the length between them is put there.
fn packet(hex: &str) -> Vec<u8> {
    let bytes = bytes_of(hex);
    let (first, body) = bytes.split_first().unwrap();
    let mut packet = BytesMut::from(&[*first][..]);
    packet.varint(u32::try_from(body.len()).unwrap());
    packet.bytes(body);
    packet.to_vec()
}

/// The error that `bytes` are.
fn error_of(version: Version, from: Peer, bytes: &[u8]) -> Error {
    let mut decoder = match from {
        Stranger => Decoder::server(Limits::default()),
        Client => decoder_for(version, true),
        Server => decoder_for(version, false),
    };
    let mut input = BytesMut::from(bytes);
    let error = loop {
        match decoder.decode(&mut input) {
            Ok(Some(packet)) => assert!(!input.is_empty(), "{packet:?} was taken"),
            Ok(None) => panic!("{bytes:02X?}: waits for more"),
            Err(error) => break error,
        }
    };
    // It stays so, whatever comes.
    let mut good = BytesMut::from(&b"\xC0\x00"[..]);
    assert_eq!(decoder.decode(&mut good), Err(error));
    assert_eq!(good.len(), 2);
    error
}

type Row = (Rule, &'static [Version], Peer, &'static str);

const BOTH: &[Version] = &[V311, V5];
const ALL: &[Version] = &[V31, V311, V5];
const V3: &[Version] = &[V31, V311];

/// Whole streams: their lengths are part of what is wrong, or are not.
#[rustfmt::skip]
const STREAMS: &[Row] = &[
    (Rule::PacketTypeReserved, BOTH, Client, "00 00"),
    (Rule::PacketTypeReserved, V3, Client, "F0 00"),
    (Rule::PacketTypeReserved, ALL, Server, "01"),
    (Rule::ReservedFlags, BOTH, Client, "C1"),
    (Rule::ReservedFlags, BOTH, Client, "42 02 0001"),
    (Rule::ReservedFlags, BOTH, Client, "58 02 0001"),
    (Rule::ReservedFlags, BOTH, Client, "71 02 0001"),
    (Rule::ReservedFlags, BOTH, Server, "21 02 0000"),
    (Rule::ReservedFlags, BOTH, Server, "92"),
    (Rule::ReservedFlags, BOTH, Server, "B4"),
    (Rule::ReservedFlags, BOTH, Server, "D8"),
    (Rule::PubrelFlags, BOTH, Client, "60 02 0001"),
    (Rule::PubrelFlags, BOTH, Server, "6A"),
    (Rule::SubscribeFlags, BOTH, Client, "80 06 0001 0001 'a' 00"),
    (Rule::SubscribeFlags, BOTH, Client, "83"),
    (Rule::UnsubscribeFlags, BOTH, Client, "A0 05 0001 0001 'a'"),
    (Rule::DisconnectFlags, BOTH, Client, "E2 00"),
    (Rule::AuthFlags, &[V5], Client, "F1"),
    (Rule::QosThree, ALL, Client, "36"),
    (Rule::QosThree, ALL, Server, "3F 05 0001 'a' 0001"),
    (Rule::DupWithoutQos, BOTH, Client, "38 03 0001 'a'"),
    (Rule::LengthTooLong, ALL, Client, "30 80808080"),
    (Rule::LengthTooLong, ALL, Client, "30 FFFFFFFF 01"),
    (Rule::LengthNotMinimal, &[V5], Client, "30 8400 0001 'a' 00"),
    (Rule::LengthNotMinimal, &[V5], Client, "C0 8000"),
    // No byte of it is there but its length: 256 MiB, and one byte above the limit.
    (Rule::PacketTooLarge, ALL, Client, "30 FFFFFF7F"),
    (Rule::PacketTooLarge, ALL, Client, "30 FDFF3F"),
    (Rule::PacketTooLarge, ALL, Server, "30 FDFF3F"),
    (Rule::PacketTooLarge, BOTH, Stranger, "10 FDFF05"),
    (Rule::WrongDirection, ALL, Client, "20 02 0000"),
    (Rule::WrongDirection, ALL, Client, "90"),
    (Rule::WrongDirection, ALL, Client, "B0"),
    (Rule::WrongDirection, ALL, Client, "D0 00"),
    (Rule::WrongDirection, ALL, Server, "10"),
    (Rule::WrongDirection, ALL, Server, "82"),
    (Rule::WrongDirection, ALL, Server, "A2"),
    (Rule::WrongDirection, ALL, Server, "C0 00"),
    (Rule::WrongDirection, V3, Server, "E0 00"),
    (Rule::NotConnectFirst, BOTH, Stranger, "C0"),
    (Rule::NotConnectFirst, BOTH, Stranger, "30 03 0001 'a'"),
    (Rule::NotConnectFirst, BOTH, Stranger, "E0 00"),
    (Rule::NotConnectFirst, BOTH, Stranger, "F0 00"),
    (Rule::SecondConnect, ALL, Client, "10"),
    (Rule::SecondConnect, ALL, Client, "10 0D 0004 'MQTT' 04 02 0000 0001 'a'"),
];

/// Packets without their length: the first byte, then all behind the length.
#[rustfmt::skip]
const PACKETS: &[Row] = &[
    // What fields are made of.
    (Rule::Truncated, ALL, Client, "30 0002 'a'"),
    (Rule::Truncated, ALL, Client, "30 00"),
    (Rule::Truncated, ALL, Client, "32 0001 'a' 00"),
    (Rule::Truncated, ALL, Client, "40 00"),
    (Rule::Truncated, V3, Client, "82 0001 0002 'a'"),
    (Rule::Truncated, V3, Client, "82 0001 0001 'a'"),
    (Rule::Truncated, &[V5], Client, "82 0001 00 0001 'a'"),
    (Rule::Truncated, V3, Client, "A2 0001 0002 'a'"),
    (Rule::Truncated, &[V5], Client, "A2 0001 00 0002 'a'"),
    (Rule::Truncated, &[V5], Client, "30 0001 'a'"),
    (Rule::Truncated, &[V5], Client, "30 0001 'a' 05 01 00"),
    (Rule::Truncated, &[V5], Client, "30 0001 'a' 03 02 0000"),
    (Rule::Truncated, &[V5], Client, "30 0001 'a' 04 03 0002 'a' 'bc'"),
    (Rule::Truncated, &[V5], Client, "30 0001 'a' 01 26"),
    (Rule::Truncated, &[V5], Client, "40 0001 00 8080"),
    (Rule::Truncated, V3, Server, "20 00"),
    (Rule::Truncated, BOTH, Stranger, "10 0004 'MQTT' 04 04 0000 0001 'a' 0001 't'"),
    (Rule::Truncated, BOTH, Stranger, "10 0004 'MQTT' 05 C0 0000 00 0001 'a' 0001 'u'"),
    (Rule::TrailingBytes, ALL, Client, "C0 00"),
    (Rule::TrailingBytes, ALL, Server, "D0 00"),
    (Rule::TrailingBytes, &[V5], Client, "40 0001 00 00 00"),
    (Rule::TrailingBytes, V3, Client, "40 0001 00"),
    (Rule::TrailingBytes, V3, Client, "E0 00"),
    (Rule::TrailingBytes, V3, Server, "20 00 00 00"),
    (Rule::TrailingBytes, V3, Server, "B0 0001 00"),
    (Rule::TrailingBytes, BOTH, Stranger, "10 0004 'MQTT' 04 02 0000 0001 'a' 00"),
    (Rule::NotUtf8, ALL, Client, "30 0001 80"),
    (Rule::NotUtf8, ALL, Client, "30 0003 EDA080"),
    (Rule::NotUtf8, ALL, Client, "30 0002 C080"),
    (Rule::NotUtf8, ALL, Client, "30 0003 'a' F0 9F"),
    (Rule::NotUtf8, V3, Client, "82 0001 0001 FF 00"),
    (Rule::NotUtf8, V3, Client, "A2 0001 0001 FF"),
    (Rule::NotUtf8, &[V5], Client, "82 0001 00 0001 FF 00"),
    (Rule::NotUtf8, &[V5], Client, "A2 0001 00 0001 FF"),
    (Rule::NotUtf8, BOTH, Stranger, "10 0004 'MQTT' 04 02 0000 0001 FF"),
    (Rule::NotUtf8, BOTH, Stranger, "10 0004 'MQTT' 04 06 0000 0001 'a' 0001 FF 0000"),
    (Rule::NotUtf8, BOTH, Stranger, "10 0004 'MQTT' 04 82 0000 0001 'a' 0001 FF"),
    (Rule::NotUtf8, BOTH, Stranger, "10 0004 'MQTT' 05 02 0000 00 0001 FF"),
    (Rule::NotUtf8, BOTH, Stranger, "10 0004 FFFFFFFF 04"),
    (Rule::NotUtf8, &[V5], Client, "30 0001 'a' 07 26 0001 'n' 0001 FF"),
    (Rule::NotUtf8, &[V5], Client, "30 0001 'a' 07 26 0001 FF 0001 'v'"),
    (Rule::NotUtf8, &[V5], Client, "30 0001 'a' 04 03 0001 FF"),
    (Rule::NotUtf8, &[V5], Client, "30 0001 'a' 04 08 0001 FF"),
    (Rule::NulInString, ALL, Client, "30 0003 'a' 00 'b'"),
    (Rule::NulInString, V3, Client, "82 0001 0001 00 00"),
    (Rule::NulInString, &[V5], Client, "82 0001 00 0001 00 00"),
    (Rule::NulInString, &[V5], Client, "30 0001 'a' 07 26 0001 'n' 0001 00"),
    (Rule::NulInString, BOTH, Stranger, "10 0004 'MQTT' 04 02 0000 0001 00"),
    (Rule::PacketIdZero, V3, Client, "32 0001 'a' 0000"),
    (Rule::PacketIdZero, &[V5], Client, "34 0001 'a' 0000 00"),
    (Rule::PacketIdZero, ALL, Client, "40 0000"),
    (Rule::PacketIdZero, ALL, Client, "50 0000"),
    (Rule::PacketIdZero, ALL, Client, "62 0000"),
    (Rule::PacketIdZero, ALL, Client, "70 0000"),
    (Rule::PacketIdZero, V3, Client, "82 0000 0001 'a' 00"),
    (Rule::PacketIdZero, &[V5], Client, "82 0000 00 0001 'a' 00"),
    (Rule::PacketIdZero, V3, Client, "A2 0000 0001 'a'"),
    (Rule::PacketIdZero, &[V5], Client, "A2 0000 00 0001 'a'"),
    (Rule::PacketIdZero, ALL, Server, "90 0000 00"),
    (Rule::PacketIdZero, ALL, Server, "B0 0000"),
    // CONNECT.
    (Rule::ProtocolName, BOTH, Stranger, "10 0004 'mqtt' 04 02 0000 0001 'a'"),
    (Rule::ProtocolName, BOTH, Stranger, "10 0000 04 02 0000 0001 'a'"),
    (Rule::UnsupportedVersion, &[V311], Stranger, "10 0004 'MQTT' 03 02 0000 0001 'a'"),
    (Rule::UnsupportedVersion, &[V311], Stranger, "10 0006 'MQIsdp' 04 02 0000 0001 'a'"),
    (Rule::UnsupportedVersion, &[V311], Stranger, "10 0004 'MQTT' 84 02 0000 0001 'a'"),
    (Rule::UnsupportedVersion, &[V5], Stranger, "10 0004 'MQTT' 06 what follows may be anything"),
    (Rule::ConnectReservedFlag, &[V311], Stranger, "10 0004 'MQTT' 04 03 0000 0001 'a'"),
    (Rule::ConnectReservedFlag, &[V5], Stranger, "10 0004 'MQTT' 05 03 0000 00 0001 'a'"),
    (Rule::WillQosThree, &[V311], Stranger, "10 0004 'MQTT' 04 1C 0000 0001 'a' 0001 't' 0000"),
    (Rule::WillQosThree, &[V5], Stranger, "10 0004 'MQTT' 05 1C 0000 00 0001 'a' 00 0001 't' 0000"),
    (Rule::WillQosThree, &[V31], Stranger, "10 0006 'MQIsdp' 03 1C 0000 0001 'a' 0001 't' 0000"),
    (Rule::WillQosWithoutWill, &[V311], Stranger, "10 0004 'MQTT' 04 08 0000 0001 'a'"),
    (Rule::WillQosWithoutWill, &[V5], Stranger, "10 0004 'MQTT' 05 18 0000 00 0001 'a'"),
    (Rule::WillRetainWithoutWill, &[V311], Stranger, "10 0004 'MQTT' 04 20 0000 0001 'a'"),
    (Rule::WillRetainWithoutWill, &[V5], Stranger, "10 0004 'MQTT' 05 20 0000 00 0001 'a'"),
    (Rule::PasswordWithoutUserName, &[V311], Stranger, "10 0004 'MQTT' 04 42 0000 0001 'a' 0001 'p'"),
    (Rule::PasswordWithoutUserName, &[V31], Stranger, "10 0006 'MQIsdp' 03 42 0000 0001 'a' 0001 'p'"),
    (Rule::AuthenticationDataWithoutMethod, &[V5], Stranger, "10 0004 'MQTT' 05 02 0000 04 16 0001 'd' 0001 'a'"),
    // CONNACK.
    (Rule::ConnackFlags, &[V311], Server, "20 02 00"),
    (Rule::ConnackFlags, &[V5], Server, "20 81 00 00"),
    (Rule::ConnackReason, V3, Server, "20 00 06"),
    (Rule::ConnackReason, V3, Server, "20 00 80"),
    (Rule::ConnackReason, &[V5], Server, "20 00 01 00"),
    (Rule::ConnackReason, &[V5], Server, "20 00 8E 00"),
    (Rule::SessionPresentOnRefusal, &[V311], Server, "20 01 05"),
    (Rule::SessionPresentOnRefusal, &[V5], Server, "20 01 87 00"),
    // Topics and filters.
    (Rule::WildcardInTopic, V3, Client, "30 0003 'a/+'"),
    (Rule::WildcardInTopic, V3, Client, "30 0001 '#'"),
    (Rule::WildcardInTopic, &[V5], Client, "30 0003 'a/+' 00"),
    (Rule::WildcardInTopic, &[V5], Client, "30 0003 'a#b' 00"),
    (Rule::WildcardInTopic, &[V5], Server, "30 0001 '+' 00"),
    (Rule::WildcardInTopic, &[V311], Stranger, "10 0004 'MQTT' 04 04 0000 0001 'a' 0001 '#' 0000"),
    (Rule::WildcardInTopic, &[V5], Stranger, "10 0004 'MQTT' 05 04 0000 00 0001 'a' 00 0001 '+' 0000"),
    (Rule::EmptyTopic, V3, Client, "30 0000"),
    (Rule::EmptyTopic, &[V5], Client, "30 0000 00 'x'"),
    (Rule::EmptyTopicName, V3, Client, "82 0001 0000 00"),
    (Rule::EmptyTopicName, V3, Client, "A2 0001 0000"),
    (Rule::EmptyTopicName, &[V5], Client, "82 0001 00 0000 00"),
    (Rule::EmptyTopicName, &[V5], Client, "A2 0001 00 0000"),
    (Rule::EmptyTopicName, &[V5], Client, "30 0001 'a' 03 08 0000"),
    (Rule::EmptyTopicName, &[V311], Stranger, "10 0004 'MQTT' 04 04 0000 0001 'a' 0000 0000"),
    (Rule::EmptyTopicName, &[V5], Stranger, "10 0004 'MQTT' 05 04 0000 00 0001 'a' 00 0000 0000"),
    (Rule::WildcardInResponseTopic, &[V5], Client, "30 0001 'a' 06 08 0003 'r/#'"),
    (Rule::WildcardInResponseTopic, &[V5], Stranger, "10 0004 'MQTT' 05 04 0000 00 0001 'a' 04 08 0001 '+' 0001 't' 0000"),
    (Rule::MultiLevelWildcard, V3, Client, "82 0001 0003 '#/a' 00"),
    (Rule::MultiLevelWildcard, V3, Client, "A2 0001 0002 'a#'"),
    (Rule::MultiLevelWildcard, &[V5], Client, "82 0001 00 0003 '#/a' 00"),
    (Rule::MultiLevelWildcard, &[V5], Client, "A2 0001 00 0002 'a#'"),
    (Rule::SingleLevelWildcard, V3, Client, "82 0001 0002 'a+' 00"),
    (Rule::SingleLevelWildcard, &[V5], Client, "82 0001 00 0002 '+a' 00"),
    (Rule::ShareNameEmpty, &[V5], Client, "82 0001 00 0009 '$share//a' 00"),
    (Rule::ShareNameEmpty, &[V5], Client, "A2 0001 00 0007 '$share/'"),
    (Rule::ShareNameInvalid, &[V5], Client, "82 0001 00 0008 '$share/g' 00"),
    (Rule::ShareNameInvalid, &[V5], Client, "82 0001 00 000A '$share/+/a' 00"),
    // PUBLISH and its acknowledgements.
    (Rule::SubscriptionIdFromClient, &[V5], Client, "30 0001 'a' 02 0B 01"),
    (Rule::TopicAliasZero, &[V5], Client, "30 0001 'a' 03 23 0000"),
    (Rule::PubackReason, &[V5], Client, "40 0001 81"),
    (Rule::PubackReason, &[V5], Client, "40 0001 01 00"),
    (Rule::PubrecReason, &[V5], Server, "50 0001 92"),
    (Rule::PubrelReason, &[V5], Client, "62 0001 10"),
    (Rule::PubrelReason, &[V5], Client, "62 0001 55"),
    (Rule::PubcompReason, &[V5], Client, "70 0001 80"),
    // SUBSCRIBE, UNSUBSCRIBE and theirs.
    (Rule::NoFilterInSubscribe, V3, Client, "82 0001"),
    (Rule::NoFilterInSubscribe, &[V5], Client, "82 0001 00"),
    (Rule::NoFilterInUnsubscribe, V3, Client, "A2 0001"),
    (Rule::NoFilterInUnsubscribe, &[V5], Client, "A2 0001 00"),
    (Rule::SubscribeOptionsReserved, &[V311], Client, "82 0001 0001 'a' 04"),
    (Rule::SubscribeOptionsReserved, &[V311], Client, "82 0001 0001 'a' 80"),
    (Rule::SubscribeOptionsReserved, &[V5], Client, "82 0001 00 0001 'a' 40"),
    (Rule::SubscribeOptionsReserved, &[V5], Client, "82 0001 00 0001 'a' 80"),
    (Rule::SubscribeQosThree, V3, Client, "82 0001 0001 'a' 03"),
    (Rule::SubscribeQosThree, &[V5], Client, "82 0001 00 0001 'a' 03"),
    (Rule::RetainHandlingThree, &[V5], Client, "82 0001 00 0001 'a' 30"),
    (Rule::NoLocalOnShared, &[V5], Client, "82 0001 00 000A '$share/g/a' 04"),
    (Rule::SubscriptionIdZero, &[V5], Client, "82 0001 02 0B 00 0001 'a' 00"),
    (Rule::SubackReason, V3, Server, "90 0001 03"),
    (Rule::SubackReason, V3, Server, "90 0001 87"),
    (Rule::SubackReason, &[V5], Server, "90 0001 00 03"),
    (Rule::UnsubackReason, &[V5], Server, "B0 0001 00 01"),
    (Rule::NoReason, V3, Server, "90 0001"),
    (Rule::NoReason, &[V5], Server, "90 0001 00"),
    (Rule::NoReason, &[V5], Server, "B0 0001 00"),
    // DISCONNECT and AUTH.
    (Rule::DisconnectReason, &[V5], Client, "E0 01"),
    (Rule::DisconnectReason, &[V5], Client, "E0 85 00"),
    (Rule::SessionExpiryFromServer, &[V5], Server, "E0 00 05 11 00000001"),
    (Rule::AuthReason, &[V5], Client, "F0"),
    (Rule::AuthReason, &[V5], Client, "F0 00 04 15 0001 'm'"),
    (Rule::AuthReason, &[V5], Client, "F0 87 04 15 0001 'm'"),
    (Rule::AuthReason, &[V5], Server, "F0 19 04 15 0001 'm'"),
    (Rule::AuthWithoutMethod, &[V5], Client, "F0 18 00"),
    (Rule::AuthWithoutMethod, &[V5], Client, "F0 18"),
    (Rule::AuthWithoutMethod, &[V5], Client, "F0 19 04 16 0001 'd'"),
    // Properties.
    (Rule::LengthTooLong, &[V5], Client, "30 0001 'a' 80808080 01"),
    (Rule::LengthTooLong, &[V5], Client, "82 0001 05 0B FFFFFFFF 0001 'a' 00"),
    (Rule::LengthNotMinimal, &[V5], Client, "30 0001 'a' 8000"),
    (Rule::LengthNotMinimal, &[V5], Client, "82 0001 03 0B 8100 0001 'a' 00"),
    (Rule::UnknownProperty, &[V5], Client, "30 0001 'a' 02 00 00"),
    (Rule::UnknownProperty, &[V5], Client, "30 0001 'a' 02 7F 00"),
    (Rule::UnknownProperty, &[V5], Client, "30 0001 'a' 03 FF01 00"),
    (Rule::PropertyNotAllowed, &[V5], Client, "30 0001 'a' 05 11 00000001"),
    (Rule::PropertyNotAllowed, &[V5], Client, "40 0001 00 02 01 00"),
    (Rule::PropertyNotAllowed, &[V5], Client, "A2 0001 02 0B 01 0001 'a'"),
    (Rule::PropertyNotAllowed, &[V5], Stranger, "10 0004 'MQTT' 05 02 0000 05 18 00000001 0001 'a'"),
    (Rule::PropertyNotAllowed, &[V5], Stranger, "10 0004 'MQTT' 05 04 0000 00 0001 'a' 05 11 00000001 0001 't' 0000"),
    (Rule::PropertyRepeated, &[V5], Client, "30 0001 'a' 04 01 00 01 00"),
    (Rule::PropertyRepeated, &[V5], Client, "30 0001 'a' 0A 02 00000001 02 00000001"),
    (Rule::PropertyRepeated, &[V5], Client, "82 0001 04 0B 01 0B 02 0001 'a' 00"),
    (Rule::PropertyRepeated, &[V5], Stranger, "10 0004 'MQTT' 05 02 0000 0A 11 00000001 11 00000001 0001 'a'"),
    (Rule::FlagNotBoolean, &[V5], Client, "30 0001 'a' 02 01 02"),
    (Rule::FlagNotBoolean, &[V5], Stranger, "10 0004 'MQTT' 05 02 0000 02 17 02 0001 'a'"),
    (Rule::FlagNotBoolean, &[V5], Stranger, "10 0004 'MQTT' 05 02 0000 02 19 FF 0001 'a'"),
    (Rule::FlagNotBoolean, &[V5], Server, "20 00 00 02 25 02"),
    (Rule::FlagNotBoolean, &[V5], Server, "20 00 00 02 2A 02"),
    (Rule::MaximumQosInvalid, &[V5], Server, "20 00 00 02 24 02"),
    (Rule::ReceiveMaximumZero, &[V5], Stranger, "10 0004 'MQTT' 05 02 0000 03 21 0000 0001 'a'"),
    (Rule::ReceiveMaximumZero, &[V5], Server, "20 00 00 03 21 0000"),
    (Rule::MaximumPacketSizeZero, &[V5], Stranger, "10 0004 'MQTT' 05 02 0000 05 27 00000000 0001 'a'"),
];

/// Rules that rows of their own show below: they need more bytes than a person writes, or no bytes at all.
const SHOWN_ELSEWHERE: &[Rule] = &[
    Rule::EmptyClientId,
    Rule::TopicTooLong,
    Rule::TopicTooDeep,
    Rule::FilterTooLong,
    Rule::FilterTooDeep,
    Rule::TooManyFilters,
    Rule::PropertiesTooLong,
    Rule::TooManyProperties,
];

fn each_row(mut check: impl FnMut(Rule, Version, Peer, &[u8])) {
    for (rule, versions, from, hex) in STREAMS {
        for version in *versions {
            check(*rule, *version, *from, &bytes_of(hex));
        }
    }
    for (rule, versions, from, hex) in PACKETS {
        let hex = hex.replace("what follows may be anything", "FF FF FF");
        for version in *versions {
            check(*rule, *version, *from, &packet(&hex));
        }
    }
}

#[test]
fn what_breaks_a_rule_is_refused_as_that() {
    each_row(|rule, version, from, bytes| {
        let error = error_of(version, from, bytes);
        assert_eq!(error.rule(), rule, "{version:?} {from:?} {bytes:02X?}");
        assert_eq!(error.reason(), rule.reason());
        if from != Stranger {
            assert_eq!(error.version(), Some(version));
            assert_eq!(Some(error.id()), rule.id(version), "{rule:?} {version:?}");
        }
    });
}

#[test]
fn it_is_refused_in_whatever_pieces_it_comes() {
    each_row(|rule, version, from, bytes| {
        let mut decoder = match from {
            Stranger => Decoder::server(Limits::default()),
            Client => decoder_for(version, true),
            Server => decoder_for(version, false),
        };
        let mut input = BytesMut::new();
        let error = bytes.iter().find_map(|byte| {
            input.extend_from_slice(&[*byte]);
            decoder.decode(&mut input).err()
        });
        assert_eq!(error.map(|error| error.rule()), Some(rule), "{bytes:02X?}");
    });
}

#[test]
fn every_rule_has_a_row_in_every_version_that_has_it() {
    for rule in Rule::ALL {
        if SHOWN_ELSEWHERE.contains(rule) {
            continue;
        }
        for version in [V311, V5] {
            let rows = STREAMS.iter().chain(PACKETS);
            let shown = rows
                .filter(|row| row.0 == *rule)
                .any(|row| row.1.contains(&version));
            assert_eq!(shown, rule.id(version).is_some(), "{rule:?} in {version:?}");
        }
    }
}

#[test]
fn an_answer_is_one_that_its_packet_may_carry() {
    each_row(|rule, version, from, bytes| {
        let error = error_of(version, from, bytes);
        if let Some((version, connack)) = error.connack() {
            let fits = version != V5 || connack.reason.fits(PacketType::Connack);
            assert!(fits, "{rule:?} {connack:?}");
            assert_eq!(from, Stranger, "{rule:?}");
        }
        if let Some(disconnect) = error.disconnect() {
            assert!(disconnect.reason.fits(PacketType::Disconnect), "{rule:?}");
            assert_eq!((version, from != Stranger), (V5, true), "{rule:?}");
        }
    });
}

#[test]
fn a_bad_connect_is_answered_as_its_version_reads_it() {
    let answer = |hex: &str| {
        let (version, connack) = error_of(V5, Stranger, &packet(hex)).connack()?;
        let mut out = BytesMut::new();
        encode(&Packet::Connack(Box::new(connack)), version, &mut out).unwrap();
        Some(out.to_vec())
    };
    // A level that is not spoken: 0x01 to those before 5.0, 0x84 to those behind it.
    let told = answer("10 0004 'MQTT' 03 02 0000 0001 'a'");
    assert_eq!(told, Some(vec![0x20, 2, 0, 1]));
    let told = answer("10 0004 'MQTT' 84 02 0000 0001 'a'");
    assert_eq!(told, Some(vec![0x20, 2, 0, 1]), "a bridge's level");
    let told = answer("10 0004 'MQTT' 06 02 0000 0001 'a'");
    assert_eq!(told, Some(vec![0x20, 3, 0, 0x84, 0]));
    // Something else is wrong: 3.1.1 closes without a word, 5.0 is told.
    assert_eq!(answer("10 0004 'MQTT' 04 03 0000 0001 'a'"), None);
    let told = answer("10 0004 'MQTT' 05 03 0000 00 0001 'a'");
    assert_eq!(told, Some(vec![0x20, 3, 0, 0x81, 0]));
    // No MQTT at all, or no CONNECT.
    assert_eq!(answer("10 0004 'HTTP' 05 02 0000 00 0001 'a'"), None);
    assert_eq!(answer("30 0001 'a'"), None);
}

#[test]
fn until_admitted_a_5_0_client_is_answered_with_connack() {
    let mut decoder = Decoder::server(Limits::default());
    let connect = Packet::Connect(Box::new(Connect::new(V5, text("a"))));
    let mut input = BytesMut::new();
    encode(&connect, V5, &mut input).unwrap();
    input.extend_from_slice(&[0x36]);
    assert_eq!(decoder.decode(&mut input), Ok(Some(connect)));
    let error = decoder.decode(&mut input).unwrap_err();
    assert_eq!(error.rule(), Rule::QosThree);
    assert!(error.connack().is_some());
    assert_eq!(error.disconnect(), None);
}

#[test]
fn a_reason_that_connack_may_not_carry_is_told_as_a_protocol_error() {
    // An alias of 0 (0x94) behind the CONNECT, read before that is accepted.
    let bytes = [
        packet("10 0004 'MQTT' 05 02 0000 00 0001 'a'"),
        packet("30 0001 'a' 03 23 0000"),
    ];
    let error = error_of(V5, Stranger, &bytes.concat());
    assert_eq!(error.reason(), ReasonCode::TopicAliasInvalid);
    let refused = Connack::refused(ReasonCode::ProtocolError);
    assert_eq!(error.connack(), Some((V5, refused)));
}

#[test]
fn until_admitted_a_packet_may_not_be_large() {
    let limits = Limits {
        unadmitted_packet_bytes_max: 20,
        ..Limits::default()
    };
    let mut decoder = Decoder::server(limits);
    let connect = Packet::Connect(Box::new(Connect::new(V311, text("abcdef"))));
    let mut input = BytesMut::new();
    encode(&connect, V311, &mut input).unwrap();
    assert_eq!(input.len(), 20);
    assert_eq!(decoder.decode(&mut input), Ok(Some(connect)));
    let mut admitted = decoder.clone();
    admitted.admit();
    // A PUBLISH of 21 bytes, of which only the length has come.
    let mut input = BytesMut::from(&[0x30, 19][..]);
    assert_eq!(admitted.decode(&mut input), Ok(None));
    let error = decoder.decode(&mut input).unwrap_err();
    assert_eq!(error.rule(), Rule::PacketTooLarge);
}

#[test]
fn nobody_may_send_more_before_being_admitted_than_after() {
    let limits = Limits {
        packet_bytes_max: 20,
        ..Limits::default()
    };
    for (body_bytes, taken) in [(18, true), (19, false)] {
        let mut decoder = Decoder::server(limits.clone());
        let mut input = BytesMut::from(&[0x10, body_bytes][..]);
        let waits = decoder.decode(&mut input) == Ok(None);
        assert_eq!(waits, taken, "{body_bytes}");
    }
}

#[test]
fn a_packet_of_the_maximum_is_taken() {
    let limits = Limits {
        packet_bytes_max: 100,
        ..Limits::default()
    };
    for (body_bytes, taken) in [(98, true), (99, false)] {
        let mut decoder = Decoder::client(V311, limits.clone());
        let mut input = BytesMut::from(&[0x30, body_bytes, 0, 1, b'a'][..]);
        input.resize(2 + usize::from(body_bytes), b'x');
        assert_eq!(decoder.decode(&mut input).is_ok(), taken, "{body_bytes}");
    }
}

#[test]
fn an_empty_client_id_is_for_clean_sessions() {
    let with = |version, clean_start| Connect {
        clean_start,
        ..Connect::new(version, text(""))
    };
    for (version, clean_start, allowed) in [
        (V31, true, false),
        (V311, true, true),
        (V311, false, false),
        (V5, true, true),
        (V5, false, true),
    ] {
        let checked = with(version, clean_start).check_client_id();
        assert_eq!(checked.is_ok(), allowed, "{version:?} {clean_start}");
        let Err(error) = checked else { continue };
        assert_eq!(error.id(), "MQTT-3.1.3-8");
        let (version, connack) = error.connack().unwrap();
        let mut out = BytesMut::new();
        encode(&Packet::Connack(Box::new(connack)), version, &mut out).unwrap();
        assert_eq!(&out[..], [0x20, 2, 0, 2]);
    }
    assert!(Connect::new(V31, text("a")).check_client_id().is_ok());
}

/// What `decode` says with these limits, of a packet that a client sends.
fn within(limits: &Limits, version: Version, packet: &Packet) -> Option<(Rule, ReasonCode)> {
    let mut decoder = Decoder::server(limits.clone());
    let connect = Packet::Connect(Box::new(Connect::new(version, text("c"))));
    let mut input = BytesMut::new();
    encode(&connect, version, &mut input).unwrap();
    encode(packet, version, &mut input).unwrap();
    decoder.decode(&mut input).unwrap();
    let error = decoder.decode(&mut input).err()?;
    Some((error.rule(), error.reason()))
}

#[test]
fn limits_of_topics_and_filters_are_kept() {
    let limits = Limits {
        topic_bytes_max: 10,
        topic_levels_max: 3,
        filters_max: 2,
        ..Limits::default()
    };
    let publish = |topic: &str| {
        Packet::Publish(Publish {
            topic: text(topic),
            ..Publish::default()
        })
    };
    let id = PacketId::FIRST;
    let subscribe = |filters: &[&str]| {
        let subscription = |filter: &&str| Subscription::new(text(filter), Qos::AtMostOnce);
        Packet::Subscribe(Subscribe {
            packet_id: id,
            subscriptions: filters.iter().map(subscription).collect(),
            properties: SubscribeProperties::default(),
        })
    };
    let unsubscribe = |filters: &[&str]| {
        Packet::Unsubscribe(Unsubscribe {
            packet_id: id,
            filters: filters.iter().map(|filter| text(filter)).collect(),
            properties: UnsubscribeProperties::default(),
        })
    };
    use ReasonCode::{QuotaExceeded, TopicFilterInvalid, TopicNameInvalid};
    for version in [V31, V311, V5] {
        for (packet, refused) in [
            (publish("a/b/cdefgh"), None),
            (
                publish("abcdefghijk"),
                Some((Rule::TopicTooLong, TopicNameInvalid)),
            ),
            (
                publish("a/b/c/d"),
                Some((Rule::TopicTooDeep, TopicNameInvalid)),
            ),
            (subscribe(&["a/b/cdefgh", "#"]), None),
            (
                subscribe(&["abcdefghijk"]),
                Some((Rule::FilterTooLong, TopicFilterInvalid)),
            ),
            (
                subscribe(&["a/+/c/#"]),
                Some((Rule::FilterTooDeep, TopicFilterInvalid)),
            ),
            (
                subscribe(&["a", "b", "c"]),
                Some((Rule::TooManyFilters, QuotaExceeded)),
            ),
            (unsubscribe(&["a", "b"]), None),
            (
                unsubscribe(&["a", "b", "c"]),
                Some((Rule::TooManyFilters, QuotaExceeded)),
            ),
            (
                unsubscribe(&["a/b/c/d"]),
                Some((Rule::FilterTooDeep, TopicFilterInvalid)),
            ),
        ] {
            assert_eq!(within(&limits, version, &packet), refused, "{packet:?}");
        }
    }
}

#[test]
fn limits_of_properties_are_kept() {
    let publish = |n_properties: usize, value: &str| {
        Packet::Publish(Publish {
            topic: text("a"),
            properties: PublishProperties {
                user_properties: vec![(text("n"), text(value)); n_properties],
                ..PublishProperties::default()
            },
            payload: Bytes::from_static(b"x"),
            ..Publish::default()
        })
    };
    let limits = Limits {
        properties_bytes_max: 30,
        properties_max: 3,
        ..Limits::default()
    };
    use ReasonCode::QuotaExceeded;
    // Each has six bytes and its value.
    for (packet, refused) in [
        (publish(3, "four"), None),
        (
            publish(4, ""),
            Some((Rule::TooManyProperties, QuotaExceeded)),
        ),
        (
            publish(3, "fives"),
            Some((Rule::PropertiesTooLong, QuotaExceeded)),
        ),
    ] {
        assert_eq!(within(&limits, V5, &packet), refused, "{packet:?}");
    }
}

#[test]
fn an_error_names_its_rule() {
    let error = error_of(V5, Client, &bytes_of("36"));
    assert_eq!(
        error.to_string(),
        "both QoS bits of a PUBLISH are set [MQTT-3.3.1-4]"
    );
}

#[test]
fn a_3_x_client_is_never_told_why() {
    let error = error_of(V311, Client, &bytes_of("36"));
    assert_eq!((error.connack(), error.disconnect()), (None, None));
}
