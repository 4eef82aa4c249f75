//! A broker of one test: the real program, on ports of its own, with a data folder that goes with it.
//!
//! A line of the level ERROR or a panic in its log that the test did not announce fails the test.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Process, RESTANTE, command};
use crate::wait;

/// So that a test runs on any machine, and a segment ends within it.
const SMALL: [(&str, &str); 4] = [
    ("RESTANTE_LISTEN", "127.0.0.1:0"),
    ("RESTANTE_ADMIN_LISTEN", "127.0.0.1:0"),
    ("RESTANTE_STORAGE_SEGMENT_BYTES", "1MiB"),
    ("RESTANTE_STORAGE_FREE_LOW", "1MiB"),
];

pub(crate) struct Server {
    folder: TempDir,
    settings: BTreeMap<String, String>,
    /// Runs before the program's name, as in `strace`.
    wrapper: Vec<String>,
    process: Option<Process>,
    clients: SocketAddr,
    admin: SocketAddr,
    /// Parts of the lines that may be errors.
    announced: Vec<String>,
    /// What earlier processes logged.
    log: String,
}

impl Server {
    /// Starts one with the defaults.
    pub(crate) fn start() -> Server {
        Server::with(&[])
    }

    /// Starts one with some variables of the environment set.
    pub(crate) fn with(settings: &[(&str, &str)]) -> Server {
        let mut server = Server::prepare(settings);
        server.run();
        server
    }

    /// Starts one with a configuration file.
    pub(crate) fn with_config(yaml: &str) -> Server {
        let mut server = Server::prepare(&[]);
        let file = server.file("restante.yaml");
        fs::write(&file, yaml).expect("a file");
        server.set("RESTANTE_CONFIG", &file.display().to_string());
        server.run();
        server
    }

    /// One that is not started yet.
    pub(crate) fn prepare(settings: &[(&str, &str)]) -> Server {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = SMALL.iter().chain(settings);
        Server {
            folder: tempfile::tempdir().expect("a folder"),
            settings: settings
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            wrapper: Vec::new(),
            process: None,
            clients: nowhere,
            admin: nowhere,
            announced: Vec::new(),
            log: String::new(),
        }
    }

    /// What the next start is to have in its environment.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(name.to_owned(), value.to_owned());
    }

    /// What the next start is to be run by; nothing: by itself.
    pub(crate) fn wrap(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Lines with `part` may be errors.
    pub(crate) fn announce(&mut self, part: &str) {
        self.announced.push(part.to_owned());
    }

    /// Starts it, on the ports that it had before.
    pub(crate) fn run(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let process = wait::until("it has started", || self.try_run());
        self.process = Some(process);
        let (clients, admin) = (self.clients.to_string(), self.admin.to_string());
        self.set("RESTANTE_LISTEN", &clients);
        self.set("RESTANTE_ADMIN_LISTEN", &admin);
    }

    /// None where its port is taken for a moment: a client of somebody else's was given it.
    fn try_run(&mut self) -> Option<Process> {
        let mut words = self.wrapper.iter().map(String::as_str);
        let mut command = command(words.next().unwrap_or(RESTANTE));
        command.args(words);
        if !self.wrapper.is_empty() {
            command.arg(RESTANTE);
        }
        command
            .arg("--data")
            .arg(self.data())
            .envs(&self.settings)
            .current_dir(self.folder.path());
        let mut process = Process::start(&mut command);
        let ended = wait::until("it says where it listens", || {
            let ended = process.ended();
            let told = process.stdout().contains("password");
            (ended.is_some() || told).then_some(ended)
        });
        if ended.is_some() {
            process.wait();
            let log = process.stderr();
            assert!(log.contains("cannot listen on"), "it did not start: {log}");
            return None;
        }
        let told = process.stdout();
        let after = |lead: &str| {
            let rest = told.split(lead).nth(1).expect("a line of its banner");
            let address = rest.split('/').next().unwrap_or_default();
            address.parse().expect("an address and port")
        };
        self.clients = after("ws://");
        self.admin = after("http://");
        Some(process)
    }

    pub(crate) fn kill9(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill9();
        self.keep_log(&process);
    }

    /// SIGHUP: it reads its configuration again.
    pub(crate) fn reload(&mut self) {
        let process = self.process.as_mut().expect("it runs");
        process.signal(Signal::HUP);
    }

    /// SIGTERM; it must end with 0.
    pub(crate) fn terminate(&mut self) {
        self.signal_term();
        let status = self.wait_for_end();
        assert_eq!(status.code(), Some(0), "{}", self.log);
    }

    pub(crate) fn signal_term(&mut self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        let process = self.process.as_mut().expect("it runs");
        process.signal(signal);
    }

    pub(crate) fn wait_for_end(&mut self) -> ExitStatus {
        let mut process = self.process.take().expect("it runs");
        let status = process.wait();
        self.keep_log(&process);
        status
    }

    /// kill -9 and a start on the same ports.
    pub(crate) fn crash(&mut self) {
        self.kill9();
        self.run();
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    pub(crate) fn clients(&self) -> SocketAddr {
        self.clients
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/mbws", self.clients)
    }

    pub(crate) fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.file("data")
    }

    /// What it told at its start.
    pub(crate) fn told(&self) -> String {
        self.process.as_ref().expect("it runs").stdout()
    }

    /// A path beside the data folder, for a test's own files.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The token of the local command line, whose role is `admin`.
    pub(crate) fn token(&self) -> String {
        let path = self.data().join("cli.key");
        let token = fs::read_to_string(&path).expect("the command line's key");
        token.trim().to_owned()
    }

    /// Starts `restante ARGS`, connected to this broker.
    pub(crate) fn cli(&self, args: &[&str]) -> Process {
        let mut command = command(RESTANTE);
        command
            .args(args)
            .arg("--url")
            .arg(self.url())
            .arg("--data")
            .arg(self.data())
            .current_dir(self.folder.path());
        Process::start(&mut command)
    }

    /// Runs `restante ARGS` as the administrator of this broker; what it printed. It must succeed.
    pub(crate) fn administer(&self, args: &[&str]) -> String {
        let url = self.admin_url();
        let args = [args, &["--admin-url", &url]].concat();
        let mut process = self.cli(&args);
        let status = process.wait();
        assert!(status.success(), "{args:?}: {}", process.stderr());
        process.stdout()
    }

    /// All that it logged, earlier processes included.
    pub(crate) fn log(&self) -> String {
        let now = self.process.as_ref().map(Process::stderr);
        format!("{}{}", self.log, now.unwrap_or_default())
    }

    /// The body of `GET path` of the admin listener.
    pub(crate) fn get(&self, path: &str) -> String {
        let answer = self.ask("GET", path, &self.token(), "");
        assert!(answer.starts_with("HTTP/1.1 200"), "GET {path}: {answer}");
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        body.unwrap_or_default().to_owned()
    }

    /// Status line, headers and body of the answer to a request to the admin API, with a body in JSON.
    pub(crate) fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(self.admin).expect("the admin listener");
        let deadline = Some(wait::deadline());
        stream.set_read_timeout(deadline).expect("a timeout");
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}",
            self.admin
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// The sum of a metric over all its series whose labels contain `label`.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.get("/metrics");
        let series = text.lines().filter_map(|line| line.strip_prefix(name));
        let series = series.filter(|rest| rest.starts_with([' ', '{']) && rest.contains(label));
        let values = series.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// Memory that is its own now.
    pub(crate) fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("/proc");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|it| it.parse().ok()).expect("VmRSS in KiB")
    }

    fn keep_log(&mut self, process: &Process) {
        self.log.push_str(&process.stderr());
    }

    fn unannounced(&self) -> Vec<String> {
        let log = self.log();
        let bad = |line: &&str| line.contains(" ERROR ") || line.contains("panicked at");
        let announced = |line: &&str| self.announced.iter().any(|part| line.contains(part));
        let lines = log.lines().filter(bad).filter(|line| !announced(line));
        lines.map(str::to_owned).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
            self.keep_log(&process);
        }
        if std::thread::panicking() {
            eprintln!("the broker's log:\n{}", tail(&self.log));
            return;
        }
        let bad = self.unannounced();
        assert!(bad.is_empty(), "the broker logged:\n{}", bad.join("\n"));
    }
}

/// The last lines, enough to see what happened.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(60);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// What a file has, or nothing where there is none.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_default()
}
