//! Every key of the configuration: path, kind, range, default, meaning. The single source.
//!
//! From this table come the check of the file, the names of the environment variables, `ops/restante.example.yaml` and
//! what `check-config` prints; a key that is missing here does not exist.
//!
//! Always, each with a test of its name:
//! - `variables_are_unambiguous` (below).
//! - `an_empty_file_is_the_default` (`config`), which checks each default against its own range.
//! - `the_example_in_ops_is_what_the_table_says` (`render`).

use std::time::Duration;

use crate::access::JwtAlgorithm;

/// What kind of value a key takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A folder's path, as given.
    Folder,
    /// A file's path, as given.
    File,
    /// Words as somebody else spells them: not empty, no control characters.
    Text,
    /// The name of a role that a document may describe.
    Role,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Some of these words, at least one.
    Choices(&'static [&'static str]),
    /// A whole number, both ends included.
    Count { min: u64, max: u64 },
    /// Bytes, both ends included.
    Size { min: u64, max: u64 },
    /// Time, both ends included.
    Span { min: Duration, max: Duration },
    /// One IP address and port, or a list of them.
    Sockets,
    /// A list of browser origins, `https://console.example`.
    Origins,
    /// One path of a URL, or a list of them: `/mqtt`.
    Paths,
    /// What of the program's doings is logged (`info`, `restante=debug,info`).
    LogLevels,
    /// An address: no wildcards.
    Address,
    /// An address with wildcards.
    Filter,
    /// A list of sections, each with these keys.
    Entries(&'static [Key]),
}

/// What holds for a key that is not set.
#[derive(Debug, Clone, Copy)]
pub(super) enum Default {
    /// This value, as one would write it.
    Is(&'static str),
    /// An empty list.
    Empty,
    /// These values.
    Are(&'static [&'static str]),
    /// Nothing: the broker does not limit it. The word `none` says the same.
    None,
    /// In a list's entry: what the general setting says.
    Inherited,
    /// In a list's entry: it must be set.
    Required,
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    /// With dots from the top, or within a list's entry.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    pub(super) default: Default,
    /// One or two sentences for operators, without the range.
    pub(super) doc: &'static str,
    /// Whether a reload applies it; otherwise it counts from the next start.
    pub(super) live: bool,
}

impl Key {
    /// A key that a reload applies: `reload` (the module) must do so.
    const fn live(mut self) -> Key {
        self.live = true;
        self
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const YEARS_10: Duration = Duration::from_hours(24 * 3652);

const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key {
        path,
        kind,
        default: Default::Is(default),
        doc,
        live: false,
    }
}

const fn key_or(path: &'static str, kind: Kind, default: Default, doc: &'static str) -> Key {
    Key {
        path,
        kind,
        default,
        doc,
        live: false,
    }
}

const fn count(min: u64, max: u64) -> Kind {
    Kind::Count { min, max }
}

const fn size(min: u64, max: u64) -> Kind {
    Kind::Size { min, max }
}

const fn span(min: Duration, max: Duration) -> Kind {
    Kind::Span { min, max }
}

/// What a group of keys is about; printed above it.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("admin", "The admin API, health and metrics."),
    (
        "tls",
        "Encryption, for every listener. What a connection begins with tells whether it is TLS. The files are read again when they change, and on SIGHUP; connections that are open go on.",
    ),
    ("storage", "The log on disk."),
    (
        "limits",
        "What one client may cost. Past a limit the client is refused in its protocol's own words.",
    ),
    ("mbws", "The MBWS door."),
    (
        "mqtt",
        "The MQTT door: 3.1, 3.1.1 and 5.0. What a connection begins with tells whether it is MQTT over TCP, on every listener of `listen`.",
    ),
    (
        "wamp",
        "The WAMP door: WebSocket, RawSocket and HTTP long-poll. What a connection begins with tells whether it is RawSocket, on every listener of `listen`.",
    ),
    (
        "wamp.long-poll",
        "WAMP for clients that have nothing but HTTP requests, below each path of `wamp.path`: /wamp/lp/open.",
    ),
    (
        "sp",
        "The SP door: the scalability protocols of nanomsg and nng over WebSocket, at /sp/ADDRESS. Clients that show no credentials are let in by `access.anonymous-role`.",
    ),
    ("queues", "How queues come to be, and what holds for them."),
    (
        "queues.defaults",
        "What holds for every queue that no policy says otherwise of.",
    ),
    ("log", "What the broker writes to standard error."),
    (
        "audit",
        "The log of administrative acts and denied attempts, in the data folder.",
    ),
    ("metrics", "What /metrics tells."),
    (
        "definitions",
        "Realms, roles, users, tokens, rules, routes and queues, out of a file.",
    ),
    (
        "access",
        "Who is let in. What they may do is in documents: users, tokens, roles, rules.",
    ),
];

/// All keys, those of one section together, in the order in which they are printed.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("data", Kind::Folder, "./restante-data", "The folder of everything that must survive: messages, credentials. One broker at a time."),
    key("listen", Kind::Sockets, "127.0.0.1:7300", "Where clients connect; one address or a list. Port 0 takes any free port."),
    key("allow-insecure", Kind::Flag, "false", "Whether connections from other machines may be unencrypted. Without it a listener that they reach needs `tls`, and takes nothing else."),
    key("drain-time", span(Duration::ZERO, HOUR), "10s", "How long a stop waits for what is under way to be confirmed."),

    key("admin.listen", Kind::Sockets, "127.0.0.1:7301", "Where the admin API, with health and metrics, listens; one address or a list."),
    key("admin.metrics-open", Kind::Flag, "true", "Whether /metrics answers without credentials, to callers from this machine only."),

    key_or("tls.certificate", Kind::File, Default::None, "A PEM file: the broker's certificate, and behind it those of the authorities in between."),
    key_or("tls.key", Kind::File, Default::None, "A PEM file: the certificate's private key. Nobody but the broker's user should be able to read it."),
    key_or("tls.client-ca", Kind::File, Default::None, "A PEM file: authorities whose certificates clients may show to say who they are. Without it no client is asked for one."),
    key("tls.client-auth", Kind::Choice(&["none", "optional", "required"]), "optional", "With `tls.client-ca`: whether clients are asked for a certificate, and whether TLS without one is refused."),
    key("tls.min-version", Kind::Choice(&["1.2", "1.3"]), "1.2", "The oldest version of TLS that is spoken."),
    key("tls.reload-interval", span(Duration::from_millis(100), HOUR), "10s", "How often the files are looked at."),

    key("storage.sync", Kind::Choice(&["always", "interval", "never"]), "always", "When what was written is made to survive a power cut: before each confirm; every sync-interval; when the system likes. Only `always` keeps every confirmed message."),
    key("storage.sync-interval", span(Duration::from_millis(1), MINUTE), "100ms", "How often, with `sync: interval`."),
    key("storage.segment-bytes", size(MIB, GIB), "64MiB", "The size of the log's files, which are also the steps in which disk is freed."),
    key("storage.free-low", size(MIB, TIB), "256MiB", "With less free disk than this, sends are refused as `full` while settling goes on."),
    key("storage.checkpoint-interval", span(Duration::from_millis(100), HOUR), "5s", "The longest between two checkpoints. A restart reads the log again from the last one."),
    key("storage.checkpoint-bytes", size(MIB, 16 * GIB), "64MiB", "The most log between two checkpoints, if that comes first."),
    key("storage.in-flight-bytes", size(MIB, 16 * GIB), "64MiB", "How much may wait to be written. More makes senders wait."),
    key("storage.tail-bytes", size(MIB, 64 * GIB), "64MiB", "How much of the log's end is kept in memory, so that recent bodies need no disk read: the memory budget for bodies."),

    key("limits.frame-bytes", size(KIB, 16 * MIB), "1MiB", "The largest frame, body included."),
    key("limits.header-bytes", size(256, MIB), "64KiB", "The largest header of a frame."),
    key("limits.properties", count(0, 1024), "64", "Properties of one message."),
    key("limits.address-bytes", size(16, 64 * KIB), "1KiB", "The longest address or filter."),
    key("limits.address-segments", count(1, 1024), "64", "Segments of an address or filter."),
    key("limits.connections", count(1, 1_000_000), "10000", "Open connections."),
    key("limits.connections-per-principal", count(1, 1_000_000), "10000", "Open connections of one user or token."),
    key("limits.sessions", count(1, 10_000_000), "100000", "Sessions, connected or waiting for their client to come back."),
    key("limits.session-expiry", span(Duration::ZERO, YEARS_10), "7d", "The longest that a session outlives its connection, whatever the client asks for."),
    key("limits.consumers-per-session", count(1, 65_536), "256", "Consumers of one session."),
    key("limits.queues-per-realm", count(1, 10_000_000), "100000", "Queues of one realm."),
    key("limits.routes-per-realm", count(1, 10_000_000), "100000", "Routes of one realm."),
    key("limits.documents", count(1, 10_000_000), "100000", "Of each kind, how many there may be: realms, users, tokens, roles, rules."),
    key("limits.window", count(1, 8192), "4096", "Frames of one session that may wait for their confirm."),
    key("limits.publish-rate", count(0, 10_000_000), "0", "Messages a second from one connection; 0 for no limit."),
    key("limits.handshake-time", span(Duration::from_millis(100), MINUTE), "10s", "How long a new connection may take to say who it is."),
    key("limits.unauthenticated-per-address", count(1, 1_000_000), "256", "Connections from one address that have not said yet who they are; of an IPv6 address, its network of 64 bits. Raise it where a proxy is the only peer."),
    key("limits.auth-attempts", count(1, 10_000), "10", "Wrong passwords a minute from one peer address, before it has to wait, longer each time."),

    key("mbws.heartbeat", span(SECOND, HOUR), "30s", "How often each side of a connection must be heard."),
    key_or("mbws.origins", Kind::Origins, Default::Empty, "Pages that may connect from a browser, by whatever protocol, as in https://console.example. A page from the broker's own host always may."),

    key("mqtt.enabled", Kind::Flag, "true", "Whether MQTT is spoken at all."),
    key("mqtt.path", Kind::Paths, "/mqtt", "Where MQTT over WebSocket is; one path or a list. One more segment names a realm: /mqtt/REALM."),
    key_or("mqtt.listen", Kind::Sockets, Default::Empty, "Listeners that take MQTT over TCP and nothing else, as 127.0.0.1:1883; one address or a list."),
    key("mqtt.packet-bytes-max", size(KIB, 16 * MIB), "1MiB", "The largest packet, payload included."),
    key("mqtt.receive-maximum", count(1, 65_535), "1024", "Publishes of QoS 1 and 2 that a client may have under way. In 3.x it is not told, and past it we read no further."),
    key("mqtt.topic-alias-max", count(0, 65_535), "32", "Topic aliases of one connection, each way."),
    key_or("mqtt.keep-alive-max", span(SECOND, Duration::from_secs(65_535)), Default::None, "The longest keep alive. A client of 5.0 that wants a longer one, or none, is told to keep this; those of 3.x cannot be told, and keep theirs."),
    key_or("mqtt.session-expiry-max", span(Duration::ZERO, YEARS_10), Default::None, "The longest that a session outlives its connection, if shorter than `limits.session-expiry`. In 3.x it is how long a session that is not clean stays."),
    key("mqtt.session-messages-max", count(1, u64::MAX), "100000", "Messages that wait for one session. A full session misses what comes then; the publisher is not refused."),
    key("mqtt.session-bytes-max", size(KIB, u64::MAX), "256MiB", "Bytes of them."),
    key("mqtt.queue-qos0-offline", Kind::Flag, "false", "Whether messages of QoS 0 wait for a session whose client is away."),
    key("mqtt.share-linger", span(Duration::ZERO, YEARS_10), "5m", "How long the messages of a shared subscription wait after its last member has left it for good."),
    key("mqtt.denied-publish", Kind::Choice(&["acknowledge", "close"]), "acknowledge", "In 3.x, which has no word for it: whether a publish that is denied is acknowledged and dropped, or ends the connection."),
    key("mqtt.subscriptions-max", count(1, 1_000_000), "1000", "Subscriptions of one session."),
    key_or("mqtt.server-reference", Kind::Text, Default::None, "Another broker, as other.example:1883, that clients of 5.0 are sent to when this one shuts down."),
    key("mqtt.sys-interval", span(Duration::ZERO, Duration::from_secs(86_400)), "10s", "How often `$SYS` topics are told to those who may consume them; 0: there are none."),
    key("mqtt.retained-max", count(0, 1_000_000_000), "1000000", "Retained messages, in all realms together. Past it only those are taken that replace or remove another."),

    key("wamp.enabled", Kind::Flag, "true", "Whether WAMP is spoken at all."),
    key_or("wamp.path", Kind::Paths, Default::Are(&["/wamp", "/ws"]), "Where WAMP over WebSocket is; one path or a list. The client's HELLO names the realm; one more segment is taken too: /wamp/REALM."),
    key_or("wamp.listen", Kind::Sockets, Default::Empty, "Listeners that take WAMP over RawSocket and nothing else, as 127.0.0.1:8090; one address or a list."),
    key_or("wamp.unix-socket", Kind::File, Default::None, "A Unix socket for RawSocket, made at the start and removed at the stop. The broker's user and group may connect to it."),
    key("wamp.message-bytes-max", size(4 * KIB, 16 * MIB), "1MiB", "The largest message, payload included."),
    key("wamp.ping-interval", span(SECOND, HOUR), "30s", "How often a client over WebSocket is pinged, and one over RawSocket that has shown that it knows pings. Silent for two of these, it is gone."),
    key("wamp.uri-check", Kind::Choice(&["loose", "strict"]), "loose", "Which of the specification's rules topics, procedures and realms must follow."),
    key("wamp.sequential-ids", Kind::Flag, "true", "Whether a client must number its requests 1, 2, 3, as the specification says. Some older clients draw their numbers. Over long-poll, where messages overtake one another, any number will do."),
    key("wamp.ubjson-legacy", Kind::Flag, "false", "Whether UBJSON is the plain, big-endian one that clients spoke before 2026, instead of BJData."),
    key("wamp.slow-consumer", Kind::Choice(&["drop", "disconnect"]), "drop", "What becomes of a subscriber that does not take its events in time: it misses some, counted, or its session ends."),
    key("wamp.disclose", Kind::Choice(&["wished", "always", "never"]), "wished", "Whether callees and subscribers are told who calls and publishes: if that wishes so, always, or never (then the wish is refused)."),
    key("wamp.unacknowledged-max", count(1, 100_000), "1024", "Events of a durable subscription that a client may have unacknowledged, unless it asks for fewer (x_window)."),
    key("wamp.subscriptions-max", count(1, 1_000_000), "10000", "Subscriptions of one session."),
    key("wamp.registrations-max", count(1, 1_000_000), "10000", "Registrations of one session."),
    key("wamp.calls-max", count(1, 1_000_000), "10000", "Calls of one session that may wait for their result."),
    key_or("wamp.authorizer", Kind::Text, Default::None, "A procedure that is asked what a session may do, where the rules let it, as com.example.authorize."),
    key("wamp.authorizer-cache", span(Duration::ZERO, HOUR), "10s", "How long an answer of it counts; 0: it is asked every time."),
    key("wamp.long-poll.enabled", Kind::Flag, "true", "Whether long-poll is offered."),
    key("wamp.long-poll.poll-timeout", span(Duration::from_millis(100), MINUTE), "10s", "How long a request waits for a message. Clients in browsers give up after 12s."),
    key("wamp.long-poll.session-timeout", span(Duration::from_millis(100), HOUR), "30s", "How long a client may be without a request, before its session ends."),

    key("sp.enabled", Kind::Flag, "true", "Whether SP is spoken at all."),
    key("sp.message-bytes-max", size(4 * KIB, 256 * MIB), "16MiB", "The largest message, its header included. Programs of both libraries take 1 MiB unless they are told otherwise."),
    key("sp.credit", count(1, 1024), "64", "Deliveries that a PULL may have on their way, unless it asks for another number (?credit=)."),
    key("sp.requests", count(1, 1024), "1", "Requests that a REP may have in hand, likewise."),
    key("sp.reply-timeout", span(SECOND, HOUR), "60s", "How long a request may be without an answer, before it goes to another REP and the client may ask it anew."),
    key("sp.keep-alive", span(SECOND, HOUR), "30s", "How long a connection is silent before the system looks whether the client's machine is still there: no SP client may be pinged."),

    key("queues.create-on-send", Kind::Flag, "true", "Whether sending to an address that nothing is bound to makes a queue of that name. Publishing by MQTT never makes one."),
    key("queues.create-on-consume", Kind::Flag, "true", "Whether consuming from an address that has no queue makes one."),
    key_or("queues.defaults.ttl", span(MS, YEARS_10), Default::None, "How long a message is kept at most."),
    key_or("queues.defaults.max-messages", count(1, u64::MAX), Default::None, "Messages that a queue holds. A full one refuses."),
    key_or("queues.defaults.max-bytes", size(KIB, u64::MAX), Default::None, "Bytes of records (body, header and about a hundred bytes) that a queue holds. A full one refuses."),
    key_or("queues.defaults.max-attempts", count(1, 65_535), Default::None, "Failed deliveries of one message, those that a consumer gave back, before it goes to the dead-letter address."),
    key_or("queues.defaults.dead-letter", Kind::Address, Default::None, "Where a message goes that was rejected, expired or tried too often; with `none` it is dropped."),
    key_or("queues.policies", Kind::Entries(POLICY), Default::Empty, "For some queues, something else. The first policy whose filter matches the queue's name counts; what it leaves out is as in `defaults`."),

    key("log.level", Kind::LogLevels, "info", "off, error, warn, info, debug or trace; or by module, as in info,restante::access=debug.").live(),
    key("log.format", Kind::Choice(&["text", "json"]), "text", "Lines for people, or one JSON object a line."),

    key("audit.file-bytes", size(64 * KIB, GIB), "16MiB", "A file of the audit log that has reached this size gets no further line."),
    key("audit.files", count(1, 10_000), "8", "Files of the audit log that are kept; the oldest is removed."),

    key("metrics.enabled", Kind::Flag, "true", "Whether anything is counted. Without it, /metrics has nothing to tell."),
    key("metrics.queues-max", count(0, 100_000), "1000", "Queues that have time series of their own, by realm and name. Of the others there is only how many they are."),

    key_or("definitions.import", Kind::File, Default::None, "A file, YAML or JSON, that is applied at each start, before anybody is served; the start fails if it is broken. `restante definitions export` writes one."),
    key("definitions.prune", Kind::Flag, "false", "Whether what is set and not in that file is removed then, queues with all that waits in them."),

    key_or("access.admin-password-file", Kind::File, Default::None, "A file with the password of the user `admin`, read at the first start only. Without one it is random, and printed."),
    key_or("access.anonymous-role", Kind::Role, Default::None, "The role of WAMP and SP clients that show no credentials. Without one they are refused. Rules for everybody (`*`) deny them things, and allow them none."),
    key_or("access.jwt", Kind::Entries(ISSUER), Default::Empty, "Whose JWTs are taken. Each entry names one of secret-file, key-file and jwks-file, which is read again when it changes."),
];

/// An entry of `queues.policies`.
const POLICY: &[Key] = &[
    key_or(
        "filter",
        Kind::Filter,
        Default::Required,
        "Queues by name, with `+` for one segment and `#` for all the rest; `orders/e#` for what begins so.",
    ),
    key_or("ttl", span(MS, YEARS_10), Default::Inherited, ""),
    key_or("max-messages", count(1, u64::MAX), Default::Inherited, ""),
    key_or("max-bytes", size(KIB, u64::MAX), Default::Inherited, ""),
    key_or("max-attempts", count(1, 65_535), Default::Inherited, ""),
    key_or("dead-letter", Kind::Address, Default::Inherited, ""),
];

/// An entry of `access.jwt`.
const ISSUER: &[Key] = &[
    key_or(
        "issuer",
        Kind::Text,
        Default::Required,
        "The claim `iss`, to the letter.",
    ),
    key_or(
        "audience",
        Kind::Text,
        Default::Required,
        "What the claim `aud` must have, to the letter.",
    ),
    key_or(
        "algorithms",
        Kind::Choices(JwtAlgorithm::NAMES),
        Default::Required,
        "What tokens may be signed with.",
    ),
    key_or(
        "secret-file",
        Kind::File,
        Default::Inherited,
        "A shared secret, for HS256, HS384 and HS512.",
    ),
    key_or(
        "key-file",
        Kind::File,
        Default::Inherited,
        "A public key, as PEM.",
    ),
    key_or(
        "jwks-file",
        Kind::File,
        Default::Inherited,
        "Public keys, as a JWKS.",
    ),
    key(
        "user-claim",
        Kind::Text,
        "sub",
        "The claim that names the user.",
    ),
    key_or(
        "user-prefix",
        Kind::Text,
        Default::Inherited,
        "Put in front of that name; needed where there are several issuers.",
    ),
    key(
        "roles-claim",
        Kind::Text,
        "roles",
        "The claim that lists roles; with dots, a path.",
    ),
    key_or(
        "roles-prefix",
        Kind::Text,
        Default::Inherited,
        "Only roles that begin so count, without it.",
    ),
    key(
        "leeway",
        span(Duration::ZERO, Duration::from_mins(10)),
        "30s",
        "How far the issuer's clock may be off.",
    ),
    key(
        "allow-admin",
        Kind::Flag,
        "false",
        "Whether tokens may have the role `admin`.",
    ),
];

/// What entries of a list look like, for the example.
pub(super) const ENTRY_EXAMPLES: &[(&str, &[&str])] = &[
    (
        "queues.policies",
        &[
            "- filter: orders/#",
            "  ttl: 1d",
            "  max-messages: 100000",
            "  max-bytes: 1GiB",
            "  max-attempts: 5",
            "  dead-letter: dead/orders",
        ],
    ),
    (
        "access.jwt",
        &[
            "- issuer: https://login.example",
            "  audience: restante",
            "  algorithms: [RS256]",
            "  jwks-file: /etc/restante/jwks.json",
            "  roles-claim: realm_access.roles",
            "  roles-prefix: \"restante-\"",
        ],
    ),
];

/// The environment variable that overrides `path`.
pub(super) fn variable(path: &str) -> String {
    format!(
        "RESTANTE_{}",
        path.to_ascii_uppercase().replace(['.', '-'], "_")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn variables_are_unambiguous() {
        let variables: BTreeSet<String> = KEYS.iter().map(|key| variable(key.path)).collect();
        assert_eq!(variables.len(), KEYS.len());
        assert!(variables.contains("RESTANTE_STORAGE_SYNC_INTERVAL"));
    }

    #[test]
    fn every_key_and_section_says_what_it_is() {
        assert!(KEYS.iter().all(|key| !key.doc.is_empty()));
        for key in KEYS {
            if let Some((section, _)) = key.path.rsplit_once('.') {
                assert!(
                    SECTIONS.iter().any(|(path, _)| *path == section),
                    "{section}"
                );
            }
        }
        let lists: Vec<_> = KEYS
            .iter()
            .filter(|key| matches!(key.kind, Kind::Entries(_)))
            .map(|key| key.path)
            .collect();
        assert_eq!(
            lists,
            ENTRY_EXAMPLES
                .iter()
                .map(|(path, _)| *path)
                .collect::<Vec<_>>()
        );
    }
}
