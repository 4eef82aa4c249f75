//! `ops/grafana/restante.json`, as Grafana's import reads it. That its queries are good PromQL is seen in `prometheus.rs`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{at, documented_metrics, metrics_in, read};

const SOURCE: &str = "${datasource}";
const ROWS: [&str; 9] = [
    "Overview",
    "Publish and confirm",
    "Queues",
    "Log and disk",
    "Sessions and connections",
    "WAMP",
    "SP",
    "Access and refusals",
    "Process",
];

fn dashboard() -> Value {
    serde_json::from_str(&read("ops/grafana/restante.json")).expect("JSON")
}

fn panels(dashboard: &Value) -> Vec<&Value> {
    let panels = at(dashboard, "/panels").as_array().expect("panels");
    panels.iter().collect()
}

/// Every query, with the dashboard's variables as Grafana would put them in.
pub(super) fn queries() -> Vec<String> {
    let dashboard = dashboard();
    let targets = panels(&dashboard).into_iter().flat_map(|panel| {
        at(panel, "/targets")
            .as_array()
            .cloned()
            .unwrap_or_default()
    });
    let expressions =
        targets.map(|target| at(&target, "/expr").as_str().expect("a query").to_owned());
    expressions
        .map(|it| {
            it.replace("$__rate_interval", "1m")
                .replace("$job", "restante")
                .replace("$instance", ".*")
                .replace("$realm", ".*")
                .replace("$queue", ".*")
        })
        .collect()
}

#[test]
fn every_panel_says_what_it_shows_and_from_where() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "restante");
    assert!(dashboard["schemaVersion"].as_u64() >= Some(36));
    assert_eq!(
        dashboard["id"],
        Value::Null,
        "an id belongs to one Grafana only"
    );
    let variables = dashboard["templating"]["list"]
        .as_array()
        .expect("variables");
    assert_eq!(variables[0]["name"], "datasource");
    assert_eq!(variables[0]["type"], "datasource");
    let is_row = |panel: &&Value| panel["type"] == "row";
    let all = panels(&dashboard);
    let rows: Vec<&str> = all
        .iter()
        .copied()
        .filter(is_row)
        .filter_map(|row| row["title"].as_str())
        .collect();
    assert_eq!(rows, ROWS);
    for panel in all.iter().copied().filter(|panel| !is_row(panel)) {
        let title = panel["title"].as_str().unwrap_or_default();
        assert!(!title.is_empty(), "{panel}");
        let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
        assert!(text(&panel["description"]), "{title}: no description");
        assert!(
            text(&panel["fieldConfig"]["defaults"]["unit"]),
            "{title}: no unit"
        );
        assert_eq!(panel["datasource"]["uid"], SOURCE, "{title}");
        let targets = panel["targets"].as_array().expect("targets");
        assert!(!targets.is_empty(), "{title}: shows nothing");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], SOURCE, "{title}");
            assert!(
                target["expr"]
                    .as_str()
                    .is_some_and(|it| it.contains("$job")),
                "{title}"
            );
        }
    }
}

#[test]
fn no_panel_is_there_twice_or_upon_another() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels(&dashboard) {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}");
        let at = |name: &str| panel["gridPos"][name].as_u64().expect("a number");
        assert!(at("x") + at("w") <= 24, "{title}: beyond the edge");
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(taken.insert((x, y)), "{title}: upon another panel");
            }
        }
    }
}

#[test]
fn every_metric_that_is_shown_is_documented() {
    let shown = metrics_in(&read("ops/grafana/restante.json"));
    assert!(shown.len() > 30, "{shown:?}");
    let unknown: Vec<_> = shown.difference(&documented_metrics()).cloned().collect();
    assert!(unknown.is_empty(), "not in ops/METRICS.md: {unknown:?}");
}
