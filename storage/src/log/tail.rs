//! The ring of recent commits, so that consumers that keep up never touch the disk.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{Lsn, RecordRef};

/// The ring, locked for reading: resolves many LSNs under one lock ([`crate::LogReader::with_tail`]).
#[derive(Debug, Default)]
pub struct TailCache {
    commits: VecDeque<(Lsn, Lsn, Bytes)>,
    bytes: usize,
    bytes_max: usize,
}

impl TailCache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        TailCache {
            commits: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub(crate) fn push(&mut self, first: Lsn, end: Lsn, bytes: Bytes) {
        self.bytes += bytes.len();
        self.commits.push_back((first, end, bytes));
        while self.bytes > self.bytes_max {
            let Some((_, _, bytes)) = self.commits.pop_front() else {
                break;
            };
            self.bytes -= bytes.len();
        }
    }

    /// The whole record at `lsn`, sharing its commit's memory; none: not in the ring.
    pub fn get(&self, lsn: Lsn) -> Option<Bytes> {
        let place = self
            .commits
            .partition_point(|(first, _, _)| *first <= lsn)
            .checked_sub(1)?;
        let (first, end, bytes) = self.commits.get(place)?;
        if lsn >= *end {
            return None;
        }
        let from = bytes.get((lsn.get() - first.get()) as usize..)?;
        let record = RecordRef::parse(from)
            .ok()
            .filter(|record| record.lsn() == lsn)?;
        Some(bytes.slice_ref(from.get(..record.len_bytes() as usize)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Salt, segment_end};

    #[test]
    fn the_ring_keeps_the_latest_within_its_bytes() {
        let mut tail = TailCache::new(100);
        for at in [48, 96, 144, 1000] {
            let bytes = Bytes::copy_from_slice(&segment_end(Lsn::new(at), Lsn::ZERO, Salt::new(0)));
            tail.push(Lsn::new(at), Lsn::new(at + 48), bytes);
        }
        for (lsn, there) in [
            (48, false),
            (96, false),
            (144, true),
            (152, false),
            (192, false),
            (1000, true),
            (1048, false),
        ] {
            let found = tail.get(Lsn::new(lsn));
            assert_eq!(found.is_some(), there, "{lsn}");
            assert!(found.is_none_or(|bytes| bytes.len() == 48));
        }
    }
}
