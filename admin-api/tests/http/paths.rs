//! Paths that try to be others.

use restante_admin_api::Options;

use crate::fake::{ADMIN, Fake, Server};

#[tokio::test]
async fn no_path_is_taken_for_another() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let before = fake.state().clone();
    for (path, status) in [
        // What is no path at all.
        ("//api/v1/roles/shop", 404),
        ("/api//v1/roles/shop", 404),
        ("/api/v1//roles/shop", 404),
        ("/api/v1/roles//shop", 404),
        ("/api/v1/roles/", 404),
        ("/api/v1/roles/shop/", 404),
        ("/api/v1/./roles/shop", 404),
        ("/api/v1/realms/../roles/shop", 404),
        ("/api/v1/realms/x/../../roles/shop", 404),
        ("/api/v1/roles/shop;v=1", 200),
        ("/API/v1/roles/shop", 404),
        ("/api/v1/Roles/shop", 404),
        ("/api/v1/%72oles/shop", 404),
        ("/api/v1%2Froles%2Fshop", 404),
        ("/api/v1/roles\\shop", 404),
        ("/api/v1/roles/shop:rotate", 404),
        ("/api/v1/roles/sh:op", 404),
        // Names that nothing has.
        ("/api/v1/roles/.", 400),
        ("/api/v1/roles/..", 400),
        ("/api/v1/roles/%2e%2e", 400),
        ("/api/v1/roles/%2E", 400),
        ("/api/v1/roles/%00", 400),
        ("/api/v1/roles/shop%00", 400),
        ("/api/v1/roles/shop%0d%0aX-Evil:%20", 404),
        ("/api/v1/roles/shop%0d%0a", 400),
        ("/api/v1/roles/%ff", 400),
        ("/api/v1/roles/%", 400),
        ("/api/v1/roles/%c0%af", 400),
        // Names that only look like tricks.
        ("/api/v1/roles/..%2F..%2Fusers", 200),
        ("/api/v1/roles/%252e%252e", 200),
        ("/api/v1/roles/a%20b", 200),
        ("/api/v1/roles/a+b", 200),
        ("http://elsewhere/api/v1/roles/shop", 200),
    ] {
        let request = format!("PUT {path}?dry_run\n{ADMIN}\n\n{{}}");
        let answer = server.client().await.ask(&request).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        if status == 400 {
            assert_eq!(answer.code(), "invalid-path", "{path}");
        }
    }
    assert_eq!(*fake.state(), before);
}

#[tokio::test]
async fn a_name_is_unescaped_once() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    for (written, name) in [
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("a+b", "a+b"),
        ("a%3Apause", "a:pause"),
        ("%E2%82%AC", "€"),
        ("..%2Fx", "../x"),
    ] {
        let request = format!("PUT /api/v1/roles/{written}\n{ADMIN}\n\n{{}}");
        let answer = server.client().await.ask(&request).await;
        assert_eq!(
            (answer.status, &answer.json()["name"]),
            (201, &name.into()),
            "{written}"
        );
    }
}

#[tokio::test]
async fn a_name_that_is_not_escaped_is_told_how() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    for (request, hint) in [
        ("GET /api/v1/realms/default/queues/orders/eu", true),
        ("GET /api/v1/realms/default/queues/orders:eu", true),
        ("POST /api/v1/realms/default/queues/orders/eu:pause", true),
        ("GET /api/v1/roles/a/b", true),
        ("GET /api/v1/rolls/a", false),
        ("GET /api/v2/roles/a/b", false),
        ("GET /api/docs/a/b", false),
    ] {
        let answer = client.ask(&format!("{request}\n{ADMIN}")).await;
        assert_eq!((answer.status, &*answer.code()), (404, "not-found"));
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        let hints = detail.contains("%2F") && detail.contains("%3A");
        assert_eq!(hints, hint, "{request}: {detail}");
    }
}

#[tokio::test]
async fn a_path_without_credentials_tells_nothing() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    for path in [
        "/api/v1/roles/shop",
        "/api/v1/roles/none",
        "/api/v1/nope",
        "/api/v1/roles/%00",
        "/api/v1/queues?nope=1",
        "/api",
        "/api/v9/x",
    ] {
        for method in ["GET", "PUT", "DELETE", "PATCH"] {
            let answer = server.client().await.ask(&format!("{method} {path}")).await;
            assert_eq!(answer.status, 401, "{method} {path}: {answer:?}");
        }
    }
}
