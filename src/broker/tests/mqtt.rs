//! MQTT sessions in a whole broker: identity, subscriptions, the two ways in which a message gets to a session, QoS 2, groups.

mod wills;

use restante_admin_api::document::Effect;

use super::registrar::set_all;
use super::*;
use crate::access::testing::rule;
use crate::message::Message;
use crate::registry::{Document, DocumentId, User};

/// A client's wish: `expiry` in seconds.
fn client(id: &str, expiry: u64, fresh: bool) -> Attach {
    let usual = wish(None, expiry);
    Attach {
        protocol: Protocol::Mqtt,
        client: Some(id.into()),
        session: SessionWish {
            fresh,
            ..usual.session
        },
        ..usual
    }
}

/// One client: calls one after the other, and keeps what it was sent meanwhile.
struct It {
    inner: Attachment,
    attached: Attached,
    tag: u64,
    got: Vec<Delivery>,
}

impl It {
    /// It asks now, whenever its wish was written down.
    async fn attach(house: &House, wish: Attach) -> It {
        let asked = std::time::Instant::now();
        let tried = Self::tries(house, Attach { asked, ..wish }).await;
        tried.expect("it is let in")
    }

    async fn tries(house: &House, wish: Attach) -> Result<It, AttachError> {
        let (inner, attached) = house.started.broker.attach(wish).await?;
        let tag = attached.confirmed;
        Ok(It {
            inner,
            attached,
            tag,
            got: Vec::new(),
        })
    }

    async fn new(house: &House, id: &str, expiry: u64) -> It {
        Self::attach(house, client(id, expiry, false)).await
    }

    fn state(&self) -> &MqttState {
        self.attached.mqtt.as_ref().expect("it speaks MQTT")
    }

    /// What becomes of a call.
    async fn call(&mut self, call: Call) -> Option<Refusal> {
        self.tag += 1;
        self.inner.call(self.tag, call);
        self.inner.flush();
        let (refused, got) = until(&mut self.inner, self.tag).await;
        self.got.extend(got);
        refused
            .into_iter()
            .find_map(|(tag, why)| (tag == self.tag).then_some(why))
    }

    async fn done(&mut self, call: Call) {
        assert_eq!(self.call(call).await, None);
    }

    async fn subscribe(&mut self, filter: &str, qos: u8) {
        self.done(subscribe(filter, qos)).await;
    }

    async fn publish(&mut self, address: &str, qos: u8, body: &str) -> Landed {
        let refused = self.call(publish(address, qos, body)).await;
        let landed = self.inner.landed();
        // The session is told so; it is no error.
        let nowhere = (landed == Landed::Nowhere).then_some(Refusal::NoRoute);
        assert_eq!(refused, nowhere, "{landed:?}");
        landed
    }

    /// Lets its own queue deliver.
    fn credit(&mut self, limit: u64) {
        self.inner.credit(OWN_CONSUMER, limit);
    }

    /// The next `n` messages: consumer and body. What came before the last call returned is among them.
    async fn next(&mut self, n: usize) -> Vec<(String, String)> {
        let mut got = std::mem::take(&mut self.got);
        deliveries(&mut self.inner, n, &mut got).await;
        self.got = got.split_off(n);
        let short = |it: Delivery| (it.consumer.to_string(), text(&it.message));
        got.into_iter().map(short).collect()
    }

    async fn next_delivery(&mut self) -> Delivery {
        let mut got = std::mem::take(&mut self.got);
        deliveries(&mut self.inner, 1, &mut got).await;
        self.got = got.split_off(1);
        got.remove(0)
    }

    /// It gets nothing: all that was confirmed before to `other`, who publishes last, would have come ahead of that.
    async fn gets_only(&mut self, wanted: &[(&str, &str)]) {
        let got = self.next(wanted.len()).await;
        let got: Vec<(&str, &str)> = got.iter().map(|(a, b)| (&**a, &**b)).collect();
        assert_eq!(got, wanted);
        assert_eq!(self.got.len(), 0, "{:?}", self.got);
    }

    async fn accept(&mut self, consumer: &str, offset: u64) {
        self.done(settle(consumer, offset, &[])).await;
    }

    async fn end(&mut self) -> End {
        loop {
            let ended = self.inner.drain(1024).into_iter().find_map(|it| match it {
                Event::Ended(end) => Some(end),
                _ => None,
            });
            if let Some(end) = ended {
                return end;
            }
            let ready = tokio::time::timeout(Duration::from_secs(10), self.inner.ready());
            ready.await.expect("it ends");
        }
    }

    /// Its socket is gone, and the core has heard of it.
    async fn leaves(self, house: &House) {
        let session = self.attached.session;
        let outbox = Arc::clone(&self.inner.outbox);
        drop(self);
        wait(house, async || {
            let broker = &house.started.broker;
            let found = broker.find(session).await.unwrap();
            let routes = broker.shared.routes.load();
            let mut listeners = routes.topics.values().flat_map(|it| it.iter());
            found.is_none_or(|it| it.outbox.is_none())
                && listeners.all(|(_, it)| !Arc::ptr_eq(it.outbox(), &outbox))
        })
        .await;
    }
}

/// Waits until something holds.
async fn wait(_house: &House, holds: impl AsyncFn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(std::time::Instant::now() < deadline, "it never comes true");
        tokio::task::yield_now().await;
    }
}

fn text(message: &Message) -> String {
    String::from_utf8(message.body.to_vec()).unwrap()
}

fn subscribe(filter: &str, qos: u8) -> Call {
    Call::Subscribe(Subscribe {
        filter: filter.to_owned(),
        qos,
        ..Subscribe::default()
    })
}

fn share(group: &str, filter: &str) -> Call {
    Call::Subscribe(Subscribe {
        filter: filter.to_owned(),
        share: Some(group.to_owned()),
        qos: 1,
        ..Subscribe::default()
    })
}

fn unsubscribe(filter: &str, share: Option<&str>) -> Call {
    Call::Unsubscribe {
        filter: filter.to_owned(),
        share: share.map(str::to_owned),
    }
}

fn publish(address: &str, qos: u8, body: &str) -> Call {
    publish_as(address, qos, body, 0)
}

fn publish_as(address: &str, qos: u8, body: &str, packet: u16) -> Call {
    Call::Publish(Box::new(NewMessage {
        address: address.to_owned(),
        body: body.to_owned().into(),
        qos: Some(qos),
        packet,
        ..NewMessage::default()
    }))
}

fn settle(consumer: &str, offset: u64, releasing: &[u16]) -> Call {
    Call::Settle(Settle {
        consumer: consumer.to_owned(),
        accepted: Ranges::from_iter([offset]),
        releasing: releasing.to_vec(),
        ..Settle::default()
    })
}

fn kept(it: &It) -> Vec<(String, u32)> {
    let subscriptions = it.state().subscriptions.iter();
    subscriptions
        .map(|it| (it.filter.clone(), it.qos))
        .collect()
}

/// What a new session begins with.
fn nothing(kept: bool) -> MqttState {
    MqttState {
        kept,
        ..MqttState::default()
    }
}

fn has_queue(house: &House, name: &str) -> bool {
    let routes = house.started.broker.shared.routes.load();
    let realm = routes.queues.get(DEFAULT_REALM);
    realm.is_some_and(|realm| realm.names.contains_key(name))
}

// Identity.

#[tokio::test]
async fn a_session_is_its_clients_in_its_realm() {
    let house = house();
    let a = It::new(&house, "a", 60).await;
    let b = It::new(&house, "b", 60).await;
    assert_ne!(a.attached.session, b.attached.session);
    assert_eq!(a.attached.session, client_session(DEFAULT_REALM, "a"));
    assert_ne!(client_session("x", "a"), client_session(DEFAULT_REALM, "a"));
    assert!(!a.attached.resumed);
    assert_eq!(a.state(), &nothing(true));
    // One that does not outlive its socket has it too.
    a.leaves(&house).await;
    let plain = It::new(&house, "c", 0).await;
    assert_eq!(plain.attached.session, client_session(DEFAULT_REALM, "c"));
    assert_eq!(plain.attached.expiry, Duration::ZERO);
}

#[tokio::test]
async fn whoever_comes_with_the_same_client_id_takes_over() {
    for (first, second) in [(60, 60), (60, 0), (0, 60), (0, 0)] {
        let house = house();
        let mut old = It::new(&house, "a", first).await;
        let new = It::new(&house, "a", second).await;
        assert_eq!(new.attached.resumed, first > 0, "{first} {second}");
        assert_eq!(old.end().await, End::TakenOver);
        drop(old);
        // The one that is there stays there.
        let mut new = new;
        new.subscribe("x", 1).await;
        assert_eq!(house.started.broker.n_attached(), 1);
    }
}

#[tokio::test]
async fn who_asked_earlier_and_was_known_later_takes_nothing_over() {
    for expiry in [0, 60] {
        for fresh in [false, true] {
            let house = house();
            let late = client("a", expiry, fresh);
            let mut it = It::new(&house, "a", 60).await;
            let tried = It::tries(&house, late).await;
            assert_eq!(tried.err(), Some(AttachError::TakenOver));
            // The one that is there stays there, with its session.
            it.subscribe("x", 1).await;
            assert_eq!(house.started.broker.n_attached(), 1);
            it.leaves(&house).await;
            assert!(It::new(&house, "a", 60).await.attached.resumed);
        }
    }
}

#[tokio::test]
async fn nobody_takes_over_somebody_elses_session() {
    let eve = |expiry, fresh| Attach {
        principal: access::testing::permanent("eve", &[access::ADMIN]),
        ..client("a", expiry, fresh)
    };
    for own in [0, 60] {
        let house = house();
        let mut it = It::new(&house, "a", own).await;
        for (expiry, fresh) in [(0, false), (60, false), (0, true), (60, true)] {
            let tried = It::tries(&house, eve(expiry, fresh)).await;
            assert_eq!(tried.err(), Some(AttachError::NotYours));
        }
        it.subscribe("x", 1).await;
    }
    // Nor while its client is away.
    let house = house();
    It::new(&house, "a", 60).await.leaves(&house).await;
    let tried = It::tries(&house, eve(60, true)).await;
    assert_eq!(tried.err(), Some(AttachError::NotYours));
    assert!(It::new(&house, "a", 60).await.attached.resumed);
}

#[tokio::test]
async fn no_door_goes_on_with_another_ones_session() {
    let house = house();
    let mqtt = It::new(&house, "a", 60).await;
    let broker = &house.started.broker;
    let tried = broker.attach(wish(Some(mqtt.attached.session), 60)).await;
    assert_eq!(tried.err(), Some(AttachError::NotYours));
    let id = client_session(DEFAULT_REALM, "b");
    let (mbws, _) = broker.attach(wish(Some(id), 60)).await.unwrap();
    drop(mbws);
    let tried = It::tries(&house, client("b", 60, true)).await;
    assert_eq!(tried.err(), Some(AttachError::NotYours));
}

#[tokio::test]
async fn a_fresh_session_begins_with_nothing() {
    for expiry in [0, 60] {
        let house = house();
        let mut it = It::new(&house, "a", 60).await;
        it.subscribe("x", 1).await;
        it.publish("x", 1, "old").await;
        let nowhere = it.call(publish_as("y", 2, "", 9)).await;
        assert_eq!(nowhere, Some(Refusal::NoRoute));
        it.leaves(&house).await;
        let mut it = It::attach(&house, client("a", expiry, true)).await;
        assert!(!it.attached.resumed);
        assert_eq!(it.state(), &nothing(expiry > 0));
        assert!(!has_queue(&house, "$mqtt/a"), "it went with its session");
        let mut other = It::new(&house, "b", 0).await;
        assert_eq!(other.publish("x", 1, "lost").await, Landed::Nowhere);
        it.subscribe("x", 1).await;
        if expiry > 0 {
            it.credit(9);
        }
        other.publish("x", 1, "new").await;
        let consumer = if expiry > 0 { "q" } else { "t" };
        it.gets_only(&[(consumer, "new")]).await;
    }
}

#[tokio::test]
async fn a_fresh_session_also_ends_the_one_that_is_attached() {
    let house = house();
    let mut old = It::new(&house, "a", 60).await;
    old.subscribe("x", 1).await;
    let new = It::attach(&house, client("a", 60, true)).await;
    assert_eq!(old.end().await, End::TakenOver);
    assert_eq!(new.state(), &nothing(true));
    drop(old);
    let mut new = new;
    new.subscribe("x", 1).await;
    new.credit(1);
    new.publish("x", 1, "m").await;
    new.gets_only(&[("q", "m")]).await;
}

#[tokio::test]
async fn a_session_that_is_resumed_without_expiry_ends_with_its_socket() {
    let house = house();
    let mut it = It::new(&house, "a", 60).await;
    it.subscribe("x", 1).await;
    it.leaves(&house).await;
    let it = It::new(&house, "a", 0).await;
    assert!(it.attached.resumed);
    assert_eq!(kept(&it), [("x".to_owned(), 1)]);
    drop(it);
    // At once: whoever comes next finds nothing.
    let it = It::new(&house, "a", 60).await;
    assert!(!it.attached.resumed);
    assert_eq!(it.state(), &nothing(true));
}

#[tokio::test]
async fn how_long_it_outlives_its_socket_may_change_as_it_leaves() {
    let house = house();
    let mut it = It::new(&house, "a", 600).await;
    let session = it.attached.session;
    it.inner.set_expiry(Duration::from_secs(7));
    it.inner.flush();
    it.leaves(&house).await;
    wait(&house, async || {
        let found = house.started.broker.find(session).await.unwrap();
        found.unwrap().whole.expiry_ms == 7000
    })
    .await;
    let mut it = It::new(&house, "a", 600).await;
    assert!(it.attached.resumed);
    it.inner.set_expiry(Duration::ZERO);
    it.inner.flush();
    drop(it);
    assert!(!It::new(&house, "a", 600).await.attached.resumed);
}

#[tokio::test]
async fn a_session_that_ends_for_good_takes_its_queue_with_it() {
    let house = house();
    let mut it = It::new(&house, "a/b", 60).await;
    it.subscribe("x", 1).await;
    assert!(has_queue(&house, "$mqtt/a%2Fb"));
    it.inner.end();
    wait(&house, async || !has_queue(&house, "$mqtt/a%2Fb")).await;
    assert_eq!(
        It::new(&house, "b", 0).await.publish("x", 1, "").await,
        Landed::Nowhere
    );
}

// Subscriptions and what they bring.

#[tokio::test]
async fn a_session_gets_one_copy_however_many_of_its_subscriptions_match() {
    for expiry in [0, 60] {
        let house = house();
        let mut it = It::new(&house, "a", expiry).await;
        for (filter, qos) in [("x/y", 1), ("x/+", 2), ("x/#", 0), ("#", 1)] {
            it.subscribe(filter, qos).await;
        }
        if expiry > 0 {
            it.credit(9);
        }
        let mut other = It::new(&house, "b", 0).await;
        for qos in [1, 0, 2] {
            other.publish("x/y", qos, &qos.to_string()).await;
        }
        let mut got = it.next(3).await;
        let kept = if expiry > 0 { "q" } else { "t" };
        // What is told and what is kept come by different ways.
        got.sort();
        let mut wanted = [("t", "0"), (kept, "1"), (kept, "2")];
        wanted.sort_unstable();
        let got: Vec<(&str, &str)> = got.iter().map(|(a, b)| (&**a, &**b)).collect();
        assert_eq!(got, wanted);
        assert_eq!(it.got.len(), 0);
    }
}

#[tokio::test]
async fn what_is_kept_waits_for_a_client_that_is_away_and_what_is_told_does_not() {
    let house = house();
    let mut it = It::new(&house, "a", 60).await;
    it.subscribe("x", 1).await;
    it.leaves(&house).await;
    let mut other = It::new(&house, "b", 0).await;
    assert_eq!(other.publish("x", 0, "told").await, Landed::Nowhere);
    assert_eq!(other.publish("x", 1, "one").await, Landed::Stored);
    assert_eq!(other.publish("x", 2, "two").await, Landed::Stored);
    let mut it = It::new(&house, "a", 60).await;
    assert!(it.attached.resumed);
    it.credit(9);
    it.gets_only(&[("q", "one"), ("q", "two")]).await;
    // The listener is there again as well.
    other.publish("x", 0, "told").await;
    it.gets_only(&[("t", "told")]).await;
}

#[tokio::test]
async fn qos_0_is_kept_for_the_absent_where_that_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    let house = house_in(folder, LogOptions::default(), |settings| {
        settings.mqtt.queue_qos0_offline = true;
        settings.mqtt.session_messages_max = 1;
    });
    let mut away = It::new(&house, "a", 60).await;
    let mut here = It::new(&house, "b", 60).await;
    for it in [&mut away, &mut here] {
        it.subscribe("x", 1).await;
    }
    away.leaves(&house).await;
    let mut other = It::new(&house, "c", 0).await;
    assert_eq!(other.publish("x", 0, "told").await, Landed::Stored);
    here.gets_only(&[("t", "told")]).await;
    // There is no room for more.
    assert_eq!(other.publish("x", 0, "more").await, Landed::Delivered);
    here.gets_only(&[("t", "more")]).await;
    let mut back = It::new(&house, "a", 60).await;
    back.credit(9);
    back.gets_only(&[("q", "told")]).await;
}

#[tokio::test]
async fn what_other_doors_send_is_kept_for_sessions() {
    let house = house();
    let mut it = It::new(&house, "a", 60).await;
    it.subscribe("x/+", 1).await;
    it.credit(9);
    let broker = &house.started.broker;
    let (mut mbws, _) = broker.attach(wish(None, 0)).await.unwrap();
    mbws.call(1, send("x/y", 3));
    mbws.flush();
    assert_eq!(until(&mut mbws, 1).await.0, []);
    assert_eq!(mbws.landed(), Landed::Stored);
    assert!(!has_queue(&house, "x/y"), "the session's queue takes it");
    let got = it.next_delivery().await;
    assert_eq!((&*got.consumer, got.message.qos_bound), ("q", None));
}

#[tokio::test]
async fn the_senders_quality_of_service_and_the_order_of_properties_come_with_a_message() {
    let house = house();
    let mut it = It::new(&house, "a", 60).await;
    it.subscribe("x", 2).await;
    it.credit(9);
    let ordered = [("b", "1"), ("a", "2"), ("b", "3")];
    let ordered = ordered.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut other = It::new(&house, "b", 60).await;
    let message = NewMessage {
        address: "x".to_owned(),
        qos: Some(1),
        properties: ordered.iter().cloned().collect(),
        ordered: ordered.to_vec(),
        ..NewMessage::default()
    };
    other.done(Call::Publish(Box::new(message))).await;
    let got = it.next_delivery().await.message;
    assert_eq!(got.qos_bound, Some(1));
    assert_eq!(got.ordered, ordered);
    assert_eq!(got.properties["b"], "3");
    assert!(!got.retained);
}

#[tokio::test]
async fn what_nobody_wants_is_no_error_and_makes_no_queue() {
    let house = house();
    let mut it = It::new(&house, "a", 60).await;
    for qos in 0..=2 {
        assert_eq!(it.publish("nowhere", qos, "").await, Landed::Nowhere);
    }
    assert!(!has_queue(&house, "nowhere"));
}

#[tokio::test]
async fn a_subscription_that_is_made_again_replaces_the_old_one() {
    let house = house();
    let mut it = It::new(&house, "a", 60).await;
    it.subscribe("x", 1).await;
    it.subscribe("x", 0).await;
    let mut other = It::new(&house, "b", 0).await;
    // Nothing of it is kept any more.
    assert_eq!(other.publish("x", 1, "told").await, Landed::Delivered);
    it.gets_only(&[("t", "told")]).await;
    it.subscribe("x", 2).await;
    it.credit(9);
    assert_eq!(other.publish("x", 1, "kept").await, Landed::Stored);
    it.gets_only(&[("q", "kept")]).await;
    it.leaves(&house).await;
    assert_eq!(kept(&It::new(&house, "a", 60).await), [("x".to_owned(), 2)]);
}

#[tokio::test]
async fn what_was_unsubscribed_comes_no_more() {
    for expiry in [0, 60] {
        let house = house();
        let mut it = It::new(&house, "a", expiry).await;
        it.subscribe("x", 1).await;
        it.subscribe("y", 1).await;
        if expiry > 0 {
            it.credit(9);
        }
        it.done(unsubscribe("x", None)).await;
        for (filter, share) in [("x", None), ("z", None), ("y", Some("g"))] {
            let refused = it.call(unsubscribe(filter, share)).await;
            assert_eq!(refused, Some(Refusal::NoSuchSubscription));
        }
        let mut other = It::new(&house, "b", 0).await;
        for qos in [0, 1] {
            assert_eq!(other.publish("x", qos, "no").await, Landed::Nowhere);
        }
        other.publish("y", 1, "yes").await;
        let consumer = if expiry > 0 { "q" } else { "t" };
        it.gets_only(&[(consumer, "yes")]).await;
    }
}

#[tokio::test]
async fn what_it_sends_itself_does_not_come_back_where_all_that_matches_is_no_local() {
    for expiry in [0, 60] {
        let house = house();
        let mut it = It::new(&house, "a", expiry).await;
        let no_local = |filter: &str| {
            Call::Subscribe(Subscribe {
                filter: filter.to_owned(),
                qos: 1,
                no_local: true,
                ..Subscribe::default()
            })
        };
        it.done(no_local("x/+")).await;
        it.done(no_local("#")).await;
        if expiry > 0 {
            it.credit(9);
        }
        for qos in [0, 1] {
            assert_eq!(it.publish("x/y", qos, "own").await, Landed::Nowhere);
        }
        it.subscribe("x/z", 1).await;
        it.publish("x/z", 1, "wanted").await;
        It::new(&house, "b", 0)
            .await
            .publish("x/y", 1, "theirs")
            .await;
        let consumer = if expiry > 0 { "q" } else { "t" };
        it.gets_only(&[(consumer, "wanted"), (consumer, "theirs")])
            .await;
    }
}

#[tokio::test]
async fn a_session_has_so_many_subscriptions_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let house = house_in(folder, LogOptions::default(), |settings| {
        settings.mqtt.subscriptions_max = 2;
    });
    let mut it = It::new(&house, "a", 0).await;
    it.subscribe("x", 0).await;
    it.done(share("g", "x")).await;
    assert_eq!(it.call(subscribe("y", 0)).await, Some(Refusal::TooMany));
    it.subscribe("x", 1).await; // one that it has
    it.done(unsubscribe("x", Some("g"))).await;
    it.subscribe("y", 0).await;
    assert_eq!(it.call(subscribe("y//", 0)).await, Some(Refusal::BadFilter));
}

/// What is written down whole has to fit into one record, or its segment would never be freed.
#[tokio::test]
async fn a_session_that_is_kept_has_no_more_filters_than_fit_into_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions {
        record_bytes_max: 16 << 10,
        ..LogOptions::default()
    };
    let house = house_in(folder, options, |_| {});
    let long = |n: usize| format!("{n:04}/{}", "x".repeat(200));
    let mut passing = It::new(&house, "passing", 0).await;
    let mut kept = It::new(&house, "kept", 60).await;
    let mut refused = None;
    for n in 0..100 {
        passing.subscribe(&long(n), 1).await;
        if refused.is_none() {
            refused = kept.call(subscribe(&long(n), 1)).await.map(|why| (n, why));
        }
    }
    assert_eq!(refused, Some((33, Refusal::TooMany)));
    // Any one of those that it has may be replaced, and its session goes on.
    kept.subscribe(&long(0), 1).await;
    kept.leaves(&house).await;
    let back = It::new(&house, "kept", 60).await;
    assert_eq!(back.state().subscriptions.len(), 33);
}

#[tokio::test]
async fn a_groups_queue_goes_with_its_realm() {
    let house = house();
    let broker = &house.started.broker;
    let shop = |there: bool| {
        let realm = Document::Realm(crate::registry::Realm::default());
        (
            document(DocumentKind::Realm, "shop"),
            there.then_some(realm),
        )
    };
    let tenant = || Attach {
        realm: "shop".into(),
        principal: access::testing::permanent("jwt:tenant", &[access::ADMIN]),
        ..client("till", 60, false)
    };
    set_all(broker, vec![shop(true)]).await;
    let mut it = It::attach(&house, tenant()).await;
    it.done(share("g", "x")).await;
    assert_eq!(
        it.publish("x", 1, "of the old tenant").await,
        Landed::Stored
    );
    drop(it);
    set_all(broker, vec![shop(false)]).await;
    let left = broker.shared.routes.load();
    let left = left.queues.get("shop").map_or(0, |it| it.names.len());
    assert_eq!(left, 0);
    set_all(broker, vec![shop(true)]).await;
    let mut it = It::attach(&house, tenant()).await;
    it.done(share("g", "x")).await;
    it.inner.credit(&shared_consumer("g", "x"), 9);
    it.publish("x", 1, "of the new one").await;
    it.gets_only(&[("s/g/x", "of the new one")]).await;
}

#[tokio::test]
async fn subscriptions_and_what_waits_are_there_after_a_restart() {
    for without_state in [false, true] {
        let house = house();
        let mut it = It::new(&house, "a", 600).await;
        it.subscribe("x/+", 2).await;
        it.subscribe("told", 0).await;
        it.done(share("g", "s")).await;
        it.publish("x/1", 1, "one").await;
        it.publish("s", 1, "shared").await;
        let nowhere = it.call(publish_as("nowhere", 2, "", 7)).await;
        assert_eq!(nowhere, Some(Refusal::NoRoute));
        it.done(publish_as("x/2", 2, "two", 5)).await;
        drop(it);
        let house = if without_state {
            house.without_state().restarted()
        } else {
            house.restarted()
        };
        let mut it = It::new(&house, "a", 600).await;
        assert!(it.attached.resumed);
        let wanted = [("x/+", 2), ("told", 0), ("s", 1)];
        assert_eq!(
            kept(&it),
            wanted.map(|(filter, qos)| (filter.to_owned(), qos))
        );
        assert_eq!(it.state().received, [5, 7]);
        it.credit(9);
        it.gets_only(&[("q", "one"), ("q", "two")]).await;
        it.inner.credit(&shared_consumer("g", "s"), 9);
        it.gets_only(&[("s/g/s", "shared")]).await;
        let mut other = It::new(&house, "b", 0).await;
        other.publish("told", 0, "told").await;
        it.gets_only(&[("t", "told")]).await;
    }
}

#[tokio::test]
async fn what_was_in_hand_comes_again_in_its_order() {
    let house = house();
    let mut it = It::new(&house, "a", 60).await;
    it.subscribe("x", 1).await;
    it.credit(2);
    for body in ["1", "2", "3"] {
        it.publish("x", 1, body).await;
    }
    it.next(2).await;
    it.leaves(&house).await;
    let mut it = It::new(&house, "a", 60).await;
    it.credit(9);
    for (body, attempt) in [("1", 2), ("2", 2), ("3", 1)] {
        let got = it.next_delivery().await;
        assert_eq!((&*text(&got.message), got.attempt), (body, attempt));
    }
}

#[tokio::test]
async fn a_queue_that_is_full_drops_and_the_publisher_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let house = house_in(folder, LogOptions::default(), |settings| {
        settings.mqtt.session_messages_max = 2;
    });
    let mut it = It::new(&house, "a", 60).await;
    it.subscribe("x", 1).await;
    let mut other = It::new(&house, "b", 0).await;
    let landed = [
        other.publish("x", 1, "1").await,
        other.publish("x", 1, "2").await,
        other.publish("x", 1, "3").await,
    ];
    assert_eq!(landed, [Landed::Stored, Landed::Stored, Landed::Nowhere]);
    // MBWS makes no queue in its place.
    let (mut mbws, _) = house.started.broker.attach(wish(None, 0)).await.unwrap();
    for (client, outcome) in [(None, Landed::Dropped), (Some("b"), Landed::Nowhere)] {
        let message = NewMessage {
            address: "x".to_owned(),
            ..NewMessage::default()
        };
        let broker = &house.started.broker;
        let said = broker.explain(&mbws.principal, client, DEFAULT_REALM, &message);
        assert_eq!(said.outcome, Ok(outcome), "it is explained so");
        let shed = said.landings.iter().flat_map(|it| &it.queues);
        let shed: Vec<_> = shed.map(|it| (it.queue.as_str(), it.takes)).collect();
        assert_eq!(shed, [("$mqtt/a", false)]);
        // A client of MQTT has no queue made for it.
        let nobodys = NewMessage {
            address: "nobody/s".to_owned(),
            ..message
        };
        let said = broker.explain(&mbws.principal, client, DEFAULT_REALM, &nobodys);
        let makes = client.is_none();
        let wanted = if makes { Landed::Stored } else { outcome };
        assert_eq!(
            (said.outcome, said.landings.len()),
            (Ok(wanted), usize::from(makes))
        );
    }
    mbws.call(1, send("x", 3));
    mbws.flush();
    assert_eq!(until(&mut mbws, 1).await.0, []);
    assert_eq!(mbws.landed(), Landed::Dropped);
    assert!(!has_queue(&house, "x"));
    it.credit(9);
    let got = it.next_delivery().await;
    it.accept("q", got.offset).await;
    assert_eq!(other.publish("x", 1, "4").await, Landed::Stored);
    it.gets_only(&[("q", "2"), ("q", "4")]).await;
}

// QoS 2.

#[tokio::test]
async fn packet_ids_are_remembered_until_they_are_forgotten() {
    let house = house();
    let mut it = It::new(&house, "a", 60).await;
    it.subscribe("x", 2).await;
    it.done(publish_as("x", 2, "kept", 3)).await;
    let nowhere = it.call(publish_as("nowhere", 2, "", 2)).await;
    assert_eq!(nowhere, Some(Refusal::NoRoute));
    it.done(publish_as("x", 2, "kept", 1)).await;
    it.done(Call::Forget { packet: 2 }).await;
    it.leaves(&house).await;
    let mut it = It::new(&house, "a", 60).await;
    assert_eq!(it.state().received, [1, 3]);
    for packet in [1, 3, 3] {
        it.done(Call::Forget { packet }).await;
    }
    it.leaves(&house).await;
    assert_eq!(It::new(&house, "a", 60).await.state().received, [0; 0]);
}

#[tokio::test]
async fn a_publish_that_is_refused_is_not_remembered() {
    let house = house();
    let mut it = It::new(&house, "a", 60).await;
    let refused = it.call(publish_as("$broker/x", 2, "", 3)).await;
    assert_eq!(refused, Some(Refusal::Denied));
    it.leaves(&house).await;
    let it = It::new(&house, "a", 60).await;
    assert_eq!(it.state().received, [0; 0]);
    assert_eq!(it.attached.failed, []);
}

#[tokio::test]
async fn what_the_client_has_received_is_remembered_until_it_is_complete() {
    let house = house();
    let mut it = It::new(&house, "a", 60).await;
    it.subscribe("x", 2).await;
    it.credit(9);
    for body in ["1", "2", "3"] {
        it.publish("x", 2, body).await;
    }
    it.next(3).await;
    it.done(settle("q", 2, &[2])).await;
    it.done(settle("q", 1, &[1])).await;
    it.done(Call::Complete { packet: 2 }).await;
    drop(it);
    let house = house.restarted();
    let mut it = It::new(&house, "a", 60).await;
    assert_eq!(it.state().releasing, [1]);
    it.credit(9);
    it.gets_only(&[("q", "3")]).await;
    it.done(Call::Complete { packet: 1 }).await;
    it.leaves(&house).await;
    assert_eq!(It::new(&house, "a", 60).await.state().releasing, [0; 0]);
}

// Groups.

#[tokio::test]
async fn a_group_shares_what_matches() {
    let house = house();
    let mut members = [
        It::new(&house, "a", 60).await,
        It::new(&house, "b", 0).await,
    ];
    for it in &mut members {
        it.done(share("g", "x/#")).await;
        it.inner.credit(&shared_consumer("g", "x/#"), 100);
    }
    let mut alone = It::new(&house, "c", 0).await;
    alone.done(share("other", "x/#")).await;
    alone.inner.credit(&shared_consumer("other", "x/#"), 100);
    let mut publisher = It::new(&house, "d", 0).await;
    for n in 0..20 {
        // QoS 0 as well.
        publisher.publish("x/y", n % 2, &n.to_string()).await;
    }
    assert_eq!(alone.next(20).await.len(), 20);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let mut bodies = Vec::new();
    while bodies.len() < 20 {
        assert!(std::time::Instant::now() < deadline, "{bodies:?}");
        for it in &mut members {
            for event in it.inner.drain(1024) {
                if let Event::Delivery(it) = event {
                    assert_eq!(&*it.consumer, "s/g/x/#");
                    bodies.push(text(&it.message).parse::<u8>().unwrap());
                }
            }
        }
        tokio::task::yield_now().await;
    }
    bodies.sort_unstable();
    assert!(bodies.into_iter().eq(0..20), "each once");
}

#[tokio::test]
async fn what_a_member_leaves_unsettled_goes_to_another() {
    let house = house();
    let mut first = It::new(&house, "a", 0).await;
    first.done(share("g", "x")).await;
    first.inner.credit("s/g/x", 9);
    let mut publisher = It::new(&house, "d", 0).await;
    publisher.publish("x", 1, "m").await;
    first.gets_only(&[("s/g/x", "m")]).await;
    let mut second = It::new(&house, "b", 60).await;
    second.done(share("g", "x")).await;
    second.inner.credit("s/g/x", 9);
    first.done(unsubscribe("x", Some("g"))).await;
    second.gets_only(&[("s/g/x", "m")]).await;
}

fn lingering(linger: Duration) -> House {
    let folder = tempfile::tempdir().unwrap();
    house_in(folder, LogOptions::default(), |settings| {
        settings.mqtt.share_linger = linger;
    })
}

#[tokio::test]
async fn the_queue_of_a_group_goes_some_time_after_its_last_member() {
    let house = lingering(Duration::from_millis(1));
    let name = "$share/g/x%2F%2B";
    let mut absent = It::new(&house, "a", 60).await;
    absent.done(share("g", "x/+")).await;
    absent.leaves(&house).await;
    let mut plain = It::new(&house, "b", 0).await;
    plain.done(share("g", "x/+")).await;
    plain.leaves(&house).await;
    // One is expected back.
    let keeper = async || {
        // Errands were run since: the clock ticks on.
        let broker = &house.started.broker;
        broker
            .release_session(&client_session(DEFAULT_REALM, "a").to_string())
            .await
            .unwrap();
    };
    keeper().await;
    keeper().await;
    assert!(has_queue(&house, name));
    let mut back = It::new(&house, "a", 60).await;
    back.done(unsubscribe("x/+", Some("g"))).await;
    wait(&house, async || !has_queue(&house, name)).await;
    // And is made anew.
    back.done(share("g", "x/+")).await;
    assert!(has_queue(&house, name));
}

#[tokio::test]
async fn whoever_comes_as_a_groups_queue_goes_gets_another() {
    let house = lingering(Duration::from_millis(1));
    let mut it = It::new(&house, "a", 60).await;
    for _ in 0..50 {
        it.done(share("g", "x")).await;
        it.done(unsubscribe("x", Some("g"))).await;
        // The keeper is at it meanwhile.
        house.started.broker.shared.wake_keeper();
    }
    it.done(share("g", "x")).await;
    it.inner.credit("s/g/x", 9);
    it.publish("x", 1, "m").await;
    it.gets_only(&[("s/g/x", "m")]).await;
}

#[tokio::test]
async fn a_client_that_leaves_while_it_subscribes_leaves_nothing_behind() {
    let house = house();
    for call in [subscribe("x", 1), share("g", "x")] {
        let mut it = It::new(&house, "a", 0).await;
        it.inner.call(1, call);
        it.inner.flush();
        it.leaves(&house).await;
    }
    let mut other = It::new(&house, "b", 0).await;
    wait(&house, async || {
        let routes = house.started.broker.shared.routes.load();
        routes.topics.values().all(|it| it.is_empty())
    })
    .await;
    assert_eq!(other.publish("y", 1, "").await, Landed::Nowhere);
}

// Rights.

fn ada(expiry: u64) -> Attach {
    Attach {
        principal: access::testing::principal("ada", &["shop"]),
        ..client("till", expiry, false)
    }
}

fn document(kind: DocumentKind, name: &str) -> DocumentId {
    DocumentId {
        kind,
        realm: String::new(),
        name: name.to_owned(),
    }
}

fn allow(name: &str, filter: &str) -> (DocumentId, Option<Document>) {
    let verbs = [Verb::Send, Verb::Consume];
    let rule = rule(Effect::Allow, "shop", &verbs, DEFAULT_REALM, filter);
    (
        document(DocumentKind::Rule, name),
        Some(Document::Rule(rule)),
    )
}

fn user() -> (DocumentId, Option<Document>) {
    let user = User {
        roles: vec!["shop".to_owned()],
        ..User::default()
    };
    (
        document(DocumentKind::User, "ada"),
        Some(Document::User(user)),
    )
}

#[tokio::test]
async fn rules_know_the_clients_id() {
    let house = house();
    let broker = &house.started.broker;
    set_all(broker, vec![user(), allow("own", "tills/${client}/#")]).await;
    let mut it = It::attach(&house, ada(60)).await;
    it.subscribe("tills/till/#", 1).await;
    it.credit(9);
    assert_eq!(it.publish("tills/till/x", 1, "m").await, Landed::Stored);
    it.gets_only(&[("q", "m")]).await;
    for call in [
        subscribe("tills/other/#", 1),
        subscribe("#", 0),
        share("g", "tills/other/x"),
        publish("tills/other/x", 1, ""),
        publish("tills/other/x", 0, ""),
        subscribe("$SYS/#", 0),
    ] {
        let shown = format!("{call:?}");
        assert_eq!(it.call(call).await, Some(Refusal::Denied), "{shown}");
    }
}

#[tokio::test]
async fn a_subscription_ends_with_the_right_to_it() {
    for (expiry, away) in [(0, false), (60, false), (60, true)] {
        let house = house();
        let broker = &house.started.broker;
        set_all(broker, vec![user(), allow("a", "a"), allow("b", "b")]).await;
        let mut it = It::attach(&house, ada(expiry)).await;
        for filter in ["a", "b"] {
            it.subscribe(filter, 1).await;
            it.done(share("g", filter)).await;
        }
        if away {
            it.leaves(&house).await;
            set_all(broker, vec![(document(DocumentKind::Rule, "a"), None)]).await;
            it = It::attach(&house, ada(expiry)).await;
        } else {
            set_all(broker, vec![(document(DocumentKind::Rule, "a"), None)]).await;
        }
        // What it is sent behind the change tells that it has looked.
        let mut other = It::new(&house, "other", 0).await;
        other.publish("b", 0, "told").await;
        it.gets_only(&[("t", "told")]).await;
        for share in [None, Some("g")] {
            let gone = it.call(unsubscribe("a", share)).await;
            assert_eq!(gone, Some(Refusal::NoSuchSubscription), "{expiry} {away}");
        }
        if expiry > 0 {
            it.leaves(&house).await;
            let it = It::attach(&house, ada(expiry)).await;
            let left = kept(&it).into_iter().map(|(filter, _)| filter);
            assert_eq!(left.collect::<Vec<_>>(), ["b", "b"]);
        }
    }
}

/// What a client is told until `n` more messages have come: the filters whose right is gone (`-`), and messages, with `!`
/// where the client may not go on with them.
async fn told(it: &mut It, n: usize) -> Vec<String> {
    let mut told = Vec::new();
    let mut come = 0;
    while come < n {
        for event in it.inner.drain(1 << 20) {
            match event {
                Event::Unsubscribed { filter, upto, .. } => {
                    assert_eq!(upto, it.tag);
                    told.push(format!("-{filter}"));
                }
                Event::Delivery(it) => {
                    come += 1;
                    let barred = if it.barred { "!" } else { "" };
                    told.push(format!("{}{barred}", text(&it.message)));
                }
                _ => {}
            }
        }
        if come < n {
            let ready = tokio::time::timeout(Duration::from_secs(10), it.inner.ready());
            ready.await.expect("it comes");
        }
    }
    told
}

#[tokio::test]
async fn what_is_kept_for_a_subscription_goes_with_the_right_to_it() {
    let house = house();
    let broker = &house.started.broker;
    set_all(broker, vec![user(), allow("a", "a"), allow("b", "b")]).await;
    let mut it = It::attach(&house, ada(60)).await;
    for filter in ["a", "b"] {
        it.subscribe(filter, 1).await;
    }
    for (address, body) in [("a", "1"), ("a", "2"), ("b", "3")] {
        assert_eq!(it.publish(address, 1, body).await, Landed::Stored);
    }
    it.credit(1);
    assert_eq!(told(&mut it, 1).await, ["1"]);
    set_all(broker, vec![(document(DocumentKind::Rule, "a"), None)]).await;
    it.credit(9);
    // The session hears of it first, and lets go of what nothing else wants.
    assert_eq!(told(&mut it, 2).await, ["-a", "2", "3"]);
    it.done(unsubscribe("b", None)).await;
    it.leaves(&house).await;
    // All of it comes again. What was on its way at an UNSUBSCRIBE may be completed, for the right is still there.
    let mut it = It::attach(&house, ada(60)).await;
    assert_eq!(kept(&it), []);
    it.credit(9);
    assert_eq!(told(&mut it, 3).await, ["1!", "2!", "3"]);
}

#[tokio::test]
async fn what_a_refused_subscribe_was_made_to_hear_of_is_unheard() {
    let house = house();
    let broker = &house.started.broker;
    set_all(broker, vec![user(), allow("a", "a")]).await;
    for expiry in [0, 60] {
        set_all(broker, vec![allow("a", "a")]).await;
        let mut it = It::attach(&house, ada(expiry)).await;
        it.tag += 1;
        it.inner.call(it.tag, subscribe("a", 0));
        // The core has made its listener by then, and it does not know yet.
        set_all(broker, vec![(document(DocumentKind::Rule, "a"), None)]).await;
        let (refused, _) = until(&mut it.inner, it.tag).await;
        assert_eq!(refused, [(it.tag, Refusal::Denied)]);
        wait(&house, async || {
            let routes = broker.shared.routes.load();
            routes.topics.values().all(|it| it.is_empty())
        })
        .await;
    }
}

#[tokio::test]
async fn administrators_leave_a_sessions_own_queue_to_it() {
    let house = house();
    let broker = &house.started.broker;
    let mut it = It::new(&house, "a", 60).await;
    it.subscribe("x", 1).await;
    let how = restante_admin_api::How::default;
    let name = "$mqtt/a";
    let refused = AdminError::OfSession(name.to_owned());
    let removed = broker.remove_queue(DEFAULT_REALM, name, how()).await;
    assert_eq!(removed.err(), Some(refused.clone()));
    let bound = broker.bind_queue(DEFAULT_REALM, name, "y", how()).await;
    assert_eq!(bound.err(), Some(refused));
    let session = client_session(DEFAULT_REALM, "a").to_string();
    broker.end_session(&session).await.unwrap();
    assert!(!has_queue(&house, name));
    assert_eq!(it.end().await, End::SessionOver);
}

#[tokio::test]
async fn administrators_see_who_is_there_and_what_for() {
    let house = house();
    let broker = &house.started.broker;
    let mut durable = It::new(&house, "a", 60).await;
    durable.subscribe("x", 1).await;
    durable.done(share("g", "y")).await;
    durable.credit(9);
    durable.done(publish_as("x", 2, "m", 8)).await;
    durable.next(1).await;
    let mut plain = It::new(&house, "b", 0).await;
    plain.subscribe("x", 1).await;
    plain.subscribe("z", 0).await;
    let sessions = broker.sessions(None, 10).await.unwrap();
    let of = |client: &str| {
        let mut all = sessions.iter();
        let found = all.find(|it| it.client.as_deref() == Some(client));
        found.expect("it is listed").clone()
    };
    let a = of("a");
    assert_eq!((a.protocol.as_str(), a.durable), ("mqtt", true));
    assert_eq!((a.subscriptions, a.unsettled, a.incomplete), (2, 1, 1));
    let shown = a.first_subscriptions.iter();
    let shown: Vec<_> = shown
        .map(|it| (it.filter.as_str(), it.share.as_deref(), it.qos))
        .collect();
    assert_eq!(shown, [("x", None, Some(1)), ("y", Some("g"), Some(1))]);
    let b = of("b");
    assert_eq!((b.protocol.as_str(), b.durable), ("mqtt", false));
    assert_eq!((b.subscriptions, b.consumers), (2, 1));
    let connections = broker.connections(None, 10);
    let clients: Vec<_> = connections.iter().map(|it| it.client.as_deref()).collect();
    assert_eq!(clients, [Some("a"), Some("b")]);
    // One connection is closed, and its session goes on; the other session ends.
    broker.kick(&connections[0].id).unwrap();
    assert_eq!(durable.end().await, End::Kicked);
    durable.leaves(&house).await;
    assert!(It::new(&house, "a", 60).await.attached.resumed);
    broker.end_session(&b.id).await.unwrap();
    assert_eq!(plain.end().await, End::Kicked);
}

fn retain(address: &str, qos: u8, body: &str) -> Call {
    let Call::Publish(mut message) = publish(address, qos, body) else {
        unreachable!()
    };
    message.retain = true;
    Call::Publish(message)
}

fn handling(filter: &str, qos: u8, retain_handling: u8) -> Call {
    Call::Subscribe(Subscribe {
        filter: filter.to_owned(),
        qos,
        retain_handling,
        ..Subscribe::default()
    })
}

impl It {
    async fn retain(&mut self, address: &str, qos: u8, body: &str) {
        self.done(retain(address, qos, body)).await;
        assert_eq!(self.inner.landed(), Landed::Stored);
    }

    /// The next `n` messages: consumer, body, and whether they are told because they were retained.
    async fn told(&mut self, n: usize) -> Vec<(String, String, bool)> {
        let mut told = Vec::new();
        for _ in 0..n {
            let got = self.next_delivery().await;
            let retained = got.message.retained;
            told.push((got.consumer.to_string(), text(&got.message), retained));
        }
        told.sort_unstable();
        told
    }
}

fn these(all: &[(&str, &str, bool)]) -> Vec<(String, String, bool)> {
    let all = all.iter();
    all.map(|(consumer, body, retained)| (consumer.to_string(), body.to_string(), *retained))
        .collect()
}

#[tokio::test]
async fn what_is_retained_is_told_to_those_who_subscribe_later_and_after_a_restart() {
    let house = house();
    let mut from = It::new(&house, "from", 0).await;
    for (address, qos, body) in [
        ("a/x", 0, "1"),
        ("a/y", 1, "2"),
        ("a/y", 2, "3"),
        ("b", 1, "4"),
    ] {
        from.retain(address, qos, body).await;
    }
    from.retain("b", 1, "").await;
    drop(from);
    let house = house.restarted();
    assert_eq!(house.started.broker.n_retained(), 2);
    let expected = |consumer| these(&[(consumer, "1", true), (consumer, "3", true)]);
    // A session that ends with its socket, one that does not want more than QoS 0, and one that keeps messages.
    let mut plain = It::new(&house, "plain", 0).await;
    plain.subscribe("a/+", 1).await;
    assert_eq!(plain.told(2).await, expected("t"));
    let mut least = It::new(&house, "least", 60).await;
    least.subscribe("a/#", 0).await;
    assert_eq!(least.told(2).await, expected("t"));
    let mut kept = It::new(&house, "kept", 60).await;
    kept.subscribe("#", 1).await;
    kept.credit(9);
    assert_eq!(kept.told(2).await, expected("q"));
    drop((plain, least, kept));
    let house = house.without_state().restarted();
    let mut kept = It::new(&house, "kept", 60).await;
    kept.credit(9);
    assert_eq!(kept.told(2).await, expected("q"), "it was not settled");
    // What comes live is not told because it was retained.
    let mut from = It::new(&house, "from", 0).await;
    from.retain("a/x", 1, "5").await;
    assert_eq!(kept.told(1).await, these(&[("q", "5", false)]));
}

#[tokio::test]
async fn the_way_of_handling_what_is_retained_is_the_subscriptions() {
    let house = house();
    let mut from = It::new(&house, "from", 0).await;
    from.retain("a", 1, "1").await;
    for expiry in [0, 60] {
        let consumer = if expiry == 0 { "t" } else { "q" };
        let mut it = It::new(&house, &format!("c{expiry}"), expiry).await;
        it.credit(9);
        it.done(handling("a", 1, 2)).await;
        it.credit(9);
        it.done(handling("a", 1, 1)).await;
        from.done(publish("a", 1, "live")).await;
        assert_eq!(it.told(1).await, these(&[(consumer, "live", false)]));
        it.done(handling("a", 1, 0)).await;
        assert_eq!(it.told(1).await, these(&[(consumer, "1", true)]));
        it.done(Call::Unsubscribe {
            filter: "a".to_owned(),
            share: None,
        })
        .await;
        it.done(handling("a", 1, 1)).await;
        assert_eq!(it.told(1).await, these(&[(consumer, "1", true)]));
        it.done(share("g", "a")).await;
        from.done(publish("a", 1, "live")).await;
        let group = shared_consumer("g", "a");
        it.inner.credit(&group, 9);
        let expected = [(consumer, "live", false), (group.as_str(), "live", false)];
        let mut expected = these(&expected);
        expected.sort_unstable();
        assert_eq!(it.told(2).await, expected);
    }
}

#[tokio::test]
async fn more_than_one_page_of_what_is_retained_is_told() {
    let house = house();
    let mut from = It::new(&house, "from", 0).await;
    for n in 0..600 {
        from.retain(&format!("a/{n}"), 1, "1").await;
    }
    for (id, expiry) in [("plain", 0), ("kept", 60)] {
        let mut it = It::new(&house, id, expiry).await;
        it.subscribe("a/#", 1).await;
        it.credit(1000);
        assert!(it.told(600).await.iter().all(|it| it.2));
    }
}

#[tokio::test]
async fn no_more_is_retained_than_the_limit_allows() {
    let folder = tempfile::tempdir().unwrap();
    let house = house_in(folder, LogOptions::default(), |settings| {
        settings.mqtt.retained_max = 1;
    });
    let mut it = It::new(&house, "a", 0).await;
    it.retain("a", 1, "1").await;
    assert_eq!(it.call(retain("b", 1, "1")).await, Some(Refusal::TooMany));
    it.retain("a", 1, "2").await;
    it.retain("a", 1, "").await;
    it.retain("b", 1, "1").await;
    assert_eq!(house.started.broker.n_retained(), 1);
}

#[tokio::test]
async fn messages_of_other_doors_are_not_retained() {
    let house = house();
    let broker = &house.started.broker;
    let (mut mbws, _) = broker.attach(wish(None, 0)).await.unwrap();
    let message = NewMessage {
        address: "a".to_owned(),
        retain: true,
        ..NewMessage::default()
    };
    mbws.call(1, Call::Publish(Box::new(message)));
    mbws.flush();
    assert_eq!(until(&mut mbws, 1).await.0, []);
    assert_eq!(broker.n_retained(), 0);
}

#[tokio::test]
async fn a_right_that_goes_while_what_is_retained_is_recalled_takes_that_with_it() {
    let house = house();
    let broker = &house.started.broker;
    set_all(broker, vec![user(), allow("a", "a")]).await;
    let mut it = It::attach(&house, ada(60)).await;
    it.retain("a", 1, "1").await;
    it.tag += 1;
    it.inner.call(it.tag, subscribe("a", 1));
    while it.inner.begun("", "a").is_none() {
        it.inner.flush();
        assert_eq!(it.inner.drain(0), []);
        if it.inner.begun("", "a").is_none() {
            let ready = tokio::time::timeout(Duration::from_secs(10), it.inner.ready());
            ready.await.expect("it begins");
        }
    }
    set_all(broker, vec![(document(DocumentKind::Rule, "a"), None)]).await;
    it.credit(9);
    // The session hears that it is the one that has just begun: what is on its way already is not sent.
    let mut lost = false;
    let refused = loop {
        let mut refused = None;
        for event in it.inner.drain(1 << 20) {
            match event {
                Event::Unsubscribed { filter, upto, .. } => {
                    assert_eq!((filter.as_str(), upto), ("a", it.tag));
                    lost = true;
                }
                Event::Delivery(_) => assert!(lost),
                Event::Confirmed { failed, .. } => refused = Some(failed),
                _ => {}
            }
        }
        if let Some(refused) = refused {
            break refused;
        }
        let ready = tokio::time::timeout(Duration::from_secs(10), it.inner.ready());
        ready.await.expect("it is refused");
    };
    assert!(lost);
    assert_eq!(refused, [(it.tag, Refusal::Denied)]);
    it.leaves(&house).await;
    assert_eq!(kept(&It::attach(&house, ada(60)).await), []);
}
