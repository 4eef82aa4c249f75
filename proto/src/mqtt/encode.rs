//! Packets to bytes. The length is counted first, by the same code that writes, so it is exact before a byte is written.

use bytes::BytesMut;

use super::property::{PropertySet, write_properties};
use super::wire::{Count, Sink, VARINT_MAX, varint_len};
use super::{
    Ack, Auth, Connack, Connect, Disconnect, Packet, PacketType, Publish, Qos, ReasonCode, Suback,
    Subscribe, Subscription, Unsuback, Unsubscribe, Version,
};

/// Why a packet cannot be written. Nothing has been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It has more bytes than it may. A PUBLISH is then treated as if it had been sent [MQTT-3.1.2-25].
    #[error("packet of {n_bytes} bytes, the limit is {max}")]
    TooLarge {
        /// How long it would be.
        n_bytes: usize,
        /// How long it may be.
        max: u32,
    },
    /// A string or binary field has more than 65,535 bytes.
    #[error("a field is longer than 65535 bytes")]
    FieldTooLong,
    /// The version has no such packet: AUTH in 3.x.
    #[error("the version has no such packet")]
    NotInVersion,
    /// A PUBLISH with QoS 1 or 2 has no packet id.
    #[error("a message with a QoS has no packet id")]
    NoPacketId,
    /// A packet of this type may not carry the reason code ([`ReasonCode::fits`]).
    #[error("{} may not carry {reason}", packet.name())]
    ReasonNotAllowed {
        /// The type.
        packet: PacketType,
        /// The code.
        reason: ReasonCode,
    },
}

/// The largest packet there is: a byte, four bytes of length, and as many as they can say.
pub(super) const PACKET_BYTES_MAX: u32 = 5 + VARINT_MAX;

/// Writes `packet` to the end of `out`, as `version` has it: what that version lacks is left out.
///
/// A CONNECT goes by its own version. Not judged here is whether a receiver lets it pass: that is for whoever made it.
///
/// # Errors
/// [`EncodeError`]; `out` is then as it was.
pub fn encode(packet: &Packet, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
    let size = size_of(packet, version, PACKET_BYTES_MAX)?;
    write(packet, version, size, out);
    Ok(())
}

/// As [`encode`], for a receiver that takes no more than `packet_bytes_max`: of an answer that would be larger, first
/// the user properties are left out, then the reason string ([MQTT-3.4.2-2] and its like).
///
/// # Errors
/// [`EncodeError::TooLarge`] if it is too large even so, and the others as for [`encode`]; `out` is then as it was.
pub fn encode_within(
    packet: &Packet,
    version: Version,
    packet_bytes_max: u32,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let max = packet_bytes_max.min(PACKET_BYTES_MAX);
    match size_of(packet, version, max) {
        Ok(size) => {
            write(packet, version, size, out);
            Ok(())
        }
        Err(EncodeError::TooLarge { .. }) => encode_less(packet, version, max, out),
        Err(error) => Err(error),
    }
}

fn encode_less(
    packet: &Packet,
    version: Version,
    max: u32,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let mut less = packet.clone();
    less.drop_user_properties();
    let size = match size_of(&less, version, max) {
        Err(EncodeError::TooLarge { .. }) => {
            less.drop_reason_string();
            size_of(&less, version, max)?
        }
        size => size?,
    };
    write(&less, version, size, out);
    Ok(())
}

/// How many bytes [`encode`] would write: what a receiver's Maximum Packet Size is compared with [MQTT-3.1.2-24].
///
/// # Errors
/// As for [`encode`].
pub fn encoded_len(packet: &Packet, version: Version) -> Result<usize, EncodeError> {
    size_of(packet, version, PACKET_BYTES_MAX).map(|size| size.n_bytes())
}

/// How long a packet is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Bytes behind the fixed header.
    pub(super) body: u32,
}

impl Size {
    /// The size of a packet with such a body, if it may be as large.
    pub(super) fn within(body: &Count, max: u32) -> Result<Size, EncodeError> {
        if body.field_too_long {
            return Err(EncodeError::FieldTooLong);
        }
        let size = u32::try_from(body.n_bytes)
            .ok()
            .filter(|body| *body <= VARINT_MAX)
            .map(|body| Size { body });
        size.filter(|size| size.n_bytes() <= max as usize)
            .ok_or(EncodeError::TooLarge {
                n_bytes: body.n_bytes.saturating_add(5),
                max,
            })
    }

    /// Bytes of the whole packet.
    pub(super) fn n_bytes(self) -> usize {
        1 + varint_len(self.body) + self.body as usize
    }
}

fn size_of(packet: &Packet, version: Version, max: u32) -> Result<Size, EncodeError> {
    let version = version_of(packet, version);
    check(packet, version)?;
    let mut count = Count::default();
    write_body(packet, version, &mut count);
    Size::within(&count, max)
}

/// Whether the packet can be written at all.
fn check(packet: &Packet, version: Version) -> Result<(), EncodeError> {
    let v5 = version == Version::V5;
    match packet {
        Packet::Publish(publish) if publish.qos != Qos::AtMostOnce => {
            publish.packet_id.map(|_| ()).ok_or(EncodeError::NoPacketId)
        }
        Packet::Connack(connack) => check_reasons(packet, &[connack.reason]),
        // 3.x has no codes to write in these.
        Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack)
            if v5 =>
        {
            check_reasons(packet, &[ack.reason])
        }
        Packet::Suback(suback) => check_reasons(packet, &suback.reasons),
        Packet::Unsuback(unsuback) if v5 => check_reasons(packet, &unsuback.reasons),
        Packet::Disconnect(disconnect) if v5 => check_reasons(packet, &[disconnect.reason]),
        Packet::Auth(auth) if v5 => check_reasons(packet, &[auth.reason]),
        Packet::Auth(_) => Err(EncodeError::NotInVersion),
        _ => Ok(()),
    }
}

fn check_reasons(packet: &Packet, reasons: &[ReasonCode]) -> Result<(), EncodeError> {
    let packet = packet.packet_type();
    match reasons.iter().find(|reason| !reason.fits(packet)) {
        Some(reason) => Err(EncodeError::ReasonNotAllowed {
            packet,
            reason: *reason,
        }),
        None => Ok(()),
    }
}

fn version_of(packet: &Packet, version: Version) -> Version {
    match packet {
        Packet::Connect(connect) => connect.version,
        _ => version,
    }
}

fn write(packet: &Packet, version: Version, size: Size, out: &mut BytesMut) {
    out.reserve(size.n_bytes());
    let flags = match packet {
        Packet::Publish(publish) => publish_flags(publish.dup, publish.qos, publish.retain),
        Packet::Pubrel(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) => 0b0010,
        _ => 0,
    };
    Sink::u8(out, (packet.packet_type() as u8) << 4 | flags);
    out.varint(size.body);
    write_body(packet, version_of(packet, version), out);
}

/// DUP is never set with QoS 0 [MQTT-3.3.1-2].
pub(super) fn publish_flags(dup: bool, qos: Qos, retain: bool) -> u8 {
    let dup = dup && qos != Qos::AtMostOnce;
    u8::from(dup) << 3 | (qos as u8) << 1 | u8::from(retain)
}

fn write_body(packet: &Packet, version: Version, sink: &mut impl Sink) {
    match packet {
        Packet::Connect(connect) => write_connect(connect, sink),
        Packet::Connack(connack) => write_connack(connack, version, sink),
        Packet::Publish(publish) => write_publish(publish, version, sink),
        Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
            write_ack(ack, version, sink)
        }
        Packet::Subscribe(subscribe) => write_subscribe(subscribe, version, sink),
        Packet::Suback(suback) => write_suback(suback, version, sink),
        Packet::Unsubscribe(unsubscribe) => write_unsubscribe(unsubscribe, version, sink),
        Packet::Unsuback(unsuback) => write_unsuback(unsuback, version, sink),
        Packet::Pingreq | Packet::Pingresp => {}
        Packet::Disconnect(disconnect) => write_disconnect(disconnect, version, sink),
        Packet::Auth(auth) => write_auth(auth, sink),
    }
}

/// Writes properties with their length, if the version has any.
fn write_if_v5(set: &impl PropertySet, version: Version, sink: &mut impl Sink) {
    if version == Version::V5 {
        write_properties(set, sink);
    }
}

fn write_connect(connect: &Connect, sink: &mut impl Sink) {
    let version = connect.version;
    sink.binary(version.protocol_name().as_bytes());
    sink.u8(version.level());
    sink.u8(connect_flags(connect));
    sink.u16(connect.keep_alive_secs);
    write_if_v5(&connect.properties, version, sink);
    sink.binary(connect.client_id.as_bytes());
    if let Some(will) = &connect.will {
        write_if_v5(&will.properties, version, sink);
        sink.binary(will.topic.as_bytes());
        sink.binary(&will.payload);
    }
    if let Some(user_name) = &connect.user_name {
        sink.binary(user_name.as_bytes());
    }
    if let Some(password) = &connect.password {
        sink.binary(&password.0);
    }
}

fn connect_flags(connect: &Connect) -> u8 {
    let will = connect.will.as_ref().map_or(0, |will| {
        u8::from(will.retain) << 5 | (will.qos as u8) << 3 | 0x04
    });
    u8::from(connect.user_name.is_some()) << 7
        | u8::from(connect.password.is_some()) << 6
        | will
        | u8::from(connect.clean_start) << 1
}

fn write_connack(connack: &Connack, version: Version, sink: &mut impl Sink) {
    // 3.1 has no such flag, and a refusal never has it [MQTT-3.2.2-6].
    let told = version != Version::V31 && connack.reason == ReasonCode::Success;
    sink.u8(u8::from(connack.session_present && told));
    if version == Version::V5 {
        sink.u8(connack.reason.as_u8());
        write_properties(&connack.properties, sink);
    } else {
        sink.u8(connack.reason.return_code());
    }
}

#[inline]
fn write_publish(publish: &Publish, version: Version, sink: &mut impl Sink) {
    sink.binary(publish.topic.as_bytes());
    if let Some(packet_id) = publish.packet_id.filter(|_| publish.qos != Qos::AtMostOnce) {
        sink.u16(packet_id.get());
    }
    write_if_v5(&publish.properties, version, sink);
    sink.bytes(&publish.payload);
}

fn write_ack(ack: &Ack, version: Version, sink: &mut impl Sink) {
    sink.u16(ack.packet_id.get());
    if version == Version::V5 {
        write_reason(ack.reason, &ack.properties, sink);
    }
}

/// A code and properties at a packet's end, as short as they can be: the properties' length is left out if there are
/// none, and the code if that says nothing but success.
fn write_reason(reason: ReasonCode, properties: &impl PropertySet, sink: &mut impl Sink) {
    let plain = properties.count().n_bytes == 0;
    if plain && reason == ReasonCode::Success {
        return;
    }
    sink.u8(reason.as_u8());
    if !plain {
        write_properties(properties, sink);
    }
}

fn write_subscribe(subscribe: &Subscribe, version: Version, sink: &mut impl Sink) {
    sink.u16(subscribe.packet_id.get());
    write_if_v5(&subscribe.properties, version, sink);
    for subscription in &subscribe.subscriptions {
        sink.binary(subscription.filter.as_bytes());
        sink.u8(subscription_options(subscription, version));
    }
}

fn subscription_options(subscription: &Subscription, version: Version) -> u8 {
    let qos = subscription.qos as u8;
    match version {
        Version::V31 | Version::V311 => qos,
        Version::V5 => {
            (subscription.retain_handling as u8) << 4
                | u8::from(subscription.retain_as_published) << 3
                | u8::from(subscription.no_local) << 2
                | qos
        }
    }
}

fn write_suback(suback: &Suback, version: Version, sink: &mut impl Sink) {
    sink.u16(suback.packet_id.get());
    write_if_v5(&suback.properties, version, sink);
    for reason in &suback.reasons {
        let failed = version != Version::V5 && reason.is_error();
        let reason = if failed {
            ReasonCode::Unspecified
        } else {
            *reason
        };
        sink.u8(reason.as_u8());
    }
}

fn write_unsubscribe(unsubscribe: &Unsubscribe, version: Version, sink: &mut impl Sink) {
    sink.u16(unsubscribe.packet_id.get());
    write_if_v5(&unsubscribe.properties, version, sink);
    for filter in &unsubscribe.filters {
        sink.binary(filter.as_bytes());
    }
}

fn write_unsuback(unsuback: &Unsuback, version: Version, sink: &mut impl Sink) {
    sink.u16(unsuback.packet_id.get());
    if version == Version::V5 {
        write_properties(&unsuback.properties, sink);
        for reason in &unsuback.reasons {
            sink.u8(reason.as_u8());
        }
    }
}

fn write_disconnect(disconnect: &Disconnect, version: Version, sink: &mut impl Sink) {
    if version == Version::V5 {
        write_reason(disconnect.reason, &disconnect.properties, sink);
    }
}

fn write_auth(auth: &Auth, sink: &mut impl Sink) {
    write_reason(auth.reason, &auth.properties, sink);
}

/// The first byte of a PUBLISH.
pub(super) const fn publish_byte() -> u8 {
    (PacketType::Publish as u8) << 4
}
