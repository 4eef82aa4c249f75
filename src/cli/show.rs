//! What commands print: tables for people, a line of JSON for each item for programs.
//!
//! Names and messages come from strangers: nothing in them moves the cursor or changes a colour
//! (`what_a_stranger_wrote_cannot_steer_the_terminal`). There are no colours at all, so `NO_COLOR` has nothing to switch off.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde_json::{Map, Value};

use super::{Global, print};

/// A column: its head, and the field that it shows (`a.b` is a field in a field).
#[derive(Debug, Clone, Copy)]
pub(super) struct Column(
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) Form,
);

/// How a field is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is; a list with commas.
    Plain,
    /// A time, in UTC.
    Time,
    /// How long ago a time was.
    Age,
    /// `yes`, or nothing.
    Yes,
    /// A number; `any`, where it is the largest that there is.
    Limit,
    /// A route's targets, with their weights where these say something.
    Targets,
}

/// Prints a list.
///
/// # Errors
/// It cannot be printed.
pub(super) fn list(global: &Global, columns: &[Column], items: &[Value]) -> anyhow::Result<()> {
    if global.json {
        return Ok(print(&lines(items))?);
    }
    if items.is_empty() {
        eprintln!("nothing");
        return Ok(());
    }
    let now = now();
    let head = columns.iter().map(|column| column.0.to_owned()).collect();
    let rows = items.iter().map(|item| {
        let cell = |column: &Column| cell(field(item, column.1), column.2, now);
        columns.iter().map(cell).collect()
    });
    let all: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    Ok(print(&aligned(&all))?)
}

/// Prints one thing: each field on a line, those of a thing inside it indented below its name, or JSON on one line.
///
/// # Errors
/// It cannot be printed.
pub(super) fn one(global: &Global, item: &Value) -> anyhow::Result<()> {
    if global.json {
        return Ok(print(&lines(std::slice::from_ref(item)))?);
    }
    Ok(print(&record(item, now()))?)
}

/// A thing's fields, one a line.
fn record(item: &Value, now: u64) -> String {
    let mut rows = Vec::new();
    match item {
        Value::Object(fields) => add_fields(&mut rows, fields, ("", ""), now),
        other => rows.push(vec![cell(Some(other), Form::Plain, now)]),
    }
    columns(&rows, |_| CellAlignment::Left)
}

/// A line for each field, what is inside it below. The first line begins with `first`, all others with `indent`.
fn add_fields(
    rows: &mut Vec<Vec<String>>,
    fields: &Map<String, Value>,
    (first, indent): (&str, &str),
    now: u64,
) {
    let below = format!("{indent}  ");
    for (index, (name, value)) in fields.iter().enumerate() {
        let indent = if index == 0 { first } else { indent };
        let key = format!("{indent}{}", printable(&name.replace('_', "-")));
        match value {
            // Their names are the application's, and are shown as they are.
            Value::Object(inner) if name == "properties" => {
                rows.push(vec![
                    key,
                    if inner.is_empty() { "-" } else { "" }.to_owned(),
                ]);
                let property = |(name, value): (&String, &Value)| {
                    vec![
                        format!("{below}{}", printable(name)),
                        cell(Some(value), Form::Plain, now),
                    ]
                };
                rows.extend(inner.iter().map(property));
            }
            Value::Object(inner) if !inner.is_empty() => {
                rows.push(vec![key, String::new()]);
                add_fields(rows, inner, (&below, &below), now);
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                rows.push(vec![key, String::new()]);
                let (dash, deeper) = (format!("{below}- "), format!("{below}  "));
                for item in items {
                    match item {
                        Value::Object(inner) => add_fields(rows, inner, (&dash, &deeper), now),
                        other => rows.push(vec![format!("{dash}{}", plain(other)), String::new()]),
                    }
                }
            }
            value => rows.push(vec![key, cell(Some(value), form_of(name), now)]),
        }
    }
}

/// Says to people what became of something; to programs, what it is now.
///
/// # Errors
/// It cannot be printed.
pub(super) fn done(global: &Global, said: &str, item: &Value) -> anyhow::Result<()> {
    if !global.json {
        eprintln!("{}", printable(said));
    } else if !item.is_null() {
        print(&lines(std::slice::from_ref(item)))?;
    }
    Ok(())
}

/// Lines of text, one under the other, with nothing in them that would steer a terminal.
pub(super) fn lines_of(lines: &[String]) -> String {
    let lines: Vec<String> = lines.iter().map(|line| printable(line)).collect();
    lines.join("\n")
}

/// So many of something whose plural ends in `s`.
pub(super) fn count(n: u64, one: &str) -> String {
    let ending = if n == 1 { "" } else { "s" };
    format!("{n} {one}{ending}")
}

fn lines(items: &[Value]) -> String {
    items.iter().map(|item| format!("{item}\n")).collect()
}

/// Fields that are times, wherever they are.
pub(super) fn form_of(name: &str) -> Form {
    match name {
        "since" | "started_at" | "created_at" | "expires_at" | "ends_at" | "timestamp"
        | "oldest_timestamp" | "previous_until" | "time" => Form::Time,
        _ => Form::Plain,
    }
}

fn field<'a>(item: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(item, |item, name| item.get(name))
}

fn cell(value: Option<&Value>, form: Form, now: u64) -> String {
    match (value, form) {
        (None | Some(Value::Null), _) => "-".into(),
        (Some(Value::Bool(flag)), Form::Yes) => if *flag { "yes" } else { "-" }.into(),
        (Some(value), Form::Yes) if !value.is_null() => "yes".into(),
        (Some(Value::Number(millis)), Form::Time) => utc(millis.as_u64().unwrap_or_default()),
        (Some(Value::Number(millis)), Form::Age) => {
            age(now.saturating_sub(millis.as_u64().unwrap_or_default()))
        }
        (Some(Value::Number(number)), Form::Limit) if number.as_u64() == Some(u64::MAX) => {
            "any".into()
        }
        (Some(Value::Array(targets)), Form::Targets) => {
            let all: Vec<String> = targets.iter().map(target).collect();
            plain(&Value::from(all))
        }
        (Some(value), _) => plain(value),
    }
}

fn target(target: &Value) -> String {
    let address = target.get("address").and_then(Value::as_str).unwrap_or("-");
    match target.get("weight").and_then(Value::as_u64) {
        None | Some(1) => address.to_owned(),
        Some(weight) => format!("{address}={weight}"),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => printable(text),
        Value::Array(items) if items.is_empty() => "-".into(),
        Value::Array(items) if items.iter().all(|item| !item.is_object()) => {
            items.iter().map(plain).collect::<Vec<_>>().join(", ")
        }
        Value::Object(fields) if fields.is_empty() => "-".into(),
        other => printable(&other.to_string()),
    }
}

/// `text` without what would steer a terminal: control characters, and those that turn the direction of writing.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let steers = c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if steers {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Lines of cells as columns: numbers to the right, texts to the left.
pub(super) fn aligned(lines: &[Vec<String>]) -> String {
    columns(lines, |cell| {
        if cell.starts_with(|c: char| c.is_ascii_digit()) {
            CellAlignment::Right
        } else {
            CellAlignment::Left
        }
    })
}

fn columns(lines: &[Vec<String>], side: impl Fn(&str) -> CellAlignment) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    for line in lines {
        let cell = |cell: &String| comfy_table::Cell::new(cell).set_alignment(side(cell));
        table.add_row(line.iter().map(cell));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// The time `millis` after 1970 as `2026-01-31T12:00:00Z`.
pub(super) fn utc(millis: u64) -> String {
    let (days, second) = (millis / 86_400_000, millis / 1000 % 86_400);
    // Civil from days (H. Hinnant): years that begin in March, in eras of 400 years.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The two largest units of a time.
fn age(millis: u64) -> String {
    let seconds = Duration::from_millis(millis).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stranger_wrote_cannot_steer_the_terminal() {
        let value = Value::String("a\u{1b}[31m\r\nb\u{9b}2J\u{202e}".into());
        let shown = cell(Some(&value), Form::Plain, 0);
        assert_eq!(shown, "a\\u{1b}[31m\\r\\nb\\u{9b}2J\\u{202e}");
        let nested = serde_json::json!([{"x": "\u{9b}"}]);
        assert!(!cell(Some(&nested), Form::Plain, 0).contains('\u{9b}'));
    }

    #[test]
    fn times_are_dates() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(millis), text);
        }
        assert_eq!(
            [age(999), age(61_000), age(7_260_000), age(90_000_000)],
            ["0s", "1m01s", "2h01m", "1d01h"]
        );
    }

    #[test]
    fn a_record_has_one_key_a_line() {
        let item = serde_json::json!({
            "name": "orders/eu", "messages_ready": 12, "spec": {"ttl_ms": null, "bindings": ["a/#", "b"]}, "none": {},
            "to": [{"address": "w", "weight": 3}, {"address": "x"}], "properties": {"dead_letter\n": "1"},
            "created_at": 0,
        });
        let expected = "\
name             orders/eu
messages-ready   12
spec
  ttl-ms         -
  bindings       a/#, b
none             -
to
  - address      w
    weight       3
  - address      x
properties
  dead_letter\\n  1
created-at       1970-01-01T00:00:00Z
";
        let mut lines: Vec<String> = record(&item, 0).lines().map(str::to_owned).collect();
        let mut expected: Vec<String> = expected.lines().map(str::to_owned).collect();
        // Whether a map keeps its order is a feature of the JSON library.
        for lines in [&mut lines, &mut expected] {
            lines.sort();
        }
        assert_eq!(lines, expected);
    }

    #[test]
    fn columns_stand_under_each_other() {
        let text = |cells: &[&str]| {
            cells
                .iter()
                .map(|cell| (*cell).to_owned())
                .collect::<Vec<_>>()
        };
        let lines = [
            text(&["NAME", "READY"]),
            text(&["日本", "12"]),
            text(&["b", "3"]),
        ];
        assert_eq!(aligned(&lines), "NAME  READY\n日本     12\nb         3\n");
    }
}
