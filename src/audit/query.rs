//! Reading the log from its end, a piece at a time: what it costs in memory is the answer and two lines.
//!
//! Tests: `audit::tests`.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use restante_admin_api::audit::{AuditEntry, AuditQuery};
use restante_storage::Disk;

use super::files::{Backwards, failed, list};
use super::{AuditError, clean, denials, line};

/// More is not given at once; whoever wants it asks again, with `before`.
const LIMIT_MAX: usize = 1000;

/// The lines that `query` asks for, newest first. A file that is rotated away meanwhile is as good as read.
pub(super) fn read(
    disk: &dyn Disk,
    folder: &Path,
    query: &AuditQuery,
) -> Result<Vec<AuditEntry>, AuditError> {
    let query = clean::query(query);
    let limit = query.limit.min(LIMIT_MAX);
    let mut found = Vec::new();
    for name in list(disk, folder)?.iter().rev() {
        if found.len() >= limit {
            break;
        }
        if query.before.is_some_and(|before| name.first >= before) {
            continue;
        }
        let path = name.path(folder);
        match read_file(disk, &path, &query, limit, &mut found) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => read.map_err(failed("read", &path))?,
        }
    }
    Ok(found)
}

fn read_file(
    disk: &dyn Disk,
    path: &Path,
    query: &AuditQuery,
    limit: usize,
    found: &mut Vec<AuditEntry>,
) -> io::Result<()> {
    let file = disk.open_read(path)?;
    let mut lines = Backwards::new(&*file)?;
    while found.len() < limit
        && let Some(line) = lines.next()?
    {
        let entry = line.bytes.and_then(|bytes| line::decode(&bytes));
        found.extend(
            entry
                .map(|(entry, _)| entry)
                .filter(|it| matches(query, it)),
        );
    }
    Ok(())
}

/// Of which changes there are lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounted {
    /// All up to this revision were accounted for when the broker came up the last time. None: it is not known.
    pub upto: Option<u64>,
    /// Revisions behind that of which there is a line.
    pub revisions: BTreeSet<u64>,
    /// The last revision of a line that tells of many at once: which of those before have no line of their own, is not known.
    pub together_upto: u64,
}

impl Accounted {
    /// Whether a change was made of which there should be a line, and is none.
    #[must_use]
    pub fn misses(&self, revision: u64) -> bool {
        self.upto.is_some_and(|upto| revision > upto)
            && revision > self.together_upto
            && !self.revisions.contains(&revision)
    }
}

/// Reads backwards to the last line that says that the broker came up.
pub(super) fn accounted(disk: &dyn Disk, folder: &Path) -> Result<Accounted, AuditError> {
    let mut accounted = Accounted::default();
    for name in list(disk, folder)?.iter().rev() {
        let path = name.path(folder);
        let file = disk.open_read(&path).map_err(failed("open", &path))?;
        let mut lines = Backwards::new(&*file).map_err(failed("read", &path))?;
        while let Some(line) = lines.next().map_err(failed("read", &path))? {
            let entry = line.bytes.and_then(|bytes| line::decode(&bytes));
            let Some((entry, _)) = entry else { continue };
            let Some(revision) = entry.revision else {
                continue;
            };
            if entry.door == super::BROKER && entry.act == super::START {
                accounted.upto = Some(revision);
                return Ok(accounted);
            }
            if entry.act == denials::TOGETHER {
                accounted.together_upto = accounted.together_upto.max(revision);
            }
            accounted.revisions.insert(revision);
        }
    }
    // Where the line is rotated away, what is older than all that is there has had its time.
    accounted.upto = accounted.revisions.first().copied();
    Ok(accounted)
}

fn matches(query: &AuditQuery, entry: &AuditEntry) -> bool {
    let is = |wanted: &Option<String>, it: &str| wanted.as_ref().is_none_or(|wanted| wanted == it);
    query.before.is_none_or(|before| entry.number < before)
        && query.since.is_none_or(|since| entry.time >= since)
        && is(&query.principal, &entry.principal)
        && is(&query.result, &entry.result)
        && query
            .target
            .as_ref()
            .is_none_or(|target| entry.target.starts_with(target.as_str()))
}
