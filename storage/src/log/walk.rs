//! Walking a segment record by record, and judging the place where that ends (FORMAT.md §5).
//!
//! A record says what was durable when it was written. So a bad place is a torn tail only if nothing after it in the
//! segment claims that it was synced; otherwise it is corruption, and nobody but an operator may go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::segment::{Geometry, HEADER_BYTES, segment_path};
use crate::record::{ALIGN, HEAD_BYTES, Salt, padded, peek_len, peek_lsn};
use crate::{Damage, Disk, DiskFile, Kind, LogError, Lsn, RecordRef, SegmentNo};

const READ_BYTES: u64 = 1 << 20;

/// A walk through one segment.
pub(crate) struct SegmentWalk {
    number: SegmentNo,
    geometry: Geometry,
    salt: Salt,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Where the next record should begin.
    place: u64,
    window: Vec<u8>,
    window_at: u64,
}

/// What is at the walk's place.
pub(crate) enum Step<'a> {
    /// A record.
    Record(RecordRef<'a>),
    /// The record that ends the segment.
    Sealed {
        /// Where it begins.
        place: u64,
    },
    /// No record.
    Bad {
        /// Where one should begin.
        place: u64,
        /// What is wrong with it.
        what: Damage,
    },
}

/// What a bad place turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing was begun there.
    CleanEnd,
    /// Something was begun there that was never durable.
    Torn,
    /// A record there was durable once, says a later one.
    WasDurable {
        /// That later one.
        by: Lsn,
    },
}

impl SegmentWalk {
    pub(crate) fn open(
        disk: &dyn Disk,
        wal: &Path,
        number: SegmentNo,
        salt: Salt,
        geometry: Geometry,
    ) -> Result<Self, LogError> {
        let path = segment_path(wal, number);
        let file = disk
            .open_read(&path)
            .map_err(LogError::io("opening", &path))?;
        let window = Vec::new();
        Ok(SegmentWalk {
            number,
            geometry,
            salt,
            path,
            file,
            place: HEADER_BYTES,
            window,
            window_at: 0,
        })
    }

    /// Looks at the walk's place, and goes past a record there. Nobody steps on after another answer.
    pub(crate) fn step(&mut self) -> Result<Step<'_>, LogError> {
        let (place, lsn, salt) = (
            self.place,
            self.geometry.lsn(self.number, self.place),
            self.salt,
        );
        let records_end = self.geometry.records_end();
        let len = peek_len(self.window(place, HEAD_BYTES)?).unwrap_or(0);
        if u64::from(len) > self.geometry.record_bytes_max() {
            return Ok(Step::Bad {
                place,
                what: Damage::Length(len),
            });
        }
        let padded_len = padded(len as usize);
        let after = place + padded_len as u64;
        self.place = after;
        let bytes = self.window(place, padded_len)?;
        Ok(match RecordRef::check(bytes, salt, lsn) {
            Err(what) => Step::Bad { place, what },
            Ok(record) if record.kind() == Kind::SegmentEnd => Step::Sealed { place },
            Ok(_) if after > records_end => Step::Bad {
                place,
                what: Damage::Length(len),
            },
            Ok(_) if !is_zero_padded(bytes, len as usize, padded_len) => Step::Bad {
                place,
                what: Damage::Padding,
            },
            Ok(record) => Step::Record(record),
        })
    }

    /// Judges a bad `place` of the newest segment by all that follows in it.
    pub(crate) fn judge(&mut self, place: u64) -> Result<Verdict, LogError> {
        let bad = self.geometry.lsn(self.number, place);
        let begun = peek_lsn(self.window(place, HEAD_BYTES)?) == Some(bad);
        let mut verdict = if begun {
            Verdict::Torn
        } else {
            Verdict::CleanEnd
        };
        let mut at = place + ALIGN as u64;
        while let Some(found) = self.find_record(at)? {
            if found.durable > bad {
                return Ok(Verdict::WasDurable {
                    by: self.geometry.lsn(self.number, found.place),
                });
            }
            verdict = Verdict::Torn;
            at = found.after;
        }
        Ok(verdict)
    }

    /// The first valid record at or after `from`, which need not be where a record begins.
    fn find_record(&mut self, from: u64) -> Result<Option<Found>, LogError> {
        let mut place = from;
        while place + HEAD_BYTES as u64 <= self.geometry.segment_bytes() {
            let lsn = self.geometry.lsn(self.number, place);
            let (salt, limit) = (self.salt, self.geometry.record_bytes_max());
            let head = self.window(place, HEAD_BYTES)?;
            if head.len() < HEAD_BYTES {
                return Ok(None);
            }
            if peek_lsn(head) == Some(lsn) {
                let len = peek_len(head)
                    .filter(|len| u64::from(*len) <= limit)
                    .unwrap_or(0);
                if let Ok(record) = RecordRef::check(self.window(place, len as usize)?, salt, lsn) {
                    let after = place + padded(len as usize) as u64;
                    return Ok(Some(Found {
                        place,
                        after,
                        durable: record.durable(),
                    }));
                }
            }
            place += ALIGN as u64;
        }
        Ok(None)
    }

    /// `len` bytes from `at` on, fewer at the end of the file.
    fn window(&mut self, at: u64, len: usize) -> Result<&[u8], LogError> {
        let held = at
            .checked_sub(self.window_at)
            .is_some_and(|skip| skip + len as u64 <= self.window.len() as u64);
        if !held {
            let want = READ_BYTES
                .max(len as u64)
                .min(self.geometry.segment_bytes().saturating_sub(at));
            self.window.resize(want as usize, 0);
            let n = self
                .file
                .read_at(&mut self.window, at)
                .map_err(LogError::io("reading", &self.path))?;
            self.window.truncate(n);
            self.window_at = at;
        }
        let from = self
            .window
            .get((at - self.window_at) as usize..)
            .unwrap_or_default();
        Ok(from.get(..len).unwrap_or(from))
    }
}

struct Found {
    place: u64,
    after: u64,
    durable: Lsn,
}

fn is_zero_padded(bytes: &[u8], len: usize, padded_len: usize) -> bool {
    bytes
        .get(len..padded_len)
        .is_some_and(|padding| padding.iter().all(|byte| *byte == 0))
}
