//! Counting, and what `/metrics` says of it: the recorder, what is looked up at each scrape, and the help of every metric.
//!
//! ```text
//! counter!, gauge!, histogram! ─▶ recorder ─┐
//! /proc/self ──────────────▶ process ───────┼─▶ render ─▶ /metrics
//! queues, definitions, as the broker has them ─▶ exposition ┘
//! ```
//!
//! Made before anything else that counts: handles made earlier count into nothing. With `metrics.enabled: false` there is no recorder,
//! every handle counts into nothing, and a scrape gets a comment that says so.
//!
//! Always, each with a test of its name below or in `table`:
//! - `every_metric_has_its_help`.
//! - `switched_off_it_says_so`.
//!
//! Not here: what is counted (each part by itself), the queues' time series (`exposition`).

pub(crate) mod process;
pub(crate) mod table;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::config;
use crate::exposition::{self, QueueFigures};
use table::{Kind, METRICS};

/// What a scrape gets where nothing is counted: a comment of the text format.
const OFF: &str =
    "# nothing is counted here: metrics.enabled is false in the broker's configuration\n";

/// Seconds: from a fast disk's sync to a stuck one.
const SECONDS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
/// Seconds that a message may wait for its consumer: from a moment to a week.
const AGES: [f64; 13] = [
    0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0, 600.0, 3600.0, 86_400.0, 604_800.0,
];
const RECORDS: [f64; 9] = [
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0,
];

/// What is counted. Clones are the same.
#[derive(Clone)]
pub(crate) struct Meters {
    /// None: nothing is counted.
    recorder: Option<PrometheusHandle>,
    queues_max: usize,
}

impl Meters {
    /// Begins to count, if it is wanted. Once in a process.
    pub(crate) fn start(settings: &config::Metrics) -> Result<Meters> {
        let recorder = match settings.enabled {
            true => Some(
                builder()
                    .and_then(PrometheusBuilder::install_recorder)
                    .context("metrics cannot be started")?,
            ),
            false => None,
        };
        describe();
        metrics::gauge!("restante_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(Meters {
            recorder,
            queues_max: settings.queues_max,
        })
    }

    /// Nothing is counted.
    #[cfg(test)]
    pub(crate) fn detached() -> Meters {
        Meters {
            recorder: None,
            queues_max: 0,
        }
    }

    /// Whether anything is counted: if not, what a scrape would need is not worth looking up.
    pub(crate) fn is_on(&self) -> bool {
        self.recorder.is_some()
    }

    /// All metrics in the text format 0.0.4; of `queues` as many as are wanted, in the given order; `checksum`: what the
    /// definitions are known by. Reads `/proc`.
    pub(crate) fn render<'a>(
        &self,
        checksum: Option<&str>,
        queues: impl IntoIterator<Item = QueueFigures<'a>, IntoIter: Clone>,
    ) -> String {
        let Some(recorder) = &self.recorder else {
            return OFF.to_owned();
        };
        let mut text = recorder.render();
        process::append(&mut text);
        if let Some(checksum) = checksum {
            exposition::append_definitions(&mut text, checksum);
        }
        exposition::append(&mut text, self.queues_max, queues);
        text
    }

    /// Keeps histograms from growing between scrapes.
    pub(crate) fn run_upkeep(&self) {
        if let Some(recorder) = &self.recorder {
            recorder.run_upkeep();
        }
    }
}

fn builder() -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Full("restante_delivery_age_seconds".to_owned()),
            &AGES,
        )?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Suffix("_records".to_owned()), &RECORDS)
}

/// Tells the recorder every metric's help.
fn describe() {
    for it in METRICS {
        match it.kind {
            Kind::Counter => metrics::describe_counter!(it.name, it.help()),
            Kind::Gauge => metrics::describe_gauge!(it.name, it.help()),
            Kind::Histogram => metrics::describe_histogram!(it.name, it.help()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(count: impl FnOnce()) -> String {
        let recorder = builder().unwrap().build_recorder();
        let meters = Meters {
            recorder: Some(recorder.handle()),
            queues_max: 10,
        };
        metrics::with_local_recorder(&recorder, || {
            describe();
            count();
        });
        meters.render(None, [])
    }

    #[test]
    fn every_metric_has_its_help() {
        let text = on(|| {
            for it in METRICS {
                match it.kind {
                    Kind::Counter => metrics::counter!(it.name).increment(1),
                    Kind::Gauge => metrics::gauge!(it.name).set(1.0),
                    Kind::Histogram => metrics::histogram!(it.name).record(1.0),
                }
            }
        });
        for it in METRICS {
            let help = format!("# HELP {} {}\n", it.name, it.help());
            let kind = format!("# TYPE {} {}\n", it.name, it.kind.as_str());
            assert!(text.contains(&help), "{help}");
            assert!(text.contains(&kind), "{kind}");
        }
    }

    /// Without promtool (Debian: prometheus) there is nothing to ask.
    #[test]
    fn promtool_finds_nothing_wrong_with_any_of_them() {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let mut text = on(|| {
            for it in METRICS {
                let is_here = it.name.starts_with("process_") || it.name.contains("_queue");
                match it.kind {
                    _ if is_here => {}
                    Kind::Counter => metrics::counter!(it.name, "a" => "\"b\"\n\\").increment(1),
                    Kind::Gauge => metrics::gauge!(it.name).set(1.0),
                    Kind::Histogram => metrics::histogram!(it.name).record(1.0),
                }
            }
        });
        let queue = QueueFigures {
            realm: "default",
            queue: "or\\d\"ers\n/eu",
            unnamed: false,
            ready: 1,
            unsettled: 2,
            bytes: 3,
            consumers: 4,
            oldest: Some(restante_storage::UnixMillis::new(5)),
            paused: true,
        };
        // In place of the ones of no queue, which `render` has written.
        text.truncate(text.find("# HELP restante_queues ").unwrap_or(text.len()));
        exposition::append(
            &mut text,
            10,
            [
                queue,
                QueueFigures {
                    queue: "y",
                    ..queue
                },
            ],
        );
        let promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = promtool else {
            println!("promtool is not here: nobody else has looked at the metrics");
            return;
        };
        promtool
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let said = promtool.wait_with_output().unwrap();
        let said_so = String::from_utf8_lossy(&said.stderr) + String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success() && said_so.is_empty(), "{said_so}");
    }

    #[test]
    fn ages_have_buckets_of_their_own() {
        let (age, sync) = ("restante_delivery_age_seconds", "restante_log_sync_seconds");
        let text = on(|| {
            metrics::histogram!(age).record(7200.0);
            metrics::histogram!(sync).record(0.002);
        });
        for (name, le) in [(age, "86400"), (sync, "0.0025")] {
            let line = format!("{name}_bucket{{le=\"{le}\"}} 1\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }

    #[test]
    fn switched_off_it_says_so() {
        let off = config::Metrics {
            enabled: false,
            queues_max: 10,
        };
        let meters = Meters::start(&off).unwrap();
        assert!(!meters.is_on());
        assert_eq!(meters.render(None, []), OFF);
        assert!(OFF.starts_with("# ") && OFF.lines().count() == 1);
    }
}
