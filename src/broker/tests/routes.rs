//! Routes, from an administrator's document to deliveries.

use super::registrar::set_all;
use super::*;
use crate::registry::{Document, DocumentId, DocumentKind, Route};

fn route(name: &str, json: serde_json::Value) -> (DocumentId, Option<Document>) {
    let id = DocumentId {
        kind: DocumentKind::Route,
        realm: DEFAULT_REALM.to_owned(),
        name: name.to_owned(),
    };
    let route: Route = serde_json::from_value(json).unwrap();
    (id, Some(Document::Route(route)))
}

fn listen(consumer: &str, filter: &str) -> Call {
    Call::Consume(Consume {
        consumer: consumer.to_owned(),
        address: filter.to_owned(),
        source: Source::Topic,
        limit: 100,
        auto_settle: true,
        exclusive: false,
        retained: false,
        shard: None,
    })
}

fn take(address: &str) -> Call {
    let Call::Consume(wish) = consume(address, false, 100) else {
        unreachable!("it consumes")
    };
    Call::Consume(Consume {
        consumer: address.to_owned(),
        ..wish
    })
}

/// By consumer: the addresses under which messages came, in order.
fn addresses(found: &[Delivery]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = found
        .iter()
        .map(|it| (it.consumer.to_string(), it.message.address.clone()))
        .collect();
    all.sort();
    all
}

#[tokio::test]
async fn each_queue_has_a_message_under_the_address_that_led_it_there() {
    let mut house = house();
    let routes = serde_json::json!({"filter": "in/+", "to": [{"address": "out/{1}"}, {"address": "log"}], "keep": true});
    set_all(&house.started.broker, vec![route("r", routes)]).await;
    let (mut it, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    it.call(1, send("in/x", 10));
    it.flush();
    assert_eq!(until(&mut it, 1).await.0, []);
    drop(it);
    house = house.restarted();
    let (mut it, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    let mut found = Vec::new();
    for (tag, queue) in [(1, "in/x"), (2, "out/x"), (3, "log")] {
        it.call(tag, take(queue));
        it.flush();
        found.extend(until(&mut it, tag).await.1);
    }
    deliveries(&mut it, 3, &mut found).await;
    let same = |address: &str| (address.to_owned(), address.to_owned());
    assert_eq!(
        addresses(&found),
        [same("in/x"), same("log"), same("out/x")]
    );
    // One record for all three: the body is stored once.
    assert_eq!(
        found.iter().map(|it| it.offset).collect::<Vec<_>>(),
        [1, 1, 1]
    );
}

#[tokio::test]
async fn listeners_hear_what_is_routed_to_them_under_its_new_address() {
    let house = house();
    let broker = &house.started.broker;
    let everywhere =
        serde_json::json!({"filter": "in/+", "to": [{"address": "out/{1}"}, {"address": "kept"}]});
    set_all(broker, vec![route("r", everywhere)]).await;
    let (mut it, _) = broker.attach(wish(None, 0)).await.unwrap();
    it.call(1, listen("old", "in/#"));
    it.call(2, listen("new", "out/#"));
    it.call(3, take("kept"));
    it.flush();
    until(&mut it, 3).await;
    it.call(4, send("in/x", 10));
    it.flush();
    let (refused, mut found) = until(&mut it, 4).await;
    assert_eq!(refused, []);
    // A queue `out/x` was made too: a route's targets are addresses like others.
    deliveries(&mut it, 2, &mut found).await;
    let expected = [("kept", "kept"), ("new", "out/x")];
    assert_eq!(
        addresses(&found),
        expected.map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
}

#[tokio::test]
async fn what_a_route_drops_is_confirmed_and_kept_by_nobody() {
    let house = house();
    let broker = &house.started.broker;
    set_all(
        broker,
        vec![route("r", serde_json::json!({"filter": "noise/#"}))],
    )
    .await;
    let (mut it, _) = broker.attach(wish(None, 60)).await.unwrap();
    it.call(1, send("noise/1", 10));
    it.call(2, send("signal", 10));
    it.flush();
    assert_eq!(until(&mut it, 2).await.0, []);
    it.call(3, take("signal"));
    it.flush();
    let (_, mut found) = until(&mut it, 3).await;
    deliveries(&mut it, 1, &mut found).await;
    let routes = broker.shared.routes.load();
    let names: Vec<_> = routes.queues[DEFAULT_REALM]
        .names
        .keys()
        .map(|it| it.to_string())
        .collect();
    assert_eq!(names, ["signal"]);
}

#[tokio::test]
async fn what_nobody_takes_goes_where_a_route_for_the_unrouted_says() {
    let house = house();
    let broker = &house.started.broker;
    let lost =
        serde_json::json!({"filter": "#", "unrouted": true, "to": [{"address": "lost/{1}"}]});
    set_all(broker, vec![route("r", lost)]).await;
    let (mut it, _) = broker.attach(wish(None, 0)).await.unwrap();
    it.call(1, take("known"));
    it.flush();
    until(&mut it, 1).await;
    it.call(2, send("known", 10));
    it.call(3, send("unknown", 10));
    it.call(4, take("lost/unknown"));
    it.flush();
    let (refused, mut found) = until(&mut it, 4).await;
    assert_eq!(refused, []);
    deliveries(&mut it, 2, &mut found).await;
    let same = |address: &str| (address.to_owned(), address.to_owned());
    assert_eq!(addresses(&found), [same("known"), same("lost/unknown")]);
}

/// Names of all queues.
fn queues(broker: &Broker) -> Vec<String> {
    let routes = broker.shared.routes.load();
    let here = routes.queues.get(DEFAULT_REALM).into_iter();
    here.flat_map(|it| it.names.keys())
        .map(|it| it.to_string())
        .collect()
}

#[tokio::test]
async fn who_listens_where_nothing_is_routed_hears_it_once() {
    let own = [("own", "news")];
    let own_and_all = [("all", "news"), ("own", "news")];
    let with_lost = [("all", "news"), ("own", "news"), ("lost", "lost")];
    type Case<'a> = (
        bool,
        bool,
        Option<&'a str>,
        bool,
        &'a [(&'a str, &'a str)],
        &'a [&'a str],
    );
    let cases: [Case<'_>; 10] = [
        // `keep` or not: no queue is made where it was sent to, and nobody hears it twice.
        (
            true,
            true,
            Some("lost"),
            true,
            &with_lost[..],
            &["lost"][..],
        ),
        (true, false, Some("lost"), true, &with_lost, &["lost"]),
        (false, true, Some("nowhere"), true, &own_and_all, &[]),
        (false, false, Some("nowhere"), true, &own_and_all, &[]),
        (false, true, Some("nowhere"), false, &own, &[]),
        // Dropped, but not for those who listen.
        (true, false, None, false, &own, &[]),
        (false, false, None, true, &own_and_all, &[]),
        // To stay and nothing else: as if there was no route, so that a queue is made.
        (true, true, None, false, &own, &["news"]),
        (true, true, Some("news"), false, &own, &["news"]),
        (false, true, None, true, &own_and_all, &[]),
    ];
    for (create, keep, to, listens_to_all, heard, made) in cases {
        let what = format!("create {create}, keep {keep}, to {to:?}, all {listens_to_all}");
        let options = LogOptions {
            segment_bytes: 1 << 20,
            ..LogOptions::default()
        };
        let house = house_in(tempfile::tempdir().unwrap(), options, |settings| {
            settings.create_on_send = create;
        });
        let broker = &house.started.broker;
        let to: Vec<_> = to
            .map(|to| serde_json::json!({"address": to}))
            .into_iter()
            .collect();
        let json = serde_json::json!({"filter": "news", "unrouted": true, "keep": keep, "to": to});
        set_all(broker, vec![route("r", json)]).await;
        let (mut it, _) = broker.attach(wish(None, 0)).await.unwrap();
        it.call(1, listen("own", "news"));
        if listens_to_all {
            it.call(2, listen("all", "#"));
        }
        it.flush();
        until(&mut it, if listens_to_all { 2 } else { 1 }).await;
        it.call(3, send("news", 10));
        it.flush();
        let (refused, mut found) = until(&mut it, 3).await;
        assert_eq!(refused, [], "{what}");
        assert_eq!(queues(broker), made, "{what}");
        for (tag, name) in (4..).zip(made) {
            it.call(tag, take(name));
            it.flush();
            found.extend(until(&mut it, tag).await.1);
        }
        let mut wanted: Vec<(String, String)> = heard
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
            .collect();
        if made.contains(&"news") {
            wanted.push(("news".to_owned(), "news".to_owned()));
        }
        wanted.sort();
        deliveries(&mut it, wanted.len(), &mut found).await;
        // Listeners had all of it before the confirm: what would be there twice is in what was drained.
        assert_eq!(addresses(&found), wanted, "{what}");
    }
}
