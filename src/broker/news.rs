//! `$SYS` topics: what the broker tells of itself, to whoever may listen there. Nothing of it is stored.
//!
//! ```text
//! sys.rs ─▶ tell_news ─▶ what changed ─▶ listeners of all realms
//!                     └▶ as of now ─▶ told to each new subscription, as if it was retained
//! ```
//!
//! A realm's clients hear what is true of the whole broker: that is why no rule of `#` covers it, and only the right to consume
//! `$SYS/…` does. So it is with `$wamp/…`, where WAMP's reserved names are: `wamp.session.on_join` is the address
//! `$wamp/session/on_join`. What is told there may be listened to, and what is served there called, by whom a rule of `$wamp/…` lets.
//!
//! Always, with tests of these names in `broker/tests/news.rs`:
//! - `whoever_subscribes_is_told_at_once_and_then_of_what_changes`
//! - `only_who_may_is_told`
//! - `what_wamp_reserves_is_heard_and_called_by_rules_and_is_nobodys_to_send`

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use restante_storage::payload::Envelope;
use restante_storage::{Draft, Kind, encode_detached};
use uuid::Uuid;

use super::outbox::{Notice, Subscriber};
use super::publish::{Care, Takers};
use super::{Broker, Shared, now};
use crate::engine::address::{Address, AddressLimits, Filter};

/// The first segment of all such addresses.
const ROOT: &str = "$SYS";
/// The first segment of the names that WAMP reserves.
const WAMP_ROOT: &str = "$wamp";

/// What is told of the broker at one address.
#[derive(Debug)]
pub(super) struct News {
    address: Address,
    value: String,
    /// For whoever asks later.
    notice: Notice,
}

/// Whether an address or a filter is of those that the broker tells of itself.
fn is_news(asked: &str) -> bool {
    is_below(ROOT, asked)
}

/// Whether an address or a filter is of the names that WAMP reserves: rules decide who may call what is there.
pub(super) fn is_wamps(asked: &str) -> bool {
    is_below(WAMP_ROOT, asked)
}

/// Whether an address or a filter is of those that the broker speaks at: rules decide who may listen, and no queue is there.
pub fn is_told(asked: &str) -> bool {
    is_news(asked) || is_wamps(asked)
}

fn is_below(root: &str, asked: &str) -> bool {
    let rest = asked.strip_prefix(root);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '#']))
}

impl Broker {
    /// Tells what is true of the broker now: addresses below `$SYS`, each with its value. Listeners hear what has changed.
    pub fn tell_news(&self, values: impl IntoIterator<Item = (String, String)>) {
        let shared = &self.shared;
        let before = shared.news.load();
        let (mut news, mut changed) = (Vec::new(), Vec::new());
        for (n, (address, value)) in values.into_iter().enumerate() {
            let Ok(address) = Address::parse(&address, AddressLimits::CEILING) else {
                continue;
            };
            let known = before.get(n).filter(|it| it.address == address);
            let notice = notice(&address, &value, true);
            if known.is_none_or(|it| it.value != value) {
                changed.push(news.len());
            }
            news.push(News {
                address,
                value,
                notice,
            });
        }
        let news = Arc::new(news);
        // Before anybody is told: whoever begins to listen too late for that finds it here.
        shared.news.store(Arc::clone(&news));
        for it in changed.into_iter().filter_map(|n| news.get(n)) {
            shared.tell_listeners(&it.address, &it.value);
        }
    }

    /// Sessions that outlive their connections, and whose client is away.
    pub fn n_away(&self) -> usize {
        self.shared.n_away.load(Ordering::Relaxed)
    }

    /// Filters that clients listen to, by whatever door, and members of groups that share one.
    pub fn n_subscriptions(&self) -> (usize, u64) {
        let routes = self.shared.routes.load();
        let heard = routes.topics.values().map(|topics| topics.len()).sum();
        let queues = routes.queues.values().flat_map(|it| it.names.iter());
        let shared = queues.filter(|(name, _)| name.starts_with("$share/"));
        let members = shared.map(|(_, it)| it.gauges.consumers.load(Ordering::Relaxed));
        (heard, members.sum())
    }

    /// Messages that wait in all queues, and their bytes.
    pub fn stored(&self) -> (u64, u64) {
        let routes = self.shared.routes.load();
        let queues = routes.queues.values().flat_map(|it| it.names.values());
        queues.fold((0, 0), |(messages, bytes), it| {
            let gauges = &it.gauges;
            (
                messages + gauges.messages.load(Ordering::Relaxed),
                bytes + gauges.bytes.load(Ordering::Relaxed),
            )
        })
    }

    /// Messages that MQTT sessions and listeners missed, as they were full or slow.
    pub fn n_missed(&self) -> u64 {
        self.shared.stats.missed()
    }
}

impl Shared {
    fn tell_listeners(&self, address: &Address, value: &str) {
        let routes = self.routes.load();
        let mut told = None;
        for realm in routes.topics.keys() {
            let takers = Takers::of(&routes, realm, address.as_str(), Care::TOLD);
            for listener in takers.topics {
                let notice = told.get_or_insert_with(|| notice(address, value, false));
                if listener.offer(notice) {
                    listener.outbox().ring();
                } else {
                    self.missed_by(&listener);
                }
            }
        }
    }

    /// A subscription has begun: its listener hears of all that matches.
    pub(super) fn tell_new_listener(&self, filter: &Filter, listener: &Subscriber) {
        if !is_news(filter.as_str()) {
            return;
        }
        loop {
            let news = self.news.load_full();
            for it in news.iter().filter(|it| filter.matches(&it.address)) {
                listener.offer(&it.notice);
            }
            // Others may have been told to it meanwhile, ahead of these: the newest come last.
            if Arc::ptr_eq(&news, &self.news.load()) {
                break;
            }
        }
        listener.outbox().ring();
    }
}

/// A message as listeners get it, of QoS 0.
fn notice(address: &Address, value: &str, retained: bool) -> Notice {
    let envelope = Envelope {
        address: address.as_str().to_owned(),
        uuid: Bytes::copy_from_slice(Uuid::now_v7().as_bytes()),
        text: true,
        qos_bound: 1,
        retained,
        ..Envelope::default()
    };
    Notice::new(encode_detached(&Draft {
        body: value.as_bytes(),
        ..Draft::new(Kind::Enqueue, now(), &envelope)
    }))
}
