//! What the broker means: the sections of [`Config`], and how checked settings become them.
//!
//! The getters below panic if a key of the table is not of the kind that its field wants: that is a mistake between this
//! file and `schema`, and every test that makes a `Config` would show it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use super::settings::{Entry, Setting, Settings};
use crate::access::{Effect, Filter, Rule, Verb};

/// The admin API, the console, health and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where they listen; port 0 means any. At least one.
    pub listen: Vec<SocketAddr>,
    /// Whether `/metrics` answers callers from loopback without credentials.
    pub metrics_open: bool,
}

/// When written records are made to survive a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before each confirm.
    Always,
    /// Every [`Storage::sync_interval`]; confirms do not wait for it.
    Interval,
    /// When the system likes.
    Never,
}

/// The log on disk. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// When records are synced.
    pub sync: SyncPolicy,
    /// How often, with [`SyncPolicy::Interval`].
    pub sync_interval: Duration,
    /// The size of one segment; at least [`Limits::frame_bytes`].
    pub segment_bytes: u64,
    /// With less free disk than this, publishes are refused.
    pub free_low_bytes: u64,
    /// The longest between two checkpoints.
    pub checkpoint_interval: Duration,
    /// The most log between two checkpoints.
    pub checkpoint_bytes: u64,
    /// What may wait for the log's writer.
    pub in_flight_bytes: u64,
    /// How much of the log's end stays in memory.
    pub tail_bytes: u64,
}

/// What one client may cost. Sizes are in bytes; every limit is included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A frame with its body.
    pub frame_bytes: u64,
    /// A frame's header; at most [`Limits::frame_bytes`].
    pub header_bytes: u64,
    /// Properties of a message.
    pub properties: usize,
    /// An address or filter.
    pub address_bytes: u64,
    /// Segments of an address or filter.
    pub address_segments: usize,
    /// Open connections.
    pub connections: usize,
    /// Open connections of one principal.
    pub connections_per_principal: usize,
    /// Sessions, connected or not.
    pub sessions: usize,
    /// The longest that a session outlives its connection.
    pub session_expiry: Duration,
    /// Consumers of a session.
    pub consumers_per_session: usize,
    /// Queues of a realm.
    pub queues_per_realm: usize,
    /// Unconfirmed frames of a session.
    pub window: usize,
    /// Messages a second from a connection; `None` for no limit.
    pub publish_rate: Option<u64>,
    /// How long a connection may take to say who it is.
    pub handshake_time: Duration,
    /// Wrong passwords a minute from one peer address.
    pub auth_attempts: u32,
}

/// The MBWS door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mbws {
    /// How often each side must be heard.
    pub heartbeat: Duration,
    /// Origins in lower case that browsers may connect from, besides the broker's own host.
    pub origins: Vec<String>,
}

/// How queues come to be, and what holds for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queues {
    /// Whether sending to an unbound address makes a queue of that name.
    pub create_on_send: bool,
    /// Whether consuming from an address without a queue makes one.
    pub create_on_consume: bool,
    /// For queues that no policy matches.
    pub defaults: QueueLimits,
    /// The first whose filter matches a queue's name counts.
    pub policies: Vec<QueuePolicy>,
}

/// What holds for a queue; `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueueLimits {
    /// How long a message is kept.
    pub ttl: Option<Duration>,
    /// Messages that the queue holds.
    pub max_messages: Option<u64>,
    /// Bytes of bodies that it holds.
    pub max_bytes: Option<u64>,
    /// Deliveries of one message.
    pub max_attempts: Option<u32>,
    /// Where rejected, expired and too often tried messages go; `None` drops them.
    pub dead_letter: Option<String>,
}

/// What holds for some queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuePolicy {
    /// Which queues, by name; syntactically valid.
    pub filter: String,
    /// All that holds for them: what the entry left out is filled in from the defaults.
    pub limits: QueueLimits,
}

/// What the broker writes to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// In `tracing_subscriber::EnvFilter`'s syntax, and accepted by it.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Gives every field of [`Config`] its setting.
pub(super) fn config(settings: Settings) -> Config {
    let s = &settings;
    Config {
        data: PathBuf::from(text(s, "data")),
        listen: sockets(s, "listen"),
        allow_insecure: flag(s, "allow-insecure"),
        drain_time: span(s, "drain-time"),
        admin: Admin {
            listen: sockets(s, "admin.listen"),
            metrics_open: flag(s, "admin.metrics-open"),
        },
        storage: storage(s),
        limits: limits(s),
        mbws: Mbws {
            heartbeat: span(s, "mbws.heartbeat"),
            origins: texts(s.get("mbws.origins")),
        },
        queues: queues(s),
        log: log(s),
        rules: entries(s, "access.rules").iter().map(rule).collect(),
        settings,
    }
}

fn storage(s: &Settings) -> Storage {
    Storage {
        sync: match text(s, "storage.sync").as_str() {
            "always" => SyncPolicy::Always,
            "interval" => SyncPolicy::Interval,
            _ => SyncPolicy::Never,
        },
        sync_interval: span(s, "storage.sync-interval"),
        segment_bytes: size(s, "storage.segment-bytes"),
        free_low_bytes: size(s, "storage.free-low"),
        checkpoint_interval: span(s, "storage.checkpoint-interval"),
        checkpoint_bytes: size(s, "storage.checkpoint-bytes"),
        in_flight_bytes: size(s, "storage.in-flight-bytes"),
        tail_bytes: size(s, "storage.tail-bytes"),
    }
}

fn limits(s: &Settings) -> Limits {
    Limits {
        frame_bytes: size(s, "limits.frame-bytes"),
        header_bytes: size(s, "limits.header-bytes"),
        properties: count(s, "limits.properties"),
        address_bytes: size(s, "limits.address-bytes"),
        address_segments: count(s, "limits.address-segments"),
        connections: count(s, "limits.connections"),
        connections_per_principal: count(s, "limits.connections-per-principal"),
        sessions: count(s, "limits.sessions"),
        session_expiry: span(s, "limits.session-expiry"),
        consumers_per_session: count(s, "limits.consumers-per-session"),
        queues_per_realm: count(s, "limits.queues-per-realm"),
        window: count(s, "limits.window"),
        publish_rate: Some(count(s, "limits.publish-rate")).filter(|rate| *rate > 0),
        handshake_time: span(s, "limits.handshake-time"),
        auth_attempts: count(s, "limits.auth-attempts"),
    }
}

fn queues(s: &Settings) -> Queues {
    let defaults = QueueLimits {
        ttl: some_span(s.get("queues.defaults.ttl")),
        max_messages: some_count(s.get("queues.defaults.max-messages")),
        max_bytes: some_size(s.get("queues.defaults.max-bytes")),
        max_attempts: some_count(s.get("queues.defaults.max-attempts")),
        dead_letter: some_text(s.get("queues.defaults.dead-letter")),
    };
    Queues {
        create_on_send: flag(s, "queues.create-on-send"),
        create_on_consume: flag(s, "queues.create-on-consume"),
        policies: entries(s, "queues.policies")
            .iter()
            .map(|entry| policy(entry, &defaults))
            .collect(),
        defaults,
    }
}

fn policy(entry: &Entry, defaults: &QueueLimits) -> QueuePolicy {
    let inherited = defaults.clone();
    QueuePolicy {
        filter: entry.get("filter").and_then(some_text).unwrap_or_default(),
        limits: QueueLimits {
            ttl: entry.get("ttl").map_or(inherited.ttl, some_span),
            max_messages: entry
                .get("max-messages")
                .map_or(inherited.max_messages, some_count),
            max_bytes: entry
                .get("max-bytes")
                .map_or(inherited.max_bytes, some_size),
            max_attempts: entry
                .get("max-attempts")
                .map_or(inherited.max_attempts, some_count),
            dead_letter: entry
                .get("dead-letter")
                .map_or(inherited.dead_letter, some_text),
        },
    }
}

fn log(s: &Settings) -> Log {
    let format = if text(s, "log.format") == "json" {
        LogFormat::Json
    } else {
        LogFormat::Text
    };
    Log {
        level: text(s, "log.level"),
        format,
    }
}

fn rule(entry: &Entry) -> Rule {
    let text = |key| entry.get(key).and_then(some_text).unwrap_or_default();
    let verbs = entry.get("verbs").map(texts).unwrap_or_default();
    Rule {
        role: text("role"),
        verbs: verbs
            .iter()
            .filter_map(|verb| Verb::from_name(verb))
            .collect(),
        realm: text("realm"),
        filter: Filter::parse(&text("filter"))
            .unwrap_or_else(|error| unreachable!("checked before: {error}")),
        effect: if text("effect") == "deny" {
            Effect::Deny
        } else {
            Effect::Allow
        },
    }
}

fn flag(s: &Settings, path: &'static str) -> bool {
    *s.get(path) == Setting::Flag(true)
}

fn size(s: &Settings, path: &'static str) -> u64 {
    some_size(s.get(path)).unwrap_or_else(|| unreachable!("{path} is a size"))
}

fn count<N: TryFrom<u64>>(s: &Settings, path: &'static str) -> N {
    some_count(s.get(path)).unwrap_or_else(|| unreachable!("{path} is a count that fits its field"))
}

fn span(s: &Settings, path: &'static str) -> Duration {
    some_span(s.get(path)).unwrap_or_else(|| unreachable!("{path} is a span"))
}

fn text(s: &Settings, path: &'static str) -> String {
    some_text(s.get(path)).unwrap_or_else(|| unreachable!("{path} is text"))
}

fn sockets(s: &Settings, path: &'static str) -> Vec<SocketAddr> {
    match s.get(path) {
        Setting::Sockets(sockets) => sockets.clone(),
        other => unreachable!("{path} is {other:?}"),
    }
}

fn entries<'a>(s: &'a Settings, path: &'static str) -> &'a [Entry] {
    match s.get(path) {
        Setting::Entries(entries) => entries,
        other => unreachable!("{path} is {other:?}"),
    }
}

fn some_size(setting: &Setting) -> Option<u64> {
    if let Setting::Size(bytes) = setting {
        Some(*bytes)
    } else {
        None
    }
}

fn some_count<N: TryFrom<u64>>(setting: &Setting) -> Option<N> {
    if let Setting::Count(count) = setting {
        N::try_from(*count).ok()
    } else {
        None
    }
}

fn some_span(setting: &Setting) -> Option<Duration> {
    if let Setting::Span(span) = setting {
        Some(*span)
    } else {
        None
    }
}

fn some_text(setting: &Setting) -> Option<String> {
    if let Setting::Text(text) = setting {
        Some(text.clone())
    } else {
        None
    }
}

fn texts(setting: &Setting) -> Vec<String> {
    if let Setting::Texts(texts) = setting {
        texts.clone()
    } else {
        Vec::new()
    }
}
