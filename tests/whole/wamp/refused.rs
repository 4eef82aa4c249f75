//! Every rule of the protocol broken once, in each serializer and over each transport: the answer that it is due, and somebody who does
//! not notice anything.
//!
//! Messages are written down as JSON; `$` is the next request's id.

use std::thread::scope;

use bytes::Bytes;
use restante_proto::wamp::{Dict, Limits, Message, Serializer, Value, decode};

use super::client::{Client, JSON, Neighbour, Over, RAW, Way, hello, hello_with, start, upgrade};
use crate::peer::Gone;
use crate::server::Server;
use crate::{wait, wire};

const URI: &str = "wamp.error.invalid_uri";
const ARGUMENT: &str = "wamp.error.invalid_argument";
const VIOLATION: &str = "wamp.error.protocol_violation";

/// What is answered to a message that does not end the session.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// An ERROR to a request of that type.
    Error(u16, &'static str),
    /// A message of that code.
    Answer(u16),
    Nothing,
}
use Then::{Answer, Error, Nothing};

/// Within a session, one after the other.
#[rustfmt::skip]
const WRONG: &[(&str, Then)] = &[
    // URIs.
    (r#"[16,$,{"acknowledge":true},""]"#, Error(16, URI)),
    (r#"[16,$,{"acknowledge":true},"a..b"]"#, Error(16, URI)),
    (r#"[16,$,{"acknowledge":true},".a"]"#, Error(16, URI)),
    (r#"[16,$,{"acknowledge":true},"a."]"#, Error(16, URI)),
    (r#"[16,$,{"acknowledge":true},"a b"]"#, Error(16, URI)),
    (r#"[16,$,{"acknowledge":true},"a.b\t"]"#, Error(16, URI)),
    (r##"[16,$,{"acknowledge":true},"a.#"]"##, Error(16, URI)),
    (r#"[16,$,{"acknowledge":true},"wamp"]"#, Error(16, URI)),
    (r#"[16,$,{"acknowledge":true},"wamp.session.on_join"]"#, Error(16, URI)),
    (r#"[16,$,{"acknowledge":true},"$wamp.x"]"#, Error(16, URI)),
    (r#"[16,$,{},"a..b"]"#, Nothing),
    (r#"[16,$,{},"wamp.session.on_join"]"#, Nothing),
    (r#"[32,$,{},""]"#, Error(32, URI)),
    (r#"[32,$,{},"a..b"]"#, Error(32, URI)),
    (r##"[32,$,{},"#"]"##, Error(32, URI)),
    (r#"[32,$,{"match":"prefix"},"a..b"]"#, Error(32, URI)),
    (r#"[32,$,{"match":"prefix"},"a b"]"#, Error(32, URI)),
    (r#"[32,$,{"match":"wildcard"},"a b."]"#, Error(32, URI)),
    (r#"[32,$,{"x_durable":"a..b"},"a.b"]"#, Error(32, URI)),
    (r#"[48,$,{},""]"#, Error(48, URI)),
    (r#"[48,$,{},"a..b"]"#, Error(48, URI)),
    (r#"[48,$,{},"a b"]"#, Error(48, URI)),
    (r#"[64,$,{},""]"#, Error(64, URI)),
    (r#"[64,$,{},"a..b"]"#, Error(64, URI)),
    (r#"[64,$,{"match":"prefix"},"a b"]"#, Error(64, URI)),
    (r#"[64,$,{},"wamp.x"]"#, Error(64, URI)),
    (r#"[64,$,{"match":"prefix"},"wamp."]"#, Error(64, URI)),
    (r#"[64,$,{"match":"wildcard"},"wamp..x"]"#, Error(64, URI)),
    (r#"[64,$,{},"$wamp.x"]"#, Error(64, URI)),
    (r#"[48,$,{},"wamp.session.add_testament",["a..b",[],{}]]"#, Error(48, URI)),
    (r#"[48,$,{},"wamp.session.add_testament",["wamp.x",[],{}]]"#, Error(48, URI)),
    (r#"[48,$,{},"wamp.session.kill",[7],{"reason":"a..b"}]"#, Error(48, URI)),
    // Options.
    (r#"[16,$,{"acknowledge":true,"exclude_me":1},"a"]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":true,"eligible":["x"]},"a"]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":true,"eligible":5},"a"]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":true,"exclude":[0]},"a"]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":true,"exclude":[1.5]},"a"]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":true,"eligible_authid":[1]},"a"]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":true,"exclude_authrole":"x"},"a"]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":true,"retain":"yes"},"a"]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":true,"disclose_me":0},"a"]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":true,"_ttl":-1},"a"]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":true,"_priority":"high"},"a"]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":true,"_properties":{"a":1}},"a"]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":true,"_reply_to":"a..b"},"a"]"#, Error(16, URI)),
    (r#"[16,$,{"acknowledge":true,"ppt_scheme":1},"a"]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":true,"ppt_scheme":"x_a"},"a",["text",2]]"#, Error(16, ARGUMENT)),
    (r#"[16,$,{"acknowledge":1},"a"]"#, Nothing),
    (r#"[32,$,{"match":"glob"},"a"]"#, Error(32, ARGUMENT)),
    (r#"[32,$,{"match":1},"a"]"#, Error(32, ARGUMENT)),
    (r#"[32,$,{"get_retained":"yes"},"a"]"#, Error(32, ARGUMENT)),
    (r#"[32,$,{"x_durable":1},"a"]"#, Error(32, ARGUMENT)),
    (r#"[32,$,{"x_durable":"a","x_window":-1},"a"]"#, Error(32, ARGUMENT)),
    (r#"[32,$,{"_durable":1},"a"]"#, Error(32, ARGUMENT)),
    (r#"[32,$,{"_durable":"a","_window":"few"},"a"]"#, Error(32, ARGUMENT)),
    (r#"[32,$,{"x_durable":"a"},"wamp.session.on_join"]"#, Error(32, ARGUMENT)),
    (r#"[32,$,{"nkey":1},"a"]"#, Error(32, ARGUMENT)),
    (r#"[32,$,{"nkey":"n","x_durable":"a"},"a"]"#, Error(32, "wamp.error.option_not_allowed")),
    (r#"[16,$,{"acknowledge":true,"rkey":1},"a"]"#, Error(16, ARGUMENT)),
    (r#"[48,$,{"timeout":-1},"a"]"#, Error(48, ARGUMENT)),
    (r#"[48,$,{"timeout":"soon"},"a"]"#, Error(48, ARGUMENT)),
    (r#"[48,$,{"receive_progress":1},"a"]"#, Error(48, ARGUMENT)),
    (r#"[48,$,{"runmode":"partition"},"refused.taken"]"#, Error(48, ARGUMENT)),
    (r#"[49,1,{"mode":"now"}]"#, Nothing),
    (r#"[49,1,{"mode":1}]"#, Nothing),
    (r#"[64,$,{"match":"glob"},"a"]"#, Error(64, ARGUMENT)),
    (r#"[64,$,{"invoke":"all"},"a"]"#, Error(64, ARGUMENT)),
    (r#"[64,$,{"concurrency":0},"a"]"#, Error(64, ARGUMENT)),
    (r#"[64,$,{"concurrency":"few"},"a"]"#, Error(64, ARGUMENT)),
    (r#"[64,$,{"disclose_caller":1},"a"]"#, Error(64, ARGUMENT)),
    // What is not there, or somebody else's.
    (r#"[34,$,999999]"#, Error(34, "wamp.error.no_such_subscription")),
    (r#"[66,$,999999]"#, Error(66, "wamp.error.no_such_registration")),
    (r#"[48,$,{},"refused.nobody"]"#, Error(48, "wamp.error.no_such_procedure")),
    (r#"[48,$,{},"wamp.nothing"]"#, Error(48, "wamp.error.no_such_procedure")),
    (r#"[64,$,{},"refused.taken"]"#, Error(64, "wamp.error.procedure_already_exists")),
    (r#"[64,$,{"invoke":"first"},"refused.shared"]"#, Error(64, "wamp.error.procedure_exists_with_different_invocation_policy")),
    (r#"[48,$,{},"wamp.reflection.thing.list"]"#, Error(48, "wamp.error.no_such_procedure")),
    (r#"[48,$,{},"wamp.reflection.topic.describe"]"#, Error(48, ARGUMENT)),
    (r#"[48,$,{},"wamp.reflect.define",["a.b",{"type":"x"}]]"#, Error(48, ARGUMENT)),
    (r#"[48,$,{},"wamp.reflect.define",["a..b",{"type":"topic"}]]"#, Error(48, URI)),
    (r#"[48,$,{},"wamp.session.get"]"#, Error(48, ARGUMENT)),
    (r#"[48,$,{},"wamp.session.get",["x"]]"#, Error(48, ARGUMENT)),
    (r#"[48,$,{},"wamp.session.get",[7]]"#, Error(48, "wamp.error.no_such_session")),
    (r#"[48,$,{},"wamp.session.kill",[7]]"#, Error(48, "wamp.error.no_such_session")),
    (r#"[48,$,{},"wamp.registration.get",[999999]]"#, Error(48, "wamp.error.no_such_registration")),
    (r#"[48,$,{},"wamp.subscription.get",[999999]]"#, Error(48, "wamp.error.no_such_subscription")),
    (r#"[48,$,{},"restante.event.received"]"#, Error(48, ARGUMENT)),
    (r#"[48,$,{},"restante.event.received",["x"]]"#, Error(48, ARGUMENT)),
    (r#"[48,$,{},"restante.event.received",[7]]"#, Error(48, ARGUMENT)),
    // What means nothing.
    (r#"[49,4711,{}]"#, Nothing),
    (r#"[337,4711]"#, Nothing),
    // What is odd, and taken.
    (r#"[16,$.0,{"acknowledge":true},"refused.told"]"#, Answer(17)),
    (r#"[16,$,{"acknowledge":true,"exclude_me":null,"eligible":null,"frobnicate":[1,{}]},"refused.told",[],{}]"#, Answer(17)),
    (r#"[16,$,{"acknowledge":true,"exclude":[7.0]},"refused.told",[null]]"#, Answer(17)),
    (r#"[16,$,null,"refused.told",null,{"a":null}]"#, Nothing),
    (r#"[48,$,null,"wamp.session.count",null,null]"#, Answer(50)),
    (r#"[32,$,{"match":null,"get_retained":null,"x_durable":null},"refused.odd"]"#, Answer(33)),
    (r#"[32,$,{},"refused.odd"]"#, Answer(33)),
    (r#"[32,$,{"x_durable":"refused.queue"},"refused.odd"]"#, Error(32, "wamp.error.option_not_allowed")),
    (r#"[32,$,{"_durable":"refused.queue"},"refused.odd"]"#, Error(32, "wamp.error.option_not_allowed")),
    (r#"[48,$,{"timeout":null},"wamp.session.count",[],{}]"#, Answer(50)),
    (r#"[48,$,{"timeout":9007199254740992},"wamp.session.count",[null]]"#, Answer(50)),
];

/// Within a session, which ends: what comes before the last one is taken.
#[rustfmt::skip]
const BROKEN: &[&[&str]] = &[
    // No messages.
    &["7"], &["\"16\""], &["null"], &["true"], &["{}"], &["[]"],
    &["[\"16\",1,{},\"a\"]"], &["[[16,1,{},\"a\"]]"], &["[null,1,{},\"a\"]"], &["[16.5,1,{},\"a\"]"],
    &["[0]"], &["[7,1]"], &["[-16,1,{},\"a\"]"], &["[15,1,{},\"a\"]"], &["[71,1,{}]"], &["[1000,1]"], &["[18446744073709551615]"],
    // Arity.
    &["[1]"], &["[16]"], &["[16,1]"], &["[16,1,{}]"], &["[16,1,{},\"a\",[],{},1]"], &["[32,1,{}]"], &["[32,1,{},\"a\",[]]"],
    &["[34,1]"], &["[34,1,1,{}]"], &["[48,1,{}]"], &["[49,1]"], &["[64,1,{}]"], &["[64,1,{},\"a\",[]]"], &["[66,1]"], &["[70,1]"],
    &["[8,68,1,{}]"], &["[6,{}]"], &["[337]"], &["[337,1,{}]"],
    // Types.
    &["[16,\"1\",{},\"a\"]"], &["[16,true,{},\"a\"]"], &["[16,null,{},\"a\"]"], &["[16,1,[],\"a\"]"],
    &["[16,1,{},1]"], &["[16,1,{},null]"], &["[16,1,{},\"a\",{}]"], &["[16,1,{},\"a\",1]"], &["[16,1,{},\"a\",[],[]]"], &["[34,1,\"1\"]"], &["[48,1,{},[\"a\"]]"], &["[8,\"68\",1,{},\"a\"]"], &["[8,68,1,{},1]"],
    // Ids.
    &["[16,0,{},\"a\"]"], &["[16,-1,{},\"a\"]"], &["[16,1.5,{},\"a\"]"], &["[16,9007199254740993,{},\"a\"]"], &["[34,1,0]"], &["[337,0]"],
    &["[48,$,{},\"refused.busy\"]", "[48,1,{},\"refused.busy\"]"],
    // The router's own messages, and those of another state.
    &["[1,\"default\",{\"roles\":{\"caller\":{}}}]"], &["[2,1,{}]"], &["[4,\"ticket\",{}]"], &["[5,\"x\",{}]"], &["[17,1,1]"], &["[33,1,1]"],
    &["[35,1]"], &["[36,1,1,{}]"], &["[50,1,{}]"], &["[65,1,1]"], &["[67,1]"], &["[68,1,1,{}]"], &["[69,1,{}]"],
    // Answers to what was never asked.
    &["[70,1,{}]"], &["[70,1,{\"progress\":true},[1]]"], &["[70,9007199254740992,{}]"], &["[8,68,1,{},\"a.b\"]"],
    &["[8,48,1,{},\"a.b\"]"], &["[8,16,1,{},\"a.b\"]"], &["[8,70,1,{},\"a.b\"]"], &["[8,1,1,{},\"a.b\"]"],
    // A progressive call that goes on with something else, and a plain one that goes on.
    &["[48,$,{\"progress\":true},\"refused.busy\"]", "[48,1,{},\"refused.taken\"]"],
];

/// The same, where ids must ascend by one.
#[rustfmt::skip]
const OUT_OF_TURN: &[&[&str]] = &[
    &["[16,2,{},\"a\"]"], &["[16,$,{},\"a\"]", "[16,1,{},\"a\"]"], &["[16,$,{},\"a\"]", "[16,3,{},\"a\"]"],
    &["[32,$,{},\"a\"]", "[64,1,{},\"a\"]"], &["[32,2,{},\"a\"]"], &["[34,2,1]"], &["[64,2,{},\"a\"]"], &["[66,2,1]"],
    &["[48,2,{},\"a\"]"], &["[48,9007199254740992,{},\"a\"]"],
    &["[48,$,{},\"refused.nobody\"]", "[48,1,{},\"refused.nobody\"]"],
    &["[48,$,{},\"wamp.session.count\"]", "[48,1,{},\"wamp.session.count\"]"],
];

/// In a session that has announced nothing.
const UNANNOUNCED: &[&[&str]] = &[
    &["[48,$,{\"progress\":true},\"refused.busy\"]"],
    &["[48,$,{\"ppt_scheme\":\"x_a\"},\"refused.busy\"]"],
    &["[16,$,{\"ppt_scheme\":\"x_a\"},\"a\"]"],
    &["[16,$,{\"ppt_scheme\":\"x_a\",\"acknowledge\":true},\"a\"]"],
];

/// Instead of HELLO, and the ABORT that it is answered with.
#[rustfmt::skip]
const FIRST: &[(&str, &str)] = &[
    ("[16,1,{},\"a\"]", VIOLATION),
    ("[6,{},\"wamp.close.normal\"]", VIOLATION),
    ("[5,\"x\",{}]", VIOLATION),
    ("[2,1,{}]", VIOLATION),
    ("[36,1,1,{}]", VIOLATION),
    ("[8,68,1,{},\"a.b\"]", VIOLATION),
    ("{}", VIOLATION),
    ("[1,\"default\"]", VIOLATION),
    ("[1,1,{}]", VIOLATION),
    ("[1,\"default\",{}]", VIOLATION),
    ("[1,\"default\",{\"roles\":{}}]", VIOLATION),
    ("[1,\"default\",{\"roles\":[\"caller\"]}]", VIOLATION),
    ("[1,\"default\",{\"roles\":{\"watcher\":{}}}]", VIOLATION),
    ("[1,\"default\",{\"roles\":{\"caller\":{}},\"authmethods\":\"ticket\"}]", VIOLATION),
    ("[1,\"default\",{\"roles\":{\"caller\":{}},\"authid\":1}]", VIOLATION),
    ("[1,\"a..b\",{\"roles\":{\"caller\":{}}}]", URI),
    ("[1,\"\",{\"roles\":{\"caller\":{}}}]", URI),
    ("[1,\"default\",{\"roles\":{\"caller\":{}}}]", "wamp.error.authentication_required"),
    ("[1,\"nowhere\",{\"roles\":{\"caller\":{}}}]", "wamp.error.authentication_required"),
    ("[1,\"default\",{\"roles\":{\"caller\":{}},\"authmethods\":[\"magic\"]}]", "wamp.error.no_matching_auth_method"),
];

/// Bytes that are no message, of one serializer.
#[rustfmt::skip]
const MALFORMED: &[(Serializer, &[u8])] = &[
    (Serializer::Json, b""), (Serializer::Json, b"[16,1,{},\"a\""), (Serializer::Json, b"[16,1,{},\"a\"]x"), (Serializer::Json, b"[16,1,{},'a']"),
    (Serializer::Json, b"[16,01,{},\"a\"]"), (Serializer::Json, b"[16,1,{1:2},\"a\"]"), (Serializer::Json, b"[16,1,{},\"\\ud800\"]"),
    (Serializer::Json, b"[16,1,{},\"a\",[NaN]]"), (Serializer::Json, b"[16,1,{},\"a\nb\"]"),
    (Serializer::MsgPack, b""), (Serializer::MsgPack, b"\x94\x10\x01\x80"), (Serializer::MsgPack, b"\x94\x10\x01\x80\xa1a\0"),
    (Serializer::MsgPack, b"\x94\x10\x01\x81\x01\x02\xa1a"), (Serializer::MsgPack, b"\x94\x10\x01\x80\xa1\xff"), (Serializer::MsgPack, b"\xc1"),
    (Serializer::MsgPack, b"\xdd\xff\xff\xff\xff\x10"), (Serializer::MsgPack, b"\x95\x10\x01\x80\xa1a\xdd\xff\xff\xff\xff"),
    (Serializer::MsgPack, b"\x95\x10\x01\x80\xa1a\x91\xc6\xff\xff\xff\xff"),
    (Serializer::Cbor, b""), (Serializer::Cbor, b"\x84\x10\x01\xa0"), (Serializer::Cbor, b"\x84\x10\x01\xa0\x61a\0"),
    (Serializer::Cbor, b"\x84\x10\x01\xa1\x01\x02\x61a"), (Serializer::Cbor, b"\x84\x10\x01\xa0\x61\xff"), (Serializer::Cbor, b"\xff"),
    (Serializer::Cbor, b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x10"), (Serializer::Cbor, b"\x85\x10\x01\xa0\x61a\x81\x5b\x7f\xff\xff\xff\xff\xff\xff\xff"),
    (Serializer::Ubjson, b""), (Serializer::Ubjson, b"[U\x10U\x01{}SU\x01a"), (Serializer::Ubjson, b"[U\x10U\x01{}SU\x01a]\0"),
    (Serializer::Ubjson, b"[U\x10U\x01{}SU\x01\xff]"), (Serializer::Ubjson, b"?"), (Serializer::Ubjson, b"[U\x10U\x01{}SU\x01a[$U#M\xff\xff\xff\xff\xff\xff\xff\x7f"),
];

/// What makes each serializer nest deeper.
const BOMBS: &[(Serializer, &[u8])] = &[
    (Serializer::Json, b"["),
    (Serializer::Json, b"{\"\":"),
    (Serializer::MsgPack, b"\x91"),
    (Serializer::MsgPack, b"\x81\xa0"),
    (Serializer::Cbor, b"\x81"),
    (Serializer::Cbor, b"\x9f"),
    (Serializer::Ubjson, b"["),
    (Serializer::Ubjson, b"{U\0"),
];

const SERIALIZERS: [Serializer; 4] = [
    Serializer::Json,
    Serializer::MsgPack,
    Serializer::Cbor,
    Serializer::Ubjson,
];

/// Every serializer over every transport that goes with it; of the slow and the unusual ones, some.
fn ways() -> Vec<Way> {
    let each = |over| move |serializer| Way { over, serializer };
    let of = |over, serializers: &[Serializer]| -> Vec<Way> {
        serializers.iter().copied().map(each(over)).collect()
    };
    [
        of(Over::WebSocket, &SERIALIZERS),
        of(Over::RawSocket, &SERIALIZERS),
        of(
            Over::Batched,
            &[Serializer::Json, Serializer::MsgPack, Serializer::Cbor],
        ),
        of(Over::Unix, &[Serializer::Cbor]),
        of(Over::LongPoll, &[Serializer::Json, Serializer::MsgPack]),
    ]
    .concat()
}

/// A row's bytes in a serializer: any value is an argument, and a list of one is arguments.
fn written(serializer: Serializer, row: &str) -> Bytes {
    let frame = Bytes::from(format!("[16,1,{{}},\"a\",[{row}]]"));
    let message = decode(Serializer::Json, &frame, &Limits::default()).expect("JSON");
    let Message::Publish { payload, .. } = message else {
        unreachable!()
    };
    let payload = payload.to(serializer).expect("every serializer has it");
    payload.single().expect("one value").raw
}

impl Client {
    /// Sends a row, as its next request.
    fn send_row(&mut self, row: &str) -> Result<u64, Gone> {
        let is_new = row.contains(",$,") || row.contains(",$.0,");
        let request = if is_new { self.next_id() } else { self.last };
        let row = row.replace(",$", &format!(",{request}"));
        self.send_raw(&written(self.way.serializer, &row))?;
        Ok(request)
    }

    /// An ABORT of that reason, whatever comes before, and the end.
    fn expect_abort(&mut self, reason: &str, what: &str) {
        loop {
            match self.receive() {
                Ok(Message::Abort { reason: found, .. }) => {
                    assert_eq!(found, reason, "{what}");
                    break;
                }
                Ok(_) => {}
                Err(gone) => panic!("{what}: {:?} no ABORT: {gone:?}", self.way),
            }
        }
        self.expect_end();
        if self.way.over == Over::LongPoll {
            // There is nothing to close any more, and no harm in it.
            let closed = self.post("/close", b"").map(|it| it.0);
            assert_eq!(closed, Ok(204), "{what}");
        }
        if matches!(self.way.over, Over::WebSocket | Over::Batched) {
            let code = if reason == VIOLATION { 1002 } else { 1000 };
            assert_eq!(self.closed, Some(code), "{what}");
        }
    }
}

fn check_wrong(server: &Server, way: Way) {
    let mut client = Client::join(server, way);
    for (row, then) in WRONG {
        let what = format!("{way:?}: {row}");
        let request = client.send_row(row).expect("sent");
        match then {
            Error(kind, uri) => match client.receive().expect("an answer") {
                Message::Error {
                    request_type,
                    request: of,
                    error,
                    ..
                } => {
                    assert_eq!(
                        (request_type, of, &*error),
                        (*kind, request, *uri),
                        "{what}"
                    );
                }
                other => panic!("{what}: not an ERROR: {other:?}"),
            },
            Answer(code) => {
                let answer = client.receive().expect("an answer");
                assert_eq!(answer.code(), *code, "{what}: {answer:?}");
            }
            Nothing => {}
        }
    }
    // Nothing else has come, and the session goes on.
    client.call("wamp.session.count", &[]).expect("a count");
}

fn check_broken(server: &Server, way: Way, hello: &Message, rows: &[&str]) {
    let what = format!("{way:?}: {rows:?}");
    let mut client = Client::join_as(server, way, hello.clone());
    for row in rows {
        client.send_row(row).expect("sent");
    }
    client.expect_abort(VIOLATION, &what);
}

fn check_bytes(server: &Server, way: Way, bytes: &[u8]) {
    let what = format!("{way:?}: {:02x?}", bytes.get(..bytes.len().min(32)));
    let mut client = Client::join(server, way);
    if way.over == Over::LongPoll {
        // A request says at once that there is nothing in it, or what came cannot be.
        if bytes.is_empty() {
            return assert_eq!(client.post("/send", b"").map(|it| it.0), Ok(400), "{what}");
        }
    }
    client.send_raw(bytes).expect("sent");
    client.expect_abort(VIOLATION, &what);
}

fn check_first(server: &Server, way: Way) {
    for (row, reason) in FIRST {
        let mut client = Client::new(server, way);
        client.send_row(row).expect("sent");
        client.expect_abort(reason, &format!("{way:?}: {row}"));
    }
    let mut client = Client::new(server, way);
    client.send_row("[3,{},\"a.b\"]").expect("sent");
    client.expect_end();
    // What is wrong is known once the client has shown who it is.
    let elsewhere = |realm: &str| match hello() {
        Message::Hello { details, .. } => Message::Hello {
            realm: realm.to_owned(),
            details,
        },
        other => other,
    };
    for (hello, ticket, reason) in [
        (
            elsewhere("nowhere"),
            server.token(),
            "wamp.error.no_such_realm",
        ),
        (
            hello(),
            "wrong".to_owned(),
            "wamp.error.authentication_denied",
        ),
        (
            elsewhere("nowhere"),
            "wrong".to_owned(),
            "wamp.error.authentication_denied",
        ),
    ] {
        let mut client = Client::new(server, way);
        let challenge = client.ask(&hello).expect("an answer");
        assert!(
            matches!(challenge, Message::Challenge { .. }),
            "{challenge:?}"
        );
        client
            .send(&Message::Authenticate {
                signature: ticket,
                extra: Dict::new(),
            })
            .expect("sent");
        client.expect_abort(reason, reason);
    }
}

/// Callees that the rows name: one has a procedure for itself, one shares it, one never answers.
fn callees(server: &Server) -> Client {
    let mut callee = Client::join(server, JSON);
    callee.register("refused.taken", Dict::new());
    callee.register("refused.shared", Dict::new().with("invoke", "roundrobin"));
    callee.register("refused.busy", Dict::new());
    callee
}

#[test]
fn whatever_rule_is_broken_it_is_said_so_and_nobody_else_is_disturbed() {
    let server = start(&[
        ("RESTANTE_LIMITS_AUTH_ATTEMPTS", "10000"),
        ("RESTANTE_LOG_LEVEL", "warn"),
        ("RESTANTE_STORAGE_SYNC", "never"),
    ]);
    let mut neighbour = Neighbour::new(&server);
    let callees = callees(&server);
    let server = &server;
    scope(|scope| {
        let check = |way: Way| {
            check_wrong(server, way);
            check_first(server, way);
            let plain = hello_with(&[]);
            // What goes by long-poll may overtake.
            let ascend = way.over != Over::LongPoll;
            let out_of_turn = OUT_OF_TURN.iter().filter(|_| ascend);
            let broken = BROKEN.iter().chain(out_of_turn);
            let broken = broken.map(|rows| (hello(), *rows));
            let unannounced = UNANNOUNCED.iter().map(|rows| (plain.clone(), *rows));
            for (hello, rows) in broken.chain(unannounced) {
                check_broken(server, way, &hello, rows);
            }
            let malformed = MALFORMED.iter().filter(|(of, _)| *of == way.serializer);
            malformed.for_each(|(_, bytes)| check_bytes(server, way, bytes));
            for (_, bomb) in BOMBS.iter().filter(|(of, _)| *of == way.serializer) {
                let head = written(way.serializer, "[16,1,{},\"a\",[1]]");
                let end = if way.serializer == Serializer::Json {
                    3
                } else {
                    1
                };
                let head = head.get(..head.len() - end).unwrap_or_default();
                check_bytes(server, way, &[head, &bomb.repeat(100_000)].concat());
                check_bytes(server, way, &bomb.repeat(100_000));
            }
        };
        let workers: Vec<_> = ways()
            .into_iter()
            .map(|way| scope.spawn(move || check(way)))
            .collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            neighbour.goes_on();
        }
    });
    neighbour.goes_on();
    drop((callees, neighbour));
    wait::until("no connection is left", || {
        (server.metric("restante_wamp_connections", "") == 0.0).then_some(())
    });
}

/// What is against the rules of what carries messages, before and after the client is known: the code of a WebSocket's close, and none
/// where the connection just ends.
#[test]
fn what_carries_messages_has_rules_too() {
    let server = start(&[]);
    let mut neighbour = Neighbour::new(&server);
    let way = |over, serializer| Way { over, serializer };
    let json = way(Over::WebSocket, Serializer::Json);
    let cbor = way(Over::WebSocket, Serializer::Cbor);
    let batched = way(Over::Batched, Serializer::Json);
    let lengths = way(Over::Batched, Serializer::Cbor);
    let good = b"[16,1,{},\"a\"]";
    let long = vec![b' '; (1 << 20) + 1];
    let unix = way(Over::Unix, Serializer::Json);
    for (way, bytes, code) in [
        (json, wire::message(wire::BINARY, good), Some(1002)),
        (cbor, wire::message(wire::TEXT, good), Some(1002)),
        (
            json,
            wire::message(wire::TEXT, b"[16,1,{},\"\xff\"]"),
            Some(1007),
        ),
        (json, wire::message(wire::TEXT, &long), Some(1009)),
        (cbor, wire::claim(wire::BINARY, 1 << 40), Some(1009)),
        (json, wire::unmasked(wire::TEXT, good), Some(1002)),
        (batched, wire::message(wire::TEXT, b""), Some(1002)),
        (batched, wire::message(wire::TEXT, good), Some(1002)),
        (lengths, wire::message(wire::BINARY, b""), Some(1002)),
        (
            lengths,
            wire::message(wire::BINARY, b"\0\0\0\x05ab"),
            Some(1002),
        ),
        (
            lengths,
            wire::message(wire::BINARY, b"\xff\xff\xff\xff"),
            Some(1002),
        ),
        (
            batched,
            wire::message(wire::TEXT, &b"\x1e".repeat(5000)),
            Some(1002),
        ),
        // Frames of no type, with reserved bits, too long.
        (RAW, vec![3, 0, 0, 0], None),
        (RAW, vec![7, 0, 0, 0], None),
        (RAW, vec![0x10, 0, 0, 1, 0], None),
        (RAW, vec![0x80, 0, 0, 1, 0], None),
        (RAW, vec![0x08, 0, 0, 0], None),
        (RAW, vec![0x00, 0xff, 0xff, 0xff], None),
        (unix, vec![3, 0, 0, 0], None),
    ] {
        for known in [true, false] {
            let mut client = match known {
                true => Client::join(&server, way),
                false => Client::new(&server, way),
            };
            client.write(&bytes).ok();
            let ended = client.receive_raw();
            assert_eq!(ended, Err(Gone::Lost), "{way:?} {:02x?}", bytes.get(..8));
            // A reset may be faster than what was said before it.
            assert!(
                client.closed.is_none() || client.closed == code,
                "{way:?} {:?}",
                client.closed
            );
            neighbour.goes_on();
        }
    }
}

/// What a connection begins with, and the octets that it is answered with.
#[test]
fn a_handshake_that_cannot_be_is_refused_as_the_transport_has_it() {
    let server = start(&[]);
    for (octets, answer) in [
        ([0x7f, 0xf5, 0, 0], &[0x7f, 0x10, 0, 0][..]),
        ([0x7f, 0xf0, 0, 0], &[0x7f, 0x10, 0, 0]),
        ([0x7f, 0x01, 0, 0], &[0x7f, 0x20, 0, 0]),
        ([0x7f, 0xf1, 1, 0], &[0x7f, 0x30, 0, 0]),
        ([0x7f, 0xf1, 0, 0x80], &[0x7f, 0x30, 0, 0]),
    ] {
        assert_eq!(said_to(&server, &octets), answer, "{octets:02x?}");
    }
    for protocol in ["wamp.2.flatbuffers", "wamp", "wamp.2.ubjson.batched"] {
        let said = said_to(&server, upgrade(protocol).as_bytes());
        assert!(
            said.starts_with(b"HTTP/1.1 400"),
            "{}",
            String::from_utf8_lossy(&said)
        );
    }
    for (path, status) in [
        ("/open", 400),
        ("/nobody/send", 404),
        ("/nobody/receive", 404),
    ] {
        let request = format!(
            "POST /wamp/lp{path} HTTP/1.1\r\nHost: broker\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let said = String::from_utf8_lossy(&said_to(&server, request.as_bytes())).into_owned();
        assert!(
            said.starts_with(&format!("HTTP/1.1 {status}")),
            "{path}: {said}"
        );
    }
    Neighbour::new(&server).goes_on();
}

/// All that comes, until the other side ends it.
fn said_to(server: &Server, bytes: &[u8]) -> Vec<u8> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(server.clients()).expect("a connection");
    stream
        .set_read_timeout(Some(wait::deadline()))
        .expect("a timeout");
    stream.write_all(bytes).expect("written");
    let mut said = Vec::new();
    stream.read_to_end(&mut said).ok();
    said
}

#[test]
fn an_answer_that_is_late_means_nothing_and_another_callee_s_is_a_violation() {
    let server = start(&[]);
    let mut neighbour = Neighbour::new(&server);
    for serializer in SERIALIZERS {
        let over = Over::RawSocket;
        let mut callee = Client::join(&server, Way { over, serializer });
        let mut caller = Client::join(&server, JSON);
        let mut stranger = Client::join(&server, Way { over, serializer });
        callee.register("late.answer", Dict::new());
        stranger.register("late.other", Dict::new());
        let request = caller.next_id();
        let called = super::client::call(request, "late.answer", &[]);
        caller.send(&called).expect("sent");
        let invocation = match callee.receive().expect("an INVOCATION") {
            Message::Invocation { request, .. } => request,
            other => panic!("{other:?}"),
        };
        let options = Dict::new().with("mode", "skip");
        let cancel = Message::Cancel { request, options };
        let canceled = caller.ask(&cancel).expect("an answer");
        assert!(
            matches!(&canceled, Message::Error { request_type: 48, error, .. } if error == "wamp.error.canceled"),
            "{canceled:?}"
        );
        // Canceled twice is canceled once.
        caller.send(&cancel).expect("sent");
        for row in [
            format!("[70,{invocation},{{}},[1]]"),
            format!("[70,{invocation},{{\"progress\":true}},[1]]"),
            format!("[8,68,{invocation},{{}},\"a.b\"]"),
            format!("[70,{invocation},{{\"progress\":1}}]"),
        ] {
            callee.send_row(&row).expect("sent");
        }
        callee.call("wamp.session.count", &[]).expect("it goes on");
        caller.call("wamp.session.count", &[]).expect("it goes on");
        // The first invocation of each callee has the same number: of its own there was none.
        stranger
            .send_row(&format!("[70,{invocation},{{}},[1]]"))
            .expect("sent");
        stranger.expect_abort(VIOLATION, "another's invocation");
        neighbour.goes_on();
    }
}

#[test]
fn a_client_that_says_nothing_is_not_waited_for() {
    let server = start(&[("RESTANTE_LIMITS_HANDSHAKE_TIME", "1s")]);
    let mut neighbour = Neighbour::new(&server);
    for way in [JSON, RAW] {
        let mut silent = Client::new(&server, way);
        silent.expect_end();
        // Nor one that does not answer CHALLENGE.
        let mut half = Client::new(&server, way);
        half.ask(&hello()).expect("a CHALLENGE");
        half.expect_abort("wamp.error.authentication_failed", "no AUTHENTICATE");
        neighbour.goes_on();
    }
}

#[test]
fn who_guesses_has_to_wait() {
    let server = start(&[("RESTANTE_LIMITS_AUTH_ATTEMPTS", "5")]);
    let mut neighbour = Neighbour::new(&server);
    let mut reasons = Vec::new();
    for n in 0..8 {
        let way = if n % 2 == 0 { JSON } else { RAW };
        let mut client = Client::new(&server, way);
        client.ask(&hello()).expect("a CHALLENGE");
        let signature = format!("guess {n}");
        let extra = Dict::new();
        match client
            .ask(&Message::Authenticate { signature, extra })
            .expect("an ABORT")
        {
            Message::Abort { reason, .. } => reasons.push(reason),
            other => panic!("{other:?}"),
        }
        client.expect_end();
    }
    let (denied, failed) = (
        "wamp.error.authentication_denied",
        "wamp.error.authentication_failed",
    );
    assert_eq!(reasons, [vec![denied; 5], vec![failed; 3]].concat());
    let throttled = server.metric("restante_auth_attempts_total", "reason=\"attempts\"");
    assert!(throttled >= 3.0, "{throttled}");
    neighbour.goes_on();
}

#[test]
fn where_ids_need_not_ascend_any_will_do() {
    let server = start(&[("RESTANTE_WAMP_SEQUENTIAL_IDS", "false")]);
    check_any_id(Client::join(&server, JSON));
    let server = start(&[]);
    let (over, serializer) = (Over::LongPoll, Serializer::Json);
    check_any_id(Client::join(&server, Way { over, serializer }));
}

fn check_any_id(mut client: Client) {
    // As clients do that draw them, for every kind of request.
    for (row, code) in [
        ("[32,4711,{},\"drawn.topic\"]", 33),
        ("[64,17,{},\"drawn.procedure\"]", 65),
        ("[48,9007199254740992,{},\"wamp.session.count\"]", 50),
        ("[48,16,{},\"wamp.session.count\"]", 50),
        ("[48,3,{},\"drawn.nobody\"]", 8),
        ("[48,2,{},\"drawn.procedure\"]", 68),
        ("[16,1,{\"acknowledge\":true},\"drawn.topic\"]", 17),
        ("[16,1,{\"acknowledge\":true},\"drawn.topic\"]", 17),
    ] {
        client.send_row(row).expect("sent");
        let answer = client.receive().expect("an answer");
        assert_eq!(answer.code(), code, "{row}: {answer:?}");
    }
    // Of a call in flight there is one.
    client
        .send_row("[48,2,{},\"drawn.procedure\"]")
        .expect("sent");
    client.expect_abort(VIOLATION, "a second call of the same id");
}

#[test]
fn undefined_as_its_serializers_have_it_is_nothing() {
    let server = start(&[]);
    for (serializer, bytes) in [
        // {"match": undefined}
        (
            Serializer::Cbor,
            &b"\x84\x18\x20\x01\xa1\x65match\xf7\x63a.b"[..],
        ),
        (
            Serializer::MsgPack,
            b"\x94\x20\x01\x81\xa5match\xd4\0\0\xa3a.b",
        ),
        // Ids as floats.
        (
            Serializer::Cbor,
            b"\x84\x18\x20\xfb\x3f\xf0\0\0\0\0\0\0\xa0\x63a.b",
        ),
        (
            Serializer::MsgPack,
            b"\x94\x20\xcb\x3f\xf0\0\0\0\0\0\0\x80\xa3a.b",
        ),
    ] {
        let over = Over::WebSocket;
        let mut client = Client::join(&server, Way { over, serializer });
        client.send_raw(bytes).expect("sent");
        let answer = client.receive().expect("an answer");
        assert!(
            matches!(answer, Message::Subscribed { request: 1, .. }),
            "{answer:?}"
        );
    }
}

/// What nobody can take is answered, once; the rest goes on.
#[test]
fn what_is_too_large_for_its_receiver_is_an_error_once() {
    // No ping wakes anybody.
    let server = start(&[("RESTANTE_WAMP_PING_INTERVAL", "1h")]);
    let mut small = Client::small(&server);
    let mut other = Client::join(&server, JSON);
    let large = "x".repeat(8000);
    small.register("small.callee", Dict::new());
    other.register("large.result", Dict::new());
    let size = "wamp.error.payload_size_exceeded";
    assert_eq!(
        other.call("small.callee", &[large.as_str().into()]),
        Err(size.to_owned())
    );
    // A result in pieces, of which one is too large, and the last is not.
    let request = small.next_id();
    let options = Dict::new().with("receive_progress", true);
    small
        .send(&Message::Call {
            request,
            options,
            procedure: "large.result".to_owned(),
            payload: super::client::args(&[]),
        })
        .expect("sent");
    let invocation = match other.receive().expect("an INVOCATION") {
        Message::Invocation { request, .. } => request,
        it => panic!("{it:?}"),
    };
    for (n, text) in ["first", &large, "third", "last"].into_iter().enumerate() {
        other
            .send(&Message::Yield {
                request: invocation,
                options: Dict::new().with("progress", n < 3),
                payload: super::client::args(&[Value::from(text)]),
            })
            .expect("sent");
    }
    let first = small.receive().expect("a piece");
    assert!(matches!(first, Message::Result { .. }), "{first:?}");
    let end = small.receive().expect("the end");
    assert!(
        matches!(&end, Message::Error { error, .. } if error == size),
        "{end:?}"
    );
    // It was the last word.
    small.call("wamp.session.count", &[]).expect("a count");
}

/// So that what is written down here is what is meant.
#[test]
fn rows_are_the_same_in_every_serializer() {
    for (row, _) in WRONG {
        let row = row.replace(",$", ",7");
        for serializer in SERIALIZERS {
            let bytes = written(serializer, &row);
            let message = decode(serializer, &bytes, &Limits::default());
            let of_json = decode(
                Serializer::Json,
                &Bytes::from(row.clone()),
                &Limits::default(),
            );
            let name = |it: Result<Message, _>| it.map(|it| it.name());
            assert_eq!(name(message), name(of_json), "{row}");
        }
    }
}
