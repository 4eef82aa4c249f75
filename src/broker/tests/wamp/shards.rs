//! Subscriptions that are shared by key.

use std::collections::BTreeMap;

use super::*;
use crate::message::WampSend;
use crate::router::ShardKey;

/// Subscribes to what begins with `a`, as one that is named `shard` among others.
async fn share(client: &mut Client, shard: Option<&str>) {
    let consume = Consume {
        consumer: "1".to_owned(),
        address: "a/#".to_owned(),
        source: Source::Topic,
        limit: u64::MAX,
        auto_settle: true,
        exclusive: false,
        retained: false,
        shard: shard.map(ShardKey::of),
    };
    client.next_call(Call::Consume(consume)).await;
}

fn about(key: &str) -> WampSend {
    WampSend {
        rkey: Some(key.to_owned()),
        ..WampSend::default()
    }
}

/// How many of `clients` get what the first of them publishes so.
async fn publish(clients: &mut [Client], wamp: WampSend) -> Vec<usize> {
    let message = NewMessage {
        address: "a/b".to_owned(),
        wamp: Some(Box::new(wamp)),
        ..NewMessage::default()
    };
    clients[0].next_call(Call::Publish(Box::new(message))).await;
    let got = clients.iter_mut().map(|client| {
        let events = client.it.drain(1 << 20).into_iter();
        let now = events.filter(|it| matches!(it, Event::Delivery(_)));
        now.count() + std::mem::take(&mut client.deliveries).len()
    });
    got.collect()
}

/// A publisher, as many as share, and one that does not.
async fn clients(house: &House, names: &[&str]) -> Vec<Client> {
    let mut all = vec![Client::new(house).await];
    for name in names {
        let mut client = Client::new(house).await;
        share(&mut client, Some(name)).await;
        all.push(client);
    }
    let mut everything = Client::new(house).await;
    share(&mut everything, None).await;
    all.push(everything);
    all
}

/// Ends one of them, and waits until it is gone: whoever subscribes after that is there after that.
async fn leave(house: &House, clients: &mut Vec<Client>, at: usize) {
    drop(clients.remove(at));
    share(&mut Client::new(house).await, None).await;
}

/// Who of those who share gets what has each of some keys.
async fn owners(clients: &mut [Client]) -> BTreeMap<String, usize> {
    let mut owners = BTreeMap::new();
    for at in 0..100 {
        let key = format!("key {at}");
        let got = publish(clients, about(&key)).await;
        let [_, sharing @ .., everything] = &got[..] else {
            panic!("{got:?}")
        };
        assert_eq!((sharing.iter().sum::<usize>(), *everything), (1, 1));
        let owner = sharing.iter().position(|it| *it == 1).unwrap();
        owners.insert(key, owner + 1);
    }
    owners
}

#[tokio::test]
async fn an_event_with_a_key_goes_to_one_of_those_who_share() {
    let house = house();
    let mut clients = clients(&house, &["x", "y", "z"]).await;
    let before = owners(&mut clients).await;
    assert_eq!(owners(&mut clients).await, before);
    for owner in 1..=3 {
        assert!(before.values().filter(|it| **it == owner).count() > 10);
    }
    // Without a key it is everybody's.
    let all = publish(&mut clients, WampSend::default()).await;
    assert_eq!(all, [0, 1, 1, 1, 1]);
    // Who goes leaves its own keys to others, and finds them again when it is back: also as another session.
    leave(&house, &mut clients, 2).await;
    let left = owners(&mut clients).await;
    for (key, owner) in &left {
        // It was the second of three.
        let owner = if *owner == 2 { 3 } else { *owner };
        assert!(before[key] == owner || before[key] == 2, "{key}");
    }
    let mut back = Client::new(&house).await;
    share(&mut back, Some("y")).await;
    clients.insert(2, back);
    assert_eq!(owners(&mut clients).await, before);
}

#[tokio::test]
async fn its_owner_is_one_who_may_get_it() {
    let house = house();
    let mut clients = clients(&house, &["x", "y"]).await;
    let owner = owners(&mut clients).await["key 0"];
    let other = 3 - owner;
    let id = clients[owner].id;
    let excluded = WampSend {
        excluded: vec![id],
        ..about("key 0")
    };
    let got = publish(&mut clients, excluded).await;
    assert_eq!((got[owner], got[other], got[3]), (0, 1, 1));
    let eligible = WampSend {
        eligible: Some(vec![id]),
        ..about("key 0")
    };
    let got = publish(&mut clients, eligible).await;
    assert_eq!((got[owner], got[other], got[3]), (1, 0, 0));
    // Its publisher is none of them, unless it wants to.
    clients.swap(0, owner);
    let got = publish(&mut clients, about("key 0")).await;
    assert_eq!((got[0], got[other], got[3]), (0, 1, 1));
    let to_self = WampSend {
        to_self: true,
        ..about("key 0")
    };
    let got = publish(&mut clients, to_self).await;
    assert_eq!((got[0], got[other], got[3]), (1, 0, 1));
}

#[tokio::test]
async fn of_two_by_one_name_the_first_has_its_keys() {
    let house = house();
    let mut clients = clients(&house, &["x", "x"]).await;
    let got = publish(&mut clients, about("k")).await;
    assert_eq!(got, [0, 1, 0, 1]);
    leave(&house, &mut clients, 1).await;
    let got = publish(&mut clients, about("k")).await;
    assert_eq!(got, [0, 1, 1]);
}
