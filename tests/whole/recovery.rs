//! What always holds (MBWS.md §7.2), each invariant a test of its name: over real sockets, through real kills.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::script::{Frame, Script};
use crate::server::Server;
use crate::wait;

const HOUR: &str = "expiry:3600\n";

#[test]
fn i1_a_confirmed_send_is_delivered_after_any_kills() {
    let mut server = Server::start();
    let mut random = StdRng::seed_from_u64(1);
    let mut confirmed = BTreeSet::new();
    for round in 0..6 {
        // One session that outlives its socket, one that does not: what is confirmed is as safe in both.
        let mut client = Script::open(&server, if round % 2 == 0 { HOUR } else { "" });
        for number in 1..=300 {
            client.send("orders/eu", &format!("{round}-{number}"));
        }
        client.confirmed_up_to(random.random_range(1..=300));
        server.kill9();
        client.end();
        assert!(client.failed.is_empty(), "{:?}", client.failed);
        confirmed.extend((1..=client.confirmed).map(|number| format!("{round}-{number}")));
        server.run();
    }
    server.crash();
    let got = take_all(&server, "orders/eu");
    let bodies: BTreeSet<String> = got.iter().map(|it| it.body.clone()).collect();
    let lost: Vec<&String> = confirmed.difference(&bodies).collect();
    assert!(lost.is_empty(), "confirmed and lost: {lost:?}");
    assert_eq!(bodies.len(), got.len(), "none is there twice");
}

#[test]
fn i2_an_unconfirmed_send_sent_again_is_stored_once() {
    let mut server = Server::start();
    let mut random = StdRng::seed_from_u64(2);
    let mut client = Script::open(&server, HOUR);
    let all = 2000;
    while client.confirmed < all {
        for number in client.seq + 1..=all.min(client.seq + 600) {
            client.send("orders/eu", &number.to_string());
        }
        let upto = random.random_range(client.confirmed + 1..=client.seq);
        client.confirmed_up_to(upto);
        let before = client.confirmed;
        if random.random_bool(0.5) {
            server.crash();
        }
        client = resume(&server, client);
        assert!(client.confirmed >= before, "what was confirmed stays so");
        // Some that are confirmed are sent again too: replays.
        client.seq = client.confirmed.saturating_sub(10);
    }
    let bodies = bodies(&take_all(&server, "orders/eu"));
    let wanted: Vec<String> = (1..=all).map(|number| number.to_string()).collect();
    assert!(bodies == wanted, "{} instead of {all}", bodies.len());
}

#[test]
fn i3_an_accepted_delivery_is_never_delivered_again() {
    let mut server = Server::start();
    fill(&server, "q", 100);
    let mut client = Script::open(&server, HOUR);
    client.consume("c", "q", "limit:100\n");
    let offsets: Vec<u64> = (0..100).map(|_| client.delivery().offset()).collect();
    let odd: Vec<String> = offsets.iter().step_by(2).map(u64::to_string).collect();
    client.settle("c", &format!("accepted:{}", odd.join(" ")));
    client.all_confirmed();
    server.crash();
    let mut client = resume(&server, client);
    client.credit("c", 100);
    let again = client.bodies(50);
    let even: Vec<String> = (2..=100).step_by(2).map(|it| it.to_string()).collect();
    assert_eq!(again, even);
    client.no_delivery();
    client.close();
    server.crash();
    assert_eq!(bodies(&take_all(&server, "q")), even);
    server.crash();
    assert!(take_all(&server, "q").is_empty());
}

#[test]
fn i4_what_is_held_stays_after_a_break_of_the_socket() {
    check_hold(|_, _| {});
}

#[test]
fn i4_what_is_held_stays_after_a_crash_of_the_broker() {
    check_hold(|server, _| server.crash());
}

/// Five are in hand, something happens, three are held.
fn check_hold(happens: impl Fn(&mut Server, &Script)) {
    let mut server = Server::start();
    fill(&server, "q", 7);
    let mut client = Script::open(&server, HOUR);
    client.consume("c", "q", "limit:5\n");
    let offsets: Vec<u64> = (0..5).map(|_| client.delivery().offset()).collect();
    let [first, second, third, ..] = offsets.as_slice() else {
        panic!("{offsets:?}");
    };
    client.all_confirmed();
    happens(&mut server, &client);
    let mut client = resume(&server, client);
    client.hold("c", &format!("{first}-{third}"));
    // After a crash of the broker only the client knows what it has: others are kept from it once the broker has heard.
    let heard = client.settle("c", "reason:nothing yet");
    assert_eq!(client.outcome(heard), None);
    // Somebody else gets what nobody has in hand, and nothing of this consumer's.
    let mut other = Script::open(&server, "");
    other.consume("c", "q", "limit:1\n");
    other.all_confirmed();
    client.credit("c", 10);
    let again: Vec<Frame> = (0..3).map(|_| client.delivery()).collect();
    let other_has = other.delivery();
    let mut rest = bodies(&again);
    rest.push(other_has.body);
    rest.sort();
    assert_eq!(rest, ["4", "5", "6", "7"]);
    client.no_delivery();
    let settled = client.settle("c", &format!("accepted:{first} {third}\nreleased:{second}"));
    assert_eq!(client.outcome(settled), None);
    let released = client.delivery();
    assert_eq!((released.body.as_str(), released.offset()), ("2", *second));
    assert!(released.number("attempt") > 1);
    let settled = client.settle("c", &format!("accepted:{first}"));
    assert_eq!(client.outcome(settled).as_deref(), Some("no-such-delivery"));
}

#[test]
fn i4_a_settle_of_what_meanwhile_went_to_another_is_accepted_once() {
    let mut server = Server::start();
    fill(&server, "q", 4);
    let mut client = Script::open(&server, HOUR);
    client.consume("c", "q", "limit:4\n");
    client.bodies(4);
    client.all_confirmed();
    server.crash();
    let mut client = resume(&server, client);
    // The client forgets to hold: its credit gives all back, and another takes them.
    let mut other = Script::open(&server, "");
    other.consume("d", "q", "limit:4\n");
    client.credit("c", 0);
    let offsets: Vec<u64> = (0..4).map(|_| other.delivery().offset()).collect();
    let [a, b, c, d] = offsets.as_slice() else {
        panic!("{offsets:?}");
    };
    let mut once = |offset: &u64, other_first: bool| {
        let (mut outcomes, fields) = (Vec::new(), format!("accepted:{offset}"));
        let order = [other_first, !other_first, other_first, !other_first];
        for by_other in order {
            let (script, name) = match by_other {
                true => (&mut other, "d"),
                false => (&mut client, "c"),
            };
            let seq = script.settle(name, &fields);
            outcomes.push(script.outcome(seq));
        }
        let accepted = outcomes.iter().filter(|it| it.is_none()).count();
        assert_eq!(accepted, 1, "{offset}: {outcomes:?}");
        let refused = outcomes.into_iter().flatten();
        assert!(refused.into_iter().all(|code| code == "no-such-delivery"));
    };
    once(a, true);
    once(b, false);
    once(c, true);
    once(d, false);
    server.crash();
    assert!(take_all(&server, "q").is_empty());
}

#[test]
fn i5_an_expired_session_s_deliveries_come_back_ahead_of_newer_ones() {
    let server = Server::start();
    fill(&server, "q", 5);
    fill(&server, "witness", 1);
    let mut client = Script::open(&server, "expiry:1\n");
    client.consume("c", "q", "limit:5\n");
    client.consume("w", "witness", "limit:1\n");
    client.bodies(6);
    client.all_confirmed();
    let session = client.session();
    client.cut();
    let mut sender = Script::open(&server, "");
    for number in 6..=10 {
        sender.send("q", &number.to_string());
    }
    sender.all_confirmed();
    let mut other = Script::open(&server, "");
    other.consume("w", "witness", "limit:1\n");
    other.consume("c", "q", "limit:0\n");
    assert_eq!(other.delivery().body, "1");
    other.credit("c", 10);
    let got: Vec<Frame> = (0..10).map(|_| other.delivery()).collect();
    let wanted: Vec<String> = (1..=10).map(|it| it.to_string()).collect();
    assert_eq!(bodies(&got), wanted);
    let attempts: Vec<u64> = got.iter().map(|it| it.number("attempt")).collect();
    assert!(attempts.iter().take(5).all(|it| *it == 2), "{attempts:?}");
    assert!(attempts.iter().skip(5).all(|it| *it == 1), "{attempts:?}");
    let resumed = Script::open(&server, &format!("session:{session}\nexpiry:1\n"));
    assert_eq!(resumed.opened.text("resumed"), "false");
}

#[test]
fn i5_a_session_that_expired_while_the_broker_was_down_is_released_too() {
    let mut server = Server::start();
    fill(&server, "q", 3);
    let mut client = Script::open(&server, "expiry:1\n");
    client.consume("c", "q", "limit:3\n");
    client.bodies(3);
    client.all_confirmed();
    server.crash();
    let mut other = Script::open(&server, "");
    other.consume("c", "q", "limit:3\n");
    assert_eq!(other.bodies(3), ["1", "2", "3"]);
}

#[test]
fn i6_order_is_kept_for_each_sender_and_queue() {
    let mut server = Server::start();
    let mut random = StdRng::seed_from_u64(6);
    let names = ["a", "b", "c"];
    let mut senders: Vec<Script> = names.iter().map(|_| Script::open(&server, HOUR)).collect();
    for _ in 0..5 {
        for (name, sender) in names.iter().zip(&mut senders) {
            for _ in 0..100 {
                let number = sender.seq + 1;
                let queue = format!("q/{}", number % 2);
                sender.send(&queue, &format!("{name} {number}"));
            }
        }
        for sender in &mut senders {
            let upto = random.random_range(sender.confirmed + 1..=sender.seq);
            sender.confirmed_up_to(upto);
        }
        server.crash();
        let resumed = senders.into_iter().map(|sender| resume(&server, sender));
        senders = resumed.collect();
    }
    let mut total = 0;
    for queue in ["q/0", "q/1"] {
        let mut last: BTreeMap<String, u64> = BTreeMap::new();
        for body in bodies(&take_all(&server, queue)) {
            let (name, number) = body.split_once(' ').expect("a name and a number");
            let number: u64 = number.parse().expect("a number");
            let before = last.insert(name.to_owned(), number).unwrap_or(0);
            assert!(before < number, "{queue}: {body} after {before}");
            total += 1;
        }
    }
    let confirmed: u64 = senders.iter().map(|it| it.confirmed).sum();
    assert_eq!(total, confirmed);
}

/// Breaks the client's socket, if it is not broken yet, and goes on with its session.
fn resume(server: &Server, client: Script) -> Script {
    let fields = client.resume_fields();
    client.cut();
    let client = Script::open(server, &fields);
    assert_eq!(client.opened.text("resumed"), "true");
    client
}

/// Sends the numbers from 1 to `n`.
pub(crate) fn fill(server: &Server, queue: &str, n: u64) {
    let mut client = Script::open(server, "");
    for number in 1..=n {
        client.send(queue, &number.to_string());
    }
    client.all_confirmed();
    client.close();
}

/// Takes all that waits in a queue, and accepts it.
pub(crate) fn take_all(server: &Server, queue: &str) -> Vec<Frame> {
    let mut client = Script::open(server, "");
    client.consume("all", queue, "limit:1000000\n");
    client.all_confirmed();
    // The end of a queue: a message that was sent to it after all others.
    let mut sender = Script::open(server, "");
    sender.send(queue, "the end");
    let mut got = Vec::new();
    loop {
        let delivery = client.delivery();
        let offset = delivery.offset();
        client.settle("all", &format!("accepted:{offset}"));
        if delivery.body == "the end" {
            break;
        }
        got.push(delivery);
    }
    client.all_confirmed();
    client.close();
    got
}

pub(crate) fn bodies(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(|frame| frame.body.clone()).collect()
}

#[test]
fn i7_what_cannot_be_made_durable_is_never_confirmed() {
    if !can_trace() {
        assert!(std::env::var_os("CI").is_none(), "strace must be there");
        eprintln!("skipped: strace is not there, or may not trace");
        return;
    }
    let mut server = Server::start();
    server.terminate();
    // -D: the broker stays our child. The first syncs are those of the start and of a few messages.
    server.wrap(&[
        "strace",
        "-D",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fdatasync",
        "-e",
        FAILING,
    ]);
    server.announce("the log failed");
    server.announce("fdatasync");
    server.run();
    let mut client = Script::open(&server, HOUR);
    let mut sent = 0;
    while sent < 1000 && client.confirmed == sent {
        sent += 1;
        if client
            .try_text(&format!("send\nseq:{sent}\naddress:q\n\n{sent}"))
            .is_err()
        {
            break;
        }
        client.read_for(wait::deadline(), |it| it.confirmed >= sent);
    }
    let end = client.end();
    assert_eq!((end.code.as_str(), end.close), ("internal", 1011));
    assert!(client.confirmed > 0 && client.confirmed < sent, "{sent}");
    let status = server.wait_for_end();
    assert_eq!(status.code(), Some(1), "{}", server.log());
    server.wrap(&[]);
    server.run();
    let again = resume(&server, client);
    assert!(again.confirmed >= sent - 1);
    let numbers: Vec<u64> = bodies(&take_all(&server, "q"))
        .iter()
        .map(|body| body.parse().expect("a number"))
        .collect();
    let wanted: Vec<u64> = (1..=again.confirmed).collect();
    assert_eq!(numbers, wanted, "all that was confirmed, and nothing twice");
}

/// From the twentieth fdatasync on, all fail.
const FAILING: &str = "inject=fdatasync:error=EIO:when=20+";

fn can_trace() -> bool {
    let mut command = crate::process::command("strace");
    command.args(["-qq", "-o", "/dev/null", "true"]);
    matches!(command.status(), Ok(status) if status.success())
}
