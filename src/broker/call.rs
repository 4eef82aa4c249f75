//! What a session asks of the broker, and what it hears back: the same words for every protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use restante_proto::mbws::Ranges;
use restante_proto::sp::Role;
use restante_storage::payload;
use thiserror::Error;
use uuid::Uuid;

use super::wamp::WampTold;
pub use crate::engine::{OWN_CONSUMER, shared_consumer};
use crate::message::{NewMessage, SharedMessage};
use crate::refusal::Refusal;
use crate::router::{Features, ShardKey};

/// Who connects, and how.
#[derive(Debug, Clone)]
pub struct Attach {
    /// Who it is, as authenticated.
    pub principal: crate::access::Principal,
    /// The realm it works in.
    pub realm: Arc<str>,
    /// The protocol, for listings, metrics and logs.
    pub protocol: Protocol,
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// Whether the socket is encrypted.
    pub tls: bool,
    /// The session it wants.
    pub session: SessionWish,
    /// A name for people.
    pub name: Option<String>,
    /// The client's id, where its protocol has one (MQTT): for rules with `${client}`, for listings, and for take-over: the
    /// session's id follows from it and the realm, whatever [`SessionWish::id`] says.
    pub client: Option<Arc<str>>,
    /// What is to be published when it is gone without a goodbye (MQTT); such a client has a session in the log, even if that ends
    /// with its socket.
    pub will: Option<Box<NewWill>>,
    /// Who it is to other WAMP clients; always there for [`Protocol::Wamp`], for no other.
    pub wamp: Option<Box<WampClient>>,
    /// What it is and where, for listings; there for [`Protocol::Sp`] only.
    pub sp: Option<Box<SpClient>>,
    /// When it asked. Of two MQTT clients with one id, who asked later has the session, however long it took to know them.
    pub asked: Instant,
}

/// An SP client: its token and its path say all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpClient {
    /// What it is.
    pub role: Role,
    /// The address that it is connected to.
    pub address: Arc<str>,
}

/// A WAMP client, as others of its realm may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WampClient {
    /// The session's id: random, 1 to 2^53.
    pub session: u64,
    /// Who it is: its principal's name, or if that is nobody's, one that no other session has.
    pub authid: Arc<str>,
    /// The role that it goes by among those that it has.
    pub authrole: Arc<str>,
    /// How it was known: `ticket`, `wampcra` and so on.
    pub authmethod: &'static str,
    /// Who has known it.
    pub authprovider: &'static str,
    /// How it is connected: `websocket` and so on, and the serializer.
    pub transport: &'static str,
    /// See before.
    pub serializer: &'static str,
    /// The features that it has announced.
    pub features: Features,
}

/// A will that a client leaves with the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWill {
    /// The message.
    pub message: NewMessage,
    /// How long after the connection's end it is published. The session's end comes first.
    pub delay: Duration,
}

/// The door that a client came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// MBWS over WebSocket.
    Mbws,
    /// MQTT 3.1.1 or 5.0, over TCP or WebSocket.
    Mqtt,
    /// WAMP over WebSocket, RawSocket or HTTP long-poll.
    Wamp,
    /// A scalability protocol of nanomsg and nng, over WebSocket.
    Sp,
    /// A message published over the admin API.
    Rest,
}

impl Protocol {
    /// The name used in metrics, listings and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Mbws => "mbws",
            Protocol::Mqtt => "mqtt",
            Protocol::Wamp => "wamp",
            Protocol::Sp => "sp",
            Protocol::Rest => "rest",
        }
    }
}

/// The session that a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionWish {
    /// The session to go on with, or the id wished for a new one.
    pub id: Option<Uuid>,
    /// How long it is to outlive its socket; zero: not at all. Cut to the configured maximum.
    pub expiry: Duration,
    /// Whether a session that is there ends first, so that this one begins with nothing (MQTT's clean start).
    pub fresh: bool,
}

/// What [`attach`](super::Broker::attach) gives beside the attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The session's id.
    pub session: Uuid,
    /// Whether an earlier session goes on.
    pub resumed: bool,
    /// The last tag (MBWS: seq) of the session that is durable; 0 in a new session.
    pub confirmed: u64,
    /// Tags at or below `confirmed` that were refused and that the client may not have heard of, ascending.
    pub failed: Vec<(u64, Refusal)>,
    /// How long the session outlives its socket, as granted.
    pub expiry: Duration,
    /// What an MQTT session goes on with; always there for [`Protocol::Mqtt`], for no other.
    pub mqtt: Option<Box<MqttState>>,
}

/// What an MQTT session goes on with. All empty in a new one.
///
/// A session is kept in the log where its expiry is above zero, it was resumed, or it has a will; any other ends with its socket, and
/// has nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MqttState {
    /// Whether it is kept in the log.
    pub kept: bool,
    /// Its subscriptions, filters in our spelling.
    pub subscriptions: Vec<payload::Subscription>,
    /// Packet ids of QoS 2 publishes that were taken and not [forgotten](Call::Forget) yet, ascending.
    pub received: Vec<u16>,
    /// Packet ids of deliveries that the client has [received](Settle::releasing) and not [completed](Call::Complete) yet, in
    /// that order.
    pub releasing: Vec<u16>,
}

/// Why a client cannot be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AttachError {
    /// It wants to go on with a session that is not there, and asked for none that could take its place (expiry 0).
    #[error("no such session")]
    NoSession,
    /// The session belongs to somebody else, to another realm, or to a client of another protocol.
    #[error("the session belongs to another principal")]
    NotYours,
    /// A limit on sessions or connections is reached.
    #[error("too many sessions or connections")]
    TooMany,
    /// Meanwhile another connection has taken the session.
    #[error("another connection has taken the session")]
    TakenOver,
    /// The broker is going down.
    #[error("the broker is shutting down")]
    ShuttingDown,
    /// Its will cannot be kept.
    #[error("the will cannot be kept: {0}")]
    Will(Refusal),
}

/// A wish with a tag: the session's own ascending number, by which the answer is told (MBWS: the frame's seq).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Store a message in the queues that its address leads to.
    Publish(Box<NewMessage>),
    /// Start a consumer.
    Consume(Consume),
    /// Settle deliveries.
    Settle(Settle),
    /// End a consumer and release what it holds.
    Cancel {
        /// The session's name for it.
        consumer: String,
    },
    /// MQTT: subscribe, or replace the subscription of that filter and share.
    Subscribe(Subscribe),
    /// MQTT: end a subscription. [`Refusal::NoSuchSubscription`] where there is none.
    Unsubscribe {
        /// Its filter, in our spelling.
        filter: String,
        /// Its group, if it is shared.
        share: Option<String>,
    },
    /// MQTT: the QoS 2 publish of that packet id was released (PUBREL): the broker need not remember it any more.
    Forget {
        /// The packet id.
        packet: u16,
    },
    /// MQTT: the QoS 2 delivery of that packet id is complete (PUBCOMP).
    Complete {
        /// The packet id.
        packet: u16,
    },
    /// The session itself refuses the frame of this tag; it still takes its place among the answers, durably.
    Refuse(Refusal),
}

/// The consumer that a session wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consume {
    /// The session's name for it, unique in the session.
    pub consumer: String,
    /// Address (for [`Source::Topic`]: filter), or `~NAME`: a temporary queue of this session.
    pub address: String,
    /// What it consumes.
    pub source: Source,
    /// First credit.
    pub limit: u64,
    /// Whether the broker settles (accepted) as it sends.
    pub auto_settle: bool,
    /// Whether no other consumer may take from the queue meanwhile.
    pub exclusive: bool,
    /// WAMP, of a topic: whether it is told of what is retained.
    pub retained: bool,
    /// WAMP, of a topic: its name among the consumers of that name that other sessions have. What has a key goes to the one of
    /// them that it belongs to.
    pub shard: Option<ShardKey>,
}

/// What a consumer consumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A queue, competing with its other consumers.
    Queue,
    /// What is sent from now on to addresses that match, at most once, nothing kept.
    Topic,
    /// The durable queue of that name, competing with its other consumers. If it is not there, it is made (unless the operator
    /// has switched that off) and bound to the filter, and not to its own name; it stays when its consumers go. If it is there
    /// and not bound to the filter, the call is refused as [`Refusal::InUse`]. It takes the right to consume both.
    Durable {
        /// What it is bound to. Not in the spaces `~` and `$`, nor is the name.
        filter: String,
    },
    /// SP: what is sent there to be answered, competing with all others who take that. From the durable queue of the address's
    /// name if there is one; else from a queue in memory, which takes requests alone and is there for as long as somebody asks or
    /// answers so. It takes the right to consume.
    Requests,
    /// SP: what the other end of a pair sends. There are two ends, which are there for as long as somebody has one of them: the
    /// third is refused as [`Refusal::InUse`]. It takes the right to consume and to send.
    Pair {
        /// Pairs of other versions are others.
        version: u8,
    },
}

/// The name of an MQTT session's listener: what it is told at once and nobody keeps. Nothing to settle.
pub const LISTENER: &str = "t";

/// What an MQTT session subscribes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscribe {
    /// The filter, in our spelling.
    pub filter: String,
    /// The group that shares what matches; none: the session gets all of it.
    pub share: Option<String>,
    /// The highest quality of service that it wants, 0 to 2.
    pub qos: u8,
    /// Whether it does not want what it has sent itself. Not together with `share`.
    pub no_local: bool,
    /// Whether the retain flag of what it gets is as it was sent. Kept for the session; means nothing to the broker.
    pub retain_as_published: bool,
    /// Whether it is told of what is retained (MQTT 5.0 §3.8.3.1): 0 always, 1 if it is new, 2 never. Not together with `share`.
    pub retain_handling: u8,
    /// The subscription's identifier; 0: none. Kept for the session; means nothing to the broker.
    pub id: u32,
}

/// A settlement of deliveries by one consumer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settle {
    /// The session's name for the consumer.
    pub consumer: String,
    /// Offsets that are gone for good.
    pub accepted: Ranges,
    /// Offsets put back, each counted as a failed attempt.
    pub released: Ranges,
    /// Offsets for the dead-letter address.
    pub rejected: Ranges,
    /// Why, in the consumer's words.
    pub reason: Option<String>,
    /// MQTT: packet ids of QoS 2 deliveries that the client has received (PUBREC), in that order; their offsets stand in
    /// `accepted`. The session remembers them until they are [complete](Call::Complete).
    pub releasing: Vec<u16>,
}

/// What an attachment tells its session.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// All calls up to this tag are applied and durable, bar those refused (ascending).
    Confirmed {
        /// The last tag covered.
        upto: u64,
        /// Those refused since the last `Confirmed`.
        failed: Vec<(u64, Refusal)>,
    },
    /// A message for a consumer.
    Delivery(Box<Delivery>),
    /// The broker ended a consumer.
    Cancelled {
        /// The session's name for it.
        consumer: Arc<str>,
        /// Why.
        why: Refusal,
    },
    /// MQTT: the client's right to a subscription is gone, and with it what the client has not been sent of it. It is not the
    /// one of a call after `upto` to the same filter.
    Unsubscribed {
        /// Its filter, as in the call that began it.
        filter: String,
        /// The group that shares it, if one does.
        share: Option<String>,
        /// The last call that was heeded.
        upto: u64,
    },
    /// WAMP: what the realm's router has to say.
    Wamp(Box<WampTold>),
    /// The attachment is over; nothing follows.
    Ended(End),
}

/// What became of a message that was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landed {
    /// It is in a durable queue, once it is confirmed.
    Stored,
    /// It went to those who listen and to temporary queues: nobody keeps it.
    Delivered,
    /// A route led it nowhere.
    Dropped,
    /// MQTT: nobody has subscribed to it and no queue is bound; that is no error there.
    Nowhere,
}

impl Landed {
    /// The name used over REST.
    pub fn as_str(self) -> &'static str {
        match self {
            Landed::Stored => "stored",
            Landed::Delivered => "delivered",
            Landed::Dropped => "dropped",
            Landed::Nowhere => "nowhere",
        }
    }
}

/// Why the broker ends an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The session goes on over another socket.
    TakenOver,
    /// What the client has shown to be let in is no longer good: revoked, disabled, expired.
    Revoked,
    /// The session's time was up when its client came back.
    SessionOver,
    /// The broker shuts down in good order; the session survives.
    ShuttingDown,
    /// An administrator has closed the connection; the session survives.
    Kicked,
    /// What it takes from is elsewhere now: it finds it when it comes back (SP).
    Moved,
    /// It does not take what it has asked for.
    TooSlow,
    /// The log failed: nothing more is confirmed (I7).
    LogFailed,
}

/// A message on its way to a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The session's name for the consumer.
    pub consumer: Arc<str>,
    /// Place in the queue.
    pub offset: u64,
    /// 1 for the first delivery, more for later ones.
    pub attempt: u32,
    /// MQTT, of a later one: the client may not consume what is sent to that address (any more). Only a subscription that it
    /// still has is a reason to go on with it.
    pub barred: bool,
    /// The message.
    pub message: Arc<SharedMessage>,
}
