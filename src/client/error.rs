//! Everything that can end a client, or one of its wishes.

use std::sync::Arc;
use std::time::Duration;

use restante_proto::mbws::Code;
use thiserror::Error;
use tokio_tungstenite::tungstenite;

use crate::tls::TlsError;

/// Why a client, a consumer or one wish failed. Cheap to clone: everybody who waits on a client hears the same.
#[derive(Debug, Clone, Error)]
pub enum ClientError {
    /// The URL is not one of a broker.
    #[error("`{url}` is not a broker's URL: {why}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The files of [`ClientOptions::tls`](super::ClientOptions::tls) cannot be used.
    #[error("TLS cannot be used")]
    Tls(#[source] Arc<TlsError>),
    /// Its certificate does not pass; trying again does not change that.
    #[error("the broker at {url} cannot be trusted")]
    Untrusted {
        /// Where it should be.
        url: String,
        /// Why, and what to do.
        source: crate::tls::Untrusted,
    },
    /// No connection within the time given; try again later.
    #[error("cannot reach the broker at {url}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What the last attempt failed of.
        source: Arc<Broken>,
    },
    /// The credentials are wrong, or may not do this (HTTP 401, 403, or the codes `unauthorized` and `denied`).
    #[error("the broker at {url} refused the credentials (HTTP {status})")]
    Unauthorized {
        /// The broker.
        url: String,
        /// 401: not known; 403: not allowed.
        status: u16,
    },
    /// The broker answered the upgrade with something that trying again does not change.
    #[error("the broker at {url} refused the connection (HTTP {status}){}", upgrade_hint(url, *status))]
    Upgrade {
        /// The broker.
        url: String,
        /// Its HTTP status; 404: there is no such realm.
        status: u16,
    },
    /// The broker ended the connection for good.
    #[error("the broker ended the connection: {code}: {reason}")]
    Fatal {
        /// What, for programs.
        code: Code,
        /// What, for people.
        reason: String,
    },
    /// The broker no longer knows the session: what was unconfirmed may or may not have been stored.
    #[error(
        "the broker no longer knows the session; {unconfirmed} frames may or may not have been applied"
    )]
    SessionLost {
        /// How many sequenced frames had been sent and not confirmed.
        unconfirmed: u64,
    },
    /// The broker has less than it had confirmed: its data were lost or replaced.
    #[error("the broker forgot confirmed frames: it has {has}, and had confirmed {confirmed}")]
    Forgotten {
        /// The last seq that the broker now says is durable.
        has: u64,
        /// The last seq that it had confirmed.
        confirmed: u64,
    },
    /// The broker broke the protocol.
    #[error("the broker broke the protocol: {0}")]
    Protocol(&'static str),
    /// One frame was refused; the session goes on.
    #[error("refused: {0}")]
    Refused(Code),
    /// The message is larger than the broker takes; it was not sent.
    #[error("a message of about {bytes} bytes is larger than the broker's limit of {max}")]
    TooBig {
        /// No fewer than its frame has.
        bytes: usize,
        /// The broker's limit.
        max: usize,
    },
    /// The broker ended the consumer.
    #[error("the broker ended the consumer: {}{}", code.map_or("no reason given", Code::as_str),
        reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Cancelled {
        /// Why, for programs.
        code: Option<Code>,
        /// Why, for people.
        reason: Option<String>,
    },
    /// No reply came in time.
    #[error("no reply within {0:?}")]
    NoReply(Duration),
    /// The client, or the consumer, was closed by the application.
    #[error("closed")]
    Closed,
}

/// What a status most often means.
fn upgrade_hint(url: &str, status: u16) -> String {
    if status != 404 {
        return String::new();
    }
    match url.split_once("/mbws/") {
        Some((_, realm)) => format!(": there is no realm {realm}, or no MBWS at this path"),
        None => ": there is no MBWS at this path".into(),
    }
}

/// What a connection broke of; the client connects again.
#[derive(Debug, Error)]
pub enum Broken {
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// There was no TLS to be had: its files cannot be used, or the broker's certificate is not trusted.
    #[error("no TLS with the broker")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The WebSocket failed.
    #[error(transparent)]
    WebSocket(Box<tungstenite::Error>),
    /// The broker sent something that is no frame.
    #[error(transparent)]
    Decode(#[from] restante_proto::mbws::DecodeError),
    /// Nothing was heard for twice the heartbeat, or a handshake took too long.
    #[error("nothing heard for {0:?}")]
    Silent(Duration),
    /// The broker said goodbye.
    #[error("closed by the broker{}", .0.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
    Closed(Option<String>),
    /// The broker answered the upgrade with a status that may pass.
    #[error("HTTP {0}")]
    Http(u16),
}

impl From<tungstenite::Error> for Broken {
    fn from(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Io(error) => Broken::Io(error),
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
                Broken::Closed(None)
            }
            other => Broken::WebSocket(Box::new(other)),
        }
    }
}

/// How a connection ends: for now, or for good.
#[derive(Debug)]
pub(super) enum Stop {
    /// Connect again.
    Broken(Broken),
    /// There is no point in it.
    Fatal(ClientError),
}

impl<E: Into<Broken>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Broken(error.into())
    }
}
