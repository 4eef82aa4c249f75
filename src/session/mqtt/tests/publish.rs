//! Publishes from the client.

use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use restante_proto::mqtt::{
    Ack, Connect, Packet, PayloadFormat, Publish, PublishProperties, Qos, ReasonCode, Version,
};

use super::rig::{
    RECEIVE_MAXIMUM, Rig, VERSIONS, attached, connect, id, publish, rate, settings, str,
};
use crate::broker::{Call, MqttState};
use crate::message::{NewMessage, PRIORITY_DEFAULT};
use crate::refusal::Refusal;
use crate::session::mqtt::{DeniedPublish, Settings};

const QOS0: Qos = Qos::AtMostOnce;
const QOS1: Qos = Qos::AtLeastOnce;
const QOS2: Qos = Qos::ExactlyOnce;
const SUCCESS: ReasonCode = ReasonCode::Success;

fn closing(version: Version) -> Rig {
    let settings = Settings {
        denied_publish: DeniedPublish::Close,
        ..settings()
    };
    Rig::with(settings).start(connect(version), attached()).0
}

fn expect_published(rig: &mut Rig) -> (u64, NewMessage) {
    match rig.expect_call() {
        (tag, Call::Publish(message)) => (tag, *message),
        other => panic!("not a publish: {other:?}"),
    }
}

#[test]
fn a_publish_carries_all_that_it_has() {
    let mut rig = Rig::durable(Version::V5);
    let pair = |name: &str, value: &str| (str(name), str(value));
    rig.client(Packet::Publish(Publish {
        topic: str("/till 4"),
        payload: Bytes::from_static(b"hi"),
        properties: PublishProperties {
            payload_format: Some(PayloadFormat::Utf8),
            message_expiry_secs: Some(5),
            response_topic: Some(str("back//4")),
            correlation_data: Some(Bytes::from_static(b"\x00")),
            content_type: Some(str("text/plain")),
            user_properties: vec![pair("b", "1"), pair("a", "2"), pair("b", "3")],
            ..PublishProperties::default()
        },
        ..publish(QOS2, 7)
    }));
    let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = NewMessage {
        address: "%00/till 4".to_owned(),
        correlation_id: Some("base64:AA==".to_owned()),
        reply_to: Some("back/%00/4".to_owned()),
        content_type: Some("text/plain".to_owned()),
        priority: PRIORITY_DEFAULT,
        properties: [own("a", "2"), own("b", "3")].into(),
        ttl_ms: Some(5000),
        body: Bytes::from_static(b"hi"),
        text: true,
        qos: Some(2),
        packet: 7,
        ordered: vec![own("b", "1"), own("a", "2"), own("b", "3")],
        ..NewMessage::default()
    };
    assert_eq!(expect_published(&mut rig), (1, expected));
}

#[test]
fn qos_0_is_called_and_not_answered() {
    for version in VERSIONS {
        let mut rig = Rig::running(version);
        rig.client_publishes(QOS0, 0);
        let (tag, message) = expect_published(&mut rig);
        assert_eq!((message.qos, message.transient), (Some(0), true));
        assert!(!message.text);
        rig.confirm(tag);
        rig.expect_silence();
    }
}

#[test]
fn qos_1_is_acknowledged_once_it_is_confirmed() {
    for version in VERSIONS {
        let mut rig = Rig::running(version);
        rig.client_publishes(QOS1, 3);
        let (tag, message) = expect_published(&mut rig);
        assert_eq!((message.qos, message.packet), (Some(1), 0));
        rig.expect_silence();
        rig.confirm(tag);
        rig.expect_ack(Packet::Puback, 3, SUCCESS);
        // From there on the id is that of another one.
        rig.client_publishes(QOS1, 3);
        expect_published(&mut rig);
    }
}

#[test]
fn qos_2_is_received_when_stored_and_complete_when_forgotten() {
    for version in VERSIONS {
        let mut rig = Rig::durable(version);
        rig.client_publishes(QOS2, 3);
        let (tag, message) = expect_published(&mut rig);
        assert_eq!((message.qos, message.packet), (Some(2), 3));
        rig.expect_silence();
        rig.confirm(tag);
        rig.expect_ack(Packet::Pubrec, 3, SUCCESS);
        rig.client(Packet::Pubrel(Ack::new(id(3), SUCCESS)));
        let (tag, call) = rig.expect_call();
        assert_eq!(call, Call::Forget { packet: 3 });
        rig.expect_silence();
        rig.confirm(tag);
        rig.expect_ack(Packet::Pubcomp, 3, SUCCESS);
        // The id may be that of another one now.
        rig.client_publishes(QOS2, 3);
        expect_published(&mut rig);
    }
}

#[test]
fn a_plain_session_remembers_qos_2_by_itself() {
    for version in VERSIONS {
        let mut rig = Rig::running(version);
        rig.client_publishes(QOS2, 3);
        let (tag, message) = expect_published(&mut rig);
        assert_eq!(message.packet, 0);
        rig.confirm(tag);
        rig.expect_ack(Packet::Pubrec, 3, SUCCESS);
        rig.client_publishes(QOS2, 3);
        rig.expect_ack(Packet::Pubrec, 3, SUCCESS);
        rig.client(Packet::Pubrel(Ack::new(id(3), SUCCESS)));
        rig.expect_ack(Packet::Pubcomp, 3, SUCCESS);
        assert_eq!(rig.session.poll_call(), None);
    }
}

#[test]
fn a_qos_2_publish_that_is_known_is_not_stored_again() {
    for version in VERSIONS {
        let mut rig = Rig::durable(version);
        let again = Publish {
            dup: true,
            ..publish(QOS2, 3)
        };
        rig.client_publishes(QOS2, 3);
        let (tag, _) = expect_published(&mut rig);
        // Not stored yet: one answer for both.
        rig.client(Packet::Publish(again.clone()));
        rig.expect_silence();
        rig.confirm(tag);
        rig.expect_ack(Packet::Pubrec, 3, SUCCESS);
        rig.client(Packet::Publish(again));
        rig.expect_ack(Packet::Pubrec, 3, SUCCESS);
        rig.expect_silence();
    }
}

#[test]
fn a_resumed_session_knows_what_it_had_received() {
    for version in VERSIONS {
        let state = MqttState {
            received: vec![3, 5],
            ..MqttState::default()
        };
        let mut rig = Rig::resumed(version, state);
        rig.read();
        rig.expect_wish();
        rig.client_publishes(QOS2, 3);
        rig.expect_ack(Packet::Pubrec, 3, SUCCESS);
        assert_eq!(rig.session.poll_call(), None);
        rig.client(Packet::Pubrel(Ack::new(id(5), SUCCESS)));
        // Tags go on where the durable ones end.
        assert_eq!(rig.expect_call(), (101, Call::Forget { packet: 5 }));
        rig.client_publishes(QOS2, 4);
        assert_eq!(expect_published(&mut rig).0, 102);
    }
}

#[test]
fn answers_come_in_the_order_of_what_they_answer() {
    let state = MqttState {
        received: vec![2],
        ..MqttState::default()
    };
    let mut rig = Rig::resumed(Version::V5, state);
    rig.read();
    for number in [1, 2, 3] {
        rig.client_publishes(QOS2, number);
    }
    // The second is known already, and waits for the first all the same.
    assert_eq!(rig.read(), []);
    rig.confirm(101);
    let ack = |number| Packet::Pubrec(Ack::new(id(number), SUCCESS));
    rig.expect(&[ack(1), ack(2)]);
    rig.confirm(102);
    rig.expect(&[ack(3)]);
}

#[test]
fn a_refused_publish_has_a_reason_that_its_answer_may_carry() {
    for (why, code) in [
        (Refusal::Denied, ReasonCode::NotAuthorized),
        (Refusal::Full, ReasonCode::QuotaExceeded),
        (Refusal::TooMany, ReasonCode::QuotaExceeded),
        (Refusal::TooLarge, ReasonCode::QuotaExceeded),
        (Refusal::Rate, ReasonCode::QuotaExceeded),
        (Refusal::BadAddress, ReasonCode::TopicNameInvalid),
        (Refusal::Unsupported, ReasonCode::ImplementationSpecific),
        (Refusal::InUse, ReasonCode::Unspecified),
        (Refusal::NoRoute, ReasonCode::NoMatchingSubscribers),
        (Refusal::Expired, ReasonCode::Success),
    ] {
        let mut rig = Rig::durable(Version::V5);
        rig.client_publishes(QOS1, 1);
        rig.client_publishes(QOS2, 2);
        rig.client_publishes(QOS0, 0);
        rig.confirm_with(3, &[(1, why), (2, why), (3, why)]);
        let read = rig.read();
        let [Packet::Puback(puback), Packet::Pubrec(pubrec)] = read.as_slice() else {
            panic!("{read:?}");
        };
        assert_eq!((puback.reason, pubrec.reason), (code, code));
        let tells_why = puback.properties.reason_string.is_some();
        assert_eq!(tells_why, code.is_error());
        while rig.session.poll_call().is_some() {}
        // What was refused is not remembered; what was taken is.
        rig.client_publishes(QOS2, 2);
        assert_eq!(rig.session.poll_call().is_some(), code.is_error(), "{why}");
        assert!(rig.session.closing().is_none());
    }
}

#[test]
fn every_refusal_has_a_code_that_fits() {
    use crate::session::mqtt::reasons;
    use restante_proto::mqtt::PacketType;
    for refusal in (1..).map_while(Refusal::from_number) {
        assert!(
            reasons::of_publish(refusal).0.fits(PacketType::Puback),
            "{refusal}"
        );
        assert!(
            reasons::of_subscribe(refusal).0.fits(PacketType::Suback),
            "{refusal}"
        );
        assert!(
            reasons::of_unsubscribe(refusal).fits(PacketType::Unsuback),
            "{refusal}"
        );
    }
}

#[test]
fn no_reason_is_told_to_whom_wants_none() {
    let mut asks = connect(Version::V5);
    asks.properties.request_problem_information = Some(false);
    let (mut rig, _) = Rig::new().start(asks, attached());
    rig.client_publishes(QOS1, 1);
    rig.confirm_with(1, &[(1, Refusal::Denied)]);
    let bare = Packet::Puback(Ack::new(id(1), ReasonCode::NotAuthorized));
    assert_eq!(rig.expect_one(), bare);
}

#[test]
fn in_3_x_what_is_refused_for_good_is_acknowledged_and_dropped() {
    for version in [Version::V31, Version::V311] {
        for why in [Refusal::Denied, Refusal::BadAddress, Refusal::TooLarge] {
            let mut rig = Rig::durable(version);
            rig.client_publishes(QOS1, 1);
            rig.client_publishes(QOS2, 2);
            rig.client_publishes(QOS0, 0);
            while rig.session.poll_call().is_some() {}
            rig.confirm_with(3, &[(1, why), (2, why), (3, why)]);
            rig.expect(&[
                Packet::Puback(Ack::new(id(1), SUCCESS)),
                Packet::Pubrec(Ack::new(id(2), SUCCESS)),
            ]);
            assert_eq!(rig.session.take_tally().acknowledged_and_dropped, 2);
            // The broker knows nothing that it could forget.
            rig.client(Packet::Pubrel(Ack::new(id(2), SUCCESS)));
            rig.expect_ack(Packet::Pubcomp, 2, SUCCESS);
            rig.expect_silence();
        }
    }
}

#[test]
fn in_3_x_a_refused_publish_closes_the_connection_where_that_is_set() {
    for qos in [QOS0, QOS1, QOS2] {
        let mut rig = closing(Version::V311);
        rig.client_publishes(qos, 1);
        rig.confirm_with(1, &[(1, Refusal::Denied)]);
        rig.expect_fatal(ReasonCode::NotAuthorized);
    }
    // 5.0 has better words.
    let mut rig = closing(Version::V5);
    rig.client_publishes(QOS1, 1);
    rig.confirm_with(1, &[(1, Refusal::Denied)]);
    rig.expect_ack(Packet::Puback, 1, ReasonCode::NotAuthorized);
}

#[test]
fn in_3_x_what_may_be_taken_later_is_never_acknowledged() {
    for why in [Refusal::Full, Refusal::Rate, Refusal::TooMany] {
        for qos in [QOS1, QOS2] {
            let mut rig = Rig::running(Version::V311);
            rig.client_publishes(qos, 1);
            rig.confirm_with(1, &[(1, why)]);
            rig.expect_fatal(ReasonCode::QuotaExceeded);
        }
        let mut rig = closing(Version::V311);
        rig.client_publishes(QOS0, 1);
        rig.confirm_with(1, &[(1, why)]);
        assert!(rig.session.closing().is_none());
    }
}

#[test]
fn in_3_x_nobody_there_is_no_failure() {
    for mut rig in [Rig::durable(Version::V311), closing(Version::V311)] {
        rig.client_publishes(QOS1, 1);
        rig.client_publishes(QOS0, 0);
        rig.confirm_with(2, &[(1, Refusal::NoRoute), (2, Refusal::NoRoute)]);
        rig.expect_ack(Packet::Puback, 1, SUCCESS);
    }
}

#[test]
fn more_than_the_receive_maximum_ends_a_5_0_connection() {
    for qos in [QOS1, QOS2] {
        let mut rig = Rig::running(Version::V5);
        for number in 1..=RECEIVE_MAXIMUM {
            rig.client_publishes(qos, number);
        }
        assert!(rig.session.closing().is_none());
        rig.client_publishes(QOS0, 0);
        rig.client_publishes(qos, 100);
        rig.expect_fatal(ReasonCode::ReceiveMaximumExceeded);
    }
}

#[test]
fn what_is_answered_makes_room_for_more() {
    let mut rig = Rig::running(Version::V5);
    for number in 1..=RECEIVE_MAXIMUM {
        rig.client_publishes(if number == 1 { QOS1 } else { QOS2 }, number);
    }
    let all = u64::from(RECEIVE_MAXIMUM);
    // One is acknowledged, one is refused; the others are received, which makes no room.
    rig.confirm_with(all, &[(2, Refusal::Denied)]);
    rig.client_publishes(QOS1, 101);
    rig.client_publishes(QOS1, 102);
    assert!(rig.session.closing().is_none());
    rig.client(Packet::Pubrel(Ack::new(id(3), SUCCESS)));
    rig.client_publishes(QOS1, 103);
    assert!(rig.session.closing().is_none());
    // One that is known counts once.
    rig.client_publishes(QOS2, 4);
    assert!(rig.session.closing().is_none());
    rig.client_publishes(QOS1, 104);
    rig.expect_fatal(ReasonCode::ReceiveMaximumExceeded);
}

#[test]
fn in_3_x_there_is_no_receive_maximum() {
    let mut rig = Rig::running(Version::V311);
    for number in 1..=3 * RECEIVE_MAXIMUM {
        rig.client_publishes(QOS2, number);
        rig.expect_call();
        rig.confirm(u64::from(number));
    }
    assert!(rig.session.closing().is_none());
}

#[test]
fn past_the_window_no_packet_is_wanted() {
    for version in VERSIONS {
        let settings = Settings {
            window: 2,
            ..settings()
        };
        let (mut rig, _) = Rig::with(settings).start(connect(version), attached());
        rig.client_publishes(QOS1, 1);
        assert!(rig.session.wants_packets());
        rig.client_publishes(QOS0, 0);
        assert!(!rig.session.wants_packets());
        rig.confirm(1);
        assert!(rig.session.wants_packets());
    }
}

#[test]
fn more_than_the_rate_is_refused_publish_by_publish() {
    let settings = Settings {
        publish_rate: rate(1),
        ..settings()
    };
    let (mut rig, _) = Rig::with(settings).start(connect(Version::V5), attached());
    rig.client_publishes(QOS1, 1);
    assert!(matches!(rig.expect_call(), (1, Call::Publish(_))));
    rig.client_publishes(QOS1, 2);
    assert_eq!(rig.expect_call(), (2, Call::Refuse(Refusal::Rate)));
    rig.confirm_with(2, &[(2, Refusal::Rate)]);
    rig.expect(&[
        Packet::Puback(Ack::new(id(1), SUCCESS)),
        Packet::Puback(Ack::new(id(2), ReasonCode::QuotaExceeded)),
    ]);
    rig.pass(Duration::from_secs(1));
    rig.client_publishes(QOS1, 3);
    assert!(matches!(rig.expect_call(), (3, Call::Publish(_))));
}

#[test]
fn a_pubrel_of_an_unknown_packet_id_is_answered() {
    for version in VERSIONS {
        let mut rig = Rig::durable(version);
        rig.client(Packet::Pubrel(Ack::new(id(3), SUCCESS)));
        let code = match version {
            Version::V5 => ReasonCode::PacketIdNotFound,
            _ => SUCCESS,
        };
        rig.expect_ack(Packet::Pubcomp, 3, code);
        rig.expect_silence();
    }
}

#[test]
fn a_pubrel_before_its_pubrec_is_a_protocol_error() {
    for version in VERSIONS {
        let mut rig = Rig::running(version);
        rig.client_publishes(QOS2, 3);
        rig.expect_call();
        rig.client(Packet::Pubrel(Ack::new(id(3), SUCCESS)));
        rig.expect_fatal(ReasonCode::ProtocolError);
    }
}

fn aliased(topic: &str, alias: u16) -> Packet {
    Packet::Publish(Publish {
        topic: str(topic),
        properties: PublishProperties {
            topic_alias: NonZeroU16::new(alias),
            ..PublishProperties::default()
        },
        ..publish(QOS0, 0)
    })
}

#[test]
fn a_topic_alias_stands_for_the_topic_that_it_was_last_set_to() {
    let mut rig = Rig::running(Version::V5);
    for (topic, alias, address) in [
        ("a//b", 4, "a/%00/b"),
        ("", 4, "a/%00/b"),
        ("c", 1, "c"),
        ("d", 4, "d"),
        ("", 4, "d"),
        ("", 1, "c"),
    ] {
        rig.client(aliased(topic, alias));
        assert_eq!(expect_published(&mut rig).1.address, address);
    }
}

#[test]
fn a_topic_alias_that_is_not_known_or_above_the_maximum_ends_the_connection() {
    for (topic, alias) in [("", 1), ("a", 5), ("", 5)] {
        let mut rig = Rig::running(Version::V5);
        rig.client(aliased(topic, alias));
        rig.expect_fatal(ReasonCode::TopicAliasInvalid);
        assert_eq!(rig.session.poll_call(), None);
    }
}

#[test]
fn a_payload_that_is_not_the_text_it_is_said_to_be_is_refused() {
    for (qos, of) in [
        (QOS1, Some(Packet::Puback as fn(Ack) -> Packet)),
        (QOS2, Some(Packet::Pubrec)),
        (QOS0, None),
    ] {
        let mut rig = Rig::running(Version::V5);
        rig.client(Packet::Publish(Publish {
            payload: Bytes::from_static(b"\xFF"),
            properties: PublishProperties {
                payload_format: Some(PayloadFormat::Utf8),
                ..PublishProperties::default()
            },
            ..publish(qos, 3)
        }));
        assert_eq!(rig.session.poll_call(), None);
        match of {
            Some(of) => rig.expect_ack(of, 3, ReasonCode::PayloadFormatInvalid),
            None => rig.expect_fatal(ReasonCode::PayloadFormatInvalid),
        }
    }
}

#[test]
fn the_retain_flag_of_a_publish_gets_to_the_broker() {
    for version in [Version::V31, Version::V311, Version::V5] {
        for retain in [false, true] {
            let mut rig = Rig::running(version);
            rig.client(Packet::Publish(Publish {
                retain,
                ..publish(QOS1, 3)
            }));
            assert_eq!(expect_published(&mut rig).1.retain, retain);
        }
    }
}

#[test]
fn an_idle_client_may_connect_with_any_keep_alive() {
    let asks = Connect {
        keep_alive_secs: u16::MAX,
        ..connect(Version::V311)
    };
    let (rig, _) = Rig::new().start(asks, attached());
    assert!(rig.session.poll_timeout().is_some());
}
