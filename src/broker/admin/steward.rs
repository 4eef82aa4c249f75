//! The steward: the thread that changes queues and documents for administrators, one change at a time.
//!
//! ```text
//! change ─▶ is it as the caller believes? what would it be? ─▶ record ─▶ applied, routes out ─▶ answer
//! ```
//!
//! Nobody else changes a definition that is there, so what the routing snapshot says between two changes is what is in
//! force. Only *making* one has a rival, the client whose send or consume makes it: the first record of a name wins, and
//! a steward that lost looks again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use restante_admin_api::Precondition;
use restante_storage::payload::{DefineQueue, DeleteQueue, Paused};
use restante_storage::{Draft, Kind, Lsn, QueueId, Stamp};
use tokio::sync::mpsc;

use super::{AdminError, Order, QueueChange, Wish, info, spec};
use crate::broker::registrar::{ChangeError, NotWritten, Registrar, until, write_and_wait};
use crate::broker::{Shared, now};
use crate::engine::address::{Address, Filter};
use crate::engine::{QueueHandle, RealmRoutes};

/// How often a client may be quicker to make a queue, and another to remove it, before this gives up.
const TRIES_MAX: usize = 8;

/// How often a change that the disk has not taken in time is looked after.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

pub(in crate::broker) struct Steward {
    shared: Arc<Shared>,
    registrar: Registrar,
    stop: Arc<AtomicBool>,
}

/// What a change comes to.
enum Plan {
    /// It is so already.
    Nothing,
    Define(Box<DefineQueue>),
    Delete,
}

impl Steward {
    pub(in crate::broker) fn new(shared: Arc<Shared>, stop: Arc<AtomicBool>) -> Self {
        let registrar = Registrar::new(Arc::clone(&shared));
        Steward {
            shared,
            registrar,
            stop,
        }
    }

    /// Runs until told to stop.
    pub(in crate::broker) fn run(self, mut changes: mpsc::Receiver<Order>) {
        while !self.stop.load(Ordering::Acquire) {
            let order = self.next(&mut changes);
            let is_settled = self.registrar.is_settled();
            match order {
                None => return,
                Some(Order::Wake) => {}
                Some(Order::Documents(change, reply)) => {
                    let changed = match is_settled {
                        true => self.registrar.change(&change),
                        false => Err(ChangeError::Unready),
                    };
                    reply.send(changed).ok();
                }
                Some(Order::Decide(deciding)) => deciding(&self.registrar),
                // They are asked for again.
                Some(Order::Rewrite(_)) if !is_settled => {}
                Some(Order::Rewrite(keys)) => self.registrar.rewrite(&keys),
                Some(Order::Queue {
                    realm,
                    name,
                    wish,
                    only,
                    dry_run,
                    reply,
                }) => {
                    // Whoever left before it was looked at wants it no more.
                    if !reply.is_closed() {
                        let changed = match is_settled || dry_run {
                            true => self.change(&realm, &name, &wish, only, dry_run),
                            false => Err(AdminError::Unready),
                        };
                        reply.send(changed).ok();
                    }
                }
            }
        }
    }

    /// The next order. Meanwhile, what the disk takes late is brought into force.
    fn next(&self, changes: &mut mpsc::Receiver<Order>) -> Option<Order> {
        while !self.registrar.is_settled() {
            if let Some(order) = until(Instant::now() + LOOK_AGAIN, changes.recv()) {
                return order;
            }
        }
        changes.blocking_recv()
    }

    fn change(
        &self,
        realm: &str,
        name: &str,
        wish: &Wish,
        only: Precondition,
        dry_run: bool,
    ) -> Result<QueueChange, AdminError> {
        for _ in 0..TRIES_MAX {
            let before = self.present(realm, name);
            check(before.as_deref(), only)?;
            let plan = self.plan(realm, name, before.as_ref(), wish)?;
            let change = QueueChange {
                now: foreseen(before.as_ref(), &plan),
                changed: !matches!(plan, Plan::Nothing),
                before: before.as_deref().map(info),
            };
            if dry_run || !change.changed {
                return Ok(change);
            }
            let lsn = self.write(before.as_ref(), &plan)?;
            let now = self.present(realm, name);
            if before.is_none() && now.as_ref().is_none_or(|it| it.id.get() != lsn.get()) {
                continue; // somebody else has made it
            }
            return Ok(QueueChange {
                now: now.as_deref().map(info),
                ..change
            });
        }
        Err(AdminError::Changed {
            revision: self.present(realm, name).as_deref().map(revision),
        })
    }

    fn present(&self, realm: &str, name: &str) -> Option<Arc<QueueHandle>> {
        let routes = self.shared.routes.load();
        routes.queues.get(realm)?.names.get(name).cloned()
    }

    fn plan(
        &self,
        realm: &str,
        name: &str,
        present: Option<&Arc<QueueHandle>>,
        wish: &Wish,
    ) -> Result<Plan, AdminError> {
        let routes = self.shared.routes.load();
        let routes = routes.queues.get(realm);
        let Some(present) = present else {
            return self.plan_new(realm, name, wish, routes);
        };
        let Some(def) = &present.def else {
            return Err(AdminError::InMemory(name.to_owned()));
        };
        if present.is_owned() && !matches!(wish, Wish::Make) {
            return Err(AdminError::OfSession(name.to_owned()));
        }
        let mut wanted = DefineQueue::clone(def);
        match wish {
            Wish::Make => {}
            Wish::Remove => return Ok(Plan::Delete),
            Wish::Put(it) => {
                wanted = DefineQueue {
                    id: def.id,
                    revision: def.revision,
                    paused: def.paused.clone(),
                    ..spec::definition(realm, name, it, &self.shared.settings, routes)?
                };
            }
            Wish::Pause(by, reason) => {
                wanted.paused.get_or_insert_with(|| Paused {
                    by: by.clone(),
                    since: now().get(),
                    reason: reason.clone(),
                });
            }
            Wish::Resume => wanted.paused = None,
            Wish::Bind(filter) => {
                spec::binding(filter, self.shared.settings.address, &spec::bound(routes))?;
                if !wanted.bindings.contains(filter) {
                    wanted.bindings.push(filter.clone());
                }
            }
            Wish::Unbind(text) => {
                Filter::parse(text, self.shared.settings.address)
                    .map_err(AdminError::address("filter"))?;
                wanted.bindings.retain(|other| other != text);
            }
        }
        Ok(if wanted == **def {
            Plan::Nothing
        } else {
            Plan::Define(Box::new(wanted))
        })
    }

    fn plan_new(
        &self,
        realm: &str,
        name: &str,
        wish: &Wish,
        routes: Option<&RealmRoutes>,
    ) -> Result<Plan, AdminError> {
        let settings = &self.shared.settings;
        let def = match wish {
            Wish::Put(it) => spec::definition(realm, name, it, settings, routes)?,
            Wish::Make => {
                let address = Address::parse(name, settings.address);
                let address = address.map_err(AdminError::address("address"))?;
                settings.queue_definition(realm, &address)
            }
            Wish::Remove | Wish::Pause(..) | Wish::Resume | Wish::Bind(_) | Wish::Unbind(_) => {
                let (realm, name) = (realm.to_owned(), name.to_owned());
                return Err(AdminError::NoQueue { realm, name });
            }
        };
        let limit = self.shared.queues_max(realm);
        if routes.map_or(0, |routes| routes.names.len() - routes.n_owned) >= limit {
            return Err(AdminError::TooManyQueues { limit });
        }
        if self.shared.is_disk_full() {
            return Err(AdminError::DiskFull);
        }
        Ok(Plan::Define(Box::new(def)))
    }

    /// Writes the record, and waits until everybody sees what follows from it; gives where it lies.
    fn write(&self, before: Option<&Arc<QueueHandle>>, plan: &Plan) -> Result<Lsn, AdminError> {
        let targets: Vec<QueueId> = before.iter().map(|handle| handle.id).collect();
        let gone;
        let draft = match (plan, before) {
            (Plan::Define(def), _) => Draft {
                targets: &targets,
                stamp: Stamp::Floor,
                ..Draft::new(Kind::DefineQueue, now(), &**def)
            },
            (Plan::Delete, Some(handle)) => {
                gone = DeleteQueue {
                    queue: handle.id.get(),
                    realm: handle.realm.to_string(),
                    name: handle.name.to_string(),
                };
                Draft {
                    targets: &targets,
                    stamp: Stamp::Forget,
                    ..Draft::new(Kind::DeleteQueue, now(), &gone)
                }
            }
            (Plan::Delete, None) | (Plan::Nothing, _) => return Ok(Lsn::ZERO),
        };
        write_and_wait(&self.shared, &draft).map_err(|error| match error {
            NotWritten::Refused(_) => AdminError::TooLarge,
            NotWritten::Closed => AdminError::ShuttingDown,
            NotWritten::Late(applied) => {
                self.registrar.is_late(applied);
                AdminError::Unsettled
            }
        })
    }
}

fn revision(handle: &QueueHandle) -> u64 {
    handle.def.as_ref().map_or(0, |def| def.revision)
}

/// Whether the queue is as the caller believes.
fn check(present: Option<&QueueHandle>, only: Precondition) -> Result<(), AdminError> {
    let revision = present.map(revision);
    let holds = match only {
        Precondition::None => true,
        Precondition::Present => revision.is_some(),
        Precondition::Absent => revision.is_none(),
        Precondition::Revision(wanted) => revision == Some(wanted),
    };
    if holds {
        Ok(())
    } else {
        Err(AdminError::Changed { revision })
    }
}

/// How the queue will be.
fn foreseen(
    before: Option<&Arc<QueueHandle>>,
    plan: &Plan,
) -> Option<restante_admin_api::queue::QueueInfo> {
    match (plan, before) {
        (Plan::Nothing, before) => before.map(|handle| info(handle)),
        (Plan::Delete, _) => None,
        (Plan::Define(def), before) => {
            let gauges = before.map(|handle| Arc::clone(&handle.gauges));
            let handle = QueueHandle::durable(
                QueueId::new(def.id),
                Arc::new(DefineQueue::clone(def)),
                gauges.unwrap_or_default(),
            );
            Some(info(&handle))
        }
    }
}
