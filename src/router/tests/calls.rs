//! Calls and their answers: the basic profile, who is told who calls, time, rerouting, payloads that are passed through.

use super::rig::{Rig, all_features, limited, matched, party, ppt, shared};
use crate::router::{
    CallOptions, CallRequest, Called, DisclosePolicy, Disclosed, Features, Invoke, Limits, Match,
    Party, RegisterOptions, Violation, YieldOptions,
};

const UNAVAILABLE: &str = "wamp.error.unavailable";

#[test]
fn a_call_goes_to_the_callee_and_its_result_back() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    assert_eq!(rig.call(1, 5, "a.b"), Called::Started);
    rig.expect(&["2 invoke 1 in"]);
    rig.yields(2, 1, "out");
    rig.expect(&["1 result 5 out"]);
    assert_eq!(rig.router.counts().calls, 0);
}

#[test]
fn an_error_goes_back_with_its_uri_and_payload() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    rig.call(1, 5, "a.b");
    rig.read();
    rig.error(2, 1, "com.app.error.bad");
    rig.expect(&["1 error 5 com.app.error.bad why"]);
    assert_eq!(rig.router.counts().calls, 0);
}

#[test]
fn a_session_may_call_itself() {
    let mut rig = Rig::of(&[1]);
    rig.procedure(1, "a.b");
    rig.call(1, 5, "a.b");
    rig.yields(1, 1, "out");
    rig.expect(&["1 invoke 1 in", "1 result 5 out"]);
}

#[test]
fn what_nobody_registered_is_an_error() {
    let mut rig = Rig::of(&[1, 2]);
    rig.register(2, "", matched(Match::Prefix));
    for (procedure, uri) in [
        ("wamp.nothing", "wamp.error.no_such_procedure"),
        ("a..b", "wamp.error.invalid_uri"),
        ("", "wamp.error.invalid_uri"),
        ("a b", "wamp.error.invalid_uri"),
    ] {
        assert_eq!(rig.call(1, 5, procedure), Called::Refused);
        rig.expect(&[&format!("1 error 5 {uri}")]);
    }
    let mut rig = Rig::of(&[1]);
    rig.call(1, 6, "a.b");
    rig.expect(&["1 error 6 wamp.error.no_such_procedure"]);
}

#[test]
fn only_a_pattern_says_what_was_called() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    rig.register(2, "a.", matched(Match::Prefix));
    rig.register(2, "c..e", matched(Match::Wildcard));
    for (request, procedure) in [(1, "a.b"), (2, "a.c"), (3, "c.d.e")] {
        rig.call(1, request, procedure);
    }
    rig.expect(&[
        "2 invoke 1 in",
        "2 invoke 2 in of a.c",
        "2 invoke 3 in of c.d.e",
    ]);
}

#[test]
fn ids_of_invocations_count_for_each_callee() {
    let mut rig = Rig::of(&[1, 2, 3]);
    rig.procedure(2, "two");
    rig.procedure(3, "three");
    for (request, procedure) in [(1, "two"), (2, "three"), (3, "two"), (4, "three")] {
        rig.call(1, request, procedure);
    }
    rig.expect(&[
        "2 invoke 1 in",
        "3 invoke 1 in",
        "2 invoke 2 in",
        "3 invoke 2 in",
    ]);
}

#[test]
fn a_late_answer_is_no_violation_and_a_foreign_one_is() {
    let mut rig = Rig::of(&[1, 2, 3]);
    rig.procedure(2, "a.b");
    rig.call(1, 5, "a.b");
    rig.yields(2, 1, "out");
    rig.read();
    rig.yields(2, 1, "again");
    rig.progress(2, 1, "again");
    rig.error(2, 1, "x.y");
    rig.expect(&[]);
    let violation = |invocation| Err(Violation::UnknownInvocation(invocation));
    for (session, invocation) in [(2, 0), (2, 2), (3, 1), (1, 1)] {
        let found = rig.yield_with(session, invocation, "x", YieldOptions::default());
        assert_eq!(found, violation(invocation), "{session} {invocation}");
    }
    rig.expect(&[]);
}

#[test]
fn a_callees_answer_to_anothers_invocation_changes_nothing() {
    let mut rig = Rig::of(&[1, 2, 3]);
    rig.procedure(2, "two");
    rig.procedure(3, "three");
    rig.call(1, 1, "two");
    rig.call(1, 2, "three");
    rig.yields(3, 1, "three's");
    rig.yields(2, 1, "two's");
    rig.read();
    rig.call(1, 3, "two");
    assert!(rig.yield_with(3, 2, "x", YieldOptions::default()).is_err());
    rig.yields(2, 2, "out");
    rig.expect(&["2 invoke 2 in", "1 result 3 out"]);
}

#[test]
fn a_duplicate_call_changes_nothing() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    rig.call(1, 5, "a.b");
    for procedure in ["a.b", "c.d"] {
        let again = rig.try_call(party(1), CallRequest::new(5, procedure, "again"));
        assert_eq!(again, Err(Violation::NotProgressive(5)));
    }
    rig.yields(2, 1, "out");
    rig.expect(&["2 invoke 1 in", "1 result 5 out"]);
    rig.leave(1);
    rig.leave(2);
    rig.assert_empty();
}

#[test]
fn the_same_request_of_two_callers_is_two_calls() {
    let mut rig = Rig::of(&[1, 2, 3]);
    rig.procedure(3, "a.b");
    rig.call(1, 5, "a.b");
    rig.call(2, 5, "a.b");
    rig.yields(3, 2, "second");
    rig.yields(3, 1, "first");
    rig.expect(&[
        "3 invoke 1 in",
        "3 invoke 2 in",
        "2 result 5 second",
        "1 result 5 first",
    ]);
}

#[test]
fn an_unregistered_procedure_still_answers_what_was_called_before() {
    let mut rig = Rig::of(&[1, 2]);
    let registration = rig.procedure(2, "a.b");
    rig.call(1, 5, "a.b");
    rig.unregister(2, registration).unwrap();
    rig.call(1, 6, "a.b");
    rig.yields(2, 1, "out");
    rig.expect(&[
        "2 invoke 1 in",
        "1 error 6 wamp.error.no_such_procedure",
        "1 result 5 out",
    ]);
}

#[test]
fn a_caller_that_leaves_interrupts_callees_that_understand_it() {
    for is_told in [true, false] {
        let mut rig = Rig::of(&[1]);
        let mut features = all_features();
        features.callee.call_canceling = is_told;
        rig.join(2, features);
        rig.procedure(2, "a.b");
        rig.call(1, 5, "a.b");
        rig.read();
        rig.leave(1);
        match is_told {
            true => rig.expect(&["2 interrupt 1 killnowait wamp.error.canceled"]),
            false => rig.expect(&[]),
        }
        rig.yields(2, 1, "out");
        rig.expect(&[]);
        assert_eq!(rig.router.counts().calls, 0);
    }
}

#[test]
fn a_callee_that_leaves_cancels_what_it_was_to_answer() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    rig.call(1, 5, "a.b");
    rig.call(1, 6, "a.b");
    rig.read();
    rig.leave(2);
    rig.expect(&[
        "1 error 5 wamp.error.canceled",
        "1 error 6 wamp.error.canceled",
    ]);
    rig.leave(1);
    rig.assert_empty();
}

#[test]
fn a_session_that_calls_itself_and_leaves_leaves_nothing() {
    for options in [RegisterOptions::default(), limited(Invoke::Single, 5)] {
        for features in [all_features(), Features::default()] {
            let mut rig = Rig::new();
            rig.join(1, features);
            rig.register(1, "a.b", options);
            rig.call(1, 5, "a.b");
            rig.read();
            rig.leave(1);
            rig.expect(&[]);
            rig.assert_empty();
        }
    }
}

#[test]
fn who_calls_is_told_as_caller_callee_and_realm_want_it() {
    use DisclosePolicy::{Always, Asked, Never};
    for (caller_asks, callee_asks, policy, expected) in [
        (false, false, Asked, "2 invoke 1 in"),
        (true, false, Asked, "2 invoke 1 in from 1 u1 guest"),
        (false, true, Asked, "2 invoke 1 in from 1 u1 guest"),
        (false, false, Always, "2 invoke 1 in from 1 u1 guest"),
        (false, true, Never, "2 invoke 1 in"),
        (
            true,
            false,
            Never,
            "1 error 5 wamp.error.option_disallowed.disclose_me",
        ),
    ] {
        let mut rig = Rig::of(&[1, 2]);
        let options = RegisterOptions {
            disclose_caller: callee_asks,
            ..RegisterOptions::default()
        };
        rig.register(2, "a.b", options);
        let mut call = CallRequest::new(5, "a.b", "in");
        call.options.disclose_me = caller_asks;
        call.disclose = policy;
        rig.try_call(party(1), call).unwrap();
        rig.expect(&[expected]);
    }
}

#[test]
fn a_trust_level_is_passed_on() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    let mut call = CallRequest::new(5, "a.b", "in");
    call.trustlevel = Some(3);
    rig.try_call(party(1), call).unwrap();
    rig.expect(&["2 invoke 1 in trust 3"]);
}

fn timeout(timeout_ms: u64) -> CallOptions {
    CallOptions {
        timeout_ms,
        ..CallOptions::default()
    }
}

/// Who watches the time, by what the callee announced and asked for.
#[test]
fn a_timeout_is_forwarded_only_if_both_sides_say_so() {
    for (announces, asks, timeout_ms, expected) in [
        (true, true, 100, &["2 invoke 1 in within 100"][..]),
        (true, false, 100, &["1 timer 5 100", "2 invoke 1 in"]),
        (false, true, 100, &["1 timer 5 100", "2 invoke 1 in"]),
        (true, true, 0, &["2 invoke 1 in"]),
    ] {
        let mut rig = Rig::of(&[1]);
        let mut features = all_features();
        features.callee.call_timeout = announces;
        rig.join(2, features);
        let options = RegisterOptions {
            forward_timeout: asks,
            ..RegisterOptions::default()
        };
        rig.register(2, "a.b", options);
        rig.call_with(1, 5, "a.b", "in", timeout(timeout_ms));
        rig.expect(expected);
    }
}

#[test]
fn a_call_whose_time_is_over_is_answered_and_its_callee_interrupted() {
    for is_told in [true, false] {
        let mut rig = Rig::of(&[1]);
        let mut features = all_features();
        features.callee.call_canceling = is_told;
        rig.join(2, features);
        rig.procedure(2, "a.b");
        rig.call_with(1, 5, "a.b", "in", timeout(100));
        rig.read();
        rig.expire(1, 5);
        match is_told {
            true => rig.expect(&[
                "2 interrupt 1 killnowait wamp.error.timeout",
                "1 error 5 wamp.error.timeout",
            ]),
            false => rig.expect(&["1 error 5 wamp.error.timeout"]),
        }
        rig.expire(1, 5);
        rig.yields(2, 1, "late");
        rig.expect(&[]);
    }
}

#[test]
fn the_time_of_a_call_that_is_not_there_is_nothing() {
    let mut rig = Rig::of(&[1]);
    rig.expire(1, 5);
    rig.expire(9, 5);
    rig.expect(&[]);
}

/// Three callees that share a procedure; each says that it is unavailable when asked.
fn ask_all(invoke: Invoke) -> Vec<String> {
    let mut rig = Rig::of(&[1, 2, 3, 4]);
    for callee in [2, 3, 4] {
        rig.register(callee, "a.b", shared(invoke));
    }
    rig.call(1, 5, "a.b");
    let mut said = Vec::new();
    for _ in 0..4 {
        let lines = rig.read();
        for line in &lines {
            if let Some((callee, _)) = line.split_once(" invoke 1") {
                rig.error(callee.parse().unwrap(), 1, UNAVAILABLE);
            }
        }
        said.extend(lines);
    }
    assert_eq!(rig.router.counts().calls, 0);
    said
}

#[test]
fn an_unavailable_callee_is_passed_over_by_policy() {
    let none = "1 error 5 wamp.error.no_available_callee";
    let [two, three, four] = ["2 invoke 1 in", "3 invoke 1 in", "4 invoke 1 in"];
    assert_eq!(ask_all(Invoke::First), [two, three, four, none]);
    assert_eq!(ask_all(Invoke::Last), [four, three, two, none]);
    assert_eq!(ask_all(Invoke::RoundRobin), [two, three, four, none]);
    let mut random = ask_all(Invoke::Random);
    assert_eq!(random.pop().unwrap(), none);
    random.sort_unstable();
    assert_eq!(random, [two, three, four]);
}

#[test]
fn an_unavailable_single_callee_is_the_end() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    rig.call(1, 5, "a.b");
    rig.error(2, 1, UNAVAILABLE);
    rig.expect(&["2 invoke 1 in", "1 error 5 wamp.error.no_available_callee"]);
}

#[test]
fn without_the_feature_unavailable_is_an_error_like_any() {
    let mut rig = Rig::of(&[1]);
    for callee in [2, 3] {
        rig.join(callee, Features::default());
        rig.register(callee, "a.b", shared(Invoke::First));
    }
    rig.call(1, 5, "a.b");
    rig.error(2, 1, UNAVAILABLE);
    rig.expect(&["2 invoke 1 in", "1 error 5 wamp.error.unavailable why"]);
}

#[test]
fn a_call_that_has_begun_to_answer_is_not_asked_elsewhere() {
    let mut rig = Rig::of(&[1, 2, 3]);
    for callee in [2, 3] {
        rig.register(callee, "a.b", shared(Invoke::First));
    }
    let options = CallOptions {
        receive_progress: true,
        ..CallOptions::default()
    };
    rig.call_with(1, 5, "a.b", "in", options);
    rig.progress(2, 1, "piece");
    rig.error(2, 1, UNAVAILABLE);
    rig.expect(&[
        "2 invoke 1 in receives",
        "1 result 5 piece +",
        "1 error 5 wamp.error.unavailable why",
    ]);
}

#[test]
fn a_rerouted_call_keeps_its_request_and_its_one_timer() {
    let mut rig = Rig::of(&[1, 2, 3]);
    for callee in [2, 3] {
        rig.register(callee, "a.b", shared(Invoke::First));
    }
    rig.call_with(1, 5, "a.b", "in", timeout(100));
    rig.error(2, 1, UNAVAILABLE);
    rig.yields(3, 1, "out");
    rig.expect(&[
        "1 timer 5 100",
        "2 invoke 1 in",
        "3 invoke 1 in",
        "1 result 5 out",
    ]);
}

#[test]
fn a_rerouted_call_passes_over_callees_that_cannot_take_it() {
    let mut rig = Rig::of(&[1, 2, 4]);
    rig.join(3, Features::default());
    for callee in [2, 3, 4] {
        rig.register(callee, "a.b", shared(Invoke::First));
    }
    let options = CallOptions {
        ppt: ppt("x_a"),
        ..CallOptions::default()
    };
    rig.call_with(1, 5, "a.b", "in", options);
    rig.error(2, 1, UNAVAILABLE);
    rig.expect(&["2 invoke 1 in ppt x_a", "4 invoke 1 in ppt x_a"]);
}

#[test]
fn only_so_much_is_kept_for_other_callees() {
    let callers: Vec<u64> = (10..=40).collect();
    let mut rig = Rig::of(&[1, 2, 3]);
    for caller in &callers {
        rig.join(*caller, all_features());
    }
    for callee in [2, 3] {
        rig.register(callee, "a.b", shared(Invoke::First));
    }
    let large = |request| CallRequest {
        payload_bytes: 1 << 20,
        ..CallRequest::new(request, "a.b", "in")
    };
    // Of 4 MiB, for there is more to a call than its payload.
    for request in 1..=4 {
        rig.try_call(party(1), large(request)).unwrap();
    }
    rig.read();
    rig.error(2, 4, UNAVAILABLE);
    rig.error(2, 1, UNAVAILABLE);
    rig.expect(&["1 error 4 wamp.error.unavailable why", "3 invoke 1 in"]);
    rig.yields(3, 1, "out");
    rig.try_call(party(1), large(5)).unwrap();
    rig.error(2, 5, UNAVAILABLE);
    rig.expect(&["1 result 1 out", "2 invoke 5 in", "3 invoke 2 in"]);
    // All callers together.
    for caller in &callers {
        for request in 1..=3 {
            rig.try_call(party(*caller), large(request)).unwrap();
        }
    }
    rig.read();
    rig.error(2, 6, UNAVAILABLE);
    rig.error(2, 5 + 31 * 3, UNAVAILABLE);
    rig.expect(&["3 invoke 3 in", "40 error 3 wamp.error.unavailable why"]);
    for session in callers.into_iter().chain([1, 2, 3]) {
        rig.leave(session);
    }
    rig.assert_empty();
}

#[test]
fn a_payload_is_passed_through_only_between_those_who_announced_it() {
    let with_ppt = |request| {
        let mut call = CallRequest::new(request, "a.b", "in");
        call.options.ppt = ppt("x_a");
        call
    };
    let not_announced = Err(Violation::NotAnnounced("payload_passthru_mode"));
    let mut rig = Rig::of(&[1, 2]);
    rig.join(3, Features::default());
    rig.join(4, Features::default());
    rig.procedure(2, "a.b");
    rig.procedure(4, "c.d");
    assert_eq!(rig.try_call(party(3), with_ppt(1)).map(drop), not_announced);

    let to_another = CallRequest {
        procedure: "c.d",
        ..with_ppt(1)
    };
    rig.try_call(party(1), to_another).unwrap();
    rig.expect(&["1 error 1 wamp.error.feature_not_supported"]);

    rig.try_call(party(1), with_ppt(2)).unwrap();
    let options = YieldOptions {
        ppt: ppt("x_b"),
        progress: false,
    };
    rig.yield_with(2, 1, "out", options.clone()).unwrap();
    rig.expect(&["2 invoke 1 in ppt x_a", "1 result 2 out"]);

    rig.call(3, 1, "a.b");
    rig.yield_with(2, 2, "out", options.clone()).unwrap();
    rig.expect(&[
        "2 invoke 2 in",
        "2 refused 2 wamp.error.feature_not_supported",
        "3 error 1 wamp.error.feature_not_supported",
    ]);

    rig.call(1, 3, "c.d");
    assert_eq!(rig.yield_with(4, 1, "out", options), not_announced);
}

#[test]
fn an_error_with_a_payload_that_the_caller_cannot_take_is_another_error() {
    let mut rig = Rig::of(&[2]);
    rig.join(1, Features::default());
    rig.procedure(2, "a.b");
    rig.call(1, 5, "a.b");
    let sink = &mut rig.sink;
    (rig.router
        .error(party(2), 1, "x.y", ppt("x_a"), "why", sink))
    .unwrap();
    rig.expect(&[
        "2 invoke 1 in",
        "1 error 5 wamp.error.feature_not_supported",
    ]);
}

#[test]
fn a_door_calls_and_is_answered() {
    let mut rig = Rig::of(&[2]);
    rig.procedure(2, "a.b");
    let door = Party::Door(7);
    let mut call = CallRequest::new(1, "a.b", "in");
    call.options.disclose_me = true;
    call.identity = Some(Disclosed {
        session: None,
        authid: "joe".into(),
        authrole: "backend".into(),
    });
    rig.try_call(door, call).unwrap();
    rig.yields(2, 1, "out");
    rig.expect(&["2 invoke 1 in from 0 joe backend", "door7 result 1 out"]);
    rig.leave(2);
    rig.assert_empty();
}

#[test]
fn a_door_takes_what_nobody_registered() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    for (request, procedure) in [(1, "a.b"), (2, "c.d")] {
        let mut call = CallRequest::new(request, procedure, "in");
        call.fallback = Some(7);
        rig.try_call(party(1), call).unwrap();
    }
    rig.expect(&["2 invoke 1 in", "door7 invoke 1 in of c.d"]);
    let (door, options) = (Party::Door(7), YieldOptions::default());
    (rig.router
        .yield_(door, 1, options.clone(), "out", &mut rig.sink))
    .unwrap();
    (rig.router.yield_(door, 1, options, "again", &mut rig.sink)).unwrap();
    rig.expect(&["1 result 2 out"]);
    assert!(rig.router.doors.is_empty());
}

#[test]
fn a_door_that_goes_takes_its_calls_with_it() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(2, "a.b");
    let mut call = CallRequest::new(1, "c.d", "in");
    call.fallback = Some(7);
    rig.try_call(party(1), call).unwrap();
    rig.try_call(Party::Door(7), CallRequest::new(9, "a.b", "in"))
        .unwrap();
    rig.read();
    rig.router.leave_door(7, &mut rig.sink);
    rig.expect(&[
        "2 interrupt 1 killnowait wamp.error.canceled",
        "1 error 1 wamp.error.canceled",
    ]);
    assert_eq!(rig.router.counts().calls, 0);
    assert!(rig.router.doors.is_empty());
}

#[test]
fn calls_in_flight_are_limited_on_both_sides() {
    let mut rig = Rig::with(Limits {
        calls_per_caller_max: 2,
        invocations_per_callee_max: 3,
        ..Limits::default()
    });
    for session in [1, 2, 3] {
        rig.join(session, all_features());
    }
    rig.procedure(3, "a.b");
    for (caller, request) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)] {
        rig.call(caller, request, "a.b");
    }
    rig.expect(&[
        "3 invoke 1 in",
        "3 invoke 2 in",
        "1 error 3 restante.error.limit_exceeded",
        "3 invoke 3 in",
        "2 error 2 crossbar.error.max_concurrency_reached",
    ]);
    rig.yields(3, 1, "out");
    rig.read();
    rig.call(1, 4, "a.b");
    rig.expect(&["3 invoke 4 in"]);
}

#[test]
fn nobody_who_has_left_calls() {
    let mut rig = Rig::of(&[2]);
    rig.procedure(2, "a.b");
    assert_eq!(rig.call(1, 5, "a.b"), Called::Refused);
    rig.expect(&[]);
}
