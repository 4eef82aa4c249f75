//! A chunk: 1024 consecutive places of one queue, the unit in which references leave memory for the state store.
//!
//! ```text
//! offset ──▶ chunk number = offset / 1024 ─▶ slot = offset % 1024 ─▶ { LSN, bytes, time, expires }, pending?
//! ```
//!
//! A chunk has two rows in the state store (FORMAT.md, "State store"): its *body*, the references, which never change
//! once the chunk is full; and its *marks*, what became of them: one bit a slot for "pending", and the few slots with a
//! history (failed attempts, on the way to the dead-letter address). Settling costs a bit, whatever the depth.
//!
//! Always, each with a test of its name in `chunk/tests.rs`:
//! - `a_body_reads_back_as_it_was_written`, `marks_read_back_as_they_were_written`
//! - `damaged_rows_are_told_from_good_ones`

mod refs;
#[cfg(test)]
mod tests;
mod varint;

use std::collections::BTreeMap;

use refs::Refs;
use restante_storage::{Lsn, UnixMillis};
pub(super) use varint::{read_varint, varint};

/// Places in a chunk.
pub(super) const SLOTS: u64 = 1024;
const WORDS: usize = (SLOTS / 64) as usize;

/// Where a waiting message lies, and what of it must be known without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ref {
    /// Its record in the log.
    pub(super) lsn: Lsn,
    /// Bytes of that record, less what names its other targets: what its queue is charged, and a hint to whoever reads it.
    pub(super) bytes: u32,
    /// When the broker took it.
    pub(super) time: UnixMillis,
    /// When its sender wants it gone; none: never.
    pub(super) expires: Option<UnixMillis>,
}

/// The history of a message that has one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Mark {
    /// Deliveries that came back, for whatever reason.
    pub(super) acquired: u32,
    /// Deliveries that a consumer gave back as failed.
    pub(super) failed: u32,
    /// On its way to the dead-letter address.
    pub(super) dying: Option<Dying>,
}

/// Why a message is on its way to the dead-letter address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dying {
    /// The kind of reason.
    pub(super) cause: Cause,
    /// The consumer's words.
    pub(super) reason: Option<String>,
}

/// Why a queue gives a message up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A consumer rejected it.
    Rejected,
    /// Its time to live ran out.
    Expired,
    /// It failed as often as the queue allows.
    MaxAttempts,
    /// Its stored bytes cannot be read any more.
    Unreadable,
    /// The queue keeps a history, and this was the oldest when it had more than it may.
    Surplus,
}

impl Cause {
    /// The name used in `dead-letter-reason`, metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Rejected => "rejected",
            Cause::Expired => "expired",
            Cause::MaxAttempts => "max-attempts",
            Cause::Unreadable => "unreadable",
            Cause::Surplus => "surplus",
        }
    }

    fn number(self) -> u8 {
        match self {
            Cause::Rejected => 1,
            Cause::Expired => 2,
            Cause::MaxAttempts => 3,
            Cause::Unreadable => 4,
            Cause::Surplus => 5,
        }
    }

    fn from_number(number: u8) -> Option<Cause> {
        match number {
            1 => Some(Cause::Rejected),
            2 => Some(Cause::Expired),
            3 => Some(Cause::MaxAttempts),
            4 => Some(Cause::Unreadable),
            5 => Some(Cause::Surplus),
            _ => None,
        }
    }
}

/// 1024 consecutive places of a queue.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    pending: [u64; WORDS],
    n_pending: u32,
    marks: BTreeMap<u16, Mark>,
    /// None: only in the state store.
    refs: Option<Refs>,
    /// No pending message expires before this, whoever has it.
    expires_min: Option<UnixMillis>,
    /// When the engine looks for expired messages here; live only. None: it need not.
    armed: Option<UnixMillis>,
    /// Whether it stands in its queue's list of chunks for the next checkpoint.
    listed: bool,
    /// What the state store holds of the references is out of date.
    pub(super) body_dirty: bool,
    /// What the state store holds of the marks is out of date.
    pub(super) marks_dirty: bool,
    pub(super) body_crc: u32,
    pub(super) marks_crc: u32,
}

/// A row of the state store that is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

impl Chunk {
    pub(super) fn new() -> Self {
        Chunk {
            pending: [0; WORDS],
            n_pending: 0,
            marks: BTreeMap::new(),
            refs: Some(Refs::default()),
            expires_min: None,
            armed: None,
            listed: false,
            body_dirty: true,
            marks_dirty: true,
            body_crc: 0,
            marks_crc: 0,
        }
    }

    /// A chunk whose body stays in the state store for now.
    pub(super) fn stored(
        marks: &[u8],
        marks_crc: u32,
        body_crc: u32,
        expires_min: Option<UnixMillis>,
    ) -> Result<Self, Damaged> {
        if crc32fast::hash(marks) != marks_crc {
            return Err(Damaged);
        }
        let mut chunk = Chunk {
            refs: None,
            expires_min,
            body_dirty: false,
            marks_dirty: false,
            body_crc,
            marks_crc,
            ..Chunk::new()
        };
        chunk.read_marks(marks).ok_or(Damaged)?;
        Ok(chunk)
    }

    pub(super) fn n_pending(&self) -> u32 {
        self.n_pending
    }

    pub(super) fn expires_min(&self) -> Option<UnixMillis> {
        self.expires_min
    }

    pub(super) fn is_resident(&self) -> bool {
        self.refs.is_some()
    }

    /// Puts a message at `slot`, which was empty. The body must be resident.
    pub(super) fn set(&mut self, slot: u64, it: Ref) {
        let refs = self.refs.as_mut();
        refs.expect("a chunk is in memory before anything is put there")
            .set(slot as usize, it);
        if let Some(word) = self.pending.get_mut((slot / 64) as usize) {
            *word |= 1 << (slot % 64);
            self.n_pending += 1;
        }
        if let Some(expires) = it.expires {
            self.expires_min = Some(self.expires_min.map_or(expires, |min| min.min(expires)));
        }
        self.body_dirty = true;
        self.marks_dirty = true;
    }

    pub(super) fn is_pending(&self, slot: u64) -> bool {
        self.pending
            .get((slot / 64) as usize)
            .is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    /// The reference at `slot`, pending or not. The body must be resident.
    pub(super) fn get(&self, slot: u64) -> Option<Ref> {
        self.refs.as_ref()?.get(slot as usize)
    }

    /// Settles `slot`, which is pending.
    pub(super) fn clear(&mut self, slot: u64) {
        if let Some(word) = self.pending.get_mut((slot / 64) as usize) {
            *word &= !(1 << (slot % 64));
            self.n_pending -= 1;
        }
        if !self.marks.is_empty() {
            self.marks.remove(&(slot as u16));
        }
        self.marks_dirty = true;
    }

    pub(super) fn mark(&self, slot: u64) -> Option<&Mark> {
        if self.marks.is_empty() {
            return None;
        }
        self.marks.get(&(slot as u16))
    }

    pub(super) fn mark_mut(&mut self, slot: u64) -> &mut Mark {
        self.marks_dirty = true;
        self.marks.entry(slot as u16).or_default()
    }

    /// Slots with a history, ascending.
    pub(super) fn marks(&self) -> impl Iterator<Item = (u64, &Mark)> {
        self.marks
            .iter()
            .map(|(slot, mark)| (u64::from(*slot), mark))
    }

    /// The first pending slot at or after `from`.
    pub(super) fn next_pending(&self, from: u64) -> Option<u64> {
        let mut word = (from / 64) as usize;
        let mut bits = self.pending.get(word)? & (u64::MAX << (from % 64));
        while bits == 0 {
            word += 1;
            bits = *self.pending.get(word)?;
        }
        Some(word as u64 * 64 + u64::from(bits.trailing_zeros()))
    }

    /// All that waits here. The body must be resident.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Ref> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let slot = self.next_pending(from)?;
            from = slot + 1;
            self.get(slot)
        })
    }

    /// Pending messages that expire and are not given up yet. The body must be resident.
    pub(super) fn expiring(&self) -> impl Iterator<Item = (u64, UnixMillis)> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            loop {
                let slot = self.next_pending(from)?;
                from = slot + 1;
                if let Some(expires) = self.get(slot).and_then(|it| it.expires)
                    && self.mark(slot).is_none_or(|mark| mark.dying.is_none())
                {
                    return Some((slot, expires));
                }
            }
        })
    }

    /// When the engine looks for expired messages here.
    pub(super) fn armed(&self) -> Option<UnixMillis> {
        self.armed
    }

    /// The engine will look for expired messages here at that time.
    pub(super) fn arm(&mut self, at: Option<UnixMillis>) {
        self.armed = at;
    }

    /// Whoever looked found that no pending message expires before that.
    pub(super) fn set_expires_min(&mut self, at: Option<UnixMillis>) {
        self.expires_min = at;
    }

    /// Puts it on its queue's list for the next checkpoint; whether it was not there.
    pub(super) fn list(&mut self) -> bool {
        !std::mem::replace(&mut self.listed, true)
    }

    /// It is no longer on its queue's list.
    pub(super) fn unlist(&mut self) {
        self.listed = false;
    }

    /// Lets go of the references, which the state store holds.
    pub(super) fn evict(&mut self) {
        assert!(
            !self.body_dirty,
            "a chunk is let go of only once the state store holds it"
        );
        self.refs = None;
    }

    /// Takes the references back from the state store's row.
    pub(super) fn load(&mut self, body: &[u8]) -> Result<(), Damaged> {
        if crc32fast::hash(body) != self.body_crc {
            return Err(Damaged);
        }
        self.refs = Some(Refs::read(body).ok_or(Damaged)?);
        Ok(())
    }

    /// The body's row; empty where the references are not in memory.
    pub(super) fn body_row(&self) -> Vec<u8> {
        self.refs.as_ref().map_or_else(Vec::new, Refs::row)
    }

    /// The marks' row: the bits, then each history.
    pub(super) fn marks_row(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(WORDS * 8 + self.marks.len() * 8 + 2);
        for word in self.pending {
            row.extend_from_slice(&word.to_le_bytes());
        }
        varint(&mut row, self.marks.len() as u64);
        for (slot, mark) in &self.marks {
            varint(&mut row, u64::from(*slot));
            varint(&mut row, u64::from(mark.acquired));
            varint(&mut row, u64::from(mark.failed));
            row.push(mark.dying.as_ref().map_or(0, |dying| dying.cause.number()));
            let reason = mark
                .dying
                .as_ref()
                .and_then(|dying| dying.reason.as_deref());
            varint(&mut row, reason.map_or(0, |text| text.len() as u64 + 1));
            row.extend_from_slice(reason.unwrap_or_default().as_bytes());
        }
        row
    }

    fn read_marks(&mut self, mut row: &[u8]) -> Option<()> {
        for word in &mut self.pending {
            let (bytes, rest) = row.split_first_chunk::<8>()?;
            *word = u64::from_le_bytes(*bytes);
            row = rest;
        }
        self.n_pending = self.pending.iter().map(|word| word.count_ones()).sum();
        for _ in 0..read_varint(&mut row)? {
            let slot = u16::try_from(read_varint(&mut row)?).ok()?;
            let acquired = u32::try_from(read_varint(&mut row)?).ok()?;
            let failed = u32::try_from(read_varint(&mut row)?).ok()?;
            let (cause, rest) = row.split_first()?;
            row = rest;
            let reason_bytes = read_varint(&mut row)?;
            let (text, rest) =
                row.split_at_checked(usize::try_from(reason_bytes.saturating_sub(1)).ok()?)?;
            row = rest;
            let reason = (reason_bytes > 0).then(|| String::from_utf8_lossy(text).into_owned());
            let dying = Cause::from_number(*cause).map(|cause| Dying { cause, reason });
            self.marks.insert(
                slot,
                Mark {
                    acquired,
                    failed,
                    dying,
                },
            );
        }
        row.is_empty().then_some(())
    }
}
