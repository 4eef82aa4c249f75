//! MQTT as its clients see it: bytes over TCP and WebSocket, written and read by hand (MQTT 3.1.1), through real kills.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::script::Script;
use crate::server::Server;
use crate::{wait, wire};

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const PINGREQ: u8 = 0xc0;
const PINGRESP: u8 = 0xd0;
const DISCONNECT: u8 = 0xe0;
const QOS_1: u8 = 0x02;
const DUP: u8 = 0x08;
const RETAIN: u8 = 0x01;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Over {
    Tcp,
    WebSocket,
}

/// One connection.
struct Client {
    stream: TcpStream,
    over: Over,
    /// What came in WebSocket messages and was not read yet.
    came: Vec<u8>,
}

impl Client {
    fn new(at: SocketAddr, over: Over) -> Client {
        let stream = TcpStream::connect(at).expect("a connection");
        let deadline = Some(wait::deadline());
        stream.set_read_timeout(deadline).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        let mut client = Client {
            stream,
            over,
            came: Vec::new(),
        };
        if over == Over::WebSocket {
            client.upgrade();
        }
        client
    }

    fn upgrade(&mut self) {
        let request = "GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Protocol: mqttv3.1\r\n\r\n";
        self.stream.write_all(request.as_bytes()).expect("written");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.extend(self.raw(1));
        }
        let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 101"), "{answer}");
        assert!(answer.contains("protocol: mqttv3.1\r\n"), "{answer}");
    }

    /// Connects, with the token of the command line as its password; whether a session goes on.
    fn connect(server: &Server, over: Over, id: &str, clean: bool) -> (Client, bool) {
        let mut client = Client::new(server.clients(), over);
        let flags = 0xc0 | if clean { 0x02 } else { 0 };
        let mut body = b"\x00\x04MQTT\x04".to_vec();
        body.extend([flags, 0, 0]);
        for text in [id, "whoever", &server.token()] {
            body.extend(string(text));
        }
        client.send(CONNECT, &body);
        let (_, connack) = client.expect(CONNACK);
        assert_eq!(connack.get(1), Some(&0), "{connack:?}");
        (client, connack.first() == Some(&1))
    }

    fn send(&mut self, first: u8, body: &[u8]) {
        let mut packet = vec![first];
        // MQTT's lengths are LEB128.
        packet.extend(wire::leb128(body.len() as u64));
        packet.extend(body);
        if self.over == Over::WebSocket {
            packet = wire::message(wire::BINARY, &packet);
        }
        self.stream.write_all(&packet).expect("written");
    }

    /// A packet of that type comes; its flags and its body.
    fn expect(&mut self, first: u8) -> (u8, Vec<u8>) {
        let came = self.byte();
        assert_eq!(came & 0xf0, first & 0xf0, "{came:#x} came");
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        (came & 0x0f, (0..length).map(|_| self.byte()).collect())
    }

    fn byte(&mut self) -> u8 {
        if self.over == Over::Tcp {
            return *self.raw(1).first().expect("a byte");
        }
        while self.came.is_empty() {
            self.message();
        }
        self.came.remove(0)
    }

    /// Reads a short binary message.
    fn message(&mut self) {
        let head = self.raw(2);
        assert_eq!(head.first(), Some(&(0x80 | wire::BINARY)), "{head:?}");
        let length = usize::from(*head.get(1).expect("a length"));
        assert!(length < 126, "nothing here is so long");
        self.came = self.raw(length);
    }

    fn raw(&mut self, n_bytes: usize) -> Vec<u8> {
        let mut bytes = vec![0; n_bytes];
        self.stream.read_exact(&mut bytes).expect("bytes");
        bytes
    }

    fn subscribe(&mut self, filter: &str) {
        let mut body = vec![0, 1];
        body.extend(string(filter));
        body.push(1);
        self.send(SUBSCRIBE, &body);
        assert_eq!(self.expect(SUBACK).1, [0, 1, 1], "granted with QoS 1");
    }

    /// Publishes with QoS 1, and waits until that is stored.
    fn publish(&mut self, id: u8, topic: &str, payload: &str) {
        let mut body = string(topic);
        body.extend([0, id]);
        body.extend(payload.as_bytes());
        self.send(PUBLISH | QOS_1, &body);
        assert_eq!(self.expect(PUBACK).1, [0, id]);
    }

    /// The next message, of QoS 1: its flags, its packet id, and its payload. It is not acknowledged.
    fn message_of(&mut self, topic: &str) -> (u8, [u8; 2], String) {
        let (flags, body) = self.expect(PUBLISH);
        let rest = body.strip_prefix(&*string(topic)).expect("the topic");
        let (id, payload) = rest.split_first_chunk().expect("a packet id");
        (flags, *id, String::from_utf8_lossy(payload).into_owned())
    }

    /// Nothing came before the answer to this.
    fn expect_nothing(&mut self) {
        self.send(PINGREQ, b"");
        self.expect(PINGRESP);
    }

    fn goodbye(mut self) {
        self.send(DISCONNECT, b"");
    }
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

#[test]
fn what_is_published_to_an_absent_session_survives_kill_9() {
    for over in [Over::Tcp, Over::WebSocket] {
        let mut server = Server::start();
        let (mut reader, goes_on) = Client::connect(&server, over, "reader", false);
        assert!(!goes_on);
        reader.subscribe("orders/+");
        reader.goodbye();
        let (mut writer, _) = Client::connect(&server, over, "writer", true);
        for id in 1..=3 {
            writer.publish(id, "orders/eu", &format!("order {id}"));
        }
        writer.publish(4, "elsewhere", "for nobody");
        server.crash();
        let (mut reader, goes_on) = Client::connect(&server, over, "reader", false);
        assert!(goes_on);
        let (flags, first, payload) = reader.message_of("orders/eu");
        assert_eq!((flags, payload.as_str()), (QOS_1, "order 1"));
        reader.send(PUBACK, &first);
        let (_, second, payload) = reader.message_of("orders/eu");
        assert_eq!(payload, "order 2");
        assert_eq!(reader.message_of("orders/eu").2, "order 3");
        // The first is acknowledged on disk before this is answered: both go the same way.
        reader.publish(9, "elsewhere", "a fence");
        server.crash();
        let (mut reader, goes_on) = Client::connect(&server, over, "reader", false);
        assert!(goes_on);
        for (number, payload) in ["order 2", "order 3"].into_iter().enumerate() {
            let (flags, id, again) = reader.message_of("orders/eu");
            assert_eq!(again, payload);
            // After a kill nobody knows any more that it was sent before; its packet id is the same all the same.
            assert_eq!(flags & !DUP, QOS_1);
            assert!(number > 0 || id == second, "{id:?}, and {second:?} before");
            reader.send(PUBACK, &id);
        }
        reader.expect_nothing();
        reader.goodbye();
        let (mut reader, goes_on) = Client::connect(&server, over, "reader", true);
        assert!(!goes_on, "a clean session begins anew");
        reader.expect_nothing();
        server.terminate();
    }
}

#[test]
fn what_is_retained_survives_kill_9() {
    for over in [Over::Tcp, Over::WebSocket] {
        let mut server = Server::start();
        let (mut writer, _) = Client::connect(&server, over, "writer", true);
        for payload in ["old", "new"] {
            let mut body = string("state/door");
            body.extend([0, 1]);
            body.extend(payload.as_bytes());
            writer.send(PUBLISH | QOS_1 | RETAIN, &body);
            assert_eq!(writer.expect(PUBACK).1, [0, 1]);
        }
        server.crash();
        for clean in [true, false] {
            let (mut reader, _) = Client::connect(&server, over, "reader", clean);
            reader.subscribe("state/#");
            let (flags, _, payload) = reader.message_of("state/door");
            assert_eq!((flags, payload.as_str()), (QOS_1 | RETAIN, "new"));
            reader.goodbye();
        }
        server.terminate();
    }
}

/// A client whose session ends with its connection, and which nobody saw go.
#[test]
fn a_will_survives_kill_9() {
    for over in [Over::Tcp, Over::WebSocket] {
        let mut server = Server::start();
        let (mut reader, _) = Client::connect(&server, over, "reader", false);
        reader.subscribe("state/+");
        reader.goodbye();
        let mut lost = Client::new(server.clients(), over);
        let mut body = b"\x00\x04MQTT\x04".to_vec();
        // A clean session, with a will of QoS 1.
        body.extend([0xc0 | 0x0e, 0, 0]);
        for text in ["pump", "state/pump", "lost", "whoever", &server.token()] {
            body.extend(string(text));
        }
        lost.send(CONNECT, &body);
        assert_eq!(lost.expect(CONNACK).1, [0, 0]);
        server.crash();
        for _ in 0..2 {
            let (mut reader, _) = Client::connect(&server, over, "reader", false);
            let (_, _, payload) = reader.message_of("state/pump");
            assert_eq!(payload, "lost");
            reader.publish(9, "elsewhere", "a fence");
            reader.expect_nothing();
            drop(reader);
            server.crash();
        }
    }
}

#[test]
fn a_connection_that_breaks_brings_back_what_was_not_acknowledged() {
    let server = Server::start();
    let (mut reader, _) = Client::connect(&server, Over::Tcp, "reader", false);
    reader.subscribe("orders/#");
    let (mut writer, _) = Client::connect(&server, Over::WebSocket, "writer", true);
    writer.publish(1, "orders/eu/1", "x");
    let (flags, id, _) = reader.message_of("orders/eu/1");
    assert_eq!(flags, QOS_1);
    drop(reader);
    let (mut reader, goes_on) = Client::connect(&server, Over::WebSocket, "reader", false);
    assert!(goes_on);
    assert_eq!(
        reader.message_of("orders/eu/1"),
        (QOS_1 | DUP, id, "x".to_owned())
    );
}

#[test]
fn messages_cross_between_the_doors() {
    let server = Server::start();
    let mut mbws = Script::open(&server, "");
    mbws.consume("c", "work", "limit:10\n");
    mbws.all_confirmed();
    let (mut mqtt, _) = Client::connect(&server, Over::Tcp, "till", true);
    mqtt.publish(1, "work", "from MQTT");
    // 3.1.1 does not say that a payload is text: as bytes it is in base64 where frames are text.
    assert_eq!(mbws.delivery().body, "ZnJvbSBNUVRU");
    mqtt.subscribe("news/#");
    mbws.send("news/local", "from MBWS");
    mbws.all_confirmed();
    let (_, id, payload) = mqtt.message_of("news/local");
    assert_eq!(payload, "from MBWS");
    mqtt.send(PUBACK, &id);
    mqtt.expect_nothing();
    assert!(server.metric("restante_mqtt_connections", "3.1.1") >= 1.0);
    assert!(server.metric("restante_mqtt_packets_total", "publish") >= 2.0);
}

#[test]
fn a_port_of_its_own_takes_nothing_but_mqtt() {
    let server = Server::with(&[("RESTANTE_MQTT_LISTEN", "127.0.0.1:0")]);
    let told = server.told();
    let urls: Vec<&str> = told
        .lines()
        .filter_map(|line| line.split_once("mqtt     ").map(|(_, url)| url))
        .collect();
    let [shared, websocket, own] = urls.as_slice() else {
        panic!("not three: {urls:?}");
    };
    let clients = server.clients();
    assert_eq!(*shared, format!("mqtt://{clients}"));
    assert_eq!(*websocket, format!("ws://{clients}/mqtt"));
    let own = own.strip_prefix("mqtt://").expect("a URL");
    let own: SocketAddr = own.parse().expect("an address and port");
    let mut client = Client::new(own, Over::Tcp);
    client.send(CONNECT, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x01a");
    // Nobody is let in who does not say who it is.
    assert_eq!(client.expect(CONNACK).1, [0, 5]);
    let mut http = Client::new(own, Over::Tcp);
    let request = b"GET /mbws HTTP/1.1\r\nHost: h\r\n\r\n";
    http.stream.write_all(request).expect("written");
    let mut answer = Vec::new();
    // Closed or reset, but without a word.
    http.stream.read_to_end(&mut answer).ok();
    assert_eq!(answer, b"");
}

#[test]
fn mqtt_can_be_switched_off() {
    let server = Server::with(&[("RESTANTE_MQTT_ENABLED", "false")]);
    assert!(!server.told().contains("mqtt"), "{}", server.told());
    let mut client = Client::new(server.clients(), Over::Tcp);
    client.send(CONNECT, b"\x00\x04MQTT\x04\x02\x00\x00\x00\x01a\r\n\r\n");
    let mut answer = String::new();
    client.stream.read_to_string(&mut answer).ok();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
