//! What all answers have in common.

use restante_admin_api::{Code, Options};

use crate::fake::{ADMIN, Fake, READER, Server, ask};

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

/// A browser that has been told a name and a password once shows them by itself, whatever page makes it ask.
#[tokio::test]
async fn a_page_cannot_use_what_its_visitors_browser_remembers() {
    let fake = Fake::with_queues(&[("default", "orders")]);
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    let purge = "POST /api/v1/realms/default/queues/orders:purge";
    let form = "content-type: application/x-www-form-urlencoded";
    for (page, status) in [
        ("origin: https://evil.example", 403),
        ("origin: null", 403),
        ("sec-fetch-site: cross-site", 403),
        ("sec-fetch-site: same-site", 403),
        // What `curl --user` sends, and a person who goes there.
        ("accept: */*", 200),
        ("sec-fetch-site: none", 200),
    ] {
        let answer = client
            .ask(&format!("{purge}\n{ADMIN}\n{form}\n{page}"))
            .await;
        assert_eq!(answer.status, status, "{page}: {answer:?}");
        let entry = fake.take_audited().remove(0);
        let result = if status == 200 { "done" } else { "denied" };
        assert_eq!(entry.result, result, "{page}");
    }
    let of_a_page = "origin: https://console.example";
    let bearer = "authorization: Bearer operate";
    let answer = client.ask(&format!("{purge}\n{bearer}\n{of_a_page}")).await;
    assert_eq!(answer.status, 200, "a page that has a token of its own");
    for (headers, prompted) in [
        ("accept: */*", true),
        ("sec-fetch-mode: navigate\nsec-fetch-site: none", true),
        (
            "sec-fetch-mode: navigate\nsec-fetch-site: cross-site",
            false,
        ),
        ("sec-fetch-mode: cors\nsec-fetch-site: same-origin", false),
        (of_a_page, false),
    ] {
        for wrong in ["x-none: 1", "authorization: Bearer wrong"] {
            let answer = client
                .ask(&format!("GET /api/v1/overview\n{wrong}\n{headers}"))
                .await;
            assert_eq!(answer.status, 401, "{headers}");
            let offered = |scheme: &str| {
                let mut lines = answer.headers.iter();
                lines.any(|line| line.starts_with(&format!("www-authenticate: {scheme} ")))
            };
            assert_eq!(
                (offered("Basic"), offered("Bearer")),
                (prompted, true),
                "{headers}"
            );
        }
    }
}
