//! Sets of numbers that are mostly runs: settled offsets, offsets in hand (MBWS.md §4.2).

use std::fmt;

use super::frame::parse_decimal;

/// Ascending, disjoint, non-adjacent ranges of numbers, both ends included: `1-5 7` in text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ranges(Vec<(u64, u64)>);

/// Why a text is no [`Ranges`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RangesError {
    /// It is not written as `FIRST-LAST` and single numbers with blanks between, or a first is past its last.
    #[error("not written as ranges")]
    Malformed,
    /// It has more ranges than were allowed.
    #[error("too many ranges")]
    TooMany,
}

impl Ranges {
    /// No numbers at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// The numbers written in `text` as `1-5 7`, in any order, overlapping or not; an empty text has none.
    ///
    /// # Errors
    /// [`RangesError`]: malformed, or more than `ranges_max` ranges as written.
    pub fn parse(text: &str, ranges_max: usize) -> Result<Self, RangesError> {
        let mut ranges = Ranges::new();
        let parts = text.split(' ').filter(|part| !part.is_empty());
        for (n, part) in parts.enumerate() {
            if n == ranges_max {
                return Err(RangesError::TooMany);
            }
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (parse_decimal(first), parse_decimal(last)) {
                (Some(first), Some(last)) if first <= last => ranges.insert_range(first, last),
                _ => return Err(RangesError::Malformed),
            }
        }
        Ok(ranges)
    }

    /// Whether there is no number in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending, both ends included.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// What of `first` to `last` is in it, as ranges, ascending. However many ranges there are beside, they cost nothing.
    pub fn within(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let begin = self.0.partition_point(|(_, l)| *l < first);
        let reached = self.0.get(begin..).unwrap_or_default().iter();
        reached
            .take_while(move |(f, _)| *f <= last)
            .map(move |(f, l)| ((*f).max(first), (*l).min(last)))
    }

    /// How many ranges there are.
    pub fn n_ranges(&self) -> usize {
        self.0.len()
    }

    /// How many numbers there are (saturating).
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, (first, last)| {
            sum.saturating_add(last - first).saturating_add(1)
        })
    }

    /// Whether `number` is in it.
    pub fn contains(&self, number: u64) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= number);
        after
            .checked_sub(1)
            .and_then(|at| self.0.get(at))
            .is_some_and(|(_, last)| number <= *last)
    }

    /// Adds `number`, which may lie anywhere.
    pub fn insert(&mut self, number: u64) {
        self.insert_range(number, number);
    }

    /// Adds all from `first` to `last`, both included; nothing if `first` > `last`.
    pub fn insert_range(&mut self, first: u64, last: u64) {
        if first > last {
            return;
        }
        let begin = self.0.partition_point(|(_, l)| l.saturating_add(1) < first);
        let end = self
            .0
            .partition_point(|(f, _)| *f <= last.saturating_add(1));
        let merged = self
            .0
            .get(begin..end)
            .unwrap_or_default()
            .iter()
            .fold((first, last), |(lo, hi), (f, l)| (lo.min(*f), hi.max(*l)));
        self.0.splice(begin..end, [merged]);
    }

    /// Takes `first` to `last`, both included, out; says how many of them were in it. None if `first` > `last`.
    pub fn remove_range(&mut self, first: u64, last: u64) -> u64 {
        if first > last {
            return 0;
        }
        let begin = self.0.partition_point(|(_, l)| *l < first);
        let end = self.0.partition_point(|(f, _)| *f <= last);
        if begin >= end {
            return 0;
        }
        let mut removed: u64 = 0;
        let mut left = Vec::new();
        for (f, l) in self.0.get(begin..end).unwrap_or_default() {
            let (cut_first, cut_last) = ((*f).max(first), (*l).min(last));
            removed = removed
                .saturating_add(cut_last - cut_first)
                .saturating_add(1);
            if *f < first {
                left.push((*f, first - 1));
            }
            if *l > last {
                left.push((last + 1, *l));
            }
        }
        self.0.splice(begin..end, left);
        removed
    }
}

/// As it stands in the text binding: `1-5 7`.
impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blank = "";
        for (first, last) in self.iter() {
            if first == last {
                write!(f, "{blank}{first}")?;
            } else {
                write!(f, "{blank}{first}-{last}")?;
            }
            blank = " ";
        }
        Ok(())
    }
}

impl FromIterator<u64> for Ranges {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let mut ranges = Ranges::new();
        for number in numbers {
            ranges.insert(number);
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_the_set_of_their_numbers(
            operations in prop::collection::vec((any::<bool>(), 0..60u64, 0..12u64), 0..40)
        ) {
            let mut ranges = Ranges::new();
            let mut oracle = BTreeSet::new();
            for (insert, first, n) in operations {
                let last = first + n;
                if insert {
                    ranges.insert_range(first, last);
                    oracle.extend(first..=last);
                } else {
                    let removed = ranges.remove_range(first, last);
                    let before = oracle.len();
                    oracle.retain(|number| !(first..=last).contains(number));
                    prop_assert_eq!(removed, (before - oracle.len()) as u64);
                }
                check_form(&ranges);
                let within: u64 = ranges.within(first, last).map(|(f, l)| l - f + 1).sum();
                prop_assert_eq!(within, oracle.range(first..=last).count() as u64);
                prop_assert_eq!(ranges.count(), oracle.len() as u64);
                for number in 0..80 {
                    prop_assert_eq!(ranges.contains(number), oracle.contains(&number));
                }
                prop_assert_eq!(&oracle.iter().copied().collect::<Ranges>(), &ranges);
                prop_assert_eq!(Ranges::parse(&ranges.to_string(), 100), Ok(ranges.clone()));
            }
        }
    }

    /// Ascending, disjoint, non-adjacent.
    fn check_form(ranges: &Ranges) {
        assert!(ranges.iter().all(|(first, last)| first <= last), "{ranges}");
        let pairs = ranges.iter().zip(ranges.iter().skip(1));
        for ((_, last), (first, _)) in pairs {
            assert!(first > last + 1, "{ranges}");
        }
    }

    #[test]
    fn ranges_reach_to_the_last_number() {
        let mut ranges = Ranges::new();
        ranges.insert(u64::MAX);
        ranges.insert(u64::MAX - 1);
        assert_eq!(ranges.n_ranges(), 1);
        assert_eq!(ranges.remove_range(u64::MAX, u64::MAX), 1);
        assert_eq!(ranges.remove_range(0, u64::MAX), 1);
        ranges.insert_range(0, u64::MAX);
        assert_eq!(ranges.count(), u64::MAX);
        assert_eq!(ranges.remove_range(5, u64::MAX - 5), u64::MAX - 9);
        assert_eq!(ranges.count(), 10);
    }

    #[test]
    fn a_range_from_a_higher_to_a_lower_number_is_none() {
        let mut ranges = Ranges::new();
        ranges.insert_range(2, 1);
        assert!(ranges.is_empty());
        ranges.insert_range(1, 9);
        assert_eq!(ranges.remove_range(5, 4), 0);
        assert_eq!(ranges.to_string(), "1-9");
    }

    #[test]
    fn a_text_is_normalised_as_it_is_read() {
        check("", Ok(""));
        check("7", Ok("7"));
        check("1-5 7", Ok("1-5 7"));
        check("7 1-5", Ok("1-5 7"));
        check("1-5 3-9 10", Ok("1-10"));
        check(" 1   2 ", Ok("1-2"));
        check("0-18446744073709551615", Ok("0-18446744073709551615"));
        for malformed in [
            "5-1",
            "1-",
            "-1",
            "+1",
            "1,2",
            "a",
            "1--2",
            "1-2-3",
            "1\t2",
            "18446744073709551616",
        ] {
            check(malformed, Err(RangesError::Malformed));
        }
        check("1 3 5", Ok("1 3 5"));
        check("1 3 5 7", Err(RangesError::TooMany));
        check("1 2 3 4", Err(RangesError::TooMany));
    }

    /// With at most three ranges.
    fn check(text: &str, expected: Result<&str, RangesError>) {
        let parsed = Ranges::parse(text, 3).map(|ranges| ranges.to_string());
        assert_eq!(parsed, expected.map(str::to_owned), "{text:?}");
    }
}
