//! What the broker offers its clients, feature by feature, over the socket.

use std::collections::BTreeSet;
use std::fs;

use crate::process::{Process, RESTANTE, command};
use crate::recovery::{bodies, fill, take_all};
use crate::script::{End, Frame, Script};
use crate::server::Server;
use crate::wait;

const HOUR: &str = "expiry:3600\n";

fn ended(code: &str, close: u16) -> End {
    End {
        code: code.to_owned(),
        close,
    }
}

#[test]
fn a_session_opened_again_is_taken_over() {
    let server = Server::start();
    fill(&server, "q", 2);
    let mut old = Script::open(&server, HOUR);
    old.consume("c", "q", "limit:1\n");
    let first = old.delivery();
    old.send("sent", "before");
    old.all_confirmed();
    let mut new = Script::open(&server, &old.resume_fields());
    assert_eq!(old.end(), ended("taken-over", 4410));
    assert_eq!(new.opened.text("resumed"), "true");
    assert_eq!(new.confirmed, 2);
    // Replayed, and not stored again.
    new.seq = 1;
    new.send("sent", "before");
    new.hold("c", &first.offset().to_string());
    new.credit("c", 5);
    assert_eq!(new.delivery().body, "2");
    new.no_delivery();
    new.settle("c", &format!("accepted:{}", first.offset()));
    new.all_confirmed();
    assert_eq!(bodies(&take_all(&server, "sent")), ["before"]);
}

#[test]
fn somebody_else_s_session_is_denied() {
    let mut server = Server::prepare(&[]);
    let file = server.file("password");
    std::fs::write(&file, "correct horse\n").expect("a file");
    server.set(
        "RESTANTE_ACCESS_ADMIN_PASSWORD_FILE",
        &file.display().to_string(),
    );
    server.run();
    // The one is the command line's token, the other a user.
    let mine = Script::open(&server, HOUR);
    let fields = mine.resume_fields();
    let mut other = Script::dial(&server, "");
    let user = "user:admin\npassword:correct horse\n";
    other.frame("open", &format!("version:1\n{user}{fields}"), "");
    assert_eq!(other.end(), ended("denied", 4403));
}

#[test]
fn a_session_that_is_not_there_is_no_session_or_a_new_one() {
    let server = Server::start();
    let id = "0192f0c1-7b5e-7cc3-98c4-dc0c0c07398f";
    let headers = format!("authorization: Bearer {}\r\n", server.token());
    let mut client = Script::dial(&server, &headers);
    client.frame("open", &format!("version:1\nsession:{id}\n"), "");
    assert_eq!(client.end(), ended("no-session", 4404));
    let client = Script::open(&server, &format!("session:{id}\nexpiry:60\n"));
    assert_eq!(client.opened.text("resumed"), "false");
    assert_eq!(client.session(), id);
}

#[test]
fn credit_is_absolute() {
    let server = Server::start();
    fill(&server, "q", 10);
    let mut client = Script::open(&server, "");
    client.consume("c", "q", "limit:2\n");
    assert_eq!(client.bodies(2), ["1", "2"]);
    client.credit("c", 2);
    client.credit("c", 1);
    client.no_delivery();
    client.credit("c", 3);
    client.credit("c", 3);
    assert_eq!(client.bodies(1), ["3"]);
    client.no_delivery();
    // Settling is not granting.
    client.settle("c", "accepted:1-1000000");
    client.no_delivery();
    client.credit("c", 5);
    assert_eq!(client.bodies(2), ["4", "5"]);
    client.no_delivery();
}

#[test]
fn credit_and_hold_for_a_consumer_that_is_not_there_are_ignored() {
    let server = Server::start();
    let mut client = Script::open(&server, "");
    client.credit("nobody", 5);
    client.hold("nobody", "1-5");
    client.send("q", "goes on");
    client.all_confirmed();
    assert!(client.deliveries.is_empty());
}

#[test]
fn an_exclusive_consumer_is_alone() {
    let server = Server::start();
    let mut first = Script::open(&server, "");
    first.consume("c", "q", "exclusive:true\n");
    first.all_confirmed();
    let mut second = Script::open(&server, "");
    second.consume("c", "q", "");
    assert_eq!(second.refused(), "in-use");
    second.consume("c", "q", "exclusive:true\n");
    assert_eq!(second.refused(), "in-use");
    first.call("cancel", "consumer:c\n", "");
    first.all_confirmed();
    second.consume("c", "q", "");
    second.all_confirmed();
    first.consume("c", "q", "exclusive:true\n");
    assert_eq!(first.refused(), "in-use");
}

#[test]
fn a_consumer_s_name_is_taken_once() {
    let server = Server::start();
    let mut client = Script::open(&server, "");
    client.consume("c", "q", "");
    client.all_confirmed();
    client.consume("c", "other", "");
    assert_eq!(client.refused(), "in-use");
}

#[test]
fn what_a_cancelled_consumer_had_comes_back() {
    let server = Server::start();
    fill(&server, "q", 3);
    for fields in ["", HOUR] {
        let mut client = Script::open(&server, fields);
        client.consume("c", "q", "limit:3\n");
        assert_eq!(client.bodies(3), ["1", "2", "3"]);
        client.call("cancel", "consumer:c\n", "");
        client.all_confirmed();
        client.consume("c", "q", "limit:3\n");
        let again: Vec<Frame> = (0..3).map(|_| client.delivery()).collect();
        assert_eq!(bodies(&again), ["1", "2", "3"]);
        client.close();
    }
}

#[test]
fn auto_settled_messages_are_gone() {
    let mut server = Server::start();
    fill(&server, "q", 3);
    let mut client = Script::open(&server, "");
    client.consume("c", "q", "limit:2\nsettle:auto\n");
    assert_eq!(client.bodies(2), ["1", "2"]);
    client.close();
    assert_eq!(bodies(&take_all(&server, "q")), ["3"]);
    server.crash();
    assert!(take_all(&server, "q").is_empty());
}

#[test]
fn a_listener_hears_what_matches_and_nothing_is_kept() {
    let server = Server::start();
    let mut listener = Script::open(&server, "");
    listener.consume("t", "orders/#", "mode:topic\nlimit:3\n");
    listener.all_confirmed();
    let mut sender = Script::open(&server, "");
    sender.send("orders/eu", "a");
    sender.send("others", "b");
    sender.send("orders", "c");
    sender.all_confirmed();
    let heard: Vec<Frame> = (0..2).map(|_| listener.delivery()).collect();
    assert_eq!(bodies(&heard), ["a", "c"]);
    let offsets: Vec<u64> = heard.iter().map(Frame::offset).collect();
    assert_eq!(offsets, [1, 2]);
    listener.settle("t", "accepted:1");
    assert_eq!(listener.refused(), "no-such-delivery");
    sender.send("orders/us", "d");
    sender.send("orders/us", "beyond the credit");
    sender.all_confirmed();
    assert_eq!(listener.delivery().body, "d");
    listener.credit("t", 10);
    listener.send("fence", "the credit has been heard");
    listener.confirmed_up_to(listener.seq);
    sender.send("orders/us", "e");
    assert_eq!(listener.delivery().body, "e");
    // It took nothing from the queues, and did not stand for one.
    assert_eq!(bodies(&take_all(&server, "orders/eu")), ["a"]);
    listener.consume("bad", "orders/#/x", "mode:topic\n");
    assert_eq!(listener.refused(), "bad-filter");
}

#[test]
fn a_request_is_answered_over_a_temporary_queue() {
    let mut server = Server::start();
    let mut requester = Script::open(&server, "");
    requester.consume("r", "~replies", "limit:10\n");
    requester.call(
        "send",
        "address:sums\nreply-to:~replies\ncorrelation-id:17\n",
        "2+2",
    );
    requester.all_confirmed();
    let mut worker = Script::open(&server, "");
    worker.consume("w", "sums", "limit:1\n");
    let request = worker.delivery();
    let reply_to = request.text("reply-to").to_owned();
    assert_eq!(reply_to, format!("~{}/replies", requester.session()));
    worker.call(
        "send",
        &format!("address:{reply_to}\ncorrelation-id:17\n"),
        "4",
    );
    worker.all_confirmed();
    let reply = requester.delivery();
    assert_eq!(
        (reply.body.as_str(), reply.text("correlation-id")),
        ("4", "17")
    );
    assert_eq!(reply.text("address"), reply_to);
    requester.settle("r", &format!("accepted:{}", reply.offset()));
    requester.all_confirmed();
    // Only its session may consume from it, and it goes with the session.
    worker.consume("thief", &reply_to, "limit:1\n");
    assert_eq!(worker.refused(), "denied");
    requester.close();
    wait::until("the queue is gone with its session", || {
        let seq = worker.send(&reply_to, "too late");
        let outcome = worker.outcome(seq)?;
        assert_eq!(outcome, "no-route");
        Some(())
    });
    server.terminate();
}

#[test]
fn a_temporary_queue_s_name_may_have_segments() {
    let server = Server::start();
    let mut client = Script::open(&server, "");
    client.consume("r", "~a/b", "limit:1\n");
    client.all_confirmed();
    client.send("~a/b", "hello");
    client.all_confirmed();
    assert_eq!(client.delivery().body, "hello");
}

#[test]
fn what_has_expired_is_not_delivered() {
    let server = Server::with_config("queues:\n  defaults:\n    dead-letter: dead\n");
    let mut client = Script::open(&server, "");
    client.call("send", "address:q\nttl:50\n", "short");
    client.call("send", "address:q\nttl:3600000\n", "long");
    client.send("q", "for ever");
    client.all_confirmed();
    client.consume("d", "dead", "limit:1\n");
    let dead = client.delivery();
    assert_eq!(dead.body, "short");
    assert_eq!(dead.text("property.dead-letter-reason"), "expired");
    client.consume("c", "q", "limit:3\n");
    let long = client.delivery();
    assert_eq!(long.body, "long");
    assert!((1..=3_600_000).contains(&long.number("ttl")));
    let ever = client.delivery();
    assert_eq!((ever.body.as_str(), ever.get("ttl")), ("for ever", None));
}

#[test]
fn what_was_tried_too_often_or_rejected_goes_to_the_dead_letters() {
    let mut server = Server::with_config(
        "queues:\n  policies:\n  - filter: orders/#\n    max-attempts: 2\n    dead-letter: dead/orders\n",
    );
    let mut client = Script::open(&server, "");
    client.call(
        "send",
        "address:orders/eu\nproperty.kind:new\nmessage-id:m1\n",
        "again and again",
    );
    client.send("orders/eu", "no good");
    client.consume("c", "orders/eu", "limit:10\n");
    let first = client.delivery();
    let second = client.delivery();
    client.settle(
        "c",
        &format!("rejected:{}\nreason:no such article", second.offset()),
    );
    client.settle("c", &format!("released:{}", first.offset()));
    let again = client.delivery();
    assert_eq!(again.offset(), first.offset());
    assert_eq!((first.number("attempt"), again.number("attempt")), (1, 2));
    client.settle("c", &format!("released:{}", again.offset()));
    client.all_confirmed();
    client.no_delivery();
    server.crash();
    let dead = take_all(&server, "dead/orders");
    let find = |body: &str| {
        let found = dead.iter().find(|it| it.body == body);
        found.unwrap_or_else(|| panic!("{body} is not in {dead:?}"))
    };
    let rejected = find("no good");
    assert_eq!(rejected.text("property.dead-letter-reason"), "rejected");
    assert_eq!(
        rejected.text("property.dead-letter-detail"),
        "no such article"
    );
    assert_eq!(rejected.text("property.dead-letter-queue"), "orders/eu");
    let tried = find("again and again");
    assert_eq!(tried.text("property.dead-letter-reason"), "max-attempts");
    assert_eq!(tried.text("property.kind"), "new");
    assert_eq!(tried.text("message-id"), "m1");
    assert_eq!(tried.text("address"), "orders/eu");
    assert_eq!(dead.len(), 2);
    assert!(take_all(&server, "orders/eu").is_empty());
}

#[test]
fn a_full_queue_refuses_until_something_is_taken() {
    let server = Server::with_config("queues:\n  defaults:\n    max-messages: 3\n");
    fill(&server, "q", 3);
    let mut client = Script::open(&server, "");
    client.send("q", "one too many");
    assert_eq!(client.refused(), "full");
    client.send("other", "has room");
    client.all_confirmed();
    client.consume("c", "q", "limit:1\n");
    let offset = client.delivery().offset();
    client.settle("c", &format!("accepted:{offset}"));
    client.all_confirmed();
    client.send("q", "again");
    client.all_confirmed();
}

#[test]
fn all_of_a_message_comes_out_as_it_went_in() {
    let server = Server::start();
    let mut client = Script::open(&server, "");
    let fields = "address:q\nmessage-id:m\\\\1\ncorrelation-id:c\nreply-to:a/b\ncontent-type:text/plain\nkey:k\n\
                  priority:9\nproperty.a\\cb:1\\n2\nproperty.:\n";
    client.call("send", fields, "grüße\n\n");
    client.call("send", "address:q\nbody-encoding:base64\n", "/wA=");
    client.all_confirmed();
    client.consume("c", "q", "limit:2\n");
    let got = client.delivery();
    assert_eq!(got.body, "grüße\n\n");
    let fields = [
        ("message-id", "m\\\\1"),
        ("correlation-id", "c"),
        ("reply-to", "a/b"),
        ("content-type", "text/plain"),
        ("key", "k"),
        ("priority", "9"),
        ("property.a\\cb", "1\\n2"),
        ("property.", ""),
        ("address", "q"),
        ("attempt", "1"),
    ];
    for (name, value) in fields {
        assert_eq!(got.text(name), value, "{name}");
    }
    let bytes = client.delivery();
    assert_eq!(
        (bytes.text("body-encoding"), bytes.body.as_str()),
        ("base64", "/wA=")
    );
    assert_eq!(bytes.text("priority"), "4");
    assert!(bytes.get("message-id").is_some());
}

#[test]
fn what_this_release_does_not_do_is_unsupported() {
    let server = Server::start();
    let mut client = Script::open(&server, "");
    client.call("send", "address:q\ndelay:5\n", "later");
    assert_eq!(client.refused(), "unsupported");
    for fields in [
        "mode:browse\n",
        "mode:replay\nfrom:earliest\n",
        "filter:a = 1\n",
    ] {
        client.consume("c", "q", fields);
        assert_eq!(client.refused(), "unsupported", "{fields}");
    }
}

#[test]
fn without_valid_credentials_nobody_gets_in() {
    let server = Server::start();
    let mut nobody = Script::dial(&server, "");
    nobody.frame("open", "version:1\n", "");
    assert_eq!(nobody.end(), ended("unauthorized", 4401));
    let mut wrong = Script::dial(&server, "");
    wrong.frame("open", "version:1\ntoken:rst_no_such\n", "");
    assert_eq!(wrong.end(), ended("unauthorized", 4401));
    let headers = "authorization: Bearer rst_no_such\r\n";
    let answer = Script::try_dial(&server, headers).err();
    assert!(answer.is_some_and(|it| it.starts_with("HTTP/1.1 401")));
    let headers = "authorization: Basic YWRtaW46d3JvbmcgcGFzc3dvcmQ=\r\n";
    let answer = Script::try_dial(&server, headers).err();
    assert!(answer.is_some_and(|it| it.starts_with("HTTP/1.1 401")));
    assert!(server.metric("restante_auth_attempts_total", "refused") >= 3.0);
    assert!(!server.log().contains("rst_no_such"), "no secret is logged");
}

#[test]
fn a_stop_confirms_what_is_under_way() {
    let mut server = Server::start();
    let mut client = Script::open(&server, HOUR);
    for number in 1..=2000 {
        client.send("q", &number.to_string());
    }
    client.confirmed_up_to(1);
    server.signal_term();
    assert_eq!(client.end(), ended("shutting-down", 1001));
    let status = server.wait_for_end();
    assert_eq!(status.code(), Some(0), "{}", server.log());
    server.run();
    let again = Script::open(&server, &client.resume_fields());
    assert_eq!(again.opened.text("resumed"), "true");
    assert_eq!(
        again.confirmed, client.confirmed,
        "what was taken was confirmed"
    );
    let stored = bodies(&take_all(&server, "q"));
    let wanted: Vec<String> = (1..=client.confirmed).map(|it| it.to_string()).collect();
    assert!(
        stored == wanted,
        "{} are stored, {} confirmed",
        stored.len(),
        wanted.len()
    );
}

#[test]
fn the_state_store_may_be_deleted() {
    let mut server = Server::start();
    let body = "x".repeat(1000);
    let mut client = Script::open(&server, HOUR);
    for number in 1..=3000 {
        client.send(&format!("q/{}", number % 3), &format!("{number} {body}"));
    }
    client.consume("c", "q/0", "limit:10\n");
    client.bodies(10);
    client.settle("c", "accepted:1-3\nreleased:5");
    client.all_confirmed();
    let before = depths(&server);
    server.terminate();
    fs::remove_dir_all(server.data().join("state.sled")).expect("the state store");
    server.run();
    assert_eq!(depths(&server), before);
    let again = Script::open(&server, &client.resume_fields());
    assert_eq!(again.opened.text("resumed"), "true");
    assert_eq!(again.confirmed, client.confirmed);
    again.close();
    let got: BTreeSet<u64> = ["q/0", "q/1", "q/2"]
        .iter()
        .flat_map(|queue| bodies(&take_all(&server, queue)))
        .filter_map(|body| body.split(' ').next()?.parse().ok())
        .collect();
    let wanted: BTreeSet<u64> = (1..=3000).filter(|it| ![3, 6, 9].contains(it)).collect();
    assert!(got == wanted, "{} instead of {}", got.len(), wanted.len());
}

#[test]
fn a_restart_in_good_order_has_nothing_to_warn_of() {
    let mut server = Server::start();
    server.terminate();
    server.run();
    fill(&server, "q", 10);
    server.terminate();
    server.run();
    assert_eq!(take_all(&server, "q").len(), 10);
    let log = server.log();
    assert!(!log.contains(" WARN "), "{log}");
}

#[test]
fn a_checkpoint_and_what_came_after_it_are_both_there() {
    let mut server = Server::start();
    fill(&server, "q", 10);
    server.terminate();
    server.run();
    fill(&server, "q", 5);
    server.crash();
    assert_eq!(take_all(&server, "q").len(), 15);
}

#[test]
fn faults_of_the_configuration_are_all_told_before_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("restante.yaml");
    fs::write(&file, "storage:\n  snyc: always\ndrain-time: 10\n").expect("a file");
    for words in [
        &["serve", "--config", "restante.yaml"][..],
        &["check-config", "restante.yaml"],
    ] {
        let mut command = command(RESTANTE);
        command
            .args(words)
            .env("RESTANTE_LIMITS_WINDOW", "0")
            .current_dir(folder.path());
        let mut process = Process::start(&mut command);
        assert_eq!(process.wait().code(), Some(1));
        let told = process.stderr();
        for part in [
            "restante.yaml:2:3: storage.snyc: there is no such key; did you mean `storage.sync`?",
            "restante.yaml:3:1: drain-time: `10` has no unit",
            "RESTANTE_LIMITS_WINDOW",
        ] {
            assert!(told.contains(part), "{part} is not in {told}");
        }
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn a_second_broker_on_the_same_folder_does_not_start() {
    let server = Server::start();
    let mut command = command(RESTANTE);
    command
        .arg("--data")
        .arg(server.data())
        .env("RESTANTE_LISTEN", "127.0.0.1:0")
        .env("RESTANTE_ADMIN_LISTEN", "127.0.0.1:0");
    let mut second = Process::start(&mut command);
    assert_eq!(second.wait().code(), Some(1), "{}", second.stderr());
    assert!(
        second.stderr().contains("restante: "),
        "{}",
        second.stderr()
    );
    fill(&server, "q", 1);
}

/// What waits in each queue, in hand or not, and the offset that comes next.
fn depths(server: &Server) -> Vec<(String, u64, u64)> {
    let page: serde_json::Value =
        serde_json::from_str(&server.get("/api/v1/queues")).expect("JSON");
    let queues = page.get("items").and_then(|it| it.as_array());
    let queues = queues.expect("a list");
    let depth = |queue: &serde_json::Value| {
        let field = |name: &str| queue.get(name).expect("a field");
        let number = |name: &str| field(name).as_u64().expect("a number");
        let name = field("name").as_str().expect("a name").to_owned();
        let waiting = number("messages_ready") + number("messages_unsettled");
        (name, waiting, number("next_offset"))
    };
    queues.iter().map(depth).collect()
}
