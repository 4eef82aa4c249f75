//! A child process that does not outlive its test, and what it wrote.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, spawn};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// The program under test.
pub(crate) const RESTANTE: &str = env!("CARGO_BIN_EXE_restante");

/// A command with none of the developer's own settings.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

pub(crate) struct Process {
    child: Child,
    stdout: Output,
    stderr: Output,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Process {
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().expect("a pipe");
        let stderr = child.stderr.take().expect("a pipe");
        Process {
            stdout: Output::of(stdout),
            stderr: Output::of(stderr),
            child,
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child")
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait::until("the process has ended", || self.ended());
        self.stdout.finish();
        self.stderr.finish();
        status
    }

    /// kill -9, and all that it wrote before is read. Nothing if it has ended already.
    pub(crate) fn kill9(&mut self) {
        self.child.kill().ok();
        self.wait();
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        assert!(self.ended().is_none(), "it has ended: {}", self.stderr());
        kill_process(pid, signal).expect("a signal to a child");
    }

    /// What it wrote so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.text().clone()
    }

    pub(crate) fn stderr(&self) -> String {
        self.stderr.text().clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

struct Output {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    fn of(pipe: impl Read + Send + 'static) -> Output {
        let text = Arc::new(Mutex::new(String::new()));
        let lines = Arc::clone(&text);
        let reader = spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while matches!(pipe.read_until(b'\n', &mut line), Ok(n) if n > 0) {
                lock(&lines).push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        });
        Output {
            text,
            reader: Some(reader),
        }
    }

    fn text(&self) -> MutexGuard<'_, String> {
        lock(&self.text)
    }

    /// Waits for the last line of a process that has ended.
    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("it only reads");
        }
    }
}

fn lock(text: &Mutex<String>) -> MutexGuard<'_, String> {
    text.lock().unwrap_or_else(PoisonError::into_inner)
}
