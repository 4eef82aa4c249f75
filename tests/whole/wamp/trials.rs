//! Durable subscriptions through kills: publishers that send again what was not answered, and subscribers of one queue that acknowledge
//! what they get, while the broker is killed and connections are cut at random points. Nothing is lost, nothing comes again once its
//! acknowledgement is confirmed, and no PUBLISH comes to more than one place in the queue.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::thread::{ScopedJoinHandle, scope};

use rand::RngExt;
use rand::rngs::StdRng;
use restante_proto::wamp::{Dict, Message, Serializer, Value};

use super::client::{Client, Over, Way, args, call, hello, publish};
use crate::peer::{Gone, Life};
use crate::trials::{Place, all, each, random_of, start};
use crate::walk::seed;

const QUEUE: &str = "trial.inbox";
const TOPICS: &str = "trial.topic.";
const RECEIVED: &str = "restante.event.received";
/// Publishes of one client that are not answered, at most.
const WINDOW: usize = 12;

/// What subscribers know together.
#[derive(Default)]
struct Ledger {
    /// By its place in the queue: the publication and what it says.
    seen: BTreeMap<u64, (u64, String)>,
    /// Places whose acknowledgement was confirmed.
    confirmed: BTreeSet<u64>,
}

impl Ledger {
    fn note(&mut self, offset: u64, publication: u64, text: String) {
        assert!(
            !self.confirmed.contains(&offset),
            "{offset} comes again: {text}"
        );
        let now = (publication, text);
        let before = self.seen.entry(offset).or_insert_with(|| now.clone());
        assert_eq!(*before, now, "{offset} is something else now");
    }
}

fn any_way(random: &mut StdRng) -> Way {
    let serializers = [
        Serializer::Json,
        Serializer::MsgPack,
        Serializer::Cbor,
        Serializer::Ubjson,
    ];
    let at = random.random_range(0..serializers.len());
    Way {
        over: match random.random_bool(0.5) {
            true => Over::WebSocket,
            false => Over::RawSocket,
        },
        serializer: *serializers.get(at).expect("one of them"),
    }
}

fn join(place: &Place, random: &mut StdRng, life: Life) -> Result<Client, Gone> {
    let mut client = Client::at(place.at, any_way(random), life)?;
    client.begin(&hello(), &place.token)?;
    Ok(client)
}

/// A broker that goes down says so, or that it takes nothing any more.
fn receive(client: &mut Client) -> Result<Message, Gone> {
    match client.receive()? {
        Message::Goodbye { reason, .. } => {
            assert_eq!(reason, "wamp.close.system_shutdown");
            Err(Gone::Lost)
        }
        Message::Error { error, .. } if error == "wamp.error.unavailable" => Err(Gone::Lost),
        message => Ok(message),
    }
}

struct Publisher {
    name: &'static str,
    random: StdRng,
    /// What was sent and not answered.
    unanswered: BTreeSet<u64>,
    n_messages: u64,
    /// How often each was sent.
    times: BTreeMap<String, usize>,
}

impl Publisher {
    fn new(name: &'static str, random: StdRng) -> Publisher {
        Publisher {
            name,
            random,
            unanswered: BTreeSet::new(),
            n_messages: 0,
            times: BTreeMap::new(),
        }
    }

    /// Publishes until the place is to be left, and everything is answered.
    fn run(mut self, place: &Place) -> Publisher {
        loop {
            match self.live(place) {
                Ok(()) => return self,
                Err(gone) => place.count(gone, &place.publisher_cuts),
            }
        }
    }

    fn live(&mut self, place: &Place) -> Result<(), Gone> {
        let life = place.life(&mut self.random);
        let mut client = join(place, &mut self.random, life)?;
        let mut asked = BTreeMap::new();
        for n in self.unanswered.clone() {
            self.send(&mut client, n, &mut asked)?;
        }
        loop {
            let stops = place.stops.load(Ordering::Relaxed);
            while !stops && asked.len() < WINDOW && self.random.random_bool(0.9) {
                let n = self.n_messages;
                self.n_messages += 1;
                self.unanswered.insert(n);
                self.send(&mut client, n, &mut asked)?;
            }
            if asked.is_empty() {
                match stops {
                    true => return Ok(()),
                    false => continue,
                }
            }
            match receive(&mut client)? {
                Message::Published { request, .. } => {
                    let n = asked.remove(&request).expect("a request");
                    self.unanswered.remove(&n);
                }
                other => panic!("{}: {other:?}", self.name),
            }
        }
    }

    fn send(
        &mut self,
        client: &mut Client,
        n: u64,
        asked: &mut BTreeMap<u64, u64>,
    ) -> Result<(), Gone> {
        let text = format!("{} {n}", self.name);
        *self.times.entry(text.clone()).or_default() += 1;
        let request = client.next_id();
        asked.insert(request, n);
        let topic = format!("{TOPICS}{}", self.name);
        let tail = "x".repeat(self.random.random_range(0..100));
        let acknowledge = Dict::new().with("acknowledge", true);
        client.send(&publish(
            request,
            &topic,
            acknowledge,
            &[text.into(), tail.into()],
        ))
    }
}

struct Subscriber<'a> {
    ledger: &'a Mutex<Ledger>,
    random: StdRng,
}

/// Events that one session has.
struct Hand {
    client: Client,
    window: usize,
    /// Not acknowledged: publication and place.
    held: Vec<(u64, u64)>,
    /// Places, by the call that acknowledges them.
    asked: BTreeMap<u64, Vec<u64>>,
}

impl Subscriber<'_> {
    fn run(mut self, place: &Place) {
        loop {
            let life = place.life(&mut self.random);
            let ended = self.live(place, life);
            if place.stops.load(Ordering::Relaxed) {
                return;
            }
            place.count(ended.err().unwrap_or(Gone::Cut), &place.subscriber_cuts);
        }
    }

    fn live(&mut self, place: &Place, life: Life) -> Result<(), Gone> {
        let mut hand = self.subscribe(place, life)?;
        place.watch(hand.client.stream());
        loop {
            self.take(&mut hand)?;
            if hand.held.len() >= hand.window || self.random.random_bool(0.3) {
                self.acknowledge(&mut hand)?;
            }
        }
    }

    fn subscribe(&mut self, place: &Place, life: Life) -> Result<Hand, Gone> {
        let mut client = join(place, &mut self.random, life)?;
        let window = self.random.random_range(1..30_usize);
        let request = client.next_id();
        client.send(&Message::Subscribe {
            request,
            options: Dict::new()
                .with("x_durable", QUEUE)
                .with("x_window", window as u64)
                .with("match", "prefix"),
            topic: TOPICS.to_owned(),
        })?;
        match receive(&mut client)? {
            Message::Subscribed { .. } => {}
            other => panic!("not SUBSCRIBED: {other:?}"),
        }
        Ok(Hand {
            client,
            window,
            held: Vec::new(),
            asked: BTreeMap::new(),
        })
    }

    /// Takes one message; what the event says, if it is one.
    fn take(&mut self, hand: &mut Hand) -> Result<Option<String>, Gone> {
        match receive(&mut hand.client)? {
            Message::Event {
                publication,
                details,
                payload,
                ..
            } => {
                let offset = details.int("_offset").expect("a number").expect("a place");
                let offset = u64::try_from(offset).expect("a place");
                let given = payload.args().expect("values");
                let text = given.first().and_then(Value::as_str).expect("a text");
                let mut ledger = self.ledger.lock().expect("nobody panics with it");
                ledger.note(offset, publication, text.to_owned());
                hand.held.push((publication, offset));
                Ok(Some(text.to_owned()))
            }
            Message::Result { request, .. } => {
                let offsets = hand.asked.remove(&request).expect("a call of its own");
                let mut ledger = self.ledger.lock().expect("nobody panics with it");
                ledger.confirmed.extend(offsets);
                Ok(None)
            }
            other => panic!("{other:?}"),
        }
    }

    /// By the procedure, which confirms it, or now and then by EVENT_RECEIVED, which says nothing.
    fn acknowledge(&mut self, hand: &mut Hand) -> Result<(), Gone> {
        let held = std::mem::take(&mut hand.held);
        if self.random.random_bool(0.1) {
            for (publication, _) in held {
                hand.client.send(&Message::EventReceived { publication })?;
            }
            return Ok(());
        }
        if held.is_empty() {
            return Ok(());
        }
        let request = hand.client.next_id();
        let ids: Vec<Value> = held
            .iter()
            .map(|(publication, _)| (*publication).into())
            .collect();
        let offsets = held.iter().map(|(_, offset)| *offset).collect();
        hand.asked.insert(request, offsets);
        hand.client.send(&call(request, RECEIVED, &ids))
    }

    /// Takes and acknowledges everything up to what says so, and has it confirmed.
    fn inherit(&mut self, place: &Place, upto: &str) -> u64 {
        let mut hand = self.subscribe(place, Life::ENDLESS).expect("subscribed");
        let mut n_events = 0;
        loop {
            let text = self.take(&mut hand).expect("a message");
            n_events += u64::from(text.is_some());
            self.acknowledge(&mut hand).expect("sent");
            if text.as_deref() == Some(upto) {
                break;
            }
        }
        while !hand.asked.is_empty() {
            self.take(&mut hand).expect("a confirmation");
        }
        // EVENT_RECEIVED is taken in order: what follows it is behind it.
        hand.client
            .call("wamp.session.count", &[])
            .expect("a count");
        n_events
    }
}

fn publish_fence(place: &Place, random: &mut StdRng, text: &str) {
    let mut client = join(place, random, Life::ENDLESS).expect("a session");
    let request = client.next_id();
    let acknowledge = Dict::new().with("acknowledge", true);
    let fence = Message::Publish {
        request,
        options: acknowledge,
        topic: format!("{TOPICS}fence"),
        payload: args(&[text.into()]),
    };
    let answer = client.ask(&fence).expect("answered");
    assert!(matches!(answer, Message::Published { .. }), "{answer:?}");
}

#[test]
fn what_a_durable_subscription_has_is_settled_once_through_100_kills() {
    let seed = seed();
    let mut server = start();
    let place = Place::of(&server);
    let ledger = Mutex::new(Ledger::default());
    let subscriber = |n| Subscriber {
        ledger: &ledger,
        random: random_of(seed, n),
    };
    // The queue is there before anything is published.
    let mut heir = subscriber(1);
    heir.subscribe(&place, Life::ENDLESS).expect("subscribed");
    let publishers = vec![
        Publisher::new("ann", random_of(seed, 2)),
        Publisher::new("bob", random_of(seed, 3)),
    ];
    let subscribers = vec![subscriber(4), subscriber(5)];
    let publishers = scope(|scope| {
        let place = &place;
        let publishers = each(scope, publishers, move |it| it.run(place));
        let subscribers = each(scope, subscribers, move |it| it.run(place));
        let died = || {
            publishers.iter().any(ScopedJoinHandle::is_finished)
                || subscribers.iter().any(ScopedJoinHandle::is_finished)
        };
        place.rage(&mut server, &mut random_of(seed, 0), [40, 60], died);
        all(subscribers);
        all(publishers)
    });
    server.crash();
    let mut random = random_of(seed, 6);
    publish_fence(&place, &mut random, "fence");
    let n_left = heir.inherit(&place, "fence");
    // All of that is settled, also after another kill.
    server.crash();
    publish_fence(&place, &mut random, "last");
    assert_eq!(heir.inherit(&place, "last"), 1, "seed {seed}");
    let times: BTreeMap<String, usize> = publishers.into_iter().flat_map(|it| it.times).collect();
    let ledger = ledger.into_inner().expect("nobody panicked with it");
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, text) in ledger.seen.values() {
        *places.entry(text).or_default() += 1;
    }
    for fence in ["fence", "last"] {
        assert_eq!(places.remove(fence), Some(1));
    }
    println!(
        "{} messages, {} places, {} confirmed, {n_left} left at the end",
        times.len(),
        ledger.seen.len(),
        ledger.confirmed.len()
    );
    let lost: Vec<_> = times
        .keys()
        .filter(|it| !places.contains_key(it.as_str()))
        .collect();
    assert!(lost.is_empty(), "seed {seed}: lost {lost:?}");
    for (text, n) in places {
        let sent = times.get(text).copied().unwrap_or(0);
        assert!(
            n <= sent,
            "seed {seed}: {text} was sent {sent} times, and is there {n} times"
        );
    }
    server.terminate();
}
