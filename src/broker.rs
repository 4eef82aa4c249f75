//! The one interface that sessions, links and control use.
//!
//! ```text
//! session ─▶ Attachment ─▶ log ─▶ core (engine) ─▶ outbox ─▶ Attachment ─▶ session
//!                            keeper ─▶ log        checkpointer ─▶ state store
//! ```
//!
//! What runs (all started in `start.rs`): the log's writer and spare-maker (storage), the *core*, which owns the engine;
//! the *keeper*, which writes what the engine wants written; the *checkpointer*. Sessions are tasks of the runtime and
//! only ever send to these; nothing here waits for a session.
//!
//! Always:
//! - nothing is confirmed or delivered before the log has it as durable as configured (`core.rs`: only commits that the
//!   log has finished are applied, and only what is applied is confirmed);
//! - one session's calls are applied in their order, each once (`attachment.rs`).
//!
//! Not here: frames (session), what a record means (engine), bytes on disk (storage).

mod admin;
mod attachment;
mod call;
mod card;
mod checkpointer;
mod core;
#[cfg(test)]
mod crash_tests;
mod explain;
mod fetch;
mod history;
mod keeper;
mod making;
mod mqtt;
mod news;
mod outbox;
mod placing;
mod publish;
mod registrar;
mod rights;
mod rows;
mod settings;
mod sp;
mod start;
mod stats;
mod telling;
#[cfg(test)]
mod tests;
mod wamp;
mod wills;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;
use parking_lot::Mutex;
use restante_storage::payload::{self, DefineSession, EndSession, Will};
use restante_storage::{
    Draft, DraftBatch, Kind, Log, LogError, LogReader, Lsn, Marks, Refused, UnixMillis,
};
use rights::{ending, own_queue};
use rustc_hash::FxHashMap;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::access::{Access, Current, Principal};
use crate::audit::Denials;
use crate::engine::address::AddressLimits;
use crate::engine::routing::Router;
use crate::engine::{QueueHandle, RealmRoutes};
use crate::registry::{DocumentKind, Registry, Verb};
use crate::routes::{self, RouteTables};
pub use admin::{AdminError, Disposed, QueueChange};
pub use attachment::Attachment;
pub use call::{
    Attach, AttachError, Attached, Call, Consume, Delivery, End, Event, LISTENER, Landed,
    MqttState, NewWill, OWN_CONSUMER, Protocol, SessionWish, Settle, Source, SpClient, Subscribe,
    WampClient, shared_consumer,
};
use card::Card;
use core::{Ask, AttachOnApply, AttachedSession, Batch, Found};
pub use explain::Explained;
pub use mqtt::client_session;
pub use news::is_told;
use outbox::{Outbox, Subscriber};
pub use publish::decided_by_space;
pub use registrar::{Change, ChangeError};
pub use settings::{DEFAULT_REALM, MqttSettings, Settings, access_settings, is_named_by_clients};
pub use start::{StartError, Started};
use stats::Stats;
pub use wamp::{Authorized, REPLIES, WampAsk, WampCall, WampTold};

/// The broker: a cheap handle to the log, the engine and everybody attached.
#[derive(Clone)]
pub struct Broker {
    shared: Arc<Shared>,
    node: Uuid,
}

/// Who takes what, as of some moment: read without locks, replaced whole.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    queues: BTreeMap<Arc<str>, RealmRoutes>,
    topics: BTreeMap<Arc<str>, Router<Arc<Subscriber>>>,
}

impl Routes {
    /// The durable queue of that name.
    fn durable_queue(&self, realm: &str, name: &str) -> Option<&Arc<QueueHandle>> {
        let queue = self.queues.get(realm)?.names.get(name)?;
        (!queue.is_transient()).then_some(queue)
    }
}

/// What all parts of the broker share.
pub(crate) struct Shared {
    settings: Settings,
    access: Current,
    /// What administrators have set.
    registry: ArcSwap<Registry>,
    /// What administrators' routes make of messages: follows from the registry.
    route_tables: ArcSwap<RouteTables>,
    routes: ArcSwap<Routes>,
    asks: Sender<Ask>,
    /// Set once the log runs, before anybody can be attached.
    log: OnceLock<Log<Batch>>,
    stats: Stats,
    disk_full: AtomicBool,
    draining: AtomicBool,
    failed: watch::Sender<Option<Arc<LogError>>>,
    /// Where denied attempts are told; from soon after the start on.
    denials: OnceLock<Denials>,
    /// Queues on their way into the log.
    making: Arc<making::Making>,
    /// Everybody attached, by the address of their outbox.
    attached: Mutex<Guests>,
    /// Of them, those that speak MQTT, by session.
    clients: Mutex<FxHashMap<Uuid, Arc<Outbox>>>,
    n_attached: AtomicUsize,
    /// Sessions that outlive their sockets, as of the last round of the core.
    n_sessions: AtomicUsize,
    /// Of them, those whose client is away, likewise.
    n_away: AtomicUsize,
    /// Messages that are kept at their addresses, likewise.
    n_retained: AtomicUsize,
    /// What is told of the broker itself.
    news: ArcSwap<Vec<news::News>>,
    keeper_bell: Sender<()>,
    /// Held while what the engine wants written is fetched and handed to the log.
    errands: Mutex<()>,
    /// Who calls whom, by realm.
    routers: wamp::Routers,
    /// To the steward, who changes queues and documents.
    changes: tokio::sync::mpsc::Sender<admin::Order>,
}

/// Who is attached.
#[derive(Default)]
struct Guests {
    all: FxHashMap<usize, Guest>,
    /// How many with which principal.
    by_principal: FxHashMap<Arc<str>, usize>,
    /// How many in which realm.
    by_realm: FxHashMap<Arc<str>, usize>,
}

/// A client that is attached.
struct Guest {
    outbox: Arc<Outbox>,
    principal: Arc<str>,
}

impl Shared {
    fn log(&self) -> &Log<Batch> {
        self.log.get().expect("the log is set before the first use")
    }

    fn reader(&self) -> LogReader {
        self.log().reader()
    }

    /// Asks the core. It takes what it is asked without waiting for anybody, so this waits for it at most for moments;
    /// once the core has stopped, asking has no effect.
    fn ask(&self, ask: Ask) {
        self.asks.send(ask).ok();
    }

    fn set_applied(&self, end: Lsn) {
        if let Some(log) = self.log.get()
            && end > log.marks().applied
        {
            log.set_applied(end);
        }
    }

    fn wake_keeper(&self) {
        self.keeper_bell.try_send(()).ok();
    }

    fn is_disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed) || self.log().disk_low()
    }

    /// What administrators have set has changed, and is durable: from here on it is in force.
    ///
    /// `touched`: which documents have. Others are not compiled again.
    ///
    /// Gives what tells of the end of sessions that the disk has not taken yet.
    #[must_use = "what is late is to be waited for"]
    fn set_registry(
        &self,
        registry: Registry,
        touched: &[DocumentKind],
    ) -> Option<oneshot::Receiver<Lsn>> {
        let routes_changed = touched.contains(&DocumentKind::Route);
        if routes_changed {
            let tables = routes::tables(&registry, self.settings.address);
            self.route_tables.store(Arc::new(tables));
        }
        let rights_changed = touched.iter().any(|kind| *kind != DocumentKind::Route);
        if rights_changed {
            let access = Access::new(&registry, &self.settings.access);
            self.access.store(access);
        }
        self.registry.store(Arc::new(registry));
        if rights_changed {
            self.rights_changed()
        } else {
            None
        }
    }

    fn allows(
        &self,
        who: &Principal,
        client: Option<&str>,
        verb: Verb,
        realm: &str,
        address: &str,
    ) -> bool {
        self.access.load().allows(who, client, verb, realm, address)
    }

    fn realm(&self, name: &str) -> Option<crate::registry::Realm> {
        let registry = self.registry.load();
        match &registry.get(DocumentKind::Realm, "", name)?.document {
            crate::registry::Document::Realm(realm) => Some(realm.clone()),
            _ => None,
        }
    }

    /// Queues that a realm may have: none where there is no such realm any more.
    fn queues_max(&self, realm: &str) -> usize {
        let most = self.settings.queues_per_realm;
        match self.realm(realm) {
            Some(realm) => realm
                .max_queues
                .map_or(most, |own| most.min(usize::try_from(own).unwrap_or(most))),
            None if realm == DEFAULT_REALM => most,
            None => 0,
        }
    }

    /// The log is beyond repair: nobody hears another confirm.
    fn log_failed(&self, error: Arc<LogError>) {
        // In this order: whoever waits for the error tells everybody that the broker shuts down, and the first reason counts.
        self.end_all(End::LogFailed);
        self.failed.send_replace(Some(error));
    }

    fn end_all(&self, why: End) {
        for outbox in self.everybody() {
            outbox.end(why);
        }
    }

    fn everybody(&self) -> Vec<Arc<Outbox>> {
        let attached = self.attached.lock();
        let guests = attached.all.values();
        guests.map(|guest| Arc::clone(&guest.outbox)).collect()
    }

    fn enter(&self, principal: &Principal, outbox: &Arc<Outbox>) -> Result<(), AttachError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(AttachError::ShuttingDown);
        }
        let realm = Arc::clone(&outbox.card.realm);
        let realm_max = self.realm(&realm).and_then(|it| it.max_connections);
        let mut attached = self.attached.lock();
        let of_realm = attached.by_realm.get(&realm).copied().unwrap_or(0);
        if realm_max.is_some_and(|most| of_realm as u64 >= most) {
            return Err(AttachError::TooMany);
        }
        let of_principal = attached.by_principal.get(&principal.name).copied();
        if attached.all.len() >= self.settings.connections_max
            || of_principal.unwrap_or(0) >= self.settings.connections_per_principal
        {
            return Err(AttachError::TooMany);
        }
        let name = Arc::clone(&principal.name);
        *attached.by_principal.entry(name).or_default() += 1;
        *attached.by_realm.entry(realm).or_default() += 1;
        attached.all.insert(
            Arc::as_ptr(outbox).addr(),
            Guest {
                outbox: Arc::clone(outbox),
                principal: Arc::clone(&principal.name),
            },
        );
        self.n_attached.store(attached.all.len(), Ordering::Relaxed);
        Ok(())
    }

    fn left(&self, outbox: &Arc<Outbox>) {
        let mut attached = self.attached.lock();
        if let Some(guest) = attached.all.remove(&Arc::as_ptr(outbox).addr()) {
            one_less(&mut attached.by_principal, &guest.principal);
            one_less(&mut attached.by_realm, &outbox.card.realm);
        }
        self.n_attached.store(attached.all.len(), Ordering::Relaxed);
        drop(attached);
        if outbox.card.client.is_some() {
            let mut clients = self.clients.lock();
            let present = clients.get(&outbox.card.session);
            if present.is_some_and(|present| Arc::ptr_eq(present, outbox)) {
                clients.remove(&outbox.card.session);
            }
        }
    }

    /// An MQTT client takes the place of whoever is there with its id; not of one that came after it, and was known sooner.
    fn take_place(&self, outbox: &Arc<Outbox>) -> Result<(), AttachError> {
        let other = {
            let mut clients = self.clients.lock();
            let present = clients.get(&outbox.card.session);
            if present.is_some_and(|present| present.card.principal != outbox.card.principal) {
                return Err(AttachError::NotYours);
            }
            if present.is_some_and(|present| present.card.asked > outbox.card.asked) {
                return Err(AttachError::TakenOver);
            }
            clients.insert(outbox.card.session, Arc::clone(outbox))
        };
        if let Some(other) = other {
            other.take_over();
        }
        Ok(())
    }
}

fn one_less(counts: &mut FxHashMap<Arc<str>, usize>, name: &Arc<str>) {
    if let Some(n) = counts.get_mut(name) {
        *n -= 1;
        if *n == 0 {
            counts.remove(name);
        }
    }
}

impl Broker {
    /// Whether there is a realm of that name. `default` always is.
    pub fn has_realm(&self, name: &str) -> bool {
        self.shared.has_realm(name)
    }

    /// What addresses may be.
    pub fn address_limits(&self) -> AddressLimits {
        self.shared.settings.address
    }

    /// Starts or resumes a session for a client. Waits, where the session is to outlive its socket, for the log: it is
    /// durable on return.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub async fn attach(&self, wish: Attach) -> Result<(Attachment, Attached), AttachError> {
        let client = wish.client.as_deref();
        let id = match client.filter(|_| wish.protocol == Protocol::Mqtt) {
            Some(client) => Some(client_session(&wish.realm, client)),
            None => wish.session.id,
        };
        let is_mqtt = wish.protocol == Protocol::Mqtt;
        let uuid = id.unwrap_or_else(Uuid::now_v7);
        let outbox = Arc::new(Outbox::new(Card::new(&wish, uuid)));
        self.shared.enter(&wish.principal, &outbox)?;
        // From here on, dropping it leaves again.
        let mut attachment =
            Attachment::new(Arc::clone(&self.shared), Arc::clone(&outbox), &wish, uuid);
        let mut found = match id {
            Some(uuid) => self.find(uuid).await?,
            None => None,
        };
        if let Some(found) = &found {
            is_theirs(&found.whole, &wish)?;
        }
        // Whoever is refused takes nobody's place.
        let will = match &wish.will {
            Some(will) if is_mqtt => Some(attachment.will(will)?),
            _ => None,
        };
        if is_mqtt {
            self.shared.take_place(&outbox)?;
        }
        let expiry = wish
            .session
            .expiry
            .min(self.shared.settings.session_expiry_max);
        found = self.mourn(&wish, &outbox, uuid, found).await?;
        let leaves_nothing = expiry.is_zero() && will.is_none();
        while leaves_nothing && let Some(old) = found.take_if(|old| ends(&wish, old)) {
            self.end_found(&old, &outbox).await?;
            let next = self.find(uuid).await?;
            found = self.mourn(&wish, &outbox, uuid, next).await?;
        }
        if found.is_none() && leaves_nothing {
            if wish.session.id.is_some() && !is_mqtt {
                return Err(AttachError::NoSession);
            }
            let attached = attachment.begin_plain();
            attachment.join(&wish)?;
            return Ok((attachment, attached));
        }
        attachment.attaching = true;
        let (session, resumed) = self
            .durable_session(&wish, uuid, (expiry, will), &outbox, found)
            .await?;
        let attached = attachment.resume(session, resumed);
        // What changed between the log-in and now counts, for what is resumed as well.
        attachment.look_again();
        Ok((attachment, attached))
    }

    /// Takes over the session if it is there, else makes it; tries again where somebody else was quicker.
    async fn durable_session(
        &self,
        wish: &Attach,
        uuid: Uuid,
        (expiry, will): (Duration, Option<Will>),
        outbox: &Arc<Outbox>,
        mut found: Option<Found>,
    ) -> Result<(AttachedSession, bool), AttachError> {
        for _ in 0..TAKEOVERS_MAX {
            // Somebody else has its place already, and must not lose it again.
            if outbox.is_closed() {
                return Err(AttachError::TakenOver);
            }
            let ended = found.take_if(|old| ends(wish, old));
            if let Some(old) = &ended {
                is_theirs(&old.whole, wish)?;
                old.outbox.iter().for_each(|other| other.take_over());
            }
            let resumed = found.is_some();
            // One that takes the place of another makes them no more.
            if found.is_none() && ended.is_none() && self.has_all_sessions() {
                return Err(AttachError::TooMany);
            }
            let mut def = self.definition(wish, uuid, expiry, found)?;
            def.will.clone_from(&will);
            let fresh = wish.session.fresh;
            if let Some(session) = self.define(ended, def, uuid, fresh, outbox).await? {
                return Ok((session, resumed));
            }
            let next = self.find(uuid).await?;
            found = self.mourn(wish, outbox, uuid, next).await?;
        }
        Err(AttachError::TooMany)
    }

    /// Whether there are as many sessions that outlive their sockets as may be.
    fn has_all_sessions(&self) -> bool {
        self.n_sessions() >= self.shared.settings.sessions_max
    }

    /// The record that makes the session, or goes on with the one found, whose present client is let go.
    fn definition(
        &self,
        wish: &Attach,
        uuid: Uuid,
        expiry: Duration,
        found: Option<Found>,
    ) -> Result<DefineSession, AttachError> {
        let expiry_ms = u64::try_from(expiry.as_millis()).unwrap_or(u64::MAX);
        let Some(found) = found else {
            return Ok(DefineSession {
                uuid: bytes::Bytes::copy_from_slice(uuid.as_bytes()),
                realm: wish.realm.to_string(),
                principal: wish.principal.name.to_string(),
                name: wish.name.clone(),
                expiry_ms,
                protocol: u32::from(wish.protocol == Protocol::Mqtt) * payload::MQTT,
                client: wish.client.as_deref().unwrap_or_default().to_owned(),
                ..DefineSession::default()
            });
        };
        let mut def = found.whole;
        is_theirs(&def, wish)?;
        if let Some(other) = found.outbox {
            other.take_over();
        }
        def.expiry_ms = expiry_ms;
        def.name = wish.name.clone().or(def.name);
        if def.protocol == payload::MQTT {
            // The record changes nothing else, and there may be much of it.
            def.subscriptions.clear();
            def.consumers.clear();
            def.received.clear();
            def.releasing.clear();
        }
        Ok(def)
    }

    /// Writes the session down, behind the end of the one whose place it takes.
    async fn define(
        &self,
        ends: Option<Found>,
        def: DefineSession,
        uuid: Uuid,
        fresh: bool,
        outbox: &Arc<Outbox>,
    ) -> Result<Option<AttachedSession>, AttachError> {
        let (reply, defined) = oneshot::channel();
        let companion = Batch {
            from: Some(Arc::clone(outbox)),
            tags: vec![0; 1 + usize::from(ends.is_some())],
            attach: Some(Box::new(AttachOnApply {
                uuid,
                fresh,
                will: def.will.clone(),
                reply,
            })),
            ..Batch::default()
        };
        let mut batch = DraftBatch::new(self.shared.log().limits(), companion);
        let ended = ends.as_ref().map_or(Ok(0), |old| push_end(&mut batch, old));
        let pushed = ended.and_then(|_| batch.push(&Draft::new(Kind::DefineSession, now(), &def)));
        if pushed.is_err() {
            return Err(AttachError::ShuttingDown);
        }
        self.submit(batch, outbox).await?;
        defined.await.map_err(|_| AttachError::ShuttingDown)
    }

    /// Ends a session that is in the way of one that begins with nothing.
    async fn end_found(&self, old: &Found, outbox: &Outbox) -> Result<(), AttachError> {
        old.outbox.iter().for_each(|other| other.take_over());
        let (told, applied) = oneshot::channel();
        let companion = Batch {
            told: Some(told),
            ..Batch::default()
        };
        let mut batch = DraftBatch::new(self.shared.log().limits(), companion);
        if push_end(&mut batch, old).is_err() {
            return Err(AttachError::ShuttingDown);
        }
        self.submit(batch, outbox).await?;
        applied.await.map_err(|_| AttachError::ShuttingDown)?;
        Ok(())
    }

    /// Hands the log what that client has to say of its session, unless somebody has taken its place meanwhile: whatever these say
    /// is to come behind it.
    async fn submit(
        &self,
        mut batch: DraftBatch<Batch>,
        outbox: &Outbox,
    ) -> Result<(), AttachError> {
        // Waits here and not in `submit`, which would block all clients of this thread.
        let permit = self.shared.log().reserve(batch.len_bytes()).await;
        batch.hold(permit.map_err(|_| AttachError::ShuttingDown)?);
        let _in_order_with_a_takeover = outbox.gate.lock();
        if outbox.is_closed() {
            return Err(AttachError::TakenOver);
        }
        if self.shared.log().submit(batch).is_err() {
            return Err(AttachError::ShuttingDown);
        }
        Ok(())
    }

    async fn find(&self, uuid: Uuid) -> Result<Option<Found>, AttachError> {
        let (reply, found) = oneshot::channel();
        self.shared.ask(Ask::Find { uuid, reply });
        found.await.map_err(|_| AttachError::ShuttingDown)
    }

    /// Who may do what, as of now and from now on.
    pub fn access(&self) -> &Current {
        &self.shared.access
    }

    /// Whether the core takes asks and answers them: false once the broker has stopped, and waits while it is stuck.
    pub(crate) async fn answers(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.shared.ask(Ask::Answer(reply));
        answer.await.is_ok()
    }

    /// Has denied attempts told from now on. Only the first call counts.
    pub fn tell_denials(&self, denials: Denials) {
        self.shared.denials.set(denials).ok();
    }

    /// Sessions that outlive their connections.
    pub fn n_sessions(&self) -> usize {
        self.shared.n_sessions.load(Ordering::Relaxed)
    }

    /// Messages that are kept at their addresses.
    pub fn n_retained(&self) -> usize {
        self.shared.n_retained.load(Ordering::Relaxed)
    }

    /// How many clients are attached.
    pub fn n_attached(&self) -> usize {
        self.shared.n_attached.load(Ordering::Relaxed)
    }

    /// The id of the data folder, for ever.
    pub fn node(&self) -> Uuid {
        self.node
    }

    /// How far the log has got.
    pub fn marks(&self) -> Marks {
        self.shared.log().marks()
    }

    /// The log's segments, and their bytes on disk.
    pub fn log_size(&self) -> (usize, u64) {
        let segments = self.shared.log().segments();
        let bytes = segments.iter().map(|it| it.next.get() - it.first.get());
        (segments.len(), bytes.sum())
    }

    /// Whether publishes are refused because the disk is nearly full.
    pub fn is_disk_full(&self) -> bool {
        self.shared.is_disk_full()
    }

    /// Whether the broker is shutting down.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Acquire)
    }

    /// The error that ended the log for good, once there is one: the process must end with it.
    pub fn failed(&self) -> watch::Receiver<Option<Arc<LogError>>> {
        self.shared.failed.subscribe()
    }

    /// Lets nobody in any more and tells everybody attached that the broker shuts down.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
        self.shared.end_all(End::ShuttingDown);
    }
}

/// Whether a session ends when its client connects anew, so that it begins with nothing: on its wish, or because the session was to
/// end with the connection before.
fn ends(wish: &Attach, found: &Found) -> bool {
    let ended = wish.protocol == Protocol::Mqtt && found.whole.expiry_ms == 0;
    wish.session.fresh || ended
}

/// Whether a session is the client's that asks for it. A door cannot go on with another one's.
fn is_theirs(session: &DefineSession, wish: &Attach) -> Result<(), AttachError> {
    let speaks_it = (session.protocol == payload::MQTT) == (wish.protocol == Protocol::Mqtt);
    let theirs = session.principal == *wish.principal.name && session.realm == *wish.realm;
    if theirs && speaks_it {
        Ok(())
    } else {
        Err(AttachError::NotYours)
    }
}

fn push_end(batch: &mut DraftBatch<Batch>, old: &Found) -> Result<usize, Refused> {
    let end = EndSession {
        session: old.whole.number,
        queue: old.whole.queue,
    };
    batch.push(&ending(&end, &own_queue(&end)))
}

/// Clients that may win the same session before this one gives up.
const TAKEOVERS_MAX: usize = 8;

/// The wall clock, which records carry.
pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
