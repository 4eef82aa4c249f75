//! The router that is measured, as its WAMP clients see it.

use std::net::SocketAddr;

use anyhow::Context;
use restante_proto::wamp::Serializer;

use super::super::door;
use super::Wamp;
use super::carrier::Carrier;
use crate::cli::access::credentials;
use crate::cli::{Global, UsageError};
use crate::client::Credentials;

/// The realm where none is named.
const REALM: &str = "default";
/// Where a broker of our own speaks WAMP over WebSocket.
const PATH: &str = "/wamp";

/// How to get in.
#[derive(Debug, Clone)]
pub(super) struct Entrance {
    pub(super) address: SocketAddr,
    pub(super) carrier: Carrier,
    /// Of WebSocket.
    pub(super) host: String,
    /// Of WebSocket.
    pub(super) path: String,
    pub(super) serializer: Serializer,
    pub(super) realm: String,
    pub(super) user: Option<String>,
    pub(super) ticket: Option<String>,
}

impl Entrance {
    /// How clients speak there.
    pub(super) fn name(&self) -> &'static str {
        match (self.carrier, self.serializer) {
            (Carrier::RawSocket, Serializer::Json) => "rs json",
            (Carrier::RawSocket, Serializer::MsgPack) => "rs msgpack",
            (Carrier::RawSocket, Serializer::Cbor) => "rs cbor",
            (Carrier::RawSocket, _) => "rs ubjson",
            (Carrier::WebSocket, Serializer::Json) => "ws json",
            (Carrier::WebSocket, Serializer::MsgPack) => "ws msgpack",
            (Carrier::WebSocket, Serializer::Cbor) => "ws cbor",
            (Carrier::WebSocket, _) => "ws ubjson",
        }
    }

    fn shown(mut self, shown: Credentials) -> Entrance {
        (self.user, self.ticket) = match shown {
            Credentials::None => (None, None),
            Credentials::Password { user, password } => (Some(user), Some(password)),
            Credentials::Token(token) => (None, Some(token)),
        };
        self
    }
}

/// A router, as its WAMP clients see it.
pub(super) type Door = door::Door<Entrance>;

/// Starts a broker, or takes the router named.
///
/// # Errors
/// It does not start, or its URL says nothing.
pub(super) async fn open(args: &Wamp, global: &Global) -> anyhow::Result<Door> {
    let realm = global.realm.clone().unwrap_or_else(|| REALM.to_owned());
    let entrance = |(address, carrier, host, path)| Entrance {
        address,
        carrier,
        host,
        path,
        serializer: args.serializer.of_wire(),
        realm,
        user: None,
        ticket: None,
    };
    if let Some(url) = &global.url {
        let entrance = entrance(read_url(url).await?).shown(credentials(global)?);
        return Ok(Door::of(entrance, args.pid));
    }
    let own = door::start(settings(args), global).await?;
    let address = own.address().context("a broker of our own has a port")?;
    let there = (
        address,
        args.transport,
        address.to_string(),
        PATH.to_owned(),
    );
    let entrance = entrance(there).shown(own.options().credentials.clone());
    Ok(Door::of_own(entrance, own))
}

/// Limits of a broker of our own that are beyond what is measured.
fn settings(args: &Wamp) -> Vec<(&'static str, String)> {
    let sessions = args.sessions.max(args.subscribers).max(2 * args.clients);
    let connections = u64::from(sessions) + u64::from(args.patterns / 1000) + 1000;
    vec![
        ("RESTANTE_LIMITS_CONNECTIONS", connections.to_string()),
        (
            "RESTANTE_LIMITS_CONNECTIONS_PER_PRINCIPAL",
            connections.to_string(),
        ),
    ]
}

async fn read_url(url: &str) -> anyhow::Result<(SocketAddr, Carrier, String, String)> {
    let refused = || {
        UsageError(format!(
            "`{url}` is not like rs://127.0.0.1:8080 or ws://127.0.0.1:8080/ws"
        ))
    };
    let (carrier, rest) = match url.split_once("://") {
        Some(("rs", rest)) => (Carrier::RawSocket, rest),
        Some(("ws", rest)) => (Carrier::WebSocket, rest),
        _ => return Err(refused().into()),
    };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if host.is_empty() {
        return Err(refused().into());
    }
    let address = door::resolve(host, 8080).await?;
    Ok((address, carrier, host.to_owned(), format!("/{path}")))
}
