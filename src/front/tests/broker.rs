//! A broker that records what it is asked and says what the test tells it to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use restante_proto::mbws::Ranges;
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::server::within;
use crate::access::scram::{ClientFirst, Verifier};
use crate::access::testing::{House, user};
use crate::access::wamp::{self, Begun, Dict, Hello, Refusal};
use crate::access::{Authenticator, Current, Exchange, Identity, Principal};
use crate::broker::{Attach, AttachError, Attached, Call, Event, MqttState, Protocol, WampAsk};
use crate::engine::address::{Address, AddressLimits};
use crate::front::{Answer, Authenticate, Inside, NotBelieved, Port, Proof, Welcomed};
use crate::refusal;
use crate::registry::Verb;
use crate::session::Credentials;

/// What an attachment was asked.
#[derive(Debug, PartialEq)]
pub(super) enum Asked {
    Call(u64, Call),
    Wamp(Box<WampAsk>),
    Credit(String, u64),
    Hold(String, Ranges),
    Expiry(Duration),
    GiveUpWill,
    Flush,
    /// Ended for good.
    End,
}

/// The broker's side of one attachment.
pub(super) struct Inner {
    pub(super) wish: Attach,
    asked: mpsc::UnboundedReceiver<Asked>,
    events: mpsc::UnboundedSender<Event>,
    said: AtomicUsize,
    room: Arc<Room>,
}

#[derive(Default)]
struct Room {
    full: AtomicBool,
    changed: Notify,
    drained: AtomicUsize,
    alarm: Notify,
}

#[derive(Clone)]
pub(super) struct FakeBroker {
    attached: mpsc::UnboundedSender<Inner>,
}

pub(super) struct FakePort {
    asked: mpsc::UnboundedSender<Asked>,
    events: mpsc::UnboundedReceiver<Event>,
    taken: VecDeque<Event>,
    room: Arc<Room>,
}

impl FakeBroker {
    /// The broker, and where its attachments appear.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Inner>) {
        let (attached, inners) = mpsc::unbounded_channel();
        (FakeBroker { attached }, inners)
    }
}

impl Inner {
    /// The next thing asked that is no flush; none once the attachment is gone.
    pub(super) async fn next(&mut self) -> Option<Asked> {
        loop {
            match within(self.asked.recv()).await {
                Some(Asked::Flush) => {}
                other => return other,
            }
        }
    }

    /// What was asked already.
    pub(super) fn next_now(&mut self) -> Option<Asked> {
        self.asked.try_recv().ok()
    }

    pub(super) async fn expect_call(&mut self, tag: u64) -> Call {
        match self.next().await {
            Some(Asked::Call(given, call)) if given == tag => call,
            other => panic!("not a call of tag {tag}: {other:?}"),
        }
    }

    /// What is asked until the next flush, with it.
    pub(super) async fn batch(&mut self) -> Vec<Asked> {
        let mut batch = Vec::new();
        while batch.last() != Some(&Asked::Flush) {
            batch.push(within(self.asked.recv()).await.expect("a flush"));
        }
        batch
    }

    /// Forgets flushes that nothing stands before.
    pub(super) fn drop_flushes(&mut self) {
        while let Ok(asked) = self.asked.try_recv() {
            assert_eq!(asked, Asked::Flush);
        }
    }

    pub(super) fn has_been_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// How many events the front has not taken.
    pub(super) fn waiting(&self) -> usize {
        self.said.load(Ordering::SeqCst) - self.room.drained.load(Ordering::SeqCst)
    }

    pub(super) fn says(&self, event: Event) {
        self.said.fetch_add(1, Ordering::SeqCst);
        assert!(self.events.send(event).is_ok(), "the attachment is gone");
    }

    /// Says it also to whoever does not read.
    pub(super) fn calls_out(&self, event: Event) {
        self.says(event);
        self.room.alarm.notify_one();
    }

    pub(super) fn confirms(&self, upto: u64) {
        let failed = Vec::new();
        self.says(Event::Confirmed { upto, failed });
    }

    /// All up to `tag` is confirmed, but that is refused.
    pub(super) fn refuses(&self, tag: u64, why: refusal::Refusal) {
        let failed = vec![(tag, why)];
        self.says(Event::Confirmed { upto: tag, failed });
    }

    pub(super) fn has_room(&self, room: bool) {
        self.room.full.store(!room, Ordering::SeqCst);
        self.room.changed.notify_one();
    }
}

impl Inside for FakeBroker {
    type Port = FakePort;

    fn has_realm(&self, name: &str) -> bool {
        matches!(name, "default" | "shop 1")
    }

    fn may(
        &self,
        _from: (SocketAddr, Protocol),
        who: &Principal,
        _verb: Verb,
        _realm: &str,
        address: &Address,
    ) -> bool {
        &*who.name != "stranger" || address.as_str() != "locked"
    }

    fn address_limits(&self) -> AddressLimits {
        AddressLimits::default()
    }

    async fn attach(&self, wish: Attach) -> Result<(FakePort, Attached), AttachError> {
        let attached = Attached {
            session: wish.session.id.unwrap_or_else(Uuid::now_v7),
            resumed: false,
            confirmed: 0,
            failed: Vec::new(),
            expiry: wish.session.expiry,
            mqtt: (wish.protocol == Protocol::Mqtt).then(|| {
                Box::new(MqttState {
                    kept: !wish.session.expiry.is_zero() || wish.will.is_some(),
                    ..MqttState::default()
                })
            }),
        };
        let (asked_in, asked) = mpsc::unbounded_channel();
        let (events, events_out) = mpsc::unbounded_channel();
        let room = Arc::new(Room::default());
        let port = FakePort {
            asked: asked_in,
            events: events_out,
            taken: VecDeque::new(),
            room: room.clone(),
        };
        let inner = Inner {
            wish,
            asked,
            events,
            said: AtomicUsize::new(0),
            room,
        };
        self.attached
            .send(inner)
            .map_err(|_| AttachError::ShuttingDown)?;
        Ok((port, attached))
    }
}

impl FakePort {
    /// Those that were to come first are lost: it is for the end alone.
    fn ask(&self, asked: Asked) {
        // A test that has seen enough drops its end.
        drop(self.asked.send(asked));
    }
}

impl Port for FakePort {
    fn wamp(&mut self, ask: WampAsk) {
        self.ask(Asked::Wamp(Box::new(ask)));
    }

    fn call(&mut self, tag: u64, call: Call) {
        self.ask(Asked::Call(tag, call));
    }

    fn credit(&mut self, consumer: &str, limit: u64) {
        self.ask(Asked::Credit(consumer.to_owned(), limit));
    }

    fn hold(&mut self, consumer: &str, offsets: &Ranges) {
        self.ask(Asked::Hold(consumer.to_owned(), offsets.clone()));
    }

    fn set_expiry(&mut self, expiry: Duration) {
        self.ask(Asked::Expiry(expiry));
    }

    fn give_up_will(&mut self) {
        self.ask(Asked::GiveUpWill);
    }

    fn flush(&mut self) {
        self.ask(Asked::Flush);
    }

    fn has_room(&self) -> bool {
        !self.room.full.load(Ordering::SeqCst)
    }

    async fn ready(&mut self, deliveries: bool) {
        let is_wanted = |event: &Event| deliveries || !matches!(event, Event::Delivery(_));
        if self.taken.iter().any(is_wanted) {
            return;
        }
        loop {
            tokio::select! {
                Some(event) = self.events.recv() => {
                    let wanted = is_wanted(&event);
                    self.taken.push_back(event);
                    if wanted {
                        return;
                    }
                }
                () = self.room.changed.notified() => return,
            }
        }
    }

    async fn alarmed(&mut self) {
        self.room.alarm.notified().await;
    }

    fn drain(&mut self, bytes_max: usize) -> Vec<Event> {
        while let Ok(event) = self.events.try_recv() {
            self.taken.push_back(event);
        }
        let (mut drained, mut left) = (Vec::new(), VecDeque::new());
        let mut bytes = 0;
        for event in self.taken.drain(..) {
            match &event {
                Event::Delivery(_) if bytes >= bytes_max => left.push_back(event),
                Event::Delivery(delivery) => {
                    bytes += delivery.message.body.len().max(1);
                    drained.push(event);
                }
                _ => drained.push(event),
            }
        }
        self.taken = left;
        self.room.drained.fetch_add(drained.len(), Ordering::SeqCst);
        drained
    }

    fn end(self) {
        self.ask(Asked::End);
    }
}

/// Knows `ann`, whose password is `correct horse`; those who show nothing are guests.
fn wamp_auth() -> &'static Authenticator {
    static KNOWN: OnceLock<Authenticator> = OnceLock::new();
    KNOWN.get_or_init(|| {
        let mut house = House::new().user("ann", user("correct horse", &["shop"]));
        house.settings.anonymous_role = Some("guest".to_owned());
        let current = Current::new(house.access());
        Authenticator::new(current, &house.settings).unwrap()
    })
}

/// Knows `ann` and `bob`, whose passwords are `pw`.
pub(in crate::front) struct FakeAuth;

impl Authenticate for FakeAuth {
    /// Whoever it is has the protocol for a role.
    fn verify<'a>(&'a self, proof: Proof<'a>, _peer: SocketAddr, protocol: Protocol) -> Answer<'a> {
        let answer = match proof {
            Proof::Header(b"Basic YW5uOnB3") => Ok("ann"),
            Proof::Header(b"Bearer often") => Err(NotBelieved::Throttled),
            Proof::Header(b"Bearer busy") => Err(NotBelieved::Busy),
            Proof::Open(Credentials::Token(token)) if token == "rst_bob" => Ok("bob"),
            Proof::Open(Credentials::Password { user, password }) if password == "pw" => {
                match user.as_str() {
                    "ann" => Ok("ann"),
                    "bob" => Ok("bob"),
                    _ => Err(NotBelieved::Wrong),
                }
            }
            Proof::Certificate(der) if der.windows(7).any(|it| it == b"press-7") => Ok("press-7"),
            Proof::Header(_) | Proof::Open(_) | Proof::Certificate(_) => Err(NotBelieved::Wrong),
        };
        let never = match proof {
            Proof::Header(value) => value == b"Bearer slow",
            Proof::Open(Credentials::Token(token)) => token == "slow",
            _ => false,
        };
        Box::pin(async move {
            if never {
                std::future::pending::<()>().await;
            }
            answer.map(|name| principal(name, protocol))
        })
    }

    fn stranger(&self) -> Option<Principal> {
        Some(principal("stranger", Protocol::Sp))
    }

    fn challenge(
        &self,
        first: &[u8],
        rename: &mut dyn FnMut(&mut String),
        _peer: SocketAddr,
        _protocol: Protocol,
    ) -> Result<(Exchange, String), NotBelieved> {
        let mut first = ClientFirst::read(first).map_err(|_| NotBelieved::Wrong)?;
        rename(&mut first.user);
        let password = match first.user.as_str() {
            "ann" | "bob" => "pw",
            "often" => return Err(NotBelieved::Throttled),
            _ => "nobody's",
        };
        let verifier = Verifier::with(password, b"0123456789abcdef", 4096);
        Ok(Exchange::begin(first, verifier, &"nonce".repeat(5)))
    }

    fn prove(
        &self,
        exchange: &Exchange,
        last: &[u8],
        _peer: SocketAddr,
        protocol: Protocol,
    ) -> Result<(Principal, String), NotBelieved> {
        let says = exchange.finish(last).map_err(|_| NotBelieved::Wrong)?;
        Ok((principal(exchange.user(), protocol), says))
    }

    fn greet(&self, hello: &Hello, peer: SocketAddr) -> Result<Begun, Refusal> {
        wamp_auth().greet(hello, peer.ip())
    }

    fn answer<'a>(
        &'a self,
        exchange: Box<wamp::Exchange>,
        signature: &'a str,
        extra: &'a Dict,
        peer: SocketAddr,
    ) -> Welcomed<'a> {
        Box::pin(async move {
            let answer = wamp_auth().answer(exchange, signature, extra, peer.ip());
            answer.await
        })
    }
}

fn principal(name: &str, protocol: Protocol) -> Principal {
    Principal {
        name: Arc::from(name),
        roles: Arc::from([protocol.as_str().to_owned()]),
        identity: Identity::User { password: None },
        expires: None,
    }
}
