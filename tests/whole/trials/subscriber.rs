//! A subscriber of QoS 2 that keeps what a correct client keeps: the packet ids that it has received and that were not
//! released yet.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::StdRng;
use restante_proto::mqtt::{Ack, Packet, PacketId, Publish, Qos, ReasonCode, Version};

use super::{Place, begin, random_over, receive};
use crate::peer::{Gone, Life, Over, Peer, connect, publish};

pub(super) struct Subscriber {
    pub(super) name: &'static str,
    pub(super) version: Version,
    random: StdRng,
    filter: &'static str,
    received: BTreeSet<PacketId>,
    /// Of each publisher, the number of the message that is to come.
    next: BTreeMap<String, u64>,
    /// Publishers whose last message has not come.
    n_open: usize,
    has_begun: bool,
}

impl Subscriber {
    pub(super) fn new(
        name: &'static str,
        version: Version,
        filter: &'static str,
        n_publishers: usize,
        random: StdRng,
    ) -> Subscriber {
        Subscriber {
            name,
            version,
            random,
            filter,
            received: BTreeSet::new(),
            next: BTreeMap::new(),
            n_open: n_publishers,
            has_begun: false,
        }
    }

    /// Subscribes over a connection that nobody cuts.
    pub(super) fn subscribe(&mut self, place: &Place) {
        let mut peer = self.attach(place, Life::ENDLESS).expect("attached");
        let (code, before) = peer
            .subscribe(self.filter, Qos::ExactlyOnce)
            .expect("an answer");
        assert_eq!((code, before), (ReasonCode::GrantedQos2, Vec::new()));
    }

    /// Receives until every publisher has said that it is done; how many messages of each.
    pub(super) fn run(mut self, place: &Place) -> Subscriber {
        while self.waits() {
            let life = place.life(&mut self.random);
            if let Err(gone) = self.live(place, life) {
                place.count(gone, &place.subscriber_cuts);
            }
        }
        self
    }

    /// How many messages of each publisher came.
    pub(super) fn counts(&self) -> &BTreeMap<String, u64> {
        &self.next
    }

    /// Whether there is more to come.
    pub(super) fn waits(&self) -> bool {
        self.n_open > 0 || !self.received.is_empty()
    }

    fn live(&mut self, place: &Place, life: Life) -> Result<(), Gone> {
        let mut peer = self.attach(place, life)?;
        while self.waits() {
            let packet = receive(&mut peer)?;
            self.take(&mut peer, packet)?;
        }
        Ok(())
    }

    fn attach(&mut self, place: &Place, life: Life) -> Result<Peer, Gone> {
        let over = random_over(&mut self.random);
        let mut peer = Peer::new(place.at, over, self.version, life)?;
        let mut connect = connect(self.version, self.name, &place.token, false);
        if self.version == Version::V5 {
            let maximum = self.random.random_range(1..30_u16);
            connect.properties.receive_maximum = maximum.try_into().ok();
        }
        let connack = begin(&mut peer, connect)?;
        assert!(connack.session_present || !self.has_begun, "{}", self.name);
        self.has_begun = true;
        Ok(peer)
    }

    pub(super) fn take(&mut self, peer: &mut Peer, packet: Packet) -> Result<(), Gone> {
        match packet {
            Packet::Publish(publish) => {
                let id = publish.packet_id.expect("QoS 2 has an id");
                // What it knows came before: it is answered, and is no message.
                if self.received.insert(id) {
                    self.note(&publish);
                }
                peer.send(&Packet::Pubrec(Ack::new(id, ReasonCode::Success)))
            }
            Packet::Pubrel(ack) => {
                self.received.remove(&ack.packet_id);
                peer.send(&Packet::Pubcomp(Ack::new(
                    ack.packet_id,
                    ReasonCode::Success,
                )))
            }
            other => panic!("{}: {other:?}", self.name),
        }
    }

    /// A message came: it must be the next one of its publisher.
    fn note(&mut self, publish: &Publish) {
        assert_eq!(publish.qos, Qos::ExactlyOnce);
        let payload = String::from_utf8_lossy(&publish.payload).into_owned();
        let mut words = payload.split(' ');
        let publisher = words.next().unwrap_or_default();
        let number = words.next().and_then(|it| it.parse::<u64>().ok());
        let next = self.next.entry(publisher.to_owned()).or_default();
        assert_eq!(number, Some(*next), "{}: {payload}", self.name);
        *next += 1;
        if words.next() == Some("end") {
            self.n_open -= 1;
        }
    }

    /// Nothing more waits for it: what it publishes itself comes first.
    pub(super) fn has_all(mut self, place: &Place, topic: &str) {
        let over = Over::Tcp;
        let connect = connect(self.version, self.name, &place.token, false);
        let (mut peer, connack) = Peer::connect(place.at, over, connect).expect("attached");
        assert!(connack.session_present, "{}", self.name);
        let fence = publish(Qos::AtLeastOnce, topic, "fence", PacketId::FIRST);
        peer.send(&fence).expect("sent");
        loop {
            match peer.receive().expect("a packet") {
                Packet::Puback(_) => {}
                Packet::Publish(publish) => {
                    assert_eq!(&publish.payload[..], b"fence", "{}", self.name);
                    return;
                }
                // Its PUBCOMP was lost.
                released @ Packet::Pubrel(_) => self.take(&mut peer, released).expect("sent"),
                other => panic!("{}: {other:?}", self.name),
            }
        }
    }
}
