//! Documents one by one: what may be set and removed, and how that is made to hold while others do the same.
//!
//! ```text
//! Broker::change_as_of_now ─▶ in the steward's turn: precondition, checks, references, administrators ─▶ record
//! ```
//!
//! All that is looked at is looked at where the change is made, one after the other: nobody is refused for what others change
//! at the same time, unless it is the same document or one that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use restante_admin_api::document::{
    Document, DocumentId, DocumentKind, Realm, Stored, Token, User,
};
use restante_admin_api::{Changed, ControlError, How, Invalid, Precondition, Secret};
use restante_storage::UnixMillis;

use super::{Controller, invalid, told};
use crate::access::{self, PasswordError, PasswordSecrets};
use crate::broker::{Broker, Change, ChangeError, DEFAULT_REALM, now};
use crate::definitions::{self, BUILT_IN_ROLES, CLI_LABEL, Limits};
use crate::registry::Registry;

/// Documents that a refusal names.
const NAMED_MAX: usize = 5;

impl Controller {
    pub(super) fn documents_of(
        &self,
        kind: DocumentKind,
        realm: Option<&str>,
    ) -> Result<Vec<Stored>, ControlError> {
        if let Some(realm) = realm {
            self.must_be_there(realm)?;
        }
        let registry = self.broker.registry();
        let all = registry.of_kind(kind);
        let here = all.filter(|stored| realm.is_none_or(|realm| stored.id.realm == realm));
        let mut found: Vec<Stored> = here.map(|stored| Stored::clone(stored)).collect();
        let default = id(DocumentKind::Realm, DEFAULT_REALM);
        if kind == DocumentKind::Realm && !registry.documents.contains_key(&default) {
            found.push(unset_realm(default));
            found.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        }
        Ok(found)
    }

    pub(super) fn document_of(&self, id: &DocumentId) -> Result<Stored, ControlError> {
        let found = present(&self.broker.registry(), id);
        found.ok_or_else(|| not_found(id))
    }

    pub(super) fn must_be_there(&self, realm: &str) -> Result<(), ControlError> {
        match self.broker.has_realm(realm) {
            true => Ok(()),
            false => Err(ControlError::NotFound(format!("realm {realm}"))),
        }
    }

    pub(super) async fn put_document(
        &self,
        id: DocumentId,
        document: Document,
        password: Option<Secret>,
        how: How,
    ) -> Result<Changed<Stored>, ControlError> {
        if id.kind != document.kind() {
            return Err(invalid("", "is a document of another kind"));
        }
        if id.kind == DocumentKind::Role && BUILT_IN_ROLES.contains(&id.name.as_str()) {
            let text = format!("the role {} is built in and cannot be changed", id.name);
            return Err(ControlError::Conflict(text));
        }
        if id.kind == DocumentKind::Route {
            self.must_be_there(&id.realm)?;
        }
        let secrets = match password {
            Some(password) => Some(self.hash(&password).await?),
            None => None,
        };
        let of = id.clone();
        let whole = move |stored: Option<&Stored>| whole(&of, &document, secrets.as_ref(), stored);
        self.set(id, how, whole).await
    }

    /// Sets what `make` makes of the document that is there.
    pub(super) async fn set(
        &self,
        id: DocumentId,
        how: How,
        make: impl Fn(Option<&Stored>) -> Result<Document, ControlError> + Send + 'static,
    ) -> Result<Changed<Stored>, ControlError> {
        let limits = self.limits;
        let decide = move |registry: &Registry| {
            let stored = present(registry, &id);
            check(how.only, stored.as_ref().map(|it| it.revision))?;
            let document = make(stored.as_ref())?;
            check_document(&id, &document, registry, &limits)?;
            let mut documents = vec![(id.clone(), Some(document.clone()))];
            has_room(registry, &documents, &limits)?;
            keeps_an_administrator(registry, &documents, now())?;
            let was = stored.as_ref().map(|it| &it.document);
            if was == Some(&document) {
                documents.clear();
            }
            let changed = Changed {
                created: stored.is_none(),
                revision: None,
                before: stored.as_ref().map(told::before),
                after: Some(told::after(&document, was)),
                now: Stored {
                    id: id.clone(),
                    revision: stored.as_ref().map_or(0, |it| it.revision),
                    document,
                },
            };
            Ok((documents, changed))
        };
        let (made, mut changed) = self.make(how, decide).await?;
        if let Some(revision) = made {
            changed.now.revision = revision;
            changed.revision = Some(revision);
        }
        Ok(changed)
    }

    pub(super) async fn remove_document(
        &self,
        id: DocumentId,
        how: How,
    ) -> Result<Changed<()>, ControlError> {
        let broker = self.broker.clone();
        let decide = move |registry: &Registry| {
            let stored = present(registry, &id);
            check(how.only, stored.as_ref().map(|it| it.revision))?;
            let stored = stored.ok_or_else(|| not_found(&id))?;
            may_go(&id, registry, &broker)?;
            let documents = vec![(id.clone(), None)];
            keeps_an_administrator(registry, &documents, now())?;
            let changed = Changed {
                now: (),
                created: false,
                revision: None,
                before: Some(told::before(&stored)),
                after: None,
            };
            Ok((documents, changed))
        };
        let (revision, mut changed) = self.make(how, decide).await?;
        changed.revision = revision;
        Ok(changed)
    }

    /// Makes what is decided on where it is made, and gives the revision that documents have then; none: nothing was to be
    /// changed, or it is a dry run, for which what is in force now is good enough.
    async fn make<T: Send + 'static>(
        &self,
        how: How,
        mut decide: impl FnMut(&Registry) -> Result<(Documents, T), ControlError> + Send + 'static,
    ) -> Result<(Option<u64>, T), ControlError> {
        if how.dry_run {
            return Ok((None, decide(&self.broker.registry())?.1));
        }
        let decide = move |registry: &Registry| {
            let (documents, told) = decide(registry)?;
            let changes = !documents.is_empty();
            let change = Change {
                documents,
                ..Change::default()
            };
            Ok((change, (changes, told)))
        };
        let made: Result<_, ControlError> = self.broker.change_as_of_now(decide).await;
        let (revision, (changes, told)) = made?;
        Ok((changes.then_some(revision), told))
    }

    async fn hash(&self, password: &Secret) -> Result<PasswordSecrets, ControlError> {
        let password = access::Secret::new(password.expose());
        let hashed = self.auth.hash_password(password).await;
        hashed.map_err(|error| match error {
            PasswordError::Rules => invalid("/password", error.to_string()),
            PasswordError::Failed => ControlError::Internal,
        })
    }
}

/// Documents that are set, or removed where there is none.
type Documents = Vec<(DocumentId, Option<Document>)>;

impl From<ChangeError> for ControlError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Outdated => ControlError::Conflict(
                "clients make queues all the time that this is about; try again".to_owned(),
            ),
            ChangeError::TooLarge { .. } => ControlError::TooLarge(error.to_string()),
            ChangeError::Unsettled => ControlError::Unsettled,
            ChangeError::Unready => ControlError::Full(error.to_string()),
            ChangeError::ShuttingDown => ControlError::ShuttingDown,
        }
    }
}

fn may_go(id: &DocumentId, registry: &Registry, broker: &Broker) -> Result<(), ControlError> {
    let what = format!("{} {}", id.kind.as_str(), id.name);
    if id.kind == DocumentKind::Realm && id.name == DEFAULT_REALM {
        let text = "the realm default is always there and cannot be removed";
        return Err(ControlError::Conflict(text.to_owned()));
    }
    let users = definitions::users_of(id, registry);
    let queues = match id.kind {
        DocumentKind::Realm => broker.n_queues(&id.name),
        _ => 0,
    };
    if !users.is_empty() {
        let named = users.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>();
        let more = match users.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = named.join(", ");
        let too = match queues {
            0 => String::new(),
            queues => format!(", and has queues ({queues})"),
        };
        let text =
            format!("{what} is still named by {named}{more}{too}; change or remove these first");
        return Err(ControlError::Conflict(text));
    }
    if queues > 0 {
        let text = format!("{what} still has queues ({queues}); remove these first");
        return Err(ControlError::Conflict(text));
    }
    Ok(())
}

/// A document makes sense, beside the others.
fn check_document(
    id: &DocumentId,
    document: &Document,
    registry: &Registry,
    limits: &Limits,
) -> Result<(), ControlError> {
    let mut faults = definitions::check_document(id, document, registry, limits);
    add_faults(&mut faults, "", document);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(ControlError::Invalid(faults))
    }
}

/// It is as the caller believes.
pub(super) fn check(only: Precondition, revision: Option<u64>) -> Result<(), ControlError> {
    let holds = match only {
        Precondition::None => true,
        Precondition::Present => revision.is_some(),
        Precondition::Absent => revision.is_none(),
        Precondition::Revision(wanted) => revision == Some(wanted),
    };
    match holds {
        true => Ok(()),
        false => Err(ControlError::Changed { revision }),
    }
}

/// What access finds wrong in a document and nobody has found yet; `at`: where the document is.
pub(super) fn add_faults(faults: &mut Vec<Invalid>, at: &str, document: &Document) {
    let checked = match document {
        Document::User(it) => access::check_user(it),
        Document::Token(it) => access::check_token(it),
        Document::Role(it) => access::check_role(it),
        Document::Rule(it) => access::check_rule(it),
        Document::Realm(_) | Document::Route(_) => Ok(()),
    };
    // A token may wait for its secret: until then nobody is let in with it.
    let waits = matches!(document, Document::Token(it) if it.hash.is_empty());
    let known: BTreeSet<String> = faults.iter().map(|it| it.pointer.clone()).collect();
    for (pointer, detail) in checked.err().unwrap_or_default() {
        let place = format!("{at}{pointer}");
        let is_below = |known: &String| known.starts_with(&place) || place.starts_with(known);
        let is_known = known.iter().any(is_below);
        if is_known || (waits && pointer == "/hash") {
            continue;
        }
        let pointer = place;
        faults.push(Invalid { pointer, detail });
    }
}

/// A document as it is to be stored: with the secrets that whoever sets it does not tell.
fn whole(
    id: &DocumentId,
    document: &Document,
    secrets: Option<&PasswordSecrets>,
    stored: Option<&Stored>,
) -> Result<Document, ControlError> {
    let present = stored.map(|it| &it.document);
    match (document.clone(), present) {
        (Document::User(mut user), present) => {
            match (secrets.cloned(), present) {
                (Some(secrets), _) => secrets.put_into(&mut user),
                (None, Some(Document::User(present))) if !user.has_password_secrets() => {
                    user.take_password(present);
                }
                (None, _) => {}
            }
            Ok(Document::User(user))
        }
        (Document::Token(token), Some(Document::Token(present))) => Ok(Document::Token(Token {
            hash: present.hash.clone(),
            created_at: present.created_at,
            previous: present.previous.clone(),
            ..token
        })),
        // Only the broker gives tokens their ids and secrets.
        (Document::Token(_), _) => Err(not_found(id)),
        (other, _) => Ok(other),
    }
}

/// No kind has more documents than it may, of those that get more; who has too many already may still change them.
pub(super) fn has_room(
    registry: &Registry,
    changes: &[(DocumentId, Option<Document>)],
    limits: &Limits,
) -> Result<(), ControlError> {
    let mut grown = BTreeMap::<(DocumentKind, &str), (usize, usize)>::new();
    for (id, document) in changes {
        let place = grown.entry((id.kind, &id.realm)).or_default();
        match (registry.documents.contains_key(id), document) {
            (false, Some(_)) => place.0 += 1,
            (true, None) => place.1 += 1,
            (true, Some(_)) | (false, None) => {}
        }
    }
    for ((kind, realm), (made, gone)) in grown {
        let limit = limits.of_kind(kind);
        if made > gone && registry.count(kind, realm) + made - gone > limit {
            let place = match realm {
                "" => String::new(),
                realm => format!(" in realm {realm}"),
            };
            let text = format!("no more than {limit} {}s are allowed{place}", kind.as_str());
            return Err(ControlError::Full(text));
        }
    }
    Ok(())
}

/// Somebody who is administrator can still log in, if anybody could before.
pub(super) fn keeps_an_administrator(
    registry: &Registry,
    changes: &[(DocumentId, Option<Document>)],
    now: UnixMillis,
) -> Result<(), ControlError> {
    let of_access = |id: &DocumentId| matches!(id.kind, DocumentKind::User | DocumentKind::Token);
    if !changes.iter().any(|(id, _)| of_access(id)) {
        return Ok(());
    }
    let is = |registry: &Registry| {
        let mut documents = registry.documents.values();
        documents.any(|stored| is_administrator(&stored.document, now))
    };
    if !is(registry) || is(&registry.with(registry.revision, changes)) {
        return Ok(());
    }
    let text = "after this nobody who can log in would have the role admin; give it first to another user with a password, or to another token";
    Err(ControlError::Conflict(text.to_owned()))
}

/// Whether somebody is administrator and can log in. The command line's own token does not count: it is for those who can read
/// the data folder, and so is no way in for everybody else.
fn is_administrator(document: &Document, now: UnixMillis) -> bool {
    let has_role = |roles: &[String]| roles.iter().any(|role| role == access::ADMIN);
    match document {
        Document::User(user) => has_role(&user.roles) && can_log_in(user),
        Document::Token(token) => {
            let lasts = token.expires_at.is_none_or(|until| until > now.get());
            let works = !token.disabled && !token.hash.is_empty() && lasts;
            has_role(&token.roles) && works && token.label != CLI_LABEL
        }
        _ => false,
    }
}

fn can_log_in(user: &User) -> bool {
    !user.disabled && (user.password_hash.is_some() || !user.certificates.is_empty())
}

/// A document that is there. The realm `default` always is.
fn present(registry: &Registry, id: &DocumentId) -> Option<Stored> {
    let found = registry.documents.get(id).map(Arc::as_ref).cloned();
    let is_default = id.kind == DocumentKind::Realm && id.name == DEFAULT_REALM;
    found.or_else(|| is_default.then(|| unset_realm(id.clone())))
}

fn unset_realm(id: DocumentId) -> Stored {
    Stored {
        id,
        document: Document::Realm(Realm::default()),
        revision: 0,
    }
}

pub(super) fn id(kind: DocumentKind, name: &str) -> DocumentId {
    DocumentId {
        kind,
        realm: String::new(),
        name: name.to_owned(),
    }
}

pub(super) fn not_found(id: &DocumentId) -> ControlError {
    let (kind, name) = (id.kind.as_str(), &id.name);
    ControlError::NotFound(match id.realm.is_empty() {
        true => format!("{kind} {name}"),
        false => format!("{kind} {name} in realm {}", id.realm),
    })
}
