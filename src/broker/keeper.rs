//! The keeper: the thread that writes what the engine wants written (expiries, returns, dead letters, sessions that are
//! over), watches the disk, and wakes for it now and then even when nobody rings.
//!
//! The engine's thread never writes to the log itself: the log's writer waits for the core, and a core that waited for
//! the writer would close a circle.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, select};
use prost::Message as _;
use restante_storage::payload::Envelope;
use restante_storage::{
    Disk, Draft, DraftBatch, EncodeEnvelope, Kind, Offset, QueueId, ReadError, RecordRef, Source,
    Stamp,
};

use super::core::{Ask, Batch};
use super::publish::Takers;
use super::{Shared, now};
use crate::engine::address::{Address, Space};
use crate::engine::{Errand, Move, Place};

/// How often it looks for what is due by the clock.
const TICK: Duration = Duration::from_millis(250);
/// Errands of one round.
const ERRANDS_MAX: usize = 1024;

pub(super) struct Keeper {
    scribe: Scribe,
    disk: Arc<dyn Disk>,
    data: std::path::PathBuf,
}

/// Writes errands to the log, in batches.
pub(super) struct Scribe {
    shared: Arc<Shared>,
    batch: DraftBatch<Batch>,
    /// Moves that could not be made: tried again at the next tick, not at once and for ever.
    failed: Vec<(QueueId, Offset)>,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, disk: Arc<dyn Disk>, data: std::path::PathBuf) -> Self {
        Keeper {
            scribe: Scribe::new(shared),
            disk,
            data,
        }
    }

    /// Runs until told to stop (the other end of `stop` is gone).
    pub(super) fn run(mut self, bell: &Receiver<()>, stop: &Receiver<()>) {
        let mut ticked = Instant::now();
        loop {
            select! {
                recv(stop) -> _ => return,
                recv(bell) -> _ => {}
                default(TICK.saturating_sub(ticked.elapsed())) => {}
            }
            // Also where the bell never rests.
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.watch_disk();
                for (queue, offset) in self.scribe.failed.drain(..) {
                    self.scribe.shared.ask(Ask::MoveFailed(queue, offset));
                }
            }
            self.run_errands();
        }
    }

    fn watch_disk(&self) {
        match self.disk.free_bytes(&self.data) {
            Ok(free) => {
                let full = free < self.scribe.shared.settings.free_low_bytes;
                if self.scribe.shared.disk_full.swap(full, Ordering::Relaxed) != full {
                    tracing::warn!(
                        free,
                        low = self.scribe.shared.settings.free_low_bytes,
                        full,
                        "disk space"
                    );
                }
                metrics::gauge!("restante_disk_free_bytes").set(free as f64);
            }
            Err(error) => tracing::warn!(%error, "the free disk space cannot be told"),
        }
    }

    fn run_errands(&mut self) {
        loop {
            let (reply, errands) = crossbeam_channel::bounded(1);
            self.scribe.shared.ask(Ask::Errands {
                limit: ERRANDS_MAX,
                reply,
            });
            let Ok(errands) = errands.recv() else { return };
            let more = errands.len() >= ERRANDS_MAX;
            self.scribe.write_all(errands);
            if !more {
                return;
            }
        }
    }
}

impl Scribe {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Scribe {
            batch: DraftBatch::new(shared.log().limits(), Batch::default()),
            shared,
            failed: Vec::new(),
        }
    }

    pub(super) fn write_all(&mut self, errands: Vec<Errand>) {
        for errand in errands {
            self.write(errand);
        }
        self.submit();
    }

    fn write(&mut self, errand: Errand) {
        match errand {
            Errand::Settle(it) => self.push(Kind::Settle, &it),
            Errand::End(it) => self.push(Kind::EndSession, &it),
            Errand::Delete(it) => self.push(Kind::DeleteQueue, &it),
            Errand::Queue(it) => self.define_queue(&it, it.id),
            Errand::Session(it) => self.push(Kind::DefineSession, &it),
            Errand::Move(it) => {
                if let Err(why) = self.move_message(&it) {
                    tracing::debug!(queue = %it.name, offset = %it.offset, %why, "not dead-lettered yet");
                    self.failed.push((it.queue, it.offset));
                }
            }
        }
    }

    fn define_queue(&mut self, def: &restante_storage::payload::DefineQueue, id: u64) {
        let targets = [QueueId::new(id)];
        let targets = if id == 0 { &targets[..0] } else { &targets[..] };
        self.push_draft(&Draft {
            targets,
            stamp: Stamp::Floor,
            ..Draft::new(Kind::DefineQueue, now(), def)
        });
    }

    fn push(&mut self, kind: Kind, envelope: &dyn EncodeEnvelope) {
        self.push_draft(&Draft::new(kind, now(), envelope));
    }

    fn push_draft(&mut self, draft: &Draft<'_>) {
        if self.batch.len_bytes() >= 1 << 20 {
            self.submit();
        }
        if let Err(refused) = self.batch.push(draft) {
            tracing::error!(%refused, kind = ?draft.kind, "the broker's own record did not fit");
        }
    }

    fn submit(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let fresh = DraftBatch::new(self.shared.log().limits(), Batch::default());
        // Refused only once the log is closed or has failed: then all this is found again at the next start.
        self.shared
            .log()
            .submit(std::mem::replace(&mut self.batch, fresh))
            .ok();
    }

    /// A message goes to its queue's dead-letter address: one record takes it out of the one and puts it to the other.
    fn move_message(&mut self, it: &Move) -> Result<(), Delay> {
        let bytes = match &it.place {
            Place::Memory(record) => record.clone(),
            Place::Log { lsn, bytes } => self
                .shared
                .reader()
                .read(*lsn, *bytes)
                .map_err(Delay::Read)?,
        };
        let record = RecordRef::parse(&bytes).map_err(|_| Delay::Bytes)?;
        let mut envelope = Envelope::decode(Bytes::copy_from_slice(record.envelope()))
            .map_err(|_| Delay::Bytes)?;
        annotate(&mut envelope, it, &record);
        let takers = Takers::of(&self.shared.routes.load(), &it.realm, &it.address);
        if takers.durable.is_empty() && self.make_queue(it) {
            return Err(Delay::Queue);
        }
        if takers.durable.is_empty() {
            tracing::warn!(queue = %it.name, address = %it.address, "the dead-letter address leads nowhere: dropped");
        } else {
            self.shared.stats.dead_lettered(it.cause);
        }
        self.push_draft(&Draft {
            priority: record.priority(),
            source: Some(Source {
                queue: it.queue,
                offset: it.offset,
            }),
            targets: &takers.durable,
            body: record.body(),
            ..Draft::new(Kind::Enqueue, now(), &envelope)
        });
        Ok(())
    }

    /// Writes down the queue that a dead-letter address lacks; whether it may.
    fn make_queue(&mut self, it: &Move) -> bool {
        let settings = &self.shared.settings;
        let Ok(address) = Address::parse(&it.address, settings.address) else {
            return false;
        };
        if !settings.create_on_send || address.space() != Space::Ordinary {
            return false;
        }
        let def = settings.queue_definition(&it.realm, &address);
        self.define_queue(&def, 0);
        true
    }
}

/// Why a message is not moved yet; it is tried again.
#[derive(Debug, thiserror::Error)]
enum Delay {
    #[error("it cannot be read: {0}")]
    Read(ReadError),
    #[error("it does not decode")]
    Bytes,
    #[error("its new queue is being made")]
    Queue,
}

/// Says on the message what became of it.
fn annotate(envelope: &mut Envelope, it: &Move, record: &RecordRef<'_>) {
    if envelope.taken == 0 {
        envelope.taken = record.time().get();
    }
    let mut say = |name: &str, value: String| envelope.properties.insert(name.to_owned(), value);
    say("dead-letter-reason", it.cause.as_str().to_owned());
    say("dead-letter-queue", it.name.to_string());
    say("dead-letter-offset", it.offset.to_string());
    say("dead-letter-acquired", it.acquired.to_string());
    say("dead-letter-failed", it.failed.to_string());
    say("dead-letter-time", now().to_string());
    if let Some(reason) = &it.reason {
        say("dead-letter-detail", reason.clone());
    }
}
