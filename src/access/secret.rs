//! A text that must not be shown by accident: a password, a token.
//!
//! It cannot be printed, logged or serialised, because it implements none of the traits for that; whoever needs the text
//! calls [`Secret::expose`], which is easy to search for. It cannot be compared with `==` either, which would take
//! longer the more of it is right.

use rand::TryRng;
use rand::rngs::{SysError, SysRng};

/// 32 letters and digits, none of which looks like another (Crockford's base 32, in lower case).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// A password or token in the clear.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` in.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text, for the one place that must have it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A password that nobody chose: 160 bits from the system, in groups that can be read out.
    pub(super) fn random_password() -> Result<Secret, SysError> {
        let letters = random_letters(32)?;
        let groups: Vec<String> = letters
            .as_bytes()
            .chunks(4)
            .map(|group| String::from_utf8_lossy(group).into_owned())
            .collect();
        Ok(Secret(groups.join("-")))
    }
}

/// `count` letters of the alphabet above: 5 bits each, from the system's generator.
pub(crate) fn random_letters(count: usize) -> Result<String, SysError> {
    let mut bytes = vec![0; count];
    SysRng.try_fill_bytes(&mut bytes)?;
    Ok(letters(&bytes, count))
}

/// The first `count` bytes as letters of that alphabet, each of 5 of the byte's bits.
pub(super) fn letters(bytes: &[u8], count: usize) -> String {
    // 256 is a multiple of 32: each letter is as likely as the others.
    let bytes = bytes.iter().take(count);
    bytes
        .filter_map(|byte| ALPHABET.get(usize::from(byte % 32)))
        .map(|letter| char::from(*letter))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_passwords_are_long_and_differ() {
        let (one, other) = (
            Secret::random_password().unwrap(),
            Secret::random_password().unwrap(),
        );
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 32 + 7);
        assert!(one.expose().split('-').all(|group| group.len() == 4));
    }
}
