//! Who is let in, and into which realm.

use bytes::Bytes;
use restante_proto::mqtt::{Connect, Packet, ReasonCode, Secret};

use super::super::server::{Server, settings};
use super::client::{BOTH, Client, Over, connect, connect_of, text};
use crate::broker::Protocol;
use crate::config::ClientAuth;
use crate::tls::tests::authority::{Authority, Folder};
use crate::tls::{Certificates, Gate};

const ANN: (&str, &str) = ("Authorization", "Basic YW5uOnB3");

/// The CONNECT is granted, and the broker is told of that principal and realm.
async fn check_granted(server: &mut Server, mut client: Client, connect: Packet, who: [&str; 2]) {
    client.send(connect).await;
    let wish = server.attached().await.wish;
    assert_eq!([&*wish.principal.name, &*wish.realm], who);
    assert_eq!(wish.protocol, Protocol::Mqtt);
    // Whoever looks at credentials knows by which door they came.
    assert_eq!(&*wish.principal.roles, ["mqtt"]);
    assert_eq!(wish.client.as_deref(), Some("till"));
    client.expect_connack(ReasonCode::Success).await;
}

async fn check_refused(mut client: Client, connect: Packet, reason: ReasonCode) {
    client.send(connect).await;
    client.expect_connack(reason).await;
    client.expect_end(1008).await;
}

fn nobody() -> Packet {
    Packet::Connect(Box::new(connect()))
}

fn token(token: &'static str) -> Packet {
    Packet::Connect(Box::new(Connect {
        password: Some(Secret(Bytes::from_static(token.as_bytes()))),
        ..connect()
    }))
}

#[tokio::test]
async fn a_connect_says_who_it_is() {
    let mut server = Server::start().await;
    for over in BOTH {
        for (connect, name) in [
            (connect_of("ann", "pw"), "ann"),
            (connect_of("bob", "pw"), "bob"),
            (token("rst_bob"), "bob"),
            (connect_of("whoever", "rst_bob"), "bob"),
        ] {
            let client = Client::new(&server, over).await;
            check_granted(&mut server, client, connect, [name, "default"]).await;
        }
        for (connect, reason) in [
            (nobody(), ReasonCode::NotAuthorized),
            (connect_of("ann", "no"), ReasonCode::BadUserNameOrPassword),
            (connect_of("eve", "pw"), ReasonCode::BadUserNameOrPassword),
            (token("rst_eve"), ReasonCode::BadUserNameOrPassword),
        ] {
            check_refused(Client::new(&server, over).await, connect, reason).await;
        }
    }
}

#[tokio::test]
async fn the_upgrade_s_credentials_count_where_a_connect_has_none() {
    let mut server = Server::start().await;
    for (connect, granted) in [
        (nobody(), true),
        (connect_of("ann", "pw"), true),
        // One of both would have been believed in vain.
        (connect_of("bob", "pw"), false),
        (connect_of("ann", "no"), false),
    ] {
        let stream = server.connect().await.into();
        let client = Client::upgraded(&server, stream, "/mqtt", &[ANN]).await;
        if granted {
            check_granted(&mut server, client, connect, ["ann", "default"]).await;
        } else {
            check_refused(client, connect, ReasonCode::BadUserNameOrPassword).await;
        }
    }
}

#[tokio::test]
async fn a_certificate_says_who_it_is_where_a_connect_does_not() {
    let (ca, clients) = (Authority::new("ca"), Authority::new("clients"));
    let folder = Folder::new(&ca);
    let tls = folder.tls_with_clients(&clients, ClientAuth::Optional);
    let gate = Gate::new(Certificates::load(&tls).unwrap(), true);
    let mut server = Server::behind(gate, settings()).await;
    let (known, unknown) = (clients.client("press-7"), clients.client("other"));
    for over in BOTH {
        for (connect, name) in [(nobody(), "press-7"), (connect_of("ann", "pw"), "ann")] {
            let stream = server.connect_over_tls(&folder.client_with(&known)).await;
            let client = Client::on(&server, stream, over).await;
            check_granted(&mut server, client, connect, [name, "default"]).await;
        }
        for (certificate, connect, reason) in [
            (
                &known,
                connect_of("ann", "no"),
                ReasonCode::BadUserNameOrPassword,
            ),
            (&unknown, nobody(), ReasonCode::NotAuthorized),
        ] {
            let tls = folder.client_with(certificate);
            let stream = server.connect_over_tls(&tls).await;
            check_refused(Client::on(&server, stream, over).await, connect, reason).await;
        }
    }
}

#[tokio::test]
async fn over_tcp_a_user_name_may_begin_with_a_realm_that_there_is() {
    let mut server = Server::start().await;
    for (user, realm) in [
        ("shop 1:ann", "shop 1"),
        ("default:ann", "default"),
        ("ann", "default"),
    ] {
        let client = Client::new(&server, Over::Tcp).await;
        let connect = connect_of(user, "pw");
        check_granted(&mut server, client, connect, ["ann", realm]).await;
    }
    // Of a realm that there is not, and of none, it is a part of the name.
    for user in ["nowhere:ann", ":ann"] {
        let client = Client::new(&server, Over::Tcp).await;
        let reason = ReasonCode::BadUserNameOrPassword;
        check_refused(client, connect_of(user, "pw"), reason).await;
    }
}

#[tokio::test]
async fn over_websocket_the_path_names_the_realm() {
    let mut server = Server::start().await;
    for (path, realm) in [("/mqtt/shop%201", "shop 1"), ("/ws", "default")] {
        let stream = server.connect().await.into();
        let client = Client::upgraded(&server, stream, path, &[]).await;
        let connect = connect_of("ann", "pw");
        check_granted(&mut server, client, connect, ["ann", realm]).await;
    }
    let client = Client::new(&server, Over::WebSocket).await;
    let reason = ReasonCode::BadUserNameOrPassword;
    check_refused(client, connect_of("shop 1:ann", "pw"), reason).await;
}

#[tokio::test]
async fn a_client_of_3_1_1_is_told_by_its_own_codes() {
    let mut server = Server::start().await;
    let connect = |password: &str| {
        let mut connect = connect();
        connect.version = restante_proto::mqtt::Version::V311;
        connect.user_name = Some(text("ann"));
        connect.password = Some(Secret(Bytes::copy_from_slice(password.as_bytes())));
        super::client::bytes_of(&Packet::Connect(Box::new(connect)))
    };
    for over in BOTH {
        let mut client = Client::new(&server, over).await;
        client.send_bytes(&connect("pw")).await;
        server.attached().await;
        client.expect_bytes(b"\x20\x02\x00\x00").await;
        let mut client = Client::new(&server, over).await;
        client.send_bytes(&connect("no")).await;
        client.expect_bytes(b"\x20\x02\x00\x04").await;
        client.expect_end(1008).await;
    }
}
