//! One HTTP exchange, for the admin API and the metrics.

use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderName};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::client::{Credentials, connector};
use crate::tls::{ConnectOptions, Stream};

/// From connecting to the last byte.
const PATIENCE: Duration = Duration::from_secs(10);
/// More is no answer to what is asked here.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Nothing listens there.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach {url}")]
pub(super) struct Unreachable {
    url: String,
    source: std::io::Error,
}

/// What is asked.
pub(super) struct Question<'a> {
    /// Where, with the query.
    pub(super) url: &'a str,
    /// The method.
    pub(super) method: Method,
    /// Headers besides those of every request.
    pub(super) headers: Vec<(HeaderName, String)>,
    /// The body; empty: none.
    pub(super) body: Bytes,
    /// From connecting to the last byte of the answer.
    pub(super) patience: Duration,
}

/// The body of a successful answer.
///
/// # Errors
/// [`Unreachable`]; any other status than 200, with what the server said of it.
pub(super) async fn get(
    url: &str,
    credentials: &Credentials,
    tls: &ConnectOptions,
) -> anyhow::Result<Bytes> {
    let question = Question {
        url,
        method: Method::GET,
        headers: Vec::new(),
        body: Bytes::new(),
        patience: PATIENCE,
    };
    let answer = ask(question, credentials, tls).await?;
    let (status, body) = (answer.status(), answer.into_body());
    if status != StatusCode::OK {
        let said = String::from_utf8_lossy(body.get(..512.min(body.len())).unwrap_or_default());
        anyhow::bail!("{url} answered {status}: {}", said.trim());
    }
    Ok(body)
}

/// The answer, whatever its status.
///
/// # Errors
/// [`Unreachable`]; no answer in time, or none that is HTTP.
pub(super) async fn ask(
    question: Question<'_>,
    credentials: &Credentials,
    tls: &ConnectOptions,
) -> anyhow::Result<Response<Bytes>> {
    let (url, patience) = (question.url, question.patience);
    match timeout(patience, exchange(question, credentials, tls)).await {
        Ok(outcome) => outcome,
        Err(_) => anyhow::bail!("no answer from {url} within {patience:?}"),
    }
}

async fn exchange(
    question: Question<'_>,
    credentials: &Credentials,
    tls: &ConnectOptions,
) -> anyhow::Result<Response<Bytes>> {
    let url = question.url;
    let uri: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
    let stream = connect(url, &uri, tls).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::builder()
        .method(question.method)
        .uri(path)
        .header(HOST, authority)
        .header(ACCEPT, "*/*");
    for (name, value) in question.headers {
        request = request.header(name, value);
    }
    if let Some(value) = authorization(credentials) {
        request = request.header(AUTHORIZATION, value);
    }
    let answer = sender.send_request(request.body(Full::new(question.body))?);
    let answer = match answer.await {
        Ok(answer) => answer,
        Err(error) => return Err(cause(error, connection).await.into()),
    };
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(head, body))
}

/// Why a request was not sent: the connection knows, if it broke before.
async fn cause(
    error: hyper::Error,
    connection: JoinHandle<Result<(), hyper::Error>>,
) -> hyper::Error {
    match connection.await {
        Ok(Err(broken)) if error.is_canceled() => broken,
        _ => error,
    }
}

async fn connect(url: &str, uri: &Uri, tls: &ConnectOptions) -> anyhow::Result<Stream> {
    let (connector, port) = match uri.scheme_str() {
        Some("https") => (Some(connector(tls).await?), 443),
        Some("http") => (None, 80),
        _ => anyhow::bail!("`{url}` begins with neither http:// nor https://"),
    };
    let unreachable = |source| Unreachable {
        url: url.to_owned(),
        source,
    };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let address = (host, uri.port_u16().unwrap_or(port));
    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
    match connector {
        Some(connector) => Ok(connector.connect(host, stream).await.map_err(unreachable)?),
        None => Ok(stream.into()),
    }
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
