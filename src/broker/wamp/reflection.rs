//! `wamp.reflection.…` and `wamp.reflect.…`: what there is for a client, as rules let it, and what is said of it (wamp.md §15).
//!
//! | procedure | arguments | answer |
//! |---|---|---|
//! | `wamp.reflection.{topic,procedure,error}.list` | `limit`, `after` by name | URIs and patterns, ascending; `next` by name, if there may be more: what goes on `after` that |
//! | `wamp.reflection.{topic,procedure,error}.describe` | the URI | null, or what is defined, with `uri` and `match` |
//! | `wamp.reflect.describe` | the URI | the same, whatever the URI stands for |
//! | `wamp.reflect.define` | the URI, what is to be said of it: a dict whose `type` is one of those three, or null | whether that changes anything |
//!
//! A client sees topics that it may publish or subscribe to, procedures that it may call or register, errors for any of these. It
//! defines topics that it may publish to; procedures, and errors, that it may register. Rules decide alone: the
//! dynamic authorizer is not asked.
//!
//! Always, with a test of this name in `broker/tests/wamp/reflection.rs`: `a_client_sees_what_it_may_use`.

use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::{Realm, WampCall};
use crate::broker::attachment::Attachment;
use crate::registry::Verb;
use crate::router::{Match, MetaAnswer, MetaError, Reflected, Refused, SessionId, Sink};
use crate::wamp::uri;

/// URIs in one answer.
const LISTED_MAX: usize = 10_000;
/// URIs of which one call finds out whether the client may see them.
const LOOKED_AT_MAX: usize = 10_000;

const KINDS: [Reflected; 3] = [Reflected::Procedure, Reflected::Topic, Reflected::Error];

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    List(Reflected),
    Describe(Option<Reflected>),
    Define,
}

impl Asked {
    /// By the procedure's name; none: it is no such procedure.
    pub(super) fn named(procedure: &str) -> Option<Asked> {
        match procedure {
            "wamp.reflect.define" => return Some(Asked::Define),
            "wamp.reflect.describe" => return Some(Asked::Describe(None)),
            _ => {}
        }
        let (of, act) = procedure
            .strip_prefix("wamp.reflection.")?
            .split_once('.')?;
        let of = Reflected::named(of)?;
        match act {
            "list" => Some(Asked::List(of)),
            "describe" => Some(Asked::Describe(Some(of))),
            _ => None,
        }
    }
}

impl Attachment {
    pub(super) fn reflect(
        &mut self,
        realm: &Mutex<Realm>,
        id: SessionId,
        asked: Asked,
        call: &WampCall,
        (args, kwargs): (&[Value], &Map<String, Value>),
    ) {
        let uri = args.first().or_else(|| kwargs.get("uri"));
        let uri = uri.and_then(Value::as_str);
        let uri = uri.ok_or_else(|| MetaError::argument("uri: a string is expected"));
        let answer = match asked {
            Asked::List(of) => self.list_reflected(realm, of, kwargs),
            Asked::Describe(of) => uri.map(|uri| self.describe_reflected(realm, of, uri).into()),
            Asked::Define => {
                let schema = args.get(1).or_else(|| kwargs.get("schema"));
                let mut sink = Sink::new();
                let mut locked = realm.lock();
                let answer =
                    uri.and_then(|uri| self.define(&mut locked, id, uri, schema, &mut sink));
                self.answer_call(call, answer);
                return self.carry_out(&mut locked, sink);
            }
        };
        self.answer_call(call, answer);
    }

    /// The lock is held only to find out what is there: rules are asked without.
    fn list_reflected(
        &self,
        realm: &Mutex<Realm>,
        of: Reflected,
        kwargs: &Map<String, Value>,
    ) -> Result<MetaAnswer, MetaError> {
        let given = |name: &str| kwargs.get(name).filter(|it| !it.is_null());
        let limit = match given("limit") {
            None => LISTED_MAX,
            Some(limit) => {
                let limit = limit.as_u64().filter(|it| *it > 0);
                let limit = limit.ok_or_else(|| MetaError::argument("limit: 1 or more"))?;
                usize::try_from(limit).map_or(LISTED_MAX, |it| it.min(LISTED_MAX))
            }
        };
        let after = match given("after") {
            None => None,
            Some(after) => {
                let after = after.as_str();
                Some(after.ok_or_else(|| MetaError::argument("after: a string is expected"))?)
            }
        };
        let mut found = realm.lock().router.reflected(of);
        found.retain(|(uri, _)| after.is_none_or(|after| **uri > *after));
        let found = first(found, LOOKED_AT_MAX);
        let mut listed: Vec<&str> = Vec::new();
        let mut next = found.next.as_deref();
        for (uri, how) in &found.page {
            if listed.last() == Some(&&**uri) || !self.may_see(of, uri, *how) {
                continue;
            }
            if listed.len() == limit {
                next = listed.last().copied();
                break;
            }
            listed.push(uri);
        }
        let mut answer = MetaAnswer::from(json!(listed));
        if let Some(next) = next {
            answer.kwargs.insert("next".to_owned(), next.into());
        }
        Ok(answer)
    }

    fn describe_reflected(&self, realm: &Mutex<Realm>, of: Option<Reflected>, uri: &str) -> Value {
        let locked = realm.lock();
        let defined = locked.router.definition(uri);
        // What is said of it comes first; of what is merely there, procedures.
        let kinds = defined.map(|(of, _)| of).into_iter().chain(KINDS);
        let mut kinds = kinds.filter(|kind| of.is_none_or(|of| of == *kind));
        let described = kinds.find_map(|kind| {
            let how = locked.router.how_reflected(kind, uri)?;
            self.may_see(kind, uri, how).then_some((kind, how))
        });
        let Some((kind, how)) = described else {
            return Value::Null;
        };
        let schema = defined.filter(|(of, _)| *of == kind);
        let mut about = schema.map_or_else(Map::new, |(_, schema)| schema.clone());
        about.insert("uri".to_owned(), uri.into());
        about.insert("match".to_owned(), how.name().into());
        about.into()
    }

    fn define(
        &self,
        realm: &mut Realm,
        id: SessionId,
        uri: &str,
        schema: Option<&Value>,
        sink: &mut Sink<restante_proto::wamp::Payload>,
    ) -> Result<MetaAnswer, MetaError> {
        let schema = match schema {
            None | Some(Value::Null) => return Ok(realm.router.undefine(id, uri, sink).into()),
            Some(schema) => schema.as_object(),
        };
        let schema =
            schema.ok_or_else(|| MetaError::argument("schema: a dictionary is expected"))?;
        let kind = schema.get("type").and_then(Value::as_str);
        let kind = kind
            .and_then(Reflected::named)
            .ok_or_else(|| MetaError::argument("schema: its type is topic, procedure or error"))?;
        let verb = match kind {
            Reflected::Topic => Verb::Send,
            Reflected::Procedure | Reflected::Error => Verb::Register,
        };
        let filter = uri::to_filter(uri, Match::Exact).ok_or(Refused::InvalidUri)?;
        if !self.is_allowed(verb, &filter) {
            return Err(MetaError {
                uri: "wamp.error.not_authorized",
                message: "no rule lets this client offer that".into(),
            });
        }
        let defined = realm.router.define(id, uri, kind, schema.clone(), sink)?;
        Ok(defined.into())
    }

    fn may_see(&self, of: Reflected, uri: &str, how: Match) -> bool {
        const ALL: [Verb; 4] = [Verb::Call, Verb::Register, Verb::Send, Verb::Consume];
        let [call, register, topics @ ..] = &ALL;
        match of {
            Reflected::Topic => self.may_use(topics, uri, how),
            Reflected::Procedure => self.may_use(&[*call, *register], uri, how),
            Reflected::Error => self.may_use(&ALL, uri, how),
        }
    }

    /// Whether rules allow one of these with all that a URI or a pattern stands for. Nobody is told if not.
    fn may_use(&self, verbs: &[Verb], uri: &str, how: Match) -> bool {
        uri::to_filter(uri, how)
            .is_some_and(|filter| verbs.iter().any(|verb| self.is_allowed(*verb, &filter)))
    }
}

/// What there is, as far as one call looks at it.
struct Page {
    /// Ascending.
    page: Vec<(Arc<str>, Match)>,
    /// The last of these, if there are more.
    next: Option<Arc<str>>,
}

/// The first of them, about `n_max`: a text that is there more than once is on one page.
fn first(mut found: Vec<(Arc<str>, Match)>, n_max: usize) -> Page {
    let by_uri = |one: &(Arc<str>, Match), other: &(Arc<str>, Match)| one.0.cmp(&other.0);
    let mut next = None;
    if n_max < found.len() {
        let (_, (cut, _), _) = found.select_nth_unstable_by(n_max, by_uri);
        let cut = Arc::clone(cut);
        found.retain(|(uri, _)| *uri <= cut);
        next = Some(cut);
    }
    found.sort_unstable_by(by_uri);
    Page { page: found, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_at_at_once_is_bounded() {
        let all = ["d", "a", "c", "b", "b", "e"].map(|it| (it.into(), Match::Exact));
        for (n_max, page, next) in [
            (0, &["a"][..], Some("a")),
            (1, &["a", "b", "b"], Some("b")),
            (3, &["a", "b", "b", "c"], Some("c")),
            (6, &["a", "b", "b", "c", "d", "e"], None),
        ] {
            let found = first(all.to_vec(), n_max);
            let uris: Vec<&str> = found.page.iter().map(|(uri, _)| &**uri).collect();
            assert_eq!((&*uris, found.next.as_deref()), (page, next));
        }
    }
}
