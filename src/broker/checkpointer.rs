//! The checkpointer: the thread that carries the engine's changed rows to the state store, and lets the log go of what
//! no longer matters.
//!
//! Order, and the crash that each step bears: rows as of LSN C are in the store and synced; only then may segments below
//! C go, and only those that no waiting message and no definition needs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use restante_storage::Lsn;
use uuid::Uuid;

use super::Shared;
use super::core::Ask;
use super::keeper::Scribe;
use super::rows::Rows;

/// How often it looks whether enough log has been written.
const LOOK: Duration = Duration::from_millis(200);

pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    store: Rows,
    node: Uuid,
    last: Lsn,
    at: Instant,
    /// A checkpoint, and where the log may begin once it is synced as far as that.
    releasing: Option<(Lsn, Lsn)>,
    broken: bool,
}

impl Checkpointer {
    pub(super) fn new(shared: Arc<Shared>, store: Rows, node: Uuid, last: Lsn) -> Self {
        Checkpointer {
            shared,
            store,
            node,
            last,
            at: Instant::now(),
            releasing: None,
            broken: false,
        }
    }

    /// Runs until told to stop, then makes a last checkpoint; or until the other end is gone.
    pub(super) fn run(mut self, stop: &Receiver<()>) {
        let stopped = loop {
            match stop.recv_timeout(LOOK) {
                Err(RecvTimeoutError::Timeout) => {}
                stopped => break stopped,
            }
            let applied = self.shared.log().marks().applied;
            let grown = applied.get().saturating_sub(self.last.get());
            let due = self.at.elapsed() >= self.shared.settings.checkpoint_interval;
            if grown > 0 && (due || grown >= self.shared.settings.checkpoint_bytes) {
                self.checkpoint();
            }
        };
        // A broker that is merely dropped has no folder any more, for all that is known.
        if stopped.is_ok() {
            self.checkpoint();
        }
    }

    fn checkpoint(&mut self) {
        self.at = Instant::now();
        if self.broken {
            return;
        }
        self.dig();
        let (reply, checkpoint) = crossbeam_channel::bounded(1);
        self.shared.ask(Ask::Checkpoint {
            node: self.node,
            reply,
        });
        let Ok(checkpoint) = checkpoint.recv() else {
            return;
        };
        if let Err(error) = self.store.checkpoint(checkpoint.rows) {
            // The log has everything: go on with it, free nothing, and start afresh next time.
            self.broken = true;
            tracing::error!(%error, "the state store failed: no segment is freed until a restart rebuilds it");
            metrics::counter!("restante_checkpoint_failures_total").increment(1);
            return;
        }
        self.last = checkpoint.lsn;
        metrics::counter!("restante_checkpoints_total").increment(1);
        metrics::histogram!("restante_checkpoint_seconds").record(self.at.elapsed());
        metrics::gauge!("restante_checkpoint_timestamp_seconds")
            .set(super::now().get() as f64 / 1000.0);
        metrics::gauge!("restante_state_bytes").set(self.store.bytes_on_disk() as f64);
        self.release();
    }

    /// What is left of deep queues that were deleted is looked at before a checkpoint, in slices: in one piece, nobody would be
    /// served meanwhile.
    fn dig(&self) {
        loop {
            let (reply, more) = crossbeam_channel::bounded(1);
            self.shared.ask(Ask::Dig(reply));
            if more.recv() != Ok(true) {
                return;
            }
        }
    }

    fn release(&mut self) {
        let log = self.shared.log().clone();
        let (reply, answer) = crossbeam_channel::bounded(1);
        self.shared.ask(Ask::Checkpointed {
            lsn: self.last,
            oldest: log.oldest(),
            reply,
        });
        let Ok((needed_from, rewrites)) = answer.recv() else {
            return;
        };
        // A checkpoint of what the log has not synced yet (`storage.sync: interval` and `never`) is thrown away after a
        // power cut, and then the log must still hold what an older one needs.
        let (checkpoint, needed_from) = *self.releasing.get_or_insert((self.last, needed_from));
        if checkpoint <= log.marks().durable {
            self.releasing = None;
            log.release(needed_from);
        }
        if !rewrites.is_empty() {
            tracing::debug!(n = rewrites.len(), "definitions are written again");
            // Written again, so that the log can let go of the segments that hold them.
            Scribe::new(Arc::clone(&self.shared)).write_all(rewrites);
        }
    }
}
