//! A message as every door sees it: what one protocol's session took in is what every other gives out.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use restante_proto::mqtt::SharedPublish;
use restante_proto::wamp::{EventTail, Serializer};
use restante_storage::UnixMillis;
use restante_storage::payload::{WampNames, WampPart};

/// How the properties begin by which the broker says of a dead letter what became of it.
pub(crate) const DEAD_LETTER: &str = "dead-letter-";
/// The property by which the broker says of a message that an administrator has moved it, and out of which queue.
pub(crate) const MOVED_FROM: &str = "moved-from";

/// Whether a property is the broker's alone to set: redriving believes it. Of what a client sends it is left out, and not
/// refused, so that whoever sends a dead letter on can do so as it came.
pub(crate) fn is_reserved_property(name: &str) -> bool {
    name.starts_with(DEAD_LETTER) || name == MOVED_FROM
}

/// A message that a client hands over, before the broker has given it a time, an id or a place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewMessage {
    /// Where to.
    pub address: String,
    /// The sender's id for it; none: the broker gives a UUID v7.
    pub message_id: Option<String>,
    /// Ties a reply to its request.
    pub correlation_id: Option<String>,
    /// Address that a reply should be sent to; `~NAME` is a temporary queue of the sending session.
    pub reply_to: Option<String>,
    /// Media type of the body.
    pub content_type: Option<String>,
    /// Grouping key.
    pub key: Option<String>,
    /// 0 (lowest) to 9.
    pub priority: u8,
    /// The application's own properties; names that are the broker's are left out of what is stored or told.
    pub properties: BTreeMap<String, String>,
    /// Milliseconds that it may live; none: for ever.
    pub ttl_ms: Option<u64>,
    /// Whether it may be lost where no durable queue takes it.
    pub transient: bool,
    /// The body.
    pub body: Bytes,
    /// Whether the body is text; then it is UTF-8.
    pub text: bool,
    /// The quality of service that an MQTT client sent it with, 0 to 2; none: it came in by another door.
    pub qos: Option<u8>,
    /// The packet id of a QoS 2 publish, which the broker remembers until it is [forgotten](crate::broker::Call::Forget); 0:
    /// none.
    pub packet: u16,
    /// Whether the sender wants it kept at its address, for those who subscribe later. Of MQTT's and WAMP's clients only.
    pub retain: bool,
    /// The application's own properties in their order, where `properties` alone would lose order or doubles; else empty.
    pub ordered: Vec<(String, String)>,
    /// What a WAMP client has said of it; none: it came in by another door.
    pub wamp: Option<Box<WampSend>>,
    /// What an SP client's pattern makes of it; none: it is pushed, or it came in by another door.
    pub sp: Option<SpSend>,
}

/// What an SP client's pattern makes of a message: who takes it, and what it means that nobody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpSend {
    /// PUB, SURVEYOR, and every answer: whoever takes what is sent to its address now. Nobody there is no fault, and no queue is made.
    Told,
    /// BUS: the same, and its sender does not get it.
    ToOthers,
    /// REQ: where nobody takes it, it waits in memory for somebody who does.
    Asked,
    /// REQ that wants its requests kept: as PUSH, and never to a queue in memory alone.
    AskedDurably,
    /// PAIR: the other end of the sender's pair, and nobody else.
    ToPeer,
}

/// What a WAMP client says of an event that it publishes, beyond what every message has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WampSend {
    /// What goes with the message.
    pub part: WampPart,
    /// Whether the publisher's own subscriptions get it as well.
    pub to_self: bool,
    /// WAMP sessions that alone get it, ascending; none: all.
    pub eligible: Option<Vec<u64>>,
    /// WAMP sessions that do not get it, ascending.
    pub excluded: Vec<u64>,
    /// What it belongs to, now and not later: of the subscribers that share a subscription, one gets it. None: all of them do.
    pub rkey: Option<String>,
}

impl WampSend {
    /// Puts all lists in the order that they are searched in.
    pub fn sort(&mut self) {
        if let Some(eligible) = &mut self.eligible {
            eligible.sort_unstable();
        }
        self.excluded.sort_unstable();
        sort_names(&mut self.part);
    }

    /// Whether a session is among those that it is for.
    pub fn is_for_session(&self, session: u64) -> bool {
        let has = |ids: &[u64]| ids.binary_search(&session).is_ok();
        self.eligible.as_deref().is_none_or(has) && !has(&self.excluded)
    }

    /// Whether it is for chosen WAMP clients alone: then no queue takes it save for histories, and no client of another door hears it.
    pub fn is_for_chosen(&self) -> bool {
        let part = &self.part;
        self.eligible.is_some()
            || part.eligible_authids.is_some()
            || part.eligible_authroles.is_some()
    }

    /// Whether who it is for depends on sessions, so that nobody who comes later can be told of it: no history
    /// takes it.
    pub fn is_for_sessions(&self) -> bool {
        self.eligible.is_some() || !self.excluded.is_empty()
    }
}

/// Puts names in the order that [`may_be_told`] searches them in.
pub fn sort_names(part: &mut WampPart) {
    let eligible = [&mut part.eligible_authids, &mut part.eligible_authroles];
    let eligible = eligible.into_iter().flatten().map(|it| &mut it.names);
    let excluded = [&mut part.excluded_authids, &mut part.excluded_authroles];
    for names in eligible.chain(excluded) {
        if !names.is_sorted() {
            names.sort_unstable();
        }
    }
}

/// Whether somebody may be told of a message as far as its publisher has said who by authid and authrole (WAMP's subscriber black-
/// and whitelisting). It is asked for each listener and there may be tens of thousands of names, so they are [sorted](sort_names).
pub fn may_be_told(part: &WampPart, authid: &str, authrole: &str) -> bool {
    let has =
        |names: &[String], name: &str| names.binary_search_by(|it| it.as_str().cmp(name)).is_ok();
    let among = |names: &Option<WampNames>, name: &str| {
        names.as_ref().is_none_or(|it| has(&it.names, name))
    };
    among(&part.eligible_authids, authid)
        && among(&part.eligible_authroles, authrole)
        && !has(&part.excluded_authids, authid)
        && !has(&part.excluded_authroles, authrole)
}

/// The priority of a message whose sender names none (MBWS.md §4).
pub const PRIORITY_DEFAULT: u8 = 4;

/// A message on its way to a consumer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// The address that it was sent to.
    pub address: String,
    /// The sender's id for it, or the broker's.
    pub message_id: String,
    /// Ties a reply to its request.
    pub correlation_id: Option<String>,
    /// Address that a reply should be sent to; never the `~NAME` short form.
    pub reply_to: Option<String>,
    /// Media type of the body.
    pub content_type: Option<String>,
    /// Grouping key.
    pub key: Option<String>,
    /// 0 (lowest) to 9.
    pub priority: u8,
    /// The application's own properties, and the broker's `dead-letter-…` and `moved-from`.
    pub properties: BTreeMap<String, String>,
    /// When the broker took it.
    pub time: UnixMillis,
    /// When nobody wants it any more; none: never.
    pub expires: Option<UnixMillis>,
    /// The body.
    pub body: Bytes,
    /// Whether the body is text; then it is UTF-8.
    pub text: bool,
    /// The highest MQTT quality of service that it may be delivered with: its sender's. None: no bound, as it came in by
    /// another door.
    pub qos_bound: Option<u8>,
    /// The application's own properties in their order, where `properties` alone would lose order or doubles; else empty.
    pub ordered: Vec<(String, String)>,
    /// Whether it is told because it was retained, and not because it was sent just now.
    pub retained: bool,
    /// Whether its sender wanted it retained.
    pub retain: bool,
    /// What only WAMP has words for.
    pub wamp: Option<Box<WampPart>>,
}

/// A message that all who get it share, and what the doors have made of it for all of them.
#[derive(Debug, Default)]
pub struct SharedMessage {
    message: Message,
    publish: OnceLock<Option<Arc<SharedPublish>>>,
    /// By serializer, without and with the topic. In a box: most messages are no events.
    events: OnceLock<Box<[Event; 2 * Serializer::ALL.len()]>>,
}

/// An event, once somebody has asked for it.
type Event = OnceLock<Option<Arc<EventTail>>>;

impl SharedMessage {
    /// The message as a PUBLISH: the first who asks makes it. None: MQTT has no words for it.
    pub fn publish(
        &self,
        make: impl FnOnce(&Message) -> Option<SharedPublish>,
    ) -> Option<&Arc<SharedPublish>> {
        let publish = self
            .publish
            .get_or_init(|| make(&self.message).map(Arc::new));
        publish.as_ref()
    }

    /// The message as an EVENT, behind its subscription's id: the first who asks makes it. None: the serializer has no words for it.
    pub fn event(
        &self,
        serializer: Serializer,
        with_topic: bool,
        make: impl FnOnce(&Message) -> Option<EventTail>,
    ) -> Option<Arc<EventTail>> {
        let events = self.events.get_or_init(Box::default);
        let at = 2 * serializer as usize + usize::from(with_topic);
        let event = events.get(at)?;
        event
            .get_or_init(|| make(&self.message).map(Arc::new))
            .clone()
    }

    /// The message, for one who keeps it: a copy, where others share it.
    pub fn take(self: Arc<Self>) -> Message {
        Arc::try_unwrap(self).map_or_else(|it| it.message.clone(), |it| it.message)
    }
}

impl From<Message> for SharedMessage {
    fn from(message: Message) -> Self {
        SharedMessage {
            message,
            publish: OnceLock::new(),
            events: OnceLock::new(),
        }
    }
}

impl Deref for SharedMessage {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl PartialEq for SharedMessage {
    fn eq(&self, other: &Self) -> bool {
        self.message == other.message
    }
}
impl Eq for SharedMessage {}
