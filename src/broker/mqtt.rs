//! What an attachment does for MQTT alone: subscriptions, the session's own queue, its listener, and the packet ids of QoS 2.
//!
//! ```text
//! Subscribe ─▶ own queue there? ─▶ its consumer? ─▶ listener hears of the filter ─▶ record ─▶ Confirmed
//!          └─ shared: the group's queue there? ─▶ a consumer of it ──────────────────┘
//! ```
//!
//! What is missing is made first, one thing after the other; after each the call is tried again and finds it. The record comes
//! last, so that what a session is told it has is there.
//!
//! What is sent to a session that outlives its socket comes from its own queue, as far as that keeps it, else from its listener, and
//! never from both: a listener knows the queue that it stands beside, and is left out where that is among the takers
//! (`publish.rs`). A session that ends with its socket has the listener alone.
//!
//! What is retained comes to the own queue before its subscription is confirmed, by reference, or is told to the listener after.
//!
//! Always, with tests in `broker/tests/mqtt.rs`.
//!
//! Not here: packets, packet ids of deliveries, what is delivered with which quality of service (session).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use restante_storage::payload::{self, Advance, DefineSession, Recalled, Subscription};
use restante_storage::{Draft, Kind, Lsn, QueueId, SessionNo};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::admin::SHAPES_MAX;
use super::attachment::{Attachment, ConsumerKind, Outcome, is_consumer};
use super::call::{
    Attach, LISTENER, MqttState, OWN_CONSUMER, Protocol, Subscribe, shared_consumer,
};
use super::core::Ask;
use super::news::is_told;
use super::now;
use super::outbox::{Meter, Subscriber};
use super::placing::{Landing, Placed};
use super::settings::{own_queue_name, shared_queue_name};
use crate::engine::address::{Address, AddressLimits, Filter};
use crate::engine::{ConsumerId, RetainedPage};
use crate::message::NewMessage;
use crate::refusal::Refusal;

/// Deliveries that may wait for a client when it is told of more that is retained.
const FEW_PARCELS: usize = 64;
/// How often a group's queue is made anew, where the last one went just then.
const TRIES_MAX: u32 = 8;

/// The session's id of an MQTT client: the same for ever, and nobody else's in any realm.
///
/// A name-based UUID with SHA-256 (version 8, RFC 9562 appendix B.2).
pub fn client_session(realm: &str, client: &str) -> Uuid {
    /// The namespace: made once, at random.
    const NAMESPACE: Uuid = Uuid::from_u128(0x5a0c_6f0e_9d1b_4c54_8a52_b1f2_6b0f_3c77);
    let mut hash = Sha256::new();
    hash.update(NAMESPACE.as_bytes());
    // No realm has a zero byte in its name.
    for part in [realm.as_bytes(), b"\0", client.as_bytes()] {
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// About how many bytes a subscription has in the record of its session; a shared one also has a consumer there.
fn weight(share: &str, filter: &str) -> usize {
    /// Numbers, and the fields' own.
    const REST: usize = 40;
    let one = share.len() + filter.len() + REST;
    if share.is_empty() { one } else { 2 * one }
}

/// Whether there are any, and none wants what its session sends itself.
pub(super) fn are_all_no_local<'a>(mut matching: impl Iterator<Item = &'a Subscription>) -> bool {
    let first = matching.next();
    first.is_some_and(|it| it.no_local) && matching.all(|it| it.no_local)
}

/// What an attachment knows of an MQTT session.
#[derive(Debug)]
pub(super) struct Mqtt {
    /// The client's id.
    pub(super) client: Arc<str>,
    subscriptions: Vec<Known>,
    listener: Option<Arc<Subscriber>>,
    /// The session's own queue.
    own: Option<QueueId>,
    /// Subscriptions that do not want what the session sends itself.
    n_no_local: usize,
    /// What the listener was made to hear of for a call that has not begun its subscription yet: its tag, and the filter.
    ahead: Option<(u64, Filter)>,
    /// How often a queue was made for the call at hand.
    tries: u32,
    /// The call for which a message may be retained, past the limit, in place of another.
    room_for: u64,
    /// Of a subscription that begins: what is retained comes to the own queue.
    recall: Option<Recalling>,
    /// Of subscriptions that have begun: what is retained is told to the listener.
    telling: VecDeque<Telling>,
    /// Whether the core was asked for the first one's next page.
    asked: bool,
}

/// How far a subscription's call has got with what is retained.
#[derive(Debug)]
struct Recalling {
    tag: u64,
    filter: Filter,
    after: Option<Arc<str>>,
    /// What the core has listed, and is not written.
    page: Option<RetainedPage>,
    is_last: bool,
}

/// How far a listener has been told of what is retained.
#[derive(Debug)]
struct Telling {
    filter: Filter,
    after: Option<Arc<str>>,
}

#[derive(Debug)]
struct Known {
    it: Subscription,
    filter: Filter,
}

impl Mqtt {
    /// For a client that speaks MQTT.
    pub(super) fn new(wish: &Attach) -> Option<Box<Mqtt>> {
        let client = wish.client.as_ref();
        let client = client.filter(|_| wish.protocol == Protocol::Mqtt)?;
        Some(Box::new(Mqtt {
            client: Arc::clone(client),
            subscriptions: Vec::new(),
            listener: None,
            own: None,
            n_no_local: 0,
            ahead: None,
            tries: 0,
            room_for: 0,
            recall: None,
            telling: VecDeque::new(),
            asked: false,
        }))
    }

    fn find(&self, share: &str, filter: &str) -> Option<usize> {
        let mut known = self.subscriptions.iter();
        known.position(|known| known.it.share == share && known.it.filter == filter)
    }

    fn set(&mut self, it: Subscription, filter: Filter) {
        let known = Known { it, filter };
        match self.find(&known.it.share, &known.it.filter) {
            Some(at) => {
                if let Some(place) = self.subscriptions.get_mut(at) {
                    *place = known;
                }
            }
            None => self.subscriptions.push(known),
        }
        self.count_no_local();
    }

    /// About how many bytes its subscriptions have where a session is written down whole.
    fn weight(&self) -> usize {
        let weights = self.subscriptions.iter();
        weights.map(|it| weight(&it.it.share, &it.it.filter)).sum()
    }

    fn count_no_local(&mut self) {
        let no_local = self.subscriptions.iter().filter(|known| known.it.no_local);
        self.n_no_local = no_local.count();
    }

    /// The listener is to be told of what is retained and matches.
    fn tell(&mut self, filter: Filter) {
        // The first of them may be under way, and must begin anew then.
        if self.telling.iter().skip(1).all(|it| it.filter != filter) {
            let after = None;
            self.telling.push_back(Telling { filter, after });
        }
    }

    /// Whether all that the session subscribes to and that matches does not want what it sends itself.
    fn keeps_from_itself(&self, address: &Address) -> bool {
        let own = self.subscriptions.iter();
        let matching =
            own.filter(|known| known.it.share.is_empty() && known.filter.matches(address));
        are_all_no_local(matching.map(|known| &known.it))
    }

    pub(super) fn state(&self, whole: Option<&DefineSession>) -> MqttState {
        let packets = |ids: &[u32]| -> Vec<u16> {
            let ids = ids.iter().copied();
            ids.filter_map(|id| u16::try_from(id).ok()).collect()
        };
        let known = self.subscriptions.iter();
        MqttState {
            kept: whole.is_some(),
            subscriptions: known.map(|known| known.it.clone()).collect(),
            received: whole.map_or_else(Vec::new, |it| packets(&it.received)),
            releasing: whole.map_or_else(Vec::new, |it| packets(&it.releasing)),
        }
    }

    /// Filters that the listener hears of.
    fn heard(&self) -> Vec<Filter> {
        let heard = self.subscriptions.iter();
        let heard = heard.filter(|known| known.it.share.is_empty());
        let heard = heard.map(|known| &known.filter);
        let ahead = self.ahead.iter().map(|(_, filter)| filter);
        heard.chain(ahead).cloned().collect()
    }
}

impl Attachment {
    /// The client's id, where its protocol has one.
    pub(super) fn client(&self) -> Option<&str> {
        self.mqtt.as_ref().map(|mqtt| &*mqtt.client)
    }

    /// What a durable MQTT session goes on with.
    pub(super) fn resume_mqtt(
        &mut self,
        whole: &DefineSession,
        listener: Option<Arc<Subscriber>>,
    ) -> Option<MqttState> {
        let mqtt = self.mqtt.as_mut()?;
        mqtt.own = (whole.queue > 0).then(|| QueueId::new(whole.queue));
        for it in &whole.subscriptions {
            // Checked when it began, against the limits of that day.
            if let Ok(filter) = Filter::parse(&it.filter, AddressLimits::CEILING) {
                mqtt.set(it.clone(), filter);
            }
        }
        let state = mqtt.state(Some(whole));
        if let Some(listener) = listener {
            self.listen(listener);
        }
        Some(state)
    }

    /// It has a listener from now on.
    fn listen(&mut self, listener: Arc<Subscriber>) {
        let Some(mqtt) = self.mqtt.as_mut() else {
            return;
        };
        if let Some(own) = mqtt.own {
            listener.stands_beside(own);
        }
        if mqtt.listener.is_none() {
            mqtt.listener = Some(Arc::clone(&listener));
            let kind = ConsumerKind::Listener {
                subscriber: listener,
            };
            self.add(LISTENER.into(), kind, true, u64::MAX);
        }
    }

    /// The listener hears of nothing any more.
    pub(super) fn shut_listener(&self, listener: &Arc<Subscriber>) {
        let filters = self.mqtt.as_ref().map_or_else(Vec::new, |it| it.heard());
        self.unlisten(filters, listener, None);
    }

    /// `tag`: of the call that waits for it.
    fn unlisten(&self, filters: Vec<Filter>, listener: &Arc<Subscriber>, tag: Option<u64>) {
        self.shared.ask(Ask::Unlisten {
            realm: Arc::clone(&self.realm),
            filters,
            listener: Arc::clone(listener),
            answer: tag.map(|tag| (Arc::clone(&self.outbox), tag)),
        });
    }

    /// Subscribes, once all that it takes is there.
    pub(super) fn subscribe(&mut self, tag: u64, wish: &Subscribe) -> Outcome {
        let outcome = self.try_to_subscribe(tag, wish);
        if matches!(outcome, Outcome::Refused(_)) {
            self.unhear(tag);
        }
        outcome
    }

    /// For so many bytes of subscriptions there is room in the record that a session is written down with, beside all else; and in
    /// that of its own queue, which has their filters.
    fn room(&self) -> usize {
        self.shared.log().limits().record_bytes_max / 2
    }

    /// That call is refused after all: the listener does not hear of its filter any more.
    pub(super) fn unhear(&mut self, tag: u64) {
        let Some(mqtt) = self.mqtt.as_mut() else {
            return;
        };
        let Some((_, filter)) = mqtt.ahead.take_if(|(of, _)| *of == tag) else {
            return;
        };
        if let Some(listener) = mqtt.listener.clone() {
            self.unlisten(vec![filter], &listener, None);
        }
    }

    fn try_to_subscribe(&mut self, tag: u64, wish: &Subscribe) -> Outcome {
        let share = wish.share.as_deref().unwrap_or_default();
        let Some(mqtt) = &self.mqtt else {
            return Outcome::Refused(Refusal::Unsupported);
        };
        if mqtt.recall.as_ref().is_some_and(|it| it.tag == tag) {
            return self.go_on_recalling();
        }
        let is_known = mqtt.find(share, &wish.filter).is_some();
        let is_full = mqtt.subscriptions.len() >= self.shared.settings.mqtt.subscriptions_max
            || self.session.is_some() && mqtt.weight() + weight(share, &wish.filter) > self.room();
        let Ok(filter) = Filter::parse(&wish.filter, self.shared.settings.address) else {
            return Outcome::Refused(Refusal::BadFilter);
        };
        if !self.may_listen(&filter) {
            return Outcome::Refused(Refusal::Denied);
        }
        if wish.share.is_some() && is_told(filter.as_str()) {
            // No queue has them.
            return Outcome::Refused(Refusal::BadFilter);
        }
        if !is_known && (is_full || self.makes_too_many_shapes(&filter)) {
            return Outcome::Refused(Refusal::TooMany);
        }
        let missing = match &wish.share {
            Some(group) => self.lacks_of_group(tag, group, &wish.filter),
            None => self.lacks_of_its_own(tag, wish.qos, &filter),
        };
        if let Some(outcome) = missing {
            return outcome;
        }
        self.begin_subscription(tag, wish, filter)
    }

    /// Whether matching would cost too much with that filter, whoever binds it to what.
    pub(super) fn makes_too_many_shapes(&self, filter: &Filter) -> bool {
        let routes = self.shared.routes.load();
        let bound = routes.queues.get(&self.realm).map(|it| &it.bindings);
        let heard = routes.topics.get(&self.realm);
        bound.is_some_and(|it| it.shapes_with(filter) > SHAPES_MAX)
            || heard.is_some_and(|it| it.shapes_with(filter) > SHAPES_MAX)
    }

    /// What a subscription of the session's own still lacks: what becomes of it then; none: nothing.
    fn lacks_of_its_own(&mut self, tag: u64, qos: u8, filter: &Filter) -> Option<Outcome> {
        if let (Some(session), 1..) = (self.session, qos) {
            let own = self.mqtt.as_ref().and_then(|mqtt| mqtt.own);
            let Some(own) = own.or_else(|| self.find_own_queue(session)) else {
                return Some(self.make_own_queue(tag, session));
            };
            if !self.has_consumer_named(OWN_CONSUMER) {
                return Some(self.ask_consumer(tag, OWN_CONSUMER.into(), own, false));
            }
        }
        let mqtt = self.mqtt.as_mut()?;
        let is_ahead = mqtt.ahead.as_ref().is_some_and(|(of, _)| *of == tag);
        if is_ahead || mqtt.find("", filter.as_str()).is_some() {
            return None;
        }
        let listener = mqtt.listener.clone();
        self.shared.ask(Ask::Listen {
            realm: Arc::clone(&self.realm),
            filter: filter.clone(),
            listener,
            outbox: Arc::clone(&self.outbox),
            tag,
        });
        self.await_answer();
        Some(Outcome::Waits)
    }

    /// The session's own queue, once it is in the routes.
    fn find_own_queue(&mut self, session: SessionNo) -> Option<QueueId> {
        let mqtt = self.mqtt.as_mut()?;
        let name = own_queue_name(&mqtt.client);
        let routes = self.shared.routes.load();
        let handle = routes.queues.get(&self.realm)?.names.get(&*name)?;
        let owner = handle.def.as_ref().map(|def| def.session);
        let own = (owner == Some(session.get())).then_some(handle.id)?;
        mqtt.own = Some(own);
        if let Some(listener) = &mqtt.listener {
            listener.stands_beside(own);
        }
        Some(own)
    }

    fn make_own_queue(&mut self, tag: u64, session: SessionNo) -> Outcome {
        if self.declared_for == tag {
            // The session has ended meanwhile, and with it the reason for a queue.
            return Outcome::Refused(Refusal::NoRoute);
        }
        let client = self.mqtt.as_ref().map(|mqtt| Arc::clone(&mqtt.client));
        let client = client.unwrap_or_default();
        let settings = &self.shared.settings.mqtt;
        let def = settings.own_queue(&self.realm, &client, session);
        self.declare_queue(tag, &def)
    }

    /// As [`lacks_of_its_own`](Self::lacks_of_its_own), of a shared one.
    fn lacks_of_group(&mut self, tag: u64, group: &str, filter: &str) -> Option<Outcome> {
        let consumer = shared_consumer(group, filter);
        if self.has_consumer_named(&consumer) {
            return None;
        }
        let name = shared_queue_name(group, filter);
        let routes = self.shared.routes.load();
        let realm = routes.queues.get(&self.realm);
        let handle = realm.and_then(|realm| realm.names.get(&*name));
        Some(match handle.map(|handle| handle.id) {
            Some(queue) => self.ask_consumer(tag, consumer.into(), queue, false),
            None => self.make_shared_queue(tag, group, filter),
        })
    }

    fn make_shared_queue(&mut self, tag: u64, group: &str, filter: &str) -> Outcome {
        let tries = self.mqtt.as_mut().map_or(TRIES_MAX, |mqtt| {
            mqtt.tries += 1;
            mqtt.tries
        });
        if tries > TRIES_MAX || self.shared.room_for_queues(&self.realm) == 0 {
            return Outcome::Refused(Refusal::TooMany);
        }
        let settings = &self.shared.settings.mqtt;
        let def = settings.shared_queue(&self.realm, group, filter);
        self.declare_queue(tag, &def)
    }

    /// The queue that a group shares has gone just then: another one is made.
    pub(super) fn try_again_shared(&mut self, tag: u64, wish: &Subscribe) -> Option<Outcome> {
        let group = wish.share.as_deref()?;
        Some(self.make_shared_queue(tag, group, &wish.filter))
    }

    fn declare_queue(&mut self, tag: u64, def: &payload::DefineQueue) -> Outcome {
        // A session's own queue is bounded by the number of sessions.
        let reserved = match def.session {
            0 => self.shared.reserve_queues(&self.realm, &[&def.name]),
            _ => self.shared.reserve_in_any_case(&self.realm, &def.name),
        };
        self.define_queues(tag, reserved, std::slice::from_ref(def), Refusal::BadFilter)
    }

    /// The core has made a consumer that a subscription needs.
    pub(super) fn subscription_consumes(
        &mut self,
        wish: &Subscribe,
        id: ConsumerId,
        queue: QueueId,
        meter: Meter,
    ) {
        let name = match &wish.share {
            Some(group) => shared_consumer(group, &wish.filter),
            None => OWN_CONSUMER.to_owned(),
        };
        let kind = ConsumerKind::Queue {
            id,
            queue,
            // Its subscriptions are looked at, and not their queues.
            address: None,
            filter: None,
            meter,
        };
        self.add(name.into(), kind, false, 0);
    }

    /// The core has made the listener hear of a filter more.
    pub(super) fn subscription_listens(
        &mut self,
        tag: u64,
        wish: &Subscribe,
        listener: Arc<Subscriber>,
    ) {
        let filter = Filter::parse(&wish.filter, self.shared.settings.address);
        if let (Some(mqtt), Ok(filter)) = (self.mqtt.as_mut(), filter) {
            mqtt.ahead = Some((tag, filter));
        }
        self.listen(listener);
    }

    fn begin_subscription(&mut self, tag: u64, wish: &Subscribe, filter: Filter) -> Outcome {
        let consumer = wish
            .share
            .as_ref()
            .and_then(|group| self.queue_of(&shared_consumer(group, &wish.filter)));
        let it = Subscription {
            filter: wish.filter.clone(),
            qos: u32::from(wish.qos),
            no_local: wish.no_local,
            retain_as_published: wish.retain_as_published,
            retain_handling: u32::from(wish.retain_handling),
            id: wish.id,
            share: wish.share.clone().unwrap_or_default(),
            queue: consumer.map_or(0, QueueId::get),
        };
        let Some(mqtt) = self.mqtt.as_mut() else {
            return Outcome::Refused(Refusal::Unsupported);
        };
        mqtt.tries = 0;
        // From here on it is among the subscriptions.
        mqtt.ahead = None;
        let is_new = mqtt.find(&it.share, &it.filter).is_none();
        let wants_retained = it.share.is_empty()
            && match wish.retain_handling {
                0 => true,
                1 => is_new,
                _ => false,
            };
        mqtt.set(it.clone(), filter.clone());
        let comes_to_queue = self.session.is_some() && wish.qos > 0;
        if wants_retained && comes_to_queue {
            mqtt.recall = Some(Recalling {
                tag,
                filter: filter.clone(),
                after: None,
                page: None,
                is_last: false,
            });
        } else if wants_retained {
            mqtt.tell(filter.clone());
        }
        if wants_retained && let Some(listener) = &mqtt.listener {
            self.shared.tell_new_listener(&filter, listener);
        }
        if self.session.is_none() {
            return Outcome::Done;
        }
        let record = payload::Subscribe {
            set: Some(it),
            queue: self.own_queue(),
            ..payload::Subscribe::default()
        };
        self.push(tag, Kind::Subscribe, &record);
        if wants_retained && comes_to_queue {
            // Only when the queue is bound: what is retained from then on comes live.
            return self.again();
        }
        Outcome::Logged
    }

    /// A subscription's record is applied: what is retained comes to the own queue, page by page, as far as that has room.
    fn go_on_recalling(&mut self) -> Outcome {
        let (Some(session), Some(mqtt)) = (self.session, self.mqtt.as_mut()) else {
            return Outcome::Refused(Refusal::Unsupported);
        };
        let own = mqtt.own.unwrap_or_default();
        let Some(mut recall) = mqtt.recall.take() else {
            return Outcome::Done;
        };
        if mqtt.find("", recall.filter.as_str()).is_none() {
            // The right to it is gone since.
            self.shared.ask(Ask::LeaveRecall(session));
            return Outcome::Refused(Refusal::Denied);
        }
        if let Some(page) = recall.page.take() {
            (recall.after, recall.is_last) = (page.next.clone(), page.next.is_none());
            if !page.found.is_empty() {
                mqtt.recall = Some(recall);
                self.push_recall(session, own, page.as_of, &page.found);
                return self.again();
            }
        }
        if recall.is_last {
            return Outcome::Done;
        }
        let routes = self.shared.routes.load();
        let realm = routes.queues.get(&self.realm);
        let queue = realm.and_then(|realm| realm.numbers.get(&own));
        if queue.is_none_or(|queue| queue.is_full()) {
            tracing::info!(
                realm = &*self.realm,
                client = self.client(),
                filter = recall.filter.as_str(),
                "the session is full: it is told of no more that is retained"
            );
            return Outcome::Done;
        }
        self.shared.ask(Ask::Retained {
            session,
            realm: Arc::clone(&self.realm),
            filter: recall.filter.clone(),
            after: recall.after.clone(),
            outbox: Arc::clone(&self.outbox),
            tag: recall.tag,
        });
        if let Some(mqtt) = self.mqtt.as_mut() {
            mqtt.recall = Some(recall);
        }
        self.await_answer();
        Outcome::Waits
    }

    /// The core has listed what is retained: the call is tried again, and finds it.
    pub(super) fn has_listed(&mut self, page: RetainedPage) {
        let recall = self.mqtt.as_mut().and_then(|mqtt| mqtt.recall.as_mut());
        if let Some(recall) = recall {
            recall.page = Some(page);
        }
    }

    fn push_recall(&mut self, session: SessionNo, own: QueueId, as_of: Lsn, found: &[Recalled]) {
        let record = payload::Recall {
            session: session.get(),
            realm: self.realm.to_string(),
            as_of: as_of.get(),
            messages: found.to_vec(),
        };
        let targets = vec![own; found.len()];
        let draft = Draft {
            targets: &targets,
            ..Draft::new(Kind::Recall, now(), &record)
        };
        if let Err(refused) = self.push_draft(0, &draft) {
            // Very long addresses in very short segments.
            let (first, second) = found.split_at(found.len() / 2);
            if first.is_empty() {
                tracing::error!(%refused, "a record that must fit did not");
                return;
            }
            self.push_recall(session, own, as_of, first);
            self.push_recall(session, own, as_of, second);
        }
    }

    /// The listener was told of a page of what is retained.
    pub(super) fn has_told(&mut self, next: Option<Arc<str>>) {
        if let Some(wamp) = self.wamp.as_mut() {
            wamp.telling.has_told(next);
            return;
        }
        let Some(mqtt) = self.mqtt.as_mut() else {
            return;
        };
        mqtt.asked = false;
        match (next, mqtt.telling.front_mut()) {
            (Some(next), Some(telling)) => telling.after = Some(next),
            _ => drop(mqtt.telling.pop_front()),
        }
    }

    /// Whether [`go_on_telling`](Self::go_on_telling) has something to do: a page that was told while the client took no deliveries
    /// has nobody ring for the next one.
    pub(super) fn has_to_go_on_telling(&self) -> bool {
        let wamps = self.wamp.as_ref().is_some_and(|it| !it.telling.is_idle());
        let is_due = wamps
            || self
                .mqtt
                .as_ref()
                .is_some_and(|it| !it.asked && !it.telling.is_empty() && it.listener.is_some());
        is_due && self.outbox.put(|waiting| waiting.parcels.len()) <= FEW_PARCELS
    }

    /// Asks for more of what is retained for the listener, once little waits for the client.
    pub(super) fn go_on_telling(&mut self) {
        if let Some(wamp) = self.wamp.as_mut() {
            let is_idle = wamp.telling.is_idle();
            if is_idle || self.outbox.put(|waiting| waiting.parcels.len()) > FEW_PARCELS {
                return;
            }
            let listens = |it: &Subscriber| is_consumer(&self.consumers, it);
            if let Some((listener, filter, after)) = wamp.telling.next(listens) {
                self.shared.ask(Ask::Tell {
                    realm: Arc::clone(&self.realm),
                    filter,
                    after,
                    listener,
                });
            }
            return;
        }
        let Some(mqtt) = self.mqtt.as_mut() else {
            return;
        };
        if mqtt.asked || mqtt.telling.is_empty() {
            return;
        }
        while let Some(next) = mqtt.telling.front()
            && mqtt.find("", next.filter.as_str()).is_none()
        {
            mqtt.telling.pop_front();
        }
        let (Some(next), Some(listener)) = (mqtt.telling.front(), &mqtt.listener) else {
            return;
        };
        if self.outbox.put(|waiting| waiting.parcels.len()) > FEW_PARCELS {
            return;
        }
        self.shared.ask(Ask::Tell {
            realm: Arc::clone(&self.realm),
            filter: next.filter.clone(),
            after: next.after.clone(),
            listener: Arc::clone(listener),
        });
        mqtt.asked = true;
    }

    /// Whether a message may be retained, as far as the limit goes: what becomes of its call if that is not known or not so.
    pub(super) fn lacks_room_to_retain(
        &mut self,
        tag: u64,
        message: &NewMessage,
        address: &Address,
    ) -> Option<Outcome> {
        let n_retained = self.shared.n_retained.load(Ordering::Relaxed);
        let has_room = n_retained < self.shared.settings.mqtt.retained_max;
        let asked = self.mqtt.as_ref().is_some_and(|it| it.room_for == tag);
        if self.shared.is_disk_full() {
            return Some(Outcome::Refused(Refusal::Full));
        }
        if has_room || asked || message.body.is_empty() {
            return None;
        }
        self.shared.ask(Ask::HasRetained {
            realm: Arc::clone(&self.realm),
            address: address.as_str().to_owned(),
            outbox: Arc::clone(&self.outbox),
            tag,
        });
        self.await_answer();
        Some(Outcome::Waits)
    }

    /// It replaces another one. The call is tried again.
    pub(super) fn has_room_to_retain(&mut self, tag: u64) {
        if let Some(mqtt) = self.mqtt.as_mut() {
            mqtt.room_for = tag;
        }
    }

    /// The session's own queue, as records name it.
    pub(super) fn own_queue(&self) -> u64 {
        let own = self.mqtt.as_ref().and_then(|mqtt| mqtt.own);
        own.map_or(0, QueueId::get)
    }

    /// Ends a subscription.
    pub(super) fn unsubscribe(&mut self, tag: u64, filter: &str, share: Option<&str>) -> Outcome {
        let share = share.unwrap_or_default();
        // Where there is a record, what is asked before is done before that is applied.
        let hears = self.mqtt.as_ref().is_some_and(|it| it.listener.is_some());
        let waits = hears && self.session.is_none() && share.is_empty();
        if !self.drop_subscription(share, filter, waits.then_some(tag)) {
            return Outcome::Refused(Refusal::NoSuchSubscription);
        }
        if waits {
            self.await_answer();
            return Outcome::Waits;
        }
        if self.session.is_none() {
            return Outcome::Done;
        }
        let record = payload::Subscribe {
            removed_filter: filter.to_owned(),
            removed_share: share.to_owned(),
            queue: self.own_queue(),
            ..payload::Subscribe::default()
        };
        self.push(tag, Kind::Subscribe, &record);
        Outcome::Logged
    }

    /// All of a subscription but its record goes; whether there was one. `tag`: of the call that waits until nothing more
    /// comes of one that is not shared.
    fn drop_subscription(&mut self, share: &str, filter: &str, tag: Option<u64>) -> bool {
        let Some(mqtt) = self.mqtt.as_mut() else {
            return false;
        };
        let Some(at) = mqtt.find(share, filter) else {
            return false;
        };
        let known = mqtt.subscriptions.remove(at);
        mqtt.count_no_local();
        if share.is_empty() {
            if let Some(listener) = mqtt.listener.clone() {
                self.unlisten(vec![known.filter], &listener, tag);
            }
        } else if let Some(consumer) = self.remove_consumer(&shared_consumer(share, filter)) {
            self.shut(&consumer);
        }
        true
    }

    /// Subscriptions that the client may not have any more end. The session hears of it ahead of all deliveries, so that
    /// none of what is on its way goes out any more; the client does not: MQTT has no packet for that.
    pub(super) fn lose_subscriptions(&mut self, allowed: impl Fn(&Self, &str) -> bool) {
        let known = self.mqtt.iter().flat_map(|mqtt| &mqtt.subscriptions);
        let lost: Vec<(String, String)> = known
            .filter(|known| !allowed(self, &known.it.filter))
            .map(|known| (known.it.share.clone(), known.it.filter.clone()))
            .collect();
        for (share, filter) in lost {
            tracing::info!(
                realm = &*self.realm,
                principal = &*self.principal.name,
                client = self.client(),
                filter,
                share,
                "the right to consume is gone: the subscription ends"
            );
            self.drop_subscription(&share, &filter, None);
            self.shared.stats.refused(self.protocol, Refusal::Denied);
            self.say_unsubscribed(&share, &filter, self.begun(&share, &filter));
            if let Some(session) = self.session {
                let record = payload::Subscribe {
                    removed_filter: filter,
                    removed_share: share,
                    session: session.get(),
                    queue: self.own_queue(),
                    ..payload::Subscribe::default()
                };
                self.push(0, Kind::Subscribe, &record);
            }
        }
    }

    /// The call that has begun a subscription and waits for what is retained of it.
    pub(super) fn begun(&self, share: &str, filter: &str) -> Option<u64> {
        let recall = self.mqtt.as_ref()?.recall.as_ref()?;
        (share.is_empty() && recall.filter.as_str() == filter).then_some(recall.tag)
    }

    /// A packet id needs no longer be remembered.
    pub(super) fn forget(&mut self, tag: u64, advance: &Advance) -> Outcome {
        if self.mqtt.is_none() {
            return Outcome::Refused(Refusal::Unsupported);
        }
        if self.session.is_none() {
            return Outcome::Done;
        }
        self.push(tag, Kind::Advance, advance);
        Outcome::Logged
    }

    /// Publishes. The packet id of one with QoS 2 is to be remembered even where nobody keeps the message.
    pub(super) fn publish_mqtt(&mut self, tag: u64, message: &NewMessage) -> Outcome {
        let outcome = self.publish(tag, message);
        let remember = self.session.is_some() && message.packet > 0;
        if !remember || !matches!(outcome, Outcome::Done) {
            return outcome;
        }
        let received = u32::from(message.packet);
        let advance = Advance {
            received,
            ..Advance::default()
        };
        self.push(tag, Kind::Advance, &advance);
        Outcome::Logged
    }

    /// Its own session is left out where all its subscriptions that match are no-local ones.
    pub(super) fn leave_out_own(&self, placed: &mut Placed) {
        let Some(mqtt) = self.mqtt.as_ref().filter(|mqtt| mqtt.n_no_local > 0) else {
            return;
        };
        let (Placed::Lands(landings) | Placed::Makes { landings, .. }) = placed else {
            return;
        };
        let limits = self.shared.settings.address;
        for Landing { address, takers } in landings {
            let parsed = Address::parse(address, limits);
            if parsed.is_ok_and(|address| mqtt.keeps_from_itself(&address)) {
                takers.leave_out_own(mqtt.own, mqtt.listener.as_deref());
            }
        }
    }
}
