//! What the admin API asks of the broker, and nothing else of it is known here.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::audit::{AuditEntry, AuditQuery};
use crate::document::{Definitions, Document, DocumentId, DocumentKind, Grant, Stored, Verb};
use crate::queue::{
    AddressInfo, Binding, ConnectionInfo, ConsumerInfo, ExplainRequest, Explanation, Fate,
    MessageInfo, Outcome, PublishRequest, QueueInfo, QueueSpec, Selection, SessionInfo, Why,
};
use crate::wamp::{CallInfo, NumberedWanted, RegistrationInfo, Shared, WampSubscriptionInfo};

/// A future on the heap, so that [`Control`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What was asked for, some time later, or why not.
pub type Asked<'a, T> = BoxFuture<'a, Result<T, ControlError>>;

/// The broker, as the admin API sees it. Any method may be called at any time, from many requests at once; a future may be
/// dropped half-way, and then what it was to change may or may not be changed.
///
/// The API checks that the caller has the [`Grant`] that a route needs. What depends on an address, the broker decides
/// itself, by the caller's [`access`](Admin::access): with [`Grant::Operate`] every address is allowed for `manage` and `browse`.
pub trait Control: Send + Sync + 'static {
    /// How the broker is. Must not wait: it is asked by whoever restarts what hangs.
    fn health(&self) -> Health;

    /// All metrics, in Prometheus' text format 0.0.4.
    fn metrics(&self) -> BoxFuture<'_, String>;

    /// Who shows `authorization`, the untouched value of that header (RFC 9110 §11.6.2), from the address `peer`; or who
    /// has shown a client certificate, where there is no such header.
    ///
    /// Counts wrong passwords; may be dropped half-way. Must not log `authorization`.
    ///
    /// # Errors
    /// [`AuthError`]: not let in.
    fn authenticate<'a>(
        &'a self,
        authorization: Option<&'a [u8]>,
        peer: &'a Peer,
    ) -> BoxFuture<'a, Result<Admin, AuthError>>;

    /// As whom somebody tried to log in with `authorization`, for the audit log: only what is the name of somebody, for
    /// anything else may be a password in the wrong place. None: not by a name.
    fn tried(&self, authorization: &[u8]) -> Option<String>;

    /// Writes a line into the audit log. Must not wait.
    fn audit(&self, entry: AuditEntry);

    /// Writes a line about something that was done; returns once it is durable, or cannot be in time.
    fn audit_durably(&self, entry: AuditEntry) -> BoxFuture<'_, ()>;

    /// The audit log's lines, newest first.
    fn audited(&self, query: AuditQuery) -> Asked<'_, Vec<AuditEntry>>;

    /// What the broker is and how it does.
    fn overview(&self) -> Asked<'_, Overview>;

    /// All documents of a kind, in order of realm and name.
    fn documents(&self, kind: DocumentKind, realm: Option<String>) -> Asked<'_, Vec<Stored>>;

    /// A document.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    fn document(&self, id: DocumentId) -> Asked<'_, Stored>;

    /// Sets a document whole. `password`: for a user, a new one in the clear; without it, the user keeps the hash that the
    /// document has or, if it has none, the one that is set. Durable on return.
    ///
    /// # Errors
    /// [`ControlError`]; nothing is changed then.
    fn put<'a>(
        &'a self,
        caller: &'a Caller,
        id: DocumentId,
        document: Document,
        password: Option<Secret>,
        how: How,
    ) -> Asked<'a, Changed<Stored>>;

    /// Removes a document; a realm only once it has no queues. Durable on return.
    ///
    /// # Errors
    /// [`ControlError`]; nothing is changed then.
    fn remove<'a>(&'a self, caller: &'a Caller, id: DocumentId, how: How)
    -> Asked<'a, Changed<()>>;

    /// Makes an API token. Its secret is told once and kept nowhere. Durable on return.
    ///
    /// # Errors
    /// [`ControlError`]; nothing is changed then.
    fn issue_token<'a>(
        &'a self,
        caller: &'a Caller,
        token: crate::document::Token,
        how: How,
    ) -> Asked<'a, Changed<(Stored, Secret)>>;

    /// Gives a token a new secret; the old one is taken for another `grace`. Durable on return.
    ///
    /// # Errors
    /// [`ControlError`]; nothing is changed then.
    fn rotate_token<'a>(
        &'a self,
        caller: &'a Caller,
        id: String,
        grace: Duration,
        how: How,
    ) -> Asked<'a, Changed<(Stored, Secret)>>;

    /// The queues that `wanted` asks for, in order of realm and name.
    fn queues(&self, wanted: QueuesWanted) -> Asked<'_, Vec<QueueInfo>>;

    /// A queue.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    fn queue(&self, realm: String, name: String) -> Asked<'_, QueueInfo>;

    /// Makes a queue, or gives one another spec. Durable on return.
    ///
    /// # Errors
    /// [`ControlError`]; nothing is changed then.
    fn put_queue<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        spec: QueueSpec,
        how: How,
    ) -> Asked<'a, Changed<QueueInfo>>;

    /// Deletes a queue with all that waits in it. Durable on return.
    ///
    /// # Errors
    /// [`ControlError`]; nothing is changed then.
    fn remove_queue<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        how: How,
    ) -> Asked<'a, Changed<()>>;

    /// Pauses a queue (`Some(reason)`), or lets it go on. A paused queue takes messages and gives none. Durable on return.
    ///
    /// # Errors
    /// [`ControlError`]; nothing is changed then.
    fn pause<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        paused: Option<String>,
        how: How,
    ) -> Asked<'a, Changed<QueueInfo>>;

    /// Up to `limit` messages of a queue that `selection` is about, by offset; bodies up to `body_bytes_max`.
    ///
    /// # Errors
    /// [`ControlError`].
    fn browse<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        selection: Selection,
        limit: usize,
        body_bytes_max: usize,
    ) -> Asked<'a, Browsed>;

    /// Does something with the first `limit` of the selected messages, or as many as one call may; [`Outcome::next`] says
    /// where to go on. In a dry run, counts them. Each message's fate is one record: a crash in between leaves each where it
    /// was or where it was to go, and a second call goes on. What is done is durable on return.
    ///
    /// # Errors
    /// [`ControlError`].
    #[expect(
        clippy::too_many_arguments,
        reason = "a struct for one call would only rename them"
    )]
    fn dispose<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        selection: Selection,
        limit: Option<u64>,
        fate: Fate,
        how: How,
    ) -> Asked<'a, Changed<Outcome>>;

    /// What keeps a queue from moving.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    fn why(&self, realm: String, name: String) -> Asked<'_, Why>;

    /// Bindings, in order of realm, filter and queue; of one realm and one queue, if given.
    fn bindings(&self, realm: Option<String>, queue: Option<String>) -> Asked<'_, Vec<Binding>>;

    /// Binds a filter to a durable queue, or unbinds it. Durable on return.
    ///
    /// # Errors
    /// [`ControlError`]; nothing is changed then.
    fn bind<'a>(
        &'a self,
        caller: &'a Caller,
        binding: Binding,
        bound: bool,
        how: How,
    ) -> Asked<'a, Changed<QueueInfo>>;

    /// Addresses and filters that somebody takes from, in order, of one realm.
    fn addresses(&self, realm: String) -> Asked<'_, Vec<AddressInfo>>;

    /// Consumers, in order of realm, queue or filter, session and name.
    fn consumers(
        &self,
        realm: Option<String>,
        queue: Option<String>,
    ) -> Asked<'_, Vec<ConsumerInfo>>;

    /// Sessions behind an id, by id; so many at most.
    fn sessions(&self, after: Option<String>, limit: usize) -> Asked<'_, Vec<SessionInfo>>;

    /// A session.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    fn session(&self, id: String) -> Asked<'_, SessionInfo>;

    /// Connections of clients, by id.
    fn connections(&self) -> Asked<'_, Vec<ConnectionInfo>>;

    /// Closes a client's connection; its session goes on.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    fn kick<'a>(
        &'a self,
        caller: &'a Caller,
        connection: String,
        how: How,
    ) -> Asked<'a, Changed<()>>;

    /// Ends a session (`end`), or only takes back all that it has in hand. What it had is ready again. Durable on return.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    fn release<'a>(
        &'a self,
        caller: &'a Caller,
        session: String,
        end: bool,
        how: How,
    ) -> Asked<'a, Changed<()>>;

    /// What WAMP clients have registered, by realm and id; so many at most.
    fn registrations(&self, wanted: NumberedWanted) -> Asked<'_, Vec<RegistrationInfo>>;

    /// A registration.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    fn registration(&self, realm: String, id: u64) -> Asked<'_, RegistrationInfo>;

    /// What WAMP clients have subscribed to, by realm and id; so many at most.
    fn subscriptions(&self, wanted: NumberedWanted) -> Asked<'_, Vec<WampSubscriptionInfo>>;

    /// A subscription of WAMP clients.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    fn subscription(&self, realm: String, id: u64) -> Asked<'_, WampSubscriptionInfo>;

    /// Takes a registration or a subscription from all who have it, who are told if they understand. Their sessions go on, and so do
    /// calls that are on their way.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    fn revoke<'a>(
        &'a self,
        caller: &'a Caller,
        what: Shared,
        realm: String,
        id: u64,
        how: How,
    ) -> Asked<'a, Changed<()>>;

    /// Calls of WAMP clients that are not answered, by realm and number; so many at most.
    fn calls(&self, wanted: NumberedWanted) -> Asked<'_, Vec<CallInfo>>;

    /// Publishes a message, under the same rules as through any door. Durable on return, where a durable queue takes it.
    ///
    /// # Errors
    /// [`ControlError`]: it was not taken.
    fn publish<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        message: PublishRequest,
        how: How,
    ) -> Asked<'a, Published>;

    /// Whether somebody may, and where a message would land.
    ///
    /// # Errors
    /// [`ControlError`].
    fn explain<'a>(&'a self, caller: &'a Caller, request: ExplainRequest)
    -> Asked<'a, Explanation>;

    /// All that administrators have set; hashes of secrets only if asked for.
    fn definitions(&self, with_hashes: bool) -> Asked<'_, Exported>;

    /// Makes what is set be `definitions`; with `prune`, and nothing else. All or nothing. In a dry run: the plan.
    /// Durable on return.
    ///
    /// # Errors
    /// [`ControlError`]; nothing is changed then.
    fn apply<'a>(
        &'a self,
        caller: &'a Caller,
        definitions: Definitions,
        prune: bool,
        how: How,
    ) -> Asked<'a, Changed<Plan>>;

    /// What of the program's doings is logged.
    fn log_level(&self) -> String;

    /// Changes it, until the next start.
    ///
    /// # Errors
    /// [`ControlError::Invalid`].
    fn set_log_level<'a>(
        &'a self,
        caller: &'a Caller,
        level: String,
        how: How,
    ) -> Asked<'a, Changed<String>>;

    /// The configuration in force: every key with its value and where that is from, secrets masked.
    fn config(&self) -> Vec<ConfigEntry>;
}

/// The other end of a connection to the admin API.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The client certificate that it has shown and that was verified, in DER.
    pub certificate: Option<Arc<[u8]>>,
    /// Whether the connection is encrypted.
    pub tls: bool,
}

impl Peer {
    /// Its IP address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}

/// Somebody who was let in.
#[derive(Clone)]
pub struct Admin {
    /// The principal's name, for the log.
    pub name: String,
    /// The revision of the document that they are known by; 0: of none. Whoever has the name later has another one.
    pub revision: u64,
    /// Their roles.
    pub roles: Vec<String>,
    /// What they may do with the broker itself.
    pub grants: Vec<Grant>,
    /// Whatever the broker wants to know of them again.
    pub access: Arc<dyn std::any::Any + Send + Sync>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("name", &self.name)
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

impl Admin {
    /// Whether they have `grant`.
    #[must_use]
    pub fn may(&self, grant: Grant) -> bool {
        self.grants.contains(&grant)
    }
}

/// Somebody who was let in, with a request.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub admin: Admin,
    /// From where.
    pub peer: Peer,
    /// The request's id, also in the log.
    pub request_id: Uuid,
    /// W3C trace context of the request, where it has one: `traceparent` and `tracestate`.
    pub trace: Option<(String, Option<String>)>,
}

/// How a change is to be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct How {
    /// Check everything and change nothing.
    pub dry_run: bool,
    /// What must be so for it to be made.
    pub only: Precondition,
}

/// What must be so for a change to be made (RFC 9110 §13.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// It is there (`If-Match: *`).
    Present,
    /// It is not there (`If-None-Match: *`).
    Absent,
    /// It has this revision (`If-Match`).
    Revision(u64),
}

/// What has become of something, and how it was before: for the answer and for the audit log.
#[derive(Debug, Clone)]
pub struct Changed<T> {
    /// As it is now; in a dry run, as it would be.
    pub now: T,
    /// Whether it was not there before.
    pub created: bool,
    /// The revision of the document that was made of it; of the documents, all alike. None: of none.
    pub revision: Option<u64>,
    /// How it was, without secrets. None: not at all.
    pub before: Option<Value>,
    /// How it is, without secrets. None: not at all any more.
    pub after: Option<Value>,
}

/// A secret in the clear: shown by neither `Debug` nor serde.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The secret itself: for whoever checks it, or shows it to its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Which queues.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueuesWanted {
    /// Of this realm.
    pub realm: Option<String>,
    /// Whose names begin so.
    pub prefix: String,
    /// Behind this realm and name.
    pub after: Option<(String, String)>,
    /// So many at most.
    pub limit: usize,
}

/// Messages that were looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Browsed {
    /// The messages.
    pub messages: Vec<MessageInfo>,
    /// Where to go on; none: this is the end.
    pub next: Option<u64>,
}

/// What became of a message that was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Published {
    /// `stored`: on disk in a durable queue. `delivered`: to whoever listens, kept by nobody. `dropped`: by a route.
    /// `checked`: it was a dry run.
    pub outcome: String,
    /// Its id.
    pub message_id: Option<String>,
}

/// All that administrators have set, and what it is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The definitions.
    pub definitions: Definitions,
    /// SHA-256 over their canonical form, hashes of secrets included whether they are shown or not.
    pub checksum: String,
    /// The revision of the whole: the ETag.
    pub revision: u64,
}

/// What applying definitions changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Plan {
    /// What is made, changed and removed, in order.
    pub steps: Vec<Step>,
    /// The checksum after it.
    pub checksum: String,
}

/// One change of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Step {
    /// Whether it is made, changed or removed.
    pub act: StepAct,
    /// `realm`, `role`, `user`, `token`, `rule`, `route` or `queue`.
    pub kind: String,
    /// Its realm, where it is of one.
    pub realm: Option<String>,
    /// Its name.
    pub name: String,
    /// Fields that change, as `FIELD: OLD -> NEW`, or `FIELD: NEW` of what is made; secrets only by name.
    pub fields: Vec<String>,
}

/// What happens to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepAct {
    /// It is made.
    Create,
    /// It is changed.
    Change,
    /// It is removed.
    Remove,
}

/// A key of the configuration in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ConfigEntry {
    /// With dots.
    pub key: String,
    /// As one would write it.
    pub value: String,
    /// `default`, `file` or the environment variable.
    pub from: String,
}

/// What the broker is and how it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Overview {
    /// The program's version.
    pub version: String,
    /// The data folder's id, for ever.
    pub node: String,
    /// Since when it runs: milliseconds since 1970 UTC.
    pub started_at: u64,
    /// `always`, `interval` or `never`: what a confirm means.
    pub sync: String,
    /// Realms.
    pub realms: u64,
    /// Queues, temporary ones included.
    pub queues: u64,
    /// Connections of clients.
    pub connections: u64,
    /// Sessions that outlive their connections.
    pub sessions: u64,
    /// Messages that wait, in all queues, those in consumers' hands included.
    pub messages: u64,
    /// The log's end, in bytes since the first.
    pub log_durable: u64,
    /// Whether publishes are refused because the disk is nearly full.
    pub disk_full: bool,
    /// The checksum of the definitions.
    pub definitions_checksum: String,
}

/// How the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// False: only a restart helps. Depends on no disk space, no link and no peer.
    pub live: bool,
    /// The broker takes traffic if all of these are `ok`; none at all means that it does.
    pub ready: Vec<Check>,
}

impl Health {
    /// Whether all checks are `ok`.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.iter().all(|check| check.ok)
    }
}

/// One condition of being ready. Shown to everybody who can reach the port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// Such as `recovered`, `log`, `disk`, `listeners`, `draining`: lower case, and never another for the same condition.
    pub name: &'static str,
    /// Whether it is met.
    pub ok: bool,
    /// One line for the operator, without secrets and paths. May be empty.
    pub text: String,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such thing: 404.
    #[error("there is no {0}")]
    NotFound(String),
    /// The rules do not let the caller: 403. Nothing more is told.
    #[error("the rules do not allow this")]
    Denied {
        /// What was wanted, for the audit log.
        verb: Option<Verb>,
        /// By which rule, for the audit log. None: no rule allows it.
        rule: Option<String>,
    },
    /// It is not, or no longer, as the caller believes: 412.
    #[error("it has changed meanwhile: get it again")]
    Changed {
        /// Its revision now. None: it is not there.
        revision: Option<u64>,
    },
    /// It cannot be done as things are: 409.
    #[error("{0}")]
    Conflict(String),
    /// It makes no sense: 422, with JSON pointers into the body.
    #[error("{}", .0.iter().map(|it| format!("{}: {}", it.pointer, it.detail)).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Invalid>),
    /// A limit is reached, or the disk is full: 507.
    #[error("{0}")]
    Full(String),
    /// The disk does not take it in time, and nobody knows yet whether it was done: 507.
    #[error("the disk does not take it; it may still come into force: look before you try again")]
    Unsettled,
    /// A limit of size: 413.
    #[error("{0}")]
    TooLarge(String),
    /// The broker is going down: 503.
    #[error("the broker is shutting down")]
    ShuttingDown,
    /// A fault of the broker's own: 500. The log has more.
    #[error("a fault of the broker's own")]
    Internal,
    /// A part of it was done before it came to an end: as `why` says.
    #[error("{why}; a part was done before")]
    InPart {
        /// What was done, for the audit log.
        done: Value,
        /// Why not all.
        why: Box<ControlError>,
    },
}

/// What is wrong in a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Invalid {
    /// Where: a JSON pointer (RFC 6901); empty for the whole.
    pub pointer: String,
    /// What.
    pub detail: String,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Malformed, wrong, unknown or disabled: 401.
    #[error("these credentials are not valid")]
    Refused,
    /// Too many wrong passwords from this address or for this account: 429.
    #[error("too many wrong passwords")]
    TooMany {
        /// Earlier tries are refused unseen.
        retry_after: Duration,
    },
    /// Too many passwords are being checked: 503.
    #[error("too many log-ins at once")]
    Busy,
}
