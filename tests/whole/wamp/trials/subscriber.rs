//! A subscriber of a trial: it writes into the book what it gets, acknowledges it, and writes what was settled. In a process of its own it
//! goes on until it is killed.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::unix::process::parent_id;
use std::path::Path;

use rand::RngExt;
use rand::rngs::StdRng;
use restante_proto::wamp::{Dict, Message, Value};

use super::book::{Book, Pen};
use super::{QUEUE, RECEIVED, TOPICS, join, receive};
use crate::peer::{Gone, Life};
use crate::process::{Process, command};
use crate::trials::{Place, random_of};
use crate::wamp::client::{Client, call};

/// What a process of a subscriber is to know: where the broker is, the token, the seed, its number, and where the book is.
const GIVEN: &str = "RESTANTE_TEST_SUBSCRIBER";
/// The test that is such a process.
const PROGRAM: &str = "wamp::trials::subscriber::a_subscriber_goes_on_until_it_is_killed";

pub(super) struct Subscriber {
    name: String,
    pen: Pen,
    random: StdRng,
    n_sessions: u64,
}

/// Events that one session has.
struct Hand {
    session: String,
    client: Client,
    window: usize,
    /// Not acknowledged: publication and offset.
    held: Vec<(u64, u64)>,
    /// Acknowledged by EVENT_RECEIVED, which is not answered.
    unanswered: Vec<u64>,
    /// Offsets, by the call that acknowledges them.
    asked: BTreeMap<u64, Vec<u64>>,
    /// The last offset that came.
    last: u64,
}

impl Subscriber {
    pub(super) fn new(name: &str, pen: Pen, random: StdRng) -> Subscriber {
        Subscriber {
            name: name.to_owned(),
            pen,
            random,
            n_sessions: 0,
        }
    }

    /// Goes on, from connection to connection, until the process is killed, or whoever was to kill it is gone.
    fn run(mut self, place: &Place) {
        let trial = parent_id();
        while parent_id() == trial {
            let life = place.life(&mut self.random);
            let Err(gone) = self.live(place, life);
            if gone == Gone::Cut {
                self.pen.is_cut();
            }
            place.count(gone, &place.subscriber_cuts);
        }
    }

    fn live(&mut self, place: &Place, life: Life) -> Result<Infallible, Gone> {
        let mut hand = self.subscribe(place, life)?;
        loop {
            self.take(&mut hand)?;
            if hand.held.len() >= hand.window || self.random.random_bool(0.3) {
                self.acknowledge(&mut hand)?;
            }
        }
    }

    /// Has the queue made, and nothing of it.
    pub(super) fn begin(&mut self, place: &Place) {
        self.subscribe(place, Life::ENDLESS).expect("subscribed");
    }

    fn subscribe(&mut self, place: &Place, life: Life) -> Result<Hand, Gone> {
        let mut client = join(place, &mut self.random, life)?;
        let window = self.random.random_range(1..30_usize);
        self.n_sessions += 1;
        let session = format!("{}.{}", self.name, self.n_sessions);
        self.pen.begins(&session);
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
            session,
            client,
            window,
            held: Vec::new(),
            unanswered: Vec::new(),
            asked: BTreeMap::new(),
            last: 0,
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
                let offset = details
                    .int("_offset")
                    .expect("a number")
                    .expect("an offset");
                let offset = u64::try_from(offset).expect("an offset");
                let given = payload.args().expect("values");
                let text = given.first().and_then(Value::as_str).expect("a text");
                self.pen.gets(&hand.session, offset, publication, text);
                hand.held.push((publication, offset));
                hand.last = offset;
                Ok(Some(text.to_owned()))
            }
            Message::Result { request, .. } => {
                let offsets = hand.asked.remove(&request).expect("a call of its own");
                self.pen.settled(&hand.session, &offsets);
                Ok(None)
            }
            other => panic!("{other:?}"),
        }
    }

    /// By the procedure, which is answered, or now and then by EVENT_RECEIVED: then the next answer is that too, for both are taken in
    /// order.
    fn acknowledge(&mut self, hand: &mut Hand) -> Result<(), Gone> {
        let held = std::mem::take(&mut hand.held);
        if self.random.random_bool(0.1) {
            for (publication, offset) in held {
                hand.unanswered.push(offset);
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
        let mut offsets = std::mem::take(&mut hand.unanswered);
        offsets.extend(held.iter().map(|(_, offset)| *offset));
        hand.asked.insert(request, offsets);
        hand.client.send(&call(request, RECEIVED, &ids))
    }

    /// The only subscriber takes all that is left, in the queue's order, up to what says so, and has it settled. How many events that
    /// were.
    pub(super) fn inherit(&mut self, place: &Place, upto: &str) -> u64 {
        let mut hand = self.subscribe(place, Life::ENDLESS).expect("subscribed");
        let mut n_events = 0;
        let mut is_last = false;
        while !is_last {
            let before = hand.last;
            if let Some(text) = self.take(&mut hand).expect("a message") {
                n_events += 1;
                assert!(hand.last > before, "{text} came behind later ones");
                is_last = text == upto;
            }
            self.acknowledge(&mut hand).expect("sent");
        }
        while !hand.asked.is_empty() {
            self.take(&mut hand).expect("an answer");
        }
        // EVENT_RECEIVED is taken in order: what follows it is behind it.
        hand.client
            .call("wamp.session.count", &[])
            .expect("a count");
        n_events
    }
}

/// Subscribers in processes of their own.
pub(super) struct Crew<'a> {
    place: &'a Place,
    book: &'a Book,
    seed: u64,
    /// How many processes there were.
    n_begun: u64,
    members: Vec<Process>,
}

impl<'a> Crew<'a> {
    pub(super) fn new(place: &'a Place, book: &'a Book, seed: u64, n: usize) -> Crew<'a> {
        let mut crew = Crew {
            place,
            book,
            seed,
            n_begun: 0,
            members: Vec::new(),
        };
        crew.members = (0..n).map(|_| crew.begin()).collect();
        crew
    }

    fn begin(&mut self) -> Process {
        self.n_begun += 1;
        let program = std::env::current_exe().expect("this program");
        let Place { at, token, .. } = self.place;
        let (seed, number) = (self.seed, self.n_begun);
        let book = self.book.path().display();
        let mut command = command(program.to_str().expect("a path of text"));
        command
            .args([PROGRAM, "--exact", "--ignored", "--nocapture"])
            .env(GIVEN, format!("{at} {token} {seed} {number} {book}"));
        Process::start(&mut command)
    }

    /// kill -9 of one of them, whose place another takes.
    pub(super) fn kill(&mut self, random: &mut StdRng) {
        let which = random.random_range(0..self.members.len());
        let fresh = self.begin();
        let mut old = std::mem::replace(self.members.get_mut(which).expect("a member"), fresh);
        end(&mut old);
    }

    pub(super) fn kill_all(mut self) {
        self.members.iter_mut().for_each(end);
    }

    /// Whether one of them ended by itself.
    pub(super) fn has_lost_one(&mut self) -> bool {
        let mut members = self.members.iter_mut();
        members.any(|member| member.ended().is_some())
    }
}

fn end(member: &mut Process) {
    let ended = member.ended();
    member.kill9();
    let said = || format!("{}{}", member.stdout(), member.stderr());
    assert!(ended.is_none(), "a subscriber ended: {}", said());
}

#[test]
#[ignore = "it is a process of the trial"]
fn a_subscriber_goes_on_until_it_is_killed() {
    let Ok(given) = std::env::var(GIVEN) else {
        return;
    };
    let words: Vec<&str> = given.splitn(5, ' ').collect();
    let &[at, token, seed, number, book] = &words[..] else {
        panic!("five words, not {given}")
    };
    let place = Place::new(at.parse().expect("an address"), token.to_owned());
    let (seed, number): (u64, u64) = (
        seed.parse().expect("a number"),
        number.parse().expect("a number"),
    );
    let random = random_of(seed, 1000 + number);
    let pen = Pen::of(Path::new(book));
    Subscriber::new(&number.to_string(), pen, random).run(&place);
}
