//! The table of all routes: a line each.
//!
//! Always, each with a test of its name below:
//! - `no_route_is_there_twice`, and none listens to HEAD itself: it is GET without the body.
//! - `all_of_the_api_needs_credentials`, also where it has no route.

use hyper::Method;

use crate::control::{BoxFuture, Control};
use crate::params::Params;
use crate::problem::Problem;
use crate::reply::Reply;
use crate::{health, queues};

/// Whether there is a route for a method and a path, and which.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Found {
    /// This one.
    Route(&'static Route),
    /// The path has no such method.
    OtherMethod {
        pattern: &'static str,
        allow: &'static str,
    },
    /// There is no such path; `inside` the API or elsewhere.
    Nothing { inside: bool },
}

/// What somebody must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: open to whoever reaches the port.
    Nothing,
    /// Credentials that are right.
    Credentials,
    /// The right `read`; from the same machine perhaps nothing (`Options::metrics_open`).
    Metrics,
    /// The right `read`.
    Read,
}

/// Answers a request, once its sender may ask. Calls `Params::finish` before it does anything.
pub(crate) type Handler = for<'a> fn(&'a dyn Control, Params) -> BoxFuture<'a, Answer>;

/// What was asked for, or why not.
pub(crate) type Answer = Result<Reply, Problem>;

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) pattern: &'static str,
    pub(crate) need: Need,
    pub(crate) handler: Handler,
    method: Method,
}

const fn get(pattern: &'static str, need: Need, handler: Handler) -> Route {
    Route {
        pattern,
        need,
        handler,
        method: Method::GET,
    }
}

static ROUTES: [Route; 4] = [
    get("/livez", Need::Nothing, |c, p| Box::pin(health::live(c, p))),
    get("/readyz", Need::Nothing, |c, p| {
        Box::pin(health::ready(c, p))
    }),
    get("/metrics", Need::Metrics, |c, p| {
        Box::pin(health::metrics(c, p))
    }),
    get("/api/v1/queues", Need::Read, |c, p| {
        Box::pin(queues::list(c, p))
    }),
];

/// Finds the route for `method` and `path`.
pub(crate) fn find(method: &Method, path: &str) -> Found {
    let wanted = if method == Method::HEAD {
        &Method::GET
    } else {
        method
    };
    let mut here = ROUTES
        .iter()
        .filter(|route| route.pattern == path)
        .peekable();
    let Some(pattern) = here.peek().map(|route| route.pattern) else {
        let inside = path == "/api" || path.starts_with("/api/");
        return Found::Nothing { inside };
    };
    match here.find(|route| route.method == *wanted) {
        Some(route) => Found::Route(route),
        // All routes are GET so far.
        None => Found::OtherMethod {
            pattern,
            allow: "GET, HEAD",
        },
    }
}

impl Found {
    /// What the request must have, be there a route or not.
    pub(crate) fn need(&self) -> Need {
        match self {
            Found::Route(route) => route.need,
            Found::OtherMethod { pattern, .. } if pattern.starts_with("/api/") => Need::Credentials,
            Found::Nothing { inside: true } => Need::Credentials,
            Found::OtherMethod { .. } | Found::Nothing { inside: false } => Need::Nothing,
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
    use super::*;

    #[test]
    fn no_route_is_there_twice() {
        for (at, route) in ROUTES.iter().enumerate() {
            let same =
                |other: &Route| (&other.method, other.pattern) == (&route.method, route.pattern);
            assert!(!ROUTES[..at].iter().any(same), "{route:?}");
            assert_ne!(route.method, Method::HEAD, "{route:?}");
        }
    }

    #[test]
    fn all_of_the_api_needs_credentials() {
        for route in ROUTES
            .iter()
            .filter(|route| route.pattern.starts_with("/api/"))
        {
            assert_ne!(route.need, Need::Nothing, "{route:?}");
            assert_ne!(route.need, Need::Metrics, "{route:?}");
        }
        for path in [
            "/api",
            "/api/",
            "/api/v1",
            "/api/v1/",
            "/api/v1/no",
            "/api/v1/queues/",
            "/api/v2",
        ] {
            assert_eq!(find(&Method::GET, path).need(), Need::Credentials, "{path}");
        }
        assert_eq!(
            find(&Method::POST, "/api/v1/queues").need(),
            Need::Credentials
        );
    }

    #[test]
    fn a_path_is_matched_as_it_is_written() {
        for path in [
            "", "/", "*", "/livez/", "//livez", "/LIVEZ", "/%6civez", "/apiv1",
        ] {
            let found = find(&Method::GET, path);
            assert!(matches!(found, Found::Nothing { inside: false }), "{path}");
            assert_eq!(found.label(), "none");
        }
    }
}
