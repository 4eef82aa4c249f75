//! A query string: each parameter is asked for by its name, and what nobody asked for is an error.
//!
//! All faults are told at once, by name. Written as HTML forms are: `+` is a space, `%` escapes UTF-8.
//!
//! Always, each with a test of its name below:
//! - `all_faults_are_named`: unknown, twice, malformed, out of range.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::escape;
use crate::problem::{At, Fault, Problem};

/// More parameters than any route has; bounds what a stranger can make us answer.
const PARAMS_MAX: usize = 32;

/// How much of an unknown name is repeated to whoever sent it.
const NAME_CHARS_MAX: usize = 64;

/// What is left of a query string, and what was wrong with it so far.
#[derive(Debug, Default)]
pub(crate) struct Params {
    left: Vec<(String, String)>,
    faults: Vec<Fault>,
}

impl Params {
    /// Takes apart `query`, the part of a URL after `?`.
    pub(crate) fn parse(query: &str) -> Params {
        let mut params = Params::default();
        for (at, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            if at == PARAMS_MAX {
                params.fault(pair, format!("is one too many: no more than {PARAMS_MAX}"));
                break;
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (escape::decode(name, true), escape::decode(value, true)) {
                (Some(name), Some(value)) => params.add(name, value),
                _ => params.fault(name, "is not percent-encoded UTF-8"),
            }
        }
        params
    }

    fn add(&mut self, name: String, value: String) {
        if self.left.iter().any(|(seen, _)| *seen == name) {
            self.fault(&name, "is given twice");
        } else {
            self.left.push((name, value));
        }
    }

    /// The value of `name`, as it is.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let at = self.left.iter().position(|(given, _)| given == name)?;
        Some(self.left.swap_remove(at).1)
    }

    /// The value of `name`, which is one of `words`.
    pub(crate) fn word(&mut self, name: &str, words: &[&str]) -> Option<String> {
        let text = self.text(name)?;
        if !words.contains(&text.as_str()) {
            self.fault(name, format!("is one of {}", words.join(", ")));
        }
        Some(text)
    }

    /// Whether `name` is given, without a value or as `true`, and not as `false`.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        match self.text(name).as_deref() {
            None | Some("false") => false,
            Some("" | "true") => true,
            Some(_) => {
                self.fault(name, "is `true`, `false` or has no value");
                false
            }
        }
    }

    /// The values of `name[KEY]`, by key.
    pub(crate) fn map(&mut self, name: &str) -> BTreeMap<String, String> {
        let key = |given: &str| {
            let rest = given.strip_prefix(name)?.strip_prefix('[')?;
            rest.strip_suffix(']').map(str::to_owned)
        };
        let mut map = BTreeMap::new();
        self.left.retain_mut(|(given, value)| match key(given) {
            Some(key) => {
                map.insert(key, std::mem::take(value));
                false
            }
            None => true,
        });
        map
    }

    /// `true` or `false`, if `name` is given.
    pub(crate) fn maybe_flag(&mut self, name: &str) -> Option<bool> {
        let given = self.left.iter().any(|(given, _)| given == name);
        given.then(|| self.flag(name))
    }

    /// The number `name`, if it is given.
    pub(crate) fn maybe_number(&mut self, name: &str) -> Option<u64> {
        let text = self.text(name)?;
        let number = text.parse().ok().filter(|_| !text.starts_with('+'));
        if number.is_none() {
            self.fault(name, "is a number from 0 to 18446744073709551615");
        }
        number
    }

    /// The numbers in `name`, with commas between.
    pub(crate) fn numbers(&mut self, name: &str) -> Option<Vec<u64>> {
        let text = self.text(name)?;
        let numbers: Result<Vec<u64>, _> = text.split(',').map(str::parse).collect();
        if numbers.is_err() {
            self.fault(name, "is numbers with commas between");
        }
        numbers.ok()
    }

    /// The number `name`, or `default`.
    pub(crate) fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<usize>,
        default: usize,
    ) -> usize {
        let Some(text) = self.text(name) else {
            return default;
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (low, high) = range.into_inner();
                self.fault(name, format!("is a number from {low} to {high}"));
                default
            }
        }
    }

    /// Notes that `name` is wrong: `detail` goes on where the name ends.
    pub(crate) fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.faults.push(Fault {
            at: At::Parameter(name.chars().take(NAME_CHARS_MAX).collect()),
            detail: detail.into(),
        });
    }

    /// To be called once all parameters have been asked for.
    ///
    /// # Errors
    /// One was wrong, or is left: 400.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.left) {
            self.fault(&name, "is not a parameter of this path");
        }
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(Problem::parameters(self.faults))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(query: &str) -> Vec<String> {
        let mut params = Params::parse(query);
        params.text("t");
        params.flag("f");
        params.number("n", 1..=5, 3);
        match params.finish() {
            Ok(()) => Vec::new(),
            Err(problem) => format!("{problem:?}")
                .split("Parameter(\"")
                .skip(1)
                .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
                .collect(),
        }
    }

    #[test]
    fn values_are_unescaped() {
        let text = |query| Params::parse(query).text("t");
        for (query, value) in [
            ("t=", ""),
            ("t", ""),
            ("t=a+b%20c", "a b c"),
            ("&&t=a=b", "a=b"),
            ("%74=%C3%a4", "ä"),
        ] {
            assert_eq!(text(query).as_deref(), Some(value), "{query}");
        }
        assert_eq!(text("s=1"), None);
    }

    #[test]
    fn numbers_and_flags_have_defaults_and_ranges() {
        let number = |query| Params::parse(query).number("n", 1..=5, 3);
        assert_eq!([number(""), number("n=1"), number("n=5")], [3, 1, 5]);
        let flag = |query| Params::parse(query).flag("f");
        assert_eq!(
            [flag(""), flag("f"), flag("f=true"), flag("f=false")],
            [false, true, true, false]
        );
    }

    #[test]
    fn all_faults_are_named() {
        for (query, names) in [
            ("t=1&f&n=2", &[][..]),
            ("x=1&y", &["x", "y"]),
            ("t=1&t=2", &["t"]),
            ("n=0", &["n"]),
            ("n=6&f=maybe&z", &["f", "n", "z"]),
            ("n=", &["n"]),
            ("n=-1", &["n"]),
            ("t=%", &["t"]),
            ("t=%4", &["t"]),
            ("t=%zz", &["t"]),
            ("t=%+1", &["t"]),
            ("t=%ff", &["t"]),
        ] {
            assert_eq!(faults(query), names, "{query}");
        }
    }

    #[test]
    fn a_flood_of_parameters_is_one_fault() {
        let query: Vec<String> = (0..1000).map(|n| format!("p{n}")).collect();
        assert_eq!(faults(&query.join("&")).len(), PARAMS_MAX + 1);
        assert_eq!(faults(&"x".repeat(1000)), ["x".repeat(NAME_CHARS_MAX)]);
    }
}
