//! What the log's records mean, once more and as plainly as can be: what a start must find.

use std::collections::{BTreeMap, BTreeSet};

use restante_storage::{Lsn, UnixMillis};
use uuid::Uuid;

use crate::engine::{Effect, Engine, Errand, Place, Standing, Wanted};
use crate::refusal::Refusal;

/// What one record is to do.
#[derive(Debug, Clone)]
pub(super) struct Deed {
    /// The session's frame that caused it: session and seq.
    pub(super) frame: Option<(u32, u64)>,
    pub(super) intent: Intent,
}

/// Queues and sessions go by numbers of the script's own.
#[derive(Debug, Clone)]
pub(super) enum Intent {
    Define {
        queue: u32,
        name: String,
    },
    /// Another definition: whether the queue is paused, and how long messages may wait there.
    Change {
        queue: u32,
        paused: bool,
        ttl_ms: u64,
    },
    Delete {
        queue: u32,
    },
    Begin {
        session: u32,
        uuid: Uuid,
    },
    End {
        session: u32,
    },
    Consume {
        consumer: String,
    },
    Cancel {
        consumer: String,
    },
    Advance {
        refusal: u32,
    },
    /// What an MQTT session is to keep.
    Keep(Keep),
    Send {
        id: u64,
        targets: Vec<u32>,
        source: Option<(u32, u64)>,
    },
    Settle {
        queue: u32,
        offsets: Settled,
    },
    /// Documents that are set, or removed.
    Configure {
        documents: Vec<(String, Option<u64>)>,
    },
    /// A definition that says nothing new.
    Again,
}

/// A change of what an MQTT session keeps.
#[derive(Debug, Clone)]
pub(super) enum Keep {
    Subscribe(String, u32),
    Unsubscribe(String),
    Received(u32),
    Forgotten(u32),
    Releasing(u32),
    Completed(u32),
}

/// What an MQTT session keeps: quality of service by filter, packet ids received, and those being released.
pub(super) type Kept = (BTreeMap<String, u32>, BTreeSet<u32>, Vec<u32>);

#[derive(Debug, Clone, Default)]
pub(super) struct Settled {
    pub(super) accepted: Vec<u64>,
    pub(super) released: Vec<u64>,
    pub(super) rejected: Vec<u64>,
    pub(super) expired: Vec<u64>,
    pub(super) exhausted: Vec<u64>,
    pub(super) returned: Vec<u64>,
    pub(super) dropped: Vec<u64>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) queues: BTreeMap<u32, Waiting>,
    pub(super) sessions: BTreeMap<u32, Conversation>,
    /// By name.
    pub(super) documents: BTreeMap<String, u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) name: String,
    pub(super) paused: bool,
    pub(super) ttl_ms: u64,
    pub(super) next: u64,
    pub(super) messages: BTreeMap<u64, Message>,
}

#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) id: u64,
    pub(super) acquired: u32,
    pub(super) failed: u32,
    pub(super) dying: bool,
}

/// Failed attempts after which a message is given up, in every queue of the script.
pub(super) const MAX_ATTEMPTS: u32 = 2;

impl Message {
    /// Nobody gets it any more, although no record says so yet.
    fn is_exhausted(&self) -> bool {
        !self.dying && self.failed >= MAX_ATTEMPTS
    }

    fn is_ready(&self) -> bool {
        !self.dying && self.failed < MAX_ATTEMPTS
    }
}

#[derive(Debug, Clone)]
pub(super) struct Conversation {
    pub(super) uuid: Uuid,
    pub(super) seq: u64,
    pub(super) refused: Vec<(u64, u32)>,
    pub(super) consumers: Vec<String>,
    pub(super) kept: Kept,
}

impl Conversation {
    fn keep(&mut self, it: &Keep) {
        let (subscriptions, received, releasing) = &mut self.kept;
        match it {
            Keep::Subscribe(filter, qos) => drop(subscriptions.insert(filter.clone(), *qos)),
            Keep::Unsubscribe(filter) => drop(subscriptions.remove(filter)),
            Keep::Received(packet) => drop(received.insert(*packet)),
            Keep::Forgotten(packet) => drop(received.remove(packet)),
            Keep::Releasing(packet) if releasing.contains(packet) => {}
            Keep::Releasing(packet) => releasing.push(*packet),
            Keep::Completed(packet) => releasing.retain(|other| other != packet),
        }
    }
}

impl Model {
    pub(super) fn apply(&mut self, deed: &Deed) {
        let fresh = deed
            .frame
            .is_none_or(|(session, seq)| match self.sessions.get_mut(&session) {
                Some(session) if seq <= session.seq => false,
                Some(session) => {
                    session.seq = seq;
                    true
                }
                None => true,
            });
        if let Intent::Send {
            id,
            targets,
            source,
        } = &deed.intent
        {
            self.send(*id, targets, *source, fresh);
        } else if fresh && let Some(refusal) = self.act(deed) {
            let frame = deed
                .frame
                .and_then(|(session, seq)| Some((self.sessions.get_mut(&session)?, seq)));
            if let Some((session, seq)) = frame {
                session.refused.push((seq, refusal));
            }
        }
    }

    fn send(&mut self, id: u64, targets: &[u32], source: Option<(u32, u64)>, fresh: bool) {
        if let Some((queue, offset)) = source.filter(|_| fresh)
            && let Some(queue) = self.queues.get_mut(&queue)
        {
            queue.messages.remove(&offset);
        }
        for queue in targets {
            let Some(queue) = self.queues.get_mut(queue) else {
                continue;
            };
            if fresh {
                let message = Message {
                    id,
                    acquired: 0,
                    failed: 0,
                    dying: false,
                };
                queue.messages.insert(queue.next, message);
            }
            queue.next += 1;
        }
    }

    /// Gives the refusal that the frame gets, if any.
    fn act(&mut self, deed: &Deed) -> Option<u32> {
        let mut session = deed
            .frame
            .and_then(|(session, _)| self.sessions.get_mut(&session));
        match &deed.intent {
            Intent::Define { queue, name } => {
                if self.queues.values().all(|other| other.name != *name) {
                    let it = Waiting {
                        name: name.clone(),
                        paused: false,
                        ttl_ms: 0,
                        next: 1,
                        messages: BTreeMap::new(),
                    };
                    self.queues.insert(*queue, it);
                }
            }
            Intent::Change {
                queue,
                paused,
                ttl_ms,
            } => {
                if let Some(queue) = self.queues.get_mut(queue) {
                    (queue.paused, queue.ttl_ms) = (*paused, *ttl_ms);
                }
            }
            Intent::Delete { queue } => drop(self.queues.remove(queue)),
            Intent::Begin { session, uuid } => {
                let it = Conversation {
                    uuid: *uuid,
                    seq: 0,
                    refused: Vec::new(),
                    consumers: Vec::new(),
                    kept: Kept::default(),
                };
                self.sessions.insert(*session, it);
            }
            Intent::End { session } => drop(self.sessions.remove(session)),
            Intent::Consume { consumer } => {
                let consumers = &mut session.as_mut()?.consumers;
                consumers.retain(|other| other != consumer);
                consumers.push(consumer.clone());
            }
            Intent::Cancel { consumer } => session
                .as_mut()?
                .consumers
                .retain(|other| other != consumer),
            Intent::Advance { refusal } => return (*refusal > 0).then_some(*refusal),
            Intent::Keep(it) => session.as_mut()?.keep(it),
            Intent::Settle { queue, offsets } => return self.settle(*queue, offsets),
            Intent::Configure { documents } => {
                for (name, value) in documents {
                    match value {
                        Some(value) => drop(self.documents.insert(name.clone(), *value)),
                        None => drop(self.documents.remove(name)),
                    }
                }
            }
            Intent::Send { .. } | Intent::Again => {}
        }
        None
    }

    fn settle(&mut self, queue: u32, it: &Settled) -> Option<u32> {
        let mut none = BTreeMap::new();
        let messages = self
            .queues
            .get_mut(&queue)
            .map_or(&mut none, |queue| &mut queue.messages);
        let mut missed = false;
        for offset in &it.accepted {
            let there = messages.get(offset).is_some_and(|message| !message.dying);
            missed |= !there;
            if there {
                messages.remove(offset);
            }
        }
        for offset in &it.released {
            match messages.get_mut(offset).filter(|message| !message.dying) {
                Some(message) => {
                    message.acquired += 1;
                    message.failed += 1;
                }
                None => missed = true,
            }
        }
        for offset in &it.rejected {
            match messages.get_mut(offset).filter(|message| !message.dying) {
                Some(message) => message.dying = true,
                None => missed = true,
            }
        }
        for offset in it.expired.iter().chain(&it.exhausted) {
            if let Some(message) = messages.get_mut(offset) {
                message.dying = true;
            }
        }
        for offset in &it.dropped {
            messages.remove(offset);
        }
        for offset in &it.returned {
            if let Some(message) = messages.get_mut(offset) {
                message.acquired += 1;
            }
        }
        missed.then_some(Refusal::NoSuchDelivery.number())
    }

    /// What is different in what the engine hands out and wants written. `lsns`: of messages known to be stored.
    pub(super) fn compare(&self, found: &Found, lsns: &BTreeMap<u64, Lsn>) -> Result<(), String> {
        let names: Vec<&String> = self.queues.values().map(|queue| &queue.name).collect();
        if self.queues.len() != found.queues.len() {
            return Err(format!(
                "queues {:?}, expected {names:?}",
                found.queues.keys()
            ));
        }
        for queue in self.queues.values() {
            let name = &queue.name;
            let seen = found
                .queues
                .get(name)
                .ok_or_else(|| format!("no queue {name}"))?;
            if (seen.paused, seen.ttl_ms) != (queue.paused, queue.ttl_ms) {
                return Err(format!(
                    "{name} is paused: {}, ttl {}; expected {}, {}",
                    seen.paused, seen.ttl_ms, queue.paused, queue.ttl_ms
                ));
            }
            if seen.next != queue.next {
                return Err(format!(
                    "{name} gives offset {} next, expected {}",
                    seen.next, queue.next
                ));
            }
            let offsets = |which: fn(&Message) -> bool| {
                let which = queue
                    .messages
                    .iter()
                    .filter(move |(_, message)| which(message));
                which.map(|(offset, message)| (*offset, message.acquired + 1))
            };
            let ready: Vec<_> = offsets(Message::is_ready).collect();
            let seen_ready: Vec<_> = seen.ready.iter().map(|it| (it.0, it.1)).collect();
            if ready != seen_ready {
                return Err(format!(
                    "{name} delivers (offset, attempt) {seen_ready:?}, expected {ready:?}"
                ));
            }
            let dying: Vec<_> = offsets(|message| message.dying).map(|it| it.0).collect();
            let exhausted: Vec<_> = offsets(Message::is_exhausted).map(|it| it.0).collect();
            if dying != seen.dying || exhausted != seen.exhausted {
                return Err(format!(
                    "{name} gives up {:?} and {:?}, expected {dying:?} and {exhausted:?}",
                    seen.dying, seen.exhausted
                ));
            }
            for (offset, _, lsn) in &seen.ready {
                let id = queue.messages.get(offset).map_or(0, |message| message.id);
                if lsns.get(&id).is_some_and(|known| known != lsn) {
                    return Err(format!(
                        "{name} {offset} is at {lsn}, expected {:?}",
                        lsns.get(&id)
                    ));
                }
            }
        }
        if found.documents != self.documents {
            return Err(format!(
                "documents {:?}, expected {:?}",
                found.documents, self.documents
            ));
        }
        let sessions: BTreeMap<_, _> = self.sessions.values().map(|it| (it.uuid, it)).collect();
        if found.n_sessions != sessions.len() {
            return Err(format!(
                "{} sessions, expected {}",
                found.n_sessions,
                sessions.len()
            ));
        }
        for (uuid, session) in sessions {
            let seen = found
                .sessions
                .get(&uuid)
                .ok_or_else(|| format!("no session {uuid}"))?;
            let expected = (
                session.seq,
                session.refused.clone(),
                session.consumers.clone(),
                session.kept.clone(),
            );
            if *seen != expected {
                return Err(format!(
                    "session {uuid} (seq, refused, consumers, kept) {seen:?}, expected {expected:?}"
                ));
            }
        }
        Ok(())
    }
}

/// What an engine shows of itself to consumers, sessions and the keeper.
pub(super) struct Found {
    queues: BTreeMap<String, FoundQueue>,
    n_sessions: usize,
    /// Seq, refusals, consumers, what MQTT keeps.
    sessions: BTreeMap<Uuid, FoundSession>,
    documents: BTreeMap<String, u64>,
}

type FoundSession = (u64, Vec<(u64, u32)>, Vec<String>, Kept);

#[derive(Default)]
struct FoundQueue {
    next: u64,
    paused: bool,
    ttl_ms: u64,
    /// As delivered: offset, attempt, record.
    ready: Vec<(u64, u32, Lsn)>,
    /// On its way to the dead-letter address.
    dying: Vec<u64>,
    /// Failed too often, to be given up.
    exhausted: Vec<u64>,
}

impl Found {
    /// Takes everything from every queue, and asks for these sessions.
    pub(super) fn in_engine(engine: &mut Engine, uuids: &[Uuid]) -> Found {
        let mut queues: BTreeMap<String, FoundQueue> = BTreeMap::new();
        let mut by_id = BTreeMap::new();
        let next: Vec<_> = engine.next_offsets().collect();
        for (id, next) in next {
            let Some(handle) = engine.queue(id) else {
                continue;
            };
            let name = handle.name.to_string();
            let it = FoundQueue {
                next: next.get(),
                paused: handle.is_paused(),
                ttl_ms: handle.def.as_ref().map_or(0, |def| def.ttl_ms),
                ..FoundQueue::default()
            };
            by_id.insert(id.get(), name.clone());
            queues.insert(name, it);
        }
        for id in by_id.keys() {
            let consumer = engine.add_consumer(restante_storage::QueueId::new(*id), false, None);
            engine.credit(consumer.expect("a queue that is not exclusive"), u64::MAX);
        }
        for (id, name) in &by_id {
            let id = restante_storage::QueueId::new(*id);
            if let Some(queue) = queues.get_mut(name).filter(|it| it.paused) {
                queue.ready = ready_in(engine, id);
            }
        }
        engine.dispatch(UnixMillis::ZERO);
        for effect in engine.take_effects() {
            if let Effect::Deliver {
                queue,
                offset,
                attempt,
                place: Place::Log { lsn, .. },
                ..
            } = effect
                && let Some(queue) = by_id
                    .get(&queue.get())
                    .and_then(|name| queues.get_mut(name))
            {
                queue.ready.push((offset.get(), attempt, lsn));
            }
        }
        for errand in engine.take_errands(UnixMillis::ZERO, 100_000) {
            match errand {
                Errand::Move(it) => {
                    if let Some(queue) = queues.get_mut(&*it.name) {
                        queue.dying.push(it.offset.get());
                    }
                }
                Errand::Settle(it) => {
                    let name = by_id.get(&it.queue);
                    if let Some(queue) = name.and_then(|name| queues.get_mut(name)) {
                        queue
                            .exhausted
                            .extend(each(&it.exhausted).chain(each(&it.dropped)));
                    }
                }
                _ => {}
            }
        }
        let sessions = uuids.iter().filter_map(|uuid| {
            let whole = engine.session(engine.session_number(*uuid)?)?;
            let refused = whole
                .failures
                .iter()
                .map(|failure| (failure.seq, failure.refusal))
                .collect();
            let consumers = whole
                .consumers
                .into_iter()
                .map(|consumer| consumer.name)
                .collect();
            let subscriptions = whole.subscriptions.into_iter();
            let kept = (
                subscriptions.map(|it| (it.filter, it.qos)).collect(),
                whole.received.into_iter().collect(),
                whole.releasing,
            );
            Some((*uuid, (whole.seq, refused, consumers, kept)))
        });
        let documents = engine.config().map(|(key, it)| {
            let value = std::str::from_utf8(&it.value)
                .ok()
                .and_then(|it| it.parse().ok());
            (key.name.clone(), value.unwrap_or(u64::MAX))
        });
        Found {
            documents: documents.collect(),
            sessions: sessions.collect(),
            n_sessions: engine.n_sessions(),
            queues,
        }
    }

    /// Where the bodies of all that is ready lie, by queue and offset.
    pub(super) fn ready(&self) -> impl Iterator<Item = (&str, u64, Lsn)> {
        let queues = self.queues.iter();
        queues.flat_map(|(name, it)| {
            it.ready
                .iter()
                .map(|(offset, _, lsn)| (name.as_str(), *offset, *lsn))
        })
    }
}

/// What a queue would deliver if it were not paused.
fn ready_in(engine: &mut Engine, id: restante_storage::QueueId) -> Vec<(u64, u32, Lsn)> {
    let last = restante_storage::Offset::new(u64::MAX - 1);
    let all = Wanted::Range(restante_storage::Offset::ZERO, last, usize::MAX);
    let sights = engine.look(id, &all).map_or_else(Vec::new, |it| it.sights);
    let ready = sights
        .into_iter()
        .filter(|it| it.standing == Standing::Ready);
    ready
        .filter_map(|it| match it.place {
            Place::Log { lsn, .. } => Some((it.offset.get(), it.acquired + 1, lsn)),
            Place::Memory(_) => None,
        })
        .collect()
}

/// The offsets of ranges as they stand in a record.
pub(super) fn each(ranges: &[u64]) -> impl Iterator<Item = u64> + '_ {
    let (pairs, _) = ranges.as_chunks::<2>();
    pairs.iter().flat_map(|[first, last]| *first..=*last)
}
