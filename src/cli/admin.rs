//! Commands that administer a broker through its REST API: one module for each family.
//!
//! What is shown goes to stdout, as a table or as JSON with a line for each item; what was done is said on stderr, and with
//! `--json` what it is now is printed. What is changed is read first and set only if it is still the same
//! (`tests/whole/commands.rs`: `a_change_meanwhile_is_not_overwritten`). What is destroyed must be typed again or said with `--yes`
//! (`what_is_destroyed_needs_a_yes`). Whatever can be made has the verbs `ls`, `get`, `add`, `set`, `rm`.

pub(super) mod broker;
pub(super) mod clients;
pub(super) mod definitions;
pub(super) mod messages;
pub(super) mod queue;
pub(super) mod realm;
pub(super) mod role;
pub(super) mod route;
pub(super) mod rule;
pub(super) mod token;
pub(super) mod user;
pub(super) mod wamp;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value};

use super::ask::Sure;
use super::rest::{Answer, Ask, Only, Refused, Rest, path};
use super::show::{self, Column};
use super::time::parse_duration;
use super::{Exit, Global, UsageError};
use crate::config::{UnitError, read_size};

/// What part of a list is wanted.
#[derive(Debug, Clone, Args)]
pub struct Part {
    /// Only those whose name begins with this
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// At most so many [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// How a change is made.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Dry {
    /// Check everything and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// One thing by its name.
#[derive(Debug, Clone, Args)]
pub struct Named {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
}

/// One thing that is to be removed.
#[derive(Debug, Clone, Args)]
pub struct Remove {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    dry: Dry,
}

/// A number, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Maybe(Option<u64>);

impl Maybe {
    fn json(self) -> Value {
        self.0.map_or(Value::Null, Value::from)
    }
}

/// A whole number, or `none`.
fn parse_number(text: &str) -> Result<Maybe, String> {
    if text == "none" {
        return Ok(Maybe(None));
    }
    let number = text.parse().map(|number| Maybe(Some(number)));
    number.map_err(|_| "write a whole number, or `none`".to_owned())
}

/// Bytes: a whole number alone, or with a unit as in the configuration (`64KiB`, `1MiB`); or `none`.
fn parse_bytes(text: &str) -> Result<Maybe, String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) || text == "none" {
        return parse_number(text);
    }
    let bytes = read_size(text).map_err(|why| match why {
        UnitError::TooBig => "out of range",
        _ => "write bytes as 1048576, 64KiB, 1MiB or 2GiB, or `none`",
    })?;
    Ok(Maybe(Some(bytes)))
}

/// A time with its unit, or `none`: in milliseconds.
fn parse_millis(text: &str) -> Result<Maybe, String> {
    if text == "none" {
        return Ok(Maybe(None));
    }
    let millis = parse_duration(text)?.as_millis();
    Ok(Maybe(Some(
        u64::try_from(millis).map_err(|error| error.to_string())?,
    )))
}

/// Milliseconds since 1970, or how long ago: `1h`.
fn parse_moment(text: &str) -> Result<u64, String> {
    if text.len() >= 12
        && let Ok(millis) = text.parse()
    {
        return Ok(millis);
    }
    let ago =
        u64::try_from(parse_duration(text)?.as_millis()).map_err(|error| error.to_string())?;
    Ok(now().saturating_sub(ago))
}

fn now() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// `NAME=VALUE`.
fn parse_pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Fields of a document that a command sets; those of null are set to null.
#[derive(Debug, Default)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Sets a field, if there is a value.
    fn set(mut self, name: &str, value: Option<impl Into<Value>>) -> Fields {
        if let Some(value) = value {
            self.0.insert(name.to_owned(), value.into());
        }
        self
    }

    /// Sets a list; an empty one is none that was given.
    fn list(self, name: &str, items: &[String]) -> Fields {
        let list = items
            .iter()
            .map(|item| Value::from(item.as_str()))
            .collect();
        self.set(name, (!items.is_empty()).then_some(Value::Array(list)))
    }

    fn json(self) -> Value {
        Value::Object(self.0)
    }
}

/// Prints a list.
async fn list(
    rest: &Rest,
    ask: Ask,
    part: &Part,
    columns: &[Column],
    global: &Global,
) -> anyhow::Result<Exit> {
    let ask = ask.maybe("prefix", part.prefix.as_ref());
    let items = rest.list(ask, part.limit).await?;
    show::list(global, columns, &items)?;
    Ok(Exit::Ok)
}

/// Prints one thing.
async fn get(rest: &Rest, path: String, global: &Global) -> anyhow::Result<Exit> {
    show::one(global, &rest.ask(Ask::get(path)).await?.body)?;
    Ok(Exit::Ok)
}

/// Makes something that is not there yet.
async fn add(
    rest: &Rest,
    (path, what): (String, String),
    body: Value,
    dry: Dry,
    global: &Global,
) -> anyhow::Result<Exit> {
    let ask = Ask::put(path, body).only(Only::Absent);
    let answer = rest.ask(ask.flag("dry_run", dry.dry_run)).await;
    let answer = answer.map_err(|error| match error.downcast_ref::<Refused>() {
        Some(refused) if refused.status == 412 => anyhow::anyhow!("{what} is there already"),
        _ => error,
    })?;
    said(global, &what, "made", dry, &answer)
}

/// What a document is read from and set to.
struct Document {
    path: String,
    what: String,
    /// Fields that are shown and cannot be set.
    shown_only: &'static [&'static str],
    /// Whether it is made if it is not there.
    may_make: bool,
}

/// Sets fields of something as it is, unless somebody else changes it meanwhile.
async fn change(
    rest: &Rest,
    document: Document,
    fields: Fields,
    dry: Dry,
    global: &Global,
) -> anyhow::Result<Exit> {
    let Document { path, what, .. } = &document;
    if fields.0.is_empty() && !document.may_make {
        return Err(nothing_to_set());
    }
    let (mut body, only) = match rest.ask(Ask::get(path.clone())).await {
        Ok(answer) => {
            let only = answer.etag.map_or(Only::Always, Only::As);
            (answer.body, only)
        }
        Err(error) if document.may_make && is_missing(&error) => {
            (Value::Object(Map::new()), Only::Absent)
        }
        Err(error) => return Err(error),
    };
    let set = body.as_object_mut().context("this is no document")?;
    set.retain(|name, _| !document.shown_only.contains(&name.as_str()));
    set.extend(fields.0);
    let ask = Ask::put(path.clone(), body).only(only);
    let answer = rest.ask(ask.flag("dry_run", dry.dry_run)).await;
    let answer = answer.map_err(|error| meanwhile(error, what))?;
    said(global, what, "set", dry, &answer)
}

/// Nothing was said that could be set.
fn nothing_to_set() -> anyhow::Error {
    UsageError("nothing to set; see --help".to_owned()).into()
}

/// Says in other words that somebody was faster.
fn meanwhile(error: anyhow::Error, what: &str) -> anyhow::Error {
    match error.downcast_ref::<Refused>() {
        Some(refused) if refused.status == 412 => anyhow::anyhow!(
            "somebody has changed {what} meanwhile, and nothing was done; look at it, then repeat the command"
        ),
        _ => error,
    }
}

fn is_missing(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|refused| refused.status == 404 && !refused.code.is_empty())
}

/// Removes something.
async fn remove(
    rest: &Rest,
    path: String,
    what: &str,
    it: &Remove,
    global: &Global,
) -> anyhow::Result<Exit> {
    sure(
        rest,
        &path,
        &format!("remove {what}"),
        &it.name,
        (&it.sure, it.dry),
    )
    .await?;
    act(rest, Ask::delete(path), (what, "removed"), it.dry, global).await
}

/// Goes on to `what` only if whoever sits there is sure. Nobody is asked about what is not there, so that is looked at first.
async fn sure(
    rest: &Rest,
    path: &str,
    what: &str,
    name: &str,
    (sure, dry): (&Sure, Dry),
) -> anyhow::Result<()> {
    if dry.dry_run || sure.yes {
        return Ok(());
    }
    rest.ask(Ask::get(path.to_owned())).await?;
    sure.check(what, name)
}

/// Asks for an act, and says that it was done.
async fn act(
    rest: &Rest,
    ask: Ask,
    (what, done): (&str, &str),
    dry: Dry,
    global: &Global,
) -> anyhow::Result<Exit> {
    let answer = rest.ask(ask.flag("dry_run", dry.dry_run)).await?;
    said(global, what, done, dry, &answer)
}

fn said(
    global: &Global,
    what: &str,
    done: &str,
    dry: Dry,
    answer: &Answer,
) -> anyhow::Result<Exit> {
    let said = match (dry.dry_run, answer.status) {
        (true, _) => format!("{what} would be {done}; nothing was changed"),
        (false, 201) => format!("{what} made"),
        (false, _) => format!("{what} {done}"),
    };
    show::done(global, &said, &answer.body)?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_may_have_a_unit() {
        let bytes = |text| parse_bytes(text).map(|Maybe(bytes)| bytes).ok();
        assert_eq!(bytes("1MiB"), Some(Some(1 << 20)));
        assert_eq!(bytes("2B"), Some(Some(2)));
        assert_eq!(bytes("77"), Some(Some(77)));
        assert_eq!(bytes("none"), Some(None));
        assert_eq!(bytes("1 MiB"), Some(Some(1 << 20)));
        assert_eq!(bytes("1MB"), None);
        assert_eq!(bytes("18446744073709551615KiB"), None);
        assert_eq!(bytes("MiB"), None);
    }
}
