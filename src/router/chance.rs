//! Chance that can be had again: splitmix64.

use super::ID_MAX;

/// A generator. Good enough to spread and to tell publications apart, not to keep a secret.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Less than `n`, and 0 if that is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        let n = u128::try_from(n).unwrap_or(u128::MAX);
        usize::try_from((u128::from(self.next()) * n) >> 64).unwrap_or(0)
    }

    /// An id of global scope: 1 to 2^53, each as likely (wamp.md §2).
    pub(super) fn id(&mut self) -> u64 {
        self.next() % ID_MAX + 1
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }
}

/// Spreads each bit of a number over all bits of another.
pub(super) fn mix(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
