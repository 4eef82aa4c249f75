//! Bodies that are not what they should be. None changes anything, none panics, each is told what is wrong.

use std::time::Duration;

use restante_admin_api::Options;
use serde_json::Value;

use crate::fake::{ADMIN, Fake, Server};

const ROUTE: &str = "PUT /api/v1/realms/default/routes/new";

#[tokio::test]
async fn a_bad_body_is_refused_and_pointed_at() {
    let deep = format!("{{\"filter\": {}1{}}}", "[".repeat(500), "]".repeat(500));
    let table: &[(&str, u16, &str, Option<&str>)] = &[
        ("", 400, "malformed-body", None),
        ("{", 400, "malformed-body", None),
        ("{\"filter\": \"a\"} x", 400, "malformed-body", None),
        ("filter=a", 400, "malformed-body", None),
        (&deep, 400, "malformed-body", None),
        (
            r#"{"filter": "a", "filter": "b"}"#,
            400,
            "malformed-body",
            None,
        ),
        ("[]", 422, "invalid-body", Some("")),
        ("null", 422, "invalid-body", Some("")),
        ("\"a\"", 422, "invalid-body", Some("")),
        ("{}", 422, "invalid-body", Some("")),
        (r#"{"filter": 7}"#, 422, "invalid-body", Some("/filter")),
        (
            r#"{"filter": "a", "filtr": "b"}"#,
            422,
            "invalid-body",
            Some("/filtr"),
        ),
        (
            r#"{"filter": "a", "order": 1e99}"#,
            422,
            "invalid-body",
            Some("/order"),
        ),
        (
            r#"{"filter": "a", "to": [{"adress": "b"}]}"#,
            422,
            "invalid-body",
            Some("/to/0/adress"),
        ),
        (
            r#"{"filter": "a", "__proto__": {}}"#,
            422,
            "invalid-body",
            Some("/__proto__"),
        ),
        (
            r#"{"filter": "a", "a/b": {}}"#,
            422,
            "invalid-body",
            Some("/a~1b"),
        ),
    ];
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    let before = fake.state().clone();
    for (body, status, code, pointer) in table {
        let answer = client.ask(&format!("{ROUTE}\n{ADMIN}\n\n{body}")).await;
        let head: String = body.chars().take(60).collect();
        assert_eq!(
            (answer.status, &*answer.code()),
            (*status, *code),
            "{head}: {answer:?}"
        );
        let at = answer.json()["errors"][0]["pointer"].clone();
        assert_eq!(
            at,
            pointer.map_or(Value::Null, Value::from),
            "{head}: {answer:?}"
        );
    }
    assert_eq!(*fake.state(), before);
}

#[tokio::test]
async fn only_json_is_a_body() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin1",
        "application/yaml",
    ] {
        let request = format!("{ROUTE}\n{ADMIN}\ncontent-type: {kind}\n\n{{\"filter\": \"a\"}}");
        let answer = server.client().await.ask(&request).await;
        assert_eq!(
            (answer.status, &*answer.code()),
            (415, "unsupported-media-type"),
            "{kind}"
        );
    }
    let mut client = server.client().await;
    client
        .send(&format!("{ROUTE}\n{ADMIN}\ncontent-length: 15"))
        .await;
    client.send_raw("{\"filter\": \"a\"}").await;
    assert_eq!(client.answer().await.status, 415, "no type at all");
}

#[tokio::test]
async fn a_huge_body_is_cut_while_it_is_read() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let before = fake.state().clone();
    let request =
        format!("{ROUTE}\n{ADMIN}\ncontent-type: application/json\ncontent-length: 1048577");
    let answer = server.client().await.ask(&request).await;
    assert_eq!((answer.status, &*answer.code()), (413, "body-too-large"));
    let mut client = server.client().await;
    let head =
        format!("{ROUTE}\n{ADMIN}\ncontent-type: application/json\ntransfer-encoding: chunked");
    client.send(&head).await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    client.send_raw(&chunk.repeat(17)).await;
    assert_eq!(client.answer().await.status, 413);
    client.rest().await;
    assert_eq!(*fake.state(), before);
}

#[tokio::test]
async fn a_body_in_drips_has_one_deadline() {
    let fake = Fake::furnished();
    let options = Options {
        read_timeout: Duration::from_millis(100),
        ..Options::default()
    };
    let server = Server::start(&fake, options).await;
    let mut client = server.client().await;
    client
        .send(&format!(
            "{ROUTE}\n{ADMIN}\ncontent-type: application/json\ncontent-length: 1000000"
        ))
        .await;
    // As often as it takes: each drip comes in time, all of them do not.
    let drips = client.drip_until_answered(b" ").await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, &*answer.code()),
        (408, "request-timeout"),
        "{drips}"
    );
}

#[tokio::test]
async fn bad_names_are_refused_by_whoever_knows_names() {
    use restante_admin_api::{ControlError, Invalid};
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    fake.failing(Some(ControlError::Invalid(vec![
        Invalid {
            pointer: "/to/0/address".into(),
            detail: "is no address".into(),
        },
        Invalid {
            pointer: String::new(),
            detail: "`#` is not at the end".into(),
        },
    ])));
    let answer = server
        .client()
        .await
        .ask(&format!("{ROUTE}\n{ADMIN}\n\n{{\"filter\": \"a\"}}"))
        .await;
    assert_eq!((answer.status, &*answer.code()), (422, "invalid-body"));
    let errors = answer.json()["errors"].clone();
    assert_eq!(errors[0]["pointer"], "/to/0/address");
    assert_eq!(errors[1]["detail"], "`#` is not at the end");
}
