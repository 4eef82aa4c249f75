//! `token`. A token is named by its id or its label; its secret is printed once, alone, to stdout.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Document, Dry, Fields, Maybe, Part, now, parse_millis, path};
use crate::cli::ask::Sure;
use crate::cli::rest::{Ask, Rest};
use crate::cli::show::{self, Column, Form};
use crate::cli::time::parse_duration;
use crate::cli::{Exit, Global, print};

const COLUMNS: &[Column] = &[
    Column("ID", "id", Form::Plain),
    Column("LABEL", "label", Form::Plain),
    Column("ROLES", "roles", Form::Plain),
    Column("SECRET", "has_secret", Form::Yes),
    Column("EXPIRES", "expires_at", Form::Time),
    Column("DISABLED", "disabled", Form::Yes),
    Column("DESCRIPTION", "description", Form::Plain),
];

/// `token`.
#[derive(Debug, Subcommand)]
pub enum Token {
    /// List the API tokens
    #[command(before_help = "Example:\n  restante token ls")]
    Ls(Part),
    /// Show an API token, without its secret
    #[command(before_help = "Example:\n  restante token get backend")]
    Get(Which),
    /// Make an API token and print its secret, this one time
    #[command(
        visible_alias = "add",
        before_help = "Example:\n  restante token issue backend --role shop --expires-in 90d > backend.key"
    )]
    Issue(Issue),
    /// Give an API token a new secret and print it, this one time
    #[command(before_help = "Example:\n  restante token rotate backend --grace 1h > backend.key")]
    Rotate(Rotate),
    /// Change roles, expiry or description of an API token, or switch it off and on
    #[command(
        before_help = "Examples:\n  restante token set backend --disable\n  restante token set backend --expires-in none"
    )]
    Set(Set),
    /// Remove an API token
    #[command(before_help = "Example:\n  restante token rm backend --yes")]
    Rm(Remove),
}

/// An API token.
#[derive(Debug, Args)]
pub struct Which {
    /// Its id or its label
    #[arg(value_name = "TOKEN")]
    token: String,
}

/// `token issue`.
#[derive(Debug, Args)]
pub struct Issue {
    /// What it is for, unique
    #[arg(value_name = "LABEL")]
    label: String,
    #[command(flatten)]
    said: Said,
    #[command(flatten)]
    dry: Dry,
}

/// What is said of an API token.
#[derive(Debug, Args)]
struct Said {
    /// Its roles; `set` replaces all that it has
    #[arg(long, value_name = "ROLES", value_delimiter = ',')]
    role: Vec<String>,
    /// A note for people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How long it is taken from now on, as 12h or 90d; `none`: for ever
    #[arg(long, value_name = "TIME", value_parser = parse_millis)]
    expires_in: Option<Maybe>,
}

impl Said {
    fn fields(self) -> Fields {
        let at =
            |Maybe(millis): Maybe| millis.map_or(Value::Null, |it| json!(now().saturating_add(it)));
        Fields::default()
            .list("roles", &self.role)
            .set("description", self.description)
            .set("expires_at", self.expires_in.map(at))
    }
}

/// `token rotate`.
#[derive(Debug, Args)]
pub struct Rotate {
    /// Its id or its label
    #[arg(value_name = "TOKEN")]
    token: String,
    /// How long the old secret is still taken, as 1h
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    grace: Duration,
    #[command(flatten)]
    dry: Dry,
}

/// `token set`.
#[derive(Debug, Args)]
pub struct Set {
    /// Its id or its label
    #[arg(value_name = "TOKEN")]
    token: String,
    #[command(flatten)]
    said: Said,
    /// Refuse it from now on
    #[arg(long, conflicts_with = "enable")]
    disable: bool,
    /// Take it again
    #[arg(long)]
    enable: bool,
    #[command(flatten)]
    dry: Dry,
}

/// `token rm`.
#[derive(Debug, Args)]
pub struct Remove {
    /// Its id or its label
    #[arg(value_name = "TOKEN")]
    token: String,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    dry: Dry,
}

/// Runs it.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn run(token: Token, global: &Global) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    match token {
        Token::Ls(part) => {
            let ask = Ask::get(path(&["tokens"])?);
            super::list(&rest, ask, &part, COLUMNS, global).await
        }
        Token::Get(which) => super::get(&rest, at(&rest, &which.token).await?, global).await,
        Token::Issue(issue) => {
            let label = Some(issue.label.as_str());
            let body = issue.said.fields().set("label", label).json();
            let ask = Ask::post(path(&["tokens"])?).body(body);
            let what = format!("token {} made", issue.label);
            secret(&rest, ask, &what, issue.dry, global).await
        }
        Token::Rotate(it) => {
            let path = at(&rest, &it.token).await?;
            let body = json!({"grace_seconds": it.grace.as_secs()});
            let ask = Ask::post(format!("{path}:rotate")).body(body);
            let what = format!("token {} has a new secret", it.token);
            secret(&rest, ask, &what, it.dry, global).await
        }
        Token::Set(set) => {
            let disabled = (set.disable || set.enable).then_some(set.disable);
            let fields = set.said.fields().set("disabled", disabled);
            let document = Document {
                path: at(&rest, &set.token).await?,
                what: format!("token {}", set.token),
                shown_only: &[
                    "id",
                    "revision",
                    "created_at",
                    "previous_until",
                    "has_secret",
                ],
                may_make: false,
            };
            super::change(&rest, document, fields, set.dry, global).await
        }
        Token::Rm(it) => {
            let (path, what) = (at(&rest, &it.token).await?, format!("token {}", it.token));
            let sure = (&it.sure, it.dry);
            super::sure(&rest, &path, &format!("remove {what}"), &it.token, sure).await?;
            let ask = Ask::delete(path);
            super::act(&rest, ask, (&what, "removed"), it.dry, global).await
        }
    }
}

/// The path of the token with this label or, if there is none, this id.
async fn at(rest: &Rest, token: &str) -> anyhow::Result<String> {
    let ask = Ask::get(path(&["tokens"])?).with("prefix", token);
    let labelled = rest.list(ask, None).await?;
    let found = labelled
        .iter()
        .find(|item| item.get("label").and_then(Value::as_str) == Some(token));
    let id = found.and_then(|item| item.get("id")?.as_str());
    path(&["tokens", id.unwrap_or(token)])
}

async fn secret(
    rest: &Rest,
    ask: Ask,
    said: &str,
    dry: Dry,
    global: &Global,
) -> anyhow::Result<Exit> {
    let answer = rest.ask(ask.flag("dry_run", dry.dry_run)).await?;
    let secret = answer.body.get("secret").and_then(Value::as_str);
    match secret {
        _ if global.json => show::one(global, &answer.body)?,
        Some(secret) => {
            eprintln!("{said}; this is shown once and kept nowhere:");
            print(&format!("{secret}\n"))?;
        }
        None => eprintln!("it could be done; nothing was changed"),
    }
    Ok(Exit::Ok)
}
