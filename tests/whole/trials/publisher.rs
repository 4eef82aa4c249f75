//! A publisher that keeps what a correct client keeps: what it has sent and was not answered, through whatever ends its
//! connections (MQTT 5.0 §4.4: resent in order, with the packet ids of before).

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use rand::RngExt;
use rand::rngs::StdRng;
use restante_proto::mqtt::{Ack, Packet, PacketId, Qos, ReasonCode, Version};

use super::subscriber::Subscriber;
use super::{Place, begin, random_over, receive};
use crate::peer::{Gone, Peer, connect, publish};

/// How many messages it has under way at most.
const WINDOW: usize = 12;

pub(super) struct Publisher {
    pub(super) name: &'static str,
    pub(super) version: Version,
    pub(super) qos: Qos,
    pub(super) topic: String,
    pub(super) random: StdRng,
    /// What was sent and is not done, in order.
    flights: VecDeque<Flight>,
    next_id: PacketId,
    /// How many messages it has begun.
    pub(super) n_sent: u64,
    /// Whether the last one, which says so, was sent.
    has_said_end: bool,
    /// Whether a CONNECT of its was granted: from then on there is its session.
    has_begun: bool,
    /// What it receives over the same connections, where it does: it has subscribed already.
    pub(super) ear: Option<Subscriber>,
}

struct Flight {
    id: PacketId,
    payload: String,
    /// Whether its PUBREC came.
    received: bool,
}

impl Publisher {
    pub(super) fn new(
        name: &'static str,
        version: Version,
        qos: Qos,
        topic: String,
        random: StdRng,
    ) -> Publisher {
        Publisher {
            name,
            version,
            qos,
            topic,
            random,
            flights: VecDeque::new(),
            // Soon at the last one.
            next_id: PacketId::new(65_000).expect("not 0"),
            n_sent: 0,
            has_said_end: false,
            has_begun: false,
            ear: None,
        }
    }

    /// Publishes until the place is to be left, and everything is acknowledged, and received where it receives.
    pub(super) fn run(mut self, place: &Place) -> Publisher {
        loop {
            match self.live(place) {
                Ok(()) => return self,
                Err(gone) => place.count(gone, &place.publisher_cuts),
            }
        }
    }

    /// Goes on, over one connection.
    fn live(&mut self, place: &Place) -> Result<(), Gone> {
        let over = random_over(&mut self.random);
        let life = place.life(&mut self.random);
        let mut peer = Peer::new(place.at, over, self.version, life)?;
        let connect = connect(self.version, self.name, &place.token, false);
        let connack = begin(&mut peer, connect)?;
        assert!(connack.session_present || !self.has_begun, "{}", self.name);
        self.has_begun = true;
        self.send_again(&mut peer)?;
        loop {
            let stops = place.stops.load(Ordering::Relaxed);
            while !self.has_said_end && self.flights.len() < WINDOW && self.random.random_bool(0.9)
            {
                if stops && !self.flights.is_empty() {
                    break;
                }
                self.send_next(&mut peer, stops)?;
            }
            let waits = self.ear.as_ref().is_some_and(Subscriber::waits);
            match self.flights.is_empty() {
                true if self.has_said_end && !waits => return Ok(()),
                true if !self.has_said_end => {}
                _ => self.take_answer(&mut peer)?,
            }
        }
    }

    /// Everything that was not answered, in its order [MQTT-4.4.0-1, MQTT-4.6.0-1].
    fn send_again(&mut self, peer: &mut Peer) -> Result<(), Gone> {
        for flight in &self.flights {
            if flight.received {
                peer.send(&Packet::Pubrel(Ack::new(flight.id, ReasonCode::Success)))?;
                continue;
            }
            let mut packet = publish(self.qos, &self.topic, &flight.payload, flight.id);
            if let Packet::Publish(publish) = &mut packet {
                publish.dup = true;
            }
            peer.send(&packet)?;
        }
        Ok(())
    }

    fn send_next(&mut self, peer: &mut Peer, ends: bool) -> Result<(), Gone> {
        let id = self.next_id;
        self.next_id = id.next();
        // Of different lengths.
        let tail = "x".repeat(self.random.random_range(0..100));
        let word = if ends { "end" } else { "message" };
        let payload = format!("{} {} {word} {tail}", self.name, self.n_sent);
        let packet = publish(self.qos, &self.topic, &payload, id);
        // It is remembered before it is sent, as a client with a disk does it.
        self.flights.push_back(Flight {
            id,
            payload,
            received: false,
        });
        self.n_sent += 1;
        self.has_said_end = ends;
        peer.send(&packet)
    }

    fn take_answer(&mut self, peer: &mut Peer) -> Result<(), Gone> {
        let packet = receive(peer)?;
        match (packet, self.qos) {
            (Packet::Puback(ack), Qos::AtLeastOnce) => {
                assert_eq!(ack.reason, ReasonCode::Success, "{ack:?}");
                self.done(ack.packet_id);
                Ok(())
            }
            (Packet::Pubrec(ack), Qos::ExactlyOnce) => {
                assert_eq!(ack.reason, ReasonCode::Success, "{ack:?}");
                let flight = self.flights.iter_mut().find(|it| it.id == ack.packet_id);
                flight.expect("a PUBREC of what is under way").received = true;
                peer.send(&Packet::Pubrel(Ack::new(
                    ack.packet_id,
                    ReasonCode::Success,
                )))
            }
            (Packet::Pubcomp(ack), Qos::ExactlyOnce) => {
                // Not found: it was complete before a connection broke.
                let known = [ReasonCode::Success, ReasonCode::PacketIdNotFound];
                assert!(known.contains(&ack.reason), "{ack:?}");
                self.done(ack.packet_id);
                Ok(())
            }
            (other, _) => match &mut self.ear {
                Some(ear) => ear.take(peer, other),
                None => panic!("{}: {other:?}", self.name),
            },
        }
    }

    fn done(&mut self, id: PacketId) {
        let at = self.flights.iter().position(|it| it.id == id);
        let flight = at.and_then(|at| self.flights.remove(at));
        let flight = flight.expect("an answer of what is under way");
        assert!(flight.received || self.qos == Qos::AtLeastOnce);
    }
}
