//! A consumer's deliveries on the client's side: what waits, what is in hand, what is being settled.
//!
//! ```text
//! deliver ─▶ ready ─▶ application ─▶ settling ─▶ confirmed: gone
//!            └──────── hand ─────────────────┘
//! ```
//!
//! Always, each with a test of its name below:
//! - `an_offset_in_hand_is_never_handed_over_again`: nor one that the application settled in a session now lost.
//! - `credit_counts_what_is_open`: a delivery stops counting when the application settles it.
//! - `one_frame_settles_a_batch`: settlements between two frames are joined to ranges.
//!
//! Not here: seqs and sockets (`conversation`), and the handle that applications use (`consumer`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use restante_proto::mbws::{self, Code, Deliver, Ranges};
use tokio::sync::Notify;

use super::error::ClientError;
use super::options::{ConsumeOptions, millis};
use super::{Delivery, SettleFailure};

/// Ranges in one frame: what a broker takes by default.
pub(super) const FRAME_RANGES_MAX: usize = 1024;
/// Failed settlements kept for the application; later ones are only counted by the broker.
const FAILURES_MAX: usize = 1024;

/// What becomes of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Disposition {
    Accepted,
    Released {
        delay: Option<Duration>,
        reason: Option<String>,
    },
    Rejected {
        reason: Option<String>,
    },
}

/// What became of a delivery that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It waits for the application.
    Ready,
    /// It was in hand already.
    Known,
    /// The application had accepted it before: it is settled without being handed over.
    Settled,
}

/// One consumer's shelf, shared by its handle and the task.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) name: Arc<str>,
    contents: Mutex<Contents>,
    arrived: Notify,
    settled: Notify,
}

#[derive(Debug)]
struct Contents {
    explicit: bool,
    window: u64,
    at_most: u64,
    /// Received and not yet taken by the application.
    ready: VecDeque<Delivery>,
    /// Received, and their settlement not confirmed: ready, taken, or settling.
    hand: Ranges,
    n_hand: u64,
    /// Settled by the application, not confirmed.
    settling: Ranges,
    n_settling: u64,
    /// Those of `settling` that were accepted.
    accepting: Ranges,
    /// Accepted, in a session that is gone or a process that died; the broker may not have heard of it.
    doubtful: Ranges,
    /// Not yet in a frame.
    pending: Vec<(Disposition, Ranges)>,
    /// Handed to the application, or waiting to be.
    n_received: u64,
    /// The next offset to browse or replay from.
    next_offset: Option<u64>,
    /// Whether a [`Command::Stir`](super::outbox::Command) is on its way.
    stirred: bool,
    failures: Vec<SettleFailure>,
    ended: Option<ClientError>,
}

impl Shelf {
    pub(super) fn new(name: Arc<str>, options: &ConsumeOptions) -> Self {
        Shelf {
            name,
            contents: Mutex::new(Contents {
                explicit: options.is_explicit(),
                window: u64::from(options.window.max(1)),
                at_most: options.at_most.unwrap_or(u64::MAX),
                ready: VecDeque::new(),
                hand: Ranges::new(),
                n_hand: 0,
                settling: Ranges::new(),
                n_settling: 0,
                accepting: Ranges::new(),
                doubtful: options.processed.clone(),
                pending: Vec::new(),
                n_received: 0,
                next_offset: None,
                stirred: false,
                failures: Vec::new(),
                ended: None,
            }),
            arrived: Notify::new(),
            settled: Notify::new(),
        }
    }

    // The task's side.

    /// Takes a delivery in.
    pub(super) fn arrive(&self, deliver: Deliver) -> Arrival {
        let mut contents = self.contents.lock();
        let offset = deliver.offset;
        contents.next_offset = Some(offset + 1);
        if contents.explicit {
            if contents.hand.contains(offset) {
                return Arrival::Known;
            }
            contents.take_in_hand(offset);
            if contents.doubtful.contains(offset) {
                contents.settle(offset, &Disposition::Accepted);
                return Arrival::Settled;
            }
        }
        contents.n_received += 1;
        contents.ready.push_back(Delivery::from(deliver));
        Arrival::Ready
    }

    /// Wakes the application for what has arrived.
    pub(super) fn announce(&self) {
        self.arrived.notify_one();
    }

    /// The credit to grant on a socket on which `n_delivered` deliveries came: absolute.
    pub(super) fn limit(&self, n_delivered: u64) -> u64 {
        let contents = self.contents.lock();
        let room = contents.window.saturating_sub(contents.n_open());
        let left = contents.at_most.saturating_sub(contents.n_received);
        n_delivered + room.min(left)
    }

    /// A quarter of the window: credit is raised in steps of at least this, unless none is left.
    pub(super) fn credit_step(&self) -> u64 {
        (self.contents.lock().window / 4).max(1)
    }

    /// What must be said after a resume: the offsets in hand without `applied`, whose settlement the broker has.
    /// None: such a consumer holds nothing.
    pub(super) fn holding(&self, applied: &Ranges) -> Option<Ranges> {
        let contents = self.contents.lock();
        if !contents.explicit {
            return None;
        }
        let mut held = contents.hand.clone();
        for (first, last) in applied.iter() {
            held.remove_range(first, last);
        }
        Some(at_most_ranges(held))
    }

    /// After a resume by a new process: takes what was processed before in hand, and settles it.
    pub(super) fn adopt(&self) {
        let mut contents = self.contents.lock();
        for (first, last) in contents.doubtful.clone().iter() {
            for offset in first..=last {
                contents.take_in_hand(offset);
                contents.settle(offset, &Disposition::Accepted);
            }
        }
    }

    /// The session is gone with all that it held: what was not accepted comes again.
    pub(super) fn lose_session(&self) {
        let mut contents = self.contents.lock();
        if !contents.explicit {
            return;
        }
        let accepting = std::mem::take(&mut contents.accepting);
        for (first, last) in accepting.iter() {
            contents.doubtful.insert_range(first, last);
        }
        let unread = contents.ready.len() as u64;
        contents.n_received = contents.n_received.saturating_sub(unread);
        contents.ready.clear();
        contents.hand = Ranges::new();
        contents.n_hand = 0;
        contents.settling = Ranges::new();
        contents.n_settling = 0;
        contents.pending.clear();
        drop(contents);
        self.settled.notify_waiters();
    }

    /// Where a new session's `browse` or `replay` goes on; none: where it was to begin.
    pub(super) fn next_offset(&self) -> Option<u64> {
        self.contents.lock().next_offset
    }

    /// The settlements made since the last call, joined to as few frames as will hold them (their seq is still 0).
    pub(super) fn take_settles(&self) -> Vec<mbws::Settle> {
        let mut contents = self.contents.lock();
        contents.stirred = false;
        let pending = std::mem::take(&mut contents.pending);
        drop(contents);
        let mut frames = Vec::new();
        for (disposition, offsets) in pending {
            for part in parts(&offsets) {
                frames.push(settle_frame(&self.name, &disposition, part));
            }
        }
        frames
    }

    /// A settle frame is confirmed; `refused`: it was not applied, or not for all of its offsets.
    pub(super) fn confirm(&self, settle: &mbws::Settle, refused: Option<Code>) {
        let mut contents = self.contents.lock();
        let mut offsets = settle.accepted.clone();
        for (first, last) in settle.released.iter().chain(settle.rejected.iter()) {
            offsets.insert_range(first, last);
        }
        for (first, last) in offsets.iter() {
            let contents = &mut *contents;
            contents.n_hand -= contents.hand.remove_range(first, last);
            contents.n_settling -= contents.settling.remove_range(first, last);
            contents.accepting.remove_range(first, last);
            contents.doubtful.remove_range(first, last);
        }
        if let Some(code) = refused
            && contents.failures.len() < FAILURES_MAX
        {
            contents.failures.push(SettleFailure { offsets, code });
        }
        let quiet = contents.n_settling == 0;
        drop(contents);
        if quiet {
            self.settled.notify_waiters();
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&self, why: ClientError) {
        self.contents.lock().ended.get_or_insert(why);
        self.arrived.notify_one();
        self.settled.notify_waiters();
    }

    // The application's side.

    /// Takes up to `n_max` of what is ready. The flag says whether the task should be stirred.
    pub(super) fn take(&self, n_max: usize) -> (Result<Vec<Delivery>, ClientError>, bool) {
        let mut contents = self.contents.lock();
        if contents.ready.is_empty() {
            let ended = contents.ended.clone();
            return (ended.map_or_else(|| Ok(Vec::new()), Err), false);
        }
        let n = contents.ready.len().min(n_max.max(1));
        let batch = contents.ready.drain(..n).collect();
        let stir = !contents.explicit && contents.stir();
        (Ok(batch), stir)
    }

    /// Waits until something has arrived or ended since the last wait. For one waiter.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Settles those of `offsets` that are in hand and not settled yet. True: the task should be stirred.
    pub(super) fn settle(
        &self,
        offsets: impl IntoIterator<Item = u64>,
        disposition: &Disposition,
    ) -> bool {
        let mut contents = self.contents.lock();
        let mut any = false;
        for offset in offsets {
            any |= contents.settle(offset, disposition);
        }
        any && contents.stir()
    }

    /// See [`Consumer::unconfirmed`](super::Consumer::unconfirmed).
    pub(super) fn unconfirmed(&self) -> Ranges {
        let contents = self.contents.lock();
        let mut all = contents.doubtful.clone();
        for (first, last) in contents.accepting.iter() {
            all.insert_range(first, last);
        }
        all
    }

    pub(super) fn take_failures(&self) -> Vec<SettleFailure> {
        std::mem::take(&mut self.contents.lock().failures)
    }

    /// Waits until every settlement made so far is confirmed.
    pub(super) async fn all_settled(&self) -> Result<(), ClientError> {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            {
                let contents = self.contents.lock();
                if contents.n_settling == 0 {
                    return Ok(());
                }
                if let Some(why) = &contents.ended {
                    return Err(why.clone());
                }
            }
            settled.await;
        }
    }
}

impl Contents {
    /// Deliveries that count against the window.
    fn n_open(&self) -> u64 {
        if self.explicit {
            self.n_hand - self.n_settling
        } else {
            self.ready.len() as u64
        }
    }

    fn take_in_hand(&mut self, offset: u64) {
        if !self.hand.contains(offset) {
            self.hand.insert(offset);
            self.n_hand += 1;
        }
    }

    fn settle(&mut self, offset: u64, disposition: &Disposition) -> bool {
        if !self.hand.contains(offset) || self.settling.contains(offset) {
            return false;
        }
        self.settling.insert(offset);
        self.n_settling += 1;
        if *disposition == Disposition::Accepted {
            self.accepting.insert(offset);
        }
        match self.pending.iter_mut().find(|(of, _)| of == disposition) {
            Some((_, offsets)) => offsets.insert(offset),
            None => {
                let offsets = Ranges::from_iter([offset]);
                self.pending.push((disposition.clone(), offsets));
            }
        }
        true
    }

    fn stir(&mut self) -> bool {
        !std::mem::replace(&mut self.stirred, true)
    }
}

fn settle_frame(name: &Arc<str>, disposition: &Disposition, offsets: Ranges) -> mbws::Settle {
    let mut frame = mbws::Settle {
        consumer: name.to_string(),
        ..mbws::Settle::default()
    };
    match disposition {
        Disposition::Accepted => frame.accepted = offsets,
        Disposition::Released { delay, reason } => {
            frame.released = offsets;
            frame.delay = delay.map(millis);
            frame.reason.clone_from(reason);
        }
        Disposition::Rejected { reason } => {
            frame.rejected = offsets;
            frame.reason.clone_from(reason);
        }
    }
    frame
}

/// `offsets` in parts that a broker takes in one frame.
fn parts(offsets: &Ranges) -> Vec<Ranges> {
    let ranges: Vec<_> = offsets.iter().collect();
    let each = ranges.chunks(FRAME_RANGES_MAX).map(|chunk| {
        let mut part = Ranges::new();
        for (first, last) in chunk {
            part.insert_range(*first, *last);
        }
        part
    });
    each.collect()
}

/// The first ranges of `offsets`; past what a frame takes, the rest is released, comes again, and is recognised.
fn at_most_ranges(offsets: Ranges) -> Ranges {
    if offsets.n_ranges() <= FRAME_RANGES_MAX {
        return offsets;
    }
    parts(&offsets).into_iter().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(options: &ConsumeOptions) -> Shelf {
        Shelf::new("c".into(), options)
    }

    fn deliver(shelf: &Shelf, offsets: impl IntoIterator<Item = u64>) {
        for offset in offsets {
            shelf.arrive(Deliver {
                offset,
                ..Deliver::default()
            });
        }
    }

    fn taken(shelf: &Shelf) -> Vec<u64> {
        let batch = shelf.take(usize::MAX).0.unwrap();
        batch.iter().map(|delivery| delivery.offset).collect()
    }

    #[test]
    fn an_offset_in_hand_is_never_handed_over_again() {
        let mut options = ConsumeOptions::new("q");
        options.processed.insert(2);
        let shelf = shelf(&options);
        deliver(&shelf, [1, 2, 3]);
        assert_eq!(taken(&shelf), [1, 3]);
        deliver(&shelf, [1, 2, 3, 4]);
        assert_eq!(taken(&shelf), [4]);
        let settles = shelf.take_settles();
        assert_eq!(settles[0].accepted, Ranges::from_iter([2]));

        shelf.settle([1], &Disposition::Accepted);
        shelf.lose_session();
        deliver(&shelf, [1, 3]);
        assert_eq!(taken(&shelf), [3]);
        assert_eq!(shelf.unconfirmed(), Ranges::from_iter([1, 2]));
    }

    #[test]
    fn credit_counts_what_is_open() {
        let mut options = ConsumeOptions::new("q");
        options.window = 10;
        let shelf = shelf(&options);
        assert_eq!(shelf.limit(0), 10);
        deliver(&shelf, 0..4);
        assert_eq!(shelf.limit(4), 10);
        assert_eq!(taken(&shelf).len(), 4);
        assert_eq!(shelf.limit(4), 10, "taken is still open");
        shelf.settle([0, 1, 2], &Disposition::Accepted);
        assert_eq!(shelf.limit(4), 13);
        assert_eq!(shelf.limit(0), 9, "on a new socket one is still open");
    }

    #[test]
    fn no_more_than_asked_for_in_all_is_credited() {
        let mut options = ConsumeOptions::new("q");
        options.at_most = Some(3);
        let shelf = shelf(&options);
        assert_eq!(shelf.limit(0), 3);
        deliver(&shelf, 0..2);
        assert_eq!(shelf.limit(2), 3);
        shelf.settle(0..2, &Disposition::Accepted);
        assert_eq!(shelf.limit(2), 3);
    }

    #[test]
    fn one_frame_settles_a_batch() {
        let shelf = shelf(&ConsumeOptions::new("q"));
        deliver(&shelf, 0..10);
        assert!(shelf.settle(0..5, &Disposition::Accepted));
        assert!(!shelf.settle([7, 5, 0], &Disposition::Accepted));
        let settles = shelf.take_settles();
        assert_eq!(settles.len(), 1);
        let mut expected = Ranges::from_iter([7]);
        expected.insert_range(0, 5);
        assert_eq!(settles[0].accepted, expected);
        assert!(shelf.take_settles().is_empty());
        assert_eq!(shelf.unconfirmed(), expected);
        shelf.confirm(&settles[0], None);
        assert!(shelf.unconfirmed().is_empty());
        assert_eq!(shelf.holding(&Ranges::new()).unwrap().count(), 3);
    }
}
