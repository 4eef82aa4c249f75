//! Wills of MQTT sessions: when each is to be published, and that it is handed out once.
//!
//! ```text
//! client gone ─▶ detach ─▶ waits for its delay ─┐
//!                  └─ no delay, or the session ends ─▶ due ─▶ Errand::Will ─▶ the keeper writes ─▶ Change::WillOver
//! client back ─▶ attach: it waits no more, and the record that brought it back has replaced it
//! ```
//!
//! A will is a part of its session, in the log with it, and ends by one kind of record alone: an `Enqueue` or `Retain` whose source it
//! is. That record is the message itself, so that a crash leaves either the will or the message. A session does not end before its
//! will is over.
//!
//! Always, with tests of these names in `engine/tests/wills.rs`:
//! - `a_will_is_handed_out_once_when_its_delay_is_over`
//! - `whoever_comes_back_in_time_is_not_mourned`
//! - `a_goodbye_gives_a_will_up`
//! - `a_session_ends_after_its_will`
//! - `a_will_survives_until_its_record_is_applied`
//!
//! Not here: whether it may be published, and who takes it (broker).

use restante_storage::payload::{Subscription, Will};
use restante_storage::{Lsn, QueueId, SessionNo, Source, UnixMillis};

use super::session::{Change, Session};
use super::{Engine, Errand};

/// A will that is over: to be published, or given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueWill {
    /// What the record's source is to be.
    pub source: Source,
    /// Its session's realm.
    pub realm: String,
    /// Whose session it is.
    pub principal: String,
    /// The client's id.
    pub client: String,
    /// The message.
    pub will: Will,
    /// Its client has said goodbye: nobody is to get it.
    pub given_up: bool,
    /// Whether something is kept at its address, which it may replace.
    pub replaces: bool,
    /// Its session's own queue, and what fills it, where some of that is not to bring what the client sends itself.
    pub own: Option<(QueueId, Vec<Subscription>)>,
}

/// How a client left its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It is gone, and its will is to say so.
    Lost,
    /// It has said goodbye, or was never there: its will is given up.
    WithGoodbye,
}

impl Engine {
    /// Nobody is attached to a session any more, which ends at `ends_at`: its will waits, or is due.
    pub(super) fn will_waits(
        &mut self,
        number: SessionNo,
        how: Left,
        now: UnixMillis,
        ends_at: UnixMillis,
    ) {
        let Some(will) = self.sessions.get(&number).and_then(Session::will) else {
            return;
        };
        let at = now.saturating_add(will.delay_ms).min(ends_at);
        if how == Left::Lost && at > now {
            self.wills.insert(number, at);
        } else {
            self.wills_due.push((number, Lsn::new(will.id), how));
        }
    }

    /// Its will is due, unless it is another one by now. However often this is said, it costs nothing more.
    pub fn fire_will(&mut self, number: SessionNo, id: Lsn) {
        let session = self.sessions.get_mut(&number);
        if session.is_some_and(|session| session.fire_will(id)) {
            self.wills_due.push((number, id, Left::Lost));
        }
    }

    /// Whether that is still the session's will.
    pub fn has_will(&self, number: SessionNo, id: Lsn) -> bool {
        let will = self.sessions.get(&number).and_then(Session::will);
        will.is_some_and(|will| will.id == id.get())
    }

    /// Those that are due, each once; `now`: also those whose time has come by then.
    pub(super) fn will_errands(
        &mut self,
        now: Option<UnixMillis>,
        limit: usize,
        errands: &mut Vec<Errand>,
    ) {
        let over = now.map_or_else(Vec::new, |now| self.wills.over(now, limit));
        for number in over {
            self.wills.remove(number);
            if let Some(will) = self.sessions.get(&number).and_then(Session::will) {
                let due = (number, Lsn::new(will.id), Left::Lost);
                self.wills_due.push(due);
            }
        }
        let n = self.wills_due.len().min(limit);
        let due: Vec<(SessionNo, Lsn, Left)> = self.wills_due.drain(..n).collect();
        let due = due.into_iter();
        errands.extend(due.filter_map(|(number, id, how)| self.due_will(number, id, how)));
    }

    fn due_will(&mut self, number: SessionNo, id: Lsn, how: Left) -> Option<Errand> {
        let session = self.sessions.get_mut(&number)?;
        let will = session.hand_out_will(id)?;
        let def = session.whole()?;
        let address = will.envelope.as_ref().map(|it| it.address.as_str());
        let own = session.queue().filter(|_| session.wants_no_local());
        let replaces = address.is_some_and(|it| self.retained.get(&def.realm, it).is_some());
        let mut subscriptions = def.subscriptions;
        subscriptions.retain(|it| it.share.is_empty());
        Some(Errand::Will(Box::new(DueWill {
            own: own.map(|queue| (queue, subscriptions)),
            source: Source::of_will(number, id),
            realm: def.realm,
            principal: def.principal,
            client: def.client,
            will,
            given_up: how == Left::WithGoodbye,
            replaces,
        })))
    }

    /// A record took a will's place.
    pub(super) fn end_will(&mut self, lsn: Lsn, number: SessionNo, id: Lsn) {
        self.admit_session(number);
        self.change_session(lsn, number, Change::WillOver(id));
    }
}
