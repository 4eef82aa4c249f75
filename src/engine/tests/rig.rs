//! A broker without sockets, files or threads: a log in memory, a state store in memory, and the engine between them.

mod store;

use restante_storage::payload::{
    Advance, Binding, Cancel, Config, ConfigEntry, Consume, DefineQueue, DefineSession,
    DeleteQueue, EndSession, Envelope, MQTT, Recall, SessionConsumer, Settle, Subscribe,
    Subscription, Will,
};
use restante_storage::sim::Tape;
use restante_storage::{
    Draft, EncodeEnvelope, Kind, Lsn, Offset, Origin, QueueId, Seq, SessionNo, Source, Stamp,
    UnixMillis,
};
pub(super) use store::{Rows, Store, durable_rows};
use uuid::Uuid;

use crate::engine::{
    ConfigKey, ConsumerId, DueWill, Effect, Engine, Errand, Left, LookMax, Move, RetainAgain,
    is_transient,
};
use crate::refusal::Refusal;

/// Small, so that a log has many: 4 KiB of records each.
pub(super) const SEGMENT_BYTES: u64 = 8192;
pub(super) const NODE: Uuid = Uuid::from_u128(7);
pub(super) const REALM: &str = "default";

/// A delivery, short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Got {
    pub(super) to: ConsumerId,
    pub(super) offset: u64,
    pub(super) attempt: u32,
}

pub(super) struct Rig {
    pub(super) tape: Tape,
    pub(super) engine: Engine,
    pub(super) store: Store,
    pub(super) checkpointed: Lsn,
    pub(super) now: u64,
    /// What became of the last call of `effects`, beside deliveries.
    pub(super) cancelled: Vec<ConsumerId>,
    pub(super) ended: Vec<SessionNo>,
}

impl Rig {
    pub(super) fn new() -> Self {
        let store = Store::default();
        let mut engine = Engine::new(SEGMENT_BYTES, Box::new(store.clone()));
        engine.finish_replay(UnixMillis::ZERO);
        Rig {
            tape: Tape::new(SEGMENT_BYTES),
            engine,
            store,
            checkpointed: Lsn::ZERO,
            now: 1_000_000,
            cancelled: Vec::new(),
            ended: Vec::new(),
        }
    }

    pub(super) fn time(&self) -> UnixMillis {
        UnixMillis::new(self.now)
    }

    /// Appends a record and applies it.
    pub(super) fn append(&mut self, draft: &Draft<'_>) -> (Lsn, Option<Refusal>) {
        let lsn = self.tape.append(draft);
        let record = self.tape.records(lsn).next().unwrap();
        (lsn, self.engine.apply(&record))
    }

    pub(super) fn write(
        &mut self,
        kind: Kind,
        origin: Option<Origin>,
        envelope: &dyn EncodeEnvelope,
    ) -> (Lsn, Option<Refusal>) {
        self.append(&Draft {
            origin,
            ..Draft::new(kind, self.time(), envelope)
        })
    }

    // Queues.

    pub(super) fn define(&mut self, name: &str) -> QueueId {
        self.define_with(name, |_| {})
    }

    pub(super) fn define_with(
        &mut self,
        name: &str,
        change: impl FnOnce(&mut DefineQueue),
    ) -> QueueId {
        let mut def = DefineQueue {
            realm: REALM.into(),
            name: name.into(),
            bindings: vec![name.into()],
            ..DefineQueue::default()
        };
        change(&mut def);
        let (lsn, _) = self.write(Kind::DefineQueue, None, &def);
        QueueId::new(lsn.get())
    }

    /// A changed definition, with the floor as the broker must write it.
    pub(super) fn redefine(&mut self, id: QueueId, change: impl FnOnce(&mut DefineQueue)) {
        let mut def = self.definition(id);
        change(&mut def);
        self.write_definition(&def);
    }

    pub(super) fn definition(&self, id: QueueId) -> DefineQueue {
        let queue = self.engine.queues.get(&id).unwrap();
        DefineQueue::clone(queue.def.as_ref().unwrap())
    }

    pub(super) fn write_definition(&mut self, def: &DefineQueue) {
        self.append(&Draft {
            targets: &[QueueId::new(def.id)],
            stamp: Stamp::Floor,
            ..Draft::new(Kind::DefineQueue, self.time(), def)
        });
    }

    pub(super) fn delete(&mut self, id: QueueId) {
        let name = self.engine.queue(id).map(|handle| handle.name.to_string());
        let it = DeleteQueue {
            queue: id.get(),
            realm: REALM.into(),
            name: name.unwrap_or_default(),
        };
        self.append(&Draft {
            targets: &[id],
            stamp: Stamp::Forget,
            ..Draft::new(Kind::DeleteQueue, self.time(), &it)
        });
    }

    pub(super) fn bind(&mut self, id: QueueId, filter: &str, bound: bool) {
        let it = Binding {
            queue: id.get(),
            filter: filter.into(),
        };
        let kind = if bound { Kind::Bind } else { Kind::Unbind };
        self.write(kind, None, &it);
    }

    pub(super) fn id(&self, name: &str) -> Option<QueueId> {
        Some(self.engine.routes.get(REALM)?.names.get(name)?.id)
    }

    // Messages.

    pub(super) fn enqueue(&mut self, queue: QueueId, n: u64) {
        for _ in 0..n {
            self.enqueue_to(&[queue], None, None);
        }
    }

    pub(super) fn enqueue_to(
        &mut self,
        targets: &[QueueId],
        expires: Option<u64>,
        origin: Option<Origin>,
    ) -> Lsn {
        let envelope = Envelope {
            address: "a".into(),
            ..Envelope::default()
        };
        let draft = Draft {
            targets,
            expires: expires.map(UnixMillis::new),
            origin,
            body: b"body",
            ..Draft::new(Kind::Enqueue, self.time(), &envelope)
        };
        self.append(&draft).0
    }

    /// A message that is kept at `address`; without a body, what is kept there goes.
    pub(super) fn retain(&mut self, address: &str, targets: &[QueueId], body: &[u8]) -> Lsn {
        self.retain_until(address, targets, body, None)
    }

    pub(super) fn retain_until(
        &mut self,
        address: &str,
        targets: &[QueueId],
        body: &[u8],
        expires: Option<u64>,
    ) -> Lsn {
        let envelope = Envelope {
            address: address.into(),
            realm: REALM.into(),
            ..Envelope::default()
        };
        let draft = Draft {
            targets,
            expires: expires.map(UnixMillis::new),
            body,
            ..Draft::new(Kind::Retain, self.time(), &envelope)
        };
        self.append(&draft).0
    }

    /// What is kept and matches is listed for a session's own queue; what the record about it says.
    pub(super) fn list(&mut self, session: SessionNo, filter: &str) -> Recall {
        let filter = filter.parse().unwrap();
        let max = LookMax {
            looked: 100,
            found: 100,
        };
        let (now, engine) = (self.time(), &mut self.engine);
        let page = engine.list_for_recall(session, REALM, &filter, None, now, max);
        Recall {
            session: session.get(),
            realm: REALM.into(),
            as_of: page.as_of.get(),
            messages: page.found,
        }
    }

    pub(super) fn recall(&mut self, own: QueueId, it: &Recall) {
        let targets = vec![own; it.messages.len()];
        self.append(&Draft {
            targets: &targets,
            ..Draft::new(Kind::Recall, self.time(), it)
        });
    }

    pub(super) fn settle(
        &mut self,
        queue: QueueId,
        change: impl FnOnce(&mut Settle),
    ) -> Option<Refusal> {
        self.settle_from(queue, None, change)
    }

    pub(super) fn settle_from(
        &mut self,
        queue: QueueId,
        origin: Option<Origin>,
        change: impl FnOnce(&mut Settle),
    ) -> Option<Refusal> {
        let mut it = Settle {
            queue: queue.get(),
            ..Settle::default()
        };
        change(&mut it);
        self.write(Kind::Settle, origin, &it).1
    }

    pub(super) fn accept(&mut self, queue: QueueId, first: u64, last: u64) -> Option<Refusal> {
        self.settle(queue, |it| it.accepted = vec![first, last])
    }

    // Sessions.

    pub(super) fn session(&mut self, uuid: u128, expiry_ms: u64) -> SessionNo {
        self.session_of(uuid, expiry_ms, 0)
    }

    /// One whose client speaks MQTT.
    pub(super) fn mqtt_session(&mut self, uuid: u128, expiry_ms: u64) -> SessionNo {
        self.session_of(uuid, expiry_ms, MQTT)
    }

    fn session_of(&mut self, uuid: u128, expiry_ms: u64, protocol: u32) -> SessionNo {
        let def = DefineSession {
            uuid: Uuid::from_u128(uuid).as_bytes().to_vec().into(),
            realm: REALM.into(),
            principal: "somebody".into(),
            expiry_ms,
            protocol,
            ..DefineSession::default()
        };
        let (lsn, _) = self.write(Kind::DefineSession, None, &def);
        SessionNo::new(lsn.get())
    }

    /// A session changes, as when its client comes back: its expiry, and its will, which goes to that queue's address.
    pub(super) fn change_session(
        &mut self,
        number: SessionNo,
        expiry_ms: u64,
        will: Option<(&str, u64)>,
    ) {
        let will = will.map(|(address, delay_ms)| Will {
            delay_ms,
            envelope: Some(Envelope {
                address: address.into(),
                ..Envelope::default()
            }),
            body: "lost".into(),
            ..Will::default()
        });
        let def = DefineSession {
            expiry_ms,
            will,
            ..self.engine.session(number).unwrap()
        };
        self.write(Kind::DefineSession, None, &def);
    }

    /// Its client's connection is lost; the session ends at `ends_at`.
    pub(super) fn detach(&mut self, session: SessionNo, ends_at: UnixMillis) {
        let now = self.time();
        self.engine.detach(session, Left::Lost, now, ends_at);
    }

    /// The session's own queue.
    pub(super) fn own_queue(&mut self, session: SessionNo, client: &str) -> QueueId {
        self.define_with(&format!("$mqtt/{client}"), |def| {
            def.bindings.clear();
            def.session = session.get();
            def.sheds = true;
        })
    }

    pub(super) fn subscribe(&mut self, session: SessionNo, seq: u64, set: Subscription) {
        let it = Subscribe {
            set: Some(set),
            queue: self.engine.session(session).map_or(0, |it| it.queue),
            ..Subscribe::default()
        };
        self.write(Kind::Subscribe, Some(origin(session, seq)), &it);
    }

    /// By a frame, or where `seq` is 0 by the broker itself.
    pub(super) fn unsubscribe(
        &mut self,
        session: SessionNo,
        seq: u64,
        (share, filter): (&str, &str),
    ) {
        let it = Subscribe {
            removed_filter: filter.into(),
            removed_share: share.into(),
            session: if seq == 0 { session.get() } else { 0 },
            queue: self.engine.session(session).map_or(0, |it| it.queue),
            ..Subscribe::default()
        };
        let origin = (seq > 0).then(|| origin(session, seq));
        self.write(Kind::Subscribe, origin, &it);
    }

    /// A message that came with a packet id.
    pub(super) fn receive(&mut self, queue: QueueId, origin: Option<Origin>, packet: u32) {
        let envelope = Envelope {
            received: packet,
            ..Envelope::default()
        };
        self.append(&Draft {
            targets: &[queue],
            origin,
            ..Draft::new(Kind::Enqueue, self.time(), &envelope)
        });
    }

    /// A durable consumer, as the broker makes one: the record, then the live part.
    pub(super) fn consume(
        &mut self,
        session: SessionNo,
        seq: u64,
        name: &str,
        queue: QueueId,
    ) -> ConsumerId {
        self.write_consume(session, seq, name, queue);
        self.engine
            .add_consumer(queue, false, Some((session, name.into())))
            .unwrap()
    }

    pub(super) fn write_consume(
        &mut self,
        session: SessionNo,
        seq: u64,
        name: &str,
        queue: QueueId,
    ) {
        let consumer = SessionConsumer {
            name: name.into(),
            queue: queue.get(),
            ..SessionConsumer::default()
        };
        let it = Consume {
            consumer: Some(consumer),
        };
        self.write(Kind::Consume, Some(origin(session, seq)), &it);
    }

    pub(super) fn cancel(&mut self, session: SessionNo, seq: u64, name: &str) {
        let it = Cancel {
            session: 0,
            consumer: name.into(),
        };
        self.write(Kind::Cancel, Some(origin(session, seq)), &it);
    }

    pub(super) fn advance(&mut self, session: SessionNo, seq: u64, refusal: u32) {
        self.write(
            Kind::Advance,
            Some(origin(session, seq)),
            &Advance {
                refusal,
                ..Advance::default()
            },
        );
    }

    pub(super) fn end(&mut self, session: SessionNo) {
        let it = EndSession {
            session: session.get(),
            queue: 0,
        };
        self.write(Kind::EndSession, None, &it);
    }

    // What comes out.

    /// A consumer with credit.
    pub(super) fn consumer(&mut self, queue: QueueId, credit: u64) -> ConsumerId {
        let id = self.engine.add_consumer(queue, false, None).unwrap();
        self.engine.credit(id, credit);
        id
    }

    /// Dispatches; the deliveries, in order.
    pub(super) fn deliveries(&mut self) -> Vec<Got> {
        self.engine.dispatch(self.time());
        let mut got = Vec::new();
        for effect in self.engine.take_effects() {
            match effect {
                Effect::Deliver {
                    consumer,
                    offset,
                    attempt,
                    ..
                } => got.push(Got {
                    to: consumer,
                    offset: offset.get(),
                    attempt,
                }),
                Effect::Cancelled { consumer } => self.cancelled.push(consumer),
                Effect::SessionEnded { session } => self.ended.push(session),
            }
        }
        got
    }

    /// The offsets of what is delivered now.
    pub(super) fn offsets(&mut self) -> Vec<u64> {
        self.deliveries().iter().map(|got| got.offset).collect()
    }

    /// Does what the engine wants done, until it wants nothing more; what that was.
    pub(super) fn errands(&mut self) -> Vec<Errand> {
        let mut all = Vec::new();
        loop {
            let some = self.engine.take_errands(self.time(), 16);
            if some.is_empty() {
                return all;
            }
            assert!(all.len() < 10_000, "errands never end: {:?}", some.first());
            for errand in &some {
                self.run(errand);
            }
            all.extend(some);
        }
    }

    pub(super) fn run(&mut self, errand: &Errand) {
        match errand {
            Errand::Settle(it) => drop(self.write(Kind::Settle, None, it)),
            Errand::Move(it) => self.move_message(it),
            Errand::Will(it) => self.write_will(it),
            Errand::End(it) => drop(self.write(Kind::EndSession, None, it)),
            Errand::Queue(it) => self.write_definition(it),
            Errand::Session(it) => drop(self.write(Kind::DefineSession, None, &**it)),
            Errand::Config(keys) => self.write_config_again(keys),
            Errand::Delete(it) => drop(self.write(Kind::DeleteQueue, None, it)),
            Errand::Retain(it) => self.retain_again(it),
            Errand::Unretain(it) => drop(self.write(Kind::Retain, None, it)),
        }
    }

    /// As the scribe does it, where its address has a queue.
    pub(super) fn write_will(&mut self, it: &DueWill) {
        let envelope = it.will.envelope.clone().unwrap_or_default();
        let queue = self.id(&envelope.address).filter(|_| !it.given_up);
        let targets: Vec<QueueId> = queue.into_iter().collect();
        self.append(&Draft {
            source: Some(it.source),
            targets: &targets,
            body: &it.will.body,
            ..Draft::new(Kind::Enqueue, self.time(), &envelope)
        });
    }

    /// As the scribe does it: the same message once more.
    fn retain_again(&mut self, it: &RetainAgain) {
        let found = self.tape.records(it.lsn).next();
        let Some(record) = found.filter(|record| record.lsn() == it.lsn) else {
            return; // it went meanwhile, and its segment with it
        };
        let others = record.targets().count().saturating_sub(1);
        assert_eq!(record.len_bytes() as usize, it.bytes as usize + 16 * others);
        let mut envelope: Envelope = prost::Message::decode(record.envelope()).unwrap();
        (envelope.retain_of, envelope.as_of) = (it.revision.get(), it.as_of.get());
        let (time, expires, body) = (record.time(), record.expires(), record.body().to_vec());
        self.append(&Draft {
            expires,
            body: &body,
            ..Draft::new(Kind::Retain, time, &envelope)
        });
    }

    /// As the registrar does it.
    fn write_config_again(&mut self, keys: &[ConfigKey]) {
        let all: std::collections::BTreeMap<_, _> = self.engine.config().collect();
        let entry = |key: &ConfigKey| {
            let it = all.get(key)?;
            Some(ConfigEntry {
                kind: key.kind,
                realm: key.realm.clone(),
                name: key.name.clone(),
                value: Some(it.value.clone()),
                revision: it.revision.get(),
            })
        };
        let config = Config {
            entries: keys.iter().filter_map(entry).collect(),
            ..Config::default()
        };
        self.write(Kind::Config, None, &config);
    }

    fn move_message(&mut self, it: &Move) {
        let envelope = Envelope::default();
        let targets: Vec<QueueId> = self
            .id(&it.address)
            .into_iter()
            .filter(|id| !is_transient(*id))
            .collect();
        self.append(&Draft {
            source: Some(Source {
                queue: it.queue,
                offset: it.offset,
            }),
            targets: &targets,
            ..Draft::new(Kind::Enqueue, self.time(), &envelope)
        });
    }

    /// What waits in a queue: offset, failed attempts, given up.
    pub(super) fn waiting(&mut self, name: &str) -> Vec<(u64, u32, bool)> {
        let pending = self.engine.pending();
        let waiting = pending.get(name).map_or(&[][..], |it| it);
        waiting
            .iter()
            .map(|(offset, _, failed, dying)| (*offset, *failed, *dying))
            .collect()
    }

    pub(super) fn handle_messages(&self, queue: QueueId) -> u64 {
        let handle = self.engine.queue(queue).unwrap();
        handle
            .gauges
            .messages
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn in_flight(&self, queue: QueueId, consumer: ConsumerId) -> Vec<u64> {
        let live = &self.engine.queues.get(&queue).unwrap().live;
        let all = live.in_flight.offsets();
        let held = all.filter(|it| live.in_flight.get(*it) == Some(consumer));
        let mut held: Vec<u64> = held.map(Offset::get).collect();
        held.sort_unstable();
        let listed = live.in_flight.of(consumer).into_iter().map(Offset::get);
        assert!(listed.eq(held.iter().copied()), "the other way round");
        held
    }
}

pub(super) fn origin(session: SessionNo, seq: u64) -> Origin {
    Origin {
        session,
        seq: Seq::new(seq),
    }
}

/// Only the offsets.
pub(super) fn numbers(got: &[Got]) -> Vec<u64> {
    got.iter().map(|got| got.offset).collect()
}

pub(super) fn offsets(numbers: impl IntoIterator<Item = u64>) -> Vec<Offset> {
    numbers.into_iter().map(Offset::new).collect()
}
