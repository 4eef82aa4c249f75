//! Rights that are taken away while somebody uses them.

use restante_admin_api::document::Effect;

use super::registrar::set_all;
use super::*;
use crate::access::testing::{principal, rule};
use crate::registry::{Document, DocumentId, DocumentKind, User};
use crate::router::{Features, Match, ToSession};

fn id(kind: DocumentKind, name: &str) -> DocumentId {
    DocumentId {
        kind,
        realm: String::new(),
        name: name.to_owned(),
    }
}

fn user(roles: &[&str], disabled: bool) -> (DocumentId, Option<Document>) {
    let user = User {
        roles: roles.iter().map(|it| (*it).to_owned()).collect(),
        disabled,
        ..User::default()
    };
    (id(DocumentKind::User, "ada"), Some(Document::User(user)))
}

fn allow(name: &str, filter: &str) -> (DocumentId, Option<Document>) {
    let verbs = [Verb::Send, Verb::Consume];
    let rule = rule(Effect::Allow, "shop", &verbs, DEFAULT_REALM, filter);
    (id(DocumentKind::Rule, name), Some(Document::Rule(rule)))
}

fn gone(kind: DocumentKind, name: &str) -> (DocumentId, Option<Document>) {
    (id(kind, name), None)
}

async fn ada(broker: &Broker, session: Option<Uuid>, expiry: u64) -> Attachment {
    let wish = Attach {
        principal: principal("ada", &["shop"]),
        ..wish(session, expiry)
    };
    broker.attach(wish).await.unwrap().0
}

/// Drains until an event is what `wanted` says.
async fn event<T>(it: &mut Attachment, wanted: impl Fn(Event) -> Option<T>) -> T {
    loop {
        if let Some(found) = it.drain(1024).into_iter().find_map(&wanted) {
            return found;
        }
        let ready = tokio::time::timeout(Duration::from_secs(10), it.ready());
        ready.await.expect("the event comes");
    }
}

fn end(event: Event) -> Option<End> {
    match event {
        Event::Ended(end) => Some(end),
        _ => None,
    }
}

fn cancelled(event: Event) -> Option<(String, Refusal)> {
    match event {
        Event::Cancelled { consumer, why } => Some((consumer.to_string(), why)),
        _ => None,
    }
}

#[tokio::test]
async fn who_is_disabled_is_gone() {
    for change in [user(&["shop"], true), gone(DocumentKind::User, "ada")] {
        let house = house();
        let broker = &house.started.broker;
        set_all(broker, vec![user(&["shop"], false), allow("a", "a/#")]).await;
        let mut it = ada(broker, None, 0).await;
        it.call(1, send("a/b", 1));
        it.flush();
        assert_eq!(until(&mut it, 1).await.0, []);
        set_all(broker, vec![change]).await;
        assert_eq!(event(&mut it, end).await, End::Revoked);
        // Also who logged in before and is attached after.
        let mut late = ada(broker, None, 0).await;
        assert_eq!(event(&mut late, end).await, End::Revoked);
    }
}

#[tokio::test]
async fn what_a_rule_takes_away_is_cancelled() {
    let house = house();
    let broker = &house.started.broker;
    set_all(
        broker,
        vec![user(&["shop"], false), allow("a", "a"), allow("b", "b")],
    )
    .await;
    let mut it = ada(broker, None, 60).await;
    let session = it.uuid;
    for (tag, name) in [(1, "a"), (2, "b")] {
        let Call::Consume(wish) = consume(name, false, 10) else {
            unreachable!("it consumes")
        };
        let consumer = name.to_owned();
        it.call(tag, Call::Consume(Consume { consumer, ..wish }));
        it.flush();
        assert_eq!(until(&mut it, tag).await.0, []);
    }
    set_all(broker, vec![gone(DocumentKind::Rule, "a")]).await;
    let lost = event(&mut it, cancelled).await;
    assert_eq!(lost, ("a".to_owned(), Refusal::Denied));
    it.call(3, send("a", 1));
    it.call(4, send("b", 1));
    it.flush();
    let (refused, mut found) = until(&mut it, 4).await;
    assert_eq!(refused, [(3, Refusal::Denied)]);
    deliveries(&mut it, 1, &mut found).await;
    assert_eq!(&*found[0].consumer, "b");
    // It does not come back with the session.
    drop(it);
    let it = ada(broker, Some(session), 60).await;
    let left: Vec<_> = it.consumed().map(|(name, _)| name.to_string()).collect();
    assert_eq!(left, ["b"]);
}

/// Calls that wait for each other do not keep a right alive that is gone.
#[tokio::test]
async fn what_is_taken_away_does_not_wait_for_what_is_asked_meanwhile() {
    let house = house();
    let broker = &house.started.broker;
    let rules = vec![user(&["shop"], false), allow("a", "a"), allow("b", "b/#")];
    set_all(broker, rules).await;
    let mut it = ada(broker, None, 0).await;
    let take = |address: &str| {
        let Call::Consume(wish) = consume(address, false, 10) else {
            unreachable!("it consumes")
        };
        let consumer = address.to_owned();
        Call::Consume(Consume { consumer, ..wish })
    };
    it.call(1, take("a"));
    it.flush();
    assert_eq!(until(&mut it, 1).await.0, []);
    it.drain(1024);
    for (tag, address) in (2..).zip(["b/1", "b/2", "b/3"]) {
        it.call(tag, take(address));
    }
    it.flush();
    set_all(broker, vec![gone(DocumentKind::Rule, "a")]).await;
    let (mut upto_seen, mut lost) = (0, None);
    while lost.is_none() {
        let ready = tokio::time::timeout(Duration::from_secs(10), it.ready());
        ready.await.expect("the news comes");
        for event in it.drain(1024) {
            match event {
                Event::Confirmed { upto, .. } => upto_seen = upto_seen.max(upto),
                event => lost = lost.or_else(|| cancelled(event)),
            }
        }
    }
    assert_eq!(lost, Some(("a".to_owned(), Refusal::Denied)));
    assert!(upto_seen < 4, "told before the last of them is answered");
    assert_eq!(until(&mut it, 4).await.0, []);
}

/// Its driver drains no bytes while it does not read, and waits for nothing but this.
#[tokio::test]
async fn whoever_takes_nothing_loses_their_rights_all_the_same() {
    let house = house();
    let broker = &house.started.broker;
    set_all(broker, vec![user(&["shop"], false), allow("a", "a")]).await;
    let mut it = ada(broker, None, 0).await;
    it.call(1, consume("a", false, 10));
    it.flush();
    until(&mut it, 1).await;
    // Whom no document is about.
    let wish = Attach {
        principal: Principal::broker(),
        ..wish(None, 0)
    };
    let (mut other, _) = broker.attach(wish).await.unwrap();
    other.call(1, send("a", 1));
    other.flush();
    until(&mut other, 1).await;
    assert_eq!(it.drain(0), [], "no delivery");
    let mut heeded = async |change| {
        set_all(broker, vec![change]).await;
        loop {
            let heard = tokio::time::timeout(Duration::from_secs(10), it.alarmed());
            heard.await.expect("it is told");
            let mut events = it.drain(0).into_iter();
            if let Some(event) = events.next() {
                return event;
            }
        }
    };
    assert!(cancelled(heeded(gone(DocumentKind::Rule, "a")).await).is_some());
    other.call(2, consume("a", false, 10));
    other.flush();
    let (_, mut found) = until(&mut other, 2).await;
    deliveries(&mut other, 1, &mut found).await;
    assert_eq!(
        end(heeded(gone(DocumentKind::User, "ada")).await),
        Some(End::Revoked)
    );
}

#[tokio::test]
async fn new_roles_count_at_once() {
    let house = house();
    let broker = &house.started.broker;
    set_all(broker, vec![user(&[], false), allow("a", "a")]).await;
    let mut it = ada(broker, None, 0).await;
    it.call(1, send("a", 1));
    it.flush();
    assert_eq!(until(&mut it, 1).await.0, [(1, Refusal::Denied)]);
    set_all(broker, vec![user(&["shop"], false)]).await;
    it.drain(1024);
    it.call(2, send("a", 1));
    it.flush();
    assert_eq!(until(&mut it, 2).await.0, []);
}

#[tokio::test]
async fn what_has_expired_ends() {
    let house = house();
    let broker = &house.started.broker;
    set_all(broker, vec![user(&["shop"], false)]).await;
    let soon = now().saturating_add(300);
    let wish = Attach {
        principal: Principal {
            expires: Some(soon),
            ..access::testing::permanent("jwt:ada", &["shop"])
        },
        ..wish(None, 0)
    };
    let (mut it, _) = broker.attach(wish).await.unwrap();
    assert_eq!(event(&mut it, end).await, End::Revoked);
    assert!(now() >= soon);
}

#[tokio::test]
async fn a_session_whose_client_is_away_loses_its_rights_too() {
    let house = house();
    let broker = &house.started.broker;
    set_all(broker, vec![user(&["shop"], false), allow("a", "a")]).await;
    let mut it = ada(broker, None, 600).await;
    let session = it.uuid;
    it.call(1, consume("a", false, 10));
    it.flush();
    assert_eq!(until(&mut it, 1).await.0, []);
    drop(it);
    let consumers = async || {
        let found = broker.find(session).await.unwrap();
        found.map(|found| found.whole.consumers.len())
    };
    wait_until_away(broker, session).await;
    assert_eq!(consumers().await, Some(1));
    set_all(broker, vec![gone(DocumentKind::Rule, "a")]).await;
    assert_eq!(
        consumers().await,
        Some(0),
        "done before the change is confirmed"
    );
    set_all(broker, vec![gone(DocumentKind::User, "ada")]).await;
    assert_eq!(consumers().await, None);
}

fn shop(there: bool) -> (DocumentId, Option<Document>) {
    let realm = crate::registry::Realm::default();
    let document = there.then_some(Document::Realm(realm));
    (id(DocumentKind::Realm, "shop"), document)
}

#[tokio::test]
async fn a_session_ends_with_its_user_or_realm_while_its_client_is_there() {
    let house = house();
    let broker = &house.started.broker;
    let cases = [
        (gone(DocumentKind::User, "ada"), user(&["shop"], false)),
        (shop(false), shop(true)),
    ];
    for (removed, made_again) in cases {
        set_all(broker, vec![user(&["shop"], false), shop(true)]).await;
        let in_shop = |session| Attach {
            principal: principal("ada", &["shop"]),
            realm: "shop".into(),
            ..wish(session, 600)
        };
        let (mut it, _) = broker.attach(in_shop(None)).await.unwrap();
        let session = it.uuid;
        set_all(broker, vec![removed]).await;
        let found = broker.find(session).await.unwrap();
        assert!(found.is_none(), "over before the change is answered");
        // Whoever gets the name at once is somebody else.
        set_all(broker, vec![made_again]).await;
        assert_eq!(event(&mut it, end).await, End::Revoked);
        drop(it);
        let (_, attached) = broker.attach(in_shop(Some(session))).await.unwrap();
        assert!(!attached.resumed);
    }
}

/// As a kill leaves it between the record that removes a user and those that end its sessions.
#[tokio::test]
async fn what_a_kill_left_of_somebody_who_is_gone_ends_before_anybody_is_let_in() {
    let house = house();
    let broker = &house.started.broker;
    // Nobody of that name is in the documents, and none of them has changed since.
    let (it, _) = broker.attach(wish(None, 600)).await.unwrap();
    let session = it.uuid;
    drop(it);
    let other = Attach {
        principal: access::testing::permanent("jwt:bob", &[]),
        ..wish(None, 600)
    };
    let (other, _) = broker.attach(other).await.unwrap();
    let theirs = other.uuid;
    drop(other);
    wait_until_away(broker, session).await;
    wait_until_away(broker, theirs).await;
    let house = house.restarted();
    let broker = house.started.broker.clone();
    assert!(broker.find(session).await.unwrap().is_some());
    let settled = broker.clone();
    tokio::task::spawn_blocking(move || settled.settle_rights())
        .await
        .unwrap();
    assert!(broker.find(session).await.unwrap().is_none());
    assert!(broker.find(theirs).await.unwrap().is_some());
}

/// Who was let in by what is no longer so, and whose session the steward has not seen.
#[tokio::test]
async fn a_session_that_begins_after_its_user_is_gone_ends_too() {
    let house = house();
    let broker = &house.started.broker;
    set_all(broker, vec![allow("a", "a")]).await;
    let mut it = ada(broker, None, 600).await;
    let session = it.uuid;
    assert_eq!(event(&mut it, end).await, End::Revoked);
    drop(it);
    let over = async { while broker.find(session).await.unwrap().is_some() {} };
    let over = tokio::time::timeout(Duration::from_secs(10), over);
    over.await.expect("it ends");
}

#[tokio::test]
async fn who_is_disabled_gives_back_what_they_had() {
    for stays in [true, false] {
        let house = house();
        let broker = &house.started.broker;
        set_all(broker, vec![user(&["shop"], false), allow("a", "a")]).await;
        let mut it = ada(broker, None, 600).await;
        let session = it.uuid;
        it.call(1, consume("a", false, 10));
        it.call(2, send("a", 1));
        it.flush();
        let (_, mut found) = until(&mut it, 2).await;
        deliveries(&mut it, 1, &mut found).await;
        if !stays {
            drop(it);
            wait_until_away(broker, session).await;
            set_all(broker, vec![user(&["shop"], true)]).await;
        } else {
            set_all(broker, vec![user(&["shop"], true)]).await;
            assert_eq!(event(&mut it, end).await, End::Revoked);
            drop(it);
        }
        let (mut other, _) = broker.attach(wish(None, 0)).await.unwrap();
        other.call(1, consume("a", false, 10));
        other.flush();
        let (_, mut found) = until(&mut other, 1).await;
        deliveries(&mut other, 1, &mut found).await;
        // The session itself is there when they are let in again.
        assert!(broker.find(session).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_session_of_a_jwt_is_looked_at_when_its_client_is_back() {
    let house = house();
    let broker = &house.started.broker;
    set_all(broker, vec![allow("a", "a")]).await;
    let jwt = |session| Attach {
        principal: access::testing::permanent("jwt:ada", &["shop"]),
        ..wish(session, 600)
    };
    let (mut it, _) = broker.attach(jwt(None)).await.unwrap();
    let session = it.uuid;
    it.call(1, consume("a", false, 10));
    it.flush();
    until(&mut it, 1).await;
    drop(it);
    wait_until_away(broker, session).await;
    set_all(broker, vec![gone(DocumentKind::Rule, "a")]).await;
    let (mut it, attached) = broker.attach(jwt(Some(session))).await.unwrap();
    assert!(attached.resumed);
    let lost = event(&mut it, cancelled).await;
    assert_eq!(lost, ("c".to_owned(), Refusal::Denied));
}

async fn wamp(broker: &Broker, session: u64, roles: &[&str], authrole: &str) -> Attachment {
    let mut features = Features::default();
    features.subscriber.subscription_revocation = true;
    let client = WampClient {
        session,
        authid: "ada".into(),
        authrole: authrole.into(),
        authmethod: "ticket",
        authprovider: "restante",
        transport: "websocket",
        serializer: "wamp.2.json",
        features,
    };
    let wish = Attach {
        principal: principal("ada", roles),
        protocol: Protocol::Wamp,
        wamp: Some(Box::new(client)),
        ..wish(None, 0)
    };
    broker.attach(wish).await.unwrap().0
}

fn told(event: Event) -> Option<WampTold> {
    match event {
        Event::Wamp(told) => Some(*told),
        _ => None,
    }
}

#[tokio::test]
async fn what_the_router_tells_ends_with_the_right_to_it() {
    let house = house();
    let broker = &house.started.broker;
    let rules = vec![
        user(&["shop"], false),
        allow("joins", "$wamp/session/on_join"),
        allow("leaves", "$wamp/session/on_leave"),
    ];
    set_all(broker, rules).await;
    let mut it = wamp(broker, 1, &["shop"], "shop").await;
    let mut ids = Vec::new();
    for topic in ["wamp.session.on_join", "wamp.session.on_leave"] {
        it.wamp(WampAsk::Subscribe {
            request: 1,
            topic: topic.to_owned(),
            how: Match::Exact,
            filter: crate::wamp::uri::to_filter(topic, Match::Exact).unwrap(),
        });
        match event(&mut it, told).await {
            WampTold::Subscribed { subscription, .. } => ids.push(subscription),
            other => panic!("{other:?}"),
        }
    }
    let said = |told: WampTold| match told {
        WampTold::Said(said) => *said,
        other => panic!("{other:?}"),
    };
    let mut other = Some(wamp(broker, 2, &["shop"], "shop").await);
    for expected in ["wamp.session.on_join", "wamp.session.on_leave"] {
        match said(event(&mut it, told).await) {
            ToSession::MetaEvent(it) => assert_eq!(it.topic, expected),
            other => panic!("{other:?}"),
        }
        drop(other.take());
    }
    set_all(broker, vec![gone(DocumentKind::Rule, "joins")]).await;
    match said(event(&mut it, told).await) {
        ToSession::Unsubscribed {
            subscription,
            reason,
            is_told,
        } => {
            assert_eq!((subscription.get(), is_told), (ids[0], true));
            assert_eq!(&*reason, "wamp.error.not_authorized");
        }
        other => panic!("{other:?}"),
    }
    drop(wamp(broker, 3, &["shop"], "shop").await);
    match said(event(&mut it, told).await) {
        ToSession::MetaEvent(it) => assert_eq!(it.topic, "wamp.session.on_leave"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_wamp_session_ends_with_its_role() {
    let house = house();
    let broker = &house.started.broker;
    let roles = ["shop", "boss"];
    set_all(broker, vec![user(&roles, false), allow("a", "a")]).await;
    let mut boss = wamp(broker, 1, &roles, "boss").await;
    let mut shop = wamp(broker, 2, &roles, "shop").await;
    set_all(broker, vec![user(&["shop"], false)]).await;
    assert_eq!(event(&mut boss, end).await, End::Revoked);
    shop.call(1, send("a", 1));
    shop.flush();
    until(&mut shop, 1).await;
    assert_eq!(shop.outbox.put(|waiting| waiting.end), None);
}

/// The core hears of a client that leaves a moment later.
async fn wait_until_away(broker: &Broker, session: Uuid) {
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while broker
        .find(session)
        .await
        .unwrap()
        .is_some_and(|it| it.outbox.is_some())
    {
        assert!(std::time::Instant::now() < deadline, "it never leaves");
        tokio::task::yield_now().await;
    }
}
