//! The commands that administer, against an API of a script: what they ask, and what they print.
//!
//! The API is a thread on loopback that answers request after request with what the test has written down, and keeps what
//! was asked. It is no broker: what a broker does is seen elsewhere.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::process::RESTANTE;

/// An answer of the script.
struct Says {
    status: &'static str,
    headers: &'static str,
    body: String,
}

fn ok(body: Value) -> Says {
    Says {
        status: "200 OK",
        headers: "ETag: \"7\"\r\n",
        body: body.to_string(),
    }
}

fn created(body: Value) -> Says {
    Says {
        status: "201 Created",
        ..ok(body)
    }
}

fn nothing() -> Says {
    Says {
        status: "204 No Content",
        headers: "",
        body: String::new(),
    }
}

fn problem(status: &'static str, code: &str, detail: &str) -> Says {
    Says {
        status,
        headers: "Content-Type: application/problem+json\r\n",
        body: json!({"code": code, "detail": detail, "status": 0}).to_string(),
    }
}

/// What a command asked.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    /// Method and target.
    line: String,
    /// Header lines in lower case.
    headers: Vec<String>,
    body: Value,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.iter();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Runs a command against the script.
#[track_caller]
fn run(args: &[&str], stdin: &str, script: Vec<Says>) -> (Output, Vec<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let api = serve(listener, script);
    let folder = tempfile::tempdir().expect("a folder");
    let key = folder.path().join("key");
    std::fs::write(&key, "rst_test_key\n").expect("a file");
    let mut child = Command::new(RESTANTE)
        .env_clear()
        .env("RESTANTE_ADMIN_URL", format!("http://{address}"))
        .env("RESTANTE_KEY_FILE", &key)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    let mut input = child.stdin.take().expect("a pipe");
    // A command that does not read may have ended before.
    drop(input.write_all(stdin.as_bytes()));
    drop(input);
    let output = child.wait_with_output().expect("its end");
    // Ends the script, whether all of it was asked for or not.
    drop(TcpStream::connect(address));
    (output, api.join().expect("the script was followed"))
}

fn serve(listener: TcpListener, script: Vec<Says>) -> JoinHandle<Vec<Asked>> {
    std::thread::spawn(move || {
        let mut script = script.into_iter();
        let mut all = Vec::new();
        loop {
            let (stream, _) = listener.accept().expect("a connection");
            let Some(asked) = read(&stream) else {
                assert_eq!(
                    script.len(),
                    0,
                    "less was asked than was expected: {all:#?}"
                );
                return all;
            };
            let says = script
                .next()
                .unwrap_or_else(|| panic!("who expected {asked:?}?"));
            let Says {
                status,
                headers,
                body,
            } = says;
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
            (&stream)
                .write_all(format!("{head}{body}").as_bytes())
                .expect("as it is in HTTP");
            all.push(asked);
        }
    })
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).expect("as it is in HTTP") == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let line = lines.remove(0).trim_end_matches(" HTTP/1.1").to_owned();
    let mut asked = Asked {
        line,
        headers: lines
            .iter()
            .map(|line| {
                let (name, value) = line.split_once(": ").expect("as it is in HTTP");
                format!("{}: {value}", name.to_lowercase())
            })
            .collect(),
        body: Value::Null,
    };
    let length = asked
        .header("content-length")
        .map_or(0, |it| it.parse().expect("as it is in HTTP"));
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("as it is in HTTP");
    if length > 0 {
        asked.body = serde_json::from_slice(&body).expect("as it is in HTTP");
    }
    Some(asked)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("as it is in HTTP")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("as it is in HTTP")
}

/// Runs a command that ends well, and gives what it printed and the requests' first lines.
#[track_caller]
fn good(args: &[&str], script: Vec<Says>) -> (String, Vec<Asked>) {
    let (output, asked) = run(args, "", script);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    (stdout(&output), asked)
}

fn lines(asked: &[Asked]) -> Vec<&str> {
    asked.iter().map(|it| it.line.as_str()).collect()
}

fn page(items: Value, next: Option<&str>) -> Says {
    ok(json!({"items": items, "next": next}))
}

#[test]
fn a_list_is_read_to_its_last_page() {
    let queue = |name: &str, ready: u64| {
        json!({"realm": "default", "name": name, "messages_ready": ready, "messages_unsettled": 0, "bytes": 10,
            "consumers": 1, "oldest_timestamp": null, "paused": null, "durable": true})
    };
    let script = || {
        vec![
            page(json!([queue("orders/eu", 12)]), Some("a b+c")),
            page(json!([queue("日\u{1b}[2J", 3)]), None),
        ]
    };
    let (text, asked) = good(&["queue", "ls", "--sort", "-messages_ready"], script());
    let expected = "\
REALM    NAME         READY  UNSETTLED  CONSUMERS  BYTES  OLDEST  PAUSED-BY  DURABLE
default  orders/eu       12          0          1     10  -       -          yes
default  日\\u{1b}[2J      3          0          1     10  -       -          yes
";
    assert_eq!(text, expected);
    assert_eq!(
        lines(&asked),
        [
            "GET /api/v1/queues?sort=-messages_ready&limit=500",
            "GET /api/v1/queues?sort=-messages_ready&limit=500&after=a%20b%2Bc",
        ]
    );
    assert_eq!(
        asked[0].header("authorization"),
        Some("Bearer rst_test_key")
    );
    let (text, _) = good(&["queues", "--json"], script());
    let items: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(items, [queue("orders/eu", 12), queue("日\u{1b}[2J", 3)]);
    let (text, asked) = good(
        &["queues", "--limit", "1", "--json"],
        vec![script().remove(0)],
    );
    assert_eq!(
        (text.lines().count(), lines(&asked)[0]),
        (1, "GET /api/v1/queues?limit=1")
    );
}

#[test]
fn a_realm_that_there_is_not_has_no_queues() {
    let says = problem("404 Not Found", "not-found", "there is no realm nope");
    let (output, asked) = run(&["queues", "--realm", "nope"], "", vec![says]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(lines(&asked), ["GET /api/v1/realms/nope"]);
    assert!(
        stderr(&output).contains("there is no realm nope"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_change_is_made_on_what_was_read() {
    let realm = json!({"name": "shop", "revision": 7, "description": "d", "max_queues": 5, "max_connections": null});
    let args = [
        "realm",
        "set",
        "shop",
        "--max-queues",
        "none",
        "--max-connections",
        "9",
    ];
    let (_, asked) = good(&args, vec![ok(realm.clone()), ok(realm)]);
    assert_eq!(
        lines(&asked),
        ["GET /api/v1/realms/shop", "PUT /api/v1/realms/shop"]
    );
    assert_eq!(asked[1].header("if-match"), Some("\"7\""));
    let expected = json!({"description": "d", "max_queues": null, "max_connections": 9});
    assert_eq!(asked[1].body, expected);
    let missing = problem("404 Not Found", "not-found", "there is no realm shop");
    let (_, asked) = good(
        &["realm", "set", "shop"],
        vec![missing, created(json!({"name": "shop"}))],
    );
    assert_eq!(asked[1].header("if-none-match"), Some("*"));
    assert_eq!(asked[1].body, json!({}));
    let queue = json!({"name": "a/b", "realm": "r", "revision": 1, "bytes": 3, "spec": {"ttl_ms": 5, "max_bytes": 2048, "bindings": ["a/#"]}});
    let args = [
        "queue",
        "set",
        "a/b",
        "--realm",
        "r",
        "--ttl",
        "1h",
        "--own-name",
        "--dry-run",
    ];
    let (_, asked) = good(&args, vec![ok(queue.clone()), ok(queue)]);
    assert_eq!(
        asked[1].line,
        "PUT /api/v1/realms/r/queues/a%2Fb?dry_run=true"
    );
    assert_eq!(
        asked[1].body,
        json!({"ttl_ms": 3_600_000, "max_bytes": 2048, "bindings": null})
    );
}

#[test]
fn a_change_meanwhile_is_not_overwritten() {
    let user = json!({"name": "ada", "revision": 7, "roles": ["shop"], "has_password": true});
    let changed = || problem("412 Precondition Failed", "changed", "it has changed");
    let (output, asked) = run(&["user", "disable", "ada"], "", vec![ok(user), changed()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(asked[1].body, json!({"roles": ["shop"], "disabled": true}));
    assert!(
        stderr(&output).contains("somebody has changed user ada meanwhile"),
        "{}",
        stderr(&output)
    );
    let (output, asked) = run(&["queue", "add", "q"], "", vec![changed()]);
    assert_eq!(asked[0].header("if-none-match"), Some("*"));
    assert!(
        stderr(&output).contains("queue q is there already"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_password_comes_from_stdin_or_a_file_and_goes_into_the_body() {
    let says = || vec![created(json!({"name": "ada"}))];
    let (output, asked) = run(
        &["user", "add", "ada", "--role", "shop,on-call"],
        "correct horse\n",
        says(),
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        asked[0].body,
        json!({"roles": ["shop", "on-call"], "password": "correct horse"})
    );
    assert!(!stderr(&output).contains("horse") && stdout(&output).is_empty());
    assert!(
        stderr(&output).contains("user ada made"),
        "{}",
        stderr(&output)
    );
    let (_, asked) = good(
        &["user", "add", "m", "--no-password", "--cert-name", "cn:m"],
        says(),
    );
    assert_eq!(asked[0].body, json!({"certificates": ["cn:m"]}));
    let (output, asked) = run(&["user", "add", "ada"], "", vec![]);
    assert_eq!((output.status.code(), asked.len()), (Some(1), 0));
}

#[test]
fn a_tokens_secret_alone_is_on_stdout() {
    let issued = json!({"id": "ab12", "label": "backend", "secret": "rst_ab12_x"});
    let (text, asked) = good(
        &["token", "issue", "backend", "--role", "shop"],
        vec![created(issued.clone())],
    );
    assert_eq!(text, "rst_ab12_x\n");
    assert_eq!(
        (asked[0].line.as_str(), &asked[0].body),
        (
            "POST /api/v1/tokens",
            &json!({"label": "backend", "roles": ["shop"]})
        )
    );
    let found = page(
        json!([{"id": "zz", "label": "backend2"}, {"id": "ab12", "label": "backend"}]),
        None,
    );
    let (text, asked) = good(
        &["token", "rotate", "backend", "--grace", "1h"],
        vec![found, ok(issued)],
    );
    assert_eq!(text, "rst_ab12_x\n");
    assert_eq!(lines(&asked)[1], "POST /api/v1/tokens/ab12:rotate");
    assert_eq!(asked[1].body, json!({"grace_seconds": 3600}));
}

#[test]
fn rules_and_routes_are_what_their_arguments_say() {
    let args = [
        "rule",
        "add",
        "shop-orders",
        "--role",
        "shop",
        "--allow",
        "send,consume",
        "orders/#",
    ];
    let (_, asked) = good(&args, vec![created(json!({}))]);
    assert_eq!(asked[0].line, "PUT /api/v1/rules/shop-orders");
    let expected = json!({"description": "", "role": "shop", "verbs": ["send", "consume"], "realm": "default",
        "filter": "orders/#", "effect": "allow"});
    assert_eq!(asked[0].body, expected);
    let args = [
        "route",
        "add",
        "split",
        "jobs/#",
        "--to",
        "a=3",
        "--to",
        "b=c=1",
        "--choose",
        "weight",
        "--when",
        "property.x=1",
        "--when",
        "property.x=2",
        "--unless",
        "key",
        "--order",
        "-5",
        "--keep",
        "--realm",
        "r s",
    ];
    let (_, asked) = good(&args, vec![created(json!({}))]);
    assert_eq!(asked[0].line, "PUT /api/v1/realms/r%20s/routes/split");
    let expected = json!({"filter": "jobs/#", "choose": "weight", "order": -5, "keep": true,
        "to": [{"address": "a", "weight": 3}, {"address": "b=c", "weight": 1}],
        "when": [{"field": "property.x", "is": ["1", "2"], "not": false}, {"field": "key", "is": [], "not": true}]});
    assert_eq!(asked[0].body, expected);
    let (output, _) = run(&["route", "add", "r", "a"], "", vec![]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("--drop"), "{}", stderr(&output));
}

#[test]
fn what_is_destroyed_needs_a_yes() {
    let queue = "/api/v1/realms/default/queues/q";
    for (args, looked_at) in [
        (&["queue", "rm", "q"][..], queue),
        (&["queue", "purge", "q"], queue),
        (&["queue", "delete", "q", "--offset", "1"], queue),
        (&["realm", "rm", "r"], "/api/v1/realms/r"),
        (&["user", "rm", "ada"], "/api/v1/users/ada"),
        (&["role", "rm", "shop"], "/api/v1/roles/shop"),
        (&["rule", "rm", "x"], "/api/v1/rules/x"),
        (&["route", "rm", "x"], "/api/v1/realms/default/routes/x"),
        (&["session", "end", "s"], "/api/v1/sessions/s"),
        (&["session", "release", "s"], "/api/v1/sessions/s"),
        (
            &["registration", "rm", "7"],
            "/api/v1/realms/default/registrations/7",
        ),
        (
            &["subscription", "rm", "7"],
            "/api/v1/realms/default/subscriptions/7",
        ),
    ] {
        let (output, asked) = run(args, "q\n", vec![ok(json!({}))]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert_eq!(lines(&asked), [format!("GET {looked_at}")]);
        assert!(stderr(&output).contains("--yes"), "{}", stderr(&output));
        // What is not there is not asked about.
        let missing = problem("404 Not Found", "not-found", "there is no such thing");
        let (output, _) = run(args, "", vec![missing]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(
            stderr(&output).contains("no such thing"),
            "{}",
            stderr(&output)
        );
    }
    let found = || page(json!([{"id": "ab12", "label": "t"}]), None);
    let (output, asked) = run(&["token", "rm", "t"], "", vec![found(), ok(json!({}))]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert_eq!(lines(&asked)[1], "GET /api/v1/tokens/ab12");
    let (_, asked) = good(&["token", "rm", "t", "--yes"], vec![found(), nothing()]);
    assert_eq!(lines(&asked)[1], "DELETE /api/v1/tokens/ab12");
    let (_, asked) = good(&["queue", "rm", "a/b", "--yes"], vec![nothing()]);
    assert_eq!(
        lines(&asked),
        ["DELETE /api/v1/realms/default/queues/a%2Fb"]
    );
    let (_, asked) = good(&["user", "rm", "ada", "--dry-run"], vec![nothing()]);
    assert_eq!(lines(&asked), ["DELETE /api/v1/users/ada?dry_run=true"]);
}

#[test]
fn a_queue_goes_with_what_is_told_before() {
    let queue = || ok(json!({"messages_ready": 2, "messages_unsettled": 1, "consumers": 1}));
    let (output, _) = run(&["queue", "rm", "q"], "", vec![queue()]);
    let said = stderr(&output);
    assert!(
        said.contains("remove queue q with 3 messages and 1 consumer"),
        "{said}"
    );
    let args = ["queue", "rm", "q", "--dry-run"];
    let (output, asked) = run(&args, "", vec![queue(), nothing()]);
    let said = stderr(&output);
    assert!(
        said.contains("q with 3 messages and 1 consumer would be removed"),
        "{said}"
    );
    assert_eq!(
        lines(&asked)[1],
        "DELETE /api/v1/realms/default/queues/q?dry_run=true"
    );
}

#[test]
fn a_queue_that_is_elsewhere_is_told_with_its_realm() {
    let missing = || problem("404 Not Found", "not-found", "there is no queue q");
    let found = || {
        page(
            json!([{"name": "q2", "realm": "x"}, {"name": "q", "realm": "shop"}]),
            None,
        )
    };
    for args in [&["why", "q"][..], &["queue", "get", "q"]] {
        let (output, asked) = run(args, "", vec![missing(), found()]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("there is one in realm shop: --realm shop"),
            "{said}"
        );
        assert_eq!(lines(&asked)[1], "GET /api/v1/queues?prefix=q&limit=100");
    }
    // Whoever names a realm means it.
    let (_, asked) = run(&["why", "q", "--realm", "r"], "", vec![missing()]);
    assert_eq!(asked.len(), 1);
}

#[test]
fn what_sets_nothing_is_wrong_usage() {
    for args in [
        &["queue", "set", "q"][..],
        &["user", "set", "ada", "--dry-run"],
    ] {
        let (output, asked) = run(args, "", vec![]);
        assert_eq!((output.status.code(), asked.len()), (Some(2), 0));
        assert!(
            stderr(&output).contains("nothing to set; see --help"),
            "{}",
            stderr(&output)
        );
    }
    let (output, _) = run(&["user", "add", "ada"], "", vec![]);
    assert!(
        stderr(&output).contains("--new-password-file"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn tls_to_a_plain_port_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("an address"));
    let plain = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut beginning = [0; 5];
        stream.read_exact(&mut beginning).expect("a handshake");
        let answer = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).expect("it is read");
        // Until the other side has gone: what it said is not to be thrown at it.
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let (output, _) = run(&["whoami", "--admin-url", &url], "", vec![]);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("this port does not speak TLS; try http://"),
        "{said}"
    );
    plain.join().expect("it ended");
}

#[test]
fn a_disposal_goes_on_until_all_are_done() {
    let outcome = |done: u64, next: Option<u64>| {
        ok(json!({"matched": done + 1, "done": done, "left": 1, "next": next}))
    };
    let args = [
        "queue",
        "move",
        "q",
        "orders/again",
        "--reason",
        "expired",
        "--limit",
        "20",
    ];
    let (output, asked) = run(&args, "", vec![outcome(10, Some(40)), outcome(5, None)]);
    assert!(
        stderr(&output).contains("15 messages moved, 2 left alone"),
        "{}",
        stderr(&output)
    );
    assert_eq!(asked[0].line, "POST /api/v1/realms/default/queues/q:move");
    assert_eq!(
        asked[0].body,
        json!({"to": "orders/again", "select": {"reason": "expired"}, "limit": 20})
    );
    let expected =
        json!({"to": "orders/again", "select": {"reason": "expired", "from": 40}, "limit": 9});
    assert_eq!(asked[1].body, expected);
    let (text, asked) = good(
        &["queue", "purge", "q", "--yes", "--json"],
        vec![outcome(10, Some(40)), outcome(5, None)],
    );
    assert_eq!(text, "{\"done\":15,\"left\":2,\"matched\":17}\n");
    assert_eq!(asked[1].line, "POST /api/v1/realms/default/queues/q:delete");
    assert_eq!(asked[1].body, json!({"select": {"from": 40}}));
    let stuck = vec![outcome(1, Some(5)), outcome(1, Some(5))];
    let (output, _) = run(&["queue", "redrive", "q"], "", stuck);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
}

#[test]
fn messages_are_browsed_with_what_selects_them() {
    let message = json!({"offset": 17, "state": "ready", "timestamp": 0, "failed": 2, "address": "a/b", "key": null, "bytes": 140, "body": "x\ty"});
    let args = [
        "queue",
        "browse",
        "q",
        "--property",
        "a b=c&d",
        "--offset",
        "1,2",
        "--limit",
        "3",
    ];
    let (text, asked) = good(&args, vec![page(json!([message]), None)]);
    let place = "GET /api/v1/realms/default/queues/q/messages";
    assert_eq!(
        asked[0].line,
        format!("{place}?offsets=1%2C2&properties%5Ba%20b%5D=c%26d&limit=3")
    );
    assert!(
        text.contains("17  ready  1970-01-01T00:00:00Z       2  a/b      -      140  x\\ty"),
        "{text}"
    );
    let dead = json!({"offset": 3, "state": "ready", "timestamp": 0, "failed": 0, "address": "a/b", "key": null, "bytes": 140,
        "body": "x", "properties": {"dead-letter-reason": "expired", "dead-letter-queue": "work/eu"}});
    let (text, _) = good(
        &["queue", "browse", "dead"],
        vec![page(json!([dead]), None)],
    );
    let expected = "\
OFFSET  STATE  TIME                  REASON   FROM     ADDRESS  KEY  BYTES  BODY
     3  ready  1970-01-01T00:00:00Z  expired  work/eu  a/b      -      140  x
";
    assert_eq!(text, expected);
    let (text, _) = good(
        &["queue", "why", "q"],
        vec![ok(json!({"code": "paused", "text": "ada has paused it"}))],
    );
    assert_eq!(text, "ada has paused it\n");
}

#[test]
fn exit_codes_tell_why() {
    for (says, code, words) in [
        (
            problem("401 Unauthorized", "unauthenticated", "no"),
            4,
            "key is not taken",
        ),
        (
            problem("403 Forbidden", "forbidden", "not allowed"),
            4,
            "restante whoami",
        ),
        (
            problem("429 Too Many Requests", "too-many-attempts", "too many"),
            4,
            "try again",
        ),
        (
            problem("409 Conflict", "conflict", "it has queues"),
            1,
            "it has queues (HTTP 409, conflict)",
        ),
        (
            Says {
                status: "200 OK",
                headers: "",
                body: "<html>".into(),
            },
            1,
            "is this the admin API?",
        ),
        (
            Says {
                status: "404 Not Found",
                headers: "",
                body: "nginx".into(),
            },
            1,
            "is this the admin API of a broker?",
        ),
    ] {
        let (output, _) = run(&["overview"], "", vec![says]);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
        assert!(stdout(&output).is_empty());
    }
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let output = Command::new(RESTANTE)
        .args([
            "whoami",
            "--data",
            "/nonexistent",
            "--admin-url",
            &format!("http://{free}"),
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn definitions_go_out_and_in_as_files() {
    let all = json!({"version": 1, "realms": {"default": {"queues": {"q": {"max_messages": 5}}}}, "users": {"ada": {"roles": ["admin"]}}});
    let exported = || ok(json!({"definitions": all, "checksum": "sha256:ab", "revision": 7}));
    let (text, asked) = good(
        &["definitions", "export", "--with-hashes"],
        vec![exported()],
    );
    assert_eq!(lines(&asked), ["GET /api/v1/definitions?hashes=true"]);
    assert!(
        text.contains("realms:\n  default:\n    queues:\n      q:\n        max_messages: 5\n"),
        "{text}"
    );
    let (sum, _) = good(&["definitions", "checksum"], vec![exported()]);
    assert_eq!(sum, "sha256:ab\n");

    let plan = |act: &str| {
        ok(
            json!({"steps": [{"act": act, "kind": "queue", "realm": "default", "name": "q",
        "fields": ["max_messages: none -> 5"]}], "checksum": "sha256:cd"}),
        )
    };
    let (output, asked) = run(&["definitions", "plan", "-"], &text, vec![plan("create")]);
    assert_eq!(
        stdout(&output),
        "+ queue q in default\n    max_messages: none -> 5\nchecksum sha256:cd\n"
    );
    assert_eq!(lines(&asked), ["POST /api/v1/definitions:plan"]);
    assert_eq!(
        asked[0]
            .body
            .pointer("/realms/default/queues/q/max_messages"),
        Some(&json!(5))
    );

    let replaced = || {
        ok(
            json!({"steps": [{"act": "change", "kind": "user", "realm": null, "name": "ada", "fields": ["password_hash"]},
                {"act": "create", "kind": "user", "realm": null, "name": "bob", "fields": ["password_hash"]}],
                "checksum": "sha256:cd"}),
        )
    };
    let script = vec![exported(), replaced(), replaced()];
    let (output, _) = run(&["definitions", "apply", "-"], &text, script);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(
        said.contains("warning: the file sets the password of user ada") && !said.contains("bob"),
        "{said}"
    );

    let bare = ok(json!({"steps": [
        {"act": "create", "kind": "token", "realm": null, "name": "t2", "fields": ["label: \"b\"", "expires_at: 4102444800000"]},
        {"act": "create", "kind": "user", "realm": null, "name": "carol", "fields": ["roles: [\"x\"]"]}], "checksum": "sha256:cd"}));
    let (output, _) = run(&["definitions", "plan", "-"], &text, vec![bare]);
    let said = stderr(&output);
    assert!(
        said.contains("token t2 has no secret here: `restante token rotate t2`")
            && said.contains("user carol has no password here")
            && said.ends_with("nothing was changed\n"),
        "{said}"
    );
    assert!(
        stdout(&output).contains("    expires_at: 2100-01-01T00:00:00Z\n"),
        "{}",
        stdout(&output)
    );

    let script = vec![exported(), plan("create"), plan("create")];
    let (output, asked) = run(&["definitions", "apply", "-", "--prune"], &text, script);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(
        stderr(&output).ends_with("applied: 1 made, 0 changed, 0 removed\n"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        lines(&asked)[2],
        "POST /api/v1/definitions:apply?prune=true"
    );
    assert_eq!(asked[2].header("if-match"), Some("\"7\""));
    let (output, asked) = run(
        &["definitions", "apply", "-"],
        &text,
        vec![exported(), plan("remove")],
    );
    assert_eq!(
        (output.status.code(), asked.len()),
        (Some(2), 2),
        "{}",
        stderr(&output)
    );

    let (output, asked) = run(
        &["definitions", "plan", "-"],
        "version: 1\nusers:\n  ada:\n    rols: []\n",
        vec![],
    );
    assert_eq!((output.status.code(), asked.len()), (Some(1), 0));
    assert!(
        stderr(&output).contains("-: line 4: /users/ada/rols: unknown field `rols`"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_explanation_is_a_sentence_and_two_tables() {
    let says = ok(
        json!({"text": "alice may: rule shop", "duplicate": "no message id: never a duplicate",
        "routes": [{"route": "eu", "taken": true, "text": "the filter matches", "to": ["work/eu"]}],
        "landings": [{"address": "work/eu", "queues": [{"queue": "w", "takes": true, "overflow": "room"}], "listeners": 0, "makes_queue": false},
            {"address": "new", "queues": [], "listeners": 0, "makes_queue": true}]}),
    );
    let args = [
        "explain",
        "orders/eu",
        "--as",
        "alice",
        "--verb",
        "send",
        "--property",
        "vip=yes",
        "--as-role",
        "a,b",
    ];
    let (text, asked) = good(&args, vec![says]);
    let expected = json!({"realm": "default", "principal": "alice", "verb": "send", "roles": ["a", "b"],
        "message": {"address": "orders/eu", "properties": {"vip": "yes"}}});
    assert_eq!(asked[0].body, expected);
    let expected = "\
alice may: rule shop
duplicate: no message id: never a duplicate

ROUTE  TAKEN  TO       WHY
eu     yes    work/eu  the filter matches

ADDRESS  QUEUE         TAKES  OVERFLOW
work/eu  w             yes    room
new      (made by it)  -      -
";
    assert_eq!(text, expected);
    // Where nothing is stored, nothing is a duplicate.
    let says = ok(json!({"text": "alice may not", "duplicate": "", "routes": [], "landings": []}));
    let (text, _) = good(&["explain", "orders/eu", "--verb", "browse"], vec![says]);
    assert_eq!(text, "alice may not\n");
}

#[test]
fn whatever_can_be_made_has_the_same_verbs() {
    for kind in ["realm", "user", "token", "role", "rule", "route", "queue"] {
        for verb in ["ls", "get", "add", "set", "rm"] {
            let (output, _) = run(&[kind, verb, "--help"], "", vec![]);
            assert_eq!(output.status.code(), Some(0), "{kind} {verb}");
        }
    }
    let (_, asked) = good(&["realm", "add", "shop"], vec![created(json!({}))]);
    assert_eq!(asked[0].line, "PUT /api/v1/realms/shop");
    assert_eq!(asked[0].header("if-none-match"), Some("*"));
    let there = problem("412 Precondition Failed", "changed", "it is there");
    let (output, _) = run(&["role", "add", "shop"], "", vec![there]);
    assert!(
        stderr(&output).contains("role shop is there already"),
        "{}",
        stderr(&output)
    );
    let rule = json!({"name": "x", "revision": 7, "description": "d", "role": "shop", "verbs": ["send"], "realm": "r",
        "filter": "a/#", "effect": "allow"});
    let args = ["rule", "set", "x", "--deny", "manage,browse"];
    let (_, asked) = good(&args, vec![ok(rule.clone()), ok(rule)]);
    let expected = json!({"description": "d", "role": "shop", "verbs": ["manage", "browse"], "realm": "r", "filter": "a/#",
        "effect": "deny"});
    assert_eq!(asked[1].body, expected);
    assert_eq!(asked[1].header("if-match"), Some("\"7\""));
}

#[test]
fn every_other_act_has_its_request() {
    for (args, lines_expected) in [
        (
            &["queue", "pause", "q", "--reason", "x"][..],
            "POST /api/v1/realms/default/queues/q:pause",
        ),
        (
            &["queue", "resume", "q"],
            "POST /api/v1/realms/default/queues/q:resume",
        ),
        (
            &["queue", "bind", "q", "a/#"],
            "PUT /api/v1/realms/default/queues/q/bindings/a%2F%23",
        ),
        (
            &["queue", "unbind", "q", "a/#"],
            "DELETE /api/v1/realms/default/queues/q/bindings/a%2F%23",
        ),
        (
            &["connection", "kick", "17"],
            "DELETE /api/v1/connections/17",
        ),
        (
            &["session", "end", "s", "--yes"],
            "DELETE /api/v1/sessions/s",
        ),
        (
            &["session", "release", "s", "--yes"],
            "POST /api/v1/sessions/s:release",
        ),
        (
            &["registration", "rm", "7", "--yes", "--realm", "r"],
            "DELETE /api/v1/realms/r/registrations/7",
        ),
        (
            &["subscription", "rm", "7", "--yes"],
            "DELETE /api/v1/realms/default/subscriptions/7",
        ),
        (
            &["registration", "get", "7"],
            "GET /api/v1/realms/default/registrations/7",
        ),
        (
            &["subscription", "get", "7"],
            "GET /api/v1/realms/default/subscriptions/7",
        ),
        (
            &["role", "rm", "shop", "--yes"],
            "DELETE /api/v1/roles/shop",
        ),
        (
            &["rule", "rm", "a/b", "--yes"],
            "DELETE /api/v1/rules/a%2Fb",
        ),
        (
            &["route", "rm", "r", "--yes"],
            "DELETE /api/v1/realms/default/routes/r",
        ),
        (&["log-level", "debug"], "PUT /api/v1/log-level"),
        (&["log-level"], "GET /api/v1/log-level"),
        (&["overview"], "GET /api/v1/overview"),
        (&["user", "get", "ada"], "GET /api/v1/users/ada"),
        (
            &["queue", "get-message", "q", "17"],
            "GET /api/v1/realms/default/queues/q/messages/17",
        ),
    ] {
        let (_, asked) = good(args, vec![ok(json!({"a": 1}))]);
        assert_eq!(lines(&asked), [lines_expected]);
    }
    for (args, line) in [
        (
            &["consumer", "ls", "--queue", "q"][..],
            "GET /api/v1/consumers?queue=q&limit=500",
        ),
        (
            &["binding", "ls", "--realm", "r"],
            "GET /api/v1/bindings?realm=r&limit=500",
        ),
        (
            &["address", "ls", "--prefix", "a/"],
            "GET /api/v1/realms/default/addresses?prefix=a%2F&limit=500",
        ),
        (&["session", "ls"], "GET /api/v1/sessions?limit=500"),
        (
            &["registration", "ls", "--prefix", "a.", "--sort", "-calls"],
            "GET /api/v1/registrations?sort=-calls&prefix=a.&limit=500",
        ),
        (
            &["subscription", "ls", "--realm", "r"],
            "GET /api/v1/subscriptions?realm=r&limit=500",
        ),
        (&["call", "ls"], "GET /api/v1/calls?limit=500"),
        (
            &["connection", "ls", "--principal", "token:x"],
            "GET /api/v1/connections?principal=token%3Ax&limit=500",
        ),
        (
            &["audit", "--result", "denied", "--limit", "5"],
            "GET /api/v1/audit?result=denied&limit=5",
        ),
        (&["role", "ls"], "GET /api/v1/roles?limit=500"),
        (
            &["rule", "ls", "--role", "*"],
            "GET /api/v1/rules?role=%2A&limit=500",
        ),
        (
            &["route", "ls"],
            "GET /api/v1/realms/default/routes?limit=500",
        ),
        (
            &["user", "ls", "--disabled"],
            "GET /api/v1/users?disabled=true&limit=500",
        ),
        (&["realm", "ls"], "GET /api/v1/realms?limit=500"),
        (&["token", "ls"], "GET /api/v1/tokens?limit=500"),
    ] {
        let (_, asked) = good(args, vec![page(json!([]), None)]);
        assert_eq!(lines(&asked), [line]);
    }
    let (script, _) = good(&["completion", "bash"], vec![]);
    assert!(
        script.contains("restante__definitions__apply") || script.contains("definitions"),
        "{script}"
    );
}

#[test]
fn wildcards_are_told_where_they_belong() {
    for (args, words) in [
        (&["consume", "orders/#"][..], "--mode topic"),
        (&["consume", "orders//x"], "empty segment at byte 7"),
        (&["send", "orders/+"], "is a wildcard"),
    ] {
        let (output, _) = run(args, "", vec![]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
}
