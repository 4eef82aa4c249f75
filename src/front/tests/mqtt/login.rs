//! Who is let in, and into which realm.

use bytes::Bytes;
use restante_proto::mqtt::{Auth, AuthProperties, Connect, Packet, ReasonCode, Secret};

use super::super::server::{Server, settings};
use super::client::{BOTH, Client, Over, connect, connect_of, text};
use crate::access::SCRAM_SHA_256;
use crate::access::scram::tests as scram;
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
    // Nor does a token, which is believed whatever the name is, let anybody into another realm than it names.
    let client = Client::new(&server, Over::Tcp).await;
    let reason = ReasonCode::BadUserNameOrPassword;
    check_refused(client, connect_of("nowhere:whoever", "rst_bob"), reason).await;
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

/// A client that shows `user` and `password` by SCRAM, up to its last message; what it is to be told then.
async fn prove(client: &mut Client, user: &str, password: &str) -> Bytes {
    let by = scram::Client::new(user, password);
    let mut connect = connect();
    connect.properties.authentication_method = Some(text(SCRAM_SHA_256));
    connect.properties.authentication_data = Some(Secret(by.first().into()));
    client.send(Packet::Connect(Box::new(connect))).await;
    answer(client, &by).await
}

async fn prove_again(client: &mut Client, user: &str, password: &str) -> Bytes {
    let by = scram::Client::new(user, password);
    client
        .send(auth(ReasonCode::Reauthenticate, by.first()))
        .await;
    answer(client, &by).await
}

async fn answer(client: &mut Client, by: &scram::Client) -> Bytes {
    let Packet::Auth(challenge) = client.receive().await else {
        panic!("no AUTH came")
    };
    assert_eq!(challenge.reason, ReasonCode::ContinueAuthentication);
    let told = challenge.properties.authentication_data.unwrap();
    let (last, expected) = by.last(std::str::from_utf8(&told.0).unwrap());
    client
        .send(auth(ReasonCode::ContinueAuthentication, last))
        .await;
    expected.into()
}

fn auth(reason: ReasonCode, data: String) -> Packet {
    Packet::Auth(Auth {
        reason,
        properties: AuthProperties {
            authentication_method: Some(text(SCRAM_SHA_256)),
            authentication_data: Some(Secret(data.into())),
            ..AuthProperties::default()
        },
    })
}

#[tokio::test]
async fn a_password_may_be_proved_instead_of_shown() {
    let mut server = Server::start().await;
    for over in BOTH {
        let mut client = Client::new(&server, over).await;
        let expected = prove(&mut client, "ann", "pw").await;
        let wish = server.attached().await.wish;
        assert_eq!(
            [
                &*wish.principal.name,
                &*wish.realm,
                &wish.principal.roles[0]
            ],
            ["ann", "default", "mqtt"]
        );
        let connack = client.expect_connack(ReasonCode::Success).await;
        let told = connack.properties.authentication_data;
        assert_eq!(told, Some(Secret(expected)));
        for (user, password) in [("ann", "no"), ("eve", "pw")] {
            let mut client = Client::new(&server, over).await;
            prove(&mut client, user, password).await;
            client.expect_connack(ReasonCode::NotAuthorized).await;
            client.expect_end(1008).await;
        }
    }
}

/// Of two clients with one id, who asked later has the session, however many steps it took to know them.
#[tokio::test]
async fn who_proves_a_password_has_asked_with_its_connect() {
    let mut server = Server::start().await;
    let mut client = Client::new(&server, Over::Tcp).await;
    let by = scram::Client::new("ann", "pw");
    let mut connect = connect();
    connect.properties.authentication_method = Some(text(SCRAM_SHA_256));
    connect.properties.authentication_data = Some(Secret(by.first().into()));
    client.send(Packet::Connect(Box::new(connect))).await;
    let Packet::Auth(challenge) = client.receive().await else {
        panic!("no AUTH came")
    };
    let challenged = std::time::Instant::now();
    let told = challenge.properties.authentication_data.unwrap();
    let (last, _) = by.last(std::str::from_utf8(&told.0).unwrap());
    client
        .send(auth(ReasonCode::ContinueAuthentication, last))
        .await;
    let wish = server.attached().await.wish;
    assert!(wish.asked < challenged);
}

#[tokio::test]
async fn what_is_no_proof_s_beginning_is_refused_at_once() {
    let server = Server::start().await;
    let long = format!("n,,n=ann,r={}", "x".repeat(5000));
    for (first, code) in [
        ("x", ReasonCode::NotAuthorized),
        ("p=tls-exporter,,n=ann,r=x", ReasonCode::NotAuthorized),
        ("n,,m=x,n=ann,r=x", ReasonCode::NotAuthorized),
        ("n,,n=often,r=x", ReasonCode::ConnectionRateExceeded),
        (&long, ReasonCode::NotAuthorized),
    ] {
        let mut connect = connect();
        connect.properties.authentication_method = Some(text(SCRAM_SHA_256));
        connect.properties.authentication_data = Some(Secret(first.to_owned().into()));
        let packet = Packet::Connect(Box::new(connect));
        check_refused(Client::new(&server, Over::Tcp).await, packet, code).await;
    }
}

#[tokio::test]
async fn a_proof_s_name_may_begin_with_a_realm_over_tcp() {
    let mut server = Server::start().await;
    for (over, user, granted) in [
        (Over::Tcp, "shop 1:ann", Some("shop 1")),
        (Over::Tcp, "default:ann", Some("default")),
        (Over::Tcp, "nowhere:ann", None),
        (Over::WebSocket, "shop 1:ann", None),
    ] {
        let mut client = Client::new(&server, over).await;
        prove(&mut client, user, "pw").await;
        let Some(realm) = granted else {
            client.expect_connack(ReasonCode::NotAuthorized).await;
            continue;
        };
        let inner = server.attached().await;
        let principal = &inner.wish.principal;
        assert_eq!([&*principal.name, &*inner.wish.realm], ["ann", realm]);
        client.expect_connack(ReasonCode::Success).await;
        // Once more, with the realm in front or not.
        for again in [user, "ann"] {
            let expected = prove_again(&mut client, again, "pw").await;
            let done = auth(ReasonCode::Success, String::new());
            let Packet::Auth(mut told) = client.receive().await else {
                panic!("no AUTH came")
            };
            let data = told
                .properties
                .authentication_data
                .replace(Secret::default());
            assert_eq!(data, Some(Secret(expected)));
            assert_eq!(Packet::Auth(told), done);
        }
        prove_again(&mut client, "other:ann", "pw").await;
        client
            .expect_disconnect(ReasonCode::NotAuthorized, 1008)
            .await;
    }
}

#[tokio::test]
async fn who_has_authenticated_stays_who_they_are() {
    let mut server = Server::start().await;
    for over in BOTH {
        for (user, password) in [("bob", "pw"), ("ann", "no")] {
            let mut client = Client::new(&server, over).await;
            prove(&mut client, "ann", "pw").await;
            let _inner = server.attached().await;
            client.expect_connack(ReasonCode::Success).await;
            prove_again(&mut client, user, password).await;
            client
                .expect_disconnect(ReasonCode::NotAuthorized, 1008)
                .await;
        }
    }
}

#[tokio::test]
async fn the_upgrade_and_a_proof_must_name_the_same() {
    let mut server = Server::start().await;
    for (user, granted) in [("ann", true), ("bob", false)] {
        let stream = server.connect().await.into();
        let mut client = Client::upgraded(&server, stream, "/mqtt", &[ANN]).await;
        prove(&mut client, user, "pw").await;
        if granted {
            let _inner = server.attached().await;
            client.expect_connack(ReasonCode::Success).await;
        } else {
            client.expect_connack(ReasonCode::NotAuthorized).await;
        }
    }
}
