//! Rules about the sources that no lint knows, checked by reading them.
//!
//! Each test says, when it fails, where and why. Comments do not count, except in documents.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The one file whose job is to wait: a deadline for what a test cannot be told of.
const WAITING_HELPER: &str = "tests/whole/wait.rs";

/// Folders with nothing of ours in them.
const FOREIGN: &[&str] = &["target", "node_modules", ".git", ".venv", "restante-data"];

/// Where state is a matter of what came in, and of nothing else.
const PURE: &[&str] = &[
    "src/engine/",
    "src/engine.rs",
    "src/router/",
    "src/router.rs",
];

/// What only the outer floors may do.
const NOT_IN_THE_ENGINE: &[(&str, &str)] = &[
    ("tokio", "the engine waits for nothing"),
    ("std::fs", "the engine opens no file"),
    ("std::net", "the engine has no sockets"),
    ("Instant::now", "records carry their time"),
    ("SystemTime::now", "records carry their time"),
    ("thread::sleep", "the engine waits for nothing"),
];

#[test]
fn engine_and_router_are_pure_state() {
    let files = rust_files()
        .into_iter()
        .filter(|file| PURE.iter().any(|place| file.name.starts_with(place)));
    let faults = files.flat_map(|file| file.lines_with(NOT_IN_THE_ENGINE));
    report(
        "src/engine/ and src/router/ do no I/O and know no time",
        faults,
    );
}

#[test]
fn tests_do_not_sleep() {
    let why = "wait for what you want to see, with the helper in tests/whole/wait.rs";
    let words = [("thread::sleep", why), ("time::sleep", why)];
    let files = rust_files()
        .into_iter()
        .filter(|file| file.name != WAITING_HELPER);
    let faults = files.flat_map(|file| file.tests_only().lines_with(&words));
    report("no test sleeps", faults);
}

/// One request to the system has no safe way in any library: how much of what was sent has arrived.
#[test]
fn no_crate_of_ours_has_unsafe_code_but_for_one_request() {
    let workspace = read(&root().join("Cargo.toml"));
    let members = workspace
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .expect("the workspace names its members");
    let members = members.split('"').skip(1).step_by(2);
    let manifests: Vec<String> = members
        .map(|member| format!("{member}/Cargo.toml"))
        .chain(["Cargo.toml".to_owned()])
        .collect();
    assert!(manifests.len() > 3, "{manifests:?}");
    let denies = workspace.contains("[workspace.lints.rust]\nunsafe_code = \"deny\"\n");
    let faults = manifests
        .iter()
        .filter(|name| !read(&root().join(name)).contains("[lints]\nworkspace = true\n"));
    let faults = faults.map(|name| format!("{name}: without the workspace's lints"));
    let missing = (!denies).then(|| "Cargo.toml: unsafe_code is not denied".to_owned());
    let words = [
        ("unsafe_code, ", "only tls/stream.rs may"),
        ("unsafe {", "only tls/stream.rs may"),
    ];
    let all: Vec<String> = rust_files()
        .into_iter()
        .filter(|file| file.name != "tests/whole/tidy.rs")
        .flat_map(|file| file.lines_with(&words))
        .collect();
    let known = all
        .iter()
        .filter(|fault| fault.contains("src/tls/stream.rs"));
    assert_eq!(known.count(), 2, "{all:?}");
    let others = all
        .iter()
        .filter(|fault| !fault.contains("src/tls/stream.rs"))
        .cloned();
    report(
        "no crate of ours has unsafe code",
        faults.chain(missing).chain(others),
    );
}

#[test]
fn every_path_in_the_architecture_exists() {
    let document = read(&root().join("ARCHITECTURE.md"));
    let missing = paths_named_in(&document)
        .into_iter()
        .filter(|path| !root().join(path).exists());
    report(
        "ARCHITECTURE.md names what is there",
        missing.map(|path| format!("{path}: no such file or folder")),
    );
}

#[test]
fn every_metric_is_documented_and_every_documented_one_exists() {
    let crates = ["restante_storage", "restante_proto", "restante_admin_api"];
    let sources = rust_files()
        .into_iter()
        // The table is the document's source: what only it has, no source has.
        .filter(|file| file.name.contains("src/") && file.name != "src/meters/table.rs");
    let used: BTreeSet<String> = sources
        .flat_map(|file| names_after(&file.text, "\"restante_"))
        .filter(|name| !crates.contains(&name.as_str()))
        .collect();
    let documented: BTreeSet<String> =
        names_after(&read(&root().join("ops/METRICS.md")), "`restante_")
            .into_iter()
            .collect();
    let missing = used
        .difference(&documented)
        .map(|name| format!("{name}: not in ops/METRICS.md"));
    let stale = documented
        .difference(&used)
        .map(|name| format!("{name}: in ops/METRICS.md, but no source has it"));
    report("ops/METRICS.md lists every metric", missing.chain(stale));
}

/// A source file, or a part of one.
struct SourceFile {
    /// From the root, with `/`.
    name: String,
    text: String,
}

impl SourceFile {
    /// `name:line: word: why` for each line of code that has one of `words`.
    fn lines_with(&self, words: &[(&str, &str)]) -> Vec<String> {
        let mut faults = Vec::new();
        for (index, line) in self.text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            for (word, why) in words.iter().filter(|(word, _)| code.contains(word)) {
                faults.push(format!("{}:{}: `{word}`: {why}", self.name, index + 1));
            }
        }
        faults
    }

    /// The same lines with all that is no test blanked.
    fn tests_only(self) -> SourceFile {
        // This file has to name what it forbids.
        if self.name == "tests/whole/tidy.rs" {
            return SourceFile {
                text: String::new(),
                ..self
            };
        }
        let is_all_test = self
            .name
            .split('/')
            .any(|part| part == "tests" || part == "tests.rs");
        let mut in_test = is_all_test;
        let blank_before = |line: &str| {
            in_test |= line.starts_with("#[cfg(test)]");
            if in_test {
                format!("{line}\n")
            } else {
                "\n".to_owned()
            }
        };
        SourceFile {
            text: self.text.lines().map(blank_before).collect(),
            name: self.name,
        }
    }
}

fn report(rule: &str, faults: impl Iterator<Item = String>) {
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{rule}, but:\n{}", faults.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files() -> Vec<SourceFile> {
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for path in entries(&folder) {
            let name = path
                .strip_prefix(root())
                .expect("below the root")
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") {
                files.push(SourceFile {
                    text: read(&path),
                    name,
                });
            }
        }
    }
    assert!(
        files.iter().any(|file| file.name == "src/lib.rs"),
        "the sources were not found"
    );
    files
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let ours = |path: &PathBuf| {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        !FOREIGN.contains(&name.as_str()) && !path.is_symlink()
    };
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| entry.expect("a folder's entry").path())
        .filter(ours)
        .collect()
}

/// Whatever follows `lead` of letters, digits and `_`, with what `lead` has of them; `"restante_` finds `restante_x`.
fn names_after(text: &str, lead: &str) -> Vec<String> {
    let start = lead.trim_start_matches(['"', '`']);
    let is_name = |c: &char| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_';
    let name = |rest: &str| {
        format!(
            "{start}{}",
            rest.chars().take_while(is_name).collect::<String>()
        )
    };
    text.split(lead).skip(1).map(name).collect()
}

/// What a document has between backticks, or as the target of a link, that is a path from the root.
fn paths_named_in(document: &str) -> BTreeSet<String> {
    let outside_blocks = document.split("```").step_by(2);
    let mut paths = BTreeSet::new();
    for text in outside_blocks {
        let quoted = text.split('`').skip(1).step_by(2);
        let linked = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next());
        paths.extend(
            quoted
                .chain(linked)
                .filter(|word| is_path(word))
                .map(|word| word.trim_end_matches('/').to_owned()),
        );
    }
    paths
}

/// An address such as `orders/eu` is none: its first part is not in the root folder.
fn is_path(word: &str) -> bool {
    let plain = !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let first = word.split('/').next().unwrap_or("");
    let is_root_file = [".md", ".toml", ".lock"]
        .iter()
        .any(|end| word.ends_with(end))
        && !word.contains('/');
    plain
        && (is_root_file
            || (word.contains('/') && !first.is_empty() && root().join(first).is_dir()))
}

#[test]
fn paths_are_told_from_other_words() {
    let document = "`src/lib.rs`, `orders/eu`, `a + b`, `storage.sync`, `/mbws`, [x](ops/gone.md#top), `src/gone/`\n\
                    ```text\n`src/not/this`\n```\n`CHANGELOG.md` and [y](https://example.org/src/x)";
    let found: Vec<String> = paths_named_in(document).into_iter().collect();
    assert_eq!(
        found,
        ["CHANGELOG.md", "ops/gone.md", "src/gone", "src/lib.rs"]
    );
    let names = names_after(
        "counter!(\"restante_a_total\", x); \"restante_b\"",
        "\"restante_",
    );
    assert_eq!(names, ["restante_a_total", "restante_b"]);
}

#[test]
fn code_is_told_from_comments_and_tests_from_code() {
    let text = "sleep(1); // sleep\n// sleep\n#[cfg(test)]\nmod tests { sleep(2) }\n";
    let file = || SourceFile {
        name: "src/x.rs".to_owned(),
        text: text.to_owned(),
    };
    let words = [("sleep", "why")];
    assert_eq!(
        file().lines_with(&words),
        ["src/x.rs:1: `sleep`: why", "src/x.rs:4: `sleep`: why"]
    );
    assert_eq!(
        file().tests_only().lines_with(&words),
        ["src/x.rs:4: `sleep`: why"]
    );
}
