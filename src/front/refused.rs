//! Why a request, or a connection, is refused: the name for metrics and logs, and the HTTP answer, which says what would
//! have been right.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// Why it may not come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    NoSuchPath,
    NotAnUpgrade,
    BadVersion,
    BadKey,
    NoSubprotocol,
    NoMqttSubprotocol,
    NoWampSubprotocol,
    NoSpSubprotocol,
    BadSpPath,
    BadSpOption,
    Denied,
    UnknownSubprotocol,
    BadOrigin,
    NoSuchRealm,
    Unauthorized,
    NoCredentials,
    Throttled,
    Busy,
    TooManyConnections,
    TooManyNewcomers,
}

impl Refused {
    /// The name used in metrics and logs.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Refused::NoSuchPath => "no-such-path",
            Refused::NotAnUpgrade => "not-an-upgrade",
            Refused::BadVersion => "bad-version",
            Refused::BadKey => "bad-key",
            Refused::NoSubprotocol
            | Refused::NoMqttSubprotocol
            | Refused::NoWampSubprotocol
            | Refused::NoSpSubprotocol => "no-subprotocol",
            Refused::BadSpPath => "bad-path",
            Refused::BadSpOption => "bad-option",
            Refused::Denied => "denied",
            Refused::UnknownSubprotocol => "unknown-subprotocol",
            Refused::BadOrigin => "bad-origin",
            Refused::NoSuchRealm => "no-such-realm",
            Refused::Unauthorized => "unauthorized",
            Refused::NoCredentials => "no-credentials",
            Refused::Throttled => "throttled",
            Refused::Busy => "busy",
            Refused::TooManyConnections => "too-many-connections",
            Refused::TooManyNewcomers => "too-many-unauthenticated",
        }
    }

    /// Status, and a text that says what would have been right.
    pub(super) fn told(self) -> (StatusCode, &'static str) {
        match self {
            Refused::NoSuchPath => (
                StatusCode::NOT_FOUND,
                "No such path. Clients connect to /mbws (realm default) or /mbws/REALM; by MQTT, if it is on, to /mqtt or \
                 /mqtt/REALM, or where mqtt.path says; by WAMP to /wamp or /ws, or where wamp.path says; \
                 by SP, if it is on, to /sp/ADDRESS.\n",
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
            Refused::NoMqttSubprotocol => (
                StatusCode::BAD_REQUEST,
                "Sec-WebSocket-Protocol must offer mqtt or mqttv3.1, in this spelling.\n",
            ),
            Refused::NoWampSubprotocol => (
                StatusCode::BAD_REQUEST,
                "Sec-WebSocket-Protocol must offer one of wamp.2.json, wamp.2.msgpack, wamp.2.cbor (each also with .batched) \
                 and wamp.2.ubjson, in this spelling.\n",
            ),
            Refused::NoSpSubprotocol => (
                StatusCode::BAD_REQUEST,
                "Sec-WebSocket-Protocol must offer one of SP's, like pull.sp.nanomsg.org for a PUSH.\n",
            ),
            Refused::BadSpPath => (
                StatusCode::BAD_REQUEST,
                "The path must be /sp/ADDRESS: segments between slashes, escaped with % where they have something else than \
                 letters, digits, -, ., _ and ~.\n",
            ),
            Refused::BadSpOption => (
                StatusCode::BAD_REQUEST,
                "Behind the ? go options: durable, prefix, settle, side and credit, each with what it is for.\n",
            ),
            Refused::Denied => (
                StatusCode::FORBIDDEN,
                "No rule lets this client use this address so.\n",
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
            Refused::NoCredentials => (
                StatusCode::UNAUTHORIZED,
                "No credentials were shown, in Authorization. Where programs cannot show any, the operator can let them in as a \
                 role: access.anonymous-role.\n",
            ),
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
            Refused::TooManyNewcomers => (
                StatusCode::TOO_MANY_REQUESTS,
                "Too many connections from this address have not said yet who they are. Try again later.\n",
            ),
        }
    }

    /// The whole answer.
    pub(super) fn answer(self) -> Response<Full<Bytes>> {
        self.answer_with("")
    }

    /// The same, with what is wrong in front.
    pub(super) fn answer_with(self, detail: &str) -> Response<Full<Bytes>> {
        let (status, text) = self.told();
        let text = match detail {
            "" => Bytes::from_static(text.as_bytes()),
            detail => format!("{detail}. {text}").into(),
        };
        let mut answer = Response::new(Full::new(text));
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
            Refused::Unauthorized | Refused::NoCredentials => {
                headers.push((header::WWW_AUTHENTICATE, r#"Basic realm="restante""#));
            }
            Refused::Throttled | Refused::TooManyConnections | Refused::TooManyNewcomers => {
                headers.push((header::RETRY_AFTER, "60"));
            }
            Refused::Busy => headers.push((header::RETRY_AFTER, "1")),
            Refused::NoSuchPath
            | Refused::BadKey
            | Refused::NoSubprotocol
            | Refused::NoMqttSubprotocol
            | Refused::NoWampSubprotocol
            | Refused::NoSpSubprotocol
            | Refused::BadSpPath
            | Refused::BadSpOption
            | Refused::Denied
            | Refused::UnknownSubprotocol
            | Refused::BadOrigin
            | Refused::NoSuchRealm => {}
        }
        headers
    }
}
