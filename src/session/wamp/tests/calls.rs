//! Calls, both ways: in pieces, in time, disclosed or not, and too large for whom they are for.

use std::time::Duration;

use restante_proto::wamp::{Dict, Message, Payload, Serializer, Value};

use super::rig::{Rig, acknowledged, error, publish, settings};
use crate::broker::{Call, WampAsk};
use crate::router::{
    CallError, CallResult, CancelMode, DisclosePolicy, Disclosed, Interrupt, Invocation, Ppt,
    RegistrationId, SessionId, ToSession,
};
use crate::session::wamp::{Disclosure, Wish};

const SIZE: &str = "wamp.error.payload_size_exceeded";

fn payload(value: Value) -> Payload {
    Payload::from_values(Serializer::Json, &[value], &Dict::new()).unwrap()
}

/// More than the rig's client takes, where it takes little.
fn large() -> Payload {
    payload("x".repeat(1000).into())
}

/// CBOR has words for it, and JSON has none.
fn unspeakable() -> Payload {
    Payload::from_values(Serializer::Cbor, &[Value::Float(f64::NAN)], &Dict::new()).unwrap()
}

fn call(request: u64, options: Dict) -> Message {
    Message::Call {
        request,
        options,
        procedure: "a.b".to_owned(),
        payload: Payload::none(),
    }
}

fn result(request: u64, progress: bool, payload: Payload) -> ToSession<Payload> {
    ToSession::Result(CallResult {
        request,
        progress,
        ppt: None,
        payload,
    })
}

fn canceled(request: u64) -> ToSession<Payload> {
    ToSession::CallError(CallError {
        request,
        uri: "wamp.error.canceled".into(),
        ppt: None,
        payload: None,
        message: Some("canceled by the caller".into()),
    })
}

fn invocation(payload: Payload) -> Invocation<Payload> {
    Invocation {
        request: 1,
        registration: Some(RegistrationId::new(9)),
        procedure: None,
        caller: None,
        receive_progress: false,
        progress: None,
        timeout_ms: None,
        trustlevel: None,
        ppt: None,
        payload,
    }
}

fn opaque() -> Ppt {
    Ppt {
        scheme: "x_a".into(),
        serializer: Some("cbor".into()),
        cipher: None,
        keyid: Some("k".into()),
    }
}

#[test]
fn an_invocation_says_what_the_router_knows_of_it() {
    let plain = || invocation(Payload::none());
    let caller = |session| Disclosed {
        session,
        authid: "ann".into(),
        authrole: "shop".into(),
    };
    let by = Dict::new()
        .with("caller_authid", "ann")
        .with("caller_authrole", "shop");
    let by_session = Dict::new()
        .with("caller", 7)
        .with("caller_authid", "ann")
        .with("caller_authrole", "shop");
    let ppt = Dict::new()
        .with("ppt_scheme", "x_a")
        .with("ppt_serializer", "cbor")
        .with("ppt_keyid", "k");
    #[rustfmt::skip]
    let cases = [
        (plain(), Dict::new()),
        (Invocation { procedure: Some("a.b.c".into()), ..plain() }, Dict::new().with("procedure", "a.b.c")),
        (Invocation { caller: Some(caller(Some(SessionId::new(7)))), ..plain() }, by_session),
        (Invocation { caller: Some(caller(None)), ..plain() }, by),
        (Invocation { receive_progress: true, ..plain() }, Dict::new().with("receive_progress", true)),
        (Invocation { progress: Some(true), ..plain() }, Dict::new().with("progress", true)),
        (Invocation { progress: Some(false), ..plain() }, Dict::new().with("progress", false)),
        (Invocation { timeout_ms: Some(100), ..plain() }, Dict::new().with("timeout", 100)),
        (Invocation { trustlevel: Some(0), ..plain() }, Dict::new().with("trustlevel", 0)),
        (Invocation { ppt: Some(opaque()), ..plain() }, ppt),
    ];
    for (it, expected) in cases {
        let mut rig = Rig::open();
        rig.router(ToSession::Invocation(it));
        let said = rig.take_said();
        let [
            Message::Invocation {
                request: 1,
                registration: 9,
                details,
                ..
            },
        ] = &said[..]
        else {
            panic!("{said:?}")
        };
        assert_eq!(*details, expected);
    }
    let mut rig = Rig::open();
    rig.router(ToSession::Interrupt(Interrupt {
        request: 4,
        mode: CancelMode::Kill,
        reason: "wamp.error.canceled",
    }));
    let options = Dict::new()
        .with("mode", "kill")
        .with("reason", "wamp.error.canceled");
    let interrupt = Message::Interrupt {
        request: 4,
        options,
    };
    assert_eq!(rig.take_said(), [interrupt]);
}

#[test]
fn results_come_in_pieces_and_the_last_one_is_none() {
    let mut rig = Rig::open();
    let options = Dict::new()
        .with("receive_progress", true)
        .with("progress", true);
    rig.client(call(1, options));
    let asked = rig.asked();
    let [WampAsk::Call(it)] = &asked[..] else {
        panic!("{asked:?}")
    };
    assert!(it.options.receive_progress && it.options.progress && !it.continues_only);
    // The next piece has the same request.
    rig.client(call(1, Dict::new()));
    assert!(matches!(rig.asked()[..], [_, WampAsk::Call(it)] if it.continues_only));
    rig.router(result(1, true, payload(1.into())));
    rig.router(ToSession::Result(CallResult {
        request: 1,
        progress: false,
        ppt: Some(opaque()),
        payload: payload(2.into()),
    }));
    let said = rig.take_said();
    let [
        Message::Result { details: first, .. },
        Message::Result { details: last, .. },
    ] = &said[..]
    else {
        panic!("{said:?}")
    };
    assert_eq!(*first, Dict::new().with("progress", true));
    assert_eq!(last.get("progress"), None);
    assert_eq!(last.text("ppt_scheme"), Ok(Some("x_a")));
}

#[test]
fn a_call_s_time_begins_anew_with_each_piece_and_ends_with_the_last_word() {
    let timer = |request, timeout_ms| ToSession::Timer {
        request,
        timeout_ms,
    };
    let mut rig = Rig::open();
    let began = rig.now;
    let after = |ms| began + Duration::from_millis(ms);
    rig.router(timer(1, 1000));
    rig.router(timer(2, 1200));
    assert_eq!(rig.session.poll_timeout(), Some(after(1000)));
    rig.now = after(600);
    rig.router(result(1, true, Payload::none()));
    assert_eq!(rig.session.poll_timeout(), Some(after(1200)));
    rig.now = after(1200);
    rig.session.handle_timeout(rig.now);
    rig.settle();
    assert!(matches!(rig.asked()[..], [WampAsk::Expire { request: 2 }]));
    assert_eq!(rig.session.poll_timeout(), Some(after(1600)));
    rig.router(result(1, false, Payload::none()));
    assert_eq!(rig.session.poll_timeout(), None);
    // An error is a last word too; and so far away nobody waits.
    rig.router(timer(3, 1));
    rig.router(canceled(3));
    rig.router(timer(4, u64::MAX));
    rig.router(result(5, true, Payload::none()));
    let next = rig.session.poll_timeout();
    assert!(next.is_none_or(|at| at > after(1 << 40)), "{next:?}");
    rig.session.handle_timeout(after(5000));
    rig.settle();
    assert_eq!(rig.asked().len(), 1);
}

#[test]
fn what_the_client_cannot_take_is_answered_in_its_place() {
    for (given, uri) in [
        (large(), SIZE),
        (unspeakable(), "wamp.error.invalid_argument"),
    ] {
        // An invocation: its caller hears of it.
        let mut rig = Rig::open();
        rig.peer_max = 500;
        rig.router(ToSession::Invocation(invocation(given.clone())));
        assert!(rig.said.is_empty());
        let asked = rig.asked();
        let [
            WampAsk::Error {
                invocation: 1,
                uri: found,
                payload,
                ..
            },
        ] = &asked[..]
        else {
            panic!("{asked:?}")
        };
        assert_eq!(found, uri);
        assert!(!payload.is_empty(), "it says why");
        // A result: an error instead.
        let mut rig = Rig::open();
        rig.peer_max = 500;
        rig.router(result(3, false, given.clone()));
        let said = rig.take_said();
        assert_eq!(error(&said[0]), Some((48, 3, uri)));
        assert_eq!((said.len(), rig.wishes.len()), (1, 0));
        // An error's arguments: the error without them.
        rig.router(ToSession::CallError(CallError {
            request: 4,
            uri: "a.b".into(),
            ppt: None,
            payload: Some(given),
            message: None,
        }));
        let said = rig.take_said();
        assert_eq!(error(&said[0]), Some((48, 4, "a.b")));
        assert!(matches!(&said[0], Message::Error { payload, .. } if payload.is_empty()));
        assert_eq!(said.len(), 1);
    }
}

#[test]
fn of_a_piece_that_is_too_large_the_caller_hears_once() {
    let mut rig = Rig::open();
    rig.peer_max = 500;
    rig.router(ToSession::Timer {
        request: 1,
        timeout_ms: 1000,
    });
    rig.router(result(1, true, large()));
    assert_eq!(error(&rig.take_said()[0]), Some((48, 1, SIZE)));
    let mode = CancelMode::KillNoWait;
    assert!(matches!(
        rig.asked()[..],
        [WampAsk::Cancel { request: 1, mode: it }] if *it == mode
    ));
    // What was on its way comes behind that, and the router's word on the cancel.
    rig.router(result(1, true, payload(1.into())));
    rig.router(canceled(1));
    assert!(rig.said.is_empty(), "{:?}", rig.said);
    assert_eq!(rig.session.poll_timeout(), None);
    // Another call has nothing to do with it, nor has the last word's successor.
    rig.router(result(2, false, payload(1.into())));
    assert!(matches!(
        rig.take_said()[..],
        [Message::Result { request: 2, .. }]
    ));
}

#[test]
fn of_a_piece_that_is_too_large_the_caller_hears_once_though_the_last_word_is_ready() {
    let mut rig = Rig::open();
    rig.peer_max = 500;
    // All three come before the first is written.
    for said in [
        result(1, true, large()),
        result(1, true, payload(1.into())),
        result(2, false, payload(2.into())),
        result(1, false, payload(3.into())),
    ] {
        let told = crate::broker::WampTold::Said(Box::new(said));
        let event = crate::broker::Event::Wamp(Box::new(told));
        rig.session.handle_event(rig.now, event);
    }
    rig.settle();
    let said = rig.take_said();
    assert!(matches!(said[0], Message::Result { request: 2, .. }));
    assert_eq!(error(&said[1]), Some((48, 1, SIZE)));
    assert_eq!(said.len(), 2);
    assert!(rig.wishes.is_empty(), "the call is over");
}

#[test]
fn who_calls_and_publishes_is_told_as_the_settings_have_it() {
    for (disclosure, wished, policy, told) in [
        (
            Disclosure::Wished,
            false,
            DisclosePolicy::Asked,
            Some(false),
        ),
        (Disclosure::Wished, true, DisclosePolicy::Asked, Some(true)),
        (
            Disclosure::Always,
            false,
            DisclosePolicy::Always,
            Some(true),
        ),
        (Disclosure::Always, true, DisclosePolicy::Always, Some(true)),
        (Disclosure::Never, false, DisclosePolicy::Never, Some(false)),
        (Disclosure::Never, true, DisclosePolicy::Never, None),
    ] {
        let mut changed = settings();
        changed.disclosure = disclosure;
        let mut rig = Rig::open_with(changed);
        rig.client(call(1, Dict::new().with("disclose_me", wished)));
        let asked = rig.asked();
        let [WampAsk::Call(it)] = &asked[..] else {
            panic!("{asked:?}")
        };
        assert_eq!((it.disclose, it.options.disclose_me), (policy, wished));
        let options = acknowledged().with("disclose_me", wished);
        rig.client(publish(2, "a", options));
        let calls = rig.calls();
        let Some(told) = told else {
            assert!(calls.is_empty());
            let refused = "wamp.error.option_disallowed.disclose_me";
            assert_eq!(error(&rig.said[0]), Some((16, 2, refused)));
            continue;
        };
        let [(_, Call::Publish(message))] = &calls[..] else {
            panic!("{calls:?}")
        };
        let publisher = message.wamp.as_ref().unwrap().part.publisher.clone();
        let publisher = publisher.map(|it| (it.session, it.authid, it.authrole));
        let me = (rig.session.id().unwrap(), "ann".into(), "shop".into());
        assert_eq!(publisher, told.then_some(me), "{disclosure:?} {wished}");
    }
}

#[test]
fn where_ids_need_not_ascend_an_old_one_is_as_good_as_any() {
    for (strict, expected) in [(true, true), (false, false)] {
        let mut changed = settings();
        changed.sequential_ids = strict;
        let mut rig = Rig::open_with(changed);
        rig.client(call(1, Dict::new()));
        rig.client(call(2, Dict::new()));
        rig.client(call(1, Dict::new()));
        let asked = rig.asked();
        let [_, _, WampAsk::Call(last)] = &asked[..] else {
            panic!("{asked:?}")
        };
        assert_eq!(last.continues_only, expected);
    }
}

#[test]
fn a_registration_that_is_taken_away_is_told() {
    let mut rig = Rig::open();
    rig.router(ToSession::Unregistered {
        registration: RegistrationId::new(9),
        reason: "a.b".into(),
        is_told: true,
    });
    let details = Dict::new().with("registration", 9).with("reason", "a.b");
    let told = Message::Unregistered {
        request: 0,
        details: Some(details),
    };
    assert_eq!(rig.take_said(), [told]);
    rig.router(ToSession::Unregistered {
        registration: RegistrationId::new(9),
        reason: "a.b".into(),
        is_told: false,
    });
    assert!(rig.said.is_empty(), "it does not understand");
}

#[test]
fn whoever_is_killed_hears_why_and_is_waited_for() {
    let mut rig = Rig::open();
    rig.router(ToSession::Goodbye {
        reason: "a.b".into(),
        message: Some("enough".into()),
    });
    let said = rig.take_said();
    let [Message::Goodbye { details, reason }] = &said[..] else {
        panic!("{said:?}")
    };
    assert_eq!(
        (&**reason, details.text("message")),
        ("a.b", Ok(Some("enough")))
    );
    assert_eq!(rig.wishes, [Wish::Detach]);
    rig.client(Message::Abort {
        details: Dict::new(),
        reason: "a.b".to_owned(),
        payload: Payload::none(),
    });
    let closing = rig.session.closing().unwrap();
    assert_eq!((closing.reason, closing.violation), ("aborted", false));
}

#[test]
fn a_call_is_canceled_in_whatever_mode() {
    for (mode, expected) in [
        (Value::Null, CancelMode::KillNoWait),
        ("skip".into(), CancelMode::Skip),
        ("kill".into(), CancelMode::Kill),
        ("killnowait".into(), CancelMode::KillNoWait),
        ("now".into(), CancelMode::KillNoWait),
        (1.into(), CancelMode::KillNoWait),
    ] {
        let mut rig = Rig::open();
        rig.client(Message::Cancel {
            request: 1,
            options: Dict::new().with("mode", mode.clone()),
        });
        let asked = rig.asked();
        let [
            WampAsk::Cancel {
                request: 1,
                mode: found,
            },
        ] = &asked[..]
        else {
            panic!("{mode:?}: {asked:?}")
        };
        assert_eq!((*found, rig.said.len()), (expected, 0), "{mode:?}");
    }
}
