//! Hashes: slow ones for passwords, which people choose, and fast ones for what is random already.
//!
//! - A password is stored as Argon2id with 19 MiB, two passes, one lane (OWASP's least), as a PHC string.
//! - An API key has 256 random bits, so that there is nothing to guess: BLAKE2b-256 of it is stored.
//! - Beside it is what SCRAM (`scram`) and WAMP's methods (`wamp`) need, of the same password.
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

use super::scram::Verifier;
use super::wamp;
use crate::registry::User;

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
        to_hex(&self.0)
    }

    /// The reverse of [`Digest::to_hex`].
    pub(super) fn from_hex(hex: &str) -> Option<Digest> {
        from_hex(hex).map(Digest)
    }

    /// As it is.
    pub(super) fn bytes(self) -> [u8; 32] {
        self.0
    }

    /// Some of its bits, to tell one secret of a token from the next; nothing can be made of them.
    pub(super) fn mark(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// Whether they are the same, in a time that does not tell where they differ.
    pub(super) fn matches(self, other: Digest) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

/// Hexadecimal digits in lower case, two for each byte.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The reverse of [`to_hex`], for exactly `N` bytes.
pub(super) fn from_hex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lower = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if hex.len() != 2 * N || !hex.as_bytes().iter().all(lower) {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
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

/// All that a user's document keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordSecrets {
    /// Argon2id's hash.
    pub hash: String,
    /// SCRAM's verifier.
    pub verifier: String,
    /// WAMP-CRA's key.
    pub cra_key: String,
    /// The verifier of autobahn's SCRAM.
    pub argon_verifier: String,
}

/// Why nothing is kept of a password: it cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HashError {
    #[error("Argon2 failed")]
    Argon2(#[from] argon2::password_hash::Error),
    #[error("the system's random generator failed")]
    Random(#[from] SysError),
}

impl PasswordSecrets {
    /// With fresh salts. About twice as slow as [`hash_password`].
    pub(super) fn of(password: &str) -> Result<PasswordSecrets, HashError> {
        Ok(PasswordSecrets {
            hash: hash_password(password)?,
            verifier: Verifier::new(password)?.to_text(),
            cra_key: wamp::CraKey::new(password)?.to_text(),
            argon_verifier: wamp::ArgonVerifier::new(password)?.to_text(),
        })
    }

    /// Puts them all into a user's document.
    pub fn put_into(self, user: &mut User) {
        user.password_hash = Some(self.hash);
        user.scram_verifier = Some(self.verifier);
        user.wampcra_key = Some(self.cra_key);
        user.scram_argon2_verifier = Some(self.argon_verifier);
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

/// Why a text is no password hash that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PasswordHashError {
    /// Not a whole PHC string of Argon2id, version 19.
    #[error("this is no Argon2id hash, `$argon2id$v=19$m=...,t=...,p=...$SALT$HASH`")]
    Form,
    /// It could be guessed too quickly.
    #[error("this hash is too cheap: use m=19456,t=2,p=1 or more")]
    Cheap,
    /// Whoever tries to log in would keep the broker busy.
    #[error(
        "this hash is too expensive: memory times passes is 389120 at most, as in m=194560,t=2 or m=19456,t=20"
    )]
    Ruinous,
}

/// Whether `stored` is an Argon2id hash that costs as much as OWASP asks for at least, and at most ten times what ours does.
pub(super) fn check_password_hash(stored: &str) -> Result<(), PasswordHashError> {
    let hash = PasswordHash::new(stored).map_err(|_| PasswordHashError::Form)?;
    let params = Params::try_from(&hash).map_err(|_| PasswordHashError::Form)?;
    let bytes = hash
        .hash
        .as_ref()
        .map_or(0, |output| output.as_bytes().len());
    let whole = hash.algorithm.as_str() == "argon2id"
        && hash.version == Some(Version::V0x13 as u32)
        && hash.salt.is_some()
        && bytes >= 16;
    if !whole {
        return Err(PasswordHashError::Form);
    }
    // OWASP's choices trade memory for passes, from 46 MiB and one pass to 7 MiB and five.
    if params.m_cost() < 7 * 1024 || params.m_cost() * params.t_cost().min(64) < 35 * 1024 {
        return Err(PasswordHashError::Cheap);
    }
    // What it costs is memory times passes; either alone must not be ruinous either.
    let cost = u64::from(params.m_cost()) * u64::from(params.t_cost());
    let affordable = cost <= u64::from(MEMORY_KIB * PASSES) * 10
        && params.m_cost() <= MEMORY_KIB * 10
        && params.p_cost() <= 16;
    affordable.then_some(()).ok_or(PasswordHashError::Ruinous)
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
        assert_eq!(check_password_hash(&stored), Ok(()));
        assert!(is_password("correct horse", &stored));
        assert!(!is_password("correct hors", &stored));
        assert_ne!(stored, hash_password("correct horse").unwrap());
    }

    #[test]
    fn nobody_is_as_expensive_as_somebody() {
        assert_eq!(check_password_hash(NOBODY), Ok(()));
        assert!(hash_password("x").unwrap().starts_with(&NOBODY[..31]));
        assert!(!is_password("", NOBODY));
    }

    #[test]
    fn foreign_cheap_and_ruinous_hashes_are_refused() {
        let with = |from: &str, to: &str| NOBODY.replace(from, to);
        for stored in [
            String::new(),
            "plain".to_owned(),
            "$2b$12$abcdefghijklmnopqrstuv".to_owned(),
            with("argon2id", "argon2i"),
            with("v=19", "v=16"),
            with("$v=19", ""),
            with("$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ""),
            with(
                "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                "$AAAAAAAAAAAAAA",
            ),
        ] {
            let refused = Err(PasswordHashError::Form);
            assert_eq!(check_password_hash(&stored), refused, "{stored}");
        }
        for params in ["m=19456,t=1", "m=1024,t=20", "m=8,t=1"] {
            let refused = Err(PasswordHashError::Cheap);
            assert_eq!(check_password_hash(&with("m=19456,t=2", params)), refused);
        }
        for params in ["m=4000000,t=2", "m=19456,t=21", "m=194560,t=3"] {
            let refused = Err(PasswordHashError::Ruinous);
            assert_eq!(check_password_hash(&with("m=19456,t=2", params)), refused);
        }
        for params in ["m=47104,t=1", "m=194560,t=2", "m=19456,t=20"] {
            let taken = check_password_hash(&with("m=19456,t=2", params));
            assert_eq!(taken, Ok(()), "{params}");
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
