//! An MQTT client of the tests, made of our own codec: packets over TCP or WebSocket, cut wherever it is told to be.
//!
//! It has no state beyond its connection: what a client keeps from one connection to the next is its user's.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Weak};

use bytes::{Buf, Bytes, BytesMut};
use restante_proto::mqtt::{
    Connack, Connect, Decoder, Limits, Packet, PacketId, Publish, Qos, ReasonCode, Secret, Str,
    Subscribe, SubscribeProperties, Subscription, Version, encode,
};

use crate::{wait, wire};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    WebSocket,
}

/// The end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Its life was over.
    Cut,
    /// The other side's doing.
    Lost,
}

/// After how many bytes of its own a connection is cut, be it in the middle of a packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) written: usize,
    pub(crate) read: usize,
}

impl Life {
    pub(crate) const ENDLESS: Life = Life {
        written: usize::MAX,
        read: usize::MAX,
    };
}

/// One connection.
pub(crate) struct Peer {
    stream: Arc<TcpStream>,
    over: Over,
    version: Version,
    life: Life,
    /// What came of WebSocket frames that are not whole.
    frames: BytesMut,
    /// What came of packets that are not whole.
    input: BytesMut,
    decoder: Decoder,
}

impl Peer {
    pub(crate) fn new(
        at: SocketAddr,
        over: Over,
        version: Version,
        life: Life,
    ) -> Result<Peer, Gone> {
        let stream = TcpStream::connect(at).map_err(|_| Gone::Lost)?;
        let deadline = Some(wait::deadline());
        stream.set_read_timeout(deadline).expect("a timeout");
        stream.set_write_timeout(deadline).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        let mut peer = Peer {
            stream: Arc::new(stream),
            over,
            version,
            life,
            frames: BytesMut::new(),
            input: BytesMut::new(),
            decoder: Decoder::client(version, Limits::default()),
        };
        if over == Over::WebSocket {
            peer.upgrade()?;
        }
        Ok(peer)
    }

    /// Connects with a life that nothing but the test itself ends.
    pub(crate) fn connect(
        at: SocketAddr,
        over: Over,
        connect: Connect,
    ) -> Result<(Peer, Box<Connack>), Gone> {
        let mut peer = Peer::new(at, over, connect.version, Life::ENDLESS)?;
        let connack = peer.begin(connect)?;
        Ok((peer, connack))
    }

    /// Sends the CONNECT; what it was answered.
    pub(crate) fn begin(&mut self, connect: Connect) -> Result<Box<Connack>, Gone> {
        self.send(&Packet::Connect(Box::new(connect)))?;
        match self.receive()? {
            Packet::Connack(connack) => Ok(connack),
            other => panic!("not a CONNACK: {other:?}"),
        }
    }

    fn upgrade(&mut self) -> Result<(), Gone> {
        let request = "GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Protocol: mqtt\r\n\r\n";
        self.write(request.as_bytes())?;
        loop {
            if let Some(end) = self.frames.windows(4).position(|it| it == b"\r\n\r\n") {
                let head = self.frames.split_to(end + 4);
                assert!(head.starts_with(b"HTTP/1.1 101"), "{head:?}");
                return Ok(());
            }
            self.read()?;
        }
    }

    pub(crate) fn send(&mut self, packet: &Packet) -> Result<(), Gone> {
        let mut bytes = BytesMut::new();
        encode(packet, self.version, &mut bytes).expect("a packet that can be written");
        self.send_bytes(&bytes)
    }

    /// In one piece: over WebSocket, one message.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        match self.over {
            Over::Tcp => self.write(bytes),
            Over::WebSocket => self.write(&wire::message(wire::BINARY, bytes)),
        }
    }

    /// The next packet.
    pub(crate) fn receive(&mut self) -> Result<Packet, Gone> {
        loop {
            let packet = self.decoder.decode(&mut self.input);
            if let Some(packet) = packet.expect("the broker sends good packets") {
                return Ok(packet);
            }
            self.more()?;
        }
    }

    /// More bytes of packets.
    fn more(&mut self) -> Result<(), Gone> {
        if self.over == Over::Tcp {
            self.read()?;
            self.input.unsplit(self.frames.split());
            return Ok(());
        }
        loop {
            if let Some((opcode, payload)) = take_frame(&mut self.frames) {
                match opcode {
                    wire::BINARY => self.input.extend_from_slice(&payload),
                    wire::CLOSE => return Err(Gone::Lost),
                    other => panic!("a WebSocket frame of opcode {other}"),
                }
                return Ok(());
            }
            self.read()?;
        }
    }

    /// Reads into `frames`.
    fn read(&mut self) -> Result<(), Gone> {
        let mut buffer = [0; 4096];
        let n_max = self.life.read.min(buffer.len());
        let room = buffer.get_mut(..n_max).unwrap_or_default();
        if room.is_empty() {
            return Err(self.cut());
        }
        match (&*self.stream).read(room) {
            Ok(0) => Err(Gone::Lost),
            Ok(n) => {
                self.life.read -= n;
                self.frames.extend(room.iter().take(n));
                Ok(())
            }
            Err(error) if is_timeout(&error) => panic!("nothing came within the deadline"),
            Err(_) => Err(Gone::Lost),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let n = self.life.written.min(bytes.len());
        let (written, rest) = bytes.split_at(n);
        self.life.written -= n;
        match (&*self.stream).write_all(written) {
            Err(error) if is_timeout(&error) => panic!("nothing is read within the deadline"),
            Err(_) => Err(Gone::Lost),
            Ok(()) if !rest.is_empty() => Err(self.cut()),
            Ok(()) => Ok(()),
        }
    }

    fn cut(&self) -> Gone {
        // It may be gone already.
        self.stream.shutdown(std::net::Shutdown::Both).ok();
        Gone::Cut
    }

    /// Its socket, to be cut from elsewhere.
    pub(crate) fn stream(&self) -> Weak<TcpStream> {
        Arc::downgrade(&self.stream)
    }

    /// Subscribes to one filter; the code that it is answered with. What comes before the answer is given too.
    pub(crate) fn subscribe(
        &mut self,
        filter: &str,
        qos: Qos,
    ) -> Result<(ReasonCode, Vec<Packet>), Gone> {
        self.send(&Packet::Subscribe(Subscribe {
            packet_id: PacketId::FIRST,
            subscriptions: vec![Subscription::new(text(filter), qos)],
            properties: SubscribeProperties::default(),
        }))?;
        let mut before = Vec::new();
        loop {
            match self.receive()? {
                Packet::Suback(suback) => {
                    let code = suback.reasons.first().expect("a code");
                    return Ok((*code, before));
                }
                other => before.push(other),
            }
        }
    }

    /// Publishes with QoS 1 and waits for the answer; nothing else may come.
    pub(crate) fn publish(&mut self, topic: &str, payload: &str) -> Result<ReasonCode, Gone> {
        self.send(&publish(Qos::AtLeastOnce, topic, payload, PacketId::FIRST))?;
        match self.receive()? {
            Packet::Puback(ack) => Ok(ack.reason),
            other => panic!("not a PUBACK: {other:?}"),
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Opcode and payload of a whole frame of a server, which masks nothing.
pub(crate) fn take_frame(bytes: &mut BytesMut) -> Option<(u8, Bytes)> {
    let (first, length) = (*bytes.first()?, *bytes.get(1)?);
    let (head, length) = match length {
        126 => (
            4,
            u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?).into(),
        ),
        127 => (10, u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)),
        short => (2, u64::from(short)),
    };
    let total = head + usize::try_from(length).expect("a length that fits");
    if bytes.len() < total {
        return None;
    }
    let mut frame = bytes.split_to(total);
    frame.advance(head);
    Some((first & 0x0f, frame.freeze()))
}

pub(crate) fn text(text: &str) -> Str {
    Str::try_from(text).expect("a short text")
}

/// A CONNECT of the command line's token; the session stays if it is not clean.
pub(crate) fn connect(version: Version, id: &str, token: &str, clean: bool) -> Connect {
    let mut connect = Connect {
        clean_start: clean,
        user_name: Some(text("whoever")),
        password: Some(Secret(Bytes::copy_from_slice(token.as_bytes()))),
        ..Connect::new(version, text(id))
    };
    if version == Version::V5 && !clean {
        connect.properties.session_expiry_secs = Some(600);
    }
    connect
}

pub(crate) fn publish(qos: Qos, topic: &str, payload: &str, id: PacketId) -> Packet {
    Packet::Publish(Publish {
        qos,
        topic: text(topic),
        packet_id: (qos > Qos::AtMostOnce).then_some(id),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        ..Publish::default()
    })
}
