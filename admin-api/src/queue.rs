//! Queues, what is in them and who works on them, as the API shows them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wamp::WampSessionInfo;

/// What holds for a durable queue. None: there is no such limit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSpec {
    /// How long a message may wait, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// Messages in the queue; one more is refused as `full`.
    pub max_messages: Option<u64>,
    /// Bytes in the queue; what would exceed them is refused as `full`.
    pub max_bytes: Option<u64>,
    /// Failed deliveries of one message, those that a consumer gave back (released): after so many it is given up.
    pub max_attempts: Option<u32>,
    /// The address where messages go that expire, are rejected or fail too often. None: they are dropped.
    pub dead_letter: Option<String>,
    /// Filters: what is sent to addresses that one of them matches comes to this queue. None: its own name.
    pub bindings: Option<Vec<String>>,
    /// Whether it keeps a history, for WAMP's `wamp.subscription.get_events`: nobody consumes from it, it is never full, and
    /// past `max_messages` or `max_bytes` the oldest messages go.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub history: bool,
}

/// Who has paused a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    /// Whose act it was.
    pub by: String,
    /// Since when: milliseconds since 1970 UTC.
    pub since: u64,
    /// Why, in their words. May be empty.
    pub reason: String,
}

/// A queue, as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QueueInfo {
    /// Its realm.
    pub realm: String,
    /// Its name, unique in the realm.
    pub name: String,
    /// Whether it survives a restart.
    pub durable: bool,
    /// Messages that wait for a consumer.
    pub messages_ready: u64,
    /// Messages that a consumer has and did not settle yet.
    pub messages_unsettled: u64,
    /// What all its messages' records take.
    pub bytes: u64,
    /// Consumers that are attached, or expected back.
    pub consumers: u64,
    /// The offset that the next message will get.
    pub next_offset: u64,
    /// When its oldest message came: milliseconds since 1970 UTC. None: it is empty.
    pub oldest_timestamp: Option<u64>,
    /// Who has paused it. None: it is not paused.
    pub paused: Option<Paused>,
    /// Its limits and bindings.
    pub spec: QueueSpec,
    /// Changes whenever the spec or the pause does; the ETag.
    pub revision: u64,
}

/// A filter bound to a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Binding {
    /// The realm of both.
    pub realm: String,
    /// What it takes.
    pub filter: String,
    /// Who takes it.
    pub queue: String,
}

/// An address that somebody takes messages from, or a filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AddressInfo {
    /// Its realm.
    pub realm: String,
    /// The address, or the filter of bindings, routes and listeners.
    pub address: String,
    /// Queues that are bound to exactly it.
    pub queues: Vec<String>,
    /// Routes whose filter is exactly it.
    pub routes: Vec<String>,
    /// Consumers that listen to exactly it and have no queue.
    pub listeners: u64,
}

/// A consumer of a queue or of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConsumerInfo {
    /// Its realm.
    pub realm: String,
    /// The queue it takes from. None: it listens to a topic.
    pub queue: Option<String>,
    /// The topic's filter. None: it takes from a queue.
    pub filter: Option<String>,
    /// The session's own name for it.
    pub name: String,
    /// Its session's id.
    pub session: String,
    /// The connection that serves it now. None: its client is away.
    pub connection: Option<String>,
    /// Whose it is.
    pub principal: String,
    /// Deliveries that it may still be sent.
    pub credit: u64,
    /// Deliveries that it has and did not settle.
    pub unsettled: u64,
    /// Whether no other may take from the queue.
    pub exclusive: bool,
}

/// A session: a client's conversation, which may outlive its connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SessionInfo {
    /// Its id.
    pub id: String,
    /// Its realm.
    pub realm: String,
    /// Whose it is.
    pub principal: String,
    /// The client's name for it. May be empty.
    pub name: String,
    /// Whether it outlives its connection.
    pub durable: bool,
    /// The connection that serves it. None: its client is away.
    pub connection: Option<String>,
    /// How long it outlives a connection, in milliseconds.
    pub expiry_ms: u64,
    /// When it ends unless its client comes back: milliseconds since 1970 UTC. None: its client is there.
    pub ends_at: Option<u64>,
    /// Its consumers.
    pub consumers: u64,
    /// Deliveries that it has and did not settle.
    pub unsettled: u64,
    /// `mbws`, `mqtt` …
    pub protocol: String,
    /// The client's id, where its protocol has one. None: it has none.
    pub client: Option<String>,
    /// How many MQTT or WAMP subscriptions it has.
    pub subscriptions: u64,
    /// The first of an MQTT session's, 20 at most.
    pub first_subscriptions: Vec<SubscriptionInfo>,
    /// MQTT messages with QoS 2, to the client and from it, whose exchange is not complete.
    pub incomplete: u64,
    /// What else is known of a WAMP session. None: it is none.
    pub wamp: Option<WampSessionInfo>,
}

/// An MQTT subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SubscriptionInfo {
    /// The filter, as addresses are spelled here.
    pub filter: String,
    /// The group that shares it. None: nobody does.
    pub share: Option<String>,
    /// The highest quality of service that it wants. None: only its connection knows, as its session does not outlive it.
    pub qos: Option<u32>,
}

/// A client's connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConnectionInfo {
    /// Its id.
    pub id: String,
    /// The session that it serves.
    pub session: String,
    /// Its realm.
    pub realm: String,
    /// Who it is.
    pub principal: String,
    /// The client's name for its session. May be empty.
    pub name: String,
    /// `mbws`, `mqtt`, `rest` …
    pub protocol: String,
    /// The client's id, where its protocol has one. None: it has none.
    pub client: Option<String>,
    /// The other end.
    pub peer: String,
    /// Whether it is encrypted.
    pub tls: bool,
    /// Since when: milliseconds since 1970 UTC.
    pub since: u64,
    /// What else is known of an SP client. None: it is none.
    pub sp: Option<SpConnectionInfo>,
}

/// An SP client: what it is, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SpConnectionInfo {
    /// The scalability protocol: `pipeline`, `pubsub`, `reqrep`, `survey`, `bus`, `pair` or `pair1`.
    pub pattern: String,
    /// What the client is in it: `push`, `pull`, `pub`, `sub`, `req`, `rep`, `surveyor`, `respondent`, `bus`, `pair` or `pair1`.
    pub role: String,
    /// The address that it is connected to.
    pub address: String,
    /// The queue that it consumes from; `$req/…` and `$pair…` are in memory. None: it gets nothing, or what nobody keeps for it.
    pub queue: Option<String>,
}

/// Where a waiting message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MessageState {
    /// Waits for a consumer.
    Ready,
    /// A consumer has it.
    Unsettled,
    /// On its way to the dead-letter address, or to where an administrator moves it.
    Leaving,
}

/// A message, as browsed: looking changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct MessageInfo {
    /// Its place in the queue.
    pub offset: u64,
    /// Where it stands.
    pub state: MessageState,
    /// How often it was delivered and came back.
    pub acquired: u32,
    /// How often a consumer gave it back as failed.
    pub failed: u32,
    /// When the broker took it: milliseconds since 1970 UTC.
    pub timestamp: u64,
    /// When it is worthless: milliseconds since 1970 UTC.
    pub expires_at: Option<u64>,
    /// What its record takes in the log.
    pub bytes: u64,
    /// Its id.
    pub message_id: String,
    /// What it was sent to.
    pub address: String,
    /// Its grouping key.
    pub key: Option<String>,
    /// Its priority.
    #[schemars(range(min = 0, max = 9))]
    pub priority: u8,
    /// Ties a reply to its request.
    pub correlation_id: Option<String>,
    /// Where to reply to.
    pub reply_to: Option<String>,
    /// Media type of the body.
    pub content_type: Option<String>,
    /// The application's properties, and what the broker noted of a dead letter.
    pub properties: BTreeMap<String, String>,
    /// The body, where it is text.
    pub body: Option<String>,
    /// The body in base64, where it is not.
    pub body_base64: Option<String>,
    /// Whether only the body's beginning is shown.
    pub truncated: bool,
}

/// Which of a queue's messages. All that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// From this offset on.
    pub from: Option<u64>,
    /// Up to this offset, included.
    pub upto: Option<u64>,
    /// Just these offsets.
    pub offsets: Option<Vec<u64>>,
    /// Taken before: milliseconds since 1970 UTC.
    pub before: Option<u64>,
    /// Taken at or after: milliseconds since 1970 UTC.
    pub since: Option<u64>,
    /// With this message id.
    pub message_id: Option<String>,
    /// Sent to an address that this filter matches.
    pub address: Option<String>,
    /// With this key.
    pub key: Option<String>,
    /// With all of these properties.
    pub properties: BTreeMap<String, String>,
    /// Dead letters for this reason: `rejected`, `expired`, `max-attempts` …
    pub reason: Option<String>,
}

/// What is to become of selected messages. Those that a consumer has are left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// They are dropped.
    Delete,
    /// They go to this address, routes not looked at.
    Move {
        /// Where to.
        address: String,
    },
    /// Dead letters go back to the queue that gave them up.
    Redrive,
}

/// What became of selected messages, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Outcome {
    /// How many were selected.
    pub matched: u64,
    /// How many were dealt with; in a dry run none.
    pub done: u64,
    /// How many were left alone: in a consumer's hands, without a queue to go to, or unreadable.
    pub left: u64,
    /// Where to go on, if the limit of one call was reached: select `from` this offset.
    pub next: Option<u64>,
}

/// What keeps a queue from moving, if anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Why {
    /// Its realm.
    pub realm: String,
    /// Its name.
    pub queue: String,
    /// Whether messages wait that nobody is being given.
    pub blocked: bool,
    /// `moving`, `empty`, `paused`, `no-consumer`, `away`, `no-credit`, `all-unsettled`, `exclusive`, `coming-back`,
    /// `slow-reader`, `denied`, `disk-full`: for programs.
    pub code: String,
    /// The one thing, in a sentence.
    pub text: String,
}

/// A message to publish.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishRequest {
    /// Where to.
    #[schemars(length(min = 1))]
    pub address: String,
    /// The body, as text.
    pub body: Option<String>,
    /// The body in base64, where it is not text.
    pub body_base64: Option<String>,
    /// The sender's id for it.
    pub message_id: Option<String>,
    /// Ties a reply to its request.
    pub correlation_id: Option<String>,
    /// Where to reply to.
    pub reply_to: Option<String>,
    /// Media type of the body.
    pub content_type: Option<String>,
    /// Grouping key.
    pub key: Option<String>,
    /// 0 to 9.
    #[schemars(range(min = 0, max = 9))]
    pub priority: Option<u8>,
    /// How long it is worth anything, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// The application's properties. `traceparent` and `tracestate` of the request's headers are added where these have
    /// none.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

/// What is asked of access and routing; nothing is stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// Whose right: a user's name, or `token:LABEL`. None: the caller's.
    pub principal: Option<String>,
    /// Roles in place of the principal's own.
    pub roles: Option<Vec<String>>,
    /// The client's id, for `${client}`: the message is one of MQTT's then. None: of another door.
    pub client: Option<String>,
    /// What they want. None: `send`.
    pub verb: Option<crate::document::Verb>,
    /// The realm. None: `default`.
    pub realm: Option<String>,
    /// The message, of which only the address must be given.
    pub message: PublishRequest,
}

/// Whether somebody may, and where a message would land.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Explanation {
    /// Who.
    pub principal: String,
    /// With which roles.
    pub roles: Vec<String>,
    /// Whether the rules let them.
    pub allowed: bool,
    /// The rule that decided. None: none did; what neither a rule nor a grant allows is denied.
    pub rule: Option<String>,
    /// All in one sentence.
    pub text: String,
    /// `stored`, `delivered`, `dropped`, `nowhere` (MQTT), `denied`, `no-route`, `full`, `bad-address` …: what the sender would be told.
    pub outcome: String,
    /// Routes that were looked at and matched the address, in order.
    pub routes: Vec<RouteStep>,
    /// Where it would land.
    pub landings: Vec<Landing>,
    /// Whether it would be taken for a duplicate, in a sentence; empty where nothing would be sent.
    pub duplicate: String,
}

/// A route that matched the address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RouteStep {
    /// Its name.
    pub route: String,
    /// Whether it took the message.
    pub taken: bool,
    /// Why, or why not.
    pub text: String,
    /// The addresses that it sends it to.
    pub to: Vec<String>,
}

/// An address where a message would land, and who takes it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Landing {
    /// The address.
    pub address: String,
    /// Queues that would take it.
    pub queues: Vec<QueueVerdict>,
    /// Listeners without a queue.
    pub listeners: u64,
    /// Whether a queue of this name would be made first.
    pub makes_queue: bool,
}

/// Whether a queue would take a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QueueVerdict {
    /// Its name.
    pub queue: String,
    /// Whether it has room.
    pub takes: bool,
    /// `room`, or which limit is reached.
    pub overflow: String,
}
