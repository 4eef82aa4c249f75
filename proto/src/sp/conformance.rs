//! `CONFORMANCE.md` is checked against the sources: what it names is there.

use std::path::Path;

const TABLES: &str = include_str!("CONFORMANCE.md");

/// How many sentences of the mapping say something.
const N_SENTENCES: usize = 27;

/// The cells of each row: its id, what is demanded, the status, what shows it.
fn rows() -> Vec<[&'static str; 4]> {
    let lines = TABLES.lines().filter(|line| line.starts_with("| "));
    let rows = lines.map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        <[&str; 4]>::try_from(cells).unwrap_or_else(|cells| panic!("not four cells: {cells:?}"))
    });
    rows.filter(|[id, ..]| *id != "id").collect()
}

#[test]
fn every_test_of_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut n_tests = 0;
    for [id, _, status, shown_by] in rows() {
        let is_done = status.starts_with("done");
        assert!(!is_done || !shown_by.is_empty(), "nothing shows {id}");
        let named = shown_by.split(", ").filter(|it| it.starts_with('`'));
        for named in named.map(|it| it.trim_matches('`')) {
            let (path, name) = named.split_once("::").expect(named);
            let source = std::fs::read_to_string(root.join(path)).expect(path);
            let (rust, python) = (format!("fn {name}("), format!("def {name}("));
            let exists = source.contains(&rust) || source.contains(&python);
            assert!(exists, "{id}: {named}");
            n_tests += 1;
        }
    }
    assert!(n_tests > 20, "the table was not read: {n_tests}");
}

#[test]
fn every_sentence_is_there_once_and_in_order() {
    let ids = rows().into_iter().map(|[id, ..]| id);
    let ids: Vec<_> = ids.filter(|id| id.starts_with("SPW-")).collect();
    let numbers = (1..=N_SENTENCES).map(|n| format!("SPW-{n}"));
    assert!(ids.into_iter().eq(numbers));
}
