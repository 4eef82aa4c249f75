//! Durations as people write them.

use std::time::Duration;

/// `500ms`, `30s`, `5m`, `2h`, `1d`; the number may have a fraction. Nought alone needs no unit.
///
/// # Errors
/// What is wrong with it, for clap to print.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..).unwrap_or_default();
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        "" if digits == "0" => 1.0,
        "" => return Err("write a number with its unit, as 500ms, 30s, 5m, 2h or 1d".to_owned()),
        _ => return Err(format!("`{unit}` is none of ms, s, m, h, d")),
    };
    let number: f64 = digits
        .parse()
        .map_err(|_| format!("`{digits}` is no number"))?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let millis = |text| parse_duration(text).map(|time| time.as_millis()).ok();
        assert_eq!(millis("500ms"), Some(500));
        assert_eq!(millis("30s"), Some(30_000));
        assert_eq!(millis("0.5s"), Some(500));
        assert_eq!(millis("1h"), Some(3_600_000));
        assert_eq!(millis("500"), None);
        assert_eq!(millis("0"), Some(0));
        assert_eq!(millis("-1s"), None);
        assert_eq!(millis("1w"), None);
        assert_eq!(millis("inf"), None);
        assert_eq!(millis(""), None);
    }
}
