//! A WAMP client of the tests, made of our own codec: messages over every transport and in every serializer, cut wherever it is told to
//! be.
//!
//! It has no state beyond its connection: what a client keeps from one session to the next is its user's.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use bytes::{Bytes, BytesMut};
use restante_proto::wamp::rawsocket::{
    Frame, FrameDecoder, HEAD_BYTES, encode_frame, handshake, parse_router,
};
use restante_proto::wamp::{
    Batch, Dict, Limits, Message, Payload, Serializer, Value, decode, encode,
};

use crate::peer::{Gone, Life, take_frame};
use crate::server::Server;
use crate::{wait, wire};

/// What carries messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    WebSocket,
    /// WebSocket, several messages in one.
    Batched,
    RawSocket,
    /// RawSocket, 4 KiB in one message.
    Small,
    Unix,
    LongPoll,
}

/// What carries messages, and how they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) over: Over,
    pub(crate) serializer: Serializer,
}

pub(crate) const JSON: Way = Way {
    over: Over::WebSocket,
    serializer: Serializer::Json,
};
pub(crate) const RAW: Way = Way {
    over: Over::RawSocket,
    serializer: Serializer::Cbor,
};

const SMALL: Way = Way {
    over: Over::Small,
    serializer: Serializer::Json,
};

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    pub(crate) way: Way,
    life: Life,
    /// Bytes that came and were not taken.
    input: BytesMut,
    /// Whole messages.
    came: VecDeque<Bytes>,
    batch: Batch,
    /// Where a long-poll transport is.
    path: String,
    /// The code that a WebSocket was closed with.
    pub(crate) closed: Option<u16>,
    /// The last request.
    pub(crate) last: u64,
    pub(crate) session: u64,
}

impl Client {
    /// A connection over which no session has begun.
    pub(crate) fn new(server: &Server, way: Way) -> Client {
        let client = match way.over {
            Over::Unix => {
                let path = server.file(SOCKET);
                let stream = UnixStream::connect(path).expect("a connection");
                Client::on(OwnedFd::from(stream).into(), way, Life::ENDLESS)
            }
            _ => Client::at(server.clients(), way, Life::ENDLESS),
        };
        client.expect("a transport")
    }

    /// The same over TCP, to somebody who may be down.
    pub(crate) fn at(at: SocketAddr, way: Way, life: Life) -> Result<Client, Gone> {
        let stream = TcpStream::connect(at).map_err(|_| Gone::Lost)?;
        stream.set_nodelay(true).map_err(|_| Gone::Lost)?;
        Client::on(stream, way, life)
    }

    /// A session over RawSocket whose client takes 4 KiB in one message.
    pub(crate) fn small(server: &Server) -> Client {
        let mut client = Client::at(server.clients(), SMALL, Life::ENDLESS).expect("a transport");
        client.begin(&hello(), &server.token()).expect("a session");
        client
    }

    fn on(stream: TcpStream, way: Way, life: Life) -> Result<Client, Gone> {
        let deadline = Some(wait::deadline());
        stream.set_read_timeout(deadline).expect("a timeout");
        stream.set_write_timeout(deadline).expect("a timeout");
        let mut client = Client {
            stream,
            way,
            life,
            input: BytesMut::new(),
            came: VecDeque::new(),
            batch: Batch::new(way.serializer),
            path: String::new(),
            closed: None,
            last: 0,
            session: 0,
        };
        match way.over {
            Over::WebSocket | Over::Batched => client.upgrade()?,
            Over::RawSocket | Over::Small | Over::Unix => client.shake_hands()?,
            Over::LongPoll => client.open_transport()?,
        }
        Ok(client)
    }

    /// A session of the command line's token, with all roles and features.
    pub(crate) fn join(server: &Server, way: Way) -> Client {
        Client::join_as(server, way, hello())
    }

    /// The same with that HELLO.
    pub(crate) fn join_as(server: &Server, way: Way, hello: Message) -> Client {
        let mut client = Client::new(server, way);
        client.begin(&hello, &server.token()).expect("a session");
        client
    }

    /// Begins a session with that HELLO, and the token when it is asked for. A broker that goes down lets nobody in.
    pub(crate) fn begin(&mut self, hello: &Message, token: &str) -> Result<(), Gone> {
        self.send(hello)?;
        loop {
            match self.receive()? {
                Message::Challenge { .. } => self.send(&Message::Authenticate {
                    signature: token.to_owned(),
                    extra: Dict::new(),
                })?,
                Message::Welcome { session, .. } => {
                    (self.session, self.last) = (session, 0);
                    return Ok(());
                }
                Message::Abort { reason, .. } if is_shutdown(&reason) => return Err(Gone::Lost),
                other => panic!("not welcome: {other:?}"),
            }
        }
    }

    /// The next request's id.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(crate) fn send(&mut self, message: &Message) -> Result<(), Gone> {
        let mut bytes = BytesMut::new();
        encode(self.way.serializer, message, &mut bytes).expect("a message that can be written");
        self.send_raw(&bytes)
    }

    /// Sends what may be a message, as the transport has it.
    pub(crate) fn send_raw(&mut self, message: &[u8]) -> Result<(), Gone> {
        if self.way.over == Over::LongPoll {
            let (status, _) = self.post("/send", message)?;
            return if status == 204 {
                Ok(())
            } else {
                Err(Gone::Lost)
            };
        }
        let bytes = self.framed(message);
        self.write(&bytes)
    }

    /// A message as the transport has it.
    pub(crate) fn framed(&self, message: &[u8]) -> Vec<u8> {
        let serializer = self.way.serializer;
        let opcode = if serializer.is_text() {
            wire::TEXT
        } else {
            wire::BINARY
        };
        match self.way.over {
            Over::WebSocket => wire::message(opcode, message),
            Over::Batched => {
                let mut together = BytesMut::new();
                let appended = self.batch.append_message(&mut together, message);
                appended.expect("short enough");
                wire::message(opcode, &together)
            }
            Over::RawSocket | Over::Small | Over::Unix => {
                let mut bytes = BytesMut::new();
                let frame = Frame::Message(Bytes::copy_from_slice(message));
                encode_frame(&frame, &mut bytes).expect("short enough");
                bytes.to_vec()
            }
            Over::LongPoll => message.to_vec(),
        }
    }

    /// The next message.
    pub(crate) fn receive(&mut self) -> Result<Message, Gone> {
        let bytes = self.receive_raw()?;
        let message = decode(self.way.serializer, &bytes, &Limits::default());
        Ok(message.expect("the broker sends good messages"))
    }

    pub(crate) fn receive_raw(&mut self) -> Result<Bytes, Gone> {
        loop {
            if let Some(message) = self.came.pop_front() {
                return Ok(message);
            }
            if self.way.over == Over::LongPoll {
                self.poll()?;
            } else if !self.take()? {
                self.read()?;
            }
        }
    }

    /// The answer to a request; nothing else may come.
    pub(crate) fn ask(&mut self, message: &Message) -> Result<Message, Gone> {
        self.send(message)?;
        self.receive()
    }

    /// Calls a procedure; its result's arguments, or the error's URI.
    pub(crate) fn call(&mut self, procedure: &str, args: &[Value]) -> Result<Vec<Value>, String> {
        let request = self.next_id();
        let call = call(request, procedure, args);
        match self.ask(&call).expect("an answer") {
            Message::Result { payload, .. } => Ok(payload.args().expect("values")),
            Message::Error { error, .. } => Err(error),
            other => panic!("neither RESULT nor ERROR: {other:?}"),
        }
    }

    /// Subscribes; the subscription's id. Nothing else may come before it.
    pub(crate) fn subscribe(&mut self, topic: &str, options: Dict) -> u64 {
        let request = self.next_id();
        let topic = topic.to_owned();
        let subscribe = Message::Subscribe {
            request,
            options,
            topic,
        };
        match self.ask(&subscribe).expect("an answer") {
            Message::Subscribed { subscription, .. } => subscription,
            other => panic!("not SUBSCRIBED: {other:?}"),
        }
    }

    /// Registers; the registration's id. Nothing else may come before it.
    pub(crate) fn register(&mut self, procedure: &str, options: Dict) -> u64 {
        let request = self.next_id();
        let procedure = procedure.to_owned();
        let register = Message::Register {
            request,
            options,
            procedure,
        };
        match self.ask(&register).expect("an answer") {
            Message::Registered { registration, .. } => registration,
            other => panic!("not REGISTERED: {other:?}"),
        }
    }

    /// The connection ends without another message.
    pub(crate) fn expect_end(&mut self) {
        match self.receive_raw() {
            Err(Gone::Lost) => {}
            other => panic!("not the end: {other:?}"),
        }
    }

    fn upgrade(&mut self) -> Result<(), Gone> {
        let batched = self.way.over == Over::Batched;
        let protocol = self.way.serializer.subprotocol(batched);
        let request = upgrade(protocol);
        self.write(request.as_bytes())?;
        let head = self.head()?;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        Ok(())
    }

    fn shake_hands(&mut self) -> Result<(), Gone> {
        let bytes_max = if self.way.over == Over::Small {
            4096
        } else {
            1 << 24
        };
        self.write(&handshake(self.way.serializer, bytes_max))?;
        while self.input.len() < HEAD_BYTES {
            self.read()?;
        }
        let octets = self.input.split_to(HEAD_BYTES);
        let octets = octets.first_chunk::<HEAD_BYTES>().expect("four of them");
        let answer = parse_router(*octets).expect("it is spoken");
        assert_eq!(answer.serializer, self.way.serializer);
        Ok(())
    }

    fn open_transport(&mut self) -> Result<(), Gone> {
        self.path = "/wamp/lp".to_owned();
        let protocol = self.way.serializer.subprotocol(false);
        let wish = format!(r#"{{"protocols": ["{protocol}"]}}"#);
        let (status, body) = self.post("/open", wish.as_bytes())?;
        assert_eq!(status, 200, "{body:?}");
        let told: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let id = told.get("transport").and_then(|it| it.as_str());
        self.path = format!("/wamp/lp/{}", id.expect("a transport"));
        Ok(())
    }

    /// A request of long-poll; status and body of its answer.
    pub(crate) fn post(&mut self, wish: &str, body: &[u8]) -> Result<(u16, Bytes), Gone> {
        let (path, length) = (&self.path, body.len());
        let head = format!(
            "POST {path}{wish} HTTP/1.1\r\nHost: broker\r\nContent-Length: {length}\r\n\r\n"
        );
        let request = [head.as_bytes(), body].concat();
        self.write(&request)?;
        let head = self.head()?.to_ascii_lowercase();
        let status = head.get(9..12).and_then(|it| it.parse().ok());
        let length = head.split("content-length: ").nth(1);
        let length = length.and_then(|it| it.lines().next()?.parse().ok());
        let length = length.unwrap_or(0);
        while self.input.len() < length {
            self.read()?;
        }
        let body = self.input.split_to(length).freeze();
        Ok((status.expect("a status"), body))
    }

    /// Waits for a message of a long-poll transport.
    fn poll(&mut self) -> Result<(), Gone> {
        let (status, body) = self.post("/receive", b"")?;
        match status {
            200 if !body.is_empty() => self.came.push_back(body),
            200 | 204 => {}
            _ => return Err(Gone::Lost),
        }
        Ok(())
    }

    fn head(&mut self) -> Result<String, Gone> {
        loop {
            if let Some(end) = self.input.windows(4).position(|it| it == b"\r\n\r\n") {
                let head = self.input.split_to(end + 4);
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            self.read()?;
        }
    }

    /// Takes a whole frame, if there is one.
    fn take(&mut self) -> Result<bool, Gone> {
        if matches!(self.way.over, Over::RawSocket | Over::Small | Over::Unix) {
            let decoder = FrameDecoder::new(1 << 24);
            let frame = decoder.decode(&mut self.input);
            return match frame.expect("the broker sends good frames") {
                Some(Frame::Message(message)) => {
                    self.came.push_back(message);
                    Ok(true)
                }
                Some(other) => panic!("nobody has sent a PING: {other:?}"),
                None => Ok(false),
            };
        }
        let Some((opcode, payload)) = take_frame(&mut self.input) else {
            return Ok(false);
        };
        match opcode {
            wire::CLOSE => {
                self.closed = payload.first_chunk().map(|it| u16::from_be_bytes(*it));
                return Err(Gone::Lost);
            }
            wire::TEXT | wire::BINARY if self.way.over == Over::Batched => {
                let messages = self.batch.split(&payload, usize::MAX);
                self.came.extend(messages.expect("a good batch"));
            }
            wire::TEXT | wire::BINARY => self.came.push_back(payload),
            other => assert_eq!(other, wire::PING),
        }
        Ok(true)
    }

    fn read(&mut self) -> Result<(), Gone> {
        let mut buffer = [0; 16 * 1024];
        let n_max = self.life.read.min(buffer.len());
        let room = buffer.get_mut(..n_max).unwrap_or_default();
        if room.is_empty() {
            return Err(self.cut());
        }
        match (&self.stream).read(room) {
            Ok(0) => Err(Gone::Lost),
            Ok(n) => {
                self.life.read -= n;
                self.input.extend(room.iter().take(n));
                Ok(())
            }
            Err(error) if is_timeout(&error) => panic!("nothing came within the deadline"),
            Err(_) => Err(Gone::Lost),
        }
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let n = self.life.written.min(bytes.len());
        let (written, rest) = bytes.split_at(n);
        self.life.written -= n;
        match (&self.stream).write_all(written) {
            Err(error) if is_timeout(&error) => panic!("nothing is read within the deadline"),
            Err(_) => Err(Gone::Lost),
            Ok(()) if !rest.is_empty() => Err(self.cut()),
            Ok(()) => Ok(()),
        }
    }

    /// Writes what the broker takes without waiting, of as many copies; how many bytes that were.
    pub(crate) fn pour(&mut self, bytes: &[u8], n_max: usize) -> usize {
        let moment = Some(wait::quiet());
        self.stream.set_write_timeout(moment).expect("a timeout");
        let mut poured = 0;
        for _ in 0..n_max {
            match (&self.stream).write_all(bytes) {
                Ok(()) => poured += bytes.len(),
                Err(_) => break,
            }
        }
        poured
    }

    /// Ends it without a word.
    pub(crate) fn cut(&self) -> Gone {
        // It may be gone already.
        self.stream.shutdown(Shutdown::Both).ok();
        Gone::Cut
    }
}

/// Where the Unix socket is, beside the data folder.
pub(crate) const SOCKET: &str = "wamp.sock";

/// One that listens at a Unix socket too.
pub(crate) fn start(settings: &[(&str, &str)]) -> Server {
    let mut server = Server::prepare(settings);
    let socket = server.file(SOCKET).display().to_string();
    server.set("RESTANTE_WAMP_UNIX_SOCKET", &socket);
    server.run();
    server
}

pub(crate) fn upgrade(protocol: &str) -> String {
    format!(
        "GET /wamp HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )
}

fn is_shutdown(reason: &str) -> bool {
    reason == "wamp.close.system_shutdown"
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A HELLO with every role, and every feature that changes anything.
pub(crate) fn hello() -> Message {
    hello_with(&[
        "call_canceling",
        "call_reroute",
        "payload_passthru_mode",
        "progressive_call_invocations",
        "progressive_call_results",
        "registration_revocation",
        "subscription_revocation",
    ])
}

/// A HELLO with every role, each with these features.
pub(crate) fn hello_with(features: &[&str]) -> Message {
    let features: Dict = features.iter().map(|it| (*it, true)).collect();
    let role = Dict::new().with("features", features);
    let roles = ["publisher", "subscriber", "caller", "callee"];
    let roles: Dict = roles.iter().map(|it| (*it, role.clone())).collect();
    Message::Hello {
        realm: "default".to_owned(),
        details: Dict::new()
            .with("roles", roles)
            .with("authmethods", vec![Value::from("ticket")])
            .with("authid", "whoever"),
    }
}

/// Arguments, in whatever serializer: they are written again for the client's.
pub(crate) fn args(args: &[Value]) -> Payload {
    Payload::from_values(Serializer::Json, args, &Dict::new()).expect("values that JSON has")
}

pub(crate) fn call(request: u64, procedure: &str, given: &[Value]) -> Message {
    Message::Call {
        request,
        options: Dict::new(),
        procedure: procedure.to_owned(),
        payload: args(given),
    }
}

pub(crate) fn publish(request: u64, topic: &str, options: Dict, given: &[Value]) -> Message {
    Message::Publish {
        request,
        options,
        topic: topic.to_owned(),
        payload: args(given),
    }
}

/// Somebody in good order, who subscribes to what it publishes and calls what it has registered.
pub(crate) struct Neighbour {
    client: Client,
    n: i64,
}

impl Neighbour {
    pub(crate) fn new(server: &Server) -> Neighbour {
        let mut client = Client::join(server, JSON);
        client.subscribe("neighbour.topic", Dict::new());
        client.register("neighbour.procedure", Dict::new());
        Neighbour { client, n: 0 }
    }

    /// It is served, now.
    pub(crate) fn goes_on(&mut self) {
        self.n += 1;
        let (client, given) = (&mut self.client, [Value::Int(self.n)]);
        let request = client.next_id();
        let to_self = Dict::new().with("exclude_me", false);
        let event = publish(request, "neighbour.topic", to_self, &given);
        match client.ask(&event).expect("not disturbed") {
            Message::Event { payload, .. } => assert_eq!(payload.args().as_deref(), Ok(&given[..])),
            other => panic!("not its EVENT: {other:?}"),
        }
        let request = client.next_id();
        let called = call(request, "neighbour.procedure", &given);
        let invocation = match client.ask(&called).expect("not disturbed") {
            Message::Invocation { request, .. } => request,
            other => panic!("not its INVOCATION: {other:?}"),
        };
        let answer = Message::Yield {
            request: invocation,
            options: Dict::new(),
            payload: args(&given),
        };
        match client.ask(&answer).expect("not disturbed") {
            Message::Result { payload, .. } => {
                assert_eq!(payload.args().as_deref(), Ok(&given[..]))
            }
            other => panic!("not its RESULT: {other:?}"),
        }
    }
}
