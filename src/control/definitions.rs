//! All that is set, at once: exported, planned, applied with one record, over REST and at the start.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use restante_admin_api::document::{Definitions, Document, DocumentKind};
use restante_admin_api::{
    Changed, ControlError, Exported, How, Invalid, Plan, QueuesWanted, StepAct,
};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::documents::{add_faults, check, has_room, keeps_an_administrator};
use crate::broker::{AdminError, Broker, Change, ChangeError, now};
use crate::definitions::{self, CLI_LABEL, ChangeOf, FILE_BYTES_MAX, Limits, Planned};
use crate::engine::is_brokers_own;
use crate::registry::Registry;

/// How often definitions are planned beside everything else. Where others have changed something each time, it is done in the
/// steward's turn, who changes nothing else meanwhile.
const TRIES_BESIDE: usize = 2;

/// Changes whenever the definitions do: the registry's revision, and each durable queue with its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State(u64, u64);

/// The state that the definitions are in; costs far less than to export them.
pub(super) fn state(broker: &Broker) -> State {
    let registry = broker.registry().revision;
    State(registry, broker.queues_mark())
}

/// Exports, plans and applies a broker's definitions.
///
/// With many queues each of these takes long: one is done at a time, beside the runtime's workers, and who comes meanwhile
/// waits without holding one of them.
pub(crate) struct Definer {
    broker: Broker,
    limits: Limits,
    /// One permit: whose turn it is.
    turn: Arc<Semaphore>,
    /// What the definitions are known by, and of which state that is.
    known: Mutex<Option<(State, Arc<str>)>>,
    /// How often that was made.
    #[cfg(test)]
    pub(super) n_made: std::sync::atomic::AtomicUsize,
}

/// What is to be applied.
struct Wish {
    wanted: Definitions,
    prune: bool,
    how: How,
}

impl Definer {
    pub(super) fn new(broker: Broker, limits: Limits) -> Self {
        Definer {
            broker,
            limits,
            turn: Arc::new(Semaphore::new(1)),
            known: Mutex::new(None),
            #[cfg(test)]
            n_made: std::sync::atomic::AtomicUsize::new(0),
        }
    }

    /// Does something in its turn, beside the runtime's workers.
    pub(super) async fn in_turn<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Definer) -> T + Send + 'static,
    ) -> Result<T, ControlError> {
        let turn = Arc::clone(&self.turn).acquire_owned().await;
        let turn = turn.map_err(|_closed| ControlError::ShuttingDown)?;
        let this = Arc::clone(self);
        let done = spawn_blocking(move || {
            let done = work(&this);
            // Not before: whoever asked may have left.
            drop(turn);
            done
        });
        done.await.map_err(|error| {
            tracing::error!(%error, "definitions broke down");
            ControlError::Internal
        })
    }

    /// All that is set.
    pub(super) async fn export(
        self: &Arc<Self>,
        with_hashes: bool,
    ) -> Result<Exported, ControlError> {
        self.in_turn(move |it| {
            let all = all_of(&it.broker, &it.broker.registry());
            let checksum = definitions::checksum(&all);
            Exported {
                revision: revision(&checksum),
                checksum,
                definitions: match with_hashes {
                    true => all,
                    false => definitions::without_hashes(all),
                },
            }
        })
        .await
    }

    /// What the definitions are known by, as of now; made again only where they are otherwise.
    pub(super) async fn checksum(self: &Arc<Self>) -> Result<Arc<str>, ControlError> {
        match self.known() {
            Some((checksum, true)) => Ok(checksum),
            _ => self.in_turn(Definer::make_checksum).await,
        }
    }

    /// What the definitions were known by when somebody last wanted to know. Where they are otherwise by now, that is made out
    /// for the next who asks: a scrape waits for it only the first time.
    pub(super) async fn last_checksum(self: &Arc<Self>) -> Option<Arc<str>> {
        let Some((checksum, is_current)) = self.known() else {
            return self.checksum().await.ok();
        };
        if !is_current {
            let this = Arc::clone(self);
            tokio::spawn(async move { this.checksum().await.ok() });
        }
        Some(checksum)
    }

    /// The checksum, and whether it is that of what is set now.
    fn known(&self) -> Option<(Arc<str>, bool)> {
        let (of, checksum) = self.known.lock().clone()?;
        Some((checksum, of == state(&self.broker)))
    }

    fn make_checksum(&self) -> Arc<str> {
        if let Some((checksum, true)) = self.known() {
            return checksum; // somebody else wanted it as well
        }
        #[cfg(test)]
        self.n_made
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // First of which state it is: what changes meanwhile makes it outdated.
        let state = state(&self.broker);
        let all = all_of(&self.broker, &self.broker.registry());
        let checksum: Arc<str> = definitions::checksum(&all).into();
        *self.known.lock() = Some((state, Arc::clone(&checksum)));
        checksum
    }

    /// Makes what is set be `wanted`: all with one record, or nothing.
    pub(super) async fn apply(
        self: &Arc<Self>,
        mut wanted: Definitions,
        prune: bool,
        how: How,
    ) -> Result<Changed<Plan>, ControlError> {
        spell_out(&mut wanted);
        let wish = Arc::new(Wish { wanted, prune, how });
        for _ in 0..TRIES_BESIDE {
            let wish = Arc::clone(&wish);
            let decide = move |it: &Definer| it.decide(&wish, &it.broker.registry());
            let (change, told) = self.in_turn(decide).await??;
            if how.dry_run {
                return Ok(told);
            }
            match self.broker.change(change).await {
                Ok(revision) => {
                    return Ok(Changed {
                        revision: Some(revision),
                        ..told
                    });
                }
                Err(ChangeError::Outdated) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let this = Arc::clone(self);
        let decide = move |registry: &Registry| this.decide(&wish, registry);
        let made: Result<_, ControlError> = self.broker.change_as_of_now(decide).await;
        let (revision, told) = made?;
        Ok(Changed {
            revision: Some(revision),
            ..told
        })
    }

    /// The change that leads there, and what is told of it.
    fn decide(
        &self,
        wish: &Wish,
        registry: &Registry,
    ) -> Result<(Change, Changed<Plan>), ControlError> {
        let current = all_of(&self.broker, registry);
        let before = definitions::checksum(&current);
        check(wish.how.only, Some(revision(&before)))?;
        let mut planned = definitions::plan(&current, &wish.wanted, wish.prune);
        count_what_goes(&self.broker, &mut planned);
        makes_sense(&current, &planned, registry, &self.limits)?;
        let change = change(&self.broker, registry, &planned)?;
        has_room(registry, &change.documents, &self.limits)?;
        keeps_an_administrator(registry, &change.documents, now())?;
        Ok((change, told(planned, before)))
    }
}

fn all_of(broker: &Broker, registry: &Registry) -> Definitions {
    let wanted = QueuesWanted {
        limit: usize::MAX,
        ..QueuesWanted::default()
    };
    let queues = broker.queues(&wanted).into_iter();
    // Queues of the broker's own follow from subscriptions.
    let queues = queues.filter(|it| it.durable && !is_brokers_own(&it.name));
    let queues = queues.map(|it| (it.realm, it.name, it.spec));
    definitions::export(registry, queues, true)
}

/// A number that stands for the checksum: its first 52 bits, which every JSON reader takes for what they are.
fn revision(checksum: &str) -> u64 {
    let digits = checksum.rsplit(':').next().and_then(|it| it.get(..13));
    digits
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .unwrap_or_default()
}

/// A queue without bindings is bound to its own name: it is compared as that.
fn spell_out(wanted: &mut Definitions) {
    for realm in wanted.realms.values_mut() {
        for (name, spec) in &mut realm.queues {
            spec.bindings.get_or_insert_with(|| vec![name.clone()]);
        }
    }
}

/// Says of queues that go how many messages go with them.
fn count_what_goes(broker: &Broker, planned: &mut Planned) {
    for step in &mut planned.plan.steps {
        if step.act == StepAct::Remove
            && step.kind == "queue"
            && let Some(realm) = &step.realm
            && let Ok(queue) = broker.queue(realm, &step.name)
        {
            let n_messages = queue.messages_ready + queue.messages_unsettled;
            if n_messages > 0 {
                step.fields.push(format!("messages: {n_messages} -> 0"));
            }
        }
    }
}

fn told(planned: Planned, before: String) -> Changed<Plan> {
    let steps = planned.plan.steps.iter().map(|step| {
        let act = match step.act {
            StepAct::Create => "create",
            StepAct::Change => "change",
            StepAct::Remove => "remove",
        };
        let realm = step.realm.as_deref().map(|it| format!(" in {it}"));
        let realm = realm.unwrap_or_default();
        format!("{act} {} {}{realm}", step.kind, step.name)
    });
    let steps: Vec<String> = steps.collect();
    Changed {
        created: false,
        revision: None,
        before: Some(json!({"checksum": before})),
        after: Some(json!({"checksum": planned.plan.checksum, "steps": steps})),
        now: planned.plan,
    }
}

fn makes_sense(
    current: &Definitions,
    planned: &Planned,
    registry: &Registry,
    limits: &Limits,
) -> Result<(), ControlError> {
    let mut faults = definitions::check(&planned.after, limits);
    faults.extend(definitions::check_growth(current, &planned.after, limits));
    for change in &planned.changes {
        let ChangeOf::Put(id, document) = change else {
            continue;
        };
        let section = match id.kind {
            DocumentKind::User => "users",
            DocumentKind::Token => "tokens",
            DocumentKind::Role => "roles",
            DocumentKind::Rule => "rules",
            DocumentKind::Realm | DocumentKind::Route => continue,
        };
        let name = id.name.replace('~', "~0").replace('/', "~1");
        let at = format!("/{section}/{name}");
        add_faults(&mut faults, &at, document);
        let present = registry.documents.get(id).map(|it| &it.document);
        if matches!(present, Some(Document::Token(it)) if it.label == CLI_LABEL) {
            faults.push(Invalid {
                pointer: at,
                detail: "this is the token of this broker's own command line".to_owned(),
            });
        }
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(ControlError::Invalid(faults))
    }
}

/// The one change that a plan comes to.
fn change(broker: &Broker, registry: &Registry, planned: &Planned) -> Result<Change, ControlError> {
    let mut change = Change {
        as_of: registry.revision,
        ..Change::default()
    };
    for step in &planned.changes {
        match step {
            ChangeOf::Put(id, document) => {
                change.documents.push((id.clone(), Some(document.clone())));
            }
            ChangeOf::Remove(id) => change.documents.push((id.clone(), None)),
            ChangeOf::PutQueue { realm, name, spec } => {
                let queue = broker.queue_definition(realm, name, spec);
                let queue = queue.map_err(|error| at_queue(error, realm, name))?;
                change.queues.push(queue);
            }
            ChangeOf::RemoveQueue { realm, name } => {
                let gone = broker.queue_deletion(realm, name);
                change
                    .gone
                    .push(gone.map_err(|error| at_queue(error, realm, name))?);
            }
        }
    }
    if broker.is_disk_full() && change.queues.iter().any(|it| it.id == 0) {
        return Err(AdminError::DiskFull.into());
    }
    Ok(change)
}

/// What is wrong with a queue, with its place in the definitions.
fn at_queue(error: AdminError, realm: &str, name: &str) -> ControlError {
    match error {
        AdminError::Invalid { field, why } => {
            let name = name.replace('~', "~0").replace('/', "~1");
            super::invalid(&format!("/realms/{realm}/queues/{name}/{field}"), why)
        }
        other => other.into(),
    }
}

/// Reads a definitions file. Waits for the disk.
///
/// # Errors
/// It cannot be read, or its form is wrong: each fault with its line.
pub(crate) fn read(path: &Path) -> anyhow::Result<Definitions> {
    let file = File::open(path).context("it cannot be opened")?;
    let mut text = String::new();
    let mut file = file.take(FILE_BYTES_MAX as u64 + 1);
    file.read_to_string(&mut text)
        .context("it cannot be read as UTF-8 text")?;
    definitions::parse(&text).map_err(|faults| {
        let faults = faults.iter().map(|fault| format!("  {fault}"));
        anyhow::anyhow!(
            "its form is wrong\n{}",
            faults.collect::<Vec<_>>().join("\n")
        )
    })
}

/// Applies a definitions file at the start.
///
/// # Errors
/// What it says makes no sense: each fault with its place in it. Nothing is changed then.
pub(crate) async fn import(
    broker: &Broker,
    limits: &Limits,
    wanted: &Definitions,
    prune: bool,
) -> anyhow::Result<Changed<Plan>> {
    let definer = Arc::new(Definer::new(broker.clone(), *limits));
    match definer.apply(wanted.clone(), prune, How::default()).await {
        Ok(changed) => Ok(changed),
        Err(ControlError::Invalid(faults)) => {
            let faults = faults.iter().map(|it| match it.pointer.is_empty() {
                true => format!("  {}", it.detail),
                false => format!("  {}: {}", it.pointer, it.detail),
            });
            bail!(
                "it makes no sense\n{}",
                faults.collect::<Vec<_>>().join("\n")
            )
        }
        Err(error) => Err(error.into()),
    }
}
