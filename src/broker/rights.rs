//! Rights that bite at once: what becomes of clients when documents change.
//!
//! ```text
//! change of a document ─▶ every outbox: look again ─▶ Attachment::look_again ─▶ roles as of now, or the end
//!                    │                                          └─ each consumer: may it still? or it is cancelled
//!                    └▶ steward: durable sessions ─▶ records that end what nobody may have any more
//! ```
//!
//! What a client sends is decided anew for each message (`publish.rs`), so that only what goes on for longer is looked at
//! here: who somebody is, and what they consume. Nothing is polled, but where what somebody has shown expires.
//!
//! Always, with tests of these names in `broker/tests/rights.rs`:
//! - `who_is_disabled_is_gone`, `what_a_rule_takes_away_is_cancelled`, `what_has_expired_ends`.
//! - `whoever_takes_nothing_loses_their_rights_all_the_same`.
//! - `a_session_whose_client_is_away_loses_its_rights_too`.
//! - `a_session_ends_with_its_user_or_realm_while_its_client_is_there`.
//! - `what_the_router_tells_ends_with_the_right_to_it`, `a_wamp_session_ends_with_its_role`.
//! - `who_is_disabled_gives_back_what_they_had`, `a_session_of_a_jwt_is_looked_at_when_its_client_is_back`.
//!
//! Not here: the decision (access), what a client is told (session).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use restante_storage::payload::{Cancel, DefineSession, EndSession, MQTT, Subscribe};
use restante_storage::{
    Draft, DraftBatch, EncodeEnvelope, Kind, Lsn, QueueId, Refused, Stamp, UnixMillis,
};
use smallvec::SmallVec;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::admin::AdminAsk;
use super::attachment::Attachment;
use super::call::{End, Event, Protocol};
use super::core::{Ask, Batch};
use super::registrar::{SETTLED_WITHIN, until};
use super::{Broker, DEFAULT_REALM, Shared, now};
use crate::access::{Access, Principal, RuleRef};
use crate::audit::Denied;
use crate::engine::DurableSession;
use crate::engine::address::Address;
use crate::refusal::Refusal;
use crate::registry::Verb;

/// Bytes of a batch of endings.
const BATCH_BYTES: usize = 1 << 20;
/// Sessions that the core tells of at once.
const SESSIONS_SLICE: usize = 256;

impl Shared {
    /// Documents have changed, and the new ones are in force: nobody keeps for long what they have lost.
    ///
    /// Called by the steward, and at the start by [`Broker::settle_rights`]; answered before the change is: it waits for the core
    /// and the log. Who is there looks at their rights themselves; but sessions end with their user, token or realm before this
    /// returns, whoever is there, so that nobody who gets the name later comes to what was another's.
    ///
    /// If the disk does not take those ends in time, gives what tells of the last of them: until then nothing is to be changed.
    #[must_use = "what is late is to be waited for"]
    pub(super) fn rights_changed(&self) -> Option<oneshot::Receiver<Lsn>> {
        let deadline = Instant::now() + SETTLED_WITHIN;
        let access = self.access.load_full();
        for outbox in self.everybody() {
            let card = &outbox.card;
            match self.is_nobodys(&access, &card.principal, &card.realm) {
                true => outbox.forfeit(),
                false => outbox.look_again(),
            }
        }
        let mut after = None;
        let mut endings = Endings::new(self);
        loop {
            let (reply, sessions) = oneshot::channel();
            self.ask(Ask::DurableSessions(after, SESSIONS_SLICE, reply));
            let sessions = until(deadline, sessions).and_then(Result::ok);
            let sessions = sessions.unwrap_or_default();
            let Some(last) = sessions.last() else {
                break;
            };
            after = Some(last.uuid);
            for session in sessions {
                self.look_at(&access, &session, &mut endings);
            }
        }
        endings.finish(deadline)
    }

    /// Whether whom it belongs to, or where, is gone for good.
    fn is_nobodys(&self, access: &Access, principal: &str, realm: &str) -> bool {
        access.is_gone(principal) || !self.has_realm(realm)
    }

    /// A durable session ends with its user, token or realm. If its client is away, what it has goes back while nobody can
    /// come for it, and its consumers end with their rights.
    ///
    /// What a JWT said of its roles is known only while its client is there. So its session is looked at when that comes
    /// back; until then it gets nothing, and what it has stays its own until the session expires.
    fn look_at(&self, access: &Access, it: &DurableSession, endings: &mut Endings<'_>) {
        let (number, session) = (it.number, &it.whole);
        if self.is_nobodys(access, &session.principal, &session.realm) {
            let end = EndSession {
                session: number.get(),
                queue: session.queue,
            };
            endings.push_draft(&ending(&end, &own_queue(&end)));
            return;
        }
        if !it.away {
            return;
        }
        if access.is_shut_out(&session.principal, now()) {
            self.give_back(it.uuid);
        }
        let Some(who) = access.principal_named(&session.principal, now()) else {
            return;
        };
        let realm = session.realm.as_str();
        if session.protocol == MQTT {
            return self.look_at_absent_mqtt(access, &who, session, endings);
        }
        for consumer in &session.consumers {
            let allowed = if consumer.filter.is_empty() {
                let name = self.queue_name(realm, consumer.queue);
                name.is_none_or(|name| access.allows(&who, None, Verb::Consume, realm, &name))
            } else {
                let filter = consumer.filter.as_str();
                access.allows(&who, None, Verb::Consume, realm, filter)
            };
            if !allowed {
                tracing::info!(
                    realm,
                    principal = session.principal,
                    consumer = consumer.name,
                    "the right to consume is gone: the consumer ends"
                );
                let cancel = Cancel {
                    consumer: consumer.name.clone(),
                    session: number.get(),
                };
                endings.push(Kind::Cancel, &cancel);
            }
        }
    }

    /// What a session's consumers have in hand is for others.
    fn give_back(&self, session: Uuid) {
        let (nobody_waits, _) = oneshot::channel();
        self.ask(Ask::Admin(AdminAsk::Release(session, nobody_waits)));
    }

    /// The same for an MQTT session's subscriptions.
    fn look_at_absent_mqtt(
        &self,
        access: &Access,
        who: &Principal,
        session: &DefineSession,
        endings: &mut Endings<'_>,
    ) {
        let (realm, client) = (session.realm.as_str(), session.client.as_str());
        for it in &session.subscriptions {
            if access.allows(who, Some(client), Verb::Consume, realm, &it.filter) {
                continue;
            }
            tracing::info!(
                realm,
                principal = session.principal,
                client,
                filter = it.filter,
                share = it.share,
                "the right to consume is gone: the subscription ends"
            );
            let end = Subscribe {
                removed_filter: it.filter.clone(),
                removed_share: it.share.clone(),
                session: session.number,
                queue: session.queue,
                ..Subscribe::default()
            };
            endings.push(Kind::Subscribe, &end);
        }
    }

    pub(super) fn queue_name(&self, realm: &str, id: u64) -> Option<Arc<str>> {
        let routes = self.routes.load();
        let numbers = &routes.queues.get(realm)?.numbers;
        let handle = numbers.get(&QueueId::new(id));
        handle.map(|handle| Arc::clone(&handle.name))
    }

    pub(super) fn has_realm(&self, name: &str) -> bool {
        name == DEFAULT_REALM || self.realm(name).is_some()
    }
}

/// The session's own queue, which goes with it.
pub(super) fn own_queue(end: &EndSession) -> SmallVec<[QueueId; 1]> {
    let own = (end.queue > 0).then(|| QueueId::new(end.queue));
    own.into_iter().collect()
}

/// The record that ends a session; the log's writer forgets its own queue.
pub(super) fn ending<'a>(end: &'a EndSession, own: &'a [QueueId]) -> Draft<'a> {
    Draft {
        targets: own,
        stamp: Stamp::Forget,
        ..Draft::new(Kind::EndSession, now(), end)
    }
}

/// Records that end what somebody may not have any more, on their way to the log.
struct Endings<'a> {
    shared: &'a Shared,
    batch: DraftBatch<Batch>,
    /// Of the last batch.
    under_way: Option<oneshot::Receiver<Lsn>>,
}

impl<'a> Endings<'a> {
    fn new(shared: &'a Shared) -> Self {
        Endings {
            batch: DraftBatch::new(shared.log().limits(), Batch::default()),
            under_way: None,
            shared,
        }
    }

    fn push(&mut self, kind: Kind, envelope: &dyn EncodeEnvelope) {
        self.push_draft(&Draft::new(kind, now(), envelope));
    }

    fn push_draft(&mut self, draft: &Draft<'_>) {
        if self.batch.len_bytes() >= BATCH_BYTES {
            self.submit();
        }
        let mut pushed = self.batch.push(draft);
        if pushed == Err(Refused::BatchFull) {
            self.submit();
            pushed = self.batch.push(draft);
        }
        if let Err(refused) = pushed {
            tracing::error!(%refused, kind = ?draft.kind, "a record that must fit did not");
        }
    }

    fn submit(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let (told, applied) = oneshot::channel();
        self.batch.companion_mut().told = Some(told);
        let fresh = DraftBatch::new(self.shared.log().limits(), Batch::default());
        // Refused only once the log is closed or has failed: the next start looks again.
        let batch = std::mem::replace(&mut self.batch, fresh);
        if self.shared.log().submit(batch).is_ok() {
            self.under_way = Some(applied);
        }
    }

    /// Waits until all of them are applied; gives what tells of the last, if that is not so by `deadline`.
    fn finish(mut self, deadline: Instant) -> Option<oneshot::Receiver<Lsn>> {
        self.submit();
        // The log keeps the order: with the last, all are applied.
        let mut last = self.under_way?;
        until(deadline, &mut last).is_none().then_some(last)
    }
}

impl Broker {
    /// Ends what a change of documents had not ended yet when the broker was killed: sessions whose user, token or realm is gone.
    /// To be called once the first documents are there, and before anybody is let in. Not on a worker of the runtime.
    pub fn settle_rights(&self) {
        if self.shared.rights_changed().is_some() {
            tracing::error!("the disk does not take the ends of sessions whose owners are gone");
        }
    }
}

impl Shared {
    /// The audit log has a line of what somebody was denied: at which door, and as which client, if they have an id.
    fn tell_denied(
        &self,
        (peer, door): (SocketAddr, Protocol),
        (who, client): (&Principal, Option<&str>),
        verb: Verb,
        realm: &str,
        asked: &str,
    ) {
        let Some(denials) = self.denials.get() else {
            return;
        };
        let access = self.access.load();
        let rule = match access.decide(who, client, verb, realm, asked).rule {
            RuleRef::Rule(name) => name,
            RuleRef::Admin | RuleRef::Default => "".into(),
        };
        denials.denied(&Denied {
            principal: &who.name,
            peer,
            door: door.as_str(),
            verb: verb.as_str(),
            realm,
            address: asked,
            rule: &rule,
        });
    }
}

impl Broker {
    /// Whether somebody at a door may do that with an address: the one decision. If not, the audit log has a line of it.
    pub fn may(
        &self,
        from: (SocketAddr, Protocol),
        who: &Principal,
        verb: Verb,
        realm: &str,
        address: &Address,
    ) -> bool {
        let permit = self.shared.permit(who, None, verb, realm, address);
        if permit.is_none() {
            let asked = address.as_str();
            self.shared
                .tell_denied(from, (who, None), verb, realm, asked);
        }
        permit.is_some()
    }
}

impl Attachment {
    /// Looks at who the client is and what it consumes, as documents are now: what it may not any more is over.
    pub(super) fn look_again(&mut self) {
        let access = self.shared.access.load_full();
        let renewed = access.renew(&self.principal, now());
        let Some(principal) = renewed.filter(|_| self.shared.has_realm(&self.realm)) else {
            match self.is_nobodys(&access) {
                true => self.outbox.forfeit(),
                false => self.outbox.end(End::Revoked),
            }
            return;
        };
        // A token that was given another label: what is attached goes by the old one.
        if principal.name != self.principal.name {
            self.outbox.end(End::Revoked);
            return;
        }
        self.principal = principal;
        // What others send to the role, and are told of it, is not for this session any more.
        if self.has_lost_its_role() {
            self.outbox.end(End::Revoked);
            return;
        }
        let lost: Vec<Arc<str>> = self
            .consumed()
            .filter(|(_, address)| {
                !access.allows(&self.principal, None, Verb::Consume, &self.realm, address)
            })
            .map(|(name, _)| name)
            .collect();
        for name in lost {
            self.lose(&name);
        }
        self.lose_subscriptions(|this, filter| {
            let client = this.client();
            access.allows(&this.principal, client, Verb::Consume, &this.realm, filter)
        });
        self.lose_meta_subscriptions(|this, filter| {
            let client = this.client();
            access.allows(&this.principal, client, Verb::Consume, &this.realm, filter)
        });
        self.lose_registrations(|this, filter| {
            access.allows(&this.principal, None, Verb::Register, &this.realm, filter)
        });
    }

    fn is_nobodys(&self, access: &Access) -> bool {
        let (name, realm) = (&self.principal.name, &self.realm);
        self.shared.is_nobodys(access, name, realm)
    }

    /// The client leaves its durable session behind, of which the core knows already: from here on, changes of documents
    /// find it among those whose client is away. What was lost before, it loses here.
    pub(super) fn leave_behind(&mut self) {
        if self.outbox.is_closed() {
            return; // it goes on elsewhere
        }
        let access = self.shared.access.load_full();
        if self.outbox.is_forfeit() {
            self.write_end();
            self.flush();
            self.submit_stalled_now();
        } else if access.renew(&self.principal, now()).is_none()
            && access.is_shut_out(&self.principal.name, now())
        {
            self.shared.give_back(self.uuid);
        }
    }

    /// The consumer ends, as if its client had cancelled it.
    fn lose(&mut self, name: &Arc<str>) {
        let Some(gone) = self.remove_consumer(name) else {
            return;
        };
        if let Some(session) = self.session {
            let cancel = Cancel {
                consumer: name.to_string(),
                session: session.get(),
            };
            self.push(0, Kind::Cancel, &cancel);
        }
        self.shut(&gone);
        self.shared.stats.refused(self.protocol, Refusal::Denied);
        self.say(Event::Cancelled {
            consumer: Arc::clone(name),
            why: Refusal::Denied,
        });
    }

    /// The audit log has a line of what was denied.
    pub(super) fn tell_denied(&self, verb: Verb, asked: &str) {
        let from = (self.outbox.card.peer, self.protocol);
        let who = (&self.principal, self.client());
        self.shared.tell_denied(from, who, verb, &self.realm, asked);
    }

    /// How long what the client has shown is still good for; none: for ever.
    pub(super) fn good_for(&self) -> Option<Duration> {
        let expires = self.principal.expires?;
        let left = expires.get().saturating_sub(now().get());
        Some(Duration::from_millis(left))
    }

    /// Whether what the client has shown has expired.
    pub(super) fn has_expired(&self) -> bool {
        let expired = |at: UnixMillis| at <= now();
        self.principal.expires.is_some_and(expired)
    }
}
