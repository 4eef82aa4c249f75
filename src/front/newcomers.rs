//! Connections that have not said yet who they are, by address: nobody alone can use up what all need.
//!
//! An IPv6 client has a network of 64 bits to itself, and any address in it: such a network counts as one.
//!
//! Always, each with a test of its name:
//! - `a_network_is_one_address` (below).
//! - `a_thousand_stalled_connections_of_one_address_keep_nobody_else_out` (`front::tests`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use restante_admin_api::network;

/// How many there are of each address. It holds no address of which there are none.
#[derive(Clone)]
pub(super) struct Newcomers {
    max: usize,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of them, until it is dropped.
pub(super) struct Newcomer {
    of: Newcomers,
    address: IpAddr,
}

impl Newcomers {
    /// At most `max` of one address.
    pub(super) fn new(max: usize) -> Self {
        Newcomers {
            max,
            counts: Arc::default(),
        }
    }

    /// One more from `peer`; none: it has too many.
    pub(super) fn come(&self, peer: IpAddr) -> Option<Newcomer> {
        let address = network(peer);
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_insert(0);
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Newcomer {
            of: self.clone(),
            address,
        })
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        let mut counts = self.of.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_one_address() {
        let newcomers = Newcomers::new(1);
        let come = |peer: &str| newcomers.come(peer.parse().unwrap());
        let first = come("2001:db8::1");
        assert!(first.is_some());
        assert!(come("2001:db8::ffff:2").is_none());
        assert!(come("2001:db8:0:1::1").is_some());
        let _fourth = come("10.0.0.1").unwrap();
        assert!(come("::ffff:10.0.0.1").is_none());
        assert!(come("10.0.0.2").is_some());
        drop(first);
        assert!(come("2001:db8::3").is_some(), "its place is free again");
        assert_eq!(newcomers.counts.lock().len(), 1, "only who is there counts");
    }
}
