//! What a start finds: which segments there are, where the log ends, and whether that end is a torn tail or corruption.
//!
//! ```text
//! lock ▶ META ▶ headers, none missing ▶ replay: walk to the end ▶ judge it ▶ start: sync, seal, writer
//! ```
//!
//! The newest segment may end anywhere: there a crash came. Every other one must end in the record that ends it,
//! because a segment is created only once the one before is sealed and synced. An end without a seal is sealed at
//! the next start, and a fresh segment begins: nothing is ever appended after bytes that a crash left behind.
//!
//! Always, each with a test of its name:
//! - `a_torn_tail_is_dropped_wherever_it_is_cut`
//! - `every_flipped_byte_is_corruption_or_a_torn_tail`: never a wrong record.
//! - `a_crash_during_recovery_changes_nothing`
//!
//! Not here: the walk itself (walk), the state that replay builds (engine).

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::handle::Shared;
use super::housekeeper::Housekeeper;
use super::meta::Meta;
use super::options::Limits;
use super::segment::{
    Geometry, HEADER_BYTES, SegmentHeader, contiguous_segments, list_files, segment_path,
};
use super::walk::{SegmentWalk, Step, Verdict};
use super::{Commit, Log, LogOptions, writer};
use crate::record::{HEAD_BYTES, Salt, segment_end};
use crate::{Damage, Disk, DiskLock, LogError, Lsn, Offset, QueueId, RecordRef, SegmentNo};

/// A log that was opened, locked and checked, and takes no records yet.
pub struct LogScan {
    pub(crate) disk: Arc<dyn Disk>,
    dir: PathBuf,
    pub(crate) wal: PathBuf,
    pub(crate) options: LogOptions,
    pub(crate) limits: Limits,
    pub(crate) geometry: Geometry,
    pub(crate) node: Uuid,
    pub(crate) segments: BTreeMap<SegmentNo, Salt>,
    lock: Box<dyn DiskLock>,
    end: Option<End>,
}

/// Where the log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TailEnd {
    /// Where the next record could have begun: everything before it was replayed.
    pub end: Lsn,
    /// Records that were visited.
    pub n_records: u64,
    /// What a crash left half-written and is dropped; none: the last thing written is whole.
    pub torn: Option<Torn>,
}

/// The place where a crash cut the log. Nothing from there on was ever acknowledged (under `SyncPolicy::Always`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn {
    /// Which segment.
    pub segment: SegmentNo,
    /// Where in its file.
    pub offset: u64,
    /// What is there.
    pub what: Damage,
}

/// The newest segment's end, as the walk found it.
#[derive(Debug, Clone, Copy)]
struct End {
    segment: SegmentNo,
    place: u64,
    sealed: bool,
}

impl LogScan {
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        mut options: LogOptions,
    ) -> Result<Self, LogError> {
        let (wal, lock_path) = (dir.join("wal"), dir.join("LOCK"));
        disk.create_dir_all(dir)
            .map_err(LogError::io("creating", dir))?;
        let lock = match disk.lock(&lock_path) {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(LogError::Locked { path: lock_path });
            }
            Err(error) => return Err(LogError::io("locking", &lock_path)(error)),
        };
        disk.create_dir_all(&wal)
            .map_err(LogError::io("creating", &wal))?;
        let numbers = contiguous_segments(&list_files(&*disk, &wal)?)?;
        let meta = match Meta::load(&*disk, dir)? {
            Some(meta) => meta,
            None if numbers.is_empty() => {
                options.clone().fit(options.segment_bytes)?;
                Meta::create(&*disk, dir, options.segment_bytes)?
            }
            None => {
                return Err(LogError::Meta {
                    path: dir.join("META"),
                    what: Damage::Missing,
                });
            }
        };
        let limits = options.fit(meta.segment_bytes)?;
        let geometry = Geometry::new(meta.segment_bytes);
        let mut segments = BTreeMap::new();
        for number in numbers {
            let header = SegmentHeader::read(&*disk, &wal, number, meta.node, geometry)?;
            segments.insert(number, header.salt());
        }
        Ok(LogScan {
            disk,
            dir: dir.to_owned(),
            wal,
            options,
            limits,
            geometry,
            node: meta.node,
            segments,
            lock,
            end: None,
        })
    }

    /// This log's node, made with the folder.
    pub fn node(&self) -> Uuid {
        self.node
    }

    /// Bytes of a segment in this folder, whatever the options say: a folder keeps the size it was made with.
    pub fn segment_bytes(&self) -> u64 {
        self.geometry.segment_bytes()
    }

    /// Where the oldest record that is left begins, or will.
    pub fn oldest(&self) -> Lsn {
        self.geometry
            .first(self.segments.keys().next().copied().unwrap_or_default())
    }

    /// Calls `visit` for every record from `from` on, in order, and finds the log's end. `from` is [`LogScan::oldest`],
    /// or a mark of this log that a sync had covered. The segment that holds `from` is read whole, to see that the
    /// log really reaches there.
    ///
    /// # Errors
    /// [`LogError::NoLongerThere`]: `from` is before the oldest segment. [`LogError::Corrupt`]: what was once durable
    /// is wrong or missing. [`LogError::Newer`]; [`LogError::Io`].
    pub fn replay(
        &mut self,
        from: Lsn,
        visit: &mut dyn FnMut(RecordRef<'_>),
    ) -> Result<TailEnd, LogError> {
        let oldest = self.oldest();
        if from < oldest {
            return Err(LogError::NoLongerThere { from, oldest });
        }
        let Some(newest) = self.segments.keys().next_back().copied() else {
            return self.tail_end(from, oldest, 0, None);
        };
        let begin = self.geometry.segment_of(from).min(newest);
        let mut n_records = 0;
        for (number, salt) in self.segments.range(begin..) {
            let mut walk =
                SegmentWalk::open(&*self.disk, &self.wal, *number, *salt, self.geometry)?;
            let (place, bad) = loop {
                match walk.step()? {
                    Step::Record(record) if record.lsn() >= from => {
                        visit(record);
                        n_records += 1;
                    }
                    Step::Record(record) if record.end() > from => {
                        let what = Damage::Inside(record.lsn());
                        return Err(LogError::damage(
                            *number,
                            self.geometry.place_of(from),
                            what,
                        ));
                    }
                    Step::Record(_) => {}
                    Step::Sealed { place } => break (place, None),
                    Step::Bad { place, what } => break (place, Some(what)),
                }
            };
            let torn = match bad {
                Some(what) => judge(&mut walk, *number, newest, place, what)?,
                None => None,
            };
            self.end = Some(End {
                segment: *number,
                place,
                sealed: bad.is_none(),
            });
            if *number == newest {
                // A mark taken after the seal names the first place of a segment that does not exist yet.
                let reached = if bad.is_none() {
                    self.geometry.first(newest.next())
                } else {
                    Lsn::ZERO
                };
                let end = self.geometry.lsn(newest, place);
                return self.tail_end(
                    from,
                    if from == reached { reached } else { end },
                    n_records,
                    torn,
                );
            }
        }
        unreachable!("the newest segment is in the range")
    }

    fn tail_end(
        &self,
        from: Lsn,
        end: Lsn,
        n_records: u64,
        torn: Option<Torn>,
    ) -> Result<TailEnd, LogError> {
        if from > end {
            let (segment, place) = (self.geometry.segment_of(end), self.geometry.place_of(end));
            return Err(LogError::damage(segment, place, Damage::StopsBefore(from)));
        }
        Ok(TailEnd {
            end,
            n_records,
            torn,
        })
    }

    /// Seals what is there and starts the writer. Every record that `replay` showed is durable when this returns.
    ///
    /// `next_offsets` are the queues' next offsets after replay; a queue that is not in it begins at 1. `sink` gets
    /// every commit, in order, in the writer's thread. `on_failure` is called at most once, when the log has failed
    /// for good: from then on every mark stands still and every batch is refused.
    ///
    /// # Errors
    /// [`LogError::Io`]: the old end could not be sealed; after a failed sync only a new process can tell what the disk
    /// has, so end this one. What `replay` gives, if it was not called before.
    pub fn start<T: Send + 'static>(
        mut self,
        next_offsets: HashMap<QueueId, Offset>,
        sink: impl FnMut(Commit<T>) + Send + 'static,
        on_failure: impl FnOnce(Arc<LogError>) + Send + 'static,
    ) -> Result<Log<T>, LogError> {
        let newest = self.segments.keys().next_back().copied();
        if let (Some(newest), None) = (newest, self.end) {
            self.replay(self.geometry.first(newest), &mut |_| {})?;
        }
        // Names that this process sees need not be durable yet: without this, a power cut could later keep the next
        // segment's name and lose this one's, or META's.
        for dir in [&self.dir, &self.wal] {
            self.disk
                .sync_dir(dir)
                .map_err(LogError::io("syncing", dir))?;
        }
        if let Some(end) = self.end {
            self.seal(end)?;
        }
        let housekeeper = Housekeeper::start(&self)?;
        let next = newest.map_or(SegmentNo::ZERO, SegmentNo::next);
        let shared = Arc::new(Shared::new(&self, next, housekeeper));
        let LogScan {
            options,
            node,
            lock,
            ..
        } = self;
        writer::start(
            shared,
            writer::Setup {
                options,
                node,
                next,
                lock,
            },
            next_offsets,
            sink,
            on_failure,
        )
    }

    /// Makes the newest segment durable as it was read, ends it there, and gives back what it will not use.
    fn seal(&self, end: End) -> Result<(), LogError> {
        let path = segment_path(&self.wal, end.segment);
        let file = self
            .disk
            .open(&path)
            .map_err(LogError::io("opening", &path))?;
        // After a crash of the process alone, what was read may have come from memory.
        file.sync_data().map_err(LogError::io("syncing", &path))?;
        if !end.sealed {
            let lsn = self.geometry.lsn(end.segment, end.place);
            let salt = self
                .segments
                .get(&end.segment)
                .expect("the end is in a segment that was walked");
            file.write_at(&segment_end(lsn, lsn, *salt), end.place)
                .map_err(LogError::io("sealing", &path))?;
            file.sync_data().map_err(LogError::io("syncing", &path))?;
        }
        // A broker that crashes often must not fill the disk with segments that hold nothing.
        let used = (end.place + HEAD_BYTES as u64).next_multiple_of(HEADER_BYTES);
        let len = file.len_bytes().map_err(LogError::io("measuring", &path))?;
        if len.saturating_sub(used) >= self.geometry.segment_bytes() / 8 {
            // Not synced: a power cut that undoes it costs space, no more.
            file.set_len(used).map_err(LogError::io("cutting", &path))?;
        }
        Ok(())
    }
}

/// Whether the bad `place` is a torn tail (or nothing at all), which the log may end at.
///
/// # Errors
/// [`LogError::Corrupt`] or [`LogError::Newer`]: it may not.
pub(crate) fn judge(
    walk: &mut SegmentWalk,
    number: SegmentNo,
    newest: SegmentNo,
    place: u64,
    what: Damage,
) -> Result<Option<Torn>, LogError> {
    if what.is_newer() {
        return Err(LogError::damage(number, place, what));
    }
    match walk.judge(place)? {
        Verdict::WasDurable { by } => {
            Err(LogError::damage(number, place, Damage::WasDurable { by }))
        }
        _ if number != newest => Err(LogError::damage(number, place, Damage::Unfinished)),
        Verdict::Torn => Ok(Some(Torn {
            segment: number,
            offset: place,
            what,
        })),
        Verdict::CleanEnd => Ok(None),
    }
}
