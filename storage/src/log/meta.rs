//! `META`: what is decided once for a folder (FORMAT.md §1).
//!
//! Written beside, synced, renamed, the folder synced: it is whole or not there.

use std::io;
use std::path::Path;

use bytes::{Buf, BufMut};
use uuid::Uuid;

use crate::{Damage, Disk, LogError};

const MAGIC: &[u8; 8] = b"RSTMETA\n";
const VERSION: u32 = 1;
/// Magic, version, four zeros, node, segment size; the checksum follows.
const CHECKED_BYTES: usize = 40;
const META_BYTES: usize = CHECKED_BYTES + 4;

/// What is decided once for a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) node: Uuid,
    pub(crate) segment_bytes: u64,
}

impl Meta {
    /// None: there is no such file.
    pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, LogError> {
        let path = dir.join("META");
        let file = match disk.open_read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LogError::io("opening", &path)(error)),
        };
        // One byte more than there should be, so that a longer file is noticed.
        let mut bytes = [0; META_BYTES + 1];
        let n = file
            .read_at(&mut bytes, 0)
            .map_err(LogError::io("reading", &path))?;
        let bytes = bytes.get(..n).unwrap_or_default();
        Self::decode(bytes)
            .map(Some)
            .map_err(|what| LogError::Meta { path, what })
    }

    /// Decides it for a new folder.
    pub(crate) fn create(
        disk: &dyn Disk,
        dir: &Path,
        segment_bytes: u64,
    ) -> Result<Self, LogError> {
        let meta = Meta {
            node: Uuid::new_v4(),
            segment_bytes,
        };
        let (beside, path) = (dir.join("META.tmp"), dir.join("META"));
        match disk.remove(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LogError::io("removing", &beside)(error));
            }
            _ => {}
        }
        let write = || {
            let file = disk.create_new(&beside)?;
            file.write_at(&meta.encode(), 0)?;
            file.sync_all()
        };
        write().map_err(LogError::io("writing", &beside))?;
        disk.rename(&beside, &path)
            .map_err(LogError::io("renaming", &beside))?;
        disk.sync_dir(dir).map_err(LogError::io("syncing", dir))?;
        Ok(meta)
    }

    fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(META_BYTES);
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(VERSION);
        bytes.put_u32_le(0);
        bytes.put_slice(self.node.as_bytes());
        bytes.put_u64_le(self.segment_bytes);
        bytes.put_u32_le(crc32fast::hash(&bytes));
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let (mut fields, mut crc) = bytes.split_at_checked(CHECKED_BYTES).ok_or(Damage::Magic)?;
        let checksum = crc32fast::hash(fields);
        if fields.get(..MAGIC.len()) != Some(MAGIC) {
            return Err(Damage::Magic);
        }
        fields.advance(MAGIC.len());
        if crc.try_get_u32_le().ok() != Some(checksum) || !crc.is_empty() {
            return Err(Damage::Checksum);
        }
        let version = fields.get_u32_le();
        if version != VERSION {
            return Err(Damage::Version(version));
        }
        fields.advance(4);
        let mut node = [0; 16];
        fields.copy_to_slice(&mut node);
        Ok(Meta {
            node: Uuid::from_bytes(node),
            segment_bytes: fields.get_u64_le(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_with_any_bit_flipped_or_cut_anywhere_is_refused() {
        let meta = Meta {
            node: Uuid::new_v4(),
            segment_bytes: 1 << 16,
        };
        let mut bytes = meta.encode();
        assert_eq!(Meta::decode(&bytes), Ok(meta));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Meta::decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        for len in 0..bytes.len() {
            assert!(Meta::decode(&bytes[..len]).is_err(), "cut at {len}");
        }
        bytes.push(0);
        assert!(Meta::decode(&bytes).is_err(), "one byte too many");
    }
}
