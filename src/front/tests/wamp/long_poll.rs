//! Long-poll: its requests, who may send them, its times.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;

use super::super::server::Server;
use super::client::{Http, start, with};
use super::echo::Seen;
use crate::front::wamp::ENDED_WITHIN;
use crate::front::{LongPoll, Settings};

// All shorter than a test's patience.
const POLL: Duration = Duration::from_secs(3);
const SESSION: Duration = Duration::from_secs(8);

#[tokio::test]
async fn long_poll_answers_by_the_book() {
    let (server, _sight) = start().await;
    let mut http = Http::connect(&server).await;
    for (body, status) in [
        (&b""[..], 400),
        (b"{", 400),
        (b"[]", 400),
        (b"{}", 400),
        (br#"{"protocols": "wamp.2.json"}"#, 400),
        (br#"{"protocols": []}"#, 400),
        (br#"{"protocols": ["wamp.2.flatbuffers", 1]}"#, 400),
        (br#"{"protocols": ["wamp.2.ubjson.batched"]}"#, 400),
        (br#"{"protocols": [1, "wamp.2.cbor", "wamp.2.json"]}"#, 200),
    ] {
        let answer = http.post("/wamp/lp/open", body).await;
        assert_eq!(answer.status, status, "{:?}", String::from_utf8_lossy(body));
        if status == 200 {
            let told = String::from_utf8(answer.body).unwrap();
            assert!(told.contains(r#""protocol":"wamp.2.cbor""#), "{told}");
        }
    }
    let path = http.open("wamp.2.json").await;
    let id = path.rsplit('/').next().unwrap();
    assert!(id.len() >= 26, "{id} could be guessed");
    for (wish, body, status) in [
        ("send", &b""[..], 400),
        ("send", b"\xff", 400),
        ("send", b"[1]", 204),
        ("receive", b"", 200),
        ("send?x=17", b"[2]", 204),
        ("receive?x=18", b"null", 200),
        ("close", b"", 204),
        ("send", b"[3]", 404),
        ("receive", b"", 404),
        ("close", b"", 404),
    ] {
        // That it is closed is known once its session has ended.
        let answer = loop {
            let answer = http.post(&format!("{path}/{wish}"), body).await;
            if status != 404 || answer.status == 404 {
                break answer;
            }
        };
        assert_eq!(answer.status, status, "{wish}");
        assert_eq!(answer.headers["cache-control"], "no-store");
    }
    for wish in ["send", "receive", "close"] {
        let answer = http.post(&format!("/wamp/lp/nobody/{wish}"), b"[1]").await;
        assert_eq!(answer.status, 404);
    }
    let answer = http.request("GET", "/wamp/lp/open", "", b"").await;
    assert_eq!(
        (answer.status, &*answer.headers["allow"]),
        (405, "POST, OPTIONS")
    );
    let too_long = vec![b' '; 5000];
    assert_eq!(http.post("/wamp/lp/open", &too_long).await.status, 413);
    for path in [
        "/wamp/lp",
        "/wamp/lp/",
        "/wamp/lp/x",
        "/wamp/lp/x/y",
        "/mqtt/lp/open",
    ] {
        let mut http = Http::connect(&server).await;
        let status = http.post(path, b"{}").await.status;
        assert!([404, 426].contains(&status), "{path}: {status}");
    }
}

#[tokio::test]
async fn without_long_poll_there_are_no_such_paths() {
    let (settings, _sight) = with(|it| it.wamp.as_mut().unwrap().long_poll = None);
    let server = Server::with(settings).await;
    let mut http = Http::connect(&server).await;
    assert_eq!(http.post("/wamp/lp/open", b"{}").await.status, 404);
}

#[tokio::test]
async fn many_requests_go_over_one_connection() {
    let (settings, _sight) = with(|_| {});
    for server in [
        Server::with(settings.clone()).await,
        Server::over_tls(settings).await,
    ] {
        let mut http = Http::connect(&server).await;
        let path = http.open("wamp.2.json").await;
        for n in 0..100 {
            let message = format!("[{n}]");
            http.post(&format!("{path}/send"), message.as_bytes()).await;
            let answer = http.post(&format!("{path}/receive"), b"").await;
            assert_eq!(answer.body, message.as_bytes());
        }
        // The last one may say that it is.
        let path = format!("{path}/close");
        let answer = http
            .request("POST", &path, "Connection: close\r\n", b"")
            .await;
        assert_eq!(answer.status, 204);
        http.expect_end().await;
    }
}

#[tokio::test]
async fn a_poll_is_held_until_there_is_a_message() {
    let (server, _sight) = start().await;
    let (mut polls, mut sends) = (Http::connect(&server).await, Http::connect(&server).await);
    let path = polls.open("wamp.2.json").await;
    polls.ask("POST", &format!("{path}/receive"), "", b"").await;
    assert_eq!(
        sends.post(&format!("{path}/send"), b"[1]").await.status,
        204
    );
    let answer = polls.answer().await;
    assert_eq!((answer.status, &*answer.body), (200, &b"[1]"[..]));
    assert!(answer.headers["content-type"].starts_with("application/json"));
    // Each message of a plain protocol has an answer of its own.
    for message in [b"[2]", b"[3]"] {
        sends.post(&format!("{path}/send"), message).await;
    }
    for message in [b"[2]", b"[3]"] {
        let answer = polls.post(&format!("{path}/receive"), b"").await;
        assert_eq!(answer.body, message);
    }
}

#[tokio::test]
async fn of_two_polls_the_older_ends() {
    let (server, _sight) = start().await;
    let (mut older, mut newer) = (Http::connect(&server).await, Http::connect(&server).await);
    let path = older.open("wamp.2.json").await;
    let receive = format!("{path}/receive");
    older.ask("POST", &receive, "", b"").await;
    // Its answer is still out when the other comes, or it comes later: one of them ends empty either way.
    newer.ask("POST", &receive, "", b"").await;
    let first = tokio::select! {
        answer = older.answer() => (answer.status, true),
        answer = newer.answer() => (answer.status, false),
    };
    assert_eq!(first.0, 204);
    let mut http = Http::connect(&server).await;
    http.post(&format!("{path}/send"), b"[1]").await;
    let answer = match first.1 {
        true => newer.answer().await,
        false => older.answer().await,
    };
    assert_eq!(answer.body, b"[1]");
}

fn timed(settings: &mut Settings) {
    settings.wamp.as_mut().unwrap().long_poll = Some(LongPoll {
        poll_within: POLL,
        session_within: SESSION,
    });
}

#[tokio::test(start_paused = true)]
async fn a_poll_without_a_message_ends_empty_at_its_time() {
    let (settings, _sight) = with(timed);
    let server = Server::with(settings).await;
    let mut http = Http::connect(&server).await;
    let path = http.open("wamp.2.json").await;
    // Time enough for the session to end, if polls did not count.
    for _ in 0..5 {
        let began = Instant::now();
        let answer = http.post(&format!("{path}/receive"), b"").await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        let lasted = began.elapsed();
        assert!((POLL..POLL + POLL / 10).contains(&lasted), "{lasted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_request_is_gone_at_its_time() {
    let (settings, mut sight) = with(timed);
    let server = Server::with(settings).await;
    let mut http = Http::connect(&server).await;
    let path = http.open("wamp.2.json").await;
    assert!(matches!(
        sight.next().await,
        Seen::Came("longpoll", "json", _)
    ));
    let began = Instant::now();
    let ended = tokio::time::timeout(2 * SESSION, sight.next()).await;
    assert_eq!(ended, Ok(Seen::Ended("silent")));
    assert!(
        began.elapsed() >= SESSION - SESSION / 10,
        "{:?}",
        began.elapsed()
    );
    let mut http = Http::connect(&server).await;
    assert_eq!(http.post(&format!("{path}/receive"), b"").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_closed_at_its_time() {
    let (mut settings, _sight) = with(timed);
    settings.mbws.open_within = POLL;
    let server = Server::with(settings).await;
    let mut http = Http::connect(&server).await;
    http.open("wamp.2.json").await;
    let began = Instant::now();
    tokio::time::timeout(10 * SESSION, http.expect_end())
        .await
        .unwrap();
    assert!(
        began.elapsed() >= SESSION - SESSION / 10,
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn what_was_said_last_can_be_fetched() {
    let (server, mut sight) = start().await;
    let mut http = Http::connect(&server).await;
    let path = http.open("wamp.2.json").await;
    http.post(&format!("{path}/send"), b"bye").await;
    sight.expect_ended("bye").await;
    let answer = http.post(&format!("{path}/receive"), b"").await;
    assert_eq!((answer.status, &*answer.body), (200, &b"bye"[..]));
    assert_eq!(http.post(&format!("{path}/receive"), b"").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn what_the_router_has_ended_may_be_closed_for_a_while() {
    let (server, mut sight) = start().await;
    let mut http = Http::connect(&server).await;
    let path = http.open("wamp.2.json").await;
    http.post(&format!("{path}/send"), b"bye").await;
    sight.expect_ended("bye").await;
    // Before the client has heard of it, nothing of this waits for anybody.
    for n in 0..10 {
        let late = format!("[{n}]");
        let answer = http.post(&format!("{path}/send"), late.as_bytes()).await;
        assert_eq!(answer.status, 204);
    }
    let answer = http.post(&format!("{path}/receive"), b"").await;
    assert_eq!((answer.status, &*answer.body), (200, &b"bye"[..]));
    for (wish, status) in [
        ("receive", 404),
        ("send", 204),
        ("close", 204),
        ("close", 204),
        ("send", 204),
        ("receive", 404),
    ] {
        let answer = http.post(&format!("{path}/{wish}"), b"[1]").await;
        assert_eq!(answer.status, status, "{wish}");
    }
    tokio::time::advance(ENDED_WITHIN).await;
    let mut http = Http::connect(&server).await;
    for wish in ["send", "close"] {
        let answer = http.post(&format!("{path}/{wish}"), b"[1]").await;
        assert_eq!(answer.status, 404, "{wish}");
    }
}

#[tokio::test]
async fn a_shutdown_lets_clients_fetch_what_was_said_last() {
    let (server, mut sight) = start().await;
    let (mut one, mut other) = (Http::connect(&server).await, Http::connect(&server).await);
    let path = one.open("wamp.2.json").await;
    one.ask("POST", &format!("{path}/receive"), "", b"").await;
    let idle = other.open("wamp.2.json").await;
    assert!(idle.len() > 10);
    server.shut_down();
    sight.expect_ended("bye").await;
    assert_eq!(one.answer().await.status, 404);
    one.expect_end().await;
    other.expect_end().await;
    server.ends().await;
}

#[tokio::test]
async fn pages_may_poll_by_the_same_rule_as_they_connect() {
    let (server, _sight) = start().await;
    for (origin, may) in [
        ("https://console.example", true),
        ("http://broker.example:7300", true),
        ("https://evil.example", false),
        ("null", false),
    ] {
        let line = format!("Origin: {origin}\r\n");
        let body = br#"{"protocols": ["wamp.2.json"]}"#;
        let mut http = Http::connect(&server).await;
        let opened = http.request("POST", "/wamp/lp/open", &line, body).await;
        let mut http = Http::connect(&server).await;
        let asked = http.request("OPTIONS", "/wamp/lp/x/send", &line, b"").await;
        let statuses = (opened.status, asked.status);
        assert_eq!(
            statuses,
            if may { (200, 204) } else { (403, 403) },
            "{origin}"
        );
        for answer in [&opened, &asked] {
            let allowed = answer.headers.get("access-control-allow-origin");
            assert_eq!(allowed.map(String::as_str), may.then_some(origin));
            let credentials = answer.headers.get("access-control-allow-credentials");
            assert_eq!(credentials.map(String::as_str), may.then_some("true"));
        }
        if may {
            let methods = &asked.headers["access-control-allow-methods"];
            assert!(methods.contains("POST"), "{methods}");
            let headers = &asked.headers["access-control-allow-headers"];
            assert!(headers.contains("content-type"), "{headers}");
        }
    }
}

#[tokio::test]
async fn transports_are_counted_as_connections_are() {
    let (settings, _sight) = with(|it| it.unauthenticated_per_address = 3);
    let server = Server::with(settings).await;
    let mut http = Http::connect(&server).await;
    let path = http.open("wamp.2.json").await;
    http.open("wamp.2.json").await;
    let body = br#"{"protocols": ["wamp.2.json"]}"#;
    // The connection is one, and they are two.
    assert_eq!(http.post("/wamp/lp/open", body).await.status, 429);
    // Who is known is none.
    let mut http = Http::connect(&server).await;
    drop(http.post(&format!("{path}/receive"), b"").now_or_never());
    let (settings, _sight) = with(|it| it.connections_max = 2);
    let server = Server::with(settings).await;
    let mut http = Http::connect(&server).await;
    let path = http.open("wamp.2.json").await;
    assert_eq!(http.post("/wamp/lp/open", body).await.status, 503);
    http = Http::connect(&server).await;
    drop((http, path));
}

#[tokio::test]
async fn who_is_known_is_no_newcomer_with_its_connection_either() {
    let (settings, _sight) = with(|it| it.unauthenticated_per_address = 2);
    let server = Server::with(settings).await;
    let mut http = Http::connect(&server).await;
    for _ in 0..3 {
        let path = http.open("wamp.2.json").await;
        http.post(&format!("{path}/send"), b"admit").await;
        let answer = http.post(&format!("{path}/receive"), b"").await;
        assert_eq!(answer.body, b"admit");
    }
    let mut others = [Http::connect(&server).await, Http::connect(&server).await];
    for http in &mut others {
        assert_eq!(http.post("/wamp/lp/open", b"").await.status, 400);
    }
}
