//! Where a message lands: routes, then bindings. One answer for those who send and for those who ask (`explain`).
//!
//! ```text
//! address ─▶ routes ─▶ addresses ─▶ bindings ─▶ queues and listeners, each with the address that it gets it under
//!               └ none ─▶ bindings ─▶ no queue? ─▶ routes for the unrouted ─▶ a queue to be made? ─▶ no-route
//! ```
//!
//! Reads snapshots, without a lock; changes nothing.
//!
//! Always, with a test of this name in `broker/tests/routes.rs`: `who_listens_where_nothing_is_routed_hears_it_once`.
//!
//! Comes before: `publish.rs` and `explain.rs`. Not here: rights, records.

use smallvec::SmallVec;

use super::publish::{Care, Seen, Takers};
use super::{Routes, Shared};
use crate::engine::address::{Address, Space};
use crate::refusal::Refusal;
use crate::routes::{RouteTable, Routed, Sent, Step};

/// What becomes of a message.
#[derive(Debug)]
pub(super) enum Placed {
    /// Somebody takes it: each address that it lands at, the first with durable queues if any has.
    Lands(SmallVec<[Landing; 1]>),
    /// These addresses have no queue, and one of their name may be made first; others take it besides.
    Makes {
        addresses: SmallVec<[Address; 1]>,
        landings: SmallVec<[Landing; 1]>,
    },
    /// A route leads it nowhere.
    Dropped,
    /// Nobody takes it.
    NoRoute,
}

impl Placed {
    /// Where it lands.
    pub(super) fn landings_mut(&mut self) -> &mut [Landing] {
        match self {
            Placed::Lands(landings) | Placed::Makes { landings, .. } => landings,
            Placed::Dropped | Placed::NoRoute => &mut [],
        }
    }

    /// Whether it comes to a queue for requests.
    pub(super) fn waits_for_answer(&self) -> bool {
        match self {
            Placed::Lands(landings) | Placed::Makes { landings, .. } => {
                landings.iter().any(|it| it.takers.waits_for_answer)
            }
            Placed::Dropped | Placed::NoRoute => false,
        }
    }
}

/// An address, and who takes what is sent there.
#[derive(Debug)]
pub(super) struct Landing {
    pub(super) address: String,
    pub(super) takers: Takers,
}

impl Shared {
    /// Where a message that is sent to `address` lands. `may_make`: whether queues may be made for it. `steps`, if
    /// wanted: what each route made of it. `care`: what its sender asks for it.
    pub(super) fn place(
        &self,
        realm: &str,
        address: &Address,
        sent: &Sent<'_>,
        may_make: bool,
        care: Care,
        mut steps: Option<&mut Vec<Step>>,
    ) -> Placed {
        let tables = self.route_tables.load();
        let table = tables.get(realm);
        if let Some(routed) = routed(table, sent, false, &mut steps) {
            if routed.to.is_empty() && !routed.stays {
                return Placed::Dropped;
            }
            let stays = routed.stays.then(|| address.as_str().to_owned());
            let addresses = stays.into_iter().chain(routed.to);
            return self.gather(realm, None, addresses, may_make, care);
        }
        let takers = self.takers(&self.routes.load(), realm, address.as_str(), care);
        if takers.have_no_queue() {
            // To stay where no queue is is nothing that a route can do: without targets it is as if there was none.
            let otherwise = routed(table, sent, true, &mut steps);
            if let Some(routed) = otherwise.filter(|it| !it.to.is_empty() || !it.stays) {
                // Whoever listens where it was sent to hears it all the same; no queue is made there.
                let heard = takers.has_others().then(|| landing(address, takers));
                if routed.to.is_empty() && heard.is_none() {
                    return Placed::Dropped;
                }
                return self.gather(realm, heard, routed.to.into_iter(), may_make, care);
            }
            if may_make && address.space() == Space::Ordinary {
                return Placed::Makes {
                    addresses: SmallVec::from_iter([address.clone()]),
                    landings: SmallVec::new(),
                };
            }
            if !takers.has_others() {
                return Placed::NoRoute;
            }
        }
        Placed::Lands(SmallVec::from_iter([landing(address, takers)]))
    }

    /// Who takes it at each of `addresses`, after those who have `heard` it where it was sent to.
    fn gather(
        &self,
        realm: &str,
        heard: Option<Landing>,
        addresses: impl Iterator<Item = String>,
        may_make: bool,
        care: Care,
    ) -> Placed {
        let routes = self.routes.load();
        let mut landings: SmallVec<[Landing; 1]> = heard.into_iter().collect();
        let mut missing = SmallVec::new();
        for text in addresses {
            let takers = self.takers(&routes, realm, &text, care);
            if takers.have_no_queue()
                && may_make
                && let Ok(address) = Address::parse(&text, self.settings.address)
            {
                missing.push(address);
            } else if !takers.is_empty() {
                landings.push(Landing {
                    address: text,
                    takers,
                });
            }
        }
        once_each(&mut landings);
        if !missing.is_empty() {
            return Placed::Makes {
                addresses: missing,
                landings,
            };
        }
        if landings.is_empty() {
            return Placed::NoRoute;
        }
        Placed::Lands(landings)
    }

    /// Who takes it at an address. On a full disk no history does: a message is not refused for its sake.
    fn takers(&self, routes: &Routes, realm: &str, address: &str, care: Care) -> Takers {
        let mut takers = Takers::of(routes, realm, address, care);
        if self.is_disk_full() {
            takers.leave_out_histories();
        }
        takers
    }

    /// Why a message that was placed so is not taken, if it is not.
    pub(super) fn refuses(&self, realm: &str, placed: &Placed) -> Option<Refusal> {
        let (addresses, landings) = match placed {
            Placed::NoRoute => return Some(Refusal::NoRoute),
            Placed::Dropped => return None,
            Placed::Lands(landings) => (0, landings),
            Placed::Makes {
                addresses,
                landings,
            } => (addresses.len(), landings),
        };
        let on_disk = addresses > 0 || landings.iter().any(|it| !it.takers.durable.is_empty());
        if landings.iter().any(|it| it.takers.is_full()) || (on_disk && self.is_disk_full()) {
            return Some(Refusal::Full);
        }
        if addresses > 0 && !self.has_realm(realm) {
            return Some(Refusal::NoRoute);
        }
        (addresses > 0 && self.room_for_queues(realm) < addresses).then_some(Refusal::TooMany)
    }

    /// How many more queues a realm may have.
    pub(super) fn room_for_queues(&self, realm: &str) -> usize {
        self.queues_max(realm).saturating_sub(self.n_queues(realm))
    }

    /// How many queues a realm has.
    pub(super) fn n_queues(&self, realm: &str) -> usize {
        let routes = self.routes.load();
        let queues = routes.queues.get(realm);
        // Those of sessions are bounded by the number of these.
        queues.map_or(0, |queues| queues.names.len() - queues.n_owned)
    }
}

/// What the routes make of a message, or those for the unrouted.
fn routed(
    table: Option<&RouteTable>,
    sent: &Sent<'_>,
    unrouted: bool,
    steps: &mut Option<&mut Vec<Step>>,
) -> Option<Routed> {
    let table = table?;
    match (steps, unrouted) {
        (Some(steps), _) => {
            let (routed, more) = table.explain(sent, unrouted);
            steps.extend(more);
            routed
        }
        (None, false) => table.route(sent),
        (None, true) => table.otherwise(sent),
    }
}

fn landing(address: &Address, takers: Takers) -> Landing {
    Landing {
        address: address.as_str().to_owned(),
        takers,
    }
}

/// A queue that is bound to several of the addresses gets the message once, under the first of them; likewise a listener.
fn once_each(landings: &mut SmallVec<[Landing; 1]>) {
    if landings.len() > 1 {
        let mut seen = Seen::default();
        for landing in landings.iter_mut() {
            landing.takers.leave_out(&mut seen);
        }
        // A session that keeps it under one address is not told of it under another.
        for landing in landings.iter_mut() {
            landing.takers.leave_out_kept(&seen);
        }
        landings.sort_by_key(|landing| landing.takers.durable.is_empty());
    }
}
