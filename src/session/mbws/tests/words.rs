//! Which frame becomes which call, and which event which frame.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use restante_proto::mbws::{Code, Frame, Ranges};
use restante_storage::UnixMillis;

use super::pair::{Pair, WALL};
use crate::broker::{Call, Consume, Delivery, Event, Settle, Source};
use crate::message::{Message, NewMessage};
use crate::refusal::Refusal;
use crate::session::mbws::{Binding, Wish};

fn check_call(text: &str, expected: Call) {
    let mut pair = Pair::running();
    pair.client(text);
    assert_eq!(pair.expect_call(1), expected, "{text}");
    pair.expect_silence();
}

fn check_unsupported(text: &str) {
    check_call(text, Call::Refuse(Refusal::Unsupported));
}

#[test]
fn a_send_is_published() {
    check_call(
        "send\nseq:1\naddress:orders/eu\n\nhello",
        Call::Publish(Box::new(NewMessage {
            address: "orders/eu".to_owned(),
            priority: 4,
            body: Bytes::from_static(b"hello"),
            text: true,
            ..NewMessage::default()
        })),
    );
    check_call(
        "send\nseq:1\naddress:a\nmessage-id:m\ncorrelation-id:c\nreply-to:~r\ncontent-type:t/x\nkey:k\n\
         priority:9\nttl:50\ntransient:true\nproperty.p:v\n\n",
        Call::Publish(Box::new(NewMessage {
            address: "a".to_owned(),
            message_id: Some("m".to_owned()),
            correlation_id: Some("c".to_owned()),
            reply_to: Some("~r".to_owned()),
            content_type: Some("t/x".to_owned()),
            key: Some("k".to_owned()),
            priority: 9,
            properties: BTreeMap::from([("p".to_owned(), "v".to_owned())]),
            ttl_ms: Some(50),
            transient: true,
            body: Bytes::new(),
            text: true,
            ..NewMessage::default()
        })),
    );
}

#[test]
fn a_consume_starts_a_consumer() {
    let consume = Consume {
        retained: false,
        shard: None,
        consumer: "c".to_owned(),
        address: "a".to_owned(),
        source: Source::Queue,
        limit: 0,
        auto_settle: false,
        exclusive: false,
    };
    check_call(
        "consume\nseq:1\nconsumer:c\naddress:a\n\n",
        Call::Consume(consume.clone()),
    );
    check_call(
        "consume\nseq:1\nconsumer:c\naddress:a/+\nlimit:5\nmode:topic\nsettle:auto\nexclusive:true\n\n",
        Call::Consume(Consume {
            address: "a/+".to_owned(),
            source: Source::Topic,
            limit: 5,
            auto_settle: true,
            exclusive: true,
            ..consume
        }),
    );
}

#[test]
fn what_this_release_does_not_do_is_refused_frame_by_frame() {
    check_unsupported("send\nseq:1\naddress:a\ndelay:1\n\n");
    check_unsupported("settle\nseq:1\nconsumer:c\nreleased:1\ndelay:1\n\n");
    for field in [
        "mode:browse",
        "mode:replay",
        "filter:x > 1",
        "from:earliest",
    ] {
        check_unsupported(&format!(
            "consume\nseq:1\nconsumer:c\naddress:a\n{field}\n\n"
        ));
    }
}

#[test]
fn settle_and_cancel_are_called() {
    check_call(
        "settle\nseq:1\nconsumer:c\naccepted:1-2 5\nreleased:3\nrejected:4\nreason:broken\n\n",
        Call::Settle(Settle {
            consumer: "c".to_owned(),
            accepted: Ranges::from_iter([1, 2, 5]),
            released: Ranges::from_iter([3]),
            rejected: Ranges::from_iter([4]),
            reason: Some("broken".to_owned()),
            ..Settle::default()
        }),
    );
    let consumer = "c".to_owned();
    check_call("cancel\nseq:1\nconsumer:c\n\n", Call::Cancel { consumer });
}

#[test]
fn credit_and_hold_are_passed_on_without_a_seq() {
    let mut pair = Pair::running();
    pair.client("hold\nconsumer:c\noffsets:3-5\n\n");
    let (consumer, offsets) = ("c".to_owned(), Ranges::from_iter([3, 4, 5]));
    assert_eq!(pair.expect_wish(), Wish::Hold { consumer, offsets });
    pair.client("credit\nconsumer:c\nlimit:10\n\n");
    let (consumer, limit) = ("c".to_owned(), 10);
    assert_eq!(pair.expect_wish(), Wish::Credit { consumer, limit });
    pair.client_sends([1]);
}

#[test]
fn verbs_of_the_broker_are_a_protocol_error() {
    for text in [
        "opened\nsession:s\nresumed:true\nconfirmed:0\nexpiry:0\nwindow:1\nmax-frame:1\nheartbeat:1\nbroker:b\nserver:s\n\n",
        "confirm\nupto:1\n\n",
        "deliver\nconsumer:c\naddress:a\noffset:1\nattempt:1\nmessage-id:m\ntimestamp:1\n\n",
        "error\ncode:internal\nreason:r\n\n",
    ] {
        let mut pair = Pair::running();
        pair.client(text);
        pair.expect_fatal(Code::Protocol, 1002);
    }
}

#[test]
fn every_refusal_has_a_code_that_ends_no_session() {
    let refusals = (1..).map_while(Refusal::from_number);
    for (seq, refusal) in (1..).zip(refusals) {
        let mut pair = Pair::running();
        pair.client_sends([1]);
        pair.broker_confirms(1, &[(1, refusal)]);
        let Some((Frame::Confirm(confirm), _)) = pair.poll() else {
            panic!("no confirm of {refusal}");
        };
        let code = confirm.failed[0].1;
        assert!(
            code.close_code().is_none() || code == Code::Denied,
            "{code}"
        );
        // The codes for many, and for what no frame of MBWS asks for, are others'.
        if !matches!(refusal, Refusal::TooMany | Refusal::NoSuchSubscription) {
            assert_eq!(code.as_str(), refusal.as_str(), "refusal {seq}");
        }
    }
}

fn delivery(text: bool) -> Event {
    Event::Delivery(Box::new(Delivery {
        consumer: Arc::from("c"),
        offset: 17,
        attempt: 2,
        barred: false,
        message: Arc::new(
            Message {
                address: "a".to_owned(),
                message_id: "m".to_owned(),
                correlation_id: None,
                reply_to: None,
                content_type: Some("t/x".to_owned()),
                key: None,
                priority: 4,
                properties: BTreeMap::new(),
                time: UnixMillis::new(999_000),
                expires: Some(WALL.saturating_add(250)),
                body: Bytes::from_static(b"hi"),
                text,
                ..Message::default()
            }
            .into(),
        ),
    }))
}

#[test]
fn a_delivery_says_what_it_has_left_to_live() {
    let mut pair = Pair::running();
    pair.broker(delivery(true));
    pair.expect(
        "deliver\nconsumer:c\naddress:a\noffset:17\nattempt:2\nmessage-id:m\ntimestamp:999000\nttl:250\n\
         content-type:t/x\npriority:4\n\nhi",
    );
}

#[test]
fn a_delivery_comes_in_what_the_client_accepts_and_keeps_its_being_text() {
    for (accept, text, expected) in [
        ("text", true, Binding::Text),
        ("text", false, Binding::Text),
        ("binary", true, Binding::Binary),
        ("binary", false, Binding::Binary),
        ("both", true, Binding::Text),
        ("both", false, Binding::Binary),
    ] {
        let mut pair = Pair::connected().start(&format!("accept:{accept}\n"));
        pair.broker(delivery(text));
        let (_, binding) = pair.poll().unwrap();
        assert_eq!(binding, expected, "accept {accept}, text {text}");
    }
}

#[test]
fn other_frames_come_in_the_binding_that_was_heard_last_if_the_client_accepts_both() {
    for (accept, heard, expected) in [
        ("both", Binding::Text, Binding::Text),
        ("both", Binding::Binary, Binding::Binary),
        ("text", Binding::Binary, Binding::Text),
        ("binary", Binding::Text, Binding::Binary),
    ] {
        let mut pair = Pair::connected().start(&format!("accept:{accept}\n"));
        pair.client_in(heard, &super::pair::send(1));
        pair.expect_call(1);
        pair.broker_confirms(1, &[]);
        let (_, binding) = pair.poll().unwrap();
        assert_eq!(binding, expected, "accept {accept}, heard {heard:?}");
    }
}

#[test]
fn a_consumer_that_the_broker_ends_is_cancelled() {
    let mut pair = Pair::running();
    pair.broker(Event::Cancelled {
        consumer: Arc::from("c"),
        why: Refusal::Denied,
    });
    pair.expect("cancel\nconsumer:c\ncode:denied\nreason:not allowed\n\n");
    pair.expect_silence();
}

#[test]
fn confirms_come_before_deliveries_and_deliveries_in_order() {
    let mut pair = Pair::running();
    pair.client_sends([1]);
    pair.broker(delivery(true));
    pair.broker_confirms(1, &[]);
    pair.broker(delivery(false));
    pair.expect("confirm\nupto:1\n\n");
    let bodies = [pair.poll(), pair.poll()].map(|polled| match polled {
        Some((Frame::Deliver(deliver), _)) => deliver.body.text,
        other => panic!("not a delivery: {other:?}"),
    });
    assert_eq!(bodies, [true, false]);
}
