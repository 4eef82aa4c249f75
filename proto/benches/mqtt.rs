//! What a message costs in MQTT: `cargo bench -p restante-proto --bench mqtt`.
//!
//! `decode` is one packet of a stream that holds 64: as a socket is read. `shared` is one subscriber's part of a message
//! for many, beside `encode`, which writes it all anew.

use bytes::{Bytes, BytesMut};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use restante_proto::mqtt::{
    Ack, Connect, Decoder, Limits, Packet, PacketId, PayloadFormat, Publish, PublishHead,
    PublishProperties, Qos, ReasonCode, SharedPublish, Str, Version, encode,
};

fn main() {
    divan::main();
}

const PACKETS: [&str; 5] = [
    "publish, QoS 0",
    "publish, QoS 1",
    "publish, 5.0",
    "publish, 5.0, properties",
    "puback",
];

/// How many packets are in the stream that is read.
const N_PACKETS: usize = 64;

#[divan::bench(args = PACKETS)]
fn decode(bencher: Bencher, name: &str) {
    let (version, packet) = packet(name);
    let mut stream = BytesMut::new();
    for _ in 0..N_PACKETS {
        encode(&packet, version, &mut stream).expect("it can be written");
    }
    let decoder = decoder(version);
    bencher
        .counter(ItemsCount::new(N_PACKETS))
        .with_inputs(|| (decoder.clone(), stream.clone()))
        .bench_local_refs(|(decoder, input)| {
            while let Ok(Some(packet)) = decoder.decode(black_box(input)) {
                black_box(packet);
            }
        });
}

#[divan::bench(args = PACKETS)]
fn encode_one(bencher: Bencher, name: &str) {
    let (version, packet) = packet(name);
    // As a driver has it: one buffer, written to and flushed again and again.
    let mut out = BytesMut::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        encode(black_box(&packet), version, &mut out).expect("it can be written");
        black_box(&out);
    });
}

#[divan::bench(args = ["whole", "head only"])]
fn shared(bencher: Bencher, part: &str) {
    let shared = SharedPublish::new(Str::from_static("orders/eu"), &properties(), payload())
        .expect("it can be written");
    let head = PublishHead {
        qos: Qos::AtLeastOnce,
        packet_id: Some(PacketId::FIRST),
        ..PublishHead::default()
    };
    let mut out = BytesMut::with_capacity(4096);
    bencher.bench_local(|| {
        out.clear();
        let written = if part == "whole" {
            shared.encode(Version::V5, black_box(&head), &mut out)
        } else {
            shared.encode_head(Version::V5, black_box(&head), &mut out)
        };
        written.expect("it can be written");
        black_box(&out);
    });
}

fn decoder(version: Version) -> Decoder {
    let mut decoder = Decoder::server(Limits::default());
    let connect = Packet::Connect(Box::new(Connect::new(version, Str::from_static("c"))));
    let mut input = BytesMut::new();
    encode(&connect, version, &mut input).expect("it can be written");
    decoder.decode(&mut input).expect("it can be read");
    decoder.admit();
    decoder
}

fn packet(name: &str) -> (Version, Packet) {
    let message = Publish {
        qos: Qos::AtLeastOnce,
        topic: Str::from_static("orders/eu"),
        packet_id: Some(PacketId::FIRST),
        payload: payload(),
        ..Publish::default()
    };
    match name {
        "publish, QoS 0" => {
            let qos = Qos::AtMostOnce;
            (Version::V311, Packet::Publish(Publish { qos, ..message }))
        }
        "publish, QoS 1" => (Version::V311, Packet::Publish(message)),
        "publish, 5.0" => (Version::V5, Packet::Publish(message)),
        "publish, 5.0, properties" => {
            let properties = properties();
            let message = Publish {
                properties,
                ..message
            };
            (Version::V5, Packet::Publish(message))
        }
        "puback" => {
            let ack = Ack::new(PacketId::FIRST, ReasonCode::Success);
            (Version::V5, Packet::Puback(ack))
        }
        _ => panic!("no packet {name}"),
    }
}

fn properties() -> PublishProperties {
    PublishProperties {
        payload_format: Some(PayloadFormat::Utf8),
        message_expiry_secs: Some(60),
        response_topic: Some(Str::from_static("replies/17")),
        correlation_data: Some(Bytes::from_static(b"request-17")),
        content_type: Some(Str::from_static("application/json")),
        user_properties: vec![
            (Str::from_static("colour"), Str::from_static("red")),
            (Str::from_static("size"), Str::from_static("XL")),
        ],
        ..PublishProperties::default()
    }
}

fn payload() -> Bytes {
    Bytes::from(vec![b'x'; 256])
}
