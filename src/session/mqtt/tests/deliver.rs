//! Deliveries to the client.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use restante_proto::mbws::Ranges;
use restante_proto::mqtt::{
    Ack, Connect, Packet, PayloadFormat, PublishProperties, Qos, ReasonCode, SubscriptionId,
    Version,
};
use restante_storage::payload;

use super::rig::{
    EXPIRY, RECEIVE_MAXIMUM, Rig, VERSIONS, WALL, attached, connect, id, kept, message, settings,
    str, subscribe,
};
use crate::broker::{Attached, Call, Delivery, Event, MqttState, Settle};
use crate::message::Message;
use crate::refusal::Refusal;
use crate::session::mqtt::{Settings, Wish};

const QOS0: Qos = Qos::AtMostOnce;
const QOS1: Qos = Qos::AtLeastOnce;
const QOS2: Qos = Qos::ExactlyOnce;
const SUCCESS: ReasonCode = ReasonCode::Success;

/// A durable session that is subscribed to everything.
fn listening(version: Version, qos: Qos) -> Rig {
    Rig::durable(version).subscribed("#", qos)
}

fn with(change: impl FnOnce(&mut Connect)) -> Rig {
    let mut asks = connect(Version::V5);
    change(&mut asks);
    Rig::new().start_durable(asks).subscribed("#", QOS2)
}

fn accepted(consumer: &str, offset: u64, releasing: &[u16]) -> Call {
    Call::Settle(Settle {
        consumer: consumer.to_owned(),
        accepted: Ranges::from_iter([offset]),
        releasing: releasing.to_vec(),
        ..Settle::default()
    })
}

/// The calls that wait, without credit.
fn calls(rig: &mut Rig) -> Vec<Call> {
    let wishes = std::iter::from_fn(|| rig.session.poll_call());
    wishes
        .filter_map(|wish| match wish {
            Wish::Call { call, .. } => Some(call),
            _ => None,
        })
        .collect()
}

fn ack(rig: &mut Rig, of: fn(Ack) -> Packet, number: u16) {
    rig.client(of(Ack::new(id(number), SUCCESS)));
}

#[test]
fn what_is_acknowledged_at_once_is_settled_with_one_call() {
    let mut rig = Rig::with(Settings {
        receive_maximum: NonZeroU16::new(100).unwrap(),
        ..settings()
    });
    rig = rig
        .start_durable(connect(Version::V5))
        .subscribed("#", QOS1);
    for offset in 1..=5 {
        rig.deliver("q", offset, 1, message("a"));
    }
    rig.read();
    let puback = |number| Packet::Puback(Ack::new(id(number), SUCCESS));
    for number in [1, 2, 5] {
        rig.session.handle_packet(rig.now, puback(number));
    }
    assert_eq!(rig.session.poll_call(), None);
    // What is no acknowledgement may end what it is for.
    rig.session.handle_packet(rig.now, Packet::Pingreq);
    let (tag, call) = rig.expect_call();
    let Call::Settle(settle) = call else {
        panic!("no settle");
    };
    assert_eq!(settle.accepted, Ranges::from_iter([1, 2, 5]));
    rig.expect(&[Packet::Pingresp]);
    // What comes while that is on its way to the disk waits for it.
    rig.session.handle_packet(rig.now, puback(4));
    rig.session.settle_up();
    assert_eq!(rig.session.poll_call(), None);
    let upto = tag;
    let failed = Vec::new();
    let confirmed = Event::Confirmed { upto, failed };
    rig.session.handle_event(rig.wall, confirmed);
    rig.session.settle_up();
    assert_eq!(rig.expect_call().1, accepted("q", 4, &[]));
    // And not where the connection ends.
    rig.session.handle_packet(rig.now, puback(3));
    rig.session.settle_up();
    assert_eq!(rig.session.poll_call(), None);
    rig.session.settle_now();
    assert_eq!(rig.expect_call().1, accepted("q", 3, &[]));
    rig.expect_silence();
}

#[test]
fn a_delivery_carries_all_that_the_message_has() {
    let mut rig = listening(Version::V5, QOS2);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let whole = Message {
        correlation_id: Some("base64:AA==".to_owned()),
        reply_to: Some("back/%00/4".to_owned()),
        content_type: Some("text/plain".to_owned()),
        properties: [pair("a", "2"), pair("b", "3")].into(),
        ordered: vec![pair("b", "1"), pair("a", "2"), pair("b", "3")],
        expires: Some(WALL.saturating_add(4001)),
        text: true,
        ..message("%00/till 4")
    };
    rig.deliver("q", 1, 1, whole);
    let publish = rig.expect_publish();
    assert_eq!(publish.topic, "/till 4");
    assert_eq!((publish.qos, publish.packet_id), (QOS2, Some(id(1))));
    assert!(!publish.dup && !publish.retain);
    assert_eq!(publish.payload, "x");
    let pair = |name: &str, value: &str| (str(name), str(value));
    let properties = PublishProperties {
        payload_format: Some(PayloadFormat::Utf8),
        message_expiry_secs: Some(5),
        response_topic: Some(str("back//4")),
        correlation_data: Some(Bytes::from_static(b"\x00")),
        content_type: Some(str("text/plain")),
        user_properties: vec![pair("b", "1"), pair("a", "2"), pair("b", "3")],
        ..PublishProperties::default()
    };
    assert_eq!(publish.properties, properties);
}

#[test]
fn the_qos_is_the_lower_of_what_was_sent_and_what_was_granted() {
    for (bound, granted, expected) in [
        (Some(2), QOS1, QOS1),
        (Some(1), QOS2, QOS1),
        (Some(0), QOS2, QOS0),
        (None, QOS2, QOS2),
        (None, QOS1, QOS1),
    ] {
        let mut rig = listening(Version::V311, granted);
        let qos_bound = bound;
        rig.deliver(
            "q",
            1,
            1,
            Message {
                qos_bound,
                ..message("a")
            },
        );
        assert_eq!(rig.expect_publish().qos, expected);
        // QoS 0 is done with as soon as it is sent.
        let settled = [accepted("q", 1, &[])];
        let settled = if expected == QOS0 { &settled[..] } else { &[] };
        assert_eq!(calls(&mut rig), settled);
    }
}

#[test]
fn the_own_queue_s_packet_ids_follow_from_the_offset() {
    for (offset, number) in [(1, 1), (2, 2), (32_767, 32_767), (32_768, 1), (65_535, 1)] {
        let mut rig = listening(Version::V311, QOS1);
        rig.deliver("q", offset, 1, message("a"));
        assert_eq!(rig.expect_publish().packet_id, Some(id(number)), "{offset}");
    }
}

#[test]
fn other_deliveries_of_a_durable_session_have_ids_above_those() {
    let mut rig = listening(Version::V5, QOS1).subscribed("$share/g/b", QOS1);
    for (consumer, number) in [("s/g/b", 32_768), ("t", 32_769), ("s/g/b", 32_770)] {
        rig.deliver(consumer, 1, 1, message("b"));
        assert_eq!(rig.expect_publish().packet_id, Some(id(number)));
    }
    let mut rig = Rig::running(Version::V5).subscribed("#", QOS2);
    rig.deliver("t", 1, 1, message("b"));
    assert_eq!(rig.expect_publish().packet_id, Some(id(1)));
}

#[test]
fn what_is_delivered_again_has_dup() {
    for version in VERSIONS {
        let mut rig = listening(version, QOS1);
        rig.deliver("q", 1, 2, message("a"));
        rig.deliver("q", 2, 1, message("a"));
        let dups: Vec<_> = rig
            .read()
            .into_iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => publish.dup,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(dups, [true, false]);
    }
}

#[test]
fn puback_settles() {
    for version in VERSIONS {
        for reason in [SUCCESS, ReasonCode::NotAuthorized] {
            let mut rig = listening(version, QOS1);
            rig.deliver("q", 5, 1, message("a"));
            rig.expect_publish();
            assert_eq!(calls(&mut rig), []);
            rig.client(Packet::Puback(Ack::new(id(5), reason)));
            assert_eq!(calls(&mut rig), [accepted("q", 5, &[])]);
            rig.expect_silence();
        }
    }
}

#[test]
fn qos_2_is_settled_before_it_is_released_and_then_completed() {
    for version in VERSIONS {
        let mut rig = listening(version, QOS2);
        rig.deliver("q", 5, 1, message("a"));
        rig.expect_publish();
        ack(&mut rig, Packet::Pubrec, 5);
        let (tag, call) = rig.expect_call();
        assert_eq!(call, accepted("q", 5, &[5]));
        rig.expect_silence();
        rig.confirm(tag);
        rig.expect_ack(Packet::Pubrel, 5, SUCCESS);
        // Asked again it is told again.
        ack(&mut rig, Packet::Pubrec, 5);
        rig.expect_ack(Packet::Pubrel, 5, SUCCESS);
        ack(&mut rig, Packet::Pubcomp, 5);
        assert_eq!(calls(&mut rig), [Call::Complete { packet: 5 }]);
        rig.expect_silence();
    }
}

#[test]
fn a_pubrec_that_refuses_ends_the_flow() {
    let mut rig = listening(Version::V5, QOS2);
    rig.deliver("q", 5, 1, message("a"));
    rig.expect_publish();
    let refusal = Ack::new(id(5), ReasonCode::QuotaExceeded);
    rig.client(Packet::Pubrec(refusal.clone()));
    assert_eq!(calls(&mut rig), [accepted("q", 5, &[])]);
    rig.client(Packet::Pubrec(refusal));
    rig.expect_silence();
}

#[test]
fn a_plain_session_settles_nothing() {
    for version in VERSIONS {
        let mut rig = Rig::running(version).subscribed("#", QOS2);
        rig.deliver("t", 1, 1, message("a"));
        rig.expect_publish();
        ack(&mut rig, Packet::Pubrec, 1);
        rig.expect_ack(Packet::Pubrel, 1, SUCCESS);
        ack(&mut rig, Packet::Pubcomp, 1);
        rig.expect_silence();
    }
}

#[test]
fn acknowledgements_of_unknown_packet_ids_harm_nothing() {
    for version in VERSIONS {
        let mut rig = listening(version, QOS2);
        ack(&mut rig, Packet::Puback, 9);
        ack(&mut rig, Packet::Pubcomp, 9);
        rig.expect_silence();
        ack(&mut rig, Packet::Pubrec, 9);
        let code = match version {
            Version::V5 => ReasonCode::PacketIdNotFound,
            _ => SUCCESS,
        };
        rig.expect_ack(Packet::Pubrel, 9, code);
        rig.expect_silence();
    }
}

#[test]
fn acknowledgements_of_the_wrong_kind_are_protocol_errors() {
    for version in VERSIONS {
        for (qos, of) in [
            (QOS1, Packet::Pubrec as fn(Ack) -> Packet),
            (QOS1, Packet::Pubcomp),
            (QOS2, Packet::Puback),
            (QOS2, Packet::Pubcomp),
        ] {
            let mut rig = listening(version, qos);
            rig.deliver("q", 5, 1, message("a"));
            rig.expect_publish();
            ack(&mut rig, of, 5);
            rig.expect_fatal(ReasonCode::ProtocolError);
        }
    }
}

#[test]
fn all_subscriptions_that_match_tell_their_identifiers() {
    let mut rig = Rig::durable(Version::V5);
    for (number, filter, qos) in [(1, "a/#", QOS1), (2, "a/b", QOS2), (3, "c", QOS0)] {
        let mut asks = subscribe(number, &[(filter, qos)]);
        asks.properties.subscription_id = SubscriptionId::new(u32::from(number) * 10);
        rig.client(Packet::Subscribe(asks));
        rig.confirm(u64::from(number));
    }
    rig.read();
    rig.deliver("q", 1, 1, message("a/b"));
    let publish = rig.expect_publish();
    let ids: Vec<_> = publish
        .properties
        .subscription_ids
        .iter()
        .map(|it| it.get())
        .collect();
    assert_eq!((publish.qos, ids), (QOS2, vec![10, 20]));
}

#[test]
fn what_no_subscription_wants_any_more_is_let_go_unless_it_was_begun() {
    let mut rig = Rig::durable(Version::V5);
    rig.deliver("q", 1, 1, message("a"));
    assert_eq!(calls(&mut rig), [accepted("q", 1, &[])]);
    assert_eq!(rig.read(), []);
    rig.deliver("t", 1, 1, message("a"));
    assert_eq!(calls(&mut rig), []);
    assert_eq!(rig.session.take_tally().unwanted, 2);
    rig.deliver("q", 2, 2, message("a"));
    let publish = rig.expect_publish();
    assert_eq!((publish.qos, publish.dup), (QOS1, true));
}

fn unsubscribed(filter: &str, share: Option<&str>, upto: u64) -> Event {
    Event::Unsubscribed {
        filter: filter.to_owned(),
        share: share.map(str::to_owned),
        upto,
    }
}

#[test]
fn nothing_more_goes_out_of_a_subscription_whose_right_is_gone() {
    let mut asks = connect(Version::V5);
    asks.properties.receive_maximum = NonZeroU16::new(1);
    let rig = Rig::new().start_durable(asks).subscribed("a/+", QOS1);
    let mut rig = rig.subscribed("b", QOS1).subscribed("$share/g/a/x", QOS1);
    rig.deliver("q", 1, 1, message("a/x"));
    assert_eq!(rig.expect_publish().topic, "a/x");
    for (offset, address) in [(2, "a/y"), (3, "b"), (4, "a/%00")] {
        rig.deliver("q", offset, 1, message(address));
    }
    rig.deliver("t", 1, 1, message("a/z"));
    rig.deliver("s/g/a/x", 1, 1, message("a/x"));
    rig.broker(unsubscribed("a/+", None, 3));
    rig.broker(unsubscribed("a/x", Some("g"), 3));
    // What waited is let go of; of the group's, the broker has taken it back.
    let settled = [2, 4].map(|offset| accepted("q", offset, &[]));
    assert_eq!(calls(&mut rig), settled);
    for (consumer, offset) in [("q", 5), ("t", 2), ("s/g/a/x", 2)] {
        rig.deliver(consumer, offset, 1, message("a/x"));
    }
    rig.broker(Event::Delivery(Box::new(Delivery {
        consumer: "q".into(),
        offset: 6,
        attempt: 2,
        barred: true,
        message: Arc::new(message("a/x").into()),
    })));
    let settled = [("q", 5), ("s/g/a/x", 2), ("q", 6)];
    assert_eq!(
        calls(&mut rig),
        settled.map(|(consumer, offset)| accepted(consumer, offset, &[]))
    );
    assert_eq!(rig.read(), []);
    // What was on its way is completed, and what another subscription wants goes on.
    ack(&mut rig, Packet::Puback, 1);
    assert_eq!(rig.expect_publish().topic, "b");
    assert_eq!(calls(&mut rig), [accepted("q", 1, &[])]);
}

#[test]
fn a_subscription_whose_right_is_gone_does_not_come_back_with_a_refusal() {
    for refused in [true, false] {
        let mut rig = Rig::durable(Version::V5).subscribed("a", QOS1);
        rig.client(Packet::Subscribe(subscribe(7, &[("a", QOS1)])));
        rig.client(Packet::Subscribe(subscribe(8, &[("a", QOS1)])));
        rig.broker(unsubscribed("a", None, 1));
        calls(&mut rig);
        // One that was asked for since counts until it is refused.
        rig.deliver("q", 1, 1, message("a"));
        assert_eq!(rig.expect_publish().packet_id, Some(id(1)));
        let failed = [(2, Refusal::Denied), (3, Refusal::Denied)];
        rig.confirm_with(3, if refused { &failed } else { &[] });
        assert_eq!(rig.read().len(), 2);
        rig.deliver("q", 2, 1, message("a"));
        match refused {
            true => assert_eq!(calls(&mut rig), [accepted("q", 2, &[])]),
            false => assert_eq!(rig.expect_publish().packet_id, Some(id(2))),
        }
    }
}

#[test]
fn what_has_expired_is_not_sent() {
    let mut rig = listening(Version::V5, QOS1);
    let expires = Some(WALL);
    rig.deliver(
        "q",
        1,
        1,
        Message {
            expires,
            ..message("a")
        },
    );
    assert_eq!(rig.read(), []);
    assert_eq!(calls(&mut rig), [accepted("q", 1, &[])]);
}

#[test]
fn what_is_left_to_live_is_told_as_of_the_moment_it_is_written() {
    let mut rig = listening(Version::V5, QOS1);
    let expires = Some(WALL.saturating_add(60_000));
    rig.deliver(
        "q",
        1,
        1,
        Message {
            expires,
            ..message("a")
        },
    );
    rig.pass(Duration::from_secs(10));
    let left = rig.expect_publish().properties.message_expiry_secs;
    assert_eq!(left, Some(50));
}

#[test]
fn a_retained_message_has_the_flag_and_a_live_one_has_not() {
    let mut rig = listening(Version::V311, QOS1);
    for retained in [false, true] {
        rig.deliver(
            "q",
            1 + u64::from(retained),
            1,
            Message {
                retained,
                ..message("a")
            },
        );
        assert_eq!(rig.expect_publish().retain, retained);
    }
}

#[test]
fn the_flag_is_as_published_where_a_subscription_wants_it_so() {
    for retain_as_published in [false, true] {
        let mut rig = Rig::durable(Version::V5);
        let mut asks = subscribe(9999, &[("#", QOS1)]);
        for subscription in &mut asks.subscriptions {
            subscription.retain_as_published = retain_as_published;
        }
        rig.client(Packet::Subscribe(asks));
        let tag = rig.expect_call().0;
        rig.confirm(tag);
        while rig.session.poll_call().is_some() {}
        rig.expect_one();
        for (n, retain) in [(1, false), (2, true)] {
            rig.deliver(
                "q",
                n,
                1,
                Message {
                    retain,
                    ..message("a")
                },
            );
            let got = rig.expect_publish().retain;
            assert_eq!(got, retain && retain_as_published);
        }
    }
}

#[test]
fn what_is_larger_than_the_client_takes_counts_as_sent() {
    let mut rig = with(|asks| asks.properties.maximum_packet_size = NonZeroU32::new(100));
    let of = |n| Message {
        body: Bytes::from(vec![b'x'; n]),
        ..message("abcd")
    };
    // 1 + 1 + 2 + 4 + 2 + 1 bytes besides.
    rig.deliver("q", 1, 1, of(89));
    assert_eq!(rig.expect_publish().payload.len(), 89);
    assert_eq!(calls(&mut rig), []);
    rig.deliver("q", 2, 1, of(90));
    assert_eq!(rig.read(), []);
    assert_eq!(calls(&mut rig), [accepted("q", 2, &[])]);
    assert_eq!(rig.session.take_tally().too_large, 1);
}

#[test]
fn a_busy_topic_has_an_alias_if_the_client_takes_one() {
    let mut rig = with(|asks| asks.properties.topic_alias_maximum = Some(1));
    let mut publish_to = |address: &str, offset| {
        rig.deliver("q", offset, 1, message(address));
        let publish = rig.expect_publish();
        let alias = publish.properties.topic_alias.map(NonZeroU16::get);
        (publish.topic.as_str().to_owned(), alias)
    };
    let told = |topic: &str, alias| (topic.to_owned(), alias);
    assert_eq!(publish_to("long/topic", 1), told("long/topic", Some(1)));
    assert_eq!(publish_to("long/topic", 2), told("", Some(1)));
    assert_eq!(publish_to("another", 3), told("another", Some(1)));
    assert_eq!(publish_to("long/topic", 4), told("long/topic", Some(1)));
    // Shorter than its alias.
    assert_eq!(publish_to("abc", 5), told("abc", None));

    let mut rig = listening(Version::V5, QOS2);
    rig.deliver("q", 1, 1, message("long/topic"));
    assert_eq!(rig.expect_publish().properties.topic_alias, None);
}

#[test]
fn an_alias_is_left_out_where_it_makes_a_packet_too_large() {
    let mut rig = with(|asks| {
        asks.properties.topic_alias_maximum = Some(1);
        asks.properties.maximum_packet_size = NonZeroU32::new(100);
    });
    let body = Bytes::from(vec![b'x'; 89]);
    for offset in [1, 2] {
        let body = body.clone();
        rig.deliver(
            "q",
            offset,
            1,
            Message {
                body,
                ..message("abcd")
            },
        );
        let publish = rig.expect_publish();
        assert_eq!(publish.topic, "abcd");
        assert_eq!(publish.properties.topic_alias, None);
    }
}

#[test]
fn no_more_is_sent_than_the_client_takes() {
    let mut rig = with(|asks| asks.properties.receive_maximum = NonZeroU16::new(2))
        .subscribed("$share/g/b", QOS1);
    rig.deliver("q", 1, 1, message("a"));
    rig.deliver("s/g/b", 7, 1, message("b"));
    rig.deliver("q", 2, 1, message("a"));
    rig.deliver(
        "q",
        3,
        1,
        Message {
            qos_bound: Some(0),
            ..message("a")
        },
    );
    let sent: Vec<_> = rig
        .read()
        .into_iter()
        .map(|packet| match packet {
            Packet::Publish(publish) => publish.packet_id.map(|id| id.get()),
            other => panic!("{other:?}"),
        })
        .collect();
    // QoS 0 needs no place.
    assert_eq!(sent, [Some(1), Some(32_768), None]);
    ack(&mut rig, Packet::Puback, 32_768);
    assert_eq!(rig.expect_publish().packet_id, Some(id(2)));
}

#[test]
fn a_qos_2_delivery_has_its_place_until_it_is_complete() {
    let mut rig = with(|asks| asks.properties.receive_maximum = NonZeroU16::MIN.into());
    rig.deliver("q", 1, 1, message("a"));
    rig.deliver("q", 2, 1, message("a"));
    rig.expect_publish();
    ack(&mut rig, Packet::Pubrec, 1);
    calls(&mut rig);
    rig.confirm(2);
    rig.expect_ack(Packet::Pubrel, 1, SUCCESS);
    ack(&mut rig, Packet::Pubcomp, 1);
    assert_eq!(rig.expect_publish().packet_id, Some(id(2)));
}

#[test]
fn a_packet_id_that_is_in_use_is_waited_for() {
    let state = MqttState {
        releasing: vec![1],
        subscriptions: vec![payload::Subscription {
            filter: "#".to_owned(),
            qos: 1,
            ..payload::Subscription::default()
        }],
        ..MqttState::default()
    };
    let mut rig = Rig::resumed(Version::V311, state);
    rig.read();
    rig.deliver("q", 32_768, 1, message("a"));
    rig.deliver("q", 32_769, 1, message("a"));
    assert_eq!(rig.read(), []);
    ack(&mut rig, Packet::Pubcomp, 1);
    assert_eq!(calls(&mut rig), [Call::Complete { packet: 1 }]);
    let ids = rig.read().into_iter().map(|packet| match packet {
        Packet::Publish(publish) => publish.packet_id.unwrap().get(),
        other => panic!("{other:?}"),
    });
    let ids: Vec<_> = ids.collect();
    assert_eq!(ids, [1, 2]);
}

#[test]
fn a_resumed_session_goes_on_with_its_subscriptions() {
    let of = |filter: &str, share: &str, qos, id| payload::Subscription {
        filter: filter.to_owned(),
        share: share.to_owned(),
        qos,
        id,
        ..payload::Subscription::default()
    };
    let state = MqttState {
        subscriptions: vec![of("a/+", "", 2, 7), of("%00", "", 0, 0), of("b", "g", 1, 9)],
        ..MqttState::default()
    };
    let mut rig = Rig::resumed(Version::V5, state);
    rig.read();
    let credit = |consumer: &str, limit| Wish::Credit {
        consumer: consumer.into(),
        limit,
    };
    let all = u64::from(RECEIVE_MAXIMUM);
    assert_eq!(rig.expect_wish(), credit("q", all));
    assert_eq!(rig.expect_wish(), credit("s/g/b", all));
    rig.deliver("q", 1, 2, message("a/b"));
    rig.deliver("s/g/b", 1, 1, message("b"));
    let read = rig.read();
    let [Packet::Publish(own), Packet::Publish(shared)] = read.as_slice() else {
        panic!("{read:?}");
    };
    let id_of = |number| vec![SubscriptionId::new(number).unwrap()];
    assert_eq!((own.qos, own.dup), (QOS2, true));
    assert_eq!(own.properties.subscription_ids, id_of(7));
    assert_eq!(shared.qos, QOS1);
    assert_eq!(shared.properties.subscription_ids, id_of(9));
}

#[test]
fn credit_follows_what_is_done_with() {
    let mut rig = listening(Version::V5, QOS1);
    let mut told = Vec::new();
    for offset in 1..=10 {
        rig.deliver("q", offset, 1, message("a"));
        rig.expect_publish();
        ack(&mut rig, Packet::Puback, u16::try_from(offset).unwrap());
        let wishes = std::iter::from_fn(|| rig.session.poll_call());
        told.extend(wishes.filter_map(|wish| match wish {
            Wish::Credit { consumer, limit } => Some((consumer.to_string(), limit)),
            _ => None,
        }));
    }
    // By quarters of what the client takes at a time.
    let expected = [10, 12, 14, 16, 18].map(|limit| ("q".to_owned(), limit));
    assert_eq!(told, expected);
}

#[test]
fn credit_never_lets_the_own_queue_exceed_what_the_client_takes() {
    let rig = Rig::new();
    let attached = Attached {
        expiry: EXPIRY,
        mqtt: Some(Box::new(kept())),
        ..attached()
    };
    let mut asks = connect(Version::V5);
    asks.properties.receive_maximum = NonZeroU16::new(3);
    let (mut rig, _) = rig.start(asks, attached);
    rig.client(Packet::Subscribe(subscribe(1, &[("a", QOS1)])));
    rig.expect_call();
    rig.confirm(1);
    let credit = Wish::Credit {
        consumer: "q".into(),
        limit: 3,
    };
    assert_eq!(rig.expect_wish(), credit);
}

#[test]
fn while_too_much_waits_no_delivery_is_wanted() {
    let mut rig = listening(Version::V5, QOS1);
    assert!(rig.session.wants_deliveries());
    let body = Bytes::from(vec![b'x'; 200 * 1024]);
    for offset in [1, 2] {
        assert!(rig.session.wants_deliveries());
        let body = body.clone();
        rig.deliver(
            "t",
            offset,
            1,
            Message {
                body,
                ..message("a")
            },
        );
    }
    assert!(!rig.session.wants_deliveries());
    rig.read();
    assert!(rig.session.wants_deliveries());

    let mut rig = Rig::running(Version::V5).subscribed("#", QOS1);
    let mut n = 0;
    while rig.session.wants_deliveries() {
        n += 1;
        rig.deliver("t", n, 1, message("a"));
    }
    assert_eq!(n, u64::from(RECEIVE_MAXIMUM) + 64);
    assert_eq!(rig.read().len(), usize::from(RECEIVE_MAXIMUM));
    ack(&mut rig, Packet::Puback, 1);
    assert!(rig.session.wants_deliveries());
}

#[test]
fn what_is_ready_is_written_in_pieces() {
    let mut rig = listening(Version::V5, QOS1);
    for offset in 1..=3 {
        let body = Bytes::from(vec![b'x'; 100]);
        rig.deliver(
            "q",
            offset,
            1,
            Message {
                body,
                ..message("a")
            },
        );
    }
    let mut out = bytes::BytesMut::new();
    assert_eq!(rig.session.write(rig.wall, &mut out, 150), 2);
    assert!(out.len() > 200 && rig.session.has_output());
    assert_eq!(rig.session.write(rig.wall, &mut out, 150), 1);
    assert!(!rig.session.has_output());
    assert_eq!(rig.session.take_tally().written[3], 3);
    assert_eq!(rig.session.take_tally().written[3], 0);
}

#[test]
fn a_free_packet_id_is_none_that_is_in_use() {
    let mut rig = Rig::durable(Version::V5).subscribed("$share/g/b", QOS1);
    let mut next = |offset: u64| {
        rig.deliver("s/g/b", offset, 1, message("b"));
        let number = rig.expect_publish().packet_id.unwrap().get();
        if number > 32_768 {
            ack(&mut rig, Packet::Puback, number);
            while rig.session.poll_call().is_some() {}
        }
        number
    };
    // The first is never acknowledged.
    for offset in 0..32_768 {
        assert_eq!(u64::from(next(offset)), 32_768 + offset);
    }
    assert_eq!(next(32_768), 32_769);
}

#[test]
fn what_was_delivered_over_an_earlier_connection_makes_no_credit() {
    let state = MqttState {
        releasing: (1..=8).collect(),
        ..MqttState::default()
    };
    let mut rig = Rig::resumed(Version::V5, state);
    rig.read();
    rig.expect_wish();
    for number in 1..=8 {
        ack(&mut rig, Packet::Pubcomp, number);
        assert_eq!(rig.expect_call().1, Call::Complete { packet: number });
    }
    rig.expect_silence();
}

#[test]
fn what_was_begun_does_not_expire() {
    let mut rig = listening(Version::V5, QOS2);
    let expires = Some(WALL);
    rig.deliver(
        "q",
        1,
        2,
        Message {
            expires,
            ..message("a")
        },
    );
    let publish = rig.expect_publish();
    assert_eq!(
        (publish.qos, publish.properties.message_expiry_secs),
        (QOS2, Some(0))
    );
}

#[test]
fn where_no_place_is_left_all_other_packets_go_on() {
    let mut rig = with(|asks| asks.properties.receive_maximum = NonZeroU16::MIN.into());
    rig.deliver("q", 1, 1, message("a"));
    rig.deliver("q", 2, 1, message("a"));
    assert_eq!(rig.read().len(), 1);
    rig.client(Packet::Pingreq);
    rig.client_publishes(QOS1, 7);
    rig.confirm(2);
    rig.expect(&[Packet::Pingresp, Packet::Puback(Ack::new(id(7), SUCCESS))]);
}

#[test]
fn pubrels_come_in_the_order_of_the_pubrecs() {
    for mut rig in [
        listening(Version::V5, QOS2),
        Rig::running(Version::V311).subscribed("#", QOS2),
    ] {
        let consumer = if rig.session.is_durable { "q" } else { "t" };
        for offset in 1..=3 {
            rig.deliver(consumer, offset, 1, message("a"));
        }
        assert_eq!(rig.read().len(), 3);
        for number in [2, 3, 1] {
            ack(&mut rig, Packet::Pubrec, number);
        }
        let n_calls = calls(&mut rig).len() as u64;
        rig.confirm(1 + n_calls);
        rig.expect(&[2, 3, 1].map(|number| Packet::Pubrel(Ack::new(id(number), SUCCESS))));
    }
}
