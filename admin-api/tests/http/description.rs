//! The OpenAPI document and its viewer.

use std::collections::BTreeSet;
use std::path::Path;

use restante_admin_api::{Code, Options, openapi};
use serde_json::Value;

use crate::fake::{Fake, Server};
use crate::walk::operations;

/// `RESTANTE_TEST_WRITE=1` writes the committed document anew.
#[test]
fn the_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let now = openapi();
    if std::env::var_os("RESTANTE_TEST_WRITE").is_some() {
        let text = serde_json::to_string_pretty(&sorted(&now)).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    }
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(
        committed == now,
        "openapi.json is old: write it with RESTANTE_TEST_WRITE=1"
    );
}

/// By key, whatever serde_json was built with.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut pairs: Vec<_> = members.iter().collect();
            pairs.sort_by_key(|(key, _)| key.as_str());
            pairs
                .into_iter()
                .map(|(key, it)| (key.clone(), sorted(it)))
                .collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            if let Some(to) = members.get("$ref").and_then(Value::as_str) {
                found.insert(to);
            }
            members.values().for_each(|it| references(it, found));
        }
        Value::Array(items) => items.iter().for_each(|it| references(it, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = openapi();
    assert_eq!(document["openapi"], "3.1.0");
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 30, "{found:?}");
    for to in &found {
        let pointer = to.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{to}");
    }
    let used = |name: &String| found.contains(format!("#/components/schemas/{name}").as_str());
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in schemas.keys() {
        assert!(used(name), "{name} is used by nothing");
        assert!(
            !name.contains("_for_") && !name.ends_with('2'),
            "{name} is no name"
        );
    }
}

#[test]
fn a_person_with_only_the_document_is_told_what_they_need() {
    let document = openapi();
    let introduction = document["info"]["description"].as_str().unwrap();
    for word in [
        "ETag",
        "If-Match",
        "dry_run",
        "Idempotency-Key",
        "%2F",
        "%3A",
        "cursor",
        "realm",
        "rule",
        "route",
    ] {
        assert!(
            introduction.to_lowercase().contains(&word.to_lowercase()),
            "{word}"
        );
    }
    for code in Code::ALL {
        assert!(
            introduction.contains(&format!("`{}`", code.as_str())),
            "{code:?}"
        );
    }
    let text = document.to_string();
    assert!(!text.contains("[`"), "a link of the source's own");
    for operation in operations() {
        assert!(
            !operation.json["summary"].as_str().unwrap().is_empty(),
            "{}",
            operation.id
        );
        if operation.json["requestBody"].is_object() {
            let body = &operation.json["requestBody"]["content"]["application/json"];
            assert!(
                body["example"].is_object() && body["schema"].is_object(),
                "{}",
                operation.id
            );
        }
    }
}

#[tokio::test]
async fn who_comes_to_the_door_is_led_to_the_viewer() {
    let fake = Fake::new();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    for path in ["/", "/api/docs"] {
        for method in ["GET", "HEAD"] {
            let answer = client.ask(&format!("{method} {path}")).await;
            assert_eq!(answer.status, 308, "{method} {path}: {answer:?}");
            assert_eq!(answer.header("location"), "/api/docs/");
        }
    }
    assert_eq!(client.ask("GET /api/docs/").await.status, 200);
    assert_eq!(client.ask("GET /api").await.status, 401);
}

#[tokio::test]
async fn the_document_and_its_viewer_are_open_and_closed_in_themselves() {
    let fake = Fake::new();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    let served = client.ask("GET /api/v1/openapi.json").await;
    assert_eq!((served.status, served.json()), (200, openapi()));
    let page = client.ask("GET /api/docs/").await;
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(
        page.body.contains("<title>Restante admin API</title>"),
        "{}",
        page.body
    );
    let policy = page.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert!(
        !page.body.contains("http:") && !page.body.contains("https:"),
        "{}",
        page.body
    );
    assert!(
        !page.body.contains("<script>") && !page.body.contains("<style>"),
        "{}",
        page.body
    );
    for part in page
        .body
        .split(['"', '\''])
        .filter(|it| it.ends_with(".js") || it.ends_with(".css") || it.ends_with(".png"))
    {
        let file = part.trim_start_matches("./");
        let mut client = server.client().await;
        let head = client.ask(&format!("HEAD /api/docs/{file}")).await;
        assert_eq!(head.status, 200, "{file}");
    }
    let set_up = client.ask("GET /api/docs/swagger-initializer.js").await;
    assert!(
        set_up.body.contains("/api/v1/openapi.json"),
        "{}",
        set_up.body
    );
    assert!(!set_up.body.contains("://"), "{}", set_up.body);
    assert!(
        set_up.body.contains(r#""validatorUrl": "none""#),
        "{}",
        set_up.body
    );
    for (path, status) in [
        ("nope.js", 404),
        ("..%2Findex.html", 404),
        ("%2e%2e", 400),
        ("%2Fetc%2Fpasswd", 404),
    ] {
        let answer = client.ask(&format!("GET /api/docs/{path}")).await;
        assert_eq!(answer.status, status, "{path}");
    }
}
