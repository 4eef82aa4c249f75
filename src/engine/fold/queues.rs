//! Queues: they are defined, bound and deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use restante_storage::payload::{Binding, DefineQueue, DeleteQueue};
use restante_storage::{Lsn, Offset, QueueId, RecordRef, SessionNo};

use super::decode;
use crate::engine::address::Filter;
use crate::engine::handle::QueueHandle;
use crate::engine::queue::Queue;
use crate::engine::session::Change;
use crate::engine::{Engine, LIMITS, is_transient};
use crate::refusal::Refusal;

/// Chunks of a queue that are looked at when it goes: all that most have.
const DUG_AT_ONCE: usize = 4;

/// A change of a queue's bindings.
#[derive(Debug, Clone)]
pub(in crate::engine) enum BindingChange {
    /// To this filter.
    Bound(String),
    /// No longer to this one.
    Unbound(String),
}

impl Engine {
    pub(super) fn define_queue(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let def = decode::<DefineQueue>(record);
        if def.id == 0 {
            let id = QueueId::new(record.lsn().get());
            self.define_new_queue(id, record.lsn(), def);
        } else {
            self.define_queue_again(record, def);
        }
        None
    }

    pub(in crate::engine) fn define_new_queue(
        &mut self,
        id: QueueId,
        lsn: Lsn,
        mut def: DefineQueue,
    ) {
        if !self.may_own(&def) {
            return; // its session has ended meanwhile
        }
        self.remove_leftover(&def);
        if self.named(&def.realm, &def.name).is_some() {
            return; // two clients asked for it at once: the first has made it
        }
        let owner = SessionNo::new(def.session);
        (def.id, def.revision) = (id.get(), lsn.get());
        let mut queue = Queue::durable(id);
        queue.home = lsn;
        self.queues.insert(id, queue);
        self.set_definition(id, def);
        self.list_queue(id);
        if owner > SessionNo::ZERO {
            self.admit_session(owner);
            self.change_session(lsn, owner, Change::Owns(id));
        }
    }

    /// Whether the session whose own queue it is to be, if any, is there, or may be.
    fn may_own(&self, def: &DefineQueue) -> bool {
        let owner = SessionNo::new(def.session);
        owner == SessionNo::ZERO || self.sessions.contains_key(&owner) || self.past.may_have(owner)
    }

    /// A changed definition, or one that is written again so that its segment may go.
    pub(in crate::engine) fn define_queue_again(
        &mut self,
        record: &RecordRef<'_>,
        mut def: DefineQueue,
    ) {
        let id = QueueId::new(def.id);
        let as_of = Lsn::new(std::mem::take(&mut def.as_of));
        let again = as_of > Lsn::ZERO;
        let known = self.queues.get(&id).is_some_and(|it| it.def.is_some());
        if again && !known && !self.past.may_have_been(self.segments.of(as_of)) {
            return; // it went while this was on its way to the log
        }
        if !known && !self.may_own(&def) {
            return; // likewise, with its session
        }
        self.admit_queue(id);
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        let mut has_floor = false;
        for (_, floor) in record.targets().filter(|(target, _)| *target == id) {
            queue.advance(floor, &mut self.expiries);
            has_floor = true;
        }
        if again {
            queue.live.rewriting = false;
            queue.home = queue.home.max(as_of);
        } else if has_floor || !known {
            // Without the next offset this record does not stand for what the log said before it.
            queue.home = record.lsn();
        }
        if !known {
            self.remove_usurper(id, &def.realm, &def.name);
        }
        if !again {
            def.revision = record.lsn().get();
        }
        if !known || !again {
            self.set_definition(id, def);
        }
        if known && !again {
            self.give_up_exhausted_of(id);
        }
        self.list_queue(id);
    }

    /// The durable queue of that name.
    fn named(&self, realm: &str, name: &str) -> Option<QueueId> {
        let holder = self.routes.get(realm)?.names.get(name)?;
        Some(holder.id).filter(|id| !is_transient(*id))
    }

    /// Where the log's beginning is gone, a definition that once lost against this queue may have been taken for the
    /// first of its name.
    fn remove_usurper(&mut self, id: QueueId, realm: &str, name: &str) {
        if self.past.is_gone()
            && let Some(other) = self.named(realm, name)
            && other != id
        {
            self.remove_queue(other);
        }
    }

    /// Where the log's beginning is gone, a definition that came too late for a session that had ended may have been taken for
    /// one that still has its name. A client's later session has the higher number.
    fn remove_leftover(&mut self, def: &DefineQueue) {
        if self.past.is_gone()
            && let Some(other) = self.named(&def.realm, &def.name)
            && let Some(owner) = self.queues.get(&other).and_then(Queue::owner)
            && owner < SessionNo::new(def.session)
        {
            self.remove_queue(other);
        }
    }

    /// Gives a queue its definition, new or changed, and routes to it. A queue's realm and name never change.
    pub(in crate::engine) fn set_definition(&mut self, id: QueueId, mut def: DefineQueue) {
        let Some(mut queue) = self.queues.remove(&id) else {
            return;
        };
        self.unroute(&queue);
        if let Some(known) = &queue.def {
            def.realm.clone_from(&known.realm);
            def.name.clone_from(&known.name);
            def.session = known.session;
        }
        if def.revision == 0 {
            def.revision = id.get(); // written by a release that never changed a definition
        }
        let def = Arc::new(def);
        let gauges = Arc::clone(&queue.gauges);
        let handle = Arc::new(QueueHandle::durable(id, Arc::clone(&def), gauges));
        self.route(&handle, &def.bindings);
        if def.ttl_ms > 0 {
            self.with_ttl.insert(id);
        } else {
            self.with_ttl.remove(&id);
        }
        queue.handle = Some(handle);
        queue.def = Some(def);
        let (home, meanwhile) = (queue.home, std::mem::take(&mut queue.meanwhile));
        self.queues.insert(id, queue);
        for (lsn, change) in meanwhile.into_iter().filter(|(lsn, _)| *lsn >= home) {
            self.change_binding(lsn, id, change);
        }
        self.look_at_linger(id);
        self.look_at_surplus(id);
        // It may have been paused until now.
        self.touch(id);
    }

    pub(in crate::engine) fn delete_queue(&mut self, it: DeleteQueue) -> Option<Refusal> {
        let id = QueueId::new(it.queue);
        self.remove_queue(id);
        self.remove_usurper(id, &it.realm, &it.name);
        self.past.end(id);
        None
    }

    pub(in crate::engine) fn forget_contents(&mut self, mut queue: Queue) {
        let id = queue.id;
        self.with_ttl.remove(&id);
        self.idle.remove(&id);
        self.surplus.retain(|other| *other != id);
        self.lost.retain(|(other, _)| *other != id);
        self.given_up.retain(|(other, _, _)| *other != id);
        self.moving.retain(|(other, _)| *other != id);
        let later = self.dying.split_off(&(id, Offset::ZERO));
        let others = later.into_iter().filter(|(other, _)| *other != id);
        self.dying.extend(others);
        let mut numbers = queue.take_listed_chunks();
        let here: Vec<u64> = queue
            .chunks()
            .map_or_else(Vec::new, |chunks| chunks.keys().copied().collect());
        for (number, chunk) in queue.chunks().into_iter().flatten() {
            if let Some(armed) = chunk.armed() {
                self.expiries.remove(&(armed, id, *number));
            }
        }
        numbers.extend(here);
        if !is_transient(id) {
            self.dirty.gone.push((id, numbers));
            self.buried.push(queue);
            self.dig(DUG_AT_ONCE);
        }
    }

    /// Takes what waited in queues that are gone off the segments it lies in, in about `limit` chunks; whether there are
    /// more. A deep queue is gone at once, but to look at all of its messages takes long, and nobody else would be served.
    ///
    /// Live only: a checkpoint comes after all of it, and holds nothing half done. Until then the log keeps what it need
    /// not, and the state store the chunks that are read here.
    pub fn dig(&mut self, limit: usize) -> bool {
        for _ in 0..limit {
            let Some(mut queue) = self.buried.pop() else {
                return false;
            };
            let first = queue.chunks().and_then(BTreeMap::first_key_value);
            let Some(number) = first.map(|(number, _)| *number) else {
                continue;
            };
            if let Some(chunk) = queue.resident(number, &*self.bodies) {
                for it in chunk.waiting() {
                    self.segments.remove(it.lsn);
                }
            }
            queue.chunks_mut().and_then(|chunks| chunks.remove(&number));
            self.buried.push(queue);
        }
        !self.buried.is_empty()
    }

    pub(super) fn bind(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let it = decode::<Binding>(record);
        let change = BindingChange::Bound(it.filter);
        self.record_binding(record.lsn(), QueueId::new(it.queue), change);
        None
    }

    pub(super) fn unbind(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let it = decode::<Binding>(record);
        let change = BindingChange::Unbound(it.filter);
        self.record_binding(record.lsn(), QueueId::new(it.queue), change);
        None
    }

    pub(super) fn record_binding(&mut self, lsn: Lsn, id: QueueId, change: BindingChange) {
        self.admit_queue(id);
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        if queue.def.is_none() {
            queue.meanwhile.push((lsn, change));
        } else {
            self.change_binding(lsn, id, change);
        }
        self.list_queue(id);
    }

    fn change_binding(&mut self, lsn: Lsn, id: QueueId, change: BindingChange) {
        let Some(def) = self.queues.get(&id).and_then(|queue| queue.def.as_ref()) else {
            return;
        };
        let (BindingChange::Bound(text) | BindingChange::Unbound(text)) = &change;
        if Filter::parse(text, LIMITS).is_err() {
            return;
        }
        let is_bound = def.bindings.contains(text);
        let mut def = DefineQueue::clone(def);
        def.revision = lsn.get();
        match &change {
            BindingChange::Bound(text) if !is_bound => def.bindings.push(text.clone()),
            BindingChange::Unbound(text) if is_bound => {
                def.bindings.retain(|other| other != text);
            }
            BindingChange::Bound(_) | BindingChange::Unbound(_) => return,
        }
        self.rebind(id, def, &change);
    }

    /// Where the log's beginning is gone, a queue that is met may be defined later.
    pub(super) fn admit_queue(&mut self, id: QueueId) {
        if self.past.may_have(id) && !self.queues.contains_key(&id) {
            let mut queue = Queue::durable(id);
            queue.known_from = None;
            self.queues.insert(id, queue);
        }
    }

    /// The next checkpoint looks at that queue.
    fn list_queue(&mut self, id: QueueId) {
        if let Some(queue) = self.queues.get_mut(&id)
            && !std::mem::replace(&mut queue.listed, true)
        {
            self.dirty.queues.push(id);
        }
    }
}
