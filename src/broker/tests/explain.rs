//! Whether what is said of a message is what then becomes of it.

use restante_admin_api::How;
use restante_admin_api::QueuesWanted;
use restante_admin_api::document::Effect;
use restante_admin_api::queue::QueueSpec;

use super::registrar::set_all;
use super::*;
use crate::registry::{Document, DocumentId, DocumentKind, Route};

fn message(address: &str) -> NewMessage {
    NewMessage {
        address: address.to_owned(),
        message_id: Some("m".to_owned()),
        ..NewMessage::default()
    }
}

fn route(name: &str, json: serde_json::Value) -> (DocumentId, Option<Document>) {
    let id = DocumentId {
        kind: DocumentKind::Route,
        realm: DEFAULT_REALM.to_owned(),
        name: name.to_owned(),
    };
    let route: Route = serde_json::from_value(json).unwrap();
    (id, Some(Document::Route(route)))
}

/// Routes, queues and rules of every sort.
async fn furnish(broker: &Broker) {
    let routes = [
        (
            "a",
            serde_json::json!({"filter": "in/+", "to": [{"address": "out/{1}"}, {"address": "log"}], "keep": true}),
        ),
        ("b", serde_json::json!({"filter": "drop/#"})),
        (
            "c",
            serde_json::json!({"filter": "lost/#", "to": [{"address": "caught"}], "unrouted": true}),
        ),
        (
            "d",
            serde_json::json!({"filter": "to-full", "to": [{"address": "full"}, {"address": "new-one"}]}),
        ),
        (
            "e",
            serde_json::json!({"filter": "topics/#", "to": [{"address": "heard/it"}]}),
        ),
        (
            "f",
            serde_json::json!({"filter": "some/#", "when": [{"field": "key"}], "to": [{"address": "with-key"}]}),
        ),
    ];
    let mut documents: Vec<_> = routes.map(|(name, json)| route(name, json)).into();
    let rules = access::testing::House::new()
        .rule(
            "all",
            access::testing::rule(Effect::Allow, "shop", &Verb::ALL, "*", "#"),
        )
        .rule(
            "not",
            access::testing::rule(Effect::Deny, "shop", &Verb::ALL, "*", "secret/#"),
        );
    let rules = rules.registry.documents.values();
    documents.extend(rules.map(|it| (it.id.clone(), Some(it.document.clone()))));
    set_all(broker, documents).await;
    let spec = |max, bindings: &[&str]| QueueSpec {
        max_messages: max,
        bindings: Some(bindings.iter().map(|it| (*it).to_owned()).collect()),
        ..QueueSpec::default()
    };
    for (name, spec) in [
        ("full", spec(Some(1), &["full"])),
        ("wide", spec(None, &["wide/#", "more/+"])),
        ("narrow", spec(None, &["wide/x"])),
        ("log", spec(None, &["log"])),
    ] {
        let put = broker.put_queue(DEFAULT_REALM, name, spec, How::default());
        put.await.unwrap();
    }
}

/// How many messages each queue has.
fn contents(broker: &Broker) -> BTreeMap<String, u64> {
    let all = QueuesWanted {
        limit: usize::MAX,
        ..QueuesWanted::default()
    };
    let queues = broker.queues(&all).into_iter();
    queues.map(|it| (it.name, it.messages_ready)).collect()
}

/// Sends it; gives what its sender was told, and which queues have one more.
async fn sent(
    broker: &Broker,
    it: &mut Attachment,
    tag: u64,
    message: NewMessage,
) -> (Result<Landed, Refusal>, Vec<String>) {
    let before = contents(broker);
    it.call(tag, Call::Publish(Box::new(message)));
    it.flush();
    let (refused, _) = until(it, tag).await;
    let why = refused.into_iter().find(|(of, _)| *of == tag);
    let told = why.map_or(Ok(it.landed()), |(_, why)| Err(why));
    let after = contents(broker).into_iter();
    let more = after.filter(|(name, n)| *n > before.get(name).copied().unwrap_or(0));
    (told, more.map(|(name, _)| name).collect())
}

/// What is said of a message is what then becomes of it.
async fn check(broker: &Broker, it: &mut Attachment, tag: u64, message: NewMessage) {
    let who = it.principal.clone();
    let address = message.address.clone();
    let before = contents(broker);
    let said = broker.explain(&who, None, DEFAULT_REALM, &message);
    assert_eq!(
        contents(broker),
        before,
        "{address}: nothing is stored or made"
    );
    let (told, found) = sent(broker, it, tag, message).await;
    assert_eq!(said.outcome, told, "{address}: {said:?}");
    let mut queues: Vec<String> = said
        .landings
        .iter()
        .flat_map(|it| &it.queues)
        .filter(|it| it.takes)
        .map(|it| it.queue.clone())
        .collect();
    queues.sort_unstable();
    if told.is_ok() {
        assert_eq!(queues, found, "{address}: {said:?}");
    } else {
        assert_eq!(found, Vec::<String>::new(), "{address}");
    }
}

fn principal() -> Attach {
    Attach {
        principal: access::testing::principal("ada", &["shop"]),
        ..wish(None, 0)
    }
}

#[tokio::test]
async fn what_is_explained_is_what_then_happens() {
    let house = house();
    let broker = &house.started.broker;
    furnish(broker).await;
    let (mut it, _) = broker.attach(principal()).await.unwrap();
    let mut listener = consume("heard/#", false, 100);
    if let Call::Consume(wish) = &mut listener {
        wish.source = Source::Topic;
        wish.auto_settle = true;
    }
    it.call(1, listener);
    it.flush();
    until(&mut it, 1).await;
    let expired = NewMessage {
        ttl_ms: Some(0),
        ..message("wide/x")
    };
    let with_key = NewMessage {
        key: Some("k".to_owned()),
        ..message("some/thing")
    };
    let messages = [
        message("wide/x"),
        message("more/y"),
        message("in/z"),
        message("in/z"),
        message("new/queue"),
        message("new/queue"),
        message("drop/this"),
        message("lost/and/found"),
        message("lost/and/found"),
        message("full"),
        message("full"),
        message("to-full"),
        message("heard/directly"),
        message("topics/x"),
        message("some/thing"),
        with_key,
        expired,
        message("secret/x"),
        message("secret"),
        message("$broker/x"),
        message("~nobody/x"),
        message("a//b"),
        message("wild/+"),
        message(""),
    ];
    let mut told = std::collections::BTreeSet::new();
    for (tag, message) in (2..).zip(messages) {
        let said = broker.explain(&it.principal, None, DEFAULT_REALM, &message);
        told.insert(said.outcome.map_or_else(Refusal::as_str, Landed::as_str));
        check(broker, &mut it, tag, message).await;
    }
    let all = [
        "bad-address",
        "denied",
        "dropped",
        "expired",
        "full",
        "no-route",
        "stored",
    ];
    assert_eq!(told.into_iter().collect::<Vec<_>>(), all, "each was there");
}

#[tokio::test]
async fn where_no_queues_are_made_or_may_be_made_it_is_said_so() {
    let options = LogOptions {
        segment_bytes: 1 << 20,
        ..LogOptions::default()
    };
    for (create, queues_max, wanted) in [
        (false, 100, Err(Refusal::NoRoute)),
        (true, 4, Err(Refusal::TooMany)),
        (true, 5, Ok(Landed::Stored)),
    ] {
        let house = house_in(tempfile::tempdir().unwrap(), options.clone(), |settings| {
            settings.create_on_send = create;
            settings.queues_per_realm = queues_max;
        });
        let broker = &house.started.broker;
        furnish(broker).await;
        let (mut it, _) = broker.attach(principal()).await.unwrap();
        let said = broker.explain(&it.principal, None, DEFAULT_REALM, &message("new"));
        assert_eq!(said.outcome, wanted);
        check(broker, &mut it, 1, message("new")).await;
        // One that has a queue is not concerned; one that a route leads to a queue and to none is.
        check(broker, &mut it, 2, message("log")).await;
        check(broker, &mut it, 3, message("in/x")).await;
        check(broker, &mut it, 4, message("lost/x")).await;
    }
}

#[tokio::test]
async fn on_a_full_disk_it_is_said_so() {
    let options = LogOptions {
        segment_bytes: 1 << 20,
        ..LogOptions::default()
    };
    let House {
        started, folder, ..
    } = house();
    furnish(&started.broker).await;
    started.stop().unwrap();
    let house = house_in(folder, options, |settings| {
        settings.free_low_bytes = u64::MAX;
    });
    let broker = &house.started.broker;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !broker.is_disk_full() {
        assert!(std::time::Instant::now() < deadline, "nobody looks");
        tokio::task::yield_now().await;
    }
    let (mut it, _) = broker.attach(principal()).await.unwrap();
    let full = Err(Refusal::Full);
    for (tag, (address, wanted)) in (1..).zip([
        ("log", full),
        ("new", full),
        ("in/x", full),
        ("drop/x", Ok(Landed::Dropped)),
    ]) {
        let said = broker.explain(&it.principal, None, DEFAULT_REALM, &message(address));
        assert_eq!(said.outcome, wanted, "{address}");
        assert!(
            said.landings
                .iter()
                .flat_map(|it| &it.queues)
                .all(|it| it.overflow == "disk")
        );
        check(broker, &mut it, tag, message(address)).await;
    }
}
