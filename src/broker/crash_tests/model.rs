//! What the log's records mean, once more and as plainly as can be: what a start must find.

use std::collections::BTreeMap;

use restante_storage::{Lsn, UnixMillis};
use uuid::Uuid;

use crate::engine::{Effect, Engine, Errand, Place};
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
    Send {
        id: u64,
        targets: Vec<u32>,
        source: Option<(u32, u64)>,
    },
    Settle {
        queue: u32,
        offsets: Settled,
    },
    /// A definition that says nothing new.
    Again,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Settled {
    pub(super) accepted: Vec<u64>,
    pub(super) released: Vec<u64>,
    pub(super) rejected: Vec<u64>,
    pub(super) expired: Vec<u64>,
    pub(super) exhausted: Vec<u64>,
    pub(super) returned: Vec<u64>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) queues: BTreeMap<u32, Waiting>,
    pub(super) sessions: BTreeMap<u32, Conversation>,
}

#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) name: String,
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
                        next: 1,
                        messages: BTreeMap::new(),
                    };
                    self.queues.insert(*queue, it);
                }
            }
            Intent::Delete { queue } => drop(self.queues.remove(queue)),
            Intent::Begin { session, uuid } => {
                let it = Conversation {
                    uuid: *uuid,
                    seq: 0,
                    refused: Vec::new(),
                    consumers: Vec::new(),
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
            Intent::Settle { queue, offsets } => return self.settle(*queue, offsets),
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
            );
            if *seen != expected {
                return Err(format!(
                    "session {uuid} (seq, refused, consumers) {seen:?}, expected {expected:?}"
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
    /// Seq, refusals, consumers.
    sessions: BTreeMap<Uuid, FoundSession>,
}

type FoundSession = (u64, Vec<(u64, u32)>, Vec<String>);

#[derive(Default)]
struct FoundQueue {
    next: u64,
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
        for report in engine.report() {
            let it = FoundQueue {
                next: report.next_offset,
                ..FoundQueue::default()
            };
            by_id.insert(report.def.map_or(0, |def| def.id), report.name.clone());
            queues.insert(report.name, it);
        }
        for id in by_id.keys() {
            let consumer = engine.add_consumer(restante_storage::QueueId::new(*id), false, None);
            engine.credit(consumer.expect("a queue that is not exclusive"), u64::MAX);
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
            Some((*uuid, (whole.seq, refused, consumers)))
        });
        Found {
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

/// The offsets of ranges as they stand in a record.
pub(super) fn each(ranges: &[u64]) -> impl Iterator<Item = u64> + '_ {
    let (pairs, _) = ranges.as_chunks::<2>();
    pairs.iter().flat_map(|[first, last]| *first..=*last)
}
