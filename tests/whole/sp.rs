//! SP as its clients see it, through real kills, and one message through every door.

mod asked;
mod client;
mod fuzz;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use restante_proto::mqtt::{Packet, Qos, Version};
use restante_proto::sp::Role;
use restante_proto::wamp::{Dict, Message, Value};

use self::client::Client;
use crate::peer::{Over, Peer, connect};
use crate::script::{Frame, Script};
use crate::server::Server;
use crate::wait;
use crate::wamp::client::{Client as Wamp, JSON, publish};

/// Where messages come in, and where they go out.
const DOORS: [&str; 5] = ["mbws", "mqtt", "wamp", "sp", "rest"];

/// What a request begins with: an id, as REQ writes it.
const ID: [u8; 4] = [0x80, 0, 0, 7];

/// One client of each door that sends.
struct Senders<'a> {
    server: &'a Server,
    mbws: Script,
    mqtt: Peer,
    wamp: Wamp,
}

impl<'a> Senders<'a> {
    fn new(server: &'a Server) -> Self {
        let connect = connect(Version::V5, "sender", &server.token(), true);
        let (mqtt, _) = Peer::connect(server.clients(), Over::Tcp, connect).expect("let in");
        Senders {
            server,
            mbws: Script::open(server, ""),
            mqtt,
            wamp: Wamp::join(server, JSON),
        }
    }

    /// Sends, and knows that the broker has it where the door says so.
    fn send(&mut self, door: &str, address: &str, body: &str) {
        match door {
            "mbws" => {
                self.mbws.send(address, body);
                self.mbws.all_confirmed();
            }
            "mqtt" => {
                let code = self.mqtt.publish(address, body).expect("a connection");
                assert!(!code.is_error(), "{code:?}");
            }
            "wamp" => {
                let options = Dict::new().with("acknowledge", true);
                let topic = address.replace('/', ".");
                let event = publish(self.wamp.next_id(), &topic, options, &[Value::from(body)]);
                let answer = self.wamp.ask(&event).expect("a connection");
                assert!(matches!(answer, Message::Published { .. }), "{answer:?}");
            }
            "sp" => Client::new(self.server, Role::Push, address).send(&[], body),
            "rest" => {
                let request = format!(r#"{{"address":"{address}","body":"{body}"}}"#);
                let (server, path) = (self.server, "/api/v1/realms/default/messages");
                let answer = server.ask("POST", path, &server.token(), &request);
                assert!(answer.starts_with("HTTP/1.1 2"), "{answer}");
            }
            other => panic!("there is no door {other}"),
        }
    }
}

/// One client of each door that gets what is sent to an address; the admin API looks into a durable queue that is bound to it.
struct Receivers<'a> {
    server: &'a Server,
    mbws: Script,
    mqtt: Peer,
    wamp: Wamp,
    sp: Client,
}

impl<'a> Receivers<'a> {
    fn new(server: &'a Server, address: &str, rest: &str) -> Self {
        server.administer(&["queue", "add", rest, "--bind", address]);
        let mut mbws = Script::open(server, "");
        mbws.consume("c", address, "mode:topic\nlimit:100\n");
        mbws.all_confirmed();
        let connect = connect(Version::V5, "receiver", &server.token(), true);
        let (mut mqtt, _) = Peer::connect(server.clients(), Over::Tcp, connect).expect("let in");
        let (code, _) = mqtt
            .subscribe(address, Qos::AtMostOnce)
            .expect("a connection");
        assert!(!code.is_error(), "{code:?}");
        let mut wamp = Wamp::join(server, JSON);
        wamp.subscribe(&address.replace('/', "."), Dict::new());
        let sp = Client::new(server, Role::Sub, address);
        wait::until("the SUB listens", || {
            let listed = server.get("/api/v1/consumers");
            listed.contains("\"name\":\"sp\"").then_some(())
        });
        Receivers {
            server,
            mbws,
            mqtt,
            wamp,
            sp,
        }
    }

    /// The next message, as text.
    fn receive(&mut self, door: &str, queue: &str, n: usize) -> String {
        match door {
            "mbws" => text_of(&self.mbws.delivery()),
            "mqtt" => match self.mqtt.receive().expect("a connection") {
                Packet::Publish(publish) => String::from_utf8_lossy(&publish.payload).into_owned(),
                other => panic!("not a PUBLISH: {other:?}"),
            },
            "wamp" => match self.wamp.receive().expect("a connection") {
                Message::Event { payload, .. } => {
                    text_of_value(payload.args().expect("values").first())
                }
                other => panic!("not an EVENT: {other:?}"),
            },
            "sp" => self.sp.body(),
            "rest" => {
                let path = format!("/api/v1/realms/default/queues/{queue}/messages");
                wait::until("it is in the queue", || {
                    let items = listed(self.server, &path);
                    let it = items.get(n)?;
                    let text = it["body"].as_str().map(str::to_owned);
                    text.or_else(|| Some(decoded(it["body_base64"].as_str()?)))
                })
            }
            other => panic!("there is no door {other}"),
        }
    }
}

fn decoded(text: &str) -> String {
    let bytes = BASE64_STANDARD.decode(text).expect("base64");
    String::from_utf8(bytes).expect("text")
}

/// A body in the text binding: what is not said to be text is in base64.
fn text_of(frame: &Frame) -> String {
    match frame.get("body-encoding") {
        Some(_) => decoded(&frame.body),
        None => frame.body.clone(),
    }
}

fn text_of_value(value: Option<&Value>) -> String {
    match value {
        Some(Value::Str(text)) => text.clone(),
        Some(Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("neither text nor bytes: {other:?}"),
    }
}

#[test]
fn a_message_of_any_door_comes_out_of_every_door() {
    let server = Server::start();
    let mut receivers = Receivers::new(&server, "cells/a", "kept");
    let mut senders = Senders::new(&server);
    for (n, from) in DOORS.into_iter().enumerate() {
        let body = format!("from {from}");
        senders.send(from, "cells/a", &body);
        for to in DOORS {
            let came = receivers.receive(to, "kept", n);
            assert_eq!(came, body, "from {from} to {to}");
        }
    }
    // And no more of it than that.
    receivers.sp.nothing();
    receivers.mbws.no_delivery();
}

#[test]
fn what_any_door_sends_to_a_queue_is_pulled_once() {
    let server = Server::start();
    server.administer(&["queue", "add", "jobs"]);
    let mut senders = Senders::new(&server);
    let mut pulls = [(); 2].map(|()| Client::new(&server, Role::Pull, "jobs?credit=1"));
    for from in DOORS {
        senders.send(from, "jobs", from);
        senders.send(from, "jobs", from);
        // Each has one at a time, and so each gets one of the two.
        for pull in &mut pulls {
            assert_eq!(pull.body(), from);
        }
    }
    emptied(&server, "jobs");
}

/// The items of a list of the admin API.
fn listed(server: &Server, path: &str) -> Vec<serde_json::Value> {
    let mut listed: serde_json::Value = serde_json::from_str(&server.get(path)).expect("JSON");
    match listed.get_mut("items").map(serde_json::Value::take) {
        Some(serde_json::Value::Array(items)) => items,
        other => panic!("not a list: {other:?}"),
    }
}

/// Waits until nothing is left in a queue.
fn emptied(server: &Server, queue: &str) {
    wait::until("all is settled", || {
        (n_waiting(server, queue) == 0).then_some(())
    });
}

/// Messages of a queue; 0 of one that is not there, as its first message makes it.
fn n_waiting(server: &Server, queue: &str) -> u64 {
    let items = listed(server, "/api/v1/realms/default/queues");
    let Some(it) = items.iter().find(|it| it["name"] == queue) else {
        return 0;
    };
    let number = |name: &str| it[name].as_u64().expect("a number");
    number("messages_ready") + number("messages_unsettled")
}

#[test]
fn what_is_pushed_survives_kill_9_and_is_pulled_in_order() {
    const N: usize = 300;
    let mut server = Server::start();
    let mut push = Client::new(&server, Role::Push, "jobs");
    for n in 0..N {
        push.send(&[], &format!("job {n}"));
    }
    wait::until("all are in the queue", || {
        let queue = n_waiting(&server, "jobs");
        (queue == N as u64).then_some(())
    });
    server.crash();
    let mut pull = Client::new(&server, Role::Pull, "jobs");
    for n in 0..N {
        assert_eq!(pull.body(), format!("job {n}"));
    }
    emptied(&server, "jobs");
    server.crash();
    let mut pull = Client::new(&server, Role::Pull, "jobs");
    pull.nothing();
}

#[test]
fn a_subscription_with_a_name_outlives_its_client_and_the_broker() {
    let mut server = Server::start();
    let sub = Client::new(&server, Role::Sub, "news/a?durable=me");
    let mut publisher = Client::new(&server, Role::Pub, "news/a");
    // Nobody says so to the client: it has subscribed some time after it was let in.
    wait::until("it has subscribed", || {
        let listed = server.get("/api/v1/realms/default/queues");
        listed.contains("news/a!me").then_some(())
    });
    sub.cut();
    publisher.send(&[], "while away");
    wait::until("it is kept", || {
        (n_waiting(&server, "news/a!me") == 1).then_some(())
    });
    server.crash();
    let mut sub = Client::new(&server, Role::Sub, "news/a?durable=me");
    assert_eq!(sub.body(), "while away");
    let mut publisher = Client::new(&server, Role::Pub, "news/a");
    publisher.send(&[], "while there");
    assert_eq!(sub.body(), "while there");
}

#[test]
fn a_worker_that_dies_with_a_request_in_hand_is_replaced_at_once() {
    let server = Server::start();
    let mut asker = Client::new(&server, Role::Req, "work");
    let mut first = Client::new(&server, Role::Rep, "work");
    asker.send(&ID, "how much?");
    let (_, body) = first.headed();
    assert_eq!(body, "how much?");
    let mut second = Client::new(&server, Role::Rep, "work");
    second.nothing();
    first.cut();
    let (id, body) = second.headed();
    assert_eq!(body, "how much?");
    second.send(&id, "7");
    assert_eq!(asker.headed(), (ID, "7".to_owned()));
    // Its own answer, late, is nobody's.
    second.send(&id, "8");
    asker.nothing();
}

#[test]
fn clients_are_cut_without_a_close_when_the_broker_stops() {
    let mut server = Server::start();
    let mut clients: Vec<Client> = Role::ALL
        .into_iter()
        .map(|role| Client::new(&server, role, &format!("at/{role}")))
        .collect();
    server.terminate();
    for client in &mut clients {
        assert_eq!(client.try_receive(), None);
    }
}

#[test]
fn administrators_see_what_a_client_is_and_where() {
    let server = Server::start();
    let clients: Vec<Client> = Role::ALL
        .into_iter()
        .map(|role| Client::new(&server, role, &format!("at/{role}")))
        .collect();
    let all = wait::until("all are listed", || {
        let items = listed(&server, "/api/v1/connections?protocol=sp");
        let settled = |it: &serde_json::Value| {
            let gets = ["pull", "rep", "pair", "pair1"];
            let is_one = gets.iter().any(|role| it["sp"]["role"] == *role);
            !is_one || it["sp"]["queue"].is_string()
        };
        (items.len() == clients.len() && items.iter().all(settled)).then_some(items)
    });
    for role in Role::ALL {
        let it = all.iter().find(|it| it["sp"]["role"] == role.name());
        let sp = &it.expect("it is listed")["sp"];
        assert_eq!(sp["pattern"], role.pattern());
        assert_eq!(sp["address"], format!("at/{role}"));
        let queue = match role {
            Role::Pull => "at/pull",
            Role::Rep => "$req/at/rep",
            Role::Pair => "$pair0/0/at/pair",
            Role::Pair1 => "$pair1/0/at/pair1",
            _ => {
                assert!(sp["queue"].is_null(), "{sp}");
                continue;
            }
        };
        assert_eq!(sp["queue"], queue);
        let label = format!("role=\"{role}\"");
        assert!(server.metric("restante_sp_connections", &label) >= 1.0);
    }
}
