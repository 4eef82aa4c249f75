//! What WAMP clients have in the broker, as the API shows it: their sessions, registrations, subscriptions and calls.
//!
//! Ids are WAMP's own, as clients see them: whole numbers up to 2^53, those of registrations and subscriptions counted in each realm.
//! Sessions are named by the ids of `GET /api/v1/sessions`, as everywhere in the API.

use schemars::JsonSchema;
use serde::Serialize;

/// What there is to tell of a WAMP session beyond what all sessions have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WampSessionInfo {
    /// Its id in the realm, as other clients see it.
    pub session: u64,
    /// Who it is to other clients.
    pub authid: String,
    /// The role that it goes by.
    pub authrole: String,
    /// How it was known: `anonymous`, `ticket`, `wampcra` …
    pub authmethod: String,
    /// `websocket`, `rawsocket`, `unix`, `longpoll`.
    pub transport: String,
    /// `wamp.2.json`, `wamp.2.msgpack`, `wamp.2.cbor`, `wamp.2.ubjson`.
    pub serializer: String,
    /// Procedures and patterns that it has registered.
    pub registrations: u64,
    /// Its own calls that are not answered.
    pub calls: u64,
    /// Calls that it has not answered.
    pub invocations: u64,
}

/// A procedure, or pattern of procedures, that WAMP clients have registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RegistrationInfo {
    /// Its id, unique in the realm and never used again.
    pub id: u64,
    /// Its realm.
    pub realm: String,
    /// The procedure or pattern.
    pub uri: String,
    /// How it is matched: `exact`, `prefix`, `wildcard`.
    #[serde(rename = "match")]
    pub how: String,
    /// Which of its callees gets a call: `single`, `first`, `last`, `roundrobin`, `random`.
    pub invoke: String,
    /// When it was first registered: milliseconds since 1970 UTC.
    pub created_at: u64,
    /// How many sessions share it.
    pub callees: u64,
    /// The first of them, 20 at most.
    pub sessions: Vec<String>,
    /// Calls that went by it and are not answered.
    pub calls: u64,
}

/// A topic, or pattern of topics, that WAMP clients have subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct WampSubscriptionInfo {
    /// Its id, unique in the realm and never used again.
    pub id: u64,
    /// Its realm.
    pub realm: String,
    /// The topic or pattern.
    pub uri: String,
    /// How it is matched: `exact`, `prefix`, `wildcard`.
    #[serde(rename = "match")]
    pub how: String,
    /// When it was first subscribed to: milliseconds since 1970 UTC.
    pub created_at: u64,
    /// How many sessions have it.
    pub subscribers: u64,
    /// The first of them, 20 at most.
    pub sessions: Vec<String>,
}

/// A call that is not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CallInfo {
    /// Its realm.
    pub realm: String,
    /// Its place among all calls of the realm since the start: a later one has a greater number.
    pub number: u64,
    /// What was called.
    pub procedure: String,
    /// The session that calls. None: nobody waits any more, or it came by another protocol.
    pub caller: Option<String>,
    /// The caller's number for it.
    pub request: u64,
    /// The session that works at it. None: another protocol's client does.
    pub callee: Option<String>,
    /// The callee's number for it.
    pub invocation: u64,
}

/// Which part of a list that is ordered by realm and number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumberedWanted {
    /// Of this realm.
    pub realm: Option<String>,
    /// Behind this realm and number.
    pub after: Option<(String, u64)>,
    /// So many at most.
    pub limit: usize,
}

/// What WAMP clients share in a realm, and an administrator may take from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// A registration.
    Registration,
    /// A subscription.
    Subscription,
}
