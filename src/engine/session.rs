//! A durable session: what of a client's conversation outlives its sockets and the broker's crashes.

use restante_storage::payload::{
    DefineSession, Failure, MQTT, SessionConsumer, Subscription, Will,
};
use restante_storage::{Lsn, QueueId, Seq, SessionNo};
use uuid::Uuid;

/// How many of its frames a session may have unconfirmed at most, whatever the configuration says: refusals are kept
/// for that many frames, because the client may not have heard of them yet.
pub const WINDOW_MAX: u64 = 8192;

/// An MQTT session's name for the consumer of its own queue: what matches its subscriptions that are not shared.
pub const OWN_CONSUMER: &str = "q";

/// An MQTT session's name for its consumer of a subscription that a group shares.
pub fn shared_consumer(group: &str, filter: &str) -> String {
    format!("s/{group}/{filter}")
}

/// A durable session, as the log tells it.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) number: SessionNo,
    /// None while replay has met its frames but not yet its definition. Holds neither count, failures nor consumers.
    def: Option<DefineSession>,
    /// The oldest LSN that the log must keep for its definition.
    pub(super) home: Lsn,
    /// The last of its frames that was applied.
    seq: Seq,
    /// Refusals of frames within the window, ascending.
    failures: Vec<Failure>,
    pub(super) consumers: Vec<SessionConsumer>,
    /// The queue that its own subscriptions fill.
    queue: Option<QueueId>,
    /// Oldest first; each share and filter once.
    subscriptions: Vec<Subscription>,
    /// Packet ids of publishes that were taken and not released yet, ascending.
    received: Vec<u32>,
    /// Packet ids of deliveries that were received and not completed yet, in that order.
    releasing: Vec<u32>,
    /// While there is no definition: what changed, and when.
    meanwhile: Vec<(Lsn, Change)>,
    /// Whether it stands in the engine's list of sessions for the next checkpoint.
    listed: bool,
    /// Whether it is being written to the log again; live only.
    pub(super) rewriting: bool,
    /// The will that was handed out to be published or given up; live only.
    will_handed_out: Lsn,
    /// The will that somebody wanted to be published at once; live only.
    will_fired: Lsn,
}

/// A change of a session, beside its count.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A consumer began.
    Began(SessionConsumer),
    /// The consumer of that name ended.
    Ended(String),
    /// It has a queue of its own now.
    Owns(QueueId),
    /// A subscription began, or replaces the one of its share and filter.
    Subscribed(Subscription),
    /// The subscription of that share and filter ended.
    Unsubscribed {
        /// The group; empty where it is not shared.
        share: String,
        /// The filter.
        filter: String,
    },
    /// The publish of that packet id was taken.
    Received(u32),
    /// Its client has released the publish of that packet id.
    Forgotten(u32),
    /// Its client has received the delivery of that packet id.
    Releasing(u32),
    /// Its client has completed the delivery of that packet id.
    Completed(u32),
    /// A frame was refused.
    Refused(Failure),
    /// It outlives its socket by as long as this says now, and has its name, and its will.
    Altered(Box<DefineSession>),
    /// That will was published, or given up.
    WillOver(Lsn),
}

impl Session {
    pub(super) fn unknown(number: SessionNo) -> Self {
        Session {
            number,
            def: None,
            home: Lsn::ZERO,
            seq: Seq::ZERO,
            failures: Vec::new(),
            consumers: Vec::new(),
            queue: None,
            subscriptions: Vec::new(),
            received: Vec::new(),
            releasing: Vec::new(),
            meanwhile: Vec::new(),
            listed: false,
            rewriting: false,
            will_handed_out: Lsn::ZERO,
            will_fired: Lsn::ZERO,
        }
    }

    /// Whether it was defined.
    pub(super) fn is_known(&self) -> bool {
        self.def.is_some()
    }

    /// Its id towards clients.
    pub(super) fn uuid(&self) -> Option<Uuid> {
        Uuid::from_slice(&self.def.as_ref()?.uuid).ok()
    }

    /// How long it outlives its socket, in milliseconds.
    pub(super) fn expiry_ms(&self) -> u64 {
        self.def.as_ref().map_or(0, |def| def.expiry_ms)
    }

    /// Whether its records may say more than those of other doors: its client speaks MQTT, or nobody knows what yet.
    pub(super) fn may_speak_mqtt(&self) -> bool {
        self.def.as_ref().is_none_or(|def| def.protocol == MQTT)
    }

    /// The queue that its own subscriptions fill.
    pub(super) fn queue(&self) -> Option<QueueId> {
        self.queue
    }

    /// Whether one of its subscriptions does not want what its client sends itself.
    pub(super) fn wants_no_local(&self) -> bool {
        self.subscriptions.iter().any(|it| it.no_local)
    }

    /// What is published when its client is gone.
    pub(super) fn will(&self) -> Option<&Will> {
        self.def.as_ref()?.will.as_ref()
    }

    /// Whether it has that will, and nobody has wanted that published at once before.
    pub(super) fn fire_will(&mut self, id: Lsn) -> bool {
        let has_it = self.will().is_some_and(|will| will.id == id.get());
        has_it && std::mem::replace(&mut self.will_fired, id) != id
    }

    /// What is published when its client is gone, once, if it is that one.
    pub(super) fn hand_out_will(&mut self, id: Lsn) -> Option<Will> {
        let will = self.will().filter(|will| will.id == id.get())?.clone();
        let first = std::mem::replace(&mut self.will_handed_out, id) != id;
        first.then_some(will)
    }

    pub(super) fn consumer(&self, name: &str) -> Option<&SessionConsumer> {
        self.consumers.iter().find(|consumer| consumer.name == name)
    }

    /// Takes the definition as of `home`; what the session did from there on is kept on top of it.
    pub(super) fn define(&mut self, mut def: DefineSession, home: Lsn) {
        self.home = home;
        self.seq = self.seq.max(Seq::new(def.seq));
        self.failures = std::mem::take(&mut def.failures);
        self.consumers = std::mem::take(&mut def.consumers);
        self.queue = (def.queue > 0).then(|| QueueId::new(def.queue));
        self.subscriptions = std::mem::take(&mut def.subscriptions);
        self.received = std::mem::take(&mut def.received);
        self.releasing = std::mem::take(&mut def.releasing);
        def.queue = 0;
        (def.number, def.seq, def.as_of, def.keeps_will) = (self.number.get(), 0, 0, false);
        self.def = Some(def);
        let meanwhile = std::mem::take(&mut self.meanwhile);
        for (lsn, change) in meanwhile.into_iter().filter(|(lsn, _)| *lsn >= home) {
            self.change(lsn, change);
        }
        self.trim_failures();
    }

    /// Its definition was written again, as of that LSN. It says nothing new.
    pub(super) fn written_again(&mut self, as_of: Lsn) {
        self.home = self.home.max(as_of);
        self.rewriting = false;
    }

    /// Where the log's beginning is gone, what was written again knows better which frames failed up to then.
    pub(super) fn correct_failures(&mut self, def: DefineSession) {
        let n_old = self.failures.partition_point(|it| it.seq <= def.seq);
        self.failures.splice(..n_old, def.failures);
        self.trim_failures();
    }

    /// It changed at `lsn`.
    pub(super) fn change(&mut self, lsn: Lsn, change: Change) {
        let Some(def) = &mut self.def else {
            self.meanwhile.push((lsn, change));
            return;
        };
        match change {
            Change::Began(consumer) => self.begin(consumer),
            Change::Ended(name) => self.consumers.retain(|other| other.name != name),
            Change::Owns(queue) => {
                self.queue = Some(queue);
                self.begin(SessionConsumer {
                    name: OWN_CONSUMER.to_owned(),
                    queue: queue.get(),
                    ..SessionConsumer::default()
                });
            }
            Change::Subscribed(it) => self.subscribe(it),
            Change::Unsubscribed { share, filter } => self.unsubscribe(&share, &filter),
            // Of a session that was not known yet, this may be read out of something else.
            Change::Received(_) if def.protocol != MQTT => {}
            Change::Received(packet) => {
                if let Err(at) = self.received.binary_search(&packet) {
                    self.received.insert(at, packet);
                }
            }
            Change::Forgotten(packet) => {
                if let Ok(at) = self.received.binary_search(&packet) {
                    self.received.remove(at);
                }
            }
            Change::Releasing(packet) => {
                if !self.releasing.contains(&packet) {
                    self.releasing.push(packet);
                }
            }
            Change::Completed(packet) => self.releasing.retain(|other| *other != packet),
            Change::Refused(failure) => self.failures.push(failure),
            Change::Altered(new) => {
                (def.expiry_ms, def.name) = (new.expiry_ms, new.name);
                if !new.keeps_will {
                    def.will = new.will;
                }
            }
            Change::WillOver(id) => def.will = def.will.take_if(|will| will.id != id.get()),
        }
    }

    fn begin(&mut self, consumer: SessionConsumer) {
        self.consumers.retain(|other| other.name != consumer.name);
        self.consumers.push(consumer);
    }

    fn subscribe(&mut self, it: Subscription) {
        if !it.share.is_empty() {
            self.begin(SessionConsumer {
                name: shared_consumer(&it.share, &it.filter),
                queue: it.queue,
                ..SessionConsumer::default()
            });
        }
        let mut known = self.subscriptions.iter_mut();
        match known.find(|other| other.share == it.share && other.filter == it.filter) {
            Some(known) => *known = it,
            None => self.subscriptions.push(it),
        }
    }

    fn unsubscribe(&mut self, share: &str, filter: &str) {
        if !share.is_empty() {
            let name = shared_consumer(share, filter);
            self.consumers.retain(|other| other.name != name);
        }
        self.subscriptions
            .retain(|other| other.share != share || other.filter != filter);
    }

    /// Takes frame `seq`; whether it is new.
    pub(super) fn take(&mut self, seq: Seq) -> bool {
        let new = seq > self.seq;
        if new {
            self.seq = seq;
            self.trim_failures();
        }
        new
    }

    fn trim_failures(&mut self) {
        let oldest = self.seq.get().saturating_sub(WINDOW_MAX);
        let n_old = self.failures.partition_point(|it| it.seq <= oldest);
        self.failures.drain(..n_old);
    }

    /// Puts it on the engine's list for the next checkpoint; whether it was not there.
    pub(super) fn list(&mut self) -> bool {
        !std::mem::replace(&mut self.listed, true)
    }

    /// It is no longer on the engine's list.
    pub(super) fn unlist(&mut self) {
        self.listed = false;
    }

    /// The session as one value: its row in the state store, and what is written to the log again.
    pub(super) fn whole(&self) -> Option<DefineSession> {
        let mut def = self.def.clone()?;
        def.seq = self.seq.get();
        def.failures.clone_from(&self.failures);
        def.consumers.clone_from(&self.consumers);
        def.queue = self.queue.map_or(0, QueueId::get);
        def.subscriptions.clone_from(&self.subscriptions);
        def.received.clone_from(&self.received);
        def.releasing.clone_from(&self.releasing);
        Some(def)
    }
}
