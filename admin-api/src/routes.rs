//! The table of all routes: a line each, with all that is known of it. Routing, the guard, the audit log and the OpenAPI
//! document are made from it, and nothing else says who may ask for what.
//!
//! Always, each with a test of its name below:
//! - `no_route_is_there_twice`, and no path belongs to two patterns.
//! - `all_of_the_api_needs_credentials`, also where it has no route; but for its own description.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;

use crate::control::{BoxFuture, Caller, Control, How};
use crate::document::Grant;
use crate::params::Params;
use crate::path::{self, Captures};
use crate::problem::Problem;
use crate::reply::Done;
use crate::resources;
use crate::{body, docs, health};

/// What somebody must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: open to whoever reaches the port.
    Nothing,
    /// Credentials that are right.
    Credentials,
    /// The grant `monitor`; from the same machine perhaps nothing (`Options::metrics_open`).
    Metrics,
    /// This grant.
    Grant(Grant),
    /// Credentials; the broker decides by the address and its rules.
    Address,
}

/// A request that may be answered.
pub(crate) struct Call {
    pub(crate) control: Arc<dyn Control>,
    /// Who asks. Without a name and any grant, where nothing is needed.
    pub(crate) caller: Caller,
    pub(crate) path: Captures,
    pub(crate) params: Params,
    pub(crate) body: Bytes,
    pub(crate) how: How,
}

impl Call {
    /// What the path has for `{name}`.
    pub(crate) fn name(&self, name: &str) -> String {
        self.path.get(name)
    }

    /// The realm and the queue in the path.
    pub(crate) fn queue(&self) -> (String, String) {
        (self.name("realm"), self.name("queue"))
    }

    /// The parameters, once; to be finished before anything is asked of the broker.
    pub(crate) fn take_params(&mut self) -> Params {
        std::mem::take(&mut self.params)
    }

    /// No parameter but those that every route like this has.
    ///
    /// # Errors
    /// There is one: 400.
    pub(crate) fn no_params(&mut self) -> Result<(), Problem> {
        self.take_params().finish()
    }

    /// What the body says.
    ///
    /// # Errors
    /// [`body::parse`].
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        body::parse(&self.body)
    }

    /// What the body says, if there is one.
    ///
    /// # Errors
    /// [`body::parse`].
    pub(crate) fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T, Problem> {
        if self.body.is_empty() {
            return Ok(T::default());
        }
        self.json()
    }
}

/// Answers a request, once its sender may ask. Calls `Params::finish` before it does anything.
pub(crate) type Handler = fn(Call) -> BoxFuture<'static, Answer>;

/// What was asked for, or why not.
pub(crate) type Answer = Result<Done, Problem>;

/// Tells the shape of some JSON.
pub(crate) type Shape = fn(&mut SchemaGenerator) -> Schema;

/// The shape of `T`.
pub(crate) fn shape<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// The methods that routes have. HEAD is GET without the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Method {
    Get,
    Put,
    Post,
    Delete,
}

impl Method {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        }
    }

    fn of(method: &hyper::Method) -> Option<Method> {
        match method.as_str() {
            "GET" | "HEAD" => Some(Method::Get),
            "PUT" => Some(Method::Put),
            "POST" => Some(Method::Post),
            "DELETE" => Some(Method::Delete),
            _ => None,
        }
    }
}

/// A query parameter.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) name: &'static str,
    pub(crate) kind: ParamKind,
    pub(crate) what: &'static str,
}

/// What a query parameter takes.
#[derive(Debug)]
pub(crate) enum ParamKind {
    Text,
    /// One of these.
    Word(&'static [&'static str]),
    Cursor,
    Flag,
    Number {
        low: u64,
        high: u64,
    },
    Numbers,
    Sort(&'static [&'static str]),
    Map,
}

/// A body that a route takes.
#[derive(Debug)]
pub(crate) struct TakesBody {
    pub(crate) shape: Shape,
    /// One that makes sense, as JSON.
    pub(crate) example: &'static str,
    pub(crate) required: bool,
    /// Whether it may be as large as definitions are.
    pub(crate) large: bool,
}

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) pattern: &'static str,
    pub(crate) need: Need,
    /// Its name in the OpenAPI document.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    /// More to know, in a few sentences. May be empty.
    pub(crate) details: &'static str,
    pub(crate) params: &'static [Param],
    pub(crate) body: Option<TakesBody>,
    /// The shape of the answer. None: 204, or no JSON.
    pub(crate) gives: Option<Shape>,
    /// The media type of the answer, where it has a body.
    pub(crate) kind: &'static str,
    /// Whether it changes nothing though it is a POST.
    pub(crate) looks: bool,
    /// Whether it is about a message on its way and no act of administration: only what is refused goes into the audit log.
    pub(crate) traffic: bool,
    /// Whether it can make something: 201.
    pub(crate) creates: bool,
    /// Whether the answer has an ETag.
    pub(crate) tagged: bool,
    /// Whether nothing in the answer changes without its ETag, so that who has it already need not get it again: 304.
    pub(crate) steady: bool,
    /// Where it is to be asked for: 308.
    pub(crate) moved: Option<&'static str>,
    /// Whether it takes If-Match and If-None-Match.
    pub(crate) conditional: bool,
    /// Whether the answer may have megabytes: only a few such are made at once.
    pub(crate) heavy: bool,
    /// Statuses that do not follow from the rest.
    also: &'static [u16],
    pub(crate) handler: Handler,
}

impl Route {
    const fn new(
        method: Method,
        pattern: &'static str,
        need: Need,
        id: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Route {
        Route {
            method,
            pattern,
            need,
            id,
            summary,
            details: "",
            params: &[],
            body: None,
            gives: None,
            kind: "application/json",
            looks: false,
            traffic: false,
            creates: false,
            tagged: false,
            steady: false,
            moved: None,
            conditional: false,
            heavy: false,
            also: &[],
            handler,
        }
    }

    pub(crate) const fn get(
        pattern: &'static str,
        need: Need,
        id: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Route {
        Route::new(Method::Get, pattern, need, id, summary, handler)
    }

    pub(crate) const fn put(
        pattern: &'static str,
        need: Need,
        id: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Route {
        Route::new(Method::Put, pattern, need, id, summary, handler)
    }

    pub(crate) const fn post(
        pattern: &'static str,
        need: Need,
        id: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Route {
        Route::new(Method::Post, pattern, need, id, summary, handler)
    }

    pub(crate) const fn delete(
        pattern: &'static str,
        need: Need,
        id: &'static str,
        summary: &'static str,
        handler: Handler,
    ) -> Route {
        Route::new(Method::Delete, pattern, need, id, summary, handler)
    }

    pub(crate) const fn details(mut self, details: &'static str) -> Route {
        self.details = details;
        self
    }

    pub(crate) const fn params(mut self, params: &'static [Param]) -> Route {
        self.params = params;
        self
    }

    pub(crate) const fn takes(mut self, shape: Shape, example: &'static str) -> Route {
        self.body = Some(TakesBody {
            shape,
            example,
            required: true,
            large: false,
        });
        self
    }

    /// As [`Route::takes`], but the body may be left out.
    pub(crate) const fn may_take(mut self, shape: Shape, example: &'static str) -> Route {
        self.body = Some(TakesBody {
            shape,
            example,
            required: false,
            large: false,
        });
        self
    }

    /// As [`Route::takes`], with the limit for definitions.
    pub(crate) const fn takes_large(mut self, shape: Shape, example: &'static str) -> Route {
        self.body = Some(TakesBody {
            shape,
            example,
            required: true,
            large: true,
        });
        self
    }

    pub(crate) const fn gives(mut self, shape: Shape) -> Route {
        self.gives = Some(shape);
        self
    }

    /// Gives something that is no JSON.
    pub(crate) const fn gives_kind(mut self, kind: &'static str) -> Route {
        self.kind = kind;
        self
    }

    pub(crate) const fn heavy(mut self) -> Route {
        self.heavy = true;
        self
    }

    pub(crate) const fn traffic(mut self) -> Route {
        self.traffic = true;
        self
    }

    pub(crate) const fn looks(mut self) -> Route {
        self.looks = true;
        self
    }

    pub(crate) const fn creates(mut self) -> Route {
        self.creates = true;
        self
    }

    pub(crate) const fn tagged(mut self) -> Route {
        self.tagged = true;
        self
    }

    /// A GET with an ETag that stands for all that it shows.
    pub(crate) const fn steady(mut self) -> Route {
        self.tagged = true;
        self.steady = true;
        self
    }

    /// Leads elsewhere.
    pub(crate) const fn moved(mut self, to: &'static str) -> Route {
        self.moved = Some(to);
        self
    }

    pub(crate) const fn conditional(mut self) -> Route {
        self.conditional = true;
        self
    }

    pub(crate) const fn also(mut self, statuses: &'static [u16]) -> Route {
        self.also = statuses;
        self
    }

    /// Whether it changes something.
    pub(crate) fn changes(&self) -> bool {
        self.method != Method::Get && !self.looks
    }

    /// The status of an answer that is what was asked for; 201 apart.
    pub(crate) fn good_status(&self) -> u16 {
        match (self.gives, self.kind) {
            _ if self.moved.is_some() => 308,
            (None, "application/json") => 204,
            _ => 200,
        }
    }

    /// All statuses that an answer can have.
    pub(crate) fn statuses(&self) -> BTreeSet<u16> {
        let mut all = BTreeSet::from([self.good_status(), 400, 408, 413, 500, 503]);
        all.extend(self.also);
        let mut add = |given: bool, statuses: &[u16]| {
            if given {
                all.extend(statuses);
            }
        };
        add(self.creates, &[201]);
        add(self.steady, &[304]);
        add(self.need != Need::Nothing, &[401, 429]);
        let refuses = !matches!(self.need, Need::Nothing | Need::Credentials);
        add(refuses, &[403]);
        add(path::names(self.pattern).next().is_some(), &[404]);
        add(self.changes(), &[409, 422, 507]);
        add(self.conditional, &[412]);
        add(self.body.is_some(), &[415, 422]);
        add(self.method == Method::Post, &[409, 422]);
        all
    }

    /// What it is in the audit log.
    pub(crate) fn act(&self) -> String {
        format!("{} {}", self.method.as_str(), self.pattern)
    }
}

/// All routes.
pub(crate) fn all() -> impl Iterator<Item = &'static Route> {
    const TABLES: [&[Route]; 10] = [
        health::ROUTES,
        docs::ROUTES,
        resources::broker::ROUTES,
        resources::documents::ROUTES,
        resources::tokens::ROUTES,
        resources::queues::ROUTES,
        resources::messages::ROUTES,
        resources::clients::ROUTES,
        resources::wamp::ROUTES,
        resources::definitions::ROUTES,
    ];
    TABLES.into_iter().flatten()
}

/// Whether there is a route for a method and a path, and which.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found {
    /// This one.
    Route(&'static Route),
    /// The path has no such method.
    OtherMethod { pattern: &'static str },
    /// There is no such path; `inside` the API or elsewhere.
    Nothing { inside: bool },
}

/// Finds the route for `method` and `path`.
pub(crate) fn find(method: &hyper::Method, path: &str) -> Found {
    let mut here = all()
        .filter(|route| path::matches(route.pattern, path))
        .peekable();
    let Some(pattern) = here.peek().map(|route| route.pattern) else {
        let inside = path == "/api" || path.starts_with("/api/");
        return Found::Nothing { inside };
    };
    let wanted = Method::of(method);
    match here.find(|route| Some(route.method) == wanted) {
        Some(route) => Found::Route(route),
        None => Found::OtherMethod { pattern },
    }
}

/// What is said of a path that there is not.
pub(crate) fn nowhere(path: &str) -> &'static str {
    let mut named = all().filter(|route| route.need != Need::Nothing);
    if named.any(|route| path::nearly_matches(route.pattern, path)) {
        "there is no such path; if this is a name with `/` or `:` in it, these are written %2F and %3A in a path"
    } else {
        "there is no such path"
    }
}

/// The methods that `pattern` has, for `Allow`.
pub(crate) fn allow(pattern: &str) -> String {
    let here = all().filter(|route| route.pattern == pattern);
    let methods: BTreeSet<Method> = here.map(|route| route.method).collect();
    let mut names = Vec::new();
    for method in methods {
        names.push(method.as_str());
        if method == Method::Get {
            names.push("HEAD");
        }
    }
    names.join(", ")
}

impl Found {
    /// What the request must have, be there a route or not.
    pub(crate) fn need(&self) -> Need {
        match self {
            Found::Route(route) => route.need,
            Found::OtherMethod { pattern } => {
                let mut here = all().filter(|route| route.pattern == *pattern);
                if !pattern.starts_with("/api/") || here.all(|route| route.need == Need::Nothing) {
                    Need::Nothing
                } else {
                    Need::Credentials
                }
            }
            Found::Nothing { inside: true } => Need::Credentials,
            Found::Nothing { inside: false } => Need::Nothing,
        }
    }

    /// The route's name in metrics and the log: never what a stranger has sent.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Found::Route(Route { pattern, .. }) | Found::OtherMethod { pattern, .. } => pattern,
            Found::Nothing { .. } => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const GET: hyper::Method = hyper::Method::GET;

    #[test]
    fn no_route_is_there_twice() {
        let mut lines = HashSet::new();
        let mut ids = HashSet::new();
        for route in all() {
            assert!(lines.insert((route.method, route.pattern)), "{route:?}");
            assert!(ids.insert(route.id), "{route:?}");
            let path = route.pattern.replace(['{', '}'], "");
            let here = all().filter(|other| path::matches(other.pattern, &path));
            let patterns: HashSet<_> = here.map(|other| other.pattern).collect();
            assert_eq!(patterns.len(), 1, "{path} is of {patterns:?}");
        }
    }

    #[test]
    fn all_of_the_api_needs_credentials() {
        let described =
            |path: &str| path.starts_with("/api/docs") || path.ends_with("openapi.json");
        let api = all().filter(|route| route.pattern.starts_with("/api/"));
        for route in api.filter(|route| !described(route.pattern)) {
            assert_ne!(route.need, Need::Nothing, "{route:?}");
            assert_ne!(route.need, Need::Metrics, "{route:?}");
        }
        for path in [
            "/api",
            "/api/",
            "/api/docsx",
            "/api/docs/a/b",
            "/api/v1",
            "/api/v1/",
            "/api/v1/no",
            "/api/v1/queues/",
            "/api/v2",
        ] {
            assert_eq!(find(&GET, path).need(), Need::Credentials, "{path}");
        }
        let post = find(&hyper::Method::POST, "/api/v1/queues");
        assert_eq!(post.need(), Need::Credentials);
    }

    /// Whoever may only look has no route that changes anything.
    #[test]
    fn what_changes_needs_more_than_to_read() {
        for route in all().filter(|route| route.changes()) {
            let read = [Grant::Read, Grant::Monitor].map(Need::Grant);
            let weak = [Need::Nothing, Need::Credentials, Need::Metrics];
            assert!(!read.contains(&route.need), "{route:?}");
            assert!(!weak.contains(&route.need), "{route:?}");
        }
    }

    #[test]
    fn a_path_is_matched_as_it_is_written() {
        for path in [
            "", "//", "*", "/livez/", "//livez", "/LIVEZ", "/%6civez", "/apiv1", "/livez:x",
        ] {
            let found = find(&GET, path);
            assert!(matches!(found, Found::Nothing { inside: false }), "{path}");
            assert_eq!(found.label(), "none");
        }
    }

    #[test]
    fn a_path_says_what_it_takes() {
        assert_eq!(allow("/livez"), "GET, HEAD");
        assert_eq!(
            allow("/api/v1/realms/{realm}/queues/{queue}"),
            "GET, HEAD, PUT, DELETE"
        );
        assert_eq!(allow("/api/v1/realms/{realm}/queues/{queue}:pause"), "POST");
    }
}
