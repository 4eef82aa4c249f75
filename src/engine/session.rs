//! A durable session: what of a client's conversation outlives its sockets and the broker's crashes.

use restante_storage::payload::{DefineSession, Failure, SessionConsumer};
use restante_storage::{Lsn, Seq, SessionNo};

use crate::refusal::Refusal;

/// How many of its frames a session may have unconfirmed at most, whatever the configuration says: refusals are kept
/// for that many frames, because the client may not have heard of them yet.
pub const WINDOW_MAX: u64 = 8192;

/// A durable session, as the log tells it.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) number: SessionNo,
    /// None while replay has met its frames but not yet its definition.
    pub(super) def: Option<DefineSession>,
    /// The oldest LSN that the log must keep for its definition.
    pub(super) home: Lsn,
    /// The last of its frames that was applied.
    pub(super) seq: Seq,
    /// Refusals of frames within the window, ascending.
    pub(super) failures: Vec<Failure>,
    pub(super) consumers: Vec<SessionConsumer>,
    /// While there is no definition: consumers that came and went, and when.
    pub(super) meanwhile: Vec<(Lsn, Change)>,
}

/// A change of a session's consumers.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Began(SessionConsumer),
    Ended(String),
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
            meanwhile: Vec::new(),
        }
    }

    pub(super) fn consumer(&self, name: &str) -> Option<&SessionConsumer> {
        self.consumers.iter().find(|consumer| consumer.name == name)
    }

    /// Takes the definition; what the session did after `as_of` is kept on top of it.
    pub(super) fn define(&mut self, mut def: DefineSession, lsn: Lsn) {
        let as_of = Lsn::new(def.as_of);
        self.home = if def.as_of == 0 { lsn } else { as_of };
        self.seq = self.seq.max(Seq::new(def.seq));
        let mut failures = std::mem::take(&mut def.failures);
        failures.append(&mut self.failures);
        failures.sort_unstable_by_key(|failure| failure.seq);
        failures.dedup_by_key(|failure| failure.seq);
        self.failures = failures;
        self.consumers = std::mem::take(&mut def.consumers);
        for (at, change) in std::mem::take(&mut self.meanwhile) {
            if at > as_of {
                self.change(change);
            }
        }
        (def.number, def.seq, def.as_of) = (self.number.get(), 0, 0);
        self.def = Some(def);
        self.trim_failures();
    }

    /// A consumer began or ended at `lsn`.
    pub(super) fn record(&mut self, lsn: Lsn, change: Change) {
        if self.def.is_none() {
            self.meanwhile.push((lsn, change));
        } else {
            self.change(change);
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Began(consumer) => {
                self.consumers.retain(|other| other.name != consumer.name);
                self.consumers.push(consumer);
            }
            Change::Ended(name) => self.consumers.retain(|other| other.name != name),
        }
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

    pub(super) fn refuse(&mut self, seq: Seq, refusal: Refusal) {
        self.failures.push(Failure {
            seq: seq.get(),
            refusal: refusal.number(),
        });
    }

    fn trim_failures(&mut self) {
        let oldest = self.seq.get().saturating_sub(WINDOW_MAX);
        if self
            .failures
            .first()
            .is_some_and(|failure| failure.seq <= oldest)
        {
            self.failures.retain(|failure| failure.seq > oldest);
        }
    }

    /// The session as one value: its row in the state store, and what is written to the log again.
    pub(super) fn whole(&self) -> Option<DefineSession> {
        let mut def = self.def.clone()?;
        def.seq = self.seq.get();
        def.failures.clone_from(&self.failures);
        def.consumers.clone_from(&self.consumers);
        Some(def)
    }
}
