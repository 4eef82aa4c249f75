//! Durable sessions: they are defined, use up frames, have consumers, and end.

use restante_storage::payload::{Cancel, Consume, DefineSession, EndSession, Failure};
use restante_storage::{Lsn, Origin, QueueId, RecordRef, SessionNo};
use uuid::Uuid;

use super::decode;
use crate::engine::session::{Change, Session};
use crate::engine::{Effect, Engine};
use crate::refusal::Refusal;

impl Engine {
    /// Uses up the frame that caused the record; whether it is new, as every record is that no frame caused.
    pub(super) fn take_frame(&mut self, record: &RecordRef<'_>) -> bool {
        let Some(origin) = record.origin() else {
            return true;
        };
        self.admit_session(origin.session);
        let Some(session) = self.sessions.get_mut(&origin.session) else {
            return true;
        };
        let new = session.take(origin.seq);
        if session.list() {
            self.dirty.sessions.push(origin.session);
        }
        new
    }

    pub(super) fn refuse(&mut self, lsn: Lsn, origin: Origin, refusal: Refusal) {
        if let Some(session) = self.sessions.get_mut(&origin.session) {
            let failure = Failure {
                seq: origin.seq.get(),
                refusal: refusal.number(),
            };
            session.change(lsn, Change::Refused(failure));
        }
    }

    pub(super) fn define_session(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let mut def = decode::<DefineSession>(record);
        let uuid = Uuid::from_slice(&def.uuid).ok()?;
        let as_of = Lsn::new(std::mem::take(&mut def.as_of));
        if def.number == 0 && self.session_ids.contains_key(&uuid) {
            return None; // two sockets asked for it at once: the first has made it
        }
        let number = if def.number == 0 {
            let number = SessionNo::new(record.lsn().get());
            self.sessions.insert(number, Session::unknown(number));
            number
        } else {
            SessionNo::new(def.number)
        };
        let known = self.sessions.get(&number).is_some_and(Session::is_known);
        let again = as_of > Lsn::ZERO;
        if let Some(will) = def.will.as_mut().filter(|will| will.id == 0) {
            will.id = record.lsn().get();
        }
        if again && !known && !self.past.may_have_been(self.segments.of(as_of)) {
            return None; // it ended while this was on its way to the log
        }
        self.admit_session(number);
        if again && !known && self.sessions.contains_key(&number) {
            self.remove_rival(number, uuid);
        }
        let session = self.sessions.get_mut(&number)?;
        match (again, known) {
            (true, true) => {
                session.written_again(as_of);
                if self.past.is_gone() {
                    session.correct_failures(def);
                }
            }
            (true, false) => session.define(def, as_of),
            (false, _) if number.get() == record.lsn().get() => session.define(def, record.lsn()),
            (false, _) => session.change(record.lsn(), Change::Altered(Box::new(def))),
        }
        if session.is_known() {
            self.session_ids.insert(uuid, number);
        }
        if session.list() {
            self.dirty.sessions.push(number);
        }
        None
    }

    pub(super) fn end_session(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let it = decode::<EndSession>(record);
        let number = SessionNo::new(it.session);
        // The log's writer has forgotten it: what comes for it later has offsets from 1 on.
        if it.queue > 0 && self.past.is_gone() {
            let own = QueueId::new(it.queue);
            self.remove_queue(own);
            self.past.end(own);
        }
        self.remove_session(number)?;
        self.effects.push(Effect::SessionEnded { session: number });
        None
    }

    /// A session is no more, and with it its consumers and its own queue.
    fn remove_session(&mut self, number: SessionNo) -> Option<()> {
        self.past.end(number);
        self.detached.remove(number);
        self.wills.remove(number);
        self.leave_recall(number);
        let mut session = self.sessions.remove(&number)?;
        if session.list() {
            self.dirty.sessions.push(number);
        }
        if let Some(uuid) = session.uuid()
            && self.session_ids.get(&uuid) == Some(&number)
        {
            self.session_ids.remove(&uuid);
        }
        for id in self.consumers_of(number) {
            self.remove_consumer(id);
        }
        for id in self.own_queues(&session) {
            self.remove_queue(id);
            self.past.end(id);
        }
        Some(())
    }

    /// Where the log's beginning is gone, a definition that once lost against this session may have been taken for the first
    /// of its id.
    fn remove_rival(&mut self, number: SessionNo, uuid: Uuid) {
        let other = self.session_ids.get(&uuid).copied();
        if let Some(other) = other.filter(|other| self.past.is_gone() && *other != number) {
            self.remove_session(other);
        }
    }

    /// A session's own queue. There is one at most, but where the log's beginning is gone, only the queue may know of it.
    fn own_queues(&self, session: &Session) -> Vec<QueueId> {
        let mut own: Vec<QueueId> = session.queue().into_iter().collect();
        if self.past.is_gone() && !session.is_known() {
            let queues = self.queues.values();
            let of_it = queues.filter(|queue| queue.owner() == Some(session.number));
            own.extend(of_it.map(|queue| queue.id));
        }
        own
    }

    pub(super) fn consume(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let consumer = decode::<Consume>(record).consumer?;
        let session = self.sessions.get_mut(&record.origin()?.session)?;
        session.change(record.lsn(), Change::Began(consumer));
        None
    }

    pub(super) fn cancel(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let it = decode::<Cancel>(record);
        let name = it.consumer;
        let number = match it.session {
            0 => record.origin()?.session,
            number => SessionNo::new(number),
        };
        self.admit_session(number);
        let session = self.sessions.get_mut(&number)?;
        session.change(record.lsn(), Change::Ended(name.clone()));
        if session.list() {
            self.dirty.sessions.push(number);
        }
        self.end_consumers(number, &name);
        None
    }

    /// Where the log's beginning is gone, a session that is met may be defined later.
    pub(in crate::engine) fn admit_session(&mut self, number: SessionNo) {
        if self.past.may_have(number) && !self.sessions.contains_key(&number) {
            self.sessions.insert(number, Session::unknown(number));
        }
    }
}
