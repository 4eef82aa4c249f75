//! Listeners and connections: how many, how long, and how they end.
//!
//! ```text
//! accept ─▶ a slot? ─ yes ▶ TLS? ─▶ requests … ─▶ age or shutdown ─▶ the last answer ─▶ closed
//!             └────── no ─▶ 503, closed                              └─ deadline ─▶ cut
//! ```
//!
//! A client that has said who it is holds a slot for as long as it sends something every `read_timeout` and takes something
//! every `write_timeout`, and never longer than `connection_age_max`. Strangers make room for each other (`slots`).

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::debug;
use uuid::Uuid;

use crate::accept::{Patient, Plain, Secure, Secured};
use crate::control::{Control, Peer};
use crate::patience::Impatient;
use crate::problem::Problem;
use crate::replay::SWEEP;
use crate::reply;
use crate::service::Service;
use crate::slots::{Slot, Slots};

/// Line and headers of a request: a cursor and a bearer token fit many times.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// What TLS begins with (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// Limits of the admin API.
#[derive(Debug, Clone)]
pub struct Options {
    /// Lets clients on the same machine read `/metrics` without credentials. Also whoever comes through a proxy there.
    pub metrics_open: bool,
    /// Connections at once, of all listeners. One more is told 503.
    pub connections_max: usize,
    /// Connections at once from one address (IPv6: a network of 64 bits) that have not made a request yet with
    /// credentials that are right. One more takes the place of the oldest.
    pub strangers_per_address_max: usize,
    /// How long a client may take for the head of a request, idling before it included, and then for its body.
    pub read_timeout: Duration,
    /// How long a client may take nothing of what it is sent.
    pub write_timeout: Duration,
    /// How long a change may take before its sender is told that it may still come into force. It goes on.
    pub change_timeout: Duration,
    /// How old a connection gets. What is being answered then still is, within `drain_deadline`.
    pub connection_age_max: Duration,
    /// How long a connection may go on after it was asked to end.
    pub drain_deadline: Duration,
    /// The largest body of a request.
    pub body_bytes_max: u64,
    /// The largest body of a request that takes definitions.
    pub large_body_bytes_max: u64,
    /// Bytes of answers that wait to be taken, of all connections. What is beyond is told 503.
    pub answer_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            metrics_open: false,
            connections_max: 256,
            strangers_per_address_max: 32,
            read_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            change_timeout: Duration::from_secs(40),
            connection_age_max: Duration::from_mins(10),
            drain_deadline: Duration::from_secs(10),
            body_bytes_max: 1024 * 1024,
            large_body_bytes_max: 8 * 1024 * 1024,
            answer_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Serves the admin API until `shutdown` is true or its sender is gone; returns once all connections have ended.
///
/// After `shutdown` nothing is accepted; what is being answered has [`Options::drain_deadline`] to end. Dropping the
/// future cuts all connections at once.
pub async fn serve(
    listeners: Vec<TcpListener>,
    control: Arc<dyn Control>,
    options: Options,
    shutdown: watch::Receiver<bool>,
) {
    let plain: Arc<dyn Secure> = Arc::new(Plain);
    let listeners = listeners.into_iter().map(|it| (it, Arc::clone(&plain)));
    serve_secured(listeners.collect(), control, options, shutdown).await;
}

/// The same, with what makes the connections of each listener fit for requests. It has [`Options::read_timeout`] for that.
pub async fn serve_secured(
    listeners: Vec<(TcpListener, Arc<dyn Secure>)>,
    control: Arc<dyn Control>,
    options: Options,
    shutdown: watch::Receiver<bool>,
) {
    let slots = Slots::new(options.connections_max, options.strangers_per_address_max);
    let drain_deadline = options.drain_deadline;
    let service = Arc::new(Service::new(control, options));
    let mut doors = JoinSet::new();
    for (listener, secure) in listeners {
        let door = Door {
            secure,
            slots: slots.clone(),
            service: Arc::clone(&service),
            shutdown: shutdown.clone(),
            connections: JoinSet::new(),
        };
        doors.spawn(door.run(listener));
    }
    tokio::select! {
        () = async { while doors.join_next().await.is_some() {} } => {}
        () = sweep(&service) => {}
    }
    service.settled(drain_deadline).await;
}

/// Forgets answers that nobody will ask for again, as long as it is polled.
async fn sweep(service: &Service) {
    loop {
        sleep(SWEEP).await;
        service.replays.sweep();
    }
}

/// A listener with its connections.
struct Door {
    secure: Arc<dyn Secure>,
    slots: Slots,
    service: Arc<Service>,
    shutdown: watch::Receiver<bool>,
    connections: JoinSet<()>,
}

impl Door {
    async fn run(mut self, listener: TcpListener) {
        let mut listener = Patient::new(listener);
        let mut shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                _ = shutdown.wait_for(|end| *end) => break,
                Some(_) = self.connections.join_next() => {}
                (stream, peer) = listener.next() => self.admit(stream, peer),
            }
        }
        drop(listener);
        while self.connections.join_next().await.is_some() {}
    }

    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) {
        let Some(slot) = self.slots.come(peer.ip()) else {
            counter!("restante_admin_connections_refused_total").increment(1);
            debug!(%peer, "no slot is free");
            self.connections.spawn(refuse(stream));
            return;
        };
        let slot = Arc::new(slot);
        let talk = talk(
            (stream, peer),
            Arc::clone(&slot),
            Arc::clone(&self.secure),
            Arc::clone(&self.service),
            self.shutdown.clone(),
        );
        self.connections.spawn(async move {
            tokio::select! {
                () = talk => {}
                () = slot.cut() => {
                    counter!("restante_admin_connections_displaced_total").increment(1);
                    debug!(%peer, "a stranger makes room");
                }
            }
        });
    }
}

/// Answers requests until the client, the clock or the shutdown ends it.
async fn talk(
    (stream, address): (TcpStream, SocketAddr),
    slot: Arc<Slot>,
    secure: Arc<dyn Secure>,
    service: Arc<Service>,
    mut shutdown: watch::Receiver<bool>,
) {
    let options = service.options.clone();
    let secured = tokio::select! {
        secured = secure.secure(stream, address, options.read_timeout) => secured,
        _ = shutdown.wait_for(|end| *end) => return,
    };
    let Some(Secured {
        stream,
        certificate,
        tls,
    }) = secured
    else {
        debug!(peer = %address, "turned away");
        return;
    };
    let peer = Arc::new(Peer {
        address,
        certificate,
        tls,
    });
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        let (peer, slot) = (Arc::clone(&peer), Arc::clone(&slot));
        async move { Ok::<_, Infallible>(service.answer(request, &peer, &slot).await) }
    });
    let stream = Impatient::new(stream, options.write_timeout);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.read_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        // An answer's bytes are written from where they are: their share of the budget is held until they are written.
        .writev(true)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return ended(address, outcome),
        _ = shutdown.wait_for(|end| *end) => {}
        () = sleep(options.connection_age_max) => {}
    }
    connection.as_mut().graceful_shutdown();
    match timeout(options.drain_deadline, connection).await {
        Ok(outcome) => ended(address, outcome),
        Err(_) => debug!(peer = %address, "a connection is cut that did not end in time"),
    }
}

fn ended(peer: SocketAddr, outcome: hyper::Result<()>) {
    if let Err(error) = outcome {
        debug!(%peer, %error, "a connection broke");
    }
}

/// Says 503 to one client too many. What it sent is not waited for, so that it may see a reset connection instead.
async fn refuse(stream: TcpStream) {
    let request_id = Uuid::now_v7();
    let mut reply = Problem::busy("too many connections").into_response(request_id);
    reply::sign(&mut reply, request_id, false);
    let (head, body) = reply.into_parts();
    let Ok(body) = body.collect().await;
    let body = body.to_bytes();
    let mut text = format!("HTTP/1.1 {}\r\n", head.status).into_bytes();
    for (name, value) in &head.headers {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value.as_bytes());
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(
        format!(
            "connection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .as_bytes(),
    );
    text.extend_from_slice(&body);
    let sent = stream.into_std().and_then(|mut stream| {
        // Into an empty socket buffer less than a kilobyte fits without waiting. Unread bytes would turn the close
        // into a reset, which may overtake the answer.
        let mut begin = [0; 4096];
        let unread = stream.read(&mut begin);
        debug!(?unread, "refused");
        // Whoever came for TLS could not read it, and a handshake is too much for somebody who is refused.
        match begin.first() {
            Some(&TLS_HANDSHAKE) => Ok(()),
            _ => stream.write_all(&text),
        }
    });
    if let Err(error) = sent {
        debug!(%error, "a client did not wait to be refused");
    }
}
