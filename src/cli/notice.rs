//! What a running command says on stderr: progress on a terminal, and a line when the connection goes and comes.

use std::io::IsTerminal;
use tokio::signal::unix::{Signal, SignalKind, signal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::{Client, Connection};

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
        while let Some(line) = next_line(&mut connection).await {
            say(&bar, &line);
        }
    }))
}

async fn next_line(connection: &mut watch::Receiver<Connection>) -> Option<String> {
    connection.changed().await.ok()?;
    match &*connection.borrow_and_update() {
        Connection::Up { resumed: true } => Some("connected again, the session goes on".into()),
        Connection::Up { resumed: false } => Some("connected again, in a new session".into()),
        Connection::Down { why } => Some(format!("connection lost ({why}); trying again")),
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
