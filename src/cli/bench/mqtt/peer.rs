//! A client of MQTT, as far as load needs one: packets in and out of a socket, in large pieces.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::BytesMut;
use restante_proto::mqtt::{
    Ack, Connack, Connect, Decoder, Disconnect, Limits, Packet, PacketId, Publish, Qos, ReasonCode,
    Str, Subscribe, SubscribeProperties, Subscription, Version, encode,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::super::bytes as wire;
use super::door::Entrance;

/// Until the broker has answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// Filters in one SUBSCRIBE.
pub(super) const FILTERS_MAX: usize = 200;

/// Which session a client asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish {
    /// Whether one that there was is dropped.
    pub(super) clean: bool,
    /// Whether it outlives the connection.
    pub(super) durable: bool,
    pub(super) keep_alive_secs: u16,
}

impl Wish {
    /// Ends with its connection.
    pub(super) const PLAIN: Wish = Wish {
        clean: true,
        durable: false,
        keep_alive_secs: 0,
    };
    /// Outlives its connection, and is new.
    pub(super) const NEW: Wish = Wish {
        clean: true,
        durable: true,
        keep_alive_secs: 0,
    };
    /// Outlives its connection, and goes on with what there is.
    pub(super) const AGAIN: Wish = Wish {
        clean: false,
        durable: true,
        keep_alive_secs: 0,
    };
}

/// How long a durable session is kept without its client: longer than any measurement.
const EXPIRY_SECS: u32 = 24 * 3600;

/// One connection.
pub(super) struct Peer {
    stream: TcpStream,
    version: Version,
    decoder: Decoder,
    input: BytesMut,
    output: BytesMut,
    /// Messages that came where an answer was waited for.
    n_early: u64,
}

impl Peer {
    /// Connects.
    ///
    /// # Errors
    /// It is not let in.
    pub(super) async fn connect(
        entrance: &Entrance,
        client: &str,
        wish: Wish,
    ) -> anyhow::Result<(Peer, Connack)> {
        if wish.clean && wish.durable && entrance.version != Version::V5 {
            // 3.x cannot say both at once.
            Self::forget(entrance, client).await?;
        }
        Self::dial(entrance, client, wish).await
    }

    /// Drops a session.
    ///
    /// # Errors
    /// The client is not let in.
    pub(super) async fn forget(entrance: &Entrance, client: &str) -> anyhow::Result<()> {
        let (peer, _) = Self::dial(entrance, client, Wish::PLAIN).await?;
        peer.leave().await
    }

    async fn dial(
        entrance: &Entrance,
        client: &str,
        wish: Wish,
    ) -> anyhow::Result<(Peer, Connack)> {
        let stream = TcpStream::connect(entrance.address)
            .await
            .with_context(|| format!("cannot connect to {}", entrance.address))?;
        stream.set_nodelay(true)?;
        let limits = Limits {
            packet_bytes_max: 16 << 20,
            ..Limits::default()
        };
        let mut peer = Peer {
            stream,
            version: entrance.version,
            decoder: Decoder::client(entrance.version, limits),
            input: BytesMut::new(),
            output: BytesMut::new(),
            n_early: 0,
        };
        peer.send(&Packet::Connect(Box::new(connect(entrance, client, wish)?)))
            .await?;
        match peer.answer().await? {
            Packet::Connack(connack) if connack.reason == ReasonCode::Success => {
                Ok((peer, *connack))
            }
            Packet::Connack(connack) => bail!("not let in: {}", connack.reason),
            other => bail!("a {} instead of a CONNACK", other.packet_type().name()),
        }
    }

    /// Subscribes to all of them.
    ///
    /// # Errors
    /// One is refused.
    pub(super) async fn subscribe(&mut self, filters: &[String], qos: Qos) -> anyhow::Result<()> {
        for some in filters.chunks(FILTERS_MAX) {
            let subscriptions = some
                .iter()
                .map(|it| Ok(Subscription::new(Str::try_from(it.as_str())?, qos)))
                .collect::<anyhow::Result<_>>()?;
            self.send(&Packet::Subscribe(Subscribe {
                packet_id: PacketId::FIRST,
                subscriptions,
                properties: SubscribeProperties::default(),
            }))
            .await?;
            match self.answer().await? {
                Packet::Suback(suback) => {
                    if let Some(why) = suback.reasons.iter().find(|it| it.is_error()) {
                        bail!("a subscription was refused: {why}");
                    }
                }
                other => bail!("a {} instead of a SUBACK", other.packet_type().name()),
            }
        }
        Ok(())
    }

    /// Subscribes to one, and counts the messages that come before it is granted.
    ///
    /// # Errors
    /// It is refused.
    pub(super) async fn ask(&mut self, filter: &str, qos: Qos) -> anyhow::Result<u64> {
        let before = self.n_early;
        self.subscribe(&[filter.to_owned()], qos).await?;
        Ok(self.n_early - before)
    }

    /// Says goodbye; the session, if it is durable, stays.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn leave(mut self) -> anyhow::Result<()> {
        self.send(&Packet::Disconnect(Disconnect::default()))
            .await?;
        self.stream.shutdown().await?;
        Ok(())
    }

    /// Writes a packet at once.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn send(&mut self, packet: &Packet) -> anyhow::Result<()> {
        encode(packet, self.version, &mut self.output)?;
        self.flush().await
    }

    /// Puts a message to what is to be written.
    pub(super) fn put(&mut self, template: &Template) {
        self.output.extend_from_slice(&template.bytes);
    }

    /// Puts an acknowledgement of QoS 1 to what is to be written.
    ///
    /// # Errors
    /// Never, with what is there.
    pub(super) fn put_puback(&mut self, id: PacketId) -> anyhow::Result<()> {
        let ack = Packet::Puback(Ack::new(id, ReasonCode::Success));
        Ok(encode(&ack, self.version, &mut self.output)?)
    }

    /// Writes what is to be written.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn flush(&mut self) -> anyhow::Result<()> {
        wire::flush(&self.stream, &mut self.output).await
    }

    /// Waits for bytes, and takes what is there.
    ///
    /// # Errors
    /// The connection is gone.
    pub(super) async fn hear(&mut self) -> anyhow::Result<()> {
        wire::hear(&self.stream, &mut self.input).await
    }

    /// The next packet of those that are here.
    ///
    /// # Errors
    /// What came is none.
    pub(super) fn take(&mut self) -> anyhow::Result<Option<Packet>> {
        let packet = self.decoder.decode(&mut self.input)?;
        if packet.is_none() && self.input.is_empty() {
            self.input = BytesMut::new();
        }
        Ok(packet)
    }

    /// The next packet that is no message.
    async fn answer(&mut self) -> anyhow::Result<Packet> {
        let answer = async {
            loop {
                while let Some(packet) = self.take()? {
                    let Packet::Publish(publish) = packet else {
                        return Ok(packet);
                    };
                    self.n_early += 1;
                    if let Some(id) = publish.packet_id {
                        self.put_puback(id)?;
                    }
                }
                self.flush().await?;
                self.hear().await?;
            }
        };
        tokio::time::timeout(ANSWER_WITHIN, answer)
            .await
            .context("no answer")?
    }
}

fn connect(entrance: &Entrance, client: &str, wish: Wish) -> anyhow::Result<Connect> {
    let mut connect = Connect::new(entrance.version, Str::try_from(client)?);
    connect.clean_start = match entrance.version {
        Version::V5 => wish.clean,
        Version::V31 | Version::V311 => !wish.durable,
    };
    connect.keep_alive_secs = wish.keep_alive_secs;
    connect.user_name.clone_from(&entrance.user);
    connect.password.clone_from(&entrance.password);
    if entrance.version == Version::V5 && wish.durable {
        connect.properties.session_expiry_secs = Some(EXPIRY_SECS);
    }
    Ok(connect)
}

/// A message, encoded once: each one sent is a copy of it with its own packet id, time and number.
#[derive(Debug, Clone)]
pub(super) struct Template {
    bytes: Vec<u8>,
    /// Where the packet id is.
    id_at: Option<usize>,
    body_at: usize,
}

impl Template {
    /// A message of `size` bytes.
    ///
    /// # Errors
    /// The topic is none.
    pub(super) fn new(
        version: Version,
        topic: &str,
        qos: Qos,
        retain: bool,
        size: u32,
    ) -> anyhow::Result<Template> {
        let size = size as usize;
        let publish = Publish {
            qos,
            retain,
            topic: Str::try_from(topic)?,
            packet_id: (qos > Qos::AtMostOnce).then_some(PacketId::FIRST),
            payload: vec![b'x'; size].into(),
            ..Publish::default()
        };
        let mut bytes = BytesMut::new();
        encode(&Packet::Publish(publish), version, &mut bytes)?;
        let body_at = bytes.len() - size;
        // In front of the body, 5.0 has a byte that says "no properties".
        let n_properties = usize::from(version == Version::V5);
        Ok(Template {
            id_at: (qos > Qos::AtMostOnce).then(|| body_at - n_properties - 2),
            bytes: bytes.into(),
            body_at,
        })
    }

    /// The next one, with this packet id where it has one, sent at `nanos`, with this number.
    pub(super) fn stamp(&mut self, id: PacketId, nanos: u64, number: u64) {
        if let Some(at) = self.id_at {
            patch(&mut self.bytes, at, &id.get().to_be_bytes());
        }
        patch(&mut self.bytes, self.body_at, &nanos.to_le_bytes());
        patch(&mut self.bytes, self.body_at + 8, &number.to_le_bytes());
    }
}

fn patch(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + with.len()) {
        place.copy_from_slice(with);
    }
}

/// When a message was sent, and its number.
pub(super) fn stamp_of(publish: &Publish) -> (u64, u64) {
    let number = |at: usize| {
        let bytes = publish.payload.get(at..at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    (number(0).unwrap_or(0), number(8).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stamped_is_found_again() {
        for (version, qos) in [
            (Version::V311, Qos::AtMostOnce),
            (Version::V5, Qos::AtMostOnce),
            (Version::V311, Qos::AtLeastOnce),
            (Version::V5, Qos::AtLeastOnce),
        ] {
            let mut template = Template::new(version, "a/b", qos, true, 200).unwrap();
            template.stamp(PacketId::FIRST, 1, 1);
            template.stamp(PacketId::FIRST.next(), 7, 9);
            let mut input = BytesMut::from(&template.bytes[..]);
            let packet = Decoder::client(version, Limits::default()).decode(&mut input);
            let Ok(Some(Packet::Publish(publish))) = packet else {
                panic!("{packet:?}");
            };
            assert_eq!(stamp_of(&publish), (7, 9));
            let id = (qos > Qos::AtMostOnce).then_some(2);
            assert_eq!(publish.packet_id.map(PacketId::get), id);
            assert_eq!(
                (publish.topic.as_str(), publish.payload.len()),
                ("a/b", 200)
            );
        }
    }
}
