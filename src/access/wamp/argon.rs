//! What is kept of a password for autobahn's SCRAM: salted with Argon2id.
//!
//! What is salted there is the base 64 text of Argon2's output, without padding, as it stands in a PHC string; and the password as it
//! is typed, not prepared.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use rand::TryRng as _;
use rand::rngs::SysRng;

use crate::access::hash::HashError;
use crate::access::scram::{Keys, SALT_BYTES, is_number, mac, salt_of};

const MARK: &str = "SCRAM-ARGON2ID13";

/// How often the memory is passed over.
pub(in crate::access) const ITERATIONS: u32 = 4;
/// How much memory, in KiB: 4 MiB is no load for a client, and makes a guess at a stolen verifier cost about half of one at the
/// password's own hash.
pub(in crate::access) const MEMORY_KIB: u32 = 4096;
const OUTPUT_BYTES: usize = 32;

/// Of a verifier that was made elsewhere: what a guess must cost, and what a client can be asked for. In KiB times passes.
const COST_MIN: u64 = 4096;
const COST_MAX: u64 = 4 * 1024 * 1024;
const MEMORY_KIB_MAX: u32 = 1024 * 1024;

/// What is kept of a password. A secret, and shown by nothing.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::access) struct Verifier {
    salt: Vec<u8>,
    iterations: u32,
    memory_kib: u32,
    keys: Keys,
}

/// Why a text is no verifier that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::access) enum VerifierError {
    /// Not of the form, or keys or salt of the wrong length.
    #[error(
        "this is no SCRAM verifier of Argon2id, `SCRAM-ARGON2ID13$ITERATIONS:MEMORY:SALT$STOREDKEY:SERVERKEY` in base 64"
    )]
    Form,
    /// Too cheap to guess at, or more than a client can be asked for.
    #[error(
        "memory (in KiB) times iterations of a SCRAM verifier of Argon2id is 4096 to 4194304, and the memory 1048576 at most"
    )]
    Cost,
}

impl Verifier {
    /// Of a password, with a fresh salt. Takes milliseconds: not on a worker of the runtime.
    pub(in crate::access) fn new(password: &str) -> Result<Verifier, HashError> {
        let mut salt = [0; SALT_BYTES];
        SysRng.try_fill_bytes(&mut salt)?;
        Verifier::with(password, &salt, ITERATIONS, MEMORY_KIB)
    }

    /// Of a password, with this salt.
    pub(in crate::access) fn with(
        password: &str,
        salt: &[u8],
        iterations: u32,
        memory_kib: u32,
    ) -> Result<Verifier, HashError> {
        let error = |error: argon2::Error| HashError::Argon2(error.into());
        let params = Params::new(memory_kib, iterations, 1, Some(OUTPUT_BYTES)).map_err(error)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut output = [0; OUTPUT_BYTES];
        argon2
            .hash_password_into(password.as_bytes(), salt, &mut output)
            .map_err(error)?;
        Ok(Verifier {
            salt: salt.to_vec(),
            iterations,
            memory_kib,
            keys: Keys::of(STANDARD_NO_PAD.encode(output).as_bytes()),
        })
    }

    /// Of nobody: always the same for the same `user`, and no password leads to it. `key` must be nobody else's.
    pub(in crate::access) fn made_up(key: &[u8], user: &str) -> Verifier {
        let salt = mac(key, format!("{MARK} salt\0{user}").as_bytes());
        Verifier {
            salt: salt.into_iter().take(SALT_BYTES).collect(),
            iterations: ITERATIONS,
            memory_kib: MEMORY_KIB,
            keys: Keys::made_up(key, &format!("{MARK} {user}")),
        }
    }

    /// As it is stored: `SCRAM-ARGON2ID13$ITERATIONS:MEMORY:SALT$STOREDKEY:SERVERKEY`.
    pub(in crate::access) fn to_text(&self) -> String {
        let (salt, keys) = (self.salt_text(), self.keys.to_text());
        let (iterations, memory) = (self.iterations, self.memory_kib);
        format!("{MARK}${iterations}:{memory}:{salt}${keys}")
    }

    /// The reverse of [`Verifier::to_text`].
    ///
    /// # Errors
    /// [`VerifierError`]: it lets nobody in.
    pub(in crate::access) fn from_text(text: &str) -> Result<Verifier, VerifierError> {
        let (iterations, memory, salt, keys) = parts(text).ok_or(VerifierError::Form)?;
        let number = |text: &str| text.parse::<u32>().map_err(|_| VerifierError::Form);
        let verifier = Verifier {
            salt: salt_of(salt).ok_or(VerifierError::Form)?,
            iterations: number(iterations)?,
            memory_kib: number(memory)?,
            keys: Keys::from_text(keys).ok_or(VerifierError::Form)?,
        };
        let cost = u64::from(verifier.iterations) * u64::from(verifier.memory_kib);
        let is_fine = (COST_MIN..=COST_MAX).contains(&cost)
            && (Params::MIN_M_COST..=MEMORY_KIB_MAX).contains(&verifier.memory_kib);
        is_fine.then_some(verifier).ok_or(VerifierError::Cost)
    }

    pub(super) fn salt_text(&self) -> String {
        STANDARD.encode(&self.salt)
    }

    pub(super) fn iterations(&self) -> u32 {
        self.iterations
    }

    pub(super) fn memory_kib(&self) -> u32 {
        self.memory_kib
    }

    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }
}

/// Says that there is one.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

fn parts(text: &str) -> Option<(&str, &str, &str, &str)> {
    let rest = text.strip_prefix(MARK)?.strip_prefix('$')?;
    let (told, keys) = rest.split_once('$')?;
    let (iterations, rest) = told.split_once(':')?;
    let (memory, salt) = rest.split_once(':')?;
    (is_number(iterations) && is_number(memory)).then_some((iterations, memory, salt, keys))
}
