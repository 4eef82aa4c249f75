//! `ops/restante.service`, and what the broker tells the service manager.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread::spawn;

use rustix::process::Signal;

use super::{read, run};
use crate::process::RESTANTE;
use crate::server::Server;
use crate::wait;

/// In tenths; systemd calls up to 20 "OK", a service without any directive has 96.
const EXPOSURE_MAX: &str = "15";

/// A service manager's end of the notifications.
struct Manager(UnixDatagram);

impl Manager {
    fn at(path: &Path) -> Manager {
        let socket = UnixDatagram::bind(path).expect("a socket");
        socket
            .set_read_timeout(Some(wait::deadline()))
            .expect("a timeout");
        Manager(socket)
    }

    /// The next message's lines.
    fn hear(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).expect("a notification");
        let text = String::from_utf8_lossy(message.get(..length).unwrap_or_default()).into_owned();
        text.lines().map(str::to_owned).collect()
    }

    /// All up to the message that has `line`.
    fn hear_until(&self, line: &str) -> Vec<Vec<String>> {
        let mut heard = Vec::new();
        loop {
            let message = self.hear();
            let last = message.iter().any(|it| it == line);
            heard.push(message);
            if last {
                return heard;
            }
        }
    }
}

/// The status line of `GET /readyz`; nothing: nobody answers.
fn readiness(admin: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect(admin).ok()?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    stream.set_read_timeout(Some(wait::deadline())).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.lines().next().map(str::to_owned)
}

#[test]
fn systemd_hears_of_ready_alive_and_stopping() {
    let mut server = Server::start();
    // The ports are known from now on.
    server.terminate();
    let (path, clients, admin) = (server.file("notify"), server.clients(), server.admin());
    let manager = Manager::at(&path);
    server.set("NOTIFY_SOCKET", &path.display().to_string());
    server.set("WATCHDOG_USEC", "300000");
    let listener = spawn(move || {
        let heard = manager.hear_until("READY=1");
        // At the moment that it is said it is true.
        let answers = (readiness(admin), TcpStream::connect(clients).is_ok());
        (manager, heard, answers)
    });
    server.run();
    let (manager, heard, answers) = listener.join().expect("the service manager");
    assert_eq!(answers, (Some("HTTP/1.1 200 OK".to_owned()), true));
    assert_eq!(heard[0], ["STATUS=recovering"]);
    assert_eq!(heard[heard.len() - 1], ["READY=1", "STATUS=serving"]);
    for _ in 0..3 {
        manager.hear_until("WATCHDOG=1");
    }
    server.terminate();
    let heard = manager.hear_until("STOPPING=1");
    let last = &heard[heard.len() - 1];
    assert_eq!(last[1], "STATUS=draining, 0 connections");
    let alive = [vec!["WATCHDOG=1".to_owned()]];
    let before = &heard[..heard.len() - 1];
    assert!(before.iter().all(|it| alive.contains(it)), "{before:?}");
}

#[test]
fn without_a_service_manager_nothing_is_said_and_nothing_fails() {
    let mut server = Server::prepare(&[]);
    let nowhere = server.file("nobody-listens-here");
    server.set("NOTIFY_SOCKET", &nowhere.display().to_string());
    server.run();
    assert_eq!(
        readiness(server.admin()).as_deref(),
        Some("HTTP/1.1 200 OK")
    );
    server.terminate();
}

#[test]
fn the_unit_s_reload_leaves_the_broker_running() {
    let unit = Unit::read();
    assert_eq!(unit.values("ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    let mut server = Server::start();
    server.signal(Signal::HUP);
    assert_eq!(
        readiness(server.admin()).as_deref(),
        Some("HTTP/1.1 200 OK")
    );
    // With 0, not by the signal.
    server.terminate();
}

#[test]
fn the_unit_waits_longer_than_a_drain() {
    let unit = Unit::read();
    let example = read("ops/restante.example.yaml");
    let drain = example
        .lines()
        .find_map(|line| line.strip_prefix("drain-time: "));
    let seconds = |text: &str| -> u64 { text.trim_end_matches('s').parse().expect("seconds") };
    let stop = unit.values("TimeoutStopSec");
    assert!(seconds(&stop[0]) >= 3 * seconds(drain.expect("a default")));
    assert_eq!(unit.values("Type"), ["notify"]);
}

#[test]
#[ignore = "needs systemd-analyze: tests/run ops"]
fn the_unit_is_sound_and_shut_tight() {
    let folder = tempfile::tempdir().expect("a folder");
    // The program must be there for `verify`.
    let unit = read("ops/restante.service").replace("/usr/local/bin/restante", RESTANTE);
    let file = folder.path().join("restante.service");
    fs::write(&file, unit).expect("a file");
    let file = file.display().to_string();
    let said = run("systemd-analyze", &["verify", &file], folder.path());
    assert_eq!(said, "", "systemd-analyze verify has something to say");
    let threshold = format!("--threshold={EXPOSURE_MAX}");
    let args = [
        "security",
        "--offline=true",
        "--no-pager",
        &threshold,
        &file,
    ];
    let said = run("systemd-analyze", &args, folder.path());
    assert!(said.contains("Overall exposure level"), "{said}");
}

#[test]
#[ignore = "needs systemd-analyze and strace: tests/run ops"]
fn the_unit_allows_every_system_call_that_the_broker_makes() {
    let mut server = Server::with(&[("RESTANTE_STORAGE_CHECKPOINT_INTERVAL", "100ms")]);
    server.terminate();
    let trace = server.file("trace");
    let path = trace.display().to_string();
    // -D: the broker stays our child.
    server.wrap(&["strace", "-D", "-f", "-q", "-o", &path]);
    server.run();
    let lines = server.file("lines");
    fs::write(&lines, "one\ntwo\n").expect("a file");
    let file = lines.display().to_string();
    for args in [&["send", "q", "--file", &file][..], &["consume", "q"]] {
        let mut client = server.cli(args);
        assert!(client.wait().success(), "{}", client.stderr());
    }
    let checkpointed = || server.metric("restante_checkpoints_total", "") > 0.0;
    wait::until("a checkpoint is made", || checkpointed().then_some(()));
    let pid = server.id();
    server.terminate();
    let text = wait::until("the trace is whole", || {
        let text = fs::read_to_string(&trace).expect("a trace");
        let end = format!("{pid} +++ exited with 0 +++");
        text.lines()
            .any(|line| line.split_whitespace().eq(end.split_whitespace()))
            .then_some(text)
    });
    let made = calls_in(&text);
    assert!(
        made.contains("fdatasync") && made.contains("accept4"),
        "{made:?}"
    );
    let allowed = Unit::read().allowed_calls();
    let refused: Vec<&String> = made.difference(&allowed).collect();
    assert!(refused.is_empty(), "SystemCallFilter refuses {refused:?}");
}

/// `PID name(…`.
fn calls_in(trace: &str) -> BTreeSet<String> {
    let call = |line: &str| {
        let (_, rest) = line.split_once(' ')?;
        let (name, _) = rest.trim_start().split_once('(')?;
        let plain = name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        plain.then(|| name.to_owned())
    };
    trace.lines().filter_map(call).collect()
}

struct Unit(Vec<(String, String)>);

impl Unit {
    fn read() -> Unit {
        let text = read("ops/restante.service");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once('='));
        Unit(
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    fn values(&self, name: &str) -> Vec<String> {
        let of_that_name = self.0.iter().filter(|(it, _)| it == name);
        of_that_name.map(|(_, value)| value.clone()).collect()
    }

    /// What `SystemCallFilter` leaves, its lines taken in their order.
    fn allowed_calls(&self) -> BTreeSet<String> {
        let mut allowed = BTreeSet::new();
        for value in self.values("SystemCallFilter") {
            let forbids = value.starts_with('~');
            for word in value.trim_start_matches('~').split_whitespace() {
                let calls = members(word);
                if forbids {
                    allowed = allowed.difference(&calls).cloned().collect();
                } else {
                    allowed.extend(calls);
                }
            }
        }
        allowed
    }
}

/// The calls of a set as systemd knows it, sets within it included.
fn members(set: &str) -> BTreeSet<String> {
    if !set.starts_with('@') {
        return BTreeSet::from([set.to_owned()]);
    }
    let list = run(
        "systemd-analyze",
        &["syscall-filter", "--no-pager", set],
        Path::new("/"),
    );
    let words = list.lines().skip(1).map(str::trim);
    words
        .filter(|word| !word.is_empty() && !word.starts_with('#'))
        .flat_map(members)
        .collect()
}
