//! One message for many subscribers: what they share is encoded once, what differs is a few bytes each.
//!
//! ```text
//! ┌──────────────┬───────┬───────────┬──────────────────────┬───────────────────┬─────────┐
//! │ fixed header │ topic │ packet id │ properties: length,  │ properties: those │ payload │
//! │              │       │           │ this subscriber's    │ of the message    │         │
//! └──────────────┴───────┴───────────┴──────────────────────┴───────────────────┴─────────┘
//!  written for each subscriber: encode_head                  shared by all: tail
//! ```

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};

use super::encode::{PACKET_BYTES_MAX, Size, publish_byte, publish_flags};
use super::property::{Property, PropertySet as _, Slot as _, with_length};
use super::wire::{Count, Sink};
use super::{EncodeError, PacketId, PublishProperties, Qos, Str, SubscriptionId, Version};

/// A message whose topic, properties and payload are shared by all who get it. Cloning it copies nothing.
///
/// Not shared, and so in [`PublishHead`]: flags, packet id, and the properties topic alias, message expiry and
/// subscription identifiers.
#[derive(Debug, Clone)]
pub struct SharedPublish {
    topic: Str,
    /// 5.0's properties of the message, encoded, without a length.
    properties: Bytes,
    payload: Bytes,
}

/// What one subscriber's PUBLISH has of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct PublishHead<'a> {
    /// Whether it may have been sent before; left out with QoS 0.
    pub dup: bool,
    /// The QoS of this delivery.
    pub qos: Qos,
    /// Whether it is a retained message, or as published.
    pub retain: bool,
    /// The packet id; needed with QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// A topic alias. 5.0 only, as the three that follow.
    pub topic_alias: Option<NonZeroU16>,
    /// Whether the topic is left out: only with an alias that the receiver knows already.
    pub topic_known: bool,
    /// How long the message has still to live, in seconds.
    pub message_expiry_secs: Option<u32>,
    /// Those of the matching subscriptions.
    pub subscription_ids: &'a [SubscriptionId],
}

impl PublishHead<'_> {
    /// Writes the properties of its own, without a length.
    fn write_properties(&self, sink: &mut impl Sink) {
        self.message_expiry_secs.put(Property::MessageExpiry, sink);
        self.topic_alias.put(Property::TopicAlias, sink);
        for subscription_id in self.subscription_ids {
            Some(*subscription_id).put(Property::SubscriptionId, sink);
        }
    }
}

impl SharedPublish {
    /// Encodes what is shared. Of `properties`, topic alias, message expiry and subscription identifiers are passed
    /// over: they are each delivery's own. The payload is not copied.
    ///
    /// # Errors
    /// [`EncodeError::FieldTooLong`].
    pub fn new(
        topic: Str,
        properties: &PublishProperties,
        payload: Bytes,
    ) -> Result<SharedPublish, EncodeError> {
        let shared = PublishProperties {
            message_expiry_secs: None,
            topic_alias: None,
            subscription_ids: Vec::new(),
            ..properties.clone()
        };
        let count = shared.count();
        if count.field_too_long {
            return Err(EncodeError::FieldTooLong);
        }
        let mut encoded = BytesMut::with_capacity(count.n_bytes);
        shared.write(&mut encoded);
        Ok(SharedPublish {
            topic,
            properties: encoded.freeze(),
            payload,
        })
    }

    /// Its topic.
    pub fn topic(&self) -> &Str {
        &self.topic
    }

    /// Its payload.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// How many bytes the whole packet has, head and tail: what a receiver's Maximum Packet Size is compared with
    /// [MQTT-3.1.2-24].
    ///
    /// # Errors
    /// [`EncodeError::NoPacketId`], and [`EncodeError::TooLarge`] for what no packet can hold.
    pub fn encoded_len(
        &self,
        version: Version,
        head: &PublishHead<'_>,
    ) -> Result<usize, EncodeError> {
        self.size_of(version, head).map(|size| size.whole.n_bytes())
    }

    /// Writes to the end of `out` all that is in front of [`tail`](SharedPublish::tail).
    ///
    /// # Errors
    /// As for [`encoded_len`](SharedPublish::encoded_len); `out` is then as it was.
    pub fn encode_head(
        &self,
        version: Version,
        head: &PublishHead<'_>,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let size = self.size_of(version, head)?;
        self.write_head(version, head, size, out);
        Ok(())
    }

    /// What follows the head, for all receivers of this version: properties and payload, either of which may be empty.
    pub fn tail(&self, version: Version) -> [&Bytes; 2] {
        static NOTHING: Bytes = Bytes::new();
        match version {
            Version::V5 => [&self.properties, &self.payload],
            Version::V31 | Version::V311 => [&NOTHING, &self.payload],
        }
    }

    /// Writes head and tail to the end of `out`: for small messages less work than passing their parts around.
    ///
    /// # Errors
    /// As for [`encoded_len`](SharedPublish::encoded_len); `out` is then as it was.
    pub fn encode(
        &self,
        version: Version,
        head: &PublishHead<'_>,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let size = self.size_of(version, head)?;
        out.reserve(size.whole.n_bytes());
        self.write_head(version, head, size, out);
        for part in self.tail(version) {
            out.extend_from_slice(part);
        }
        Ok(())
    }

    fn size_of(&self, version: Version, head: &PublishHead<'_>) -> Result<SharedSize, EncodeError> {
        if head.qos != Qos::AtMostOnce && head.packet_id.is_none() {
            return Err(EncodeError::NoPacketId);
        }
        let mut count = Count::default();
        self.write_before_properties(version, head, &mut count);
        let mut properties = Count::default();
        if version == Version::V5 {
            head.write_properties(&mut properties);
            properties.bytes(&self.properties);
            count.n_bytes = count
                .n_bytes
                .saturating_add(with_length(properties.n_bytes));
        }
        count.bytes(&self.payload);
        let whole = Size::within(&count, PACKET_BYTES_MAX)?;
        // No more than the whole has, whose length fits.
        let properties = u32::try_from(properties.n_bytes).unwrap_or(whole.body);
        Ok(SharedSize { whole, properties })
    }

    fn write_head(
        &self,
        version: Version,
        head: &PublishHead<'_>,
        size: SharedSize,
        out: &mut BytesMut,
    ) {
        Sink::u8(
            out,
            publish_byte() | publish_flags(head.dup, head.qos, head.retain),
        );
        out.varint(size.whole.body);
        self.write_before_properties(version, head, out);
        if version == Version::V5 {
            out.varint(size.properties);
            head.write_properties(out);
        }
    }

    fn write_before_properties(
        &self,
        version: Version,
        head: &PublishHead<'_>,
        sink: &mut impl Sink,
    ) {
        if head.topic_known && head.topic_alias.is_some() && version == Version::V5 {
            sink.binary(&[]);
        } else {
            sink.binary(self.topic.as_bytes());
        }
        if let Some(packet_id) = head.packet_id.filter(|_| head.qos != Qos::AtMostOnce) {
            sink.u16(packet_id.get());
        }
    }
}

/// How long a packet is, head and tail.
#[derive(Clone, Copy)]
struct SharedSize {
    whole: Size,
    /// Bytes of its properties, those in the tail too.
    properties: u32,
}
