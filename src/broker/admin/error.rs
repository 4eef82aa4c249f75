//! Why something that an administrator wants is not done; nothing is changed then.

use restante_admin_api::{ControlError, Invalid};
use thiserror::Error;

use crate::engine::address::AddressError;

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdminError {
    /// There is no such realm.
    #[error("there is no realm {0}")]
    NoRealm(String),
    /// There is no such queue.
    #[error("there is no queue {name} in realm {realm}")]
    NoQueue {
        /// Where it was looked for.
        realm: String,
        /// Its name.
        name: String,
    },
    /// There is no such session.
    #[error("there is no session {0}")]
    NoSession(String),
    /// There is no such connection.
    #[error("there is no connection {0}")]
    NoConnection(String),
    /// WAMP clients have no such registration in the realm.
    #[error("there is no registration {0}")]
    NoRegistration(u64),
    /// WAMP clients have no such subscription in the realm.
    #[error("there is no subscription {0}")]
    NoSubscription(u64),
    /// It is not, or no longer, as the caller believes.
    #[error("it has changed meanwhile")]
    Changed {
        /// Its revision now; none: it is not there.
        revision: Option<u64>,
    },
    /// A queue in memory belongs to its session: nobody else defines, pauses or removes it, or moves its messages.
    #[error("queue {0} lives in memory and belongs to a session")]
    InMemory(String),
    /// A queue of an MQTT session's own: it follows from the session's subscriptions, and goes with the session.
    #[error("queue {0} belongs to an MQTT session: end the session to remove it")]
    OfSession(String),
    /// A part of what was given makes no sense.
    #[error("{field}: {why}")]
    Invalid {
        /// Which: a field of `QueueSpec` or `Selection`, or `name`, or `to`: where messages are moved to.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The realm has as many queues as `limits.queues-per-realm` allows.
    #[error("the realm has {limit} queues, which is the limit")]
    TooManyQueues {
        /// That many.
        limit: usize,
    },
    /// The definition is larger than a record of the log may be.
    #[error("the definition is too large: bind fewer filters")]
    TooLarge,
    /// The disk is nearly full.
    #[error("the disk is nearly full")]
    DiskFull,
    /// The broker is going down, or its log has failed.
    #[error("the broker is shutting down")]
    ShuttingDown,
    /// The disk does not take it in time: it may still come into force.
    #[error("the disk does not take it; it may still come into force")]
    Unsettled,
    /// Nothing can be changed before it is known what became of an earlier change.
    #[error("the disk has not taken an earlier change yet; nothing is changed before that")]
    Unready,
}

impl AdminError {
    pub(super) fn invalid(field: &'static str, why: impl Into<String>) -> Self {
        AdminError::Invalid {
            field,
            why: why.into(),
        }
    }

    pub(super) fn address(field: &'static str) -> impl FnOnce(AddressError) -> Self {
        move |error| AdminError::invalid(field, error.to_string())
    }
}

impl From<AdminError> for ControlError {
    fn from(error: AdminError) -> Self {
        let text = error.to_string();
        match error {
            AdminError::NoRealm(realm) => ControlError::NotFound(format!("realm {realm}")),
            AdminError::NoQueue { realm, name } => {
                ControlError::NotFound(format!("queue {name} in realm {realm}"))
            }
            AdminError::NoSession(id) => ControlError::NotFound(format!("session {id}")),
            AdminError::NoConnection(id) => ControlError::NotFound(format!("connection {id}")),
            AdminError::NoRegistration(id) => ControlError::NotFound(format!("registration {id}")),
            AdminError::NoSubscription(id) => ControlError::NotFound(format!("subscription {id}")),
            AdminError::Changed { revision } => ControlError::Changed { revision },
            AdminError::InMemory(_) | AdminError::OfSession(_) => ControlError::Conflict(text),
            AdminError::Invalid { field, why } => ControlError::Invalid(vec![Invalid {
                pointer: format!("/{field}"),
                detail: why,
            }]),
            AdminError::TooManyQueues { .. } | AdminError::DiskFull | AdminError::Unready => {
                ControlError::Full(text)
            }
            AdminError::TooLarge => ControlError::TooLarge(text),
            AdminError::ShuttingDown => ControlError::ShuttingDown,
            AdminError::Unsettled => ControlError::Unsettled,
        }
    }
}
