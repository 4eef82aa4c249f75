//! What administrators do, against a whole broker.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use restante_admin_api::queue::{Fate, MessageState, Outcome, QueueSpec, Selection};
use restante_admin_api::{How, Precondition, QueuesWanted};
use restante_proto::mbws::Ranges;
use restante_storage::LogOptions;

use crate::broker::tests::{House, consume, deliveries, house, house_in, send, until, wish};
use crate::broker::{
    AdminError, Attachment, Broker, Call, DEFAULT_REALM, Delivery, End, Event, Settle,
};
use crate::message::NewMessage;

const HOW: How = How {
    dry_run: false,
    only: Precondition::None,
};
const DRY: How = How {
    dry_run: true,
    only: Precondition::None,
};
const ALL: u64 = u64::MAX;

fn only(only: Precondition) -> How {
    How { only, ..HOW }
}

fn with(change: impl FnOnce(&mut QueueSpec)) -> QueueSpec {
    let mut spec = QueueSpec::default();
    change(&mut spec);
    spec
}

fn select(change: impl FnOnce(&mut Selection)) -> Selection {
    let mut selection = Selection::default();
    change(&mut selection);
    selection
}

async fn put(broker: &Broker, name: &str, spec: QueueSpec) -> u64 {
    let change = broker.put_queue(DEFAULT_REALM, name, spec, HOW).await;
    change.unwrap().now.unwrap().revision
}

/// A client that has sent that many messages, with keys k0 to k2 in turn.
async fn sender(broker: &Broker, address: &str, n: u64) -> Attachment {
    let (mut it, _) = broker.attach(wish(None, 0)).await.unwrap();
    for tag in 1..=n {
        it.call(tag, message(address, tag));
    }
    it.flush();
    let (refused, _) = until(&mut it, n).await;
    assert_eq!(refused, []);
    it
}

fn message(address: &str, n: u64) -> Call {
    Call::Publish(Box::new(NewMessage {
        address: address.to_owned(),
        key: Some(format!("k{}", n % 3)),
        body: format!("body {n}").into_bytes().into(),
        text: true,
        properties: BTreeMap::from([("n".to_owned(), n.to_string())]),
        ..NewMessage::default()
    }))
}

fn queue(broker: &Broker, name: &str) -> restante_admin_api::queue::QueueInfo {
    broker.queue(DEFAULT_REALM, name).unwrap()
}

/// Waits until `holds`: gauges follow in the next round.
async fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::task::yield_now().await;
    }
}

/// A consumer of a queue and its first deliveries.
async fn consumer(
    broker: &Broker,
    name: &str,
    credit: u64,
    n: usize,
) -> (Attachment, Vec<Delivery>) {
    let (mut it, _) = broker.attach(wish(None, 0)).await.unwrap();
    it.call(1, consume(name, false, credit));
    let (refused, mut found) = until(&mut it, 1).await;
    assert_eq!(refused, []);
    deliveries(&mut it, n, &mut found).await;
    (it, found)
}

/// What is done with everything in a queue.
async fn with_all(
    broker: &Broker,
    name: &str,
    fate: &Fate,
    how: How,
    limit: u64,
) -> Result<Outcome, AdminError> {
    let all = Selection::default();
    broker
        .dispose(DEFAULT_REALM, name, &all, fate, how, limit)
        .await
}

async fn dispose(broker: &Broker, name: &str, selection: Selection, fate: Fate) -> Outcome {
    let all = broker.dispose(DEFAULT_REALM, name, &selection, &fate, HOW, ALL);
    all.await.unwrap()
}

fn to(address: &str) -> Fate {
    Fate::Move {
        address: address.to_owned(),
    }
}

async fn why(broker: &Broker, name: &str) -> (String, String) {
    let why = broker.why(DEFAULT_REALM, name).await.unwrap();
    (why.code, why.text)
}

async fn reopened(house: House) -> House {
    let House {
        started, folder, ..
    } = house;
    started.stop().unwrap();
    house_in(folder, LogOptions::default(), |_| {})
}

#[tokio::test]
async fn of_two_administrators_with_one_revision_one_is_told() {
    let house = house();
    let broker = &house.started.broker;
    let revision = put(broker, "q", QueueSpec::default()).await;
    let how = only(Precondition::Revision(revision));
    let change = |ttl: u64| {
        let spec = with(|spec| spec.ttl_ms = Some(ttl));
        let broker = broker.clone();
        tokio::spawn(async move { broker.put_queue(DEFAULT_REALM, "q", spec, how).await })
    };
    let all: Vec<_> = (1000..1020).map(change).collect();
    let mut winners = Vec::new();
    for it in all {
        match it.await.unwrap() {
            Ok(change) => winners.push(change.now.unwrap()),
            Err(error) => assert!(matches!(error, AdminError::Changed { .. }), "{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    let now = queue(broker, "q");
    assert_eq!(now.spec, winners[0].spec);
    assert!(now.revision > revision);
}

#[tokio::test]
async fn a_put_makes_changes_and_leaves_alone() {
    let house = house();
    let broker = &house.started.broker;
    let spec = with(|spec| {
        spec.max_messages = Some(2);
        spec.bindings = Some(vec!["a/+".into(), "q".into(), "a/+".into()]);
    });
    let dry = broker
        .put_queue(DEFAULT_REALM, "q", spec.clone(), DRY)
        .await;
    assert!(dry.unwrap().created());
    assert!(broker.queue(DEFAULT_REALM, "q").is_err());
    let first = put(broker, "q", spec.clone()).await;
    assert_eq!(put(broker, "q", spec.clone()).await, first, "nothing new");
    let absent = broker.put_queue(DEFAULT_REALM, "q", spec, only(Precondition::Absent));
    let changed = AdminError::Changed {
        revision: Some(first),
    };
    assert_eq!(absent.await, Err(changed));
    sender(broker, "a/b", 2).await;
    let (mut full, _) = broker.attach(wish(None, 0)).await.unwrap();
    full.call(1, send("a/b", 1));
    assert_eq!(
        until(&mut full, 1).await.0,
        [(1, crate::refusal::Refusal::Full)]
    );
    // A new limit holds at once, for what waits too; without bindings it takes what is sent to its name.
    let second = put(broker, "q", with(|spec| spec.ttl_ms = Some(1))).await;
    assert!(second > first);
    soon("what waits expires", || {
        queue(broker, "q").messages_ready == 0
    })
    .await;
    assert_eq!(queue(broker, "q").spec.bindings, Some(vec!["q".to_owned()]));
    let present = only(Precondition::Present);
    let missing = broker.put_queue(DEFAULT_REALM, "other", QueueSpec::default(), present);
    assert_eq!(missing.await, Err(AdminError::Changed { revision: None }));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let house = house_in(folder, LogOptions::default(), |it| it.queues_per_realm = 1);
    let broker = &house.started.broker;
    let refused = async |name: &str, change: fn(&mut QueueSpec)| {
        let put = broker
            .put_queue(DEFAULT_REALM, name, with(change), HOW)
            .await;
        match put.unwrap_err() {
            AdminError::Invalid { field, .. } => field,
            other => panic!("{other}"),
        }
    };
    let nothing: fn(&mut QueueSpec) = |_| {};
    for name in ["", "/a", "a/+", "~x", "$x", "a\u{1}"] {
        assert_eq!(refused(name, nothing).await, "name", "{name:?}");
    }
    assert_eq!(refused("q", |it| it.ttl_ms = Some(0)).await, "ttl_ms");
    assert_eq!(
        refused("q", |it| it.max_attempts = Some(0)).await,
        "max_attempts"
    );
    assert_eq!(
        refused("q", |it| it.dead_letter = Some("q".into())).await,
        "dead_letter"
    );
    assert_eq!(
        refused("q", |it| it.dead_letter = Some("d/#".into())).await,
        "dead_letter"
    );
    let history = |it: &mut QueueSpec| (it.history, it.max_attempts) = (true, Some(1));
    assert_eq!(refused("q", history).await, "max_attempts");
    let history = |it: &mut QueueSpec| (it.history, it.dead_letter) = (true, Some("d".into()));
    assert_eq!(refused("q", history).await, "dead_letter");
    assert_eq!(
        refused("q", |it| it.bindings = Some(vec!["a//b".into()])).await,
        "bindings"
    );
    assert_eq!(
        refused("q", |it| it.bindings = Some(vec!["~a/b".into()])).await,
        "bindings"
    );
    assert_eq!(broker.queues(&wanted("", None, 10)), []);
    put(broker, "q", QueueSpec::default()).await;
    let more = broker.put_queue(DEFAULT_REALM, "r", QueueSpec::default(), HOW);
    assert_eq!(more.await, Err(AdminError::TooManyQueues { limit: 1 }));
    let nowhere = broker.put_queue("nowhere", "q", QueueSpec::default(), HOW);
    assert_eq!(nowhere.await, Err(AdminError::NoRealm("nowhere".into())));
}

fn wanted(prefix: &str, after: Option<&str>, limit: usize) -> QueuesWanted {
    QueuesWanted {
        realm: Some(DEFAULT_REALM.to_owned()),
        prefix: prefix.to_owned(),
        after: after.map(|name| (DEFAULT_REALM.to_owned(), name.to_owned())),
        limit,
    }
}

#[tokio::test]
async fn queues_are_listed_in_pages_by_name() {
    let house = house();
    let broker = &house.started.broker;
    for name in ["b/2", "a", "b/1", "c", "b", "b/3", "B"] {
        put(broker, name, QueueSpec::default()).await;
    }
    let page = |wanted: &QueuesWanted| -> Vec<String> {
        broker
            .queues(wanted)
            .into_iter()
            .map(|it| it.name)
            .collect()
    };
    let all = ["B", "a", "b", "b/1", "b/2", "b/3", "c"];
    assert_eq!(
        page(&QueuesWanted {
            limit: 100,
            ..QueuesWanted::default()
        }),
        all
    );
    assert_eq!(page(&wanted("", Some("a"), 3)), ["b", "b/1", "b/2"]);
    assert_eq!(page(&wanted("b/", None, 2)), ["b/1", "b/2"]);
    assert_eq!(page(&wanted("b/", Some("b/2"), 2)), ["b/3"]);
    assert_eq!(page(&wanted("b/", Some("a"), 9)), ["b/1", "b/2", "b/3"]);
    assert_eq!(page(&wanted("b/", Some("c"), 9)), [""; 0]);
    let elsewhere = QueuesWanted {
        realm: Some("x".into()),
        limit: 9,
        ..QueuesWanted::default()
    };
    assert_eq!(page(&elsewhere), [""; 0]);
}

#[tokio::test]
async fn a_pause_holds_over_a_restart_until_it_is_lifted() {
    let mut house = house();
    sender(&house.started.broker, "q", 2).await;
    let broker = &house.started.broker;
    let pause = broker.pause_queue(DEFAULT_REALM, "q", "eve", "repairs", HOW);
    let revision = pause.await.unwrap().now.unwrap().revision;
    let again = broker
        .pause_queue(DEFAULT_REALM, "q", "mallory", "", HOW)
        .await
        .unwrap();
    assert!(!again.changed);
    house = reopened(house).await;
    let broker = &house.started.broker;
    let info = queue(broker, "q");
    let paused = info.paused.unwrap();
    assert_eq!(
        (paused.by.as_str(), paused.reason.as_str()),
        ("eve", "repairs")
    );
    assert_eq!((info.revision, info.messages_ready), (revision, 2));
    let (mut it, found) = consumer(broker, "q", 10, 0).await;
    assert_eq!(why(broker, "q").await.0, "paused");
    assert!(found.is_empty());
    broker.resume_queue(DEFAULT_REALM, "q", HOW).await.unwrap();
    let mut found = Vec::new();
    deliveries(&mut it, 2, &mut found).await;
}

#[tokio::test]
async fn filters_are_bound_and_unbound() {
    let house = house();
    let broker = &house.started.broker;
    put(broker, "q", QueueSpec::default()).await;
    let bound = broker
        .bind_queue(DEFAULT_REALM, "q", "x/#", HOW)
        .await
        .unwrap();
    assert!(bound.changed);
    sender(broker, "x/y", 1).await;
    assert_eq!(queue(broker, "q").messages_ready, 1);
    broker
        .unbind_queue(DEFAULT_REALM, "q", "x/#", HOW)
        .await
        .unwrap();
    let filters: Vec<String> = broker
        .bindings(None, Some("q"))
        .into_iter()
        .map(|it| it.filter)
        .collect();
    assert_eq!(filters, ["q"]);
    assert_eq!(broker.addresses(DEFAULT_REALM).len(), 1);
    let bad = broker.bind_queue(DEFAULT_REALM, "q", "x//y", HOW).await;
    assert!(matches!(bad, Err(AdminError::Invalid { .. })));
}

#[tokio::test]
async fn a_removed_queue_is_gone_and_its_consumers_hear_of_it() {
    let mut house = house();
    let broker = &house.started.broker;
    sender(broker, "q", 3).await;
    let (mut it, _) = consumer(broker, "q", 1, 1).await;
    broker.remove_queue(DEFAULT_REALM, "q", HOW).await.unwrap();
    assert!(broker.queue(DEFAULT_REALM, "q").is_err());
    let mut cancelled = false;
    while !cancelled {
        it.ready().await;
        let events = it.drain(1024);
        cancelled = events
            .iter()
            .any(|it| matches!(it, Event::Cancelled { .. }));
    }
    let missing = broker.remove_queue(DEFAULT_REALM, "q", HOW).await;
    assert!(matches!(missing, Err(AdminError::NoQueue { .. })));
    drop(it);
    house = reopened(house).await;
    let broker = &house.started.broker;
    assert!(broker.queue(DEFAULT_REALM, "q").is_err());
    sender(broker, "q", 1).await;
    assert_eq!(
        queue(broker, "q").next_offset,
        2,
        "another one of that name"
    );
}

#[tokio::test]
async fn browsing_shows_messages_and_changes_nothing() {
    let house = house();
    let broker = &house.started.broker;
    sender(broker, "q", 9).await;
    let browse = async |selection: Selection, limit| {
        let browsed = broker
            .browse(DEFAULT_REALM, "q", &selection, limit, 4)
            .await;
        let browsed = browsed.unwrap();
        let offsets: Vec<u64> = browsed.messages.iter().map(|it| it.offset).collect();
        (offsets, browsed.next, browsed.messages)
    };
    let (offsets, next, messages) = browse(Selection::default(), 2).await;
    assert_eq!((offsets, next), (vec![1, 2], Some(3)));
    assert_eq!(messages[0].body.as_deref(), Some("body"));
    assert!(messages[0].truncated);
    assert_eq!(messages[0].state, MessageState::Ready);
    let at = |selection| async {
        let (offsets, next, _) = browse(selection, 100).await;
        (offsets, next)
    };
    assert_eq!(
        at(select(|it| it.key = Some("k1".into()))).await,
        (vec![1, 4, 7], None)
    );
    assert_eq!(
        at(select(|it| it.offsets = Some(vec![8, 2, 50, 2]))).await,
        (vec![2, 8], None)
    );
    assert_eq!(
        at(select(|it| (it.from, it.upto) = (Some(3), Some(4)))).await,
        (vec![3, 4], None)
    );
    let property = |it: &mut Selection| drop(it.properties.insert("n".into(), "5".into()));
    assert_eq!(at(select(property)).await, (vec![5], None));
    let id = messages[1].message_id.clone();
    assert_eq!(
        at(select(|it| it.message_id = Some(id))).await,
        (vec![2], None)
    );
    assert_eq!(
        at(select(|it| it.address = Some("x/#".into()))).await,
        (vec![], None)
    );
    assert_eq!(
        at(select(|it| it.before = Some(messages[0].timestamp))).await,
        (vec![], None)
    );
    let (_, found) = consumer(broker, "q", 9, 9).await;
    assert!(found.iter().all(|it| it.attempt == 1));
}

#[tokio::test]
async fn a_purge_leaves_alone_what_a_consumer_has() {
    let house = house();
    let broker = &house.started.broker;
    sender(broker, "q", 10_000).await;
    let (mut it, found) = consumer(broker, "q", 3, 3).await;
    let dry = with_all(broker, "q", &Fate::Delete, DRY, ALL).await;
    let dry = dry.unwrap();
    assert_eq!((dry.matched, dry.done, dry.left), (10_000, 0, 3));
    let some = with_all(broker, "q", &Fate::Delete, HOW, 5000).await;
    let some = some.unwrap();
    assert_eq!(
        (some.matched, some.done, some.left, some.next),
        (5000, 4997, 3, Some(5001))
    );
    let rest = dispose(broker, "q", Selection::default(), Fate::Delete).await;
    assert_eq!((rest.done, rest.left, rest.next), (5000, 3, None));
    let mut accepted = Ranges::new();
    accepted.insert_range(1, 3);
    it.call(
        2,
        Call::Settle(Settle {
            consumer: "c".into(),
            accepted,
            ..Settle::default()
        }),
    );
    it.flush();
    assert_eq!(until(&mut it, 2).await.0, [], "of {}", found.len());
    assert_eq!(queue(broker, "q").bytes, 0);
}

#[tokio::test]
async fn what_is_selected_by_what_it_says_is_deleted() {
    let house = house();
    let broker = &house.started.broker;
    sender(broker, "q", 3000).await;
    let outcome = dispose(
        broker,
        "q",
        select(|it| it.key = Some("k1".into())),
        Fate::Delete,
    )
    .await;
    assert_eq!(
        (outcome.matched, outcome.done, outcome.left),
        (1000, 1000, 0)
    );
    let (_, found) = consumer(broker, "q", 3000, 2000).await;
    assert!(
        found
            .iter()
            .all(|it| it.message.key.as_deref() != Some("k1"))
    );
    assert!(found.is_sorted_by_key(|it| it.offset));
}

#[tokio::test]
async fn what_is_moved_is_in_one_place() {
    let mut house = house();
    let broker = &house.started.broker;
    sender(broker, "q", 2000).await;
    let (it, _) = consumer(broker, "q", 2, 2).await;
    let outcome = dispose(broker, "q", select(|it| it.upto = Some(1500)), to("other")).await;
    assert_eq!(
        (outcome.matched, outcome.done, outcome.left),
        (1500, 1498, 2)
    );
    drop(it);
    house = reopened(house).await;
    let broker = &house.started.broker;
    assert_eq!(queue(broker, "q").messages_ready, 502);
    let (_, found) = consumer(broker, "other", 5000, 1498).await;
    let numbers: Vec<u64> = found
        .iter()
        .map(|it| it.message.properties["n"].parse().unwrap())
        .collect();
    assert_eq!(numbers, (3..=1500).collect::<Vec<_>>());
    assert_eq!(found[0].message.properties["moved-from"], "q");
    assert_eq!(found[0].message.body.as_ref(), b"body 3");
}

#[tokio::test]
async fn a_move_of_nothing_makes_no_queue() {
    let house = house();
    let broker = &house.started.broker;
    let is_there = |name: &str| broker.queue(DEFAULT_REALM, name).is_ok();
    put(broker, "q", QueueSpec::default()).await;
    let moved = with_all(broker, "q", &to("fresh"), HOW, ALL).await;
    assert_eq!(moved.unwrap().done, 0);
    assert!(!is_there("fresh"));
    sender(broker, "q", 3).await;
    // What a consumer has in hand is not moved either.
    let (it, _) = consumer(broker, "q", 3, 3).await;
    let moved = with_all(broker, "q", &to("fresh"), HOW, ALL).await.unwrap();
    assert_eq!((moved.matched, moved.done, moved.left), (3, 0, 3));
    assert!(!is_there("fresh"));
    drop(it);
    for how in [DRY, HOW] {
        let moved = with_all(broker, "q", &to("bad//address"), how, ALL).await;
        assert!(
            matches!(moved, Err(AdminError::Invalid { field: "to", .. })),
            "{how:?}: {moved:?}"
        );
    }
    let ready = || queue(broker, "q").messages_ready == 3;
    soon("all are ready again", ready).await;
    let dry = with_all(broker, "q", &to("fresh"), DRY, ALL).await.unwrap();
    assert_eq!((dry.matched, dry.left), (3, 0));
    assert!(!is_there("fresh"));
    let moved = with_all(broker, "q", &to("fresh"), HOW, ALL).await.unwrap();
    assert_eq!((moved.done, is_there("fresh")), (3, true));
}

#[tokio::test]
async fn large_messages_are_moved_in_batches_that_a_segment_holds() {
    let house = house(); // segments of 1 MiB
    let broker = &house.started.broker;
    let (mut it, _) = broker.attach(wish(None, 0)).await.unwrap();
    for tag in 1..=8 {
        it.call(tag, send("large", 200_000));
        it.flush();
        assert_eq!(until(&mut it, tag).await.0, []);
    }
    let outcome = dispose(broker, "large", Selection::default(), to("other")).await;
    assert_eq!((outcome.matched, outcome.done, outcome.left), (8, 8, 0));
    assert_eq!(queue(broker, "other").messages_ready, 8);
}

#[tokio::test]
async fn a_move_to_its_own_queue_ends_and_one_to_a_full_queue_leaves_the_rest() {
    let house = house();
    let broker = &house.started.broker;
    sender(broker, "q", 100).await;
    let round = dispose(broker, "q", Selection::default(), to("q")).await;
    assert_eq!((round.done, queue(broker, "q").messages_ready), (100, 100));
    put(broker, "small", with(|it| it.max_messages = Some(1))).await;
    sender(broker, "small", 1).await;
    let full = dispose(broker, "q", Selection::default(), to("small")).await;
    assert_eq!((full.done, full.left), (0, 100));
    let (_, found) = consumer(broker, "q", 200, 100).await;
    assert!(
        found.is_sorted_by_key(|it| it.offset),
        "all is ready again, in order"
    );
}

#[tokio::test]
async fn dead_letters_go_back_to_where_they_were_given_up() {
    let house = house();
    let broker = &house.started.broker;
    put(broker, "q", with(|it| it.dead_letter = Some("dead".into()))).await;
    sender(broker, "q", 5).await;
    let (mut it, _) = consumer(broker, "q", 5, 5).await;
    let mut rejected = Ranges::new();
    rejected.insert_range(1, 4);
    it.call(
        2,
        Call::Settle(Settle {
            consumer: "c".into(),
            rejected,
            ..Settle::default()
        }),
    );
    it.flush();
    until(&mut it, 2).await;
    drop(it);
    let arrived = || {
        broker
            .queue(DEFAULT_REALM, "dead")
            .is_ok_and(|it| it.messages_ready == 4)
    };
    soon("dead letters arrive", arrived).await;
    sender(broker, "dead", 1).await;
    let dry = How {
        dry_run: true,
        ..HOW
    };
    let all = Selection::default();
    let outcome = broker.dispose(DEFAULT_REALM, "dead", &all, &Fate::Redrive, dry, ALL);
    let outcome = outcome.await.unwrap();
    assert_eq!((outcome.matched, outcome.done, outcome.left), (5, 0, 1));
    let reason = select(|it| it.reason = Some("rejected".into()));
    let outcome = dispose(broker, "dead", reason, Fate::Redrive).await;
    assert_eq!((outcome.matched, outcome.done, outcome.left), (4, 4, 0));
    let outcome = dispose(broker, "dead", Selection::default(), Fate::Redrive).await;
    assert_eq!(
        (outcome.matched, outcome.done, outcome.left),
        (1, 0, 1),
        "that one never was one"
    );
    let (_, found) = consumer(broker, "q", 10, 5).await;
    let back = found
        .iter()
        .find(|it| it.message.properties["n"] == "2")
        .unwrap();
    assert_eq!(
        (back.attempt, back.message.properties["moved-from"].as_str()),
        (1, "dead")
    );
    assert!(
        !back
            .message
            .properties
            .keys()
            .any(|name| name.starts_with("dead-letter-"))
    );
}

#[tokio::test]
async fn what_a_sender_says_of_dead_letters_is_not_believed() {
    let house = house();
    let broker = &house.started.broker;
    put(broker, "payroll", QueueSpec::default()).await;
    let said = [
        ("own", "1"),
        ("dead-letter-queue", "payroll"),
        ("dead-letter-reason", "rejected"),
        ("moved-from", "payroll"),
        ("own", "2"),
    ];
    let said = said.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (mut eve, _) = broker.attach(wish(None, 0)).await.unwrap();
    // As it comes in by MBWS and REST, and as it does by MQTT.
    for (tag, qos) in [(1, None), (2, Some(1))] {
        let message = NewMessage {
            address: "dead".to_owned(),
            properties: said.iter().cloned().collect(),
            ordered: qos.map_or_else(Vec::new, |_| said.to_vec()),
            qos,
            ..NewMessage::default()
        };
        eve.call(tag, Call::Publish(Box::new(message)));
    }
    eve.flush();
    assert_eq!(
        until(&mut eve, 2).await.0,
        [],
        "a dead letter may be sent on"
    );
    let outcome = dispose(broker, "dead", Selection::default(), Fate::Redrive).await;
    assert_eq!((outcome.matched, outcome.done, outcome.left), (2, 0, 2));
    let (_, found) = consumer(broker, "dead", 10, 2).await;
    for it in &found {
        let names: Vec<_> = it.message.properties.keys().collect();
        assert_eq!(names, ["own"]);
        assert!(it.message.ordered.iter().all(|(name, _)| name == "own"));
    }
    assert_eq!(found[1].message.ordered.len(), 2);
}

#[tokio::test]
async fn whoever_leaves_half_way_leaves_nothing_claimed() {
    let house = house();
    let broker = &house.started.broker;
    for millis in [0, 1, 2, 4, 8] {
        let name = format!("q{millis}");
        sender(broker, &name, 2000).await;
        let key = select(|it| it.key = Some("k0".into()));
        let fate = to("other");
        let call = Box::pin(broker.dispose(DEFAULT_REALM, &name, &key, &fate, HOW, ALL));
        drop(tokio::time::timeout(Duration::from_millis(millis), call).await);
        // What was handed over is done in a moment; the rest is ready again.
        while dispose(broker, &name, key.clone(), Fate::Delete).await.left > 0 {}
        let n_left = usize::try_from(queue(broker, &name).messages_ready).unwrap();
        assert_eq!(n_left, 2000 - 666);
        consumer(broker, &name, 2000, n_left).await;
    }
}

#[tokio::test]
async fn why_says_what_and_who() {
    let house = house();
    let broker = &house.started.broker;
    let check = async |name: &str, code: &str, words: &[&str]| {
        // What was asked of the core before is answered before.
        let deadline = Instant::now() + Duration::from_secs(20);
        let (mut is, mut text) = why(broker, name).await;
        while is != code && Instant::now() < deadline {
            (is, text) = why(broker, name).await;
        }
        assert_eq!(is, code, "{name}: {text}");
        for word in words {
            assert!(text.contains(word), "{text:?} lacks {word:?}");
        }
    };
    put(broker, "empty", QueueSpec::default()).await;
    check("empty", "empty", &[]).await;
    sender(broker, "alone", 1).await;
    check("alone", "no-consumer", &[]).await;
    broker
        .pause_queue(DEFAULT_REALM, "alone", "eve", "repairs", HOW)
        .await
        .unwrap();
    check("alone", "paused", &["eve", "repairs"]).await;
    sender(broker, "held", 3).await;
    let (held, _) = consumer(broker, "held", 2, 2).await;
    check("held", "no-credit", &["consumer c of admin"]).await;
    let (more, _) = consumer(broker, "held", 2, 1).await;
    check("held", "all-unsettled", &["3 messages", "admin"]).await;
    drop((held, more));
    sender(broker, "mine", 2).await;
    let (mut mine, _) = broker.attach(wish(None, 0)).await.unwrap();
    mine.call(1, consume("mine", true, 1));
    until(&mut mine, 1).await;
    check("mine", "exclusive", &["consumer c of admin", "exclusively"]).await;
    sender(broker, "away", 2).await;
    let (mut away, attached) = broker.attach(wish(None, 60)).await.unwrap();
    away.call(1, consume("away", false, 1));
    until(&mut away, 1).await;
    drop(away);
    check("away", "away", &[&attached.session.to_string(), "until"]).await;
    // Times are RFC 3339, as in the log.
    let (_, text) = why(broker, "away").await;
    let back = text.rsplit(' ').next().unwrap_or_default();
    let digits = back.replace(|c: char| c.is_ascii_digit(), "0");
    assert_eq!(digits, "0000-00-00T00:00:00.000Z", "{text}");
    sender(broker, "slow", 6000).await;
    let (mut slow, _) = broker.attach(wish(None, 0)).await.unwrap();
    slow.call(1, consume("slow", false, 100_000));
    until(&mut slow, 1).await; // and from now on it does not read
    check("slow", "slow-reader", &["does not read"]).await;
    let gone = broker.why(DEFAULT_REALM, "nowhere").await;
    assert!(matches!(gone, Err(AdminError::NoQueue { .. })));
}

#[tokio::test]
async fn a_full_disk_is_why_nothing_comes() {
    let folder = tempfile::tempdir().unwrap();
    let house = house_in(folder, LogOptions::default(), |it| it.free_low_bytes = 0);
    let broker = &house.started.broker;
    put(broker, "q", QueueSpec::default()).await;
    let House {
        started, folder, ..
    } = house;
    started.stop().unwrap();
    let house = house_in(folder, LogOptions::default(), |it| {
        it.free_low_bytes = u64::MAX
    });
    let broker = &house.started.broker;
    soon("the disk is looked at", || broker.is_disk_full()).await;
    assert_eq!(why(broker, "q").await.0, "disk-full");
    let new = broker
        .put_queue(DEFAULT_REALM, "new", QueueSpec::default(), HOW)
        .await;
    assert_eq!(new, Err(AdminError::DiskFull));
    broker.remove_queue(DEFAULT_REALM, "q", HOW).await.unwrap();
}

#[tokio::test]
async fn whoever_is_there_is_listed() {
    let house = house();
    let broker = &house.started.broker;
    sender(broker, "q", 5).await;
    soon("the sender has gone", || broker.n_attached() == 0).await;
    let (mut live, live_id) = broker.attach(wish(None, 0)).await.unwrap();
    live.call(1, consume("q", false, 2));
    let (_, mut found) = until(&mut live, 1).await;
    deliveries(&mut live, 2, &mut found).await;
    let (mut kept, kept_id) = broker.attach(wish(None, 60)).await.unwrap();
    kept.call(1, consume("q", false, 9));
    let (_, mut found) = until(&mut kept, 1).await;
    deliveries(&mut kept, 3, &mut found).await;
    let sessions = broker.sessions(None, 10).await.unwrap();
    let of = |id: uuid::Uuid| sessions.iter().find(|it| it.id == id.to_string()).unwrap();
    let (a, b) = (of(live_id.session), of(kept_id.session));
    assert_eq!((a.durable, a.consumers, a.unsettled), (false, 1, 2));
    assert_eq!((b.durable, b.consumers, b.unsettled), (true, 1, 3));
    assert_eq!((sessions.len(), b.ends_at), (2, None));
    assert_eq!(broker.sessions(None, 1).await.unwrap()[0], sessions[0]);
    let after = uuid::Uuid::try_parse(&sessions[0].id).ok();
    assert_eq!(broker.sessions(after, 9).await.unwrap(), sessions[1..]);
    for it in &sessions {
        assert_eq!(broker.session(&it.id).await.as_ref(), Ok(it));
    }
    let none = uuid::Uuid::now_v7().to_string();
    let no_session = Err(AdminError::NoSession(none.clone()));
    assert_eq!(broker.session(&none).await, no_session);
    let connections = broker.connections(None, 10);
    for it in &connections {
        assert_eq!(broker.connection(&it.id).as_ref(), Ok(it));
    }
    let ids: Vec<_> = connections.iter().map(|it| Some(it.id.clone())).collect();
    assert!(ids.contains(&a.connection) && ids.contains(&b.connection));
    let consumers = broker.consumers(None, Some("q")).await.unwrap();
    let mut credit: Vec<_> = consumers
        .iter()
        .map(|it| (it.credit, it.unsettled))
        .collect();
    credit.sort_unstable();
    assert_eq!(credit, [(0, 2), (6, 3)]);
    assert!(
        consumers
            .iter()
            .all(|it| it.principal == "admin" && it.connection.is_some())
    );
    drop(kept);
    let away = async || {
        let sessions = broker.sessions(None, 10).await.unwrap();
        sessions.into_iter().find(|it| it.durable).unwrap()
    };
    while away().await.connection.is_some() {
        tokio::task::yield_now().await;
    }
    assert!(away().await.ends_at.is_some());
}

async fn end_of(it: &mut Attachment) -> End {
    loop {
        let ready = tokio::time::timeout(Duration::from_secs(10), it.ready());
        ready.await.expect("it ends");
        let ended = it.drain(1024).into_iter().find_map(|event| match event {
            Event::Ended(end) => Some(end),
            _ => None,
        });
        if let Some(end) = ended {
            return end;
        }
    }
}

#[tokio::test]
async fn a_kicked_client_is_told_and_its_session_goes_on() {
    let house = house();
    let broker = &house.started.broker;
    let (mut it, attached) = broker.attach(wish(None, 60)).await.unwrap();
    let connection = broker.connections(None, 1).remove(0);
    assert_eq!(connection.session, attached.session.to_string());
    broker.kick(&connection.id).unwrap();
    assert_eq!(end_of(&mut it).await, End::Kicked);
    drop(it);
    soon("it has gone", || broker.n_attached() == 0).await;
    let gone = AdminError::NoConnection(connection.id.clone());
    assert_eq!(broker.kick(&connection.id), Err(gone));
    let (_, again) = broker
        .attach(wish(Some(attached.session), 60))
        .await
        .unwrap();
    assert!(again.resumed);
}

#[tokio::test]
async fn what_a_session_has_in_hand_is_taken_back() {
    for end in [false, true] {
        let house = house();
        let broker = &house.started.broker;
        sender(broker, "q", 3).await;
        let (mut it, attached) = broker.attach(wish(None, 60)).await.unwrap();
        it.call(1, consume("q", false, 3));
        let (_, mut found) = until(&mut it, 1).await;
        deliveries(&mut it, 3, &mut found).await;
        let id = attached.session.to_string();
        if end {
            broker.end_session(&id).await.unwrap();
            assert_eq!(end_of(&mut it).await, End::SessionOver);
        } else {
            broker.release_session(&id).await.unwrap();
            assert_eq!(end_of(&mut it).await, End::Kicked);
        }
        assert_eq!(queue(broker, "q").messages_ready, 3, "on return");
        let sessions = broker.sessions(None, 10).await.unwrap();
        assert_eq!(sessions.iter().any(|it| it.id == id), !end);
        let (_, found) = consumer(broker, "q", 3, 3).await;
        assert!(found.iter().all(|it| it.attempt == 2));
        let none = uuid::Uuid::now_v7().to_string();
        assert_eq!(
            broker.end_session(&none).await,
            Err(AdminError::NoSession(none))
        );
    }
}

/// It used its consumer's credit and was only logged: a consumer with a credit of one stood still for ever.
#[tokio::test]
async fn a_message_that_cannot_be_read_does_not_stop_its_queue() {
    let options = LogOptions {
        segment_bytes: 1 << 20,
        tail_bytes: 0,
        ..LogOptions::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let house = house_in(folder, options, |_| {});
    let broker = &house.started.broker;
    put(broker, "q", with(|it| it.dead_letter = Some("dead".into()))).await;
    sender(broker, "q", 3).await;
    let segment = house.folder.path().join("wal/0000000000000000.wal");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(6).position(|it| it == b"body 1").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let (_, found) = consumer(broker, "q", 1, 1).await;
    assert_eq!(found[0].message.body.as_ref(), b"body 2");
    let arrived = || {
        broker
            .queue(DEFAULT_REALM, "dead")
            .is_ok_and(|it| it.messages_ready == 1)
    };
    soon("a marker comes", arrived).await;
    let browsed = broker
        .browse(DEFAULT_REALM, "dead", &Selection::default(), 9, 9)
        .await;
    let marker = &browsed.unwrap().messages[0];
    assert_eq!(marker.properties["dead-letter-reason"], "unreadable");
    assert_eq!(marker.properties["dead-letter-offset"], "1");
    assert_eq!(marker.body.as_deref(), Some(""));
    assert_eq!(marker.address, "q");
}

#[tokio::test]
async fn a_temporary_queue_is_browsed_and_purged_but_not_changed() {
    let house = house();
    let broker = &house.started.broker;
    let (mut it, attached) = broker.attach(wish(None, 0)).await.unwrap();
    it.call(1, consume("~mine", false, 0));
    until(&mut it, 1).await;
    let name = format!("~{}/mine", attached.session);
    for tag in 2..=4 {
        it.call(tag, message("~mine", tag));
    }
    it.flush();
    until(&mut it, 4).await;
    soon("they are there", || {
        queue(broker, &name).messages_ready == 3
    })
    .await;
    let browsed = broker
        .browse(DEFAULT_REALM, &name, &Selection::default(), 9, 9)
        .await;
    assert_eq!(browsed.unwrap().messages.len(), 3);
    let moved = with_all(broker, &name, &to("x"), HOW, ALL).await;
    assert_eq!(moved, Err(AdminError::InMemory(name.clone())));
    let outcome = dispose(broker, &name, Selection::default(), Fate::Delete).await;
    assert_eq!((outcome.done, queue(broker, &name).messages_ready), (3, 0));
    let removed = broker.remove_queue(DEFAULT_REALM, &name, HOW).await;
    assert_eq!(removed, Err(AdminError::InMemory(name)));
}
