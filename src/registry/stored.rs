//! Documents as the log has them: a kind's number and JSON. The numbers are for ever (storage/FORMAT.md, `ConfigEntry`).

use std::sync::Arc;

use bytes::Bytes;
use restante_storage::payload::ConfigEntry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::{Document, DocumentId, DocumentKind, Registry, Stored};

/// A document in the log that this version cannot read. Refuse to start: to go on without a rule would look like a success.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "the {kind} `{name}` in the log cannot be read ({what}): it was written by a newer version; start that one, or ask it to export the definitions"
)]
pub struct Unreadable {
    /// What kind of document, as a word or a number.
    pub kind: String,
    /// Which.
    pub name: String,
    /// What is wrong, without the document's contents.
    pub what: String,
}

impl Registry {
    /// The registry that these entries of the log make.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(entries: impl Iterator<Item = ConfigEntry>) -> Result<Registry, Unreadable> {
        let mut registry = Registry::default();
        for entry in entries {
            registry.revision = registry.revision.max(entry.revision);
            let stored = read(entry)?;
            registry
                .documents
                .insert(stored.id.clone(), Arc::new(stored));
        }
        Ok(registry)
    }

    /// With `changes` made by the record at `lsn`; no document: it is removed.
    #[must_use]
    pub fn with(&self, lsn: u64, changes: &[(DocumentId, Option<Document>)]) -> Registry {
        let mut registry = self.clone();
        registry.revision = lsn;
        for (id, document) in changes {
            match document {
                Some(document) => {
                    let stored = Stored {
                        id: id.clone(),
                        document: document.clone(),
                        revision: lsn,
                    };
                    registry.documents.insert(id.clone(), Arc::new(stored));
                }
                None => {
                    registry.documents.remove(id);
                }
            }
        }
        registry
    }
}

/// A change as the log has it. `revision` 0: the record's own.
pub fn entry(id: &DocumentId, document: Option<&Document>, revision: u64) -> ConfigEntry {
    ConfigEntry {
        kind: number(id.kind),
        realm: id.realm.clone(),
        name: id.name.clone(),
        value: document.map(json),
        revision,
    }
}

/// The number of a kind.
pub fn number(kind: DocumentKind) -> u32 {
    match kind {
        DocumentKind::Realm => 1,
        DocumentKind::User => 2,
        DocumentKind::Token => 3,
        DocumentKind::Role => 4,
        DocumentKind::Rule => 5,
        DocumentKind::Route => 6,
    }
}

fn kind(number: u32) -> Option<DocumentKind> {
    DocumentKind::ALL
        .into_iter()
        .find(|kind| self::number(*kind) == number)
}

/// The id that a kind's number, a realm and a name stand for; none: the number is unknown.
pub fn id(number: u32, realm: &str, name: &str) -> Option<DocumentId> {
    Some(DocumentId {
        kind: kind(number)?,
        realm: realm.to_owned(),
        name: name.to_owned(),
    })
}

fn json(document: &Document) -> Bytes {
    fn of(it: &impl Serialize) -> Bytes {
        // Strings, numbers, lists and maps by string: there is nothing that JSON lacks.
        serde_json::to_vec(it).expect("a document is JSON").into()
    }
    match document {
        Document::Realm(it) => of(it),
        Document::User(it) => of(it),
        Document::Token(it) => of(it),
        Document::Role(it) => of(it),
        Document::Rule(it) => of(it),
        Document::Route(it) => of(it),
    }
}

fn read(entry: ConfigEntry) -> Result<Stored, Unreadable> {
    fn of<T: DeserializeOwned>(json: &[u8]) -> Result<T, String> {
        // Only the place: the text might quote the contents.
        serde_json::from_slice(json).map_err(|error| format!("at column {}", error.column()))
    }
    let unreadable = |kind: String, what| Unreadable {
        kind,
        name: entry.name.clone(),
        what,
    };
    let Some(kind) = kind(entry.kind) else {
        let number = format!("document of kind {}", entry.kind);
        return Err(unreadable(number, "an unknown kind".to_owned()));
    };
    let json = entry.value.unwrap_or_default();
    let document = match kind {
        DocumentKind::Realm => of(&json).map(Document::Realm),
        DocumentKind::User => of(&json).map(Document::User),
        DocumentKind::Token => of(&json).map(Document::Token),
        DocumentKind::Role => of(&json).map(Document::Role),
        DocumentKind::Rule => of(&json).map(Document::Rule),
        DocumentKind::Route => of(&json).map(Document::Route),
    };
    let document = document.map_err(|what| unreadable(kind.as_str().to_owned(), what))?;
    Ok(Stored {
        id: DocumentId {
            kind,
            realm: entry.realm,
            name: entry.name,
        },
        document,
        revision: entry.revision,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Realm, User};

    fn user(name: &str) -> (DocumentId, Document) {
        let id = DocumentId {
            kind: DocumentKind::User,
            realm: String::new(),
            name: name.to_owned(),
        };
        let user = User {
            roles: vec!["shop".to_owned()],
            ..User::default()
        };
        (id, Document::User(user))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (id, document) = user("alice");
        let mut written = entry(&id, Some(&document), 0);
        written.revision = 42;
        let registry = Registry::read(std::iter::once(written)).unwrap();
        let stored = registry.get(DocumentKind::User, "", "alice").unwrap();
        assert_eq!((&stored.document, stored.revision), (&document, 42));
        assert_eq!(registry.revision, 42);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_that_names_it_and_quotes_nothing() {
        for (kind, value) in [(99, "{}"), (2, "{\"secret\":1}"), (1, "canary")] {
            let entry = ConfigEntry {
                kind,
                name: "n".to_owned(),
                value: Some(Bytes::from_static(value.as_bytes())),
                ..ConfigEntry::default()
            };
            let error = Registry::read(std::iter::once(entry)).unwrap_err();
            assert_eq!(error.name, "n");
            let text = error.to_string();
            assert!(
                !text.contains("secret") && !text.contains("canary"),
                "{text}"
            );
        }
    }

    #[test]
    fn every_kind_has_its_number() {
        for kind in DocumentKind::ALL {
            assert_eq!(self::kind(number(kind)), Some(kind));
        }
        assert_eq!(
            json(&Document::Realm(Realm::default())),
            json(&Document::Realm(Realm::default()))
        );
    }

    #[test]
    fn a_change_leaves_the_snapshot_before_it_as_it_was() {
        let (id, document) = user("alice");
        let before = Registry::default();
        let after = before.with(7, &[(id.clone(), Some(document))]);
        assert_eq!((before.documents.len(), after.documents.len()), (0, 1));
        assert_eq!(after.with(8, &[(id, None)]).documents.len(), 0);
    }
}
