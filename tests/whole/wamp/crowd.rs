//! WAMP clients that do not read, that die with calls in their hands, or that come and go all at once: each gets what it is due, nobody
//! else waits for it, and nothing of it stays.

use std::sync::Barrier;
use std::thread::scope;

use bytes::BytesMut;
use restante_proto::wamp::{Dict, Message, Serializer, Value, encode};

use super::client::{Client, JSON, Neighbour, Over, RAW, Way, args, call, publish};
use crate::peer::Gone;
use crate::server::Server;
use crate::wait;

const BODY: usize = 64 * 1024;
/// More than all buffers on the way hold.
const MESSAGES: u32 = 800;
const GROWTH_KIB_MAX: u64 = 32 * 1024;

fn body() -> Value {
    "x".repeat(BODY).into()
}

/// What happens costs about as much memory as is bounded.
fn bounded(server: &Server, act: impl FnOnce()) {
    let before = server.resident_kib();
    act();
    let after = server.resident_kib();
    println!("resident: {before} KiB, then {after} KiB");
    assert!(
        after < before + GROWTH_KIB_MAX,
        "from {before} to {after} KiB"
    );
}

#[test]
fn a_subscriber_that_does_not_read_costs_nobody_else_anything() {
    let server = Server::start();
    let mut lazy: Vec<Client> = [JSON, RAW]
        .into_iter()
        .map(|way| {
            let mut client = Client::join(&server, way);
            client.subscribe("flood", Dict::new());
            client
        })
        .collect();
    let mut busy = Client::join(&server, JSON);
    busy.subscribe("flood", Dict::new());
    let mut neighbour = Neighbour::new(&server);
    neighbour.goes_on();
    bounded(&server, || {
        for _ in 0..MESSAGES {
            let request = busy.next_id();
            let to_self = Dict::new().with("exclude_me", false);
            let event = publish(request, "flood", to_self, &[body()]);
            // It reads: it gets all of them.
            let came = busy.ask(&event);
            assert!(matches!(came, Ok(Message::Event { .. })), "{came:?}");
        }
        neighbour.goes_on();
    });
    // What they missed is counted, and they go on from there once they read.
    assert!(server.metric("restante_messages_dropped_total", "") > 0.0);
    for client in &mut lazy {
        assert!(matches!(client.receive(), Ok(Message::Event { .. })));
    }
}

/// As many calls, as bytes.
fn calls(client: &mut Client, procedure: &str, given: &[Value]) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..MESSAGES {
        let mut bytes = BytesMut::new();
        let called = call(client.next_id(), procedure, given);
        encode(client.way.serializer, &called, &mut bytes).expect("a message");
        all.extend(client.framed(&bytes));
    }
    all
}

#[test]
fn a_caller_that_does_not_read_costs_nobody_else_anything() {
    let server = Server::start();
    let mut callee = Client::join(&server, RAW);
    callee.register("flood", Dict::new());
    callee.register("enough", Dict::new());
    let mut neighbour = Neighbour::new(&server);
    let mut lazy = Client::join(&server, RAW);
    bounded(&server, || {
        scope(|scope| {
            // It answers with more than it is asked, until it has answered `enough`.
            let answers = scope.spawn(|| answer_all(&mut callee));
            let all = calls(&mut lazy, "flood", &[]);
            lazy.pour(&all, 1);
            neighbour.goes_on();
            let mut other = Client::join(&server, JSON);
            other.call("flood", &[]).expect("the callee is well");
            other
                .call("enough", &["enough".into()])
                .expect("the callee is well");
            let n_answers = answers.join().expect("it went well");
            assert!(n_answers > 1);
        });
        neighbour.goes_on();
    });
}

/// How many invocations it answered.
fn answer_all(callee: &mut Client) -> u32 {
    let mut n_answers = 0;
    loop {
        match callee.receive().expect("not disturbed") {
            Message::Invocation {
                request, payload, ..
            } => {
                n_answers += 1;
                callee
                    .send(&Message::Yield {
                        request,
                        options: Dict::new(),
                        payload: args(&[body()]),
                    })
                    .expect("sent");
                if !payload.is_empty() {
                    return n_answers;
                }
            }
            // Of a caller that is gone.
            Message::Interrupt { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_callee_that_does_not_read_gets_so_many_calls_and_when_it_dies_each_is_answered() {
    let server = Server::start();
    let mut lazy = Client::join(&server, RAW);
    lazy.register("lazy", Dict::new());
    let mut neighbour = Neighbour::new(&server);
    let mut caller = Client::join(&server, RAW);
    let all = calls(&mut caller, "lazy", &[body()]);
    bounded(&server, || {
        caller.write(&all).expect("it is read");
        let n_refused = u32::try_from(unavailable(&mut caller)).expect("few");
        neighbour.goes_on();
        println!("{n_refused} of {MESSAGES} calls were refused");
        assert!(n_refused > 0 && n_refused < MESSAGES);
        // With what it has not read, as of a process that dies.
        drop(lazy);
        for _ in n_refused..MESSAGES {
            match caller.receive().expect("an answer") {
                Message::Error { error, .. } => assert_eq!(error, "wamp.error.canceled"),
                other => panic!("{other:?}"),
            }
        }
    });
    neighbour.goes_on();
    let nobody = Err("wamp.error.no_such_procedure".to_owned());
    assert_eq!(caller.call("lazy", &[]), nobody);
}

/// How many calls are refused, up to the answer to a call behind all others.
fn unavailable(caller: &mut Client) -> usize {
    let request = caller.next_id();
    caller
        .send(&call(request, "wamp.session.count", &[]))
        .expect("sent");
    let mut n = 0;
    loop {
        match caller.receive().expect("an answer") {
            // The only callee is unavailable; the latter where the call was not kept for another.
            Message::Error { error, .. } => assert!(
                ["no_available_callee", "unavailable"]
                    .iter()
                    .any(|it| error.strip_prefix("wamp.error.") == Some(it)),
                "{error}"
            ),
            Message::Result { .. } => return n,
            other => panic!("{other:?}"),
        }
        n += 1;
    }
}

#[test]
fn of_a_callee_that_dies_every_caller_hears() {
    let server = Server::start();
    let mut neighbour = Neighbour::new(&server);
    for dies in [true, false] {
        let mut callee = Client::join(&server, JSON);
        callee.register("mortal", Dict::new());
        let mut callers: Vec<Client> = [JSON, RAW, JSON, RAW]
            .map(|way| Client::join(&server, way))
            .into();
        for caller in &mut callers {
            for _ in 0..25 {
                let request = caller.next_id();
                caller.send(&call(request, "mortal", &[])).expect("sent");
            }
        }
        for _ in 0..100 {
            let came = callee.receive();
            assert!(matches!(came, Ok(Message::Invocation { .. })), "{came:?}");
        }
        neighbour.goes_on();
        match dies {
            true => drop(callee.cut()),
            false => callee
                .send(&Message::Goodbye {
                    details: Dict::new(),
                    reason: "wamp.close.normal".to_owned(),
                })
                .expect("sent"),
        }
        for caller in &mut callers {
            for n in 1..=25 {
                match caller.receive().expect("an answer") {
                    Message::Error { request, error, .. } => {
                        assert_eq!((request, &*error), (n, "wamp.error.canceled"));
                    }
                    other => panic!("{other:?}"),
                }
            }
            let count = caller.call("wamp.session.count", &[]);
            assert!(count.is_ok(), "nothing comes twice");
        }
        neighbour.goes_on();
    }
}

#[test]
fn a_thousand_sessions_come_and_go_and_leave_nothing() {
    const THREADS: usize = 8;
    const SESSIONS: usize = 25;
    const ROUNDS: usize = 5;
    let server = Server::with(&[
        ("RESTANTE_STORAGE_SYNC", "never"),
        ("RESTANTE_LIMITS_UNAUTHENTICATED_PER_ADDRESS", "1000"),
    ]);
    let mut observer = Client::join(&server, JSON);
    let mut busy = Client::join(&server, RAW);
    busy.register("crowd.busy", Dict::new());
    let at_once = Barrier::new(THREADS);
    scope(|scope| {
        for thread in 0..THREADS {
            let (server, at_once) = (&server, &at_once);
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let sessions = (0..SESSIONS).map(|n| visit(server, thread * SESSIONS + n));
                    let sessions: Vec<Client> = sessions.collect();
                    at_once.wait();
                    sessions.into_iter().enumerate().for_each(leave);
                }
            });
        }
    });
    // Of the two that stay, the one has a registration.
    let left = |observer: &mut Client| {
        let sessions = observer.call("wamp.session.count", &[]);
        let lists = ["wamp.subscription.list", "wamp.registration.list"];
        (sessions, lists.map(|list| n_listed(observer, list)))
    };
    let wanted = (Ok(vec![Value::Int(2)]), [0, 1]);
    wait::until("nothing is left of them", || {
        (left(&mut observer) == wanted).then_some(())
    });
    drop(busy);
    drop(observer);
    wait::until("no connection is left", || {
        (server.metric("restante_wamp_connections", "") == 0.0).then_some(())
    });
}

/// How many ids a list has, of all kinds of matching.
fn n_listed(observer: &mut Client, procedure: &str) -> usize {
    let listed = observer.call(procedure, &[]).expect("lists");
    let listed = listed.first().and_then(Value::as_dict).expect("a dict");
    let lists = listed.iter().filter_map(|(_, ids)| ids.as_list());
    lists.map(<[Value]>::len).sum()
}

/// Somebody who subscribes, registers, calls, and is called.
fn visit(server: &Server, n: usize) -> Client {
    let serializers = [Serializer::Json, Serializer::MsgPack, Serializer::Cbor];
    let serializer = *serializers.get(n % 3).expect("one of them");
    let over = if n.is_multiple_of(2) {
        Over::WebSocket
    } else {
        Over::RawSocket
    };
    let mut client = Client::join(server, Way { over, serializer });
    client.subscribe("crowd.all", Dict::new());
    client.subscribe(
        &format!("crowd.of.{n}"),
        Dict::new().with("match", "prefix"),
    );
    client.register(&format!("crowd.of.{n}"), Dict::new());
    client.register("crowd.shared", Dict::new().with("invoke", "roundrobin"));
    let request = client.next_id();
    client
        .send(&call(request, "crowd.busy", &[]))
        .expect("sent");
    client
}

/// In order, or not.
fn leave((n, mut client): (usize, Client)) {
    if n.is_multiple_of(2) {
        client.cut();
        return;
    }
    let goodbye = Message::Goodbye {
        details: Dict::new(),
        reason: "wamp.close.normal".to_owned(),
    };
    client.send(&goodbye).expect("sent");
    loop {
        match client.receive() {
            Ok(Message::Goodbye { .. }) => return,
            Ok(_) => {}
            Err(Gone::Lost | Gone::Cut) => panic!("no GOODBYE"),
        }
    }
}
