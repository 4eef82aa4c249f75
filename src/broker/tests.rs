//! Clients that come and go at the wrong moment, against a whole broker.

use std::time::Duration;

use restante_proto::mbws::Ranges;
use restante_storage::{LogOptions, RealDisk};

use super::*;
use crate::config::Config;
use crate::message::NewMessage;
use crate::refusal::Refusal;

struct House {
    started: Started,
    _folder: tempfile::TempDir,
}

fn house() -> House {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions {
        segment_bytes: 1 << 20,
        ..LogOptions::default()
    };
    let settings = Settings::new(&Config::default());
    let rules = Rules::new(Vec::new());
    let disk = Arc::new(RealDisk);
    let started = Broker::start(folder.path(), disk, options, settings, rules).unwrap();
    House {
        started,
        _folder: folder,
    }
}

fn wish(id: Option<Uuid>, expiry: u64) -> Attach {
    Attach {
        principal: Principal {
            name: "admin".into(),
            roles: vec![crate::access::ADMIN.to_owned()].into(),
        },
        realm: DEFAULT_REALM.into(),
        protocol: Protocol::Mbws,
        peer: ([127, 0, 0, 1], 1).into(),
        session: SessionWish {
            id,
            expiry: Duration::from_secs(expiry),
        },
        name: None,
    }
}

fn send(address: &str, bytes: usize) -> Call {
    Call::Publish(Box::new(NewMessage {
        address: address.to_owned(),
        body: vec![0; bytes].into(),
        ..NewMessage::default()
    }))
}

fn consume(address: &str, exclusive: bool, limit: u64) -> Call {
    Call::Consume(Consume {
        consumer: "c".to_owned(),
        address: address.to_owned(),
        source: Source::Queue,
        limit,
        auto_settle: false,
        exclusive,
    })
}

/// Drains until `tag` is confirmed; gives refusals and deliveries.
async fn until(it: &mut Attachment, tag: u64) -> (Vec<(u64, Refusal)>, Vec<Delivery>) {
    let (mut refused, mut deliveries) = (Vec::new(), Vec::new());
    loop {
        for event in it.drain(1024) {
            match event {
                Event::Delivery(delivery) => deliveries.push(*delivery),
                Event::Confirmed { upto, failed } => {
                    refused.extend(failed);
                    if upto >= tag {
                        return (refused, deliveries);
                    }
                }
                Event::Cancelled { .. } | Event::Ended(_) => {}
            }
        }
        let ready = tokio::time::timeout(Duration::from_secs(10), it.ready());
        ready.await.expect("it is confirmed");
    }
}

/// Drains until there are `n` deliveries.
async fn deliveries(it: &mut Attachment, n: usize, found: &mut Vec<Delivery>) {
    while found.len() < n {
        let ready = tokio::time::timeout(Duration::from_secs(10), it.ready());
        ready.await.expect("all that there is credit for comes");
        found.extend(it.drain(1024).into_iter().filter_map(|event| match event {
            Event::Delivery(delivery) => Some(*delivery),
            _ => None,
        }));
    }
}

#[tokio::test]
async fn what_one_drain_leaves_comes_without_further_news() {
    let house = house();
    let (mut it, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    for tag in 1..=20 {
        it.call(tag, send("a", 2048));
    }
    it.flush();
    until(&mut it, 20).await;
    it.call(21, consume("a", false, 20));
    let (_, mut found) = until(&mut it, 21).await;
    deliveries(&mut it, 20, &mut found).await;
}

#[tokio::test]
async fn what_was_on_its_way_to_a_cancelled_consumer_is_not_its_successors() {
    let house = house();
    let (mut it, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    for n in 0..20 {
        it.call(2 * n + 1, send("a", 2048));
        it.call(2 * n + 2, send("b", 10));
        it.flush();
        until(&mut it, 2 * n + 2).await;
    }
    it.call(41, consume("a", false, 20));
    it.flush();
    until(&mut it, 41).await;
    // Once its deliveries are in the outbox: they are drained one by one.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while it.outbox.put(|waiting| waiting.parcels.len()) < 19 {
        assert!(std::time::Instant::now() < deadline, "they never come");
        tokio::task::yield_now().await;
    }
    let cancel = Call::Cancel {
        consumer: "c".to_owned(),
    };
    it.call(42, cancel);
    it.call(43, consume("b", false, 20));
    it.flush();
    // The new consumer is made before the old one's deliveries are drained.
    while it.outbox.put(|waiting| waiting.answers.is_empty()) {
        assert!(std::time::Instant::now() < deadline, "it is never made");
        tokio::task::yield_now().await;
    }
    let (_, mut found) = until(&mut it, 43).await;
    deliveries(&mut it, 20, &mut found).await;
    assert!(found.iter().all(|it| it.message.address == "b"));
    let offsets: Ranges = found.iter().map(|it| it.offset).collect();
    assert_eq!(offsets.count(), 20);
}

#[tokio::test]
async fn a_client_that_leaves_before_its_answer_leaves_no_consumer_behind() {
    for expiry in [0, 60] {
        let house = house();
        let broker = &house.started.broker;
        let (mut it, _) = broker.attach(wish(None, expiry)).await.unwrap();
        it.call(1, send("a", 10));
        it.flush();
        until(&mut it, 1).await;
        it.call(2, consume("a", true, 10));
        drop(it);
        let (mut other, _) = broker.attach(wish(None, 0)).await.unwrap();
        other.call(1, consume("a", true, 10));
        let (refused, _) = until(&mut other, 1).await;
        assert_eq!(refused, [], "expiry {expiry}");
    }
}

#[tokio::test]
async fn a_session_whose_client_left_while_it_was_attached_expires() {
    let house = house();
    let broker = &house.started.broker;
    for millis in [0, 1, 2, 5, 10] {
        let id = Uuid::now_v7();
        let attach = Box::pin(broker.attach(wish(Some(id), 1)));
        // The record is submitted; nobody waits for what becomes of it.
        let attached = tokio::time::timeout(Duration::from_millis(millis), attach).await;
        drop(attached);
        // Once what was submitted before is applied, the session is there, or was never asked for.
        let (mut fence, _) = broker.attach(wish(None, 0)).await.unwrap();
        fence.call(1, send("a", 1));
        fence.flush();
        until(&mut fence, 1).await;
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while broker.find(id).await.unwrap().is_some() {
            assert!(std::time::Instant::now() < deadline, "it never ends");
            tokio::task::yield_now().await;
        }
    }
}
