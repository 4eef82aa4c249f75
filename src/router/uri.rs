//! URIs and patterns: what may be written, and what matches what (wamp.md §2).
//!
//! A pattern is a text and how it is to be matched: `com.foo.` as a prefix takes every URI that begins with these characters,
//! `com..get` as a wildcard takes those with as many components where the written ones are the same.

use std::fmt;

use serde_json::Value;

/// How the URI of a subscription or registration is to be matched (the option `match`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    /// The URI itself.
    #[default]
    Exact,
    /// Every URI that begins with these characters, in the middle of a component too.
    Prefix,
    /// Every URI with as many components; an empty one of the pattern matches any.
    Wildcard,
}

impl Match {
    /// By its name in options; none for any other text.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "exact" => Some(Self::Exact),
            "prefix" => Some(Self::Prefix),
            "wildcard" => Some(Self::Wildcard),
            _ => None,
        }
    }

    /// Its name in options and meta events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Prefix => "prefix",
            Self::Wildcard => "wildcard",
        }
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a component may be made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UriRules {
    /// Anything but whitespace, `.` and `#`.
    #[default]
    Loose,
    /// Only `0-9`, `a-z` and `_`.
    Strict,
}

impl UriRules {
    /// Whether `uri` may be published to, called, or be the pattern of a subscription or registration matched as `how`.
    ///
    /// A prefix may end with an empty component, and be empty: then it matches everything. A wildcard may have empty
    /// components anywhere.
    #[must_use]
    pub fn allow(self, uri: &str, how: Match) -> bool {
        let mut components = uri.split('.').peekable();
        while let Some(component) = components.next() {
            let may_be_empty = match how {
                Match::Exact => false,
                Match::Prefix => components.peek().is_none(),
                Match::Wildcard => true,
            };
            let is_good = component.chars().all(|character| self.allow_in(character));
            if !is_good || (component.is_empty() && !may_be_empty) {
                return false;
            }
        }
        true
    }

    fn allow_in(self, character: char) -> bool {
        match self {
            Self::Loose => !character.is_whitespace() && character != '#',
            Self::Strict => matches!(character, '0'..='9' | 'a'..='z' | '_'),
        }
    }
}

/// Whether the URI, or pattern, is in the router's own name space: its first component is `wamp`.
///
/// Nobody registers or publishes there. Meta events go only to subscriptions that are there, so that a catch-all, the prefix
/// ``, is not told of every session that comes.
#[must_use]
pub fn is_reserved(uri: &str) -> bool {
    uri.split('.').next() == Some("wamp")
}

/// How many components a URI has: one more than dots.
pub(super) fn n_components(uri: &str) -> usize {
    uri.split('.').count()
}

/// Whether `pattern`, matched as `how`, takes `uri`.
#[must_use]
pub fn matches(pattern: &str, how: Match, uri: &str) -> bool {
    match how {
        Match::Exact => pattern == uri,
        Match::Prefix => uri.starts_with(pattern),
        Match::Wildcard => {
            let same = |(one, other): (&str, &str)| one.is_empty() || one == other;
            n_components(pattern) == n_components(uri)
                && pattern.split('.').zip(uri.split('.')).all(same)
        }
    }
}

/// Whether `value` is a URI in the loose sense: what a reason has to be.
pub(super) fn is_reason(value: &Value) -> bool {
    (value.as_str()).is_some_and(|text| UriRules::Loose.allow(text, Match::Exact))
}
