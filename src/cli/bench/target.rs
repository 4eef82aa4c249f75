//! The broker that is measured: one of our own in a folder that goes away, or one that runs already.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::cli::Global;
use crate::cli::access::{Patience, client_options, credentials};
use crate::cli::rest::admin_url;
use crate::client::{Client, ClientOptions};

/// From starting the process to its first session.
const START_MAX: Duration = Duration::from_secs(60);
/// Between two looks whether it is there.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Sessions outlive their sockets by this, where they do.
const EXPIRY: Duration = Duration::from_secs(60);

/// What is to be started, or found.
pub(super) struct Start {
    /// The process of one that runs already.
    pub(super) pid: Option<u32>,
    /// Whether sessions outlive their sockets.
    pub(super) durable_sessions: bool,
    /// Variables of one that is started.
    pub(super) settings: Vec<(&'static str, String)>,
}

/// How to reach it, and what is known of it.
pub(super) struct Target {
    options: ClientOptions,
    /// How to ask for its metrics.
    pub(super) admin_url: String,
    /// Its process.
    pub(super) pid: Option<u32>,
    own: Option<Own>,
    folder: Folder,
}

/// A broker of our own. Dropped: it is killed.
struct Own {
    child: Child,
    port: u16,
    admin_port: u16,
    /// How its clients reach it.
    global: Global,
    start: Start,
}

impl Own {
    fn kill(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // Its data go away anyway.
        self.kill();
    }
}

/// A folder that goes away.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

impl Target {
    /// Starts a broker, or finds the one named.
    ///
    /// # Errors
    /// It does not start, or cannot be reached.
    pub(super) async fn start(start: Start, global: &Global) -> anyhow::Result<Target> {
        let folder = make_folder(global)?;
        if global.url.is_some() {
            let options = options(start.durable_sessions, global)?;
            return Ok(Target {
                options,
                admin_url: admin_url(global).to_owned(),
                pid: start.pid,
                own: None,
                folder,
            });
        }
        let (port, admin_port) = free_ports()?;
        let data = folder.0.join("data");
        let child = spawn(&folder.0, &data, (port, admin_port), &start.settings)?;
        let global = Global {
            url: Some(format!("ws://127.0.0.1:{port}/mbws")),
            realm: None,
            data: Some(data),
            key_file: None,
            user: None,
            password_file: None,
            ca: None,
            certificate: None,
            key: None,
            admin_url: None,
            json: false,
        };
        let mut target = Target {
            options: ClientOptions::new(""),
            admin_url: format!("http://127.0.0.1:{admin_port}"),
            pid: Some(child.id()),
            own: Some(Own {
                child,
                port,
                admin_port,
                global,
                start,
            }),
            folder,
        };
        target.ready().await?;
        Ok(target)
    }

    /// Kills a broker of our own, as the system does that has no memory left, and starts it again on its folder.
    ///
    /// # Errors
    /// It does not start again.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        let Some(own) = &mut self.own else {
            return Ok(());
        };
        own.kill();
        let ports = (own.port, own.admin_port);
        let data = self.folder.0.join("data");
        own.child = spawn(&self.folder.0, &data, ports, &own.start.settings)?;
        self.pid = Some(own.child.id());
        self.ready().await
    }

    /// Waits until the broker that was started takes a session.
    async fn ready(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while let Some(own) = &mut self.own {
            if let Some(status) = own.child.try_wait()? {
                let log = fs::read_to_string(self.folder.0.join("broker.log"));
                anyhow::bail!("the broker ended: {status}\n{}", log.unwrap_or_default());
            }
            // Its key is read again each time: the broker makes it as it starts.
            let options = options(own.start.durable_sessions, &own.global)?;
            match Client::connect(options.clone()).await {
                Ok(client) => {
                    client.close().await?;
                    self.options = options;
                    break;
                }
                // Not there yet, or there before its key.
                Err(error) if begun.elapsed() > START_MAX => {
                    return Err(error).context("the broker did not start");
                }
                Err(_early) => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Where a broker of our own listens.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let own = self.own.as_ref()?;
        Some(SocketAddr::from(([127, 0, 0, 1], own.port)))
    }

    /// Connects `n` clients with this window.
    ///
    /// # Errors
    /// One that cannot connect.
    pub(super) async fn clients(&self, n: u32, window: u32) -> anyhow::Result<Vec<Client>> {
        let mut clients = Vec::new();
        for _ in 0..n {
            let mut options = self.options.clone();
            options.window = window;
            clients.push(Client::connect(options).await?);
        }
        Ok(clients)
    }

    /// Credentials for the metrics.
    pub(super) fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// A folder on the disk that is measured.
    pub(super) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Ends the broker, if it is ours, and removes the folder.
    ///
    /// # Errors
    /// It had ended before.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        if let Some(own) = &mut self.own
            && let Some(status) = own.child.try_wait()?
        {
            anyhow::bail!("the broker ended while it was measured: {status}");
        }
        Ok(())
    }
}

fn options(durable_sessions: bool, global: &Global) -> anyhow::Result<ClientOptions> {
    let patience = Patience {
        timeout: Some(Duration::ZERO),
        expiry: None,
    };
    let expiry = if durable_sessions {
        EXPIRY
    } else {
        Duration::ZERO
    };
    let mut options = client_options(global, &patience, expiry)?;
    options.name = Some("restante bench".into());
    options.credentials = credentials(global)?;
    Ok(options)
}

fn make_folder(global: &Global) -> anyhow::Result<Folder> {
    let name = format!("restante-bench-{}", std::process::id());
    let folder = match (&global.data, &global.url) {
        // The data folder of a running broker is not to be written to: beside it is the same disk.
        (Some(data), Some(_)) => data.join("..").join(name),
        (Some(data), None) => data.join(name),
        (None, _) => PathBuf::from(name),
    };
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(Folder(folder))
}

/// Two ports that were free a moment ago.
fn free_ports() -> std::io::Result<(u16, u16)> {
    let first = TcpListener::bind("127.0.0.1:0")?;
    let second = TcpListener::bind("127.0.0.1:0")?;
    Ok((first.local_addr()?.port(), second.local_addr()?.port()))
}

fn spawn(
    folder: &Path,
    data: &Path,
    (port, admin_port): (u16, u16),
    settings: &[(&'static str, String)],
) -> anyhow::Result<Child> {
    let log = File::create(folder.join("broker.log"))?;
    let program = std::env::current_exe()?;
    let mut command = Command::new(&program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RESTANTE_") {
            command.env_remove(name);
        }
    }
    command
        .arg("serve")
        .arg("--data")
        .arg(data)
        .env("RESTANTE_LISTEN", format!("127.0.0.1:{port}"))
        .env("RESTANTE_ADMIN_LISTEN", format!("127.0.0.1:{admin_port}"))
        .env("RESTANTE_LOG_LEVEL", "warn")
        .env("RESTANTE_LIMITS_WINDOW", "8192")
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let doing = || format!("cannot start {}", program.display());
    command.spawn().with_context(doing)
}
