//! What SP's clients share: requests that wait in memory for who answers them, pairs, and what they say to others.

use std::collections::VecDeque;

use restante_proto::sp::Role;

use super::*;
use crate::message::SpSend;

struct Client {
    it: Attachment,
    tag: u64,
    found: VecDeque<Delivery>,
}

impl Client {
    async fn of(house: &House, protocol: Protocol) -> Client {
        let wish = Attach {
            protocol,
            ..wish(None, 0)
        };
        Self::attached(house, wish).await
    }

    async fn attached(house: &House, wish: Attach) -> Client {
        let (it, _) = house.started.broker.attach(wish).await.unwrap();
        Client {
            it,
            tag: 0,
            found: VecDeque::new(),
        }
    }

    async fn new(house: &House) -> Client {
        Self::of(house, Protocol::Sp).await
    }

    /// Calls, and says why it was refused.
    async fn call(&mut self, call: Call) -> Option<Refusal> {
        self.tag += 1;
        self.it.call(self.tag, call);
        self.it.flush();
        let (refused, found) = until(&mut self.it, self.tag).await;
        self.found.extend(found);
        refused.last().map(|(_, why)| *why)
    }

    async fn consume(&mut self, address: &str, source: Source, limit: u64) -> Option<Refusal> {
        let wish = Consume {
            consumer: "c".to_owned(),
            address: address.to_owned(),
            source,
            limit,
            auto_settle: false,
            exclusive: false,
            retained: false,
            shard: None,
        };
        self.call(Call::Consume(wish)).await
    }

    /// An asker's queue for answers.
    async fn hears_answers(&mut self) {
        assert_eq!(self.consume("~replies", Source::Queue, 100).await, None);
    }

    async fn send(&mut self, address: &str, sp: Option<SpSend>, body: &str) -> Option<Refusal> {
        let reply_to = (sp == Some(SpSend::Asked)).then(|| "~replies".to_owned());
        let message = NewMessage {
            address: address.to_owned(),
            correlation_id: reply_to.as_ref().map(|_| body.to_owned()),
            reply_to,
            body: body.to_owned().into(),
            sp,
            ..NewMessage::default()
        };
        self.call(Call::Publish(Box::new(message))).await
    }

    async fn ask(&mut self, address: &str, body: &str) {
        let refused = self.send(address, Some(SpSend::Asked), body).await;
        assert_eq!(refused, None);
    }

    async fn next(&mut self) -> Delivery {
        let mut found = Vec::from(std::mem::take(&mut self.found));
        deliveries(&mut self.it, 1, &mut found).await;
        self.found = found.into();
        self.found.pop_front().unwrap()
    }

    async fn end(&mut self) -> End {
        loop {
            self.it.ready().await;
            let ended = self.it.drain(1 << 20).into_iter().find_map(|it| match it {
                Event::Ended(end) => Some(end),
                _ => None,
            });
            if let Some(end) = ended {
                return end;
            }
        }
    }

    async fn next_body(&mut self) -> String {
        String::from_utf8(self.next().await.message.body.to_vec()).unwrap()
    }

    /// Answers a request, and settles it.
    async fn answer(&mut self, asked: &Delivery, body: &str) {
        let message = NewMessage {
            address: asked.message.reply_to.clone().unwrap(),
            correlation_id: asked.message.correlation_id.clone(),
            body: body.to_owned().into(),
            sp: Some(SpSend::Told),
            ..NewMessage::default()
        };
        assert_eq!(self.call(Call::Publish(Box::new(message))).await, None);
        self.accept(asked).await;
    }

    async fn accept(&mut self, delivery: &Delivery) {
        let settle = Settle {
            consumer: "c".to_owned(),
            accepted: [delivery.offset].into_iter().collect(),
            ..Settle::default()
        };
        assert_eq!(self.call(Call::Settle(settle)).await, None);
    }

    /// Nothing more came by the time that all that was asked before is done.
    async fn has_nothing(&mut self, house: &House) {
        let (answer, answered) = tokio::sync::oneshot::channel();
        house
            .started
            .broker
            .shared
            .ask(super::core::Ask::Answer(answer));
        answered.await.unwrap();
        for event in self.it.drain(1 << 20) {
            assert!(!matches!(event, Event::Delivery(_)), "{event:?}");
        }
        assert!(self.found.is_empty());
    }
}

/// The queues that there are by name.
fn names(house: &House) -> Vec<String> {
    let routes = house.started.broker.shared.routes.load();
    let names = routes.queues.get(DEFAULT_REALM).map(|it| &it.names);
    names
        .into_iter()
        .flat_map(|names| names.keys())
        .map(ToString::to_string)
        .filter(|name| !name.starts_with('~'))
        .collect()
}

/// Waits until a client that was dropped has left.
async fn settles(house: &House, wanted: &[&str]) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while names(house) != wanted {
        assert!(std::time::Instant::now() < deadline, "{:?}", names(house));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn requests_wait_for_who_answers() {
    let house = house();
    let (mut asker, mut other) = (Client::new(&house).await, Client::new(&house).await);
    asker.hears_answers().await;
    other.hears_answers().await;
    asker.ask("work", "one").await;
    other.ask("work", "two").await;
    // Whoever asked and is gone need not be answered.
    drop(other);
    let mut worker = Client::new(&house).await;
    assert_eq!(worker.consume("work", Source::Requests, 1).await, None);
    let asked = worker.next().await;
    assert_eq!(asked.message.body, "one");
    worker.answer(&asked, "1").await;
    assert_eq!(asker.next_body().await, "1");
    worker.it.credit("c", 2);
    asker.ask("work", "three").await;
    assert_eq!(worker.next_body().await, "three");
    drop(worker);
    drop(asker);
    settles(&house, &[]).await;
}

#[tokio::test]
async fn a_request_in_hand_goes_to_another_when_who_has_it_is_gone() {
    let house = house();
    let mut asker = Client::new(&house).await;
    asker.hears_answers().await;
    let (mut first, mut second) = (Client::new(&house).await, Client::new(&house).await);
    first.consume("work", Source::Requests, 1).await;
    asker.ask("work", "one").await;
    assert_eq!(first.next_body().await, "one");
    second.consume("work", Source::Requests, 1).await;
    second.has_nothing(&house).await;
    drop(first);
    let asked = second.next().await;
    assert_eq!(
        (&asked.message.body[..], asked.attempt),
        (&b"one"[..], 2),
        "as it came"
    );
    second.answer(&asked, "1").await;
    assert_eq!(asker.next_body().await, "1");
}

#[tokio::test]
async fn a_request_waits_although_all_who_answer_have_left() {
    let house = house();
    let mut asker = Client::new(&house).await;
    asker.hears_answers().await;
    let mut first = Client::new(&house).await;
    first.consume("work", Source::Requests, 0).await;
    asker.ask("work", "one").await;
    drop(first);
    let mut second = Client::new(&house).await;
    second.consume("work", Source::Requests, 1).await;
    assert_eq!(second.next_body().await, "one");
}

#[tokio::test]
async fn only_what_is_to_be_answered_comes_to_who_answers() {
    let house = house();
    let (mut worker, mut sender) = (Client::new(&house).await, Client::new(&house).await);
    worker.consume("work", Source::Requests, 10).await;
    assert_eq!(sender.send("work", None, "pushed").await, None);
    assert_eq!(sender.send("work", Some(SpSend::Told), "told").await, None);
    worker.has_nothing(&house).await;
    // What is pushed is kept for who takes it.
    let mut puller = Client::new(&house).await;
    puller.consume("work", Source::Queue, 1).await;
    assert_eq!(puller.next_body().await, "pushed");
    settles(&house, &["$req/work", "work"]).await;
    // Who comes now answers what comes to that queue.
    let mut late = Client::new(&house).await;
    late.consume("work", Source::Requests, 10).await;
    assert_eq!(late.next_body().await, "told");
}

#[tokio::test]
async fn other_doors_ask_and_answer() {
    let house = house();
    let mut worker = Client::new(&house).await;
    worker.consume("work", Source::Requests, 10).await;
    let mut asker = Client::of(&house, Protocol::Mbws).await;
    asker.hears_answers().await;
    let message = NewMessage {
        address: "work".to_owned(),
        reply_to: Some("~replies".to_owned()),
        body: "from elsewhere".into(),
        ..NewMessage::default()
    };
    assert_eq!(asker.call(Call::Publish(Box::new(message))).await, None);
    let asked = worker.next().await;
    assert_eq!(asked.message.body, "from elsewhere");
    worker.answer(&asked, "answered").await;
    assert_eq!(asker.next_body().await, "answered");
    // The other way round: a consumer of a queue answers.
    let mut answers = Client::of(&house, Protocol::Mbws).await;
    answers.consume("jobs", Source::Queue, 10).await;
    let mut asker = Client::new(&house).await;
    asker.hears_answers().await;
    asker.ask("jobs", "job").await;
    let asked = answers.next().await;
    assert_eq!(asked.message.correlation_id.as_deref(), Some("job"));
    answers.answer(&asked, "done").await;
    assert_eq!(asker.next_body().await, "done");
}

#[tokio::test]
async fn nobody_there_is_no_fault() {
    let house = house();
    let mut sender = Client::new(&house).await;
    for told in [SpSend::Told, SpSend::ToOthers] {
        let refused = sender.send("nobody", Some(told), "x").await;
        assert_eq!(refused, Some(Refusal::NoRoute), "the session is told");
    }
    assert!(names(&house).is_empty(), "no queue is made for it");
}

#[tokio::test]
async fn all_but_the_sender_hear_it() {
    let house = house();
    let mut some = Vec::new();
    for _ in 0..3 {
        let mut client = Client::new(&house).await;
        client.consume("bus", Source::Topic, 10).await;
        some.push(client);
    }
    assert_eq!(
        some[1].send("bus", Some(SpSend::ToOthers), "hello").await,
        None
    );
    assert_eq!(some[0].next_body().await, "hello");
    assert_eq!(some[2].next_body().await, "hello");
    some[1].has_nothing(&house).await;
}

#[tokio::test]
async fn a_pair_has_two_ends() {
    let house = house();
    let pair = |version| Source::Pair { version };
    let (mut one, mut two) = (Client::new(&house).await, Client::new(&house).await);
    assert_eq!(one.consume("talk", pair(0), 10).await, None);
    let to_peer = Some(SpSend::ToPeer);
    assert_eq!(one.send("talk", to_peer, "early").await, None);
    assert_eq!(two.consume("talk", pair(0), 10).await, None);
    assert_eq!(two.next_body().await, "early");
    two.send("talk", to_peer, "back").await;
    let back = one.next().await;
    assert_eq!(back.message.body, "back");
    one.accept(&back).await;
    let mut third = Client::new(&house).await;
    assert_eq!(
        third.consume("talk", pair(0), 10).await,
        Some(Refusal::InUse)
    );
    assert_eq!(third.consume("talk", pair(1), 10).await, None, "another");
    drop(third);
    // Who comes in the place of one end gets what that has not taken.
    drop(two);
    one.send("talk", to_peer, "meanwhile").await;
    settles(&house, &["$pair0/0/talk", "$pair0/1/talk"]).await;
    let mut next = Client::new(&house).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while next.consume("talk", pair(0), 10).await.is_some() {
        assert!(std::time::Instant::now() < deadline, "its place is taken");
    }
    assert_eq!(next.next_body().await, "early");
    assert_eq!(next.next_body().await, "meanwhile");
    one.has_nothing(&house).await;
    drop((one, next));
    settles(&house, &[]).await;
}

#[tokio::test]
async fn who_may_not_does_not_join() {
    use restante_admin_api::document::Effect;
    let house = house();
    let rule = access::testing::rule(Effect::Allow, "shop", &[Verb::Send], DEFAULT_REALM, "a");
    let documents = access::testing::House::new().rule("a", rule);
    let documents = documents.registry.documents.values();
    let documents = documents.map(|it| (it.id.clone(), Some(it.document.clone())));
    registrar::set_all(&house.started.broker, documents.collect()).await;
    let wish = Attach {
        principal: access::testing::permanent("jwt:ada", &["shop"]),
        protocol: Protocol::Sp,
        ..wish(None, 0)
    };
    let (it, _) = house.started.broker.attach(wish).await.unwrap();
    let mut ada = Client {
        it,
        tag: 0,
        found: VecDeque::new(),
    };
    for source in [Source::Requests, Source::Pair { version: 0 }] {
        let refused = ada.consume("a", source, 1).await;
        assert_eq!(refused, Some(Refusal::Denied));
    }
    ada.hears_answers().await;
    ada.ask("a", "allowed").await;
    let refused = ada.send("b", Some(SpSend::Asked), "not").await;
    assert_eq!(refused, Some(Refusal::Denied));
}

#[tokio::test]
async fn who_answers_goes_to_a_durable_queue_once_there_is_one() {
    let house = house();
    let mut asker = Client::new(&house).await;
    asker.hears_answers().await;
    let mut worker = Client::new(&house).await;
    worker.consume("work", Source::Requests, 10).await;
    // It is on disk, whoever is there for requests in memory.
    let refused = asker.send("work", Some(SpSend::AskedDurably), "kept").await;
    assert_eq!(refused, None);
    assert_eq!(worker.end().await, End::Moved);
    drop(worker);
    let mut worker = Client::new(&house).await;
    worker.consume("work", Source::Requests, 10).await;
    assert_eq!(worker.next_body().await, "kept");
    asker.ask("work", "once").await;
    assert_eq!(worker.next_body().await, "once");
    worker.has_nothing(&house).await;
    settles(&house, &["work"]).await;
}

#[tokio::test]
async fn listings_show_what_a_client_is_and_where() {
    let house = house();
    let mut clients = Vec::new();
    for (role, address, wanted) in [
        (Role::Rep, "work", Some("$req/work")),
        (Role::Pair1, "two", Some("$pair1/0/two")),
        (Role::Push, "jobs", None),
    ] {
        let mut wish = wish(None, 0);
        wish.protocol = Protocol::Sp;
        wish.sp = Some(Box::new(SpClient {
            role,
            address: address.into(),
        }));
        let mut client = Client::attached(&house, wish).await;
        let source = match role {
            Role::Rep => Some(Source::Requests),
            Role::Pair1 => Some(Source::Pair { version: 1 }),
            _ => None,
        };
        if let Some(source) = source {
            assert_eq!(client.consume(address, source, 1).await, None);
        }
        clients.push((client, role, address, wanted));
    }
    let listed = house.started.broker.connections(None, 10);
    assert_eq!(listed.len(), clients.len());
    for (listed, (_, role, address, queue)) in listed.iter().zip(&clients) {
        let sp = listed.sp.as_ref().unwrap();
        assert_eq!(listed.protocol, "sp");
        assert_eq!(
            (&*sp.pattern, &*sp.role, &*sp.address, sp.queue.as_deref()),
            (role.pattern(), role.name(), *address, *queue)
        );
    }
}
