//! A read-only walk over a whole log, for an operator: what is there, and the first place that is wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::meta::Meta;
use super::scan::judge;
use super::segment::{Geometry, SegmentHeader, contiguous_segments, list_files};
use super::walk::{SegmentWalk, Step};
use super::{SegmentInfo, Torn};
use crate::{Damage, Disk, Kind, LogError, Lsn, SegmentNo};

/// What a folder holds.
#[derive(Debug)]
pub struct Report {
    /// The node that wrote it.
    pub node: Uuid,
    /// Its segments, oldest first, up to the first that is damaged.
    pub segments: Vec<SegmentReport>,
    /// What a crash left half-written at the end; the next start drops it.
    pub torn: Option<Torn>,
    /// The first place that is wrong, if any: the log does not start.
    pub damage: Option<LogError>,
}

/// What a segment holds.
#[derive(Debug, Clone)]
pub struct SegmentReport {
    /// Which one.
    pub segment: SegmentInfo,
    /// Its records by kind.
    pub kinds: BTreeMap<Kind, u64>,
    /// Where its last record ends.
    pub end: Lsn,
    /// Whether a record says that it ends there.
    pub sealed: bool,
}

/// Reads the whole log in `dir` and changes nothing. On a log that is running, the end may look torn.
///
/// # Errors
/// [`LogError::Io`] and [`LogError::Meta`]; damage in the log itself is part of the report.
pub fn verify(disk: Arc<dyn Disk>, dir: &Path) -> Result<Report, LogError> {
    let meta = Meta::load(&*disk, dir)?.ok_or_else(|| LogError::Meta {
        path: dir.join("META"),
        what: Damage::Missing,
    })?;
    let mut report = Report {
        node: meta.node,
        segments: Vec::new(),
        torn: None,
        damage: None,
    };
    match report.walk(&*disk, &dir.join("wal"), meta) {
        Ok(()) => {}
        Err(io @ LogError::Io { .. }) => return Err(io),
        Err(damage) => report.damage = Some(damage),
    }
    Ok(report)
}

impl Report {
    fn walk(&mut self, disk: &dyn Disk, wal: &Path, meta: Meta) -> Result<(), LogError> {
        let geometry = Geometry::new(meta.segment_bytes);
        let numbers = contiguous_segments(&list_files(disk, wal)?)?;
        for number in &numbers {
            let header = SegmentHeader::read(disk, wal, *number, meta.node, geometry)?;
            let walk = SegmentWalk::open(disk, wal, *number, header.salt(), geometry)?;
            let newest = numbers.last().copied().unwrap_or_default();
            self.walk_segment(walk, geometry.info(*number), newest)?;
        }
        Ok(())
    }

    fn walk_segment(
        &mut self,
        mut walk: SegmentWalk,
        segment: SegmentInfo,
        newest: SegmentNo,
    ) -> Result<(), LogError> {
        let mut found = SegmentReport {
            segment,
            kinds: BTreeMap::new(),
            end: segment.first,
            sealed: false,
        };
        let bad = loop {
            match walk.step()? {
                Step::Record(record) => {
                    *found.kinds.entry(record.kind()).or_default() += 1;
                    found.end = record.end();
                }
                Step::Sealed { .. } => break None,
                Step::Bad { place, what } => break Some((place, what)),
            }
        };
        found.sealed = bad.is_none();
        self.segments.push(found);
        if let Some((place, what)) = bad {
            self.torn = judge(&mut walk, segment.number, newest, place, what)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "node {}", self.node)?;
        for SegmentReport {
            segment,
            kinds,
            end,
            sealed,
        } in &self.segments
        {
            let end_is = if *sealed { "sealed" } else { "open" };
            write!(
                f,
                "segment {:016}  lsn {}..{end}  {end_is}",
                segment.number.get(),
                segment.first
            )?;
            for (kind, n) in kinds {
                write!(f, "  {kind:?} {n}")?;
            }
            writeln!(f)?;
        }
        if let Some(Torn {
            segment,
            offset,
            what,
        }) = &self.torn
        {
            writeln!(f, "torn tail in segment {segment} at byte {offset}: {what}")?;
        }
        match &self.damage {
            Some(damage) => writeln!(f, "{damage}"),
            None => writeln!(f, "no damage"),
        }
    }
}
