//! Nothing secret comes out again: passwords, tokens and their hashes are planted at every door, and looked for in all that
//! the broker writes, shows and answers (`ops/SECURITY.md`, "Secrets that leak").

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use restante_proto::mqtt::ReasonCode;
use serde_json::Value;

use crate::scram;
use crate::script::Script;
use crate::server::Server;
use crate::wait;

const PASSWORD: &str = "canary-password-of-bob";
const WRONG: &str = "canary-password-that-is-wrong";
const MISPLACED: &str = "canary-password-typed-as-a-name";
const BODY: &str = "canary-body";

/// Sends bytes, and reads what comes until the peer has nothing more to say.
fn talk(at: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).expect("a connection");
    let deadline = Some(wait::deadline());
    stream.set_read_timeout(deadline).expect("a timeout");
    stream.write_all(bytes).expect("written");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(server: &Server, method: &str, path: &str, authorization: &str, body: &str) -> String {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: broker\r\nauthorization: {authorization}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    talk(server.admin(), head.as_bytes())
}

/// A CONNECT of MQTT 3.1.1, with which the broker is to end the connection.
fn mqtt_connect(user: &str, password: &str) -> Vec<u8> {
    let mut rest = b"\x00\x04MQTT\x04\xc2\x00\x3c".to_vec();
    for text in ["watcher", user, password] {
        rest.extend((text.len() as u16).to_be_bytes());
        rest.extend(text.as_bytes());
    }
    let mut packet = vec![0x10, u8::try_from(rest.len()).expect("a short packet")];
    packet.extend(rest);
    packet
}

/// Tries `user` and `password`, which are wrong, at every door.
fn try_everywhere(server: &Server, user: &str, password: &str) {
    let basic = format!("Basic {}", base64(&format!("{user}:{password}")));
    for authorization in [&basic, &format!("Bearer {password}")] {
        let headers = format!("authorization: {authorization}\r\n");
        assert!(Script::try_dial(server, &headers).is_err());
        for path in ["/api/v1/whoami", "/metrics", "/no/such/path"] {
            let answer = request(server, "GET", path, authorization, "");
            assert!(answer.starts_with("HTTP/1.1 40"), "{path}: {answer}");
        }
    }
    let mut script = Script::dial(server, "");
    let fields = format!("version:1\naccept:text\nuser:{user}\npassword:{password}\n");
    script.frame("open", &fields, "");
    assert_eq!(script.end().code, "unauthorized");
    talk(server.clients(), &mqtt_connect(user, password));
    let refused = scram::Client::new(server).connect(user, password);
    assert_eq!(refused, ReasonCode::NotAuthorized);
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// All that the admin API shows to an administrator: each GET of its own description.
fn all_answers(server: &Server, token_id: &str) -> Vec<(String, String)> {
    let description: Value =
        serde_json::from_str(&server.get("/api/v1/openapi.json")).expect("JSON");
    let bearer = format!("Bearer {}", server.token());
    let first = |list: &str, field: &str| {
        let list: Value = serde_json::from_str(&server.get(list)).expect("JSON");
        let value = list.pointer(&format!("/items/0/{field}"));
        value.and_then(Value::as_str).map(str::to_owned)
    };
    let session = first("/api/v1/sessions", "id").expect("a session");
    let connection = first("/api/v1/connections", "id").expect("a connection");
    let paths = description.get("paths").and_then(Value::as_object);
    let paths = paths.expect("paths");
    let gets = paths.iter().filter(|(_, it)| it.get("get").is_some());
    gets.map(|(path, _)| {
        let path = path
            .replace("{realm}", "default")
            .replace("{queue}", "orders")
            .replace("{offset}", "1")
            .replace("{user}", "bob")
            .replace("{token}", token_id)
            .replace("{role}", "admin")
            .replace("{rule}", "orders")
            .replace("{route}", "copy")
            .replace("{session}", &session)
            .replace("{connection}", &connection)
            // Nobody has any: that there is none is an answer too.
            .replace("{registration}", "1")
            .replace("{subscription}", "1")
            .replace("{file}", "viewer.js");
        assert!(!path.contains('{'), "{path}: say what is to be put there");
        let answer = request(server, "GET", &path, &bearer, "");
        (path, answer)
    })
    .collect()
}

/// All `NAME: VALUE` of that name in a file of definitions.
fn values<'a>(definitions: &'a str, name: &str) -> Vec<&'a str> {
    let lines = definitions.lines().map(str::trim);
    let values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    values.map(|it| it.trim_matches(['\'', '"'])).collect()
}

#[test]
fn planted_secrets_come_out_nowhere() {
    let mut server = Server::with(&[
        ("RESTANTE_LOG_LEVEL", "restante=trace,debug"),
        ("RESTANTE_ADMIN_METRICS_OPEN", "false"),
        // So many wrong ones are tried that others would have to wait.
        ("RESTANTE_LIMITS_AUTH_ATTEMPTS", "10000"),
    ]);
    let file = server.file("bob.secret");
    fs::write(&file, PASSWORD).expect("a file");
    let file = file.display().to_string();
    server.administer(&["role", "add", "shop"]);
    let rule = [
        "rule",
        "add",
        "orders",
        "--role",
        "shop",
        "--allow",
        "send,consume",
        "orders/#",
    ];
    server.administer(&rule);
    server.administer(&["queue", "add", "orders"]);
    server.administer(&["route", "add", "copy", "orders/copy", "--to", "orders"]);
    server.administer(&[
        "user",
        "add",
        "bob",
        "--role",
        "shop",
        "--new-password-file",
        &file,
    ]);
    let issued = server.administer(&["token", "issue", "backend", "--role", "shop"]);
    let token = issued.split_whitespace().find(|it| it.starts_with("rst_"));
    let token = token.expect("a secret").to_owned();
    let listed: Value = serde_json::from_str(&server.get("/api/v1/tokens?prefix=")).expect("JSON");
    let items = listed.get("items").and_then(Value::as_array);
    let items = items.expect("tokens");
    let ours = items
        .iter()
        .find(|it| it.get("label").is_some_and(|label| label == "backend"));
    let token_id = ours.and_then(|it| it.get("id")?.as_str());
    let token_id = token_id.expect("an id").to_owned();

    // In and out with the right ones, at each door.
    let mut bob = Script::dial(&server, "");
    bob.hello(&format!("user:bob\npassword:{PASSWORD}\n"));
    bob.send("orders", BODY);
    bob.all_confirmed();
    let mut backend = Script::dial(&server, "");
    backend.hello(&format!("token:{token}\nexpiry:60\n"));
    let mut over_mqtt = TcpStream::connect(server.clients()).expect("a connection");
    over_mqtt
        .write_all(&mqtt_connect("bob", PASSWORD))
        .expect("written");
    let mut connack = [0; 4];
    over_mqtt.read_exact(&mut connack).expect("a CONNACK");
    assert_eq!(connack, [0x20, 2, 0, 0]);
    let mut by_scram = scram::Client::new(&server);
    assert_eq!(by_scram.connect("bob", PASSWORD), ReasonCode::Success);
    // And with wrong ones; among them what is nearly right.
    try_everywhere(&server, "bob", WRONG);
    try_everywhere(&server, "bob", &format!("{token}x"));
    try_everywhere(&server, MISPLACED, WRONG);
    let bearer = format!("Bearer {}", server.token());
    let bad = format!(r#"{{"password": "{WRONG}", "passwort": "{WRONG}"}}"#);
    let refused = request(&server, "PUT", "/api/v1/users/bob", &bearer, &bad);
    assert!(refused.starts_with("HTTP/1.1 4"), "{refused}");

    let exported = server.administer(&["definitions", "export", "--with-hashes"]);
    let mut secrets = vec![PASSWORD, WRONG, MISPLACED, &token];
    secrets.extend(values(&exported, "password_hash"));
    secrets.extend(values(&exported, "hash"));
    let verifiers = values(&exported, "scram_verifier");
    assert_eq!(verifiers.len(), 2, "those of admin and bob: {exported}");
    // The whole, and each part of it but the method's name and the number of iterations.
    let parts = verifiers.iter().flat_map(|it| it.split(['$', ':']));
    secrets.extend(parts.filter(|it| it.len() > 20));
    secrets.extend(verifiers);
    for name in ["wampcra_key", "scram_argon2_verifier"] {
        let stored = values(&exported, name);
        assert_eq!(stored.len(), 2, "{name}s of admin and bob: {exported}");
        let parts = stored.iter().flat_map(|it| it.split(['$', ':']));
        secrets.extend(parts.filter(|it| it.len() > 20));
        secrets.extend(stored);
    }
    assert!(secrets.len() > 4, "no hashes were found: {exported}");
    let key = server.token();
    secrets.push(&key);

    let mut shown = all_answers(&server, &token_id);
    assert!(shown.len() > 30, "{} answers", shown.len());
    shown.push(("the refusal".to_owned(), refused));
    server.terminate();
    let log = server.log();
    assert!(!log.contains(BODY), "a body is in the log");
    shown.push(("the log".to_owned(), log));
    for file in fs::read_dir(server.data().join("audit")).expect("the audit log") {
        let path = file.expect("a file").path();
        let text = fs::read_to_string(&path).expect("its text");
        shown.push((path.display().to_string(), text));
    }
    for (place, text) in &shown {
        let leaked = secrets.iter().find(|secret| text.contains(**secret));
        assert!(leaked.is_none(), "{place} shows {leaked:?}: {text}");
    }
}
