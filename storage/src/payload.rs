//! The protobuf part of each kind of record (FORMAT.md §4): what it looks like; the engine says what it means.
//!
//! Field numbers are for ever. Maps are B-tree maps, so that equal values have equal bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

/// What stands beside a message's body (kind `Enqueue`). The body itself follows outside, neither copied nor re-encoded.
#[derive(Clone, PartialEq, Message)]
pub struct Envelope {
    /// The address that it was sent to, after routing by the sender's session.
    #[prost(string, tag = "1")]
    pub address: String,
    /// The broker's own id for it, 16 bytes of a UUID v7; empty where `message_id` is given.
    #[prost(bytes = "bytes", tag = "2")]
    pub uuid: Bytes,
    /// The sender's id for it.
    #[prost(string, optional, tag = "3")]
    pub message_id: Option<String>,
    /// Ties a reply to its request.
    #[prost(string, optional, tag = "4")]
    pub correlation_id: Option<String>,
    /// Where to reply to.
    #[prost(string, optional, tag = "5")]
    pub reply_to: Option<String>,
    /// Media type of the body.
    #[prost(string, optional, tag = "6")]
    pub content_type: Option<String>,
    /// Grouping key.
    #[prost(string, optional, tag = "7")]
    pub key: Option<String>,
    /// Whether the body is text.
    #[prost(bool, tag = "8")]
    pub text: bool,
    /// The application's own properties.
    #[prost(btree_map = "string, string", tag = "9")]
    pub properties: BTreeMap<String, String>,
    /// When it was first taken, in Unix milliseconds, where that is not the record's own time (dead-lettered, relocated).
    #[prost(uint64, tag = "10")]
    pub taken: u64,
}

/// What became of deliveries (kind `Settle`).
#[derive(Clone, PartialEq, Message)]
pub struct Settle {
    /// The queue's id.
    #[prost(uint64, tag = "1")]
    pub queue: u64,
    /// Offsets that are gone for good: first, last, first, last …, both included, ascending.
    #[prost(uint64, repeated, tag = "2")]
    pub accepted: Vec<u64>,
    /// Offsets put back, each counted as one failed attempt.
    #[prost(uint64, repeated, tag = "3")]
    pub released: Vec<u64>,
    /// Offsets that a consumer wants nobody to get again.
    #[prost(uint64, repeated, tag = "4")]
    pub rejected: Vec<u64>,
    /// Offsets whose time to live has run out.
    #[prost(uint64, repeated, tag = "5")]
    pub expired: Vec<u64>,
    /// Why, in the consumer's words.
    #[prost(string, optional, tag = "6")]
    pub reason: Option<String>,
    /// Offsets that came back because their consumer went away: acquired, but not failed.
    #[prost(uint64, repeated, tag = "7")]
    pub returned: Vec<u64>,
    /// The number of the refusal that the frame gets for offsets that it named beside these; 0: none.
    #[prost(uint32, tag = "8")]
    pub refusal: u32,
    /// Offsets that failed as often as their queue allows.
    #[prost(uint64, repeated, tag = "9")]
    pub exhausted: Vec<u64>,
    /// Offsets that were rejected, expired or exhausted and are gone for good, as their queue has no dead-letter address.
    #[prost(uint64, repeated, tag = "10")]
    pub dropped: Vec<u64>,
}

/// A queue, whole (kind `DefineQueue`): a new one, a changed one, or one written again so that its segment may go.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DefineQueue {
    /// The queue's id; 0: a new queue, whose id is this record's LSN.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Realm.
    #[prost(string, tag = "2")]
    pub realm: String,
    /// Name, unique in the realm.
    #[prost(string, tag = "3")]
    pub name: String,
    /// Milliseconds that a message may wait here; 0: for ever.
    #[prost(uint64, tag = "4")]
    pub ttl_ms: u64,
    /// Failed attempts after which a message is dead-lettered; 0: any number.
    #[prost(uint32, tag = "5")]
    pub max_attempts: u32,
    /// Address for what is rejected, expired or failed too often; none: it is dropped.
    #[prost(string, optional, tag = "6")]
    pub dead_letter: Option<String>,
    /// Messages that may wait; 0: any number.
    #[prost(uint64, tag = "7")]
    pub max_messages: u64,
    /// Bytes that may wait; 0: any number.
    #[prost(uint64, tag = "8")]
    pub max_bytes: u64,
    /// Filters bound to it.
    #[prost(string, repeated, tag = "9")]
    pub bindings: Vec<String>,
    /// For a queue written again: the LSN as of which this was its state; what follows that LSN in the log changes it
    /// still. 0 otherwise.
    #[prost(uint64, tag = "10")]
    pub as_of: u64,
}

/// A queue goes, with all that waits in it (kind `DeleteQueue`).
#[derive(Clone, PartialEq, Message)]
pub struct DeleteQueue {
    /// The queue's id.
    #[prost(uint64, tag = "1")]
    pub queue: u64,
    /// Its realm.
    #[prost(string, tag = "2")]
    pub realm: String,
    /// Its name: in a log whose beginning is gone, nothing else may tell it.
    #[prost(string, tag = "3")]
    pub name: String,
}

/// A filter is bound to a queue, or no longer (kinds `Bind` and `Unbind`).
#[derive(Clone, PartialEq, Message)]
pub struct Binding {
    /// The queue's id.
    #[prost(uint64, tag = "1")]
    pub queue: u64,
    /// The filter.
    #[prost(string, tag = "2")]
    pub filter: String,
}

/// A consumer of a durable session, as its `consume` asked for it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SessionConsumer {
    /// The session's own name for it.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The queue's id.
    #[prost(uint64, tag = "2")]
    pub queue: u64,
    /// Whether the broker settles as it sends.
    #[prost(bool, tag = "3")]
    pub auto_settle: bool,
    /// Whether no other consumer may take from the queue.
    #[prost(bool, tag = "4")]
    pub exclusive: bool,
    /// The filter of a consumer that listens to a topic and has no queue; else empty.
    #[prost(string, tag = "5")]
    pub filter: String,
}

/// A session that outlives its sockets, whole (kind `DefineSession`): a new one, or one written again.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DefineSession {
    /// The session's number; 0: a new one, whose number is this record's LSN.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Its id towards clients: 16 bytes of a UUID.
    #[prost(bytes = "bytes", tag = "2")]
    pub uuid: Bytes,
    /// Realm.
    #[prost(string, tag = "3")]
    pub realm: String,
    /// Who it belongs to; nobody else may go on with it.
    #[prost(string, tag = "4")]
    pub principal: String,
    /// A name for people.
    #[prost(string, optional, tag = "5")]
    pub name: Option<String>,
    /// Milliseconds that it outlives its socket.
    #[prost(uint64, tag = "6")]
    pub expiry_ms: u64,
    /// The last of its frames that was applied.
    #[prost(uint64, tag = "7")]
    pub seq: u64,
    /// Frames at or below `seq` that failed, within the window: seq and code.
    #[prost(message, repeated, tag = "8")]
    pub failures: Vec<Failure>,
    /// Its consumers.
    #[prost(message, repeated, tag = "9")]
    pub consumers: Vec<SessionConsumer>,
    /// For a session written again: the LSN as of which this was its state. 0 otherwise.
    #[prost(uint64, tag = "10")]
    pub as_of: u64,
}

/// A frame of a durable session that was refused: kept until the client must have heard of it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Failure {
    /// Which frame.
    #[prost(uint64, tag = "1")]
    pub seq: u64,
    /// The number of the refusal (`Refusal::number`).
    #[prost(uint32, tag = "2")]
    pub refusal: u32,
}

/// A durable session ends; what it had not settled is released (kind `EndSession`).
#[derive(Clone, PartialEq, Message)]
pub struct EndSession {
    /// The session's number.
    #[prost(uint64, tag = "1")]
    pub session: u64,
}

/// A durable session's consumer begins (kind `Consume`); the session is the record's origin.
#[derive(Clone, PartialEq, Message)]
pub struct Consume {
    /// The consumer.
    #[prost(message, optional, tag = "1")]
    pub consumer: Option<SessionConsumer>,
}

/// A durable session's consumer ends (kind `Cancel`); the session is the record's origin.
#[derive(Clone, PartialEq, Message)]
pub struct Cancel {
    /// The session's own name for it.
    #[prost(string, tag = "1")]
    pub consumer: String,
}

/// A durable session's frame was used up without any other record (kind `Advance`); the session is the record's origin.
#[derive(Clone, PartialEq, Message)]
pub struct Advance {
    /// The number of the refusal; 0: it succeeded and left nothing to store.
    #[prost(uint32, tag = "1")]
    pub refusal: u32,
}
