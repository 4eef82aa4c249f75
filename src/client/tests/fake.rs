//! A broker that does what the test's script says, over a real socket.

use std::future::Future;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use restante_proto::mbws::{
    Confirm, Deliver, Frame, Limits, Opened, Ranges, SUBPROTOCOL, decode_binary, decode_text,
    encode_binary,
};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async};

use crate::client::{Client, ClientOptions};
use crate::tls::{Gate, Stream};

/// The session that the fake gives.
pub(super) const SESSION: &str = "6f0c9a56-7f2e-4b7e-9a83-0f5a3a3c9a10";

/// Fails a test that waits for what never comes.
pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what)
        .await
        .expect("it should have come by now")
}

pub(super) struct Fake {
    listener: TcpListener,
    gate: Gate,
}

impl Fake {
    pub(super) async fn start() -> Fake {
        Fake::behind(Gate::plain()).await
    }

    /// One that takes TLS, if the gate has no other.
    pub(super) async fn behind(gate: Gate) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Fake { listener, gate }
    }

    /// Options that reach it, with a session that survives.
    pub(super) fn options(&self) -> ClientOptions {
        let port = self.listener.local_addr().unwrap().port();
        let scheme = if self.gate.takes_tls() { "wss" } else { "ws" };
        let mut options = ClientOptions::new(format!("{scheme}://127.0.0.1:{port}/mbws"));
        options.expiry = Duration::from_secs(60);
        options
    }

    /// A client in a new session, and the fake's end of its socket.
    pub(super) async fn connect(&self, options: ClientOptions) -> (Client, Peer) {
        self.connect_to(options, false, 0).await
    }

    /// The same, in a session that has `confirmed` frames.
    pub(super) async fn connect_to(
        &self,
        options: ClientOptions,
        resumed: bool,
        confirmed: u64,
    ) -> (Client, Peer) {
        let (client, peer) = tokio::join!(
            soon(Client::connect(options)),
            self.welcome(resumed, confirmed)
        );
        (client.unwrap(), peer)
    }

    /// Takes the next socket through `open` and `opened`.
    pub(super) async fn welcome(&self, resumed: bool, confirmed: u64) -> Peer {
        let mut peer = self.accept().await;
        let open = peer.recv().await;
        assert!(matches!(open, Frame::Open(_)), "{open:?}");
        peer.send(opened(resumed, confirmed)).await;
        peer
    }

    pub(super) async fn accept(&self) -> Peer {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        let admitted = soon(self.gate.admit(stream, deadline)).await;
        let stream = admitted.unwrap_or_else(|why| panic!("{why:?}")).stream;
        let socket = soon(accept_hdr_async(stream, agree)).await.unwrap();
        Peer { socket }
    }

    /// Answers the next upgrade with a status instead.
    pub(super) async fn refuse(&self, status: StatusCode) {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        #[expect(clippy::result_large_err, reason = "the callback's type is given")]
        let answer = move |_: &Request, _: Response| {
            let mut response = ErrorResponse::new(None);
            *response.status_mut() = status;
            Err(response)
        };
        assert!(soon(accept_hdr_async(stream, answer)).await.is_err());
    }
}

#[expect(clippy::result_large_err, reason = "the callback's type is given")]
fn agree(_: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let token = HeaderValue::from_static(SUBPROTOCOL);
    response
        .headers_mut()
        .insert(header::SEC_WEBSOCKET_PROTOCOL, token);
    Ok(response)
}

pub(super) fn opened(resumed: bool, confirmed: u64) -> Frame {
    Frame::Opened(Opened {
        session: SESSION.into(),
        resumed,
        confirmed,
        expiry: 60,
        window: 8,
        max_frame: 1 << 20,
        heartbeat: 30,
        broker: "fake".into(),
        server: "fake".into(),
    })
}

/// The fake's end of one socket. Dropped: the socket breaks.
pub(super) struct Peer {
    socket: WebSocketStream<Stream>,
}

impl Peer {
    /// The next frame that the client sent.
    pub(super) async fn recv(&mut self) -> Frame {
        self.try_recv().await.expect("a frame, not the end")
    }

    /// The next frame; none: the client ended the socket.
    pub(super) async fn try_recv(&mut self) -> Option<Frame> {
        loop {
            let limits = Limits::default();
            return match soon(self.socket.next()).await?.ok()? {
                Message::Binary(bytes) => Some(decode_binary(&bytes, &limits).unwrap()),
                Message::Text(text) => Some(decode_text(&Bytes::from(text), &limits).unwrap()),
                Message::Close(_) => None,
                _ => continue,
            };
        }
    }

    pub(super) async fn send(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        encode_binary(&frame, &mut bytes);
        let message = Message::Binary(bytes.freeze());
        soon(self.socket.send(message)).await.unwrap();
    }

    pub(super) async fn confirm(&mut self, upto: u64) {
        let failed = Vec::new();
        self.send(Frame::Confirm(Confirm { upto, failed })).await;
    }

    pub(super) async fn deliver(&mut self, consumer: &str, offsets: impl IntoIterator<Item = u64>) {
        for offset in offsets {
            self.send(Frame::Deliver(Box::new(Deliver {
                consumer: consumer.into(),
                address: "q".into(),
                offset,
                attempt: 1,
                ..Deliver::default()
            })))
            .await;
        }
    }

    /// The seqs and bodies of the next `n` frames, which must all be sends.
    pub(super) async fn recv_sends(&mut self, n: usize) -> Vec<(u64, String)> {
        let mut sends = Vec::new();
        for _ in 0..n {
            match self.recv().await {
                Frame::Send(send) => {
                    let body = String::from_utf8(send.body.bytes.to_vec()).unwrap();
                    sends.push((send.seq, body));
                }
                other => panic!("a send, not {other:?}"),
            }
        }
        sends
    }
}

pub(super) fn ranges(numbers: impl IntoIterator<Item = u64>) -> Ranges {
    numbers.into_iter().collect()
}
