//! Durable subscriptions through kills: publishers that send again what was not answered, and subscribers of one queue that acknowledge
//! what they get, while the broker and subscribers are killed (-9) and connections are cut at random points, also within messages.
//!
//! What was acknowledged to its publisher is in the queue, in the order in which its session published, and each publish once; and
//! what was told to be settled is never delivered again, and never told of again.

mod book;
mod subscriber;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::thread::{ScopedJoinHandle, scope};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use restante_proto::wamp::{Dict, Message, Serializer};

use super::client::{Client, Over, Way, args, hello, publish};
use crate::peer::{Gone, Life};
use crate::server::Server;
use crate::trials::{Place, all, each, random_of, start};
use crate::wait;
use crate::walk::seed;
use book::{Book, Sent};
use subscriber::{Crew, Subscriber};

const QUEUE: &str = "trial.inbox";
const TOPICS: &str = "trial.topic.";
const RECEIVED: &str = "restante.event.received";
/// Publishes of one client that are not answered, at most.
const WINDOW: usize = 12;
/// Kills of the broker, and of subscribers, at least; and connections of publishers and of subscribers that are cut.
const KILLS_MIN: u32 = 100;
/// Subscribers at a time.
const CREW: usize = 3;
/// The longest time between two kills.
const BETWEEN_MS_MAX: u64 = 120;

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
    /// What was published and not answered.
    unanswered: BTreeSet<u64>,
    n_messages: u64,
    n_sessions: u64,
    /// All that was sent, or at least begun to be.
    sent: BTreeSet<Sent>,
}

/// One session of a publisher.
struct Run {
    client: Client,
    n_sent: u64,
    /// The message, by the request.
    asked: BTreeMap<u64, u64>,
}

impl Publisher {
    fn new(name: &'static str, random: StdRng) -> Publisher {
        Publisher {
            name,
            random,
            unanswered: BTreeSet::new(),
            n_messages: 0,
            n_sessions: 0,
            sent: BTreeSet::new(),
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
        self.n_sessions += 1;
        let mut run = Run {
            client: join(place, &mut self.random, life)?,
            n_sent: 0,
            asked: BTreeMap::new(),
        };
        for n in self.unanswered.clone() {
            self.send(&mut run, n)?;
        }
        loop {
            let stops = place.stops.load(Ordering::Relaxed);
            while !stops && run.asked.len() < WINDOW && self.random.random_bool(0.9) {
                let n = self.n_messages;
                self.n_messages += 1;
                self.unanswered.insert(n);
                self.send(&mut run, n)?;
            }
            if run.asked.is_empty() {
                match stops {
                    true => return Ok(()),
                    false => continue,
                }
            }
            match receive(&mut run.client)? {
                Message::Published { request, .. } => {
                    let n = run.asked.remove(&request).expect("a request");
                    self.unanswered.remove(&n);
                }
                other => panic!("{}: {other:?}", self.name),
            }
        }
    }

    fn send(&mut self, run: &mut Run, number: u64) -> Result<(), Gone> {
        let sent = Sent {
            publisher: self.name.to_owned(),
            session: self.n_sessions,
            place: run.n_sent,
            number,
        };
        run.n_sent += 1;
        let text = sent.text();
        self.sent.insert(sent);
        let request = run.client.next_id();
        run.asked.insert(request, number);
        let topic = format!("{TOPICS}{}", self.name);
        let tail = "x".repeat(self.random.random_range(0..100));
        let acknowledge = Dict::new().with("acknowledge", true);
        let given = [text.into(), tail.into()];
        run.client
            .send(&publish(request, &topic, acknowledge, &given))
    }
}

/// Publishes what comes behind all that was published before; what its event says.
fn publish_fence(place: &Place, random: &mut StdRng, name: &str) -> String {
    let mut client = join(place, random, Life::ENDLESS).expect("a session");
    let request = client.next_id();
    let fence = Sent {
        publisher: name.to_owned(),
        session: 1,
        place: 0,
        number: 0,
    };
    let message = Message::Publish {
        request,
        options: Dict::new().with("acknowledge", true),
        topic: format!("{TOPICS}{name}"),
        payload: args(&[fence.text().into()]),
    };
    let answer = client.ask(&message).expect("answered");
    assert!(matches!(answer, Message::Published { .. }), "{answer:?}");
    fence.text()
}

/// Kills the broker and subscribers at random, until `is_over` says so of how often each was killed, and whether a subscriber has ended
/// by itself; how often each.
fn rage(
    server: &mut Server,
    crew: &mut Crew<'_>,
    random: &mut StdRng,
    is_over: impl Fn([u32; 2], bool) -> bool,
) -> [u32; 2] {
    let mut kills = [0, 0];
    while !is_over(kills, crew.has_lost_one()) {
        let pause = Duration::from_millis(random.random_range(0..BETWEEN_MS_MAX));
        wait::until_or_after(pause, || false);
        // Now and then it is stopped as it should be.
        if random.random_bool(0.05) {
            server.terminate();
            server.run();
            continue;
        }
        let [broker, subscribers] = &mut kills;
        // Mostly whoever was spared so far.
        if random.random_bool(if broker < subscribers { 0.7 } else { 0.3 }) {
            server.crash();
            *broker += 1;
        } else {
            crew.kill(random);
            *subscribers += 1;
        }
    }
    kills
}

#[test]
fn what_a_durable_subscription_has_is_settled_once_through_100_kills() {
    let seed = seed();
    let mut server = start();
    let place = Place::of(&server);
    let book = Book::open(&server.file("book"));
    // The queue is there before anything is published.
    let mut heir = Subscriber::new("heir", book.pen(), random_of(seed, 1));
    heir.begin(&place);
    let publishers = vec![
        Publisher::new("ann", random_of(seed, 2)),
        Publisher::new("bob", random_of(seed, 3)),
    ];
    let (kills, publishers) = scope(|scope| {
        let (place, book) = (&place, &book);
        let publishers = each(scope, publishers, move |it| it.run(place));
        let mut crew = Crew::new(place, book, seed, CREW);
        let is_over = |kills: [u32; 2], has_lost_one: bool| {
            let publisher_cuts = place.publisher_cuts.load(Ordering::Relaxed);
            // A fault is told at the end.
            let subscriber_cuts = book.n_cuts().unwrap_or(u32::MAX);
            let counts = [kills[0], kills[1], publisher_cuts, subscriber_cuts];
            let has_died = has_lost_one || publishers.iter().any(ScopedJoinHandle::is_finished);
            has_died || subscriber_cuts == u32::MAX || counts.iter().all(|it| *it >= KILLS_MIN)
        };
        let kills = rage(&mut server, &mut crew, &mut random_of(seed, 0), is_over);
        place.stop();
        let publishers = all(publishers);
        crew.kill_all();
        (kills, publishers)
    });
    let n_cuts = book.n_cuts();
    server.crash();
    let mut random = random_of(seed, 4);
    let fence = publish_fence(&place, &mut random, "fence");
    let n_left = heir.inherit(&place, &fence);
    // All of that is settled, also after another kill.
    server.crash();
    let last = publish_fence(&place, &mut random, "last");
    let n_again = heir.inherit(&place, &last) - 1;
    let ledger = book.close();
    println!(
        "kills of the broker and of subscribers: {kills:?}, cuts of publishers {}, of subscribers {n_cuts:?}; {}, \
         {n_left} left at the end",
        place.publisher_cuts.load(Ordering::Relaxed),
        ledger.summary(),
    );
    let mut answered: BTreeMap<String, u64> = publishers
        .iter()
        .map(|it| (it.name.to_owned(), it.n_messages))
        .collect();
    answered.extend(["fence", "last"].map(|name| (name.to_owned(), 1)));
    let sent: BTreeSet<&Sent> = publishers.iter().flat_map(|it| &it.sent).collect();
    let is_fence = |it: &Sent| it.text() == fence || it.text() == last;
    let faults = ledger.faults(&answered, |it| sent.contains(it) || is_fence(it));
    assert!(faults.is_empty(), "seed {seed}: {faults:#?}");
    assert_eq!(n_again, 0, "seed {seed}: events that were acknowledged");
    server.terminate();
}
