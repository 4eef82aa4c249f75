//! How many, how long, and how they end.

use std::time::Duration;

use restante_admin_api::{Options, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::client::{Client, within};
use crate::fake::{Fake, READER, Server};

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_hours(1);

async fn server(options: Options) -> Server {
    Server::start(&Fake::new(), options).await
}

#[tokio::test]
async fn a_silent_client_is_cut_off() {
    let server = server(Options {
        read_timeout: SHORT,
        ..Options::default()
    })
    .await;
    for begun in ["", "GE", "GET /livez HTTP/1.1\r\nhost: te"] {
        let mut client = server.client().await;
        client.send_raw(begun).await;
        let rest = client.rest().await;
        assert!(!rest.contains("200"), "after {begun:?}: {rest}");
    }
    let mut client = server.client().await;
    assert_eq!(client.ask("GET /livez").await.status, 200);
    assert_eq!(client.rest().await, "", "idle between two requests");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let server = server(Options {
        read_timeout: SHORT,
        ..Options::default()
    })
    .await;
    let mut client = server.client().await;
    let answer = client.ask("GET /livez\nContent-Length: 5").await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (408, &"request-timeout".into())
    );
    client.rest().await;
}

#[tokio::test]
async fn a_body_is_read_up_to_the_limit_and_the_next_request_is_behind_it() {
    let server = server(Options {
        body_bytes_max: 10,
        ..Options::default()
    })
    .await;
    let mut client = server.client().await;
    client.send("GET /livez\nContent-Length: 10").await;
    client.send_raw("0123456789").await;
    assert_eq!(client.answer().await.status, 200);
    client.send("GET /livez\nTransfer-Encoding: chunked").await;
    client
        .send_raw("5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 200);
    client.send("GET /livez\nTransfer-Encoding: chunked").await;
    client.send_raw("5\r\n01234\r\n6\r\n56789a\r\n").await;
    assert_eq!(client.answer().await.status, 413);
    client.rest().await;
}

#[tokio::test]
async fn no_more_clients_than_slots() {
    let server = server(Options {
        connections_max: 2,
        read_timeout: LONG,
        ..Options::default()
    })
    .await;
    let mut clients = [server.client().await, server.client().await];
    for client in &mut clients {
        assert_eq!(client.ask("GET /livez").await.status, 200);
    }
    let mut third = server.client().await;
    let answer = third.answer().await;
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &"busy".into())
    );
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(third.rest().await, "");
    for client in &mut clients {
        assert_eq!(client.ask("GET /livez").await.status, 200, "undisturbed");
    }
    drop(clients);
    within("a free slot", async {
        while server.client().await.try_ask("GET /livez").await != Some(200) {}
    })
    .await;
}

#[tokio::test]
async fn an_old_connection_ends_between_two_requests() {
    let server = server(Options {
        connection_age_max: SHORT,
        ..Options::default()
    })
    .await;
    let mut client = server.client().await;
    client.ask("GET /livez").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let options = Options {
        connection_age_max: SHORT,
        drain_deadline: SHORT,
        ..Options::default()
    };
    let server = server(options).await;
    let mut client = server.client().await;
    // Requests until the answers fill all buffers and the server takes no more; then it resets the connection.
    within("the cut", client.send_until_refused("GET /readyz?verbose")).await;
}

#[tokio::test]
async fn an_answer_under_way_survives_the_shutdown() {
    let fake = Fake::gated();
    let server = Server::start(&fake, Options::default()).await;
    let mut idle = server.client().await;
    idle.ask("GET /livez").await;
    let mut client = server.client().await;
    client.send(&format!("GET /api/v1/queues\n{READER}")).await;
    within("the broker", fake.at_gate.acquire())
        .await
        .unwrap()
        .forget();
    server.shutdown.send_replace(true);
    assert_eq!(idle.rest().await, "", "idle ones end at once");
    within("a closed listener", async {
        while TcpStream::connect(server.address).await.is_ok() {}
    })
    .await;
    assert!(!server.task.is_finished());
    fake.gate.add_permits(1);
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.rest().await, "");
    server.ended().await;
}

#[tokio::test]
async fn a_shutdown_has_a_deadline() {
    let fake = Fake::gated();
    let server = Server::start(
        &fake,
        Options {
            drain_deadline: SHORT,
            ..Options::default()
        },
    )
    .await;
    let mut client = server.client().await;
    client.send(&format!("GET /api/v1/queues\n{READER}")).await;
    within("the broker", fake.at_gate.acquire())
        .await
        .unwrap()
        .forget();
    server.shutdown.send_replace(true);
    assert_eq!(client.rest().await, "");
    server.ended().await;
}

#[tokio::test]
async fn the_end_of_whoever_could_shut_down_is_a_shutdown() {
    let Server {
        address,
        shutdown,
        task,
    } = server(Options::default()).await;
    let mut client = Client::connect(address).await;
    client.ask("GET /livez").await;
    drop(shutdown);
    assert_eq!(client.rest().await, "");
    within("the end of the server", task).await.unwrap();
}

#[tokio::test]
async fn dropping_the_server_cuts_its_connections() {
    let fake = Fake::gated();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    client.send(&format!("GET /api/v1/queues\n{READER}")).await;
    within("the broker", fake.at_gate.acquire())
        .await
        .unwrap()
        .forget();
    server.task.abort();
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn all_listeners_serve_and_share_the_slots() {
    let mut listeners = Vec::new();
    for _ in 0..2 {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let addresses: Vec<_> = listeners
        .iter()
        .map(|one| one.local_addr().unwrap())
        .collect();
    let options = Options {
        connections_max: 1,
        ..Options::default()
    };
    let (shutdown, ended) = watch::channel(false);
    let task = tokio::spawn(serve(listeners, Fake::new(), options, ended));
    for (here, there) in [(0, 1), (1, 0)] {
        let mut client = Client::connect(addresses[here]).await;
        within("the slot", async {
            while client.try_ask("GET /livez").await != Some(200) {
                client = Client::connect(addresses[here]).await;
            }
        })
        .await;
        assert_eq!(
            Client::connect(addresses[there])
                .await
                .answer()
                .await
                .status,
            503
        );
    }
    shutdown.send_replace(true);
    within("the end of the server", task).await.unwrap();
}
