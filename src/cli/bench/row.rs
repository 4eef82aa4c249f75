//! The table of the loads that go to any broker.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::pool::Counted;
use crate::cli::show::aligned;

/// One case, measured. Times in milliseconds; what was not measured is none.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Row {
    scenario: &'static str,
    /// A serializer or the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<&'static str>,
    pub(super) size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) callers: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) callees: Option<u32>,
    pub(super) publishers: Option<u32>,
    pub(super) subscribers: Option<u32>,
    pub(super) window: Option<u32>,
    pub(super) messages: Option<u64>,
    pub(super) connections: Option<u64>,
    pub(super) subscriptions: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    called_per_second: Option<f64>,
    published_per_second: Option<f64>,
    delivered_per_second: Option<f64>,
    /// From publish to delivery, or from call to result.
    pub(super) p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    p999_ms: Option<f64>,
    /// Deliveries that never came.
    pub(super) missing: Option<u64>,
    pub(super) twice: Option<u64>,
    /// The broker's processor time, for each call, delivery, or, where there are none, publish.
    cpu_us_each: Option<f64>,
    /// How many processors the broker kept busy.
    cpus: Option<f64>,
    pub(super) rss_kib: Option<u64>,
    /// Memory for each connection or message.
    pub(super) kib_each: Option<f64>,
    /// The first row's rate, by this one's.
    pub(super) ratio: Option<f64>,
}

impl Row {
    /// One with bodies of `size` bytes.
    pub(super) fn new(scenario: &'static str, size: u32) -> Row {
        Row {
            scenario,
            size: Some(size),
            ..Row::default()
        }
    }

    /// With rates.
    pub(super) fn counted(mut self, counted: &Counted) -> Row {
        let rate = |n: u64| (n > 0).then(|| n as f64 / counted.seconds);
        self.published_per_second = rate(counted.published);
        self.delivered_per_second = rate(counted.delivered);
        if let Some(cpu) = counted.cpu_seconds {
            let n = counted.delivered.max(counted.published);
            self.cpu_us_each = (n > 0).then(|| cpu * 1e6 / n as f64);
            self.cpus = Some(cpu / counted.seconds);
        }
        self
    }

    /// With the rate of calls, which were counted as what was delivered.
    pub(super) fn called(self, counted: &Counted) -> Row {
        let mut row = self.counted(counted);
        row.published_per_second = None;
        row.called_per_second = row.delivered_per_second.take();
        row
    }

    /// How many times as much as `few` one operation takes: by the broker's processor time if that is known, else by rates.
    pub(super) fn compare(&mut self, few: &Row) {
        let rate = |row: &Row| {
            let rates = [row.called_per_second, row.delivered_per_second];
            rates.into_iter().flatten().next()
        };
        let by_time = self.cpu_us_each.zip(few.cpu_us_each);
        self.ratio = by_time
            .or_else(|| rate(few).zip(rate(self)))
            .map(|(more, less)| more / less);
    }

    pub(super) fn times(&mut self, latency: &Histogram<u64>) {
        let quantile = |quantile| {
            let micros = latency.value_at_quantile(quantile) as f64;
            (!latency.is_empty()).then_some(micros / 1000.0)
        };
        self.p50_ms = quantile(0.5);
        self.p99_ms = quantile(0.99);
        self.p999_ms = quantile(0.999);
    }

    pub(super) fn publishes_per_second(&self) -> Option<f64> {
        self.published_per_second
    }

    fn cells(&self) -> [(&'static str, Option<String>); 24] {
        let count = |n: Option<u64>| n.map(|n| n.to_string());
        let real = |n: Option<f64>, decimals: usize| n.map(|n| format!("{n:.decimals$}"));
        [
            ("scenario", Some(self.scenario.to_owned())),
            ("by", self.by.map(str::to_owned)),
            ("size", count(self.size.map(u64::from))),
            ("callers", count(self.callers.map(u64::from))),
            ("callees", count(self.callees.map(u64::from))),
            ("pubs", count(self.publishers.map(u64::from))),
            ("subs", count(self.subscribers.map(u64::from))),
            ("window", count(self.window.map(u64::from))),
            ("messages", count(self.messages)),
            ("conns", count(self.connections)),
            ("subscriptions", count(self.subscriptions)),
            ("calls/s", real(self.called_per_second, 0)),
            ("pub/s", real(self.published_per_second, 0)),
            ("deliver/s", real(self.delivered_per_second, 0)),
            ("p50 ms", real(self.p50_ms, 2)),
            ("p99 ms", real(self.p99_ms, 2)),
            ("p99.9 ms", real(self.p999_ms, 2)),
            ("missing", count(self.missing)),
            ("twice", count(self.twice)),
            ("cpu us", real(self.cpu_us_each, 2)),
            ("cpus", real(self.cpus, 2)),
            ("RSS KiB", count(self.rss_kib)),
            ("KiB each", real(self.kib_each, 2)),
            ("ratio", real(self.ratio, 2)),
        ]
    }
}

/// All rows, for people.
pub(super) fn table(rows: &[Row]) -> String {
    table_of(rows.iter().map(|row| row.cells().into()).collect())
}

/// Cells with their columns' heads, the same in each row, for people: without the columns that none has anything in.
pub(super) fn table_of(rows: Vec<Vec<(&'static str, Option<String>)>>) -> String {
    let is_used = |head: &str| {
        let mut all = rows.iter().flatten();
        all.any(|(it, cell)| *it == head && cell.is_some())
    };
    let used: Vec<&str> = match rows.first() {
        Some(first) => first
            .iter()
            .map(|(head, _)| *head)
            .filter(|it| is_used(it))
            .collect(),
        None => Vec::new(),
    };
    let mut lines = Vec::new();
    if !rows.is_empty() {
        lines.push(used.iter().map(|&head| head.to_owned()).collect());
    }
    for row in rows {
        let shown = row.into_iter().filter(|(head, _)| used.contains(head));
        lines.push(
            shown
                .map(|(_, cell)| cell.unwrap_or_else(|| "-".to_owned()))
                .collect(),
        );
    }
    aligned(&lines)
}
