//! From a connection to a WebSocket: one HTTP request, checked, answered with 101 or with a refusal that says why.
//!
//! hyper reads the request; after the 101 its buffers are dropped and the bare stream goes on, so that an idle
//! connection does not pay for HTTP. A connection whose first request is one of WAMP's long-poll stays with hyper, beyond the
//! deadline of those who arrive, for as long as requests come.
//!
//! Not here: what a request must be (request, `wamp::http`), the deadline (accept), WebSocket frames (socket).

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::debug;
use uuid::Uuid;

use super::auth::{NotBelieved, Proof};
use super::clock::down;
use super::door::{Arrival, Arrived, Client, Door};
use super::newcomers::Newcomer;
use super::port::Inside;
use super::refused::Refused;
use super::request::{Refusal, Wanted};
use super::wamp::http;
use super::{Front, metrics, sp};
use crate::access::Principal;
use crate::broker::Protocol;
use crate::logs::seldom;
use crate::session;
use crate::tls::{Admitted, Stream};

/// Request line and headers, all of them; nobody's upgrade needs a quarter of it.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// Characters of a path that a log line has.
const PATH_LOGGED_MAX: usize = 200;

/// An upgrade that was answered with 101.
struct Granted {
    upgrade: OnUpgrade,
    door: Door,
    realm: String,
    principal: Option<Principal>,
    sp: Option<Box<session::sp::Client>>,
}

/// Where a request comes from.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub(super) peer: SocketAddr,
    pub(super) conn: Uuid,
    pub(super) tls: bool,
}

/// What the requests of one connection have found out.
#[derive(Default)]
pub(super) struct Slot {
    granted: Mutex<Option<Granted>>,
    /// The connection is one of long-poll: there are more requests than one.
    stays: Notify,
    /// One of its requests was of a client that is known.
    pub(super) known: Notify,
    /// No request is taken any more.
    finish: Notify,
}

/// A connection that stays with HTTP.
pub(super) struct Requests {
    http: Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>>,
    slot: Arc<Slot>,
    from: Origin,
}

/// Reads requests until one is granted; none when the connection ends before. Has no deadline of its own.
pub(super) async fn upgrade<B: Inside>(
    front: &Arc<Front<B>>,
    admitted: Admitted,
    peer: SocketAddr,
    conn: Uuid,
) -> Option<Arrived> {
    let Admitted {
        stream,
        certificate,
    } = admitted;
    let from = Origin {
        peer,
        conn,
        tls: stream.is_tls(),
    };
    let slot = Arc::new(Slot::default());
    let mut http = serve(
        front.clone(),
        stream,
        (from, certificate.clone()),
        slot.clone(),
    );
    let served = tokio::select! {
        served = &mut http => served,
        () = slot.stays.notified() => {
            return Some(Arrived::Requests(Requests { http, slot, from }));
        }
    };
    if let Err(error) = served {
        metrics::handshake_refused("bad-http");
        debug!(%conn, %peer, %error, "no HTTP request");
        return None;
    }
    let granted = slot.granted.lock().take()?;
    let upgraded = granted.upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Stream>>().ok()?;
    Some(Arrived::AtDoor(Box::new(Arrival {
        stream: parts.io.into_inner(),
        early: parts.read_buf,
        client: Client {
            conn,
            peer,
            door: granted.door,
            realm: Arc::from(granted.realm),
            principal: granted.principal,
            sp: granted.sp,
            certificate,
            tls: from.tls,
        },
    })))
}

/// Answers the requests of a connection, until it ends or is upgraded.
fn serve<B: Inside>(
    front: Arc<Front<B>>,
    stream: Stream,
    (from, certificate): (Origin, Option<Arc<[u8]>>),
    slot: Arc<Slot>,
) -> Pin<Box<dyn Future<Output = Result<(), hyper::Error>> + Send>> {
    // The caller's deadline holds for the first request too, and says which it was. This one is for those that come later.
    let patience = front.settings.wamp.as_ref().and_then(|it| it.long_poll);
    let patience = patience.map(|it| it.session_within.max(2 * front.mbws.open_within));
    let seen = slot.clone();
    let service = service_fn(move |request| {
        let (front, slot, certificate) = (front.clone(), seen.clone(), certificate.clone());
        async move { answer(&front, request, (from, certificate), &slot).await }
    });
    Box::pin(async move {
        let http = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut http = std::pin::pin!(http);
        loop {
            tokio::select! {
                served = http.as_mut() => return served,
                () = slot.finish.notified() => http.as_mut().graceful_shutdown(),
            }
        }
    })
}

impl Requests {
    /// Answers one request after the other, to the end of the connection; at the shutdown, until the transports that they are
    /// about are gone. Whoever sends for a client that is known is no `newcomer` any more.
    pub(super) async fn serve<B: Inside>(mut self, front: &Front<B>, newcomer: Newcomer) {
        let mut shutdown = front.shutdown.clone();
        let mut newcomer = Some(newcomer);
        let all_gone = async {
            down(&mut shutdown).await;
            front.long_polls.all_gone().await;
        };
        let mut all_gone = std::pin::pin!(all_gone);
        let mut finished = false;
        loop {
            tokio::select! {
                served = &mut self.http => {
                    if let Err(error) = served {
                        let Origin { conn, peer, .. } = self.from;
                        debug!(%conn, %peer, %error, "a connection of long-poll ended");
                    }
                    return;
                }
                () = self.slot.known.notified() => drop(newcomer.take()),
                () = &mut all_gone, if !finished => {
                    finished = true;
                    self.slot.finish.notify_one();
                }
            }
        }
    }
}

async fn answer<B: Inside>(
    front: &Arc<Front<B>>,
    request: Request<Incoming>,
    (from, certificate): (Origin, Option<Arc<[u8]>>),
    slot: &Slot,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    if let Some(target) = http::target(head.uri.path(), &front.settings) {
        slot.stays.notify_one();
        return Ok(http::answer(front, target, (&head, body), (from, certificate), slot).await);
    }
    match check(front, &head, from, certificate.as_deref()).await {
        Ok((wanted, principal)) => {
            let answer = wanted.answer();
            let upgrade = hyper::upgrade::on(Request::from_parts(head, body));
            *slot.granted.lock() = Some(Granted {
                upgrade,
                door: wanted.door,
                realm: wanted.realm,
                principal,
                sp: wanted.sp,
            });
            Ok(answer)
        }
        Err(Refusal { why, detail }) => {
            tell_refused_path(why, from, &detail, &head.uri);
            Ok(why.answer_with(&detail))
        }
    }
}

/// Counts and logs it, with what was asked for.
fn tell_refused_path(refused: Refused, from: Origin, detail: &str, uri: &Uri) {
    metrics::handshake_refused(refused.as_str());
    let Origin { peer, conn, .. } = from;
    let path: String = uri.path().chars().take(PATH_LOGGED_MAX).collect();
    let reason = refused.as_str();
    seldom!(60, info, %conn, %peer, reason, path, detail, "upgrade refused");
}

/// Counts and logs it.
pub(super) fn tell_refused(refused: Refused, from: Origin) {
    metrics::handshake_refused(refused.as_str());
    let Origin { peer, conn, .. } = from;
    seldom!(60, info, %conn, %peer, reason = refused.as_str(), "upgrade refused");
}

async fn check<B: Inside>(
    front: &Front<B>,
    head: &hyper::http::request::Parts,
    from: Origin,
    certificate: Option<&[u8]>,
) -> Result<(Wanted, Option<Principal>), Refusal> {
    let wanted = Wanted::read(head, &front.settings, from.tls)?;
    // Before the realm is looked up: who shows wrong credentials does not learn which realms there are.
    let mut principal = principal(front, head, from, wanted.door.protocol()).await?;
    if !front.broker.has_realm(&wanted.realm) {
        return Err(Refused::NoSuchRealm.into());
    }
    if let Some(client) = &wanted.sp {
        principal = Some(sp::known(front, principal, certificate, from.peer).await?);
        let who = principal.as_ref().ok_or(Refused::Unauthorized)?;
        sp::check_rights(&front.broker, from.peer, who, &wanted.realm, client)?;
    }
    Ok((wanted, principal))
}

/// Who it is by the request's `Authorization`, if it has one.
pub(super) async fn principal<B>(
    front: &Front<B>,
    head: &hyper::http::request::Parts,
    from: Origin,
    protocol: Protocol,
) -> Result<Option<Principal>, Refused> {
    let Some(shown) = head.headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let proof = Proof::Header(shown.as_bytes());
    Ok(Some(front.auth.verify(proof, from.peer, protocol).await?))
}

impl From<NotBelieved> for Refused {
    fn from(why: NotBelieved) -> Self {
        match why {
            NotBelieved::Wrong => Refused::Unauthorized,
            NotBelieved::Throttled => Refused::Throttled,
            NotBelieved::Busy => Refused::Busy,
        }
    }
}
