//! The engine's rows in the state store, whatever their size: the store takes values of some kilobytes only, so a large
//! one is cut into parts (FORMAT.md, "State store").
//!
//! ```text
//! small:  KEY ─▶ 0 value            large:  KEY ─▶ 1 n_parts      p/ KEY n ─▶ part
//! ```
//!
//! Most rows are small. Large are a session with thousands of refusals, a queue with thousands of bindings, a chunk full
//! of messages that were each rejected with a long reason.

use std::ops::ControlFlow;
use std::sync::Arc;

use restante_storage::state::{StateBatch, StateError, StateStore};

/// Bytes of a part: below what the store takes, with room for the byte in front.
const PART_BYTES: usize = 16 << 10;
const WHOLE: u8 = 0;
const PARTED: u8 = 1;

/// The state store, for values of any size.
#[derive(Clone)]
pub(super) struct Rows {
    store: Arc<dyn StateStore>,
}

impl Rows {
    pub(super) fn new(store: Arc<dyn StateStore>) -> Self {
        Rows { store }
    }

    /// Puts rows and removes those without a value: all or none, durable on return.
    pub(super) fn checkpoint(
        &self,
        rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<(), StateError> {
        let mut batch = StateBatch::new();
        for (key, value) in rows {
            for part in 0..self.n_parts(&key)? {
                batch.remove(part_key(&key, part));
            }
            match value {
                None => batch.remove(key),
                Some(value) => put(&mut batch, key, value),
            }
        }
        self.store.checkpoint(batch)
    }

    /// The row of that key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        match self.store.get(key)? {
            Some(head) => self.whole(key, &head),
            None => Ok(None),
        }
    }

    /// The row of that key, also after a failed checkpoint: whether it is the right one, the caller must know.
    pub(super) fn salvage(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        match self.store.salvage(key)? {
            Some(head) => whole(&head, key, |part| self.store.salvage(part)),
            None => Ok(None),
        }
    }

    /// Visits the rows whose key begins with `prefix`, in order of keys.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), StateError> {
        let mut heads = Vec::new();
        self.store.scan(prefix, &mut |key, head| {
            heads.push((key.to_vec(), head.to_vec()));
            ControlFlow::Continue(())
        })?;
        for (key, head) in heads {
            visit(&key, &self.whole(&key, &head)?.unwrap_or_default());
        }
        Ok(())
    }

    /// Removes every row.
    pub(super) fn clear(&self) -> Result<(), StateError> {
        let mut batch = StateBatch::new();
        self.store.scan(b"", &mut |key, _| {
            batch.remove(key);
            ControlFlow::Continue(())
        })?;
        if batch.is_empty() {
            Ok(())
        } else {
            self.store.checkpoint(batch)
        }
    }

    pub(super) fn bytes_on_disk(&self) -> u64 {
        self.store.bytes_on_disk()
    }

    fn n_parts(&self, key: &[u8]) -> Result<u32, StateError> {
        Ok(self
            .store
            .get(key)?
            .as_deref()
            .and_then(parted)
            .unwrap_or(0))
    }

    fn whole(&self, key: &[u8], head: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        whole(head, key, |part| self.store.get(part))
    }
}

/// The value behind what stands under a key. A missing part makes it shorter, which the engine's sums find out.
fn whole(
    head: &[u8],
    key: &[u8],
    get: impl Fn(&[u8]) -> Result<Option<Vec<u8>>, StateError>,
) -> Result<Option<Vec<u8>>, StateError> {
    let Some(n_parts) = parted(head) else {
        return Ok(head.split_first().map(|(_, value)| value.to_vec()));
    };
    let mut value = Vec::new();
    for part in 0..n_parts {
        value.extend(get(&part_key(key, part))?.unwrap_or_default());
    }
    Ok(Some(value))
}

fn put(batch: &mut StateBatch, key: Vec<u8>, value: Vec<u8>) {
    if value.len() <= PART_BYTES {
        let mut whole = Vec::with_capacity(value.len() + 1);
        whole.push(WHOLE);
        whole.extend_from_slice(&value);
        batch.put(key, whole);
        return;
    }
    let mut n_parts = 0_u32;
    for part in value.chunks(PART_BYTES) {
        batch.put(part_key(&key, n_parts), part);
        n_parts += 1;
    }
    let mut head = vec![PARTED];
    head.extend_from_slice(&n_parts.to_be_bytes());
    batch.put(key, head);
}

/// How many parts a row has that is cut; none: it is whole.
fn parted(head: &[u8]) -> Option<u32> {
    let (PARTED, n_parts) = head.split_first().map(|(kind, rest)| (*kind, rest))? else {
        return None;
    };
    Some(u32::from_be_bytes(*n_parts.first_chunk()?))
}

fn part_key(key: &[u8], part: u32) -> Vec<u8> {
    [b"p/", key, &part.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use restante_storage::state::MemoryStore;

    use super::*;

    fn row(rows: &Rows, key: &[u8]) -> Option<Vec<u8>> {
        rows.get(key).unwrap()
    }

    #[test]
    fn values_of_any_size_come_back_and_leave_nothing_behind() {
        let store = Arc::new(MemoryStore::new());
        let rows = Rows::new(store.clone());
        for bytes in [
            0,
            1,
            PART_BYTES,
            PART_BYTES + 1,
            10 * PART_BYTES,
            3 * PART_BYTES,
            5,
        ] {
            let value: Vec<u8> = (0..bytes).map(|at| at as u8).collect();
            rows.checkpoint(vec![(b"q/1".to_vec(), Some(value.clone()))])
                .unwrap();
            assert_eq!(row(&rows, b"q/1"), Some(value.clone()), "{bytes} bytes");
            let mut seen = Vec::new();
            rows.scan(b"q/", &mut |key, value| {
                seen.push((key.to_vec(), value.to_vec()))
            })
            .unwrap();
            assert_eq!(seen, [(b"q/1".to_vec(), value)]);
        }
        rows.checkpoint(vec![(b"q/1".to_vec(), None)]).unwrap();
        assert_eq!(row(&rows, b"q/1"), None);
        let mut left = 0;
        store
            .scan(b"", &mut |_, _| {
                left += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(left, 0);
    }
}
