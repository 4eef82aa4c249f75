//! Queues, bindings and addresses as they are listed: from the routing snapshot and the queues' gauges. The core is not
//! asked, so a listing costs the broker's work nothing but the processor that it runs on.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use restante_admin_api::QueuesWanted;
use restante_admin_api::queue::{AddressInfo, Binding, QueueInfo, QueueSpec};
use restante_storage::UnixMillis;

use super::{AdminError, spec};
use crate::broker::Broker;
use crate::engine::{QueueHandle, RealmRoutes, is_brokers_own};

/// A queue as it stands.
pub(in crate::broker) fn info(handle: &QueueHandle) -> QueueInfo {
    let gauges = &handle.gauges;
    let in_flight = gauges.in_flight.load(Ordering::Relaxed);
    let messages = gauges.messages.load(Ordering::Relaxed);
    let positive = |limit: u64| (limit > 0).then_some(limit);
    let in_memory = || QueueSpec {
        max_messages: positive(handle.max_messages),
        max_bytes: positive(handle.max_bytes),
        bindings: Some(vec![handle.name.to_string()]),
        ..QueueSpec::default()
    };
    let def = handle.def.as_ref();
    QueueInfo {
        realm: handle.realm.to_string(),
        name: handle.name.to_string(),
        durable: !handle.is_transient(),
        messages_ready: messages.saturating_sub(in_flight),
        messages_unsettled: in_flight,
        bytes: gauges.bytes.load(Ordering::Relaxed),
        consumers: gauges.consumers.load(Ordering::Relaxed),
        next_offset: gauges.next.load(Ordering::Relaxed).max(1),
        oldest_timestamp: gauges.oldest().map(UnixMillis::get),
        paused: def.and_then(|def| spec::paused(def)),
        spec: def.map_or_else(in_memory, |def| spec::spec(def)),
        revision: def.map_or(0, |def| def.revision),
    }
}

impl Broker {
    /// The queues that `wanted` asks for, in order of realm and name.
    pub fn queues(&self, wanted: &QueuesWanted) -> Vec<QueueInfo> {
        let handles = self.handles(wanted);
        handles.iter().map(|handle| info(handle)).collect()
    }

    pub(super) fn handles(&self, wanted: &QueuesWanted) -> Vec<Arc<QueueHandle>> {
        let routes = self.shared.routes.load();
        let after = wanted.after.as_ref();
        let from = after.map_or("", |(realm, _)| realm.as_str());
        let realms = routes
            .queues
            .range::<str, _>((Bound::Included(from), Bound::Unbounded));
        let of_realm = |realm: &str| wanted.realm.as_ref().is_none_or(|only| only == realm);
        let mut found = Vec::new();
        for (realm, here) in realms.filter(|(realm, _)| of_realm(realm)) {
            let after = after.filter(|(other, _)| **other == **realm);
            let after = after.map(|(_, name)| name.as_str());
            let left = wanted.limit.saturating_sub(found.len());
            found.extend(names(here, &wanted.prefix, after).take(left).cloned());
            if found.len() >= wanted.limit {
                break;
            }
        }
        found
    }

    /// How many queues a realm has, those of subscriptions (`$…`) aside: they go with their sessions.
    pub fn n_queues(&self, realm: &str) -> usize {
        let routes = self.shared.routes.load();
        let names = routes.queues.get(realm).map(|it| it.names.keys());
        let names = names.into_iter().flatten();
        names.filter(|name| !is_brokers_own(name)).count()
    }

    /// A number that changes with every durable queue that is made, changed or gone; the broker's own (`$…`) aside.
    pub fn queues_mark(&self) -> u64 {
        use std::hash::Hasher;
        let routes = self.shared.routes.load();
        let mut hasher = rustc_hash::FxHasher::default();
        let handles = routes
            .queues
            .values()
            .flat_map(|realm| realm.names.values());
        for (handle, def) in handles.filter_map(|it| Some((it, it.set_by_somebody()?))) {
            hasher.write_u64(handle.id.get());
            hasher.write_u64(def.revision);
        }
        hasher.finish()
    }

    /// A queue.
    ///
    /// # Errors
    /// [`AdminError::NoQueue`].
    pub fn queue(&self, realm: &str, name: &str) -> Result<QueueInfo, AdminError> {
        Ok(info(&*self.handle(realm, name)?))
    }

    /// Bindings of durable queues, in order of realm, filter and queue; of one realm and one queue, if given.
    pub fn bindings(&self, realm: Option<&str>, queue: Option<&str>) -> Vec<Binding> {
        let routes = self.shared.routes.load();
        let realms = routes.queues.iter();
        let here = realms.filter(|(name, _)| realm.is_none_or(|only| *only == ***name));
        let mut bindings: Vec<Binding> = here
            .flat_map(|(realm, routes)| routes.names.values().map(move |handle| (realm, handle)))
            .filter(|(_, handle)| queue.is_none_or(|only| *only == *handle.name))
            .filter_map(|(realm, handle)| Some((realm, handle, handle.def.as_ref()?)))
            .flat_map(|(realm, handle, def)| {
                def.bindings.iter().map(move |filter| Binding {
                    realm: realm.to_string(),
                    filter: filter.clone(),
                    queue: handle.name.to_string(),
                })
            })
            .collect();
        bindings.sort_unstable();
        bindings
    }

    /// Addresses and filters of a realm that somebody takes from, in order.
    pub fn addresses(&self, realm: &str) -> Vec<AddressInfo> {
        let routes = self.shared.routes.load();
        let mut found: BTreeMap<String, (Vec<String>, u64)> = BTreeMap::new();
        if let Some(here) = routes.queues.get(realm) {
            for (filter, handle) in here.bindings.iter() {
                let (queues, _) = found.entry(filter.to_string()).or_default();
                queues.push(handle.name.to_string());
            }
        }
        if let Some(here) = routes.topics.get(realm) {
            for (filter, _) in here.iter() {
                found.entry(filter.to_string()).or_default().1 += 1;
            }
        }
        let mut led: BTreeMap<String, Vec<String>> = BTreeMap::new();
        if let Some(table) = self.shared.route_tables.load().get(realm) {
            for (filter, route) in table.filters() {
                found.entry(filter.clone()).or_default();
                led.entry(filter).or_default().push(route.to_string());
            }
        }
        let found = found.into_iter().map(|(address, (mut queues, listeners))| {
            let mut routes = led.remove(&address).unwrap_or_default();
            queues.sort_unstable();
            routes.sort_unstable();
            AddressInfo {
                realm: realm.to_owned(),
                address,
                queues,
                routes,
                listeners,
            }
        });
        found.collect()
    }
}

/// The queues whose names begin with `prefix` and lie behind `after`, in order.
fn names<'a>(
    routes: &'a RealmRoutes,
    prefix: &'a str,
    after: Option<&str>,
) -> impl Iterator<Item = &'a Arc<QueueHandle>> {
    let from = match after {
        Some(after) if after >= prefix => Bound::Excluded(Arc::from(after)),
        _ => Bound::Included(Arc::from(prefix)),
    };
    let here = routes.names.range::<_, Arc<str>>((from, Bound::Unbounded));
    here.take_while(move |(name, _)| name.starts_with(prefix))
        .map(|(_, handle)| handle)
}
