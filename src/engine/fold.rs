//! The fold itself: what each kind of record does to the state.
//!
//! Comes from the log's commits (live) or its replay; goes on to `dispatch`. A record about something that is gone by
//! now has no effect but on the counters that must never go back.

use std::sync::Arc;

use restante_storage::payload::{
    Advance, Binding, Cancel, Consume, DefineQueue, DefineSession, DeleteQueue, EndSession, Settle,
};
use restante_storage::{Kind, Lsn, Offset, QueueId, RecordRef, SessionNo, UnixMillis};
use uuid::Uuid;

use super::address::Filter;
use super::chunk::{Cause, Dying, Ref};
use super::dispatch::Consumer;
use super::queue::{Queue, QueueHandle, chunk_of};
use super::session::{Change, Session};
use super::{ConsumerId, Effect, Engine, LIMITS};
use crate::refusal::Refusal;

impl Engine {
    /// Applies the next record of the log. Says what its sender is to be told in place of "done", if anything.
    ///
    /// # Panics
    /// If `record` is not beyond what was applied: an order that only our own bug can break.
    pub fn apply(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        assert!(
            record.lsn() >= self.applied,
            "{} was applied before {}",
            self.applied,
            record.lsn()
        );
        self.applied = record.end();
        let fresh = record.origin().is_none_or(|origin| {
            let known = self.session_mut(origin.session);
            known.is_none_or(|session| session.take(origin.seq))
        });
        let refusal = match record.kind() {
            Kind::Enqueue => self.enqueue(record, fresh),
            _ if !fresh => None,
            Kind::Settle => self.settle(record),
            Kind::DefineQueue => self.define_queue(record),
            Kind::DeleteQueue => self.delete_queue(record),
            Kind::Bind => self.bind(record),
            Kind::Unbind => self.unbind(record),
            Kind::DefineSession => self.define_session(record),
            Kind::EndSession => self.end_session(record),
            Kind::Consume => self.consume(record),
            Kind::Cancel => self.cancel(record),
            Kind::Advance => {
                decode::<Advance>(record).and_then(|it| Refusal::from_number(it.refusal))
            }
            Kind::SegmentEnd => None,
        };
        if let Some(origin) = record.origin() {
            self.dirty.sessions.insert(origin.session);
            if let Some(refusal) = refusal
                && let Some(session) = self.session_mut(origin.session)
            {
                session.refuse(origin.seq, refusal);
            }
        }
        refusal
    }

    /// The past is over: what was met but never defined belongs to queues and sessions that are gone.
    pub fn finish_replay(&mut self, now: UnixMillis) {
        self.replaying = false;
        let undefined: Vec<QueueId> = self
            .queues
            .values()
            .filter(|queue| queue.def.is_none())
            .map(|queue| queue.id)
            .collect();
        for id in undefined {
            if let Some(queue) = self.queues.remove(&id) {
                self.forget_contents(&queue);
            }
        }
        self.sessions.retain(|_, session| session.def.is_some());
        let sessions: Vec<SessionNo> = self.sessions.keys().copied().collect();
        for number in sessions {
            self.revive(number, now);
        }
        self.dying
            .retain(|(queue, _)| self.queues.contains_key(queue));
        self.effects.clear();
    }

    /// A session's consumers after a restart: nobody is there yet, and what they had in flight is not known.
    fn revive(&mut self, number: SessionNo, now: UnixMillis) {
        let Some(session) = self.sessions.get(&number) else {
            return;
        };
        let expiry_ms = session.def.as_ref().map_or(0, |def| def.expiry_ms);
        self.detached.insert(number, now.saturating_add(expiry_ms));
        for consumer in session.consumers.clone() {
            let id = ConsumerId(self.next_consumer);
            let Some(queue) = self.queues.get_mut(&QueueId::new(consumer.queue)) else {
                continue;
            };
            self.next_consumer += 1;
            queue.live.consumers.push(id);
            if consumer.exclusive {
                queue.live.exclusive = Some(id);
            }
            let session = Some((number, consumer.name));
            self.consumers.insert(
                id,
                Consumer {
                    queue: queue.id,
                    sent: 0,
                    limit: 0,
                    session,
                    active: false,
                },
            );
        }
    }

    fn enqueue(&mut self, record: &RecordRef<'_>, fresh: bool) -> Option<Refusal> {
        // Numbers are used up whatever becomes of the message.
        for (queue, offset) in record.targets() {
            if let Some(queue) = self.queue_mut(queue) {
                queue.next = queue.next.max(offset.next());
                let id = queue.id;
                self.dirty.queues.insert(id);
            }
        }
        if !fresh {
            return None;
        }
        if let Some(source) = record.source() {
            // Nothing but this record takes a message that is on its way to the dead-letter address, and only one is
            // ever written for it, so it needs no condition: its source may even lie in a part of the log that is gone.
            self.moving.remove(&(source.queue, source.offset));
            self.take(source.queue, source.offset);
        }
        let it = Ref {
            lsn: record.lsn(),
            bytes: record.len_bytes(),
            time: record.time(),
            expires: record.expires(),
        };
        for (id, offset) in record.targets() {
            let Some(queue) = self.queue_mut(id) else {
                continue;
            };
            queue.push(offset, it);
            let number = chunk_of(offset);
            if let Some(at) = it.expires
                && queue
                    .chunks()
                    .and_then(|chunks| chunks.get(&number)?.expires_min())
                    .is_some_and(|min| min == at)
            {
                self.expiries.insert((at, id, number));
            }
            self.dirty.chunks.insert((id, number));
            let segment = self.segment_of(record.lsn());
            *self.live_in_segment.entry(segment).or_default() += 1;
            self.dirty.segments.insert(segment);
            self.touch(id);
        }
        None
    }

    fn settle(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let it = decode::<Settle>(record)?;
        let id = QueueId::new(it.queue);
        let mut missed = false;
        for offset in offsets(&it.accepted) {
            missed |= !self.accept(id, offset);
        }
        for offset in offsets(&it.released) {
            missed |= !self.release(id, offset);
        }
        for offset in offsets(&it.rejected) {
            missed |= !self.give_up(id, offset, Cause::Rejected, it.reason.as_deref());
        }
        for offset in offsets(&it.expired) {
            let _gone_before = self.give_up(id, offset, Cause::Expired, None);
        }
        let returned: Vec<Offset> = offsets(&it.returned)
            .filter(|offset| self.is_pending(id, *offset))
            .collect();
        for offset in &returned {
            self.dirty.chunks.insert((id, chunk_of(*offset)));
        }
        self.return_offsets(id, &returned);
        match Refusal::from_number(it.refusal) {
            Some(refusal) => Some(refusal),
            None => missed.then_some(Refusal::NoSuchDelivery),
        }
    }

    /// Settles one message of a queue in memory as a `Settle` record would; whether it was there.
    pub fn settle_transient(&mut self, id: QueueId, it: &Settle) -> bool {
        let mut all = true;
        for offset in offsets(&it.accepted) {
            all &= self.accept(id, offset);
        }
        for offset in offsets(&it.released) {
            all &= self.release(id, offset);
        }
        for offset in offsets(&it.rejected) {
            all &= self.give_up(id, offset, Cause::Rejected, it.reason.as_deref());
        }
        all
    }

    fn is_pending(&self, id: QueueId, offset: Offset) -> bool {
        self.queues
            .get(&id)
            .is_some_and(|queue| queue.is_pending(offset))
    }

    /// A consumer has accepted it; whether it was still there to be accepted.
    fn accept(&mut self, id: QueueId, offset: Offset) -> bool {
        !self.is_dying(id, offset) && self.take(id, offset)
    }

    fn is_dying(&self, id: QueueId, offset: Offset) -> bool {
        !self.dying.is_empty() && self.dying.contains(&(id, offset))
    }

    /// Takes a message out for good; whether it was there.
    fn take(&mut self, id: QueueId, offset: Offset) -> bool {
        let Some(queue) = self.queues.get_mut(&id) else {
            return false;
        };
        let Some(it) = queue.take(offset, &*self.bodies) else {
            return false;
        };
        self.dying.remove(&(id, offset));
        if let Some(it) = it {
            self.dirty.chunks.insert((id, chunk_of(offset)));
            self.dirty.queues.insert(id);
            self.forget_reference(it.lsn);
        }
        true
    }

    fn forget_reference(&mut self, lsn: Lsn) {
        let segment = self.segment_of(lsn);
        if let Some(count) = self.live_in_segment.get_mut(&segment) {
            *count -= 1;
            if *count == 0 {
                self.live_in_segment.remove(&segment);
            }
        }
        self.dirty.segments.insert(segment);
    }

    /// A consumer gave it back as failed; whether it was there.
    fn release(&mut self, id: QueueId, offset: Offset) -> bool {
        if self.is_dying(id, offset) {
            return false;
        }
        let Some(queue) = self.queues.get_mut(&id) else {
            return false;
        };
        let max_attempts = queue.def.as_ref().map_or(0, |def| def.max_attempts);
        let Some(mark) = queue.mark_mut(offset) else {
            return false;
        };
        mark.acquired = mark.acquired.saturating_add(1);
        mark.failed = mark.failed.saturating_add(1);
        let too_often = max_attempts > 0 && mark.failed >= max_attempts;
        self.dirty.chunks.insert((id, chunk_of(offset)));
        if too_often {
            return self.give_up(id, offset, Cause::MaxAttempts, None);
        }
        queue.make_ready(offset);
        self.touch(id);
        true
    }

    /// The queue gives a message up: it goes to the dead-letter address, or is dropped where there is none. Whether it
    /// was there.
    fn give_up(&mut self, id: QueueId, offset: Offset, cause: Cause, reason: Option<&str>) -> bool {
        let Some(queue) = self.queues.get_mut(&id) else {
            return false;
        };
        let has_dead_letter = queue
            .def
            .as_ref()
            .is_some_and(|def| def.dead_letter.is_some());
        if !has_dead_letter {
            let there = self.take(id, offset);
            if there && !self.replaying {
                self.dropped.push((id, cause));
            }
            return there;
        }
        let Some(mark) = queue.mark_mut(offset) else {
            return false;
        };
        if mark.dying.is_some() {
            return false;
        }
        mark.dying = Some(Dying {
            cause,
            reason: reason.map(str::to_owned),
        });
        queue.live.in_flight.remove(&offset);
        queue.live.returned.remove(&offset);
        self.dying.insert((id, offset));
        self.dirty.chunks.insert((id, chunk_of(offset)));
        true
    }

    fn define_queue(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let mut def = decode::<DefineQueue>(record)?;
        let id = if def.id == 0 {
            QueueId::new(record.lsn().get())
        } else {
            QueueId::new(def.id)
        };
        let as_of = Lsn::new(std::mem::take(&mut def.as_of));
        let by_name = self
            .routes
            .get(def.realm.as_str())
            .and_then(|routes| routes.names.get(def.name.as_str()));
        if def.id == 0 && by_name.is_some() {
            return None; // two clients asked for it at once: the first has made it
        }
        if def.id == 0 {
            self.queues.insert(id, Queue::durable(id));
        }
        let queue = self.queue_mut(id)?;
        for (_, floor) in record.targets() {
            queue.next = queue.next.max(floor);
        }
        def.id = id.get();
        if as_of > Lsn::ZERO && queue.def.is_some() {
            queue.home = as_of; // written again: it says nothing new
        } else {
            queue.home = if as_of > Lsn::ZERO {
                as_of
            } else {
                record.lsn()
            };
            self.set_definition(id, def);
        }
        self.dirty.queues.insert(id);
        None
    }

    /// Gives a queue its definition, new or changed, and routes to it.
    pub(super) fn set_definition(&mut self, id: QueueId, def: DefineQueue) {
        let Some(mut queue) = self.queues.remove(&id) else {
            return;
        };
        self.unroute(&queue);
        let realm: Arc<str> = def.realm.as_str().into();
        self.remove_usurper(id, &def);
        let handle = Arc::new(QueueHandle {
            id,
            realm: Arc::clone(&realm),
            name: def.name.as_str().into(),
            max_messages: def.max_messages,
            max_bytes: def.max_bytes,
            messages: queue.n_messages.into(),
            bytes: queue.bytes.into(),
        });
        let routes = self.routes.entry(realm).or_default();
        routes
            .names
            .insert(Arc::clone(&handle.name), Arc::clone(&handle));
        for filter in &def.bindings {
            if let Ok(filter) = Filter::parse(filter, LIMITS) {
                routes.bindings.bind(&filter, Arc::clone(&handle));
            }
        }
        self.routes_changed = true;
        if def.ttl_ms > 0 {
            self.with_ttl.insert(id);
        } else {
            self.with_ttl.remove(&id);
        }
        queue.handle = Some(handle);
        queue.def = Some(def);
        self.queues.insert(id, queue);
        for (lsn, change) in self
            .queues
            .get_mut(&id)
            .map(|queue| std::mem::take(&mut queue.meanwhile))
            .unwrap_or_default()
        {
            let home = self.queues.get(&id).map_or(Lsn::ZERO, |queue| queue.home);
            if lsn > home {
                self.change_binding(id, change);
            }
        }
    }

    /// Where the log's beginning is gone, a definition that once lost against this one may have been taken for the
    /// first of its name.
    fn remove_usurper(&mut self, id: QueueId, def: &DefineQueue) {
        let holder = self
            .routes
            .get(def.realm.as_str())
            .and_then(|routes| routes.names.get(def.name.as_str()));
        if let Some(other) = holder.map(|handle| handle.id).filter(|other| *other != id) {
            self.remove_queue(other);
            self.dirty.queues.insert(other);
        }
    }

    fn delete_queue(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let id = QueueId::new(decode::<DeleteQueue>(record)?.queue);
        self.remove_queue(id);
        self.dirty.queues.insert(id);
        None
    }

    pub(super) fn forget_contents(&mut self, queue: &Queue) {
        let id = queue.id;
        self.with_ttl.remove(&id);
        self.dying.retain(|(other, _)| *other != id);
        self.expiries.retain(|(_, other, _)| *other != id);
        self.lost.retain(|(other, _)| *other != id);
        self.expiring.retain(|(other, _)| *other != id);
        let numbers: Vec<u64> = queue
            .chunks()
            .map_or_else(Vec::new, |chunks| chunks.keys().copied().collect());
        let mut whole = Queue::durable(id);
        let Some(chunks) = whole.chunks_mut() else {
            return;
        };
        chunks.extend(
            queue
                .chunks()
                .into_iter()
                .flatten()
                .map(|(number, chunk)| (*number, chunk.clone())),
        );
        for number in numbers {
            self.dirty.chunks.insert((id, number));
            let Some(chunk) = whole.resident(number, &*self.bodies) else {
                continue;
            };
            let mut from = 0;
            let mut gone = Vec::new();
            while let Some(slot) = chunk.next_pending(from) {
                from = slot + 1;
                gone.extend(chunk.get(slot).map(|it| it.lsn));
            }
            for lsn in gone {
                self.forget_reference(lsn);
            }
        }
    }

    fn bind(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let it = decode::<Binding>(record)?;
        self.record_binding(
            record.lsn(),
            QueueId::new(it.queue),
            BindingChange::Bound(it.filter),
        );
        None
    }

    fn unbind(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let it = decode::<Binding>(record)?;
        self.record_binding(
            record.lsn(),
            QueueId::new(it.queue),
            BindingChange::Unbound(it.filter),
        );
        None
    }

    fn record_binding(&mut self, lsn: Lsn, id: QueueId, change: BindingChange) {
        let Some(queue) = self.queue_mut(id) else {
            return;
        };
        if queue.def.is_none() {
            queue.meanwhile.push((lsn, change));
        } else {
            self.change_binding(id, change);
        }
        self.dirty.queues.insert(id);
    }

    fn change_binding(&mut self, id: QueueId, change: BindingChange) {
        let Some(queue) = self.queues.get_mut(&id) else {
            return;
        };
        let (Some(def), Some(handle)) = (&mut queue.def, &queue.handle) else {
            return;
        };
        let routes = self.routes.entry(Arc::clone(&handle.realm)).or_default();
        self.routes_changed = true;
        match change {
            BindingChange::Bound(text) => {
                let Ok(filter) = Filter::parse(&text, LIMITS) else {
                    return;
                };
                if routes.bindings.bind(&filter, Arc::clone(handle)) {
                    def.bindings.push(text);
                }
            }
            BindingChange::Unbound(text) => {
                let Ok(filter) = Filter::parse(&text, LIMITS) else {
                    return;
                };
                routes.bindings.unbind(&filter, handle);
                def.bindings.retain(|other| *other != text);
            }
        }
    }

    fn define_session(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let mut def = decode::<DefineSession>(record)?;
        let number = if def.number == 0 {
            SessionNo::new(record.lsn().get())
        } else {
            SessionNo::new(def.number)
        };
        let uuid = Uuid::from_slice(&def.uuid).ok()?;
        let session = self
            .sessions
            .entry(number)
            .or_insert_with(|| Session::unknown(number));
        match &mut session.def {
            // Written again: its count and consumers are better known than the record knew them.
            Some(known) => {
                session.home = Lsn::new(def.as_of);
                (known.expiry_ms, known.name) = (def.expiry_ms, def.name.take());
            }
            None => session.define(def, record.lsn()),
        }
        self.session_ids.insert(uuid, number);
        self.dirty.sessions.insert(number);
        None
    }

    fn end_session(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let number = SessionNo::new(decode::<EndSession>(record)?.session);
        self.dirty.sessions.insert(number);
        self.detached.remove(&number);
        let session = self.sessions.remove(&number)?;
        if let Some(uuid) = session.def.and_then(|def| Uuid::from_slice(&def.uuid).ok())
            && self.session_ids.get(&uuid) == Some(&number)
        {
            self.session_ids.remove(&uuid);
        }
        let consumers: Vec<ConsumerId> = self.consumers_of(number).collect();
        for id in consumers {
            self.remove_consumer(id);
        }
        self.effects.push(Effect::SessionEnded { session: number });
        None
    }

    fn consume(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let consumer = decode::<Consume>(record)?.consumer?;
        self.session_mut(record.origin()?.session)?
            .record(record.lsn(), Change::Began(consumer));
        None
    }

    fn cancel(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let name = decode::<Cancel>(record)?.consumer;
        let number = record.origin()?.session;
        self.session_mut(number)?
            .record(record.lsn(), Change::Ended(name.clone()));
        let ended: Vec<ConsumerId> = self
            .consumers
            .iter()
            .filter(|(_, it)| {
                it.session
                    .as_ref()
                    .is_some_and(|(session, other)| *session == number && *other == name)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            self.remove_consumer(id);
        }
        None
    }

    /// The queue, if it is there; while replaying, one that may be defined later.
    fn queue_mut(&mut self, id: QueueId) -> Option<&mut Queue> {
        if self.replaying && !self.queues.contains_key(&id) {
            self.queues.insert(id, Queue::durable(id));
        }
        self.queues.get_mut(&id)
    }

    fn session_mut(&mut self, number: SessionNo) -> Option<&mut Session> {
        if self.replaying && !self.sessions.contains_key(&number) {
            self.sessions.insert(number, Session::unknown(number));
        }
        self.sessions.get_mut(&number)
    }

    pub(super) fn segment_of(&self, lsn: Lsn) -> u64 {
        lsn.get() / self.segment_bytes
    }
}

/// A change of a queue's bindings.
#[derive(Debug, Clone)]
pub(super) enum BindingChange {
    Bound(String),
    Unbound(String),
}

/// The protobuf part of a record that this program or an older one wrote.
fn decode<M: prost::Message + Default>(record: &RecordRef<'_>) -> Option<M> {
    match M::decode(record.envelope()) {
        Ok(it) => Some(it),
        // The checksum was right, so these are the bytes that we wrote.
        Err(error) => panic!("record {} does not decode: {error}", record.lsn()),
    }
}

/// The offsets of ranges as they stand in a record: first, last, first, last …
fn offsets(ranges: &[u64]) -> impl Iterator<Item = Offset> + '_ {
    let (pairs, _) = ranges.as_chunks::<2>();
    pairs
        .iter()
        .flat_map(|[first, last]| (*first..=*last).map(Offset::new))
}
