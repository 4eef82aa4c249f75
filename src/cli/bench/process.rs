//! What a process has used.

use anyhow::Context;

/// A broker's process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process(u32);

/// Clock ticks of `/proc` in a second: 100 on every Linux there is.
const TICKS: f64 = 100.0;

impl Process {
    pub(super) fn new(pid: u32) -> Process {
        Process(pid)
    }

    /// Memory that is resident, in KiB.
    ///
    /// # Errors
    /// There is no such process.
    pub(super) fn resident_kib(self) -> anyhow::Result<u64> {
        super::idle::resident_kib(self.0)
    }

    /// Seconds of processor time, its own and the kernel's for it.
    ///
    /// # Errors
    /// There is no such process.
    pub(super) fn cpu_seconds(self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0))
            .with_context(|| format!("process {}", self.0))?;
        parse_cpu_ticks(&stat)
            .map(|ticks| ticks as f64 / TICKS)
            .context("no times in its stat")
    }
}

/// `utime` and `stime`: the 12th and 13th behind the name, which may have anything in it.
fn parse_cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 25 17 0 0 20 0 1 0 100 1 2";
        assert_eq!(parse_cpu_ticks(stat), Some(42));
        assert_eq!(parse_cpu_ticks(""), None);
        assert!(Process::new(std::process::id()).cpu_seconds().is_ok());
    }
}
