//! CONNECT, CONNACK, and who is not let in.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use restante_proto::mqtt::{
    Auth, Connack, ConnackProperties, Connect, ConnectProperties, Decoder, Disconnect, Limits,
    Packet, PayloadFormat, Qos, ReasonCode, Secret, Version, Will, WillProperties,
};

use super::rig::{EXPIRY, Rig, VERSIONS, attached, connect, kept, publish, settings, str};
use crate::broker::{AttachError, Attached, MqttState, SessionWish};
use crate::refusal::Refusal;
use crate::session::mqtt::{AttachWish, Credentials, NotAttached, Settings, Wish};

fn wish_of(connect: Connect) -> AttachWish {
    let mut rig = Rig::new();
    rig.client(Packet::Connect(Box::new(connect)));
    rig.expect_attach()
}

/// The connection is over with that CONNACK.
fn check_denied(connect: Connect, expected: ReasonCode) {
    let version = connect.version;
    let mut rig = Rig::new();
    rig.client(Packet::Connect(Box::new(connect)));
    expect_denied(&mut rig, version, expected);
}

fn expect_denied(rig: &mut Rig, version: Version, expected: ReasonCode) {
    let connack = rig.expect_connack();
    assert!(!connack.session_present);
    assert_eq!(
        connack.properties.reason_string.is_some(),
        version == Version::V5
    );
    if version == Version::V5 {
        assert_eq!(connack.reason, expected);
    } else {
        assert_eq!(connack.reason.return_code(), expected.return_code());
    }
    assert!(rig.session.closing().is_some());
    assert!(!rig.session.wants_packets());
    rig.expect_silence();
}

#[test]
fn nothing_but_connect_may_come_first() {
    for packet in [
        Packet::Pingreq,
        Packet::Publish(publish(Qos::AtMostOnce, 0)),
        Packet::Auth(Auth::default()),
        Packet::Disconnect(Disconnect::default()),
    ] {
        let mut rig = Rig::new();
        rig.client(packet);
        let closing = rig.session.closing().unwrap();
        assert_eq!(closing.code, Some(ReasonCode::ProtocolError));
        rig.expect_silence();
    }
}

#[test]
fn a_second_connect_is_a_protocol_error() {
    for version in VERSIONS {
        let mut rig = Rig::running(version);
        rig.client(Packet::Connect(Box::new(connect(version))));
        rig.expect_fatal(ReasonCode::ProtocolError);
    }
}

#[test]
fn while_it_is_attached_nothing_is_read() {
    for version in VERSIONS {
        let mut rig = Rig::new();
        assert!(rig.session.wants_packets());
        rig.client(Packet::Connect(Box::new(connect(version))));
        rig.expect_attach();
        assert!(!rig.session.wants_packets());
        rig.expect_silence();
        rig.attach(Ok(attached()));
        rig.expect_connack();
        assert!(rig.session.wants_packets());
    }
}

#[test]
fn clean_start_and_expiry_say_which_session() {
    let never = settings().session_expiry_max;
    let v5 = |clean_start, session_expiry_secs| Connect {
        clean_start,
        properties: ConnectProperties {
            session_expiry_secs,
            ..ConnectProperties::default()
        },
        ..connect(Version::V5)
    };
    let v3 = |version, clean_start| Connect {
        clean_start,
        ..connect(version)
    };
    for (connect, fresh, expiry) in [
        (v5(true, None), true, Duration::ZERO),
        (v5(false, Some(60)), false, EXPIRY),
        (v5(true, Some(60)), true, EXPIRY),
        (v5(false, Some(u32::MAX)), false, never),
        (v3(Version::V311, true), true, Duration::ZERO),
        (v3(Version::V311, false), false, never),
        (v3(Version::V31, false), false, never),
    ] {
        let wish = wish_of(connect);
        assert_eq!(&*wish.client, "till");
        assert!(!wish.assigned);
        let id = None;
        assert_eq!(wish.session, SessionWish { id, expiry, fresh });
    }
}

#[test]
fn a_client_without_identifier_is_given_one_where_it_may_be() {
    let nameless = |version, clean_start| Connect {
        clean_start,
        client_id: str(""),
        ..connect(version)
    };
    for (connect, told) in [
        (nameless(Version::V5, false), true),
        (nameless(Version::V5, true), true),
        (nameless(Version::V311, true), false),
    ] {
        let other = wish_of(connect.clone()).client;
        let mut rig = Rig::new();
        rig.client(Packet::Connect(Box::new(connect)));
        let wish = rig.expect_attach();
        assert!(wish.assigned && wish.client.len() > 20);
        assert_ne!(wish.client, other);
        rig.attach(Ok(attached()));
        let assigned = rig.expect_connack().properties.assigned_client_id;
        assert_eq!(assigned, told.then(|| str(&wish.client)));
    }
    for connect in [nameless(Version::V311, false), nameless(Version::V31, true)] {
        check_denied(connect, ReasonCode::ClientIdNotValid);
    }
    for version in VERSIONS {
        let client_id = str(&"x".repeat(257));
        let long = Connect {
            client_id,
            ..connect(version)
        };
        check_denied(long, ReasonCode::ClientIdNotValid);
    }
}

#[test]
fn session_present_is_told_if_a_session_goes_on() {
    for (version, told) in [
        (Version::V5, true),
        (Version::V311, true),
        (Version::V31, false),
    ] {
        for resumed in [false, true] {
            let attached = Attached {
                resumed,
                expiry: EXPIRY,
                mqtt: Some(Box::new(kept())),
                ..attached()
            };
            let (_, connack) = Rig::new().start(connect(version), attached);
            assert_eq!(connack.session_present, resumed && told);
        }
    }
}

#[test]
fn connack_tells_what_a_5_0_client_would_not_assume() {
    let (_, connack) = Rig::new().start(connect(Version::V5), attached());
    let usual = ConnackProperties {
        receive_maximum: NonZeroU16::new(8),
        maximum_packet_size: NonZeroU32::new(4096),
        topic_alias_maximum: Some(4),
        ..ConnackProperties::default()
    };
    assert_eq!(connack.properties, usual);
    for version in [Version::V31, Version::V311] {
        let (_, connack) = Rig::new().start(connect(version), attached());
        assert_eq!(connack, Connack::default());
    }
}

#[test]
fn a_session_expiry_that_is_not_the_one_asked_for_is_told() {
    for (asked, granted, told) in [
        (Some(60), 60, None),
        (Some(120), 60, Some(60)),
        (Some(u32::MAX), 60, Some(60)),
        (None, 0, None),
        (Some(60), 0, Some(0)),
    ] {
        let mut asks = connect(Version::V5);
        asks.properties.session_expiry_secs = asked;
        let attached = Attached {
            expiry: Duration::from_secs(granted),
            ..attached()
        };
        let (_, connack) = Rig::new().start(asks, attached);
        assert_eq!(connack.properties.session_expiry_secs, told, "{asked:?}");
    }
}

#[test]
fn response_information_is_told_to_whom_asks() {
    let mut asks = connect(Version::V5);
    asks.client_id = str("eu/till+4");
    let (_, connack) = Rig::new().start(asks.clone(), attached());
    assert_eq!(connack.properties.response_information, None);
    asks.properties.request_response_information = Some(true);
    let (_, connack) = Rig::new().start(asks, attached());
    let information = connack.properties.response_information;
    assert_eq!(information, Some(str("replies/eu%2Ftill%2B4")));
}

#[test]
fn a_keep_alive_is_cut_where_the_client_can_be_told() {
    let settings = Settings {
        keep_alive_max: Some(Duration::from_secs(60)),
        ..settings()
    };
    for (version, asked, told, patience) in [
        (Version::V5, 30, None, 45),
        (Version::V5, 90, Some(60), 90),
        (Version::V5, 0, Some(60), 90),
        (Version::V311, 90, None, 135),
    ] {
        let asks = Connect {
            keep_alive_secs: asked,
            ..connect(version)
        };
        let (rig, connack) = Rig::with(settings.clone()).start(asks, attached());
        assert_eq!(connack.properties.server_keep_alive_secs, told);
        let patience = Duration::from_secs(patience);
        assert_eq!(rig.session.poll_timeout(), Some(rig.now + patience));
    }
    let (rig, _) = Rig::with(settings).start(connect(Version::V311), attached());
    assert_eq!(rig.session.poll_timeout(), None);
}

fn will() -> Will {
    Will {
        qos: Qos::AtLeastOnce,
        retain: true,
        topic: str("/w"),
        payload: Bytes::from_static(b"gone"),
        properties: WillProperties::default(),
    }
}

#[test]
fn a_will_is_handed_to_the_broker() {
    for version in VERSIONS {
        let mut will = will();
        if version == Version::V5 {
            will.properties.delay_secs = Some(9);
            will.properties.message_expiry_secs = Some(60);
            will.properties.payload_format = Some(PayloadFormat::Utf8);
            will.properties.user_properties = ["b", "a", "b"].map(|it| (str(it), str("x"))).into();
        }
        let wish = wish_of(Connect {
            will: Some(will),
            ..connect(version)
        });
        let it = wish.will.unwrap();
        let is_v5 = version == Version::V5;
        assert_eq!(it.delay, Duration::from_secs(if is_v5 { 9 } else { 0 }));
        let message = it.message;
        assert_eq!((&*message.address, message.qos), ("%00/w", Some(1)));
        assert_eq!((&message.body[..], message.retain), (&b"gone"[..], true));
        let is_text = (message.ttl_ms, message.text);
        assert_eq!(is_text, (is_v5.then_some(60_000), is_v5));
        let names = message.ordered.iter().map(|(name, _)| name.as_str());
        assert_eq!(names.collect::<String>(), if is_v5 { "bab" } else { "" });
    }
    assert_eq!(wish_of(connect(Version::V5)).will, None);
}

#[test]
fn a_will_that_is_said_to_be_text_is_text() {
    let mut will = will();
    will.payload = Bytes::from_static(b"\xFF");
    will.properties.payload_format = Some(PayloadFormat::Utf8);
    let asks = Connect {
        will: Some(will),
        ..connect(Version::V5)
    };
    check_denied(asks, ReasonCode::PayloadFormatInvalid);
}

#[test]
fn no_other_authentication_method_is_known() {
    for method in [
        "",
        "PLAIN",
        "SCRAM-SHA-1",
        "scram-sha-256",
        "SCRAM-SHA-256-PLUS",
    ] {
        let mut asks = connect(Version::V5);
        asks.properties.authentication_method = Some(str(method));
        check_denied(asks, ReasonCode::BadAuthenticationMethod);
    }
}

#[test]
fn who_is_not_attached_is_told_why() {
    use AttachError as A;
    for (why, with_user, code) in [
        (
            NotAttached::Unauthorized,
            true,
            ReasonCode::BadUserNameOrPassword,
        ),
        (NotAttached::Unauthorized, false, ReasonCode::NotAuthorized),
        (
            NotAttached::Throttled,
            true,
            ReasonCode::ConnectionRateExceeded,
        ),
        (NotAttached::Busy, true, ReasonCode::ServerBusy),
        (A::NotYours.into(), true, ReasonCode::ClientIdNotValid),
        (A::TooMany.into(), true, ReasonCode::QuotaExceeded),
        (A::TakenOver.into(), true, ReasonCode::ServerBusy),
        (A::ShuttingDown.into(), true, ReasonCode::ServerUnavailable),
        (A::NoSession.into(), true, ReasonCode::Unspecified),
        (
            A::Will(Refusal::Denied).into(),
            true,
            ReasonCode::NotAuthorized,
        ),
        (
            A::Will(Refusal::BadAddress).into(),
            true,
            ReasonCode::TopicNameInvalid,
        ),
        (
            A::Will(Refusal::TooLarge).into(),
            true,
            ReasonCode::PacketTooLarge,
        ),
    ] {
        for version in VERSIONS {
            let mut rig = Rig::new();
            let user_name = with_user.then(|| str("ann"));
            rig.client(Packet::Connect(Box::new(Connect {
                user_name,
                ..connect(version)
            })));
            rig.expect_attach();
            rig.attach(Err(why));
            expect_denied(&mut rig, version, code);
        }
    }
}

#[test]
fn user_names_passwords_and_tokens_are_told_apart() {
    let password = |user: &str, password: &str| Credentials::Password {
        user: user.to_owned(),
        password: password.to_owned(),
    };
    let token = |token: &str| Credentials::Token(token.to_owned());
    let jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
    for (user, secret, credentials, hint) in [
        (None, None, None, None),
        (Some("ann"), Some("pw"), Some(password("ann", "pw")), None),
        (Some("ann"), None, Some(password("ann", "")), None),
        (None, Some("anything"), Some(token("anything")), None),
        (Some("ann"), Some("rst_a_b"), Some(token("rst_a_b")), None),
        (Some("eu:ann"), Some(jwt), Some(token(jwt)), Some("eu")),
        (
            Some("ann"),
            Some("a.b.c"),
            Some(password("ann", "a.b.c")),
            None,
        ),
        (
            Some("ann"),
            Some("ey.!.c"),
            Some(password("ann", "ey.!.c")),
            None,
        ),
        (
            Some("eu:ann"),
            Some("pw"),
            Some(password("eu:ann", "pw")),
            Some("eu"),
        ),
        (Some(":ann"), Some("pw"), Some(password(":ann", "pw")), None),
    ] {
        let secret = secret.map(|text| Secret(Bytes::copy_from_slice(text.as_bytes())));
        let wish = wish_of(Connect {
            user_name: user.map(str),
            password: secret,
            ..connect(Version::V5)
        });
        assert_eq!(wish.credentials, credentials, "{user:?}");
        assert_eq!(wish.realm_hint.as_deref(), hint, "{user:?}");
    }
    let binary = Connect {
        user_name: Some(str("ann")),
        password: Some(Secret(Bytes::from_static(b"\xFF"))),
        ..connect(Version::V311)
    };
    check_denied(binary, ReasonCode::BadUserNameOrPassword);
}

#[test]
fn a_realm_that_there_is_is_taken_off_the_user_name() {
    for (user, secret, left) in [
        ("eu:ann", "pw", Some(("ann", "pw"))),
        ("eu:a:b", "pw", Some(("a:b", "pw"))),
        ("eu:", "", None),
        ("eu:", "pw", Some(("", "pw"))),
    ] {
        let mut wish = wish_of(Connect {
            user_name: Some(str(user)),
            password: Some(Secret(Bytes::copy_from_slice(secret.as_bytes()))),
            ..connect(Version::V311)
        });
        assert_eq!(wish.take_realm().as_deref(), Some("eu"));
        let left = left.map(|(user, password)| Credentials::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        });
        assert_eq!(wish.credentials, left);
    }
}

#[test]
fn who_does_not_connect_in_time_is_let_go() {
    let mut rig = Rig::new();
    assert_eq!(
        rig.session.poll_timeout(),
        Some(rig.now + Duration::from_secs(10))
    );
    rig.pass(Duration::from_secs(9));
    assert!(rig.session.closing().is_none());
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.session.closing().unwrap().reason, "connect-timeout");
    rig.expect_silence();
}

#[test]
fn a_client_that_cannot_take_a_connack_is_let_go() {
    let mut asks = connect(Version::V5);
    asks.properties.maximum_packet_size = NonZeroU32::new(12);
    let mut rig = Rig::new();
    rig.client(Packet::Connect(Box::new(asks)));
    rig.expect_attach();
    rig.attach(Ok(attached()));
    // Without its reason string it is small enough.
    rig.expect(&[Packet::Connack(Box::new(Connack::refused(
        ReasonCode::PacketTooLarge,
    )))]);
    assert!(rig.session.closing().is_some());
}

#[test]
fn what_is_no_connect_is_answered_as_the_version_has_it() {
    // The protocol level is 6: 3.1.1 and 5.0 both have an answer to that.
    for (bytes, answer) in [
        (&b"\x10\x0D\x00\x04MQTT\x06\x02\x00\x3C\x00\x01a"[..], true),
        (b"\x10\x0D\x00\x04MQXX\x04\x02\x00\x3C\x00\x01a", false),
        (b"GET / HTTP/1.1\r\n\r\n", false),
        // The reserved flag, in 3.1.1: closed without a word.
        (b"\x10\x0D\x00\x04MQTT\x04\x03\x00\x3C\x00\x01a", false),
        (b"\x10\x0E\x00\x04MQTT\x05\x03\x00\x3C\x00\x00\x01a", true),
    ] {
        let mut decoder = Decoder::server(Limits::default());
        let error = decoder.decode(&mut BytesMut::from(bytes)).unwrap_err();
        let mut rig = Rig::new();
        rig.session.handle_decode_error(rig.now, error);
        let closing = rig.session.closing().unwrap();
        assert_eq!(closing.code, Some(error.reason()));
        assert_eq!(closing.text, error.to_string());
        assert_eq!(rig.session.has_output(), answer, "{bytes:?}");
    }
}

#[test]
fn a_resumed_session_begins_with_the_pubrels_that_were_not_answered_and_then_asks_for_more() {
    use super::rig::id;
    use restante_proto::mqtt::Ack;
    for version in VERSIONS {
        let mut rig = Rig::resumed(
            version,
            MqttState {
                releasing: vec![9, 4],
                ..MqttState::default()
            },
        );
        let read = rig.read();
        let releases: Vec<_> = [9, 4]
            .map(|number| Packet::Pubrel(Ack::new(id(number), ReasonCode::Success)))
            .into();
        assert!(matches!(&read[0], Packet::Connack(_)));
        assert_eq!(read[1..], releases);
        let credit = Wish::Credit {
            consumer: "q".into(),
            limit: 8,
        };
        assert_eq!(rig.expect_wish(), credit);
        rig.expect_silence();
    }
}
