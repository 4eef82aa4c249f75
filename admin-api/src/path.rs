//! Paths: patterns with captures, matched against a path as it is written.
//!
//! ```text
//! pattern  /api/v1/realms/{realm}/queues/{queue}:pause
//! path     /api/v1/realms/default/queues/orders%2Feu:pause
//! captures                realm            queue = orders/eu
//! ```
//!
//! A path is cut at its slashes before anything is unescaped, so that no name can reach into the segment beside it. A colon
//! that is not escaped begins an act, and acts are only in patterns: a name with a colon is written with `%3A`.
//!
//! Always, each with a test of its name below:
//! - `a_path_is_matched_as_it_is_written`: no segment is empty, none is taken for another.
//! - `a_name_that_is_not_escaped_is_told_from_no_path`.
//! - `no_name_plays_tricks`: what is captured is not empty, not `.` or `..`, has no control characters, and is UTF-8.

use crate::escape;

/// Names that a path has put in the place of a pattern's captures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Captures(Vec<(&'static str, String)>);

impl Captures {
    /// What stands for `{name}`; empty where the pattern has no such capture.
    pub(crate) fn get(&self, name: &str) -> String {
        let mut all = self.0.iter();
        let found = all.find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }
}

/// A segment of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segment<'p> {
    Literal(&'p str),
    /// A name and, where there is one, an act.
    Capture(&'p str, Option<&'p str>),
}

/// Whether `path` is one of `pattern`'s.
pub(crate) fn matches(pattern: &'static str, path: &str) -> bool {
    let mut raw = path.split('/');
    segments(pattern).all(|wanted| raw.next().is_some_and(|raw| fits(wanted, raw)))
        && raw.next().is_none()
}

/// Segments of a path that is worth a hint: with more of them it is nobody's mistake.
const HINT_SEGMENTS_MAX: usize = 64;

/// Whether `path` would be one of `pattern`'s if slashes and colons in its names were escaped.
pub(crate) fn nearly_matches(pattern: &'static str, path: &str) -> bool {
    let wanted: Vec<Segment<'_>> = segments(pattern).collect();
    let raw: Vec<&str> = path.split('/').collect();
    raw.len() <= HINT_SEGMENTS_MAX && nearly_fits(&wanted, &raw)
}

fn nearly_fits(wanted: &[Segment<'_>], raw: &[&str]) -> bool {
    match wanted.split_first() {
        None => raw.is_empty(),
        Some((Segment::Literal(text), wanted)) => raw
            .split_first()
            .is_some_and(|(first, raw)| first == text && nearly_fits(wanted, raw)),
        Some((Segment::Capture(_, act), wanted)) => (1..=raw.len()).any(|n| {
            let Some((name, raw)) = raw.split_at_checked(n) else {
                return false;
            };
            let ends = |act: &str| {
                let last = name.last().and_then(|last| last.strip_suffix(act));
                last.is_some_and(|rest| rest.ends_with(':'))
            };
            let is_name = name.iter().any(|part| !part.is_empty());
            is_name && act.is_none_or(ends) && nearly_fits(wanted, raw)
        }),
    }
}

/// What `path` has in the place of the captures of `pattern`, which it must match; or the name of the one that is bad.
pub(crate) fn captures(pattern: &'static str, path: &str) -> Result<Captures, &'static str> {
    let mut captures = Captures::default();
    for (wanted, raw) in segments(pattern).zip(path.split('/')) {
        let Segment::Capture(name, _) = wanted else {
            continue;
        };
        let raw = raw.split_once(':').map_or(raw, |(raw, _)| raw);
        let value = escape::decode(raw, false).filter(|value| is_name(value));
        captures.0.push((name, value.ok_or(name)?));
    }
    Ok(captures)
}

/// The names of a pattern's captures, in order.
pub(crate) fn names(pattern: &'static str) -> impl Iterator<Item = &'static str> {
    segments(pattern).filter_map(|segment| match segment {
        Segment::Capture(name, _) => Some(name),
        Segment::Literal(_) => None,
    })
}

fn segments(pattern: &'static str) -> impl Iterator<Item = Segment<'static>> {
    pattern.split('/').map(|text| {
        let capture = text.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        capture.map_or(Segment::Literal(text), |(name, act)| {
            Segment::Capture(name, act.strip_prefix(':'))
        })
    })
}

fn fits(wanted: Segment<'_>, raw: &str) -> bool {
    match wanted {
        Segment::Literal(text) => raw == text,
        Segment::Capture(_, None) => !raw.is_empty() && !raw.contains(':'),
        Segment::Capture(_, Some(act)) => raw
            .split_once(':')
            .is_some_and(|(name, given)| !name.is_empty() && given == act),
    }
}

fn is_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..") && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "/v1/realms/{realm}/queues/{queue}";
    const PAUSE: &str = "/v1/realms/{realm}/queues/{queue}:pause";

    #[test]
    fn a_path_is_matched_as_it_is_written() {
        for (pattern, path, fits) in [
            (QUEUE, "/v1/realms/a/queues/b", true),
            (QUEUE, "/v1/realms/a/queues/b%2Fc", true),
            (QUEUE, "/v1/realms/a/queues/b%3Apause", true),
            (QUEUE, "/v1/realms/a/queues/b:pause", false),
            (QUEUE, "/v1/realms/a:b/queues/c", false),
            (QUEUE, "/v1/realms/a/queues/", false),
            (QUEUE, "/v1/realms//queues/b", false),
            (QUEUE, "/v1/realms/a//queues/b", false),
            (QUEUE, "//v1/realms/a/queues/b", false),
            (QUEUE, "/v1/realms/a/queues/b/", false),
            (QUEUE, "/v1/realms/a/queues/b/c", false),
            (QUEUE, "/v1/realms/a/%71ueues/b", false),
            (QUEUE, "/v1/realms/a/queues", false),
            (QUEUE, "v1/realms/a/queues/b", false),
            (PAUSE, "/v1/realms/a/queues/b:pause", true),
            (PAUSE, "/v1/realms/a/queues/b", false),
            (PAUSE, "/v1/realms/a/queues/:pause", false),
            (PAUSE, "/v1/realms/a/queues/b:PAUSE", false),
            (PAUSE, "/v1/realms/a/queues/b:pause:pause", false),
            (PAUSE, "/v1/realms/a/queues/b%3Apause", false),
            ("/docs/", "/docs/", true),
            ("/docs/", "/docs", false),
            ("/docs/", "/docs//", false),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn a_name_that_is_not_escaped_is_told_from_no_path() {
        for (pattern, path, nearly) in [
            (QUEUE, "/v1/realms/a/queues/b/c", true),
            (QUEUE, "/v1/realms/a/queues/b:c", true),
            (QUEUE, "/v1/realms/a/b/queues/c//d", true),
            (QUEUE, "/v1/realms/a/queues/", false),
            (QUEUE, "/v1/realms/a/queue/b/c", false),
            (QUEUE, "/v2/realms/a/queues/b/c", false),
            (PAUSE, "/v1/realms/a/queues/b/c:pause", true),
            (PAUSE, "/v1/realms/a/queues/b:c:pause", true),
            (PAUSE, "/v1/realms/a/queues/b/c:stop", false),
            (PAUSE, "/v1/realms/a/queues/b/c", false),
            ("/docs/", "/docs/a/b", false),
        ] {
            assert_eq!(nearly_matches(pattern, path), nearly, "{pattern} {path}");
        }
        let long = format!("/v1/realms/a/queues{}", "/b".repeat(10_000));
        assert!(!nearly_matches(QUEUE, &long), "not worth the time");
    }

    #[test]
    fn captures_are_unescaped_one_by_one() {
        let of = |path| captures(PAUSE, path).unwrap();
        let names = of("/v1/realms/a%20b+c/queues/orders%2Feu%3A%E2%82%AC%25%23:pause");
        assert_eq!(names.get("realm"), "a b+c");
        assert_eq!(names.get("queue"), "orders/eu:€%#");
        assert_eq!(names.get("other"), "");
        assert_eq!(super::names(PAUSE).collect::<Vec<_>>(), ["realm", "queue"]);
    }

    #[test]
    fn no_name_plays_tricks() {
        for bad in [
            ".", "..", "%2e", "%2E%2e", ".%2e", "%00", "a%00b", "%0a", "%7f", "%", "%4", "%zz",
            "%ff", "%c0%ae",
        ] {
            let path = format!("/v1/realms/a/queues/{bad}");
            assert!(matches(QUEUE, &path), "{path}");
            assert_eq!(captures(QUEUE, &path), Err("queue"), "{path}");
        }
        for good in ["...", ".a", "a..", "%2e%2e%2e", "%2e%2e%2fa", "%20"] {
            let path = format!("/v1/realms/{good}/queues/b");
            assert!(captures(QUEUE, &path).is_ok(), "{path}");
        }
    }
}
