//! Frames through a socket, both ways, and its ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use restante_proto::mbws::{Frame, Ranges};
use restante_storage::UnixMillis;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::protocol::Message as WsMessage;

use super::broker::Asked;
use super::server::{Server, answer, settings, within};
use crate::broker::{Call, Delivery, End, Event};
use crate::front::Settings;
use crate::message::Message;
use crate::session::mbws;

pub(super) fn send(seq: u64) -> String {
    format!("send\nseq:{seq}\naddress:a\n\nx")
}

pub(super) fn delivery(offset: u64, body: Bytes) -> Event {
    Event::Delivery(Box::new(Delivery {
        consumer: Arc::from("c"),
        offset,
        attempt: 1,
        barred: false,
        message: Arc::new(
            Message {
                address: "a".to_owned(),
                message_id: "m".to_owned(),
                correlation_id: None,
                reply_to: None,
                content_type: None,
                key: None,
                priority: 4,
                properties: BTreeMap::new(),
                time: UnixMillis::new(1),
                expires: None,
                body,
                text: false,
                ..Message::default()
            }
            .into(),
        ),
    }))
}

#[tokio::test]
async fn frames_become_calls_and_events_become_frames() {
    let mut server = Server::start().await;
    let (mut client, mut inner) = server.attach().await;
    client.send(&send(1)).await;
    assert!(matches!(inner.expect_call(1).await, Call::Publish(_)));
    inner.confirms(1);
    client.expect("confirm\nupto:1\n\n").await;
    client
        .send("consume\nseq:2\nconsumer:c\naddress:a\n\n")
        .await;
    assert!(matches!(inner.expect_call(2).await, Call::Consume(_)));
    client.send("hold\nconsumer:c\noffsets:7\n\n").await;
    let held = Asked::Hold("c".to_owned(), Ranges::from_iter([7]));
    assert_eq!(inner.next().await, Some(held));
    client.send("credit\nconsumer:c\nlimit:1\n\n").await;
    assert_eq!(inner.next().await, Some(Asked::Credit("c".to_owned(), 1)));
    inner.says(delivery(8, Bytes::from_static(b"\xff\x00")));
    match client.receive().await {
        Frame::Deliver(deliver) => assert_eq!(
            (deliver.offset, &*deliver.body.bytes),
            (8, &b"\xff\x00"[..])
        ),
        other => panic!("not a delivery: {other:?}"),
    }
}

#[tokio::test]
async fn frames_that_come_with_the_request_are_not_lost() {
    let mut server = Server::start().await;
    let mut stream = server.connect().await;
    let open = b"open\nversion:1\nuser:ann\npassword:pw\n\n";
    let mut bytes =
        b"GET /mbws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: MBWS.huawei.com\r\n\r\n"
            .to_vec();
    // A text frame under the mask 0.
    bytes.extend([0x81, 0x80 | open.len() as u8, 0, 0, 0, 0]);
    bytes.extend(open);
    stream.write_all(&bytes).await.unwrap();
    server.attached().await;
    assert!(
        within(answer(&mut stream))
            .await
            .starts_with("HTTP/1.1 101")
    );
}

#[tokio::test]
async fn what_comes_together_is_one_batch() {
    let mut server = Server::start().await;
    let (mut client, mut inner) = server.attach().await;
    for seq in 1..=20 {
        client.ws.feed(WsMessage::text(send(seq))).await.unwrap();
    }
    client.ws.flush().await.unwrap();
    assert_eq!(inner.batch().await.len(), 21);
}

#[tokio::test]
async fn a_used_up_window_stops_the_reading_until_something_is_confirmed() {
    let mut server = Server::with(Settings {
        mbws: mbws::Settings {
            window: 2,
            ..settings().mbws
        },
        ..settings()
    })
    .await;
    let (mut client, mut inner) = server.attach().await;
    for seq in 1..=3 {
        client.ws.feed(WsMessage::text(send(seq))).await.unwrap();
    }
    client.ws.flush().await.unwrap();
    inner.expect_call(1).await;
    inner.expect_call(2).await;
    inner.says(delivery(1, Bytes::new()));
    client.receive().await;
    assert!(matches!(inner.batch().await.as_slice(), [Asked::Flush]));
    assert!(!inner.has_been_asked());
    inner.confirms(1);
    inner.expect_call(3).await;
}

#[tokio::test]
async fn a_broker_without_room_stops_the_reading() {
    let mut server = Server::start().await;
    let (mut client, mut inner) = server.attach().await;
    inner.has_room(false);
    // What the broker says comes through; after it the driver has seen that there is no room.
    inner.says(delivery(1, Bytes::new()));
    client.receive().await;
    client.send(&send(1)).await;
    inner.says(delivery(2, Bytes::new()));
    client.receive().await;
    assert!(!inner.has_been_asked());
    inner.has_room(true);
    inner.expect_call(1).await;
}

#[tokio::test]
async fn close_ends_the_session_after_what_was_sent_before_it() {
    let mut server = Server::start().await;
    let (mut client, mut inner) = server.attach().await;
    client.ws.feed(WsMessage::text(send(1))).await.unwrap();
    client.send("close\n\n").await;
    inner.expect_call(1).await;
    assert_eq!(inner.next().await, Some(Asked::End));
    client.expect_close(1000).await;
}

#[tokio::test]
async fn a_socket_that_is_gone_ends_the_attachment_and_not_the_session() {
    let mut server = Server::start().await;
    let (client, mut inner) = server.attach().await;
    drop(client);
    assert_eq!(inner.next().await, None);
}

#[tokio::test]
async fn a_websocket_close_is_answered_and_ends_the_attachment() {
    let mut server = Server::start().await;
    let (mut client, mut inner) = server.attach().await;
    client.ws.close(None).await.unwrap();
    assert_eq!(inner.next().await, None);
    assert!(matches!(
        within(client.ws.next()).await,
        Some(Ok(WsMessage::Close(_)))
    ));
    client.expect_gone().await;
}

#[tokio::test]
async fn a_session_that_is_taken_over_is_told_so() {
    let mut server = Server::start().await;
    let (mut client, mut inner) = server.attach().await;
    inner.says(Event::Ended(End::TakenOver));
    client.expect_fatal("taken-over", 4410).await;
    assert_eq!(inner.next().await, None);
}

#[tokio::test]
async fn what_is_under_way_at_shutdown_is_confirmed_first() {
    let mut server = Server::start().await;
    let (mut client, mut inner) = server.attach().await;
    client.send(&send(1)).await;
    inner.expect_call(1).await;
    server.shut_down();
    inner.confirms(1);
    client.expect("confirm\nupto:1\n\n").await;
    client.expect_fatal("shutting-down", 1001).await;
    server.ends().await;
}

#[tokio::test]
async fn a_shutdown_ends_what_is_not_attached_yet() {
    let server = Server::start().await;
    let _silent = server.connect().await;
    let mut upgraded = server.upgrade(&[]).await;
    server.shut_down();
    upgraded.expect_fatal("shutting-down", 1001).await;
    server.ends().await;
}
