//! The audit log: what gets into it, whoever handles the request.

use restante_admin_api::{ControlError, Options};
use serde_json::json;

use crate::client::within;
use crate::fake::{ADMIN, Fake, READER, Server};
use crate::walk::operations;

#[tokio::test]
async fn every_change_and_every_refusal_is_audited() {
    for operation in operations() {
        let name = format!("{} {}", operation.method, operation.pattern);
        let fake = Fake::furnished();
        let server = Server::start(&fake, Options::default()).await;
        let mut client = server.client().await;
        let audited = |what: &str| {
            let entries = fake.take_audited();
            assert!(entries.len() <= 1, "{name} {what}: {entries:?}");
            entries.into_iter().next()
        };
        let answer = client.ask(&operation.request("", ADMIN)).await;
        match audited("good") {
            Some(entry) => {
                assert!(operation.changes(), "{name}: {entry:?}");
                assert!(matches!(&*entry.result, "done" | "unchanged"), "{entry:?}");
                assert_eq!((&*entry.principal, &*entry.door), ("admin", "rest"));
                assert_eq!((&entry.act, &entry.target), (&name, &operation.path()));
                assert_eq!(
                    entry.request_id.as_deref(),
                    Some(answer.header("x-request-id"))
                );
                assert!(entry.peer.starts_with("127.0.0.1:"), "{entry:?}");
            }
            // A message on its way is no act of administration.
            None => assert!(!operation.changes() || operation.is_traffic(), "{name}"),
        }
        if operation.changes() {
            fake.failing(Some(ControlError::Conflict(
                "of what was in the request".into(),
            )));
            client.ask(&operation.request("", ADMIN)).await;
            let entry = audited("failed").expect("a failed change");
            assert_eq!(
                (&*entry.result, &*entry.detail),
                ("failed", "conflict"),
                "{name}"
            );
            fake.failing(Some(ControlError::Denied {
                verb: None,
                rule: None,
            }));
            client.ask(&operation.request("", ADMIN)).await;
            assert_eq!(audited("denied").expect("a denied change").result, "denied");
            client.ask(&operation.request("?nope=1", ADMIN)).await;
            assert_eq!(audited("wrong").expect("a wrong request").result, "failed");
        }
        if operation.need != "nothing" {
            client.ask(&operation.request("", "x-none: 1")).await;
            let entry = audited("nobody").expect("a refusal");
            assert_eq!(
                (&*entry.result, &*entry.principal),
                ("denied", ""),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn before_and_after_are_as_the_broker_says() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    client
        .ask(&format!(
            "PUT /api/v1/log-level\n{ADMIN}\n\n{{\"level\": \"warn\"}}"
        ))
        .await;
    let entry = fake.take_audited().remove(0);
    assert_eq!(
        (entry.before, entry.after),
        (Some(json!("info")), Some(json!("warn")))
    );
}

#[tokio::test]
async fn what_changes_nothing_leaves_no_details_in_the_log() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    let level = |query: &str, level: &str| {
        format!("PUT /api/v1/log-level{query}\n{ADMIN}\n\n{{\"level\": \"{level}\"}}")
    };
    for (query, wanted, result) in [
        ("?dry_run=true", "warn", "dry-run"),
        ("", "info", "unchanged"),
    ] {
        client.ask(&level(query, wanted)).await;
        let entry = fake.take_audited().remove(0);
        assert_eq!(entry.result, result);
        assert_eq!((entry.before, entry.after), (None, None), "{result}");
    }
    let create =
        format!("POST /api/v1/tokens\n{ADMIN}\nidempotency-key: k\n\n{{\"label\": \"a\"}}");
    client.ask(&create).await;
    client.ask(&create).await;
    let results: Vec<_> = fake
        .take_audited()
        .into_iter()
        .map(|it| it.result)
        .collect();
    assert_eq!(results, ["done", "unchanged"]);
}

#[tokio::test]
async fn what_was_done_before_an_error_is_told_of() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    fake.failing(Some(ControlError::InPart {
        done: json!({"done": 7}),
        why: Box::new(ControlError::Full("the disk".into())),
    }));
    let purge = "POST /api/v1/realms/default/queues/orders:purge";
    let request = format!("{purge}\n{ADMIN}\nidempotency-key: p");
    assert_eq!(client.ask(&request).await.status, 507);
    let entry = fake.take_audited().remove(0);
    assert_eq!((&*entry.result, &*entry.detail), ("in-part", "full"));
    assert_eq!(entry.after, Some(json!({"done": 7})));
    fake.failing(None);
    let again = client.ask(&request).await;
    assert_eq!(again.status, 507, "a part of it is not done again unseen");
}

#[tokio::test]
async fn hashes_are_not_looked_at_unseen() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    let ask = |query: &str, who: &str| format!("GET /api/v1/definitions{query}\n{who}");
    client.ask(&ask("", READER)).await;
    client.ask(&ask("?hashes=false", ADMIN)).await;
    assert!(fake.take_audited().is_empty());
    assert_eq!(client.ask(&ask("?hashes=true", READER)).await.status, 403);
    assert_eq!(fake.take_audited().remove(0).result, "denied");
    assert_eq!(client.ask(&ask("?hashes=true", ADMIN)).await.status, 200);
    assert_eq!(fake.take_audited().remove(0).result, "done");
}

#[tokio::test]
async fn a_panic_is_audited_too() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    let answer = client
        .ask(&format!("PUT /api/v1/roles/panic\n{ADMIN}\n\n{{}}"))
        .await;
    assert_eq!((answer.status, &*answer.code()), (500, "internal"));
    let entry = fake.take_audited().remove(0);
    assert_eq!((&*entry.result, &*entry.detail), ("failed", "internal"));
    let answer = client
        .ask(&format!("GET /api/v1/roles/shop\n{ADMIN}"))
        .await;
    assert_eq!(answer.status, 200, "the connection goes on");
}

#[tokio::test]
async fn a_change_goes_on_though_its_client_is_gone() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    fake.gate
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let mut client = server.client().await;
    client
        .send(&format!("PUT /api/v1/roles/late\n{ADMIN}\n\n{{}}"))
        .await;
    within("the gate", fake.at_gate.acquire())
        .await
        .unwrap()
        .forget();
    drop(client);
    server.shutdown.send_replace(true);
    fake.gate.add_permits(10);
    server.ended().await;
    let entry = fake.take_audited().remove(0);
    assert_eq!(
        (&*entry.result, &*entry.target),
        ("done", "/api/v1/roles/late")
    );
    assert!(fake.state().documents.keys().any(|id| id.name == "late"));
}

#[tokio::test]
async fn the_log_is_read_page_by_page() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    for n in 0..5 {
        client
            .ask(&format!("PUT /api/v1/roles/r{n}\n{ADMIN}\n\n{{}}"))
            .await;
    }
    client.ask("GET /api/v1/roles").await;
    let mut targets = Vec::new();
    let mut after = String::new();
    loop {
        let request = format!("GET /api/v1/audit?limit=2&principal=admin{after}\n{ADMIN}");
        let page = client.ask(&request).await.json();
        for entry in page["items"].as_array().unwrap() {
            targets.push(entry["target"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    let expected: Vec<_> = (0..5)
        .rev()
        .map(|n| format!("/api/v1/roles/r{n}"))
        .collect();
    assert_eq!(targets, expected);
    let denied = client
        .ask(&format!("GET /api/v1/audit?result=denied\n{ADMIN}"))
        .await
        .json();
    assert_eq!(denied["items"].as_array().unwrap().len(), 1);
    assert_eq!(
        client
            .ask(&format!("GET /api/v1/audit?since=x\n{ADMIN}"))
            .await
            .status,
        400
    );
}

/// Strangers choose paths; the log is ours.
#[tokio::test]
async fn a_strangers_path_is_cut() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let path = format!("/api/v1/roles/{}", "x".repeat(20_000));
    server.client().await.ask(&format!("GET {path}")).await;
    let entry = fake.take_audited().remove(0);
    assert_eq!((entry.target.len(), &*entry.result), (2048, "denied"));
}

#[tokio::test]
async fn whom_somebody_tried_to_be_is_on_record() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    for (header, detail) in [
        (
            "authorization: Basic wrong as alice",
            "unauthenticated: as alice",
        ),
        ("authorization: Bearer wrong", "unauthenticated"),
    ] {
        let mut client = server.client().await;
        let answer = client.ask(&format!("GET /api/v1/roles\n{header}")).await;
        assert_eq!(answer.status, 401);
        assert!(!answer.body.contains("alice"));
        let entry = fake.take_audited().remove(0);
        assert_eq!((&*entry.principal, &*entry.detail), ("", detail));
    }
}
