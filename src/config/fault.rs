//! What is wrong with a configuration: one line for each fault, with its place, its key and what to do.
//!
//! ```text
//! restante.yaml:12:3: storage.snyc: there is no such key; did you mean `storage.sync`?
//! RESTANTE_DRAIN_TIME: drain-time: `10` has no unit; write a whole number with ms, s, m, h or d
//! ```
//!
//! Always, with a test of its name below: `a_fault_is_one_line_whatever_was_in_the_file`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longer values are cut in messages.
const SHOWN_CHARS_MAX: usize = 60;

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File {
        /// As the caller named it.
        path: Arc<Path>,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// An environment variable.
    Environment {
        /// The variable's name.
        variable: String,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Source::Environment { variable } => f.write_str(variable),
        }
    }
}

/// What is wrong with one setting. `Display` is the complaint and, after a semicolon, what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file could not be opened or read.
    #[error("cannot be read ({source}); name a file that this user may read")]
    Unreadable {
        /// Why.
        source: io::Error,
    },
    /// The file is larger than [`super::FILE_BYTES_MAX`].
    #[error(
        "the file is larger than {limit}; a configuration is never that large: is it the right file?"
    )]
    FileTooBig {
        /// The limit, with its unit.
        limit: String,
    },
    /// The file is no YAML, or no UTF-8.
    #[error("not valid YAML ({message}); check quotes, brackets and indentation")]
    Syntax {
        /// The parser's words.
        message: String,
    },
    /// A key that the table does not have.
    #[error("there is no such key; {}", did_you_mean(nearest.as_deref(), "take it out"))]
    UnknownKey {
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// A `RESTANTE_…` variable that is no key's.
    #[error("no setting has this variable; {}", did_you_mean(nearest.as_deref(), "unset it"))]
    UnknownVariable {
        /// The variable that was probably meant.
        nearest: Option<String>,
    },
    /// The same key in two spellings, nested and dotted.
    #[error("the key is there twice; keep one of them")]
    Twice,
    /// A key of a list's entry that has no default.
    #[error("the key `{key}` is missing; add it")]
    Missing {
        /// The missing key.
        key: &'static str,
    },
    /// A list or section where a value belongs, or the reverse.
    #[error("this is {found}; write {expected}")]
    WrongShape {
        /// What the table wants.
        expected: String,
        /// What is there.
        found: &'static str,
    },
    /// A value that cannot be read as what the key wants.
    #[error("`{}` {complaint}; write {expected}", shown(found))]
    WrongValue {
        /// The value.
        found: String,
        /// What is wrong with it.
        complaint: String,
        /// What the table wants.
        expected: String,
    },
    /// A listener that others can reach, without TLS.
    #[error(
        "{address} can be reached from other machines, unencrypted; set `tls.certificate` and `tls.key`, or listen on 127.0.0.1, or set `allow-insecure: true` if something in front encrypts"
    )]
    Insecure {
        /// The listener's address.
        address: SocketAddr,
    },
    /// A setting that means nothing without another.
    #[error("it means nothing without `{other}`; set both or neither")]
    Alone {
        /// The key that is missing.
        other: &'static str,
    },
    /// Two listeners on one address.
    #[error("{address} is taken by `{other}` already; choose another port")]
    AddressTaken {
        /// The address of both.
        address: SocketAddr,
        /// The key that has it.
        other: &'static str,
    },
    /// Two doors on one path.
    #[error("{path} is taken by `{other}` already; choose another path for one of them")]
    PathTaken {
        /// The path of both.
        path: String,
        /// The key that has it.
        other: &'static str,
    },
    /// A setting that cannot go with the value of another.
    #[error("{value} is less than `{other}` ({other_value}); raise this or lower that")]
    LessThan {
        /// This setting's value.
        value: String,
        /// The key that it must not be less than.
        other: &'static str,
        /// That key's value.
        other_value: String,
    },
}

/// One fault: where, which key, what.
#[derive(Debug)]
pub struct Fault {
    /// Where the value came from.
    pub source: Source,
    /// The key's path, as in `queues.policies[2].ttl`; empty if the file as a whole is at fault.
    pub key: String,
    /// What is wrong, and what to do.
    pub problem: Problem,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", shown(&self.key))?;
        }
        write!(f, "{}", self.problem)
    }
}

/// All that is wrong with a configuration, in the file's order; never empty. `Display` is one line each.
#[derive(Debug)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// `None` if there are none.
    pub(super) fn new(mut faults: Vec<Fault>) -> Option<Faults> {
        faults.sort_by(|a, b| a.source.cmp(&b.source));
        (!faults.is_empty()).then_some(Faults(faults))
    }

    /// The one fault of a file that cannot be read at all.
    pub(super) fn of_file(path: &Path, line: usize, column: usize, problem: Problem) -> Faults {
        let path = Arc::from(PathBuf::from(path));
        Faults(vec![Fault {
            source: Source::File { path, line, column },
            key: String::new(),
            problem,
        }])
    }

    /// Each fault, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

fn did_you_mean(nearest: Option<&str>, otherwise: &str) -> String {
    match nearest {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => format!("{otherwise}, or see `restante check-config --example` for all keys"),
    }
}

/// `text` without line breaks and control characters, and not longer than a line.
fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARS_MAX)
        .flat_map(printable)
        .collect();
    if text.chars().count() > SHOWN_CHARS_MAX {
        shown.push('…');
    }
    shown
}

fn printable(c: char) -> Vec<char> {
    if c.is_control() {
        c.escape_default().collect()
    } else {
        vec![c]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_one_line_whatever_was_in_the_file() {
        let found = format!("a\nb\u{1b}[31m{}", "x".repeat(500));
        let problem = Problem::WrongValue {
            found,
            complaint: "is wrong".to_owned(),
            expected: "x".to_owned(),
        };
        let source = Source::Environment {
            variable: "RESTANTE_DATA".to_owned(),
        };
        let line = Fault {
            source,
            key: "da\nta".to_owned(),
            problem,
        }
        .to_string();
        assert!(!line.contains('\n') && !line.contains('\u{1b}'), "{line:?}");
        assert!(line.len() < 200, "{line:?}");
    }
}
