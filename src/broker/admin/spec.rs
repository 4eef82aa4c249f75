//! What holds for a queue: as administrators write it, and as the log has it. All that can be wrong is found here, before
//! the log.

use std::sync::Arc;

use restante_admin_api::queue::{self, QueueSpec};
use restante_storage::QueueId;
use restante_storage::payload::{DefineQueue, DeleteQueue};

use super::AdminError;
use crate::broker::{Broker, Settings};
use crate::engine::address::{Address, AddressLimits, Filter, Space};
use crate::engine::routing::Router;
use crate::engine::{QueueHandle, RealmRoutes};

/// Shapes of filters with wildcards in one realm: what a publish costs at most (`engine/routing.rs`).
pub(in crate::broker) const SHAPES_MAX: usize = 1024;

/// The definition that a spec asks for; without id, revision and pause.
pub(super) fn definition(
    realm: &str,
    name: &str,
    spec: &QueueSpec,
    settings: &Settings,
    routes: Option<&RealmRoutes>,
) -> Result<DefineQueue, AdminError> {
    let limits = settings.address;
    let address = ordinary("name", name, limits)?;
    let mut bindings = match &spec.bindings {
        Some(bindings) => bindings.clone(),
        None => vec![address.as_str().to_owned()],
    };
    let mut seen = std::collections::BTreeSet::new();
    bindings.retain(|binding| seen.insert(binding.clone()));
    check_bindings(&bindings, limits, routes)?;
    if let Some(dead_letter) = &spec.dead_letter {
        ordinary("dead_letter", dead_letter, limits)?;
        if dead_letter == name {
            return Err(AdminError::invalid(
                "dead_letter",
                "that is the queue itself",
            ));
        }
    }
    if spec.history {
        no_consumers_policies(spec)?;
    }
    let max_attempts = positive("max_attempts", spec.max_attempts.map(u64::from))?;
    Ok(DefineQueue {
        realm: realm.to_owned(),
        name: name.to_owned(),
        ttl_ms: positive("ttl_ms", spec.ttl_ms)?,
        max_attempts: u32::try_from(max_attempts).unwrap_or(u32::MAX),
        dead_letter: spec.dead_letter.clone(),
        max_messages: positive("max_messages", spec.max_messages)?,
        max_bytes: positive("max_bytes", spec.max_bytes)?,
        bindings,
        history: spec.history,
        ..DefineQueue::default()
    })
}

/// What says what becomes of failed deliveries makes no sense where nothing is delivered. What a history kept for some alone must not
/// go where others find it.
fn no_consumers_policies(spec: &QueueSpec) -> Result<(), AdminError> {
    let field = match spec {
        QueueSpec {
            dead_letter: Some(_),
            ..
        } => "dead_letter",
        QueueSpec {
            max_attempts: Some(_),
            ..
        } => "max_attempts",
        _ => return Ok(()),
    };
    Err(AdminError::invalid(
        field,
        "a history has none: nobody consumes from it",
    ))
}

impl Broker {
    /// The record that gives a queue this spec, or makes it: as `PUT` would. With the present one's id, revision and pause.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn queue_definition(
        &self,
        realm: &str,
        name: &str,
        spec: &QueueSpec,
    ) -> Result<DefineQueue, AdminError> {
        let settings = &self.shared.settings;
        let routes = self.shared.routes.load();
        let here = routes.queues.get(realm);
        let wanted = definition(realm, name, spec, settings, here)?;
        let Some(present) = here.and_then(|here| here.names.get(name)) else {
            return Ok(wanted);
        };
        let Some(def) = &present.def else {
            return Err(AdminError::InMemory(name.to_owned()));
        };
        Ok(DefineQueue {
            id: def.id,
            revision: def.revision,
            paused: def.paused.clone(),
            ..wanted
        })
    }

    /// The record that deletes a queue.
    ///
    /// # Errors
    /// [`AdminError::NoQueue`], [`AdminError::InMemory`].
    pub fn queue_deletion(&self, realm: &str, name: &str) -> Result<DeleteQueue, AdminError> {
        let handle = self.handle(realm, name)?;
        if handle.is_transient() {
            return Err(AdminError::InMemory(name.to_owned()));
        }
        Ok(DeleteQueue {
            queue: handle.id.get(),
            realm: realm.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// A filter that a queue may be bound to, beside those that are bound.
pub(super) fn binding(
    text: &str,
    limits: AddressLimits,
    bound: &Router<Arc<QueueHandle>>,
) -> Result<Filter, AdminError> {
    let filter = Filter::parse(text, limits).map_err(AdminError::address("bindings"))?;
    if text.starts_with(['~', '$']) {
        let why = format!("{text}: addresses that begin with ~ and $ are not bound");
        return Err(AdminError::invalid("bindings", why));
    }
    if !filter.is_exact() && bound.shapes_with(&filter) > SHAPES_MAX {
        let why = format!(
            "{text}: the realm's filters have {SHAPES_MAX} different shapes: + in other places, other lengths in front of #"
        );
        return Err(AdminError::invalid("bindings", why));
    }
    Ok(filter)
}

/// Each may be bound, with all before it bound already.
fn check_bindings(
    bindings: &[String],
    limits: AddressLimits,
    routes: Option<&RealmRoutes>,
) -> Result<(), AdminError> {
    let mut bound = bound(routes);
    let stand_in = QueueHandle::durable(QueueId::new(u64::MAX), Arc::default(), Arc::default());
    let stand_in = Arc::new(stand_in);
    for text in bindings {
        let filter = binding(text, limits, &bound)?;
        bound.bind(&filter, Arc::clone(&stand_in));
    }
    Ok(())
}

/// What is bound in a realm.
pub(super) fn bound(routes: Option<&RealmRoutes>) -> Router<Arc<QueueHandle>> {
    routes
        .map(|routes| routes.bindings.snapshot())
        .unwrap_or_default()
}

fn ordinary(field: &'static str, text: &str, limits: AddressLimits) -> Result<Address, AdminError> {
    let address = Address::parse(text, limits).map_err(AdminError::address(field))?;
    match address.space() {
        Space::Ordinary => Ok(address),
        Space::Temporary | Space::Broker => Err(AdminError::invalid(
            field,
            "~ and $ are reserved as first characters",
        )),
    }
}

fn positive(field: &'static str, value: Option<u64>) -> Result<u64, AdminError> {
    match value {
        Some(0) => Err(AdminError::invalid(
            field,
            "must be 1 or more; leave it out for no limit",
        )),
        other => Ok(other.unwrap_or(0)),
    }
}

/// A definition as administrators see it.
pub(super) fn spec(def: &DefineQueue) -> QueueSpec {
    let limit = |number: u64| (number > 0).then_some(number);
    QueueSpec {
        ttl_ms: limit(def.ttl_ms),
        max_messages: limit(def.max_messages),
        max_bytes: limit(def.max_bytes),
        max_attempts: (def.max_attempts > 0).then_some(def.max_attempts),
        dead_letter: def.dead_letter.clone(),
        bindings: Some(def.bindings.clone()),
        history: def.history,
    }
}

/// A pause as administrators see it.
pub(super) fn paused(def: &DefineQueue) -> Option<queue::Paused> {
    def.paused.as_ref().map(|paused| queue::Paused {
        by: paused.by.clone(),
        since: paused.since,
        reason: paused.reason.clone(),
    })
}
