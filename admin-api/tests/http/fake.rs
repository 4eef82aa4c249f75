//! A broker in memory that is what the test wants, and the admin API in front of it.
//!
//! Documents, queues and messages are really there and change, with revisions; what is not needed for that is not there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use restante_admin_api::document::{
    Definitions, Document, DocumentId, DocumentKind, Grant, PreviousSecret, Realm, Role, Stored,
    Token, User, Verb,
};
use restante_admin_api::queue::{
    AddressInfo, Binding, ConnectionInfo, ConsumerInfo, ExplainRequest, Explanation, Fate,
    MessageInfo, MessageState, Outcome, Paused, PublishRequest, QueueInfo, QueueSpec, Selection,
    SessionInfo, Why,
};
use restante_admin_api::wamp::{
    CallInfo, NumberedWanted, RegistrationInfo, Shared, WampSubscriptionInfo,
};
use restante_admin_api::{
    Admin, Asked, AuditEntry, AuditQuery, AuthError, BoxFuture, Browsed, Caller, Changed, Check,
    ConfigEntry, Control, ControlError, Exported, Health, How, Invalid, Options, Overview, Peer,
    Plan, Precondition, Published, QueuesWanted, Secret, Step, StepAct, serve,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

use crate::client::{Answer, Client, within};
use crate::log;

/// Who may read, for [`Fake::authenticate`].
pub(crate) const READER: &str = "authorization: Basic reader";

/// Who has every grant.
pub(crate) const ADMIN: &str = "authorization: Basic admin";

/// Begins every secret that this broker gives out, and every hash that it keeps.
pub(crate) const SECRET: &str = "s3cret-canary";
pub(crate) const HASH: &str = "h4sh-canary";

pub(crate) struct Fake {
    pub(crate) health: Mutex<Health>,
    pub(crate) state: Mutex<State>,
    /// What every question is answered with.
    pub(crate) fail: Mutex<Option<ControlError>>,
    /// Lists of queues, and changes of documents, wait for one of these.
    pub(crate) gate: Semaphore,
    /// Has a permit for each call that came to the gate.
    pub(crate) at_gate: Semaphore,
    pub(crate) n_authenticated: AtomicUsize,
    /// Of everybody's documents.
    pub(crate) generation: AtomicU64,
    pub(crate) audited: Mutex<Vec<AuditEntry>>,
    /// Where the callers of changes were in traces.
    pub(crate) traces: Mutex<Vec<Option<Trace>>>,
}

/// `traceparent` and `tracestate`.
type Trace = (String, Option<String>);

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) documents: BTreeMap<DocumentId, (Document, u64)>,
    pub(crate) queues: BTreeMap<(String, String), QueueInfo>,
    /// In the one queue that has any: `default`, `orders/eu`.
    pub(crate) messages: BTreeMap<u64, MessageInfo>,
    pub(crate) connections: Vec<ConnectionInfo>,
    pub(crate) sessions: Vec<SessionInfo>,
    pub(crate) registrations: Vec<RegistrationInfo>,
    pub(crate) subscriptions: Vec<WampSubscriptionInfo>,
    pub(crate) published: u64,
    pub(crate) issued: u64,
    pub(crate) level: String,
    pub(crate) revision: u64,
}

impl Fake {
    pub(crate) fn new() -> Arc<Fake> {
        let check = |name| Check {
            name,
            ok: true,
            text: format!("{name} is fine"),
        };
        let state = State {
            level: "info".into(),
            ..State::default()
        };
        Arc::new(Fake {
            health: Mutex::new(Health {
                live: true,
                ready: ["recovered", "log", "disk"].map(check).into(),
            }),
            state: Mutex::new(state),
            fail: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            at_gate: Semaphore::new(0),
            n_authenticated: AtomicUsize::new(0),
            generation: AtomicU64::new(1),
            audited: Mutex::default(),
            traces: Mutex::default(),
        })
    }

    pub(crate) fn with_queues(names: &[(&str, &str)]) -> Arc<Fake> {
        let fake = Fake::new();
        for &(realm, name) in names {
            let key = (realm.to_owned(), name.to_owned());
            fake.state().queues.insert(key, queue(realm, name));
        }
        fake
    }

    /// With one of everything, named as `furnished_path` names it.
    pub(crate) fn furnished() -> Arc<Fake> {
        let fake = Fake::with_queues(&[("default", "orders/eu")]);
        {
            let mut state = fake.state();
            for (id, document) in documents() {
                state.revision += 1;
                let revision = state.revision;
                state.documents.insert(id, (document, revision));
            }
            state.messages = (0..5).map(|offset| (offset, message(offset))).collect();
            state.connections = vec![connection("c1"), connection("c2")];
            state.sessions = vec![session("s1"), session("s2")];
            state.registrations = vec![
                registration(2, "app.add"),
                registration(9, "app.sub"),
                registration(10, "other"),
            ];
            state.subscriptions = vec![subscription(2, "app."), subscription(10, "other")];
        }
        fake
    }

    /// One whose `queues` waits until `gate` has permits.
    pub(crate) fn gated() -> Arc<Fake> {
        let fake = Fake::new();
        fake.gate.forget_permits(Semaphore::MAX_PERMITS);
        fake
    }

    /// The name of a check that is not met.
    pub(crate) fn unready(name: &str) -> Arc<Fake> {
        let fake = Fake::new();
        for check in &mut fake.health.lock().unwrap().ready {
            check.ok = check.name != name;
        }
        fake
    }

    /// From now on neither live nor ready.
    pub(crate) fn sicken(&self) {
        let mut health = self.health.lock().unwrap();
        health.live = false;
        health.ready[0].ok = false;
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A test may want a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn failing(&self, error: Option<ControlError>) {
        *self.fail.lock().unwrap() = error;
    }

    /// What was audited since this was called the last time.
    pub(crate) fn take_audited(&self) -> Vec<AuditEntry> {
        std::mem::take(&mut self.audited.lock().unwrap())
    }

    fn ask<'a, T: Send + 'a>(
        &'a self,
        answer: impl FnOnce(&mut State) -> Result<T, ControlError> + Send + 'a,
    ) -> Asked<'a, T> {
        Box::pin(async move {
            let fail = self.fail.lock().unwrap().clone();
            match fail {
                Some(error) => Err(error),
                None => answer(&mut self.state()),
            }
        })
    }

    /// As [`Fake::ask`], in a dry run on a copy.
    fn change<'a, T: Send + 'a>(
        &'a self,
        caller: &'a Caller,
        how: How,
        answer: impl FnOnce(&mut State) -> Result<T, ControlError> + Send + 'a,
    ) -> Asked<'a, T> {
        self.traces.lock().unwrap().push(caller.trace.clone());
        Box::pin(async move {
            self.pass_gate().await;
            self.ask(move |state| {
                let mut after = state.clone();
                after.revision += 1;
                let outcome = answer(&mut after)?;
                if !how.dry_run {
                    *state = after;
                }
                Ok(outcome)
            })
            .await
        })
    }

    async fn pass_gate(&self) {
        self.at_gate.add_permits(1);
        self.gate.acquire().await.unwrap().forget();
    }
}

/// Rules: the keeper may do everything, and with `operate` everybody may browse and manage.
fn decide(caller: &Caller, verb: Verb) -> Result<(), ControlError> {
    let operates = caller.admin.may(Grant::Operate) && verb != Verb::Send;
    if operates
        || caller.admin.may(Grant::Secure) && verb == Verb::Send
        || caller.admin.name == "keeper"
    {
        Ok(())
    } else {
        Err(ControlError::Denied {
            verb: Some(verb),
            rule: None,
        })
    }
}

fn check(how: How, revision: Option<u64>) -> Result<(), ControlError> {
    let holds = match how.only {
        Precondition::None => true,
        Precondition::Present => revision.is_some(),
        Precondition::Absent => revision.is_none(),
        Precondition::Revision(wanted) => revision == Some(wanted),
    };
    if holds {
        Ok(())
    } else {
        Err(ControlError::Changed { revision })
    }
}

fn missing<T>(what: &str) -> Result<T, ControlError> {
    Err(ControlError::NotFound(what.to_owned()))
}

fn invalid(pointer: &str) -> ControlError {
    ControlError::Invalid(vec![Invalid {
        pointer: pointer.to_owned(),
        detail: "is not as this broker likes it".to_owned(),
    }])
}

fn note(document: &Document) -> Option<Value> {
    Some(json!({ "kind": document.kind().as_str() }))
}

fn parse<T: serde::de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).unwrap()
}

fn documents() -> Vec<(DocumentId, Document)> {
    let id = |kind, realm: &str, name: &str| DocumentId {
        kind,
        realm: realm.to_owned(),
        name: name.to_owned(),
    };
    let user = User {
        roles: vec!["shop".into()],
        password_hash: Some(HASH.into()),
        scram_verifier: Some(HASH.into()),
        wampcra_key: Some(HASH.into()),
        scram_argon2_verifier: Some(HASH.into()),
        ..User::default()
    };
    let token = Token {
        label: "backend".into(),
        hash: HASH.into(),
        previous: Some(PreviousSecret {
            hash: HASH.into(),
            until: 7,
        }),
        ..Token::default()
    };
    vec![
        (
            id(DocumentKind::Realm, "", "default"),
            Document::Realm(Realm::default()),
        ),
        (
            id(DocumentKind::Role, "", "shop"),
            Document::Role(Role::default()),
        ),
        (id(DocumentKind::User, "", "alice"), Document::User(user)),
        (id(DocumentKind::Token, "", "t1"), Document::Token(token)),
        (
            id(DocumentKind::Rule, "", "shop"),
            Document::Rule(parse(r##"{"role":"shop","verbs":["send"],"filter":"#"}"##)),
        ),
        (
            id(DocumentKind::Route, "default", "copy"),
            Document::Route(parse(r#"{"filter":"a/+","to":[{"address":"b"}]}"#)),
        ),
    ]
}

fn queue(realm: &str, name: &str) -> QueueInfo {
    QueueInfo {
        realm: realm.into(),
        name: name.into(),
        durable: true,
        messages_ready: 3,
        messages_unsettled: 2,
        bytes: 1000,
        consumers: 1,
        next_offset: 7,
        oldest_timestamp: Some(1_700_000_000_000),
        paused: None,
        spec: QueueSpec {
            ttl_ms: Some(60_000),
            bindings: Some(vec!["orders/#".into()]),
            ..QueueSpec::default()
        },
        revision: 1,
    }
}

fn message(offset: u64) -> MessageInfo {
    MessageInfo {
        offset,
        state: if offset == 4 {
            MessageState::Unsettled
        } else {
            MessageState::Ready
        },
        acquired: 0,
        failed: 0,
        timestamp: 1_700_000_000_000,
        expires_at: None,
        bytes: 10,
        message_id: format!("m{offset}"),
        address: "orders/eu".into(),
        key: None,
        priority: 4,
        correlation_id: None,
        reply_to: None,
        content_type: None,
        properties: BTreeMap::new(),
        body: Some("hello".into()),
        body_base64: None,
        truncated: false,
    }
}

fn connection(id: &str) -> ConnectionInfo {
    ConnectionInfo {
        id: id.into(),
        session: id.replace('c', "s"),
        realm: "default".into(),
        principal: "alice".into(),
        name: format!("app-{id}"),
        protocol: "mbws".into(),
        client: None,
        peer: "127.0.0.1:1".into(),
        tls: false,
        since: 5,
        sp: None,
    }
}

fn session(id: &str) -> SessionInfo {
    SessionInfo {
        id: id.into(),
        realm: "default".into(),
        principal: "alice".into(),
        name: format!("app-{id}"),
        durable: true,
        connection: (id == "s1").then(|| "c1".to_owned()),
        expiry_ms: 1000,
        ends_at: (id != "s1").then_some(9),
        consumers: 1,
        unsettled: if id == "s1" { 2 } else { 0 },
        protocol: "mbws".into(),
        client: None,
        subscriptions: 0,
        first_subscriptions: Vec::new(),
        incomplete: 0,
        wamp: None,
    }
}

fn registration(id: u64, uri: &str) -> RegistrationInfo {
    RegistrationInfo {
        id,
        realm: "default".into(),
        uri: uri.into(),
        how: "exact".into(),
        invoke: "single".into(),
        created_at: 5,
        callees: 1,
        sessions: vec!["s1".into()],
        calls: 100 - id,
    }
}

fn subscription(id: u64, uri: &str) -> WampSubscriptionInfo {
    WampSubscriptionInfo {
        id,
        realm: "default".into(),
        uri: uri.into(),
        how: "prefix".into(),
        created_at: 5,
        subscribers: id,
        sessions: vec!["s1".into()],
    }
}

fn wamp_call(number: u64, procedure: &str) -> CallInfo {
    CallInfo {
        realm: "default".into(),
        number,
        procedure: procedure.into(),
        caller: Some("s1".into()),
        request: 1,
        callee: None,
        invocation: 1,
    }
}

/// Those of `all`, which are in their order, that are wanted.
fn numbered<T: Clone>(all: &[T], wanted: &NumberedWanted, number: impl Fn(&T) -> u64) -> Vec<T> {
    let is_here = wanted.realm.as_ref().is_none_or(|it| it == "default");
    let behind = wanted.after.as_ref().map_or(0, |(_, number)| *number);
    let here = all.iter().filter(|it| is_here && number(it) > behind);
    here.take(wanted.limit).cloned().collect()
}

fn consumer(name: &str, unsettled: u64) -> ConsumerInfo {
    ConsumerInfo {
        realm: "default".into(),
        queue: Some("orders/eu".into()),
        filter: None,
        name: name.into(),
        session: "s1".into(),
        connection: Some("c1".into()),
        principal: "alice".into(),
        credit: 10,
        unsettled,
        exclusive: false,
    }
}

impl Control for Fake {
    fn health(&self) -> Health {
        self.health.lock().unwrap().clone()
    }

    fn metrics(&self) -> BoxFuture<'_, String> {
        Box::pin(async { "# TYPE up gauge\nup 1\n".into() })
    }

    fn authenticate<'a>(
        &'a self,
        authorization: Option<&'a [u8]>,
        peer: &'a Peer,
    ) -> BoxFuture<'a, Result<Admin, AuthError>> {
        assert!(peer.ip().is_loopback());
        self.n_authenticated.fetch_add(1, Ordering::Relaxed);
        let admin = |name: &str, grants: &[Grant]| {
            Ok(Admin {
                name: name.into(),
                revision: self.generation.load(Ordering::Relaxed),
                roles: vec!["some".into()],
                grants: grants.into(),
                access: Arc::new(()),
            })
        };
        if authorization.is_none() {
            let certificate = peer.certificate.as_deref();
            let known = certificate == Some(b"of alice");
            let outcome = if known {
                admin("alice", &[Grant::Read])
            } else {
                Err(AuthError::Refused)
            };
            return Box::pin(async { outcome });
        }
        let outcome = match authorization.unwrap_or_default() {
            b"Basic reader" => admin("reader", &[Grant::Monitor, Grant::Read]),
            b"Basic admin" => admin("admin", &Grant::ALL),
            b"Basic other" => admin("other", &Grant::ALL),
            b"Bearer keeper" => admin("keeper", &[]),
            b"Bearer nobody" => admin("nobody", &[]),
            b"Bearer monitor" => admin("monitor", &[Grant::Monitor]),
            b"Bearer read" => admin("read", &[Grant::Read]),
            b"Bearer operate" => admin("operate", &[Grant::Operate]),
            b"Bearer configure" => admin("configure", &[Grant::Configure]),
            b"Bearer secure" => admin("secure", &[Grant::Secure]),
            b"Bearer panic" => panic!("as the test wants"),
            b"Basic many" => Err(AuthError::TooMany {
                retry_after: Duration::from_millis(41_001),
            }),
            b"Basic busy" => Err(AuthError::Busy),
            _ => Err(AuthError::Refused),
        };
        Box::pin(async { outcome })
    }

    fn tried(&self, authorization: &[u8]) -> Option<String> {
        let name = authorization.strip_prefix(b"Basic wrong as ")?;
        Some(String::from_utf8(name.to_vec()).unwrap())
    }

    fn audit(&self, entry: AuditEntry) {
        self.audited.lock().unwrap().push(entry);
    }

    fn audit_durably(&self, entry: AuditEntry) -> BoxFuture<'_, ()> {
        Box::pin(async { self.audit(entry) })
    }

    fn audited(&self, query: AuditQuery) -> Asked<'_, Vec<AuditEntry>> {
        let is =
            |wanted: &Option<String>, given: &str| wanted.as_ref().is_none_or(|it| it == given);
        self.ask(move |_| {
            let audited = self.audited.lock().unwrap();
            let numbered = (1..)
                .zip(audited.iter().cloned())
                .map(|(number, entry)| AuditEntry {
                    number,
                    time: number,
                    ..entry
                });
            let mut all: Vec<AuditEntry> = numbered
                .filter(|it| query.before.is_none_or(|before| it.number < before))
                .filter(|it| is(&query.principal, &it.principal) && is(&query.result, &it.result))
                .filter(|it| {
                    query
                        .target
                        .as_ref()
                        .is_none_or(|to| it.target.starts_with(to))
                })
                .filter(|it| query.since.is_none_or(|since| it.time >= since))
                .collect();
            all.reverse();
            all.truncate(query.limit);
            Ok(all)
        })
    }

    fn overview(&self) -> Asked<'_, Overview> {
        self.ask(|state| {
            Ok(Overview {
                version: "1.2.3".into(),
                node: "n".into(),
                started_at: 1,
                sync: "always".into(),
                realms: 1,
                queues: state.queues.len() as u64,
                connections: 2,
                sessions: 2,
                messages: 5,
                log_durable: 100,
                disk_full: false,
                definitions_checksum: "abc".into(),
            })
        })
    }

    fn documents(&self, kind: DocumentKind, realm: Option<String>) -> Asked<'_, Vec<Stored>> {
        self.ask(move |state| {
            let all = state.documents.iter().filter(|(id, _)| {
                id.kind == kind && realm.as_ref().is_none_or(|realm| id.realm == *realm)
            });
            Ok(all.map(|(id, it)| stored(id, it)).collect())
        })
    }

    fn document(&self, id: DocumentId) -> Asked<'_, Stored> {
        self.ask(move |state| match state.documents.get(&id) {
            Some(it) => Ok(stored(&id, it)),
            None => missing(id.kind.as_str()),
        })
    }

    fn put<'a>(
        &'a self,
        caller: &'a Caller,
        id: DocumentId,
        mut document: Document,
        password: Option<Secret>,
        how: How,
    ) -> Asked<'a, Changed<Stored>> {
        self.change(caller, how, move |state| {
            let before = state.documents.get(&id).cloned();
            check(how, before.as_ref().map(|it| it.1))?;
            if id.name == "panic" {
                panic!("as the test wants");
            }
            if let Document::User(user) = &mut document {
                match (&password, &before) {
                    (Some(_), _) => {
                        user.password_hash = Some(HASH.to_owned());
                        user.scram_verifier = Some(HASH.to_owned());
                        user.wampcra_key = Some(HASH.to_owned());
                        user.scram_argon2_verifier = Some(HASH.to_owned());
                    }
                    (None, Some((Document::User(old), _))) => user.take_password(old),
                    (None, _) => user.clear_password(),
                }
            }
            let it = (document, state.revision);
            state.documents.insert(id.clone(), it.clone());
            Ok(Changed {
                revision: None,
                created: before.is_none(),
                before: before.and_then(|it| note(&it.0)),
                after: note(&it.0),
                now: stored(&id, &it),
            })
        })
    }

    fn remove<'a>(
        &'a self,
        caller: &'a Caller,
        id: DocumentId,
        how: How,
    ) -> Asked<'a, Changed<()>> {
        self.change(caller, how, move |state| {
            let Some(before) = state.documents.remove(&id) else {
                return missing(id.kind.as_str());
            };
            check(how, Some(before.1))?;
            Ok(gone(note(&before.0)))
        })
    }

    fn issue_token<'a>(
        &'a self,
        caller: &'a Caller,
        token: Token,
        how: How,
    ) -> Asked<'a, Changed<(Stored, Secret)>> {
        self.change(caller, how, move |state| {
            if token.label.is_empty() {
                return Err(invalid("/label"));
            }
            state.issued += 1;
            let id = DocumentId {
                kind: DocumentKind::Token,
                realm: String::new(),
                name: format!("new{}", state.issued),
            };
            let token = Token {
                hash: HASH.to_owned(),
                ..token
            };
            let it = (Document::Token(token), state.revision);
            state.documents.insert(id.clone(), it.clone());
            let secret = Secret::new(format!("{SECRET}-{}", state.issued));
            Ok(Changed {
                revision: None,
                created: true,
                before: None,
                after: note(&it.0),
                now: (stored(&id, &it), secret),
            })
        })
    }

    fn rotate_token<'a>(
        &'a self,
        caller: &'a Caller,
        id: String,
        grace: Duration,
        how: How,
    ) -> Asked<'a, Changed<(Stored, Secret)>> {
        self.change(caller, how, move |state| {
            let id = DocumentId {
                kind: DocumentKind::Token,
                realm: String::new(),
                name: id,
            };
            let revision = state.revision;
            let Some((Document::Token(token), old)) = state.documents.get_mut(&id) else {
                return missing("token");
            };
            check(how, Some(*old))?;
            token.previous = Some(PreviousSecret {
                hash: HASH.to_owned(),
                until: grace.as_millis() as u64,
            });
            *old = revision;
            let it = state.documents[&id].clone();
            state.issued += 1;
            let secret = Secret::new(format!("{SECRET}-{}", state.issued));
            Ok(Changed {
                revision: None,
                created: false,
                before: note(&it.0),
                after: note(&it.0),
                now: (stored(&id, &it), secret),
            })
        })
    }

    fn queues(&self, wanted: QueuesWanted) -> Asked<'_, Vec<QueueInfo>> {
        Box::pin(async move {
            self.pass_gate().await;
            self.ask(|state| {
                let key = |it: &QueueInfo| (it.realm.clone(), it.name.clone());
                let all = state.queues.values().filter(|it| {
                    assert_ne!(it.name, "panic", "as the test wants");
                    wanted.realm.as_ref().is_none_or(|realm| it.realm == *realm)
                        && it.name.starts_with(&wanted.prefix)
                        && wanted.after.as_ref().is_none_or(|after| key(it) > *after)
                });
                Ok(all.take(wanted.limit).cloned().collect())
            })
            .await
        })
    }

    fn queue(&self, realm: String, name: String) -> Asked<'_, QueueInfo> {
        self.ask(move |state| match state.queues.get(&(realm, name)) {
            Some(queue) => Ok(queue.clone()),
            None => missing("queue"),
        })
    }

    fn put_queue<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        spec: QueueSpec,
        how: How,
    ) -> Asked<'a, Changed<QueueInfo>> {
        self.change(caller, how, move |state| {
            decide(caller, Verb::Manage)?;
            let key = (realm, name);
            let before = state.queues.get(&key).cloned();
            check(how, before.as_ref().map(|it| it.revision))?;
            let now = QueueInfo {
                spec,
                revision: state.revision,
                ..before.clone().unwrap_or_else(|| queue(&key.0, &key.1))
            };
            state.queues.insert(key, now.clone());
            Ok(Changed {
                revision: None,
                created: before.is_none(),
                before: before.map(|it| json!(it.spec)),
                after: Some(json!(now.spec)),
                now,
            })
        })
    }

    fn remove_queue<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        how: How,
    ) -> Asked<'a, Changed<()>> {
        self.change(caller, how, move |state| {
            decide(caller, Verb::Manage)?;
            let Some(before) = state.queues.remove(&(realm, name)) else {
                return missing("queue");
            };
            check(how, Some(before.revision))?;
            Ok(gone(Some(json!(before.spec))))
        })
    }

    fn pause<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        paused: Option<String>,
        how: How,
    ) -> Asked<'a, Changed<QueueInfo>> {
        self.change(caller, how, move |state| {
            decide(caller, Verb::Manage)?;
            let revision = state.revision;
            let Some(queue) = state.queues.get_mut(&(realm, name)) else {
                return missing("queue");
            };
            check(how, Some(queue.revision))?;
            let before = json!(queue.paused);
            queue.revision = revision;
            queue.paused = paused.map(|reason| Paused {
                by: caller.admin.name.clone(),
                since: 1,
                reason,
            });
            Ok(Changed {
                revision: None,
                created: false,
                before: Some(before),
                after: Some(json!(queue.paused)),
                now: queue.clone(),
            })
        })
    }

    fn browse<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        selection: Selection,
        limit: usize,
        body_bytes_max: usize,
    ) -> Asked<'a, Browsed> {
        self.ask(move |state| {
            decide(caller, Verb::Browse)?;
            if !state.queues.contains_key(&(realm, name)) {
                return missing("queue");
            }
            let mut messages: Vec<MessageInfo> = selected(state, &selection);
            let next = messages.get(limit).map(|it| it.offset);
            messages.truncate(limit);
            for message in &mut messages {
                let body = message.body.take().unwrap_or_default();
                message.truncated = body.len() > body_bytes_max;
                message.body = Some(body.chars().take(body_bytes_max).collect());
            }
            Ok(Browsed { messages, next })
        })
    }

    fn dispose<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        selection: Selection,
        limit: Option<u64>,
        fate: Fate,
        how: How,
    ) -> Asked<'a, Changed<Outcome>> {
        self.change(caller, how, move |state| {
            decide(caller, Verb::Manage)?;
            if !state.queues.contains_key(&(realm, name)) {
                return missing("queue");
            }
            if let Fate::Move { address } = &fate
                && address.is_empty()
            {
                return Err(invalid("/to"));
            }
            let mut outcome = Outcome::default();
            for message in selected(state, &selection) {
                if limit.is_some_and(|limit| outcome.matched >= limit) {
                    outcome.next = Some(message.offset);
                    break;
                }
                outcome.matched += 1;
                if message.state == MessageState::Unsettled {
                    outcome.left += 1;
                } else {
                    outcome.done += 1;
                    state.messages.remove(&message.offset);
                }
            }
            if how.dry_run {
                outcome.done = 0;
            }
            Ok(Changed {
                revision: None,
                created: false,
                before: None,
                after: Some(json!(outcome)),
                now: outcome,
            })
        })
    }

    fn why(&self, realm: String, name: String) -> Asked<'_, Why> {
        self.ask(move |state| {
            if !state.queues.contains_key(&(realm.clone(), name.clone())) {
                return missing("queue");
            }
            Ok(Why {
                realm,
                queue: name,
                blocked: true,
                code: "no-consumer".into(),
                text: "nobody takes from it".into(),
            })
        })
    }

    fn bindings(&self, realm: Option<String>, queue: Option<String>) -> Asked<'_, Vec<Binding>> {
        self.ask(move |state| {
            let all = state.queues.values().filter(|it| {
                realm.as_ref().is_none_or(|realm| it.realm == *realm)
                    && queue.as_ref().is_none_or(|queue| it.name == *queue)
            });
            let bindings = all.flat_map(|it| {
                let filters = it.spec.bindings.clone().unwrap_or_default();
                filters.into_iter().map(|filter| Binding {
                    realm: it.realm.clone(),
                    filter,
                    queue: it.name.clone(),
                })
            });
            Ok(bindings.collect())
        })
    }

    fn bind<'a>(
        &'a self,
        caller: &'a Caller,
        binding: Binding,
        bound: bool,
        how: How,
    ) -> Asked<'a, Changed<QueueInfo>> {
        self.change(caller, how, move |state| {
            decide(caller, Verb::Manage)?;
            let revision = state.revision;
            let Some(queue) = state.queues.get_mut(&(binding.realm, binding.queue)) else {
                return missing("queue");
            };
            check(how, Some(queue.revision))?;
            let before = json!(queue.spec.bindings);
            let filters = queue.spec.bindings.get_or_insert_default();
            let was = filters.contains(&binding.filter);
            if !was && !bound {
                return missing("binding");
            }
            filters.retain(|filter| *filter != binding.filter);
            if bound {
                filters.push(binding.filter);
            }
            queue.revision = revision;
            Ok(Changed {
                revision: None,
                created: !was,
                before: Some(before),
                after: Some(json!(queue.spec.bindings)),
                now: queue.clone(),
            })
        })
    }

    fn addresses(&self, realm: String) -> Asked<'_, Vec<AddressInfo>> {
        self.ask(move |_| {
            let one = |address: &str| AddressInfo {
                realm: realm.clone(),
                address: address.into(),
                queues: vec!["orders/eu".into()],
                routes: Vec::new(),
                listeners: 0,
            };
            Ok(vec![one("a"), one("orders/#"), one("orders/eu")])
        })
    }

    fn consumers(&self, _: Option<String>, _: Option<String>) -> Asked<'_, Vec<ConsumerInfo>> {
        self.ask(|_| Ok(vec![consumer("a", 3), consumer("b", 9), consumer("c", 1)]))
    }

    fn sessions(&self, after: Option<String>, limit: usize) -> Asked<'_, Vec<SessionInfo>> {
        self.ask(move |state| {
            let all = state.sessions.iter();
            let behind = all.filter(|it| after.as_ref().is_none_or(|after| it.id > *after));
            Ok(behind.take(limit).cloned().collect())
        })
    }

    fn session(&self, id: String) -> Asked<'_, SessionInfo> {
        self.ask(move |state| {
            let found = state.sessions.iter().find(|it| it.id == id);
            found
                .cloned()
                .ok_or_else(|| ControlError::NotFound("session".into()))
        })
    }

    fn connections(&self) -> Asked<'_, Vec<ConnectionInfo>> {
        self.ask(|state| Ok(state.connections.clone()))
    }

    fn kick<'a>(
        &'a self,
        caller: &'a Caller,
        connection: String,
        how: How,
    ) -> Asked<'a, Changed<()>> {
        self.change(caller, how, move |state| {
            let n = state.connections.len();
            state.connections.retain(|it| it.id != connection);
            if state.connections.len() == n {
                return missing("connection");
            }
            Ok(gone(Some(json!(connection))))
        })
    }

    fn release<'a>(
        &'a self,
        caller: &'a Caller,
        session: String,
        end: bool,
        how: How,
    ) -> Asked<'a, Changed<()>> {
        self.change(caller, how, move |state| {
            let Some(at) = state.sessions.iter().position(|it| it.id == session) else {
                return missing("session");
            };
            if end {
                state.sessions.remove(at);
            } else {
                state.sessions[at].unsettled = 0;
            }
            Ok(gone(Some(json!(session))))
        })
    }

    fn registrations(&self, wanted: NumberedWanted) -> Asked<'_, Vec<RegistrationInfo>> {
        self.ask(move |state| Ok(numbered(&state.registrations, &wanted, |it| it.id)))
    }

    fn registration(&self, _: String, id: u64) -> Asked<'_, RegistrationInfo> {
        self.ask(move |state| {
            let found = state.registrations.iter().find(|it| it.id == id);
            found
                .cloned()
                .ok_or_else(|| ControlError::NotFound("registration".into()))
        })
    }

    fn subscriptions(&self, wanted: NumberedWanted) -> Asked<'_, Vec<WampSubscriptionInfo>> {
        self.ask(move |state| Ok(numbered(&state.subscriptions, &wanted, |it| it.id)))
    }

    fn subscription(&self, _: String, id: u64) -> Asked<'_, WampSubscriptionInfo> {
        self.ask(move |state| {
            let found = state.subscriptions.iter().find(|it| it.id == id);
            found
                .cloned()
                .ok_or_else(|| ControlError::NotFound("subscription".into()))
        })
    }

    fn revoke<'a>(
        &'a self,
        caller: &'a Caller,
        what: Shared,
        _: String,
        id: u64,
        how: How,
    ) -> Asked<'a, Changed<()>> {
        self.change(caller, how, move |state| {
            let n = state.registrations.len() + state.subscriptions.len();
            match what {
                Shared::Registration => state.registrations.retain(|it| it.id != id),
                Shared::Subscription => state.subscriptions.retain(|it| it.id != id),
            }
            if state.registrations.len() + state.subscriptions.len() == n {
                return missing("registration");
            }
            Ok(gone(Some(json!(id))))
        })
    }

    fn calls(&self, wanted: NumberedWanted) -> Asked<'_, Vec<CallInfo>> {
        let all = [wamp_call(9, "b"), wamp_call(10, "a")];
        self.ask(move |_| Ok(numbered(&all, &wanted, |it| it.number)))
    }

    fn publish<'a>(
        &'a self,
        caller: &'a Caller,
        _: String,
        message: PublishRequest,
        how: How,
    ) -> Asked<'a, Published> {
        self.change(caller, how, move |state| {
            decide(caller, Verb::Send)?;
            if message.address.is_empty() {
                return Err(invalid("/address"));
            }
            state.published += 1;
            Ok(Published {
                outcome: if how.dry_run { "checked" } else { "stored" }.into(),
                message_id: Some(format!("p{}", state.published)),
            })
        })
    }

    fn explain<'a>(
        &'a self,
        caller: &'a Caller,
        request: ExplainRequest,
    ) -> Asked<'a, Explanation> {
        self.ask(move |_| {
            Ok(Explanation {
                principal: request.principal.unwrap_or(caller.admin.name.clone()),
                roles: Vec::new(),
                allowed: true,
                rule: Some("shop".into()),
                text: "they may".into(),
                outcome: "stored".into(),
                routes: Vec::new(),
                landings: Vec::new(),
                duplicate: "no".into(),
            })
        })
    }

    /// With all hashes, asked for or not: the API must not count on us.
    fn definitions(&self, _: bool) -> Asked<'_, Exported> {
        self.ask(|state| {
            let mut definitions = Definitions {
                version: 1,
                ..Definitions::default()
            };
            for (id, (document, _)) in &state.documents {
                match document {
                    Document::User(user) => {
                        definitions.users.insert(id.name.clone(), user.clone());
                    }
                    Document::Token(token) => {
                        definitions.tokens.insert(id.name.clone(), token.clone());
                    }
                    _ => {}
                }
            }
            Ok(Exported {
                definitions,
                checksum: "abc".into(),
                revision: state.revision,
            })
        })
    }

    fn apply<'a>(
        &'a self,
        caller: &'a Caller,
        definitions: Definitions,
        prune: bool,
        how: How,
    ) -> Asked<'a, Changed<Plan>> {
        self.change(caller, how, move |state| {
            check(how, Some(state.revision - 1))?;
            if definitions.version != 1 {
                return Err(invalid("/version"));
            }
            let plan = Plan {
                steps: vec![Step {
                    act: if prune {
                        StepAct::Remove
                    } else {
                        StepAct::Create
                    },
                    kind: "queue".into(),
                    realm: Some("default".into()),
                    name: "orders".into(),
                    fields: Vec::new(),
                }],
                checksum: "def".into(),
            };
            Ok(Changed {
                revision: None,
                created: false,
                before: None,
                after: Some(json!({ "checksum": "def" })),
                now: plan,
            })
        })
    }

    fn log_level(&self) -> String {
        self.state().level.clone()
    }

    fn set_log_level<'a>(
        &'a self,
        caller: &'a Caller,
        level: String,
        how: How,
    ) -> Asked<'a, Changed<String>> {
        self.change(caller, how, move |state| {
            if level == "loud" {
                return Err(invalid("/level"));
            }
            let before = std::mem::replace(&mut state.level, level.clone());
            Ok(Changed {
                revision: None,
                created: false,
                before: Some(json!(before)),
                after: Some(json!(level)),
                now: level,
            })
        })
    }

    fn config(&self) -> Vec<ConfigEntry> {
        vec![ConfigEntry {
            key: "admin.listen".into(),
            value: "127.0.0.1:0".into(),
            from: "default".into(),
        }]
    }
}

fn stored(id: &DocumentId, (document, revision): &(Document, u64)) -> Stored {
    Stored {
        id: id.clone(),
        document: document.clone(),
        revision: *revision,
    }
}

fn gone(before: Option<Value>) -> Changed<()> {
    Changed {
        revision: None,
        now: (),
        created: false,
        before,
        after: None,
    }
}

fn selected(state: &State, selection: &Selection) -> Vec<MessageInfo> {
    let is = |wanted: &Option<String>, given: &str| wanted.as_ref().is_none_or(|it| it == given);
    let offsets = selection.offsets.as_ref();
    let all = state.messages.values().filter(|it| {
        selection.from.is_none_or(|from| it.offset >= from)
            && selection.upto.is_none_or(|upto| it.offset <= upto)
            && offsets.is_none_or(|offsets| offsets.contains(&it.offset))
            && is(&selection.message_id, &it.message_id)
            && selection
                .properties
                .iter()
                .all(|(name, value)| it.properties.get(name) == Some(value))
    });
    all.cloned().collect()
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: watch::Sender<bool>,
    pub(crate) task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(fake: &Arc<Fake>, options: Options) -> Server {
        log::begin();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, ended) = watch::channel(false);
        let control = Arc::clone(fake) as Arc<dyn Control>;
        let task = tokio::spawn(serve(vec![listener], control, options, ended));
        Server {
            address,
            shutdown,
            task,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    pub(crate) async fn ended(self) {
        within("the end of the server", self.task).await.unwrap();
    }
}

/// One request to a server of its own.
pub(crate) async fn ask(fake: &Arc<Fake>, request: &str) -> Answer {
    let server = Server::start(fake, Options::default()).await;
    server.client().await.ask(request).await
}
