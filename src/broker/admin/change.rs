//! Changes of queues, as they are asked for.

use restante_admin_api::queue::{QueueInfo, QueueSpec};
use restante_admin_api::{How, Precondition};
use tokio::sync::oneshot;

use super::AdminError;
use super::decide::Deciding;
use crate::broker::{Broker, Change, ChangeError};
use crate::engine::ConfigKey;

/// What has become of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueChange {
    /// How it was; none: it was not there.
    pub before: Option<QueueInfo>,
    /// How it is, or in a dry run would be; none: it is gone. In a dry run the revision is the old one, or 0.
    pub now: Option<QueueInfo>,
    /// Whether anything was to be changed.
    pub changed: bool,
}

impl QueueChange {
    /// Whether it was not there before.
    pub fn created(&self) -> bool {
        self.before.is_none()
    }
}

/// What the steward is asked for.
pub(in crate::broker) enum Order {
    /// See [`Broker::put_queue`] and its neighbours.
    Queue {
        realm: String,
        name: String,
        wish: Wish,
        only: Precondition,
        dry_run: bool,
        reply: oneshot::Sender<Result<QueueChange, AdminError>>,
    },
    /// See [`Broker::change`].
    Documents(Change, oneshot::Sender<Result<u64, ChangeError>>),
    /// See [`Broker::change_as_of_now`].
    Decide(Deciding),
    /// Documents are to be written again as they are, so that old segments may go.
    Rewrite(Vec<ConfigKey>),
    /// Look whether you are to stop.
    Wake,
}

/// What is to become of a queue.
#[derive(Debug, Clone)]
pub(in crate::broker) enum Wish {
    /// It has this spec, and is made if it is not there.
    Put(QueueSpec),
    /// It is there; made as a send makes it, if it is not.
    Make,
    Remove,
    /// By whom, and why.
    Pause(String, String),
    Resume,
    Bind(String),
    Unbind(String),
}

impl Broker {
    /// Makes a queue, or gives one another spec, all bindings included. A new limit holds at once, for what waits as well.
    /// Where nothing would change, nothing is written, and the revision stays. Durable on return.
    ///
    /// # Errors
    /// [`AdminError`]; nothing is changed then, unless it is [`AdminError::ShuttingDown`].
    pub async fn put_queue(
        &self,
        realm: &str,
        name: &str,
        spec: QueueSpec,
        how: How,
    ) -> Result<QueueChange, AdminError> {
        self.change_queue(realm, name, Wish::Put(spec), how).await
    }

    /// Removes a queue with all that waits in it; its consumers are told that they are over. Durable on return.
    ///
    /// # Errors
    /// [`AdminError`]; nothing is changed then, unless it is [`AdminError::ShuttingDown`].
    pub async fn remove_queue(
        &self,
        realm: &str,
        name: &str,
        how: How,
    ) -> Result<QueueChange, AdminError> {
        self.change_queue(realm, name, Wish::Remove, how).await
    }

    /// Pauses a queue: it takes messages and gives none, over restarts, until it is [resumed](Self::resume_queue). What
    /// waits still expires, and consumers stay. One that is paused stays so as it was. Durable on return.
    ///
    /// # Errors
    /// [`AdminError`]; nothing is changed then, unless it is [`AdminError::ShuttingDown`].
    pub async fn pause_queue(
        &self,
        realm: &str,
        name: &str,
        by: &str,
        reason: &str,
        how: How,
    ) -> Result<QueueChange, AdminError> {
        let wish = Wish::Pause(by.to_owned(), reason.to_owned());
        self.change_queue(realm, name, wish, how).await
    }

    /// Lets a paused queue go on, at once. Durable on return.
    ///
    /// # Errors
    /// [`AdminError`]; nothing is changed then, unless it is [`AdminError::ShuttingDown`].
    pub async fn resume_queue(
        &self,
        realm: &str,
        name: &str,
        how: How,
    ) -> Result<QueueChange, AdminError> {
        self.change_queue(realm, name, Wish::Resume, how).await
    }

    /// Binds a filter to a queue. Durable on return.
    ///
    /// # Errors
    /// [`AdminError`]; nothing is changed then, unless it is [`AdminError::ShuttingDown`].
    pub async fn bind_queue(
        &self,
        realm: &str,
        name: &str,
        filter: &str,
        how: How,
    ) -> Result<QueueChange, AdminError> {
        let wish = Wish::Bind(filter.to_owned());
        self.change_queue(realm, name, wish, how).await
    }

    /// Undoes a [bind](Self::bind_queue). Durable on return.
    ///
    /// # Errors
    /// [`AdminError`]; nothing is changed then, unless it is [`AdminError::ShuttingDown`].
    pub async fn unbind_queue(
        &self,
        realm: &str,
        name: &str,
        filter: &str,
        how: How,
    ) -> Result<QueueChange, AdminError> {
        let wish = Wish::Unbind(filter.to_owned());
        self.change_queue(realm, name, wish, how).await
    }

    pub(super) async fn change_queue(
        &self,
        realm: &str,
        name: &str,
        wish: Wish,
        how: How,
    ) -> Result<QueueChange, AdminError> {
        if !self.has_realm(realm) {
            return Err(AdminError::NoRealm(realm.to_owned()));
        }
        let (reply, answer) = oneshot::channel();
        let order = Order::Queue {
            realm: realm.to_owned(),
            name: name.to_owned(),
            wish,
            only: how.only,
            dry_run: how.dry_run,
            reply,
        };
        let sent = self.shared.changes.send(order).await;
        sent.map_err(|_gone| AdminError::ShuttingDown)?;
        answer.await.map_err(|_gone| AdminError::ShuttingDown)?
    }
}
