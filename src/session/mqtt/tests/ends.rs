//! The ways in which a conversation ends, and what keeps it alive.

use std::time::Duration;

use bytes::BytesMut;
use restante_proto::mqtt::{
    Ack, AckProperties, Auth, Connack, Connect, Decoder, Disconnect, DisconnectProperties, Limits,
    Packet, Qos, ReasonCode, Suback, Version, Will, WillProperties, encode,
};

use super::rig::{EXPIRY, Rig, VERSIONS, attached, connect, id, message, publish, settings, str};
use crate::broker::{Call, End, Event};
use crate::session::mqtt::{Settings, Wish};

const QOS1: Qos = Qos::AtLeastOnce;

fn goodbye(reason: ReasonCode, session_expiry_secs: Option<u32>) -> Packet {
    Packet::Disconnect(Disconnect {
        reason,
        properties: DisconnectProperties {
            session_expiry_secs,
            ..DisconnectProperties::default()
        },
    })
}

#[test]
fn a_goodbye_ends_the_connection_and_a_plain_session() {
    for version in VERSIONS {
        for (mut rig, wish) in [
            (Rig::running(version), Some(Wish::End)),
            (Rig::durable(version), None),
        ] {
            rig.client(goodbye(ReasonCode::Success, None));
            assert_eq!(rig.session.poll_call(), wish);
            rig.expect_silence();
            let closing = rig.session.closing().unwrap();
            assert_eq!((closing.reason, closing.code), ("closed", None));
            assert!(closing.normal);
        }
    }
}

#[test]
fn a_goodbye_with_will_is_no_normal_one() {
    let mut rig = Rig::durable(Version::V5);
    rig.client(goodbye(ReasonCode::DisconnectWithWill, None));
    let closing = rig.session.closing().unwrap();
    assert!(!closing.normal);
    assert!(closing.text.contains("0x04"), "{}", closing.text);
}

#[test]
fn only_a_normal_goodbye_gives_a_will_up() {
    let will = Will {
        qos: QOS1,
        retain: false,
        topic: str("w"),
        payload: "gone".into(),
        properties: WillProperties::default(),
    };
    for version in VERSIONS {
        for (reason, wishes) in [
            (ReasonCode::Success, vec![Wish::GiveUpWill, Wish::End]),
            (ReasonCode::DisconnectWithWill, vec![Wish::End]),
        ] {
            let asks = Connect {
                will: Some(will.clone()),
                ..connect(version)
            };
            let (mut rig, _) = Rig::new().start(asks, attached());
            rig.client(goodbye(reason, None));
            let wished: Vec<Wish> = std::iter::from_fn(|| rig.session.poll_call()).collect();
            assert_eq!(wished, wishes);
        }
    }
}

#[test]
fn a_goodbye_may_change_the_session_s_expiry() {
    let max = settings().session_expiry_max;
    for (secs, wish) in [
        (30, Wish::Expiry(Duration::from_secs(30))),
        (u32::MAX, Wish::Expiry(max)),
        (0, Wish::End),
    ] {
        let mut rig = Rig::durable(Version::V5);
        rig.client(goodbye(ReasonCode::Success, Some(secs)));
        assert_eq!(rig.expect_wish(), wish);
        rig.expect_silence();
    }
}

#[test]
fn a_plain_session_cannot_be_kept_after_all() {
    let mut rig = Rig::running(Version::V5);
    rig.client(goodbye(ReasonCode::Success, Some(30)));
    assert_eq!(rig.session.poll_call(), None);
    rig.expect_fatal(ReasonCode::ProtocolError);
    let mut rig = Rig::running(Version::V5);
    rig.client(goodbye(ReasonCode::Success, Some(0)));
    assert!(rig.session.closing().unwrap().normal);
}

#[test]
fn after_a_goodbye_nothing_is_sent() {
    let mut rig = Rig::durable(Version::V5).subscribed("#", QOS1);
    rig.deliver("q", 1, 1, message("a"));
    rig.client(goodbye(ReasonCode::Success, None));
    rig.deliver("q", 2, 1, message("a"));
    rig.broker(Event::Ended(End::TakenOver));
    rig.expect_silence();
}

#[test]
fn what_came_before_a_goodbye_is_called() {
    let mut rig = Rig::running(Version::V5);
    rig.client_publishes(QOS1, 1);
    rig.client(goodbye(ReasonCode::Success, None));
    assert!(matches!(rig.expect_call(), (1, Call::Publish(_))));
    assert_eq!(rig.expect_wish(), Wish::End);
}

#[test]
fn auth_without_a_method_is_a_protocol_error() {
    let mut rig = Rig::running(Version::V5);
    rig.client(Packet::Auth(Auth::default()));
    rig.expect_fatal(ReasonCode::ProtocolError);
}

#[test]
fn what_only_a_server_sends_is_a_protocol_error() {
    for version in VERSIONS {
        for packet in [
            Packet::Connack(Box::default()),
            Packet::Pingresp,
            Packet::Suback(Suback {
                packet_id: id(1),
                reasons: Vec::new(),
                properties: AckProperties::default(),
            }),
        ] {
            let mut rig = Rig::running(version);
            rig.client(packet);
            rig.expect_fatal(ReasonCode::ProtocolError);
        }
    }
}

#[test]
fn who_is_ended_by_the_broker_is_told_why() {
    for (end, word, code) in [
        (End::TakenOver, "taken-over", ReasonCode::SessionTakenOver),
        (
            End::ShuttingDown,
            "shutting-down",
            ReasonCode::ServerShuttingDown,
        ),
        (End::Kicked, "kicked", ReasonCode::AdministrativeAction),
        (End::Revoked, "revoked", ReasonCode::NotAuthorized),
        (End::SessionOver, "session-over", ReasonCode::Unspecified),
        (End::LogFailed, "log-failed", ReasonCode::Unspecified),
    ] {
        for version in VERSIONS {
            let mut rig = Rig::durable(version);
            rig.broker(Event::Ended(end));
            assert_eq!(rig.session.closing().unwrap().reason, word);
            rig.expect_fatal(code);
        }
    }
}

#[test]
fn a_ping_is_answered_and_keeps_the_connection_alive() {
    for version in VERSIONS {
        let asks = Connect {
            keep_alive_secs: 10,
            ..connect(version)
        };
        let (mut rig, _) = Rig::new().start(asks, attached());
        for _ in 0..3 {
            rig.pass(Duration::from_secs(14));
            rig.client(Packet::Pingreq);
            rig.expect(&[Packet::Pingresp]);
        }
        rig.pass(Duration::from_millis(14_999));
        assert!(rig.session.closing().is_none());
        rig.pass(Duration::from_millis(1));
        rig.expect_fatal(ReasonCode::KeepAliveTimeout);
        assert_eq!(rig.session.closing().unwrap().reason, "keep-alive");
    }
}

#[test]
fn a_keep_alive_of_0_is_none() {
    let mut rig = Rig::running(Version::V311);
    assert_eq!(rig.session.poll_timeout(), None);
    rig.pass(Duration::from_secs(1_000_000));
    assert!(rig.session.closing().is_none());
}

#[test]
fn who_is_not_read_is_not_silent() {
    let settings = Settings {
        window: 1,
        ..settings()
    };
    let asks = Connect {
        keep_alive_secs: 10,
        ..connect(Version::V311)
    };
    let (mut rig, _) = Rig::with(settings).start(asks, attached());
    rig.client_publishes(QOS1, 1);
    assert!(!rig.session.wants_packets());
    rig.pass(Duration::from_secs(15));
    rig.pass(Duration::from_secs(14));
    rig.confirm(1);
    rig.read();
    // The first time after that it was held up only shows that it may be there.
    rig.pass(Duration::from_secs(1));
    assert!(rig.session.closing().is_none());
    rig.session.heard(rig.now + Duration::from_secs(5));
    rig.pass(Duration::from_secs(19));
    assert!(rig.session.closing().is_none());
    rig.pass(Duration::from_secs(1));
    rig.expect_fatal(ReasonCode::KeepAliveTimeout);
}

#[test]
fn bytes_that_are_no_packet_end_the_connection() {
    // PUBLISH with QoS 3; with packet id 0; SUBSCRIBE without filter; flags of PUBREL; more than the maximum.
    for (bytes, code) in [
        (
            &b"\x36\x06\x00\x01a\x00\x01x"[..],
            ReasonCode::MalformedPacket,
        ),
        (b"\x32\x06\x00\x01a\x00\x00x", ReasonCode::ProtocolError),
        (b"\x82\x02\x00\x01", ReasonCode::ProtocolError),
        (b"\x60\x02\x00\x01", ReasonCode::MalformedPacket),
        (b"\x30\xFF\xFF\xFF\x7F", ReasonCode::PacketTooLarge),
        (b"\x10\x00", ReasonCode::ProtocolError),
    ] {
        for version in [Version::V311, Version::V5] {
            let mut decoder = Decoder::server(Limits::default());
            let mut input = BytesMut::new();
            encode(
                &Packet::Connect(Box::new(connect(version))),
                version,
                &mut input,
            )
            .unwrap();
            decoder.decode(&mut input).unwrap().unwrap();
            decoder.admit();
            let mut bytes = bytes.to_vec();
            if version == Version::V5 && bytes == b"\x82\x02\x00\x01" {
                bytes = b"\x82\x03\x00\x01\x00".to_vec();
            }
            let error = decoder.decode(&mut BytesMut::from(&bytes[..])).unwrap_err();
            let mut rig = Rig::running(version);
            rig.session.handle_decode_error(rig.now, error);
            assert_eq!(rig.session.closing().unwrap().text, error.to_string());
            rig.expect_fatal(code);
        }
    }
}

#[test]
fn after_the_end_nothing_is_taken() {
    let mut rig = Rig::durable(Version::V5);
    rig.broker(Event::Ended(End::Kicked));
    rig.client(Packet::Publish(publish(QOS1, 1)));
    rig.client(Packet::Pingreq);
    rig.deliver("q", 1, 1, message("a"));
    rig.broker(Event::Ended(End::TakenOver));
    rig.session.handle_shutdown(rig.now);
    rig.pass(EXPIRY);
    assert_eq!(rig.session.poll_call(), None);
    rig.expect_fatal(ReasonCode::AdministrativeAction);
}

#[test]
fn what_was_confirmed_before_the_end_is_told_before_it() {
    let mut rig = Rig::running(Version::V5);
    rig.client_publishes(QOS1, 1);
    rig.confirm(1);
    rig.broker(Event::Ended(End::Kicked));
    let read = rig.read();
    assert!(matches!(
        read.as_slice(),
        [Packet::Puback(_), Packet::Disconnect(_)]
    ));
}

#[test]
fn at_shutdown_a_session_with_nothing_under_way_ends_at_once() {
    for version in VERSIONS {
        let mut rig = Rig::running(version);
        rig.session.handle_shutdown(rig.now + EXPIRY);
        rig.expect_fatal(ReasonCode::ServerShuttingDown);
    }
}

#[test]
fn at_shutdown_clients_of_5_0_may_be_sent_elsewhere() {
    let settings = Settings {
        server_reference: Some(str("other:1883")),
        ..settings()
    };
    let goes_to_other = |told: &[Packet]| match told {
        [Packet::Disconnect(it)] => {
            it.reason == ReasonCode::UseAnotherServer
                && it.properties.server_reference == Some(str("other:1883"))
        }
        [Packet::Connack(it)] => {
            it.reason == ReasonCode::UseAnotherServer
                && it.properties.server_reference == Some(str("other:1883"))
        }
        other => panic!("{other:?}"),
    };
    for attaches in [false, true] {
        let mut rig = Rig::with(settings.clone());
        rig.client(Packet::Connect(Box::new(connect(Version::V5))));
        if attaches {
            rig.expect_attach();
            rig.attach(Ok(attached()));
            rig.read();
        }
        rig.session.handle_shutdown(rig.now);
        assert!(goes_to_other(&rig.read()));
    }
    // Those of 3.x have no such word, and a keep alive that is over is no reason to go away.
    let (mut rig, _) = Rig::with(settings.clone()).start(connect(Version::V311), attached());
    rig.session.handle_shutdown(rig.now);
    assert_eq!(rig.read(), []);
    let asks = Connect {
        keep_alive_secs: 1,
        ..connect(Version::V5)
    };
    let (mut rig, _) = Rig::with(settings).start(asks, attached());
    rig.client(Packet::Pingreq);
    assert_eq!(rig.read(), [Packet::Pingresp]);
    rig.pass(Duration::from_secs(2));
    rig.expect_fatal(ReasonCode::KeepAliveTimeout);
}

#[test]
fn at_shutdown_what_is_under_way_is_confirmed_first() {
    let mut rig = Rig::running(Version::V5);
    rig.client_publishes(QOS1, 1);
    rig.client_publishes(QOS1, 2);
    rig.broker(Event::Ended(End::ShuttingDown));
    rig.session.handle_shutdown(rig.now + EXPIRY);
    assert!(!rig.session.wants_packets());
    rig.confirm(1);
    rig.expect_ack(Packet::Puback, 1, ReasonCode::Success);
    rig.confirm(2);
    assert!(rig.session.closing().is_some());
    let read = rig.read();
    assert_eq!(
        read[0],
        Packet::Puback(Ack::new(id(2), ReasonCode::Success))
    );
    assert!(matches!(&read[1..], [Packet::Disconnect(_)]));
}

#[test]
fn a_shutdown_waits_no_longer_than_it_may() {
    let mut rig = Rig::running(Version::V311);
    rig.client_publishes(QOS1, 1);
    rig.session
        .handle_shutdown(rig.now + Duration::from_secs(5));
    assert_eq!(
        rig.session.poll_timeout(),
        Some(rig.now + Duration::from_secs(5))
    );
    rig.pass(Duration::from_secs(5));
    rig.expect_fatal(ReasonCode::ServerShuttingDown);
}

#[test]
fn a_shutdown_does_not_wait_for_who_is_not_attached_yet() {
    let mut rig = Rig::new();
    rig.session.handle_shutdown(rig.now + EXPIRY);
    assert_eq!(rig.session.closing().unwrap().reason, "shutting-down");
    rig.expect_silence();
    for version in VERSIONS {
        let mut rig = Rig::new();
        rig.client(Packet::Connect(Box::new(connect(version))));
        rig.session.handle_shutdown(rig.now + EXPIRY);
        let refused = Connack::refused(ReasonCode::ServerUnavailable);
        rig.expect(&[Packet::Connack(Box::new(refused))]);
        assert_eq!(rig.session.poll_call(), None);
    }
}

#[test]
fn an_idle_session_is_small() {
    // Ten thousand of them are to cost little beside their sockets and tasks.
    let n_bytes = size_of::<crate::session::mqtt::Session>();
    assert!(n_bytes <= 1024, "{n_bytes} bytes");
}
