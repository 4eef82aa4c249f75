//! Clients that come and go at the wrong moment, against a whole broker.

mod doors;
mod durable;
mod explain;
mod history;
mod making;
mod mqtt;
mod news;
mod registrar;
mod rights;
mod routes;
mod sp;
mod state;
mod wamp;

use std::time::Duration;

use restante_proto::mbws::Ranges;
use restante_storage::{LogOptions, RealDisk};

use super::*;
use crate::access;
use crate::config::Config;
use crate::message::NewMessage;
use crate::refusal::Refusal;

pub(super) struct House {
    pub(super) started: Started,
    pub(super) folder: tempfile::TempDir,
    /// Whether the state store is thrown away before the next start.
    forget: bool,
}

impl House {
    fn without_state(mut self) -> House {
        self.forget = true;
        self
    }

    /// Stopped and started again. Nobody else may have the broker.
    fn restarted(self) -> House {
        self.started.stop().unwrap();
        if self.forget {
            std::fs::remove_dir_all(self.folder.path().join("state.sled")).unwrap();
        }
        usual_house(self.folder)
    }
}

pub(super) fn house() -> House {
    usual_house(tempfile::tempdir().unwrap())
}

fn usual_house(folder: tempfile::TempDir) -> House {
    let options = LogOptions {
        segment_bytes: 1 << 20,
        ..LogOptions::default()
    };
    house_in(folder, options, |settings| {
        settings.checkpoint_bytes = 1 << 20
    })
}

/// A broker on a folder, with other options and settings than usual.
pub(super) fn house_in(
    folder: tempfile::TempDir,
    options: LogOptions,
    change: impl FnOnce(&mut Settings),
) -> House {
    let mut settings = Settings::new(&Config::default());
    change(&mut settings);
    let disk = Arc::new(RealDisk);
    let started = Broker::start(folder.path(), disk, options, settings).unwrap();
    House {
        started,
        folder,
        forget: false,
    }
}

pub(super) fn wish(id: Option<Uuid>, expiry: u64) -> Attach {
    Attach {
        principal: access::testing::permanent("admin", &[access::ADMIN]),
        realm: DEFAULT_REALM.into(),
        protocol: Protocol::Mbws,
        peer: ([127, 0, 0, 1], 1).into(),
        tls: false,
        session: SessionWish {
            id,
            expiry: Duration::from_secs(expiry),
            fresh: false,
        },
        name: None,
        client: None,
        will: None,
        wamp: None,
        sp: None,
        asked: std::time::Instant::now(),
    }
}

pub(super) fn send(address: &str, bytes: usize) -> Call {
    Call::Publish(Box::new(NewMessage {
        address: address.to_owned(),
        body: vec![0; bytes].into(),
        ..NewMessage::default()
    }))
}

pub(super) fn consume(address: &str, exclusive: bool, limit: u64) -> Call {
    Call::Consume(Consume {
        consumer: "c".to_owned(),
        address: address.to_owned(),
        source: Source::Queue,
        limit,
        auto_settle: false,
        exclusive,
        retained: false,
        shard: None,
    })
}

/// Drains until `tag` is confirmed; gives refusals and deliveries.
pub(super) async fn until(it: &mut Attachment, tag: u64) -> (Vec<(u64, Refusal)>, Vec<Delivery>) {
    let (mut refused, mut deliveries, mut confirmed) = (Vec::new(), Vec::new(), 0);
    loop {
        for event in it.drain(1024) {
            match event {
                Event::Delivery(delivery) => deliveries.push(*delivery),
                Event::Confirmed { upto, failed } => {
                    refused.extend(failed);
                    confirmed = upto;
                }
                Event::Cancelled { .. }
                | Event::Unsubscribed { .. }
                | Event::Wamp(_)
                | Event::Ended(_) => {}
            }
        }
        if confirmed >= tag {
            return (refused, deliveries);
        }
        let ready = tokio::time::timeout(Duration::from_secs(10), it.ready());
        ready.await.expect("it is confirmed");
    }
}

/// Drains until there are `n` deliveries.
pub(super) async fn deliveries(it: &mut Attachment, n: usize, found: &mut Vec<Delivery>) {
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

#[tokio::test]
async fn nothing_is_allowed_that_no_rule_allows() {
    use restante_admin_api::document::Effect;
    let rule = |effect, verbs: &[Verb], filter| {
        access::testing::rule(effect, "shop", verbs, DEFAULT_REALM, filter)
    };
    let documents = access::testing::House::new()
        .rule("a", rule(Effect::Allow, &[Verb::Send], "orders/#"))
        .rule(
            "b",
            rule(Effect::Allow, &[Verb::Send, Verb::Consume], "orders/eu"),
        )
        .rule("c", rule(Effect::Deny, &[Verb::Send], "orders/secret"));
    let house = house();
    let documents = documents.registry.documents.values();
    let documents = documents.map(|it| (it.id.clone(), Some(it.document.clone())));
    registrar::set_all(&house.started.broker, documents.collect()).await;
    let ada = Attach {
        principal: access::testing::permanent("ada", &["shop"]),
        ..wish(None, 0)
    };
    let (mut it, _) = house.started.broker.attach(ada).await.unwrap();
    let topic = Call::Consume(Consume {
        source: Source::Topic,
        ..match consume("orders/#", false, 1) {
            Call::Consume(consume) => consume,
            other => panic!("{other:?}"),
        }
    });
    let tries = [
        (send("orders/eu", 1), None),
        (send("orders/us", 1), None),
        (send("orders/secret", 1), Some(Refusal::Denied)),
        (send("other", 1), Some(Refusal::Denied)),
        (send("$broker/x", 1), Some(Refusal::Denied)),
        (consume("orders/us", false, 1), Some(Refusal::Denied)),
        (topic, Some(Refusal::Denied)),
        (consume("orders/eu", false, 0), None),
    ];
    for (tag, (call, wanted)) in (1..).zip(tries) {
        let shown = format!("{call:?}");
        it.call(tag, call);
        it.flush();
        let (refused, _) = until(&mut it, tag).await;
        let found = refused.into_iter().find(|(of, _)| *of == tag);
        assert_eq!(found.map(|(_, why)| why), wanted, "{shown}");
    }
}
