//! Starting: lock the folder, load the state store, replay the log's tail, start the threads; and the reverse.
//!
//! ```text
//! lock ─▶ scan segments ─▶ state store as of C (or none) ─▶ replay from C ─▶ threads ─▶ Broker
//! ```
//!
//! The log decides. A state store that is missing, unreadable, foreign, or further than the log is set aside and built
//! anew from the log; a log that is damaged is refused (`restante verify` shows the place), never guessed at.
//!
//! Threads, in the order in which they stop: sessions (front), log writer, keeper, steward, checkpointer, core.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use restante_storage::payload::ConfigEntry;
use restante_storage::state::{SledStore, StateError};
use restante_storage::{Disk, Log, LogError, LogOptions, LogScan, Lsn, QueueId, SyncPolicy};
use thiserror::Error;
use tokio::sync::{mpsc, watch};

use super::admin::{Order, Steward};
use super::checkpointer::Checkpointer;
use super::core::{Ask, Core};
use super::keeper::Keeper;
use super::rows::Rows;
use super::settings::Settings;
use super::stats::Stats;
use super::{Broker, Routes, Shared, now};
use crate::access::{Access, Current};
use crate::engine::{Bodies, ConfigKey, ConfigValue, Engine};
use crate::registry::{Registry, Unreadable};
use crate::routes;

/// The state store's folder in the data folder.
const STATE_DIR: &str = "state.sled";
/// Its presence says that the state store is to be rebuilt from the log.
const REBUILD_MARK: &str = "state.rebuild";
/// Asks that may wait for the core.
const ASKS_MAX: usize = 4096;
/// Changes that may wait for the steward.
const CHANGES_MAX: usize = 64;

/// The broker cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The log says no.
    #[error("the log cannot be opened")]
    Log(#[from] LogError),
    /// A document in the log is not for this version.
    #[error("what administrators have set cannot be used")]
    Document(#[from] Unreadable),
    /// Not even an empty state store can be made.
    #[error("the state store cannot be opened")]
    State(#[from] StateError),
    /// The file system says no.
    #[error("{doing} {} failed", path.display())]
    Io {
        /// What was being done, as a participle.
        doing: &'static str,
        /// To which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A checkpoint, which only ever covers what was synced, reaches beyond the log's end: the log has lost records that
    /// were confirmed.
    #[error("the log ends at {end}, but records up to {checkpoint} had been confirmed: restore the log from a copy, or move {} away to go on without them", state.display())]
    LogTooShort {
        /// Where the log ends.
        end: Lsn,
        /// What the state store has seen.
        checkpoint: Lsn,
        /// The state store.
        state: PathBuf,
    },
}

/// A broker that runs, and what stops it.
pub struct Started {
    /// The broker.
    pub broker: Broker,
    /// How many records the tail of the log had that were applied.
    pub replayed: u64,
    keeper: JoinHandle<()>,
    checkpointer: JoinHandle<()>,
    core: JoinHandle<()>,
    steward: JoinHandle<()>,
    stop_steward: Arc<AtomicBool>,
    stop_keeper: Sender<()>,
    stop_checkpointer: Sender<()>,
}

impl Broker {
    /// Opens the data folder and starts. Blocks until the log's tail is replayed.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(
        data: &Path,
        disk: Arc<dyn Disk>,
        options: LogOptions,
        settings: Settings,
    ) -> Result<Started, StartError> {
        let scan = Log::<()>::scan(Arc::clone(&disk), data, options.clone())?;
        let store = open_store(data)?;
        let begun = Instant::now();
        let (scan, engine, replayed) = recover(data, scan, &store, options.sync)?;
        tracing::info!(
            records = replayed,
            ms = begun.elapsed().as_millis() as u64,
            "recovered"
        );
        metrics::gauge!("restante_recovery_seconds").set(begun.elapsed().as_secs_f64());
        let checkpointed = engine.applied();
        let node = scan.node();
        let registry = Registry::read(engine.config().map(entry))?;
        let (shared, ends) = shared(settings, registry);
        let Ends {
            asks,
            keeper_bell,
            changes,
        } = ends;
        let offsets: HashMap<_, _> = engine.next_offsets().collect();
        let (to_core, failed) = (shared.asks.clone(), Arc::clone(&shared));
        let sink = move |commit| {
            to_core.send(Ask::Commit(commit)).ok();
        };
        let log = scan.start(offsets, sink, move |error| failed.log_failed(error))?;
        shared.log.set(log).ok();
        let mut core = Core::new(engine, Arc::clone(&shared), asks);
        core.begin();
        let core = spawn("core", move || core.run())?;
        let keeper = Keeper::new(Arc::clone(&shared), disk, data.to_owned());
        let (stop_keeper, keeper_stop) = bounded::<()>(0);
        let keeper = spawn("keeper", move || keeper.run(&keeper_bell, &keeper_stop))?;
        let stop_steward = Arc::new(AtomicBool::new(false));
        let steward = Steward::new(Arc::clone(&shared), Arc::clone(&stop_steward));
        let steward = spawn("steward", move || steward.run(changes))?;
        let checkpointer = Checkpointer::new(Arc::clone(&shared), store, node, checkpointed);
        let (stop_checkpointer, checkpointer_stop) = bounded(1);
        let checkpointer = spawn("checkpointer", move || checkpointer.run(&checkpointer_stop))?;
        let broker = Broker { shared, node };
        Ok(Started {
            broker,
            replayed,
            keeper,
            checkpointer,
            core,
            steward,
            stop_steward,
            stop_keeper,
            stop_checkpointer,
        })
    }
}

impl Started {
    /// Stops: what was handed to the log is written, synced and applied, then checkpointed. Call it once nobody is
    /// attached any more.
    ///
    /// # Errors
    /// The log had failed: what it had not confirmed may be missing.
    pub fn stop(self) -> Result<(), Arc<LogError>> {
        self.broker.shared.draining.store(true, Ordering::Release);
        self.stop_steward();
        drop(self.stop_keeper);
        // First: a keeper that waits for room on a full disk is let go by it. What it then cannot write is found again.
        let closed = self.broker.shared.log().close();
        self.keeper.join().ok();
        self.steward.join().ok();
        self.stop_checkpointer.send(()).ok();
        self.checkpointer.join().ok();
        self.broker.shared.ask(Ask::Stop);
        self.core.join().ok();
        closed
    }
}

impl Started {
    /// Before the log ends: what the steward writes is to be answered. If the log waits for disk space it is let go by the
    /// log's end.
    fn stop_steward(&self) {
        // In this order: a steward that is too busy to be told sees that it is to stop.
        self.stop_steward.store(true, Ordering::Release);
        self.broker.shared.changes.try_send(Order::Wake).ok();
        while !self.steward.is_finished() && !self.broker.shared.log().is_stalled() {
            std::thread::sleep(STOP_LOOK);
        }
    }
}

/// How often a stop looks whether the steward has ended.
const STOP_LOOK: Duration = Duration::from_millis(2);

/// The receiving ends of what the threads are told.
struct Ends {
    asks: Receiver<Ask>,
    keeper_bell: Receiver<()>,
    changes: mpsc::Receiver<Order>,
}

fn shared(settings: Settings, registry: Registry) -> (Arc<Shared>, Ends) {
    let (asks, asked) = bounded(ASKS_MAX);
    let (keeper_bell, bell) = bounded(1);
    let (changes, wanted) = mpsc::channel(CHANGES_MAX);
    let shared = Shared {
        routers: super::wamp::Routers::default(),
        access: Current::new(Access::new(&registry, &settings.access)),
        route_tables: ArcSwap::from_pointee(routes::tables(&registry, settings.address)),
        registry: ArcSwap::from_pointee(registry),
        settings,
        routes: ArcSwap::from_pointee(Routes::default()),
        asks,
        log: OnceLock::new(),
        stats: Stats::new(),
        disk_full: false.into(),
        draining: false.into(),
        failed: watch::Sender::new(None),
        denials: OnceLock::new(),
        making: Arc::default(),
        attached: Mutex::default(),
        clients: Mutex::default(),
        n_attached: AtomicUsize::new(0),
        n_sessions: AtomicUsize::new(0),
        n_away: AtomicUsize::new(0),
        n_retained: AtomicUsize::new(0),
        news: ArcSwap::default(),
        keeper_bell,
        errands: Mutex::default(),
        changes,
    };
    let ends = Ends {
        asks: asked,
        keeper_bell: bell,
        changes: wanted,
    };
    (Arc::new(shared), ends)
}

fn entry((key, it): (&ConfigKey, &ConfigValue)) -> ConfigEntry {
    ConfigEntry {
        kind: key.kind,
        realm: key.realm.clone(),
        name: key.name.clone(),
        value: Some(it.value.clone()),
        revision: it.revision.get(),
    }
}

fn spawn(
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    // A bug in one of these must not leave a broker behind that takes messages and never confirms them.
    let or_end = move || {
        if catch_unwind(AssertUnwindSafe(run)).is_err() {
            tracing::error!(
                thread = name,
                "a thread of the broker broke down: the process ends; nothing confirmed is lost"
            );
            std::process::abort();
        }
    };
    let spawned = Builder::new().name(name.to_owned()).spawn(or_end);
    spawned.map_err(|source| StartError::Io {
        doing: "starting the thread",
        path: name.into(),
        source,
    })
}

fn open_store(data: &Path) -> Result<Rows, StartError> {
    let (dir, mark) = (data.join(STATE_DIR), data.join(REBUILD_MARK));
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| StartError::Io {
            doing,
            path,
            source,
        }
    };
    if mark.exists() {
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(io("removing", &dir))?;
        }
        fs::remove_file(&mark).map_err(io("removing", &mark))?;
    }
    let opened = SledStore::open_or_set_aside(&dir, now())?;
    if let Some(aside) = opened.set_aside {
        let error: &(dyn std::error::Error + 'static) = &aside.because;
        tracing::warn!(error, moved_to = %aside.moved_to.display(), "the state store is rebuilt from the log");
    }
    Ok(Rows::new(Arc::new(opened.store)))
}

/// The engine as of the log's end.
pub(super) fn recover(
    data: &Path,
    mut scan: LogScan,
    store: &Rows,
    sync: SyncPolicy,
) -> Result<(LogScan, Engine, u64), StartError> {
    let mut engine = load(data, &scan, store);
    let checkpoint = engine.applied();
    let mut replayed = replay(&mut scan, &mut engine)?;
    if replayed.end < checkpoint {
        if sync == SyncPolicy::Always {
            let state = data.join(STATE_DIR);
            return Err(StartError::LogTooShort {
                end: replayed.end,
                checkpoint,
                state,
            });
        }
        tracing::warn!(end = %replayed.end, %checkpoint, "the log lost its unsynced end: the state is rebuilt from it");
        engine = fresh(data, &scan, store);
        replayed = replay(&mut scan, &mut engine)?;
    }
    if let Some(torn) = &replayed.torn {
        tracing::warn!(segment = %torn.segment, offset = torn.offset, "a record cut off by a crash is dropped");
    }
    engine.finish_replay(now());
    Ok((scan, engine, replayed.n_records))
}

fn replay(scan: &mut LogScan, engine: &mut Engine) -> Result<restante_storage::TailEnd, LogError> {
    let from = engine.applied().max(scan.oldest());
    let mut n_records = 0_u64;
    scan.replay(from, &mut |record| {
        engine.apply(&record);
        n_records += 1;
        if n_records.is_multiple_of(1_000_000) {
            tracing::info!(records = n_records, lsn = %record.lsn(), "replaying the log");
        }
    })
}

/// What the state store has, if it fits the log; else nothing.
fn load(data: &Path, scan: &LogScan, store: &Rows) -> Engine {
    let bodies = Chunks {
        rows: store.clone(),
        data: data.to_owned(),
    };
    let mut broken = false;
    let loaded = Engine::load(
        scan.node(),
        scan.segment_bytes(),
        Box::new(bodies),
        &mut |prefix, visit| {
            broken |= store.scan(prefix, visit).is_err();
        },
        &|key| store.get(key).ok().flatten(),
    );
    match loaded {
        Ok(Some(engine)) if !broken && engine.applied() >= scan.oldest() => engine,
        Ok(None) if !broken => fresh(data, scan, store),
        // A checkpoint of a broker that had nothing yet.
        Ok(Some(engine)) if !broken && engine.applied() == Lsn::ZERO => fresh(data, scan, store),
        Ok(_) => {
            tracing::warn!("the state store does not fit the log: it is rebuilt from the log");
            clear(store);
            fresh(data, scan, store)
        }
        Err(damage) => {
            tracing::warn!(%damage, "the state store is unusable: it is rebuilt from the log");
            clear(store);
            fresh(data, scan, store)
        }
    }
}

fn fresh(data: &Path, scan: &LogScan, store: &Rows) -> Engine {
    clear(store);
    let bodies = Chunks {
        rows: store.clone(),
        data: data.to_owned(),
    };
    Engine::new(scan.segment_bytes(), Box::new(bodies))
}

/// Removes all rows: what is rebuilt writes them anew.
fn clear(store: &Rows) {
    if let Err(error) = store.clear() {
        tracing::error!(%error, "the state store cannot be cleared");
    }
}

/// The state store as the engine reads it back.
struct Chunks {
    rows: Rows,
    data: PathBuf,
}

impl Bodies for Chunks {
    /// Also from a store that a checkpoint has failed in: what it holds of a chunk that left memory, no later checkpoint was
    /// about, and the engine knows its sum.
    fn body(&self, queue: QueueId, chunk: u64) -> Vec<u8> {
        match self.rows.salvage(&Engine::body_key(queue, chunk)) {
            Ok(row) => row.unwrap_or_default(),
            Err(error) => {
                tracing::error!(%queue, chunk, %error, "the state store cannot be read");
                Vec::new()
            }
        }
    }

    fn damaged(&self, queue: QueueId, chunk: u64) -> ! {
        let mark = self.data.join(REBUILD_MARK);
        let marked = fs::File::create(&mark).and_then(|file| file.sync_all());
        tracing::error!(
            %queue, chunk, marked = marked.is_ok(),
            "the state store is damaged; start again: it will be rebuilt from the log, and nothing confirmed is lost"
        );
        std::process::exit(1)
    }
}
