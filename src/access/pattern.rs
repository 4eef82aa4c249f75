//! What a rule's filter is made of: the engine's filters, and segments that stand for who asks.
//!
//! ```text
//! orders/+/new     orders/#     orders/eu-#     inbox/${user}/#     devices/${client}/state
//! ```
//!
//! `${user}` and `${client}` are whole segments, and stand for exactly one text: the principal's name, the client's id, spelled
//! as a segment is. So a name with a `/`, `+` or `#` in it is one escaped segment and never a wildcard.
//!
//! Always, with a test of its name below: `what_is_no_pattern_is_refused_with_its_reason`.
//!
//! Not here: how patterns are matched (`index`).

use crate::engine::address::{AddressError, AddressLimits, Filter, FilterSegment};

const USER: &str = "${user}";
const CLIENT: &str = "${client}";

/// A rule's filter, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Filter);

/// A segment of a [`Pattern`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// This very segment, as spelled.
    Literal(&'a str),
    /// `+`.
    One,
    /// `#`, always the last.
    Rest,
    /// `TEXT#`, always the last: what begins so.
    Prefix(&'a str),
    /// `${user}`.
    User,
    /// `${client}`.
    Client,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It breaks the grammar of filters.
    #[error("{0}")]
    Filter(#[from] AddressError),
    /// `${...}` beside other text, or of a name that is not known.
    #[error("a segment that has `${{` must be `${{user}}` or `${{client}}`, alone")]
    Placeholder,
}

impl Pattern {
    /// Checks `text`. Longer than any configuration allows is refused, shorter limits are the doors' business.
    pub(super) fn parse(text: &str) -> Result<Pattern, PatternError> {
        let ceiling = AddressLimits {
            bytes_max: AddressLimits::BYTES_CEILING,
            segments_max: AddressLimits::SEGMENTS_CEILING,
        };
        let pattern = Pattern(Filter::parse(text, ceiling)?);
        let odd = |part| match part {
            Part::Literal(text) | Part::Prefix(text) => text.contains("${"),
            Part::One | Part::Rest | Part::User | Part::Client => false,
        };
        if pattern.parts().any(odd) {
            return Err(PatternError::Placeholder);
        }
        Ok(pattern)
    }

    /// The segments from the left; never none.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        self.0.segments().map(|segment| match segment {
            FilterSegment::One => Part::One,
            FilterSegment::Rest => Part::Rest,
            FilterSegment::Prefix(text) => Part::Prefix(text),
            FilterSegment::Literal(USER) => Part::User,
            FilterSegment::Literal(CLIENT) => Part::Client,
            FilterSegment::Literal(text) => Part::Literal(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_parts() {
        let pattern = Pattern::parse("a/+/${user}/${client}/#").unwrap();
        let parts: Vec<Part<'_>> = pattern.parts().collect();
        assert_eq!(
            parts,
            [
                Part::Literal("a"),
                Part::One,
                Part::User,
                Part::Client,
                Part::Rest
            ]
        );
        let pattern = Pattern::parse("${user}/a#").unwrap();
        let parts: Vec<Part<'_>> = pattern.parts().collect();
        assert_eq!(parts, [Part::User, Part::Prefix("a")]);
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_reason() {
        for text in [
            "a/${usr}",
            "a/x${user}",
            "${user}x",
            "${User}",
            "a/${",
            "${user}${client}",
            "${user}#",
            "a/${u#",
            "a/x${client}y#",
        ] {
            assert_eq!(
                Pattern::parse(text),
                Err(PatternError::Placeholder),
                "{text}"
            );
        }
        for text in ["", "a//b", "a/#/b", "a+", "a%zz", &"a/".repeat(200)] {
            let error = Pattern::parse(text).unwrap_err();
            assert!(matches!(error, PatternError::Filter(_)), "{text}");
        }
    }
}
