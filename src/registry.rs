//! The registry: what administrators have set, as documents. Realms, users, tokens, roles, rules, routes.
//!
//! ```text
//! REST, definitions ─▶ registrar ─ Config record ─▶ log ─▶ engine ─▶ Registry (snapshot) ─▶ access, routes
//! ```
//!
//! A snapshot is read without a lock and never changes; the broker replaces it whole.
//!
//! Not here: what a rule or a route does (`access`, `broker`), how a document gets to disk (`broker::registrar`).

mod stored;

use std::sync::Arc;

use imbl::OrdMap;
pub use restante_admin_api::document::{
    Choose, Condition, Document, DocumentId, DocumentKind, Grant, Realm, Role, Route, Rule, Stored,
    Target, Token, User, Verb,
};
pub use stored::{Unreadable, entry, id, number};

/// All documents at one time. A clone costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// The documents, by kind, realm and name.
    pub documents: OrdMap<DocumentId, Arc<Stored>>,
    /// The LSN of the last record that changed any; 0: none ever did.
    pub revision: u64,
}

impl Registry {
    /// A document.
    pub fn get(&self, kind: DocumentKind, realm: &str, name: &str) -> Option<&Arc<Stored>> {
        self.documents.get(&DocumentId {
            kind,
            realm: realm.to_owned(),
            name: name.to_owned(),
        })
    }

    /// All documents of a kind, by realm and name.
    pub fn of_kind(&self, kind: DocumentKind) -> impl Iterator<Item = &Arc<Stored>> {
        let first = DocumentId {
            kind,
            realm: String::new(),
            name: String::new(),
        };
        let of_kind = self.documents.range(first..);
        of_kind
            .take_while(move |(id, _)| id.kind == kind)
            .map(|(_, stored)| stored)
    }

    /// How many documents of a kind a realm has; `realm` is empty for kinds that are of none.
    pub fn count(&self, kind: DocumentKind, realm: &str) -> usize {
        let first = DocumentId {
            kind,
            realm: realm.to_owned(),
            name: String::new(),
        };
        let here = self.documents.range(first..);
        here.take_while(|(id, _)| id.kind == kind && id.realm == realm)
            .count()
    }
}
