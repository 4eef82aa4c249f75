//! CANCEL, in all modes (wamp.md §7.4, §19).

use super::rig::{Rig, all_features, limited};
use crate::router::CancelMode::{self, Kill, KillNoWait, Skip};
use crate::router::{Features, Invoke};

const CANCELED: &str = "1 error 5 wamp.error.canceled";

/// A call from 1 to 2, which announced what `features` says.
fn called(features: Features) -> Rig {
    let mut rig = Rig::of(&[1]);
    rig.join(2, features);
    rig.procedure(2, "a.b");
    rig.call(1, 5, "a.b");
    rig.read();
    rig
}

#[test]
fn skip_answers_the_caller_and_not_the_callee() {
    let mut rig = called(all_features());
    rig.cancel(1, 5, Skip);
    rig.expect(&[CANCELED]);
    rig.yields(2, 1, "late");
    rig.expect(&[]);
    assert_eq!(rig.router.counts().calls, 0);
}

#[test]
fn killnowait_tells_both() {
    let mut rig = called(all_features());
    rig.cancel(1, 5, KillNoWait);
    rig.expect(&["2 interrupt 1 killnowait wamp.error.canceled", CANCELED]);
    rig.error(2, 1, "wamp.error.canceled");
    rig.expect(&[]);
    assert_eq!(rig.router.counts().calls, 0);
}

#[test]
fn kill_waits_for_the_callees_word() {
    for answer in ["result", "error", "unavailable"] {
        let mut rig = called(all_features());
        rig.cancel(1, 5, Kill);
        rig.expect(&["2 interrupt 1 kill wamp.error.canceled"]);
        match answer {
            "result" => rig.yields(2, 1, "out"),
            "error" => rig.error(2, 1, "wamp.error.canceled"),
            _ => rig.error(2, 1, "wamp.error.unavailable"),
        }
        match answer {
            "result" => rig.expect(&["1 result 5 out"]),
            "error" => rig.expect(&["1 error 5 wamp.error.canceled why"]),
            _ => rig.expect(&["1 error 5 wamp.error.unavailable why"]),
        }
        assert_eq!(rig.router.counts().calls, 0);
    }
}

#[test]
fn a_callee_without_the_feature_is_always_skipped() {
    for mode in [Skip, Kill, KillNoWait] {
        let mut rig = called(Features::default());
        rig.cancel(1, 5, mode);
        rig.expect(&[CANCELED]);
        rig.yields(2, 1, "late");
        rig.expect(&[]);
        assert_eq!(rig.router.counts().calls, 0);
    }
}

#[test]
fn to_cancel_again_or_what_is_not_there_is_nothing() {
    for mode in [Skip, Kill, KillNoWait] {
        let mut rig = called(all_features());
        rig.cancel(1, 6, mode);
        rig.cancel(2, 5, mode);
        rig.cancel(9, 5, mode);
        rig.expect(&[]);
        rig.cancel(1, 5, mode);
        rig.read();
        for mode in [Skip, Kill, KillNoWait] {
            rig.cancel(1, 5, mode);
        }
        rig.expect(&[]);
    }
}

#[test]
fn a_killed_call_still_has_an_end() {
    let mut rig = called(all_features());
    rig.cancel(1, 5, Kill);
    rig.read();
    rig.expire(1, 5);
    rig.expect(&["1 error 5 wamp.error.timeout"]);

    let mut rig = called(all_features());
    rig.cancel(1, 5, Kill);
    rig.leave(1);
    rig.expect(&["2 interrupt 1 kill wamp.error.canceled"]);
    assert_eq!(rig.router.counts().calls, 0);
}

#[test]
fn the_modes_have_their_names_and_the_default() {
    for mode in [Skip, Kill, KillNoWait] {
        assert_eq!(CancelMode::named(mode.name()), Some(mode));
    }
    assert_eq!(CancelMode::named("murder"), None);
    assert_eq!(CancelMode::default(), KillNoWait);
}

/// Whoever counts its calls and was not told still works at a canceled one.
#[test]
fn a_callee_that_was_not_told_is_still_busy() {
    for (features, mode, is_busy) in [
        (all_features(), Skip, true),
        (all_features(), KillNoWait, false),
        (Features::default(), KillNoWait, true),
    ] {
        let mut rig = Rig::of(&[1]);
        rig.join(2, features);
        rig.register(2, "a.b", limited(Invoke::Single, 1));
        rig.call(1, 5, "a.b");
        rig.cancel(1, 5, mode);
        rig.read();
        rig.call(1, 6, "a.b");
        match is_busy {
            true => rig.expect(&["1 error 6 crossbar.error.max_concurrency_reached"]),
            false => rig.expect(&["2 invoke 2 in"]),
        }
        rig.yields(2, 1, "late");
        rig.expect(&[]);
        if is_busy {
            rig.call(1, 7, "a.b");
            rig.expect(&["2 invoke 2 in"]);
        }
        rig.leave(1);
        rig.leave(2);
        rig.assert_empty();
    }
}
