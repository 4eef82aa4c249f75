//! Histories: what WAMP clients are told later.

use restante_admin_api::How;
use restante_admin_api::document::Effect;
use restante_admin_api::queue::QueueSpec;
use restante_proto::wamp::{Dict, Payload, Serializer, Value};

use super::registrar::set_all;
use super::*;
use crate::access::testing::{permanent, rule};
use crate::registry::{Document, DocumentId, DocumentKind};
use crate::router::{CallOptions, DisclosePolicy, Features, Match};
use crate::wamp::options::PublishOptions;
use crate::wamp::{event, uri};

async fn put(house: &House, name: &str, filter: &str, change: impl FnOnce(&mut QueueSpec)) {
    let mut spec = QueueSpec {
        bindings: Some(vec![filter.to_owned()]),
        history: true,
        ..QueueSpec::default()
    };
    change(&mut spec);
    let broker = &house.started.broker;
    let put = broker.put_queue(DEFAULT_REALM, name, spec, How::default());
    put.await.unwrap();
}

/// A WAMP client, and what it has asked.
struct Client {
    it: Attachment,
    told: std::collections::VecDeque<WampTold>,
    last: u64,
}

impl Client {
    async fn join(house: &House, session: u64) -> Client {
        Client::join_as(house, session, wish(None, 0), "admin").await
    }

    async fn join_as(house: &House, session: u64, wish: Attach, authrole: &str) -> Client {
        let client = WampClient {
            session,
            authid: Arc::clone(&wish.principal.name),
            authrole: authrole.into(),
            authmethod: "ticket",
            authprovider: "static",
            transport: "websocket",
            serializer: "wamp.2.json",
            features: Features::default(),
        };
        let wish = Attach {
            protocol: Protocol::Wamp,
            wamp: Some(Box::new(client)),
            ..wish
        };
        let (it, _) = house.started.broker.attach(wish).await.unwrap();
        Client {
            it,
            told: std::collections::VecDeque::new(),
            last: 0,
        }
    }

    /// Publishes a number, and waits until that is confirmed: its publication.
    async fn publish(&mut self, topic: &str, number: i64, options: Dict) -> u64 {
        self.publish_bytes(topic, number.into(), options).await
    }

    async fn publish_bytes(&mut self, topic: &str, value: Value, options: Dict) -> u64 {
        self.last += 1;
        let publication = self.it.outbox.card.wamp.as_ref().unwrap().session * 1000 + self.last;
        let options = PublishOptions::read(&options.with("acknowledge", true)).unwrap();
        let kwargs = Dict::new().with("of", "history");
        let payload = Payload::from_values(Serializer::Json, &[value], &kwargs).unwrap();
        let address = uri::to_address(topic).unwrap();
        let message = event::message(address, options, &payload, publication, None).unwrap();
        self.it.call(self.last, Call::Publish(Box::new(message)));
        self.it.flush();
        let (refused, _) = until(&mut self.it, self.last).await;
        assert!(refused.iter().all(|(_, why)| *why == Refusal::NoRoute));
        publication
    }

    fn ask(&mut self, ask: WampAsk) {
        self.it.wamp(ask);
        self.it.flush();
    }

    async fn told(&mut self) -> WampTold {
        loop {
            if let Some(told) = self.told.pop_front() {
                return told;
            }
            for event in self.it.drain(1 << 20) {
                match event {
                    Event::Wamp(told) => self.told.push_back(*told),
                    Event::Ended(end) => panic!("the client is let go: {end:?}"),
                    _ => {}
                }
            }
            if !self.told.is_empty() {
                continue;
            }
            let ready = tokio::time::timeout(Duration::from_secs(20), self.it.ready());
            ready.await.expect("it is answered");
        }
    }

    async fn subscribe(&mut self, topic: &str, how: Match) -> Result<u64, &'static str> {
        self.ask(WampAsk::Subscribe {
            request: 1,
            topic: topic.to_owned(),
            how,
            filter: uri::to_filter(topic, how).unwrap(),
        });
        match self.told().await {
            WampTold::Subscribed { subscription, .. } => Ok(subscription),
            WampTold::Refused { uri, .. } => Err(uri),
            other => panic!("{other:?}"),
        }
    }

    async fn call(&mut self, procedure: &str, args: &[Value], kwargs: Dict) -> Answer {
        self.ask(call(procedure, args, &kwargs));
        match self.told().await {
            WampTold::Result { payload, .. } => {
                Ok((payload.args().unwrap(), payload.kwargs().unwrap()))
            }
            WampTold::Refused { uri, .. } => Err(uri),
            other => panic!("{other:?}"),
        }
    }

    /// The publications that are told, and whether there are more.
    async fn get(
        &mut self,
        subscription: u64,
        kwargs: Dict,
    ) -> Result<(Vec<u64>, bool), &'static str> {
        let get = "wamp.subscription.get_events";
        let (events, kwargs) = self.call(get, &[subscription.into()], kwargs).await?;
        let events = events.iter().map(|it| it.as_dict().unwrap());
        let publications = events.map(|it| it.id("publication").unwrap().unwrap());
        let is_limit_reached = kwargs.flag("is_limit_reached").unwrap().unwrap();
        Ok((publications.collect(), is_limit_reached))
    }
}

type Answer = Result<(Vec<Value>, Dict), &'static str>;

fn call(procedure: &str, args: &[Value], kwargs: &Dict) -> WampAsk {
    WampAsk::Call(Box::new(WampCall {
        request: 5,
        procedure: procedure.to_owned(),
        address: uri::to_address(procedure).unwrap(),
        options: CallOptions::default(),
        disclose: DisclosePolicy::Asked,
        continues_only: false,
        serializer: Serializer::Json,
        payload: Payload::from_values(Serializer::Json, args, kwargs).unwrap(),
    }))
}

fn none() -> Dict {
    Dict::new()
}

/// Once what the history's limits leave no room for has gone.
async fn has(house: &House, name: &str, n_messages: u64) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let queue = house.started.broker.queue(DEFAULT_REALM, name).unwrap();
        if queue.messages_ready == n_messages {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{queue:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_asked_for_is_told() {
    let house = house();
    put(&house, "kept", "history#", |_| {}).await;
    let mut it = Client::join(&house, 1).await;
    let history = it.subscribe("history", Match::Prefix).await.unwrap();
    let mut all = Vec::new();
    for number in 0..100 {
        let topic = if number % 10 == 9 {
            "history.b"
        } else {
            "history.a"
        };
        all.push(it.publish(topic, number, none()).await);
    }
    assert_eq!(it.get(history, none()).await, Ok((all.clone(), false)));
    let get = "wamp.subscription.get_events";
    let one = none().with("limit", 1);
    let (events, _) = it.call(get, &[history.into()], one).await.unwrap();
    let event = events[0].as_dict().unwrap();
    assert_eq!(event.get("args"), Some(&Value::List(vec![0.into()])));
    assert_eq!(
        event.get("kwargs"),
        Some(&Value::Dict(none().with("of", "history")))
    );
    assert_eq!(event.get("subscription"), Some(&history.into()));
    let details = event.dict("details").unwrap().unwrap();
    assert_eq!(details.text("topic"), Ok(Some("history.a")));
    let first = event.text("timestamp").unwrap().unwrap().to_owned();

    let (newest, b): (Vec<_>, Vec<_>) = (
        all.iter().rev().copied().collect(),
        all.iter().skip(9).step_by(10).copied().collect(),
    );
    for (kwargs, expected, more) in [
        (none().with("limit", 2), &all[..2], true),
        (none().with("limit", 100), &all[..], false),
        (
            none().with("limit", 2).with("reverse", true),
            &newest[..2],
            true,
        ),
        (none().with("reverse", true), &newest[..], false),
        (none().with("topic", "history.b"), &b[..], false),
        (
            none().with("topic", "history.b").with("limit", 3),
            &b[..3],
            true,
        ),
        (none().with("after_publication", all[97]), &all[98..], false),
        (none().with("from_publication", all[97]), &all[97..], false),
        (none().with("before_publication", all[2]), &all[..2], false),
        (none().with("until_publication", all[2]), &all[..3], false),
        (
            none()
                .with("after_publication", all[5])
                .with("until_publication", all[9])
                .with("limit", 3),
            &all[6..9],
            true,
        ),
        (
            none()
                .with("after_publication", all[96])
                .with("reverse", true),
            &newest[..3],
            false,
        ),
        (
            none()
                .with("before_publication", all[3])
                .with("reverse", true),
            &newest[97..],
            false,
        ),
        (
            none()
                .with("from_publication", all[5])
                .with("after_publication", all[5])
                .with("limit", 1),
            &all[6..7],
            true,
        ),
        (none().with("from_time", first.as_str()), &all[..], false),
        (none().with("before_time", first.as_str()), &[], false),
        (
            none().with("after_time", "2100-01-01T00:00:00Z"),
            &[],
            false,
        ),
        (
            none().with("until_time", "2100-01-01T00:00:00+02:00"),
            &all[..],
            false,
        ),
    ] {
        // Once by going there, and once where the places of some publications are known.
        for _ in 0..2 {
            let shown = format!("{kwargs:?}");
            let found = it.get(history, kwargs.clone()).await;
            assert_eq!(found, Ok((expected.to_vec(), more)), "{shown}");
        }
    }
    for (reverse, order) in [(false, &all), (true, &newest)] {
        let mut seen = vec![order[0]];
        let mut more = true;
        while more {
            let key = if reverse {
                "before_publication"
            } else {
                "after_publication"
            };
            let page = none().with("limit", 7).with("reverse", reverse);
            let page = page.with(key, seen[seen.len() - 1]);
            let found = it.get(history, page).await.unwrap();
            seen.extend(found.0);
            more = found.1;
        }
        assert_eq!(seen, *order);
    }
}

#[tokio::test]
async fn what_cannot_be_told_is_refused() {
    let house = house();
    put(&house, "kept", "a/#", |_| {}).await;
    let mut it = Client::join(&house, 1).await;
    let plain = it.subscribe("a.b", Match::Exact).await.unwrap();
    let unknown = it.get(99, none()).await;
    assert_eq!(unknown, Err("wamp.error.no_such_subscription"));
    // A history is that of its own filter, not of all that this covers.
    let without = it.get(plain, none()).await;
    assert_eq!(without, Err("wamp.error.feature_not_supported"));
    put(&house, "exact", "a/b", |_| {}).await;
    it.publish("a.b", 1, none()).await;
    for key in ["after_publication", "before_publication"] {
        let nowhere = it.get(plain, none().with(key, 7)).await;
        assert_eq!(nowhere, Err("wamp.error.invalid_argument"), "{key}");
    }
    let wrong = it.get(plain, none().with("limit", 0)).await;
    assert_eq!(wrong, Err("wamp.error.invalid_argument"));
    let get = "wamp.subscription.get_events";
    let wrong = it.call(get, &[], none()).await;
    assert_eq!(wrong, Err("wamp.error.invalid_argument"));
    // Calls that nobody waits for are bounded.
    for _ in 0..64 {
        it.ask(call(get, &[plain.into()], &none()));
    }
    let mut n_refused = 0;
    for _ in 0..64 {
        n_refused += u32::from(matches!(it.told().await, WampTold::Refused { .. }));
    }
    assert!(n_refused > 0, "nobody was refused");
}

#[tokio::test]
async fn a_history_outlives_a_restart() {
    for forget in [false, true] {
        let mut house = house();
        put(&house, "kept", "shop/+", |spec| spec.max_messages = Some(3)).await;
        let mut it = Client::join(&house, 1).await;
        let mut all = Vec::new();
        for number in 0..10 {
            all.push(it.publish("shop.a", number, none()).await);
        }
        has(&house, "kept", 3).await;
        drop(it);
        if forget {
            house = house.without_state();
        }
        let house = house.restarted();
        let mut it = Client::join(&house, 2).await;
        // Nobody has subscribed: the pattern is there all the same.
        let lookup = none().with("match", "wildcard");
        let lookup = ["shop.".into(), lookup.into()];
        let found = it.call("wamp.subscription.lookup", &lookup, none()).await;
        let (found, _) = found.unwrap();
        let history = found[0].as_id().unwrap();
        assert_eq!(
            it.get(history, none()).await,
            Ok((all[7..].to_vec(), false))
        );
        // A subscriber has the same id, and leaves it behind.
        assert_eq!(it.subscribe("shop.", Match::Wildcard).await, Ok(history));
        it.ask(WampAsk::Unsubscribe {
            subscription: history,
        });
        all.push(it.publish("shop.b", 10, none()).await);
        has(&house, "kept", 3).await;
        assert_eq!(
            it.get(history, none()).await,
            Ok((all[8..].to_vec(), false))
        );
    }
}

#[tokio::test]
async fn a_history_that_comes_later_is_kept_as_well() {
    let house = house();
    let mut it = Client::join(&house, 1).await;
    put(&house, "kept", "a", |_| {}).await;
    let (found, _) = it
        .call("wamp.subscription.lookup", &["a".into()], none())
        .await
        .unwrap();
    assert_eq!(
        it.get(found[0].as_id().unwrap(), none()).await,
        Ok((vec![], false))
    );
}

#[tokio::test]
async fn only_who_may_be_told_is_told() {
    let house = house();
    put(&house, "kept", "a", |_| {}).await;
    let allow = |name: &str, filter: &str, verbs: &[Verb]| {
        let id = DocumentId {
            kind: DocumentKind::Rule,
            realm: String::new(),
            name: name.to_owned(),
        };
        let rule = rule(Effect::Allow, "shop", verbs, "*", filter);
        (id, Some(Document::Rule(rule)))
    };
    let broker = &house.started.broker;
    set_all(broker, vec![allow("meta", "$wamp/#", &[Verb::Call])]).await;
    let root = Attach {
        principal: permanent("jwt:root", &[access::ADMIN]),
        ..wish(None, 0)
    };
    let mut admin = Client::join_as(&house, 1, root, "admin").await;
    let history = admin.subscribe("a", Match::Exact).await.unwrap();
    let ada = Attach {
        principal: permanent("jwt:ada", &["shop"]),
        ..wish(None, 0)
    };
    let mut ada = Client::join_as(&house, 2, ada, "shop").await;
    assert_eq!(
        ada.get(history, none()).await,
        Err("wamp.error.not_authorized")
    );
    set_all(broker, vec![allow("topic", "a", &[Verb::Consume])]).await;

    let names = |names: &[&str]| Value::List(names.iter().map(|it| (*it).into()).collect());
    let ids = |id: u64| Value::List(vec![id.into()]);
    let all = admin.publish("a", 1, none()).await;
    let mine = none().with("eligible_authid", names(&["jwt:ada"]));
    let mine = admin.publish("a", 2, mine).await;
    let not_mine = none().with("exclude_authrole", names(&["shop"]));
    let not_mine = admin.publish("a", 3, not_mine).await;
    // What is for sessions is nobody's who comes later.
    for options in [
        none().with("eligible", ids(2)),
        none().with("exclude", ids(9)),
        none()
            .with("eligible", ids(2))
            .with("eligible_authid", names(&["jwt:ada"])),
    ] {
        admin.publish("a", 4, options).await;
    }
    let last = admin.publish("a", 5, none()).await;
    let told = ada.get(history, none()).await;
    assert_eq!(told, Ok((vec![all, mine, last], false)));
    let told = admin.get(history, none()).await;
    assert_eq!(told, Ok((vec![all, not_mine, last], false)));
}

#[tokio::test]
async fn an_answer_has_so_many_bytes_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let house = house_in(folder, LogOptions::default(), |_| {});
    put(&house, "kept", "a", |_| {}).await;
    let mut it = Client::join(&house, 1).await;
    let history = it.subscribe("a", Match::Exact).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..8 {
        let large = Value::Str("x".repeat(100 << 10));
        all.push(it.publish_bytes("a", large, none()).await);
    }
    assert_eq!(it.get(history, none()).await, Ok((all[..5].to_vec(), true)));
    let next = none().with("after_publication", all[4]);
    assert_eq!(it.get(history, next).await, Ok((all[5..].to_vec(), false)));
    let newest = none().with("reverse", true);
    let newest = it.get(history, newest).await.unwrap();
    assert_eq!(
        newest.0,
        all.iter().rev().take(5).copied().collect::<Vec<_>>()
    );
    // One that is larger comes alone.
    let huge = it
        .publish_bytes("a", Value::Str("x".repeat(600 << 10)), none())
        .await;
    let last = none().with("from_publication", huge);
    assert_eq!(it.get(history, last).await, Ok((vec![huge], false)));
}

#[tokio::test]
async fn a_history_stands_in_nobodys_way() {
    let house = house();
    put(&house, "kept", "#", |spec| spec.max_messages = Some(2)).await;
    let broker = &house.started.broker;
    let (mut it, _) = broker.attach(wish(None, 0)).await.unwrap();
    // A queue is made for who sends, as if it were not there, and it is never full.
    for tag in 1..=5 {
        it.call(tag, send("orders", 1));
    }
    it.flush();
    assert_eq!(until(&mut it, 5).await.0, []);
    assert_eq!(
        broker
            .queue(DEFAULT_REALM, "orders")
            .unwrap()
            .messages_ready,
        5
    );
    has(&house, "kept", 2).await;
    // Nobody consumes from it.
    it.call(6, consume("kept", false, 1));
    it.flush();
    assert_eq!(until(&mut it, 6).await.0, [(6, Refusal::InUse)]);
    // What every door has sent is told.
    let mut reader = Client::join(&house, 1).await;
    let history = reader.subscribe("", Match::Prefix).await.unwrap();
    assert_eq!(reader.get(history, none()).await.unwrap().0.len(), 2);
    // A topic's message for chosen clients is in no other queue.
    let names = Value::List(vec!["ada".into()]);
    let chosen = none().with("eligible_authid", names);
    reader.publish("orders", 1, chosen).await;
    assert_eq!(
        broker
            .queue(DEFAULT_REALM, "orders")
            .unwrap()
            .messages_ready,
        5
    );
}

#[tokio::test]
async fn what_is_over_is_not_told() {
    let house = house();
    put(&house, "kept", "a", |_| {}).await;
    let mut it = Client::join(&house, 1).await;
    let history = it.subscribe("a", Match::Exact).await.unwrap();
    it.publish("a", 1, none().with("_ttl", 1)).await;
    let stays = it.publish("a", 2, none()).await;
    has(&house, "kept", 1).await;
    assert_eq!(it.get(history, none()).await, Ok((vec![stays], false)));
}

#[tokio::test]
async fn nothing_is_read_for_who_has_left() {
    use crate::broker::history::tests::{n_calls, stop};
    let house = house();
    put(&house, "kept", "a", |_| {}).await;
    let shared = &house.started.broker.shared;
    let turns = stop(shared);
    let get = "wamp.subscription.get_events";
    for session in 1..=20 {
        let mut client = Client::join(&house, session).await;
        let history = client.subscribe("a", Match::Exact).await.unwrap();
        for _ in 0..8 {
            client.ask(call(get, &[history.into()], &none()));
        }
        assert_eq!(n_calls(shared), 8);
        drop(client);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while n_calls(shared) > 0 {
            assert!(std::time::Instant::now() < deadline, "they wait on");
            tokio::task::yield_now().await;
        }
    }
    drop(turns);
}

#[tokio::test]
async fn a_principal_has_so_many_calls_and_no_more() {
    use crate::broker::history::tests::stop;
    let house = house();
    put(&house, "kept", "a", |_| {}).await;
    let turns = stop(&house.started.broker.shared);
    let get = "wamp.subscription.get_events";
    let mut clients = Vec::new();
    let mut history = 0;
    for session in 1..=8 {
        let mut client = Client::join(&house, session).await;
        history = client.subscribe("a", Match::Exact).await.unwrap();
        for _ in 0..8 {
            client.ask(call(get, &[history.into()], &none()));
        }
        clients.push(client);
    }
    let mut late = Client::join(&house, 9).await;
    assert_eq!(
        late.get(history, none()).await,
        Err("wamp.error.unavailable")
    );
    drop(turns);
    for client in &mut clients {
        for _ in 0..8 {
            assert!(matches!(client.told().await, WampTold::Result { .. }));
        }
    }
    // Their calls are over before the last answers are told, or a moment later.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while late.get(history, none()).await.is_err() {
        assert!(std::time::Instant::now() < deadline, "it is never let in");
        tokio::task::yield_now().await;
    }
}
