//! Places for connections: those who have said who they are keep theirs, strangers make room for each other.
//!
//! A stranger is a connection without a request yet whose credentials were right. One address has so many of them; one
//! more takes the place of its oldest. Where all places are taken, the oldest stranger of the address that has most of them
//! goes. Whose credentials are being checked stays: so somebody who can log in gets in beside any number of strangers,
//! also from the strangers' own address.
//!
//! An IPv6 client has a network of 64 bits to itself, and any address in it: such a network counts as one.
//!
//! Always, each with a test of its name below:
//! - `a_stranger_too_many_takes_the_place_of_the_oldest`, of the same address.
//! - `known_ones_stay_and_strangers_make_room`.
//! - `a_network_is_one_address`.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The bits of an IPv6 address that a client cannot choose.
const NETWORK: u128 = !0 << 64;

/// What counts as one address: an IPv6 network of 64 bits, an IPv4 address, however it is written.
#[must_use]
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & NETWORK).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// All places, for all listeners.
#[derive(Clone)]
pub(crate) struct Slots {
    max: usize,
    per_address_max: usize,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Those who have said who they are.
    n_known: usize,
    /// The others, oldest first.
    strangers: BTreeMap<u64, Stranger>,
    next: u64,
}

struct Stranger {
    address: IpAddr,
    /// Its credentials are being checked.
    is_checked: bool,
    /// Told when it has to go.
    cut: Arc<Notify>,
}

/// A place, until it is dropped.
pub(crate) struct Slot {
    of: Slots,
    number: u64,
    cut: Arc<Notify>,
    is_known: Mutex<bool>,
}

/// While it is there, its connection is not cut to make room.
pub(crate) struct Checking<'a>(&'a Slot);

impl Slots {
    /// So many places, and so many strangers of one address.
    pub(crate) fn new(max: usize, per_address_max: usize) -> Slots {
        Slots {
            max,
            per_address_max,
            state: Arc::default(),
        }
    }

    /// A place for a stranger from `peer`; none: nobody has to make room.
    pub(crate) fn come(&self, peer: IpAddr) -> Option<Slot> {
        let address = network(peer);
        let mut state = self.lock();
        let n_here = state.of(address).count();
        if n_here >= self.per_address_max {
            state.cut_oldest_of(address)?;
        } else if state.n_known + state.strangers.len() >= self.max {
            let most = state.address_with_most(address);
            state.cut_oldest_of(most?)?;
        }
        let (number, cut) = (state.next, Arc::new(Notify::new()));
        state.next += 1;
        let stranger = Stranger {
            address,
            is_checked: false,
            cut: Arc::clone(&cut),
        };
        state.strangers.insert(number, stranger);
        Some(Slot {
            of: self.clone(),
            number,
            cut,
            is_known: Mutex::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn of(&self, address: IpAddr) -> impl Iterator<Item = (&u64, &Stranger)> {
        let strangers = self.strangers.iter();
        strangers.filter(move |(_, it)| it.address == address)
    }

    /// Of whom one has to go, if `newcomer` is to have a place: the newcomer counts as one of its own.
    fn address_with_most(&self, newcomer: IpAddr) -> Option<IpAddr> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for stranger in self.strangers.values().filter(|it| !it.is_checked) {
            *counts.entry(stranger.address).or_default() += 1;
        }
        if let Some(own) = counts.get_mut(&newcomer) {
            *own += 1;
        }
        let most = counts.into_iter().max_by_key(|(_, count)| *count);
        most.map(|(address, _)| address)
    }

    /// Frees the place of the oldest that may be cut, and tells it to go; none: there is none.
    fn cut_oldest_of(&mut self, address: IpAddr) -> Option<()> {
        let oldest = self.of(address).find(|(_, it)| !it.is_checked);
        let number = oldest.map(|(number, _)| *number)?;
        let stranger = self.strangers.remove(&number)?;
        stranger.cut.notify_one();
        Some(())
    }
}

impl Slot {
    /// Waits until this has to make room for another.
    pub(crate) async fn cut(&self) {
        self.cut.notified().await;
    }

    /// Keeps it while its credentials are looked at.
    pub(crate) fn checking(&self) -> Checking<'_> {
        self.set_checked(true);
        Checking(self)
    }

    /// It has said who it is, and stays.
    pub(crate) fn known(&self) {
        let mut is_known = self.is_known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.of.lock();
        // Without a place any more it is cut, and remains what it is until then.
        if !*is_known && state.strangers.remove(&self.number).is_some() {
            state.n_known += 1;
            *is_known = true;
        }
    }

    fn set_checked(&self, is_checked: bool) {
        if let Some(stranger) = self.of.lock().strangers.get_mut(&self.number) {
            stranger.is_checked = is_checked;
        }
    }
}

impl Drop for Checking<'_> {
    fn drop(&mut self) {
        self.0.set_checked(false);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let is_known = self.is_known.get_mut();
        let is_known = *is_known.unwrap_or_else(PoisonError::into_inner);
        let mut state = self.of.lock();
        if is_known {
            state.n_known -= 1;
        } else {
            state.strangers.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn come(slots: &Slots, peer: &str) -> Option<Slot> {
        slots.come(peer.parse().unwrap())
    }

    fn is_cut(slot: &Slot) -> bool {
        slot.cut().now_or_never().is_some()
    }

    #[test]
    fn a_stranger_too_many_takes_the_place_of_the_oldest() {
        let slots = Slots::new(10, 2);
        let [first, second] = [(); 2].map(|()| come(&slots, "10.0.0.1").unwrap());
        let other = come(&slots, "10.0.0.2").unwrap();
        let checking = first.checking();
        let third = come(&slots, "10.0.0.1").unwrap();
        assert!(!is_cut(&first) && is_cut(&second) && !is_cut(&other));
        let _checking_too = third.checking();
        assert!(come(&slots, "10.0.0.1").is_none(), "nobody can go");
        drop(checking);
        let fourth = come(&slots, "10.0.0.1").unwrap();
        assert!(is_cut(&first) && !is_cut(&third) && !is_cut(&fourth));
        drop((first, second));
        assert_eq!(
            slots.lock().strangers.len(),
            3,
            "no place is given back twice"
        );
    }

    #[test]
    fn known_ones_stay_and_strangers_make_room() {
        let slots = Slots::new(3, 2);
        let known = come(&slots, "10.0.0.1").unwrap();
        known.known();
        known.known();
        let [a, b] = ["10.0.0.1", "10.0.0.1"].map(|it| come(&slots, it).unwrap());
        let c = come(&slots, "10.0.0.2").unwrap();
        assert!(!is_cut(&known) && is_cut(&a) && !is_cut(&b) && !is_cut(&c));
        // The place is gone: what it says now saves it no more.
        a.known();
        b.known();
        c.known();
        assert!(come(&slots, "10.0.0.3").is_none(), "all are known");
        drop((known, a));
        assert!(come(&slots, "10.0.0.3").is_some());
        drop((b, c));
        let state = slots.lock();
        assert_eq!((state.n_known, state.strangers.len()), (0, 0));
    }

    #[test]
    fn a_network_is_one_address() {
        let slots = Slots::new(10, 1);
        let first = come(&slots, "2001:db8::1").unwrap();
        let elsewhere = come(&slots, "2001:db8:0:1::1").unwrap();
        let _same = come(&slots, "2001:db8::ffff:2").unwrap();
        assert!(is_cut(&first) && !is_cut(&elsewhere));
        let mapped = come(&slots, "::ffff:10.0.0.1").unwrap();
        let _plain = come(&slots, "10.0.0.1").unwrap();
        assert!(is_cut(&mapped));
    }
}
