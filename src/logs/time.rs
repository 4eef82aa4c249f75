//! Times as RFC 3339 has them: UTC, to the millisecond.
//!
//! Always, each with a test of its name below:
//! - `days_are_those_of_the_calendar`
//! - `a_time_is_read_as_it_is_written`

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A time, for `Display`.
pub(crate) struct Rfc3339 {
    millis: u64,
}

impl Rfc3339 {
    /// Of milliseconds since 1970 UTC.
    pub(crate) fn of(millis: u64) -> Rfc3339 {
        Rfc3339 { millis }
    }

    /// Milliseconds since 1970 UTC of a time in words (RFC 3339, "Internet Date/Time Format"), with any offset; less than a
    /// millisecond is cut off. None: it is none, or before 1970.
    pub(crate) fn parse(text: &str) -> Option<u64> {
        let (date, time) = (text.get(..10)?, text.get(10..)?);
        let [year, month, day] = numbers(date, b'-', [4, 2, 2])?;
        let time = time.strip_prefix(['T', 't', ' '])?;
        let [hour, minute, second] = numbers(time.get(..8)?, b':', [2, 2, 2])?;
        let is_time = hour < 24 && minute < 60 && second <= 60;
        let day_number = day_number(year, month, day).filter(|_| is_time)?;
        let (millis, rest) = fraction(time.get(8..)?)?;
        let offset = match rest {
            "Z" | "z" => 0,
            _ => {
                let [hours, minutes] = numbers(rest.get(1..)?, b':', [2, 2])?;
                let millis = i64::try_from((hours * 60 + minutes) * 60_000).ok()?;
                match rest.as_bytes().first()? {
                    _ if hours > 23 || minutes > 59 => return None,
                    b'+' => millis,
                    b'-' => -millis,
                    _ => return None,
                }
            }
        };
        let seconds = ((day_number * 24 + hour) * 60 + minute) * 60 + second;
        (seconds * 1000 + millis).checked_add_signed(-offset)
    }

    pub(crate) fn now() -> Rfc3339 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Rfc3339 {
            millis: since_1970.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.millis / 1000, self.millis % 1000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"
        )
    }
}

/// Numbers of so many digits each, with a mark between.
fn numbers<const N: usize>(text: &str, mark: u8, digits: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(char::from(mark));
    let mut found = [0; N];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        let is_number = part.bytes().all(|it| it.is_ascii_digit());
        *number = part.parse().ok().filter(|_| is_number)?;
    }
    parts.next().is_none().then_some(found)
}

/// Milliseconds of a fraction of a second, if there is one, and what follows.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(text) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let rest = text.trim_start_matches(|it: char| it.is_ascii_digit());
    let digits = text.get(..text.len() - rest.len())?;
    let millis = digits.bytes().chain(*b"000").take(3);
    let millis = millis.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    (!digits.is_empty()).then_some((millis, rest))
}

/// How many days after 1970-01-01 a day is: see [`civil`]. None: there is no such day, or it is before.
fn day_number(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || year < 1970 {
        return None;
    }
    let (year_from_march, month_from_march) = match month {
        3.. => (year, month - 3),
        _ => (year - 1, month + 9),
    };
    let leap_days = year_from_march / 4 - year_from_march / 100 + year_from_march / 400;
    let days = 365 * year_from_march + leap_days + (153 * month_from_march + 2) / 5 + day;
    let number = days.checked_sub(719_469)?;
    (civil(number) == (year, month, day)).then_some(number)
}

/// Year, month and day of the day that is so many after 1970-01-01, in the Gregorian calendar: counted from a first of March,
/// so that the leap day is a year's last, in eras of 400 years.
fn civil(days: u64) -> (u64, u64, u64) {
    const ERA_DAYS: u64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days / ERA_DAYS, days % ERA_DAYS);
    let year = (day - day / 1460 + day / 36_524 - day / (ERA_DAYS - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_written() {
        for millis in [0, 951_782_400_000, 1_234_567_890_123, 4_107_542_400_000] {
            let text = Rfc3339 { millis }.to_string();
            assert_eq!(Rfc3339::parse(&text), Some(millis), "{text}");
        }
        for (text, expected) in [
            ("2009-02-13T23:31:30Z", Some(1_234_567_890_000)),
            ("2009-02-13t23:31:30.1z", Some(1_234_567_890_100)),
            ("2009-02-13 23:31:30.123999Z", Some(1_234_567_890_123)),
            ("2009-02-14T01:01:30.5+01:30", Some(1_234_567_890_500)),
            ("2009-02-13T20:31:30-03:00", Some(1_234_567_890_000)),
            ("2000-02-29T00:00:00Z", Some(951_782_400_000)),
            ("2001-02-29T00:00:00Z", None),
            ("2001-00-01T00:00:00Z", None),
            ("2001-13-01T00:00:00Z", None),
            ("2001-01-00T00:00:00Z", None),
            ("2001-01-01T24:00:00Z", None),
            ("2001-01-01T00:00:00", None),
            ("2001-01-01T00:00:00.Z", None),
            ("2001-01-01T00:00:00+1:00", None),
            ("2001-01-01T00:00:00*01:00", None),
            ("2001-01-01T00:00:00Zx", None),
            ("2001-01-01", None),
            ("+001-01-01T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("1970-01-01T00:00:00+01:00", None),
            ("é009-02-13T23:31:30Z", None),
            ("", None),
        ] {
            assert_eq!(Rfc3339::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        let check = |millis, text: &str| assert_eq!(Rfc3339 { millis }.to_string(), text);
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_400_000, "2000-02-29T00:00:00.000Z");
        check(951_868_799_999, "2000-02-29T23:59:59.999Z");
        check(951_868_800_000, "2000-03-01T00:00:00.000Z");
        check(1_234_567_890_123, "2009-02-13T23:31:30.123Z");
        check(4_107_542_399_000, "2100-02-28T23:59:59.000Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00.000Z");
        // Every day follows the one before.
        let mut before = civil(0);
        for days in 1..200_000 {
            let (year, month, day) = civil(days);
            let next = if day > 1 {
                before == (year, month, day - 1)
            } else if month > 1 {
                (before.0, before.1) == (year, month - 1) && before.2 >= 28
            } else {
                before == (year - 1, 12, 31)
            };
            assert!(next, "{before:?} {:?}", (year, month, day));
            before = (year, month, day);
        }
    }
}
