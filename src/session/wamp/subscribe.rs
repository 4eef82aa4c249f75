//! SUBSCRIBE and UNSUBSCRIBE: from the request to a consumer at the broker, and back.
//!
//! ```text
//! SUBSCRIBE ─▶ router: an id ─▶ broker: a consumer of that name ─▶ confirmed ─▶ SUBSCRIBED
//! ```
//!
//! Rules: the WAMP specification, "Subscribing and Unsubscribing", "Pattern-based Subscription", "Subscription Revocation", "Sharded
//! Subscription". Durable subscriptions are our own (`x_durable`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use restante_proto::mbws::Ranges;
use restante_proto::wamp::{Dict, Message};
use rustc_hash::FxHashMap;

use super::publish::of_refusal;
use super::requests::Answer;
use super::{Session, Wish};
use crate::broker::{Call, Consume, Settle, Source, WampAsk};
use crate::refusal::Refusal;
use crate::router::{Match, ShardKey, is_reserved};
use crate::wamp::code;
use crate::wamp::event::{invalid_argument, invalid_uri};
use crate::wamp::options::SubscribeOptions;
use crate::wamp::uri;

/// What a session has subscribed to.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_id: FxHashMap<u64, Topic>,
    /// By request: what the router was asked for.
    asked: FxHashMap<u64, Asked>,
    /// Deliveries of durable subscriptions that the client has and has not acknowledged: publication, subscription and offset. Two
    /// messages of other doors that were given the same id are one publication here, with an offset each.
    unacknowledged: BTreeSet<(u64, u64, u64)>,
}

/// A subscription.
#[derive(Debug)]
pub(super) struct Topic {
    /// Topic or pattern.
    pub(super) uri: String,
    pub(super) how: Match,
    consumer: Arc<str>,
    /// Whether the broker knows of it.
    state: State,
    /// Requests that are answered once it has begun.
    waiting: Vec<u64>,
    /// Why the broker has ended it before we have heard that it began.
    lost: Option<Refusal>,
    pub(super) durable: Option<Durable>,
    /// Its name among the subscribers that share it by key.
    nkey: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Beginning,
    Begun,
    /// It ends once the broker has answered.
    Ending,
}

/// What a durable subscription may have out.
#[derive(Debug)]
pub(super) struct Durable {
    /// The queue's name.
    queue: String,
    pub(super) granted: u64,
    window: u64,
}

#[derive(Debug)]
struct Asked {
    uri: String,
    filter: String,
    options: SubscribeOptions,
}

impl Topics {
    /// Whether the client has subscribed to that.
    pub(super) fn has(&self, subscription: u64) -> bool {
        self.by_id.contains_key(&subscription)
    }

    /// The subscription that a delivery is for.
    pub(super) fn of_consumer(&self, consumer: &str) -> Option<(u64, &Topic)> {
        let id = consumer.parse().ok()?;
        let topic = self.by_id.get(&id)?;
        (topic.state == State::Begun).then_some((id, topic))
    }

    /// A delivery of a durable subscription went out.
    pub(super) fn is_out(&mut self, publication: u64, subscription: u64, offset: u64) {
        self.unacknowledged
            .insert((publication, subscription, offset));
    }

    /// The client was not sent that delivery after all; false: nothing is known of it any more.
    pub(super) fn is_back(&mut self, publication: u64, subscription: u64, offset: u64) -> bool {
        self.unacknowledged
            .remove(&(publication, subscription, offset))
    }

    /// The router does not give that subscription an id.
    pub(super) fn is_refused(&mut self, request: u64) {
        self.asked.remove(&request);
    }

    /// The client has none of that subscription's events any more.
    fn forget_events(&mut self, subscription: u64) {
        self.unacknowledged.retain(|(_, of, _)| *of != subscription);
    }

    /// Takes out what is out of a publication, once for each subscription: subscription and offset.
    fn take_events(&mut self, publication: u64) -> Vec<(u64, u64)> {
        let mut taken: Vec<(u64, u64)> = Vec::new();
        let all = (publication, 0, 0)..=(publication, u64::MAX, u64::MAX);
        for (_, subscription, offset) in self.unacknowledged.range(all) {
            if taken.last().is_none_or(|(last, _)| last != subscription) {
                taken.push((*subscription, *offset));
            }
        }
        for (subscription, offset) in &taken {
            self.unacknowledged
                .remove(&(publication, *subscription, *offset));
        }
        taken
    }
}

impl Session {
    pub(super) fn subscribe(&mut self, request: u64, options: &Dict, topic: String) {
        if !self.is_next(request) {
            return;
        }
        let read = SubscribeOptions::read(options).map_err(invalid_argument);
        let checked = read.and_then(|options| {
            let is_uri = self.is_uri(&topic, options.how);
            let filter = is_uri
                .then(|| uri::to_filter(&topic, options.how))
                .flatten();
            let filter = filter.ok_or_else(|| invalid_uri(&topic))?;
            if options.durable.is_some() && is_reserved(&topic) {
                return Err(invalid_argument(
                    "what the router tells of itself is not kept",
                ));
            }
            if options.durable.is_some() && options.nkey.is_some() {
                let why = "whoever consumes from the queue of an x_durable shares what is in it already, without nkey";
                return Err(("wamp.error.option_not_allowed", why.to_owned()));
            }
            Ok((options, filter))
        });
        let (options, filter) = match checked {
            Ok(checked) => checked,
            Err((uri, why)) => return self.refuse(code::SUBSCRIBE, request, uri, &why),
        };
        self.wishes
            .push_back(Wish::Ask(Box::new(WampAsk::Subscribe {
                request,
                topic: topic.clone(),
                how: options.how,
                filter: filter.clone(),
            })));
        let uri = topic;
        self.topics.asked.insert(
            request,
            Asked {
                uri,
                filter,
                options,
            },
        );
    }

    /// The router has given the subscription an id.
    pub(super) fn has_id(&mut self, request: u64, subscription: u64) {
        let Some(asked) = self.topics.asked.remove(&request) else {
            return;
        };
        if let Some(known) = self.topics.by_id.get_mut(&subscription) {
            let queue = known.durable.as_ref().map(|it| &*it.queue);
            if queue != asked.options.durable.as_deref() || known.nkey != asked.options.nkey {
                let uri = "wamp.error.option_not_allowed";
                let why = "this session has subscribed to that already, with another x_durable or nkey, or without";
                return self.refuse(code::SUBSCRIBE, request, uri, why);
            }
            match known.state {
                State::Begun => self.output.message(Message::Subscribed {
                    request,
                    subscription,
                }),
                State::Beginning => known.waiting.push(request),
                State::Ending => {
                    let why = "the subscription is just ending: try again";
                    self.refuse(code::SUBSCRIBE, request, "wamp.error.unavailable", why);
                }
            }
            return;
        }
        let consumer: Arc<str> = subscription.to_string().into();
        let is_meta = is_reserved(&asked.uri);
        let durable = asked.options.durable.as_ref().map(|queue| {
            let most = self.settings.unacknowledged_max.max(1);
            let window = asked.options.window.unwrap_or(most).clamp(1, most);
            Durable {
                queue: queue.clone(),
                granted: window,
                window,
            }
        });
        let wish = consume(&consumer, &asked, durable.as_ref());
        self.topics.by_id.insert(
            subscription,
            Topic {
                uri: asked.uri,
                how: asked.options.how,
                consumer,
                state: if is_meta {
                    State::Begun
                } else {
                    State::Beginning
                },
                waiting: vec![request],
                lost: None,
                durable,
                nkey: asked.options.nkey,
            },
        );
        match wish {
            _ if is_meta => self.begun(subscription, None),
            Ok(wish) => {
                let tag = self.requests.tag(Answer::Subscribed { subscription });
                let call = Call::Consume(wish);
                self.wishes.push_back(Wish::Call { tag, call });
            }
            Err(name) => {
                let (uri, why) = invalid_uri(&name);
                self.never_began(subscription, uri, &why);
            }
        }
    }

    /// The broker has confirmed a subscription's consumer, or refused it.
    pub(super) fn begun(&mut self, subscription: u64, refusal: Option<Refusal>) {
        if let Some(why) = refusal {
            let (uri, text) = of_refusal(why);
            return self.never_began(subscription, uri, text);
        }
        let Some(topic) = self.topics.by_id.get_mut(&subscription) else {
            return;
        };
        if topic.state == State::Ending {
            return self.end_subscription(subscription, None);
        }
        if let Some(why) = topic.lost {
            let (uri, text) = of_refusal(why);
            for request in std::mem::take(&mut topic.waiting) {
                self.refuse(code::SUBSCRIBE, request, uri, text);
            }
            // What was ended may have been another of the same name, just before.
            return self.end_subscription(subscription, None);
        }
        topic.state = State::Begun;
        for request in std::mem::take(&mut topic.waiting) {
            self.output.message(Message::Subscribed {
                request,
                subscription,
            });
        }
        self.wishes
            .push_back(Wish::Ask(Box::new(WampAsk::Begun { subscription })));
    }

    fn never_began(&mut self, subscription: u64, uri: &'static str, why: &str) {
        let Some(topic) = self.topics.by_id.remove(&subscription) else {
            return;
        };
        for request in topic.waiting {
            self.refuse(code::SUBSCRIBE, request, uri, why);
        }
        self.wishes
            .push_back(Wish::Ask(Box::new(WampAsk::Unsubscribe { subscription })));
    }

    pub(super) fn unsubscribe(&mut self, request: u64, subscription: u64) {
        if !self.is_next(request) {
            return;
        }
        let known = self.topics.by_id.get_mut(&subscription);
        let Some(topic) = known.filter(|it| it.state == State::Begun) else {
            let why = "this session has no such subscription";
            let uri = "wamp.error.no_such_subscription";
            return self.refuse(code::UNSUBSCRIBE, request, uri, why);
        };
        topic.state = State::Ending;
        self.end_subscription(subscription, Some(request));
    }

    /// The router has taken a subscription away.
    pub(super) fn revoked(&mut self, subscription: u64, reason: &str, is_told: bool) {
        let Some(topic) = self.topics.by_id.get_mut(&subscription) else {
            return;
        };
        if topic.state != State::Begun {
            // The client does not know of it yet, and the broker will answer first.
            topic.state = State::Ending;
            for request in std::mem::take(&mut topic.waiting) {
                let why = "the subscription was taken away before it had begun";
                self.refuse(code::SUBSCRIBE, request, reason, why);
            }
            return;
        }
        if is_told {
            self.tell_revoked(subscription, reason);
        }
        self.end_subscription(subscription, None);
    }

    fn tell_revoked(&mut self, subscription: u64, reason: &str) {
        let details = Dict::new()
            .with("subscription", subscription)
            .with("reason", reason);
        self.output.message(Message::Unsubscribed {
            request: 0,
            details: Some(details),
        });
    }

    fn end_subscription(&mut self, subscription: u64, request: Option<u64>) {
        let Some(topic) = self.topics.by_id.remove(&subscription) else {
            return;
        };
        self.topics.forget_events(subscription);
        self.wishes
            .push_back(Wish::Ask(Box::new(WampAsk::Unsubscribe { subscription })));
        if is_reserved(&topic.uri) {
            if let Some(request) = request {
                self.output.message(Message::Unsubscribed {
                    request,
                    details: None,
                });
            }
            return;
        }
        let tag = self.requests.tag(Answer::Unsubscribed { request });
        let consumer = topic.consumer.to_string();
        let call = Call::Cancel { consumer };
        self.wishes.push_back(Wish::Call { tag, call });
    }

    /// The broker has ended a consumer: the right is gone, or the queue.
    pub(super) fn lost(&mut self, consumer: &str, why: Refusal) {
        let Ok(subscription) = consumer.parse() else {
            return;
        };
        let Some(topic) = self.topics.by_id.get_mut(&subscription) else {
            return;
        };
        if topic.state != State::Begun {
            // Of that it began we hear only now.
            topic.lost = Some(why);
            return;
        }
        let (uri, _) = of_refusal(why);
        let announced = self.me.as_ref().map(|me| me.announced.subscriber);
        if announced.is_some_and(|it| it.subscription_revocation) {
            self.tell_revoked(subscription, uri);
        }
        self.topics.by_id.remove(&subscription);
        self.topics.forget_events(subscription);
        self.wishes
            .push_back(Wish::Ask(Box::new(WampAsk::Unsubscribe { subscription })));
    }

    /// EVENT_RECEIVED: the client has done with an event. Of none that is out, it means nothing.
    pub(super) fn received(&mut self, publication: u64) {
        self.acknowledge(&[publication], None);
    }

    /// Acknowledges these; false: none of them is out.
    pub(super) fn acknowledge(&mut self, publications: &[u64], request: Option<u64>) -> bool {
        let mut settles: BTreeMap<u64, Ranges> = BTreeMap::new();
        for publication in publications {
            for (subscription, offset) in self.topics.take_events(*publication) {
                settles.entry(subscription).or_default().insert(offset);
            }
        }
        let n_settles = settles.len();
        for (n, (subscription, accepted)) in settles.into_iter().enumerate() {
            // The last of them answers for all: confirms are in order.
            let request = request.filter(|_| n + 1 == n_settles);
            let settle = Settle {
                consumer: subscription.to_string(),
                accepted,
                ..Settle::default()
            };
            self.settle(subscription, settle, request);
        }
        n_settles > 0
    }

    /// Settles deliveries of a durable subscription, in whose place others may come. `request`: the call that this answers.
    pub(super) fn settle(&mut self, subscription: u64, settle: Settle, request: Option<u64>) {
        let all = [&settle.accepted, &settle.released, &settle.rejected];
        let n_settled = all.iter().map(|it| it.count()).sum();
        let tag = self.requests.tag(Answer::Received { request });
        let call = Call::Settle(settle);
        self.wishes.push_back(Wish::Call { tag, call });
        self.grant(subscription, n_settled);
    }

    /// So many of a durable subscription may come besides.
    fn grant(&mut self, subscription: u64, n_more: u64) {
        let Some(topic) = self.topics.by_id.get_mut(&subscription) else {
            return;
        };
        if let Some(durable) = &mut topic.durable {
            durable.granted += n_more;
            self.wishes.push_back(Wish::Credit {
                consumer: Arc::clone(&topic.consumer),
                limit: durable.granted,
            });
        }
    }
}

/// The consumer of a subscription. Fails with the queue's name where that is none.
fn consume(consumer: &str, asked: &Asked, durable: Option<&Durable>) -> Result<Consume, String> {
    let (address, source, limit) = match (&asked.options.durable, durable) {
        (Some(name), Some(durable)) => {
            let is_uri = crate::router::UriRules::Loose.allow(name, Match::Exact);
            let address = is_uri.then(|| uri::to_address(name)).flatten();
            let address = address.ok_or_else(|| name.clone())?;
            let filter = asked.filter.clone();
            (address, Source::Durable { filter }, durable.window)
        }
        _ => (asked.filter.clone(), Source::Topic, u64::MAX),
    };
    Ok(Consume {
        consumer: consumer.to_owned(),
        address,
        source,
        limit,
        auto_settle: durable.is_none(),
        exclusive: false,
        retained: asked.options.get_retained,
        shard: asked.options.nkey.as_deref().map(ShardKey::of),
    })
}
