//! What the documents and the configuration make of access, at one time.
//!
//! ```text
//! Registry ─┐                  ┌─ decide: may they?      (index)
//!           ├─▶ Access::new ─▶─┼─ renew: who are they now?
//! Settings ─┘                  └─ grants: what may they do with the broker itself?
//! ```
//!
//! A snapshot never changes. The broker makes a new one whenever a document of access changed, and puts it into [`Current`];
//! readers take what is there without a lock.
//!
//! Always, each with a test of its name in `tests`:
//! - `nothing_is_allowed_by_default`, `deny_wins`, `admin_may_do_everything`.
//! - `what_somebody_lost_is_lost_when_they_are_renewed`.
//! - `a_session_ends_with_the_password_that_began_it`.
//! - `a_certificate_of_two_users_is_nobodys`.
//!
//! Not here: credentials (`authenticator`), how rules are matched (`index`).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use restante_storage::UnixMillis;

use super::grants::Grants;
use super::hash::Digest;
use super::index::{Asker, Index, Said};
use super::principal::{ADMIN, ANONYMOUS, Identity, MONITOR, Principal, TOKEN_PREFIX};
use super::settings::Settings;
use crate::registry::{Document, DocumentKind, Grant, Registry, Token, User, Verb};

/// Who may do what, as of some registry. Never changes.
pub struct Access {
    registry: Registry,
    rules: Index,
    /// Ids of tokens, by label.
    labels: HashMap<Box<str>, Box<str>>,
    /// Users, by the names in their certificates; none: more than one user has that name.
    certificates: HashMap<Box<str>, Option<Arc<str>>>,
    /// Users, by their public keys; none: more than one user has that key.
    public_keys: HashMap<Box<str>, Option<Arc<str>>>,
    /// What those are who show nothing; none: they are not let in.
    anonymous_role: Option<String>,
    /// Who may issue JWTs, and whether those may have the role `admin`.
    issuers: HashMap<Box<str>, bool>,
}

/// The snapshot that counts at this moment. A clone is a handle to the same.
#[derive(Clone)]
pub struct Current(Arc<ArcSwap<Access>>);

impl Current {
    /// Begins with `access`.
    pub fn new(access: Access) -> Current {
        Current(Arc::new(ArcSwap::from_pointee(access)))
    }

    /// What counts now. Not to be held across an await.
    pub fn load(&self) -> arc_swap::Guard<Arc<Access>> {
        self.0.load()
    }

    /// What counts now, to be kept for longer.
    pub fn load_full(&self) -> Arc<Access> {
        self.0.load_full()
    }

    /// What counts from now on.
    pub fn store(&self, access: Access) {
        self.0.store(Arc::new(access));
    }
}

/// Which rule decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleRef {
    /// The built-in role `admin`.
    Admin,
    /// The rule of this name.
    Rule(Arc<str>),
    /// None allowed it.
    Default,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleRef::Admin => f.write_str("the role admin"),
            RuleRef::Rule(name) => write!(f, "the rule {name}"),
            RuleRef::Default => f.write_str("no rule allows it"),
        }
    }
}

/// The answer to "may they?", with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether they may.
    pub allowed: bool,
    /// Why.
    pub rule: RuleRef,
    /// As in [`Permit`].
    pub trustlevel: Option<u8>,
}

/// That somebody may, and how far they are trusted then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permit {
    /// The highest trust level, 0 to 9, that a rule sets which allows it; none: no such rule sets one, or it is not by a rule that
    /// they may.
    pub trustlevel: Option<u8>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.allowed { "allowed" } else { "denied" };
        write!(f, "{verdict}: {}", self.rule)
    }
}

impl Access {
    /// Compiles the documents. Costs tens of milliseconds for 10,000 rules and 10,000 users (`benches/access.rs`).
    pub fn new(registry: &Registry, settings: &Settings) -> Access {
        let rules = registry.of_kind(DocumentKind::Rule);
        let rules = rules.filter_map(|stored| match &stored.document {
            Document::Rule(rule) => Some((stored.id.name.as_str(), rule)),
            _ => None,
        });
        let issuers = settings.issuers.iter();
        Access {
            rules: Index::new(rules),
            labels: labels(registry),
            certificates: owners(registry, |user| &user.certificates),
            public_keys: owners(registry, |user| &user.public_keys),
            anonymous_role: settings.anonymous_role.clone(),
            issuers: issuers
                .map(|issuer| (issuer.issuer.as_str().into(), issuer.allow_admin))
                .collect(),
            registry: registry.clone(),
        }
    }

    /// Whether `who`, as the client `client`, may do `verb` to an address in a realm, and why.
    ///
    /// What is no address but a filter is judged as one: see [`Access::decide_filter`].
    pub fn decide(
        &self,
        who: &Principal,
        client: Option<&str>,
        verb: Verb,
        realm: &str,
        address: &str,
    ) -> Verdict {
        if who.has_role(ADMIN) {
            return Verdict {
                allowed: true,
                rule: RuleRef::Admin,
                trustlevel: None,
            };
        }
        let (allowed, rule, trustlevel) = match self.ask(who, client, verb, realm, address) {
            Said::Allowed(rule, trustlevel) => (true, self.rules.name(rule), trustlevel),
            Said::Denied(rule) => (false, self.rules.name(rule), None),
            Said::Nothing => (false, None, None),
        };
        Verdict {
            allowed,
            rule: rule.map_or(RuleRef::Default, |name| RuleRef::Rule(Arc::clone(name))),
            trustlevel,
        }
    }

    /// As [`Access::decide`] for a filter: all that it stands for must be allowed by one rule, and none of it denied.
    ///
    /// An address is the filter that stands for it alone, so that both are one decision.
    pub fn decide_filter(
        &self,
        who: &Principal,
        client: Option<&str>,
        verb: Verb,
        realm: &str,
        filter: &str,
    ) -> Verdict {
        self.decide(who, client, verb, realm, filter)
    }

    /// As [`Access::decide`], without the reason: for each message. Nothing is shared with other threads but what is read.
    pub fn allows(
        &self,
        who: &Principal,
        client: Option<&str>,
        verb: Verb,
        realm: &str,
        address: &str,
    ) -> bool {
        self.permit(who, client, verb, realm, address).is_some()
    }

    /// As [`Access::allows`]; none: they may not.
    pub fn permit(
        &self,
        who: &Principal,
        client: Option<&str>,
        verb: Verb,
        realm: &str,
        address: &str,
    ) -> Option<Permit> {
        if who.has_role(ADMIN) {
            return Some(Permit::default());
        }
        match self.ask(who, client, verb, realm, address) {
            Said::Allowed(_, trustlevel) => Some(Permit { trustlevel }),
            Said::Denied(_) | Said::Nothing => None,
        }
    }

    fn ask(
        &self,
        who: &Principal,
        client: Option<&str>,
        verb: Verb,
        realm: &str,
        asked: &str,
    ) -> Said {
        let asker = Asker {
            roles: &who.roles,
            user: &who.name,
            client,
            is_anonymous: who.identity == Identity::Anonymous,
        };
        self.rules.ask(&asker, verb, realm, asked)
    }

    /// Who they are as of this snapshot: what they are called and may be now, and until when. None: they are nobody any more,
    /// for they were deleted or disabled, or what they showed has been revoked or has expired.
    pub fn renew(&self, who: &Principal, now: UnixMillis) -> Option<Principal> {
        let renewed = match &who.identity {
            Identity::Broker => who.clone(),
            Identity::User { password } => {
                let present = self.password_mark(&who.name);
                (password.is_none() || *password == present).then_some(())?;
                self.user_principal(&who.name, who.identity.clone(), None)?
            }
            Identity::Certificate { shown } => {
                let user = self.user_of_certificate(shown)?;
                (**user == *who.name).then_some(())?;
                self.user_principal(user, who.identity.clone(), who.expires)?
            }
            Identity::PublicKey { shown } => {
                let user = self.user_of_public_key(shown)?;
                (**user == *who.name).then_some(())?;
                self.user_principal(user, who.identity.clone(), None)?
            }
            Identity::Anonymous => self.anonymous()?,
            Identity::Token { id, mark } => self.token_principal(id, *mark, now)?,
            Identity::Jwt { issuer } => {
                let allow_admin = *self.issuers.get(&**issuer)?;
                let roles = who.roles.iter();
                let roles = roles.filter(|role| allow_admin || *role != ADMIN);
                Principal {
                    roles: roles.cloned().collect(),
                    ..who.clone()
                }
            }
        };
        let expired = renewed.expires.is_some_and(|expires| expires <= now);
        (!expired).then_some(renewed)
    }

    /// What roles may do with the broker itself.
    pub fn grants<R: AsRef<str>>(&self, roles: &[R]) -> Grants {
        let roles = roles.iter().map(AsRef::as_ref);
        roles.map(|role| self.grants_of(role)).collect()
    }

    fn grants_of(&self, role: &str) -> Grants {
        match role {
            ADMIN => Grants::ALL,
            MONITOR => [Grant::Monitor, Grant::Read].into_iter().collect(),
            _ => match self.document(DocumentKind::Role, role) {
                Some(Document::Role(role)) => role.grants.iter().copied().collect(),
                _ => Grants::default(),
            },
        }
    }

    /// Whether there is no document any more of whom `name` stands for. Of the subjects of JWTs there never is one: not they.
    pub fn is_gone(&self, name: &str) -> bool {
        match name.strip_prefix(TOKEN_PREFIX) {
            Some(label) => !self.labels.contains_key(label),
            None => !name.contains(':') && self.user(name).is_none(),
        }
    }

    /// Whether nobody could log in as `name` now: that user or token is disabled, has expired or is gone. Of the subjects of
    /// JWTs that is never known: not they.
    pub fn is_shut_out(&self, name: &str, now: UnixMillis) -> bool {
        let known_here = name.starts_with(TOKEN_PREFIX) || !name.contains(':');
        known_here && self.principal_named(name, now).is_none()
    }

    /// A user, or a token as `token:LABEL`, as they would be if they logged in now. None: there is no such principal, or it
    /// is disabled or has expired. Principals of JWTs are known only while they are connected.
    pub fn principal_named(&self, name: &str, now: UnixMillis) -> Option<Principal> {
        match name.strip_prefix(TOKEN_PREFIX) {
            Some(label) => {
                let id = self.labels.get(label)?;
                let token = self.token(id)?;
                let mark = Digest::from_hex(&token.hash)?.mark();
                self.token_principal(id, mark, now)
            }
            None => self.password_principal(name),
        }
    }

    /// The user, as one who has shown the password that they have now.
    pub(super) fn password_principal(&self, name: &str) -> Option<Principal> {
        let password = self.password_mark(name);
        self.user_principal(name, Identity::User { password }, None)
    }

    fn password_mark(&self, name: &str) -> Option<u64> {
        let (user, _) = self.user(name)?;
        user.password_hash.as_ref()?;
        // All are of one password: a session that began with one of them ends when any is another.
        let secrets = user.password_secrets();
        let secrets = secrets.map(Option::unwrap_or_default).concat();
        Some(Digest::of(&secrets).mark())
    }

    /// Somebody who has shown nothing, if such are let in.
    pub(super) fn anonymous(&self) -> Option<Principal> {
        let role = self.anonymous_role.clone()?;
        Some(Principal {
            name: ANONYMOUS.into(),
            roles: [role].into(),
            identity: Identity::Anonymous,
            expires: None,
        })
    }

    /// The id of the token with this label: no two may have the same.
    pub fn token_labelled(&self, label: &str) -> Option<&str> {
        self.labels.get(label).map(|id| &**id)
    }

    /// A user's document with its revision, disabled or not.
    pub(super) fn user(&self, name: &str) -> Option<(&User, u64)> {
        let stored = self.registry.get(DocumentKind::User, "", name)?;
        match &stored.document {
            Document::User(user) => Some((user, stored.revision)),
            _ => None,
        }
    }

    /// A token's document, disabled or not.
    pub(super) fn token(&self, id: &str) -> Option<&Token> {
        match self.document(DocumentKind::Token, id)? {
            Document::Token(token) => Some(token),
            _ => None,
        }
    }

    /// The one user that has a name in its certificates.
    pub(super) fn user_of_certificate(&self, name: &str) -> Option<&Arc<str>> {
        self.certificates.get(name)?.as_ref()
    }

    /// The one user that has a public key.
    pub(super) fn user_of_public_key(&self, key: &str) -> Option<&Arc<str>> {
        self.public_keys.get(key)?.as_ref()
    }

    /// Whether two users have a name in their certificates.
    pub(super) fn is_ambiguous(&self, name: &str) -> bool {
        matches!(self.certificates.get(name), Some(None))
    }

    pub(super) fn user_principal(
        &self,
        name: &str,
        identity: Identity,
        expires: Option<UnixMillis>,
    ) -> Option<Principal> {
        let (user, _) = self.user(name).filter(|(user, _)| !user.disabled)?;
        Some(Principal {
            name: name.into(),
            roles: user.roles.as_slice().into(),
            identity,
            expires,
        })
    }

    /// The token's principal, if the secret that `mark` tells of is still one of its secrets.
    pub(super) fn token_principal(
        &self,
        id: &str,
        mark: u64,
        now: UnixMillis,
    ) -> Option<Principal> {
        let token = self.token(id).filter(|token| !token.disabled)?;
        let is = |hash: &str| Digest::from_hex(hash).is_some_and(|hash| hash.mark() == mark);
        let previous = token.previous.as_ref();
        let until = match previous.filter(|previous| is(&previous.hash)) {
            _ if is(&token.hash) => token.expires_at,
            Some(previous) => Some(previous.until.min(token.expires_at.unwrap_or(u64::MAX))),
            None => return None,
        };
        let expires = until.map(UnixMillis::new);
        if expires.is_some_and(|expires| expires <= now) {
            return None;
        }
        Some(Principal {
            name: format!("{TOKEN_PREFIX}{}", token.label).into(),
            roles: token.roles.as_slice().into(),
            identity: Identity::Token {
                id: id.into(),
                mark,
            },
            expires,
        })
    }

    fn document(&self, kind: DocumentKind, name: &str) -> Option<&Document> {
        let stored = self.registry.get(kind, "", name)?;
        Some(&stored.document)
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("revision", &self.registry.revision)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Current").field(&self.load()).finish()
    }
}

fn labels(registry: &Registry) -> HashMap<Box<str>, Box<str>> {
    let tokens = registry.of_kind(DocumentKind::Token);
    let label = |stored: &Arc<crate::registry::Stored>| match &stored.document {
        Document::Token(token) => {
            Some((token.label.as_str().into(), stored.id.name.as_str().into()))
        }
        _ => None,
    };
    tokens.filter_map(label).collect()
}

/// Who has what, where nobody may have what another has; none: more than one has it.
fn owners(
    registry: &Registry,
    of: impl Fn(&User) -> &Vec<String>,
) -> HashMap<Box<str>, Option<Arc<str>>> {
    let mut users: HashMap<Box<str>, Option<Arc<str>>> = HashMap::new();
    for stored in registry.of_kind(DocumentKind::User) {
        let Document::User(user) = &stored.document else {
            continue;
        };
        let owner: Arc<str> = stored.id.name.as_str().into();
        for name in of(user) {
            users
                .entry(name.as_str().into())
                .and_modify(|other| {
                    if other.as_ref() != Some(&owner) {
                        *other = None;
                    }
                })
                .or_insert_with(|| Some(Arc::clone(&owner)));
        }
    }
    users
}

/// The rules of a registry, by name: what the tests' plain definition looks at.
#[cfg(test)]
pub(super) fn rules_of(registry: &Registry) -> Vec<(String, crate::registry::Rule)> {
    let rules = registry.of_kind(DocumentKind::Rule);
    rules
        .filter_map(|stored| match &stored.document {
            Document::Rule(rule) => Some((stored.id.name.clone(), rule.clone())),
            _ => None,
        })
        .collect()
}
