//! Where an address leads: which targets are bound to a filter that matches it.
//!
//! ```text
//! writer   bind, unbind ──▶ Router ──snapshot()──▶ Router ──▶ readers: matches(address)
//!                              └─── both share all that did not change ───┘
//! ```
//!
//! Most filters are exact, and those are one hash table: an address finds its own in one look-up, however many there are and
//! however deep. Only filters with wildcards are in a trie. Both are persistent: a snapshot is a clone of four words and
//! two counts, may go to other threads, and never changes; the writer copies what it then touches, a few nodes.
//!
//! The work of a match is bounded. A node of the trie is looked at only if the address fits its path, so at one level those
//! looked at differ only in *which* of their segments are `+`. That choice is a filter's **shape** (`a/+/b` and `c/+/#` have
//! the same one), so a match looks at no more than levels × shapes nodes, whatever and however much is bound. Of a filter that
//! ends with `TEXT#`, the length of that text is a part of the shape too (`a/bc#` and `d/ef#` have the same one): it is looked up
//! by as many characters, so that this takes no more than levels × shapes look-ups either. Real
//! systems have a handful of shapes; who binds `+/a/a`, `a/+/a`, `+/+/a` … to slow others down has to make a new one
//! each time. [`Router::shapes_with`] says how many a filter would make it: refuse what is over the limit before it is logged.
//!
//! Always, each with a test of its name below:
//! - `it_finds_what_the_filters_say`: the same as asking each filter, over any binds and unbinds.
//! - `a_snapshot_never_changes`.
//! - `work_is_bounded_by_levels_times_shapes`.
//! - `what_was_unbound_leaves_nothing_behind`.
//!
//! Not here: routes, property filters, rights (the caller's), realms (each has a router of its own).

use std::fmt;
use std::sync::Arc;

use imbl::{HashMap, OrdMap};
use smallvec::SmallVec;

use self::targets::Targets;
use self::trie::Node;
use super::address::{Filter, FilterSegment};

mod prefixes;
mod targets;
mod texts;
mod trie;

/// The bindings of one realm: pairs of a filter and a target. `T` is a small name of what is bound, such as a queue's id.
///
/// Cloning is taking a snapshot: a few reference counts, whatever it holds.
#[derive(Clone)]
pub struct Router<T> {
    /// By the filter's text, which is that of the one address that it matches. Hashed with a key made at start, so that nobody
    /// can choose addresses that collide; no result depends on it.
    exact: HashMap<Arc<str>, Targets<T>>,
    wild: Arc<Node<T>>,
    /// How many filters with wildcards there are of each shape.
    shapes: OrdMap<Shape, usize>,
    n_bindings: usize,
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            wild: Arc::default(),
            shapes: OrdMap::new(),
            n_bindings: 0,
        }
    }
}

impl<T: Clone + Ord> Router<T> {
    /// One without bindings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds `target` to `filter`; false, and nothing changes, if it was bound to that very filter before.
    ///
    /// Costs the same with a million bindings as with a thousand, and for the hundred-thousandth target of a filter.
    pub fn bind(&mut self, filter: &Filter, target: T) -> bool {
        match self.find(filter) {
            Some(targets) if targets.contains(&target) => return false,
            Some(_) => {}
            None => self.count_shape(filter),
        }
        self.n_bindings += 1;
        if !filter.is_exact() {
            Arc::make_mut(&mut self.wild).insert(filter.segments(), target);
        } else if let Some(targets) = self.exact.get_mut(filter.text()) {
            targets.insert(target);
        } else {
            let text = Arc::clone(filter.text());
            self.exact.insert(text, Targets::One(target));
        }
        true
    }

    /// Undoes a [`bind`](Self::bind) of the same two; false, and nothing changes, if there was none.
    pub fn unbind(&mut self, filter: &Filter, target: &T) -> bool {
        let n_targets = match self.find(filter) {
            Some(targets) if targets.contains(target) => targets.len(),
            _ => return false,
        };
        self.n_bindings -= 1;
        if n_targets == 1 {
            self.discount_shape(filter);
        }
        if !filter.is_exact() {
            Arc::make_mut(&mut self.wild).remove(filter.segments(), target);
        } else if n_targets == 1 {
            self.exact.remove(filter.text());
        } else if let Some(targets) = self.exact.get_mut(filter.text()) {
            targets.remove(target);
        }
        true
    }

    /// This moment's bindings, for readers on any thread; never changes, and costs the same however many there are.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        self.clone()
    }

    /// Shows `visit` every target with a filter that matches `address`, once for each such filter.
    ///
    /// `address` is the text of an [`Address`](super::address::Address); for any other text the answer means nothing, but
    /// comes as quickly. The targets of a filter come in their order, and the filters in an order that depends on the address
    /// and the filters alone. Allocates nothing for addresses of up to 32 levels.
    pub fn matches(&self, address: &str, visit: &mut impl FnMut(&T)) {
        self.matching_filters(address, &mut |targets| targets.for_each(visit));
    }

    /// Puts every target with a filter that matches `address` into `found`, once, in order; what was in it goes.
    pub fn collect_unique(&self, address: &str, found: &mut SmallVec<[T; 4]>) {
        found.clear();
        let mut n_filters = 0;
        self.matching_filters(address, &mut |targets| {
            n_filters += 1;
            targets.for_each(&mut |target| found.push(target.clone()));
        });
        if n_filters > 1 {
            found.sort_unstable();
            found.dedup();
        }
    }

    /// Whether `target` is bound to this very filter.
    pub fn contains(&self, filter: &Filter, target: &T) -> bool {
        self.find(filter)
            .is_some_and(|targets| targets.contains(target))
    }

    /// All that is bound to this very filter, ascending.
    pub fn bound_to(&self, filter: &Filter) -> impl Iterator<Item = &T> {
        self.find(filter).into_iter().flat_map(Targets::iter)
    }

    /// Every binding, those of a filter together; the filters in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (Filter, &T)> {
        let exact = (self.exact.iter()).map(|(text, targets)| (Arc::clone(text), targets));
        let wild = (self.wild.filters(String::new())).map(|(text, targets)| (text.into(), targets));
        exact.chain(wild).flat_map(|(text, targets)| {
            let filter = Filter::known(text);
            targets.iter().map(move |target| (filter.clone(), target))
        })
    }

    /// How many bindings there are: pairs of a filter and a target.
    pub fn len(&self) -> usize {
        self.n_bindings
    }

    /// Whether nothing is bound.
    pub fn is_empty(&self) -> bool {
        self.n_bindings == 0
    }

    /// How many shapes there would be with `filter` among the bound (see the module's head): what to compare with a limit
    /// before a bind is logged. An exact filter, and one of a shape that is there, adds none.
    pub fn shapes_with(&self, filter: &Filter) -> usize {
        let is_new = !filter.is_exact() && !self.shapes.contains_key(&Shape::of(filter));
        self.shapes.len() + usize::from(is_new)
    }

    fn find(&self, filter: &Filter) -> Option<&Targets<T>> {
        if filter.is_exact() {
            self.exact.get(filter.text())
        } else {
            self.wild.find(filter.segments())
        }
    }

    /// Returns how many nodes and prefixes of the trie it looked at.
    fn matching_filters<'a>(
        &'a self,
        address: &str,
        visit: &mut impl FnMut(&'a Targets<T>),
    ) -> usize {
        self.exact.get(address).into_iter().for_each(&mut *visit);
        self.wild.matches(address, visit)
    }

    fn count_shape(&mut self, filter: &Filter) {
        if !filter.is_exact() {
            *self.shapes.entry(Shape::of(filter)).or_default() += 1;
        }
    }

    fn discount_shape(&mut self, filter: &Filter) {
        if filter.is_exact() {
            return;
        }
        let shape = Shape::of(filter);
        match self.shapes.get_mut(&shape) {
            Some(n_filters) if *n_filters > 1 => *n_filters -= 1,
            _ => drop(self.shapes.remove(&shape)),
        }
    }
}

impl<T> fmt::Debug for Router<T> {
    /// Says how much it holds, not what: that may be a million.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Router")
            .field("n_bindings", &self.n_bindings)
            .field("n_exact_filters", &self.exact.len())
            .field("n_shapes", &self.shapes.len())
            .finish_non_exhaustive()
    }
}

/// What the work of a match depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Shape {
    /// Which segments are `+`, a bit for each: `AddressLimits::SEGMENTS_CEILING` is their number.
    any: u128,
    /// How many bytes are in front of the `#` that ends the last segment; 0: it does not end so.
    prefix_bytes: usize,
}

impl Shape {
    fn of(filter: &Filter) -> Self {
        let mut shape = Self::default();
        for (level, segment) in filter.segments().enumerate() {
            match segment {
                FilterSegment::One => shape.any |= 1 << level,
                FilterSegment::Prefix(text) => shape.prefix_bytes = text.len(),
                FilterSegment::Literal(_) | FilterSegment::Rest => {}
            }
        }
        shape
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::address::{Address, AddressLimits};

    fn filter(text: &str) -> Filter {
        text.parse().unwrap()
    }

    fn router(bindings: &[(&str, u32)]) -> Router<u32> {
        let mut router = Router::new();
        for (text, target) in bindings {
            assert!(router.bind(&filter(text), *target), "{text} {target}");
        }
        router
    }

    fn found(router: &Router<u32>, address: &str) -> Vec<u32> {
        let mut found = SmallVec::new();
        router.collect_unique(address, &mut found);
        found.to_vec()
    }

    #[test]
    fn a_target_of_several_matching_filters_is_collected_once() {
        let router = router(&[("a/b", 7), ("a/+", 7), ("#", 7), ("a/#", 3), ("a/b", 9)]);
        assert_eq!(found(&router, "a/b"), [3, 7, 9]);
        let mut seen = Vec::new();
        router.matches("a/b", &mut |target| seen.push(*target));
        assert_eq!(seen, [7, 9, 7, 3, 7]);
    }

    #[test]
    fn what_was_collected_before_is_not_kept() {
        let router = router(&[("a", 1)]);
        let mut found = SmallVec::from_slice(&[5, 6]);
        router.collect_unique("a", &mut found);
        assert_eq!(found.as_slice(), [1]);
        router.collect_unique("b", &mut found);
        assert!(found.is_empty());
    }

    #[test]
    fn a_leading_wildcard_leaves_the_other_spaces_alone() {
        let router = router(&[
            ("#", 1),
            ("+/x", 2),
            ("$SYS/#", 3),
            ("~id/x", 4),
            ("+", 5),
            ("+/x#", 6),
            ("$S#", 7),
            ("%24S#", 8),
        ]);
        assert_eq!(found(&router, "$SYS"), [3, 7]);
        assert_eq!(found(&router, "$SYS/x"), [3, 7]);
        assert_eq!(found(&router, "~id/x"), [4]);
        assert_eq!(found(&router, "%24SYS/x"), [1, 2, 6, 8]);
        assert_eq!(found(&router, "a"), [1, 5]);
    }

    #[test]
    fn binding_twice_and_unbinding_nothing_change_nothing() {
        let mut router = router(&[("a/+", 1), ("a/b", 1), ("a/#", 1)]);
        for text in ["a/+", "a/b", "a/#"] {
            assert!(!router.bind(&filter(text), 1));
            assert!(!router.unbind(&filter(text), &2));
        }
        assert!(!router.unbind(&filter("a"), &1));
        assert!(!router.unbind(&filter("a/+/c"), &1));
        assert!(!router.unbind(&filter("+"), &1));
        assert_eq!(router.len(), 3);
        assert!(router.contains(&filter("a/+"), &1));
        assert!(!router.contains(&filter("a/+"), &2));
    }

    #[test]
    fn iteration_gives_every_binding() {
        let bindings = [
            ("#", 1),
            ("+/a/#", 2),
            ("a/b", 3),
            ("a/b", 4),
            ("a/+", 5),
            ("$x/+/c", 6),
            ("a/b#", 7),
            ("a/b#", 8),
            ("x#", 9),
        ];
        let router = router(&bindings);
        let seen: BTreeSet<_> = router.iter().map(|(f, t)| (f.to_string(), *t)).collect();
        let expected = bindings.map(|(text, target)| (text.to_string(), target));
        assert_eq!(seen, expected.into());
        assert_eq!(router.iter().count(), router.len());
    }

    #[test]
    fn what_was_unbound_leaves_nothing_behind() {
        let texts = [
            "a/+/b/c/#",
            "a/+",
            "+/+/+/+",
            "x/#",
            "x/y",
            "#",
            "x#",
            "+/xy#",
            "a/b/c#",
        ];
        let many = (0..50).map(|i| format!("m/{i}/+"));
        let many: Vec<_> = many.chain((0..50).map(|i| format!("m/{i}#"))).collect();
        let all = || texts.into_iter().chain(many.iter().map(String::as_str));
        let mut router = Router::new();
        for (target, text) in (0..).zip(all()) {
            assert!(router.bind(&filter(text), target));
        }
        for (target, text) in (0..).zip(all()) {
            assert!(router.unbind(&filter(text), &target));
        }
        assert!(router.is_empty());
        assert_eq!(router.wild.n_nodes(), 1);
        assert_eq!((router.exact.len(), router.shapes.len()), (0, 0));
    }

    #[test]
    fn a_branch_goes_when_its_last_filter_does_and_no_sooner() {
        let mut router = router(&[("a/+/b/#", 1), ("a/+/b/+", 1), ("a/+", 1)]);
        assert_eq!(router.wild.n_nodes(), 5);
        router.unbind(&filter("a/+/b/#"), &1);
        assert_eq!(router.wild.n_nodes(), 5);
        router.unbind(&filter("a/+/b/+"), &1);
        assert_eq!(router.wild.n_nodes(), 3);
        assert_eq!(found(&router, "a/x"), [1]);
    }

    #[test]
    fn a_snapshot_never_changes() {
        let mut router = router(&[("a/b", 1), ("a/+", 2), ("a/#", 3)]);
        let before = router.snapshot();
        router.bind(&filter("a/b"), 4);
        router.bind(&filter("#"), 5);
        router.unbind(&filter("a/+"), &2);
        assert_eq!(found(&before, "a/b"), [1, 2, 3]);
        assert_eq!(found(&router, "a/b"), [1, 3, 4, 5]);
        assert_eq!((before.len(), router.len()), (3, 4));
    }

    #[test]
    fn a_snapshot_may_be_read_on_other_threads() {
        let router = router(&[("a/+", 1)]);
        let published = arc_swap::ArcSwap::from_pointee(router.snapshot());
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(found(&published.load(), "a/b"), [1]));
        });
    }

    /// Every filter of `n_levels` segments, each `a` or `+`, then `tail`: the worst that can be bound.
    fn every_shape(n_levels: usize, tail: &str) -> Vec<Filter> {
        let segment = |bits: usize, level| if bits >> level & 1 == 1 { "+" } else { "a" };
        let text = |bits| {
            (0..n_levels)
                .map(|level| segment(bits, level))
                .collect::<Vec<_>>()
        };
        (0..1 << n_levels)
            .map(|bits| filter(&format!("{}/{tail}", text(bits).join("/"))))
            .collect()
    }

    #[test]
    fn work_is_bounded_by_levels_times_shapes() {
        let address = ["a"; 64].join("/");
        let mut router = Router::new();
        for (target, filter) in every_shape(10, "#").into_iter().enumerate() {
            router.bind(&filter, target);
        }
        for other in 0..10_000 {
            router.bind(&filter(&format!("{other}/+/x")), other);
        }
        let n_shapes = router.shapes.len();
        assert_eq!(n_shapes, 1 << 10);
        let mut n_filters = 0;
        let n_visited = router.matching_filters(&address, &mut |_| n_filters += 1);
        assert_eq!(n_filters, n_shapes);
        assert!(n_visited <= 65 * n_shapes, "{n_visited}");

        // With a limit on shapes the work stays within it, however many filters are tried.
        let mut router = Router::new();
        for (target, filter) in every_shape(12, "x").into_iter().enumerate() {
            if router.shapes_with(&filter) <= 100 {
                router.bind(&filter, target);
            }
        }
        assert_eq!(router.shapes.len(), 100);
        let n_visited = router.matching_filters(&address, &mut |_| {});
        assert!(n_visited <= 65 * 100, "{n_visited}");
    }

    #[test]
    fn a_hundred_thousand_prefixes_are_looked_up_by_their_lengths() {
        let mut router = Router::new();
        for target in 0..100_000 {
            router.bind(&filter(&format!("com/{target:05}-#")), target);
        }
        for (target, text) in ["com/1#", "com/123#", "com/1234567#"]
            .into_iter()
            .enumerate()
        {
            router.bind(&filter(text), 200_000 + target as u32);
        }
        assert_eq!(router.shapes.len(), 4);
        assert_eq!(found(&router, "com/12345-6/x"), [12_345, 200_000, 200_001]);
        assert_eq!(found(&router, "com/1234567"), [200_000, 200_001, 200_002]);
        // The root, `com`, and one look-up for each length.
        let n_visited = router.matching_filters("com/12345-6/x", &mut |_| {});
        assert_eq!(n_visited, 2 + 4);
        let n_visited = router.matching_filters("com/1", &mut |_| {});
        assert_eq!(n_visited, 2 + 1);
    }

    #[test]
    fn a_prefix_ends_between_characters() {
        let router = router(&[("a/é#", 1), ("a/éa#", 2), ("a/b#", 3), ("a/bcd#", 4)]);
        assert_eq!(found(&router, "a/é"), [1]);
        assert_eq!(found(&router, "a/éa"), [1, 2]);
        assert_eq!(found(&router, "a/b😀"), [3]);
        assert!(found(&router, "a/😀").is_empty());
    }

    #[test]
    fn a_filter_of_a_known_shape_adds_none() {
        let mut router = router(&[("a/+", 1), ("b/+/#", 1), ("#", 1)]);
        assert_eq!(router.shapes_with(&filter("c/d/e")), 2);
        assert_eq!(router.shapes_with(&filter("c/+/e/f")), 2);
        assert_eq!(router.shapes_with(&filter("+")), 3);
        assert_eq!(router.shapes_with(&filter("x/a#")), 3);
        router.bind(&filter("x/a#"), 1);
        assert_eq!(router.shapes_with(&filter("y#")), 3);
        assert_eq!(router.shapes_with(&filter("y/ab#")), 4);
        assert_eq!(router.shapes_with(&filter("+/a#")), 4);
        router.unbind(&filter("x/a#"), &1);
        router.unbind(&filter("a/+"), &1);
        assert_eq!(router.shapes.len(), 2);
        router.unbind(&filter("b/+/#"), &1);
        assert_eq!(router.shapes.len(), 1);
    }

    #[test]
    fn the_deepest_filters_are_bound_found_and_dropped() {
        let limits = AddressLimits {
            bytes_max: usize::MAX,
            segments_max: usize::MAX,
        };
        let deepest = |segment| [segment; AddressLimits::SEGMENTS_CEILING].join("/");
        let plus = Filter::parse(&deepest("+"), limits).unwrap();
        let mut router = router(&[("a/#", 1)]);
        assert!(router.bind(&plus, 2));
        assert_eq!(found(&router, &deepest("a")), [1, 2]);
        assert_eq!(router.iter().count(), 2);
        assert!(router.unbind(&plus, &2));
        assert_eq!(router.wild.n_nodes(), 2);
    }

    #[test]
    fn a_crowd_on_one_filter_shares_its_structure() {
        for text in ["a/b", "a/+"] {
            let mut router = Router::new();
            let mut snapshots = Vec::new();
            for target in 0..20_000 {
                router.bind(&filter(text), target);
                snapshots.push(router.snapshot()); // 20,000 copies of up to 20,000 would not fit
            }
            assert_eq!(found(&router, "a/b").len(), 20_000);
            assert_eq!(found(&snapshots[9_999], "a/b").len(), 10_000);
            for target in 0..19_999 {
                assert!(router.unbind(&filter(text), &target));
            }
            assert_eq!(found(&router, "a/b"), [19_999]);
        }
    }

    /// A bind (true) or an unbind.
    type Step = (bool, Filter, u32);

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let segment = prop::sample::select(vec!["a", "b", "+", "+", "$a", "~a", "%00", "c", "é"]);
        let segments = prop::collection::vec(segment, 1..5);
        let ends = ["#", "#", "a#", "é#", "ab#", "é2#", "$#", "a%2F#", "c#"];
        let end = prop::option::of(prop::sample::select(ends.to_vec()));
        let filters = (segments, end).prop_map(|(mut segments, end)| {
            if let Some(end) = end {
                segments.pop();
                segments.push(end);
            }
            filter(&segments.join("/"))
        });
        let targets = prop_oneof![0..4_u32, 0..40_u32];
        prop::collection::vec((prop::bool::weighted(0.7), filters, targets), 0..120)
    }

    fn addresses() -> impl Strategy<Value = Vec<Address>> {
        let segment = prop::sample::select(vec![
            "a", "b", "$a", "~a", "%00", "c", "d", "ab", "é", "é2x", "a%2Fb", "ca",
        ]);
        let address = prop::collection::vec(segment, 1..6);
        prop::collection::vec(address.prop_map(|s| s.join("/").parse().unwrap()), 1..20)
    }

    /// What the router must say, asked of each filter in turn.
    fn check(router: &Router<u32>, bound: &BTreeSet<(Filter, u32)>, addresses: &[Address]) {
        assert_eq!(router.len(), bound.len());
        let all: BTreeSet<_> = router.iter().map(|(filter, t)| (filter, *t)).collect();
        assert_eq!(&all, bound);
        for address in addresses {
            let matching = bound.iter().filter(|(filter, _)| filter.matches(address));
            let mut expected: Vec<_> = matching.map(|(_, target)| *target).collect();
            let mut seen = Vec::new();
            router.matches(address.as_str(), &mut |target| seen.push(*target));
            expected.sort_unstable();
            seen.sort_unstable();
            assert_eq!(seen, expected, "{address}");
            expected.dedup();
            assert_eq!(found(router, address.as_str()), expected, "{address}");
        }
    }

    proptest! {
        #[test]
        fn it_finds_what_the_filters_say(steps in steps(), addresses in addresses()) {
            let mut router = Router::new();
            let mut bound = BTreeSet::new();
            let mut snapshots = Vec::new();
            for (index, (bind, filter, target)) in steps.into_iter().enumerate() {
                if bind {
                    assert_eq!(router.bind(&filter, target), bound.insert((filter, target)));
                } else {
                    assert_eq!(router.unbind(&filter, &target), bound.remove(&(filter, target)));
                }
                if index % 16 == 0 {
                    snapshots.push((router.snapshot(), bound.clone()));
                }
            }
            check(&router, &bound, &addresses);
            for (snapshot, bound) in &snapshots {
                check(snapshot, bound, &addresses);
            }
            for (filter, target) in &bound {
                assert!(router.unbind(filter, target));
            }
            assert_eq!((router.len(), router.wild.n_nodes(), router.shapes.len()), (0, 1, 0));
        }
    }
}
