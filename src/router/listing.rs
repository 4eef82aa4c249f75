//! What administrators and metrics see of a realm.

use std::sync::Arc;

use restante_storage::UnixMillis;
use rustc_hash::FxHashMap;

use super::calls::CallNo;
use super::registrations::Registration;
use super::subscriptions::Subscription;
use super::uri::is_reserved;
use super::{
    Invoke, Match, Party, RegistrationId, Router, SessionDetails, SessionId, SubscriptionId,
};

/// Sessions that a row shows.
pub const SHOWN_MAX: usize = 20;

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions.
    pub sessions: usize,
    /// Topics and patterns that are subscribed to.
    pub subscriptions: usize,
    /// Procedures and patterns that are registered.
    pub registrations: usize,
    /// Calls in flight: not answered by their callees.
    pub calls: usize,
}

/// A subscription, listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// Its id.
    pub id: SubscriptionId,
    /// Topic or pattern.
    pub uri: Arc<str>,
    /// How that is matched.
    pub how: Match,
    /// When it was first subscribed to.
    pub created: UnixMillis,
    /// How many sessions have it.
    pub n_subscribers: usize,
    /// The first of them, [`SHOWN_MAX`] at most.
    pub first_subscribers: Vec<SessionId>,
}

/// A registration, listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationRow {
    /// Its id.
    pub id: RegistrationId,
    /// Procedure or pattern.
    pub uri: Arc<str>,
    /// How that is matched.
    pub how: Match,
    /// How it is shared.
    pub invoke: Invoke,
    /// When it was first registered.
    pub created: UnixMillis,
    /// How many sessions share it.
    pub n_callees: usize,
    /// The first of them, [`SHOWN_MAX`] at most.
    pub first_callees: Vec<SessionId>,
    /// Calls that its callees have not answered.
    pub n_calls: usize,
}

/// What a session has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Subscriptions.
    pub subscriptions: usize,
    /// Registrations.
    pub registrations: usize,
    /// Its own calls that are not answered.
    pub calls: usize,
    /// Calls that it has not answered.
    pub invocations: usize,
}

/// A call in flight, listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRow {
    /// Its place among all calls of the realm: a later one has a greater number.
    pub number: u64,
    /// Who waits; none: nobody any more, but the callee does not know.
    pub caller: Option<Party>,
    /// The caller's request.
    pub request: u64,
    /// What was called.
    pub procedure: Arc<str>,
    /// Who works at it.
    pub callee: Party,
    /// The callee's invocation.
    pub invocation: u64,
}

impl<P: Clone> Router<P> {
    /// How much there is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts {
            sessions: self.sessions.len(),
            subscriptions: self.subscriptions.by_id.len(),
            registrations: self.registrations.by_id.len(),
            calls: self.calls.len(),
        }
    }

    /// The first `n_max` sessions above `after`, ascending.
    #[must_use]
    pub fn sessions(&self, after: Option<SessionId>, n_max: usize) -> Vec<SessionDetails> {
        let page = page(&self.sessions, after, n_max);
        page.map(|(_, session)| session.details.clone()).collect()
    }

    /// What a session has; nothing, if it is not here.
    #[must_use]
    pub fn holdings(&self, session: SessionId) -> Holdings {
        let found = self.sessions.get(&session);
        found.map_or_else(Holdings::default, |it| Holdings {
            subscriptions: it.subscriptions.len(),
            registrations: it.registrations.len(),
            calls: it.ends.calls.len(),
            invocations: it.ends.invocations.len(),
        })
    }

    /// The first `n_max` subscriptions above `after`, ascending.
    #[must_use]
    pub fn subscriptions(
        &self,
        after: Option<SubscriptionId>,
        n_max: usize,
    ) -> Vec<SubscriptionRow> {
        let page = page(&self.subscriptions.by_id, after, n_max);
        page.map(|(id, it)| subscription(id, it)).collect()
    }

    /// A subscription.
    #[must_use]
    pub fn subscription(&self, id: SubscriptionId) -> Option<SubscriptionRow> {
        let found = self.subscriptions.by_id.get(&id);
        found.map(|it| subscription(id, it))
    }

    /// The first `n_max` registrations above `after`, ascending.
    #[must_use]
    pub fn registrations(
        &self,
        after: Option<RegistrationId>,
        n_max: usize,
    ) -> Vec<RegistrationRow> {
        let page = page(&self.registrations.by_id, after, n_max);
        page.map(|(id, it)| registration(id, it)).collect()
    }

    /// A registration.
    #[must_use]
    pub fn registration(&self, id: RegistrationId) -> Option<RegistrationRow> {
        let found = self.registrations.by_id.get(&id);
        found.map(|it| registration(id, it))
    }

    /// What a session has registered, ascending: each with its procedure or pattern.
    #[must_use]
    pub fn registrations_of(&self, session: SessionId) -> Vec<(RegistrationId, Arc<str>, Match)> {
        let found = self.sessions.get(&session);
        let ids = found.into_iter().flat_map(|it| &it.registrations);
        let known = ids.filter_map(|id| Some((*id, self.registrations.by_id.get(id)?)));
        known
            .map(|(id, it)| (id, Arc::clone(&it.uri), it.how))
            .collect()
    }

    /// What a session has subscribed to of the router's own topics, and how: no consumer stands for any of these.
    #[must_use]
    pub fn meta_subscriptions_of(
        &self,
        session: SessionId,
    ) -> Vec<(SubscriptionId, Arc<str>, Match)> {
        if self.subscriptions.n_reserved == 0 {
            return Vec::new();
        }
        let found = self.sessions.get(&session);
        let ids = found.into_iter().flat_map(|it| &it.subscriptions);
        let known = ids.filter_map(|id| Some((*id, self.subscriptions.by_id.get(id)?)));
        known
            .filter(|(_, it)| is_reserved(&it.uri))
            .map(|(id, it)| (id, Arc::clone(&it.uri), it.how))
            .collect()
    }

    /// At most `n_max` calls in flight behind that number, the oldest first.
    #[must_use]
    pub fn calls(&self, after: Option<u64>, n_max: usize) -> Vec<CallRow> {
        let page = page(&self.calls, after.map(CallNo), n_max);
        let row = |(no, call): (CallNo, &super::calls::Call<P>)| CallRow {
            number: no.0,
            caller: call.caller,
            request: call.request,
            procedure: Arc::clone(&call.procedure),
            callee: call.callee,
            invocation: call.invocation,
        };
        page.map(row).collect()
    }
}

fn subscription(id: SubscriptionId, it: &Subscription) -> SubscriptionRow {
    SubscriptionRow {
        id,
        uri: Arc::clone(&it.uri),
        how: it.how,
        created: it.created,
        n_subscribers: it.subscribers.len(),
        first_subscribers: it.subscribers.iter().copied().take(SHOWN_MAX).collect(),
    }
}

fn registration(id: RegistrationId, it: &Registration) -> RegistrationRow {
    let callees = it.callees.entries.iter();
    RegistrationRow {
        id,
        uri: Arc::clone(&it.uri),
        how: it.how,
        invoke: it.callees.policy,
        created: it.created,
        n_callees: callees.len(),
        first_callees: callees.map(|it| it.session).take(SHOWN_MAX).collect(),
        n_calls: it.n_calls,
    }
}

/// A page of a table: sorts only what is on it.
fn page<K: Copy + Ord + std::hash::Hash, V>(
    table: &FxHashMap<K, V>,
    after: Option<K>,
    n_max: usize,
) -> impl Iterator<Item = (K, &V)> {
    let ids = table.keys().copied();
    let mut ids: Vec<_> = ids
        .filter(|id| after.is_none_or(|after| *id > after))
        .collect();
    if n_max < ids.len() {
        ids.select_nth_unstable(n_max);
        ids.truncate(n_max);
    }
    ids.sort_unstable();
    ids.into_iter().filter_map(|id| Some((id, table.get(&id)?)))
}
