//! An SP client of the tests: short messages over WebSocket, written and read by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use bytes::{Bytes, BytesMut};
use restante_proto::sp::Role;

use crate::peer::take_frame;
use crate::server::Server;
use crate::{wait, wire};

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    input: BytesMut,
}

impl Client {
    /// Connects to `/sp/TARGET` as the command line's token; it is let in.
    pub(crate) fn new(server: &Server, role: Role, target: &str) -> Client {
        let mut client = Client::dial(server, role, target, &server.token());
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 101"), "{target}: {head}");
        client
    }

    /// The same, with an answer that is not read yet.
    pub(crate) fn dial(server: &Server, role: Role, target: &str, token: &str) -> Client {
        let stream = TcpStream::connect(server.clients()).expect("a connection");
        let deadline = Some(wait::deadline());
        stream.set_read_timeout(deadline).expect("a timeout");
        stream.set_write_timeout(deadline).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        let request = format!(
            "GET /sp/{target} HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
            role.token()
        );
        let mut client = Client {
            stream,
            input: BytesMut::new(),
        };
        client.write(request.as_bytes());
        client
    }

    /// What the upgrade was answered.
    pub(crate) fn head(&mut self) -> String {
        loop {
            if let Some(end) = self.input.windows(4).position(|it| it == b"\r\n\r\n") {
                let head = self.input.split_to(end + 4);
                return String::from_utf8_lossy(&head).into_owned();
            }
            assert!(self.read(), "the connection ended in the answer");
        }
    }

    pub(crate) fn send(&mut self, header: &[u8], body: &str) {
        let message = [header, body.as_bytes()].concat();
        self.write(&wire::message(wire::BINARY, &message));
    }

    /// The next message; none: the connection has ended.
    pub(crate) fn try_receive(&mut self) -> Option<Bytes> {
        loop {
            if let Some((opcode, payload)) = take_frame(&mut self.input) {
                assert_eq!(opcode, wire::BINARY, "a whole message, and nothing else");
                return Some(payload);
            }
            if !self.read() {
                return None;
            }
        }
    }

    pub(crate) fn receive(&mut self) -> Bytes {
        self.try_receive().expect("a message")
    }

    /// The next message without a header.
    pub(crate) fn body(&mut self) -> String {
        String::from_utf8_lossy(&self.receive()).into_owned()
    }

    /// The next message with one of four bytes.
    pub(crate) fn headed(&mut self) -> ([u8; 4], String) {
        let message = self.receive();
        let (header, body) = message.split_first_chunk().expect("a header");
        (*header, String::from_utf8_lossy(body).into_owned())
    }

    /// Nothing comes for a while.
    pub(crate) fn nothing(&mut self) {
        let quiet = Some(wait::quiet());
        self.stream.set_read_timeout(quiet).expect("a timeout");
        let mut byte = [0];
        let read = self.stream.read(&mut byte);
        let came = read.map_err(|it| it.kind());
        let is_quiet = matches!(came, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut));
        assert!(is_quiet && self.input.is_empty(), "{came:?} {byte:?}");
        let deadline = Some(wait::deadline());
        self.stream.set_read_timeout(deadline).expect("a timeout");
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it is read");
    }

    /// Breaks the connection, as a killed process does.
    pub(crate) fn cut(self) {
        self.stream.shutdown(Shutdown::Both).ok();
    }

    /// Whether more came.
    fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(n) => {
                self.input.extend(buffer.iter().take(n));
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came within the deadline")
            }
            Err(_) => false,
        }
    }
}
