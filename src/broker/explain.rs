//! Where a message would land: what `publish.rs` does, up to the point where something would be stored.
//!
//! ```text
//! address ─▶ admits (rights, expiry) ─▶ place (routes, bindings) ─▶ refuses (room) ─▶ told, in place of stored
//! ```
//!
//! Both ask the same functions, so that what is said here is what then happens, unless something changes in between. Reads
//! snapshots only: nothing is stored, sent, made or counted, and the core is not asked.
//!
//! Always, with a test of this name in `broker/tests/explain.rs`: `what_is_explained_is_what_then_happens`.
//!
//! A client's id is MQTT's: then no queue is made, and what nobody takes is no error (`nowhere`). Its quality of service counts
//! as 1; its own subscriptions count as any other's.
//!
//! Not here: who asks and by which rule they may (control); whether a record would be too large for the log.

use restante_admin_api::queue::{Landing, QueueVerdict};
use smallvec::SmallVec;
use uuid::Uuid;

use super::call::Landed;
use super::placing::{self, Placed};
use super::publish::{Care, Takers};
use super::{Broker, Shared};
use crate::access::Principal;
use crate::engine::QueueHandle;
use crate::engine::address::{Address, Space};
use crate::message::NewMessage;
use crate::refusal::Refusal;
use crate::routes::{Sent, Step};

/// What would become of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// What its sender would be told; `Ok`: it would be taken.
    pub outcome: Result<Landed, Refusal>,
    /// The routes that matched its address, in order.
    pub steps: Vec<Step>,
    /// Where it would land; where a queue there refuses it, it lands nowhere. A queue that takes nothing and whose message is
    /// taken all the same sheds it.
    pub landings: Vec<Landing>,
}

impl Explained {
    fn refused(why: Refusal) -> Explained {
        Explained {
            outcome: Err(why),
            steps: Vec::new(),
            landings: Vec::new(),
        }
    }
}

impl Broker {
    /// What would become of `message` if `who`, as the MQTT client `client` or over another door, sent it now.
    pub fn explain(
        &self,
        who: &Principal,
        client: Option<&str>,
        realm: &str,
        message: &NewMessage,
    ) -> Explained {
        let shared = &self.shared;
        let Ok(address) = Address::parse(&message.address, shared.settings.address) else {
            return Explained::refused(Refusal::BadAddress);
        };
        if let Err(why) = shared.admits(who, client, realm, &address, message) {
            return Explained::refused(why);
        }
        // A message without an id gets one when it is sent: between weighted targets, another one may choose otherwise.
        let own = Uuid::now_v7();
        let id = message.message_id.as_ref();
        let sent = Sent {
            address: address.as_str(),
            message,
            id: id.map_or(own.as_bytes().as_slice(), |id| id.as_bytes()),
        };
        let is_ordinary = address.space() == Space::Ordinary;
        let may_make = shared.settings.create_on_send && is_ordinary && client.is_none();
        let mut steps = Vec::new();
        let placed = shared.place(
            realm,
            &address,
            &sent,
            may_make,
            Care::KEPT,
            Some(&mut steps),
        );
        let is_nowhere = match &placed {
            Placed::NoRoute => true,
            Placed::Lands(landings) => landings.iter().all(|it| it.takers.come_to_nothing()),
            Placed::Dropped | Placed::Makes { .. } => false,
        };
        let refusal = match client.filter(|_| matches!(placed, Placed::NoRoute)) {
            Some(_) => None,
            None => shared.refuses(realm, &placed),
        };
        let (landed, landings) = shared.told(realm, placed);
        let landed = match (is_nowhere, client) {
            (true, Some(_)) => Landed::Nowhere,
            (true, None) => Landed::Dropped,
            (false, _) => landed,
        };
        Explained {
            outcome: refusal.map_or(Ok(landed), Err),
            steps,
            landings,
        }
    }
}

impl Shared {
    fn told(&self, realm: &str, placed: Placed) -> (Landed, Vec<Landing>) {
        let (addresses, landings) = match placed {
            Placed::Dropped | Placed::NoRoute => return (Landed::Dropped, Vec::new()),
            Placed::Lands(landings) => (SmallVec::new(), landings),
            Placed::Makes {
                addresses,
                landings,
            } => (addresses, landings),
        };
        let keeps = landings.iter().any(|it| !it.takers.durable.is_empty());
        let landed = match keeps || !addresses.is_empty() {
            true => Landed::Stored,
            false => Landed::Delivered,
        };
        let made = addresses.iter().map(|address| self.made(realm, address));
        let mut all: Vec<Landing> = made.collect();
        for landing in &landings {
            // Whoever listens where a queue is made is told of there.
            if all.iter().all(|it| it.address != landing.address) {
                all.push(self.landing(realm, landing));
            }
        }
        (landed, all)
    }

    fn landing(&self, realm: &str, landing: &placing::Landing) -> Landing {
        let takers = &landing.takers;
        let is_asked = |handle: &QueueHandle| {
            takers.durable.contains(&handle.id)
                || takers.transient.contains(&handle.id)
                || takers.sheds(handle.id)
        };
        let routes = self.routes.load();
        let mut found: SmallVec<[std::sync::Arc<QueueHandle>; 4]> = SmallVec::new();
        if let Some(here) = routes.queues.get(realm) {
            here.bindings
                .collect_unique(landing.address.as_str(), &mut found);
        }
        let queues = found.iter().filter(|handle| is_asked(handle));
        let mut queues: Vec<QueueVerdict> = queues.map(|it| self.verdict(it)).collect();
        queues.sort_unstable_by(|a, b| a.queue.cmp(&b.queue));
        Landing {
            address: landing.address.clone(),
            queues,
            listeners: takers.topics.len() as u64,
            makes_queue: false,
        }
    }

    fn verdict(&self, handle: &QueueHandle) -> QueueVerdict {
        let disk = (!handle.is_transient() && self.is_disk_full()).then_some("disk");
        let limit = handle.limit_reached().or(disk);
        QueueVerdict {
            queue: handle.name.to_string(),
            takes: limit.is_none(),
            overflow: limit.unwrap_or("room").to_owned(),
        }
    }

    fn made(&self, realm: &str, address: &Address) -> Landing {
        let limit = if self.is_disk_full() {
            "disk"
        } else if self.room_for_queues(realm) == 0 {
            "queues"
        } else {
            "room"
        };
        let takers = Takers::of(&self.routes.load(), realm, address.as_str(), Care::KEPT);
        Landing {
            address: address.as_str().to_owned(),
            queues: vec![QueueVerdict {
                queue: address.as_str().to_owned(),
                takes: limit == "room",
                overflow: limit.to_owned(),
            }],
            listeners: takers.topics.len() as u64,
            makes_queue: true,
        }
    }
}
