//! Who has subscribed to what: ids, subscribers, and the events about that (wamp.md §4, §8.9, §9.3).
//!
//! A topic, or pattern, and how it is matched have one id, whoever subscribes. Events themselves are the broker's: here
//! only those of the router's own topics are handed out.

use std::collections::BTreeSet;
use std::sync::Arc;

use restante_storage::UnixMillis;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};

use super::meta::created;
use super::news::News;
use super::output::{MetaEvent, Sink, ToSession};
use super::patterns::PatternIndex;
use super::testaments::value_size;
use super::uri::is_reserved;
use super::{
    Match, Party, Refused, Router, SHAPES_PER_SESSION_MAX, SessionId, SubscriptionId,
    TOO_MANY_SHAPES,
};

/// The reason of an UNSUBSCRIBED whose subscription an administrator took away.
const UNSUBSCRIBED: &str = "wamp.error.unsubscribed";

/// Subscriptions of one session to the router's own topics: it gets each event once for each that matches.
const RESERVED_PER_SESSION_MAX: usize = 64;

/// All subscriptions of a realm.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    pub(super) by_id: FxHashMap<SubscriptionId, Subscription>,
    pub(super) index: PatternIndex<SubscriptionId>,
    last: u64,
    /// Of the router's own topics: while there are none, meta events are not even made.
    pub(super) n_reserved: usize,
}

/// A topic or pattern that somebody has subscribed to.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) uri: Arc<str>,
    pub(super) how: Match,
    pub(super) created: UnixMillis,
    pub(super) subscribers: BTreeSet<SessionId>,
    /// Whether it stays without subscribers.
    pub(super) is_kept: bool,
}

/// The answer to SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribed {
    /// Its id, the same for all who subscribe to the same.
    pub id: SubscriptionId,
    /// False if the session had it before, so that nothing has changed.
    pub is_new: bool,
}

impl<P: Clone> Router<P> {
    /// Notes that `session` subscribes to `uri`, matched as `how`. The answer is to be sent before what is in `sink` is handed out.
    ///
    /// # Errors
    /// [`Refused::InvalidUri`], [`Refused::TooMany`]; [`Refused::NoSuchSession`] if it has left.
    pub fn subscribe(
        &mut self,
        session: SessionId,
        uri: &str,
        how: Match,
        now: UnixMillis,
        sink: &mut Sink<P>,
    ) -> Result<Subscribed, Refused> {
        let (n_mine, n_reserved) = match self.sessions.get(&session) {
            Some(session) => (session.subscriptions.len(), session.n_reserved),
            None => return Err(Refused::NoSuchSession),
        };
        let found = self.subscriptions.index.get(uri, how);
        if let Some(id) = found
            && self.has_subscriber(id, session)
        {
            return Ok(Subscribed { id, is_new: false });
        }
        if n_mine >= self.limits.subscriptions_per_session_max {
            return Err(Refused::TooMany("subscriptions of this session"));
        }
        if is_reserved(uri) && n_reserved >= RESERVED_PER_SESSION_MAX {
            return Err(Refused::TooMany(
                "subscriptions of this session to meta events",
            ));
        }
        let id = match found {
            Some(id) => id,
            None => self.create_subscription(session, uri, how, now, sink)?,
        };
        self.add_subscriber(id, session, sink);
        Ok(Subscribed { id, is_new: true })
    }

    /// Ends a subscription of the session's.
    ///
    /// # Errors
    /// [`Refused::NoSuchSubscription`]: unknown, or not this session's.
    pub fn unsubscribe(
        &mut self,
        session: SessionId,
        id: SubscriptionId,
        sink: &mut Sink<P>,
    ) -> Result<(), Refused> {
        if !self.has_subscriber(id, session) {
            return Err(Refused::NoSuchSubscription);
        }
        self.forget_subscription(session, id);
        if let Some(is_over) = self.remove_subscriber(id, session) {
            self.announce_unsubscribed(session, id, is_over, sink);
        }
        Ok(())
    }

    /// Takes it out of its session's own list.
    fn forget_subscription(&mut self, session: SessionId, id: SubscriptionId) {
        let is_reserved = self.is_of_meta_topic(id);
        if let Some(session) = self.sessions.get_mut(&session)
            && session.subscriptions.remove(&id)
        {
            session.n_reserved -= usize::from(is_reserved);
        }
    }

    /// Takes a subscription from its subscriber, who is told if it said that it understands.
    ///
    /// # Errors
    /// [`Refused::NoSuchSubscription`]: unknown, or not that session's.
    pub fn revoke_subscription(
        &mut self,
        session: SessionId,
        id: SubscriptionId,
        reason: &str,
        sink: &mut Sink<P>,
    ) -> Result<(), Refused> {
        if !self.has_subscriber(id, session) {
            return Err(Refused::NoSuchSubscription);
        }
        self.tell_unsubscribed(session, id, reason, sink);
        self.unsubscribe(session, id, sink)
    }

    fn tell_unsubscribed(
        &self,
        session: SessionId,
        id: SubscriptionId,
        reason: &str,
        sink: &mut Sink<P>,
    ) {
        let features = self.sessions.get(&session).map(|it| it.features.subscriber);
        let message = ToSession::Unsubscribed {
            subscription: id,
            reason: reason.into(),
            is_told: features.is_some_and(|it| it.subscription_revocation),
        };
        sink.tell(Party::Session(session), message);
    }

    /// Takes a subscription from all its subscribers. What others hear of it comes by [`tell_news`](Self::tell_news).
    ///
    /// # Errors
    /// [`Refused::NoSuchSubscription`].
    pub fn withdraw_subscription(
        &mut self,
        id: SubscriptionId,
        sink: &mut Sink<P>,
    ) -> Result<(), Refused> {
        let found = self.subscriptions.by_id.get(&id);
        let found = found.ok_or(Refused::NoSuchSubscription)?;
        for subscriber in found.subscribers.clone() {
            self.tell_unsubscribed(subscriber, id, UNSUBSCRIBED, sink);
            self.forget_subscription(subscriber, id);
            if let Some(is_over) = self.remove_subscriber(id, subscriber) {
                self.add_news(News::Unsubscribed(subscriber, id, is_over));
            }
        }
        Ok(())
    }

    /// Makes a subscription that stays without subscribers, so that its id means something for as long as the realm runs (event
    /// history, wamp.md §8.7). No event tells of it.
    ///
    /// # Errors
    /// [`Refused::InvalidUri`], [`Refused::TooMany`].
    pub fn keep_subscription(
        &mut self,
        uri: &str,
        how: Match,
        now: UnixMillis,
    ) -> Result<SubscriptionId, Refused> {
        let id = match self.subscriptions.index.get(uri, how) {
            Some(id) => id,
            None => self.insert_subscription(uri, how, now)?,
        };
        if let Some(subscription) = self.subscriptions.by_id.get_mut(&id) {
            subscription.is_kept = true;
        }
        Ok(id)
    }

    /// The id of a topic or pattern, if anybody has subscribed to it.
    #[must_use]
    pub fn subscription_of(&self, uri: &str, how: Match) -> Option<SubscriptionId> {
        self.subscriptions.index.get(uri, how)
    }

    /// What a subscription is to, and how that is matched; none: there is no such subscription.
    #[must_use]
    pub fn pattern_of(&self, id: SubscriptionId) -> Option<(&str, Match)> {
        let subscription = self.subscriptions.by_id.get(&id)?;
        Some((&subscription.uri, subscription.how))
    }

    pub(super) fn has_subscriber(&self, id: SubscriptionId, session: SessionId) -> bool {
        let subscription = self.subscriptions.by_id.get(&id);
        subscription.is_some_and(|it| it.subscribers.contains(&session))
    }

    pub(super) fn is_of_meta_topic(&self, id: SubscriptionId) -> bool {
        let subscription = self.subscriptions.by_id.get(&id);
        subscription.is_some_and(|it| is_reserved(&it.uri))
    }

    /// Without its subscriber, whose own list is the caller's to change. What others are to hear of, if anything: whether it was the last.
    pub(super) fn remove_subscriber(
        &mut self,
        id: SubscriptionId,
        session: SessionId,
    ) -> Option<bool> {
        let subscription = self.subscriptions.by_id.get_mut(&id)?;
        subscription.subscribers.remove(&session);
        let is_reserved = is_reserved(&subscription.uri);
        let is_over = subscription.subscribers.is_empty() && !subscription.is_kept;
        if is_over && let Some(subscription) = self.subscriptions.by_id.remove(&id) {
            (self.subscriptions.index).remove(&subscription.uri, subscription.how);
            self.subscriptions.n_reserved -= usize::from(is_reserved);
        }
        (!is_reserved).then_some(is_over)
    }

    pub(super) fn announce_unsubscribed(
        &mut self,
        session: SessionId,
        id: SubscriptionId,
        is_over: bool,
        sink: &mut Sink<P>,
    ) {
        let args = || vec![json!(session.get()), json!(id.get())];
        self.announce("wamp.subscription.on_unsubscribe", args, sink);
        if is_over {
            self.announce("wamp.subscription.on_delete", args, sink);
        }
    }

    /// Whether anybody has subscribed to the router's own topics.
    pub(super) const fn has_listeners(&self) -> bool {
        self.subscriptions.n_reserved > 0
    }

    /// Hands a meta event to all who have subscribed to its topic, or to a pattern in the router's own name space.
    pub(super) fn announce(
        &mut self,
        topic: &'static str,
        args: impl FnOnce() -> Vec<Value>,
        sink: &mut Sink<P>,
    ) {
        if !self.has_listeners() {
            return;
        }
        let found = self.subscriptions.matching(topic);
        let mut found = found
            .into_iter()
            .filter(|(_, it)| is_reserved(&it.uri))
            .peekable();
        if found.peek().is_none() {
            return;
        }
        let (args, publication): (Arc<[Value]>, _) = (args().into(), self.chance.id());
        let n_bytes = args.iter().map(value_size).sum();
        for (id, subscription) in found {
            for session in &subscription.subscribers {
                let event = MetaEvent {
                    subscription: id,
                    publication,
                    topic,
                    is_pattern: subscription.how != Match::Exact,
                    args: Arc::clone(&args),
                    n_bytes,
                };
                sink.tell(Party::Session(*session), ToSession::MetaEvent(event));
            }
        }
    }

    fn create_subscription(
        &mut self,
        session: SessionId,
        uri: &str,
        how: Match,
        now: UnixMillis,
        sink: &mut Sink<P>,
    ) -> Result<SubscriptionId, Refused> {
        if how == Match::Wildcard
            && let Some(session) = self.sessions.get_mut(&session)
        {
            let (index, mine) = (&self.subscriptions.index, &mut session.subscribed_shapes);
            if !index.take_shape(uri, mine, SHAPES_PER_SESSION_MAX) {
                return Err(TOO_MANY_SHAPES);
            }
        }
        let id = self.insert_subscription(uri, how, now)?;
        if !is_reserved(uri) {
            let args = || {
                let (id, created) = (id.get(), created(now));
                let details =
                    json!({"id": id, "created": created, "uri": uri, "match": how.name()});
                vec![json!(session.get()), details]
            };
            self.announce("wamp.subscription.on_create", args, sink);
        }
        Ok(id)
    }

    fn insert_subscription(
        &mut self,
        uri: &str,
        how: Match,
        now: UnixMillis,
    ) -> Result<SubscriptionId, Refused> {
        let n_shapes = self.subscriptions.index.shapes_with(uri);
        self.check_pattern(uri, how, n_shapes)?;
        let table = &mut self.subscriptions;
        table.last += 1;
        let id = SubscriptionId(table.last);
        let subscription = Subscription {
            uri: uri.into(),
            how,
            created: now,
            subscribers: BTreeSet::new(),
            is_kept: false,
        };
        table.index.insert(&subscription.uri, how, id);
        table.n_reserved += usize::from(is_reserved(uri));
        table.by_id.insert(id, subscription);
        Ok(id)
    }

    fn add_subscriber(&mut self, id: SubscriptionId, session: SessionId, sink: &mut Sink<P>) {
        let Some(subscription) = self.subscriptions.by_id.get_mut(&id) else {
            return;
        };
        subscription.subscribers.insert(session);
        let is_silent = is_reserved(&subscription.uri);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.subscriptions.insert(id);
            session.n_reserved += usize::from(is_silent);
        }
        if !is_silent {
            let args = || vec![json!(session.get()), json!(id.get())];
            self.announce("wamp.subscription.on_subscribe", args, sink);
        }
    }
}

impl Subscriptions {
    /// All that match a topic, ascending by id.
    pub(super) fn matching(&self, topic: &str) -> Vec<(SubscriptionId, &Subscription)> {
        let mut found = Vec::new();
        self.index.all(topic, &mut |id| {
            found.extend(self.by_id.get_key_value(&id).map(|(id, it)| (*id, it)));
        });
        found.sort_unstable_by_key(|(id, _)| *id);
        found
    }
}
