//! Documents: what administrators set, each whole. One shape for the API, for definitions and for the broker's log.
//!
//! Every field but the few that are required has a default, and no other field is taken: a misspelt one is an error
//! everywhere, and a document that is left out field by field means the same.
//!
//! Not here: queues, which are made by use as well ([`crate::queue`]); what a rule or a route does (the broker).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An isolated name space with its own addresses, queues, routes and sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Realm {
    /// For people.
    pub description: String,
    /// Queues that it may have. None: as many as the configuration allows each realm.
    pub max_queues: Option<u64>,
    /// Connections at once. None: as many as the broker takes.
    pub max_connections: Option<u64>,
}

/// Somebody who logs in with a password, a certificate or a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct User {
    /// For people.
    pub description: String,
    /// What they are; rules and rights are given to roles.
    pub roles: Vec<String>,
    /// Whether they are refused, and their connections closed.
    pub disabled: bool,
    /// Names in client certificates that are this user's: `cn:NAME`, `dns:NAME`, `uri:URI`, `email:ADDRESS` or
    /// `sha256:HEX`, the certificate's fingerprint.
    pub certificates: Vec<String>,
    /// Ed25519 public keys that are this user's, 64 hexadecimal digits each, for WAMP's method `cryptosign`; at most 8. A key is one
    /// user's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub public_keys: Vec<String>,
    /// The password's Argon2id hash, as a PHC string. None: no password lets this user in. Never shown by the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_hash: Option<String>,
    /// What SCRAM-SHA-256 needs of the same password: `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY`. None: SCRAM does
    /// not let this user in. Made whenever the broker hashes a password. Never shown by the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scram_verifier: Option<String>,
    /// What WAMP-CRA needs of the same password: `WAMPCRA$ITERATIONS:KEYLEN:SALT$KEY`. As good as the password for that method. None:
    /// WAMP-CRA does not let this user in. Made whenever the broker hashes a password. Never shown by the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wampcra_key: Option<String>,
    /// What WAMP's method `scram` needs of the same password: `SCRAM-ARGON2ID13$ITERATIONS:MEMORY:SALT$STOREDKEY:SERVERKEY`. None: it
    /// does not let this user in. Made whenever the broker hashes a password. Never shown by the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scram_argon2_verifier: Option<String>,
}

impl User {
    /// Takes the password of `other`: all its secrets, or none. They are never mixed, or an old password would still do for one.
    pub fn take_password(&mut self, other: &User) {
        self.password_hash.clone_from(&other.password_hash);
        self.scram_verifier.clone_from(&other.scram_verifier);
        self.wampcra_key.clone_from(&other.wampcra_key);
        self.scram_argon2_verifier
            .clone_from(&other.scram_argon2_verifier);
    }

    /// All that is kept of the password, its hash first.
    #[must_use]
    pub fn password_secrets(&self) -> [Option<&str>; 4] {
        [
            self.password_hash.as_deref(),
            self.scram_verifier.as_deref(),
            self.wampcra_key.as_deref(),
            self.scram_argon2_verifier.as_deref(),
        ]
    }

    /// Whether it has any of a password's secrets.
    #[must_use]
    pub fn has_password_secrets(&self) -> bool {
        self.password_secrets().iter().any(Option::is_some)
    }

    /// Without what came of a secret.
    pub fn clear_password(&mut self) {
        self.password_hash = None;
        self.scram_verifier = None;
        self.wampcra_key = None;
        self.scram_argon2_verifier = None;
    }
}

/// An API token: a random secret that stands for nobody but itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Token {
    /// What it is for; principals and the audit log show it as `token:LABEL`. Unique.
    pub label: String,
    /// For people.
    pub description: String,
    /// What it may be used as.
    pub roles: Vec<String>,
    /// Whether it is refused.
    pub disabled: bool,
    /// From when on it is refused: milliseconds since 1970 UTC. None: never.
    pub expires_at: Option<u64>,
    /// When its secret was made: milliseconds since 1970 UTC.
    pub created_at: u64,
    /// The secret's hash. Never shown by the API.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hash: String,
    /// After a rotation: the hash of the secret before, and until when that is still taken. Never shown by the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<PreviousSecret>,
}

/// A token's secret before its last rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PreviousSecret {
    /// Its hash.
    pub hash: String,
    /// Until when it is taken: milliseconds since 1970 UTC.
    pub until: u64,
}

/// A role: what users, tokens and rules name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Role {
    /// For people.
    pub description: String,
    /// What those with the role may do with the broker itself. What they may do with messages is in rules.
    pub grants: Vec<Grant>,
}

/// A right over the broker itself.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// Scrape metrics.
    Monitor,
    /// See everything but secrets, messages and the audit log.
    Read,
    /// Act on connections, sessions and any queue, as if allowed to `manage` and `browse` every address; log level.
    Operate,
    /// Change realms and routes.
    Configure,
    /// Change users, tokens, roles and rules; apply definitions; read the audit log.
    Secure,
}

impl Grant {
    /// All of them, weakest first.
    pub const ALL: [Grant; 5] = [
        Grant::Monitor,
        Grant::Read,
        Grant::Operate,
        Grant::Configure,
        Grant::Secure,
    ];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Grant::Monitor => "monitor",
            Grant::Read => "read",
            Grant::Operate => "operate",
            Grant::Configure => "configure",
            Grant::Secure => "secure",
        }
    }
}

/// A rule of access: whom it concerns, what, where, and whether it allows or denies. Deny wins; what no rule allows is
/// denied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// A role, or `*` for everybody with credentials.
    pub role: String,
    /// What.
    pub verbs: Vec<Verb>,
    /// A realm, or `*` for every one.
    #[serde(default = "default_realm")]
    pub realm: String,
    /// Addresses: `+` is one segment, `#` all the rest, `orders/e#` whatever begins so; a segment `${user}` or `${client}` is the principal's name or
    /// the client's id, taken literally.
    pub filter: String,
    /// Allow or deny.
    #[serde(default)]
    pub effect: Effect,
    /// Of a rule that allows `send` or `call`: how far whoever does so by it is trusted, 0 (lowest) to 9. WAMP's subscribers and callees
    /// are told, as `trustlevel`. Where several rules allow it, the highest counts. None: this rule says nothing of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9))]
    pub trustlevel: Option<u8>,
}

/// The highest trust level that a rule may set.
pub const TRUSTLEVEL_MAX: u8 = 9;

fn default_realm() -> String {
    "default".to_owned()
}

/// What somebody wants to do with an address.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Publish to it.
    Send,
    /// Take messages from it.
    Consume,
    /// Look at messages and leave them.
    Browse,
    /// Make, change, pause, purge and delete queues and bindings; move and delete messages.
    Manage,
    /// Call it as a procedure (WAMP).
    Call,
    /// Offer it as a procedure (WAMP).
    Register,
}

impl Verb {
    /// All of them.
    pub const ALL: [Verb; 6] = [
        Verb::Send,
        Verb::Consume,
        Verb::Browse,
        Verb::Manage,
        Verb::Call,
        Verb::Register,
    ];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Send => "send",
            Verb::Consume => "consume",
            Verb::Browse => "browse",
            Verb::Manage => "manage",
            Verb::Call => "call",
            Verb::Register => "register",
        }
    }
}

/// What a rule does to what it is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Lets it through, unless another rule denies.
    #[default]
    Allow,
    /// Refuses it, whatever other rules say.
    Deny,
}

/// A route: what is sent to addresses that its filter matches goes to other addresses. Routes of a realm are looked at
/// in their `order`, then by name; each sees the address and properties as they were sent, never what another made of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Whether it is passed over.
    #[serde(default)]
    pub disabled: bool,
    /// Lower ones are looked at first.
    #[serde(default)]
    pub order: i32,
    /// Addresses: `+` is one segment, `#` all the rest, `orders/e#` whatever begins so. Each captures what it stands for, that one
    /// from `e` on: `{1}`, `{2}` … in targets.
    pub filter: String,
    /// Conditions on the message, all of which must hold.
    #[serde(default)]
    pub when: Vec<Condition>,
    /// Whether it counts only for messages that no other route took and no queue is bound for.
    #[serde(default)]
    pub unrouted: bool,
    /// Where messages go. Empty: nowhere; they are dropped (counted) unless `keep` is set or another route takes them.
    #[serde(default)]
    pub to: Vec<Target>,
    /// Which of the targets.
    #[serde(default)]
    pub choose: Choose,
    /// For `choose: shard`, what decides: `key`, `message-id`, `correlation-id` or `property.NAME`. A message that has
    /// none goes to the first target.
    #[serde(default)]
    pub shard_by: Option<String>,
    /// Whether messages also stay at the address that they were sent to.
    #[serde(default)]
    pub keep: bool,
    /// Whether routes behind this one are not looked at.
    #[serde(default)]
    pub last: bool,
}

/// A condition on a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// `key`, `content-type`, `message-id`, `correlation-id`, `reply-to`, `priority` or `property.NAME`.
    pub field: String,
    /// The field is one of these. Empty: it is there, whatever it is.
    #[serde(default)]
    pub is: Vec<String>,
    /// Turns the condition round.
    #[serde(default)]
    pub not: bool,
}

/// Where a route leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// An address, in which `{1}`, `{2}` … stand for what the filter's wildcards captured.
    pub address: String,
    /// For `choose: weight`: its share; 0 takes it out.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

/// Which targets of a route a message goes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Choose {
    /// All of them.
    #[default]
    All,
    /// One, by weight; which one follows from the message's id.
    Weight,
    /// One, always the same for the same `shard_by`.
    Shard,
}

/// What kind of document.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum DocumentKind {
    /// [`Realm`].
    Realm,
    /// [`User`].
    User,
    /// [`Token`], by its id: the part of it that may be shown.
    Token,
    /// [`Role`].
    Role,
    /// [`Rule`].
    Rule,
    /// [`Route`], of a realm.
    Route,
}

impl DocumentKind {
    /// All of them; what others name comes first.
    pub const ALL: [DocumentKind; 6] = [
        DocumentKind::Realm,
        DocumentKind::Role,
        DocumentKind::User,
        DocumentKind::Token,
        DocumentKind::Rule,
        DocumentKind::Route,
    ];

    /// As it is written, in the singular.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DocumentKind::Realm => "realm",
            DocumentKind::User => "user",
            DocumentKind::Token => "token",
            DocumentKind::Role => "role",
            DocumentKind::Rule => "rule",
            DocumentKind::Route => "route",
        }
    }
}

/// A document of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// A realm.
    Realm(Realm),
    /// A user.
    User(User),
    /// A token.
    Token(Token),
    /// A role.
    Role(Role),
    /// A rule.
    Rule(Rule),
    /// A route.
    Route(Route),
}

impl Document {
    /// Of which kind it is.
    #[must_use]
    pub fn kind(&self) -> DocumentKind {
        match self {
            Document::Realm(_) => DocumentKind::Realm,
            Document::User(_) => DocumentKind::User,
            Document::Token(_) => DocumentKind::Token,
            Document::Role(_) => DocumentKind::Role,
            Document::Rule(_) => DocumentKind::Rule,
            Document::Route(_) => DocumentKind::Route,
        }
    }
}

/// Which document: its kind, its realm where it is of one (routes), and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId {
    /// Its kind.
    pub kind: DocumentKind,
    /// Its realm; empty where documents of its kind belong to none.
    pub realm: String,
    /// Its name, unique among those of its kind and realm.
    pub name: String,
}

/// A document with what the broker knows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Which.
    pub id: DocumentId,
    /// The document, whole: secrets' hashes included, which are not to be shown.
    pub document: Document,
    /// Changes with it; the ETag.
    pub revision: u64,
}

/// All that administrators have set: what is exported, planned and applied. Maps are by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Definitions {
    /// The version of this form: 1.
    pub version: u32,
    /// Realms, with what is in them.
    pub realms: BTreeMap<String, RealmDefinitions>,
    /// Roles.
    pub roles: BTreeMap<String, Role>,
    /// Users.
    pub users: BTreeMap<String, User>,
    /// Tokens, by id.
    pub tokens: BTreeMap<String, Token>,
    /// Rules.
    pub rules: BTreeMap<String, Rule>,
}

/// A realm and what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RealmDefinitions {
    /// As in [`Realm`].
    pub description: String,
    /// As in [`Realm`].
    pub max_queues: Option<u64>,
    /// As in [`Realm`].
    pub max_connections: Option<u64>,
    /// Its routes.
    pub routes: BTreeMap<String, Route>,
    /// Its durable queues.
    pub queues: BTreeMap<String, crate::queue::QueueSpec>,
}
