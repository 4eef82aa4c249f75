//! WebSocket: the choice of a subprotocol, kinds of messages, pings.

use std::time::Duration;

use futures_util::StreamExt;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::super::server::{Server, within};
use super::client::{Ws, start, with};

fn request(path: &str, offered: &str) -> String {
    let line = match offered {
        "" => String::new(),
        offered => format!("Sec-WebSocket-Protocol: {offered}\r\n"),
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: broker.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Extensions: permessage-deflate\r\n{line}\r\n"
    )
}

#[tokio::test]
async fn the_first_subprotocol_offered_that_is_spoken_is_chosen() {
    let (server, _sight) = start().await;
    for (offered, chosen) in [
        ("wamp.2.json", "wamp.2.json"),
        ("wamp.2.msgpack", "wamp.2.msgpack"),
        ("wamp.2.cbor, wamp.2.json", "wamp.2.cbor"),
        ("wamp.2.flatbuffers, mqtt, wamp.2.ubjson", "wamp.2.ubjson"),
        ("wamp.2.json.batched", "wamp.2.json.batched"),
        (
            "wamp.2.msgpack.batched,wamp.2.msgpack",
            "wamp.2.msgpack.batched",
        ),
        ("wamp.2.cbor.batched", "wamp.2.cbor.batched"),
        ("wamp.2.ubjson.batched, wamp.2.json", "wamp.2.json"),
        (
            "wamp.2.cbor\r\nSec-WebSocket-Protocol: wamp.2.json",
            "wamp.2.cbor",
        ),
    ] {
        let answer = server.request(&request("/wamp", offered)).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{offered}\n{answer}");
        let line = format!("sec-websocket-protocol: {chosen}\r\n");
        assert!(answer.contains(&line), "{offered}\n{answer}");
        assert!(!answer.contains("extensions"), "{answer}");
    }
    for offered in [
        "",
        "wamp",
        "wamp.2.flatbuffers",
        "WAMP.2.JSON",
        "mqtt",
        "wamp.2.ubjson.batched",
    ] {
        let answer = server.request(&request("/wamp", offered)).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{offered}\n{answer}");
        for spoken in [
            "wamp.2.json",
            "wamp.2.msgpack",
            "wamp.2.cbor",
            "wamp.2.ubjson",
            ".batched",
        ] {
            assert!(answer.contains(spoken), "{spoken} is not in\n{answer}");
        }
    }
}

#[tokio::test]
async fn the_paths_of_wamp_are_its_own() {
    let (server, _sight) = start().await;
    for (path, status) in [
        ("/wamp", "101"),
        ("/wamp/default", "101"),
        ("/wamp/shop%201", "101"),
        ("/wamp/nowhere", "404"),
        ("/wamp/a/b", "404"),
        ("/wampum", "404"),
        ("/mbws", "400"),
        ("/mqtt", "400"),
    ] {
        let answer = server.request(&request(path, "wamp.2.json")).await;
        assert_eq!(answer.get(9..12), Some(status), "{path}\n{answer}");
    }
    let (settings, _sight) = with(|settings| settings.wamp = None);
    let server = Server::with(settings).await;
    let answer = server.request(&request("/wamp", "wamp.2.json")).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

#[tokio::test]
async fn a_message_of_the_wrong_kind_ends_the_connection() {
    let (server, mut sight) = start().await;
    for (protocol, text) in [
        ("wamp.2.json", false),
        ("wamp.2.json.batched", false),
        ("wamp.2.msgpack", true),
        ("wamp.2.cbor", true),
        ("wamp.2.cbor.batched", true),
        ("wamp.2.ubjson", true),
    ] {
        let mut ws = Ws::connect(&server, protocol).await;
        ws.send_as(b"[1]", text).await;
        ws.expect_close(1002).await;
        sight.expect_ended("wrong-kind").await;
    }
}

#[tokio::test]
async fn who_closes_is_seen_out() {
    let (server, mut sight) = start().await;
    let mut ws = Ws::connect(&server, "wamp.2.json").await;
    within(ws.ws.close(None)).await.unwrap();
    assert!(matches!(
        within(ws.ws.next()).await,
        Some(Ok(Message::Close(_)))
    ));
    sight.expect_ended("peer-closed").await;
    let mut ws = Ws::connect(&server, "wamp.2.json").await;
    ws.send(b"bye").await;
    assert_eq!(ws.receive().await, b"bye");
    ws.expect_close(1000).await;
}

#[tokio::test(start_paused = true)]
async fn a_web_socket_that_answers_no_ping_is_gone() {
    let every = Duration::from_secs(2);
    let (settings, mut sight) = with(|it| it.wamp.as_mut().unwrap().ping_interval = every);
    let server = Server::with(settings).await;
    let mut answers = Ws::connect(&server, "wamp.2.json").await;
    for _ in 0..5 {
        let message = within(answers.ws.next()).await.unwrap().unwrap();
        assert!(matches!(message, Message::Ping(_)), "{message:?}");
    }
    // From now on nobody reads, and so nobody answers.
    tokio::time::timeout(3 * every, sight.expect_ended("silent"))
        .await
        .unwrap();
}
