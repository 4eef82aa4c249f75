//! URIs and patterns: what may be written, and what matches what (wamp.md §2).
//!
//! A pattern is a text and how it is to be matched: `com.foo.` as a prefix takes every URI that begins with these characters,
//! `com..get` as a wildcard takes those with as many components where the written ones are the same.

pub use restante_proto::wamp::uri::{Match, UriMode as UriRules};
use serde_json::Value;

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
