//! The walk: every line of a file comes out once and in order, whatever is killed on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;

use crate::process::Process;
use crate::server::{Server, read};
use crate::wait;

/// The longest time between two kills.
const BETWEEN_MS_MAX: u64 = 80;
const VICTIMS: [&str; 3] = ["broker", "sender", "consumer"];

#[test]
fn every_line_comes_out_once_in_order_through_25_kills() {
    let seed = seed();
    let mut walk = Walk::begin(100_000);
    let mut random = StdRng::seed_from_u64(seed);
    let mut kills = [0_u32; VICTIMS.len()];
    while kills.iter().sum::<u32>() < 27 || kills.iter().any(|n| *n < 5) {
        let pause = Duration::from_millis(random.random_range(1..BETWEEN_MS_MAX));
        wait::until_or_after(pause, || false);
        // Mostly whoever was spared so far: a fast sender must not get away.
        let spared = kills.iter().enumerate().min_by_key(|(_, n)| **n);
        let victim = match spared {
            Some((spared, _)) if random.random_bool(0.6) => spared,
            _ => random.random_range(0..VICTIMS.len()),
        };
        if let Some(n) = kills.get_mut(victim) {
            *n += u32::from(walk.kill(victim));
        }
        assert!(!walk.is_over(), "seed {seed}: done after {kills:?} only");
    }
    println!("kills of {VICTIMS:?}: {kills:?}");
    walk.finish();
}

#[test]
fn a_send_goes_on_by_itself_when_the_broker_comes_back() {
    let mut server = Server::start();
    let lines = write_lines(&server.file("lines"), 20_000);
    let mut send = server.cli(&["send", "orders/eu", "--file", "lines"]);
    wait::until("some of it is sent", || {
        let published = server.metric("restante_messages_published_total", "");
        (published > 100.0).then_some(())
    });
    server.kill9();
    assert!(send.ended().is_none(), "it was done too soon to be of use");
    server.run();
    assert!(send.wait().success(), "{}", send.stderr());
    server.crash();
    let mut consume = server.cli(&["consume", "orders/eu", "--count", "20000"]);
    assert!(consume.wait().success(), "{}", consume.stderr());
    assert_same(consume.stdout().as_bytes(), &lines);
    let mut more = server.cli(&["consume", "orders/eu", "--idle", "200ms"]);
    assert!(more.wait().success(), "{}", more.stderr());
    assert_eq!(more.stdout(), "", "nothing is left");
}

#[test]
fn a_killed_consume_run_again_ends_after_the_same_count() {
    let server = Server::start();
    let lines = write_lines(&server.file("lines"), 5000);
    let mut send = server.cli(&["send", "q", "--file", "lines"]);
    assert!(send.wait().success(), "{}", send.stderr());
    let args = [
        "consume", "q", "--output", "out", "--count", "4000", "--window", "16",
    ];
    let mut consume = server.cli(&args);
    wait::until("some of it has come", || {
        (!read(&server.file("out")).is_empty()).then_some(())
    });
    consume.kill9();
    let mut again = server.cli(&args);
    assert!(again.wait().success(), "{}", again.stderr());
    let out = read(&server.file("out"));
    assert_same(&out, lines.get(..out.len()).unwrap_or_default());
    assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 4000);
}

struct Walk {
    server: Server,
    lines: Vec<u8>,
    sender: Process,
    consumer: Process,
}

impl Walk {
    fn begin(n_lines: u64) -> Walk {
        let server = Server::start();
        let lines = write_lines(&server.file("lines"), n_lines);
        let (sender, consumer) = (start_sender(&server), start_consumer(&server, n_lines));
        Walk {
            server,
            lines,
            sender,
            consumer,
        }
    }

    /// Kills one of the victims and starts it again; says whether there was something to kill.
    fn kill(&mut self, victim: usize) -> bool {
        match victim {
            0 => {
                self.server.crash();
                true
            }
            1 => self.kill_sender(),
            _ => self.kill_consumer(),
        }
    }

    /// Kills the sender while there is something to go on with; says whether it did.
    fn kill_sender(&mut self) -> bool {
        if !self.state_of_sender().exists() || self.sender.ended().is_some() {
            return false;
        }
        self.sender.kill9();
        // Killed between the last confirm and its end: the job is done, and run again it would begin anew.
        if !self.state_of_sender().exists() {
            return false;
        }
        self.sender = start_sender(&self.server);
        true
    }

    fn kill_consumer(&mut self) -> bool {
        let state = self.server.file("out.restante");
        if !state.exists() || self.consumer.ended().is_some() {
            return false;
        }
        self.consumer.kill9();
        if !state.exists() {
            return false;
        }
        self.consumer = start_consumer(&self.server, self.n_lines());
        true
    }

    fn is_over(&mut self) -> bool {
        self.sender.ended().is_some() && self.consumer.ended().is_some()
    }

    fn finish(mut self) {
        assert!(self.sender.wait().success(), "{}", self.sender.stderr());
        assert!(self.consumer.wait().success(), "{}", self.consumer.stderr());
        assert_same(&read(&self.server.file("out")), &self.lines);
        self.server.terminate();
        assert!(!self.state_of_sender().exists());
    }

    fn n_lines(&self) -> u64 {
        self.lines.iter().filter(|byte| **byte == b'\n').count() as u64
    }

    fn state_of_sender(&self) -> PathBuf {
        self.server.file("send.state")
    }
}

fn start_sender(server: &Server) -> Process {
    server.cli(&[
        "send",
        "orders/eu",
        "--file",
        "lines",
        "--resume-file",
        "send.state",
        // Slow enough to be met on its way by every kind of kill.
        "--window",
        "64",
    ])
}

fn start_consumer(server: &Server, n_lines: u64) -> Process {
    let count = n_lines.to_string();
    server.cli(&["consume", "orders/eu", "--output", "out", "--count", &count])
}

/// Random by default; `RESTANTE_TEST_SEED` repeats a run, as far as time can be repeated.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("RESTANTE_TEST_SEED").ok();
    let seed = given.and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("RESTANTE_TEST_SEED={seed}");
    seed
}

/// Lines of different lengths, so that one that is torn or doubled is seen.
fn write_lines(path: &Path, n: u64) -> Vec<u8> {
    let line = |number: u64| {
        let tail = "x".repeat((number % 37) as usize);
        format!("line {number} {tail}\n")
    };
    let lines: String = (1..=n).map(line).collect();
    fs::write(path, &lines).expect("a file of lines");
    lines.into_bytes()
}

/// Compares without printing megabytes.
fn assert_same(got: &[u8], wanted: &[u8]) {
    if got == wanted {
        return;
    }
    let got = String::from_utf8_lossy(got).into_owned();
    let wanted = String::from_utf8_lossy(wanted).into_owned();
    let pairs = got.lines().zip(wanted.lines());
    let first = pairs.enumerate().find(|(_, (got, wanted))| got != wanted);
    panic!(
        "{} lines came, {} were wanted; the first difference: {first:?}",
        got.lines().count(),
        wanted.lines().count()
    );
}

#[test]
fn an_interrupted_consume_leaves_nothing_in_hand() {
    let server = Server::start();
    let lines = write_lines(&server.file("lines"), 300);
    let mut send = server.cli(&["send", "q", "--file", "lines"]);
    assert!(send.wait().success(), "{}", send.stderr());
    let mut consume = server.cli(&["consume", "q", "--follow", "--output", "out"]);
    wait::until("all of it has come", || {
        (read(&server.file("out")) == lines).then_some(())
    });
    consume.signal(Signal::INT);
    assert!(consume.wait().success(), "{}", consume.stderr());
    assert!(!server.file("out.restante").exists());
    let mut more = server.cli(&["consume", "q", "--idle", "200ms"]);
    assert!(more.wait().success(), "{}", more.stderr());
    assert_eq!(more.stdout(), "");
}
