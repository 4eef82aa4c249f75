//! Who somebody is, and what they may do.
//!
//! ```text
//! credentials ─▶ Authenticator ─▶ Principal ─▶ Access::decide ─▶ Verdict
//! certificate, SCRAM ┘ │          (name, roles)    │              (allowed, by which rule)
//!                      └────▶ Current: Access ◀────┘
//!                                  ▲ a new one with each change
//! Registry (users, tokens, roles, rules), Settings (issuers of JWTs)
//! ```
//!
//! Everybody must have credentials, unless the configuration names a role for those who have none; and what no rule allows is denied. A rule that denies counts more than any that allow. The
//! built-in role `admin` may do everything, rules or not, so that nobody can lock themselves out; `monitor` may look. There is one
//! decision for all protocols, and it looks at nothing but documents. What a rule allows it may trust so far (`trustlevel`): that goes with the decision, and
//! is for WAMP to tell.
//!
//! Always, each with a test of its name in `tests` or in the part's own file:
//! - `nothing_is_allowed_by_default`, `deny_wins`, `admin_may_do_everything`.
//! - `what_somebody_lost_is_lost_when_they_are_renewed`.
//! - `nothing_here_shows_a_secret`.
//! - `the_decision_point_keeps_to_the_matrix` (matrix): every kind of principal, verb, rule set and address.
//! - `an_unknown_user_is_refused_like_a_wrong_password` (authenticator).
//! - `the_example_of_rfc_7677_is_ours` (scram).
//! - `the_method_follows_from_hello_alone` (wamp).
//!
//! Not here: what a refusal looks like in a protocol (the doors), and how documents get to disk (`broker`).

mod authenticator;
mod bootstrap;
mod certificate;
mod check;
mod credentials;
mod folder;
mod grants;
mod hash;
mod index;
mod jwt;
#[cfg(test)]
pub(crate) mod matrix;
mod pattern;
mod pool;
mod principal;
pub(crate) mod scram;
mod secret;
mod settings;
mod snapshot;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod throttle;
mod token;
pub mod wamp;

pub use authenticator::{AuthError, Authenticator, AuthenticatorError, PasswordError};
pub use bootstrap::{Bootstrap, BootstrapError, CLI_KEY_FILE, bootstrap, cli_token_in};
pub use check::{
    Checked, DocumentFault, check_name, check_password, check_role, check_rule, check_token,
    check_user,
};
pub use credentials::{Credentials, HeaderError};
pub use folder::FolderError;
pub use grants::Grants;
pub use hash::PasswordSecrets;
pub use jwt::{IssuerError, KeyError, check_issuers};
pub use pattern::PatternError;
pub use principal::{ADMIN, ANONYMOUS, Identity, MONITOR, Principal};
pub use scram::{Exchange, SCRAM_SHA_256};
pub use secret::Secret;
pub(crate) use secret::random_letters;
pub use settings::{IssuerSettings, JwtAlgorithm, KeySource, Settings};
pub use snapshot::{Access, Current, Permit, RuleRef, Verdict};
pub use token::{NewToken, new_secret, new_token};
