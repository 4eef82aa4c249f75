//! From a connection to a WebSocket: one HTTP request, checked, answered with 101 or with a refusal that says why.
//!
//! hyper reads the request; after the 101 its buffers are dropped and the bare stream goes on, so that an idle
//! connection does not pay for HTTP.
//!
//! Not here: what a request must be (request), the deadline (accept), WebSocket frames (socket).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tracing::debug;
use uuid::Uuid;

use super::auth::{NotBelieved, Proof};
use super::door::{Arrival, Client, Door};
use super::port::Inside;
use super::refused::Refused;
use super::request::Wanted;
use super::{Front, metrics};
use crate::access::Principal;
use crate::logs::seldom;
use crate::tls::{Admitted, Stream};

/// Request line and headers, all of them; nobody's upgrade needs a quarter of it.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// An upgrade that was answered with 101.
struct Granted {
    upgrade: OnUpgrade,
    door: Door,
    realm: String,
    principal: Option<Principal>,
}

/// Where a request comes from.
#[derive(Clone, Copy)]
struct Origin {
    peer: SocketAddr,
    conn: Uuid,
    tls: bool,
}

/// Reads requests until one is granted; none when the connection ends before. Has no deadline of its own.
pub(super) async fn upgrade<B: Inside>(
    front: &Front<B>,
    admitted: Admitted,
    peer: SocketAddr,
    conn: Uuid,
) -> Option<Arrival> {
    let Admitted {
        stream,
        certificate,
    } = admitted;
    let from = Origin {
        peer,
        conn,
        tls: stream.is_tls(),
    };
    let granted = Mutex::new(None);
    let service = service_fn(|request| answer(front, request, from, &granted));
    let served = http1::Builder::new()
        // The caller's deadline holds for the request too, and says which it was.
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        metrics::handshake_refused("bad-http");
        debug!(%conn, %peer, %error, "no HTTP request");
        return None;
    }
    let granted = granted.into_inner()?;
    let upgraded = granted.upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Stream>>().ok()?;
    Some(Arrival {
        stream: parts.io.into_inner(),
        early: parts.read_buf,
        client: Client {
            conn,
            peer,
            door: granted.door,
            realm: Arc::from(granted.realm),
            principal: granted.principal,
            certificate,
            tls: from.tls,
        },
    })
}

async fn answer<B: Inside>(
    front: &Front<B>,
    request: Request<Incoming>,
    from: Origin,
    granted: &Mutex<Option<Granted>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    match check(front, &head, from).await {
        Ok((wanted, principal)) => {
            let answer = wanted.answer();
            let upgrade = hyper::upgrade::on(Request::from_parts(head, body));
            *granted.lock() = Some(Granted {
                upgrade,
                door: wanted.door,
                realm: wanted.realm,
                principal,
            });
            Ok(answer)
        }
        Err(refused) => {
            metrics::handshake_refused(refused.as_str());
            let Origin { peer, conn, .. } = from;
            seldom!(60, info, %conn, %peer, reason = refused.as_str(), "upgrade refused");
            Ok(refused.answer())
        }
    }
}

async fn check<B: Inside>(
    front: &Front<B>,
    head: &hyper::http::request::Parts,
    from: Origin,
) -> Result<(Wanted, Option<Principal>), Refused> {
    let wanted = Wanted::read(head, &front.settings, from.tls)?;
    // Before the realm is looked up: who shows wrong credentials does not learn which realms there are.
    let principal = match head.headers.get(header::AUTHORIZATION) {
        Some(shown) => {
            let proof = Proof::Header(shown.as_bytes());
            let protocol = wanted.door.protocol();
            Some(front.auth.verify(proof, from.peer, protocol).await?)
        }
        None => None,
    };
    if front.broker.has_realm(&wanted.realm) {
        Ok((wanted, principal))
    } else {
        Err(Refused::NoSuchRealm)
    }
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
