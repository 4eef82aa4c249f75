//! Wills in a whole broker: who gets them, once, whatever happens in between.

use super::*;
use crate::broker::NewWill;

/// A client with a will for `w`.
fn mortal(id: &str, expiry: u64, delay: u64) -> Attach {
    Attach {
        will: Some(will(delay)),
        ..client(id, expiry, false)
    }
}

fn will(delay: u64) -> Box<NewWill> {
    Box::new(NewWill {
        message: NewMessage {
            address: "w".to_owned(),
            body: "gone".into(),
            qos: Some(1),
            ..NewMessage::default()
        },
        delay: Duration::from_secs(delay),
    })
}

/// A house where `admin` is somebody, as they must be when their will is published.
async fn house_of_admin() -> House {
    let house = house();
    let admin = User {
        roles: vec![access::ADMIN.to_owned()],
        ..User::default()
    };
    let document = (
        document(DocumentKind::User, "admin"),
        Some(Document::User(admin)),
    );
    set_all(&house.started.broker, vec![document]).await;
    house
}

/// Whoever hears of wills, also of those that are published while they are away.
async fn heir(house: &House) -> It {
    let mut heir = It::new(house, "heir", 600).await;
    if !heir.attached.resumed {
        heir.subscribe("w", 1).await;
    }
    heir.credit(99);
    heir
}

/// All that they have got, up to what somebody publishes last.
async fn legacy(house: &House, heir: &mut It) -> Vec<String> {
    let mut other = It::new(house, "other", 0).await;
    other.publish("w", 1, "last").await;
    let mut got = Vec::new();
    loop {
        let (_, body) = heir.next(1).await.remove(0);
        if body == "last" {
            return got;
        }
        got.push(body);
    }
}

#[tokio::test]
async fn who_is_lost_is_mourned_once() {
    for expiry in [0, 60] {
        let house = house_of_admin().await;
        let mut heir = heir(&house).await;
        let it = It::attach(&house, mortal("a", expiry, 0)).await;
        assert_eq!(it.attached.expiry.as_secs(), expiry);
        drop(it);
        assert_eq!(heir.next(1).await[0].1, "gone");
        // Whoever comes back without a will has none.
        It::new(&house, "a", expiry).await.leaves(&house).await;
        assert_eq!(legacy(&house, &mut heir).await, [""; 0]);
    }
}

#[tokio::test]
async fn who_says_goodbye_is_not_mourned() {
    for (expiry, ends) in [(0, false), (0, true), (60, false), (60, true)] {
        let house = house_of_admin().await;
        let mut heir = heir(&house).await;
        let mut it = It::attach(&house, mortal("a", expiry, 0)).await;
        it.inner.give_up_will();
        match ends {
            true => it.inner.end(),
            false => drop(it),
        }
        // Nor is it when it comes back, which waits for what became of the will.
        let again = It::new(&house, "a", expiry).await;
        assert_eq!(again.attached.resumed, expiry > 0 && !ends);
        drop(again);
        assert_eq!(legacy(&house, &mut heir).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_session_that_ends_with_its_socket_is_gone_after_its_will() {
    let house = house_of_admin().await;
    let mut heir = heir(&house).await;
    let mut it = It::attach(&house, mortal("a", 0, 60)).await;
    // It has what any session in the log has, for as long as it lasts.
    it.subscribe("x", 1).await;
    it.credit(9);
    it.publish("x", 1, "its own").await;
    it.gets_only(&[("q", "its own")]).await;
    // The session's end comes before the delay's.
    drop(it);
    assert_eq!(heir.next(1).await[0].1, "gone");
    let session = client_session(DEFAULT_REALM, "a");
    wait(&house, async || {
        let found = house.started.broker.find(session).await.unwrap();
        found.is_none() && !has_queue(&house, "$mqtt/a")
    })
    .await;
}

#[tokio::test]
async fn a_goodbye_that_asks_for_the_will_ends_the_session_behind_it() {
    let house = house_of_admin().await;
    let mut heir = heir(&house).await;
    let it = It::attach(&house, mortal("a", 60, 60)).await;
    it.inner.end();
    assert_eq!(heir.next(1).await[0].1, "gone");
}

/// MQTT 5.0 §3.1.3.2.2: the will of who is taken over is published unless it has a delay and the session goes on.
#[tokio::test]
async fn whoever_takes_over_has_the_old_will_published_or_not_as_mqtt_says() {
    for there in [false, true] {
        for (expiry, delay, fresh, published) in [
            (60, 0, false, true),
            (60, 30, false, false),
            (60, 0, true, true),
            (60, 30, true, true),
            (0, 0, false, true),
            (0, 30, false, true),
            (0, 30, true, true),
        ] {
            for new in [client("a", expiry, fresh), mortal("a", expiry, 60)] {
                let house = house_of_admin().await;
                let mut heir = heir(&house).await;
                let old = It::attach(&house, mortal("a", expiry, delay)).await;
                let old = there.then_some(old);
                let session = SessionWish {
                    fresh,
                    ..new.session
                };
                let it = It::attach(&house, Attach { session, ..new }).await;
                assert_eq!(it.attached.resumed, expiry > 0 && !fresh);
                drop(old);
                let got = legacy(&house, &mut heir).await;
                let case = (there, expiry, delay, fresh);
                assert_eq!(got.len(), usize::from(published), "{case:?}");
                drop(it);
            }
        }
    }
}

#[tokio::test]
async fn a_will_is_published_once_whatever_crashes() {
    for without_state in [false, true] {
        for expiry in [0, 60] {
            let mut house = house_of_admin().await;
            drop(heir(&house).await);
            let it = It::attach(&house, mortal("a", expiry, 0)).await;
            // The broker goes down with the client attached: nobody saw the client go.
            std::mem::forget(it);
            for n in 1..=2 {
                if without_state {
                    house = house.without_state();
                }
                house = house.restarted();
                let mut heir = heir(&house).await;
                wait(&house, async || {
                    let found = house
                        .started
                        .broker
                        .find(client_session(DEFAULT_REALM, "a"));
                    found
                        .await
                        .unwrap()
                        .is_none_or(|it| it.whole.will.is_none())
                })
                .await;
                heir.publish("w", 1, "last").await;
                // It settles nothing.
                let got = heir.next(1 + n).await;
                assert_eq!(got[0].1, "gone");
                assert!(got[1..].iter().all(|(_, body)| body == "last"), "{got:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_right_that_is_gone_takes_the_will_with_it() {
    let house = house_of_admin().await;
    let broker = &house.started.broker;
    set_all(broker, vec![user(), allow("w", "w"), allow("x", "x")]).await;
    let mut heir = heir(&house).await;
    let mortal = || Attach {
        will: Some(will(0)),
        ..ada(60)
    };
    let it = It::attach(&house, mortal()).await;
    set_all(broker, vec![(document(DocumentKind::Rule, "w"), None)]).await;
    drop(it);
    let session = client_session(DEFAULT_REALM, "till");
    wait(&house, async || {
        let found = broker.find(session).await.unwrap();
        found.is_none_or(|it| it.whole.will.is_none())
    })
    .await;
    assert_eq!(legacy(&house, &mut heir).await, [""; 0]);
    // Nor may anybody leave one for where they may not send.
    let tried = It::tries(&house, mortal()).await;
    assert_eq!(tried.err(), Some(AttachError::Will(Refusal::Denied)));
}

#[tokio::test]
async fn a_will_is_kept_at_its_address_if_its_client_said_so() {
    let house = house_of_admin().await;
    let mut wish = mortal("a", 0, 0);
    if let Some(will) = &mut wish.will {
        will.message.retain = true;
    }
    drop(It::attach(&house, wish).await);
    wait(&house, async || house.started.broker.n_retained() == 1).await;
    let mut late = It::new(&house, "late", 0).await;
    late.subscribe("w", 1).await;
    late.gets_only(&[("t", "gone")]).await;
}

#[tokio::test]
async fn an_administrator_who_ends_a_session_has_its_will_published() {
    let house = house_of_admin().await;
    let mut heir = heir(&house).await;
    let mut it = It::attach(&house, mortal("a", 60, 60)).await;
    let session = it.attached.session.to_string();
    house.started.broker.end_session(&session).await.unwrap();
    assert_eq!(heir.next(1).await[0].1, "gone");
    assert_eq!(it.end().await, End::SessionOver);
}

/// Whoever knows realm and client id knows the id of the session, which is not a secret.
#[tokio::test]
async fn nobody_is_let_go_or_mourned_for_another_by_any_door() {
    let house = house_of_admin().await;
    let mut heir = heir(&house).await;
    let it = It::attach(&house, mortal("a", 60, 0)).await;
    let by_its_id = wish(Some(it.attached.session), 60);
    let other = access::testing::permanent("other", &[access::ADMIN]);
    for stranger in [
        by_its_id.clone(),
        wish(Some(it.attached.session), 0),
        Attach {
            principal: other.clone(),
            ..by_its_id
        },
        Attach {
            principal: other,
            ..mortal("a", 60, 0)
        },
    ] {
        let tried = It::tries(&house, stranger).await;
        assert_eq!(tried.err(), Some(AttachError::NotYours));
    }
    assert!(!it.inner.outbox.is_closed());
    assert_eq!(legacy(&house, &mut heir).await, [""; 0]);
}

/// MQTT 5.0 §3.1.4: who is there is let go for a CONNECT that succeeds.
#[tokio::test]
async fn a_will_that_is_refused_lets_nobody_go() {
    let house = house_of_admin().await;
    let it = It::new(&house, "a", 60).await;
    let mut forbidden = mortal("a", 60, 0);
    if let Some(will) = &mut forbidden.will {
        will.message.address = "$SYS/x".to_owned();
    }
    let asked = std::time::Instant::now();
    let tried = It::tries(&house, Attach { asked, ..forbidden }).await;
    assert_eq!(tried.err(), Some(AttachError::Will(Refusal::Denied)));
    assert!(!it.inner.outbox.is_closed());
}

/// Whatever the order in which they get to the log, the last one who asked has the session, with its own will.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_comes_last_keeps_the_session_and_its_will() {
    for round in 0..12 {
        let house = house_of_admin().await;
        let expiry = if round % 2 == 0 { 0 } else { 60 };
        let n_last = 39 + round % 3;
        let (mut tasks, mut last) = (tokio::task::JoinSet::new(), None);
        let began = std::time::Instant::now();
        for n in 0..=n_last {
            let mut wish = match n % 3 {
                0 => client("a", expiry, n % 2 == 0),
                1 => mortal("a", expiry, 0),
                _ => mortal("a", expiry, 30),
            };
            wish.asked = began + Duration::from_micros(n);
            if let Some(will) = &mut wish.will {
                will.message.body = n.to_string().into();
            }
            let broker = house.started.broker.clone();
            tasks.spawn(async move { (n, broker.attach(wish).await) });
        }
        while let Some(done) = tasks.join_next().await {
            let (n, attached) = done.unwrap();
            if n == n_last {
                last = Some(attached.expect("nobody came after it"));
            }
        }
        let (last, _) = last.expect("it has asked");
        let wanted = (n_last % 3 > 0).then(|| n_last.to_string());
        let session = client_session(DEFAULT_REALM, "a");
        wait(&house, async || {
            let found = house.started.broker.find(session).await.unwrap();
            let will = found.and_then(|it| it.whole.will);
            will.map(|it| String::from_utf8(it.body.to_vec()).unwrap()) == wanted
        })
        .await;
        assert!(!last.outbox.is_closed(), "round {round}");
    }
}

#[tokio::test]
async fn who_comes_back_needs_no_room_for_another_session() {
    let folder = tempfile::tempdir().unwrap();
    let house = house_in(folder, LogOptions::default(), |settings| {
        settings.sessions_max = 1;
    });
    let mut there = vec![It::attach(&house, mortal("a", 0, 0)).await];
    for _ in 0..3 {
        there.push(It::attach(&house, mortal("a", 0, 60)).await);
        let tried = It::tries(&house, mortal("b", 0, 0)).await;
        assert_eq!(tried.err(), Some(AttachError::TooMany));
    }
}

/// Or whoever is refused could fill a queue by leaving.
#[tokio::test]
async fn a_queue_that_is_full_takes_no_will() {
    use restante_admin_api::How;
    use restante_admin_api::queue::QueueSpec;
    let house = house_of_admin().await;
    let broker = &house.started.broker;
    let mut heir = heir(&house).await;
    for (name, max) in [("small", Some(1)), ("large", None)] {
        let spec = QueueSpec {
            max_messages: max,
            bindings: Some(vec!["w".to_owned()]),
            ..QueueSpec::default()
        };
        let put = broker.put_queue(DEFAULT_REALM, name, spec, How::default());
        put.await.unwrap();
    }
    for n in 1..=3_u64 {
        drop(It::attach(&house, mortal("a", 0, 0)).await);
        assert_eq!(heir.next(1).await[0].1, "gone");
        let waiting = |name| broker.queue(DEFAULT_REALM, name).unwrap().messages_ready;
        wait(&house, async || waiting("large") == n).await;
        assert_eq!(waiting("small"), 1);
    }
}

/// MQTT 5.0 §3.8.3.1: a will is sent by its client, whoever publishes it.
#[tokio::test]
async fn a_will_does_not_come_back_to_who_wants_nothing_of_its_own() {
    for no_local in [false, true] {
        let house = house_of_admin().await;
        let mut heir = heir(&house).await;
        let mut it = It::attach(&house, mortal("a", 60, 0)).await;
        it.done(Call::Subscribe(Subscribe {
            filter: "w".to_owned(),
            qos: 1,
            no_local,
            ..Subscribe::default()
        }))
        .await;
        drop(it);
        assert_eq!(heir.next(1).await[0].1, "gone");
        let mut again = It::new(&house, "a", 60).await;
        again.credit(9);
        heir.publish("w", 1, "last").await;
        let all = [("q", "gone"), ("q", "last")];
        again.gets_only(&all[usize::from(no_local)..]).await;
    }
}

/// As on a full disk: nothing of what the engine wants gets to the log.
#[tokio::test]
async fn who_gives_up_waiting_for_a_will_leaves_nothing_behind() {
    let house = house_of_admin().await;
    let mut heir = heir(&house).await;
    let it = It::attach(&house, mortal("a", 60, 0)).await;
    let (held, is_held) = tokio::sync::oneshot::channel();
    let (let_go, free) = std::sync::mpsc::channel::<()>();
    let shared = Arc::clone(&house.started.broker.shared);
    let holds = std::thread::spawn(move || {
        let _nobody_writes = shared.errands.lock();
        held.send(()).unwrap();
        free.recv().ok();
    });
    is_held.await.unwrap();
    for _ in 0..3 {
        let patient = It::tries(&house, client("a", 60, false));
        let tried = tokio::time::timeout(Duration::from_millis(20), patient).await;
        assert!(tried.is_err(), "it waits");
    }
    drop(let_go);
    holds.join().unwrap();
    let again = It::attach(&house, client("a", 60, false)).await;
    assert!(again.attached.resumed);
    drop(it);
    assert_eq!(legacy(&house, &mut heir).await, ["gone"]);
}
