//! What WAMP clients are told and share beyond the basics, from the command line's rules to the bytes of events.

use restante_proto::wamp::{Dict, Message, Value};

use super::client::{Client, JSON, RAW, call, hello, publish};
use crate::server::Server;
use crate::wait;

#[test]
fn a_rule_of_the_command_line_says_how_far_a_client_is_trusted() {
    let server = Server::start();
    server.administer(&["role", "set", "shop"]);
    let rule = |filter: &str, more: &[&str]| {
        let first = ["rule", "add", filter, filter, "--role", "shop"];
        let second = ["--allow", "send,call"];
        server.administer(&[&first[..], &second, more].concat());
    };
    rule("a/#", &["--trustlevel", "3"]);
    rule("b/#", &[]);
    let printed = server.administer(&["token", "issue", "till", "--role", "shop"]);
    let secret = printed.split_whitespace().find(|it| it.starts_with("rst_"));
    let mut shop = Client::new(&server, JSON);
    shop.begin(&hello(), secret.expect("a secret"))
        .expect("a session");
    let mut other = Client::join(&server, RAW);
    for (name, expected) in [("a.b", Some(3)), ("b.b", None)] {
        other.register(name, Dict::new());
        other.subscribe(name, Dict::new());
        let request = shop.next_id();
        shop.send(&publish(request, name, Dict::new(), &[]))
            .expect("sent");
        match other.receive().expect("an event") {
            Message::Event { details, .. } => {
                assert_eq!(details.int("trustlevel"), Ok(expected), "{name}");
            }
            came => panic!("{came:?}"),
        }
        let request = shop.next_id();
        shop.send(&call(request, name, &[])).expect("sent");
        match other.receive().expect("an invocation") {
            Message::Invocation { details, .. } => {
                assert_eq!(details.int("trustlevel"), Ok(expected), "{name}");
            }
            came => panic!("{came:?}"),
        }
    }
}

#[test]
fn what_has_a_key_comes_to_one_of_those_who_share() {
    let server = Server::start();
    let mut sharing = [(JSON, "x"), (RAW, "y")].map(|(way, name)| {
        let mut client = Client::join(&server, way);
        client.subscribe("a.b", Dict::new().with("nkey", name));
        client
    });
    let mut writer = Client::join(&server, JSON);
    let keys: Vec<String> = (0..20).map(|n| format!("key {n}")).collect();
    for key in &keys {
        let request = writer.next_id();
        let options = Dict::new().with("rkey", key.as_str());
        let event = publish(request, "a.b", options, &[key.as_str().into()]);
        writer.send(&event).expect("sent");
    }
    // What has none comes to all.
    let request = writer.next_id();
    let end = publish(request, "a.b", Dict::new(), &["end".into()]);
    writer.send(&end).expect("sent");
    let got = sharing.each_mut().map(|client| {
        let mut got = Vec::new();
        loop {
            let Ok(Message::Event { payload, .. }) = client.receive() else {
                panic!("no event")
            };
            let args = payload.args().expect("values");
            match args.first().and_then(Value::as_str) {
                Some("end") => return got,
                key => got.push(key.expect("a key").to_owned()),
            }
        }
    });
    assert!(got.iter().all(|it| !it.is_empty()), "{got:?}");
    let mut all = got.concat();
    all.sort_unstable();
    let mut expected = keys;
    expected.sort_unstable();
    assert_eq!(all, expected);
}

#[test]
fn what_is_defined_is_described_until_its_author_is_gone() {
    let server = Server::start();
    let (mut one, mut other) = (Client::join(&server, RAW), Client::join(&server, JSON));
    one.register("a.b", Dict::new());
    let schema = Dict::new().with("type", "procedure").with("title", "adds");
    let defined = one.call("wamp.reflect.define", &["a.b".into(), schema.into()]);
    assert_eq!(defined, Ok(vec![true.into()]));
    let described = other.call("wamp.reflect.describe", &["a.b".into()]);
    let described = described.expect("an answer");
    let about = described.first().and_then(Value::as_dict);
    let about = about.expect("what is said of it");
    let said = |name: &str| about.text(name).expect("a text").map(str::to_owned);
    assert_eq!(said("title").as_deref(), Some("adds"));
    assert_eq!(said("match").as_deref(), Some("exact"));
    let list = |client: &mut Client| client.call("wamp.reflection.procedure.list", &[]);
    let listed = vec![Value::List(vec!["a.b".into()])];
    assert_eq!(list(&mut other), Ok(listed));
    drop(one);
    let nothing = Ok(vec![Value::List(Vec::new())]);
    wait::until("its author is gone", || {
        (list(&mut other) == nothing).then_some(())
    });
}
