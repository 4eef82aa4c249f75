//! What is in queues: looked at, and disposed of, one or many.
//!
//! The broker does so many at a call; a command goes on until all are done, and says how many there were
//! (`tests/whole/commands.rs`:
//! `a_disposal_goes_on_until_all_are_done`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};

use super::{Dry, parse_moment, parse_pair, path};
use crate::cli::ask::Sure;
use crate::cli::rest::{Ask, Rest};
use crate::cli::show::{self, Column, Form};
use crate::cli::{Exit, Global, UsageError};

const COLUMNS: &[Column] = &[
    Column("OFFSET", "offset", Form::Plain),
    Column("STATE", "state", Form::Plain),
    Column("TIME", "timestamp", Form::Time),
    Column("FAILED", "failed", Form::Plain),
    Column("ADDRESS", "address", Form::Plain),
    Column("KEY", "key", Form::Plain),
    Column("BYTES", "bytes", Form::Plain),
    Column("BODY", "shown", Form::Plain),
];
/// With dead letters among them: why each was given up, and by which queue.
const DEAD_LETTERS: &[Column] = &[
    Column("OFFSET", "offset", Form::Plain),
    Column("STATE", "state", Form::Plain),
    Column("TIME", "timestamp", Form::Time),
    Column("REASON", "properties.dead-letter-reason", Form::Plain),
    Column("FROM", "properties.dead-letter-queue", Form::Plain),
    Column("ADDRESS", "address", Form::Plain),
    Column("KEY", "key", Form::Plain),
    Column("BYTES", "bytes", Form::Plain),
    Column("BODY", "shown", Form::Plain),
];

/// So much of a body is shown in a table.
const BODY_CHARS_MAX: usize = 60;

/// Which messages. All that is given must hold.
#[derive(Debug, Clone, Args)]
struct Which {
    /// From this offset on
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// Up to this offset, included
    #[arg(long, value_name = "OFFSET")]
    upto: Option<u64>,
    /// Just these offsets
    #[arg(long, value_name = "OFFSETS", value_delimiter = ',')]
    offset: Vec<u64>,
    /// Stored longer ago than this, as `7d`, or before these milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    before: Option<u64>,
    /// Stored within this time, as `1h`, or since these milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<u64>,
    /// With this message id
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// Sent to an address that this filter matches
    #[arg(long, value_name = "FILTER")]
    address: Option<String>,
    /// With this key
    #[arg(long, value_name = "KEY")]
    message_key: Option<String>,
    /// With this property. May be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    property: Vec<(String, String)>,
    /// Dead letters for this reason: rejected, expired, max-attempts …
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
}

impl Which {
    fn json(&self) -> Map<String, Value> {
        let mut select = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                select.insert(name.to_owned(), value);
            }
        };
        set("from", self.from.map(Value::from));
        set("upto", self.upto.map(Value::from));
        set(
            "offsets",
            (!self.offset.is_empty()).then(|| json!(self.offset)),
        );
        set("before", self.before.map(Value::from));
        set("since", self.since.map(Value::from));
        set("message_id", self.message_id.clone().map(Value::from));
        set("address", self.address.clone().map(Value::from));
        set("key", self.message_key.clone().map(Value::from));
        let properties = self.property.iter().cloned();
        let properties: Map<String, Value> = properties
            .map(|(name, value)| (name, value.into()))
            .collect();
        set(
            "properties",
            (!properties.is_empty()).then_some(properties.into()),
        );
        set("reason", self.reason.clone().map(Value::from));
        select
    }

    /// As parameters of a list.
    fn onto(&self, mut ask: Ask) -> Ask {
        for (name, value) in self.json() {
            ask = match value {
                Value::Object(properties) => properties.iter().fold(ask, |ask, (key, value)| {
                    ask.with(
                        &format!("properties[{key}]"),
                        value.as_str().unwrap_or_default(),
                    )
                }),
                Value::Array(_) => {
                    let texts: Vec<String> = self.offset.iter().map(u64::to_string).collect();
                    ask.with(&name, texts.join(","))
                }
                Value::String(text) => ask.with(&name, text),
                other => ask.with(&name, other),
            };
        }
        ask
    }
}

/// `queue browse`.
#[derive(Debug, Args)]
pub struct Browse {
    /// The queue's name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    which: Which,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
}

/// `queue get-message`.
#[derive(Debug, Args)]
pub struct One {
    /// The queue's name
    #[arg(value_name = "NAME")]
    name: String,
    /// The message's place in it
    #[arg(value_name = "OFFSET")]
    offset: u64,
}

/// `queue purge`.
#[derive(Debug, Args)]
pub struct Purge {
    /// The queue's name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    dry: Dry,
}

/// `queue delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// The queue's name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    which: Which,
    /// The first so many of them [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    dry: Dry,
}

/// `queue move`.
#[derive(Debug, Args)]
pub struct Move {
    /// The queue's name
    #[arg(value_name = "NAME")]
    name: String,
    /// Where they go
    #[arg(value_name = "ADDRESS")]
    to: String,
    #[command(flatten)]
    which: Which,
    /// The first so many of them [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    dry: Dry,
}

/// `queue redrive`.
#[derive(Debug, Args)]
pub struct Redrive {
    /// The queue's name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    which: Which,
    /// The first so many of them [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    dry: Dry,
}

/// Lists messages.
pub(super) async fn browse(rest: &Rest, it: Browse, global: &Global) -> anyhow::Result<Exit> {
    let ask = Ask::get(path(&[
        "realms",
        rest.realm(),
        "queues",
        &it.name,
        "messages",
    ])?);
    let mut items = rest.list(it.which.onto(ask), Some(it.limit)).await?;
    if !global.json {
        items.iter_mut().for_each(shorten);
    }
    let dead = |item: &Value| item.pointer("/properties/dead-letter-reason").is_some();
    let columns = if items.iter().any(dead) {
        DEAD_LETTERS
    } else {
        COLUMNS
    };
    show::list(global, columns, &items)?;
    Ok(Exit::Ok)
}

/// Gives a message the field `shown`: the beginning of its body, if that is text, whether its sender has said so or not.
fn shorten(message: &mut Value) {
    let field = |name| message.get(name).and_then(Value::as_str);
    let body = field("body").map(str::to_owned);
    let body = body.or_else(|| {
        let bytes = STANDARD.decode(field("body_base64")?).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        (!text.contains(char::is_control)).then_some(text)
    });
    let shown = match body {
        Some(text) if text.chars().count() > BODY_CHARS_MAX => {
            let beginning: String = text.chars().take(BODY_CHARS_MAX).collect();
            format!("{beginning}…")
        }
        Some(text) => text,
        None => "(not text)".to_owned(),
    };
    if let Some(fields) = message.as_object_mut() {
        fields.insert("shown".into(), shown.into());
    }
}

/// Shows a message.
pub(super) async fn one(rest: &Rest, it: One, global: &Global) -> anyhow::Result<Exit> {
    let offset = it.offset.to_string();
    let place = path(&[
        "realms",
        rest.realm(),
        "queues",
        &it.name,
        "messages",
        &offset,
    ])?;
    super::get(rest, place, global).await
}

/// Deletes all.
pub(super) async fn purge(rest: &Rest, it: Purge, global: &Global) -> anyhow::Result<Exit> {
    let queue = at(rest, &it.name)?;
    let what = format!("delete all messages in queue {}", it.name);
    super::sure(rest, &queue, &what, &it.name, (&it.sure, it.dry)).await?;
    let disposal = Disposal::new(rest, &it.name, "purge", Map::new())?;
    disposal.run(rest, (None, it.dry), "deleted", global).await
}

/// Deletes some.
pub(super) async fn delete(rest: &Rest, it: Delete, global: &Global) -> anyhow::Result<Exit> {
    let select = it.which.json();
    if select.is_empty() {
        let why = "say which messages; `restante queue purge` deletes all";
        return Err(UsageError(why.into()).into());
    }
    let queue = at(rest, &it.name)?;
    let what = format!("delete messages in queue {}", it.name);
    super::sure(rest, &queue, &what, &it.name, (&it.sure, it.dry)).await?;
    let disposal = Disposal::new(rest, &it.name, "delete", select)?;
    disposal
        .run(rest, (it.limit, it.dry), "deleted", global)
        .await
}

/// Moves some.
pub(super) async fn move_to(rest: &Rest, it: Move, global: &Global) -> anyhow::Result<Exit> {
    let mut disposal = Disposal::new(rest, &it.name, "move", it.which.json())?;
    disposal.to = Some(it.to);
    disposal
        .run(rest, (it.limit, it.dry), "moved", global)
        .await
}

/// Sends some back.
pub(super) async fn redrive(rest: &Rest, it: Redrive, global: &Global) -> anyhow::Result<Exit> {
    let disposal = Disposal::new(rest, &it.name, "redrive", it.which.json())?;
    disposal
        .run(rest, (it.limit, it.dry), "sent back", global)
        .await
}

fn at(rest: &Rest, queue: &str) -> anyhow::Result<String> {
    path(&["realms", rest.realm(), "queues", queue])
}

/// Something done to selected messages of a queue, in as many calls as it takes.
struct Disposal {
    queue: String,
    act: &'static str,
    select: Map<String, Value>,
    to: Option<String>,
}

impl Disposal {
    fn new(
        rest: &Rest,
        name: &str,
        act: &'static str,
        select: Map<String, Value>,
    ) -> anyhow::Result<Disposal> {
        Ok(Disposal {
            queue: at(rest, name)?,
            act,
            select,
            to: None,
        })
    }

    async fn run(
        mut self,
        rest: &Rest,
        (most, dry): (Option<u64>, Dry),
        done: &str,
        global: &Global,
    ) -> anyhow::Result<Exit> {
        let mut sum = [("matched", 0), ("done", 0), ("left", 0)];
        loop {
            let limit = most.map(|most| most.saturating_sub(sum[0].1));
            let ask = self.ask(limit).flag("dry_run", dry.dry_run);
            let answer = rest.ask(ask).await?.body;
            let number = |name: &str| answer.get(name).and_then(Value::as_u64);
            for (name, count) in &mut sum {
                *count += number(name).unwrap_or_default();
            }
            let goes_on = most.is_none_or(|most| sum[0].1 < most);
            let Some(next) = number("next").filter(|_| goes_on) else {
                break;
            };
            let from = self.select.insert("from".into(), next.into());
            let from = from.as_ref().and_then(Value::as_u64);
            anyhow::ensure!(
                from < Some(next),
                "the broker does not get on behind offset {next}"
            );
            if self.act == "purge" {
                self.act = "delete"; // that takes a selection
            }
        }
        let [(_, matched), (_, count), (_, left)] = sum;
        let said = match dry.dry_run {
            true => {
                let would = matched.saturating_sub(left);
                format!(
                    "{} would be {done}, {left} left alone; nothing was changed{}",
                    show::count(would, "message"),
                    self.why_left(left)
                )
            }
            false => format!(
                "{} {done}, {left} left alone{}",
                show::count(count, "message"),
                self.why_left(left)
            ),
        };
        let outcome = json!({"matched": matched, "done": count, "left": left});
        show::done(global, &said, &outcome)?;
        Ok(Exit::Ok)
    }

    /// What may keep messages where they are.
    fn why_left(&self, left: u64) -> &'static str {
        match (left, self.act) {
            (0, _) => "",
            (_, "redrive") => {
                " (no dead letters, in a consumer's hands, or their queue is gone, full or not yours)"
            }
            (_, "move") => " (in a consumer's hands, or where they go is full)",
            _ => " (in a consumer's hands)",
        }
    }

    fn ask(&self, limit: Option<u64>) -> Ask {
        let ask = Ask::post(format!("{}:{}", self.queue, self.act));
        if self.act == "purge" {
            return ask;
        }
        let mut body = json!({"select": self.select});
        if let Some(fields) = body.as_object_mut() {
            fields.extend(self.to.clone().map(|to| ("to".to_owned(), Value::from(to))));
            fields.extend(limit.map(|limit| ("limit".to_owned(), Value::from(limit))));
        }
        ask.body(body)
    }
}
