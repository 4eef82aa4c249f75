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

/// What kind of value a key takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A folder's path, as given.
    Folder,
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
    /// What of the program's doings is logged (`info`, `restante=debug,info`).
    LogLevels,
    /// An address: no wildcards.
    Address,
    /// An address with wildcards.
    Filter,
    /// A name of letters, digits, `-`, `_` and `.`, or `*` for any.
    NameOrAny,
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
    }
}

const fn key_or(path: &'static str, kind: Kind, default: Default, doc: &'static str) -> Key {
    Key {
        path,
        kind,
        default,
        doc,
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
    ("admin", "The admin API, the console, health and metrics."),
    ("storage", "The log on disk."),
    (
        "limits",
        "What one client may cost. Past a limit the client is refused in its protocol's own words.",
    ),
    ("mbws", "The MBWS door."),
    ("queues", "How queues come to be, and what holds for them."),
    (
        "queues.defaults",
        "What holds for every queue that no policy says otherwise of.",
    ),
    ("log", "What the broker writes to standard error."),
    (
        "access",
        "Who may do what. Nobody may do anything that no rule allows; the role `admin` may do everything.",
    ),
];

/// All keys, those of one section together, in the order in which they are printed.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    key("data", Kind::Folder, "./restante-data", "The folder of everything that must survive: messages, credentials. One broker at a time."),
    key("listen", Kind::Sockets, "127.0.0.1:7300", "Where clients connect; one address or a list. Port 0 takes any free port."),
    key("allow-insecure", Kind::Flag, "false", "Whether listeners may be reachable from other machines although nothing encrypts."),
    key("drain-time", span(Duration::ZERO, HOUR), "10s", "How long a stop waits for clients to settle what they have."),

    key("admin.listen", Kind::Sockets, "127.0.0.1:7301", "Where the admin API and the console listen; one address or a list."),
    key("admin.metrics-open", Kind::Flag, "true", "Whether /metrics answers without credentials, to callers from this machine only."),

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
    key("limits.connections-per-principal", count(1, 1_000_000), "10000", "Open connections of one user or API key."),
    key("limits.sessions", count(1, 10_000_000), "100000", "Sessions, connected or waiting for their client to come back."),
    key("limits.session-expiry", span(Duration::ZERO, YEARS_10), "7d", "The longest that a session outlives its connection, whatever the client asks for."),
    key("limits.consumers-per-session", count(1, 65_536), "256", "Consumers of one session."),
    key("limits.queues-per-realm", count(1, 10_000_000), "100000", "Queues of one realm."),
    key("limits.window", count(1, 8192), "4096", "Frames of one session that may wait for their confirm."),
    key("limits.publish-rate", count(0, 10_000_000), "0", "Messages a second from one connection; 0 for no limit."),
    key("limits.handshake-time", span(Duration::from_millis(100), MINUTE), "10s", "How long a new connection may take to say who it is."),
    key("limits.auth-attempts", count(1, 10_000), "10", "Wrong passwords a minute from one peer address, before it has to wait."),
    key("limits.outbox-bytes", size(4 * KIB, GIB), "256KiB", "What may wait in memory for one client to read it. More stays on disk."),

    key("mbws.heartbeat", span(SECOND, HOUR), "30s", "How often each side of a connection must be heard."),
    key_or("mbws.origins", Kind::Origins, Default::Empty, "Pages that may connect from a browser, as in https://console.example. A page from the broker's own host always may."),

    key("queues.create-on-send", Kind::Flag, "true", "Whether sending to an address that nothing is bound to makes a queue of that name."),
    key("queues.create-on-consume", Kind::Flag, "true", "Whether consuming from an address that has no queue makes one."),
    key_or("queues.defaults.ttl", span(MS, YEARS_10), Default::None, "How long a message is kept at most."),
    key_or("queues.defaults.max-messages", count(1, u64::MAX), Default::None, "Messages that a queue holds. A full one refuses."),
    key_or("queues.defaults.max-bytes", size(KIB, u64::MAX), Default::None, "Bytes of bodies that a queue holds. A full one refuses."),
    key_or("queues.defaults.max-attempts", count(1, 65_535), Default::None, "Deliveries of one message, before it goes to the dead-letter address."),
    key_or("queues.defaults.dead-letter", Kind::Address, Default::None, "Where a message goes that was rejected, expired or tried too often; without one it is dropped."),
    key_or("queues.policies", Kind::Entries(POLICY), Default::Empty, "For some queues, something else. The first policy whose filter matches the queue's name counts; what it leaves out is as in `defaults`."),

    key("log.level", Kind::LogLevels, "info", "error, warn, info, debug or trace; or by module, as in info,restante::access=debug."),
    key("log.format", Kind::Choice(&["text", "json"]), "text", "Lines for people, or one JSON object a line."),

    key_or("access.rules", Kind::Entries(RULE), Default::Empty, "Each allows or denies a role some verbs on a filter. One that denies counts more than any that allow."),
];

/// An entry of `queues.policies`.
const POLICY: &[Key] = &[
    key_or(
        "filter",
        Kind::Filter,
        Default::Required,
        "Queues by name, with `+` for one segment and `#` for all the rest.",
    ),
    key_or("ttl", span(MS, YEARS_10), Default::Inherited, ""),
    key_or("max-messages", count(1, u64::MAX), Default::Inherited, ""),
    key_or("max-bytes", size(KIB, u64::MAX), Default::Inherited, ""),
    key_or("max-attempts", count(1, 65_535), Default::Inherited, ""),
    key_or("dead-letter", Kind::Address, Default::Inherited, ""),
];

/// An entry of `access.rules`.
const RULE: &[Key] = &[
    key_or(
        "role",
        Kind::NameOrAny,
        Default::Required,
        "Whom it is about; `*` for everybody with credentials.",
    ),
    key_or(
        "verbs",
        Kind::Choices(&["send", "consume", "browse", "manage"]),
        Default::Required,
        "",
    ),
    key(
        "realm",
        Kind::NameOrAny,
        "default",
        "Where; `*` for every realm.",
    ),
    key_or(
        "filter",
        Kind::Filter,
        Default::Required,
        "Addresses, with `+` for one segment and `#` for all the rest.",
    ),
    key("effect", Kind::Choice(&["allow", "deny"]), "allow", ""),
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
        "access.rules",
        &[
            "- role: shop",
            "  verbs: [send, consume, browse, manage]",
            "  realm: default",
            "  filter: orders/#",
            "  effect: allow",
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
