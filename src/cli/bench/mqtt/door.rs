//! The broker that is measured, as its MQTT clients see it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use restante_proto::mqtt::{Secret, Str, Version};

use super::super::target::{Start, Target};
use super::Mqtt;
use super::process::Process;
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

/// A broker, and how to get in.
pub(super) struct Door {
    pub(super) entrance: Arc<Entrance>,
    /// Its process, if it is known.
    pub(super) process: Option<Process>,
    own: Option<Target>,
}

impl Door {
    /// Starts a broker, or takes the one named.
    ///
    /// # Errors
    /// It does not start, or its URL says nothing.
    pub(super) async fn open(args: &Mqtt, global: &Global) -> anyhow::Result<Door> {
        let version = if args.v3 { Version::V311 } else { Version::V5 };
        if let Some(url) = &global.url {
            let address = address_of(url).await?;
            return Ok(Door {
                entrance: Arc::new(entrance(address, version, credentials(global)?)?),
                process: args.pid.map(Process::new),
                own: None,
            });
        }
        let start = Start {
            pid: None,
            durable_sessions: false,
            settings: settings(args),
        };
        let own = Target::start(start, global).await?;
        let address = own.address().context("a broker of our own has a port")?;
        let shown = own.options().credentials.clone();
        Ok(Door {
            entrance: Arc::new(entrance(address, version, shown)?),
            process: own.pid.map(Process::new),
            own: Some(own),
        })
    }

    /// Kills a broker of our own and starts it again on the same folder; false: it is not ours.
    ///
    /// # Errors
    /// It does not start again.
    pub(super) async fn kill(&mut self) -> anyhow::Result<bool> {
        let Some(own) = &mut self.own else {
            return Ok(false);
        };
        own.kill().await?;
        self.process = own.pid.map(Process::new);
        Ok(true)
    }

    /// Processor time that the broker has used, if its process is known.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn cpu_seconds(&self) -> anyhow::Result<Option<f64>> {
        self.process.map(Process::cpu_seconds).transpose()
    }

    /// What it has used since.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn cpu_since(&self, before: Option<f64>) -> anyhow::Result<Option<f64>> {
        let now = self.cpu_seconds()?;
        Ok(now.zip(before).map(|(now, before)| now - before))
    }

    /// Ends a broker of our own.
    ///
    /// # Errors
    /// It had ended before.
    pub(super) fn close(self) -> anyhow::Result<()> {
        self.own.map_or(Ok(()), Target::stop)
    }
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
    let host = rest.trim_end_matches('/');
    let host = if host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.ends_with(']'))
    {
        host.to_owned()
    } else {
        format!("{host}:1883")
    };
    let mut found = tokio::net::lookup_host(&host)
        .await
        .with_context(|| format!("cannot find {host}"))?;
    found
        .next()
        .with_context(|| format!("{host} has no address"))
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
