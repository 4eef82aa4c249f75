//! The realm's authorizer.

use std::time::Duration;

use restante_proto::wamp::{Dict, Message, Payload, Serializer};

use super::rig::{Rig, error, publish, settings};
use crate::broker::{Authorized, WampAsk, WampTold};

fn rig() -> Rig {
    let mut settings = settings();
    settings.authorizer = Some("com.may".to_owned());
    settings.authorizer_cache = Duration::from_secs(60);
    Rig::open_with(settings)
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

#[test]
fn whoever_is_it_is_not_asked_about() {
    let mut rig = rig();
    rig.client(Message::Register {
        request: 1,
        options: Dict::new(),
        procedure: "com.may".to_owned(),
    });
    rig.told(WampTold::Registered {
        request: 1,
        registration: 1,
    });
    rig.client(call(2, "com.add"));
    rig.client(call(3, "wamp.session.count"));
    let asked = rig.asked();
    assert!(
        !asked
            .iter()
            .any(|it| matches!(it, WampAsk::Authorize { .. })),
        "{asked:?}"
    );
}
