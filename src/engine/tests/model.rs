//! The fold once more, as plainly as can be: maps, no chunks, no rows, nothing live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use restante_storage::payload::{
    Advance, DefineQueue, DefineSession, DeleteQueue, EndSession, Envelope, Failure, Recall,
    Retained, Settle, Subscribe,
};
use restante_storage::{Kind, RecordRef, SessionNo, Source};

use crate::refusal::Refusal;

/// A waiting message: LSN, failed attempts, given up.
type Waiting = (u64, u32, bool);

/// What waits, by queue name: offset, LSN, failed attempts, given up.
pub(super) type Pending = BTreeMap<Arc<str>, Vec<(u64, u64, u32, bool)>>;

/// What an MQTT session keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) queue: u64,
    /// Share and filter, and quality of service.
    pub(super) subscriptions: BTreeMap<(String, String), u32>,
    pub(super) received: BTreeSet<u32>,
    pub(super) releasing: Vec<u32>,
    /// What names its will.
    pub(super) will: Option<u64>,
    /// What its own queue is bound to.
    pub(super) bound: BTreeSet<String>,
}

/// What the log says.
#[derive(Default)]
pub(super) struct Model {
    /// Queues by id: name, and what waits by offset.
    queues: BTreeMap<u64, (String, BTreeMap<u64, Waiting>)>,
    /// What MQTT sessions keep.
    kept: BTreeMap<u64, Kept>,
    /// The revision of what is kept, by address.
    pub(super) retained: BTreeMap<String, u64>,
    /// Sessions: their last frames, and those that were refused.
    sessions: BTreeMap<u64, (u64, Vec<Failure>)>,
}

impl Model {
    pub(super) fn apply(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let seq = record.origin().map_or(0, |origin| origin.seq.get());
        let session = record.origin().map_or(0, |origin| origin.session.get());
        if let Some((last, _)) = self.sessions.get_mut(&session) {
            if seq <= *last {
                return None;
            }
            *last = seq;
        }
        self.keep(record, session);
        let refusal = self.effect(record)?;
        if let Some((_, failures)) = self.sessions.get_mut(&session) {
            let refusal = refusal.number();
            failures.push(Failure { seq, refusal });
        }
        Some(refusal)
    }

    fn effect(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        if let Some((session, id)) = record.source().and_then(Source::will)
            && let Some(kept) = self.kept.get_mut(&session.get())
        {
            kept.will = kept.will.filter(|will| *will != id.get());
        }
        match record.kind() {
            Kind::Enqueue => self.enqueue(record),
            Kind::Retain => {
                self.enqueue(record);
                self.retain(record);
            }
            Kind::Recall => self.recall(record),
            Kind::Settle => return self.settle(&Settle::decode(record.envelope()).unwrap()),
            Kind::DefineQueue => self.define(record),
            Kind::DeleteQueue => {
                let it = DeleteQueue::decode(record.envelope()).unwrap();
                self.queues.remove(&it.queue);
            }
            Kind::DefineSession => {
                let it = DefineSession::decode(record.envelope()).unwrap();
                let number = match it.number {
                    0 => record.lsn().get(),
                    number => number,
                };
                if it.number == 0 {
                    self.sessions.insert(number, (0, Vec::new()));
                    self.kept.insert(number, Kept::default());
                }
                let kept = self.kept.get_mut(&number);
                if let Some(kept) = kept.filter(|_| it.as_of == 0 && !it.keeps_will) {
                    kept.will = it.will.map(|it| it.id.max(record.lsn().get()));
                }
            }
            Kind::EndSession => {
                let it = EndSession::decode(record.envelope()).unwrap();
                self.sessions.remove(&it.session);
                if let Some(kept) = self.kept.remove(&it.session) {
                    self.queues.remove(&kept.queue);
                }
            }
            Kind::Advance => {
                let it = Advance::decode(record.envelope()).unwrap();
                return Refusal::from_number(it.refusal);
            }
            _ => {}
        }
        None
    }

    /// What MQTT sessions keep of it.
    fn keep(&mut self, record: &RecordRef<'_>, session: u64) {
        let subscribe = || Subscribe::decode(record.envelope()).unwrap();
        let by_broker = match record.kind() {
            Kind::Subscribe => subscribe().session,
            _ => 0,
        };
        let session = if by_broker > 0 { by_broker } else { session };
        let Some(kept) = self.kept.get_mut(&session) else {
            return;
        };
        match record.kind() {
            Kind::Subscribe => kept.subscribe(subscribe()),
            Kind::Enqueue | Kind::Retain => {
                let it = Envelope::decode(record.envelope()).unwrap();
                kept.received
                    .extend((it.received > 0).then_some(it.received));
            }
            Kind::Advance => {
                let it = Advance::decode(record.envelope()).unwrap();
                kept.received
                    .extend((it.received > 0).then_some(it.received));
                kept.received.remove(&it.forgotten);
                kept.releasing.retain(|packet| *packet != it.completed);
            }
            Kind::Settle => {
                let it = Settle::decode(record.envelope()).unwrap();
                for packet in it.releasing {
                    if !kept.releasing.contains(&packet) {
                        kept.releasing.push(packet);
                    }
                }
            }
            _ => {}
        }
    }

    /// What an MQTT session keeps; none: it is over.
    pub(super) fn kept(&self, session: SessionNo) -> Option<&Kept> {
        self.kept.get(&session.get())
    }

    fn enqueue(&mut self, record: &RecordRef<'_>) {
        if let Some(source) = record.source()
            && let Some((_, waiting)) = self.queues.get_mut(&source.queue.get())
        {
            waiting.remove(&source.offset.get());
        }
        for (queue, offset) in record.targets() {
            if let Some((_, waiting)) = self.queues.get_mut(&queue.get()) {
                waiting.insert(offset.get(), (record.lsn().get(), 0, false));
            }
        }
    }

    fn retain(&mut self, record: &RecordRef<'_>) {
        let it = Retained::decode(record.envelope()).unwrap();
        let kept = self.retained.get(&it.address).copied();
        match (record.body().is_empty(), it.retain_of) {
            (false, 0) => drop(self.retained.insert(it.address, record.lsn().get())),
            (true, of) if of == 0 || kept == Some(of) => drop(self.retained.remove(&it.address)),
            _ => {} // written again, or too late
        }
    }

    fn recall(&mut self, record: &RecordRef<'_>) {
        let it = Recall::decode(record.envelope()).unwrap();
        for ((queue, offset), it) in record.targets().zip(it.messages) {
            if self.retained.get(&it.address) == Some(&it.revision)
                && let Some((_, waiting)) = self.queues.get_mut(&queue.get())
            {
                waiting.insert(offset.get(), (it.lsn, 0, false));
            }
        }
    }

    fn define(&mut self, record: &RecordRef<'_>) {
        let it = DefineQueue::decode(record.envelope()).unwrap();
        if it.session > 0 && !self.kept.contains_key(&it.session) {
            return;
        }
        if it.id == 0 && !self.queues.values().any(|(name, _)| *name == it.name) {
            self.queues
                .insert(record.lsn().get(), (it.name, BTreeMap::new()));
            if let Some(kept) = self.kept.get_mut(&it.session) {
                kept.queue = record.lsn().get();
            }
        }
    }

    fn settle(&mut self, it: &Settle) -> Option<Refusal> {
        let mut none = BTreeMap::new();
        let waiting = self.queues.get_mut(&it.queue);
        let waiting = waiting.map_or(&mut none, |(_, waiting)| waiting);
        let mut missed = false;
        for offset in each(&it.accepted) {
            let there = waiting.get(&offset).is_some_and(|it| !it.2);
            missed |= !there;
            if there {
                waiting.remove(&offset);
            }
        }
        for offset in each(&it.released) {
            match waiting.get_mut(&offset).filter(|it| !it.2) {
                Some(it) => it.1 += 1,
                None => missed = true,
            }
        }
        for offset in each(&it.rejected) {
            match waiting.get_mut(&offset).filter(|it| !it.2) {
                Some(it) => it.2 = true,
                None => missed = true,
            }
        }
        for offset in each(&it.expired).chain(each(&it.exhausted)) {
            if let Some(it) = waiting.get_mut(&offset) {
                it.2 = true;
            }
        }
        for offset in each(&it.dropped) {
            waiting.remove(&offset);
        }
        Refusal::from_number(it.refusal).or(missed.then_some(Refusal::NoSuchDelivery))
    }

    /// As [`crate::engine::Engine::pending`].
    pub(super) fn pending(&self) -> Pending {
        self.queues
            .values()
            .map(|(name, waiting)| {
                let waiting = waiting.iter();
                let list = waiting.map(|(offset, it)| (*offset, it.0, it.1, it.2));
                (name.as_str().into(), list.collect())
            })
            .collect()
    }

    /// A session's frames that were refused.
    pub(super) fn failures(&self, session: SessionNo) -> &[Failure] {
        &self.sessions[&session.get()].1
    }

    /// Records of which something waits.
    pub(super) fn live_lsns(&self) -> BTreeSet<u64> {
        let queues = self.queues.values();
        queues
            .flat_map(|(_, waiting)| waiting.values().map(|it| it.0))
            .collect()
    }
}

impl Kept {
    fn subscribe(&mut self, it: Subscribe) {
        let key = match &it.set {
            Some(set) => (set.share.clone(), set.filter.clone()),
            None => (it.removed_share, it.removed_filter),
        };
        let qos = it.set.map(|set| set.qos);
        if key.0.is_empty() && it.queue > 0 {
            match qos {
                Some(1..) => drop(self.bound.insert(key.1.clone())),
                _ => drop(self.bound.remove(&key.1)),
            }
        }
        match qos {
            Some(qos) => drop(self.subscriptions.insert(key, qos)),
            None => drop(self.subscriptions.remove(&key)),
        }
    }
}

fn each(ranges: &[u64]) -> impl Iterator<Item = u64> + '_ {
    let (pairs, _) = ranges.as_chunks::<2>();
    pairs.iter().flat_map(|[first, last]| *first..=*last)
}
