//! What administrators set, seen through the doors: rights that bite live clients, revoked tokens, and what those hear who
//! have no right to ask.

use std::time::Instant;

use crate::script::{End, Script};
use crate::server::Server;
use crate::wait;

/// A token for somebody with these roles; its secret.
fn token(server: &Server, label: &str, role: &str) -> String {
    let printed = server.administer(&["token", "issue", label, "--role", role]);
    let secret = printed.split_whitespace().find(|it| it.starts_with("rst_"));
    secret.expect("a secret").to_owned()
}

/// A broker with a role `shop` that may send to and consume from `orders/#`, and a token of it.
fn shop() -> (Server, String) {
    let server = Server::start();
    server.administer(&["role", "set", "shop"]);
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
    let token = token(&server, "backend", "shop");
    (server, token)
}

#[test]
fn a_right_that_is_taken_away_is_gone_for_who_is_connected() {
    let (server, token) = shop();
    let mut client = Script::open_as(&server, &token, "expiry:3600\n");
    client.send("orders/eu", "1");
    client.consume("c", "orders/eu", "limit:10\n");
    assert_eq!(client.delivery().body, "1");
    let began = Instant::now();
    server.administer(&["rule", "rm", "orders", "--yes"]);
    // It hears of it without asking for anything.
    let cancel = client.cancelled();
    println!("{:?} after the command began", began.elapsed());
    assert_eq!(
        (cancel.text("consumer"), cancel.text("code")),
        ("c", "denied")
    );
    client.send("orders/eu", "2");
    assert_eq!(client.refused(), "denied");
    // What it had in hand is back for others.
    let mut other = Script::open(&server, "");
    other.consume("c", "orders/eu", "limit:10\n");
    assert_eq!(other.delivery().body, "1");
}

#[test]
fn a_revoked_token_is_worth_nothing_at_any_door() {
    let (server, token) = shop();
    let mut client = Script::open_as(&server, &token, "");
    client.send("orders/eu", "1");
    client.all_confirmed();
    let overview = server.ask("GET", "/api/v1/whoami", &token, "");
    assert!(overview.starts_with("HTTP/1.1 200"), "{overview}");
    server.administer(&["token", "rm", "backend", "--yes"]);
    let end = End {
        code: "denied".to_owned(),
        close: 4403,
    };
    assert_eq!(client.end(), end);
    let refused = Script::try_dial(&server, &format!("Authorization: Bearer {token}\r\n"));
    assert!(refused.is_err_and(|why| why.contains("401")));
    let refused = server.ask("GET", "/api/v1/whoami", &token, "");
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
}

#[test]
fn whom_the_broker_does_not_let_ends_with_4_and_knows_why() {
    let (server, token) = shop();
    let key = server.file("backend.key");
    std::fs::write(&key, format!("{token}\n")).expect("a file");
    std::fs::write(server.file("lines"), "one\ntwo\n").expect("a file");
    let key = key.display().to_string();
    let lines = server.file("lines").display().to_string();
    let ends = |args: &[&str], words: &str| {
        let args = [args, &["--key-file", &key]].concat();
        let mut process = server.cli(&args);
        let code = process.wait().code();
        let said = process.stderr();
        assert!(said.contains(words), "{args:?}: {said}");
        assert_eq!(code, Some(4), "{args:?}: {said}");
    };
    ends(
        &["send", "stock/eu", "--file", &lines],
        "you may not send to stock/eu; an administrator sees why with `restante explain stock/eu`",
    );
    ends(
        &["consume", "stock/eu"],
        "`restante explain stock/eu --verb consume`",
    );
    // Its token goes while it waits.
    let mut follow = server.cli(&["consume", "orders/eu", "--follow", "--key-file", &key]);
    wait::until("it consumes", || {
        let shown = server.administer(&["consumer", "ls"]);
        shown.contains("token:backend").then_some(())
    });
    server.administer(&["token", "rm", "backend", "--yes"]);
    assert_eq!(follow.wait().code(), Some(4), "{}", follow.stderr());
    assert!(
        follow.stderr().contains("revoked, disabled or expired"),
        "{}",
        follow.stderr()
    );
    ends(&["consume", "orders/eu"], "backend.key is not taken");
}

#[test]
fn a_paused_queue_is_hinted_at_once() {
    let server = Server::start();
    server.administer(&["queue", "add", "q"]);
    server.administer(&["queue", "pause", "q"]);
    let lines = server.file("lines").display().to_string();
    std::fs::write(&lines, "one\n").expect("a file");
    let mut send = server.cli(&["send", "q", "--file", &lines]);
    assert!(send.wait().success(), "{}", send.stderr());
    let hint = "`restante queue why q --realm default` says";
    let at_the_end = ["consume", "q", "--realm", "default", "--idle", "100ms"];
    let mut consume = server.cli(&at_the_end);
    assert!(consume.wait().success(), "{}", consume.stderr());
    let said = consume.stderr();
    assert_eq!(said.matches(hint).count(), 1, "{said}");
    let mut waits = server.cli(&["consume", "q", "--realm", "default", "--count", "1"]);
    wait::until("it hints", || waits.stderr().contains(hint).then_some(()));
    server.administer(&["queue", "resume", "q"]);
    assert!(waits.wait().success(), "{}", waits.stderr());
    assert_eq!(waits.stdout(), "one\n");
    let mut temporary = server.cli(&["consume", "~mine", "--idle", "100ms"]);
    assert!(temporary.wait().success(), "{}", temporary.stderr());
    assert!(!temporary.stderr().contains("queue why"));
}

#[test]
fn a_realm_that_there_is_not_is_named() {
    let server = Server::start();
    let mut consume = server.cli(&["consume", "q", "--realm", "nope"]);
    assert_eq!(consume.wait().code(), Some(1));
    assert!(
        consume.stderr().contains("there is no realm nope"),
        "{}",
        consume.stderr()
    );
}

#[test]
fn who_has_no_right_learns_nothing_and_is_written_down() {
    let (server, token) = shop();
    for (method, path, body) in [
        ("GET", "/api/v1/users/admin", ""),
        ("GET", "/api/v1/users/nobody", ""),
        ("PUT", "/api/v1/users/admin", "{\"roles\":[\"shop\"]}"),
        (
            "PUT",
            "/api/v1/rules/all",
            "{\"role\":\"shop\",\"verbs\":[\"send\"],\"filter\":\"#\"}",
        ),
        ("GET", "/api/v1/definitions", ""),
        ("GET", "/api/v1/audit", ""),
        ("DELETE", "/api/v1/realms/default/queues/payroll", ""),
    ] {
        let answer = server.ask(method, path, &token, body);
        assert!(
            answer.starts_with("HTTP/1.1 403"),
            "{method} {path}: {answer}"
        );
        for word in ["argon2", "nobody", "payroll", "no such", "there is no"] {
            let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
            assert!(!body.contains(word), "{method} {path}: {answer}");
        }
    }
    let mut client = Script::open_as(&server, &token, "");
    client.send("payroll", "1");
    assert_eq!(client.refused(), "denied");
    for _ in 0..3 {
        let wrong = Script::try_dial(&server, "authorization: Bearer rst_wrong\r\n");
        assert!(wrong.is_err_and(|why| why.contains("401")));
    }
    let lines = || {
        let audit = server.administer(&["audit", "--result", "denied", "--json"]);
        let lines: Vec<serde_json::Value> = audit
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let of_token = |line: &serde_json::Value| line["principal"] == "token:backend";
        let rest = lines
            .iter()
            .filter(|it| of_token(it) && it["door"] == "rest")
            .count();
        let mbws = lines
            .iter()
            .filter(|it| of_token(it) && it["door"] == "mbws")
            .count();
        // The second and third are one line with the next minute's.
        let log_in = |it: &&serde_json::Value| it["act"] == "log-in" && it["principal"] == "";
        let strangers = lines.iter().filter(log_in).count();
        (rest >= 7 && mbws == 1 && strangers == 1).then_some(())
    };
    wait::until("every denial is in the audit log", lines);
    let audit = server.administer(&["audit", "--json"]);
    assert!(!audit.contains(&token) && !audit.contains("rst_wrong"));
}
