//! Reason codes: what an acknowledgement or a goodbye says of how it went (MQTT 5.0 §2.4).

use super::PacketType;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal,)*) => {
        /// A reason code of MQTT 5.0. The return codes of 3.1 and 3.1.1 are [`return_code`](ReasonCode::return_code) and
        /// [`from_return_code`](ReasonCode::from_return_code).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
        #[repr(u8)]
        pub enum ReasonCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl ReasonCode {
            /// Every code there is, by number.
            pub const ALL: &[ReasonCode] = &[$(ReasonCode::$name,)*];

            /// The code of this number.
            pub const fn from_u8(number: u8) -> Option<ReasonCode> {
                match number { $($number => Some(ReasonCode::$name),)* _ => None }
            }

            /// What it means, in a few words: for logs.
            pub const fn text(self) -> &'static str {
                match self { $(ReasonCode::$name => $text,)* }
            }
        }
    };
}

reason_codes! {
    /// Done; in SUBACK: QoS 0 is granted; in DISCONNECT: a goodbye that deletes the will.
    #[default]
    Success = 0x00 "success",
    /// QoS 1 is granted.
    GrantedQos1 = 0x01 "granted QoS 1",
    /// QoS 2 is granted.
    GrantedQos2 = 0x02 "granted QoS 2",
    /// A goodbye whose will is to be published.
    DisconnectWithWill = 0x04 "disconnect with will message",
    /// Taken, and nobody subscribes.
    NoMatchingSubscribers = 0x10 "no matching subscribers",
    /// There was no such subscription to end.
    NoSubscriptionExisted = 0x11 "no subscription existed",
    /// Another step of an authentication.
    ContinueAuthentication = 0x18 "continue authentication",
    /// An authentication anew.
    Reauthenticate = 0x19 "re-authenticate",
    /// Refused, and why is not told; the one failure of a 3.1.1 SUBACK.
    Unspecified = 0x80 "unspecified error",
    /// Bytes that cannot be read as a packet.
    MalformedPacket = 0x81 "malformed packet",
    /// A packet that may not be sent so, or not now.
    ProtocolError = 0x82 "protocol error",
    /// Valid, and not taken by this server.
    ImplementationSpecific = 0x83 "implementation specific error",
    /// A version of MQTT that the server does not speak.
    UnsupportedVersion = 0x84 "unsupported protocol version",
    /// A client identifier that the server does not take.
    ClientIdNotValid = 0x85 "client identifier not valid",
    /// User name or password.
    BadUserNameOrPassword = 0x86 "bad user name or password",
    /// Not allowed to.
    NotAuthorized = 0x87 "not authorized",
    /// The server is not there for now.
    ServerUnavailable = 0x88 "server unavailable",
    /// Try again later.
    ServerBusy = 0x89 "server busy",
    /// An administrator keeps this client out.
    Banned = 0x8A "banned",
    /// The server ends.
    ServerShuttingDown = 0x8B "server shutting down",
    /// A method of authentication that is not known, or not the one begun with.
    BadAuthenticationMethod = 0x8C "bad authentication method",
    /// No packet for one and a half times the keep alive.
    KeepAliveTimeout = 0x8D "keep alive timeout",
    /// Another connection has come for this session.
    SessionTakenOver = 0x8E "session taken over",
    /// A filter that is well formed, and not taken.
    TopicFilterInvalid = 0x8F "topic filter invalid",
    /// A topic that is well formed, and not taken.
    TopicNameInvalid = 0x90 "topic name invalid",
    /// The packet id is taken.
    PacketIdInUse = 0x91 "packet identifier in use",
    /// The packet id is not known.
    PacketIdNotFound = 0x92 "packet identifier not found",
    /// More in flight than was announced.
    ReceiveMaximumExceeded = 0x93 "receive maximum exceeded",
    /// An alias of 0, above the maximum, or never set.
    TopicAliasInvalid = 0x94 "topic alias invalid",
    /// A packet above the maximum.
    PacketTooLarge = 0x95 "packet too large",
    /// Too many messages in a time.
    MessageRateTooHigh = 0x96 "message rate too high",
    /// A limit of the server's.
    QuotaExceeded = 0x97 "quota exceeded",
    /// By an administrator.
    AdministrativeAction = 0x98 "administrative action",
    /// The payload is not of the format that it is said to be of.
    PayloadFormatInvalid = 0x99 "payload format invalid",
    /// No retained messages here.
    RetainNotSupported = 0x9A "retain not supported",
    /// Not with this QoS.
    QosNotSupported = 0x9B "QoS not supported",
    /// For now, another server.
    UseAnotherServer = 0x9C "use another server",
    /// From now on, another server.
    ServerMoved = 0x9D "server moved",
    /// No shared subscriptions here.
    SharedSubscriptionsNotSupported = 0x9E "shared subscriptions not supported",
    /// Too many connections in a time.
    ConnectionRateExceeded = 0x9F "connection rate exceeded",
    /// As long as was allowed.
    MaximumConnectTime = 0xA0 "maximum connect time",
    /// No subscription identifiers here.
    SubscriptionIdsNotSupported = 0xA1 "subscription identifiers not supported",
    /// No wildcards here.
    WildcardSubscriptionsNotSupported = 0xA2 "wildcard subscriptions not supported",
}

impl ReasonCode {
    /// Its number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// Whether it says that something failed: 0x80 or above.
    pub const fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// The CONNACK return code of 3.1 and 3.1.1 that comes nearest, 0 to 5.
    pub const fn return_code(self) -> u8 {
        match self {
            ReasonCode::UnsupportedVersion => 1,
            ReasonCode::ClientIdNotValid => 2,
            ReasonCode::BadUserNameOrPassword => 4,
            ReasonCode::NotAuthorized
            | ReasonCode::Banned
            | ReasonCode::BadAuthenticationMethod => 5,
            _ if self.is_error() => 3,
            _ => 0,
        }
    }

    /// What a CONNACK return code of 3.1 or 3.1.1 is called in 5.0.
    pub const fn from_return_code(number: u8) -> Option<ReasonCode> {
        match number {
            0 => Some(ReasonCode::Success),
            1 => Some(ReasonCode::UnsupportedVersion),
            2 => Some(ReasonCode::ClientIdNotValid),
            3 => Some(ReasonCode::ServerUnavailable),
            4 => Some(ReasonCode::BadUserNameOrPassword),
            5 => Some(ReasonCode::NotAuthorized),
            _ => None,
        }
    }

    /// Whether a packet of this type may carry it in 5.0 (the tables of §3.2.2.2 to §3.15.2.1).
    pub const fn fits(self, packet: PacketType) -> bool {
        use ReasonCode as R;
        match packet {
            PacketType::Connack => matches!(
                self,
                R::Success
                    | R::Unspecified
                    | R::MalformedPacket
                    | R::ProtocolError
                    | R::ImplementationSpecific
                    | R::UnsupportedVersion
                    | R::ClientIdNotValid
                    | R::BadUserNameOrPassword
                    | R::NotAuthorized
                    | R::ServerUnavailable
                    | R::ServerBusy
                    | R::Banned
                    | R::BadAuthenticationMethod
                    | R::TopicNameInvalid
                    | R::PacketTooLarge
                    | R::QuotaExceeded
                    | R::PayloadFormatInvalid
                    | R::RetainNotSupported
                    | R::QosNotSupported
                    | R::UseAnotherServer
                    | R::ServerMoved
                    | R::ConnectionRateExceeded
            ),
            PacketType::Puback | PacketType::Pubrec => matches!(
                self,
                R::Success
                    | R::NoMatchingSubscribers
                    | R::Unspecified
                    | R::ImplementationSpecific
                    | R::NotAuthorized
                    | R::TopicNameInvalid
                    | R::PacketIdInUse
                    | R::QuotaExceeded
                    | R::PayloadFormatInvalid
            ),
            PacketType::Pubrel | PacketType::Pubcomp => {
                matches!(self, R::Success | R::PacketIdNotFound)
            }
            PacketType::Suback => matches!(
                self,
                R::Success
                    | R::GrantedQos1
                    | R::GrantedQos2
                    | R::Unspecified
                    | R::ImplementationSpecific
                    | R::NotAuthorized
                    | R::TopicFilterInvalid
                    | R::PacketIdInUse
                    | R::QuotaExceeded
                    | R::SharedSubscriptionsNotSupported
                    | R::SubscriptionIdsNotSupported
                    | R::WildcardSubscriptionsNotSupported
            ),
            PacketType::Unsuback => matches!(
                self,
                R::Success
                    | R::NoSubscriptionExisted
                    | R::Unspecified
                    | R::ImplementationSpecific
                    | R::NotAuthorized
                    | R::TopicFilterInvalid
                    | R::PacketIdInUse
            ),
            PacketType::Disconnect => matches!(
                self,
                R::Success
                    | R::DisconnectWithWill
                    | R::Unspecified
                    | R::MalformedPacket
                    | R::ProtocolError
                    | R::ImplementationSpecific
                    | R::NotAuthorized
                    | R::ServerBusy
                    | R::ServerShuttingDown
                    | R::BadAuthenticationMethod
                    | R::KeepAliveTimeout
                    | R::SessionTakenOver
                    | R::TopicFilterInvalid
                    | R::TopicNameInvalid
                    | R::ReceiveMaximumExceeded
                    | R::TopicAliasInvalid
                    | R::PacketTooLarge
                    | R::MessageRateTooHigh
                    | R::QuotaExceeded
                    | R::AdministrativeAction
                    | R::PayloadFormatInvalid
                    | R::RetainNotSupported
                    | R::QosNotSupported
                    | R::UseAnotherServer
                    | R::ServerMoved
                    | R::SharedSubscriptionsNotSupported
                    | R::ConnectionRateExceeded
                    | R::MaximumConnectTime
                    | R::SubscriptionIdsNotSupported
                    | R::WildcardSubscriptionsNotSupported
            ),
            PacketType::Auth => matches!(
                self,
                R::Success | R::ContinueAuthentication | R::Reauthenticate
            ),
            PacketType::Connect
            | PacketType::Publish
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::Pingreq
            | PacketType::Pingresp => false,
        }
    }
}

impl std::fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "0x{:02X} {}", self.as_u8(), self.text())
    }
}
