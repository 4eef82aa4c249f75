//! What is to be written: in order, encoded when there is room.
//!
//! Of a delivery, what all who get the message have in common is encoded once, for all of them. What is its own is written
//! in front of that when there is room: only then are the topic alias and what it has left to live known.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bytes::BytesMut;
use restante_proto::mqtt::{
    Ack, Connack, Disconnect, EncodeError, Packet, PacketId, PacketType, PublishHead, Qos,
    ReasonCode, SharedPublish, Str, SubscriptionId, Version, encode_within, encoded_len,
};
use restante_storage::UnixMillis;
use rustc_hash::FxBuildHasher;

use super::wish::Tally;

/// An answer that is a packet id and a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    pub(super) packet: PacketType,
    pub(super) id: PacketId,
    pub(super) reason: ReasonCode,
    /// For people; may be empty.
    pub(super) why: &'static str,
}

impl Answer {
    pub(super) fn new(packet: PacketType, id: PacketId) -> Self {
        Answer {
            packet,
            id,
            reason: ReasonCode::Success,
            why: "",
        }
    }

    pub(super) fn with(self, (reason, why): (ReasonCode, &'static str)) -> Self {
        Answer {
            reason,
            why,
            ..self
        }
    }
}

/// A delivery on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) publish: Arc<SharedPublish>,
    pub(super) qos: Qos,
    pub(super) dup: bool,
    pub(super) retain: bool,
    /// With QoS 1 and 2, once it has a place.
    pub(super) id: Option<PacketId>,
    /// Those of the matching subscriptions.
    pub(super) ids: Vec<SubscriptionId>,
    pub(super) expires: Option<UnixMillis>,
}

impl Outgoing {
    /// About how much memory it holds on to.
    pub(super) fn n_bytes(&self) -> usize {
        self.publish.payload().len() + self.publish.topic().len() + 128
    }

    /// What is its own; what it has left to live is told in seconds begun.
    fn head(&self, wall: UnixMillis) -> PublishHead<'_> {
        PublishHead {
            dup: self.dup,
            qos: self.qos,
            retain: self.retain,
            packet_id: self.id,
            topic_alias: None,
            topic_known: false,
            message_expiry_secs: self.expires.map(|expires| {
                let left = expires.get().saturating_sub(wall.get()).div_ceil(1000);
                u32::try_from(left).unwrap_or(u32::MAX)
            }),
            subscription_ids: &self.ids,
        }
    }
}

/// Something to be written.
#[derive(Debug)]
enum Out {
    Answer(Answer),
    Pingresp,
    /// CONNACK, SUBACK, UNSUBACK, DISCONNECT.
    Packet(Box<Packet>),
    Publish(Box<Outgoing>),
}

impl Out {
    fn payload_bytes(&self) -> usize {
        match self {
            Out::Publish(outgoing) => outgoing.publish.payload().len(),
            Out::Answer(_) | Out::Pingresp | Out::Packet(_) => 0,
        }
    }
}

/// What is to be written, and what the client has said of how.
#[derive(Debug)]
pub(super) struct Output {
    queue: VecDeque<Out>,
    /// About how many bytes deliveries in `queue` hold.
    n_bytes: usize,
    version: Version,
    packet_bytes_max: u32,
    /// Whether answers may have reason strings.
    tells_why: bool,
    aliases: Aliases,
}

impl Output {
    pub(super) fn new() -> Self {
        Output {
            queue: VecDeque::new(),
            n_bytes: 0,
            version: Version::V311,
            packet_bytes_max: u32::MAX,
            tells_why: true,
            aliases: Aliases::default(),
        }
    }

    /// What the client's CONNECT says of packets to it.
    pub(super) fn begin(
        &mut self,
        version: Version,
        packet_bytes_max: Option<NonZeroU32>,
        tells_why: bool,
        aliases_max: u16,
    ) {
        self.version = version;
        self.packet_bytes_max = packet_bytes_max.map_or(u32::MAX, NonZeroU32::get);
        self.tells_why = tells_why;
        self.aliases.max = usize::from(aliases_max);
    }

    pub(super) fn version_is(&mut self, version: Version) {
        self.version = version;
    }

    /// Whether the client has said that it does not take so large a delivery.
    pub(super) fn is_too_large(&self, outgoing: &Outgoing, wall: UnixMillis) -> bool {
        if self.packet_bytes_max == u32::MAX {
            return false;
        }
        let mut head = outgoing.head(wall);
        // Any id is as long as any other.
        head.packet_id = Some(PacketId::FIRST);
        let n_bytes = outgoing.publish.encoded_len(self.version, &head);
        n_bytes.is_ok_and(|n_bytes| n_bytes > self.packet_bytes_max as usize)
    }

    /// Whether the client takes a packet of that size.
    pub(super) fn fits(&self, packet: &Packet) -> bool {
        let n_bytes = encoded_len(packet, self.version);
        n_bytes.is_ok_and(|n_bytes| n_bytes <= self.packet_bytes_max as usize)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// About how many bytes of deliveries wait.
    pub(super) fn n_bytes(&self) -> usize {
        self.n_bytes
    }

    /// Drops all that was not written.
    pub(super) fn clear(&mut self) {
        self.queue = VecDeque::new();
        self.n_bytes = 0;
    }

    pub(super) fn answer(&mut self, answer: Answer) {
        self.queue.push_back(Out::Answer(answer));
    }

    pub(super) fn pingresp(&mut self) {
        self.queue.push_back(Out::Pingresp);
    }

    pub(super) fn connack(&mut self, connack: Connack) {
        self.packet(Packet::Connack(Box::new(connack)));
    }

    pub(super) fn disconnect(&mut self, disconnect: Disconnect) {
        self.packet(Packet::Disconnect(disconnect));
    }

    pub(super) fn packet(&mut self, mut packet: Packet) {
        if !self.tells_why {
            packet.drop_problem_information();
        }
        self.queue.push_back(Out::Packet(Box::new(packet)));
    }

    pub(super) fn publish(&mut self, outgoing: Box<Outgoing>) {
        self.n_bytes += outgoing.n_bytes();
        self.queue.push_back(Out::Publish(outgoing));
    }

    /// Encodes what is ready to the end of `out`, until about `bytes_max` more are there; how many packets.
    pub(super) fn write(
        &mut self,
        wall: UnixMillis,
        out: &mut BytesMut,
        bytes_max: usize,
        tally: &mut Tally,
    ) -> u64 {
        let before = out.len();
        let mut written = 0;
        while out.len() - before < bytes_max {
            let Some(next) = self.queue.pop_front() else {
                break;
            };
            let payload_bytes = next.payload_bytes();
            let (packet_type, encoded) = self.encode(next, wall, out);
            // An answer that does not fit is not sent: the client has said that it would not take it [MQTT-3.1.2-25].
            match encoded {
                Ok(()) => {
                    written += 1;
                    tally.count_written(packet_type);
                    tally.payload_bytes += payload_bytes as u64;
                }
                Err(_) => tally.too_large += 1,
            }
        }
        if self.queue.is_empty() && self.queue.capacity() > IDLE_CAPACITY {
            self.queue.shrink_to(IDLE_CAPACITY);
        }
        written
    }

    fn encode(
        &mut self,
        next: Out,
        wall: UnixMillis,
        out: &mut BytesMut,
    ) -> (PacketType, Result<(), EncodeError>) {
        let packet = match next {
            Out::Publish(outgoing) => {
                self.n_bytes = self.n_bytes.saturating_sub(outgoing.n_bytes());
                let encoded = self.encode_publish(&outgoing, wall, out);
                return (PacketType::Publish, encoded);
            }
            Out::Answer(answer) => self.answer_packet(answer),
            Out::Pingresp => Packet::Pingresp,
            Out::Packet(packet) => *packet,
        };
        let encoded = encode_within(&packet, self.version, self.packet_bytes_max, out);
        (packet.packet_type(), encoded)
    }

    fn answer_packet(&self, answer: Answer) -> Packet {
        let mut ack = Ack::new(answer.id, answer.reason);
        if self.tells_why && !answer.why.is_empty() && self.version == Version::V5 {
            ack.properties.reason_string = Some(Str::from_static(answer.why));
        }
        match answer.packet {
            PacketType::Puback => Packet::Puback(ack),
            PacketType::Pubrec => Packet::Pubrec(ack),
            PacketType::Pubrel => Packet::Pubrel(ack),
            _ => Packet::Pubcomp(ack),
        }
    }

    /// With an alias, or, where that is what makes it too large, without.
    fn encode_publish(
        &mut self,
        outgoing: &Outgoing,
        wall: UnixMillis,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let publish = &*outgoing.publish;
        let plain = outgoing.head(wall);
        let Some(alias) = self.aliases.look_up(publish.topic()) else {
            return self.encode_within(publish, &plain, out);
        };
        let (number, topic_known) = match alias {
            Alias::Known(number) => (number, true),
            Alias::Free { number, .. } => (number, false),
        };
        let short = PublishHead {
            topic_alias: Some(number),
            topic_known,
            ..plain
        };
        match (self.encode_within(publish, &short, out), alias) {
            (Ok(()), Alias::Free { slot, .. }) => {
                self.aliases.set(slot, publish.topic().clone());
                Ok(())
            }
            (Err(EncodeError::TooLarge { .. }), _) => self.encode_within(publish, &plain, out),
            (encoded, _) => encoded,
        }
    }

    /// As [`encode_within`] does it.
    fn encode_within(
        &self,
        publish: &SharedPublish,
        head: &PublishHead<'_>,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let max = self.packet_bytes_max;
        if max < u32::MAX {
            let n_bytes = publish.encoded_len(self.version, head)?;
            if n_bytes > max as usize {
                return Err(EncodeError::TooLarge { n_bytes, max });
            }
        }
        publish.encode(self.version, head, out)
    }
}

/// Room that an idle connection may keep: there are many of them.
const IDLE_CAPACITY: usize = 32;

/// A topic of fewer bytes is shorter than its alias.
const ALIASED_BYTES_MIN: usize = 4;

/// The aliases that the client was told: each topic has one place where its alias may be, and the last one has it.
///
/// So a busy topic keeps its alias as long as no other falls on its place, and neither look-up nor change costs more the
/// more topics there are.
#[derive(Debug, Default)]
struct Aliases {
    max: usize,
    /// At the place of the alias less one. Made when the first is needed.
    topics: Vec<Str>,
}

#[derive(Debug, Clone, Copy)]
enum Alias {
    /// The client knows it.
    Known(NonZeroU16),
    /// It can be told of it.
    Free { number: NonZeroU16, slot: usize },
}

impl Aliases {
    fn look_up(&self, topic: &Str) -> Option<Alias> {
        if self.max == 0 || topic.len() < ALIASED_BYTES_MIN {
            return None;
        }
        let hash = FxBuildHasher.hash_one(topic.as_bytes());
        let slot = usize::try_from(hash % self.max as u64).ok()?;
        let number = NonZeroU16::new(u16::try_from(slot + 1).ok()?)?;
        Some(match self.topics.get(slot) {
            Some(known) if known == topic => Alias::Known(number),
            _ => Alias::Free { number, slot },
        })
    }

    fn set(&mut self, slot: usize, topic: Str) {
        if self.topics.is_empty() {
            self.topics.resize(self.max, Str::default());
        }
        if let Some(place) = self.topics.get_mut(slot) {
            *place = topic;
        }
    }
}
