//! `ops/prometheus/`, read by promtool and by a real Prometheus that scrapes a running broker.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use super::{at, documented_metrics, grafana, metrics_in, read, root, run, said};
use crate::process::{Process, command};
use crate::server::Server;
use crate::wait;

/// An alert of `alerts.yml`.
struct Alert {
    name: String,
    expr: String,
    severity: String,
    annotations: BTreeMap<String, String>,
}

fn alerts() -> Vec<Alert> {
    let rules: Value =
        serde_yaml::from_str(&read("ops/prometheus/alerts.yml")).expect("rules in YAML");
    let groups = at(&rules, "/groups").as_array().expect("groups");
    let rules = groups
        .iter()
        .flat_map(|group| at(group, "/rules").as_array().expect("rules"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alert = |rule: &Value| Alert {
        name: text(at(rule, "/alert")),
        expr: text(at(rule, "/expr")),
        severity: text(at(rule, "/labels/severity")),
        annotations: at(rule, "/annotations")
            .as_object()
            .expect("annotations")
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
    };
    rules.map(alert).collect()
}

#[test]
fn every_alert_says_what_is_wrong_and_where_to_read_on() {
    let runbook = read("ops/RUNBOOK.md");
    let headings: Vec<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let alerts = alerts();
    assert!(alerts.len() > 20);
    for alert in &alerts {
        let name = &alert.name;
        assert!(name.starts_with("Restante"), "{name}");
        let severities = ["critical", "warning", "info"];
        assert!(severities.contains(&alert.severity.as_str()), "{name}");
        for annotation in ["summary", "description"] {
            let text = alert.annotations.get(annotation);
            assert!(
                text.is_some_and(|it| !it.is_empty()),
                "{name}: no {annotation}"
            );
        }
        let runbook = alert.annotations.get("runbook");
        let anchor = format!("ops/RUNBOOK.md#{}", name.to_lowercase());
        assert_eq!(runbook, Some(&anchor));
        assert!(
            headings.contains(&name.as_str()),
            "{name}: not in the runbook"
        );
    }
    let stale = headings.iter().filter(|it| it.starts_with("Restante"));
    for heading in stale {
        let known = alerts.iter().any(|alert| alert.name == *heading);
        assert!(known, "{heading}: in the runbook, but no alert");
    }
}

#[test]
fn every_alert_is_seen_to_fire() {
    let tests = read("ops/prometheus/alerts_test.yml");
    for alert in alerts() {
        let fires = format!("{{alertname=\"{}\"}}", alert.name);
        assert!(
            tests.contains(&fires),
            "{}: no test has it fire",
            alert.name
        );
    }
}

#[test]
fn every_metric_that_is_watched_is_documented() {
    let documented = documented_metrics();
    for file in ["alerts.yml", "alerts_test.yml", "prometheus.yml"] {
        let watched = metrics_in(&read(&format!("ops/prometheus/{file}")));
        let unknown: Vec<_> = watched.difference(&documented).cloned().collect();
        assert!(
            unknown.is_empty(),
            "{file}: not in ops/METRICS.md: {unknown:?}"
        );
    }
}

#[test]
#[ignore = "needs promtool: tests/run ops"]
fn promtool_takes_the_configuration_and_the_rules_and_their_tests_pass() {
    let rules = root().join("ops/prometheus");
    run("promtool", &["check", "rules", "alerts.yml"], &rules);
    let said = run("promtool", &["test", "rules", "alerts_test.yml"], &rules);
    assert!(said.contains("SUCCESS"), "{said}");
    let folder = tempfile::tempdir().expect("a folder");
    install(folder.path(), "127.0.0.1:7301", "a key");
    run(
        "promtool",
        &["check", "config", "prometheus.yml"],
        folder.path(),
    );
}

#[test]
#[ignore = "needs promtool and prometheus: tests/run ops"]
fn prometheus_scrapes_the_broker_and_finds_nothing_wrong() {
    // So that it takes the key to get in.
    let server = Server::with(&[("RESTANTE_ADMIN_METRICS_OPEN", "false")]);
    work(&server);
    check_metrics(&server.get("/metrics"));
    let prometheus = Prometheus::watch(&server);
    wait::until("it has read the broker's metrics", || {
        (prometheus.value("up{job=\"restante\"}") == Some(1.0)).then_some(())
    });
    let published = "sum(restante_messages_published_total{protocol=\"mbws\"})";
    assert_eq!(prometheus.value(published), Some(3.0));
    let settled = "restante_deliveries_settled_total{outcome=\"accepted\"}";
    assert_eq!(prometheus.value(settled), Some(3.0));
    assert_eq!(prometheus.value("min(restante_ready)"), Some(1.0));
    let confirms = "histogram_quantile(0.99, sum by (le) (restante_confirm_seconds_bucket)) > 0";
    assert!(prometheus.value(confirms).is_some(), "no confirm was timed");
    for metric in ["restante_build_info", "restante_disk_free_bytes"] {
        assert!(prometheus.value(metric).is_some(), "{metric}: not scraped");
    }
    for alert in alerts() {
        prometheus.ask(&alert.expr);
    }
    for query in grafana::queries() {
        prometheus.ask(&query);
    }
    let rules = prometheus.get("/api/v1/rules").to_string();
    assert!(!rules.contains("\"health\":\"err\""), "{rules}");
    let firing = prometheus.ask("ALERTS{alertstate=\"firing\"}");
    assert_eq!(firing.as_array().map(Vec::len), Some(0), "{firing}");
}

/// Three messages, in and out.
fn work(server: &Server) {
    let lines = server.file("lines");
    fs::write(&lines, "one\ntwo\nthree\n").expect("a file");
    let file = lines.display().to_string();
    for args in [&["send", "q", "--file", &file][..], &["consume", "q"]] {
        let mut client = server.cli(args);
        assert!(client.wait().success(), "{}", client.stderr());
    }
}

/// Names, help and form, as Prometheus' makers want them.
fn check_metrics(text: &str) {
    let mut promtool = command("promtool");
    promtool.args(["check", "metrics"]);
    promtool.stdin(Stdio::piped()).stdout(Stdio::piped());
    promtool.stderr(Stdio::piped());
    let mut child = promtool.spawn().expect("promtool (tests/run ops gets it)");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = said(&output);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// The files of `ops/prometheus` in `folder`, as an operator copies them.
fn install(folder: &Path, target: &str, key: &str) {
    let config = read("ops/prometheus/prometheus.yml");
    assert!(config.contains("127.0.0.1:7301"));
    // Not fifteen seconds: somebody waits for this test.
    let config = config
        .replace("127.0.0.1:7301", target)
        .replace("_interval: 15s", "_interval: 1s")
        .replace("scrape_timeout: 10s", "scrape_timeout: 1s");
    let rules = read("ops/prometheus/alerts.yml");
    let files = [
        ("prometheus.yml", config.as_str()),
        ("alerts.yml", &rules),
        ("restante.key", key),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text).expect("a file");
    }
}

struct Prometheus {
    _process: Process,
    address: SocketAddr,
}

impl Prometheus {
    fn watch(server: &Server) -> Prometheus {
        let folder = server.file("prometheus");
        fs::create_dir(&folder).expect("a folder");
        install(&folder, &server.admin().to_string(), &server.token());
        wait::until("Prometheus has started", || Prometheus::try_start(&folder))
    }

    /// None where somebody else was given its port.
    fn try_start(folder: &Path) -> Option<Prometheus> {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("it has one");
        drop(free);
        let mut command = command("prometheus");
        command
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder);
        let mut process = Process::start(&mut command);
        let ended = wait::until("it listens", || {
            let ready = get(address, "/-/ready").is_some_and(|it| it.starts_with("HTTP/1.1 200"));
            let ended = process.ended();
            (ready || ended.is_some()).then_some(ended)
        });
        if ended.is_some() {
            process.wait();
            let log = process.stderr();
            assert!(log.contains("address already in use"), "{log}");
            return None;
        }
        Some(Prometheus {
            _process: process,
            address,
        })
    }

    /// What an expression gives now; it must be a good one.
    fn ask(&self, expression: &str) -> Value {
        let answer = self.get(&format!("/api/v1/query?query={}", escaped(expression)));
        assert_eq!(at(&answer, "/status"), "success", "{expression}: {answer}");
        at(&answer, "/data/result").clone()
    }

    /// The one number that it gives, if it is one.
    fn value(&self, expression: &str) -> Option<f64> {
        let result = self.ask(expression);
        let series = result.as_array()?;
        let [one] = series.as_slice() else {
            assert!(series.is_empty(), "{expression}: many: {result}");
            return None;
        };
        at(one, "/value/1").as_str()?.parse().ok()
    }

    fn get(&self, path: &str) -> Value {
        let answer = get(self.address, path).expect("Prometheus answers");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        let body = body.unwrap_or_default();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
    }
}

/// HTTP/1.0: then no answer comes in chunks.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(wait::deadline())).ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    // Go answers a request of HTTP/1.0 as what it is.
    Some(answer.replacen("HTTP/1.0", "HTTP/1.1", 1))
}

fn escaped(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
