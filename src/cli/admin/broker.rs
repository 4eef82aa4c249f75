//! The broker itself: `overview`, `whoami`, `config`, `log-level`, `audit`, `explain`.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{Dry, Part, parse_moment, parse_pair, path};
use crate::cli::rest::{Ask, Rest};
use crate::cli::show::{self, Column, Form};
use crate::cli::{Exit, Global, print};

const CONFIG: &[Column] = &[
    Column("KEY", "key", Form::Plain),
    Column("VALUE", "value", Form::Plain),
    Column("FROM", "from", Form::Plain),
];
const AUDIT: &[Column] = &[
    Column("NUMBER", "number", Form::Plain),
    Column("TIME", "time", Form::Time),
    Column("PRINCIPAL", "principal", Form::Plain),
    Column("PEER", "peer", Form::Plain),
    Column("RESULT", "result", Form::Plain),
    Column("ACT", "act", Form::Plain),
    Column("TARGET", "target", Form::Plain),
    Column("DETAIL", "detail", Form::Plain),
];
const ROUTES: &[Column] = &[
    Column("ROUTE", "route", Form::Plain),
    Column("TAKEN", "taken", Form::Yes),
    Column("TO", "to", Form::Plain),
    Column("WHY", "text", Form::Plain),
];
const LANDINGS: &[Column] = &[
    Column("ADDRESS", "address", Form::Plain),
    Column("QUEUE", "queue", Form::Plain),
    Column("TAKES", "takes", Form::Yes),
    Column("OVERFLOW", "overflow", Form::Plain),
];

/// `log-level`.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  restante log-level\n  restante log-level info,restante::broker=debug"
)]
pub struct LogLevel {
    /// What is to be logged until the next start: off, error, warn, info, debug or trace, or by module
    #[arg(value_name = "LEVEL")]
    level: Option<String>,
    #[command(flatten)]
    dry: Dry,
}

/// `audit`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    before_help = "Examples:\n  restante audit --limit 20\n  restante audit --result denied --since 1h\n  restante audit --principal alice --json\n  restante audit verify --data /var/lib/restante"
)]
pub struct Audit {
    /// None: print it.
    #[command(subcommand)]
    act: Option<AuditAct>,
    /// Only what this principal did
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Only lines with this result: done, in-part, denied, failed, dry-run, unchanged, unknown (a crash came between), recovered
    #[arg(long, value_name = "RESULT")]
    result: Option<String>,
    /// Only lines whose target begins with this
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
    /// Within this time, as `1h`, or since these milliseconds since 1970
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<u64>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
}

/// What else can be done with the audit log.
#[derive(Debug, Clone, Copy, Subcommand)]
enum AuditAct {
    /// Read the audit log in the data folder, and say whether anybody has changed it; the broker may be running
    #[command(before_help = "Example:\n  restante audit verify --data /var/lib/restante")]
    Verify,
}

impl Audit {
    /// Whether files are to be read, and no broker is asked.
    #[must_use]
    pub fn is_verify(&self) -> bool {
        matches!(self.act, Some(AuditAct::Verify))
    }
}

/// `explain`.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  restante explain orders/eu --as alice\n  restante explain orders/eu --verb consume --as token:backend\n  restante explain jobs/new --message-key k7 --property vip=yes"
)]
pub struct Explain {
    /// The address
    #[arg(value_name = "ADDRESS")]
    address: String,
    /// Who wants it: a user's name, or token:LABEL [default: yours]
    #[arg(long = "as", value_name = "PRINCIPAL")]
    principal: Option<String>,
    /// Roles to assume in place of the principal's own
    #[arg(long, value_name = "ROLES", value_delimiter = ',')]
    as_role: Vec<String>,
    /// The client's id, for `${client}`
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// What they want: send, consume, browse, manage, call, register
    #[arg(long, value_name = "VERB")]
    verb: Option<String>,
    /// The message's key
    #[arg(long, value_name = "KEY")]
    message_key: Option<String>,
    /// The message's id
    #[arg(long, value_name = "ID")]
    message_id: Option<String>,
    /// The message's media type
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// A property of the message. May be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    property: Vec<(String, String)>,
}

impl Explain {
    fn json(self, realm: &str) -> Value {
        let properties: Map<String, Value> = (self.property.into_iter())
            .map(|(name, value)| (name, value.into()))
            .collect();
        let mut message = json!({"address": self.address, "properties": properties});
        let mut body = json!({"realm": realm});
        put(&mut message, "key", self.message_key);
        put(&mut message, "message_id", self.message_id);
        put(&mut message, "content_type", self.content_type);
        put(&mut body, "message", Some(message));
        put(&mut body, "principal", self.principal);
        put(&mut body, "client", self.client);
        put(&mut body, "verb", self.verb);
        put(
            &mut body,
            "roles",
            (!self.as_role.is_empty()).then_some(self.as_role),
        );
        body
    }
}

fn put(body: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let (Some(fields), Some(value)) = (body.as_object_mut(), value) {
        fields.insert(name.to_owned(), value.into());
    }
}

/// Runs `overview`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn overview(global: &Global) -> anyhow::Result<Exit> {
    super::get(&Rest::new(global)?, path(&["overview"])?, global).await
}

/// Runs `whoami`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn whoami(global: &Global) -> anyhow::Result<Exit> {
    super::get(&Rest::new(global)?, path(&["whoami"])?, global).await
}

/// Runs `config`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn config(global: &Global) -> anyhow::Result<Exit> {
    let answer = Rest::new(global)?.ask(Ask::get(path(&["config"])?)).await?;
    let items = answer.body.get("items").and_then(Value::as_array);
    show::list(global, CONFIG, items.map_or(&[], Vec::as_slice))?;
    Ok(Exit::Ok)
}

/// Runs `log-level`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn log_level(it: LogLevel, global: &Global) -> anyhow::Result<Exit> {
    let (rest, place) = (Rest::new(global)?, path(&["log-level"])?);
    match it.level {
        None => super::get(&rest, place, global).await,
        Some(level) => {
            let ask = Ask::put(place, json!({"level": level}));
            super::act(&rest, ask, ("the log level", "set"), it.dry, global).await
        }
    }
}

/// Runs `audit`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn audit(it: Audit, global: &Global) -> anyhow::Result<Exit> {
    let ask = Ask::get(path(&["audit"])?)
        .maybe("principal", it.principal)
        .maybe("result", it.result)
        .maybe("target", it.target)
        .maybe("since", it.since);
    let part = Part {
        prefix: None,
        limit: Some(it.limit),
    };
    let mut items = Rest::new(global)?.list(ask, part.limit).await?;
    if !global.json {
        items.iter_mut().for_each(add_detail);
    }
    show::list(global, AUDIT, &items)?;
    Ok(Exit::Ok)
}

/// Gives a line without a detail what it changed, or how many it was about.
fn add_detail(line: &mut Value) {
    let has_one = line
        .get("detail")
        .and_then(Value::as_str)
        .is_some_and(|it| !it.is_empty());
    let part = |name: &str| {
        let part = line.get(name).and_then(Value::as_object);
        part.map(|part| part.get("spec").and_then(Value::as_object).unwrap_or(part))
    };
    let (before, after) = (part("before"), part("after"));
    let Some(now) = after.filter(|_| !has_one) else {
        return;
    };
    let detail = match before {
        Some(was) => changed(was, now),
        // Of what is made, all is new; of an act upon messages there are numbers.
        None => counted(now),
    };
    put(line, "detail", Some(detail));
}

/// Fields that differ, as `ttl: none -> 1ms`.
fn changed(was: &Map<String, Value>, now: &Map<String, Value>) -> String {
    let names: BTreeSet<&String> = was.keys().chain(now.keys()).collect();
    let is_told = |name: &&String| name.as_str() != "revision" && was.get(*name) != now.get(*name);
    let names = names.into_iter().filter(is_told);
    let each = names.map(|name| {
        let (unit, label) = match name.strip_suffix("_ms") {
            Some(label) => ("ms", label),
            None => ("", name.as_str()),
        };
        let value = |value: Option<&Value>| match value {
            None | Some(Value::Null) => "none".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => format!("{value}{unit}"),
        };
        let (was, now) = (value(was.get(name)), value(now.get(name)));
        format!("{}: {was} -> {now}", label.replace('_', "-"))
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The numbers of an act upon messages.
fn counted(now: &Map<String, Value>) -> String {
    let names = ["matched", "done", "left"].into_iter();
    let each = names.filter_map(|name| Some(format!("{name} {}", now.get(name)?.as_u64()?)));
    each.collect::<Vec<_>>().join(", ")
}

/// Runs `explain`.
///
/// # Errors
/// What the broker says.
pub(in crate::cli) async fn explain(it: Explain, global: &Global) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    let ask = Ask::post(path(&["explain"])?).body(it.json(rest.realm()));
    let answer = rest.ask(ask).await?.body;
    if global.json {
        show::one(global, &answer)?;
        return Ok(Exit::Ok);
    }
    let text = |name: &str| {
        let text = answer.get(name).and_then(Value::as_str);
        show::printable(text.unwrap_or_default())
    };
    print(&format!("{}\n", text("text")))?;
    let duplicate = text("duplicate");
    if !duplicate.is_empty() {
        print(&format!("duplicate: {duplicate}\n"))?;
    }
    let routes = answer.get("routes").and_then(Value::as_array);
    for (columns, rows) in [
        (ROUTES, routes.cloned().unwrap_or_default()),
        (LANDINGS, landings(&answer)),
    ] {
        if !rows.is_empty() {
            print("\n")?;
            show::list(global, columns, &rows)?;
        }
    }
    Ok(Exit::Ok)
}

/// A row for each queue that a message would come to, or for the address that has none.
fn landings(answer: &Value) -> Vec<Value> {
    let landings = answer.get("landings").and_then(Value::as_array);
    let mut rows = Vec::new();
    for landing in landings.into_iter().flatten() {
        let address = landing.get("address").cloned().unwrap_or_default();
        let queues = landing.get("queues").and_then(Value::as_array);
        let queues = queues.map_or(&[][..], Vec::as_slice);
        if queues.is_empty() {
            let is_new = landing.get("makes_queue") == Some(&Value::Bool(true));
            let queue = if is_new { "(made by it)" } else { "(none)" };
            rows.push(json!({"address": address, "queue": queue}));
        }
        for queue in queues {
            let mut row = queue.clone();
            put(&mut row, "address", Some(address.clone()));
            rows.push(row);
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_line_says_what_changed_or_how_many() {
        let detail = |mut line: Value| {
            add_detail(&mut line);
            line.get("detail").cloned().unwrap_or_default()
        };
        let before = json!({"name": "q", "revision": 1, "spec": {"ttl_ms": null, "max_bytes": 5}});
        let after = json!({"name": "q", "revision": 2, "spec": {"ttl_ms": 1, "max_bytes": 5}});
        assert_eq!(
            detail(json!({"detail": "", "before": before, "after": after})),
            "ttl: none -> 1ms"
        );
        let counts = json!({"matched": 3, "done": 2, "left": 1, "next": null});
        assert_eq!(
            detail(json!({"detail": "", "after": counts})),
            "matched 3, done 2, left 1"
        );
        assert_eq!(detail(json!({"detail": "why", "after": counts})), "why");
    }
}
