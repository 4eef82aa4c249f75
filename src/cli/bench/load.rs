//! Load on a broker: senders and takers, each its own client, counted between a warm-up and an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::target::Target;
use crate::client::{Client, ClientError, ConsumeOptions, Consumer, Outgoing, Ticket};

const WARM_UP: Duration = Duration::from_millis(500);
/// Slower is recorded as this.
const LATENCY_MAX: Duration = Duration::from_secs(60);
/// What waits for `consume` to begin: enough for some seconds, without filling the disk.
const BACKLOG_MAX: u64 = 300_000;
const BACKLOG_BYTES_MAX: u64 = 256 << 20;
/// Deliveries taken and settled at once.
const TAKE_MAX: usize = 512;
/// How finely `latency` follows its schedule.
const PACE: Duration = Duration::from_millis(1);

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Load {
    /// Bytes of a body.
    pub(super) size: u32,
    /// Clients on each side.
    pub(super) connections: u32,
    /// Unconfirmed, or in hand, on each.
    pub(super) window: u32,
    /// How long.
    pub(super) time: Duration,
}

impl Load {
    /// Messages handed over at once: a quarter of the window, so that sending and confirming overlap.
    pub(super) fn batch(&self) -> u32 {
        (self.window / 4).clamp(1, 128)
    }
}

/// What was counted.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    /// Confirmed, or, in `consume`, accepted.
    pub(super) messages: u64,
    /// Accepted, where something was sent too.
    pub(super) consumed: Option<u64>,
    /// For what time these were counted.
    pub(super) seconds: f64,
    /// With warm-up and everything.
    pub(super) whole_seconds: f64,
    /// In microseconds: from send to confirm, or, in `latency`, to delivery.
    pub(super) latency: Histogram<u64>,
    /// Of `idle`.
    pub(super) kib_per_session: Option<f64>,
}

impl Measured {
    pub(super) fn nothing() -> Measured {
        Measured {
            messages: 0,
            consumed: None,
            seconds: 1.0,
            whole_seconds: 1.0,
            latency: histogram(),
            kib_per_session: None,
        }
    }
}

/// An empty histogram of microseconds, exact to a hundredth.
pub(super) fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new(2).unwrap_or_else(|_| unreachable!("2 digits are allowed"));
    histogram.auto(true);
    histogram
}

/// Counts `time` `n` times.
pub(super) fn record(histogram: &mut Histogram<u64>, time: Duration, n: u64) {
    let micros = time.min(LATENCY_MAX).as_micros() as u64;
    // It grows to hold what it is given; `saturating_record_n` would cut the value instead.
    histogram
        .record_n(micros.max(1), n)
        .unwrap_or_else(|_| unreachable!("it resizes itself"));
}

/// What all tasks of a case share.
struct Meter {
    counting: AtomicBool,
    confirmed: AtomicU64,
    taken: AtomicU64,
    latency: Mutex<Histogram<u64>>,
    stop: watch::Sender<bool>,
}

impl Meter {
    fn new() -> Arc<Meter> {
        Arc::new(Meter {
            counting: AtomicBool::new(false),
            confirmed: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            latency: Mutex::new(histogram()),
            stop: watch::Sender::new(false),
        })
    }

    fn is_counting(&self) -> bool {
        self.counting.load(Ordering::Relaxed)
    }

    /// Lets the tasks run, and counts after the warm-up.
    async fn run(&self, time: Duration) -> f64 {
        sleep(WARM_UP).await;
        self.counting.store(true, Ordering::Relaxed);
        let begun = Instant::now();
        sleep(time).await;
        self.counting.store(false, Ordering::Relaxed);
        let seconds = begun.elapsed().as_secs_f64();
        self.stop.send_replace(true);
        seconds
    }

    fn measured(&self, seconds: f64, whole: Instant) -> Measured {
        Measured {
            messages: self.confirmed.load(Ordering::Relaxed),
            consumed: None,
            seconds,
            whole_seconds: whole.elapsed().as_secs_f64(),
            latency: self.latency.lock().clone(),
            kib_per_session: None,
        }
    }
}

type Tasks = JoinSet<Result<(), ClientError>>;

/// Durable sends, as fast as confirms come.
///
/// # Errors
/// A client that ended.
pub(super) async fn publish(
    target: &Target,
    load: Load,
    address: &str,
) -> anyhow::Result<Measured> {
    let whole = Instant::now();
    let meter = Meter::new();
    let mut tasks = Tasks::new();
    for client in target.clients(load.connections, load.window).await? {
        start_sender(&mut tasks, client, load, address, &meter);
    }
    let seconds = meter.run(load.time).await;
    join(tasks).await?;
    Ok(meter.measured(seconds, whole))
}

/// Taking and settling what waits, until it is all settled or the time is over.
///
/// # Errors
/// A client that ended.
pub(super) async fn consume(
    target: &Target,
    load: Load,
    address: &str,
) -> anyhow::Result<Measured> {
    let n_waiting = BACKLOG_MAX.min(BACKLOG_BYTES_MAX / u64::from(load.size.max(1)));
    fill(target, load, address, n_waiting).await?;
    let whole = Instant::now();
    let meter = Meter::new();
    meter.counting.store(true, Ordering::Relaxed);
    let mut tasks = Tasks::new();
    let clients = target.clients(load.connections, load.window).await?;
    let begun = Instant::now();
    for client in clients {
        let consumer = client.consume(taking(address, load)).await?;
        tasks.spawn(take(client, consumer, Arc::clone(&meter), n_waiting));
    }
    let mut stop = meter.stop.subscribe();
    let all = stop.wait_for(|stop| *stop);
    let over = tokio::time::timeout(load.time.max(Duration::from_secs(1)), all).await;
    drop(over);
    meter.stop.send_replace(true);
    join(tasks).await?;
    let mut measured = meter.measured(begun.elapsed().as_secs_f64(), whole);
    measured.messages = meter.taken.load(Ordering::Relaxed);
    Ok(measured)
}

/// Both at once, on one queue.
///
/// # Errors
/// A client that ended.
pub(super) async fn both(target: &Target, load: Load, address: &str) -> anyhow::Result<Measured> {
    let whole = Instant::now();
    let meter = Meter::new();
    let mut tasks = Tasks::new();
    for client in target.clients(load.connections, load.window).await? {
        let consumer = client.consume(taking(address, load)).await?;
        tasks.spawn(take(client, consumer, Arc::clone(&meter), u64::MAX));
    }
    for client in target.clients(load.connections, load.window).await? {
        start_sender(&mut tasks, client, load, address, &meter);
    }
    let seconds = meter.run(load.time).await;
    join(tasks).await?;
    let mut measured = meter.measured(seconds, whole);
    measured.consumed = Some(meter.taken.load(Ordering::Relaxed));
    Ok(measured)
}

/// From the moment when a message was due to its delivery, at `rate` a second.
///
/// # Errors
/// A client that ended.
pub(super) async fn latency(
    target: &Target,
    load: Load,
    rate: u32,
    address: &str,
) -> anyhow::Result<Measured> {
    let whole = Instant::now();
    let meter = Meter::new();
    let mut tasks = Tasks::new();
    for client in target.clients(1, load.window).await? {
        let consumer = client.consume(taking(address, load)).await?;
        tasks.spawn(time_deliveries(client, consumer, Arc::clone(&meter), whole));
    }
    for client in target.clients(1, load.window).await? {
        let address = address.to_owned();
        let meter = Arc::clone(&meter);
        tasks.spawn(send_at_rate(client, address, load, rate, meter, whole));
    }
    let seconds = meter.run(load.time).await;
    join(tasks).await?;
    let mut measured = meter.measured(seconds, whole);
    measured.messages = meter.taken.load(Ordering::Relaxed);
    Ok(measured)
}

async fn join(mut tasks: Tasks) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

fn taking(address: &str, load: Load) -> ConsumeOptions {
    let mut options = ConsumeOptions::new(address);
    options.window = load.window;
    options
}

fn body(size: u32) -> Bytes {
    Bytes::from(vec![b'x'; size as usize])
}

/// A client that sends, and a task that times its confirms.
fn start_sender(tasks: &mut Tasks, client: Client, load: Load, address: &str, meter: &Arc<Meter>) {
    let (sent, sents) = mpsc::unbounded_channel();
    tasks.spawn(time_confirms(client.clone(), sents, Arc::clone(meter)));
    tasks.spawn(send_all(
        client,
        address.to_owned(),
        load,
        Arc::clone(meter),
        sent,
    ));
}

/// The last ticket of a batch, when its send was called, and its messages.
type Sent = (Ticket, Instant, u64);

async fn send_all(
    client: Client,
    address: String,
    load: Load,
    meter: Arc<Meter>,
    sent: mpsc::UnboundedSender<Sent>,
) -> Result<(), ClientError> {
    let body = body(load.size);
    let mut stop = meter.stop.subscribe();
    let n = load.batch();
    while !*stop.borrow_and_update() {
        let message = || Outgoing::bytes(address.as_str(), body.clone());
        let batch = (0..n).map(|_| message()).collect();
        let called = Instant::now();
        let ticket = client.send_batch(batch).await?;
        // The timer has ended with its client: so does this, with the next send.
        sent.send((ticket, called, u64::from(n))).ok();
    }
    client.all_confirmed().await?;
    let failed = client.progress().borrow().failed;
    if let Some(failure) = client.take_failures().first()
        && failed > 0
    {
        return Err(ClientError::Refused(failure.code));
    }
    client.close().await
}

async fn time_confirms(
    client: Client,
    mut sents: mpsc::UnboundedReceiver<Sent>,
    meter: Arc<Meter>,
) -> Result<(), ClientError> {
    let mut progress = client.progress();
    drop(client); // or its session would not end before this does
    let mut local = histogram();
    let mut next: Option<Sent> = None;
    while progress.changed().await.is_ok() {
        let confirmed = progress.borrow_and_update().confirmed;
        let now = Instant::now();
        loop {
            if next.is_none() {
                next = sents.try_recv().ok();
            }
            let Some((_, called, n)) = next.filter(|(last, _, _)| *last <= confirmed) else {
                break;
            };
            if meter.is_counting() {
                meter.confirmed.fetch_add(n, Ordering::Relaxed);
                record(&mut local, now - called, n);
            }
            next = None;
        }
        if next.is_none() && sents.is_closed() && sents.is_empty() {
            break;
        }
    }
    meter
        .latency
        .lock()
        .add(&local)
        .unwrap_or_else(|_| unreachable!("it resizes itself"));
    Ok(())
}

async fn fill(target: &Target, load: Load, address: &str, n_messages: u64) -> anyhow::Result<()> {
    let mut tasks = Tasks::new();
    let clients = target.clients(8, 1024).await?;
    let each = n_messages.div_ceil(clients.len() as u64);
    let mut left = n_messages;
    for client in clients {
        let n = each.min(left);
        left -= n;
        let address = address.to_owned();
        let body = body(load.size);
        tasks.spawn(async move {
            let mut left = n;
            while left > 0 {
                let n = left.min(256);
                left -= n;
                let message = || Outgoing::bytes(address.as_str(), body.clone());
                let batch = (0..n).map(|_| message()).collect();
                client.send_batch(batch).await?;
            }
            client.all_confirmed().await?;
            client.close().await
        });
    }
    join(tasks).await
}

/// Takes and accepts until told to stop, or until all tasks together have taken `n_all`.
async fn take(
    client: Client,
    mut consumer: Consumer,
    meter: Arc<Meter>,
    n_all: u64,
) -> Result<(), ClientError> {
    let mut stop = meter.stop.subscribe();
    loop {
        let batch = tokio::select! {
            batch = consumer.next_batch(TAKE_MAX) => batch?,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        consumer.accept(batch.iter().map(|delivery| delivery.offset));
        if meter.is_counting() {
            let n = batch.len() as u64;
            let taken = meter.taken.fetch_add(n, Ordering::Relaxed) + n;
            if taken >= n_all {
                meter.stop.send_replace(true);
            }
        }
    }
    consumer.all_settled().await?;
    client.close().await
}

async fn time_deliveries(
    client: Client,
    mut consumer: Consumer,
    meter: Arc<Meter>,
    epoch: Instant,
) -> Result<(), ClientError> {
    let mut stop = meter.stop.subscribe();
    let mut local = histogram();
    loop {
        let batch = tokio::select! {
            batch = consumer.next_batch(TAKE_MAX) => batch?,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let now = epoch.elapsed();
        for delivery in &batch {
            let due = delivery.body.bytes.first_chunk().copied();
            let due = Duration::from_micros(due.map_or(0, u64::from_le_bytes));
            if meter.is_counting() {
                meter.taken.fetch_add(1, Ordering::Relaxed);
                record(&mut local, now.saturating_sub(due), 1);
            }
        }
        consumer.accept(batch.iter().map(|delivery| delivery.offset));
    }
    meter
        .latency
        .lock()
        .add(&local)
        .unwrap_or_else(|_| unreachable!("it resizes itself"));
    client.close().await
}

/// Sends what is due by the schedule, however late: a slow broker is not spared.
async fn send_at_rate(
    client: Client,
    address: String,
    load: Load,
    rate: u32,
    meter: Arc<Meter>,
    epoch: Instant,
) -> Result<(), ClientError> {
    let begun = epoch.elapsed();
    let each = Duration::from_secs(1) / rate;
    let stop = meter.stop.subscribe();
    let mut n_sent: u32 = 0;
    while !*stop.borrow() {
        let mut batch = Vec::new();
        loop {
            let due = begun + each * n_sent;
            if due > epoch.elapsed() {
                break;
            }
            let mut body = vec![b'x'; load.size.max(8) as usize];
            if let Some(stamp) = body.first_chunk_mut() {
                *stamp = (due.as_micros() as u64).to_le_bytes();
            }
            batch.push(Outgoing::bytes(address.as_str(), body));
            n_sent += 1;
        }
        if !batch.is_empty() {
            client.send_batch(batch).await?;
        }
        sleep(PACE).await;
    }
    client.close().await
}
