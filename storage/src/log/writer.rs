//! Group commit: the one thread that gives records their places and makes them durable.
//!
//! ```text
//! first batch ▶ drain what waits ▶ copy, stamp ▶ one write ▶ one fdatasync ▶ marks ▶ ring ▶ sink ▶ room given back
//! ```
//!
//! A batch lies in one commit and one segment. When the next one does not fit, the segment is ended (a record says
//! so, synced) before its successor is created, and the successor's header and name are durable before its first record.
//!
//! Always, each with a test of its name:
//! - `a_failed_sync_is_final`: no mark moves after one; every later batch is refused; nothing is tried again.
//! - `a_batch_is_never_split`: over two commits or two segments.
//! - `what_the_writer_never_took_is_dropped_with_its_companion`: whoever waits for one hears of the end.
//!
//! Not here: making spares (housekeeper), waiting for room (permit).

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::ending::Ending;
use super::handle::{Message, Shared};
use super::segment::{HEADER_BYTES, SegmentHeader, segment_path};
use super::{Commit, Log, LogOptions, Permit, SyncPolicy};
use crate::record::{Salt, Stamp, Stamps, padded, peek_len, segment_end, stamp};
use crate::{DiskFile, DiskLock, DraftBatch, LogError, Lsn, Offset, QueueId, SegmentNo};

/// What the writer needs beside what it shares.
pub(crate) struct Setup {
    pub(crate) options: LogOptions,
    pub(crate) node: Uuid,
    pub(crate) next: SegmentNo,
    pub(crate) lock: Box<dyn DiskLock>,
}

/// Starts the thread.
pub(crate) fn start<T: Send + 'static>(
    shared: Arc<Shared>,
    setup: Setup,
    next_offsets: HashMap<QueueId, Offset>,
    sink: impl FnMut(Commit<T>) + Send + 'static,
    on_failure: impl FnOnce(Arc<LogError>) + Send + 'static,
) -> Result<Log<T>, LogError> {
    let (batches, waiting) = crossbeam_channel::bounded(setup.options.batches_max);
    let Setup {
        options,
        node,
        next,
        lock,
    } = setup;
    let ending = Ending {
        shared: shared.clone(),
        lock: Some(lock),
        on_failure: Some(on_failure),
        result: None,
    };
    let writer = Writer {
        shared: shared.clone(),
        waiting,
        sink,
        offsets: next_offsets.into_iter().collect(),
        segment: None,
        number: next,
        place: HEADER_BYTES,
        last_sync: Instant::now(),
        closing: false,
        options,
        node,
    };
    let thread = thread::Builder::new()
        .name("log-writer".into())
        .spawn(move || ending.after(|| writer.run()))
        .map_err(LogError::io("starting a thread for", &shared.wal))?;
    shared.ended.attach(thread);
    Ok(Log::new(shared, batches))
}

struct Writer<T, S> {
    shared: Arc<Shared>,
    waiting: Receiver<Message<T>>,
    sink: S,
    /// Each queue's next offset.
    offsets: FxHashMap<QueueId, Offset>,
    /// The file of segment `number`; none: it is not created yet.
    segment: Option<Segment>,
    number: SegmentNo,
    /// Where in it the next record begins.
    place: u64,
    last_sync: Instant,
    /// Nothing more is taken from the channel.
    closing: bool,
    options: LogOptions,
    node: Uuid,
}

struct Segment {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    salt: Salt,
}

impl<T, S: FnMut(Commit<T>)> Writer<T, S> {
    fn run(mut self) -> Result<(), LogError> {
        let mut carried = None;
        loop {
            let next = match carried.take() {
                Some(batch) => Some(batch),
                None => self.next_batch()?,
            };
            let Some(first) = next else { break };
            if self.place + first.len_bytes() as u64 > self.shared.geometry.records_end() {
                self.end_segment()?;
            }
            let mut batches = vec![first];
            carried = self.gather(&mut batches);
            self.commit(batches)?;
        }
        self.end_segment()
    }

    /// Waits for a batch, and syncs meanwhile what an interval policy left unsynced. None: the log is being closed.
    fn next_batch(&mut self) -> Result<Option<DraftBatch<T>>, LogError> {
        loop {
            if self.closing {
                return Ok(None);
            }
            let message = match self.until_sync() {
                Some(rest) => match self.waiting.recv_timeout(rest) {
                    Err(RecvTimeoutError::Timeout) => {
                        self.sync()?;
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => None,
                    Ok(message) => Some(message),
                },
                None => self.waiting.recv().ok(),
            };
            match message {
                Some(Message::Batch(batch)) => return Ok(Some(batch)),
                Some(Message::Close) | None => self.closing = true,
            }
        }
    }

    /// Takes what waits, up to a commit's limit and the segment's end. Gives back the batch that did not fit.
    fn gather(&mut self, batches: &mut Vec<DraftBatch<T>>) -> Option<DraftBatch<T>> {
        let room = self.shared.geometry.records_end() - self.place;
        let mut total: usize = batches.iter().map(DraftBatch::len_bytes).sum();
        while total < self.options.commit_bytes_max && !self.closing {
            match self.waiting.try_recv() {
                Ok(Message::Batch(batch)) if (total + batch.len_bytes()) as u64 > room => {
                    return Some(batch);
                }
                Ok(Message::Batch(batch)) => {
                    total += batch.len_bytes();
                    batches.push(batch);
                }
                Ok(Message::Close) => self.closing = true,
                Err(_empty_or_gone) => break,
            }
        }
        None
    }

    fn commit(&mut self, batches: Vec<DraftBatch<T>>) -> Result<(), LogError> {
        let n_batches = batches.len();
        let Joined {
            mut bytes,
            batches,
            room,
        } = join(batches);
        if !bytes.is_empty() && self.segment.is_none() {
            self.segment = Some(self.create_segment(n_batches)?);
        }
        let first = self.shared.geometry.lsn(self.number, self.place);
        let end = first.advance(bytes.len() as u64);
        if !bytes.is_empty() {
            self.store(&mut bytes, first, end)?;
        }
        let bytes = bytes.freeze();
        if !bytes.is_empty() {
            self.shared.tail.write().push(first, end, bytes.clone());
        }
        (self.sink)(Commit {
            bytes,
            first,
            end,
            batches,
        });
        drop(room);
        self.shared.housekeeper.wake();
        Ok(())
    }

    /// Stamps and writes a commit's bytes, and syncs them where the policy says so.
    fn store(&mut self, bytes: &mut BytesMut, first: Lsn, end: Lsn) -> Result<(), LogError> {
        let segment = self
            .segment
            .as_ref()
            .expect("a commit creates its segment first");
        let marks = &self.shared.marks;
        stamp_all(
            bytes,
            first,
            marks.durable(),
            segment.salt,
            &mut self.offsets,
        );
        marks.set_appended(end);
        segment
            .file
            .write_at(bytes, self.place)
            .map_err(LogError::poisoned("writing", &segment.path))?;
        marks.set_written(end);
        self.place += bytes.len() as u64;
        match self.options.sync {
            SyncPolicy::Interval(interval) if self.last_sync.elapsed() < interval => Ok(()),
            SyncPolicy::Always | SyncPolicy::Interval(_) => self.sync(),
            SyncPolicy::Never => Ok(()),
        }
    }

    /// Moves the durable mark to all that is written.
    fn sync(&mut self) -> Result<(), LogError> {
        let marks = &self.shared.marks;
        if let Some(segment) = &self.segment {
            segment
                .file
                .sync_data()
                .map_err(LogError::poisoned("syncing", &segment.path))?;
            marks.set_durable(marks.get().written);
        }
        if let SyncPolicy::Interval(_) = self.options.sync {
            self.last_sync = Instant::now();
        }
        Ok(())
    }

    /// How long unsynced commits may still wait. None: there are none, or the policy has no such time.
    fn until_sync(&self) -> Option<Duration> {
        let marks = self.shared.marks.get();
        match self.options.sync {
            SyncPolicy::Interval(interval) if marks.durable < marks.written => {
                Some(interval.saturating_sub(self.last_sync.elapsed()))
            }
            _ => None,
        }
    }

    /// Ends the segment durably, so that its successor may be created.
    fn end_segment(&mut self) -> Result<(), LogError> {
        if self.shared.marks.durable() < self.shared.marks.get().written {
            self.sync()?;
        }
        let Some(Segment { file, path, salt }) = self.segment.take() else {
            return Ok(());
        };
        // Says that all before it is durable: after a clean stop, damage even in the last commit is noticed.
        let lsn = self.shared.geometry.lsn(self.number, self.place);
        let end = segment_end(lsn, self.shared.marks.durable(), salt);
        file.write_at(&end, self.place)
            .map_err(LogError::poisoned("sealing", &path))?;
        file.sync_data()
            .map_err(LogError::poisoned("syncing", &path))?;
        self.number = self.number.next();
        self.place = HEADER_BYTES;
        Ok(())
    }

    /// Makes a spare the segment `number`: header and name are durable when this returns.
    fn create_segment(&self, waiting_batches: usize) -> Result<Segment, LogError> {
        let Shared {
            disk,
            wal,
            housekeeper,
            geometry,
            ..
        } = &*self.shared;
        let Some(spare) = housekeeper.take()? else {
            return Err(LogError::ClosedWhileFull {
                batches: waiting_batches,
            });
        };
        let header = SegmentHeader::fresh(self.number, self.node, *geometry);
        let path = segment_path(wal, self.number);
        let file = disk
            .open(&spare)
            .map_err(LogError::poisoned("opening", &spare))?;
        file.write_at(&header.encode(), 0)
            .map_err(LogError::poisoned("writing", &spare))?;
        file.sync_data()
            .map_err(LogError::poisoned("syncing", &spare))?;
        disk.rename(&spare, &path)
            .map_err(LogError::poisoned("renaming", &spare))?;
        disk.sync_dir(wal)
            .map_err(LogError::poisoned("syncing", wal))?;
        let salt = header.salt();
        self.shared.segments.write().insert(self.number, salt);
        Ok(Segment { file, path, salt })
    }
}

impl<T, S> Drop for Writer<T, S> {
    /// The channel keeps what is in it for as long as anybody may send, though nobody receives: so it is emptied, and nobody
    /// may send any more once it is.
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        loop {
            while self.waiting.try_recv().is_ok() {}
            // Whoever began to send before that is let finish: with room in the channel it does not wait.
            if self.shared.submitting.load(Ordering::SeqCst) == 0 {
                break;
            }
            thread::yield_now();
        }
        while self.waiting.try_recv().is_ok() {}
    }
}

/// Batches in one buffer.
struct Joined<T> {
    bytes: BytesMut,
    /// Where each lies in it.
    batches: Vec<(Range<usize>, T)>,
    /// The room that they hold together.
    room: Option<Permit>,
}

fn join<T>(batches: Vec<DraftBatch<T>>) -> Joined<T> {
    let total: usize = batches.iter().map(DraftBatch::len_bytes).sum();
    let alone = batches.len() == 1;
    let mut bytes = BytesMut::new();
    let mut ranges = Vec::with_capacity(batches.len());
    let mut room: Option<Permit> = None;
    for DraftBatch {
        bytes: part,
        companion,
        permit,
        ..
    } in batches
    {
        let start = bytes.len();
        // A lone batch is not copied, unless the ring would then hold much memory for few bytes.
        if alone && part.capacity() <= 2 * part.len() {
            bytes = part;
        } else {
            bytes.reserve(total - start);
            bytes.extend_from_slice(&part);
        }
        ranges.push((start..bytes.len(), companion));
        room = match (room, permit) {
            (Some(mut room), Some(permit)) => {
                room.merge(permit);
                Some(room)
            }
            (room, permit) => room.or(permit),
        };
    }
    Joined {
        bytes,
        batches: ranges,
        room,
    }
}

fn stamp_all(
    bytes: &mut [u8],
    first: Lsn,
    durable: Lsn,
    salt: Salt,
    offsets: &mut FxHashMap<QueueId, Offset>,
) {
    let mut give = |queue, mode| give_offset(offsets, queue, mode);
    let (mut rest, mut lsn) = (bytes, first);
    while let Some(len) = peek_len(rest) {
        let (record, after) = rest.split_at_mut(padded(len as usize));
        let exact = record
            .get_mut(..len as usize)
            .expect("padding only lengthens");
        stamp(
            exact,
            Stamps {
                lsn,
                durable,
                salt,
                offset: &mut give,
            },
        );
        lsn = lsn.advance(record.len() as u64);
        rest = after;
    }
}

/// The offset that a target gets in a record of that stamp, by each queue's next one.
pub(crate) fn give_offset(
    offsets: &mut FxHashMap<QueueId, Offset>,
    queue: QueueId,
    mode: Stamp,
) -> Offset {
    let first = Offset::new(1);
    match mode {
        Stamp::Take => {
            let next = offsets.entry(queue).or_insert(first);
            std::mem::replace(next, next.next())
        }
        Stamp::Floor => offsets.get(&queue).copied().unwrap_or(first),
        Stamp::Forget => offsets.remove(&queue).unwrap_or(first),
    }
}
