//! One request: find its route, check its sender, let the route answer, count.
//!
//! A handler that panics costs its request alone: 500, and an error in the log with the request's id.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use metrics::counter;
use tracing::{debug, error};
use uuid::Uuid;

use crate::control::Control;
use crate::params::Params;
use crate::problem::{Code, Problem};
use crate::reply::{self, Reply};
use crate::routes::{self, Answer, Found};
use crate::serve::Options;
use crate::{body, guard};

/// Answers requests. One for all connections.
pub(crate) struct Service {
    pub(crate) control: Arc<dyn Control>,
    pub(crate) options: Options,
}

impl Service {
    /// The answer to `request` from `peer`, whatever happens.
    pub(crate) async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Reply {
        let request_id = Uuid::now_v7();
        let method = request.method().clone();
        let found = routes::find(&method, request.uri().path());
        let work = AssertUnwindSafe(self.work(found, request, peer, request_id));
        let answer = work.catch_unwind().await.unwrap_or_else(|_| {
            error!(%request_id, route = found.label(), "a handler of the admin API panicked");
            Err(Problem::internal())
        });
        let mut reply = answer.unwrap_or_else(|problem| problem.into_response(request_id));
        reply::sign(&mut reply, request_id);
        count(found.label(), &reply);
        let status = reply.status().as_u16();
        debug!(%request_id, %peer, %method, route = found.label(), status, "answered");
        reply
    }

    async fn work(
        &self,
        found: Found,
        request: Request<Incoming>,
        peer: IpAddr,
        request_id: Uuid,
    ) -> Answer {
        let (mut head, body) = request.into_parts();
        let (control, options) = (self.control.as_ref(), &self.options);
        let open = options.metrics_open;
        guard::check(
            control,
            found.need(),
            &mut head.headers,
            peer,
            open,
            request_id,
        )
        .await?;
        let route = match found {
            Found::Route(route) => route,
            Found::OtherMethod { allow, .. } => return Err(Problem::method_not_allowed(allow)),
            Found::Nothing { .. } => {
                return Err(Problem::new(Code::NotFound, "there is no such path"));
            }
        };
        body::discard(body, options.body_bytes_max, options.read_timeout).await?;
        let params = Params::parse(head.uri.query().unwrap_or_default());
        (route.handler)(control, params).await
    }
}

/// Few series: a route is a line of our table, a status a code of ours.
fn count<B>(route: &'static str, reply: &Response<B>) {
    let status = reply.status().as_str().to_owned();
    counter!("restante_admin_requests_total", "route" => route, "status" => status).increment(1);
}
