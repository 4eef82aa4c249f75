//! `queue`: the queues themselves. What is in them is in `messages`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::messages;
use super::{
    Dry, Fields, Maybe, Named, Part, Remove, parse_bytes, parse_millis, parse_number, path,
};
use crate::cli::rest::{Ask, Only, Rest};
use crate::cli::show::{self, Column, Form};
use crate::cli::{Exit, Global};

const COLUMNS: &[Column] = &[
    Column("REALM", "realm", Form::Plain),
    Column("NAME", "name", Form::Plain),
    Column("READY", "messages_ready", Form::Plain),
    Column("UNSETTLED", "messages_unsettled", Form::Plain),
    Column("CONSUMERS", "consumers", Form::Plain),
    Column("BYTES", "bytes", Form::Plain),
    Column("OLDEST", "oldest_timestamp", Form::Age),
    Column("PAUSED-BY", "paused.by", Form::Plain),
    Column("DURABLE", "durable", Form::Yes),
];

/// `queue`.
#[derive(Debug, Subcommand)]
pub enum Queue {
    /// List the queues
    #[command(
        before_help = "Examples:\n  restante queue ls\n  restante queue ls --realm shop --sort -messages_ready --limit 10\n  restante queue ls --json | jq .name"
    )]
    Ls(List),
    /// Show a queue
    #[command(before_help = "Example:\n  restante queue get orders/eu")]
    Get(Named),
    /// Make a queue
    #[command(
        before_help = "Examples:\n  restante queue add orders/eu --bind 'orders/eu/#' --max-attempts 5 --dead-letter dead/orders\n  restante queue add prices/kept --history --bind 'prices/#' --max-messages 100000 --ttl 7d"
    )]
    Add(Set),
    /// Change limits and bindings of a queue; what waits in it stays
    #[command(
        before_help = "Example:\n  restante queue set orders/eu --max-messages 100000 --ttl none"
    )]
    Set(Set),
    /// Remove a queue with all messages in it
    #[command(before_help = "Example:\n  restante queue rm orders/eu --yes")]
    Rm(Remove),
    /// Pause a queue: it takes messages and gives none
    #[command(
        before_help = "Example:\n  restante queue pause orders/eu --reason 'the warehouse is being counted'"
    )]
    Pause(Pause),
    /// Let a paused queue go on
    #[command(before_help = "Example:\n  restante queue resume orders/eu")]
    Resume(Act),
    /// Say what keeps a queue from moving
    #[command(before_help = "Example:\n  restante queue why orders/eu")]
    Why(Named),
    /// Bind a filter to a queue
    #[command(before_help = "Example:\n  restante queue bind orders/eu 'orders/eu/#'")]
    Bind(Bind),
    /// Unbind a filter from a queue
    #[command(before_help = "Example:\n  restante queue unbind orders/eu 'orders/eu/#'")]
    Unbind(Bind),
    /// Look at messages, oldest first; looking changes nothing
    #[command(
        before_help = "Examples:\n  restante queue browse orders/eu --limit 10\n  restante queue browse dead/orders --reason max-attempts --json"
    )]
    Browse(messages::Browse),
    /// Show a message whole
    #[command(before_help = "Example:\n  restante queue get-message orders/eu 17")]
    GetMessage(messages::One),
    /// Delete all messages that no consumer has
    #[command(before_help = "Example:\n  restante queue purge orders/eu --yes")]
    Purge(messages::Purge),
    /// Delete selected messages
    #[command(
        before_help = "Examples:\n  restante queue delete orders/eu --offset 17 --yes\n  restante queue delete orders/eu --before 7d --dry-run"
    )]
    Delete(messages::Delete),
    /// Send selected messages to another address, routes not looked at
    #[command(before_help = "Example:\n  restante queue move orders/eu orders/again --since 1h")]
    Move(messages::Move),
    /// Send dead letters back to the queues that gave them up
    #[command(
        before_help = "Example:\n  restante queue redrive dead/orders --reason max-attempts --limit 100"
    )]
    Redrive(messages::Redrive),
}

/// `queue ls` and `queues`.
#[derive(Debug, Args)]
pub struct List {
    /// What to sort by, with a `-` in front from the largest on: name, messages_ready, messages_unsettled, bytes,
    /// consumers, oldest_timestamp
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Only queues that are paused
    #[arg(long)]
    paused: bool,
    #[command(flatten)]
    part: Part,
}

/// `queue add`, `queue set`.
#[derive(Debug, Args)]
pub struct Set {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// How long a message may wait, as 30s, 5m, 2h or 7d; `none`: for ever
    #[arg(long, value_name = "TIME", value_parser = parse_millis)]
    ttl: Option<Maybe>,
    /// The most messages that it holds, one more is refused as `full` (of a history the oldest goes); `none`: no limit
    #[arg(long, value_name = "N", value_parser = parse_number)]
    max_messages: Option<Maybe>,
    /// The most bytes that it holds, as 64KiB or 1GiB; `none`: no limit
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_bytes: Option<Maybe>,
    /// Failed deliveries of one message before it is given up; `none`: no limit
    #[arg(long, value_name = "N", value_parser = parse_number)]
    max_attempts: Option<Maybe>,
    /// Where messages go that expire, are rejected or fail too often; `none`: they are dropped
    #[arg(long, value_name = "ADDRESS")]
    dead_letter: Option<String>,
    /// Take what is sent to addresses that this filter matches, instead of what it takes now. May be repeated
    #[arg(long, value_name = "FILTER", conflicts_with = "own_name")]
    bind: Vec<String>,
    /// Take only what is sent to its own name, as without --bind
    #[arg(long)]
    own_name: bool,
    /// Whether it keeps a history for WAMP clients: nobody consumes from it, and when it has more than it may, the oldest messages go
    #[arg(
        long,
        value_name = "YES",
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true
    )]
    history: Option<bool>,
    #[command(flatten)]
    dry: Dry,
}

impl Set {
    fn fields(self) -> Fields {
        let address = |text: String| match text.as_str() {
            "none" => Value::Null,
            _ => Value::String(text),
        };
        Fields::default()
            .set("ttl_ms", self.ttl.map(Maybe::json))
            .set("max_messages", self.max_messages.map(Maybe::json))
            .set("max_bytes", self.max_bytes.map(Maybe::json))
            .set("max_attempts", self.max_attempts.map(Maybe::json))
            .set("dead_letter", self.dead_letter.map(address))
            .list("bindings", &self.bind)
            .set("bindings", self.own_name.then_some(Value::Null))
            .set("history", self.history.map(Value::Bool))
    }
}

/// `queue pause`.
#[derive(Debug, Args)]
pub struct Pause {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// A note for whoever finds it paused
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
    #[command(flatten)]
    dry: Dry,
}

/// `queue resume`.
#[derive(Debug, Args)]
pub struct Act {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    dry: Dry,
}

/// `queue bind`, `queue unbind`.
#[derive(Debug, Args)]
pub struct Bind {
    /// The queue's name
    #[arg(value_name = "NAME")]
    name: String,
    /// What it takes
    #[arg(value_name = "FILTER")]
    filter: String,
    #[command(flatten)]
    dry: Dry,
}

/// Runs it.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn run(queue: Queue, global: &Global) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    let at = |name: &str| path(&["realms", rest.realm(), "queues", name]);
    match queue {
        Queue::Ls(it) => list(it, global).await,
        Queue::Get(it) => {
            let found = super::get(&rest, at(&it.name)?, global).await;
            elsewhere(&rest, &it.name, found).await
        }
        Queue::Add(it) => {
            let (place, dry) = ((at(&it.name)?, what(&it.name)), it.dry);
            super::add(&rest, place, it.fields().json(), dry, global).await
        }
        Queue::Set(it) => set(&rest, at(&it.name)?, it, global).await,
        Queue::Rm(it) => remove(&rest, at(&it.name)?, it, global).await,
        Queue::Pause(it) => {
            let ask = Ask::post(format!("{}:pause", at(&it.name)?));
            let ask = ask.body(json!({"reason": it.reason}));
            super::act(&rest, ask, (&what(&it.name), "paused"), it.dry, global).await
        }
        Queue::Resume(it) => {
            let ask = Ask::post(format!("{}:resume", at(&it.name)?));
            super::act(&rest, ask, (&what(&it.name), "goes on"), it.dry, global).await
        }
        Queue::Why(it) => why(it, global).await,
        Queue::Bind(it) => {
            let ask = Ask::bare_put(binding(&rest, &it)?);
            let done = format!("bound to {}", what(&it.name));
            super::act(&rest, ask, (&it.filter, &done), it.dry, global).await
        }
        Queue::Unbind(it) => {
            let ask = Ask::delete(binding(&rest, &it)?);
            let done = format!("unbound from {}", what(&it.name));
            super::act(&rest, ask, (&it.filter, &done), it.dry, global).await
        }
        Queue::Browse(it) => messages::browse(&rest, it, global).await,
        Queue::GetMessage(it) => messages::one(&rest, it, global).await,
        Queue::Purge(it) => messages::purge(&rest, it, global).await,
        Queue::Delete(it) => messages::delete(&rest, it, global).await,
        Queue::Move(it) => messages::move_to(&rest, it, global).await,
        Queue::Redrive(it) => messages::redrive(&rest, it, global).await,
    }
}

/// `queue ls`, and `queues`.
///
/// # Errors
/// What the broker says; a realm was named that it does not have.
pub(in crate::cli) async fn list(list: List, global: &Global) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    let place = match rest.named_realm() {
        Some(realm) => {
            // A realm that there is not is not the same as one without queues.
            rest.ask(Ask::get(path(&["realms", realm])?)).await?;
            path(&["realms", realm, "queues"])?
        }
        None => path(&["queues"])?,
    };
    let ask = Ask::get(place)
        .maybe("sort", list.sort)
        .flag("paused", list.paused);
    super::list(&rest, ask, &list.part, COLUMNS, global).await
}

/// `queue why`, and `why`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn why(it: Named, global: &Global) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    let place = path(&["realms", rest.realm(), "queues", &it.name, "why"])?;
    let answer = rest.ask(Ask::get(place)).await;
    let answer = elsewhere(&rest, &it.name, answer).await?;
    if global.json {
        show::one(global, &answer.body)?;
    } else {
        let text = answer.body.get("text").and_then(Value::as_str);
        let text = show::printable(text.unwrap_or_default());
        crate::cli::print(&format!("{text}\n"))?;
    }
    Ok(Exit::Ok)
}

/// Where a queue is not found and no realm was named, says in which realm there is one of that name.
async fn elsewhere<T>(rest: &Rest, name: &str, found: anyhow::Result<T>) -> anyhow::Result<T> {
    let error = match found {
        Err(error) if super::is_missing(&error) && rest.named_realm().is_none() => error,
        found => return found,
    };
    let ask = Ask::get(path(&["queues"])?).with("prefix", name);
    // Only a hint: whoever may not look, or looks among too many, goes without.
    let others = rest.list(ask, Some(100)).await.unwrap_or_default();
    let is_it = |queue: &&Value| queue.get("name").and_then(Value::as_str) == Some(name);
    let mut realms = (others.iter().filter(is_it)).filter_map(|queue| queue.get("realm")?.as_str());
    match realms.next() {
        Some(realm) => {
            let realm = show::printable(realm);
            Err(anyhow::anyhow!(
                "{error}; there is one in realm {realm}: --realm {realm}"
            ))
        }
        None => Err(error),
    }
}

/// Removes a queue; says how much goes with it to whom is asked, and to whom only wants to know.
async fn remove(rest: &Rest, place: String, it: Remove, global: &Global) -> anyhow::Result<Exit> {
    let mut whole = what(&it.name);
    if it.dry.dry_run || !it.sure.yes {
        let queue = rest.ask(Ask::get(place.clone())).await?.body;
        let number = |name: &str| queue.get(name).and_then(Value::as_u64).unwrap_or_default();
        let messages = number("messages_ready") + number("messages_unsettled");
        whole.push_str(&format!(
            " with {} and {}",
            show::count(messages, "message"),
            show::count(number("consumers"), "consumer")
        ));
    }
    if !it.dry.dry_run {
        it.sure.check(&format!("remove {whole}"), &it.name)?;
    }
    super::act(
        rest,
        Ask::delete(place),
        (&whole, "removed"),
        it.dry,
        global,
    )
    .await
}

fn what(name: &str) -> String {
    format!("queue {name}")
}

fn binding(rest: &Rest, it: &Bind) -> anyhow::Result<String> {
    path(&[
        "realms",
        rest.realm(),
        "queues",
        &it.name,
        "bindings",
        &it.filter,
    ])
}

/// A queue is shown with its spec inside, and is set by the spec alone.
async fn set(rest: &Rest, place: String, it: Set, global: &Global) -> anyhow::Result<Exit> {
    let (what, dry) = (what(&it.name), it.dry);
    let fields = it.fields();
    if fields.0.is_empty() {
        return Err(super::nothing_to_set());
    }
    let now = rest.ask(Ask::get(place.clone())).await?;
    let mut spec = match now.body.get("spec") {
        Some(Value::Object(spec)) => spec.clone(),
        _ => Map::new(),
    };
    spec.extend(fields.0);
    let only = now.etag.map_or(Only::Always, Only::As);
    let ask = Ask::put(place, Value::Object(spec)).only(only);
    let answer = rest.ask(ask.flag("dry_run", dry.dry_run)).await;
    let answer = answer.map_err(|error| super::meanwhile(error, &what))?;
    super::said(global, &what, "set", dry, &answer)
}
