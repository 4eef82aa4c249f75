//! `wamp.subscription.…` (wamp.md §9.3, §8.9). Event history is the broker's.

use serde_json::{Value, json};

use super::{Answer, Args, MetaAnswer, MetaError, by_match, created};
use crate::router::subscriptions::Subscription;
use crate::router::{Refused, Router, SessionId, Sink, SubscriptionId};

/// The reason of a revocation whose author gave none.
const REVOKED: &str = "wamp.error.unsubscribed";

impl<P: Clone> Router<P> {
    /// All, or those of one session.
    pub(super) fn subscription_list(&self, args: Args<'_>) -> Answer {
        let session = args.optional_id(0, "session")?.map(SessionId::new);
        let table = &self.subscriptions.by_id;
        Ok(match session {
            None => by_match(table.iter().map(|(id, it)| (id.get(), it.how))),
            Some(session) => {
                let mine = self.sessions.get(&session);
                let mine = mine.into_iter().flat_map(|it| &it.subscriptions);
                by_match(mine.filter_map(|id| Some((id.get(), table.get(id)?.how))))
            }
        }
        .into())
    }

    pub(super) fn subscription_lookup(&self, args: Args<'_>) -> Answer {
        let (uri, how) = (args.text(0, "topic")?, args.how()?);
        let id = self.subscription_of(uri, how);
        Ok(id.map_or(Value::Null, |id| id.get().into()).into())
    }

    /// All whose events a publication to that topic would be, or null if there are none.
    pub(super) fn subscription_match(&self, args: Args<'_>) -> Answer {
        let found = self.subscriptions.matching(args.text(0, "topic")?);
        if found.is_empty() {
            return Ok(Value::Null.into());
        }
        let ids: Vec<u64> = found.into_iter().map(|(id, _)| id.get()).collect();
        Ok(ids.into())
    }

    pub(super) fn subscription_get(&self, args: Args<'_>) -> Answer {
        let (id, subscription) = self.subscription_by(args)?;
        Ok(json!({
            "id": id.get(),
            "created": created(subscription.created),
            "uri": &*subscription.uri,
            "match": subscription.how.name(),
        })
        .into())
    }

    pub(super) fn subscription_list_subscribers(&self, args: Args<'_>) -> Answer {
        let (_, subscription) = self.subscription_by(args)?;
        let subscribers = subscription.subscribers.iter();
        let ids: Vec<u64> = subscribers.map(|id| id.get()).collect();
        Ok(ids.into())
    }

    pub(super) fn subscription_count_subscribers(&self, args: Args<'_>) -> Answer {
        let (_, subscription) = self.subscription_by(args)?;
        Ok(subscription.subscribers.len().into())
    }

    pub(super) fn subscription_remove_subscriber(
        &mut self,
        args: Args<'_>,
        sink: &mut Sink<P>,
    ) -> Answer {
        let (id, _) = self.subscription_by(args)?;
        let subscriber = SessionId::new(args.id(1, "session")?);
        let reason = args.reason(2)?.unwrap_or(REVOKED);
        if self.session(subscriber).is_none() {
            return Err(Refused::NoSuchSession.into());
        }
        self.revoke_subscription(subscriber, id, reason, sink)?;
        Ok(MetaAnswer::default())
    }

    fn subscription_by(
        &self,
        args: Args<'_>,
    ) -> Result<(SubscriptionId, &Subscription), MetaError> {
        let id = SubscriptionId::new(args.id(0, "subscription")?);
        let subscription = self.subscriptions.by_id.get(&id);
        let subscription = subscription.ok_or(Refused::NoSuchSubscription)?;
        Ok((id, subscription))
    }
}
