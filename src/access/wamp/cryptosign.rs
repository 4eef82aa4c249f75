//! Cryptosign: the client signs a challenge with its private key, of which the user's document has the public half.
//!
//! What is signed may be mixed with what is exported of the TLS connection, so that nobody between can pass a challenge on.

use std::fmt;

use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::{Dict, Fault, Hello};
use crate::access::hash::{from_hex, to_hex};
use crate::access::scram::both;

/// Bytes of a signature, and of what is signed behind it.
const SIGNATURE_BYTES: usize = 64;
const MESSAGE_BYTES: usize = 32;

/// The one binding that TLS 1.3 has (RFC 9266).
const TLS_EXPORTER: &str = "tls-exporter";

/// The points of small order, without their sign: what is signed with one of them, anybody can sign.
const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// An Ed25519 public key (RFC 8032 §5.1.5).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::access) struct PublicKey([u8; 32]);

impl PublicKey {
    /// 64 hexadecimal digits in lower case.
    pub(in crate::access) fn from_hex(text: &str) -> Option<PublicKey> {
        from_hex(text).map(PublicKey)
    }

    /// The reverse.
    pub(in crate::access) fn to_hex(self) -> String {
        to_hex(&self.0)
    }
}

/// It is no secret.
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.to_hex())
    }
}

/// What is wrong with a key in a user's document, if anything is.
pub(in crate::access) fn complaint(text: &str) -> Option<&'static str> {
    let Some(PublicKey(mut key)) = PublicKey::from_hex(text) else {
        return Some("is no Ed25519 public key: 64 hexadecimal digits in lower case");
    };
    let [.., last] = &mut key;
    *last &= 0x7F;
    let is_small = SMALL_ORDER.contains(&PublicKey(key).to_hex().as_str());
    is_small.then_some("is a key with which anybody can sign")
}

/// A challenge that waits for its signature.
#[derive(Debug)]
pub(in crate::access) struct Asked {
    key: PublicKey,
    /// The challenge, mixed with what the connection exports if that is to be bound.
    message: [u8; MESSAGE_BYTES],
}

impl Asked {
    /// The challenge, and what CHALLENGE says. A binding that cannot be had is left out: the client decides what it makes of that.
    pub(super) fn begin(hello: &Hello, key: PublicKey, challenge: [u8; 32]) -> (Asked, Dict) {
        let wished = hello.authextra.get("channel_binding");
        let wishes = wished.and_then(Value::as_str) == Some(TLS_EXPORTER);
        let channel = hello.channel.filter(|_| wishes);
        let message = channel.map_or(challenge, |channel| both(&challenge, &channel));
        let binding = channel.map(|_| TLS_EXPORTER);
        let extra = [
            ("challenge", json!(to_hex(&challenge))),
            ("channel_binding", json!(binding)),
        ];
        let extra = extra.map(|(name, value)| (name.to_owned(), value));
        (Asked { key, message }, extra.into_iter().collect())
    }

    /// Whose signature is asked for.
    pub(in crate::access) fn key(&self) -> PublicKey {
        self.key
    }

    /// `signature`: 192 hexadecimal digits, the signature and behind it what is signed.
    pub(super) fn finish(&self, signature: &str) -> Result<(), Fault> {
        let bytes: [u8; SIGNATURE_BYTES + MESSAGE_BYTES] =
            from_hex(&signature.to_ascii_lowercase()).ok_or(Fault::Malformed)?;
        let (signature, message) = bytes.split_at(SIGNATURE_BYTES);
        if !bool::from(message.ct_eq(&self.message)) {
            return Err(Fault::Mismatch);
        }
        let key = UnparsedPublicKey::new(&ED25519, &self.key.0);
        key.verify(&self.message, signature)
            .map_err(|_| Fault::Wrong)
    }
}
