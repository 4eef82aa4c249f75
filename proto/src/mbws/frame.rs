//! The frames of MBWS as values: one struct a verb, one field a header field (MBWS.md §4).

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use super::Ranges;
use super::field::Verb;

/// The registered WebSocket subprotocol token (MBWS.md §1, G1).
pub const SUBPROTOCOL: &str = "MBWS.huawei.com";
/// The only protocol version there is (`open`'s `version`).
pub const VERSION: u32 = 1;

/// One MBWS frame, whichever binding carried it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each arm is documented at its struct")]
pub enum Frame {
    Open(Open),
    Opened(Opened),
    Hold(Hold),
    Send(Box<Send>),
    Consume(Consume),
    Credit(Credit),
    Settle(Settle),
    Cancel(Cancel),
    Confirm(Confirm),
    Deliver(Box<Deliver>),
    Error(ErrorFrame),
    Close(Close),
}

impl Frame {
    /// The verb as it stands in the text binding.
    pub fn verb(&self) -> &'static str {
        let verb = match self {
            Frame::Open(_) => Verb::Open,
            Frame::Opened(_) => Verb::Opened,
            Frame::Hold(_) => Verb::Hold,
            Frame::Send(_) => Verb::Send,
            Frame::Consume(_) => Verb::Consume,
            Frame::Credit(_) => Verb::Credit,
            Frame::Settle(_) => Verb::Settle,
            Frame::Cancel(_) => Verb::Cancel,
            Frame::Confirm(_) => Verb::Confirm,
            Frame::Deliver(_) => Verb::Deliver,
            Frame::Error(_) => Verb::Error,
            Frame::Close(_) => Verb::Close,
        };
        verb.name()
    }

    /// The place in the session's count of sequenced frames; none for frames that have none.
    pub fn seq(&self) -> Option<u64> {
        match self {
            Frame::Send(send) => Some(send.seq),
            Frame::Consume(consume) => Some(consume.seq),
            Frame::Settle(settle) => Some(settle.seq),
            Frame::Cancel(cancel) => cancel.seq,
            Frame::Open(_)
            | Frame::Opened(_)
            | Frame::Hold(_)
            | Frame::Credit(_)
            | Frame::Confirm(_)
            | Frame::Deliver(_)
            | Frame::Error(_)
            | Frame::Close(_) => None,
        }
    }
}

/// Start a session, or go on with one. Client to broker, the first frame of every WebSocket.
///
/// `Debug` says only whether there is a `password` or a `token`, so that a logged frame gives neither away.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Open {
    /// Protocol version; only [`VERSION`] is spoken.
    pub version: u32,
    /// Session to go on with, or the id that the client wishes for a new one (a UUID in its usual text form).
    pub session: Option<String>,
    /// Seconds that the session outlives its socket; 0: not at all.
    pub expiry: u64,
    /// A name for people: shown in listings and logs.
    pub name: Option<String>,
    /// What the client is.
    pub role: Role,
    /// Which bindings the client can read.
    pub accept: Accept,
    /// User name, for clients that cannot set `Authorization` on the upgrade.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<String>,
    /// A bearer token, instead of `user` and `password`.
    pub token: Option<String>,
    /// Seconds between pings that the client wishes; none: the broker's own.
    pub heartbeat: Option<u32>,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open")
            .field("version", &self.version)
            .field("session", &self.session)
            .field("expiry", &self.expiry)
            .field("name", &self.name)
            .field("role", &self.role)
            .field("accept", &self.accept)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("heartbeat", &self.heartbeat)
            .finish()
    }
}

/// What an opening client says it is (`role`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// A program that sends or consumes.
    #[default]
    Client,
    /// Another broker's link (MBWS.md §8).
    Broker,
}

impl Role {
    /// The word as it stands in the text binding.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Client => "client",
            Role::Broker => "broker",
        }
    }
}

/// Which bindings a client can read (`accept`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Accept {
    /// Text frames only; a body that is not UTF-8 comes as base64.
    Text,
    /// Binary frames only.
    Binary,
    /// Either; the broker answers in the binding of the message at hand.
    #[default]
    Both,
}

impl Accept {
    /// The word as it stands in the text binding.
    pub fn as_str(self) -> &'static str {
        match self {
            Accept::Text => "text",
            Accept::Binary => "binary",
            Accept::Both => "both",
        }
    }
}

/// The broker's answer to [`Open`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    /// The session's id.
    pub session: String,
    /// Whether an earlier session goes on; its consumers are then still there.
    pub resumed: bool,
    /// The last client seq that is durable; the client resends all after it.
    pub confirmed: u64,
    /// Seconds that the session outlives its socket, as granted.
    pub expiry: u64,
    /// How many sequenced frames the client may have unconfirmed.
    pub window: u32,
    /// Largest WebSocket message that the broker takes, in bytes.
    pub max_frame: u32,
    /// Seconds between pings; a peer silent for twice that is gone.
    pub heartbeat: u32,
    /// The broker's id.
    pub broker: String,
    /// Product and version, for people.
    pub server: String,
}

/// After a resume, before `credit`: what the client still has in hand, unsettled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hold {
    /// The client's name for the consumer.
    pub consumer: String,
    /// Offsets in hand; all others of that consumer are released.
    pub offsets: Ranges,
}

/// What a sender says of a message and every receiver reads again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MessageFields {
    /// The sender's id for the message; given by the broker (a UUID v7) where the sender gives none.
    pub message_id: Option<String>,
    /// Ties a reply to its request.
    pub correlation_id: Option<String>,
    /// Address that a reply should be sent to; `~NAME` is a temporary queue of the sending session.
    pub reply_to: Option<String>,
    /// Media type of the body.
    pub content_type: Option<String>,
    /// Grouping and sharding key.
    pub key: Option<String>,
    /// 0 (lowest) to 9; none: 4.
    pub priority: Option<u8>,
    /// `property.NAME` fields: the application's own, by name.
    pub properties: BTreeMap<String, String>,
}

/// A message's body, and whether it is text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// The bytes; UTF-8 if `text`.
    pub bytes: Bytes,
    /// Whether the sender sent it as text: kept as the message crosses bindings and protocols.
    pub text: bool,
}

/// Put a message to an address. Client to broker, sequenced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Send {
    /// Place in the session's count of sequenced frames, from 1.
    pub seq: u64,
    /// Where to.
    pub address: String,
    /// What receivers read again.
    pub fields: MessageFields,
    /// Milliseconds after which nobody wants it any more; none: never expires.
    pub ttl: Option<u64>,
    /// Milliseconds before it may be delivered; none: at once.
    pub delay: Option<u64>,
    /// Whether it may be lost in a crash where no durable queue takes it.
    pub transient: bool,
    /// The body.
    pub body: Body,
}

/// Start a consumer. Client to broker, sequenced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Consume {
    /// Place in the session's count of sequenced frames.
    pub seq: u64,
    /// The client's own name for the consumer, unique in its session.
    pub consumer: String,
    /// Address (or, in `topic` mode, filter) to consume from; `~NAME` is a temporary queue of this session.
    pub address: String,
    /// First credit: how many deliveries may be sent on this socket; none: 0.
    pub limit: Option<u64>,
    /// How it consumes.
    pub mode: Mode,
    /// Where `browse` and `replay` begin.
    pub from: Option<From>,
    /// Property filter.
    pub filter: Option<String>,
    /// Who settles.
    pub settle: SettleMode,
    /// Whether no other consumer may take from the queue meanwhile.
    pub exclusive: bool,
}

/// How a consumer consumes (`mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Competing consumers of one queue; each message to one of them, settled.
    #[default]
    Queue,
    /// What is sent from now on, to everybody who listens; nothing is kept.
    Topic,
    /// Look without taking.
    Browse,
    /// Read again what retention kept.
    Replay,
}

impl Mode {
    /// The word as it stands in the text binding.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Queue => "queue",
            Mode::Topic => "topic",
            Mode::Browse => "browse",
            Mode::Replay => "replay",
        }
    }
}

/// Where `browse` and `replay` begin (`from`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The oldest message there is.
    Earliest,
    /// What comes from now on.
    Latest,
    /// A queue offset.
    Offset(u64),
    /// Milliseconds since 1970 (`time:…` in text).
    Time(u64),
}

impl From {
    /// The place that stands on the wire as `text`: `earliest`, `latest`, `offset:N`, `time:MILLIS`, or a bare offset.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "earliest" => Some(From::Earliest),
            "latest" => Some(From::Latest),
            _ => match text.split_once(':') {
                None => parse_decimal(text).map(From::Offset),
                Some(("offset", offset)) => parse_decimal(offset).map(From::Offset),
                Some(("time", millis)) => parse_decimal(millis).map(From::Time),
                Some(_) => None,
            },
        }
    }
}

/// As it stands on the wire; an offset as `offset:N`.
impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            From::Earliest => f.write_str("earliest"),
            From::Latest => f.write_str("latest"),
            From::Offset(offset) => write!(f, "offset:{offset}"),
            From::Time(millis) => write!(f, "time:{millis}"),
        }
    }
}

/// A number written in decimal digits only; none for a sign, a blank, nothing at all, or more than 64 bits.
pub(super) fn parse_decimal(text: &str) -> Option<u64> {
    // `u64::from_str` would take a leading plus.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Who settles a consumer's deliveries (`settle` of [`Consume`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SettleMode {
    /// The client, with `settle`.
    #[default]
    Explicit,
    /// The broker, as it sends.
    Auto,
}

impl SettleMode {
    /// The word as it stands in the text binding.
    pub fn as_str(self) -> &'static str {
        match self {
            SettleMode::Explicit => "explicit",
            SettleMode::Auto => "auto",
        }
    }
}

/// Set how many deliveries a consumer may have been sent on this socket, in all. Client to broker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credit {
    /// The client's name for the consumer.
    pub consumer: String,
    /// The absolute count; never a delta, so a resend is harmless.
    pub limit: u64,
}

/// Settle deliveries. Client to broker, sequenced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settle {
    /// Place in the session's count of sequenced frames.
    pub seq: u64,
    /// The client's name for the consumer.
    pub consumer: String,
    /// Gone for good.
    pub accepted: Ranges,
    /// Back on the queue, counted as a failed attempt.
    pub released: Ranges,
    /// To the dead-letter address.
    pub rejected: Ranges,
    /// Milliseconds before what is `released` may be delivered again.
    pub delay: Option<u64>,
    /// Why it was rejected or released.
    pub reason: Option<String>,
}

/// End a consumer. From the client it is sequenced; from the broker `seq` is none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cancel {
    /// Place in the session's count of sequenced frames (client to broker only).
    pub seq: Option<u64>,
    /// The client's name for the consumer.
    pub consumer: String,
    /// Why, for programs (broker to client).
    pub code: Option<Code>,
    /// Why, for people.
    pub reason: Option<String>,
}

/// All sequenced frames up to `upto` are applied and durable, bar `failed`. Broker to client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confirm {
    /// The last seq covered.
    pub upto: u64,
    /// Those not applied, ascending by seq, each with why.
    pub failed: Vec<(u64, Code)>,
}

/// A message for a consumer. Broker to client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deliver {
    /// The client's name for the consumer.
    pub consumer: String,
    /// The address that it was sent to.
    pub address: String,
    /// Its place in the queue; never changes over redeliveries, sessions and crashes.
    pub offset: u64,
    /// 1 for the first delivery, more for later ones.
    pub attempt: u32,
    /// When the broker took it, in milliseconds since 1970.
    pub timestamp: u64,
    /// Milliseconds it has left to live; none: for ever.
    pub ttl: Option<u64>,
    /// The sender's fields.
    pub fields: MessageFields,
    /// The body.
    pub body: Body,
}

/// A fatal error; a WebSocket close follows. Broker to client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorFrame {
    /// What, for programs.
    pub code: Code,
    /// What, for people, and what to do about it.
    pub reason: String,
}

impl Default for ErrorFrame {
    /// `internal`, without a reason.
    fn default() -> Self {
        ErrorFrame {
            code: Code::Internal,
            reason: String::new(),
        }
    }
}

/// Orderly end. From the client: the session ends at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Close {
    /// Why, for people.
    pub reason: Option<String>,
}

/// Every code that a `confirm`, `cancel` or `error` may carry (MBWS.md §4.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each is described in the table of MBWS.md §4.6"
)]
pub enum Code {
    // Of one frame; the session goes on.
    NoRoute,
    Denied,
    Full,
    TooLarge,
    Expired,
    BadAddress,
    BadFilter,
    NoSuchConsumer,
    NoSuchDelivery,
    Rate,
    /// A field asks for something that this broker does not do (yet).
    Unsupported,
    /// The session has a consumer of that name, or the queue is taken exclusively.
    InUse,
    // Fatal.
    Protocol,
    NotUtf8,
    Unauthorized,
    TooBig,
    Gap,
    TakenOver,
    NoSession,
    ShuttingDown,
    Internal,
}

impl Code {
    /// All codes, in the order of MBWS.md §4.6, `denied` once.
    pub const ALL: [Code; 21] = [
        Code::NoRoute,
        Code::Denied,
        Code::Full,
        Code::TooLarge,
        Code::Expired,
        Code::BadAddress,
        Code::BadFilter,
        Code::NoSuchConsumer,
        Code::NoSuchDelivery,
        Code::Rate,
        Code::Unsupported,
        Code::InUse,
        Code::Protocol,
        Code::NotUtf8,
        Code::Unauthorized,
        Code::TooBig,
        Code::Gap,
        Code::TakenOver,
        Code::NoSession,
        Code::ShuttingDown,
        Code::Internal,
    ];

    /// The code as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::NoRoute => "no-route",
            Code::Denied => "denied",
            Code::Full => "full",
            Code::TooLarge => "too-large",
            Code::Expired => "expired",
            Code::BadAddress => "bad-address",
            Code::BadFilter => "bad-filter",
            Code::NoSuchConsumer => "no-such-consumer",
            Code::NoSuchDelivery => "no-such-delivery",
            Code::Rate => "rate",
            Code::Unsupported => "unsupported",
            Code::InUse => "in-use",
            Code::Protocol => "protocol",
            Code::NotUtf8 => "not-utf8",
            Code::Unauthorized => "unauthorized",
            Code::TooBig => "too-big",
            Code::Gap => "gap",
            Code::TakenOver => "taken-over",
            Code::NoSession => "no-session",
            Code::ShuttingDown => "shutting-down",
            Code::Internal => "internal",
        }
    }

    /// The code that stands on the wire as `text`.
    pub fn parse(text: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// The WebSocket close code that follows an `error` of this code; none for codes that end no socket.
    pub fn close_code(self) -> Option<u16> {
        match self {
            Code::Protocol => Some(1002),
            Code::NotUtf8 => Some(1007),
            Code::Unauthorized => Some(4401),
            Code::Denied => Some(4403),
            Code::TooBig => Some(1009),
            Code::Gap => Some(4409),
            Code::TakenOver => Some(4410),
            Code::NoSession => Some(4404),
            Code::ShuttingDown => Some(1001),
            Code::Internal => Some(1011),
            Code::NoRoute
            | Code::Full
            | Code::TooLarge
            | Code::Expired
            | Code::BadAddress
            | Code::BadFilter
            | Code::NoSuchConsumer
            | Code::NoSuchDelivery
            | Code::Rate
            | Code::Unsupported
            | Code::InUse => None,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
