//! The log alone: the same records, as many outstanding, no broker. What the disk and the log's writer allow.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use hdrhistogram::Histogram;
use restante_storage::payload::Envelope;
use restante_storage::{
    Commit, Draft, DraftBatch, Kind, Log, LogOptions, QueueId, RealDisk, UnixMillis,
};

use super::load::{Load, histogram};

/// Before the measurement: the first segments are made, the disk wakes up.
const WARM_UP: Duration = Duration::from_millis(500);

/// What was measured.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    pub(super) records: u64,
    pub(super) seconds: f64,
    pub(super) syncs: u64,
    /// From handing over to durable, in microseconds; one value for each record.
    pub(super) latency: Histogram<u64>,
}

impl Raw {
    /// Both measurements as one.
    pub(super) fn and(&self, other: &Raw) -> Raw {
        let mut both = self.clone();
        both.records += other.records;
        both.seconds += other.seconds;
        both.syncs += other.syncs;
        both.latency += &other.latency;
        both
    }
}

/// A batch on its way: when it was handed over, and its records.
type Sent = (Instant, u64);

/// Keeps `connections × window` records outstanding, in batches like a client's.
///
/// # Errors
/// The log cannot be made in `folder`, or failed.
pub(super) async fn measure(folder: &Path, load: Load) -> anyhow::Result<Raw> {
    let folder = folder.join("raw");
    tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&folder)?;
        let raw = drive(&folder, load);
        std::fs::remove_dir_all(&folder)?;
        raw
    })
    .await?
}

fn drive(folder: &Path, load: Load) -> anyhow::Result<Raw> {
    let (done, durable) = crossbeam_channel::unbounded::<Sent>();
    let syncs = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&syncs);
    let sink = move |commit: Commit<Sent>| {
        count.fetch_add(1, Ordering::Relaxed);
        for (_, sent) in commit.batches {
            // Nobody listens any more at the end.
            done.send(sent).ok();
        }
    };
    let scan = Log::scan(Arc::new(RealDisk), folder, LogOptions::default())?;
    let log = scan.start(HashMap::new(), sink, |_| {})?;
    let n_batch = load.batch();
    let n_batches = (load.window / n_batch).max(1) * load.connections;
    let record = Record::new(load.size);
    for _ in 0..n_batches {
        submit(&log, &record, n_batch)?;
    }
    let mut raw = Raw {
        records: 0,
        seconds: 0.0,
        syncs: 0,
        latency: histogram(),
    };
    let begun = Instant::now() + WARM_UP;
    let mut syncs_before = None;
    let end = begun + load.time;
    loop {
        let (sent, n) = durable
            .recv()
            .ok()
            .context("the log alone failed while it was measured")?;
        let now = Instant::now();
        if now >= end {
            break;
        }
        if now >= begun {
            syncs_before.get_or_insert_with(|| syncs.load(Ordering::Relaxed));
            raw.records += n;
            super::load::record(&mut raw.latency, now - sent, n);
        }
        submit(&log, &record, n_batch)?;
    }
    raw.seconds = begun.elapsed().as_secs_f64();
    let before = syncs_before.unwrap_or_default();
    raw.syncs = syncs.load(Ordering::Relaxed) - before;
    log.close().map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(raw)
}

/// What a broker stores for a message of this size.
struct Record {
    envelope: Envelope,
    body: Bytes,
}

impl Record {
    fn new(size: u32) -> Record {
        let envelope = Envelope {
            address: "bench/0/0".into(),
            uuid: Bytes::from_static(&[7; 16]),
            ..Envelope::default()
        };
        let body = Bytes::from(vec![b'x'; size as usize]);
        Record { envelope, body }
    }
}

fn submit(log: &Log<Sent>, record: &Record, n_records: u32) -> anyhow::Result<()> {
    let now = Instant::now();
    let mut batch = DraftBatch::new(log.limits(), (now, u64::from(n_records)));
    for _ in 0..n_records {
        batch.push(&Draft {
            targets: &[QueueId::new(1)],
            body: &record.body,
            ..Draft::new(
                Kind::Enqueue,
                UnixMillis::new(1_700_000_000_000),
                &record.envelope,
            )
        })?;
    }
    log.submit(batch)
        .map_err(|_| anyhow::anyhow!("the log alone has failed"))
}
