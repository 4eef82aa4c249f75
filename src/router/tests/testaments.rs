//! Testaments (wamp.md §9.4).

use serde_json::{Value, json};

use super::rig::{Rig, all_features};
use crate::router::{Limits, Scope};

const ADD: &str = "wamp.session.add_testament";
const FLUSH: &str = "wamp.session.flush_testaments";

fn topics(rig: &mut Rig) -> Vec<String> {
    rig.testaments()
        .iter()
        .map(|it| it.topic.to_string())
        .collect()
}

fn add(rig: &mut Rig, topic: &str, scope: &str) -> Value {
    rig.ask(1, ADD, json!([topic, ["x"], {}]), json!({"scope": scope}))
}

#[test]
fn they_are_given_out_in_order_detached_first() {
    let mut rig = Rig::of(&[1, 2]);
    for (topic, scope) in [
        ("a", "destroyed"),
        ("b", "detached"),
        ("c", "destroyed"),
        ("d", "detached"),
    ] {
        assert_eq!(add(&mut rig, topic, scope), json!([]));
    }
    rig.leave(2);
    assert!(topics(&mut rig).is_empty());
    rig.leave(1);
    assert_eq!(topics(&mut rig), ["b", "d", "a", "c"]);
}

#[test]
fn one_says_all_that_was_asked_for() {
    let mut rig = Rig::of(&[1]);
    let options = json!({"publish_options": {"retain": true}});
    rig.ask(1, ADD, json!(["a.b", [1, "x"], {"k": 2}]), options);
    rig.leave(1);
    let testament = rig.testaments().pop().unwrap();
    assert_eq!(&*testament.author.authid, "u1");
    assert_eq!(&*testament.author.authrole, "guest");
    assert_eq!(testament.args, [json!(1), json!("x")]);
    assert_eq!(Value::from(testament.kwargs), json!({"k": 2}));
    assert_eq!(Value::from(testament.options), json!({"retain": true}));
}

#[test]
fn a_flushed_scope_is_empty() {
    let mut rig = Rig::of(&[1]);
    for (topic, scope) in [("a", "destroyed"), ("b", "detached"), ("c", "destroyed")] {
        add(&mut rig, topic, scope);
    }
    assert_eq!(rig.ask(1, FLUSH, json!([]), json!({})), json!([2]));
    assert_eq!(
        rig.ask(1, FLUSH, json!([]), json!({"scope": "destroyed"})),
        json!([0])
    );
    rig.leave(1);
    assert_eq!(topics(&mut rig), ["b"]);
}

#[test]
fn what_is_wrong_is_refused() {
    let mut rig = Rig::of(&[1]);
    for (args, kwargs, expected) in [
        (json!([]), json!({}), "wamp.error.invalid_argument"),
        (json!([5]), json!({}), "wamp.error.invalid_argument"),
        (json!(["a", "x"]), json!({}), "wamp.error.invalid_argument"),
        (
            json!(["a", [], []]),
            json!({}),
            "wamp.error.invalid_argument",
        ),
        (
            json!(["a", [], {}]),
            json!({"scope": "never"}),
            "wamp.error.invalid_argument",
        ),
        (
            json!(["a", [], {}]),
            json!({"publish_options": 1}),
            "wamp.error.invalid_argument",
        ),
        (json!(["a..b", [], {}]), json!({}), "wamp.error.invalid_uri"),
        (
            json!(["wamp.x", [], {}]),
            json!({}),
            "wamp.error.invalid_uri",
        ),
    ] {
        assert_eq!(
            rig.ask(1, ADD, args.clone(), kwargs),
            json!(expected),
            "{args}"
        );
    }
    let wrong = json!({"scope": 5});
    assert_eq!(
        rig.ask(1, FLUSH, json!([]), wrong),
        json!("wamp.error.invalid_argument")
    );
    rig.leave(1);
    assert!(topics(&mut rig).is_empty());
}

#[test]
fn they_are_limited_in_number_and_bytes() {
    let mut rig = Rig::with(Limits {
        testaments_per_session_max: 2,
        testament_bytes_max: 2000,
        ..Limits::default()
    });
    rig.join(1, all_features());
    add(&mut rig, "a", "destroyed");
    let long = json!(["b", ["x".repeat(2000)]]);
    assert_eq!(
        rig.ask(1, ADD, long, json!({})),
        json!("restante.error.limit_exceeded")
    );
    add(&mut rig, "c", "detached");
    assert_eq!(
        add(&mut rig, "d", "destroyed"),
        json!("restante.error.limit_exceeded")
    );
    rig.ask(1, FLUSH, json!([]), json!({}));
    add(&mut rig, "e", "destroyed");
    rig.leave(1);
    assert_eq!(topics(&mut rig), ["c", "e"]);
}

#[test]
fn who_is_killed_has_them_and_who_goes_with_all_has_not() {
    for (procedure, args, expected) in [
        ("kill", json!([1]), &["a"][..]),
        ("kill_all", json!([]), &[]),
    ] {
        let mut rig = Rig::of(&[1, 2]);
        add(&mut rig, "a", "destroyed");
        rig.ask(2, &format!("wamp.session.{procedure}"), args, json!({}));
        assert_eq!(topics(&mut rig), expected);
    }
}

#[test]
fn scopes_have_names() {
    assert_eq!(Scope::named("detached"), Some(Scope::Detached));
    assert_eq!(Scope::named("destroyed"), Some(Scope::default()));
    assert_eq!(Scope::named(""), None);
}
