//! Hashes: slow ones for passwords, which people choose, and fast ones for what is random already.
//!
//! - A password is stored as Argon2id with 19 MiB, two passes, one lane (OWASP's least), as a PHC string.
//! - An API key has 256 random bits, so that there is nothing to guess: BLAKE2b-256 of it is stored.
//! - The cache of passwords that were right lately is keyed by BLAKE2b with a key that only this process has, so that
//!   what is in memory is of no use elsewhere.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use blake2::digest::consts::U32;
use blake2::digest::{FixedOutput, KeyInit, Update};
use blake2::{Blake2b, Blake2bMac, Digest as _};
use rand::TryRng;
use rand::rngs::{SysError, SysRng};
use subtle::ConstantTimeEq;

const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Checked when there is no such user, so that it takes as long as if there were; no password is right.
pub(super) const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// 256 bits of hash, compared in constant time.
#[derive(Clone, Copy)]
pub(super) struct Digest([u8; 32]);

impl Digest {
    /// Of an API key.
    pub(super) fn of(text: &str) -> Digest {
        Digest(Blake2b::<U32>::digest(text.as_bytes()).into())
    }

    /// As 64 hexadecimal digits.
    pub(super) fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The reverse of [`Digest::to_hex`].
    pub(super) fn from_hex(hex: &str) -> Option<Digest> {
        let mut bytes = [0; 32];
        let lower = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if hex.len() != 64 || !hex.as_bytes().iter().all(lower) {
            return None;
        }
        for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Digest(bytes))
    }

    /// Whether they are the same, in a time that does not tell where they differ.
    pub(super) fn matches(self, other: Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// A hash that only this process can compute.
pub(super) struct ProcessHash {
    key: [u8; 64],
}

impl ProcessHash {
    /// With a key from the system's generator.
    pub(super) fn new() -> Result<ProcessHash, SysError> {
        let mut key = [0; 64];
        SysRng.try_fill_bytes(&mut key)?;
        Ok(ProcessHash { key })
    }

    /// Of the parts, each with its length in front: (`ab`, `c`) is not (`a`, `bc`).
    pub(super) fn of(&self, parts: &[&str]) -> [u8; 32] {
        let mut mac = Blake2bMac::<U32>::new(&self.key.into());
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize_fixed().into()
    }
}

/// Hashes a password with a fresh salt. Takes tens of milliseconds and 19 MiB: not on a worker of the runtime.
pub(super) fn hash_password(password: &str) -> Result<String, argon2::password_hash::Error> {
    Ok(argon2()?.hash_password(password.as_bytes())?.to_string())
}

/// Whether `password` is the one that `stored` was made of. As slow as [`hash_password`].
pub(super) fn is_password(password: &str, stored: &str) -> bool {
    let (Ok(argon2), Ok(stored)) = (argon2(), PasswordHash::new(stored)) else {
        return false;
    };
    argon2.verify_password(password.as_bytes(), &stored).is_ok()
}

/// Whether `stored` is an Argon2id hash that costs no more than ours would at ten times its price.
pub(super) fn is_password_hash(stored: &str) -> bool {
    let Ok(hash) = PasswordHash::new(stored) else {
        return false;
    };
    let Ok(params) = Params::try_from(&hash) else {
        return false;
    };
    let affordable = params.m_cost() <= MEMORY_KIB * 10
        && params.t_cost() <= PASSES * 10
        && params.p_cost() <= 16;
    hash.algorithm.as_str() == "argon2id"
        && hash.salt.is_some()
        && hash.hash.is_some()
        && affordable
}

fn argon2() -> Result<Argon2<'static>, argon2::Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hashed_as_owasp_says_and_recognised() {
        let stored = hash_password("correct horse").unwrap();
        assert!(
            stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{stored}"
        );
        assert!(is_password_hash(&stored));
        assert!(is_password("correct horse", &stored));
        assert!(!is_password("correct hors", &stored));
        assert_ne!(stored, hash_password("correct horse").unwrap());
    }

    #[test]
    fn nobody_is_as_expensive_as_somebody() {
        assert!(is_password_hash(NOBODY));
        assert!(hash_password("x").unwrap().starts_with(&NOBODY[..31]));
        assert!(!is_password("", NOBODY));
    }

    #[test]
    fn foreign_and_ruinous_hashes_are_refused() {
        for stored in [
            "",
            "plain",
            "$2b$12$abcdefghijklmnopqrstuv",
            "$argon2i$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=4000000,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(!is_password_hash(stored), "{stored}");
        }
    }

    #[test]
    fn digests_are_hexadecimal() {
        let digest = Digest::of("rst_a_b");
        assert!(Digest::from_hex(&digest.to_hex()).unwrap().matches(digest));
        assert!(!digest.matches(Digest::of("rst_a_c")));
        assert!(Digest::from_hex("ab").is_none() && Digest::from_hex(&"é".repeat(32)).is_none());
        assert!(Digest::from_hex(&"+1".repeat(32)).is_none());
    }

    #[test]
    fn process_hashes_depend_on_the_process_and_on_each_part() {
        let (one, other) = (ProcessHash::new().unwrap(), ProcessHash::new().unwrap());
        assert_eq!(one.of(&["a", "b"]), one.of(&["a", "b"]));
        assert_ne!(one.of(&["a", "b"]), other.of(&["a", "b"]));
        assert_ne!(one.of(&["ab", "c"]), one.of(&["a", "bc"]));
    }
}
