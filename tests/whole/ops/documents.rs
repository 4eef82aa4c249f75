//! Example configurations, the runbook and the table of `ops/SECURITY.md`, held against program and sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tempfile::TempDir;

use super::{files_in, read, root, said};
use crate::process::{RESTANTE, command};
use crate::tls::{Authority, replace};

/// Where the examples have their certificates and keys.
const PLACE: &str = "/etc/restante/";

#[test]
fn every_example_is_a_configuration() {
    let files = files_in("ops/examples");
    assert!(files.len() >= 4);
    let mut faults = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("an example");
        let place = place_with_keys();
        let here = format!("{}/", place.path().display());
        let (ok, said) = check_config(&text.replace(PLACE, &here));
        if !ok {
            faults.push(format!("{}: {said}", file.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_example_whose_files_are_not_there_is_refused_for_each_of_them() {
    for (file, n_files) in [("single-host", 3), ("jwt", 3)] {
        let text = read(&format!("ops/examples/{file}.yaml"));
        let nothing = tempfile::tempdir().expect("a folder");
        let here = format!("{}/", nothing.path().display());
        let (ok, said) = check_config(&text.replace(PLACE, &here));
        assert!(!ok, "{said}");
        assert_eq!(text.matches(PLACE).count(), n_files, "{file}");
        assert_eq!(said.matches(&here).count(), n_files, "{said}");
    }
}

/// What `check-config` says of a configuration, and whether it takes it.
fn check_config(yaml: &str) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("restante.yaml"), yaml).expect("a file");
    let mut check = command(RESTANTE);
    check.args(["check-config", "restante.yaml"]);
    let output = check.current_dir(folder.path()).output();
    let output = output.expect("the program");
    (output.status.success(), said(&output))
}

/// A folder with the certificates and keys that the examples name.
fn place_with_keys() -> TempDir {
    let place = tempfile::tempdir().expect("a folder");
    let tls = place.path().join("tls");
    fs::create_dir(&tls).expect("a folder");
    let authority = Authority::new();
    authority.issue(&tls, "broker");
    replace(&tls.join("clients-ca.pem"), authority.pem());
    replace(&place.path().join("identity.jwks.json"), &jwks());
    place
}

/// One public key, as identity providers publish it (RFC 7517).
fn jwks() -> String {
    let key = rcgen::KeyPair::generate().expect("a key");
    let point = key.public_key_raw();
    let coordinate = |range| URL_SAFE_NO_PAD.encode(point.get(range).expect("a point of P-256"));
    let (x, y) = (coordinate(1..33), coordinate(33..65));
    let key = json!({"kty": "EC", "crv": "P-256", "kid": "1", "alg": "ES256", "x": x, "y": y});
    json!({"keys": [key]}).to_string()
}

#[test]
fn the_documents_name_files_that_are_there() {
    for document in ["ops/RUNBOOK.md", "ops/SECURITY.md", "ops/Dockerfile"] {
        let text = read(document);
        for path in words_in_backticks(&text).filter(|word| is_path(word)) {
            assert!(
                root().join(path).exists(),
                "{document}: {path} is not there"
            );
        }
    }
}

/// Whatever stands in backticks on one line.
fn words_in_backticks(text: &str) -> impl Iterator<Item = &str> {
    let outside_blocks = text.split("```").step_by(2);
    outside_blocks.flat_map(|part| part.split('`').skip(1).step_by(2))
}

fn is_path(word: &str) -> bool {
    let first = word.split('/').next().unwrap_or_default();
    let plain = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    plain && word.contains('/') && !first.is_empty() && root().join(first).is_dir()
}

#[test]
fn a_section_that_the_runbook_sends_to_is_there() {
    let runbook = read("ops/RUNBOOK.md");
    let headings: BTreeSet<&str> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    let named = runbook.split("See *").skip(1);
    let named: Vec<&str> = named.filter_map(|rest| rest.split('*').next()).collect();
    assert!(named.len() >= 4, "{named:?}");
    for name in named {
        assert!(headings.contains(name), "{name}: no such section");
    }
}

#[test]
fn every_place_and_test_of_the_security_table_exists() {
    let tests = test_names();
    let mut n_shown = 0;
    for row in security_rows() {
        let [case, _, rule, places, shown] = row.as_slice() else {
            panic!("{row:?}: not five columns");
        };
        for place in words_in_backticks(places) {
            assert!(root().join(place).exists(), "{case}: {place} is not there");
        }
        for test in words_in_backticks(shown) {
            n_shown += 1;
            assert!(tests.contains(test), "{case}: there is no test {test}");
        }
        let is_open = shown == "open";
        assert!(
            is_open || shown.starts_with('`'),
            "{case}: shown by {shown}?"
        );
        assert!(is_open || !rule.is_empty(), "{case}: no rule");
    }
    assert!(n_shown > 30, "{n_shown}");
}

fn security_rows() -> Vec<Vec<String>> {
    let document = read("ops/SECURITY.md");
    let lines = document.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = lines.filter(|line| !line.starts_with("case |"));
    let cells = |row: &str| {
        let row = row.trim_end_matches('|');
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

/// Functions below `#[test]` or one of its kin, in all of the sources.
fn test_names() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in ["src", "storage", "proto", "admin-api", "tests"] {
        collect(&root().join(folder), &mut names);
    }
    names
}

fn collect(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let is_rust = path.extension().is_some_and(|end| end == "rs");
        let is_foreign = ["target", "node_modules", ".venv"]
            .iter()
            .any(|it| path.ends_with(it));
        if path.is_dir() && !is_foreign {
            collect(&path, names);
        } else if is_rust {
            names.extend(tests_in(&fs::read_to_string(&path).expect("a source")));
        }
    }
}

fn tests_in(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_test = true;
        }
        let signature = line.trim_start_matches("async ").strip_prefix("fn ");
        if let Some(rest) = signature {
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            if is_test {
                found.push(name.to_owned());
            }
            is_test = false;
        }
    }
    found
}

#[test]
fn tests_are_told_from_other_functions() {
    let source = "fn a() {}\n#[test]\nfn b() {}\n    #[tokio::test(x)]\n    #[y]\n    async fn c() {}\nfn d() {}";
    assert_eq!(tests_in(source), ["b", "c"]);
}
