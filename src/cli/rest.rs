//! The admin API, as commands see it: paths out of names, pages to their end, problems in one line.
//!
//! Always, each with a test of its name in `tests/whole/commands.rs` or below: `names_are_one_segment_each`,
//! `a_list_is_read_to_its_last_page`, `a_refusal_is_one_line_with_what_to_do`.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{
    CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER,
};
use serde_json::Value;

use super::access::{credentials, tls};
use super::http::{self, Question};
use super::{Global, UsageError};
use crate::client::Credentials;
use crate::tls::ConnectOptions;

/// The admin API where none is named.
const URL: &str = "http://127.0.0.1:7301";
/// The realm where none is named.
const REALM: &str = "default";
/// Items of a page.
const PAGE: u64 = 500;
/// To apply definitions or to move messages takes its time.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of an answer that is no problem is shown.
const SHOWN_CHARS_MAX: usize = 200;

/// Where the admin API is.
pub(super) fn admin_url(global: &Global) -> &str {
    let url = global.admin_url.as_deref().unwrap_or(URL);
    url.trim_end_matches('/')
}

/// The admin API of a broker, and who asks it.
pub(super) struct Rest {
    base: String,
    credentials: Credentials,
    tls: ConnectOptions,
    realm: Option<String>,
}

impl Rest {
    /// Of the broker that the options name.
    ///
    /// # Errors
    /// A secret's file that cannot be read.
    pub(super) fn new(global: &Global) -> anyhow::Result<Rest> {
        Ok(Rest {
            base: admin_url(global).to_owned(),
            credentials: credentials(global)?,
            tls: tls(global),
            realm: global.realm.clone(),
        })
    }

    /// The realm to work in.
    pub(super) fn realm(&self) -> &str {
        self.realm.as_deref().unwrap_or(REALM)
    }

    /// The realm, if one was named: lists are of all realms otherwise.
    pub(super) fn named_realm(&self) -> Option<&str> {
        self.realm.as_deref()
    }

    /// The answer.
    ///
    /// # Errors
    /// [`Refused`]: the broker said no. [`http::Unreachable`]. Anything that is no answer of an admin API.
    pub(super) async fn ask(&self, ask: Ask) -> anyhow::Result<Answer> {
        let mut url = format!("{}{}", self.base, ask.path);
        for (index, (name, value)) in ask.query.iter().enumerate() {
            let mark = if index == 0 { '?' } else { '&' };
            url.push_str(&format!("{mark}{}={}", escape(name), escape(value)));
        }
        let mut headers = Vec::new();
        headers.extend(ask.only.header());
        let mut body = Bytes::new();
        if let Some(json) = &ask.body {
            headers.push((CONTENT_TYPE, "application/json".to_owned()));
            body = Bytes::from(serde_json::to_vec(json)?);
        }
        let question = Question {
            url: &url,
            method: ask.method,
            headers,
            body,
            patience: PATIENCE,
        };
        let answer = http::ask(question, &self.credentials, &self.tls).await?;
        let status = answer.status().as_u16();
        if !answer.status().is_success() {
            return Err(Refused::read(status, answer.headers(), answer.body()).into());
        }
        let etag = text(answer.headers(), &ETAG);
        let body = match answer.body() {
            empty if empty.is_empty() => Value::Null,
            json => serde_json::from_slice(json).map_err(|_| {
                anyhow::anyhow!("{url} answered with no JSON: is this the admin API?")
            })?,
        };
        Ok(Answer { status, etag, body })
    }

    /// The items of a list, up to `most`, from as many pages as it takes.
    ///
    /// # Errors
    /// As [`Rest::ask`].
    pub(super) async fn list(&self, ask: Ask, most: Option<u64>) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let left = most.map_or(PAGE, |most| most.saturating_sub(items.len() as u64));
            if left == 0 {
                return Ok(items);
            }
            let page = ask
                .clone()
                .with("limit", left.min(PAGE))
                .maybe("after", after);
            let mut answer = self.ask(page).await?;
            let Some(Value::Array(page)) = answer.body.get_mut("items").map(Value::take) else {
                anyhow::bail!("{} answered with no list", self.base);
            };
            items.extend(page);
            let next = answer.body.get("next").and_then(Value::as_str);
            let Some(next) = next else {
                return Ok(items);
            };
            after = Some(next.to_owned());
        }
    }
}

/// What is asked of the API.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    body: Option<Value>,
    only: Only,
}

impl Ask {
    fn new(method: Method, path: String) -> Ask {
        Ask {
            method,
            path,
            query: Vec::new(),
            body: None,
            only: Only::Always,
        }
    }

    pub(super) fn get(path: String) -> Ask {
        Ask::new(Method::GET, path)
    }

    pub(super) fn delete(path: String) -> Ask {
        Ask::new(Method::DELETE, path)
    }

    pub(super) fn put(path: String, body: Value) -> Ask {
        Ask::new(Method::PUT, path).body(body)
    }

    /// PUT without a body: the path says it all.
    pub(super) fn bare_put(path: String) -> Ask {
        Ask::new(Method::PUT, path)
    }

    pub(super) fn post(path: String) -> Ask {
        Ask::new(Method::POST, path)
    }

    /// With this body.
    pub(super) fn body(mut self, body: Value) -> Ask {
        self.body = Some(body);
        self
    }

    /// With this parameter.
    pub(super) fn with(mut self, name: &str, value: impl ToString) -> Ask {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// With this parameter, if there is a value.
    pub(super) fn maybe(self, name: &str, value: Option<impl ToString>) -> Ask {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With this parameter, if it is set.
    pub(super) fn flag(self, name: &str, set: bool) -> Ask {
        self.maybe(name, set.then_some("true"))
    }

    /// Only if this is so.
    pub(super) fn only(mut self, only: Only) -> Ask {
        self.only = only;
        self
    }
}

/// What must be so for a change to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Only {
    /// Nothing.
    Always,
    /// It is not there.
    Absent,
    /// It is as it was when it had this ETag.
    As(String),
}

impl Only {
    fn header(&self) -> Option<(HeaderName, String)> {
        match self {
            Only::Always => None,
            Only::Absent => Some((IF_NONE_MATCH, "*".to_owned())),
            Only::As(etag) => Some((IF_MATCH, etag.clone())),
        }
    }
}

/// A good answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// 201: something was made.
    pub(super) status: u16,
    /// What it can be changed by.
    pub(super) etag: Option<String>,
    /// Null: there was none.
    pub(super) body: Value,
}

/// The broker said no. `Display` is one line with what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// The HTTP status.
    pub(super) status: u16,
    /// The problem's code, for programs; empty: it was no problem+json.
    pub(super) code: String,
    detail: String,
    retry_after: Option<String>,
}

impl std::error::Error for Refused {}

impl Refused {
    fn read(status: u16, headers: &HeaderMap, body: &[u8]) -> Refused {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let member = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
        let said = || {
            let text = String::from_utf8_lossy(body);
            text.trim().chars().take(SHOWN_CHARS_MAX).collect()
        };
        Refused {
            status,
            code: member("code").unwrap_or_default(),
            detail: member("detail").unwrap_or_else(said),
            retry_after: text(headers, &RETRY_AFTER),
        }
    }

    /// Whether it is about who asks.
    pub(super) fn is_denied(&self) -> bool {
        matches!(self.status, 401 | 403 | 429)
    }

    fn hint(&self) -> Option<String> {
        Some(match self.status {
            403 => "`restante whoami` says what you may do".into(),
            412 => "look at it again, then repeat the command".into(),
            413 => "limits.* of the broker's configuration say how much it takes".into(),
            429 | 503 => {
                let seconds = self.retry_after.as_deref().unwrap_or("a few");
                format!("try again in {seconds} s")
            }
            500 => "the broker's log says more".into(),
            404 if self.code.is_empty() => "is this the admin API of a broker?".into(),
            _ => return None,
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = if self.code.is_empty() {
            "no problem document"
        } else {
            &self.code
        };
        let detail = super::show::printable(&as_options(&self.detail));
        write!(f, "{detail} (HTTP {}, {code})", self.status)?;
        match self.hint() {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// What the broker says of fields, said of options: `/role: …` is `--role: …`. What is deeper is left as it is.
fn as_options(detail: &str) -> String {
    let option = |part: &str| {
        let (pointer, said) = part.split_once(": ")?;
        let field = pointer.strip_prefix('/')?;
        let mut parts = field.split('/');
        let (name, index) = (parts.next()?, parts.next());
        let is_list = index.is_none_or(|index| index.bytes().all(|byte| byte.is_ascii_digit()));
        let option = option_of(name).filter(|_| is_list && parts.next().is_none())?;
        Some(format!("--{option}: {said}"))
    };
    let parts = detail.split("; ");
    let parts: Vec<String> = parts
        .map(|part| option(part).unwrap_or_else(|| part.to_owned()))
        .collect();
    parts.join("; ")
}

/// The option that sets a field; none: it is an argument, or not one option alone.
fn option_of(field: &str) -> Option<&'static str> {
    Some(match field {
        "role" | "roles" => "role",
        "certificates" => "cert-name",
        "public_keys" => "public-key",
        "bindings" => "bind",
        "grants" => "grant",
        "ttl_ms" => "ttl",
        "max_messages" => "max-messages",
        "max_bytes" => "max-bytes",
        "max_attempts" => "max-attempts",
        "max_queues" => "max-queues",
        "max_connections" => "max-connections",
        "dead_letter" => "dead-letter",
        "history" => "history",
        "expires_at" => "expires-in",
        "grace_seconds" => "grace",
        "password" => "new-password-file",
        "description" => "description",
        "reason" => "reason",
        "to" => "to",
        "realm" => "realm",
        "principal" => "as",
        "verb" => "verb",
        _ => return None,
    })
}

/// The path of what these names lead to: each is one segment, whatever is in it.
///
/// # Errors
/// A name that no path can have.
pub(super) fn path(names: &[&str]) -> anyhow::Result<String> {
    let mut path = "/api/v1".to_owned();
    for name in names {
        if matches!(*name, "" | "." | "..") {
            return Err(UsageError(format!("`{name}` is no name")).into());
        }
        path.push('/');
        path.push_str(&escape(name));
    }
    Ok(path)
}

/// All but RFC 3986's unreserved characters as `%` and two digits.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn text(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_segment_each() {
        let at = |names: &[&str]| path(names).ok();
        assert_eq!(
            at(&["realms", "a", "queues", "orders/+/é #?%:x"]).as_deref(),
            Some("/api/v1/realms/a/queues/orders%2F%2B%2F%C3%A9%20%23%3F%25%3Ax")
        );
        assert_eq!(
            [at(&["realms", ".."]), at(&["realms", ""]), at(&["."])],
            [None, None, None]
        );
    }

    #[test]
    fn a_refusal_is_one_line_with_what_to_do() {
        let read = |status, body: &str| {
            Refused::read(status, &HeaderMap::new(), body.as_bytes()).to_string()
        };
        let line = read(
            404,
            r#"{"code":"not-found","detail":"there is no queue x"}"#,
        );
        assert_eq!(line, "there is no queue x (HTTP 404, not-found)");
        let line = read(403, r#"{"code":"forbidden","detail":"not allowed"}"#);
        assert!(
            line.ends_with("; `restante whoami` says what you may do"),
            "{line}"
        );
        let line = read(502, "<h1>\n\u{1b}[2J bad gateway");
        assert!(
            !line.contains(['\n', '\u{1b}']) && line.contains("502"),
            "{line}"
        );
        let invalid =
            r#"{"code":"invalid","detail":"/role: there is no role `x`; /roles/1: no; /a/b: no"}"#;
        let line = read(422, invalid);
        assert!(
            line.starts_with("--role: there is no role `x`; --role: no; /a/b: no"),
            "{line}"
        );
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, hyper::header::HeaderValue::from(30));
        let refused = Refused::read(429, &headers, b"{}");
        assert!(
            refused.to_string().ends_with("try again in 30 s"),
            "{refused}"
        );
    }
}
