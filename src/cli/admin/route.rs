//! `route`.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Document, Dry, Fields, Named, Part, Remove, path};
use crate::cli::rest::{Ask, Rest};
use crate::cli::show::{Column, Form};
use crate::cli::{Exit, Global, UsageError};

const COLUMNS: &[Column] = &[
    Column("NAME", "name", Form::Plain),
    Column("ORDER", "order", Form::Plain),
    Column("FILTER", "filter", Form::Plain),
    Column("TO", "to", Form::Targets),
    Column("CHOOSE", "choose", Form::Plain),
    Column("KEEP", "keep", Form::Yes),
    Column("LAST", "last", Form::Yes),
    Column("UNROUTED", "unrouted", Form::Yes),
    Column("DISABLED", "disabled", Form::Yes),
];

/// `route`.
#[derive(Debug, Subcommand)]
pub enum Route {
    /// List the routes of a realm
    #[command(before_help = "Example:\n  restante route ls --realm shop")]
    Ls(Part),
    /// Show a route
    #[command(before_help = "Example:\n  restante route get eu-orders")]
    Get(Named),
    /// Make a route
    #[command(
        before_help = "Examples:\n  restante route add eu-orders 'orders/+/new' --to 'work/{1}' --keep\n  restante route add split 'jobs/#' --to jobs-a=3 --to jobs-b=1 --choose weight\n  restante route add no-tests 'orders/#' --when property.test=yes --drop"
    )]
    Add(Add),
    /// Change a route, or switch it off and on
    #[command(before_help = "Example:\n  restante route set eu-orders --disable")]
    Set(Set),
    /// Remove a route
    #[command(before_help = "Example:\n  restante route rm eu-orders --yes")]
    Rm(Remove),
}

/// What is said of a route.
#[derive(Debug, Args)]
struct Said {
    /// Where messages go: an address in which `{1}`, `{2}` … are what the filter's wildcards stand for; with --choose weight
    /// ADDRESS=WEIGHT. May be repeated
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// Only messages with this field, or with this value in it: key, content-type, message-id, correlation-id, reply-to,
    /// priority, property.NAME. The same field again: one of the values. May be repeated
    #[arg(long, value_name = "FIELD[=VALUE]")]
    when: Vec<String>,
    /// Only messages without this field, or without this value in it. May be repeated
    #[arg(long, value_name = "FIELD[=VALUE]")]
    unless: Vec<String>,
    /// Which of the targets
    #[arg(long, value_enum)]
    choose: Option<Choose>,
    /// What decides with --choose shard: key, message-id, correlation-id or property.NAME
    #[arg(long, value_name = "FIELD")]
    shard_by: Option<String>,
    /// Lower ones are looked at first
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    order: Option<i32>,
    /// Messages also stay at the address that they were sent to
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    keep: Option<bool>,
    /// Routes behind this one are not looked at
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    last: Option<bool>,
    /// Only for what no other route took and no queue is bound for
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    unrouted: Option<bool>,
    /// Messages go nowhere
    #[arg(long, conflicts_with_all = ["to", "keep"])]
    drop: bool,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// Which of the targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Choose {
    /// All of them
    All,
    /// One, by weight
    Weight,
    /// One, always the same for the same --shard-by
    Shard,
}

impl Choose {
    fn name(self) -> &'static str {
        match self {
            Choose::All => "all",
            Choose::Weight => "weight",
            Choose::Shard => "shard",
        }
    }
}

impl Said {
    fn fields(self) -> anyhow::Result<Fields> {
        let mut when = conditions(&self.when, false);
        when.extend(conditions(&self.unless, true));
        let weighed = self.choose == Some(Choose::Weight);
        let to = self.to.iter().map(|text| target(text, weighed));
        let to = to.collect::<anyhow::Result<Vec<_>>>()?;
        let drops = self.drop.then(|| json!([]));
        Ok(Fields::default()
            .set("to", (!to.is_empty()).then_some(to))
            .set("to", drops)
            .set("when", (!when.is_empty()).then_some(when))
            .set("choose", self.choose.map(Choose::name))
            .set("shard_by", self.shard_by)
            .set("order", self.order)
            .set("keep", self.keep)
            .set("last", self.last)
            .set("unrouted", self.unrouted)
            .set("description", self.description))
    }
}

/// Conditions by field: values of the same field are put together.
fn conditions(texts: &[String], not: bool) -> Vec<Value> {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for text in texts {
        let (field, value) = match text.split_once('=') {
            Some((field, value)) => (field, Some(value)),
            None => (text.as_str(), None),
        };
        match found.iter_mut().find(|(known, _)| *known == field) {
            Some((_, values)) => values.extend(value),
            None => found.push((field, value.into_iter().collect())),
        }
    }
    let condition = |(field, is)| json!({"field": field, "is": is, "not": not});
    found.into_iter().map(condition).collect()
}

fn target(text: &str, weighed: bool) -> anyhow::Result<Value> {
    if !weighed {
        return Ok(json!({"address": text}));
    }
    let weight = text.rsplit_once('=').and_then(|(address, weight)| {
        let weight: u32 = weight.parse().ok()?;
        Some(json!({"address": address, "weight": weight}))
    });
    let why = || {
        UsageError(format!(
            "with --choose weight, write --to ADDRESS=WEIGHT, not `{text}`"
        ))
    };
    Ok(weight.ok_or_else(why)?)
}

/// `route add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// Addresses: `+` is one segment, `#` all the rest, `a/b#` what begins so
    #[arg(value_name = "FILTER")]
    filter: String,
    #[command(flatten)]
    said: Said,
    #[command(flatten)]
    dry: Dry,
}

/// `route set`.
#[derive(Debug, Args)]
pub struct Set {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// Addresses: `+` is one segment, `#` all the rest, `a/b#` what begins so
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    #[command(flatten)]
    said: Said,
    /// Pass it over
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Look at it again
    #[arg(long)]
    enable: bool,
    #[command(flatten)]
    dry: Dry,
}

/// Runs it.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn run(route: Route, global: &Global) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    let at = |name: &str| path(&["realms", rest.realm(), "routes", name]);
    match route {
        Route::Ls(part) => {
            let ask = Ask::get(path(&["realms", rest.realm(), "routes"])?);
            super::list(&rest, ask, &part, COLUMNS, global).await
        }
        Route::Get(named) => super::get(&rest, at(&named.name)?, global).await,
        Route::Add(add) => {
            let goes = !add.said.to.is_empty() || add.said.keep == Some(true) || add.said.drop;
            if !goes {
                let why = "say with --to where messages go, or --drop if they are to go nowhere";
                return Err(UsageError(why.into()).into());
            }
            let place = (at(&add.name)?, format!("route {}", add.name));
            let body = add.said.fields()?.set("filter", Some(add.filter)).json();
            super::add(&rest, place, body, add.dry, global).await
        }
        Route::Set(set) => {
            let disabled = (set.disable || set.enable).then_some(set.disable);
            let fields = set.said.fields()?.set("filter", set.filter);
            let fields = fields.set("disabled", disabled);
            let document = Document {
                path: at(&set.name)?,
                what: format!("route {}", set.name),
                shown_only: &["realm", "name", "revision"],
                may_make: false,
            };
            super::change(&rest, document, fields, set.dry, global).await
        }
        Route::Rm(it) => {
            let what = format!("route {}", it.name);
            super::remove(&rest, at(&it.name)?, &what, &it, global).await
        }
    }
}
