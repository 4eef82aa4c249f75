//! Who somebody is, and what they may do.
//!
//! ```text
//! Authorization ─▶ Credentials ─▶ Authenticator ─▶ Principal ─▶ Rules::decide ─▶ Verdict
//!                                    │  store: credentials.json    (name, roles)     (allowed, by which rule)
//! ```
//!
//! Everybody must have credentials, and what no rule allows is denied. A rule that denies counts more than any that
//! allow. The built-in role `admin` may do everything, rules or not, so that nobody can lock themselves out.
//!
//! Always, each with a test of its name below or in the part's own file:
//! - `nothing_is_allowed_by_default`, `deny_wins`, `admin_may_do_everything`.
//! - `no_debug_output_shows_a_secret`.
//! - `an_unknown_user_is_refused_like_a_wrong_password` (authenticator).
//! - `a_broken_file_is_refused` (store).
//!
//! Not here: what a refusal looks like in a protocol (the doors), and where rules are written (`config`).

mod authenticator;
mod bootstrap;
mod credentials;
mod filter;
mod folder;
mod hash;
mod secret;
mod store;
mod throttle;

use std::fmt;
use std::sync::Arc;

pub use authenticator::{AuthError, Authenticator};
pub use bootstrap::{Bootstrap, BootstrapError, CLI_KEY_FILE, bootstrap};
pub use credentials::{Credentials, HeaderError};
pub use filter::{Filter, FilterError};
pub use folder::FolderError;
pub use secret::Secret;
pub use store::{CREDENTIALS_FILE, CredentialStore, KeySummary, StoreError, UserSummary};

/// The role that may do everything.
pub const ADMIN: &str = "admin";

/// What stands for every role or realm in a rule.
const ANY: &str = "*";

/// Somebody who has shown credentials. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// A user's name, or `key:` and an API key's label.
    pub name: Arc<str>,
    /// What they were given to be.
    pub roles: Arc<[String]>,
}

impl Principal {
    /// Whether they have `role`.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|has| has == role)
    }
}

/// What somebody wants to do with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Publish to it.
    Send,
    /// Take messages away from it.
    Consume,
    /// Look at messages and leave them.
    Browse,
    /// Make, change, purge and delete queues and bindings.
    Manage,
}

impl Verb {
    const ALL: [Verb; 4] = [Verb::Send, Verb::Consume, Verb::Browse, Verb::Manage];

    /// As in the configuration and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Send => "send",
            Verb::Consume => "consume",
            Verb::Browse => "browse",
            Verb::Manage => "manage",
        }
    }

    /// The reverse of [`Verb::name`].
    pub fn from_name(name: &str) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name() == name)
    }
}

/// What a rule does to what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Lets it through, unless another rule denies.
    Allow,
    /// Refuses it, whatever other rules say.
    Deny,
}

/// One line of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whom it is about; `*` is everybody.
    pub role: String,
    /// What it is about.
    pub verbs: Vec<Verb>,
    /// Where; `*` is every realm.
    pub realm: String,
    /// Which addresses.
    pub filter: Filter,
    /// Allow or deny.
    pub effect: Effect,
}

impl Rule {
    fn concerns(&self, principal: &Principal, verb: Verb, realm: &str) -> bool {
        (self.role == ANY || principal.has_role(&self.role))
            && self.verbs.contains(&verb)
            && (self.realm == ANY || self.realm == realm)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = if self.effect == Effect::Allow {
            "allow"
        } else {
            "deny"
        };
        let verbs: Vec<&str> = self.verbs.iter().map(|verb| verb.name()).collect();
        write!(
            f,
            "{effect} {} to {} on {} in {}",
            self.role,
            verbs.join(", "),
            self.filter,
            self.realm
        )
    }
}

/// Which rule decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleRef {
    /// The built-in role `admin`.
    Admin,
    /// The rule at this place in the configuration's list, from 0.
    Listed(usize),
    /// None allowed it.
    Default,
}

impl fmt::Display for RuleRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleRef::Admin => f.write_str("the role admin"),
            RuleRef::Listed(index) => write!(f, "access.rules[{index}]"),
            RuleRef::Default => f.write_str("no rule allows it"),
        }
    }
}

/// The answer to "may they?", with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether they may.
    pub allowed: bool,
    /// Why.
    pub rule: RuleRef,
}

/// All rules, as the configuration lists them.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// The rules in their order, which matters only for which one a verdict names.
    pub fn new(rules: Vec<Rule>) -> Rules {
        Rules(rules)
    }

    /// Whether `principal` may do `verb` to `address` in `realm`.
    ///
    /// `address` may be a filter, as a consumer's may: then all that it stands for must be allowed by one rule, and none
    /// of it denied.
    pub fn decide(&self, principal: &Principal, verb: Verb, realm: &str, address: &str) -> Verdict {
        if principal.has_role(ADMIN) {
            return Verdict {
                allowed: true,
                rule: RuleRef::Admin,
            };
        }
        let mut allowed_by = None;
        for (index, rule) in self
            .0
            .iter()
            .enumerate()
            .filter(|(_, rule)| rule.concerns(principal, verb, realm))
        {
            match rule.effect {
                Effect::Deny if rule.filter.overlaps(address) => {
                    return Verdict {
                        allowed: false,
                        rule: RuleRef::Listed(index),
                    };
                }
                Effect::Allow if allowed_by.is_none() && rule.filter.covers(address) => {
                    allowed_by = Some(index)
                }
                Effect::Deny | Effect::Allow => {}
            }
        }
        match allowed_by {
            Some(index) => Verdict {
                allowed: true,
                rule: RuleRef::Listed(index),
            },
            None => Verdict {
                allowed: false,
                rule: RuleRef::Default,
            },
        }
    }
}

#[cfg(test)]
mod tests;
