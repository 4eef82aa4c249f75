//! Authentication with a method: whose turn it is, and what comes of it. What is in the data is nobody's business here.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;
use restante_proto::mqtt::{
    Auth, AuthProperties, Connack, Disconnect, DisconnectProperties, Packet, Qos, ReasonCode,
    Secret, Version,
};

use super::rig::{Rig, attached, connect, message, publish, str, subscribe};
use crate::broker::{AttachError, Call, End, Event};
use crate::session::mqtt::{NotAttached, Proved, Step, Wish};

const METHOD: &str = "SCRAM-SHA-256";

fn secret(text: &str) -> Secret {
    Secret(Bytes::copy_from_slice(text.as_bytes()))
}

fn asks(data: Option<&str>) -> Packet {
    let mut asks = connect(Version::V5);
    asks.properties.authentication_method = Some(str(METHOD));
    asks.properties.authentication_data = data.map(secret);
    Packet::Connect(Box::new(asks))
}

fn auth_of(method: &str, reason: ReasonCode, data: Option<&str>) -> Packet {
    Packet::Auth(Auth {
        reason,
        properties: AuthProperties {
            authentication_method: Some(str(method)),
            authentication_data: data.map(secret),
            ..AuthProperties::default()
        },
    })
}

fn auth(reason: ReasonCode, data: &str) -> Packet {
    auth_of(METHOD, reason, Some(data))
}

const NEXT: ReasonCode = ReasonCode::ContinueAuthentication;
const ANEW: ReasonCode = ReasonCode::Reauthenticate;

fn challenge(data: &str) -> Result<Proved, NotAttached> {
    Ok(Proved::Challenge(secret(data)))
}

fn believed(data: &str) -> Result<Proved, NotAttached> {
    Ok(Proved::Believed(secret(data)))
}

impl Rig {
    fn proved(&mut self, proved: Result<Proved, NotAttached>) {
        self.session.handle_proved(self.now, proved);
    }

    fn expect_prove(&mut self, step: Step, data: &str) {
        let data = secret(data);
        assert_eq!(self.expect_wish(), Wish::Prove { step, data });
        assert_eq!(self.session.poll_call(), None);
    }

    /// Up to where the client is to say its last message.
    fn challenged() -> Rig {
        let mut rig = Rig::new();
        rig.client(asks(Some("first")));
        rig.expect_prove(Step::First, "first");
        assert!(!rig.session.wants_packets());
        rig.proved(challenge("challenge"));
        rig.expect(&[auth(NEXT, "challenge")]);
        assert!(rig.session.wants_packets());
        rig
    }

    /// After a CONNACK with method.
    fn authenticated() -> Rig {
        let mut rig = Rig::challenged();
        rig.client(auth(NEXT, "last"));
        rig.expect_prove(Step::Last, "last");
        rig.proved(believed("verified"));
        let wish = rig.expect_attach();
        assert_eq!((wish.credentials, wish.realm_hint), (None, None));
        rig.attach(Ok(attached()));
        let connack = rig.expect_connack();
        assert_eq!(connack.reason, ReasonCode::Success);
        let properties = connack.properties;
        assert_eq!(properties.authentication_method, Some(str(METHOD)));
        assert_eq!(properties.authentication_data, Some(secret("verified")));
        rig
    }

    fn expect_refused(&mut self, reason: ReasonCode) {
        let refused = Connack::refused(reason);
        self.expect(&[Packet::Connack(Box::new(refused))]);
        assert_eq!(self.session.closing().unwrap().code, Some(reason));
        assert!(!self.session.wants_packets());
        self.expect_silence();
    }
}

#[test]
fn who_proves_it_is_attached_and_told_so() {
    let mut rig = Rig::authenticated();
    rig.expect_silence();
    rig.client(Packet::Pingreq);
    rig.expect(&[Packet::Pingresp]);
}

#[test]
fn a_client_that_connects_without_data_is_asked_for_it() {
    for data in [None, Some("")] {
        let mut rig = Rig::new();
        rig.client(asks(data));
        rig.expect(&[auth_of(METHOD, NEXT, None)]);
        assert_eq!(rig.session.poll_call(), None);
        rig.client(auth(NEXT, "first"));
        rig.expect_prove(Step::First, "first");
    }
}

#[test]
fn a_method_s_user_name_and_password_are_not_looked_at() {
    let mut rig = Rig::new();
    let mut packet = asks(Some("first"));
    if let Packet::Connect(connect) = &mut packet {
        connect.user_name = Some(str("eu:bob"));
        connect.password = Some(secret("pw"));
    }
    rig.client(packet);
    rig.expect_prove(Step::First, "first");
    rig.proved(challenge("challenge"));
    rig.client(auth(NEXT, "last"));
    rig.expect_prove(Step::Last, "last");
    rig.proved(believed("verified"));
    let wish = rig.expect_attach();
    assert_eq!((wish.credentials, wish.realm_hint), (None, None));
}

#[test]
fn who_does_not_prove_it_is_not_attached() {
    for (why, code) in [
        (NotAttached::Unauthorized, ReasonCode::NotAuthorized),
        (NotAttached::Throttled, ReasonCode::ConnectionRateExceeded),
        (NotAttached::Busy, ReasonCode::ServerBusy),
    ] {
        let mut rig = Rig::new();
        rig.client(asks(Some("first")));
        rig.expect_prove(Step::First, "first");
        rig.proved(Err(why));
        rig.expect_refused(code);
        let mut rig = Rig::challenged();
        rig.client(auth(NEXT, "last"));
        rig.expect_prove(Step::Last, "last");
        rig.proved(Err(why));
        rig.expect_refused(code);
    }
}

#[test]
fn who_proves_it_may_be_refused_all_the_same() {
    let mut rig = Rig::challenged();
    rig.client(auth(NEXT, "last"));
    rig.expect_prove(Step::Last, "last");
    rig.proved(believed("verified"));
    rig.expect_attach();
    rig.attach(Err(AttachError::NotYours.into()));
    rig.expect_refused(ReasonCode::ClientIdNotValid);
}

#[test]
fn only_auth_and_a_goodbye_may_come_before_the_connack() {
    for packet in [
        Packet::Pingreq,
        Packet::Publish(publish(Qos::AtMostOnce, 0)),
        Packet::Subscribe(subscribe(1, &[("a", Qos::AtMostOnce)])),
        asks(Some("first")),
        // Out of turn, or another method's.
        auth(ANEW, "first"),
        auth(ReasonCode::Success, "last"),
        auth_of("PLAIN", NEXT, Some("last")),
        Packet::Auth(Auth::default()),
    ] {
        let mut rig = Rig::challenged();
        rig.client(packet);
        rig.expect_refused(ReasonCode::ProtocolError);
    }
    let mut rig = Rig::challenged();
    rig.client(Packet::Disconnect(Disconnect::default()));
    assert!(rig.session.closing().unwrap().normal);
    rig.expect_silence();
}

#[test]
fn data_is_bounded() {
    let mut rig = Rig::challenged();
    rig.client(auth(NEXT, &"x".repeat(4097)));
    rig.expect_refused(ReasonCode::NotAuthorized);
    let mut rig = Rig::authenticated();
    rig.client(auth(ANEW, &"x".repeat(4097)));
    rig.expect_fatal(ReasonCode::NotAuthorized);
}

#[test]
fn an_authentication_has_the_deadline_of_the_connect() {
    let mut rig = Rig::new();
    rig.pass(Duration::from_secs(4));
    rig.client(asks(None));
    rig.read();
    rig.pass(Duration::from_secs(5));
    assert!(rig.session.closing().is_none());
    let wake = rig.session.poll_timeout();
    assert_eq!(wake, Some(rig.now + Duration::from_secs(1)));
    rig.pass(Duration::from_secs(1));
    assert_eq!(rig.session.closing().unwrap().reason, "connect-timeout");
    rig.expect_refused(ReasonCode::NotAuthorized);
}

#[test]
fn a_shutdown_does_not_wait_for_an_authentication() {
    let mut rig = Rig::challenged();
    rig.session.handle_shutdown(rig.now);
    rig.expect_refused(ReasonCode::ServerUnavailable);
    // Nor does an answer count that comes then.
    rig.proved(believed("verified"));
    rig.expect_silence();
}

#[test]
fn an_auth_that_is_too_large_for_the_client_is_not_sent() {
    let mut packet = asks(None);
    if let Packet::Connect(connect) = &mut packet {
        connect.properties.maximum_packet_size = NonZeroU32::new(15);
    }
    let mut rig = Rig::new();
    rig.client(packet);
    rig.expect_refused(ReasonCode::PacketTooLarge);
}

#[test]
fn all_else_goes_on_while_a_client_authenticates_anew() {
    let mut rig = Rig::authenticated().subscribed("#", Qos::AtMostOnce);
    for data in [Some("first"), None] {
        rig.client(auth_of(METHOD, ANEW, data));
        if data.is_none() {
            rig.expect(&[auth_of(METHOD, NEXT, None)]);
            rig.client(auth(NEXT, "first"));
        }
        rig.expect_prove(Step::First, "first");
        rig.proved(challenge("challenge"));
        rig.expect(&[auth(NEXT, "challenge")]);
        rig.client(Packet::Pingreq);
        rig.expect(&[Packet::Pingresp]);
        rig.client_publishes(Qos::AtMostOnce, 0);
        assert!(matches!(rig.expect_call().1, Call::Publish(_)));
        rig.deliver("t", 1, 1, message("a"));
        rig.expect_publish();
        rig.client(auth(NEXT, "last"));
        rig.expect_prove(Step::Last, "last");
        rig.proved(believed("verified"));
        rig.expect(&[auth(ReasonCode::Success, "verified")]);
    }
    assert!(rig.session.closing().is_none());
}

#[test]
fn who_does_not_prove_it_anew_is_let_go() {
    for (why, code) in [
        (NotAttached::Unauthorized, ReasonCode::NotAuthorized),
        (NotAttached::Throttled, ReasonCode::ConnectionRateExceeded),
    ] {
        let mut rig = Rig::authenticated();
        rig.client(auth(ANEW, "first"));
        rig.expect_prove(Step::First, "first");
        rig.proved(challenge("challenge"));
        rig.client(auth(NEXT, "last"));
        rig.expect_prove(Step::Last, "last");
        rig.proved(Err(why));
        rig.expect_fatal(code);
    }
}

#[test]
fn an_auth_out_of_turn_or_of_another_method_is_a_protocol_error() {
    for packet in [
        auth(NEXT, "last"),
        auth_of("SCRAM-SHA-1", ANEW, Some("first")),
        auth_of("", ANEW, Some("first")),
        auth(ReasonCode::Success, "last"),
        Packet::Auth(Auth::default()),
    ] {
        let mut rig = Rig::authenticated();
        rig.client(packet);
        rig.expect_fatal(ReasonCode::ProtocolError);
    }
    for packet in [
        auth(ANEW, "first"),
        auth_of("SCRAM-SHA-1", NEXT, Some("last")),
    ] {
        let mut rig = Rig::authenticated();
        rig.client(auth(ANEW, "first"));
        rig.expect_prove(Step::First, "first");
        rig.proved(challenge("challenge"));
        rig.read();
        rig.client(packet);
        rig.expect_fatal(ReasonCode::ProtocolError);
    }
    // A method in an AUTH is none in the CONNECT.
    let mut rig = Rig::running(Version::V5);
    rig.client(auth(ANEW, "first"));
    rig.expect_fatal(ReasonCode::ProtocolError);
}

#[test]
fn an_answer_that_nobody_waits_for_is_nothing() {
    let mut rig = Rig::authenticated();
    rig.proved(believed("verified"));
    rig.proved(Err(NotAttached::Unauthorized));
    rig.expect_silence();
    assert!(rig.session.closing().is_none());
}

#[test]
fn who_is_ended_while_they_authenticate_anew_is_told_why() {
    let mut rig = Rig::authenticated();
    rig.client(auth(ANEW, "first"));
    rig.expect_prove(Step::First, "first");
    rig.broker(Event::Ended(End::Revoked));
    rig.proved(challenge("challenge"));
    rig.expect_fatal(ReasonCode::NotAuthorized);
}

#[test]
fn without_a_method_nothing_is_told_of_one() {
    let (mut rig, connack) = Rig::new().start(connect(Version::V5), attached());
    assert_eq!(connack.properties.authentication_method, None);
    assert_eq!(connack.properties.authentication_data, None);
    rig.proved(challenge("challenge"));
    rig.expect_silence();
}

#[test]
fn a_goodbye_during_an_authentication_may_say_an_expiry() {
    let mut rig = Rig::challenged();
    rig.client(Packet::Disconnect(Disconnect {
        properties: DisconnectProperties {
            session_expiry_secs: Some(0),
            ..DisconnectProperties::default()
        },
        ..Disconnect::default()
    }));
    assert!(rig.session.closing().unwrap().normal);
    rig.expect_silence();
}
