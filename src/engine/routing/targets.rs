//! What is bound to one filter: a set that is small when small and shares its structure when large.
//!
//! Nearly every filter has one target, kept in place. A topic with a hundred thousand subscribers is a persistent
//! B-tree, of which a change copies one path and not the whole: `a_crowd_on_one_filter_shares_its_structure`.

use std::sync::Arc;

use imbl::OrdSet;
use smallvec::SmallVec;

/// Up to here a plain slice is copied at a change: smaller than a tree's node, and quicker to walk.
const FEW_MAX: usize = 16;

/// A set that is never empty, in order.
#[derive(Clone)]
pub(super) enum Targets<T> {
    One(T),
    Few(Arc<[T]>),
    Many(OrdSet<T>),
}

impl<T: Clone + Ord> Targets<T> {
    pub(super) fn contains(&self, target: &T) -> bool {
        match self {
            Self::One(one) => one == target,
            Self::Few(few) => few.binary_search(target).is_ok(),
            Self::Many(many) => many.contains(target),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    /// In order, for the caller that cannot lend a closure.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        let (slice, tree) = match self {
            Self::One(one) => (std::slice::from_ref(one), None),
            Self::Few(few) => (few.as_ref(), None),
            Self::Many(many) => (Default::default(), Some(many)),
        };
        slice.iter().chain(tree.into_iter().flatten())
    }

    pub(super) fn for_each(&self, visit: &mut impl FnMut(&T)) {
        match self {
            Self::One(one) => visit(one),
            Self::Few(few) => few.iter().for_each(visit),
            Self::Many(many) => many.iter().for_each(visit),
        }
    }

    /// Adds `target`; false if it was there.
    pub(super) fn insert(&mut self, target: T) -> bool {
        if self.contains(&target) {
            return false;
        }
        if let Self::Many(many) = self {
            many.insert(target);
            return true;
        }
        let place = self.iter().take_while(|other| **other < target).count();
        let mut few: SmallVec<[T; FEW_MAX + 1]> = self.iter().cloned().collect();
        few.insert(place, target);
        *self = if few.len() > FEW_MAX {
            Self::Many(few.into_iter().collect())
        } else {
            Self::Few(few.as_slice().into())
        };
        true
    }

    /// Takes out `target`, which is in it with others.
    pub(super) fn remove(&mut self, target: &T) {
        if let Self::Many(many) = self {
            many.remove(target);
            // Half way down, so that one target that comes and goes does not rebuild the set each time.
            if many.len() > FEW_MAX / 2 {
                return;
            }
        }
        let left = self.iter().filter(|other| *other != target);
        let left: SmallVec<[T; FEW_MAX]> = left.cloned().collect();
        *self = match left.as_slice() {
            [one] => Self::One(one.clone()),
            few => Self::Few(few.into()),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn targets_are_a_set_in_order(steps in prop::collection::vec((any::<bool>(), 0..40_u8), 1..200)) {
            let mut targets = Targets::One(0);
            let mut expected = BTreeSet::from([0]);
            for (add, target) in steps {
                if add {
                    prop_assert_eq!(targets.insert(target), expected.insert(target));
                } else if expected.len() > 1 && expected.remove(&target) {
                    targets.remove(&target);
                }
                prop_assert!(targets.iter().eq(&expected));
                prop_assert_eq!(targets.len(), expected.len());
                prop_assert_eq!(targets.contains(&target), expected.contains(&target));
            }
        }
    }
}
