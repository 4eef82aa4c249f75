//! An MQTT message as the broker's and back: pure functions.
//!
//! | MQTT | the broker's |
//! |---|---|
//! | topic, response topic | address, reply-to (`topic.rs`) |
//! | correlation data | correlation id: the text that it is, or `base64:` and its bytes where it is none |
//! | user properties | properties, and `ordered` where a map would lose their order or doubles |
//! | payload format 1 | text |
//! | message expiry | time to live |

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use restante_proto::mqtt::{
    PayloadFormat, Publish, PublishProperties, Qos, SharedPublish, Str, UserProperties, Will,
};

use super::topic;
use crate::message::{Message, NewMessage, PRIORITY_DEFAULT};

/// What a correlation id begins with that stands for bytes.
const BYTES_MARK: &str = "base64:";

/// A publish to `address` as a message. It is text only if its payload format says so; that it is UTF-8 then is the
/// caller's to check.
pub(super) fn publish(publish: Publish, address: String, remembered: u16) -> Box<NewMessage> {
    let properties = publish.properties;
    let (map, ordered) = user_properties(&properties.user_properties);
    let response_topic = properties.response_topic.as_ref();
    Box::new(NewMessage {
        wamp: None,
        sp: None,
        address,
        message_id: None,
        correlation_id: properties.correlation_data.as_ref().map(correlation_id),
        reply_to: response_topic.map(|topic| topic::to_address(topic.as_str()).into_owned()),
        content_type: properties.content_type.map(|it| it.as_str().to_owned()),
        key: None,
        priority: PRIORITY_DEFAULT,
        properties: map,
        ttl_ms: properties
            .message_expiry_secs
            .map(|seconds| u64::from(seconds) * 1000),
        transient: publish.qos == Qos::AtMostOnce,
        body: publish.payload,
        text: properties.payload_format == Some(PayloadFormat::Utf8),
        qos: Some(publish.qos as u8),
        packet: remembered,
        retain: publish.retain,
        ordered,
    })
}

/// A will as the message that it becomes.
pub(super) fn will(will: &Will, address: String) -> NewMessage {
    let given = will.properties.clone();
    let publish = Publish {
        qos: will.qos,
        retain: will.retain,
        payload: will.payload.clone(),
        properties: PublishProperties {
            payload_format: given.payload_format,
            message_expiry_secs: given.message_expiry_secs,
            content_type: given.content_type,
            response_topic: given.response_topic,
            correlation_data: given.correlation_data,
            user_properties: given.user_properties,
            ..PublishProperties::default()
        },
        ..Publish::default()
    };
    *self::publish(publish, address, 0)
}

/// A message as what all who get it have in common; none if no topic can hold its address.
pub(super) fn deliver(message: &Message) -> Option<SharedPublish> {
    let topic = Str::new(topic::to_topic(&message.address).into_owned());
    let topic = topic.ok().filter(|topic| !topic.is_empty())?;
    // All that is told is a string or data that it may be.
    SharedPublish::new(topic, &properties_of(message), message.body.clone()).ok()
}

fn properties_of(message: &Message) -> PublishProperties {
    let response_topic = message.reply_to.as_deref().map(topic::to_topic);
    PublishProperties {
        payload_format: message.text.then_some(PayloadFormat::Utf8),
        response_topic: response_topic
            .filter(|topic| !topic.contains(['+', '#']))
            .and_then(|topic| Str::new(topic.into_owned()).ok()),
        correlation_data: message.correlation_id.as_deref().and_then(correlation_data),
        content_type: message
            .content_type
            .as_deref()
            .and_then(|it| Str::try_from(it).ok()),
        user_properties: user_properties_of(message),
        ..PublishProperties::default()
    }
}

/// Correlation data as a correlation id: what is text for people stays as it is.
fn correlation_id(data: &Bytes) -> String {
    match std::str::from_utf8(data) {
        Ok(text) if !text.starts_with(BYTES_MARK) && !text.contains(char::is_control) => {
            text.to_owned()
        }
        _ => format!("{BYTES_MARK}{}", STANDARD.encode(data)),
    }
}

/// The data of a correlation id; none if it is longer than MQTT takes.
fn correlation_data(id: &str) -> Option<Bytes> {
    let encoded = id.strip_prefix(BYTES_MARK);
    let data = match encoded.and_then(|encoded| STANDARD.decode(encoded).ok()) {
        Some(bytes) => Bytes::from(bytes),
        None => Bytes::copy_from_slice(id.as_bytes()),
    };
    (data.len() <= usize::from(u16::MAX)).then_some(data)
}

/// User properties by name, and in their order where the names alone would lose something.
fn user_properties(given: &UserProperties) -> (BTreeMap<String, String>, Vec<(String, String)>) {
    let own = |(name, value): &(Str, Str)| (name.as_str().to_owned(), value.as_str().to_owned());
    let map = given.iter().map(own).collect();
    let in_order = given.is_sorted_by(|(one, _), (next, _)| one.as_bytes() < next.as_bytes());
    let ordered = if in_order {
        Vec::new()
    } else {
        given.iter().map(own).collect()
    };
    (map, ordered)
}

/// Those of a message: in their order first, then what the broker has added. What no MQTT string can hold is left out.
fn user_properties_of(message: &Message) -> UserProperties {
    let ordered = &message.ordered;
    let is_new = |name: &String| !ordered.iter().any(|(known, _)| known == name);
    let added = message.properties.iter().filter(|(name, _)| is_new(name));
    let all = ordered
        .iter()
        .map(|(name, value)| (name, value))
        .chain(added);
    all.filter_map(|(name, value)| {
        let (name, value) = (name.as_str(), value.as_str());
        Some((Str::try_from(name).ok()?, Str::try_from(value).ok()?))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn correlation_data_that_is_text_stays_text() {
        for (data, id) in [
            (&b"order 7"[..], "order 7"),
            ("é".as_bytes(), "é"),
            (b"", ""),
            (b"\xFF\x00", "base64:/wA="),
            (b"a\nb", "base64:YQpi"),
            (b"base64:", "base64:YmFzZTY0Og=="),
        ] {
            assert_eq!(correlation_id(&Bytes::from(data)), id);
            assert_eq!(correlation_data(id), Some(Bytes::from(data)));
        }
        // An id of another door that only looks like ours.
        let other = "base64:%%".to_owned();
        assert_eq!(correlation_data(&other), Some(Bytes::from(other.clone())));
    }

    #[test]
    fn order_and_doubles_of_user_properties_are_kept_where_a_map_would_lose_them() {
        let given = |names: &[&'static str]| -> UserProperties {
            let pair = |(n, name): (usize, &&'static str)| {
                (
                    Str::from_static(name),
                    Str::try_from(n.to_string()).unwrap(),
                )
            };
            names.iter().enumerate().map(pair).collect()
        };
        for (names, kept) in [
            (&["a", "b", "c"][..], false),
            (&["b", "a"], true),
            (&["a", "a"], true),
            (&[], false),
        ] {
            let given = given(names);
            let (properties, ordered) = user_properties(&given);
            assert_eq!(!ordered.is_empty(), kept, "{names:?}");
            let message = Message {
                properties,
                ordered,
                ..Message::default()
            };
            assert_eq!(user_properties_of(&message), given);
        }
    }

    #[test]
    fn what_the_broker_adds_to_properties_comes_after_the_sender_s() {
        let pair = |name: &str| (name.to_owned(), "v".to_owned());
        let message = Message {
            properties: [pair("a"), pair("b"), pair("dead-letter-reason")].into(),
            ordered: vec![pair("b"), pair("a")],
            ..Message::default()
        };
        let names: Vec<_> = user_properties_of(&message)
            .into_iter()
            .map(|(name, _)| name.as_str().to_owned())
            .collect();
        assert_eq!(names, ["b", "a", "dead-letter-reason"]);
    }

    #[test]
    fn what_mqtt_cannot_hold_is_left_out() {
        let long = "x".repeat(65_536);
        let message = Message {
            address: "a".to_owned(),
            correlation_id: Some(long.clone()),
            content_type: Some("\0".to_owned()),
            properties: [
                (long.clone(), String::new()),
                ("k".to_owned(), "v".to_owned()),
            ]
            .into(),
            ..Message::default()
        };
        let properties = properties_of(&message);
        assert_eq!(properties.correlation_data, None);
        assert_eq!(properties.content_type, None);
        assert_eq!(properties.user_properties.len(), 1);
        assert!(deliver(&message).is_some());
        for address in [long.as_str(), "%00"] {
            let address = address.to_owned();
            let message = Message {
                address,
                ..Message::default()
            };
            assert!(deliver(&message).is_none());
        }
    }

    proptest! {
        #[test]
        fn correlation_data_comes_back(data in prop::collection::vec(any::<u8>(), 0..20), text in "(base64:)?[ -~é\n]{0,9}") {
            for data in [Bytes::from(data), Bytes::from(text)] {
                prop_assert_eq!(correlation_data(&correlation_id(&data)), Some(data));
            }
        }
    }
}
