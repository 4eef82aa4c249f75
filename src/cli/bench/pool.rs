//! The threads that make the load: few, each with all that its clients need, so that none wakes another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::load::{histogram, record};
use super::process::Process;

/// After the load, for what is still under way.
const QUIET: Duration = Duration::from_secs(3);

/// Threads with a runtime each. Dropped: they end with all that runs on them.
pub(super) struct Pool {
    threads: Vec<(Handle, oneshot::Sender<()>)>,
}

impl Pool {
    /// # Errors
    /// A thread that cannot be started.
    pub(super) fn start(n_threads: u32) -> anyhow::Result<Pool> {
        let mut threads = Vec::new();
        for _ in 0..n_threads {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let (keep, until) = oneshot::channel::<()>();
            let run = move || {
                // Nothing is ever sent: it ends when the pool is dropped.
                drop(runtime.block_on(until));
            };
            thread::Builder::new().name("load".to_owned()).spawn(run)?;
            threads.push((handle, keep));
        }
        Ok(Pool { threads })
    }

    /// Has client `number` run on its thread: the same for each of its tasks, for a socket belongs to one.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        number: usize,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match self.threads.get(number % self.threads.len().max(1)) {
            Some((handle, _)) => handle.spawn(task),
            None => tokio::spawn(task),
        }
    }
}

/// What the clients of a scenario share.
pub(super) struct Meter {
    /// What times in messages count from.
    epoch: Instant,
    counting: AtomicBool,
    /// Published and acknowledged, or, with QoS 0, written.
    pub(super) published: AtomicU64,
    pub(super) delivered: AtomicU64,
    latency: Mutex<Histogram<u64>>,
    stop: watch::Sender<bool>,
}

/// What was counted.
pub(super) struct Counted {
    pub(super) published: u64,
    pub(super) delivered: u64,
    pub(super) seconds: f64,
    /// What the broker's process has used meanwhile.
    pub(super) cpu_seconds: Option<f64>,
}

impl Meter {
    pub(super) fn new() -> Arc<Meter> {
        Arc::new(Meter {
            epoch: Instant::now(),
            counting: AtomicBool::new(false),
            published: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            latency: Mutex::new(histogram()),
            stop: watch::Sender::new(false),
        })
    }

    /// Now, as it is put into messages: nanoseconds.
    pub(super) fn nanos(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// When that was, or will be.
    pub(super) fn at(&self, nanos: u64) -> Instant {
        self.epoch + Duration::from_nanos(nanos)
    }

    pub(super) fn is_counting(&self) -> bool {
        self.counting.load(Ordering::Relaxed)
    }

    /// Counts from now on.
    pub(super) fn begin(&self) {
        self.counting.store(true, Ordering::Relaxed);
    }

    /// Told once the load is to end.
    pub(super) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Lets the clients run, and counts after the warm-up for `time`; they run on.
    ///
    /// # Errors
    /// The broker's process is gone.
    pub(super) async fn count(
        &self,
        warm_up: Duration,
        time: Duration,
        process: Option<Process>,
    ) -> anyhow::Result<Counted> {
        tokio::time::sleep(warm_up).await;
        let cpu = || process.map(Process::cpu_seconds).transpose();
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (published, delivered) = (read(&self.published), read(&self.delivered));
        let cpu_before = cpu()?;
        self.begin();
        let begun = Instant::now();
        tokio::time::sleep(time).await;
        self.counting.store(false, Ordering::Relaxed);
        let cpu_after = cpu()?;
        Ok(Counted {
            published: read(&self.published) - published,
            delivered: read(&self.delivered) - delivered,
            seconds: begun.elapsed().as_secs_f64(),
            cpu_seconds: cpu_after
                .zip(cpu_before)
                .map(|(after, before)| after - before),
        })
    }

    pub(super) fn add(&self, times: &Times) {
        self.latency
            .lock()
            .add(&times.0)
            .unwrap_or_else(|_| unreachable!("it resizes itself"));
    }

    pub(super) fn latency(&self) -> Histogram<u64> {
        self.latency.lock().clone()
    }
}

/// Over when the load has stopped, and nothing was to be heard for a while since.
pub(super) async fn quiet(stop: &mut watch::Receiver<bool>) {
    // The meter is there as long as its clients are.
    drop(stop.wait_for(|stop| *stop).await);
    tokio::time::sleep(QUIET).await;
}

/// One client's times.
pub(super) struct Times(Histogram<u64>);

impl Times {
    pub(super) fn new() -> Times {
        Times(histogram())
    }

    /// One that was `nanos` under way.
    pub(super) fn record(&mut self, nanos: u64) {
        record(&mut self.0, Duration::from_nanos(nanos), 1);
    }
}
