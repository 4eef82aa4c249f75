//! Listeners: one loop each, one task a connection.
//!
//! A connection goes through its listener's gate, which tells TLS from plain bytes, and finds its door. All of that, and
//! the `open` or CONNECT behind it, has one deadline.
//!
//! Always, each with a test of its name in `front::tests`:
//! - `one_connection_too_many_is_told_so`, and the others do not notice.
//! - `whoever_stalls_on_the_way_in_is_cut_at_the_one_deadline`: TCP, TLS, HTTP, `open`, CONNECT.
//! - `a_thousand_stalled_connections_of_one_address_keep_nobody_else_out`.
//! - `out_of_file_descriptors_is_no_fault_of_one_connection`: it is waited out, without a busy loop or a lost listener.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use restante_proto::wamp::rawsocket::MAGIC;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::clock::{down, now};
use super::door::{Arrival, Arrived, Door, Listener, Takes, arrive};
use super::listener::{Incoming, Socket};
use super::newcomers::Newcomer;
use super::port::Inside;
use super::refused::Refused;
use super::{CLOSE_WITHIN, Front, drive, metrics, mqtt, sp, wamp};
use crate::logs::seldom;
use crate::tls::{Admitted, Gate, HANDSHAKE, TurnedAway, first_byte};

/// How long a listener rests when the system has nothing left for another connection.
const REST: Duration = Duration::from_millis(100);
/// How many refusals may be under way at once; further connections are dropped without a word.
const REFUSALS_MAX: usize = 64;
const REFUSE_WITHIN: Duration = Duration::from_millis(500);

/// Accepts until the shutdown, then waits for the connections to drain.
pub(super) async fn accept<B: Inside>(front: Arc<Front<B>>, listener: Listener) {
    let Listener {
        socket: listener,
        gate,
        takes,
    } = listener;
    let name = listener.name();
    let (tls, plain) = (gate.takes_tls(), gate.takes_plain());
    info!(listener = name, tls, plain, ?takes, "listening");
    let mut accepting = Accepting {
        shutdown: front.shutdown.clone(),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        connections: JoinSet::new(),
        rests_until: None,
        name,
        gate,
        takes,
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
    gate: Gate,
    takes: Takes,
    shutdown: tokio::sync::watch::Receiver<bool>,
    refusals: Arc<Semaphore>,
    connections: JoinSet<()>,
    /// Set from a failed accept to the next one that succeeds.
    rests_until: Option<Instant>,
}

impl<B: Inside> Accepting<B> {
    /// Waits for one thing to happen; false at the shutdown.
    async fn step(&mut self, listener: &Socket) -> bool {
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

    fn accepted(&mut self, stream: Incoming, peer: SocketAddr) {
        if self.rests_until.take().is_some() {
            info!(listener = self.name, "accepting again");
        }
        let (front, gate, takes) = (self.front.clone(), self.gate.clone(), self.takes);
        let Some(newcomer) = front.newcomers.come(peer.ip()) else {
            return self.refuse(stream, peer, Refused::TooManyNewcomers);
        };
        let Ok(permit) = front.permits.clone().try_acquire_owned() else {
            return self.refuse(stream, peer, Refused::TooManyConnections);
        };
        metrics::accepted(&self.name, "accepted");
        let open = metrics::connection(&self.name);
        self.connections.spawn(async move {
            connection(&front, (&gate, takes), (stream, peer), newcomer).await;
            drop((open, permit));
        });
    }

    fn refuse(&mut self, stream: Incoming, peer: SocketAddr, why: Refused) {
        metrics::accepted(&self.name, "refused");
        metrics::handshake_refused(why.as_str());
        seldom!(60, info, listener = self.name, %peer, reason = why.as_str(), "refused");
        if self.takes == Takes::Mqtt {
            return; // What can be said in MQTT can be said only after a CONNECT.
        }
        if let Ok(permit) = self.refusals.clone().try_acquire_owned() {
            let (takes, tls) = (self.takes, self.gate.takes_tls());
            self.connections.spawn(async move {
                if timeout(REFUSE_WITHIN, refuse(stream, why, takes, tls))
                    .await
                    .is_err()
                {
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
pub(super) async fn connection<B: Inside>(
    front: &Arc<Front<B>>,
    (gate, takes): (&Gate, Takes),
    (stream, peer): (Incoming, SocketAddr),
    newcomer: Newcomer,
) {
    let conn = Uuid::now_v7();
    let began = now();
    let mut shutdown = front.shutdown.clone();
    let deadline = Instant::from_std(began + front.mbws.open_within);
    // In a box that is dropped, so that handshakes are no part of what a connection costs afterwards.
    let arriving = Box::pin(async {
        match admit(gate, stream, deadline).await {
            Ok(admitted) => arrive(front, takes, admitted, peer, conn).await,
            Err(why) => {
                turned_away(why, peer, conn);
                None
            }
        }
    });
    let arrived = tokio::select! {
        arrived = timeout_at(deadline, arriving) => arrived,
        () = down(&mut shutdown) => return,
    };
    match arrived {
        Ok(Some(Arrived::AtDoor(arrival))) => enter(front, arrival, began, newcomer).await,
        Ok(Some(Arrived::Requests(requests))) => {
            Box::pin(requests.serve(front, newcomer)).await;
        }
        Ok(None) => {}
        Err(_) => {
            metrics::handshake_refused("too-slow");
            seldom!(60, info, %conn, %peer, reason = "too-slow", "upgrade refused");
        }
    }
}

/// Through the door, to the end of the connection. In a box for each: no connection pays for what others are.
fn enter<'a, B: Inside>(
    front: &'a Front<B>,
    arrival: Box<Arrival>,
    began: std::time::Instant,
    newcomer: Newcomer,
) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
    let door = arrival.client.door;
    if door.is_web_socket() {
        metrics::upgraded(began, now());
    }
    match door {
        Door::Mbws => Box::pin(drive::drive(front, arrival, began, newcomer)),
        Door::MqttOverWebSocket | Door::MqttOverTcp => {
            Box::pin(mqtt::drive(front, arrival, began, newcomer))
        }
        Door::Sp => Box::pin(sp::drive(front, arrival, began, newcomer)),
        Door::Wamp(way) => Box::pin(wamp::enter(front, arrival, way, began, newcomer)),
    }
}

/// Through the gate. Whoever comes over a Unix socket was let in by the system.
async fn admit(gate: &Gate, stream: Incoming, deadline: Instant) -> Result<Admitted, TurnedAway> {
    match stream {
        Incoming::Tcp(stream) => {
            if let Err(error) = stream.set_nodelay(true) {
                debug!(%error, "cannot set nodelay");
            }
            gate.admit(stream, deadline).await
        }
        Incoming::Unix(stream) => Ok(Admitted {
            stream: stream.into(),
            certificate: None,
        }),
    }
}

fn turned_away(why: TurnedAway, peer: SocketAddr, conn: Uuid) {
    let (reason, detail) = match why {
        // As a connection that ends before its request: a probe of the port is no news.
        TurnedAway::Gone => return,
        TurnedAway::TooSlow => ("too-slow", ""),
        TurnedAway::Plain => ("not-encrypted", ""),
        TurnedAway::Handshake(detail) => ("tls", detail),
    };
    metrics::handshake_refused(reason);
    debug!(%conn, %peer, reason, detail, "turned away");
}

/// Answers whatever is asked, and lets the peer read it before the connection is reset.
async fn refuse(stream: Incoming, why: Refused, takes: Takes, tls: bool) -> io::Result<()> {
    let stream = match stream {
        Incoming::Tcp(stream) => stream,
        Incoming::Unix(stream) => return last_words(stream, &wamp::too_many()).await,
    };
    match (first_byte(&stream).await?, takes) {
        // A handshake is too much for somebody who is refused, and without it they could not read why.
        (Some(HANDSHAKE), _) if tls => Ok(()),
        (Some(MAGIC), _) => last_words(stream, &wamp::too_many()).await,
        (_, Takes::Wamp | Takes::Mqtt) => Ok(()),
        (_, Takes::All) => last_words(stream, in_http(why).as_bytes()).await,
    }
}

fn in_http(why: Refused) -> String {
    let (status, text) = why.told();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\nretry-after: 60\r\ncontent-type: text/plain\r\n\
         content-length: {}\r\n\r\n{text}",
        text.len()
    )
}

async fn last_words(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    words: &[u8],
) -> io::Result<()> {
    stream.write_all(words).await?;
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
pub(super) fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a connection's task panicked");
    }
}
