//! The broker that a load goes to, and what is known of its process.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;

use super::process::Process;
use super::target::{Start, Target};
use crate::cli::Global;

/// A broker, and how its clients get in.
pub(super) struct Door<E> {
    pub(super) entrance: Arc<E>,
    /// Its process, if it is known.
    pub(super) process: Option<Process>,
    own: Option<Target>,
}

/// Starts a broker with these variables.
///
/// # Errors
/// It does not start.
pub(super) async fn start(
    settings: Vec<(&'static str, String)>,
    global: &Global,
) -> anyhow::Result<Target> {
    let start = Start {
        pid: None,
        durable_sessions: false,
        settings,
    };
    Target::start(start, global).await
}

/// The address of a host that may have a port.
///
/// # Errors
/// It is not found.
pub(super) async fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.ends_with(']'));
    let host = if has_port {
        host.to_owned()
    } else {
        format!("{host}:{port}")
    };
    let mut found = tokio::net::lookup_host(&host)
        .await
        .with_context(|| format!("cannot find {host}"))?;
    found
        .next()
        .with_context(|| format!("{host} has no address"))
}

impl<E> Door<E> {
    /// A broker that runs already.
    pub(super) fn of(entrance: E, pid: Option<u32>) -> Self {
        Door {
            entrance: Arc::new(entrance),
            process: pid.map(Process::new),
            own: None,
        }
    }

    /// One of our own.
    pub(super) fn of_own(entrance: E, own: Target) -> Self {
        let pid = own.pid;
        Door {
            own: Some(own),
            ..Door::of(entrance, pid)
        }
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

    /// Memory of the broker that is resident, in KiB, if its process is known.
    ///
    /// # Errors
    /// It is gone.
    pub(super) fn resident_kib(&self) -> anyhow::Result<Option<u64>> {
        self.process.map(Process::resident_kib).transpose()
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
