//! The application's handle to one consumer.

use std::sync::Arc;
use std::time::Duration;

use restante_proto::mbws::Ranges;
use tokio::sync::oneshot;

use super::error::ClientError;
use super::outbox::{Command, Outbox};
use super::shelf::{Disposition, Shelf};
use super::{Delivery, Owner, SettleFailure};

/// One consumer of a session. Dropping it cancels it: what it holds goes back to the queue.
#[derive(Debug)]
pub struct Consumer {
    owner: Arc<Owner>,
    shelf: Arc<Shelf>,
    cancelled: bool,
}

impl Consumer {
    pub(super) fn new(owner: Arc<Owner>, shelf: Arc<Shelf>) -> Self {
        Consumer {
            owner,
            shelf,
            cancelled: false,
        }
    }

    /// The client's name for it.
    pub fn name(&self) -> &str {
        &self.shelf.name
    }

    /// The next delivery. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// Why no more will come.
    pub async fn next(&mut self) -> Result<Delivery, ClientError> {
        loop {
            if let Some(delivery) = self.next_batch(1).await?.pop() {
                return Ok(delivery);
            }
        }
    }

    /// Waits for a delivery and returns all that are here, `n_max` at most (0 counts as 1). May be dropped while it
    /// waits: nothing is lost.
    ///
    /// # Errors
    /// Why no more will come: [`ClientError::Cancelled`] by the broker, or why the client has ended.
    pub async fn next_batch(&mut self, n_max: usize) -> Result<Vec<Delivery>, ClientError> {
        loop {
            let batch = self.ready_batch(n_max)?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            self.shelf.arrived().await;
        }
    }

    /// As [`next_batch`](Self::next_batch), without waiting: nothing may be here.
    ///
    /// # Errors
    /// As [`next_batch`](Self::next_batch).
    pub fn ready_batch(&mut self, n_max: usize) -> Result<Vec<Delivery>, ClientError> {
        let (batch, stir) = self.shelf.take(n_max);
        if stir {
            self.stir();
        }
        batch
    }

    /// Settles deliveries as done: the broker forgets them. Offsets not in hand, or settled before, are passed over.
    /// Settlements made shortly one after another go out as one frame; durable when confirmed:
    /// [`all_settled`](Self::all_settled).
    pub fn accept(&self, offsets: impl IntoIterator<Item = u64>) {
        self.settle(offsets, &Disposition::Accepted);
    }

    /// Puts deliveries back on the queue, after `delay` where given; each is counted as a failed attempt.
    pub fn release(&self, offsets: impl IntoIterator<Item = u64>, delay: Option<Duration>) {
        let reason = None;
        self.settle(offsets, &Disposition::Released { delay, reason });
    }

    /// Sends deliveries to the queue's dead-letter address, with the reason.
    pub fn reject(&self, offsets: impl IntoIterator<Item = u64>, reason: Option<&str>) {
        let reason = reason.map(str::to_owned);
        self.settle(offsets, &Disposition::Rejected { reason });
    }

    /// Waits until every settlement made so far is confirmed: durable.
    ///
    /// # Errors
    /// Why the consumer ended before that.
    pub async fn all_settled(&self) -> Result<(), ClientError> {
        self.shelf.all_settled().await
    }

    /// The offsets that were accepted and whose settlement is not confirmed. Stored with the application's work and
    /// given as [`ConsumeOptions::processed`](super::ConsumeOptions::processed) to the next process, they make each
    /// message count once.
    pub fn unconfirmed(&self) -> Ranges {
        self.shelf.unconfirmed()
    }

    /// The settlements that failed since the last call, the first thousand at most.
    pub fn take_failures(&self) -> Vec<SettleFailure> {
        self.shelf.take_failures()
    }

    /// Ends the consumer and waits for the broker to confirm it; what was not settled is released.
    ///
    /// # Errors
    /// Why the client ended before that.
    pub async fn cancel(mut self) -> Result<(), ClientError> {
        self.cancelled = true;
        let (reply, outcome) = oneshot::channel();
        let command = Command::Cancel {
            consumer: Arc::clone(&self.shelf.name),
            reply: Some(reply),
        };
        if !self.owner.outbox.push(command) {
            return Err(self.owner.outbox.why_ended());
        }
        outcome
            .await
            .unwrap_or_else(|_| Err(self.owner.outbox.why_ended()))
    }

    /// Its parts, for a task that must not keep the client alive.
    pub(super) fn into_parts(mut self) -> (Arc<Shelf>, Arc<Outbox>) {
        self.cancelled = true;
        (Arc::clone(&self.shelf), Arc::clone(&self.owner.outbox))
    }

    fn settle(&self, offsets: impl IntoIterator<Item = u64>, disposition: &Disposition) {
        if self.shelf.settle(offsets, disposition) {
            self.stir();
        }
    }

    fn stir(&self) {
        // Not taken: the client has ended, and what was not settled is released with the session.
        let name = Arc::clone(&self.shelf.name);
        self.owner.outbox.push(Command::Stir(name));
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.cancelled {
            return;
        }
        // Not taken: the client has ended, and its consumers with it.
        self.owner.outbox.push(Command::Cancel {
            consumer: Arc::clone(&self.shelf.name),
            reply: None,
        });
    }
}
