//! Bytes through a socket, both ways, and its ends.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use restante_proto::mqtt::{Disconnect, Packet, ReasonCode};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::super::broker::{Asked, Inner};
use super::super::server::{Server, settings};
use super::client::{
    BOTH, Client, Over, Wire, attach, bytes_of, connect_of, delivery, publish, subscribed,
};
use crate::broker::{Call, End, Event};
use crate::front::ration::STRANGER_BYTES_MAX;
use crate::front::{Mqtt, Settings};

/// CONNECT and what may follow at once.
fn conversation() -> Bytes {
    let mut bytes = BytesMut::new();
    for packet in [
        connect_of("ann", "pw"),
        publish(1, b"one"),
        publish(2, &[7; 200]),
        Packet::Pingreq,
        publish(3, b""),
    ] {
        bytes.put(bytes_of(&packet));
    }
    bytes.freeze()
}

/// The conversation came whole.
async fn check_conversation(mut client: Client, mut inner: Inner) {
    client.expect_connack(ReasonCode::Success).await;
    for (tag, payload) in [(1, &b"one"[..]), (2, &[7; 200]), (3, b"")] {
        match inner.expect_call(tag).await {
            Call::Publish(message) => assert_eq!(message.body, payload),
            other => panic!("not a publish: {other:?}"),
        }
        inner.confirms(tag);
        let mut packet = client.receive().await;
        if packet == Packet::Pingresp {
            packet = client.receive().await;
        }
        assert!(matches!(packet, Packet::Puback(ack) if u64::from(ack.packet_id.get()) == tag));
    }
}

#[tokio::test]
async fn packets_may_be_cut_anywhere() {
    let bytes = conversation();
    let mut server = Server::start().await;
    for over in BOTH {
        for cut in 1..bytes.len() {
            let mut client = Client::new(&server, over).await;
            let (head, tail) = bytes.split_at(cut);
            client.send_bytes(head).await;
            if let Wire::WebSocket(_) = &client.wire {
                client.send_bytes(b"").await;
            }
            // Long enough for what came to be read, if it is to be: what is asserted holds either way.
            tokio::task::yield_now().await;
            client.send_bytes(tail).await;
            let inner = server.attached().await;
            check_conversation(client, inner).await;
        }
    }
}

#[tokio::test]
async fn every_byte_may_come_alone() {
    let bytes = conversation();
    let mut server = Server::start().await;
    for over in BOTH {
        let mut client = Client::new(&server, over).await;
        for byte in &bytes {
            client.send_bytes(&[*byte]).await;
        }
        let inner = server.attached().await;
        check_conversation(client, inner).await;
    }
}

#[tokio::test]
async fn a_message_of_a_websocket_may_be_in_fragments() {
    let bytes = conversation();
    let mut server = Server::start().await;
    let mut client = Client::new(&server, Over::WebSocket).await;
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    let mut frames = Vec::new();
    // A binary frame that is not the last, a ping in between, and a continuation that is; all under the mask 0.
    for (first, payload) in [(0x02, head), (0x89, &b""[..]), (0x80, tail)] {
        frames.extend([first, 0x80 | 126]);
        frames.extend((payload.len() as u16).to_be_bytes());
        frames.extend([0; 4]);
        frames.extend(payload);
        if payload.is_empty() {
            // A control frame has a length of one byte.
            frames.truncate(frames.len() - 7);
            frames.extend([0x80, 0, 0, 0, 0]);
        }
    }
    if let Wire::WebSocket(ws) = &mut client.wire {
        ws.get_mut().write_all(&frames).await.unwrap();
    }
    let inner = server.attached().await;
    client.expect_pong().await;
    check_conversation(client, inner).await;
}

#[tokio::test]
async fn what_comes_together_is_one_batch() {
    let mut server = Server::start().await;
    for over in BOTH {
        let (mut client, mut inner) = attach(&mut server, over).await;
        // What the session asks for of itself.
        assert_eq!(inner.batch().await, [Asked::Flush]);
        let together: Vec<u8> = (1..=20)
            .flat_map(|id| bytes_of(&publish(id, b"x")))
            .collect();
        client.send_bytes(&together).await;
        assert_eq!(inner.batch().await.len(), 21);
        inner.confirms(20);
        for _ in 1..=20 {
            assert!(matches!(client.receive().await, Packet::Puback(_)));
        }
    }
}

#[tokio::test]
async fn what_is_ready_together_is_written_together() {
    let mut server = Server::start().await;
    let (mut client, mut inner) = attach(&mut server, Over::WebSocket).await;
    let together: Vec<u8> = (1..=20)
        .flat_map(|id| bytes_of(&publish(id, b"x")))
        .collect();
    client.send_bytes(&together).await;
    inner.expect_call(1).await;
    inner.confirms(20);
    assert!(matches!(client.receive().await, Packet::Puback(_)));
    // The other nineteen came in the same message.
    assert_eq!(client.waiting_bytes(), 19 * bytes_of(&puback()).len());
}

fn puback() -> Packet {
    use restante_proto::mqtt::{Ack, PacketId};
    Packet::Puback(Ack::new(PacketId::FIRST, ReasonCode::Success))
}

#[tokio::test]
async fn a_large_packet_goes_both_ways() {
    let mut server = Server::start().await;
    for over in BOTH {
        let (mut client, mut inner) = attach(&mut server, over).await;
        subscribed(&mut client, &mut inner).await;
        let body = vec![7; 200_000];
        client.send(publish(1, &body)).await;
        match inner.expect_call(2).await {
            Call::Publish(message) => assert_eq!(message.body, body),
            other => panic!("not a publish: {other:?}"),
        }
        inner.says(delivery(0, Bytes::from(body.clone())));
        match client.receive().await {
            Packet::Publish(publish) => assert_eq!(publish.payload, body),
            other => panic!("not a publish: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_text_message_ends_the_connection() {
    let mut server = Server::start().await;
    let mut client = Client::new(&server, Over::WebSocket).await;
    client.send_text("\u{10}").await;
    client.expect_end(1003).await;
    let (mut client, mut inner) = attach(&mut server, Over::WebSocket).await;
    client.feed(&bytes_of(&publish(1, b"x"))).await;
    client.send_text("").await;
    client.expect_end(1003).await;
    // What came before it counts.
    inner.expect_call(1).await;
    assert_eq!(inner.next().await, None);
}

#[tokio::test]
async fn what_breaks_the_websocket_s_rules_ends_it() {
    for (bytes, close_code) in [
        (&[0x82, 0x00][..], 1002),                                 // not masked
        (&[0xc2, 0x80, 0, 0, 0, 0], 1002), // a reserved bit: no extension was agreed on
        (&[0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 1009), // claims 4 GiB
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], 1003), // text, and not even UTF-8
    ] {
        let mut server = Server::start().await;
        let (mut client, mut inner) = attach(&mut server, Over::WebSocket).await;
        if let Wire::WebSocket(ws) = &mut client.wire {
            ws.get_mut().write_all(bytes).await.unwrap();
        }
        client.expect_end(close_code).await;
        assert_eq!(inner.next().await, None);
    }
}

#[tokio::test]
async fn bad_packets_are_answered_with_their_code() {
    for over in BOTH {
        for (bytes, reason, close_code) in [
            (&b"\x00\x00"[..], ReasonCode::MalformedPacket, 1002),
            (
                b"\x36\x05\x00\x01a\x00\x01",
                ReasonCode::MalformedPacket,
                1002,
            ),
            (b"\x10\x00", ReasonCode::ProtocolError, 1002),
            // Claims more than is taken, and has nothing of it.
            (b"\x30\xff\xff\xff\x7f", ReasonCode::PacketTooLarge, 1009),
            (
                b"\x30\xff\xff\xff\xff\x7f",
                ReasonCode::MalformedPacket,
                1002,
            ),
        ] {
            let mut server = Server::start().await;
            let (mut client, mut inner) = attach(&mut server, over).await;
            let (mut other, mut other_inner) = attach(&mut server, over).await;
            client.send_bytes(bytes).await;
            client.expect_disconnect(reason, close_code).await;
            assert_eq!(inner.next().await, None);
            // Nobody else notices.
            other.send(publish(1, b"x")).await;
            other_inner.expect_call(1).await;
        }
    }
}

#[tokio::test]
async fn before_a_connect_is_granted_packets_are_small() {
    let server = Server::start().await;
    for over in BOTH {
        let mut client = Client::new(&server, over).await;
        // A CONNECT that says that it has 128 KiB; later on it would be taken.
        client.send_bytes(b"\x10\x80\x80\x08\x00\x04MQTT\x05").await;
        client.expect_end(1009).await;
    }
}

#[tokio::test]
async fn before_a_connect_is_granted_messages_are_short_too() {
    let server = Server::start().await;
    let mut client = Client::new(&server, Over::WebSocket).await;
    // The head of a message of 200,000 bytes, and not all of it.
    let mut bytes = vec![0x82, 0xff, 0, 0, 0, 0, 0, 3, 0x0d, 0x40, 0, 0, 0, 0];
    bytes.resize(STRANGER_BYTES_MAX + 16 * 1024, 0);
    if let Wire::WebSocket(ws) = &mut client.wire {
        ws.get_mut().write_all(&bytes).await.unwrap();
    }
    client.expect_end(1009).await;
}

#[tokio::test]
async fn past_the_window_the_rest_of_a_read_waits() {
    let mut settings = settings();
    if let Some(Mqtt { session, .. }) = &mut settings.mqtt {
        session.window = 2;
    }
    let mut server = Server::with(settings).await;
    for over in BOTH {
        let (mut client, mut inner) = attach(&mut server, over).await;
        let together: Vec<u8> = (1..=5)
            .flat_map(|id| bytes_of(&publish(id, b"x")))
            .collect();
        client.send_bytes(&together).await;
        inner.expect_call(1).await;
        inner.expect_call(2).await;
        assert!(matches!(inner.batch().await.as_slice(), [Asked::Flush]));
        assert!(!inner.has_been_asked());
        // Nothing more comes, and yet there is more to take.
        inner.confirms(1);
        inner.expect_call(3).await;
        inner.confirms(3);
        inner.expect_call(4).await;
        inner.expect_call(5).await;
    }
}

#[tokio::test]
async fn a_goodbye_ends_the_session_after_what_was_sent_before_it() {
    let mut server = Server::start().await;
    for over in BOTH {
        let (mut client, mut inner) = attach(&mut server, over).await;
        client.feed(&bytes_of(&publish(1, b"x"))).await;
        let goodbye = Disconnect::new(ReasonCode::Success);
        client.send(Packet::Disconnect(goodbye)).await;
        inner.expect_call(1).await;
        assert_eq!(inner.next().await, Some(Asked::End));
        client.expect_end(1000).await;
    }
}

#[tokio::test]
async fn a_connection_that_is_gone_ends_the_attachment_and_not_the_session() {
    let mut server = Server::start().await;
    for over in BOTH {
        let (client, mut inner) = attach(&mut server, over).await;
        drop(client);
        assert_eq!(inner.next().await, None);
    }
}

#[tokio::test]
async fn what_was_sent_before_the_end_of_a_connection_counts() {
    let mut server = Server::start().await;
    let (mut client, mut inner) = attach(&mut server, Over::Tcp).await;
    client.send(publish(1, b"x")).await;
    if let Wire::Tcp(stream) = &mut client.wire {
        stream.shutdown().await.unwrap();
    }
    inner.expect_call(1).await;
    assert_eq!(inner.next().await, None);
}

#[tokio::test]
async fn a_websocket_s_close_is_answered() {
    let mut server = Server::start().await;
    let (mut client, mut inner) = attach(&mut server, Over::WebSocket).await;
    if let Wire::WebSocket(ws) = &mut client.wire {
        ws.send(Message::Close(None)).await.unwrap();
    }
    assert_eq!(inner.next().await, None);
    client.expect_cut().await;
}

#[tokio::test]
async fn a_session_of_mqtt_that_is_taken_over_is_told_so() {
    let mut server = Server::start().await;
    for over in BOTH {
        let (mut client, inner) = attach(&mut server, over).await;
        inner.says(Event::Ended(End::TakenOver));
        let code = ReasonCode::SessionTakenOver;
        client.expect_disconnect(code, 1008).await;
    }
}

#[tokio::test]
async fn what_is_under_way_at_shutdown_is_acknowledged_first() {
    for over in BOTH {
        let mut server = Server::start().await;
        let (mut client, mut inner) = attach(&mut server, over).await;
        let mut silent = Client::new(&server, over).await;
        client.send(publish(1, b"x")).await;
        inner.expect_call(1).await;
        server.shut_down();
        inner.confirms(1);
        assert!(matches!(client.receive().await, Packet::Puback(_)));
        let code = ReasonCode::ServerShuttingDown;
        client.expect_disconnect(code, 1001).await;
        silent.expect_cut().await;
        drop((client, silent));
        server.ends().await;
    }
}

#[tokio::test]
async fn a_shutdown_waits_no_longer_than_it_may() {
    let settings = Settings {
        drain: std::time::Duration::from_millis(50),
        ..settings()
    };
    let mut server = Server::with(settings).await;
    let (mut client, mut inner) = attach(&mut server, Over::Tcp).await;
    client.send(publish(1, b"x")).await;
    inner.expect_call(1).await;
    server.shut_down();
    let code = ReasonCode::ServerShuttingDown;
    client.expect_disconnect(code, 1001).await;
    drop(client);
    server.ends().await;
}

#[tokio::test]
async fn a_change_of_expiry_gets_to_the_attachment() {
    let mut server = Server::start().await;
    let mut client = Client::new(&server, Over::Tcp).await;
    let Packet::Connect(mut connect) = connect_of("ann", "pw") else {
        unreachable!("it is one");
    };
    connect.properties.session_expiry_secs = Some(60);
    client.send(Packet::Connect(connect)).await;
    let mut inner = server.attached().await;
    client.expect_connack(ReasonCode::Success).await;
    let mut goodbye = Disconnect::new(ReasonCode::Success);
    goodbye.properties.session_expiry_secs = Some(30);
    client.send(Packet::Disconnect(goodbye)).await;
    let expiry = std::time::Duration::from_secs(30);
    assert_eq!(inner.next().await, Some(Asked::Expiry(expiry)));
    assert_eq!(inner.next().await, None);
    assert_eq!(inner.wish.client, Some(Arc::from("till")));
}
