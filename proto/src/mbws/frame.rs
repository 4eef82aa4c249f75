//! The frames of MBWS as values: one struct a verb, one field a header field (MBWS.md §4).

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

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

/// Start a session, or go on with one. Client to broker, the first frame of every WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

/// What an opening client says it is (`role`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// A program that sends or consumes.
    #[default]
    Client,
    /// Another broker's link (MBWS.md §8).
    Broker,
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

/// Who settles a consumer's deliveries (`settle` of [`Consume`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SettleMode {
    /// The client, with `settle`.
    #[default]
    Explicit,
    /// The broker, as it sends.
    Auto,
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

/// Orderly end. From the client: the session ends at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Close {
    /// Why, for people.
    pub reason: Option<String>,
}

/// Every code that a `confirm`, `cancel` or `error` may carry (MBWS.md §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each is described in the table of `Code::ALL`'s documentation, MBWS.md §4"
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
    /// All codes, in the order of MBWS.md §4.
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

/// Ascending, disjoint, non-adjacent ranges of numbers, both ends included: `1-5 7` in text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// No numbers at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is no number in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending, both ends included.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// How many ranges there are.
    pub fn n_ranges(&self) -> usize {
        self.0.len()
    }

    /// How many numbers there are (saturating).
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, (first, last)| {
            sum.saturating_add(last - first).saturating_add(1)
        })
    }

    /// Whether `number` is in it.
    pub fn contains(&self, number: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after
            .checked_sub(1)
            .and_then(|at| self.0.get(at))
            .is_some_and(|(_, last)| number <= *last)
    }

    /// Adds `number`, which may lie anywhere.
    pub fn insert(&mut self, number: u64) {
        self.insert_range(number, number);
    }

    /// Adds all from `first` to `last`, both included; nothing if `first` > `last`.
    pub fn insert_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let begin = self.0.partition_point(|(_, l)| l.saturating_add(1) < first);
        let end = self
            .0
            .partition_point(|(f, _)| *f <= last.saturating_add(1));
        let merged = self
            .0
            .get(begin..end)
            .unwrap_or_default()
            .iter()
            .fold((first, last), |(lo, hi), (f, l)| (lo.min(*f), hi.max(*l)));
        self.0.splice(begin..end, [merged]);
    }

    /// Takes `first` to `last`, both included, out; says how many of them were in it.
    pub fn remove_range(&mut self, first: u64, last: u64) -> u64 {
        let begin = self.0.partition_point(|(_, l)| *l < first);
        let end = self.0.partition_point(|(f, _)| *f <= last);
        if begin >= end {
            return 0;
        }
        let mut removed: u64 = 0;
        let mut left = Vec::new();
        for (f, l) in self.0.get(begin..end).unwrap_or_default() {
            let (cut_first, cut_last) = ((*f).max(first), (*l).min(last));
            removed = removed
                .saturating_add(cut_last - cut_first)
                .saturating_add(1);
            if *f < first {
                left.push((*f, first - 1));
            }
            if *l > last {
                left.push((last + 1, *l));
            }
        }
        self.0.splice(begin..end, left);
        removed
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut ranges = Ranges::new();
        for number in numbers {
            ranges.insert(number);
        }
        ranges
    }
}
