//! The broker that is measured, as its clients see it; and any other place where SP is spoken.

use std::net::SocketAddr;

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::super::door::resolve;
use super::super::process::Process;
use super::super::target::{Start, Target};
use super::Sp;
use crate::cli::{Global, UsageError};
use crate::client::Credentials;

/// Where a client goes to.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) address: SocketAddr,
    pub(super) host: String,
    /// Path and query.
    pub(super) path: String,
    /// The value of `Authorization`.
    pub(super) authorization: Option<String>,
}

impl Place {
    /// Of a URL.
    ///
    /// # Errors
    /// It is none of WebSocket without TLS, or its host is not found.
    pub(super) async fn of(url: &str) -> anyhow::Result<Place> {
        let rest = url.strip_prefix("ws://").filter(|rest| !rest.is_empty());
        let Some(rest) = rest else {
            return Err(UsageError(format!("`{url}` is not like ws://127.0.0.1:9000/path")).into());
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Place {
            address: resolve(host, 80).await?,
            host: host.to_owned(),
            path: format!("/{path}"),
            authorization: None,
        })
    }

    /// As a program of nng is told of it.
    pub(super) fn url(&self) -> String {
        format!("ws://{}{}", self.host, self.path)
    }
}

/// A broker of ours.
pub(super) struct Door {
    pub(super) target: Target,
    pub(super) process: Option<Process>,
    /// Where other hubs than ours are, for PUBs and for SUBs.
    pub(super) peer: Option<(Place, Place)>,
    base: Place,
}

impl Door {
    /// Starts a broker, or takes the one named.
    ///
    /// # Errors
    /// It does not start, or its URL says nothing.
    pub(super) async fn open(args: &Sp, global: &Global) -> anyhow::Result<Door> {
        let peer = match (&args.peer_pub, &args.peer_sub) {
            (Some(publish), Some(subscribe)) => {
                Some((Place::of(publish).await?, Place::of(subscribe).await?))
            }
            _ => None,
        };
        let connections = args.subscribers.max(args.senders + args.takers) + 100;
        let start = Start {
            pid: args.pid,
            durable_sessions: false,
            settings: vec![(
                "RESTANTE_LIMITS_CONNECTIONS_PER_PRINCIPAL",
                connections.to_string(),
            )],
        };
        let target = Target::start(start, global).await?;
        let options = target.options();
        let mut base = Place::of(&options.url).await?;
        base.authorization = shown(&options.credentials);
        Ok(Door {
            process: target.pid.map(Process::new),
            target,
            peer,
            base,
        })
    }

    /// Where that address is; `query` with its mark, or nothing.
    pub(super) fn place(&self, address: &str, query: &str) -> Place {
        let path = format!("/sp/{address}{query}");
        Place {
            path,
            ..self.base.clone()
        }
    }

    /// Ends a broker of our own.
    ///
    /// # Errors
    /// It had ended before.
    pub(super) fn close(self) -> anyhow::Result<()> {
        self.target.stop().context("the broker is not there")
    }
}

fn shown(credentials: &Credentials) -> Option<String> {
    match credentials {
        Credentials::None => None,
        Credentials::Token(token) => Some(format!("Bearer {token}")),
        Credentials::Password { user, password } => {
            let both = BASE64_STANDARD.encode(format!("{user}:{password}"));
            Some(format!("Basic {both}"))
        }
    }
}
