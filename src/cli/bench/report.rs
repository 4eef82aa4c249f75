//! The table.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::load::{Load, Measured};
use super::raw::Raw;
use super::scrape::Scrape;
use crate::cli::show::aligned;

/// One case, measured. Times in milliseconds; what was not measured is none.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    scenario: &'static str,
    size: u32,
    connections: u32,
    window: u32,
    messages_per_second: f64,
    megabytes_per_second: f64,
    consumed_per_second: Option<f64>,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    p999_ms: Option<f64>,
    syncs_per_second: Option<f64>,
    records_per_sync: Option<f64>,
    raw_messages_per_second: Option<f64>,
    ratio: Option<f64>,
    raw_p50_ms: Option<f64>,
    raw_p99_ms: Option<f64>,
    p99_ratio: Option<f64>,
    raw_syncs_per_second: Option<f64>,
    kib_per_session: Option<f64>,
}

impl Row {
    pub(super) fn new(scenario: &'static str, load: Load, measured: &Measured) -> Row {
        let rate = measured.messages as f64 / measured.seconds;
        let quantile = |q| quantile_ms(&measured.latency, q);
        Row {
            scenario,
            size: load.size,
            connections: load.connections,
            window: load.window,
            messages_per_second: rate,
            megabytes_per_second: rate * f64::from(load.size) / 1e6,
            consumed_per_second: measured.consumed.map(|n| n as f64 / measured.seconds),
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            p999_ms: quantile(0.999),
            syncs_per_second: None,
            records_per_sync: None,
            raw_messages_per_second: None,
            ratio: None,
            raw_p50_ms: None,
            raw_p99_ms: None,
            p99_ratio: None,
            raw_syncs_per_second: None,
            kib_per_session: measured.kib_per_session,
        }
    }

    /// What the broker's own counters say of the time in between.
    pub(super) fn add_syncs(
        &mut self,
        before: Option<Scrape>,
        after: Option<Scrape>,
        seconds: f64,
    ) {
        if let (Some(before), Some(after)) = (before, after) {
            let syncs = after.syncs - before.syncs;
            self.syncs_per_second = Some(syncs / seconds);
            self.records_per_sync = (syncs > 0.0).then(|| (after.records - before.records) / syncs);
        }
    }

    /// What the log alone does.
    pub(super) fn add_raw(&mut self, raw: &Raw, measured: &Measured) {
        let rate = raw.records as f64 / raw.seconds;
        self.raw_messages_per_second = Some(rate);
        self.ratio = Some(self.messages_per_second / rate);
        self.raw_p50_ms = quantile_ms(&raw.latency, 0.5);
        self.raw_p99_ms = quantile_ms(&raw.latency, 0.99);
        self.raw_syncs_per_second = Some(raw.syncs as f64 / raw.seconds);
        let both = quantile_ms(&measured.latency, 0.99).zip(self.raw_p99_ms);
        self.p99_ratio = both.map(|(broker, raw)| broker / raw);
    }
}

fn quantile_ms(histogram: &Histogram<u64>, quantile: f64) -> Option<f64> {
    (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile) as f64 / 1000.0)
}

const HEADS: [&str; 18] = [
    "scenario",
    "size",
    "conns",
    "window",
    "msg/s",
    "MB/s",
    "taken/s",
    "p50 ms",
    "p99 ms",
    "syncs/s",
    "rec/sync",
    "raw msg/s",
    "ratio",
    "raw p50",
    "raw p99",
    "p99 ratio",
    "raw sync/s",
    "KiB/session",
];

/// All rows, for people.
pub(super) fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEADS.iter().map(|head| (*head).to_owned()).collect()];
    for row in rows {
        lines.push(vec![
            row.scenario.to_owned(),
            row.size.to_string(),
            row.connections.to_string(),
            row.window.to_string(),
            format!("{:.0}", row.messages_per_second),
            format!("{:.1}", row.megabytes_per_second),
            shown(row.consumed_per_second, 0),
            shown(row.p50_ms, 2),
            shown(row.p99_ms, 2),
            shown(row.syncs_per_second, 0),
            shown(row.records_per_sync, 1),
            shown(row.raw_messages_per_second, 0),
            shown(row.ratio, 2),
            shown(row.raw_p50_ms, 2),
            shown(row.raw_p99_ms, 2),
            shown(row.p99_ratio, 2),
            shown(row.raw_syncs_per_second, 0),
            shown(row.kib_per_session, 1),
        ]);
    }
    aligned(&lines)
}

fn shown(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}
