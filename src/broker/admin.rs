//! What administrators do with queues, sessions and connections.
//!
//! ```text
//! change of a queue ─▶ steward (one at a time) ─▶ log ─▶ core ─▶ routing snapshot ─▶ told
//! listing of queues ─▶ routing snapshot and gauges: the core is not asked
//! browse, dispose, why, sessions ─▶ core, in slices ─▶ log (bodies, records)
//! ```
//!
//! Changes of queues go through the *steward* (`steward.rs`), a thread that checks each against what is in force, writes
//! the record and waits until it is applied before it looks at the next: so a revision that was checked is still the
//! one that is changed. Whatever returns without an error is as durable as the log is configured to make it.
//!
//! Messages that are deleted or moved are claimed first (`dispose.rs`), so that no consumer gets them meanwhile; each
//! one's fate is one record, and what gets none is given back, also where the caller goes away.
//!
//! Not here: who may do what (control), how it looks in HTTP (admin-api).

mod ask;
pub(super) mod browse;
mod change;
mod decide;
mod dispose;
mod error;
mod list;
mod select;
mod spec;
mod steward;
#[cfg(test)]
mod tests;
mod wamp;
mod who;

pub(super) use ask::{AdminAsk, Claims};
pub use change::QueueChange;
pub(super) use change::{Order, Wish};
pub use dispose::Disposed;
pub use error::AdminError;
pub(super) use list::info;
pub(super) use spec::SHAPES_MAX;
pub(super) use steward::Steward;
pub(super) use who::SUBSCRIPTIONS_SHOWN;

use std::sync::Arc;

use tokio::sync::oneshot;

use super::core::Ask;
use super::{Broker, Shared};
use crate::engine::QueueHandle;

impl Broker {
    /// The queue of that name, from the routing snapshot.
    fn handle(&self, realm: &str, name: &str) -> Result<Arc<QueueHandle>, AdminError> {
        let routes = self.shared.routes.load();
        let names = routes.queues.get(realm).map(|realm| &realm.names);
        let handle = names.and_then(|names| names.get(name)).cloned();
        handle.ok_or_else(|| AdminError::NoQueue {
            realm: realm.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl Shared {
    /// Asks the core and waits for its answer.
    async fn answer<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> AdminAsk,
    ) -> Result<T, AdminError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Ask::Admin(ask(reply)));
        answer.await.map_err(|_gone| AdminError::ShuttingDown)
    }
}
