//! A durable session: what of a client's conversation outlives its sockets and the broker's crashes.

use restante_storage::payload::{DefineSession, Failure, SessionConsumer};
use restante_storage::{Lsn, Seq, SessionNo};
use uuid::Uuid;

/// How many of its frames a session may have unconfirmed at most, whatever the configuration says: refusals are kept
/// for that many frames, because the client may not have heard of them yet.
pub const WINDOW_MAX: u64 = 8192;

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
    /// While there is no definition: what changed, and when.
    meanwhile: Vec<(Lsn, Change)>,
    /// Whether it stands in the engine's list of sessions for the next checkpoint.
    listed: bool,
    /// Whether it is being written to the log again; live only.
    pub(super) rewriting: bool,
}

/// A change of a session, beside its count.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A consumer began.
    Began(SessionConsumer),
    /// The consumer of that name ended.
    Ended(String),
    /// A frame was refused.
    Refused(Failure),
    /// It outlives its socket by that many milliseconds now, and has that name.
    Altered(u64, Option<String>),
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
            listed: false,
            rewriting: false,
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

    pub(super) fn consumer(&self, name: &str) -> Option<&SessionConsumer> {
        self.consumers.iter().find(|consumer| consumer.name == name)
    }

    /// Takes the definition as of `home`; what the session did from there on is kept on top of it.
    pub(super) fn define(&mut self, mut def: DefineSession, home: Lsn) {
        self.home = home;
        self.seq = self.seq.max(Seq::new(def.seq));
        self.failures = std::mem::take(&mut def.failures);
        self.consumers = std::mem::take(&mut def.consumers);
        (def.number, def.seq, def.as_of) = (self.number.get(), 0, 0);
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
            Change::Began(consumer) => {
                self.consumers.retain(|other| other.name != consumer.name);
                self.consumers.push(consumer);
            }
            Change::Ended(name) => self.consumers.retain(|other| other.name != name),
            Change::Refused(failure) => self.failures.push(failure),
            Change::Altered(expiry_ms, name) => (def.expiry_ms, def.name) = (expiry_ms, name),
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
        Some(def)
    }
}
