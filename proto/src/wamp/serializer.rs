//! Which serializers there are, and what they are called where one is agreed on.

/// How messages are written as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Serializer {
    /// JSON; bytes are strings of U+0000 and base64.
    Json,
    /// MessagePack of the fifth specification, which tells strings from bytes.
    MsgPack,
    /// CBOR, RFC 8949.
    Cbor,
    /// BJData, the little-endian dialect of UBJSON: what today's clients speak as `wamp.2.ubjson`.
    Ubjson,
    /// Plain UBJSON, big-endian: what older clients speak under the same name. Never chosen by a name alone.
    UbjsonLegacy,
}

impl Serializer {
    /// Every serializer there is.
    pub const ALL: [Serializer; 5] = [
        Serializer::Json,
        Serializer::MsgPack,
        Serializer::Cbor,
        Serializer::Ubjson,
        Serializer::UbjsonLegacy,
    ];

    /// Its name in subprotocols, as `msgpack`; both dialects of UBJSON share one.
    pub const fn name(self) -> &'static str {
        match self {
            Serializer::Json => "json",
            Serializer::MsgPack => "msgpack",
            Serializer::Cbor => "cbor",
            Serializer::Ubjson | Serializer::UbjsonLegacy => "ubjson",
        }
    }

    /// Whether its messages go in WebSocket's text messages; the others go in binary ones.
    pub const fn is_text(self) -> bool {
        matches!(self, Serializer::Json)
    }

    /// The WebSocket subprotocol: one message in each WebSocket message, or several if `batched`.
    pub const fn subprotocol(self, batched: bool) -> &'static str {
        match (self, batched) {
            (Serializer::Json, false) => "wamp.2.json",
            (Serializer::Json, true) => "wamp.2.json.batched",
            (Serializer::MsgPack, false) => "wamp.2.msgpack",
            (Serializer::MsgPack, true) => "wamp.2.msgpack.batched",
            (Serializer::Cbor, false) => "wamp.2.cbor",
            (Serializer::Cbor, true) => "wamp.2.cbor.batched",
            (Serializer::Ubjson | Serializer::UbjsonLegacy, false) => "wamp.2.ubjson",
            (Serializer::Ubjson | Serializer::UbjsonLegacy, true) => "wamp.2.ubjson.batched",
        }
    }

    /// The serializer and whether messages are batched, of a WebSocket subprotocol that is spoken here. `wamp.2.ubjson`
    /// is [`Serializer::Ubjson`]: whether it is the legacy one is a matter of configuration.
    pub fn from_subprotocol(name: &str) -> Option<(Serializer, bool)> {
        let name = name.strip_prefix("wamp.2.")?;
        let (name, batched) = match name.strip_suffix(".batched") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let serializer = match name {
            "json" => Serializer::Json,
            "msgpack" => Serializer::MsgPack,
            "cbor" => Serializer::Cbor,
            "ubjson" => Serializer::Ubjson,
            _ => return None,
        };
        Some((serializer, batched))
    }

    /// Its number in RawSocket's handshake.
    pub const fn rawsocket_number(self) -> u8 {
        match self {
            Serializer::Json => 1,
            Serializer::MsgPack => 2,
            Serializer::Cbor => 3,
            Serializer::Ubjson | Serializer::UbjsonLegacy => 4,
        }
    }

    /// The serializer of a number in RawSocket's handshake; `None` for those not spoken here.
    pub const fn from_rawsocket_number(number: u8) -> Option<Serializer> {
        match number {
            1 => Some(Serializer::Json),
            2 => Some(Serializer::MsgPack),
            3 => Some(Serializer::Cbor),
            4 => Some(Serializer::Ubjson),
            _ => None,
        }
    }

    /// Whether lists and dicts begin with how many items they have.
    pub(super) const fn is_counted(self) -> bool {
        matches!(self, Serializer::MsgPack | Serializer::Cbor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serializer_is_found_by_the_names_it_has() {
        for serializer in Serializer::ALL {
            let wanted = match serializer {
                Serializer::UbjsonLegacy => Serializer::Ubjson,
                other => other,
            };
            for batched in [false, true] {
                let name = serializer.subprotocol(batched);
                assert_eq!(Serializer::from_subprotocol(name), Some((wanted, batched)));
            }
            let number = serializer.rawsocket_number();
            assert_eq!(Serializer::from_rawsocket_number(number), Some(wanted));
        }
        for other in [
            "wamp.2.flatbuffers",
            "wamp.2.",
            "json",
            "wamp.2.json.batch",
            "",
        ] {
            assert_eq!(Serializer::from_subprotocol(other), None);
        }
        for other in [0, 5, 15, 255] {
            assert_eq!(Serializer::from_rawsocket_number(other), None);
        }
    }
}
