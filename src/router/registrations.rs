//! Who has registered what (wamp.md §5, §7.9, §7.10, §7.12, §9.2).

use std::num::NonZeroU32;
use std::sync::Arc;

use restante_storage::UnixMillis;
use rustc_hash::FxHashMap;
use serde_json::json;

use super::meta::created;
use super::output::{Sink, ToSession};
use super::patterns::PatternIndex;
use super::policy::{Callees, Entry, Invoke, Ticket};
use super::uri::is_reserved;
use super::{
    Match, Party, Refused, RegistrationId, Router, SHAPES_PER_SESSION_MAX, SessionId,
    TOO_MANY_SHAPES,
};

/// The reason of an UNREGISTERED whose registration somebody else took, or took away.
const UNREGISTERED: &str = "wamp.error.unregistered";

/// All registrations of a realm.
#[derive(Debug, Default)]
pub(super) struct Registrations {
    pub(super) by_id: FxHashMap<RegistrationId, Registration>,
    pub(super) index: PatternIndex<RegistrationId>,
    last: u64,
    last_ticket: u64,
}

/// A procedure or pattern that somebody has registered.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) uri: Arc<str>,
    pub(super) how: Match,
    pub(super) created: UnixMillis,
    pub(super) callees: Callees,
    /// Calls that went by it and that no callee has answered.
    pub(super) n_calls: usize,
}

/// What REGISTER asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RegisterOptions {
    /// How it is matched.
    pub how: Match,
    /// How it is shared.
    pub invoke: Invoke,
    /// How many calls this callee takes at a time; none: any number.
    pub concurrency: Option<NonZeroU32>,
    /// Whether this callee wants to know who calls.
    pub disclose_caller: bool,
    /// Whether this callee watches the time itself, if it announced `call_timeout`.
    pub forward_timeout: bool,
    /// Whether those who have registered it lose it.
    pub force_reregister: bool,
}

impl<P: Clone> Router<P> {
    /// Makes `session` a callee of `uri`. The answer is to be sent before what is in `sink` is handed out.
    ///
    /// # Errors
    /// [`Refused::InvalidUri`], [`Refused::ProcedureAlreadyExists`], [`Refused::DifferentPolicy`], [`Refused::TooMany`];
    /// [`Refused::NoSuchSession`] if it has left.
    pub fn register(
        &mut self,
        session: SessionId,
        uri: &str,
        options: RegisterOptions,
        now: UnixMillis,
        sink: &mut Sink<P>,
    ) -> Result<RegistrationId, Refused> {
        self.check_register(session, uri, options)?;
        if options.how == Match::Wildcard
            && let Some(session) = self.sessions.get_mut(&session)
        {
            let (index, mine) = (&self.registrations.index, &mut session.registered_shapes);
            if !index.take_shape(uri, mine, SHAPES_PER_SESSION_MAX) {
                return Err(TOO_MANY_SHAPES);
            }
        }
        let found = self.registrations.index.get(uri, options.how);
        let shared = match found {
            Some(id) if options.force_reregister => {
                self.remove_callees(id, UNREGISTERED, sink);
                None
            }
            other => other,
        };
        let entry = self.registrations.entry(session, options);
        let id = match shared {
            Some(id) => self.registrations.share(id, entry),
            None => self.create_registration(uri, options, entry, now, sink),
        };
        if let Some(session) = self.sessions.get_mut(&session) {
            session.registrations.insert(id);
        }
        let args = || vec![json!(session.get()), json!(id.get())];
        self.announce("wamp.registration.on_register", args, sink);
        Ok(id)
    }

    /// Ends a registration of the session's; calls on their way to it go on.
    ///
    /// # Errors
    /// [`Refused::NoSuchRegistration`]: unknown, or not this session's.
    pub fn unregister(
        &mut self,
        session: SessionId,
        id: RegistrationId,
        sink: &mut Sink<P>,
    ) -> Result<(), Refused> {
        let mine = self.sessions.get_mut(&session);
        if !mine.is_some_and(|it| it.registrations.remove(&id)) {
            return Err(Refused::NoSuchRegistration);
        }
        if let Some(is_over) = self.remove_callee(id, session) {
            self.announce_unregistered(session, id, is_over, sink);
        }
        Ok(())
    }

    /// Takes a registration from a callee, which is told if it said that it understands.
    ///
    /// # Errors
    /// [`Refused::NoSuchRegistration`]: unknown, or not that session's.
    pub fn revoke_registration(
        &mut self,
        session: SessionId,
        id: RegistrationId,
        reason: &str,
        sink: &mut Sink<P>,
    ) -> Result<(), Refused> {
        let callee = self.sessions.get(&session);
        if !callee.is_some_and(|it| it.registrations.contains(&id)) {
            return Err(Refused::NoSuchRegistration);
        }
        self.tell_unregistered(session, id, reason, sink);
        self.unregister(session, id, sink)
    }

    /// Takes a registration from all its callees; calls on their way to them go on.
    ///
    /// # Errors
    /// [`Refused::NoSuchRegistration`].
    pub fn withdraw_registration(
        &mut self,
        id: RegistrationId,
        sink: &mut Sink<P>,
    ) -> Result<(), Refused> {
        if !self.registrations.by_id.contains_key(&id) {
            return Err(Refused::NoSuchRegistration);
        }
        self.remove_callees(id, UNREGISTERED, sink);
        Ok(())
    }

    /// The registration that a call of `procedure` goes by.
    #[must_use]
    pub fn registration_for(&self, procedure: &str) -> Option<RegistrationId> {
        self.registrations.index.best(procedure)
    }

    /// Without its callee, whose own list is the caller's to change. If there was such a registration: whether it was the last.
    pub(super) fn remove_callee(&mut self, id: RegistrationId, session: SessionId) -> Option<bool> {
        let registration = self.registrations.by_id.get_mut(&id)?;
        registration.callees.remove(session);
        let is_over = registration.callees.entries.is_empty();
        if is_over && let Some(registration) = self.registrations.by_id.remove(&id) {
            (self.registrations.index).remove(&registration.uri, registration.how);
        }
        Some(is_over)
    }

    pub(super) fn announce_unregistered(
        &mut self,
        session: SessionId,
        id: RegistrationId,
        is_over: bool,
        sink: &mut Sink<P>,
    ) {
        let args = || vec![json!(session.get()), json!(id.get())];
        self.announce("wamp.registration.on_unregister", args, sink);
        if is_over {
            self.announce("wamp.registration.on_delete", args, sink);
        }
    }

    fn tell_unregistered(
        &self,
        session: SessionId,
        id: RegistrationId,
        reason: &str,
        sink: &mut Sink<P>,
    ) {
        let features = self.sessions.get(&session).map(|it| it.features.callee);
        let message = ToSession::Unregistered {
            registration: id,
            reason: reason.into(),
            is_told: features.is_some_and(|it| it.registration_revocation),
        };
        sink.tell(Party::Session(session), message);
    }

    fn remove_callees(&mut self, id: RegistrationId, reason: &str, sink: &mut Sink<P>) {
        let registration = self.registrations.by_id.get(&id);
        let callees = registration.into_iter().flat_map(|it| &it.callees.entries);
        let callees: Vec<_> = callees.map(|entry| entry.session).collect();
        for callee in callees {
            self.tell_unregistered(callee, id, reason, sink);
            if let Some(session) = self.sessions.get_mut(&callee) {
                session.registrations.remove(&id);
            }
            if let Some(is_over) = self.remove_callee(id, callee) {
                self.announce_unregistered(callee, id, is_over, sink);
            }
        }
    }

    fn check_register(
        &self,
        session: SessionId,
        uri: &str,
        options: RegisterOptions,
    ) -> Result<(), Refused> {
        let n_shapes = self.registrations.index.shapes_with(uri);
        self.check_pattern(uri, options.how, n_shapes)?;
        if is_reserved(uri) {
            return Err(Refused::InvalidUri);
        }
        let n_mine = match self.sessions.get(&session) {
            Some(session) => session.registrations.len(),
            None => return Err(Refused::NoSuchSession),
        };
        let found = self.registrations.index.get(uri, options.how);
        if let Some(registration) = found.and_then(|id| self.registrations.by_id.get(&id))
            && !options.force_reregister
        {
            let n_callees_max = self.limits.callees_per_registration_max;
            registration.check_share(session, options.invoke, n_callees_max)?;
        }
        if n_mine >= self.limits.registrations_per_session_max {
            return Err(Refused::TooMany("registrations of this session"));
        }
        Ok(())
    }

    fn create_registration(
        &mut self,
        uri: &str,
        options: RegisterOptions,
        first: Entry,
        now: UnixMillis,
        sink: &mut Sink<P>,
    ) -> RegistrationId {
        let session = first.session;
        let table = &mut self.registrations;
        table.last += 1;
        let id = RegistrationId(table.last);
        let registration = Registration {
            uri: uri.into(),
            how: options.how,
            created: now,
            callees: Callees::new(options.invoke, first),
            n_calls: 0,
        };
        table.index.insert(&registration.uri, options.how, id);
        let details = || registration.to_value(id);
        let args = || vec![json!(session.get()), details()];
        self.announce("wamp.registration.on_create", args, sink);
        self.registrations.by_id.insert(id, registration);
        id
    }
}

impl Registrations {
    fn entry(&mut self, session: SessionId, options: RegisterOptions) -> Entry {
        self.last_ticket += 1;
        Entry {
            session,
            ticket: Ticket(self.last_ticket),
            concurrency: options.concurrency,
            n_running: 0,
            disclose_caller: options.disclose_caller,
            forward_timeout: options.forward_timeout,
        }
    }

    fn share(&mut self, id: RegistrationId, entry: Entry) -> RegistrationId {
        if let Some(registration) = self.by_id.get_mut(&id) {
            registration.callees.entries.push(entry);
        }
        id
    }
}

impl Registration {
    /// As the meta API gives it.
    pub(super) fn to_value(&self, id: RegistrationId) -> serde_json::Value {
        json!({
            "id": id.get(),
            "created": created(self.created),
            "uri": &*self.uri,
            "match": self.how.name(),
            "invoke": self.callees.policy.name(),
        })
    }

    fn check_share(
        &self,
        session: SessionId,
        policy: Invoke,
        n_callees_max: usize,
    ) -> Result<(), Refused> {
        if self.callees.policy == Invoke::Single || self.callees.has(session) {
            return Err(Refused::ProcedureAlreadyExists);
        }
        if self.callees.policy != policy {
            return Err(Refused::DifferentPolicy);
        }
        if self.callees.entries.len() >= n_callees_max {
            return Err(Refused::TooMany("callees of this procedure"));
        }
        Ok(())
    }
}
