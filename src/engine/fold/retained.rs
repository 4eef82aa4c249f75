//! Messages that are kept at their addresses: they come, are written again, go, and are recalled for a session's own queue.
//!
//! Where the log's beginning is gone, one that is written again may be kept though nothing is known of it: unless it was taken
//! away since. What was written again as of a time before the log begins cannot be kept, as the log would be longer then.

use restante_storage::payload::{Recall, Recalled, Retained};
use restante_storage::{Lsn, Offset, QueueId, RecordRef, SessionNo, UnixMillis};

use super::decode;
use super::messages::share;
use crate::engine::Engine;
use crate::engine::chunk::Ref;
use crate::engine::retained::Kept;
use crate::refusal::Refusal;

impl Engine {
    /// A message that is kept; what its queues take of it is as of any other.
    pub(super) fn retain(&mut self, record: &RecordRef<'_>, fresh: bool) -> Option<Refusal> {
        let refusal = self.enqueue(record, fresh);
        if fresh {
            let it = decode::<Retained>(record);
            if record.body().is_empty() {
                self.take_away(record.lsn(), &it);
            } else if it.retain_of > 0 {
                self.keep_again(record, &it);
            } else {
                self.keep(record, &it, (record.lsn(), record.lsn()));
            }
        }
        refusal
    }

    fn keep(&mut self, record: &RecordRef<'_>, it: &Retained, (revision, home): (Lsn, Lsn)) {
        let kept = Kept {
            revision,
            lsn: record.lsn(),
            home,
            bytes: share(record),
            expires: record.expires(),
        };
        self.retained.set(&it.realm, &it.address, Some(kept));
    }

    /// It was written again, so that its segment may go.
    fn keep_again(&mut self, record: &RecordRef<'_>, it: &Retained) {
        let (revision, as_of) = (Lsn::new(it.retain_of), Lsn::new(it.as_of));
        match self.retained.get(&it.realm, &it.address).copied() {
            Some(known) if known.revision == revision => {
                self.keep(record, it, (revision, known.home.max(as_of)));
            }
            Some(_) => {} // another one was kept while this was on its way to the log
            None if self.may_be_kept(it, revision, as_of) => {
                self.keep(record, it, (revision, as_of));
            }
            None => {} // likewise, it went
        }
    }

    /// Whether one that is not known was kept as of then, and nothing has taken it away since.
    fn may_be_kept(&self, it: &Retained, revision: Lsn, as_of: Lsn) -> bool {
        self.past.is_gone()
            && self.past.may_have_been(self.segments.of(as_of))
            && !self.retained.is_buried(&it.realm, &it.address, revision)
    }

    fn take_away(&mut self, lsn: Lsn, it: &Retained) {
        let upto = match it.retain_of {
            0 => lsn,
            revision => Lsn::new(revision),
        };
        if self.past.is_gone() {
            self.retained.bury(&it.realm, &it.address, upto);
        }
        let known = self.retained.get(&it.realm, &it.address);
        if known.is_some_and(|known| it.retain_of == 0 || known.revision == upto) {
            self.retained.set(&it.realm, &it.address, None);
        }
    }

    /// What is kept comes to a session's own queue, by reference. Where another one came since it was listed, that is in the queue
    /// already, and this one is left out.
    pub(super) fn recall(&mut self, record: &RecordRef<'_>) -> Option<Refusal> {
        let it = decode::<Recall>(record);
        let as_of = Lsn::new(it.as_of);
        self.retained.recalled(SessionNo::new(it.session), as_of);
        for (n, (queue, offset)) in record.targets().enumerate() {
            let message = it.messages.get(n);
            let fate = message.map_or(Fate::Gone, |message| self.fate(&it.realm, message, as_of));
            let it = message.filter(|_| fate == Fate::Kept).map(|message| Ref {
                lsn: Lsn::new(message.lsn),
                bytes: message.bytes,
                time: record.time(),
                expires: (message.expires > 0).then(|| UnixMillis::new(message.expires)),
            });
            self.push_recalled(queue, offset, it, fate == Fate::Unknown);
        }
        None
    }

    fn fate(&self, realm: &str, it: &Recalled, as_of: Lsn) -> Fate {
        let revision = Lsn::new(it.revision);
        match self.retained.get(realm, &it.address) {
            Some(kept) if kept.revision == revision => Fate::Kept,
            Some(_) => Fate::Gone,
            None if !self.past.is_gone() => Fate::Gone,
            None if self.retained.is_buried(realm, &it.address, revision) => Fate::Gone,
            None if self.past.may_have_been(self.segments.of(as_of)) => Fate::Kept,
            // Then it does not wait any more: the log keeps the record of what does.
            None => Fate::Unknown,
        }
    }

    fn push_recalled(&mut self, queue: QueueId, offset: Offset, it: Option<Ref>, unknown: bool) {
        let Some(mut desk) = self.desk(queue) else {
            return;
        };
        if unknown {
            let known = desk.queue.known_from.unwrap_or(offset);
            desk.queue.known_from = Some(known.max(offset.next()));
        } else {
            desk.queue.known_from.get_or_insert(offset);
        }
        if let Some(it) = it {
            desk.push(offset, it);
        }
        desk.queue.advance(offset.next(), desk.expiries);
        desk.done();
    }
}

/// What became of a message that was listed, by the time it is recalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is kept.
    Kept,
    /// It is not.
    Gone,
    /// The log that could tell is gone.
    Unknown,
}
