//! What happens in the broker, counted: handles are made once, so that a hot path costs an addition (ops/METRICS.md).

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};
use restante_storage::payload::Settle;

use super::call::Protocol;
use crate::engine::{Cause, QueueHandle};
use crate::refusal::Refusal;

/// Handles of the broker's metrics.
#[derive(Debug)]
pub(crate) struct Stats {
    published: Counter,
    delivered: Counter,
    accepted: Counter,
    released: Counter,
    rejected: Counter,
    topic_dropped: Counter,
    commits: Counter,
    records: Counter,
    bytes: Counter,
    confirm: Histogram,
    commit_records: Histogram,
}

impl Stats {
    pub(crate) fn new() -> Self {
        let mbws = Protocol::Mbws.as_str();
        let settled = |outcome: &'static str| counter!("restante_deliveries_settled_total", "outcome" => outcome);
        Stats {
            published: counter!("restante_messages_published_total", "protocol" => mbws),
            delivered: counter!("restante_messages_delivered_total", "protocol" => mbws),
            accepted: settled("accepted"),
            released: settled("released"),
            rejected: settled("rejected"),
            topic_dropped: counter!("restante_messages_dropped_total", "reason" => "slow-subscriber"),
            commits: counter!("restante_log_commits_total"),
            records: counter!("restante_log_records_total"),
            bytes: counter!("restante_log_bytes_total"),
            confirm: histogram!("restante_confirm_seconds"),
            commit_records: histogram!("restante_log_commit_records"),
        }
    }

    pub(crate) fn published(&self, protocol: Protocol) {
        match protocol {
            Protocol::Mbws => self.published.increment(1),
        }
    }

    pub(crate) fn delivered(&self, protocol: Protocol, messages: u64) {
        match protocol {
            Protocol::Mbws => self.delivered.increment(messages),
        }
    }

    pub(crate) fn settled(&self, settle: &Settle) {
        for (counter, ranges) in [
            (&self.accepted, &settle.accepted),
            (&self.released, &settle.released),
            (&self.rejected, &settle.rejected),
        ] {
            let (pairs, _) = ranges.as_chunks::<2>();
            counter.increment(pairs.iter().map(|[first, last]| last - first + 1).sum());
        }
    }

    pub(crate) fn refused(&self, protocol: Protocol, refusal: Refusal) {
        counter!("restante_refusals_total", "protocol" => protocol.as_str(), "reason" => refusal.as_str()).increment(1);
        tracing::debug!(
            protocol = protocol.as_str(),
            reason = refusal.as_str(),
            "refused"
        );
    }

    pub(crate) fn dropped(&self, cause: Cause, queue: Option<&Arc<QueueHandle>>) {
        counter!("restante_messages_dropped_total", "reason" => cause.as_str()).increment(1);
        let name = queue.map_or("", |queue| &queue.name);
        tracing::debug!(
            queue = name,
            reason = cause.as_str(),
            "dropped: the queue has no dead-letter address"
        );
    }

    pub(crate) fn dead_lettered(&self, cause: Cause) {
        counter!("restante_messages_dead_lettered_total", "reason" => cause.as_str()).increment(1);
    }

    pub(crate) fn topic_dropped(&self) {
        self.topic_dropped.increment(1);
    }

    pub(crate) fn committed(&self, records: u64, bytes: usize) {
        self.commits.increment(1);
        self.records.increment(records);
        self.bytes.increment(bytes as u64);
        self.commit_records.record(records as f64);
    }

    pub(crate) fn confirm_latency(&self, since: Duration) {
        self.confirm.record(since);
    }
}
