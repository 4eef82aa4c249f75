//! What a session wants published when it ends (wamp.md §9.4).

use serde_json::{Map, Value};

use super::{Match, Refused, Router, SessionId, Testament, is_reserved};

/// When a testament is due. Sessions are not resumed, so both are when the session ends, `detached` ones first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scope {
    /// When the connection is lost.
    Detached,
    /// When the session is over.
    #[default]
    Destroyed,
}

impl Scope {
    /// By its name; none for any other text.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "detached" => Some(Self::Detached),
            "destroyed" => Some(Self::Destroyed),
            _ => None,
        }
    }
}

/// A session's testaments, each scope in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Testaments {
    detached: Vec<Testament>,
    destroyed: Vec<Testament>,
    n_bytes: usize,
}

impl Testaments {
    /// As they are to be published.
    pub(super) fn in_order(self) -> impl Iterator<Item = Testament> {
        self.detached.into_iter().chain(self.destroyed)
    }

    fn of(&mut self, scope: Scope) -> &mut Vec<Testament> {
        match scope {
            Scope::Detached => &mut self.detached,
            Scope::Destroyed => &mut self.destroyed,
        }
    }
}

impl<P: Clone> Router<P> {
    /// Adds a testament, whose author is set to the session. Whether it may publish that is asked before (wamp.md §9.4).
    ///
    /// # Errors
    /// [`Refused::InvalidUri`], [`Refused::TooMany`]; [`Refused::NoSuchSession`] if it has left.
    pub fn add_testament(
        &mut self,
        session: SessionId,
        scope: Scope,
        mut testament: Testament,
    ) -> Result<(), Refused> {
        self.check_pattern(&testament.topic, Match::Exact, 0)?;
        if is_reserved(&testament.topic) {
            return Err(Refused::InvalidUri);
        }
        let limits = self.limits;
        let Some(session) = self.sessions.get_mut(&session) else {
            return Err(Refused::NoSuchSession);
        };
        let testaments = session.testaments.get_or_insert_default();
        let n_testaments = testaments.detached.len() + testaments.destroyed.len();
        let n_bytes = testaments.n_bytes + size(&testament);
        if n_testaments >= limits.testaments_per_session_max {
            return Err(Refused::TooMany("testaments of this session"));
        }
        if n_bytes > limits.testament_bytes_max {
            return Err(Refused::TooMany("bytes of testaments of this session"));
        }
        testament.author = session.details.disclosed();
        testaments.n_bytes = n_bytes;
        testaments.of(scope).push(testament);
        Ok(())
    }

    /// Drops the testaments of a scope, and returns how many there were.
    pub fn flush_testaments(&mut self, session: SessionId, scope: Scope) -> usize {
        let session = self.sessions.get_mut(&session);
        let Some(testaments) = session.and_then(|it| it.testaments.as_mut()) else {
            return 0;
        };
        let dropped = std::mem::take(testaments.of(scope));
        testaments.n_bytes -= dropped.iter().map(size).sum::<usize>();
        dropped.len()
    }
}

/// About how many bytes of memory a testament takes.
fn size(testament: &Testament) -> usize {
    let args: usize = testament.args.iter().map(value_size).sum();
    let maps = map_size(&testament.kwargs) + map_size(&testament.options);
    size_of::<Testament>() + testament.topic.len() + args + maps
}

pub(super) fn map_size(map: &Map<String, Value>) -> usize {
    let entries = map.iter();
    entries
        .map(|(key, value)| size_of::<String>() + key.len() + value_size(value))
        .sum()
}

/// Recursion is as deep as the codec lets values be.
pub(super) fn value_size(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(value_size).sum(),
            Value::Object(map) => map_size(map),
        }
}
