//! What comes to subscribers: from every door, retained, from queues; and what is taken away.

use std::collections::BTreeMap;
use std::sync::Arc;

use restante_proto::wamp::{Dict, Message, Payload, Serializer, Value};
use restante_storage::payload::{WampNames, WampPart, WampPassthru, WampPeer};

use super::rig::{Rig, error, publish};
use crate::broker::{Call, Delivery, Event, Settle, WampAsk, WampTold};
use crate::message::Message as Stored;
use crate::refusal::Refusal;
use crate::router::{ShardKey, SubscriptionId, ToSession};
use crate::session::wamp::Wish;

fn delivery(offset: u64, message: Stored) -> Event {
    Event::Delivery(Box::new(Delivery {
        consumer: "9".into(),
        offset,
        attempt: 1,
        barred: false,
        message: Arc::new(message.into()),
    }))
}

/// A WAMP client's message.
fn wamp(part: WampPart) -> Stored {
    let part = WampPart {
        publication: part.publication.max(1),
        ..part
    };
    Stored {
        address: "a/b".to_owned(),
        message_id: "m".to_owned(),
        priority: 4,
        wamp: Some(Box::new(part)),
        ..Stored::default()
    }
}

/// The details of the one event that comes.
fn details(rig: &mut Rig) -> Dict {
    let said = rig.take_said();
    match &said[..] {
        [
            Message::Event {
                subscription: 9,
                details,
                ..
            },
        ] => details.clone(),
        other => panic!("{other:?}"),
    }
}

fn durable(queue: &str) -> Dict {
    Dict::new().with("x_durable", queue)
}

#[test]
fn an_event_says_what_its_message_has_in_other_doors() {
    let plain = || Stored {
        address: "a/b".to_owned(),
        message_id: "m".to_owned(),
        priority: 4,
        ..Stored::default()
    };
    let id = || Dict::new().with("_message_id", "m");
    let properties = [("k".to_owned(), "v".to_owned())];
    let peer = WampPeer {
        session: 7,
        authid: "ann".to_owned(),
        authrole: "shop".to_owned(),
    };
    let passthru = WampPassthru {
        scheme: "x_a".to_owned(),
        serializer: Some("cbor".to_owned()),
        cipher: None,
        keyid: None,
    };
    let publisher = Dict::new()
        .with("publisher", 7)
        .with("publisher_authid", "ann")
        .with("publisher_authrole", "shop");
    let opaque = Dict::new()
        .with("ppt_scheme", "x_a")
        .with("ppt_serializer", "cbor");
    let own = Dict::new().with("k", "v");
    let trusted = Box::new(WampPart {
        trust: 10,
        ..WampPart::default()
    });
    #[rustfmt::skip]
    let cases = [
        (plain(), id()),
        (Stored { correlation_id: Some("c".into()), ..plain() }, id().with("_correlation_id", "c")),
        (Stored { reply_to: Some("r/s.t".into()), ..plain() }, id().with("_reply_to", "r.s%2Et")),
        (Stored { content_type: Some("image/png".into()), ..plain() }, id().with("_content_type", "image/png")),
        (Stored { content_type: Some("application/octet-stream".into()), ..plain() }, id()),
        (Stored { key: Some("k".into()), ..plain() }, id().with("_key", "k")),
        (Stored { priority: 9, ..plain() }, id().with("_priority", 9)),
        (Stored { properties: BTreeMap::from(properties), ..plain() }, id().with("_properties", own)),
        (Stored { wamp: Some(trusted), ..plain() }, Dict::new().with("trustlevel", 9).with("_message_id", "m")),
        (wamp(WampPart::default()), Dict::new()),
        (wamp(WampPart { publisher: Some(peer), ..WampPart::default() }), publisher),
        (wamp(WampPart { trust: 1, ..WampPart::default() }), Dict::new().with("trustlevel", 0)),
        (wamp(WampPart { passthru: Some(passthru), ..WampPart::default() }), opaque),
    ];
    for (message, expected) in cases {
        let mut rig = Rig::open();
        rig.subscribe(1, "a.b", Dict::new(), 9);
        rig.broker(delivery(1, message.clone()));
        assert_eq!(details(&mut rig), expected);
        // To a pattern, what it was published to besides.
        let mut rig = Rig::open();
        let prefix = Dict::new().with("match", "prefix");
        rig.subscribe(1, "a.", prefix, 9);
        rig.broker(delivery(1, message));
        assert_eq!(details(&mut rig).text("topic"), Ok(Some("a.b")));
    }
}

#[test]
fn a_subscription_is_shared_by_one_name() {
    let subscribe = |rig: &mut Rig, request, options: Dict| {
        rig.client(Message::Subscribe {
            request,
            options,
            topic: "a.b".to_owned(),
        });
    };
    let named = |name: &str| Dict::new().with("nkey", name);
    let mut rig = Rig::open();
    subscribe(&mut rig, 1, named("n"));
    rig.told(WampTold::Subscribed {
        request: 1,
        subscription: 9,
    });
    let Some((tag, Call::Consume(consume))) = rig.calls().pop() else {
        panic!("{:?}", rig.wishes)
    };
    assert_eq!(consume.shard, Some(ShardKey::of("n")));
    rig.confirm(tag, &[]);
    rig.said.clear();
    // Again by the same name, it is the same; by another, it is refused.
    for (request, options, refused) in [
        (2, named("n"), false),
        (3, named("m"), true),
        (4, Dict::new(), true),
    ] {
        subscribe(&mut rig, request, options);
        rig.told(WampTold::Subscribed {
            request,
            subscription: 9,
        });
        let said = rig.take_said();
        let why = "wamp.error.option_not_allowed";
        let expected = refused.then_some((32, request, why));
        assert_eq!(error(&said[0]), expected);
    }
    for (request, options, why) in [
        (
            5,
            durable("q").with("nkey", "n"),
            "wamp.error.option_not_allowed",
        ),
        (6, named(&"n".repeat(257)), "wamp.error.invalid_argument"),
        (
            7,
            Dict::new().with("nkey", 1),
            "wamp.error.invalid_argument",
        ),
    ] {
        subscribe(&mut rig, request, options);
        assert_eq!(error(&rig.take_said()[0]), Some((32, request, why)));
    }
    // What is published belongs to somebody if it says so.
    rig.wishes.clear();
    rig.client(publish(8, "a.b", Dict::new().with("rkey", "k")));
    let Some((_, Call::Publish(message))) = rig.calls().pop() else {
        panic!("{:?}", rig.wishes)
    };
    assert_eq!(message.wamp.as_ref().unwrap().rkey.as_deref(), Some("k"));
}

#[test]
fn what_is_retained_is_for_whom_it_was_meant() {
    let names = |name: &str| WampNames {
        names: vec![name.to_owned()],
    };
    let none = WampPart::default;
    #[rustfmt::skip]
    let cases = [
        (none(), true),
        (WampPart { eligible_authids: Some(names("ann")), ..none() }, true),
        (WampPart { eligible_authids: Some(names("bob")), ..none() }, false),
        (WampPart { eligible_authids: Some(WampNames::default()), ..none() }, false),
        (WampPart { eligible_authroles: Some(names("shop")), ..none() }, true),
        (WampPart { eligible_authroles: Some(names("till")), ..none() }, false),
        (WampPart { excluded_authids: vec!["ann".into()], ..none() }, false),
        (WampPart { excluded_authids: vec!["bob".into()], ..none() }, true),
        (WampPart { excluded_authroles: vec!["shop".into()], ..none() }, false),
    ];
    for (part, is_for_it) in cases {
        let mut rig = Rig::open();
        rig.subscribe(1, "a.b", Dict::new().with("get_retained", true), 9);
        let retained = Stored {
            retained: true,
            ..wamp(part.clone())
        };
        rig.broker(delivery(0, retained));
        assert_eq!(rig.said.len(), usize::from(is_for_it), "{part:?}");
        if is_for_it {
            assert_eq!(details(&mut rig).flag("retained"), Ok(Some(true)));
        }
        // From a queue, it goes back for whoever else consumes from that, and never is rejected. But not at once: it would come again.
        let mut rig = Rig::open();
        rig.subscribe(1, "a.b", durable("q"), 9);
        let Event::Delivery(mut often) = delivery(5, wamp(part)) else {
            unreachable!("it is one")
        };
        often.attempt = 9;
        rig.broker(Event::Delivery(often));
        assert_eq!(rig.said.len(), usize::from(is_for_it));
        assert!(settled(&mut rig).is_empty());
        if let Some(until) = rig.session.poll_timeout() {
            rig.now = until;
            rig.session.handle_timeout(until);
            rig.settle();
        }
        let back = settled(&mut rig);
        assert_eq!(back.len(), usize::from(!is_for_it));
        assert!(back.iter().all(|it| it.released.contains(5)));
    }
}

/// What was settled since the last call.
fn settled(rig: &mut Rig) -> Vec<Settle> {
    let wishes = std::mem::take(&mut rig.wishes).into_iter();
    let settled = wishes.filter_map(|wish| match wish {
        Wish::Call {
            call: Call::Settle(settle),
            ..
        } => Some(settle),
        _ => None,
    });
    settled.collect()
}

/// One that JSON has no words for.
fn unspeakable() -> Stored {
    let given = [Value::Float(f64::NAN)];
    let payload = Payload::from_values(Serializer::Cbor, &given, &Dict::new()).unwrap();
    Stored {
        content_type: Some("application/cbor".to_owned()),
        body: payload.single().unwrap().raw,
        ..wamp(WampPart::default())
    }
}

fn large() -> Stored {
    Stored {
        body: "x".repeat(200).into(),
        text: true,
        ..wamp(WampPart::default())
    }
}

#[test]
fn what_a_client_cannot_be_told_of_a_queue_goes_back_and_is_rejected_in_the_end() {
    for (message, why) in [
        (unspeakable as fn() -> Stored, "no words"),
        (large, "larger than the 150 bytes"),
    ] {
        let mut rig = Rig::open();
        rig.subscribe(1, "a.b", durable("q"), 9);
        rig.peer_max = 150;
        for attempt in 1..=5 {
            let Event::Delivery(mut delivery) = delivery(5, message()) else {
                unreachable!("it is one")
            };
            delivery.attempt = attempt;
            rig.broker(Event::Delivery(delivery));
            assert!(rig.said.is_empty());
            // Another may come in its place.
            let limit = 4 + u64::from(attempt);
            assert!(matches!(rig.wishes[1], Wish::Credit { limit: told, .. } if told == limit));
            let [back] = &settled(&mut rig)[..] else {
                panic!("it is settled once")
            };
            assert!(back.reason.as_ref().is_some_and(|it| it.contains(why)));
            let (accepted, released) = (&back.accepted, &back.released);
            assert!(accepted.is_empty());
            assert_eq!(released.contains(5), attempt < 4);
            assert_eq!(back.rejected.contains(5), attempt >= 4);
            assert_eq!(rig.session.take_tally().given_back, 1);
        }
        // What the client was not sent it cannot acknowledge.
        let publication = crate::wamp::publication_of(&message());
        rig.client(Message::EventReceived { publication });
        assert!(rig.wishes.is_empty());
    }
}

#[test]
fn what_a_client_s_serializer_cannot_say_is_passed_over() {
    let mut rig = Rig::open();
    rig.subscribe(1, "a.b", Dict::new(), 9);
    rig.broker(delivery(1, unspeakable()));
    assert!(rig.said.is_empty());
    assert_eq!(rig.session.take_tally().unspeakable, 1);
    // What is too large as well.
    rig.peer_max = 100;
    rig.broker(delivery(2, large()));
    assert!(rig.said.is_empty());
    assert_eq!(rig.session.take_tally().too_large, 1);
}

#[test]
fn a_subscription_that_the_router_takes_away_is_told_to_whoever_wants_to_know() {
    for is_told in [true, false] {
        let mut rig = Rig::open();
        rig.subscribe(1, "a.b", Dict::new(), 9);
        rig.router(ToSession::Unsubscribed {
            subscription: SubscriptionId::new(9),
            reason: "x.y".into(),
            is_told,
        });
        let told = Message::Unsubscribed {
            request: 0,
            details: Some(Dict::new().with("subscription", 9).with("reason", "x.y")),
        };
        assert_eq!(rig.take_said(), if is_told { vec![told] } else { vec![] });
        let calls = rig.calls();
        assert!(matches!(&calls[..], [(_, Call::Cancel { consumer })] if consumer == "9"));
        rig.broker(delivery(1, wamp(WampPart::default())));
        assert!(rig.said.is_empty(), "nothing comes behind it");
        // Taken away twice is taken away once.
        rig.router(ToSession::Unsubscribed {
            subscription: SubscriptionId::new(9),
            reason: "x.y".into(),
            is_told,
        });
        assert!(rig.said.is_empty());
        assert_eq!(rig.calls().len(), 1);
    }
}

#[test]
fn a_consumer_that_the_broker_ends_is_a_subscription_lost() {
    for (mut rig, is_told) in [(Rig::open_for_revocation(), true), (Rig::open(), false)] {
        rig.subscribe(1, "a.b", durable("q"), 9);
        rig.broker(delivery(1, wamp(WampPart::default())));
        rig.said.clear();
        rig.broker(Event::Cancelled {
            consumer: "9".into(),
            why: Refusal::Denied,
        });
        let reason = "wamp.error.not_authorized";
        let told = Message::Unsubscribed {
            request: 0,
            details: Some(Dict::new().with("subscription", 9).with("reason", reason)),
        };
        assert_eq!(rig.take_said(), if is_told { vec![told] } else { vec![] });
        assert!(matches!(
            rig.asked()[..],
            [
                WampAsk::Begun { .. },
                WampAsk::Unsubscribe { subscription: 9 }
            ] | [WampAsk::Unsubscribe { subscription: 9 }]
        ));
        // What it had in hand is the broker's again.
        rig.client(Message::EventReceived { publication: 1 });
        assert!(rig.calls().is_empty());
        rig.client(Message::Unsubscribe {
            request: 2,
            subscription: 9,
        });
        let unknown = "wamp.error.no_such_subscription";
        assert_eq!(error(&rig.said[0]), Some((34, 2, unknown)));
        // One that it never had is nothing.
        rig.broker(Event::Cancelled {
            consumer: "10".into(),
            why: Refusal::Denied,
        });
        assert_eq!(rig.said.len(), 1);
    }
}

#[test]
fn messages_with_one_id_are_acknowledged_one_by_one() {
    let mut rig = Rig::open();
    rig.subscribe(1, "a.b", durable("q"), 9);
    let message = || Stored {
        address: "a/b".to_owned(),
        message_id: "chosen by its sender".to_owned(),
        ..Stored::default()
    };
    rig.broker(delivery(1, message()));
    rig.broker(delivery(2, message()));
    let ids: Vec<u64> = rig
        .take_said()
        .iter()
        .map(|it| match it {
            Message::Event { publication, .. } => *publication,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ids[0], ids[1]);
    for offset in [1, 2] {
        rig.wishes.clear();
        rig.client(Message::EventReceived {
            publication: ids[0],
        });
        let calls = rig.calls();
        let [(_, Call::Settle(Settle { accepted, .. }))] = &calls[..] else {
            panic!("{calls:?}")
        };
        assert!(accepted.contains(offset) && accepted.count() == 1);
    }
}

#[test]
fn a_durable_subscription_is_asked_for_by_either_name() {
    let short = || Dict::new().with("_durable", "q");
    #[rustfmt::skip]
    let cases = [
        (durable("q"), 4),
        (short(), 4),
        (short().with("_window", 2), 2),
        (short().with("x_window", 3), 3),
        (durable("q").with("_durable", "r").with("_window", 2), 2),
        (durable("q").with("x_window", 3).with("_window", 2), 3),
    ];
    for (options, window) in cases {
        let mut rig = Rig::open();
        rig.client(Message::Subscribe {
            request: 1,
            options: options.clone(),
            topic: "a.b".to_owned(),
        });
        rig.told(WampTold::Subscribed {
            request: 1,
            subscription: 9,
        });
        let (_, Call::Consume(wish)) = rig.calls()[0] else {
            panic!("no consumer: {options:?}")
        };
        assert_eq!((&*wish.address, wish.limit), ("q", window), "{options:?}");
    }
}

#[test]
fn a_call_that_acknowledges_is_answered_once_that_is_durable() {
    let mut rig = Rig::open();
    rig.subscribe(1, "a.b", durable("q"), 9);
    for n in 1..=3 {
        let part = WampPart {
            publication: n,
            ..WampPart::default()
        };
        rig.broker(delivery(10 + n, wamp(part)));
    }
    rig.said.clear();
    let ids = [1.into(), 3.into(), 77.into()];
    let received = |request, ids: &[Value]| Message::Call {
        request,
        options: Dict::new(),
        procedure: "restante.event.received".to_owned(),
        payload: Payload::from_values(Serializer::Json, ids, &Dict::new()).unwrap(),
    };
    rig.client(received(2, &ids));
    let Some((tag, Call::Settle(Settle { accepted, .. }))) = rig.calls().pop() else {
        panic!("{:?}", rig.wishes)
    };
    assert!(accepted.contains(11) && accepted.contains(13) && accepted.count() == 2);
    assert!(rig.said.is_empty(), "it is not durable yet");
    rig.confirm(tag, &[]);
    assert!(matches!(
        rig.take_said()[..],
        [Message::Result { request: 2, .. }]
    ));
    // Those are done with.
    rig.client(received(3, &ids));
    let argument = "wamp.error.invalid_argument";
    assert_eq!(error(&rig.take_said()[0]), Some((48, 3, argument)));
    // What the broker does not take is no confirmation.
    rig.client(received(4, &[2.into()]));
    let tag = rig.calls().pop().unwrap().0;
    rig.confirm(tag, &[(tag, Refusal::NoSuchDelivery)]);
    assert_eq!(error(&rig.take_said()[0]), Some((48, 4, argument)));
}

#[test]
fn one_topic_is_not_subscribed_to_with_a_queue_and_without() {
    for (first, second) in [
        (Dict::new(), durable("q")),
        (durable("q"), Dict::new()),
        (durable("q"), durable("r")),
    ] {
        let mut rig = Rig::open();
        rig.subscribe(1, "a.b", first, 9);
        rig.client(Message::Subscribe {
            request: 2,
            options: second,
            topic: "a.b".to_owned(),
        });
        rig.told(WampTold::Subscribed {
            request: 2,
            subscription: 9,
        });
        let refused = "wamp.error.option_not_allowed";
        assert_eq!(error(&rig.take_said()[0]), Some((32, 2, refused)));
        assert!(rig.calls().is_empty());
        rig.broker(delivery(1, wamp(WampPart::default())));
        assert_eq!(rig.said.len(), 1, "the first one goes on");
    }
}

#[test]
fn nothing_is_kept_of_a_subscription_that_was_refused() {
    let mut rig = Rig::open();
    rig.client(Message::Subscribe {
        request: 1,
        options: Dict::new(),
        topic: "secret.topic".to_owned(),
    });
    rig.wishes.clear();
    assert!(format!("{:?}", rig.session).contains("secret.topic"));
    rig.told(WampTold::Refused {
        request_type: 32,
        request: 1,
        uri: "wamp.error.not_authorized",
        message: "no".to_owned(),
    });
    let refused = "wamp.error.not_authorized";
    assert_eq!(error(&rig.take_said()[0]), Some((32, 1, refused)));
    assert!(!format!("{:?}", rig.session).contains("secret.topic"));
    assert!(!rig.wishes.iter().any(|it| matches!(it, Wish::Call { .. })));
}

/// One that has asked for subscription 9, as requests 1 and 2, of whose consumer the broker has said nothing yet.
fn beginning() -> Rig {
    let mut rig = Rig::open_for_revocation();
    for request in [1, 2] {
        rig.client(Message::Subscribe {
            request,
            options: Dict::new(),
            topic: "a.b".to_owned(),
        });
        rig.told(WampTold::Subscribed {
            request,
            subscription: 9,
        });
    }
    assert!(matches!(rig.calls()[..], [(1, Call::Consume(_))]));
    rig
}

/// The consumer is cancelled, and nothing is known of the subscription any more.
fn is_over(mut rig: Rig) {
    let calls = rig.calls();
    assert!(matches!(calls.last(), Some((_, Call::Cancel { consumer })) if consumer == "9"));
    let asked = rig.asked();
    let last = asked.last();
    assert!(matches!(
        last,
        Some(WampAsk::Unsubscribe { subscription: 9 })
    ));
    assert!(!asked.iter().any(|it| matches!(it, WampAsk::Begun { .. })));
    rig.wishes.clear();
    rig.subscribe(3, "a.b", Dict::new(), 9);
}

#[test]
fn a_consumer_that_is_ended_before_it_is_confirmed_is_no_subscription() {
    let mut rig = beginning();
    rig.broker(Event::Cancelled {
        consumer: "9".into(),
        why: Refusal::Denied,
    });
    assert!(rig.said.is_empty(), "the broker's answer is still to come");
    rig.confirm(1, &[]);
    let refused = "wamp.error.not_authorized";
    let said = rig.take_said();
    let said: Vec<_> = said.iter().map(error).collect();
    assert_eq!(said, [1, 2].map(|request| Some((32, request, refused))));
    is_over(rig);
}

#[test]
fn a_subscription_that_is_taken_away_before_it_is_confirmed_is_refused() {
    let mut rig = beginning();
    rig.router(ToSession::Unsubscribed {
        subscription: SubscriptionId::new(9),
        reason: "x.y".into(),
        is_told: true,
    });
    let said = rig.take_said();
    let said: Vec<_> = said.iter().map(error).collect();
    assert_eq!(said, [1, 2].map(|request| Some((32, request, "x.y"))));
    rig.confirm(1, &[]);
    assert!(rig.said.is_empty(), "each is answered once");
    is_over(rig);
}
