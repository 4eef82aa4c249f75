//! What tests of access share: registries made of documents.

use std::sync::Arc;

use restante_admin_api::document::Effect;

use super::hash::PasswordSecrets;
use super::{Access, Identity, Principal, Settings};
use crate::registry::{
    Document, DocumentId, DocumentKind, Grant, Registry, Role, Rule, Stored, Token, User, Verb,
};

/// A registry in the making.
#[derive(Default)]
pub(crate) struct House {
    pub(crate) registry: Registry,
    pub(crate) settings: Settings,
}

impl House {
    pub(crate) fn new() -> House {
        House::default()
    }

    /// Puts a document in, as a change at the next revision.
    pub(crate) fn put(&mut self, kind: DocumentKind, name: &str, document: Document) {
        let id = DocumentId {
            kind,
            realm: String::new(),
            name: name.to_owned(),
        };
        self.registry.revision += 1;
        let stored = Stored {
            id: id.clone(),
            document,
            revision: self.registry.revision,
        };
        self.registry.documents.insert(id, Arc::new(stored));
    }

    pub(crate) fn remove(&mut self, kind: DocumentKind, name: &str) {
        let id = DocumentId {
            kind,
            realm: String::new(),
            name: name.to_owned(),
        };
        self.registry.revision += 1;
        self.registry.documents.remove(&id);
    }

    pub(crate) fn with(mut self, kind: DocumentKind, name: &str, document: Document) -> House {
        self.put(kind, name, document);
        self
    }

    pub(crate) fn user(self, name: &str, user: User) -> House {
        self.with(DocumentKind::User, name, Document::User(user))
    }

    pub(crate) fn token(self, id: &str, token: Token) -> House {
        self.with(DocumentKind::Token, id, Document::Token(token))
    }

    pub(crate) fn role(self, name: &str, grants: &[Grant]) -> House {
        let role = Role {
            grants: grants.to_vec(),
            ..Role::default()
        };
        self.with(DocumentKind::Role, name, Document::Role(role))
    }

    pub(crate) fn rule(self, name: &str, rule: Rule) -> House {
        self.with(DocumentKind::Rule, name, Document::Rule(rule))
    }

    pub(crate) fn access(&self) -> Access {
        Access::new(&self.registry, &self.settings)
    }
}

pub(crate) fn rule(effect: Effect, role: &str, verbs: &[Verb], realm: &str, filter: &str) -> Rule {
    Rule {
        description: String::new(),
        role: role.to_owned(),
        verbs: verbs.to_vec(),
        realm: realm.to_owned(),
        filter: filter.to_owned(),
        effect,
        trustlevel: None,
    }
}

/// A user with a password; takes as long as hashing does.
pub(crate) fn user(password: &str, roles: &[&str]) -> User {
    let secrets = PasswordSecrets::of(password).expect("hashes");
    let mut user = User {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..User::default()
    };
    secrets.put_into(&mut user);
    user
}

/// Somebody whom no change of documents touches, if the name has a colon: any other is a user's, who is not there.
pub(crate) fn permanent(name: &str, roles: &[&str]) -> Principal {
    Principal {
        identity: Identity::Broker,
        ..principal(name, roles)
    }
}

pub(crate) fn principal(name: &str, roles: &[&str]) -> Principal {
    Principal {
        name: name.into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        identity: Identity::User { password: None },
        expires: None,
    }
}
