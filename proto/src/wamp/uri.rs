//! What may be a URI, or a pattern of URIs (WAMP, "URIs" and "Pattern-based Subscriptions").
//!
//! Components between dots; none is empty, but for the last one of a prefix and any of a wildcard. In the loose mode a
//! component is of anything but blanks, `.` and `#`; in the strict one of lower-case letters, digits and `_`.

use std::fmt;

/// How much a URI's components may be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum UriMode {
    /// Anything but blanks, `.` and `#`.
    #[default]
    Loose,
    /// `a` to `z`, `0` to `9` and `_`.
    Strict,
}

/// How a URI is compared with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Match {
    /// They are the same; so for publishing and calling too.
    #[default]
    Exact,
    /// The other begins with it, character by character. Empty: everything matches.
    Prefix,
    /// As many components, of which empty ones match any. Empty: all of one component.
    Wildcard,
}

impl Match {
    /// As `options.match` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Match::Exact => "exact",
            Match::Prefix => "prefix",
            Match::Wildcard => "wildcard",
        }
    }

    /// The one of a name.
    pub fn named(name: &str) -> Option<Match> {
        match name {
            "exact" => Some(Match::Exact),
            "prefix" => Some(Match::Prefix),
            "wildcard" => Some(Match::Wildcard),
            _ => None,
        }
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl UriMode {
    /// Whether [`check`] has nothing to say of it.
    pub fn allow(self, uri: &str, matching: Match) -> bool {
        check(uri, self, matching).is_ok()
    }
}

/// Why a string is no URI or pattern; answered with `wamp.error.invalid_uri`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadUri {
    /// A component is empty that may not be.
    #[error("a component of the URI is empty")]
    EmptyComponent,
    /// There is a character that may not be.
    #[error("the URI has {0:?}, which may not be there")]
    Character(char),
}

/// Whether `uri` is one, or is a pattern of its kind.
///
/// # Errors
/// [`BadUri`].
pub fn check(uri: &str, mode: UriMode, matching: Match) -> Result<(), BadUri> {
    let allowed = |c: char| match mode {
        UriMode::Loose => c != '#' && !c.is_whitespace(),
        UriMode::Strict => matches!(c, 'a'..='z' | '0'..='9' | '_'),
    };
    let mut empty = true;
    for c in uri.chars() {
        if c == '.' {
            if empty && matching != Match::Wildcard {
                return Err(BadUri::EmptyComponent);
            }
            empty = true;
        } else if allowed(c) {
            empty = false;
        } else {
            return Err(BadUri::Character(c));
        }
    }
    if empty && matching == Match::Exact {
        return Err(BadUri::EmptyComponent);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For each: exact, prefix and wildcard, loose and then strict.
    const TABLE: &[(&str, [bool; 6])] = &[
        ("com.myapp.topic1", [true, true, true, true, true, true]),
        ("a", [true, true, true, true, true, true]),
        ("_", [true, true, true, true, true, true]),
        ("", [false, true, true, false, true, true]),
        (".", [false, false, true, false, false, true]),
        ("com.", [false, true, true, false, true, true]),
        ("com..topic", [false, false, true, false, false, true]),
        (".com", [false, false, true, false, false, true]),
        ("..", [false, false, true, false, false, true]),
        ("com.Topic", [true, true, true, false, false, false]),
        ("com.my-topic", [true, true, true, false, false, false]),
        ("com.größe", [true, true, true, false, false, false]),
        ("com.a/b", [true, true, true, false, false, false]),
        ("com.a b", [false; 6]),
        ("com.a\u{a0}b", [false; 6]),
        ("com.a\n", [false; 6]),
        ("com.#", [false; 6]),
        ("com.a#", [false; 6]),
    ];

    #[test]
    fn uris_and_patterns_are_as_the_table_says() {
        for (uri, wanted) in TABLE {
            let mut wanted = wanted.iter();
            for mode in [UriMode::Loose, UriMode::Strict] {
                for matching in [Match::Exact, Match::Prefix, Match::Wildcard] {
                    let found = check(uri, mode, matching).is_ok();
                    assert_eq!(Some(&found), wanted.next(), "{uri:?} {mode:?} {matching:?}");
                }
            }
        }
    }

    #[test]
    fn a_match_is_found_by_its_name() {
        for matching in [Match::Exact, Match::Prefix, Match::Wildcard] {
            assert_eq!(Match::named(matching.name()), Some(matching));
        }
        assert_eq!(Match::named("regex"), None);
    }
}
