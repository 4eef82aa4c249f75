//! `definitions`: all that is set, as a file. A file is read and its form is checked here, with the line of each fault; whether
//! it makes sense, the broker says.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{Dry, path};
use crate::cli::ask::Sure;
use crate::cli::rest::{Ask, Only, Rest};
use crate::cli::show::{self, Form};
use crate::cli::{Exit, Global, print};
use crate::definitions;

/// `definitions`.
#[derive(Debug, Subcommand)]
pub enum Definitions {
    /// Print all that is set, as YAML; whether a queue is paused is not in it
    #[command(
        before_help = "Examples:\n  restante definitions export > restante.definitions.yaml\n  restante definitions export --with-hashes > copy.yaml    # users and tokens work where it is applied; keep it safe"
    )]
    Export(Export),
    /// Say what applying a file would change
    #[command(
        before_help = "Example:\n  restante definitions plan restante.definitions.yaml --prune"
    )]
    Plan(Plan),
    /// Set what a file says, all of it or nothing
    #[command(
        before_help = "Examples:\n  restante definitions apply restante.definitions.yaml\n  restante definitions apply restante.definitions.yaml --prune --yes"
    )]
    Apply(Apply),
    /// Print a checksum of all that is set: it is the same on two brokers that have the same set
    #[command(before_help = "Example:\n  restante definitions checksum")]
    Checksum,
}

/// `definitions export`.
#[derive(Debug, Args)]
pub struct Export {
    /// With the hashes of passwords and tokens, so that these work where it is applied
    #[arg(long)]
    with_hashes: bool,
}

/// `definitions plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// The file, YAML or JSON; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Remove what is set and not in the file
    #[arg(long)]
    prune: bool,
}

/// `definitions apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// The file, YAML or JSON; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Remove what is set and not in the file; queues with all that waits in them
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    sure: Sure,
    #[command(flatten)]
    dry: Dry,
}

/// Runs it.
///
/// # Errors
/// What the broker says; a file that is not definitions.
pub(in crate::cli) async fn run(it: Definitions, global: &Global) -> anyhow::Result<Exit> {
    let rest = Rest::new(global)?;
    match it {
        Definitions::Export(it) => export(&rest, it.with_hashes, global).await,
        Definitions::Checksum => checksum(&rest, global).await,
        Definitions::Plan(it) => {
            let plan = ask_plan(&rest, read(&it.file)?, it.prune).await?;
            warn_of_secrets(&plan);
            show_plan(&plan, "nothing was changed", global)
        }
        Definitions::Apply(it) => apply(&rest, it, global).await,
    }
}

async fn export(rest: &Rest, with_hashes: bool, global: &Global) -> anyhow::Result<Exit> {
    let ask = Ask::get(path(&["definitions"])?).flag("hashes", with_hashes);
    let mut answer = rest.ask(ask).await?.body;
    let all = answer
        .get_mut("definitions")
        .map(Value::take)
        .unwrap_or_default();
    let all =
        serde_json::from_value(all).context("the broker exports a form of another version")?;
    if global.json {
        print(&definitions::to_json(&all))?;
    } else {
        print(&definitions::to_yaml(&all))?;
    }
    Ok(Exit::Ok)
}

async fn checksum(rest: &Rest, global: &Global) -> anyhow::Result<Exit> {
    let answer = rest.ask(Ask::get(path(&["definitions"])?)).await?;
    let checksum = answer.body.get("checksum").cloned().unwrap_or_default();
    if global.json {
        show::one(global, &serde_json::json!({"checksum": checksum}))?;
    } else {
        print(&format!("{}\n", checksum.as_str().unwrap_or_default()))?;
    }
    Ok(Exit::Ok)
}

/// What is applied is what was planned: if somebody changes anything in between, nothing is.
async fn apply(rest: &Rest, it: Apply, global: &Global) -> anyhow::Result<Exit> {
    let body = read(&it.file)?;
    let etag = rest.ask(Ask::get(path(&["definitions"])?)).await?.etag;
    let plan = ask_plan(rest, body.clone(), it.prune).await?;
    warn_of_secrets(&plan);
    if it.dry.dry_run {
        return show_plan(&plan, "nothing was changed", global);
    }
    let removes = steps(&plan)
        .iter()
        .any(|step| text(step, "act") == "remove");
    if removes && !it.sure.yes {
        eprint!("{}", said(&plan));
        it.sure.check("apply what removes something", "apply")?;
    }
    let ask = Ask::post(format!("{}:apply", path(&["definitions"])?))
        .flag("prune", it.prune)
        .only(etag.map_or(Only::Always, Only::As))
        .body(body);
    let applied = rest.ask(ask).await;
    let applied = applied.map_err(|error| super::meanwhile(error, "the definitions"))?;
    show_plan(&applied.body, &applied_in_all(&applied.body), global)
}

/// How many of what was done.
fn applied_in_all(plan: &Value) -> String {
    let n = |act: &str| {
        (steps(plan).iter())
            .filter(|step| text(step, "act") == act)
            .count()
    };
    let (made, changed, removed) = (n("create"), n("change"), n("remove"));
    format!("applied: {made} made, {changed} changed, {removed} removed")
}

async fn ask_plan(rest: &Rest, body: Value, prune: bool) -> anyhow::Result<Value> {
    let ask = Ask::post(format!("{}:plan", path(&["definitions"])?));
    Ok(rest.ask(ask.flag("prune", prune).body(body)).await?.body)
}

fn read(file: &Path) -> anyhow::Result<Value> {
    let doing = || format!("cannot read {}", file.display());
    let source: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(File::open(file).with_context(doing)?),
    };
    let mut text = String::new();
    // One byte more than may be: then it is the parser that says so.
    let most = definitions::FILE_BYTES_MAX as u64 + 1;
    source
        .take(most)
        .read_to_string(&mut text)
        .with_context(doing)?;
    let parsed = definitions::parse(&text).map_err(|faults| {
        let line = |fault: &definitions::Fault| format!("{}: {fault}", file.display());
        let lines: Vec<String> = faults.iter().map(line).collect();
        anyhow::anyhow!("these are no definitions:\n{}", show::lines_of(&lines))
    })?;
    Ok(serde_json::to_value(parsed)?)
}

/// Prints a plan, and says what became of it.
fn show_plan(plan: &Value, became: &str, global: &Global) -> anyhow::Result<Exit> {
    if global.json {
        show::one(global, plan)?;
    } else {
        print(&said(plan))?;
        eprintln!("{became}");
    }
    Ok(Exit::Ok)
}

/// A plan as a list of signs and names, with what changes under each.
fn said(plan: &Value) -> String {
    let mut lines = Vec::new();
    for step in steps(plan) {
        let sign = match text(step, "act") {
            "create" => '+',
            "remove" => '-',
            _ => '~',
        };
        let realm = step.get("realm").and_then(Value::as_str);
        let place = realm
            .map(|realm| format!(" in {realm}"))
            .unwrap_or_default();
        lines.push(format!(
            "{sign} {} {}{place}",
            text(step, "kind"),
            text(step, "name")
        ));
        let fields = step.get("fields").and_then(Value::as_array);
        for field in fields.into_iter().flatten().filter_map(Value::as_str) {
            lines.push(format!("    {}", dated(field)));
        }
    }
    if lines.is_empty() {
        lines.push("nothing to change".to_owned());
    }
    lines.push(format!("checksum {}", text(plan, "checksum")));
    show::lines_of(&lines) + "\n"
}

/// A field of a step, with its times as dates.
fn dated(field: &str) -> String {
    let time = field
        .split_once(": ")
        .filter(|(name, _)| show::form_of(name) == Form::Time);
    let Some((name, values)) = time else {
        return field.to_owned();
    };
    let date = |value: &str| value.parse().map_or_else(|_| value.to_owned(), show::utc);
    let values: Vec<String> = values.split(' ').map(date).collect();
    format!("{name}: {}", values.join(" "))
}

/// Says on stderr who has another secret than before, since whoever made the file knows it, and its owner perhaps not; and who
/// gets none, and is not let in.
fn warn_of_secrets(plan: &Value) {
    for step in steps(plan) {
        let fields = step.get("fields").and_then(Value::as_array);
        let has = |name: &str| {
            let mut fields = fields.into_iter().flatten().filter_map(Value::as_str);
            fields.any(|it| it == name || it.starts_with(&format!("{name}: ")))
        };
        let name = show::printable(text(step, "name"));
        match (text(step, "act"), text(step, "kind")) {
            ("create", "token") if !has("hash") => eprintln!(
                "warning: token {name} has no secret here: `restante token rotate {name}`"
            ),
            ("create", "user")
                if !["password_hash", "certificates", "public_keys"]
                    .into_iter()
                    .any(has) =>
            {
                eprintln!(
                    "warning: user {name} has no password here: `restante user passwd {name}`"
                );
            }
            _ => {}
        }
    }
    for step in steps(plan)
        .iter()
        .filter(|step| text(step, "act") == "change")
    {
        let (field, secret) = match text(step, "kind") {
            "user" => ("password_hash", "password"),
            "token" => ("hash", "secret"),
            _ => continue,
        };
        let fields = step.get("fields").and_then(Value::as_array);
        if fields.is_some_and(|fields| fields.iter().any(|it| it == field)) {
            let (kind, name) = (text(step, "kind"), show::printable(text(step, "name")));
            eprintln!(
                "warning: the file sets the {secret} of {kind} {name}; one that is set now is no longer taken then"
            );
        }
    }
}

fn steps(plan: &Value) -> &[Value] {
    let steps = plan.get("steps").and_then(Value::as_array);
    steps.map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
