//! What the router says: messages for sessions and doors, and testaments to publish.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::refused::Refused;
use super::{Party, RegistrationId, SessionId, SubscriptionId};

/// Where the router puts what is to be done. Its order is the order in which it is to happen.
///
/// What a method returns comes first: a session sends its REGISTERED or SUBSCRIBED before it hands out what is in here, so that a
/// reply precedes the meta events that it causes (wamp.md §9) and the first invocation (§5).
#[derive(Debug)]
pub struct Sink<P> {
    /// Each with whom it is for.
    pub messages: Vec<(Party, ToSession<P>)>,
    /// Of sessions that have ended, in the order in which they are to be published, by the right of their authors.
    pub testaments: Vec<Testament>,
}

impl<P> Default for Sink<P> {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            testaments: Vec::new(),
        }
    }
}

impl<P> Sink<P> {
    /// One with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.testaments.is_empty()
    }

    pub(super) fn tell(&mut self, party: Party, message: ToSession<P>) {
        self.messages.push((party, message));
    }

    /// The router's own ERROR to a call.
    pub(super) fn refuse_call(&mut self, caller: Party, request: u64, why: Refused) {
        let answer = CallError {
            request,
            uri: why.uri().into(),
            ppt: None,
            payload: None,
            message: Some(why.to_string().into()),
        };
        self.tell(caller, ToSession::CallError(answer));
    }
}

/// A message for a session, or for a door that calls or answers calls.
#[derive(Debug, Clone, PartialEq)]
pub enum ToSession<P> {
    /// INVOCATION (68), to a callee.
    Invocation(Invocation<P>),
    /// INTERRUPT (69), to a callee that announced `call_canceling`, or a door.
    Interrupt(Interrupt),
    /// RESULT (50), to a caller.
    Result(CallResult<P>),
    /// ERROR (8) of type CALL (48), to a caller.
    CallError(CallError<P>),
    /// ERROR (8) of type YIELD (70), to a callee: its payload is of a kind that the caller did not announce (wamp.md §12).
    YieldRefused {
        /// The invocation.
        request: u64,
        /// What is wrong with it.
        why: Refused,
    },
    /// To a caller: from now on, and again from each RESULT with progress on, the call has so long. When that is over, call
    /// [`Router::expire`](super::Router::expire); the call's last RESULT or ERROR ends the timer. Nothing is sent.
    Timer {
        /// The caller's request.
        request: u64,
        /// Milliseconds, more than 0.
        timeout_ms: u64,
    },
    /// A registration was taken from its callee.
    Unregistered {
        /// Which registration it is a callee of no more.
        registration: RegistrationId,
        /// Why: a URI, as given by whoever did it.
        reason: Arc<str>,
        /// Whether UNREGISTERED (67) with request 0 is sent: the session announced `registration_revocation`.
        is_told: bool,
    },
    /// A subscription was taken from its subscriber: events are to end.
    Unsubscribed {
        /// Which.
        subscription: SubscriptionId,
        /// Why: a URI, as given by whoever did it.
        reason: Arc<str>,
        /// Whether UNSUBSCRIBED (35) with request 0 is sent: the session announced `subscription_revocation` (wamp.md §8.9).
        is_told: bool,
    },
    /// EVENT (36) of the router's own.
    MetaEvent(MetaEvent),
    /// GOODBYE (6): the session was killed, and is out of the router already.
    Goodbye {
        /// A URI, `wamp.close.killed` if the killer gave none.
        reason: Arc<str>,
        /// For `details.message`.
        message: Option<Arc<str>>,
    },
}

/// INVOCATION: what its details say, and the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation<P> {
    /// Numbered for each callee from 1 (wamp.md §2); the same in every INVOCATION of a progressive call.
    pub request: u64,
    /// None if a door got the call without one.
    pub registration: Option<RegistrationId>,
    /// What was called, if the registration is a pattern, or there is none.
    pub procedure: Option<Arc<str>>,
    /// Who calls, if that is disclosed.
    pub caller: Option<Disclosed>,
    /// Whether the caller takes results in pieces, and the callee said that it can give them.
    pub receive_progress: bool,
    /// Whether more INVOCATIONs of this call are to come; none if it is not a progressive call.
    pub progress: Option<bool>,
    /// Milliseconds, if the callee is to watch the time.
    pub timeout_ms: Option<u64>,
    /// As the caller's session was told by the rules.
    pub trustlevel: Option<u64>,
    /// Of a payload that nobody but the two looks into.
    pub ppt: Option<Ppt>,
    /// Arguments.
    pub payload: P,
}

/// INTERRUPT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt {
    /// The invocation.
    pub request: u64,
    /// `kill` if the answer is waited for, else `killnowait`.
    pub mode: CancelMode,
    /// `wamp.error.canceled` or `wamp.error.timeout`.
    pub reason: &'static str,
}

/// How a call is canceled (wamp.md §7.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CancelMode {
    /// The caller is told at once, the callee is not.
    Skip,
    /// The callee is interrupted, and the caller gets what it then answers.
    Kill,
    /// The callee is interrupted, the caller told at once.
    #[default]
    KillNoWait,
}

impl CancelMode {
    /// By its name in options; none for any other text.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "skip" => Some(Self::Skip),
            "kill" => Some(Self::Kill),
            "killnowait" => Some(Self::KillNoWait),
            _ => None,
        }
    }

    /// Its name in options.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Kill => "kill",
            Self::KillNoWait => "killnowait",
        }
    }
}

/// RESULT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallResult<P> {
    /// The caller's request.
    pub request: u64,
    /// Whether more are to come.
    pub progress: bool,
    /// Of a payload that nobody but the two looks into.
    pub ppt: Option<Ppt>,
    /// Arguments.
    pub payload: P,
}

/// ERROR to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError<P> {
    /// The caller's request.
    pub request: u64,
    /// What is wrong: the callee's word, or the router's.
    pub uri: Cow<'static, str>,
    /// Of a payload that nobody but the two looks into.
    pub ppt: Option<Ppt>,
    /// The callee's arguments; none if the error is the router's.
    pub payload: Option<P>,
    /// The router's explanation, one line, to be the one argument; none if the error is the callee's.
    pub message: Option<Cow<'static, str>>,
}

/// EVENT of a meta topic: one message for each subscriber and subscription.
#[derive(Debug, Clone, PartialEq)]
pub struct MetaEvent {
    /// Which subscription it comes by.
    pub subscription: SubscriptionId,
    /// The same for all who get it: 1 to 2^53.
    pub publication: u64,
    /// `wamp.session.on_join` and so on.
    pub topic: &'static str,
    /// Whether the subscription is a pattern, so that the details have to say the topic.
    pub is_pattern: bool,
    /// Arguments, shared by all who get it.
    pub args: Arc<[Value]>,
    /// About how many bytes of memory these take.
    pub n_bytes: usize,
}

/// Who is behind a call, where that is disclosed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disclosed {
    /// None if the caller is no WAMP session.
    pub session: Option<SessionId>,
    /// Its user.
    pub authid: Arc<str>,
    /// Its role.
    pub authrole: Arc<str>,
}

/// The keys of a payload that is passed through (wamp.md §12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ppt {
    /// `ppt_scheme`, not empty.
    pub scheme: Arc<str>,
    /// `ppt_serializer`.
    pub serializer: Option<Arc<str>>,
    /// `ppt_cipher`.
    pub cipher: Option<Arc<str>>,
    /// `ppt_keyid`.
    pub keyid: Option<Arc<str>>,
}

/// What a session wanted published when it ends, and who it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Testament {
    /// Whose it is.
    pub author: Disclosed,
    /// Where to.
    pub topic: Arc<str>,
    /// Arguments.
    pub args: Vec<Value>,
    /// Arguments by name.
    pub kwargs: Map<String, Value>,
    /// Of PUBLISH.
    pub options: Map<String, Value>,
}
