//! SUBSCRIBE and UNSUBSCRIBE: a call for each filter, one answer for all; and which subscriptions a delivery is for
//! (MQTT 5.0 §3.8 to §3.11, §3.3.4).
//!
//! A subscription counts from its call on, as its first messages may come before its confirmation; it is taken back if the
//! broker refuses it. One that ends counts until that is confirmed; one whose right is gone, no longer.

use std::collections::VecDeque;
use std::sync::Arc;

use restante_proto::mqtt::{
    AckProperties, Packet, PacketId, Qos, ReasonCode, Str, Suback, Subscribe, Subscription,
    SubscriptionId, Unsuback, Unsubscribe, parse_filter,
};
use restante_storage::payload;
use rustc_hash::FxHashMap;

use super::calls::Waits;
use super::deliver::Origin;
use super::{Session, reasons, topic};
use crate::broker::{self, Call, shared_consumer};
use crate::refusal::Refusal;

/// What a subscription means for its deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) qos: Qos,
    id: Option<SubscriptionId>,
    retain_as_published: bool,
    /// The tag of its call; 0: it was there before this connection.
    tag: u64,
}

/// What names a subscription: its filter in our spelling, and who shares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) filter: String,
    pub(super) share: Option<String>,
}

impl Key {
    /// The session's name for the consumer of a shared one.
    pub(super) fn consumer(&self) -> Option<Arc<str>> {
        let share = self.share.as_deref()?;
        Some(shared_consumer(share, &self.filter).into())
    }
}

/// The subscriptions of a session.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    /// Those without wildcards, by their address.
    exact: FxHashMap<Box<str>, Granted>,
    /// Those with wildcards.
    wild: Vec<(Box<str>, Granted)>,
    /// Shared ones, by the name of their consumer.
    shared: FxHashMap<Arc<str>, Granted>,
}

/// What matches a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Matching {
    /// The highest QoS that is granted.
    pub(super) qos: Qos,
    /// The identifiers, each once, ascending.
    pub(super) ids: Vec<SubscriptionId>,
    /// Whether any of them wants RETAIN as it was sent.
    pub(super) retain_as_published: bool,
}

impl Subscriptions {
    /// Goes on with what a durable session has.
    pub(super) fn resume(&mut self, subscriptions: &[payload::Subscription]) {
        for it in subscriptions {
            let share = (!it.share.is_empty()).then(|| it.share.clone());
            let filter = it.filter.clone();
            let qos = u8::try_from(it.qos).ok().and_then(Qos::from_u8);
            let granted = Granted {
                qos: qos.unwrap_or_default(),
                id: SubscriptionId::new(it.id),
                retain_as_published: it.retain_as_published,
                tag: 0,
            };
            self.set(&Key { filter, share }, Some(granted));
        }
    }

    fn n(&self) -> usize {
        self.exact.len() + self.wild.len() + self.shared.len()
    }

    /// The consumers of shared ones.
    pub(super) fn consumers(&self) -> impl Iterator<Item = &Arc<str>> {
        self.shared.keys()
    }

    /// Puts what is granted for `key`, or nothing; gives what there was.
    fn set(&mut self, key: &Key, granted: Option<Granted>) -> Option<Granted> {
        let filter = key.filter.as_str();
        match (key.consumer(), granted) {
            (Some(name), Some(granted)) => self.shared.insert(name, granted),
            (Some(name), None) => self.shared.remove(&name),
            (None, _) if is_wild(filter) => self.set_wild(filter, granted),
            (None, Some(granted)) => self.exact.insert(filter.into(), granted),
            (None, None) => self.exact.remove(filter),
        }
    }

    fn set_wild(&mut self, filter: &str, granted: Option<Granted>) -> Option<Granted> {
        let at = self.wild.iter().position(|(it, _)| **it == *filter);
        match (at, granted) {
            (Some(at), Some(granted)) => {
                let (_, known) = self.wild.get_mut(at)?;
                Some(std::mem::replace(known, granted))
            }
            (Some(at), None) => Some(self.wild.swap_remove(at).1),
            (None, Some(granted)) => {
                self.wild.push((filter.into(), granted));
                None
            }
            (None, None) => None,
        }
    }

    /// What there is of that key.
    fn get(&self, key: &Key) -> Option<Granted> {
        let filter = key.filter.as_str();
        let wild = || self.wild.iter().find(|(it, _)| **it == *filter);
        match key.consumer() {
            Some(name) => self.shared.get(&name).copied(),
            None if is_wild(filter) => wild().map(|(_, granted)| *granted),
            None => self.exact.get(filter).copied(),
        }
    }

    /// Those that a message to `address` from `origin` is for; none if there is none (any more).
    pub(super) fn matching(&self, origin: &Origin, address: &str) -> Option<Matching> {
        if let Origin::Shared(name) = origin {
            let granted = self.shared.get(name)?;
            return Some(Matching {
                qos: granted.qos,
                ids: granted.id.into_iter().collect(),
                retain_as_published: granted.retain_as_published,
            });
        }
        let mut matching: Option<Matching> = None;
        let wild = self.wild.iter();
        let wild = wild.filter_map(|(filter, it)| matches(filter, address).then_some(it));
        for granted in self.exact.get(address).into_iter().chain(wild) {
            let matching = matching.get_or_insert_default();
            matching.qos = matching.qos.max(granted.qos);
            matching.ids.extend(granted.id);
            matching.retain_as_published |= granted.retain_as_published;
        }
        if let Some(matching) = &mut matching {
            matching.ids.sort_unstable();
            matching.ids.dedup();
        }
        matching
    }
}

/// Whether a message to `address` from `origin` is one for `key`.
pub(super) fn is_for(key: &Key, origin: &Origin, address: &str) -> bool {
    match (origin, key.consumer()) {
        (Origin::Shared(name), Some(consumer)) => *name == consumer,
        (Origin::Own | Origin::Listener, None) => matches(&key.filter, address),
        _ => false,
    }
}

/// Whether a filter without a `$share` has a wildcard: what else is `+` or `#` is escaped.
fn is_wild(filter: &str) -> bool {
    filter.contains(['+', '#'])
}

/// As [`Filter::matches`](crate::engine::address::Filter::matches), on texts that were checked.
fn matches(filter: &str, address: &str) -> bool {
    if filter.starts_with(['+', '#']) && address.starts_with(['$', '~']) {
        return false;
    }
    let mut segments = address.split('/');
    for wanted in filter.split('/') {
        let found = match wanted {
            "#" => return true,
            "+" => segments.next().is_some(),
            literal => segments.next() == Some(literal),
        };
        if !found {
            return false;
        }
    }
    segments.next().is_none()
}

/// One filter's part in an answer.
#[derive(Debug)]
pub(super) struct Change {
    /// Its place among the codes.
    at: usize,
    key: Key,
    kind: ChangeKind,
}

#[derive(Debug)]
enum ChangeKind {
    /// It is subscribed to, in place of what there was.
    Subscribe(Granted, Option<Granted>),
    /// It ends, if its call is older than the one with that tag.
    Unsubscribe(u64),
}

/// Answers that are being filled in: the codes of the first are next.
#[derive(Debug, Default)]
pub(super) struct Codes(VecDeque<CodesOf>);

#[derive(Debug)]
struct CodesOf {
    id: PacketId,
    unsubscribe: bool,
    reasons: Vec<ReasonCode>,
    /// Why the first that was refused was.
    why: &'static str,
}

impl Session {
    pub(super) fn subscribe(&mut self, subscribe: Subscribe) {
        let id = subscribe.properties.subscription_id;
        let mut codes = CodesOf {
            id: subscribe.packet_id,
            unsubscribe: false,
            reasons: Vec::with_capacity(subscribe.subscriptions.len()),
            why: "",
        };
        let in_use = self.is_v5() && self.inbound.is_in_use(subscribe.packet_id);
        for (at, subscription) in subscribe.subscriptions.iter().enumerate() {
            let (reason, why) = if in_use {
                (
                    ReasonCode::PacketIdInUse,
                    "a publish has this packet identifier",
                )
            } else {
                match self.subscribe_one(subscription, id, at) {
                    Ok(granted) => (granted.qos.granted(), ""),
                    Err(reason) => reason,
                }
            };
            codes.tell(reason, why);
        }
        self.answer_with(codes);
    }

    fn subscribe_one(
        &mut self,
        subscription: &Subscription,
        id: Option<SubscriptionId>,
        at: usize,
    ) -> Result<Granted, reasons::Reason> {
        let key = self.key(&subscription.filter)?;
        let qos = match &key.share {
            // What a member has received of it and not completed could not go to another one.
            Some(_) => subscription.qos.min(Qos::AtLeastOnce),
            None => subscription.qos,
        };
        let is_new = self.subscriptions.get(&key).is_none();
        if is_new && self.subscriptions.n() >= self.settings.subscriptions_max {
            let why = "too many subscriptions: end some, or an administrator may raise the limit";
            return Err((ReasonCode::QuotaExceeded, why));
        }
        let call = Call::Subscribe(broker::Subscribe {
            filter: key.filter.clone(),
            share: key.share.clone(),
            qos: qos as u8,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            retain_handling: subscription.retain_handling as u8,
            id: id.map_or(0, SubscriptionId::get),
        });
        let tag = self.calls.next();
        let granted = Granted {
            qos,
            id,
            retain_as_published: subscription.retain_as_published,
            tag,
        };
        if is_new && let Some(consumer) = key.consumer() {
            self.outbound.begins_consumer(consumer);
        }
        let before = self.subscriptions.set(&key, Some(granted));
        let kind = ChangeKind::Subscribe(granted, before);
        self.change(call, Change { at, key, kind });
        Ok(granted)
    }

    pub(super) fn unsubscribe(&mut self, unsubscribe: Unsubscribe) {
        let mut codes = CodesOf {
            id: unsubscribe.packet_id,
            unsubscribe: true,
            reasons: Vec::with_capacity(unsubscribe.filters.len()),
            why: "",
        };
        let in_use = self.is_v5() && self.inbound.is_in_use(unsubscribe.packet_id);
        for (at, filter) in unsubscribe.filters.iter().enumerate() {
            let key = match self.key(filter) {
                _ if in_use => Err((
                    ReasonCode::PacketIdInUse,
                    "a publish has this packet identifier",
                )),
                key => key,
            };
            match key {
                Ok(key) => {
                    let call = Call::Unsubscribe {
                        filter: key.filter.clone(),
                        share: key.share.clone(),
                    };
                    let kind = ChangeKind::Unsubscribe(self.calls.next());
                    self.change(call, Change { at, key, kind });
                    codes.tell(ReasonCode::Success, "");
                }
                Err((reason, why)) => codes.tell(reason, why),
            }
        }
        self.answer_with(codes);
    }

    /// What a filter of the client's names. 3.x shares too, as all brokers let it.
    fn key(&self, filter: &Str) -> Result<Key, reasons::Reason> {
        let parsed = parse_filter(filter.as_str(), &self.settings.limits)
            .map_err(|rule| (ReasonCode::TopicFilterInvalid, rule.text()))?;
        Ok(Key {
            filter: topic::to_address(parsed.filter).into_owned(),
            share: parsed.share.map(str::to_owned),
        })
    }

    fn change(&mut self, call: Call, change: Change) {
        let waits = Waits::Change(Box::new(change));
        let wish = self.calls.call_for(call, waits);
        self.wishes.push_back(wish);
    }

    /// Behind the calls of its changes.
    fn answer_with(&mut self, codes: CodesOf) {
        self.codes.0.push_back(codes);
        if self.calls.behind(Waits::Codes).is_some() {
            self.tell_codes();
        }
    }

    /// What became of one filter.
    pub(super) fn changed(&mut self, change: Change, refusal: Option<Refusal>) {
        let Change { at, key, kind } = change;
        let current = self.subscriptions.get(&key);
        let refused = match (kind, refusal) {
            (ChangeKind::Subscribe(granted, _), None) => {
                self.grant(&key, granted.qos);
                None
            }
            (ChangeKind::Subscribe(granted, before), Some(why)) => {
                // Not if another SUBSCRIBE has replaced it since: then that one has replaced what was there before.
                if current == Some(granted) {
                    self.subscriptions.set(&key, before);
                } else {
                    self.replace_before(&key, |it| it == granted, before);
                }
                if why == Refusal::Denied {
                    self.let_go_of(&key);
                }
                Some(reasons::of_subscribe(why))
            }
            (ChangeKind::Unsubscribe(tag), refusal) => {
                let is_over = matches!(refusal, None | Some(Refusal::NoSuchSubscription));
                if is_over && current.is_some_and(|it| it.tag < tag) {
                    self.subscriptions.set(&key, None);
                }
                if let (true, Some(consumer)) = (is_over, key.consumer()) {
                    self.outbound.begins_consumer(consumer);
                }
                refusal.map(|why| (reasons::of_unsubscribe(why), ""))
            }
        };
        if let (Some((reason, why)), Some(codes)) = (refused, self.codes.0.front_mut()) {
            if let Some(place) = codes.reasons.get_mut(at) {
                *place = reason;
            }
            if codes.why.is_empty() {
                codes.why = why;
            }
        }
    }

    /// The right to a subscription of a call up to `upto` is gone: it matches nothing any more, and does not come back where
    /// a later call for the same filter is refused. What waits for it alone is let go.
    pub(super) fn lose(&mut self, key: &Key, upto: u64) {
        let is_lost = |it: Granted| it.tag <= upto;
        if self.subscriptions.get(key).is_some_and(is_lost) {
            self.subscriptions.set(key, None);
        }
        if let Some(consumer) = key.consumer() {
            self.outbound.begins_consumer(consumer);
        }
        self.replace_before(key, is_lost, None);
        self.let_go_of(key);
    }

    /// What a refused subscription is replaced with, where it was `old`, is `before` that.
    fn replace_before(
        &mut self,
        key: &Key,
        old: impl Fn(Granted) -> bool,
        before: Option<Granted>,
    ) {
        for change in self.calls.changes().filter(|it| it.key == *key) {
            if let ChangeKind::Subscribe(_, it) = &mut change.kind
                && it.is_some_and(&old)
            {
                *it = before;
            }
        }
    }

    /// An answer has all its codes.
    pub(super) fn tell_codes(&mut self) {
        let Some(codes) = self.codes.0.pop_front() else {
            return;
        };
        let reason_string = (!codes.why.is_empty()).then(|| Str::from_static(codes.why));
        let properties = AckProperties {
            reason_string,
            ..AckProperties::default()
        };
        let (packet_id, reasons) = (codes.id, codes.reasons);
        self.output.packet(if codes.unsubscribe {
            Packet::Unsuback(Unsuback {
                packet_id,
                reasons,
                properties,
            })
        } else {
            Packet::Suback(Suback {
                packet_id,
                reasons,
                properties,
            })
        });
    }
}

impl CodesOf {
    fn tell(&mut self, reason: ReasonCode, why: &'static str) {
        self.reasons.push(reason);
        if self.why.is_empty() {
            self.why = why;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::address::{Address, Filter};

    fn granted(qos: u8, id: u32) -> Granted {
        Granted {
            qos: Qos::from_u8(qos).unwrap(),
            id: SubscriptionId::new(id),
            retain_as_published: false,
            tag: 0,
        }
    }

    fn key(filter: &str, share: Option<&str>) -> Key {
        Key {
            filter: filter.to_owned(),
            share: share.map(str::to_owned),
        }
    }

    #[test]
    fn a_message_has_the_highest_qos_and_all_identifiers_of_what_matches() {
        let mut subscriptions = Subscriptions::default();
        subscriptions.set(&key("a/b", None), Some(granted(0, 7)));
        subscriptions.set(&key("a/+", None), Some(granted(2, 3)));
        subscriptions.set(&key("#", None), Some(granted(1, 3)));
        subscriptions.set(&key("c/#", None), Some(granted(1, 0)));
        subscriptions.set(&key("a/b", Some("g")), Some(granted(1, 9)));
        let of = |origin: Origin, address| {
            let matching = subscriptions.matching(&origin, address)?;
            let ids: Vec<_> = matching.ids.iter().map(|id| id.get()).collect();
            Some((matching.qos as u8, ids))
        };
        assert_eq!(of(Origin::Own, "a/b"), Some((2, vec![3, 7])));
        assert_eq!(of(Origin::Listener, "c"), Some((1, vec![3])));
        assert_eq!(of(Origin::Own, "$SYS/x"), None);
        assert_eq!(
            of(Origin::Shared("s/g/a/b".into()), "a/b"),
            Some((1, vec![9]))
        );
        assert_eq!(of(Origin::Shared("s/h/a/b".into()), "a/b"), None);
    }

    #[test]
    fn the_same_filter_replaces_its_subscription() {
        for filter in ["a", "a/+"] {
            let mut subscriptions = Subscriptions::default();
            let key = key(filter, None);
            assert_eq!(subscriptions.set(&key, Some(granted(0, 1))), None);
            let before = subscriptions.set(&key, Some(granted(2, 2)));
            assert_eq!(before, Some(granted(0, 1)));
            assert_eq!(subscriptions.n(), 1);
            assert_eq!(subscriptions.set(&key, None), Some(granted(2, 2)));
            assert_eq!(subscriptions.n(), 0);
        }
    }

    proptest! {
        #[test]
        fn a_filter_matches_here_what_it_matches_in_the_engine(
            filter in "(\\+|[ab$~]{1,2})(/(\\+|[ab]|%00)){0,3}(/#)?|#",
            address in "[ab$~]{1,2}(/([ab]|%00)){0,3}",
        ) {
            let (Ok(parsed), Ok(to)) = (filter.parse::<Filter>(), address.parse::<Address>()) else {
                return Ok(());
            };
            prop_assert_eq!(matches(&filter, &address), parsed.matches(&to));
        }
    }
}
