//! How an authentication ends: what WELCOME or ABORT says.

use super::Dict;
use crate::access::{Identity, Principal};

/// A way to say who one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Nothing is shown.
    Anonymous,
    /// A password, a token or a JWT is shown.
    Ticket,
    /// A key that is made of the password signs a challenge.
    Cra,
    /// SCRAM as the specification has it.
    WampScram,
    /// SCRAM as autobahn has it.
    Scram,
    /// A private key signs a challenge.
    Cryptosign,
    /// `Authorization` on the upgrade of the connection; nobody offers it.
    Http,
    /// A client certificate of the connection; nobody offers it.
    Tls,
}

impl Method {
    /// Those that a client may offer.
    const OFFERED: [Method; 6] = [
        Method::Anonymous,
        Method::Ticket,
        Method::Cra,
        Method::WampScram,
        Method::Scram,
        Method::Cryptosign,
    ];

    /// As it is written in HELLO, CHALLENGE and WELCOME.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Anonymous => "anonymous",
            Method::Ticket => "ticket",
            Method::Cra => "wampcra",
            Method::WampScram => "wamp-scram",
            Method::Scram => "scram",
            Method::Cryptosign => "cryptosign",
            Method::Http => "http",
            Method::Tls => "tls",
        }
    }

    /// The reverse, for those that may be offered.
    pub fn from_name(name: &str) -> Option<Method> {
        Method::OFFERED.into_iter().find(|it| it.as_str() == name)
    }
}

/// Why a client is not let in: one URI each, for ABORT.
///
/// `Denied` is the answer to whatever is wrong with what was shown, unknown users included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Methods were offered, and none of them is known here, or HELLO lacks what it begins with.
    #[error("none of the offered authentication methods can be used here")]
    NoMatchingMethod,
    /// Nothing was offered, and nobody is let in unknown.
    #[error("authentication is required")]
    Required,
    /// Wrong, unknown, expired or disabled; or of no form at all.
    #[error("these credentials are not valid")]
    Denied,
    /// Too much that was wrong, from there or for that user.
    #[error("too many wrong tries, try again later")]
    Throttled,
    /// Too many others are being checked.
    #[error("too many log-ins at once, try again")]
    Busy,
    /// The realm is not there. Told by whoever attaches: never before the client has proved who it is.
    #[error("there is no such realm")]
    NoSuchRealm,
    /// The client is who it says, and has not the role that it asks for.
    #[error("the authenticated principal has no such role")]
    NoSuchRole,
}

impl Refusal {
    /// ABORT's reason. What may go well another time is `authentication_failed`, at which clients try again.
    pub fn uri(self) -> &'static str {
        match self {
            Refusal::NoMatchingMethod => "wamp.error.no_matching_auth_method",
            Refusal::Required => "wamp.error.authentication_required",
            Refusal::Denied => "wamp.error.authentication_denied",
            Refusal::Throttled | Refusal::Busy => "wamp.error.authentication_failed",
            Refusal::NoSuchRealm => "wamp.error.no_such_realm",
            Refusal::NoSuchRole => "wamp.error.no_such_role",
        }
    }
}

/// Who a client is, and what WELCOME says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Welcome {
    /// To be attached. All of its roles count, whichever is shown.
    pub principal: Principal,
    /// The principal's name; of those who are anonymous, one that no other session has.
    pub authid: String,
    /// The role that was asked for, or the first that the principal has; empty: it has none.
    pub authrole: String,
    /// How it was known.
    pub authmethod: Method,
    /// Who knew it.
    pub authprovider: &'static str,
    /// What else the method has to say: a server's signature.
    pub authextra: Dict,
}

/// `authprovider`.
pub(super) const PROVIDER: &str = "restante";

impl Welcome {
    /// Of `principal`, who asked for the role `wish`.
    ///
    /// # Errors
    /// [`Refusal::NoSuchRole`].
    pub fn new(
        principal: Principal,
        method: Method,
        wish: Option<&str>,
    ) -> Result<Welcome, Refusal> {
        let authrole = match wish {
            Some(wish) if principal.has_role(wish) => wish.to_owned(),
            Some(_) => return Err(Refusal::NoSuchRole),
            None => principal.roles.first().cloned().unwrap_or_default(),
        };
        debug_assert!(method != Method::Anonymous || principal.identity == Identity::Anonymous);
        Ok(Welcome {
            authid: principal.name.to_string(),
            authrole,
            authmethod: method,
            authprovider: PROVIDER,
            authextra: Dict::new(),
            principal,
        })
    }
}
