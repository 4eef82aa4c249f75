//! Queues on their way into the log: how many more a realm may have, and that no realm goes while one is made in it.
//!
//! ```text
//! declare, keeper ─▶ reserve ─▶ DefineQueue ─▶ log ─▶ applied, routes out ─▶ let go
//! registrar ─▶ close: nobody makes one, nobody begins to ─▶ look for queues ─▶ Config ─▶ log ─▶ applied, registry out ─▶ open
//! ```
//!
//! The routing snapshot knows a queue once its record is applied. Whoever decides by that snapshot alone, about the room in
//! a realm or about removing it, does not see the records ahead of its own. So a reservation stands for each of them, from before
//! its record goes to the log until everybody sees the queue: it travels with the record's batch, and goes when that goes.
//!
//! Always, with tests of these names below and in `broker/tests/making.rs`:
//! - `a_realm_is_closed_only_while_no_queue_is_made_in_it`, `what_is_being_made_takes_up_room`.
//! - `no_queue_is_left_behind_in_a_realm_that_goes`, `clients_at_once_make_no_more_queues_than_a_realm_may_have`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::Shared;
use crate::refusal::Refusal;

/// How long a change that removes a realm waits for queues that are being made there: several syncs of a slow disk.
const MADE_WITHIN: Duration = Duration::from_millis(250);

/// What is being made, and where nothing may be made.
#[derive(Debug, Default)]
pub(super) struct Making {
    realms: Mutex<BTreeMap<Arc<str>, InRealm>>,
    /// Rung when something was made.
    made: Condvar,
}

#[derive(Debug, Default)]
struct InRealm {
    /// The realm is about to go.
    closed: bool,
    /// By name, how many records that make such a queue are on their way.
    names: BTreeMap<Arc<str>, usize>,
}

/// Queues that are being made; dropped, they are made or will not be.
#[derive(Debug)]
pub(super) struct Reserved {
    making: Arc<Making>,
    realm: Arc<str>,
    names: Vec<Arc<str>>,
}

/// Realms in which no queue is being made, nor begun; dropped, they are open again.
#[derive(Debug)]
pub(super) struct Closed<'a> {
    making: &'a Making,
    realms: Vec<Arc<str>>,
}

impl Making {
    /// `room`: how many queues the realm has, with those that are being made, and how many it may have; asked while nobody else
    /// reserves or closes. One that is being made may be among those it has already.
    fn reserve(
        self: &Arc<Self>,
        realm: &str,
        names: &[&str],
        room: impl FnOnce(&mut dyn Iterator<Item = &str>) -> Option<(usize, usize)>,
    ) -> Result<Reserved, Refusal> {
        let mut realms = self.realms.lock();
        let here = realms.get(realm);
        if here.is_some_and(|here| here.closed) {
            return Err(Refusal::NoRoute);
        }
        let making = here.into_iter().flat_map(|here| here.names.keys());
        let mut making = making.map(|name| &**name);
        let (taken, most) = room(&mut making).ok_or(Refusal::NoRoute)?;
        let is_new = |name: &&&str| here.is_none_or(|here| !here.names.contains_key(**name));
        let more = names.iter().filter(is_new).count();
        if taken.saturating_add(more) > most {
            return Err(Refusal::TooMany);
        }
        let realm: Arc<str> = realm.into();
        let here = realms.entry(Arc::clone(&realm)).or_default();
        let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
        for name in &names {
            *here.names.entry(Arc::clone(name)).or_default() += 1;
        }
        drop(realms);
        Ok(Reserved {
            making: Arc::clone(self),
            realm,
            names,
        })
    }

    /// Closes realms once nothing is being made there; none: something still is after [`MADE_WITHIN`].
    pub(super) fn close(&self, wanted: &[&str]) -> Option<Closed<'_>> {
        let until = Instant::now() + MADE_WITHIN;
        let mut realms = self.realms.lock();
        let is_open = |realms: &mut BTreeMap<Arc<str>, InRealm>| {
            let made = |realm: &&str| realms.get(*realm).is_none_or(|here| here.names.is_empty());
            !wanted.iter().all(made)
        };
        if self
            .made
            .wait_while_until(&mut realms, is_open, until)
            .timed_out()
        {
            return None;
        }
        let closed: Vec<Arc<str>> = wanted.iter().map(|realm| Arc::from(*realm)).collect();
        for realm in &closed {
            realms.entry(Arc::clone(realm)).or_default().closed = true;
        }
        Some(Closed {
            making: self,
            realms: closed,
        })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut realms = self.making.realms.lock();
        let Some(here) = realms.get_mut(&self.realm) else {
            return;
        };
        for name in &self.names {
            if let Some(n) = here.names.get_mut(name) {
                *n -= 1;
                if *n == 0 {
                    here.names.remove(name);
                }
            }
        }
        if here.names.is_empty() {
            if !here.closed {
                realms.remove(&self.realm);
            }
            self.making.made.notify_all();
        }
    }
}

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        let mut realms = self.making.realms.lock();
        for realm in &self.realms {
            realms.remove(realm);
        }
    }
}

impl Shared {
    /// Before queues are written down: makes sure of their realm and of room for them there.
    ///
    /// # Errors
    /// There is no such realm, or it is about to go: no-route. It has as many queues as it may have: too-many.
    pub(super) fn reserve_queues(&self, realm: &str, names: &[&str]) -> Result<Reserved, Refusal> {
        self.reserve(realm, names, self.queues_max(realm))
    }

    /// The same, however many queues there are: for what must not be lost.
    ///
    /// # Errors
    /// There is no such realm, or it is about to go: no-route.
    pub(super) fn reserve_in_any_case(&self, realm: &str, name: &str) -> Result<Reserved, Refusal> {
        self.reserve(realm, &[name], usize::MAX)
    }

    fn reserve(&self, realm: &str, names: &[&str], most: usize) -> Result<Reserved, Refusal> {
        self.making.reserve(realm, names, |making| {
            let routes = self.routes.load();
            let there = routes.queues.get(realm);
            let is_new = |name: &&str| there.is_none_or(|it| !it.names.contains_key(*name));
            let taken = making.filter(is_new).count() + self.n_queues(realm);
            self.has_realm(realm).then_some((taken, most))
        })
    }

    /// Has nobody make queues in these realms while they are removed; none: somebody is at it.
    pub(super) fn close_realms(&self, realms: &[&str]) -> Option<Closed<'_>> {
        self.making.close(realms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(
        there: usize,
        most: usize,
    ) -> impl FnOnce(&mut dyn Iterator<Item = &str>) -> Option<(usize, usize)> {
        move |making| Some((there + making.count(), most))
    }

    #[test]
    fn a_realm_is_closed_only_while_no_queue_is_made_in_it() {
        let making = Arc::new(Making::default());
        let one = making.reserve("shop", &["a"], room(0, 9)).unwrap();
        assert!(making.close(&["shop"]).is_none(), "one is being made");
        let elsewhere = making.close(&["office"]).expect("nothing is made there");
        drop(one);
        let closed = making.close(&["shop"]).expect("all are made");
        let refused = |realm| making.reserve(realm, &["b"], room(0, 9)).err();
        assert_eq!(refused("shop"), Some(Refusal::NoRoute));
        assert_eq!(refused("office"), Some(Refusal::NoRoute));
        drop((elsewhere, closed));
        assert_eq!(refused("shop"), None);
        let gone = making.reserve("shop", &["b"], |_| None).err();
        assert_eq!(gone, Some(Refusal::NoRoute));
        assert!(making.realms.lock().is_empty(), "nothing is kept");
    }

    #[test]
    fn whoever_closes_waits_for_what_is_being_made() {
        let making = Arc::new(Making::default());
        let one = making.reserve("shop", &["a"], room(0, 9)).unwrap();
        std::thread::scope(|threads| {
            let closing = threads.spawn(|| making.close(&["shop"]).is_some());
            drop(one);
            assert!(closing.join().unwrap());
        });
    }

    #[test]
    fn what_is_being_made_takes_up_room() {
        let making = Arc::new(Making::default());
        let mut reserved = vec![making.reserve("shop", &["a", "b"], room(1, 3)).unwrap()];
        let full = making.reserve("shop", &["c"], room(1, 3)).err();
        assert_eq!(full, Some(Refusal::TooMany));
        // The same queue, asked for by two at once, is one queue.
        reserved.push(making.reserve("shop", &["b"], room(1, 3)).unwrap());
        reserved.remove(0);
        assert!(making.reserve("shop", &["c"], room(1, 3)).is_ok());
        let full = making.reserve("shop", &["c", "d"], room(1, 3)).err();
        assert_eq!(full, Some(Refusal::TooMany));
    }
}
