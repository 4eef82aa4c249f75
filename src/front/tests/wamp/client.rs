//! Clients of each transport, which know nothing of messages but their bytes.

use std::collections::HashMap;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::super::server::{Server, settings, within};
use super::echo::{Echo, Seen};
use crate::front::Settings;
use crate::tls::Stream;

/// A server with an echo, changed as the test wants it.
pub(super) fn with(change: impl FnOnce(&mut Settings)) -> (Settings, Sight) {
    let (told, seen) = mpsc::unbounded_channel();
    let mut settings = settings();
    settings.wamp.as_mut().unwrap().echo = Some(Echo(told));
    change(&mut settings);
    (settings, Sight(seen))
}

pub(super) async fn start() -> (Server, Sight) {
    let (settings, sight) = with(|_| {});
    (Server::with(settings).await, sight)
}

/// What the echo sees.
pub(super) struct Sight(mpsc::UnboundedReceiver<Seen>);

impl Sight {
    pub(super) async fn next(&mut self) -> Seen {
        within(self.0.recv()).await.unwrap()
    }

    /// This, whatever comes before.
    pub(super) async fn expect(&mut self, expected: Seen) {
        while self.next().await != expected {}
    }

    pub(super) async fn expect_ended(&mut self, reason: &'static str) {
        loop {
            match self.next().await {
                Seen::Ended(found) => return assert_eq!(found, reason),
                Seen::Came(..) | Seen::Blocked(..) => {}
            }
        }
    }
}

/// A client over RawSocket.
pub(super) struct Raw<S = Stream> {
    pub(super) stream: S,
}

impl<S: AsyncReadExt + AsyncWriteExt + Unpin> Raw<S> {
    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
        within(self.stream.flush()).await.unwrap();
    }

    /// Shakes hands: JSON and 16 MiB.
    pub(super) async fn shake_hands(&mut self, number: u8) {
        self.send_bytes(&[0x7f, 0xf0 | number, 0, 0]).await;
        // 256 KiB are taken, as the settings say.
        self.expect(&[0x7f, 0x90 | number, 0, 0]).await;
    }

    pub(super) async fn send(&mut self, kind: u8, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap();
        let mut bytes = length.to_be_bytes().to_vec();
        bytes[0] = kind;
        bytes.extend_from_slice(payload);
        self.send_bytes(&bytes).await;
    }

    /// The next frame's kind and payload.
    pub(super) async fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 4];
        within(self.stream.read_exact(&mut head)).await.unwrap();
        let kind = std::mem::take(&mut head[0]);
        let length = u32::from_be_bytes(head) as usize;
        let mut payload = vec![0; length];
        within(self.stream.read_exact(&mut payload)).await.unwrap();
        (kind, payload)
    }

    pub(super) async fn expect(&mut self, expected: &[u8]) {
        let mut found = vec![0; expected.len()];
        within(self.stream.read_exact(&mut found)).await.unwrap();
        assert_eq!(found, expected);
    }

    /// The connection ends without another byte.
    pub(super) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        within(self.stream.read_to_end(&mut rest)).await.ok();
        assert!(rest.is_empty(), "{rest:?}");
    }
}

/// A client over WebSocket.
pub(super) struct Ws {
    pub(super) ws: WebSocketStream<Stream>,
    text: bool,
}

impl Ws {
    pub(super) async fn connect(server: &Server, subprotocol: &str) -> Ws {
        let stream = server.stream().await;
        Ws::on(server, stream, subprotocol).await
    }

    pub(super) async fn on(server: &Server, stream: Stream, subprotocol: &str) -> Ws {
        let url = format!("ws://{}/wamp", server.address());
        let mut request = url.into_client_request().unwrap();
        let name = "Sec-WebSocket-Protocol";
        let value = HeaderValue::from_str(subprotocol).unwrap();
        request.headers_mut().insert(name, value);
        let upgraded = within(tokio_tungstenite::client_async(request, stream)).await;
        let (ws, answer) = upgraded.unwrap();
        assert_eq!(answer.headers()[name], subprotocol);
        let text = subprotocol.contains(".json");
        Ws { ws, text }
    }

    pub(super) async fn send(&mut self, payload: &[u8]) {
        let text = self.text;
        self.send_as(payload, text).await;
    }

    pub(super) async fn send_as(&mut self, payload: &[u8], text: bool) {
        let message = match text {
            true => Message::text(std::str::from_utf8(payload).unwrap()),
            false => Message::binary(payload.to_vec()),
        };
        within(self.ws.send(message)).await.unwrap();
    }

    pub(super) async fn receive(&mut self) -> Vec<u8> {
        loop {
            let message = within(self.ws.next()).await.unwrap().unwrap();
            match message {
                Message::Text(text) if self.text => return text.as_bytes().to_vec(),
                Message::Binary(bytes) if !self.text => return bytes.to_vec(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a message: {other:?}"),
            }
        }
    }

    pub(super) async fn expect_close(&mut self, code: u16) {
        loop {
            match within(self.ws.next()).await {
                Some(Ok(Message::Close(Some(close)))) => {
                    return assert_eq!(u16::from(close.code), code, "{}", close.reason);
                }
                Some(Ok(Message::Ping(_))) => {}
                other => panic!("not a close: {other:?}"),
            }
        }
    }
}

/// An HTTP connection that takes one request after the other.
pub(super) struct Http {
    stream: Stream,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Http {
    pub(super) async fn connect(server: &Server) -> Http {
        Http {
            stream: server.stream().await,
        }
    }

    pub(super) async fn post(&mut self, path: &str, body: &[u8]) -> Answer {
        self.request("POST", path, "", body).await
    }

    /// With such lines of headers.
    pub(super) async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Answer {
        self.ask(method, path, headers, body).await;
        self.answer().await
    }

    pub(super) async fn ask(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: broker.example:7300\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        within(self.stream.write_all(&bytes)).await.unwrap();
        within(self.stream.flush()).await.unwrap();
    }

    pub(super) async fn answer(&mut self) -> Answer {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(self.stream.read_u8()).await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap()[9..12].parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers: HashMap<_, _> = headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let length = headers.get("content-length");
        let mut body = vec![0; length.map_or(0, |it| it.parse().unwrap())];
        within(self.stream.read_exact(&mut body)).await.unwrap();
        Answer {
            status,
            headers,
            body,
        }
    }

    /// The connection ends without another byte.
    pub(super) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        within(self.stream.read_to_end(&mut rest)).await.ok();
        assert!(rest.is_empty(), "{rest:?}");
    }

    /// A transport of that protocol: its path.
    pub(super) async fn open(&mut self, protocol: &str) -> String {
        let body = format!(r#"{{"protocols": ["wamp.2.unknown", "{protocol}"]}}"#);
        let answer = self.post("/wamp/lp/open?x=1", body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer["protocol"], protocol);
        format!("/wamp/lp/{}", answer["transport"].as_str().unwrap())
    }
}
