//! Sessions that do nothing: what one costs in memory.

use std::time::Duration;

use anyhow::Context;

use super::load::{Load, Measured};
use super::target::Target;

/// For buffers of the handshakes to be given back.
const SETTLE: Duration = Duration::from_secs(1);

/// Opens the sessions and compares the broker's memory.
///
/// # Errors
/// The process is not known, or a session cannot be opened.
pub(super) async fn measure(target: &Target, load: Load) -> anyhow::Result<Measured> {
    let Some(pid) = target.pid else {
        eprintln!("idle: name the broker's process with --pid to see its memory");
        return Ok(Measured::nothing());
    };
    let before = resident_kib(pid)?;
    let clients = target.clients(load.connections, 1).await?;
    tokio::time::sleep(SETTLE).await;
    let after = resident_kib(pid)?;
    let mut measured = Measured::nothing();
    measured.kib_per_session =
        Some((after as f64 - before as f64) / f64::from(load.connections.max(1)));
    drop(clients);
    Ok(measured)
}

/// The memory of a process that is resident, in KiB.
///
/// # Errors
/// There is no such process.
pub(super) fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid}"))?;
    parse_resident_kib(&status).context("no VmRSS in its status")
}

fn parse_resident_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_found() {
        let status = "Name:\tx\nVmRSS:\t   12345 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(parse_resident_kib(status), Some(12345));
        assert!(resident_kib(std::process::id()).unwrap() > 0);
    }
}
