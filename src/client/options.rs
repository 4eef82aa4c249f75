//! What an application asks of a client, of a consumer and of a message: plain values with their defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use restante_proto::mbws::{self, Body, MessageFields, Mode, Ranges, Role, SettleMode};
use uuid::Uuid;

use crate::tls::ConnectOptions;

/// How to reach a broker and what kind of session to have with it.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// `ws://HOST:PORT/mbws` or `ws://HOST:PORT/mbws/REALM`; `wss://` for TLS.
    pub url: String,
    /// With `wss://`: whom it trusts and what it shows. The files are read at every connect.
    pub tls: ConnectOptions,
    /// Who it is; sent as `Authorization` on the upgrade.
    pub credentials: Credentials,
    /// The session to go on with, or the id wished for a new one; none: a random one. Without an `expiry` it is not said.
    pub session: Option<Uuid>,
    /// How long the session outlives its socket. Zero (the default): not at all, and nothing of it but its messages
    /// is durable; every break of the socket is then a lost session.
    pub expiry: Duration,
    /// A name for people: shown in the broker's listings and logs.
    pub name: Option<String>,
    /// What it is; brokers' links say so.
    pub role: Role,
    /// How many sends may be unconfirmed before [`Client::send`](super::Client::send) waits; the broker may grant less.
    pub window: u32,
    /// Which of the two frame bindings it speaks.
    pub binding: Binding,
    /// Seconds between pings that it wishes; none: the broker's own.
    pub heartbeat: Option<u32>,
    /// How it comes back after a break.
    pub reconnect: Backoff,
    /// How long the first connection is tried for; none: once.
    pub connect_timeout: Option<Duration>,
    /// Whether to go on in a new session when the broker no longer knows the old one: what was unconfirmed is sent
    /// again and may be stored twice (give messages ids, and the broker's duplicate window prevents it), and
    /// deliveries in hand come again. Where false, that is [`ClientError::SessionLost`](super::ClientError::SessionLost).
    pub at_least_once: bool,
}

impl ClientOptions {
    /// The defaults, for the broker at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        ClientOptions {
            url: url.into(),
            tls: ConnectOptions::default(),
            credentials: Credentials::None,
            session: None,
            expiry: Duration::ZERO,
            name: None,
            role: Role::Client,
            window: 1024,
            binding: Binding::Binary,
            heartbeat: None,
            reconnect: Backoff::default(),
            connect_timeout: None,
            at_least_once: false,
        }
    }
}

/// Who a client says it is. `Debug` shows no secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody: the broker decides what that may do.
    #[default]
    None,
    /// A user and a password (`Basic`).
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: String,
    },
    /// A bearer token.
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::None => f.write_str("None"),
            Credentials::Password { user, .. } => write!(f, "Password {{ user: {user:?}, .. }}"),
            Credentials::Token(_) => f.write_str("Token(..)"),
        }
    }
}

/// Which frame binding a client speaks (MBWS.md §5, §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Binding {
    /// WebSocket binary messages.
    #[default]
    Binary,
    /// WebSocket text messages.
    Text,
}

/// Jittered exponential waits between attempts to connect.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The wait after the first failure, before jitter.
    pub first: Duration,
    /// No wait is longer than this.
    pub max: Duration,
    /// How long after a break it gives up; none: never.
    pub give_up_after: Option<Duration>,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            first: Duration::from_millis(50),
            max: Duration::from_secs(5),
            give_up_after: None,
        }
    }
}

impl Backoff {
    /// The wait after failure number `failures` (from 1). `jitter`, in 0..1, spreads clients that lost the same broker
    /// over the upper half of the wait.
    pub fn wait(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.max);
        whole.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outgoing {
    /// Where to.
    pub address: String,
    /// What receivers read again: ids, reply-to, content type, key, priority, properties.
    pub fields: MessageFields,
    /// After which nobody wants it any more; none: never expires.
    pub ttl: Option<Duration>,
    /// Before which it may not be delivered; none: at once.
    pub delay: Option<Duration>,
    /// Whether it may be lost in a crash where no durable queue takes it.
    pub transient: bool,
    /// The body, and whether it is text.
    pub body: Body,
}

impl Outgoing {
    /// A message of bytes.
    pub fn bytes(address: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Outgoing {
            address: address.into(),
            body: Body {
                bytes: body.into(),
                text: false,
            },
            ..Outgoing::default()
        }
    }

    /// A message of text.
    pub fn text(address: impl Into<String>, body: impl Into<String>) -> Self {
        let mut message = Outgoing::bytes(address, body.into().into_bytes());
        message.body.text = true;
        message
    }

    /// No fewer bytes than its frame will have, in either binding.
    pub(super) fn frame_bytes_at_most(&self) -> usize {
        // A field's name, its separators and an escaped value: twice the value covers escapes, base64 grows by 4/3.
        const FIELD: usize = 32;
        let fields = &self.fields;
        let texts = [
            &fields.message_id,
            &fields.correlation_id,
            &fields.reply_to,
            &fields.content_type,
            &fields.key,
        ];
        let texts = texts.into_iter().flatten().map(|text| text.len());
        let properties = properties_bytes(&fields.properties);
        let header = self.address.len() + texts.sum::<usize>() + properties;
        let body = if self.body.text {
            self.body.bytes.len()
        } else {
            self.body.bytes.len() / 3 * 4 + 4
        };
        header * 2 + 12 * FIELD + body
    }

    pub(super) fn into_frame(self) -> Box<mbws::Send> {
        Box::new(mbws::Send {
            seq: 0,
            address: self.address,
            fields: self.fields,
            ttl: self.ttl.map(millis),
            delay: self.delay.map(millis),
            transient: self.transient,
            body: self.body,
        })
    }
}

fn properties_bytes(properties: &BTreeMap<String, String>) -> usize {
    let each = properties.iter();
    each.map(|(name, value)| name.len() + value.len() + 16)
        .sum()
}

/// Whole milliseconds of `time`, saturating.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What to consume, and how.
#[derive(Debug, Clone)]
pub struct ConsumeOptions {
    /// Address (or, in `topic` mode, filter) to consume from; `~NAME` is a temporary queue of this session.
    pub address: String,
    /// The client's own name for the consumer, unique in its session; none: one that no other consumer has.
    pub name: Option<String>,
    /// How it consumes.
    pub mode: Mode,
    /// How many deliveries it may have at once: waiting here or, where it settles itself, in the application's hand
    /// without a settlement. Credit is kept topped up to this.
    pub window: u32,
    /// Take no more than this many deliveries in all; none: no end.
    pub at_most: Option<u64>,
    /// Who settles.
    pub settle: SettleMode,
    /// Whether no other consumer may take from the queue meanwhile.
    pub exclusive: bool,
    /// Property filter.
    pub filter: Option<String>,
    /// Where `browse` and `replay` begin.
    pub from: Option<mbws::From>,
    /// Offsets that the application has processed before, in this process or an earlier one, and whose settlement may
    /// not have reached the broker: they are settled (accepted) and never handed over. An application that stores
    /// [`Consumer::unconfirmed`](super::Consumer::unconfirmed) in the transaction of its work processes each once.
    pub processed: Ranges,
    /// The consumer already exists in the session that [`ClientOptions::session`] resumed: go on with it. Where the
    /// session was not resumed, it is started.
    pub existing: bool,
}

impl ConsumeOptions {
    /// The defaults: a competing consumer of the queue `address` that settles itself, 256 deliveries at once.
    pub fn new(address: impl Into<String>) -> Self {
        ConsumeOptions {
            address: address.into(),
            name: None,
            mode: Mode::Queue,
            window: 256,
            at_most: None,
            settle: SettleMode::Explicit,
            exclusive: false,
            filter: None,
            from: None,
            processed: Ranges::new(),
            existing: false,
        }
    }

    /// Whether deliveries stay in hand until the application settles them.
    pub(super) fn is_explicit(&self) -> bool {
        self.settle == SettleMode::Explicit && self.mode == Mode::Queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_the_maximum_and_jitter_takes_at_most_half() {
        let backoff = Backoff::default();
        let millis = |failures, jitter| backoff.wait(failures, jitter).as_millis();
        assert_eq!(millis(1, 1.0), 50);
        assert_eq!(millis(2, 1.0), 100);
        assert_eq!(millis(5, 1.0), 800);
        assert_eq!(millis(8, 1.0), 5000);
        assert_eq!(millis(u32::MAX, 1.0), 5000);
        assert_eq!(millis(1, 0.0), 25);
        assert_eq!(millis(40, 0.0), 2500);
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = Credentials::Token("s3cret".into());
        let password = Credentials::Password {
            user: "ada".into(),
            password: "s3cret".into(),
        };
        assert!(!format!("{token:?}{password:?}").contains("s3cret"));
    }
}
