//! `/livez`, `/readyz` and `/metrics`: for whoever watches the broker.
//!
//! The first two are open to everybody: without `?verbose` they say no more than yes or no.

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use schemars::JsonSchema;
use serde::Serialize;

use crate::control::Check;
use crate::reply;
use crate::routes::{Answer, Call, Need, Param, ParamKind, Route, shape};

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) const ROUTES: &[Route] = &[
    Route::get(
        "/livez",
        Need::Nothing,
        "live",
        "Whether the broker is alive: 503 says that only a restart helps",
        |call| Box::pin(live(call)),
    )
    .gives(shape::<Live>),
    Route::get(
        "/readyz",
        Need::Nothing,
        "ready",
        "Whether the broker takes traffic: 503 says that it should go elsewhere for now",
        |call| Box::pin(ready(call)),
    )
    .params(&[Param {
        name: "verbose",
        kind: ParamKind::Flag,
        what: "Whether to say which condition is not met.",
    }])
    .gives(shape::<Ready>),
    Route::get(
        "/metrics",
        Need::Metrics,
        "metrics",
        "All metrics, in Prometheus' text format",
        |call| Box::pin(metrics(call)),
    )
    .gives_kind(PROMETHEUS),
];

/// Whether the broker is alive.
#[derive(Serialize, JsonSchema)]
struct Live {
    /// False: only a restart helps.
    live: bool,
}

/// Whether the broker takes traffic.
#[derive(Serialize, JsonSchema)]
struct Ready {
    /// Whether all checks are `ok`.
    ready: bool,
    /// The checks, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<Check>>,
}

async fn live(mut call: Call) -> Answer {
    call.no_params()?;
    let live = call.control.health().live;
    verdict(live, &Live { live })
}

async fn ready(mut call: Call) -> Answer {
    let mut params = call.take_params();
    let verbose = params.flag("verbose");
    params.finish()?;
    let health = call.control.health();
    let ready = health.is_ready();
    let checks = verbose.then_some(health.ready);
    verdict(ready, &Ready { ready, checks })
}

async fn metrics(mut call: Call) -> Answer {
    call.no_params()?;
    let text = call.control.metrics().await;
    let kind = HeaderValue::from_static(PROMETHEUS);
    Ok(reply::with(StatusCode::OK, kind, text).into())
}

fn verdict(good: bool, body: &impl Serialize) -> Answer {
    if good {
        return reply::ok(body);
    }
    let mut done = reply::json(StatusCode::SERVICE_UNAVAILABLE, body)?;
    let headers = done.reply.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(1));
    Ok(done)
}
