//! Times as RFC 3339 has them: UTC, to the millisecond.
//!
//! Always, with a test of its name below: `days_are_those_of_the_calendar`.

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
