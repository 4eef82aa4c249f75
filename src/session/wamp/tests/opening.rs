//! From HELLO to WELCOME, and to the end.

use std::time::Duration;

use restante_proto::wamp::{Dict, Message, Value};

use super::rig::{Rig, aborted, hello, settings};
use crate::broker::{End, Event};
use crate::session::NotAttached;
use crate::session::wamp::{Proved, Wish, announced};

#[test]
fn a_client_that_is_known_is_welcome() {
    let mut rig = Rig::new(settings());
    rig.client(hello());
    let Some(Wish::Begin(opening)) = rig.wishes.pop() else {
        panic!("{:?}", rig.wishes)
    };
    assert_eq!(opening.realm, "default");
    assert!(!rig.session.wants_messages(), "the driver is asked");
    rig.known();
    assert!(matches!(&rig.wishes[..], [Wish::Attach { realm, .. }] if realm == "default"));
    rig.session.handle_attached(Ok(()));
    rig.settle();
    let [Message::Welcome { session, details }] = &rig.said[..] else {
        panic!("{:?}", rig.said)
    };
    assert_eq!(*session, opening.session);
    assert_eq!(details.text("authid"), Ok(Some("ann")));
    assert_eq!(details.text("authrole"), Ok(Some("shop")));
    assert_eq!(details.text("authmethod"), Ok(Some("ticket")));
    assert_eq!(details.dict("roles"), Ok(Some(&announced())));
}

#[test]
fn a_challenge_is_asked_and_its_answer_handed_on() {
    let mut rig = Rig::new(settings());
    rig.client(hello());
    rig.wishes.clear();
    let extra = Dict::new().with("challenge", "c");
    rig.session.handle_proved(Proved::Challenge {
        method: "wampcra",
        extra: extra.clone(),
    });
    rig.settle();
    let authmethod = "wampcra".to_owned();
    assert_eq!(rig.take_said(), [Message::Challenge { authmethod, extra }]);
    let signature = "s".to_owned();
    let extra = Dict::new();
    rig.client(Message::Authenticate {
        signature: signature.clone(),
        extra: extra.clone(),
    });
    assert_eq!(rig.wishes, [Wish::Answer { signature, extra }]);
    rig.session.handle_proved(Proved::Refused {
        reason: "wamp.error.authentication_denied",
        message: "no".to_owned(),
        extra: Dict::new(),
    });
    rig.settle();
    assert_eq!(
        aborted(&rig.said[0]),
        Some("wamp.error.authentication_denied")
    );
    assert!(rig.session.closing().is_some());
}

#[test]
fn whoever_cannot_be_attached_is_told_why() {
    let mut rig = Rig::new(settings());
    rig.client(hello());
    rig.known();
    rig.session.handle_attached(Err(NotAttached::Busy));
    rig.settle();
    assert_eq!(
        aborted(&rig.said[0]),
        Some("wamp.error.authentication_failed")
    );
    assert!(rig.session.closing().is_some());
}

#[test]
fn after_a_goodbye_another_session_may_begin() {
    let mut rig = Rig::open();
    let first = rig.session.id();
    rig.client(Message::Goodbye {
        details: Dict::new(),
        // Whatever a client says.
        reason: "wamp.close.normal".to_owned(),
    });
    assert_eq!(rig.wishes, [Wish::Detach]);
    assert!(
        matches!(&rig.said[..], [Message::Goodbye { reason, .. }] if reason == "wamp.close.goodbye_and_out")
    );
    assert!(rig.session.closing().is_none());
    rig.open_anew();
    assert_ne!(rig.session.id(), first);
    // Its ids begin anew.
    rig.client(super::rig::publish(1, "a", Dict::new()));
    assert_eq!(rig.calls().len(), 1);
}

#[test]
fn who_does_not_answer_our_goodbye_is_not_waited_for() {
    let mut rig = Rig::open();
    rig.broker(Event::Ended(End::Kicked));
    assert!(
        matches!(&rig.said[..], [Message::Goodbye { reason, .. }] if reason == "wamp.close.killed")
    );
    assert_eq!(rig.wishes, [Wish::Detach]);
    // It does not know yet.
    rig.client(super::rig::publish(1, "a", Dict::new()));
    assert!(rig.calls().is_empty());
    rig.session.handle_timeout(rig.now + Duration::from_secs(5));
    assert!(rig.session.closing().is_some());
}

#[test]
fn no_hello_in_time_is_the_end() {
    let mut rig = Rig::new(settings());
    let at = rig.session.poll_timeout().unwrap();
    assert_eq!(at, rig.now + Duration::from_secs(10));
    rig.session.handle_timeout(at);
    assert!(rig.session.closing().is_some());
    assert!(rig.said.is_empty());
}

#[test]
fn a_hello_that_lacks_something_is_aborted() {
    let with = |key: &str, value: Value| {
        let Message::Hello { realm, details } = hello() else {
            unreachable!()
        };
        Message::Hello {
            realm,
            details: details.with(key, value),
        }
    };
    let violation = "wamp.error.protocol_violation";
    for (message, reason) in [
        (with("roles", Value::Null), violation),
        (with("roles", Value::Dict(Dict::new())), violation),
        (
            with("roles", Dict::new().with("watcher", Dict::new()).into()),
            violation,
        ),
        (with("authmethods", "ticket".into()), violation),
        (with("authmethods", vec![Value::Int(1)].into()), violation),
        (with("authid", 1.into()), violation),
        (
            Message::Hello {
                realm: "a..b".to_owned(),
                details: Dict::new(),
            },
            "wamp.error.invalid_uri",
        ),
    ] {
        let mut rig = Rig::new(settings());
        rig.client(message.clone());
        assert_eq!(aborted(&rig.said[0]), Some(reason), "{message:?}");
        assert!(rig.session.closing().is_some());
    }
}
