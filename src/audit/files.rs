//! The log's files: `audit-NUMBER.jsonl`, by their first line's number; read backwards or forwards a piece at a time.
//!
//! Always, each with a test of its name below: `lines_are_the_same_from_both_ends`, `an_endless_line_costs_a_piece_of_memory`,
//! and in `audit::tests` `files_are_private`.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use restante_storage::{Disk, DiskFile, DiskLock, RealDisk};

use super::AuditError;
use super::line::LINE_BYTES_MAX;

/// How much is read at once.
const PIECE_BYTES: usize = 64 << 10;

/// A file of the log.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// The number of its first line.
    pub(super) first: u64,
}

impl Name {
    /// Its path in `folder`. As many digits as the largest number has, so that names sort as numbers do.
    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("audit-{:020}.jsonl", self.first))
    }

    fn parse(name: &str) -> Option<Name> {
        let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
        let is_ours = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let first = digits.parse().ok().filter(|_| is_ours)?;
        Some(Name { first })
    }
}

/// The log's files, oldest first.
///
/// # Errors
/// The folder cannot be read.
pub(super) fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<Name>, AuditError> {
    let names = disk.list(folder).map_err(failed("list", folder))?;
    let mut names: Vec<Name> = names.iter().filter_map(|name| Name::parse(name)).collect();
    names.sort_unstable();
    Ok(names)
}

/// An [`AuditError`] of `path`.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuditError {
    let path = path.to_owned();
    move |source| AuditError {
        doing,
        path,
        source,
    }
}

/// A whole line of a file, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Where it begins.
    pub(super) at: u64,
    /// Its bytes; none: it is longer than any line of ours.
    pub(super) bytes: Option<Vec<u8>>,
}

/// Whole lines from the end of a file to its beginning.
pub(super) struct Backwards<'a> {
    file: &'a dyn DiskFile,
    /// Where what is read begins.
    from: u64,
    /// Read, and not yet given out.
    read: Vec<u8>,
    /// How many bytes of a line that is too long lie behind `read`.
    long: bool,
    /// Bytes behind the last end of a line.
    pub(super) torn_bytes: u64,
    ended: bool,
}

impl<'a> Backwards<'a> {
    /// From the end of `file` as it is now.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn new(file: &'a dyn DiskFile) -> io::Result<Backwards<'a>> {
        let end = file.len_bytes()?;
        let mut lines = Backwards {
            file,
            from: end,
            read: Vec::new(),
            long: false,
            torn_bytes: 0,
            ended: false,
        };
        lines.skip_torn(end)?;
        Ok(lines)
    }

    /// Goes to the last end of a line.
    fn skip_torn(&mut self, end: u64) -> io::Result<()> {
        loop {
            if let Some(at) = self.read.iter().rposition(|byte| *byte == b'\n') {
                self.read.truncate(at);
                self.torn_bytes = end - (self.from + at as u64 + 1);
                return Ok(());
            }
            self.read.clear();
            if self.from == 0 {
                self.torn_bytes = end;
                self.ended = true;
                return Ok(());
            }
            self.more()?;
        }
    }

    /// The line before.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        if self.ended {
            return Ok(None);
        }
        loop {
            if let Some(at) = self.read.iter().rposition(|byte| *byte == b'\n') {
                let bytes = self.read.split_off(at + 1);
                self.read.truncate(at);
                return Ok(Some(self.line(self.from + at as u64 + 1, bytes)));
            }
            if self.from == 0 {
                self.ended = true;
                let bytes = std::mem::take(&mut self.read);
                return Ok(Some(self.line(0, bytes)));
            }
            if self.read.len() > LINE_BYTES_MAX {
                self.long = true;
                self.read.clear();
            }
            self.more()?;
        }
    }

    fn line(&mut self, at: u64, bytes: Vec<u8>) -> Line {
        let long = std::mem::take(&mut self.long) || bytes.len() > LINE_BYTES_MAX;
        Line {
            at,
            bytes: (!long).then_some(bytes),
        }
    }

    fn more(&mut self) -> io::Result<()> {
        let n = self.from.min(PIECE_BYTES as u64);
        self.from -= n;
        let mut piece = vec![0; usize::try_from(n).unwrap_or(PIECE_BYTES)];
        let read = self.file.read_at(&mut piece, self.from)?;
        piece.truncate(read);
        piece.append(&mut self.read);
        self.read = piece;
        Ok(())
    }
}

/// Lines from the beginning of a file to its end.
pub(super) struct Forwards<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    read: Vec<u8>,
    long: bool,
}

/// What is next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A whole line.
    Line(Line),
    /// So many bytes that are no whole line, and the end.
    Torn(u64),
    /// The end.
    End,
}

impl<'a> Forwards<'a> {
    pub(super) fn new(file: &'a dyn DiskFile) -> Forwards<'a> {
        Forwards {
            file,
            at: 0,
            read: Vec::new(),
            long: false,
        }
    }

    /// The next line.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        let begin = self.at;
        let mut looked = 0;
        loop {
            let unseen = self.read.get(looked..).unwrap_or_default();
            if let Some(at) = unseen.iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(looked + at + 1);
                let mut bytes = std::mem::replace(&mut self.read, rest);
                self.at += bytes.len() as u64;
                bytes.pop();
                let long = std::mem::take(&mut self.long) || bytes.len() > LINE_BYTES_MAX;
                return Ok(Next::Line(Line {
                    at: begin,
                    bytes: (!long).then_some(bytes),
                }));
            }
            if self.read.len() > LINE_BYTES_MAX {
                self.long = true;
                self.at += self.read.len() as u64;
                self.read.clear();
            }
            looked = self.read.len();
            let mut piece = vec![0; PIECE_BYTES];
            let n = self
                .file
                .read_at(&mut piece, self.at + self.read.len() as u64)?;
            if n == 0 {
                let torn = self.at + self.read.len() as u64 - begin;
                self.at += self.read.len() as u64;
                self.read.clear();
                return Ok(if torn > 0 {
                    Next::Torn(torn)
                } else {
                    Next::End
                });
            }
            piece.truncate(n);
            self.read.append(&mut piece);
        }
    }
}

/// The machine's disk, on which what is made is its owner's alone.
pub(super) struct PrivateDisk;

impl Disk for PrivateDisk {
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Arc::new(options.open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        }
        Ok(Arc::new(file))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open_read(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let is_new = !dir.exists();
        RealDisk.create_dir_all(dir)?;
        if is_new {
            std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        RealDisk.lock(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use restante_storage::sim::SimDisk;

    fn file(bytes: &[u8]) -> Arc<dyn DiskFile> {
        let disk = SimDisk::new();
        let file = disk.create_new(Path::new("x")).unwrap();
        file.write_at(bytes, 0).unwrap();
        file
    }

    fn backwards(file: &dyn DiskFile) -> (Vec<Line>, u64) {
        let mut lines = Backwards::new(file).unwrap();
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(line);
        }
        all.reverse();
        (all, lines.torn_bytes)
    }

    fn forwards(file: &dyn DiskFile) -> (Vec<Line>, u64) {
        let mut lines = Forwards::new(file);
        let mut all = Vec::new();
        loop {
            match lines.next().unwrap() {
                Next::Line(line) => all.push(line),
                Next::Torn(bytes) => return (all, bytes),
                Next::End => return (all, 0),
            }
        }
    }

    #[test]
    fn names_are_told_from_other_files() {
        let name = Name { first: 42 };
        let path = name.path(Path::new("audit"));
        assert_eq!(path, Path::new("audit/audit-00000000000000000042.jsonl"));
        assert_eq!(Name::parse("audit-00000000000000000042.jsonl"), Some(name));
        for other in [
            "audit-42.jsonl",
            "audit-+0000000000000000042.jsonl",
            "x",
            "audit-.jsonl",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn an_endless_line_costs_a_piece_of_memory() {
        let mut bytes = b"first\n".to_vec();
        bytes.resize(bytes.len() + 2 * LINE_BYTES_MAX, b'x');
        bytes.extend_from_slice(b"\nlast\ntorn");
        let file = file(&bytes);
        let line = |at, text: Option<&str>| Line {
            at,
            bytes: text.map(|text| text.as_bytes().to_vec()),
        };
        let wanted = vec![
            line(0, Some("first")),
            line(6, None),
            line(7 + 2 * LINE_BYTES_MAX as u64, Some("last")),
        ];
        let (backwards, torn) = backwards(&*file);
        assert_eq!((backwards, torn), (forwards(&*file).0, 4));
        assert_eq!(forwards(&*file), (wanted, 4));
        let mut lines = Forwards::new(&*file);
        while lines.next().unwrap() != Next::Torn(4) {
            assert!(lines.read.capacity() <= 4 * LINE_BYTES_MAX);
        }
    }

    proptest! {
        #[test]
        fn lines_are_the_same_from_both_ends(
            lines in prop::collection::vec((0_u8..26, 0_usize..90_000), 0..8),
            torn in 0_usize..70_000,
        ) {
            let mut bytes = Vec::new();
            for (letter, length) in &lines {
                bytes.resize(bytes.len() + length, b'a' + letter);
                bytes.push(b'\n');
            }
            bytes.resize(bytes.len() + torn, b'T');
            let file = file(&bytes);
            let (found, torn_bytes) = forwards(&*file);
            prop_assert_eq!(found.len(), lines.len());
            for (line, (letter, length)) in found.iter().zip(&lines) {
                prop_assert_eq!(line.bytes.as_deref(), Some(&*vec![b'a' + letter; *length]));
            }
            prop_assert_eq!(torn_bytes, torn as u64);
            prop_assert_eq!(backwards(&*file), (found, torn_bytes));
        }
    }
}
