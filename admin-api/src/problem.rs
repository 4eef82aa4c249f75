//! An answer that is not what was asked for: `application/problem+json` (RFC 9457), from one table of codes.
//!
//! Always, each with a test of its name below:
//! - `every_code_is_listed_once_and_means_an_error`.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde::Serialize;
use uuid::Uuid;

use crate::control::AuthError;
use crate::reply::{self, Reply};

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// What went wrong, for programs: the members `code` and, behind `urn:restante:problem:`, `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// A query parameter is unknown, malformed, out of its range or given twice; `errors` names it.
    InvalidParameter,
    /// The body broke off, or its chunks are malformed.
    MalformedBody,
    /// No credentials, or wrong ones.
    Unauthenticated,
    /// The credentials are right, but have no right to this.
    Forbidden,
    /// No such path, or no such thing.
    NotFound,
    /// The path exists, but not for this method; see `Allow`.
    MethodNotAllowed,
    /// The body did not arrive in time.
    RequestTimeout,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// Too many wrong passwords; see `Retry-After`.
    TooManyAttempts,
    /// Too many connections or log-ins at once; see `Retry-After`.
    Busy,
    /// A fault of the broker's own; the log has it under the `request_id`.
    Internal,
}

impl Code {
    /// All of them.
    pub const ALL: [Code; 11] = [
        Code::InvalidParameter,
        Code::MalformedBody,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::RequestTimeout,
        Code::BodyTooLarge,
        Code::TooManyAttempts,
        Code::Busy,
        Code::Internal,
    ];

    /// As it is written in an answer.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub fn status(self) -> u16 {
        self.row().1.as_u16()
    }

    fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Code::InvalidParameter => (
                "invalid-parameter",
                S::BAD_REQUEST,
                "Invalid query parameter",
            ),
            Code::MalformedBody => ("malformed-body", S::BAD_REQUEST, "Malformed body"),
            Code::Unauthenticated => ("unauthenticated", S::UNAUTHORIZED, "Credentials are needed"),
            Code::Forbidden => ("forbidden", S::FORBIDDEN, "Not allowed"),
            Code::NotFound => ("not-found", S::NOT_FOUND, "Not found"),
            Code::MethodNotAllowed => (
                "method-not-allowed",
                S::METHOD_NOT_ALLOWED,
                "Method not allowed",
            ),
            Code::RequestTimeout => (
                "request-timeout",
                S::REQUEST_TIMEOUT,
                "The request took too long",
            ),
            Code::BodyTooLarge => (
                "body-too-large",
                S::PAYLOAD_TOO_LARGE,
                "The body is too large",
            ),
            Code::TooManyAttempts => (
                "too-many-attempts",
                S::TOO_MANY_REQUESTS,
                "Too many attempts",
            ),
            Code::Busy => ("busy", S::SERVICE_UNAVAILABLE, "Busy"),
            Code::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Internal error"),
        }
    }
}

/// A problem on its way to whoever asked.
#[derive(Debug)]
pub(crate) struct Problem {
    code: Code,
    detail: String,
    errors: Vec<Fault>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One query parameter that is wrong.
#[derive(Debug, Serialize)]
pub(crate) struct Fault {
    pub(crate) parameter: String,
    pub(crate) detail: String,
}

/// The members of RFC 9457 §3.1, and ours.
#[derive(Serialize)]
struct Members<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: String,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// 400, with the name of every parameter in `faults` both in the text and on its own.
    pub(crate) fn parameters(faults: Vec<Fault>) -> Problem {
        let lines: Vec<String> = faults
            .iter()
            .map(|fault| format!("`{}` {}", fault.parameter, fault.detail))
            .collect();
        let mut problem = Problem::new(Code::InvalidParameter, lines.join("; "));
        problem.errors = faults;
        problem
    }

    /// 401, with the ways to log in (RFC 9110 §11.6.1).
    pub(crate) fn unauthenticated(detail: &str) -> Problem {
        const BASIC: HeaderValue =
            HeaderValue::from_static(r#"Basic realm="restante", charset="UTF-8""#);
        const BEARER: HeaderValue = HeaderValue::from_static(r#"Bearer realm="restante""#);
        Problem::new(Code::Unauthenticated, detail)
            .header(WWW_AUTHENTICATE, BASIC)
            .header(WWW_AUTHENTICATE, BEARER)
    }

    /// 405, with the methods that the path has.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Problem {
        Problem::new(
            Code::MethodNotAllowed,
            format!("this path takes {allow} only"),
        )
        .header(ALLOW, HeaderValue::from_static(allow))
    }

    /// 503, to be tried again in a second.
    pub(crate) fn busy(detail: &str) -> Problem {
        Problem::new(Code::Busy, detail).retry_after(Duration::from_secs(1))
    }

    /// 500; the log says more.
    pub(crate) fn internal() -> Problem {
        Problem::new(
            Code::Internal,
            "a fault of the broker's own; its log has the request's id",
        )
    }

    fn retry_after(self, wait: Duration) -> Problem {
        self.header(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)))
    }

    fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// The answer to the request `request_id`.
    pub(crate) fn into_response(self, request_id: Uuid) -> Reply {
        let (code, status, title) = self.code.row();
        let members = Members {
            r#type: format!("urn:restante:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            code,
            request_id: request_id.to_string(),
            errors: &self.errors,
        };
        // Strings and a number, in no map: there is nothing that JSON lacks.
        let json = serde_json::to_vec(&members).expect("a problem is JSON");
        let mut response = reply::with(status, PROBLEM, json);
        for (name, value) in self.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Problem {
        match error {
            AuthError::Refused => Problem::unauthenticated("these credentials are not valid"),
            AuthError::TooMany { retry_after } => {
                let wait = whole_seconds(retry_after);
                let detail = format!("too many wrong passwords; wait {wait} s");
                Problem::new(Code::TooManyAttempts, detail).retry_after(retry_after)
            }
            AuthError::Busy => Problem::busy("too many log-ins at once; try again"),
        }
    }
}

/// `Retry-After` has no fractions: rounded up, so that nobody comes back too early, and never zero.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs()
        .saturating_add(u64::from(wait.subsec_nanos() > 0))
        .max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_listed_once_and_means_an_error() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!((400..600).contains(&code.status()), "{code:?}");
        }
    }

    #[test]
    fn a_wait_is_rounded_up() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
    }
}
