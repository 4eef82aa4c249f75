//! Deadlines, limits, and peers that do not do their part.

use std::time::Duration;

use bytes::Bytes;
use restante_proto::mqtt::{Packet, ReasonCode};
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::super::server::{Server, answer, settings, within};
use super::client::{
    BOTH, Client, Over, attach, attach_on, bytes_of, connect_of, delivery, publish, subscribed,
};
use crate::front::{Settings, Takes};
use crate::tls::Stream;
use crate::tls::tests::authority::{Authority, Folder};
use crate::tls::{Certificates, Gate};

const SHORT: Duration = Duration::from_millis(200);
/// Within which something must get done, also on a busy machine.
const AMPLE: Duration = Duration::from_secs(1);

fn deadline_of(within: Duration) -> Settings {
    let mut settings = settings();
    settings.mbws.open_within = within;
    if let Some(mqtt) = &mut settings.mqtt {
        mqtt.session.connect_within = within;
    }
    settings
}

fn heartbeat_of(heartbeat: Duration) -> Settings {
    let mut settings = settings();
    settings.mbws.heartbeat = heartbeat;
    settings
}

fn lasted_as_long_as_it_may(began: Instant) {
    let lasted = began.elapsed();
    assert!((AMPLE..AMPLE * 2).contains(&lasted), "{lasted:?}");
}

/// A connection that stalls after `begun` is cut when its time is over, without a word, and not before.
async fn check_stalled(mut stream: Stream, begun: &[u8]) {
    let began = Instant::now();
    stream.write_all(begun).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(within(answer(&mut stream)).await, "", "{begun:?}");
    lasted_as_long_as_it_may(began);
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_does_not_come_whole_is_cut_at_the_one_deadline() {
    let folder = Folder::new(&Authority::new("ca"));
    let certificates = Certificates::load(&folder.tls()).unwrap();
    let gate = Gate::new(certificates, true);
    let connect = bytes_of(&connect_of("ann", "pw"));
    let (half, _) = connect.split_at(connect.len() / 2);
    for takes in [Takes::All, Takes::Mqtt] {
        let settings = deadline_of(AMPLE);
        let server = Server::taking(takes, gate.clone(), settings).await;
        for begun in [&b""[..], b"\x10", b"\x10\xff", half] {
            check_stalled(server.connect().await.into(), begun).await;
            let encrypted = server.connect_over_tls(&folder.client()).await;
            check_stalled(encrypted, begun).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn over_websocket_a_connect_has_the_same_deadline() {
    let server = Server::with(deadline_of(AMPLE)).await;
    for begun in [&b""[..], b"\x10", b"\x10\xff"] {
        let mut client = Client::new(&server, Over::WebSocket).await;
        let began = Instant::now();
        client.send_bytes(begun).await;
        client.expect_end(1000).await;
        lasted_as_long_as_it_may(began);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_trickles_is_cut_at_the_one_deadline() {
    let server = Server::with(deadline_of(AMPLE)).await;
    let mut stream = server.connect().await;
    let began = Instant::now();
    let trickle = async {
        // Ten bytes a second: it would take ten of them.
        for byte in b"\x10\x80\x01\x00\x04MQTT\x05".iter().chain(&[0; 100]) {
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::advance(AMPLE / 10).await;
        }
        panic!("it was not cut");
    };
    within(trickle).await;
    assert!(began.elapsed() < AMPLE * 2);
}

#[tokio::test(start_paused = true)]
async fn credentials_of_a_connect_are_believed_before_the_deadline_or_not_at_all() {
    let server = Server::with(deadline_of(AMPLE)).await;
    let began = Instant::now();
    let mut client = Client::new(&server, Over::Tcp).await;
    let Packet::Connect(mut connect) = connect_of("ann", "slow") else {
        unreachable!("it is one");
    };
    connect.user_name = None;
    client.send(Packet::Connect(connect)).await;
    client.expect_connack(ReasonCode::ServerBusy).await;
    client.expect_end(1008).await;
    assert!(began.elapsed() < AMPLE * 2);
}

#[tokio::test]
async fn who_has_sent_no_connect_is_a_newcomer() {
    for takes in [Takes::All, Takes::Mqtt] {
        let settings = Settings {
            unauthenticated_per_address: 1,
            ..settings()
        };
        let mut server = Server::taking(takes, Gate::plain(), settings).await;
        let mut first = Client::new(&server, Over::Tcp).await;
        first.send_bytes(b"\x10").await;
        let refused = server.request("GET /mbws HTTP/1.1\r\n\r\n").await;
        match takes {
            Takes::All => assert!(refused.starts_with("HTTP/1.1 429"), "{refused}"),
            Takes::Mqtt | Takes::Wamp => assert_eq!(refused, ""),
        }
        let connect = bytes_of(&connect_of("ann", "pw"));
        first.send_bytes(connect.get(1..).unwrap()).await;
        let _inner = server.attached().await;
        first.expect_connack(ReasonCode::Success).await;
        // Who has said who it is, is none.
        attach(&mut server, Over::Tcp).await;
    }
}

#[tokio::test]
async fn one_connection_too_many_is_refused_as_it_can_be() {
    for takes in [Takes::All, Takes::Mqtt] {
        let settings = Settings {
            connections_max: 1,
            ..settings()
        };
        let mut server = Server::taking(takes, Gate::plain(), settings).await;
        let (mut client, mut inner) = attach(&mut server, Over::Tcp).await;
        let connect = bytes_of(&connect_of("bob", "pw"));
        let mut refused = server.connect().await;
        refused.write_all(&connect).await.unwrap();
        let told = within(answer(&mut refused)).await;
        match takes {
            Takes::All => assert!(told.starts_with("HTTP/1.1 503"), "{told}"),
            Takes::Mqtt | Takes::Wamp => assert_eq!(told, ""),
        }
        client.send(publish(1, b"x")).await;
        inner.expect_call(1).await;
    }
}

#[tokio::test]
async fn a_mqtt_peer_that_does_not_read_is_not_written_to() {
    for over in BOTH {
        check_lazy(Server::start().await, over).await;
        check_lazy(Server::over_tls(settings()).await, over).await;
    }
}

async fn check_lazy(mut server: Server, over: Over) {
    const BODY: usize = 64 * 1024;
    const MESSAGES: usize = 1000;
    let stream = server.stream().await;
    let (mut lazy, mut lazy_inner) = attach_on(&mut server, stream, over).await;
    let stream = server.stream().await;
    let (mut busy, mut busy_inner) = attach_on(&mut server, stream, over).await;
    subscribed(&mut lazy, &mut lazy_inner).await;
    for _ in 0..MESSAGES {
        lazy_inner.says(delivery(0, Bytes::from(vec![7; BODY])));
    }
    // Others are served meanwhile, and more is still with the broker than the kernel and the front can hold.
    for seq in 1..=100 {
        busy.send(publish(seq, b"x")).await;
        busy_inner.expect_call(seq.into()).await;
        busy_inner.confirms(seq.into());
        busy.receive().await;
    }
    let waiting = lazy_inner.waiting();
    assert!(waiting > MESSAGES / 4, "{waiting} wait");
    // Once it reads, everything comes.
    for _ in 0..MESSAGES {
        lazy.receive().await;
    }
    assert_eq!(lazy_inner.waiting(), 0);
}

#[tokio::test]
async fn a_mqtt_peer_that_takes_nothing_is_given_up() {
    for over in BOTH {
        for mut server in [
            Server::with(heartbeat_of(SHORT)).await,
            Server::over_tls(heartbeat_of(SHORT)).await,
        ] {
            let stream = server.stream().await;
            let (mut lazy, mut inner) = attach_on(&mut server, stream, over).await;
            subscribed(&mut lazy, &mut inner).await;
            for _ in 0..1000 {
                inner.says(delivery(0, Bytes::from(vec![7; 64 * 1024])));
            }
            assert_eq!(inner.next().await, None);
        }
    }
}

/// A client that waits for its own acknowledgement before it gives any must get it.
#[tokio::test]
async fn confirms_go_past_deliveries_that_are_not_wanted() {
    let mut server = Server::start().await;
    let mut client = Client::new(&server, Over::Tcp).await;
    let Packet::Connect(mut connect) = connect_of("ann", "pw") else {
        unreachable!("it is one");
    };
    connect.properties.receive_maximum = std::num::NonZeroU16::new(1);
    client.send(Packet::Connect(connect)).await;
    let mut inner = server.attached().await;
    client.expect_connack(ReasonCode::Success).await;
    subscribed(&mut client, &mut inner).await;
    for _ in 0..1000 {
        inner.says(delivery(1, Bytes::from(vec![7; 4096])));
    }
    assert!(matches!(client.receive().await, Packet::Publish(_)));
    client.send(publish(1, b"x")).await;
    inner.expect_call(2).await;
    assert!(inner.waiting() > 0, "all deliveries were taken");
    inner.confirms(2);
    assert!(matches!(client.receive().await, Packet::Puback(_)));
    assert!(inner.waiting() > 0, "all deliveries were taken");
}

#[tokio::test]
async fn a_broker_without_room_stops_the_reading_of_mqtt() {
    let mut server = Server::start().await;
    for over in BOTH {
        let (mut client, mut inner) = attach(&mut server, over).await;
        subscribed(&mut client, &mut inner).await;
        inner.has_room(false);
        // What the broker says comes through; after it the driver has seen that there is no room.
        inner.says(delivery(0, Bytes::new()));
        client.receive().await;
        inner.drop_flushes();
        client.send(publish(1, b"x")).await;
        inner.says(delivery(0, Bytes::new()));
        client.receive().await;
        inner.drop_flushes();
        assert!(!inner.has_been_asked());
        inner.has_room(true);
        inner.expect_call(2).await;
    }
}

/// A client with a keep alive of one second.
async fn attach_impatient(server: &mut Server) -> (Client, super::super::broker::Inner) {
    let mut client = Client::new(server, Over::Tcp).await;
    let Packet::Connect(mut connect) = connect_of("ann", "pw") else {
        unreachable!("it is one");
    };
    connect.keep_alive_secs = 1;
    client.send(Packet::Connect(connect)).await;
    let inner = server.attached().await;
    client.expect_connack(ReasonCode::Success).await;
    (client, inner)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_silent_for_longer_than_it_said_is_given_up() {
    let mut server = Server::start().await;
    let (mut client, mut inner) = attach_impatient(&mut server).await;
    let began = Instant::now();
    let code = ReasonCode::KeepAliveTimeout;
    client.expect_disconnect(code, 1008).await;
    let lasted = began.elapsed();
    assert!((AMPLE..AMPLE * 2).contains(&lasted), "{lasted:?}");
    assert_eq!(inner.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_broker_without_room_is_not_the_client_s_silence() {
    let mut server = Server::start().await;
    let (mut client, mut inner) = attach_impatient(&mut server).await;
    subscribed(&mut client, &mut inner).await;
    inner.has_room(false);
    inner.says(delivery(0, Bytes::new()));
    client.receive().await;
    for _ in 0..10 {
        client.send(Packet::Pingreq).await;
        tokio::time::advance(AMPLE).await;
    }
    inner.has_room(true);
    for _ in 0..10 {
        assert_eq!(client.receive().await, Packet::Pingresp);
    }
}
