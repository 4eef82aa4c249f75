//! What a session makes of scripts.

use std::num::NonZeroU32;

use super::*;
use crate::broker::{Delivery, Source};
use crate::message::Message;
use crate::message::NewMessage;

fn settings() -> Settings {
    Settings {
        credit: 4,
        requests: 1,
        hops_max: 8,
        window: 8,
        window_bytes: 1 << 20,
        reply_within: Duration::from_secs(60),
        retry_after: Duration::from_millis(100),
        publish_rate: None,
    }
}

struct Rig {
    it: Session,
    now: Instant,
    /// The last tag that was called.
    last: u64,
}

impl Rig {
    fn with(settings: Settings, role: Role, query: &str) -> Rig {
        let client = Client {
            role,
            address: "a".into(),
            options: Options::parse(query.as_bytes(), role).unwrap(),
        };
        let now = Instant::now();
        Rig {
            it: Session::new(Arc::new(settings), client, 7, now),
            now,
            last: 0,
        }
    }

    /// One whose consumers have begun.
    fn new(role: Role, query: &str) -> Rig {
        let mut rig = Rig::with(settings(), role, query);
        rig.calls();
        rig.confirm(&[]);
        rig
    }

    fn hear(&mut self, message: &[u8]) {
        self.it
            .handle_message(self.now, Bytes::copy_from_slice(message));
    }

    /// What it called, its credit aside.
    fn calls(&mut self) -> Vec<Call> {
        let mut calls = Vec::new();
        while let Some(wish) = self.it.poll_wish() {
            if let Wish::Call { tag, call } = wish {
                assert_eq!(tag, self.last + 1, "tags ascend by one");
                self.last = tag;
                calls.push(call);
            }
        }
        calls
    }

    fn published(&mut self) -> Vec<NewMessage> {
        let publish = |call| match call {
            Call::Publish(message) => *message,
            other => panic!("{other:?}"),
        };
        self.calls().into_iter().map(publish).collect()
    }

    fn bodies(&mut self) -> Vec<String> {
        let text = |it: NewMessage| String::from_utf8(it.body.to_vec()).unwrap();
        self.published().into_iter().map(text).collect()
    }

    /// All that was called is confirmed, but for these.
    fn confirm(&mut self, failed: &[(u64, Refusal)]) {
        let event = Event::Confirmed {
            upto: self.last,
            failed: failed.to_vec(),
        };
        self.it.handle_event(self.now, event);
    }

    fn deliver(&mut self, offset: u64, message: Message) {
        let delivery = Delivery {
            consumer: CONSUMER.into(),
            offset,
            attempt: 1,
            barred: false,
            message: Arc::new(message.into()),
        };
        self.it
            .handle_event(self.now, Event::Delivery(Box::new(delivery)));
    }

    /// What goes out, header and body as one.
    fn out(&mut self) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        while let Some(next) = self.it.poll_message() {
            out.push([&next.header[..], &next.body[..]].concat());
        }
        out
    }
}

fn body(text: &str) -> Message {
    Message {
        address: "a".to_owned(),
        body: text.to_owned().into(),
        ..Message::default()
    }
}

fn asks(text: &str) -> Message {
    Message {
        reply_to: Some("~x/replies".to_owned()),
        correlation_id: Some(format!("for {text}")),
        ..body(text)
    }
}

#[test]
fn each_role_begins_with_what_it_gets() {
    let begins = |role, query| {
        let mut rig = Rig::with(settings(), role, query);
        match rig.calls().as_slice() {
            [] => None,
            [Call::Consume(it)] => Some((it.address.clone(), it.source.clone(), it.limit)),
            other => panic!("{other:?}"),
        }
    };
    let is = |address: &str, source, limit| Some((address.to_owned(), source, limit));
    let topic = u64::MAX;
    assert_eq!(begins(Role::Push, ""), None);
    assert_eq!(begins(Role::Pub, ""), None);
    assert_eq!(begins(Role::Pull, ""), is("a", Source::Queue, 4));
    assert_eq!(begins(Role::Pull, "credit=9"), is("a", Source::Queue, 9));
    let pongs = "credit=1&settle=pong";
    assert_eq!(begins(Role::Pull, pongs), is("a", Source::Queue, 2));
    assert_eq!(begins(Role::Sub, ""), is("a", Source::Topic, topic));
    let durable = Source::Durable {
        filter: "a".to_owned(),
    };
    assert_eq!(begins(Role::Sub, "durable=x"), is("a!x", durable, 4));
    assert_eq!(begins(Role::Bus, ""), is("a", Source::Topic, topic));
    assert_eq!(begins(Role::Respondent, ""), is("a", Source::Topic, topic));
    assert_eq!(begins(Role::Rep, ""), is("a", Source::Requests, 1));
    assert_eq!(begins(Role::Rep, "credit=3"), is("a", Source::Requests, 3));
    let replies = is("~replies", Source::Queue, REPLIES_CREDIT);
    assert_eq!(begins(Role::Req, ""), replies);
    assert_eq!(begins(Role::Surveyor, ""), replies);
    let pair = |version| is("a", Source::Pair { version }, 4);
    assert_eq!(begins(Role::Pair, ""), pair(0));
    assert_eq!(begins(Role::Pair1, ""), pair(1));
    assert_eq!(begins(Role::Pair, "side=b"), is("a!b", Source::Queue, 4));
}

#[test]
fn what_is_full_is_tried_again_in_order() {
    let mut rig = Rig::new(Role::Push, "");
    for text in ["1", "2", "3"] {
        rig.hear(text.as_bytes());
    }
    assert_eq!(rig.bodies(), ["1", "2", "3"]);
    rig.confirm(&[(2, Refusal::Full), (3, Refusal::NoRoute)]);
    assert!(!rig.it.wants_messages(), "nothing overtakes them");
    rig.it.handle_timeout(rig.now);
    assert!(rig.bodies().is_empty(), "not yet");
    rig.now = rig.it.poll_timeout().unwrap();
    rig.it.handle_timeout(rig.now);
    assert_eq!(rig.bodies(), ["2", "3"]);
    rig.confirm(&[(4, Refusal::Full), (5, Refusal::Full)]);
    rig.now = rig.it.poll_timeout().unwrap();
    rig.it.handle_timeout(rig.now);
    assert_eq!(rig.bodies(), ["2", "3"]);
    rig.confirm(&[]);
    assert!(rig.it.wants_messages() && rig.it.poll_timeout().is_none());
}

#[test]
fn a_few_are_tried_again_at_once_and_the_next_when_they_are_taken() {
    let many = Settings {
        window: 100,
        ..settings()
    };
    let mut rig = Rig::with(many, Role::Push, "");
    let all: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    for text in &all {
        rig.hear(text.as_bytes());
    }
    assert_eq!(rig.bodies(), all);
    let failed: Vec<_> = (1..=40).map(|tag| (tag, Refusal::Full)).collect();
    rig.confirm(&failed);
    // The last ones of a batch are refused again: they come before what was not tried.
    let mut taken = Vec::new();
    for n_refused in [16, 15, 3, 0, 0] {
        rig.now = rig.it.poll_timeout().unwrap();
        rig.it.handle_timeout(rig.now);
        let tried = rig.bodies();
        let (first, refused) = (rig.last - tried.len() as u64 + 1, tried.len() - n_refused);
        let failed = (first + refused as u64..=rig.last).map(|tag| (tag, Refusal::Full));
        let failed: Vec<_> = failed.collect();
        taken.extend(tried.into_iter().take(refused));
        rig.confirm(&failed);
    }
    assert_eq!(taken, all);
    assert!(rig.it.is_done_sending() && rig.it.poll_timeout().is_none());
}

#[test]
fn what_was_pushed_is_kept_when_its_client_goes() {
    for (role, query, is_kept) in [
        (Role::Push, "", true),
        (Role::Req, "", false),
        (Role::Req, "durable=1", true),
        (Role::Pair, "", false),
        (Role::Pair, "side=a", true),
    ] {
        let mut rig = Rig::new(role, query);
        rig.hear(&[0x80, 0, 0, 1]);
        assert_eq!(rig.published().len(), 1);
        rig.confirm(&[(rig.last, Refusal::Full)]);
        rig.it.handle_gone();
        assert_eq!(rig.it.is_done_sending(), !is_kept, "{role} {query}");
        if !is_kept {
            continue;
        }
        let cancels = rig.calls();
        assert_eq!(cancels.len(), usize::from(role == Role::Pair), "{role}");
        rig.confirm(&[]);
        rig.now = rig.it.poll_timeout().unwrap();
        rig.it.handle_timeout(rig.now);
        assert_eq!(rig.published().len(), 1);
        rig.confirm(&[]);
        assert!(rig.it.is_done_sending());
    }
}

#[test]
fn past_its_window_or_its_rate_a_client_waits() {
    let mut rig = Rig::new(Role::Push, "");
    for _ in 0..8 {
        assert!(rig.it.wants_messages());
        rig.hear(b"x");
    }
    assert!(!rig.it.wants_messages());
    rig.calls();
    rig.confirm(&[]);
    assert!(rig.it.wants_messages());
    let slow = Settings {
        publish_rate: NonZeroU32::new(1),
        ..settings()
    };
    let mut rig = Rig::with(slow, Role::Push, "");
    rig.hear(b"1");
    rig.hear(b"2");
    assert_eq!(rig.bodies(), ["1"]);
    rig.confirm(&[]);
    assert!(!rig.it.wants_messages());
    rig.now += Duration::from_secs(1);
    rig.it.handle_timeout(rig.now);
    assert_eq!(rig.bodies(), ["2"]);
}

#[test]
fn a_delivery_is_settled_once_the_client_has_it() {
    let mut rig = Rig::new(Role::Pull, "");
    for (offset, text) in [(10, "x"), (11, "y"), (12, "z")] {
        rig.deliver(offset, body(text));
    }
    assert_eq!(rig.out(), [b"x", b"y", b"z"]);
    assert!(rig.calls().is_empty());
    rig.it.handle_delivered(2);
    let [Call::Settle(settle)] = &rig.calls()[..] else {
        panic!("it settles")
    };
    assert_eq!(settle.accepted.iter().collect::<Vec<_>>(), [(10, 11)]);
    // Also after the end: what the client has is not sent to another.
    rig.it.handle_event(rig.now, Event::Ended(End::Kicked));
    rig.it.handle_delivered(1);
    let [Call::Settle(settle)] = &rig.calls()[..] else {
        panic!("it settles")
    };
    assert_eq!(settle.accepted.iter().collect::<Vec<_>>(), [(12, 12)]);
    rig.it.handle_delivered(1);
    assert!(rig.calls().is_empty());
}

#[test]
fn a_durable_subscription_passes_over_what_is_not_wanted() {
    let mut rig = Rig::new(Role::Sub, "durable=n&prefix=b");
    rig.deliver(1, body("a"));
    rig.deliver(2, body("b"));
    assert_eq!(rig.out(), [b"b"]);
    let [Call::Settle(settle)] = &rig.calls()[..] else {
        panic!("it settles")
    };
    assert_eq!(settle.accepted.iter().collect::<Vec<_>>(), [(1, 1)]);
    let mut rig = Rig::new(Role::Sub, "");
    rig.deliver(0, body("a"));
    assert_eq!(rig.out(), [b"a"]);
    rig.it.handle_delivered(1);
    assert!(rig.calls().is_empty(), "nothing is kept for it");
}

#[test]
fn a_request_is_asked_once_and_answered_once() {
    let mut rig = Rig::new(Role::Req, "");
    let request = b"\0\0\x01\x01\x81\x23\x45\x67Q";
    rig.hear(request);
    rig.hear(request);
    let published = rig.published();
    let [asked] = &published[..] else {
        panic!("{published:?}")
    };
    assert_eq!(asked.body, "Q");
    assert_eq!(asked.reply_to.as_deref(), Some("~replies"));
    assert_eq!(asked.sp, Some(SpSend::Asked));
    let answer = Message {
        correlation_id: asked.correlation_id.clone(),
        ..body("A")
    };
    rig.deliver(1, answer.clone());
    rig.deliver(2, answer);
    assert_eq!(rig.out(), [b"\0\0\x01\x01\x81\x23\x45\x67A"]);
    assert_eq!(rig.it.take_dropped().as_slice(), [Dropped::NotAsked]);
    // Once it is answered, or was not for long, the same may be asked again.
    rig.hear(request);
    assert_eq!(rig.bodies(), ["Q"]);
    // Each time it has to wait twice as long: what nobody answers waits as often as it was asked.
    let mut taken_after = Vec::new();
    for minutes in 1..=40 {
        rig.now += Duration::from_secs(60);
        rig.hear(request);
        taken_after.extend(rig.bodies().iter().map(|_| minutes));
    }
    assert_eq!(taken_after, [1, 3, 7, 15, 31]);
}

#[test]
fn a_survey_is_forgotten_after_a_while() {
    let mut rig = Rig::new(Role::Respondent, "");
    rig.deliver(1, asks("q"));
    let heard = rig.out().remove(0);
    rig.now = rig.it.poll_timeout().unwrap();
    rig.it.handle_timeout(rig.now);
    assert!(rig.it.poll_timeout().is_none());
    rig.hear(&heard[..4]);
    assert!(rig.published().is_empty());
    assert_eq!(rig.it.take_dropped()[..], [Dropped::NotAsked]);
}

#[test]
fn an_answer_that_names_no_request_is_dropped() {
    let mut rig = Rig::new(Role::Req, "");
    rig.hear(b"\x80\0\0\x01Q");
    for id in [
        "",
        "x",
        "80000001x",
        "0000000180000001",
        "00000001",
        "80000001 ",
    ] {
        let answer = Message {
            correlation_id: Some(id.to_owned()),
            ..body("A")
        };
        rig.deliver(1, answer);
        assert_eq!(rig.out(), [b""; 0], "{id}");
    }
    rig.deliver(2, body("A"));
    assert_eq!(rig.it.take_dropped().as_slice(), [Dropped::NotAsked; 7]);
}

#[test]
fn a_worker_s_answer_goes_to_who_asked_and_settles_the_request() {
    let mut rig = Rig::new(Role::Rep, "");
    rig.deliver(5, asks("Q"));
    let out = rig.out();
    assert_eq!(out, [b"\x80\0\0\x07Q"]);
    rig.hear(b"\x80\0\0\x08A");
    rig.hear(b"\0\0\0\x01\x80\0\0\x07A");
    rig.hear(b"A");
    let dropped = [Dropped::NotAsked, Dropped::NotAsked, Dropped::Malformed];
    assert_eq!(rig.it.take_dropped().as_slice(), dropped);
    rig.hear(b"\x80\0\0\x07A");
    let calls = rig.calls();
    let [Call::Publish(answer), Call::Settle(settle)] = &calls[..] else {
        panic!("{calls:?}")
    };
    assert_eq!(
        (&*answer.address, &answer.body[..]),
        ("~x/replies", &b"A"[..])
    );
    assert_eq!(answer.correlation_id.as_deref(), Some("for Q"));
    assert_eq!(settle.accepted.iter().collect::<Vec<_>>(), [(5, 5)]);
    rig.hear(b"\x80\0\0\x07A");
    assert!(rig.calls().is_empty(), "once");
}

#[test]
fn a_request_that_nobody_answers_goes_to_another() {
    let mut rig = Rig::new(Role::Rep, "");
    rig.deliver(5, asks("Q"));
    rig.out();
    rig.now = rig.it.poll_timeout().unwrap();
    rig.it.handle_timeout(rig.now);
    let calls = rig.calls();
    let [Call::Settle(settle)] = &calls[..] else {
        panic!("{calls:?}")
    };
    assert_eq!(settle.released.iter().collect::<Vec<_>>(), [(5, 5)]);
    rig.hear(b"\x80\0\0\x07A");
    assert!(rig.calls().is_empty(), "too late");
    assert!(rig.it.poll_timeout().is_none());
}

#[test]
fn all_who_hear_a_survey_may_respond() {
    let mut rig = Rig::new(Role::Surveyor, "");
    rig.hear(b"\x80\0\0\x01?");
    let published = rig.published();
    assert_eq!(published[0].sp, Some(SpSend::Told));
    for text in ["A", "B"] {
        let response = Message {
            correlation_id: published[0].correlation_id.clone(),
            ..body(text)
        };
        rig.deliver(1, response);
    }
    assert_eq!(rig.out(), [b"\x80\0\0\x01A", b"\x80\0\0\x01B"]);
    let mut rig = Rig::new(Role::Respondent, "");
    rig.deliver(1, body("no survey"));
    rig.deliver(2, asks("?"));
    assert_eq!(rig.out(), [b"\x80\0\0\x07?"]);
    rig.hear(b"\x80\0\0\x07!");
    let published = rig.published();
    assert_eq!(published[0].address, "~x/replies");
    assert_eq!(published.len(), 1, "there is nothing to settle");
}

#[test]
fn hops_are_counted() {
    let mut rig = Rig::new(Role::Pair1, "");
    rig.hear(b"\0\0\0\x03x");
    let sent = rig.published();
    assert_eq!(
        (&sent[0].body[..], sent[0].sp),
        (&b"x"[..], Some(SpSend::ToPeer))
    );
    let of = |hops: &str| Message {
        properties: [(HOPS.to_owned(), hops.to_owned())].into(),
        ..body("y")
    };
    rig.deliver(1, of("3"));
    rig.deliver(2, of("8"));
    rig.deliver(3, body("from elsewhere"));
    let out = rig.out();
    assert_eq!(out, [&b"\0\0\0\x04y"[..], b"\0\0\0\x01from elsewhere"]);
    rig.hear(b"\0\0\0\x09x");
    assert!(rig.it.closing().is_none());
    let dropped = [Dropped::TooDeep, Dropped::TooDeep];
    assert_eq!(rig.it.take_dropped().as_slice(), dropped);
    rig.hear(b"\0\0\x01\0x");
    assert!(matches!(
        rig.it.closing(),
        Some(Closing::Close {
            code: CloseCode::Protocol,
            ..
        })
    ));
}

#[test]
fn nothing_is_said_to_who_gets_nothing() {
    for role in [Role::Push, Role::Pub] {
        let mut rig = Rig::new(role, "");
        rig.deliver(1, body("x"));
        assert!(rig.out().is_empty());
    }
    let mut rig = Rig::new(Role::Pull, "");
    rig.hear(b"x");
    assert!(rig.it.closing().is_none() && rig.calls().is_empty());
    let mut rig = Rig::new(Role::Sub, "");
    rig.hear(b"x");
    assert!(rig.it.closing().is_some());
    assert_eq!(rig.it.take_dropped().as_slice(), [Dropped::Unasked]);
}

#[test]
fn what_is_not_final_is_no_close() {
    let cut = |it: &Session| matches!(it.closing(), Some(Closing::Cut { .. }));
    for why in [Refusal::InUse, Refusal::TooMany, Refusal::NoRoute] {
        let mut rig = Rig::with(settings(), Role::Pair, "");
        rig.calls();
        rig.confirm(&[(1, why)]);
        assert!(cut(&rig.it), "{why:?}");
    }
    let mut rig = Rig::with(settings(), Role::Pair, "");
    rig.calls();
    rig.confirm(&[(1, Refusal::Denied)]);
    assert!(rig.it.closing().is_some() && !cut(&rig.it));
    for end in [End::Kicked, End::TooSlow, End::LogFailed, End::TakenOver] {
        let mut rig = Rig::new(Role::Pull, "");
        rig.it.handle_event(rig.now, Event::Ended(end));
        assert!(cut(&rig.it), "{end:?}");
    }
}

#[test]
fn what_is_under_way_at_a_shutdown_is_confirmed_first() {
    let mut rig = Rig::new(Role::Push, "");
    rig.hear(b"x");
    rig.calls();
    rig.it.handle_shutdown(rig.now + Duration::from_secs(5));
    rig.hear(b"y");
    assert!(rig.calls().is_empty() && rig.it.closing().is_none());
    assert!(!rig.it.wants_messages());
    rig.confirm(&[]);
    assert!(matches!(rig.it.closing(), Some(Closing::Cut { .. })));
    let mut rig = Rig::new(Role::Push, "");
    rig.hear(b"x");
    rig.calls();
    rig.it.handle_shutdown(rig.now);
    rig.it.handle_timeout(rig.now);
    assert!(rig.it.closing().is_some(), "not for ever");
}

#[test]
fn what_waits_does_not_keep_what_was_read_with_it() {
    let mut rig = Rig::new(Role::Push, "");
    let read = Bytes::from(b"one, and what came behind it".to_vec());
    rig.it.handle_message(rig.now, read.slice(..3));
    drop(rig.published());
    assert!(read.is_unique());
    rig.confirm(&[(rig.last, Refusal::Full)]);
    rig.now += settings().retry_after;
    rig.it.handle_timeout(rig.now);
    assert_eq!(rig.bodies(), ["one"]);
}

#[test]
fn what_a_client_was_being_sent_when_it_left_counts_as_failed() {
    for (query, failed) in [("", vec![(7, 7)]), ("settle=pong", vec![])] {
        let mut rig = Rig::new(Role::Pull, query);
        rig.deliver(7, body("one"));
        rig.deliver(8, body("two"));
        rig.out();
        rig.calls();
        assert_eq!(rig.it.handle_gone(), !failed.is_empty(), "{query}");
        let released = rig.calls().into_iter().find_map(|call| match call {
            Call::Settle(settle) => Some(settle.released.iter().collect::<Vec<_>>()),
            _ => None,
        });
        assert_eq!(released.unwrap_or_default(), failed, "{query}");
    }
    // A request in hand, when its worker dies, likewise.
    let mut rig = Rig::new(Role::Rep, "");
    rig.deliver(3, asks("q"));
    rig.out();
    rig.calls();
    assert!(rig.it.handle_gone());
    let calls = rig.calls();
    let released = calls
        .iter()
        .any(|call| matches!(call, Call::Settle(it) if it.released.iter().eq([(3, 3)])));
    assert!(released, "{calls:?}");
}
