//! WAMP-CRA: the client signs a challenge with a key that is made of its password.
//!
//! The key is the base 64 text of PBKDF2's output, not the output: so every client has it, though the specification does not say so.
//! It is all that a client needs, so that whoever steals it logs in with it, by this one method.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::SysError;
use serde_json::json;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::welcome::PROVIDER;
use super::{Dict, Fault, Method, Occasion};
use crate::access::scram::{ITERATIONS, is_number, mac};
use crate::access::secret::random_letters;
use crate::logs::Rfc3339;

const MARK: &str = "WAMPCRA";

/// Of a key that is made here: no cheaper to guess at than SCRAM's verifier beside it.
const KEY_BYTES: usize = 32;
const SALT_LETTERS: usize = 26;

/// Of one that was made elsewhere. 1000 is the specification's default.
const ITERATIONS_MIN: u32 = 1000;
const ITERATIONS_MAX: u32 = 1_000_000;
const KEY_BYTES_MIN: usize = 16;
const KEY_BYTES_MAX: usize = 64;
const SALT_BYTES_MIN: usize = 8;
const SALT_BYTES_MAX: usize = 64;

/// What is kept of a password for WAMP-CRA. As good as the password there, and shown by nothing.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::access) struct Key {
    salt: String,
    iterations: u32,
    key_bytes: usize,
    /// The HMAC's key: base 64.
    text: String,
}

/// Why a text is no key that is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::access) enum KeyError {
    /// Not of the form, or key or salt of the wrong length.
    #[error(
        "this is no key of WAMP-CRA, `WAMPCRA$ITERATIONS:KEYLEN:SALT$KEY`, with the key in base 64"
    )]
    Form,
    /// Too few iterations, or more than a client can be asked for.
    #[error("a key of WAMP-CRA has 1000 to 1000000 iterations")]
    Iterations,
}

impl Key {
    /// Of a password, with a fresh salt. Takes milliseconds: not on a worker of the runtime.
    pub(in crate::access) fn new(password: &str) -> Result<Key, SysError> {
        let salt = random_letters(SALT_LETTERS)?;
        Ok(Key::with(password, &salt, ITERATIONS))
    }

    /// Of a password, with this salt.
    pub(in crate::access) fn with(password: &str, salt: &str, iterations: u32) -> Key {
        let (password, bytes) = (password.as_bytes(), salt.as_bytes());
        let key = pbkdf2::pbkdf2_hmac_array::<Sha256, KEY_BYTES>(password, bytes, iterations);
        Key {
            salt: salt.to_owned(),
            iterations,
            key_bytes: KEY_BYTES,
            text: STANDARD.encode(key),
        }
    }

    /// Of nobody: always the same for the same `user`, and no password leads to it. `key` must be nobody else's.
    pub(in crate::access) fn made_up(key: &[u8], user: &str) -> Key {
        let of = |what: &str| mac(key, format!("{MARK} {what}\0{user}").as_bytes());
        Key {
            salt: crate::access::secret::letters(&of("salt"), SALT_LETTERS),
            iterations: ITERATIONS,
            key_bytes: KEY_BYTES,
            text: STANDARD.encode(of("key")),
        }
    }

    /// As it is stored: `WAMPCRA$ITERATIONS:KEYLEN:SALT$KEY`.
    pub(in crate::access) fn to_text(&self) -> String {
        let Key {
            salt,
            iterations,
            key_bytes,
            text,
        } = self;
        format!("{MARK}${iterations}:{key_bytes}:{salt}${text}")
    }

    /// The reverse of [`Key::to_text`].
    ///
    /// # Errors
    /// [`KeyError`]: it lets nobody in.
    pub(in crate::access) fn from_text(text: &str) -> Result<Key, KeyError> {
        let (iterations, key_bytes, salt, key) = parts(text).ok_or(KeyError::Form)?;
        let decoded = STANDARD.decode(key).map_err(|_| KeyError::Form)?;
        let fits = |count: usize, min, max| (min..=max).contains(&count);
        let fine = fits(decoded.len(), KEY_BYTES_MIN, KEY_BYTES_MAX)
            && key_bytes.parse() == Ok(decoded.len())
            && fits(salt.len(), SALT_BYTES_MIN, SALT_BYTES_MAX)
            && salt.bytes().all(|byte| byte.is_ascii_graphic());
        let iterations = iterations.parse().ok().filter(|_| fine);
        let iterations: u32 = iterations.ok_or(KeyError::Form)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(KeyError::Iterations);
        }
        Ok(Key {
            salt: salt.to_owned(),
            iterations,
            key_bytes: decoded.len(),
            text: key.to_owned(),
        })
    }
}

/// Says that there is one.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

fn parts(text: &str) -> Option<(&str, &str, &str, &str)> {
    let rest = text.strip_prefix(MARK)?.strip_prefix('$')?;
    let (told, key) = rest.rsplit_once('$')?;
    let (iterations, rest) = told.split_once(':')?;
    let (key_bytes, salt) = rest.split_once(':')?;
    (is_number(iterations) && is_number(key_bytes)).then_some((iterations, key_bytes, salt, key))
}

/// A challenge that waits for its signature.
#[derive(Debug)]
pub(in crate::access) struct Asked {
    key: Key,
    challenge: String,
}

impl Asked {
    /// The challenge, and what CHALLENGE says. Of roles it has what the client asked for, and nothing of what the user has: the client
    /// has not yet shown that it may know.
    pub(super) fn begin(of: &Occasion<'_>, key: Key) -> (Asked, Dict) {
        let hello = of.hello;
        let challenge = json!({
            "authid": hello.authid.as_deref().unwrap_or_default(),
            "authrole": hello.authrole.as_deref().unwrap_or_default(),
            "authmethod": Method::Cra.as_str(),
            "authprovider": PROVIDER,
            "nonce": of.nonce,
            "timestamp": Rfc3339::of(of.date.get()).to_string(),
            "session": hello.session,
        });
        let challenge = challenge.to_string();
        let extra = [
            ("challenge", json!(challenge)),
            ("salt", json!(key.salt)),
            ("iterations", json!(key.iterations)),
            ("keylen", json!(key.key_bytes)),
        ];
        let extra = extra.map(|(name, value)| (name.to_owned(), value));
        (Asked { key, challenge }, extra.into_iter().collect())
    }

    /// What the signature is checked with.
    pub(in crate::access) fn key(&self) -> &Key {
        &self.key
    }

    pub(super) fn finish(&self, signature: &str) -> Result<(), Fault> {
        let shown = STANDARD.decode(signature).map_err(|_| Fault::Malformed)?;
        let right = mac(self.key.text.as_bytes(), self.challenge.as_bytes());
        match bool::from(shown.ct_eq(&right)) {
            true => Ok(()),
            false => Err(Fault::Wrong),
        }
    }
}
