//! The thread that writes the log: lines at once, one fdatasync for all that came within half a second; at once, if somebody
//! waits for it.
//!
//! ```text
//! entries ─▶ line(number, prev) ─▶ unsynced ─write_at▶ file ─sync▶ forgotten
//!                                     ▲─────── after an error: all of it again ───────┘
//! ```
//!
//! What is not synced stays in memory, because nobody can know what a failed sync has left of it: after an error all of it is written
//! again, at the same place. While the disk takes nothing, entries wait here and in the channel, and what does not fit is
//! counted.
//!
//! Tests: `audit::tests`.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select};
use metrics::{Counter, counter};
use restante_admin_api::audit::AuditEntry;
use restante_storage::{Disk, DiskFile};
use tokio::sync::oneshot;

use super::files::{Backwards, Name, failed, list};
use super::line::{self, Hash};
use super::{AuditError, Recorded, Settings, Shared};

/// Half of the second that is promised; the sync itself may take the other.
const SYNC_AFTER: Duration = Duration::from_millis(500);
/// How often a disk that said no is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often denials that were put together are looked at.
const SWEEP_AFTER: Duration = Duration::from_secs(1);
/// How long the thread waits when nothing is due.
const IDLE: Duration = Duration::from_hours(1);
/// No more is taken in while so much waits for the disk.
const UNSYNCED_BYTES_MAX: usize = 1 << 20;

pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    settings: Settings,
    shared: Arc<Shared>,
    /// Oldest first; the last is `file`.
    names: VecDeque<Name>,
    file: Arc<dyn DiskFile>,
    /// Bytes of `file` that are durable.
    synced: u64,
    /// Lines behind those.
    unsynced: Vec<u8>,
    /// How much of `unsynced` the file has.
    written: usize,
    sync_at: Option<Instant>,
    /// Who waits for what is in `unsynced`.
    waiting: Vec<oneshot::Sender<()>>,
    /// Set from an error to the next success.
    retry_at: Option<Instant>,
    /// Of the last line.
    number: u64,
    prev: Hash,
    lines: Counter,
    failures: Counter,
}

impl Writer {
    /// Finds the end of the log, and mends it.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        folder: &Path,
        settings: Settings,
        shared: Arc<Shared>,
    ) -> Result<Writer, AuditError> {
        disk.create_dir_all(folder)
            .map_err(failed("create", folder))?;
        let mut names = VecDeque::from(list(&*disk, folder)?);
        let end = End::find(&*disk, folder, &names)?;
        let file = match end.file {
            Some(file) => file,
            None => {
                let name = Name {
                    first: end.number + 1,
                };
                let file = create(&*disk, folder, &name)?;
                names.push_back(name);
                file
            }
        };
        let mut writer = Writer {
            disk,
            folder: folder.to_owned(),
            settings,
            shared,
            names,
            file,
            synced: end.bytes,
            unsynced: Vec::new(),
            written: 0,
            sync_at: None,
            waiting: Vec::new(),
            retry_at: None,
            number: end.number,
            prev: end.hash,
            lines: counter!("restante_audit_lines_total"),
            failures: counter!("restante_audit_failures_total"),
        };
        if end.torn_bytes > 0 {
            writer.note_torn(end.torn_bytes);
        }
        Ok(writer)
    }

    fn note_torn(&mut self, bytes: u64) {
        tracing::warn!(bytes, "the audit log's last line was cut off by a crash");
        let entry = own_entry("audit mend");
        self.add(AuditEntry {
            detail: format!("a last line of {bytes} bytes, cut off by a crash, is removed"),
            times: 1,
            ..entry
        });
    }

    /// Writes until told to close, or until nobody is left.
    pub(super) fn run(mut self, entries: &Receiver<Box<Recorded>>, control: &Receiver<Control>) {
        let nothing = never();
        loop {
            let taken = if self.has_room() { entries } else { &nothing };
            let settled = select! {
                recv(taken) -> entry => match entry {
                    Ok(recorded) => {
                        self.recorded(*recorded);
                        self.take(entries);
                        None
                    }
                    Err(_) => return self.close(entries),
                },
                recv(control) -> asked => match asked {
                    Ok(Control::Settle(done)) => {
                        self.take(entries);
                        Some(done)
                    }
                    Ok(Control::Close) | Err(_) => return self.close(entries),
                },
                default(self.patience()) => None,
            };
            self.sweep();
            self.turn();
            if self.written == self.unsynced.len()
                && let Some(done) = settled
                && done.send(()).is_err()
            {
                tracing::debug!("nobody waits for the audit log any more");
            }
        }
    }

    /// How long nothing has to be done.
    fn patience(&self) -> Duration {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        if let Some(at) = self.retry_at {
            return until(at);
        }
        let sweep = if self.shared.denials.is_empty() {
            IDLE
        } else {
            SWEEP_AFTER
        };
        self.sync_at.map_or(sweep, |at| until(at).min(sweep))
    }

    fn has_room(&self) -> bool {
        self.unsynced.len() < UNSYNCED_BYTES_MAX
    }

    /// Takes what is there. What comes in meanwhile is not waited for: others want their sync.
    fn take(&mut self, entries: &Receiver<Box<Recorded>>) {
        for entry in entries.try_iter().take(entries.len()) {
            self.recorded(*entry);
            if !self.has_room() {
                return;
            }
        }
    }

    fn sweep(&mut self) {
        let now = (self.shared.clock)();
        for mut entry in self.shared.denials.due(now) {
            entry.time = now.get();
            self.entry(entry);
        }
    }

    fn recorded(&mut self, recorded: Recorded) {
        self.entry(recorded.entry);
        // A disk that takes nothing is not waited for: the line comes when it does.
        if let Some(durable) = recorded.durable
            && self.retry_at.is_none()
        {
            self.waiting.push(durable);
            self.sync_at = Some(Instant::now());
        }
    }

    fn entry(&mut self, entry: AuditEntry) {
        let missing = self.shared.missing.swap(0, Ordering::Relaxed);
        if missing > 0 {
            self.add(AuditEntry {
                result: "failed".to_owned(),
                detail: format!(
                    "{missing} entries are missing here: they came too fast, or the disk took none"
                ),
                times: missing,
                ..own_entry("audit drop")
            });
        }
        self.add(entry);
    }

    /// Makes the entry the next line.
    fn add(&mut self, mut entry: AuditEntry) {
        if self.synced + self.unsynced.len() as u64 >= self.settings.file_bytes {
            self.rotate();
        }
        entry.number = self.number + 1;
        if entry.time == 0 {
            entry.time = (self.shared.clock)().get();
        }
        match line::encode(&entry, self.prev) {
            Ok(line) => {
                self.number += 1;
                self.prev = Hash::of(&line);
                self.unsynced.extend_from_slice(&line);
                self.unsynced.push(b'\n');
                self.lines.increment(1);
            }
            Err(error) => {
                self.shared.drop_one();
                tracing::error!(%error, act = entry.act, "an audit entry has no form in JSON");
            }
        }
        self.sync_at
            .get_or_insert_with(|| Instant::now() + SYNC_AFTER);
    }

    /// Writes what is there, and syncs if it is time; after an error, not before the disk is asked again.
    fn turn(&mut self) {
        let now = Instant::now();
        if self.retry_at.is_some_and(|at| at > now) {
            return;
        }
        let sync = self.retry_at.is_some() || self.sync_at.is_some_and(|at| at <= now);
        let done = if sync || !self.has_room() {
            self.sync()
        } else {
            self.write()
        };
        self.note(done);
    }

    fn write(&mut self) -> io::Result<()> {
        let rest = self.unsynced.get(self.written..).unwrap_or_default();
        if !rest.is_empty() {
            self.file
                .write_at(rest, self.synced + self.written as u64)?;
            self.written = self.unsynced.len();
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.write()?;
        if !self.unsynced.is_empty() {
            self.file.sync_data()?;
        }
        self.synced += self.unsynced.len() as u64;
        self.unsynced.clear();
        self.unsynced.shrink_to(UNSYNCED_BYTES_MAX);
        self.written = 0;
        self.sync_at = None;
        for durable in self.waiting.drain(..) {
            // Whoever is gone has given up waiting.
            durable.send(()).ok();
        }
        Ok(())
    }

    /// Says once that the disk fails, and once that it works again.
    fn note(&mut self, done: io::Result<()>) {
        match done {
            Ok(()) => {
                if self.retry_at.take().is_some() {
                    tracing::info!("the audit log is written again");
                }
            }
            Err(error) => {
                self.written = 0;
                self.waiting.clear();
                self.failures.increment(1);
                if self.retry_at.is_none() {
                    tracing::error!(%error, folder = %self.folder.display(), "the audit log cannot be written; trying again until it works");
                }
                self.retry_at = Some(Instant::now() + RETRY_AFTER);
            }
        }
    }

    /// Goes on in a new file; if that cannot be, in the one at hand, beyond its size.
    fn rotate(&mut self) {
        if self.retry_at.is_some() {
            return;
        }
        let synced = self.sync();
        let is_synced = synced.is_ok();
        self.note(synced);
        if !is_synced {
            return;
        }
        let name = Name {
            first: self.number + 1,
        };
        match create(&*self.disk, &self.folder, &name) {
            Ok(file) => {
                self.file = file;
                self.synced = 0;
                self.names.push_back(name);
                self.remove_oldest();
            }
            Err(error) => self.note(Err(error.source)),
        }
    }

    fn remove_oldest(&mut self) {
        while self.names.len() > self.settings.files.max(1) {
            let Some(oldest) = self.names.pop_front() else {
                return;
            };
            let path = oldest.path(&self.folder);
            if let Err(error) = self.disk.remove(&path) {
                tracing::warn!(path = %path.display(), %error, "an old audit file cannot be removed");
            }
        }
    }

    fn close(mut self, entries: &Receiver<Box<Recorded>>) {
        self.take(entries);
        for entry in self.shared.denials.rest() {
            self.entry(entry);
        }
        self.retry_at = None;
        let synced = self.sync();
        let left = entries.len();
        if synced.is_err() || left > 0 {
            tracing::error!(left, "the audit log's last lines may be missing");
        }
        self.note(synced);
    }
}

/// What is asked of the writer beside entries; heard also while it takes none.
pub(super) enum Control {
    /// Answer once all that came before is in the file (not necessarily synced). Without an answer it is not.
    Settle(Sender<()>),
    /// Write and sync all that came before, and end.
    Close,
}

/// A line about the log itself.
fn own_entry(act: &str) -> AuditEntry {
    AuditEntry {
        door: "broker".to_owned(),
        act: act.to_owned(),
        target: super::FOLDER.to_owned(),
        result: "done".to_owned(),
        ..AuditEntry::default()
    }
}

fn create(disk: &dyn Disk, folder: &Path, name: &Name) -> Result<Arc<dyn DiskFile>, AuditError> {
    let path = name.path(folder);
    let file = match disk.create_new(&path) {
        // Made by an attempt that failed behind it; nothing was ever written to it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(&path),
        made => made,
    };
    let file = file.map_err(failed("create", &path))?;
    disk.sync_dir(folder).map_err(failed("sync", folder))?;
    Ok(file)
}

/// Where the log ends.
struct End {
    /// The newest file; none: there is none.
    file: Option<Arc<dyn DiskFile>>,
    /// Its length, without a torn line.
    bytes: u64,
    torn_bytes: u64,
    /// The last line's.
    number: u64,
    hash: Hash,
}

impl End {
    fn find(disk: &dyn Disk, folder: &Path, names: &VecDeque<Name>) -> Result<End, AuditError> {
        let mut end = End {
            file: None,
            bytes: 0,
            torn_bytes: 0,
            number: 0,
            hash: Hash::NONE,
        };
        for name in names.iter().rev() {
            let path = name.path(folder);
            let failed = |doing| failed(doing, &path);
            let file = disk.open(&path).map_err(failed("open"))?;
            let last = last_line(&*file, name).map_err(failed("read"))?;
            if end.file.is_none() {
                let length = file.len_bytes().map_err(failed("read"))?;
                end.torn_bytes = last.torn_bytes;
                end.bytes = length.saturating_sub(last.torn_bytes);
                if end.torn_bytes > 0 {
                    file.set_len(end.bytes).map_err(failed("cut"))?;
                    file.sync_all().map_err(failed("sync"))?;
                }
                end.file = Some(file);
            }
            if let Some((number, hash)) = last.line {
                (end.number, end.hash) = (number, hash);
                return Ok(end);
            }
            // Nothing in it: the line before is in the file before.
            end.number = name.first.saturating_sub(1);
        }
        Ok(end)
    }
}

struct Last {
    torn_bytes: u64,
    line: Option<(u64, Hash)>,
}

/// The number and the hash of a file's last line. Where lines are damaged, they are counted, and `verify` finds them.
fn last_line(file: &dyn DiskFile, name: &Name) -> io::Result<Last> {
    let mut lines = Backwards::new(file)?;
    let mut last = Last {
        torn_bytes: lines.torn_bytes,
        line: None,
    };
    let (mut hash, mut behind) = (None, 0);
    while let Some(line) = lines.next()? {
        let bytes = line.bytes.unwrap_or_default();
        let hash = *hash.get_or_insert_with(|| Hash::of(&bytes));
        if let Some((entry, _)) = line::decode(&bytes) {
            last.line = Some((entry.number + behind, hash));
            return Ok(last);
        }
        behind += 1;
    }
    last.line = hash.map(|hash| ((name.first + behind).saturating_sub(1), hash));
    Ok(last)
}
