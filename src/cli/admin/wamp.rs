//! What WAMP's clients have: `registration`, `subscription`, `call`.

use clap::{Args, Subcommand};

use super::{Dry, Part, path};
use crate::cli::ask::Sure;
use crate::cli::rest::{Ask, Rest};
use crate::cli::show::{Column, Form};
use crate::cli::{Exit, Global};

const REGISTRATIONS: &[Column] = &[
    Column("REALM", "realm", Form::Plain),
    Column("ID", "id", Form::Plain),
    Column("URI", "uri", Form::Plain),
    Column("MATCH", "match", Form::Plain),
    Column("INVOKE", "invoke", Form::Plain),
    Column("CALLEES", "callees", Form::Plain),
    Column("CALLS", "calls", Form::Plain),
    Column("FOR", "created_at", Form::Age),
];
const SUBSCRIPTIONS: &[Column] = &[
    Column("REALM", "realm", Form::Plain),
    Column("ID", "id", Form::Plain),
    Column("URI", "uri", Form::Plain),
    Column("MATCH", "match", Form::Plain),
    Column("SUBSCRIBERS", "subscribers", Form::Plain),
    Column("FOR", "created_at", Form::Age),
];
const CALLS: &[Column] = &[
    Column("REALM", "realm", Form::Plain),
    Column("NUMBER", "number", Form::Plain),
    Column("PROCEDURE", "procedure", Form::Plain),
    Column("CALLER", "caller", Form::Plain),
    Column("CALLEE", "callee", Form::Plain),
];

/// `registration`.
#[derive(Debug, Subcommand)]
pub enum Registration {
    /// List the procedures that WAMP clients have registered
    #[command(
        before_help = "Example:\n  restante registration ls --prefix com.shop. --sort -calls"
    )]
    Ls(List),
    /// Show a registration
    #[command(before_help = "Example:\n  restante registration get 17")]
    Get(Id),
    /// Take a registration from all its callees; calls on their way are answered
    #[command(before_help = "Example:\n  restante registration rm 17 --yes")]
    Rm(Remove),
}

/// `subscription`.
#[derive(Debug, Subcommand)]
pub enum Subscription {
    /// List the topics that WAMP clients have subscribed to
    #[command(before_help = "Example:\n  restante subscription ls --sort -subscribers")]
    Ls(List),
    /// Show a subscription
    #[command(before_help = "Example:\n  restante subscription get 17")]
    Get(Id),
    /// Take a subscription from all its subscribers
    #[command(before_help = "Example:\n  restante subscription rm 17 --yes")]
    Rm(Remove),
}

/// `call`.
#[derive(Debug, Subcommand)]
pub enum Call {
    /// List the calls of WAMP clients that are not answered
    #[command(before_help = "Example:\n  restante call ls --prefix com.shop.")]
    Ls(List),
}

/// `registration ls`, `subscription ls`, `call ls`.
#[derive(Debug, Args)]
pub struct List {
    /// What to sort by, with a `-` in front from the largest on
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Option<String>,
    #[command(flatten)]
    part: Part,
}

/// One of a realm's.
#[derive(Debug, Args)]
pub struct Id {
    /// Its id, as listed
    #[arg(value_name = "ID")]
    id: u64,
}

/// One of a realm's that is to be taken from its clients.
#[derive(Debug, Args)]
pub struct Remove {
    /// Its id, as listed
    #[arg(value_name = "ID")]
    id: u64,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    dry: Dry,
}

/// Runs `registration`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn registration(
    it: Registration,
    global: &Global,
) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    match it {
        Registration::Ls(it) => list(&rest, "registrations", it, REGISTRATIONS, global).await,
        Registration::Get(it) => {
            super::get(&rest, at(&rest, "registrations", it.id)?, global).await
        }
        Registration::Rm(it) => remove(&rest, "registration", &it, global).await,
    }
}

/// Runs `subscription`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn subscription(
    it: Subscription,
    global: &Global,
) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    match it {
        Subscription::Ls(it) => list(&rest, "subscriptions", it, SUBSCRIPTIONS, global).await,
        Subscription::Get(it) => {
            super::get(&rest, at(&rest, "subscriptions", it.id)?, global).await
        }
        Subscription::Rm(it) => remove(&rest, "subscription", &it, global).await,
    }
}

/// Runs `call`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn call(it: Call, global: &Global) -> anyhow::Result<Exit> {
    let Call::Ls(it) = it;
    list(&Rest::new(global)?, "calls", it, CALLS, global).await
}

fn at(rest: &Rest, kind: &str, id: u64) -> anyhow::Result<String> {
    path(&["realms", rest.realm(), kind, &id.to_string()])
}

async fn list(
    rest: &Rest,
    kind: &str,
    it: List,
    columns: &[Column],
    global: &Global,
) -> anyhow::Result<Exit> {
    let ask = Ask::get(path(&[kind])?)
        .maybe("realm", rest.named_realm())
        .maybe("sort", it.sort);
    super::list(rest, ask, &it.part, columns, global).await
}

async fn remove(rest: &Rest, what: &str, it: &Remove, global: &Global) -> anyhow::Result<Exit> {
    let (path, id) = (at(rest, &format!("{what}s"), it.id)?, it.id.to_string());
    let what = format!("{what} {id}");
    let doing = format!("take {what} from all who have it");
    super::sure(rest, &path, &doing, &id, (&it.sure, it.dry)).await?;
    super::act(rest, Ask::delete(path), (&what, "revoked"), it.dry, global).await
}
