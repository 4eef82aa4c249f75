//! The realm's authorizer.

use std::time::Duration;

use restante_proto::wamp::{Dict, Message, Payload, Serializer, Value};

use super::rig::{Rig, error, publish, settings};
use crate::broker::{Authorized, Call, WampAsk, WampTold};
use crate::router::{Match, RegistrationId, ToSession};
use crate::session::wamp::Settings;

fn asking() -> Settings {
    Settings {
        authorizer: Some("com.may".to_owned()),
        authorizer_cache: Duration::from_secs(60),
        ..settings()
    }
}

fn rig() -> Rig {
    Rig::open_with(asking())
}

fn call(request: u64, procedure: &str) -> Message {
    Message::Call {
        request,
        options: Dict::new(),
        procedure: procedure.to_owned(),
        payload: Payload::none(),
    }
}

/// The answer to the question of that number.
fn says(question: u64, allow: bool) -> WampTold {
    let said = Authorized::Says { allow, cache: true };
    WampTold::Authorized { question, said }
}

#[test]
fn what_it_allows_is_done_and_remembered() {
    let mut rig = rig();
    rig.client(call(1, "com.add"));
    assert!(matches!(
        rig.asked()[..],
        [WampAsk::Authorize { action: "call", .. }]
    ));
    assert!(!rig.session.wants_messages(), "order is kept");
    rig.told(says(1, true));
    assert!(rig.session.wants_messages());
    rig.client(call(2, "com.add"));
    assert!(matches!(
        rig.asked()[1..],
        [WampAsk::Call(_), WampAsk::Call(_)]
    ));
    rig.now += Duration::from_secs(60);
    rig.client(call(3, "com.add"));
    assert!(matches!(rig.asked()[3..], [WampAsk::Authorize { .. }]));
}

#[test]
fn what_it_denies_is_refused() {
    let mut rig = rig();
    rig.client(call(1, "com.add"));
    rig.told(says(1, false));
    assert_eq!(
        error(&rig.take_said()[0]),
        Some((48, 1, "wamp.error.not_authorized"))
    );
    rig.client(publish(2, "a", super::rig::acknowledged()));
    rig.told(WampTold::Authorized {
        question: 2,
        said: Authorized::Failed,
    });
    assert_eq!(
        error(&rig.take_said()[0]),
        Some((16, 2, "wamp.error.authorization_failed"))
    );
    // Without an answer in time.
    rig.client(call(3, "com.other"));
    let at = rig.session.poll_timeout().unwrap();
    rig.session.handle_timeout(at);
    rig.settle();
    assert_eq!(
        error(&rig.take_said()[0]),
        Some((48, 3, "wamp.error.authorization_failed"))
    );
    assert!(rig.session.wants_messages());
}

#[test]
fn an_answer_that_is_late_is_not_taken_for_the_next_one() {
    let mut rig = rig();
    rig.client(call(1, "com.first"));
    let at = rig.session.poll_timeout().unwrap();
    rig.session.handle_timeout(at);
    rig.settle();
    rig.take_said();
    rig.client(call(2, "com.second"));
    rig.told(says(1, true));
    assert!(!rig.session.wants_messages(), "it is still asked");
    rig.told(says(2, false));
    assert_eq!(
        error(&rig.take_said()[0]),
        Some((48, 2, "wamp.error.not_authorized"))
    );
}

#[test]
fn a_history_is_told_to_whom_it_has_let_subscribe() {
    let mut rig = rig();
    let get = |request| {
        let args = [5.into()];
        Message::Call {
            request,
            options: Dict::new(),
            procedure: "wamp.subscription.get_events".to_owned(),
            payload: Payload::from_values(Serializer::Json, &args, &Dict::new()).unwrap(),
        }
    };
    rig.client(get(1));
    assert_eq!(
        error(&rig.take_said()[0]),
        Some((48, 1, "wamp.error.not_authorized"))
    );
    rig.client(Message::Subscribe {
        request: 2,
        options: Dict::new(),
        topic: "a".to_owned(),
    });
    rig.told(says(1, true));
    rig.told(WampTold::Subscribed {
        request: 2,
        subscription: 5,
    });
    rig.client(get(3));
    let asked = rig.asked();
    assert!(
        matches!(asked.last(), Some(WampAsk::Call(it)) if it.request == 3),
        "{asked:?}"
    );
}

fn register(request: u64, procedure: &str, options: Dict) -> Message {
    Message::Register {
        request,
        options,
        procedure: procedure.to_owned(),
    }
}

fn registered(request: u64, registration: u64, procedure: &str, how: Match) -> WampTold {
    WampTold::Registered {
        request,
        registration,
        procedure: procedure.to_owned(),
        how,
    }
}

/// What it has asked the authorizer since the last call.
fn take_questions(rig: &mut Rig) -> Vec<(&'static str, String)> {
    let asked = rig.asked();
    let asked = asked.iter().filter_map(|it| match it {
        WampAsk::Authorize { action, uri, .. } => Some((*action, uri.clone())),
        _ => None,
    });
    let asked = asked.collect();
    rig.wishes.clear();
    asked
}

/// One whose client is the authorizer, by registration 1.
fn authorizer() -> Rig {
    let mut rig = rig();
    rig.client(register(1, "com.may", Dict::new()));
    rig.told(registered(1, 1, "com.may", Match::Exact));
    rig
}

#[test]
fn whoever_is_it_is_not_asked_about() {
    let mut rig = authorizer();
    rig.client(call(2, "com.add"));
    rig.client(call(3, "wamp.session.count"));
    assert_eq!(take_questions(&mut rig), []);
}

#[test]
fn whoever_is_it_no_more_is_asked_about() {
    let unregistered = |registration| WampTold::Unregistered {
        request: 2,
        registration,
    };
    let revoked = |registration| {
        WampTold::Said(Box::new(ToSession::Unregistered {
            registration: RegistrationId::new(registration),
            reason: "a.b".into(),
            is_told: false,
        }))
    };
    for (told, is_asked) in [
        (unregistered(1), true),
        (revoked(1), true),
        (unregistered(2), false),
        (revoked(2), false),
    ] {
        let mut rig = authorizer();
        rig.told(told);
        rig.client(call(2, "com.add"));
        assert_eq!(take_questions(&mut rig).len(), usize::from(is_asked));
    }
}

#[test]
fn who_was_not_let_be_it_is_asked_about() {
    let mut rig = Rig::open_over_long_poll_with(asking());
    rig.client(register(5, "com.may", Dict::new()));
    assert_eq!(take_questions(&mut rig), []);
    rig.told(WampTold::Refused {
        request_type: 64,
        request: 5,
        uri: "wamp.error.not_authorized",
        message: "no".to_owned(),
    });
    // Another by the same id.
    rig.client(register(5, "com.mine", Dict::new()));
    let mine = ("register", "com.mine".to_owned());
    assert_eq!(take_questions(&mut rig), [mine]);
    rig.told(says(1, true));
    rig.told(registered(5, 1, "com.mine", Match::Exact));
    rig.client(call(6, "com.add"));
    let add = ("call", "com.add".to_owned());
    assert_eq!(take_questions(&mut rig), [add]);
}

#[test]
fn a_pattern_that_is_spelled_as_it_is_is_not_it() {
    let mut rig = rig();
    let prefix = Dict::new().with("match", "prefix");
    rig.client(register(1, "com.may", prefix));
    let may = ("register", "com.may".to_owned());
    assert_eq!(take_questions(&mut rig), [may]);
    rig.told(says(1, true));
    rig.told(registered(1, 1, "com.may", Match::Prefix));
    rig.client(call(2, "com.add"));
    let add = ("call", "com.add".to_owned());
    assert_eq!(take_questions(&mut rig), [add]);
}

#[test]
fn what_may_become_something_else_is_asked_about_as_both() {
    let reply_to = || Dict::new().with("_reply_to", "~answers");
    let testament = |args: &[Value], kwargs: Dict| Message::Call {
        request: 1,
        options: Dict::new(),
        procedure: "wamp.session.add_testament".to_owned(),
        payload: Payload::from_values(Serializer::Json, args, &kwargs).unwrap(),
    };
    let args = ["a.b".into(), Value::List(Vec::new())];
    let by_name = Dict::new().with("topic", "a.b");
    let request = Dict::new().with("publish_options", reply_to());
    #[rustfmt::skip]
    let cases = [
        (publish(1, "a.b", Dict::new()), &["publish"][..]),
        (publish(1, "a.b", reply_to()), &["publish", "call"]),
        (testament(&args, Dict::new()), &["publish"]),
        (testament(&[], by_name), &["publish"]),
        (testament(&args, request), &["publish", "call"]),
    ];
    for (message, actions) in cases {
        let last = actions.len();
        for denied in 1..=last + 1 {
            let mut rig = rig();
            rig.client(message.clone());
            for (n, action) in (1..).zip(&actions[..last.min(denied)]) {
                let expected = (*action, "a.b".to_owned());
                assert_eq!(take_questions(&mut rig), [expected], "{message:?}");
                rig.told(says(n, n as usize != denied));
            }
            assert!(rig.session.wants_messages());
            let is_done = rig
                .calls()
                .iter()
                .any(|(_, it)| matches!(it, Call::Publish(_)))
                || rig.asked().iter().any(|it| matches!(it, WampAsk::Call(_)));
            assert_eq!(is_done, denied > last, "{message:?}, denied {denied}");
        }
    }
    // What is none is refused where it is read.
    let mut rig = rig();
    rig.client(testament(&[], Dict::new()));
    assert!(matches!(rig.asked()[..], [WampAsk::Call(_)]));
}
