//! Results and calls in pieces (wamp.md §7.1, §7.2).

use super::rig::{Rig, all_features, matched, party, ppt};
use crate::router::{
    CallOptions, CallRequest, Called, CancelMode, Features, Match, Violation, YieldOptions,
};

const RECEIVE: CallOptions = CallOptions {
    receive_progress: true,
    progress: false,
    timeout_ms: 0,
    disclose_me: false,
    ppt: None,
    rkey: None,
    is_partition: false,
};

const PIECE: CallOptions = CallOptions {
    receive_progress: false,
    progress: true,
    ..RECEIVE
};

#[test]
fn pieces_of_a_result_are_forwarded_at_once() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    rig.call_with(1, 5, "a.b", "in", RECEIVE);
    rig.progress(2, 1, "one");
    rig.progress(2, 1, "two");
    rig.yields(2, 1, "end");
    rig.progress(2, 1, "late");
    rig.expect(&[
        "2 invoke 1 in receives",
        "1 result 5 one +",
        "1 result 5 two +",
        "1 result 5 end",
    ]);
}

/// autobahn-js announces pieces of results but not canceling: it gets the hint all the same.
#[test]
fn the_hint_goes_to_whoever_announced_it() {
    for (announces, expected) in [(true, "2 invoke 1 in receives"), (false, "2 invoke 1 in")] {
        let mut rig = Rig::of(&[1]);
        let mut features = Features::default();
        features.callee.progressive_call_results = announces;
        rig.join(2, features);
        rig.procedure(2, "a.b");
        rig.call_with(1, 5, "a.b", "in", RECEIVE);
        rig.expect(&[expected]);
    }
}

#[test]
fn pieces_that_nobody_asked_for_are_dropped() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    rig.call(1, 5, "a.b");
    rig.progress(2, 1, "one");
    rig.yields(2, 1, "end");
    rig.expect(&["2 invoke 1 in", "1 result 5 end"]);
}

#[test]
fn a_piece_that_the_caller_cannot_take_ends_the_call() {
    let mut rig = Rig::of(&[2]);
    rig.join(1, Features::default());
    rig.procedure(2, "a.b");
    rig.call_with(1, 5, "a.b", "in", RECEIVE);
    let options = YieldOptions {
        progress: true,
        ppt: ppt("x_a"),
    };
    rig.yield_with(2, 1, "piece", options).unwrap();
    rig.expect(&[
        "2 invoke 1 in receives",
        "2 refused 1 wamp.error.feature_not_supported",
        "2 interrupt 1 killnowait wamp.error.feature_not_supported",
        "1 error 5 wamp.error.feature_not_supported",
    ]);
    assert_eq!(rig.router.counts().calls, 0);
}

#[test]
fn a_call_in_pieces_is_one_invocation() {
    let mut rig = Rig::of(&[1, 2]);
    rig.register(2, "a.", matched(Match::Prefix));
    let first = CallOptions {
        receive_progress: true,
        disclose_me: true,
        ..PIECE
    };
    assert_eq!(rig.call_with(1, 5, "a.b", "one", first), Called::Started);
    assert_eq!(rig.call_with(1, 5, "a.b", "two", PIECE), Called::Continued);
    rig.progress(2, 1, "echo");
    assert_eq!(
        rig.call_with(1, 5, "a.b", "end", RECEIVE),
        Called::Continued
    );
    rig.yields(2, 1, "out");
    rig.expect(&[
        "2 invoke 1 one of a.b from 1 u1 guest receives +",
        "2 invoke 1 two of a.b +",
        "1 result 5 echo +",
        "2 invoke 1 end of a.b .",
        "1 result 5 out",
    ]);
    assert_eq!(rig.router.counts().calls, 0);
}

#[test]
fn a_call_in_pieces_needs_both_sides() {
    let mut rig = Rig::of(&[2]);
    rig.join(1, Features::default());
    rig.procedure(2, "a.b");
    let mut call = CallRequest::new(5, "a.b", "in");
    call.options = PIECE;
    let not_announced = Err(Violation::NotAnnounced("progressive_call_invocations"));
    assert_eq!(rig.try_call(party(1), call), not_announced);

    for (pieces, canceling) in [(false, true), (true, false)] {
        let mut rig = Rig::of(&[1]);
        let mut features = all_features();
        features.callee.progressive_call_invocations = pieces;
        features.callee.call_canceling = canceling;
        rig.join(2, features);
        rig.procedure(2, "a.b");
        rig.call_with(1, 5, "a.b", "in", PIECE);
        rig.expect(&["1 error 5 wamp.error.feature_not_supported"]);
        assert_eq!(rig.router.counts().calls, 0);
    }
}

#[test]
fn what_goes_on_is_the_same_procedure_and_not_at_its_end() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    rig.procedure(2, "c.d");
    rig.call_with(1, 5, "a.b", "one", PIECE);
    let other = CallRequest::new(5, "c.d", "x");
    assert_eq!(
        rig.try_call(party(1), other),
        Err(Violation::OtherProcedure(5))
    );
    rig.call(1, 5, "a.b");
    let after = CallRequest::new(5, "a.b", "x");
    assert_eq!(
        rig.try_call(party(1), after),
        Err(Violation::NotProgressive(5))
    );
}

#[test]
fn a_piece_of_a_call_that_has_ended_is_late() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    rig.call_with(1, 5, "a.b", "one", PIECE);
    rig.yields(2, 1, "out");
    rig.call(1, 6, "a.b");
    rig.yields(2, 2, "out");
    rig.read();
    for (request, is_late) in [(5, true), (6, false), (4, false)] {
        let mut call = CallRequest::new(request, "a.b", "x");
        call.continues_only = true;
        let called = rig.try_call(party(1), call).unwrap();
        assert_eq!(called, Called::NothingToContinue { is_late });
    }
    rig.expect(&[]);
}

#[test]
fn a_canceled_call_in_pieces_does_not_go_on() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    rig.call_with(1, 5, "a.b", "one", PIECE);
    rig.cancel(1, 5, CancelMode::Kill);
    rig.read();
    assert_eq!(rig.call_with(1, 5, "a.b", "two", PIECE), Called::Continued);
    rig.expect(&[]);
    rig.error(2, 1, "wamp.error.canceled");
    rig.expect(&["1 error 5 wamp.error.canceled why"]);
}

#[test]
fn a_call_in_pieces_is_not_asked_elsewhere() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    rig.call_with(1, 5, "a.b", "one", PIECE);
    rig.error(2, 1, "wamp.error.unavailable");
    rig.expect(&["2 invoke 1 one +", "1 error 5 wamp.error.unavailable why"]);
}

#[test]
fn only_some_calls_that_ended_are_remembered() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    for request in 1..=100 {
        rig.call_with(1, request, "a.b", "one", PIECE);
        rig.yields(2, request, "out");
    }
    let session = rig
        .router
        .sessions
        .values()
        .find(|it| !it.finished.is_empty());
    assert_eq!(session.unwrap().finished.len(), 32);
}
