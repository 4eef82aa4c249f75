//! Whom a key belongs to, of those who share something (wamp.md §7.11, §8.6).
//!
//! Rendezvous: of all peers, the one that fits the key best. So whoever comes or goes moves its own keys only, and nobody has to
//! remember anything. Who fits follows from texts and numbers alone: it is the same after a restart.

use super::chance::mix;

/// A key, or a peer's name, as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardKey(u64);

impl ShardKey {
    /// Of its text (FNV-1a).
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// How well a peer of that name fits it; the best has it.
    #[must_use]
    pub fn fit(self, peer: ShardKey) -> u64 {
        self.fit_number(peer.0)
    }

    /// The same for a peer that has a number.
    pub(super) fn fit_number(self, peer: u64) -> u64 {
        mix(self.0 ^ mix(peer))
    }
}
