//! A chunk's references, a column for each part, and their row in the state store.

use restante_storage::{Lsn, UnixMillis};

use super::varint::{read_varint, unzigzag, varint, zigzag};
use super::{Ref, SLOTS};

/// The references of a chunk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Refs {
    /// LSN for each slot from 0; 0: nothing was ever stored there.
    lsns: Vec<u64>,
    bytes: Vec<u32>,
    times: Vec<u64>,
    /// Empty while no message of the chunk expires; else 0 for those that do not.
    expires: Vec<u64>,
}

impl Refs {
    pub(super) fn set(&mut self, slot: usize, it: Ref) {
        if self.lsns.len() <= slot {
            self.lsns.resize(slot + 1, 0);
            self.bytes.resize(slot + 1, 0);
            self.times.resize(slot + 1, 0);
        }
        put(&mut self.lsns, slot, it.lsn.get());
        put(&mut self.bytes, slot, it.bytes);
        put(&mut self.times, slot, it.time.get());
        if let Some(expires) = it.expires {
            self.expires
                .resize(self.lsns.len().max(self.expires.len()), 0);
            put(&mut self.expires, slot, expires.get().max(1)); // 0 stands for none
        }
    }

    /// What was put at `slot`, settled or not.
    pub(super) fn get(&self, slot: usize) -> Option<Ref> {
        let lsn = self.lsns.get(slot).copied().filter(|lsn| *lsn != 0)?;
        Some(Ref {
            lsn: Lsn::new(lsn),
            bytes: self.bytes.get(slot).copied()?,
            time: UnixMillis::new(self.times.get(slot).copied()?),
            expires: self
                .expires
                .get(slot)
                .copied()
                .filter(|at| *at != 0)
                .map(UnixMillis::new),
        })
    }

    /// The row: count, whether any expires, then for each slot the LSN, size, time (and expiry) as differences.
    pub(super) fn row(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(self.lsns.len() * 6 + 8);
        varint(&mut row, self.lsns.len() as u64);
        row.push(u8::from(!self.expires.is_empty()));
        let (mut last_lsn, mut last_time) = (0, 0);
        for slot in 0..self.lsns.len() {
            let Some(it) = self.get(slot) else {
                varint(&mut row, 0);
                continue;
            };
            varint(&mut row, zigzag(it.lsn.get().wrapping_sub(last_lsn)) + 1);
            varint(&mut row, u64::from(it.bytes));
            varint(&mut row, zigzag(it.time.get().wrapping_sub(last_time)));
            if !self.expires.is_empty() {
                varint(&mut row, it.expires.map_or(0, UnixMillis::get));
            }
            (last_lsn, last_time) = (it.lsn.get(), it.time.get());
        }
        row
    }

    /// What [`Refs::row`] gave; none: these bytes are something else.
    pub(super) fn read(mut row: &[u8]) -> Option<Refs> {
        let slots = usize::try_from(read_varint(&mut row)?)
            .ok()
            .filter(|slots| *slots as u64 <= SLOTS)?;
        let (expiring, rest) = row.split_first()?;
        row = rest;
        let mut refs = Refs::default();
        refs.lsns.resize(slots, 0);
        refs.bytes.resize(slots, 0);
        refs.times.resize(slots, 0);
        if *expiring != 0 {
            refs.expires.resize(slots, 0);
        }
        let (mut last_lsn, mut last_time) = (0_u64, 0_u64);
        for slot in 0..slots {
            let lsn = read_varint(&mut row)?;
            if lsn == 0 {
                continue;
            }
            last_lsn = last_lsn.wrapping_add(unzigzag(lsn - 1));
            let bytes = u32::try_from(read_varint(&mut row)?).ok()?;
            last_time = last_time.wrapping_add(unzigzag(read_varint(&mut row)?));
            let expires = if *expiring != 0 {
                read_varint(&mut row)?
            } else {
                0
            };
            refs.set(
                slot,
                Ref {
                    lsn: Lsn::new(last_lsn),
                    bytes,
                    time: UnixMillis::new(last_time),
                    expires: (expires != 0).then(|| UnixMillis::new(expires)),
                },
            );
        }
        row.is_empty().then_some(refs)
    }
}

fn put<T>(column: &mut [T], slot: usize, value: T) {
    if let Some(place) = column.get_mut(slot) {
        *place = value;
    }
}
