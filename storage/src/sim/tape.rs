//! The order that a log gives, without a log: for tests of what is folded from one.
//!
//! ```text
//! Draft ─append▶ encoded, stamped as the writer does, placed in segments ─▶ records(), cut_before()
//! ```
//!
//! Not here: files, threads, syncs, checksums over a disk (those tests run on [`super::SimDisk`]).

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use rustc_hash::FxHashMap;

use crate::log::segment::Geometry;
use crate::log::writer::give_offset;
use crate::record::{self, Salt, Stamps};
use crate::{Draft, Lsn, Offset, QueueId, RecordRef, SegmentNo};

/// Records in a log's order, in memory.
#[derive(Debug, Clone)]
pub struct Tape {
    geometry: Geometry,
    next: Lsn,
    offsets: FxHashMap<QueueId, Offset>,
    records: BTreeMap<Lsn, Bytes>,
}

impl Tape {
    /// An empty one, cut into segments of that size.
    pub fn new(segment_bytes: u64) -> Self {
        let geometry = Geometry::new(segment_bytes);
        Tape {
            geometry,
            next: geometry.first(SegmentNo::ZERO),
            offsets: FxHashMap::default(),
            records: BTreeMap::new(),
        }
    }

    /// Appends a record; gives its LSN.
    ///
    /// # Panics
    /// If it is longer than a segment holds.
    pub fn append(&mut self, draft: &Draft<'_>) -> Lsn {
        let mut bytes = BytesMut::new();
        let len = record::encode(draft, &mut bytes);
        let padded = bytes.len() as u64;
        if self.geometry.place_of(self.next) + padded > self.geometry.records_end() {
            let segment = self.geometry.segment_of(self.next);
            self.next = self.geometry.first(segment.next());
        }
        let place = self.geometry.place_of(self.next);
        assert!(
            place + padded <= self.geometry.records_end(),
            "a record of {len} bytes is longer than a segment"
        );
        let lsn = self.next;
        self.next = lsn.advance(padded);
        let offsets = &mut self.offsets;
        bytes.truncate(len);
        record::stamp(
            &mut bytes,
            Stamps {
                lsn,
                durable: lsn,
                salt: Salt::new(0),
                offset: &mut |queue, mode| give_offset(offsets, queue, mode),
            },
        );
        self.records.insert(lsn, bytes.freeze());
        lsn
    }

    /// The records from `from` on, in order.
    ///
    /// # Panics
    /// Never: what was encoded here is read back.
    pub fn records(&self, from: Lsn) -> impl Iterator<Item = RecordRef<'_>> {
        self.records
            .range(from..)
            .map(|(_, bytes)| RecordRef::parse(bytes).expect("an encoded record"))
    }

    /// Lets go of every segment that lies wholly before `upto`, as a log does.
    pub fn cut_before(&mut self, upto: Lsn) {
        let first = self.geometry.first(self.geometry.segment_of(upto));
        self.records = self.records.split_off(&first);
    }

    /// Where the oldest record is that is left; none: there is none.
    pub fn oldest(&self) -> Option<Lsn> {
        self.records.keys().next().copied()
    }

    /// Forgets the offsets given so far for those that a fold found, as a log does that starts again.
    pub fn restart(&mut self, next_offsets: impl Iterator<Item = (QueueId, Offset)>) {
        self.offsets = next_offsets.collect();
    }

    /// Where the next record will begin, unless that needs a new segment.
    pub fn end(&self) -> Lsn {
        self.next
    }
}
