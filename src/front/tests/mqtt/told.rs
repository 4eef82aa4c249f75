//! What tells MQTT from all else: the first byte, the listener, the upgrade.

use restante_proto::mqtt::ReasonCode;
use tokio::io::AsyncWriteExt;

use super::super::server::{Server, answer, settings, within};
use super::client::{Client, Over, bytes_of, connect_of};
use crate::front::{Settings, Takes};
use crate::tls::tests::authority::{Authority, Folder};
use crate::tls::{Certificates, Gate, Stream};

const UPGRADE: &str = "GET /mqtt HTTP/1.1\r\nHost: broker.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: mqtt\r\n\r\n";

fn encrypted(plain: bool) -> (Folder, Gate) {
    let folder = Folder::new(&Authority::new("ca"));
    let certificates = Certificates::load(&folder.tls()).unwrap();
    (folder, Gate::new(certificates, plain))
}

/// What a connection that begins so is answered.
async fn told(mut stream: Stream, first: &[u8]) -> Vec<u8> {
    stream.write_all(first).await.unwrap();
    stream.flush().await.unwrap();
    within(answer(&mut stream)).await.into_bytes()
}

/// It is HTTP, and answered so.
async fn check_http(stream: Stream, first: &[u8], status: &str) {
    let answer = told(stream, first).await;
    let expected = format!("HTTP/1.1 {status}");
    assert!(answer.starts_with(expected.as_bytes()), "{first:?}");
}

#[tokio::test]
async fn the_first_byte_tells_what_is_spoken() {
    let (folder, gate) = encrypted(true);
    let mut server = Server::behind(gate, settings()).await;
    for tls in [false, true] {
        let connect = async || match tls {
            true => server.connect_over_tls(&folder.client()).await,
            false => server.connect().await.into(),
        };
        check_http(
            connect().await,
            b"GET /mbws HTTP/1.1\r\nHost: h\r\n\r\n",
            "426",
        )
        .await;
        check_http(
            connect().await,
            b"POST / HTTP/1.1\r\nHost: h\r\n\r\n",
            "404",
        )
        .await;
        // No packet but a CONNECT begins a connection, in whatever version.
        for first in [0x00, 0x11, 0x20, 0x30, 0x7e, 0xff] {
            check_http(connect().await, &[first, b'\r', b'\n', b'\r', b'\n'], "400").await;
        }
        assert_eq!(told(connect().await, b"\x10\x02\r\n\r\n").await, b"");
        let mut client = Client::on(&server, connect().await, Over::Tcp).await;
        client.send(connect_of("ann", "pw")).await;
        assert_eq!(server.attached().await.wish.tls, tls);
        client.expect_connack(ReasonCode::Success).await;
    }
}

#[tokio::test]
async fn tls_where_there_is_none_is_no_http() {
    let server = Server::start().await;
    check_http(
        server.connect().await.into(),
        b"\x16\x03\x01\r\n\r\n",
        "400",
    )
    .await;
}

#[tokio::test]
async fn a_listener_of_mqtt_takes_nothing_else() {
    let (folder, gate) = encrypted(true);
    let mut server = Server::taking(Takes::Mqtt, gate, settings()).await;
    for tls in [false, true] {
        let connect = async || match tls {
            true => server.connect_over_tls(&folder.client()).await,
            false => server.connect().await.into(),
        };
        for first in [UPGRADE.as_bytes(), b"\xff", b"\x00", b"\x30\x03\x00\x01a"] {
            assert_eq!(told(connect().await, first).await, b"", "{first:?}");
        }
        let mut client = Client::on(&server, connect().await, Over::Tcp).await;
        client.send(connect_of("ann", "pw")).await;
        server.attached().await;
        client.expect_connack(ReasonCode::Success).await;
    }
}

#[tokio::test]
async fn where_only_tls_is_let_in_plain_mqtt_is_closed() {
    let (folder, gate) = encrypted(false);
    for takes in [Takes::All, Takes::Mqtt] {
        let server = Server::taking(takes, gate.clone(), settings()).await;
        let connect = bytes_of(&connect_of("ann", "pw"));
        assert_eq!(told(server.connect().await.into(), &connect).await, b"");
        let stream = server.connect_over_tls(&folder.client()).await;
        let mut client = Client::on(&server, stream, Over::Tcp).await;
        client.send(connect_of("ann", "pw")).await;
        client.expect_connack(ReasonCode::Success).await;
    }
}

#[tokio::test]
async fn a_door_that_is_shut_is_not_there() {
    let settings = Settings {
        mqtt: None,
        ..settings()
    };
    let server = Server::with(settings).await;
    let connect = bytes_of(&connect_of("ann", "pw"));
    check_http(server.connect().await.into(), &connect, "400").await;
    check_http(server.connect().await.into(), UPGRADE.as_bytes(), "404").await;
}

/// The upgrade with `from` replaced is answered so.
async fn check_upgrade(from: &str, to: &str, status: &str, expected: &str) {
    assert!(UPGRADE.contains(from), "{from}");
    let server = Server::start().await;
    let answer = server.request(&UPGRADE.replace(from, to)).await;
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status}")),
        "{to}: {answer}"
    );
    assert!(answer.contains(expected), "{expected} is not in\n{answer}");
    let extensions = answer.to_ascii_lowercase().contains("extensions");
    assert!(!extensions, "{answer}");
}

#[tokio::test]
async fn of_the_subprotocols_the_first_that_is_known_counts() {
    let header = "Protocol: mqtt";
    for (offered, chosen) in [
        ("mqtt", "mqtt"),
        ("mqttv3.1", "mqttv3.1"),
        ("mqtt, mqttv3.1", "mqtt"),
        ("mqttv3.1, mqtt", "mqttv3.1"),
        ("MBWS.huawei.com,mqttv3.1", "mqttv3.1"),
        ("mqttv5\r\nSec-WebSocket-Protocol: mqtt", "mqtt"),
    ] {
        let chosen = format!("sec-websocket-protocol: {chosen}\r\n");
        check_upgrade(header, &format!("Protocol: {offered}"), "101", &chosen).await;
    }
    for offered in ["MQTT", "mqttv3", "mqttv5", "MBWS.huawei.com", ""] {
        let told = "must offer mqtt or mqttv3.1";
        check_upgrade(header, &format!("Protocol: {offered}"), "400", told).await;
    }
    let none = "Sec-WebSocket-Protocol: mqtt\r\n";
    check_upgrade(none, "", "400", "must offer mqtt").await;
    check_upgrade("/mqtt", "/mbws", "400", "MBWS.huawei.com").await;
}

#[tokio::test]
async fn no_compression_is_ever_agreed_on() {
    let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\nHost:";
    check_upgrade("Host:", offer, "101", "").await;
}

#[tokio::test]
async fn paths_of_mqtt_name_realms_as_those_of_mbws_do() {
    for path in [
        "/mqtt",
        "/mqtt/default",
        "/mqtt/shop%201?x=y",
        "/ws",
        "/ws/shop%201",
    ] {
        check_upgrade("/mqtt ", &format!("{path} "), "101", "").await;
    }
    check_upgrade("/mqtt ", "/mqtt/other ", "404", "No such realm").await;
    for path in [
        "/",
        "/mqtt/",
        "/mqttx",
        "/mqtt/a/b",
        "/mqtt/%zz",
        "/wss",
        "/MQTT",
    ] {
        check_upgrade("/mqtt ", &format!("{path} "), "404", "/mqtt/REALM").await;
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_not_speak_mqtt() {
    for (origin, status) in [
        ("https://evil.example", "403"),
        ("null", "403"),
        ("https://console.example", "101"),
        ("http://broker.example", "101"),
    ] {
        let header = format!("Origin: {origin}\r\nHost:");
        check_upgrade("Host:", &header, status, "").await;
    }
}
