//! Definitions: all that administrators have set, as one document. Export, parse, check, plan; nothing here reads or writes.
//!
//! ```text
//! Registry, queues ─▶ export ─▶ Definitions ─▶ to_yaml, canonical ─▶ checksum
//! file ─▶ parse ─▶ Definitions ─▶ check ─▶ plan(current, wanted) ─▶ Plan for people, Changes for the registrar
//! ```
//!
//! What is each broker's own is no definition: the token of its command line (label [`CLI_LABEL`]) is never exported, never
//! pruned and not in the checksum, or no two brokers would ever be equal. The user `admin` of the first start is a user as
//! any other. Built-in roles have no document. The realm `default` is always there: one that nobody has set is exported as
//! what it is, a realm without limits, and to prune it is to set it back to that.
//!
//! Hashes of secrets are exported only if asked for. Whoever applies definitions without them keeps the secrets that are
//! set; a user or token that is new then has none, and nobody gets in with it before it has. The checksum always covers hashes.
//!
//! Always, each with a test of its name below:
//! - `an_export_applied_to_an_empty_broker_is_exported_the_same`, byte by byte, with `prune`.
//! - `a_plan_leads_where_it_says`, and `each_step_leaves_no_name_without_its_owner`.
//! - `what_is_written_is_parsed_to_the_same`, YAML and JSON.
//! - `a_plan_shows_no_secret`.
//!
//! Not here: how a plan gets to disk (`broker`); other brokers' forms of definitions, RabbitMQ's among them, are not taken.

mod check;
mod export;
mod faults;
mod parse;
mod plan;
mod read;
mod route;

pub use check::{Limits, check, check_document, check_growth, check_queue, users_of};
pub use export::{canonical, checksum, export, to_json, to_yaml, without_hashes};
pub use parse::{FILE_BYTES_MAX, Fault, parse};
pub use plan::{ChangeOf, Planned, plan};
pub use restante_admin_api::document::{Definitions, RealmDefinitions};

/// The version of the form.
pub const VERSION: u32 = 1;

/// The label of the token that each broker makes for its own command line.
pub const CLI_LABEL: &str = "cli";

/// The realm that every broker has, document or not.
pub const DEFAULT_REALM: &str = "default";

/// Roles that every broker has and that have no document.
pub const BUILT_IN_ROLES: [&str; 2] = [crate::access::ADMIN, "monitor"];

/// What stands for every role or realm in a rule.
const ANY: &str = "*";

#[cfg(test)]
mod tests;
