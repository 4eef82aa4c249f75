//! SCRAM-SHA-256: a password is proved, and never shown; and the server proves that it knows what was made of it.
//!
//! ```text
//! client-first  n,,n=ada,r=C            ─▶ ClientFirst::read
//! server-first  r=CS,s=SALT,i=ITERATIONS ◀─ Exchange::begin    (a verifier, ours or made up)
//! client-final  c=biws,r=CS,p=PROOF     ─▶ Exchange::finish
//! server-final  v=SIGNATURE              ◀─
//! ```
//!
//! What is stored of a password is a [`Verifier`]: whoever steals it cannot log in with it, but can guess at [`ITERATIONS`]
//! hashes a try, which is far less than what Argon2 costs. That is SCRAM's price, and why there is none for a password whose
//! Argon2 hash was given ready-made, or for a user who has none.
//!
//! Nothing here knows who exists, sockets, or a protocol's packets: bytes and a nonce come in, bytes go out. Channel binding is not
//! spoken: there is no `-PLUS` method.
//!
//! Always, each with a test of its name in `scram::tests`:
//! - `the_example_of_rfc_7677_is_ours`.
//! - `what_is_out_of_order_is_refused`: nothing but the grammar, and no panic.
//! - `a_made_up_verifier_lets_nobody_in_and_looks_like_any_other`.
//!
//! Not here: throttling, and who the user is (`authenticator`).
//!
//! Rules: RFC 5802 §3, §5, §7; RFC 7677 §3, §4; RFC 4013 (SASLprep); the stored form is RFC 5803's.

mod exchange;
mod keys;
mod message;
#[cfg(test)]
pub(crate) mod tests;

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::TryRng as _;
use rand::rngs::{SysError, SysRng};
use sha2::{Digest as _, Sha256};

pub use exchange::Exchange;
pub(super) use keys::{Keys, both};
pub(super) use message::is_nonce;
pub(crate) use message::{ClientFirst, ScramError};

/// The method's name, in SASL and in MQTT.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// How often a password is hashed for a verifier that is made here. The client does this work at each log-in, and whoever has
/// stolen a verifier does it for each guess. RFC 7677 §4 asks for 4096 at least, and names 15,000 as what a modern machine has time
/// for; a small device with a SHA-256 unit takes a second for it.
pub(super) const ITERATIONS: u32 = 15_000;

/// The least of a verifier that was made elsewhere (RFC 7677 §4).
const ITERATIONS_MIN: u32 = 4096;
/// The most: a client would be busy for seconds.
const ITERATIONS_MAX: u32 = 1_000_000;

pub(super) const SALT_BYTES: usize = 16;
/// Of a verifier that was made elsewhere.
const SALT_BYTES_MIN: usize = 8;
const SALT_BYTES_MAX: usize = 64;

/// An HMAC-SHA-256, a key or a signature.
pub(super) type Key = [u8; 32];

/// What is kept of a password for SCRAM. A secret like a password's hash, and shown by nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    salt: Vec<u8>,
    iterations: u32,
    keys: Keys,
}

/// Why a text is no verifier that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum VerifierError {
    /// Not of the form, or keys or salt of the wrong length.
    #[error(
        "this is no SCRAM verifier, `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY` in base 64"
    )]
    Form,
    /// Too few iterations, or more than a client can be asked for.
    #[error("a SCRAM verifier has 4096 to 1000000 iterations")]
    Iterations,
}

impl Verifier {
    /// Of a password, with a fresh salt. Takes milliseconds: not on a worker of the runtime.
    pub(super) fn new(password: &str) -> Result<Verifier, SysError> {
        let mut salt = [0; SALT_BYTES];
        SysRng.try_fill_bytes(&mut salt)?;
        Ok(Verifier::with(password, &salt, ITERATIONS))
    }

    /// Of a password, with this salt (RFC 5802 §3). As slow as `iterations` hashes.
    pub(crate) fn with(password: &str, salt: &[u8], iterations: u32) -> Verifier {
        let password = prepared(password);
        let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, iterations);
        Verifier {
            salt: salt.to_vec(),
            iterations,
            keys: Keys::of(&salted),
        }
    }

    /// Of nobody: what `user` is told the same whenever they ask, and nobody has a password for. `key` must be nobody else's.
    pub(super) fn made_up(key: &[u8], user: &str) -> Verifier {
        let of = |what: &str| mac(key, format!("{what}\0{user}").as_bytes());
        Verifier {
            salt: of("salt").into_iter().take(SALT_BYTES).collect(),
            iterations: ITERATIONS,
            keys: Keys::made_up(key, user),
        }
    }

    /// As it is stored: `SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY` (RFC 5803; PostgreSQL has the same).
    pub(super) fn to_text(&self) -> String {
        let (salt, keys) = (self.salt_text(), self.keys.to_text());
        let iterations = self.iterations;
        format!("{SCRAM_SHA_256}${iterations}:{salt}${keys}")
    }

    /// The reverse of [`Verifier::to_text`].
    ///
    /// # Errors
    /// [`VerifierError`]: it lets nobody in.
    pub(super) fn from_text(text: &str) -> Result<Verifier, VerifierError> {
        let (iterations, salt, keys) = parts(text).ok_or(VerifierError::Form)?;
        let salt = salt_of(salt).ok_or(VerifierError::Form)?;
        let iterations = iterations.parse().map_err(|_| VerifierError::Form)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(VerifierError::Iterations);
        }
        Ok(Verifier {
            salt,
            iterations,
            keys: Keys::from_text(keys).ok_or(VerifierError::Form)?,
        })
    }

    /// What the client hashes its password with: base 64.
    pub(super) fn salt_text(&self) -> String {
        STANDARD.encode(&self.salt)
    }

    /// How often it does.
    pub(super) fn iterations(&self) -> u32 {
        self.iterations
    }

    /// What its proof is checked with.
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

fn parts(text: &str) -> Option<(&str, &str, &str)> {
    let rest = text.strip_prefix(SCRAM_SHA_256)?.strip_prefix('$')?;
    let (cost, keys) = rest.split_once('$')?;
    let (iterations, salt) = cost.split_once(':')?;
    is_number(iterations).then_some((iterations, salt, keys))
}

/// Digits, as a number is written: no sign, no zero in front.
pub(super) fn is_number(text: &str) -> bool {
    !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A salt in base 64, of a length that is taken.
pub(super) fn salt_of(text: &str) -> Option<Vec<u8>> {
    let salt = STANDARD.decode(text).ok()?;
    (SALT_BYTES_MIN..=SALT_BYTES_MAX)
        .contains(&salt.len())
        .then_some(salt)
}

/// SASLprep, as clients do it. A password that it does not allow, as with characters that are younger than its tables, is taken as it
/// is: a client that does the same gets in, one that refuses to does not, and the password works everywhere else.
pub(super) fn prepared(password: &str) -> Cow<'_, str> {
    match stringprep::saslprep(password) {
        Ok(prepared) if !prepared.is_empty() => prepared,
        _ => Cow::Borrowed(password),
    }
}

pub(super) fn mac(key: &[u8], message: &[u8]) -> Key {
    // HMAC takes a key of any length (RFC 2104 §2): the error is of MACs that do not.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(message);
    mac.finalize().into_bytes().into()
}

fn hash(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}
