//! `Idempotency-Key`: asked again, done once.

use restante_admin_api::{ControlError, Options};

use crate::client::Answer;
use crate::fake::{ADMIN, Fake, Server};

const TOKENS: &str = "POST /api/v1/tokens";
const OTHER: &str = "authorization: Basic other";

fn create(admin: &str, key: &str, label: &str) -> String {
    format!("{TOKENS}\n{admin}\nidempotency-key: {key}\n\n{{\"label\": \"{label}\"}}")
}

fn is_replay(answer: &Answer) -> bool {
    answer.has("idempotency-replayed")
}

#[tokio::test]
async fn the_same_request_is_done_once() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    let first = client.ask(&create(ADMIN, "k1", "a")).await;
    assert_eq!((first.status, is_replay(&first)), (201, false));
    let again = client.ask(&create(ADMIN, "k1", "a")).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.header("etag"), first.header("etag"));
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    assert_eq!(fake.state().issued, 1);
    let other = client.ask(&create(OTHER, "k1", "a")).await;
    assert_eq!(
        (other.status, is_replay(&other)),
        (201, false),
        "keys are each caller's own"
    );
    let mismatch = client.ask(&create(ADMIN, "k1", "b")).await;
    assert_eq!(
        (mismatch.status, &*mismatch.code()),
        (422, "idempotency-mismatch")
    );
    let elsewhere = format!(
        "POST /api/v1/tokens/t1:rotate\n{ADMIN}\nidempotency-key: k1\n\n{{\"label\": \"a\"}}"
    );
    assert_eq!(client.ask(&elsewhere).await.status, 422);
    assert_eq!(fake.state().issued, 2);
    let second = client.ask(&create(ADMIN, "k2", "a")).await;
    assert_ne!(second.body, first.body);
    let results: Vec<_> = fake
        .take_audited()
        .into_iter()
        .map(|it| (it.result, it.detail))
        .collect();
    assert!(results[1].1.contains("again"), "{results:?}");
}

#[tokio::test]
async fn while_the_first_is_under_way_the_second_waits_outside() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    fake.gate
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let mut first = server.client().await;
    first.send(&create(ADMIN, "k", "a")).await;
    fake.at_gate.acquire().await.unwrap().forget();
    let mut second = server.client().await;
    let answer = second.ask(&create(ADMIN, "k", "a")).await;
    assert_eq!(
        (answer.status, &*answer.code()),
        (409, "idempotency-in-progress")
    );
    let answer = second.ask(&create(ADMIN, "k", "b")).await;
    assert_eq!(
        (answer.status, &*answer.code()),
        (422, "idempotency-mismatch")
    );
    fake.gate.add_permits(10);
    let first = first.answer().await;
    let second = second.ask(&create(ADMIN, "k", "a")).await;
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.body, second.body);
    assert_eq!(fake.state().issued, 1);
}

#[tokio::test]
async fn an_answer_that_was_lost_is_there_for_whoever_asks_again() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    fake.gate
        .forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let mut first = server.client().await;
    first.send(&create(ADMIN, "k", "a")).await;
    fake.at_gate.acquire().await.unwrap().forget();
    drop(first);
    fake.gate.add_permits(10);
    let mut second = server.client().await;
    let answer = loop {
        let answer = second.ask(&create(ADMIN, "k", "a")).await;
        if answer.status != 409 {
            break answer;
        }
    };
    assert_eq!((answer.status, is_replay(&answer)), (201, true));
    assert_eq!(fake.state().issued, 1);
}

#[tokio::test]
async fn what_failed_or_was_dry_is_not_kept() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    for error in [ControlError::Internal, ControlError::Conflict("x".into())] {
        fake.failing(Some(error));
        assert!(client.ask(&create(ADMIN, "k", "a")).await.status >= 400);
    }
    fake.failing(None);
    let dry = create(ADMIN, "k", "a").replace("/tokens\n", "/tokens?dry_run\n");
    assert_eq!(client.ask(&dry).await.status, 200);
    assert_eq!(fake.state().issued, 0);
    let made = client.ask(&create(ADMIN, "k", "a")).await;
    assert_eq!((made.status, is_replay(&made)), (201, false));
}

#[tokio::test]
async fn a_key_is_read_or_refused() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let long = "x".repeat(129);
    for key in ["", "a b", &long, "a\u{e9}", "a\nidempotency-key: b"] {
        let answer = server.client().await.ask(&create(ADMIN, key, "a")).await;
        assert_eq!(
            (answer.status, &*answer.code()),
            (400, "invalid-header"),
            "{key}"
        );
    }
    assert_eq!(fake.state().issued, 0);
}

#[tokio::test]
async fn who_has_a_name_later_does_not_get_the_earlier_ones_answers() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    let first = client.ask(&create(ADMIN, "k1", "a")).await;
    assert_eq!(first.status, 201);
    fake.generation
        .store(2, std::sync::atomic::Ordering::Relaxed);
    let second = client.ask(&create(ADMIN, "k1", "a")).await;
    assert_eq!((second.status, is_replay(&second)), (201, false));
    assert_ne!(second.body, first.body);
}

/// Whoever is not told whether it was done must not do it twice by asking again.
#[tokio::test]
async fn a_key_whose_outcome_is_unknown_is_kept() {
    let fake = Fake::furnished();
    let server = Server::start(&fake, Options::default()).await;
    let mut client = server.client().await;
    for (error, status, code) in [
        (ControlError::Unsettled, 507, "unsettled"),
        (ControlError::ShuttingDown, 503, "shutting-down"),
    ] {
        fake.failing(Some(error));
        let first = client.ask(&create(ADMIN, code, "a")).await;
        assert_eq!((first.status, &*first.code()), (status, code));
        fake.failing(None);
        let again = client.ask(&create(ADMIN, code, "a")).await;
        assert_eq!((again.status, &*again.code()), (status, code));
        assert!(is_replay(&again), "{code}");
    }
    assert_eq!(fake.state().issued, 0);
    fake.failing(Some(ControlError::Full("of tokens".to_owned())));
    assert_eq!(client.ask(&create(ADMIN, "f", "a")).await.status, 507);
    fake.failing(None);
    let again = client.ask(&create(ADMIN, "f", "a")).await;
    assert_eq!((again.status, is_replay(&again)), (201, false));
}
