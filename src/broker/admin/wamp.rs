//! What WAMP clients have: listed from the realms' routers, and taken from them.
//!
//! A router is locked for a page at a time, and never while anything is waited for.

use std::sync::Arc;

use parking_lot::Mutex;
use restante_admin_api::wamp::{
    CallInfo, NumberedWanted, RegistrationInfo, WampSessionInfo, WampSubscriptionInfo,
};

use super::AdminError;
use crate::broker::card::Card;
use crate::broker::wamp::Realm;
use crate::broker::{Broker, Shared};
use crate::router::{
    CallRow, Counts, Party, RegistrationId, RegistrationRow, SessionId, SubscriptionId,
    SubscriptionRow,
};

/// Rows for which a router is locked at once.
const AT_ONCE: usize = 1024;

impl Broker {
    /// How much WAMP clients have, in all realms.
    pub fn wamp_counts(&self) -> Counts {
        let all = self.shared.routers.all();
        let counts = all.values().map(|realm| realm.lock().router.counts());
        counts.fold(Counts::default(), |sum, it| Counts {
            sessions: sum.sessions + it.sessions,
            subscriptions: sum.subscriptions + it.subscriptions,
            registrations: sum.registrations + it.registrations,
            calls: sum.calls + it.calls,
        })
    }

    /// What WAMP clients have registered, by realm and id.
    pub fn registrations(&self, wanted: &NumberedWanted) -> Vec<RegistrationInfo> {
        self.rows(wanted, |name, realm, after, n_max| {
            let rows = realm
                .router
                .registrations(after.map(RegistrationId::new), n_max);
            let rows = rows.into_iter();
            rows.map(|row| (row.id.get(), registration(name, realm, row)))
                .collect()
        })
    }

    /// A registration.
    ///
    /// # Errors
    /// [`AdminError::NoRegistration`].
    pub fn registration(&self, realm: &str, id: u64) -> Result<RegistrationInfo, AdminError> {
        let none = || AdminError::NoRegistration(id);
        let known = self.shared.routers.get(realm).ok_or_else(none)?;
        let locked = known.lock();
        let row = locked.router.registration(RegistrationId::new(id));
        Ok(registration(realm, &locked, row.ok_or_else(none)?))
    }

    /// What WAMP clients have subscribed to, by realm and id.
    pub fn subscriptions(&self, wanted: &NumberedWanted) -> Vec<WampSubscriptionInfo> {
        self.rows(wanted, |name, realm, after, n_max| {
            let rows = realm
                .router
                .subscriptions(after.map(SubscriptionId::new), n_max);
            let rows = rows.into_iter();
            rows.map(|row| (row.id.get(), subscription(name, realm, row)))
                .collect()
        })
    }

    /// A subscription of WAMP clients.
    ///
    /// # Errors
    /// [`AdminError::NoSubscription`].
    pub fn subscription(&self, realm: &str, id: u64) -> Result<WampSubscriptionInfo, AdminError> {
        let none = || AdminError::NoSubscription(id);
        let known = self.shared.routers.get(realm).ok_or_else(none)?;
        let locked = known.lock();
        let row = locked.router.subscription(SubscriptionId::new(id));
        Ok(subscription(realm, &locked, row.ok_or_else(none)?))
    }

    /// Calls of WAMP clients that are not answered, by realm and number.
    pub fn calls(&self, wanted: &NumberedWanted) -> Vec<CallInfo> {
        self.rows(wanted, |name, realm, after, n_max| {
            let rows = realm.router.calls(after, n_max).into_iter();
            rows.map(|row| (row.number, call(name, realm, &row)))
                .collect()
        })
    }

    /// Takes a registration from all its callees.
    ///
    /// # Errors
    /// [`AdminError::NoRegistration`].
    pub fn revoke_registration(&self, realm: &str, id: u64) -> Result<(), AdminError> {
        let none = || AdminError::NoRegistration(id);
        let known = self.shared.routers.get(realm).ok_or_else(none)?;
        let done = known.lock().take_back(&self.shared, |router, sink| {
            router.withdraw_registration(RegistrationId::new(id), sink)
        });
        done.map_err(|_none| none())?;
        tracing::info!(
            realm,
            registration = id,
            "an administrator takes a registration from its callees"
        );
        Ok(())
    }

    /// Takes a subscription from all its subscribers.
    ///
    /// # Errors
    /// [`AdminError::NoSubscription`].
    pub fn revoke_subscription(&self, realm: &str, id: u64) -> Result<(), AdminError> {
        let none = || AdminError::NoSubscription(id);
        let known = self.shared.routers.get(realm).ok_or_else(none)?;
        let done = known.lock().take_back(&self.shared, |router, sink| {
            router.withdraw_subscription(SubscriptionId::new(id), sink)
        });
        done.map_err(|_none| none())?;
        tracing::info!(
            realm,
            subscription = id,
            "an administrator takes a subscription from its subscribers"
        );
        Ok(())
    }

    /// Rows of all realms that are wanted, in order of realm and number, got by `page` of so many behind a number.
    fn rows<T>(
        &self,
        wanted: &NumberedWanted,
        page: impl Fn(&str, &Realm, Option<u64>, usize) -> Vec<(u64, T)>,
    ) -> Vec<T> {
        let mut found = Vec::new();
        for (name, realm) in self.shared.routers.all() {
            let is_meant = wanted.realm.as_ref().is_none_or(|only| *only == *name);
            let behind = wanted.after.as_ref();
            let is_past = behind.is_some_and(|(after, _)| **after > *name);
            if !is_meant || is_past {
                continue;
            }
            let behind = behind.filter(|(after, _)| **after == *name);
            let mut at = behind.map(|(_, number)| *number);
            while found.len() < wanted.limit {
                let n_max = AT_ONCE.min(wanted.limit - found.len());
                let rows = page(&name, &realm.lock(), at, n_max);
                let is_all = rows.len() < n_max;
                at = rows.last().map_or(at, |(number, _)| Some(*number));
                found.extend(rows.into_iter().map(|(_, row)| row));
                if is_all {
                    break;
                }
            }
        }
        found
    }
}

impl Shared {
    /// What else there is to tell of a WAMP session, and how many subscriptions it has; none: it is none.
    pub(super) fn wamp_session(&self, card: &Card) -> Option<(WampSessionInfo, u64)> {
        let client = card.wamp.as_ref()?;
        let realm: Option<Arc<Mutex<Realm>>> = self.routers.get(&card.realm);
        let id = SessionId::new(client.session);
        let held = realm.map(|it| it.lock().router.holdings(id));
        let held = held.unwrap_or_default();
        let info = WampSessionInfo {
            session: client.session,
            authid: client.authid.to_string(),
            authrole: client.authrole.to_string(),
            authmethod: client.authmethod.to_owned(),
            transport: client.transport.to_owned(),
            serializer: client.serializer.to_owned(),
            registrations: held.registrations as u64,
            calls: held.calls as u64,
            invocations: held.invocations as u64,
        };
        Some((info, held.subscriptions as u64))
    }
}

fn registration(name: &str, realm: &Realm, row: RegistrationRow) -> RegistrationInfo {
    RegistrationInfo {
        id: row.id.get(),
        realm: name.to_owned(),
        uri: row.uri.to_string(),
        how: row.how.name().to_owned(),
        invoke: row.invoke.name().to_owned(),
        created_at: row.created.get(),
        callees: row.n_callees as u64,
        sessions: sessions(realm, &row.first_callees),
        calls: row.n_calls as u64,
    }
}

fn subscription(name: &str, realm: &Realm, row: SubscriptionRow) -> WampSubscriptionInfo {
    WampSubscriptionInfo {
        id: row.id.get(),
        realm: name.to_owned(),
        uri: row.uri.to_string(),
        how: row.how.name().to_owned(),
        created_at: row.created.get(),
        subscribers: row.n_subscribers as u64,
        sessions: sessions(realm, &row.first_subscribers),
    }
}

fn call(name: &str, realm: &Realm, row: &CallRow) -> CallInfo {
    let session = |party| match party {
        Party::Session(id) => session(realm, id),
        Party::Door(_) => None,
    };
    CallInfo {
        realm: name.to_owned(),
        number: row.number,
        procedure: row.procedure.to_string(),
        caller: row.caller.and_then(session),
        request: row.request,
        callee: session(row.callee),
        invocation: row.invocation,
    }
}

fn sessions(realm: &Realm, ids: &[SessionId]) -> Vec<String> {
    ids.iter().filter_map(|id| session(realm, *id)).collect()
}

/// A session by the id that administrators know it by.
fn session(realm: &Realm, id: SessionId) -> Option<String> {
    let outbox = realm.outboxes.get(&id)?;
    Some(outbox.card.session.to_string())
}
