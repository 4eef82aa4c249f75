//! Looking into a queue: where each message stands from the engine, in slices; what it says from the log, on a thread
//! that may wait for the disk. Looking changes nothing.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use restante_admin_api::Browsed;
use restante_admin_api::queue::{MessageInfo, MessageState, Selection};
use restante_storage::{LogReader, Lsn, QueueId, ReadError, UnixMillis};

use super::select::{SLICE, Selected, Walk};
use super::{AdminAsk, AdminError};
use crate::broker::fetch::message;
use crate::broker::{Broker, Shared};
use crate::engine::{Looked, Place, Sight, Standing, Wanted};
use crate::message::Message;

/// Messages that one call looks at.
const LOOKED_MAX: usize = 64 * SLICE;
/// Bytes of messages that one call reads, and one message more.
const READ_MAX: usize = 64 << 20;
/// Bytes of messages that are read in one go, and one message more.
const GROUP_BYTES: usize = 4 << 20;

impl Broker {
    /// Up to `limit` messages of a queue that `selection` is about, by offset; of each body the first `body_bytes_max` bytes.
    /// Looks at a bounded number of messages: where that was not enough, [`Browsed::next`] says where to go on, and there
    /// may be none yet. One that cannot be read is not shown.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn browse(
        &self,
        realm: &str,
        name: &str,
        selection: &Selection,
        limit: usize,
        body_bytes_max: usize,
    ) -> Result<Browsed, AdminError> {
        let id = self.handle(realm, name)?.id;
        let selected = Selected::new(selection)?;
        let mut walk = Walk::new(&selected);
        let (mut messages, mut bytes_left) = (Vec::new(), READ_MAX);
        let mut left = LOOKED_MAX;
        while let Some(wanted) =
            walk.wanted(&selected, slice(&selected, limit, messages.len()).min(left))
            && left > 0
            && bytes_left > 0
            && messages.len() < limit
        {
            let looked = self.shared.look(id, wanted.clone()).await?;
            left = left.saturating_sub(looked.sights.len().max(1));
            walk.looked(&wanted, looked.next);
            for group in selected_groups(looked.sights, &selected) {
                if bytes_left == 0 || messages.len() >= limit {
                    let next = group.first().map(|sight| sight.offset);
                    next.into_iter().for_each(|at| walk.stop_at(at));
                    break;
                }
                for (sight, message) in self.shared.read(id, group).await? {
                    let Some(message) = message else { continue };
                    if messages.len() >= limit {
                        walk.stop_at(sight.offset);
                        break;
                    }
                    bytes_left = bytes_left.saturating_sub(size(&sight));
                    if selected.is(&message) {
                        messages.push(show(&sight, message, body_bytes_max));
                    }
                }
            }
        }
        let next = walk.next(&selected);
        Ok(Browsed { messages, next })
    }
}

/// How many to look at next: no more than are wanted, if each that may be meant is.
fn slice(selected: &Selected, limit: usize, found: usize) -> usize {
    if selected.needs_message() {
        SLICE
    } else {
        SLICE.min(limit.saturating_sub(found).max(1))
    }
}

impl Shared {
    pub(in crate::broker) async fn look(
        &self,
        id: restante_storage::QueueId,
        wanted: Wanted,
    ) -> Result<Looked, AdminError> {
        let looked = self
            .answer(|reply| AdminAsk::Look(id, wanted, reply))
            .await?;
        // A queue that has gone meanwhile has nothing more.
        Ok(looked.unwrap_or(Looked {
            sights: Vec::new(),
            next: None,
        }))
    }

    /// The messages of one [group](groups), in its order; none for one that cannot be read, or is gone.
    pub(in crate::broker) async fn read(
        &self,
        queue: QueueId,
        sights: Vec<Sight>,
    ) -> Result<Vec<(Sight, Option<Message>)>, AdminError> {
        let records = self.read_records(sights).await?;
        let decode = |(sight, record): (Sight, Option<Bytes>)| {
            let message = record.as_ref().and_then(|it| message(it, Some(queue)));
            (sight, message)
        };
        Ok(records.into_iter().map(decode).collect())
    }

    /// The same, undecoded.
    pub(super) async fn read_records(
        &self,
        sights: Vec<Sight>,
    ) -> Result<Vec<(Sight, Option<Bytes>)>, AdminError> {
        let reader = self.reader();
        let read = tokio::task::spawn_blocking(move || read(&reader, sights));
        read.await.map_err(|_ended| AdminError::ShuttingDown)
    }
}

/// What of a slice may be meant, in groups.
pub(super) fn selected_groups(sights: Vec<Sight>, selected: &Selected) -> Vec<Vec<Sight>> {
    let meant = sights.into_iter().filter(|sight| selected.may_be(sight));
    groups(meant, GROUP_BYTES)
}

/// Messages in groups of up to so many bytes, or of one message, that are read in one go each.
pub(in crate::broker) fn groups(
    sights: impl Iterator<Item = Sight>,
    bytes_max: usize,
) -> Vec<Vec<Sight>> {
    let mut groups: Vec<Vec<Sight>> = Vec::new();
    let mut room = 0;
    for sight in sights {
        let bytes = size(&sight);
        match groups.last_mut().filter(|_| room >= bytes) {
            Some(group) => group.push(sight),
            None => {
                room = bytes_max.max(bytes);
                groups.push(vec![sight]);
            }
        }
        room -= bytes.min(room);
    }
    groups
}

/// Bytes of its record, about.
pub(in crate::broker) fn size(sight: &Sight) -> usize {
    match &sight.place {
        Place::Log { bytes, .. } => *bytes as usize,
        Place::Memory(record) => record.len(),
    }
}

fn read(reader: &LogReader, sights: Vec<Sight>) -> Vec<(Sight, Option<Bytes>)> {
    let wanted: Vec<(Lsn, u32)> = sights
        .iter()
        .filter_map(|sight| match &sight.place {
            Place::Log { lsn, bytes } => Some((*lsn, *bytes)),
            Place::Memory(_) => None,
        })
        .collect();
    // By offset is by LSN, in one queue.
    let mut found = reader.read_many(&wanted).into_iter();
    sights
        .into_iter()
        .map(|sight| {
            let record = match &sight.place {
                Place::Memory(record) => Some(record.clone()),
                Place::Log { .. } => found.next().and_then(|found| readable(&sight, found)),
            };
            (sight, record)
        })
        .collect()
}

fn readable(sight: &Sight, found: Result<Bytes, ReadError>) -> Option<Bytes> {
    match found {
        Ok(record) => Some(record),
        // Settled meanwhile.
        Err(ReadError::Gone(_)) => None,
        Err(error) => {
            tracing::error!(%error, offset = %sight.offset, "a stored message cannot be read; `restante verify` shows more");
            None
        }
    }
}

fn show(sight: &Sight, message: Message, body_bytes_max: usize) -> MessageInfo {
    let (body, body_base64, truncated) = show_body(&message, body_bytes_max);
    MessageInfo {
        offset: sight.offset.get(),
        state: match sight.standing {
            Standing::Ready => MessageState::Ready,
            Standing::Unsettled => MessageState::Unsettled,
            Standing::Leaving => MessageState::Leaving,
        },
        acquired: sight.acquired,
        failed: sight.failed,
        timestamp: sight.time.get(),
        expires_at: sight.expires.map(UnixMillis::get),
        bytes: size(sight) as u64,
        message_id: message.message_id,
        address: message.address,
        key: message.key,
        priority: message.priority,
        correlation_id: message.correlation_id,
        reply_to: message.reply_to,
        content_type: message.content_type,
        properties: message.properties,
        body,
        body_base64,
        truncated,
    }
}

/// The body's beginning: as text where the sender said so and it is, else in base64; and whether there is more.
fn show_body(message: &Message, bytes_max: usize) -> (Option<String>, Option<String>, bool) {
    let whole = std::str::from_utf8(&message.body).ok();
    if let Some(text) = whole.filter(|_| message.text) {
        let end = text.floor_char_boundary(bytes_max);
        let shown = text.get(..end).unwrap_or_default();
        return (Some(shown.to_owned()), None, end < text.len());
    }
    let shown = message.body.get(..bytes_max).unwrap_or(&message.body);
    let truncated = shown.len() < message.body.len();
    (None, Some(BASE64_STANDARD.encode(shown)), truncated)
}
