//! The rules that one packet can break, and how that is answered (MQTT 5.0 §4.13, 3.1.1 §4.8).

use std::fmt;

use super::{Connack, Disconnect, PacketType, ReasonCode, Version};

/// Declares the rules: name, reason code, normative id in 3.1.1 and in 5.0, and a sentence. Where a standard gives no
/// id, the section stands in its place; `-` is a rule that a version does not have.
macro_rules! rules {
    ($($rule:ident $reason:ident $v3:literal $v5:literal $text:literal,)*) => {
        /// A rule that can be judged by one packet alone. [`Error`] says which was broken, in which version.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Rule {
            $(#[doc = concat!("Broken: ", $text, ".")] $rule,)*
        }

        impl Rule {
            /// Every rule there is.
            pub const ALL: &[Rule] = &[$(Rule::$rule,)*];

            /// What a packet that breaks it is, in 5.0's words.
            pub const fn reason(self) -> ReasonCode {
                match self { $(Rule::$rule => ReasonCode::$reason,)* }
            }

            /// What is wrong with a packet that breaks it; a clause in lower case.
            pub const fn text(self) -> &'static str {
                match self { $(Rule::$rule => $text,)* }
            }

            /// Its normative id, as `MQTT-3.3.1-4`, or its section where the standard has no id, as `§4.1`. None: the
            /// version has no such rule. For MQTT 3.1, which has no ids, those of 3.1.1.
            pub const fn id(self, version: Version) -> Option<&'static str> {
                let (v3, v5) = match self { $(Rule::$rule => ($v3, $v5),)* };
                let id = match version {
                    Version::V31 | Version::V311 => v3,
                    Version::V5 => v5,
                };
                match id.as_bytes() { b"-" => None, _ => Some(id) }
            }
        }
    };
}

rules! {
    // The fixed header.
    PacketTypeReserved MalformedPacket "§2.2.1" "§2.1.2" "the packet type is reserved",
    ReservedFlags MalformedPacket "MQTT-2.2.2-2" "MQTT-2.1.3-1" "a reserved flag of the fixed header is set",
    PubrelFlags MalformedPacket "MQTT-3.6.1-1" "MQTT-3.6.1-1" "the flags of a PUBREL are not 0010",
    SubscribeFlags MalformedPacket "MQTT-3.8.1-1" "MQTT-3.8.1-1" "the flags of a SUBSCRIBE are not 0010",
    UnsubscribeFlags MalformedPacket "MQTT-3.10.1-1" "MQTT-3.10.1-1" "the flags of an UNSUBSCRIBE are not 0010",
    DisconnectFlags MalformedPacket "MQTT-3.14.1-1" "MQTT-3.14.1-1" "the flags of a DISCONNECT are not 0000",
    AuthFlags MalformedPacket "-" "MQTT-3.15.1-1" "the flags of an AUTH are not 0000",
    QosThree MalformedPacket "MQTT-3.3.1-4" "MQTT-3.3.1-4" "both QoS bits of a PUBLISH are set",
    DupWithoutQos MalformedPacket "MQTT-3.3.1-2" "MQTT-3.3.1-2" "a PUBLISH of QoS 0 has DUP set",
    LengthTooLong MalformedPacket "§2.2.3" "§1.5.5" "a variable byte integer has more than four bytes",
    LengthNotMinimal MalformedPacket "-" "MQTT-1.5.5-1" "a variable byte integer has more bytes than it needs",
    PacketTooLarge PacketTooLarge "§4.8" "MQTT-3.2.2-15" "the packet is larger than the maximum",
    WrongDirection ProtocolError "§2.2.1" "§2.1.2" "a packet of this type does not go this way",
    NotConnectFirst ProtocolError "MQTT-3.1.0-1" "MQTT-3.1.0-1" "the first packet is not a CONNECT",
    SecondConnect ProtocolError "MQTT-3.1.0-2" "MQTT-3.1.0-2" "there was a CONNECT already",

    // What fields are made of.
    Truncated MalformedPacket "§4.8" "§4.13.1" "the packet ends within a field",
    TrailingBytes MalformedPacket "§4.8" "§4.13.1" "there are bytes behind the packet's last field",
    NotUtf8 MalformedPacket "MQTT-1.5.3-1" "MQTT-1.5.4-1" "a string is not utf-8",
    NulInString MalformedPacket "MQTT-1.5.3-2" "MQTT-1.5.4-2" "a string has a U+0000",
    PacketIdZero ProtocolError "MQTT-2.3.1-1" "MQTT-2.2.1-3" "the packet id is 0",

    // CONNECT.
    ProtocolName UnsupportedVersion "MQTT-3.1.2-1" "MQTT-3.1.2-1" "the protocol name is not that of MQTT",
    UnsupportedVersion UnsupportedVersion "MQTT-3.1.2-2" "MQTT-3.1.2-2" "the protocol version is not spoken here",
    ConnectReservedFlag MalformedPacket "MQTT-3.1.2-3" "MQTT-3.1.2-3" "the reserved flag of a CONNECT is set",
    WillQosThree MalformedPacket "MQTT-3.1.2-14" "MQTT-3.1.2-12" "the will QoS is 3",
    WillQosWithoutWill MalformedPacket "MQTT-3.1.2-13" "MQTT-3.1.2-11" "there is a will QoS, and no will",
    WillRetainWithoutWill MalformedPacket "MQTT-3.1.2-15" "MQTT-3.1.2-13" "will retain is set, and there is no will",
    PasswordWithoutUserName MalformedPacket "MQTT-3.1.2-22" "-" "there is a password, and no user name",
    EmptyClientId ClientIdNotValid "MQTT-3.1.3-8" "-" "the client identifier is empty, and the session is not clean",
    AuthenticationDataWithoutMethod ProtocolError "-" "§3.1.2.11.10" "there is authentication data, and no method",

    // CONNACK.
    ConnackFlags MalformedPacket "§3.2.2.1" "MQTT-3.2.2-1" "a reserved flag of a CONNACK is set",
    ConnackReason ProtocolError "§3.2.2.3" "MQTT-3.2.2-8" "the code is none of a CONNACK",
    SessionPresentOnRefusal ProtocolError "MQTT-3.2.2-4" "MQTT-3.2.2-6" "session present is set on a refusal",

    // Topics and filters.
    WildcardInTopic MalformedPacket "MQTT-3.3.2-2" "MQTT-3.3.2-2" "a topic name has a wildcard",
    EmptyTopic ProtocolError "MQTT-4.7.3-1" "§3.3.2.1" "the topic is empty, and there is no alias",
    EmptyTopicName MalformedPacket "MQTT-4.7.3-1" "MQTT-4.7.3-1" "a topic or filter is empty",
    WildcardInResponseTopic MalformedPacket "-" "MQTT-3.3.2-14" "the response topic has a wildcard",
    TopicTooLong TopicNameInvalid "§4.7.3" "§4.7.3" "a topic is longer than is taken here",
    TopicTooDeep TopicNameInvalid "§4.7.3" "§4.7.3" "a topic has more levels than are taken here",
    FilterTooLong TopicFilterInvalid "§4.7.3" "§4.7.3" "a filter is longer than is taken here",
    FilterTooDeep TopicFilterInvalid "§4.7.3" "§4.7.3" "a filter has more levels than are taken here",
    MultiLevelWildcard MalformedPacket "MQTT-4.7.1-2" "MQTT-4.7.1-1" "a filter has a # that is not its last level",
    SingleLevelWildcard MalformedPacket "MQTT-4.7.1-3" "MQTT-4.7.1-2" "a filter has a + that is not a whole level",
    ShareNameEmpty MalformedPacket "-" "MQTT-4.8.2-1" "a shared subscription has no share name",
    ShareNameInvalid MalformedPacket "-" "MQTT-4.8.2-2" "a share name has a wildcard, or no filter behind it",

    // PUBLISH and its acknowledgements.
    SubscriptionIdFromClient ProtocolError "-" "MQTT-3.3.4-6" "a client's PUBLISH has a subscription identifier",
    TopicAliasZero TopicAliasInvalid "-" "MQTT-3.3.2-8" "the topic alias is 0",
    PubackReason ProtocolError "-" "MQTT-3.4.2-1" "the code is none of a PUBACK",
    PubrecReason ProtocolError "-" "MQTT-3.5.2-1" "the code is none of a PUBREC",
    PubrelReason ProtocolError "-" "MQTT-3.6.2-1" "the code is none of a PUBREL",
    PubcompReason ProtocolError "-" "MQTT-3.7.2-1" "the code is none of a PUBCOMP",

    // SUBSCRIBE, UNSUBSCRIBE and theirs.
    NoFilterInSubscribe ProtocolError "MQTT-3.8.3-3" "MQTT-3.8.3-2" "a SUBSCRIBE has no filter",
    NoFilterInUnsubscribe ProtocolError "MQTT-3.10.3-2" "MQTT-3.10.3-2" "an UNSUBSCRIBE has no filter",
    TooManyFilters QuotaExceeded "§4.8" "§4.13.1" "there are more filters than are taken in one packet",
    SubscribeOptionsReserved MalformedPacket "MQTT-3.8.3-4" "MQTT-3.8.3-5" "reserved bits of a subscription are set",
    SubscribeQosThree ProtocolError "MQTT-3.8.3-4" "§3.8.3.1" "the QoS of a subscription is 3",
    RetainHandlingThree ProtocolError "-" "§3.8.3.1" "the retain handling of a subscription is 3",
    NoLocalOnShared ProtocolError "-" "MQTT-3.8.3-4" "no local is set on a shared subscription",
    SubscriptionIdZero ProtocolError "-" "§3.8.2.1.2" "the subscription identifier is 0",
    SubackReason ProtocolError "MQTT-3.9.3-2" "MQTT-3.9.3-2" "a code is none of a SUBACK",
    UnsubackReason ProtocolError "-" "MQTT-3.11.3-2" "a code is none of an UNSUBACK",
    NoReason MalformedPacket "§3.9.3" "§3.9.3" "there is no code for any filter",

    // DISCONNECT and AUTH.
    DisconnectReason ProtocolError "-" "MQTT-3.14.2-1" "the code is none of a DISCONNECT",
    SessionExpiryFromServer ProtocolError "-" "MQTT-3.14.2-2" "a server's DISCONNECT has a session expiry",
    AuthReason ProtocolError "-" "MQTT-3.15.2-1" "the code is none of an AUTH that goes this way",
    AuthWithoutMethod ProtocolError "-" "§3.15.2.2.2" "an AUTH has no authentication method",

    // Properties.
    UnknownProperty MalformedPacket "-" "§2.2.2.2" "there is no property of this identifier",
    PropertyNotAllowed MalformedPacket "-" "§2.2.2.2" "this property may not be in this packet",
    PropertyRepeated ProtocolError "-" "§2.2.2.2" "a property that may be given once is there again",
    PropertiesTooLong QuotaExceeded "-" "§4.13.1" "the properties are longer than is taken here",
    TooManyProperties QuotaExceeded "-" "§4.13.1" "there are more properties than are taken here",
    FlagNotBoolean ProtocolError "-" "§3.1.2.11" "a property is neither 0 nor 1",
    MaximumQosInvalid ProtocolError "-" "§3.2.2.3.4" "the maximum QoS is neither 0 nor 1",
    ReceiveMaximumZero ProtocolError "-" "§3.1.2.11.3" "the receive maximum is 0",
    MaximumPacketSizeZero ProtocolError "-" "§3.1.2.11.4" "the maximum packet size is 0",
}

/// A packet that breaks a rule. Whoever decoded it answers, if there is an answer, and closes the connection: what
/// follows in the stream is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    rule: Rule,
    version: Option<Version>,
    admitted: bool,
}

impl Error {
    pub(super) fn new(rule: Rule, version: Option<Version>, admitted: bool) -> Error {
        Error {
            rule,
            version,
            admitted,
        }
    }

    /// Which rule.
    pub fn rule(&self) -> Rule {
        self.rule
    }

    /// The version that the peer speaks, as far as it was known.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// The rule's normative id in the peer's version; in 5.0 if that is not known. See [`Rule::id`].
    pub fn id(&self) -> &'static str {
        let version = self.version.unwrap_or(Version::V5);
        self.rule
            .id(version)
            .or_else(|| self.rule.id(Version::V5))
            .or_else(|| self.rule.id(Version::V311))
            .unwrap_or_default()
    }

    /// What 5.0 calls it.
    pub fn reason(&self) -> ReasonCode {
        self.rule.reason()
    }

    /// How it is answered before the connection closes, in which version's form, as long as no CONNECT was accepted.
    /// None: by closing alone, as 3.1.1 wants in all but two cases [MQTT-3.1.4-1], and as suits a peer whose version
    /// was not seen.
    pub fn connack(&self) -> Option<(Version, Connack)> {
        let version = self.version.filter(|_| !self.admitted)?;
        let answered = version == Version::V5
            || matches!(self.rule, Rule::UnsupportedVersion | Rule::EmptyClientId);
        answered.then(|| {
            (
                version,
                Connack::refused(self.reason_in(PacketType::Connack)),
            )
        })
    }

    /// How it is answered before the connection closes, once a CONNECT was accepted [MQTT-3.14.0-1]. None: 3.x has
    /// no such answer.
    pub fn disconnect(&self) -> Option<Disconnect> {
        let answered = self.version == Some(Version::V5) && self.admitted;
        answered.then(|| Disconnect::new(self.reason_in(PacketType::Disconnect)))
    }

    /// The reason, or the general one if that packet may not carry it.
    fn reason_in(&self, packet: PacketType) -> ReasonCode {
        if self.reason().fits(packet) {
            self.reason()
        } else {
            ReasonCode::ProtocolError
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.rule.text(), self.id())
    }
}

impl std::error::Error for Error {}
