//! Writing a record's bytes: what a producer encodes, and what the log's writer stamps into the holes.

use bytes::{BufMut, Bytes, BytesMut};
use crc32fast::Hasher;

use super::{
    ALIGN, CRC_AT, DUE, DURABLE_AT, ENVELOPE_LEN_AT, EXPIRES, FLAGS_AT, HEAD_BYTES, Kind, LSN_AT,
    N_TARGETS_AT, ORIGIN, SOURCE, Source, Stamp, padded, u32_le_at,
};
use crate::{Draft, Lsn, Offset, Origin, QueueId};

/// Where what the checksum covers begins, after the salt.
const COVERED_AT: usize = LSN_AT;

/// A segment's salt, as the checksum's state after it (FORMAT.md §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Salt {
    state: u32,
}

impl Salt {
    pub(crate) fn new(salt: u64) -> Self {
        Salt {
            state: crc32fast::hash(&salt.to_le_bytes()),
        }
    }

    pub(crate) fn checksum(self, record: &[u8]) -> u32 {
        let mut hasher = Hasher::new_with_initial(self.state);
        hasher.update(record.get(COVERED_AT..).unwrap_or_default());
        hasher.finalize()
    }
}

/// Appends `draft` to `into`, padded, with holes for the writer. Gives its length without padding.
pub(crate) fn encode(draft: &Draft<'_>, into: &mut BytesMut) -> usize {
    let start = into.len();
    let stamp = if draft.targets.is_empty() {
        0
    } else {
        draft.stamp as u32
    };
    let flags = flag(draft.expires, EXPIRES)
        | flag(draft.due, DUE)
        | flag(draft.origin, ORIGIN)
        | flag(draft.source, SOURCE);
    into.reserve(HEAD_BYTES + 48 + draft.targets.len() * 16 + draft.body.len() + ALIGN);
    into.put_u32_le(0);
    into.put_u32_le(stamp);
    into.put_u64_le(0);
    into.put_u64_le(0);
    into.put_u64_le(draft.time.get());
    into.put_u8(draft.kind.number());
    into.put_u8(flags);
    into.put_u8(draft.priority);
    into.put_u8(0);
    into.put_u16_le(draft.targets.len() as u16);
    into.put_u16_le(0);
    into.put_u64_le(0);
    for millis in [draft.expires, draft.due].into_iter().flatten() {
        into.put_u64_le(millis.get());
    }
    if let Some(Origin { session, seq }) = draft.origin {
        into.put_u64_le(session.get());
        into.put_u64_le(seq.get());
    }
    if let Some(Source { queue, offset }) = draft.source {
        into.put_u64_le(queue.get());
        into.put_u64_le(offset.get());
    }
    for queue in draft.targets {
        into.put_u64_le(queue.get());
        into.put_u64_le(0);
    }
    let envelope_start = into.len();
    draft.envelope.encode_into(into);
    let envelope_len = into.len() - envelope_start;
    into.put_slice(draft.body);
    let len = into.len() - start;
    into.put_bytes(0, padded(len) - len);
    put_at(into, start, (len as u32).to_le_bytes());
    put_at(
        into,
        start + ENVELOPE_LEN_AT,
        (envelope_len as u32).to_le_bytes(),
    );
    len
}

/// A record that never goes to a log: for messages that live in memory only. It has LSN 0 and no checksum.
pub fn encode_detached(draft: &Draft<'_>) -> Bytes {
    let mut bytes = BytesMut::new();
    encode(draft, &mut bytes);
    bytes.freeze()
}

/// What the writer knows and a producer does not.
pub(crate) struct Stamps<'a, F> {
    pub(crate) lsn: Lsn,
    pub(crate) durable: Lsn,
    pub(crate) salt: Salt,
    /// The offset for a target of a record with that stamp.
    pub(crate) offset: &'a mut F,
}

/// Fills the holes of the encoded `record` (its exact bytes) and seals it with its checksum.
pub(crate) fn stamp<F: FnMut(QueueId, Stamp) -> Offset>(record: &mut [u8], stamps: Stamps<'_, F>) {
    if let Some(mode) = Stamp::from_number(u32_le_at(record, CRC_AT)) {
        for target in targets_mut(record) {
            let queue = QueueId::new(u128::from_le_bytes(*target) as u64);
            let offset = (stamps.offset)(queue, mode);
            *target = (u128::from(queue.get()) | (u128::from(offset.get()) << 64)).to_le_bytes();
        }
    }
    put_at(record, LSN_AT, stamps.lsn.get().to_le_bytes());
    put_at(record, DURABLE_AT, stamps.durable.get().to_le_bytes());
    let crc = stamps.salt.checksum(record);
    put_at(record, CRC_AT, crc.to_le_bytes());
}

/// The record that ends a segment, whole.
pub(crate) fn segment_end(lsn: Lsn, durable: Lsn, salt: Salt) -> [u8; HEAD_BYTES] {
    let mut record = [0; HEAD_BYTES];
    put_at(&mut record, 0, (HEAD_BYTES as u32).to_le_bytes());
    record[FLAGS_AT - 1] = Kind::SegmentEnd.number();
    stamp(
        &mut record,
        Stamps {
            lsn,
            durable,
            salt,
            offset: &mut |_, _| Offset::ZERO,
        },
    );
    record
}

fn targets_mut(record: &mut [u8]) -> &mut [[u8; 16]] {
    let flags = record.get(FLAGS_AT).copied().unwrap_or(0);
    let n_targets = u32_le_at(record, N_TARGETS_AT) as usize & 0xffff;
    let sections =
        8 * (flags & (EXPIRES | DUE)).count_ones() + 16 * (flags & (ORIGIN | SOURCE)).count_ones();
    let start = HEAD_BYTES + sections as usize;
    let targets = record
        .get_mut(start..start + n_targets * 16)
        .expect("an encoded record holds its targets");
    targets.as_chunks_mut().0
}

fn flag<T>(section: Option<T>, flag: u8) -> u8 {
    if section.is_some() { flag } else { 0 }
}

fn put_at<const N: usize>(record: &mut [u8], at: usize, bytes: [u8; N]) {
    *record
        .get_mut(at..)
        .and_then(<[u8]>::first_chunk_mut)
        .expect("a record has its whole head") = bytes;
}
