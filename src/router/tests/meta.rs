//! What the meta procedures answer (wamp.md §9.1 to §9.3).

use serde_json::{Value, json};

use super::rig::{Rig, id, matched, shared};
use crate::router::{Invoke, Match, is_meta_procedure};

/// Sessions 1 to 3; 1 and 2 share registration 1 and subscribe.
fn realm() -> Rig {
    let mut rig = Rig::of(&[1, 2, 3]);
    for session in [1, 2] {
        rig.register(session, "a.b", shared(Invoke::RoundRobin));
        rig.subscribe(session, "t.u", Match::Exact);
    }
    rig.register(1, "a.", matched(Match::Prefix));
    rig.register(1, "a..c", matched(Match::Wildcard));
    rig.subscribe(1, "t.", Match::Prefix);
    rig.subscribe(2, "t.", Match::Wildcard);
    rig
}

fn check(table: &[(&str, Value, Value)]) {
    for (procedure, args, expected) in table {
        let mut rig = realm();
        let found = rig.ask(3, &format!("wamp.{procedure}"), args.clone(), json!({}));
        assert_eq!(found, *expected, "{procedure} {args}");
    }
}

#[test]
fn sessions_are_counted_listed_and_described() {
    let about = json!([{"session": 2, "authid": "u2", "authrole": "guest", "authmethod": "ticket", "authprovider": "static"}]);
    check(&[
        ("session.count", json!([]), json!([3])),
        ("session.count", json!([null]), json!([3])),
        ("session.count", json!([["guest"]]), json!([3])),
        ("session.count", json!([["admin"]]), json!([0])),
        (
            "session.count",
            json!(["guest"]),
            json!("wamp.error.invalid_argument"),
        ),
        (
            "session.count",
            json!([[1]]),
            json!("wamp.error.invalid_argument"),
        ),
        ("session.list", json!([]), json!([[1, 2, 3]])),
        ("session.list", json!([["admin", "x"]]), json!([[]])),
        ("session.get", json!([2]), about),
        (
            "session.get",
            json!([9]),
            json!("wamp.error.no_such_session"),
        ),
        (
            "session.get",
            json!([0]),
            json!("wamp.error.invalid_argument"),
        ),
        (
            "session.get",
            json!([]),
            json!("wamp.error.invalid_argument"),
        ),
        (
            "session.get",
            json!([true]),
            json!("wamp.error.invalid_argument"),
        ),
    ]);
}

#[test]
fn registrations_are_looked_up() {
    let about = json!([{"id": 1, "created": "2023-11-14T22:13:20.007Z", "uri": "a.b", "match": "exact", "invoke": "roundrobin"}]);
    let unknown = json!("wamp.error.no_such_registration");
    let wrong = json!("wamp.error.invalid_argument");
    check(&[
        (
            "registration.list",
            json!([]),
            json!([{"exact": [1], "prefix": [2], "wildcard": [3]}]),
        ),
        (
            "registration.list",
            json!([2]),
            json!([{"exact": [1], "prefix": [], "wildcard": []}]),
        ),
        ("registration.lookup", json!(["a.b"]), json!([1])),
        (
            "registration.lookup",
            json!(["a.", {"match": "prefix"}]),
            json!([2]),
        ),
        (
            "registration.lookup",
            json!(["a..c", {"match": "wildcard"}]),
            json!([3]),
        ),
        (
            "registration.lookup",
            json!(["a.b", {"match": "prefix"}]),
            json!([null]),
        ),
        (
            "registration.lookup",
            json!(["a.b", {"match": "glob"}]),
            wrong.clone(),
        ),
        ("registration.lookup", json!(["a.b", 5]), wrong.clone()),
        ("registration.lookup", json!([5]), wrong.clone()),
        ("registration.match", json!(["a.b"]), json!([1])),
        ("registration.match", json!(["a.x.c"]), json!([2])),
        ("registration.match", json!(["x"]), json!([null])),
        ("registration.match", json!([]), wrong.clone()),
        ("registration.get", json!([1]), about),
        ("registration.get", json!([9]), unknown.clone()),
        ("registration.list_callees", json!([1]), json!([[1, 2]])),
        ("registration.list_callees", json!([9]), unknown.clone()),
        ("registration.count_callees", json!([1]), json!([2])),
        ("registration.count_callees", json!([9]), unknown.clone()),
        ("registration.count_callees", json!(["1"]), wrong.clone()),
        ("registration.remove_callee", json!([9, 1]), unknown.clone()),
        (
            "registration.remove_callee",
            json!([1, 9]),
            json!("wamp.error.no_such_session"),
        ),
        ("registration.remove_callee", json!([1, 3]), unknown),
        ("registration.remove_callee", json!([1]), wrong),
    ]);
}

#[test]
fn subscriptions_are_looked_up() {
    let about =
        json!([{"id": 1, "created": "2023-11-14T22:13:20.007Z", "uri": "t.u", "match": "exact"}]);
    let unknown = json!("wamp.error.no_such_subscription");
    let wrong = json!("wamp.error.invalid_argument");
    check(&[
        (
            "subscription.list",
            json!([]),
            json!([{"exact": [1], "prefix": [2], "wildcard": [3]}]),
        ),
        (
            "subscription.list",
            json!([2]),
            json!([{"exact": [1], "prefix": [], "wildcard": [3]}]),
        ),
        ("subscription.lookup", json!(["t.u"]), json!([1])),
        (
            "subscription.lookup",
            json!(["t.", {"match": "wildcard"}]),
            json!([3]),
        ),
        ("subscription.lookup", json!(["t"]), json!([null])),
        ("subscription.match", json!(["t.u"]), json!([[1, 2, 3]])),
        ("subscription.match", json!(["t.x"]), json!([[2, 3]])),
        ("subscription.match", json!(["x"]), json!([null])),
        ("subscription.get", json!([1]), about),
        ("subscription.get", json!([9]), unknown.clone()),
        ("subscription.list_subscribers", json!([1]), json!([[1, 2]])),
        ("subscription.list_subscribers", json!([9]), unknown.clone()),
        ("subscription.count_subscribers", json!([1]), json!([2])),
        (
            "subscription.count_subscribers",
            json!([9]),
            unknown.clone(),
        ),
        (
            "subscription.remove_subscriber",
            json!([9, 1]),
            unknown.clone(),
        ),
        ("subscription.remove_subscriber", json!([1, 3]), unknown),
        (
            "subscription.remove_subscriber",
            json!([1, 9]),
            json!("wamp.error.no_such_session"),
        ),
        ("subscription.remove_subscriber", json!([1]), wrong),
    ]);
}

#[test]
fn arguments_may_have_names() {
    let mut rig = realm();
    let kwargs = json!({"procedure": "a.", "match": "prefix"});
    assert_eq!(
        rig.ask(3, "wamp.registration.lookup", json!([]), kwargs),
        json!([2])
    );
    let kwargs = json!({"session": 2.0});
    assert_eq!(
        rig.ask(3, "wamp.session.get", json!([]), kwargs)[0]["authid"],
        "u2"
    );
}

#[test]
fn callees_and_subscribers_are_removed() {
    let mut rig = realm();
    rig.subscribe(3, "wamp.", Match::Prefix);
    rig.ask(
        3,
        "wamp.registration.remove_callee",
        json!([1, 1, "x.y"]),
        json!({}),
    );
    rig.ask(
        3,
        "wamp.registration.remove_callee",
        json!([1, 2]),
        json!({"reason": "x.z"}),
    );
    rig.ask(
        3,
        "wamp.subscription.remove_subscriber",
        json!([1, 2]),
        json!({}),
    );
    rig.expect(&[
        "1 unregistered 1 x.y",
        "3 registration.on_unregister [1,1]",
        "2 unregistered 1 x.z",
        "3 registration.on_unregister [2,1]",
        "3 registration.on_delete [2,1]",
        "2 unsubscribed 1 wamp.error.unsubscribed",
        "3 subscription.on_unsubscribe [2,1]",
    ]);
    let bad = rig.ask(
        3,
        "wamp.subscription.remove_subscriber",
        json!([1, 1, "no uri"]),
        json!({}),
    );
    assert_eq!(bad, json!("wamp.error.invalid_uri"));
}

#[test]
fn there_are_no_others() {
    let mut rig = realm();
    for procedure in [
        "wamp.session.nothing",
        "wamp.subscription.get_events",
        "a.b",
    ] {
        assert!(!is_meta_procedure(procedure));
        let found = rig.ask(1, procedure, json!([]), json!({}));
        assert_eq!(found, json!("wamp.error.no_such_procedure"));
    }
}

#[test]
fn every_one_that_is_named_is_there() {
    for procedure in crate::router::meta::PROCEDURES {
        assert!(is_meta_procedure(procedure), "{procedure}: not in order");
        let mut rig = realm();
        let found = rig.ask(3, procedure, json!([]), json!({}));
        assert_ne!(found, json!("wamp.error.no_such_procedure"), "{procedure}");
    }
}

#[test]
fn listings_have_pages() {
    let rig = realm();
    let router = &rig.router;
    let ids = |after, n_max| -> Vec<u64> {
        let page = router.sessions(after, n_max);
        page.iter().map(|it| it.session.get()).collect()
    };
    assert_eq!(ids(None, 2), [1, 2]);
    assert_eq!(ids(Some(id(2)), 2), [3]);
    assert!(ids(Some(id(3)), 2).is_empty());
    assert!(ids(None, 0).is_empty());
    let rows = router.registrations(None, 9);
    assert_eq!(rows.len(), 3);
    assert_eq!((&*rows[0].uri, rows[0].n_callees), ("a.b", 2));
    let rows = router.subscriptions(None, 1);
    assert_eq!((&*rows[0].uri, rows[0].n_subscribers), ("t.u", 2));
}

#[test]
fn calls_in_flight_are_listed() {
    let mut rig = realm();
    rig.call(3, 5, "a.x");
    let rows = rig.router.calls(None, 9);
    assert_eq!(rows.len(), 1);
    assert_eq!(
        (&*rows[0].procedure, rows[0].request, rows[0].invocation),
        ("a.x", 5, 1)
    );
    let registration = |router: &crate::router::Router<_>| {
        let rows = router.registrations(None, 9);
        rows.into_iter().find(|it| it.n_calls > 0)
    };
    let found = registration(&rig.router).unwrap();
    assert_eq!(found.n_calls, 1);
    let callee = found.first_callees[0];
    let held = rig.router.holdings(id(3));
    assert_eq!((held.calls, held.invocations), (1, 0));
    assert_eq!(rig.router.holdings(callee).invocations, 1);
    assert!(rig.router.calls(Some(rows[0].number), 9).is_empty());
    rig.error(callee.get(), 1, "x.why");
    assert_eq!(registration(&rig.router), None);
    assert_eq!(rig.router.holdings(id(3)).calls, 0);
}
