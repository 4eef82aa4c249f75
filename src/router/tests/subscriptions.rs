//! SUBSCRIBE, UNSUBSCRIBE, revocation, and who gets meta events (wamp.md §4, §8.9, §9.3).

use super::rig::{NOW, Rig, all_features, id};
use crate::router::{Limits, Match, Refused, SubscriptionId, ToSession};

use Match::{Exact, Prefix, Wildcard};

#[test]
fn a_topic_and_its_match_have_one_id() {
    let mut rig = Rig::of(&[1, 2]);
    for (session, uri, how, expected) in [
        (1, "a.b", Exact, 1),
        (2, "a.b", Exact, 1),
        (1, "a.b", Prefix, 2),
        (1, "a.b", Wildcard, 3),
        (1, "a.b", Exact, 1),
    ] {
        assert_eq!(rig.subscribe(session, uri, how), expected);
    }
    let again = rig
        .router
        .subscribe(id(1), "a.b", Exact, NOW, &mut rig.sink);
    assert!(!again.unwrap().is_new);
    assert_eq!(rig.unsubscribe(1, 1), Ok(()));
    assert_eq!(rig.unsubscribe(1, 1), Err(Refused::NoSuchSubscription));
    assert_eq!(rig.subscribe(1, "a.b", Exact), 1);
}

#[test]
fn only_ones_own_subscription_can_be_ended() {
    let mut rig = Rig::of(&[1, 2]);
    rig.subscribe(1, "a.b", Exact);
    for (session, subscription) in [(2, 1), (1, 9), (9, 1)] {
        let refused = rig.unsubscribe(session, subscription);
        assert_eq!(refused, Err(Refused::NoSuchSubscription));
    }
}

#[test]
fn what_may_not_be_subscribed_to_is_refused() {
    let mut rig = Rig::of(&[1]);
    for (uri, how) in [
        ("", Exact),
        ("a..b", Exact),
        ("a b", Prefix),
        ("a.#", Wildcard),
    ] {
        assert_eq!(
            rig.try_subscribe(1, uri, how),
            Err(Refused::InvalidUri),
            "{uri}"
        );
    }
    for (uri, how) in [
        ("", Prefix),
        ("", Wildcard),
        ("..", Wildcard),
        ("wamp.x", Exact),
    ] {
        assert!(rig.try_subscribe(1, uri, how).is_ok(), "{uri}");
    }
    assert_eq!(
        rig.try_subscribe(7, "a", Exact),
        Err(Refused::NoSuchSession)
    );
}

#[test]
fn events_come_in_their_order() {
    let mut rig = Rig::of(&[1, 2, 9]);
    rig.subscribe(9, "wamp.subscription.", Prefix);
    rig.subscribe(1, "a.b", Exact);
    rig.subscribe(1, "a.b", Exact);
    rig.subscribe(2, "a.b", Exact);
    rig.unsubscribe(1, 2).unwrap();
    rig.leave(2);
    let details = r#"{"created":"2023-11-14T22:13:20.007Z","id":2,"match":"exact","uri":"a.b"}"#;
    rig.expect(&[
        &format!("9 subscription.on_create [1,{details}]"),
        "9 subscription.on_subscribe [1,2]",
        "9 subscription.on_subscribe [2,2]",
        "9 subscription.on_unsubscribe [1,2]",
        "9 subscription.on_unsubscribe [2,2]",
        "9 subscription.on_delete [2,2]",
    ]);
}

#[test]
fn subscriptions_to_meta_topics_cause_no_events() {
    let mut rig = Rig::of(&[1, 9]);
    rig.subscribe(9, "wamp.", Prefix);
    let subscription = rig.subscribe(1, "wamp.session.on_join", Exact);
    rig.unsubscribe(1, subscription).unwrap();
    rig.expect(&[]);
}

/// Who hears of a session that comes.
#[test]
fn meta_events_go_to_subscriptions_in_their_own_name_space() {
    for (uri, how, is_told) in [
        ("wamp.session.on_join", Exact, true),
        ("wamp.session.on_leave", Exact, false),
        ("wamp.session.", Prefix, true),
        ("wamp.", Prefix, true),
        ("wamp", Prefix, true),
        ("wam", Prefix, false),
        ("", Prefix, false),
        ("wamp..on_join", Wildcard, true),
        ("wamp..", Wildcard, true),
        ("wamp.", Wildcard, false),
        (".session.on_join", Wildcard, false),
        ("..", Wildcard, false),
    ] {
        let mut rig = Rig::of(&[9]);
        rig.subscribe(9, uri, how);
        rig.join(1, all_features());
        let said = std::mem::take(&mut rig.sink.messages);
        assert_eq!(said.len(), usize::from(is_told), "{uri:?} {how}");
        for (_, message) in said {
            let ToSession::MetaEvent(event) = message else {
                panic!("{message:?}")
            };
            assert_eq!(event.is_pattern, how != Exact);
            assert!((1..=1 << 53).contains(&event.publication));
        }
    }
}

#[test]
fn one_event_is_one_publication_for_all() {
    let mut rig = Rig::of(&[8, 9]);
    rig.subscribe(8, "wamp.session.on_join", Exact);
    rig.subscribe(9, "wamp.session.on_join", Exact);
    rig.subscribe(9, "wamp.", Prefix);
    for session in [1, 2] {
        rig.join(session, all_features());
    }
    let said = std::mem::take(&mut rig.sink.messages);
    let publication = |message: &ToSession<_>| match message {
        ToSession::MetaEvent(event) => event.publication,
        other => panic!("{other:?}"),
    };
    let ids: Vec<_> = said
        .iter()
        .map(|(_, message)| publication(message))
        .collect();
    assert_eq!(ids.len(), 6);
    assert!(ids[..3].iter().all(|id| *id == ids[0]));
    assert!(ids[3..].iter().all(|id| *id == ids[3]));
    assert_ne!(ids[0], ids[3]);
}

#[test]
fn a_revoked_subscriber_is_told_if_it_understands() {
    for is_told in [true, false] {
        let mut rig = Rig::new();
        let mut features = all_features();
        features.subscriber.subscription_revocation = is_told;
        rig.join(1, features);
        let subscription = SubscriptionId::new(rig.subscribe(1, "a.b", Exact));
        let sink = &mut rig.sink;
        let revoked = rig
            .router
            .revoke_subscription(id(1), subscription, "x.why", sink);
        assert_eq!(revoked, Ok(()));
        match is_told {
            true => rig.expect(&["1 unsubscribed 1 x.why"]),
            false => rig.expect(&["1 unsubscribed 1 x.why silent"]),
        }
        let sink = &mut rig.sink;
        let again = rig
            .router
            .revoke_subscription(id(1), subscription, "x.why", sink);
        assert_eq!(again, Err(Refused::NoSuchSubscription));
        rig.leave(1);
        rig.assert_empty();
    }
}

#[test]
fn a_subscription_is_taken_from_all_its_subscribers() {
    let mut rig = Rig::of(&[1, 2]);
    let subscription = SubscriptionId::new(rig.subscribe(1, "a.b", Exact));
    rig.subscribe(2, "a.b", Exact);
    let sink = &mut rig.sink;
    let withdrawn = rig.router.withdraw_subscription(subscription, sink);
    assert_eq!(withdrawn, Ok(()));
    rig.expect(&[
        "1 unsubscribed 1 wamp.error.unsubscribed",
        "2 unsubscribed 1 wamp.error.unsubscribed",
    ]);
    let sink = &mut rig.sink;
    let again = rig.router.withdraw_subscription(subscription, sink);
    assert_eq!(again, Err(Refused::NoSuchSubscription));
    rig.leave(1);
    rig.leave(2);
    rig.assert_empty();
}

#[test]
fn a_kept_subscription_stays_without_subscribers() {
    let mut rig = Rig::of(&[1]);
    let kept = rig.router.keep_subscription("a.", Prefix, NOW).unwrap();
    assert_eq!(rig.subscribe(1, "a.", Prefix), kept.get());
    rig.unsubscribe(1, kept.get()).unwrap();
    assert_eq!(rig.router.subscription_of("a.", Prefix), Some(kept));
}

#[test]
fn subscriptions_to_meta_events_are_limited() {
    let mut rig = Rig::of(&[1, 2]);
    for n in 0..64 {
        rig.subscribe(1, &format!("wamp.a{n}"), Exact);
    }
    let refused = Refused::TooMany("subscriptions of this session to meta events");
    assert_eq!(rig.try_subscribe(1, "wamp.b", Prefix), Err(refused));
    assert_eq!(refused.uri(), "restante.error.limit_exceeded");
    // What it has, and all others, are not meant.
    assert_eq!(rig.try_subscribe(1, "wamp.a0", Exact), Ok(1));
    rig.subscribe(1, "b", Exact);
    rig.subscribe(2, "wamp.b", Prefix);
    rig.unsubscribe(1, 1).unwrap();
    assert!(rig.try_subscribe(1, "wamp.b", Prefix).is_ok());
    assert_eq!(rig.try_subscribe(1, "wamp.a0", Exact), Err(refused));
    for session in [1, 2] {
        rig.leave(session);
    }
    rig.assert_empty();
}

#[test]
fn subscriptions_are_limited() {
    let mut rig = Rig::with(Limits {
        subscriptions_per_session_max: 2,
        wildcard_shapes_max: 1,
        ..Limits::default()
    });
    rig.join(1, all_features());
    rig.subscribe(1, "a..b", Wildcard);
    let refused = rig.try_subscribe(1, ".b", Wildcard).unwrap_err();
    assert_eq!(refused.uri(), "restante.error.limit_exceeded");
    rig.subscribe(1, "a.b", Exact);
    let refused = rig.try_subscribe(1, "a", Exact);
    assert_eq!(
        refused,
        Err(Refused::TooMany("subscriptions of this session"))
    );
    assert!(rig.try_subscribe(1, "a.b", Exact).is_ok());
    assert_eq!(rig.router.counts().subscriptions, 2);
}
