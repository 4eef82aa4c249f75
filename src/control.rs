//! What the admin API asks for, answered from the broker.
//!
//! ```text
//! request ─▶ guard (admin-api: grants) ─▶ Controller ─▶ rights by address, as of now ─▶ checks ─▶ Broker
//!                                             └─ documents: checked and changed in the steward's turn
//! ```
//!
//! The API's own guard has looked at what a route needs. What depends on an address is decided here (`rights.rs`), by the same
//! rules as at every other door, and by who the caller is *now*, not when they were let in.
//!
//! A change of documents (`documents.rs`) is checked where it is made, so that what was checked still holds, and nobody is
//! refused because others change other things. `definitions.rs` makes a whole set of changes with one record; what takes long
//! there is done beside the runtime's workers.
//!
//! Always, each with a test of its name in `tests`:
//! - `of_two_who_change_the_same_one_hears_of_it`: preconditions are checked where the change is made.
//! - `who_changes_other_things_is_in_nobodys_way`.
//! - `a_scrape_does_not_wait_for_the_checksum`, which is made once for all who want it.
//! - `nobody_locks_everybody_out`: the last administrator who can log in stays one.
//! - `no_secret_is_told_of_a_change`: neither in what is audited nor in anything's `Debug`.
//! - `what_depends_on_an_address_is_decided_by_the_rules`.
//! - `an_export_applied_to_an_empty_broker_has_the_same_checksum`.
//!
//! Not here: HTTP, JSON, the audit log's lines (admin-api); what a change does (`broker`).

mod definitions;
mod documents;
mod explain;
mod figures;
mod publish;
mod queues;
mod rights;
#[cfg(test)]
mod tests;
mod tokens;
mod told;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use restante_admin_api::document::{
    Definitions, Document, DocumentId, DocumentKind, Stored, Token,
};
use restante_admin_api::queue::{
    AddressInfo, Binding, ConnectionInfo, ConsumerInfo, ExplainRequest, Explanation, Fate, Outcome,
    PublishRequest, QueueInfo, QueueSpec, Selection, SessionInfo, Why,
};
use restante_admin_api::wamp::{
    CallInfo, NumberedWanted, RegistrationInfo, Shared, WampSubscriptionInfo,
};
use restante_admin_api::{
    Admin, Asked, AuditEntry, AuditQuery, AuthError, BoxFuture, Browsed, Caller, Changed,
    ConfigEntry, Control, ControlError, Exported, Health, How, Invalid, Overview, Peer, Plan,
    Published, QueuesWanted, Secret,
};
use restante_storage::UnixMillis;
use serde_json::json;
use uuid::Uuid;

use crate::access::{self, Authenticator, Credentials, Identity, Principal};
use crate::audit::Audit;
use crate::broker::{self, Broker};
use crate::config::{self, Config};
use crate::definitions::Limits;
use crate::logs::Logs;
use crate::meters::Meters;
use crate::tls::Certificates;
use definitions::Definer;
pub(crate) use definitions::{import, read as read_definitions};

/// The broker, as the admin API sees it.
pub(crate) struct Controller {
    broker: Broker,
    auth: Authenticator,
    meters: Meters,
    certificates: Option<Arc<Certificates>>,
    audit: Audit,
    logs: Logs,
    config: Arc<ArcSwap<Config>>,
    limits: Limits,
    started_at: UnixMillis,
    definer: Arc<Definer>,
}

/// What a [`Controller`] is made of.
pub(crate) struct Parts {
    pub(crate) broker: Broker,
    pub(crate) auth: Authenticator,
    pub(crate) meters: Meters,
    pub(crate) certificates: Option<Arc<Certificates>>,
    pub(crate) audit: Audit,
    pub(crate) logs: Logs,
    /// The configuration in force.
    pub(crate) config: Arc<ArcSwap<Config>>,
}

impl Controller {
    pub(crate) fn new(parts: Parts) -> Self {
        let limits = Limits::from(&parts.config.load().limits);
        Controller {
            definer: Arc::new(Definer::new(parts.broker.clone(), limits)),
            limits,
            broker: parts.broker,
            auth: parts.auth,
            meters: parts.meters,
            certificates: parts.certificates,
            audit: parts.audit,
            logs: parts.logs,
            config: parts.config,
            started_at: broker::now(),
        }
    }

    fn admin(&self, principal: Principal) -> Admin {
        let grants = self.broker.access().load().grants(&principal.roles);
        Admin {
            name: principal.name.to_string(),
            revision: self.revision_of(&principal),
            roles: principal.roles.to_vec(),
            grants: grants.iter().collect(),
            access: Arc::new(principal),
        }
    }

    /// Of the document that somebody is known by.
    fn revision_of(&self, principal: &Principal) -> u64 {
        let registry = self.broker.registry();
        let stored = match &principal.identity {
            Identity::User { .. } | Identity::Certificate { .. } | Identity::PublicKey { .. } => {
                registry.get(DocumentKind::User, "", &principal.name)
            }
            Identity::Token { id, .. } => registry.get(DocumentKind::Token, "", id),
            Identity::Jwt { .. } | Identity::Anonymous | Identity::Broker => None,
        };
        stored.map_or(0, |it| it.revision)
    }

    async fn let_in(
        &self,
        authorization: Option<&[u8]>,
        peer: &Peer,
    ) -> Result<Principal, access::AuthError> {
        let refused = access::AuthError::Refused;
        match (authorization, &peer.certificate) {
            (Some(header), _) => {
                let credentials = Credentials::from_header(header).map_err(|_| refused)?;
                self.auth.verify(credentials, peer.ip()).await
            }
            (None, Some(der)) => self.auth.certificate(der, peer.ip()),
            (None, None) => Err(refused),
        }
    }
}

/// As whom somebody tried to log in: a user's name, if there is one of that name; nobody else's name is ever written down,
/// for it may be a password in the wrong place. None: not by a name.
pub(crate) fn tried(broker: &Broker, credentials: &Credentials) -> Option<String> {
    let Credentials::Basic { user, .. } = credentials else {
        return None;
    };
    Some(tried_user(broker, user))
}

/// The same, of a name.
pub(crate) fn tried_user(broker: &Broker, user: &str) -> String {
    let registry = broker.registry();
    let known = registry.get(DocumentKind::User, "", user).is_some();
    if known { user } else { "(unknown)" }.to_owned()
}

impl Control for Controller {
    fn health(&self) -> Health {
        self.how_it_is()
    }

    fn metrics(&self) -> BoxFuture<'_, String> {
        Box::pin(self.figures())
    }

    fn authenticate<'a>(
        &'a self,
        authorization: Option<&'a [u8]>,
        peer: &'a Peer,
    ) -> BoxFuture<'a, Result<Admin, AuthError>> {
        Box::pin(async move {
            match self.let_in(authorization, peer).await {
                Ok(principal) => Ok(self.admin(principal)),
                Err(access::AuthError::Refused) => Err(AuthError::Refused),
                Err(access::AuthError::TooManyAttempts { retry_after }) => {
                    Err(AuthError::TooMany { retry_after })
                }
                Err(access::AuthError::Busy) => Err(AuthError::Busy),
            }
        })
    }

    fn tried(&self, authorization: &[u8]) -> Option<String> {
        let credentials = Credentials::from_header(authorization).ok()?;
        tried(&self.broker, &credentials)
    }

    fn audit(&self, entry: AuditEntry) {
        self.audit.record(entry);
    }

    fn audit_durably(&self, entry: AuditEntry) -> BoxFuture<'_, ()> {
        Box::pin(self.audit.record_durably(entry))
    }

    fn audited(&self, query: AuditQuery) -> Asked<'_, Vec<AuditEntry>> {
        Box::pin(async move {
            self.audit.query(query).await.map_err(|error| {
                tracing::error!(error = %error.source, "cannot {} the audit log", error.doing);
                ControlError::Internal
            })
        })
    }

    fn overview(&self) -> Asked<'_, Overview> {
        Box::pin(self.look_over())
    }

    fn documents(&self, kind: DocumentKind, realm: Option<String>) -> Asked<'_, Vec<Stored>> {
        Box::pin(async move { self.documents_of(kind, realm.as_deref()) })
    }

    fn document(&self, id: DocumentId) -> Asked<'_, Stored> {
        Box::pin(async move { self.document_of(&id) })
    }

    fn put<'a>(
        &'a self,
        _: &'a Caller,
        id: DocumentId,
        document: Document,
        password: Option<Secret>,
        how: How,
    ) -> Asked<'a, Changed<Stored>> {
        Box::pin(self.put_document(id, document, password, how))
    }

    fn remove<'a>(&'a self, _: &'a Caller, id: DocumentId, how: How) -> Asked<'a, Changed<()>> {
        Box::pin(self.remove_document(id, how))
    }

    fn issue_token<'a>(
        &'a self,
        _: &'a Caller,
        token: Token,
        how: How,
    ) -> Asked<'a, Changed<(Stored, Secret)>> {
        Box::pin(self.make_token(token, how))
    }

    fn rotate_token<'a>(
        &'a self,
        _: &'a Caller,
        id: String,
        grace: Duration,
        how: How,
    ) -> Asked<'a, Changed<(Stored, Secret)>> {
        Box::pin(self.renew_token(id, grace, how))
    }

    fn queues(&self, wanted: QueuesWanted) -> Asked<'_, Vec<QueueInfo>> {
        Box::pin(async move {
            if let Some(realm) = &wanted.realm {
                self.must_be_there(realm)?;
            }
            Ok(self.broker.queues(&wanted))
        })
    }

    fn queue(&self, realm: String, name: String) -> Asked<'_, QueueInfo> {
        Box::pin(async move { Ok(self.broker.queue(&realm, &name)?) })
    }

    fn put_queue<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        spec: QueueSpec,
        how: How,
    ) -> Asked<'a, Changed<QueueInfo>> {
        Box::pin(self.set_queue(caller, realm, name, spec, how))
    }

    fn remove_queue<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        how: How,
    ) -> Asked<'a, Changed<()>> {
        Box::pin(self.delete_queue(caller, realm, name, how))
    }

    fn pause<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        paused: Option<String>,
        how: How,
    ) -> Asked<'a, Changed<QueueInfo>> {
        Box::pin(self.pause_or_resume(caller, realm, name, paused, how))
    }

    fn browse<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        selection: Selection,
        limit: usize,
        body_bytes_max: usize,
    ) -> Asked<'a, Browsed> {
        Box::pin(self.look_into(caller, realm, name, selection, limit, body_bytes_max))
    }

    fn dispose<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        name: String,
        selection: Selection,
        limit: Option<u64>,
        fate: Fate,
        how: How,
    ) -> Asked<'a, Changed<Outcome>> {
        Box::pin(self.dispose_of(caller, realm, name, selection, limit, fate, how))
    }

    fn why(&self, realm: String, name: String) -> Asked<'_, Why> {
        Box::pin(async move { Ok(self.broker.why(&realm, &name).await?) })
    }

    fn bindings(&self, realm: Option<String>, queue: Option<String>) -> Asked<'_, Vec<Binding>> {
        Box::pin(async move { self.bound(realm.as_deref(), queue.as_deref()) })
    }

    fn bind<'a>(
        &'a self,
        caller: &'a Caller,
        binding: Binding,
        bound: bool,
        how: How,
    ) -> Asked<'a, Changed<QueueInfo>> {
        Box::pin(self.bind_or_unbind(caller, binding, bound, how))
    }

    fn addresses(&self, realm: String) -> Asked<'_, Vec<AddressInfo>> {
        Box::pin(async move {
            self.must_be_there(&realm)?;
            Ok(self.broker.addresses(&realm))
        })
    }

    fn consumers(
        &self,
        realm: Option<String>,
        queue: Option<String>,
    ) -> Asked<'_, Vec<ConsumerInfo>> {
        Box::pin(async move {
            let consumers = self.broker.consumers(realm.as_deref(), queue.as_deref());
            Ok(consumers.await?)
        })
    }

    fn sessions(&self, after: Option<String>, limit: usize) -> Asked<'_, Vec<SessionInfo>> {
        Box::pin(async move {
            // What is no id is where somebody who made a cursor up says to begin: behind it there is nothing.
            let after = after.map(|it| Uuid::try_parse(&it).unwrap_or(Uuid::max()));
            Ok(self.broker.sessions(after, limit).await?)
        })
    }

    fn session(&self, id: String) -> Asked<'_, SessionInfo> {
        Box::pin(async move { Ok(self.broker.session(&id).await?) })
    }

    fn connections(&self) -> Asked<'_, Vec<ConnectionInfo>> {
        Box::pin(async { Ok(self.broker.connections(None, usize::MAX)) })
    }

    fn kick<'a>(&'a self, _: &'a Caller, connection: String, how: How) -> Asked<'a, Changed<()>> {
        Box::pin(self.close_connection(connection, how))
    }

    fn release<'a>(
        &'a self,
        _: &'a Caller,
        session: String,
        end: bool,
        how: How,
    ) -> Asked<'a, Changed<()>> {
        Box::pin(self.end_or_release(session, end, how))
    }

    fn registrations(&self, wanted: NumberedWanted) -> Asked<'_, Vec<RegistrationInfo>> {
        Box::pin(async move { Ok(self.broker.registrations(&wanted)) })
    }

    fn registration(&self, realm: String, id: u64) -> Asked<'_, RegistrationInfo> {
        Box::pin(async move { Ok(self.broker.registration(&realm, id)?) })
    }

    fn subscriptions(&self, wanted: NumberedWanted) -> Asked<'_, Vec<WampSubscriptionInfo>> {
        Box::pin(async move { Ok(self.broker.subscriptions(&wanted)) })
    }

    fn subscription(&self, realm: String, id: u64) -> Asked<'_, WampSubscriptionInfo> {
        Box::pin(async move { Ok(self.broker.subscription(&realm, id)?) })
    }

    fn revoke<'a>(
        &'a self,
        _: &'a Caller,
        what: Shared,
        realm: String,
        id: u64,
        how: How,
    ) -> Asked<'a, Changed<()>> {
        Box::pin(async move { self.take_back(what, &realm, id, how) })
    }

    fn calls(&self, wanted: NumberedWanted) -> Asked<'_, Vec<CallInfo>> {
        Box::pin(async move { Ok(self.broker.calls(&wanted)) })
    }

    fn publish<'a>(
        &'a self,
        caller: &'a Caller,
        realm: String,
        message: PublishRequest,
        how: How,
    ) -> Asked<'a, Published> {
        Box::pin(self.publish_one(caller, realm, message, how))
    }

    fn explain<'a>(
        &'a self,
        caller: &'a Caller,
        request: ExplainRequest,
    ) -> Asked<'a, Explanation> {
        Box::pin(async move { self.explained(caller, request) })
    }

    fn definitions(&self, with_hashes: bool) -> Asked<'_, Exported> {
        Box::pin(self.definer.export(with_hashes))
    }

    fn apply<'a>(
        &'a self,
        _: &'a Caller,
        definitions: Definitions,
        prune: bool,
        how: How,
    ) -> Asked<'a, Changed<Plan>> {
        Box::pin(self.definer.apply(definitions, prune, how))
    }

    fn log_level(&self) -> String {
        self.logs.level()
    }

    fn set_log_level<'a>(
        &'a self,
        caller: &'a Caller,
        level: String,
        how: How,
    ) -> Asked<'a, Changed<String>> {
        Box::pin(async move {
            let before = self.logs.level();
            let set = match how.dry_run {
                true => Logs::check_level(&level),
                false => self.logs.set_level(&level),
            };
            set.map_err(|error| invalid("/level", error.to_string()))?;
            if !how.dry_run {
                let by = &caller.admin.name;
                tracing::info!(by, before, level, "the log's level is changed");
            }
            Ok(Changed {
                created: false,
                revision: None,
                before: Some(json!({"level": before})),
                after: Some(json!({"level": level})),
                now: level,
            })
        })
    }

    fn config(&self) -> Vec<ConfigEntry> {
        let all = config::in_force(&self.config.load()).into_iter();
        all.map(|it| ConfigEntry {
            key: it.key.to_owned(),
            value: it.value,
            from: it.from,
        })
        .collect()
    }
}

/// One thing in the body that makes no sense.
fn invalid(pointer: &str, detail: impl Into<String>) -> ControlError {
    ControlError::Invalid(vec![Invalid {
        pointer: pointer.to_owned(),
        detail: detail.into(),
    }])
}
