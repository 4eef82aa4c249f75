//! The packets of MQTT as values: one struct a type, for all versions. What a version lacks is left at its default.

use std::num::NonZeroU16;

use bytes::Bytes;

use super::wire::VARINT_MAX;
use super::{
    AckProperties, AuthProperties, ConnackProperties, ConnectProperties, DisconnectProperties,
    Error, PublishProperties, ReasonCode, Rule, Secret, Str, SubscribeProperties,
    UnsubscribeProperties, WillProperties,
};

/// The versions of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// 3.1, of IBM: protocol name `MQIsdp`, level 3.
    V31,
    /// 3.1.1, of OASIS and ISO: `MQTT`, level 4.
    V311,
    /// 5.0, of OASIS: `MQTT`, level 5.
    V5,
}

impl Version {
    /// The protocol name in a CONNECT.
    pub const fn protocol_name(self) -> &'static str {
        match self {
            Version::V31 => "MQIsdp",
            Version::V311 | Version::V5 => "MQTT",
        }
    }

    /// The protocol level in a CONNECT.
    pub const fn level(self) -> u8 {
        match self {
            Version::V31 => 3,
            Version::V311 => 4,
            Version::V5 => 5,
        }
    }

    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Version::V31 => "3.1",
            Version::V311 => "3.1.1",
            Version::V5 => "5.0",
        }
    }
}

/// The types of packets, with their numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is documented at its struct")]
pub enum PacketType {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// Every type, by number.
    pub const ALL: [PacketType; 15] = [
        PacketType::Connect,
        PacketType::Connack,
        PacketType::Publish,
        PacketType::Puback,
        PacketType::Pubrec,
        PacketType::Pubrel,
        PacketType::Pubcomp,
        PacketType::Subscribe,
        PacketType::Suback,
        PacketType::Unsubscribe,
        PacketType::Unsuback,
        PacketType::Pingreq,
        PacketType::Pingresp,
        PacketType::Disconnect,
        PacketType::Auth,
    ];

    /// The type of this number; none for 0, which is reserved.
    pub const fn from_u8(number: u8) -> Option<PacketType> {
        Some(match number {
            1 => PacketType::Connect,
            2 => PacketType::Connack,
            3 => PacketType::Publish,
            4 => PacketType::Puback,
            5 => PacketType::Pubrec,
            6 => PacketType::Pubrel,
            7 => PacketType::Pubcomp,
            8 => PacketType::Subscribe,
            9 => PacketType::Suback,
            10 => PacketType::Unsubscribe,
            11 => PacketType::Unsuback,
            12 => PacketType::Pingreq,
            13 => PacketType::Pingresp,
            14 => PacketType::Disconnect,
            15 => PacketType::Auth,
            _ => return None,
        })
    }

    /// Its name in lower case: for metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            PacketType::Connect => "connect",
            PacketType::Connack => "connack",
            PacketType::Publish => "publish",
            PacketType::Puback => "puback",
            PacketType::Pubrec => "pubrec",
            PacketType::Pubrel => "pubrel",
            PacketType::Pubcomp => "pubcomp",
            PacketType::Subscribe => "subscribe",
            PacketType::Suback => "suback",
            PacketType::Unsubscribe => "unsubscribe",
            PacketType::Unsuback => "unsuback",
            PacketType::Pingreq => "pingreq",
            PacketType::Pingresp => "pingresp",
            PacketType::Disconnect => "disconnect",
            PacketType::Auth => "auth",
        }
    }
}

/// A quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Qos {
    /// 0: not acknowledged.
    #[default]
    AtMostOnce = 0,
    /// 1: acknowledged, and perhaps more than once there.
    AtLeastOnce = 1,
    /// 2: acknowledged in two steps.
    ExactlyOnce = 2,
}

impl Qos {
    /// The QoS of this number; none for 3 and above.
    pub const fn from_u8(number: u8) -> Option<Qos> {
        match number {
            0 => Some(Qos::AtMostOnce),
            1 => Some(Qos::AtLeastOnce),
            2 => Some(Qos::ExactlyOnce),
            _ => None,
        }
    }

    /// The code that grants it in a SUBACK.
    pub const fn granted(self) -> ReasonCode {
        match self {
            Qos::AtMostOnce => ReasonCode::Success,
            Qos::AtLeastOnce => ReasonCode::GrantedQos1,
            Qos::ExactlyOnce => ReasonCode::GrantedQos2,
        }
    }
}

/// Of which format a payload is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayloadFormat {
    /// Nothing is said.
    Bytes,
    /// UTF-8.
    Utf8,
}

/// What ties an acknowledgement to its packet, 1 to 65,535; each direction has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PacketId(NonZeroU16);

impl PacketId {
    /// The first.
    pub const FIRST: PacketId = PacketId(NonZeroU16::MIN);

    /// The id of this number; none for 0.
    pub const fn new(number: u16) -> Option<PacketId> {
        match NonZeroU16::new(number) {
            Some(number) => Some(PacketId(number)),
            None => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// The one after it; after the last, the first.
    pub const fn next(self) -> PacketId {
        match self.0.checked_add(1) {
            Some(number) => PacketId(number),
            None => PacketId::FIRST,
        }
    }
}

/// What the messages of a subscription carry if it asked for it, 1 to 268,435,455.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(u32);

impl SubscriptionId {
    /// The identifier of this number; none out of range.
    pub const fn new(number: u32) -> Option<SubscriptionId> {
        match number {
            1..=VARINT_MAX => Some(SubscriptionId(number)),
            _ => None,
        }
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// One MQTT packet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each arm is documented at its struct")]
pub enum Packet {
    Connect(Box<Connect>),
    Connack(Box<Connack>),
    Publish(Publish),
    /// Answers a QoS 1 PUBLISH.
    Puback(Ack),
    /// Answers a QoS 2 PUBLISH.
    Pubrec(Ack),
    /// Answers a PUBREC.
    Pubrel(Ack),
    /// Answers a PUBREL.
    Pubcomp(Ack),
    Subscribe(Subscribe),
    Suback(Suback),
    Unsubscribe(Unsubscribe),
    Unsuback(Unsuback),
    /// Asks for a sign of life.
    Pingreq,
    /// Gives it.
    Pingresp,
    Disconnect(Disconnect),
    Auth(Auth),
}

impl Packet {
    /// Its type.
    pub fn packet_type(&self) -> PacketType {
        match self {
            Packet::Connect(_) => PacketType::Connect,
            Packet::Connack(_) => PacketType::Connack,
            Packet::Publish(_) => PacketType::Publish,
            Packet::Puback(_) => PacketType::Puback,
            Packet::Pubrec(_) => PacketType::Pubrec,
            Packet::Pubrel(_) => PacketType::Pubrel,
            Packet::Pubcomp(_) => PacketType::Pubcomp,
            Packet::Subscribe(_) => PacketType::Subscribe,
            Packet::Suback(_) => PacketType::Suback,
            Packet::Unsubscribe(_) => PacketType::Unsubscribe,
            Packet::Unsuback(_) => PacketType::Unsuback,
            Packet::Pingreq => PacketType::Pingreq,
            Packet::Pingresp => PacketType::Pingresp,
            Packet::Disconnect(_) => PacketType::Disconnect,
            Packet::Auth(_) => PacketType::Auth,
        }
    }

    /// Takes reason string and user properties out of an answer: for a client that asked for no problem information
    /// [MQTT-3.1.2-29]. A CONNACK or DISCONNECT may keep them, and a PUBLISH must: those stay as they are.
    pub fn drop_problem_information(&mut self) {
        match self {
            Packet::Connack(_) | Packet::Disconnect(_) => {}
            _ => {
                self.drop_user_properties();
                self.drop_reason_string();
            }
        }
    }

    /// Takes the user properties out of an answer; another packet stays as it is.
    pub(super) fn drop_user_properties(&mut self) {
        let properties = match self {
            Packet::Connack(connack) => &mut connack.properties.user_properties,
            Packet::Puback(ack)
            | Packet::Pubrec(ack)
            | Packet::Pubrel(ack)
            | Packet::Pubcomp(ack) => &mut ack.properties.user_properties,
            Packet::Suback(suback) => &mut suback.properties.user_properties,
            Packet::Unsuback(unsuback) => &mut unsuback.properties.user_properties,
            Packet::Disconnect(disconnect) => &mut disconnect.properties.user_properties,
            Packet::Auth(auth) => &mut auth.properties.user_properties,
            _ => return,
        };
        properties.clear();
    }

    /// Takes the reason string out of an answer.
    pub(super) fn drop_reason_string(&mut self) {
        let reason_string = match self {
            Packet::Connack(connack) => &mut connack.properties.reason_string,
            Packet::Puback(ack)
            | Packet::Pubrec(ack)
            | Packet::Pubrel(ack)
            | Packet::Pubcomp(ack) => &mut ack.properties.reason_string,
            Packet::Suback(suback) => &mut suback.properties.reason_string,
            Packet::Unsuback(unsuback) => &mut unsuback.properties.reason_string,
            Packet::Disconnect(disconnect) => &mut disconnect.properties.reason_string,
            Packet::Auth(auth) => &mut auth.properties.reason_string,
            _ => return,
        };
        *reason_string = None;
    }
}

/// Begins a connection (§3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// The version of the protocol, for all that follows.
    pub version: Version,
    /// Whether a session that there was is dropped. In 3.x: and the one that begins ends with the connection.
    pub clean_start: bool,
    /// The longest time between two packets of the client, in seconds; 0 is any.
    pub keep_alive_secs: u16,
    /// Who it is; empty: the server makes up an identifier. See [`check_client_id`](Connect::check_client_id).
    pub client_id: Str,
    /// What to publish when the connection ends without a goodbye.
    pub will: Option<Will>,
    /// The user's name.
    pub user_name: Option<Str>,
    /// The password, or a token; in 3.x never without a user name.
    pub password: Option<Secret>,
    /// 5.0's properties.
    pub properties: ConnectProperties,
}

impl Connect {
    /// A CONNECT of this client: a clean start, no keep alive, and nothing else.
    pub fn new(version: Version, client_id: Str) -> Connect {
        Connect {
            version,
            clean_start: true,
            keep_alive_secs: 0,
            client_id,
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties::default(),
        }
    }

    /// Whether the client identifier may be as empty as it is: in 3.1.1 only with a clean session [MQTT-3.1.3-8], in
    /// 3.1 never. The decoder leaves that to the session, which answers with the error's CONNACK.
    ///
    /// # Errors
    /// [`Rule::EmptyClientId`].
    pub fn check_client_id(&self) -> Result<(), Error> {
        let allowed = match self.version {
            Version::V31 => false,
            Version::V311 => self.clean_start,
            Version::V5 => true,
        };
        if self.client_id.is_empty() && !allowed {
            return Err(Error::new(Rule::EmptyClientId, Some(self.version), false));
        }
        Ok(())
    }
}

/// What is published when a connection ends without a goodbye.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// With which QoS.
    pub qos: Qos,
    /// Whether as a retained message.
    pub retain: bool,
    /// Where.
    pub topic: Str,
    /// What, at most 65,535 bytes.
    pub payload: Bytes,
    /// 5.0's properties.
    pub properties: WillProperties,
}

/// Answers a CONNECT (§3.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connack {
    /// Whether the session goes on; not in 3.1.
    pub session_present: bool,
    /// How it went. In 3.x as [`ReasonCode::return_code`].
    pub reason: ReasonCode,
    /// 5.0's properties.
    pub properties: ConnackProperties,
}

impl Connack {
    /// A refusal.
    pub fn refused(reason: ReasonCode) -> Connack {
        Connack {
            reason,
            ..Connack::default()
        }
    }
}

/// A message (§3.3).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publish {
    /// Whether it may have been sent before; never with QoS 0.
    pub dup: bool,
    /// How it is to be acknowledged.
    pub qos: Qos,
    /// From a client: keep it for later subscribers. To a client: it was kept.
    pub retain: bool,
    /// Where it goes; empty with a topic alias that was set before.
    pub topic: Str,
    /// What its acknowledgement names; just with QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// 5.0's properties.
    pub properties: PublishProperties,
    /// The message, to the packet's end.
    pub payload: Bytes,
}

impl Publish {
    /// Whether the payload is of the format that it is said to be of: UTF-8, if that. The decoder does not look; who
    /// does, and finds that it is not, answers with [`ReasonCode::PayloadFormatInvalid`].
    pub fn has_its_format(&self) -> bool {
        self.properties.payload_format != Some(PayloadFormat::Utf8)
            || std::str::from_utf8(&self.payload).is_ok()
    }
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP (§3.4 to §3.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// That of the PUBLISH.
    pub packet_id: PacketId,
    /// How it went; always success in 3.x, which cannot tell.
    pub reason: ReasonCode,
    /// 5.0's properties.
    pub properties: AckProperties,
}

impl Ack {
    /// An acknowledgement with nothing to add.
    pub fn new(packet_id: PacketId, reason: ReasonCode) -> Ack {
        Ack {
            packet_id,
            reason,
            properties: AckProperties::default(),
        }
    }
}

/// Asks for messages (§3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// What the SUBACK names.
    pub packet_id: PacketId,
    /// For which; at least one.
    pub subscriptions: Vec<Subscription>,
    /// 5.0's properties.
    pub properties: SubscribeProperties,
}

/// One filter of a SUBSCRIBE, and how its messages are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The filter, in 5.0 perhaps `$share/NAME/FILTER`: [`parse_filter`](super::parse_filter) takes it apart.
    pub filter: Str,
    /// The highest QoS.
    pub qos: Qos,
    /// Not what this client publishes. 5.0 only, as the two that follow.
    pub no_local: bool,
    /// With RETAIN as it was published, not 0.
    pub retain_as_published: bool,
    /// Which retained messages are sent now.
    pub retain_handling: RetainHandling,
}

impl Subscription {
    /// A subscription with no options but its QoS.
    pub fn new(filter: Str, qos: Qos) -> Subscription {
        Subscription {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }
}

/// Which retained messages a subscription is sent when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// 0: all that match.
    #[default]
    Send = 0,
    /// 1: all that match, unless the subscription was there already.
    SendIfNew = 1,
    /// 2: none.
    DoNotSend = 2,
}

impl RetainHandling {
    /// The handling of this number; none for 3 and above.
    pub const fn from_u8(number: u8) -> Option<RetainHandling> {
        match number {
            0 => Some(RetainHandling::Send),
            1 => Some(RetainHandling::SendIfNew),
            2 => Some(RetainHandling::DoNotSend),
            _ => None,
        }
    }
}

/// Answers a SUBSCRIBE (§3.9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suback {
    /// That of the SUBSCRIBE.
    pub packet_id: PacketId,
    /// A code for each filter, in their order. In 3.x every failure is 0x80.
    pub reasons: Vec<ReasonCode>,
    /// 5.0's properties.
    pub properties: AckProperties,
}

/// Asks for no more messages (§3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// What the UNSUBACK names.
    pub packet_id: PacketId,
    /// Of which filters; at least one.
    pub filters: Vec<Str>,
    /// 5.0's properties.
    pub properties: UnsubscribeProperties,
}

/// Answers an UNSUBSCRIBE (§3.11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsuback {
    /// That of the UNSUBSCRIBE.
    pub packet_id: PacketId,
    /// A code for each filter, in their order; empty in 3.x, which has none.
    pub reasons: Vec<ReasonCode>,
    /// 5.0's properties.
    pub properties: AckProperties,
}

/// A goodbye (§3.14). In 3.x only a client says it, and nothing with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// 5.0's properties.
    pub properties: DisconnectProperties,
}

impl Disconnect {
    /// A goodbye with nothing to add.
    pub fn new(reason: ReasonCode) -> Disconnect {
        Disconnect {
            reason,
            ..Disconnect::default()
        }
    }
}

/// A step of an enhanced authentication (§3.15). 5.0 only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// Which step: from a client never success, from a server never to begin anew.
    pub reason: ReasonCode,
    /// Its properties.
    pub properties: AuthProperties,
}
