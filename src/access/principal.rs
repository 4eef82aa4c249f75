//! Somebody who has shown credentials: what they are called, what they are, and how that is known.
//!
//! Names say by their form what kind of principal has them, so that nobody can be taken for another: a user's name has no
//! colon; `token:LABEL`, `jwt:SUBJECT` and `anonymous:` have one.

use std::sync::Arc;

use restante_storage::UnixMillis;

/// The built-in role that may do everything.
pub const ADMIN: &str = "admin";
/// The built-in role that may see what is not secret, and scrape metrics.
pub const MONITOR: &str = "monitor";

/// What all who have shown nothing are called, where the configuration lets them in.
pub const ANONYMOUS: &str = "anonymous:";

pub(super) const TOKEN_PREFIX: &str = "token:";
pub(super) const JWT_PREFIX: &str = "jwt:";

/// Somebody who has shown credentials. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// A user's name, `token:LABEL`, `jwt:SUBJECT`, or [`ANONYMOUS`].
    pub name: Arc<str>,
    /// What they were given to be.
    pub roles: Arc<[String]>,
    /// How they are known.
    pub identity: Identity,
    /// From when on they are nobody any more, unless they show something newer. None: as long as their document stands.
    pub expires: Option<UnixMillis>,
}

/// How somebody is known, so that [`Access::renew`](super::Access::renew) can look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A user, by a password.
    User {
        /// Some bits of the hash of the password that was shown: a session ends with the password that began it, and is not
        /// that of another user who gets the same name later. None: none was shown.
        password: Option<u64>,
    },
    /// A token.
    Token {
        /// Its id: the part of it that may be shown.
        id: Arc<str>,
        /// Some bits of the hash of the secret that was shown: a session ends with the secret that began it.
        mark: u64,
    },
    /// A JWT.
    Jwt {
        /// Who issued it.
        issuer: Arc<str>,
    },
    /// A user, by a client certificate.
    Certificate {
        /// The name in the certificate that is the user's, as in the user's document.
        shown: Arc<str>,
    },
    /// A user, by a private key.
    PublicKey {
        /// The key's public half, as in the user's document.
        shown: Arc<str>,
    },
    /// Nobody: nothing was shown, and the configuration lets such in. Rules for everybody with credentials give them nothing.
    Anonymous,
    /// The broker itself.
    Broker,
}

impl Principal {
    /// Whether they have `role`.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|has| has == role)
    }

    /// The broker itself, which may do everything: for what nobody asked for.
    pub fn broker() -> Principal {
        Principal {
            name: "broker:".into(),
            roles: [ADMIN.to_owned()].into(),
            identity: Identity::Broker,
            expires: None,
        }
    }
}
