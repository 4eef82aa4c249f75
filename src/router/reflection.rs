//! What topics, procedures and errors are there, and what is said of them (wamp.md §15). The specification has names only; what
//! they mean here is in `proto/src/wamp/CONFORMANCE.md`.
//!
//! A definition is of a URI, and stays for as long as somebody is here who has said just that. Whoever says otherwise, and may,
//! replaces it.
//!
//! Always, with tests of these names in `src/router/tests/reflection.rs`:
//! - `a_definition_stays_as_long_as_one_who_said_it`
//! - `what_is_defined_is_bounded`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::output::Sink;
use super::testaments::map_size;
use super::{Match, Refused, Router, SessionId, is_reserved};

/// Bytes of one definition, about.
const DEFINITION_BYTES_MAX: usize = 16 << 10;
/// Bytes of all definitions of a realm, about.
const DEFINITIONS_BYTES_MAX: usize = 16 << 20;
/// Bytes of all definitions of one session, about.
const DEFINITIONS_BYTES_PER_SESSION_MAX: usize = 1 << 20;
/// Definitions of one session.
const DEFINITIONS_PER_SESSION_MAX: usize = 256;

/// What a URI stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reflected {
    /// Something is published there.
    Topic,
    /// It is called.
    Procedure,
    /// A call ends with it.
    Error,
}

impl Reflected {
    /// By its name, as the `type` of a schema has it; none for any other text.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "topic" => Some(Self::Topic),
            "procedure" => Some(Self::Procedure),
            "error" => Some(Self::Error),
            _ => None,
        }
    }
}

/// What sessions have said of their URIs.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    by_uri: BTreeMap<Arc<str>, Definition>,
    n_bytes: usize,
}

#[derive(Debug)]
struct Definition {
    of: Reflected,
    schema: Map<String, Value>,
    n_bytes: usize,
    /// Who says so; never empty.
    authors: BTreeSet<SessionId>,
}

impl<P: Clone> Router<P> {
    /// Notes what `session` says of a URI, which stands for `of`; whether that is new. Whether it may is asked before.
    ///
    /// # Errors
    /// [`Refused::InvalidUri`], [`Refused::TooMany`]; [`Refused::NoSuchSession`] if it has left.
    pub fn define(
        &mut self,
        session: SessionId,
        uri: &str,
        of: Reflected,
        schema: Map<String, Value>,
        sink: &mut Sink<P>,
    ) -> Result<bool, Refused> {
        self.check_pattern(uri, Match::Exact, 0)?;
        if is_reserved(uri) {
            return Err(Refused::InvalidUri);
        }
        let mine = self
            .sessions
            .get_mut(&session)
            .map(|it| &mut it.definitions);
        let mine = mine.ok_or(Refused::NoSuchSession)?;
        if mine.len() >= DEFINITIONS_PER_SESSION_MAX && !mine.contains_key(uri) {
            return Err(Refused::TooMany("definitions of this session"));
        }
        let n_bytes = size(uri, &schema);
        let others = mine.iter().filter(|(known, _)| ***known != *uri);
        let n_others: usize = others.map(|(_, n_bytes)| n_bytes).sum();
        if n_others + n_bytes > DEFINITIONS_BYTES_PER_SESSION_MAX {
            return Err(Refused::TooMany("bytes of definitions of this session"));
        }
        let (uri, is_new) = self.definitions.put(session, uri, of, &schema)?;
        mine.insert(Arc::clone(&uri), n_bytes);
        if is_new {
            let args = || vec![json!(&*uri), schema.into()];
            self.announce("wamp.reflect.on_define", args, sink);
        }
        Ok(is_new)
    }

    /// Takes back what `session` has said of a URI; whether it had said anything.
    pub fn undefine(&mut self, session: SessionId, uri: &str, sink: &mut Sink<P>) -> bool {
        let mine = self.sessions.get_mut(&session);
        let is_mine = mine.is_some_and(|it| it.definitions.remove(uri).is_some());
        if is_mine && self.definitions.remove(session, uri) {
            self.announce_undefined(uri, sink);
        }
        is_mine
    }

    pub(super) fn announce_undefined(&mut self, uri: &str, sink: &mut Sink<P>) {
        self.announce("wamp.reflect.on_undefine", || vec![json!(uri)], sink);
    }

    /// All of a kind that are there now, in no order: registered, subscribed to or defined; patterns too, some texts more than
    /// once. The router's own are left out. Its cost grows with what is there.
    #[must_use]
    pub fn reflected(&self, of: Reflected) -> Vec<(Arc<str>, Match)> {
        let mut found: Vec<(Arc<str>, Match)> = match of {
            Reflected::Topic => {
                let all = self.subscriptions.by_id.values();
                all.map(|it| (Arc::clone(&it.uri), it.how)).collect()
            }
            Reflected::Procedure => {
                let all = self.registrations.by_id.values();
                all.map(|it| (Arc::clone(&it.uri), it.how)).collect()
            }
            Reflected::Error => Vec::new(),
        };
        let defined = self.definitions.by_uri.iter();
        let defined = defined.filter(|(_, it)| it.of == of);
        found.extend(defined.map(|(uri, _)| (Arc::clone(uri), Match::Exact)));
        found.retain(|(uri, _)| !is_reserved(uri));
        found
    }

    /// How that text is matched, of a kind that is there now: exact, if it is there as that.
    #[must_use]
    pub fn how_reflected(&self, of: Reflected, uri: &str) -> Option<Match> {
        if is_reserved(uri) {
            return None;
        }
        let is_there = |how: &Match| match of {
            Reflected::Topic => self.subscriptions.index.get(uri, *how).is_some(),
            Reflected::Procedure => self.registrations.index.get(uri, *how).is_some(),
            Reflected::Error => false,
        };
        let is_defined = self.definition(uri).is_some_and(|(it, _)| it == of);
        let defined = is_defined.then_some(Match::Exact);
        defined.or_else(|| {
            let all = [Match::Exact, Match::Prefix, Match::Wildcard];
            all.into_iter().find(is_there)
        })
    }

    /// What is said of a URI, and what it stands for by that.
    #[must_use]
    pub fn definition(&self, uri: &str) -> Option<(Reflected, &Map<String, Value>)> {
        let definition = self.definitions.by_uri.get(uri)?;
        Some((definition.of, &definition.schema))
    }
}

impl Definitions {
    /// Whether it says what it did not say before, with the URI to share.
    fn put(
        &mut self,
        author: SessionId,
        uri: &str,
        of: Reflected,
        schema: &Map<String, Value>,
    ) -> Result<(Arc<str>, bool), Refused> {
        let known = self.by_uri.get_key_value(uri);
        let shared = known.map_or_else(|| uri.into(), |(uri, _)| Arc::clone(uri));
        if let Some(known) = self.by_uri.get_mut(uri)
            && known.schema == *schema
        {
            known.authors.insert(author);
            return Ok((shared, false));
        }
        let n_bytes = size(uri, schema);
        let n_before = self.by_uri.get(uri).map_or(0, |it| it.n_bytes);
        let n_all = self.n_bytes - n_before + n_bytes;
        if n_bytes > DEFINITION_BYTES_MAX {
            return Err(Refused::TooMany("bytes of a definition"));
        }
        if n_all > DEFINITIONS_BYTES_MAX {
            return Err(Refused::TooMany("bytes of definitions in the realm"));
        }
        self.n_bytes = n_all;
        let definition = Definition {
            of,
            schema: schema.clone(),
            n_bytes,
            authors: BTreeSet::from([author]),
        };
        self.by_uri.insert(Arc::clone(&shared), definition);
        Ok((shared, true))
    }

    /// Whether nothing is said of it any more.
    pub(super) fn remove(&mut self, author: SessionId, uri: &str) -> bool {
        let Some(known) = self.by_uri.get_mut(uri) else {
            return false;
        };
        // What others have replaced is not its own any more.
        known.authors.remove(&author);
        let is_over = known.authors.is_empty();
        if is_over && let Some(gone) = self.by_uri.remove(uri) {
            self.n_bytes -= gone.n_bytes;
        }
        is_over
    }
}

/// About how many bytes of memory a definition takes.
fn size(uri: &str, schema: &Map<String, Value>) -> usize {
    uri.len() + size_of::<Definition>() + map_size(schema)
}
