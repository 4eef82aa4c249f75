//! Reading the log from its beginning, to find what somebody has changed or taken out.
//!
//! What cannot be found by the log alone: lines missing at its end, and whole files missing at its beginning, which rotation removes too. For the
//! first, note [`Verified::head`] where the log's owner cannot reach it, and look whether a later run still has that line.
//!
//! Tests: `audit::tests`.

use std::fmt;
use std::path::Path;

use restante_storage::Disk;

use super::files::{Forwards, Name, Next, PrivateDisk, failed, list};
use super::line::{self, Hash};
use super::{AuditError, files};

/// More are counted and not told one by one.
const FAULTS_MAX: usize = 100;

/// What [`verify`] has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Files.
    pub files: usize,
    /// Whole lines.
    pub lines: u64,
    /// The first line's number; none: there is no line.
    pub first: Option<u64>,
    /// The last line's number.
    pub last: Option<u64>,
    /// The last line's hash, as 64 hexadecimal digits; what the next line will have as `prev`.
    pub head: Option<String>,
    /// Bytes behind the last whole line of the newest file: a crash, or a line that is just being written.
    pub torn_bytes: u64,
    /// What is wrong; the first hundred.
    pub faults: Vec<Fault>,
    /// How many things are wrong.
    pub n_faults: u64,
}

impl Verified {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.n_faults == 0
    }
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first.unwrap_or(0), self.last.unwrap_or(0));
        write!(
            f,
            "audit log: {} lines in {} files, {first} to {last}, head {}",
            self.lines,
            self.files,
            self.head.as_deref().unwrap_or("none")
        )?;
        if self.torn_bytes > 0 {
            write!(f, "\n{} bytes behind the last line", self.torn_bytes)?;
        }
        for fault in &self.faults {
            write!(f, "\n{fault}")?;
        }
        if self.n_faults > self.faults.len() as u64 {
            write!(
                f,
                "\n… and {} more",
                self.n_faults - self.faults.len() as u64
            )?;
        }
        Ok(())
    }
}

/// Something wrong at a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file's name.
    pub file: String,
    /// Where in it the line begins, in bytes.
    pub at: u64,
    /// What is wrong.
    pub what: What,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at byte {}: {}", self.file, self.at, self.what)
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// It is no line of an audit log.
    #[error("this is no line of the audit log")]
    Unreadable,
    /// It does not carry the hash of the line before: that one, or this one's `prev`, was changed.
    #[error("the line before was changed, taken out or put in")]
    Chain,
    /// It has another number than the one after the line before.
    #[error("this should be line {wanted} and is {found}")]
    Number {
        /// The one that should stand there.
        wanted: u64,
        /// The one that does.
        found: u64,
    },
    /// A file that is not the newest ends in the middle of a line.
    #[error("the file ends in the middle of a line")]
    Torn,
}

/// Reads the whole audit log in `folder` and changes nothing; the broker may be running.
///
/// # Errors
/// [`AuditError`]: it cannot be read. What is wrong in it is no error but in [`Verified::faults`].
pub fn verify(folder: &Path) -> Result<Verified, AuditError> {
    verify_on(&PrivateDisk, folder)
}

pub(super) fn verify_on(disk: &dyn Disk, folder: &Path) -> Result<Verified, AuditError> {
    let names = list(disk, folder)?;
    let mut walk = Walk {
        verified: Verified {
            files: names.len(),
            ..Verified::default()
        },
        before: None,
    };
    for (index, name) in names.iter().enumerate() {
        let is_newest = index + 1 == names.len();
        walk.file(disk, folder, name, is_newest)?;
    }
    let Walk { verified, before } = walk;
    Ok(Verified {
        last: before.map(|(number, _)| number),
        head: before.map(|(_, hash)| hash.to_hex()),
        ..verified
    })
}

struct Walk {
    verified: Verified,
    /// Number and hash of the line before.
    before: Option<(u64, Hash)>,
}

impl Walk {
    fn file(
        &mut self,
        disk: &dyn Disk,
        folder: &Path,
        name: &Name,
        is_newest: bool,
    ) -> Result<(), AuditError> {
        let path = name.path(folder);
        let file = disk.open_read(&path).map_err(failed("open", &path))?;
        let mut lines = Forwards::new(&*file);
        let label = path
            .file_name()
            .map(|it| it.to_string_lossy().into_owned())
            .unwrap_or_default();
        let mut at_first = true;
        loop {
            match lines.next().map_err(failed("read", &path))? {
                Next::Line(line) => {
                    let wanted = at_first.then_some(name.first);
                    at_first = false;
                    self.line(&label, &line, wanted);
                }
                Next::Torn(bytes) if is_newest => self.verified.torn_bytes = bytes,
                Next::Torn(_) => self.fault(&label, 0, What::Torn),
                Next::End => return Ok(()),
            }
        }
    }

    fn line(&mut self, file: &str, line: &files::Line, by_name: Option<u64>) {
        self.verified.lines += 1;
        let bytes = line.bytes.as_deref().unwrap_or_default();
        let hash = Hash::of(bytes);
        let next = self.before.map(|(number, _)| number + 1);
        let wanted = next.or(by_name);
        let number = match line::decode(bytes) {
            Some((entry, prev)) => {
                let number = entry.number;
                if let Some(wanted) = wanted.filter(|wanted| *wanted != number) {
                    let found = number;
                    self.fault(file, line.at, What::Number { wanted, found });
                }
                let before = match self.before {
                    Some((_, hash)) => Some(hash),
                    // Whatever came before the oldest file that is left, but nothing comes before line 1.
                    None => (number == 1).then_some(Hash::NONE),
                };
                if before.is_some_and(|hash| hash.to_hex() != prev) {
                    self.fault(file, line.at, What::Chain);
                }
                number
            }
            None => {
                self.fault(file, line.at, What::Unreadable);
                wanted.unwrap_or(1)
            }
        };
        self.verified.first.get_or_insert(number);
        self.before = Some((number, hash));
    }

    fn fault(&mut self, file: &str, at: u64, what: What) {
        self.verified.n_faults += 1;
        if self.verified.faults.len() < FAULTS_MAX {
            let file = file.to_owned();
            self.verified.faults.push(Fault { file, at, what });
        }
    }
}
