//! Numbers that no machine word holds, or that were not read yet.

use super::cbor;
use super::error::Fault;
use super::value::Value;

/// The most digits that a number may have to be turned from one base into another, whose cost grows with the square.
pub(super) const DIGITS_MAX: usize = 1024;

/// A number as it stands in the input.
#[derive(Debug, Clone, Copy)]
pub(super) enum Numeral<'a> {
    /// As JSON writes numbers; checked.
    Text(&'a str),
    /// −1 − this.
    Negative(u64),
    /// The bytes of a large integer, big-endian: itself, or −1 − this.
    Big {
        negative: bool,
        bytes: &'a [u8],
        chunks: bool,
    },
}

impl Numeral<'_> {
    /// The value that holds it exactly.
    pub(super) fn value(self) -> Result<Value, Fault> {
        match self {
            Numeral::Text(text) => Ok(value_of(text)),
            Numeral::Negative(n) => Ok(match i64::try_from(n) {
                Ok(n) => Value::Int(-1 - n),
                Err(_) => Value::Number((-1 - i128::from(n)).to_string()),
            }),
            Numeral::Big {
                negative,
                bytes,
                chunks,
            } => {
                let joined;
                let bytes = if chunks {
                    joined = cbor::join(bytes);
                    &joined
                } else {
                    bytes
                };
                big_value(negative, bytes)
            }
        }
    }
}

/// The value that holds the JSON number `text` exactly; a float holds it if its shortest decimal form says the same.
pub(super) fn value_of(text: &str) -> Value {
    let integral = !text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E'));
    if integral && text != "-0" {
        if let Ok(int) = text.parse() {
            return Value::Int(int);
        }
        if let Ok(int) = text.parse() {
            return Value::UInt(int);
        }
        return Value::Number(text.to_owned());
    }
    match text.parse::<f64>() {
        Ok(float) if float.is_finite() && holds(float, text) => Value::Float(float),
        _ => Value::Number(text.to_owned()),
    }
}

fn holds(float: f64, text: &str) -> bool {
    let digits = text.bytes().take_while(|b| !matches!(b, b'e' | b'E'));
    let n_digits = digits.filter(u8::is_ascii_digit).count();
    // So many digits always survive, unless the number is so small that it has fewer bits.
    if n_digits <= 15 && float.is_normal() {
        return true;
    }
    decimal(text) == decimal(&format!("{float:e}"))
}

/// Digits without zeros around them, and the power of ten behind the last.
fn decimal(text: &str) -> Option<(String, i64)> {
    let text = text.trim_start_matches('-');
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let digits = digits.trim_start_matches('0');
    let shortened = digits.trim_end_matches('0');
    if shortened.is_empty() {
        return Some((String::new(), 0));
    }
    let cut = i64::try_from(digits.len() - shortened.len()).ok()?;
    Some((shortened.to_owned(), exponent.checked_add(cut)?))
}

fn big_value(negative: bool, bytes: &[u8]) -> Result<Value, Fault> {
    let first = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
    let bytes = bytes.get(first..).unwrap_or_default();
    if bytes.len() <= 8 {
        let n = bytes.iter().fold(0, |n: u64, b| n << 8 | u64::from(*b));
        return if negative {
            Numeral::Negative(n).value()
        } else {
            Ok(Value::from(n))
        };
    }
    // Each byte makes 2.41 digits.
    if bytes.len() > DIGITS_MAX * 2 / 5 {
        return Err(Fault::Malformed("an integer is larger than is taken here"));
    }
    let mut bytes = bytes.to_vec();
    if negative {
        increment(&mut bytes);
    }
    let digits = decimal_digits(bytes);
    Ok(Value::Number(if negative {
        format!("-{digits}")
    } else {
        digits
    }))
}

fn increment(bytes: &mut Vec<u8>) {
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return;
        }
    }
    bytes.insert(0, 1);
}

fn decimal_digits(mut bytes: Vec<u8>) -> String {
    let mut digits = Vec::new();
    while bytes.iter().any(|b| *b != 0) {
        let mut remainder = 0_u16;
        for byte in &mut bytes {
            let n = remainder << 8 | u16::from(*byte);
            *byte = (n / 10) as u8;
            remainder = n % 10;
        }
        digits.push(char::from(b'0' + remainder as u8));
    }
    digits.iter().rev().collect()
}

/// The bytes of an integer as CBOR's bignums have them: whether it is negative, and itself or −1 − itself, big-endian.
/// `None`: it is no integer, or has too many digits.
pub(super) fn big_bytes(text: &str) -> Option<(bool, Vec<u8>)> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.len() > DIGITS_MAX || digits.is_empty() {
        return None;
    }
    let mut bytes: Vec<u8> = Vec::new(); // little-endian
    for digit in digits.bytes() {
        let mut carry = u16::from(digit.checked_sub(b'0').filter(|d| *d < 10)?);
        for byte in &mut bytes {
            let n = u16::from(*byte) * 10 + carry;
            *byte = n as u8;
            carry = n >> 8;
        }
        if carry > 0 {
            bytes.push(carry as u8);
        }
    }
    if negative {
        for byte in &mut bytes {
            let (less, borrowed) = byte.overflowing_sub(1);
            *byte = less;
            if !borrowed {
                break;
            }
        }
    }
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    bytes.reverse();
    Some((negative, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_held_by_what_holds_it_exactly() {
        for (text, value) in [
            ("0", Value::Int(0)),
            ("-9223372036854775808", Value::Int(i64::MIN)),
            ("9223372036854775808", Value::UInt(1 << 63)),
            ("18446744073709551615", Value::UInt(u64::MAX)),
            (
                "18446744073709551616",
                Value::Number("18446744073709551616".into()),
            ),
            ("1.10", Value::Float(1.1)),
            (
                "0.30000000000000004",
                Value::Float(0.300_000_000_000_000_04),
            ),
            (
                "0.10000000000000001",
                Value::Number("0.10000000000000001".into()),
            ),
            ("1e400", Value::Number("1e400".into())),
            ("5e-324", Value::Float(5e-324)),
            ("3e-324", Value::Number("3e-324".into())),
            ("-0", Value::Float(-0.0)),
            ("0e99", Value::Float(0.0)),
            ("1E+2", Value::Float(100.0)),
        ] {
            assert_eq!(value_of(text), value, "{text}");
        }
    }

    #[test]
    fn large_integers_are_the_same_in_bytes_and_digits() {
        for (text, bytes) in [
            ("18446744073709551616", vec![1, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("-18446744073709551617", vec![1, 0, 0, 0, 0, 0, 0, 0, 0]),
            ("-18446744073709551616", vec![255; 8]),
            ("340282366920938463463374607431768211455", vec![255; 16]),
        ] {
            let negative = text.starts_with('-');
            assert_eq!(big_bytes(text), Some((negative, bytes.clone())), "{text}");
            assert_eq!(big_value(negative, &bytes), Ok(Value::Number(text.into())));
        }
        assert_eq!(big_value(false, &[0, 0, 7]), Ok(Value::Int(7)));
        assert_eq!(big_value(true, &[]), Ok(Value::Int(-1)));
        assert!(big_value(true, &[9; DIGITS_MAX]).is_err());
        assert_eq!(big_bytes(&"9".repeat(DIGITS_MAX + 1)), None);
        for other in ["1.5", "-", "", "1e3"] {
            assert_eq!(big_bytes(other), None, "{other}");
        }
    }
}
