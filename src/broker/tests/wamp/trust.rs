//! How far somebody is trusted, by the rule that lets them call or publish.

use restante_admin_api::document::Effect;
use restante_storage::payload::WampPart;

use super::*;
use crate::access::Principal;
use crate::access::testing::{permanent, rule};
use crate::broker::tests::registrar::set_all;
use crate::message::WampSend;
use crate::registry::{Document, DocumentId, DocumentKind, Rule};

/// Rules for `shop`: two of a level each for what begins with `a`, one without for the rest.
async fn rules(house: &House) {
    let allow = |name: &str, verbs: &[Verb], filter: &str, trustlevel| {
        let id = DocumentId {
            kind: DocumentKind::Rule,
            realm: String::new(),
            name: name.to_owned(),
        };
        let rule = Rule {
            trustlevel,
            ..rule(Effect::Allow, "shop", verbs, DEFAULT_REALM, filter)
        };
        (id, Some(Document::Rule(rule)))
    };
    let (send, call) = (&[Verb::Send][..], &[Verb::Call][..]);
    let rules = vec![
        allow("0", &Verb::ALL, "#", None),
        allow("1", send, "a/#", Some(5)),
        allow("2", send, "a/b", Some(0)),
        allow("3", call, "a/b", Some(3)),
    ];
    set_all(&house.started.broker, rules).await;
}

fn shop() -> Principal {
    permanent("jwt:ada", &["shop"])
}

/// The level that the invocation of `procedure` tells, if `caller` calls it.
async fn called(caller: &mut Client, callee: &mut Client, procedure: &str) -> Option<u64> {
    caller.call(1, procedure, "x");
    let ToSession::Invocation(invocation) = callee.said().await else {
        panic!("no invocation")
    };
    callee.give(invocation.request, "y");
    assert!(matches!(caller.said().await, ToSession::Result(_)));
    invocation.trustlevel
}

#[tokio::test]
async fn a_callee_is_told_how_far_the_caller_is_trusted() {
    let house = house();
    rules(&house).await;
    let mut callee = Client::new(&house).await;
    callee.register("a.b").await;
    callee.register("c").await;
    let mut shop = Client::of(&house, shop()).await;
    assert_eq!(called(&mut shop, &mut callee, "a.b").await, Some(3));
    assert_eq!(called(&mut shop, &mut callee, "c").await, None);
    // Who needs no rule has no level by one.
    let mut admin = Client::new(&house).await;
    assert_eq!(called(&mut admin, &mut callee, "a.b").await, None);
    // A caller of another door has the level as well.
    let wish = Attach {
        principal: self::shop(),
        ..wish(None, 0)
    };
    let (mut asker, _) = house.started.broker.attach(wish).await.unwrap();
    asker.call(1, request("a/b", "two"));
    asker.flush();
    let ToSession::Invocation(invocation) = callee.said().await else {
        panic!("no invocation")
    };
    assert_eq!(invocation.trustlevel, Some(3));
}

#[tokio::test]
async fn a_subscriber_is_told_how_far_the_publisher_is_trusted_and_nobody_forges_it() {
    let house = house();
    rules(&house).await;
    let mut reader = Client::new(&house).await;
    for (name, address, source) in [
        ("topics", "#", Source::Topic),
        ("queue", "kept", Source::Queue),
    ] {
        let consume = Consume {
            consumer: name.to_owned(),
            address: address.to_owned(),
            source,
            limit: 100,
            auto_settle: true,
            exclusive: false,
            retained: false,
            shard: None,
        };
        reader.next_call(Call::Consume(consume)).await;
        reader.it.credit(name, 100);
    }
    let forged = |address: &str| NewMessage {
        address: address.to_owned(),
        properties: [("trustlevel".to_owned(), "9".to_owned())].into(),
        wamp: Some(Box::new(WampSend {
            part: WampPart {
                publication: 7,
                trust: 10,
                ..WampPart::default()
            },
            ..WampSend::default()
        })),
        ..NewMessage::default()
    };
    let plain = |address: &str| NewMessage {
        wamp: None,
        ..forged(address)
    };
    let mut shop = Client::of(&house, shop()).await;
    let mut admin = Client::new(&house).await;
    for (by_shop, message, trust) in [
        (true, forged("a/b"), Some(6)),
        (true, plain("a/b"), Some(6)),
        (true, forged("c"), Some(0)),
        (true, plain("c"), None),
        (true, forged("kept"), Some(0)),
        (false, forged("a/b"), Some(0)),
        (false, plain("a/b"), None),
    ] {
        let publisher = if by_shop { &mut shop } else { &mut admin };
        let n_expected = 1 + usize::from(message.address == "kept");
        publisher
            .next_call(Call::Publish(Box::new(message.clone())))
            .await;
        for _ in 0..n_expected {
            while reader.deliveries.is_empty() {
                reader.step().await;
            }
            let told = reader.deliveries.remove(0).message;
            let found = told.wamp.as_ref().map(|it| it.trust);
            assert_eq!(found, trust, "{message:?}");
        }
    }
}

#[tokio::test]
async fn what_is_stored_is_trusted_as_far_as_its_publisher_was() {
    let house = house();
    rules(&house).await;
    let mut shop = Client::of(&house, shop()).await;
    let mut reader = Client::new(&house).await;
    reader.next_call(consume("a/b", false, 100)).await;
    let message = NewMessage {
        address: "a/b".to_owned(),
        ..NewMessage::default()
    };
    shop.next_call(Call::Publish(Box::new(message))).await;
    drop((shop, reader));
    // It is told again, whatever rules say by then.
    let house = house.restarted();
    let mut reader = Client::new(&house).await;
    reader.next_call(consume("a/b", false, 100)).await;
    reader.it.credit("c", 100);
    while reader.deliveries.is_empty() {
        reader.step().await;
    }
    let trust = reader.deliveries[0].message.wamp.as_ref().unwrap().trust;
    assert_eq!(trust, 6);
}
