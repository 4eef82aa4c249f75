//! Whatever a peer sends: the right answer, a counter that moves, a line in the log, no panic, no memory, and no harm to
//! others.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use crate::recovery::{bodies, take_all};
use crate::script::{Script, connect, upgrade_request};
use crate::server::Server;
use crate::wait;
use crate::wire::{BINARY, CLOSE, PING, TEXT, claim, fragments, frame, leb128, message, unmasked};

/// How often the whole table is gone through while memory is watched.
const ROUNDS: usize = 20;
/// Rounds before that, in which buffers and tables grow to their size.
const WARM_UP: usize = 4;
const GROWTH_KIB_MAX: u64 = 8 * 1024;

/// When the bytes come.
enum When {
    /// Instead of an HTTP request.
    Connected,
    /// Instead of `open`.
    Upgraded,
    /// In a session that has sent one message (its seq is 1).
    Opened,
}

/// What is to come of it.
enum Then {
    /// An HTTP answer of that status, and the end.
    Status(u16, &'static str),
    /// `error` with the code, and a close.
    Error(&'static str, u16),
    /// The peer's close is answered.
    Closed,
    /// The frame with seq 2 is refused with the code, and the session goes on.
    Refused(&'static str),
    /// Nothing is wrong: the session goes on, and frames up to this seq are confirmed.
    Fine(u64),
}

struct Case {
    name: &'static str,
    when: When,
    bytes: Vec<u8>,
    then: Then,
}

fn at(when: When, name: &'static str, bytes: impl Into<Vec<u8>>, then: Then) -> Case {
    Case {
        name,
        when,
        bytes: bytes.into(),
        then,
    }
}

fn http(
    name: &'static str,
    request: impl Into<Vec<u8>>,
    status: u16,
    reason: &'static str,
) -> Case {
    at(When::Connected, name, request, Then::Status(status, reason))
}

fn first(name: &'static str, text: &str) -> Case {
    let then = Then::Error("protocol", 1002);
    at(When::Upgraded, name, message(TEXT, text.as_bytes()), then)
}

/// Bytes of WebSocket frames, and the fatal error they lead to.
fn fatal(name: &'static str, bytes: Vec<u8>, code: &'static str, close: u16) -> Case {
    at(When::Opened, name, bytes, Then::Error(code, close))
}

fn bad_text(name: &'static str, text: &str) -> Case {
    fatal(name, message(TEXT, text.as_bytes()), "protocol", 1002)
}

fn bad_binary(name: &'static str, bytes: &[u8]) -> Case {
    fatal(name, message(BINARY, bytes), "protocol", 1002)
}

fn too_big(name: &'static str, text: &str) -> Case {
    fatal(name, message(TEXT, text.as_bytes()), "too-big", 1009)
}

fn refused(name: &'static str, text: &str, code: &'static str) -> Case {
    let bytes = message(TEXT, text.as_bytes());
    at(When::Opened, name, bytes, Then::Refused(code))
}

fn fine(name: &'static str, bytes: Vec<u8>, upto: u64) -> Case {
    at(When::Opened, name, bytes, Then::Fine(upto))
}

fn table() -> Vec<Case> {
    let mut cases = handshakes();
    cases.extend(first_frames());
    cases.extend(web_socket_frames());
    cases.extend(text_frames());
    cases.extend(binary_frames());
    cases.extend(frames_out_of_place());
    cases.extend(refusals());
    cases
}

fn handshakes() -> Vec<Case> {
    let good = upgrade_request("/mbws", "");
    let without = |part: &str, instead: &str| good.replace(part, instead);
    let token = "sec-websocket-protocol: MBWS.huawei.com\r\n";
    vec![
        http("no subprotocol", without(token, ""), 400, "no-subprotocol"),
        http(
            "another subprotocol",
            without("MBWS.huawei.com", "mqtt"),
            400,
            "no-subprotocol",
        ),
        http(
            "the subprotocol in small letters",
            without("MBWS.huawei.com", "mbws.huawei.com"),
            400,
            "no-subprotocol",
        ),
        http(
            "the sister subprotocol",
            without("MBWS.huawei.com", "MBLWS.huawei.com"),
            400,
            "unknown-subprotocol",
        ),
        http(
            "no upgrade",
            without("upgrade: websocket\r\n", ""),
            426,
            "not-an-upgrade",
        ),
        http("a POST", without("GET", "POST"), 426, "not-an-upgrade"),
        http(
            "another version",
            without("version: 13", "version: 8"),
            426,
            "bad-version",
        ),
        http(
            "no key",
            without("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
            400,
            "bad-key",
        ),
        http(
            "a short key",
            without("dGhlIHNhbXBsZSBub25jZQ==", "dGhl"),
            400,
            "bad-key",
        ),
        http(
            "another path",
            without("/mbws", "/nowhere"),
            404,
            "no-such-path",
        ),
        http(
            "a path too deep",
            without("/mbws", "/mbws/default/x"),
            404,
            "no-such-path",
        ),
        http(
            "another realm",
            without("/mbws", "/mbws/nowhere"),
            404,
            "no-such-realm",
        ),
        http(
            "a stranger's page",
            without("\r\n\r\n", "\r\norigin: https://evil.example\r\n\r\n"),
            403,
            "bad-origin",
        ),
        http(
            "wrong credentials",
            without("\r\n\r\n", "\r\nauthorization: Bearer rst_wrong\r\n\r\n"),
            401,
            "unauthorized",
        ),
        http(
            "broken credentials",
            without("\r\n\r\n", "\r\nauthorization: Basic %%%\r\n\r\n"),
            401,
            "unauthorized",
        ),
        http("garbage", [0xff_u8; 64].to_vec(), 400, "bad-http"),
        http(
            "TLS",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            400,
            "bad-http",
        ),
        http(
            "AMQP",
            b"AMQP\x00\x00\x09\x01\r\n\r\n".to_vec(),
            400,
            "bad-http",
        ),
        http(
            "a head of 1 MiB",
            without(
                "\r\n\r\n",
                &format!("\r\nx: {}\r\n\r\n", "y".repeat(1 << 20)),
            ),
            431,
            "bad-http",
        ),
        http(
            "a thousand headers",
            without("\r\n\r\n", &format!("\r\n{}\r\n", "x: y\r\n".repeat(1000))),
            431,
            "bad-http",
        ),
    ]
}

fn first_frames() -> Vec<Case> {
    vec![
        first("no open", "send\nseq:1\naddress:q\n\nx"),
        first("an unknown first frame", "hello\n\n"),
        first("an empty message", ""),
        first("open without a version", "open\n\n"),
        first("another version of ours", "open\nversion:2\n\n"),
        first(
            "a session that is no UUID",
            "open\nversion:1\nsession:one\n\n",
        ),
        first(
            "the session of zeros",
            "open\nversion:1\nsession:00000000-0000-0000-0000-000000000000\n\n",
        ),
        first("half of the credentials", "open\nversion:1\nuser:ada\n\n"),
        first("a negative expiry", "open\nversion:1\nexpiry:-1\n\n"),
        first(
            "an expiry past 2^64",
            "open\nversion:1\nexpiry:18446744073709551616\n\n",
        ),
        at(
            When::Upgraded,
            "credentials of nobody",
            message(TEXT, b"open\nversion:1\ntoken:rst_wrong\n\n"),
            Then::Error("unauthorized", 4401),
        ),
        at(
            When::Upgraded,
            "a first frame that is not UTF-8",
            message(TEXT, b"open\nname:\xff\n\n"),
            Then::Error("not-utf8", 1007),
        ),
        at(
            When::Upgraded,
            "a close at once",
            message(CLOSE, &1000_u16.to_be_bytes()),
            Then::Closed,
        ),
    ]
}

fn web_socket_frames() -> Vec<Case> {
    let send = b"send\nseq:2\naddress:bad/kept\n\nin parts";
    let (a, rest) = send.split_at(7);
    let (b, c) = rest.split_at(11);
    let fin = 0x80;
    vec![
        fatal(
            "text that is not UTF-8",
            message(TEXT, b"send\nseq:2\naddress:q\n\n\xc3\x28"),
            "not-utf8",
            1007,
        ),
        fatal(
            "text cut within a character",
            message(TEXT, b"send\nseq:2\naddress:q\n\n\xe2\x82"),
            "not-utf8",
            1007,
        ),
        fatal(
            "an unmasked frame",
            unmasked(TEXT, b"close\n\n"),
            "protocol",
            1002,
        ),
        fatal(
            "a frame that claims 2^62 bytes",
            claim(BINARY, 1 << 62),
            "too-big",
            1009,
        ),
        fatal(
            "a frame that claims 2^64-1 bytes",
            claim(BINARY, u64::MAX),
            "too-big",
            1009,
        ),
        fatal(
            "a frame one byte too long",
            message(BINARY, &vec![0; (1 << 20) + 1]),
            "too-big",
            1009,
        ),
        fatal(
            "fragments too long together",
            fragments(BINARY, &[&[0; 400_000], &[0; 400_000], &[0; 400_000]]),
            "too-big",
            1009,
        ),
        fatal(
            "a reserved bit",
            frame(fin | 0x40 | TEXT, b"close\n\n"),
            "protocol",
            1002,
        ),
        fatal("a reserved opcode", message(3, b"x"), "protocol", 1002),
        fatal(
            "a reserved control opcode",
            message(0xb, b"x"),
            "protocol",
            1002,
        ),
        fatal(
            "a ping of 126 bytes",
            message(PING, &[0; 126]),
            "protocol",
            1002,
        ),
        fatal("a ping in parts", frame(PING, b"x"), "protocol", 1002),
        fatal(
            "a continuation of nothing",
            message(0, b"x"),
            "protocol",
            1002,
        ),
        fatal(
            "a message within a message",
            [frame(TEXT, b"send"), message(TEXT, b"x")].concat(),
            "protocol",
            1002,
        ),
        fatal(
            "a close of one byte",
            message(CLOSE, b"x"),
            "protocol",
            1002,
        ),
        fine(
            "a message in parts with pings between",
            fragments(TEXT, &[a, b, c]),
            2,
        ),
        fine("an empty last part", fragments(TEXT, &[send, b""]), 2),
        at(
            When::Opened,
            "a WebSocket's close",
            message(CLOSE, &1000_u16.to_be_bytes()),
            Then::Closed,
        ),
    ]
}

fn text_frames() -> Vec<Case> {
    let properties: String = (0..65).map(|n| format!("property.p{n}:x\n")).collect();
    let ranges: Vec<String> = (0..1025).map(|n| (n * 2).to_string()).collect();
    vec![
        bad_text("an unknown verb", "shout\nseq:2\n\n"),
        bad_text("a verb in capitals", "SEND\nseq:2\naddress:q\n\n"),
        bad_text("a header that does not end", "send\nseq:2\naddress:q"),
        bad_text("a header that ends within a line", "send\nseq:2\naddress"),
        bad_text("a line without a colon", "send\nseq:2\naddress q\n\n"),
        bad_text("CR LF", "send\r\nseq:2\r\naddress:q\r\n\r\n"),
        bad_text("a field twice", "send\nseq:2\nseq:2\naddress:q\n\n"),
        bad_text(
            "a property twice",
            "send\nseq:2\naddress:q\nproperty.a:1\nproperty.a:2\n\n",
        ),
        bad_text(
            "a field twice that the verb does not have",
            "send\nseq:2\naddress:q\nupto:1\nupto:1\n\n",
        ),
        bad_text("a field missing", "send\nseq:2\n\n"),
        bad_text("a number with a sign", "send\nseq:+2\naddress:q\n\n"),
        bad_text("a number with a blank", "send\nseq: 2\naddress:q\n\n"),
        bad_text(
            "a number past 2^64",
            "send\nseq:18446744073709551616\naddress:q\n\n",
        ),
        bad_text(
            "a priority of 10",
            "send\nseq:2\naddress:q\npriority:10\n\n",
        ),
        bad_text(
            "a flag of another word",
            "send\nseq:2\naddress:q\ntransient:yes\n\n",
        ),
        bad_text(
            "a mode of another word",
            "consume\nseq:2\nconsumer:c\naddress:q\nmode:peek\n\n",
        ),
        bad_text("another escape", "send\nseq:2\naddress:q\nkey:a\\x\n\n"),
        bad_text(
            "base64 that is none",
            "send\nseq:2\naddress:q\nbody-encoding:base64\n\n***",
        ),
        bad_text(
            "another body-encoding",
            "send\nseq:2\naddress:q\nbody-encoding:hex\n\nff",
        ),
        bad_text(
            "a body where none belongs",
            "settle\nseq:2\nconsumer:c\n\nbody",
        ),
        bad_text(
            "a range backwards",
            "settle\nseq:2\nconsumer:c\naccepted:9-1\n\n",
        ),
        bad_text(
            "a range without an end",
            "settle\nseq:2\nconsumer:c\naccepted:9-\n\n",
        ),
        bad_text("seq 0", "send\nseq:0\naddress:q\n\n"),
        too_big(
            "a header of 1 MiB",
            &format!("send\nseq:2\naddress:q\nkey:{}\n\n", "k".repeat(1_000_000)),
        ),
        too_big(
            "a header just too long",
            &format!("send\nseq:2\naddress:{}\n\n", "k".repeat(64 * 1024)),
        ),
        too_big(
            "65 properties",
            &format!("send\nseq:2\naddress:q\n{properties}\n"),
        ),
        too_big(
            "1025 ranges",
            &format!(
                "settle\nseq:2\nconsumer:c\naccepted:{}\n\n",
                ranges.join(" ")
            ),
        ),
        too_big(
            "an address of a million segments",
            &format!("send\nseq:2\naddress:{}\n\n", vec!["a"; 500_000].join("/")),
        ),
    ]
}

fn binary_frames() -> Vec<Case> {
    let huge = leb128(1 << 60);
    // Verb 4, `send`, whose length is claimed to be 2^60.
    let inner = [&[0x22][..], &huge].concat();
    let with_length = |header: &[u8]| [&[header.len() as u8][..], header].concat();
    vec![
        bad_binary("an empty binary message", b""),
        fatal(
            "a header that claims 2^60 bytes",
            message(BINARY, &huge),
            "too-big",
            1009,
        ),
        fatal(
            "a header that claims 2^63 bytes",
            message(BINARY, &leb128(1 << 63)),
            "too-big",
            1009,
        ),
        bad_binary("a header cut short", &[100, 0x22, 0x03, 0x08, 0x02]),
        bad_binary("a length cut short", &[0x80]),
        bad_binary("a length of eleven bytes", &[0x80; 11]),
        bad_binary("a length longer than it needs", &[0x80, 0x00]),
        bad_binary("an empty header", &[0]),
        bad_binary("a verb that claims 2^60 bytes", &with_length(&inner)),
        bad_binary(
            "an unknown verb's number",
            &with_length(&[0xfa, 0x07, 0x00]),
        ),
        bad_binary("two verbs", &with_length(&[0x62, 0x00, 0x62, 0x00])),
        bad_binary("a group", &with_length(&[0x22, 0x01, 0x0b])),
        bad_binary(
            "a known field of the wrong type",
            &with_length(&[0x22, 0x03, 0x0a, 0x01, 0x02]),
        ),
        bad_binary(
            "a field twice, in binary",
            &with_length(&[0x22, 0x04, 0x08, 0x02, 0x08, 0x02]),
        ),
        fatal(
            "a text body that is not UTF-8",
            message(
                BINARY,
                &[
                    &with_length(&[0x22, 0x07, 0x08, 0x02, 0x1a, 0x01, b'q', 0x70, 0x01])[..],
                    b"\xff",
                ]
                .concat(),
            ),
            "not-utf8",
            1007,
        ),
    ]
}

fn frames_out_of_place() -> Vec<Case> {
    let replay = message(TEXT, b"send\nseq:1\naddress:bad/kept\n\nnot again");
    let next = message(TEXT, b"send\nseq:2\naddress:bad/kept\n\nin parts");
    vec![
        fatal(
            "a gap",
            message(TEXT, b"send\nseq:3\naddress:q\n\n"),
            "gap",
            4409,
        ),
        fatal(
            "the largest seq",
            message(TEXT, b"send\nseq:18446744073709551615\naddress:q\n\n"),
            "gap",
            4409,
        ),
        fine(
            "replays",
            [&replay[..], &replay, &next, &replay, &next].concat(),
            2,
        ),
        bad_text("a second open", "open\nversion:1\n\n"),
        bad_text(
            "opened from a client",
            "opened\nsession:x\nexpiry:0\nheartbeat:1\nresumed:false\nconfirmed:0\nwindow:1\nmax-frame:1\nbroker:b\nserver:s\n\n",
        ),
        bad_text("confirm from a client", "confirm\nupto:1\n\n"),
        bad_text("error from a client", "error\ncode:internal\nreason:x\n\n"),
        bad_text(
            "deliver from a client",
            "deliver\nconsumer:c\naddress:q\noffset:1\nattempt:1\ntimestamp:1\n\nx",
        ),
        bad_text("cancel without a seq", "cancel\nconsumer:c\n\n"),
        fine(
            "credit and hold for nobody",
            [
                message(TEXT, b"credit\nconsumer:x\nlimit:18446744073709551615\n\n"),
                message(
                    TEXT,
                    b"hold\nconsumer:x\noffsets:1-18446744073709551615\n\n",
                ),
                next,
            ]
            .concat(),
            2,
        ),
    ]
}

fn refusals() -> Vec<Case> {
    let send = |address: &str| format!("send\nseq:2\naddress:{address}\n\nx");
    let deep = vec!["a"; 20_000].join("/");
    let mut cases = vec![
        refused("an address of 20,000 segments", &send(&deep), "bad-address"),
        refused(
            "an address of 65 segments",
            &send(&vec!["a"; 65].join("/")),
            "bad-address",
        ),
        refused(
            "an address of 1025 bytes",
            &send(&"a".repeat(1025)),
            "bad-address",
        ),
        refused(
            "a filter of 20,000 segments",
            &format!("consume\nseq:2\nconsumer:c\naddress:{deep}\nmode:topic\n\n"),
            "bad-filter",
        ),
        refused(
            "a filter with # inside",
            "consume\nseq:2\nconsumer:c\naddress:a/#/b\nmode:topic\n\n",
            "bad-filter",
        ),
        refused(
            "a settle for nobody",
            "settle\nseq:2\nconsumer:c\naccepted:1\n\n",
            "no-such-consumer",
        ),
        refused(
            "a cancel of nobody",
            "cancel\nseq:2\nconsumer:c\n\n",
            "no-such-consumer",
        ),
        refused(
            "a time to live of nothing",
            "send\nseq:2\naddress:q\nttl:0\n\nx",
            "expired",
        ),
        refused(
            "somebody's temporary queue",
            &send("~0192f0c1-7b5e-7cc3-98c4-dc0c0c07398f/r"),
            "no-route",
        ),
    ];
    for bad in [
        "", "/a", "a/", "a//b", "a/+", "#", "%zz", "%2f", "%41", "\\n",
    ] {
        cases.push(refused("a bad address", &send(bad), "bad-address"));
    }
    cases
}

#[test]
fn bad_input_is_answered_counted_and_logged_and_harms_nobody() {
    let server = Server::with(&[
        ("RESTANTE_LIMITS_AUTH_ATTEMPTS", "10000"),
        ("RESTANTE_LOG_LEVEL", "info,restante::front=debug"),
    ]);
    let table = table();
    let neighbour = Neighbour::start(&server);
    for case in &table {
        let before = Counts::of(&server, case);
        check(&server, case);
        wait::until("it is counted", || {
            before.has_moved(&server, case).then_some(())
        });
    }
    for _ in 0..WARM_UP {
        table.iter().for_each(|case| check(&server, case));
        neighbour.goes_on();
    }
    let before = server.resident_kib();
    for _ in 0..ROUNDS {
        table.iter().for_each(|case| check(&server, case));
        neighbour.goes_on();
    }
    let after = server.resident_kib();
    println!(
        "{} cases; resident: {before} KiB, then {after} KiB",
        table.len()
    );
    assert!(
        after < before + GROWTH_KIB_MAX,
        "from {before} to {after} KiB"
    );
    neighbour.stop();
    wait::until("no connection is left", || {
        (server.metric("restante_connections", "") == 0.0).then_some(())
    });
    let kept = bodies(&take_all(&server, "bad/kept"));
    assert!(
        kept.iter().all(|body| body != "not again"),
        "a replay was stored"
    );
    assert!(!server.log().contains("rst_wrong"), "a secret was logged");
}

fn check(server: &Server, case: &Case) {
    let name = case.name;
    if let Then::Status(status, _) = case.then {
        return check_status(server, name, &case.bytes, status);
    }
    let token = server.token();
    let mut script = match case.when {
        When::Opened => {
            let mut script = Script::open_as(server, &token, "");
            script.send("bad/kept", "first");
            script
        }
        When::Upgraded | When::Connected => Script::dial(server, ""),
    };
    // Refused half-way: it may be closed before all of it is taken.
    script.bytes(&case.bytes).ok();
    match case.then {
        Then::Status(..) => {}
        Then::Error(code, close) => {
            let end = script.end();
            let reason = script.error_reason().to_owned();
            assert_eq!(
                (end.code.as_str(), end.close),
                (code, close),
                "{name}: {reason}"
            );
            assert!(!reason.is_empty() && reason.len() < 300, "{name}: {reason}");
        }
        Then::Closed => {
            let end = script.end();
            assert_eq!((end.code.as_str(), end.close), ("", 1000), "{name}");
        }
        Then::Refused(code) => {
            assert_eq!(script.outcome(2).as_deref(), Some(code), "{name}");
            script.close();
        }
        Then::Fine(upto) => {
            script.confirmed_up_to(upto);
            assert!(script.failed.is_empty(), "{name}: {:?}", script.failed);
            script.close();
        }
    }
}

fn check_status(server: &Server, name: &str, request: &[u8], status: u16) {
    let mut stream = connect(server.clients());
    // Refused half-way: it may be closed before all of it is taken.
    stream.write_all(request).ok();
    let answer = read_all(&mut stream);
    let wanted = format!("HTTP/1.1 {status} ");
    assert!(
        answer.starts_with(&wanted),
        "{name}: wanted {status}, got {answer:?}"
    );
}

/// What comes until the end, be it a reset.
fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(n) = stream.read(&mut buffer) {
        if n == 0 {
            break;
        }
        bytes.extend(buffer.iter().take(n));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Where a case leaves its trace.
struct Counts {
    counter: f64,
    log_bytes: usize,
}

impl Counts {
    fn of(server: &Server, case: &Case) -> Counts {
        let (name, label) = match case.then {
            Then::Status(_, reason) => ("restante_handshakes_refused_total", reason),
            Then::Error(code, _) => ("restante_mbws_errors_total", code),
            Then::Refused(code) => ("restante_refusals_total", code),
            Then::Closed => ("restante_connections_ended_total", "peer-closed"),
            Then::Fine(_) => ("restante_connections_ended_total", "closed"),
        };
        Counts {
            counter: server.metric(name, &format!("\"{label}\"")),
            log_bytes: server.log().len(),
        }
    }

    fn has_moved(&self, server: &Server, case: &Case) -> bool {
        let now = Counts::of(server, case);
        now.counter > self.counter && now.log_bytes > self.log_bytes
    }
}

/// A client in good order, which must not notice anything.
struct Neighbour {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Neighbour {
    fn start(server: &Server) -> Neighbour {
        let mut script = Script::open(server, "");
        script.consume("c", "neighbour", "limit:1000000000\n");
        script.all_confirmed();
        let (stop, received) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopping, counting) = (Arc::clone(&stop), Arc::clone(&received));
        let thread = spawn(move || {
            let mut number = 0_u64;
            while !stopping.load(Ordering::Relaxed) {
                number += 1;
                script.send("neighbour", &number.to_string());
                let got = script.delivery();
                assert_eq!(got.body, number.to_string());
                script.settle("c", &format!("accepted:{}", got.offset()));
                script.all_confirmed();
                counting.store(number, Ordering::Relaxed);
            }
            script.close();
        });
        Neighbour {
            stop,
            received,
            thread,
        }
    }

    /// It sends and receives, now.
    fn goes_on(&self) {
        let before = self.received.load(Ordering::Relaxed);
        wait::until("the neighbour goes on", || {
            assert!(!self.thread.is_finished(), "the neighbour was disturbed");
            (self.received.load(Ordering::Relaxed) > before + 1).then_some(())
        });
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the neighbour was not disturbed");
    }
}

#[test]
fn who_is_slow_to_say_who_it_is_is_cut() {
    let server = Server::with(&[("RESTANTE_LIMITS_HANDSHAKE_TIME", "500ms")]);
    let neighbour = Neighbour::start(&server);
    let begun = Instant::now();
    let silent = spawn_slow(&server, b"".to_vec());
    let request = upgrade_request("/mbws", "");
    let drips = spawn_slow(&server, request.clone().into_bytes());
    let mut half = Script::dial(&server, "");
    half.bytes(b"\x81").ok();
    let mut upgraded = Script::dial(&server, "");
    let mut pinging = Script::dial(&server, "");
    pinging.bytes(&message(PING, b"here I am")).ok();
    for script in [&mut upgraded, &mut half, &mut pinging] {
        let end = script.end();
        assert_eq!((end.code.as_str(), end.close), ("protocol", 1002));
    }
    for slow in [silent, drips] {
        let answer = slow.join().expect("it only waits");
        assert!(!answer.starts_with("HTTP/1.1 101"), "{answer}");
    }
    // Well before the 10 s of the default, and not before its time.
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(500), "{took:?}");
    let too_long = Duration::from_secs(5).max(wait::deadline() / 4);
    assert!(took < too_long, "{took:?}");
    wait::until("it is counted", || {
        let refused = server.metric("restante_handshakes_refused_total", "too-slow");
        let errors = server.metric("restante_mbws_errors_total", "protocol");
        (refused >= 2.0 && errors >= 3.0).then_some(())
    });
    neighbour.goes_on();
    neighbour.stop();
}

/// Sends a byte now and then until it is cut; gives what it was answered.
fn spawn_slow(server: &Server, bytes: Vec<u8>) -> JoinHandle<String> {
    let mut stream = connect(server.clients());
    spawn(move || {
        let mut bytes = bytes.iter();
        stream.set_nonblocking(true).expect("non-blocking");
        let mut answer = Vec::new();
        wait::until("it is cut", || {
            let mut buffer = [0; 1024];
            match stream.read(&mut buffer) {
                Ok(0) => return Some(()),
                Ok(n) => answer.extend(buffer.iter().take(n)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Some(()),
            }
            // About 200 bytes a second.
            if let Some(byte) = bytes.next() {
                stream.write_all(&[*byte]).ok();
            }
            None
        });
        String::from_utf8_lossy(&answer).into_owned()
    })
}

#[test]
fn ranges_that_never_were_are_no_such_delivery() {
    let server = Server::start();
    let mut client = Script::open(&server, "expiry:60\n");
    client.consume("c", "q", "limit:10\n");
    client.send("q", "one");
    let offset = client.delivery().offset();
    for ranges in [
        "18446744073709551615",
        "1000-2000",
        "0-18446744073709551615",
        "5 7 9-12",
    ] {
        for outcome in ["accepted", "released", "rejected"] {
            let never = ranges.replace("0-1844", &format!("{}-1844", offset + 1));
            client.settle("c", &format!("{outcome}:{never}"));
            assert_eq!(client.refused(), "no-such-delivery", "{outcome}:{never}");
        }
    }
    // A wide range is applied where there is something in it, and told all the same.
    client.settle("c", "accepted:0-18446744073709551615");
    assert_eq!(client.refused(), "no-such-delivery");
    assert!(take_all(&server, "q").is_empty());
}
