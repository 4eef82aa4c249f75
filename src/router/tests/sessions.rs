//! Coming, going, being sent away (wamp.md §3, §5, §9.1).

use serde_json::json;

use super::rig::{Rig, all_features, details, id};
use crate::router::{Features, Match, Refused, RegisterOptions, Transport};

#[test]
fn a_taken_id_is_refused() {
    let mut rig = Rig::of(&[1]);
    let again = rig
        .router
        .join(details(1, "admin"), Features::default(), &mut rig.sink);
    assert!(!again);
    assert_eq!(&*rig.router.session(id(1)).unwrap().authrole, "guest");
}

#[test]
fn who_comes_and_goes_is_told() {
    let mut rig = Rig::of(&[9]);
    rig.subscribe(9, "wamp.session.", Match::Prefix);
    let mut about = details(1, "guest");
    about.transport = Some(Transport {
        kind: "websocket",
        protocol: "wamp.2.json",
        peer: Some("127.0.0.1:7".into()),
        is_secure: false,
    });
    assert!(rig.router.join(about, all_features(), &mut rig.sink));
    rig.leave(1);
    rig.leave(1);
    let expected = json!([{
        "session": 1, "authid": "u1", "authrole": "guest", "authmethod": "ticket", "authprovider": "static",
        "transport": {"type": "websocket", "protocol": "wamp.2.json", "peer": "127.0.0.1:7", "secure": false},
    }]);
    rig.expect(&[
        &format!("9 session.on_join {expected}"),
        r#"9 session.on_leave [1,"u1","guest"]"#,
    ]);
}

#[test]
fn a_session_that_leaves_takes_everything_with_it() {
    let mut rig = Rig::of(&[1, 2, 9]);
    rig.subscribe(9, "wamp.", Match::Prefix);
    rig.subscribe(1, "wamp.", Match::Prefix);
    rig.subscribe(1, "a.b", Match::Exact);
    rig.procedure(1, "p.q");
    rig.procedure(2, "r.s");
    rig.call(1, 1, "r.s");
    rig.call(2, 1, "p.q");
    rig.read();
    rig.leave(1);
    rig.expect(&[
        "2 interrupt 1 killnowait wamp.error.canceled",
        "2 error 1 wamp.error.canceled",
        "9 subscription.on_unsubscribe [1,2]",
        "9 subscription.on_delete [1,2]",
        "9 registration.on_unregister [1,1]",
        "9 registration.on_delete [1,1]",
        r#"9 session.on_leave [1,"u1","guest"]"#,
    ]);
    for session in [2, 9] {
        rig.leave(session);
    }
    rig.read();
    rig.assert_empty();
}

#[test]
fn an_end_is_told_a_few_events_at_a_time() {
    let mut rig = Rig::of(&[1, 9]);
    for how in [Match::Prefix, Match::Exact] {
        rig.subscribe(9, "wamp.subscription.on_delete", how);
    }
    for n in 0..2000 {
        rig.subscribe(1, &format!("a.{n}"), Match::Exact);
    }
    rig.read();
    rig.leave(1);
    assert_eq!(rig.router.counts().subscriptions, 2, "all is over at once");
    assert_eq!(rig.sink.messages.len(), 0);
    let mut n_messages = 0;
    while rig.router.tell_news(256, &mut rig.sink) {
        let n_now = std::mem::take(&mut rig.sink.messages).len();
        assert_eq!(n_now, 512);
        n_messages += n_now;
    }
    n_messages += rig.sink.messages.len();
    assert_eq!(n_messages, 4000);
    // Where many listen, fewer at a time.
    rig.read();
    for session in 100..700 {
        rig.join(session, all_features());
        rig.subscribe(session, "wamp.session.on_leave", Match::Exact);
    }
    for session in 100..102 {
        rig.leave(session);
        rig.join(session, all_features());
        rig.leave(session);
    }
    rig.read();
    rig.leave(102);
    rig.leave(103);
    rig.leave(104);
    assert!(rig.router.tell_news(256, &mut rig.sink));
    assert_eq!(rig.sink.messages.len(), 2 * 595);
}

#[test]
fn nothing_is_kept_to_be_told_where_nobody_listens() {
    let mut rig = Rig::of(&[1]);
    rig.subscribe(1, "wamp.", Match::Prefix);
    rig.subscribe(1, "a", Match::Exact);
    rig.procedure(1, "b");
    rig.read();
    rig.leave(1);
    assert!(!rig.router.has_news());
    rig.assert_empty();
}

#[test]
fn who_has_left_does_nothing() {
    let mut rig = Rig::of(&[1, 2]);
    let registration = rig.procedure(1, "a.b");
    rig.call(2, 5, "a.b");
    rig.leave(1);
    rig.read();
    rig.yields(1, 1, "out");
    rig.error(1, 1, "x.y");
    assert_eq!(
        rig.unregister(1, registration),
        Err(Refused::NoSuchRegistration)
    );
    let refused = rig.try_register(1, "a.b", RegisterOptions::default());
    assert_eq!(refused, Err(Refused::NoSuchSession));
    rig.expect(&[]);
}

#[test]
fn a_killed_session_is_out_at_once() {
    let mut rig = Rig::of(&[1, 2]);
    rig.procedure(1, "a.b");
    rig.call(2, 5, "a.b");
    rig.read();
    let kill = rig
        .router
        .kill(id(1), Some("x.why"), Some("so"), &mut rig.sink);
    assert_eq!(kill, Ok(()));
    rig.expect(&["1 goodbye x.why so", "2 error 5 wamp.error.canceled"]);
    let again = rig.router.kill(id(1), None, None, &mut rig.sink);
    assert_eq!(again, Err(Refused::NoSuchSession));
}

/// Sessions 1 to 3 of `guest`, 7 of `admin`, asked by 1.
fn crowd() -> Rig {
    let mut rig = Rig::of(&[1, 2, 3]);
    let admin = details(7, "admin");
    assert!(rig.router.join(admin, all_features(), &mut rig.sink));
    rig.subscribe(1, "wamp.session.on_leave", Match::Exact);
    rig
}

#[test]
fn sessions_are_killed_by_what_they_are() {
    let left = |session, role| format!(r#"1 session.on_leave [{session},"u{session}","{role}"]"#);
    let (two, three, seven) = (left(2, "guest"), left(3, "guest"), left(7, "admin"));
    let closed = |session| format!("{session} goodbye wamp.close.killed");
    let (gone2, gone3, gone7) = (closed(2), closed(3), closed(7));
    for (procedure, args, answer, said) in [
        ("kill", json!([7]), json!([]), vec![&gone7, &seven]),
        (
            "kill_by_authid",
            json!(["u2"]),
            json!([[2]]),
            vec![&gone2, &two],
        ),
        ("kill_by_authid", json!(["u1"]), json!([[]]), vec![]),
        (
            "kill_by_authrole",
            json!(["guest"]),
            json!([2]),
            vec![&gone2, &gone3, &two, &three],
        ),
        ("kill_by_authrole", json!(["nobody"]), json!([0]), vec![]),
        (
            "kill_all",
            json!([]),
            json!([3]),
            vec![&gone2, &gone3, &gone7],
        ),
    ] {
        let mut rig = crowd();
        let found = rig.ask(1, &format!("wamp.session.{procedure}"), args, json!({}));
        assert_eq!(found, answer, "{procedure}");
        assert_eq!(rig.read().iter().collect::<Vec<_>>(), said, "{procedure}");
        assert!(rig.router.session(id(1)).is_some());
    }
}

#[test]
fn a_killer_gives_its_reason() {
    let mut rig = crowd();
    let kwargs = json!({"reason": "x.y", "message": "out"});
    rig.ask(1, "wamp.session.kill_all", json!([]), kwargs);
    rig.expect(&[
        "2 goodbye x.y out",
        "3 goodbye x.y out",
        "7 goodbye x.y out",
    ]);
}

#[test]
fn what_cannot_be_killed_is_an_error_and_kills_nobody() {
    for (procedure, args, kwargs, expected) in [
        ("kill", json!([1]), json!({}), "wamp.error.no_such_session"),
        ("kill", json!([99]), json!({}), "wamp.error.no_such_session"),
        ("kill", json!([]), json!({}), "wamp.error.invalid_argument"),
        (
            "kill",
            json!(["2"]),
            json!({}),
            "wamp.error.invalid_argument",
        ),
        (
            "kill",
            json!([2.5]),
            json!({}),
            "wamp.error.invalid_argument",
        ),
        (
            "kill",
            json!([2]),
            json!({"reason": "no reason"}),
            "wamp.error.invalid_uri",
        ),
        (
            "kill",
            json!([2]),
            json!({"reason": 5}),
            "wamp.error.invalid_argument",
        ),
        (
            "kill",
            json!([2]),
            json!({"message": 5}),
            "wamp.error.invalid_argument",
        ),
        (
            "kill_by_authid",
            json!([2]),
            json!({}),
            "wamp.error.invalid_argument",
        ),
        (
            "kill_by_authrole",
            json!([]),
            json!({}),
            "wamp.error.invalid_argument",
        ),
        (
            "kill_by_authrole",
            json!(["guest"]),
            json!({"reason": "a..b"}),
            "wamp.error.invalid_uri",
        ),
        (
            "kill_all",
            json!([]),
            json!({"reason": ""}),
            "wamp.error.invalid_uri",
        ),
    ] {
        let mut rig = crowd();
        let found = rig.ask(
            1,
            &format!("wamp.session.{procedure}"),
            args.clone(),
            kwargs,
        );
        assert_eq!(found, json!(expected), "{procedure} {args}");
        rig.expect(&[]);
        assert_eq!(rig.router.counts().sessions, 4);
    }
}

#[test]
fn an_id_may_come_as_a_float() {
    let mut rig = crowd();
    rig.ask(1, "wamp.session.kill", json!([7.0]), json!({}));
    assert_eq!(rig.read()[0], "7 goodbye wamp.close.killed");
}
