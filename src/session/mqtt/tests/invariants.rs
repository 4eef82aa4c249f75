//! A client and a broker that do anything at any time, as far as each may; and what must hold all along.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use restante_proto::mqtt::{Ack, Packet, Publish, Qos, ReasonCode, Version};

use super::rig::{RECEIVE_MAXIMUM, Rig, id, message, publish, subscribe};
use crate::broker::Call;
use crate::message::Message;
use crate::refusal::Refusal;
use crate::session::mqtt::Wish;

/// What one of the two does next.
#[derive(Debug, Clone)]
enum Act {
    /// The client publishes with that QoS and a new id.
    Publish(Qos),
    /// It sends a QoS 2 publish again.
    PublishAgain(usize),
    /// It releases what it has a PUBREC for.
    Release(usize),
    /// It acknowledges a delivery, or refuses it.
    Acknowledge(usize, bool),
    /// It acknowledges what nobody has sent.
    Nonsense(u8, u16),
    Subscribe,
    Ping,
    /// The broker confirms some calls, refusing those that the bits say.
    Confirm(usize, u64),
    /// It delivers as far as credit goes, with that bound; from its own queue perhaps to an id that is in use.
    Deliver(u8, Option<u8>, bool),
    Read,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let qos = (0_u8..3).prop_map(|qos| Qos::from_u8(qos).unwrap());
    let bound = prop::option::of(0_u8..3);
    let act = prop_oneof![
        5 => qos.prop_map(Act::Publish),
        1 => any::<usize>().prop_map(Act::PublishAgain),
        4 => any::<usize>().prop_map(Act::Release),
        8 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(n, no)| Act::Acknowledge(n, no)),
        1 => (0_u8..4, 40_000_u16..50_000).prop_map(|(of, number)| Act::Nonsense(of, number)),
        1 => Just(Act::Subscribe),
        1 => Just(Act::Ping),
        5 => (1_usize..8, any::<u64>()).prop_map(|(n, bits)| Act::Confirm(n, bits & bits >> 7)),
        8 => (0_u8..3, bound, prop::bool::weighted(0.1))
            .prop_map(|(from, bound, jumps)| Act::Deliver(from, bound, jumps)),
        4 => Just(Act::Read),
    ];
    prop::collection::vec(act, 1..150)
}

/// How far a delivery is, as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Qos1,
    Qos2,
    /// PUBREC was sent.
    Received,
    /// PUBREL came.
    Released,
}

/// The client and the broker, and what each knows.
struct World {
    rig: Rig,
    version: Version,
    is_durable: bool,
    /// Calls that are not confirmed.
    calls: VecDeque<u64>,
    /// The last tag that is confirmed.
    confirmed: u64,
    next_id: u16,
    /// Publishes without PUBACK or PUBREC, with their calls.
    unanswered: BTreeMap<u16, (Qos, u64)>,
    /// Publishes with PUBREC and without PUBREL: how often they were sent again since.
    received: BTreeMap<u16, u32>,
    /// Publishes with PUBREL and without PUBCOMP.
    released: BTreeSet<u16>,
    /// Deliveries that the client has not finished with.
    flows: BTreeMap<u16, Flow>,
    /// By packet id: the call that has to be confirmed before its PUBREL.
    releasing: BTreeMap<u16, u64>,
    credit: BTreeMap<String, u64>,
    delivered: BTreeMap<String, u64>,
    settled: BTreeSet<(String, u64)>,
    next_offset: u64,
}

impl World {
    fn new(version: Version, is_durable: bool) -> Self {
        let rig = if is_durable {
            Rig::durable(version)
        } else {
            Rig::running(version)
        };
        let mut world = World {
            rig,
            version,
            is_durable,
            calls: VecDeque::new(),
            confirmed: 0,
            next_id: 1,
            unanswered: BTreeMap::new(),
            received: BTreeMap::new(),
            released: BTreeSet::new(),
            flows: BTreeMap::new(),
            releasing: BTreeMap::new(),
            credit: BTreeMap::new(),
            delivered: BTreeMap::new(),
            settled: BTreeSet::new(),
            // The own queue's ids begin anew soon.
            next_offset: 32_760,
        };
        let all = [("#", Qos::ExactlyOnce), ("$share/g/b", Qos::AtLeastOnce)];
        world.client(Packet::Subscribe(subscribe(60_000, &all)));
        world.confirm(2, 0);
        world.poll();
        world.read();
        world
    }

    fn act(&mut self, act: &Act) {
        // As the driver does.
        let reads = self.rig.session.wants_packets();
        match act {
            Act::Publish(qos) if reads => self.publish(*qos),
            Act::PublishAgain(n) if reads => self.publish_again(*n),
            Act::Release(n) if reads => self.release(*n),
            Act::Acknowledge(n, refuses) if reads => self.acknowledge(*n, *refuses),
            Act::Nonsense(of, number) if reads => self.nonsense(*of, *number),
            Act::Subscribe if reads => {
                let filters = [("a/+", Qos::AtLeastOnce), ("$share/g/b", Qos::AtLeastOnce)];
                self.client(Packet::Subscribe(subscribe(60_000, &filters)));
            }
            Act::Ping if reads => self.client(Packet::Pingreq),
            Act::Confirm(n, bits) => self.confirm(*n, *bits),
            Act::Deliver(from, bound, jumps) => self.deliver(*from, *bound, *jumps),
            Act::Read => self.read(),
            _ => {}
        }
        self.poll();
        assert_eq!(self.rig.session.closing(), None);
    }

    fn client(&mut self, packet: Packet) {
        self.rig.client(packet);
        self.poll();
    }

    fn publish(&mut self, qos: Qos) {
        let n_open = self.unanswered.len() + self.received.len() + self.released.len();
        if qos == Qos::AtMostOnce {
            return self.client(Packet::Publish(publish(qos, 0)));
        }
        if n_open >= usize::from(RECEIVE_MAXIMUM) {
            return;
        }
        let number = self.next_id;
        self.next_id += 1;
        self.client(Packet::Publish(publish(qos, number)));
        let tag = *self.calls.back().expect("a call for it");
        self.unanswered.insert(number, (qos, tag));
    }

    fn publish_again(&mut self, n: usize) {
        let twos = self.unanswered.iter();
        // Whose answer is on its way already may be another publish, if it was refused.
        let confirmed = self.confirmed;
        let twos = twos.filter(|(_, (qos, tag))| *qos == Qos::ExactlyOnce && *tag > confirmed);
        let known: Vec<_> = twos
            .map(|(number, _)| number)
            .chain(self.received.keys())
            .collect();
        let Some(number) = known.get(n % known.len().max(1)).map(|number| **number) else {
            return;
        };
        if let Some(n_again) = self.received.get_mut(&number) {
            *n_again += 1;
        }
        let n_calls = self.calls.len();
        self.client(Packet::Publish(Publish {
            dup: true,
            ..publish(Qos::ExactlyOnce, number)
        }));
        assert_eq!(self.calls.len(), n_calls, "stored again");
    }

    fn release(&mut self, n: usize) {
        let quiet = self.received.iter().filter(|(_, n_again)| **n_again == 0);
        let quiet: Vec<_> = quiet.map(|(number, _)| *number).collect();
        let Some(number) = quiet.get(n % quiet.len().max(1)).copied() else {
            return;
        };
        self.received.remove(&number);
        self.released.insert(number);
        self.client(Packet::Pubrel(Ack::new(id(number), ReasonCode::Success)));
    }

    fn acknowledge(&mut self, n: usize, refuses: bool) {
        let due: Vec<_> = self
            .flows
            .iter()
            .filter(|(_, flow)| **flow != Flow::Received)
            .collect();
        let Some((number, flow)) = due.get(n % due.len().max(1)).map(|(n, flow)| (**n, **flow))
        else {
            return;
        };
        let reason = match refuses && self.version == Version::V5 && flow != Flow::Released {
            true => ReasonCode::QuotaExceeded,
            false => ReasonCode::Success,
        };
        let ack = Ack::new(id(number), reason);
        match flow {
            Flow::Qos2 if !reason.is_error() => {
                self.flows.insert(number, Flow::Received);
            }
            _ => {
                self.flows.remove(&number);
            }
        }
        match flow {
            Flow::Qos1 => self.client(Packet::Puback(ack)),
            Flow::Qos2 | Flow::Received => self.client(Packet::Pubrec(ack)),
            Flow::Released => self.client(Packet::Pubcomp(ack)),
        }
    }

    fn nonsense(&mut self, of: u8, number: u16) {
        let of: fn(Ack) -> Packet = match of {
            0 => Packet::Puback,
            1 => Packet::Pubrec,
            2 => Packet::Pubrel,
            _ => Packet::Pubcomp,
        };
        self.client(of(Ack::new(id(number), ReasonCode::Success)));
    }

    fn confirm(&mut self, n: usize, bits: u64) {
        let mut failed = Vec::new();
        for tag in self.calls.drain(..n.min(self.calls.len())) {
            self.confirmed = tag;
            if bits >> (tag % 64) & 1 == 1 {
                let why = [Refusal::Denied, Refusal::NoRoute, Refusal::InUse][tag as usize % 3];
                failed.push((tag, why));
            }
        }
        self.rig.confirm_with(self.confirmed, &failed);
    }

    fn deliver(&mut self, from: u8, bound: Option<u8>, jumps: bool) {
        let (consumer, address) = match from {
            0 if self.is_durable => ("q", "a"),
            1 => ("s/g/b", "b"),
            _ => ("t", "a"),
        };
        let delivered = self.delivered.entry(consumer.to_owned()).or_default();
        let allowed = match consumer {
            "t" => self.rig.session.wants_deliveries(),
            _ => self
                .credit
                .get(consumer)
                .is_some_and(|limit| *delivered < *limit),
        };
        if !allowed {
            return;
        }
        *delivered += 1;
        self.next_offset += if jumps { 32_767 } else { 1 };
        let message = Message {
            qos_bound: bound,
            ..message(address)
        };
        let attempt = if jumps { 2 } else { 1 };
        self.rig
            .deliver(consumer, self.next_offset, attempt, message);
    }

    /// What the broker is asked.
    fn poll(&mut self) {
        while let Some(wish) = self.rig.session.poll_call() {
            match wish {
                Wish::Call { tag, call } => {
                    let last = self.calls.back().copied().unwrap_or(self.confirmed);
                    assert_eq!(tag, last + 1);
                    self.calls.push_back(tag);
                    self.called(tag, call);
                }
                Wish::Credit { consumer, limit } => {
                    let known = self.credit.entry(consumer.to_string()).or_default();
                    *known = limit.max(*known);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn called(&mut self, tag: u64, call: Call) {
        match call {
            Call::Settle(settle) => {
                for (first, last) in settle.accepted.iter() {
                    assert_eq!(first, last);
                    let settled = (settle.consumer.clone(), first);
                    assert!(self.settled.insert(settled), "settled twice");
                }
                for number in settle.releasing {
                    assert_eq!(self.flows.get(&number), Some(&Flow::Received));
                    self.releasing.insert(number, tag);
                }
            }
            Call::Forget { packet } => assert!(self.released.contains(&packet)),
            Call::Complete { packet } => {
                assert!(self.releasing.remove(&packet).is_some());
                assert!(!self.flows.contains_key(&packet));
            }
            Call::Publish(_) | Call::Subscribe(_) => {}
            other => panic!("{other:?}"),
        }
    }

    /// What the client is told.
    fn read(&mut self) {
        for packet in self.rig.read() {
            match packet {
                Packet::Puback(ack) => self.answered(Qos::AtLeastOnce, &ack),
                Packet::Pubrec(ack) => self.answered(Qos::ExactlyOnce, &ack),
                Packet::Pubcomp(ack) if ack.packet_id.get() >= 40_000 => {}
                Packet::Pubcomp(ack) => assert!(self.released.remove(&ack.packet_id.get())),
                Packet::Pubrel(ack) if ack.packet_id.get() >= 40_000 => {}
                Packet::Pubrel(ack) => self.pubrel(ack.packet_id.get()),
                Packet::Publish(publish) => self.publish_came(&publish),
                Packet::Suback(_) | Packet::Pingresp => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn answered(&mut self, of: Qos, ack: &Ack) {
        let number = ack.packet_id.get();
        if let Some(n_again) = self.received.get_mut(&number) {
            assert_eq!(of, Qos::ExactlyOnce);
            assert!(*n_again > 0, "answered twice");
            *n_again -= 1;
            return;
        }
        let (qos, tag) = self.unanswered.remove(&number).expect("a publish");
        assert_eq!(qos, of);
        assert!(tag <= self.confirmed, "answered before it was confirmed");
        if qos == Qos::ExactlyOnce && !ack.reason.is_error() {
            self.received.insert(number, 0);
        }
    }

    fn pubrel(&mut self, number: u16) {
        let flow = self.flows.get_mut(&number).expect("a delivery");
        assert_eq!(*flow, Flow::Received);
        *flow = Flow::Released;
        if let Some(tag) = self.releasing.get(&number) {
            assert!(*tag <= self.confirmed, "released before that was durable");
        }
    }

    fn publish_came(&mut self, publish: &Publish) {
        let flow = match publish.qos {
            Qos::AtMostOnce => return,
            Qos::AtLeastOnce => Flow::Qos1,
            Qos::ExactlyOnce => Flow::Qos2,
        };
        let number = publish.packet_id.expect("an id").get();
        let before = self.flows.insert(number, flow);
        assert_eq!(before, None, "packet id {number} is in use");
        assert!(
            self.flows.len() <= usize::from(RECEIVE_MAXIMUM),
            "{:?}",
            self.flows
        );
    }

    /// All that can end ends.
    fn finish(&mut self) {
        for _ in 0..1000 {
            self.confirm(usize::MAX, 0);
            self.poll();
            self.read();
            self.release(0);
            self.acknowledge(0, false);
        }
        assert!(self.unanswered.is_empty(), "{:?}", self.unanswered);
        assert!(self.received.is_empty() && self.released.is_empty());
        assert!(self.flows.is_empty(), "{:?}", self.flows);
        assert!(self.rig.session.wants_packets() && self.rig.session.wants_deliveries());
        let settles = self.delivered.iter().filter(|(name, _)| *name != "t");
        let n_delivered: u64 = settles.map(|(_, n)| n).sum();
        assert_eq!(
            self.settled.len() as u64,
            n_delivered,
            "each is settled once"
        );
    }
}

fn check(acts: &[Act], version: Version, is_durable: bool) {
    let mut world = World::new(version, is_durable);
    for act in acts {
        world.act(act);
    }
    world.finish();
}

proptest! {
    /// Asserted in [`World::publish_came`].
    #[test]
    fn no_more_is_in_flight_than_the_client_takes(acts in acts()) {
        check(&acts, Version::V5, true);
    }

    /// Asserted in [`World::answered`] and [`World::finish`].
    #[test]
    fn every_publish_is_answered_once_and_only_when_it_is_confirmed(acts in acts()) {
        check(&acts, Version::V311, true);
    }

    /// Asserted in [`World::publish_came`].
    #[test]
    fn no_two_deliveries_have_one_packet_id(acts in acts()) {
        check(&acts, Version::V5, false);
        check(&acts, Version::V31, false);
    }
}
