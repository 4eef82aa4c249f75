//! nng's own programs beside ours: `ops/bench/sp_nng.c`.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::door::Place;
use super::row::Round;

/// The program.
pub(super) struct Nng(PathBuf);

/// One that runs. Dropped: it is killed.
pub(super) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Running {
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Nng {
    pub(super) fn new(program: &Path) -> Nng {
        Nng(program.to_owned())
    }

    /// A hub: where PUBs go to, and where SUBs do.
    ///
    /// # Errors
    /// It does not start.
    pub(super) async fn hub(&self) -> anyhow::Result<(Running, Place, Place)> {
        let (inner, outer) = (free_url("in")?, free_url("out")?);
        let running = self.start(&["hub", &inner, &outer]).await?;
        Ok((running, Place::of(&inner).await?, Place::of(&outer).await?))
    }

    /// One that listens and answers.
    ///
    /// # Errors
    /// It does not start.
    pub(super) async fn rep(&self) -> anyhow::Result<(Running, Place)> {
        let url = free_url("rep")?;
        let running = self.start(&["rep", &url]).await?;
        Ok((running, Place::of(&url).await?))
    }

    /// One that connects there, and answers.
    ///
    /// # Errors
    /// It is not let in.
    pub(super) async fn worker(&self, place: &Place) -> anyhow::Result<Running> {
        let url = place.url();
        let mut line = vec!["work", &url];
        line.extend(place.authorization.as_deref());
        self.start(&line).await
    }

    /// Asks there, one question at a time.
    ///
    /// # Errors
    /// It is not let in, or says nothing.
    pub(super) async fn ask(
        &self,
        place: &Place,
        size: u32,
        (warm_up, time): (Duration, Duration),
    ) -> anyhow::Result<Round> {
        let mut command = Command::new(&self.0);
        let millis = |time: Duration| time.as_millis().to_string();
        command
            .args(["ask", &place.url(), &size.to_string()])
            .args([millis(warm_up), millis(time)])
            .args(&place.authorization)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit());
        let output = tokio::task::spawn_blocking(move || command.output()).await??;
        ensure!(
            output.status.success(),
            "nng's REQ ended: {}",
            output.status
        );
        let said = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<f64> = said.split_whitespace().flat_map(str::parse).collect();
        let [p50, p99, n] = numbers.as_slice() else {
            anyhow::bail!("nng's REQ said `{said}`");
        };
        Ok(Round {
            rate: n / time.as_secs_f64(),
            p50_us: Some(p50 / 1e3),
            p99_us: Some(p99 / 1e3),
            ..Round::default()
        })
    }

    async fn start(&self, line: &[&str]) -> anyhow::Result<Running> {
        let mut command = Command::new(&self.0);
        command
            .args(line)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let doing = || format!("cannot start {}", self.0.display());
        let mut running = Running(command.spawn().with_context(doing)?);
        let output = running.0.stdout.take().context("its output")?;
        let said = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            BufReader::new(output).read_line(&mut line).map(|_| line)
        });
        let said = said.await??;
        ensure!(said.trim() == "ready", "{} is not ready", self.0.display());
        Ok(running)
    }
}

/// On a port that was free a moment ago.
fn free_url(name: &str) -> anyhow::Result<String> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    Ok(format!("ws://127.0.0.1:{port}/{name}"))
}
