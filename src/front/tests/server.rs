//! A front on port 0, and clients of it: raw HTTP, and WebSocket in text frames.

use std::future::Future;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use restante_proto::mbws::{Frame, Limits, SUBPROTOCOL, decode_binary, decode_text};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::Message;

use super::broker::{FakeAuth, FakeBroker, Inner};
use crate::front::{Listener, LongPoll, Mqtt, Settings, Socket, Sp, Takes, Wamp, serve};
use crate::router::UriRules;
use crate::session::{self, mbws, mqtt};
use crate::tls::tests::authority::{Authority, Folder};
use crate::tls::{Certificates, ConnectOptions, Connector, Gate, Stream};

/// Waits for what must come; `RESTANTE_TEST_PATIENCE` stretches the deadline, in seconds.
pub(super) async fn within<F: Future>(future: F) -> F::Output {
    let seconds = std::env::var("RESTANTE_TEST_PATIENCE").ok();
    let seconds = seconds.and_then(|text| text.parse().ok()).unwrap_or(10);
    let waited = tokio::time::timeout(Duration::from_secs(seconds), future).await;
    waited.expect("nothing came within the test's patience")
}

pub(super) fn settings() -> Settings {
    Settings {
        connections_max: 100,
        unauthenticated_per_address: 100,
        origins: vec!["https://console.example".to_owned()],
        limits: Limits {
            frame_bytes_max: 256 * 1024,
            ..Limits::default()
        },
        attach_within: Duration::from_secs(60),
        drain: Duration::from_secs(60),
        mbws: mbws::Settings {
            broker: "b1".to_owned(),
            server: "restante/test".to_owned(),
            window: 1000,
            frame_bytes_max: 256 * 1024,
            heartbeat: Duration::from_secs(60),
            open_within: Duration::from_secs(60),
            publish_rate: None,
        },
        mqtt: Some(Mqtt {
            paths: vec!["/mqtt".to_owned(), "/ws".to_owned()],
            session: mqtt::Settings {
                limits: restante_proto::mqtt::Limits {
                    packet_bytes_max: 256 * 1024,
                    ..restante_proto::mqtt::Limits::default()
                },
                receive_maximum: NonZeroU16::MAX,
                topic_alias_max: 8,
                keep_alive_max: None,
                session_expiry_max: Duration::from_hours(1),
                subscriptions_max: 100,
                denied_publish: mqtt::DeniedPublish::Acknowledge,
                connect_within: Duration::from_secs(60),
                publish_rate: None,
                window: 1000,
                response_prefix: "responses".to_owned(),
                server_reference: None,
            },
        }),
        wamp: Some(Wamp {
            paths: vec!["/wamp".to_owned()],
            message_bytes_max: 256 * 1024,
            ping_interval: Duration::from_secs(60),
            ubjson_legacy: false,
            long_poll: Some(LongPoll {
                poll_within: Duration::from_secs(60),
                session_within: Duration::from_secs(60),
            }),
            session: session::wamp::Settings {
                limits: restante_proto::wamp::Limits {
                    bytes_max: 256 * 1024,
                    ..restante_proto::wamp::Limits::default()
                },
                uris: UriRules::Loose,
                sequential_ids: true,
                open_within: Duration::from_secs(60),
                leave_within: Duration::from_secs(60),
                publish_rate: None,
                window: 1000,
                unacknowledged_max: 100,
                authorizer: None,
                authorizer_cache: Duration::ZERO,
                disclosure: session::wamp::Disclosure::Wished,
                agent: "test-broker/1".to_owned(),
            },
            echo: None,
        }),
        sp: Some(Sp {
            message_bytes_max: 256 * 1024,
            keep_alive: Duration::from_secs(60),
            session: session::sp::Settings {
                credit: 64,
                requests: 1,
                hops_max: 8,
                window: 1000,
                window_bytes: 1 << 20,
                reply_within: Duration::from_secs(60),
                retry_after: Duration::from_millis(10),
                publish_rate: None,
            },
        }),
    }
}

pub(super) struct Server {
    address: SocketAddr,
    attached: mpsc::UnboundedReceiver<Inner>,
    shutdown: watch::Sender<bool>,
    serving: JoinHandle<()>,
    /// Where the clients come over TLS: whom they trust.
    tls: Option<Folder>,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::with(settings()).await
    }

    pub(super) async fn with(settings: Settings) -> Self {
        Self::behind(Gate::plain(), settings).await
    }

    /// One that is reached over TLS.
    pub(super) async fn over_tls(settings: Settings) -> Self {
        let folder = Folder::new(&Authority::new("ca"));
        let certificates = Certificates::load(&folder.tls()).unwrap();
        let server = Self::behind(Gate::new(certificates, false), settings).await;
        Server {
            tls: Some(folder),
            ..server
        }
    }

    pub(super) async fn behind(gate: Gate, settings: Settings) -> Self {
        Self::taking(Takes::All, gate, settings).await
    }

    pub(super) async fn taking(takes: Takes, gate: Gate, settings: Settings) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self::on(listener.into(), takes, gate, settings);
        Server { address, ..server }
    }

    /// One that listens there, and has no address that it knows of.
    pub(super) fn on(socket: Socket, takes: Takes, gate: Gate, settings: Settings) -> Self {
        let address = "127.0.0.1:0".parse().unwrap();
        let (broker, attached) = FakeBroker::new();
        let (shutdown, down) = watch::channel(false);
        let serving = serve(
            vec![Listener {
                socket,
                gate,
                takes,
            }],
            broker,
            Arc::new(FakeAuth),
            settings,
            Arc::default(),
            down,
        );
        Server {
            address,
            attached,
            shutdown,
            serving: tokio::spawn(serving),
            tls: None,
        }
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `head` and reads the answer's head, with what follows of a refusal.
    pub(super) async fn request(&self, head: &str) -> String {
        let stream = self.connect().await;
        request(stream.into(), head).await
    }

    /// The same, over TLS.
    pub(super) async fn request_over_tls(&self, tls: &ConnectOptions, head: &str) -> String {
        request(self.connect_over_tls(tls).await, head).await
    }

    pub(super) async fn connect_over_tls(&self, tls: &ConnectOptions) -> Stream {
        let connector = Connector::load(tls).unwrap();
        let stream = self.connect().await;
        within(connector.connect("127.0.0.1", stream))
            .await
            .unwrap()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Upgrades with these headers beside the usual ones.
    pub(super) async fn upgrade(&self, headers: &[(&'static str, &str)]) -> Client {
        let stream = self.stream().await;
        self.upgrade_on(stream, headers).await
    }

    /// A connection, encrypted where it is to be.
    pub(super) async fn stream(&self) -> Stream {
        match &self.tls {
            Some(folder) => self.connect_over_tls(&folder.client()).await,
            None => self.connect().await.into(),
        }
    }

    /// The same, on a connection that is there.
    pub(super) async fn upgrade_on(
        &self,
        stream: Stream,
        headers: &[(&'static str, &str)],
    ) -> Client {
        let mut request = format!("ws://{}/mbws", self.address)
            .into_client_request()
            .unwrap();
        let given = request.headers_mut();
        given.insert(
            "Sec-WebSocket-Protocol",
            HeaderValue::from_static(SUBPROTOCOL),
        );
        for (name, value) in headers {
            given.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let upgraded = within(tokio_tungstenite::client_async(request, stream)).await;
        Client {
            ws: upgraded.unwrap().0,
        }
    }

    /// A client that is attached, and the broker's side of it.
    pub(super) async fn attach(&mut self) -> (Client, Inner) {
        self.attach_with("").await
    }

    /// The same, with such fields in its `open`.
    pub(super) async fn attach_with(&mut self, fields: &str) -> (Client, Inner) {
        let mut client = self.upgrade(&[]).await;
        client
            .send(&format!(
                "open\nversion:1\nuser:ann\npassword:pw\n{fields}\n"
            ))
            .await;
        let inner = within(self.attached.recv()).await.unwrap();
        assert!(matches!(client.receive().await, Frame::Opened(_)));
        (client, inner)
    }

    pub(super) async fn attached(&mut self) -> Inner {
        within(self.attached.recv()).await.unwrap()
    }

    pub(super) fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    pub(super) async fn ends(self) {
        within(self.serving).await.unwrap();
    }
}

async fn request(mut stream: Stream, head: &str) -> String {
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    within(answer(&mut stream)).await
}

/// The head of an answer, and if it is no 101 all of it.
pub(super) async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {
        let head_ended = bytes.windows(4).any(|end| end == b"\r\n\r\n");
        if bytes.starts_with(b"HTTP/1.1 101") && head_ended {
            break;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(super) struct Client {
    pub(super) ws: WebSocketStream<Stream>,
}

impl Client {
    pub(super) async fn send(&mut self, text: &str) {
        within(self.ws.send(Message::text(text))).await.unwrap();
    }

    /// The next frame.
    pub(super) async fn receive(&mut self) -> Frame {
        loop {
            let message = within(self.ws.next()).await.expect("a message").unwrap();
            let limits = Limits::default();
            match message {
                Message::Text(text) => return decode_text(&Bytes::from(text), &limits).unwrap(),
                Message::Binary(bytes) => return decode_binary(&bytes, &limits).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("not a frame: {other:?}"),
            }
        }
    }

    pub(super) async fn expect(&mut self, text: &str) {
        let expected = decode_text(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default());
        assert_eq!(self.receive().await, expected.unwrap());
    }

    /// An `error` of that code, then a close of that close code, then the end of the connection.
    pub(super) async fn expect_fatal(&mut self, code: &str, close_code: u16) {
        match self.receive().await {
            Frame::Error(error) => assert_eq!(error.code.as_str(), code, "{}", error.reason),
            other => panic!("not an error: {other:?}"),
        }
        self.expect_close(close_code).await;
    }

    pub(super) async fn expect_close(&mut self, close_code: u16) {
        match within(self.ws.next()).await {
            Some(Ok(Message::Close(Some(close)))) => {
                assert_eq!(u16::from(close.code), close_code, "{}", close.reason);
            }
            other => panic!("not a close: {other:?}"),
        }
        assert!(within(self.ws.next()).await.is_none());
    }

    /// The connection ends without another message.
    pub(super) async fn expect_gone(&mut self) {
        while let Some(item) = within(self.ws.next()).await {
            match item {
                Ok(Message::Ping(_)) => {}
                Ok(other) => panic!("not the end: {other:?}"),
                Err(_) => return,
            }
        }
    }
}
