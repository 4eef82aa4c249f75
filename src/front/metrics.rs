//! What the front counts. Meanings and units: `ops/METRICS.md`.

use std::time::Instant;

use metrics::{Counter, Gauge, counter, gauge};
use restante_proto::mbws::Code;

/// Handles that are used often, looked up once; made after the recorder is installed.
pub(super) struct Metrics {
    connections: Gauge,
    /// MBWS frames decoded.
    pub(super) frames_in: Counter,
    /// MBWS frames encoded.
    pub(super) frames_out: Counter,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Metrics {
            connections: gauge!("restante_connections"),
            frames_in: frames("in"),
            frames_out: frames("out"),
        }
    }

    /// One more connection, until it is dropped.
    pub(super) fn connection(&self) -> Open {
        self.connections.increment(1.0);
        Open(self.connections.clone())
    }
}

fn frames(direction: &'static str) -> Counter {
    counter!("restante_frames_total", "protocol" => "mbws", "direction" => direction)
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

/// One fatal `error` sent.
pub(super) fn mbws_error(code: Code) {
    counter!("restante_mbws_errors_total", "code" => code.as_str()).increment(1);
}

/// How long an attach took, authentication included.
pub(super) fn attached(since: Instant, now: Instant) {
    metrics::histogram!("restante_attach_seconds")
        .record(now.saturating_duration_since(since).as_secs_f64());
}
