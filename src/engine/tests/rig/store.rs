//! A state store in memory, and what a rig does with it and with the log's beginning.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use restante_storage::payload::Advance;
use restante_storage::{Kind, Lsn, Offset, QueueId};

use super::super::model::Pending;
use super::{NODE, Rig, SEGMENT_BYTES};
use crate::engine::retained::Kept;
use crate::engine::{Bodies, CKPT_KEY, Damage, Engine, Errand, Place};

/// The rows of a state store.
pub(in crate::engine::tests) type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A state store in memory. Clones are the same one.
#[derive(Clone, Default)]
pub(in crate::engine::tests) struct Store(
    pub(in crate::engine::tests) Arc<Mutex<Rows>>,
    /// Bodies that were asked for.
    Arc<AtomicUsize>,
);

impl Store {
    pub(in crate::engine::tests) fn of(rows: Rows) -> Self {
        Store(Arc::new(Mutex::new(rows)), Arc::default())
    }

    pub(in crate::engine::tests) fn n_loaded(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }

    pub(in crate::engine::tests) fn rows(&self) -> Rows {
        self.0.lock().unwrap().clone()
    }

    pub(in crate::engine::tests) fn load(&self) -> Result<Option<Engine>, Damage> {
        let rows = self.rows();
        Engine::load(
            NODE,
            SEGMENT_BYTES,
            Box::new(self.clone()),
            &mut |prefix, visit| {
                let here = rows.range(prefix.to_vec()..);
                for (key, value) in here.take_while(|(key, _)| key.starts_with(prefix)) {
                    visit(key, value);
                }
            },
            &|key| rows.get(key).cloned(),
        )
    }
}

impl Bodies for Store {
    fn body(&self, queue: QueueId, chunk: u64) -> Vec<u8> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let rows = self.0.lock().unwrap();
        let row = rows.get(&Engine::body_key(queue, chunk));
        row.cloned().unwrap_or_default()
    }

    fn damaged(&self, queue: QueueId, chunk: u64) -> ! {
        panic!("damaged: chunk {chunk} of queue {queue}")
    }
}

impl Rig {
    /// A checkpoint all the way to the state store.
    pub(in crate::engine::tests) fn checkpoint(&mut self) {
        let checkpoint = self.engine.checkpoint(NODE);
        let mut rows = self.store.0.lock().unwrap();
        for (key, value) in checkpoint.rows {
            match value {
                Some(value) => drop(rows.insert(key, value)),
                None => drop(rows.remove(&key)),
            }
        }
        drop(rows);
        self.checkpointed = checkpoint.lsn;
        self.engine.evict();
    }

    /// Writes what says nothing until the log is in its next segment.
    pub(in crate::engine::tests) fn next_segment(&mut self) {
        let segment = self.tape.end().get() / SEGMENT_BYTES;
        while self.tape.end().get() / SEGMENT_BYTES == segment {
            self.write(Kind::Advance, None, &Advance::default());
        }
    }

    /// Writes again what keeps the log's beginning, and lets go of that.
    pub(in crate::engine::tests) fn rewrite_and_cut(&mut self) {
        for errand in self.rewrites() {
            self.run(&errand);
        }
        self.checkpoint();
        self.cut();
    }

    /// Begins a segment, and takes what is to be written again so that those before it may go.
    pub(in crate::engine::tests) fn rewrites(&mut self) -> Vec<Errand> {
        self.next_segment();
        self.checkpoint();
        let oldest = self.tape.oldest().unwrap();
        self.engine.take_rewrites(oldest, self.checkpointed, 100)
    }

    /// Whether the log has records before `lsn`.
    pub(in crate::engine::tests) fn has_before(&self, lsn: Lsn) -> bool {
        self.tape.oldest().is_some_and(|oldest| oldest < lsn)
    }

    /// Lets the log go as far as it may.
    pub(in crate::engine::tests) fn cut(&mut self) {
        let needed = self.engine.needed_from(self.checkpointed);
        self.tape.cut_before(needed);
    }

    /// A crash, and a start from the state store and the log's tail.
    pub(in crate::engine::tests) fn restart(&mut self) {
        let loaded = self.store.load().unwrap();
        self.engine = self.replayed(loaded.unwrap_or_else(|| self.blank()));
        self.tape.restart(self.engine.next_offsets());
    }

    fn blank(&self) -> Engine {
        Engine::new(SEGMENT_BYTES, Box::new(self.store.clone()))
    }

    /// What a start without a state store makes of the log.
    pub(in crate::engine::tests) fn rebuilt(&self) -> Engine {
        self.replayed(self.blank())
    }

    pub(in crate::engine::tests) fn replayed(&self, mut engine: Engine) -> Engine {
        for record in self.tape.records(engine.applied()) {
            engine.apply(&record);
        }
        engine.finish_replay(self.time());
        engine
    }
}

/// The rows that a checkpoint and [`Engine::all_rows`] have in common.
pub(in crate::engine::tests) fn durable_rows(rows: &Rows) -> Rows {
    let is_durable = |key: &[u8]| !key.starts_with(b"i/") && key != CKPT_KEY;
    let durable = rows.iter().filter(|(key, _)| is_durable(key));
    durable
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

impl Engine {
    /// All that is kept at addresses.
    pub(in crate::engine::tests) fn all_retained(&self) -> BTreeMap<String, Kept> {
        self.retained.all()
    }

    /// What waits, whatever chunks and histories look like: queue name to (offset, LSN, failed attempts, dying).
    pub(in crate::engine::tests) fn pending(&mut self) -> Pending {
        let bodies = &*self.bodies;
        let mut all = BTreeMap::new();
        for queue in self.queues.values_mut() {
            let Some(handle) = queue.handle.clone() else {
                continue;
            };
            let mut waiting = Vec::new();
            let mut from = Offset::ZERO;
            while let Some(offset) = queue.next_pending(from) {
                from = offset.next();
                let entry = queue.entry(offset, bodies).unwrap();
                let Place::Log { lsn, .. } = entry.place else {
                    continue;
                };
                let lsn = lsn.get();
                waiting.push((offset.get(), lsn, entry.failed, entry.dying));
            }
            all.insert(handle.name.clone(), waiting);
        }
        all
    }
}
