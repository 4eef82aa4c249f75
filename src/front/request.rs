//! What an HTTP request must be to become an MBWS connection (RFC 6455 §4.2.1, MBWS.md §3): a pure check, and the
//! answers to what is not.

use std::str;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode, Version};
use restante_proto::mbws::SUBPROTOCOL;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::origin;

/// The realm of a path that names none.
const REALM_DEFAULT: &str = "default";
/// Registered too, but published nowhere that we could read.
const SUBPROTOCOL_UNKNOWN: &str = "MBLWS.huawei.com";

/// A request that may become a connection, if its realm exists and its credentials are good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) realm: String,
    accept_key: String,
}

/// Why it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    NoSuchPath,
    NotAnUpgrade,
    BadVersion,
    BadKey,
    NoSubprotocol,
    UnknownSubprotocol,
    BadOrigin,
    NoSuchRealm,
    Unauthorized,
    Throttled,
    Busy,
    TooManyConnections,
}

impl Wanted {
    /// Reads a request's head.
    pub(super) fn read(head: &Parts, origins: &[String]) -> Result<Self, Refused> {
        let realm = realm(head.uri.path()).ok_or(Refused::NoSuchPath)?;
        if !is_upgrade(head) {
            return Err(Refused::NotAnUpgrade);
        }
        if text(&head.headers, &header::SEC_WEBSOCKET_VERSION) != Some("13") {
            return Err(Refused::BadVersion);
        }
        let accept_key = accept_key(&head.headers).ok_or(Refused::BadKey)?;
        check_subprotocol(&head.headers)?;
        check_origin(&head.headers, origins)?;
        Ok(Wanted { realm, accept_key })
    }

    /// `101 Switching Protocols`, without any extension.
    pub(super) fn answer(&self) -> Response<Full<Bytes>> {
        let mut answer = Response::new(Full::default());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        let subprotocol = HeaderValue::from_static(SUBPROTOCOL);
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
        if let Ok(key) = HeaderValue::from_str(&self.accept_key) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
        }
        answer
    }
}

impl Refused {
    /// The name used in metrics and logs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Refused::NoSuchPath => "no-such-path",
            Refused::NotAnUpgrade => "not-an-upgrade",
            Refused::BadVersion => "bad-version",
            Refused::BadKey => "bad-key",
            Refused::NoSubprotocol => "no-subprotocol",
            Refused::UnknownSubprotocol => "unknown-subprotocol",
            Refused::BadOrigin => "bad-origin",
            Refused::NoSuchRealm => "no-such-realm",
            Refused::Unauthorized => "unauthorized",
            Refused::Throttled => "throttled",
            Refused::Busy => "busy",
            Refused::TooManyConnections => "too-many-connections",
        }
    }

    /// Status, and a text that says what would have been right.
    pub(super) fn told(self) -> (StatusCode, &'static str) {
        match self {
            Refused::NoSuchPath => (
                StatusCode::NOT_FOUND,
                "No such path. Clients connect to /mbws (realm default) or /mbws/REALM.\n",
            ),
            Refused::NotAnUpgrade => (
                StatusCode::UPGRADE_REQUIRED,
                "This path takes WebSocket connections only: GET, HTTP/1.1, Upgrade: websocket.\n",
            ),
            Refused::BadVersion => (
                StatusCode::UPGRADE_REQUIRED,
                "Sec-WebSocket-Version must be 13.\n",
            ),
            Refused::BadKey => (
                StatusCode::BAD_REQUEST,
                "Sec-WebSocket-Key must be there once, 16 bytes in base64.\n",
            ),
            Refused::NoSubprotocol => (
                StatusCode::BAD_REQUEST,
                "Sec-WebSocket-Protocol must offer MBWS.huawei.com, in this spelling.\n",
            ),
            Refused::UnknownSubprotocol => (
                StatusCode::BAD_REQUEST,
                "MBLWS.huawei.com is not spoken here: no text of it is published. Offer MBWS.huawei.com.\n",
            ),
            Refused::BadOrigin => (
                StatusCode::FORBIDDEN,
                "Pages of this origin may not connect. The operator can allow it: mbws.origins.\n",
            ),
            Refused::NoSuchRealm => (StatusCode::NOT_FOUND, "No such realm.\n"),
            Refused::Unauthorized => (StatusCode::UNAUTHORIZED, "Wrong credentials.\n"),
            Refused::Throttled => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many wrong credentials from this address. Wait a minute.\n",
            ),
            Refused::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many clients at once are saying who they are. Try again in a moment.\n",
            ),
            Refused::TooManyConnections => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many connections. Try again later.\n",
            ),
        }
    }

    /// The whole answer.
    pub(super) fn answer(self) -> Response<Full<Bytes>> {
        let (status, text) = self.told();
        let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
        *answer.status_mut() = status;
        for (name, value) in self.headers() {
            let value = HeaderValue::from_static(value);
            answer.headers_mut().insert(name, value);
        }
        answer
    }

    fn headers(self) -> Vec<(HeaderName, &'static str)> {
        let mut headers = vec![
            (header::CONNECTION, "close"),
            (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        ];
        match self {
            Refused::NotAnUpgrade => headers.push((header::UPGRADE, "websocket")),
            Refused::BadVersion => headers.push((header::SEC_WEBSOCKET_VERSION, "13")),
            Refused::Unauthorized => {
                headers.push((header::WWW_AUTHENTICATE, r#"Basic realm="restante""#));
            }
            Refused::Throttled | Refused::TooManyConnections => {
                headers.push((header::RETRY_AFTER, "60"));
            }
            Refused::Busy => headers.push((header::RETRY_AFTER, "1")),
            Refused::NoSuchPath
            | Refused::BadKey
            | Refused::NoSubprotocol
            | Refused::UnknownSubprotocol
            | Refused::BadOrigin
            | Refused::NoSuchRealm => {}
        }
        headers
    }
}

/// The realm that a path means; none where it means nothing.
fn realm(path: &str) -> Option<String> {
    match path.strip_prefix("/mbws")? {
        "" => Some(REALM_DEFAULT.to_owned()),
        rest => percent_decoded(rest.strip_prefix('/')?).filter(|realm| !realm.is_empty()),
    }
}

/// RFC 3986 §2.1, of one path segment; none if there are more, or if it is not UTF-8.
fn percent_decoded(segment: &str) -> Option<String> {
    if segment.contains('/') {
        return None;
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            decoded.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = str::from_utf8(digits).ok()?;
        // `from_str_radix` would take a sign.
        let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        decoded.push(u8::from_str_radix(digits, 16).ok().filter(|_| hex)?);
        rest = after;
    }
    String::from_utf8(decoded).ok()
}

fn is_upgrade(head: &Parts) -> bool {
    head.method == Method::GET
        && head.version == Version::HTTP_11
        && tokens(&head.headers, &header::UPGRADE).any(|it| it.eq_ignore_ascii_case("websocket"))
        && tokens(&head.headers, &header::CONNECTION).any(|it| it.eq_ignore_ascii_case("upgrade"))
}

fn accept_key(headers: &HeaderMap) -> Option<String> {
    let key = text(headers, &header::SEC_WEBSOCKET_KEY)?;
    let nonce = STANDARD.decode(key).ok()?;
    (nonce.len() == 16).then(|| derive_accept_key(key.as_bytes()))
}

fn check_subprotocol(headers: &HeaderMap) -> Result<(), Refused> {
    // Tokens are compared as they are registered: the registry calls them case-sensitive (RFC 6455 §11.5).
    let offers =
        |token: &str| tokens(headers, &header::SEC_WEBSOCKET_PROTOCOL).any(|it| it == token);
    if offers(SUBPROTOCOL) {
        Ok(())
    } else if offers(SUBPROTOCOL_UNKNOWN) {
        Err(Refused::UnknownSubprotocol)
    } else {
        Err(Refused::NoSubprotocol)
    }
}

fn check_origin(headers: &HeaderMap, origins: &[String]) -> Result<(), Refused> {
    if !headers.contains_key(header::ORIGIN) {
        return Ok(()); // no browser
    }
    let host = text(headers, &header::HOST);
    let origin = text(headers, &header::ORIGIN).ok_or(Refused::BadOrigin)?;
    if origin::may_connect(origin, host, origins) {
        Ok(())
    } else {
        Err(Refused::BadOrigin)
    }
}

/// The value of a header that is there once and is visible ASCII.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    value.to_str().ok().map(str::trim)
}

/// The items of a header that is a list between commas, over all its lines.
fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}
