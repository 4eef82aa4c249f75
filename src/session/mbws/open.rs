//! What an `open` asks for, checked; and why it is not granted (MBWS.md §3).

use std::time::Duration;

use restante_proto::mbws::{Code, Open, VERSION};
use uuid::Uuid;

use crate::broker::{AttachError, SessionWish};
use crate::session::{Credentials, NotAttached};

/// Longest time between pings that a client may wish.
const HEARTBEAT_MAX_SECONDS: u32 = 3600;

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

/// The code of the `error` that tells why a client was not attached.
pub(super) fn code(why: NotAttached) -> Code {
    match why {
        NotAttached::Unauthorized | NotAttached::Throttled => Code::Unauthorized,
        NotAttached::Busy => Code::Internal,
        NotAttached::Refused(AttachError::NoSession) => Code::NoSession,
        NotAttached::Refused(
            AttachError::NotYours | AttachError::TooMany | AttachError::Will(_),
        ) => Code::Denied,
        NotAttached::Refused(AttachError::TakenOver) => Code::TakenOver,
        NotAttached::Refused(AttachError::ShuttingDown) => Code::ShuttingDown,
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
            fresh: false,
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
