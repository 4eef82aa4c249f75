//! Listeners: one loop each, one task a connection.
//!
//! A connection is an HTTP request until it is a WebSocket (`connection`, below: where a first byte that is not HTTP's
//! would be told apart).
//!
//! Always, each with a test of its name in `front::tests`:
//! - `one_connection_too_many_is_told_so`, and the others do not notice.
//! - `a_slow_request_is_cut_at_the_deadline`.
//! - `out_of_file_descriptors_is_no_fault_of_one_connection`: it is waited out, without a busy loop or a lost listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::clock::{down, now};
use super::drive::drive;
use super::port::Inside;
use super::request::Refused;
use super::upgrade::upgrade;
use super::{CLOSE_WITHIN, Front, metrics};

/// How long a listener rests when the system has nothing left for another connection.
const REST: Duration = Duration::from_millis(100);
/// How many refusals may be under way at once; further connections are dropped without a word.
const REFUSALS_MAX: usize = 64;
const REFUSE_WITHIN: Duration = Duration::from_millis(500);

/// Accepts until the shutdown, then waits for the connections to drain.
pub(super) async fn accept<B: Inside>(front: Arc<Front<B>>, listener: TcpListener) {
    let name = match listener.local_addr() {
        Ok(address) => address.to_string(),
        Err(_) => "unknown".to_owned(),
    };
    info!(listener = name, "listening");
    let mut accepting = Accepting {
        shutdown: front.shutdown.clone(),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        connections: JoinSet::new(),
        rests_until: None,
        name,
        front,
    };
    while accepting.step(&listener).await {}
    drop(listener);
    accepting.drain().await;
}

struct Accepting<B> {
    front: Arc<Front<B>>,
    /// The listener's, for metrics and logs.
    name: String,
    shutdown: tokio::sync::watch::Receiver<bool>,
    refusals: Arc<Semaphore>,
    connections: JoinSet<()>,
    /// Set from a failed accept to the next one that succeeds.
    rests_until: Option<Instant>,
}

impl<B: Inside> Accepting<B> {
    /// Waits for one thing to happen; false at the shutdown.
    async fn step(&mut self, listener: &TcpListener) -> bool {
        let rests = self.rests_until.filter(|until| *until > Instant::now());
        tokio::select! {
            accepted = listener.accept(), if rests.is_none() => match accepted {
                Ok((stream, peer)) => self.accepted(stream, peer),
                Err(error) => self.failed(&error),
            },
            () = sleep_until(rests.unwrap_or_else(Instant::now)), if rests.is_some() => {}
            Some(ended) = self.connections.join_next() => log_panic(ended),
            () = down(&mut self.shutdown) => return false,
        }
        true
    }

    fn accepted(&mut self, stream: TcpStream, peer: SocketAddr) {
        if self.rests_until.take().is_some() {
            info!(listener = self.name, "accepting again");
        }
        let front = self.front.clone();
        match front.permits.clone().try_acquire_owned() {
            Ok(permit) => {
                metrics::accepted(&self.name, "accepted");
                self.connections.spawn(async move {
                    connection(&front, stream, peer).await;
                    drop(permit);
                });
            }
            Err(_) => self.refuse(stream, peer),
        }
    }

    fn refuse(&mut self, stream: TcpStream, peer: SocketAddr) {
        metrics::accepted(&self.name, "refused");
        metrics::handshake_refused(Refused::TooManyConnections.as_str());
        info!(listener = self.name, %peer, reason = "too-many-connections", "refused");
        if let Ok(permit) = self.refusals.clone().try_acquire_owned() {
            self.connections.spawn(async move {
                if timeout(REFUSE_WITHIN, refuse(stream)).await.is_err() {
                    debug!(%peer, "did not take its refusal in time");
                }
                drop(permit);
            });
        }
    }

    fn failed(&mut self, error: &io::Error) {
        metrics::accepted(&self.name, "failed");
        if is_of_one_connection(error) {
            debug!(listener = self.name, %error, "a connection was gone before it was accepted");
            return;
        }
        if self.rests_until.is_none() {
            warn!(listener = self.name, %error, "cannot accept; trying again until it works");
        }
        self.rests_until = Some(Instant::now() + REST);
    }

    async fn drain(mut self) {
        let deadline = Instant::now() + self.front.settings.drain + 2 * CLOSE_WITHIN;
        let drained = timeout_at(deadline, async {
            while let Some(ended) = self.connections.join_next().await {
                log_panic(ended);
            }
        });
        if drained.await.is_err() {
            let left = self.connections.len();
            warn!(
                listener = self.name,
                left, "connections cut at the end of the drain time"
            );
        }
        self.connections.shutdown().await;
    }
}

/// One connection, from accept to end.
pub(super) async fn connection<B: Inside>(front: &Front<B>, stream: TcpStream, peer: SocketAddr) {
    let _open = front.metrics.connection();
    let conn = Uuid::now_v7();
    let began = now();
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%conn, %peer, %error, "cannot set nodelay");
    }
    let mut shutdown = front.shutdown.clone();
    // In a box that is dropped, so that HTTP is no part of what a connection costs afterwards.
    let upgrading = Box::pin(upgrade(front, stream, peer, conn));
    let deadline = Instant::from_std(began + front.mbws.open_within);
    let upgraded = tokio::select! {
        upgraded = timeout_at(deadline, upgrading) => upgraded,
        () = down(&mut shutdown) => return,
    };
    match upgraded {
        Ok(Some(upgraded)) => drive(front, upgraded, began).await,
        Ok(None) => {}
        Err(_) => {
            metrics::handshake_refused("too-slow");
            info!(%conn, %peer, reason = "too-slow", "upgrade refused");
        }
    }
}

/// Answers whatever is asked, and lets the peer read it before the connection is reset.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    let (status, text) = Refused::TooManyConnections.told();
    let answer = format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\nretry-after: 60\r\ncontent-type: text/plain\r\n\
         content-length: {}\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

/// Whether the next connection may be better; otherwise something is used up that others must give back.
pub(super) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// A panic is our bug: it ends its connection, and nobody else's.
fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a connection's task panicked");
    }
}
