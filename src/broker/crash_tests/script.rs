//! A log, an engine and a state store at work as the broker's threads drive them, but one step after another.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use restante_storage::payload::{
    Advance, Cancel, Config, ConfigEntry, Consume, DefineQueue, DefineSession, DeleteQueue,
    EndSession, MQTT, Paused, SessionConsumer, Settle, Subscribe, Subscription,
};
use restante_storage::sim::{Fault, Op, SimDisk, Why};
use restante_storage::state::{CrashTo, MemoryStore, StateBatch, StateStore};
use restante_storage::{
    Commit, Draft, DraftBatch, EncodeEnvelope, Kind, Log, LogOptions, Lsn, Offset, Origin, QueueId,
    Raw, Seq, SessionNo, Source, Stamp, SyncPolicy, UnixMillis,
};
use uuid::Uuid;

use super::model::{Deed, Intent, Keep, MAX_ATTEMPTS, Model, Settled, each};
use crate::broker::rows::Rows;
use crate::broker::start::recover;
use crate::engine::{ConfigKey, Engine, Errand, Wanted, ranges};

const DIR: &str = "data";
const SEGMENT_BYTES: u64 = 16 << 10;
const REALM: &str = "default";
/// The queue that the others' dead letters go to.
const DEAD: u32 = 0;
/// Steps of the script after it has set up.
const STEPS: u32 = 260;

/// The disk halted, or the log noticed.
#[derive(Debug)]
pub(super) struct Stopped;

/// What the script was told, and what it is still to be told.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// After all that was acknowledged.
    pub(super) model: Model,
    /// Submitted together, and not acknowledged: a beginning of it may have been stored.
    pub(super) in_doubt: Vec<Deed>,
    queues: BTreeMap<u32, QueueId>,
    sessions: BTreeMap<u32, SessionNo>,
    /// The record of each message.
    pub(super) lsns: BTreeMap<u64, Lsn>,
    seqs: BTreeMap<u32, u64>,
    /// Messages, queues and sessions so far.
    n_named: u32,
}

/// A record to be.
struct Entry {
    kind: Kind,
    envelope: Box<dyn EncodeEnvelope>,
    targets: Vec<QueueId>,
    stamp: Stamp,
    expires: Option<UnixMillis>,
    source: Option<Source>,
    body: Vec<u8>,
    deed: Deed,
}

enum Event {
    Stored(Commit<()>),
    Failed,
}

pub(super) struct Run {
    disk: SimDisk,
    pub(super) log: Log<()>,
    events: Receiver<Event>,
    engine: Engine,
    store: Rows,
    node: Uuid,
    pub(super) told: Told,
    dice: Dice,
    /// For what sessions keep: with the one dice, all else would come out otherwise.
    keeps: Dice,
    now: UnixMillis,
    /// A checkpoint that is stored, and after which nothing was released yet.
    checkpointed: Option<Lsn>,
}

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT_BYTES,
        sync: SyncPolicy::Always,
        commit_bytes_max: 64 << 10,
        tail_bytes: 4 << 10,
        spares: 1,
        batches_max: 16,
        record_bytes_max: 4 << 10,
        in_flight_bytes_max: 1 << 20,
    }
}

/// As the broker does at its start.
pub(super) fn recovered(
    disk: &SimDisk,
    store: &Rows,
) -> Result<(restante_storage::LogScan, Engine), String> {
    let started = Log::<()>::scan(Arc::new(disk.clone()), Path::new(DIR), options())
        .map_err(Into::into)
        .and_then(|scan| recover(Path::new(DIR), scan, store, SyncPolicy::Always));
    match started {
        Ok((scan, engine, _)) => Ok((scan, engine)),
        Err(error) => Err(format!("does not start: {error:?}")),
    }
}

impl Run {
    pub(super) fn start(disk: &SimDisk, store: Rows, told: Told) -> Result<Run, String> {
        let (scan, engine) = recovered(disk, &store)?;
        let node = scan.node();
        let offsets: HashMap<_, _> = engine.next_offsets().collect();
        let (send, events) = unbounded();
        let log = scan
            .start(offsets, sink(send.clone()), move |_| {
                drop(send.send(Event::Failed))
            })
            .map_err(|error| format!("does not start: {error:?}"))?;
        log.wait_for_housekeeping();
        Ok(Run {
            disk: disk.clone(),
            log,
            events,
            engine,
            store,
            node,
            told,
            dice: Dice(0x5EED),
            keeps: Dice(0x5EED),
            now: UnixMillis::new(1_000_000),
            checkpointed: None,
        })
    }

    /// Of the records in doubt, the first `n_stored` are there.
    pub(super) fn dispel(&mut self, n_stored: usize) {
        for deed in std::mem::take(&mut self.told.in_doubt)
            .iter()
            .take(n_stored)
        {
            self.told.model.apply(deed);
            match &deed.intent {
                Intent::Define { queue, name } => {
                    let mut ids = self.engine.next_offsets().map(|(id, _)| id);
                    let engine = &self.engine;
                    let is_it =
                        |id: &QueueId| engine.queue(*id).is_some_and(|it| *it.name == **name);
                    let id = ids.find(is_it);
                    self.told.queues.extend(id.map(|id| (*queue, id)));
                }
                Intent::Begin { session, uuid } => {
                    let number = self.engine.session_number(*uuid);
                    self.told
                        .sessions
                        .extend(number.map(|number| (*session, number)));
                }
                _ => {}
            }
        }
    }

    /// Everything that the broker does to log and store, in an order that only the seed decides.
    pub(super) fn script(&mut self) -> Result<(), Stopped> {
        self.define("dead")?;
        for name in ["a", "b", "c"] {
            self.define(name)?;
        }
        self.begin()?;
        self.begin()?;
        for _ in 0..STEPS {
            self.now = self.now.saturating_add(1000);
            match self.dice.below(28) {
                0..=6 => self.send(1)?,
                7..=8 => {
                    let n = 2 + self.dice.below(6);
                    self.send(n)?;
                }
                9 => self.send_again()?,
                10..=14 => self.settle()?,
                15 => self.accept_all()?,
                16 => self.change_queues()?,
                17 => self.change_sessions()?,
                18 => self.run_errands()?,
                27 => self.configure()?,
                19 => self.checkpoint(),
                20..=22 => self.release()?,
                23 => self.purge()?,
                24 => self.move_some()?,
                25 => self.redrive()?,
                _ => self.change_definition()?,
            }
        }
        Ok(())
    }

    /// A little of everything after a start.
    pub(super) fn go_on(&mut self) -> Result<(), Stopped> {
        self.now = self.now.saturating_add(1_000_000);
        self.send(3)?;
        self.settle()?;
        self.change_definition()?;
        self.move_some()?;
        self.run_errands()?;
        self.checkpoint();
        self.release()?;
        self.purge()?;
        self.send(2)
    }

    fn define(&mut self, name: &str) -> Result<(), Stopped> {
        let queue = self.told.name();
        let queue = if name == "dead" { DEAD } else { queue };
        let def = DefineQueue {
            realm: REALM.into(),
            name: name.into(),
            max_attempts: if queue == DEAD { 0 } else { MAX_ATTEMPTS },
            dead_letter: (queue != DEAD).then(|| "dead".into()),
            bindings: vec![name.into()],
            ..DefineQueue::default()
        };
        let intent = Intent::Define {
            queue,
            name: name.into(),
        };
        self.write(vec![Entry::new(Kind::DefineQueue, def, intent)])
    }

    fn begin(&mut self) -> Result<(), Stopped> {
        let session = self.told.name();
        let uuid = Uuid::from_u128(u128::from(session) << 64 | u128::from(self.dice.next()));
        let def = DefineSession {
            uuid: uuid.as_bytes().to_vec().into(),
            realm: REALM.into(),
            expiry_ms: 60_000,
            protocol: MQTT,
            ..DefineSession::default()
        };
        self.write(vec![Entry::new(
            Kind::DefineSession,
            def,
            Intent::Begin { session, uuid },
        )])
    }

    fn send(&mut self, n: u64) -> Result<(), Stopped> {
        let entries = (0..n).filter_map(|_| self.message()).collect();
        self.write(entries)
    }

    /// A frame comes, and comes again at once. (The log never has one again later: a session's next socket begins with
    /// what is applied.)
    fn send_again(&mut self) -> Result<(), Stopped> {
        let mut entries = Vec::from_iter(self.message());
        if let Some(frame) = entries.first().and_then(|entry| entry.deed.frame) {
            let mut again = self.message();
            again
                .iter_mut()
                .for_each(|again| again.deed.frame = Some(frame));
            entries.extend(again);
        }
        self.write(entries)
    }

    fn message(&mut self) -> Option<Entry> {
        let mut targets = self.queues();
        let n_targets = 1 + self.dice.below(3).min(self.dice.below(3)) as usize;
        while targets.len() > n_targets {
            targets.remove(self.dice.below(targets.len() as u64) as usize);
        }
        let id = u64::from(self.told.name());
        let len = if self.dice.below(8) == 0 {
            3000
        } else {
            8 + self.dice.below(700) as usize
        };
        let mut entry = Entry::new(
            Kind::Enqueue,
            Nothing,
            Intent::Send {
                id,
                targets: targets.clone(),
                source: None,
            },
        );
        entry.targets = targets
            .iter()
            .filter_map(|queue| self.told.queues.get(queue).copied())
            .collect();
        entry.body = body(id, len);
        entry.expires = (self.dice.below(6) == 0).then(|| self.now.saturating_add(3000));
        entry.deed.frame = self.frame();
        (!entry.targets.is_empty()).then_some(entry)
    }

    fn settle(&mut self) -> Result<(), Stopped> {
        let Some(queue) = self.any_queue() else {
            return Ok(());
        };
        let mut offsets = Settled::default();
        let waiting: Vec<u64> = self.waiting(queue);
        for offset in waiting {
            match self.dice.below(8) {
                0..=2 => offsets.accepted.push(offset),
                3 => offsets.released.push(offset),
                4 => offsets.rejected.push(offset),
                5 => offsets.returned.push(offset),
                _ => {}
            }
        }
        if self.dice.below(4) == 0 {
            offsets.accepted.push(
                self.told
                    .model
                    .queues
                    .get(&queue)
                    .map_or(1, |queue| queue.next)
                    + 100,
            );
        }
        let frame = self.frame();
        self.write_settle(queue, offsets, frame)
    }

    /// So that segments become free.
    fn accept_all(&mut self) -> Result<(), Stopped> {
        self.run_errands()?;
        for queue in Vec::from_iter(self.told.model.queues.keys().copied()) {
            let offsets = Settled {
                accepted: self.waiting(queue),
                ..Settled::default()
            };
            self.write_settle(queue, offsets, None)?;
        }
        Ok(())
    }

    fn write_settle(
        &mut self,
        queue: u32,
        offsets: Settled,
        frame: Option<(u32, u64)>,
    ) -> Result<(), Stopped> {
        let Some(id) = self.told.queues.get(&queue) else {
            return Ok(());
        };
        let all = |offsets: &[u64]| ranges(offsets.iter().copied().map(Offset::new));
        let it = Settle {
            queue: id.get(),
            accepted: all(&offsets.accepted),
            released: all(&offsets.released),
            rejected: all(&offsets.rejected),
            expired: all(&offsets.expired),
            exhausted: all(&offsets.exhausted),
            returned: all(&offsets.returned),
            dropped: all(&offsets.dropped),
            ..Settle::default()
        };
        let mut entry = Entry::new(Kind::Settle, it, Intent::Settle { queue, offsets });
        entry.deed.frame = frame;
        self.write(vec![entry])
    }

    fn change_queues(&mut self) -> Result<(), Stopped> {
        let queues = self.queues();
        match self.dice.below(3) {
            // The second of a name makes nothing.
            0 => {
                let name = self.dice.pick(&["a", "b", "c", "d"]);
                self.define(name.unwrap_or_default())
            }
            1 if queues.len() > 2 => {
                let queue = self.dice.pick(&queues).unwrap_or(DEAD);
                let it = DeleteQueue {
                    queue: self.told.queues.get(&queue).map_or(0, |id| id.get()),
                    realm: REALM.into(),
                    name: self
                        .told
                        .model
                        .queues
                        .get(&queue)
                        .map_or_else(String::new, |queue| queue.name.clone()),
                };
                let mut entry = Entry::new(Kind::DeleteQueue, it, Intent::Delete { queue });
                entry.targets = self.told.queues.get(&queue).copied().into_iter().collect();
                entry.stamp = Stamp::Forget;
                self.write(vec![entry])
            }
            _ => {
                let name = self.dice.pick(&["d", "e", "f"]);
                self.define(name.unwrap_or_default())
            }
        }
    }

    /// Some documents at once.
    fn configure(&mut self) -> Result<(), Stopped> {
        let mut documents: Vec<(String, Option<u64>)> = Vec::new();
        for name in ["r", "s", "t"] {
            match self.dice.below(3) {
                0 => documents.push((name.to_owned(), Some(self.dice.next()))),
                1 => documents.push((name.to_owned(), None)),
                _ => {}
            }
        }
        let entry = |(name, value): &(String, Option<u64>)| ConfigEntry {
            kind: 1,
            name: name.clone(),
            value: value.map(|it| it.to_string().into_bytes().into()),
            ..ConfigEntry::default()
        };
        let config = Config {
            entries: documents.iter().map(entry).collect(),
            ..Config::default()
        };
        let intent = Intent::Configure { documents };
        self.write(vec![Entry::new(Kind::Config, config, intent)])
    }

    /// What the registrar does for the checkpointer.
    fn configure_again(&mut self, keys: &[ConfigKey]) -> Result<(), Stopped> {
        let all = self.engine.config().filter(|(key, _)| keys.contains(key));
        let entries = all.map(|(key, it)| ConfigEntry {
            kind: key.kind,
            realm: key.realm.clone(),
            name: key.name.clone(),
            value: Some(it.value.clone()),
            revision: it.revision.get(),
        });
        let config = Config {
            entries: entries.collect(),
            ..Config::default()
        };
        self.write(vec![Entry::new(Kind::Config, config, Intent::Again)])
    }

    /// An administrator pauses a queue or lets it go on, and sets how long messages may wait.
    fn change_definition(&mut self) -> Result<(), Stopped> {
        let Some(queue) = self.any_queue() else {
            return Ok(());
        };
        let id = self.told.queues.get(&queue).copied();
        let def = id.and_then(|id| self.engine.queue(id)?.def.clone());
        let (Some(id), Some(def)) = (id, def) else {
            return Ok(());
        };
        let mut def = DefineQueue::clone(&def);
        let paused = self.dice.below(2) == 0;
        def.paused = paused.then(|| Paused {
            by: "eve".into(),
            since: self.now.get(),
            reason: "because".into(),
        });
        def.ttl_ms = self.dice.below(2) * 40_000;
        let ttl_ms = def.ttl_ms;
        let intent = Intent::Change {
            queue,
            paused,
            ttl_ms,
        };
        let mut entry = Entry::new(Kind::DefineQueue, def, intent);
        entry.targets = vec![id];
        entry.stamp = Stamp::Floor;
        self.write(vec![entry])
    }

    /// What of a queue an administrator may have: nobody else gets it until a record says what became of it.
    fn claim(&mut self, queue: u32, n: usize) -> Vec<Offset> {
        let id = self.told.queues.get(&queue).copied();
        let all = Wanted::Range(Offset::ZERO, Offset::new(u64::MAX - 1), n);
        let claim = id.and_then(|id| self.engine.claim(id, &all));
        claim.map_or_else(Vec::new, |claim| claim.claimed)
    }

    fn purge(&mut self) -> Result<(), Stopped> {
        let Some(queue) = self.any_queue() else {
            return Ok(());
        };
        let claimed = self.claim(queue, 6);
        let offsets = Settled {
            dropped: claimed.iter().map(|offset| offset.get()).collect(),
            ..Settled::default()
        };
        if claimed.is_empty() {
            return Ok(());
        }
        self.write_settle(queue, offsets, None)
    }

    fn move_some(&mut self) -> Result<(), Stopped> {
        let (Some(from), Some(to)) = (self.any_queue(), self.any_queue()) else {
            return Ok(());
        };
        self.relocate(from, to)
    }

    fn redrive(&mut self) -> Result<(), Stopped> {
        match self.any_queue() {
            Some(to) if self.told.queues.contains_key(&DEAD) => self.relocate(DEAD, to),
            _ => Ok(()),
        }
    }

    /// One batch, in which each message leaves its queue by the record that brings it to the other; some are given back.
    fn relocate(&mut self, from: u32, to: u32) -> Result<(), Stopped> {
        let claimed = self.claim(from, 5);
        let (Some(id), Some(target)) = (
            self.told.queues.get(&from).copied(),
            self.told.queues.get(&to).copied(),
        ) else {
            return Ok(());
        };
        let (back, moved) = claimed.split_at(claimed.len() / 4);
        self.engine.unclaim(id, back);
        let entries = moved.iter().map(|offset| {
            let message = u64::from(self.told.name());
            let intent = Intent::Send {
                id: message,
                targets: vec![to],
                source: Some((from, offset.get())),
            };
            let mut entry = Entry::new(Kind::Enqueue, Nothing, intent);
            entry.source = Some(Source {
                queue: id,
                offset: *offset,
            });
            entry.targets = vec![target];
            entry.body = body(message, 60);
            entry
        });
        let entries: Vec<Entry> = entries.collect();
        self.write(entries)
    }

    fn change_sessions(&mut self) -> Result<(), Stopped> {
        let session = self.any_session();
        let consumer = self.dice.pick(&["x", "y"]).unwrap_or_default().to_owned();
        let mut entry = match (self.dice.below(5), session) {
            (0, _) | (_, None) => return self.begin(),
            (1, Some(session)) if self.told.model.sessions.len() > 1 => {
                let it = EndSession {
                    queue: 0,
                    session: self.told.sessions.get(&session).map_or(0, |it| it.get()),
                };
                return self.write(vec![Entry::new(
                    Kind::EndSession,
                    it,
                    Intent::End { session },
                )]);
            }
            (2, _) => Entry::new(
                Kind::Cancel,
                Cancel {
                    consumer: consumer.clone(),
                    session: 0,
                },
                Intent::Cancel { consumer },
            ),
            (3, _) => {
                let refusal = self.dice.below(3) as u32;
                Entry::new(
                    Kind::Advance,
                    Advance {
                        refusal,
                        ..Advance::default()
                    },
                    Intent::Advance { refusal },
                )
            }
            (_, _) => {
                let queue = self.any_queue().unwrap_or(DEAD);
                let consumer = SessionConsumer {
                    name: consumer,
                    queue: self.told.queues.get(&queue).map_or(0, |id| id.get()),
                    ..SessionConsumer::default()
                };
                let intent = Intent::Consume {
                    consumer: consumer.name.clone(),
                };
                Entry::new(
                    Kind::Consume,
                    Consume {
                        consumer: Some(consumer),
                    },
                    intent,
                )
            }
        };
        if self.keeps.below(3) > 0 {
            entry = self.keep();
        }
        entry.deed.frame = loop {
            if let Some(frame) = self.frame() {
                break Some(frame);
            }
        };
        self.write(vec![entry])
    }

    /// A change of what a session keeps for MQTT.
    fn keep(&mut self) -> Entry {
        let filter = self
            .keeps
            .pick(&["a/+", "b"])
            .unwrap_or_default()
            .to_owned();
        let packet = 1 + self.keeps.below(3) as u32;
        let none = Advance::default();
        let what = match self.keeps.below(6) {
            0 | 1 => {
                let set = Subscription {
                    filter: filter.clone(),
                    qos: packet - 1,
                    ..Subscription::default()
                };
                let it = Subscribe {
                    set: Some(set),
                    ..Subscribe::default()
                };
                let keep = Keep::Subscribe(filter, packet - 1);
                return Entry::new(Kind::Subscribe, it, Intent::Keep(keep));
            }
            2 => {
                let it = Subscribe {
                    removed_filter: filter.clone(),
                    ..Subscribe::default()
                };
                let keep = Keep::Unsubscribe(filter);
                return Entry::new(Kind::Subscribe, it, Intent::Keep(keep));
            }
            3 => {
                let it = Settle {
                    releasing: vec![packet],
                    ..Settle::default()
                };
                return Entry::new(Kind::Settle, it, Intent::Keep(Keep::Releasing(packet)));
            }
            4 => (
                Advance {
                    received: packet,
                    ..none
                },
                Keep::Received(packet),
            ),
            _ if self.keeps.below(2) == 0 => (
                Advance {
                    forgotten: packet,
                    ..none
                },
                Keep::Forgotten(packet),
            ),
            _ => (
                Advance {
                    completed: packet,
                    ..none
                },
                Keep::Completed(packet),
            ),
        };
        Entry::new(Kind::Advance, what.0, Intent::Keep(what.1))
    }

    /// What the keeper does.
    fn run_errands(&mut self) -> Result<(), Stopped> {
        let errands = self.engine.take_errands(self.now, 64);
        self.carry_out(errands)
    }

    fn carry_out(&mut self, errands: Vec<Errand>) -> Result<(), Stopped> {
        for errand in errands {
            match errand {
                Errand::Settle(it) => {
                    let offsets = Settled {
                        expired: each(&it.expired).collect(),
                        exhausted: each(&it.exhausted).collect(),
                        returned: each(&it.returned).collect(),
                        dropped: each(&it.dropped).collect(),
                        ..Settled::default()
                    };
                    let queue = self.queue_of(QueueId::new(it.queue));
                    self.write_settle(queue, offsets, None)?;
                }
                Errand::Move(it) => {
                    let id = u64::from(self.told.name());
                    let source = Some((self.queue_of(it.queue), it.offset.get()));
                    let intent = Intent::Send {
                        id,
                        targets: vec![DEAD],
                        source,
                    };
                    let mut entry = Entry::new(Kind::Enqueue, Nothing, intent);
                    entry.source = Some(Source {
                        queue: it.queue,
                        offset: it.offset,
                    });
                    entry.targets = vec![self.told.queues[&DEAD]];
                    entry.body = body(id, 40);
                    self.write(vec![entry])?;
                }
                Errand::Queue(it) => {
                    let mut entry = Entry::new(Kind::DefineQueue, it.clone(), Intent::Again);
                    entry.targets = vec![QueueId::new(it.id)];
                    entry.stamp = Stamp::Floor;
                    self.write(vec![entry])?;
                }
                Errand::Session(it) => {
                    self.write(vec![Entry::new(Kind::DefineSession, *it, Intent::Again)])?;
                }
                Errand::Config(keys) => self.configure_again(&keys)?,
                Errand::End(_)
                | Errand::Will(_)
                | Errand::Delete(_)
                | Errand::Retain(_)
                | Errand::Unretain(_) => {}
            }
        }
        Ok(())
    }

    /// The first half of what the checkpointer does.
    fn checkpoint(&mut self) {
        let checkpoint = self.engine.checkpoint(self.node);
        self.store
            .checkpoint(checkpoint.rows)
            .expect("a store in memory");
        self.checkpointed = Some(checkpoint.lsn);
    }

    /// The second half, after whatever came in between.
    fn release(&mut self) -> Result<(), Stopped> {
        let Some(lsn) = self.checkpointed.take() else {
            return Ok(());
        };
        self.engine.evict();
        let rewrites = self.engine.take_rewrites(self.log.oldest(), lsn, 100);
        let upto = self.engine.needed_from(lsn);
        if upto.get() / SEGMENT_BYTES > self.log.oldest().get() / SEGMENT_BYTES {
            self.use_up_the_spare()?;
        }
        self.log.release(upto);
        self.log.wait_for_housekeeping();
        self.carry_out(rewrites)
    }

    /// So that a released segment is recycled.
    fn use_up_the_spare(&mut self) -> Result<(), Stopped> {
        self.disk.fail(Fault {
            op: Op::Create,
            path: "spare".into(),
            after: 0,
            times: 1,
            why: Why::Full,
        });
        let newest = |log: &Log<()>| log.segments().last().map(|segment| segment.number);
        let before = newest(&self.log);
        while newest(&self.log) == before {
            let mut entries = Vec::from_iter(self.message());
            for entry in &mut entries {
                if let Intent::Send { id, .. } = entry.deed.intent {
                    entry.body = body(id, 3000);
                }
            }
            self.write(entries)?;
        }
        Ok(())
    }

    /// Hands records to the log as one batch, waits for it, and applies what comes back.
    fn write(&mut self, entries: Vec<Entry>) -> Result<(), Stopped> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut batch = DraftBatch::new(self.log.limits(), ());
        for entry in &entries {
            let origin = entry.deed.frame.map(|(session, seq)| Origin {
                session: self.told.sessions[&session],
                seq: Seq::new(seq),
            });
            let draft = Draft {
                targets: &entry.targets,
                stamp: entry.stamp,
                expires: entry.expires,
                source: entry.source,
                origin,
                body: &entry.body,
                ..Draft::new(entry.kind, self.now, &*entry.envelope)
            };
            batch.push(&draft).expect("a batch that fits");
        }
        self.told.in_doubt = entries.into_iter().map(|entry| entry.deed).collect();
        self.log.submit(batch).map_err(|_| Stopped)?;
        let commit = self.wait()?;
        self.apply(&commit);
        self.log.set_applied(self.engine.applied());
        self.engine.take_effects();
        // Only while the housekeeper rests is the order of operations the same each time.
        self.log.wait_for_housekeeping();
        Ok(())
    }

    fn wait(&self) -> Result<Commit<()>, Stopped> {
        for _ in 0..patience() {
            match self.events.recv_timeout(Duration::from_millis(5)) {
                Ok(Event::Stored(commit)) => return Ok(commit),
                Ok(Event::Failed) | Err(RecvTimeoutError::Disconnected) => return Err(Stopped),
                Err(RecvTimeoutError::Timeout) if self.disk.is_halted() => return Err(Stopped),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        panic!("a batch neither stored nor lost");
    }

    fn apply(&mut self, commit: &Commit<()>) {
        let records = commit
            .batches
            .iter()
            .flat_map(|(range, ())| commit.records(range.clone()));
        for (record, deed) in records.zip(std::mem::take(&mut self.told.in_doubt)) {
            if let Intent::Send { targets, .. } = &deed.intent {
                let given: Vec<u64> = record.targets().map(|(_, offset)| offset.get()).collect();
                let due = targets
                    .iter()
                    .filter_map(|queue| Some(self.told.model.queues.get(queue)?.next));
                assert_eq!(given, due.collect::<Vec<_>>(), "offsets are given in order");
            }
            self.engine.apply(&record);
            self.told.learn(&deed, record.lsn());
        }
    }

    /// The next frame of some session, or of none.
    fn frame(&mut self) -> Option<(u32, u64)> {
        let session = self.any_session().filter(|_| self.dice.below(2) == 0)?;
        let seq = self.told.seqs.entry(session).or_default();
        *seq += 1;
        Some((session, *seq))
    }

    fn any_session(&mut self) -> Option<u32> {
        let sessions: Vec<u32> = self.told.model.sessions.keys().copied().collect();
        self.dice.pick(&sessions)
    }

    fn any_queue(&mut self) -> Option<u32> {
        let queues = self.queues();
        self.dice.pick(&queues)
    }

    /// Those that have a dead-letter address.
    fn queues(&self) -> Vec<u32> {
        self.told
            .model
            .queues
            .keys()
            .copied()
            .filter(|queue| *queue != DEAD)
            .collect()
    }

    fn waiting(&self, queue: u32) -> Vec<u64> {
        let queue = self.told.model.queues.get(&queue);
        queue.map_or_else(Vec::new, |queue| {
            let waiting = queue.messages.iter().filter(|(_, message)| !message.dying);
            waiting.map(|(offset, _)| *offset).collect()
        })
    }

    fn queue_of(&self, id: QueueId) -> u32 {
        let found = self.told.queues.iter().find(|(_, other)| **other == id);
        *found.expect("a queue of the script").0
    }
}

impl Told {
    /// Of all sessions that there may be.
    pub(super) fn uuids(&self) -> Vec<Uuid> {
        let known = self.model.sessions.values().map(|session| session.uuid);
        let in_doubt = self.in_doubt.iter().filter_map(|deed| match deed.intent {
            Intent::Begin { uuid, .. } => Some(uuid),
            _ => None,
        });
        known.chain(in_doubt).collect()
    }

    /// A number that nothing else has.
    fn name(&mut self) -> u32 {
        self.n_named += 1;
        self.n_named
    }

    /// A record was stored there.
    fn learn(&mut self, deed: &Deed, lsn: Lsn) {
        self.model.apply(deed);
        match &deed.intent {
            Intent::Define { queue, .. } => {
                self.queues.insert(*queue, QueueId::new(lsn.get()));
            }
            Intent::Begin { session, .. } => {
                self.sessions.insert(*session, SessionNo::new(lsn.get()));
            }
            Intent::Send { id, .. } => {
                self.lsns.insert(*id, lsn);
            }
            _ => {}
        }
    }
}

/// The envelope of a message here.
struct Nothing;

impl EncodeEnvelope for Nothing {
    fn encode_into(&self, into: &mut bytes::BytesMut) {
        Raw(b"envelope").encode_into(into);
    }
}

impl Entry {
    fn new(kind: Kind, envelope: impl EncodeEnvelope + 'static, intent: Intent) -> Self {
        Entry {
            kind,
            envelope: Box::new(envelope),
            targets: Vec::new(),
            stamp: Stamp::Take,
            expires: None,
            source: None,
            body: Vec::new(),
            deed: Deed {
                frame: None,
                intent,
            },
        }
    }
}

fn sink(send: Sender<Event>) -> impl FnMut(Commit<()>) + Send + 'static {
    // Nobody listens any more once the test is over.
    move |commit| drop(send.send(Event::Stored(commit)))
}

/// How many times 5 ms to wait for something that must happen.
fn patience() -> u32 {
    let seconds = std::env::var("RESTANTE_TEST_PATIENCE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    seconds.unwrap_or(60) * 200
}

/// A body that says who it is.
pub(super) fn body(id: u64, len: usize) -> Vec<u8> {
    let mut body = id.to_le_bytes().to_vec();
    body.extend((8..len).map(|at| (at as u64 * 31 + id) as u8));
    body
}

/// Chance that can be had again: splitmix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let at = self.below(from.len().max(1) as u64);
        from.get(at as usize).copied()
    }
}

/// What is left of the state store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// It holds the last checkpoint.
    Last,
    /// It holds the one before.
    Before,
    /// It was deleted.
    None,
}

/// The rows that a state store had when the machine went down.
pub(super) struct Leftovers {
    last: StateBatch,
    before: StateBatch,
}

impl Leftovers {
    pub(super) fn of(store: &MemoryStore) -> Self {
        let rows = || {
            let mut rows = StateBatch::new();
            let scanned = store.scan(b"", &mut |key, value| {
                rows.put(key, value);
                ControlFlow::Continue(())
            });
            scanned.expect("a store in memory");
            rows
        };
        let last = rows();
        store.crash(CrashTo::TheOneBefore);
        Leftovers {
            last,
            before: rows(),
        }
    }

    pub(super) fn store(&self, which: Which) -> Rows {
        let store = MemoryStore::new();
        let rows = match which {
            Which::Last => self.last.clone(),
            Which::Before => self.before.clone(),
            Which::None => StateBatch::new(),
        };
        store.checkpoint(rows).expect("a store in memory");
        Rows::new(Arc::new(store))
    }
}
