//! Listeners and connections: how many, how long, and how they end.
//!
//! ```text
//! accept ─▶ a free slot? ─ yes ▶ requests … ─▶ age or shutdown ─▶ the last answer ─▶ closed
//!                └──────── no ─▶ 503, closed                        └─ deadline ─▶ cut
//! ```
//!
//! A client holds a slot for as long as it sends something every `read_timeout`, and never longer than
//! `connection_age_max`: also one that does not read its answers.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::counter;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::debug;
use uuid::Uuid;

use crate::accept::Patient;
use crate::control::Control;
use crate::problem::Problem;
use crate::reply;
use crate::service::Service;

/// Line and headers of a request: a cursor and a bearer token fit many times.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Limits of the admin API.
#[derive(Debug, Clone)]
pub struct Options {
    /// Lets clients on the same machine read `/metrics` without credentials. Also whoever comes through a proxy there.
    pub metrics_open: bool,
    /// Connections at once, of all listeners. One more is told 503.
    pub connections_max: usize,
    /// How long a client may take for the head of a request, idling before it included, and then for its body.
    pub read_timeout: Duration,
    /// How old a connection gets. What is being answered then still is, within `drain_deadline`.
    pub connection_age_max: Duration,
    /// How long a connection may go on after it was asked to end.
    pub drain_deadline: Duration,
    /// The largest body of a request.
    pub body_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            metrics_open: false,
            connections_max: 256,
            read_timeout: Duration::from_secs(10),
            connection_age_max: Duration::from_mins(10),
            drain_deadline: Duration::from_secs(10),
            body_bytes_max: 1024 * 1024,
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
    let slots = Arc::new(Semaphore::new(options.connections_max));
    let service = Arc::new(Service { control, options });
    let mut doors = JoinSet::new();
    for listener in listeners {
        let door = Door {
            slots: Arc::clone(&slots),
            service: Arc::clone(&service),
            shutdown: shutdown.clone(),
            connections: JoinSet::new(),
        };
        doors.spawn(door.run(listener));
    }
    while doors.join_next().await.is_some() {}
}

/// A listener with its connections.
struct Door {
    slots: Arc<Semaphore>,
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
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            counter!("restante_admin_connections_refused_total").increment(1);
            debug!(%peer, "no slot is free");
            self.connections.spawn(refuse(stream));
            return;
        };
        let talk = talk(
            stream,
            peer.ip(),
            Arc::clone(&self.service),
            self.shutdown.clone(),
        );
        self.connections.spawn(async move {
            talk.await;
            drop(slot);
        });
    }
}

/// Answers requests until the client, the clock or the shutdown ends it.
async fn talk(
    stream: TcpStream,
    peer: IpAddr,
    service: Arc<Service>,
    mut shutdown: watch::Receiver<bool>,
) {
    let options = service.options.clone();
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.read_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return ended(peer, outcome),
        _ = shutdown.wait_for(|end| *end) => {}
        () = sleep(options.connection_age_max) => {}
    }
    connection.as_mut().graceful_shutdown();
    match timeout(options.drain_deadline, connection).await {
        Ok(outcome) => ended(peer, outcome),
        Err(_) => debug!(%peer, "a connection is cut that did not end in time"),
    }
}

fn ended(peer: IpAddr, outcome: hyper::Result<()>) {
    if let Err(error) = outcome {
        debug!(%peer, %error, "a connection broke");
    }
}

/// Says 503 to one client too many. What it sent is not waited for, so that it may see a reset connection instead.
async fn refuse(stream: TcpStream) {
    let request_id = Uuid::now_v7();
    let mut reply = Problem::busy("too many connections").into_response(request_id);
    reply::sign(&mut reply, request_id);
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
        let unread = stream.read(&mut [0; 4096]);
        debug!(?unread, "refused");
        stream.write_all(&text)
    });
    if let Err(error) = sent {
        debug!(%error, "a client did not wait to be refused");
    }
}
