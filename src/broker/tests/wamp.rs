//! WAMP's clients through the broker: what their router says reaches those concerned, also at other doors.

mod admin;
mod doors;
mod reflection;
mod shards;
mod trust;

use restante_proto::wamp::{Dict, Payload, Serializer, Value};

use super::*;
use crate::router::{
    CallOptions, CalleeFeatures, DisclosePolicy, Features, Match, RegisterOptions, SessionId,
    ToSession, YieldOptions,
};

fn ids() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

struct Client {
    it: Attachment,
    id: u64,
    told: std::collections::VecDeque<WampTold>,
    deliveries: Vec<Delivery>,
    tag: u64,
}

impl Client {
    async fn new(house: &House) -> Client {
        Client::of(house, access::testing::permanent("admin", &[access::ADMIN])).await
    }

    async fn of(house: &House, principal: access::Principal) -> Client {
        let id = ids();
        let client = WampClient {
            session: id,
            authid: "admin".into(),
            authrole: "admin".into(),
            authmethod: "ticket",
            authprovider: "restante",
            transport: "websocket",
            serializer: "wamp.2.json",
            features: Features {
                callee: CalleeFeatures {
                    call_canceling: true,
                    ..CalleeFeatures::default()
                },
                ..Features::default()
            },
        };
        let wish = Attach {
            principal,
            protocol: Protocol::Wamp,
            wamp: Some(Box::new(client)),
            ..wish(None, 0)
        };
        let (it, _) = house.started.broker.attach(wish).await.unwrap();
        Client {
            it,
            id,
            told: std::collections::VecDeque::new(),
            deliveries: Vec::new(),
            tag: 0,
        }
    }

    fn ask(&mut self, ask: WampAsk) {
        self.it.wamp(ask);
        self.it.flush();
    }

    async fn step(&mut self) {
        let ready = tokio::time::timeout(Duration::from_secs(10), self.it.ready());
        ready.await.expect("something comes");
        for event in self.it.drain(1 << 20) {
            match event {
                Event::Wamp(told) => self.told.push_back(*told),
                Event::Delivery(delivery) => self.deliveries.push(*delivery),
                _ => {}
            }
        }
    }

    async fn told(&mut self) -> WampTold {
        while self.told.is_empty() {
            self.step().await;
        }
        self.told.pop_front().unwrap()
    }

    async fn said(&mut self) -> ToSession<Payload> {
        match self.told().await {
            WampTold::Said(said) => *said,
            other => panic!("{other:?}"),
        }
    }

    async fn register(&mut self, procedure: &str) -> u64 {
        self.ask(WampAsk::Register {
            request: 1,
            procedure: procedure.to_owned(),
            filter: procedure.replace('.', "/"),
            options: RegisterOptions::default(),
        });
        match self.told().await {
            WampTold::Registered { registration, .. } => registration,
            other => panic!("{other:?}"),
        }
    }

    fn call(&mut self, request: u64, procedure: &str, text: &str) {
        self.ask(WampAsk::Call(Box::new(WampCall {
            request,
            procedure: procedure.to_owned(),
            address: procedure.replace('.', "/"),
            options: CallOptions::default(),
            disclose: DisclosePolicy::default(),
            continues_only: false,
            serializer: Serializer::Json,
            payload: payload(text),
        })));
    }

    async fn invocation(&mut self) -> (u64, Payload) {
        match self.said().await {
            ToSession::Invocation(it) => (it.request, it.payload),
            other => panic!("{other:?}"),
        }
    }

    fn give(&mut self, invocation: u64, text: &str) {
        self.ask(WampAsk::Yield {
            invocation,
            options: YieldOptions::default(),
            payload: payload(text),
        });
    }

    async fn next_call(&mut self, call: Call) {
        self.tag += 1;
        self.it.call(self.tag, call);
        self.it.flush();
        let (refused, mut deliveries) = until(&mut self.it, self.tag).await;
        // That nobody listens is told, and no fault.
        assert!(refused.iter().all(|(_, why)| *why == Refusal::NoRoute));
        self.deliveries.append(&mut deliveries);
    }
}

fn payload(text: &str) -> Payload {
    Payload::from_values(Serializer::MsgPack, &[text.into()], &Dict::new()).unwrap()
}

fn text(payload: &Payload) -> String {
    match &payload.args().unwrap()[..] {
        [Value::Str(text)] => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn request(address: &str, body: &'static str) -> Call {
    Call::Publish(Box::new(NewMessage {
        address: address.to_owned(),
        reply_to: Some("~answers".to_owned()),
        correlation_id: Some("7".to_owned()),
        body: body.into(),
        text: true,
        ..NewMessage::default()
    }))
}

/// Consumes what [`request`] is answered with.
fn answers() -> Call {
    Call::Consume(Consume {
        consumer: "c".to_owned(),
        address: "~answers".to_owned(),
        source: Source::Queue,
        limit: 10,
        auto_settle: true,
        exclusive: false,
        retained: false,
        shard: None,
    })
}

/// Where a caller's answers of other doors come.
fn replies() -> Call {
    Call::Consume(Consume {
        consumer: REPLIES.to_owned(),
        address: format!("~{REPLIES}"),
        source: Source::Queue,
        limit: 100,
        auto_settle: true,
        exclusive: true,
        retained: false,
        shard: None,
    })
}

/// A client of another door, which has its queue for answers by its first call.
async fn asker(house: &House) -> Attachment {
    let (mut asker, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    asker.call(1, answers());
    asker.flush();
    until(&mut asker, 1).await;
    asker
}

#[tokio::test]
async fn a_call_reaches_its_callee_and_the_result_its_caller() {
    let house = house();
    let (mut callee, mut caller) = (Client::new(&house).await, Client::new(&house).await);
    callee.register("com.add").await;
    caller.call(1, "com.add", "two");
    let (invocation, arguments) = callee.invocation().await;
    assert_eq!(text(&arguments), "two");
    callee.give(invocation, "four");
    let ToSession::Result(result) = caller.said().await else {
        panic!("no result")
    };
    assert_eq!(
        (result.request, text(&result.payload)),
        (1, "four".to_owned())
    );
}

#[tokio::test]
async fn whoever_leaves_takes_all_with_it() {
    let house = house();
    let (mut callee, mut caller) = (Client::new(&house).await, Client::new(&house).await);
    callee.register("com.add").await;
    caller.call(1, "com.add", "x");
    callee.invocation().await;
    drop(callee);
    let ToSession::CallError(error) = caller.said().await else {
        panic!("no error")
    };
    assert_eq!(error.uri, "wamp.error.canceled");
    caller.call(2, "com.add", "x");
    let ToSession::CallError(error) = caller.said().await else {
        panic!("no error")
    };
    assert_eq!(error.uri, "wamp.error.no_such_procedure");
    drop(caller);
    let routers = house
        .started
        .broker
        .shared
        .routers
        .get(DEFAULT_REALM)
        .unwrap();
    let counts = routers.lock().router.counts();
    assert_eq!(
        (counts.sessions, counts.registrations, counts.calls),
        (0, 0, 0)
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_so_much_and_no_more() {
    let house = house();
    let (mut callee, mut caller) = (Client::new(&house).await, Client::new(&house).await);
    callee.register("com.slow").await;
    let large = "x".repeat(1 << 20);
    let mut refused = 0;
    for n in 1..=40 {
        caller.call(n, "com.slow", &large);
        while let Some(told) = {
            let mut events = caller.it.drain(1 << 30);
            events.pop()
        } {
            let Event::Wamp(told) = told else { continue };
            let WampTold::Said(said) = *told else {
                panic!("{told:?}")
            };
            let ToSession::CallError(error) = *said else {
                panic!("{said:?}")
            };
            assert_eq!(error.uri, "wamp.error.unavailable");
            refused += 1;
        }
    }
    assert!(
        (30..=32).contains(&refused),
        "{refused} of 40 calls of 1 MiB"
    );
}

#[tokio::test]
async fn a_procedure_answers_requests_of_other_doors() {
    let house = house();
    let mut callee = Client::new(&house).await;
    callee.register("com.add").await;
    let mut asker = asker(&house).await;
    asker.call(2, request("com/add", "two"));
    asker.flush();
    assert_eq!(until(&mut asker, 2).await.0, []);
    let (invocation, arguments) = callee.invocation().await;
    assert_eq!(text(&arguments), "two");
    callee.give(invocation, "four");
    let mut found = Vec::new();
    deliveries(&mut asker, 1, &mut found).await;
    let message = &found[0].message;
    assert_eq!((&message.body[..], message.text), (&b"four"[..], true));
    assert_eq!(message.correlation_id.as_deref(), Some("7"));
    // An error is told, and says which.
    asker.call(3, request("com/add", "x"));
    asker.flush();
    until(&mut asker, 3).await;
    let (invocation, _) = callee.invocation().await;
    callee.ask(WampAsk::Error {
        invocation,
        uri: "com.error.nan".to_owned(),
        ppt: None,
        payload: payload("no number"),
    });
    deliveries(&mut asker, 2, &mut found).await;
    let error = found[1].message.properties.get("wamp-error");
    assert_eq!(error.map(String::as_str), Some("com.error.nan"));
}

#[tokio::test]
async fn a_queue_that_nobody_consumes_from_keeps_no_request_from_a_procedure() {
    let house = house();
    let mut asker = asker(&house).await;
    // Too early: it is kept, in a queue of that name.
    asker.call(2, request("com/add", "early"));
    asker.flush();
    assert_eq!(until(&mut asker, 2).await.0, []);
    let mut callee = Client::new(&house).await;
    callee.register("com.add").await;
    asker.call(3, request("com/add", "two"));
    asker.flush();
    assert_eq!(until(&mut asker, 3).await.0, []);
    assert_eq!(text(&callee.invocation().await.1), "two");
    // Whoever consumes from it gets what is asked again.
    let (mut worker, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    worker.call(1, consume("com/add", false, 10));
    worker.flush();
    until(&mut worker, 1).await;
    asker.call(4, request("com/add", "three"));
    asker.flush();
    until(&mut asker, 4).await;
    let mut found = Vec::new();
    deliveries(&mut worker, 2, &mut found).await;
    let bodies: Vec<_> = found.iter().map(|it| &it.message.body[..]).collect();
    assert_eq!(bodies, [&b"early"[..], b"three"]);
}

#[tokio::test]
async fn a_call_is_answered_by_other_doors() {
    let house = house();
    let mut caller = Client::new(&house).await;
    let (mut worker, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    worker.call(1, consume("com/work", false, 10));
    worker.flush();
    until(&mut worker, 1).await;
    worker.credit("c", 10);
    caller.call(1, "com.work", "two");
    let WampTold::WantsReplies(call) = caller.told().await else {
        panic!("it needs a queue for answers")
    };
    caller.next_call(replies()).await;
    caller.ask(WampAsk::Call(call));
    let mut found = Vec::new();
    deliveries(&mut worker, 1, &mut found).await;
    let asked = &found[0].message;
    assert_eq!((&asked.body[..], asked.text), (&b"two"[..], true));
    worker.call(
        2,
        Call::Publish(Box::new(NewMessage {
            address: asked.reply_to.clone().unwrap(),
            correlation_id: asked.correlation_id.clone(),
            body: "four".into(),
            text: true,
            ..NewMessage::default()
        })),
    );
    worker.flush();
    until(&mut worker, 2).await;
    while caller.deliveries.is_empty() {
        caller.step().await;
    }
    let answer = caller.deliveries.pop().unwrap().message;
    caller.ask(WampAsk::Answered(Arc::clone(&answer)));
    let ToSession::Result(result) = caller.said().await else {
        panic!("no result")
    };
    assert_eq!(
        (result.request, text(&result.payload)),
        (1, "four".to_owned())
    );
    // Once more it means nothing.
    caller.ask(WampAsk::Answered(answer));
    assert!(caller.told.is_empty());
}

#[tokio::test]
async fn an_event_is_for_whom_its_publisher_wants() {
    let house = house();
    let mut some = [
        Client::new(&house).await,
        Client::new(&house).await,
        Client::new(&house).await,
    ];
    for client in &mut some {
        client.ask(WampAsk::Subscribe {
            request: 1,
            topic: "a.b".to_owned(),
            how: Match::Exact,
            filter: "a/b".to_owned(),
        });
        assert!(matches!(client.told().await, WampTold::Subscribed { .. }));
        client
            .next_call(Call::Consume(Consume {
                consumer: "1".to_owned(),
                address: "a/b".to_owned(),
                source: Source::Topic,
                limit: u64::MAX,
                auto_settle: true,
                exclusive: false,
                retained: false,
                shard: None,
            }))
            .await;
    }
    let ids: Vec<u64> = some.iter().map(|it| it.id).collect();
    let publish = |wamp: crate::message::WampSend| {
        Call::Publish(Box::new(NewMessage {
            address: "a/b".to_owned(),
            wamp: Some(Box::new(wamp)),
            ..NewMessage::default()
        }))
    };
    let all = crate::message::WampSend::default;
    for (wamp, expected) in [
        (all(), [0, 1, 1]),
        (
            crate::message::WampSend {
                to_self: true,
                ..all()
            },
            [1, 1, 1],
        ),
        (
            crate::message::WampSend {
                excluded: vec![ids[1]],
                ..all()
            },
            [0, 0, 1],
        ),
        (
            crate::message::WampSend {
                eligible: Some(vec![ids[1]]),
                ..all()
            },
            [0, 1, 0],
        ),
        (
            crate::message::WampSend {
                eligible: Some(vec![]),
                ..all()
            },
            [0, 0, 0],
        ),
    ] {
        some[0].next_call(publish(wamp.clone())).await;
        let mut got = [0; 3];
        for (client, n) in some.iter_mut().zip(&mut got) {
            for event in client.it.drain(1 << 20) {
                *n += usize::from(matches!(event, Event::Delivery(_)));
            }
            *n += std::mem::take(&mut client.deliveries).len();
        }
        assert_eq!(got, expected, "{wamp:?}");
    }
}

#[tokio::test]
async fn an_authorizer_is_asked_and_believed() {
    let house = house();
    let (mut knows, mut asks) = (Client::new(&house).await, Client::new(&house).await);
    let ask = |question: u64| WampAsk::Authorize {
        question,
        authorizer: "com.may".to_owned(),
        action: "call",
        uri: "com.add".to_owned(),
        how: Match::Exact,
    };
    let told = |question, said| WampTold::Authorized { question, said };
    asks.ask(ask(7));
    assert_eq!(asks.told().await, told(7, Authorized::Failed));
    knows.register("com.may").await;
    let dict = |allow: bool| Value::Dict(Dict::new().with("allow", allow).with("cache", false));
    for (answer, expected) in [
        (
            Value::Bool(true),
            Authorized::Says {
                allow: true,
                cache: true,
            },
        ),
        (
            Value::Bool(false),
            Authorized::Says {
                allow: false,
                cache: true,
            },
        ),
        (
            dict(true),
            Authorized::Says {
                allow: true,
                cache: false,
            },
        ),
        (Value::Null, Authorized::Failed),
        (Value::Int(1), Authorized::Failed),
    ] {
        asks.ask(ask(8));
        let (invocation, arguments) = knows.invocation().await;
        let [details, uri, action, _options] = &arguments.args().unwrap()[..] else {
            panic!("four arguments")
        };
        assert_eq!(details.as_dict().unwrap().id("session"), Ok(Some(asks.id)));
        assert_eq!(
            (uri.as_str(), action.as_str()),
            (Some("com.add"), Some("call"))
        );
        let payload = Payload::from_values(Serializer::Json, &[answer], &Dict::new()).unwrap();
        let options = YieldOptions::default();
        knows.ask(WampAsk::Yield {
            invocation,
            options,
            payload,
        });
        assert_eq!(asks.told().await, told(8, expected));
    }
}

#[tokio::test]
async fn who_may_no_longer_register_loses_its_registrations() {
    let house = house();
    let mut callee = Client::new(&house).await;
    let kept = callee.register("com.kept").await;
    let lost = callee.register("com.lost").await;
    callee
        .it
        .lose_registrations(|_, filter| filter != "com/lost");
    callee.it.flush();
    let routers = house
        .started
        .broker
        .shared
        .routers
        .get(DEFAULT_REALM)
        .unwrap();
    let left = |procedure: &str| routers.lock().router.registration_for(procedure);
    assert_eq!(left("com.kept").map(|it| it.get()), Some(kept));
    assert_eq!(left("com.lost"), None, "{lost}");
    // The session knows, also where its client would not understand.
    let said = callee.said().await;
    let ToSession::Unregistered {
        registration,
        is_told: false,
        ..
    } = said
    else {
        panic!("{said:?}")
    };
    assert_eq!(registration.get(), lost);
}

#[tokio::test]
async fn who_does_not_take_answers_asks_no_more() {
    let house = house();
    let mut client = Client::new(&house).await;
    let count = |n| {
        WampAsk::Call(Box::new(WampCall {
            request: n,
            procedure: "no.such".to_owned(),
            address: "no/such".to_owned(),
            options: CallOptions::default(),
            disclose: DisclosePolicy::default(),
            continues_only: false,
            serializer: Serializer::Json,
            payload: Payload::default(),
        }))
    };
    for what in ["errors", "large results"] {
        let n_asked = (1..20_000)
            .take_while(|n| {
                match what {
                    "errors" => client.it.wamp(count(*n)),
                    _ => client.it.tell_self(WampTold::Result {
                        request: *n,
                        payload: payload(&"x".repeat(100_000)),
                    }),
                }
                client.it.has_room()
            })
            .count();
        let expected = if what == "errors" { 16_000 } else { 80 };
        assert!(
            (expected..=expected + expected / 20).contains(&n_asked),
            "{n_asked} {what}"
        );
        // It goes on as soon as it takes some.
        client.it.flush();
        client.step().await;
        assert!(client.it.has_room());
        while client.it.outbox.put(|waiting| !waiting.wamp.is_empty()) {
            client.step().await;
        }
    }
}

#[tokio::test]
async fn a_client_asks_the_router_for_one_thing_at_a_time() {
    let house = house();
    let mut client = Client::new(&house).await;
    client.ask(WampAsk::Call(Box::new(WampCall {
        request: 1,
        procedure: "wamp.session.list".to_owned(),
        address: "$wamp/session/list".to_owned(),
        options: CallOptions::default(),
        disclose: DisclosePolicy::default(),
        continues_only: false,
        serializer: Serializer::Json,
        payload: Payload::default(),
    })));
    assert!(!client.it.has_room());
    let ready = tokio::time::timeout(Duration::from_secs(10), client.it.ready_for(false));
    ready.await.expect("others have had their turn");
    assert!(client.it.has_room());
    assert!(matches!(client.told().await, WampTold::Result { .. }));
}

#[tokio::test]
async fn a_killed_client_that_does_not_read_is_let_go() {
    let house = house();
    let (mut killer, mut killed) = (Client::new(&house).await, Client::new(&house).await);
    killed.call(1, "no.such", "");
    let id = SessionId::new(killed.id);
    let wamp = house.started.broker.shared.routers.get(DEFAULT_REALM);
    killer.it.with_router(&wamp.unwrap(), |router, sink| {
        router.kill(id, Some("x.why"), None, sink).unwrap();
    });
    killer.it.flush();
    let alarm = tokio::time::timeout(Duration::from_secs(10), killed.it.alarmed());
    alarm.await.expect("it is alarmed");
    let events = killed.it.drain(0);
    let [Event::Wamp(bye), Event::Ended(End::Kicked)] = &events[..] else {
        panic!("{events:?}");
    };
    let WampTold::Said(bye) = &**bye else {
        panic!("{bye:?}");
    };
    assert!(matches!(&**bye, ToSession::Goodbye { reason, .. } if &**reason == "x.why"));
    assert!(killed.it.drain(1 << 20).is_empty());
}

#[tokio::test]
async fn an_event_weighs_what_it_holds_on_to() {
    let house = house();
    let (mut teller, listener) = (Client::new(&house).await, Client::new(&house).await);
    let realm = house.started.broker.shared.routers.get(DEFAULT_REALM);
    let realm = realm.unwrap();
    let id = SessionId::new(listener.id);
    let schema = serde_json::json!({"type": "error", "title": "x".repeat(10_000)});
    let schema = schema.as_object().unwrap().clone();
    teller.it.with_router(&realm, |router, sink| {
        let topic = "wamp.reflect.on_define";
        router
            .subscribe(id, topic, Match::Exact, now(), sink)
            .unwrap();
        let author = SessionId::new(teller.id);
        router
            .define(author, "a.b", crate::router::Reflected::Error, schema, sink)
            .unwrap();
    });
    let weight = listener.it.outbox.put(|waiting| waiting.told_bytes);
    assert!((10_000..12_000).contains(&weight), "{weight}");
}

#[test]
fn lists_of_a_publisher_are_sorted_and_mean_what_they_did() {
    use crate::message::may_be_told;
    use crate::wamp::{event, options::PublishOptions};
    let names = |names: &[&str]| Value::List(names.iter().map(|it| (*it).into()).collect());
    let ids = |ids: &[u64]| Value::List(ids.iter().map(|it| (*it).into()).collect());
    let (eligible, excluded) = (["x", "b", "z", "a", "b", "m"], ["m", "q", "c"]);
    let options = Dict::new()
        .with("eligible", ids(&[9, 2, 7, 2, 4]))
        .with("exclude", ids(&[8, 7, 1]))
        .with("eligible_authid", names(&eligible))
        .with("eligible_authrole", names(&eligible))
        .with("exclude_authid", names(&excluded))
        .with("exclude_authrole", names(&excluded));
    let options = PublishOptions::read(&options).unwrap();
    let message = event::message("a".to_owned(), options, &Payload::none(), 1, None).unwrap();
    let wamp = *message.wamp.unwrap();
    for session in 0..12 {
        let wanted = [9, 2, 7, 2, 4].contains(&session) && ![8, 7, 1].contains(&session);
        assert_eq!(wamp.is_for_session(session), wanted, "{session}");
    }
    let all = ["a", "b", "c", "m", "n", "q", "x", "z", ""];
    for (authid, authrole) in all.iter().flat_map(|id| all.map(|role| (*id, role))) {
        let is_for = |name: &str| eligible.contains(&name) && !excluded.contains(&name);
        let wanted = is_for(authid) && is_for(authrole);
        let found = may_be_told(&wamp.part, authid, authrole);
        assert_eq!(found, wanted, "{authid} {authrole}");
    }
    assert!(wamp.part.eligible_authids.unwrap().names.is_sorted());
    assert!(wamp.part.excluded_authroles.is_sorted());
    assert!(wamp.eligible.unwrap().is_sorted());
}

/// Whose client takes no deliveries.
async fn blocked(it: &mut Attachment, tag: u64) {
    loop {
        let confirms = |event| matches!(event, Event::Confirmed { upto, .. } if upto >= tag);
        if it.drain(0).into_iter().any(confirms) {
            return;
        }
        let ready = tokio::time::timeout(Duration::from_secs(10), it.ready_for(false));
        ready.await.expect("it is confirmed");
    }
}

async fn with_a_retained_message(house: &House) -> Client {
    let mut publisher = Client::new(house).await;
    let message = NewMessage {
        address: "a/b".to_owned(),
        body: "kept".into(),
        retain: true,
        wamp: Some(Box::default()),
        ..NewMessage::default()
    };
    publisher.next_call(Call::Publish(Box::new(message))).await;
    Client::new(house).await
}

fn listen(consumer: &str) -> Call {
    Call::Consume(Consume {
        consumer: consumer.to_owned(),
        address: "a/b".to_owned(),
        source: Source::Topic,
        limit: u64::MAX,
        auto_settle: true,
        exclusive: false,
        retained: true,
        shard: None,
    })
}

#[tokio::test]
async fn what_is_retained_is_told_once_a_blocked_client_takes_it() {
    let house = house();
    let mut client = with_a_retained_message(&house).await;
    client.it.call(1, listen("c"));
    client.it.flush();
    blocked(&mut client.it, 1).await;
    while client.deliveries.is_empty() {
        client.step().await;
    }
    assert_eq!(&client.deliveries[0].message.body[..], b"kept");
}

#[tokio::test]
async fn who_listens_no_more_is_not_told_of_what_is_retained() {
    let house = house();
    let mut client = with_a_retained_message(&house).await;
    let mut tag = 0;
    for n in 0..300 {
        let cancel = Call::Cancel {
            consumer: n.to_string(),
        };
        for call in [listen(&n.to_string()), cancel] {
            tag += 1;
            client.it.call(tag, call);
            client.it.flush();
            blocked(&mut client.it, tag).await;
        }
        let waiting = client.it.wamp.as_ref().unwrap().telling.n_waiting();
        assert!(waiting <= 64, "{waiting} wait after {n}");
    }
    client.it.call(tag + 1, listen("c"));
    client.it.flush();
    blocked(&mut client.it, tag + 1).await;
    while client.deliveries.is_empty() {
        client.step().await;
        // The others are left out at once.
        let waiting = client.it.wamp.as_ref().unwrap().telling.n_waiting();
        assert!(waiting <= 1, "{waiting}");
    }
}
