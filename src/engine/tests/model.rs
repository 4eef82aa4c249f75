//! The fold once more, as plainly as can be: maps, no chunks, no rows, nothing live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;
use restante_storage::payload::{
    Advance, DefineQueue, DefineSession, DeleteQueue, EndSession, Failure, Settle,
};
use restante_storage::{Kind, RecordRef, SessionNo};

use crate::refusal::Refusal;

/// A waiting message: LSN, failed attempts, given up.
type Waiting = (u64, u32, bool);

/// What waits, by queue name: offset, LSN, failed attempts, given up.
pub(super) type Pending = BTreeMap<Arc<str>, Vec<(u64, u64, u32, bool)>>;

/// What the log says.
#[derive(Default)]
pub(super) struct Model {
    /// Queues by id: name, and what waits by offset.
    queues: BTreeMap<u64, (String, BTreeMap<u64, Waiting>)>,
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
        let refusal = self.effect(record)?;
        if let Some((_, failures)) = self.sessions.get_mut(&session) {
            let refusal = refusal.number();
            failures.push(Failure { seq, refusal });
        }
        Some(refusal)
    }

    fn effect(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        match record.kind() {
            Kind::Enqueue => self.enqueue(record),
            Kind::Settle => return self.settle(&Settle::decode(record.envelope()).unwrap()),
            Kind::DefineQueue => self.define(record),
            Kind::DeleteQueue => {
                let it = DeleteQueue::decode(record.envelope()).unwrap();
                self.queues.remove(&it.queue);
            }
            Kind::DefineSession => {
                let it = DefineSession::decode(record.envelope()).unwrap();
                if it.number == 0 {
                    self.sessions.insert(record.lsn().get(), (0, Vec::new()));
                }
            }
            Kind::EndSession => {
                let it = EndSession::decode(record.envelope()).unwrap();
                self.sessions.remove(&it.session);
            }
            Kind::Advance => {
                let it = Advance::decode(record.envelope()).unwrap();
                return Refusal::from_number(it.refusal);
            }
            _ => {}
        }
        None
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

    fn define(&mut self, record: &RecordRef<'_>) {
        let it = DefineQueue::decode(record.envelope()).unwrap();
        if it.id == 0 && !self.queues.values().any(|(name, _)| *name == it.name) {
            self.queues
                .insert(record.lsn().get(), (it.name, BTreeMap::new()));
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

fn each(ranges: &[u64]) -> impl Iterator<Item = u64> + '_ {
    let (pairs, _) = ranges.as_chunks::<2>();
    pairs.iter().flat_map(|[first, last]| *first..=*last)
}
