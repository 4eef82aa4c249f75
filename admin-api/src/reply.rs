//! Answers, and the headers that all of them have.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION,
    REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tracing::error;
use uuid::Uuid;

use crate::conditions::{self, NoneMatch};
use crate::control::Changed;
use crate::problem::Problem;

/// An answer, complete in memory.
pub(crate) type Reply = Response<Full<Bytes>>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// An answer is data: nothing in it is run, loaded or framed, should a browser ever show it as a page.
const DATA_ONLY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");

/// An answer that was come by, and what the audit log is to say of it.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) reply: Reply,
    pub(crate) before: Option<serde_json::Value>,
    pub(crate) after: Option<serde_json::Value>,
    pub(crate) revision: Option<u64>,
    /// Whether it goes into the audit log though nothing was changed.
    pub(crate) audited: bool,
}

impl Done {
    /// With an ETag.
    pub(crate) fn tagged(mut self, revision: u64) -> Done {
        let headers = self.reply.headers_mut();
        headers.insert(ETAG, conditions::etag(revision));
        self
    }

    /// With the path of what was made.
    pub(crate) fn at(mut self, path: &str) -> Done {
        if let Ok(path) = HeaderValue::try_from(path) {
            self.reply.headers_mut().insert(LOCATION, path);
        }
        self
    }

    /// With how it was and is.
    pub(crate) fn noted<T>(mut self, changed: Changed<T>) -> Done {
        (self.before, self.after) = (changed.before, changed.after);
        self.revision = changed.revision;
        self
    }

    /// For the audit log, though nothing was changed.
    pub(crate) fn audited(mut self) -> Done {
        self.audited = true;
        self
    }
}

impl From<Reply> for Done {
    fn from(reply: Reply) -> Done {
        Done {
            reply,
            before: None,
            after: None,
            revision: None,
            audited: false,
        }
    }
}

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
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Result<Done, Problem> {
    match serde_json::to_vec(value) {
        Ok(json) => Ok(with(status, JSON, json).into()),
        Err(fault) => {
            error!(%fault, "an answer of the admin API has no form in JSON");
            Err(Problem::internal())
        }
    }
}

/// How many bytes `value` has as JSON; nothing is kept of it.
///
/// # Errors
/// As [`json`].
pub(crate) fn json_bytes(value: &impl Serialize) -> Result<usize, Problem> {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => Ok(count.0),
        Err(fault) => {
            error!(%fault, "an answer of the admin API has no form in JSON");
            Err(Problem::internal())
        }
    }
}

/// 200, with `value` as JSON.
///
/// # Errors
/// As [`json`].
pub(crate) fn ok(value: &impl Serialize) -> Result<Done, Problem> {
    json(StatusCode::OK, value)
}

/// 201 or 200, with `value` as JSON: whether it was `created`.
///
/// # Errors
/// As [`json`].
pub(crate) fn set(created: bool, value: &impl Serialize) -> Result<Done, Problem> {
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    json(status, value)
}

/// 204: it is done, and there is nothing to say.
pub(crate) fn no_content() -> Done {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = StatusCode::NO_CONTENT;
    reply.into()
}

/// 308: it is `to` that has it, a path of ours.
pub(crate) fn moved(to: &'static str) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::new()));
    *reply.status_mut() = StatusCode::PERMANENT_REDIRECT;
    let to = HeaderValue::from_static(to);
    reply.headers_mut().insert(LOCATION, to);
    reply
}

/// 304 in place of `reply`, if its ETag is one of `known`.
pub(crate) fn unless_known(reply: Reply, known: &NoneMatch) -> Reply {
    match reply.headers().get(ETAG) {
        Some(tag) if known.has(tag) => {
            let mut unmodified = Response::new(Full::new(Bytes::new()));
            *unmodified.status_mut() = StatusCode::NOT_MODIFIED;
            unmodified.headers_mut().insert(ETAG, tag.clone());
            unmodified
        }
        _ => reply,
    }
}

/// Takes from the answer to a dry run what it would say of something that is not there: 200, no ETag, no place.
pub(crate) fn unmade(reply: &mut Reply) {
    reply.headers_mut().remove(ETAG);
    reply.headers_mut().remove(LOCATION);
    if reply.status() == StatusCode::CREATED {
        *reply.status_mut() = StatusCode::OK;
    }
}

/// Adds what every answer has: it is taken for what it says it is, kept nowhere, found in the log by its id, and of use to no
/// other site. A policy that is there already is left. Who has come over `tls` once is to come over it always.
pub(crate) fn sign(reply: &mut Reply, request_id: Uuid, tls: bool) {
    let headers = reply.headers_mut();
    let only = HeaderValue::from_static;
    headers.insert(X_CONTENT_TYPE_OPTIONS, only("nosniff"));
    headers.insert(CACHE_CONTROL, only("no-store"));
    headers.insert(X_FRAME_OPTIONS, only("DENY"));
    headers.insert(REFERRER_POLICY, only("no-referrer"));
    headers.insert(RESOURCE_POLICY, only("same-origin"));
    if tls {
        // Without TLS it means nothing (RFC 6797 §7.2). For this host alone: of its neighbours we know nothing.
        headers.insert(STRICT_TRANSPORT_SECURITY, only("max-age=31536000"));
    }
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(DATA_ONLY);
    if let Ok(id) = HeaderValue::try_from(request_id.to_string()) {
        headers.insert(X_REQUEST_ID, id);
    }
}
