//! Routes: an administrator's word on where messages go, before bindings are looked at.
//!
//! ```text
//! address ─▶ Router (filters) ─▶ those that match, by order and name ─▶ conditions ─▶ targets, captures filled in
//!                                                                              └─ last? keep? drop?
//! ```
//!
//! One pass: every route sees the message as it was sent, and what a route makes of it is looked at by no other. So no loop
//! can be built, and the work is bounded by the routes that match. Which target of several takes a message follows from the
//! message alone: the same one, resent, goes the same way.
//!
//! A table is compiled when a route changes, and read without a lock.
//!
//! Always, each with a test of its name in `routes/tests.rs`:
//! - `a_message_that_no_route_takes_stays`, `a_route_without_targets_drops`, `routes_count_in_their_order`.
//! - `a_shard_is_always_the_same_and_moves_little_when_targets_change`.
//! - `what_is_explained_is_what_happens`.
//!
//! Not here: who is bound to the addresses (broker), whether a route makes sense (definitions).

mod compiled;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::engine::address::AddressLimits;
use crate::engine::routing::Router;
use crate::message::NewMessage;
use crate::registry::{Document, DocumentKind, Registry};
pub use compiled::field_is_known;
use compiled::{Compiled, Passed};

/// Addresses that one message may go to by routes: more than anybody needs, and a bound on what one message costs.
pub const TARGETS_MAX: usize = 64;

/// The routes of one realm.
#[derive(Debug, Clone, Default)]
pub struct RouteTable {
    /// Looked at first.
    first: Router<Arc<Compiled>>,
    /// Looked at for what nobody has taken.
    otherwise: Router<Arc<Compiled>>,
}

/// The routes of every realm that has any.
pub type RouteTables = BTreeMap<Arc<str>, RouteTable>;

/// A message, as routes see it.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// The address that it was sent to.
    pub address: &'a str,
    /// What it says.
    pub message: &'a NewMessage,
    /// Its id, as bytes: decides between weighted targets.
    pub id: &'a [u8],
}

/// What routes make of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routed {
    /// Whether it stays at the address that it was sent to.
    pub stays: bool,
    /// Where it goes, without repetition.
    pub to: SmallVec<[String; 2]>,
}

/// What a route made of a message, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The route's name.
    pub route: Arc<str>,
    /// Whether it took the message.
    pub taken: bool,
    /// Why, or why not.
    pub text: String,
    /// Where it sends it.
    pub to: Vec<String>,
}

/// The tables that a registry's routes make. A route that cannot be compiled is left out: it was refused when it was set.
pub fn tables(registry: &Registry, limits: AddressLimits) -> RouteTables {
    let mut tables = RouteTables::new();
    for stored in registry.of_kind(DocumentKind::Route) {
        let Document::Route(route) = &stored.document else {
            continue;
        };
        let Some(compiled) = Compiled::new(&stored.id.name, route, limits) else {
            tracing::error!(
                realm = stored.id.realm,
                route = stored.id.name,
                "a route cannot be used"
            );
            continue;
        };
        if route.disabled {
            continue;
        }
        let table = tables.entry(stored.id.realm.as_str().into()).or_default();
        let part = if route.unrouted {
            &mut table.otherwise
        } else {
            &mut table.first
        };
        let filter = compiled.filter.clone();
        part.bind(&filter, Arc::new(compiled));
    }
    tables
}

impl RouteTable {
    /// What the routes make of a message; none: no route takes it.
    pub fn route(&self, sent: &Sent<'_>) -> Option<Routed> {
        routed(&self.first, sent, &mut |_, _| {})
    }

    /// What routes for the unrouted make of a message that no other took and no queue is bound for.
    pub fn otherwise(&self, sent: &Sent<'_>) -> Option<Routed> {
        routed(&self.otherwise, sent, &mut |_, _| {})
    }

    /// As [`RouteTable::route`] or, if `unrouted`, [`RouteTable::otherwise`], with each step on the way.
    pub fn explain(&self, sent: &Sent<'_>, unrouted: bool) -> (Option<Routed>, Vec<Step>) {
        let part = if unrouted {
            &self.otherwise
        } else {
            &self.first
        };
        let mut steps = Vec::new();
        let routed = routed(part, sent, &mut |route, passed| {
            steps.push(step(route, passed))
        });
        (routed, steps)
    }

    /// The filters of all routes, with the routes' names.
    pub fn filters(&self) -> impl Iterator<Item = (String, Arc<str>)> {
        let all = self.first.iter().chain(self.otherwise.iter());
        all.map(|(filter, route)| (filter.as_str().to_owned(), Arc::clone(&route.name)))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty() && self.otherwise.is_empty()
    }
}

fn routed(
    router: &Router<Arc<Compiled>>,
    sent: &Sent<'_>,
    note: &mut dyn FnMut(&Compiled, &Passed),
) -> Option<Routed> {
    if router.is_empty() {
        return None;
    }
    // Unique and, as a route is ordered by `order` and name, in the order in which they count.
    let mut found: SmallVec<[Arc<Compiled>; 4]> = SmallVec::new();
    router.collect_unique(sent.address, &mut found);
    let mut routed: Option<Routed> = None;
    for route in &found {
        let passed = route.pass(sent);
        note(route, &passed);
        let Passed::Taken(to) = passed else { continue };
        let all = routed.get_or_insert_default();
        all.stays |= route.keep;
        for address in to {
            if !all.to.contains(&address) && all.to.len() < TARGETS_MAX {
                all.to.push(address);
            }
        }
        if route.last {
            break;
        }
    }
    // Back to where it came from is staying.
    if let Some(routed) = &mut routed
        && let Some(at) = routed.to.iter().position(|to| *to == sent.address)
    {
        routed.to.remove(at);
        routed.stays = true;
    }
    routed
}

fn step(route: &Compiled, passed: &Passed) -> Step {
    let (taken, text, to) = match passed {
        Passed::Taken(to) => {
            let text = match (to.is_empty(), route.keep) {
                (true, true) => "it stays where it was sent to",
                (true, false) => "the route drops it",
                (false, true) => "it goes to the route's targets and stays as well",
                (false, false) => "it goes to the route's targets",
            };
            let end = if route.last {
                "; no further route is looked at"
            } else {
                ""
            };
            (true, format!("{text}{end}"), to.to_vec())
        }
        Passed::Unmet(condition) => (
            false,
            format!("a condition does not hold: {condition}"),
            Vec::new(),
        ),
        Passed::NoAddress(text) => (
            false,
            format!("`{text}` is no address that messages can go to"),
            Vec::new(),
        ),
    };
    Step {
        route: Arc::clone(&route.name),
        taken,
        text,
        to,
    }
}
