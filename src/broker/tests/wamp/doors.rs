//! Requests of other doors that procedures do not answer.

use std::time::Instant;

use super::*;
use crate::broker::keeper::Scribe;
use crate::broker::wamp::tests::{forget_all, has_all, n_asked, n_requesters};
use crate::router::CancelMode;

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
    let mut asker = asker(&house).await;
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
    let mut asker = asker(&house).await;
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

/// A client, with its queue for answers, and whoever works at `com/work`, by the consumer `c`.
async fn caller_and_worker(house: &House) -> (Client, Attachment) {
    let mut caller = Client::new(house).await;
    let (mut worker, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    worker.call(1, consume("com/work", false, 10));
    worker.flush();
    until(&mut worker, 1).await;
    caller.next_call(replies()).await;
    (caller, worker)
}

#[tokio::test]
async fn a_call_to_another_door_that_is_canceled_is_forgotten() {
    let house = house();
    let (mut caller, _worker) = caller_and_worker(&house).await;
    let modes = [CancelMode::Skip, CancelMode::Kill, CancelMode::KillNoWait];
    for (request, mode) in (1..).zip(modes) {
        caller.call(request, "com.work", "two");
        assert_eq!(n_asked(&caller.it), 1);
        caller.ask(WampAsk::Cancel { request, mode });
        assert_eq!(n_asked(&caller.it), 0, "{mode:?}");
        let ToSession::CallError(error) = caller.said().await else {
            panic!("no error")
        };
        assert_eq!(
            (error.request, &*error.uri),
            (request, "wamp.error.canceled")
        );
        let routers = house.started.broker.shared.routers.get(DEFAULT_REALM);
        assert_eq!(routers.unwrap().lock().router.counts().calls, 0);
    }
}

fn house_that_discloses(disclose: DisclosePolicy) -> House {
    let folder = tempfile::tempdir().unwrap();
    house_in(folder, LogOptions::default(), |settings| {
        settings.wamp.disclose = disclose;
    })
}

const POLICIES: [DisclosePolicy; 3] = [
    DisclosePolicy::Asked,
    DisclosePolicy::Always,
    DisclosePolicy::Never,
];

#[tokio::test]
async fn who_asks_by_another_door_is_disclosed_as_the_settings_say() {
    for disclose in POLICIES {
        for disclose_caller in [true, false] {
            let house = house_that_discloses(disclose);
            let mut callee = Client::new(&house).await;
            callee.ask(WampAsk::Register {
                request: 1,
                procedure: "com.add".to_owned(),
                filter: "com/add".to_owned(),
                options: RegisterOptions {
                    disclose_caller,
                    ..RegisterOptions::default()
                },
            });
            callee.told().await;
            let (mut asker, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
            asker.call(1, answers());
            asker.call(2, request("com/add", "two"));
            asker.flush();
            until(&mut asker, 2).await;
            let ToSession::Invocation(it) = callee.said().await else {
                panic!("no invocation")
            };
            let is_told = match disclose {
                DisclosePolicy::Asked => disclose_caller,
                DisclosePolicy::Always => true,
                DisclosePolicy::Never => false,
            };
            assert_eq!(it.caller.is_some(), is_told, "{disclose:?}");
        }
    }
}

#[tokio::test]
async fn a_testament_discloses_as_the_settings_say() {
    for disclose in POLICIES {
        for wishes in [true, false] {
            let house = house_that_discloses(disclose);
            let (mut heir, mut author) = (Client::new(&house).await, Client::new(&house).await);
            let subscribe = Call::Consume(Consume {
                consumer: "1".to_owned(),
                address: "a/b".to_owned(),
                source: Source::Topic,
                limit: u64::MAX,
                auto_settle: true,
                exclusive: false,
                retained: false,
                shard: None,
            });
            heir.next_call(subscribe).await;
            let none = || Value::List(Vec::new());
            let args = ["a.b".into(), none(), Value::Dict(Dict::new())];
            let options = Dict::new().with("disclose_me", wishes);
            let kwargs = Dict::new().with("publish_options", options);
            author.ask(WampAsk::Call(Box::new(WampCall {
                request: 1,
                procedure: "wamp.session.add_testament".to_owned(),
                address: "wamp/session/add_testament".to_owned(),
                options: CallOptions::default(),
                disclose,
                continues_only: false,
                serializer: Serializer::Json,
                payload: Payload::from_values(Serializer::Json, &args, &kwargs).unwrap(),
            })));
            let answer = author.told().await;
            if disclose == DisclosePolicy::Never && wishes {
                let refused = "wamp.error.option_disallowed.disclose_me";
                assert!(matches!(answer, WampTold::Refused { uri, .. } if uri == refused));
                continue;
            }
            assert!(matches!(answer, WampTold::Result { .. }), "{answer:?}");
            drop(author);
            while heir.deliveries.is_empty() {
                heir.step().await;
            }
            let message = &heir.deliveries[0].message;
            let publisher = message.wamp.as_ref().and_then(|it| it.publisher.as_ref());
            let is_told = disclose == DisclosePolicy::Always || wishes;
            assert_eq!(publisher.is_some(), is_told, "{disclose:?} {wishes}");
        }
    }
}
