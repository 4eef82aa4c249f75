//! Reading records back, from the ring of recent commits or from segment files.
//!
//! Every record from the disk is checked against its segment's salt and its LSN, so that a file that was recycled
//! under a read is noticed. What is not there any more because its segment was released is `Gone`; all else that is
//! not there is corruption.
//!
//! Always, each with a test of its name: `what_was_released_is_gone`, `a_rotten_record_is_reported_and_others_are_read`.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::TailCache;
use super::handle::Shared;
use super::segment::segment_path;
use crate::record::{HEAD_BYTES, Salt, peek_len};
use crate::{Damage, DiskFile, LogError, Lsn, ReadError, RecordRef, SegmentNo};

/// One read of `read_many` fetches at most this much.
const READ_BYTES_MAX: u64 = 1 << 20;
/// Records further apart than this are not worth one read.
const GAP_BYTES_MAX: u64 = 64 << 10;
/// First read for a record of unknown length.
const GUESS_BYTES: u64 = 4 << 10;
/// Read behind what a hint says: a message's queue knows the record's length without its other targets, 16 bytes each, and
/// most go to few.
const SLACK_BYTES: u64 = 256;
/// Segment files kept open.
const FILES_MAX: usize = 64;

/// Reads records back. Cheap to clone; reads block the thread for as long as the disk takes. Does not keep the log
/// running.
#[derive(Clone)]
pub struct LogReader {
    pub(crate) shared: Arc<Shared>,
}

/// Segment files that were read from lately, the latest last.
pub(crate) type OpenFiles = VecDeque<Arc<OpenFile>>;

pub(crate) struct OpenFile {
    number: SegmentNo,
    path: PathBuf,
    salt: Salt,
    file: Arc<dyn DiskFile>,
}

impl LogReader {
    /// The whole record at `lsn` if it is still in the ring of recent commits; never touches the disk.
    pub fn cached(&self, lsn: Lsn) -> Option<Bytes> {
        self.with_tail(|tail| tail.get(lsn))
    }

    /// Resolves many LSNs under one lock of the ring. Keep it short: the writer waits for it.
    pub fn with_tail<R>(&self, look: impl FnOnce(&TailCache) -> R) -> R {
        look(&self.shared.tail.read())
    }

    /// The whole record at `lsn`, from the ring or the disk. `len_hint` is its [`crate::RecordRef::len_bytes`] where
    /// known, or a little less, else 0: it saves a second read.
    ///
    /// # Errors
    /// [`ReadError::Gone`]: its segment was released. [`ReadError::Log`]: the disk failed, or no such record is there.
    pub fn read(&self, lsn: Lsn, len_hint: u32) -> Result<Bytes, ReadError> {
        match self.cached(lsn) {
            Some(record) => Ok(record),
            None => self
                .fetch(&[(lsn, len_hint)])
                .pop()
                .unwrap_or(Err(ReadError::Gone(lsn))),
        }
    }

    /// As [`LogReader::read`] for many, given as (LSN, length hint) in ascending order: what lies close together is
    /// fetched with one read of up to 1 MiB, whose memory the records then share. The results are in the same order.
    pub fn read_many(&self, wanted: &[(Lsn, u32)]) -> Vec<Result<Bytes, ReadError>> {
        self.read_upto(wanted, usize::MAX)
    }

    /// As [`LogReader::read_many`], but ends once `bytes_max` or more are read from the disk, as hints may be short: then
    /// results are missing at the end. There is one at least, and at most one read (and one record) is too much.
    pub fn read_upto(
        &self,
        wanted: &[(Lsn, u32)],
        bytes_max: usize,
    ) -> Vec<Result<Bytes, ReadError>> {
        let cached = self.with_tail(|tail| {
            wanted
                .iter()
                .map(|(lsn, _)| tail.get(*lsn))
                .collect::<Vec<_>>()
        });
        let missing: Vec<_> = wanted
            .iter()
            .zip(&cached)
            .filter(|(_, cached)| cached.is_none())
            .map(|(wanted, _)| *wanted)
            .collect();
        let mut fetched = Vec::with_capacity(missing.len());
        let (mut rest, mut n_bytes) = (missing.as_slice(), 0);
        while (fetched.is_empty() || n_bytes < bytes_max)
            && let Some((run, after)) = rest
                .split_at_checked(self.run_len(rest))
                .filter(|(run, _)| !run.is_empty())
        {
            let records = self.fetch(run);
            n_bytes += records.iter().flatten().map(Bytes::len).sum::<usize>();
            fetched.extend(records);
            rest = after;
        }
        let mut fetched = fetched.into_iter();
        cached
            .into_iter()
            .map_while(|cached| cached.map(Ok).or_else(|| fetched.next()))
            .collect()
    }

    /// How many of `wanted` one read fetches.
    fn run_len(&self, wanted: &[(Lsn, u32)]) -> usize {
        let Some((first, _)) = wanted.first() else {
            return 0;
        };
        let segment = self.shared.geometry.segment_of(*first);
        let mut end = *first;
        wanted
            .iter()
            .take_while(|(lsn, hint)| {
                let near = lsn
                    .get()
                    .checked_sub(end.get())
                    .is_some_and(|gap| gap <= GAP_BYTES_MAX);
                end = lsn.advance(guess(*hint)).max(end);
                let fits = end.get() - first.get() <= READ_BYTES_MAX || lsn == first;
                near && fits && self.shared.geometry.segment_of(*lsn) == segment
            })
            .count()
            .max(1)
    }

    /// Fetches `run`, ascending LSNs of one segment, with one read; a record that turns out longer than its hint costs
    /// another.
    fn fetch(&self, run: &[(Lsn, u32)]) -> Vec<Result<Bytes, ReadError>> {
        let (Some((first, _)), Some((last, hint))) = (run.first(), run.last()) else {
            return Vec::new();
        };
        let geometry = self.shared.geometry;
        let begin = geometry.place_of(*first);
        let end = (geometry.place_of(*last) + guess(*hint)).min(geometry.segment_bytes());
        let got = self.open(*first).and_then(|file| {
            let bytes = file.read(begin, end.saturating_sub(begin))?;
            Ok((file, bytes))
        });
        let (file, bytes) = match got {
            Ok(got) => got,
            Err(error) => {
                return run
                    .iter()
                    .map(|(lsn, _)| Err(self.or_gone(*lsn, error.clone())))
                    .collect();
            }
        };
        let cut = |lsn| {
            let skip = (geometry.place_of(lsn) - begin) as usize;
            self.cut(&file, lsn, bytes.slice(skip.min(bytes.len())..))
                .map_err(|error| self.or_gone(lsn, error))
        };
        run.iter().map(|(lsn, _)| cut(*lsn)).collect()
    }

    /// The record that `bytes` begin with, checked.
    fn cut(&self, file: &OpenFile, lsn: Lsn, mut bytes: Bytes) -> Result<Bytes, Arc<LogError>> {
        let (geometry, place) = (self.shared.geometry, self.shared.geometry.place_of(lsn));
        let len = peek_len(&bytes).unwrap_or(0);
        if u64::from(len) > geometry.record_bytes_max() {
            return Err(Arc::new(LogError::damage(
                file.number,
                place,
                Damage::Length(len),
            )));
        }
        if bytes.len() < len as usize {
            bytes = file.read(place, u64::from(len))?;
        }
        match RecordRef::check(&bytes, file.salt, lsn) {
            Ok(_) => Ok(bytes.slice(..len as usize)),
            Err(what) => Err(Arc::new(LogError::damage(file.number, place, what))),
        }
    }

    fn open(&self, lsn: Lsn) -> Result<Arc<OpenFile>, Arc<LogError>> {
        let Shared {
            disk,
            wal,
            geometry,
            segments,
            files,
            ..
        } = &*self.shared;
        let number = geometry.segment_of(lsn);
        if let Some(file) = latest(&mut files.lock(), number) {
            return Ok(file);
        }
        let missing = || Arc::new(LogError::damage(number, 0, Damage::Missing));
        let salt = segments.read().get(&number).copied();
        let salt = salt.ok_or_else(missing)?;
        let path = segment_path(wal, number);
        // Without a lock: the writer waits for it at the end of a segment, and the disk may take its time.
        let file = disk
            .open_read(&path)
            .map_err(LogError::io("opening", &path))?;
        // First the segments, then the files, as in a release: no file of a released segment stays open.
        let segments = segments.read();
        if segments.get(&number) != Some(&salt) {
            return Err(missing());
        }
        let mut files = files.lock();
        if let Some(file) = latest(&mut files, number) {
            return Ok(file);
        }
        let file = Arc::new(OpenFile {
            number,
            path,
            salt,
            file,
        });
        if files.len() >= FILES_MAX {
            files.pop_front();
        }
        files.push_back(file.clone());
        Ok(file)
    }

    /// Whatever went wrong, a record whose segment was released meanwhile is gone, no more.
    fn or_gone(&self, lsn: Lsn, error: Arc<LogError>) -> ReadError {
        let number = self.shared.geometry.segment_of(lsn);
        match self.shared.segments.read().keys().next() {
            Some(oldest) if number < *oldest => ReadError::Gone(lsn),
            _ => ReadError::Log(error),
        }
    }
}

/// The file of that segment, if it is open; it is the one that was read from last then.
fn latest(files: &mut OpenFiles, number: SegmentNo) -> Option<Arc<OpenFile>> {
    let at = files.iter().position(|file| file.number == number)?;
    let file = files.remove(at)?;
    files.push_back(file.clone());
    Some(file)
}

impl OpenFile {
    pub(crate) fn number(&self) -> SegmentNo {
        self.number
    }

    fn read(&self, at: u64, len: u64) -> Result<Bytes, Arc<LogError>> {
        let mut bytes = vec![0; len as usize];
        let n = self
            .file
            .read_at(&mut bytes, at)
            .map_err(LogError::io("reading", &self.path))?;
        bytes.truncate(n);
        Ok(bytes.into())
    }
}

/// How much to fetch for a record with this length hint.
fn guess(hint: u32) -> u64 {
    if hint == 0 {
        GUESS_BYTES
    } else {
        u64::from(hint).max(HEAD_BYTES as u64) + SLACK_BYTES
    }
}
