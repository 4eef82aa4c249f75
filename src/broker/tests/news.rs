//! `$SYS` topics.

use restante_admin_api::document::Effect;

use super::registrar::set_all;
use super::*;
use crate::access::testing::{permanent, principal, rule};
use crate::registry::{Document, DocumentId, DocumentKind, User};

fn client(id: &str, expiry: u64) -> Attach {
    Attach {
        protocol: Protocol::Mqtt,
        client: Some(id.into()),
        ..wish(None, expiry)
    }
}

/// Subscribes; what it is refused for.
async fn subscribe(it: &mut Attachment, tag: u64, filter: &str, qos: u8) -> Option<Refusal> {
    it.call(
        tag,
        Call::Subscribe(Subscribe {
            filter: filter.to_owned(),
            qos,
            ..Subscribe::default()
        }),
    );
    it.flush();
    let mut refused = None;
    let mut confirmed = 0;
    while confirmed < tag {
        for event in it.drain(0) {
            if let Event::Confirmed { upto, failed } = event {
                confirmed = upto;
                refused = failed.first().map(|(_, why)| *why);
            }
        }
        if confirmed < tag {
            let ready = tokio::time::timeout(Duration::from_secs(10), it.ready_for(false));
            ready.await.expect("it is confirmed");
        }
    }
    refused
}

fn tell(house: &House, values: &[(&str, &str)]) {
    let own = |(name, value): &(&str, &str)| (format!("$SYS/{name}"), (*value).to_owned());
    house.started.broker.tell_news(values.iter().map(own));
}

/// The next `n` that it is told: address, value, and whether that was retained.
async fn told(it: &mut Attachment, n: usize) -> Vec<(String, String, bool)> {
    let mut found = Vec::new();
    deliveries(it, n, &mut found).await;
    let found = found.into_iter().map(|it| it.message);
    found
        .map(|it| {
            let value = String::from_utf8(it.body.to_vec()).unwrap();
            assert_eq!((it.qos_bound, it.text), (Some(0), true));
            (it.address.clone(), value, it.retained)
        })
        .collect()
}

fn news(name: &str, value: &str, retained: bool) -> (String, String, bool) {
    (format!("$SYS/{name}"), value.to_owned(), retained)
}

#[tokio::test]
async fn whoever_subscribes_is_told_at_once_and_then_of_what_changes() {
    let house = house();
    tell(&house, &[("version", "1"), ("up", "1")]);
    // Whether or not a session keeps messages: it keeps none of these.
    for (expiry, qos) in [(0, 0), (0, 1), (60, 1)] {
        let (mut it, _) = house
            .started
            .broker
            .attach(client("a", expiry))
            .await
            .unwrap();
        assert_eq!(subscribe(&mut it, 1, "#", qos).await, None);
        assert_eq!(subscribe(&mut it, 2, "$SYS/+", qos).await, None);
        assert_eq!(
            told(&mut it, 2).await,
            [news("version", "1", true), news("up", "1", true)]
        );
        tell(&house, &[("version", "1"), ("up", "2")]);
        tell(&house, &[("version", "1"), ("up", "1")]);
        assert_eq!(
            told(&mut it, 2).await,
            [news("up", "2", false), news("up", "1", false)]
        );
        it.end();
    }
    assert_eq!(house.started.broker.stored(), (0, 0));
}

#[tokio::test]
async fn only_who_may_is_told() {
    let house = house();
    let broker = &house.started.broker;
    let id = |kind, name: &str| DocumentId {
        kind,
        realm: String::new(),
        name: name.to_owned(),
    };
    let allow = |name: &str, filter: &str| {
        let rule = rule(
            Effect::Allow,
            "shop",
            &[Verb::Consume, Verb::Send],
            DEFAULT_REALM,
            filter,
        );
        (id(DocumentKind::Rule, name), Some(Document::Rule(rule)))
    };
    let user = User {
        roles: vec!["shop".to_owned()],
        ..User::default()
    };
    let user = (id(DocumentKind::User, "ada"), Some(Document::User(user)));
    set_all(broker, vec![user, allow("all", "#")]).await;
    let ada = || Attach {
        principal: principal("ada", &["shop"]),
        ..client("a", 0)
    };
    let (mut it, _) = broker.attach(ada()).await.unwrap();
    let denied = Some(Refusal::Denied);
    assert_eq!(subscribe(&mut it, 1, "$SYS/#", 0).await, denied);
    set_all(broker, vec![allow("news", "$SYS/up")]).await;
    assert_eq!(subscribe(&mut it, 2, "$SYS/#", 0).await, denied);
    assert_eq!(subscribe(&mut it, 3, "$SYS/up", 0).await, None);
    tell(&house, &[("up", "1")]);
    assert_eq!(told(&mut it, 1).await, [news("up", "1", false)]);
    // Nobody says it in the broker's name, and nothing else of its own is told.
    for (tag, address) in [(4, "$SYS/up"), (5, "$mqtt/a")] {
        it.call(tag, send(address, 1));
        it.flush();
        assert_eq!(until(&mut it, tag).await.0, [(tag, Refusal::Denied)]);
    }
    let (mut admin, _) = broker
        .attach(Attach {
            principal: permanent("jwt:root", &[access::ADMIN]),
            ..client("b", 0)
        })
        .await
        .unwrap();
    assert_eq!(subscribe(&mut admin, 1, "$mqtt/#", 0).await, denied);
    // A group has a queue, and no queue has these.
    admin.call(
        2,
        Call::Subscribe(Subscribe {
            filter: "$SYS/#".to_owned(),
            share: Some("g".to_owned()),
            qos: 1,
            ..Subscribe::default()
        }),
    );
    admin.flush();
    let refused = until(&mut admin, 2).await.0;
    assert_eq!(refused, [(2, Refusal::BadFilter)]);
    // When the right goes, so does the subscription.
    set_all(broker, vec![(id(DocumentKind::Rule, "news"), None)]).await;
    let gone = async {
        loop {
            let mut events = it.drain(0).into_iter();
            if events.any(|event| matches!(event, Event::Unsubscribed { .. })) {
                return;
            }
            it.ready_for(false).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(10), gone);
    gone.await.expect("it is told that its right is gone");
}

#[tokio::test]
async fn what_wamp_reserves_is_heard_and_called_by_rules_and_is_nobodys_to_send() {
    let house = house();
    let broker = &house.started.broker;
    let id = |name: &str| DocumentId {
        kind: DocumentKind::Rule,
        realm: String::new(),
        name: name.to_owned(),
    };
    let allow = |name: &str, filter: &str| {
        let rule = rule(Effect::Allow, "shop", &Verb::ALL, "*", filter);
        (id(name), Some(Document::Rule(rule)))
    };
    set_all(broker, vec![allow("all", "#")]).await;
    let shopper = || Attach {
        principal: permanent("jwt:ada", &["shop"]),
        ..wish(None, 0)
    };
    let (mut it, _) = broker.attach(shopper()).await.unwrap();
    let topic = |filter: &str, consumer: &str| {
        Call::Consume(Consume {
            retained: false,
            shard: None,
            consumer: consumer.to_owned(),
            address: filter.to_owned(),
            source: Source::Topic,
            limit: 1,
            auto_settle: true,
            exclusive: false,
        })
    };
    let may = |it: &Attachment, verb, asked: &str| it.may(verb, &asked.parse().unwrap());
    let (listed, joined) = ("$wamp/session/list", "$wamp/session/on_join");
    let denied = Some(Refusal::Denied);
    assert!(!may(&it, Verb::Call, listed));
    for (tag, filter) in [(1, joined), (2, "$wamp/#"), (3, "$wamp#")] {
        assert_eq!(
            refusal(&mut it, tag, topic(filter, "c")).await,
            denied,
            "{filter}"
        );
    }
    set_all(broker, vec![allow("sessions", "$wamp/session/#")]).await;
    assert!(may(&it, Verb::Call, listed) && !may(&it, Verb::Call, "$wamp/subscription/list"));
    assert!(!may(&it, Verb::Call, "$SYS/x") && !may(&it, Verb::Call, "$wampx/session/list"));
    for (tag, filter, wanted) in [
        (4, joined, None),
        (5, "$wamp/session/on_#", None),
        (6, "$wamp/session/+", None),
        (7, "$wamp/#", denied),
        (8, "$wamp/+/list", denied),
    ] {
        let listen = topic(filter, &format!("c{tag}"));
        assert_eq!(refusal(&mut it, tag, listen).await, wanted, "{filter}");
    }
    // An administrator may no more than anybody.
    let (mut admin, _) = broker.attach(wish(None, 0)).await.unwrap();
    for verb in [Verb::Send, Verb::Register, Verb::Consume] {
        assert!(
            !may(&it, verb, joined) && !may(&admin, verb, joined),
            "{verb:?}"
        );
    }
    assert!(may(&admin, Verb::Call, listed));
    assert_eq!(refusal(&mut admin, 1, send(joined, 1)).await, denied);
    assert_eq!(
        refusal(&mut admin, 2, consume(joined, false, 1)).await,
        denied
    );
    let spec = |bound: &str| restante_admin_api::queue::QueueSpec {
        bindings: Some(vec![bound.to_owned()]),
        ..restante_admin_api::queue::QueueSpec::default()
    };
    for (name, bound) in [("$wamp/x", "a"), ("a", "$wamp/#"), ("a", "$wamp#")] {
        let made = broker.queue_definition(DEFAULT_REALM, name, &spec(bound));
        assert!(made.is_err(), "{name} {bound}");
    }
    let (mut member, _) = broker.attach(client("b", 60)).await.unwrap();
    let shared = Call::Subscribe(Subscribe {
        filter: "$wamp/#".to_owned(),
        share: Some("g".to_owned()),
        qos: 1,
        ..Subscribe::default()
    });
    let bad = Some(Refusal::BadFilter);
    assert_eq!(refusal(&mut member, 1, shared).await, bad);
    assert_eq!(house.started.broker.shared.n_queues(DEFAULT_REALM), 0);
}

/// Calls; what it is refused for.
async fn refusal(it: &mut Attachment, tag: u64, call: Call) -> Option<Refusal> {
    it.call(tag, call);
    it.flush();
    let (refused, _) = until(it, tag).await;
    refused.first().map(|(_, why)| *why)
}
