//! Who is there: connections, sessions, consumers; and how they are made to let go.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use restante_admin_api::QueuesWanted;
use restante_admin_api::queue::{
    ConnectionInfo, ConsumerInfo, SessionInfo, SpConnectionInfo, SubscriptionInfo, Why,
};
use restante_storage::payload::EndSession;
use restante_storage::{Draft, DraftBatch, Kind, Lsn, QueueId, Stamp};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{AdminAsk, AdminError};
use crate::broker::card::Card;
use crate::broker::core::Batch;
use crate::broker::keeper::Scribe;
use crate::broker::outbox::Outbox;
use crate::broker::rights::own_queue;
use crate::broker::{Broker, End, Protocol, Shared, now};
use crate::engine::routing::Router;

/// Sessions that the core is asked for at once.
const SESSIONS_AT_ONCE: usize = 128;
/// Subscriptions of a session that a listing shows.
pub(in crate::broker) const SUBSCRIPTIONS_SHOWN: usize = 20;
/// Consumers that the core is asked for at once, about.
const CONSUMERS_AT_ONCE: u64 = 1024;

impl Broker {
    /// What keeps a queue from moving.
    ///
    /// # Errors
    /// [`AdminError::NoQueue`].
    pub async fn why(&self, realm: &str, name: &str) -> Result<Why, AdminError> {
        let id = self.handle(realm, name)?.id;
        let why = self.shared.answer(|reply| AdminAsk::Why(id, reply)).await?;
        why.ok_or_else(|| AdminError::NoQueue {
            realm: realm.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Up to `limit` connections behind an id, oldest first.
    pub fn connections(&self, after: Option<Uuid>, limit: usize) -> Vec<ConnectionInfo> {
        let behind = |it: &Card| after.is_none_or(|after| it.connection > after);
        let mut guests = self.shared.guests_that(behind);
        guests.sort_unstable_by_key(|it| it.card.connection);
        let page = guests.iter().take(limit);
        page.map(|it| connection(&it.card)).collect()
    }

    /// Up to `limit` sessions behind an id, by id: those that outlive their connections, and those that do not.
    ///
    /// # Errors
    /// [`AdminError::ShuttingDown`].
    pub async fn sessions(
        &self,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<SessionInfo>, AdminError> {
        let mut sessions = self.live_only(after, limit).await?;
        let mut at = after;
        let mut n_durable = 0;
        while n_durable < limit {
            let n = SESSIONS_AT_ONCE.min(limit - n_durable);
            let some = self
                .shared
                .answer(|reply| AdminAsk::Sessions(at, n, reply))
                .await?;
            let Some(last) = some.last() else { break };
            at = Uuid::try_parse(&last.id).ok();
            n_durable += some.len();
            sessions.extend(some);
        }
        // One that came to outlive its connection while this looked is among both.
        sessions.sort_unstable_by(|a, b| (&a.id, !a.durable).cmp(&(&b.id, !b.durable)));
        sessions.dedup_by(|a, b| a.id == b.id);
        sessions.truncate(limit);
        Ok(sessions)
    }

    /// Sessions that end with their connections.
    async fn live_only(
        &self,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<SessionInfo>, AdminError> {
        let mut guests = self
            .shared
            .guests_that(|it| !it.is_durable() && after.is_none_or(|after| it.session > after));
        if guests.len() > limit {
            guests.select_nth_unstable_by_key(limit, |it| it.card.session);
            guests.truncate(limit);
        }
        self.live(guests).await
    }

    /// What there is to tell of sessions that end with their connections.
    async fn live(&self, guests: Vec<Arc<Outbox>>) -> Result<Vec<SessionInfo>, AdminError> {
        let mut listening = self.listening(&guests);
        let mut sessions = Vec::with_capacity(guests.len());
        for some in guests.chunks(SESSIONS_AT_ONCE) {
            let asked = some.to_vec();
            let hands = self
                .shared
                .answer(|reply| AdminAsk::Hands(asked, reply))
                .await?;
            for (outbox, (consumers, unsettled)) in some.iter().zip(hands) {
                let heard = listening.remove(&place(outbox));
                let (n_topics, filters) = heard.unwrap_or_default();
                let card = &outbox.card;
                let wamp = self.shared.wamp_session(card);
                let is_mqtt = card.protocol == Protocol::Mqtt;
                // An MQTT session has one listener for all that it subscribes to.
                let n_listeners = if is_mqtt { n_topics.min(1) } else { n_topics };
                let filters = if is_mqtt { filters } else { Vec::new() };
                sessions.push(SessionInfo {
                    id: card.session.to_string(),
                    realm: card.realm.to_string(),
                    principal: card.principal.to_string(),
                    name: card.name.clone(),
                    durable: false,
                    connection: Some(card.connection.to_string()),
                    expiry_ms: 0,
                    ends_at: None,
                    consumers: consumers + n_listeners,
                    unsettled,
                    protocol: card.protocol.as_str().to_owned(),
                    client: card.client.as_deref().map(str::to_owned),
                    subscriptions: match &wamp {
                        Some((_, n_subscriptions)) => *n_subscriptions,
                        None if is_mqtt => n_topics,
                        None => 0,
                    },
                    first_subscriptions: filters,
                    incomplete: 0,
                    wamp: wamp.map(|(info, _)| info),
                });
            }
        }
        Ok(sessions)
    }

    /// To how many filters these listen, and the first of them, by the outbox's place.
    fn listening(&self, guests: &[Arc<Outbox>]) -> FxHashMap<usize, (u64, Vec<SubscriptionInfo>)> {
        let mut of: FxHashMap<usize, (u64, Vec<SubscriptionInfo>)> = guests
            .iter()
            .map(|it| (place(it), (0, Vec::new())))
            .collect();
        let routes = self.shared.routes.load();
        let topics = routes.topics.values().flat_map(Router::iter);
        for (filter, subscriber) in topics {
            let Some((n, first)) = of.get_mut(&place(subscriber.outbox())) else {
                continue;
            };
            *n += 1;
            if first.len() < SUBSCRIPTIONS_SHOWN {
                first.push(SubscriptionInfo {
                    filter: filter.to_string(),
                    share: None,
                    qos: None,
                });
            }
        }
        of
    }

    /// A session.
    ///
    /// # Errors
    /// [`AdminError::NoSession`], [`AdminError::ShuttingDown`].
    pub async fn session(&self, id: &str) -> Result<SessionInfo, AdminError> {
        let none = || AdminError::NoSession(id.to_owned());
        let uuid = Uuid::try_parse(id).map_err(|_malformed| none())?;
        let ask = |reply| AdminAsk::Session(uuid, reply);
        if let Some(durable) = self.shared.answer(ask).await? {
            return Ok(durable);
        }
        let guest = self.shared.live_guest(uuid);
        let guest = guest.filter(|it| !it.card.is_durable()).ok_or_else(none)?;
        self.live(vec![guest]).await?.pop().ok_or_else(none)
    }

    /// Consumers of queues and topics, in order of realm, queue or filter, session and name; of one realm and one queue,
    /// if given.
    ///
    /// # Errors
    /// [`AdminError::ShuttingDown`].
    pub async fn consumers(
        &self,
        realm: Option<&str>,
        queue: Option<&str>,
    ) -> Result<Vec<ConsumerInfo>, AdminError> {
        let mut found = Vec::new();
        let (mut some, mut n_some) = (Vec::new(), 0);
        for handle in self.handles(&QueuesWanted {
            realm: realm.map(str::to_owned),
            prefix: queue.unwrap_or_default().to_owned(),
            after: None,
            limit: usize::MAX,
        }) {
            let n_consumers = handle.gauges.consumers.load(Ordering::Relaxed);
            if n_consumers == 0 || queue.is_some_and(|only| *only != *handle.name) {
                continue;
            }
            some.push(handle.id);
            n_some += n_consumers;
            if n_some >= CONSUMERS_AT_ONCE {
                found.extend(self.consumers_of(std::mem::take(&mut some)).await?);
                n_some = 0;
            }
        }
        found.extend(self.consumers_of(some).await?);
        if queue.is_none() {
            found.extend(self.topic_consumers(realm));
        }
        found.sort_unstable_by(|a, b| {
            fn key(it: &ConsumerInfo) -> (&str, Option<&String>, &str, &str) {
                let of = it.queue.as_ref().or(it.filter.as_ref());
                (&it.realm, of, &it.session, &it.name)
            }
            key(a).cmp(&key(b))
        });
        Ok(found)
    }

    async fn consumers_of(&self, queues: Vec<QueueId>) -> Result<Vec<ConsumerInfo>, AdminError> {
        if queues.is_empty() {
            return Ok(Vec::new());
        }
        self.shared
            .answer(|reply| AdminAsk::Consumers(queues, reply))
            .await
    }

    fn topic_consumers(&self, realm: Option<&str>) -> Vec<ConsumerInfo> {
        let routes = self.shared.routes.load();
        let realms = routes.topics.iter();
        let here = realms.filter(|(name, _)| realm.is_none_or(|only| *only == ***name));
        here.flat_map(|(realm, topics)| {
            topics.iter().map(move |(filter, subscriber)| {
                let card = &subscriber.outbox().card;
                ConsumerInfo {
                    realm: realm.to_string(),
                    queue: None,
                    filter: Some(filter.to_string()),
                    name: subscriber.name().to_string(),
                    session: card.session.to_string(),
                    connection: Some(card.connection.to_string()),
                    principal: card.principal.to_string(),
                    credit: subscriber.credit_left(),
                    unsettled: 0,
                    exclusive: false,
                }
            })
        })
        .collect()
    }

    /// Closes a client's connection. Its session goes on, if it outlives connections, and the client may come back.
    ///
    /// # Errors
    /// [`AdminError::NoConnection`].
    pub fn kick(&self, connection: &str) -> Result<ConnectionInfo, AdminError> {
        let guest = self.guest(connection)?;
        guest.end(End::Kicked);
        Ok(connection_of(&guest))
    }

    /// A client's connection.
    ///
    /// # Errors
    /// [`AdminError::NoConnection`].
    pub fn connection(&self, connection: &str) -> Result<ConnectionInfo, AdminError> {
        Ok(connection_of(&*self.guest(connection)?))
    }

    fn guest(&self, connection: &str) -> Result<Arc<Outbox>, AdminError> {
        let id = Uuid::try_parse(connection).ok();
        let found = id.and_then(|id| self.shared.guests_that(|it| it.connection == id).pop());
        found.ok_or_else(|| AdminError::NoConnection(connection.to_owned()))
    }

    /// Ends a session for good; what it has in hand is ready again. Durable on return.
    ///
    /// # Errors
    /// [`AdminError::NoSession`], [`AdminError::ShuttingDown`].
    pub async fn end_session(&self, session: &str) -> Result<(), AdminError> {
        let (uuid, found) = match self.found(session).await? {
            Session::Live(outbox) => {
                outbox.close(End::Kicked);
                return Ok(());
            }
            Session::Durable(uuid, found) => (uuid, found.whole),
        };
        let (number, queue) = (found.number, found.queue);
        let will = found.will.map(|it| it.id);
        tracing::info!(session = %uuid, "an administrator ends a session");
        if let Some(will) = will {
            // Whoever is there is let go: their will is the last thing that is heard of them.
            let mourned = self.shared.mourn(number, will).await;
            mourned.map_err(|_gone| AdminError::ShuttingDown)?;
        }
        let it = EndSession {
            session: number,
            queue,
        };
        let own = own_queue(&it);
        self.shared.write(Kind::EndSession, &it, &own).await?;
        self.shared.settle_errands().await
    }

    /// Takes back all that a session has in hand: it is ready again on return, durably. A client that is connected is kicked
    /// first; the session goes on.
    ///
    /// # Errors
    /// [`AdminError::NoSession`], [`AdminError::ShuttingDown`].
    pub async fn release_session(&self, session: &str) -> Result<(), AdminError> {
        match self.found(session).await? {
            // All that it has comes back when its client's task sees that it is over.
            Session::Live(outbox) => {
                outbox.close(End::Kicked);
                Ok(())
            }
            Session::Durable(uuid, found) => {
                tracing::info!(session = %uuid, "an administrator takes back what a session has in hand");
                // Nothing of the old connection gets to the log behind this.
                found
                    .outbox
                    .into_iter()
                    .for_each(|outbox| outbox.close(End::Kicked));
                self.shared
                    .answer(|reply| AdminAsk::Release(uuid, reply))
                    .await?;
                self.shared.settle_errands().await
            }
        }
    }

    async fn found(&self, id: &str) -> Result<Session, AdminError> {
        let none = || AdminError::NoSession(id.to_owned());
        let uuid = Uuid::try_parse(id).map_err(|_malformed| none())?;
        let found = self.find(uuid).await;
        if let Some(found) = found.map_err(|_gone| AdminError::ShuttingDown)? {
            return Ok(Session::Durable(uuid, Box::new(found)));
        }
        let guest = self.shared.live_guest(uuid);
        guest.map(Session::Live).ok_or_else(none)
    }
}

/// A session that there is.
enum Session {
    /// It ends with this connection.
    Live(Arc<Outbox>),
    Durable(Uuid, Box<crate::broker::core::Found>),
}

impl Shared {
    /// Those attached of whom that is so.
    fn guests_that(&self, is_so: impl Fn(&Card) -> bool) -> Vec<Arc<Outbox>> {
        let attached = self.attached.lock();
        let all = attached.all.values().map(|guest| &guest.outbox);
        all.filter(|it| is_so(&it.card)).cloned().collect()
    }

    /// Whoever has the session with that id.
    fn live_guest(&self, session: Uuid) -> Option<Arc<Outbox>> {
        self.guests_that(|it| it.session == session).pop()
    }

    /// Writes a record that ends these queues, if any, and waits until it is applied.
    async fn write(
        &self,
        kind: Kind,
        envelope: &(dyn restante_storage::EncodeEnvelope + Sync),
        forgotten: &[QueueId],
    ) -> Result<Lsn, AdminError> {
        let (told, applied) = oneshot::channel();
        let companion = Batch {
            told: Some(told),
            ..Batch::default()
        };
        let mut batch = DraftBatch::new(self.log().limits(), companion);
        let pushed = batch.push(&Draft {
            targets: forgotten,
            stamp: Stamp::Forget,
            ..Draft::new(kind, now(), envelope)
        });
        pushed.map_err(|_refused| AdminError::TooLarge)?;
        let permit = self.log().reserve(batch.len_bytes()).await;
        batch.hold(permit.map_err(|_closed| AdminError::ShuttingDown)?);
        let submitted = self.log().submit(batch);
        submitted.map_err(|_closed| AdminError::ShuttingDown)?;
        applied.await.map_err(|_gone| AdminError::ShuttingDown)
    }
}

impl Shared {
    /// Does what the engine wants written now, as the keeper would in a moment, and waits until it is applied.
    async fn settle_errands(self: &Arc<Self>) -> Result<(), AdminError> {
        let shared = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || {
            let mut scribe = Scribe::new(shared);
            scribe.run_errands(true);
            scribe.give_back_failed();
        });
        written.await.map_err(|_ended| AdminError::ShuttingDown)?;
        // Behind all that, whoever of the two wrote it.
        let nothing = restante_storage::payload::Advance::default();
        self.write(Kind::Advance, &nothing, &[]).await?;
        Ok(())
    }
}

/// What an outbox is known by.
fn place(outbox: &Arc<Outbox>) -> usize {
    Arc::as_ptr(outbox).addr()
}

fn connection_of(outbox: &Outbox) -> ConnectionInfo {
    connection(&outbox.card)
}

fn connection(card: &Card) -> ConnectionInfo {
    ConnectionInfo {
        id: card.connection.to_string(),
        session: card.session.to_string(),
        realm: card.realm.to_string(),
        principal: card.principal.to_string(),
        name: card.name.clone(),
        protocol: card.protocol.as_str().to_owned(),
        client: card.client.as_deref().map(str::to_owned),
        peer: card.peer.to_string(),
        tls: card.tls,
        since: card.since.get(),
        sp: card.sp.as_ref().map(|sp| SpConnectionInfo {
            pattern: sp.role.pattern().to_owned(),
            role: sp.role.name().to_owned(),
            address: sp.address.to_string(),
            queue: card.sp_queue.get().map(|it| it.to_string()),
        }),
    }
}
