//! SUBSCRIBE and UNSUBSCRIBE.

use std::num::NonZeroU16;

use restante_proto::mqtt::{
    AckProperties, Packet, Qos, ReasonCode, RetainHandling, Suback, SubscriptionId, Unsuback,
    Unsubscribe, UnsubscribeProperties, Version,
};

use super::rig::{Rig, VERSIONS, connect, id, message, settings, str, subscribe};
use crate::broker::{Call, Subscribe};
use crate::refusal::Refusal;
use crate::session::mqtt::{Settings, Wish};

const QOS0: Qos = Qos::AtMostOnce;
const QOS1: Qos = Qos::AtLeastOnce;
const QOS2: Qos = Qos::ExactlyOnce;

fn suback(number: u16, reasons: &[ReasonCode]) -> Packet {
    Packet::Suback(Suback {
        packet_id: id(number),
        reasons: reasons.to_vec(),
        properties: AckProperties::default(),
    })
}

fn unsuback(number: u16, reasons: &[ReasonCode]) -> Packet {
    Packet::Unsuback(Unsuback {
        packet_id: id(number),
        reasons: reasons.to_vec(),
        properties: AckProperties::default(),
    })
}

fn unsubscribe(number: u16, filters: &[&str]) -> Packet {
    Packet::Unsubscribe(Unsubscribe {
        packet_id: id(number),
        filters: filters.iter().copied().map(str).collect(),
        properties: UnsubscribeProperties::default(),
    })
}

fn expect_subscribe(rig: &mut Rig) -> (u64, Subscribe) {
    match rig.expect_call() {
        (tag, Call::Subscribe(subscribe)) => (tag, subscribe),
        other => panic!("not a subscribe: {other:?}"),
    }
}

#[test]
fn each_filter_is_called_and_has_a_code_in_its_place() {
    for version in VERSIONS {
        let mut rig = Rig::durable(version);
        rig.client(Packet::Subscribe(subscribe(
            7,
            &[("/a", QOS0), ("b/+", QOS1), ("c/#", QOS2)],
        )));
        for (tag, filter, qos) in [(1, "%00/a", 0), (2, "b/+", 1), (3, "c/#", 2)] {
            let expected = Subscribe {
                filter: filter.to_owned(),
                qos,
                ..Subscribe::default()
            };
            assert_eq!(expect_subscribe(&mut rig), (tag, expected));
        }
        rig.confirm(1);
        rig.confirm_with(2, &[(2, Refusal::Denied)]);
        assert_eq!(rig.read(), []);
        rig.confirm(3);
        let refused = match version {
            Version::V5 => ReasonCode::NotAuthorized,
            _ => ReasonCode::Unspecified,
        };
        rig.expect(&[suback(
            7,
            &[ReasonCode::Success, refused, ReasonCode::GrantedQos2],
        )]);
    }
}

#[test]
fn the_options_are_passed_on() {
    let mut rig = Rig::durable(Version::V5);
    let mut asks = subscribe(7, &[("a", QOS1)]);
    asks.subscriptions[0].no_local = true;
    asks.subscriptions[0].retain_as_published = true;
    asks.subscriptions[0].retain_handling = RetainHandling::DoNotSend;
    asks.properties.subscription_id = SubscriptionId::new(268_435_455);
    rig.client(Packet::Subscribe(asks));
    let expected = Subscribe {
        filter: "a".to_owned(),
        share: None,
        qos: 1,
        no_local: true,
        retain_as_published: true,
        retain_handling: 2,
        id: 268_435_455,
    };
    assert_eq!(expect_subscribe(&mut rig), (1, expected));
}

#[test]
fn a_shared_subscription_is_granted_qos_1_at_most_and_gets_credit() {
    for version in VERSIONS {
        let mut rig = Rig::durable(version);
        rig.client(Packet::Subscribe(subscribe(7, &[("$share/g/a//b", QOS2)])));
        let expected = Subscribe {
            filter: "a/%00/b".to_owned(),
            share: Some("g".to_owned()),
            qos: 1,
            ..Subscribe::default()
        };
        assert_eq!(expect_subscribe(&mut rig), (1, expected));
        assert_eq!(rig.session.poll_call(), None);
        rig.confirm(1);
        rig.expect(&[suback(7, &[ReasonCode::GrantedQos1])]);
        let credit = Wish::Credit {
            consumer: "s/g/a/%00/b".into(),
            limit: 8,
        };
        assert_eq!(rig.expect_wish(), credit);
        rig.expect_silence();
    }
}

#[test]
fn the_own_queue_gets_credit_once_there_is_one() {
    for (mut rig, qos, credited) in [
        (Rig::durable(Version::V5), QOS0, false),
        (Rig::durable(Version::V5), QOS1, true),
        (Rig::running(Version::V5), QOS1, false),
    ] {
        rig.client(Packet::Subscribe(subscribe(7, &[("a", qos)])));
        rig.expect_call();
        assert_eq!(rig.session.poll_call(), None);
        rig.confirm(1);
        let credit = Wish::Credit {
            consumer: "q".into(),
            limit: 8,
        };
        assert_eq!(rig.session.poll_call(), credited.then_some(credit));
    }
}

#[test]
fn a_refused_filter_has_the_code_of_its_refusal() {
    for (why, code) in [
        (Refusal::Denied, ReasonCode::NotAuthorized),
        (Refusal::BadFilter, ReasonCode::TopicFilterInvalid),
        (Refusal::BadAddress, ReasonCode::TopicFilterInvalid),
        (Refusal::TooMany, ReasonCode::QuotaExceeded),
        (Refusal::Full, ReasonCode::QuotaExceeded),
        (Refusal::Unsupported, ReasonCode::ImplementationSpecific),
        (Refusal::InUse, ReasonCode::Unspecified),
    ] {
        let mut rig = Rig::durable(Version::V5);
        rig.client(Packet::Subscribe(subscribe(7, &[("a", QOS1)])));
        rig.confirm_with(1, &[(1, why)]);
        match rig.expect_one() {
            Packet::Suback(suback) => {
                assert_eq!(suback.reasons, [code]);
                assert!(suback.properties.reason_string.is_some());
            }
            other => panic!("{other:?}"),
        }
        // Nothing is delivered for it.
        rig.deliver("t", 1, 1, message("a"));
        assert_eq!(rig.read(), []);
    }
}

#[test]
fn there_are_no_more_subscriptions_than_may_be() {
    let mut rig = Rig::durable(Version::V5);
    let all = [
        ("a", QOS0),
        ("+", QOS0),
        ("$share/g/a", QOS0),
        ("b", QOS0),
        ("c", QOS1),
    ];
    rig.client(Packet::Subscribe(subscribe(7, &all)));
    rig.confirm(4);
    rig.expect(&[suback(
        7,
        &[
            ReasonCode::Success,
            ReasonCode::Success,
            ReasonCode::Success,
            ReasonCode::Success,
            ReasonCode::QuotaExceeded,
        ],
    )]);
    // One that is there is replaced all the same, and one that ends makes room.
    rig.client(Packet::Subscribe(subscribe(8, &[("b", QOS1)])));
    rig.confirm(5);
    rig.expect(&[suback(8, &[ReasonCode::GrantedQos1])]);
    rig.client(unsubscribe(9, &["+"]));
    rig.confirm(6);
    rig.expect(&[unsuback(9, &[ReasonCode::Success])]);
    rig.client(Packet::Subscribe(subscribe(10, &[("c", QOS1)])));
    rig.confirm(7);
    rig.expect(&[suback(10, &[ReasonCode::GrantedQos1])]);
}

#[test]
fn a_filter_that_shares_nothing_is_refused() {
    // The codec refuses it of 5.0; to 3.x `$share` is a level as any other.
    for filter in ["$share/g", "$share//a", "$share/+/a"] {
        let mut rig = Rig::durable(Version::V311);
        rig.client(Packet::Subscribe(subscribe(
            7,
            &[(filter, QOS1), ("a", QOS0)],
        )));
        assert_eq!(expect_subscribe(&mut rig).1.filter, "a");
        rig.confirm(1);
        rig.expect(&[suback(7, &[ReasonCode::Unspecified, ReasonCode::Success])]);
        rig.client(Packet::Subscribe(subscribe(8, &[(filter, QOS1)])));
        rig.expect(&[suback(8, &[ReasonCode::Unspecified])]);
    }
}

#[test]
fn unsubscribe_tells_of_each_filter_whether_there_was_one() {
    let mut rig = Rig::durable(Version::V5).subscribed("a//b", QOS1);
    rig.client(unsubscribe(7, &["a//b", "$share/g/a", "c"]));
    for (filter, share) in [("a/%00/b", None), ("a", Some("g")), ("c", None)] {
        let filter = filter.to_owned();
        let share = share.map(str::to_owned);
        assert_eq!(rig.expect_call().1, Call::Unsubscribe { filter, share });
    }
    assert_eq!(rig.read(), []);
    let why = Refusal::NoSuchSubscription;
    rig.confirm_with(4, &[(3, why), (4, why)]);
    let none = ReasonCode::NoSubscriptionExisted;
    rig.expect(&[unsuback(7, &[ReasonCode::Success, none, none])]);
    rig.deliver("t", 1, 1, message("a/%00/b"));
    assert_eq!(rig.read(), []);
}

#[test]
fn in_3_x_unsubscribe_is_answered_without_codes() {
    for version in [Version::V31, Version::V311] {
        let mut rig = Rig::durable(version);
        rig.client(unsubscribe(7, &["a"]));
        rig.expect_call();
        rig.confirm_with(1, &[(1, Refusal::NoSuchSubscription)]);
        rig.expect(&[unsuback(7, &[])]);
    }
}

#[test]
fn messages_may_come_before_the_suback_and_until_the_unsuback() {
    let mut rig = Rig::durable(Version::V5);
    rig.client(Packet::Subscribe(subscribe(7, &[("a", QOS1)])));
    rig.deliver("q", 1, 1, message("a"));
    rig.expect_publish();
    rig.confirm(1);
    rig.expect_one();
    rig.client(unsubscribe(8, &["a"]));
    rig.deliver("q", 2, 1, message("a"));
    rig.expect_publish();
    rig.confirm(2);
    rig.expect_one();
    rig.deliver("q", 3, 1, message("a"));
    assert_eq!(rig.read(), []);
}

#[test]
fn a_refused_change_leaves_what_there_was() {
    let mut rig = Rig::durable(Version::V311).subscribed("a", QOS1);
    rig.client(Packet::Subscribe(subscribe(7, &[("a", QOS2)])));
    rig.confirm_with(2, &[(2, Refusal::Denied)]);
    rig.expect_one();
    rig.deliver("q", 1, 1, message("a"));
    assert_eq!(rig.expect_publish().qos, QOS1);
}

#[test]
fn a_filter_that_is_subscribed_to_again_at_once_stays() {
    let mut rig = Rig::durable(Version::V311).subscribed("a", QOS1);
    rig.client(unsubscribe(7, &["a"]));
    rig.client(Packet::Subscribe(subscribe(8, &[("a", QOS2)])));
    rig.confirm(2);
    rig.deliver("q", 1, 1, message("a"));
    rig.confirm(3);
    let read = rig.read();
    assert!(matches!(
        read.as_slice(),
        [Packet::Unsuback(_), Packet::Publish(_), Packet::Suback(_)]
    ));
}

#[test]
fn answers_to_subscriptions_wait_for_those_before_them() {
    let mut rig = Rig::durable(Version::V5);
    rig.client(Packet::Subscribe(subscribe(7, &[("a", QOS0)])));
    rig.client(unsubscribe(8, &["b"]));
    rig.client(Packet::Subscribe(subscribe(
        9,
        &[("$share/g/a", QOS0), ("c", QOS0)],
    )));
    rig.confirm(4);
    let success = ReasonCode::Success;
    rig.expect(&[
        suback(7, &[success]),
        unsuback(8, &[success]),
        suback(9, &[success, success]),
    ]);
}

#[test]
fn a_packet_id_of_a_qos_2_publish_is_not_one_for_subscriptions() {
    let mut rig = Rig::durable(Version::V5);
    rig.client_publishes(QOS2, 7);
    rig.expect_call();
    rig.client(Packet::Subscribe(subscribe(7, &[("a", QOS1), ("b", QOS1)])));
    rig.client(unsubscribe(7, &["a"]));
    assert_eq!(rig.session.poll_call(), None);
    rig.confirm(1);
    let in_use = ReasonCode::PacketIdInUse;
    let read = rig.read();
    let read: Vec<_> = read.into_iter().skip(1).map(super::rig::plain).collect();
    assert_eq!(read, [suback(7, &[in_use, in_use]), unsuback(7, &[in_use])]);
}

#[test]
fn a_refused_change_does_not_undo_the_one_that_came_after_it() {
    let mut rig = Rig::durable(Version::V311);
    rig.client(Packet::Subscribe(subscribe(7, &[("a", QOS1)])));
    rig.client(Packet::Subscribe(subscribe(8, &[("a", QOS2)])));
    rig.confirm_with(2, &[(1, Refusal::Full)]);
    rig.read();
    rig.deliver("q", 1, 1, message("a"));
    assert_eq!(rig.expect_publish().qos, QOS2);
}

#[test]
fn a_shared_subscription_that_begins_anew_has_its_credit_anew() {
    let mut rig = Rig::durable(Version::V5).subscribed("$share/g/a", QOS0);
    for offset in 1..=5 {
        rig.deliver("s/g/a", offset, 1, message("a"));
    }
    while rig.session.poll_call().is_some() {}
    // Both before either is confirmed.
    rig.client(unsubscribe(7, &["$share/g/a"]));
    rig.client(Packet::Subscribe(subscribe(8, &[("$share/g/a", QOS0)])));
    while rig.session.poll_call().is_some() {}
    rig.confirm(8);
    let credit = Wish::Credit {
        consumer: "s/g/a".into(),
        limit: 8,
    };
    assert_eq!(rig.session.poll_call(), Some(credit));
}

#[test]
fn one_member_of_a_group_holds_few_of_its_messages() {
    let settings = Settings {
        receive_maximum: NonZeroU16::MAX,
        ..settings()
    };
    let mut rig = Rig::with(settings).start_durable(connect(Version::V5));
    rig.client(Packet::Subscribe(subscribe(7, &[("$share/g/a", QOS1)])));
    rig.expect_call();
    rig.confirm(1);
    assert!(matches!(rig.expect_wish(), Wish::Credit { limit: 64, .. }));
}

#[test]
fn why_a_filter_was_refused_is_told_to_whom_wants_it() {
    for (wants, told) in [(None, true), (Some(true), true), (Some(false), false)] {
        let mut asks = connect(Version::V5);
        asks.properties.request_problem_information = wants;
        let mut rig = Rig::new().start_durable(asks);
        rig.client(Packet::Subscribe(subscribe(7, &[("a", QOS1)])));
        rig.confirm_with(1, &[(1, Refusal::Denied)]);
        match rig.expect_one() {
            Packet::Suback(suback) => {
                assert_eq!(suback.properties.reason_string.is_some(), told);
            }
            other => panic!("{other:?}"),
        }
    }
}
