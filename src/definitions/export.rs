//! From what is set to a document, its text and its checksum.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{CLI_LABEL, DEFAULT_REALM, Definitions, RealmDefinitions, VERSION};
use crate::config::yaml;
use crate::registry::{Document, Realm, Registry, Stored};
use restante_admin_api::queue::QueueSpec;

/// All that is set. `queues`: the durable ones, as realm, name and spec. `with_hashes`: or without hashes of secrets.
pub fn export(
    registry: &Registry,
    queues: impl IntoIterator<Item = (String, String, QueueSpec)>,
    with_hashes: bool,
) -> Definitions {
    let mut all = Definitions {
        version: VERSION,
        ..Definitions::default()
    };
    all.realms.entry(DEFAULT_REALM.to_owned()).or_default();
    for (_, stored) in &registry.documents {
        add(&mut all, stored);
    }
    for (realm, name, spec) in queues {
        all.realms
            .entry(realm)
            .or_default()
            .queues
            .insert(name, spec);
    }
    if with_hashes {
        all
    } else {
        without_hashes(all)
    }
}

fn add(all: &mut Definitions, stored: &Stored) {
    let name = stored.id.name.clone();
    match &stored.document {
        Document::Realm(realm) => set_realm(all.realms.entry(name).or_default(), realm),
        Document::Role(role) => _ = all.roles.insert(name, role.clone()),
        Document::User(user) => _ = all.users.insert(name, user.clone()),
        Document::Token(token) if token.label == CLI_LABEL => {}
        Document::Token(token) => _ = all.tokens.insert(name, token.clone()),
        Document::Rule(rule) => _ = all.rules.insert(name, rule.clone()),
        Document::Route(route) => {
            let realm = all.realms.entry(stored.id.realm.clone()).or_default();
            realm.routes.insert(name, route.clone());
        }
    }
}

/// Sets what is the realm's own, and leaves what is in it.
pub(super) fn set_realm(definitions: &mut RealmDefinitions, realm: &Realm) {
    let Realm {
        description,
        max_queues,
        max_connections,
    } = realm.clone();
    definitions.description = description;
    definitions.max_queues = max_queues;
    definitions.max_connections = max_connections;
}

/// What is the realm's own.
pub(super) fn realm_of(definitions: &RealmDefinitions) -> Realm {
    Realm {
        description: definitions.description.clone(),
        max_queues: definitions.max_queues,
        max_connections: definitions.max_connections,
    }
}

/// The same definitions, with nothing in them that came of a secret.
#[must_use]
pub fn without_hashes(mut definitions: Definitions) -> Definitions {
    for user in definitions.users.values_mut() {
        user.clear_password();
    }
    for token in definitions.tokens.values_mut() {
        token.hash.clear();
        token.previous = None;
    }
    definitions
}

/// The one text that stands for `definitions`: JSON without white space, keys sorted, every field there.
#[must_use]
pub fn canonical(definitions: &Definitions) -> String {
    tree_of(definitions).to_string()
}

/// What `definitions` are known by: `sha256:` and 64 hexadecimal digits over [`canonical`]. Compare those with hashes
/// in them only with others that have them.
#[must_use]
pub fn checksum(definitions: &Definitions) -> String {
    let digest = Sha256::digest(canonical(definitions).as_bytes());
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

/// As JSON for people and programs; fields that are as if they were left out are left out.
#[must_use]
pub fn to_json(definitions: &Definitions) -> String {
    let mut tree = tree_of(definitions);
    drop_defaults(&mut tree);
    format!("{tree:#}\n")
}

/// As YAML; fields that are as if they were left out are left out.
#[must_use]
pub fn to_yaml(definitions: &Definitions) -> String {
    let mut tree = tree_of(definitions);
    drop_defaults(&mut tree);
    // JSON is YAML: should the writer ever fail, what is written can still be applied.
    yaml::write(&tree).unwrap_or_else(|_| to_json(definitions))
}

/// As a tree with sorted keys.
pub(super) fn tree_of(value: &impl Serialize) -> Value {
    let mut tree = serde_json::to_value(value).unwrap_or_default();
    tree.sort_all_objects();
    tree
}

/// Takes out fields that have their default. Documents are never taken out, nor what is in a list but for its fields.
fn drop_defaults(tree: &mut Value) {
    match tree {
        Value::Object(fields) => {
            fields.values_mut().for_each(drop_defaults);
            fields.retain(|name, value| !is_default(name, value));
        }
        Value::Array(items) => items.iter_mut().for_each(drop_defaults),
        _ => {}
    }
}

/// Whether to leave the field out says the same. Names of documents come by here too, with maps for values, which none
/// of these are.
fn is_default(name: &str, value: &Value) -> bool {
    match (name, value) {
        (_, Value::Null) => true,
        ("description", Value::String(text)) => text.is_empty(),
        ("choose", Value::String(text)) => text == "all",
        ("disabled" | "unrouted" | "keep" | "last" | "not", Value::Bool(flag)) => !flag,
        ("order", Value::Number(number)) => number.as_i64() == Some(0),
        ("weight", Value::Number(number)) => number.as_i64() == Some(1),
        (
            "roles" | "grants" | "certificates" | "public_keys" | "when" | "to" | "is",
            Value::Array(items),
        ) => items.is_empty(),
        _ => false,
    }
}
