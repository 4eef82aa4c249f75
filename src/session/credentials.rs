//! Who a client says it is, and why it was not let in: the same words for every protocol.

use std::fmt;

use thiserror::Error;

use crate::broker::AttachError;

/// Who a client says it is: in `Authorization` on the upgrade, in the fields of MBWS's `open`, in MQTT's CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user's name and password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A bearer token.
    Token(String),
}

/// Names the user and gives no secret away.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Password { user, .. } => write!(f, "Password({user:?})"),
            Credentials::Token(_) => f.write_str("Token"),
        }
    }
}

/// Why a client was not attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotAttached {
    /// There were no credentials, or they are wrong, or those of the upgrade and of `open` are two principals'.
    #[error("no valid credentials")]
    Unauthorized,
    /// Too many wrong credentials from there of late.
    #[error("too many attempts, try again later")]
    Throttled,
    /// The broker did not answer in time, or too many others wait.
    #[error("the broker is busy, try again")]
    Busy,
    /// The broker refused.
    #[error(transparent)]
    Refused(#[from] AttachError),
}
