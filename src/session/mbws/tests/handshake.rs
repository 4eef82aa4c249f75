//! From the first frame to `opened`.

use std::time::Duration;

use restante_proto::mbws::Code;

use super::pair::{Pair, SESSION, attached, frame, send};
use crate::broker::{AttachError, Attached, SessionWish};
use crate::refusal::Refusal;
use crate::session::mbws::{AttachWish, Binding, Credentials, NotAttached};

const ID: &str = "01900000-0000-7000-8000-000000000001";

#[test]
fn the_first_frame_must_be_open() {
    for first in [&send(1), "close\n\n", "credit\nconsumer:c\nlimit:1\n\n"] {
        let mut pair = Pair::connected();
        pair.client(first);
        pair.expect_fatal(Code::Protocol, 1002);
    }
}

#[test]
fn an_open_that_does_not_come_in_time_is_a_protocol_error() {
    let mut pair = Pair::connected();
    pair.pass(Duration::from_millis(9_999));
    assert_eq!(pair.session.closing(), None);
    pair.pass(Duration::from_millis(1));
    pair.expect_fatal(Code::Protocol, 1002);
}

#[test]
fn after_open_there_is_no_deadline_any_more() {
    let mut pair = Pair::connected();
    assert!(pair.session.poll_timeout().is_some());
    pair.client("open\nversion:1\n\n");
    assert_eq!(pair.session.poll_timeout(), None);
    pair.pass(Duration::from_secs(60));
    assert_eq!(pair.session.closing(), None);
}

#[test]
fn only_version_1_is_spoken() {
    let mut pair = Pair::connected();
    pair.client("open\nversion:2\n\n");
    pair.expect_fatal(Code::Protocol, 1002);
}

#[test]
fn a_second_open_is_a_protocol_error() {
    let mut pair = Pair::running();
    pair.client("open\nversion:1\n\n");
    pair.expect_fatal(Code::Protocol, 1002);
}

#[test]
fn no_frame_is_wanted_before_the_client_is_attached() {
    let mut pair = Pair::connected();
    assert!(pair.session.wants_frames());
    pair.client("open\nversion:1\n\n");
    assert!(!pair.session.wants_frames());
    pair.attach(Ok(attached()));
    assert!(pair.session.wants_frames());
}

#[test]
fn open_says_who_wants_which_session() {
    check_open(
        &format!("session:{ID}\nexpiry:60\nname:till 4\nuser:ann\npassword:pw\n"),
        AttachWish {
            credentials: Some(Credentials::Password {
                user: "ann".to_owned(),
                password: "pw".to_owned(),
            }),
            session: SessionWish {
                id: Some(SESSION),
                expiry: Duration::from_secs(60),
                fresh: false,
            },
            name: Some("till 4".to_owned()),
        },
    );
    check_open(
        "token:t0k\n",
        AttachWish {
            credentials: Some(Credentials::Token("t0k".to_owned())),
            session: SessionWish {
                id: None,
                expiry: Duration::ZERO,
                fresh: false,
            },
            name: None,
        },
    );
}

fn check_open(fields: &str, expected: AttachWish) {
    let mut pair = Pair::connected();
    pair.client(&format!("open\nversion:1\n{fields}\n"));
    assert_eq!(pair.expect_attach(), expected);
}

#[test]
fn an_open_that_makes_no_sense_is_a_protocol_error() {
    for fields in [
        "session:till-4",
        "session:0190000000007000800000000000000a",
        "session:{01900000-0000-7000-8000-000000000001}",
        "session:00000000-0000-0000-0000-000000000000",
        "user:ann",
        "password:pw",
        "user:ann\npassword:pw\ntoken:t0k",
        "user:ann\ntoken:t0k",
    ] {
        let mut pair = Pair::connected();
        pair.client(&format!("open\nversion:1\n{fields}\n\n"));
        pair.expect_fatal(Code::Protocol, 1002);
    }
}

#[test]
fn no_debug_output_shows_a_secret() {
    let mut pair = Pair::connected();
    pair.client("open\nversion:1\nuser:ann\npassword:hush\n\n");
    let shown = format!("{:?}", pair.session);
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn who_is_not_attached_is_told_why() {
    check_not_attached(NotAttached::Unauthorized, Code::Unauthorized, 4401);
    check_not_attached(NotAttached::Throttled, Code::Unauthorized, 4401);
    check_not_attached(NotAttached::Busy, Code::Internal, 1011);
    check_refused(AttachError::NoSession, Code::NoSession, 4404);
    check_refused(AttachError::NotYours, Code::Denied, 4403);
    check_refused(AttachError::TooMany, Code::Denied, 4403);
    check_refused(AttachError::ShuttingDown, Code::ShuttingDown, 1001);
}

fn check_refused(why: AttachError, code: Code, close_code: u16) {
    check_not_attached(NotAttached::Refused(why), code, close_code);
}

fn check_not_attached(why: NotAttached, code: Code, close_code: u16) {
    let mut pair = Pair::connected();
    pair.client("open\nversion:1\n\n");
    pair.expect_attach();
    pair.attach(Err(why));
    pair.expect_fatal(code, close_code);
}

#[test]
fn opened_says_what_is_granted() {
    let mut pair = Pair::connected();
    pair.client("open\nversion:1\nexpiry:60\nheartbeat:5\n\n");
    pair.expect_attach();
    pair.attach(Ok(Attached {
        expiry: Duration::from_secs(40),
        ..attached()
    }));
    pair.expect(&format!(
        "opened\nsession:{ID}\nresumed:false\nconfirmed:0\nexpiry:40\nwindow:4\nmax-frame:1024\n\
         heartbeat:5\nbroker:b1\nserver:restante/test\n\n"
    ));
    pair.expect_silence();
    assert_eq!(pair.session.heartbeat(), Duration::from_secs(5));
}

#[test]
fn a_heartbeat_is_what_the_client_wishes_within_reason() {
    for (fields, seconds) in [
        ("", 30),
        ("heartbeat:0\n", 30),
        ("heartbeat:1\n", 1),
        ("heartbeat:4000000000\n", 3600),
    ] {
        let pair = Pair::connected().start(fields);
        assert_eq!(pair.session.heartbeat(), Duration::from_secs(seconds));
    }
}

#[test]
fn a_resumed_client_hears_what_failed_behind_its_back() {
    let mut pair = Pair::connected();
    pair.client(&format!("open\nversion:1\nsession:{ID}\n\n"));
    pair.expect_attach();
    pair.attach(Ok(Attached {
        resumed: true,
        confirmed: 7,
        failed: vec![(3, Refusal::NoRoute), (6, Refusal::Full)],
        ..attached()
    }));
    let Some((opened, Binding::Text)) = pair.poll() else {
        panic!("no opened");
    };
    let expected = format!(
        "opened\nsession:{ID}\nresumed:true\nconfirmed:7\nexpiry:0\nwindow:4\nmax-frame:1024\n\
         heartbeat:30\nbroker:b1\nserver:restante/test\n\n"
    );
    assert_eq!(opened, frame(&expected));
    pair.expect("confirm\nupto:7\nfailed:3 no-route, 6 full\n\n");
    pair.expect_silence();
}

#[test]
fn a_resumed_client_is_told_that_nothing_failed_and_goes_on_behind_what_is_confirmed() {
    let mut pair = Pair::connected();
    pair.client(&format!("open\nversion:1\nsession:{ID}\n\n"));
    pair.expect_attach();
    pair.attach(Ok(Attached {
        resumed: true,
        confirmed: 7,
        ..attached()
    }));
    pair.poll();
    pair.expect("confirm\nupto:7\n\n");
    pair.client(&send(6));
    pair.client(&send(7));
    pair.expect_silence();
    pair.client_sends([8]);
}
