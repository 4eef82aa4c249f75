//! Whether documents make sense: names, what they name, limits, and what is in each.
//!
//! The same checks see a whole set of definitions and a single document that is about to be set beside the others. What is
//! of access in users, tokens and rules beyond names and filters (hashes, names in certificates) is checked by `access`.
//!
//! Always, with tests of these names in `tests`: `what_makes_no_sense_is_found_with_its_place`,
//! `a_document_is_checked_against_the_others`, `only_what_makes_queues_is_told_that_there_are_too_many`.

use std::collections::{BTreeMap, BTreeSet};

use restante_admin_api::Invalid;
use restante_admin_api::queue::QueueSpec;

use super::faults::Faults;
use super::{ANY, BUILT_IN_ROLES, CLI_LABEL, DEFAULT_REALM, Definitions, VERSION, route};
use crate::config;
use crate::engine::address::{Address, AddressError, AddressLimits, Filter, Space};
use crate::registry::{
    Document, DocumentId, DocumentKind, Realm, Registry, Role, Rule, Token, User,
};

/// Bytes of a name of anything but a queue.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of a realm's name: it is part of URLs.
const REALM_BYTES_MAX: usize = 64;
/// Bytes of a text for people.
const DESCRIPTION_BYTES_MAX: usize = 4096;
/// Items of any list in a document.
pub(super) const LIST_MAX: usize = 256;
/// The longest time that a message may be given, in milliseconds: ten years.
const TTL_MS_MAX: u64 = 10 * 365 * 86_400_000;
/// Fewer bytes than this hold no message.
const QUEUE_BYTES_MIN: u64 = 1024;
/// What a delivery's count can say.
const ATTEMPTS_MAX: u32 = 65_535;

/// What the configuration allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long and deep addresses may be.
    pub address: AddressLimits,
    /// Queues of a realm, whatever it says itself.
    pub queues_per_realm: usize,
    /// Routes of a realm.
    pub routes_per_realm: usize,
    /// Of each other kind of document.
    pub documents: usize,
}

impl Limits {
    /// How many documents of a kind there may be, in a realm where they are of one.
    #[must_use]
    pub fn of_kind(&self, kind: DocumentKind) -> usize {
        match kind {
            DocumentKind::Route => self.routes_per_realm,
            DocumentKind::Realm
            | DocumentKind::Role
            | DocumentKind::User
            | DocumentKind::Token
            | DocumentKind::Rule => self.documents,
        }
    }
}

impl From<&config::Limits> for Limits {
    fn from(limits: &config::Limits) -> Limits {
        Limits {
            address: AddressLimits {
                bytes_max: usize::try_from(limits.address_bytes).unwrap_or(usize::MAX),
                segments_max: limits.address_segments,
            },
            queues_per_realm: limits.queues_per_realm,
            routes_per_realm: limits.routes_per_realm,
            documents: limits.documents,
        }
    }
}

/// All that makes no sense in `definitions`, taken alone: what is to be applied without `prune` is to be laid over what is
/// set first, as [`Planned::after`](super::Planned::after) is. Pointers are into the definitions.
#[must_use]
pub fn check(definitions: &Definitions, limits: &Limits) -> Vec<Invalid> {
    let mut faults = Faults::default();
    if definitions.version != VERSION {
        faults.field("version", format!("this must be {VERSION}"));
    }
    let owners = Owners::of(definitions);
    let look = Look {
        others: &(definitions, owners),
        limits,
    };
    faults.within("realms", |faults| look.realms(faults, definitions));
    each(
        &mut faults,
        "roles",
        &definitions.roles,
        |faults, name, it| {
            look.role(faults, name, it);
        },
    );
    each(
        &mut faults,
        "users",
        &definitions.users,
        |faults, name, it| {
            look.user(faults, name, it);
        },
    );
    each(
        &mut faults,
        "tokens",
        &definitions.tokens,
        |faults, id, it| {
            look.token(faults, id, it);
            if it.label == CLI_LABEL {
                let text = "each broker makes this token itself; choose another label";
                faults.field("label", text);
            }
        },
    );
    each(
        &mut faults,
        "rules",
        &definitions.rules,
        |faults, name, it| {
            look.rule(faults, name, it);
        },
    );
    faults.into_found()
}

/// Realms that get more queues than they may have. One that has too many already, by another limit or configuration, is no
/// reason to refuse what makes none there.
#[must_use]
pub fn check_growth(before: &Definitions, after: &Definitions, limits: &Limits) -> Vec<Invalid> {
    let mut faults = Faults::default();
    faults.within("realms", |faults| {
        for (name, inside) in &after.realms {
            let most = limits.queues_per_realm as u64;
            let most = inside.max_queues.unwrap_or(most).min(most);
            let present = before.realms.get(name).map_or(0, |it| it.queues.len());
            let count = inside.queues.len();
            if count > present && count as u64 > most {
                faults.within(name, |faults| {
                    faults.field("queues", format!("{count} queues where {most} are allowed"));
                });
            }
        }
    });
    faults.into_found()
}

fn each<T>(
    faults: &mut Faults,
    section: &str,
    documents: &BTreeMap<String, T>,
    look: impl Fn(&mut Faults, &str, &T),
) {
    faults.within(section, |faults| {
        for (name, document) in documents {
            faults.within(name, |faults| look(faults, name, document));
        }
    });
}

/// All that makes no sense in a document that is to be set as `id` beside the others. Pointers are into the document.
#[must_use]
pub fn check_document(
    id: &DocumentId,
    document: &Document,
    registry: &Registry,
    limits: &Limits,
) -> Vec<Invalid> {
    let mut faults = Faults::default();
    let look = Look {
        others: registry,
        limits,
    };
    let (faults_of, name) = (&mut faults, id.name.as_str());
    match document {
        Document::Realm(it) => look.realm(faults_of, name, it),
        Document::Role(it) => look.role(faults_of, name, it),
        Document::User(it) => look.user(faults_of, name, it),
        Document::Token(it) => look.token(faults_of, name, it),
        Document::Rule(it) => look.rule(faults_of, name, it),
        Document::Route(it) => {
            if !look.realm_is_there(&id.realm) {
                faults_of.here(format!("there is no realm `{}`", id.realm));
            }
            check_name(faults_of, name);
            route::check(faults_of, it, limits);
        }
    }
    faults.into_found()
}

/// All that makes no sense in the spec of a queue that is to be called `name`. Pointers are into the spec.
#[must_use]
pub fn check_queue(name: &str, spec: &QueueSpec, limits: &Limits) -> Vec<Invalid> {
    let mut faults = Faults::default();
    queue(&mut faults, name, spec, limits);
    faults.into_found()
}

/// Documents that name this one, as `KIND NAME`: while there are any, it cannot be removed. A realm's routes are among them.
#[must_use]
pub fn users_of(id: &DocumentId, registry: &Registry) -> Vec<String> {
    let names = |document: &Document, realm: &str| match (id.kind, document) {
        (DocumentKind::Role, Document::User(it)) => it.roles.contains(&id.name),
        (DocumentKind::Role, Document::Token(it)) => it.roles.contains(&id.name),
        (DocumentKind::Role, Document::Rule(it)) => it.role == id.name,
        (DocumentKind::Realm, Document::Rule(it)) => it.realm == id.name,
        (DocumentKind::Realm, Document::Route(_)) => realm == id.name,
        _ => false,
    };
    let documents = registry.documents.values();
    documents
        .filter(|stored| names(&stored.document, &stored.id.realm))
        .map(|stored| format!("{} {}", stored.id.kind.as_str(), stored.id.name))
        .collect()
}

/// What else there is, for those who name it.
trait Others {
    fn has_role(&self, name: &str) -> bool;
    fn has_realm(&self, name: &str) -> bool;
    /// Whether a token of another id has the label.
    fn has_label(&self, label: &str, id: &str) -> bool;
    /// Whether a user of another name has the public key.
    fn has_public_key(&self, key: &str, user: &str) -> bool;
}

/// Who has what may be only one's: tokens a label, users a public key.
struct Owners<'a> {
    labels: BTreeMap<&'a str, BTreeSet<&'a str>>,
    keys: BTreeMap<&'a str, BTreeSet<&'a str>>,
}

impl<'a> Owners<'a> {
    fn of(definitions: &'a Definitions) -> Owners<'a> {
        let mut labels = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (id, token) in &definitions.tokens {
            labels.entry(&token.label).or_default().insert(id);
        }
        let mut keys = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (name, user) in &definitions.users {
            for key in &user.public_keys {
                keys.entry(key).or_default().insert(name);
            }
        }
        Owners { labels, keys }
    }
}

/// Whether somebody else than `one` is among them.
fn others(owners: Option<&BTreeSet<&str>>, one: &str) -> bool {
    owners.is_some_and(|owners| owners.iter().any(|other| *other != one))
}

impl Others for (&Definitions, Owners<'_>) {
    fn has_role(&self, name: &str) -> bool {
        self.0.roles.contains_key(name)
    }

    fn has_realm(&self, name: &str) -> bool {
        self.0.realms.contains_key(name)
    }

    fn has_label(&self, label: &str, id: &str) -> bool {
        others(self.1.labels.get(label), id)
    }

    fn has_public_key(&self, key: &str, user: &str) -> bool {
        others(self.1.keys.get(key), user)
    }
}

impl Others for Registry {
    fn has_role(&self, name: &str) -> bool {
        self.get(DocumentKind::Role, "", name).is_some()
    }

    fn has_realm(&self, name: &str) -> bool {
        self.get(DocumentKind::Realm, "", name).is_some()
    }

    fn has_label(&self, label: &str, id: &str) -> bool {
        self.of_kind(DocumentKind::Token).any(|stored| {
            stored.id.name != id
                && matches!(&stored.document, Document::Token(token) if token.label == label)
        })
    }

    fn has_public_key(&self, key: &str, user: &str) -> bool {
        self.of_kind(DocumentKind::User).any(|stored| {
            stored.id.name != user
                && matches!(&stored.document, Document::User(it) if it.public_keys.iter().any(|it| it == key))
        })
    }
}

struct Look<'a, O> {
    others: &'a O,
    limits: &'a Limits,
}

impl<O: Others> Look<'_, O> {
    fn realms(&self, faults: &mut Faults, definitions: &Definitions) {
        for (name, inside) in &definitions.realms {
            faults.within(name, |faults| {
                self.realm(faults, name, &super::export::realm_of(inside));
                each(faults, "routes", &inside.routes, |faults, name, it| {
                    check_name(faults, name);
                    route::check(faults, it, self.limits);
                });
                each(faults, "queues", &inside.queues, |faults, name, it| {
                    queue(faults, name, it, self.limits);
                });
            });
        }
    }

    fn realm(&self, faults: &mut Faults, name: &str, realm: &Realm) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let dots = name.chars().all(|c| c == '.');
        if name.len() > REALM_BYTES_MAX || dots || !name.chars().all(plain) {
            faults.here(format!(
                "a realm's name has 1 to {REALM_BYTES_MAX} letters a-z, digits, `-`, `_` and `.`, and not only dots"
            ));
        }
        description(faults, &realm.description);
    }

    fn role(&self, faults: &mut Faults, name: &str, role: &Role) {
        check_principal(faults, name);
        if BUILT_IN_ROLES.contains(&name) {
            faults.here(format!(
                "the role `{name}` is built in and cannot be changed"
            ));
        }
        description(faults, &role.description);
        unique(faults, "grants", &role.grants, |grant| {
            grant.as_str().to_owned()
        });
    }

    fn user(&self, faults: &mut Faults, name: &str, user: &User) {
        check_principal(faults, name);
        description(faults, &user.description);
        self.roles(faults, &user.roles);
        unique(faults, "certificates", &user.certificates, Clone::clone);
        unique(faults, "public_keys", &user.public_keys, Clone::clone);
        faults.each("public_keys", &user.public_keys, |faults, key| {
            if self.others.has_public_key(key, name) {
                faults.here("another user has this key already");
            }
        });
    }

    fn token(&self, faults: &mut Faults, id: &str, token: &Token) {
        if id.is_empty()
            || id.len() > NAME_BYTES_MAX
            || !id.chars().all(|c| c.is_ascii_alphanumeric())
        {
            faults.here("a token's id is letters a-z and digits: the part of it after `rst_`");
        }
        description(faults, &token.description);
        faults.within("label", |faults| check_principal(faults, &token.label));
        if self.others.has_label(&token.label, id) {
            faults.field("label", "another token has this label already");
        }
        self.roles(faults, &token.roles);
    }

    fn rule(&self, faults: &mut Faults, name: &str, rule: &Rule) {
        check_principal(faults, name);
        description(faults, &rule.description);
        if rule.role != ANY {
            faults.within("role", |faults| self.named_role(faults, &rule.role));
        }
        if rule.realm != ANY && !self.realm_is_there(&rule.realm) {
            faults.field("realm", format!("there is no realm `{}`", rule.realm));
        }
        if rule.verbs.is_empty() {
            faults.field("verbs", "a rule is about one verb at least");
        }
        unique(faults, "verbs", &rule.verbs, |verb| {
            verb.as_str().to_owned()
        });
        if let Err(text) = rule_filter(&rule.filter, self.limits.address) {
            faults.field("filter", text);
        }
    }

    fn roles(&self, faults: &mut Faults, roles: &[String]) {
        faults.each("roles", roles, |faults, role| self.named_role(faults, role));
        unique(faults, "roles", roles, Clone::clone);
    }

    fn named_role(&self, faults: &mut Faults, role: &str) {
        if !BUILT_IN_ROLES.contains(&role) && !self.others.has_role(role) {
            faults.here(format!("there is no role `{role}`"));
        }
    }

    fn realm_is_there(&self, realm: &str) -> bool {
        realm == DEFAULT_REALM || self.others.has_realm(realm)
    }
}

/// The filter of a rule, in which `${user}` and `${client}` stand for a segment.
fn rule_filter(text: &str, limits: AddressLimits) -> Result<(), String> {
    let segments = text.split('/').map(|segment| match segment {
        "${user}" | "${client}" => Ok("x"),
        other if other.contains("${") => Err(format!(
            "`{other}` stands for nothing: a whole segment may be `${{user}}` or `${{client}}`"
        )),
        other => Ok(other),
    });
    let plain: Vec<&str> = segments.collect::<Result<_, _>>()?;
    Filter::parse(&plain.join("/"), limits)
        .map(drop)
        .map_err(|error| said(&error))
}

fn queue(faults: &mut Faults, name: &str, spec: &QueueSpec, limits: &Limits) {
    match Address::parse(name, limits.address) {
        Err(error) => faults.here(format!("a queue's name is an address: {}", said(&error))),
        Ok(address) if address.space() != Space::Ordinary => {
            faults.here("a durable queue's name begins with neither `$` nor `~`");
        }
        Ok(_) => {}
    }
    let mut range = |field: &str, value: Option<u64>, least: u64, most: u64| {
        if value.is_some_and(|value| value < least || value > most) {
            faults.field(
                field,
                format!("this is from {least} to {most}, or left out"),
            );
        }
    };
    range("ttl_ms", spec.ttl_ms, 1, TTL_MS_MAX);
    range("max_messages", spec.max_messages, 1, u64::MAX);
    range("max_bytes", spec.max_bytes, QUEUE_BYTES_MIN, u64::MAX);
    let attempts = spec.max_attempts.map(u64::from);
    range("max_attempts", attempts, 1, u64::from(ATTEMPTS_MAX));
    if let Some(to) = &spec.dead_letter {
        faults.within("dead_letter", |faults| {
            ordinary_address(faults, to, limits);
            if to == name {
                faults.here("a queue cannot be where its own dead letters go");
            }
        });
    }
    for (field, is_there) in [
        ("max_attempts", spec.max_attempts.is_some()),
        ("dead_letter", spec.dead_letter.is_some()),
    ] {
        if spec.history && is_there {
            faults.field(field, "a history has none: nobody consumes from it");
        }
    }
    let bindings = spec.bindings.as_deref().unwrap_or_default();
    faults.each(
        "bindings",
        bindings,
        |faults, binding| match Filter::parse(binding, limits.address) {
            Err(error) => faults.here(said(&error)),
            Ok(_) if binding.starts_with(['$', '~']) => {
                faults.here("a binding begins with neither `$` nor `~`");
            }
            Ok(_) => {}
        },
    );
    unique(faults, "bindings", bindings, Clone::clone);
}

/// An address that everybody may know of: neither the broker's own nor a session's.
pub(super) fn ordinary_address(faults: &mut Faults, text: &str, limits: &Limits) {
    match Address::parse(text, limits.address) {
        Err(error) => faults.here(said(&error)),
        Ok(address) if address.space() != Space::Ordinary => {
            faults.here("an address that begins with `$` or `~` cannot be led to");
        }
        Ok(_) => {}
    }
}

pub(super) fn said(error: &AddressError) -> String {
    error.to_string()
}

pub(super) fn description(faults: &mut Faults, text: &str) {
    if text.len() > DESCRIPTION_BYTES_MAX {
        faults.field(
            "description",
            format!("this has {DESCRIPTION_BYTES_MAX} bytes at most"),
        );
    }
}

/// A list in which nothing is twice, and which has an end.
pub(super) fn unique<T>(
    faults: &mut Faults,
    field: &str,
    items: &[T],
    text: impl Fn(&T) -> String,
) {
    if items.len() > LIST_MAX {
        faults.field(field, format!("this has {LIST_MAX} items at most"));
        return;
    }
    let mut seen = BTreeSet::new();
    for item in items.iter().map(text) {
        if seen.contains(&item) {
            faults.field(field, format!("`{item}` is there twice"));
        }
        seen.insert(item);
    }
}

/// A name of anything.
fn check_name(faults: &mut Faults, name: &str) {
    let wrong = |c: char| c.is_control();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.trim() != name || name.contains(wrong)
    {
        faults.here(format!(
            "a name has 1 to {NAME_BYTES_MAX} bytes, no control characters, and no space at an end"
        ));
    }
}

/// A name that credentials and rules spell out: a colon would end it, and `*` means everybody.
fn check_principal(faults: &mut Faults, name: &str) {
    check_name(faults, name);
    if name.contains(':') || name == ANY {
        faults.here("this name has no `:` and is not `*`");
    }
}
