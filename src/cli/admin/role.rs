//! `role`.

use clap::{Args, Subcommand};

use super::{Document, Dry, Fields, Named, Part, Remove, path};
use crate::cli::rest::{Ask, Rest};
use crate::cli::show::{Column, Form};
use crate::cli::{Exit, Global};

const COLUMNS: &[Column] = &[
    Column("NAME", "name", Form::Plain),
    Column("GRANTS", "grants", Form::Plain),
    Column("DESCRIPTION", "description", Form::Plain),
];

/// `role`.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// List the roles
    #[command(before_help = "Example:\n  restante role ls")]
    Ls(Part),
    /// Show a role
    #[command(before_help = "Example:\n  restante role get shop")]
    Get(Named),
    /// Make a role
    #[command(
        before_help = "Examples:\n  restante role add shop\n  restante role add on-call --grant monitor,read,operate"
    )]
    Add(Set),
    /// Change a role, or make it if it is not there
    #[command(before_help = "Example:\n  restante role set on-call --grant monitor,read,operate")]
    Set(Set),
    /// Remove a role that nobody has
    #[command(before_help = "Example:\n  restante role rm shop --yes")]
    Rm(Remove),
}

/// `role add`, `role set`.
#[derive(Debug, Args)]
pub struct Set {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// What those with the role may do with the broker itself: monitor, read, operate, configure, secure; `set` replaces
    /// all that they may. What they may do with messages, rules say
    #[arg(
        long,
        value_name = "GRANTS",
        value_delimiter = ',',
        conflicts_with = "no_grants"
    )]
    grant: Vec<String>,
    /// They may do nothing with the broker itself
    #[arg(long)]
    no_grants: bool,
    #[command(flatten)]
    dry: Dry,
}

impl Set {
    fn fields(self) -> Fields {
        let none = self.no_grants.then(|| serde_json::json!([]));
        Fields::default()
            .set("description", self.description)
            .list("grants", &self.grant)
            .set("grants", none)
    }
}

/// Runs it.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn run(role: Role, global: &Global) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    let at = |name: &str| path(&["roles", name]);
    match role {
        Role::Ls(part) => {
            super::list(&rest, Ask::get(path(&["roles"])?), &part, COLUMNS, global).await
        }
        Role::Get(named) => super::get(&rest, at(&named.name)?, global).await,
        Role::Add(add) => {
            let place = (at(&add.name)?, format!("role {}", add.name));
            let dry = add.dry;
            super::add(&rest, place, add.fields().json(), dry, global).await
        }
        Role::Set(set) => {
            let document = Document {
                path: at(&set.name)?,
                what: format!("role {}", set.name),
                shown_only: &["name", "revision"],
                may_make: true,
            };
            let dry = set.dry;
            super::change(&rest, document, set.fields(), dry, global).await
        }
        Role::Rm(it) => {
            let what = format!("role {}", it.name);
            super::remove(&rest, at(&it.name)?, &what, &it, global).await
        }
    }
}
