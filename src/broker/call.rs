//! What a session asks of the broker, and what it hears back: the same words for every protocol.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use restante_proto::mbws::Ranges;
use thiserror::Error;
use uuid::Uuid;

use crate::message::{Message, NewMessage};
use crate::refusal::Refusal;

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
    /// The session it wants.
    pub session: SessionWish,
    /// A name for people.
    pub name: Option<String>,
}

/// The door that a client came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// MBWS over WebSocket.
    Mbws,
}

impl Protocol {
    /// The name used in metrics, listings and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Mbws => "mbws",
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
}

/// Why a client cannot be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AttachError {
    /// It wants to go on with a session that is not there, and asked for none that could take its place (expiry 0).
    #[error("no such session")]
    NoSession,
    /// The session belongs to somebody else or to another realm.
    #[error("the session belongs to another principal")]
    NotYours,
    /// A limit on sessions or connections is reached.
    #[error("too many sessions or connections")]
    TooMany,
    /// The broker is going down.
    #[error("the broker is shutting down")]
    ShuttingDown,
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
}

/// What a consumer consumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A queue, competing with its other consumers.
    Queue,
    /// What is sent from now on to addresses that match, at most once, nothing kept.
    Topic,
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
}

/// What an attachment tells its session.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// The attachment is over; nothing follows.
    Ended(End),
}

/// Why the broker ends an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The session goes on over another socket.
    TakenOver,
    /// The session's time was up when its client came back.
    SessionOver,
    /// The broker shuts down in good order; the session survives.
    ShuttingDown,
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
    /// The message.
    pub message: Message,
}
