//! Clients over TLS: the same as without, certificates for credentials, and origins.

use restante_proto::mbws::Frame;

use super::server::{Client, Server, settings};
use crate::config::ClientAuth;
use crate::tls::tests::authority::{Authority, Folder};
use crate::tls::{Certificates, Gate};

const UPGRADE: &str = "GET /mbws HTTP/1.1\r\nHost: broker.example:7300\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: MBWS.huawei.com\r\n";

async fn encrypted(folder: &Folder, plain: bool) -> Server {
    let certificates = Certificates::load(&folder.tls()).unwrap();
    Server::behind(Gate::new(certificates, plain), settings()).await
}

async fn expect_opened(client: &mut Client, open: &str) {
    client.send(open).await;
    assert!(matches!(client.receive().await, Frame::Opened(_)));
}

#[tokio::test]
async fn a_session_over_tls_is_as_one_without() {
    let folder = Folder::new(&Authority::new("ca"));
    let mut server = encrypted(&folder, true).await;
    for tls in [true, false] {
        let stream = match tls {
            true => server.connect_over_tls(&folder.client()).await,
            false => server.connect().await.into(),
        };
        let mut client = server.upgrade_on(stream, &[]).await;
        expect_opened(&mut client, "open\nversion:1\nuser:ann\npassword:pw\n\n").await;
        let mut inner = server.attached().await;
        // More than a record, and than all buffers on the way.
        let body = "x".repeat(200_000);
        client
            .send(&format!("send\nseq:1\naddress:a\n\n{body}"))
            .await;
        inner.expect_call(1).await;
        inner.confirms(1);
        client.expect("confirm\nupto:1\n\n").await;
        client.send("close\n\n").await;
        client.expect_close(1000).await;
    }
}

#[tokio::test]
async fn what_is_not_encrypted_is_refused_where_it_must_be() {
    let folder = Folder::new(&Authority::new("ca"));
    let server = encrypted(&folder, false).await;
    let request = format!("{UPGRADE}\r\n");
    let answer = server.request(&request).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("use wss://"), "{answer}");
    let answer = server.request_over_tls(&folder.client(), &request).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
}

#[tokio::test]
async fn over_tls_pages_of_the_same_origin_came_over_tls() {
    let folder = Folder::new(&Authority::new("ca"));
    let server = encrypted(&folder, true).await;
    for (origin, over_tls, plain) in [
        ("https://broker.example:7300", "101", "101"),
        ("http://broker.example:7300", "403", "101"),
        ("https://broker.example", "403", "403"),
        ("https://evil.example:7300", "403", "403"),
        ("https://console.example", "101", "101"),
        ("null", "403", "403"),
    ] {
        let request = format!("{UPGRADE}Origin: {origin}\r\n\r\n");
        let answer = server.request_over_tls(&folder.client(), &request).await;
        assert_eq!(answer.get(9..12), Some(over_tls), "{origin} over TLS");
        let answer = server.request(&request).await;
        assert_eq!(answer.get(9..12), Some(plain), "{origin} without");
    }
}

#[tokio::test]
async fn without_a_list_of_origins_only_the_broker_s_own_may_connect() {
    let folder = Folder::new(&Authority::new("ca"));
    let certificates = Certificates::load(&folder.tls()).unwrap();
    let mut settings = settings();
    settings.origins = Vec::new();
    let server = Server::behind(Gate::new(certificates, false), settings).await;
    for (origin, status) in [
        ("https://console.example", "403"),
        ("https://broker.example:7300", "101"),
    ] {
        let request = format!("{UPGRADE}Origin: {origin}\r\n\r\n");
        let answer = server.request_over_tls(&folder.client(), &request).await;
        assert_eq!(answer.get(9..12), Some(status), "{origin}");
    }
}

#[tokio::test]
async fn a_certificate_says_who_it_is_where_the_client_does_not() {
    let (ca, clients) = (Authority::new("ca"), Authority::new("clients"));
    let folder = Folder::new(&ca);
    let tls = folder.tls_with_clients(&clients, ClientAuth::Optional);
    let gate = Gate::new(Certificates::load(&tls).unwrap(), true);
    let mut server = Server::behind(gate, settings()).await;
    let known = folder.client_with(&clients.client("press-7"));
    for (open, name) in [
        ("open\nversion:1\n\n", "press-7"),
        ("open\nversion:1\nuser:ann\npassword:pw\n\n", "ann"),
    ] {
        let stream = server.connect_over_tls(&known).await;
        let mut client = server.upgrade_on(stream, &[]).await;
        expect_opened(&mut client, open).await;
        assert_eq!(&*server.attached().await.wish.principal.name, name);
    }
    // Wrong credentials are not made good by a certificate, and a certificate of nobody's not by itself.
    let stream = server.connect_over_tls(&known).await;
    let mut client = server.upgrade_on(stream, &[]).await;
    client
        .send("open\nversion:1\nuser:ann\npassword:no\n\n")
        .await;
    client.expect_fatal("unauthorized", 4401).await;
    for tls in [
        folder.client_with(&clients.client("other")),
        folder.client(),
    ] {
        let stream = server.connect_over_tls(&tls).await;
        let mut client = server.upgrade_on(stream, &[]).await;
        client.send("open\nversion:1\n\n").await;
        client.expect_fatal("unauthorized", 4401).await;
    }
}

#[tokio::test]
async fn a_session_lives_on_when_the_certificate_is_replaced() {
    let ca = Authority::new("ca");
    let folder = Folder::new(&ca);
    let certificates = Certificates::load(&folder.tls()).unwrap();
    let gate = Gate::new(certificates.clone(), false);
    let mut server = Server::behind(gate, settings()).await;
    let stream = server.connect_over_tls(&folder.client()).await;
    let mut client = server.upgrade_on(stream, &[]).await;
    expect_opened(&mut client, "open\nversion:1\nuser:ann\npassword:pw\n\n").await;
    let mut inner = server.attached().await;
    // Of another authority: what comes afterwards could not be spoken with under the old one.
    let other = Authority::new("other");
    let folder_of_other = Folder::new(&other);
    folder.serve(&other.server());
    certificates.unwrap().look();
    client.send("send\nseq:1\naddress:a\n\nx").await;
    inner.expect_call(1).await;
    server.connect_over_tls(&folder_of_other.client()).await;
}
