//! How many waiting messages have their record in which segment of the log: what tells how far the log may be cut.

use std::collections::BTreeMap;

use restante_storage::Lsn;

use super::chunk::{read_varint, varint};

/// Segments in a row of the state store.
const PAGE: u64 = 1024;

/// Waiting messages by the segment that their record is in.
#[derive(Debug)]
pub(super) struct Segments {
    segment_bytes: u64,
    live: BTreeMap<u64, u64>,
    /// Pages that changed since the last checkpoint.
    listed: Vec<u64>,
}

impl Segments {
    pub(super) fn new(segment_bytes: u64) -> Self {
        Segments {
            segment_bytes,
            live: BTreeMap::new(),
            listed: Vec::new(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// The segment that `lsn` lies in.
    pub(super) fn of(&self, lsn: Lsn) -> u64 {
        lsn.get() / self.segment_bytes
    }

    /// Where the segment that `lsn` lies in begins.
    pub(super) fn floor(&self, lsn: Lsn) -> Lsn {
        Lsn::new(self.of(lsn) * self.segment_bytes)
    }

    /// A message of the record at `lsn` waits.
    pub(super) fn add(&mut self, lsn: Lsn) {
        let segment = self.of(lsn);
        *self.live.entry(segment).or_default() += 1;
        self.list(segment);
    }

    /// A message of the record at `lsn` waits no more.
    pub(super) fn remove(&mut self, lsn: Lsn) {
        let segment = self.of(lsn);
        let count = self
            .live
            .get_mut(&segment)
            .expect("a waiting message is counted");
        *count -= 1;
        if *count == 0 {
            self.live.remove(&segment);
        }
        self.list(segment);
    }

    /// Where the oldest segment begins that waiting messages are in.
    pub(super) fn first_live(&self) -> Option<Lsn> {
        let (segment, _) = self.live.first_key_value()?;
        Some(Lsn::new(segment * self.segment_bytes))
    }

    fn list(&mut self, segment: u64) {
        let page = segment / PAGE;
        if self.listed.last() != Some(&page) {
            self.listed.push(page);
        }
    }

    /// Takes the list of pages that changed since the last call, ascending.
    pub(super) fn take_listed(&mut self) -> Vec<u64> {
        let mut pages = std::mem::take(&mut self.listed);
        pages.sort_unstable();
        pages.dedup();
        pages
    }

    /// Every page that is not empty, ascending.
    pub(super) fn pages(&self) -> Vec<u64> {
        let mut pages: Vec<u64> = self.live.keys().map(|segment| segment / PAGE).collect();
        pages.dedup();
        pages
    }

    /// A page's row: segment and count, again and again; none: nothing waits there.
    pub(super) fn row(&self, page: u64) -> Option<Vec<u8>> {
        let mut row = Vec::new();
        for (segment, count) in self.live.range(page * PAGE..(page + 1) * PAGE) {
            varint(&mut row, *segment);
            varint(&mut row, *count);
        }
        (!row.is_empty()).then_some(row)
    }

    /// Takes what [`Segments::row`] gave; none: these bytes are something else.
    pub(super) fn load(&mut self, mut row: &[u8]) -> Option<()> {
        while !row.is_empty() {
            let segment = read_varint(&mut row)?;
            self.live.insert(segment, read_varint(&mut row)?);
        }
        Some(())
    }
}
