//! Fuzz over live sockets: streams of frames that a client of each role may send, mutated by a seed, against the running program. It
//! stays alive, says only what an SP client can hear, logs no panic (`server.rs` looks), keeps no connection and no memory, and a
//! neighbour does not notice anything.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::scope;

use bytes::{Buf, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use restante_proto::sp::Role;

use super::client::Client;
use crate::peer::take_frame;
use crate::server::Server;
use crate::walk::seed;
use crate::wamp::fuzz::{mutate, pick};
use crate::{wait, wire};

/// Streams that are sent; `RESTANTE_TEST_FUZZ_CASES` may say otherwise.
const CASES: u64 = 2000;
const THREADS: u64 = 8;
const GROWTH_KIB_MAX: u64 = 64 * 1024;
/// Of a frame that goes on with a long message.
const CONTINUED: u8 = 0;
/// Headers, good ones first: an id, a device's word and an id, a hop count; and what is none.
const HEADERS: [&[u8]; 8] = [
    &[0x80, 0, 0, 1],
    &[0, 0, 0, 5, 0x80, 0, 0, 2],
    &[0, 0, 0, 1],
    &[],
    &[0x80, 0],
    &[0; 36],
    &[0, 0, 0, 255],
    &[0xff; 4],
];

#[test]
fn mutated_streams_of_frames_harm_nobody() {
    let seed = seed();
    let cases = std::env::var("RESTANTE_TEST_FUZZ_CASES").ok();
    let cases = cases.and_then(|it| it.parse().ok()).unwrap_or(CASES);
    // Lines of every connection are not wanted, and it is not crashed here.
    let server = Server::with(&[
        ("RESTANTE_LOG_LEVEL", "warn"),
        ("RESTANTE_LIMITS_AUTH_ATTEMPTS", "10000"),
        ("RESTANTE_STORAGE_SYNC", "never"),
    ]);
    let (at, token) = (server.clients(), server.token());
    let before = server.resident_kib();
    let next = AtomicU64::new(0);
    let (let_in, frames) = (AtomicU64::new(0), AtomicU64::new(0));
    scope(|scope| {
        let work = || {
            loop {
                let case = next.fetch_add(1, Ordering::Relaxed);
                if case >= cases {
                    return;
                }
                let (is_in, n_frames) = run(at, &token, seed, case);
                let_in.fetch_add(u64::from(is_in), Ordering::Relaxed);
                frames.fetch_add(n_frames, Ordering::Relaxed);
            }
        };
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let mut push = Client::new(&server, Role::Push, "neighbour");
        let mut pull = Client::new(&server, Role::Pull, "neighbour");
        let mut n = 0;
        while workers.iter().any(|worker| !worker.is_finished()) {
            push.send(&[], &format!("{n}"));
            assert_eq!(pull.body(), format!("{n}"));
            n += 1;
        }
    });
    println!("{cases} streams, {let_in:?} of them let in, {frames:?} frames came back");
    // Else nothing was tried but the door.
    assert!(let_in.load(Ordering::Relaxed) > cases / 4);
    assert!(frames.load(Ordering::Relaxed) > cases / 20);
    wait::until("no connection is left", || {
        (server.metric("restante_connections", "") == 0.0).then_some(())
    });
    assert_eq!(server.metric("restante_sp_connections", ""), 0.0);
    let after = server.resident_kib();
    assert!(
        after < before + GROWTH_KIB_MAX,
        "seed {seed}: from {before} to {after} KiB"
    );
}

/// One stream: whether it was let in, and how many frames came behind that.
fn run(at: SocketAddr, token: &str, seed: u64, case: u64) -> (bool, u64) {
    let mut random = StdRng::seed_from_u64(seed ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut parts = stream(&mut random, token, case);
    // A quarter is as it should be.
    if random.random_bool(0.75) {
        mutate(&mut random, &mut parts);
    }
    let mut stream = TcpStream::connect(at).expect("a connection");
    let deadline = Some(wait::deadline());
    stream.set_read_timeout(deadline).expect("a timeout");
    // It may be closed before all of it is taken.
    let written = stream.write_all(&parts.concat());
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
    count(answer, case)
}

/// What came back: only what SP's clients can hear.
fn count(mut answer: BytesMut, case: u64) -> (bool, u64) {
    if !answer.starts_with(b"HTTP/1.1 101") {
        return (false, 0);
    }
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
    answer.advance(end.expect("the head's end") + 4);
    let mut n = 0;
    while let Some((opcode, _)) = take_frame(&mut answer) {
        let is_known = [CONTINUED, wire::BINARY, wire::CLOSE, wire::PONG].contains(&opcode);
        assert!(is_known, "case {case}: a frame of opcode {opcode}");
        n += 1;
    }
    (true, n)
}

/// An upgrade, and frames that its role may send.
fn stream(random: &mut StdRng, token: &str, case: u64) -> Vec<Vec<u8>> {
    let role = pick(random, &Role::ALL);
    let address = match role {
        // A third one would have to wait.
        Role::Pair | Role::Pair1 => format!("pair/{case}"),
        _ => format!("fuzz/{}", random.random_range(0..4)),
    };
    let query = match role {
        Role::Pull | Role::Rep => pick(random, &["", "?credit=1", "?credit=1024"]),
        Role::Sub => pick(random, &["", "?prefix=a", "?durable=d&credit=2"]),
        Role::Req => pick(random, &["", "?durable=1"]),
        _ => "",
    };
    let upgrade = format!(
        "GET /sp/{address}{query} HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
        role.token()
    );
    let mut parts = vec![upgrade.into_bytes()];
    parts.extend((0..random.random_range(2..12)).map(|_| frame(random)));
    parts
}

fn frame(random: &mut StdRng) -> Vec<u8> {
    let header = pick(random, &HEADERS);
    let length = pick(random, &[0, 1, 7, 124, 125, 126, 300, 70_000]);
    let message = [header, &vec![b'a'; length][..]].concat();
    match random.random_range(0..8) {
        0 => wire::message(wire::PING, b"p"),
        1 => wire::message(wire::TEXT, b"text"),
        2 => wire::message(wire::CLOSE, &[0x03, 0xe8]),
        3 => {
            let (one, rest) = message.split_at(message.len() / 3);
            wire::fragments(wire::BINARY, &[one, b"", rest])
        }
        4 => wire::message(wire::PONG, b"unasked"),
        _ => wire::message(wire::BINARY, &message),
    }
}
