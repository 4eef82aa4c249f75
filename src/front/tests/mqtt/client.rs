//! A client that speaks MQTT in bytes, over TCP or in WebSocket messages.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use restante_proto::mqtt::{
    Connack, Connect, Decoder, Limits, Packet, PacketId, Publish, Qos, ReasonCode, Secret, Str,
    Subscribe, SubscribeProperties, Subscription, Version, encode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::super::broker::Inner;
use super::super::conversation;
use super::super::server::{Server, within};
use crate::broker::{Call, Event, LISTENER};
use crate::tls::Stream;

/// How its bytes travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Tcp,
    WebSocket,
}

pub(super) const BOTH: [Over; 2] = [Over::Tcp, Over::WebSocket];

pub(super) struct Client {
    pub(super) wire: Wire,
    input: BytesMut,
    decoder: Decoder,
}

pub(super) enum Wire {
    Tcp(Stream),
    WebSocket(Box<WebSocketStream<Stream>>),
}

impl Client {
    /// Connected, and nothing said yet.
    pub(super) async fn new(server: &Server, over: Over) -> Self {
        let stream = server.connect().await.into();
        Self::on(server, stream, over).await
    }

    /// The same, on a connection that is there.
    pub(super) async fn on(server: &Server, stream: Stream, over: Over) -> Self {
        match over {
            Over::Tcp => Self::of(Wire::Tcp(stream)),
            Over::WebSocket => Self::upgraded(server, stream, "/mqtt", &[]).await,
        }
    }

    /// Over a WebSocket of that path, with these headers beside the usual ones.
    pub(super) async fn upgraded(
        server: &Server,
        stream: Stream,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Self {
        let url = format!("ws://{}{path}", server.address());
        let mut request = url.into_client_request().unwrap();
        let given = request.headers_mut();
        given.insert("Sec-WebSocket-Protocol", HeaderValue::from_static("mqtt"));
        for (name, value) in headers {
            given.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let upgraded = within(tokio_tungstenite::client_async(request, stream)).await;
        Self::of(Wire::WebSocket(Box::new(upgraded.unwrap().0)))
    }

    fn of(wire: Wire) -> Self {
        Client {
            wire,
            input: BytesMut::new(),
            decoder: Decoder::client(Version::V5, Limits::default()),
        }
    }

    pub(super) async fn send(&mut self, packet: Packet) {
        let bytes = bytes_of(&packet);
        self.send_bytes(&bytes).await;
    }

    /// In one piece: one write, or one message.
    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        let sent = match &mut self.wire {
            Wire::Tcp(stream) => {
                within(stream.write_all(bytes)).await.unwrap();
                within(stream.flush()).await.is_ok()
            }
            Wire::WebSocket(ws) => {
                let message = Message::binary(bytes.to_vec());
                within(ws.send(message)).await.is_ok()
            }
        };
        assert!(sent);
    }

    /// The next packet.
    pub(super) async fn receive(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.input).unwrap() {
                return packet;
            }
            let more = within(self.more()).await;
            assert!(more.is_some(), "the connection ended before a packet");
        }
    }

    /// More bytes; none: the connection has ended, for a WebSocket with a close, whose code is here.
    async fn more(&mut self) -> Option<()> {
        match &mut self.wire {
            Wire::Tcp(stream) => {
                let n_bytes = stream.read_buf(&mut self.input).await.unwrap_or(0);
                (n_bytes > 0).then_some(())
            }
            Wire::WebSocket(ws) => match ws.next().await?.ok()? {
                Message::Binary(bytes) => {
                    self.input.extend_from_slice(&bytes);
                    Some(())
                }
                Message::Close(_) => None,
                other => panic!("not binary: {other:?}"),
            },
        }
    }

    /// The CONNACK says this.
    pub(super) async fn expect_connack(&mut self, reason: ReasonCode) -> Box<Connack> {
        match self.receive().await {
            Packet::Connack(connack) => {
                assert_eq!(connack.reason, reason, "{connack:?}");
                connack
            }
            other => panic!("not a CONNACK: {other:?}"),
        }
    }

    /// A DISCONNECT that says this, and then the end.
    pub(super) async fn expect_disconnect(&mut self, reason: ReasonCode, close_code: u16) {
        match self.receive().await {
            Packet::Disconnect(disconnect) => assert_eq!(disconnect.reason, reason),
            other => panic!("not a DISCONNECT: {other:?}"),
        }
        self.expect_end(close_code).await;
    }

    /// The connection ends without another byte of MQTT; a WebSocket with that code.
    pub(super) async fn expect_end(&mut self, close_code: u16) {
        assert!(self.input.is_empty(), "{:?}", self.input);
        match &mut self.wire {
            Wire::Tcp(stream) => {
                let n_bytes = within(stream.read_buf(&mut self.input)).await;
                assert_eq!(n_bytes.unwrap_or(0), 0, "{:?}", self.input);
            }
            Wire::WebSocket(ws) => match within(ws.next()).await {
                Some(Ok(Message::Close(Some(close)))) => {
                    assert_eq!(u16::from(close.code), close_code, "{}", close.reason);
                }
                other => panic!("not a close: {other:?}"),
            },
        }
    }

    /// Just these bytes come.
    pub(super) async fn expect_bytes(&mut self, expected: &[u8]) {
        while self.input.len() < expected.len() {
            assert!(within(self.more()).await.is_some(), "{:?}", self.input);
        }
        assert_eq!(self.input, expected);
        self.input.clear();
    }

    /// These bytes come next, whatever comes behind them.
    pub(super) async fn expect_next_bytes(&mut self, expected: &[u8]) {
        while self.input.len() < expected.len() {
            assert!(within(self.more()).await.is_some(), "{:?}", self.input);
        }
        let next = self.input.split_to(expected.len());
        assert_eq!(next, expected);
    }

    /// An answer that begins so; the text behind it is for people. Nothing: not a byte.
    pub(super) async fn expect_told(&mut self, head: &[u8]) {
        let [first, length, _, code, ..] = head else {
            return assert_eq!(head, b"");
        };
        while self.input.len() < 2 || self.input.len() < 2 + usize::from(self.input[1]) {
            assert!(within(self.more()).await.is_some(), "{:?}", self.input);
        }
        let told = self.input.split();
        assert_eq!([told[0], told[2], told[3]], [*first, 0, *code], "{told:?}");
        assert!(told[1] >= *length, "{told:?}");
    }

    /// What came and was not looked at.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.input.len()
    }

    /// Like [`send_bytes`](Self::send_bytes), and travels with what follows if it can.
    pub(super) async fn feed(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Tcp(stream) => stream.write_all(bytes).await.unwrap(),
            Wire::WebSocket(ws) => ws.feed(Message::binary(bytes.to_vec())).await.unwrap(),
        }
    }

    /// A text message, where there are messages.
    pub(super) async fn send_text(&mut self, text: &str) {
        if let Wire::WebSocket(ws) = &mut self.wire {
            ws.send(Message::text(text)).await.unwrap();
        }
    }

    /// The next message is a pong.
    pub(super) async fn expect_pong(&mut self) {
        if let Wire::WebSocket(ws) = &mut self.wire {
            let message = within(ws.next()).await.unwrap().unwrap();
            assert!(matches!(message, Message::Pong(_)), "{message:?}");
        }
    }

    /// The connection is cut, with or without a good-bye.
    pub(super) async fn expect_cut(&mut self) {
        within(async { while self.more().await.is_some() {} }).await;
    }
}

/// A client that is attached as `ann`, and the broker's side of it.
pub(super) async fn attach(server: &mut Server, over: Over) -> (Client, Inner) {
    let stream = server.connect().await.into();
    attach_on(server, stream, over).await
}

pub(super) async fn attach_on(server: &mut Server, stream: Stream, over: Over) -> (Client, Inner) {
    let mut client = Client::on(server, stream, over).await;
    client.send(connect_of("ann", "pw")).await;
    let inner = server.attached().await;
    client.expect_connack(ReasonCode::Success).await;
    (client, inner)
}

pub(super) fn text(text: &str) -> Str {
    Str::try_from(text).unwrap()
}

/// A CONNECT of 5.0 without credentials.
pub(super) fn connect() -> Connect {
    Connect::new(Version::V5, text("till"))
}

pub(super) fn connect_of(user: &str, password: &str) -> Packet {
    let connect = Connect {
        user_name: Some(text(user)),
        password: Some(Secret(Bytes::copy_from_slice(password.as_bytes()))),
        ..connect()
    };
    Packet::Connect(Box::new(connect))
}

/// A PUBLISH of QoS 1 to `a`.
pub(super) fn publish(id: u16, payload: &[u8]) -> Packet {
    Packet::Publish(Publish {
        qos: Qos::AtLeastOnce,
        topic: text("a"),
        packet_id: PacketId::new(id),
        payload: Bytes::copy_from_slice(payload),
        ..Publish::default()
    })
}

pub(super) fn bytes_of(packet: &Packet) -> Bytes {
    let mut bytes = BytesMut::new();
    encode(packet, Version::V5, &mut bytes).unwrap();
    bytes.freeze()
}

/// A SUBSCRIBE to `a`, of QoS 1.
pub(super) fn subscribe() -> Packet {
    Packet::Subscribe(Subscribe {
        packet_id: PacketId::FIRST,
        properties: SubscribeProperties::default(),
        subscriptions: vec![Subscription::new(text("a"), Qos::AtLeastOnce)],
    })
}

/// The client subscribes to `a` with its first call, and is told so.
pub(super) async fn subscribed(client: &mut Client, inner: &mut Inner) {
    client.send(subscribe()).await;
    assert!(matches!(inner.expect_call(1).await, Call::Subscribe(_)));
    inner.confirms(1);
    assert!(matches!(client.receive().await, Packet::Suback(_)));
}

/// A message of that QoS for the session's listener.
pub(super) fn delivery(qos: u8, body: Bytes) -> Event {
    let Event::Delivery(mut delivery) = conversation::delivery(1, body) else {
        unreachable!("it is one");
    };
    delivery.consumer = Arc::from(LISTENER);
    let mut message = (*delivery.message).clone();
    message.qos_bound = Some(qos);
    delivery.message = std::sync::Arc::new(message.into());
    Event::Delivery(delivery)
}
