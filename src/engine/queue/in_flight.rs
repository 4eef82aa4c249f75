//! Who has what of a queue, both ways: the holder of an offset, and the offsets of a holder.
//!
//! ```text
//! holders:  offset ─▶ consumer
//! hands:    consumer ─▶ how many, and their offsets among others that it had once
//! ```
//!
//! The way back is kept loosely, so that it costs a delivery next to nothing: an offset is written behind the others when it
//! is handed out, and stays there when it is settled. The list is cleaned when more than half of it is old.
//!
//! Always, each with a test of its name below:
//! - `both_ways_agree_with_a_model`
//! - `what_is_settled_does_not_pile_up`
//!
//! Not here: whether an offset waits at all (`contents.rs`).

use restante_storage::Offset;
use rustc_hash::FxHashMap;

use super::{CLAIMED, NOBODY};
use crate::engine::dispatch::ConsumerId;

/// Old offsets that a list may have in any case.
const OLD_MAX: usize = 64;

/// What is in flight.
#[derive(Debug, Default)]
pub(in crate::engine) struct InFlight {
    holders: FxHashMap<Offset, ConsumerId>,
    /// Without [`NOBODY`] and [`CLAIMED`].
    hands: FxHashMap<ConsumerId, Hand>,
}

/// What a consumer has.
#[derive(Debug, Default)]
struct Hand {
    n: usize,
    /// All that it has, and some that it had.
    offsets: Vec<Offset>,
}

impl InFlight {
    pub(in crate::engine) fn len(&self) -> usize {
        self.holders.len()
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    pub(in crate::engine) fn get(&self, offset: Offset) -> Option<ConsumerId> {
        self.holders.get(&offset).copied()
    }

    pub(in crate::engine) fn contains(&self, offset: Offset) -> bool {
        self.holders.contains_key(&offset)
    }

    #[cfg(test)]
    pub(in crate::engine) fn offsets(&self) -> impl Iterator<Item = Offset> {
        self.holders.keys().copied()
    }

    /// From now on `holder` has it, whoever had it before.
    pub(in crate::engine) fn insert(&mut self, offset: Offset, holder: ConsumerId) {
        let before = self.holders.insert(offset, holder);
        if before == Some(holder) {
            return;
        }
        self.leaves(before);
        if !is_consumer(holder) {
            return;
        }
        let hand = self.hands.entry(holder).or_default();
        hand.n += 1;
        hand.offsets.push(offset);
        if hand.offsets.len() > 2 * hand.n + OLD_MAX {
            hand.offsets.sort_unstable();
            hand.offsets.dedup();
            let holders = &self.holders;
            hand.offsets.retain(|it| holders.get(it) == Some(&holder));
        }
    }

    /// `holder` has it unless somebody else does already; whether it was nobody's.
    pub(in crate::engine) fn insert_if_free(&mut self, offset: Offset, holder: ConsumerId) -> bool {
        let is_free = !self.contains(offset);
        if is_free {
            self.insert(offset, holder);
        }
        is_free
    }

    /// It is nobody's any more.
    pub(in crate::engine) fn remove(&mut self, offset: Offset) {
        let before = self.holders.remove(&offset);
        self.leaves(before);
    }

    fn leaves(&mut self, holder: Option<ConsumerId>) {
        let Some(holder) = holder.filter(|it| is_consumer(*it)) else {
            return;
        };
        if let Some(hand) = self.hands.get_mut(&holder) {
            hand.n -= 1;
            if hand.n == 0 {
                hand.offsets.clear();
            }
        }
    }

    /// What a consumer has, ascending: costs what it has, not what all have.
    pub(in crate::engine) fn of(&self, holder: ConsumerId) -> Vec<Offset> {
        let hand = self.hands.get(&holder);
        let all = hand.into_iter().flat_map(|hand| &hand.offsets).copied();
        let mut has: Vec<Offset> = all.filter(|it| self.get(*it) == Some(holder)).collect();
        has.sort_unstable();
        // What came back and was handed out to it again is written down twice.
        has.dedup();
        has
    }

    /// How much a consumer has.
    pub(in crate::engine) fn n_of(&self, holder: ConsumerId) -> u64 {
        self.hands.get(&holder).map_or(0, |hand| hand.n as u64)
    }

    /// The consumers that have something, and how much.
    pub(in crate::engine) fn hands(&self) -> impl Iterator<Item = (ConsumerId, u64)> {
        let all = self.hands.iter();
        all.filter(|(_, hand)| hand.n > 0)
            .map(|(id, hand)| (*id, hand.n as u64))
    }

    /// A consumer that has nothing any more is gone.
    pub(in crate::engine) fn forget(&mut self, holder: ConsumerId) {
        if self.n_of(holder) == 0 {
            self.hands.remove(&holder);
        }
    }
}

fn is_consumer(holder: ConsumerId) -> bool {
    holder != NOBODY && holder != CLAIMED
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// That all is as it must be, and no list longer than it may.
    fn agrees(it: &InFlight, model: &BTreeMap<Offset, ConsumerId>) {
        assert_eq!((it.len(), it.is_empty()), (model.len(), model.is_empty()));
        let mut hands = BTreeMap::<ConsumerId, Vec<Offset>>::new();
        for (offset, holder) in model {
            assert_eq!(it.get(*offset), Some(*holder));
            if is_consumer(*holder) {
                hands.entry(*holder).or_default().push(*offset);
            }
        }
        for (holder, offsets) in &hands {
            assert_eq!(&it.of(*holder), offsets);
        }
        let counted: BTreeMap<ConsumerId, u64> = it.hands().collect();
        let wanted = hands.iter().map(|(id, has)| (*id, has.len() as u64));
        assert_eq!(counted, wanted.collect());
        for hand in it.hands.values() {
            assert!(hand.offsets.len() <= 600);
        }
    }

    proptest! {
        #[test]
        fn both_ways_agree_with_a_model(
            steps in prop::collection::vec((0..4_u8, 0..100_u64, 0..5_usize), 1..600),
        ) {
            let holders = [NOBODY, ConsumerId(1), ConsumerId(2), ConsumerId(3), CLAIMED];
            let (mut it, mut model) = (InFlight::default(), BTreeMap::new());
            for (what, offset, holder) in steps {
                let (offset, holder) = (Offset::new(offset), holders[holder]);
                match what {
                    0 => {
                        it.remove(offset);
                        model.remove(&offset);
                    }
                    1 => {
                        let was_free = !model.contains_key(&offset);
                        assert_eq!(it.insert_if_free(offset, holder), was_free);
                        model.entry(offset).or_insert(holder);
                    }
                    2 => {
                        it.insert(offset, holder);
                        model.insert(offset, holder);
                    }
                    _ => it.forget(holder),
                }
            }
            agrees(&it, &model);
        }
    }

    #[test]
    fn what_is_settled_does_not_pile_up() {
        let (mut it, consumer) = (InFlight::default(), ConsumerId(1));
        for n in 0..100_000 {
            it.insert(Offset::new(n), consumer);
            if n >= 10 {
                it.remove(Offset::new(n - 10));
            }
            let hand = it.hands.values().next().unwrap();
            assert!(hand.offsets.len() <= 2 * 11 + OLD_MAX);
        }
        // The same over and over again, as where a client gives everything back.
        for _ in 0..10_000 {
            it.insert(Offset::new(99_999), NOBODY);
            it.insert(Offset::new(99_999), consumer);
            let hand = it.hands.values().next().unwrap();
            assert!(hand.offsets.len() <= 2 * 11 + OLD_MAX);
        }
        assert_eq!(it.of(consumer).len(), 10);
        (0..100_000).for_each(|n| it.remove(Offset::new(n)));
        it.forget(consumer);
        assert_eq!((it.len(), it.hands.len()), (0, 0));
    }
}
