//! Packets off a byte stream: the fixed header, its limits, and what may come in which direction.

use bytes::{Buf as _, BytesMut};

use super::read::{Context, read_packet};
use super::wire::{Reader, Varint};
use super::{Error, Limits, Packet, PacketType, Rule, Version};

/// Takes packets off a byte stream that comes in any pieces.
///
/// A server's decoder takes a CONNECT first and learns the version from it; a client's is told. Until
/// [`admit`](Decoder::admit) packets may only be as large as a stranger's may.
///
/// ```
/// # use bytes::BytesMut;
/// # use restante_proto::mqtt::{Decoder, Limits, Packet};
/// let mut decoder = Decoder::server(Limits::default());
/// let mut input = BytesMut::from(&b"\x10\x0D\x00\x04MQTT\x04\x02\x00\x3C\x00\x01a\xC0"[..]);
/// assert!(matches!(decoder.decode(&mut input), Ok(Some(Packet::Connect(_)))));
/// decoder.admit();
/// // The PINGREQ is not all here yet.
/// assert_eq!(decoder.decode(&mut input), Ok(None));
/// input.extend_from_slice(b"\x00");
/// assert_eq!(decoder.decode(&mut input), Ok(Some(Packet::Pingreq)));
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    limits: Limits,
    /// Whether what is read comes from clients.
    from_client: bool,
    version: Option<Version>,
    admitted: bool,
    failed: Option<Error>,
}

impl Decoder {
    /// For a server: reads what one client sends, on one connection.
    pub fn server(limits: Limits) -> Decoder {
        Decoder {
            limits,
            from_client: true,
            version: None,
            admitted: false,
            failed: None,
        }
    }

    /// For a client that has sent, or will send, a CONNECT of this version: reads what the server sends.
    pub fn client(version: Version, limits: Limits) -> Decoder {
        Decoder {
            limits,
            from_client: false,
            version: Some(version),
            admitted: true,
            failed: None,
        }
    }

    /// The version that is spoken; none as long as a server has had no CONNECT.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// Says that the peer is known now: from here on a packet may have [`packet_bytes_max`](Limits::packet_bytes_max)
    /// bytes, and errors are answered with DISCONNECT. For a server, when it has accepted the CONNECT.
    pub fn admit(&mut self) {
        self.admitted = true;
    }

    /// The limits that hold.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes one whole packet off the front of `input`, or leaves `input` as it was.
    ///
    /// `Ok(None)`: not all here yet; read more and call again. Nothing is reserved for what is still to come.
    ///
    /// # Errors
    /// [`Error`]: what came breaks a rule, as soon as that can be seen, if need be before the packet is all here. The
    /// caller answers with what the error says and closes; every later call gives the same error.
    #[inline]
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Packet>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.decode_next(input).map_err(|Failure(rule, version)| {
            let error = Error::new(rule, version, self.admitted);
            self.failed = Some(error);
            error
        })
    }

    fn decode_next(&mut self, input: &mut BytesMut) -> Result<Option<Packet>, Failure> {
        let Some(header) = self
            .peek_header(input)
            .map_err(|rule| Failure(rule, self.version))?
        else {
            return Ok(None);
        };
        if input.len() < header.n_bytes + header.body_bytes {
            return Ok(None);
        }
        let mut packet = input.split_to(header.n_bytes + header.body_bytes);
        packet.advance(header.n_bytes);
        let mut context = Context {
            version: self.version,
            from_client: self.from_client,
            limits: &self.limits,
        };
        let body = Reader::new(packet.freeze());
        let packet = read_packet(header.packet_type, header.flags, body, &mut context);
        let version = context.version;
        // How long its length may be is known only by now for a CONNECT.
        let packet = packet
            .and_then(|packet| check_padding(packet, header.padded, version))
            .map_err(|rule| Failure(rule, version))?;
        self.version = version;
        Ok(Some(packet))
    }

    /// Reads the fixed header, and judges as much as there is of it.
    #[inline]
    fn peek_header(&self, input: &[u8]) -> Result<Option<Header>, Rule> {
        let Some((first, rest)) = input.split_first() else {
            return Ok(None);
        };
        let flags = first & 0x0F;
        let packet_type = PacketType::from_u8(first >> 4).ok_or(Rule::PacketTypeReserved)?;
        self.check_direction(packet_type)?;
        self.check_flags(packet_type, flags)?;
        let Some(length) = Varint::peek(rest)? else {
            return Ok(None);
        };
        let header = Header {
            packet_type,
            flags,
            n_bytes: 1 + length.n_bytes,
            body_bytes: length.value as usize,
            padded: length.is_padded(),
        };
        if header.n_bytes + header.body_bytes > self.packet_bytes_max() {
            return Err(Rule::PacketTooLarge);
        }
        Ok(Some(header))
    }

    fn packet_bytes_max(&self) -> usize {
        let max = self.limits.packet_bytes_max;
        if self.admitted {
            max as usize
        } else {
            max.min(self.limits.unadmitted_packet_bytes_max) as usize
        }
    }

    #[inline]
    fn check_direction(&self, packet_type: PacketType) -> Result<(), Rule> {
        use PacketType as P;
        match (packet_type, self.version) {
            (P::Auth, Some(Version::V31 | Version::V311)) => return Err(Rule::PacketTypeReserved),
            (P::Connect, None) => return Ok(()),
            (_, None) => return Err(Rule::NotConnectFirst),
            (P::Connect, Some(_)) if self.from_client => return Err(Rule::SecondConnect),
            _ => {}
        }
        let allowed = match packet_type {
            P::Connect | P::Subscribe | P::Unsubscribe | P::Pingreq => self.from_client,
            P::Connack | P::Suback | P::Unsuback | P::Pingresp => !self.from_client,
            P::Disconnect => self.from_client || self.version == Some(Version::V5),
            P::Publish | P::Puback | P::Pubrec | P::Pubrel | P::Pubcomp | P::Auth => true,
        };
        if allowed {
            Ok(())
        } else {
            Err(Rule::WrongDirection)
        }
    }

    /// In 3.1 the flags of all but PUBLISH are unused, or say that a packet is sent again.
    #[inline]
    fn check_flags(&self, packet_type: PacketType, flags: u8) -> Result<(), Rule> {
        use PacketType as P;
        let (wanted, rule) = match packet_type {
            P::Publish => return self.check_publish_flags(flags),
            P::Pubrel => (0b0010, Rule::PubrelFlags),
            P::Subscribe => (0b0010, Rule::SubscribeFlags),
            P::Unsubscribe => (0b0010, Rule::UnsubscribeFlags),
            P::Disconnect => (0, Rule::DisconnectFlags),
            P::Auth => (0, Rule::AuthFlags),
            _ => (0, Rule::ReservedFlags),
        };
        if flags == wanted || self.version == Some(Version::V31) {
            Ok(())
        } else {
            Err(rule)
        }
    }

    #[inline]
    fn check_publish_flags(&self, flags: u8) -> Result<(), Rule> {
        match flags & 0b0110 {
            0b0110 => Err(Rule::QosThree),
            0 if flags & 0b1000 != 0 && self.version != Some(Version::V31) => {
                Err(Rule::DupWithoutQos)
            }
            _ => Ok(()),
        }
    }
}

/// A broken rule, and the version as far as it is known.
struct Failure(Rule, Option<Version>);

struct Header {
    packet_type: PacketType,
    flags: u8,
    /// Bytes of the fixed header.
    n_bytes: usize,
    /// Bytes behind it: what is claimed, not what is there.
    body_bytes: usize,
    padded: bool,
}

/// 3.x does not say that a length must be as short as it can, and there are clients that leave room for a longer one.
#[inline]
fn check_padding(packet: Packet, padded: bool, version: Option<Version>) -> Result<Packet, Rule> {
    if padded && version == Some(Version::V5) {
        return Err(Rule::LengthNotMinimal);
    }
    Ok(packet)
}
