//! The broker that is measured, as its MQTT clients see it.

use std::net::SocketAddr;

use anyhow::Context;
use restante_proto::mqtt::{Secret, Str, Version};

use super::super::door;
use super::Mqtt;
use crate::cli::access::credentials;
use crate::cli::{Global, UsageError};
use crate::client::Credentials;

/// How to get in.
#[derive(Debug, Clone)]
pub(super) struct Entrance {
    pub(super) address: SocketAddr,
    pub(super) version: Version,
    pub(super) user: Option<Str>,
    pub(super) password: Option<Secret>,
}

/// A broker, as its MQTT clients see it.
pub(super) type Door = door::Door<Entrance>;

/// Starts a broker, or takes the one named.
///
/// # Errors
/// It does not start, or its URL says nothing.
pub(super) async fn open(args: &Mqtt, global: &Global) -> anyhow::Result<Door> {
    let version = if args.v3 { Version::V311 } else { Version::V5 };
    if let Some(url) = &global.url {
        let address = address_of(url).await?;
        let entrance = entrance(address, version, credentials(global)?)?;
        return Ok(Door::of(entrance, args.pid));
    }
    let own = door::start(settings(args), global).await?;
    let address = own.address().context("a broker of our own has a port")?;
    let shown = own.options().credentials.clone();
    Ok(Door::of_own(entrance(address, version, shown)?, own))
}

/// Limits of a broker of our own that are beyond what is measured.
fn settings(args: &Mqtt) -> Vec<(&'static str, String)> {
    let messages = args.messages.unwrap_or(1_000_000).max(1_000_000);
    let connections = u64::from(args.connections.max(args.subscribers)) + 1000;
    vec![
        ("RESTANTE_LIMITS_CONNECTIONS", connections.to_string()),
        (
            "RESTANTE_LIMITS_CONNECTIONS_PER_PRINCIPAL",
            connections.to_string(),
        ),
        (
            "RESTANTE_MQTT_SESSION_MESSAGES_MAX",
            (4 * messages).to_string(),
        ),
        ("RESTANTE_MQTT_SESSION_BYTES_MAX", "64GiB".to_owned()),
        ("RESTANTE_MQTT_RETAINED_MAX", (2 * messages).to_string()),
    ]
}

async fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    let refused = || UsageError(format!("`{url}` is not like mqtt://127.0.0.1:1883"));
    let rest = url.strip_prefix("mqtt://").ok_or_else(refused)?;
    door::resolve(rest.trim_end_matches('/'), 1883).await
}

fn entrance(address: SocketAddr, version: Version, shown: Credentials) -> anyhow::Result<Entrance> {
    let (user, password) = match shown {
        Credentials::None => (None, None),
        Credentials::Password { user, password } => (Some(user), Some(password)),
        Credentials::Token(token) => (Some("cli".to_owned()), Some(token)),
    };
    Ok(Entrance {
        address,
        version,
        user: user.map(Str::try_from).transpose()?,
        password: password.map(|it| Secret(it.into())),
    })
}
