//! What one sync made durable, handed to the sink.

use std::ops::Range;

use bytes::Bytes;

use crate::{Lsn, RecordRef};

/// What one write (and, where the policy says so, one sync) stored.
#[derive(Debug)]
pub struct Commit<T> {
    /// All its records as they are on disk, padding included. The ring of recent commits shares them.
    pub bytes: Bytes,
    /// The LSN of its first record: of byte 0 of `bytes`.
    pub first: Lsn,
    /// Where the next record could begin.
    pub end: Lsn,
    /// The batches in log order: where each lies in `bytes`, and its producer's own value.
    pub batches: Vec<(Range<usize>, T)>,
}

impl<T> Commit<T> {
    /// The records in a batch's range of `bytes`, in log order (which is the order they were pushed in).
    pub fn records(&self, range: Range<usize>) -> impl Iterator<Item = RecordRef<'_>> + use<'_, T> {
        let mut rest = self
            .bytes
            .get(range)
            .expect("a range of this commit's batches");
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let record = RecordRef::parse(rest).expect("the writer wrote whole records");
            let padded = record.end().get() - record.lsn().get();
            rest = rest
                .get(padded as usize..)
                .expect("the writer wrote whole records");
            Some(record)
        })
    }

    /// Owned bytes for a part of a record of this commit (its envelope or body), without a copy. They keep the whole
    /// commit in memory as long as they live.
    ///
    /// # Panics
    /// If `part` is not a part of `bytes`.
    pub fn share(&self, part: &[u8]) -> Bytes {
        self.bytes.slice_ref(part)
    }
}
