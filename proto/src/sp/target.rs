//! The request target of an upgrade: which address it names, and with which options.
//!
//! ```text
//! /sp/orders/eu%2Fnew/?durable=audit#x
//!     └──┬────────────┘└─┬──────────┘└ dropped
//!     Name               query: Options::parse
//!     ["orders", "eu/new"]
//! ```
//!
//! A name is split first and its escapes are read then, so that `%2F` is text within a segment. Nothing but that is a
//! separator, and there are no wildcards: `+` is text. `%00`, alone in its segment, says that the segment has no text, as it
//! does in addresses. A `$` in front of all names the broker's own space, and `%24` is text. `~` is text either way: nng
//! unescapes `%7E` before it sends it, so that the two cannot be told apart, and no client of SP has a temporary address.
//!
//! What arrives is what the user wrote, or what the library made of that: nng unescapes what need not be escaped,
//! sends characters beyond ASCII as they are, and resolves `//`, `.` and `..`; libnanomsg changes nothing and takes URLs of 127
//! bytes, without `:` and `;` in the path. [`Name::path`] writes what gets through both.

use super::escape::{decoded, push_escaped};

/// Where all addresses are.
const PREFIX: &[u8] = b"/sp/";

/// The request target of an upgrade, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// The address.
    pub name: Name,
    /// What is behind the `?`, or nothing: for [`Options::parse`](super::Options::parse).
    pub query: &'a [u8],
}

/// An address, as the texts of its segments: what they say, not how the broker spells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    segments: Vec<String>,
    is_brokers: bool,
}

/// Why a request target names no address. Places are bytes from the start of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TargetError {
    /// It does not begin with `/sp/`.
    #[error("the path does not begin with /sp/")]
    NotHere,
    /// There is no address behind the prefix.
    #[error("there is no address behind /sp/")]
    Empty,
    /// Two slashes behind each other.
    #[error("empty segment at byte {at}: drop the extra `/`")]
    EmptySegment {
        /// Where.
        at: usize,
    },
    /// A segment is `.` or `..`, which some clients and proxies resolve and others do not.
    #[error("the segment at byte {at} is `.` or `..`, which is no name")]
    DotSegment {
        /// Where it begins.
        at: usize,
    },
    /// A `%` without two hex digits.
    #[error("the `%` at byte {at} needs two hex digits: write `%25` if it is text")]
    BadEscape {
        /// Where.
        at: usize,
    },
    /// A blank or a control character as it is.
    #[error("the character at byte {at} must be escaped with `%`")]
    Unescaped {
        /// Where.
        at: usize,
    },
    /// Bytes that are not UTF-8.
    #[error("the segment at byte {at} is not UTF-8")]
    NotUtf8 {
        /// Where it begins.
        at: usize,
    },
    /// `%00` with something beside it.
    #[error("the segment at byte {at} has `%00`, which stands alone for a segment without text")]
    Nul {
        /// Where it begins.
        at: usize,
    },
}

impl TargetError {
    /// How the upgrade is answered.
    pub const fn status(self) -> u16 {
        match self {
            TargetError::NotHere => 404,
            _ => 400,
        }
    }
}

impl<'a> Target<'a> {
    /// Reads what stands between the method and the HTTP version.
    ///
    /// # Errors
    /// [`TargetError`], which says how to answer.
    pub fn parse(target: &'a [u8]) -> Result<Self, TargetError> {
        let (target, _) = cut(target, b'#');
        let (path, query) = cut(target, b'?');
        Ok(Target {
            name: Name::parse(path)?,
            query,
        })
    }
}

impl Name {
    /// A name of these texts, which no path could say otherwise. `is_brokers`: the first one begins with `$` and names the
    /// broker's own space.
    ///
    /// None: there is no path for it. It has no segment, or one that is `.` or `..` or has U+0000; or it is to be the
    /// broker's and has no `$`.
    pub fn new(segments: Vec<String>, is_brokers: bool) -> Option<Name> {
        let may_be =
            |segment: &String| !matches!(&**segment, "." | "..") && !segment.contains('\0');
        let first = segments.first()?;
        let holds = (!is_brokers || first.starts_with('$')) && segments.iter().all(may_be);
        holds.then_some(Name {
            segments,
            is_brokers,
        })
    }

    /// The texts of the segments, one at least; any of them may be without text.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &str> {
        self.segments.iter().map(String::as_str)
    }

    /// Whether the first segment, which begins with `$`, names the broker's own space. If not, nothing of it names any other
    /// space but the ordinary one: a `$` or `~` there is text.
    pub fn is_brokers(&self) -> bool {
        self.is_brokers
    }

    /// The path that says it, and gets through both libraries.
    pub fn path(&self) -> String {
        let mut path = "/sp".to_owned();
        for (n, segment) in self.segments.iter().enumerate() {
            path.push('/');
            match segment.strip_prefix('$') {
                _ if segment.is_empty() => path.push_str("%00"),
                Some(rest) if n == 0 && self.is_brokers => {
                    path.push('$');
                    push_escaped(rest, &mut path);
                }
                _ => push_escaped(segment, &mut path),
            }
        }
        path
    }

    fn parse(path: &[u8]) -> Result<Name, TargetError> {
        let (at, names) = match path.strip_prefix(PREFIX) {
            Some(names) => (PREFIX.len(), names),
            None if path == b"/sp" => return Err(TargetError::Empty),
            None => return Err(TargetError::NotHere),
        };
        let names = names.strip_suffix(b"/").unwrap_or(names);
        if names.is_empty() {
            return Err(TargetError::Empty);
        }
        let mut segments = Vec::new();
        let mut at = at;
        for name in names.split(|byte| *byte == b'/') {
            segments.push(segment(name, at)?);
            at += name.len() + 1;
        }
        Ok(Name {
            segments,
            is_brokers: names.starts_with(b"$"),
        })
    }
}

/// The text of a segment that begins at byte `at`.
fn segment(name: &[u8], at: usize) -> Result<String, TargetError> {
    if let Some(n) = name.iter().position(|byte| *byte <= b' ' || *byte == 0x7f) {
        return Err(TargetError::Unescaped { at: at + n });
    }
    let bytes = decoded(name).map_err(|n| TargetError::BadEscape { at: at + n })?;
    let text = String::from_utf8(bytes).map_err(|_| TargetError::NotUtf8 { at })?;
    match &*text {
        "" => Err(TargetError::EmptySegment { at }),
        "\0" => Ok(String::new()),
        "." | ".." => Err(TargetError::DotSegment { at }),
        _ if text.contains('\0') => Err(TargetError::Nul { at }),
        _ => Ok(text),
    }
}

/// What is in front of the first such byte, and what is behind it.
fn cut(bytes: &[u8], at: u8) -> (&[u8], &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == at);
    let front = parts.next().unwrap_or_default();
    (front, parts.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(target: &str) -> Result<Vec<String>, TargetError> {
        let target = Target::parse(target.as_bytes())?;
        Ok(target.name.segments().map(str::to_owned).collect())
    }

    #[test]
    fn a_path_is_split_and_then_unescaped() {
        for (target, segments) in [
            ("/sp/t1", &["t1"][..]),
            ("/sp/t1/", &["t1"]),
            ("/sp/orders/eu", &["orders", "eu"]),
            ("/sp/Caps", &["Caps"]),
            ("/sp/a+b", &["a+b"]),
            ("/sp/a*b;c:d", &["a*b;c:d"]),
            ("/sp/a%2Fb", &["a/b"]),
            ("/sp/a%2fb/c", &["a/b", "c"]),
            ("/sp/a%41b", &["aAb"]),
            ("/sp/%7Ex", &["~x"]),
            ("/sp/~x", &["~x"]),
            ("/sp/%C3%A9", &["é"]),
            ("/sp/é", &["é"]),
            ("/sp/a%20b", &["a b"]),
            ("/sp/%09", &["\t"]),
            ("/sp/a/%00/b", &["a", "", "b"]),
            ("/sp/%00", &[""]),
            ("/sp/%2541", &["%41"]),
            ("/sp/...", &["..."]),
            ("/sp/a/.b", &["a", ".b"]),
            ("/sp/t1?x#y", &["t1"]),
            ("/sp/t1#y?x", &["t1"]),
            ("/sp/t1/?", &["t1"]),
        ] {
            let segments: Vec<_> = segments.iter().map(ToString::to_string).collect();
            assert_eq!(names(target), Ok(segments), "{target}");
        }
    }

    #[test]
    fn what_names_no_address_is_refused_with_its_place() {
        use TargetError::*;
        for (target, error) in [
            ("", NotHere),
            ("/", NotHere),
            ("/SP/Caps", NotHere),
            ("/spx", NotHere),
            ("/mqtt", NotHere),
            ("/sp", Empty),
            ("/sp/", Empty),
            ("/sp//", Empty),
            ("/sp/?x", Empty),
            ("/sp//x", EmptySegment { at: 4 }),
            ("/sp/a//", EmptySegment { at: 6 }),
            ("/sp/a//b", EmptySegment { at: 6 }),
            ("/sp/../y", DotSegment { at: 4 }),
            ("/sp/a/./z", DotSegment { at: 6 }),
            ("/sp/a/%2E%2e", DotSegment { at: 6 }),
            ("/sp/%zz", BadEscape { at: 4 }),
            ("/sp/a/b%4", BadEscape { at: 7 }),
            ("/sp/a b", Unescaped { at: 5 }),
            ("/sp/a/\u{7f}", Unescaped { at: 6 }),
            ("/sp/a/%C3", NotUtf8 { at: 6 }),
            ("/sp/a%00", Nul { at: 4 }),
            ("/sp/%00%00", Nul { at: 4 }),
        ] {
            assert_eq!(names(target), Err(error), "{target}");
            assert_eq!(error.status(), if error == NotHere { 404 } else { 400 });
        }
        let not_utf8 = Target::parse(b"/sp/a/\xff");
        assert_eq!(not_utf8, Err(NotUtf8 { at: 6 }));
    }

    #[test]
    fn only_a_plain_dollar_names_the_broker_s_space() {
        for (target, is_brokers) in [
            ("/sp/$SYS/uptime", true),
            ("/sp/%24SYS", false),
            ("/sp/a/$SYS", false),
            ("/sp/~x", false),
        ] {
            let target = Target::parse(target.as_bytes()).unwrap();
            assert_eq!(target.name.is_brokers(), is_brokers, "{target:?}");
        }
    }

    #[test]
    fn a_query_is_what_stands_between_the_marks() {
        let query = |target: &'static str| Target::parse(target.as_bytes()).unwrap().query;
        assert_eq!(query("/sp/t1?ack=ping&x=1"), b"ack=ping&x=1");
        assert_eq!(query("/sp/t1?a?b#c"), b"a?b");
        assert_eq!(query("/sp/t1"), b"");
        assert_eq!(query("/sp/t1?"), b"");
    }

    #[test]
    fn a_path_is_written_so_that_both_libraries_take_it() {
        let path = |segments: &[&str], is_brokers| {
            let segments = segments.iter().map(ToString::to_string).collect();
            Name::new(segments, is_brokers).map(|name| name.path())
        };
        let written = |path: &str| Some(path.to_owned());
        assert_eq!(path(&["orders", "eu"], false), written("/sp/orders/eu"));
        assert_eq!(
            path(&["a/b:c;d", "", "é"], false),
            written("/sp/a%2Fb%3Ac%3Bd/%00/%C3%A9")
        );
        assert_eq!(path(&["$SYS", "$x"], true), written("/sp/$SYS/%24x"));
        assert_eq!(path(&["$SYS"], false), written("/sp/%24SYS"));
        assert_eq!(path(&[], false), None);
        assert_eq!(path(&["SYS"], true), None);
        assert_eq!(path(&["a", ".."], false), None);
        assert_eq!(path(&["a\0"], false), None);
    }
}
