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
