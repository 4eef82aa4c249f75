//! A record's bytes: the fixed head, its sections, and a view that borrows them (FORMAT.md §3).
//!
//! ```text
//! head 48 │ expires? │ due? │ origin? │ source? │ targets × 16 │ envelope │ body │ zeros to the next 8
//! ```
//!
//! A producer encodes everything except what only the log's writer knows (`lsn`, `durable_lsn`, the targets' offsets,
//! the checksum); the writer stamps those in place. Until then the checksum's place says how to stamp.
//!
//! Always, each with a test of its name:
//! - `what_is_encoded_is_read_back`: for any draft.
//! - `no_bytes_make_the_parser_panic`: nor allocate.
//!
//! Not here: what a kind means (engine), the protobuf inside (payload).

use bytes::Buf;

use crate::{Damage, Lsn, Offset, Origin, QueueId, Seq, SessionNo, UnixMillis};

mod encode;
#[cfg(test)]
mod tests;

pub use encode::encode_detached;
pub(crate) use encode::{Salt, Stamps, encode, segment_end, stamp};

/// Bytes of the fixed head.
pub(crate) const HEAD_BYTES: usize = 48;
/// Records begin at multiples of this.
pub(crate) const ALIGN: usize = 8;

const CRC_AT: usize = 4;
const LSN_AT: usize = 8;
const DURABLE_AT: usize = 16;
const FLAGS_AT: usize = 33;
const N_TARGETS_AT: usize = 36;
const ENVELOPE_LEN_AT: usize = 40;

const EXPIRES: u8 = 1;
const DUE: u8 = 2;
const ORIGIN: u8 = 4;
const SOURCE: u8 = 8;
const KNOWN_FLAGS: u8 = EXPIRES | DUE | ORIGIN | SOURCE;

/// What sort of record it is; the numbers are on disk for ever (FORMAT.md §4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A message for its target queues.
    Enqueue = 1,
    /// What became of deliveries.
    Settle = 2,
    /// A queue, whole.
    DefineQueue = 3,
    /// A queue goes.
    DeleteQueue = 4,
    /// A filter is bound to a queue.
    Bind = 5,
    /// A filter is no longer bound to a queue.
    Unbind = 6,
    /// A durable session, whole.
    DefineSession = 7,
    /// A durable session ends.
    EndSession = 8,
    /// A durable session's consumer begins.
    Consume = 9,
    /// A durable session's consumer ends.
    Cancel = 10,
    /// A durable session's frame was used up without another record.
    Advance = 11,
    /// What administrators have set changes.
    Config = 12,
    /// A durable session's subscription begins, changes or ends.
    Subscribe = 13,
    /// A message as `Enqueue` has it that is also kept at its address, in place of the one before.
    Retain = 14,
    /// Messages that are kept at their addresses, for a session's own queue.
    Recall = 15,
    /// The rest of this segment is unused. Written by the log itself, never seen by a visitor or a sink.
    SegmentEnd = 255,
}

impl Kind {
    /// From its number on disk; none: unknown to this version.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Kind::Enqueue,
            2 => Kind::Settle,
            3 => Kind::DefineQueue,
            4 => Kind::DeleteQueue,
            5 => Kind::Bind,
            6 => Kind::Unbind,
            7 => Kind::DefineSession,
            8 => Kind::EndSession,
            9 => Kind::Consume,
            10 => Kind::Cancel,
            11 => Kind::Advance,
            12 => Kind::Config,
            13 => Kind::Subscribe,
            14 => Kind::Retain,
            15 => Kind::Recall,
            255 => Kind::SegmentEnd,
            _ => return None,
        })
    }

    /// Its number on disk.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

/// What the log's writer does with a record's targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Stamp {
    /// Gives each target its queue's next offset and counts on (`Enqueue`, `Retain`, `Recall`).
    Take = 1,
    /// Writes each queue's next offset and does not count on (`DefineQueue` written again, so that numbers are never
    /// reused).
    Floor = 2,
    /// As `Floor`, and forgets the queue, so that deleted queues cost no memory (`DeleteQueue`).
    Forget = 3,
}

impl Stamp {
    const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Stamp::Take,
            2 => Stamp::Floor,
            3 => Stamp::Forget,
            _ => return None,
        })
    }
}

/// What a record takes the place of: a message that goes from its queue to the dead-letter address, or a session's will.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// The queue that held it; for a will, its session's number.
    pub queue: QueueId,
    /// Its offset there; for a will, its id with the highest bit set.
    pub offset: Offset,
}

/// Offsets and LSNs never get there.
const WILL: u64 = 1 << 63;

impl Source {
    /// The will of that session with that id, the LSN of the record that it came with.
    pub fn of_will(session: SessionNo, id: Lsn) -> Source {
        Source {
            queue: QueueId::new(session.get()),
            offset: Offset::new(id.get() | WILL),
        }
    }

    /// Whose will it is, and which, if it is one.
    pub fn will(self) -> Option<(SessionNo, Lsn)> {
        let id = self.offset.get();
        let whose = SessionNo::new(self.queue.get());
        (id & WILL > 0).then(|| (whose, Lsn::new(id & !WILL)))
    }
}

/// A record, read in place: nothing copied, no protobuf decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    lsn: Lsn,
    durable: Lsn,
    time: UnixMillis,
    kind: Kind,
    priority: u8,
    len: u32,
    expires: Option<UnixMillis>,
    due: Option<UnixMillis>,
    origin: Option<Origin>,
    source: Option<Source>,
    targets: &'a [[u8; 16]],
    envelope: &'a [u8],
    body: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// The record that `bytes` begin with; more may follow it. The checksum is not looked at: for bytes that came
    /// from a [`crate::Commit`] or a [`crate::LogReader`], which have looked.
    ///
    /// # Errors
    /// [`Damage`]: `bytes` do not begin with a record that this version knows.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Damage> {
        let Some(mut head) = bytes.get(..HEAD_BYTES) else {
            return Err(Damage::Length(0));
        };
        let len = head.get_u32_le();
        head.advance(4);
        let lsn = Lsn::new(head.get_u64_le());
        let durable = Lsn::new(head.get_u64_le());
        let time = UnixMillis::new(head.get_u64_le());
        let kind = head.get_u8();
        let flags = head.get_u8();
        let priority = head.get_u8();
        let reserved = u32::from(head.get_u8());
        let n_targets = usize::from(head.get_u16_le());
        let reserved = reserved | u32::from(head.get_u16_le());
        let envelope_len = head.get_u32_le() as usize;
        let reserved = reserved | head.get_u32_le();

        let kind = Kind::from_number(kind).ok_or(Damage::Kind(kind))?;
        let unknown = u32::from(flags & !KNOWN_FLAGS) | reserved;
        if unknown != 0 {
            return Err(Damage::Flags(unknown));
        }
        let mut rest = bytes
            .get(HEAD_BYTES..len as usize)
            .ok_or(Damage::Length(len))?;
        let expires = section(flags, EXPIRES, &mut rest, u64_le)?.map(UnixMillis::new);
        let due = section(flags, DUE, &mut rest, u64_le)?.map(UnixMillis::new);
        let origin = section(flags, ORIGIN, &mut rest, two_u64_le)?.map(|(session, seq)| Origin {
            session: SessionNo::new(session),
            seq: Seq::new(seq),
        });
        let source = section(flags, SOURCE, &mut rest, two_u64_le)?.map(|(queue, offset)| Source {
            queue: QueueId::new(queue),
            offset: Offset::new(offset),
        });
        let (targets, rest) = rest.split_at_checked(n_targets * 16).ok_or(Damage::Shape)?;
        let (targets, _) = targets.as_chunks();
        let (envelope, body) = rest.split_at_checked(envelope_len).ok_or(Damage::Shape)?;
        Ok(RecordRef {
            lsn,
            durable,
            time,
            kind,
            priority,
            len,
            expires,
            due,
            origin,
            source,
            targets,
            envelope,
            body,
        })
    }

    /// As [`RecordRef::parse`], for bytes from a disk: the record must be the one of `lsn`, with the right checksum.
    pub(crate) fn check(bytes: &'a [u8], salt: Salt, lsn: Lsn) -> Result<Self, Damage> {
        let len = peek_len(bytes).unwrap_or(0);
        let Some(record) = bytes
            .get(..len as usize)
            .filter(|record| record.len() >= HEAD_BYTES)
        else {
            return Err(Damage::Length(len));
        };
        let found = Lsn::new(u64_le_at(record, LSN_AT));
        if found != lsn {
            return Err(Damage::Lsn(found));
        }
        if u32_le_at(record, CRC_AT) != salt.checksum(record) {
            return Err(Damage::Checksum);
        }
        Self::parse(record)
    }

    /// Its position in the log: its order and its address.
    pub const fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The end of what had certainly been synced when it was written.
    pub const fn durable(&self) -> Lsn {
        self.durable
    }

    /// When the broker took it.
    pub const fn time(&self) -> UnixMillis {
        self.time
    }

    /// What sort of record it is.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The message's priority; 0 where there is none.
    pub const fn priority(&self) -> u8 {
        self.priority
    }

    /// When it is worthless; none: never.
    pub const fn expires(&self) -> Option<UnixMillis> {
        self.expires
    }

    /// Not to be delivered before; none: at once.
    pub const fn due(&self) -> Option<UnixMillis> {
        self.due
    }

    /// The durable session's frame that caused it.
    pub const fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// The message whose place it takes.
    pub const fn source(&self) -> Option<Source> {
        self.source
    }

    /// Queues and the offsets that the writer stamped, in the producer's order.
    pub fn targets(&self) -> impl ExactSizeIterator<Item = (QueueId, Offset)> + use<'a> {
        self.targets.iter().map(|pair| {
            let pair = u128::from_le_bytes(*pair);
            (QueueId::new(pair as u64), Offset::new((pair >> 64) as u64))
        })
    }

    /// The protobuf part (see [`crate::payload`]).
    pub const fn envelope(&self) -> &'a [u8] {
        self.envelope
    }

    /// The message's body.
    pub const fn body(&self) -> &'a [u8] {
        self.body
    }

    /// Its bytes in all, without padding: the hint for [`crate::LogReader::read`].
    pub const fn len_bytes(&self) -> u32 {
        self.len
    }

    /// Where the next record can begin.
    pub const fn end(&self) -> Lsn {
        self.lsn.advance(padded(self.len as usize) as u64)
    }
}

/// The length of the record that `bytes` begin with, as it claims.
pub(crate) fn peek_len(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|len| u32::from_le_bytes(*len))
}

/// `len` rounded up to where the next record begins.
pub(crate) const fn padded(len: usize) -> usize {
    len.next_multiple_of(ALIGN)
}

/// The LSN that 8-aligned `bytes` would have if a record began there.
pub(crate) fn peek_lsn(bytes: &[u8]) -> Option<Lsn> {
    bytes
        .get(LSN_AT..)
        .and_then(<[u8]>::first_chunk)
        .map(|lsn| Lsn::new(u64::from_le_bytes(*lsn)))
}

fn section<T>(
    flags: u8,
    flag: u8,
    rest: &mut &[u8],
    read: fn(&mut &[u8]) -> Option<T>,
) -> Result<Option<T>, Damage> {
    if flags & flag == 0 {
        Ok(None)
    } else {
        read(rest).map(Some).ok_or(Damage::Shape)
    }
}

fn u64_le(rest: &mut &[u8]) -> Option<u64> {
    rest.try_get_u64_le().ok()
}

fn two_u64_le(rest: &mut &[u8]) -> Option<(u64, u64)> {
    Some((u64_le(rest)?, u64_le(rest)?))
}

fn u32_le_at(record: &[u8], at: usize) -> u32 {
    record
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_le_at(record: &[u8], at: usize) -> u64 {
    record
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
