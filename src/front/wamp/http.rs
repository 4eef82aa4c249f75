//! The HTTP requests of WAMP's long-poll, below each path of WAMP over WebSocket.
//!
//! ```text
//! POST /wamp/lp/open            {"protocols": […]} ─▶ {"protocol": …, "transport": ID}
//! POST /wamp/lp/ID/receive      held until there is a message ─▶ 200 with it, or 204 at the poll's end
//! POST /wamp/lp/ID/send         a message, or a batch ─▶ 204
//! POST /wamp/lp/ID/close        ─▶ 204
//! ```
//!
//! The specification says 202 where the only client takes nothing but 200 and 204. An id that is nobody's, or no longer, is 404; a
//! request that is wrong in itself 400, and one that is too long 413. For some seconds after the router has ended a transport, `send`
//! and `close` are still answered with 204: that client says nothing of an ABORT before its `close` has been. Pages of other origins are
//! let in as in an upgrade, and their browsers are told that they may send credentials.
//!
//! Always, each with a test of its name in `front::tests`:
//! - `long_poll_answers_by_the_book`.
//! - `pages_may_poll_by_the_same_rule_as_they_connect`.
//! - `many_requests_go_over_one_connection`.
//!
//! Not here: what waits for whom (poll).

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use restante_proto::wamp::Serializer;
use tokio::time::timeout;
use uuid::Uuid;

use super::poll::{Found, NotTaken, Post};
use super::wire::{BATCH_BYTES_MORE, Wire};
use super::{LongPoll, Transport, Wamp, Way, spoken};
use crate::broker::Protocol;
use crate::front::clock::now;
use crate::front::door::{Client, Door, REALM_DEFAULT};
use crate::front::port::Inside;
use crate::front::ration::STRANGER_BYTES_MAX;
use crate::front::refused::Refused;
use crate::front::request::check_origin;
use crate::front::upgrade::{Origin, Slot, principal, tell_refused};
use crate::front::{Front, Settings};

/// What an `open` may have: a list of names.
const OPEN_BYTES_MAX: usize = 4 * 1024;
/// What a browser need not ask again, in seconds.
const PREFLIGHT_AGE: &str = "600";

type Answer = Response<Full<Bytes>>;

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::front) struct Target<'a> {
    wish: Wish,
    /// The transport's; empty for [`Wish::Open`].
    id: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Open,
    Receive,
    Send,
    Close,
}

/// What the path of a request is about; none: not about long-poll, or that is not offered.
pub(in crate::front) fn target<'a>(path: &'a str, settings: &Settings) -> Option<Target<'a>> {
    let wamp = settings.wamp.as_ref().filter(|it| it.long_poll.is_some())?;
    let mut below = wamp.paths.iter().filter_map(|base| {
        let rest = path.strip_prefix(base.trim_end_matches('/'))?;
        rest.strip_prefix("/lp/")
    });
    let rest = below.next()?;
    if rest == "open" {
        let wish = Wish::Open;
        return Some(Target { wish, id: "" });
    }
    let (id, wish) = rest.split_once('/')?;
    let wish = match wish {
        "receive" => Wish::Receive,
        "send" => Wish::Send,
        "close" => Wish::Close,
        _ => return None,
    };
    Some(Target { wish, id })
}

/// Answers a request.
pub(in crate::front) async fn answer<B: Inside>(
    front: &Arc<Front<B>>,
    target: Target<'_>,
    (head, body): (&Parts, Incoming),
    from: (Origin, Option<Arc<[u8]>>),
    slot: &Slot,
) -> Answer {
    let Some(wamp) = &front.settings.wamp else {
        return Refused::NoSuchPath.answer();
    };
    let Some(long_poll) = wamp.long_poll else {
        return Refused::NoSuchPath.answer();
    };
    if let Err(refused) = check_origin(&head.headers, &front.settings.origins, from.0.tls) {
        tell_refused(refused, from.0);
        return refused.answer();
    }
    let answer = match head.method {
        Method::OPTIONS => Ok(preflight()),
        Method::POST => match target.wish {
            Wish::Open => open(front, (wamp, long_poll), (head, body), from).await,
            _ => of_transport(front, target, body, slot).await,
        },
        _ => Err(not_allowed()),
    };
    let mut answer = answer.unwrap_or_else(|answer| answer);
    tell_browser(head, &mut answer);
    answer
}

/// A new transport, and a session for it.
async fn open<B: Inside>(
    front: &Arc<Front<B>>,
    (wamp, long_poll): (&Wamp, LongPoll),
    (head, body): (&Parts, Incoming),
    (from, certificate): (Origin, Option<Arc<[u8]>>),
) -> Result<Answer, Answer> {
    let body = read(front, body, OPEN_BYTES_MAX).await?;
    let chosen = chosen(&body, wamp);
    let (serializer, batched) = chosen.map_err(|text| told(StatusCode::BAD_REQUEST, text))?;
    let refused = |refused: Refused| {
        tell_refused(refused, from);
        refused.answer()
    };
    let principal = principal(front, head, from, Protocol::Wamp);
    let principal = timeout(front.mbws.open_within, principal).await;
    let principal = principal.unwrap_or(Err(Refused::Busy)).map_err(refused)?;
    if *front.shutdown.borrow() {
        return Err(refused(Refused::Busy));
    }
    let newcomer = front.newcomers.come(from.peer.ip());
    let newcomer = newcomer.ok_or_else(|| refused(Refused::TooManyNewcomers))?;
    let permit = front.permits.clone().try_acquire_owned();
    let permit = permit.map_err(|_| refused(Refused::TooManyConnections))?;
    let way = Way {
        transport: Transport::LongPoll,
        serializer,
        batched,
        peer_bytes_max: None,
    };
    let opened = front.long_polls.open(way, long_poll.session_within);
    let (id, polled) = opened.ok_or_else(|| refused(Refused::Busy))?;
    let wire = Wire::polled(polled, way, wamp, front.metrics.clone());
    let client = Client {
        conn: Uuid::now_v7(),
        peer: from.peer,
        door: Door::Wamp(way),
        realm: Arc::from(REALM_DEFAULT),
        principal,
        sp: None,
        certificate,
        tls: from.tls,
    };
    let (serving, began) = (front.clone(), now());
    front.long_polls.spawn(async move {
        super::drive(&serving, client, wire, began, newcomer).await;
        drop(permit);
    });
    let protocol = serializer.subprotocol(batched);
    let told = serde_json::json!({ "protocol": protocol, "transport": id });
    Ok(full(
        StatusCode::OK,
        "application/json",
        told.to_string().into(),
    ))
}

/// The first protocol of an `open` that is spoken here, or what would have been right.
fn chosen(body: &[u8], wamp: &Wamp) -> Result<(Serializer, bool), &'static str> {
    let wanted: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let protocols = wanted
        .as_ref()
        .and_then(|it| it.get("protocols")?.as_array());
    let Some(protocols) = protocols else {
        let text = "The body must be JSON, {\"protocols\": [\"wamp.2.json\"]}.\n";
        return Err(text);
    };
    let names = protocols.iter().filter_map(|it| it.as_str());
    let mut known = names.filter_map(|name| spoken(name, wamp.ubjson_legacy));
    known.next().ok_or(
        "None of these protocols is spoken. There are wamp.2.json, wamp.2.msgpack, wamp.2.cbor (each also with .batched) and \
         wamp.2.ubjson.\n",
    )
}

/// A request about a transport that there is, or was.
async fn of_transport<B: Inside>(
    front: &Front<B>,
    target: Target<'_>,
    body: Incoming,
    slot: &Slot,
) -> Result<Answer, Answer> {
    let post = match front.long_polls.find(target.id) {
        Found::Post(post) => post,
        Found::Ended if target.wish != Wish::Receive => {
            read(front, body, STRANGER_BYTES_MAX).await?;
            return Ok(empty());
        }
        Found::Ended | Found::Nothing => return Err(gone()),
    };
    let _under_way = post.begin();
    if post.is_known() {
        slot.known.notify_one();
    }
    match target.wish {
        Wish::Send => send(front, &post, body).await,
        Wish::Receive => {
            read(front, body, OPEN_BYTES_MAX).await?;
            receive(front, &post).await
        }
        Wish::Open | Wish::Close => {
            read(front, body, OPEN_BYTES_MAX).await?;
            post.close();
            Ok(empty())
        }
    }
}

async fn send<B: Inside>(front: &Front<B>, post: &Post, body: Incoming) -> Result<Answer, Answer> {
    let settings = front.settings.wamp.as_ref().ok_or_else(gone)?;
    let more = if post.way.batched {
        BATCH_BYTES_MORE
    } else {
        0
    };
    let bytes_max = settings.message_bytes_max + more;
    let bytes_max = post.ration().map_or(bytes_max, |it| it.min(bytes_max));
    let body = read(front, body, bytes_max).await?;
    let is_text = post.way.serializer.is_text();
    if body.is_empty() || (is_text && std::str::from_utf8(&body).is_err()) {
        let text = "The body must be a message in the protocol that was agreed on.\n";
        return Err(told(StatusCode::BAD_REQUEST, text));
    }
    match post.send(body).await {
        Ok(()) => Ok(empty()),
        Err(NotTaken::Gone) => Err(gone()),
        Err(NotTaken::TooMuch) => Err(too_long()),
    }
}

async fn receive<B: Inside>(front: &Front<B>, post: &Post) -> Result<Answer, Answer> {
    let settings = front.settings.wamp.as_ref().and_then(|it| it.long_poll);
    let settings = settings.ok_or_else(gone)?;
    match post.receive(settings.poll_within).await {
        Ok(message) if message.is_empty() => Ok(empty()),
        Ok(message) => {
            let kind = match post.way.serializer.is_text() {
                true => "application/json; charset=utf-8",
                false => "application/octet-stream",
            };
            Ok(full(StatusCode::OK, kind, message))
        }
        Err(_) => Err(gone()),
    }
}

/// A whole body, of no more than `bytes_max`, if it comes in time.
async fn read<B: Inside>(
    front: &Front<B>,
    body: Incoming,
    bytes_max: usize,
) -> Result<Bytes, Answer> {
    // What is announced too long is not waited for.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_long());
    }
    let within = front.mbws.open_within;
    match timeout(within, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(told(StatusCode::BAD_REQUEST, "The body is cut short.\n")),
        Err(_) => Err(told(
            StatusCode::REQUEST_TIMEOUT,
            "The body came too slowly.\n",
        )),
    }
}

/// A browser asks whether a page may send its request.
fn preflight() -> Answer {
    let mut answer = empty();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "POST"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "content-type, authorization",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE),
    ] {
        let value = HeaderValue::from_static(value);
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// The page's origin was found good: its browser is told so.
fn tell_browser(head: &Parts, answer: &mut Answer) {
    let Some(origin) = head.headers.get(header::ORIGIN) else {
        return;
    };
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
        HeaderValue::from_static("true"),
    );
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
}

fn not_allowed() -> Answer {
    let mut answer = told(StatusCode::METHOD_NOT_ALLOWED, "Requests here are POST.\n");
    let allowed = HeaderValue::from_static("POST, OPTIONS");
    answer.headers_mut().insert(header::ALLOW, allowed);
    answer
}

fn gone() -> Answer {
    told(
        StatusCode::NOT_FOUND,
        "There is no such transport, or no longer.\n",
    )
}

fn too_long() -> Answer {
    let mut answer = told(StatusCode::PAYLOAD_TOO_LARGE, "The body is too long.\n");
    // The rest of it is not read.
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    answer
}

fn empty() -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    never_kept(&mut answer);
    answer
}

fn told(status: StatusCode, text: &'static str) -> Answer {
    full(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

fn full(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    never_kept(&mut answer);
    answer
}

fn never_kept(answer: &mut Answer) {
    let no_store = HeaderValue::from_static("no-store");
    answer.headers_mut().insert(header::CACHE_CONTROL, no_store);
}
