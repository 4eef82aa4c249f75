//! Requests of every door that has them, answered at every other.

use bytes::Bytes;
use restante_proto::mqtt::{Packet, PacketId, Publish, PublishProperties, Qos, Version};
use restante_proto::sp::Role;
use restante_proto::wamp::{Dict, Message, Value};

use super::client::Client;
use super::{ID, text_of, text_of_value};
use crate::peer::{Over, Peer, connect, text};
use crate::script::Script;
use crate::server::Server;
use crate::wait;
use crate::wamp::client::{Client as Wamp, JSON, args, call};

/// The doors that ask and answer.
const DOORS: [&str; 4] = ["sp", "wamp", "mbws", "mqtt"];

/// Somebody who asks, or answers.
enum Party {
    Sp(Client),
    Wamp(Box<Wamp>),
    Mbws(Box<Script>),
    Mqtt(Box<Peer>),
}

fn mqtt(server: &Server, id: &str) -> Peer {
    let connect = connect(Version::V5, id, &server.token(), true);
    let (peer, _) = Peer::connect(server.clients(), Over::Tcp, connect).expect("let in");
    peer
}

fn told(packet: Packet) -> Publish {
    match packet {
        Packet::Publish(publish) => publish,
        other => panic!("not a PUBLISH: {other:?}"),
    }
}

impl Party {
    /// One who will answer what is asked of an address.
    fn answerer(server: &Server, door: &str, address: &str) -> Party {
        match door {
            "sp" => {
                let rep = Client::new(server, Role::Rep, address);
                wait::until("it is there for requests", || {
                    let queue = format!("\"$req/{address}\"");
                    server
                        .get("/api/v1/consumers")
                        .contains(&queue)
                        .then_some(())
                });
                Party::Sp(rep)
            }
            "wamp" => {
                let mut wamp = Wamp::join(server, JSON);
                wamp.register(&address.replace('/', "."), Dict::new());
                Party::Wamp(Box::new(wamp))
            }
            "mbws" => {
                let mut script = Script::open(server, "");
                script.consume("c", address, "mode:topic\nlimit:10\n");
                script.all_confirmed();
                Party::Mbws(Box::new(script))
            }
            "mqtt" => {
                let mut peer = mqtt(server, &format!("answers-{address}"));
                let (code, _) = peer.subscribe(address, Qos::AtMostOnce).expect("there");
                assert!(!code.is_error(), "{code:?}");
                Party::Mqtt(Box::new(peer))
            }
            other => panic!("there is no door {other}"),
        }
    }

    /// Takes a request, and answers it with `answer`; what was asked.
    fn answers(&mut self, answer: &str) -> String {
        match self {
            Party::Sp(rep) => {
                let (id, asked) = rep.headed();
                rep.send(&id, answer);
                asked
            }
            Party::Wamp(wamp) => {
                let (request, payload) = match wamp.receive().expect("there") {
                    Message::Invocation {
                        request, payload, ..
                    } => (request, payload),
                    other => panic!("not an INVOCATION: {other:?}"),
                };
                let result = Message::Yield {
                    request,
                    options: Dict::new(),
                    payload: args(&[Value::from(answer)]),
                };
                wamp.send(&result).expect("there");
                text_of_value(payload.args().expect("values").first())
            }
            Party::Mbws(script) => {
                let asked = script.delivery();
                let id = asked.get("correlation-id").unwrap_or_default();
                let fields = format!("address:{}\ncorrelation-id:{id}\n", asked.text("reply-to"));
                script.call("send", &fields, answer);
                script.all_confirmed();
                text_of(&asked)
            }
            Party::Mqtt(peer) => {
                let asked = told(peer.receive().expect("there"));
                let reply = Publish {
                    topic: asked.properties.response_topic.expect("where to"),
                    payload: Bytes::copy_from_slice(answer.as_bytes()),
                    properties: PublishProperties {
                        correlation_data: asked.properties.correlation_data,
                        ..PublishProperties::default()
                    },
                    ..Publish::default()
                };
                peer.send(&Packet::Publish(reply)).expect("there");
                String::from_utf8_lossy(&asked.payload).into_owned()
            }
        }
    }

    /// One who asks.
    fn asker(server: &Server, door: &str, address: &str) -> Party {
        match door {
            "sp" => Party::Sp(Client::new(server, Role::Req, address)),
            "wamp" => Party::Wamp(Box::new(Wamp::join(server, JSON))),
            "mbws" => {
                let mut script = Script::open(server, "");
                script.consume("r", "~replies", "limit:10\n");
                script.all_confirmed();
                Party::Mbws(Box::new(script))
            }
            "mqtt" => {
                let mut peer = mqtt(server, &format!("asks-{address}"));
                let answers = format!("answers/{address}");
                let (code, _) = peer.subscribe(&answers, Qos::AtMostOnce).expect("there");
                assert!(!code.is_error(), "{code:?}");
                Party::Mqtt(Box::new(peer))
            }
            other => panic!("there is no door {other}"),
        }
    }

    fn asks(&mut self, address: &str, question: &str) {
        match self {
            Party::Sp(req) => req.send(&ID, question),
            Party::Wamp(wamp) => {
                let request = wamp.next_id();
                let question = [Value::from(question)];
                let called = call(request, &address.replace('/', "."), &question);
                wamp.send(&called).expect("there");
            }
            Party::Mbws(script) => {
                let fields = format!("address:{address}\nreply-to:~replies\ncorrelation-id:17\n");
                script.call("send", &fields, question);
                script.all_confirmed();
            }
            Party::Mqtt(peer) => {
                let request = Publish {
                    qos: Qos::AtLeastOnce,
                    packet_id: Some(PacketId::FIRST),
                    topic: text(address),
                    payload: Bytes::copy_from_slice(question.as_bytes()),
                    properties: PublishProperties {
                        response_topic: Some(text(&format!("answers/{address}"))),
                        correlation_data: Some(Bytes::from_static(b"17")),
                        ..PublishProperties::default()
                    },
                    ..Publish::default()
                };
                peer.send(&Packet::Publish(request)).expect("there");
            }
        }
    }

    /// The answer, which goes with the question.
    fn hears(&mut self) -> String {
        match self {
            Party::Sp(req) => {
                let (id, answer) = req.headed();
                assert_eq!(id, ID);
                answer
            }
            Party::Wamp(wamp) => match wamp.receive().expect("there") {
                Message::Result { payload, .. } => {
                    text_of_value(payload.args().expect("values").first())
                }
                other => panic!("not a RESULT: {other:?}"),
            },
            Party::Mbws(script) => {
                let answer = script.delivery();
                assert_eq!(answer.get("correlation-id"), Some("17"));
                text_of(&answer)
            }
            Party::Mqtt(peer) => loop {
                let Packet::Publish(answer) = peer.receive().expect("there") else {
                    continue;
                };
                let id = answer.properties.correlation_data;
                assert_eq!(id.as_deref(), Some(&b"17"[..]));
                break String::from_utf8_lossy(&answer.payload).into_owned();
            },
        }
    }
}

#[test]
fn a_request_of_any_door_is_answered_at_every_door() {
    let server = Server::start();
    for from in DOORS {
        for to in DOORS {
            let address = format!("asked/{from}/{to}");
            let mut answerer = Party::answerer(&server, to, &address);
            let mut asker = Party::asker(&server, from, &address);
            asker.asks(&address, "how much?");
            let asked = answerer.answers("seven");
            assert_eq!(asked, "how much?", "from {from} to {to}");
            assert_eq!(asker.hears(), "seven", "from {from} to {to}");
        }
    }
}
