//! `restante serve`: all wiring, start-up and drain.
//!
//! ```text
//! config ─▶ TLS files ─▶ bind ─▶ lock, recover ─▶ first documents ─▶ listen, serve ─▶ (signal | failed log) ─▶ drain ─▶ checkpoint ─▶ exit
//! ```
//!
//! What runs, and who owns it:
//!
//! | what | how many | made in | ends |
//! |---|---|---|---|
//! | runtime workers | one a core | here | last |
//! | accept loop, one task a listener | few | `front/accept.rs` | at the shutdown signal |
//! | one task a connection | `limits.connections` | `front/drive.rs`, `front/mqtt.rs`, `front/wamp.rs` | with its socket, or drained |
//! | one task a long-poll client | among those | `front/wamp/http.rs` | without requests for too long, or drained |
//! | admin listener and its connections, on a thread of their own | 256 | `admin-api` | at the shutdown signal |
//! | service manager's watchdog, if it has one | 1 task | `systemd.rs` | drained |
//! | log writer, spare-maker | 2 threads | `storage` | after the last session |
//! | core, keeper, checkpointer | 3 threads | `broker/start.rs` | after the log |
//! | certificates' watch | 1 | here, `tls/certificates.rs` | with the runtime |
//! | password hashing, signatures of JWTs | 2 at a time each | `access` | with the runtime |
//! | `$SYS` topics | 1 task | `sys.rs` | drained |
//! | reloads, at SIGHUP | 1 task | `reload.rs` | when all is drained |
//! | audit writer | 1 thread | `audit` | after the log |
//!
//! Shutdown is one signal in, one drain with a deadline out: sessions confirm what is under way and close with 1001, the
//! log is synced, a last checkpoint is made, and the process exits with 0. A log that failed ends it with 1: what was
//! not confirmed then is not known to be stored, and the next start finds out.

mod bind;

use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use restante_admin_api::audit::AuditEntry;
use restante_admin_api::{BoxFuture, Secure, Secured};
use restante_proto::{mbws::Limits, mqtt::Limits as MqttLimits};
use restante_storage::{LogOptions, SyncPolicy};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::bind::{bind, bind_unix};
use crate::access::wamp::{self, Begun, Dict, Hello, Refusal};
use crate::access::{self, AuthError, Authenticator, Credentials, Exchange, Principal};
use crate::audit::{self, Audit, Denials, Denied};
use crate::broker::{self, Broker, Change, Protocol, Started};
use crate::config::{self, Config};
use crate::control::{self, Controller};
use crate::definitions;
use crate::disk::MeteredDisk;
use crate::front::{self, Answer, Authenticate, NotBelieved, Proof, Takes, UnixSocket, Welcomed};
use crate::logs::Logs;
use crate::meters::Meters;
use crate::registry::{DocumentId, DocumentKind, Registry};
pub use crate::reload::Load;
use crate::reload::Reloader;
use crate::router::UriRules;
use crate::session::wamp::Disclosure;
use crate::session::{self, mbws, mqtt};
use crate::sys;
use crate::systemd;
use crate::tls::{self, Certificates, Gate};

/// How long the answer to our GOODBYE is waited for (WAMP).
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// Product and version, as clients are told.
const SERVER: &str = concat!("restante/", env!("CARGO_PKG_VERSION"));

/// Runs the broker until it is told to stop; at SIGHUP, `again` reads the configuration anew.
///
/// # Errors
/// It could not start, or the log failed while it ran; the text says what to do.
pub fn run(config: &Config, again: Load) -> Result<()> {
    let logs = Logs::start(&config.log).context("logging cannot be started")?;
    // Before all that counts: a handle that is made earlier counts into nothing.
    let meters = Meters::start(&config.metrics)?;
    let certificates = load_certificates(config)?;
    make_folder(&config.data)?;
    let runtime = Runtime::new().context("the runtime cannot be started")?;
    let admin_runtime = admin_runtime().context("the admin API's runtime cannot be started")?;
    let connections = config.limits.connections;
    let listeners = runtime.block_on(bind(&config.listen, "listen", connections))?;
    let mqtt_listeners = runtime.block_on(bind(&config.mqtt.listen, "mqtt.listen", connections))?;
    let wamp_listeners = runtime.block_on(bind(&config.wamp.listen, "wamp.listen", connections))?;
    let wamp_socket = runtime.block_on(async { bind_unix(config.wamp.unix_socket.as_deref()) })?;
    let admin_listeners =
        admin_runtime.block_on(bind(&config.admin.listen, "admin.listen", connections))?;
    systemd::recovering();
    let started = start_broker(config)?;
    // Behind the broker, which holds the data folder's lock.
    let audit = open_audit(config, &started.broker)?;
    started.broker.tell_denials(audit.denials());
    let admin_password = runtime.block_on(first_documents(config, &started.broker, &audit))?;
    let imported = runtime.block_on(import_definitions(config, &started.broker, &audit));
    if let (Err(_), Some(password)) = (&imported, &admin_password) {
        // It is in force already, and no other start would show it.
        print!("{}", first_password(password.expose()));
    }
    imported?;
    look_for_role_of_strangers(config, &started.broker);
    started.broker.settle_rights();
    let auth = Authenticator::new(
        started.broker.access().clone(),
        &broker::access_settings(config),
    )
    .context("nobody could be let in")?;
    // Before anybody is told that it runs: from then on a signal means an orderly stop.
    let signals = runtime.block_on(async { Signals::catch() })?;
    let current = Arc::new(ArcSwap::from_pointee(config.clone()));
    let reloader = Reloader::new(again, Arc::clone(&current), logs.clone());
    let control = Controller::new(control::Parts {
        broker: started.broker.clone(),
        auth: auth.clone(),
        meters: meters.clone(),
        certificates: certificates.clone(),
        audit: audit.clone(),
        logs,
        config: current,
    });
    let (clients, mqtt, wamp) = {
        let _entered = runtime.enter();
        (
            listeners.listen()?,
            mqtt_listeners.listen()?,
            wamp_listeners.listen()?,
        )
    };
    let admin_listeners = {
        let _entered = admin_runtime.enter();
        admin_listeners.listen()?
    };
    let listeners = Listeners {
        clients,
        mqtt,
        wamp,
        wamp_socket,
        admin: admin_listeners,
    };
    announce(
        config,
        &listeners,
        &started,
        admin_password.as_ref().map(|it| it.expose()),
    );
    let wiring = Wiring {
        config,
        broker: started.broker.clone(),
        auth,
        meters,
        signals,
        certificates,
        reloader,
        audit: audit.clone(),
        control: Arc::new(control),
        admin_runtime: admin_runtime.handle().clone(),
    };
    let failed = runtime.block_on(wiring.serve(listeners));
    let stopped = started.stop();
    audit.record(own_act("stop"));
    audit.close();
    if let Err(error) = failed.map_or(stopped, Err) {
        bail!(
            "{}: nothing was confirmed after that; look at the disk, then start again to recover what it holds",
            chain(&*error)
        );
    }
    tracing::info!("stopped");
    Ok(())
}

/// All that is listened to.
struct Listeners {
    clients: Vec<TcpListener>,
    /// For MQTT alone.
    mqtt: Vec<TcpListener>,
    /// For WAMP alone.
    wamp: Vec<TcpListener>,
    /// The same, for processes of this machine.
    wamp_socket: Option<UnixSocket>,
    admin: Vec<TcpListener>,
}

/// What the running broker is made of.
struct Wiring<'a> {
    config: &'a Config,
    broker: Broker,
    auth: Authenticator,
    meters: Meters,
    signals: Signals,
    certificates: Option<Arc<Certificates>>,
    reloader: Reloader,
    audit: Audit,
    control: Arc<Controller>,
    admin_runtime: Handle,
}

/// The admin API's own thread. Among the workers that serve clients, an administrator of a busy broker would wait for all who
/// are ready before: pages of a list took five times as long.
fn admin_runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("admin")
        .enable_all()
        .build()
}

/// Something that the broker itself has done, for the audit log.
fn own_act(act: &str) -> AuditEntry {
    AuditEntry {
        door: "broker".to_owned(),
        act: act.to_owned(),
        target: SERVER.to_owned(),
        result: "done".to_owned(),
        ..AuditEntry::default()
    }
}

fn open_audit(config: &Config, broker: &Broker) -> Result<Audit> {
    let settings = audit::Settings {
        file_bytes: config.audit.file_bytes,
        files: config.audit.files,
    };
    let folder = config.data.join(audit::FOLDER);
    let audit = Audit::open(&folder, settings, audit::system_clock())
        .context("the audit log cannot be used")?;
    let accounted = audit.accounted().context("the audit log cannot be read")?;
    let registry = broker.registry();
    for found in found_at_start(&registry, &accounted) {
        audit.record(found);
    }
    audit.record(AuditEntry {
        revision: Some(registry.revision),
        ..own_act(audit::START)
    });
    Ok(audit)
}

/// Documents that are in force and of which the audit log does not know: whoever set them was never answered, or the line
/// was lost. One line for each.
fn found_at_start(registry: &Registry, accounted: &audit::Accounted) -> Vec<AuditEntry> {
    let missed = registry
        .documents
        .values()
        .filter(|it| accounted.misses(it.revision));
    let found = missed.map(|it| {
        let DocumentId { kind, realm, name } = &it.id;
        let realm = match realm.is_empty() {
            true => String::new(),
            false => format!("{realm}/"),
        };
        AuditEntry {
            target: format!("{} {realm}{name}", kind.as_str()),
            result: "recovered".to_owned(),
            detail: "in force since before the last crash; its line was lost".to_owned(),
            revision: Some(it.revision),
            ..own_act("found-at-start")
        }
    });
    found.collect()
}

/// What tells the process to end, or to read its configuration again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    /// The TLS files are read again as well.
    hangup_of_tls: Signal,
}

impl Signals {
    fn catch() -> Result<Signals> {
        let caught = |kind| signal(kind).context("signals cannot be heard");
        Ok(Signals {
            terminate: caught(SignalKind::terminate())?,
            interrupt: caught(SignalKind::interrupt())?,
            hangup: caught(SignalKind::hangup())?,
            hangup_of_tls: caught(SignalKind::hangup())?,
        })
    }
}

impl Wiring<'_> {
    /// Serves until a signal or a failed log, then drains. Gives the log's error if that was it.
    async fn serve(self, listeners: Listeners) -> Option<Arc<restante_storage::LogError>> {
        let (shutdown, stopping) = watch::channel(false);
        let gated = |listeners| behind_gates(listeners, self.config, &self.certificates);
        let takes = |takes| {
            move |(socket, gate): (TcpListener, Gate)| front::Listener {
                socket: socket.into(),
                gate,
                takes,
            }
        };
        let traffic = Arc::default();
        let clients = gated(listeners.clients).map(takes(Takes::All));
        let wamp_socket = listeners.wamp_socket.map(|socket| front::Listener {
            socket: socket.into(),
            gate: Gate::plain(),
            takes: Takes::Wamp,
        });
        let front = front::serve(
            clients
                .chain(gated(listeners.mqtt).map(takes(Takes::Mqtt)))
                .chain(gated(listeners.wamp).map(takes(Takes::Wamp)))
                .chain(wamp_socket)
                .collect(),
            self.broker.clone(),
            Arc::new(Door {
                broker: self.broker.clone(),
                auth: self.auth.clone(),
                denials: self.audit.denials(),
            }),
            front_settings(self.config, &self.broker),
            Arc::clone(&traffic),
            stopping.clone(),
        );
        let front = tokio::spawn(front);
        let options = restante_admin_api::Options {
            metrics_open: self.config.admin.metrics_open,
            ..restante_admin_api::Options::default()
        };
        let admin_listeners = gated(listeners.admin);
        let admin = self.admin_runtime.spawn(restante_admin_api::serve_secured(
            admin_listeners
                .map(|(it, gate)| (it, admin_gate(gate)))
                .collect(),
            self.control,
            options,
            stopping.clone(),
        ));
        let upkeep = tokio::spawn(upkeep(self.meters));
        let mqtt = Some(&self.config.mqtt).filter(|it| it.enabled);
        let telling = mqtt.and_then(|it| it.sys_interval);
        let telling = telling.map(|it| tokio::spawn(sys::tell(self.broker.clone(), traffic, it)));
        let watchdog = tokio::spawn(systemd::feed_watchdog(self.broker.clone()));
        let Signals {
            terminate,
            interrupt,
            hangup,
            hangup_of_tls,
        } = self.signals;
        let watch = tokio::spawn(watch_certificates(
            self.certificates,
            self.config.tls.reload_interval,
            hangup_of_tls,
        ));
        let reloads = tokio::spawn(self.reloader.run(hangup, self.audit, stopping));
        systemd::ready("serving");
        let failure = wait_for_the_end(&self.broker, terminate, interrupt).await;
        let connections = self.broker.n_attached();
        tracing::info!(connections, "draining");
        systemd::stopping(&match failure {
            Some(_) => "the log failed".to_owned(),
            None => format!("draining, {connections} connections"),
        });
        self.broker.drain();
        shutdown.send_replace(true);
        for task in [front, admin] {
            if task.await.is_err() {
                tracing::error!("a server task broke down");
            }
        }
        upkeep.abort();
        telling.iter().for_each(tokio::task::JoinHandle::abort);
        watch.abort();
        watchdog.abort();
        // One that has begun is finished, and is in the audit log.
        if reloads.await.is_err() {
            tracing::error!("the task that reloads broke down");
        }
        failure
    }
}

/// Until the process is told to end, or the log fails.
async fn wait_for_the_end(
    broker: &Broker,
    mut terminate: Signal,
    mut interrupt: Signal,
) -> Option<Arc<restante_storage::LogError>> {
    let mut failed = broker.failed();
    tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        error = failed.wait_for(Option::is_some) => {
            let error = error.ok().and_then(|error| error.clone())?;
            tracing::error!(error = chain(&*error), "the log failed: the broker stops");
            Some(error)
        }
    }
}

/// Each listener with what it lets in.
fn behind_gates<'a>(
    listeners: Vec<TcpListener>,
    config: &'a Config,
    certificates: &'a Option<Arc<Certificates>>,
) -> impl Iterator<Item = (TcpListener, Gate)> + 'a {
    listeners.into_iter().map(|listener| {
        let at = listener.local_addr();
        let plain = at.is_ok_and(|at| lets_plain(at, config));
        let gate = Gate::new(certificates.clone(), plain);
        (listener, gate)
    })
}

/// Whether connections may be plain: only this machine reaches `listener`, or the operator says that something else
/// encrypts.
fn lets_plain(listener: SocketAddr, config: &Config) -> bool {
    listener.ip().to_canonical().is_loopback() || config.allow_insecure
}

fn admin_gate(gate: Gate) -> Arc<dyn Secure> {
    Arc::new(AdminGate(gate))
}

/// A gate, in the admin API's words.
struct AdminGate(Gate);

impl Secure for AdminGate {
    fn secure(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        within: Duration,
    ) -> BoxFuture<'_, Option<Secured>> {
        Box::pin(async move {
            let deadline = tokio::time::Instant::now() + within;
            match self.0.admit(stream, deadline).await {
                Ok(admitted) => Some(Secured {
                    tls: admitted.stream.is_tls(),
                    stream: Box::new(admitted.stream),
                    certificate: admitted.certificate,
                }),
                Err(why) => {
                    tracing::debug!(%peer, ?why, "turned away from the admin API");
                    None
                }
            }
        })
    }
}

/// Reads the TLS files, and warns of what is odd about them.
fn load_certificates(config: &Config) -> Result<Option<Arc<Certificates>>> {
    let certificates = Certificates::load(&config.tls).map_err(|errors| {
        let lines = errors
            .iter()
            .map(|(key, error)| format!("{}: {key}: {}", config.source(key), chain(error)));
        anyhow::anyhow!(
            "TLS cannot be offered\n{}",
            lines.collect::<Vec<_>>().join("\n")
        )
    })?;
    let findings = tls::check(&config.tls);
    // A certificate that has expired is told by whoever read it.
    for finding in findings.iter().filter(|it| !it.is_fault) {
        tracing::warn!(key = finding.key, "{}", finding.text);
    }
    Ok(certificates)
}

/// Has the TLS files read again when they change or when an operator asks for it.
async fn watch_certificates(
    certificates: Option<Arc<Certificates>>,
    interval: Duration,
    mut hangup: Signal,
) {
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            _ = tick.tick() => false,
            _ = hangup.recv() => true,
        };
        let Some(certificates) = certificates.clone() else {
            if asked {
                tracing::info!("SIGHUP: there are no TLS files to read again");
            }
            continue;
        };
        let read = tokio::task::spawn_blocking(move || match asked {
            true => certificates.reload(),
            false => certificates.look(),
        });
        if read.await.is_err() {
            tracing::error!("reading the TLS files broke down");
        }
    }
}

/// Keeps histograms from growing between scrapes.
async fn upkeep(meters: Meters) {
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    loop {
        tick.tick().await;
        meters.run_upkeep();
    }
}

/// Writes the documents that a start needs, if any; gives the first administrator's password, if one was made.
async fn first_documents(
    config: &Config,
    broker: &Broker,
    audit: &Audit,
) -> Result<Option<access::Secret>> {
    let (registry, folder) = (broker.registry(), config.data.clone());
    let settings = broker::access_settings(config);
    let as_of = registry.revision;
    let made =
        tokio::task::spawn_blocking(move || access::bootstrap(&registry, &folder, &settings))
            .await?
            .context("the first documents cannot be made")?;
    let n_documents = made.changes.len();
    let documents = made.changes.into_iter();
    let change = Change {
        as_of,
        documents: documents
            .map(|(id, document)| (id, Some(document)))
            .collect(),
        ..Change::default()
    };
    let revision = broker
        .change(change)
        .await
        .context("the first documents cannot be written")?;
    if n_documents > 0 {
        let act = AuditEntry {
            revision: Some(revision),
            ..own_act("first documents")
        };
        audit.record_durably(act).await;
    }
    Ok(made.admin_password)
}

/// Says so if strangers are let in as a role that there is not: they may do nothing then.
fn look_for_role_of_strangers(config: &Config, broker: &Broker) {
    let Some(role) = &config.access.anonymous_role else {
        return;
    };
    let known = broker.registry();
    if known.get(DocumentKind::Role, "", role).is_none() {
        tracing::warn!(
            role,
            "access.anonymous-role names no role: make it with `restante role add`, and rules for it"
        );
    }
}

/// Applies the definitions file that the configuration names, if any.
async fn import_definitions(config: &Config, broker: &Broker, audit: &Audit) -> Result<()> {
    let Some(path) = &config.definitions.import else {
        return Ok(());
    };
    let before_that = || format!("definitions.import: {} cannot be applied", path.display());
    let (file, prune) = (path.clone(), config.definitions.prune);
    let read = tokio::task::spawn_blocking(move || control::read_definitions(&file));
    let definitions = read.await?.with_context(before_that)?;
    let limits = definitions::Limits::from(&config.limits);
    let changed = control::import(broker, &limits, &definitions, prune).await;
    let changed = changed.with_context(before_that)?;
    let (steps, checksum) = (changed.now.steps.len(), &changed.now.checksum);
    tracing::info!(path = %path.display(), steps, checksum, "the definitions file is applied");
    if steps > 0 {
        let act = AuditEntry {
            revision: changed.revision,
            target: path.display().to_string(),
            before: changed.before,
            after: changed.after,
            ..own_act("import definitions")
        };
        audit.record_durably(act).await;
    }
    Ok(())
}

/// A whole set of definitions is applied by one record.
const DEFINITIONS_BYTES_MAX: usize = 12 << 20;

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
        // A frame's header comes to the record beside its body, in another form; definitions are one record.
        record_bytes_max: clamp(frame_bytes_max(config).saturating_add(64 << 10))
            .max(DEFINITIONS_BYTES_MAX),
        ..defaults
    };
    let disk = Arc::new(MeteredDisk::new());
    let settings = broker::Settings::new(config);
    Broker::start(&config.data, disk, options, settings)
        .with_context(|| format!("the data folder {} cannot be used", config.data.display()))
}

/// What one SP client may have unconfirmed: as much as one of MBWS.
const SP_WINDOW: usize = 1024;
/// The same, in bytes; and one message more.
const SP_WINDOW_BYTES: usize = 4 << 20;
/// How long a message waits that a full queue could not take.
const SP_RETRY_AFTER: Duration = Duration::from_millis(100);

/// The largest that a client may send, by any protocol.
fn frame_bytes_max(config: &Config) -> u64 {
    let mqtt = Some(config.mqtt.packet_bytes_max).filter(|_| config.mqtt.enabled);
    let wamp = Some(config.wamp.message_bytes_max).filter(|_| config.wamp.enabled);
    let sp = Some(config.sp.message_bytes_max).filter(|_| config.sp.enabled);
    let others = [mqtt, wamp, sp].into_iter().flatten().max();
    config.limits.frame_bytes.max(others.unwrap_or(0))
}

fn front_settings(config: &Config, broker: &Broker) -> front::Settings {
    let limits = &config.limits;
    front::Settings {
        connections_max: limits.connections,
        unauthenticated_per_address: limits.unauthenticated_per_address,
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
            publish_rate: publish_rate(limits),
        },
        mqtt: config.mqtt.enabled.then(|| front::Mqtt {
            paths: config.mqtt.paths.clone(),
            session: mqtt_settings(config),
        }),
        wamp: config.wamp.enabled.then(|| wamp_door(config)),
        sp: config.sp.enabled.then(|| sp_door(config)),
    }
}

fn sp_door(config: &Config) -> front::Sp {
    let sp = &config.sp;
    let number = |it: usize| u32::try_from(it).unwrap_or(u32::MAX);
    front::Sp {
        message_bytes_max: clamp(sp.message_bytes_max),
        keep_alive: sp.keep_alive,
        session: session::sp::Settings {
            credit: number(sp.credit),
            requests: number(sp.requests),
            hops_max: restante_proto::sp::HOPS_MAX,
            window: SP_WINDOW,
            window_bytes: SP_WINDOW_BYTES,
            reply_within: sp.reply_timeout,
            retry_after: SP_RETRY_AFTER,
            publish_rate: publish_rate(&config.limits),
        },
    }
}

fn wamp_door(config: &Config) -> front::Wamp {
    let wamp = &config.wamp;
    front::Wamp {
        session: wamp_settings(config),
        paths: wamp.paths.clone(),
        message_bytes_max: clamp(wamp.message_bytes_max),
        ping_interval: wamp.ping_interval,
        ubjson_legacy: wamp.ubjson_legacy,
        long_poll: wamp.long_poll.as_ref().map(|it| front::LongPoll {
            poll_within: it.poll_timeout,
            session_within: it.session_timeout,
        }),
        #[cfg(test)]
        echo: None,
    }
}

fn wamp_settings(config: &Config) -> session::wamp::Settings {
    let (limits, wamp) = (&config.limits, &config.wamp);
    session::wamp::Settings {
        limits: restante_proto::wamp::Limits {
            bytes_max: clamp(wamp.message_bytes_max),
            text_bytes_max: clamp(limits.address_bytes),
            ..restante_proto::wamp::Limits::default()
        },
        uris: match wamp.uri_check {
            config::UriCheck::Loose => UriRules::Loose,
            config::UriCheck::Strict => UriRules::Strict,
        },
        sequential_ids: wamp.sequential_ids,
        open_within: limits.handshake_time,
        leave_within: LEAVE_WITHIN,
        publish_rate: publish_rate(limits),
        window: u32::try_from(limits.window).unwrap_or(u32::MAX),
        unacknowledged_max: wamp.unacknowledged_max,
        authorizer: wamp.authorizer.clone(),
        authorizer_cache: wamp.authorizer_cache,
        disclosure: match wamp.disclose {
            config::Disclose::Wished => Disclosure::Wished,
            config::Disclose::Always => Disclosure::Always,
            config::Disclose::Never => Disclosure::Never,
        },
        agent: SERVER.to_owned(),
    }
}

fn mqtt_settings(config: &Config) -> mqtt::Settings {
    let (limits, mqtt) = (&config.limits, &config.mqtt);
    mqtt::Settings {
        limits: MqttLimits {
            packet_bytes_max: u32::try_from(mqtt.packet_bytes_max).unwrap_or(u32::MAX),
            properties_bytes_max: clamp(limits.header_bytes),
            properties_max: limits.properties,
            topic_bytes_max: clamp(limits.address_bytes),
            topic_levels_max: limits.address_segments,
            ..MqttLimits::default()
        },
        receive_maximum: NonZeroU16::new(mqtt.receive_maximum).unwrap_or(NonZeroU16::MIN),
        topic_alias_max: mqtt.topic_alias_max,
        keep_alive_max: mqtt.keep_alive_max,
        session_expiry_max: mqtt.session_expiry_max,
        subscriptions_max: mqtt.subscriptions_max,
        denied_publish: match mqtt.denied_publish {
            config::DeniedPublish::Acknowledge => mqtt::DeniedPublish::Acknowledge,
            config::DeniedPublish::Close => mqtt::DeniedPublish::Close,
        },
        connect_within: limits.handshake_time,
        publish_rate: publish_rate(limits),
        window: u32::try_from(limits.window).unwrap_or(u32::MAX),
        response_prefix: RESPONSE_PREFIX.to_owned(),
        server_reference: mqtt
            .server_reference
            .as_deref()
            .and_then(|it| it.try_into().ok()),
    }
}

/// Where MQTT clients that ask for response information are replied to, each below it.
const RESPONSE_PREFIX: &str = "responses";

fn publish_rate(limits: &config::Limits) -> Option<NonZeroU32> {
    let rate = limits.publish_rate?;
    NonZeroU32::new(u32::try_from(rate).unwrap_or(u32::MAX))
}

fn clamp(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
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
fn announce(config: &Config, listeners: &Listeners, started: &Started, password: Option<&str>) {
    let mut text = format!(
        "{SERVER}: {} records replayed, data in {}\n",
        started.replayed,
        config.data.display()
    );
    let Listeners {
        clients,
        mqtt,
        wamp,
        wamp_socket: _,
        admin,
    } = listeners;
    let on = config.mqtt.enabled;
    let (websocket, tcp) = (["ws", "wss"], ["mqtt", "mqtts"]);
    tell_urls(
        &mut text,
        config,
        ("clients", clients),
        (websocket, "/mbws"),
    );
    if on {
        tell_urls(&mut text, config, ("mqtt", clients), (tcp, ""));
        for path in &config.mqtt.paths {
            tell_urls(&mut text, config, ("mqtt", clients), (websocket, path));
        }
        tell_urls(&mut text, config, ("mqtt", mqtt), (tcp, ""));
    }
    if config.wamp.enabled {
        for path in &config.wamp.paths {
            tell_urls(&mut text, config, ("wamp", clients), (websocket, path));
        }
        let raw_socket = ["rs", "rss"];
        tell_urls(&mut text, config, ("wamp", clients), (raw_socket, ""));
        tell_urls(&mut text, config, ("wamp", wamp), (raw_socket, ""));
        if let Some(path) = &config.wamp.unix_socket {
            writeln!(text, "  {:8} unix:{}", "wamp", path.display()).ok();
        }
    }
    if config.sp.enabled {
        tell_urls(
            &mut text,
            config,
            ("sp", clients),
            (websocket, "/sp/ADDRESS"),
        );
    }
    tell_urls(
        &mut text,
        config,
        ("admin", admin),
        (["http", "https"], "/"),
    );
    match password {
        Some(password) => {
            text.push_str(&first_password(password));
        }
        None => text.push_str("  (the admin password was set at the first start)\n"),
    }
    print!("{text}");
    io::Write::flush(&mut io::stdout()).ok();
}

/// A line for each listener, and for each of its two schemes (plain, encrypted) that it lets in.
fn tell_urls(
    text: &mut String,
    config: &Config,
    (what, listeners): (&str, &[TcpListener]),
    (schemes, path): ([&str; 2], &str),
) {
    for at in listeners.iter().filter_map(|it| it.local_addr().ok()) {
        let let_in = [lets_plain(at, config), config.tls.files.is_some()];
        for (scheme, _) in schemes.iter().zip(let_in).filter(|it| it.1) {
            writeln!(text, "  {what:8} {scheme}://{at}{path}").ok();
        }
    }
}

fn first_password(password: &str) -> String {
    format!("  user     admin\n  password {password}   (shown this once; keep it)\n")
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

/// The front's questions, put to the authenticator; who is not let in is in the audit log.
struct Door {
    broker: Broker,
    auth: Authenticator,
    denials: Denials,
}

impl Authenticate for Door {
    fn verify<'a>(&'a self, proof: Proof<'a>, peer: SocketAddr, protocol: Protocol) -> Answer<'a> {
        Box::pin(async move {
            let credentials = match proof {
                Proof::Certificate(der) => {
                    let verified = verified(self.auth.certificate(der, peer.ip()));
                    self.tell(peer, protocol, None, &verified);
                    return verified;
                }
                Proof::Header(value) => Credentials::from_header(value),
                Proof::Open(session::Credentials::Password { user, password }) => {
                    Credentials::basic(user, password)
                }
                Proof::Open(session::Credentials::Token(token)) => Credentials::bearer(token),
            };
            let tried = credentials.as_ref().ok();
            let tried = tried.and_then(|it| control::tried(&self.broker, it));
            let verified = match credentials {
                Ok(credentials) => verified(self.auth.verify(credentials, peer.ip()).await),
                Err(_) => Err(NotBelieved::Wrong),
            };
            self.tell(peer, protocol, tried, &verified);
            verified
        })
    }

    fn stranger(&self) -> Option<Principal> {
        self.auth.stranger()
    }

    fn challenge(
        &self,
        first: &[u8],
        rename: &mut dyn FnMut(&mut String),
        peer: SocketAddr,
        protocol: Protocol,
    ) -> Result<(Exchange, String), NotBelieved> {
        let challenged = verified(self.auth.challenge(first, rename, peer.ip()));
        self.tell(peer, protocol, None, &challenged);
        challenged
    }

    fn prove(
        &self,
        exchange: &Exchange,
        last: &[u8],
        peer: SocketAddr,
        protocol: Protocol,
    ) -> Result<(Principal, String), NotBelieved> {
        let proved = verified(self.auth.prove(exchange, last, peer.ip()));
        let tried = control::tried_user(&self.broker, exchange.user());
        self.tell(peer, protocol, Some(tried), &proved);
        proved
    }

    fn greet(&self, hello: &Hello, peer: SocketAddr) -> Result<Begun, Refusal> {
        let greeted = self.auth.greet(hello, peer.ip());
        self.tell_wamp(peer, None, &greeted);
        greeted
    }

    fn answer<'a>(
        &'a self,
        exchange: Box<wamp::Exchange>,
        signature: &'a str,
        extra: &'a Dict,
        peer: SocketAddr,
    ) -> Welcomed<'a> {
        Box::pin(async move {
            let tried = exchange.user();
            let tried = tried.map(|user| control::tried_user(&self.broker, user));
            let answer = self.auth.answer(exchange, signature, extra, peer.ip());
            let welcome = answer.await;
            self.tell_wamp(peer, tried, &welcome);
            welcome
        })
    }
}

impl Door {
    fn tell<T>(
        &self,
        peer: SocketAddr,
        protocol: Protocol,
        tried: Option<String>,
        verified: &Result<T, NotBelieved>,
    ) {
        let why = match verified {
            Err(NotBelieved::Wrong) => "wrong credentials",
            Err(NotBelieved::Throttled) => "too many wrong credentials",
            Err(NotBelieved::Busy) | Ok(_) => return,
        };
        self.write(peer, protocol.as_str(), tried, why);
    }

    fn tell_wamp<T>(&self, peer: SocketAddr, tried: Option<String>, let_in: &Result<T, Refusal>) {
        let why = match let_in {
            Err(Refusal::Denied) => "wrong credentials",
            Err(Refusal::Throttled) => "too many wrong credentials",
            Err(Refusal::NoSuchRole) => "a role that is not theirs",
            Err(
                Refusal::NoMatchingMethod
                | Refusal::Required
                | Refusal::NoSuchRealm
                | Refusal::Busy,
            )
            | Ok(_) => return,
        };
        self.write(peer, "wamp", tried, why);
    }

    fn write(&self, peer: SocketAddr, door: &str, tried: Option<String>, why: &str) {
        let why = match tried {
            Some(name) => format!("{why}: as {name}"),
            None => why.to_owned(),
        };
        self.denials.denied(&Denied {
            principal: "",
            peer,
            door,
            verb: "log-in",
            realm: "",
            address: &peer.ip().to_string(),
            rule: &why,
        });
    }
}

fn verified<T>(result: Result<T, AuthError>) -> Result<T, NotBelieved> {
    result.map_err(|error| match error {
        AuthError::Refused => NotBelieved::Wrong,
        AuthError::TooManyAttempts { .. } => NotBelieved::Throttled,
        AuthError::Busy => NotBelieved::Busy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_connections_are_let_in_from_this_machine_only_unless_an_operator_insists() {
        let mut config = Config::default();
        for (listener, from_here) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
            ("[2001:db8::1]:1", false),
        ] {
            let listener = listener.parse().unwrap();
            config.allow_insecure = false;
            assert_eq!(lets_plain(listener, &config), from_here, "{listener}");
            config.allow_insecure = true;
            assert!(lets_plain(listener, &config));
        }
    }

    #[test]
    fn documents_without_a_line_are_found_at_the_start() {
        use crate::registry::{Document, DocumentKind, Role};
        let mut registry = Registry::default();
        for (lsn, name) in [(5, "old"), (12, "told"), (14, "lost")] {
            let id = DocumentId {
                kind: DocumentKind::Role,
                realm: String::new(),
                name: name.to_owned(),
            };
            registry = registry.with(lsn, &[(id, Some(Document::Role(Role::default())))]);
        }
        let accounted = audit::Accounted {
            upto: Some(9),
            revisions: [12].into(),
            together_upto: 0,
        };
        let found = found_at_start(&registry, &accounted);
        let found: Vec<_> = found.iter().map(|it| (&*it.target, it.revision)).collect();
        assert_eq!(found, [("role lost", Some(14))]);
        let unknown = audit::Accounted::default();
        assert!(
            found_at_start(&registry, &unknown).is_empty(),
            "nothing is known"
        );
    }
}
