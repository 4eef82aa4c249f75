//! SP's door: what is let in, and the loop of a connection, against a broker that does as it is told.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::Message as WsMessage;

use super::super::broker::{Asked, Inner};
use super::super::server::{Server, answer, within};
use crate::broker::{Call, Delivery, End, Event, Protocol};
use crate::front::socket::Socket;
use crate::message::Message;
use crate::refusal::Refusal;

/// Masks with zeros, so that bytes stay readable.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[first, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

fn head(token: &str, target: &str, more: &str) -> String {
    let offer = match token {
        "" => String::new(),
        token => format!("Sec-WebSocket-Protocol: {token}\r\n"),
    };
    format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{offer}{more}\r\n"
    )
}

/// A client that is attached, its first call confirmed if it has one.
async fn attach(server: &mut Server, token: &str, target: &str) -> (TcpStream, Inner) {
    let mut stream = server.connect().await;
    let head = head(token, target, "");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = within(answer(&mut stream)).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(answer.len() <= 511, "libnanomsg cannot read it: {answer}");
    let inner = server.attached().await;
    assert_eq!(inner.wish.protocol, Protocol::Sp);
    (stream, inner)
}

async fn puller(server: &mut Server) -> (TcpStream, Inner) {
    let (stream, mut inner) = attach(server, "push.sp.nanomsg.org", "/sp/q").await;
    let begun = inner.expect_call(1).await;
    assert!(matches!(begun, Call::Consume(_)));
    inner.confirms(1);
    (stream, inner)
}

fn delivery(offset: u64, body: Vec<u8>) -> Event {
    let message = Message {
        address: "q".to_owned(),
        body: body.into(),
        ..Message::default()
    };
    Event::Delivery(Box::new(Delivery {
        consumer: "sp".into(),
        offset,
        attempt: 1,
        barred: false,
        message: Arc::new(message.into()),
    }))
}

/// What is settled next.
async fn settled(inner: &mut Inner) -> Vec<(u64, u64)> {
    loop {
        match inner.next().await {
            Some(Asked::Call(_, Call::Settle(settle))) => return settle.accepted.iter().collect(),
            Some(Asked::Credit(..)) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    within(stream.read_to_end(&mut rest)).await.unwrap();
    rest
}

#[tokio::test]
async fn a_token_is_echoed_as_the_client_spells_it() {
    let server = Server::start().await;
    for (offered, echoed) in [
        ("pull.sp.nanomsg.org", "pull.sp.nanomsg.org"),
        ("PULL.sp.nanomsg.org", "PULL.sp.nanomsg.org"),
        ("mqtt, pair1.sp.nanomsg.org", "pair1.sp.nanomsg.org"),
    ] {
        let answer = server.request(&head(offered, "/sp/a/b", "")).await;
        let mut wanted = String::new();
        write!(wanted, "\r\nsec-websocket-protocol: {echoed}\r\n").unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains(&wanted), "{answer}");
        assert!(answer.contains("\r\nupgrade: websocket\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn what_is_not_let_in_is_told_why() {
    let server = Server::start().await;
    let push = "pull.sp.nanomsg.org";
    let bob = "Authorization: Bearer nobody\r\n";
    for (token, target, more, status, says) in [
        ("", "/sp/a", "", 400, "must offer one of SP's"),
        ("mqtt", "/sp/a", "", 400, "must offer one of SP's"),
        (push, "/sp/", "", 400, "there is no address"),
        (push, "/sp/a//b", "", 400, "empty segment"),
        (push, "/sp/a%zz", "", 400, "needs two hex digits"),
        (push, "/sp/a?x=1", "", 400, "there is no option"),
        (
            push,
            "/sp/a?credit=1",
            "",
            400,
            "is not for a client that is push",
        ),
        (push, "/spa", "", 404, "/sp/ADDRESS"),
        (push, "/sp/a", bob, 401, "Wrong credentials"),
        (push, "/sp/locked", "", 403, "No rule lets"),
    ] {
        let answer = server.request(&head(token, target, more)).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{target}: {answer}"
        );
        assert!(answer.contains(says), "{target}: {answer}");
    }
}

#[tokio::test]
async fn a_protocol_that_is_not_spoken_is_closed_with_1002() {
    let server = Server::start().await;
    let mut stream = server.connect().await;
    let head = head("star.sp.nanomsg.org", "/sp/a", "");
    stream.write_all(head.as_bytes()).await.unwrap();
    let answered = rest(&mut stream).await;
    let head = answered.windows(4).position(|end| end == b"\r\n\r\n");
    let (head, frame) = answered.split_at(head.unwrap() + 4);
    let head = String::from_utf8_lossy(head);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("star.sp.nanomsg.org"), "{head}");
    assert_eq!((frame[0], &frame[2..4]), (0x88, &[0x03, 0xea][..]));
}

#[tokio::test]
async fn nobody_is_pinged_and_who_gets_nothing_hears_nothing() {
    let mut server = Server::start().await;
    let (mut stream, mut inner) = attach(&mut server, "pull.sp.nanomsg.org", "/sp/q").await;
    // In three frames, a ping in between.
    let parts = [
        masked(0x02, b"Hel"),
        masked(0x89, b"p"),
        masked(0x80, b"lo"),
        masked(0x81, "h\u{e9}".as_bytes()),
    ];
    stream.write_all(&parts.concat()).await.unwrap();
    for (tag, body) in [(1, "Hello"), (2, "h\u{e9}")] {
        let Call::Publish(message) = inner.expect_call(tag).await else {
            panic!("it is published")
        };
        assert_eq!(
            (&*message.address, &message.body[..]),
            ("q", body.as_bytes())
        );
        assert!(!message.text);
    }
    inner.confirms(2);
    server.shut_down();
    // The pong that was asked for, and no Close.
    assert_eq!(rest(&mut stream).await, [0x8a, 1, b'p']);
    server.ends().await;
}

#[tokio::test]
async fn what_is_on_its_way_at_a_shutdown_is_taken() {
    let mut server = Server::start().await;
    let (mut stream, mut inner) = attach(&mut server, "pull.sp.nanomsg.org", "/sp/q").await;
    server.shut_down();
    // It sends on until it has heard of the end, as its system does with what it has.
    assert_eq!(rest(&mut stream).await, b"");
    stream.write_all(&masked(0x82, b"late")).await.unwrap();
    stream.shutdown().await.unwrap();
    let Call::Publish(message) = inner.expect_call(1).await else {
        panic!("it is published")
    };
    assert_eq!(message.body, "late");
    inner.confirms(1);
    server.ends().await;
}

#[tokio::test]
async fn a_message_cut_off_is_not_taken() {
    let mut server = Server::start().await;
    let cut = [
        masked(0x02, b"half"),
        masked(0x82, b"cut")[..7].to_vec(),
        [masked(0x02, b"half"), masked(0x88, &[0x03, 0xe8])].concat(),
    ];
    for rest in cut {
        let (mut stream, mut inner) = attach(&mut server, "pull.sp.nanomsg.org", "/sp/q").await;
        stream.write_all(&masked(0x82, b"whole")).await.unwrap();
        stream.write_all(&rest).await.unwrap();
        stream.shutdown().await.unwrap();
        let Call::Publish(message) = inner.expect_call(1).await else {
            panic!("it is published")
        };
        assert_eq!(message.body, "whole");
        inner.confirms(1);
        assert_eq!(inner.next().await, None, "nothing more");
    }
}

#[tokio::test]
async fn a_delivery_counts_once_the_peer_s_system_has_it() {
    let mut server = Server::start().await;
    let (mut stream, mut inner) = puller(&mut server).await;
    inner.says(delivery(1, b"a".to_vec()));
    assert_eq!(settled(&mut inner).await, [(1, 1)]);
    // More than both systems hold: some of it stays in flight until the client reads.
    let (large, n) = (200 * 1024, 100);
    for offset in 2..2 + n {
        inner.says(delivery(offset, vec![0; large]));
    }
    let mut n_settled = 0;
    let mut seen = vec![0; 64 * 1024];
    let mut read = 0;
    // Each in frames of 64 KiB at most, with heads of 10 bytes but for the last one's 4.
    let on_wire = 3 + 100 * (large + 3 * 10 + 4);
    while read < on_wire {
        read += within(stream.read(&mut seen)).await.unwrap();
        while let Some(asked) = inner.next_now() {
            if let Asked::Call(_, Call::Settle(settle)) = asked {
                n_settled += settle.accepted.count();
            }
        }
        assert!(read > 4 << 20 || n_settled < n, "after {read} bytes");
    }
    while n_settled < n {
        n_settled += settled(&mut inner)
            .await
            .iter()
            .map(|(first, last)| last - first + 1)
            .sum::<u64>();
    }
}

#[tokio::test]
async fn what_has_arrived_when_the_peer_goes_is_settled() {
    let mut server = Server::start().await;
    let (mut stream, mut inner) = puller(&mut server).await;
    for offset in 1..=3 {
        inner.says(delivery(offset, b"abc".to_vec()));
    }
    let mut seen = [0; 15];
    within(stream.read_exact(&mut seen)).await.unwrap();
    drop(stream);
    let mut n_settled = 0;
    while let Some(asked) = inner.next().await {
        if let Asked::Call(_, Call::Settle(settle)) = asked {
            n_settled += settle.accepted.count();
        }
    }
    assert_eq!(n_settled, 3);
}

#[tokio::test]
async fn what_could_not_be_written_has_not_arrived() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(at), listener.accept());
    let (client, (stream, _)) = (client.unwrap(), accepted.unwrap());
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    // It was reset before anything is written.
    assert!(within(stream.peek(&mut [0])).await.is_err());
    let mut socket = Socket::new(stream.into(), Bytes::new(), 1024, 1024).await;
    let mut message = Some(Bytes::from_static(b"abc"));
    let written = socket.write(|_| message.take().map(WsMessage::Binary));
    assert!(written.is_err());
    assert_eq!((socket.position(), socket.arrived().unwrap()), (5, 0));
}

#[tokio::test]
async fn who_leaves_has_its_messages_taken_all_the_same() {
    let mut server = Server::start().await;
    for is_closed in [true, false] {
        let (mut stream, mut inner) = attach(&mut server, "pull.sp.nanomsg.org", "/sp/q").await;
        let mut sent = masked(0x82, b"kept");
        if is_closed {
            sent.extend(masked(0x88, &[0x03, 0xe8]));
        }
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        for tag in 1..=3 {
            let Call::Publish(message) = inner.expect_call(tag).await else {
                panic!("it is published")
            };
            assert_eq!(message.body, "kept");
            let failed = (tag < 3).then_some((tag, Refusal::Full));
            let failed = failed.into_iter().collect();
            inner.says(Event::Confirmed { upto: tag, failed });
        }
        assert_eq!(inner.next().await, None, "it is there");
    }
}

#[tokio::test]
async fn who_does_not_read_is_let_go_all_the_same() {
    let mut server = Server::start().await;
    let (stream, mut inner) = puller(&mut server).await;
    // More than the two systems have room for.
    inner.says(delivery(1, vec![0; 16 << 20]));
    inner.says(Event::Ended(End::Kicked));
    while let Some(asked) = inner.next().await {
        assert!(!matches!(asked, Asked::Call(..)), "{asked:?}");
    }
    drop(stream);
}

#[tokio::test]
async fn a_shutdown_cuts_without_a_close() {
    let mut server = Server::start().await;
    let (mut puller, _inner) = puller(&mut server).await;
    server.shut_down();
    assert!(rest(&mut puller).await.is_empty());
    server.ends().await;
}

#[tokio::test]
async fn broken_rules_of_websocket_have_their_codes() {
    let mut server = Server::start().await;
    for (frame, code) in [
        (masked(0xc2, b"x"), 1002),
        (masked(0x83, b"x"), 1002),
        (masked(0x80, b"x"), 1002),
        (vec![0x82, 1, b'x'], 1002),
        (masked(0x81, b"\xff"), 1007),
        (vec![0x82, 0xff, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], 1009),
    ] {
        let (mut stream, _inner) = attach(&mut server, "pull.sp.nanomsg.org", "/sp/q").await;
        stream.write_all(&frame).await.unwrap();
        let mut close = [0; 4];
        within(stream.read_exact(&mut close)).await.unwrap();
        assert_eq!(
            (close[0], u16::from_be_bytes([close[2], close[3]])),
            (0x88, code)
        );
    }
}

#[tokio::test]
async fn who_leaves_while_nothing_is_read_of_it_is_let_go() {
    let mut server = Server::start().await;
    let (mut stream, mut inner) = attach(&mut server, "pair.sp.nanomsg.org", "/sp/p").await;
    assert!(matches!(inner.expect_call(1).await, Call::Consume(_)));
    inner.confirms(1);
    stream.write_all(&masked(0x82, b"one")).await.unwrap();
    assert!(matches!(inner.expect_call(2).await, Call::Publish(_)));
    inner.refuses(2, Refusal::Full);
    // Nothing more is read, and yet its place is free soon.
    stream.write_all(&masked(0x82, b"two")).await.unwrap();
    drop(stream);
    while inner.next().await.is_some() {}
}
