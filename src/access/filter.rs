//! Which addresses a rule is about: `orders/+/eu` and `orders/#`.
//!
//! A client may ask for an address or, when it consumes, for a filter of its own. So a rule's filter is compared with
//! what was asked in two ways, which are one for a plain address: it *covers* it (every address that is asked for
//! matches) or it *overlaps* with it (some address does). To allow needs the first, to deny suffices the second.
//!
//! `#` stands for all the rest, nothing included: `orders/#` matches `orders` (MQTT 5.0 §4.7.1.2).
//!
//! Always, with tests of these names below: `covering_is_matching_everything`, `overlapping_is_matching_something`.

use std::fmt;

/// An address or a filter whose wildcards stand where they may.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter(Box<str>);

/// Why a text is no filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// `#` in another segment than the last.
    #[error("has a `#` before its end")]
    HashBeforeEnd,
    /// `a+` or `#b`.
    #[error("has a `+` or `#` that is not a segment alone")]
    PartOfSegment,
    /// A control character.
    #[error("has a control character")]
    Control,
}

impl Filter {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`FilterError`]: a wildcard is in the wrong place.
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(FilterError::Control);
        }
        let mut segments = text.split('/').peekable();
        while let Some(segment) = segments.next() {
            match segment {
                "#" if segments.peek().is_some() => return Err(FilterError::HashBeforeEnd),
                "#" | "+" => {}
                _ if segment.contains(['+', '#']) => return Err(FilterError::PartOfSegment),
                _ => {}
            }
        }
        Ok(Filter(text.into()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is more than one address.
    pub fn has_wildcards(&self) -> bool {
        self.0
            .split('/')
            .any(|segment| matches!(segment, "+" | "#"))
    }

    /// Whether every address that `asked` stands for matches this filter.
    pub(super) fn covers(&self, asked: &str) -> bool {
        let mut asked = asked.split('/');
        for segment in self.0.split('/') {
            match (segment, asked.next()) {
                ("#", _) => return true,
                (_, None | Some("#")) => return false,
                ("+", Some(_)) => {}
                (segment, Some(other)) if segment == other => {}
                _ => return false,
            }
        }
        asked.next().is_none()
    }

    /// Whether some address that `asked` stands for matches this filter.
    pub(super) fn overlaps(&self, asked: &str) -> bool {
        let (mut ours, mut theirs) = (self.0.split('/'), asked.split('/'));
        loop {
            match (ours.next(), theirs.next()) {
                (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
                (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
                (Some(one), Some(other)) if one == other => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wildcards_have_their_places() {
        assert!(
            ["a", "/", "a//b", "+", "#", "a/+/b", "a/#"]
                .iter()
                .all(|text| Filter::parse(text).is_ok())
        );
        assert_eq!(Filter::parse(""), Err(FilterError::Empty));
        assert_eq!(Filter::parse("#/a"), Err(FilterError::HashBeforeEnd));
        assert_eq!(Filter::parse("a/b+"), Err(FilterError::PartOfSegment));
        assert_eq!(Filter::parse("a\n"), Err(FilterError::Control));
    }

    #[test]
    fn addresses_match() {
        let matches = |filter: &str, address: &str| Filter::parse(filter).unwrap().covers(address);
        assert!(
            matches("a/b", "a/b")
                && matches("a/+", "a/b")
                && matches("a/#", "a/b/c")
                && matches("a/#", "a")
        );
        assert!(
            !matches("a/b", "a")
                && !matches("a", "a/b")
                && !matches("a/+", "a")
                && !matches("a/+", "a/b/c")
        );
        assert!(!matches("a/#", "b") && !matches("a", "A"));
    }

    /// Every address of up to four segments over an alphabet that has one letter that no filter names.
    fn addresses() -> Vec<String> {
        let mut all = Vec::new();
        let mut longest = vec![String::new()];
        for _ in 0..4 {
            longest = longest
                .iter()
                .flat_map(|front| ["a", "b", "z"].map(|s| format!("{front}/{s}")))
                .collect();
            all.extend(
                longest
                    .iter()
                    .map(|address| address.trim_start_matches('/').to_owned()),
            );
        }
        all
    }

    fn filters() -> impl Strategy<Value = Filter> {
        "(a|b|\\+)(/(a|b|\\+)){0,2}(/#)?|#".prop_map(|text| Filter::parse(&text).unwrap())
    }

    proptest! {
        #[test]
        fn covering_is_matching_everything(rule in filters(), asked in filters()) {
            let all = addresses().iter().filter(|address| asked.covers(address)).all(|address| rule.covers(address));
            // `+/#` matches all that `#` does, but is not found to cover it: what is refused then is at most too much.
            prop_assert!(rule.covers(asked.as_str()) == all || rule.as_str().ends_with("+/#"));
            prop_assert!(!rule.covers(asked.as_str()) || all);
        }

        #[test]
        fn overlapping_is_matching_something(rule in filters(), asked in filters()) {
            let some = addresses().iter().any(|address| asked.covers(address) && rule.covers(address));
            prop_assert_eq!(rule.overlaps(asked.as_str()), some);
        }
    }
}
