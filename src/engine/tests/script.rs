//! Random operations on a [`Rig`], reproducible from a seed.

use std::collections::BTreeMap;

use restante_storage::payload::{
    Advance, DefineQueue, Envelope, Paused, Recall, Settle, Subscription,
};
use restante_storage::{Draft, Kind, Lsn, Offset, QueueId, SessionNo, Source};

use super::model::Model;
use super::rig::{REALM, Rig, offsets, origin};
use crate::engine::queue::{CLAIMED, Queue};
use crate::engine::{ConsumerId, Errand, Left, Wanted, ranges};

/// SplitMix64: the same numbers for ever, whatever a crate's next release does.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Dice(seed)
    }

    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (it ^ (it >> 31)) % sides
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() {
            return None;
        }
        let at = self.roll(of.len() as u64);
        of.get(at as usize).copied()
    }
}

/// A run of random operations, with the model beside the engine.
pub(super) struct Script {
    pub(super) dice: Dice,
    pub(super) rig: Rig,
    pub(super) model: Model,
    modelled: Lsn,
    queues: Vec<QueueId>,
    sessions: Vec<(SessionNo, u64)>,
    consumers: Vec<(QueueId, ConsumerId, u64)>,
    /// Rewrites that are long on their way to the log.
    late: Vec<Errand>,
    /// What an administrator has claimed and not dealt with yet.
    claims: Vec<(QueueId, Vec<Offset>)>,
    /// What was listed for own queues, and is not in the log yet.
    listed: Vec<(QueueId, Recall)>,
    next_uuid: u128,
    /// The latest session of each MQTT client, and whose each is.
    clients: [Option<SessionNo>; 2],
    of_client: BTreeMap<SessionNo, usize>,
    /// Whether the log has frames twice, which only a broken broker writes.
    pub(super) resends: bool,
}

const NAMES: [&str; 5] = ["a", "b", "c", "dead", "e/f"];

impl Script {
    pub(super) fn new(seed: u64) -> Self {
        let mut script = Script {
            dice: Dice::new(seed),
            rig: Rig::new(),
            model: Model::default(),
            modelled: Lsn::ZERO,
            queues: Vec::new(),
            sessions: Vec::new(),
            consumers: Vec::new(),
            late: Vec::new(),
            claims: Vec::new(),
            listed: Vec::new(),
            next_uuid: 1,
            clients: [None; 2],
            of_client: BTreeMap::new(),
            resends: true,
        };
        for name in NAMES {
            let id = script.rig.define(name);
            script.queues.push(id);
        }
        // So that a chunk's end is in reach.
        let full = script.queues[script.dice.roll(3) as usize];
        script.rig.enqueue(full, 1000);
        script.rig.accept(full, 1, 900 + script.dice.roll(100));
        script.catch_up();
        script
    }

    /// Lets the model see what was written meanwhile.
    pub(super) fn catch_up(&mut self) {
        for record in self.rig.tape.records(self.modelled) {
            self.model.apply(&record);
            self.modelled = record.end();
        }
    }

    /// One random operation and what follows from it.
    pub(super) fn step(&mut self) {
        match self.dice.roll(65) {
            0 => self.define(),
            1 => self.delete(),
            2 => self.change_definition(),
            3 | 4 => self.change_binding(),
            5..=14 => self.enqueue(),
            15 => self.enqueue_many(),
            16..=25 => self.settle(),
            26 => self.open_session(),
            27..=29 => self.session_frame(),
            30 => self.end_session(),
            31 => self.add_consumer(),
            32 => self.remove_consumer(),
            33 | 34 => self.credit(),
            35 => self.pause(),
            36 => self.rig.now += self.dice.roll(2000),
            37 => self.rewrite(),
            38 => self.late_rewrite(),
            39 => self.change_pause(),
            40 | 41 => self.claim(),
            42..=44 => self.dispose(),
            45..=49 => self.subscriptions(),
            50..=52 => self.packets(),
            54..=58 => self.retain(),
            59 | 60 => self.list_retained(),
            61 | 62 => self.recall(),
            63 | 64 => self.come_back(),
            _ => drop(self.rig.errands()),
        }
        self.rig.deliveries();
        self.catch_up();
    }

    fn queue(&mut self) -> QueueId {
        self.dice.pick(&self.queues).unwrap()
    }

    fn define(&mut self) {
        let name = self.dice.pick(&NAMES).unwrap();
        let mut it = DefineQueue::default();
        self.policies(&mut it);
        let id = self.rig.define_with(name, |def| {
            def.ttl_ms = it.ttl_ms;
            def.max_attempts = it.max_attempts;
            def.dead_letter = it.dead_letter;
            (def.history, def.max_messages) = (it.history, it.max_messages);
        });
        if self.rig.engine.queue(id).is_some() {
            self.queues.push(id);
        }
    }

    fn policies(&mut self, def: &mut DefineQueue) {
        def.ttl_ms = if self.dice.one_in(3) {
            self.dice.roll(3000)
        } else {
            0
        };
        def.max_attempts = self.dice.roll(3) as u32;
        def.dead_letter = self.dice.one_in(2).then(|| "dead".into());
        def.history = self.dice.one_in(6);
        def.max_messages = self.dice.roll(40);
    }

    fn delete(&mut self) {
        if self.dice.one_in(2) {
            let id = self.queue();
            self.rig.delete(id);
            self.consumers.retain(|(queue, _, _)| *queue != id);
        }
    }

    fn change_definition(&mut self) {
        let id = self.queue();
        let Some(mut def) = self
            .rig
            .engine
            .queues
            .get(&id)
            .and_then(|it| it.def.as_deref().cloned())
        else {
            return;
        };
        self.policies(&mut def);
        if self.dice.one_in(4) {
            self.rig.write(Kind::DefineQueue, None, &def); // a writer that forgot the floor
        } else {
            self.rig.write_definition(&def);
        }
    }

    fn change_binding(&mut self) {
        let id = self.queue();
        let queue = self.rig.engine.queues.get(&id);
        if queue.is_some_and(|queue| queue.owner().is_some()) {
            return;
        }
        let filter = self.dice.pick(&["a/+", "b/#", "a", "+/+"]);
        let bound = self.dice.one_in(2);
        self.rig.bind(id, filter.unwrap(), bound);
    }

    fn origin(&mut self) -> Option<restante_storage::Origin> {
        let at = self.dice.roll(2 * self.sessions.len() as u64 + 1) as usize;
        let (session, seq) = self.sessions.get_mut(at)?;
        *seq += 1;
        let resent = self.resends && self.dice.roll(10) == 0;
        Some(origin(*session, *seq - u64::from(resent)))
    }

    fn enqueue(&mut self) {
        let targets: Vec<QueueId> = (0..=self.dice.roll(3)).map(|_| self.queue()).collect();
        let expires = self
            .dice
            .one_in(4)
            .then(|| self.rig.now + self.dice.roll(3000));
        let origin = self.origin();
        self.rig.enqueue_to(&targets, expires, origin);
    }

    fn retain(&mut self) {
        let n = self.dice.roll(3);
        let targets: Vec<QueueId> = (0..n).map(|_| self.queue()).collect();
        let address = self.dice.pick(&["x", "x/y", "y", "z"]).unwrap();
        let body: &[u8] = if self.dice.one_in(4) { b"" } else { b"kept" };
        let soon = self.rig.now + self.dice.roll(3000);
        let expires = self.dice.one_in(4).then_some(soon);
        self.rig.retain_until(address, &targets, body, expires);
    }

    /// As a SUBSCRIBE does it: one at a time.
    fn list_retained(&mut self) {
        let filter = self.dice.pick(&["#", "x/#", "y"]).unwrap();
        let Some((session, _)) = self.dice.pick(&self.sessions) else {
            return;
        };
        let own = self.rig.engine.session(session).map_or(0, |it| it.queue);
        let is_open = self.listed.iter().any(|it| it.1.session == session.get());
        if own > 0 && !is_open {
            let listed = self.rig.list(session, filter);
            self.listed.push((QueueId::new(own), listed));
        }
    }

    /// What was listed for own queues comes to them.
    fn recall(&mut self) {
        for (own, listed) in std::mem::take(&mut self.listed) {
            self.rig.recall(own, &listed);
        }
    }

    fn enqueue_many(&mut self) {
        let queue = self.queue();
        let n = self.dice.roll(40);
        self.rig.enqueue(queue, n);
    }

    /// Offsets that a client may name: in flight, waiting, or nothing at all.
    fn some_offsets(&mut self, queue: QueueId) -> Vec<u64> {
        let waiting = self.rig.engine.queues.get(&queue);
        let Some(waiting) = waiting else {
            return vec![1, 3];
        };
        let mut from = restante_storage::Offset::ZERO;
        let mut there = Vec::new();
        while let Some(offset) = waiting.next_pending(from).filter(|_| there.len() < 40) {
            there.push(offset.get());
            from = offset.next();
        }
        let first = match self.dice.roll(8) {
            0 => self.dice.roll(20) + 1,
            _ => self.dice.pick(&there).unwrap_or(1),
        };
        let width = if self.dice.one_in(3) {
            self.dice.roll(12)
        } else {
            0
        };
        vec![first, first + width]
    }

    fn settle(&mut self) {
        let queue = self.queue();
        let ranges = self.some_offsets(queue);
        let mut it = Settle {
            queue: queue.get(),
            ..Settle::default()
        };
        match self.dice.roll(10) {
            0..=4 => it.accepted = ranges,
            5 | 6 => it.released = ranges,
            7 => it.rejected = ranges,
            8 => it.returned = ranges,
            _ => {
                it.accepted = ranges;
                it.refusal = 1;
            }
        }
        if self.dice.one_in(4) {
            it.released = self.some_offsets(queue);
        }
        let origin = self.origin();
        let live = self.rig.write(Kind::Settle, origin, &it).1;
        let lsn = self.modelled;
        let record = self.rig.tape.records(lsn).next().unwrap();
        assert_eq!(self.model.apply(&record), live, "at {}", record.lsn());
        self.modelled = record.end();
    }

    fn open_session(&mut self) {
        if self.sessions.len() < 4 {
            let number = if self.dice.one_in(3) {
                self.rig.session(self.next_uuid, 5000)
            } else {
                self.open_mqtt_session()
            };
            self.next_uuid += 1;
            self.sessions.push((number, 0));
        }
    }

    fn session_frame(&mut self) {
        let at = self.dice.roll(4) as usize;
        let queue = self.queue();
        let name = self.dice.pick(&["x", "y", "z"]).unwrap();
        let what = self.dice.roll(4);
        let Some((session, seq)) = self.sessions.get_mut(at) else {
            return;
        };
        *seq += 1;
        match what {
            0 => self.rig.write_consume(*session, *seq, name, queue),
            1 => self.rig.cancel(*session, *seq, name),
            2 => self.rig.advance(*session, *seq, 0),
            _ => self.rig.advance(*session, *seq, 3),
        }
    }

    /// Of a session that may be over: its frames go on coming.
    fn subscriptions(&mut self) {
        let at = self.dice.roll(4) as usize;
        let (what, filter) = (
            self.dice.roll(8),
            self.dice.pick(&["a/+", "b/#", "a", "+/+"]),
        );
        let filter = filter.unwrap();
        let Some((session, seq)) = self.sessions.get_mut(at) else {
            return;
        };
        let session = *session;
        if !matches!(what, 0 | 7) {
            *seq += 1;
        }
        let seq = *seq;
        let mut set = Subscription {
            filter: filter.into(),
            qos: (seq % 3) as u32,
            id: seq as u32,
            ..Subscription::default()
        };
        match what {
            0 => self.own_queue(session),
            1..=3 => self.rig.subscribe(session, seq, set),
            4 => {
                set.share = "g".into();
                set.queue = self.shared_queue(filter).get();
                self.rig.subscribe(session, seq, set);
            }
            5 => self.rig.unsubscribe(session, seq, ("", filter)),
            6 => self.rig.unsubscribe(session, seq, ("g", filter)),
            _ => self.rig.unsubscribe(session, 0, ("", filter)),
        }
    }

    /// As the broker does it: a client has one session at a time.
    fn open_mqtt_session(&mut self) -> SessionNo {
        let client = self.dice.roll(2) as usize;
        if let Some(old) = self.clients[client] {
            self.rig.end(old); // whose frames may go on coming
        }
        let number = self.rig.mqtt_session(self.next_uuid, 5000);
        self.clients[client] = Some(number);
        self.of_client.insert(number, client);
        number
    }

    /// A client comes back with a will, without one, or as it was but for its expiry; or it leaves with a goodbye.
    fn come_back(&mut self) {
        let (what, delay_ms) = (self.dice.roll(5), self.dice.roll(3) * 1000);
        let Some((session, _)) = self.dice.pick(&self.sessions) else {
            return;
        };
        let Some(mut def) = self.rig.engine.session(session) else {
            return;
        };
        match what {
            0 => self.rig.change_session(session, 4000, None),
            1 | 2 => self
                .rig
                .change_session(session, 5000, Some(("b", delay_ms))),
            3 => {
                (def.keeps_will, def.expiry_ms) = (true, 3000);
                self.rig.run(&Errand::Session(Box::new(def)));
            }
            _ => {
                let (now, end) = (self.rig.time(), self.rig.time().saturating_add(1000));
                let engine = &mut self.rig.engine;
                engine.detach(session, Left::WithGoodbye, now, end);
            }
        }
    }

    /// Once, and again where the broker cannot know that the session is over.
    fn own_queue(&mut self, session: SessionNo) {
        let Some(client) = self.of_client.get(&session) else {
            return;
        };
        let known = self.rig.engine.session(session);
        if known.is_none_or(|it| it.queue == 0) {
            let queue = self.rig.own_queue(session, &client.to_string());
            self.queues.push(queue);
        }
    }

    fn shared_queue(&mut self, filter: &str) -> QueueId {
        let name = format!("$share/g/{filter}");
        if let Some(id) = self.rig.id(&name) {
            return id;
        }
        let id = self.rig.define_with(&name, |def| {
            def.bindings = vec![filter.into()];
            def.linger_ms = 3000;
        });
        self.queues.push(id);
        id
    }

    /// Packet ids come and go.
    fn packets(&mut self) {
        let at = self.dice.roll(4) as usize;
        let (what, packet) = (self.dice.roll(5), 1 + self.dice.roll(5) as u32);
        let queue = self.queue();
        let Some((session, seq)) = self.sessions.get_mut(at) else {
            return;
        };
        if !self.of_client.contains_key(session) {
            return;
        }
        *seq += 1;
        let origin = Some(origin(*session, *seq));
        let mut it = Advance::default();
        match what {
            0 => return self.rig.receive(queue, origin, packet),
            1 => {
                let releasing = vec![packet, packet + 1];
                self.rig
                    .settle_from(queue, origin, |it| it.releasing = releasing);
                return;
            }
            2 => it.received = packet,
            3 => it.forgotten = packet,
            _ => it.completed = packet,
        }
        self.rig.write(Kind::Advance, origin, &it);
    }

    fn end_session(&mut self) {
        if self.dice.one_in(3)
            && let Some((session, seq)) = self.dice.pick(&self.sessions)
        {
            self.rig.end(session);
            if self.dice.one_in(2) {
                self.sessions.retain(|it| *it != (session, seq)); // else its frames go on coming
            }
        }
    }

    fn add_consumer(&mut self) {
        let queue = self.queue();
        let session = self.dice.pick(&self.sessions);
        let session = session.map(|(number, _)| (number, "live".into()));
        if let Ok(id) = self.rig.engine.add_consumer(queue, false, session) {
            self.consumers.push((queue, id, 0));
        }
    }

    fn remove_consumer(&mut self) {
        if !self.consumers.is_empty() {
            let at = self.dice.roll(self.consumers.len() as u64) as usize;
            let (_, id, _) = self.consumers.swap_remove(at);
            self.rig.engine.remove_consumer(id);
        }
    }

    fn credit(&mut self) {
        if !self.consumers.is_empty() {
            let at = self.dice.roll(self.consumers.len() as u64) as usize;
            let more = self.dice.roll(10);
            let (_, id, credit) = &mut self.consumers[at];
            *credit += more;
            self.rig.engine.credit(*id, *credit);
        }
    }

    fn pause(&mut self) {
        self.recall(); // what a client had asked for is on its way
        if let Some((session, _)) = self.dice.pick(&self.sessions) {
            let soon = self.rig.time().saturating_add(self.dice.roll(4000));
            self.rig.detach(session, soon);
            if self.dice.one_in(2) {
                self.rig.engine.attach(session);
                for consumer in self.rig.engine.resume_consumers(session) {
                    let held = offsets(consumer.in_flight.iter().map(|it| it.get()).step_by(2));
                    self.rig.engine.hold(consumer.id, &held);
                }
            }
        }
    }

    /// Pauses a queue, or lets it go on.
    fn change_pause(&mut self) {
        let id = self.queue();
        if self.rig.engine.queue(id).is_some() {
            self.rig.redefine(id, |def| {
                let paused = Paused {
                    by: "eve".into(),
                    since: 5,
                    reason: String::new(),
                };
                def.paused = def.paused.is_none().then_some(paused);
            });
        }
    }

    fn claim(&mut self) {
        let id = self.queue();
        let from = Offset::new(self.dice.roll(1100));
        let n = 1 + self.dice.roll(30) as usize;
        let wanted = Wanted::Range(from, Offset::new(u64::MAX - 1), n);
        if let Some(claim) = self.rig.engine.claim(id, &wanted) {
            self.claims.push((id, claim.claimed));
        }
    }

    /// What was claimed is deleted, moved, or given back.
    fn dispose(&mut self) {
        if self.claims.is_empty() {
            return;
        }
        let at = self.dice.roll(self.claims.len() as u64) as usize;
        let (queue, offsets) = self.claims.swap_remove(at);
        match self.dice.roll(3) {
            0 => {
                let dropped = ranges(offsets.iter().copied());
                self.rig.settle(queue, |it| it.dropped = dropped);
            }
            1 => {
                let target = self.queue();
                let half = offsets.len() / 2;
                for offset in &offsets[half..] {
                    let offset = *offset;
                    let envelope = Envelope::default();
                    self.rig.append(&Draft {
                        source: Some(Source { queue, offset }),
                        targets: &[target],
                        ..Draft::new(Kind::Enqueue, self.rig.time(), &envelope)
                    });
                }
            }
            _ => {}
        }
        self.rig.engine.unclaim(queue, &offsets);
    }

    fn rewrite(&mut self) {
        let oldest = self.rig.tape.oldest().unwrap();
        let checkpointed = self.rig.checkpointed;
        for errand in self.rig.engine.take_rewrites(oldest, checkpointed, 100) {
            if self.dice.one_in(3) {
                self.late.push(errand);
            } else {
                self.rig.run(&errand);
            }
        }
    }

    fn late_rewrite(&mut self) {
        for errand in std::mem::take(&mut self.late) {
            self.rig.run(&errand);
        }
    }

    /// A crash, and a start without a state store.
    pub(super) fn lose_store(&mut self) {
        self.rig.store.0.lock().unwrap().clear();
        self.rig.checkpointed = Lsn::ZERO;
        self.restart();
    }

    /// A crash, and a start.
    pub(super) fn restart(&mut self) {
        self.rig.restart();
        self.claims.clear();
        self.consumers.clear();
        self.listed.clear();
        self.late.clear();
        let known = |it: &(SessionNo, u64)| self.rig.engine.session(it.0).is_some();
        self.sessions.retain(known);
        self.check_names();
    }

    fn check_names(&self) {
        for queue in self.rig.engine.queues.values() {
            let handle = queue.handle.as_ref().unwrap();
            assert_eq!(&*handle.realm, REALM);
            assert_eq!(self.rig.id(&handle.name), Some(queue.id));
        }
    }

    /// What sessions keep agrees with the model, and their queues with them.
    pub(super) fn check_kept(&self) {
        for number in self.rig.engine.sessions.keys() {
            let whole = self.rig.engine.session(*number).unwrap();
            let kept = self.model.kept(*number).unwrap();
            let subscriptions = whole.subscriptions.iter();
            let subscriptions =
                subscriptions.map(|it| ((it.share.clone(), it.filter.clone()), it.qos));
            assert_eq!(
                subscriptions.collect::<BTreeMap<_, _>>(),
                kept.subscriptions
            );
            assert_eq!(whole.queue, kept.queue);
            assert!(whole.received.iter().eq(&kept.received));
            assert_eq!(whole.releasing, kept.releasing);
            assert_eq!(whole.will.map(|it| it.id), kept.will);
            let queue = self.rig.engine.queues.get(&QueueId::new(kept.queue));
            let Some(queue) = queue else { continue };
            let mut bound = queue.def.as_ref().unwrap().bindings.clone();
            bound.sort_unstable();
            assert!(bound.iter().eq(&kept.bound), "{bound:?} is not {kept:?}");
        }
    }

    /// What must hold of the live part at any time.
    pub(super) fn check_live(&self) {
        self.check_kept();
        let retained = self.rig.engine.all_retained().into_iter();
        let retained: BTreeMap<String, u64> = retained
            .map(|(it, kept)| (it, kept.revision.get()))
            .collect();
        assert_eq!(retained, self.model.retained);
        for queue in self.rig.engine.queues.values() {
            self.check_willing(queue);
            for offset in &queue.live.in_flight.offsets().collect::<Vec<_>>() {
                assert!(queue.is_pending(*offset), "{offset} in flight, not waiting");
                assert!(!queue.live.returned.contains(offset), "{offset} is twice");
                let claimed = queue.live.in_flight.get(*offset) == Some(CLAIMED);
                assert!(
                    claimed || queue.dying(*offset).is_none(),
                    "{offset} is given up"
                );
            }
            for offset in &queue.live.returned {
                assert!(queue.is_pending(*offset), "{offset} came back from nowhere");
                assert!(queue.dying(*offset).is_none(), "{offset} is given up");
            }
        }
    }

    /// Those who may take are known, and nobody else; limits look at the right number.
    fn check_willing(&self, queue: &Queue) {
        let consumers = queue.live.consumers.iter().copied();
        let may_take = |id: &ConsumerId| self.rig.engine.consumers[id].may_take();
        let willing: std::collections::BTreeSet<_> = consumers.filter(may_take).collect();
        assert_eq!(queue.live.willing, willing);
        let gauges = &queue.gauges;
        let messages = gauges.messages.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(messages, queue.n_messages);
    }
}
