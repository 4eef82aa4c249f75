//! One exchange, from the server's side: from the client's first message to what the server says last.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::message::ClientFinal;
use super::{ClientFirst, ScramError, Verifier};

/// An exchange of which the server has said its first message. Good for one answer.
#[derive(Debug)]
pub struct Exchange {
    user: String,
    verifier: Verifier,
    gs2_header: String,
    /// The client's part, and behind it the server's.
    nonce: String,
    /// `client-first-bare,server-first,`: what is signed, up to the client's last message.
    signed: String,
}

impl Exchange {
    /// Answers `first`: what the client is told (RFC 5802 §5). `nonce`: of graphic ASCII characters without a comma, and never the same
    /// twice.
    pub fn begin(first: ClientFirst, verifier: Verifier, nonce: &str) -> (Exchange, String) {
        let nonce = format!("{}{nonce}", first.nonce);
        let (salt, iterations) = (verifier.salt_text(), verifier.iterations);
        let told = format!("r={nonce},s={salt},i={iterations}");
        let exchange = Exchange {
            user: first.user,
            verifier,
            gs2_header: first.gs2_header,
            signed: format!("{},{told},", first.bare),
            nonce,
        };
        (exchange, told)
    }

    /// Whose password is to be proved.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What it is proved against.
    pub(in crate::access) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Checks the client's last message; on success, what it is told: that we have what was made of its password.
    ///
    /// # Errors
    /// `ScramError`: it is not let in.
    pub fn finish(&self, last: &[u8]) -> Result<String, ScramError> {
        let last = ClientFinal::read(last)?;
        if last.binding != STANDARD.encode(&self.gs2_header) || last.nonce != self.nonce {
            return Err(ScramError::Mismatch);
        }
        let signed = format!("{}{}", self.signed, last.without_proof);
        let signature = self.verifier.keys.check(&signed, &last.proof);
        let signature = signature.ok_or(ScramError::Proof)?;
        Ok(format!("v={}", STANDARD.encode(signature)))
    }
}
