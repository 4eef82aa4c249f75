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

mod attachment;
mod call;
mod checkpointer;
mod core;
#[cfg(test)]
mod crash_tests;
mod fetch;
mod keeper;
mod outbox;
mod publish;
mod rows;
mod settings;
mod start;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;
use parking_lot::Mutex;
use restante_storage::payload::DefineSession;
use restante_storage::{Draft, DraftBatch, Kind, Log, LogError, LogReader, Lsn, Marks, UnixMillis};
use rustc_hash::FxHashMap;
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use crate::access::{Principal, Rules, Verb};
use crate::engine::routing::Router;
use crate::engine::{QueueReport, RealmRoutes};
pub use attachment::Attachment;
pub use call::{
    Attach, AttachError, Attached, Call, Consume, Delivery, End, Event, Protocol, SessionWish,
    Settle, Source,
};
use core::{Ask, AttachOnApply, AttachedSession, Batch, Found};
use outbox::{Outbox, Subscriber};
pub use settings::{DEFAULT_REALM, Settings};
pub use start::{StartError, Started};
use stats::Stats;

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

/// What all parts of the broker share.
pub(crate) struct Shared {
    settings: Settings,
    rules: Rules,
    routes: ArcSwap<Routes>,
    asks: Sender<Ask>,
    /// Set once the log runs, before anybody can be attached.
    log: OnceLock<Log<Batch>>,
    stats: Stats,
    disk_full: AtomicBool,
    draining: AtomicBool,
    failed: watch::Sender<Option<Arc<LogError>>>,
    /// Everybody attached, by the address of their outbox.
    attached: Mutex<Guests>,
    n_attached: AtomicUsize,
    /// Sessions that outlive their sockets, as of the last round of the core.
    n_sessions: AtomicUsize,
    keeper_bell: Sender<()>,
}

/// Who is attached.
#[derive(Default)]
struct Guests {
    all: FxHashMap<usize, Guest>,
    /// How many with which principal.
    by_principal: FxHashMap<Arc<str>, usize>,
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

    fn allows(&self, principal: &Principal, verb: Verb, realm: &str, address: &str) -> bool {
        self.rules.decide(principal, verb, realm, address).allowed
    }

    /// The log is beyond repair: nobody hears another confirm.
    fn log_failed(&self, error: Arc<LogError>) {
        // In this order: whoever waits for the error tells everybody that the broker shuts down, and the first reason counts.
        self.end_all(End::LogFailed);
        self.failed.send_replace(Some(error));
    }

    fn end_all(&self, why: End) {
        let everybody: Vec<Arc<Outbox>> = self
            .attached
            .lock()
            .all
            .values()
            .map(|guest| Arc::clone(&guest.outbox))
            .collect();
        for outbox in everybody {
            outbox.end(why);
        }
    }

    fn enter(&self, principal: &Principal, outbox: &Arc<Outbox>) -> Result<(), AttachError> {
        if self.draining.load(Ordering::Acquire) {
            return Err(AttachError::ShuttingDown);
        }
        let mut attached = self.attached.lock();
        let of_principal = attached.by_principal.get(&principal.name).copied();
        if attached.all.len() >= self.settings.connections_max
            || of_principal.unwrap_or(0) >= self.settings.connections_per_principal
        {
            return Err(AttachError::TooMany);
        }
        let name = Arc::clone(&principal.name);
        *attached.by_principal.entry(name).or_default() += 1;
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
        if let Some(guest) = attached.all.remove(&Arc::as_ptr(outbox).addr())
            && let Some(n) = attached.by_principal.get_mut(&guest.principal)
        {
            *n -= 1;
            if *n == 0 {
                attached.by_principal.remove(&guest.principal);
            }
        }
        self.n_attached.store(attached.all.len(), Ordering::Relaxed);
    }
}

impl Broker {
    /// Whether there is a realm of that name.
    pub fn has_realm(&self, name: &str) -> bool {
        name == DEFAULT_REALM
    }

    /// Starts or resumes a session for a client. Waits, where the session is to outlive its socket, for the log: it is
    /// durable on return.
    ///
    /// # Errors
    /// See [`AttachError`].
    pub async fn attach(&self, wish: Attach) -> Result<(Attachment, Attached), AttachError> {
        let outbox = Arc::new(Outbox::default());
        self.shared.enter(&wish.principal, &outbox)?;
        let uuid = wish.session.id.unwrap_or_else(Uuid::now_v7);
        // From here on, dropping it leaves again.
        let mut attachment =
            Attachment::new(Arc::clone(&self.shared), Arc::clone(&outbox), &wish, uuid);
        let found = match wish.session.id {
            Some(uuid) => self.find(uuid).await?,
            None => None,
        };
        let expiry = wish
            .session
            .expiry
            .min(self.shared.settings.session_expiry_max);
        if found.is_none() && expiry.is_zero() {
            if wish.session.id.is_some() {
                return Err(AttachError::NoSession);
            }
            let attached = Attached {
                session: uuid,
                resumed: false,
                confirmed: 0,
                failed: Vec::new(),
                expiry: Duration::ZERO,
            };
            return Ok((attachment, attached));
        }
        attachment.attaching = true;
        let (session, resumed) = self
            .durable_session(&wish, uuid, expiry, &outbox, found)
            .await?;
        let attached = attachment.resume(session, resumed);
        Ok((attachment, attached))
    }

    /// Takes over the session if it is there, else makes it; tries again where somebody else was quicker.
    async fn durable_session(
        &self,
        wish: &Attach,
        uuid: Uuid,
        expiry: Duration,
        outbox: &Arc<Outbox>,
        mut found: Option<Found>,
    ) -> Result<(AttachedSession, bool), AttachError> {
        for _ in 0..TAKEOVERS_MAX {
            let resumed = found.is_some();
            let def = self.definition(wish, uuid, expiry, found)?;
            if let Some(session) = self.define(def, uuid, outbox).await? {
                return Ok((session, resumed));
            }
            found = self.find(uuid).await?;
        }
        Err(AttachError::TooMany)
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
            if self.shared.n_sessions.load(Ordering::Relaxed) >= self.shared.settings.sessions_max {
                return Err(AttachError::TooMany);
            }
            return Ok(DefineSession {
                uuid: bytes::Bytes::copy_from_slice(uuid.as_bytes()),
                realm: wish.realm.to_string(),
                principal: wish.principal.name.to_string(),
                name: wish.name.clone(),
                expiry_ms,
                ..DefineSession::default()
            });
        };
        let mut def = found.whole;
        if def.principal != *wish.principal.name || def.realm != *wish.realm {
            return Err(AttachError::NotYours);
        }
        if let Some(other) = found.outbox {
            other.take_over();
        }
        def.expiry_ms = expiry_ms;
        def.name = wish.name.clone().or(def.name);
        Ok(def)
    }

    async fn define(
        &self,
        def: DefineSession,
        uuid: Uuid,
        outbox: &Arc<Outbox>,
    ) -> Result<Option<AttachedSession>, AttachError> {
        let (reply, defined) = oneshot::channel();
        let companion = Batch {
            from: Some(Arc::clone(outbox)),
            tags: vec![0],
            attach: Some(AttachOnApply { uuid, reply }),
            ..Batch::default()
        };
        let mut batch = DraftBatch::new(self.shared.log().limits(), companion);
        let pushed = batch.push(&Draft::new(Kind::DefineSession, now(), &def));
        if pushed.is_err() {
            return Err(AttachError::ShuttingDown);
        }
        // Waits here and not in `submit`, which would block all clients of this thread.
        let permit = self.shared.log().reserve(batch.len_bytes()).await;
        batch.hold(permit.map_err(|_| AttachError::ShuttingDown)?);
        if self.shared.log().submit(batch).is_err() {
            return Err(AttachError::ShuttingDown);
        }
        defined.await.map_err(|_| AttachError::ShuttingDown)
    }

    async fn find(&self, uuid: Uuid) -> Result<Option<Found>, AttachError> {
        let (reply, found) = oneshot::channel();
        self.shared.ask(Ask::Find { uuid, reply });
        found.await.map_err(|_| AttachError::ShuttingDown)
    }

    /// All queues, in order of realm and name. Empty once the broker has stopped.
    pub async fn queues(&self) -> Vec<QueueReport> {
        let (reply, report) = oneshot::channel();
        self.shared.ask(Ask::Report(reply));
        report.await.unwrap_or_default()
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

/// Clients that may win the same session before this one gives up.
const TAKEOVERS_MAX: usize = 8;

/// The wall clock, which records carry.
pub(crate) fn now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMillis::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
