//! Sequence, window, confirms, rate, and the ways to end.

use std::time::Duration;

use restante_proto::mbws::{Cancel, Code, Frame, Settle};

use super::pair::{Pair, WINDOW, send};
use crate::broker::{Call, End, Event};
use crate::refusal::Refusal;
use crate::session::mbws::{Binding, Closing, Wish};

#[test]
fn a_skipped_seq_ends_the_socket() {
    let mut pair = Pair::running();
    pair.client_sends([1]);
    pair.client(&send(3));
    pair.expect_fatal(Code::Gap, 4409);
}

#[test]
fn a_replayed_frame_is_not_called_again() {
    let mut pair = Pair::running();
    pair.client_sends([1, 2]);
    pair.client(&send(1));
    pair.client(&send(2));
    pair.expect_silence();
    pair.client_sends([3]);
}

#[test]
fn a_sequenced_frame_without_a_seq_is_a_protocol_error() {
    for frame in [
        Frame::Cancel(Cancel::default()),
        Frame::Settle(Settle::default()),
    ] {
        let mut pair = Pair::running();
        // Past the decoder, which may refuse it already.
        pair.client_frame(Binding::Text, frame);
        pair.expect_fatal(Code::Protocol, 1002);
    }
}

#[test]
fn past_the_window_no_frame_is_wanted() {
    let mut pair = Pair::running();
    pair.client_sends(1..u64::from(WINDOW));
    assert!(pair.session.wants_frames());
    pair.client_sends([u64::from(WINDOW)]);
    assert!(!pair.session.wants_frames());
    pair.broker_confirms(1, &[]);
    assert!(pair.session.wants_frames());
}

#[test]
fn nothing_is_confirmed_that_the_broker_did_not_confirm() {
    let mut pair = Pair::running();
    pair.client_sends([1, 2]);
    pair.expect_silence();
    pair.broker_confirms(1, &[]);
    pair.expect("confirm\nupto:1\n\n");
    pair.expect_silence();
}

#[test]
fn what_is_confirmed_together_is_told_in_one_frame() {
    let mut pair = Pair::running();
    pair.client_sends([1, 2, 3]);
    pair.broker_confirms(1, &[(1, Refusal::NoRoute)]);
    pair.broker_confirms(2, &[]);
    pair.broker_confirms(3, &[(3, Refusal::TooMany)]);
    pair.expect("confirm\nupto:3\nfailed:1 no-route, 3 full\n\n");
    pair.expect_silence();
}

#[test]
fn more_than_the_rate_is_refused_frame_by_frame() {
    let mut pair = Pair::with_publish_rate(2);
    pair.client_sends([1, 2]);
    pair.client(&send(3));
    assert_eq!(pair.expect_call(3), Call::Refuse(Refusal::Rate));
    pair.pass(Duration::from_millis(500));
    pair.broker_confirms(3, &[(3, Refusal::Rate)]);
    pair.expect("confirm\nupto:3\nfailed:3 rate\n\n");
    pair.client_sends([4]);
}

#[test]
fn a_rate_counts_sends_only() {
    let mut pair = Pair::with_publish_rate(1);
    pair.client_sends([1]);
    pair.client("settle\nseq:2\nconsumer:c\naccepted:1\n\n");
    assert!(matches!(pair.expect_call(2), Call::Settle(_)));
}

#[test]
fn close_ends_the_session_for_good() {
    let mut pair = Pair::running();
    pair.client("close\nreason:done\n\n");
    assert_eq!(pair.expect_wish(), Wish::End);
    pair.expect_silence();
    let closing = pair.session.closing();
    assert!(matches!(
        closing,
        Some(Closing {
            close_code: 1000,
            code: None,
            ..
        })
    ));
}

#[test]
fn what_was_confirmed_before_an_error_is_told_before_it() {
    let mut pair = Pair::running();
    pair.client_sends([1]);
    pair.broker_confirms(1, &[]);
    pair.client(&send(9));
    pair.expect("confirm\nupto:1\n\n");
    pair.expect_fatal(Code::Gap, 4409);
}

#[test]
fn after_the_end_nothing_is_taken() {
    let mut pair = Pair::running();
    pair.client_sends([1]);
    pair.client(&send(9));
    pair.client(&send(2));
    pair.broker_confirms(1, &[]);
    pair.session
        .handle_decode_error(Code::NotUtf8, String::new(), None);
    pair.expect_fatal(Code::Gap, 4409);
}

#[test]
fn who_is_ended_by_the_broker_is_told_why() {
    for (end, code, close_code) in [
        (End::TakenOver, Code::TakenOver, 4410),
        (End::ShuttingDown, Code::ShuttingDown, 1001),
        (End::Kicked, Code::ShuttingDown, 1001),
        (End::LogFailed, Code::Internal, 1011),
    ] {
        let mut pair = Pair::running();
        pair.broker(Event::Ended(end));
        pair.expect_fatal(code, close_code);
    }
}

#[test]
fn a_frame_that_cannot_be_read_is_answered_in_its_binding() {
    let mut pair = Pair::running();
    let reason = "unknown verb".to_owned();
    pair.session
        .handle_decode_error(Code::Protocol, reason, Some(Binding::Binary));
    assert!(matches!(pair.poll(), Some((_, Binding::Binary))));
    assert_eq!(pair.session.closing().map(|it| it.close_code), Some(1002));
}

#[test]
fn at_shutdown_a_session_with_nothing_under_way_ends_at_once() {
    let mut pair = Pair::running();
    pair.client_sends([1]);
    pair.broker_confirms(1, &[]);
    pair.shut_down(Duration::from_secs(5));
    pair.expect("confirm\nupto:1\n\n");
    pair.expect_fatal(Code::ShuttingDown, 1001);
}

#[test]
fn at_shutdown_what_is_under_way_is_confirmed_first() {
    let mut pair = Pair::running();
    pair.client_sends([1, 2]);
    pair.shut_down(Duration::from_secs(5));
    assert!(!pair.session.wants_frames());
    pair.broker_confirms(1, &[]);
    pair.expect("confirm\nupto:1\n\n");
    pair.expect_silence();
    pair.broker_confirms(2, &[]);
    pair.expect("confirm\nupto:2\n\n");
    pair.expect_fatal(Code::ShuttingDown, 1001);
}

#[test]
fn a_shutdown_waits_no_longer_than_it_may() {
    let mut pair = Pair::running();
    pair.client_sends([1]);
    pair.shut_down(Duration::from_secs(5));
    pair.pass(Duration::from_secs(4));
    pair.expect_silence();
    pair.pass(Duration::from_secs(1));
    pair.expect_fatal(Code::ShuttingDown, 1001);
}

#[test]
fn a_shutdown_does_not_wait_for_who_is_not_attached_yet() {
    let mut pair = Pair::connected();
    pair.shut_down(Duration::from_secs(5));
    pair.expect_fatal(Code::ShuttingDown, 1001);
    let mut pair = Pair::connected();
    pair.client("open\nversion:1\n\n");
    pair.expect_attach();
    pair.shut_down(Duration::from_secs(5));
    pair.expect_fatal(Code::ShuttingDown, 1001);
}
