//! `realm`.

use clap::{Args, Subcommand};

use super::{Document, Dry, Fields, Maybe, Named, Part, Remove, parse_number, path};
use crate::cli::rest::{Ask, Rest};
use crate::cli::show::{Column, Form};
use crate::cli::{Exit, Global};

const COLUMNS: &[Column] = &[
    Column("NAME", "name", Form::Plain),
    Column("MAX-QUEUES", "max_queues", Form::Plain),
    Column("MAX-CONNECTIONS", "max_connections", Form::Plain),
    Column("DESCRIPTION", "description", Form::Plain),
];

/// `realm`.
#[derive(Debug, Subcommand)]
pub enum Realm {
    /// List the realms
    #[command(before_help = "Example:\n  restante realm ls")]
    Ls(Part),
    /// Show a realm
    #[command(before_help = "Example:\n  restante realm get shop")]
    Get(Named),
    /// Make a realm
    #[command(before_help = "Example:\n  restante realm add shop --description 'the web shop'")]
    Add(Set),
    /// Change a realm, or make it if it is not there
    #[command(before_help = "Example:\n  restante realm set shop --max-queues 1000")]
    Set(Set),
    /// Remove a realm that has no queues
    #[command(before_help = "Example:\n  restante realm rm shop --yes")]
    Rm(Remove),
}

/// `realm add`, `realm set`.
#[derive(Debug, Args)]
pub struct Set {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Queues that it may have, or `none` for as many as the configuration allows
    #[arg(long, value_name = "N", value_parser = parse_number)]
    max_queues: Option<Maybe>,
    /// Connections at once, or `none` for as many as the broker takes
    #[arg(long, value_name = "N", value_parser = parse_number)]
    max_connections: Option<Maybe>,
    #[command(flatten)]
    dry: Dry,
}

impl Set {
    fn fields(self) -> Fields {
        Fields::default()
            .set("description", self.description)
            .set("max_queues", self.max_queues.map(Maybe::json))
            .set("max_connections", self.max_connections.map(Maybe::json))
    }
}

/// Runs it.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn run(realm: Realm, global: &Global) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    let at = |name: &str| path(&["realms", name]);
    match realm {
        Realm::Ls(part) => {
            super::list(&rest, Ask::get(path(&["realms"])?), &part, COLUMNS, global).await
        }
        Realm::Get(named) => super::get(&rest, at(&named.name)?, global).await,
        Realm::Add(add) => {
            let place = (at(&add.name)?, format!("realm {}", add.name));
            let dry = add.dry;
            super::add(&rest, place, add.fields().json(), dry, global).await
        }
        Realm::Set(set) => {
            let document = Document {
                path: at(&set.name)?,
                what: format!("realm {}", set.name),
                shown_only: &["name", "revision"],
                may_make: true,
            };
            let dry = set.dry;
            super::change(&rest, document, set.fields(), dry, global).await
        }
        Realm::Rm(it) => {
            let what = format!("realm {}", it.name);
            super::remove(&rest, at(&it.name)?, &what, &it, global).await
        }
    }
}
