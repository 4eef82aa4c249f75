//! What the operator sees: metrics and the log.

use metrics_exporter_prometheus::PrometheusBuilder;
use restante_admin_api::Options;

use crate::fake::{Fake, READER, Server};
use crate::log;

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let server = Server::start(&Fake::new(), Options::default()).await;
    let mut client = server.client().await;
    let reader = format!("GET /api/v1/queues?limit=5\n{READER}");
    for request in [
        "GET /livez",
        "GET /livez?x",
        "POST /livez",
        "GET /a",
        "GET /b/c",
        &reader,
        &reader,
    ] {
        client.ask(request).await;
    }
    client.ask("HEAD /livez").await;
    let text = metrics.render();
    let mut lines: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("restante_admin_requests_total"))
        .collect();
    lines.sort_unstable();
    let expected = [
        r#"{route="/api/v1/queues",status="200"} 2"#,
        r#"{route="/livez",status="200"} 2"#,
        r#"{route="/livez",status="400"} 1"#,
        r#"{route="/livez",status="405"} 1"#,
        r#"{route="none",status="404"} 2"#,
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn no_credentials_reach_the_log() {
    let fake = Fake::with_queues(&[("default", "panic")]);
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    let mut ids = Vec::new();
    for request in [
        "GET /api/v1/queues\nAuthorization: Basic sesame",
        "GET /api/v1/queues\nAuthorization: sesame\nAuthorization: sesame",
        "GET /livez\nAuthorization: Bearer sesame",
        &format!("GET /api/v1/queues\n{READER}"),
    ] {
        let answer = client.ask(request).await;
        ids.push(answer.header("x-request-id").to_owned());
    }
    // Of all tests so far, and that is as well.
    let text = log::text();
    for id in ids {
        let known = |line: &str| line.contains("answered") && line.contains(&id);
        assert!(text.lines().any(known), "{id} is not in the log");
    }
    assert!(text.contains("panicked"), "{text}");
    for secret in ["sesame", "Basic", "Bearer"] {
        assert!(!text.contains(secret), "{text}");
    }
}
