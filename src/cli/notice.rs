//! What a running command says on stderr: progress on a terminal, and a line when the connection goes and comes.

use std::io::IsTerminal;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::client::{Client, Connection};

/// How often whoever waits for a broker is told that it is still away.
const REMINDER: Duration = Duration::from_secs(10);

/// A count with a rate on a terminal; nothing elsewhere. Shown without colour, so `NO_COLOR` changes nothing.
pub(super) fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    // Four times a second: a rate that people can read.
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
    let template = "{spinner} {human_pos} messages, {per_sec:0}, {elapsed}";
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    bar
}

/// Prints a line without breaking the bar.
pub(super) fn say(bar: &ProgressBar, line: &str) {
    bar.suspend(|| eprintln!("{line}"));
}

/// Says when the connection is lost and when it is back. Stopped by dropping what it returns.
pub(super) fn watch_connection(client: &Client, bar: &ProgressBar) -> Watching {
    let mut connection = client.connection();
    connection.mark_unchanged();
    let bar = bar.clone();
    Watching(tokio::spawn(async move {
        let mut away: Option<Away> = None;
        loop {
            let line = match timeout(REMINDER, next_line(&mut connection)).await {
                Ok(Some((line, now))) => {
                    // Attempt after attempt may fail for the same reason: that is no news.
                    let known = away
                        .as_ref()
                        .is_some_and(|away| Some(&away.why) == now.as_ref());
                    if known {
                        continue;
                    }
                    let since = away.take().map_or_else(Instant::now, |away| away.since);
                    away = now.map(|why| Away { why, since });
                    line
                }
                Ok(None) => return,
                Err(_) => match &away {
                    Some(away) => away.reminder(),
                    None => continue,
                },
            };
            say(&bar, &line);
        }
    }))
}

/// A broker that does not answer.
struct Away {
    why: String,
    since: Instant,
}

impl Away {
    fn reminder(&self) -> String {
        let (seconds, why) = (self.since.elapsed().as_secs(), &self.why);
        format!("still not connected after {seconds} s ({why}); trying again")
    }
}

/// What to say of the connection once it changes, and why it is down, if it is.
async fn next_line(
    connection: &mut watch::Receiver<Connection>,
) -> Option<(String, Option<String>)> {
    connection.changed().await.ok()?;
    match &*connection.borrow_and_update() {
        Connection::Up { resumed: true } => {
            Some(("connected again, the session goes on".into(), None))
        }
        Connection::Up { resumed: false } => {
            Some(("connected again, in a new session".into(), None))
        }
        Connection::Down { why } => {
            let why = why.to_string();
            Some((format!("connection lost ({why}); trying again"), Some(why)))
        }
        Connection::Closed | Connection::Failed(_) => None,
    }
}

/// A task that ends when this is dropped.
pub(super) struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for SIGINT or SIGTERM, and catches them from the call on, not only once it is polled.
pub(super) fn interrupted() -> impl Future<Output = ()> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt()).ok(),
        signal(SignalKind::terminate()).ok(),
    );
    async move {
        tokio::select! {
            Some(()) = caught(&mut interrupt) => {}
            Some(()) = caught(&mut terminate) => {}
            else => std::future::pending().await,
        }
    }
}

async fn caught(signal: &mut Option<Signal>) -> Option<()> {
    signal.as_mut()?.recv().await
}
