//! An answer that is not what was asked for: `application/problem+json` (RFC 9457), from one table of codes.
//!
//! Always, each with a test of its name below:
//! - `every_code_is_listed_once_and_means_an_error`.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{ALLOW, ETAG, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::conditions;
use crate::control::{AuthError, ControlError, Invalid, Precondition};
use crate::reply::{self, Reply};

const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const BASIC: HeaderValue = HeaderValue::from_static(r#"Basic realm="restante", charset="UTF-8""#);
const BEARER: HeaderValue = HeaderValue::from_static(r#"Bearer realm="restante""#);

/// What went wrong, for programs: the members `code` and, behind `urn:restante:problem:`, `type`. A code never changes its
/// meaning or its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// A query parameter is unknown, malformed, out of its range or given twice; `errors` names it.
    InvalidParameter,
    /// A name in the path is not percent-encoded UTF-8, or is one that nothing may have.
    InvalidPath,
    /// A header of the request is malformed, given twice, or means nothing here.
    InvalidHeader,
    /// The body broke off, is not JSON, or has a key twice.
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
    /// It cannot be done as things are.
    Conflict,
    /// A request with the same `Idempotency-Key` is being answered right now.
    IdempotencyInProgress,
    /// It is not, or no longer, as `If-Match` or `If-None-Match` says; get it again. `ETag` has what it is now.
    Changed,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// Something in the body is larger than the broker takes.
    TooLarge,
    /// The body is not `application/json`.
    UnsupportedMediaType,
    /// The body is JSON, but not what is expected here; `errors` has JSON pointers into it.
    InvalidBody,
    /// The `Idempotency-Key` was used for another request.
    IdempotencyMismatch,
    /// Too many wrong passwords; see `Retry-After`.
    TooManyAttempts,
    /// A fault of the broker's own; the log has it under the `request_id`.
    Internal,
    /// Too many connections, log-ins or changes at once; see `Retry-After`.
    Busy,
    /// The broker is shutting down; see `Retry-After`.
    ShuttingDown,
    /// A limit is reached, or the disk is full.
    Full,
    /// The disk does not take the change in time. It may still come into force: look before trying again.
    Unsettled,
}

impl Code {
    /// All of them, by status.
    pub const ALL: [Code; 23] = [
        Code::InvalidParameter,
        Code::InvalidPath,
        Code::InvalidHeader,
        Code::MalformedBody,
        Code::Unauthenticated,
        Code::Forbidden,
        Code::NotFound,
        Code::MethodNotAllowed,
        Code::RequestTimeout,
        Code::Conflict,
        Code::IdempotencyInProgress,
        Code::Changed,
        Code::BodyTooLarge,
        Code::TooLarge,
        Code::UnsupportedMediaType,
        Code::InvalidBody,
        Code::IdempotencyMismatch,
        Code::TooManyAttempts,
        Code::Internal,
        Code::Busy,
        Code::ShuttingDown,
        Code::Full,
        Code::Unsettled,
    ];

    /// As it is written in an answer.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// What it means, in a few words.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Code::InvalidParameter => ("invalid-parameter", 400, "Invalid query parameter"),
            Code::InvalidPath => ("invalid-path", 400, "Invalid name in the path"),
            Code::InvalidHeader => ("invalid-header", 400, "Invalid header"),
            Code::MalformedBody => ("malformed-body", 400, "Malformed body"),
            Code::Unauthenticated => ("unauthenticated", 401, "Credentials are needed"),
            Code::Forbidden => ("forbidden", 403, "Not allowed"),
            Code::NotFound => ("not-found", 404, "Not found"),
            Code::MethodNotAllowed => ("method-not-allowed", 405, "Method not allowed"),
            Code::RequestTimeout => ("request-timeout", 408, "The request took too long"),
            Code::Conflict => ("conflict", 409, "Not possible as things are"),
            Code::IdempotencyInProgress => (
                "idempotency-in-progress",
                409,
                "The first request with this key is not answered yet",
            ),
            Code::Changed => ("changed", 412, "It is not as the condition says"),
            Code::BodyTooLarge => ("body-too-large", 413, "The body is too large"),
            Code::TooLarge => ("too-large", 413, "Too large"),
            Code::UnsupportedMediaType => ("unsupported-media-type", 415, "Unsupported media type"),
            Code::InvalidBody => ("invalid-body", 422, "Invalid body"),
            Code::IdempotencyMismatch => (
                "idempotency-mismatch",
                422,
                "The key was used for another request",
            ),
            Code::TooManyAttempts => ("too-many-attempts", 429, "Too many attempts"),
            Code::Internal => ("internal", 500, "Internal error"),
            Code::Busy => ("busy", 503, "Busy"),
            Code::ShuttingDown => ("shutting-down", 503, "Shutting down"),
            Code::Full => ("full", 507, "A limit is reached"),
            Code::Unsettled => ("unsettled", 507, "Not known yet whether it was done"),
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
    /// More for the audit log, and for nobody else.
    audit: String,
    /// What was done of it all the same, for the audit log.
    in_part: Option<Box<Value>>,
}

/// One thing that is wrong in a request.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ProblemError")]
pub(crate) struct Fault {
    #[serde(flatten)]
    pub(crate) at: At,
    /// What is wrong.
    pub(crate) detail: String,
}

/// Where something is wrong.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "ProblemErrorAt")]
pub(crate) enum At {
    /// The name of a query parameter.
    Parameter(String),
    /// A JSON pointer (RFC 6901) into the body; empty for the whole.
    Pointer(String),
}

/// Why the request was not done (RFC 9457).
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Members {
    /// `urn:restante:problem:` and the code.
    r#type: String,
    /// What the code means.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// What it is this time, for people.
    detail: String,
    /// What it is, for programs.
    #[schemars(with = "String", extend("enum" = Code::ALL.map(Code::as_str)))]
    code: &'static str,
    /// The request's id, as in `X-Request-Id` and in the broker's log.
    request_id: String,
    /// What is wrong in the request, one by one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    errors: Vec<Fault>,
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            headers: Vec::new(),
            audit: String::new(),
            in_part: None,
        }
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// What was done before it came to an end; none: nothing.
    pub(crate) fn in_part(&self) -> Option<&Value> {
        self.in_part.as_deref()
    }

    /// Where the first fault of a body is, and what.
    #[cfg(test)]
    pub(crate) fn first(&self) -> Option<(&str, &str)> {
        self.errors.iter().find_map(|fault| match &fault.at {
            At::Pointer(at) => Some((&**at, &*fault.detail)),
            At::Parameter(_) => None,
        })
    }

    /// What the audit log says of it: nothing that the request had in it.
    pub(crate) fn audit(&self) -> String {
        let more = if self.audit.is_empty() { "" } else { ": " };
        format!("{}{more}{}", self.code.as_str(), self.audit)
    }

    /// 400, with the name of every parameter in `faults` both in the text and on its own.
    pub(crate) fn parameters(faults: Vec<Fault>) -> Problem {
        Problem::faults(Code::InvalidParameter, faults)
    }

    /// 422, with a pointer to each fault.
    pub(crate) fn body(faults: Vec<Invalid>) -> Problem {
        let fault = |it: Invalid| Fault {
            at: At::Pointer(it.pointer),
            detail: it.detail,
        };
        Problem::faults(Code::InvalidBody, faults.into_iter().map(fault).collect())
    }

    fn faults(code: Code, faults: Vec<Fault>) -> Problem {
        let line = |fault: &Fault| match &fault.at {
            At::Parameter(at) => format!("`{at}` {}", fault.detail),
            At::Pointer(at) if at.is_empty() => fault.detail.clone(),
            At::Pointer(at) => format!("{at}: {}", fault.detail),
        };
        let lines: Vec<String> = faults.iter().map(line).collect();
        let mut problem = Problem::new(code, lines.join("; "));
        problem.errors = faults;
        problem
    }

    /// 401, with the ways to log in (RFC 9110 §11.6.1).
    pub(crate) fn unauthenticated(detail: &str) -> Problem {
        Problem::new(Code::Unauthenticated, detail)
            .header(WWW_AUTHENTICATE, BASIC)
            .header(WWW_AUTHENTICATE, BEARER)
    }

    /// The same; a 401 does not make a browser ask for a password.
    pub(crate) fn without_prompt(mut self) -> Problem {
        self.headers
            .retain(|(name, value)| *name != WWW_AUTHENTICATE || *value == BEARER);
        self
    }

    /// 403. What would be needed is in the documentation, and for everybody the same.
    pub(crate) fn forbidden(audit: impl Into<String>) -> Problem {
        let mut problem = Problem::new(Code::Forbidden, "not allowed");
        problem.audit = audit.into();
        problem
    }

    /// The same; the audit log is to say as whom they tried.
    pub(crate) fn with_tried(mut self, tried: Option<String>) -> Problem {
        if let Some(name) = tried {
            self.audit = format!("as {name}");
        }
        self
    }

    /// 405, with the methods that the path has.
    pub(crate) fn method_not_allowed(allow: &str) -> Problem {
        let problem = Problem::new(
            Code::MethodNotAllowed,
            format!("this path takes {allow} only"),
        );
        match HeaderValue::try_from(allow) {
            Ok(allow) => problem.header(ALLOW, allow),
            Err(_) => problem,
        }
    }

    /// The same; where a condition does not hold, in the words of that condition.
    pub(crate) fn unmet(mut self, only: Precondition) -> Problem {
        let has_etag = self.headers.iter().any(|(name, _)| *name == ETAG);
        if self.code == Code::Changed {
            match only {
                Precondition::Absent => "it is there already".clone_into(&mut self.detail),
                Precondition::Present => "it is not there".clone_into(&mut self.detail),
                Precondition::Revision(_) if !has_etag => {
                    "it is not there any more".clone_into(&mut self.detail);
                }
                Precondition::Revision(_) | Precondition::None => {}
            }
        }
        self
    }

    /// 503, to be tried again in a second.
    pub(crate) fn busy(detail: &str) -> Problem {
        Problem::new(Code::Busy, detail).retry_after(Duration::from_secs(1))
    }

    /// 507: nobody knows yet.
    pub(crate) fn unsettled() -> Problem {
        Problem::from(ControlError::Unsettled)
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
        let code = self.code.as_str();
        let members = Members {
            r#type: format!("urn:restante:problem:{code}"),
            title: self.code.title(),
            status: self.code.status(),
            detail: self.detail,
            code,
            request_id: request_id.to_string(),
            errors: self.errors,
        };
        // Strings and a number, in no map: there is nothing that JSON lacks.
        let json = serde_json::to_vec(&members).expect("a problem is JSON");
        let status = StatusCode::from_u16(members.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
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

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Problem {
        let detail = error.to_string();
        match error {
            ControlError::NotFound(_) => Problem::new(Code::NotFound, detail),
            ControlError::Denied { verb, rule } => {
                let verb = verb.map(|verb| verb.as_str()).unwrap_or_default();
                Problem::forbidden(match rule {
                    Some(rule) => format!("{verb} by the rule {rule}"),
                    None => verb.to_owned(),
                })
            }
            ControlError::Changed { revision } => {
                let problem = Problem::new(Code::Changed, detail);
                match revision {
                    Some(revision) => problem.header(ETAG, conditions::etag(revision)),
                    None => problem,
                }
            }
            ControlError::Conflict(_) => Problem::new(Code::Conflict, detail),
            ControlError::Invalid(faults) => Problem::body(faults),
            ControlError::Full(_) => Problem::new(Code::Full, detail),
            ControlError::Unsettled => Problem::new(Code::Unsettled, detail),
            ControlError::TooLarge(_) => Problem::new(Code::TooLarge, detail),
            ControlError::ShuttingDown => {
                Problem::new(Code::ShuttingDown, detail).retry_after(Duration::from_secs(1))
            }
            ControlError::Internal => Problem::internal(),
            ControlError::InPart { done, why } => Problem {
                detail,
                in_part: Some(Box::new(done)),
                ..Problem::from(*why)
            },
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
