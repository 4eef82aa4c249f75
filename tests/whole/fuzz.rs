//! Fuzz over live sockets: packet streams that a client may send, mutated by a seed, against the running program. It
//! stays alive, says only what is MQTT, logs no panic (`server.rs` looks), keeps no connection, and a neighbour does not
//! notice anything.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::scope;

use bytes::{BufMut, Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use restante_proto::mqtt::{
    Ack, Connect, Decoder, Disconnect, Limits, Packet, PacketId, PayloadFormat, Publish, Qos,
    ReasonCode, RetainHandling, Subscribe, SubscribeProperties, Subscription, SubscriptionId,
    Unsubscribe, UnsubscribeProperties, Version, Will, encode,
};

use crate::peer::{Over, Peer, connect, text};
use crate::server::Server;
use crate::walk::seed;
use crate::{wait, wire};

/// Streams that are sent; `RESTANTE_TEST_FUZZ_CASES` may say otherwise.
const CASES: u64 = 6000;
const THREADS: u64 = 8;
const TOPICS: [&str; 6] = ["fuzz/a", "fuzz/b/c", "$SYS/x", "~x/y", "fuzz//", "fuzz/ü"];
const FILTERS: [&str; 6] = [
    "fuzz/#",
    "fuzz/+/c",
    "+/a",
    "$share/g/fuzz/#",
    "#",
    "fuzz//",
];

#[test]
fn mutated_streams_of_packets_harm_nobody() {
    let seed = seed();
    let cases = std::env::var("RESTANTE_TEST_FUZZ_CASES").ok();
    let cases = cases.and_then(|it| it.parse().ok()).unwrap_or(CASES);
    // Wrong passwords are expected here, and lines of every connection are not wanted.
    let server = Server::with(&[
        ("RESTANTE_LIMITS_AUTH_ATTEMPTS", "10000"),
        ("RESTANTE_LOG_LEVEL", "warn"),
        // It is not crashed here.
        ("RESTANTE_STORAGE_SYNC", "never"),
    ]);
    let (at, token) = (server.clients(), server.token());
    let next = AtomicU64::new(0);
    let (attached, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    scope(|scope| {
        let work = || {
            loop {
                let case = next.fetch_add(1, Ordering::Relaxed);
                if case >= cases {
                    return;
                }
                let told = run(at, &token, seed, case);
                attached.fetch_add(u64::from(told > 0), Ordering::Relaxed);
                answered.fetch_add(told, Ordering::Relaxed);
            }
        };
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let connect = connect(Version::V5, "neighbour", &token, true);
        let (mut peer, _) = Peer::connect(at, Over::Tcp, connect).expect("connected");
        while workers.iter().any(|worker| !worker.is_finished()) {
            // Nobody is subscribed: what comes is its answer alone.
            let code = peer.publish("neighbour", "x").expect("not disturbed");
            assert!(!code.is_error(), "{code:?}");
        }
    });
    println!("{cases} streams, {attached:?} of them let in, {answered:?} packets came back");
    // Else nothing was tried but the door.
    assert!(attached.load(Ordering::Relaxed) > cases / 4);
    wait::until("no connection is left", || {
        (server.metric("restante_mqtt_connections", "") == 0.0).then_some(())
    });
    assert_eq!(server.metric("restante_connections", ""), 0.0);
}

/// One stream; how many packets it was answered with.
fn run(at: SocketAddr, token: &str, seed: u64, case: u64) -> u64 {
    let mut random = StdRng::seed_from_u64(seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let version = pick(&mut random, &[Version::V31, Version::V311, Version::V5]);
    let over = match random.random_bool(0.2) {
        true => Over::WebSocket,
        false => Over::Tcp,
    };
    let mut packets = stream(&mut random, version, token);
    // A quarter is as it should be: it ends as the client says.
    if random.random_bool(0.75) {
        mutate(&mut random, &mut packets);
    }
    let mut stream = TcpStream::connect(at).expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    stream
        .set_read_timeout(Some(wait::deadline()))
        .expect("a timeout");
    let bytes = match over {
        Over::Tcp => packets.concat(),
        Over::WebSocket => in_frames(&mut random, &packets),
    };
    // It may be closed before all of it is taken.
    let written = stream.write_all(&bytes);
    let ended = written.and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // It ends, with or without a reset: a broker that hangs is found by the deadline.
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => answer.extend(buffer.iter().take(n)),
            Err(error) => {
                let is_reset = error.kind() != std::io::ErrorKind::WouldBlock;
                assert!(is_reset, "case {case} of seed {seed} hangs; {ended:?}");
                break;
            }
        }
    }
    match over {
        Over::Tcp => count(&answer, version, case),
        Over::WebSocket => u64::from(answer.starts_with(b"HTTP/1.1 101")),
    }
}

/// An upgrade, and a binary message for each packet; some frames are mutated too.
fn in_frames(random: &mut StdRng, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut frames: Vec<Vec<u8>> = vec![UPGRADE.as_bytes().to_vec()];
    frames.extend(packets.iter().map(|it| wire::message(wire::BINARY, it)));
    if random.random_bool(0.3) {
        mutate(random, &mut frames);
    }
    frames.concat()
}

const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

/// How many packets an answer has; all of it must be packets. None: it was another version's, or HTTP's.
fn count(answer: &[u8], version: Version, case: u64) -> u64 {
    // A mutation may have made another version of it.
    let accepted = matches!(answer, [0x20, _, _, 0, ..]);
    if !accepted
        || answer
            .get(1)
            .is_some_and(|it| (*it > 2) != (version == Version::V5))
    {
        return 0;
    }
    let mut decoder = Decoder::client(version, Limits::default());
    let mut input = BytesMut::from(answer);
    let mut n = 0;
    while let Some(_packet) = decoder
        .decode(&mut input)
        .unwrap_or_else(|error| panic!("case {case}: answered with {answer:02x?}: {error}"))
    {
        n += 1;
    }
    n
}

/// CONNECT and what may follow, a packet each.
fn stream(random: &mut StdRng, version: Version, token: &str) -> Vec<Vec<u8>> {
    let mut packets = vec![Packet::Connect(Box::new(any_connect(
        random, version, token,
    )))];
    for _ in 0..random.random_range(1..12) {
        packets.push(any_packet(random, version));
    }
    packets.push(Packet::Disconnect(Disconnect::default()));
    packets
        .iter()
        .map(|packet| {
            let mut bytes = BytesMut::new();
            encode(packet, version, &mut bytes).expect("a good packet");
            bytes.to_vec()
        })
        .collect()
}

fn any_connect(random: &mut StdRng, version: Version, token: &str) -> Connect {
    let id = format!("fuzz-{}", random.random_range(0..50));
    // Most of them are gone with their connection.
    let clean = random.random_bool(0.9);
    let mut connect = connect(version, &id, token, clean);
    if random.random_bool(0.3) {
        connect.will = Some(Will {
            qos: any_qos(random),
            retain: random.random_bool(0.5),
            topic: text("fuzz/will"),
            payload: Bytes::from_static(b"gone"),
            properties: Default::default(),
        });
    }
    if version == Version::V5 {
        let properties = &mut connect.properties;
        properties.receive_maximum = random.random_range(0..4_u16).try_into().ok();
        properties.topic_alias_maximum = Some(random.random_range(0..9));
        properties.maximum_packet_size = random.random_range(0..2_u32 * 256).try_into().ok();
    }
    connect
}

fn any_packet(random: &mut StdRng, version: Version) -> Packet {
    let packet_id = PacketId::new(random.random_range(1..9)).expect("not 0");
    let ack = Ack::new(packet_id, ReasonCode::Success);
    match random.random_range(0..10) {
        0..4 => Packet::Publish(any_publish(random, version, packet_id)),
        4 => Packet::Pubrel(ack),
        5 => pick(
            random,
            &[
                Packet::Puback(ack.clone()),
                Packet::Pubrec(ack.clone()),
                Packet::Pubcomp(ack),
            ],
        ),
        6 | 7 => Packet::Subscribe(Subscribe {
            packet_id,
            subscriptions: (0..random.random_range(1..4))
                .map(|_| any_subscription(random, version))
                .collect(),
            properties: SubscribeProperties {
                subscription_id: SubscriptionId::new(random.random_range(0..300))
                    .filter(|_| version == Version::V5),
                ..SubscribeProperties::default()
            },
        }),
        8 => Packet::Unsubscribe(Unsubscribe {
            packet_id,
            filters: vec![text(pick(random, &FILTERS))],
            properties: UnsubscribeProperties::default(),
        }),
        _ => Packet::Pingreq,
    }
}

fn any_publish(random: &mut StdRng, version: Version, packet_id: PacketId) -> Publish {
    let qos = any_qos(random);
    let mut publish = Publish {
        qos,
        retain: random.random_bool(0.2),
        topic: text(pick(random, &TOPICS)),
        packet_id: (qos > Qos::AtMostOnce).then_some(packet_id),
        payload: Bytes::from(vec![b'x'; random.random_range(0..300)]),
        ..Publish::default()
    };
    if version == Version::V5 {
        let properties = &mut publish.properties;
        properties.topic_alias = random.random_range(0..40_u16).try_into().ok();
        properties.message_expiry_secs = Some(random.random_range(0..3));
        properties.payload_format = Some(PayloadFormat::Utf8);
        properties.response_topic = Some(text("fuzz/answers"));
        properties.user_properties = vec![(text("n"), text("v"))];
    }
    publish
}

fn any_subscription(random: &mut StdRng, version: Version) -> Subscription {
    let filter = pick(random, &FILTERS);
    let mut subscription = Subscription::new(text(filter), any_qos(random));
    if version == Version::V5 {
        subscription.no_local = !filter.starts_with("$share") && random.random_bool(0.5);
        subscription.retain_as_published = random.random_bool(0.5);
        subscription.retain_handling = pick(
            random,
            &[
                RetainHandling::Send,
                RetainHandling::SendIfNew,
                RetainHandling::DoNotSend,
            ],
        );
    }
    subscription
}

fn any_qos(random: &mut StdRng) -> Qos {
    pick(
        random,
        &[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce],
    )
}

/// One to four mutations, mostly behind the CONNECT: a client that is not let in has little to break.
fn mutate(random: &mut StdRng, packets: &mut Vec<Vec<u8>>) {
    for _ in 0..random.random_range(1..5) {
        let from = usize::from(random.random_bool(0.9));
        let at = random.random_range(from..packets.len());
        let other = pick(random, packets);
        let Some(packet) = packets.get_mut(at) else {
            continue;
        };
        match random.random_range(0..8) {
            0 => mutate_byte(random, packet, |byte, random| {
                *byte ^= 1 << random.random_range(0..8);
            }),
            1 => mutate_byte(random, packet, |byte, random| {
                *byte = pick(random, &[0, 1, 0x7f, 0x80, 0xff]);
            }),
            2 => packet.truncate(random.random_range(0..=packet.len())),
            3 => packet.extend((0..random.random_range(1..20)).map(|_| random.random::<u8>())),
            4 => packet.put_slice(&other),
            5 => {
                packets.remove(at);
            }
            6 => packets.insert(at, other),
            // A length that claims more, or is too long.
            _ => {
                let claim = pick(
                    random,
                    &[
                        &b"\xff\xff\xff\x7f"[..],
                        b"\xff\xff\xff\xff\x01",
                        b"\x80\x80\x00",
                    ],
                );
                packet.truncate(1);
                packet.put_slice(claim);
            }
        }
        if packets.len() < 2 {
            return;
        }
    }
}

fn mutate_byte(random: &mut StdRng, packet: &mut [u8], change: impl FnOnce(&mut u8, &mut StdRng)) {
    let at = random.random_range(0..packet.len().max(1));
    if let Some(byte) = packet.get_mut(at) {
        change(byte, random);
    }
}

fn pick<T: Clone>(random: &mut StdRng, of: &[T]) -> T {
    let at = random.random_range(0..of.len());
    of.get(at).expect("one of them").clone()
}
