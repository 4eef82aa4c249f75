//! Answers, and the headers that all of them have.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tracing::error;
use uuid::Uuid;

use crate::problem::Problem;

/// An answer, complete in memory.
pub(crate) type Reply = Response<Full<Bytes>>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// `body`, of the media type `kind`.
pub(crate) fn with(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, kind);
    reply
}

/// `value` as JSON.
///
/// # Errors
/// It has no form in JSON, which is a fault of ours: 500.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Reply, Problem> {
    match serde_json::to_vec(value) {
        Ok(json) => Ok(with(status, JSON, json)),
        Err(fault) => {
            error!(%fault, "an answer of the admin API has no form in JSON");
            Err(Problem::internal())
        }
    }
}

/// Adds what every answer has: it is taken for what it says it is, kept nowhere, and found in the log by its id.
pub(crate) fn sign(reply: &mut Reply, request_id: Uuid) {
    let headers = reply.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::try_from(request_id.to_string()) {
        headers.insert(X_REQUEST_ID, id);
    }
}
