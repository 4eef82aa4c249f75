//! What all answers have in common.

use restante_admin_api::{Code, Options};

use crate::fake::{Fake, READER, Server, ask};

#[tokio::test]
async fn a_problem_has_all_its_members() {
    let answer = ask(&Fake::new(), "GET /readyz?x=1").await;
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:restante:problem:invalid-parameter");
    assert_eq!(problem["title"], "Invalid query parameter");
    assert_eq!(problem["status"], Code::InvalidParameter.status());
    assert_eq!(problem["code"], Code::InvalidParameter.as_str());
    assert_eq!(problem["detail"], "`x` is not a parameter of this path");
    assert_eq!(problem["request_id"], answer.header("x-request-id"));
}

#[tokio::test]
async fn every_answer_has_the_common_headers_and_none_for_other_origins() {
    for request in [
        "GET /livez",
        "HEAD /livez",
        "GET /no",
        "GET /metrics",
        "POST /livez",
        "GET /livez?x",
    ] {
        let answer = ask(
            &Fake::new(),
            &format!("{request}\nOrigin: http://elsewhere"),
        )
        .await;
        assert_eq!(
            answer.header("x-content-type-options"),
            "nosniff",
            "{request}"
        );
        assert_eq!(answer.header("cache-control"), "no-store", "{request}");
        let id = answer.header("x-request-id");
        assert_eq!(
            (id.len(), &id[14..15]),
            (36, "7"),
            "{request}: a UUID, version 7"
        );
        let cors = answer
            .headers
            .iter()
            .any(|line| line.starts_with("access-control"));
        assert!(!cors, "{request}: {answer:?}");
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let fake = Fake::with_queues(&[("default", "orders")]);
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    for path in [
        "/livez",
        "/readyz?verbose",
        "/metrics",
        "/api/v1/queues",
        "/no",
        "/livez?x",
    ] {
        // On one connection: a body behind HEAD would be taken for the next answer.
        let head = client.ask(&format!("HEAD {path}\n{READER}")).await;
        let get = client.ask(&format!("GET {path}\n{READER}")).await;
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-type", "content-length", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path}");
        }
    }
}
