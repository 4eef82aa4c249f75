//! A member of a shared subscription that dies with messages in its hands.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;

use rand::RngExt;
use rand::rngs::StdRng;
use restante_proto::mqtt::{Ack, Packet, PacketId, Publish, Qos, ReasonCode, Version};

use super::{Place, begin, random_over, receive};
use crate::peer::{Gone, Life, Peer, connect};

/// How many messages it takes at most before it dies: fewer than it is given without an answer.
const MESSAGES_MAX: u32 = 30;

pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) version: Version,
    /// Whether its session ends with its connection.
    pub(super) clean: bool,
    /// What it asks for.
    pub(super) qos: Qos,
    pub(super) filter: &'static str,
    pub(super) random: StdRng,
    /// Payloads of what it was sent.
    pub(super) got: BTreeSet<String>,
}

impl Member {
    /// Lives and dies until the place is to be left.
    pub(super) fn run(mut self, place: &Place) -> Member {
        loop {
            let life = place.life(&mut self.random);
            let n_messages = self.random.random_range(1..MESSAGES_MAX);
            let ended = self.live(place, life, n_messages);
            if place.stops.load(Ordering::Relaxed) {
                return self;
            }
            let gone = ended.err().unwrap_or(Gone::Cut);
            place.count(gone, &place.subscriber_cuts);
        }
    }

    /// Dies of old age after so many messages.
    fn live(&mut self, place: &Place, life: Life, n_messages: u32) -> Result<(), Gone> {
        let (mut peer, mut came) = self.attach(place, life)?;
        place.watch(peer.stream());
        for _ in 0..n_messages {
            let publish = self.next(&mut peer, &mut came)?;
            if self.random.random_bool(0.7) {
                acknowledge(&mut peer, &publish)?;
            }
        }
        Ok(())
    }

    /// Takes and acknowledges everything, up to a message of that payload.
    pub(super) fn inherit(&mut self, place: &Place, upto: &str) {
        let (mut peer, mut came) = self.attach(place, Life::ENDLESS).expect("attached");
        loop {
            let publish = self.next(&mut peer, &mut came).expect("a message");
            acknowledge(&mut peer, &publish).expect("sent");
            if publish.payload == upto {
                return;
            }
        }
    }

    /// A connection of a member, and what came before it was told that it is one: its session may have been one already.
    pub(super) fn attach(
        &mut self,
        place: &Place,
        life: Life,
    ) -> Result<(Peer, VecDeque<Packet>), Gone> {
        let over = random_over(&mut self.random);
        let mut peer = Peer::new(place.at, over, self.version, life)?;
        let connect = connect(self.version, self.name, &place.token, self.clean);
        begin(&mut peer, connect)?;
        let (code, before) = peer.subscribe(self.filter, self.qos)?;
        // What was received with QoS 2 and not completed could not go to another member: nothing is sent so.
        assert_eq!(code, ReasonCode::GrantedQos1);
        Ok((peer, before.into()))
    }

    fn next(&mut self, peer: &mut Peer, came: &mut VecDeque<Packet>) -> Result<Publish, Gone> {
        let publish = match came.pop_front() {
            Some(packet) => publish_of(packet),
            None => publish_of(receive(peer)?),
        };
        assert_eq!(publish.qos, Qos::AtLeastOnce);
        let payload = String::from_utf8_lossy(&publish.payload);
        self.got.insert(payload.into_owned());
        Ok(publish)
    }
}

fn acknowledge(peer: &mut Peer, publish: &Publish) -> Result<(), Gone> {
    let id: PacketId = publish.packet_id.expect("QoS 1 has an id");
    peer.send(&Packet::Puback(Ack::new(id, ReasonCode::Success)))
}

fn publish_of(packet: Packet) -> Publish {
    match packet {
        Packet::Publish(publish) => publish,
        other => panic!("not a PUBLISH: {other:?}"),
    }
}
