//! A session, a client's words for it, and a driver that does what it wishes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use restante_proto::wamp::{Dict, Limits, Message, Payload, Serializer, Value, decode};

use crate::broker::{Call, Event, WampAsk, WampTold};
use crate::refusal::Refusal;
use crate::router::{ToSession, UriRules};
use crate::session::wamp::{Disclosure, Known, Proved, Session, Settings, Transport, Wish};

pub(super) fn settings() -> Settings {
    Settings {
        limits: Limits::default(),
        uris: UriRules::Loose,
        sequential_ids: true,
        open_within: Duration::from_secs(10),
        leave_within: Duration::from_secs(5),
        publish_rate: None,
        window: 16,
        unacknowledged_max: 4,
        authorizer: None,
        authorizer_cache: Duration::ZERO,
        disclosure: Disclosure::Wished,
        agent: "restante".to_owned(),
    }
}

/// A session under test.
pub(super) struct Rig {
    pub(super) session: Session,
    pub(super) now: Instant,
    pub(super) wishes: Vec<Wish>,
    /// What it has written, in order.
    pub(super) said: Vec<Message>,
    /// How large a message its client takes.
    pub(super) peer_max: usize,
    room: BytesMut,
}

impl Rig {
    pub(super) fn new(settings: Settings) -> Self {
        Rig::over(settings, "websocket")
    }

    fn over(settings: Settings, transport: &'static str) -> Self {
        let now = Instant::now();
        let transport = Transport {
            name: transport,
            serializer: Serializer::Json,
            keeps_order: transport != "longpoll",
        };
        Rig {
            session: Session::new(Arc::new(settings), transport, 7, now),
            now,
            wishes: Vec::new(),
            said: Vec::new(),
            peer_max: usize::MAX,
            room: BytesMut::new(),
        }
    }

    /// One whose client is welcome.
    pub(super) fn open() -> Self {
        Rig::open_with(settings())
    }

    pub(super) fn open_with(settings: Settings) -> Self {
        let mut rig = Rig::new(settings);
        rig.open_anew();
        rig
    }

    /// One whose client's messages overtake one another.
    pub(super) fn open_over_long_poll() -> Self {
        Rig::open_over_long_poll_with(settings())
    }

    pub(super) fn open_over_long_poll_with(settings: Settings) -> Self {
        let mut rig = Rig::over(settings, "longpoll");
        rig.open_anew();
        rig
    }

    /// One whose client has announced that to be told of what is taken from it.
    pub(super) fn open_for_revocation() -> Self {
        let mut rig = Rig::new(settings());
        let features = Dict::new().with("subscription_revocation", true);
        let role = Dict::new().with("features", features);
        rig.open_as(Message::Hello {
            realm: "default".to_owned(),
            details: Dict::new().with("roles", Dict::new().with("subscriber", role)),
        });
        rig
    }

    pub(super) fn open_anew(&mut self) {
        self.open_as(hello());
    }

    fn open_as(&mut self, hello: Message) {
        self.client(hello);
        self.known();
        self.session.handle_attached(Ok(()));
        self.settle();
        self.said.clear();
        self.wishes.clear();
    }

    pub(super) fn known(&mut self) {
        let known = Known {
            authid: "ann".into(),
            authrole: "shop".into(),
            authmethod: "ticket",
            authprovider: "restante",
            authextra: Dict::new(),
        };
        self.session.handle_proved(Proved::Known(Box::new(known)));
        self.settle();
    }

    pub(super) fn client(&mut self, message: Message) {
        self.session.handle_message(self.now, message);
        self.settle();
    }

    pub(super) fn broker(&mut self, event: Event) {
        self.session.handle_event(self.now, event);
        self.settle();
    }

    pub(super) fn told(&mut self, told: WampTold) {
        self.broker(Event::Wamp(Box::new(told)));
    }

    /// The router has that for it.
    pub(super) fn router(&mut self, said: ToSession<Payload>) {
        self.told(WampTold::Said(Box::new(said)));
    }

    pub(super) fn confirm(&mut self, upto: u64, failed: &[(u64, Refusal)]) {
        let failed = failed.to_vec();
        self.broker(Event::Confirmed { upto, failed });
    }

    /// Takes what it wishes and says.
    pub(super) fn settle(&mut self) {
        while let Some(bytes) = self.session.poll_message(self.peer_max, &mut self.room) {
            let message = decode(Serializer::Json, &bytes, &Limits::default());
            self.said.push(message.expect("what it says is a message"));
        }
        // What could not be written is something to wish too.
        while let Some(wish) = self.session.poll_wish() {
            self.wishes.push(wish);
        }
    }

    pub(super) fn calls(&self) -> Vec<(u64, &Call)> {
        let calls = self.wishes.iter().filter_map(|wish| match wish {
            Wish::Call { tag, call } => Some((*tag, call)),
            _ => None,
        });
        calls.collect()
    }

    pub(super) fn asked(&self) -> Vec<&WampAsk> {
        let asked = self.wishes.iter().filter_map(|wish| match wish {
            Wish::Ask(ask) => Some(&**ask),
            _ => None,
        });
        asked.collect()
    }

    /// What it said since the last call.
    pub(super) fn take_said(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.said)
    }

    /// Subscribes, as `request`, and has it begin as `subscription`.
    pub(super) fn subscribe(
        &mut self,
        request: u64,
        topic: &str,
        options: Dict,
        subscription: u64,
    ) {
        let topic = topic.to_owned();
        self.client(Message::Subscribe {
            request,
            options,
            topic,
        });
        self.told(WampTold::Subscribed {
            request,
            subscription,
        });
        let tag = self.calls().last().map(|(tag, _)| *tag);
        self.confirm(tag.expect("a consumer is asked for"), &[]);
        let subscribed = Message::Subscribed {
            request,
            subscription,
        };
        assert_eq!(self.take_said(), [subscribed]);
        self.wishes.clear();
    }
}

pub(super) fn hello() -> Message {
    let roles = ["publisher", "subscriber", "caller", "callee"];
    let roles: Dict = roles
        .iter()
        .map(|it| (*it, Value::Dict(Dict::new())))
        .collect();
    Message::Hello {
        realm: "default".to_owned(),
        details: Dict::new().with("roles", roles),
    }
}

pub(super) fn publish(request: u64, topic: &str, options: Dict) -> Message {
    Message::Publish {
        request,
        options,
        topic: topic.to_owned(),
        payload: Payload::from_values(Serializer::Json, &["x".into()], &Dict::new()).unwrap(),
    }
}

pub(super) fn acknowledged() -> Dict {
    Dict::new().with("acknowledge", true)
}

/// The error's type, request and URI.
pub(super) fn error(message: &Message) -> Option<(u16, u64, &str)> {
    match message {
        Message::Error {
            request_type,
            request,
            error,
            ..
        } => Some((*request_type, *request, error.as_str())),
        _ => None,
    }
}

/// The reason of an ABORT.
pub(super) fn aborted(message: &Message) -> Option<&str> {
    match message {
        Message::Abort { reason, .. } => Some(reason),
        _ => None,
    }
}
