//! `queues`: what waits where, from the admin API.

use clap::Args;
use serde_json::{Map, Value};

use super::access::credentials;
use super::print;
use super::{Exit, Global, http};

/// Columns in this order; whatever else the API says follows.
const FIRST: [&str; 6] = [
    "realm",
    "name",
    "messages_ready",
    "messages_unsettled",
    "consumers",
    "bytes",
];

const EXAMPLES: &str = "\
Examples:
  restante queues
  restante queues --json | jq '.'";

/// `queues`.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub struct Queues {
    /// Where the admin API listens
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:7301")]
    admin_url: String,
}

/// Prints the queues.
///
/// # Errors
/// The API is not reachable, or its answer is no list.
pub(super) async fn run(args: Queues, global: &Global) -> anyhow::Result<Exit> {
    let base = args.admin_url.trim_end_matches('/');
    let mut url = format!("{base}/api/v1/queues");
    if let Some(realm) = &global.realm {
        url = format!("{url}?realm={realm}");
    }
    let answer = http::get(&url, &credentials(global)?).await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let rows = rows(&answer).ok_or_else(|| anyhow::anyhow!("{url} answered with no list"))?;
    if global.json {
        print(&format!("{}\n", serde_json::to_string_pretty(rows)?))?;
    } else {
        print(&table(rows))?;
    }
    Ok(Exit::Ok)
}

/// The list, alone or under the name that it has in its page.
fn rows(answer: &Value) -> Option<&Vec<Value>> {
    match answer {
        Value::Array(rows) => Some(rows),
        Value::Object(page) => ["items", "queues", "data"]
            .into_iter()
            .find_map(|name| page.get(name)?.as_array()),
        _ => None,
    }
}

fn table(rows: &[Value]) -> String {
    let rows: Vec<&Map<String, Value>> = rows.iter().filter_map(Value::as_object).collect();
    let Some(first) = rows.first() else {
        return "no queues\n".into();
    };
    let mut columns: Vec<&str> = FIRST
        .into_iter()
        .filter(|name| first.contains_key(*name))
        .collect();
    let scalar = |(name, value): (&'_ String, &Value)| {
        !value.is_object() && !value.is_array() && !FIRST.contains(&name.as_str())
    };
    columns.extend(
        first
            .iter()
            .filter(|(name, value)| scalar((name, value)))
            .map(|(name, _)| name.as_str()),
    );
    let mut lines = vec![columns.iter().map(|name| name.to_uppercase()).collect()];
    for row in rows {
        lines.push(columns.iter().map(|name| cell(row.get(*name))).collect());
    }
    aligned(&lines)
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Lines of cells as columns: numbers to the right, texts to the left.
pub(super) fn aligned(lines: &[Vec<String>]) -> String {
    let n_columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| {
            let number = cell.starts_with(|c: char| c.is_ascii_digit());
            if number {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_a_table() {
        let answer = serde_json::json!({"items": [
            {"name": "orders/eu", "messages_ready": 12, "realm": "default", "other": 0, "policy": {}},
            {"name": "x", "messages_ready": 3, "realm": "default", "other": 10},
        ]});
        let expected = "\
REALM    NAME       MESSAGES_READY  OTHER
default  orders/eu              12      0
default  x                       3     10
";
        assert_eq!(table(rows(&answer).unwrap()), expected);
        assert_eq!(table(&[]), "no queues\n");
        assert!(rows(&serde_json::json!({"title": "Not Found"})).is_none());
    }
}
