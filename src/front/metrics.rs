//! What the front counts. Meanings and units: `ops/METRICS.md`.

use std::sync::Arc;
use std::time::Instant;

use metrics::{Counter, Gauge, counter, gauge};
use restante_proto::mbws::Code;
use restante_proto::mqtt::PacketType;

use super::traffic::Traffic;
use crate::session::mqtt::Tally;
use crate::session::sp::Dropped;
use crate::session::wamp::Tally as WampTally;

/// Handles that are used often, looked up once; made after the recorder is installed.
pub(super) struct Metrics {
    /// MBWS frames decoded.
    pub(super) frames_in: Counter,
    /// MBWS frames encoded.
    pub(super) frames_out: Counter,
    /// MQTT packets decoded.
    mqtt_in: Packets,
    /// MQTT packets encoded.
    mqtt_out: Packets,
    /// WAMP messages, and their bytes.
    wamp_in: Messages,
    wamp_out: Messages,
    /// SP messages, and their bytes.
    sp_in: Messages,
    sp_out: Messages,
    /// The same, to be read back.
    pub(super) traffic: Arc<Traffic>,
}

impl Metrics {
    pub(super) fn new(traffic: Arc<Traffic>) -> Self {
        Metrics {
            traffic,
            frames_in: frames("in"),
            frames_out: frames("out"),
            mqtt_in: Packets::new("in"),
            mqtt_out: Packets::new("out"),
            wamp_in: Messages::new(WAMP, "in"),
            wamp_out: Messages::new(WAMP, "out"),
            sp_in: Messages::new(SP, "in"),
            sp_out: Messages::new(SP, "out"),
        }
    }

    /// What came of so many bytes: packets by the number of their type, and the payloads' bytes.
    pub(super) fn mqtt_read(&self, bytes: usize, by_type: &[u32; 16], payload_bytes: u64) {
        let (packets, publishes) = self.mqtt_in.add(by_type);
        let received = &self.traffic.received;
        received.count(bytes, packets, publishes, payload_bytes);
    }

    /// What a session did since it last told, as so many bytes.
    pub(super) fn mqtt_written(&self, bytes: usize, tally: &Tally) {
        let (packets, publishes) = self.mqtt_out.add(&tally.written);
        let sent = &self.traffic.sent;
        sent.count(bytes, packets, publishes, tally.payload_bytes);
        for (reason, n) in [
            ("too-large", tally.too_large),
            ("unspeakable", tally.unspeakable),
            ("unsubscribed", tally.unwanted),
            ("denied", tally.acknowledged_and_dropped),
        ] {
            if n > 0 {
                counter!("restante_mqtt_dropped_total", "reason" => reason).increment(n.into());
            }
        }
    }
}

impl Metrics {
    /// So many messages of WAMP came, of so many bytes.
    pub(super) fn wamp_read(&self, messages: u64, bytes: u64) {
        self.wamp_in.add(messages, bytes);
    }

    /// The same, written.
    pub(super) fn wamp_written(&self, messages: u64, bytes: u64) {
        self.wamp_out.add(messages, bytes);
    }

    /// So many messages of SP came, of so many bytes.
    pub(super) fn sp_read(&self, messages: u64, bytes: u64) {
        self.sp_in.add(messages, bytes);
    }

    /// The same, written.
    pub(super) fn sp_written(&self, messages: u64, bytes: u64) {
        self.sp_out.add(messages, bytes);
    }
}

/// One more SP client, until it is dropped.
pub(super) fn sp_connection(role: &'static str) -> Open {
    let open = gauge!("restante_sp_connections", "role" => role);
    open.increment(1.0);
    Open(open)
}

/// An SP client's connection has ended.
pub(super) fn sp_ended(reason: &'static str) {
    counter!("restante_sp_disconnects_total", "reason" => reason).increment(1);
}

/// A message of an SP client was dropped.
pub(super) fn sp_dropped(why: Dropped) {
    counter!("restante_sp_dropped_total", "reason" => why.as_str()).increment(1);
}

/// The names of what is counted of a door's messages, and of their bytes.
type Names = (&'static str, &'static str);
const WAMP: Names = (
    "restante_wamp_messages_total",
    "restante_wamp_message_bytes_total",
);
const SP: Names = (
    "restante_sp_messages_total",
    "restante_sp_message_bytes_total",
);

/// Messages of one door and one direction.
struct Messages {
    messages: Counter,
    bytes: Counter,
}

impl Messages {
    fn new((messages, bytes): Names, direction: &'static str) -> Self {
        Messages {
            messages: counter!(messages, "direction" => direction),
            bytes: counter!(bytes, "direction" => direction),
        }
    }

    fn add(&self, messages: u64, bytes: u64) {
        if messages > 0 {
            self.messages.increment(messages);
            self.bytes.increment(bytes);
        }
    }
}

/// Packets of one direction, by type.
pub(super) struct Packets([(usize, Counter); 15]);

impl Packets {
    fn new(direction: &'static str) -> Self {
        Packets(PacketType::ALL.map(|packet_type| {
            let name = packet_type.name();
            let counter =
                counter!("restante_mqtt_packets_total", "direction" => direction, "type" => name);
            (packet_type as usize, counter)
        }))
    }

    /// Counts so many more, each at the number of its type; how many that is, and how many of them are PUBLISH.
    fn add(&self, by_type: &[u32; 16]) -> (u64, u64) {
        let (mut packets, mut publishes) = (0, 0);
        for (number, counter) in &self.0 {
            if let Some(n) = by_type.get(*number).filter(|n| **n > 0) {
                counter.increment(u64::from(*n));
                packets += u64::from(*n);
                if *number == PacketType::Publish as usize {
                    publishes += u64::from(*n);
                }
            }
        }
        (packets, publishes)
    }
}

fn frames(direction: &'static str) -> Counter {
    counter!("restante_frames_total", "protocol" => "mbws", "direction" => direction)
}

/// One more connection of a listener, until it is dropped.
pub(super) fn connection(listener: &str) -> Open {
    let open = gauge!("restante_connections", "listener" => listener.to_owned());
    open.increment(1.0);
    Open(open)
}

/// One more MQTT client of that version, until it is dropped.
pub(super) fn mqtt_connection(version: &'static str) -> Open {
    let open = gauge!("restante_mqtt_connections", "version" => version);
    open.increment(1.0);
    Open(open)
}

/// One more client of WAMP, until it is dropped.
pub(super) fn wamp_connection(transport: &'static str, serializer: &'static str) -> Open {
    let labels = [("transport", transport), ("serializer", serializer)];
    let open = gauge!("restante_wamp_connections", &labels);
    open.increment(1.0);
    Open(open)
}

/// Counts an open connection for as long as it lives.
pub(super) struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// What came of one connection that a listener saw.
pub(super) fn accepted(listener: &str, result: &'static str) {
    counter!("restante_connections_total", "listener" => listener.to_owned(), "result" => result)
        .increment(1);
}

/// One upgrade refused.
pub(super) fn handshake_refused(reason: &'static str) {
    counter!("restante_handshakes_refused_total", "reason" => reason).increment(1);
}

/// One connection ended after its upgrade.
pub(super) fn ended(reason: &'static str) {
    counter!("restante_connections_ended_total", "reason" => reason).increment(1);
}

/// One MQTT connection ended.
pub(super) fn mqtt_disconnected(reason: &'static str) {
    counter!("restante_mqtt_disconnects_total", "reason" => reason).increment(1);
}

/// One WAMP connection ended.
pub(super) fn wamp_disconnected(reason: &'static str) {
    counter!("restante_wamp_disconnects_total", "reason" => reason).increment(1);
}

/// What a WAMP session had and could not send, or nobody heard of.
pub(super) fn wamp_unwritten(tally: &WampTally) {
    for (n, reason) in [
        (tally.too_large, "too-large"),
        (tally.unspeakable, "unspeakable"),
        (tally.unwanted, "unsubscribed"),
        (tally.refused_unheard, "refused"),
    ] {
        if n > 0 {
            counter!("restante_wamp_dropped_total", "reason" => reason).increment(n);
        }
    }
}

/// One fatal `error` sent.
pub(super) fn mbws_error(code: Code) {
    counter!("restante_mbws_errors_total", "code" => code.as_str()).increment(1);
}

/// How long an upgrade took, from accept.
pub(super) fn upgraded(since: Instant, now: Instant) {
    metrics::histogram!("restante_handshake_seconds")
        .record(now.saturating_duration_since(since).as_secs_f64());
}

/// How long an attach took, authentication included.
pub(super) fn attached(since: Instant, now: Instant) {
    metrics::histogram!("restante_attach_seconds")
        .record(now.saturating_duration_since(since).as_secs_f64());
}
