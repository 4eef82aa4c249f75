//! What a proof is checked with, and the server's own signature made with, however the password was salted.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::{Key, hash, mac};

/// The two keys of a verifier (RFC 5802 §3). Secrets, and shown by nothing.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::access) struct Keys {
    stored_key: Key,
    server_key: Key,
}

impl Keys {
    /// Of a salted password.
    pub(in crate::access) fn of(salted: &[u8]) -> Keys {
        Keys {
            stored_key: hash(&mac(salted, b"Client Key")),
            server_key: mac(salted, b"Server Key"),
        }
    }

    /// Of nobody: always the same for the same `user`, and no password leads to them.
    pub(in crate::access) fn made_up(key: &[u8], user: &str) -> Keys {
        let of = |what: &str| mac(key, format!("{what}\0{user}").as_bytes());
        Keys {
            stored_key: of("stored key"),
            server_key: of("server key"),
        }
    }

    /// As they are stored: `STOREDKEY:SERVERKEY` in base 64.
    pub(in crate::access) fn to_text(&self) -> String {
        let [stored_key, server_key] =
            [&self.stored_key, &self.server_key].map(|it| STANDARD.encode(it));
        format!("{stored_key}:{server_key}")
    }

    /// The reverse of [`Keys::to_text`].
    pub(in crate::access) fn from_text(text: &str) -> Option<Keys> {
        let key = |text: &str| Key::try_from(STANDARD.decode(text).ok()?).ok();
        let (stored_key, server_key) = text.split_once(':')?;
        Some(Keys {
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// Whether `proof` is that of the password, over `signed`; if so, the server's signature of the same. It takes as long for a
    /// wrong one, up to there.
    pub(in crate::access) fn check(&self, signed: &str, proof: &Key) -> Option<Key> {
        let signature = mac(&self.stored_key, signed.as_bytes());
        let client_key = both(proof, &signature);
        let is_right = bool::from(hash(&client_key).ct_eq(&self.stored_key));
        is_right.then(|| mac(&self.server_key, signed.as_bytes()))
    }
}

/// Says that there are some.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// XOR.
pub(in crate::access) fn both(one: &Key, other: &Key) -> Key {
    let mut key = *one;
    for (byte, other) in key.iter_mut().zip(other) {
        *byte ^= other;
    }
    key
}
