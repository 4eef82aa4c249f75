//! `CONFORMANCE.md` is checked against the sources: what it names is there.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Rule, Version};

const TABLES: &str = include_str!("CONFORMANCE.md");

struct Row<'a> {
    id: &'a str,
    shown_by: &'a str,
}

/// The rows under the heading of one version.
fn rows(version: Version) -> Vec<Row<'static>> {
    let heading = format!("## MQTT {}\n", version.name());
    let (_, behind) = TABLES.split_once(&heading).unwrap();
    let table = behind.split("\n## ").next().unwrap();
    let cells = |line: &'static str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        let [id, rule, shown_by] = cells[..] else {
            panic!("not three cells: {line}");
        };
        assert!(!rule.trim().is_empty(), "{line}");
        Row {
            id: id.trim(),
            shown_by: shown_by.trim(),
        }
    };
    table
        .lines()
        .filter(|line| line.starts_with("| MQTT-"))
        .map(cells)
        .collect()
}

fn both() -> impl Iterator<Item = Row<'static>> {
    [Version::V311, Version::V5].into_iter().flat_map(rows)
}

#[test]
fn every_test_of_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut n_tests = 0;
    for row in both().filter(|row| row.shown_by.starts_with('`')) {
        let named = row.shown_by.trim_matches('`');
        let (path, name) = named.split_once("::").expect(named);
        let source = std::fs::read_to_string(root.join(path)).expect(path);
        // An attribute, the signature on a line of its own or with `proptest!`'s arguments behind it.
        assert!(
            source.contains(&format!("fn {name}(")),
            "{}: {named}",
            row.id
        );
        n_tests += 1;
    }
    assert!(n_tests > 100, "the table was not read: {n_tests}");
}

#[test]
fn every_normative_id_is_there_once() {
    // As many as each standard's appendix B has.
    for (version, n_ids) in [(Version::V311, 141), (Version::V5, 251)] {
        let rows = rows(version);
        let ids: BTreeSet<&str> = rows.iter().map(|row| row.id).collect();
        assert_eq!((rows.len(), ids.len()), (n_ids, n_ids), "{version:?}");
    }
}

#[test]
fn every_rule_of_the_codec_is_in_the_table() {
    for version in [Version::V311, Version::V5] {
        let rows = rows(version);
        let ids = Rule::ALL.iter().filter_map(|rule| rule.id(version));
        for id in ids.filter(|id| id.starts_with("MQTT-")) {
            let row = rows.iter().find(|row| row.id == id);
            let shown = row.is_some_and(|row| row.shown_by != "binds clients alone");
            assert!(shown, "{id} of {version:?}");
        }
        let sections = Rule::ALL.iter().filter_map(|rule| rule.id(version));
        assert!(
            sections
                .into_iter()
                .all(|id| id.starts_with("MQTT-") || id.starts_with('§'))
        );
    }
}
