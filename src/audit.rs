//! The audit log: every administrative act and every denied attempt, as JSON lines that nobody can change unseen.
//!
//! ```text
//! record ─▶ bounded channel ─▶ writer thread ─▶ DATA/audit/audit-NUMBER.jsonl ─ fdatasync within a second, or at once
//! denied ─▶ Denials: equal ones put together ─┘                 └─▶ query (backwards), verify (forwards)
//! beyond a principal's minute (Quota) ────────┘
//! ```
//!
//! Each line carries the hash of the line before it, over files and restarts, so that a line changed or taken out of the middle is
//! found. Lines cut off at the end, or the oldest files removed, are not: note [`Verified::head`] elsewhere for that. A file is named after
//! its first line's number; the oldest go when there are too many.
//!
//! Always, each with a test of its name in `tests` or below it:
//! - `what_was_recorded_durably_survives_a_power_cut`.
//! - `changes_are_accounted_for_since_the_last_start`.
//! - `record_never_waits`: what does not fit is counted, and the next line says how many are missing.
//! - `numbers_ascend_over_restarts`, and `a_torn_last_line_is_cut_and_noted`.
//! - `a_full_disk_loses_nothing_that_fits_the_queue`, and the log goes on by itself.
//! - `a_change_in_the_middle_is_found`, `a_removed_line_is_found`.
//! - `what_strangers_wrote_stays_on_its_line`: control characters are escaped, lengths cut.
//! - `one_denier_cannot_flood_the_log`, `strangers_at_the_admin_api_cannot_flood_the_log`,
//!   `nobody_floods_the_log_with_what_fails`, `nobody_floods_the_log_with_what_changes_nothing`, and
//!   `nobody_floods_the_log_with_what_is_done`.
//!
//! Not here: what is worth a line (`control`, the doors), HTTP, the configuration's keys.

mod clean;
mod denials;
mod files;
mod line;
mod query;
mod quota;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError, bounded};
use metrics::{Counter, counter};
use parking_lot::Mutex;
use restante_admin_api::audit::{AuditEntry, AuditQuery};
use restante_storage::{Disk, UnixMillis};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

pub use denials::{Denials, Denied};
pub use query::Accounted;
pub use verify::{Fault, Verified, What, verify};
use writer::Control;

/// The audit log's folder in the data folder.
pub const FOLDER: &str = "audit";

/// The door of what the broker itself does.
const BROKER: &str = "broker";
/// Its act of coming up: all changes up to its `revision` are accounted for.
pub const START: &str = "start";
/// Entries on their way to the writer; a burst of administration is tens.
const QUEUE_MAX: usize = 1024;
/// Questions on their way to the writer.
const CONTROL_MAX: usize = 16;
/// How long a query waits for what was recorded before it, if the disk does not take it.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);
/// How long an act's answer waits for its line, if the disk does not take it.
const DURABLE_WITHIN: Duration = Duration::from_secs(10);
/// Queries at once: each may read the whole log.
const QUERIES_MAX: usize = 2;

/// Tells the time of day, in milliseconds since 1970 UTC.
pub type Clock = Arc<dyn Fn() -> UnixMillis + Send + Sync>;

/// How large the audit log may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A file that has reached this size gets no further line.
    pub file_bytes: u64,
    /// Files that are kept, the one that is written to included; at least 1.
    pub files: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            file_bytes: 16 << 20,
            files: 8,
        }
    }
}

/// Why the audit log cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}")]
pub struct AuditError {
    /// A verb: "read", "create".
    pub doing: &'static str,
    /// What of.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// The audit log. Clones are the same log; it is closed by [`Audit::close`], or when the last clone is gone.
#[derive(Clone)]
pub struct Audit {
    inner: Arc<Inner>,
}

/// What is on its way to the writer.
struct Recorded {
    entry: AuditEntry,
    /// Told when it is durable.
    durable: Option<oneshot::Sender<()>>,
}

struct Inner {
    entries: Sender<Box<Recorded>>,
    control: Sender<Control>,
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    queries: Arc<Semaphore>,
}

/// What the handles and the writer both know.
struct Shared {
    clock: Clock,
    denials: denials::Table,
    quota: quota::Quota,
    /// Entries that are in no line, and of which no line tells yet.
    missing: AtomicU64,
    /// The same, ever.
    dropped: Counter,
}

impl Shared {
    fn drop_one(&self) {
        self.missing.fetch_add(1, Ordering::Relaxed);
        self.dropped.increment(1);
    }
}

impl Audit {
    /// Opens the audit log in `folder` (the data folder's [`FOLDER`]), which is made if it is not there, and begins to write. A last line that a
    /// crash has cut off is removed, and a line says so.
    ///
    /// The caller holds the data folder's lock: two writers would break the chain.
    ///
    /// # Errors
    /// [`AuditError`]: the folder or its newest file cannot be read, made or mended. Start no broker without its audit log.
    pub fn open(folder: &Path, settings: Settings, clock: Clock) -> Result<Audit, AuditError> {
        Audit::open_on(Arc::new(files::PrivateDisk), folder, settings, clock)
    }

    /// [`Audit::open`] on another disk.
    ///
    /// # Errors
    /// As [`Audit::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        settings: Settings,
        clock: Clock,
    ) -> Result<Audit, AuditError> {
        let (entries, to_write) = bounded(QUEUE_MAX);
        let (control, asked) = bounded(CONTROL_MAX);
        let shared = Arc::new(Shared {
            clock,
            denials: denials::Table::default(),
            quota: quota::Quota::default(),
            missing: AtomicU64::new(0),
            dropped: counter!("restante_audit_dropped_total"),
        });
        let writer = writer::Writer::open(disk.clone(), folder, settings, shared.clone())?;
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&to_write, &asked))
            .map_err(|source| AuditError {
                doing: "start a thread for",
                path: folder.to_owned(),
                source,
            })?;
        Ok(Audit {
            inner: Arc::new(Inner {
                entries,
                control,
                shared,
                writer: Mutex::new(Some(thread)),
                folder: folder.to_owned(),
                disk,
                queries: Arc::new(Semaphore::new(QUERIES_MAX)),
            }),
        })
    }

    /// Takes an entry; its `number` and `time` are given here. Never waits. It survives a crash of the process once it is written, which is at once
    /// unless the disk does not take it, and a power cut within a second.
    ///
    /// What strangers may have written (all texts) is cut and cleaned. If the queue is full, the entry is counted in
    /// `restante_audit_dropped_total`, and the next line tells of it.
    /// What changed nothing (`denied`, `failed`, `dry-run`, `unchanged`) is put together as [`Denials`] are, and so is what one principal
    /// has done beyond so many lines in a minute, at whatever door: nobody can push others' lines out. What the broker
    /// itself has done or failed to do is not.
    pub fn record(&self, entry: AuditEntry) {
        if let Some(entry) = self.admit(clean::entry(entry)) {
            self.put(entry, None);
        }
    }

    /// [`Audit::record`] of something that was done: returns once its line has survived a power cut. One sync is for all that
    /// wait. A disk that says no is not waited for, and a silent one for some seconds: what was done is done, and is to be
    /// told of; its line comes when the disk takes it. What is put together with others of its minute is counted, and not
    /// waited for.
    pub async fn record_durably(&self, entry: AuditEntry) {
        let Some(entry) = self.admit(clean::entry(entry)) else {
            return;
        };
        let (durable, written) = oneshot::channel();
        self.put(entry, Some(durable));
        if !matches!(timeout(DURABLE_WITHIN, written).await, Ok(Ok(()))) {
            tracing::warn!("an act is told of whose line in the audit log is not durable");
        }
    }

    /// The line to be written at once for an entry that is clean. None: it is counted, and told of within the minute.
    fn admit(&self, entry: AuditEntry) -> Option<AuditEntry> {
        if entry.door == BROKER {
            return Some(entry);
        }
        let shared = &self.inner.shared;
        let now = (shared.clock)();
        match &*entry.result {
            "denied" | "failed" | "dry-run" | "unchanged" => shared.denials.in_vain(now, &entry),
            _ => match shared.quota.grant(now, entry) {
                Ok(entry) => Some(entry),
                Err(entry) => shared.denials.beyond(now, &entry),
            },
        }
    }

    /// [`Audit::record`] of an entry that is clean.
    fn put(&self, mut entry: AuditEntry, durable: Option<oneshot::Sender<()>>) {
        entry.time = (self.inner.shared.clock)().get();
        let recorded = Recorded { entry, durable };
        match self.inner.entries.try_send(Box::new(recorded)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.inner.shared.drop_one();
            }
        }
    }

    /// For what message doors deny.
    #[must_use]
    pub fn denials(&self) -> Denials {
        Denials::new(self.clone())
    }

    /// The lines that `query` asks for, newest first, at most 1,000; also those recorded just before, if the disk takes them.
    ///
    /// # Errors
    /// A file cannot be read.
    pub async fn query(&self, query: AuditQuery) -> Result<Vec<AuditEntry>, AuditError> {
        let permit = self.inner.queries.clone().acquire_owned().await;
        let audit = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let read = audit.read(&query);
            drop(permit);
            read
        });
        read.await.unwrap_or_else(|error| {
            Err(AuditError {
                doing: "read",
                path: self.inner.folder.clone(),
                source: io::Error::other(error),
            })
        })
    }

    /// [`Audit::query`], for threads that may wait.
    ///
    /// # Errors
    /// As [`Audit::query`].
    pub fn read(&self, query: &AuditQuery) -> Result<Vec<AuditEntry>, AuditError> {
        self.settle();
        query::read(&*self.inner.disk, &self.inner.folder, query)
    }

    /// Of which changes there are lines, since the last time that the broker came up.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn accounted(&self) -> Result<Accounted, AuditError> {
        query::accounted(&*self.inner.disk, &self.inner.folder)
    }

    /// Waits a moment for all that was recorded before to be in the file.
    fn settle(&self) {
        let (done, settled) = bounded(1);
        let asked = self
            .inner
            .control
            .send_timeout(Control::Settle(done), SETTLED_WITHIN);
        // A disk that takes nothing, or a closed log: what is there is what can be told.
        if asked.is_ok() && settled.recv_timeout(SETTLED_WITHIN).is_err() {
            tracing::debug!("the audit log's newest lines are not written yet");
        }
    }

    /// Writes and syncs what was recorded, denials that wait for their minute's end included, and ends the writer. Entries
    /// that come later are only counted. Waits for the disk; a second call does nothing.
    pub fn close(&self) {
        let Some(thread) = self.inner.writer.lock().take() else {
            return;
        };
        let closing = self.inner.control.send(Control::Close);
        if closing.is_ok() && thread.join().is_err() {
            tracing::error!("the audit log's writer panicked");
        }
    }
}

/// The machine's clock.
#[must_use]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let millis = since_1970.map_or(0, |it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
        UnixMillis::new(millis)
    })
}
