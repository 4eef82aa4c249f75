//! A read-only walk over a whole log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use uuid::Uuid;

use super::{SegmentInfo, TailEnd};
use crate::{Disk, Kind, LogError};

/// What a folder holds.
#[derive(Debug)]
pub struct Report {
    /// The node that wrote it.
    pub node: Uuid,
    /// Its segments, oldest first, with their records by kind.
    pub segments: Vec<(SegmentInfo, BTreeMap<Kind, u64>)>,
    /// How the log ends.
    pub tail: Option<TailEnd>,
    /// The first place that is wrong, if any.
    pub damage: Option<LogError>,
}

/// Reads the whole log in `dir` and changes nothing. On a log that is running, the end may look torn.
///
/// # Errors
/// [`LogError::Io`] and [`LogError::Meta`]; damage in the log itself is part of the report.
pub fn verify(disk: Arc<dyn Disk>, dir: &Path) -> Result<Report, LogError> {
    todo!("{} {}", dir.display(), Arc::strong_count(&disk))
}
