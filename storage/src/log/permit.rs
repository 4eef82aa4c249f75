//! Room in the log, counted in KiB: producers that outrun the disk wait here, not in memory.
//!
//! Always: permits that are held never amount to more batches than half of the channel takes, so that submitting a
//! batch that holds one does not block (test: `a_batch_with_a_permit_never_waits_in_submit`).

use std::sync::Arc;

use tokio::sync::{Semaphore, TryAcquireError};

use crate::Closed;

const UNIT_BYTES: usize = 1024;

/// The room that is left.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    semaphore: Arc<Semaphore>,
    units_max: u32,
    units_min: u32,
}

/// Room in the log that a producer holds; given back when dropped, or when the batch that holds it was committed.
#[derive(Debug)]
#[must_use = "the room is given back when this is dropped"]
pub struct Permit {
    semaphore: Arc<Semaphore>,
    units: u32,
}

impl Room {
    /// For `bytes_max` in at most `batches_max` batches.
    pub(crate) fn new(bytes_max: usize, batches_max: usize) -> Self {
        let units_max = u32::try_from(bytes_max / UNIT_BYTES)
            .unwrap_or(u32::MAX)
            .max(1);
        let units_min =
            units_max.div_ceil(u32::try_from(batches_max / 2).unwrap_or(u32::MAX).max(1));
        Room {
            semaphore: Arc::new(Semaphore::new(units_max as usize)),
            units_max,
            units_min,
        }
    }

    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Permit, Closed> {
        let units = self.units(bytes);
        let permit = self
            .semaphore
            .acquire_many(units)
            .await
            .map_err(|_closed| Closed)?;
        permit.forget();
        Ok(self.permit(units))
    }

    /// `Ok(None)`: no room now.
    pub(crate) fn try_reserve(&self, bytes: usize) -> Result<Option<Permit>, Closed> {
        let units = self.units(bytes);
        match self.semaphore.try_acquire_many(units) {
            Ok(permit) => {
                permit.forget();
                Ok(Some(self.permit(units)))
            }
            Err(TryAcquireError::NoPermits) => Ok(None),
            Err(TryAcquireError::Closed) => Err(Closed),
        }
    }

    /// Ends all waiting.
    pub(crate) fn close(&self) {
        self.semaphore.close();
    }

    /// More than there is would wait for ever: a batch larger than all the room takes all of it.
    fn units(&self, bytes: usize) -> u32 {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        units.clamp(self.units_min, self.units_max)
    }

    fn permit(&self, units: u32) -> Permit {
        Permit {
            semaphore: self.semaphore.clone(),
            units,
        }
    }
}

impl Permit {
    /// Takes over the room of another permit.
    pub(crate) fn merge(&mut self, mut other: Permit) {
        self.units += std::mem::take(&mut other.units);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.semaphore.add_permits(self.units as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_with_a_permit_never_waits_in_submit() {
        let batches_max = 64;
        let room = Room::new(1 << 20, batches_max);
        let held: Vec<_> = std::iter::from_fn(|| room.try_reserve(1).unwrap()).collect();
        assert_eq!(held.len(), batches_max / 2);
    }

    #[test]
    fn room_comes_back_with_the_permit_and_is_never_more_than_there_is() {
        let room = Room::new(8 << 10, 1 << 10);
        let mut first = room.try_reserve(6 << 10).unwrap().unwrap();
        let second = room.try_reserve(2 << 10).unwrap().unwrap();
        assert!(room.try_reserve(1).unwrap().is_none());
        first.merge(second);
        drop(first);
        let whole = room.try_reserve(1 << 30).unwrap();
        assert!(whole.is_some(), "more than all is all");
    }

    #[test]
    fn waiting_ends_when_the_log_does() {
        let room = Room::new(1 << 10, 2);
        let _held = room.try_reserve(1).unwrap();
        room.close();
        assert_eq!(room.try_reserve(1).err(), Some(Closed));
    }
}
