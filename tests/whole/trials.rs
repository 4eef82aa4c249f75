//! Trials by kills: MQTT clients that keep what correct clients keep, while the broker is killed and connections are cut at
//! random points, also within packets. Nothing is lost, and with QoS 2 nothing comes twice.

mod member;
mod publisher;
mod subscriber;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, Weak};
use std::thread::{Scope, ScopedJoinHandle, scope};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use restante_proto::mqtt::{Connack, Connect, Packet, Qos, ReasonCode, Version};

use crate::peer::{Gone, Life, Over, Peer, connect};
use crate::server::Server;
use crate::wait;
use crate::walk::seed;
use member::Member;
use publisher::Publisher;
use subscriber::Subscriber;

/// The longest time between two kills of the broker.
const BETWEEN_MS_MAX: u64 = 250;
/// The most bytes that a connection may send, or receive, before it is cut.
const LIFE_BYTES_MAX: usize = 8 * 1024;

/// Where it happens, and what has happened.
pub(crate) struct Place {
    pub(crate) at: SocketAddr,
    pub(crate) token: String,
    /// Whether it is to come to its end.
    pub(crate) stops: AtomicBool,
    pub(crate) publisher_cuts: AtomicU32,
    pub(crate) subscriber_cuts: AtomicU32,
    /// Connections that are cut when it comes to its end: they would wait for ever.
    watched: Mutex<Vec<Weak<TcpStream>>>,
}

impl Place {
    pub(crate) fn of(server: &Server) -> Place {
        Place::new(server.clients(), server.token())
    }

    pub(crate) fn new(at: SocketAddr, token: String) -> Place {
        Place {
            at,
            token,
            stops: AtomicBool::new(false),
            publisher_cuts: AtomicU32::new(0),
            subscriber_cuts: AtomicU32::new(0),
            watched: Mutex::default(),
        }
    }

    pub(crate) fn count(&self, gone: Gone, cuts: &AtomicU32) {
        match gone {
            Gone::Cut => {
                cuts.fetch_add(1, Ordering::Relaxed);
            }
            // The broker is down: there is nothing to be done before it is back.
            Gone::Lost => wait::a_moment(),
        }
    }

    /// Of a connection: until the end, once there is one.
    pub(crate) fn life(&self, random: &mut StdRng) -> Life {
        let mut life = Life::ENDLESS;
        if self.stops.load(Ordering::Relaxed) {
            return life;
        }
        let bytes = random.random_range(0..LIFE_BYTES_MAX);
        match random.random_bool(0.5) {
            true => life.written = bytes,
            false => life.read = bytes,
        }
        life
    }

    /// Has the connection cut when it is over.
    pub(crate) fn watch(&self, stream: Weak<TcpStream>) {
        let mut watched = self.watched.lock().expect("nobody panics with it");
        if self.stops.load(Ordering::Relaxed) {
            cut(&stream);
        }
        watched.push(stream);
    }

    /// It comes to its end.
    pub(crate) fn stop(&self) {
        let watched = self.watched.lock().expect("nobody panics with it");
        self.stops.store(true, Ordering::Relaxed);
        watched.iter().for_each(cut);
    }

    /// Kills the broker at random, so often, until clients of each kind were cut so often too.
    pub(crate) fn rage(
        &self,
        server: &mut Server,
        random: &mut StdRng,
        [broker_kills_min, cuts_min]: [u32; 2],
        died: impl Fn() -> bool,
    ) {
        let mut broker_kills = 0;
        let cuts = || {
            let publisher_cuts = self.publisher_cuts.load(Ordering::Relaxed);
            (publisher_cuts, self.subscriber_cuts.load(Ordering::Relaxed))
        };
        while broker_kills < broker_kills_min || cuts().0 < cuts_min || cuts().1 < cuts_min {
            let pause = Duration::from_millis(random.random_range(0..BETWEEN_MS_MAX));
            wait::until_or_after(pause, || false);
            if died() {
                break;
            }
            // Now and then it is stopped as it should be.
            if random.random_bool(0.15) {
                server.terminate();
                server.run();
            } else if broker_kills < broker_kills_min {
                server.crash();
                broker_kills += 1;
            }
        }
        let (publisher_cuts, subscriber_cuts) = cuts();
        println!(
            "the broker was killed {broker_kills} times, connections of publishers were cut {publisher_cuts} times, \
             of subscribers {subscriber_cuts} times"
        );
        self.stop();
    }
}

fn cut(stream: &Weak<TcpStream>) {
    if let Some(stream) = stream.upgrade() {
        // The broker may have been faster.
        stream.shutdown(Shutdown::Both).ok();
    }
}

/// Says who it is; what it is answered. A broker that goes down lets nobody in.
fn begin(peer: &mut Peer, connect: Connect) -> Result<Box<Connack>, Gone> {
    let connack = peer.begin(connect)?;
    match connack.reason {
        ReasonCode::Success => Ok(connack),
        ReasonCode::ServerUnavailable | ReasonCode::ServerBusy => Err(Gone::Lost),
        _ => panic!("{connack:?}"),
    }
}

/// The next packet. A broker that goes down says good-bye; and where a connection was cut before its CONNECT was read, that may be
/// read behind the next one's.
fn receive(peer: &mut Peer) -> Result<Packet, Gone> {
    const KNOWN: [ReasonCode; 2] = [ReasonCode::ServerShuttingDown, ReasonCode::SessionTakenOver];
    match peer.receive()? {
        Packet::Disconnect(it) if KNOWN.contains(&it.reason) => Err(Gone::Lost),
        packet => Ok(packet),
    }
}

/// A source of its own for each.
pub(crate) fn random_of(seed: u64, n: u64) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_add(n))
}

fn random_over(random: &mut StdRng) -> Over {
    match random.random_bool(0.3) {
        true => Over::WebSocket,
        false => Over::Tcp,
    }
}

/// With a checkpoint every moment: the broker comes back from its state store as often as from its log.
pub(crate) fn start() -> Server {
    Server::with(&[("RESTANTE_STORAGE_CHECKPOINT_INTERVAL", "100ms")])
}

#[test]
fn qos_2_comes_once_and_in_order_through_100_kills() {
    let seed = seed();
    let mut server = start();
    let place = Place::of(&server);
    let mut random = (1..).map(|n| random_of(seed, n));
    let mut subscriber = |name, version| {
        let random = random.next().expect("as many as there are");
        let mut subscriber = Subscriber::new(name, version, "trial/+", 3, random);
        subscriber.subscribe(&place);
        subscriber
    };
    let subscribers = vec![
        subscriber("reader-3", Version::V311),
        subscriber("reader-5", Version::V5),
    ];
    let ear = subscriber("both", Version::V5);
    let mut publishers: Vec<Publisher> = [
        ("both", Version::V5),
        ("writer-3", Version::V311),
        ("writer-5", Version::V5),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, (name, version))| {
        let topic = format!("trial/{n}");
        let random = random_of(seed, 100 + n as u64);
        Publisher::new(name, version, Qos::ExactlyOnce, topic, random)
    })
    .collect();
    // One client goes both ways: its packet ids and the broker's are the same numbers.
    if let Some(both) = publishers.first_mut() {
        both.ear = Some(ear);
    }
    let (publishers, mut subscribers) = scope(|scope| {
        let place = &place;
        let publishers = each(scope, publishers, move |it| it.run(place));
        let subscribers = each(scope, subscribers, move |it| it.run(place));
        let died = || {
            publishers.iter().any(ScopedJoinHandle::is_finished)
                || subscribers.iter().any(ScopedJoinHandle::is_finished)
        };
        place.rage(&mut server, &mut random_of(seed, 0), [34, 34], died);
        (all(publishers), all(subscribers))
    });
    let sent = publishers.iter().map(|it| (it.name.to_owned(), it.n_sent));
    let sent: BTreeMap<String, u64> = sent.collect();
    println!("messages: {sent:?}");
    subscribers.extend(publishers.into_iter().filter_map(|it| it.ear));
    server.crash();
    for subscriber in subscribers {
        assert_eq!(*subscriber.counts(), sent, "{}", subscriber.name);
        subscriber.has_all(&place, "trial/fence");
    }
    server.terminate();
}

#[test]
fn members_of_a_shared_subscription_die_and_nothing_is_lost() {
    let seed = seed();
    let mut server = start();
    let place = Place::of(&server);
    let filter = "$share/crew/work/#";
    let members: Vec<Member> = [
        ("member-1", Version::V311, false, Qos::AtLeastOnce),
        ("member-2", Version::V5, false, Qos::ExactlyOnce),
        ("member-3", Version::V311, true, Qos::ExactlyOnce),
        ("member-4", Version::V5, true, Qos::AtLeastOnce),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, (name, version, clean, qos))| Member {
        name,
        version,
        clean,
        qos,
        filter,
        random: random_of(seed, n as u64),
        got: BTreeSet::new(),
    })
    .collect();
    // The group is there before anything is published: without a member, nobody takes it.
    let mut heir = Member {
        name: "heir",
        version: Version::V5,
        clean: false,
        qos: Qos::AtLeastOnce,
        filter,
        random: random_of(seed, 10),
        got: BTreeSet::new(),
    };
    heir.attach(&place, Life::ENDLESS).expect("subscribed");
    let publishers = vec![
        Publisher::new(
            "writer-1",
            Version::V311,
            Qos::AtLeastOnce,
            "work/1".to_owned(),
            random_of(seed, 11),
        ),
        Publisher::new(
            "writer-2",
            Version::V5,
            Qos::ExactlyOnce,
            "work/2/all".to_owned(),
            random_of(seed, 12),
        ),
    ];
    let (publishers, members) = scope(|scope| {
        let place = &place;
        let publishers = each(scope, publishers, move |it| it.run(place));
        let members = each(scope, members, move |it| it.run(place));
        let died = || {
            publishers.iter().any(ScopedJoinHandle::is_finished)
                || members.iter().any(ScopedJoinHandle::is_finished)
        };
        place.rage(&mut server, &mut random_of(seed, 13), [12, 60], died);
        (all(publishers), all(members))
    });
    server.crash();
    let connect = connect(Version::V5, "fence", &place.token, true);
    let (mut fence, _) = Peer::connect(place.at, Over::Tcp, connect).expect("connected");
    let stored = fence.publish("work/fence", "fence").expect("answered");
    assert_eq!(stored, ReasonCode::Success);
    heir.inherit(&place, "fence");
    let sent = publishers.iter().map(|it| (it.name, it.n_sent));
    let sent: Vec<(&str, u64)> = sent.collect();
    println!("messages: {sent:?}; the heir got {}", heir.got.len());
    let got = members.into_iter().chain([heir]).flat_map(|it| it.got);
    let mut got: BTreeSet<String> = got.map(|payload| lead(&payload)).collect();
    got.remove("fence");
    let wanted = sent.iter();
    let wanted = wanted.flat_map(|(name, n)| (0..*n).map(move |number| format!("{name} {number}")));
    let lost: Vec<String> = wanted.filter(|it| !got.remove(it)).collect();
    assert_eq!(lost, [""; 0], "seed {seed}");
    assert!(got.is_empty(), "nobody sent {got:?}");
    server.terminate();
}

/// Who sent it, and its number.
fn lead(payload: &str) -> String {
    let words: Vec<&str> = payload.split(' ').take(2).collect();
    words.join(" ")
}

/// A thread for each.
pub(crate) fn each<'a, T: Send + 'a, R: Send + 'a>(
    scope: &'a Scope<'a, '_>,
    them: Vec<T>,
    run: impl Fn(T) -> R + Copy + Send + 'a,
) -> Vec<ScopedJoinHandle<'a, R>> {
    them.into_iter()
        .map(|it| scope.spawn(move || run(it)))
        .collect()
}

/// What came of them all.
pub(crate) fn all<R>(threads: Vec<ScopedJoinHandle<'_, R>>) -> Vec<R> {
    let joined = threads.into_iter().map(ScopedJoinHandle::join);
    joined.map(|it| it.expect("it went well")).collect()
}
