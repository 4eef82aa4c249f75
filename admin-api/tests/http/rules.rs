//! Which request gets which answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use restante_admin_api::Options;

use crate::fake::{Fake, READER, Server, ask};

/// Asks and compares: the status, headers that must be there, and what must be in the body.
async fn check(fake: &Arc<Fake>, request: &str, status: u16, headers: &[&str], parts: &[&str]) {
    let request = request.replace("AS READER", READER);
    let answer = ask(fake, &request).await;
    assert_eq!(answer.status, status, "{request}: {answer:?}");
    for header in headers {
        let found = answer.headers.iter().any(|line| line == header);
        assert!(found, "{request}: {header} is not in {answer:?}");
    }
    for part in parts {
        assert!(
            answer.body.contains(part),
            "{request}: {part} is not in {answer:?}"
        );
    }
}

const JSON: &str = "content-type: application/json";
const TEXT: &str = "content-type: text/plain; version=0.0.4; charset=utf-8";
const PROBLEM: &str = "content-type: application/problem+json";
const BASIC: &str = r#"www-authenticate: Basic realm="restante", charset="UTF-8""#;
const BEARER: &str = r#"www-authenticate: Bearer realm="restante""#;
const ALLOW: &str = "allow: GET, HEAD";
const SOON: &str = "retry-after: 1";

#[tokio::test]
async fn every_rule_has_its_answer() {
    let table: &[(&str, u16, &[&str], &[&str])] = &[
        ("GET /livez", 200, &[JSON], &[r#"{"live":true}"#]),
        ("GET /readyz", 200, &[JSON], &[r#"{"ready":true}"#]),
        (
            "GET /readyz?verbose",
            200,
            &[JSON],
            &[r#"{"ready":true,"checks":[{"name":"recovered","ok":true,"#],
        ),
        (
            "GET /readyz?verbose=false",
            200,
            &[],
            &[r#"{"ready":true}"#],
        ),
        ("GET /metrics\nAS READER", 200, &[TEXT], &["up 1\n"]),
        (
            "GET /api/v1/queues\nAS READER",
            200,
            &[JSON],
            &[r#"{"items":[],"next":null}"#],
        ),
        // Credentials.
        (
            "GET /metrics",
            401,
            &[PROBLEM, BASIC, BEARER],
            &["unauthenticated"],
        ),
        (
            "GET /api/v1/queues",
            401,
            &[PROBLEM, BASIC, BEARER],
            &["unauthenticated"],
        ),
        (
            "GET /api/v1/queues\nAuthorization: Basic wrong",
            401,
            &[BASIC, BEARER],
            &["unauthenticated"],
        ),
        (
            "GET /api/v1/queues\nAuthorization:",
            401,
            &[BASIC, BEARER],
            &["unauthenticated"],
        ),
        (
            "GET /api/v1/queues\nAS READER\nAS READER",
            401,
            &[BASIC, BEARER],
            &["more than one"],
        ),
        (
            "GET /api/v1/queues\nAuthorization: Bearer nobody",
            403,
            &[PROBLEM],
            &["forbidden", r#""detail":"not allowed""#],
        ),
        (
            "GET /metrics\nAuthorization: Bearer nobody",
            403,
            &[PROBLEM],
            &["forbidden"],
        ),
        (
            "GET /metrics\nAuthorization: Basic many",
            429,
            &[PROBLEM, "retry-after: 42"],
            &["too-many-attempts"],
        ),
        (
            "GET /metrics\nAuthorization: Basic busy",
            503,
            &[PROBLEM, SOON],
            &["busy"],
        ),
        ("GET /livez\nAuthorization: Basic wrong", 200, &[], &[]),
        // Paths and methods.
        ("GET /", 308, &["location: /api/docs/"], &[]),
        ("GET //", 404, &[PROBLEM], &["not-found"]),
        ("GET /livez/", 404, &[PROBLEM], &["not-found"]),
        ("GET /api/v1/no", 401, &[BASIC], &[]),
        (
            "GET /api/v1/no\nAuthorization: Bearer nobody",
            404,
            &[PROBLEM],
            &["not-found"],
        ),
        (
            "POST /livez",
            405,
            &[PROBLEM, ALLOW],
            &["method-not-allowed"],
        ),
        (
            "OPTIONS /livez\nOrigin: http://elsewhere",
            405,
            &[ALLOW],
            &[],
        ),
        ("OPTIONS *", 404, &[], &[]),
        ("DELETE /api/v1/queues", 401, &[BASIC], &[]),
        ("DELETE /api/v1/queues\nAS READER", 405, &[ALLOW], &[]),
        // Parameters.
        (
            "GET /livez?verbose",
            400,
            &[PROBLEM],
            &["invalid-parameter", r#""parameter":"verbose""#],
        ),
        (
            "GET /readyz?verbose=maybe&x",
            400,
            &[],
            &[r#""parameter":"verbose""#, r#""parameter":"x""#],
        ),
        (
            "GET /metrics?family=x\nAS READER",
            400,
            &[],
            &[r#""parameter":"family""#],
        ),
        (
            "GET /api/v1/queues?limit=0\nAS READER",
            400,
            &[],
            &["`limit` is a number from 1 to 1000"],
        ),
        (
            "GET /api/v1/queues?limit=1001\nAS READER",
            400,
            &[],
            &[r#""parameter":"limit""#],
        ),
        (
            "GET /api/v1/queues?after=x\nAS READER",
            400,
            &[],
            &[r#""parameter":"after""#],
        ),
        (
            "GET /api/v1/queues?realm=a&realm=b\nAS READER",
            400,
            &[],
            &["`realm` is given twice"],
        ),
        ("GET /api/v1/queues?nonsense=1", 401, &[], &[]),
        // Bodies.
        (
            "GET /livez\nContent-Length: 1048577",
            413,
            &[PROBLEM],
            &["body-too-large", "1048576"],
        ),
        ("GET /api/v1/queues\nContent-Length: 1048577", 401, &[], &[]),
    ];
    let fake = Fake::new();
    for (request, status, headers, parts) in table {
        check(&fake, request, *status, headers, parts).await;
    }
}

#[tokio::test]
async fn not_ready_is_503_and_says_why_only_if_asked() {
    let fake = Fake::unready("log");
    check(
        &fake,
        "GET /readyz",
        503,
        &[JSON, SOON],
        &[r#"{"ready":false}"#],
    )
    .await;
    let log = r#"{"name":"log","ok":false,"text":"log is fine"}"#;
    check(
        &fake,
        "GET /readyz?verbose",
        503,
        &[JSON],
        &[log, r#""name":"disk","ok":true"#],
    )
    .await;
    check(&fake, "GET /livez", 200, &[], &[]).await;
}

#[tokio::test]
async fn not_live_is_503() {
    let fake = Fake::new();
    fake.health.lock().unwrap().live = false;
    check(
        &fake,
        "GET /livez",
        503,
        &[JSON, SOON],
        &[r#"{"live":false}"#],
    )
    .await;
}

#[tokio::test]
async fn a_panic_costs_its_request_alone() {
    let fake = Fake::with_queues(&[("default", "panic")]);
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    let answer = client.ask(&format!("GET /api/v1/queues\n{READER}")).await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (500, &"internal".into())
    );
    assert!(
        !answer.body.contains("as the test wants"),
        "our insides: {answer:?}"
    );
    assert_eq!(client.ask("GET /livez").await.status, 200);
}

#[tokio::test]
async fn metrics_can_be_open_on_the_machine_itself() {
    let options = Options {
        metrics_open: true,
        ..Options::default()
    };
    let server = Server::start(&Fake::new(), options).await;
    let mut client = server.client().await;
    assert_eq!(client.ask("GET /metrics").await.status, 200);
    assert_eq!(client.ask("GET /api/v1/queues").await.status, 401);
}

#[tokio::test]
async fn the_broker_is_not_asked_about_those_who_show_nothing() {
    let fake = Fake::new();
    for request in [
        "GET /api/v1/queues",
        "GET /metrics",
        "GET /api/no",
        "GET /livez\nAuthorization: x",
    ] {
        ask(&fake, request).await;
    }
    assert_eq!(fake.n_authenticated.load(Ordering::Relaxed), 0);
}
