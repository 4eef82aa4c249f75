//! The engine: the deterministic fold of the log into queues and sessions, and who is to get what next.
//!
//! ```text
//! record ─▶ apply ─▶ durable state: queues, what waits in them, sessions    (rows of the state store)
//!                 └▶ touched queues ─▶ dispatch(now) ─▶ effects: deliveries for consumers
//! ```
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
mod admin;
mod chunk;
mod config;
mod deadlines;
mod dispatch;
mod errands;
mod fold;
mod handle;
mod linger;
mod queue;
mod retained;
pub mod routing;
mod rows;
mod segments;
mod session;
#[cfg(test)]
mod tests;
mod transient;
mod wills;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use address::{AddressLimits, Filter};
pub use admin::{Blocked, Claim, ConsumerReport, Looked, SessionReport, Sight, Standing, Wanted};
pub use chunk::Cause;
pub use config::{ConfigKey, ConfigValue};
use deadlines::Deadlines;
pub use dispatch::{ConsumerId, Resumed};
pub(crate) use errands::ranges;
pub use errands::{Errand, Move};
use fold::{BindingChange, Past};
pub use handle::{Gauges, QueueHandle, is_brokers_own, is_transient};
pub use queue::{Bodies, Place};
use queue::{Expiries, Queue};
use restante_storage::payload::{DefineQueue, DefineSession};
use restante_storage::{Lsn, Offset, QueueId, SessionNo, UnixMillis};
use retained::Retained;
pub use retained::{LookMax, RetainAgain, RetainedPage};
use routing::Router;
pub use rows::{CKPT_KEY, Checkpoint, Damage, Scan};
use rustc_hash::{FxHashMap, FxHashSet};
use segments::Segments;
use session::Session;
pub use session::{OWN_CONSUMER, WINDOW_MAX, shared_consumer};
use uuid::Uuid;
pub use wills::{DueWill, Left};

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
    /// Name to queue, in order of names.
    pub names: imbl::OrdMap<Arc<str>, Arc<QueueHandle>>,
    /// The same queues by number.
    pub numbers: imbl::OrdMap<QueueId, Arc<QueueHandle>>,
    /// Those of them that keep a history.
    pub histories: imbl::OrdMap<QueueId, Arc<QueueHandle>>,
    /// How many of them are a session's own.
    pub n_owned: usize,
}

/// Queues and sessions: the fold of the log, and the live part on top.
pub struct Engine {
    bodies: Box<dyn Bodies>,
    /// The end of what was applied.
    applied: Lsn,
    past: Past,

    // Durable: follows from the log alone.
    queues: FxHashMap<QueueId, Queue>,
    sessions: FxHashMap<SessionNo, Session>,
    /// What administrators have set.
    config: BTreeMap<ConfigKey, ConfigValue>,
    /// Waiting messages by the segment of their record.
    segments: Segments,
    /// Messages that are kept at their addresses.
    retained: Retained,

    // Derived from it.
    routes: BTreeMap<Arc<str>, RealmRoutes>,
    routes_changed: bool,
    session_ids: BTreeMap<Uuid, SessionNo>,
    with_ttl: BTreeSet<QueueId>,
    /// Messages that are given up and still wait for what becomes of them.
    dying: BTreeSet<(QueueId, Offset)>,

    // Live: ends with the process.
    expiries: Expiries,
    consumers: FxHashMap<ConsumerId, dispatch::Consumer>,
    of_session: FxHashMap<SessionNo, Vec<ConsumerId>>,
    next_consumer: u64,
    transient: BTreeSet<QueueId>,
    next_transient: u64,
    touched: Vec<QueueId>,
    effects: Vec<Effect>,
    /// Came back from consumers that are gone; a record is to say so.
    lost: Vec<(QueueId, Offset)>,
    /// Expired or failed too often; a record is to say so.
    given_up: Vec<(QueueId, Offset, Cause)>,
    /// Of those that are dying: a record is being written that says what becomes of them.
    moving: FxHashSet<(QueueId, Offset)>,
    dropped: Vec<(QueueId, Cause)>,
    /// Queues that are gone, with the chunks that their segments still count.
    buried: Vec<Queue>,
    /// Sessions that nobody is attached to, and when they end.
    detached: Deadlines,
    /// Of them, those whose will is to be published, and when.
    wills: Deadlines,
    /// Wills whose time has come.
    wills_due: Vec<(SessionNo, Lsn, Left)>,
    /// Histories that have more than they may.
    surplus: Vec<QueueId>,
    /// The last look at what has expired gave up before the end.
    more_expired: bool,
    /// Queues that go when nobody has consumed from them for a while, and nobody does: when that is over, once it is known.
    idle: BTreeMap<QueueId, Option<UnixMillis>>,

    // What the state store does not have yet.
    dirty: rows::Dirty,
}

/// Addresses in the log were checked against the configuration of their day.
const LIMITS: AddressLimits = AddressLimits {
    bytes_max: AddressLimits::BYTES_CEILING,
    segments_max: AddressLimits::BYTES_CEILING,
};

/// A session that outlives its sockets.
#[derive(Debug)]
pub struct DurableSession {
    /// Its id.
    pub uuid: Uuid,
    /// Its number.
    pub number: SessionNo,
    /// What the log knows of it.
    pub whole: DefineSession,
    /// Whether its client is not there.
    pub away: bool,
}

impl Engine {
    /// An engine that has applied nothing, for a log with segments of that size.
    pub fn new(segment_bytes: u64, bodies: Box<dyn Bodies>) -> Self {
        Engine {
            bodies,
            applied: Lsn::ZERO,
            past: Past::Known,
            queues: FxHashMap::default(),
            sessions: FxHashMap::default(),
            config: BTreeMap::new(),
            segments: Segments::new(segment_bytes),
            retained: Retained::new(segment_bytes),
            routes: BTreeMap::new(),
            routes_changed: true,
            session_ids: BTreeMap::new(),
            with_ttl: BTreeSet::new(),
            dying: BTreeSet::new(),
            expiries: Expiries::new(),
            consumers: FxHashMap::default(),
            of_session: FxHashMap::default(),
            next_consumer: 1,
            transient: BTreeSet::new(),
            next_transient: 1,
            touched: Vec::new(),
            effects: Vec::new(),
            lost: Vec::new(),
            given_up: Vec::new(),
            moving: FxHashSet::default(),
            dropped: Vec::new(),
            buried: Vec::new(),
            detached: Deadlines::default(),
            wills: Deadlines::default(),
            wills_due: Vec::new(),
            surplus: Vec::new(),
            more_expired: false,
            idle: BTreeMap::new(),
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
    pub fn session(&self, number: SessionNo) -> Option<DefineSession> {
        self.sessions.get(&number)?.whole()
    }

    /// At most `limit` durable sessions, by id, behind `after`.
    pub fn durable_sessions(&self, after: Option<Uuid>, limit: usize) -> Vec<DurableSession> {
        let behind = (
            after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded),
            std::ops::Bound::Unbounded,
        );
        let ids = self.session_ids.range(behind);
        ids.filter_map(|(uuid, number)| {
            Some(DurableSession {
                uuid: *uuid,
                number: *number,
                whole: self.session(*number)?,
                away: self.detached.get(*number).is_some(),
            })
        })
        .take(limit)
        .collect()
    }

    /// How many durable sessions there are.
    pub fn n_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Of them, those that nobody is attached to.
    pub fn n_away(&self) -> usize {
        self.detached.len()
    }

    /// The broker has let go of a durable session's socket `now`; it ends at `ends_at` unless somebody goes on with it.
    pub fn detach(&mut self, session: SessionNo, how: Left, now: UnixMillis, ends_at: UnixMillis) {
        self.leave_recall(session);
        if self.sessions.contains_key(&session) {
            self.detached.insert(session, ends_at);
            self.will_waits(session, how, now, ends_at);
        }
        for id in self.consumers_of(session) {
            self.suspend_consumer(id);
        }
    }

    /// When a session ends that nobody is attached to.
    pub fn ends_at(&self, session: SessionNo) -> Option<UnixMillis> {
        self.detached.get(session)
    }

    /// Somebody goes on with a durable session.
    pub fn attach(&mut self, session: SessionNo) {
        self.detached.remove(session);
        self.wills.remove(session);
    }

    /// Queues come and go with their consumers; what waited goes too.
    fn remove_queue(&mut self, id: QueueId) {
        let Some(queue) = self.queues.remove(&id) else {
            return;
        };
        self.unroute(&queue);
        for consumer in queue.live.consumers.iter().copied() {
            self.forget_consumer(consumer);
            self.effects.push(Effect::Cancelled { consumer });
        }
        self.transient.remove(&id);
        self.forget_contents(queue);
    }

    /// Gives a queue its name, unless that is another's already, and its bindings.
    fn route(&mut self, handle: &Arc<QueueHandle>, bindings: &[String]) {
        let routes = self.routes.entry(Arc::clone(&handle.realm)).or_default();
        let other = routes.names.get(&handle.name);
        // A queue in memory never takes a durable one's name: whether that exists follows from the log alone.
        if other.is_none_or(|other| is_transient(other.id)) {
            let (name, handle) = (Arc::clone(&handle.name), Arc::clone(handle));
            let number = handle.id;
            let is_owned = handle.is_owned();
            if let Some(other) = routes.names.insert(name, Arc::clone(&handle)) {
                routes.numbers.remove(&other.id);
            }
            if handle.history {
                routes.histories.insert(number, Arc::clone(&handle));
            }
            routes.numbers.insert(number, handle);
            routes.n_owned += usize::from(is_owned);
        }
        for filter in bindings {
            if let Ok(filter) = Filter::parse(filter, LIMITS) {
                routes.bindings.bind(&filter, Arc::clone(handle));
            }
        }
        self.routes_changed = true;
    }

    fn unroute(&mut self, queue: &Queue) {
        let Some(handle) = &queue.handle else { return };
        let Some(routes) = self.routes.get_mut(&handle.realm) else {
            return;
        };
        let bindings: Vec<&str> = match &queue.def {
            Some(def) => def.bindings.iter().map(String::as_str).collect(),
            None => vec![handle.requests.as_ref().unwrap_or(&handle.name)],
        };
        for filter in bindings {
            if let Ok(filter) = Filter::parse(filter, LIMITS) {
                routes.bindings.unbind(&filter, handle);
            }
        }
        if routes.names.get(&handle.name) == Some(handle) {
            routes.names.remove(&handle.name);
            routes.numbers.remove(&handle.id);
            routes.histories.remove(&handle.id);
            routes.n_owned -= usize::from(handle.is_owned());
        }
        self.routes_changed = true;
    }

    /// One filter comes or goes. What other filters lead to is the same queue, as it was before.
    fn rebind(&mut self, id: QueueId, def: DefineQueue, change: &BindingChange) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        let def = Arc::new(def);
        let gauges = Arc::clone(&queue.gauges);
        let handle = Arc::new(QueueHandle::durable(id, Arc::clone(&def), gauges));
        queue.def = Some(def);
        queue.handle = Some(Arc::clone(&handle));
        let Some(routes) = self.routes.get_mut(&handle.realm) else {
            return;
        };
        if let Some(known) = routes.names.get_mut(&handle.name)
            && *known == handle
        {
            *known = Arc::clone(&handle);
            if handle.history {
                routes.histories.insert(handle.id, Arc::clone(&handle));
            }
            routes.numbers.insert(handle.id, Arc::clone(&handle));
        }
        let (BindingChange::Bound(text) | BindingChange::Unbound(text)) = change;
        if let Ok(filter) = Filter::parse(text, LIMITS) {
            match change {
                BindingChange::Bound(_) => routes.bindings.bind(&filter, handle),
                BindingChange::Unbound(_) => routes.bindings.unbind(&filter, &handle),
            };
        }
        self.routes_changed = true;
    }
}
