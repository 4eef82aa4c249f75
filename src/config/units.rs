//! Sizes and spans of time as people write them: `64MiB`, `1KiB`, `10s`, `500ms`, `1d`.
//!
//! A bare number is refused, because `10` seconds and `10` milliseconds look alike; nought needs no unit. Units of
//! 1000 (`MB`) are refused too: half of their readers take them for 1024.
//!
//! Always, each with a test of its name below:
//! - `what_is_written_is_read_back`: `read(write(x)) == x`.
//! - `a_bare_number_is_refused`, `fractions_and_overflow_are_refused`.

use std::time::Duration;

/// Why a text is no size or span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnitError {
    /// No whole number in front.
    NotANumber,
    /// A number alone.
    NoUnit,
    /// A unit that is not in the table.
    UnknownUnit,
    /// More than 64 bits hold.
    TooBig,
}

const SIZES: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// In milliseconds, the finest that any setting needs.
const SPANS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a size in bytes.
pub(crate) fn read_size(text: &str) -> Result<u64, UnitError> {
    read(text, &SIZES)
}

/// Reads a span of time, to the millisecond.
pub(super) fn read_span(text: &str) -> Result<Duration, UnitError> {
    read(text, &SPANS).map(Duration::from_millis)
}

/// Writes `bytes` with the largest unit that divides them.
pub(super) fn write_size(bytes: u64) -> String {
    write(bytes, &SIZES)
}

/// Writes `span` with the largest unit that divides it; what is finer than a millisecond is cut off.
pub(super) fn write_span(span: Duration) -> String {
    write(u64::try_from(span.as_millis()).unwrap_or(u64::MAX), &SPANS)
}

fn read(text: &str, units: &[(&str, u64)]) -> Result<u64, UnitError> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    if number.is_empty() {
        return Err(UnitError::NotANumber);
    }
    let number: u64 = number.parse().map_err(|_| UnitError::TooBig)?;
    let unit = unit.trim_start();
    match units.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => number.checked_mul(*factor).ok_or(UnitError::TooBig),
        None if unit.is_empty() && number == 0 => Ok(0),
        None if unit.is_empty() => Err(UnitError::NoUnit),
        None => Err(UnitError::UnknownUnit),
    }
}

fn write(number: u64, units: &[(&str, u64)]) -> String {
    match units
        .iter()
        .find(|(_, factor)| number.is_multiple_of(*factor))
    {
        Some((name, factor)) if number > 0 => format!("{}{name}", number / factor),
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_and_spans_are_read_with_their_units() {
        assert_eq!(read_size("64MiB"), Ok(64 << 20));
        assert_eq!(read_size("1 KiB"), Ok(1024));
        assert_eq!(read_size("0"), Ok(0));
        assert_eq!(read_span("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(read_span("1d"), Ok(Duration::from_hours(24)));
    }

    #[test]
    fn a_bare_number_is_refused() {
        assert_eq!(read_size("1024"), Err(UnitError::NoUnit));
        assert_eq!(read_span("10"), Err(UnitError::NoUnit));
    }

    #[test]
    fn fractions_and_overflow_are_refused() {
        assert_eq!(read_span("1.5s"), Err(UnitError::UnknownUnit));
        assert_eq!(read_span("soon"), Err(UnitError::NotANumber));
        assert_eq!(read_size("1MB"), Err(UnitError::UnknownUnit));
        assert_eq!(read_size("99999999999TiB"), Err(UnitError::TooBig));
        assert_eq!(read_size("99999999999999999999B"), Err(UnitError::TooBig));
        assert_eq!(read_size("-1B"), Err(UnitError::NotANumber));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(number in any::<u64>(), shift in 0_u32..64) {
            let number = number >> shift;
            prop_assert_eq!(read_size(&write_size(number)), Ok(number));
            let span = Duration::from_millis(number);
            prop_assert_eq!(read_span(&write_span(span)), Ok(span));
        }
    }
}
