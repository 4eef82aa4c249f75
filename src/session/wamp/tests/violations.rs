//! What breaks the protocol ends the session with ABORT; what is merely wrong is answered with ERROR.

use restante_proto::wamp::{Dict, Message, Payload, Value};

use super::rig::{Rig, aborted, acknowledged, error, hello, publish, settings};
use crate::broker::WampTold;

const VIOLATION: Option<&str> = Some("wamp.error.protocol_violation");

fn text(text: &str) -> String {
    text.to_owned()
}

#[test]
fn a_message_out_of_place_is_a_violation() {
    let none = Payload::none;
    let router_s = [
        Message::Welcome {
            session: 1,
            details: Dict::new(),
        },
        Message::Challenge {
            authmethod: text("x"),
            extra: Dict::new(),
        },
        Message::Published {
            request: 1,
            publication: 1,
        },
        Message::Subscribed {
            request: 1,
            subscription: 1,
        },
        Message::Unsubscribed {
            request: 1,
            details: None,
        },
        Message::Event {
            subscription: 1,
            publication: 1,
            details: Dict::new(),
            payload: none(),
        },
        Message::Result {
            request: 1,
            details: Dict::new(),
            payload: none(),
        },
        Message::Registered {
            request: 1,
            registration: 1,
        },
        Message::Unregistered {
            request: 1,
            details: None,
        },
        Message::Invocation {
            request: 1,
            registration: 1,
            details: Dict::new(),
            payload: none(),
        },
        Message::Interrupt {
            request: 1,
            options: Dict::new(),
        },
    ];
    for message in router_s.iter().cloned().chain([hello()]) {
        let mut rig = Rig::open();
        rig.client(message.clone());
        assert_eq!(aborted(&rig.said[0]), VIOLATION, "{message:?}");
        assert!(rig.session.closing().is_some_and(|it| it.violation));
    }
    let too_early = [
        publish(1, "a", Dict::new()),
        Message::Goodbye {
            details: Dict::new(),
            reason: text("wamp.close.normal"),
        },
        Message::Authenticate {
            signature: text("x"),
            extra: Dict::new(),
        },
        Message::Subscribe {
            request: 1,
            options: Dict::new(),
            topic: text("a"),
        },
    ];
    for message in router_s.into_iter().chain(too_early) {
        let mut rig = Rig::new(settings());
        rig.client(message.clone());
        assert_eq!(aborted(&rig.said[0]), VIOLATION, "{message:?}");
    }
}

#[test]
fn ids_of_requests_ascend_by_one() {
    for (first, second) in [(2, None), (1, Some(1)), (1, Some(3)), (1 << 53, None)] {
        let mut rig = Rig::open();
        rig.client(publish(first, "a", Dict::new()));
        if let Some(second) = second {
            rig.client(publish(second, "a", Dict::new()));
        }
        assert_eq!(
            aborted(rig.said.last().unwrap()),
            VIOLATION,
            "{first} {second:?}"
        );
    }
    let mut relaxed = settings();
    relaxed.sequential_ids = false;
    let mut rig = Rig::open_with(relaxed);
    for id in [4_711, 3, 3, 1 << 53] {
        rig.client(publish(id, "a", Dict::new()));
    }
    assert!(rig.said.is_empty());
    assert_eq!(rig.calls().len(), 4);
}

#[test]
fn over_long_poll_messages_may_overtake_one_another() {
    let mut rig = Rig::open_over_long_poll();
    for id in [2, 4, 1, 3] {
        rig.client(publish(id, "a", Dict::new()));
    }
    assert!(rig.said.is_empty());
    assert_eq!(rig.calls().len(), 4);
}

#[test]
fn an_error_is_to_an_invocation_or_a_violation() {
    for request_type in [16, 32, 48, 64] {
        let mut rig = Rig::open();
        rig.client(Message::Error {
            request_type,
            request: 1,
            details: Dict::new(),
            error: text("a.b"),
            payload: Payload::none(),
        });
        assert_eq!(aborted(&rig.said[0]), VIOLATION);
    }
}

#[test]
fn what_the_router_calls_a_violation_is_one() {
    let mut rig = Rig::open();
    rig.told(WampTold::Violated(text("no such invocation")));
    assert_eq!(aborted(&rig.said[0]), VIOLATION);
}

#[test]
fn what_is_merely_wrong_is_an_error() {
    let subscribe = |topic: &str, options: Dict| Message::Subscribe {
        request: 1,
        options,
        topic: text(topic),
    };
    let call = |procedure: &str, options: Dict| Message::Call {
        request: 1,
        options,
        procedure: text(procedure),
        payload: Payload::none(),
    };
    let register = |procedure: &str, options: Dict| Message::Register {
        request: 1,
        options,
        procedure: text(procedure),
    };
    let option = |key: &str, value: Value| Dict::new().with(key, value);
    let (uri, argument) = ("wamp.error.invalid_uri", "wamp.error.invalid_argument");
    for (message, kind, expected) in [
        (publish(1, "a..b", acknowledged()), 16, uri),
        (publish(1, "", acknowledged()), 16, uri),
        (publish(1, "a b", acknowledged()), 16, uri),
        (publish(1, "wamp.x", acknowledged()), 16, uri),
        (publish(1, "$wamp.x", acknowledged()), 16, uri),
        (
            publish(
                1,
                "a",
                acknowledged().with("eligible", vec![Value::Str(text("x"))]),
            ),
            16,
            argument,
        ),
        (
            publish(1, "a", acknowledged().with("exclude_me", 1)),
            16,
            argument,
        ),
        (
            publish(1, "a", acknowledged().with("_ttl", -1)),
            16,
            argument,
        ),
        (subscribe("a..b", Dict::new()), 32, uri),
        (subscribe("a", option("match", "glob".into())), 32, argument),
        (
            subscribe("a", option("get_retained", 1.into())),
            32,
            argument,
        ),
        (call("a..b", Dict::new()), 48, uri),
        (call("a", option("timeout", (-1).into())), 48, argument),
        (register("wamp.x", Dict::new()), 64, uri),
        (register("a", option("invoke", "all".into())), 64, argument),
        (register("a", option("concurrency", 0.into())), 64, argument),
        (
            Message::Unsubscribe {
                request: 1,
                subscription: 9,
            },
            34,
            "wamp.error.no_such_subscription",
        ),
    ] {
        let mut rig = Rig::open();
        rig.client(message.clone());
        assert_eq!(
            error(&rig.said[0]),
            Some((kind, 1, expected)),
            "{message:?}"
        );
        assert!(rig.session.closing().is_none());
        assert!(rig.wishes.is_empty());
    }
    // Of one that nobody waits for an answer to, nobody hears.
    let mut rig = Rig::open();
    rig.client(publish(1, "a..b", Dict::new()));
    assert!(rig.said.is_empty());
    assert_eq!(rig.session.take_tally().refused_unheard, 1);
}

#[test]
fn options_that_nobody_knows_and_null_mean_nothing() {
    let mut rig = Rig::open();
    let options = Dict::new()
        .with("match", Value::Null)
        .with("get_retained", Value::Null)
        .with("frobnicate", 7);
    rig.client(Message::Subscribe {
        request: 1,
        options,
        topic: text("a"),
    });
    assert!(rig.said.is_empty());
    assert_eq!(rig.asked().len(), 1);
}
