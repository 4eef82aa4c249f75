//! What a replay can know of the time before the log that it has.

use restante_storage::{QueueId, SessionNo};
use rustc_hash::FxHashSet;

/// Where the engine stands with the past.
#[derive(Debug)]
pub(in crate::engine) enum Past {
    /// Records are new.
    Over,
    /// Records are old, and everything before them is known: from the log's very beginning, or from a checkpoint.
    Known,
    /// Records are old, and those before the segment `first` are gone for good: a queue or session not known yet may
    /// still be defined.
    Gone {
        /// The oldest segment that the log has.
        first: u64,
        /// Queues that went and sessions that ended since (both are numbered by LSN): no late record revives them.
        ended: FxHashSet<u64>,
    },
}

impl Past {
    /// The first record of all that are replayed lies in that segment.
    pub(super) fn begin(&mut self, segment: u64) {
        if matches!(self, Past::Known) && segment > 0 {
            *self = Past::Gone {
                first: segment,
                ended: FxHashSet::default(),
            };
        }
    }

    /// Whether all before the oldest record is unknown.
    pub(in crate::engine) fn is_gone(&self) -> bool {
        matches!(self, Past::Gone { .. })
    }

    /// Whether records are old.
    pub(super) fn is_replaying(&self) -> bool {
        !matches!(self, Past::Over)
    }

    /// A queue or session ended.
    pub(super) fn end(&mut self, id: impl Numbered) {
        if let Past::Gone { ended, .. } = self {
            ended.insert(id.number());
        }
    }

    /// Whether a queue or session that is not known may have been there before the log began.
    pub(super) fn may_have(&self, id: impl Numbered) -> bool {
        match self {
            Past::Gone { ended, .. } => !ended.contains(&id.number()),
            Past::Over | Past::Known => false,
        }
    }

    /// Whether a definition, written again as of that LSN, in that segment, can be of something that was there when the
    /// log was cut: the log is cut only where all that is needed lies behind.
    pub(super) fn may_have_been(&self, as_of_segment: u64) -> bool {
        match self {
            Past::Gone { first, .. } => as_of_segment >= *first,
            Past::Over | Past::Known => true,
        }
    }
}

/// Numbered by the LSN of what first defined it.
pub(super) trait Numbered {
    fn number(&self) -> u64;
}

impl Numbered for QueueId {
    fn number(&self) -> u64 {
        self.get()
    }
}

impl Numbered for SessionNo {
    fn number(&self) -> u64 {
        self.get()
    }
}
