//! Fuzz over live sockets: streams of messages that a client may send, in each serializer, mutated by a seed, against the running
//! program. It stays alive, says only what is WAMP, logs no panic (`server.rs` looks), keeps no connection and no memory, and a
//! neighbour does not notice anything.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::scope;

use bytes::{Buf, Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use restante_proto::wamp::rawsocket::{Frame, FrameDecoder, HEAD_BYTES, encode_frame, handshake};
use restante_proto::wamp::{Dict, Limits, Message, Serializer, Value, decode, encode};

use super::client::{Neighbour, call, hello, publish, upgrade};
use crate::peer::take_frame;
use crate::server::Server;
use crate::walk::seed;
use crate::{wait, wire};

/// Streams that are sent; `RESTANTE_TEST_FUZZ_CASES` may say otherwise.
const CASES: u64 = 2000;
const THREADS: u64 = 8;
const GROWTH_KIB_MAX: u64 = 64 * 1024;
const URIS: [&str; 8] = [
    "fuzz.a",
    "fuzz.b.c",
    "fuzz",
    "wamp.session.count",
    "wamp.session.list",
    "wamp.registration.list",
    "restante.event.received",
    "fuzz.ü",
];
const MATCHES: [&str; 3] = ["exact", "prefix", "wildcard"];

#[test]
fn mutated_streams_of_messages_harm_nobody() {
    let seed = seed();
    let cases = std::env::var("RESTANTE_TEST_FUZZ_CASES").ok();
    let cases = cases.and_then(|it| it.parse().ok()).unwrap_or(CASES);
    // Wrong tickets are expected here, and lines of every connection are not wanted.
    let server = Server::with(&[
        ("RESTANTE_LIMITS_AUTH_ATTEMPTS", "10000"),
        ("RESTANTE_LOG_LEVEL", "warn"),
        // It is not crashed here.
        ("RESTANTE_STORAGE_SYNC", "never"),
    ]);
    let (at, token) = (server.clients(), server.token());
    let before = server.resident_kib();
    let next = AtomicU64::new(0);
    let (welcome, answered) = (AtomicU64::new(0), AtomicU64::new(0));
    scope(|scope| {
        let work = || {
            loop {
                let case = next.fetch_add(1, Ordering::Relaxed);
                if case >= cases {
                    return;
                }
                let (is_welcome, n_answers) = run(at, &token, seed, case);
                welcome.fetch_add(u64::from(is_welcome), Ordering::Relaxed);
                answered.fetch_add(n_answers, Ordering::Relaxed);
            }
        };
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let mut neighbour = Neighbour::new(&server);
        while workers.iter().any(|worker| !worker.is_finished()) {
            neighbour.goes_on();
        }
    });
    println!("{cases} streams, {welcome:?} of them let in, {answered:?} messages came back");
    // Else nothing was tried but the door.
    assert!(welcome.load(Ordering::Relaxed) > cases / 4);
    assert!(answered.load(Ordering::Relaxed) > cases);
    wait::until("no connection is left", || {
        (server.metric("restante_wamp_connections", "") == 0.0).then_some(())
    });
    assert_eq!(server.metric("restante_connections", ""), 0.0);
    let after = server.resident_kib();
    assert!(
        after < before + GROWTH_KIB_MAX,
        "seed {seed}: from {before} to {after} KiB"
    );
}

/// One stream: whether it was welcome, and how many messages came behind that.
fn run(at: SocketAddr, token: &str, seed: u64, case: u64) -> (bool, u64) {
    let mut random = StdRng::seed_from_u64(seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let serializers = [
        Serializer::Json,
        Serializer::MsgPack,
        Serializer::Cbor,
        Serializer::Ubjson,
    ];
    let serializer = pick(&mut random, &serializers);
    let is_raw = random.random_bool(0.5);
    let mut messages = stream(&mut random, serializer, token);
    // A quarter is as it should be.
    let mutates = random.random_bool(0.75);
    if mutates && random.random_bool(0.8) {
        mutate(&mut random, &mut messages);
    }
    let mut frames = vec![match is_raw {
        true => handshake(serializer, 1 << random.random_range(12..24)).to_vec(),
        false => upgrade(serializer.subprotocol(false)).into_bytes(),
    }];
    frames.extend(messages.iter().map(|it| frame(it, serializer, is_raw)));
    if mutates && random.random_bool(0.3) {
        mutate(&mut random, &mut frames);
    }
    let mut stream = TcpStream::connect(at).expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    stream
        .set_read_timeout(Some(wait::deadline()))
        .expect("a timeout");
    // It may be closed before all of it is taken.
    let written = stream.write_all(&frames.concat());
    let ended = written.and_then(|()| stream.shutdown(Shutdown::Write));
    let mut answer = BytesMut::new();
    let mut buffer = [0; 4096];
    // It ends, with or without a reset: a broker that hangs is found by the deadline.
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => answer.extend(buffer.iter().take(n)),
            Err(error) => {
                let is_reset = error.kind() != ErrorKind::WouldBlock;
                assert!(is_reset, "case {case} of seed {seed} hangs; {ended:?}");
                break;
            }
        }
    }
    count(answer, serializer, is_raw, case)
}

fn frame(message: &[u8], serializer: Serializer, is_raw: bool) -> Vec<u8> {
    if is_raw {
        let mut bytes = BytesMut::new();
        let frame = Frame::Message(Bytes::copy_from_slice(message));
        encode_frame(&frame, &mut bytes).expect("short enough");
        return bytes.to_vec();
    }
    let opcode = if serializer.is_text() {
        wire::TEXT
    } else {
        wire::BINARY
    };
    wire::message(opcode, message)
}

/// Whether there is a WELCOME, and how many messages there are; all must be some. Where a mutation has led elsewhere, there are none.
fn count(mut answer: BytesMut, serializer: Serializer, is_raw: bool, case: u64) -> (bool, u64) {
    let expected = format!("protocol: {}\r\n", serializer.subprotocol(false));
    let mut messages = Vec::new();
    if is_raw {
        let accepted = |octets: &[u8]| {
            octets.first() == Some(&0x7f)
                && octets.get(1).map(|it| it & 15) == Some(serializer.rawsocket_number())
        };
        if answer.len() < HEAD_BYTES || !accepted(&answer) {
            return (false, 0);
        }
        answer.advance(HEAD_BYTES);
        let decoder = FrameDecoder::new(1 << 24);
        while let Some(frame) = decoder.decode(&mut answer).expect("good frames") {
            if let Frame::Message(message) = frame {
                messages.push(message);
            }
        }
    } else {
        let Some(end) = answer.windows(4).position(|it| it == b"\r\n\r\n") else {
            return (false, 0);
        };
        let head = answer.split_to(end + 4);
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        if !head.starts_with("http/1.1 101") || !head.contains(&expected) {
            return (false, 0);
        }
        while let Some((opcode, payload)) = take_frame(&mut answer) {
            if matches!(opcode, wire::TEXT | wire::BINARY) {
                messages.push(payload);
            }
        }
    }
    let mut is_welcome = false;
    let mut n = 0;
    for bytes in messages {
        let message = decode(serializer, &bytes, &Limits::default());
        match message.unwrap_or_else(|error| panic!("case {case}: {error}: {bytes:02x?}")) {
            Message::Welcome { .. } => is_welcome = true,
            _ => n += u64::from(is_welcome),
        }
    }
    (is_welcome, n)
}

/// HELLO, AUTHENTICATE and what may follow, a message each.
fn stream(random: &mut StdRng, serializer: Serializer, token: &str) -> Vec<Vec<u8>> {
    let mut messages = vec![
        hello(),
        Message::Authenticate {
            signature: token.to_owned(),
            extra: Dict::new(),
        },
    ];
    let n_messages = random.random_range(1..16);
    messages.extend((1..=n_messages).map(|request| any_message(random, request)));
    if random.random_bool(0.3) {
        messages.push(Message::Goodbye {
            details: Dict::new(),
            reason: "wamp.close.normal".to_owned(),
        });
        messages.push(hello());
    }
    let encoded = messages.iter().map(|message| {
        let mut bytes = BytesMut::new();
        encode(serializer, message, &mut bytes).expect("a good message");
        bytes.to_vec()
    });
    encoded.collect()
}

fn any_message(random: &mut StdRng, request: u64) -> Message {
    let uri = pick(random, &URIS);
    let given = [
        Value::from("x".repeat(random.random_range(0..200))),
        1.into(),
    ];
    let options = any_options(random);
    match random.random_range(0..12) {
        0..3 => publish(request, uri, options, &given),
        3..5 => Message::Subscribe {
            request,
            options: options.with("match", pick(random, &MATCHES)),
            topic: uri.to_owned(),
        },
        5..7 => Message::Register {
            request,
            options: options.with("invoke", pick(random, &["single", "random", "last"])),
            procedure: uri.to_owned(),
        },
        7..9 => match call(request, uri, &given) {
            Message::Call {
                request,
                procedure,
                payload,
                ..
            } => Message::Call {
                request,
                options,
                procedure,
                payload,
            },
            other => other,
        },
        9 => Message::Unsubscribe {
            request,
            subscription: random.random_range(1..20),
        },
        10 => Message::Unregister {
            request,
            registration: random.random_range(1..20),
        },
        // Its own procedures may have been called.
        _ => call(request, "wamp.session.count", &[]),
    }
}

fn any_options(random: &mut StdRng) -> Dict {
    let mut options = Dict::new();
    for (key, value) in [
        ("acknowledge", Value::from(true)),
        ("exclude_me", false.into()),
        ("disclose_me", true.into()),
        ("retain", true.into()),
        ("get_retained", true.into()),
        ("eligible", vec![Value::from(1)].into()),
        ("receive_progress", true.into()),
        ("progress", true.into()),
        ("timeout", random.random_range(0..5_u64).into()),
        (
            "x_durable",
            pick(random, &["fuzz.queue", "fuzz.other"]).into(),
        ),
        ("ppt_scheme", "x_fuzz".into()),
        ("_properties", Dict::new().with("a", "b").into()),
    ] {
        if random.random_bool(0.15) {
            options.insert(key, value);
        }
    }
    options
}

/// One to four mutations, mostly behind what lets a client in: else it has little to break.
pub(crate) fn mutate(random: &mut StdRng, parts: &mut Vec<Vec<u8>>) {
    for _ in 0..random.random_range(1..5) {
        let from = if random.random_bool(0.9) { 3 } else { 0 };
        let from = from.min(parts.len() - 1);
        let at = random.random_range(from..parts.len());
        let other = pick(random, parts);
        let Some(part) = parts.get_mut(at) else {
            continue;
        };
        match random.random_range(0..8) {
            0 => mutate_byte(random, part, |byte, random| {
                *byte ^= 1 << random.random_range(0..8);
            }),
            1 => mutate_byte(random, part, |byte, random| {
                *byte = pick(random, &[0, 1, 0x7f, 0x80, 0xdd, 0xff]);
            }),
            2 => part.truncate(random.random_range(0..=part.len())),
            3 => part.extend((0..random.random_range(1..20)).map(|_| random.random::<u8>())),
            4 => part.extend(other),
            5 => drop(parts.remove(at)),
            6 => parts.insert(at, other),
            // A length that claims more, or levels without end.
            _ => {
                let keeps = random.random_range(0..=part.len());
                part.truncate(keeps);
                let claims: [&[u8]; 5] = [
                    b"\xdd\xff\xff\xff\xff",
                    b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff",
                    b"[$U#M\xff\xff\xff\xff\xff\xff\xff\x7f",
                    &[0x81; 300],
                    &[b'['; 300],
                ];
                part.extend(pick(random, &claims));
            }
        }
        if parts.len() < 2 {
            return;
        }
    }
}

fn mutate_byte(random: &mut StdRng, part: &mut [u8], change: impl FnOnce(&mut u8, &mut StdRng)) {
    let at = random.random_range(0..part.len().max(1));
    if let Some(byte) = part.get_mut(at) {
        change(byte, random);
    }
}

pub(crate) fn pick<T: Clone>(random: &mut StdRng, of: &[T]) -> T {
    let at = random.random_range(0..of.len());
    of.get(at).expect("one of them").clone()
}
