//! One request: find its route, check its sender, read its body, let the route answer, write down what it was, count.
//!
//! ```text
//! find ─▶ admit ─▶ path, query, headers ─▶ body ─▶ key known? ─▶ perform ─▶ audit ─▶ answer
//!          │ 401 403    │ 400                │ 4xx     └─ yes ▶ the first answer again
//!          └────────────┴────────────────────┴──────────────────────▶ audit
//! ```
//!
//! Handlers know nothing of the audit log and cannot forget it: every refusal and every try to change something comes by
//! here. A change goes on when its client is gone, so that it is never half known: it has a task of its own, and there are
//! never more than [`CHANGES_MAX`] of them.
//!
//! A handler that panics costs its request alone: 500, and an error in the log with the request's id.
//!
//! Always, each with a test of its name in `tests/http`:
//! - `every_change_and_every_refusal_is_audited`.
//! - `a_change_goes_on_though_its_client_is_gone`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{
    AUTHORIZATION, CONNECTION, HOST, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH,
};
use hyper::http::request::Parts;
use hyper::{Request, Version};
use metrics::counter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tracing::{debug, error};
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::budget::Budget;
use crate::conditions::NoneMatch;
use crate::control::{Admin, Caller, Control, How, Peer};
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::replay::{Begun, Fingerprint, Replays, Reservation};
use crate::reply::{self, Reply};
use crate::routes::{self, Answer, Call, Found, Method, Route};
use crate::serve::Options;
use crate::slots::Slot;
use crate::{body, conditions, guard, path};

/// Changes that are made at the same time. The broker makes them one by one anyhow.
const CHANGES_MAX: u32 = 64;

/// Answers of megabytes that are made at the same time.
const HEAVY_MAX: usize = 4;

/// How much of a path the audit log keeps: any name that the broker takes fits.
const TARGET_CHARS_MAX: usize = 2048;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Answers requests. One for all connections.
pub(crate) struct Service {
    pub(crate) control: Arc<dyn Control>,
    pub(crate) options: Options,
    pub(crate) replays: Replays,
    changes: Arc<Semaphore>,
    heavy: Semaphore,
    budget: Budget,
}

/// A request that may be answered, and what goes with it.
struct Ready {
    route: &'static Route,
    call: Call,
    key: Option<Key>,
    /// ETags that the client has the answer for.
    known: Option<NoneMatch>,
}

/// An `Idempotency-Key` and what it was given for.
struct Key {
    key: String,
    fingerprint: Fingerprint,
}

/// What the audit log will say of a request.
struct Trail {
    entry: AuditEntry,
    /// Whether the request is to change something.
    changes: bool,
    /// Whether it is no act of administration, so that only what is refused is noted.
    traffic: bool,
    dry_run: bool,
    /// Something of the request is still to be read: nothing can come behind the answer.
    unread: bool,
}

impl Service {
    pub(crate) fn new(control: Arc<dyn Control>, options: Options) -> Service {
        Service {
            heavy: Semaphore::new(HEAVY_MAX),
            budget: Budget::new(options.answer_bytes_max),
            control,
            options,
            replays: Replays::default(),
            changes: Arc::new(Semaphore::new(CHANGES_MAX as usize)),
        }
    }

    /// Returns once no change is being made any more, or after `deadline`.
    pub(crate) async fn settled(&self, deadline: Duration) {
        match timeout(deadline, self.changes.acquire_many(CHANGES_MAX)).await {
            Ok(_) => {}
            Err(_) => debug!("changes are left alone that did not end in time"),
        }
    }

    /// The answer to `request` from `peer`, who has `slot`, whatever happens.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        peer: &Peer,
        slot: &Slot,
    ) -> Reply {
        let request_id = Uuid::now_v7();
        let method = request.method().clone();
        let found = routes::find(&method, request.uri().path());
        let mut trail = Trail::new(&found, &request, peer, request_id);
        let changes = trail.changes;
        let ready = self.prepare(found, request, (peer, slot), request_id, &mut trail);
        let ready = match AssertUnwindSafe(ready).catch_unwind().await {
            Ok(ready) => ready,
            Err(_) => Err(panicked(&found, request_id)),
        };
        let mut reply = match ready {
            Ok(ready) => self.dispatch(ready, trail).await,
            Err(problem) => {
                let unread = trail.unread;
                self.note(trail, &Err(&problem));
                let mut reply = problem.into_response(request_id);
                if unread {
                    let close = HeaderValue::from_static("close");
                    reply.headers_mut().insert(CONNECTION, close);
                }
                reply
            }
        };
        reply = self.counted(reply, changes, request_id);
        reply::sign(&mut reply, request_id, peer.tls);
        count(found.label(), &reply);
        let (status, peer) = (reply.status().as_u16(), peer.address);
        debug!(%request_id, %peer, %method, route = found.label(), status, "answered");
        reply
    }

    /// The reply, if there is room for it; what says how a change went is never withheld.
    fn counted(&self, reply: Reply, changes: bool, request_id: Uuid) -> Reply {
        let (head, body) = reply.into_parts();
        // All of it is there: nothing is waited for.
        let Some(Ok(body)) = body.collect().now_or_never() else {
            return Problem::internal().into_response(request_id);
        };
        match self.budget.count(body.to_bytes(), changes) {
            Some(bytes) => Reply::from_parts(head, bytes.into()),
            None => Problem::busy("too many answers wait to be taken; try again")
                .into_response(request_id),
        }
    }

    async fn prepare(
        &self,
        found: Found,
        request: Request<Incoming>,
        (peer, slot): (&Peer, &Slot),
        request_id: Uuid,
        trail: &mut Trail,
    ) -> Result<Ready, Problem> {
        let (mut head, body) = request.into_parts();
        trail.unread = !body.is_end_stream();
        one_host(&head).inspect_err(|_| trail.unread = true)?;
        let (control, need) = (self.control.as_ref(), found.need());
        let open = self.options.metrics_open;
        // Only whoever shows something: the others would stay in nobody's way for nothing.
        let shows = head.headers.contains_key(AUTHORIZATION) || peer.certificate.is_some();
        let checking = shows.then(|| slot.checking());
        let admin = guard::admit(control, need, &mut head.headers, peer, open).await?;
        drop(checking);
        if let Some(admin) = &admin {
            slot.known();
            debug!(%request_id, admin = admin.name, "authenticated");
            trail.entry.principal.clone_from(&admin.name);
            guard::check(need, admin)?;
        }
        let route = match found {
            Found::Route(route) => route,
            Found::OtherMethod { pattern } => {
                return Err(Problem::method_not_allowed(&routes::allow(pattern)));
            }
            Found::Nothing { .. } => {
                let nowhere = routes::nowhere(head.uri.path());
                return Err(Problem::new(Code::NotFound, nowhere));
            }
        };
        let path = path::captures(route.pattern, head.uri.path()).map_err(|name| {
            let detail = format!("`{name}` is no name: percent-encoded UTF-8 without controls");
            Problem::new(Code::InvalidPath, detail)
        })?;
        let mut params = Params::parse(head.uri.query().unwrap_or_default());
        let how = how(route, &head, &mut params)?;
        trail.dry_run = how.dry_run;
        let key = match route.method {
            Method::Post => conditions::idempotency_key(&head.headers)?,
            Method::Get | Method::Put | Method::Delete => None,
        };
        let known = match route.steady {
            true => conditions::none_match(&head.headers)?,
            false => None,
        };
        let body = self.read(route, &head, body, trail).await?;
        // What a dry run says is no act that a key could stand for.
        let key = key.filter(|_| !how.dry_run).map(|key| Key {
            key,
            fingerprint: fingerprint(&head, &body),
        });
        let caller = Caller {
            admin: admin.unwrap_or_else(nobody),
            peer: peer.clone(),
            request_id,
            trace: conditions::trace(&head.headers),
        };
        let call = Call {
            control: Arc::clone(&self.control),
            caller,
            path,
            params,
            body,
            how,
        };
        Ok(Ready {
            route,
            call,
            key,
            known,
        })
    }

    async fn read(
        &self,
        route: &Route,
        head: &Parts,
        body: Incoming,
        trail: &mut Trail,
    ) -> Result<Bytes, Problem> {
        let (small, large) = (
            self.options.body_bytes_max,
            self.options.large_body_bytes_max,
        );
        let takes = route.body.as_ref();
        let bytes_max = if takes.is_some_and(|body| body.large) {
            large
        } else {
            small
        };
        if takes.is_some() && !body.is_end_stream() {
            body::check_type(&head.headers)?;
        }
        let body = body::read(body, bytes_max, self.options.read_timeout).await?;
        trail.unread = false;
        if takes.is_none() && route.changes() && !body.is_empty() {
            // Perhaps it was meant to say which few of what is to be changed.
            let detail = "this takes no body";
            return Err(Problem::new(Code::MalformedBody, detail));
        }
        Ok(body)
    }

    /// Lets the route answer, unless it has answered this very request before.
    async fn dispatch(self: &Arc<Self>, ready: Ready, trail: Trail) -> Reply {
        let request_id = ready.call.caller.request_id;
        let reservation = match self.begin(&ready) {
            Ok(Some(Begun::First(reservation))) => Some(reservation),
            Ok(Some(Begun::Again(mut reply))) => {
                let yes = HeaderValue::from_static("true");
                reply.headers_mut().insert(REPLAYED, yes);
                self.note_replay(trail);
                return reply;
            }
            Ok(None) => None,
            Err(problem) => {
                self.note(trail, &Err(&problem));
                return problem.into_response(request_id);
            }
        };
        if !ready.route.changes() {
            let heavy = match ready.route.heavy {
                true => match timeout(self.options.read_timeout, self.heavy.acquire()).await {
                    Ok(Ok(permit)) => Some(permit),
                    Ok(Err(_)) | Err(_) => {
                        let problem = Problem::busy("too many large answers at once; try again");
                        return problem.into_response(request_id);
                    }
                },
                false => None,
            };
            let reply = self.perform(ready, trail, reservation).await;
            drop(heavy);
            return reply;
        }
        let Some(permit) = self.permit().await else {
            let problem = Problem::busy("too many changes at once; try again");
            self.note(trail, &Err(&problem));
            return problem.into_response(request_id);
        };
        let service = Arc::clone(self);
        let change = tokio::spawn(async move {
            let reply = service.perform(ready, trail, reservation).await;
            drop(permit);
            reply
        });
        match timeout(self.options.change_timeout, change).await {
            Ok(Ok(reply)) => reply,
            // Only the end of the runtime ends it: a panic was caught.
            Ok(Err(_)) => Problem::internal().into_response(request_id),
            // It goes on, and has its line in the audit log when it is done.
            Err(_) => Problem::unsettled().into_response(request_id),
        }
    }

    fn begin(&self, ready: &Ready) -> Result<Option<Begun>, Problem> {
        let Some(Key { key, fingerprint }) = &ready.key else {
            return Ok(None);
        };
        let Admin { name, revision, .. } = &ready.call.caller.admin;
        // Not by the name alone: somebody else may have it by now.
        let caller = format!("{revision} {name}");
        self.replays.begin(&caller, key, *fingerprint).map(Some)
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.changes).acquire_owned();
        timeout(self.options.read_timeout, permit).await.ok()?.ok()
    }

    /// The route's answer. It is in the audit log before anybody sees it.
    async fn perform(&self, ready: Ready, trail: Trail, reservation: Option<Reservation>) -> Reply {
        let request_id = ready.call.caller.request_id;
        let How { dry_run, only } = ready.call.how;
        let work = AssertUnwindSafe((ready.route.handler)(ready.call)).catch_unwind();
        let answer: Answer = match work.await {
            Ok(answer) => answer,
            Err(_) => Err(panicked(&Found::Route(ready.route), request_id)),
        };
        match answer {
            Ok(mut done) => {
                if dry_run {
                    reply::unmade(&mut done.reply);
                }
                let noted = Noted {
                    before: done.before.take(),
                    after: done.after.take(),
                    revision: done.revision,
                    audited: done.audited,
                };
                match line(trail, &Ok(noted)) {
                    Some(entry) if entry.result == DONE => self.control.audit_durably(entry).await,
                    Some(entry) => self.control.audit(entry),
                    None => {}
                }
                if let Some(reservation) = reservation {
                    reservation.finish(done.reply.clone());
                }
                match &ready.known {
                    Some(known) => reply::unless_known(done.reply, known),
                    None => done.reply,
                }
            }
            Err(problem) => {
                let problem = problem.unmet(only);
                let perhaps_done = matches!(problem.code(), Code::Unsettled | Code::ShuttingDown)
                    || problem.in_part().is_some();
                match line(trail, &Err(&problem)) {
                    Some(entry) if entry.result == IN_PART => {
                        self.control.audit_durably(entry).await;
                    }
                    Some(entry) => self.control.audit(entry),
                    None => {}
                }
                let reply = problem.into_response(request_id);
                // Any other error has changed nothing: whoever asks again may have better luck.
                if let Some(reservation) = reservation.filter(|_| perhaps_done) {
                    reservation.finish(reply.clone());
                }
                reply
            }
        }
    }

    /// Writes down that a request came to nothing.
    fn note(&self, trail: Trail, outcome: &Result<Noted, &Problem>) {
        if let Some(entry) = line(trail, outcome) {
            self.control.audit(entry);
        }
    }

    fn note_replay(&self, trail: Trail) {
        if trail.changes && !trail.traffic {
            let mut entry = trail.entry;
            UNCHANGED.clone_into(&mut entry.result);
            "asked before: the first answer was given again".clone_into(&mut entry.detail);
            self.control.audit(entry);
        }
    }
}

/// What was done, as far as the audit log is concerned.
struct Noted {
    /// How it was, without secrets.
    before: Option<serde_json::Value>,
    /// How it is.
    after: Option<serde_json::Value>,
    revision: Option<u64>,
    /// Whether it goes into the log though nothing was changed.
    audited: bool,
}

impl Noted {
    fn changed_nothing(&self) -> bool {
        self.before.is_some() && self.before == self.after
    }
}

/// The result of what was done.
const DONE: &str = "done";
/// The result of what was done in part.
const IN_PART: &str = "in-part";
/// The result of what was so already.
const UNCHANGED: &str = "unchanged";

/// What the audit log says of how a request ended; none: nothing.
fn line(trail: Trail, outcome: &Result<Noted, &Problem>) -> Option<AuditEntry> {
    let Trail {
        mut entry,
        changes,
        traffic,
        dry_run,
        unread: _,
    } = trail;
    let acts = changes && !traffic;
    let (result, wanted) = match outcome {
        Ok(noted) if dry_run => ("dry-run", noted.audited || acts),
        Ok(noted) if noted.changed_nothing() => (UNCHANGED, noted.audited || acts),
        Ok(noted) => (DONE, noted.audited || acts),
        Err(problem) if problem.in_part().is_some() => (IN_PART, changes),
        Err(problem) => match problem.code() {
            Code::Unauthenticated | Code::Forbidden => ("denied", true),
            Code::Unsettled => ("unknown", changes),
            _ => ("failed", changes),
        },
    };
    result.clone_into(&mut entry.result);
    match outcome {
        // How it would be is in the answer: who only asks is not to fill the log.
        Ok(_) if result != DONE => {}
        Ok(noted) => {
            entry.before.clone_from(&noted.before);
            entry.after.clone_from(&noted.after);
            entry.revision = noted.revision;
        }
        Err(problem) => {
            entry.after = problem.in_part().cloned();
            entry.detail = problem.audit();
        }
    }
    wanted.then_some(entry)
}

impl Trail {
    fn new(found: &Found, request: &Request<Incoming>, peer: &Peer, request_id: Uuid) -> Trail {
        let (act, changes, traffic) = match found {
            Found::Route(route) => (route.act(), route.changes(), route.traffic),
            Found::OtherMethod { pattern } => (format!("? {pattern}"), false, false),
            Found::Nothing { .. } => ("?".to_owned(), false, false),
        };
        let target = request.uri().path().chars().take(TARGET_CHARS_MAX);
        let entry = AuditEntry {
            peer: peer.address.to_string(),
            door: "rest".to_owned(),
            act,
            target: target.collect(),
            request_id: Some(request_id.to_string()),
            times: 1,
            ..AuditEntry::default()
        };
        Trail {
            entry,
            changes,
            traffic,
            dry_run: false,
            unread: false,
        }
    }
}

/// A request of HTTP/1.1 says once for which host it is (RFC 9112 §3.2): of two, another reader may take the other one.
fn one_host(head: &Parts) -> Result<(), Problem> {
    let hosts = head.headers.get_all(HOST).iter().count();
    if hosts == 1 || (hosts == 0 && head.version < Version::HTTP_11) {
        return Ok(());
    }
    Err(conditions::bad("Host", "is given once"))
}

/// How a change is to be made. What is no change is asked without conditions, and has none.
fn how(route: &Route, head: &Parts, params: &mut Params) -> Result<How, Problem> {
    if !route.changes() {
        return Ok(How::default());
    }
    let conditions = [IF_MATCH, IF_NONE_MATCH];
    if !route.conditional && conditions.iter().any(|it| head.headers.contains_key(it)) {
        return Err(conditions::bad("If-Match", "means nothing here"));
    }
    let only = conditions::precondition(&head.headers)?;
    let dry_run = params.flag("dry_run");
    Ok(How { dry_run, only })
}

fn fingerprint(head: &Parts, body: &[u8]) -> Fingerprint {
    let target = head.uri.path_and_query().map_or("", |it| it.as_str());
    let condition = [IF_MATCH, IF_NONE_MATCH].map(|name| {
        let value = head.headers.get(name);
        value.map_or_else(String::new, |value| format!("{value:?}"))
    });
    Fingerprint::of(&head.method, target, &condition.join(" "), body)
}

/// Who asks where nobody is asked who they are.
fn nobody() -> Admin {
    Admin {
        name: String::new(),
        revision: 0,
        roles: Vec::new(),
        grants: Vec::new(),
        access: Arc::new(()),
    }
}

fn panicked(found: &Found, request_id: Uuid) -> Problem {
    error!(%request_id, route = found.label(), "a handler of the admin API panicked");
    Problem::internal()
}

/// Few series: a route is a line of our table, a status a code of ours.
fn count(route: &'static str, reply: &Reply) {
    let status = reply.status().as_str().to_owned();
    counter!("restante_admin_requests_total", "route" => route, "status" => status).increment(1);
}
