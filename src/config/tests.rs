//! What the header promises.

use std::collections::BTreeSet;

use super::*;
use crate::access::KeySource;

fn load(text: &str, environment: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("restante.yaml");
    std::fs::write(&path, text).unwrap();
    let environment = environment
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let prefix = format!("{}/", folder.path().display());
    Config::load(Some(&path), environment).map_err(|faults| {
        faults
            .iter()
            .map(|fault| fault.to_string().replace(&prefix, ""))
            .collect()
    })
}

fn loads(text: &str, environment: &[(&str, &str)]) -> Config {
    load(text, environment).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// Checks that `text` has one fault, and how it reads.
#[track_caller]
fn check(text: &str, fault: &str) {
    assert_eq!(load(text, &[]).unwrap_err(), [fault]);
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(loads("", &[]), Config::default());
    assert_eq!(loads("storage:\nlimits: ~\n", &[]), Config::default());
    let config = Config::load(None, []).unwrap();
    assert_eq!(config.listen, ["127.0.0.1:7300".parse().unwrap()]);
    assert_eq!(config.storage.segment_bytes, 64 << 20);
    assert_eq!(config.storage.sync, SyncPolicy::Always);
    assert_eq!(config.limits.session_expiry, Duration::from_hours(24 * 7));
    assert_eq!(config.limits.address_bytes, 1024);
    assert_eq!(config.limits.publish_rate, None);
    assert_eq!(config.queues.defaults, QueueLimits::default());
    assert!(
        config.admin.metrics_open
            && config.access.issuers.is_empty()
            && config.mbws.origins.is_empty()
    );
}

#[test]
fn all_faults_are_reported_at_once() {
    let faults = load(
        "storage:\n  snyc: always\n  segment-bytes: 64\ndrain-time: soon\nlimits:\n  window: 0\nlisten: 0.0.0.0:7300\n\
         queues:\n  policies:\n  - filter: a/#/b\n    tll: 1d\n  - ttl: 1d\n",
        &[
            ("RESTANTE_STORAGE_SYNC", "sometimes"),
            ("RESTANTE_STORAGE_SINK", "x"),
            ("PATH", "/bin"),
        ],
    );
    assert_eq!(
        faults.unwrap_err(),
        [
            "restante.yaml:2:3: storage.snyc: there is no such key; did you mean `storage.sync`?",
            "restante.yaml:3:3: storage.segment-bytes: `64` has no unit; write a whole number with B, KiB, MiB, GiB or TiB",
            "restante.yaml:4:1: drain-time: `soon` does not begin with a whole number; write a whole number with ms, s, m, h or d",
            "restante.yaml:6:3: limits.window: `0` is too little; write something from 1 to 8192",
            "restante.yaml:7:1: listen: 0.0.0.0:7300 can be reached from other machines, unencrypted; set `tls.certificate` and `tls.key`, or listen on 127.0.0.1, or set `allow-insecure: true` if something in front encrypts",
            "restante.yaml:10:5: queues.policies[0].filter: `a/#/b` has a `#` before its end; write a filter, as orders/+/eu or orders/#",
            "restante.yaml:11:5: queues.policies[0].tll: there is no such key; did you mean `ttl`?",
            "restante.yaml:12:3: queues.policies[1]: the key `filter` is missing; add it",
            "RESTANTE_STORAGE_SINK: no setting has this variable; did you mean `RESTANTE_STORAGE_SYNC`?",
            "RESTANTE_STORAGE_SYNC: storage.sync: `sometimes` is not one of the words for this; write one of always, interval, never",
        ]
    );
}

#[test]
fn a_key_in_the_wrong_section_is_pointed_to_the_right_one() {
    check(
        "sync: always\n",
        "restante.yaml:1:1: sync: there is no such key; did you mean `storage.sync`?",
    );
    check(
        "storge: {}\n",
        "restante.yaml:1:1: storge: there is no such key; did you mean `storage`?",
    );
    let other = "restante.yaml:1:1: colour: there is no such key; take it out, or see `restante check-config --example` for all keys";
    check("colour: red\n", other);
}

#[test]
fn shapes_are_checked() {
    check(
        "storage: fast\n",
        "restante.yaml:1:1: storage: this is a single value; write keys with values, `key: value`",
    );
    check(
        "data: [a]\n",
        "restante.yaml:1:1: data: this is a list; write a folder's path",
    );
    check(
        "queues: {policies: {filter: a}}\n",
        "restante.yaml:1:1: queues.policies: this is a section with keys of its own; write a list, each entry after a `- `",
    );
    check(
        "- a\n",
        "restante.yaml:1:1: this is a list; write keys with values, `key: value`",
    );
    check(
        "listen:\n- a:b\n",
        "restante.yaml:1:1: listen: `a:b` is no IP address and port; write an IP address and a port, as 127.0.0.1:7300 or [::1]:7300",
    );
    check(
        "log: {level: 'a=b=c'}\n",
        "restante.yaml:1:1: log.level: `a=b=c` names no level; write off, error, warn, info, debug or trace; or one of these and target=level, between commas, as in info,restante::broker=debug",
    );
    check(
        "log: {level: loud}\n",
        "restante.yaml:1:1: log.level: `loud` names no level; write off, error, warn, info, debug or trace; or one of these and target=level, between commas, as in info,restante::broker=debug",
    );
    check(
        "mbws: {origins: '*'}\n",
        "restante.yaml:1:1: mbws.origins: `*` is no origin; write scheme and host, as https://console.example",
    );
}

#[test]
fn paths_of_mqtt_are_paths_that_nobody_else_has() {
    let faults = [
        ("mqtt", "`mqtt` is no path"),
        ("/mqtt/", "`/mqtt/` is no path"),
        ("//", "`//` is no path"),
        ("/a//b", "`/a//b` is no path"),
        ("/..", "`/..` is no path"),
        ("/a?b", "`/a?b` is no path"),
        ("/%6d", "`/%6d` is no path"),
        ("/mbws", "`/mbws` is MBWS's"),
        ("/mbws/x", "`/mbws/x` is MBWS's"),
        ("[]", "`[]` is empty"),
    ];
    for (path, complaint) in faults {
        check(
            &format!("mqtt: {{path: {path}}}\n"),
            &format!(
                "restante.yaml:1:1: mqtt.path: {complaint}; write a path, as /mqtt, without a slash at its end"
            ),
        );
    }
    let config = loads("mqtt: {path: [/, /ws, /a/b-c]}\n", &[]);
    assert_eq!(config.mqtt.paths, ["/", "/ws", "/a/b-c"]);
    let config = loads("", &[("RESTANTE_MQTT_PATH", "/mqtt, /ws")]);
    assert_eq!(config.mqtt.paths, ["/mqtt", "/ws"]);
}

#[test]
fn listeners_of_mqtt_are_listeners() {
    check(
        "mqtt: {listen: '127.0.0.1:7300'}\n",
        "restante.yaml:1:1: mqtt.listen: 127.0.0.1:7300 is taken by `listen` already; choose another port",
    );
    check(
        "mqtt: {listen: '0.0.0.0:1883'}\n",
        "restante.yaml:1:1: mqtt.listen: 0.0.0.0:1883 can be reached from other machines, unencrypted; set `tls.certificate` and `tls.key`, or listen on 127.0.0.1, or set `allow-insecure: true` if something in front encrypts",
    );
    let text = "mqtt: {listen: ['127.0.0.1:1883'], enabled: false}\n";
    assert_eq!(loads(text, &[]).mqtt.listen, []);
}

#[test]
fn a_session_of_mqtt_lives_no_longer_than_any_may() {
    let expiry = |text| loads(text, &[]).mqtt.session_expiry_max;
    assert_eq!(expiry(""), Duration::from_hours(24 * 7));
    assert_eq!(
        expiry("limits: {session-expiry: 1h}\nmqtt: {session-expiry-max: 2h}\n"),
        Duration::from_hours(1)
    );
    assert_eq!(
        expiry("mqtt: {session-expiry-max: 2h}\n"),
        Duration::from_hours(2)
    );
}

#[test]
fn paths_and_listeners_of_wamp_are_nobody_else_s() {
    assert_eq!(loads("", &[]).wamp.paths, ["/wamp", "/ws"]);
    // Only the default gives way.
    assert_eq!(loads("mqtt: {path: /ws}\n", &[]).wamp.paths, ["/wamp"]);
    check(
        "mqtt: {path: /ws}\nwamp: {path: [/wamp, /ws]}\n",
        "restante.yaml:2:1: wamp.path: /ws is taken by `mqtt.path` already; choose another path for one of them",
    );
    check(
        "wamp: {listen: '127.0.0.1:7300'}\n",
        "restante.yaml:1:1: wamp.listen: 127.0.0.1:7300 is taken by `listen` already; choose another port",
    );
    let text = "wamp: {listen: ['127.0.0.1:1'], unix-socket: /run/w, enabled: false}\n";
    let shut = loads(text, &[]).wamp;
    assert_eq!((shut.listen, shut.unix_socket), (Vec::new(), None));
}

#[test]
fn a_poll_ends_before_its_session() {
    check(
        "wamp: {long-poll: {poll-timeout: 20s, session-timeout: 10s}}\n",
        "restante.yaml:1:1: wamp.long-poll.session-timeout: 10s is less than `wamp.long-poll.poll-timeout` (20s); raise this or lower that",
    );
    let off = loads("wamp: {long-poll: {enabled: false}}\n", &[]);
    assert_eq!(off.wamp.long_poll, None);
}

#[test]
fn keys_may_be_dotted_but_not_twice() {
    assert_eq!(
        loads("storage.sync: never\n", &[]).storage.sync,
        SyncPolicy::Never
    );
    check(
        "storage.sync: never\nstorage: {sync: never}\n",
        "restante.yaml:1:1: storage.sync: the key is there twice; keep one of them",
    );
}

#[test]
fn settings_must_fit_together() {
    check(
        "limits: {frame-bytes: 2KiB}\n",
        "restante.yaml:1:1: limits.frame-bytes: 2KiB is less than `limits.header-bytes` (64KiB); raise this or lower that",
    );
    check(
        "admin: {listen: '127.0.0.1:7300'}\n",
        "restante.yaml:1:1: admin.listen: 127.0.0.1:7300 is taken by `listen` already; choose another port",
    );
    let open = loads(
        "allow-insecure: true\nlisten: ['0.0.0.0:0', '[::]:0', '0.0.0.0:0']\n",
        &[],
    );
    assert_eq!(open.listen.len(), 3);
}

#[test]
fn tls_needs_both_files_and_makes_a_listener_of_others_possible() {
    check(
        "tls: {certificate: a.pem}\n",
        "restante.yaml:1:1: tls.certificate: it means nothing without `tls.key`; set both or neither",
    );
    check(
        "tls: {key: a.pem}\n",
        "restante.yaml:1:1: tls.key: it means nothing without `tls.certificate`; set both or neither",
    );
    check(
        "tls: {certificate: a, key: b, client-auth: required}\n",
        "restante.yaml:1:1: tls.client-auth: it means nothing without `tls.client-ca`; set both or neither",
    );
    let config = loads(
        "listen: 0.0.0.0:7300\ntls: {certificate: a, key: b, client-ca: c, min-version: 1.3}\n",
        &[],
    );
    let files = config.tls.files.unwrap();
    assert_eq!(files.client_ca.as_deref(), Some(Path::new("c")));
    assert_eq!(config.tls.client_auth, ClientAuth::Optional);
    assert_eq!(config.tls.min_version, TlsVersion::V13);
    assert_eq!(Config::default().tls.files, None);
}

#[test]
fn the_environment_wins_over_the_file() {
    let config = loads(
        "storage: {sync: never}\nlisten: 127.0.0.1:1\n",
        &[
            ("RESTANTE_STORAGE_SYNC", "interval"),
            ("RESTANTE_LISTEN", "127.0.0.1:2, [::1]:3"),
            ("RESTANTE_QUEUES_POLICIES", "[{filter: a, ttl: 1s}]"),
            ("RESTANTE_TEST_SLOW", "10"),
        ],
    );
    assert_eq!(config.storage.sync, SyncPolicy::Interval);
    assert_eq!(config.listen.len(), 2);
    assert_eq!(config.queues.policies.len(), 1);
}

#[test]
fn no_variable_of_a_command_stops_a_broker() {
    use clap::CommandFactory;
    let cli = crate::cli::Cli::command();
    let all = [&cli].into_iter().chain(cli.get_subcommands());
    let names: BTreeSet<_> = all
        .flat_map(|command| command.get_arguments())
        .filter_map(|argument| argument.get_env().map(ToOwned::to_owned))
        .collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        let loaded = Config::load(None, [(name.clone(), "x".into())]);
        assert!(loaded.is_ok(), "{name:?}: {loaded:?}");
    }
}

#[test]
fn a_policy_has_the_defaults_where_it_says_nothing() {
    let config = loads(
        "queues:\n  defaults: {ttl: 1d, max-attempts: 3, dead-letter: dead}\n  policies:\n  - {filter: a/#, ttl: none, max-messages: 5}\n",
        &[],
    );
    let day = Some(Duration::from_hours(24));
    assert_eq!(config.queues.defaults.ttl, day);
    let policy = config.queues.policies.first().unwrap();
    assert_eq!(policy.filter, "a/#");
    let dead_letter = Some("dead".to_owned());
    let limits = QueueLimits {
        ttl: None,
        max_messages: Some(5),
        max_bytes: None,
        max_attempts: Some(3),
        dead_letter,
    };
    assert_eq!(policy.limits, limits);
}

#[test]
fn issuers_are_read() {
    let config = loads(
        "access:\n  jwt:\n  - {issuer: 'https://a.example', audience: b, algorithms: [RS256, ES256], jwks-file: /k}\n  \
         - {issuer: b, audience: b, algorithms: HS256, secret-file: /s, user-prefix: 'b-', roles-claim: a.b, leeway: 0s, allow-admin: true}\n",
        &[("RESTANTE_ACCESS_ADMIN_PASSWORD_FILE", "/run/secrets/admin")],
    );
    let file = config.access.admin_password_file;
    assert_eq!(file.as_deref(), Some(Path::new("/run/secrets/admin")));
    let [one, other] = config.access.issuers.as_slice() else {
        panic!("{:?}", config.access.issuers);
    };
    assert_eq!(one.issuer, "https://a.example");
    assert_eq!(one.algorithms.len(), 2);
    assert_eq!(one.keys, KeySource::Jwks("/k".into()));
    assert_eq!(
        (one.user_claim.as_str(), one.roles_claim.as_str()),
        ("sub", "roles")
    );
    assert_eq!(
        (one.leeway, one.allow_admin),
        (Duration::from_secs(30), false)
    );
    assert_eq!(other.keys, KeySource::Secret("/s".into()));
    assert_eq!(
        (other.user_prefix.as_str(), other.allow_admin),
        ("b-", true)
    );
}

#[test]
fn strangers_have_a_role_that_is_not_built_in() {
    let role = |text: &str| format!("access:\n  anonymous-role: '{text}'\n");
    let config = loads(&role("guest"), &[]);
    assert_eq!(config.access.anonymous_role.as_deref(), Some("guest"));
    assert_eq!(loads(&role("none"), &[]).access.anonymous_role, None);
    for bad in ["admin", "monitor", "*", "a:b"] {
        let complaint = format!(
            "restante.yaml:2:3: access.anonymous-role: `{bad}` cannot be the role of strangers; write a role's name, and not that of a built-in one"
        );
        check(&role(bad), &complaint);
    }
}

#[test]
fn issuers_have_keys_that_fit_their_algorithms() {
    let issuer = |rest: &str| format!("access:\n  jwt:\n  - {{issuer: a, audience: b, {rest}}}\n");
    let not_one = "restante.yaml:2:3: access.jwt: `[0]` has not exactly one file with keys; write one of secret-file, key-file and jwks-file";
    check(&issuer("algorithms: [RS256]"), not_one);
    check(
        &issuer("algorithms: [RS256], key-file: k, jwks-file: j"),
        not_one,
    );
    check(
        &issuer("algorithms: [HS256, RS256], secret-file: s"),
        "restante.yaml:2:3: access.jwt: `[0]` has a shared secret and algorithms that want a public key; write only HS256, HS384 and HS512 with a secret-file",
    );
    check(
        &issuer("algorithms: [RS256, HS256], key-file: k"),
        "restante.yaml:2:3: access.jwt: `[0]` has public keys and algorithms that want a shared secret; write HS256, HS384 and HS512 only with a secret-file",
    );
    let faults = load(&issuer("algorithms: [none], key-file: k"), &[]).unwrap_err();
    assert!(
        faults.concat().contains("`none` is not one of the words"),
        "{faults:?}"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_one_fault() {
    let missing = Config::load(Some(Path::new("/nowhere/restante.yaml")), [])
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("/nowhere/restante.yaml:1:1: cannot be read ("),
        "{missing}"
    );
    check(
        &"#".repeat(FILE_BYTES_MAX as usize + 1),
        "restante.yaml:1:1: the file is larger than 1MiB; a configuration is never that large: is it the right file?",
    );
    let faults = load("a: [1,\nb: 2\n", &[]).unwrap_err();
    assert!(faults.concat().contains("not valid YAML"), "{faults:?}");
}
