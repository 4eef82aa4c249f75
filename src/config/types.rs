//! What the broker means: the sections of [`Config`], and how checked settings become them.
//!
//! The getters below panic if a key of the table is not of the kind that its field wants: that is a mistake between this
//! file and `schema`, and every test that makes a `Config` would show it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Config;
use super::settings::{Entry, Setting, Settings};
use crate::access::{IssuerSettings, JwtAlgorithm, KeySource};

/// The admin API, the console, health and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where they listen; port 0 means any. At least one.
    pub listen: Vec<SocketAddr>,
    /// Whether `/metrics` answers callers from loopback without credentials.
    pub metrics_open: bool,
}

/// What is set at each start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definitions {
    /// The file; `None`: nothing is.
    pub import: Option<PathBuf>,
    /// Whether what is not in it is removed.
    pub prune: bool,
}

/// Encryption of all listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// What is read from where; `None`: no TLS.
    pub files: Option<TlsFiles>,
    /// Whether clients show certificates. Without [`TlsFiles::client_ca`] they never do.
    pub client_auth: ClientAuth,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// How often the files are looked at.
    pub reload_interval: Duration,
}

/// The files of [`Tls`], all in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those between it and an authority that clients know.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The authorities of clients' certificates; `None`: no client has one.
    pub client_ca: Option<PathBuf>,
}

/// Whether a client shows a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// It is not asked for one.
    None,
    /// It may; a wrong one is refused.
    Optional,
    /// It must.
    Required,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
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
    /// Routes of a realm.
    pub routes_per_realm: usize,
    /// Realms; users; tokens; roles; rules.
    pub documents: usize,
    /// Unconfirmed frames of a session.
    pub window: usize,
    /// Messages a second from a connection; `None` for no limit.
    pub publish_rate: Option<u64>,
    /// How long a connection may take to say who it is.
    pub handshake_time: Duration,
    /// Connections from one address that are not authenticated yet.
    pub unauthenticated_per_address: usize,
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

/// The MQTT door. Sizes are in bytes; every limit is included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtt {
    /// Whether it is open.
    pub enabled: bool,
    /// Paths of MQTT over WebSocket, each `/` or without a slash at its end. At least one.
    pub paths: Vec<String>,
    /// Listeners that take nothing else; empty unless [`Mqtt::enabled`].
    pub listen: Vec<SocketAddr>,
    /// A packet with its payload.
    pub packet_bytes_max: u64,
    /// Publishes of QoS 1 and 2 that a client may have under way.
    pub receive_maximum: u16,
    /// Topic aliases of a connection, each way.
    pub topic_alias_max: u16,
    /// The longest keep alive, in whole seconds; `None`: what the client wants.
    pub keep_alive_max: Option<Duration>,
    /// The longest that a session outlives its connection; at most [`Limits::session_expiry`].
    pub session_expiry_max: Duration,
    /// Messages that wait for a session.
    pub session_messages_max: u64,
    /// Bytes of them.
    pub session_bytes_max: u64,
    /// Whether messages of QoS 0 wait for a session whose client is away.
    pub queue_qos0_offline: bool,
    /// How long a shared subscription's messages outlive its last member.
    pub share_linger: Duration,
    /// What becomes of a denied publish in 3.x.
    pub denied_publish: DeniedPublish,
    /// Subscriptions of a session.
    pub subscriptions_max: usize,
    /// Where clients of 5.0 are sent to at a shutdown.
    pub server_reference: Option<String>,
    /// Time between tellings of `$SYS` topics; `None`: they are not told.
    pub sys_interval: Option<Duration>,
    /// Retained messages.
    pub retained_max: usize,
}

/// The WAMP door. Sizes are in bytes; every limit is included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wamp {
    /// Whether it is open.
    pub enabled: bool,
    /// Paths of WAMP over WebSocket, each `/` or without a slash at its end, and none of [`Mqtt::paths`].
    pub paths: Vec<String>,
    /// Listeners that take RawSocket and nothing else; empty unless [`Wamp::enabled`].
    pub listen: Vec<SocketAddr>,
    /// A Unix socket for RawSocket; none unless [`Wamp::enabled`].
    pub unix_socket: Option<PathBuf>,
    /// A message with its payload, over whatever transport.
    pub message_bytes_max: u64,
    /// How often a client is pinged.
    pub ping_interval: Duration,
    /// Which rules URIs must follow.
    pub uri_check: UriCheck,
    /// Whether request ids must be 1, 2, 3 ….
    pub sequential_ids: bool,
    /// Whether UBJSON is the big-endian one.
    pub ubjson_legacy: bool,
    /// What becomes of a subscriber that is too slow.
    pub slow_consumer: SlowConsumer,
    /// Whether callers and publishers are disclosed.
    pub disclose: Disclose,
    /// Events of a durable subscription that a client may have unacknowledged.
    pub unacknowledged_max: u64,
    /// Subscriptions of a session.
    pub subscriptions_max: usize,
    /// Registrations of a session.
    pub registrations_max: usize,
    /// Calls of a session that wait for their result.
    pub calls_max: usize,
    /// The URI of a procedure that is asked what sessions may do.
    pub authorizer: Option<String>,
    /// How long its answers count; zero: not at all.
    pub authorizer_cache: Duration,
    /// Long-poll; `None`: it is not offered.
    pub long_poll: Option<WampLongPoll>,
}

/// WAMP over HTTP requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WampLongPoll {
    /// How long a request waits for a message; less than [`WampLongPoll::session_timeout`].
    pub poll_timeout: Duration,
    /// How long a client may be without a request.
    pub session_timeout: Duration,
}

/// The SP door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sp {
    /// Whether it is open.
    pub enabled: bool,
    /// Bytes of the largest message, its header included.
    pub message_bytes_max: u64,
    /// Deliveries that a PULL may have on their way, unless it asks for another number.
    pub credit: usize,
    /// Requests that a REP may have in hand, likewise.
    pub requests: usize,
    /// How long a request may be without an answer.
    pub reply_timeout: Duration,
    /// How long a connection may be silent before the system looks after its peer.
    pub keep_alive: Duration,
}

/// Which of WAMP's rules for URIs hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UriCheck {
    /// No white space, no `#`, no empty component.
    Loose,
    /// Lower case letters, digits and underscores besides.
    Strict,
}

/// What becomes of a WAMP subscriber that does not take its events in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlowConsumer {
    /// It misses events.
    Drop,
    /// Its session ends.
    Disconnect,
}

/// Whether callees and subscribers of WAMP are told who calls and publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disclose {
    /// If that wishes so.
    Wished,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What becomes of a publish that is denied, where the protocol has no word for it (MQTT 3.x).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeniedPublish {
    /// It is acknowledged, and dropped.
    Acknowledge,
    /// It ends the connection.
    Close,
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

/// Who is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Whose JWTs are taken.
    pub issuers: Vec<IssuerSettings>,
    /// The first administrator's password; `None`: a random one.
    pub admin_password_file: Option<PathBuf>,
    /// The role of those who show nothing; `None`: they are not let in.
    pub anonymous_role: Option<String>,
}

/// What the broker writes to standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// In `tracing_subscriber::EnvFilter`'s syntax, and accepted by it.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// The log of administrative acts and denied attempts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// A file that has reached this size gets no further line.
    pub file_bytes: u64,
    /// Files that are kept; at least 1.
    pub files: usize,
}

/// What `/metrics` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Whether anything is counted.
    pub enabled: bool,
    /// Queues that have time series of their own.
    pub queues_max: usize,
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
        tls: tls(s),
        storage: storage(s),
        limits: limits(s),
        mbws: Mbws {
            heartbeat: span(s, "mbws.heartbeat"),
            origins: texts(s.get("mbws.origins")),
        },
        mqtt: mqtt(s),
        wamp: wamp(s),
        sp: Sp {
            enabled: flag(s, "sp.enabled"),
            message_bytes_max: size(s, "sp.message-bytes-max"),
            credit: count(s, "sp.credit"),
            requests: count(s, "sp.requests"),
            reply_timeout: span(s, "sp.reply-timeout"),
            keep_alive: span(s, "sp.keep-alive"),
        },
        queues: queues(s),
        log: log(s),
        audit: Audit {
            file_bytes: size(s, "audit.file-bytes"),
            files: count(s, "audit.files"),
        },
        metrics: Metrics {
            enabled: flag(s, "metrics.enabled"),
            queues_max: count(s, "metrics.queues-max"),
        },
        definitions: Definitions {
            import: some_text(s.get("definitions.import")).map(PathBuf::from),
            prune: flag(s, "definitions.prune"),
        },
        access: Access {
            issuers: entries(s, "access.jwt").iter().filter_map(issuer).collect(),
            admin_password_file: some_text(s.get("access.admin-password-file")).map(PathBuf::from),
            anonymous_role: some_text(s.get("access.anonymous-role")),
        },
        settings,
    }
}

fn tls(s: &Settings) -> Tls {
    let path = |key| some_text(s.get(key)).map(PathBuf::from);
    let pair = path("tls.certificate").zip(path("tls.key"));
    Tls {
        files: pair.map(|(certificate, key)| TlsFiles {
            certificate,
            key,
            client_ca: path("tls.client-ca"),
        }),
        client_auth: match text(s, "tls.client-auth").as_str() {
            "required" => ClientAuth::Required,
            "optional" => ClientAuth::Optional,
            _ => ClientAuth::None,
        },
        min_version: match text(s, "tls.min-version").as_str() {
            "1.3" => TlsVersion::V13,
            _ => TlsVersion::V12,
        },
        reload_interval: span(s, "tls.reload-interval"),
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
        routes_per_realm: count(s, "limits.routes-per-realm"),
        documents: count(s, "limits.documents"),
        window: count(s, "limits.window"),
        publish_rate: Some(count(s, "limits.publish-rate")).filter(|rate| *rate > 0),
        handshake_time: span(s, "limits.handshake-time"),
        unauthenticated_per_address: count(s, "limits.unauthenticated-per-address"),
        auth_attempts: count(s, "limits.auth-attempts"),
    }
}

fn mqtt(s: &Settings) -> Mqtt {
    let enabled = flag(s, "mqtt.enabled");
    let expiry_max = span(s, "limits.session-expiry");
    let whole_seconds = |span: Duration| Duration::from_secs(span.as_secs());
    Mqtt {
        enabled,
        paths: texts(s.get("mqtt.path")),
        listen: if enabled {
            sockets(s, "mqtt.listen")
        } else {
            Vec::new()
        },
        packet_bytes_max: size(s, "mqtt.packet-bytes-max"),
        receive_maximum: count(s, "mqtt.receive-maximum"),
        topic_alias_max: count(s, "mqtt.topic-alias-max"),
        keep_alive_max: some_span(s.get("mqtt.keep-alive-max")).map(whole_seconds),
        session_expiry_max: some_span(s.get("mqtt.session-expiry-max"))
            .map_or(expiry_max, |own| own.min(expiry_max)),
        session_messages_max: count(s, "mqtt.session-messages-max"),
        session_bytes_max: size(s, "mqtt.session-bytes-max"),
        queue_qos0_offline: flag(s, "mqtt.queue-qos0-offline"),
        share_linger: span(s, "mqtt.share-linger"),
        denied_publish: match text(s, "mqtt.denied-publish").as_str() {
            "close" => DeniedPublish::Close,
            _ => DeniedPublish::Acknowledge,
        },
        subscriptions_max: count(s, "mqtt.subscriptions-max"),
        server_reference: some_text(s.get("mqtt.server-reference")),
        sys_interval: Some(span(s, "mqtt.sys-interval")).filter(|it| !it.is_zero()),
        retained_max: count(s, "mqtt.retained-max"),
    }
}

fn wamp(s: &Settings) -> Wamp {
    let enabled = flag(s, "wamp.enabled");
    Wamp {
        enabled,
        paths: wamp_paths(s),
        listen: if enabled {
            sockets(s, "wamp.listen")
        } else {
            Vec::new()
        },
        unix_socket: some_text(s.get("wamp.unix-socket"))
            .filter(|_| enabled)
            .map(PathBuf::from),
        message_bytes_max: size(s, "wamp.message-bytes-max"),
        ping_interval: span(s, "wamp.ping-interval"),
        uri_check: match text(s, "wamp.uri-check").as_str() {
            "strict" => UriCheck::Strict,
            _ => UriCheck::Loose,
        },
        sequential_ids: flag(s, "wamp.sequential-ids"),
        ubjson_legacy: flag(s, "wamp.ubjson-legacy"),
        slow_consumer: match text(s, "wamp.slow-consumer").as_str() {
            "disconnect" => SlowConsumer::Disconnect,
            _ => SlowConsumer::Drop,
        },
        disclose: match text(s, "wamp.disclose").as_str() {
            "always" => Disclose::Always,
            "never" => Disclose::Never,
            _ => Disclose::Wished,
        },
        unacknowledged_max: count(s, "wamp.unacknowledged-max"),
        subscriptions_max: count(s, "wamp.subscriptions-max"),
        registrations_max: count(s, "wamp.registrations-max"),
        calls_max: count(s, "wamp.calls-max"),
        authorizer: some_text(s.get("wamp.authorizer")),
        authorizer_cache: span(s, "wamp.authorizer-cache"),
        long_poll: flag(s, "wamp.long-poll.enabled").then(|| WampLongPoll {
            poll_timeout: span(s, "wamp.long-poll.poll-timeout"),
            session_timeout: span(s, "wamp.long-poll.session-timeout"),
        }),
    }
}

/// Of the default, those that are not MQTT's already; that others are not was checked.
fn wamp_paths(s: &Settings) -> Vec<String> {
    let mqtt = texts(s.get("mqtt.path"));
    let mut paths = texts(s.get("wamp.path"));
    paths.retain(|path| !mqtt.contains(path));
    paths
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

/// None: the entry names no file with keys, which is a fault that `config` finds.
fn issuer(entry: &Entry) -> Option<IssuerSettings> {
    let text = |key| entry.get(key).and_then(some_text).unwrap_or_default();
    let file = |key| entry.get(key).and_then(some_text).map(PathBuf::from);
    let algorithms = entry.get("algorithms").map(texts).unwrap_or_default();
    let keys = file("secret-file")
        .map(KeySource::Secret)
        .or_else(|| file("key-file").map(KeySource::PublicKey))
        .or_else(|| file("jwks-file").map(KeySource::Jwks))?;
    Some(IssuerSettings {
        issuer: text("issuer"),
        audience: text("audience"),
        algorithms: algorithms
            .iter()
            .filter_map(|name| JwtAlgorithm::from_name(name))
            .collect(),
        keys,
        user_claim: text("user-claim"),
        user_prefix: text("user-prefix"),
        roles_claim: text("roles-claim"),
        roles_prefix: text("roles-prefix"),
        leeway: entry.get("leeway").and_then(some_span).unwrap_or_default(),
        allow_admin: entry.get("allow-admin") == Some(&Setting::Flag(true)),
    })
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
