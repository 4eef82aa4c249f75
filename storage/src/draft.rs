//! What producers hand to the log: records encoded in their own threads, many in one buffer.
//!
//! ```text
//! Draft ─push▶ DraftBatch<T> ─submit▶ writer: copy, stamp, write, sync ─▶ Commit<T> with the same T
//! ```
//!
//! Always, with a test of its name: `a_refused_push_leaves_the_batch_as_it_was`.
//!
//! Not here: the bytes themselves (record), waiting for room (log: `reserve`).

use bytes::BytesMut;

use crate::log::{Limits, Permit};
use crate::record::{self, Kind, Source, Stamp};
use crate::{Origin, QueueId, UnixMillis};

/// A record as its producer knows it; the writer adds its LSN and its targets' offsets.
#[derive(Clone, Copy)]
pub struct Draft<'a> {
    /// What sort of record.
    pub kind: Kind,
    /// The message's priority; 0 where there is none.
    pub priority: u8,
    /// When the broker took it.
    pub time: UnixMillis,
    /// When it is worthless; none: never.
    pub expires: Option<UnixMillis>,
    /// Not to be delivered before; none: at once.
    pub due: Option<UnixMillis>,
    /// The durable session's frame that caused it.
    pub origin: Option<Origin>,
    /// The message whose place it takes.
    pub source: Option<Source>,
    /// Queues that it concerns, at most 65,535.
    pub targets: &'a [QueueId],
    /// What to do with `targets`; without targets it says nothing.
    pub stamp: Stamp,
    /// The protobuf part: any message of [`crate::payload`], or [`Raw`] bytes of one.
    pub envelope: &'a dyn EncodeEnvelope,
    /// The message's body; empty where there is none.
    pub body: &'a [u8],
}

impl<'a> Draft<'a> {
    /// A record of `kind` with nothing but an envelope; set the other fields by `..`.
    pub fn new(kind: Kind, time: UnixMillis, envelope: &'a dyn EncodeEnvelope) -> Self {
        Draft {
            kind,
            priority: 0,
            time,
            expires: None,
            due: None,
            origin: None,
            source: None,
            targets: &[],
            stamp: Stamp::Take,
            envelope,
            body: &[],
        }
    }
}

/// What can be a record's envelope.
pub trait EncodeEnvelope {
    /// Appends it to `into`.
    fn encode_into(&self, into: &mut BytesMut);
}

impl<M: prost::Message> EncodeEnvelope for M {
    fn encode_into(&self, into: &mut BytesMut) {
        self.encode(into).expect("a BytesMut grows");
    }
}

/// An envelope that is encoded already, for instance one that moves with its message.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a>(pub &'a [u8]);

impl EncodeEnvelope for Raw<'_> {
    fn encode_into(&self, into: &mut BytesMut) {
        into.extend_from_slice(self.0);
    }
}

/// A draft that a batch did not take; the batch is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The record alone is over the limit: tell its sender.
    #[error("the record has {bytes} bytes, {limit} are allowed")]
    TooLarge {
        /// What it would have (at least).
        bytes: usize,
        /// `record_bytes_max`.
        limit: usize,
    },
    /// More targets than a record can name: split the fan-out.
    #[error("{targets} targets are more than one record holds")]
    TooManyTargets {
        /// How many.
        targets: usize,
    },
    /// The batch is full: submit it, and push to a new one.
    #[error("the batch is full")]
    BatchFull,
}

/// Records encoded by one producer, that will be in one commit and one segment, in this order; and `T`, the
/// producer's own value, which comes back with the commit.
#[derive(Debug)]
pub struct DraftBatch<T> {
    pub(crate) bytes: BytesMut,
    pub(crate) companion: T,
    pub(crate) permit: Option<Permit>,
    n_records: usize,
    limits: Limits,
}

impl<T> DraftBatch<T> {
    /// An empty batch for the log that has these limits ([`crate::Log::limits`]).
    pub fn new(limits: Limits, companion: T) -> Self {
        DraftBatch {
            bytes: BytesMut::new(),
            companion,
            permit: None,
            n_records: 0,
            limits,
        }
    }

    /// Encodes `draft` at the end; gives its place in the batch, from 0.
    ///
    /// # Errors
    /// [`Refused`]: it was not taken, and the batch is as it was.
    pub fn push(&mut self, draft: &Draft<'_>) -> Result<usize, Refused> {
        let limit = self.limits.record_bytes_max;
        let targets = draft.targets.len();
        if targets > usize::from(u16::MAX) {
            return Err(Refused::TooManyTargets { targets });
        }
        if draft.body.len() > limit {
            return Err(Refused::TooLarge {
                bytes: draft.body.len(),
                limit,
            });
        }
        let before = self.bytes.len();
        let len = record::encode(draft, &mut self.bytes);
        let refused = if len > limit {
            Some(Refused::TooLarge { bytes: len, limit })
        } else if self.bytes.len() > self.limits.batch_bytes_max {
            Some(Refused::BatchFull)
        } else {
            None
        };
        if let Some(refused) = refused {
            self.bytes.truncate(before);
            return Err(refused);
        }
        let index = self.n_records;
        self.n_records += 1;
        Ok(index)
    }

    /// Gives it the room that was reserved for it ([`crate::Log::reserve`]); held until the batch's commit has been
    /// through the sink.
    pub fn hold(&mut self, permit: Permit) {
        match &mut self.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
    }

    /// Bytes that it will have in the log.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// How many records it has.
    pub fn n_records(&self) -> usize {
        self.n_records
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.n_records == 0
    }

    /// The producer's own value.
    pub fn companion(&self) -> &T {
        &self.companion
    }

    /// The producer's own value, to change.
    pub fn companion_mut(&mut self) -> &mut T {
        &mut self.companion
    }

    /// The producer's own value, from a batch that is not to be submitted.
    pub fn into_companion(self) -> T {
        self.companion
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        record_bytes_max: 1024,
        batch_bytes_max: 2048,
    };

    const ENVELOPE: &dyn EncodeEnvelope = &Raw(b"envelope");

    fn draft(body: &[u8]) -> Draft<'_> {
        Draft {
            body,
            ..Draft::new(Kind::Enqueue, UnixMillis::ZERO, ENVELOPE)
        }
    }

    #[test]
    fn a_refused_push_leaves_the_batch_as_it_was() {
        let mut batch = DraftBatch::new(LIMITS, ());
        assert_eq!(batch.push(&draft(&[1; 900])), Ok(0));
        assert_eq!(batch.push(&draft(&[2; 900])), Ok(1));
        let before = batch.bytes.clone();
        assert_eq!(
            batch.push(&draft(&[3; 2000])),
            Err(Refused::TooLarge {
                bytes: 2000,
                limit: 1024
            })
        );
        assert_eq!(
            batch.push(&draft(&[3; 1000])),
            Err(Refused::TooLarge {
                bytes: 1056,
                limit: 1024
            })
        );
        assert_eq!(batch.push(&draft(&[3; 900])), Err(Refused::BatchFull));
        let targets = vec![QueueId::new(1); 65_536];
        let wide = Draft {
            targets: &targets,
            ..draft(&[])
        };
        assert_eq!(
            batch.push(&wide),
            Err(Refused::TooManyTargets { targets: 65_536 })
        );
        assert_eq!(batch.bytes, before);
        assert_eq!((batch.n_records(), batch.len_bytes()), (2, before.len()));
        assert_eq!(batch.push(&draft(&[3; 8])), Ok(2));
    }
}
