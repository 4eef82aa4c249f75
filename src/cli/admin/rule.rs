//! `rule`.

use clap::{Args, Subcommand};

use super::{Document, Dry, Fields, Maybe, Named, Part, Remove, parse_number, path};
use crate::cli::rest::{Ask, Rest};
use crate::cli::show::{Column, Form};
use crate::cli::{Exit, Global};

const COLUMNS: &[Column] = &[
    Column("NAME", "name", Form::Plain),
    Column("EFFECT", "effect", Form::Plain),
    Column("ROLE", "role", Form::Plain),
    Column("VERBS", "verbs", Form::Plain),
    Column("REALM", "realm", Form::Plain),
    Column("FILTER", "filter", Form::Plain),
    Column("TRUST", "trustlevel", Form::Plain),
    Column("DESCRIPTION", "description", Form::Plain),
];

/// `rule`.
#[derive(Debug, Subcommand)]
pub enum Rule {
    /// List the rules
    #[command(
        before_help = "Examples:\n  restante rule ls\n  restante rule ls --role shop --realm default"
    )]
    Ls(List),
    /// Show a rule
    #[command(before_help = "Example:\n  restante rule get shop-orders")]
    Get(Named),
    /// Make a rule: what a role may do, or may not, with addresses of the realm that --realm names, `*` for all
    #[command(
        before_help = "Examples:\n  restante rule add shop-orders --role shop --allow send,consume 'orders/#'\n  restante rule add own-inbox --role '*' --allow consume 'inbox/${user}/#'\n  restante rule add no-purge --role shop --deny manage '#' --realm '*'"
    )]
    Add(Add),
    /// Change a rule
    #[command(
        before_help = "Examples:\n  restante rule set shop-orders --allow send\n  restante rule set shop-orders --filter 'orders/eu/#'"
    )]
    Set(Set),
    /// Remove a rule
    #[command(before_help = "Example:\n  restante rule rm shop-orders --yes")]
    Rm(Remove),
}

/// `rule ls`.
#[derive(Debug, Args)]
pub struct List {
    /// Only rules of this role
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    #[command(flatten)]
    part: Part,
}

/// `rule add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// Addresses: `+` is one segment, `#` all the rest, `a/b#` what begins so, `${user}` and `${client}` whoever asks
    #[arg(value_name = "FILTER")]
    filter: String,
    /// The role that it is about, `*` for everybody with credentials
    #[arg(long, value_name = "NAME")]
    role: String,
    /// What the role may do: send, consume, browse, manage, call, register
    #[arg(
        long,
        value_name = "VERBS",
        value_delimiter = ',',
        conflicts_with = "deny",
        required_unless_present = "deny"
    )]
    allow: Vec<String>,
    /// What the role may not do, whatever other rules say
    #[arg(long, value_name = "VERBS", value_delimiter = ',')]
    deny: Vec<String>,
    /// With --allow send or call: how far WAMP's subscribers and callees are told that the sender or caller is trusted, 0 to 9
    #[arg(long, value_name = "N", conflicts_with = "deny")]
    trustlevel: Option<u8>,
    /// A note for people
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    description: String,
    /// Replace the rule of this name, if there is one
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    dry: Dry,
}

/// `rule set`. With --realm, it is for that realm from now on.
#[derive(Debug, Args)]
pub struct Set {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// Addresses: `+` is one segment, `#` all the rest, `a/b#` what begins so, `${user}` and `${client}` whoever asks
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// The role that it is about, `*` for everybody with credentials
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
    /// What the role may do, instead of what the rule says now: send, consume, browse, manage, call, register
    #[arg(
        long,
        value_name = "VERBS",
        value_delimiter = ',',
        conflicts_with = "deny"
    )]
    allow: Vec<String>,
    /// What the role may not do, instead of what the rule says now
    #[arg(long, value_name = "VERBS", value_delimiter = ',')]
    deny: Vec<String>,
    /// How far WAMP's subscribers and callees are told that the sender or caller is trusted, 0 to 9; `none`: they are told nothing
    #[arg(long, value_name = "N", value_parser = parse_number)]
    trustlevel: Option<Maybe>,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    dry: Dry,
}

impl Set {
    fn fields(self, realm: Option<&str>) -> Fields {
        let effect = match (self.allow.is_empty(), self.deny.is_empty()) {
            (true, true) => None,
            (false, _) => Some("allow"),
            (true, false) => Some("deny"),
        };
        Fields::default()
            .set("filter", self.filter)
            .set("role", self.role)
            .list("verbs", &self.allow)
            .list("verbs", &self.deny)
            .set("effect", effect)
            .set("realm", realm)
            .set("trustlevel", self.trustlevel.map(Maybe::json))
            .set("description", self.description)
    }
}

/// Runs it.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn run(rule: Rule, global: &Global) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    let at = |name: &str| path(&["rules", name]);
    match rule {
        Rule::Ls(list) => {
            let ask = Ask::get(path(&["rules"])?)
                .maybe("role", list.role)
                .maybe("realm", rest.named_realm());
            super::list(&rest, ask, &list.part, COLUMNS, global).await
        }
        Rule::Get(named) => super::get(&rest, at(&named.name)?, global).await,
        Rule::Add(add) => {
            let denies = !add.deny.is_empty();
            let fields = Fields::default()
                .set("description", Some(add.description))
                .set("role", Some(add.role))
                .list("verbs", if denies { &add.deny } else { &add.allow })
                .set("realm", Some(rest.realm()))
                .set("filter", Some(add.filter))
                .set("effect", Some(if denies { "deny" } else { "allow" }))
                .set("trustlevel", add.trustlevel);
            let body = fields.json();
            let (path, what) = (at(&add.name)?, format!("rule {}", add.name));
            if add.replace {
                super::act(&rest, Ask::put(path, body), (&what, "set"), add.dry, global).await
            } else {
                super::add(&rest, (path, what), body, add.dry, global).await
            }
        }
        Rule::Set(set) => {
            let document = Document {
                path: at(&set.name)?,
                what: format!("rule {}", set.name),
                shown_only: &["name", "revision"],
                may_make: false,
            };
            let dry = set.dry;
            super::change(&rest, document, set.fields(rest.named_realm()), dry, global).await
        }
        Rule::Rm(it) => {
            let what = format!("rule {}", it.name);
            super::remove(&rest, at(&it.name)?, &what, &it, global).await
        }
    }
}
