//! One line of the log: an entry as a JSON object, and in `prev` the hash of the line before it.
//!
//! The hash is BLAKE2b-256 over the line's bytes without its end, as hexadecimal digits. Before the first line of all is [`Hash::NONE`].
//!
//! Always, with a test of its name below: `what_is_written_is_read_back`.

use blake2::digest::consts::U32;
use blake2::{Blake2b, Digest as _};
use restante_admin_api::audit::AuditEntry;
use serde::{Deserialize, Serialize};

/// Longer lines are nobody's of ours: every text in an entry is bounded (`clean`).
pub(super) const LINE_BYTES_MAX: usize = 256 << 10;

/// The hash of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Hash([u8; 32]);

impl Hash {
    /// Before the first line.
    pub(super) const NONE: Hash = Hash([0; 32]);

    /// Of a line without its end.
    pub(super) fn of(line: &[u8]) -> Hash {
        Hash(Blake2b::<U32>::digest(line).into())
    }

    /// As 64 digits.
    pub(super) fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    entry: &'a AuditEntry,
    prev: String,
}

#[derive(Deserialize)]
struct Found {
    #[serde(flatten)]
    entry: AuditEntry,
    prev: String,
}

/// The line of `entry`, without its end.
///
/// # Errors
/// None that an entry could cause; serde's signature has one.
pub(super) fn encode(entry: &AuditEntry, prev: Hash) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Written {
        entry,
        prev: prev.to_hex(),
    })
}

/// What a line says: the entry, and the hash of the line before as it stands there. None: it is no line of ours.
pub(super) fn decode(line: &[u8]) -> Option<(AuditEntry, String)> {
    let found: Found = serde_json::from_slice(line).ok()?;
    let mut entry = found.entry;
    entry.times = entry.times.max(1);
    (entry.number > 0).then_some((entry, found.prev))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_back() {
        let entry = AuditEntry {
            number: 7,
            time: 1_700_000_000_000,
            principal: "ann".to_owned(),
            act: "PUT /api/v1/realms/{realm}".to_owned(),
            times: 1,
            after: Some(json!({"name": "x", "n": 1})),
            ..AuditEntry::default()
        };
        let line = encode(&entry, Hash::of(b"before")).unwrap();
        assert!(!line.contains(&b'\n'));
        assert_eq!(decode(&line), Some((entry, Hash::of(b"before").to_hex())));
        assert_eq!(decode(b"{}"), None);
        assert_eq!(decode(b"{\"number\":1}"), None);
        assert_eq!(decode(b"\0\0\0"), None);
    }
}
