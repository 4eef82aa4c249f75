//! `restante serve`: all wiring, start-up and drain.
//!
//! ```text
//! config ─▶ bind ─▶ lock, recover ─▶ credentials ─▶ serve ─▶ (signal | failed log) ─▶ drain ─▶ checkpoint ─▶ exit
//! ```
//!
//! What runs, and who owns it:
//!
//! | what | how many | made in | ends |
//! |---|---|---|---|
//! | runtime workers | one a core | here | last |
//! | accept loop, one task a listener | few | `front/accept.rs` | at the shutdown signal |
//! | one task a connection | `limits.connections` | `front/drive.rs` | with its socket, or drained |
//! | admin listener and its connections | 256 | `admin-api` | at the shutdown signal |
//! | log writer, spare-maker | 2 threads | `storage` | after the last session |
//! | core, keeper, checkpointer | 3 threads | `broker/start.rs` | after the log |
//! | password hashing | 2 at a time | `access` | with the runtime |
//!
//! Shutdown is one signal in, one drain with a deadline out: sessions confirm what is under way and close with 1001, the
//! log is synced, a last checkpoint is made, and the process exits with 0. A log that failed ends it with 1: what was
//! not confirmed then is not known to be stored, and the next start finds out.

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use restante_proto::mbws::Limits;
use restante_storage::{LogOptions, SyncPolicy};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

use crate::access::{self, AuthError, Authenticator, Credentials, Principal, Rules};
use crate::broker::{self, Broker, Started};
use crate::config::{self, Config, LogFormat};
use crate::control::Controller;
use crate::disk::MeteredDisk;
use crate::front::{self, Answer, Authenticate, NotBelieved, Proof};
use crate::session::mbws;

/// Product and version, as clients are told.
const SERVER: &str = concat!("restante/", env!("CARGO_PKG_VERSION"));

/// Runs the broker until it is told to stop.
///
/// # Errors
/// It could not start, or the log failed while it ran; the text says what to do.
pub fn run(config: &Config) -> Result<()> {
    init_logs(&config.log)?;
    let metrics = init_metrics()?;
    make_folder(&config.data)?;
    let runtime = Runtime::new().context("the runtime cannot be started")?;
    let listeners = runtime.block_on(bind(&config.listen, "listen"))?;
    let admin_listeners = runtime.block_on(bind(&config.admin.listen, "admin.listen"))?;
    let started = start_broker(config)?;
    let credentials = access::bootstrap(&config.data).context("the credentials cannot be used")?;
    let auth = Authenticator::new(credentials.store, config.limits.auth_attempts)
        .context("the machine gives no randomness")?;
    // Before anybody is told that it runs: from then on a signal means an orderly stop.
    let signals = runtime.block_on(async { Signals::catch() })?;
    announce(
        config,
        &listeners,
        &admin_listeners,
        &started,
        credentials.admin_password.as_ref().map(|it| it.expose()),
    );
    let wiring = Wiring {
        config,
        broker: started.broker.clone(),
        auth,
        metrics,
        signals,
    };
    let failed = runtime.block_on(wiring.serve(listeners, admin_listeners));
    let stopped = started.stop();
    if let Err(error) = failed.map_or(stopped, Err) {
        bail!(
            "{}: nothing was confirmed after that; look at the disk, then start again to recover what it holds",
            chain(&*error)
        );
    }
    tracing::info!("stopped");
    Ok(())
}

/// What the running broker is made of.
struct Wiring<'a> {
    config: &'a Config,
    broker: Broker,
    auth: Authenticator,
    metrics: PrometheusHandle,
    signals: Signals,
}

/// What tells the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn catch() -> Result<Signals> {
        let caught = |kind| signal(kind).context("signals cannot be heard");
        Ok(Signals {
            terminate: caught(SignalKind::terminate())?,
            interrupt: caught(SignalKind::interrupt())?,
        })
    }
}

impl Wiring<'_> {
    /// Serves until a signal or a failed log, then drains. Gives the log's error if that was it.
    async fn serve(
        self,
        listeners: Vec<TcpListener>,
        admin_listeners: Vec<TcpListener>,
    ) -> Option<Arc<restante_storage::LogError>> {
        let (shutdown, stopping) = watch::channel(false);
        let front = front::serve(
            listeners,
            self.broker.clone(),
            Arc::new(Door(self.auth.clone())),
            front_settings(self.config, &self.broker),
            stopping.clone(),
        );
        let front = tokio::spawn(front);
        let control = Arc::new(Controller::new(
            self.broker.clone(),
            self.auth,
            self.metrics.clone(),
        ));
        let options = restante_admin_api::Options {
            metrics_open: self.config.admin.metrics_open,
            ..restante_admin_api::Options::default()
        };
        let admin = tokio::spawn(restante_admin_api::serve(
            admin_listeners,
            control,
            options,
            stopping,
        ));
        let upkeep = tokio::spawn(upkeep(self.metrics));
        let failure = wait_for_the_end(&self.broker, self.signals).await;
        tracing::info!(connections = self.broker.n_attached(), "draining");
        self.broker.drain();
        shutdown.send_replace(true);
        for task in [front, admin] {
            if task.await.is_err() {
                tracing::error!("a server task broke down");
            }
        }
        upkeep.abort();
        failure
    }
}

/// Until the process is told to end, or the log fails.
async fn wait_for_the_end(
    broker: &Broker,
    mut signals: Signals,
) -> Option<Arc<restante_storage::LogError>> {
    let mut failed = broker.failed();
    tokio::select! {
        _ = signals.terminate.recv() => None,
        _ = signals.interrupt.recv() => None,
        error = failed.wait_for(Option::is_some) => {
            let error = error.ok().and_then(|error| error.clone())?;
            tracing::error!(error = chain(&*error), "the log failed: the broker stops");
            Some(error)
        }
    }
}

/// Keeps histograms from growing between scrapes.
async fn upkeep(metrics: PrometheusHandle) {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tick.tick().await;
        metrics.run_upkeep();
    }
}

fn start_broker(config: &Config) -> Result<Started> {
    let storage = &config.storage;
    let defaults = LogOptions::default();
    let options = LogOptions {
        segment_bytes: storage.segment_bytes,
        sync: match storage.sync {
            config::SyncPolicy::Always => SyncPolicy::Always,
            config::SyncPolicy::Interval => SyncPolicy::Interval(storage.sync_interval),
            config::SyncPolicy::Never => SyncPolicy::Never,
        },
        tail_bytes: clamp(storage.tail_bytes),
        in_flight_bytes_max: clamp(storage.in_flight_bytes),
        // A frame's header comes to the record beside its body, in another form.
        record_bytes_max: clamp(config.limits.frame_bytes.saturating_add(64 << 10))
            .max(defaults.record_bytes_max),
        ..defaults
    };
    let disk = Arc::new(MeteredDisk::new());
    let rules = Rules::new(config.rules.clone());
    Broker::start(
        &config.data,
        disk,
        options,
        broker::Settings::new(config),
        rules,
    )
    .with_context(|| format!("the data folder {} cannot be used", config.data.display()))
}

fn front_settings(config: &Config, broker: &Broker) -> front::Settings {
    let limits = &config.limits;
    front::Settings {
        connections_max: limits.connections,
        origins: config.mbws.origins.clone(),
        limits: Limits {
            frame_bytes_max: clamp(limits.frame_bytes),
            header_bytes_max: clamp(limits.header_bytes),
            properties_max: limits.properties,
            address_bytes_max: clamp(limits.address_bytes),
            address_segments_max: limits.address_segments,
            ..Limits::default()
        },
        attach_within: limits.handshake_time,
        drain: config.drain_time,
        mbws: mbws::Settings {
            broker: broker.node().to_string(),
            server: SERVER.to_owned(),
            window: u32::try_from(limits.window).unwrap_or(u32::MAX),
            frame_bytes_max: u32::try_from(limits.frame_bytes).unwrap_or(u32::MAX),
            heartbeat: config.mbws.heartbeat,
            open_within: limits.handshake_time,
            publish_rate: limits
                .publish_rate
                .and_then(|rate| NonZeroU32::new(u32::try_from(rate).unwrap_or(u32::MAX))),
        },
    }
}

fn clamp(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// How long an address may still belong to a broker that was killed a moment ago.
const IN_USE_MAX: Duration = Duration::from_secs(3);

async fn bind(addresses: &[SocketAddr], key: &str) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(bind_one(*address).await.with_context(|| {
            format!(
                "cannot listen on {address}: is another broker running there? ({key} says where)"
            )
        })?);
    }
    Ok(listeners)
}

async fn bind_one(address: SocketAddr) -> io::Result<TcpListener> {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && begun.elapsed() < IN_USE_MAX =>
            {
                tokio::time::sleep(IN_USE_MAX / 30).await;
            }
            bound => return bound,
        }
    }
}

/// The data folder is nobody else's business.
fn make_folder(folder: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("the data folder {} cannot be made", folder.display()))
}

/// Says on stdout where clients find the broker and, once in its life, the administrator's password.
fn announce(
    config: &Config,
    listeners: &[TcpListener],
    admin_listeners: &[TcpListener],
    started: &Started,
    password: Option<&str>,
) {
    let mut text = format!(
        "{SERVER}: {} records replayed, data in {}\n",
        started.replayed,
        config.data.display()
    );
    for at in listeners.iter().filter_map(|it| it.local_addr().ok()) {
        text.push_str(&format!("  clients  ws://{at}/mbws\n"));
    }
    for at in admin_listeners.iter().filter_map(|it| it.local_addr().ok()) {
        text.push_str(&format!("  admin    http://{at}/\n"));
    }
    match password {
        Some(password) => {
            writeln!(
                text,
                "  user     admin\n  password {password}   (shown this once; keep it)"
            )
            .ok();
        }
        None => text.push_str("  (the admin password was shown at the first start)\n"),
    }
    print!("{text}");
    io::Write::flush(&mut io::stdout()).ok();
}

fn init_logs(log: &config::Log) -> Result<()> {
    let filter = EnvFilter::try_new(&log.level)
        .context("log.level is no filter: write a level such as info")?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let set = match log.format {
        LogFormat::Text => logs.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
    set.map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
}

/// Seconds: from a fast disk's sync to a stuck one.
const SECONDS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
const RECORDS: [f64; 9] = [
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0,
];

fn init_metrics() -> Result<PrometheusHandle> {
    use metrics_exporter_prometheus::Matcher;
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|it| it.set_buckets_for_metric(Matcher::Suffix("_records".to_owned()), &RECORDS))
        .and_then(|it| it.install_recorder())
        .context("metrics cannot be started")
}

/// An error with all its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        write!(text, ": {error}").ok();
        source = error.source();
    }
    text
}

/// The front's questions, put to the authenticator.
struct Door(Authenticator);

impl Authenticate for Door {
    fn verify<'a>(&'a self, proof: Proof<'a>, peer: SocketAddr) -> Answer<'a> {
        Box::pin(async move {
            let credentials = match proof {
                Proof::Header(value) => Credentials::from_header(value),
                Proof::Open(mbws::Credentials::Password { user, password }) => {
                    Credentials::basic(user, password)
                }
                Proof::Open(mbws::Credentials::Token(token)) => Credentials::bearer(token),
            };
            let credentials = credentials.map_err(|_| NotBelieved::Wrong)?;
            verified(self.0.verify(credentials, peer.ip()).await)
        })
    }
}

fn verified(result: Result<Principal, AuthError>) -> Result<Principal, NotBelieved> {
    result.map_err(|error| match error {
        AuthError::Refused => NotBelieved::Wrong,
        AuthError::TooManyAttempts { .. } => NotBelieved::Throttled,
        AuthError::Busy => NotBelieved::Busy,
    })
}
