//! What holds of any packet and of any bytes.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::vectors::decoder_for;
use super::wire::VARINT_MAX;
use super::*;

const VERSIONS: [Version; 3] = [Version::V31, Version::V311, Version::V5];

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself((version, from_client, packets) in any_stream()) {
        let stream = encoded(version, &packets);
        prop_assert_eq!(decode_all(version, from_client, [&stream[..]]), Ok(packets.clone()));
        // A byte at a time, and in two pieces cut anywhere.
        prop_assert_eq!(
            decode_all(version, from_client, stream.chunks(1)),
            Ok(packets.clone())
        );
        for at in 0..stream.len().min(300) {
            let (front, back) = stream.split_at(at);
            let decoded = decode_all(version, from_client, [front, back]);
            prop_assert_eq!(decoded, Ok(packets.clone()), "cut at {}", at);
        }
    }

    #[test]
    fn a_connect_decodes_to_itself(connect in any_version().prop_flat_map(any_connect)) {
        let version = connect.version;
        let packet = Packet::Connect(Box::new(connect));
        // It says its version itself: the other one given is not asked.
        let stream = encoded(Version::V311, std::slice::from_ref(&packet));
        let mut decoder = Decoder::server(roomy());
        for at in 1..stream.len() {
            let mut input = BytesMut::from(&stream[..at]);
            prop_assert_eq!(decoder.decode(&mut input), Ok(None), "cut at {}", at);
            prop_assert_eq!(&input[..], &stream[..at]);
        }
        prop_assert_eq!(decoder.decode(&mut BytesMut::from(&stream[..])), Ok(Some(packet)));
        prop_assert_eq!(decoder.version(), Some(version));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(
        bytes in vec(any::<u8>(), 0..128),
        (version, from_client, packets) in any_stream(),
        connect in any_version().prop_flat_map(any_connect),
        at in any::<prop::sample::Index>(),
        change in any::<u8>(),
    ) {
        let stream = encoded(version, &packets);
        let mut changed = stream.to_vec();
        if !changed.is_empty() {
            changed[at.index(stream.len())] = change;
        }
        let decoder = roomy_decoder(version, from_client);
        for input in [&bytes, &changed] {
            check_any_bytes(decoder.clone(), input)?;
        }
        // A body of any bytes behind a header that fits it.
        for first in [0x20, 0x30, 0x32, 0x40, 0x82, 0x90, 0xA2, 0xB0, 0xE0, 0xF0] {
            let mut framed = vec![first, u8::try_from(bytes.len() & 0x7F).unwrap()];
            framed.extend(&bytes);
            check_any_bytes(decoder.clone(), &framed)?;
        }
        let connect = Packet::Connect(Box::new(connect));
        let mut changed = encoded(version, &[connect]).to_vec();
        let at = at.index(changed.len());
        changed[at] = change;
        check_any_bytes(Decoder::server(roomy()), &changed)?;
    }

    #[test]
    fn the_length_is_known_before_encoding((version, _, packets) in any_stream()) {
        for packet in packets {
            let mut out = BytesMut::from("before");
            encode(&packet, version, &mut out).unwrap();
            prop_assert_eq!(encoded_len(&packet, version), Ok(out.len() - 6));
            prop_assert_eq!(&out[..6], b"before");
            prop_assert_eq!(&out[6..], &encoded(version, &[packet])[..]);
        }
    }

    #[test]
    fn what_is_encoded_within_a_maximum_is(
        (version, _, packets) in any_stream(),
        max in 0..120u32,
    ) {
        for packet in packets {
            let mut out = BytesMut::new();
            if encode_within(&packet, version, max, &mut out).is_ok() {
                prop_assert!(out.len() <= max as usize);
            } else {
                prop_assert!(out.is_empty());
                prop_assert!(encoded_len(&packet, version).unwrap() > max as usize);
            }
        }
    }

    #[test]
    fn a_shared_message_is_the_same_as_its_own(
        version in any_version(),
        publish in any_publish(Version::V5, false),
        known in any::<bool>(),
    ) {
        let shared = SharedPublish::new(
            publish.topic.clone(),
            &publish.properties,
            publish.payload.clone(),
        )
        .unwrap();
        let topic_known = known && publish.properties.topic_alias.is_some();
        let head = PublishHead {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            packet_id: publish.packet_id,
            topic_alias: publish.properties.topic_alias,
            topic_known,
            message_expiry_secs: publish.properties.message_expiry_secs,
            subscription_ids: &publish.properties.subscription_ids,
        };
        let mut own = publish.clone();
        if version != Version::V5 {
            own.properties = PublishProperties::default();
        } else if topic_known {
            own.topic = Str::default();
        }

        let mut out = BytesMut::new();
        shared.encode_head(version, &head, &mut out).unwrap();
        for part in shared.tail(version) {
            out.extend_from_slice(part);
        }
        prop_assert_eq!(shared.encoded_len(version, &head), Ok(out.len()));
        prop_assert_eq!(encoded_len(&Packet::Publish(own.clone()), version), Ok(out.len()));
        let mut whole = BytesMut::new();
        shared.encode(version, &head, &mut whole).unwrap();
        prop_assert_eq!(&whole, &out);
        let decoded = decode_all(version, false, [&out[..]]);
        prop_assert_eq!(decoded, Ok(vec![Packet::Publish(own)]));
        // The payload is nobody's copy.
        prop_assert_eq!(shared.tail(version)[1].as_ptr(), publish.payload.as_ptr());
    }
}

#[test]
fn a_claimed_length_reserves_nothing() {
    // With no limit to stop it, a decoder that trusted a claim would reserve a quarter of a gigabyte.
    let limits = Limits {
        packet_bytes_max: u32::MAX,
        unadmitted_packet_bytes_max: u32::MAX,
        properties_bytes_max: usize::MAX,
        properties_max: usize::MAX,
        topic_bytes_max: usize::MAX,
        topic_levels_max: usize::MAX,
        filters_max: usize::MAX,
    };
    let connect = Packet::Connect(Box::new(Connect::new(Version::V5, Str::from_static("c"))));
    let mut server = Decoder::server(limits.clone());
    server
        .decode(&mut encoded(Version::V5, &[connect]))
        .unwrap();
    for first in [0x30, 0x32, 0x40, 0x82, 0xA2, 0xC0, 0xE0, 0xF0] {
        let mut input = BytesMut::with_capacity(64);
        input.extend_from_slice(&[first, 0xFF, 0xFF, 0xFF, 0x7F]);
        let capacity = input.capacity();
        assert_eq!(server.decode(&mut input), Ok(None));
        assert_eq!(
            (input.len(), input.capacity()),
            (5, capacity),
            "{first:02X}"
        );
    }
    // A claim within a packet: of a string, of properties, of a property.
    for body in [
        &[0xFF, 0xFF, b'a'][..],
        &[0, 1, b'a', 0xFF, 0xFF, 0xFF, 0x7F],
        &[0, 1, b'a', 5, 0x26, 0xFF, 0xFF, b'n', 0],
    ] {
        let mut decoder = Decoder::client(Version::V5, limits.clone());
        let mut input = BytesMut::from(&[0x30, u8::try_from(body.len()).unwrap()][..]);
        input.extend_from_slice(body);
        let error = decoder.decode(&mut input).unwrap_err();
        assert_eq!(error.rule(), Rule::Truncated);
    }
}

#[test]
fn what_is_decoded_is_a_slice_of_its_input() {
    let mut decoder = decoder_for(Version::V5, true);
    let bytes = b"\x30\x0D\x00\x01a\x07\x26\x00\x01n\x00\x01vhi";
    let mut input = BytesMut::from(&bytes[..]);
    let span = input.as_ptr_range();
    let Ok(Some(Packet::Publish(publish))) = decoder.decode(&mut input) else {
        panic!("no PUBLISH");
    };
    let (name, value) = &publish.properties.user_properties[0];
    for slice in [
        publish.topic.as_bytes(),
        name.as_bytes(),
        value.as_bytes(),
        &publish.payload,
    ] {
        assert!(span.contains(&slice.as_ptr()));
    }
}

/// Whatever is taken for packets out of any bytes is such packets, and no larger than the bytes: it is written anew in
/// no more of them.
fn check_any_bytes(mut decoder: Decoder, bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut input = BytesMut::from(bytes);
    loop {
        let before = input.len();
        let Ok(Some(packet)) = decoder.decode(&mut input) else {
            return Ok(());
        };
        let version = decoder.version().unwrap();
        let taken = before - input.len();
        let n_bytes = encoded_len(&packet, version).unwrap();
        prop_assert!(n_bytes <= taken, "{packet:?}: {n_bytes} of {taken} bytes");
        // A list doubles as it grows, and begins with room for a few.
        prop_assert!(capacity(&packet) <= 16 + 2 * taken);
        let mut anew = decoder.clone();
        if matches!(packet, Packet::Connect(_)) {
            anew = Decoder::server(roomy());
        }
        let again = anew.decode(&mut BytesMut::from(
            &encoded(version, std::slice::from_ref(&packet))[..],
        ));
        prop_assert_eq!(again, Ok(Some(packet)));
    }
}

/// For how many things a packet's lists have room.
fn capacity(packet: &Packet) -> usize {
    match packet {
        Packet::Publish(publish) => {
            let properties = &publish.properties;
            properties.user_properties.capacity() + properties.subscription_ids.capacity()
        }
        Packet::Subscribe(subscribe) => subscribe.subscriptions.capacity(),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.filters.capacity(),
        Packet::Suback(suback) => suback.reasons.capacity(),
        Packet::Unsuback(unsuback) => unsuback.reasons.capacity(),
        _ => 0,
    }
}

fn roomy() -> Limits {
    Limits {
        topic_levels_max: 1000,
        ..Limits::default()
    }
}

fn roomy_decoder(version: Version, from_client: bool) -> Decoder {
    if !from_client {
        return Decoder::client(version, roomy());
    }
    let mut decoder = Decoder::server(roomy());
    let connect = Connect::new(version, Str::from_static("c"));
    let mut input = encoded(version, &[Packet::Connect(Box::new(connect))]);
    decoder.decode(&mut input).unwrap();
    decoder.admit();
    decoder
}

fn encoded(version: Version, packets: &[Packet]) -> BytesMut {
    let mut out = BytesMut::new();
    for packet in packets {
        encode(packet, version, &mut out).unwrap();
    }
    out
}

/// The packets of a stream that comes in these pieces.
fn decode_all<'a>(
    version: Version,
    from_client: bool,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Packet>, Error> {
    let mut decoder = roomy_decoder(version, from_client);
    let mut input = BytesMut::new();
    let mut packets = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        while let Some(packet) = decoder.decode(&mut input)? {
            packets.push(packet);
        }
    }
    assert!(input.is_empty());
    Ok(packets)
}

fn any_version() -> impl Strategy<Value = Version> {
    prop::sample::select(VERSIONS.to_vec())
}

/// Some packets of one version that one side sends, but for CONNECT.
fn any_stream() -> impl Strategy<Value = (Version, bool, Vec<Packet>)> {
    (any_version(), any::<bool>()).prop_flat_map(|(version, from_client)| {
        let packets = vec(any_packet(version, from_client), 0..4);
        packets.prop_map(move |packets| (version, from_client, packets))
    })
}

fn any_packet(version: Version, from_client: bool) -> BoxedStrategy<Packet> {
    let both = prop_oneof![
        3 => any_publish(version, from_client).prop_map(Packet::Publish),
        1 => any_ack(version, PacketType::Puback).prop_map(Packet::Puback),
        1 => any_ack(version, PacketType::Pubrec).prop_map(Packet::Pubrec),
        1 => any_ack(version, PacketType::Pubrel).prop_map(Packet::Pubrel),
        1 => any_ack(version, PacketType::Pubcomp).prop_map(Packet::Pubcomp),
    ];
    let v5 = prop_oneof![
        any_disconnect(version, from_client).prop_map(Packet::Disconnect),
        any_auth(from_client).prop_map(Packet::Auth),
    ];
    let client = prop_oneof![
        any_subscribe(version).prop_map(Packet::Subscribe),
        any_unsubscribe(version).prop_map(Packet::Unsubscribe),
        Just(Packet::Pingreq),
        any_disconnect(version, true).prop_map(Packet::Disconnect),
    ];
    let server = prop_oneof![
        any_connack(version).prop_map(|connack| Packet::Connack(Box::new(connack))),
        any_suback(version).prop_map(Packet::Suback),
        any_unsuback(version).prop_map(Packet::Unsuback),
        Just(Packet::Pingresp),
    ];
    let sided = if from_client {
        client.boxed()
    } else {
        server.boxed()
    };
    if version == Version::V5 {
        prop_oneof![both, sided, v5].boxed()
    } else {
        prop_oneof![both, sided].boxed()
    }
}

/// `values` in 5.0, and what there is in 3.x.
fn if_v5<T: Default + Clone + std::fmt::Debug + 'static>(
    version: Version,
    values: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    if version == Version::V5 {
        prop_oneof![1 => Just(T::default()), 3 => values].boxed()
    } else {
        Just(T::default()).boxed()
    }
}

fn any_connect(version: Version) -> impl Strategy<Value = Connect> {
    let fields = (
        any::<bool>(),
        any::<u16>(),
        any_str(),
        option::of(any_will(version)),
        option::of(any_str()),
        option::of(any_bytes().prop_map(Secret)),
    );
    (fields, if_v5(version, any_connect_properties())).prop_map(move |(fields, properties)| {
        let (clean_start, keep_alive_secs, client_id, will, user_name, password) = fields;
        let alone = version != Version::V5 && user_name.is_none();
        Connect {
            version,
            clean_start,
            keep_alive_secs,
            client_id,
            will,
            password: password.filter(|_| !alone),
            user_name,
            properties,
        }
    })
}

fn any_connect_properties() -> impl Strategy<Value = ConnectProperties> {
    let numbers = (
        option::of(any::<u32>()),
        option::of(any::<NonZeroU16>()),
        option::of(any::<NonZeroU32>()),
        option::of(any::<u16>()),
    );
    let flags = [(); 2].map(|()| option::of(any::<bool>()));
    let authentication = option::of((any_str(), option::of(any_bytes().prop_map(Secret))));
    (numbers, flags, authentication, any_user_properties()).prop_map(
        |(numbers, flags, authentication, user_properties)| {
            let (method, data) = authentication.unzip();
            ConnectProperties {
                session_expiry_secs: numbers.0,
                receive_maximum: numbers.1,
                maximum_packet_size: numbers.2,
                topic_alias_maximum: numbers.3,
                request_response_information: flags[0],
                request_problem_information: flags[1],
                authentication_method: method,
                authentication_data: data.flatten(),
                user_properties,
            }
        },
    )
}

fn any_will(version: Version) -> impl Strategy<Value = Will> {
    let fields = (any_qos(), any::<bool>(), any_topic(), any_bytes());
    (fields, if_v5(version, any_will_properties())).prop_map(|(fields, properties)| {
        let (qos, retain, topic, payload) = fields;
        Will {
            qos,
            retain,
            topic,
            payload,
            properties,
        }
    })
}

fn any_will_properties() -> impl Strategy<Value = WillProperties> {
    let times = [(); 2].map(|()| option::of(any::<u32>()));
    (times, any_message_properties()).prop_map(|([delay_secs, message_expiry_secs], message)| {
        let (payload_format, content_type, response_topic, correlation_data, user_properties) =
            message;
        WillProperties {
            delay_secs,
            payload_format,
            message_expiry_secs,
            content_type,
            response_topic,
            correlation_data,
            user_properties,
        }
    })
}

type MessageProperties = (
    Option<PayloadFormat>,
    Option<Str>,
    Option<Str>,
    Option<Bytes>,
    UserProperties,
);

fn any_message_properties() -> impl Strategy<Value = MessageProperties> {
    let format = prop::sample::select(vec![PayloadFormat::Bytes, PayloadFormat::Utf8]);
    (
        option::of(format),
        option::of(any_str()),
        option::of(any_topic()),
        option::of(any_bytes()),
        any_user_properties(),
    )
}

fn any_connack(version: Version) -> impl Strategy<Value = Connack> {
    let reasons: Vec<ReasonCode> = if version == Version::V5 {
        reasons_of(PacketType::Connack)
    } else {
        (0..=5).filter_map(ReasonCode::from_return_code).collect()
    };
    let fields = (any::<bool>(), prop::sample::select(reasons));
    (fields, if_v5(version, any_connack_properties())).prop_map(move |(fields, properties)| {
        let (present, reason) = fields;
        let can_be = version != Version::V31 && reason == ReasonCode::Success;
        Connack {
            session_present: present && can_be,
            reason,
            properties,
        }
    })
}

fn any_connack_properties() -> impl Strategy<Value = ConnackProperties> {
    let numbers = (
        option::of(any::<u32>()),
        option::of(any::<NonZeroU16>()),
        option::of(prop::sample::select(vec![
            Qos::AtMostOnce,
            Qos::AtLeastOnce,
        ])),
        option::of(any::<NonZeroU32>()),
        [(); 2].map(|()| option::of(any::<u16>())),
    );
    let flags = [(); 4].map(|()| option::of(any::<bool>()));
    let texts = [(); 5].map(|()| option::of(any_str()));
    let data = option::of(any_bytes().prop_map(Secret));
    (numbers, flags, texts, data, any_user_properties()).prop_map(
        |(numbers, flags, texts, authentication_data, user_properties)| {
            let [assigned, reason, response, server, method] = texts;
            ConnackProperties {
                session_expiry_secs: numbers.0,
                receive_maximum: numbers.1,
                maximum_qos: numbers.2,
                retain_available: flags[0],
                maximum_packet_size: numbers.3,
                assigned_client_id: assigned,
                topic_alias_maximum: numbers.4[0],
                reason_string: reason,
                wildcard_available: flags[1],
                subscription_id_available: flags[2],
                shared_available: flags[3],
                server_keep_alive_secs: numbers.4[1],
                response_information: response,
                server_reference: server,
                authentication_method: method,
                authentication_data,
                user_properties,
            }
        },
    )
}

fn any_publish(version: Version, from_client: bool) -> impl Strategy<Value = Publish> {
    let flags = (any::<bool>(), any_qos(), any::<bool>());
    let payload = vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    let properties = if_v5(version, any_publish_properties(from_client));
    (flags, any_topic(), any_packet_id(), properties, payload).prop_map(
        |((dup, qos, retain), topic, packet_id, properties, payload)| {
            let acknowledged = qos != Qos::AtMostOnce;
            Publish {
                dup: dup && acknowledged,
                qos,
                retain,
                topic,
                packet_id: acknowledged.then_some(packet_id),
                properties,
                payload,
            }
        },
    )
}

fn any_publish_properties(from_client: bool) -> impl Strategy<Value = PublishProperties> {
    let subscription_ids = vec(any_subscription_id(), 0..if from_client { 1 } else { 4 });
    let own = (
        option::of(any::<u32>()),
        option::of(any::<NonZeroU16>()),
        subscription_ids,
    );
    (own, any_message_properties()).prop_map(|(own, message)| {
        let (message_expiry_secs, topic_alias, subscription_ids) = own;
        let (payload_format, content_type, response_topic, correlation_data, user_properties) =
            message;
        PublishProperties {
            payload_format,
            message_expiry_secs,
            topic_alias,
            response_topic,
            correlation_data,
            subscription_ids,
            content_type,
            user_properties,
        }
    })
}

fn any_ack(version: Version, packet_type: PacketType) -> impl Strategy<Value = Ack> {
    let reason = if_v5(version, prop::sample::select(reasons_of(packet_type)));
    let properties = if_v5(version, any_ack_properties());
    (any_packet_id(), reason, properties).prop_map(|(packet_id, reason, properties)| Ack {
        packet_id,
        reason,
        properties,
    })
}

fn any_ack_properties() -> impl Strategy<Value = AckProperties> {
    (option::of(any_str()), any_user_properties()).prop_map(|(reason_string, user_properties)| {
        AckProperties {
            reason_string,
            user_properties,
        }
    })
}

fn any_subscribe(version: Version) -> impl Strategy<Value = Subscribe> {
    let properties = (option::of(any_subscription_id()), any_user_properties()).prop_map(
        |(subscription_id, user_properties)| SubscribeProperties {
            subscription_id,
            user_properties,
        },
    );
    let subscriptions = vec(any_subscription(version), 1..4);
    (any_packet_id(), subscriptions, if_v5(version, properties)).prop_map(
        |(packet_id, subscriptions, properties)| Subscribe {
            packet_id,
            subscriptions,
            properties,
        },
    )
}

fn any_subscription(version: Version) -> impl Strategy<Value = Subscription> {
    let handling = prop::sample::select(vec![
        RetainHandling::Send,
        RetainHandling::SendIfNew,
        RetainHandling::DoNotSend,
    ]);
    let options = if_v5(version, (any::<bool>(), any::<bool>(), handling));
    (any_filter(), any_qos(), options).prop_map(|(filter, qos, options)| {
        let shared = filter.starts_with("$share/");
        Subscription {
            filter,
            qos,
            no_local: options.0 && !shared,
            retain_as_published: options.1,
            retain_handling: options.2,
        }
    })
}

fn any_suback(version: Version) -> impl Strategy<Value = Suback> {
    let reasons = if version == Version::V5 {
        reasons_of(PacketType::Suback)
    } else {
        vec![
            ReasonCode::Success,
            ReasonCode::GrantedQos1,
            ReasonCode::GrantedQos2,
            ReasonCode::Unspecified,
        ]
    };
    let reasons = vec(prop::sample::select(reasons), 1..5);
    let properties = if_v5(version, any_ack_properties());
    (any_packet_id(), reasons, properties).prop_map(|(packet_id, reasons, properties)| Suback {
        packet_id,
        reasons,
        properties,
    })
}

fn any_unsubscribe(version: Version) -> impl Strategy<Value = Unsubscribe> {
    let properties =
        any_user_properties().prop_map(|user_properties| UnsubscribeProperties { user_properties });
    let filters = vec(any_filter(), 1..4);
    (any_packet_id(), filters, if_v5(version, properties)).prop_map(
        |(packet_id, filters, properties)| Unsubscribe {
            packet_id,
            filters,
            properties,
        },
    )
}

fn any_unsuback(version: Version) -> impl Strategy<Value = Unsuback> {
    let reason = prop::sample::select(reasons_of(PacketType::Unsuback));
    let n_reasons = if version == Version::V5 { 1..5 } else { 0..1 };
    let properties = if_v5(version, any_ack_properties());
    (any_packet_id(), vec(reason, n_reasons), properties).prop_map(
        |(packet_id, reasons, properties)| Unsuback {
            packet_id,
            reasons,
            properties,
        },
    )
}

fn any_disconnect(version: Version, from_client: bool) -> impl Strategy<Value = Disconnect> {
    let expiry = option::of(any::<u32>()).prop_map(move |expiry| expiry.filter(|_| from_client));
    let texts = [(); 2].map(|()| option::of(any_str()));
    let properties = (expiry, texts, any_user_properties()).prop_map(
        |(session_expiry_secs, [reason_string, server_reference], user_properties)| {
            DisconnectProperties {
                session_expiry_secs,
                reason_string,
                server_reference,
                user_properties,
            }
        },
    );
    let reason = prop::sample::select(reasons_of(PacketType::Disconnect));
    (if_v5(version, reason), if_v5(version, properties))
        .prop_map(|(reason, properties)| Disconnect { reason, properties })
}

fn any_auth(from_client: bool) -> impl Strategy<Value = Auth> {
    let other = if from_client {
        ReasonCode::Reauthenticate
    } else {
        ReasonCode::Success
    };
    let reason = prop::sample::select(vec![ReasonCode::ContinueAuthentication, other]);
    let data = option::of(any_bytes().prop_map(Secret));
    let rest = (option::of(any_str()), any_user_properties());
    (reason, any_str(), data, rest).prop_map(|(reason, method, authentication_data, rest)| Auth {
        reason,
        properties: AuthProperties {
            authentication_method: Some(method),
            authentication_data,
            reason_string: rest.0,
            user_properties: rest.1,
        },
    })
}

fn reasons_of(packet_type: PacketType) -> Vec<ReasonCode> {
    let fits = |reason: &ReasonCode| reason.fits(packet_type);
    ReasonCode::ALL.iter().copied().filter(fits).collect()
}

fn any_qos() -> impl Strategy<Value = Qos> {
    prop::sample::select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

fn any_packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|number| PacketId::new(number).unwrap())
}

fn any_subscription_id() -> impl Strategy<Value = SubscriptionId> {
    prop_oneof![1..300u32, 1..=VARINT_MAX].prop_map(|number| SubscriptionId::new(number).unwrap())
}

fn any_str() -> impl Strategy<Value = Str> {
    let character = prop_oneof![Just('a'), any::<char>().prop_filter("nul", |c| *c != '\0')];
    vec(character, 0..8).prop_map(|characters| Str::new(String::from_iter(characters)).unwrap())
}

fn any_topic() -> impl Strategy<Value = Str> {
    let character = prop_oneof![
        Just('/'),
        Just('a'),
        any::<char>().prop_filter("no topic", |c| !"\0+#".contains(*c)),
    ];
    vec(character, 1..8).prop_map(|characters| Str::new(String::from_iter(characters)).unwrap())
}

fn any_filter() -> impl Strategy<Value = Str> {
    let level = prop_oneof![Just("+"), Just(""), Just("a"), Just("ß")];
    let share = prop::sample::select(vec!["", "", "$share/g/"]);
    let end = prop::sample::select(vec!["b", "#", "+"]);
    (share, vec(level, 0..4), end).prop_map(|(share, levels, end)| {
        let mut filter = String::from(share);
        for level in levels {
            filter.push_str(level);
            filter.push('/');
        }
        filter.push_str(end);
        Str::new(filter).unwrap()
    })
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..12).prop_map(Bytes::from)
}

fn any_user_properties() -> impl Strategy<Value = UserProperties> {
    vec((any_str(), any_str()), 0..3)
}
