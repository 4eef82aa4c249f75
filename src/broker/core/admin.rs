//! The core's answers to administrators. Each from memory, in bounded slices.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use restante_admin_api::queue::{ConsumerInfo, SessionInfo, SubscriptionInfo, Why};
use restante_storage::payload::MQTT;
use restante_storage::{QueueId, UnixMillis};
use rustc_hash::{FxHashMap, FxHashSet};
use uuid::Uuid;

use super::{Core, Port};
use crate::broker::Protocol;
use crate::broker::admin::{AdminAsk, Claims, SUBSCRIPTIONS_SHOWN};
use crate::broker::outbox::Outbox;
use crate::engine::{Blocked, ConsumerId, ConsumerReport, QueueHandle, SessionReport};
use crate::logs::Rfc3339;

/// Consumers that a sentence names.
const NAMED_MAX: usize = 3;

/// Consumers that a sentence is about: looked up, as a queue may have many.
type Named = FxHashSet<ConsumerId>;

impl Core {
    pub(super) fn handle_admin(&mut self, ask: AdminAsk) {
        match ask {
            AdminAsk::Look(id, wanted, reply) => {
                reply.send(self.engine.look(id, &wanted)).ok();
            }
            AdminAsk::Claim(id, wanted, reply) => {
                let claim = self.engine.claim(id, &wanted);
                let shared = &self.shared;
                let claims = claim.map(|claim| Claims::new(Arc::clone(shared), id, claim));
                if let Err(Some(unheard)) = reply.send(claims) {
                    // Not by dropping it: the core must not wait for its own channel.
                    self.engine.unclaim(id, &unheard.into_offsets());
                }
            }
            AdminAsk::Unclaim(id, offsets) => self.engine.unclaim(id, &offsets),
            AdminAsk::DeleteHeld(id, offsets, reply) => {
                reply.send(self.engine.delete_held(id, &offsets)).ok();
            }
            AdminAsk::Why(id, reply) => {
                reply.send(self.why(id)).ok();
            }
            AdminAsk::Consumers(queues, reply) => {
                let all = queues.into_iter().flat_map(|id| self.consumers(id));
                reply.send(all.collect()).ok();
            }
            AdminAsk::Session(uuid, reply) => {
                let found = self.engine.session_of(uuid);
                reply.send(found.map(|it| self.session(&it))).ok();
            }
            AdminAsk::Sessions(after, limit, reply) => {
                let some = self.engine.sessions_after(after, limit);
                reply
                    .send(some.iter().map(|it| self.session(it)).collect())
                    .ok();
            }
            AdminAsk::Hands(outboxes, reply) => {
                reply.send(self.hands(&outboxes)).ok();
            }
            AdminAsk::Release(uuid, reply) => {
                if let Some(number) = self.engine.session_number(uuid) {
                    self.engine.release_session(number);
                }
                reply.send(()).ok();
            }
        }
    }

    fn session(&self, it: &SessionReport) -> SessionInfo {
        let outbox = self.sessions.get(&it.number);
        let is_mqtt = it.whole.protocol == MQTT;
        let protocol = if is_mqtt {
            Protocol::Mqtt
        } else {
            Protocol::Mbws
        };
        let subscriptions = it.whole.subscriptions.iter().map(|it| SubscriptionInfo {
            filter: it.filter.clone(),
            share: (!it.share.is_empty()).then(|| it.share.clone()),
            qos: Some(it.qos),
        });
        SessionInfo {
            id: it.uuid.to_string(),
            realm: it.whole.realm.clone(),
            principal: it.whole.principal.clone(),
            name: it.whole.name.clone().unwrap_or_default(),
            durable: true,
            connection: outbox.map(|outbox| outbox.card.connection.to_string()),
            expiry_ms: it.whole.expiry_ms,
            ends_at: it.ends_at.map(UnixMillis::get),
            consumers: it.whole.consumers.len() as u64,
            unsettled: it.unsettled,
            protocol: protocol.as_str().to_owned(),
            client: is_mqtt.then(|| it.whole.client.clone()),
            subscriptions: it.whole.subscriptions.len() as u64,
            first_subscriptions: subscriptions.take(SUBSCRIPTIONS_SHOWN).collect(),
            incomplete: (it.whole.received.len() + it.whole.releasing.len()) as u64,
            wamp: None,
        }
    }

    fn hands(&self, outboxes: &[Arc<Outbox>]) -> Vec<(u64, u64)> {
        let place = |outbox: &Arc<Outbox>| Arc::as_ptr(outbox).addr();
        let mut of: FxHashMap<usize, Vec<ConsumerId>> =
            outboxes.iter().map(|it| (place(it), Vec::new())).collect();
        for (id, port) in &self.ports {
            if let Some(consumers) = of.get_mut(&place(&port.outbox)) {
                consumers.push(*id);
            }
        }
        let hands = outboxes.iter().map(|outbox| {
            let consumers = of.get(&place(outbox)).map_or(&[][..], |it| it);
            let unsettled = self.engine.unsettled(consumers.iter().copied());
            (consumers.len() as u64, unsettled)
        });
        hands.collect()
    }

    fn consumers(&self, id: QueueId) -> Vec<ConsumerInfo> {
        let Some(handle) = self.engine.queue(id) else {
            return Vec::new();
        };
        let all = self.engine.queue_consumers(id).into_iter();
        all.map(|it| self.consumer(handle, &it)).collect()
    }

    fn consumer(&self, handle: &QueueHandle, it: &ConsumerReport) -> ConsumerInfo {
        let who = self.who(it);
        ConsumerInfo {
            realm: handle.realm.to_string(),
            queue: Some(handle.name.to_string()),
            filter: None,
            name: who.name,
            session: who.session.map_or_else(String::new, |it| it.to_string()),
            connection: who.connection.map(|it| it.to_string()),
            principal: who.principal,
            credit: self.credit(it).saturating_sub(it.sent),
            unsettled: it.unsettled,
            exclusive: it.exclusive,
        }
    }

    /// What a consumer's client has said that it may be sent.
    fn credit(&self, it: &ConsumerReport) -> u64 {
        let port = self.port(it);
        port.map_or(0, |port| port.meter.load(Ordering::Relaxed).max(it.limit))
    }

    fn port(&self, it: &ConsumerReport) -> Option<&Port> {
        self.ports.get(&it.id).filter(|_| it.active)
    }

    fn who(&self, it: &ConsumerReport) -> Who {
        if let Some(port) = self.port(it) {
            let card = &port.outbox.card;
            return Who {
                name: port.name.to_string(),
                principal: card.principal.to_string(),
                session: Some(card.session),
                connection: Some(card.connection),
            };
        }
        let session = it.session.as_ref().and_then(|(number, name)| {
            let whole = self.engine.session(*number)?;
            Some(Who {
                name: name.clone(),
                principal: whole.principal,
                session: Uuid::from_slice(&whole.uuid).ok(),
                connection: None,
            })
        });
        session.unwrap_or_default()
    }

    /// The one thing that keeps a queue from moving. The order in which things are looked at is that of `engine/admin/why.rs`;
    /// here, credit that is used up is told from a client that does not read, and a full disk from having nothing to do.
    fn why(&mut self, id: QueueId) -> Option<Why> {
        let blocked = self.engine.why(id)?;
        let handle = Arc::clone(self.engine.queue(id)?);
        let all = self.engine.queue_consumers(id);
        let (code, text) = match blocked {
            Blocked::Empty | Blocked::Moving if self.shared.is_disk_full() => (
                "disk-full",
                "the disk is nearly full: nothing new is taken before there is room".to_owned(),
            ),
            Blocked::Empty => ("empty", "no messages wait".to_owned()),
            Blocked::Moving => ("moving", "messages are being delivered".to_owned()),
            Blocked::History => (
                "history",
                "it keeps a history: what is in it is looked up, not consumed".to_owned(),
            ),
            Blocked::Leaving => (
                "moving",
                "all that waits is on its way elsewhere: given up, deleted or moved".to_owned(),
            ),
            Blocked::Paused(paused) => {
                let reason = match paused.reason.as_str() {
                    "" => String::new(),
                    reason => format!(": {reason}"),
                };
                let (by, since) = (paused.by, Rfc3339::of(paused.since));
                (
                    "paused",
                    format!("{by} has paused it, since {since}{reason}"),
                )
            }
            Blocked::NoConsumer => ("no-consumer", "nobody consumes it".to_owned()),
            Blocked::AllUnsettled(hands) => {
                let ids = hands.iter().map(|(id, _)| *id).collect();
                let n: u64 = hands.iter().map(|(_, n)| n).sum();
                let who = self.named(&all, &ids);
                (
                    "all-unsettled",
                    format!("all {n} messages are unsettled, with {who}"),
                )
            }
            Blocked::Away(ids) => ("away", self.away(&all, &ids.into_iter().collect())),
            Blocked::ComingBack(offset) => (
                "coming-back",
                format!(
                    "message {offset} is on its way back from a consumer that is gone; nothing overtakes it"
                ),
            ),
            Blocked::NoCredit(ids) => self.no_credit(&all, &ids.into_iter().collect()),
        };
        Some(Why {
            realm: handle.realm.to_string(),
            queue: handle.name.to_string(),
            blocked: !matches!(code, "empty" | "moving" | "history" | "disk-full"),
            code: code.to_owned(),
            text,
        })
    }

    fn no_credit(&self, all: &[ConsumerReport], ids: &Named) -> (&'static str, String) {
        let here = all.iter().filter(|it| ids.contains(&it.id));
        let slow: Named = here
            .clone()
            .filter(|it| self.credit(it) > it.sent)
            .map(|it| it.id)
            .collect();
        let exclusive = here.clone().find(|it| it.exclusive);
        if !slow.is_empty() {
            let who = self.named(all, &slow);
            let text = format!("{who} has credit, but does not read what it was sent");
            ("slow-reader", text)
        } else if let Some(it) = exclusive {
            let who = self.named(all, &Named::from_iter([it.id]));
            let text = format!("{who} has it exclusively, and has used up its credit");
            ("exclusive", text)
        } else {
            let who = self.named(all, ids);
            (
                "no-credit",
                format!("{who} may be sent no more: credit is used up"),
            )
        }
    }

    fn away(&self, all: &[ConsumerReport], ids: &Named) -> String {
        let sessions = all.iter().filter_map(|it| Some(it.session.as_ref()?.0));
        let latest = sessions
            .filter_map(|number| self.engine.ends_at(number))
            .max();
        let until = latest.map_or_else(String::new, |at| {
            format!(", expected back until {}", Rfc3339::of(at.get()))
        });
        format!("{} is away{until}", self.named(all, ids))
    }

    /// Names consumers, the first few of them.
    fn named(&self, all: &[ConsumerReport], ids: &Named) -> String {
        let named = all.iter().filter(|it| ids.contains(&it.id)).map(|it| {
            let who = self.who(it);
            let session = who.session.map_or_else(String::new, |it| it.to_string());
            format!(
                "consumer {} of {} (session {session})",
                who.name, who.principal
            )
        });
        let mut names: Vec<String> = named.take(NAMED_MAX).collect();
        match ids.len().saturating_sub(NAMED_MAX) {
            0 => {}
            more => names.push(format!("{more} more")),
        }
        names.join(", ")
    }
}

/// Whose a consumer is.
#[derive(Default)]
struct Who {
    name: String,
    principal: String,
    session: Option<Uuid>,
    connection: Option<Uuid>,
}
