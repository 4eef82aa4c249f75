//! What an operator sees of a running broker: its log, its metrics, its configuration read again.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::process::command;
use crate::server::Server;
use crate::wait;

fn wait_for(server: &Server, text: &str) {
    wait::until(text, || server.log().contains(text).then_some(()));
}

#[test]
fn a_reload_applies_what_it_can_and_tells_the_rest() {
    let mut server = Server::with_config("log: {level: info}\n");
    let file = server.file("restante.yaml");
    fs::write(&file, "log: {level: debug}\nlimits: {window: 7}\n").expect("a file");
    server.reload();
    wait_for(&server, "a changed setting is applied key=\"log.level\"");
    wait_for(
        &server,
        "a changed setting needs a restart key=\"limits.window\"",
    );
    assert!(!server.log().contains(" DEBUG "), "{}", server.log());
    server.get("/livez");
    wait_for(&server, " DEBUG ");
    fs::write(&file, "log: {level: warn}\nlimits: {windows: 7}\n").expect("a file");
    server.reload();
    wait_for(&server, "limits.windows: there is no such key");
    let before = server.log().matches(" DEBUG ").count();
    server.get("/livez");
    wait::until("it still logs what it did", || {
        (server.log().matches(" DEBUG ").count() > before).then_some(())
    });
    server.terminate();
    let audit = fs::read_to_string(server.data().join("audit/audit-00000000000000000001.jsonl"));
    let audit = audit.expect("the audit log");
    let acts: Vec<String> = audit
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .map(|line: serde_json::Value| {
            format!("{} {}", line["act"], line["result"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        acts,
        [
            "start done",
            "first documents done",
            "reload done",
            "reload failed",
            "stop done"
        ]
    );
}

#[test]
fn a_changed_audit_log_is_found_from_the_command_line() {
    let mut server = Server::start();
    server.reload();
    wait_for(&server, "the configuration is read again");
    server.terminate();
    let verify = || {
        let mut process = server.cli(&["audit", "verify"]);
        let code = process.wait().code();
        (code, process.stdout())
    };
    let (code, said) = verify();
    assert!(
        code == Some(0) && said.contains("audit log: 4 lines in 1 files, 1 to 4"),
        "{said}"
    );
    let file = server.data().join("audit/audit-00000000000000000001.jsonl");
    let text = fs::read_to_string(&file).expect("the audit log");
    let changed = text.replacen("reload", "unload", 1);
    assert_ne!(text, changed);
    fs::write(&file, changed).expect("a file");
    let (code, said) = verify();
    let fault = "the line before was changed, taken out or put in";
    assert!(code == Some(5) && said.contains(fault), "{code:?} {said}");
    fs::remove_file(&file).expect("it is gone");
    fs::remove_dir(server.data().join("audit")).expect("it is gone");
    let (code, said) = verify();
    assert_eq!(
        (code, said.as_str()),
        (Some(1), ""),
        "nothing is no sound log"
    );
}

#[test]
fn lines_of_the_log_are_json_if_it_is_wanted() {
    let mut server = Server::with(&[("RESTANTE_LOG_FORMAT", "json")]);
    server.terminate();
    let log = server.log();
    assert!(log.lines().count() > 2, "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].is_string(), "no {key} in {line}");
        }
    }
}

#[test]
fn metrics_can_be_switched_off() {
    let server = Server::with(&[("RESTANTE_METRICS_ENABLED", "false")]);
    let text = server.get("/metrics");
    assert!(
        text.starts_with("# ") && text.contains("metrics.enabled"),
        "{text}"
    );
    assert_eq!(
        text.lines().filter(|line| !line.starts_with('#')).count(),
        0
    );
}

/// Sends what is in a file.
fn send(server: &Server, address: &str, lines: &str, options: &[&str]) {
    let file = server.file("lines");
    fs::write(&file, lines).expect("a file");
    let file = file.display().to_string();
    let mut process = server.cli(&[&["send", address, "--file", &file], options].concat());
    let status = process.wait();
    assert!(status.success(), "{}", process.stderr());
}

#[test]
fn a_message_s_trace_is_in_the_log_at_debug() {
    let server = Server::with(&[("RESTANTE_LOG_LEVEL", "info,restante::broker=debug")]);
    let line = "{\"body\":\"x\",\"properties\":{\"traceparent\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\"}}\n";
    send(&server, "orders/eu", line, &["--json"]);
    let mut taken = server.cli(&["consume", "orders/eu", "--count", "1"]);
    assert!(taken.wait().success(), "{}", taken.stderr());
    let ids = "trace_id=4bf92f3577b34da6a3ce929d0e0e4736 span_id=00f067aa0ba902b7";
    for event in [
        "published realm=\"default\" address=\"orders/eu\"",
        "delivered realm=\"default\" address=\"orders/eu\" offset=1 attempt=1",
    ] {
        wait::until(event, || {
            let log = server.log();
            let mut lines = log.lines().filter(|line| line.contains(event));
            lines.any(|line| line.contains(ids)).then_some(())
        });
    }
    assert_eq!(
        server.metric("restante_delivery_age_seconds_count", ""),
        1.0
    );
}

/// Without promtool (Debian: prometheus) there is nothing to ask.
#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let server = Server::start();
    send(&server, "orders/eu", "hello\n", &[]);
    let text = server.get("/metrics");
    for name in [
        "process_open_fds",
        "process_start_time_seconds",
        "restante_build_info",
        "restante_log_segments",
        "restante_messages_published_total",
    ] {
        assert!(
            text.contains(&format!("# HELP {name} ")),
            "no help of {name}"
        );
        assert!(
            text.contains(&format!("# TYPE {name} ")),
            "no type of {name}"
        );
    }
    assert!(server.metric("restante_messages_published_total", "") >= 1.0);
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("promtool is not here: nobody else has looked at the metrics");
        return;
    }
    let mut promtool = command("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut input = promtool.stdin.take().expect("a pipe");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let said = promtool.wait_with_output().expect("it ends");
    let (out, err) = (
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr),
    );
    assert!(
        said.status.success() && out.is_empty() && err.is_empty(),
        "{out}{err}"
    );
}
