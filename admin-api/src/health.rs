//! `/livez`, `/readyz` and `/metrics`: for whoever watches the broker.
//!
//! The first two are open to everybody: without `?verbose` they say no more than yes or no.

use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use serde::Serialize;

use crate::control::{Check, Control};
use crate::params::Params;
use crate::reply;
use crate::routes::Answer;

const PROMETHEUS: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

#[derive(Serialize)]
struct Live {
    live: bool,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<Check>>,
}

/// 200, or 503 if only a restart helps.
pub(crate) async fn live(control: &dyn Control, params: Params) -> Answer {
    params.finish()?;
    let live = control.health().live;
    verdict(live, &Live { live })
}

/// 200, or 503 if traffic should go elsewhere for now; why, with `?verbose`.
pub(crate) async fn ready(control: &dyn Control, mut params: Params) -> Answer {
    let verbose = params.flag("verbose");
    params.finish()?;
    let health = control.health();
    let ready = health.is_ready();
    let checks = verbose.then_some(health.ready);
    verdict(ready, &Ready { ready, checks })
}

/// What the recorder has.
pub(crate) async fn metrics(control: &dyn Control, params: Params) -> Answer {
    params.finish()?;
    Ok(reply::with(StatusCode::OK, PROMETHEUS, control.metrics()))
}

fn verdict(good: bool, body: &impl Serialize) -> Answer {
    if good {
        return reply::json(StatusCode::OK, body);
    }
    let mut reply = reply::json(StatusCode::SERVICE_UNAVAILABLE, body)?;
    reply
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(1));
    Ok(reply)
}
