//! What passes between a session and its driver, besides packets.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::time::Duration;

use restante_proto::mqtt::{Limits, PacketType, ReasonCode, Secret, Str};

use super::{AttachWish, Step};
use crate::broker::Call;

/// What holds for every MQTT session of one broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What the driver's decoder takes; `packet_bytes_max` is announced as Maximum Packet Size.
    pub limits: Limits,
    /// How many QoS 1 and 2 publishes of a client may be unanswered, as announced; and how many deliveries to one that
    /// announces no lower number.
    pub receive_maximum: NonZeroU16,
    /// The highest topic alias, both ways; 0: none.
    pub topic_alias_max: u16,
    /// The longest keep alive that a 5.0 client is granted; none: whatever it wishes, and none if it wishes none.
    pub keep_alive_max: Option<Duration>,
    /// How long a session may outlive its connection. The broker may grant less.
    pub session_expiry_max: Duration,
    /// Subscriptions of one session.
    pub subscriptions_max: usize,
    /// What becomes of a refused publish that 3.x cannot be told of.
    pub denied_publish: DeniedPublish,
    /// How long a client may take from its connection's beginning to its CONNECT.
    pub connect_within: Duration,
    /// Publishes a second from one connection, a second's worth at once; none: no limit.
    pub publish_rate: Option<NonZeroU32>,
    /// How many calls of one connection may be unconfirmed before no packet is wanted; at least 1.
    pub window: u32,
    /// Where a client that asks for response information is to be replied to: this, a `/`, and its client identifier.
    pub response_prefix: String,
    /// The server that clients of 5.0 are sent to when the broker shuts down (§4.11); none: they may come back here.
    pub server_reference: Option<Str>,
}

/// What becomes of a publish of a 3.x client that is refused for good: it has no code to be told with [MQTT-3.3.5-2].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeniedPublish {
    /// It is acknowledged as any other, and dropped.
    #[default]
    Acknowledge,
    /// The connection is closed.
    Close,
}

/// What a session wants of its driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Authenticate and attach, or attach whom a [`Prove`](Wish::Prove) has authenticated; answered by [`Session::handle_attached`](super::Session::handle_attached).
    Attach(Box<AttachWish>),
    /// Show this to whoever knows credentials, as a step of SCRAM-SHA-256; answered by
    /// [`Session::handle_proved`](super::Session::handle_proved) before another packet is given. Before CONNACK it says who the client
    /// is; later, that it is the same one still.
    Prove {
        /// Which step it is.
        step: Step,
        /// What the client says.
        data: Secret,
    },
    /// Hand this to the attachment; answered by [`Event::Confirmed`](crate::broker::Event::Confirmed).
    Call {
        /// The session's number for it, ascending by one.
        tag: u64,
        /// What it asks.
        call: Call,
    },
    /// Raise a consumer's credit.
    Credit {
        /// The session's name for the consumer.
        consumer: Arc<str>,
        /// The absolute count.
        limit: u64,
    },
    /// The client has said goodbye: its will is not to be published.
    GiveUpWill,
    /// The session is to outlive its connection so long after all.
    Expiry(Duration),
    /// End the session for good.
    End,
}

/// Why the connection is to be closed, once all packets are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// A word for metrics and logs.
    pub reason: &'static str,
    /// The reason code, told to the client where its version can be told; none for its own goodbye.
    pub code: Option<ReasonCode>,
    /// Why, for people.
    pub text: String,
    /// Whether the client has said goodbye and wants no will published.
    pub normal: bool,
}

/// What was done since the driver last asked, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Packets written, at the number of their type.
    pub written: [u32; 16],
    /// The payloads' bytes in them.
    pub payload_bytes: u64,
    /// Deliveries that are larger than the client takes, and so were not sent [MQTT-3.1.2-25].
    pub too_large: u32,
    /// Deliveries that nothing in MQTT can hold: a topic of more than 65,535 bytes.
    pub unspeakable: u32,
    /// Deliveries that no subscription wanted any more.
    pub unwanted: u32,
    /// Publishes of 3.x clients that were acknowledged and dropped.
    pub acknowledged_and_dropped: u32,
}

impl Tally {
    pub(super) fn count_written(&mut self, packet: PacketType) {
        if let Some(count) = self.written.get_mut(packet as usize) {
            *count += 1;
        }
    }
}
