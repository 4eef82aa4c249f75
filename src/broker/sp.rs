//! What an attachment does for SP alone: requests that wait in memory for who answers them, and pairs.
//!
//! ```text
//! REQ  ─▶ somebody takes it ─▶ its queue, or WAMP's procedure          answers ─▶ the asker's own `~replies`
//!      └─ nobody ─▶ Join ─▶ `$req/ADDRESS`, in memory ◀─ REP: Join, unless a durable queue has the address's name
//! PAIR ─▶ Join ─▶ one end ─▶ the other end's queue, in memory
//! ```
//!
//! A client has one address, and so joins once. What is asked goes into the same queues whatever door it comes in by.
//!
//! Always, with tests in `broker/tests/sp.rs`.
//!
//! Not here: frames, headers, who has which request in hand (session).

use std::sync::Arc;

use restante_storage::payload;
use restante_storage::{Draft, Kind, QueueId, encode_detached};
use smallvec::SmallVec;
use uuid::Uuid;

use super::attachment::{Attachment, Outcome};
use super::call::{Consume, Delivery, Landed, Protocol};
use super::core::Ask;
use super::fetch::Missing;
use super::now;
use super::outbox::Parcel;
use super::publish::trusted;
use crate::access::Permit;
use crate::engine::address::{Address, Space};
use crate::engine::{QueueHandle, is_transient};
use crate::message::{NewMessage, SpSend};
use crate::refusal::Refusal;
use crate::registry::Verb;

/// Queues in memory that clients share.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Joint {
    /// What is asked of an address.
    Requests(Arc<str>),
    /// The two ends of a pair: its version, and its address.
    Pair(u8, Arc<str>),
}

/// What a client has joined.
#[derive(Debug, Clone)]
pub(super) struct Joined {
    pub(super) what: Joint,
    /// What it consumes from.
    pub(super) own: Arc<QueueHandle>,
    /// Of a pair: what the other end consumes from.
    pub(super) peer: Option<Arc<QueueHandle>>,
}

impl Attachment {
    /// From what is sent there to be answered: see [`Source::Requests`](super::call::Source::Requests).
    pub(super) fn consume_requests(&mut self, tag: u64, wish: &Consume) -> Outcome {
        let Some(address) = self.ordinary_address(&wish.address) else {
            return Outcome::Refused(Refusal::BadAddress);
        };
        if !self.may(Verb::Consume, &address) {
            return Outcome::Refused(Refusal::Denied);
        }
        let queue = match &self.joined {
            Some(joined) => Some(joined.own.id),
            None => self.durable_queue(&address),
        };
        match queue {
            Some(queue) => {
                self.ask_consumer(tag, wish.consumer.as_str().into(), queue, wish.exclusive)
            }
            None => self.ask_to_join(tag, Joint::Requests(address.as_str().into())),
        }
    }

    /// From the other end of a pair: see [`Source::Pair`](super::call::Source::Pair).
    pub(super) fn consume_pair(&mut self, tag: u64, wish: &Consume, version: u8) -> Outcome {
        let Some(address) = self.ordinary_address(&wish.address) else {
            return Outcome::Refused(Refusal::BadAddress);
        };
        if !self.may(Verb::Consume, &address) || !self.may(Verb::Send, &address) {
            return Outcome::Refused(Refusal::Denied);
        }
        match &self.joined {
            Some(joined) => {
                let (name, queue) = (wish.consumer.as_str().into(), joined.own.id);
                self.ask_consumer(tag, name, queue, true)
            }
            None => self.ask_to_join(tag, Joint::Pair(version, address.as_str().into())),
        }
    }

    /// Has requests that the client sends there wait for as long as it is there; none: they do already, or cannot.
    pub(super) fn wait_for_requests(&mut self, tag: u64, address: &Address) -> Option<Outcome> {
        if self.joined.is_some() || address.space() != Space::Ordinary {
            return None;
        }
        Some(self.ask_to_join(tag, Joint::Requests(address.as_str().into())))
    }

    /// Why a message is not taken before one in front of it that was refused, of which the client's session has not heard yet.
    pub(super) fn waits_behind(&self, message: &NewMessage) -> Option<Refusal> {
        let is_tried_again = matches!(message.sp, None | Some(SpSend::Asked | SpSend::ToPeer));
        if self.protocol != Protocol::Sp || !is_tried_again {
            return None;
        }
        let mut refused = self.failed.iter().map(|(_, why)| *why);
        refused.find(|why| why.is_for_now())
    }

    /// To the other end of the client's pair, whether somebody is there or not.
    pub(super) fn publish_to_peer(
        &mut self,
        address: &Address,
        message: &NewMessage,
        permit: Permit,
    ) -> Outcome {
        let peer = self.joined.as_ref().and_then(|it| it.peer.as_ref());
        let Some(peer) = peer else {
            return Outcome::Refused(Refusal::NoRoute);
        };
        if peer.is_full() {
            return Outcome::Refused(Refusal::Full);
        }
        let queue = peer.id;
        let mut envelope =
            self.envelope(address.as_str().to_owned(), message, Some(Uuid::now_v7()));
        trusted(&mut envelope, permit);
        let draft = Draft {
            priority: message.priority,
            body: &message.body,
            ..Draft::new(Kind::Enqueue, now(), &envelope)
        };
        let queues = SmallVec::from_iter([queue]);
        self.hand_over_record(&draft, encode_detached(&draft), queues, &[]);
        self.landed = Landed::Delivered;
        self.shared.stats.published(self.protocol);
        Outcome::Done
    }

    /// Takes a request out of its queue in memory that nobody waits for any more, in place of delivering it; whether it was one.
    pub(super) fn passes_over(
        &mut self,
        parcel: &Parcel,
        delivery: &Result<Delivery, Missing>,
    ) -> bool {
        let (Protocol::Sp, Some(queue), Ok(delivery)) = (self.protocol, parcel.queue, delivery)
        else {
            return false;
        };
        let reply_to = delivery.message.reply_to.as_deref();
        if !is_transient(queue) || !reply_to.is_some_and(|it| self.is_gone(it)) {
            return false;
        }
        let outbox = Arc::clone(&self.outbox);
        // The client gets another in its place.
        self.shared.ask(Ask::Undelivered(
            parcel.consumer,
            outbox,
            queue,
            parcel.offset,
            false,
        ));
        let settle = payload::Settle {
            queue: queue.get(),
            accepted: vec![parcel.offset.get(), parcel.offset.get()],
            ..payload::Settle::default()
        };
        self.push_settle(0, settle);
        true
    }

    /// Whether a session's temporary queue is not there any more.
    fn is_gone(&self, address: &str) -> bool {
        let routes = self.shared.routes.load();
        let realm = routes.queues.get(&self.realm);
        address.starts_with('~') && realm.is_none_or(|realm| !realm.names.contains_key(address))
    }

    /// Listings show where an SP client consumes from.
    pub(super) fn is_listed_at(&self, wish: &Consume) {
        if self.protocol != Protocol::Sp || wish.address.starts_with('~') {
            return;
        }
        let queue = match &self.joined {
            Some(joined) => Arc::clone(&joined.own.name),
            None => wish.address.as_str().into(),
        };
        // It has one consumer, and begins it once.
        self.outbox.card.sp_queue.get_or_init(|| queue);
    }

    /// The core has let the client join; its call is tried again, and finds it.
    pub(super) fn has_joined(&mut self, joined: Joined) {
        self.joined = Some(joined);
    }

    /// Leaves what it has joined.
    pub(super) fn leave_joint(&mut self) {
        if let Some(joined) = self.joined.take() {
            self.shared.ask(Ask::Leave {
                realm: Arc::clone(&self.realm),
                what: joined.what,
                outbox: Arc::clone(&self.outbox),
            });
        }
    }

    fn ask_to_join(&mut self, tag: u64, what: Joint) -> Outcome {
        self.shared.ask(Ask::Join {
            realm: Arc::clone(&self.realm),
            what,
            outbox: Arc::clone(&self.outbox),
            tag,
        });
        self.await_answer();
        Outcome::Waits
    }

    fn ordinary_address(&self, text: &str) -> Option<Address> {
        let address = Address::parse(text, self.shared.settings.address).ok()?;
        (address.space() == Space::Ordinary).then_some(address)
    }

    /// The durable queue of that name.
    fn durable_queue(&self, address: &Address) -> Option<QueueId> {
        let routes = self.shared.routes.load();
        routes
            .durable_queue(&self.realm, address.as_str())
            .map(|it| it.id)
    }
}
