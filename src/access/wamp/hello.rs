//! What HELLO says of who the client is, and which method follows from that.

use std::fmt;

use serde_json::Value;

use super::{Dict, Method, PublicKey, Refusal};
use crate::access::credentials::NAME_BYTES_MAX;
use crate::access::scram::is_nonce;

/// Methods beyond these are not looked at.
const METHODS_MAX: usize = 16;

/// What HELLO's details say of who the client is, and what the connection knows.
#[derive(Clone, Default)]
pub struct Hello {
    /// `authmethods`, in the client's order.
    pub authmethods: Vec<String>,
    /// `authid`: a user's name.
    pub authid: Option<String>,
    /// `authrole`: one of the user's roles, to be shown as the session's.
    pub authrole: Option<String>,
    /// `authextra`.
    pub authextra: Dict,
    /// The id that WELCOME will have: 1 to 2^53.
    pub session: u64,
    /// What is exported of the TLS connection for binding to it (RFC 9266, `tls-exporter`). None: nothing can be bound to it.
    pub channel: Option<[u8; 32]>,
}

/// Shows names, not what may be secret.
impl fmt::Debug for Hello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hello")
            .field("authmethods", &self.authmethods)
            .field("authid", &self.authid)
            .field("authrole", &self.authrole)
            .finish_non_exhaustive()
    }
}

impl Hello {
    /// Whether the client offers to show nothing: it is who its connection says, or anonymous.
    pub fn offers_nothing(&self) -> bool {
        let mut methods = self.authmethods.iter().take(METHODS_MAX);
        methods.all(|it| it == Method::Anonymous.as_str())
    }

    fn check(&self) -> Result<(), Refusal> {
        let names = [&self.authid, &self.authrole];
        let is_fine = |it: &String| it.len() <= NAME_BYTES_MAX && !it.chars().any(char::is_control);
        let mut names = names.into_iter().flatten();
        names.all(is_fine).then_some(()).ok_or(Refusal::Denied)
    }

    fn extra(&self, name: &str) -> Option<&str> {
        self.authextra.get(name).and_then(Value::as_str)
    }

    fn nonce(&self) -> Option<String> {
        self.extra("nonce")
            .filter(|it| is_nonce(it))
            .map(str::to_owned)
    }

    /// The way in that a method is, if HELLO has what it begins with.
    fn way(&self, method: Method) -> Option<Choice> {
        let user = self.authid.clone();
        Some(match method {
            Method::Ticket => Choice::Ticket,
            Method::Cra => Choice::Cra { user: user? },
            Method::WampScram => Choice::Scram {
                user: user?,
                nonce: self.nonce()?,
            },
            Method::Scram => Choice::ArgonScram {
                user: user?,
                nonce: self.nonce()?,
            },
            Method::Cryptosign => Choice::Cryptosign {
                key: PublicKey::from_hex(&self.extra("pubkey")?.to_ascii_lowercase())?,
            },
            Method::Anonymous => Choice::Anonymous,
            Method::Http | Method::Tls => return None,
        })
    }
}

/// The method that is used, with what it begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::access) enum Choice {
    Anonymous,
    Ticket,
    Cra { user: String },
    Scram { user: String, nonce: String },
    ArgonScram { user: String, nonce: String },
    Cryptosign { key: PublicKey },
}

/// The first of the client's methods that can be used; `anonymous`: whether those who show nothing are let in.
///
/// # Errors
/// [`Refusal`]: none can.
pub(in crate::access) fn choose(hello: &Hello, anonymous: bool) -> Result<Choice, Refusal> {
    hello.check()?;
    if hello.offers_nothing() {
        return anonymous
            .then_some(Choice::Anonymous)
            .ok_or(Refusal::Required);
    }
    let methods = hello.authmethods.iter().take(METHODS_MAX);
    let mut ways = methods
        .filter_map(|name| Method::from_name(name))
        .filter(|method| anonymous || *method != Method::Anonymous)
        .filter_map(|method| hello.way(method));
    ways.next().ok_or(Refusal::NoMatchingMethod)
}
