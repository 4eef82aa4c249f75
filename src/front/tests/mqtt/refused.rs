//! Bad packets over a live socket: each rule that a packet or a conversation can break, in 3.1.1 and 5.0, over TCP and over
//! WebSocket. The client is told what its version can be told, its connection ends, the broker hears nothing of it, and
//! nobody else is disturbed.

use std::num::NonZeroU16;

use bytes::{BufMut, Bytes, BytesMut};
use restante_proto::mqtt::{Connect, Packet, ReasonCode, Secret, Version, encode};

use super::super::broker::{Asked, Inner};
use super::super::server::{Server, settings};
use super::client::{BOTH as DOORS, Client, Over, attach, publish, text};
use crate::broker::Call;
use crate::front::Settings;

/// What breaks a rule; in which versions; the bytes; what 5.0 calls it.
type Row = (&'static str, &'static [Version], &'static str, u8);

const V3: &[Version] = &[Version::V311];
const V5: &[Version] = &[Version::V5];
const BOTH: &[Version] = &[Version::V311, Version::V5];

/// How many publishes may be unanswered.
const RECEIVE_MAXIMUM: u16 = 3;

/// From a client that is in. `..` stands for the length of what follows.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    ("the packet type is reserved", BOTH, "00 00", 0x81),
    ("the packet type is reserved", V3, "F0 00", 0x81),
    ("a reserved flag of the fixed header is set", BOTH, "C1", 0x81),
    ("a reserved flag of the fixed header is set", BOTH, "42 02 0001", 0x81),
    ("a reserved flag of the fixed header is set", BOTH, "58 02 0001", 0x81),
    ("a reserved flag of the fixed header is set", BOTH, "71 02 0001", 0x81),
    ("the flags of a PUBREL are not 0010", BOTH, "60 02 0001", 0x81),
    ("the flags of a SUBSCRIBE are not 0010", BOTH, "80 06 0001 0001 'a' 00", 0x81),
    ("the flags of a SUBSCRIBE are not 0010", BOTH, "83", 0x81),
    ("the flags of an UNSUBSCRIBE are not 0010", BOTH, "A0 05 0001 0001 'a'", 0x81),
    ("the flags of a DISCONNECT are not 0000", BOTH, "E2 00", 0x81),
    ("the flags of an AUTH are not 0000", V5, "F1", 0x81),
    ("both QoS bits of a PUBLISH are set", BOTH, "36", 0x81),
    ("a PUBLISH of QoS 0 has DUP set", BOTH, "38 03 0001 'a'", 0x81),
    ("a variable byte integer has more than four bytes", BOTH, "30 80808080", 0x81),
    ("a variable byte integer has more than four bytes", BOTH, "30 FFFFFFFF 01", 0x81),
    ("a variable byte integer has more bytes than it needs", V5, "30 8400 0001 'a' 00", 0x81),
    ("a variable byte integer has more bytes than it needs", V5, "C0 8000", 0x81),
    ("a packet of this type does not go this way", BOTH, "20 02 0000", 0x82),
    ("a packet of this type does not go this way", BOTH, "90", 0x82),
    ("a packet of this type does not go this way", BOTH, "B0", 0x82),
    ("a packet of this type does not go this way", BOTH, "D0 00", 0x82),
    ("there was a CONNECT already", BOTH, "10", 0x82),
    ("there was a CONNECT already", BOTH, "10 0D 0004 'MQTT' 04 02 0000 0001 'a'", 0x82),
    ("the packet ends within a field", BOTH, "30 .. 0002 'a'", 0x81),
    ("the packet ends within a field", BOTH, "30 .. 00", 0x81),
    ("the packet ends within a field", BOTH, "32 .. 0001 'a' 00", 0x81),
    ("the packet ends within a field", BOTH, "40 .. 00", 0x81),
    ("the packet ends within a field", V3, "82 .. 0001 0002 'a'", 0x81),
    ("the packet ends within a field", V3, "82 .. 0001 0001 'a'", 0x81),
    ("the packet ends within a field", V5, "82 .. 0001 00 0001 'a'", 0x81),
    ("the packet ends within a field", V3, "A2 .. 0001 0002 'a'", 0x81),
    ("the packet ends within a field", V5, "A2 .. 0001 00 0002 'a'", 0x81),
    ("the packet ends within a field", V5, "30 .. 0001 'a'", 0x81),
    ("the packet ends within a field", V5, "30 .. 0001 'a' 05 01 00", 0x81),
    ("the packet ends within a field", V5, "30 .. 0001 'a' 03 02 0000", 0x81),
    ("the packet ends within a field", V5, "30 .. 0001 'a' 04 03 0002 'a' 'bc'", 0x81),
    ("the packet ends within a field", V5, "30 .. 0001 'a' 01 26", 0x81),
    ("the packet ends within a field", V5, "40 .. 0001 00 8080", 0x81),
    ("there are bytes behind the packet's last field", BOTH, "C0 .. 00", 0x81),
    ("there are bytes behind the packet's last field", V5, "40 .. 0001 00 00 00", 0x81),
    ("there are bytes behind the packet's last field", V3, "40 .. 0001 00", 0x81),
    ("there are bytes behind the packet's last field", V3, "E0 .. 00", 0x81),
    ("a string is not utf-8", BOTH, "30 .. 0001 80", 0x81),
    ("a string is not utf-8", BOTH, "30 .. 0003 EDA080", 0x81),
    ("a string is not utf-8", BOTH, "30 .. 0002 C080", 0x81),
    ("a string is not utf-8", BOTH, "30 .. 0003 'a' F0 9F", 0x81),
    ("a string is not utf-8", V3, "82 .. 0001 0001 FF 00", 0x81),
    ("a string is not utf-8", V3, "A2 .. 0001 0001 FF", 0x81),
    ("a string is not utf-8", V5, "82 .. 0001 00 0001 FF 00", 0x81),
    ("a string is not utf-8", V5, "A2 .. 0001 00 0001 FF", 0x81),
    ("a string is not utf-8", V5, "30 .. 0001 'a' 07 26 0001 'n' 0001 FF", 0x81),
    ("a string is not utf-8", V5, "30 .. 0001 'a' 07 26 0001 FF 0001 'v'", 0x81),
    ("a string is not utf-8", V5, "30 .. 0001 'a' 04 03 0001 FF", 0x81),
    ("a string is not utf-8", V5, "30 .. 0001 'a' 04 08 0001 FF", 0x81),
    ("a string has a U+0000", BOTH, "30 .. 0003 'a' 00 'b'", 0x81),
    ("a string has a U+0000", V3, "82 .. 0001 0001 00 00", 0x81),
    ("a string has a U+0000", V5, "82 .. 0001 00 0001 00 00", 0x81),
    ("a string has a U+0000", V5, "30 .. 0001 'a' 07 26 0001 'n' 0001 00", 0x81),
    ("the packet id is 0", V3, "32 .. 0001 'a' 0000", 0x82),
    ("the packet id is 0", V5, "34 .. 0001 'a' 0000 00", 0x82),
    ("the packet id is 0", BOTH, "40 .. 0000", 0x82),
    ("the packet id is 0", BOTH, "50 .. 0000", 0x82),
    ("the packet id is 0", BOTH, "62 .. 0000", 0x82),
    ("the packet id is 0", BOTH, "70 .. 0000", 0x82),
    ("the packet id is 0", V3, "82 .. 0000 0001 'a' 00", 0x82),
    ("the packet id is 0", V5, "82 .. 0000 00 0001 'a' 00", 0x82),
    ("the packet id is 0", V3, "A2 .. 0000 0001 'a'", 0x82),
    ("the packet id is 0", V5, "A2 .. 0000 00 0001 'a'", 0x82),
    ("a topic name has a wildcard", V3, "30 .. 0003 'a/+'", 0x81),
    ("a topic name has a wildcard", V3, "30 .. 0001 '#'", 0x81),
    ("a topic name has a wildcard", V5, "30 .. 0003 'a/+' 00", 0x81),
    ("a topic name has a wildcard", V5, "30 .. 0003 'a#b' 00", 0x81),
    ("the topic is empty, and there is no alias", V3, "30 .. 0000", 0x82),
    ("the topic is empty, and there is no alias", V5, "30 .. 0000 00 'x'", 0x82),
    ("a topic or filter is empty", V3, "82 .. 0001 0000 00", 0x81),
    ("a topic or filter is empty", V3, "A2 .. 0001 0000", 0x81),
    ("a topic or filter is empty", V5, "82 .. 0001 00 0000 00", 0x81),
    ("a topic or filter is empty", V5, "A2 .. 0001 00 0000", 0x81),
    ("a topic or filter is empty", V5, "30 .. 0001 'a' 03 08 0000", 0x81),
    ("the response topic has a wildcard", V5, "30 .. 0001 'a' 06 08 0003 'r/#'", 0x81),
    ("a filter has a # that is not its last level", V3, "82 .. 0001 0003 '#/a' 00", 0x81),
    ("a filter has a # that is not its last level", V3, "A2 .. 0001 0002 'a#'", 0x81),
    ("a filter has a # that is not its last level", V5, "82 .. 0001 00 0003 '#/a' 00", 0x81),
    ("a filter has a # that is not its last level", V5, "A2 .. 0001 00 0002 'a#'", 0x81),
    ("a filter has a + that is not a whole level", V3, "82 .. 0001 0002 'a+' 00", 0x81),
    ("a filter has a + that is not a whole level", V5, "82 .. 0001 00 0002 '+a' 00", 0x81),
    ("a shared subscription has no share name", V5, "82 .. 0001 00 0009 '$share//a' 00", 0x81),
    ("a shared subscription has no share name", V5, "A2 .. 0001 00 0007 '$share/'", 0x81),
    ("a share name has a wildcard, or no filter behind it", V5, "82 .. 0001 00 0008 '$share/g' 00", 0x81),
    ("a share name has a wildcard, or no filter behind it", V5, "82 .. 0001 00 000A '$share/+/a' 00", 0x81),
    ("a client's PUBLISH has a subscription identifier", V5, "30 .. 0001 'a' 02 0B 01", 0x82),
    ("the topic alias is 0", V5, "30 .. 0001 'a' 03 23 0000", 0x94),
    ("the code is none of a PUBACK", V5, "40 .. 0001 81", 0x82),
    ("the code is none of a PUBACK", V5, "40 .. 0001 01 00", 0x82),
    ("the code is none of a PUBREL", V5, "62 .. 0001 10", 0x82),
    ("the code is none of a PUBREL", V5, "62 .. 0001 55", 0x82),
    ("the code is none of a PUBCOMP", V5, "70 .. 0001 80", 0x82),
    ("a SUBSCRIBE has no filter", V3, "82 .. 0001", 0x82),
    ("a SUBSCRIBE has no filter", V5, "82 .. 0001 00", 0x82),
    ("an UNSUBSCRIBE has no filter", V3, "A2 .. 0001", 0x82),
    ("an UNSUBSCRIBE has no filter", V5, "A2 .. 0001 00", 0x82),
    ("reserved bits of a subscription are set", V3, "82 .. 0001 0001 'a' 04", 0x81),
    ("reserved bits of a subscription are set", V3, "82 .. 0001 0001 'a' 80", 0x81),
    ("reserved bits of a subscription are set", V5, "82 .. 0001 00 0001 'a' 40", 0x81),
    ("reserved bits of a subscription are set", V5, "82 .. 0001 00 0001 'a' 80", 0x81),
    ("the QoS of a subscription is 3", V3, "82 .. 0001 0001 'a' 03", 0x82),
    ("the QoS of a subscription is 3", V5, "82 .. 0001 00 0001 'a' 03", 0x82),
    ("the retain handling of a subscription is 3", V5, "82 .. 0001 00 0001 'a' 30", 0x82),
    ("no local is set on a shared subscription", V5, "82 .. 0001 00 000A '$share/g/a' 04", 0x82),
    ("the subscription identifier is 0", V5, "82 .. 0001 02 0B 00 0001 'a' 00", 0x82),
    ("the code is none of a DISCONNECT", V5, "E0 .. 01", 0x82),
    ("the code is none of a DISCONNECT", V5, "E0 .. 85 00", 0x82),
    ("the code is none of an AUTH that goes this way", V5, "F0 ..", 0x82),
    ("the code is none of an AUTH that goes this way", V5, "F0 .. 00 04 15 0001 'm'", 0x82),
    ("the code is none of an AUTH that goes this way", V5, "F0 .. 87 04 15 0001 'm'", 0x82),
    ("an AUTH has no authentication method", V5, "F0 .. 18 00", 0x82),
    ("an AUTH has no authentication method", V5, "F0 .. 18", 0x82),
    ("an AUTH has no authentication method", V5, "F0 .. 19 04 16 0001 'd'", 0x82),
    ("a variable byte integer has more than four bytes", V5, "30 .. 0001 'a' 80808080 01", 0x81),
    ("a variable byte integer has more than four bytes", V5, "82 .. 0001 05 0B FFFFFFFF 0001 'a' 00", 0x81),
    ("a variable byte integer has more bytes than it needs", V5, "30 .. 0001 'a' 8000", 0x81),
    ("a variable byte integer has more bytes than it needs", V5, "82 .. 0001 03 0B 8100 0001 'a' 00", 0x81),
    ("there is no property of this identifier", V5, "30 .. 0001 'a' 02 00 00", 0x81),
    ("there is no property of this identifier", V5, "30 .. 0001 'a' 02 7F 00", 0x81),
    ("there is no property of this identifier", V5, "30 .. 0001 'a' 03 FF01 00", 0x81),
    ("this property may not be in this packet", V5, "30 .. 0001 'a' 05 11 00000001", 0x81),
    ("this property may not be in this packet", V5, "40 .. 0001 00 02 01 00", 0x81),
    ("this property may not be in this packet", V5, "A2 .. 0001 02 0B 01 0001 'a'", 0x81),
    ("a property that may be given once is there again", V5, "30 .. 0001 'a' 04 01 00 01 00", 0x82),
    ("a property that may be given once is there again", V5, "30 .. 0001 'a' 0A 02 00000001 02 00000001", 0x82),
    ("a property that may be given once is there again", V5, "82 .. 0001 04 0B 01 0B 02 0001 'a' 00", 0x82),
    ("a property is neither 0 nor 1", V5, "30 .. 0001 'a' 02 01 02", 0x82),
    // Limits of ours.
    ("the packet is larger than the maximum", BOTH, "30 FFFFFF7F", 0x95),
    ("the packet is larger than the maximum by a byte", BOTH, "30 FDFF0F 0001 'a'", 0x95),
    // What one packet alone does not break.
    ("a second CONNECT", V3, "10 .. 0004 'MQTT' 04 02 0000 0001 'a'", 0x82),
    ("a second CONNECT", V5, "10 .. 0004 'MQTT' 05 02 0000 00 0001 'a'", 0x82),
    ("an AUTH, and no method in the CONNECT", V5, "F0 .. 18 04 15 0001 'm'", 0x82),
    ("an AUTH to begin anew, and no method in the CONNECT", V5, "F0 .. 19 04 15 0001 'm'", 0x82),
    ("a topic alias above the maximum", V5, "30 .. 0001 'a' 03 23 0009", 0x94),
    ("the highest topic alias", V5, "32 .. 0001 'a' 0001 03 23 FFFF", 0x94),
    ("a topic alias that was never set", V5, "30 .. 0000 03 23 0001", 0x94),
    ("an expiry for a session that has none", V5, "E0 .. 00 05 11 0000000A", 0x82),
    ("a payload that is not UTF-8 as it says, and no answer to tell it", V5, "30 .. 0001 'a' 02 01 01 FF", 0x99),
];

/// As the first bytes of a connection: also what is answered. In 5.0 all is told with a CONNACK; before it only that a level is
/// not spoken, or that an identifier is missing.
#[rustfmt::skip]
const FIRST: &[(&str, &str, &[u8], u8)] = &[
    ("the first packet is not a CONNECT", "C0", &[], 0x82),
    ("the first packet is not a CONNECT", "30 03 0001 'a'", &[], 0x82),
    ("the first packet is not a CONNECT", "E0 00", &[], 0x82),
    ("the first packet is not a CONNECT", "F0 00", &[], 0x82),
    ("the packet ends within a field", "10 .. 0004 'MQTT' 04 04 0000 0001 'a' 0001 't'", &[], 0x81),
    ("the packet ends within a field", "10 .. 0004 'MQTT' 05 C0 0000 00 0001 'a' 0001 'u'", &[0x20, 3, 0, 0x81, 0], 0x81),
    ("there are bytes behind the packet's last field", "10 .. 0004 'MQTT' 04 02 0000 0001 'a' 00", &[], 0x81),
    ("a string is not utf-8", "10 .. 0004 'MQTT' 04 02 0000 0001 FF", &[], 0x81),
    ("a string is not utf-8", "10 .. 0004 'MQTT' 04 06 0000 0001 'a' 0001 FF 0000", &[], 0x81),
    ("a string is not utf-8", "10 .. 0004 'MQTT' 04 82 0000 0001 'a' 0001 FF", &[], 0x81),
    ("a string is not utf-8", "10 .. 0004 'MQTT' 05 02 0000 00 0001 FF", &[0x20, 3, 0, 0x81, 0], 0x81),
    ("a string is not utf-8", "10 .. 0004 FFFFFFFF 04", &[], 0x81),
    ("a string has a U+0000", "10 .. 0004 'MQTT' 04 02 0000 0001 00", &[], 0x81),
    ("the protocol name is not that of MQTT", "10 .. 0004 'mqtt' 04 02 0000 0001 'a'", &[], 0x84),
    ("the protocol name is not that of MQTT", "10 .. 0000 04 02 0000 0001 'a'", &[], 0x84),
    ("the protocol version is not spoken here", "10 .. 0004 'MQTT' 03 02 0000 0001 'a'", &[0x20, 2, 0, 1], 0x84),
    ("the protocol version is not spoken here", "10 .. 0006 'MQIsdp' 04 02 0000 0001 'a'", &[0x20, 2, 0, 1], 0x84),
    ("the protocol version is not spoken here", "10 .. 0004 'MQTT' 84 02 0000 0001 'a'", &[0x20, 2, 0, 1], 0x84),
    ("the protocol version is not spoken here", "10 .. 0004 'MQTT' 06 FFFFFF", &[0x20, 3, 0, 0x84, 0], 0x84),
    ("the reserved flag of a CONNECT is set", "10 .. 0004 'MQTT' 04 03 0000 0001 'a'", &[], 0x81),
    ("the reserved flag of a CONNECT is set", "10 .. 0004 'MQTT' 05 03 0000 00 0001 'a'", &[0x20, 3, 0, 0x81, 0], 0x81),
    ("the will QoS is 3", "10 .. 0004 'MQTT' 04 1C 0000 0001 'a' 0001 't' 0000", &[], 0x81),
    ("the will QoS is 3", "10 .. 0004 'MQTT' 05 1C 0000 00 0001 'a' 00 0001 't' 0000", &[0x20, 3, 0, 0x81, 0], 0x81),
    ("there is a will QoS, and no will", "10 .. 0004 'MQTT' 04 08 0000 0001 'a'", &[], 0x81),
    ("there is a will QoS, and no will", "10 .. 0004 'MQTT' 05 18 0000 00 0001 'a'", &[0x20, 3, 0, 0x81, 0], 0x81),
    ("will retain is set, and there is no will", "10 .. 0004 'MQTT' 04 20 0000 0001 'a'", &[], 0x81),
    ("will retain is set, and there is no will", "10 .. 0004 'MQTT' 05 20 0000 00 0001 'a'", &[0x20, 3, 0, 0x81, 0], 0x81),
    ("there is a password, and no user name", "10 .. 0004 'MQTT' 04 42 0000 0001 'a' 0001 'p'", &[], 0x81),
    ("there is authentication data, and no method", "10 .. 0004 'MQTT' 05 02 0000 04 16 0001 'd' 0001 'a'", &[0x20, 3, 0, 0x82, 0], 0x82),
    ("a topic name has a wildcard", "10 .. 0004 'MQTT' 04 04 0000 0001 'a' 0001 '#' 0000", &[], 0x81),
    ("a topic name has a wildcard", "10 .. 0004 'MQTT' 05 04 0000 00 0001 'a' 00 0001 '+' 0000", &[0x20, 3, 0, 0x81, 0], 0x81),
    ("a topic or filter is empty", "10 .. 0004 'MQTT' 04 04 0000 0001 'a' 0000 0000", &[], 0x81),
    ("a topic or filter is empty", "10 .. 0004 'MQTT' 05 04 0000 00 0001 'a' 00 0000 0000", &[0x20, 3, 0, 0x81, 0], 0x81),
    ("the response topic has a wildcard", "10 .. 0004 'MQTT' 05 04 0000 00 0001 'a' 04 08 0001 '+' 0001 't' 0000", &[0x20, 3, 0, 0x81, 0], 0x81),
    ("this property may not be in this packet", "10 .. 0004 'MQTT' 05 02 0000 05 18 00000001 0001 'a'", &[0x20, 3, 0, 0x81, 0], 0x81),
    ("this property may not be in this packet", "10 .. 0004 'MQTT' 05 04 0000 00 0001 'a' 05 11 00000001 0001 't' 0000", &[0x20, 3, 0, 0x81, 0], 0x81),
    ("a property that may be given once is there again", "10 .. 0004 'MQTT' 05 02 0000 0A 11 00000001 11 00000001 0001 'a'", &[0x20, 3, 0, 0x82, 0], 0x82),
    ("a property is neither 0 nor 1", "10 .. 0004 'MQTT' 05 02 0000 02 17 02 0001 'a'", &[0x20, 3, 0, 0x82, 0], 0x82),
    ("a property is neither 0 nor 1", "10 .. 0004 'MQTT' 05 02 0000 02 19 FF 0001 'a'", &[0x20, 3, 0, 0x82, 0], 0x82),
    ("the receive maximum is 0", "10 .. 0004 'MQTT' 05 02 0000 03 21 0000 0001 'a'", &[0x20, 3, 0, 0x82, 0], 0x82),
    ("the maximum packet size is 0", "10 .. 0004 'MQTT' 05 02 0000 05 27 00000000 0001 'a'", &[0x20, 3, 0, 0x82, 0], 0x82),
    ("the packet is larger than a stranger's may be", "10 FDFF05 0004 'MQTT' 05", &[], 0x95),
    ("no identifier for a session that stays", "10 .. 0004 'MQTT' 04 00 0000 0000", &[0x20, 2, 0, 2], 0x85),
    ("no identifier in 3.1", "10 .. 0006 'MQIsdp' 03 02 0000 0000", &[0x20, 2, 0, 2], 0x85),
];

/// The bytes of a row.
fn bytes_of(row: &str) -> Vec<u8> {
    match row.split_once(" ..") {
        None => spelled(row),
        Some((first, rest)) => {
            let body = spelled(rest);
            [spelled(first), length(body.len()), body].concat()
        }
    }
}

/// Hexadecimal digits, and text between quotes.
fn spelled(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (n, part) in text.split('\'').enumerate() {
        if n % 2 == 1 {
            bytes.extend(part.as_bytes());
            continue;
        }
        let digits: Vec<char> = part.chars().filter(|it| !it.is_whitespace()).collect();
        let pairs = digits.chunks(2).map(String::from_iter);
        bytes.extend(pairs.map(|pair| u8::from_str_radix(&pair, 16).unwrap()));
    }
    bytes
}

/// A variable byte integer.
fn length(mut n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}

/// Rows whose bytes nobody writes down.
fn long_rows() -> Vec<(&'static str, Version, Vec<u8>, u8)> {
    let string = |text: &str| {
        let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes
    };
    let packet = |first: u8, parts: &[&[u8]]| {
        let body = parts.concat();
        [vec![first], length(body.len()), body].concat()
    };
    let deepest = "/".repeat(65_535);
    let deep = vec!["a"; 65].join("/");
    let long = "a".repeat(1025);
    let mut rows = Vec::new();
    for version in [Version::V311, Version::V5] {
        let none: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        for (what, topic) in [
            ("a topic of 65,536 levels", &deepest),
            ("a topic of 65 levels", &deep),
            ("a topic of 1025 bytes", &long),
        ] {
            rows.push((what, version, packet(0x30, &[&string(topic), none]), 0x90));
        }
        for (what, filter) in [
            ("a filter of 65,536 levels", &deepest),
            ("a filter of 65 levels", &deep),
            ("a filter of 1025 bytes", &long),
        ] {
            let filter = string(filter);
            let subscribe = packet(0x82, &[&[0, 1], none, &filter, &[0]]);
            rows.push((what, version, subscribe, 0x8F));
            let unsubscribe = packet(0xA2, &[&[0, 1], none, &filter]);
            rows.push((what, version, unsubscribe, 0x8F));
        }
        let filters: Vec<u8> = [string("a"), vec![0]].concat().repeat(257);
        let subscribe = packet(0x82, &[&[0, 1], none, &filters]);
        rows.push(("257 filters", version, subscribe, 0x97));
    }
    let pair = [vec![0x26], string("n"), string("v")].concat();
    let properties = pair.repeat(65);
    let many = packet(
        0x30,
        &[&string("a"), &length(properties.len()), &properties],
    );
    rows.push(("65 user properties", Version::V5, many, 0x97));
    rows
}

async fn start() -> Server {
    let mut settings: Settings = settings();
    if let Some(mqtt) = &mut settings.mqtt {
        mqtt.session.receive_maximum = NonZeroU16::new(RECEIVE_MAXIMUM).unwrap();
    }
    Server::with(settings).await
}

/// A CONNECT of ann's, whose session ends with its connection.
fn connect(version: Version) -> Bytes {
    let connect = Connect {
        user_name: Some(text("ann")),
        password: Some(Secret(Bytes::from_static(b"pw"))),
        ..Connect::new(version, text("till"))
    };
    bytes_in(version, &Packet::Connect(Box::new(connect)))
}

fn bytes_in(version: Version, packet: &Packet) -> Bytes {
    let mut bytes = BytesMut::new();
    encode(packet, version, &mut bytes).unwrap();
    bytes.freeze()
}

/// A client that is in, with `bytes` right behind its CONNECT.
async fn attached(
    server: &mut Server,
    over: Over,
    version: Version,
    bytes: &[u8],
) -> (Client, Inner) {
    let mut client = Client::new(server, over).await;
    let mut first = BytesMut::from(connect(version));
    first.put(bytes);
    client.send_bytes(&first).await;
    let inner = server.attached().await;
    match version {
        Version::V5 => {
            client.expect_connack(ReasonCode::Success).await;
        }
        _ => client.expect_next_bytes(b"\x20\x02\x00\x00").await,
    }
    (client, inner)
}

/// How a WebSocket is closed for it.
fn close_code(reason: u8) -> u16 {
    match reason {
        0x81 | 0x82 | 0x84 => 1002,
        0x95 => 1009,
        _ => 1008,
    }
}

async fn check_ended(mut client: Client, version: Version, reason: u8) {
    if version == Version::V5 {
        let told = ReasonCode::from_u8(reason).unwrap();
        client.expect_disconnect(told, close_code(reason)).await;
    } else {
        client.expect_end(close_code(reason)).await;
    }
}

/// Somebody else, who must not notice anything.
struct Witness {
    client: Client,
    inner: Inner,
    seq: u16,
}

impl Witness {
    async fn new(server: &mut Server, over: Over) -> Self {
        let (client, inner) = attach(server, over).await;
        Witness {
            client,
            inner,
            seq: 0,
        }
    }

    async fn goes_on(&mut self) {
        self.seq += 1;
        self.client.send(publish(self.seq, b"x")).await;
        self.inner.expect_call(self.seq.into()).await;
        self.inner.confirms(self.seq.into());
        match self.client.receive().await {
            Packet::Puback(ack) => assert_eq!(ack.packet_id.get(), self.seq),
            other => panic!("not a PUBACK: {other:?}"),
        }
    }
}

/// Sent to a client's own connection, and right behind its CONNECT.
async fn check(
    server: &mut Server,
    over: Over,
    (what, version, bytes, reason): (&str, Version, &[u8], u8),
) {
    println!("{what}: {over:?} {version:?}");
    for together in [false, true] {
        let behind = if together { bytes } else { b"" };
        let (mut client, mut inner) = attached(server, over, version, behind).await;
        if !together {
            client.send_bytes(bytes).await;
        }
        check_ended(client, version, reason).await;
        assert_eq!(inner.next().await, None, "{what}: the broker was asked");
    }
}

#[tokio::test]
async fn whatever_rule_is_broken_its_code_is_told_and_nobody_else_is_disturbed() {
    for over in DOORS {
        let mut server = start().await;
        let mut witness = Witness::new(&mut server, over).await;
        for (what, versions, row, reason) in ROWS {
            for version in *versions {
                let case = (*what, *version, &bytes_of(row)[..], *reason);
                check(&mut server, over, case).await;
                witness.goes_on().await;
            }
        }
        for (what, version, bytes, reason) in long_rows() {
            check(&mut server, over, (what, version, &bytes, reason)).await;
            witness.goes_on().await;
        }
    }
}

#[tokio::test]
async fn a_connection_that_begins_badly_is_told_so_as_its_version_can_be() {
    for over in DOORS {
        let mut server = start().await;
        let mut witness = Witness::new(&mut server, over).await;
        for (what, row, told, reason) in FIRST {
            println!("{what}: {over:?} {row}");
            let bytes = bytes_of(row);
            // Over TCP what does not begin as a CONNECT is not MQTT: it is the HTTP door's.
            if over == Over::Tcp && bytes.first() != Some(&0x10) {
                continue;
            }
            let mut client = Client::new(&server, over).await;
            client.send_bytes(&bytes).await;
            client.expect_told(told).await;
            client.expect_end(close_code(*reason)).await;
            witness.goes_on().await;
        }
    }
}

#[tokio::test]
async fn who_publishes_past_the_receive_maximum_is_ended_in_5_0_and_waits_in_3_1_1() {
    for over in DOORS {
        let mut server = start().await;
        let mut witness = Witness::new(&mut server, over).await;
        for version in [Version::V311, Version::V5] {
            let together: Vec<u8> = (1..=RECEIVE_MAXIMUM + 1)
                .flat_map(|id| bytes_in(version, &publish(id, b"x")))
                .collect();
            let (mut client, mut inner) = attached(&mut server, over, version, b"").await;
            client.send_bytes(&together).await;
            for tag in 1..=RECEIVE_MAXIMUM {
                inner.expect_call(tag.into()).await;
            }
            if version == Version::V5 {
                check_ended(client, version, 0x93).await;
                assert_eq!(inner.next().await, None);
            } else {
                // It was not told of a maximum: what is too much is taken too.
                let next = inner.next().await;
                assert!(matches!(next, Some(Asked::Call(4, Call::Publish(_)))));
            }
            witness.goes_on().await;
        }
    }
}
