//! Requests of other doors that procedures do not answer.

use std::time::Instant;

use super::*;
use crate::broker::keeper::Scribe;
use crate::broker::wamp::tests::{forget_all, has_all, n_requesters};

/// Longer than any request waits that says nothing of its own.
const LONG: Duration = Duration::from_secs(301);

fn answer_late(house: &House, now: Instant) {
    let mut scribe = Scribe::new(Arc::clone(&house.started.broker.shared));
    scribe.answer_late(now);
    scribe.write_all(Vec::new());
}

fn requesters(house: &House) -> usize {
    n_requesters(&house.started.broker.shared, DEFAULT_REALM)
}

#[tokio::test]
async fn whoever_is_not_answered_in_time_hears_so() {
    let house = house();
    let mut callee = Client::new(&house).await;
    callee.register("com.slow").await;
    let (mut asker, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    asker.call(1, answers());
    asker.flush();
    until(&mut asker, 1).await;
    asker.call(2, request("com/slow", "two"));
    asker.flush();
    assert_eq!(until(&mut asker, 2).await.0, []);
    let (invocation, _) = callee.invocation().await;
    answer_late(&house, Instant::now());
    assert_eq!(requesters(&house), 1);
    answer_late(&house, Instant::now() + LONG);
    assert_eq!(requesters(&house), 0);
    let mut found = Vec::new();
    deliveries(&mut asker, 1, &mut found).await;
    let message = &found[0].message;
    assert_eq!(message.correlation_id.as_deref(), Some("7"));
    let error = message.properties.get("wamp-error");
    assert_eq!(error.map(String::as_str), Some("wamp.error.timeout"));
    assert!(message.text && !message.body.is_empty());
    // The callee hears so too, and what it says then means nothing.
    assert!(matches!(callee.said().await, ToSession::Interrupt(_)));
    callee.give(invocation, "four");
    let routers = house.started.broker.shared.routers.get(DEFAULT_REALM);
    assert_eq!(routers.unwrap().lock().router.counts().calls, 0);
}

#[tokio::test]
async fn an_answer_that_is_late_is_kept_for_whoever_is_away() {
    let house = house();
    let mut callee = Client::new(&house).await;
    callee.register("com.slow").await;
    let (mut asker, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    asker.call(1, consume("kept", false, 10));
    asker.flush();
    until(&mut asker, 1).await;
    let Call::Publish(mut message) = request("com/slow", "two") else {
        unreachable!("it is one")
    };
    message.reply_to = Some("kept".to_owned());
    message.ttl_ms = Some(1000);
    asker.call(2, Call::Publish(message));
    asker.flush();
    until(&mut asker, 2).await;
    callee.invocation().await;
    drop(asker);
    answer_late(&house, Instant::now() + Duration::from_secs(2));
    assert_eq!(requesters(&house), 0);
    let (mut heir, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    heir.call(1, consume("kept", false, 10));
    heir.flush();
    until(&mut heir, 1).await;
    heir.credit("c", 10);
    let mut found = Vec::new();
    deliveries(&mut heir, 1, &mut found).await;
    let error = found[0].message.properties.get("wamp-error");
    assert_eq!(error.map(String::as_str), Some("wamp.error.timeout"));
}

#[tokio::test]
async fn nobody_has_more_requests_than_so_many() {
    let house = house();
    let mut callee = Client::new(&house).await;
    callee.register("com.slow").await;
    let (mut asker, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    asker.call(1, answers());
    asker.flush();
    until(&mut asker, 1).await;
    let shared = &house.started.broker.shared;
    has_all(shared, DEFAULT_REALM, &asker.principal.name);
    asker.call(2, request("com/slow", "two"));
    asker.flush();
    assert_eq!(until(&mut asker, 2).await.0, [(2, Refusal::TooMany)]);
    forget_all(shared, DEFAULT_REALM);
    asker.call(3, request("com/slow", "two"));
    asker.flush();
    assert_eq!(until(&mut asker, 3).await.0, []);
    callee.invocation().await;
}
