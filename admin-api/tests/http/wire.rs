//! Requests whose end two readers might see in different places. What hyper does with each is pinned here: refused, or the
//! connection ends, and never does a second request come out of a body.

use restante_admin_api::Options;

use crate::fake::{ADMIN, Fake, Server};

/// What comes back for raw bytes, to the end of the connection.
async fn raw(text: &str) -> (String, bool) {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let before = fake.state().clone();
    let mut client = server.client().await;
    client.send_raw(text).await;
    client.finish_sending().await;
    let answers = client.rest().await;
    let changed = *fake.state() != before;
    (answers, changed)
}

const HIDDEN: &str =
    "DELETE /api/v1/roles/shop HTTP/1.1\r\nhost: x\r\nauthorization: Basic admin\r\n\r\n";

fn statuses(answers: &str) -> Vec<&str> {
    answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|rest| rest.get(..3).unwrap())
        .collect()
}

#[tokio::test]
async fn a_request_has_one_end() {
    let head = format!(
        "PUT /api/v1/roles/new?dry_run HTTP/1.1\r\nhost: x\r\n{ADMIN}\r\ncontent-type: application/json\r\n"
    );
    let both =
        format!("{head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}");
    let turned =
        format!("{head}transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n{HIDDEN}");
    let two = format!("{head}content-length: 2\r\ncontent-length: 4\r\n\r\n{{}}  {HIDDEN}");
    let list = format!("{head}content-length: 2, 4\r\n\r\n{{}}  {HIDDEN}");
    let plus = format!("{head}content-length: +2\r\n\r\n{{}}{HIDDEN}");
    let minus = format!("{head}content-length: -2\r\n\r\n{{}}{HIDDEN}");
    let hex = format!("{head}content-length: 0x2\r\n\r\n{{}}{HIDDEN}");
    let folded = format!("{head}x-folded: a\r\n b\r\ncontent-length: 2\r\n\r\n{{}}");
    let hidden_te =
        format!("{head}transfer-encoding: identity\r\ncontent-length: 2\r\n\r\n{{}}{HIDDEN}");
    let odd_te = format!("{head}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{HIDDEN}");
    let spaced = format!("{head}content-length : 2\r\n\r\n{{}}{HIDDEN}");
    let nul = format!("{head}x-nul: a\0b\r\ncontent-length: 2\r\n\r\n{{}}");
    let bare_cr = format!("{head}x-cr: a\rb\r\ncontent-length: 2\r\n\r\n{{}}");
    let bad_chunk = format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n\r\n{HIDDEN}");
    let huge_chunk =
        format!("{head}transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n\r\n{HIDDEN}");
    for (what, text, refused) in [
        ("length and chunked", &both, &["400"][..]),
        ("chunked and length", &turned, &["400"]),
        ("two lengths", &two, &["400"]),
        ("a list of lengths", &list, &["400"]),
        ("a signed length", &plus, &["400"]),
        ("a negative length", &minus, &["400"]),
        ("a length in hex", &hex, &["400"]),
        ("a folded header", &folded, &["400"]),
        ("another coding", &hidden_te, &["400"]),
        ("chunked, but not last", &odd_te, &["400"]),
        ("a space before the colon", &spaced, &["400"]),
        ("NUL in a header", &nul, &["400"]),
        ("CR in a header", &bare_cr, &["400"]),
        ("a chunk of no size", &bad_chunk, &["400"]),
        ("a chunk of any size", &huge_chunk, &["400"]),
    ] {
        let (answers, changed) = raw(text).await;
        assert!(!changed, "{what}: the hidden request was done: {answers}");
        assert_eq!(statuses(&answers), refused, "{what}: {answers}");
    }
}

#[tokio::test]
async fn what_is_allowed_is_done_once() {
    let head = format!(
        "PUT /api/v1/roles/new HTTP/1.1\r\nhost: x\r\n{ADMIN}\r\ncontent-type: application/json\r\n"
    );
    for (what, text, expected) in [
        (
            "one request",
            format!("{head}content-length: 2\r\n\r\n{{}}"),
            &["201"][..],
        ),
        (
            // RFC 9110 §8.6 lets a recipient take them for one.
            "the same length twice",
            format!("{head}content-length: 2\r\ncontent-length: 2\r\n\r\n{{}}"),
            &["201"],
        ),
        (
            "chunked",
            format!("{head}transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            &["201"],
        ),
        (
            "bare line feeds",
            format!("{head}content-length: 2\r\n\r\n{{}}").replace("\r\n", "\n"),
            &["201"],
        ),
        (
            "two in a row",
            format!("{head}content-length: 2\r\n\r\n{{}}{head}content-length: 2\r\n\r\n{{}}"),
            &["201", "200"],
        ),
    ] {
        let (answers, _) = raw(&text).await;
        assert_eq!(statuses(&answers), expected, "{what}: {answers}");
    }
}

#[tokio::test]
async fn a_request_says_once_for_which_host_it_is() {
    for (hosts, expected) in [
        ("host: a\r\n", "200"),
        ("", "400"),
        ("host: a\r\nhost: a\r\n", "400"),
        ("host: a\r\nhost: b\r\n", "400"),
    ] {
        let (answers, _) = raw(&format!("GET /livez HTTP/1.1\r\n{hosts}\r\n")).await;
        assert_eq!(statuses(&answers), [expected], "{hosts:?}: {answers}");
    }
    let (answers, _) = raw("GET /livez HTTP/1.0\r\n\r\n").await;
    assert!(answers.contains(" 200 "), "1.0 knows no hosts: {answers}");
}

#[tokio::test]
async fn whoever_is_refused_unread_is_told_that_the_connection_ends() {
    let head = "PUT /api/v1/roles/new HTTP/1.1\r\nhost: x\r\n";
    let length = format!("content-length: {}\r\n\r\n{HIDDEN}", HIDDEN.len());
    for (what, text, closes) in [
        ("no credentials", format!("{head}{length}"), true),
        ("not JSON", format!("{head}{ADMIN}\r\n{length}"), true),
        ("no body", format!("{head}\r\n"), false),
    ] {
        let (answers, changed) = raw(&text).await;
        assert!(!changed, "{what}");
        assert_eq!(statuses(&answers).len(), 1, "{what}: {answers}");
        let told = answers.to_lowercase().contains("connection: close");
        assert_eq!(told, closes, "{what}: {answers}");
    }
}
