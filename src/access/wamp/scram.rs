//! Both of WAMP's SCRAMs: the messages of RFC 5802 are spread over HELLO, CHALLENGE and AUTHENTICATE, and put together to be signed.
//!
//! ```text
//! n=AUTHID,r=C , r=CS,s=SALT,i=ITERATIONS , c=BINDING,r=CS        BINDING: `biws` by the specification, nothing in autobahn's
//! ```
//!
//! The channel is bound by neither: CHALLENGE says nothing of it, and a client that insists gives up.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::argon;
use super::{Dict, Fault, Method, Occasion};
use crate::access::scram::{self, Keys, prepared};

/// What a proof is checked against; which of both decides how the parts are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::access) enum Verifier {
    /// `wamp-scram`.
    Pbkdf2(scram::Verifier),
    /// `scram`.
    Argon(argon::Verifier),
}

impl Verifier {
    pub(in crate::access) fn method(&self) -> Method {
        match self {
            Verifier::Pbkdf2(_) => Method::WampScram,
            Verifier::Argon(_) => Method::Scram,
        }
    }

    fn keys(&self) -> &Keys {
        match self {
            Verifier::Pbkdf2(it) => it.keys(),
            Verifier::Argon(it) => it.keys(),
        }
    }

    /// What CHALLENGE says, beside the nonce. Autobahn refuses what it does not know: no key more than these.
    fn told(&self) -> Vec<(&'static str, Value)> {
        match self {
            Verifier::Pbkdf2(it) => vec![
                ("salt", json!(it.salt_text())),
                ("kdf", json!("pbkdf2")),
                ("iterations", json!(it.iterations())),
            ],
            Verifier::Argon(it) => vec![
                ("salt", json!(it.salt_text())),
                ("kdf", json!("argon2id-13")),
                ("iterations", json!(it.iterations())),
                ("memory", json!(it.memory_kib())),
            ],
        }
    }

    fn salt_and_iterations(&self) -> (String, u32) {
        match self {
            Verifier::Pbkdf2(it) => (it.salt_text(), it.iterations()),
            Verifier::Argon(it) => (it.salt_text(), it.iterations()),
        }
    }

    fn name_of(&self, authid: &str) -> String {
        let authid = prepared(authid);
        match self {
            Verifier::Pbkdf2(_) => authid.replace('=', "=3D").replace(',', "=2C"),
            Verifier::Argon(_) => authid.into_owned(),
        }
    }

    /// What stands for `n,,`: that nothing is bound.
    fn binding(&self) -> &'static str {
        match self {
            Verifier::Pbkdf2(_) => "biws",
            Verifier::Argon(_) => "",
        }
    }

    /// Where WELCOME's `authextra` has our signature.
    fn signature_key(&self) -> &'static str {
        match self {
            Verifier::Pbkdf2(_) => "verifier",
            Verifier::Argon(_) => "scram_server_signature",
        }
    }
}

/// A challenge that waits for its proof.
#[derive(Debug)]
pub(in crate::access) struct Asked {
    verifier: Verifier,
    nonce: String,
    /// All that both sides sign.
    signed: String,
}

impl Asked {
    pub(super) fn begin(
        of: &Occasion<'_>,
        client_nonce: &str,
        verifier: Verifier,
    ) -> (Asked, Dict) {
        let nonce = format!("{client_nonce}{}", of.nonce);
        let name = verifier.name_of(of.hello.authid.as_deref().unwrap_or_default());
        let (salt, iterations) = verifier.salt_and_iterations();
        let binding = verifier.binding();
        let signed = format!(
            "n={name},r={client_nonce},r={nonce},s={salt},i={iterations},c={binding},r={nonce}"
        );
        let told = verifier.told().into_iter().chain([("nonce", json!(nonce))]);
        let extra = told.map(|(name, value)| (name.to_owned(), value)).collect();
        let asked = Asked {
            verifier,
            nonce,
            signed,
        };
        (asked, extra)
    }

    /// What the proof is checked against.
    pub(in crate::access) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Autobahn's `extra` is empty; the specification's says the nonce again, and what channel is bound.
    pub(super) fn finish(&self, signature: &str, extra: &Dict) -> Result<Dict, Fault> {
        let is_absent = |name: &str| match extra.get(name) {
            None | Some(Value::Null) => true,
            Some(value) => value == "",
        };
        let is_same = match extra.get("nonce") {
            None => true,
            Some(nonce) => *nonce == *self.nonce,
        };
        if !is_same || !is_absent("channel_binding") || !is_absent("cbind_data") {
            return Err(Fault::Mismatch);
        }
        let proof = STANDARD.decode(signature).map_err(|_| Fault::Malformed)?;
        let proof = proof.try_into().map_err(|_| Fault::Malformed)?;
        let ours = self.verifier.keys().check(&self.signed, &proof);
        let ours = json!(STANDARD.encode(ours.ok_or(Fault::Wrong)?));
        let name = self.verifier.signature_key().to_owned();
        Ok([(name, ours)].into_iter().collect())
    }
}
