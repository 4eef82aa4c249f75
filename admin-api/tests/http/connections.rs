//! How many, how long, and how they end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use restante_admin_api::{BoxFuture, Options, Secure, Secured, serve, serve_secured};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::client::{Client, within};
use crate::fake::{ADMIN, Fake, READER, Server};

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
    let known = format!("GET /api/v1/whoami\n{READER}");
    let mut clients = [server.client().await, server.client().await];
    for client in &mut clients {
        assert_eq!(client.ask(&known).await.status, 200);
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
        assert_eq!(client.ask(&known).await.status, 200, "undisturbed");
    }
    drop(clients);
    within("a free slot", async {
        while server.client().await.try_ask("GET /livez").await != Some(200) {}
    })
    .await;
}

#[tokio::test]
async fn strangers_make_room_and_keep_nobody_out() {
    let server = server(Options {
        connections_max: 4,
        strangers_per_address_max: 2,
        read_timeout: LONG,
        ..Options::default()
    })
    .await;
    let known = format!("GET /api/v1/whoami\n{READER}");
    let mut first = server.client().await;
    assert_eq!(first.ask(&known).await.status, 200);
    let mut strangers = Vec::new();
    for _ in 0..3 {
        let mut stranger = server.client().await;
        assert_eq!(stranger.ask("GET /livez").await.status, 200);
        strangers.push(stranger);
    }
    // From the same address, behind more of them than there is room for.
    let mut second = server.client().await;
    assert_eq!(second.ask(&known).await.status, 200);
    for gone in &mut strangers[..2] {
        assert_eq!(gone.rest().await, "", "the oldest are closed");
    }
    for stays in [&mut first, &mut second] {
        assert_eq!(stays.ask(&known).await.status, 200);
    }
    assert_eq!(strangers[2].ask("GET /livez").await.status, 200);
}

#[tokio::test]
async fn who_takes_nothing_is_cut_off_long_before_its_time() {
    let server = server(Options {
        write_timeout: SHORT,
        connection_age_max: LONG,
        read_timeout: LONG,
        ..Options::default()
    })
    .await;
    let mut client = server.client().await;
    within("the cut", client.send_until_refused("GET /readyz?verbose")).await;
}

#[tokio::test]
async fn answers_that_nobody_takes_are_no_more_than_the_budget() {
    let server = server(Options {
        answer_bytes_max: 1,
        write_timeout: LONG,
        connection_age_max: LONG,
        read_timeout: LONG,
        ..Options::default()
    })
    .await;
    let large = "GET /api/v1/openapi.json";
    let mut idle = server.client().await;
    let unread = format!("{large} HTTP/1.1\r\nhost: test\r\n\r\n").repeat(200);
    idle.send_raw(&unread).await;
    let mut other = server.client().await;
    within("a refusal", async {
        loop {
            let answer = other.ask(large).await;
            if answer.status == 503 {
                assert_eq!(answer.code(), "busy");
                assert_eq!(answer.header("retry-after"), "1");
                return;
            }
        }
    })
    .await;
    assert_eq!(other.ask("GET /livez").await.status, 200, "small ones go");
    drop(idle);
    within("room again", async {
        while other.ask(large).await.status != 200 {}
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
    let known = format!("GET /api/v1/whoami\n{READER}");
    for (here, there) in [(0, 1), (1, 0)] {
        let mut client = Client::connect(addresses[here]).await;
        within("the slot", async {
            while client.try_ask(&known).await != Some(200) {
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

#[tokio::test]
async fn no_more_changes_at_once_than_there_is_room_for() {
    const ROOM: usize = 64;
    let fake = Fake::gated();
    let server = Server::start(
        &fake,
        Options {
            read_timeout: Duration::from_millis(300),
            ..Options::default()
        },
    )
    .await;
    let put = |n: usize| format!("PUT /api/v1/roles/r{n}\n{ADMIN}\n\n{{}}");
    let mut clients = Vec::new();
    for n in 0..ROOM {
        let mut client = server.client().await;
        client.send(&put(n)).await;
        within("the gate", fake.at_gate.acquire())
            .await
            .unwrap()
            .forget();
        clients.push(client);
    }
    let mut late = server.client().await;
    let answer = late.ask(&put(ROOM)).await;
    assert_eq!((answer.status, &*answer.code()), (503, "busy"));
    assert_eq!(answer.header("retry-after"), "1");
    fake.gate.add_permits(ROOM + 1);
    for mut client in clients {
        assert_eq!(client.answer().await.status, 201);
    }
    let mut late = server.client().await;
    assert_eq!(late.ask(&put(ROOM)).await.status, 201);
}

#[tokio::test]
async fn a_change_that_does_not_end_is_507_and_goes_on() {
    let fake = Fake::gated();
    let options = Options {
        change_timeout: SHORT,
        ..Options::default()
    };
    let server = Server::start(&fake, options).await;
    let mut client = server.client().await;
    let answer = client
        .ask(&format!("PUT /api/v1/roles/late\n{ADMIN}\n\n{{}}"))
        .await;
    assert_eq!((answer.status, &*answer.code()), (507, "unsettled"));
    assert!(fake.take_audited().is_empty(), "nothing is known yet");
    fake.gate.add_permits(10);
    server.shutdown.send_replace(true);
    server.ended().await;
    let entry = fake.take_audited().remove(0);
    assert_eq!(
        (&*entry.result, &*entry.target),
        ("done", "/api/v1/roles/late")
    );
}

/// What every client has shown.
struct Shown(&'static [u8]);

impl Secure for Shown {
    fn secure(
        &self,
        stream: TcpStream,
        _: SocketAddr,
        _: Duration,
    ) -> BoxFuture<'_, Option<Secured>> {
        Box::pin(async {
            Some(Secured {
                tls: true,
                stream: Box::new(stream),
                certificate: Some(self.0.into()),
            })
        })
    }
}

#[tokio::test]
async fn a_certificate_is_enough_and_a_header_counts_before_it() {
    for (shown, headers, name) in [
        (&b"of alice"[..], "x-none: 1", Some("alice")),
        (b"of alice", ADMIN, Some("admin")),
        (b"of alice", "authorization: Basic wrong", None),
        (b"of mallory", "x-none: 1", None),
        (b"of mallory", ADMIN, Some("admin")),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let secure: Arc<dyn Secure> = Arc::new(Shown(shown));
        let (shutdown, ended) = watch::channel(false);
        let listeners = vec![(listener, secure)];
        let options = Options::default();
        let task = tokio::spawn(serve_secured(listeners, Fake::new(), options, ended));
        let mut client = Client::connect(address).await;
        let answer = client.ask(&format!("GET /api/v1/whoami\n{headers}")).await;
        assert_eq!(answer.status, if name.is_some() { 200 } else { 401 });
        let found = answer.json()["name"].as_str().map(str::to_owned);
        assert_eq!(found.as_deref(), name, "{headers}");
        let always_tls = answer.header("strict-transport-security");
        assert_eq!(always_tls, "max-age=31536000", "the connection says tls");
        shutdown.send_replace(true);
        within("the end of the server", task).await.unwrap();
    }
}
