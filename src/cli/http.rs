//! One HTTP GET, for the admin API and the metrics.

use std::time::Duration;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::Credentials;

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

/// The body of a successful answer.
///
/// # Errors
/// [`Unreachable`]; any other status than 200, with what the server said of it.
pub(super) async fn get(url: &str, credentials: &Credentials) -> anyhow::Result<Bytes> {
    match timeout(PATIENCE, exchange(url, credentials)).await {
        Ok(outcome) => outcome,
        Err(_) => anyhow::bail!("no answer from {url} within {PATIENCE:?}"),
    }
}

async fn exchange(url: &str, credentials: &Credentials) -> anyhow::Result<Bytes> {
    let uri: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
    anyhow::ensure!(
        uri.scheme_str() == Some("http"),
        "`{url}` does not begin with http://"
    );
    let host = uri.host().unwrap_or_default();
    let address = (host.trim_matches(['[', ']']), uri.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| Unreachable {
            url: url.to_owned(),
            source,
        })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::get(path)
        .header(HOST, authority)
        .header(ACCEPT, "*/*");
    if let Some(value) = authorization(credentials) {
        request = request.header(AUTHORIZATION, value);
    }
    let answer = sender.send_request(request.body(Empty::<Bytes>::new())?);
    let answer = answer.await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
    let body = body.collect().await.map_err(anyhow::Error::from_boxed)?;
    let body = body.to_bytes();
    connection.abort();
    if status != StatusCode::OK {
        let said = String::from_utf8_lossy(body.get(..512.min(body.len())).unwrap_or_default());
        anyhow::bail!("{url} answered {status}: {}", said.trim());
    }
    Ok(body)
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
