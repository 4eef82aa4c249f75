//! What WAMP clients are told and share beyond the basics, from the command line's rules to the bytes of events.

use restante_proto::wamp::{Dict, Message};

use super::client::{Client, JSON, RAW, call, hello, publish};
use crate::server::Server;

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
