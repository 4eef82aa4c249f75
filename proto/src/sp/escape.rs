//! Percent-escapes (RFC 3986 §2.1).

/// The bytes that `text` stands for, or where in it an escape is not one.
pub(super) fn decoded(text: &[u8]) -> Result<Vec<u8>, usize> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let (byte, after) = escaped(after).ok_or(text.len() - rest.len())?;
        bytes.push(byte);
        rest = after;
    }
    Ok(bytes)
}

/// Appends `text` with everything escaped that may mean something to somebody on the way.
pub(super) fn push_escaped(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if is_unreserved(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.extend([byte >> 4, byte & 0x0f].map(hex_digit));
        }
    }
}

/// What no URL ever needs to escape (RFC 3986 §2.3).
pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// The byte that two digits at the front of `digits` stand for, and what follows them.
fn escaped(digits: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, after @ ..] = digits else {
        return None;
    };
    let (high, low) = (
        char::from(*high).to_digit(16)?,
        char::from(*low).to_digit(16)?,
    );
    Some((u8::try_from(high << 4 | low).ok()?, after))
}

fn hex_digit(nibble: u8) -> char {
    char::from(if nibble < 10 {
        b'0' + nibble
    } else {
        b'A' + nibble - 10
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_is_two_hex_digits_in_either_case() {
        for (text, bytes) in [
            ("", Ok(&b""[..])),
            ("a+b", Ok(b"a+b")),
            ("%2f%2F%00%ff", Ok(b"//\x00\xff")),
            ("%2541", Ok(b"%41")),
            ("ab%", Err(2)),
            ("ab%4", Err(2)),
            ("%4g", Err(0)),
            ("a%+1", Err(1)),
            ("%%41", Err(0)),
        ] {
            assert_eq!(
                decoded(text.as_bytes()),
                bytes.map(<[u8]>::to_vec),
                "{text}"
            );
        }
    }
}
