//! What a WAMP realm knows beyond queues and messages: who is in it, who has subscribed to and registered what, and which calls are
//! on their way. The dealer is here, and of the broker the bookkeeping: ids, meta API, meta events.
//!
//! ```text
//! session ── call ──▶ Router ── Invocation ──▶ Sink ──▶ callee's session
//!                       │  ▲
//!                     Result  yield_ (by the callee's session)
//!                       ▼
//!                      Sink ──▶ caller's session
//! ```
//!
//! State and nothing else: whoever owns a [`Router`] passes in ids of sessions, the time and a seed, and carries out what it puts into
//! the [`Sink`]. A caller or callee need not be a session: a [`Party::Door`] is how an MBWS request or an MQTT response topic takes part.
//! Payloads are `P`, and never looked at.
//!
//! Always, each with a test of its name (src/router/tests):
//! - `every_call_is_answered_once_and_nothing_is_left` (model.rs): over any order of events, whoever leaves.
//! - `a_late_answer_is_no_violation_and_a_foreign_one_is` (calls.rs).
//! - `ids_of_invocations_count_for_each_callee` (calls.rs).
//! - `a_duplicate_call_changes_nothing` (calls.rs).
//! - `a_session_that_leaves_takes_everything_with_it` (sessions.rs).
//!
//! The cost of a call does not depend on how many registrations there are, patterns included (`cargo bench --bench router`).
//!
//! Not here: who may do what (access), events of topics (the broker's routing), timers, ids of requests in order (the session),
//! bytes (the codec). Rules: the WAMP specification, basic and advanced profile.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use self::calls::{Call, CallNo, Ends};
use self::chance::Chance;
use self::news::News;
use self::reflection::Definitions;
use self::registrations::Registrations;
use self::session::Session;
use self::subscriptions::Subscriptions;

mod calls;
mod chance;
mod dealer;
mod listing;
mod meta;
mod news;
mod output;
mod patterns;
mod policy;
mod reflection;
mod refused;
mod registrations;
mod route;
mod session;
mod shard;
mod subscriptions;
mod testaments;
#[cfg(test)]
mod tests;
mod uri;

pub use self::calls::{CallOptions, CallRequest, Called, DisclosePolicy, YieldOptions};
pub use self::listing::{CallRow, Counts, Holdings, RegistrationRow, SHOWN_MAX, SubscriptionRow};
pub use self::meta::{MetaAnswer, MetaError, is_meta_procedure};
pub use self::output::{
    CallError, CallResult, CancelMode, Disclosed, Interrupt, Invocation, MetaEvent, Ppt, Sink,
    Testament, ToSession,
};
pub use self::policy::Invoke;
pub use self::reflection::Reflected;
pub use self::refused::{Refused, Violation};
pub use self::registrations::RegisterOptions;
pub use self::session::{
    CalleeFeatures, CallerFeatures, Features, SessionDetails, SubscriberFeatures, Transport,
};
pub use self::shard::ShardKey;
pub use self::subscriptions::Subscribed;
pub use self::testaments::Scope;
pub use self::uri::{Match, UriRules, is_reserved, matches};

/// The greatest id of WAMP: 2^53 (wamp.md §2).
pub const ID_MAX: u64 = 1 << 53;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// That number, as it is on the wire.
            #[must_use]
            pub const fn new(id: u64) -> Self {
                Self(id)
            }

            /// The number on the wire.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }
    };
}

id!(
    /// A session of the realm: random, chosen by whoever says [`Router::join`].
    SessionId
);
id!(
    /// A topic, or pattern of topics, that is subscribed to: counted from 1, never used again.
    SubscriptionId
);
id!(
    /// A procedure, or pattern of procedures, that is registered: counted from 1, never used again.
    RegistrationId
);

/// Who calls, is called, or is told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A WAMP session.
    Session(SessionId),
    /// Another protocol's way to call or be called; the number means something to its owner only.
    Door(u64),
}

/// Who calls.
pub type Caller = Party;

/// Who is called.
pub type Callee = Party;

/// What one peer may make a realm remember; over one, [`Refused::TooMany`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// What URIs are made of.
    pub uri_rules: UriRules,
    /// Bytes of a URI or pattern.
    pub uri_bytes_max: usize,
    /// Subscriptions of a session.
    pub subscriptions_per_session_max: usize,
    /// Registrations of a session.
    pub registrations_per_session_max: usize,
    /// Sessions that share a registration.
    pub callees_per_registration_max: usize,
    /// Calls of a session, or door, that are not answered.
    pub calls_per_caller_max: usize,
    /// Calls that a session, or door, has not answered; over it, the callee is as one that has reached its concurrency.
    pub invocations_per_callee_max: usize,
    /// Testaments of a session, of both scopes.
    pub testaments_per_session_max: usize,
    /// Bytes of all testaments of a session, about.
    pub testament_bytes_max: usize,
    /// Shapes of wildcard patterns, of subscriptions and of registrations: which components are wildcards. The cost of a match grows with it.
    pub wildcard_shapes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uri_rules: UriRules::Loose,
            uri_bytes_max: 1024,
            subscriptions_per_session_max: 100_000,
            registrations_per_session_max: 100_000,
            callees_per_registration_max: 1000,
            calls_per_caller_max: 10_000,
            invocations_per_callee_max: 100_000,
            testaments_per_session_max: 100,
            testament_bytes_max: 1 << 20,
            wildcard_shapes_max: 64,
        }
    }
}

/// Shapes of wildcard patterns that one session may be the first to subscribe to; of those that it registers, the same.
const SHAPES_PER_SESSION_MAX: usize = 8;
const TOO_MANY_SHAPES: Refused = Refused::TooMany("shapes of wildcard patterns of this session");

/// The state of one realm. See the module's head.
#[derive(Debug)]
pub struct Router<P> {
    limits: Limits,
    /// In boxes: a table has much more room than sessions.
    sessions: FxHashMap<SessionId, Box<Session>>,
    /// Only those with a call of either direction in flight.
    doors: FxHashMap<u64, Ends>,
    subscriptions: Subscriptions,
    registrations: Registrations,
    definitions: Definitions,
    calls: FxHashMap<CallNo, Call<P>>,
    last_call: CallNo,
    /// Bytes of calls that are kept for other callees.
    kept_bytes: usize,
    /// Doors come and go, so their invocations are numbered together.
    last_door_invocation: u64,
    chance: Chance,
    /// What is still to be told.
    news: VecDeque<News>,
}

impl<P: Clone> Router<P> {
    /// A realm without sessions. `seed` decides all that is left to chance: publication ids of meta events, and whose turn it is
    /// under [`Invoke::Random`].
    #[must_use]
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            sessions: FxHashMap::default(),
            doors: FxHashMap::default(),
            subscriptions: Subscriptions::default(),
            registrations: Registrations::default(),
            definitions: Definitions::default(),
            calls: FxHashMap::default(),
            last_call: CallNo::default(),
            kept_bytes: 0,
            last_door_invocation: 0,
            chance: Chance::new(seed),
            news: VecDeque::new(),
        }
    }

    /// Replaces the limits; what is over them stays.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether `uri` may be a pattern of a client's own: subscribed to, or registered.
    fn check_pattern(&self, uri: &str, how: Match, n_shapes: usize) -> Result<(), Refused> {
        if uri.len() > self.limits.uri_bytes_max || !self.limits.uri_rules.allow(uri, how) {
            return Err(Refused::InvalidUri);
        }
        if how == Match::Wildcard {
            if uri::n_components(uri) > patterns::COMPONENTS_MAX {
                return Err(Refused::InvalidUri);
            }
            if n_shapes > self.limits.wildcard_shapes_max {
                return Err(Refused::TooMany("shapes of wildcard patterns in the realm"));
            }
        }
        Ok(())
    }
}
