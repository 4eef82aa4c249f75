//! A segment file: its name, its header, and the arithmetic between LSNs and places (FORMAT.md §2).
//!
//! Always, with a test of its name: `a_header_with_any_bit_flipped_is_refused`.

use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut};
use uuid::Uuid;

use crate::record::{HEAD_BYTES, Salt};
use crate::{Damage, Disk, LogError, Lsn, SegmentNo};

/// Bytes of a segment's header; its first record begins after it.
pub(crate) const HEADER_BYTES: u64 = 4096;
/// Bytes kept free at a segment's end for the record that ends it.
pub(crate) const SEGMENT_END_BYTES: u64 = HEAD_BYTES as u64;

const MAGIC: &[u8; 8] = b"RSTWAL\r\n";
/// The checksum is the header's last four bytes.
const CHECKED_BYTES: usize = HEADER_BYTES as usize - 4;
/// The version of everything in a segment.
pub(crate) const VERSION: u32 = 1;

/// A segment that the log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its number.
    pub number: SegmentNo,
    /// Where its first record begins.
    pub first: Lsn,
    /// Where the next segment's first record begins.
    pub next: Lsn,
}

/// How LSNs are cut into segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    segment_bytes: u64,
}

impl Geometry {
    pub(crate) const fn new(segment_bytes: u64) -> Self {
        Geometry { segment_bytes }
    }

    pub(crate) const fn segment_bytes(self) -> u64 {
        self.segment_bytes
    }

    /// Where records must end, so that the one that ends the segment still fits.
    pub(crate) const fn records_end(self) -> u64 {
        self.segment_bytes - SEGMENT_END_BYTES
    }

    /// The longest record that can be in a segment; a longer one is damage, and nothing is read for it.
    pub(crate) const fn record_bytes_max(self) -> u64 {
        self.segment_bytes / 4
    }

    pub(crate) const fn segment_of(self, lsn: Lsn) -> SegmentNo {
        SegmentNo::new(lsn.get() / self.segment_bytes)
    }

    pub(crate) const fn place_of(self, lsn: Lsn) -> u64 {
        lsn.get() % self.segment_bytes
    }

    pub(crate) const fn lsn(self, segment: SegmentNo, place: u64) -> Lsn {
        Lsn::new(segment.get() * self.segment_bytes + place)
    }

    /// Where a segment's first record begins.
    pub(crate) const fn first(self, segment: SegmentNo) -> Lsn {
        self.lsn(segment, HEADER_BYTES)
    }

    pub(crate) const fn info(self, number: SegmentNo) -> SegmentInfo {
        SegmentInfo {
            number,
            first: self.first(number),
            next: self.first(number.next()),
        }
    }
}

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: SegmentNo,
    pub(crate) node: Uuid,
    pub(crate) salt: u64,
    pub(crate) segment_bytes: u64,
}

impl SegmentHeader {
    /// For a new segment, with a salt that nobody had before.
    pub(crate) fn fresh(number: SegmentNo, node: Uuid, geometry: Geometry) -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        // A UUID has six bits that are always the same, in different places of its halves.
        let salt = high ^ low.rotate_left(32);
        SegmentHeader {
            number,
            node,
            salt,
            segment_bytes: geometry.segment_bytes(),
        }
    }

    pub(crate) fn salt(&self) -> Salt {
        Salt::new(self.salt)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
        bytes.put_slice(MAGIC);
        bytes.put_u32_le(VERSION);
        bytes.put_u32_le(0);
        bytes.put_u64_le(self.number.get());
        bytes.put_slice(self.node.as_bytes());
        bytes.put_u64_le(self.salt);
        bytes.put_u64_le(self.segment_bytes);
        bytes.resize(CHECKED_BYTES, 0);
        bytes.put_u32_le(crc32fast::hash(&bytes));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let (mut fields, mut crc) = bytes.split_at_checked(CHECKED_BYTES).ok_or(Damage::Magic)?;
        let checksum = crc32fast::hash(fields);
        if fields.get(..MAGIC.len()) != Some(MAGIC) {
            return Err(Damage::Magic);
        }
        fields.advance(MAGIC.len());
        if crc.try_get_u32_le().ok() != Some(checksum) {
            return Err(Damage::Checksum);
        }
        let version = fields.get_u32_le();
        if version != VERSION {
            return Err(Damage::Version(version));
        }
        fields.advance(4);
        let number = SegmentNo::new(fields.get_u64_le());
        let mut node = [0; 16];
        fields.copy_to_slice(&mut node);
        let node = Uuid::from_bytes(node);
        Ok(SegmentHeader {
            number,
            node,
            salt: fields.get_u64_le(),
            segment_bytes: fields.get_u64_le(),
        })
    }

    /// Reads the header of `number` and checks that it belongs there.
    pub(crate) fn read(
        disk: &dyn Disk,
        wal: &Path,
        number: SegmentNo,
        node: Uuid,
        geometry: Geometry,
    ) -> Result<Self, LogError> {
        let path = segment_path(wal, number);
        let file = disk
            .open_read(&path)
            .map_err(LogError::io("opening", &path))?;
        let mut bytes = vec![0; HEADER_BYTES as usize];
        let n = file
            .read_at(&mut bytes, 0)
            .map_err(LogError::io("reading", &path))?;
        bytes.truncate(n);
        let header = Self::decode(&bytes).map_err(|what| LogError::damage(number, 0, what))?;
        let belongs = SegmentHeader {
            number,
            node,
            segment_bytes: geometry.segment_bytes(),
            ..header
        };
        if header != belongs {
            return Err(LogError::damage(number, 0, Damage::Foreign));
        }
        Ok(header)
    }
}

/// A file name in the log's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileName {
    /// A segment.
    Segment(SegmentNo),
    /// Ready to become one.
    Spare(u64),
    /// A spare that is being made, or whose making was cut short.
    SpareInMaking(u64),
}

impl FileName {
    /// None: not a name that the log gives.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let digits = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| text.parse().ok())?
        };
        if let Some(spare) = name.strip_prefix("spare-") {
            return match spare.split_once('.')? {
                (number, "wal") => digits(number).map(FileName::Spare),
                (number, "tmp") => digits(number).map(FileName::SpareInMaking),
                _ => None,
            };
        }
        let number = name
            .strip_suffix(".wal")
            .filter(|number| number.len() == 16)?;
        digits(number).map(|number| FileName::Segment(SegmentNo::new(number)))
    }

    pub(crate) fn path(self, wal: &Path) -> PathBuf {
        wal.join(match self {
            FileName::Segment(number) => format!("{:016}.wal", number.get()),
            FileName::Spare(number) => format!("spare-{number}.wal"),
            FileName::SpareInMaking(number) => format!("spare-{number}.tmp"),
        })
    }
}

pub(crate) fn segment_path(wal: &Path, number: SegmentNo) -> PathBuf {
    FileName::Segment(number).path(wal)
}

/// What the log's folder holds, segments ascending.
pub(crate) fn list_files(disk: &dyn Disk, wal: &Path) -> Result<Vec<FileName>, LogError> {
    let names = disk.list(wal).map_err(LogError::io("listing", wal))?;
    Ok(names
        .iter()
        .filter_map(|name| FileName::parse(name))
        .collect())
}

/// The segments among `files`, ascending, none missing in between.
pub(crate) fn contiguous_segments(files: &[FileName]) -> Result<Vec<SegmentNo>, LogError> {
    let mut numbers: Vec<_> = files
        .iter()
        .filter_map(|file| {
            if let FileName::Segment(number) = file {
                Some(*number)
            } else {
                None
            }
        })
        .collect();
    numbers.sort_unstable();
    for (before, after) in numbers.iter().zip(numbers.iter().skip(1)) {
        if before.next() != *after {
            return Err(LogError::damage(before.next(), 0, Damage::Missing));
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_with_any_bit_flipped_is_refused() {
        let header = SegmentHeader::fresh(SegmentNo::new(7), Uuid::new_v4(), Geometry::new(65536));
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(
                    SegmentHeader::decode(&bytes),
                    Err(Damage::Magic | Damage::Checksum)
                ),
                "bit {bit}"
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn file_names_are_read_as_they_are_written() {
        for file in [
            FileName::Segment(SegmentNo::new(42)),
            FileName::Spare(3),
            FileName::SpareInMaking(0),
        ] {
            let path = file.path(Path::new("wal"));
            assert_eq!(
                FileName::parse(path.file_name().unwrap().to_str().unwrap()),
                Some(file)
            );
        }
        for other in [
            "0042.wal",
            "000000000000004x.wal",
            "spare-1",
            "spare-x.wal",
            "-000000000000001.wal",
            "",
        ] {
            assert_eq!(FileName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_gap_between_segments_names_the_missing_one() {
        let files = [3, 1, 4].map(|number| FileName::Segment(SegmentNo::new(number)));
        let error = contiguous_segments(&files).unwrap_err();
        assert!(
            matches!(error, LogError::Corrupt { segment, what: Damage::Missing, .. } if segment.get() == 2)
        );
    }
}
