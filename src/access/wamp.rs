//! WAMP's ways to say who one is: what HELLO offers, one challenge, one answer to it.
//!
//! ```text
//! HELLO ─▶ Choice ─▶ anonymous, http, tls ──────────────────────────────────────────────────▶ Welcome
//!             └────▶ Exchange::begin ─▶ CHALLENGE   AUTHENTICATE ─▶ Exchange::finish ─▶ who ─▶ Welcome
//! ```
//!
//! | method | what is checked | against what of a user |
//! |---|---|---|
//! | `ticket` | a password as it is; or an API token, or a JWT, whosever it is | `password_hash` |
//! | `wampcra` | an HMAC of the challenge, with a key that is as good as the password here | `wampcra_key` |
//! | `wamp-scram` | SCRAM by the specification, with PBKDF2 | `scram_verifier` |
//! | `scram` | SCRAM as autobahn has it, with Argon2id | `scram_argon2_verifier` |
//! | `cryptosign` | an Ed25519 signature of the challenge, which the TLS connection may be a part of | `public_keys` |
//!
//! Which method it will be follows from HELLO alone, never from who there is: the first of the client's that it has said enough for.
//! So a user who does not exist, or has nothing for that method, is challenged as anybody, with what is made up, and refused at the
//! end as for a wrong answer. Nothing here knows who exists, nor tasks, sockets or messages.
//!
//! Two-step log-ins, `trustroot` and attestation are not spoken; the broker has no key to prove itself with, so that a router's own
//! `challenge` in HELLO is passed over.
//!
//! Always, each with a test of its name in `wamp::tests`:
//! - `the_method_follows_from_hello_alone`.
//! - `vectors_of_an_independent_client_are_ours`, one for each method that has something to compute.
//! - `no_answer_that_is_out_of_order_is_taken`, and none panics.
//!
//! Not here: throttling, who the user is (`authenticator/wamp.rs`), messages (the session).
//!
//! Rules: WAMP, Advanced Profile, Authentication; RFC 5802 §3 and §5; RFC 9266 (`tls-exporter`).

mod argon;
mod cra;
mod cryptosign;
mod hello;
mod scram;
#[cfg(test)]
pub(crate) mod tests;
mod welcome;

use std::time::{Duration, Instant};

use restante_storage::UnixMillis;
use serde_json::{Map, Value};

pub(super) use argon::Verifier as ArgonVerifier;
pub(super) use cra::Key as CraKey;
pub(super) use cryptosign::{PublicKey, complaint};
pub use hello::Hello;
pub(super) use hello::{Choice, choose};
pub(super) use scram::Verifier;
pub use welcome::{Method, Refusal, Welcome};

/// A JSON object, as details of messages are.
pub type Dict = Map<String, Value>;

/// How long a challenge is good for: a person may have to type something.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);

/// The longest signature that is looked at: beyond a token, which is a ticket too.
const SIGNATURE_BYTES_MAX: usize = super::credentials::TOKEN_BYTES_MAX;

/// What HELLO has led to.
#[derive(Debug)]
pub enum Begun {
    /// The client is to answer CHALLENGE.
    Challenge(Box<Exchange>, Challenge),
    /// It is let in without.
    Welcome(Box<Welcome>),
}

/// What CHALLENGE says.
#[derive(Debug, Clone, PartialEq)]
pub struct Challenge {
    /// `AuthMethod`.
    pub method: Method,
    /// `Extra`.
    pub extra: Dict,
}

/// A challenge that waits for its answer. Good for one.
#[derive(Debug)]
pub struct Exchange {
    /// As whom the client comes, by HELLO. None: that shows by what it proves.
    authid: Option<String>,
    authrole: Option<String>,
    begun: Instant,
    pub(super) asked: Asked,
}

/// What an answer is checked against.
#[derive(Debug)]
pub(super) enum Asked {
    /// A password or a token comes.
    Ticket,
    Cra(cra::Asked),
    Scram(scram::Asked),
    Cryptosign(cryptosign::Asked),
}

/// What is wrong with an answer, for the log. The client is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Not hexadecimal or base 64, of the wrong length, or an attribute that the method does not have.
    #[error("the answer is malformed")]
    Malformed,
    /// Of another challenge.
    #[error("the answer is to another challenge")]
    Mismatch,
    /// The secret is another.
    #[error("the answer is wrong")]
    Wrong,
    /// Too late.
    #[error("the answer came too late")]
    Late,
}

/// What a challenge is made of, beside the secret.
pub(super) struct Occasion<'a> {
    pub(super) hello: &'a Hello,
    /// Of graphic ASCII characters without a comma, and never the same twice.
    pub(super) nonce: &'a str,
    pub(super) now: Instant,
    pub(super) date: UnixMillis,
}

impl Exchange {
    /// Asks for a ticket.
    pub(super) fn ticket(of: &Occasion<'_>) -> (Box<Exchange>, Challenge) {
        Exchange::begun(of, Asked::Ticket, Method::Ticket, Dict::new())
    }

    /// Asks for an HMAC with `key`.
    pub(super) fn cra(of: &Occasion<'_>, key: CraKey) -> (Box<Exchange>, Challenge) {
        let (asked, extra) = cra::Asked::begin(of, key);
        Exchange::begun(of, Asked::Cra(asked), Method::Cra, extra)
    }

    /// Asks for a proof of the password that `verifier` is of; `client_nonce`: from HELLO.
    pub(super) fn scram(
        of: &Occasion<'_>,
        client_nonce: &str,
        verifier: Verifier,
    ) -> (Box<Exchange>, Challenge) {
        let method = verifier.method();
        let (asked, extra) = scram::Asked::begin(of, client_nonce, verifier);
        Exchange::begun(of, Asked::Scram(asked), method, extra)
    }

    /// Asks for a signature with the private half of `key`; `challenge`: 32 random bytes.
    pub(super) fn cryptosign(
        of: &Occasion<'_>,
        key: PublicKey,
        challenge: [u8; 32],
    ) -> (Box<Exchange>, Challenge) {
        let (asked, extra) = cryptosign::Asked::begin(of.hello, key, challenge);
        Exchange::begun(of, Asked::Cryptosign(asked), Method::Cryptosign, extra)
    }

    fn begun(
        of: &Occasion<'_>,
        asked: Asked,
        method: Method,
        extra: Dict,
    ) -> (Box<Exchange>, Challenge) {
        let exchange = Exchange {
            authid: of.hello.authid.clone(),
            authrole: of.hello.authrole.clone(),
            begun: of.now,
            asked,
        };
        (Box::new(exchange), Challenge { method, extra })
    }

    /// As whom the client comes, by HELLO; none: it did not say.
    pub fn user(&self) -> Option<&str> {
        self.authid.as_deref()
    }

    /// The role that it asked for.
    pub(super) fn role(&self) -> Option<&str> {
        self.authrole.as_deref()
    }

    /// Which method it is.
    pub fn method(&self) -> Method {
        match &self.asked {
            Asked::Ticket => Method::Ticket,
            Asked::Cra(_) => Method::Cra,
            Asked::Scram(asked) => asked.verifier().method(),
            Asked::Cryptosign(_) => Method::Cryptosign,
        }
    }

    /// Whether an answer of that length may be looked at now.
    pub(super) fn check(&self, now: Instant, signature: &str) -> Result<(), Fault> {
        if now.saturating_duration_since(self.begun) > ANSWER_WITHIN {
            return Err(Fault::Late);
        }
        match signature.len() > SIGNATURE_BYTES_MAX {
            true => Err(Fault::Malformed),
            false => Ok(()),
        }
    }

    /// Checks what AUTHENTICATE says; on success, what WELCOME's `authextra` has. A ticket is not checked here.
    pub(super) fn finish(&self, signature: &str, extra: &Dict) -> Result<Dict, Fault> {
        match &self.asked {
            Asked::Ticket => Err(Fault::Malformed),
            Asked::Cra(asked) => asked.finish(signature).map(|()| Dict::new()),
            Asked::Scram(asked) => asked.finish(signature, extra),
            Asked::Cryptosign(asked) => asked.finish(signature).map(|()| Dict::new()),
        }
    }
}
