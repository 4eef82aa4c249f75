//! The engine: the deterministic fold of the log into queues and sessions, and who is to get what next.
//!
//!     record ─▶ apply ─▶ durable state: queues, what waits in them, sessions    (rows of the state store)
//!                     └▶ touched queues ─▶ dispatch(now) ─▶ effects: deliveries for consumers
//!
//! [`Engine::apply`] is the only code that changes durable state, live and at replay alike. It knows no clock (records
//! carry their time), no randomness, no input or output, and no error: what is in the log has happened.
//!
//! Always, each with a test of its name in `engine/tests.rs`:
//! - `fold_is_deterministic`: from the first LSN, from a checkpoint, and live, the state is the same to the byte.
//! - `a_log_whose_beginning_is_gone_folds_to_the_same_queues`
//! - `what_is_pending_agrees_with_a_model`: any operations, against a map in memory.
//!
//! Not here: files, threads, sockets, clocks (the broker's engine thread has those), rules (access).

pub mod address;
mod chunk;
mod dispatch;
mod errands;
mod fold;
mod queue;
pub mod routing;
mod rows;
mod session;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use chunk::Cause;
pub use dispatch::{ConsumerId, Resumed};
pub(crate) use errands::ranges;
pub use errands::{Errand, Move, QueueReport};
pub use queue::{Bodies, Place, QueueHandle, is_transient};
use restante_storage::{Lsn, Offset, QueueId, SessionNo, UnixMillis};
pub use rows::{CKPT_KEY, Checkpoint, Damage};
use rustc_hash::{FxHashMap, FxHashSet};
pub use session::WINDOW_MAX;
use uuid::Uuid;

use address::{AddressLimits, Filter};
use queue::Queue;
use routing::Router;
use session::Session;

/// What the engine wants done after records were applied or queues dispatched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Hand a message to a consumer.
    Deliver {
        /// To whom.
        consumer: ConsumerId,
        /// From which queue.
        queue: QueueId,
        /// Its place there.
        offset: Offset,
        /// 1 for the first delivery.
        attempt: u32,
        /// Where its bytes are.
        place: Place,
    },
    /// A consumer is over because its queue is gone.
    Cancelled {
        /// Which.
        consumer: ConsumerId,
    },
    /// A durable session is over; whoever is attached to it is to be let go.
    SessionEnded {
        /// Which.
        session: SessionNo,
    },
}

/// Addresses of one realm: which queues take what is sent there. An O(1) clone is a snapshot.
#[derive(Debug, Clone, Default)]
pub struct RealmRoutes {
    /// Filter to queue.
    pub bindings: Router<Arc<QueueHandle>>,
    /// Name to queue.
    pub names: imbl::HashMap<Arc<str>, Arc<QueueHandle>>,
}

/// Queues and sessions: the fold of the log, and the live part on top.
pub struct Engine {
    bodies: Box<dyn Bodies>,
    segment_bytes: u64,
    /// The end of what was applied.
    applied: Lsn,
    /// Whether records of the past are being applied: a queue or session not known yet may still be defined.
    replaying: bool,

    // Durable: follows from the log alone.
    queues: BTreeMap<QueueId, Queue>,
    sessions: BTreeMap<SessionNo, Session>,
    /// Waiting messages whose record lies in that segment.
    live_in_segment: BTreeMap<u64, u64>,

    // Derived from it.
    routes: BTreeMap<Arc<str>, RealmRoutes>,
    routes_changed: bool,
    session_ids: FxHashMap<Uuid, SessionNo>,
    /// (when, queue, chunk) of chunks with messages that expire.
    expiries: BTreeSet<(UnixMillis, QueueId, u64)>,
    with_ttl: BTreeSet<QueueId>,
    dying: BTreeSet<(QueueId, Offset)>,

    // Live: ends with the process.
    consumers: FxHashMap<ConsumerId, dispatch::Consumer>,
    next_consumer: u64,
    next_transient: u64,
    touched: Vec<QueueId>,
    effects: Vec<Effect>,
    lost: Vec<(QueueId, Offset)>,
    expiring: Vec<(QueueId, Offset)>,
    moving: FxHashSet<(QueueId, Offset)>,
    dropped: Vec<(QueueId, Cause)>,
    /// Sessions that nobody is attached to, and when they end.
    detached: BTreeMap<SessionNo, UnixMillis>,

    // What the state store does not have yet.
    dirty: rows::Dirty,
}

/// Addresses in the log were checked against the configuration of their day.
const LIMITS: AddressLimits = AddressLimits {
    bytes_max: AddressLimits::BYTES_CEILING,
    segments_max: AddressLimits::BYTES_CEILING,
};

impl Engine {
    /// An engine that has applied nothing, for a log with segments of that size.
    pub fn new(segment_bytes: u64, bodies: Box<dyn Bodies>) -> Self {
        Engine {
            bodies,
            segment_bytes,
            applied: Lsn::ZERO,
            replaying: true,
            queues: BTreeMap::new(),
            sessions: BTreeMap::new(),
            live_in_segment: BTreeMap::new(),
            routes: BTreeMap::new(),
            routes_changed: true,
            session_ids: FxHashMap::default(),
            expiries: BTreeSet::new(),
            with_ttl: BTreeSet::new(),
            dying: BTreeSet::new(),
            consumers: FxHashMap::default(),
            next_consumer: 1,
            next_transient: 1,
            touched: Vec::new(),
            effects: Vec::new(),
            lost: Vec::new(),
            expiring: Vec::new(),
            moving: FxHashSet::default(),
            dropped: Vec::new(),
            detached: BTreeMap::new(),
            dirty: rows::Dirty::default(),
        }
    }

    /// The end of what was applied.
    pub fn applied(&self) -> Lsn {
        self.applied
    }

    /// Takes what is to be done since the last call.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The offsets that the log's writer is to give next.
    pub fn next_offsets(&self) -> impl Iterator<Item = (QueueId, Offset)> + '_ {
        self.queues
            .values()
            .filter(|queue| !is_transient(queue.id))
            .map(|queue| (queue.id, queue.next))
    }

    /// The routes of every realm, if they changed since the last call.
    pub fn changed_routes(&mut self) -> Option<BTreeMap<Arc<str>, RealmRoutes>> {
        std::mem::take(&mut self.routes_changed).then(|| self.routes.clone())
    }

    /// A queue's name, realm and gauges.
    pub fn queue(&self, id: QueueId) -> Option<&Arc<QueueHandle>> {
        self.queues.get(&id)?.handle.as_ref()
    }

    /// The number of the durable session with that id.
    pub fn session_number(&self, id: Uuid) -> Option<SessionNo> {
        self.session_ids.get(&id).copied()
    }

    /// What the log knows of a durable session.
    pub fn session(&self, number: SessionNo) -> Option<restante_storage::payload::DefineSession> {
        self.sessions.get(&number)?.whole()
    }

    /// How many durable sessions there are.
    pub fn n_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The broker has let go of a durable session's socket; it ends at `at` unless somebody goes on with it.
    pub fn detach(&mut self, session: SessionNo, at: UnixMillis) {
        if self.sessions.contains_key(&session) {
            self.detached.insert(session, at);
        }
        let ids: Vec<ConsumerId> = self.consumers_of(session).collect();
        for id in ids {
            self.suspend_consumer(id);
        }
    }

    /// Somebody goes on with a durable session.
    pub fn attach(&mut self, session: SessionNo) {
        self.detached.remove(&session);
    }

    fn consumers_of(&self, session: SessionNo) -> impl Iterator<Item = ConsumerId> + '_ {
        self.consumers.iter().filter_map(move |(id, consumer)| {
            consumer
                .session
                .as_ref()
                .is_some_and(|(number, _)| *number == session)
                .then_some(*id)
        })
    }

    /// Makes a queue that lives in memory, named and bound like any other.
    pub fn add_transient_queue(
        &mut self,
        realm: &Arc<str>,
        name: &Arc<str>,
        max_messages: u64,
        max_bytes: u64,
    ) -> Arc<QueueHandle> {
        let id = QueueHandle::transient_id(self.next_transient);
        self.next_transient += 1;
        let mut queue = Queue::transient(id);
        let handle = Arc::new(QueueHandle {
            id,
            realm: Arc::clone(realm),
            name: Arc::clone(name),
            max_messages,
            max_bytes,
            messages: 0.into(),
            bytes: 0.into(),
        });
        queue.handle = Some(Arc::clone(&handle));
        self.queues.insert(id, queue);
        let routes = self.routes.entry(Arc::clone(realm)).or_default();
        routes.names.insert(Arc::clone(name), Arc::clone(&handle));
        if let Ok(filter) = Filter::parse(name, LIMITS) {
            routes.bindings.bind(&filter, Arc::clone(&handle));
        }
        self.routes_changed = true;
        handle
    }

    /// Removes a queue that lives in memory, with all that waits in it.
    pub fn remove_transient_queue(&mut self, id: QueueId) {
        if is_transient(id) {
            self.remove_queue(id);
        }
    }

    /// Puts an encoded record into a queue that lives in memory.
    pub fn enqueue_transient(
        &mut self,
        id: QueueId,
        record: bytes::Bytes,
        time: UnixMillis,
        expires: Option<UnixMillis>,
    ) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        queue.push_held(record, time, expires);
        self.touch(id);
    }

    fn remove_queue(&mut self, id: QueueId) {
        let Some(queue) = self.queues.remove(&id) else {
            return;
        };
        self.unroute(&queue);
        for consumer in queue.live.consumers.iter().copied() {
            self.consumers.remove(&consumer);
            self.effects.push(Effect::Cancelled { consumer });
        }
        self.forget_contents(&queue);
    }

    fn unroute(&mut self, queue: &Queue) {
        let Some(handle) = &queue.handle else { return };
        let Some(routes) = self.routes.get_mut(&handle.realm) else {
            return;
        };
        let bindings: Vec<&str> = match &queue.def {
            Some(def) => def.bindings.iter().map(String::as_str).collect(),
            None => vec![&handle.name],
        };
        for filter in bindings {
            if let Ok(filter) = Filter::parse(filter, LIMITS) {
                routes.bindings.unbind(&filter, handle);
            }
        }
        routes.names.remove(&handle.name);
        self.routes_changed = true;
    }
}
