//! A set of rights over the broker itself.

use std::fmt;

use crate::registry::Grant;

/// Some of the [`Grant`]s.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Grants(u8);

impl Grants {
    /// All of them: what `admin` has.
    pub const ALL: Grants = Grants((1 << Grant::ALL.len()) - 1);

    /// Whether `grant` is among them.
    pub fn has(self, grant: Grant) -> bool {
        self.0 & Self::bit(grant) != 0
    }

    /// Those of either.
    pub fn and(self, others: Grants) -> Grants {
        Grants(self.0 | others.0)
    }

    /// Them, weakest first.
    pub fn iter(self) -> impl Iterator<Item = Grant> {
        Grant::ALL.into_iter().filter(move |grant| self.has(*grant))
    }

    fn bit(grant: Grant) -> u8 {
        1 << (grant as u8)
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        let bits = grants.into_iter().map(Grants::bit);
        Grants(bits.fold(0, |all, bit| all | bit))
    }
}

impl FromIterator<Grants> for Grants {
    fn from_iter<I: IntoIterator<Item = Grants>>(grants: I) -> Self {
        grants.into_iter().fold(Grants::default(), Grants::and)
    }
}

impl fmt::Debug for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_was_put_in() {
        let some: Grants = [Grant::Secure, Grant::Monitor].into_iter().collect();
        assert!(some.has(Grant::Secure) && some.has(Grant::Monitor) && !some.has(Grant::Read));
        assert_eq!(format!("{some:?}"), "{Monitor, Secure}");
        assert!(Grant::ALL.into_iter().all(|grant| Grants::ALL.has(grant)));
        assert_eq!(Grants::ALL.iter().count(), Grant::ALL.len());
        let read: Grants = [Grant::Read].into_iter().collect();
        assert_eq!(some.and(read).iter().count(), 3);
    }
}
