//! Every metric that the broker tells, once: the help in `/metrics` and the table in `ops/METRICS.md` are made from this.
//!
//! Names as Prometheus wants them: seconds, bytes, `_total` on what only grows, times of day as `_timestamp_seconds`.
//!
//! Always, each with a test of its name below:
//! - `metrics_md_is_what_the_table_says`; RESTANTE_TEST_WRITE=1 writes it.
//! - `the_table_has_what_the_sources_have`, and nothing else.

use Kind::{Counter, Gauge, Histogram};

/// What sort of number a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often which value was seen.
    Histogram,
}

impl Kind {
    /// As the text format calls it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Counter => "counter",
            Gauge => "gauge",
            Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// In Markdown; empty: none.
    #[cfg_attr(not(test), expect(dead_code, reason = "for ops/METRICS.md"))]
    pub(crate) labels: &'static str,
    /// In Markdown.
    pub(crate) meaning: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static str,
    meaning: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        meaning,
    }
}

impl Metric {
    /// The metric called `name`, if there is one.
    pub(crate) fn named(name: &str) -> Option<&'static Metric> {
        METRICS.iter().find(|metric| metric.name == name)
    }

    /// Its meaning, for the text format.
    pub(crate) fn help(&self) -> String {
        self.meaning.replace('`', "")
    }
}

/// All metrics.
#[rustfmt::skip]
pub(crate) const METRICS: &[Metric] = &[
    metric("restante_connections", Gauge, "`listener` (address and port)", "Connections open now, from accept to end"),
    metric("restante_connections_total", Counter, "`listener` (address and port), `result`: `accepted`, `refused` (limits.connections, limits.unauthenticated-per-address), `failed` (the system could not accept: often out of file descriptors)", "What became of what listeners saw"),
    metric("restante_connections_ended_total", Counter, "`reason`: `closed` (the client's `close`), `peer-closed` (a WebSocket close), `gone` (without a close), `silent` (heard nothing for two heartbeats), `stalled` (took nothing for two heartbeats), or the code of the `error` sent", "Connections of MBWS that ended after their upgrade"),
    metric("restante_handshakes_refused_total", Counter, "`reason`: `no-such-path`, `not-an-upgrade`, `bad-version`, `bad-key`, `no-subprotocol`, `unknown-subprotocol`, `bad-origin`, `no-such-realm`, `unauthorized`, `throttled`, `busy`, `too-many-connections`, `too-many-unauthenticated` (limits.unauthenticated-per-address), `too-slow`, `bad-http`, `not-rawsocket` (something else, at a listener of `wamp.listen`), `rawsocket-cut` (gone within its handshake), `rawsocket-serializer`, `rawsocket-length` (it takes too little for a WELCOME), `rawsocket-reserved`, `not-encrypted` (plain, where only TLS is let in), `tls` (the handshake failed)", "Connections that never got as far as their protocol, by why"),
    metric("restante_handshake_seconds", Histogram, "", "From accept to the 101 of the upgrade; authentication by its `Authorization` included"),
    metric("restante_tls_handshakes_total", Counter, "`version`: `TLSv1_2`, `TLSv1_3`", "TLS handshakes done, over all listeners, the admin API's included"),
    metric("restante_tls_handshake_failures_total", Counter, "`reason`: `plain` (not encrypted, where it must be), `too-slow`, `gone` (the peer closed half-way), `not-tls` (what came is no TLS), `version` (older than `tls.min-version`), `no-common-parameters`, `no-common-protocol` (ALPN), `no-certificate` (`tls.client-auth: required`), `unknown-authority`, `expired-certificate`, `bad-certificate` (the client's), `distrusted` (the client does not trust ours), `alert` (another complaint of the client's), `broken`", "Connections that a listener with TLS turned away"),
    metric("restante_tls_certificate_expiry_timestamp_seconds", Gauge, "", "When the certificate of `tls.certificate` expires, in seconds since 1970; missing without TLS"),
    metric("restante_tls_reloads_total", Counter, "`result`: `ok`, `failed` (the old certificate stays; once for each state of the files)", "Times that changed TLS files were read"),
    metric("restante_attach_seconds", Histogram, "", "From an `open` or a CONNECT to its answer: authentication, and for a resumed session the log"),
    metric("restante_frames_total", Counter, "`protocol`: `mbws`; `direction`: `in`, `out`", "Frames, good or bad"),
    metric("restante_mbws_errors_total", Counter, "`code`: the fatal codes of MBWS.md", "`error` frames sent, each followed by a close"),
    metric("restante_mqtt_packets_total", Counter, "`direction`: `in`, `out`; `type`: `connect`, `publish` …, as MQTT calls them", "Packets of MQTT"),
    metric("restante_mqtt_connections", Gauge, "`version`: `3.1`, `3.1.1`, `5.0`", "MQTT clients attached now"),
    metric("restante_mqtt_disconnects_total", Counter, "`reason`: `closed` (the client's DISCONNECT), `peer-closed` (without one), `gone` (not even a close), `stalled` (took nothing for two heartbeats), `connect-timeout` (no CONNECT, or no end of an authentication with a method), `not-binary` (a text message), `bad-websocket`, `keep-alive` (said nothing for one and a half times its keep alive), `taken-over`, `revoked`, `session-over`, `shutting-down`, `kicked`, `log-failed`; by what the client has done wrong: `malformed`, `protocol`, `version`, `client-id`, `unauthorized`, `busy`, `throttled`, `auth-method`, `receive-maximum`, `topic-alias`, `bad-address`, `too-large`, `quota`, `payload-format`, `retain`, `not-supported`, `error`", "Connections that were to speak MQTT and ended"),
    metric("restante_mqtt_dropped_total", Counter, "`reason`: `queue-full` (a session's own queue, that of a group that shares a subscription, or any that a will was for), `too-large` (for the client's maximum packet size), `unspeakable` (an address that no topic can hold), `unsubscribed` (nobody wanted it any more when it was to be sent), `denied` (a publish of a 3.x client that was acknowledged all the same)", "Messages that MQTT has no way to refuse"),
    metric("restante_mqtt_wills_total", Counter, "`outcome`: `published`, `unwanted` (published, and nobody took it), `given-up` (the client said goodbye), `denied` (the right to send there was gone), `expired`, `dropped` (by a route)", "Wills of MQTT clients that are over"),
    metric("restante_wamp_connections", Gauge, "`transport`: `websocket`, `rawsocket`, `unix`, `longpoll`; `serializer`: `json`, `msgpack`, `cbor`, `ubjson`", "Clients of WAMP connected now, with a session or not yet"),
    metric("restante_wamp_disconnects_total", Counter, "`reason`: `peer-closed`, `gone`, `silent`, `stalled`, `wrong-kind`, `bad-batch`, `too-big`, `bad-transport`, `open-timeout` (no HELLO, or no end of the authentication, in time), `goodbye` (ours was not answered), `aborted` (by the client), `protocol-violation`, `bad-realm`, `refused`, `throttled`, `busy`, `not-attached`, `shutting-down`", "Connections that were to speak WAMP and ended"),
    metric("restante_wamp_dropped_total", Counter, "`reason`: `too-large` (for what the client takes), `unspeakable` (the client's serializer has no words for it), `unsubscribed` (nobody wanted it any more when it was to be sent, or it was not for that client), `refused` (a publish without acknowledgement), `meta-event` (of the realm itself, for a client that does not read)", "Messages of WAMP that a client is not told of; those of a durable subscription go back to its queue, and are rejected the fourth time"),
    metric("restante_wamp_messages_total", Counter, "`direction`: `in`, `out`", "Messages of WAMP"),
    metric("restante_wamp_message_bytes_total", Counter, "`direction`: `in`, `out`", "Bytes of those messages, without what carries them"),
    metric("restante_sp_connections", Gauge, "`role`: `push`, `pull`, `pub`, `sub`, `req`, `rep`, `surveyor`, `respondent`, `bus`, `pair`, `pair1`", "SP clients attached now, by what they are"),
    metric("restante_sp_disconnects_total", Counter, "`reason`: `peer-closed` (a WebSocket close), `gone` (without one), `cut` (by the broker, without a close, so that the client comes back: what it wants cannot be had now, or the broker goes down), `closed` (for good), `too-big` (a message longer than is taken), `protocol` (broken rules of WebSocket), `unknown-subprotocol` (a scalability protocol that is not spoken here), `not-attached`", "Connections of SP clients that ended after their upgrade"),
    metric("restante_sp_dropped_total", Counter, "`reason`: `malformed` (no header where there must be one), `too-deep` (through too many devices), `unasked` (of a client that sends nothing), `not-asked` (an answer to nothing), `refused` (by the broker)", "Messages of SP clients that nobody hears of"),
    metric("restante_sp_messages_total", Counter, "`direction`: `in`, `out`", "Messages of SP"),
    metric("restante_sp_message_bytes_total", Counter, "`direction`: `in`, `out`", "Bytes of those messages, headers included"),
    metric("restante_wamp_sessions", Gauge, "", "Sessions of WAMP, in all realms"),
    metric("restante_wamp_subscriptions", Gauge, "", "Topics and patterns that WAMP clients have subscribed to, in all realms; each once, however many have it"),
    metric("restante_wamp_registrations", Gauge, "", "Procedures and patterns that WAMP clients have registered, in all realms"),
    metric("restante_wamp_calls_in_flight", Gauge, "", "Calls that their callees have not answered, in all realms"),
    metric("restante_wamp_calls_total", Counter, "`outcome`: `result`, `error` (the callee's), `canceled`, `timeout`, `refused` (by the broker: no rule allows it, nobody could take it, or its callee left)", "Calls whose caller was told how they ended, those of the broker's own procedures included"),
    metric("restante_wamp_invocations_refused_total", Counter, "", "Calls that a callee was not given, as it does not read what it has"),
    metric("restante_auth_attempts_total", Counter, "`result`, `reason`", "Tries to log in. `accepted`: by `password`, `cache` (a password that was right within the last minute), `token`, `jwt`, `certificate`, `scram` or `wampcra` (a password that was proved and not sent), `cryptosign` (a signature) or `anonymous`. `refused`: wrong, unknown, expired or disabled `credentials`; too many wrong `attempts` before; or `busy`, when too many passwords or signatures wait to be checked."),
    metric("restante_messages_published_total", Counter, "`protocol`", "Messages taken: stored, or handed to those who listen"),
    metric("restante_messages_delivered_total", Counter, "`protocol`", "Messages sent to consumers, redeliveries included"),
    metric("restante_delivery_age_seconds", Histogram, "", "From taking a message to handing it to a consumer; of each batch the oldest message"),
    metric("restante_deliveries_settled_total", Counter, "`outcome`: `accepted`, `released`, `rejected`", "Deliveries settled by consumers"),
    metric("restante_refusals_total", Counter, "`protocol`; `reason`: the refusals of MBWS.md", "Calls refused while their session went on"),
    metric("restante_messages_dropped_total", Counter, "`reason`: `rejected`, `expired`, `max-attempts`, `unreadable` (no dead-letter address), `deleted` (by an administrator), `surplus` (the oldest of a history that has more than it may), `route` (an administrator's route led it nowhere), `slow-subscriber` (a topic's consumer without credit or room, or an MQTT session without room)", "Messages given up"),
    metric("restante_messages_moved_total", Counter, "", "Messages that administrators moved to another queue, or back to the one that had given them up"),
    metric("restante_messages_dead_lettered_total", Counter, "`reason`: `rejected`, `expired`, `max-attempts`, `unreadable` (its stored bytes were damaged: a marker without a body went in its place)", "Messages moved to a dead-letter address"),
    metric("restante_confirm_seconds", Histogram, "", "From handing a batch to the log to its confirm: a sync and what waits for it"),
    metric("restante_log_commits_total", Counter, "", "Commits of the log: with `storage.sync: always` each is one sync"),
    metric("restante_log_syncs_total", Counter, "", "fdatasync calls on segments"),
    metric("restante_log_sync_failures_total", Counter, "", "Those that failed; the first ends the broker"),
    metric("restante_log_sync_seconds", Histogram, "", "Time of an fdatasync"),
    metric("restante_log_records_total", Counter, "", "Records committed"),
    metric("restante_log_bytes_total", Counter, "", "Bytes committed"),
    metric("restante_log_commit_records", Histogram, "", "Records of one commit"),
    metric("restante_log_segments", Gauge, "", "Segments of the log on disk"),
    metric("restante_log_size_bytes", Gauge, "", "Bytes of those segments; of the newest one all that is set aside for it"),
    metric("restante_checkpoints_total", Counter, "", "Checkpoints of the state store"),
    metric("restante_checkpoint_failures_total", Counter, "", "Checkpoints that failed: from then on no segment is freed until a restart"),
    metric("restante_checkpoint_seconds", Histogram, "", "Time of a checkpoint"),
    metric("restante_checkpoint_timestamp_seconds", Gauge, "", "When the last checkpoint was made, in seconds since 1970; 0 before the first since the start"),
    metric("restante_state_bytes", Gauge, "", "Bytes of the state store on disk"),
    metric("restante_disk_free_bytes", Gauge, "", "Free bytes where the data folder is; below `storage.free-low` publishes are refused"),
    metric("restante_recovery_seconds", Gauge, "", "Time of the last start's replay"),
    metric("restante_retained_messages", Gauge, "", "Messages that MQTT's clients have retained"),
    metric("restante_sessions_attached", Gauge, "", "Clients attached now"),
    metric("restante_log_durable_lsn", Gauge, "", "The end of what the log has made durable"),
    metric("restante_log_applied_lsn", Gauge, "", "The end of what the queues have taken in"),
    metric("restante_build_info", Gauge, "`version`", "Always 1"),
    metric("restante_definitions_info", Gauge, "`checksum`", "Always 1; the checksum of all that administrators have set. Brokers with the same have the same set; a change shows by the second scrape after it"),
    metric("restante_admin_requests_total", Counter, "`route` (the pattern; `none`: no such path), `status`", "Requests to the admin API"),
    metric("restante_admin_connections_refused_total", Counter, "", "Connections to the admin listener beyond its limit"),
    metric("restante_admin_connections_displaced_total", Counter, "", "Connections to the admin listener, without right credentials yet, that were closed to make room for others"),
    metric("restante_admin_accept_errors_total", Counter, "", "Times that the admin listener could not accept"),
    metric("restante_audit_lines_total", Counter, "", "Lines of the audit log"),
    metric("restante_audit_dropped_total", Counter, "", "Audit entries that are in no line: they came too fast, or the disk took none"),
    metric("restante_audit_failures_total", Counter, "", "Writes and syncs of the audit log that failed"),
    metric("restante_queues", Gauge, "`realm`", "Queues, temporary ones included"),
    metric("restante_queues_left_out", Gauge, "", "Queues without time series of their own: temporary ones, those of MQTT sessions and of shared subscriptions, and those beyond `metrics.queues-max`"),
    metric("restante_queue_messages", Gauge, "`realm`, `queue`; `state`: `ready`, `unsettled` (in consumers' hands)", "Messages that wait"),
    metric("restante_queue_bytes", Gauge, "`realm`, `queue`", "Bytes of the records of messages that wait"),
    metric("restante_queue_consumers", Gauge, "`realm`, `queue`", "Consumers"),
    metric("restante_queue_oldest_message_timestamp_seconds", Gauge, "`realm`, `queue`", "When the oldest message that waits was taken, in seconds since 1970; missing where none waits"),
    metric("restante_queue_paused", Gauge, "`realm`, `queue`", "1 if the queue is paused and gives no messages"),
    metric("process_cpu_seconds_total", Counter, "", "CPU time of the process, user and system"),
    metric("process_resident_memory_bytes", Gauge, "", "Memory of the process that is in RAM"),
    metric("process_virtual_memory_bytes", Gauge, "", "Address space of the process"),
    metric("process_open_fds", Gauge, "", "Open file descriptors; each connection takes one"),
    metric("process_max_fds", Gauge, "", "The most that the process may open"),
    metric("process_threads", Gauge, "", "Threads"),
    metric("process_start_time_seconds", Gauge, "", "When the process was started, in seconds since 1970: `time() - process_start_time_seconds` is how long it runs"),
    metric("restante_ready", Gauge, "`check`: those of `/readyz`", "1 while the check passes, 0 while it fails"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    const HEAD: &str = "# Metrics

What `/metrics` tells, in Prometheus' text format. Counters end in `_total`, times are in seconds, sizes in bytes. No
label ever holds what a client wrote, except for the names of queues, of which there are at most `metrics.queues-max`.
With `metrics.enabled: false` nothing is counted, and `/metrics` says so.

| name | kind | labels | meaning |
|---|---|---|---|
";

    #[test]
    fn metrics_md_is_what_the_table_says() {
        let mut wanted = HEAD.to_owned();
        for it in METRICS {
            let labels = if it.labels.is_empty() {
                String::new()
            } else {
                format!(" {}", it.labels)
            };
            let (name, kind) = (it.name, it.kind.as_str());
            wanted.push_str(&format!(
                "| `{name}` | {kind} |{labels} | {} |\n",
                it.meaning
            ));
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/METRICS.md");
        if std::env::var_os("RESTANTE_TEST_WRITE").is_some() {
            std::fs::write(&path, &wanted).unwrap();
        }
        assert!(
            std::fs::read_to_string(&path).unwrap_or_default() == wanted,
            "ops/METRICS.md is not what the table of metrics says; run RESTANTE_TEST_WRITE=1 cargo test --lib metrics_md_is"
        );
    }

    #[test]
    fn names_and_meanings_are_in_order() {
        let names: BTreeSet<&str> = METRICS.iter().map(|it| it.name).collect();
        assert_eq!(names.len(), METRICS.len(), "a name is there twice");
        for it in METRICS {
            assert_eq!(
                it.name.ends_with("_total"),
                it.kind == Counter,
                "{}",
                it.name
            );
            assert!(
                !it.meaning.is_empty() && !it.meaning.contains(['\n', '|']),
                "{}",
                it.name
            );
            assert!(!it.labels.contains('|'), "{}", it.name);
        }
    }

    #[test]
    fn the_table_has_what_the_sources_have() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = BTreeSet::new();
        for folder in ["src", "storage/src", "proto/src", "admin-api/src"] {
            for file in rust_files(&root.join(folder)) {
                let text = std::fs::read_to_string(&file).unwrap();
                if !file.ends_with("src/meters/table.rs") {
                    names(&text, &mut found);
                }
            }
        }
        let table: BTreeSet<String> = METRICS.iter().map(|it| it.name.to_owned()).collect();
        let missing: Vec<_> = found.difference(&table).collect();
        let stale: Vec<_> = table.difference(&found).collect();
        assert!(
            missing.is_empty() && stale.is_empty(),
            "not in the table: {missing:?}; in no source: {stale:?}"
        );
    }

    /// Strings that look like a metric's whole name; crates' names do too.
    fn names(text: &str, found: &mut BTreeSet<String>) {
        let crates = ["restante_storage", "restante_proto", "restante_admin_api"];
        let is_name = |it: &str| {
            it.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        let strings = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for word in strings.flat_map(|line| line.split('"').skip(1).step_by(2)) {
            let ours = word.starts_with("restante_") || word.starts_with("process_");
            if ours && is_name(word) && !word.ends_with('_') && !crates.contains(&word) {
                found.insert(word.to_owned());
            }
        }
    }

    fn rust_files(folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files.extend(rust_files(&path));
            } else if path.extension().is_some_and(|it| it == "rs") {
                files.push(path);
            }
        }
        files
    }
}
