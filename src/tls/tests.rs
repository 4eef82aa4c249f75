//! Gates and connectors over real sockets on loopback, with certificates that are made as the tests run.

pub(crate) mod authority;

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::*;
use crate::config::{ClientAuth, Tls, TlsVersion};
use authority::{Authority, Folder};

/// Waits for what must come; `RESTANTE_TEST_PATIENCE` stretches the deadline, in seconds.
async fn within<F: Future>(future: F) -> F::Output {
    let seconds = std::env::var("RESTANTE_TEST_PATIENCE").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(10);
    let waited = tokio::time::timeout(Duration::from_secs(seconds), future).await;
    waited.expect("nothing came within the test's patience")
}

fn load(tls: &Tls) -> Arc<Certificates> {
    let certificates = Certificates::load(tls);
    certificates.expect("good files").expect("files at all")
}

/// Both ends of a TCP connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await;
    (client.unwrap(), listener.accept().await.unwrap().0)
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// A client and a server of a TLS connection that works: a byte goes each way.
async fn talk(gate: &Gate, connector: &Connector) -> (Stream, Admitted) {
    let (client, server) = pair().await;
    let (client, server) = within(async {
        tokio::join!(
            connector.connect("127.0.0.1", client),
            gate.admit(server, later())
        )
    })
    .await;
    let (mut client, mut server) = (
        client.unwrap(),
        server.unwrap_or_else(|why| panic!("{why:?}")),
    );
    server.stream.write_all(b"s").await.unwrap();
    server.stream.flush().await.unwrap();
    assert_eq!(within(client.read_u8()).await.unwrap(), b's');
    echo(&mut client, &mut server).await;
    (client, server)
}

async fn echo(client: &mut Stream, server: &mut Admitted) {
    client.write_all(b"c").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(within(server.stream.read_u8()).await.unwrap(), b'c');
}

/// What a client of the gate is refused for; it hears of it too.
async fn refusal(gate: &Gate, options: &ConnectOptions) -> TurnedAway {
    let connector = Connector::load(options).unwrap();
    let (client, server) = pair().await;
    let talk = async {
        let mut stream = connector.connect("127.0.0.1", client).await?;
        // In TLS 1.3 the client is done before the server has looked at its certificate.
        stream.read_u8().await
    };
    let (heard, admitted) = within(async { tokio::join!(talk, gate.admit(server, later())) }).await;
    assert!(heard.is_err());
    match admitted {
        Err(why) => why,
        Ok(_) => panic!("it was let in"),
    }
}

/// What a gate answers to bytes, and what it thinks of them.
async fn answer(gate: &Gate, bytes: &[u8]) -> (Vec<u8>, TurnedAway) {
    let (mut client, server) = pair().await;
    client.write_all(bytes).await.unwrap();
    let talk = async {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        drop(client);
        answer
    };
    let (answer, admitted) =
        within(async { tokio::join!(talk, gate.admit(server, later())) }).await;
    match admitted {
        Err(why) => (answer, why),
        Ok(_) => panic!("it was let in"),
    }
}

fn version(stream: &Stream) -> &'static str {
    match stream {
        Stream::Tls(tls) => tls
            .get_ref()
            .1
            .protocol_version()
            .unwrap()
            .as_str()
            .unwrap(),
        Stream::Plain(_) | Stream::Unix(_) => "plain",
    }
}

fn kind(stream: &Stream) -> HandshakeKind {
    match stream {
        Stream::Tls(tls) => tls.get_ref().1.handshake_kind().unwrap(),
        Stream::Plain(_) | Stream::Unix(_) => panic!("plain"),
    }
}

/// The certificate that the client was shown.
fn shown(stream: &Stream) -> Vec<u8> {
    match stream {
        Stream::Tls(tls) => tls.get_ref().1.peer_certificates().unwrap()[0].to_vec(),
        Stream::Plain(_) | Stream::Unix(_) => panic!("plain"),
    }
}

/// A handshake of TLS up to `version`, as its record: a client that offers nothing newer (RFC 4346 §7.4.1.2).
fn hello(version: [u8; 2]) -> Vec<u8> {
    let mut body = version.to_vec();
    body.extend([7; 32]); // random
    body.push(0); // no session
    body.extend([0, 4, 0xc0, 0x13, 0x00, 0x2f]); // two suites with CBC
    body.extend([1, 0]); // no compression
    // Not before TLS 1.2, and still sent by clients that are told to speak older ones: signatures, then curves.
    body.extend([0, 16, 0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 23]);
    let mut record = vec![
        0x16,
        3,
        1,
        0,
        body.len() as u8 + 4,
        1,
        0,
        0,
        body.len() as u8,
    ];
    record.extend(body);
    record
}

#[tokio::test]
async fn both_versions_are_spoken_and_the_older_one_can_be_refused() {
    let folder = Folder::new(&Authority::new("ca"));
    let connector = Connector::load(&folder.client()).unwrap();
    let gate = Gate::new(Some(load(&folder.tls())), false);
    let (client, _server) = talk(&gate, &connector).await;
    assert_eq!(version(&client), "TLSv1_3");
    let old = connect::tests::only_tls12(&folder.client());
    let (client, _server) = talk(&gate, &old).await;
    assert_eq!(version(&client), "TLSv1_2");

    let strict = Tls {
        min_version: TlsVersion::V13,
        ..folder.tls()
    };
    let gate = Gate::new(Some(load(&strict)), false);
    talk(&gate, &connector).await;
    let (client, server) = pair().await;
    let (heard, admitted) = within(async {
        tokio::join!(
            old.connect("127.0.0.1", client),
            gate.admit(server, later())
        )
    })
    .await;
    assert!(heard.is_err());
    assert_eq!(admitted.err(), Some(TurnedAway::Handshake("version")));
}

#[tokio::test]
async fn an_old_version_is_refused() {
    let folder = Folder::new(&Authority::new("ca"));
    let gate = Gate::new(Some(load(&folder.tls())), true);
    for old in [[3, 0], [3, 1], [3, 2]] {
        let (alert, why) = answer(&gate, &hello(old)).await;
        assert_eq!(alert.first(), Some(&0x15), "an alert");
        assert_eq!(
            alert.get(5..),
            Some(&[2, 70][..]),
            "fatal, protocol_version"
        );
        assert_eq!(why, TurnedAway::Handshake("version"));
    }
    // A real one of its time has no extensions.
    let mut bare = hello([3, 2]);
    bare.truncate(bare.len() - 18);
    let length = (bare.len() - 9) as u8;
    (bare[4], bare[8]) = (length + 4, length);
    let (alert, why) = answer(&gate, &bare).await;
    assert_eq!(alert.first(), Some(&0x15), "an alert");
    assert_eq!(why, TurnedAway::Handshake("version"));
}

#[tokio::test]
async fn garbage_is_refused() {
    let folder = Folder::new(&Authority::new("ca"));
    let gate = Gate::new(Some(load(&folder.tls())), true);
    for garbage in [
        &b"\x16garbage that is no record"[..],
        b"\x16\x03\x01\xff\xff\x01",
        b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff",
        b"\x16\x03\x01\x00\x00",
    ] {
        let (client, server) = pair().await;
        let mut client = client;
        client.write_all(garbage).await.unwrap();
        client.shutdown().await.unwrap();
        let admitted = within(gate.admit(server, later())).await;
        assert!(
            matches!(admitted.err(), Some(TurnedAway::Handshake(_))),
            "{garbage:?}"
        );
    }
}

#[tokio::test]
async fn plain_http_is_told_to_use_tls() {
    let folder = Folder::new(&Authority::new("ca"));
    let gate = Gate::new(Some(load(&folder.tls())), false);
    let (answer_, why) = answer(&gate, b"GET /mbws HTTP/1.1\r\nHost: h\r\n\r\n").await;
    let text = String::from_utf8(answer_).unwrap();
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert!(text.ends_with("use wss:// or https://.\n"), "{text}");
    assert_eq!(why, TurnedAway::Plain);
    // Where nobody speaks HTTP, nothing is said.
    let (answer_, why) = answer(&gate, b"\x10\x0c\x00\x04MQTT").await;
    assert_eq!((answer_, why), (Vec::new(), TurnedAway::Plain));
}

#[tokio::test]
async fn plain_and_encrypted_go_through_one_gate_where_both_may() {
    let folder = Folder::new(&Authority::new("ca"));
    let gate = Gate::new(Some(load(&folder.tls())), true);
    talk(&gate, &Connector::load(&folder.client()).unwrap()).await;
    let (mut client, server) = pair().await;
    client.write_all(b"GET").await.unwrap();
    let mut admitted = within(gate.admit(server, later())).await.ok().unwrap();
    assert!(!admitted.stream.is_tls());
    let mut read = [0; 3];
    admitted.stream.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"GET", "the first byte is still there");
}

#[tokio::test(start_paused = true)]
async fn whoever_stalls_is_turned_away_at_the_deadline() {
    let folder = Folder::new(&Authority::new("ca"));
    let gate = Gate::new(Some(load(&folder.tls())), false);
    for begun in [&b""[..], b"\x16", &hello([3, 3])[..20]] {
        let (mut client, server) = pair().await;
        client.write_all(begun).await.unwrap();
        let began = Instant::now();
        let admitted = gate.admit(server, began + Duration::from_secs(10)).await;
        assert_eq!(admitted.err(), Some(TurnedAway::TooSlow), "after {begun:?}");
        assert!(began.elapsed() < Duration::from_secs(11));
    }
}

#[tokio::test]
async fn a_client_certificate_is_believed_only_from_its_authority() {
    let (ca, clients, others) = (
        Authority::new("ca"),
        Authority::new("clients"),
        Authority::new("others"),
    );
    let folder = Folder::new(&ca);
    for auth in [ClientAuth::Optional, ClientAuth::Required] {
        let gate = Gate::new(Some(load(&folder.tls_with_clients(&clients, auth))), false);
        let good = clients.client("press-7");
        let connector = Connector::load(&folder.client_with(&good)).unwrap();
        let (_client, server) = talk(&gate, &connector).await;
        let der = server.certificate.unwrap();
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).unwrap();
        assert_eq!(parsed.subject().to_string(), "CN=press-7");

        let wrong = folder.client_with(&others.client("press-7"));
        let why = refusal(&gate, &wrong).await;
        assert_eq!(why, TurnedAway::Handshake("unknown-authority"));
        let over = folder.client_with(&clients.expired_client("press-7"));
        let why = refusal(&gate, &over).await;
        assert_eq!(why, TurnedAway::Handshake("expired-certificate"));
        // A certificate for servers is none for clients.
        let server = folder.client_with(&clients.server());
        let why = refusal(&gate, &server).await;
        assert_eq!(why, TurnedAway::Handshake("bad-certificate"));
    }
}

#[tokio::test]
async fn no_certificate_is_enough_unless_one_is_required() {
    let ca = Authority::new("ca");
    let folder = Folder::new(&ca);
    let connector = Connector::load(&folder.client()).unwrap();
    for auth in [ClientAuth::None, ClientAuth::Optional] {
        let gate = Gate::new(Some(load(&folder.tls_with_clients(&ca, auth))), false);
        let (_client, server) = talk(&gate, &connector).await;
        assert_eq!(server.certificate, None);
    }
    let required = folder.tls_with_clients(&ca, ClientAuth::Required);
    let gate = Gate::new(Some(load(&required)), false);
    let why = refusal(&gate, &folder.client()).await;
    assert_eq!(why, TurnedAway::Handshake("no-certificate"));
}

#[tokio::test]
async fn who_shows_a_certificate_shows_it_every_time() {
    let ca = Authority::new("ca");
    let folder = Folder::new(&ca);
    let connector = Connector::load(&folder.client()).unwrap();
    let gate = Gate::new(Some(load(&folder.tls())), false);
    talk(&gate, &connector).await;
    let (client, _server) = talk(&gate, &connector).await;
    assert_eq!(kind(&client), HandshakeKind::Resumed);

    let asks = folder.tls_with_clients(&ca, ClientAuth::Required);
    let gate = Gate::new(Some(load(&asks)), false);
    let client = folder.client_with(&ca.client("press-7"));
    for connector in [
        Connector::load(&client).unwrap(),
        connect::tests::only_tls12(&client),
    ] {
        talk(&gate, &connector).await;
        let (client, server) = talk(&gate, &connector).await;
        assert_eq!(kind(&client), HandshakeKind::Full);
        assert!(server.certificate.is_some());
    }
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_not_talked_to() {
    let folder = Folder::new(&Authority::new("ca"));
    let gate = Gate::new(Some(load(&folder.tls())), false);
    let other = Folder::new(&Authority::new("other"));
    let why = refusal(&gate, &other.client()).await;
    assert_eq!(why, TurnedAway::Handshake("distrusted"));
    // The authority is right, the name is not.
    let connector = Connector::load(&folder.client()).unwrap();
    let (client, server) = pair().await;
    let (heard, _) = within(async {
        tokio::join!(
            connector.connect("broker.example", client),
            gate.admit(server, later())
        )
    })
    .await;
    assert!(heard.is_err());
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_new_connections_only() {
    let ca = Authority::new("ca");
    let folder = Folder::new(&ca);
    let certificates = load(&folder.tls());
    let gate = Gate::new(Some(certificates.clone()), false);
    let connector = Connector::load(&folder.client()).unwrap();
    let (mut client, mut server) = talk(&gate, &connector).await;
    let first = shown(&client);
    certificates.look();
    assert_eq!(shown(&talk(&gate, &connector).await.0), first, "unchanged");
    folder.serve(&ca.server());
    certificates.look();
    assert_ne!(shown(&talk(&gate, &connector).await.0), first);
    echo(&mut client, &mut server).await;
}

#[tokio::test]
async fn a_broken_new_file_keeps_the_old_certificate() {
    let ca = Authority::new("ca");
    let folder = Folder::new(&ca);
    let certificates = load(&folder.tls());
    let gate = Gate::new(Some(certificates.clone()), false);
    let connector = Connector::load(&folder.client()).unwrap();
    let first = shown(&talk(&gate, &connector).await.0);
    let other = ca.server();
    let break_by: [&dyn Fn(); 5] = [
        &|| folder.write("server.pem", "no certificate"),
        &|| folder.write("server.pem", &other.certificate), // of another key
        &|| folder.write("server.key", ""),
        &|| fs::remove_file(folder.path("server.key")).unwrap(),
        &|| folder.serve(&ca.expired_server()),
    ];
    for broken in break_by {
        broken();
        certificates.look();
        certificates.reload();
        assert_eq!(shown(&talk(&gate, &connector).await.0), first);
    }
    folder.serve(&other);
    certificates.look();
    assert_ne!(
        shown(&talk(&gate, &connector).await.0),
        first,
        "whole again"
    );
}

#[test]
fn an_expired_certificate_is_served_with_and_told() {
    let ca = Authority::new("ca");
    let folder = Folder::new(&ca);
    assert!(!load(&folder.tls()).expiry().1);
    folder.serve(&ca.expired_server());
    let (at, expired) = load(&folder.tls()).expiry();
    assert!(expired && at.starts_with("Jan  1"), "{at}");
}

/// What [`check`] says, each as `KEY: the last words`.
fn findings(tls: &Tls) -> Vec<(&'static str, bool, String)> {
    let findings = check(tls).into_iter();
    findings.map(|it| (it.key, it.is_fault, it.text)).collect()
}

#[test]
fn everything_wrong_with_the_files_is_found_at_once() {
    let ca = Authority::new("ca");
    let folder = Folder::new(&ca);
    let tls = folder.tls_with_clients(&ca, ClientAuth::Optional);
    assert_eq!(findings(&tls), []);

    fs::remove_file(folder.path("server.pem")).unwrap();
    folder.write("server.key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n");
    folder.write("clients.pem", "hello");
    let found = findings(&tls);
    let keys: Vec<_> = found.iter().map(|it| (it.0, it.1)).collect();
    let expected = [
        ("tls.certificate", true),
        ("tls.key", true),
        ("tls.client-ca", true),
        ("tls.key", false), // `write` leaves it readable by all
    ];
    assert_eq!(keys, expected, "{found:?}");
    assert!(!format!("{found:?}").contains("c2VjcmV0"), "no secrets");
}

#[test]
fn a_key_of_another_certificate_is_found() {
    let ca = Authority::new("ca");
    let folder = Folder::new(&ca);
    folder.write("server.pem", &ca.server().certificate);
    let found = findings(&folder.tls());
    assert!(
        found[0]
            .2
            .contains("is not the key of the first certificate"),
        "{found:?}"
    );
    folder.serve(&ca.expired_server());
    let found = findings(&folder.tls());
    assert!(found[0].2.contains("expired on Jan  1"), "{found:?}");
}

#[test]
fn a_key_that_everybody_can_read_is_found() {
    let folder = Folder::new(&Authority::new("ca"));
    for (mode, is_odd) in [(0o600, false), (0o640, false), (0o644, true)] {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(folder.path("server.key"), mode).unwrap();
        let found = findings(&folder.tls());
        assert_eq!(!found.is_empty(), is_odd, "{found:?}");
        assert!(found.iter().all(|it| !it.1), "the broker runs all the same");
    }
}

#[test]
fn a_client_s_files_are_checked() {
    let folder = Folder::new(&Authority::new("ca"));
    let load = |options: ConnectOptions| Connector::load(&options).map(drop);
    assert!(load(folder.client()).is_ok());
    let half = ConnectOptions {
        certificate: Some(folder.path("server.pem")),
        ..folder.client()
    };
    assert!(matches!(load(half), Err(TlsError::Half)));
    let missing = ConnectOptions {
        ca: Some(folder.path("none")),
        ..ConnectOptions::default()
    };
    assert!(matches!(load(missing), Err(TlsError::Unreadable { .. })));
}
