//! The router's own procedures: the meta APIs and testaments (wamp.md §9). JSON values in, JSON values out.
//!
//! An argument may be given in its place or by its name. An id that came as a floating-point number without a fraction is
//! one: JavaScript has no other (wamp.md §14).

use std::borrow::Cow;

use restante_storage::UnixMillis;
use serde_json::{Map, Value, json};

use super::output::Sink;
use super::uri::{Match, is_reason};
use super::{ID_MAX, Refused, Router, SessionId};
use crate::logs::Rfc3339;

mod registrations;
mod sessions;
mod subscriptions;

/// What a meta procedure answers: the RESULT's arguments.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetaAnswer {
    /// By place.
    pub args: Vec<Value>,
    /// By name.
    pub kwargs: Map<String, Value>,
}

impl<V: Into<Value>> From<V> for MetaAnswer {
    fn from(value: V) -> Self {
        Self {
            args: vec![value.into()],
            kwargs: Map::new(),
        }
    }
}

/// Why a meta procedure has no answer: ERROR's URI, and its one argument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{uri}: {message}")]
pub struct MetaError {
    /// `wamp.error.invalid_argument` and so on.
    pub uri: &'static str,
    /// One line.
    pub message: Cow<'static, str>,
}

impl MetaError {
    pub(crate) fn argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            uri: "wamp.error.invalid_argument",
            message: message.into(),
        }
    }
}

impl From<Refused> for MetaError {
    fn from(why: Refused) -> Self {
        Self {
            uri: why.uri(),
            message: why.to_string().into(),
        }
    }
}

type Answer = Result<MetaAnswer, MetaError>;

/// All meta procedures that [`Router::meta_call`] has.
pub(super) const PROCEDURES: &[&str] = &[
    "wamp.registration.count_callees",
    "wamp.registration.get",
    "wamp.registration.list",
    "wamp.registration.list_callees",
    "wamp.registration.lookup",
    "wamp.registration.match",
    "wamp.registration.remove_callee",
    "wamp.session.add_testament",
    "wamp.session.count",
    "wamp.session.flush_testaments",
    "wamp.session.get",
    "wamp.session.kill",
    "wamp.session.kill_all",
    "wamp.session.kill_by_authid",
    "wamp.session.kill_by_authrole",
    "wamp.session.list",
    "wamp.subscription.count_subscribers",
    "wamp.subscription.get",
    "wamp.subscription.list",
    "wamp.subscription.list_subscribers",
    "wamp.subscription.lookup",
    "wamp.subscription.match",
    "wamp.subscription.remove_subscriber",
];

/// Whether [`Router::meta_call`] answers to `procedure`.
#[must_use]
pub fn is_meta_procedure(procedure: &str) -> bool {
    PROCEDURES.binary_search(&procedure).is_ok()
}

impl<P: Clone> Router<P> {
    /// Calls one of the router's own procedures for a session, which may do that: it was asked before. The answer is sent before
    /// what is in `sink` is handed out.
    ///
    /// # Errors
    /// [`MetaError`]: to be sent as the call's ERROR. `wamp.error.no_such_procedure` if it is none of ours.
    pub fn meta_call(
        &mut self,
        caller: SessionId,
        procedure: &str,
        args: &[Value],
        kwargs: &Map<String, Value>,
        sink: &mut Sink<P>,
    ) -> Result<MetaAnswer, MetaError> {
        let args = Args { args, kwargs };
        match procedure {
            "wamp.session.count" => self.session_count(args),
            "wamp.session.list" => self.session_list(args),
            "wamp.session.get" => self.session_get(args),
            "wamp.session.kill" => self.session_kill(caller, args, sink),
            "wamp.session.kill_by_authid" => self.session_kill_by_authid(caller, args, sink),
            "wamp.session.kill_by_authrole" => self.session_kill_by_authrole(caller, args, sink),
            "wamp.session.kill_all" => self.session_kill_all(caller, args, sink),
            "wamp.session.add_testament" => self.session_add_testament(caller, args),
            "wamp.session.flush_testaments" => self.session_flush_testaments(caller, args),
            "wamp.registration.list" => self.registration_list(args),
            "wamp.registration.lookup" => self.registration_lookup(args),
            "wamp.registration.match" => self.registration_match(args),
            "wamp.registration.get" => self.registration_get(args),
            "wamp.registration.list_callees" => self.registration_list_callees(args),
            "wamp.registration.count_callees" => self.registration_count_callees(args),
            "wamp.registration.remove_callee" => self.registration_remove_callee(args, sink),
            "wamp.subscription.list" => self.subscription_list(args),
            "wamp.subscription.lookup" => self.subscription_lookup(args),
            "wamp.subscription.match" => self.subscription_match(args),
            "wamp.subscription.get" => self.subscription_get(args),
            "wamp.subscription.list_subscribers" => self.subscription_list_subscribers(args),
            "wamp.subscription.count_subscribers" => self.subscription_count_subscribers(args),
            "wamp.subscription.remove_subscriber" => {
                self.subscription_remove_subscriber(args, sink)
            }
            _ => Err(Refused::NoSuchProcedure.into()),
        }
    }
}

/// Ids by how what they are of is matched, ascending.
fn by_match(all: impl Iterator<Item = (u64, Match)>) -> Value {
    let (mut exact, mut prefix, mut wildcard) = (Vec::new(), Vec::new(), Vec::new());
    for (id, how) in all {
        match how {
            Match::Exact => exact.push(id),
            Match::Prefix => prefix.push(id),
            Match::Wildcard => wildcard.push(id),
        }
    }
    for ids in [&mut exact, &mut prefix, &mut wildcard] {
        ids.sort_unstable();
    }
    json!({"exact": exact, "prefix": prefix, "wildcard": wildcard})
}

/// When something was created, as details say it: UTC, to the millisecond.
pub(super) fn created(at: UnixMillis) -> String {
    Rfc3339::of(at.get()).to_string()
}

/// The arguments of a call. Null is as absent.
#[derive(Clone, Copy)]
struct Args<'a> {
    args: &'a [Value],
    kwargs: &'a Map<String, Value>,
}

impl<'a> Args<'a> {
    fn get(self, at: usize, name: &str) -> Option<&'a Value> {
        let value = self.args.get(at).or_else(|| self.kwargs.get(name));
        value.filter(|value| !value.is_null())
    }

    fn named(self, name: &str) -> Option<&'a Value> {
        self.kwargs.get(name).filter(|value| !value.is_null())
    }

    /// An id that has to be there.
    fn id(self, at: usize, name: &str) -> Result<u64, MetaError> {
        let id = self.get(at, name).and_then(integer);
        let good = id.filter(|id| (1..=ID_MAX).contains(id));
        good.ok_or_else(|| MetaError::argument(format!("{name}: an id is expected")))
    }

    /// An id that need not be there.
    fn optional_id(self, at: usize, name: &str) -> Result<Option<u64>, MetaError> {
        match self.get(at, name) {
            None => Ok(None),
            Some(_) => self.id(at, name).map(Some),
        }
    }

    /// A text that has to be there.
    fn text(self, at: usize, name: &str) -> Result<&'a str, MetaError> {
        let text = self.get(at, name).and_then(Value::as_str);
        text.ok_or_else(|| MetaError::argument(format!("{name}: a string is expected")))
    }

    /// A list of texts that need not be there.
    fn texts(self, at: usize, name: &str) -> Result<Option<Vec<&'a str>>, MetaError> {
        let Some(value) = self.get(at, name) else {
            return Ok(None);
        };
        let texts = value.as_array().map(|list| list.iter().map(Value::as_str));
        let texts = texts.and_then(Iterator::collect);
        let wrong = || MetaError::argument(format!("{name}: a list of strings is expected"));
        texts.map(Some).ok_or_else(wrong)
    }

    /// A list that need not be there.
    fn list(self, at: usize, name: &str) -> Result<&'a [Value], MetaError> {
        match self.get(at, name) {
            None => Ok(&[]),
            Some(Value::Array(list)) => Ok(list),
            Some(_) => Err(MetaError::argument(format!("{name}: a list is expected"))),
        }
    }

    /// A dictionary that need not be there.
    fn dict(self, at: usize, name: &str) -> Result<Option<&'a Map<String, Value>>, MetaError> {
        match self.get(at, name) {
            None => Ok(None),
            Some(Value::Object(dict)) => Ok(Some(dict)),
            Some(_) => Err(MetaError::argument(format!(
                "{name}: a dictionary is expected"
            ))),
        }
    }

    /// `match` of the options that are the second argument of a look-up, or are given by name.
    fn how(self) -> Result<Match, MetaError> {
        let options = self.dict(1, "options")?;
        let how = options
            .and_then(|it| it.get("match"))
            .or_else(|| self.named("match"));
        match how {
            None | Some(Value::Null) => Ok(Match::Exact),
            Some(how) => {
                let how = how.as_str().and_then(Match::named);
                let expected = "match: exact, prefix or wildcard is expected";
                how.ok_or_else(|| MetaError::argument(expected))
            }
        }
    }

    /// A reason that need not be there, in its place or by its name.
    fn reason(self, at: usize) -> Result<Option<&'a str>, MetaError> {
        match self.get(at, "reason") {
            None => Ok(None),
            Some(reason) if is_reason(reason) => Ok(reason.as_str()),
            Some(Value::String(_)) => Err(Refused::InvalidUri.into()),
            Some(_) => Err(MetaError::argument("reason: a URI is expected")),
        }
    }
}

/// An integer, also one that was written as a floating-point number.
fn integer(value: &Value) -> Option<u64> {
    let whole =
        |float: &f64| float.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(float);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole, and between 0 and 2^53"
    )]
    let narrow = |float: f64| float as u64;
    value
        .as_u64()
        .or_else(|| value.as_f64().filter(whole).map(narrow))
}
