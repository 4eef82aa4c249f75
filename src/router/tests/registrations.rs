//! REGISTER, UNREGISTER, revocation (wamp.md §5, §7.12, §9.2).

use super::rig::{Rig, all_features, id, matched, shared};
use crate::router::{Features, Invoke, Limits, Match, Refused, RegisterOptions, RegistrationId};

const FORCE: RegisterOptions = RegisterOptions {
    how: Match::Exact,
    invoke: Invoke::Single,
    concurrency: None,
    disclose_caller: false,
    forward_timeout: false,
    force_reregister: true,
};

#[test]
fn what_may_not_be_registered_is_refused() {
    for (uri, how) in [
        ("wamp.session.count", Match::Exact),
        ("wamp", Match::Exact),
        ("wamp.", Match::Prefix),
        ("wamp..x", Match::Wildcard),
        ("", Match::Exact),
        ("a..b", Match::Exact),
        ("a b", Match::Prefix),
        ("a#", Match::Wildcard),
    ] {
        let mut rig = Rig::of(&[1]);
        assert_eq!(
            rig.try_register(1, uri, matched(how)),
            Err(Refused::InvalidUri),
            "{uri}"
        );
        rig.leave(1);
        rig.assert_empty();
    }
    let mut rig = Rig::of(&[1]);
    for uri in ["x".repeat(1025), ".".repeat(127)] {
        let refused = rig.try_register(1, &uri, matched(Match::Wildcard));
        assert_eq!(refused, Err(Refused::InvalidUri));
    }
    rig.register(1, &".".repeat(126), matched(Match::Wildcard));
    rig.leave(1);
    rig.assert_empty();
}

#[test]
fn the_same_text_matched_otherwise_is_another_registration() {
    let mut rig = Rig::of(&[1]);
    let ids = [Match::Exact, Match::Prefix, Match::Wildcard]
        .map(|how| rig.register(1, "a.b", matched(how)));
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn a_second_registrant_is_refused() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(1, "a.b");
    for session in [1, 2] {
        let again = rig.try_register(session, "a.b", RegisterOptions::default());
        assert_eq!(again, Err(Refused::ProcedureAlreadyExists));
    }
}

#[test]
fn only_ones_own_registration_can_be_ended() {
    let mut rig = Rig::of(&[1, 2]);
    let registration = rig.procedure(1, "a.b");
    assert_eq!(
        rig.unregister(2, registration),
        Err(Refused::NoSuchRegistration)
    );
    assert_eq!(rig.unregister(1, 99), Err(Refused::NoSuchRegistration));
    assert_eq!(rig.unregister(1, registration), Ok(()));
    assert_eq!(
        rig.unregister(1, registration),
        Err(Refused::NoSuchRegistration)
    );
    assert_ne!(rig.procedure(2, "a.b"), registration);
}

#[test]
fn a_taken_procedure_can_be_taken_over() {
    let mut rig = Rig::of(&[1, 2, 3]);
    rig.join(4, Features::default());
    for callee in [2, 3, 4] {
        rig.register(callee, "a.b", shared(Invoke::First));
    }
    rig.call(1, 5, "a.b");
    rig.read();
    assert_eq!(rig.register(1, "a.b", FORCE), 2);
    rig.expect(&[
        "2 unregistered 1 wamp.error.unregistered",
        "3 unregistered 1 wamp.error.unregistered",
        "4 unregistered 1 wamp.error.unregistered silent",
    ]);
    rig.yields(2, 1, "out");
    rig.call(1, 6, "a.b");
    rig.expect(&["1 result 5 out", "1 invoke 1 in"]);
    assert_eq!(rig.unregister(2, 1), Err(Refused::NoSuchRegistration));
}

#[test]
fn to_take_over_what_is_free_is_to_register() {
    let mut rig = Rig::of(&[1]);
    assert_eq!(rig.register(1, "a.b", FORCE), 1);
    assert_eq!(rig.register(1, "a.b", FORCE), 2);
    rig.expect(&["1 unregistered 1 wamp.error.unregistered"]);
    rig.leave(1);
    rig.assert_empty();
}

#[test]
fn a_revoked_callee_is_told_if_it_understands() {
    for is_told in [true, false] {
        let mut rig = Rig::new();
        let mut features = all_features();
        features.callee.registration_revocation = is_told;
        rig.join(1, features);
        let registration = RegistrationId::new(rig.procedure(1, "a.b"));
        let sink = &mut rig.sink;
        let revoked = rig
            .router
            .revoke_registration(id(1), registration, "x.why", sink);
        assert_eq!(revoked, Ok(()));
        match is_told {
            true => rig.expect(&["1 unregistered 1 x.why"]),
            false => rig.expect(&["1 unregistered 1 x.why silent"]),
        }
        let sink = &mut rig.sink;
        let again = rig
            .router
            .revoke_registration(id(1), registration, "x.why", sink);
        assert_eq!(again, Err(Refused::NoSuchRegistration));
        rig.leave(1);
        rig.assert_empty();
    }
}

#[test]
fn a_registration_is_taken_from_all_its_callees() {
    let mut rig = Rig::of(&[1, 2, 3]);
    let registration = rig.register(1, "a.b", shared(Invoke::First));
    rig.register(2, "a.b", shared(Invoke::First));
    rig.call(3, 1, "a.b");
    rig.read();
    let (registration, sink) = (RegistrationId::new(registration), &mut rig.sink);
    let withdrawn = rig.router.withdraw_registration(registration, sink);
    assert_eq!(withdrawn, Ok(()));
    rig.expect(&[
        "1 unregistered 1 wamp.error.unregistered",
        "2 unregistered 1 wamp.error.unregistered",
    ]);
    let sink = &mut rig.sink;
    let again = rig.router.withdraw_registration(registration, sink);
    assert_eq!(again, Err(Refused::NoSuchRegistration));
    // What is under way is answered all the same.
    rig.yields(1, 1, "done");
    assert_eq!(rig.read().len(), 1);
    for session in [1, 2, 3] {
        rig.leave(session);
    }
    rig.assert_empty();
}

#[test]
fn events_come_in_their_order() {
    let mut rig = Rig::of(&[1, 2, 9]);
    rig.subscribe(9, "wamp.registration.", Match::Prefix);
    rig.read();
    let registration = rig.register(1, "a.b", shared(Invoke::First));
    rig.register(2, "a.b", shared(Invoke::First));
    rig.unregister(1, registration).unwrap();
    rig.leave(2);
    let details = r#"{"created":"2023-11-14T22:13:20.007Z","id":1,"invoke":"first","match":"exact","uri":"a.b"}"#;
    rig.expect(&[
        &format!("9 registration.on_create [1,{details}]"),
        "9 registration.on_register [1,1]",
        "9 registration.on_register [2,1]",
        "9 registration.on_unregister [1,1]",
        "9 registration.on_unregister [2,1]",
        "9 registration.on_delete [2,1]",
    ]);
}

#[test]
fn registrations_are_limited() {
    let mut rig = Rig::with(Limits {
        registrations_per_session_max: 2,
        callees_per_registration_max: 2,
        wildcard_shapes_max: 1,
        ..Limits::default()
    });
    for session in [1, 2, 3] {
        rig.join(session, all_features());
    }
    rig.procedure(1, "a");
    rig.procedure(1, "b");
    let too_many = rig.try_register(1, "c", RegisterOptions::default());
    assert_eq!(
        too_many,
        Err(Refused::TooMany("registrations of this session"))
    );
    rig.register(2, "s", shared(Invoke::First));
    rig.register(3, "s", shared(Invoke::First));
    rig.join(4, all_features());
    let too_many = rig.try_register(4, "s", shared(Invoke::First));
    assert_eq!(too_many, Err(Refused::TooMany("callees of this procedure")));
    rig.register(2, "a..c", matched(Match::Wildcard));
    rig.register(3, "d..e", matched(Match::Wildcard));
    let too_many = rig
        .try_register(3, ".e", matched(Match::Wildcard))
        .unwrap_err();
    assert_eq!(too_many.uri(), "restante.error.limit_exceeded");
}

#[test]
fn who_is_not_here_registers_nothing() {
    let mut rig = Rig::new();
    let refused = rig.try_register(1, "a.b", RegisterOptions::default());
    assert_eq!(refused, Err(Refused::NoSuchSession));
    rig.assert_empty();
}
