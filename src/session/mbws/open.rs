//! What an `open` asks for, checked; and why it is not granted (MBWS.md §3).

use std::fmt;
use std::time::Duration;

use restante_proto::mbws::{Code, Open, VERSION};
use thiserror::Error;
use uuid::Uuid;

use crate::broker::{AttachError, SessionWish};

/// Longest time between pings that a client may wish.
const HEARTBEAT_MAX_SECONDS: u32 = 3600;

/// Who a client says it is: in `Authorization` on the upgrade or in the fields of `open`.
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

/// What the driver needs to attach a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachWish {
    /// Credentials from `open`; none where the upgrade is to have had them.
    pub credentials: Option<Credentials>,
    /// The session wished for.
    pub session: SessionWish,
    /// A name for people.
    pub name: Option<String>,
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

impl NotAttached {
    /// The code of the `error` that tells it.
    pub(super) fn code(self) -> Code {
        match self {
            NotAttached::Unauthorized | NotAttached::Throttled => Code::Unauthorized,
            NotAttached::Busy => Code::Internal,
            NotAttached::Refused(AttachError::NoSession) => Code::NoSession,
            NotAttached::Refused(AttachError::NotYours | AttachError::TooMany) => Code::Denied,
            NotAttached::Refused(AttachError::ShuttingDown) => Code::ShuttingDown,
        }
    }
}

impl AttachWish {
    /// What `open` asks for; otherwise what is wrong with it.
    pub(super) fn read(open: Open) -> Result<Self, &'static str> {
        if open.version != VERSION {
            return Err("only version 1 is spoken here");
        }
        let session = SessionWish {
            id: open.session.as_deref().map(session_id).transpose()?,
            expiry: Duration::from_secs(open.expiry),
        };
        Ok(AttachWish {
            credentials: credentials(open.user, open.password, open.token)?,
            session,
            name: open.name,
        })
    }
}

/// Time between pings: what the client wishes, within reason; 0 is no wish.
pub(super) fn heartbeat(wished_seconds: Option<u32>, own: Duration) -> Duration {
    match wished_seconds {
        None | Some(0) => own,
        Some(seconds) => Duration::from_secs(u64::from(seconds.min(HEARTBEAT_MAX_SECONDS))),
    }
}

fn session_id(text: &str) -> Result<Uuid, &'static str> {
    // The usual form only: braces, a URN or no hyphens would make one session look like several in logs.
    let usual = text.len() == uuid::fmt::Hyphenated::LENGTH;
    let id = Uuid::try_parse(text)
        .ok()
        .filter(|id| usual && !id.is_nil());
    id.ok_or("session must be a UUID in its usual text form")
}

fn credentials(
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
) -> Result<Option<Credentials>, &'static str> {
    match (user, password, token) {
        (None, None, None) => Ok(None),
        (Some(user), Some(password), None) => Ok(Some(Credentials::Password { user, password })),
        (None, None, Some(token)) => Ok(Some(Credentials::Token(token))),
        _ => Err("credentials are user and password, or a token"),
    }
}
