//! A log on a simulated disk, and what a test knows about it. The only code here that knows the API.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use restante_storage::sim::SimDisk;
use restante_storage::{
    Commit, Disk, Draft, DraftBatch, Kind, Log, LogError, LogOptions, Lsn, Offset, QueueId, Raw,
    RecordRef, SyncPolicy, TailEnd, UnixMillis,
};

/// The log's folder.
pub(crate) const DIR: &str = "data";
/// The queue that everything here goes to.
pub(crate) const QUEUE: QueueId = QueueId::new(7);
/// Segments that are soon full.
pub(crate) const SEGMENT_BYTES: u64 = 16 << 10;

/// A record as a test remembers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) lsn: Lsn,
    pub(crate) kind: Kind,
    pub(crate) offsets: Vec<Offset>,
    pub(crate) body: Vec<u8>,
    pub(crate) len: u32,
}

impl Kept {
    pub(crate) fn of(record: RecordRef<'_>) -> Self {
        Kept {
            lsn: record.lsn(),
            kind: record.kind(),
            offsets: record.targets().map(|(_, offset)| offset).collect(),
            body: record.body().to_vec(),
            len: record.len_bytes(),
        }
    }
}

/// What came of a batch.
#[derive(Debug)]
pub(crate) enum Outcome {
    Stored(Vec<Kept>),
    /// The log failed, or the disk is full and will stay so.
    Lost,
}

enum Event {
    Stored(u64, Vec<Kept>, (Lsn, Lsn)),
    Failed(Arc<LogError>),
}

/// A running log.
pub(crate) struct World {
    pub(crate) log: Log<u64>,
    events: Receiver<Event>,
    next_batch: u64,
    /// Every failure that was reported.
    pub(crate) failures: Vec<Arc<LogError>>,
    /// From where to where each commit went, and how many batches it had.
    pub(crate) commits: Vec<(Lsn, Lsn, usize)>,
}

/// What a start found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) records: Vec<Kept>,
    pub(crate) oldest: Lsn,
    pub(crate) tail: TailEnd,
}

pub(crate) fn small() -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT_BYTES,
        sync: SyncPolicy::Always,
        commit_bytes_max: 64 << 10,
        tail_bytes: 8 << 10,
        spares: 1,
        batches_max: 64,
        record_bytes_max: 4 << 10,
        in_flight_bytes_max: 1 << 20,
    }
}

/// Starts the log, with everything that it replays from its oldest record.
pub(crate) fn open(disk: &SimDisk) -> Result<(World, Found), LogError> {
    open_with(disk, small())
}

pub(crate) fn open_with(disk: &SimDisk, options: LogOptions) -> Result<(World, Found), LogError> {
    open_on(Arc::new(disk.clone()), options)
}

pub(crate) fn open_on(
    disk: Arc<dyn Disk>,
    options: LogOptions,
) -> Result<(World, Found), LogError> {
    let mut scan = Log::scan(disk, Path::new(DIR), options)?;
    let oldest = scan.oldest();
    let mut records = Vec::new();
    let mut offsets = HashMap::new();
    let tail = scan.replay(oldest, &mut |record| {
        for (queue, offset) in record.targets() {
            offsets.insert(queue, offset.next());
        }
        records.push(Kept::of(record));
    })?;
    let (send, events) = unbounded();
    let log = scan.start(offsets, sink(send.clone()), move |failure| {
        send.send(Event::Failed(failure)).ok();
    })?;
    let world = World {
        log,
        events,
        next_batch: 0,
        failures: Vec::new(),
        commits: Vec::new(),
    };
    Ok((
        world,
        Found {
            records,
            oldest,
            tail,
        },
    ))
}

fn sink(send: Sender<Event>) -> impl FnMut(Commit<u64>) + Send + 'static {
    move |commit| {
        for (range, batch) in &commit.batches {
            let records = commit.records(range.clone()).map(Kept::of).collect();
            // Nobody listens any more once the test is over.
            send.send(Event::Stored(*batch, records, (commit.first, commit.end)))
                .ok();
        }
    }
}

impl World {
    /// Submits records with these bodies as one batch, and waits for what comes of it.
    pub(crate) fn put(&mut self, bodies: &[Vec<u8>]) -> Outcome {
        match self.submit(bodies) {
            Some(batch) => self.wait_for(batch),
            None => Outcome::Lost,
        }
    }

    /// As `put`, for a batch that must be stored.
    pub(crate) fn keep(&mut self, bodies: &[Vec<u8>]) -> Vec<Kept> {
        match self.put(bodies) {
            Outcome::Stored(records) => records,
            Outcome::Lost => panic!("not stored: {:?}", self.log.failure()),
        }
    }

    /// None: refused.
    pub(crate) fn submit(&mut self, bodies: &[Vec<u8>]) -> Option<u64> {
        let mut batch = DraftBatch::new(self.log.limits(), self.next_batch);
        self.next_batch += 1;
        let envelope = Raw(b"envelope");
        for body in bodies {
            let draft = Draft {
                targets: &[QUEUE],
                body,
                ..Draft::new(Kind::Enqueue, UnixMillis::new(1), &envelope)
            };
            batch.push(&draft).unwrap();
        }
        self.log.submit(batch).ok().map(|()| self.next_batch - 1)
    }

    pub(crate) fn wait_for(&mut self, wanted: u64) -> Outcome {
        for _ in 0..patience() {
            match self.events.recv_timeout(Duration::from_millis(1)) {
                Ok(Event::Stored(batch, records, (first, end))) => {
                    match self.commits.last_mut() {
                        Some((last, _, n)) if *last == first => *n += 1,
                        _ => self.commits.push((first, end, 1)),
                    }
                    if batch == wanted {
                        return Outcome::Stored(records);
                    }
                }
                Ok(Event::Failed(failure)) => {
                    self.failures.push(failure);
                    return Outcome::Lost;
                }
                Err(RecvTimeoutError::Timeout) if self.log.is_stalled() => return Outcome::Lost,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Outcome::Lost,
            }
        }
        panic!("batch {wanted} neither stored nor lost");
    }
}

/// How many times 1 ms to wait for something that must happen.
fn patience() -> u32 {
    let seconds = std::env::var("RESTANTE_TEST_PATIENCE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    seconds.unwrap_or(30) * 1000
}

pub(crate) fn wal() -> PathBuf {
    Path::new(DIR).join("wal")
}

pub(crate) fn segment(number: u64) -> PathBuf {
    wal().join(format!("{number:016}.wal"))
}

/// A body of `len` bytes that says who it is.
pub(crate) fn body(name: u64, len: usize) -> Vec<u8> {
    let mut body = name.to_le_bytes().to_vec();
    body.extend((8..len).map(|at| (at as u64 * 31 + name) as u8));
    body
}

/// What `body` was called.
pub(crate) fn name(body: &[u8]) -> u64 {
    u64::from_le_bytes(body[..8].try_into().unwrap())
}
