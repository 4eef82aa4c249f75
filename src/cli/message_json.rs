//! Messages as one line of JSON each: what `send --json` reads and `consume --json` writes.

use std::collections::BTreeMap;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use restante_proto::mbws::{Body, MessageFields};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::time::parse_duration;
use crate::client::{Delivery, Outgoing};

/// A line that `send --json` reads.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct In {
    body: Option<String>,
    body_base64: Option<String>,
    message_id: Option<String>,
    correlation_id: Option<String>,
    reply_to: Option<String>,
    content_type: Option<String>,
    key: Option<String>,
    priority: Option<u8>,
    ttl: Option<Ttl>,
    #[serde(default)]
    properties: BTreeMap<String, String>,
    /// What `consume --json` tells of a delivery: taken, so that its lines can be sent again, and not looked at.
    #[serde(rename = "address")]
    _address: Option<IgnoredAny>,
    #[serde(rename = "offset")]
    _offset: Option<IgnoredAny>,
    #[serde(rename = "attempt")]
    _attempt: Option<IgnoredAny>,
    #[serde(rename = "timestamp")]
    _timestamp: Option<IgnoredAny>,
}

/// Milliseconds, or a time with a unit.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Ttl {
    Millis(u64),
    Text(String),
}

/// The message that a line says.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(address: &str, line: &[u8]) -> anyhow::Result<Outgoing> {
    let message: In = serde_json::from_slice(line)?;
    let body = match (message.body, message.body_base64) {
        (Some(text), None) => Body {
            bytes: Bytes::from(text),
            text: true,
        },
        (None, Some(text)) => Body {
            bytes: Bytes::from(STANDARD.decode(text).context("`body_base64`")?),
            text: false,
        },
        (None, None) => Body::default(),
        (Some(_), Some(_)) => anyhow::bail!("it has both `body` and `body_base64`"),
    };
    let ttl = match message.ttl {
        None => None,
        Some(Ttl::Millis(millis)) => Some(std::time::Duration::from_millis(millis)),
        Some(Ttl::Text(text)) => {
            Some(parse_duration(&text).map_err(|why| anyhow::anyhow!("`ttl`: {why}"))?)
        }
    };
    if message.priority.is_some_and(|priority| priority > 9) {
        anyhow::bail!("`priority` is 0 to 9");
    }
    Ok(Outgoing {
        address: address.to_owned(),
        fields: MessageFields {
            message_id: message.message_id,
            correlation_id: message.correlation_id,
            reply_to: message.reply_to,
            content_type: message.content_type,
            key: message.key,
            priority: message.priority,
            properties: message.properties,
        },
        ttl,
        delay: None,
        transient: false,
        body,
    })
}

/// A line that `consume --json` writes.
#[derive(Debug, Serialize)]
struct Out<'a> {
    address: &'a str,
    offset: u64,
    attempt: u32,
    timestamp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    /// Milliseconds left to live.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<u64>,
    properties: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// Appends a delivery's line, with its newline.
///
/// # Errors
/// None that can be met: the values are all JSON.
pub(super) fn write(delivery: &Delivery, out: &mut Vec<u8>) -> anyhow::Result<()> {
    let fields = &delivery.fields;
    let text = std::str::from_utf8(&delivery.body.bytes).ok();
    let text = text.filter(|_| delivery.body.text);
    let line = Out {
        address: &delivery.address,
        offset: delivery.offset,
        attempt: delivery.attempt,
        timestamp: delivery.timestamp,
        message_id: fields.message_id.as_deref(),
        correlation_id: fields.correlation_id.as_deref(),
        reply_to: fields.reply_to.as_deref(),
        content_type: fields.content_type.as_deref(),
        key: fields.key.as_deref(),
        priority: fields.priority,
        ttl: delivery.ttl.map(|ttl| ttl.as_millis() as u64),
        properties: &fields.properties,
        body: text,
        body_base64: text
            .is_none()
            .then(|| STANDARD.encode(&delivery.body.bytes)),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.push(b'\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_full_message_is_read() {
        let line = br#"{"body":"hi","message_id":"m","key":"k","priority":9,"ttl":"2s","properties":{"a":"b"}}"#;
        let message = read("q", line).unwrap();
        assert_eq!(message.body.bytes, "hi");
        assert!(message.body.text);
        assert_eq!(message.ttl, Some(Duration::from_secs(2)));
        assert_eq!(message.fields.message_id.as_deref(), Some("m"));
        assert_eq!(message.fields.properties["a"], "b");
        let message = read("q", br#"{"body_base64":"AP8=","ttl":5}"#).unwrap();
        assert_eq!(message.body.bytes, &b"\x00\xff"[..]);
        assert_eq!(message.ttl, Some(Duration::from_millis(5)));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for line in [
            "",
            "hi",
            r#"{"boddy":"hi"}"#,
            r#"{"body":"a","body_base64":"AA=="}"#,
            r#"{"body_base64":"*"}"#,
            r#"{"priority":10}"#,
        ] {
            assert!(read("q", line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn a_delivery_is_one_line() {
        let mut delivery = Delivery {
            offset: 7,
            attempt: 1,
            address: "q".into(),
            timestamp: 5,
            ttl: None,
            fields: MessageFields::default(),
            body: Body {
                bytes: "a\nb".into(),
                text: true,
            },
        };
        let mut out = Vec::new();
        write(&delivery, &mut out).unwrap();
        delivery.body = Body {
            bytes: Bytes::from_static(b"\xff"),
            text: false,
        };
        write(&delivery, &mut out).unwrap();
        let expected = concat!(
            r#"{"address":"q","offset":7,"attempt":1,"timestamp":5,"properties":{},"body":"a\nb"}"#,
            "\n",
            r#"{"address":"q","offset":7,"attempt":1,"timestamp":5,"properties":{},"body_base64":"/w=="}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
