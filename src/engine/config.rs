//! What administrators have set, as the fold keeps it: documents by kind, realm and name, whose contents mean nothing here.
//!
//! ```text
//! Config record ─▶ put or remove each entry, define each queue ─▶ rows `c/`
//! ```
//!
//! One record changes everything that it names, or nothing: it is whole in the log or not there. The last record about a
//! document wins, so that it does not matter where the log begins. What keeps its segment is written again by its only
//! writer (the broker's registrar), with the revision that it had.
//!
//! Always, with tests of these names in `engine/tests/config.rs`:
//! - `one_record_changes_documents_and_queues_together`
//! - `a_document_written_again_keeps_its_revision`
//! - `no_name_is_too_long_for_the_state_store`
//!
//! Not here: what a document says (registry, access), who may change it (admin API).

use bytes::Bytes;
use prost::Message;
use restante_storage::payload::{Config, ConfigEntry};
use restante_storage::state::KEY_BYTES_MAX;
use restante_storage::{Lsn, QueueId, RecordRef};
use sha2::{Digest, Sha256};

use super::Engine;
use super::fold::decode;
use crate::refusal::Refusal;

/// The longest key of a row: a large row's parts have `p/` and four bytes more in theirs.
const ROW_KEY_BYTES_MAX: usize = KEY_BYTES_MAX - 6;

/// Which document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigKey {
    /// Its kind; the numbers are the broker's.
    pub kind: u32,
    /// Its realm; empty where it is of none.
    pub realm: String,
    /// Its name.
    pub name: String,
}

/// A document, and where the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue {
    /// The LSN of the record that last changed it.
    pub revision: Lsn,
    /// The oldest LSN that the log must keep for it.
    pub home: Lsn,
    /// The document.
    pub value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct ConfigRow {
    #[prost(message, optional, tag = "1")]
    entry: Option<ConfigEntry>,
    #[prost(uint64, tag = "2")]
    home: u64,
}

impl Engine {
    /// All documents, by kind, realm and name.
    pub fn config(&self) -> impl Iterator<Item = (&ConfigKey, &ConfigValue)> {
        self.config.iter()
    }

    pub(super) fn configure(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let config = decode::<Config>(record);
        for entry in config.entries {
            self.set_config(record.lsn(), entry);
        }
        for realm in config.forgets {
            let past_is_gone = self.past.is_gone();
            self.retained
                .forget_realm(&realm, record.lsn(), past_is_gone);
        }
        for gone in config.gone {
            self.delete_queue(gone);
        }
        let mut id = record.lsn().get();
        for queue in config.queues {
            id += 1;
            if queue.id == 0 {
                self.define_new_queue(QueueId::new(id), record.lsn(), queue);
            } else {
                self.define_queue_again(record, queue);
            }
        }
        None
    }

    fn set_config(&mut self, lsn: Lsn, entry: ConfigEntry) {
        let key = ConfigKey {
            kind: entry.kind,
            realm: entry.realm,
            name: entry.name,
        };
        self.dirty.config.insert(key.clone());
        let revision = match entry.revision {
            0 => lsn,
            known => Lsn::new(known),
        };
        match entry.value {
            Some(value) => {
                let home = lsn;
                let value = ConfigValue {
                    revision,
                    home,
                    value,
                };
                self.config.insert(key, value);
            }
            None => {
                self.config.remove(&key);
            }
        }
    }

    /// Documents that the log must keep segments below `boundary` for, at most `limit`.
    pub(super) fn config_below(&self, boundary: Lsn, limit: usize) -> Vec<ConfigKey> {
        let below = self.config.iter().filter(|(_, it)| it.home < boundary);
        below.map(|(key, _)| key.clone()).take(limit).collect()
    }

    pub(super) fn config_row(&self, key: &ConfigKey) -> Option<Vec<u8>> {
        let it = self.config.get(key)?;
        let entry = ConfigEntry {
            kind: key.kind,
            realm: key.realm.clone(),
            name: key.name.clone(),
            value: Some(it.value.clone()),
            revision: it.revision.get(),
        };
        let row = ConfigRow {
            entry: Some(entry),
            home: it.home.get(),
        };
        Some(row.encode_to_vec())
    }

    pub(super) fn load_config(&mut self, row_key: &[u8], row: &[u8]) -> Option<()> {
        let row = ConfigRow::decode(row).ok()?;
        let entry = row.entry?;
        let key = ConfigKey {
            kind: entry.kind,
            realm: entry.realm,
            name: entry.name,
        };
        if key.row_key() != row_key {
            return None; // the next checkpoint would write it beside this one
        }
        let value = ConfigValue {
            revision: Lsn::new(entry.revision),
            home: Lsn::new(row.home),
            value: entry.value?,
        };
        self.config.insert(key, value);
        Some(())
    }
}

impl ConfigKey {
    /// The key of its row (FORMAT.md, "State store"): no realm has a zero byte in its name. A name may be longer than what the
    /// state store takes as a key, and then stands for itself as a hash; the row has it in full.
    pub(super) fn row_key(&self) -> Vec<u8> {
        let kind = self.kind.to_be_bytes();
        let id = [self.realm.as_bytes(), b"\0", self.name.as_bytes()].concat();
        let key = [b"c/", &kind[..], &id].concat();
        if key.len() <= ROW_KEY_BYTES_MAX {
            return key;
        }
        let hash: [u8; 32] = Sha256::digest(&id).into();
        [b"c/", &kind[..], &hash].concat()
    }
}
