//! A session, a client that reads bytes, a broker that is told what to say, and a clock that is moved by hand.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use restante_proto::mqtt::{
    Ack, Connack, Connect, Decoder, Disconnect, Limits, Packet, PacketId, Publish, Qos, ReasonCode,
    Str, Subscribe, SubscribeProperties, Subscription, Version,
};
use restante_storage::UnixMillis;
use uuid::Uuid;

use crate::broker::{Attached, Call, Delivery, Event, MqttState};
use crate::message::Message;
use crate::refusal::Refusal;
use crate::session::mqtt::{AttachWish, DeniedPublish, NotAttached, Session, Settings, Wish};

/// The time of day at which all begins.
pub(super) const WALL: UnixMillis = UnixMillis::new(1_000_000);
pub(super) const RECEIVE_MAXIMUM: u16 = 8;
/// Of a durable session.
pub(super) const EXPIRY: Duration = Duration::from_secs(60);

pub(super) const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

pub(super) struct Rig {
    pub(super) session: Session,
    pub(super) now: Instant,
    pub(super) wall: UnixMillis,
    decoder: Option<Decoder>,
    input: BytesMut,
}

pub(super) fn settings() -> Settings {
    Settings {
        limits: Limits {
            packet_bytes_max: 4096,
            ..Limits::default()
        },
        receive_maximum: NonZeroU16::new(RECEIVE_MAXIMUM).unwrap(),
        topic_alias_max: 4,
        keep_alive_max: None,
        session_expiry_max: Duration::from_secs(3600),
        subscriptions_max: 4,
        denied_publish: DeniedPublish::Acknowledge,
        connect_within: Duration::from_secs(10),
        publish_rate: None,
        window: 32,
        response_prefix: "replies".to_owned(),
        server_reference: None,
    }
}

/// A plain session that is new.
pub(super) fn attached() -> Attached {
    Attached {
        session: Uuid::from_u128(7),
        resumed: false,
        confirmed: 0,
        failed: Vec::new(),
        expiry: Duration::ZERO,
        mqtt: Some(Box::default()),
    }
}

/// What a session in the log begins with.
pub(super) fn kept() -> MqttState {
    MqttState {
        kept: true,
        ..MqttState::default()
    }
}

pub(super) fn str(text: &str) -> Str {
    Str::try_from(text).unwrap()
}

pub(super) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub(super) fn connect(version: Version) -> Connect {
    Connect::new(version, str("till"))
}

/// A PUBLISH of `x` to `a`; the id is left out with QoS 0.
pub(super) fn publish(qos: Qos, number: u16) -> Publish {
    Publish {
        qos,
        topic: str("a"),
        packet_id: (qos > Qos::AtMostOnce).then(|| id(number)),
        payload: Bytes::from_static(b"x"),
        ..Publish::default()
    }
}

pub(super) fn subscribe(number: u16, filters: &[(&str, Qos)]) -> Subscribe {
    let subscriptions = filters
        .iter()
        .map(|(filter, qos)| Subscription::new(str(filter), *qos));
    Subscribe {
        packet_id: id(number),
        subscriptions: subscriptions.collect(),
        properties: SubscribeProperties::default(),
    }
}

pub(super) fn message(address: &str) -> Message {
    Message {
        address: address.to_owned(),
        body: Bytes::from_static(b"x"),
        ..Message::default()
    }
}

/// The packet with the reason strings out: those are for people.
pub(super) fn plain(mut packet: Packet) -> Packet {
    match &mut packet {
        Packet::Disconnect(disconnect) => disconnect.properties.reason_string = None,
        Packet::Connack(connack) => connack.properties.reason_string = None,
        other => other.drop_problem_information(),
    }
    packet
}

impl Rig {
    pub(super) fn with(settings: Settings) -> Self {
        let now = Instant::now();
        Rig {
            session: Session::new(Arc::new(settings), now),
            now,
            wall: WALL,
            decoder: None,
            input: BytesMut::new(),
        }
    }

    /// Before CONNECT.
    pub(super) fn new() -> Self {
        Self::with(settings())
    }

    /// A new plain session after CONNACK.
    pub(super) fn running(version: Version) -> Self {
        Self::new().start(connect(version), attached()).0
    }

    /// A new durable session after CONNACK.
    pub(super) fn durable(version: Version) -> Self {
        Self::new().start_durable(connect(version))
    }

    pub(super) fn start_durable(self, connect: Connect) -> Self {
        let attached = Attached {
            expiry: EXPIRY,
            mqtt: Some(Box::new(kept())),
            ..attached()
        };
        self.start(connect, attached).0
    }

    /// A durable session that goes on with that, right after CONNACK.
    pub(super) fn resumed(version: Version, state: MqttState) -> Self {
        let attached = Attached {
            resumed: true,
            confirmed: 100,
            expiry: EXPIRY,
            mqtt: Some(Box::new(MqttState {
                kept: true,
                ..state
            })),
            ..attached()
        };
        let mut rig = Self::new();
        rig.client(Packet::Connect(Box::new(connect(version))));
        rig.expect_attach();
        rig.session.handle_attached(rig.now, Ok(attached));
        rig
    }

    pub(super) fn start(mut self, connect: Connect, attached: Attached) -> (Self, Connack) {
        self.client(Packet::Connect(Box::new(connect)));
        self.expect_attach();
        self.session.handle_attached(self.now, Ok(attached));
        let connack = self.expect_connack();
        assert_eq!(connack.reason, ReasonCode::Success);
        (self, connack)
    }

    pub(super) fn client(&mut self, packet: Packet) {
        if let Packet::Connect(connect) = &packet {
            self.decoder = Some(Decoder::client(connect.version, Limits::default()));
        }
        self.session.handle_packet(self.now, packet);
        self.session.settle_now();
    }

    pub(super) fn client_publishes(&mut self, qos: Qos, number: u16) {
        self.client(Packet::Publish(publish(qos, number)));
    }

    pub(super) fn attach(&mut self, attached: Result<Attached, NotAttached>) {
        self.session.handle_attached(self.now, attached);
    }

    pub(super) fn broker(&mut self, event: Event) {
        self.session.handle_event(self.wall, event);
        self.session.settle_now();
    }

    pub(super) fn confirm(&mut self, upto: u64) {
        self.confirm_with(upto, &[]);
    }

    pub(super) fn confirm_with(&mut self, upto: u64, failed: &[(u64, Refusal)]) {
        let failed = failed.to_vec();
        self.broker(Event::Confirmed { upto, failed });
    }

    pub(super) fn deliver(&mut self, consumer: &str, offset: u64, attempt: u32, message: Message) {
        self.broker(Event::Delivery(Box::new(Delivery {
            consumer: consumer.into(),
            offset,
            attempt,
            barred: false,
            message: Arc::new(message.into()),
        })));
    }

    /// The client subscribes to `filter` and is granted it; what that wishes is dropped.
    pub(super) fn subscribed(mut self, filter: &str, qos: Qos) -> Self {
        self.client(Packet::Subscribe(subscribe(9999, &[(filter, qos)])));
        let tag = self.expect_call().0;
        self.confirm(tag);
        while self.session.poll_call().is_some() {}
        assert!(matches!(self.expect_one(), Packet::Suback(_)));
        self
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        let millis = u64::try_from(time.as_millis()).unwrap();
        self.wall = self.wall.saturating_add(millis);
        self.session.handle_timeout(self.now);
    }

    /// What the client reads.
    pub(super) fn read(&mut self) -> Vec<Packet> {
        self.session.write(self.wall, &mut self.input, usize::MAX);
        assert!(!self.session.has_output());
        let mut read = Vec::new();
        if let Some(decoder) = &mut self.decoder {
            while let Some(packet) = decoder.decode(&mut self.input).unwrap() {
                read.push(packet);
            }
        }
        assert!(self.input.is_empty());
        read
    }

    pub(super) fn expect_one(&mut self) -> Packet {
        let mut read = self.read();
        assert_eq!(read.len(), 1, "{read:?}");
        read.remove(0)
    }

    /// The client reads just this, save for reason strings.
    pub(super) fn expect(&mut self, expected: &[Packet]) {
        let read: Vec<_> = self.read().into_iter().map(plain).collect();
        assert_eq!(read, expected);
    }

    pub(super) fn expect_ack(&mut self, of: fn(Ack) -> Packet, number: u16, reason: ReasonCode) {
        self.expect(&[of(Ack::new(id(number), reason))]);
    }

    pub(super) fn expect_publish(&mut self) -> Publish {
        match self.expect_one() {
            Packet::Publish(publish) => publish,
            other => panic!("not a publish: {other:?}"),
        }
    }

    pub(super) fn expect_connack(&mut self) -> Connack {
        match self.expect_one() {
            Packet::Connack(connack) => *connack,
            other => panic!("not a connack: {other:?}"),
        }
    }

    pub(super) fn expect_silence(&mut self) {
        assert_eq!(self.read(), []);
        assert_eq!(self.session.poll_call(), None);
    }

    pub(super) fn expect_attach(&mut self) -> AttachWish {
        match self.session.poll_call() {
            Some(Wish::Attach(wish)) => *wish,
            other => panic!("not an attach: {other:?}"),
        }
    }

    pub(super) fn expect_wish(&mut self) -> Wish {
        self.session.poll_call().expect("a wish")
    }

    pub(super) fn expect_call(&mut self) -> (u64, Call) {
        match self.expect_wish() {
            Wish::Call { tag, call } => (tag, call),
            other => panic!("not a call: {other:?}"),
        }
    }

    /// The connection is over: of 5.0 with a DISCONNECT of that code as the last packet, of 3.x with nothing.
    pub(super) fn expect_fatal(&mut self, code: ReasonCode) {
        let closing = self.session.closing().expect("closing").clone();
        assert_eq!(closing.code, Some(code));
        assert!(!closing.normal && !closing.text.is_empty());
        let told = self.read();
        if self.session.version() == Some(Version::V5) {
            let Some(Packet::Disconnect(Disconnect { reason, properties })) = told.last() else {
                panic!("no disconnect: {told:?}");
            };
            assert_eq!(*reason, code);
            assert_eq!(properties.reason_string, Some(str(&closing.text)));
            assert_eq!(properties.session_expiry_secs, None);
        } else {
            assert_eq!(told, []);
        }
        assert!(!self.session.wants_packets());
        assert_eq!(self.session.poll_timeout(), None);
    }
}

/// A limit on publishes a second.
pub(super) fn rate(per_second: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(per_second)
}
