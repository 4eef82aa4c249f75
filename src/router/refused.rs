//! Why the router does not do what it is asked to: an answer, or the session's end.

use thiserror::Error;

/// A wish refused; the session goes on. [`uri`](Self::uri) is the ERROR's, `Display` its one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// It breaks the grammar, or is in the router's own name space.
    #[error("not a URI that may be used here")]
    InvalidUri,
    /// There is none of that id, or it is not this session's.
    #[error("no such subscription")]
    NoSuchSubscription,
    /// There is none of that id, or it is not this session's.
    #[error("no such registration")]
    NoSuchRegistration,
    /// It has left, never was, or is the asking one itself.
    #[error("no such session")]
    NoSuchSession,
    /// Somebody is its only callee, or this session is a callee of it already.
    #[error("the procedure is registered already")]
    ProcedureAlreadyExists,
    /// It is shared, in another way than asked for.
    #[error("the procedure is registered with another invocation policy")]
    DifferentPolicy,
    /// No registration matches.
    #[error("no callee has registered this procedure")]
    NoSuchProcedure,
    /// All callees have said that they are unavailable, or are gone.
    #[error("no callee of this procedure is available")]
    NoAvailableCallee,
    /// Each callee has as many calls as it takes.
    #[error("every callee of this procedure has as many calls as it takes")]
    MaxConcurrencyReached,
    /// A feature that the other side did not announce.
    #[error("the other side has not announced {0}")]
    FeatureNotSupported(&'static str),
    /// The realm discloses nobody.
    #[error("callers are not disclosed here")]
    DiscloseMe,
    /// `runmode` is `partition`, and there is no `rkey`.
    #[error("runmode partition needs rkey")]
    NoShardKey,
    /// The caller canceled the call.
    #[error("canceled by the caller")]
    Canceled,
    /// The callee left before it answered.
    #[error("the callee is gone")]
    CalleeGone,
    /// The call's time is over.
    #[error("no answer in the time that the call had")]
    Timeout,
    /// A limit of the realm.
    #[error("too many {0}")]
    TooMany(&'static str),
}

impl Refused {
    /// The error's URI (wamp.md §6).
    #[must_use]
    pub const fn uri(self) -> &'static str {
        match self {
            Self::InvalidUri => "wamp.error.invalid_uri",
            Self::NoSuchSubscription => "wamp.error.no_such_subscription",
            Self::NoSuchRegistration => "wamp.error.no_such_registration",
            Self::NoSuchSession => "wamp.error.no_such_session",
            Self::ProcedureAlreadyExists => "wamp.error.procedure_already_exists",
            Self::DifferentPolicy => "wamp.error.procedure_exists_with_different_invocation_policy",
            Self::NoSuchProcedure => "wamp.error.no_such_procedure",
            Self::NoAvailableCallee => "wamp.error.no_available_callee",
            Self::MaxConcurrencyReached => "crossbar.error.max_concurrency_reached",
            Self::FeatureNotSupported(_) => "wamp.error.feature_not_supported",
            Self::DiscloseMe => "wamp.error.option_disallowed.disclose_me",
            Self::NoShardKey => "wamp.error.invalid_argument",
            Self::Canceled | Self::CalleeGone => "wamp.error.canceled",
            Self::Timeout => "wamp.error.timeout",
            Self::TooMany(_) => "restante.error.limit_exceeded",
        }
    }
}

/// What no peer may do: ABORT with `wamp.error.protocol_violation`, `Display` for its message (wamp.md §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Violation {
    /// A YIELD or ERROR for an invocation that this callee never got.
    #[error("no invocation {0} was ever sent to this session")]
    UnknownInvocation(u64),
    /// A second CALL with the id of one in flight that is not progressive.
    #[error("call {0} is in flight and not progressive")]
    NotProgressive(u64),
    /// A second CALL of a progressive call, to something else.
    #[error("call {0} is to another procedure")]
    OtherProcedure(u64),
    /// An option whose feature the session did not announce.
    #[error("the session has not announced {0}")]
    NotAnnounced(&'static str),
}
