//! What holds over every transport.

use std::collections::BTreeMap;

use tokio::io::AsyncWriteExt;

use super::super::server::Server;
use super::client::{Http, Raw, Ws, start, with};
use super::echo::Seen;
use crate::front::ration::STRANGER_BYTES_MAX;

const SERIALIZERS: [(&str, u8, bool); 4] = [
    ("json", 1, true),
    ("msgpack", 2, true),
    ("cbor", 3, true),
    ("ubjson", 4, false),
];

/// Messages as the batched protocols put them together.
fn batch(serializer: &str, messages: &[&[u8]]) -> Vec<u8> {
    let mut batch = Vec::new();
    for message in messages {
        if serializer == "json" {
            batch.extend_from_slice(message);
            batch.push(0x1e);
        } else {
            let length = u32::try_from(message.len()).unwrap();
            batch.extend_from_slice(&length.to_be_bytes());
            batch.extend_from_slice(message);
        }
    }
    batch
}

#[tokio::test]
async fn every_transport_brings_messages_and_takes_them_back() {
    let (plain, mut sight) = start().await;
    let (settings, mut sight_of_tls) = with(|_| {});
    let encrypted = Server::over_tls(settings).await;
    for (server, sight) in [(&plain, &mut sight), (&encrypted, &mut sight_of_tls)] {
        for (name, number, batched) in SERIALIZERS {
            let came = |transport| Seen::Came(transport, name, "127.0.0.1".to_owned());
            let mut raw = Raw {
                stream: server.stream().await,
            };
            raw.shake_hands(number).await;
            sight.expect(came("rawsocket")).await;
            for message in ["[1]", "[2]", ""] {
                raw.send(0, message.as_bytes()).await;
                assert_eq!(raw.receive().await, (0, message.as_bytes().to_vec()));
            }
            raw.stream.shutdown().await.unwrap();
            sight.expect_ended("peer-closed").await;

            let plain = format!("wamp.2.{name}");
            let mut ws = Ws::connect(server, &plain).await;
            sight.expect(came("websocket")).await;
            let mut http = Http::connect(server).await;
            let path = http.open(&plain).await;
            sight.expect(came("longpoll")).await;
            for message in ["[1]", "[2]"] {
                ws.send(message.as_bytes()).await;
                assert_eq!(ws.receive().await, message.as_bytes());
                let sent = http.post(&format!("{path}/send"), message.as_bytes()).await;
                assert_eq!((sent.status, sent.body.len()), (204, 0));
                let received = http.post(&format!("{path}/receive"), b"").await;
                assert_eq!(
                    (received.status, &*received.body),
                    (200, message.as_bytes())
                );
            }
            if !batched {
                continue;
            }
            let several = format!("wamp.2.{name}.batched");
            let mut ws = Ws::connect(server, &several).await;
            let path = http.open(&several).await;
            let together = batch(name, &[b"[1]", b"[2]", b"[3]"]);
            ws.send(&together).await;
            assert_eq!(ws.receive().await, together);
            http.post(&format!("{path}/send"), &together).await;
            let received = http.post(&format!("{path}/receive"), b"").await;
            assert_eq!(received.body, together);
        }
    }
}

#[tokio::test]
async fn a_batch_is_answered_with_the_separator_of_the_peer() {
    let (server, _sight) = start().await;
    let mut ws = Ws::connect(&server, "wamp.2.json.batched").await;
    for separator in ['\u{18}', '\u{1e}'] {
        let batch = format!("[1]{separator}[2]{separator}");
        ws.send(batch.as_bytes()).await;
        assert_eq!(ws.receive().await, batch.as_bytes());
    }
}

#[tokio::test]
async fn a_batch_against_the_rules_ends_the_connection() {
    let (server, mut sight) = start().await;
    for (name, bytes, code) in [
        ("json", &b""[..], 1002),
        ("json", b"[1]", 1002),
        ("msgpack", b"", 1002),
        ("msgpack", b"\0\0\0", 1002),
        ("cbor", b"\0\0\0\x04[1]", 1002),
        ("cbor", b"\xff\xff\xff\xff[1]", 1002),
    ] {
        let protocol = format!("wamp.2.{name}.batched");
        let mut ws = Ws::connect(&server, &protocol).await;
        ws.send(bytes).await;
        ws.expect_close(code).await;
        sight.expect_ended("bad-batch").await;
        let mut http = Http::connect(&server).await;
        let path = http.open(&protocol).await;
        let sent = http.post(&format!("{path}/send"), bytes).await;
        if bytes.is_empty() {
            assert_eq!(sent.status, 400);
        } else {
            sight.expect_ended("bad-batch").await;
        }
    }
    // More messages than are taken at once.
    let mut ws = Ws::connect(&server, "wamp.2.cbor.batched").await;
    ws.send(&[0; 4 * 5000]).await;
    ws.expect_close(1002).await;
}

#[tokio::test]
async fn a_wamp_peer_that_does_not_read_is_not_written_to() {
    let (server, mut sight) = start().await;
    let mut raw = Raw {
        stream: server.stream().await,
    };
    raw.shake_hands(1).await;
    raw.send(0, b"flood").await;
    let mut ws = Ws::connect(&server, "wamp.2.json").await;
    ws.send(b"flood").await;
    let mut http = Http::connect(&server).await;
    let path = http.open("wamp.2.json").await;
    http.post(&format!("{path}/send"), b"flood").await;
    let mut taken = BTreeMap::new();
    while taken.len() < 3 {
        if let Seen::Blocked(transport, flooded) = sight.next().await {
            taken.insert(transport, flooded);
        }
    }
    // The kernel's buffers are bounded, and so is what waits here.
    assert!(taken.values().all(|flooded| *flooded < 20_000), "{taken:?}");
    assert!(taken["longpoll"] <= 66, "{taken:?}");
    // Whoever reads again gets it all, in order.
    assert_eq!(raw.receive().await.1, b"flood");
    for _ in 0..30_000 {
        assert_eq!(raw.receive().await.1.len(), 1000);
    }
    assert_eq!(ws.receive().await, b"flood");
    for _ in 0..30_000 {
        assert_eq!(ws.receive().await.len(), 1000);
    }
    let first = http.post(&format!("{path}/receive"), b"").await;
    assert_eq!(first.body, b"flood");
    for _ in 0..300 {
        let next = http.post(&format!("{path}/receive"), b"").await;
        assert_eq!(next.body.len(), 1000);
    }
}

#[tokio::test]
async fn before_a_wamp_client_is_known_its_messages_are_short() {
    let (server, mut sight) = start().await;
    let long = vec![b'x'; STRANGER_BYTES_MAX + 16 * 1024];
    for known in [false, true] {
        let mut raw = Raw {
            stream: server.stream().await,
        };
        raw.shake_hands(1).await;
        let mut ws = Ws::connect(&server, "wamp.2.json").await;
        let mut http = Http::connect(&server).await;
        let path = http.open("wamp.2.json").await;
        let send = format!("{path}/send");
        if known {
            raw.send(0, b"admit").await;
            raw.receive().await;
            ws.send(b"admit").await;
            ws.receive().await;
            http.post(&send, b"admit").await;
            http.post(&format!("{path}/receive"), b"").await;
        }
        raw.send(0, &long).await;
        ws.send(&long).await;
        let sent = http.post(&send, &long).await;
        if known {
            assert_eq!(raw.receive().await.1.len(), long.len());
            assert_eq!(ws.receive().await.len(), long.len());
            assert_eq!(sent.status, 204);
        } else {
            assert_eq!(sent.status, 413);
            ws.expect_close(1009).await;
            raw.expect_end().await;
            sight.expect_ended("too-big").await;
            sight.expect_ended("too-big").await;
        }
    }
    // Little by little is no way around it.
    let mut http = Http::connect(&server).await;
    let path = http.open("wamp.2.json").await;
    let half = vec![b'x'; STRANGER_BYTES_MAX / 2 + 1];
    let send = format!("{path}/send");
    assert_eq!(http.post(&send, &half).await.status, 204);
    assert_eq!(http.post(&send, &half).await.status, 413);
}

#[tokio::test]
async fn no_message_is_longer_than_the_limit_by_whatever_transport() {
    let (server, mut sight) = start().await;
    let long = vec![b'x'; 256 * 1024 + 1];
    let mut raw = Raw {
        stream: server.stream().await,
    };
    raw.shake_hands(3).await;
    raw.send(0, b"admit").await;
    raw.receive().await;
    raw.send(0, &long[..256 * 1024]).await;
    raw.receive().await;
    // What it announces is enough.
    raw.send_bytes(&[0, 4, 0, 1]).await;
    raw.expect_end().await;
    sight.expect_ended("too-big").await;
    for protocol in ["wamp.2.cbor", "wamp.2.cbor.batched"] {
        let body = match protocol {
            "wamp.2.cbor" => long.clone(),
            _ => batch("cbor", &[&long]),
        };
        let admit = match protocol {
            "wamp.2.cbor" => b"admit".to_vec(),
            _ => batch("cbor", &[b"admit"]),
        };
        let mut ws = Ws::connect(&server, protocol).await;
        ws.send(&admit).await;
        ws.receive().await;
        ws.send(&body).await;
        ws.expect_close(1009).await;
        sight.expect_ended("too-big").await;
        let mut http = Http::connect(&server).await;
        let path = http.open(protocol).await;
        http.post(&format!("{path}/send"), &admit).await;
        http.post(&format!("{path}/receive"), b"").await;
        let sent = http.post(&format!("{path}/send"), &body).await;
        if protocol == "wamp.2.cbor" {
            assert_eq!(sent.status, 413);
        } else {
            sight.expect_ended("too-big").await;
        }
    }
}
