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
    Disk, Draft, DraftBatch, EncodeEnvelope, Kind, Offset, QueueId, ReadError, RecordRef, Refused,
    Source, Stamp,
};

use super::admin::Order;
use super::core::{Ask, Batch, Extras};
use super::fetch::{is_damage, settle_address};
use super::publish::{Care, Takers};
use super::rights::{ending, own_queue};
use super::{Shared, now};
use crate::engine::address::{Address, Space};
use crate::engine::{Errand, Move, Place, RetainAgain};

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
            let due = ticked.elapsed() >= TICK;
            if due {
                ticked = Instant::now();
                self.watch_disk();
                self.scribe.give_back_failed();
                self.scribe.answer_late(ticked);
            }
            self.scribe.run_errands(due);
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
}

impl Scribe {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Scribe {
            batch: DraftBatch::new(shared.log().limits(), Batch::default()),
            shared,
            failed: Vec::new(),
        }
    }

    /// Writes all that the engine wants written now; `due`: what is due by the clock as well, for which it looks at much.
    pub(super) fn run_errands(&mut self, due: bool) {
        // Whoever has run them knows that those that others took before are in the log's hands too.
        let shared = Arc::clone(&self.shared);
        let _one_at_a_time = shared.errands.lock();
        loop {
            let (reply, errands) = crossbeam_channel::bounded(1);
            self.shared.ask(Ask::Errands {
                due,
                limit: ERRANDS_MAX,
                reply,
            });
            let Ok(errands) = errands.recv() else { return };
            let more = errands.len() >= ERRANDS_MAX;
            self.write_all(errands);
            if !more {
                return;
            }
        }
    }

    /// Has the moves that could not be made asked for again.
    pub(super) fn give_back_failed(&mut self) {
        for (queue, offset) in self.failed.drain(..) {
            self.shared.ask(Ask::MoveFailed(queue, offset));
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
            Errand::Will(it) => self.write_will(&it),
            Errand::End(it) => drop(self.push_draft(&ending(&it, &own_queue(&it)))),
            Errand::Delete(it) => {
                let targets = [QueueId::new(it.queue)];
                self.push_draft(&Draft {
                    targets: &targets,
                    stamp: Stamp::Forget,
                    ..Draft::new(Kind::DeleteQueue, now(), &it)
                });
            }
            Errand::Queue(it) => self.define_queue(&it, it.id),
            Errand::Session(it) => self.push(Kind::DefineSession, &*it),
            Errand::Unretain(it) => self.push(Kind::Retain, &it),
            Errand::Retain(it) => self.retain_again(&it),
            // If there is no time for it now, the next checkpoint asks again.
            Errand::Config(keys) => {
                self.shared.changes.try_send(Order::Rewrite(keys)).ok();
            }
            Errand::Move(it) => {
                if let Err(why) = self.move_message(&it) {
                    tracing::debug!(queue = %it.name, offset = %it.offset, %why, "not dead-lettered yet");
                    self.failed.push((it.queue, it.offset));
                }
            }
        }
    }

    /// A message that is kept at its address is written again. If it cannot be read now, it is asked for again.
    fn retain_again(&mut self, it: &RetainAgain) {
        let bytes = match self.shared.reader().read(it.lsn, it.bytes) {
            Ok(bytes) => bytes,
            Err(error) if is_damage(&error) => {
                tracing::error!(realm = %it.realm, address = %it.address, lsn = %it.lsn, %error, "a retained message is lost");
                return self.push(Kind::Retain, &it.lost());
            }
            Err(ReadError::Gone(_)) => return, // it went meanwhile
            Err(error) => {
                tracing::warn!(lsn = %it.lsn, %error, "a retained message cannot be read now");
                return;
            }
        };
        let record = RecordRef::parse(&bytes).ok();
        let envelope = record.and_then(|it| Envelope::decode(it.envelope()).ok());
        let (Some(record), Some(mut envelope)) = (record, envelope) else {
            return;
        };
        // Who else had it, and whose frame it was, is told by the first record.
        envelope.routed.clear();
        envelope.received = 0;
        (envelope.retain_of, envelope.as_of) = (it.revision.get(), it.as_of.get());
        self.push_draft(&Draft {
            priority: record.priority(),
            expires: record.expires(),
            body: record.body(),
            ..Draft::new(Kind::Retain, record.time(), &envelope)
        });
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

    /// Its place in the batch, if it fits.
    pub(super) fn push_draft(&mut self, draft: &Draft<'_>) -> Option<usize> {
        if self.batch.len_bytes() >= 1 << 20 {
            self.submit();
        }
        let mut pushed = self.batch.push(draft);
        if pushed == Err(Refused::BatchFull) {
            self.submit();
            pushed = self.batch.push(draft);
        }
        if let Err(refused) = pushed {
            tracing::error!(%refused, kind = ?draft.kind, "the broker's own record did not fit");
        }
        pushed.ok()
    }

    /// Who takes the message of that record beside its queues.
    pub(super) fn add_extras(&mut self, index: usize, extras: Extras) {
        self.batch.companion_mut().extras.push((index, extras));
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
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
        let Some(bytes) = self.bytes_of(it)? else {
            return self.move_marker(it);
        };
        let record = RecordRef::parse(&bytes).map_err(|_| Delay::Bytes)?;
        let mut envelope = Envelope::decode(Bytes::copy_from_slice(record.envelope()))
            .map_err(|_| Delay::Bytes)?;
        settle_address(&mut envelope, it.queue);
        if envelope.taken == 0 {
            envelope.taken = record.time().get();
        }
        self.write_move(it, envelope, record.priority(), record.body())
    }

    /// The record of a message; none: its bytes are lost.
    fn bytes_of(&self, it: &Move) -> Result<Option<Bytes>, Delay> {
        let bytes = match &it.place {
            Place::Memory(record) => return Ok(Some(record.clone())),
            Place::Log { lsn, bytes } => self.shared.reader().read(*lsn, *bytes),
        };
        match bytes {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if is_damage(&error) => {
                tracing::error!(queue = %it.name, offset = %it.offset, %error, "a stored message is lost: a marker goes in its place");
                Ok(None)
            }
            Err(error) => Err(Delay::Read(error)),
        }
    }

    /// In place of a message whose bytes are lost: says which it was, and where it lay.
    fn move_marker(&mut self, it: &Move) -> Result<(), Delay> {
        let mut envelope = Envelope {
            address: it.name.to_string(),
            uuid: Bytes::copy_from_slice(uuid::Uuid::now_v7().as_bytes()),
            text: true,
            ..Envelope::default()
        };
        if let Place::Log { lsn, .. } = it.place {
            let properties = &mut envelope.properties;
            properties.insert("dead-letter-lsn".to_owned(), lsn.to_string());
        }
        self.write_move(it, envelope, 0, b"")
    }

    fn write_move(
        &mut self,
        it: &Move,
        mut envelope: Envelope,
        priority: u8,
        body: &[u8],
    ) -> Result<(), Delay> {
        annotate(&mut envelope, it);
        let takers = Takers::of(
            &self.shared.routes.load(),
            &it.realm,
            &it.address,
            Care::KEPT,
        );
        if takers.n_shed() > 0 {
            self.shared.stats.shed(takers.n_shed());
        }
        if takers.have_no_durable() && self.makes_queue(it) {
            return Err(Delay::Queue);
        }
        if takers.durable.is_empty() {
            tracing::warn!(queue = %it.name, address = %it.address, "the dead-letter address leads nowhere: dropped");
        } else {
            self.shared.stats.dead_lettered(it.cause);
        }
        self.push_draft(&Draft {
            priority,
            source: Some(Source {
                queue: it.queue,
                offset: it.offset,
            }),
            targets: &takers.durable,
            body,
            ..Draft::new(Kind::Enqueue, now(), &envelope)
        });
        Ok(())
    }

    /// Writes down the queue that a dead-letter address lacks; whether there may be one, and its message waits for it.
    fn makes_queue(&mut self, it: &Move) -> bool {
        let settings = &self.shared.settings;
        let Ok(address) = Address::parse(&it.address, settings.address) else {
            return false;
        };
        if !settings.create_on_send || address.space() != Space::Ordinary {
            return false;
        }
        // Its realm may be about to go: then so is the message, or else it is tried again.
        let reserved = self.shared.reserve_in_any_case(&it.realm, address.as_str());
        if let Ok(reserved) = reserved {
            let def = settings.queue_definition(&it.realm, &address);
            self.define_queue(&def, 0);
            self.batch.companion_mut().reserved.push(reserved);
        }
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
fn annotate(envelope: &mut Envelope, it: &Move) {
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
