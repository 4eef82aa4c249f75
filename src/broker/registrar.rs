//! The registrar: what alone writes the documents that administrators set, one change after the other. It is the part of the
//! steward (`admin/steward.rs`) that knows documents, and runs in its thread.
//!
//! ```text
//! Broker::change ─▶ steward ─▶ as of the revision it was made for? ─▶ Config record ─▶ log ─▶ core
//!                                                                  new snapshot ◀─ applied ┘ ─▶ reply
//! ```
//!
//! Whoever wants a change looks at a snapshot, checks all that there is to check, and names the snapshot's revision. If
//! another change came first, it is told so and looks again: nothing is ever decided on what is no longer so.
//!
//! A change is in force when it is durable: the snapshot that everybody reads is replaced once the core has applied the
//! record. As there is one writer, what it writes again (so that an old segment may go) cannot cross a change.
//!
//! A change that the disk does not take in time is told of as that: nobody knows whether it will be in force. Until it is known,
//! nothing else is changed, and whoever wants that is told so at once.
//!
//! Always, with tests of these names in `broker/tests/registrar.rs`:
//! - `of_two_changes_for_one_revision_one_is_made`
//! - `what_was_set_is_there_after_a_restart`, and `after_the_log_has_lost_its_beginning`.
//! - `no_queue_is_left_behind_in_a_realm_that_goes` (in `broker/tests/making.rs`; how: `making.rs`).
//!
//! Not here: whether a change makes sense (control, definitions), who may make it (admin API).

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use restante_storage::payload::{Advance, Config, ConfigEntry, DefineQueue, DeleteQueue};
use restante_storage::{Draft, DraftBatch, Kind, Lsn, QueueId, Refused, Stamp};
use thiserror::Error;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::admin::Order;
use super::core::Batch;
use super::{Broker, DEFAULT_REALM, Shared, now};
use crate::engine::{ConfigKey, is_brokers_own};
use crate::registry::{self, Document, DocumentId, DocumentKind, Registry};

/// What is to become of documents and queues: all of it, or nothing.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The revision of the registry that this was made for.
    pub as_of: u64,
    /// Documents that are set, or removed where there is none.
    pub documents: Vec<(DocumentId, Option<Document>)>,
    /// Queues that are made (id 0) or changed.
    pub queues: Vec<DefineQueue>,
    /// Queues that go, with all that waits in them.
    pub gone: Vec<DeleteQueue>,
}

impl Change {
    fn is_empty(&self) -> bool {
        self.documents.is_empty() && self.queues.is_empty() && self.gone.is_empty()
    }
}

/// Why a change was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// Another change came first: look again.
    #[error("the registry has changed meanwhile")]
    Outdated,
    /// It does not fit into one record of the log: make it in parts.
    #[error("the change has {bytes} bytes, {limit} fit into one record")]
    TooLarge {
        /// What it has.
        bytes: usize,
        /// What fits.
        limit: usize,
    },
    /// The broker is going down, or its log has failed. Whether the change was made will be known at the next start.
    #[error("the broker is shutting down")]
    ShuttingDown,
    /// The disk does not take it in time: it may still come into force.
    #[error("the disk does not take the change; it may still come into force")]
    Unsettled,
    /// Nothing can be changed before it is known what became of an earlier change.
    #[error("the disk has not taken an earlier change yet; nothing is changed before that")]
    Unready,
}

impl Broker {
    /// What administrators have set, as of now.
    pub fn registry(&self) -> Arc<Registry> {
        self.shared.registry.load_full()
    }

    /// Makes a change. Durable and in force on return; gives the registry's new revision.
    ///
    /// # Errors
    /// [`ChangeError`]; nothing is changed then, except as [`ChangeError::ShuttingDown`] says.
    pub async fn change(&self, change: Change) -> Result<u64, ChangeError> {
        let (reply, made) = oneshot::channel();
        let sent = self
            .shared
            .changes
            .send(Order::Documents(change, reply))
            .await;
        sent.map_err(|_gone| ChangeError::ShuttingDown)?;
        made.await.unwrap_or(Err(ChangeError::ShuttingDown))
    }
}

/// The steward's part for documents.
pub(super) struct Registrar {
    shared: Arc<Shared>,
    /// What the disk did not take in time. Until it is known what became of it, nothing is decided: it may be in force
    /// at any moment.
    late: Mutex<Option<Late>>,
}

/// A record of which nobody knows yet whether it will be in force.
struct Late {
    applied: oneshot::Receiver<Lsn>,
    documents: Vec<(DocumentId, Option<Document>)>,
}

/// Realms whose retained messages go: those that are removed, and those that are made, for what was on its way when the last
/// of that name went.
fn forgets(present: &Registry, change: &Change) -> Vec<String> {
    let documents = change.documents.iter();
    let comes_or_goes = documents.filter(|(id, document)| {
        let is_realm = id.kind == DocumentKind::Realm && id.name != DEFAULT_REALM;
        is_realm && document.is_some() != present.documents.contains_key(id)
    });
    comes_or_goes.map(|(id, _)| id.name.clone()).collect()
}

impl Registrar {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Registrar {
            shared,
            late: Mutex::new(None),
        }
    }

    /// Whether it is known what became of all that was written; what is in force by now is shown to everybody.
    pub(super) fn is_settled(&self) -> bool {
        let mut late = self.late.lock();
        let Some(it) = &mut *late else {
            return true;
        };
        let settled = match it.applied.try_recv() {
            Err(TryRecvError::Empty) => return false,
            Ok(lsn) => late.take().map(|it| (lsn, it.documents)),
            // The log has failed, or is closed: the next start finds out.
            Err(TryRecvError::Closed) => None,
        };
        *late = None;
        drop(late);
        if let Some((lsn, documents)) = settled {
            tracing::info!("the disk has taken the change that was late");
            self.in_force(lsn.get(), &documents);
        }
        true
    }

    /// Keeps in mind a record that may be applied later.
    pub(super) fn is_late(&self, applied: oneshot::Receiver<Lsn>) {
        tracing::error!("the disk does not take a change; nothing else is changed before it does");
        *self.late.lock() = Some(Late {
            applied,
            documents: Vec::new(),
        });
    }

    /// Shows everybody documents that are in force.
    fn in_force(&self, lsn: u64, documents: &[(DocumentId, Option<Document>)]) {
        if documents.is_empty() {
            return;
        }
        let registry = self.shared.registry.load().with(lsn, documents);
        self.show(registry, documents);
    }

    /// Puts a new snapshot in the place of the one before. What has to end for it and is late holds up further changes.
    fn show(&self, registry: Registry, documents: &[(DocumentId, Option<Document>)]) {
        let touched: Vec<_> = documents.iter().map(|(id, _)| id.kind).collect();
        if let Some(late) = self.shared.set_registry(registry, &touched) {
            self.is_late(late);
        }
    }

    /// Makes a change, if nothing it was made for has changed meanwhile.
    pub(super) fn change(&self, change: &Change) -> Result<u64, ChangeError> {
        let present = self.shared.registry.load();
        let goes = |(id, document): &(DocumentId, Option<Document>)| {
            id.kind == DocumentKind::Realm && id.name != DEFAULT_REALM && document.is_none()
        };
        let going: Vec<&str> = change
            .documents
            .iter()
            .filter(|it| goes(it))
            .map(|(id, _)| id.name.as_str())
            .collect();
        // From here to the end no client makes a queue there, and all that clients have made is to be seen.
        let Some(_closed) = self.shared.close_realms(&going) else {
            return Err(ChangeError::Outdated);
        };
        if change.as_of != present.revision
            || !self.are_current(&change.queues)
            || self.leaves_queues_behind(change)
        {
            return Err(ChangeError::Outdated);
        }
        if change.is_empty() {
            return Ok(present.revision);
        }
        let entries = change.documents.iter();
        let entries = entries.map(|(id, document)| registry::entry(id, document.as_ref(), 0));
        let written = self.write(&Config {
            entries: entries.collect(),
            queues: change.queues.clone(),
            gone: self.gone_with(change, &going),
            forgets: forgets(&present, change),
        });
        if matches!(written, Err(ChangeError::Unsettled))
            && let Some(late) = &mut *self.late.lock()
        {
            late.documents.clone_from(&change.documents);
        }
        let lsn = written?;
        let registry = present.with(lsn, &change.documents);
        drop(present);
        self.show(registry, &change.documents);
        Ok(lsn)
    }

    /// Queues that go: those that the change names, and in realms that go those that groups share. A session's own goes with it.
    fn gone_with(&self, change: &Change, going: &[&str]) -> Vec<DeleteQueue> {
        let mut gone = change.gone.clone();
        let routes = self.shared.routes.load();
        for realm in going {
            let Some(queues) = routes.queues.get(*realm) else {
                continue;
            };
            let shared = queues.numbers.values().filter(|handle| {
                !handle.is_transient() && is_brokers_own(&handle.name) && !handle.is_owned()
            });
            for handle in shared {
                let queue = handle.id.get();
                if !gone.iter().any(|it| it.queue == queue) {
                    gone.push(DeleteQueue {
                        queue,
                        realm: (*realm).to_owned(),
                        name: handle.name.to_string(),
                    });
                }
            }
        }
        gone
    }

    /// Whether a realm is to go in which a queue was made meanwhile.
    fn leaves_queues_behind(&self, change: &Change) -> bool {
        let routes = self.shared.routes.load();
        change.documents.iter().any(|(id, document)| {
            let goes = id.kind == DocumentKind::Realm && document.is_none();
            let queues = routes.queues.get(id.name.as_str()).map(|it| &it.names);
            let stay = |name: &Arc<str>| {
                let gone = |it: &DeleteQueue| it.realm == id.name && *it.name == **name;
                // Those of sessions go with them, those of groups with this change.
                !is_brokers_own(name) && !change.gone.iter().any(gone)
            };
            goes && queues.is_some_and(|names| names.keys().any(stay))
        })
    }

    /// Whether each queue is as whoever changes it believes: there with that revision, or not there.
    fn are_current(&self, queues: &[DefineQueue]) -> bool {
        let routes = self.shared.routes.load();
        queues.iter().all(|it| {
            let names = routes
                .queues
                .get(it.realm.as_str())
                .map(|realm| &realm.names);
            let present = names.and_then(|names| names.get(it.name.as_str()));
            let revision = present.map(|handle| handle.def.as_ref().map_or(0, |def| def.revision));
            revision == (it.id > 0).then_some(it.revision)
        })
    }

    /// Writes documents again, in records of a moderate size; what is gone meanwhile is left out.
    pub(super) fn rewrite(&self, keys: &[ConfigKey]) {
        let registry = self.shared.registry.load_full();
        let ids = keys
            .iter()
            .filter_map(|key| registry::id(key.kind, &key.realm, &key.name));
        let entries: Vec<_> = ids
            .filter_map(|id| registry.documents.get(&id))
            .map(|it| registry::entry(&it.id, Some(&it.document), it.revision))
            .collect();
        for entries in in_records(entries) {
            let config = Config {
                entries,
                ..Config::default()
            };
            // The next checkpoint asks for it again.
            if let Err(error) = self.write(&config) {
                tracing::warn!(%error, "documents are not written again yet");
                if !matches!(error, ChangeError::TooLarge { .. }) {
                    return;
                }
            }
        }
    }

    /// Writes a record and waits until it is applied; gives its LSN.
    fn write(&self, config: &Config) -> Result<u64, ChangeError> {
        let changed = config.queues.iter().map(|it| it.id).filter(|id| *id > 0);
        let targets: Vec<QueueId> = changed
            .chain(config.gone.iter().map(|it| it.queue))
            .map(QueueId::new)
            .collect();
        // What is gone needs no numbers any more, unless they are those of the others too: then `forget` comes after.
        let stamp = match targets.len() == config.gone.len() {
            true => Stamp::Forget,
            false => Stamp::Floor,
        };
        let draft = Draft {
            targets: &targets,
            stamp,
            ..Draft::new(Kind::Config, now(), config)
        };
        let limits = self.shared.log().limits();
        let lsn = write_and_wait(&self.shared, &draft).map_err(|error| match error {
            NotWritten::Refused(Refused::TooLarge { bytes, limit }) => {
                ChangeError::TooLarge { bytes, limit }
            }
            NotWritten::Refused(_) => ChangeError::TooLarge {
                bytes: prost::Message::encoded_len(config),
                limit: limits.record_bytes_max,
            },
            NotWritten::Closed => ChangeError::ShuttingDown,
            NotWritten::Late(applied) => {
                self.is_late(applied);
                ChangeError::Unsettled
            }
        });
        let lsn = lsn?;
        if stamp == Stamp::Floor {
            self.forget(&config.gone);
        }
        Ok(lsn.get())
    }

    /// Lets the log's writer forget queues that are gone, which would cost it memory until the next start.
    fn forget(&self, gone: &[DeleteQueue]) {
        if gone.is_empty() {
            return;
        }
        let targets: Vec<QueueId> = gone.iter().map(|it| QueueId::new(it.queue)).collect();
        let nothing = Advance::default();
        let draft = Draft {
            targets: &targets,
            stamp: Stamp::Forget,
            ..Draft::new(Kind::Advance, now(), &nothing)
        };
        // Not written: the next start has forgotten them.
        if let Err(NotWritten::Late(applied)) = write_and_wait(&self.shared, &draft) {
            self.is_late(applied);
        }
    }
}

/// Why a record is not in the log.
pub(super) enum NotWritten {
    Refused(Refused),
    /// The log was closed or has failed; the record may be in it all the same.
    Closed,
    /// The disk has not taken it in time; tells if it does.
    Late(oneshot::Receiver<Lsn>),
}

/// How long a change may take before its sender is told that nobody knows what becomes of it.
pub(super) const SETTLED_WITHIN: Duration = Duration::from_secs(30);

/// What `future` comes to; none: not before `deadline`. For threads that may wait.
pub(super) fn until<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
            return Some(outcome);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

/// Writes a record, and waits until everybody sees what follows from it; gives where it lies. Not on a worker of the runtime.
pub(super) fn write_and_wait(shared: &Shared, draft: &Draft<'_>) -> Result<Lsn, NotWritten> {
    let (told, mut applied) = oneshot::channel();
    let companion = Batch {
        told: Some(told),
        ..Batch::default()
    };
    let mut batch = DraftBatch::new(shared.log().limits(), companion);
    batch.push(draft).map_err(NotWritten::Refused)?;
    let submitted = shared.log().submit(batch);
    submitted.map_err(|_closed| NotWritten::Closed)?;
    match until(Instant::now() + SETTLED_WITHIN, &mut applied) {
        Some(applied) => applied.map_err(|_gone| NotWritten::Closed),
        None => Err(NotWritten::Late(applied)),
    }
}

/// Entries in as few parts as fit into records of a moderate size, in their order; one that is larger has a part of its own.
fn in_records(entries: Vec<ConfigEntry>) -> Vec<Vec<ConfigEntry>> {
    let mut parts: Vec<Vec<ConfigEntry>> = Vec::new();
    let mut n_bytes = REWRITE_BYTES;
    for entry in entries {
        let more = prost::Message::encoded_len(&entry) + ENTRY_FRAME_BYTES;
        match parts.last_mut() {
            Some(part) if n_bytes + more <= REWRITE_BYTES => {
                n_bytes += more;
                part.push(entry);
            }
            _ => {
                n_bytes = more;
                parts.push(vec![entry]);
            }
        }
    }
    parts
}

/// The envelope of a record with documents written again: far below what fits into the smallest segment.
const REWRITE_BYTES: usize = 128 * 1024;
/// A field's number and length.
const ENTRY_FRAME_BYTES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_written_again_in_parts_that_fit() {
        let entry = |name: usize, n_bytes: usize| ConfigEntry {
            name: name.to_string(),
            value: Some(vec![7; n_bytes].into()),
            ..ConfigEntry::default()
        };
        let sizes = [100_000, 100_000, 20_000, 300_000, 1, 2, 3];
        let entries: Vec<_> = sizes
            .into_iter()
            .enumerate()
            .map(|(at, n)| entry(at, n))
            .collect();
        let parts = in_records(entries.clone());
        let n_entries: Vec<usize> = parts.iter().map(Vec::len).collect();
        assert_eq!(n_entries, [1, 2, 1, 3]);
        assert_eq!(parts.concat(), entries);
        assert_eq!(in_records(Vec::new()), Vec::<Vec<ConfigEntry>>::new());
    }

    #[test]
    fn a_thread_waits_no_longer_than_until() {
        let (tell, mut told) = oneshot::channel();
        let soon = Instant::now() + Duration::from_millis(10);
        assert!(until(soon, &mut told).is_none());
        assert!(Instant::now() >= soon);
        let late = Instant::now() + Duration::from_hours(1);
        let teller = thread::spawn(move || tell.send(7));
        assert_eq!(until(late, told), Some(Ok(7)));
        assert_eq!(teller.join().unwrap(), Ok(()));
    }
}
