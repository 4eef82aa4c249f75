//! Changes of documents that are decided on where they are made: in the steward's turn.
//!
//! ```text
//! Broker::change_as_of_now(decide) ─▶ steward: decide(registry in force) ─▶ record ─▶ applied ─▶ answer
//! ```
//!
//! Whoever decides on a snapshot and then asks for a [`Change`] is told [`ChangeError::Outdated`] as soon as anybody has changed
//! anything. The steward changes one thing at a time, so what is decided in its turn is decided on what is in force, however
//! many others change documents. Only clients whose sends make queues can come in between, and then it decides again.
//!
//! Always, with a test of its name in `broker/tests/registrar.rs`: `many_who_change_different_things_all_succeed`.
//!
//! Not here: what is looked at (control).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Order;
use crate::broker::registrar::Registrar;
use crate::broker::{Broker, Change, ChangeError, Shared};
use crate::registry::Registry;

/// How often clients may make queues in between before this gives up.
const TRIES_MAX: usize = 8;

/// A change that the steward is to decide on and make.
pub(in crate::broker) type Deciding = Box<dyn FnOnce(&Registrar) + Send>;

impl Broker {
    /// Makes the change that `decide` decides on, as of the documents that are in force when it is made; its `as_of` is
    /// filled in, and nothing is written where it is empty. Durable and in force on return. Gives the registry's revision
    /// and what `decide` has to tell.
    ///
    /// All other changes wait while `decide` looks: what takes long is to be tried as of a snapshot before.
    ///
    /// # Errors
    /// What `decide` says, or a [`ChangeError`]; nothing is changed then, except as [`ChangeError::ShuttingDown`] says.
    pub async fn change_as_of_now<T, E>(
        &self,
        mut decide: impl FnMut(&Registry) -> Result<(Change, T), E> + Send + 'static,
    ) -> Result<(u64, T), E>
    where
        T: Send + 'static,
        E: From<ChangeError> + Send + 'static,
    {
        let (reply, made) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let deciding: Deciding = Box::new(move |registrar| {
            // Whoever left before it was looked at wants it no more.
            if !reply.is_closed()
                && let Some(made) = decided(&shared, registrar, &mut decide)
            {
                reply.send(made).ok();
            }
        });
        let sent = self.shared.changes.send(Order::Decide(deciding)).await;
        sent.map_err(|_gone| ChangeError::ShuttingDown)?;
        made.await.map_err(|_gone| ChangeError::ShuttingDown)?
    }
}

/// None: `decide` broke down.
fn decided<T, E: From<ChangeError>>(
    shared: &Shared,
    registrar: &Registrar,
    decide: &mut impl FnMut(&Registry) -> Result<(Change, T), E>,
) -> Option<Result<(u64, T), E>> {
    if !registrar.is_settled() {
        return Some(Err(ChangeError::Unready.into()));
    }
    for _ in 0..TRIES_MAX {
        let registry = shared.registry.load_full();
        // A bug in what looks at one change is no reason to end the broker: nothing is changed yet.
        let looked = catch_unwind(AssertUnwindSafe(|| decide(&registry)));
        let (mut change, told) = match looked {
            Ok(Ok(decided)) => decided,
            Ok(Err(error)) => return Some(Err(error)),
            Err(_panic) => {
                tracing::error!("a change broke down while it was checked: it is not made");
                return None;
            }
        };
        change.as_of = registry.revision;
        match registrar.change(&change) {
            Ok(revision) => return Some(Ok((revision, told))),
            Err(ChangeError::Outdated) => {}
            Err(error) => return Some(Err(error.into())),
        }
    }
    Some(Err(ChangeError::Outdated.into()))
}
