//! Properties (MQTT 5.0 §2.2.2): a struct for each packet that has them, whose fields are all that it may have.
//!
//! One declaration, at the end of this file, says for each set which properties it has; reading and writing are made
//! from it. Properties are written in the order of the fields; they may come in any.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;

use super::wire::{Count, Reader, Sink, VARINT_MAX, varint_len};
use super::{Limits, PayloadFormat, Qos, Rule, Secret, Str, SubscriptionId};

/// User properties: names and values, in the order they were given in; a name may be there more than once.
pub type UserProperties = Vec<(Str, Str)>;

/// Declares the properties with their identifiers on the wire.
macro_rules! properties {
    ($($name:ident = $number:literal,)*) => {
        /// A property's identifier (table 2-4).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Property { $($name = $number,)* }

        impl Property {
            fn from_number(number: u32) -> Option<Property> {
                match number { $($number => Some(Property::$name),)* _ => None }
            }
        }
    };
}

properties! {
    PayloadFormat = 0x01,
    MessageExpiry = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionId = 0x0B,
    SessionExpiry = 0x11,
    AssignedClientId = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelay = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQos = 0x24,
    RetainAvailable = 0x25,
    User = 0x26,
    MaximumPacketSize = 0x27,
    WildcardAvailable = 0x28,
    SubscriptionIdAvailable = 0x29,
    SharedAvailable = 0x2A,
}

/// The properties that one packet may have.
pub(super) trait PropertySet: Default {
    /// Takes the value of one property off `reader`.
    fn read_one(
        &mut self,
        property: Property,
        reader: &mut Reader,
        limits: &Limits,
    ) -> Result<(), Rule>;

    /// Writes them, without the length in front of them.
    fn write(&self, sink: &mut impl Sink);

    /// Reads the length and all properties.
    #[inline]
    fn read(reader: &mut Reader, limits: &Limits) -> Result<Self, Rule> {
        let n_bytes = reader.varint()? as usize;
        let mut set = Self::default();
        if n_bytes > 0 {
            set.read_all(n_bytes, reader, limits)?;
        }
        Ok(set)
    }

    fn read_all(
        &mut self,
        n_bytes: usize,
        reader: &mut Reader,
        limits: &Limits,
    ) -> Result<(), Rule> {
        if n_bytes > reader.len() {
            return Err(Rule::Truncated);
        }
        if n_bytes > limits.properties_bytes_max {
            return Err(Rule::PropertiesTooLong);
        }
        let mut properties = Reader::new(reader.take(n_bytes)?);
        while !properties.is_empty() {
            let number = properties.varint()?;
            let property = Property::from_number(number).ok_or(Rule::UnknownProperty)?;
            self.read_one(property, &mut properties, limits)?;
        }
        Ok(())
    }

    /// How many bytes [`write`](PropertySet::write) writes.
    fn count(&self) -> Count {
        let mut count = Count::default();
        self.write(&mut count);
        count
    }
}

/// Writes the length of properties, and them.
pub(super) fn write_properties(set: &impl PropertySet, sink: &mut impl Sink) {
    // More than four bytes of length can say have been counted before, and refused.
    let n_bytes = set.count().n_bytes;
    sink.varint(u32::try_from(n_bytes).map_or(VARINT_MAX, |n_bytes| n_bytes.min(VARINT_MAX)));
    set.write(sink);
}

/// How many bytes properties have with the length in front of them.
pub(super) fn with_length(n_bytes: usize) -> usize {
    varint_len(u32::try_from(n_bytes).unwrap_or(u32::MAX)).saturating_add(n_bytes)
}

/// A field of a property set.
pub(super) trait Slot {
    fn fill(
        &mut self,
        property: Property,
        reader: &mut Reader,
        limits: &Limits,
    ) -> Result<(), Rule>;
    fn put(&self, property: Property, sink: &mut impl Sink);
}

impl<T: Value> Slot for Option<T> {
    fn fill(
        &mut self,
        property: Property,
        reader: &mut Reader,
        _limits: &Limits,
    ) -> Result<(), Rule> {
        if self.is_some() {
            return Err(Rule::PropertyRepeated);
        }
        *self = Some(T::read(property, reader)?);
        Ok(())
    }

    #[inline]
    fn put(&self, property: Property, sink: &mut impl Sink) {
        if let Some(value) = self {
            sink.u8(property as u8);
            value.write(sink);
        }
    }
}

/// A property that may be given more than once.
impl<T: Value> Slot for Vec<T> {
    fn fill(
        &mut self,
        property: Property,
        reader: &mut Reader,
        limits: &Limits,
    ) -> Result<(), Rule> {
        if self.len() >= limits.properties_max {
            return Err(Rule::TooManyProperties);
        }
        self.push(T::read(property, reader)?);
        Ok(())
    }

    #[inline]
    fn put(&self, property: Property, sink: &mut impl Sink) {
        for value in self {
            sink.u8(property as u8);
            value.write(sink);
        }
    }
}

/// What a property's value is made of.
pub(super) trait Value: Sized {
    fn read(property: Property, reader: &mut Reader) -> Result<Self, Rule>;
    fn write(&self, sink: &mut impl Sink);
}

impl Value for bool {
    fn read(_property: Property, reader: &mut Reader) -> Result<Self, Rule> {
        match reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Rule::FlagNotBoolean),
        }
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.u8(u8::from(*self));
    }
}

impl Value for PayloadFormat {
    fn read(property: Property, reader: &mut Reader) -> Result<Self, Rule> {
        let is_text = bool::read(property, reader)?;
        Ok(if is_text {
            PayloadFormat::Utf8
        } else {
            PayloadFormat::Bytes
        })
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.u8(u8::from(*self == PayloadFormat::Utf8));
    }
}

/// The maximum QoS, which is 0 or 1: a server that takes QoS 2 does not say so.
impl Value for Qos {
    fn read(_property: Property, reader: &mut Reader) -> Result<Self, Rule> {
        match reader.u8()? {
            0 => Ok(Qos::AtMostOnce),
            1 => Ok(Qos::AtLeastOnce),
            _ => Err(Rule::MaximumQosInvalid),
        }
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.u8(*self as u8);
    }
}

impl Value for u16 {
    fn read(_property: Property, reader: &mut Reader) -> Result<Self, Rule> {
        reader.u16()
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.u16(*self);
    }
}

impl Value for u32 {
    fn read(_property: Property, reader: &mut Reader) -> Result<Self, Rule> {
        reader.u32()
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.u32(*self);
    }
}

/// A receive maximum or a topic alias.
impl Value for NonZeroU16 {
    fn read(property: Property, reader: &mut Reader) -> Result<Self, Rule> {
        NonZeroU16::new(reader.u16()?).ok_or(match property {
            Property::TopicAlias => Rule::TopicAliasZero,
            _ => Rule::ReceiveMaximumZero,
        })
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.u16(self.get());
    }
}

/// A maximum packet size.
impl Value for NonZeroU32 {
    fn read(_property: Property, reader: &mut Reader) -> Result<Self, Rule> {
        NonZeroU32::new(reader.u32()?).ok_or(Rule::MaximumPacketSizeZero)
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.u32(self.get());
    }
}

impl Value for SubscriptionId {
    fn read(_property: Property, reader: &mut Reader) -> Result<Self, Rule> {
        SubscriptionId::new(reader.varint()?).ok_or(Rule::SubscriptionIdZero)
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.varint(self.get());
    }
}

impl Value for Str {
    fn read(_property: Property, reader: &mut Reader) -> Result<Self, Rule> {
        reader.text()
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.binary(self.as_bytes());
    }
}

/// A user property.
impl Value for (Str, Str) {
    fn read(_property: Property, reader: &mut Reader) -> Result<Self, Rule> {
        Ok((reader.text()?, reader.text()?))
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.binary(self.0.as_bytes());
        sink.binary(self.1.as_bytes());
    }
}

impl Value for Bytes {
    fn read(_property: Property, reader: &mut Reader) -> Result<Self, Rule> {
        reader.binary()
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.binary(self);
    }
}

impl Value for Secret {
    fn read(_property: Property, reader: &mut Reader) -> Result<Self, Rule> {
        reader.binary().map(Secret)
    }

    fn write(&self, sink: &mut impl Sink) {
        sink.binary(&self.0);
    }
}

/// Declares property sets: the fields, and which property each of them is.
macro_rules! property_sets {
    ($($(#[$doc:meta])* $set:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $property:ident,)*
    })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Default)]
            pub struct $set { $($(#[$field_doc])* pub $field: $type,)* }

            impl PropertySet for $set {
                fn read_one(
                    &mut self,
                    property: Property,
                    reader: &mut Reader,
                    limits: &Limits,
                ) -> Result<(), Rule> {
                    match property {
                        $(Property::$property => self.$field.fill(property, reader, limits),)*
                        _ => Err(Rule::PropertyNotAllowed),
                    }
                }

                fn write(&self, sink: &mut impl Sink) {
                    $(self.$field.put(Property::$property, sink);)*
                }
            }
        )*
    };
}

property_sets! {
    /// The properties of a CONNECT (§3.1.2.11).
    ConnectProperties {
        /// How long the session outlives the connection, in seconds; none is 0, 0xFFFFFFFF for ever.
        session_expiry_secs: Option<u32> = SessionExpiry,
        /// How many QoS 1 and 2 messages the client takes at a time; none is 65,535.
        receive_maximum: Option<NonZeroU16> = ReceiveMaximum,
        /// The largest packet that the client takes, in bytes, its fixed header included; none is any.
        maximum_packet_size: Option<NonZeroU32> = MaximumPacketSize,
        /// The highest topic alias that the client takes; none is 0, which is no aliases.
        topic_alias_maximum: Option<u16> = TopicAliasMaximum,
        /// Whether the CONNACK may have response information; none is no.
        request_response_information: Option<bool> = RequestResponseInformation,
        /// Whether acknowledgements may have reason strings and user properties; none is yes.
        request_problem_information: Option<bool> = RequestProblemInformation,
        /// The method of an enhanced authentication.
        authentication_method: Option<Str> = AuthenticationMethod,
        /// Its first data; never without the method.
        authentication_data: Option<Secret> = AuthenticationData,
        /// User properties of the connection.
        user_properties: UserProperties = User,
    }

    /// The properties of a will (§3.1.3.2).
    WillProperties {
        /// How long after the connection's end the will is published, in seconds; none is 0.
        delay_secs: Option<u32> = WillDelay,
        /// Of which format the payload is said to be.
        payload_format: Option<PayloadFormat> = PayloadFormat,
        /// How long the published will lives, in seconds; none is for ever.
        message_expiry_secs: Option<u32> = MessageExpiry,
        /// What the payload is, as a media type mostly.
        content_type: Option<Str> = ContentType,
        /// Where answers go.
        response_topic: Option<Str> = ResponseTopic,
        /// What an answer carries so that its question is found.
        correlation_data: Option<Bytes> = CorrelationData,
        /// User properties of the message.
        user_properties: UserProperties = User,
    }

    /// The properties of a CONNACK (§3.2.2.3).
    ConnackProperties {
        /// The session expiry that holds, in seconds; none is the one asked for.
        session_expiry_secs: Option<u32> = SessionExpiry,
        /// How many QoS 1 and 2 messages the server takes at a time; none is 65,535.
        receive_maximum: Option<NonZeroU16> = ReceiveMaximum,
        /// The highest QoS that the server takes, 0 or 1; none is 2.
        maximum_qos: Option<Qos> = MaximumQos,
        /// Whether there are retained messages; none is yes.
        retain_available: Option<bool> = RetainAvailable,
        /// The largest packet that the server takes, in bytes; none is any.
        maximum_packet_size: Option<NonZeroU32> = MaximumPacketSize,
        /// The client identifier of a client that came without.
        assigned_client_id: Option<Str> = AssignedClientId,
        /// The highest topic alias that the server takes; none is 0.
        topic_alias_maximum: Option<u16> = TopicAliasMaximum,
        /// The reason, for people.
        reason_string: Option<Str> = ReasonString,
        /// Whether filters may have wildcards; none is yes.
        wildcard_available: Option<bool> = WildcardAvailable,
        /// Whether there are subscription identifiers; none is yes.
        subscription_id_available: Option<bool> = SubscriptionIdAvailable,
        /// Whether there are shared subscriptions; none is yes.
        shared_available: Option<bool> = SharedAvailable,
        /// The keep alive that holds, in seconds; none is the client's own.
        server_keep_alive_secs: Option<u16> = ServerKeepAlive,
        /// From what the client makes response topics.
        response_information: Option<Str> = ResponseInformation,
        /// Where another server is.
        server_reference: Option<Str> = ServerReference,
        /// The method that was authenticated with.
        authentication_method: Option<Str> = AuthenticationMethod,
        /// The last data of the authentication.
        authentication_data: Option<Secret> = AuthenticationData,
        /// User properties of the answer.
        user_properties: UserProperties = User,
    }

    /// The properties of a PUBLISH (§3.3.2.3).
    PublishProperties {
        /// Of which format the payload is said to be; the payload is not looked at here.
        payload_format: Option<PayloadFormat> = PayloadFormat,
        /// How long the message lives from now on, in seconds; none is for ever.
        message_expiry_secs: Option<u32> = MessageExpiry,
        /// A number that stands for the topic, or shall from now on.
        topic_alias: Option<NonZeroU16> = TopicAlias,
        /// Where answers go.
        response_topic: Option<Str> = ResponseTopic,
        /// What an answer carries so that its question is found.
        correlation_data: Option<Bytes> = CorrelationData,
        /// Those of the subscriptions that the message is sent for; never from a client.
        subscription_ids: Vec<SubscriptionId> = SubscriptionId,
        /// What the payload is, as a media type mostly.
        content_type: Option<Str> = ContentType,
        /// User properties of the message, to be forwarded as they are.
        user_properties: UserProperties = User,
    }

    /// The properties of PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK (§3.4.2.2).
    AckProperties {
        /// The reason, for people.
        reason_string: Option<Str> = ReasonString,
        /// User properties of the answer.
        user_properties: UserProperties = User,
    }

    /// The properties of a SUBSCRIBE (§3.8.2.1).
    SubscribeProperties {
        /// What each message of these subscriptions shall carry.
        subscription_id: Option<SubscriptionId> = SubscriptionId,
        /// User properties of the wish.
        user_properties: UserProperties = User,
    }

    /// The properties of an UNSUBSCRIBE (§3.10.2.1).
    UnsubscribeProperties {
        /// User properties of the wish.
        user_properties: UserProperties = User,
    }

    /// The properties of a DISCONNECT (§3.14.2.2).
    DisconnectProperties {
        /// How long the session outlives the connection after all, in seconds; never from a server.
        session_expiry_secs: Option<u32> = SessionExpiry,
        /// The reason, for people.
        reason_string: Option<Str> = ReasonString,
        /// Where another server is.
        server_reference: Option<Str> = ServerReference,
        /// User properties of the goodbye.
        user_properties: UserProperties = User,
    }

    /// The properties of an AUTH (§3.15.2.2).
    AuthProperties {
        /// The method; in every AUTH, and always that of the CONNECT.
        authentication_method: Option<Str> = AuthenticationMethod,
        /// The method's data.
        authentication_data: Option<Secret> = AuthenticationData,
        /// The reason, for people.
        reason_string: Option<Str> = ReasonString,
        /// User properties of the step.
        user_properties: UserProperties = User,
    }
}
