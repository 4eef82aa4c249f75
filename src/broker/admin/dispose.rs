//! Deleting and moving messages.
//!
//! ```text
//! look ─▶ read, where the selection or the move needs it ─▶ claim ─▶ records ─▶ applied
//!                                                             └▶ given back: in vain, refused, caller gone
//! ```
//!
//! A record is what happens to a message: `Settle.dropped` for as many as are deleted, one `Enqueue` with a source for
//! each that is moved, which takes it out here and puts it there at once. So a crash leaves each message in exactly one
//! place. What is in a consumer's hand is left alone, and so is what comes after the call began.
//!
//! Always, each with a test of its name in `admin/tests.rs`:
//! - `a_purge_leaves_alone_what_a_consumer_has`
//! - `what_is_moved_is_in_one_place`
//! - `a_move_of_nothing_makes_no_queue`
//! - `dead_letters_go_back_to_where_they_were_given_up`, and
//!   `what_a_sender_says_of_dead_letters_is_not_believed`

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use prost::Message as _;
use restante_admin_api::How;
use restante_admin_api::queue::{Fate, Outcome, Selection};
use restante_storage::payload::{Envelope, Settle};
use restante_storage::{Draft, DraftBatch, Kind, Lsn, Offset, QueueId, RecordRef, Refused, Source};
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::ask::Claims;
use super::browse::selected_groups;
use super::select::{SLICE, Selected, Walk};
use super::{AdminAsk, AdminError, Wish};
use crate::broker::core::Batch;
use crate::broker::fetch::{message, settle_address};
use crate::broker::publish::{Care, Takers};
use crate::broker::registrar::SETTLED_WITHIN;
use crate::broker::{Broker, Shared, now};
use crate::engine::{QueueHandle, Sight, Standing, Wanted, is_transient, ranges};
use crate::message::{DEAD_LETTER, MOVED_FROM};

/// Messages that one record deletes: bounds the record, and how long the core is busy with it.
const DELETED_AT_ONCE: usize = 4096;
/// Such records that may be on their way: a sync of the disk is shared by them.
const RECORDS_AHEAD: usize = 8;
/// Bytes after which moved messages go to the log.
const BATCH_BYTES: usize = 1 << 20;

/// What is under way for one call.
struct Disposal<'a> {
    broker: &'a Broker,
    handle: Arc<QueueHandle>,
    fate: &'a Fate,
    outcome: Outcome,
    /// Records that were handed over, and how many messages each is about.
    under_way: VecDeque<(oneshot::Receiver<Lsn>, u64)>,
    limit: u64,
    /// To which queues dead letters may go back.
    may: &'a (dyn Fn(&str) -> bool + Send + Sync),
    /// Whether a queue is to be made before the first message is moved.
    makes_queue: bool,
}

/// What has become of messages, and whether all that was wanted was done.
#[derive(Debug)]
pub struct Disposed {
    /// What was done.
    pub outcome: Outcome,
    /// Why it was ended before its time, if it was.
    pub ended: Result<(), AdminError>,
}

/// A message that is claimed, with its record's bytes.
struct Chosen {
    offset: Offset,
    record: Bytes,
}

impl Broker {
    /// Does something with up to about `limit` messages that `selection` is about. In a dry run it counts those that would be
    /// dealt with as matched. What is done is as durable on return as anything confirmed; after an error or a crash,
    /// or where the future was dropped, some may be done.
    ///
    /// # Errors
    /// [`AdminError`].
    pub async fn dispose(
        &self,
        realm: &str,
        name: &str,
        selection: &Selection,
        fate: &Fate,
        how: How,
        limit: u64,
    ) -> Result<Outcome, AdminError> {
        let anywhere = |_: &str| true;
        let disposed = self.dispose_where(realm, name, selection, fate, how, limit, &anywhere);
        let Disposed { outcome, ended } = disposed.await?;
        ended.map(|()| outcome)
    }

    /// As [`Broker::dispose`]; dead letters go back only to queues that `may` says yes to, and are left alone otherwise.
    ///
    /// # Errors
    /// [`AdminError`]: nothing was begun.
    #[expect(
        clippy::too_many_arguments,
        reason = "those of `dispose`, and one more"
    )]
    pub async fn dispose_where(
        &self,
        realm: &str,
        name: &str,
        selection: &Selection,
        fate: &Fate,
        how: How,
        limit: u64,
        may: &(dyn Fn(&str) -> bool + Send + Sync),
    ) -> Result<Disposed, AdminError> {
        let handle = self.handle(realm, name)?;
        if handle.is_transient() && *fate != Fate::Delete {
            return Err(AdminError::InMemory(name.to_owned()));
        }
        // What comes from now on, by the move itself for instance, is not meant.
        let next = handle.gauges.next.load(Ordering::Relaxed);
        let selected = Selected::new(selection)?.not_behind(Offset::new(next.saturating_sub(1)));
        let makes_queue = match fate {
            Fate::Move { address } => self.has_to_make_room_for(realm, address)?,
            Fate::Delete | Fate::Redrive => false,
        };
        let mut disposal = Disposal {
            broker: self,
            handle,
            fate,
            outcome: Outcome::default(),
            under_way: VecDeque::new(),
            limit,
            may,
            makes_queue,
        };
        let done = match (how.dry_run, selected.range()) {
            (true, _) => disposal.count(&selected).await,
            (false, Some((from, upto))) if *fate == Fate::Delete => {
                disposal.delete_range(from, upto).await
            }
            (false, _) => disposal.run(&selected).await,
        };
        // What was handed over is heard of even after an error.
        let heard = disposal.hear_all().await;
        tracing::info!(
            realm,
            queue = name,
            ?fate,
            done = disposal.outcome.done,
            "messages disposed of"
        );
        Ok(Disposed {
            outcome: disposal.outcome,
            ended: done.and(heard),
        })
    }

    /// Whether a queue is to be made first for what goes to an address.
    ///
    /// # Errors
    /// It may not be made, or is no address, or the disk is full.
    fn has_to_make_room_for(&self, realm: &str, address: &str) -> Result<bool, AdminError> {
        use crate::engine::address::{Address, Space};
        if self.shared.is_disk_full() {
            return Err(AdminError::DiskFull);
        }
        let settings = &self.shared.settings;
        let address = Address::parse(address, settings.address);
        let address = address.map_err(AdminError::address("to"))?;
        let takers = Takers::of(
            &self.shared.routes.load(),
            realm,
            address.as_str(),
            Care::KEPT,
        );
        if takers.have_no_durable() && takers.n_shed() == 0 {
            if !settings.create_on_send || address.space() != Space::Ordinary {
                let why = "no durable queue takes messages for it";
                return Err(AdminError::invalid("to", why));
            }
            return Ok(true);
        }
        Ok(false)
    }
}

impl Disposal<'_> {
    fn shared(&self) -> &Arc<Shared> {
        &self.broker.shared
    }

    fn is_full(&self) -> bool {
        self.outcome.matched >= self.limit
    }

    fn room(&self, at_once: usize) -> usize {
        let left = self.limit.saturating_sub(self.outcome.matched);
        usize::try_from(left).unwrap_or(usize::MAX).min(at_once)
    }

    /// A dry run: how many are meant, and how many of them would be left alone.
    async fn count(&mut self, selected: &Selected) -> Result<(), AdminError> {
        let mut walk = Walk::new(selected);
        while let Some(wanted) = walk
            .wanted(selected, self.room(SLICE))
            .filter(|_| !self.is_full())
        {
            let looked = self.shared().look(self.handle.id, wanted.clone()).await?;
            walk.looked(&wanted, looked.next);
            for (sight, record) in self.meant(looked.sights, selected).await? {
                let stays = sight.standing != Standing::Ready || self.goes_nowhere(&sight, record);
                self.outcome.matched += 1;
                self.outcome.left += u64::from(stays);
            }
        }
        self.outcome.next = walk.next(selected);
        Ok(())
    }

    /// Deletes all from one offset to another: nothing is read, so this costs little whatever there is.
    async fn delete_range(&mut self, from: Offset, upto: Offset) -> Result<(), AdminError> {
        let mut at = Some(from);
        while let Some(from) = at.filter(|_| !self.is_full()) {
            let wanted = Wanted::Range(from, upto, self.room(DELETED_AT_ONCE));
            let Some(claims) = self.claim(wanted).await? else {
                return Ok(());
            };
            at = claims.next;
            self.outcome.matched += claims.offsets.len() as u64 + claims.left;
            self.outcome.left += claims.left;
            self.delete(claims).await?;
        }
        self.outcome.next = at.map(Offset::get);
        Ok(())
    }

    async fn run(&mut self, selected: &Selected) -> Result<(), AdminError> {
        let mut walk = Walk::new(selected);
        while let Some(wanted) = walk
            .wanted(selected, self.room(SLICE))
            .filter(|_| !self.is_full())
        {
            let looked = self.shared().look(self.handle.id, wanted.clone()).await?;
            walk.looked(&wanted, looked.next);
            if *self.fate == Fate::Delete && !selected.needs_message() {
                let meant = looked.sights.into_iter().filter(|it| selected.may_be(it));
                let offsets = meant.map(|sight| sight.offset).collect();
                self.deal_with(offsets, Vec::new()).await?;
                continue;
            }
            // In groups: what is read stays within bounds, however large messages are.
            for group in selected_groups(looked.sights, selected) {
                let meant = self.meant(group, selected).await?;
                let offsets = meant.iter().map(|(sight, _)| sight.offset).collect();
                let records = meant.into_iter().filter_map(|(sight, record)| {
                    let offset = sight.offset;
                    record.map(|record| Chosen { offset, record })
                });
                self.deal_with(offsets, records.collect()).await?;
            }
        }
        self.outcome.next = walk.next(selected);
        Ok(())
    }

    /// Those of a slice that are meant, with their records where these were needed and can be read. What cannot be read is
    /// meant only where nothing need be known of it.
    async fn meant(
        &self,
        sights: Vec<Sight>,
        selected: &Selected,
    ) -> Result<Vec<(Sight, Option<Bytes>)>, AdminError> {
        let needs_record = *self.fate != Fate::Delete || selected.needs_message();
        let (queue, mut meant) = (self.handle.id, Vec::new());
        for group in selected_groups(sights, selected) {
            if !needs_record {
                meant.extend(group.into_iter().map(|sight| (sight, None)));
                continue;
            }
            let read = self.shared().read_records(group).await?;
            meant.extend(read.into_iter().filter(|(_, record)| {
                let message = record.as_ref().and_then(|it| message(it, Some(queue)));
                message.map_or(!selected.needs_message(), |message| selected.is(&message))
            }));
        }
        Ok(meant)
    }

    /// Claims these and does what is to be done with them.
    async fn deal_with(
        &mut self,
        offsets: Vec<Offset>,
        records: Vec<Chosen>,
    ) -> Result<(), AdminError> {
        let n_meant = offsets.len() as u64;
        if n_meant == 0 {
            return Ok(());
        }
        let Some(claims) = self.claim(Wanted::These(offsets)).await? else {
            return Ok(());
        };
        // What has gone since it was looked at was not there to be dealt with.
        self.outcome.matched += claims.offsets.len() as u64 + claims.left;
        self.outcome.left += claims.left;
        if *self.fate == Fate::Delete {
            self.delete(claims).await
        } else {
            self.relocate(claims, &records).await
        }
    }

    async fn claim(&self, wanted: Wanted) -> Result<Option<Claims>, AdminError> {
        let id = self.handle.id;
        self.shared()
            .answer(|reply| AdminAsk::Claim(id, wanted, reply))
            .await
    }

    async fn delete(&mut self, claims: Claims) -> Result<(), AdminError> {
        let (id, n_claimed) = (self.handle.id, claims.offsets.len() as u64);
        if n_claimed == 0 {
            return Ok(());
        }
        if is_transient(id) {
            let delete = |reply| AdminAsk::DeleteHeld(id, claims.into_offsets(), reply);
            let n_deleted = self.shared().answer(delete).await?;
            self.outcome.done += n_deleted;
            self.shared().stats.deleted(n_deleted);
            return Ok(());
        }
        let settle = Settle {
            queue: id.get(),
            dropped: ranges(claims.offsets.iter().copied()),
            ..Settle::default()
        };
        let (mut batch, applied) = self.batch();
        batch
            .push(&Draft::new(Kind::Settle, now(), &settle))
            .map_err(|_refused| AdminError::TooLarge)?;
        self.submit(batch, claims).await?;
        self.under_way.push_back((applied, n_claimed));
        while self.under_way.len() >= RECORDS_AHEAD {
            self.hear().await?;
        }
        Ok(())
    }

    fn batch(&self) -> (DraftBatch<Batch>, oneshot::Receiver<Lsn>) {
        let (told, applied) = oneshot::channel();
        let companion = Batch {
            told: Some(told),
            ..Batch::default()
        };
        let limits = self.shared().log().limits();
        (DraftBatch::new(limits, companion), applied)
    }

    /// Hands records over; from here on what they are about is not given back.
    async fn submit(&self, mut batch: DraftBatch<Batch>, claims: Claims) -> Result<(), AdminError> {
        let log = self.shared().log();
        let permit = timeout(SETTLED_WITHIN, log.reserve(batch.len_bytes())).await;
        let permit = permit.map_err(|_elapsed| AdminError::Unready)?;
        batch.hold(permit.map_err(|_closed| AdminError::ShuttingDown)?);
        log.submit(batch)
            .map_err(|_closed| AdminError::ShuttingDown)?;
        claims.into_offsets();
        Ok(())
    }

    /// Waits for the oldest records that are under way.
    async fn hear(&mut self) -> Result<(), AdminError> {
        if let Some((applied, n_messages)) = self.under_way.pop_front() {
            let Ok(applied) = timeout(SETTLED_WITHIN, applied).await else {
                // The others are behind it: to wait for each would be to wait for ever.
                self.under_way.clear();
                return Err(AdminError::Unsettled);
            };
            // It may be in the log: the next start knows.
            applied.map_err(|_gone| AdminError::Unsettled)?;
            self.outcome.done += n_messages;
            match self.fate {
                Fate::Delete => self.shared().stats.deleted(n_messages),
                Fate::Move { .. } | Fate::Redrive => self.shared().stats.moved(n_messages),
            }
        }
        Ok(())
    }

    async fn hear_all(&mut self) -> Result<(), AdminError> {
        while !self.under_way.is_empty() {
            self.hear().await?;
        }
        Ok(())
    }

    /// Moves what is claimed and can be read to where it is to go; gives back the rest.
    async fn relocate(&mut self, mut claims: Claims, chosen: &[Chosen]) -> Result<(), AdminError> {
        if self.shared().is_disk_full() {
            return Err(AdminError::DiskFull);
        }
        let is_claimed = |it: &Chosen| claims.offsets.binary_search(&it.offset).is_ok();
        if self.makes_queue && chosen.iter().any(is_claimed) {
            self.make_queue().await?;
        }
        let mut moves = Vec::new();
        for chosen in chosen {
            if is_claimed(chosen)
                && let Some(it) = self.relocation(chosen)
            {
                moves.push((chosen, it));
            }
        }
        let goes = |offset: &Offset| {
            moves
                .binary_search_by_key(offset, |(it, _)| it.offset)
                .is_ok()
        };
        self.outcome.left += claims.retain(goes);
        if moves.is_empty() {
            return Ok(());
        }
        let (mut batch, mut applied) = self.batch();
        let mut n_messages = 0;
        let mut batches = Vec::new();
        for (chosen, it) in &moves {
            let Ok(record) = RecordRef::parse(&chosen.record) else {
                continue;
            };
            let draft = Draft {
                priority: record.priority(),
                expires: record.expires(),
                source: Some(Source {
                    queue: self.handle.id,
                    offset: chosen.offset,
                }),
                targets: &it.targets,
                body: record.body(),
                ..Draft::new(Kind::Enqueue, now(), &it.envelope)
            };
            let mut pushed = match batch.len_bytes() < BATCH_BYTES {
                true => batch.push(&draft),
                false => Err(Refused::BatchFull),
            };
            if pushed == Err(Refused::BatchFull) {
                let (next, next_applied) = self.batch();
                batches.push((std::mem::replace(&mut batch, next), applied, n_messages));
                (applied, n_messages) = (next_applied, 0);
                pushed = batch.push(&draft);
            }
            pushed.map_err(|_refused| AdminError::TooLarge)?;
            n_messages += 1;
        }
        batches.push((batch, applied, n_messages));
        // All of the group or none: its claims are one.
        let bytes = batches.iter().map(|(batch, ..)| batch.len_bytes()).sum();
        let log = self.broker.shared.log();
        let permit = timeout(SETTLED_WITHIN, log.reserve(bytes)).await;
        let permit = permit.map_err(|_elapsed| AdminError::Unready)?;
        let permit = permit.map_err(|_closed| AdminError::ShuttingDown)?;
        claims.into_offsets();
        // The last one holds the room of all: they are committed in order.
        if let Some((last, ..)) = batches.last_mut() {
            last.hold(permit);
        }
        for (batch, applied, n_messages) in batches {
            log.submit(batch)
                .map_err(|_closed| AdminError::ShuttingDown)?;
            self.under_way.push_back((applied, n_messages));
        }
        self.hear_all().await
    }

    /// Makes the queue that what is moved goes to.
    async fn make_queue(&mut self) -> Result<(), AdminError> {
        if let Fate::Move { address } = self.fate {
            let (realm, how) = (&self.handle.realm, How::default());
            let make = self.broker.change_queue(realm, address, Wish::Make, how);
            make.await?;
        }
        self.makes_queue = false;
        Ok(())
    }

    /// Whether a message that is to be moved, or to go back, has nowhere to go to.
    fn goes_nowhere(&self, sight: &Sight, record: Option<Bytes>) -> bool {
        let offset = sight.offset;
        let chosen = record.map(|record| Chosen { offset, record });
        let has_a_place = match self.fate {
            Fate::Delete => return false,
            Fate::Move { .. } if self.makes_queue => chosen.is_some(),
            Fate::Move { .. } | Fate::Redrive => {
                chosen.is_some_and(|it| self.relocation(&it).is_some())
            }
        };
        !has_a_place
    }

    /// Where a message goes and what it says then; none: nowhere now, so it stays.
    fn relocation(&self, chosen: &Chosen) -> Option<Relocation> {
        let record = RecordRef::parse(&chosen.record).ok()?;
        let envelope = Envelope::decode(chosen.record.slice_ref(record.envelope()));
        let mut envelope = envelope.ok()?;
        settle_address(&mut envelope, self.handle.id);
        let targets = match self.fate {
            Fate::Delete => return None,
            Fate::Move { address } => self.takers(address)?,
            Fate::Redrive => {
                let home = envelope.properties.get("dead-letter-queue")?;
                let home = self.broker.handle(&self.handle.realm, home).ok()?;
                if home.is_transient() || home.is_full() || !(self.may)(&home.name) {
                    return None;
                }
                SmallVec::from_slice(&[home.id])
            }
        };
        if envelope.taken == 0 {
            envelope.taken = record.time().get();
        }
        let properties = &mut envelope.properties;
        if *self.fate == Fate::Redrive {
            properties.retain(|name, _| !name.starts_with(DEAD_LETTER));
        }
        properties.insert(MOVED_FROM.to_owned(), self.handle.name.to_string());
        Some(Relocation { targets, envelope })
    }

    fn takers(&self, address: &str) -> Option<SmallVec<[QueueId; 4]>> {
        let routes = self.shared().routes.load();
        let takers = Takers::of(&routes, &self.handle.realm, address, Care::KEPT);
        (!takers.have_no_durable() && !takers.is_full()).then_some(takers.durable)
    }
}

/// Where a message goes, and what it says then.
struct Relocation {
    targets: SmallVec<[QueueId; 4]>,
    envelope: Envelope,
}
