//! RawSocket: who comes by it, its handshake, its frames.

use std::time::Duration;

use tokio::time::Instant;

use super::super::server::{Server, within};
use super::client::{Raw, start, with};
use super::echo::{LARGE_BYTES, Seen};
use crate::front::{Settings, Takes};
use crate::tls::Gate;

async fn connect(server: &Server) -> Raw {
    Raw {
        stream: server.stream().await,
    }
}

#[tokio::test]
async fn a_handshake_is_answered_by_the_book() {
    let (settings, _sight) = with(|_| {});
    let servers = [
        Server::with(settings.clone()).await,
        Server::over_tls(settings.clone()).await,
        Server::taking(Takes::Wamp, Gate::plain(), settings).await,
    ];
    for server in &servers {
        for (asked, answer) in [
            // 256 KiB are taken, whatever the peer takes.
            ([0x7f, 0xf1, 0, 0], [0x7f, 0x91, 0, 0]),
            ([0x7f, 0x32, 0, 0], [0x7f, 0x92, 0, 0]),
            ([0x7f, 0xf3, 0, 0], [0x7f, 0x93, 0, 0]),
            ([0x7f, 0xf4, 0, 0], [0x7f, 0x94, 0, 0]),
        ] {
            let mut raw = connect(server).await;
            raw.send_bytes(&asked).await;
            raw.expect(&answer).await;
            raw.send(0, b"[1]").await;
            assert_eq!(raw.receive().await, (0, b"[1]".to_vec()));
        }
        for (asked, answer) in [
            ([0x7f, 0xf0, 0, 0], [0x7f, 0x10, 0, 0]), // no serializer
            ([0x7f, 0xf5, 0, 0], [0x7f, 0x10, 0, 0]), // FlatBuffers
            ([0x7f, 0xff, 0, 0], [0x7f, 0x10, 0, 0]),
            ([0x7f, 0x01, 0, 0], [0x7f, 0x20, 0, 0]), // 512 bytes: no WELCOME fits
            ([0x7f, 0x21, 0, 0], [0x7f, 0x20, 0, 0]),
            ([0x7f, 0xf1, 1, 0], [0x7f, 0x30, 0, 0]), // reserved
            ([0x7f, 0xf1, 0, 1], [0x7f, 0x30, 0, 0]),
        ] {
            let mut raw = connect(server).await;
            raw.send_bytes(&asked).await;
            raw.expect(&answer).await;
            raw.expect_end().await;
        }
    }
    // What is no handshake is not answered where there is nothing else to take it for.
    let mut raw = connect(&servers[2]).await;
    raw.send_bytes(b"GET / HTTP/1.1\r\n\r\n").await;
    raw.expect_end().await;
}

#[tokio::test]
async fn one_raw_socket_too_many_is_told_so() {
    let (settings, _sight) = with(|settings| settings.connections_max = 1);
    for takes in [Takes::All, Takes::Wamp] {
        let server = Server::taking(takes, Gate::plain(), settings.clone()).await;
        let mut first = connect(&server).await;
        first.shake_hands(1).await;
        let mut second = connect(&server).await;
        second.send_bytes(&[0x7f, 0xf1, 0, 0]).await;
        second.expect(&[0x7f, 0x40, 0, 0]).await;
        second.expect_end().await;
    }
}

#[tokio::test]
async fn without_wamp_no_raw_socket_is_taken() {
    let (settings, _sight) = with(|settings| settings.wamp = None);
    let server = Server::with(settings).await;
    let mut raw = connect(&server).await;
    raw.send_bytes(&[0x7f, 0xf1, 0, 0]).await;
    let answer = within(super::super::server::answer(&mut raw.stream)).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_come_is_cut_at_the_deadline() {
    let ample = Duration::from_secs(1);
    let (settings, _sight) = with(|settings: &mut Settings| settings.mbws.open_within = ample);
    let server = Server::taking(Takes::Wamp, Gate::plain(), settings).await;
    for begun in [&[][..], &[0x7f], &[0x7f, 0xf1, 0]] {
        let began = Instant::now();
        let mut raw = connect(&server).await;
        raw.send_bytes(begun).await;
        raw.expect_end().await;
        assert!((ample..2 * ample).contains(&began.elapsed()));
    }
}

#[tokio::test]
async fn a_ping_gets_its_payload_back_at_once() {
    let (server, _sight) = start().await;
    let mut raw = connect(&server).await;
    raw.shake_hands(2).await;
    for payload in [&b""[..], b"1", &[7; 5000]] {
        raw.send(1, payload).await;
        assert_eq!(raw.receive().await, (2, payload.to_vec()));
    }
    // Nobody asked, and nobody minds.
    raw.send(2, b"?").await;
    // In order, whatever is around it.
    raw.send_bytes(b"\0\0\0\x01a\x01\0\0\x01p\0\0\0\x01b").await;
    let mut kinds = Vec::new();
    for _ in 0..3 {
        kinds.push(raw.receive().await.0);
    }
    kinds.sort_unstable();
    assert_eq!(kinds, [0, 0, 2]);
}

#[tokio::test(start_paused = true)]
async fn who_knows_no_pings_is_sent_none() {
    let every = Duration::from_secs(2);
    let (settings, mut sight) = with(|it| it.wamp.as_mut().unwrap().ping_interval = every);
    let server = Server::with(settings).await;
    let mut raw = connect(&server).await;
    raw.shake_hands(1).await;
    tokio::time::advance(10 * every).await;
    raw.send(0, b"[1]").await;
    assert_eq!(raw.receive().await.0, 0);
    // Who has sent one gets them, and is gone if it does not answer.
    raw.send(1, b"?").await;
    assert_eq!(raw.receive().await.0, 2);
    assert_eq!(raw.receive().await, (1, Vec::new()));
    raw.send(2, b"").await;
    assert_eq!(raw.receive().await, (1, Vec::new()));
    sight.expect_ended("silent").await;
}

#[tokio::test]
async fn a_frame_against_the_rules_ends_the_connection() {
    let (server, mut sight) = start().await;
    for (bytes, reason) in [
        (&[3, 0, 0, 1, 0][..], "bad-transport"), // a type that there is not
        (&[7, 0, 0, 1, 0], "bad-transport"),
        (&[0x10, 0, 0, 1, 0], "bad-transport"), // reserved bits
        (&[0x80, 0, 0, 1, 0], "bad-transport"),
        (&[0x08, 0, 0, 1, 0], "bad-transport"), // two lengths
        (&[0x08, 0, 0, 0, 0], "too-big"),       // 16 MiB
        (&[0, 0xff, 0xff, 0xff], "too-big"),
        (&[1, 0xff, 0xff, 0xff], "too-big"),
        (&[0, 0, 0, 9, 1], "peer-closed"), // cut
    ] {
        let mut raw = connect(&server).await;
        raw.shake_hands(1).await;
        raw.send_bytes(bytes).await;
        if reason == "peer-closed" {
            drop(raw);
        } else {
            raw.expect_end().await;
        }
        sight.expect_ended(reason).await;
    }
}

#[tokio::test]
async fn frames_may_be_cut_anywhere() {
    let (server, _sight) = start().await;
    let mut raw = connect(&server).await;
    raw.shake_hands(1).await;
    for byte in b"\0\0\0\x03[1]\0\0\0\0\0\0\0\x03[2]" {
        raw.send_bytes(&[*byte]).await;
    }
    for expected in [&b"[1]"[..], b"", b"[2]"] {
        assert_eq!(raw.receive().await, (0, expected.to_vec()));
    }
}

#[tokio::test]
async fn a_message_longer_than_the_peer_takes_is_not_sent() {
    let (server, mut sight) = start().await;
    for (wanted, takes) in [(0x31, false), (0x41, true)] {
        let mut raw = connect(&server).await;
        raw.send_bytes(&[0x7f, wanted, 0, 0]).await;
        raw.expect(&[0x7f, 0x91, 0, 0]).await;
        assert!(matches!(
            sight.next().await,
            Seen::Came("rawsocket", "json", _)
        ));
        raw.send(0, b"limit").await;
        let limit = if takes { "Some(8192)" } else { "Some(4096)" };
        assert_eq!(raw.receive().await.1, limit.as_bytes());
        assert_eq!(raw.receive().await.1, b"limit");
        raw.send(0, b"large").await;
        if takes {
            assert_eq!(raw.receive().await.1.len(), LARGE_BYTES);
        }
        assert_eq!(raw.receive().await.1, b"large");
        drop(raw);
        sight.expect_ended("peer-closed").await;
    }
}
