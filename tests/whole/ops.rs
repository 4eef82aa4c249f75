//! What an operator copies from `ops/`, each file loaded by the program that it is for.
//!
//! Tests that need such a program (systemd-analyze, promtool, Prometheus) are ignored unless asked for: `tests/run ops` gets
//! the programs and asks for them.

mod container;
mod documents;
mod grafana;
mod prometheus;
mod systemd;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::process::command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the project.
fn read(name: &str) -> String {
    let path = root().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a program in `folder` to its end; it must end with 0. What it wrote, both streams.
fn run(program: &str, args: &[&str], folder: &Path) -> String {
    let mut command = command(program);
    command.args(args).current_dir(folder);
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{program} (tests/run ops gets it): {error}"));
    let said = said(&output);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    said
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// What a document has at a pointer such as `/a/0/b`; null: nothing.
fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// Names of metrics in a text: words that begin with `restante_` or `process_`, without a histogram's endings.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_name(c))
        .filter(|word| word.starts_with("restante_") || word.starts_with("process_"))
        .map(|word| word.trim_end_matches("_bucket").to_owned())
        .collect()
}

/// The first column of `ops/METRICS.md`.
fn documented_metrics() -> BTreeSet<String> {
    let document = read("ops/METRICS.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next())
        .map(str::to_owned)
        .collect()
}

/// Files of a folder of the project, by name.
fn files_in(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).expect("a folder");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}
