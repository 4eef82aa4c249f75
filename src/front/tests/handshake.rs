//! What may become a connection, and what is answered to the rest.

use super::server::Server;
use restante_proto::mbws::Frame;

/// The sample of RFC 6455 §1.3, with our subprotocol.
const GOOD: &str = "GET /mbws HTTP/1.1\r\nHost: broker.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: MBWS.huawei.com\r\n\r\n";

/// The good request with `from` replaced.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replace(from, to)
}

/// The good request with another header.
fn with_header(line: &str) -> String {
    with("Host:", &format!("{line}\r\nHost:"))
}

async fn check(request: &str, status: &str, expected: &[&str]) {
    let server = Server::start().await;
    let answer = server.request(request).await;
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status}")),
        "{request}\n{answer}"
    );
    for text in expected {
        assert!(answer.contains(text), "{text} is not in\n{answer}");
    }
}

#[tokio::test]
async fn an_upgrade_is_answered_with_the_key_and_the_subprotocol() {
    let expected = [
        "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "sec-websocket-protocol: MBWS.huawei.com",
        "upgrade: websocket",
    ];
    check(GOOD, "101", &expected).await;
    check(
        &with("Upgrade\r\n", "keep-alive, upgrade\r\n"),
        "101",
        &expected,
    )
    .await;
    check(&with("MBWS", "mqtt, MBWS"), "101", &expected).await;
    check(
        &with("MBWS", "mqtt\r\nSec-WebSocket-Protocol: MBWS"),
        "101",
        &expected,
    )
    .await;
}

#[tokio::test]
async fn no_extension_is_ever_agreed_on() {
    let server = Server::start().await;
    let offer = with_header("Sec-WebSocket-Extensions: permessage-deflate");
    let answer = server.request(&offer).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(
        !answer.to_ascii_lowercase().contains("extensions"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_is_not_an_upgrade_is_told_what_would_be() {
    let upgrade = ["upgrade: websocket", "WebSocket"];
    check(&with("Upgrade: websocket\r\n", ""), "426", &upgrade).await;
    check(&with("Connection: Upgrade\r\n", ""), "426", &upgrade).await;
    check(&with("Upgrade: websocket", "Upgrade: h2c"), "426", &upgrade).await;
    check(&with("GET", "POST"), "426", &upgrade).await;
    check("GET /mbws HTTP/1.1\r\nHost: h\r\n\r\n", "426", &upgrade).await;
}

#[tokio::test]
async fn only_version_13_with_a_proper_key_is_taken() {
    let version = ["sec-websocket-version: 13"];
    check(&with("Version: 13", "Version: 8"), "426", &version).await;
    check(&with("Sec-WebSocket-Version: 13\r\n", ""), "426", &version).await;
    let key = ["Sec-WebSocket-Key"];
    check(&with("dGhlIHNhbXBsZSBub25jZQ==", "dGhl"), "400", &key).await;
    check(&with("dGhlIHNhbXBsZSBub25jZQ==", "not base64"), "400", &key).await;
    check(
        &with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
        "400",
        &key,
    )
    .await;
    check(
        &with_header("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
        "400",
        &key,
    )
    .await;
}

#[tokio::test]
async fn the_subprotocol_must_be_offered_as_it_is_registered() {
    let expected = ["Offer", "MBWS.huawei.com"];
    check(
        &with("MBWS.huawei.com", "MBLWS.huawei.com"),
        "400",
        &["MBLWS.huawei.com is not spoken", expected[0]],
    )
    .await;
    check(
        &with("MBWS.huawei.com", "mbws.huawei.com"),
        "400",
        &expected[1..],
    )
    .await;
    check(&with("MBWS.huawei.com", "mqtt"), "400", &expected[1..]).await;
    check(
        &with("Sec-WebSocket-Protocol: MBWS.huawei.com\r\n", ""),
        "400",
        &expected[1..],
    )
    .await;
    check(&with("MBWS", "MBLWS.huawei.com, MBWS"), "101", &[]).await;
}

#[tokio::test]
async fn pages_of_other_origins_may_not_connect() {
    check(
        &with_header("Origin: https://evil.example"),
        "403",
        &["mbws.origins"],
    )
    .await;
    check(&with_header("Origin: null"), "403", &[]).await;
    check(
        &with_header("Origin: https://console.example\r\nOrigin: https://evil.example"),
        "403",
        &[],
    )
    .await;
    check(&with_header("Origin: https://console.example"), "101", &[]).await;
    check(&with_header("Origin: http://broker.example"), "101", &[]).await;
}

#[tokio::test]
async fn a_path_names_a_realm_that_there_is() {
    check(&with("/mbws ", "/mbws/default "), "101", &[]).await;
    check(&with("/mbws ", "/mbws/shop%201?x=y "), "101", &[]).await;
    check(&with("/mbws ", "/mbws/other "), "404", &["No such realm"]).await;
    for path in [
        "/",
        "/mbws/",
        "/mbwsx",
        "/mbws/a/b",
        "/mbws/%zz",
        "/mbws/%+1",
        "/mbws/%4",
        "/mbws/%ff",
    ] {
        let paths = ["/mbws/REALM"];
        check(&with("/mbws ", &format!("{path} ")), "404", &paths).await;
    }
}

#[tokio::test]
async fn wrong_credentials_are_refused_on_the_upgrade() {
    let challenge = [r#"www-authenticate: Basic realm="restante""#];
    check(&with_header("Authorization: Basic eDp5"), "401", &challenge).await;
    check(
        &with_header("Authorization: Bearer often"),
        "429",
        &["retry-after"],
    )
    .await;
    check(
        &with_header("Authorization: Bearer busy"),
        "503",
        &["retry-after"],
    )
    .await;
    check(&with_header("Authorization: Basic YW5uOnB3"), "101", &[]).await;
}

#[tokio::test]
async fn wrong_credentials_do_not_learn_which_realms_there_are() {
    let request = with_header("Authorization: Basic eDp5");
    check(&request.replace("/mbws ", "/mbws/other "), "401", &[]).await;
}

#[tokio::test]
async fn what_is_no_http_is_answered_with_400_at_most() {
    check("\u{1}\u{2}\r\n\r\n", "400", &[]).await;
    check(
        &with_header(&format!("X: {}", "x".repeat(20_000))),
        "431",
        &[],
    )
    .await;
}

#[tokio::test]
async fn credentials_of_the_upgrade_are_enough() {
    let mut server = Server::start().await;
    let mut client = server.upgrade(&[("Authorization", "Basic YW5uOnB3")]).await;
    client.send("open\nversion:1\nname:till\n\n").await;
    let inner = server.attached().await;
    assert_eq!(&*inner.wish.principal.name, "ann");
    assert_eq!(&*inner.wish.principal.roles, ["mbws"]);
    assert_eq!(&*inner.wish.realm, "default");
    assert_eq!(inner.wish.name.as_deref(), Some("till"));
    assert!(matches!(client.receive().await, Frame::Opened(_)));
}

#[tokio::test]
async fn credentials_of_open_are_enough() {
    let mut server = Server::start().await;
    let (_client, inner) = server.attach().await;
    assert_eq!(&*inner.wish.principal.name, "ann");
    assert_eq!(&*inner.wish.principal.roles, ["mbws"]);
}

#[tokio::test]
async fn there_must_be_credentials_of_one_principal() {
    let ann = ("Authorization", "Basic YW5uOnB3");
    for (headers, fields, believed) in [
        (&[][..], "", false),
        (&[][..], "user:ann\npassword:wrong\n", false),
        (&[][..], "token:ann\n", false),
        (&[ann][..], "user:bob\npassword:pw\n", false),
        (&[ann][..], "user:ann\npassword:wrong\n", false),
        (&[ann][..], "user:ann\npassword:pw\n", true),
    ] {
        let server = Server::start().await;
        let mut client = server.upgrade(headers).await;
        client.send(&format!("open\nversion:1\n{fields}\n")).await;
        if believed {
            assert!(matches!(client.receive().await, Frame::Opened(_)));
        } else {
            client.expect_fatal("unauthorized", 4401).await;
        }
    }
}
