//! Procedures that several callees share, and how many calls each takes (wamp.md §7.10, §7.11).

use std::collections::BTreeMap;

use super::rig::{Rig, limited, shared};
use crate::router::{CallOptions, Invoke, Refused};

const ALL: [Invoke; 4] = [
    Invoke::First,
    Invoke::Last,
    Invoke::RoundRobin,
    Invoke::Random,
];

/// Callees 2, 3, 4 of `a.b`.
fn three(invoke: Invoke) -> Rig {
    let mut rig = Rig::of(&[1, 2, 3, 4]);
    for callee in [2, 3, 4] {
        rig.register(callee, "a.b", shared(invoke));
    }
    rig
}

/// Who gets the next calls.
fn turns(rig: &mut Rig, n: u64) -> Vec<u64> {
    let begin = rig.router.last_call.0 + 100;
    for request in begin..begin + n {
        rig.call(1, request, "a.b");
    }
    let lines = rig.read();
    lines
        .iter()
        .map(|line| line.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn all_callees_share_one_id() {
    for invoke in ALL {
        let mut rig = Rig::of(&[2, 3]);
        let first = rig.register(2, "a.b", shared(invoke));
        assert_eq!(rig.register(3, "a.b", shared(invoke)), first);
    }
}

#[test]
fn each_policy_has_its_turns() {
    assert_eq!(turns(&mut three(Invoke::First), 4), [2, 2, 2, 2]);
    assert_eq!(turns(&mut three(Invoke::Last), 4), [4, 4, 4, 4]);
    assert_eq!(
        turns(&mut three(Invoke::RoundRobin), 7),
        [2, 3, 4, 2, 3, 4, 2]
    );
    let mut counts = BTreeMap::new();
    for callee in turns(&mut three(Invoke::Random), 900) {
        *counts.entry(callee).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 3);
    assert!(
        counts.values().all(|n| (200..400).contains(n)),
        "{counts:?}"
    );
}

#[test]
fn turns_go_on_when_somebody_leaves() {
    for (leaves, expected) in [(2, [4, 3, 4]), (3, [4, 2, 4]), (4, [2, 3, 2])] {
        let mut rig = three(Invoke::RoundRobin);
        assert_eq!(turns(&mut rig, 2), [2, 3]);
        rig.leave(leaves);
        rig.read();
        assert_eq!(turns(&mut rig, 3), expected, "{leaves}");
    }
}

/// Policies that somebody has, that another asks for, and the answer.
#[test]
fn the_first_to_register_decides_the_policy() {
    for has in ALL.into_iter().chain([Invoke::Single]) {
        for asks in ALL.into_iter().chain([Invoke::Single]) {
            let mut rig = Rig::of(&[2, 3]);
            let id = rig.register(2, "a.b", shared(has));
            let expected = match (has, asks) {
                (Invoke::Single, _) => Err(Refused::ProcedureAlreadyExists),
                _ if has == asks => Ok(id),
                _ => Err(Refused::DifferentPolicy),
            };
            assert_eq!(
                rig.try_register(3, "a.b", shared(asks)),
                expected,
                "{has:?} {asks:?}"
            );
            let twice = rig.try_register(2, "a.b", shared(has));
            assert_eq!(twice, Err(Refused::ProcedureAlreadyExists));
        }
    }
}

#[test]
fn policies_have_names() {
    for invoke in ALL.into_iter().chain([Invoke::Single]) {
        assert_eq!(Invoke::named(invoke.name()), Some(invoke));
    }
    assert_eq!(Invoke::named("all"), None);
}

#[test]
fn a_busy_callee_is_passed_over_and_its_turn_comes_back() {
    for (invoke, expected) in [
        (Invoke::First, [2, 3, 4]),
        (Invoke::Last, [4, 3, 2]),
        (Invoke::RoundRobin, [2, 3, 4]),
    ] {
        let mut rig = Rig::of(&[1, 2, 3, 4]);
        for callee in [2, 3, 4] {
            rig.register(callee, "a.b", limited(invoke, 1));
        }
        assert_eq!(turns(&mut rig, 3), expected);
        rig.call(1, 50, "a.b");
        rig.expect(&["1 error 50 crossbar.error.max_concurrency_reached"]);
        rig.yields(3, 1, "out");
        rig.read();
        assert_eq!(turns(&mut rig, 1), [3]);
    }
}

#[test]
fn chance_picks_only_who_is_free() {
    let mut rig = Rig::of(&[1, 2, 3, 4]);
    for callee in [2, 3, 4] {
        rig.register(callee, "a.b", limited(Invoke::Random, 2));
    }
    let mut callees = turns(&mut rig, 6);
    callees.sort_unstable();
    assert_eq!(callees, [2, 2, 3, 3, 4, 4]);
    rig.call(1, 50, "a.b");
    rig.expect(&["1 error 50 crossbar.error.max_concurrency_reached"]);
}

#[test]
fn each_callee_has_its_own_limit_and_every_end_counts() {
    let mut rig = Rig::of(&[1, 2, 3]);
    rig.register(2, "a.b", limited(Invoke::First, 1));
    rig.register(3, "a.b", shared(Invoke::First));
    assert_eq!(turns(&mut rig, 3), [2, 3, 3]);
    rig.error(2, 1, "x.y");
    rig.read();
    assert_eq!(turns(&mut rig, 2), [2, 3]);
    rig.error(2, 2, "wamp.error.unavailable");
    rig.read();
    assert_eq!(turns(&mut rig, 1), [2]);
}

/// What was called before belongs to what was registered before.
#[test]
fn who_registers_again_begins_without_calls() {
    let mut rig = Rig::of(&[1, 2]);
    let registration = rig.register(2, "a.b", limited(Invoke::Single, 1));
    assert_eq!(turns(&mut rig, 1), [2]);
    rig.unregister(2, registration).unwrap();
    rig.register(2, "a.b", limited(Invoke::Single, 1));
    assert_eq!(turns(&mut rig, 1), [2]);
    rig.yields(2, 1, "of the first registration");
    rig.read();
    rig.call(1, 50, "a.b");
    rig.expect(&["1 error 50 crossbar.error.max_concurrency_reached"]);
}

fn shard(key: &str) -> CallOptions {
    CallOptions {
        rkey: Some(key.into()),
        is_partition: true,
        ..CallOptions::default()
    }
}

fn owners(rig: &mut Rig, begin: u64) -> BTreeMap<String, u64> {
    let mut owners = BTreeMap::new();
    for at in 0..300 {
        let key = format!("key {at}");
        rig.call_with(1, begin + at, "a.b", "in", shard(&key));
        let line = rig.read().pop().unwrap();
        owners.insert(key, line.split(' ').next().unwrap().parse().unwrap());
    }
    owners
}

#[test]
fn a_key_has_one_owner_and_only_a_leavers_keys_move() {
    let mut rig = three(Invoke::RoundRobin);
    let before = owners(&mut rig, 1000);
    assert_eq!(owners(&mut rig, 2000), before);
    for callee in [2, 3, 4] {
        assert!(before.values().filter(|owner| **owner == callee).count() > 60);
    }
    rig.leave(3);
    rig.read();
    let after = owners(&mut rig, 3000);
    for (key, owner) in &after {
        assert!(before[key] == *owner || before[key] == 3, "{key}");
        assert_ne!(*owner, 3);
    }
}

#[test]
fn a_busy_owner_keeps_its_keys() {
    let mut rig = Rig::of(&[1, 2, 3]);
    for callee in [2, 3] {
        rig.register(callee, "a.b", limited(Invoke::First, 1));
    }
    rig.call_with(1, 5, "a.b", "in", shard("k"));
    rig.call_with(1, 6, "a.b", "in", shard("k"));
    let said = rig.read();
    assert_eq!(said[1], "1 error 6 crossbar.error.max_concurrency_reached");
}

#[test]
fn a_partition_needs_a_key() {
    let mut rig = three(Invoke::First);
    let options = CallOptions {
        rkey: None,
        ..shard("")
    };
    rig.call_with(1, 5, "a.b", "in", options);
    rig.expect(&["1 error 5 wamp.error.invalid_argument"]);
    let options = CallOptions {
        is_partition: false,
        ..shard("k")
    };
    rig.call_with(1, 6, "a.b", "in", options);
    rig.expect(&["2 invoke 1 in"]);
}
