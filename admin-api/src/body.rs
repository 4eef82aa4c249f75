//! A request's body: read up to a limit, then JSON and nothing else.
//!
//! Also a body that nobody wants is read to its end, for the next request comes behind it on the same connection.
//!
//! Always, each with a test of its name below:
//! - `what_is_no_json_is_malformed`: broken, too deep, or with a key twice, which two readers may take differently.
//! - `what_does_not_fit_is_pointed_at`, in words that are no programmer's.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use tokio::time::timeout;

use crate::control::Invalid;
use crate::problem::{Code, Problem};
use crate::{strict, words};

/// More is not reserved on a client's word.
const RESERVE_BYTES_MAX: u64 = 64 * 1024;

/// Reads `body` whole.
///
/// # Errors
/// It is larger than `bytes_max` (seen before anything is read if the client said so), does not end within
/// `deadline`, or breaks off: 413, 408, 400.
pub(crate) async fn read(
    body: Incoming,
    bytes_max: u64,
    deadline: Duration,
) -> Result<Bytes, Problem> {
    let claimed = body.size_hint().lower();
    if claimed > bytes_max {
        return Err(too_large(bytes_max));
    }
    match timeout(deadline, collect(body, claimed, bytes_max)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            "the body did not arrive in time",
        )),
    }
}

async fn collect(mut body: Incoming, claimed: u64, bytes_max: u64) -> Result<Bytes, Problem> {
    let mut read = BytesMut::with_capacity(claimed.min(RESERVE_BYTES_MAX) as usize);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(malformed("the body is cut short or malformed"));
        };
        let Some(data) = frame.data_ref() else {
            continue; // Trailers say nothing to us.
        };
        if (read.len() + data.len()) as u64 > bytes_max {
            return Err(too_large(bytes_max));
        }
        read.extend_from_slice(data);
    }
    Ok(read.freeze())
}

/// Whether what the headers announce is JSON.
///
/// # Errors
/// It is not: 415.
pub(crate) fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let text = given.next().and_then(|value| value.to_str().ok());
    if text.is_some_and(is_json) && given.next().is_none() {
        return Ok(());
    }
    Err(Problem::new(
        Code::UnsupportedMediaType,
        "the body must be `Content-Type: application/json`",
    ))
}

fn is_json(text: &str) -> bool {
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    essence.eq_ignore_ascii_case("application/json")
        && parts
            .all(|it| it.is_empty() || it.to_ascii_lowercase().replace('"', "") == "charset=utf-8")
}

/// What the JSON in `body` says.
///
/// # Errors
/// It is no JSON: 400. It is not what is expected: 422, with a pointer to where.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Err(malformed("a JSON body is expected"));
    }
    let json = strict::json(body).map_err(|fault| malformed(&fault.to_string()))?;
    serde_path_to_error::deserialize(strict::Strict(json)).map_err(|fault| {
        let said = fault.inner().to_string();
        let mut pointer = pointer(fault.path());
        if let Some(field) = words::unknown_field(&said)
            && !pointer.ends_with(&format!("/{}", escape(field)))
        {
            pointer.push('/');
            pointer.push_str(&escape(field));
        }
        let detail = words::plain(&said);
        Problem::body(vec![Invalid { pointer, detail }])
    })
}

fn malformed(detail: &str) -> Problem {
    Problem::new(Code::MalformedBody, detail)
}

fn too_large(bytes_max: u64) -> Problem {
    Problem::new(
        Code::BodyTooLarge,
        format!("no more than {bytes_max} bytes"),
    )
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path.iter() {
        let part = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => escape(key),
            Segment::Enum { variant } => escape(variant),
            Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&part);
    }
    pointer
}

/// RFC 6901 §3.
fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;
    use serde_json::json;

    use super::*;
    use crate::document::Route;
    use crate::queue::PublishRequest;

    fn code<T: DeserializeOwned>(body: &str) -> Option<Code> {
        parse::<T>(body.as_bytes()).err().map(|it| it.code())
    }

    /// Where the one fault of a body is, and what.
    fn told<T: DeserializeOwned>(body: &str) -> (String, String) {
        let problem = parse::<T>(body.as_bytes()).err().unwrap();
        assert_eq!(problem.code(), Code::InvalidBody, "{body}");
        let (pointer, detail) = problem.first().unwrap();
        (pointer.to_owned(), detail.to_owned())
    }

    #[test]
    fn what_does_not_fit_is_said_in_plain_words() {
        use crate::document::{Rule, User};
        use crate::queue::{ExplainRequest, QueueSpec, Selection};
        let check = |told: (String, String), pointer: &str, detail: &str| {
            assert_eq!((&*told.0, &*told.1), (pointer, detail));
        };
        check(
            told::<Route>("[]"),
            "",
            "this must be an object, not a list",
        );
        check(told::<Route>("{}"), "", "`filter` is missing");
        check(
            told::<Route>(r#"{"filter":"a","to":[{"address":"b"},{}]}"#),
            "/to/1",
            "`address` is missing",
        );
        check(
            told::<Route>(r#"{"filter":null}"#),
            "/filter",
            "this must be text, not null",
        );
        check(
            told::<Route>(r#"{"filter":"a","to":{}}"#),
            "/to",
            "this must be a list, not an object",
        );
        check(
            told::<Route>(r#"{"filter":"a","to":["b"]}"#),
            "/to/0",
            "this must be an object, not text",
        );
        check(
            told::<Route>(r#"{"filter":"a","keep":"yes"}"#),
            "/keep",
            "this must be true or false, not text",
        );
        check(
            told::<Route>(r#"{"filter":"a","order":1.5}"#),
            "/order",
            "this must be a whole number from -2147483648 to 2147483647, not a number with a fraction",
        );
        check(
            told::<Route>(r#"{"filter":"a","order":99999999999}"#),
            "/order",
            "this must be a whole number from -2147483648 to 2147483647",
        );
        check(
            told::<QueueSpec>(r#"{"bindings":["a",7]}"#),
            "/bindings/1",
            "this must be text, not a number",
        );
        check(
            told::<QueueSpec>(r#"{"max_messages":-1}"#),
            "/max_messages",
            "this must be a whole number from 0 to 18446744073709551615",
        );
        check(
            told::<QueueSpec>(r#"{"max_message":1}"#),
            "/max_message",
            "there is no `max_message` here; there is `ttl_ms`, `max_messages`, `max_bytes`, `max_attempts`, \
             `dead_letter`, `bindings`, `history`",
        );
        check(
            told::<Rule>(r#"{"role":"a","filter":"b","verbs":["send","eat"]}"#),
            "/verbs/1",
            "this must be one of `send`, `consume`, `browse`, `manage`, `call`, `register`, not `eat`",
        );
        check(
            told::<Rule>(r#"{"role":"a","filter":"b","verbs":[7]}"#),
            "/verbs/0",
            "this must be one of a few words, not a number",
        );
        check(
            told::<User>(r#"{"roles":"a"}"#),
            "/roles",
            "this must be a list, not text",
        );
        check(
            told::<Selection>(r#"{"properties":{"a":1}}"#),
            "/properties/a",
            "this must be text, not a number",
        );
        check(told::<ExplainRequest>("{}"), "", "`message` is missing");
        check(
            told::<ExplainRequest>(r#"{"message":{}}"#),
            "/message",
            "`address` is missing",
        );
        check(
            told::<ExplainRequest>(r#"{"message":{"address":"a","priority":256}}"#),
            "/message/priority",
            "this must be a whole number from 0 to 255",
        );
    }

    #[test]
    fn what_is_no_json_is_malformed() {
        let deep = format!("{{\"to\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for body in [
            "",
            " ",
            "{",
            "}",
            "{}{}",
            "{\"a\":1,}",
            "'a'",
            "nul",
            "{\"a\":NaN}",
            "{\"a\":\"\u{1}\"}",
            r#"{"address":"a","address":"b"}"#,
            r#"{"address":"a","properties":{"x":"1","x":"1"}}"#,
            r#"{"address":"a","\u0061ddress":"b"}"#,
            "{\"address\":\"\\ud800\"}",
            "\u{feff}{}",
            &deep,
            &"[".repeat(1_000_000),
        ] {
            let head: String = body.chars().take(50).collect();
            assert_eq!(
                code::<PublishRequest>(body),
                Some(Code::MalformedBody),
                "{head}"
            );
        }
        assert!(parse::<serde_json::Value>(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn what_does_not_fit_is_pointed_at() {
        let pointer = |body: &str| told::<Route>(body).0;
        for (body, at) in [
            ("[]", ""),
            (r#"["", false, 0, "a"]"#, ""),
            (r#"{"filter":"a","to":[["b", 1]]}"#, "/to/0"),
            ("7", ""),
            ("null", ""),
            ("{}", ""),
            (r#"{"filter":7}"#, "/filter"),
            (r#"{"filter":"a","nope":1}"#, "/nope"),
            (r#"{"filter":"a","a/b~":1}"#, "/a~1b~0"),
            (r#"{"filter":"a","order":1.5}"#, "/order"),
            (r#"{"filter":"a","order":99999999999}"#, "/order"),
            (r#"{"filter":"a","to":{}}"#, "/to"),
            (
                r#"{"filter":"a","to":[{"address":"b"},{"address":1}]}"#,
                "/to/1/address",
            ),
            (r#"{"filter":"a","to":[{"address":"b","x":1}]}"#, "/to/0/x"),
            (r#"{"filter":"a","to":[{}]}"#, "/to/0"),
            (r#"{"filter":"a","choose":"some"}"#, "/choose"),
        ] {
            assert_eq!(pointer(body), at, "{body}");
        }
        let good = json!({"filter": "a", "to": [{"address": "b"}]}).to_string();
        assert!(parse::<Route>(good.as_bytes()).is_ok());
    }

    /// serde takes a list for a struct, field by field: nobody means that.
    #[test]
    fn a_list_is_no_object() {
        use crate::document::{Definitions, Realm, User};
        use crate::queue::{QueueSpec, Selection};
        for body in ["[]", "[null]", "[null, null]", r#"["x"]"#, "null", "7"] {
            assert_eq!(code::<Realm>(body), Some(Code::InvalidBody), "{body}");
            assert_eq!(code::<User>(body), Some(Code::InvalidBody), "{body}");
            assert_eq!(code::<QueueSpec>(body), Some(Code::InvalidBody), "{body}");
            assert_eq!(code::<Selection>(body), Some(Code::InvalidBody), "{body}");
            assert_eq!(code::<Definitions>(body), Some(Code::InvalidBody), "{body}");
        }
    }

    #[test]
    fn only_json_is_taken() {
        let outcome = |types: &[&'static str]| {
            let pairs = types
                .iter()
                .map(|it| (CONTENT_TYPE, HeaderValue::from_static(it)));
            check_type(&pairs.collect()).is_ok()
        };
        for good in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            assert!(outcome(&[good]), "{good}");
        }
        for bad in [
            &[][..],
            &["text/plain"],
            &["application/jsonx"],
            &["application/json; charset=utf-16"],
            &["text/plain; application/json"],
            &["application/x-www-form-urlencoded"],
            &["application/json", "application/json"],
        ] {
            assert!(!outcome(bad), "{bad:?}");
        }
    }
}
