//! URIs, and which pattern wins.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::rig::{Rig, matched};
use crate::router::Match::{self, Exact, Prefix, Wildcard};
use crate::router::Refused;
use crate::router::patterns::PatternIndex;
use crate::router::uri::{UriRules, is_reserved, matches};

/// What is written where, loosely: as a URI, as a prefix, as a wildcard pattern.
#[test]
fn a_uri_is_what_the_rules_say() {
    for (uri, exact, prefix, wildcard) in [
        ("a", true, true, true),
        ("com.foo.bar", true, true, true),
        ("com.Foo.bär-1", true, true, true),
        ("", false, true, true),
        ("a.", false, true, true),
        (".a", false, false, true),
        ("a..b", false, false, true),
        ("..", false, false, true),
        ("a. b", false, false, false),
        ("a.b\t", false, false, false),
        ("a.b#c", false, false, false),
        ("a\u{a0}b", false, false, false),
    ] {
        for (how, expected) in [(Exact, exact), (Prefix, prefix), (Wildcard, wildcard)] {
            assert_eq!(UriRules::Loose.allow(uri, how), expected, "{uri:?} {how}");
        }
    }
}

#[test]
fn a_strict_uri_has_small_letters_only() {
    for (uri, expected) in [
        ("com.foo_1", true),
        ("com.Foo", false),
        ("a-b", false),
        ("é", false),
    ] {
        assert_eq!(UriRules::Strict.allow(uri, Exact), expected, "{uri}");
    }
    assert!(UriRules::Strict.allow("a..b", Wildcard));
    assert!(UriRules::Strict.allow("a.", Prefix));
}

#[test]
fn the_routers_own_name_space_is_a_component() {
    for (uri, expected) in [
        ("wamp", true),
        ("wamp.", true),
        ("wamp.session.on_join", true),
        ("wamp..on_join", true),
        ("wampum.x", false),
        ("wam", false),
        ("", false),
        (".session.on_join", false),
        ("x.wamp", false),
    ] {
        assert_eq!(is_reserved(uri), expected, "{uri:?}");
    }
}

#[test]
fn a_pattern_matches_what_the_rules_say() {
    for (pattern, how, uri, expected) in [
        ("com.foo", Exact, "com.foo", true),
        ("com.foo", Exact, "com.foobar", false),
        ("com.foo", Prefix, "com.foobar", true),
        ("com.foo", Prefix, "com.foo", true),
        ("com.foo.", Prefix, "com.foo", false),
        ("", Prefix, "a", true),
        ("com..bar", Wildcard, "com.foo.bar", true),
        ("com..bar", Wildcard, "com.foo.baz", false),
        ("com..bar", Wildcard, "com.foo.bar.baz", false),
        ("..", Wildcard, "a.b.c", true),
        ("", Wildcard, "a", true),
        ("", Wildcard, "a.b", false),
        ("com.", Wildcard, "com.foo", true),
    ] {
        assert_eq!(
            matches(pattern, how, uri),
            expected,
            "{pattern:?} {how} {uri}"
        );
    }
}

fn index(patterns: &[(&'static str, Match)]) -> PatternIndex<&'static str> {
    let mut index = PatternIndex::default();
    for (pattern, how) in patterns {
        index.insert(&Arc::from(*pattern), *how, *pattern);
    }
    index
}

/// The specification's example, and what it does not show. Its prefixes end with a dot here: it means them by components, but where it
/// says what a prefix is, characters count, and `a1.b2.c3` takes `a1.b2.c33` too.
#[test]
fn the_best_is_what_the_examples_say() {
    let index = index(&[
        ("a1.b2.c3.d4.e55", Exact),
        ("a1.b2.c3.", Prefix),
        ("a1.b2.c3.d4.", Prefix),
        ("a1.b2..d4.e5", Wildcard),
        ("a1.b2.c33..e5", Wildcard),
        ("a1.b2..d4.e5..g7", Wildcard),
        ("a1.b2..d4..f6.g7", Wildcard),
        ("z1...z4.z5", Wildcard),
        ("z1..z3..z5", Wildcard),
    ]);
    for (uri, expected) in [
        ("a1.b2.c3.d4.e55", Some("a1.b2.c3.d4.e55")),
        ("a1.b2.c3.d98.e74", Some("a1.b2.c3.")),
        ("a1.b2.c3.d4.e325", Some("a1.b2.c3.d4.")),
        ("a1.b2.c55.d4.e5", Some("a1.b2..d4.e5")),
        ("a1.b2.c33.d4.e5", Some("a1.b2.c33..e5")),
        ("a1.b2.c88.d4.e5.f6.g7", Some("a1.b2..d4.e5..g7")),
        ("a1.b2.c88.d4.e66.f6.g7", Some("a1.b2..d4..f6.g7")),
        // Between two wildcards side by side is a run of none.
        ("z1.z2.z3.z4.z5", Some("z1..z3..z5")),
        ("a2.b2.c2.d2.e2", None),
        ("a1.b2", None),
    ] {
        assert_eq!(index.best(uri), expected, "{uri}");
    }
}

#[test]
fn any_prefix_beats_every_wildcard() {
    let index = index(&[
        ("", Prefix),
        ("a.b.c", Prefix),
        ("a.b.", Wildcard),
        ("a..c1", Wildcard),
    ]);
    assert_eq!(index.best("a.b.d"), Some(""));
    assert_eq!(index.best("a.b.c1"), Some("a.b.c"));
}

#[test]
fn shapes_are_counted_once() {
    let mut index = index(&[("a..b", Wildcard), ("c..d", Wildcard), ("x", Prefix)]);
    assert_eq!(index.shapes_with("e..f"), 1);
    assert_eq!(index.shapes_with("e..f.g"), 2);
    assert_eq!(index.shapes_with(".e"), 2);
    index.remove("a..b", Wildcard);
    index.remove("c..d", Wildcard);
    assert_eq!(index.shapes_with("e..f"), 1);
    index.remove("x", Prefix);
    assert!(index.is_empty());
}

#[test]
fn a_session_has_a_share_of_the_shapes() {
    let mut rig = Rig::of(&[1, 2]);
    let pattern = |n: usize| format!(".{}", vec!["a"; n].join("."));
    let refused = Err(Refused::TooMany(
        "shapes of wildcard patterns of this session",
    ));
    for n in 1..=8 {
        rig.subscribe(1, &pattern(n), Wildcard);
        rig.register(1, &pattern(n), matched(Wildcard));
    }
    assert_eq!(rig.try_subscribe(1, &pattern(9), Wildcard), refused);
    assert_eq!(rig.try_register(1, &pattern(9), matched(Wildcard)), refused);
    // What others were the first to have does not count.
    let theirs = rig.subscribe(2, &pattern(9), Wildcard);
    rig.register(2, &pattern(9), matched(Wildcard));
    rig.subscribe(1, ".b.b.b.b.b.b.b.b.b", Wildcard);
    rig.register(1, ".b.b.b.b.b.b.b.b.b", matched(Wildcard));
    rig.unsubscribe(2, theirs).unwrap();
    // One that is gone makes room.
    rig.unsubscribe(1, 1).unwrap();
    rig.unregister(1, 1).unwrap();
    assert!(rig.try_subscribe(1, &pattern(10), Wildcard).is_ok());
    assert!(rig.try_register(1, &pattern(10), matched(Wildcard)).is_ok());
    assert_eq!(rig.try_subscribe(1, &pattern(11), Wildcard), refused);
    for session in [1, 2] {
        rig.leave(session);
    }
    rig.assert_empty();
}

/// What the rule says in so many words: compare the lengths of runs of literals.
fn runs(pattern: &str) -> Vec<usize> {
    let mut runs = vec![0];
    for component in pattern.split('.') {
        match component {
            "" => runs.push(0),
            _ => *runs.last_mut().unwrap() += 1,
        }
    }
    runs
}

fn rank(pattern: &str, how: Match) -> (u8, usize, Vec<usize>) {
    match how {
        Exact => (2, 0, Vec::new()),
        Prefix => (1, pattern.len(), Vec::new()),
        Wildcard => (0, 0, runs(pattern)),
    }
}

fn pattern() -> impl Strategy<Value = (String, Match)> {
    let component = || prop_oneof![Just("a"), Just("b"), Just("é"), Just("ab")];
    let some = |component| prop::collection::vec(component, 1..5);
    let exact = some(component().boxed()).prop_map(|it| (it.join("."), Exact));
    let any = prop_oneof![component(), Just("")].boxed();
    let wildcard = some(any).prop_map(|it| (it.join("."), Wildcard));
    let prefix = (some(component().boxed()), 0_usize..8)
        .prop_map(|(it, n_chars)| (it.join(".").chars().take(n_chars).collect(), Prefix));
    prop_oneof![exact, wildcard, prefix]
}

proptest! {
    #[test]
    fn the_best_is_what_the_rule_says(patterns in prop::collection::vec(pattern(), 0..24), uris in prop::collection::vec(pattern(), 1..12)) {
        let (mut index, mut plain) = (PatternIndex::default(), BTreeMap::new());
        for (text, how) in patterns {
            if plain.insert((text.clone(), how), ()).is_none() {
                index.insert(&Arc::from(&*text), how, plain.len());
            }
        }
        for (uri, _) in uris.iter().filter(|(_, how)| *how == Exact) {
            let fit = plain.keys().filter(|(text, how)| matches(text, *how, uri));
            let best = fit.max_by_key(|(text, how)| rank(text, *how));
            let expected = best.and_then(|(text, how)| index.get(text, *how));
            prop_assert_eq!(index.best(uri), expected);
        }
    }

    #[test]
    fn all_are_those_that_match(patterns in prop::collection::vec(pattern(), 0..24), uris in prop::collection::vec(pattern(), 1..12)) {
        let (mut index, mut plain) = (PatternIndex::default(), BTreeMap::new());
        for (text, how) in patterns {
            let n = plain.len();
            if let std::collections::btree_map::Entry::Vacant(vacant) = plain.entry((text.clone(), how)) {
                vacant.insert(n);
                index.insert(&Arc::from(&*text), how, n);
            }
        }
        for (uri, _) in uris.iter().filter(|(_, how)| *how == Exact) {
            let fit = plain.iter().filter(|((text, how), _)| matches(text, *how, uri));
            let mut expected: Vec<_> = fit.map(|(_, n)| *n).collect();
            let mut found = Vec::new();
            index.all(uri, &mut |n| found.push(n));
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_was_removed_leaves_nothing_behind(patterns in prop::collection::btree_set(pattern(), 0..24)) {
        let mut index = PatternIndex::default();
        for (text, how) in &patterns {
            index.insert(&Arc::from(&**text), *how, 1);
        }
        for (text, how) in &patterns {
            prop_assert_eq!(index.get(text, *how), Some(1));
            index.remove(text, *how);
            prop_assert_eq!(index.get(text, *how), None);
        }
        prop_assert!(index.is_empty());
    }
}
