//! The protobuf part of each kind of record (FORMAT.md §4): what it looks like; the engine says what it means.
//!
//! Field numbers are for ever. Maps are B-tree maps, so that equal values have equal bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

/// What stands beside a message's body (kinds `Enqueue` and `Retain`). The body itself follows outside, neither copied nor re-encoded.
#[derive(Clone, PartialEq, Eq, Message)]
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
    /// Queues that have it under another address, by an administrator's routes.
    #[prost(message, repeated, tag = "11")]
    pub routed: Vec<Routed>,
    /// The highest MQTT quality of service that it may be delivered with, plus 1; 0: no bound, as it came in by another door.
    #[prost(uint32, tag = "12")]
    pub qos_bound: u32,
    /// Whether it was told because it was retained.
    #[prost(bool, tag = "13")]
    pub retained: bool,
    /// The application's own properties in their order, where `properties`, which then has the last value of each name, would
    /// lose order or doubles.
    #[prost(message, repeated, tag = "14")]
    pub ordered: Vec<Pair>,
    /// The packet id of the QoS 2 publish that it came with: its session, the record's origin, has received it; 0: none.
    #[prost(uint32, tag = "16")]
    pub received: u32,
    /// The realm in which it is kept at its address (kind `Retain`); else empty.
    #[prost(string, tag = "17")]
    pub realm: String,
    /// For one that is written again or goes (kind `Retain`): the LSN of the record that it was first kept with. It counts only
    /// if that is what is kept there. 0: whatever is kept.
    #[prost(uint64, tag = "18")]
    pub retain_of: u64,
    /// For one that is written again: the LSN as of which it was kept. 0 otherwise.
    #[prost(uint64, tag = "19")]
    pub as_of: u64,
    /// What only WAMP has words for.
    #[prost(message, optional, boxed, tag = "20")]
    pub wamp: Option<Box<WampPart>>,
}

/// What a WAMP client has said of a message, or is told of it, and no other door has words for.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WampPart {
    /// The publication's id, random, 1 to 2^53; 0: one that follows from the message's id.
    #[prost(uint64, tag = "1")]
    pub publication: u64,
    /// The publisher, if it is disclosed.
    #[prost(message, optional, tag = "2")]
    pub publisher: Option<WampPeer>,
    /// The trust level that the publisher was given, plus 1; 0: none.
    #[prost(uint32, tag = "3")]
    pub trust: u32,
    /// Who alone may be told of it later: by authid; none: everybody.
    #[prost(message, optional, tag = "4")]
    pub eligible_authids: Option<WampNames>,
    /// The same by authrole.
    #[prost(message, optional, tag = "5")]
    pub eligible_authroles: Option<WampNames>,
    /// Who may not be told of it later, by authid.
    #[prost(string, repeated, tag = "6")]
    pub excluded_authids: Vec<String>,
    /// The same by authrole.
    #[prost(string, repeated, tag = "7")]
    pub excluded_authroles: Vec<String>,
    /// How its body, which is opaque then, was packed (payload passthru mode).
    #[prost(message, optional, tag = "8")]
    pub passthru: Option<WampPassthru>,
}

/// A WAMP session, as it is disclosed.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WampPeer {
    /// Its id.
    #[prost(uint64, tag = "1")]
    pub session: u64,
    /// Who it is.
    #[prost(string, tag = "2")]
    pub authid: String,
    /// What it is.
    #[prost(string, tag = "3")]
    pub authrole: String,
}

/// Names, which may be none at all.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WampNames {
    /// The names.
    #[prost(string, repeated, tag = "1")]
    pub names: Vec<String>,
}

/// The attributes of WAMP's payload passthru mode, as the sender gave them.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WampPassthru {
    /// `ppt_scheme`.
    #[prost(string, tag = "1")]
    pub scheme: String,
    /// `ppt_serializer`.
    #[prost(string, optional, tag = "2")]
    pub serializer: Option<String>,
    /// `ppt_cipher`.
    #[prost(string, optional, tag = "3")]
    pub cipher: Option<String>,
    /// `ppt_keyid`.
    #[prost(string, optional, tag = "4")]
    pub keyid: Option<String>,
}

/// What the engine reads of an [`Envelope`] of kind `Retain`: the same bytes, without the cost of the rest.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Retained {
    /// As in [`Envelope`].
    #[prost(string, tag = "1")]
    pub address: String,
    /// As in [`Envelope`].
    #[prost(string, tag = "17")]
    pub realm: String,
    /// As in [`Envelope`].
    #[prost(uint64, tag = "18")]
    pub retain_of: u64,
    /// As in [`Envelope`].
    #[prost(uint64, tag = "19")]
    pub as_of: u64,
}

/// Messages that are kept at their addresses, for a session's own queue (kind `Recall`): the `n`th has the record's `n`th
/// target. One that is not kept any more is left out.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Recall {
    /// The session's number.
    #[prost(uint64, tag = "1")]
    pub session: u64,
    /// The realm.
    #[prost(string, tag = "2")]
    pub realm: String,
    /// The LSN as of which all of them were kept.
    #[prost(uint64, tag = "3")]
    pub as_of: u64,
    /// The messages.
    #[prost(message, repeated, tag = "4")]
    pub messages: Vec<Recalled>,
}

/// A message that is kept at its address.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Recalled {
    /// The address.
    #[prost(string, tag = "1")]
    pub address: String,
    /// The LSN of the record that it was first kept with.
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    /// The LSN of its record.
    #[prost(uint64, tag = "3")]
    pub lsn: u64,
    /// Bytes of that.
    #[prost(uint32, tag = "4")]
    pub bytes: u32,
    /// When it is worthless, in Unix milliseconds; 0: never.
    #[prost(uint64, tag = "5")]
    pub expires: u64,
}

/// A name and a value.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Pair {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// What a session keeps of an [`Envelope`]: the same bytes, without the cost of the rest.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Receipt {
    /// As in [`Envelope`].
    #[prost(uint32, tag = "16")]
    pub received: u32,
}

/// Queues that have a message under another address than the envelope's.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Routed {
    /// The address.
    #[prost(string, tag = "1")]
    pub address: String,
    /// The queues' ids.
    #[prost(uint64, repeated, tag = "2")]
    pub queues: Vec<u64>,
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
    /// Offsets that were rejected, expired or exhausted and are gone for good, as their queue has no dead-letter address;
    /// or that an administrator has deleted.
    #[prost(uint64, repeated, tag = "10")]
    pub dropped: Vec<u64>,
    /// Offsets whose stored bytes cannot be read any more.
    #[prost(uint64, repeated, tag = "11")]
    pub unreadable: Vec<u64>,
    /// Packet ids of MQTT deliveries that the origin's client has received, in order; their offsets stand in `accepted`.
    #[prost(uint32, repeated, tag = "12")]
    pub releasing: Vec<u32>,
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
    /// For a queue written again: the LSN of the record that last changed what it says. 0 in a changed definition, whose
    /// own LSN it is, and where no release before has written it: then it is `id`.
    #[prost(uint64, tag = "11")]
    pub revision: u64,
    /// Who has paused it; none: nobody.
    #[prost(message, optional, tag = "12")]
    pub paused: Option<Paused>,
    /// Whether messages leave it out when it is full, in place of being refused.
    #[prost(bool, tag = "13")]
    pub sheds: bool,
    /// The number of the durable session whose own queue it is: it goes with it; 0: nobody's own.
    #[prost(uint64, tag = "14")]
    pub session: u64,
    /// Milliseconds without a consumer, of those present and those expected back, after which it goes; 0: it stays.
    #[prost(uint64, tag = "15")]
    pub linger_ms: u64,
    /// Whether it keeps a history: nobody consumes from it, and where it would be full, the oldest go.
    #[prost(bool, tag = "16")]
    pub history: bool,
}

/// A queue that is paused takes messages and gives none.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Paused {
    /// Whose act it was.
    #[prost(string, tag = "1")]
    pub by: String,
    /// Since when, in Unix milliseconds.
    #[prost(uint64, tag = "2")]
    pub since: u64,
    /// Why, in their words; may be empty.
    #[prost(string, tag = "3")]
    pub reason: String,
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
    /// What its client speaks: 0 MBWS, 1 MQTT.
    #[prost(uint32, tag = "11")]
    pub protocol: u32,
    /// The client's id, where its protocol has one.
    #[prost(string, tag = "12")]
    pub client: String,
    /// The id of the queue that its own subscriptions fill, which goes with it; 0: there is none.
    #[prost(uint64, tag = "13")]
    pub queue: u64,
    /// Its subscriptions, oldest first.
    #[prost(message, repeated, tag = "14")]
    pub subscriptions: Vec<Subscription>,
    /// Packet ids of QoS 2 publishes that were taken and not released by the client yet, ascending.
    #[prost(uint32, repeated, tag = "15")]
    pub received: Vec<u32>,
    /// Packet ids of QoS 2 deliveries that the client has received and not completed yet, in that order.
    #[prost(uint32, repeated, tag = "16")]
    pub releasing: Vec<u32>,
    /// What is published when its client is gone without a goodbye.
    #[prost(message, optional, tag = "17")]
    pub will: Option<Will>,
    /// For a changed session: it keeps the will that it has, whatever `will` says.
    #[prost(bool, tag = "18")]
    pub keeps_will: bool,
}

/// An MQTT session's will: a message that the broker publishes in its client's name.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Will {
    /// What names it: the LSN of the record that it came with; 0 there.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Milliseconds between the end of its client's connection and its being published; the session's end comes first.
    #[prost(uint64, tag = "2")]
    pub delay_ms: u64,
    /// What stands beside its body, as its client said it.
    #[prost(message, optional, tag = "3")]
    pub envelope: Option<Envelope>,
    /// Its body.
    #[prost(bytes = "bytes", tag = "4")]
    pub body: Bytes,
    /// Whether it is to be kept at its address.
    #[prost(bool, tag = "5")]
    pub retain: bool,
    /// Milliseconds that it may live once it is published; none: for ever.
    #[prost(uint64, optional, tag = "6")]
    pub ttl_ms: Option<u64>,
    /// Of a client that has shown a JWT: who issued it; else empty.
    #[prost(string, tag = "7")]
    pub issuer: String,
    /// And the roles that it names.
    #[prost(string, repeated, tag = "8")]
    pub roles: Vec<String>,
}

/// The number in [`DefineSession::protocol`] of MQTT.
pub const MQTT: u32 = 1;

/// A subscription of an MQTT session. `share` and `filter` together name it.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Subscription {
    /// The filter.
    #[prost(string, tag = "1")]
    pub filter: String,
    /// The highest quality of service that is wanted.
    #[prost(uint32, tag = "2")]
    pub qos: u32,
    /// Whether the session does not want what it has sent itself.
    #[prost(bool, tag = "3")]
    pub no_local: bool,
    /// Whether the retain flag is wanted as it was sent.
    #[prost(bool, tag = "4")]
    pub retain_as_published: bool,
    /// What is to become of retained messages, as MQTT numbers it.
    #[prost(uint32, tag = "5")]
    pub retain_handling: u32,
    /// The client's number for it; 0: none.
    #[prost(uint32, tag = "6")]
    pub id: u32,
    /// The group that shares it; empty: nobody does.
    #[prost(string, tag = "7")]
    pub share: String,
    /// The id of the queue that a group shares; 0 where it is not shared.
    #[prost(uint64, tag = "8")]
    pub queue: u64,
}

/// A subscription begins, changes or ends (kind `Subscribe`); the session is the record's origin, if `session` is 0.
#[derive(Clone, PartialEq, Message)]
pub struct Subscribe {
    /// The subscription that begins, or replaces the one of that share and filter.
    #[prost(message, optional, tag = "1")]
    pub set: Option<Subscription>,
    /// The filter of the one that ends, where `set` is none.
    #[prost(string, tag = "2")]
    pub removed_filter: String,
    /// Its share.
    #[prost(string, tag = "3")]
    pub removed_share: String,
    /// The session's number, where the broker ends the subscription and no frame.
    #[prost(uint64, tag = "4")]
    pub session: u64,
    /// The id of the session's own queue, which is bound to exactly the filters of subscriptions that are not shared and
    /// want a quality of service above 0; 0: there is none.
    #[prost(uint64, tag = "5")]
    pub queue: u64,
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
    /// The id of its own queue, as far as the writer knows, for the log's writer to forget; 0: none is known.
    #[prost(uint64, tag = "2")]
    pub queue: u64,
}

/// A durable session's consumer begins (kind `Consume`); the session is the record's origin.
#[derive(Clone, PartialEq, Message)]
pub struct Consume {
    /// The consumer.
    #[prost(message, optional, tag = "1")]
    pub consumer: Option<SessionConsumer>,
}

/// A durable session's consumer ends (kind `Cancel`); the session is the record's origin, if `session` is 0.
#[derive(Clone, PartialEq, Message)]
pub struct Cancel {
    /// The session's own name for it.
    #[prost(string, tag = "1")]
    pub consumer: String,
    /// The session's number, where the broker ends the consumer and no frame.
    #[prost(uint64, tag = "2")]
    pub session: u64,
}

/// A durable session's frame was used up without any other record (kind `Advance`); the session is the record's origin.
#[derive(Clone, PartialEq, Message)]
pub struct Advance {
    /// The number of the refusal; 0: it succeeded and left nothing to store.
    #[prost(uint32, tag = "1")]
    pub refusal: u32,
    /// The packet id of a QoS 2 publish that was taken and left nothing else to store; 0: none.
    #[prost(uint32, tag = "2")]
    pub received: u32,
    /// The packet id of a QoS 2 publish that its client has released; 0: none.
    #[prost(uint32, tag = "3")]
    pub forgotten: u32,
    /// The packet id of a QoS 2 delivery that its client has completed; 0: none.
    #[prost(uint32, tag = "4")]
    pub completed: u32,
}

/// What administrators have set changes, all of it or nothing (kind `Config`).
#[derive(Clone, PartialEq, Message)]
pub struct Config {
    /// Documents that are set or removed.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<ConfigEntry>,
    /// Queues that are made (id 0: the `n`th gets this record's LSN + 1 + `n`) or changed (a target of the record, its
    /// floor stamped).
    #[prost(message, repeated, tag = "2")]
    pub queues: Vec<DefineQueue>,
    /// Queues that go (a target of the record).
    #[prost(message, repeated, tag = "3")]
    pub gone: Vec<DeleteQueue>,
    /// Realms whose retained messages go: those that are removed, and those that are made, as late ones may have come since
    /// the last of that name went.
    #[prost(string, repeated, tag = "4")]
    pub forgets: Vec<String>,
}

/// A document: the engine keeps it and knows nothing of what it says.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ConfigEntry {
    /// What kind of document; the numbers are the broker's, for ever.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    /// Its realm; empty where it is of none.
    #[prost(string, tag = "2")]
    pub realm: String,
    /// Its name, unique among those of its kind and realm.
    #[prost(string, tag = "3")]
    pub name: String,
    /// The document, JSON; none: it is removed.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub value: Option<Bytes>,
    /// The LSN of the record that last changed it, where it is written again unchanged; 0: this record's.
    #[prost(uint64, tag = "5")]
    pub revision: u64,
}
