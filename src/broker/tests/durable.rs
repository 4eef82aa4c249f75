//! Durable subscriptions: consumers of a queue that is made for what it is bound to.

use restante_admin_api::document::Effect;

use super::registrar::set_all;
use super::*;
use crate::access::testing::{principal, rule};
use crate::registry::{Document, DocumentId, DocumentKind, User};

fn durable(name: &str, filter: &str, limit: u64) -> Call {
    Call::Consume(Consume {
        retained: false,
        shard: None,
        consumer: "c".to_owned(),
        address: name.to_owned(),
        source: Source::Durable {
            filter: filter.to_owned(),
        },
        limit,
        auto_settle: false,
        exclusive: false,
    })
}

fn accept(offsets: &[u64]) -> Call {
    Call::Settle(Settle {
        consumer: "c".to_owned(),
        accepted: offsets.iter().copied().collect(),
        ..Settle::default()
    })
}

/// Calls, and waits until that is confirmed: what it was refused for.
async fn does(it: &mut Attachment, tag: u64, call: Call) -> Option<Refusal> {
    it.call(tag, call);
    it.flush();
    let (refused, _) = until(it, tag).await;
    refused.first().map(|(_, why)| *why)
}

async fn client(house: &House, expiry: u64) -> Attachment {
    let broker = &house.started.broker;
    broker.attach(wish(None, expiry)).await.unwrap().0
}

fn bindings(house: &House, queue: &str) -> Option<Vec<String>> {
    let routes = house.started.broker.shared.routes.load();
    let handle = routes.queues.get(DEFAULT_REALM)?.names.get(queue)?.clone();
    handle.def.as_ref().map(|def| def.bindings.clone())
}

#[tokio::test]
async fn a_durable_subscriptions_queue_is_bound_to_its_filter_and_outlives_all() {
    for expiry in [0, 60] {
        let house = house();
        let mut it = client(&house, expiry).await;
        let orders = || durable("subs/all", "orders/e#", 10);
        assert_eq!(does(&mut it, 1, orders()).await, None);
        let bound = Some(vec!["orders/e#".to_owned()]);
        assert_eq!(bindings(&house, "subs/all"), bound);
        it.call(2, send("orders/eu", 1));
        it.call(3, send("orders/east/1", 2));
        it.flush();
        let (refused, mut found) = until(&mut it, 3).await;
        assert_eq!(refused, []);
        deliveries(&mut it, 2, &mut found).await;
        let sizes: Vec<usize> = found.iter().map(|it| it.message.body.len()).collect();
        assert_eq!(sizes, [1, 2]);
        assert_eq!(does(&mut it, 4, accept(&[found[0].offset])).await, None);
        it.end();
        // Nobody is there, and it is kept; so it is over a restart.
        let mut other = client(&house, 0).await;
        assert_eq!(does(&mut other, 1, send("orders/e", 3)).await, None);
        drop(other);
        let house = house.restarted();
        assert_eq!(bindings(&house, "subs/all"), bound);
        let mut it = client(&house, expiry).await;
        it.call(1, orders());
        it.flush();
        let (refused, mut found) = until(&mut it, 1).await;
        assert_eq!(refused, []);
        deliveries(&mut it, 2, &mut found).await;
        let sizes: Vec<usize> = found.iter().map(|it| it.message.body.len()).collect();
        assert_eq!(sizes, [2, 3], "expiry {expiry}");
    }
}

#[tokio::test]
async fn consumers_of_a_durable_subscription_compete() {
    let house = house();
    let (mut one, mut two) = (client(&house, 0).await, client(&house, 0).await);
    // Both at once: one queue.
    one.call(1, durable("subs/all", "orders/#", 1));
    two.call(1, durable("subs/all", "orders/#", 1));
    one.flush();
    two.flush();
    assert_eq!(until(&mut one, 1).await.0, []);
    assert_eq!(until(&mut two, 1).await.0, []);
    let mut sender = client(&house, 0).await;
    sender.call(1, send("orders/1", 1));
    sender.call(2, send("orders/2", 2));
    sender.flush();
    assert_eq!(until(&mut sender, 2).await.0, []);
    let mut found = Vec::new();
    deliveries(&mut one, 1, &mut found).await;
    deliveries(&mut two, 2, &mut found).await;
    let offsets: Ranges = found.iter().map(|it| it.offset).collect();
    assert_eq!(offsets.count(), 2);
}

#[tokio::test]
async fn a_queue_that_is_bound_to_something_else_is_no_durable_subscriptions() {
    let house = house();
    let mut it = client(&house, 0).await;
    assert_eq!(does(&mut it, 1, send("work", 1)).await, None);
    let in_use = Some(Refusal::InUse);
    assert_eq!(
        does(&mut it, 2, durable("work", "orders/#", 1)).await,
        in_use
    );
    assert_eq!(does(&mut it, 3, durable("work", "work", 1)).await, None);
    let mut two = client(&house, 0).await;
    assert_eq!(does(&mut two, 1, durable("subs", "a/#", 1)).await, None);
    let mut three = client(&house, 0).await;
    assert_eq!(does(&mut three, 1, durable("subs", "b/#", 1)).await, in_use);
    assert_eq!(bindings(&house, "subs"), Some(vec!["a/#".to_owned()]));
}

#[tokio::test]
async fn a_durable_subscription_has_a_name_and_a_filter_of_everybodys() {
    let house = house();
    let mut it = client(&house, 0).await;
    let (name, filter) = (Some(Refusal::BadAddress), Some(Refusal::BadFilter));
    let tries = [
        ("~own", "a", name),
        ("~0192f0c1-7c1e-7000-8000-000000000001/x", "a", name),
        ("$wamp/x", "a", name),
        ("a/+", "a", name),
        ("a#", "a", name),
        ("a", "$SYS/#", filter),
        ("a", "$wamp/session/on_join", filter),
        ("a", "~x/#", filter),
        ("a", "b//c", filter),
        ("a", "%00#", filter),
    ];
    for (tag, (address, bound, wanted)) in (1..).zip(tries) {
        let refused = does(&mut it, tag, durable(address, bound, 1)).await;
        assert_eq!(refused, wanted, "{address} {bound}");
    }
    assert_eq!(bindings(&house, "a"), None);
}

#[tokio::test]
async fn a_durable_subscription_takes_the_right_to_consume_its_queue_and_its_filter() {
    let house = house();
    let broker = &house.started.broker;
    let id = |kind, name: &str| DocumentId {
        kind,
        realm: String::new(),
        name: name.to_owned(),
    };
    let allow = |name: &str, filter: &str| {
        let rule = rule(Effect::Allow, "shop", &[Verb::Consume], "*", filter);
        (id(DocumentKind::Rule, name), Some(Document::Rule(rule)))
    };
    let user = Document::User(User {
        roles: vec!["shop".to_owned()],
        ..User::default()
    });
    let user = (id(DocumentKind::User, "ada"), Some(user));
    set_all(broker, vec![user, allow("queue", "subs/${user}/#")]).await;
    let ada = Attach {
        principal: principal("ada", &["shop"]),
        ..wish(None, 0)
    };
    let (mut it, _) = broker.attach(ada).await.unwrap();
    let denied = Some(Refusal::Denied);
    let all = || durable("subs/ada/all", "orders/e#", 1);
    assert_eq!(does(&mut it, 1, all()).await, denied);
    set_all(broker, vec![allow("topic", "orders/e#")]).await;
    let others = durable("subs/eve/all", "orders/e#", 1);
    assert_eq!(does(&mut it, 2, others).await, denied);
    let more = durable("subs/ada/all", "orders/#", 1);
    assert_eq!(does(&mut it, 3, more).await, denied);
    assert_eq!(bindings(&house, "subs/ada/all"), None);
    assert_eq!(does(&mut it, 4, all()).await, None);
    // When the right to the filter goes, so does the consumer, and not the queue.
    set_all(broker, vec![(id(DocumentKind::Rule, "topic"), None)]).await;
    let lost = async {
        loop {
            let mut events = it.drain(0).into_iter();
            if let Some(why) = events.find_map(|event| match event {
                Event::Cancelled { why, .. } => Some(why),
                _ => None,
            }) {
                return why;
            }
            it.ready_for(false).await;
        }
    };
    let lost = tokio::time::timeout(Duration::from_secs(10), lost).await;
    assert_eq!(lost.expect("it is told"), Refusal::Denied);
    assert!(bindings(&house, "subs/ada/all").is_some());
}

#[tokio::test]
async fn where_consuming_makes_no_queue_there_is_none_for_a_durable_subscription() {
    let folder = tempfile::tempdir().unwrap();
    let house = house_in(folder, LogOptions::default(), |settings| {
        settings.create_on_consume = false;
    });
    let mut it = client(&house, 0).await;
    let refused = does(&mut it, 1, durable("subs", "a/#", 1)).await;
    assert_eq!(refused, Some(Refusal::NoRoute));
}
