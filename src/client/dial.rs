//! From a URL to an open session: TCP, TLS, the WebSocket upgrade, `open` and `opened`, and the waits between attempts.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use restante_proto::mbws::{Accept, Frame, Open, SUBPROTOCOL, VERSION};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri, header};
use uuid::Uuid;

use super::conversation::stop_for;
use super::error::{Broken, ClientError, Stop};
use super::opening::Opening;
use super::options::{Binding, ClientOptions, Credentials};
use super::wire::{Incoming, Wire};
use crate::tls::{ConnectOptions, Connector, Stream, TlsError, Untrusted};

/// From the first packet to `opened`: what a broker that is alive needs, many times over.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Finds out before anything is tried whether the files of TLS can be used at all.
///
/// # Errors
/// [`ClientError::Tls`].
pub(super) async fn check_tls(options: &ClientOptions) -> Result<(), ClientError> {
    if is_tls(request(options)?.uri()) {
        let loaded = connector(&options.tls).await;
        loaded.map_err(|error| ClientError::Tls(Arc::new(error)))?;
    }
    Ok(())
}

/// Connects, again and again with backoff, until `deadline` (none: for ever).
///
/// # Errors
/// [`ClientError::Unreachable`] after the deadline; at once what trying again does not change.
pub(super) async fn dial_until(
    options: &ClientOptions,
    session: Uuid,
    deadline: Option<Instant>,
    mut failed: impl FnMut(&Broken),
) -> Result<(Wire, Opening), ClientError> {
    let request = request(options)?;
    let mut failures = 0;
    loop {
        let broken = match dial(options, &request, session).await {
            Ok(open) => return Ok(open),
            Err(Stop::Fatal(error)) => return Err(error),
            Err(Stop::Broken(broken)) => broken,
        };
        failures += 1;
        failed(&broken);
        let wait = options.reconnect.wait(failures, rand::random());
        let too_late = deadline.is_some_and(|deadline| Instant::now() + wait >= deadline);
        if too_late {
            return Err(ClientError::Unreachable {
                url: options.url.clone(),
                source: Arc::new(broken),
            });
        }
        sleep(wait).await;
    }
}

async fn dial(
    options: &ClientOptions,
    request: &Request,
    session: Uuid,
) -> Result<(Wire, Opening), Stop> {
    let attempt = async {
        let mut wire = upgrade(options, request.clone()).await?;
        let opening = open(&mut wire, options, session).await?;
        Ok((wire, opening))
    };
    match timeout(HANDSHAKE_MAX, attempt).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Stop::Broken(Broken::Silent(HANDSHAKE_MAX))),
    }
}

async fn upgrade(options: &ClientOptions, request: Request) -> Result<Wire, Stop> {
    let stream = match connect(options, request.uri()).await {
        Err(Broken::Tls(error)) => return Err(untrusted(error, &options.url)),
        connected => connected?,
    };
    match client_async_with_config(request, stream, Some(Wire::config())).await {
        Ok((socket, _)) => Ok(Wire::new(socket, options.binding)),
        Err(tungstenite::Error::Http(response)) => {
            Err(refused(&options.url, response.status().as_u16()))
        }
        Err(error) => Err(Stop::Broken(error.into())),
    }
}

async fn connect(options: &ClientOptions, uri: &Uri) -> Result<Stream, Broken> {
    let (host, port) = place(uri);
    // Before the connection is made: the broker's deadline for it runs from there.
    let connector = match is_tls(uri) {
        true => Some(
            connector(&options.tls)
                .await
                .map_err(|error| Broken::Tls(error.into()))?,
        ),
        false => None,
    };
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    match connector {
        Some(connector) => connector.connect(host, stream).await.map_err(tls_broken),
        None => Ok(stream.into()),
    }
}

/// Reads the files, away from the event loop.
pub(crate) async fn connector(options: &ConnectOptions) -> Result<Connector, TlsError> {
    let options = options.clone();
    match tokio::task::spawn_blocking(move || Connector::load(&options)).await {
        Ok(loaded) => loaded,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down, and this with it.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}

/// A certificate that does not pass is no broker that is away: trying again would only hide it.
fn untrusted(error: Box<dyn std::error::Error + Send + Sync>, url: &str) -> Stop {
    match Untrusted::of(error.as_ref()) {
        Some(source) => Stop::Fatal(ClientError::Untrusted {
            url: url.to_owned(),
            source: source.clone(),
        }),
        None => Stop::Broken(Broken::Tls(error)),
    }
}

/// Apart from a connection that broke, what went wrong is about TLS.
fn tls_broken(error: io::Error) -> Broken {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Broken::Tls(error.into()),
        _ => Broken::Io(error),
    }
}

fn is_tls(uri: &Uri) -> bool {
    uri.scheme_str() == Some("wss")
}

/// What an HTTP status instead of the upgrade means: server errors and "too many" pass, the rest does not.
fn refused(url: &str, status: u16) -> Stop {
    let url = url.to_owned();
    match status {
        401 | 403 => Stop::Fatal(ClientError::Unauthorized { url, status }),
        408 | 429 | 500..=599 => Stop::Broken(Broken::Http(status)),
        _ => Stop::Fatal(ClientError::Upgrade { url, status }),
    }
}

async fn open(wire: &mut Wire, options: &ClientOptions, session: Uuid) -> Result<Opening, Stop> {
    wire.queue(&Frame::Open(Open {
        version: VERSION,
        // Without an expiry nothing can be gone on with, and naming a session would be refused.
        session: (!options.expiry.is_zero()).then(|| session.to_string()),
        // Rounded up: less than a second is not "not at all".
        expiry: options.expiry.as_millis().div_ceil(1000) as u64,
        name: options.name.clone(),
        role: options.role,
        accept: match options.binding {
            Binding::Binary => Accept::Binary,
            Binding::Text => Accept::Text,
        },
        heartbeat: options.heartbeat,
        ..Open::default()
    }));
    loop {
        let frame = match wire.next().await? {
            Incoming::Frame(frame) => frame,
            Incoming::Sign | Incoming::Room => continue,
        };
        return match frame {
            Frame::Opened(opened) => Opening::parse(opened).map_err(Stop::Fatal),
            Frame::Error(error) => Err(stop_for(error.code, error.reason)),
            Frame::Close(close) => Err(Stop::Broken(Broken::Closed(close.reason))),
            _ => Err(Stop::Fatal(ClientError::Protocol(
                "its first frame was not `opened`",
            ))),
        };
    }
}

/// The upgrade request, checked once.
///
/// # Errors
/// [`ClientError::Url`].
pub(super) fn request(options: &ClientOptions) -> Result<Request, ClientError> {
    let bad = |why| ClientError::Url {
        url: options.url.clone(),
        why,
    };
    let uri: Uri = options.url.parse().map_err(|_| bad("not a URL"))?;
    match uri.scheme_str() {
        Some("ws" | "wss") => {}
        _ => return Err(bad("it must begin with ws:// or wss://")),
    }
    let mut request = options
        .url
        .as_str()
        .into_client_request()
        .map_err(|_| bad("it has no host"))?;
    let headers = request.headers_mut();
    headers.insert(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    );
    if let Some(text) = authorization(&options.credentials) {
        let mut value = HeaderValue::from_str(&text)
            .map_err(|_| bad("the credentials have characters that HTTP cannot carry"))?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

fn authorization(credentials: &Credentials) -> Option<String> {
    match credentials {
        Credentials::None => None,
        Credentials::Password { user, password } => {
            let pair = STANDARD.encode(format!("{user}:{password}"));
            Some(format!("Basic {pair}"))
        }
        Credentials::Token(token) => Some(format!("Bearer {token}")),
    }
}

fn place(uri: &Uri) -> (&str, u16) {
    let host = uri.host().unwrap_or_default();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let port = if is_tls(uri) { 443 } else { 80 };
    (bare.unwrap_or(host), uri.port_u16().unwrap_or(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_checked_before_anything_is_tried() {
        let check = |url: &str| request(&ClientOptions::new(url)).is_ok();
        assert!(check("ws://127.0.0.1:7300/mbws"));
        assert!(check("ws://[::1]:7300/mbws/realm"));
        assert!(check("wss://host/mbws"));
        assert!(!check("http://host/mbws"));
        assert!(!check("host:7300"));
        assert!(!check("ws:///mbws"));
    }

    #[test]
    fn an_ipv6_host_loses_its_brackets() {
        let uri: Uri = "ws://[::1]:7300/mbws".parse().unwrap();
        assert_eq!(place(&uri), ("::1", 7300));
        let uri: Uri = "ws://broker/mbws".parse().unwrap();
        assert_eq!(place(&uri), ("broker", 80));
        let uri: Uri = "wss://broker/mbws".parse().unwrap();
        assert_eq!(place(&uri), ("broker", 443));
    }

    #[test]
    fn credentials_become_an_authorization() {
        let mut options = ClientOptions::new("ws://h/mbws");
        options.credentials = Credentials::Password {
            user: "ada".into(),
            password: "love".into(),
        };
        let value = request(&options).unwrap().headers()[header::AUTHORIZATION].clone();
        assert_eq!(value, "Basic YWRhOmxvdmU=");
        options.credentials = Credentials::Token("t".into());
        let value = request(&options).unwrap().headers()[header::AUTHORIZATION].clone();
        assert_eq!(value, "Bearer t");
    }
}
