//! Deadlines, limits, and input that no client of good will sends.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::Message as WsMessage;

use super::broker::Asked;
use super::conversation::{delivery, send};
use super::server::{Server, answer, settings, within};
use crate::broker::{Attachment, Broker, End, Event};
use crate::front::Settings;
use crate::front::ration::STRANGER_BYTES_MAX;
use crate::session::mbws;
use crate::tls::tests::authority::{Authority, Folder};
use crate::tls::{Certificates, Gate};
use restante_proto::mbws::Frame;

const SHORT: Duration = Duration::from_millis(200);
/// Within which something must get done, also on a busy machine.
const AMPLE: Duration = Duration::from_secs(1);

fn with_mbws(change: impl FnOnce(&mut mbws::Settings)) -> Settings {
    let mut settings = settings();
    change(&mut settings.mbws);
    settings
}

/// A connection that stalls after `begun` is cut when its time is over, and not before.
async fn check_stalled(server: &Server, begun: &[u8]) {
    let began = Instant::now();
    let mut stream = server.connect().await;
    stream.write_all(begun).await.unwrap();
    let answer = within(answer(&mut stream)).await;
    assert!(!answer.starts_with("HTTP/1.1 101"), "{answer}");
    let lasted = began.elapsed();
    assert!((AMPLE..AMPLE * 2).contains(&lasted), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_stalls_on_the_way_in_is_cut_at_the_one_deadline() {
    let authority = Authority::new("ca");
    let folder = Folder::new(&authority);
    let certificates = Certificates::load(&folder.tls()).unwrap();
    let gate = Gate::new(certificates, true);
    let settings = with_mbws(|mbws| mbws.open_within = AMPLE);
    for gate in [Gate::plain(), gate] {
        let server = Server::behind(gate.clone(), settings.clone()).await;
        check_stalled(&server, b"").await;
        check_stalled(&server, b"G").await;
        check_stalled(&server, b"GET /mbws HTTP/1.1\r\nX: ").await;
        if gate.takes_tls() {
            check_stalled(&server, b"\x16").await;
            check_stalled(&server, b"\x16\x03\x01\x02\x00\x01\x00").await;
            let mut silent = server.connect_over_tls(&folder.client()).await;
            assert_eq!(answer(&mut silent).await, "");
        }
        let mut upgraded = server.upgrade(&[]).await;
        upgraded.expect_fatal("protocol", 1002).await;
    }
}

/// A client of another address of this machine.
async fn elsewhere(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    socket.connect(server.address()).await.unwrap()
}

#[tokio::test]
async fn a_thousand_stalled_connections_of_one_address_keep_nobody_else_out() {
    let mut server = Server::with(Settings {
        connections_max: 100,
        unauthenticated_per_address: 50,
        ..settings()
    })
    .await;
    // Those that have said who they are do not count.
    let (_first, _) = server.attach().await;
    let mut stalled = Vec::new();
    for _ in 0..1000 {
        stalled.push(server.connect().await);
    }
    let refused = server.request("GET /mbws HTTP/1.1\r\n\r\n").await;
    // After many refusals at once the rest is cut without a word.
    assert!(
        refused.is_empty() || refused.starts_with("HTTP/1.1 429"),
        "{refused}"
    );
    for _ in 0..2 {
        let other = elsewhere(&server).await;
        let mut client = server.upgrade_on(other.into(), &[]).await;
        client
            .send("open\nversion:1\nuser:ann\npassword:pw\n\n")
            .await;
        let _inner = server.attached().await;
        assert!(matches!(client.receive().await, Frame::Opened(_)));
    }
    // Their places are free as soon as they are gone.
    drop(stalled);
    let head = "GET /mbws HTTP/1.1\r\nHost: h\r\n\r\n";
    within(async { while !server.request(head).await.starts_with("HTTP/1.1 426") {} }).await;
}

#[tokio::test]
async fn too_many_newcomers_are_told_so() {
    let server = Server::with(Settings {
        unauthenticated_per_address: 1,
        ..settings()
    })
    .await;
    let mut first = server.upgrade(&[]).await;
    let refused = server.request("GET /mbws HTTP/1.1\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    let open = "open\nversion:1\nuser:ann\npassword:pw\n\n";
    first.send(open).await;
    assert!(matches!(first.receive().await, Frame::Opened(_)));
    let second = server.upgrade(&[]).await;
    drop(second);
}

#[tokio::test]
async fn an_answer_about_credentials_that_does_not_come_is_cut_at_the_deadline() {
    let server = Server::with(with_mbws(|mbws| mbws.open_within = SHORT)).await;
    let answer = server
        .request(
            "GET /mbws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: MBWS.huawei.com\r\nAuthorization: Bearer slow\r\n\r\n",
        )
        .await;
    assert_eq!(answer, "");
}

#[tokio::test(start_paused = true)]
async fn credentials_of_open_are_believed_before_the_deadline_or_not_at_all() {
    let server = Server::with(with_mbws(|mbws| mbws.open_within = AMPLE)).await;
    let began = Instant::now();
    let mut client = server.upgrade(&[]).await;
    client.send("open\nversion:1\ntoken:slow\n\n").await;
    client.expect_fatal("internal", 1011).await;
    assert!(began.elapsed() < AMPLE * 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_open_that_does_not_come_is_cut_at_the_deadline() {
    let server = Server::with(with_mbws(|mbws| mbws.open_within = AMPLE)).await;
    let mut client = server.upgrade(&[]).await;
    client.expect_fatal("protocol", 1002).await;
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let mut server = Server::with(Settings {
        connections_max: 1,
        ..settings()
    })
    .await;
    let (mut first, mut inner) = server.attach().await;
    let refused = server
        .request("GET /mbws HTTP/1.1\r\nHost: h\r\n\r\n")
        .await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    first.send(&send(1)).await;
    inner.expect_call(1).await;
    first.send("close\n\n").await;
    first.expect_close(1000).await;
    drop(first);
    // The place is free as soon as the first connection's task has ended.
    within(async {
        let head = "GET /mbws HTTP/1.1\r\nHost: h\r\n\r\n";
        while !server.request(head).await.starts_with("HTTP/1.1 426") {}
    })
    .await;
}

#[tokio::test]
async fn bad_messages_are_answered_with_their_code() {
    for (bytes, code, close_code) in [
        (
            frame(0x81, b"credit\nconsumer:\xff\nlimit:1\n\n"),
            "not-utf8",
            1007,
        ),
        (frame(0x81, b"fly\n\n"), "protocol", 1002),
        (frame(0x82, b"\xff\xff\xff"), "protocol", 1002),
        (
            vec![0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            "too-big",
            1009,
        ),
        (
            vec![
                0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
            ],
            "too-big",
            1009,
        ),
        (vec![0x81, 0x00], "protocol", 1002),  // not masked
        (frame(0xf1, b"x"), "protocol", 1002), // reserved bits
        (frame(0x83, b"x"), "protocol", 1002), // unknown opcode
        (frame(0x80, b"x"), "protocol", 1002), // a continuation of nothing
        (frame(0x09, b"x"), "protocol", 1002), // a ping in fragments
    ] {
        let mut server = Server::start().await;
        let (mut client, mut inner) = server.attach().await;
        client.ws.get_mut().write_all(&bytes).await.unwrap();
        client.expect_fatal(code, close_code).await;
        while let Some(asked) = within(inner.next()).await {
            assert_eq!(asked, Asked::Flush);
        }
    }
}

/// The head of a message of 200,000 bytes, and so much of it that no stranger may send more.
fn long_message() -> Vec<u8> {
    let mut bytes = vec![0x82, 0xff, 0, 0, 0, 0, 0, 3, 0x0d, 0x40, 0, 0, 0, 0];
    bytes.resize(STRANGER_BYTES_MAX + 16 * 1024, 0);
    bytes
}

#[tokio::test]
async fn before_a_client_is_known_its_messages_are_short() {
    for mut server in [Server::start().await, Server::over_tls(settings()).await] {
        let mut client = server.upgrade(&[]).await;
        client
            .ws
            .get_mut()
            .write_all(&long_message())
            .await
            .unwrap();
        client.ws.get_mut().flush().await.unwrap();
        // The rest is not waited for.
        client.expect_fatal("too-big", 1009).await;
        // Of whom is known one such is taken.
        let (mut client, mut inner) = server.attach().await;
        let body = "x".repeat(200_000);
        client.send(&format!("{}{body}", send(1))).await;
        inner.expect_call(1).await;
    }
}

#[tokio::test]
async fn what_comes_behind_an_open_waits_until_its_client_is_known() {
    let mut server = Server::start().await;
    let mut client = server.upgrade(&[]).await;
    client
        .send("open\nversion:1\nuser:ann\npassword:pw\n\n")
        .await;
    let body = "x".repeat(STRANGER_BYTES_MAX);
    for seq in 1..=3 {
        client.send(&format!("{}{body}", send(seq))).await;
    }
    let mut inner = server.attached().await;
    for seq in 1..=3 {
        inner.expect_call(seq).await;
    }
}

/// A WebSocket frame under the mask 0.
fn frame(first_byte: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte, 0x80 | payload.len() as u8, 0, 0, 0, 0];
    bytes.extend(payload);
    bytes
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_not_written_to() {
    check_lazy(Server::start().await).await;
    check_lazy(Server::over_tls(settings()).await).await;
}

async fn check_lazy(mut server: Server) {
    const BODY: usize = 64 * 1024;
    const MESSAGES: u64 = 1000;
    let (mut lazy, lazy_inner) = server.attach().await;
    let (mut busy, mut busy_inner) = server.attach().await;
    for offset in 1..=MESSAGES {
        lazy_inner.says(delivery(offset, Bytes::from(vec![7; BODY])));
    }
    // Others are served meanwhile, and more is still with the broker than the kernel and the front can hold.
    for seq in 1..=100 {
        busy.send(&send(seq)).await;
        busy_inner.expect_call(seq).await;
        busy_inner.confirms(seq);
        busy.receive().await;
    }
    assert!(
        lazy_inner.waiting() > MESSAGES as usize / 4,
        "{} wait",
        lazy_inner.waiting()
    );
    // Once it reads, everything comes.
    for _ in 1..=MESSAGES {
        lazy.receive().await;
    }
    assert_eq!(lazy_inner.waiting(), 0);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_let_go_of_all_the_same() {
    for mut server in [Server::start().await, Server::over_tls(settings()).await] {
        let (_lazy, mut inner) = server.attach().await;
        for offset in 1..=1000 {
            inner.says(delivery(offset, Bytes::from(vec![7; 64 * 1024])));
        }
        inner.calls_out(Event::Ended(End::Revoked));
        // Far sooner than it would be given up for its silence.
        assert_eq!(inner.next().await, None);
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_given_up() {
    let settings = with_mbws(|mbws| mbws.heartbeat = SHORT);
    for mut server in [
        Server::with(settings.clone()).await,
        Server::over_tls(settings.clone()).await,
    ] {
        let (_lazy, mut inner) = server.attach().await;
        for offset in 1..=1000 {
            inner.says(delivery(offset, Bytes::from(vec![7; 64 * 1024])));
        }
        assert_eq!(inner.next().await, None);
    }
}

#[tokio::test]
async fn a_peer_that_answers_pings_lives() {
    let mut server = Server::with(with_mbws(|mbws| mbws.heartbeat = AMPLE)).await;
    let (mut client, _inner) = server.attach().await;
    for _ in 0..3 {
        let message = within(client.ws.next()).await.unwrap().unwrap();
        assert!(matches!(message, WsMessage::Ping(_)), "{message:?}");
        client.ws.flush().await.unwrap();
    }
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let mut server = Server::with(with_mbws(|mbws| mbws.heartbeat = SHORT)).await;
    let (_silent, mut inner) = server.attach().await;
    assert_eq!(inner.next().await, None);
}

/// Beside it an idle connection costs its attachment and, over WebSocket, its read buffer of 8 KiB (MBWS) or 2 KiB; 15 KiB
/// in all is the aim, and 12 KiB with MQTT.
#[test]
fn a_connection_s_task_is_small() {
    fn size_of_result<A, B, C, D, R>(_: impl FnOnce(A, B, C, D) -> R) -> usize {
        size_of::<R>()
    }
    let task = size_of_result(crate::front::accept::connection::<Broker>);
    let bytes = task + size_of::<Attachment>();
    assert!(bytes <= 5 * 1024, "{bytes} bytes, {task} of them the task");
}

#[tokio::test]
async fn out_of_file_descriptors_is_no_fault_of_one_connection() {
    use std::io::{Error, ErrorKind};
    let of_one = crate::front::accept::is_of_one_connection;
    assert!(of_one(&Error::from(ErrorKind::ConnectionAborted)));
    assert!(!of_one(&Error::from_raw_os_error(24))); // EMFILE
    assert!(!of_one(&Error::from_raw_os_error(23))); // ENFILE
}
