//! The table: the median of some rounds, how far they are apart, and the ratio of those that were measured together.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::super::pool::Counted;
use super::super::row::table_of;

/// What one round has measured.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Round {
    /// Deliveries or answers a second.
    pub(super) rate: f64,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    /// Deliveries that never came.
    pub(super) missing: Option<u64>,
    /// Processor time of broker or hub for each delivery.
    pub(super) cpu_us: Option<f64>,
}

impl Round {
    pub(super) fn new(rate: f64, latency: &Histogram<u64>) -> Round {
        let quantile = |quantile| {
            let micros = latency.value_at_quantile(quantile) as f64;
            (!latency.is_empty()).then_some(micros)
        };
        Round {
            rate,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            ..Round::default()
        }
    }

    pub(super) fn counted(counted: &Counted, latency: &Histogram<u64>, missing: u64) -> Round {
        let n = counted.delivered as f64;
        let cpu = counted.cpu_seconds.filter(|_| counted.delivered > 0);
        Round {
            missing: Some(missing),
            cpu_us: cpu.map(|seconds| seconds * 1e6 / n),
            ..Round::new(n / counted.seconds, latency)
        }
    }
}

/// One side of a comparison.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Row {
    scenario: &'static str,
    by: &'static str,
    size: u32,
    pub(super) senders: Option<u32>,
    pub(super) takers: Option<u32>,
    pub(super) window: Option<u32>,
    pub(super) sent_per_second: Option<u32>,
    /// Of all rounds the median, the least and the most.
    per_second: Option<f64>,
    per_second_min: Option<f64>,
    per_second_max: Option<f64>,
    /// Of all rounds the median of each round's.
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    /// Of all rounds together.
    missing: Option<u64>,
    cpu_us: Option<f64>,
    /// By the row below: of rates, or of times.
    ratio: Option<f64>,
    ratio_of: Option<&'static str>,
}

impl Row {
    pub(super) fn new(
        scenario: &'static str,
        by: &'static str,
        size: u32,
        rounds: &[Round],
    ) -> Row {
        let all = |of: fn(&Round) -> Option<f64>| sorted(rounds.iter().filter_map(of));
        let rates = all(|round| Some(round.rate));
        let mut missing = rounds.iter().filter_map(|round| round.missing).peekable();
        Row {
            scenario,
            by,
            size,
            per_second: median(&rates),
            per_second_min: rates.first().copied(),
            per_second_max: rates.last().copied(),
            p50_us: median(&all(|round| round.p50_us)),
            p99_us: median(&all(|round| round.p99_us)),
            missing: missing.peek().is_some().then(|| missing.sum()),
            cpu_us: median(&all(|round| round.cpu_us)),
            ..Row::default()
        }
    }

    /// With how many times the rate it has of what was measured with it.
    pub(super) fn by_rate(mut self, ours: &[Round], theirs: &[Round]) -> Row {
        let ratios = ours.iter().zip(theirs);
        let ratios = sorted(ratios.map(|(ours, theirs)| ours.rate / theirs.rate));
        (self.ratio, self.ratio_of) = (median(&ratios), Some("rate"));
        self
    }

    /// With how many times the p50.
    pub(super) fn by_time(mut self, ours: &[Round], theirs: &[Round]) -> Row {
        let pairs = ours.iter().zip(theirs);
        let ratio = |(ours, theirs): (&Round, &Round)| Some(ours.p50_us? / theirs.p50_us?);
        (self.ratio, self.ratio_of) = (median(&sorted(pairs.filter_map(ratio))), Some("p50"));
        self
    }

    fn cells(&self) -> [(&'static str, Option<String>); 15] {
        let count = |n: Option<u32>| n.map(|n| n.to_string());
        let real = |n: Option<f64>, decimals: usize| n.map(|n| format!("{n:.decimals$}"));
        [
            ("scenario", Some(self.scenario.to_owned())),
            ("by", Some(self.by.to_owned())),
            ("size", Some(self.size.to_string())),
            ("senders", count(self.senders)),
            ("takers", count(self.takers)),
            ("window", count(self.window)),
            ("sent/s", count(self.sent_per_second)),
            ("got/s", real(self.per_second, 0)),
            ("min", real(self.per_second_min, 0)),
            ("max", real(self.per_second_max, 0)),
            ("p50 us", real(self.p50_us, 0)),
            ("p99 us", real(self.p99_us, 0)),
            ("missing", self.missing.map(|n| n.to_string())),
            ("cpu us", real(self.cpu_us, 2)),
            (
                "ratio",
                self.ratio
                    .zip(self.ratio_of)
                    .map(|(ratio, of)| format!("{ratio:.2} of {of}")),
            ),
        ]
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Of an even number the mean of the two in the middle.
fn median(sorted: &[f64]) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let middle = [last / 2, last - last / 2].map(|at| sorted.get(at).copied());
    match middle {
        [Some(low), Some(high)] => Some(f64::midpoint(low, high)),
        _ => None,
    }
}

/// All rows, for people.
pub(super) fn table(rows: &[Row]) -> String {
    table_of(rows.iter().map(|row| row.cells().into()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(rates: &[f64]) -> Vec<Round> {
        let round = |rate: &f64| Round {
            rate: *rate,
            p50_us: Some(1e3 / rate),
            ..Round::default()
        };
        rates.iter().map(round).collect()
    }

    #[test]
    fn a_ratio_is_that_of_rounds_measured_together() {
        // The machine was half as fast in one round: no matter.
        let (ours, theirs) = (rounds(&[80.0, 40.0, 90.0]), rounds(&[100.0, 50.0, 100.0]));
        let row = Row::new("push", "sp", 256, &ours).by_rate(&ours, &theirs);
        assert_eq!((row.ratio, row.per_second), (Some(0.8), Some(80.0)));
        assert_eq!(
            (row.per_second_min, row.per_second_max),
            (Some(40.0), Some(90.0))
        );
        let row = Row::new("request", "sp", 256, &ours).by_time(&ours, &theirs);
        assert_eq!(row.ratio, Some(1.25));
        assert_eq!(median(&[1.0, 2.0, 4.0, 5.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn columns_without_anything_are_left_out() {
        let row = Row::new("push", "sp", 256, &rounds(&[80.0]));
        let table = table(&[row]);
        assert!(
            table.contains("got/s") && !table.contains("missing"),
            "{table}"
        );
    }
}
