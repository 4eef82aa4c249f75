//! Secrets: shown once to whoever made them, and never to anybody else.

use restante_admin_api::Options;
use serde_json::json;

use crate::fake::{ADMIN, Fake, HASH, SECRET, Server};
use crate::log;
use crate::walk::operations;

const PASSWORD: &str = "p4ssword-canary";

#[tokio::test]
async fn no_secret_is_shown_twice() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    let mut answers = Vec::new();
    let user = |value: serde_json::Value| {
        let body = json!({"roles": [], "password": value});
        format!("PUT /api/v1/users/alice\n{ADMIN}\n\n{body}")
    };
    for value in [json!(PASSWORD), json!([PASSWORD]), json!({ PASSWORD: 1 })] {
        answers.push(client.ask(&user(value)).await);
    }
    assert_eq!((answers[0].status, answers[1].status), (200, 422));
    assert_eq!(answers[1].json()["errors"][0]["pointer"], "/password");
    assert_eq!(answers[0].json()["has_password"], true);
    let number = client.ask(&user(json!(7_777_777))).await;
    assert!(!number.body.contains("7777777"), "{number:?}");
    let made = client
        .ask(&format!(
            "POST /api/v1/tokens\n{ADMIN}\nidempotency-key: k\n\n{{\"label\": \"x\"}}"
        ))
        .await;
    assert!(made.body.contains(SECRET));
    for operation in operations() {
        if operation.method == "GET" {
            answers.push(client.ask(&operation.request("", ADMIN)).await);
        }
    }
    // Everything that makes no secret.
    let fresh = Fake::furnished();
    let other = Server::start(&fresh, Options::default()).await;
    for operation in operations().iter().filter(|it| it.method != "GET") {
        if !["createToken", "rotateToken"].contains(&operation.id.as_str()) {
            answers.push(
                other
                    .client()
                    .await
                    .ask(&operation.request("", ADMIN))
                    .await,
            );
        }
    }
    for answer in &answers {
        for secret in [PASSWORD, SECRET, HASH] {
            assert!(!format!("{answer:?}").contains(secret), "{answer:?}");
        }
    }
    let hashes = client
        .ask(&format!("GET /api/v1/definitions?hashes=true\n{ADMIN}"))
        .await;
    assert!(hashes.body.contains(HASH), "asked for");
    let audited = format!("{:?}{:?}", fake.take_audited(), fresh.take_audited());
    let logged = log::text();
    for secret in [PASSWORD, SECRET, HASH] {
        assert!(!audited.contains(secret), "{secret} in the audit log");
        assert!(!logged.contains(secret), "{secret} in the log");
    }
}

#[test]
fn a_secret_has_no_debug() {
    let secret = restante_admin_api::Secret::new(SECRET.into());
    assert_eq!(format!("{secret:?}"), "Secret(..)");
    assert_eq!(secret.expose(), SECRET);
}
