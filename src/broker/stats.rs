//! What happens in the broker, counted: handles are made once, so that a hot path costs an addition (ops/METRICS.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};
use restante_storage::UnixMillis;
use restante_storage::payload::Settle;

use super::call::Protocol;
use crate::engine::{Cause, QueueHandle};
use crate::refusal::Refusal;

/// Handles of the broker's metrics.
#[derive(Debug)]
pub(crate) struct Stats {
    published: ByProtocol,
    delivered: ByProtocol,
    accepted: Counter,
    released: Counter,
    rejected: Counter,
    topic_dropped: Counter,
    route_dropped: Counter,
    shed: Counter,
    deleted: Counter,
    moved: Counter,
    commits: Counter,
    records: Counter,
    bytes: Counter,
    confirm: Histogram,
    commit_records: Histogram,
    age: Histogram,
    /// Messages that sessions and listeners did not get, for `$SYS`.
    missed: AtomicU64,
    pub(super) wamp: WampStats,
}

/// What becomes of WAMP's calls and meta events.
#[derive(Debug)]
pub(super) struct WampStats {
    result: Counter,
    error: Counter,
    canceled: Counter,
    timeout: Counter,
    refused: Counter,
    invocations_refused: Counter,
    meta_dropped: Counter,
}

/// How a call ends for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallEnd {
    /// With a result.
    Result,
    /// With the callee's error.
    Error,
    /// The caller, or the callee at its wish, gave it up.
    Canceled,
    /// Its time was over.
    Timeout,
    /// By the router: nobody could take it, or its callee left, or no rule allows it.
    Refused,
}

impl WampStats {
    fn new() -> Self {
        let ended =
            |outcome: &'static str| counter!("restante_wamp_calls_total", "outcome" => outcome);
        WampStats {
            result: ended("result"),
            error: ended("error"),
            canceled: ended("canceled"),
            timeout: ended("timeout"),
            refused: ended("refused"),
            invocations_refused: counter!("restante_wamp_invocations_refused_total"),
            meta_dropped: counter!("restante_wamp_dropped_total", "reason" => "meta-event"),
        }
    }

    /// A caller is told how its call has ended.
    pub(super) fn call_ended(&self, end: CallEnd) {
        let counter = match end {
            CallEnd::Result => &self.result,
            CallEnd::Error => &self.error,
            CallEnd::Canceled => &self.canceled,
            CallEnd::Timeout => &self.timeout,
            CallEnd::Refused => &self.refused,
        };
        counter.increment(1);
    }

    /// A callee that does not read was not given a call.
    pub(super) fn invocation_refused(&self) {
        self.invocations_refused.increment(1);
    }
}

/// A counter for each door.
#[derive(Debug)]
struct ByProtocol {
    mbws: Counter,
    mqtt: Counter,
    wamp: Counter,
    sp: Counter,
    rest: Counter,
}

impl ByProtocol {
    fn new(name: &'static str) -> Self {
        let of = |protocol: Protocol| counter!(name, "protocol" => protocol.as_str());
        ByProtocol {
            mbws: of(Protocol::Mbws),
            mqtt: of(Protocol::Mqtt),
            wamp: of(Protocol::Wamp),
            sp: of(Protocol::Sp),
            rest: of(Protocol::Rest),
        }
    }

    fn of(&self, protocol: Protocol) -> &Counter {
        match protocol {
            Protocol::Mbws => &self.mbws,
            Protocol::Mqtt => &self.mqtt,
            Protocol::Wamp => &self.wamp,
            Protocol::Sp => &self.sp,
            Protocol::Rest => &self.rest,
        }
    }
}

impl Stats {
    pub(crate) fn new() -> Self {
        let settled = |outcome: &'static str| counter!("restante_deliveries_settled_total", "outcome" => outcome);
        Stats {
            published: ByProtocol::new("restante_messages_published_total"),
            delivered: ByProtocol::new("restante_messages_delivered_total"),
            accepted: settled("accepted"),
            released: settled("released"),
            rejected: settled("rejected"),
            topic_dropped: counter!("restante_messages_dropped_total", "reason" => "slow-subscriber"),
            route_dropped: counter!("restante_messages_dropped_total", "reason" => "route"),
            shed: counter!("restante_mqtt_dropped_total", "reason" => "queue-full"),
            deleted: counter!("restante_messages_dropped_total", "reason" => "deleted"),
            moved: counter!("restante_messages_moved_total"),
            commits: counter!("restante_log_commits_total"),
            records: counter!("restante_log_records_total"),
            bytes: counter!("restante_log_bytes_total"),
            confirm: histogram!("restante_confirm_seconds"),
            commit_records: histogram!("restante_log_commit_records"),
            age: histogram!("restante_delivery_age_seconds"),
            missed: AtomicU64::new(0),
            wamp: WampStats::new(),
        }
    }

    pub(crate) fn published(&self, protocol: Protocol) {
        self.published.of(protocol).increment(1);
    }

    pub(crate) fn delivered(&self, protocol: Protocol, messages: u64) {
        self.delivered.of(protocol).increment(messages);
    }

    /// The age of the oldest message of one batch: sampled so, it costs a batch and not a message.
    pub(crate) fn delivery_age(&self, taken: UnixMillis, now: UnixMillis) {
        let age = now.get().saturating_sub(taken.get());
        self.age.record(Duration::from_millis(age));
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

    pub(crate) fn dropped_by_route(&self) {
        self.route_dropped.increment(1);
    }

    /// Queues of MQTT sessions and groups were full, or any that a will was for.
    pub(crate) fn shed(&self, messages: u64) {
        self.shed.increment(messages);
        self.missed.fetch_add(messages, Ordering::Relaxed);
    }

    /// What was shed or dropped by slow listeners.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    pub(crate) fn dead_lettered(&self, cause: Cause) {
        counter!("restante_messages_dead_lettered_total", "reason" => cause.as_str()).increment(1);
    }

    pub(crate) fn deleted(&self, messages: u64) {
        self.deleted.increment(messages);
    }

    pub(crate) fn moved(&self, messages: u64) {
        self.moved.increment(messages);
    }

    pub(crate) fn topic_dropped(&self) {
        self.topic_dropped.increment(1);
        self.missed.fetch_add(1, Ordering::Relaxed);
    }

    /// A WAMP client that does not read was not told of what happens in its realm.
    pub(crate) fn meta_event_dropped(&self) {
        self.wamp.meta_dropped.increment(1);
        self.missed.fetch_add(1, Ordering::Relaxed);
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
