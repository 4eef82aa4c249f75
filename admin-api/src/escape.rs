//! Percent-encoding (RFC 3986 §2.1), as it is in paths and in query strings.

/// The text that `escaped` stands for. None: a `%` without two hex digits, or no UTF-8. `plus_is_space` is how forms are
/// written; in a path, a plus is a plus.
pub(crate) fn decode(escaped: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = escaped.bytes();
    let mut plain = Vec::with_capacity(escaped.len());
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'+' if plus_is_space => b' ',
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            other => other,
        });
    }
    String::from_utf8(plain).ok()
}

/// `plain` as one segment of a path: all is escaped that is not unreserved (RFC 3986 §2.3).
pub(crate) fn encode(plain: &str) -> String {
    let mut escaped = String::with_capacity(plain.len());
    for byte in plain.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| digit.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for text in ["", "a", "orders/eu", "a:b", "%", "€ +#?", "-._~"] {
            assert_eq!(decode(&encode(text), false).as_deref(), Some(text));
            assert_eq!(decode(&encode(text), true).as_deref(), Some(text));
        }
        assert_eq!(encode("orders/eu:1"), "orders%2Feu%3A1");
    }
}
