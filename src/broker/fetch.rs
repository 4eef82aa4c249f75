//! Turns parcels into deliveries: the bytes come from the log's recent commits in memory, or, for what is older, from
//! disk, read ahead in the background.
//!
//! A read takes more than is drained at once, for it costs two changes of threads; and the next one begins when little is
//! left of it, so that the disk and the client are busy at the same time.
//!
//! Comes before: `outbox.rs`. Goes on to: `attachment.rs` (drain), `session`.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use restante_storage::payload::Envelope;
use restante_storage::{Kind, LogError, LogReader, Lsn, QueueId, ReadError, RecordRef, UnixMillis};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::call::Delivery;
use super::outbox::{Outbox, Parcel};
use crate::engine::Place;
use crate::message::{Message, SharedMessage, sort_names};

/// Bytes that one read-ahead fetches at most (and one message more).
const AHEAD_BYTES: usize = 256 << 10;

/// Bytes after which one ends, whatever was thought.
const READ_BYTES: usize = 4 * AHEAD_BYTES;

/// When no more than that is left of one, the next begins.
const LEFT_BYTES: usize = AHEAD_BYTES / 4;

type Read = Vec<Result<Bytes, ReadError>>;

/// The bytes of one attachment's deliveries.
pub(super) struct Fetch {
    reader: LogReader,
    /// Parcels whose bytes are being read, in order, and the reading.
    reading: Option<(Vec<Parcel>, JoinHandle<Read>)>,
    /// Parcels whose bytes were read and that are to be drained before any other.
    read: VecDeque<(Parcel, Result<Bytes, Missing>)>,
    /// Bytes of those.
    read_bytes: usize,
    /// Those behind them, whose reading ended before it came to them.
    unread: Vec<Parcel>,
}

/// Why a parcel has no bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Deleted, or settled by somebody else, while it was on its way.
    Gone,
    /// The disk does not give them now.
    Later,
    /// What is stored is not what was written.
    Damaged,
}

impl Fetch {
    pub(super) fn new(reader: LogReader) -> Self {
        Fetch {
            reader,
            reading: None,
            read: VecDeque::new(),
            read_bytes: 0,
            unread: Vec::new(),
        }
    }

    /// Whether [`take`](Self::take) would give more at once: the last one stopped at its bytes, and no bell tells of it.
    pub(super) fn has_more(&self, outbox: &Outbox) -> bool {
        let waits = || outbox.put(|waiting| !waiting.parcels.is_empty());
        !self.read.is_empty() || self.reading.is_none() && (!self.unread.is_empty() || waits())
    }

    /// Waits for what is being read from disk. Cancel-safe.
    pub(super) async fn fetched(&mut self) {
        let Some((_, handle)) = &mut self.reading else {
            return pending().await;
        };
        let read = handle.await;
        let Some((parcels, _)) = self.reading.take() else {
            return;
        };
        // Only a runtime that is going down ends a read before its time.
        let Ok(read) = read else { return };
        let mut parcels = parcels.into_iter();
        for (bytes, parcel) in read.into_iter().zip(&mut parcels) {
            let bytes = bytes.map_err(|error| missing(&error, &parcel));
            self.read_bytes += bytes.as_ref().map_or(0, Bytes::len);
            self.read.push_back((parcel, bytes));
        }
        self.unread = parcels.collect();
    }

    /// Parcels in their order with what is to be delivered, about `bytes_max` of them, or why it cannot be.
    pub(super) fn take(
        &mut self,
        outbox: &Outbox,
        bytes_max: usize,
    ) -> Vec<(Parcel, Result<Delivery, Missing>)> {
        let mut taken = Vec::new();
        let mut bytes_left = bytes_max;
        while bytes_left > 0 {
            let Some((parcel, bytes)) = self.read.pop_front() else {
                break;
            };
            let n_bytes = bytes.as_ref().map_or(0, Bytes::len);
            bytes_left = bytes_left.saturating_sub(n_bytes);
            self.read_bytes -= n_bytes;
            taken.push(deliver(parcel, bytes));
        }
        if self.reading.is_some() {
            return taken;
        }
        let is_first = self.read.is_empty() && bytes_left > 0;
        if !is_first && self.read_bytes > LEFT_BYTES {
            return taken;
        }
        let parcels = match std::mem::take(&mut self.unread) {
            none if none.is_empty() => {
                outbox.take_parcels(upto(if is_first { bytes_left } else { AHEAD_BYTES }))
            }
            unread => unread,
        };
        if is_first {
            self.resolve(outbox, parcels, &mut taken);
        } else if !parcels.is_empty() {
            // Behind what was read, in order, wherever it lies.
            self.start(parcels);
        }
        taken
    }

    /// What is in memory is delivered; from the first that is not on, all is read in the background, in order.
    fn resolve(
        &mut self,
        outbox: &Outbox,
        parcels: Vec<Parcel>,
        taken: &mut Vec<(Parcel, Result<Delivery, Missing>)>,
    ) {
        if parcels.iter().all(|it| it.decoded.is_some()) {
            let of_memory = |parcel: Parcel| match &parcel.place {
                Place::Memory(record) => {
                    let record = record.clone();
                    deliver(parcel, Ok(record))
                }
                Place::Log { .. } => (parcel, Err(Missing::Later)),
            };
            taken.extend(parcels.into_iter().map(of_memory));
            return;
        }
        let found: Vec<Option<Bytes>> = self.reader.with_tail(|tail| {
            parcels
                .iter()
                .map(|parcel| match &parcel.place {
                    Place::Memory(record) => Some(record.clone()),
                    Place::Log { lsn, .. } => tail.get(*lsn),
                })
                .collect()
        });
        let mut missing = Vec::new();
        for (parcel, bytes) in parcels.into_iter().zip(found) {
            match bytes {
                Some(bytes) if missing.is_empty() => taken.push(deliver(parcel, Ok(bytes))),
                _ => missing.push(parcel),
            }
        }
        if !missing.is_empty() {
            let n_bytes: usize = missing.iter().map(|it| size(&it.place)).sum();
            missing.extend(outbox.take_parcels(upto(AHEAD_BYTES.saturating_sub(n_bytes))));
            self.start(missing);
        }
    }

    fn start(&mut self, parcels: Vec<Parcel>) {
        let reader = self.reader.clone();
        let wanted: Vec<Result<(Lsn, u32), Bytes>> = parcels
            .iter()
            .map(|parcel| match &parcel.place {
                Place::Log { lsn, bytes } => Ok((*lsn, *bytes)),
                Place::Memory(record) => Err(record.clone()),
            })
            .collect();
        let handle = tokio::task::spawn_blocking(move || read(&reader, wanted));
        self.reading = Some((parcels, handle));
    }
}

/// Reads what lies in the log and puts it between what was in memory, in order. Ends early where records are much longer
/// than their queue knows, as those for thousands of queues are.
fn read(reader: &LogReader, wanted: Vec<Result<(Lsn, u32), Bytes>>) -> Read {
    let of_log: Vec<(Lsn, u32)> = wanted
        .iter()
        .filter_map(|it| it.as_ref().ok().copied())
        .collect();
    // What came back is older than what follows it; neighbours are read in one go only in ascending order.
    let mut read: VecDeque<_> = if of_log.is_sorted() {
        reader.read_upto(&of_log, READ_BYTES).into()
    } else {
        let mut left = READ_BYTES;
        of_log
            .iter()
            .map_while(|(lsn, bytes)| {
                let read = (left > 0).then(|| reader.read(*lsn, *bytes))?;
                left = left.saturating_sub(read.as_ref().map_or(0, Bytes::len));
                Some(read)
            })
            .collect()
    };
    wanted
        .into_iter()
        .map_while(|it| match it {
            Ok(_) => read.pop_front(),
            Err(in_memory) => Some(Ok(in_memory)),
        })
        .collect()
}

/// Says of parcels that they are taken, until there are so many bytes.
fn upto(mut n_bytes: usize) -> impl FnMut(&Parcel) -> bool {
    move |parcel| {
        let more = n_bytes > 0;
        n_bytes = n_bytes.saturating_sub(size(&parcel.place));
        more
    }
}

fn size(place: &Place) -> usize {
    match place {
        Place::Log { bytes, .. } => (*bytes as usize).min(AHEAD_BYTES),
        Place::Memory(record) => record.len(),
    }
}

fn deliver(parcel: Parcel, bytes: Result<Bytes, Missing>) -> (Parcel, Result<Delivery, Missing>) {
    let delivery = bytes.and_then(|bytes| {
        let decoded = match &parcel.decoded {
            Some(shared) => shared.get_or_init(|| decode(&bytes, &parcel)).clone(),
            None => decode(&bytes, &parcel),
        };
        let message = decoded.ok_or_else(|| {
            tracing::error!(offset = %parcel.offset, "a stored message does not decode");
            Missing::Damaged
        })?;
        Ok(Delivery {
            consumer: parcel.name.clone(),
            offset: parcel.offset.get(),
            attempt: parcel.attempt,
            barred: false,
            message,
        })
    });
    (parcel, delivery)
}

/// The message of a parcel.
fn decode(bytes: &Bytes, parcel: &Parcel) -> Option<Arc<SharedMessage>> {
    let mut message = message(bytes, parcel.queue)?;
    message.retained |= message.retain && is_recalled(bytes, parcel);
    Some(Arc::new(message.into()))
}

/// Whether what was retained is told of because it was: it did not come to that place when it was sent.
fn is_recalled(bytes: &Bytes, parcel: &Parcel) -> bool {
    match (&parcel.place, parcel.queue) {
        (Place::Memory(_), _) => false,
        (Place::Log { .. }, None) => true,
        (Place::Log { .. }, Some(queue)) => RecordRef::parse(bytes).is_ok_and(|record| {
            let mut targets = record.targets();
            !targets.any(|it| it == (queue, parcel.offset))
        }),
    }
}

fn missing(error: &ReadError, parcel: &Parcel) -> Missing {
    let missing = match error {
        ReadError::Gone(_) => return Missing::Gone,
        error if is_damage(error) => Missing::Damaged,
        ReadError::Log(_) => Missing::Later,
    };
    tracing::error!(
        %error, offset = %parcel.offset, "a stored message cannot be read; `restante verify` shows more"
    );
    missing
}

/// Whether the bytes of a record are lost, and not only out of reach for now.
pub(super) fn is_damage(error: &ReadError) -> bool {
    let ReadError::Log(error) = error else {
        return false;
    };
    matches!(**error, LogError::Corrupt { .. })
}

/// The message in an encoded record, as `queue` has it; none where it is not one.
pub(super) fn message(bytes: &Bytes, queue: Option<QueueId>) -> Option<Message> {
    let record = RecordRef::parse(bytes).ok()?;
    let mut envelope = Envelope::decode(bytes.slice_ref(record.envelope())).ok()?;
    if let Some(queue) = queue {
        settle_address(&mut envelope, queue);
    }
    let message_id = match envelope.message_id {
        Some(id) => id,
        None => Uuid::from_slice(&envelope.uuid).ok()?.to_string(),
    };
    Some(Message {
        address: envelope.address,
        message_id,
        correlation_id: envelope.correlation_id,
        reply_to: envelope.reply_to,
        content_type: envelope.content_type,
        key: envelope.key,
        priority: record.priority(),
        properties: envelope.properties,
        time: if envelope.taken > 0 {
            UnixMillis::new(envelope.taken)
        } else {
            record.time()
        },
        expires: record.expires(),
        body: bytes.slice_ref(record.body()),
        text: envelope.text,
        qos_bound: envelope
            .qos_bound
            .checked_sub(1)
            .and_then(|qos| u8::try_from(qos).ok()),
        ordered: envelope
            .ordered
            .into_iter()
            .map(|pair| (pair.name, pair.value))
            .collect(),
        retained: envelope.retained,
        retain: record.kind() == Kind::Retain,
        wamp: envelope.wamp.map(|mut part| {
            // Whoever has written it down.
            sort_names(&mut part);
            part
        }),
    })
}

/// Leaves only the address under which `queue` has the message.
pub(super) fn settle_address(envelope: &mut Envelope, queue: QueueId) {
    let mut routed = std::mem::take(&mut envelope.routed).into_iter();
    if let Some(there) = routed.find(|it| it.queues.contains(&queue.get())) {
        envelope.address = there.address;
    }
}
