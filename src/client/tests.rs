//! The client against a broker that does what a script says.

mod fake;

use std::time::Duration;

use restante_proto::mbws::{Code, Confirm, Credit, ErrorFrame, Frame, Hold, MessageFields, Settle};
use tokio_tungstenite::tungstenite::http::StatusCode;

use super::*;
use crate::tls::tests::authority::{Authority, Folder};
use crate::tls::{Certificates, Gate};
use fake::{Fake, opened, ranges, soon};

fn message(n: u64) -> Outgoing {
    Outgoing::text("q", n.to_string())
}

/// The sends numbered so, as the fake sees them.
fn sends(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, String)> {
    let each = numbers.into_iter();
    each.map(|n| (n, n.to_string())).collect()
}

async fn confirmed(client: &Client, ticket: u64) {
    let mut progress = client.progress();
    let reached = progress.wait_for(|now| now.confirmed.number() >= ticket);
    drop(soon(reached).await.unwrap());
}

fn consume_named(name: &str) -> ConsumeOptions {
    let mut options = ConsumeOptions::new("q");
    options.name = Some(name.into());
    options.window = 8;
    options
}

#[tokio::test]
async fn a_resume_resends_exactly_what_is_unconfirmed() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    let last = client.send_batch((1..=5).map(message).collect()).await;
    assert_eq!(last.unwrap().number(), 5);
    assert_eq!(peer.recv_sends(5).await, sends(1..=5));
    peer.confirm(2).await;
    confirmed(&client, 2).await;
    drop(peer);

    let mut peer = fake.welcome(true, 3).await;
    peer.confirm(3).await;
    assert_eq!(peer.recv_sends(2).await, sends(4..=5));
    client.send(message(6)).await.unwrap();
    assert_eq!(peer.recv_sends(1).await, sends([6]));
    peer.confirm(6).await;
    soon(client.all_confirmed()).await.unwrap();
    assert!(client.take_failures().is_empty());
}

#[tokio::test]
async fn what_a_resume_confirms_waits_for_its_failures() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    client.send(message(1)).await.unwrap();
    client.send(message(2)).await.unwrap();
    peer.recv_sends(2).await;
    drop(peer);
    let mut peer = fake.welcome(true, 2).await;
    let failed = vec![(2, Code::NoRoute)];
    peer.send(Frame::Confirm(Confirm { upto: 2, failed })).await;
    soon(client.all_confirmed()).await.unwrap();
    let failure = Failure {
        ticket: Ticket(2),
        code: Code::NoRoute,
    };
    assert_eq!(client.take_failures(), [failure]);
}

#[tokio::test]
async fn failures_of_an_earlier_process_are_told_once_by_their_seq() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect_to(fake.options(), true, 7).await;
    let failed = vec![(3, Code::Denied)];
    peer.send(Frame::Confirm(Confirm { upto: 7, failed })).await;
    assert_eq!(client.send(message(8)).await.unwrap().number(), 8);
    assert_eq!(peer.recv_sends(1).await, sends([8]));
    let failed = vec![(3, Code::Denied)];
    peer.send(Frame::Confirm(Confirm { upto: 8, failed })).await;
    confirmed(&client, 8).await;
    let failures = client.take_failures();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].ticket.number(), 3);
    assert_eq!(client.progress().borrow().failed, 1);
}

#[tokio::test]
async fn a_refused_send_is_told_and_the_session_goes_on() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    let script = async {
        peer.recv_sends(1).await;
        let failed = vec![(1, Code::Full)];
        peer.send(Frame::Confirm(Confirm { upto: 1, failed })).await;
        peer.recv_sends(1).await;
        peer.confirm(2).await;
    };
    let asks = async {
        let refused = client.send_confirmed(message(1)).await;
        assert!(matches!(refused, Err(ClientError::Refused(Code::Full))));
        client.send_confirmed(message(2)).await.unwrap();
    };
    soon(async { tokio::join!(script, asks) }).await;
    assert_eq!(client.progress().borrow().failed, 1);
    assert!(client.take_failures().is_empty(), "its caller knows");
}

#[tokio::test]
async fn sends_past_the_window_wait_for_a_confirm() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    assert_eq!(client.window(), 8, "the broker grants less than asked for");
    let batch = client.send_batch((1..=9).map(message).collect());
    let script = async {
        assert_eq!(peer.recv_sends(8).await, sends(1..=8));
        assert_eq!(client.last_ticket().number(), 8);
        peer.confirm(1).await;
        assert_eq!(peer.recv_sends(1).await, sends([9]));
    };
    let (last, ()) = soon(async { tokio::join!(batch, script) }).await;
    assert_eq!(last.unwrap().number(), 9);
}

#[tokio::test]
async fn hold_lists_what_is_in_hand() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    let (consumer, ()) = soon(async {
        tokio::join!(client.consume(consume_named("c")), async {
            let Frame::Consume(consume) = peer.recv().await else {
                panic!("a consume")
            };
            assert_eq!((consume.seq, consume.limit), (1, Some(8)));
            peer.confirm(1).await;
        })
    })
    .await;
    let mut consumer = consumer.unwrap();
    peer.deliver("c", 0..6).await;
    let mut taken = Vec::new();
    while taken.len() < 6 {
        taken.extend(soon(consumer.next_batch(4)).await.unwrap());
    }
    // 0 and 1: settled and confirmed by the resume; 2: settled, not applied; 3, 4, 5: in hand.
    consumer.accept([0, 1]);
    assert_eq!(peer.recv().await, credit(10), "two are done");
    assert_eq!(peer.recv().await, accepted(2, [0, 1]));
    consumer.accept([2]);
    assert_eq!(peer.recv().await, accepted(3, [2]));
    client.send(message(4)).await.unwrap();
    assert_eq!(peer.recv_sends(1).await, sends([4]));
    drop(peer);

    let mut peer = fake.welcome(true, 2).await;
    let hold = Frame::Hold(Hold {
        consumer: "c".into(),
        offsets: ranges(2..=5),
    });
    assert_eq!(peer.recv().await, hold);
    assert_eq!(peer.recv().await, accepted(3, [2]));
    assert_eq!(peer.recv_sends(1).await, sends([4]));
    assert_eq!(peer.recv().await, credit(5), "three of eight are open");
    peer.confirm(4).await;
    soon(consumer.all_settled()).await.unwrap();
    assert!(consumer.unconfirmed().is_empty());

    // What comes again though it is held is not handed over again.
    peer.deliver("c", [3, 6]).await;
    assert_eq!(soon(consumer.next()).await.unwrap().offset, 6);
}

fn accepted(seq: u64, offsets: impl IntoIterator<Item = u64>) -> Frame {
    Frame::Settle(Settle {
        seq,
        consumer: "c".into(),
        accepted: ranges(offsets),
        ..Settle::default()
    })
}

fn credit(limit: u64) -> Frame {
    Frame::Credit(Credit {
        consumer: "c".into(),
        limit,
    })
}

#[tokio::test]
async fn a_new_process_goes_on_with_what_it_had_processed() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect_to(fake.options(), true, 9).await;
    let mut options = consume_named("c");
    options.existing = true;
    options.processed = ranges([4, 5]);
    let consumer = soon(client.consume(options)).await.unwrap();
    let hold = Frame::Hold(Hold {
        consumer: "c".into(),
        offsets: ranges([4, 5]),
    });
    assert_eq!(peer.recv().await, hold);
    assert_eq!(peer.recv().await, credit(8));
    assert_eq!(peer.recv().await, accepted(10, [4, 5]));
    assert_eq!(consumer.unconfirmed(), ranges([4, 5]));
    peer.confirm(10).await;
    soon(consumer.all_settled()).await.unwrap();
    assert!(consumer.unconfirmed().is_empty());
}

#[tokio::test]
async fn a_lost_session_is_told_or_begun_anew() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    client.send(message(1)).await.unwrap();
    peer.recv_sends(1).await;
    drop(peer);
    let _peer = fake.welcome(false, 0).await;
    let lost = soon(client.all_confirmed()).await;
    assert!(matches!(
        lost,
        Err(ClientError::SessionLost { unconfirmed: 1 })
    ));
    let refused = client.send(message(2)).await;
    assert!(matches!(refused, Err(ClientError::SessionLost { .. })));

    let mut options = fake.options();
    options.at_least_once = true;
    let (client, mut peer) = fake.connect(options).await;
    let (consumer, ()) = soon(async {
        tokio::join!(client.consume(consume_named("c")), async {
            peer.recv().await;
            peer.confirm(1).await;
        })
    })
    .await;
    let mut consumer = consumer.unwrap();
    peer.deliver("c", [7, 8]).await;
    while soon(consumer.next()).await.unwrap().offset != 8 {}
    consumer.accept([7]);
    peer.recv().await;
    client.send(message(1)).await.unwrap();
    peer.recv_sends(1).await;
    drop(peer);

    let mut peer = fake.welcome(false, 0).await;
    let Frame::Consume(consume) = peer.recv().await else {
        panic!("the consumer begins again")
    };
    assert_eq!((consume.seq, consume.limit), (1, Some(8)));
    assert_eq!(peer.recv_sends(1).await, [(2, "1".to_owned())]);
    peer.deliver("c", [7, 8]).await;
    assert_eq!(soon(consumer.next()).await.unwrap().offset, 8);
    assert_eq!(peer.recv().await, accepted(3, [7]));
    peer.confirm(3).await;
    soon(client.all_confirmed()).await.unwrap();
}

#[tokio::test]
async fn an_idle_client_may_lose_its_session() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    client.send(message(1)).await.unwrap();
    peer.recv_sends(1).await;
    peer.confirm(1).await;
    confirmed(&client, 1).await;
    drop(peer);
    let mut peer = fake.welcome(false, 0).await;
    assert_eq!(client.send(message(2)).await.unwrap().number(), 2);
    assert_eq!(peer.recv_sends(1).await, [(1, "2".to_owned())]);
    peer.confirm(1).await;
    confirmed(&client, 2).await;
}

#[tokio::test]
async fn a_broker_that_forgot_is_found_out() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    client.send(message(1)).await.unwrap();
    peer.recv_sends(1).await;
    peer.confirm(1).await;
    confirmed(&client, 1).await;
    drop(peer);
    let _peer = fake.welcome(true, 0).await;
    let ended = soon(client.ended()).await;
    assert!(matches!(ended, Err(ClientError::Forgotten { .. })));
}

#[tokio::test]
async fn close_waits_for_every_confirm() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    client.send(message(1)).await.unwrap();
    let script = async move {
        peer.recv_sends(1).await;
        peer.confirm(1).await;
        assert!(matches!(peer.recv().await, Frame::Close(_)));
        assert!(peer.try_recv().await.is_none());
    };
    let (closed, ()) = soon(async { tokio::join!(client.close(), script) }).await;
    closed.unwrap();
}

#[tokio::test]
async fn the_last_handle_takes_the_socket_with_it() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    drop(client.clone());
    drop(client);
    assert!(
        peer.try_recv().await.is_none(),
        "no close frame: the session stays"
    );
}

#[tokio::test]
async fn wrong_credentials_are_not_tried_again() {
    let fake = Fake::start().await;
    let mut options = fake.options();
    options.connect_timeout = Some(Duration::from_secs(3600));
    let refuse = fake.refuse(StatusCode::UNAUTHORIZED);
    let (outcome, ()) = soon(async { tokio::join!(Client::connect(options), refuse) }).await;
    let refused = matches!(outcome, Err(ClientError::Unauthorized { status: 401, .. }));
    assert!(refused);
}

#[tokio::test]
async fn a_broker_that_is_busy_is_tried_again() {
    let fake = Fake::start().await;
    let mut options = fake.options();
    options.connect_timeout = Some(Duration::from_secs(3600));
    let script = async {
        fake.refuse(StatusCode::SERVICE_UNAVAILABLE).await;
        fake.welcome(false, 0).await
    };
    let (client, _peer) = soon(async { tokio::join!(Client::connect(options), script) }).await;
    client.unwrap();
}

#[tokio::test]
async fn a_fatal_error_ends_the_client_and_a_shutdown_does_not() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    peer.send(error(Code::ShuttingDown)).await;
    let mut peer = fake.welcome(true, 0).await;
    peer.send(error(Code::TakenOver)).await;
    let ended = soon(client.ended()).await;
    let code = Code::TakenOver;
    assert!(matches!(ended, Err(ClientError::Fatal { code: c, .. }) if c == code));
}

fn error(code: Code) -> Frame {
    let reason = String::new();
    Frame::Error(ErrorFrame { code, reason })
}

#[tokio::test]
async fn a_reply_finds_its_request() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    let script = async {
        assert!(matches!(peer.recv().await, Frame::Consume(_)));
        peer.confirm(1).await;
        let Frame::Send(send) = peer.recv().await else {
            panic!("the request")
        };
        assert_eq!(send.fields.reply_to.as_deref(), Some("~replies"));
        peer.confirm(2).await;
        peer.send(Frame::Deliver(Box::new(Deliver {
            consumer: "~replies".into(),
            offset: 5,
            attempt: 1,
            fields: MessageFields {
                correlation_id: send.fields.correlation_id.clone(),
                ..MessageFields::default()
            },
            ..Deliver::default()
        })))
        .await;
        peer
    };
    let patience = Duration::from_secs(20);
    let asked = client.request(message(1), patience);
    let (reply, _peer) = soon(async { tokio::join!(asked, script) }).await;
    assert_eq!(reply.unwrap().offset, 5);
}

#[tokio::test]
async fn a_text_client_sends_text() {
    let fake = Fake::start().await;
    let mut options = fake.options();
    options.binding = Binding::Text;
    let (client, mut peer) = fake.connect(options).await;
    client.send(message(1)).await.unwrap();
    assert_eq!(peer.recv_sends(1).await, sends([1]));
}

#[tokio::test]
async fn a_message_that_is_too_big_is_not_sent() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    let big = Outgoing::bytes("q", vec![0; 2 << 20]);
    let refused = client.send(big).await;
    assert!(matches!(refused, Err(ClientError::TooBig { .. })));
    client.send(message(1)).await.unwrap();
    assert_eq!(peer.recv_sends(1).await, sends([1]));
}

#[tokio::test]
async fn a_second_opened_is_a_broken_broker() {
    let fake = Fake::start().await;
    let (client, mut peer) = fake.connect(fake.options()).await;
    peer.send(opened(false, 0)).await;
    let ended = soon(client.ended()).await;
    assert!(matches!(ended, Err(ClientError::Protocol(_))));
}

#[tokio::test]
async fn tls_files_that_cannot_be_used_are_told_before_anything_is_tried() {
    let mut options = ClientOptions::new("wss://127.0.0.1:1/mbws");
    options.connect_timeout = Some(Duration::from_secs(3600));
    options.tls.ca = Some("/nowhere/ca.pem".into());
    let failed = soon(Client::connect(options)).await.err();
    assert!(matches!(failed, Some(ClientError::Tls(_))), "{failed:?}");
}

#[tokio::test]
async fn a_session_goes_on_over_tls_as_without() {
    let folder = Folder::new(&Authority::new("ca"));
    let certificates = Certificates::load(&folder.tls()).unwrap();
    let fake = Fake::behind(Gate::new(certificates, false)).await;
    let mut options = fake.options();
    options.tls = folder.client();
    let (client, mut peer) = fake.connect(options).await;
    client.send(message(1)).await.unwrap();
    assert_eq!(peer.recv_sends(1).await, sends([1]));
    drop(peer);
    let mut peer = fake.welcome(true, 0).await;
    assert_eq!(peer.recv_sends(1).await, sends([1]));
    peer.confirm(1).await;
    confirmed(&client, 1).await;
}
