//! What is behind the fixed header, for each type of packet (§3 of each standard).

use super::property::PropertySet;
use super::topic::check_filter;
use super::wire::Reader;
use super::{
    Ack, Auth, Connack, Connect, ConnectProperties, Disconnect, Limits, Packet, PacketType,
    Publish, PublishProperties, Qos, ReasonCode, RetainHandling, Rule, Secret, Str, Suback,
    Subscribe, Subscription, Unsuback, Unsubscribe, Version, Will, WillProperties, check_topic,
    parse_filter,
};

/// What has to be known to read a packet.
pub(super) struct Context<'a> {
    /// None before a CONNECT, which sets it.
    pub(super) version: Option<Version>,
    pub(super) from_client: bool,
    pub(super) limits: &'a Limits,
}

impl Context<'_> {
    fn is_v5(&self) -> bool {
        self.version == Some(Version::V5)
    }

    fn is_v31(&self) -> bool {
        self.version == Some(Version::V31)
    }

    /// 5.0's properties; in 3.x there is not even a length of them.
    #[inline]
    fn properties<P: PropertySet>(&self, reader: &mut Reader) -> Result<P, Rule> {
        if self.is_v5() {
            P::read(reader, self.limits)
        } else {
            Ok(P::default())
        }
    }
}

/// Reads the packet that `body` is the rest of. A CONNECT sets the version, as soon as it has been seen.
#[inline]
pub(super) fn read_packet(
    packet_type: PacketType,
    flags: u8,
    body: Reader,
    context: &mut Context,
) -> Result<Packet, Rule> {
    match packet_type {
        PacketType::Publish => read_publish(flags, body, context).map(Packet::Publish),
        PacketType::Puback => {
            read_ack(body, context, packet_type, Rule::PubackReason).map(Packet::Puback)
        }
        PacketType::Pubrec => {
            read_ack(body, context, packet_type, Rule::PubrecReason).map(Packet::Pubrec)
        }
        PacketType::Pubrel => {
            read_ack(body, context, packet_type, Rule::PubrelReason).map(Packet::Pubrel)
        }
        PacketType::Pubcomp => {
            read_ack(body, context, packet_type, Rule::PubcompReason).map(Packet::Pubcomp)
        }
        PacketType::Connect => {
            read_connect(body, context).map(|connect| Packet::Connect(Box::new(connect)))
        }
        PacketType::Connack => {
            read_connack(body, context).map(|connack| Packet::Connack(Box::new(connack)))
        }
        PacketType::Subscribe => read_subscribe(body, context).map(Packet::Subscribe),
        PacketType::Suback => read_suback(body, context).map(Packet::Suback),
        PacketType::Unsubscribe => read_unsubscribe(body, context).map(Packet::Unsubscribe),
        PacketType::Unsuback => read_unsuback(body, context).map(Packet::Unsuback),
        PacketType::Pingreq => body.end().map(|()| Packet::Pingreq),
        PacketType::Pingresp => body.end().map(|()| Packet::Pingresp),
        PacketType::Disconnect => read_disconnect(body, context).map(Packet::Disconnect),
        PacketType::Auth => read_auth(body, context).map(Packet::Auth),
    }
}

fn read_publish(flags: u8, mut body: Reader, context: &Context) -> Result<Publish, Rule> {
    let qos = Qos::from_u8(flags >> 1 & 0b11).ok_or(Rule::QosThree)?;
    let topic = body.text()?;
    let packet_id = match qos {
        Qos::AtMostOnce => None,
        Qos::AtLeastOnce | Qos::ExactlyOnce => Some(body.packet_id()?),
    };
    let properties: PublishProperties = context.properties(&mut body)?;
    if !topic.is_empty() {
        check_topic(&topic, context.limits)?;
    } else if properties.topic_alias.is_none() {
        return Err(Rule::EmptyTopic);
    }
    check_response_topic(properties.response_topic.as_ref(), context)?;
    if context.from_client && !properties.subscription_ids.is_empty() {
        return Err(Rule::SubscriptionIdFromClient);
    }
    Ok(Publish {
        // Only 3.1 lets the flag stand with QoS 0, where it says nothing.
        dup: flags & 0b1000 != 0 && qos != Qos::AtMostOnce,
        qos,
        retain: flags & 0b0001 != 0,
        topic,
        packet_id,
        properties,
        payload: body.into_rest(),
    })
}

fn check_response_topic(topic: Option<&Str>, context: &Context) -> Result<(), Rule> {
    let Some(topic) = topic else { return Ok(()) };
    check_topic(topic, context.limits).map_err(|rule| match rule {
        Rule::WildcardInTopic => Rule::WildcardInResponseTopic,
        other => other,
    })
}

fn read_ack(
    mut body: Reader,
    context: &Context,
    packet_type: PacketType,
    rule: Rule,
) -> Result<Ack, Rule> {
    let packet_id = body.packet_id()?;
    let mut ack = Ack::new(packet_id, ReasonCode::Success);
    if context.is_v5() && !body.is_empty() {
        ack.reason = read_reason(&mut body, packet_type, rule)?;
        if !body.is_empty() {
            ack.properties = context.properties(&mut body)?;
        }
    }
    body.end()?;
    Ok(ack)
}

fn read_reason(body: &mut Reader, packet_type: PacketType, rule: Rule) -> Result<ReasonCode, Rule> {
    ReasonCode::from_u8(body.u8()?)
        .filter(|reason| reason.fits(packet_type))
        .ok_or(rule)
}

/// The flags of a CONNECT.
struct ConnectFlags(u8);

impl ConnectFlags {
    fn user_name(&self) -> bool {
        self.0 & 0x80 != 0
    }

    fn password(&self) -> bool {
        self.0 & 0x40 != 0
    }

    fn will_retain(&self) -> bool {
        self.0 & 0x20 != 0
    }

    fn will_qos(&self) -> Result<Qos, Rule> {
        Qos::from_u8(self.0 >> 3 & 0b11).ok_or(Rule::WillQosThree)
    }

    fn will(&self) -> bool {
        self.0 & 0x04 != 0
    }

    fn clean_start(&self) -> bool {
        self.0 & 0x02 != 0
    }

    fn check(&self, version: Version) -> Result<(), Rule> {
        if self.password() && !self.user_name() && version != Version::V5 {
            return Err(Rule::PasswordWithoutUserName);
        }
        // 3.1 leaves the rest unused.
        if version == Version::V31 {
            return Ok(());
        }
        if self.0 & 0x01 != 0 {
            return Err(Rule::ConnectReservedFlag);
        }
        if !self.will() && self.0 & 0x18 != 0 {
            return Err(Rule::WillQosWithoutWill);
        }
        if !self.will() && self.will_retain() {
            return Err(Rule::WillRetainWithoutWill);
        }
        Ok(())
    }
}

fn read_connect(mut body: Reader, context: &mut Context) -> Result<Connect, Rule> {
    let version = read_version(&mut body, context)?;
    let flags = ConnectFlags(body.u8()?);
    flags.check(version)?;
    let keep_alive_secs = body.u16()?;
    let properties: ConnectProperties = context.properties(&mut body)?;
    if properties.authentication_data.is_some() && properties.authentication_method.is_none() {
        return Err(Rule::AuthenticationDataWithoutMethod);
    }
    let client_id = body.text()?;
    let will = if flags.will() {
        Some(read_will(&flags, &mut body, context)?)
    } else {
        None
    };
    // A 3.1 client may set the flag and leave the field out: there the length has the last word.
    let there = |body: &Reader| !(context.is_v31() && body.is_empty());
    let user_name = if flags.user_name() && there(&body) {
        Some(body.text()?)
    } else {
        None
    };
    let password = if flags.password() && there(&body) {
        Some(Secret(body.binary()?))
    } else {
        None
    };
    body.end()?;
    Ok(Connect {
        version,
        clean_start: flags.clean_start(),
        keep_alive_secs,
        client_id,
        will,
        user_name,
        password,
        properties,
    })
}

/// Reads name and level. One that is not spoken here is answered in the form that its sender most likely reads: that of
/// 3.1.1 for all there was before 5.0, that of 5.0 for what may come after it.
fn read_version(body: &mut Reader, context: &mut Context) -> Result<Version, Rule> {
    let name = body.text()?;
    if name != "MQTT" && name != "MQIsdp" {
        return Err(Rule::ProtocolName);
    }
    let level = body.u8()?;
    let version = match (name.as_str(), level) {
        ("MQIsdp", 3) => Version::V31,
        ("MQTT", 4) => Version::V311,
        ("MQTT", 5) => Version::V5,
        (_, level) => {
            let newer = (6..0x80).contains(&level);
            context.version = Some(if newer { Version::V5 } else { Version::V311 });
            return Err(Rule::UnsupportedVersion);
        }
    };
    context.version = Some(version);
    Ok(version)
}

fn read_will(flags: &ConnectFlags, body: &mut Reader, context: &Context) -> Result<Will, Rule> {
    let qos = flags.will_qos()?;
    let properties: WillProperties = context.properties(body)?;
    let topic = body.text()?;
    let payload = body.binary()?;
    check_topic(&topic, context.limits)?;
    check_response_topic(properties.response_topic.as_ref(), context)?;
    Ok(Will {
        qos,
        retain: flags.will_retain(),
        topic,
        payload,
        properties,
    })
}

fn read_connack(mut body: Reader, context: &Context) -> Result<Connack, Rule> {
    let flags = body.u8()?;
    if flags > 1 && !context.is_v31() {
        return Err(Rule::ConnackFlags);
    }
    let reason = if context.is_v5() {
        read_reason(&mut body, PacketType::Connack, Rule::ConnackReason)?
    } else {
        ReasonCode::from_return_code(body.u8()?).ok_or(Rule::ConnackReason)?
    };
    let session_present = flags == 1 && !context.is_v31();
    if session_present && reason != ReasonCode::Success {
        return Err(Rule::SessionPresentOnRefusal);
    }
    let properties = context.properties(&mut body)?;
    body.end()?;
    Ok(Connack {
        session_present,
        reason,
        properties,
    })
}

fn read_subscribe(mut body: Reader, context: &Context) -> Result<Subscribe, Rule> {
    let packet_id = body.packet_id()?;
    let properties = context.properties(&mut body)?;
    let mut subscriptions = Vec::new();
    while !body.is_empty() {
        if subscriptions.len() >= context.limits.filters_max {
            return Err(Rule::TooManyFilters);
        }
        subscriptions.push(read_subscription(&mut body, context)?);
    }
    if subscriptions.is_empty() {
        return Err(Rule::NoFilterInSubscribe);
    }
    Ok(Subscribe {
        packet_id,
        subscriptions,
        properties,
    })
}

fn read_subscription(body: &mut Reader, context: &Context) -> Result<Subscription, Rule> {
    let (filter, shared) = read_filter(body, context)?;
    let options = body.u8()?;
    let reserved = match context.version {
        Some(Version::V5) => 0b1100_0000,
        Some(Version::V31) => 0,
        Some(Version::V311) | None => 0b1111_1100,
    };
    if options & reserved != 0 {
        return Err(Rule::SubscribeOptionsReserved);
    }
    let qos = Qos::from_u8(options & 0b11).ok_or(Rule::SubscribeQosThree)?;
    let mut subscription = Subscription::new(filter, qos);
    if context.is_v5() {
        subscription.no_local = options & 0b100 != 0;
        subscription.retain_as_published = options & 0b1000 != 0;
        subscription.retain_handling =
            RetainHandling::from_u8(options >> 4 & 0b11).ok_or(Rule::RetainHandlingThree)?;
    }
    if subscription.no_local && shared {
        return Err(Rule::NoLocalOnShared);
    }
    Ok(subscription)
}

/// Reads a filter, and says whether it is shared. In 3.x no filter is, by the standard.
fn read_filter(body: &mut Reader, context: &Context) -> Result<(Str, bool), Rule> {
    let filter = body.text()?;
    let shared = if context.is_v5() {
        parse_filter(&filter, context.limits)?.share.is_some()
    } else {
        check_filter(&filter, context.limits)?;
        false
    };
    Ok((filter, shared))
}

fn read_suback(mut body: Reader, context: &Context) -> Result<Suback, Rule> {
    let packet_id = body.packet_id()?;
    let properties = context.properties(&mut body)?;
    let reasons = read_reasons(body, |number| match context.version {
        Some(Version::V5) => {
            ReasonCode::from_u8(number).filter(|reason| reason.fits(PacketType::Suback))
        }
        _ if number == 0x80 => Some(ReasonCode::Unspecified),
        _ => Qos::from_u8(number).map(Qos::granted),
    })?
    .ok_or(Rule::SubackReason)?;
    Ok(Suback {
        packet_id,
        reasons,
        properties,
    })
}

/// Reads a code for each filter; none if one is unknown.
fn read_reasons(
    body: Reader,
    known: impl Fn(u8) -> Option<ReasonCode>,
) -> Result<Option<Vec<ReasonCode>>, Rule> {
    if body.is_empty() {
        return Err(Rule::NoReason);
    }
    Ok(body
        .into_rest()
        .iter()
        .map(|number| known(*number))
        .collect())
}

fn read_unsubscribe(mut body: Reader, context: &Context) -> Result<Unsubscribe, Rule> {
    let packet_id = body.packet_id()?;
    let properties = context.properties(&mut body)?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        if filters.len() >= context.limits.filters_max {
            return Err(Rule::TooManyFilters);
        }
        filters.push(read_filter(&mut body, context)?.0);
    }
    if filters.is_empty() {
        return Err(Rule::NoFilterInUnsubscribe);
    }
    Ok(Unsubscribe {
        packet_id,
        filters,
        properties,
    })
}

fn read_unsuback(mut body: Reader, context: &Context) -> Result<Unsuback, Rule> {
    let packet_id = body.packet_id()?;
    let properties = context.properties(&mut body)?;
    let reasons = if context.is_v5() {
        read_reasons(body, |number| {
            ReasonCode::from_u8(number).filter(|reason| reason.fits(PacketType::Unsuback))
        })?
        .ok_or(Rule::UnsubackReason)?
    } else {
        body.end()?;
        Vec::new()
    };
    Ok(Unsuback {
        packet_id,
        reasons,
        properties,
    })
}

fn read_disconnect(mut body: Reader, context: &Context) -> Result<Disconnect, Rule> {
    let mut disconnect = Disconnect::default();
    if context.is_v5() && !body.is_empty() {
        disconnect.reason = read_reason(&mut body, PacketType::Disconnect, Rule::DisconnectReason)?;
        if !body.is_empty() {
            disconnect.properties = context.properties(&mut body)?;
        }
    }
    body.end()?;
    if !context.from_client && disconnect.properties.session_expiry_secs.is_some() {
        return Err(Rule::SessionExpiryFromServer);
    }
    Ok(disconnect)
}

fn read_auth(mut body: Reader, context: &Context) -> Result<Auth, Rule> {
    let mut auth = Auth::default();
    let short = body.is_empty();
    if !short {
        auth.reason = read_reason(&mut body, PacketType::Auth, Rule::AuthReason)?;
        if !body.is_empty() {
            auth.properties = context.properties(&mut body)?;
        }
        body.end()?;
    }
    let wrong_way = match auth.reason {
        ReasonCode::Success => context.from_client,
        ReasonCode::Reauthenticate => !context.from_client,
        _ => false,
    };
    if wrong_way {
        return Err(Rule::AuthReason);
    }
    // With nothing at all it says success, and is allowed to.
    if !short && auth.properties.authentication_method.is_none() {
        return Err(Rule::AuthWithoutMethod);
    }
    Ok(auth)
}
