//! What administrators see of WAMP's clients, and take from them.

use restante_admin_api::wamp::NumberedWanted;

use super::*;
use crate::message::WampSend;

fn all() -> NumberedWanted {
    NumberedWanted {
        limit: usize::MAX,
        ..NumberedWanted::default()
    }
}

async fn subscribe(client: &mut Client, topic: &str) -> u64 {
    let filter = topic.replace('.', "/");
    client.ask(WampAsk::Subscribe {
        request: 1,
        topic: topic.to_owned(),
        how: Match::Exact,
        filter: filter.clone(),
    });
    let subscription = match client.told().await {
        WampTold::Subscribed { subscription, .. } => subscription,
        other => panic!("{other:?}"),
    };
    let consume = Consume {
        consumer: subscription.to_string(),
        address: filter,
        source: Source::Topic,
        limit: u64::MAX,
        auto_settle: true,
        exclusive: false,
        retained: false,
        shard: None,
    };
    client.next_call(Call::Consume(consume)).await;
    client.ask(WampAsk::Begun { subscription });
    subscription
}

#[tokio::test]
async fn administrators_see_what_clients_have() {
    let house = house();
    let broker = &house.started.broker;
    assert!(broker.registrations(&all()).is_empty());
    let (mut callee, mut caller) = (Client::new(&house).await, Client::new(&house).await);
    let first = callee.register("com.add").await;
    let second = callee.register("com.sub").await;
    let topic = subscribe(&mut callee, "com.news").await;
    caller.call(1, "com.add", "x");
    let (invocation, _) = callee.invocation().await;

    let sessions = broker.sessions(None, 10).await.unwrap();
    let of = |client: &Client| {
        let mut all = sessions.iter();
        let mine = |it: &&restante_admin_api::queue::SessionInfo| {
            it.wamp.as_ref().is_some_and(|it| it.session == client.id)
        };
        all.find(mine).unwrap().clone()
    };
    let (callees, callers) = (of(&callee), of(&caller));
    let wamp = callees.wamp.clone().unwrap();
    assert_eq!(
        (
            callees.protocol.as_str(),
            callees.subscriptions,
            callees.durable
        ),
        ("wamp", 1, false)
    );
    assert_eq!(
        (wamp.registrations, wamp.calls, wamp.invocations),
        (2, 0, 1)
    );
    assert_eq!(
        (&*wamp.authid, &*wamp.authmethod, &*wamp.transport),
        ("admin", "ticket", "websocket")
    );
    assert_eq!(callers.wamp.as_ref().unwrap().calls, 1);
    assert_eq!(broker.session(&callees.id).await.unwrap(), callees);

    let rows = broker.registrations(&all());
    let shown: Vec<_> = rows.iter().map(|it| (it.id, &*it.uri, it.calls)).collect();
    assert_eq!(shown, [(first, "com.add", 1), (second, "com.sub", 0)]);
    assert_eq!(
        (
            &*rows[0].realm,
            &*rows[0].how,
            &*rows[0].invoke,
            rows[0].callees
        ),
        (DEFAULT_REALM, "exact", "single", 1)
    );
    assert_eq!(rows[0].sessions, std::slice::from_ref(&callees.id));
    assert_eq!(broker.registration(DEFAULT_REALM, first).unwrap(), rows[0]);
    let behind = NumberedWanted {
        after: Some((DEFAULT_REALM.to_owned(), first)),
        ..all()
    };
    assert_eq!(broker.registrations(&behind), rows[1..]);
    let one = NumberedWanted { limit: 1, ..all() };
    assert_eq!(broker.registrations(&one), rows[..1]);
    let elsewhere = NumberedWanted {
        realm: Some("other".to_owned()),
        ..all()
    };
    assert!(broker.registrations(&elsewhere).is_empty());

    let topics = broker.subscriptions(&all());
    assert_eq!((topics.len(), topics[0].id), (1, topic));
    assert_eq!((&*topics[0].uri, topics[0].subscribers), ("com.news", 1));
    assert_eq!(
        broker.subscription(DEFAULT_REALM, topic).unwrap(),
        topics[0]
    );

    let calls = broker.calls(&all());
    assert_eq!((calls.len(), &*calls[0].procedure), (1, "com.add"));
    assert_eq!(calls[0].caller, Some(callers.id));
    assert_eq!(calls[0].callee, Some(callees.id));
    let counts = broker.wamp_counts();
    assert_eq!(
        (
            counts.sessions,
            counts.subscriptions,
            counts.registrations,
            counts.calls
        ),
        (2, 1, 2, 1)
    );
    callee.give(invocation, "y");
    caller.said().await;
    assert!(broker.calls(&all()).is_empty());
}

#[tokio::test]
async fn what_an_administrator_takes_back_is_gone() {
    let house = house();
    let broker = &house.started.broker;
    let (mut client, mut caller) = (Client::new(&house).await, Client::new(&house).await);
    let registration = client.register("com.add").await;
    let subscription = subscribe(&mut client, "com.news").await;
    caller.call(1, "com.add", "x");
    let (invocation, _) = client.invocation().await;

    broker
        .revoke_registration(DEFAULT_REALM, registration)
        .unwrap();
    let again = broker.revoke_registration(DEFAULT_REALM, registration);
    assert_eq!(again, Err(AdminError::NoRegistration(registration)));
    let none = broker.revoke_registration("other", registration);
    assert_eq!(none, Err(AdminError::NoRegistration(registration)));
    caller.call(2, "com.add", "x");
    match caller.said().await {
        ToSession::CallError(error) => assert_eq!(error.uri, "wamp.error.no_such_procedure"),
        other => panic!("{other:?}"),
    }
    // What is on its way is answered.
    client.give(invocation, "y");
    assert!(matches!(caller.said().await, ToSession::Result(_)));
    match client.said().await {
        ToSession::Unregistered {
            registration: gone, ..
        } => assert_eq!(gone.get(), registration),
        other => panic!("{other:?}"),
    }
    // Of what is gone, no right is looked at.
    client.register("com.sub").await;
    let looked_at = std::cell::RefCell::new(Vec::new());
    client.it.lose_registrations(|_, filter| {
        looked_at.borrow_mut().push(filter.to_owned());
        true
    });
    assert_eq!(looked_at.into_inner(), ["com/sub"]);

    broker
        .revoke_subscription(DEFAULT_REALM, subscription)
        .unwrap();
    match client.said().await {
        ToSession::Unsubscribed {
            subscription: gone, ..
        } => assert_eq!(gone.get(), subscription),
        other => panic!("{other:?}"),
    }
    let again = broker.revoke_subscription(DEFAULT_REALM, subscription);
    assert_eq!(again, Err(AdminError::NoSubscription(subscription)));
    assert!(broker.subscriptions(&all()).is_empty());
}

#[tokio::test]
async fn calls_are_counted_by_how_they_end() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let house = metrics::with_local_recorder(&recorder, house);
    let (mut callee, mut caller) = (Client::new(&house).await, Client::new(&house).await);
    callee.register("com.add").await;
    for request in 1..=3 {
        caller.call(request, "com.add", "x");
    }
    callee.give(1, "y");
    callee.ask(WampAsk::Error {
        invocation: 2,
        uri: "com.error".to_owned(),
        ppt: None,
        payload: payload("no"),
    });
    caller.ask(WampAsk::Cancel {
        request: 3,
        mode: crate::router::CancelMode::Skip,
    });
    caller.call(4, "com.other", "x");
    caller.call(5, "com.add", "x");
    caller.ask(WampAsk::Expire { request: 5 });
    for _ in 0..5 {
        caller.said().await;
    }
    let text = handle.render();
    for outcome in ["result", "error", "canceled", "refused", "timeout"] {
        let line = format!("restante_wamp_calls_total{{outcome=\"{outcome}\"}} 1\n");
        assert!(text.contains(&line), "{line} in {text}");
    }
}

/// What a subscriber that does not read gets of ten events of a mebibyte, and how it ends.
async fn of_ten_events(ends_the_slow: bool) -> (usize, Option<End>) {
    let options = LogOptions::default();
    let house = house_in(tempfile::tempdir().unwrap(), options, |settings| {
        settings.wamp.ends_the_slow = ends_the_slow;
    });
    let (mut slow, mut publisher) = (Client::new(&house).await, Client::new(&house).await);
    subscribe(&mut slow, "com.news").await;
    for _ in 0..10 {
        let message = NewMessage {
            address: "com/news".to_owned(),
            body: vec![0; 1 << 20].into(),
            wamp: Some(Box::new(WampSend::default())),
            ..NewMessage::default()
        };
        publisher.next_call(Call::Publish(Box::new(message))).await;
    }
    let mut n_events = 0;
    loop {
        let events = slow.it.drain(1 << 30);
        if events.is_empty() {
            return (n_events, None);
        }
        for event in events {
            match event {
                Event::Delivery(_) => n_events += 1,
                Event::Ended(why) => return (n_events, Some(why)),
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_misses_events_or_is_let_go() {
    let (n_events, end) = of_ten_events(false).await;
    assert!((7..=9).contains(&n_events), "{n_events} of ten");
    assert_eq!(end, None);
    let (_, end) = of_ten_events(true).await;
    assert_eq!(end, Some(End::TooSlow));
}
