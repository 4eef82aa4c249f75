//! `CONFORMANCE.md` is checked against the sources: what it names is there.

use std::path::Path;

const TABLES: &str = include_str!("CONFORMANCE.md");

/// The cells of each feature's row.
fn rows() -> Vec<Vec<&'static str>> {
    let lines = TABLES.lines().filter(|line| line.starts_with("| "));
    let rows = lines.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect());
    rows.filter(|row: &Vec<&str>| row[0] != "feature").collect()
}

#[test]
fn every_test_of_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut n_tests = 0;
    for row in rows() {
        assert_eq!(row.len(), 4, "{row:?}");
        let done = row[1].starts_with("done") || row[1].starts_with("ours");
        assert!(!done || !row[3].is_empty(), "nothing shows {}", row[0]);
        for named in row[3].split(", ").filter(|it| !it.is_empty()) {
            let named = named.trim_matches('`');
            let (path, name) = named.split_once("::").expect(named);
            let source = std::fs::read_to_string(root.join(path)).expect(path);
            let (rust, python) = (format!("fn {name}("), format!("def {name}("));
            assert!(
                source.contains(&rust) || source.contains(&python),
                "{named}"
            );
            n_tests += 1;
        }
    }
    assert!(n_tests > 50, "the table was not read: {n_tests}");
}
