//! What a request's headers say on how it is to be done: `If-Match`, `If-None-Match`, `Idempotency-Key`, trace context.
//!
//! An ETag is a revision in quotes. A condition that cannot be met is 412, one that cannot be read is 400; none is ever
//! passed over, for its sender counts on it.
//!
//! Always, each with a test of its name below:
//! - `a_condition_is_read_or_refused`, `known_tags_are_read_or_refused`.

use hyper::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};

use crate::control::Precondition;
use crate::problem::{Code, Problem};

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Long enough for two UUIDs with a prefix.
const KEY_BYTES_MAX: usize = 128;

/// W3C Trace Context §3.3.1.1 asks for 512 at least.
const TRACESTATE_BYTES_MAX: usize = 512;

/// The ETag of something that has `revision`.
pub(crate) fn etag(revision: u64) -> HeaderValue {
    // A number in quotes has no byte that a header may not have.
    HeaderValue::try_from(format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// What must be so for a change to be made.
///
/// # Errors
/// Malformed, or both headers: 400.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Precondition, Problem> {
    match (one(headers, IF_MATCH)?, one(headers, IF_NONE_MATCH)?) {
        (None, None) => Ok(Precondition::None),
        (Some(_), Some(_)) => Err(bad("If-Match", "cannot be combined with If-None-Match")),
        (None, Some("*")) => Ok(Precondition::Absent),
        (None, Some(_)) => Err(bad("If-None-Match", "is `*` here")),
        (Some("*"), None) => Ok(Precondition::Present),
        (Some(tag), None) => match_tag(tag),
    }
}

fn match_tag(tag: &str) -> Result<Precondition, Problem> {
    let strong = tag.strip_prefix("W/").unwrap_or(tag);
    let quoted = strong.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let opaque = quoted.filter(|it| it.bytes().all(|b| b != b'"' && b.is_ascii_graphic()));
    let Some(opaque) = opaque else {
        return Err(bad("If-Match", "is `*` or one ETag, such as `\"7\"`"));
    };
    match opaque.parse::<u64>() {
        // Only the form that we give: `"07"` and weak tags compare equal to nothing (RFC 9110 §8.8.3.2).
        Ok(revision) if tag.len() == strong.len() && revision.to_string() == opaque => {
            Ok(Precondition::Revision(revision))
        }
        // What else is wrong with the request is said first.
        _ => Ok(Precondition::Revision(NO_REVISION)),
    }
}

/// A revision that nothing ever has.
const NO_REVISION: u64 = u64::MAX;

/// ETags, for one of which the client has the answer already.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoneMatch {
    /// Whichever there is.
    Any,
    /// One of these, quotes included and without `W/`: the comparison is the weak one (RFC 9110 §13.1.2).
    Tags(Vec<String>),
}

impl NoneMatch {
    /// Whether `tag`, one of ours, is among them.
    pub(crate) fn has(&self, tag: &HeaderValue) -> bool {
        match self {
            NoneMatch::Any => true,
            NoneMatch::Tags(tags) => tags.iter().any(|it| it.as_bytes() == tag.as_bytes()),
        }
    }
}

/// The `If-None-Match` of a GET.
///
/// # Errors
/// Neither `*` nor ETags between commas: 400.
pub(crate) fn none_match(headers: &HeaderMap) -> Result<Option<NoneMatch>, Problem> {
    let text = match one(headers, IF_NONE_MATCH)? {
        None => return Ok(None),
        Some("*") => return Ok(Some(NoneMatch::Any)),
        Some(text) => text,
    };
    let mut tags = Vec::new();
    let mut rest = text;
    loop {
        let strong = rest.strip_prefix("W/").unwrap_or(rest);
        let tag = strong.strip_prefix('"').and_then(|it| it.split_once('"'));
        let tag = tag.filter(|(opaque, _)| opaque.bytes().all(|b| b.is_ascii_graphic()));
        let Some((opaque, behind)) = tag else {
            return Err(bad("If-None-Match", "is `*` or ETags between commas"));
        };
        tags.push(format!("\"{opaque}\""));
        let behind = behind.trim_start();
        if behind.is_empty() {
            return Ok(Some(NoneMatch::Tags(tags)));
        }
        let next = behind.strip_prefix(',').map(str::trim_start);
        rest = next.unwrap_or_default();
    }
}

/// The request's `Idempotency-Key`.
///
/// # Errors
/// Twice, empty, too long or not ASCII: 400.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    match one(headers, IDEMPOTENCY_KEY)? {
        Some(key) if !is_key(key) => Err(bad(
            "Idempotency-Key",
            &format!("has 1 to {KEY_BYTES_MAX} characters, and no spaces"),
        )),
        key => Ok(key.map(str::to_owned)),
    }
}

fn is_key(text: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The request's place in a trace, if it has a well-formed one: `traceparent` and `tracestate`.
pub(crate) fn trace(headers: &HeaderMap) -> Option<(String, Option<String>)> {
    let parent = one(headers, HeaderName::from_static("traceparent")).ok()??;
    if !is_traceparent(parent) {
        return None;
    }
    let state = one(headers, HeaderName::from_static("tracestate")).ok()?;
    let state = state.filter(|it| !it.is_empty() && it.len() <= TRACESTATE_BYTES_MAX);
    Some((parent.to_owned(), state.map(str::to_owned)))
}

/// W3C Trace Context §3.2.2: version 00, ids that are not all zero.
fn is_traceparent(text: &str) -> bool {
    let hex = |part: &str, len| {
        part.len() == len && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |part: &str, len| hex(part, len) && part.bytes().any(|b| b != b'0');
    let mut parts = text.split('-');
    parts.next() == Some("00")
        && parts.next().is_some_and(|part| id(part, 32))
        && parts.next().is_some_and(|part| id(part, 16))
        && parts.next().is_some_and(|part| hex(part, 2))
        && parts.next().is_none()
}

/// The one value of a header.
fn one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Problem> {
    let mut all = headers.get_all(&name).iter();
    let Some(value) = all.next() else {
        return Ok(None);
    };
    if all.next().is_some() {
        return Err(bad(name.as_str(), "is given twice"));
    }
    match value.to_str() {
        Ok(text) => Ok(Some(text.trim())),
        Err(_) => Err(bad(name.as_str(), "is not ASCII")),
    }
}

pub(crate) fn bad(name: &str, detail: &str) -> Problem {
    Problem::new(Code::InvalidHeader, format!("`{name}` {detail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|&(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        pairs.collect()
    }

    #[test]
    fn a_condition_is_read_or_refused() {
        let read = |pairs| precondition(&headers(pairs)).map_err(|problem| problem.code());
        let revision = |n| Ok(Precondition::Revision(n));
        let bad = Err(Code::InvalidHeader);
        for (pairs, outcome) in [
            (&[][..], Ok(Precondition::None)),
            (&[("if-match", "*")], Ok(Precondition::Present)),
            (&[("if-none-match", "*")], Ok(Precondition::Absent)),
            (&[("if-match", "\"7\"")], revision(7)),
            (&[("if-match", " \"0\" ")], revision(0)),
            (
                &[("if-match", "\"18446744073709551615\"")],
                revision(u64::MAX),
            ),
            (
                &[("if-match", "\"07\"")],
                Ok(Precondition::Revision(NO_REVISION)),
            ),
            (
                &[("if-match", "\"+7\"")],
                Ok(Precondition::Revision(NO_REVISION)),
            ),
            (
                &[("if-match", "W/\"7\"")],
                Ok(Precondition::Revision(NO_REVISION)),
            ),
            (
                &[("if-match", "\"abc\"")],
                Ok(Precondition::Revision(NO_REVISION)),
            ),
            (
                &[("if-match", "\"\"")],
                Ok(Precondition::Revision(NO_REVISION)),
            ),
            (
                &[("if-match", "\"18446744073709551616\"")],
                Ok(Precondition::Revision(NO_REVISION)),
            ),
            (&[("if-match", "7")], bad),
            (&[("if-match", "")], bad),
            (&[("if-match", "\"")], bad),
            (&[("if-match", "\"7\", \"8\"")], bad),
            (&[("if-match", "\"7\""), ("if-match", "*")], bad),
            (&[("if-match", "*"), ("if-none-match", "*")], bad),
            (&[("if-none-match", "\"7\"")], bad),
        ] {
            assert_eq!(read(pairs), outcome, "{pairs:?}");
        }
    }

    #[test]
    fn known_tags_are_read_or_refused() {
        let known = |text, revision| {
            let read = none_match(&headers(&[("if-none-match", text)]));
            let read = read.map_err(|problem| problem.code());
            read.map(|it| it.unwrap().has(&etag(revision)))
        };
        assert_eq!(none_match(&headers(&[])).unwrap(), None);
        for (text, outcome) in [
            ("*", Ok(true)),
            ("\"7\"", Ok(true)),
            ("W/\"7\"", Ok(true)),
            ("\"6\", W/\"7\"", Ok(true)),
            ("\"7\",\"6\"", Ok(true)),
            ("\"a,b\" , \"7\"", Ok(true)),
            ("\"8\"", Ok(false)),
            ("\"07\"", Ok(false)),
            ("\"\"", Ok(false)),
            ("", Err(Code::InvalidHeader)),
            ("7", Err(Code::InvalidHeader)),
            ("\"7", Err(Code::InvalidHeader)),
            ("\"7\" \"8\"", Err(Code::InvalidHeader)),
            ("\"7\",", Err(Code::InvalidHeader)),
            ("*, \"7\"", Err(Code::InvalidHeader)),
            ("w/\"7\"", Err(Code::InvalidHeader)),
        ] {
            assert_eq!(known(text, 7), outcome, "{text}");
        }
    }

    #[test]
    fn an_etag_is_read_back() {
        for revision in [0, 7, u64::MAX] {
            let mut headers = HeaderMap::new();
            headers.insert(IF_MATCH, etag(revision));
            let read = precondition(&headers).unwrap();
            assert_eq!(read, Precondition::Revision(revision));
        }
    }

    #[test]
    fn a_trace_is_taken_only_if_it_is_one() {
        const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read = |pairs| trace(&headers(pairs));
        let state = |state: &str| Some((PARENT.to_owned(), Some(state.to_owned())));
        assert_eq!(read(&[]), None);
        assert_eq!(
            read(&[("traceparent", PARENT)]),
            Some((PARENT.to_owned(), None))
        );
        assert_eq!(
            read(&[("traceparent", PARENT), ("tracestate", "a=1")]),
            state("a=1")
        );
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(trace(&headers(&[("traceparent", bad)])), None, "{bad}");
        }
    }
}
