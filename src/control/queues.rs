//! Queues, bindings, messages, connections and sessions: who may, then the broker's own methods.

use parking_lot::Mutex;
use restante_admin_api::document::Verb;
use restante_admin_api::queue::{Binding, Fate, Outcome, QueueInfo, QueueSpec, Selection};
use restante_admin_api::wamp::Shared;
use restante_admin_api::{Browsed, Caller, Changed, ControlError, How, Precondition};
use serde::Serialize;
use serde_json::{Value, json};

use super::rights::Rights;
use super::{Controller, told};
use crate::broker::{AdminError, Disposed, QueueChange};

/// Messages that one call deals with, if it does not say: a few seconds' work, and a client's patience.
const DISPOSED_MAX: u64 = 100_000;

/// How often a queue may change between the look at it and its own change, before this gives up.
const TRIES_MAX: usize = 8;

impl Controller {
    pub(super) async fn set_queue(
        &self,
        caller: &Caller,
        realm: String,
        name: String,
        spec: QueueSpec,
        how: How,
    ) -> Result<Changed<QueueInfo>, ControlError> {
        let rights = self.rights(caller)?;
        rights.need(Verb::Manage, &realm, &name)?;
        for _ in 0..TRIES_MAX {
            let present = self.broker.queue(&realm, &name).ok();
            let revision = present.as_ref().map(|it| it.revision);
            let present = present.map(|it| it.spec).unwrap_or_default();
            may_become(&rights, &realm, &name, &present, &spec)?;
            // What was judged is what is changed: bindings that somebody else has set meanwhile were not looked at.
            let judged = revision.map_or(Precondition::Absent, Precondition::Revision);
            let (only, given) = match how.only {
                Precondition::None => (judged, false),
                Precondition::Present if revision.is_some() => (judged, false),
                Precondition::Revision(wanted) if revision != Some(wanted) => {
                    return Err(ControlError::Changed { revision });
                }
                given => (given, true),
            };
            let how = How { only, ..how };
            let put = self.broker.put_queue(&realm, &name, spec.clone(), how);
            match put.await {
                Err(AdminError::Changed { .. }) if !given => {}
                change => return changed(change?),
            }
        }
        let revision = self.broker.queue(&realm, &name).ok().map(|it| it.revision);
        Err(ControlError::Changed { revision })
    }

    pub(super) async fn delete_queue(
        &self,
        caller: &Caller,
        realm: String,
        name: String,
        how: How,
    ) -> Result<Changed<()>, ControlError> {
        self.rights(caller)?.need(Verb::Manage, &realm, &name)?;
        let change = self.broker.remove_queue(&realm, &name, how).await?;
        Ok(Changed {
            now: (),
            created: false,
            revision: None,
            before: change.before.as_ref().map(told::queue),
            after: None,
        })
    }

    pub(super) async fn pause_or_resume(
        &self,
        caller: &Caller,
        realm: String,
        name: String,
        paused: Option<String>,
        how: How,
    ) -> Result<Changed<QueueInfo>, ControlError> {
        let rights = self.rights(caller)?;
        rights.need(Verb::Manage, &realm, &name)?;
        let by = &rights.who.name;
        changed(match paused {
            Some(reason) => {
                let pause = self.broker.pause_queue(&realm, &name, by, &reason, how);
                pause.await?
            }
            None => self.broker.resume_queue(&realm, &name, how).await?,
        })
    }

    pub(super) async fn look_into(
        &self,
        caller: &Caller,
        realm: String,
        name: String,
        selection: Selection,
        limit: usize,
        body_bytes_max: usize,
    ) -> Result<Browsed, ControlError> {
        self.rights(caller)?.need(Verb::Browse, &realm, &name)?;
        let browsed = self
            .broker
            .browse(&realm, &name, &selection, limit, body_bytes_max);
        Ok(browsed.await?)
    }

    #[expect(clippy::too_many_arguments, reason = "as the method of `Control`")]
    pub(super) async fn dispose_of(
        &self,
        caller: &Caller,
        realm: String,
        name: String,
        selection: Selection,
        limit: Option<u64>,
        fate: Fate,
        how: How,
    ) -> Result<Changed<Outcome>, ControlError> {
        let rights = self.rights(caller)?;
        rights.need(Verb::Manage, &realm, &name)?;
        match &fate {
            Fate::Delete => {}
            Fate::Move { address } => rights.need(Verb::Send, &realm, address)?,
            // Each message names the queue that it goes to.
            Fate::Redrive => {}
        }
        let limit = limit.unwrap_or(DISPOSED_MAX).min(DISPOSED_MAX);
        let denied = Mutex::new(None);
        let may = |queue: &str| {
            let needed = rights.need(Verb::Send, &realm, queue);
            needed.map_err(|error| *denied.lock() = Some(error)).is_ok()
        };
        let disposed = self
            .broker
            .dispose_where(&realm, &name, &selection, &fate, how, limit, &may)
            .await?;
        let Disposed { outcome, ended } = disposed;
        let told = json!({"select": selection, "outcome": outcome});
        match ended {
            Err(error) if outcome.done == 0 => return Err(error.into()),
            Err(error) => {
                return Err(ControlError::InPart {
                    done: told,
                    why: Box::new(error.into()),
                });
            }
            Ok(()) => {}
        }
        if let (0, Some(denied)) = (outcome.done, denied.into_inner()) {
            return Err(denied);
        }
        Ok(Changed {
            created: false,
            revision: None,
            before: None,
            after: Some(told),
            now: outcome,
        })
    }

    pub(super) fn bound(
        &self,
        realm: Option<&str>,
        queue: Option<&str>,
    ) -> Result<Vec<Binding>, ControlError> {
        if let (Some(realm), Some(queue)) = (realm, queue) {
            self.broker.queue(realm, queue)?;
        }
        Ok(self.broker.bindings(realm, queue))
    }

    pub(super) async fn bind_or_unbind(
        &self,
        caller: &Caller,
        binding: Binding,
        bound: bool,
        how: How,
    ) -> Result<Changed<QueueInfo>, ControlError> {
        let Binding {
            realm,
            filter,
            queue,
        } = &binding;
        let rights = self.rights(caller)?;
        rights.need(Verb::Manage, realm, queue)?;
        rights.need(Verb::Manage, realm, filter)?;
        let is_there = |queue: &QueueInfo| {
            let mut filters = queue.spec.bindings.iter().flatten();
            filters.any(|other| other == filter)
        };
        let change = if bound {
            self.broker.bind_queue(realm, queue, filter, how).await?
        } else {
            let present = self.broker.queue(realm, queue)?;
            if !is_there(&present) {
                let text = format!("binding of {filter} to queue {queue} in realm {realm}");
                return Err(ControlError::NotFound(text));
            }
            self.broker.unbind_queue(realm, queue, filter, how).await?
        };
        let created = bound && change.changed;
        Ok(Changed {
            created,
            ..changed(change)?
        })
    }

    pub(super) async fn close_connection(
        &self,
        id: String,
        how: How,
    ) -> Result<Changed<()>, ControlError> {
        let found = self.broker.connection(&id)?;
        if !how.dry_run {
            self.broker.kick(&id)?;
        }
        Ok(gone(&found))
    }

    pub(super) async fn end_or_release(
        &self,
        id: String,
        end: bool,
        how: How,
    ) -> Result<Changed<()>, ControlError> {
        let found = self.broker.session(&id).await?;
        match (how.dry_run, end) {
            (true, _) => {}
            (false, true) => self.broker.end_session(&id).await?,
            (false, false) => self.broker.release_session(&id).await?,
        }
        Ok(gone(&found))
    }
}

impl Controller {
    /// Takes what WAMP clients share in a realm from all of them.
    pub(super) fn take_back(
        &self,
        what: Shared,
        realm: &str,
        id: u64,
        how: How,
    ) -> Result<Changed<()>, ControlError> {
        let broker = &self.broker;
        let changed = match what {
            Shared::Registration => gone(&broker.registration(realm, id)?),
            Shared::Subscription => gone(&broker.subscription(realm, id)?),
        };
        match what {
            _ if how.dry_run => {}
            Shared::Registration => broker.revoke_registration(realm, id)?,
            Shared::Subscription => broker.revoke_subscription(realm, id)?,
        }
        Ok(changed)
    }
}

/// Whether somebody who may manage a queue may also make this of it.
///
/// To bind is to take what is sent there, and to unbind is to let it go elsewhere: what comes and what goes needs the
/// right, and what stays does not.
fn may_become(
    rights: &Rights,
    realm: &str,
    name: &str,
    present: &QueueSpec,
    wanted: &QueueSpec,
) -> Result<(), ControlError> {
    let (bound, binds) = (
        present.bindings.iter().flatten(),
        wanted.bindings.iter().flatten(),
    );
    let comes = binds
        .clone()
        .filter(|it| !bound.clone().any(|other| other == *it));
    let goes = bound
        .clone()
        .filter(|it| !binds.clone().any(|other| other == *it));
    for filter in comes.chain(goes).filter(|it| *it != name) {
        rights.need(Verb::Manage, realm, filter)?;
    }
    // What is rejected here goes there, whoever rejects it.
    if let Some(address) = &wanted.dead_letter
        && present.dead_letter.as_ref() != Some(address)
    {
        rights.need(Verb::Send, realm, address)?;
    }
    Ok(())
}

/// A change of a queue that is still there.
fn changed(change: QueueChange) -> Result<Changed<QueueInfo>, ControlError> {
    let created = change.created();
    // Nobody but an administrator who removed it meanwhile can have taken it away.
    let now = change.now.ok_or(ControlError::Changed { revision: None })?;
    Ok(Changed {
        created,
        revision: None,
        before: change.before.as_ref().map(told::queue),
        after: Some(told::queue(&now)),
        now,
    })
}

fn gone(it: &impl Serialize) -> Changed<()> {
    Changed {
        now: (),
        created: false,
        revision: None,
        before: serde_json::to_value(it).ok().filter(Value::is_object),
        after: None,
    }
}
