//! The way from what is set to what is wanted.
//!
//! Steps come in an order in which no document ever names one that is not there: what is named comes first and goes
//! last. In between, what goes makes room for what comes: a token's label may be given to another.

use std::collections::{BTreeMap, BTreeSet};

use restante_admin_api::queue::QueueSpec;
use restante_admin_api::{Plan, Step, StepAct};
use serde_json::{Map, Value};

use super::export::{realm_of, set_realm, tree_of};
use super::{CLI_LABEL, DEFAULT_REALM, Definitions, VERSION, checksum};
use crate::registry::{Document, DocumentId, DocumentKind, Realm, Token, User};

/// Longer values are cut in [`Step::fields`].
const SHOWN_CHARS_MAX: usize = 120;

/// Fields whose values are never shown.
const SECRET: [&str; 6] = [
    "password_hash",
    "scram_verifier",
    "wampcra_key",
    "scram_argon2_verifier",
    "hash",
    "previous",
];

/// A change, for the registrar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeOf {
    /// Set this document whole.
    Put(DocumentId, Document),
    /// Remove it.
    Remove(DocumentId),
    /// Make this queue, or give it this spec.
    PutQueue {
        /// Its realm.
        realm: String,
        /// Its name.
        name: String,
        /// All that holds for it.
        spec: QueueSpec,
    },
    /// Delete this queue, with all that waits in it.
    RemoveQueue {
        /// Its realm.
        realm: String,
        /// Its name.
        name: String,
    },
}

/// A plan, for people and for the registrar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// For people; a step for each change, in the same order.
    pub plan: Plan,
    /// For the registrar, in an order in which they can be made one by one.
    pub changes: Vec<ChangeOf>,
    /// What is set once they are made.
    pub after: Definitions,
}

/// What leads from `current`, which must have its hashes, to `wanted`; with `prune`, what `wanted` does not name goes,
/// and otherwise stays. Documents are replaced whole, but for hashes that `wanted` leaves out.
///
/// Whether it makes sense is not looked at: [`check`](super::check()) what is set [`after`](Planned::after) it.
#[must_use]
pub fn plan(current: &Definitions, wanted: &Definitions, prune: bool) -> Planned {
    let mut before = whole(current.clone());
    before.tokens.retain(|_, token| token.label != CLI_LABEL);
    let after = target(&before, wanted, prune);
    let (old, new) = (things(&before), things(&after));
    let (mut steps, mut changes) = (Vec::new(), Vec::new());
    for phase in PHASES {
        let ids: BTreeSet<&Id> = match phase.puts {
            true => new.keys().collect(),
            false => old.keys().collect(),
        };
        for id in ids.into_iter().filter(|id| phase.kinds.contains(&id.kind)) {
            match (old.get(id), new.get(id)) {
                (old, Some(new)) if phase.puts && old != Some(new) => {
                    steps.push(put_step(id, old, new));
                    changes.push(put(id, new.clone()));
                }
                (Some(_), None) if !phase.puts => {
                    steps.push(step(StepAct::Remove, id, Vec::new()));
                    changes.push(remove(id));
                }
                _ => {}
            }
        }
    }
    let checksum = checksum(&after);
    Planned {
        plan: Plan { steps, checksum },
        changes,
        after,
    }
}

/// With what every broker has.
fn whole(mut definitions: Definitions) -> Definitions {
    definitions.version = VERSION;
    let realms = &mut definitions.realms;
    realms.entry(DEFAULT_REALM.to_owned()).or_default();
    definitions
}

/// What shall be set.
fn target(before: &Definitions, wanted: &Definitions, prune: bool) -> Definitions {
    let mut wanted = wanted.clone();
    for (name, user) in &mut wanted.users {
        if let Some(present) = before.users.get(name) {
            keep_password(user, present);
        }
    }
    for (id, token) in &mut wanted.tokens {
        keep_secret(token, before.tokens.get(id));
    }
    if prune {
        return whole(wanted);
    }
    let mut all = before.clone();
    all.roles.extend(wanted.roles);
    all.users.extend(wanted.users);
    all.tokens.extend(wanted.tokens);
    all.rules.extend(wanted.rules);
    for (name, realm) in wanted.realms {
        let present = all.realms.entry(name).or_default();
        set_realm(present, &realm_of(&realm));
        present.routes.extend(realm.routes);
        present.queues.extend(realm.queues);
    }
    whole(all)
}

/// A user that says no secret of a password keeps those that are set. So does one that says the hash that is set and leaves out others,
/// as older files do: they are of the same password.
fn keep_password(user: &mut User, present: &User) {
    let is_same = user.password_hash == present.password_hash && {
        let secrets = user.password_secrets().into_iter();
        let mut secrets = secrets.zip(present.password_secrets());
        secrets.all(|(said, set)| said.is_none() || said == set)
    };
    if is_same || !user.has_password_secrets() {
        user.take_password(present);
    }
}

/// A token that says no hash keeps its secrets, the one before a rotation included.
fn keep_secret(token: &mut Token, present: Option<&Token>) {
    if let (true, Some(present)) = (token.hash.is_empty(), present) {
        token.hash.clone_from(&present.hash);
        token.previous.clone_from(&present.previous);
    }
}

/// What a step is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Of(DocumentKind),
    Queue,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    kind: Kind,
    realm: String,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Document(Document),
    Queue(QueueSpec),
}

struct Phase {
    puts: bool,
    kinds: &'static [Kind],
}

/// What is named by others, and what names it.
const NAMED: &[Kind] = &[Kind::Of(DocumentKind::Realm), Kind::Of(DocumentKind::Role)];
const NAMING: &[Kind] = &[
    Kind::Of(DocumentKind::User),
    Kind::Of(DocumentKind::Token),
    Kind::Of(DocumentKind::Rule),
    Kind::Of(DocumentKind::Route),
    Kind::Queue,
];

const PHASES: [Phase; 4] = [
    Phase {
        puts: true,
        kinds: NAMED,
    },
    Phase {
        puts: false,
        kinds: NAMING,
    },
    Phase {
        puts: true,
        kinds: NAMING,
    },
    Phase {
        puts: false,
        kinds: NAMED,
    },
];

/// Everything in it, one by one.
fn things(all: &Definitions) -> BTreeMap<Id, Thing> {
    let mut things = BTreeMap::new();
    let mut add = |kind, realm: &str, name: &str, document| {
        let id = Id {
            kind: Kind::Of(kind),
            realm: realm.to_owned(),
            name: name.to_owned(),
        };
        things.insert(id, Thing::Document(document));
    };
    for (name, role) in &all.roles {
        add(DocumentKind::Role, "", name, Document::Role(role.clone()));
    }
    for (name, user) in &all.users {
        add(DocumentKind::User, "", name, Document::User(user.clone()));
    }
    for (id, token) in &all.tokens {
        add(DocumentKind::Token, "", id, Document::Token(token.clone()));
    }
    for (name, rule) in &all.rules {
        add(DocumentKind::Rule, "", name, Document::Rule(rule.clone()));
    }
    for (realm, inside) in &all.realms {
        add(
            DocumentKind::Realm,
            "",
            realm,
            Document::Realm(realm_of(inside)),
        );
        for (name, route) in &inside.routes {
            add(
                DocumentKind::Route,
                realm,
                name,
                Document::Route(route.clone()),
            );
        }
    }
    for (realm, inside) in &all.realms {
        for (name, spec) in &inside.queues {
            let id = Id {
                kind: Kind::Queue,
                realm: realm.clone(),
                name: name.clone(),
            };
            things.insert(id, Thing::Queue(spec.clone()));
        }
    }
    things
}

fn put(id: &Id, thing: Thing) -> ChangeOf {
    match thing {
        Thing::Document(document) => ChangeOf::Put(document_id(id, document.kind()), document),
        Thing::Queue(spec) => ChangeOf::PutQueue {
            realm: id.realm.clone(),
            name: id.name.clone(),
            spec,
        },
    }
}

fn remove(id: &Id) -> ChangeOf {
    match id.kind {
        Kind::Of(kind) => ChangeOf::Remove(document_id(id, kind)),
        Kind::Queue => ChangeOf::RemoveQueue {
            realm: id.realm.clone(),
            name: id.name.clone(),
        },
    }
}

fn document_id(id: &Id, kind: DocumentKind) -> DocumentId {
    DocumentId {
        kind,
        realm: id.realm.clone(),
        name: id.name.clone(),
    }
}

fn put_step(id: &Id, old: Option<&Thing>, new: &Thing) -> Step {
    let act = match old {
        Some(_) => StepAct::Change,
        None => StepAct::Create,
    };
    let unset = old.map_or_else(|| fields(&blank(new)), fields);
    let set = fields(new);
    let names: BTreeSet<&String> = unset.keys().chain(set.keys()).collect();
    let lines = names.into_iter().filter_map(|name| {
        let (old, new) = (unset.get(name), set.get(name));
        (old != new).then(|| line(name, old, new, act))
    });
    step(act, id, lines.collect())
}

fn step(act: StepAct, id: &Id, fields: Vec<String>) -> Step {
    Step {
        act,
        kind: match id.kind {
            Kind::Of(kind) => kind.as_str().to_owned(),
            Kind::Queue => "queue".to_owned(),
        },
        realm: (!id.realm.is_empty()).then(|| id.realm.clone()),
        name: id.name.clone(),
        fields,
    }
}

/// One of the same kind with nothing said, so that what is made is told by what differs from that.
fn blank(thing: &Thing) -> Thing {
    match thing {
        Thing::Queue(_) => Thing::Queue(QueueSpec::default()),
        Thing::Document(Document::Realm(_)) => Thing::Document(Document::Realm(Realm::default())),
        Thing::Document(Document::Role(_)) => Thing::Document(Document::Role(Default::default())),
        Thing::Document(Document::User(_)) => Thing::Document(Document::User(Default::default())),
        Thing::Document(Document::Token(_)) => Thing::Document(Document::Token(Default::default())),
        Thing::Document(Document::Rule(rule)) => {
            let mut rule = rule.clone();
            rule.description.clear();
            rule.verbs.clear();
            (rule.role, rule.filter, rule.realm) = Default::default();
            rule.effect = Default::default();
            Thing::Document(Document::Rule(rule))
        }
        Thing::Document(Document::Route(route)) => {
            let mut route = route.clone();
            (route.description, route.filter) = Default::default();
            (route.disabled, route.unrouted, route.keep, route.last) = Default::default();
            (route.order, route.choose, route.shard_by) = Default::default();
            (route.when, route.to) = Default::default();
            Thing::Document(Document::Route(route))
        }
    }
}

fn fields(thing: &Thing) -> Map<String, Value> {
    let tree = match thing {
        Thing::Document(Document::Realm(it)) => tree_of(it),
        Thing::Document(Document::Role(it)) => tree_of(it),
        Thing::Document(Document::User(it)) => tree_of(it),
        Thing::Document(Document::Token(it)) => tree_of(it),
        Thing::Document(Document::Rule(it)) => tree_of(it),
        Thing::Document(Document::Route(it)) => tree_of(it),
        Thing::Queue(it) => tree_of(it),
    };
    match tree {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// What a field becomes; of what is made, there is nothing that it was.
fn line(name: &str, old: Option<&Value>, new: Option<&Value>, act: StepAct) -> String {
    if SECRET.contains(&name) {
        return name.to_owned();
    }
    match act {
        StepAct::Create => format!("{name}: {}", shown(new)),
        _ => format!("{name}: {} -> {}", shown(old), shown(new)),
    }
}

/// A value on one line, `none` where there is none.
fn shown(value: Option<&Value>) -> String {
    let text = match value {
        None | Some(Value::Null) => return "none".to_owned(),
        Some(value) => value.to_string(),
    };
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
