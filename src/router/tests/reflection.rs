//! What is there, and what is said of it (wamp.md §15).

use serde_json::{Map, Value, json};

use super::rig::{Rig, id, matched};
use crate::router::{Match, Reflected, Refused};

fn schema(of: &str, title: &str) -> Map<String, Value> {
    let schema = json!({"type": of, "title": title});
    schema.as_object().unwrap().clone()
}

fn define(rig: &mut Rig, session: u64, uri: &str, title: &str) -> Result<bool, Refused> {
    let schema = schema("procedure", title);
    let router = &mut rig.router;
    router.define(
        id(session),
        uri,
        Reflected::Procedure,
        schema,
        &mut rig.sink,
    )
}

fn undefine(rig: &mut Rig, session: u64, uri: &str) -> bool {
    rig.router.undefine(id(session), uri, &mut rig.sink)
}

fn title(rig: &Rig, uri: &str) -> Option<String> {
    let (_, schema) = rig.router.definition(uri)?;
    Some(schema["title"].as_str().unwrap().to_owned())
}

#[test]
fn a_definition_stays_as_long_as_one_who_said_it() {
    let mut rig = Rig::of(&[1, 2, 3]);
    rig.subscribe(3, "wamp.reflect.", Match::Prefix);
    rig.read();
    assert_eq!(define(&mut rig, 1, "a.b", "x"), Ok(true));
    assert_eq!(rig.read().len(), 1);
    // Who says the same is another author, and nothing is new.
    assert_eq!(define(&mut rig, 2, "a.b", "x"), Ok(false));
    assert_eq!(define(&mut rig, 1, "a.b", "x"), Ok(false));
    assert!(undefine(&mut rig, 1, "a.b") && !undefine(&mut rig, 1, "a.b"));
    assert!(!undefine(&mut rig, 3, "a.b"));
    assert!(rig.read().is_empty());
    assert_eq!(title(&rig, "a.b").as_deref(), Some("x"));
    // Who says otherwise replaces it, and who said it before has no word in that.
    assert_eq!(define(&mut rig, 1, "a.b", "y"), Ok(true));
    assert_eq!(rig.read().len(), 1);
    rig.leave(2);
    assert_eq!(title(&rig, "a.b").as_deref(), Some("y"));
    rig.read();
    rig.leave(1);
    assert_eq!(title(&rig, "a.b"), None);
    assert_eq!(rig.read().len(), 1);
}

#[test]
fn what_is_there_is_listed() {
    let mut rig = Rig::of(&[1, 2]);
    rig.register(1, "a.b", matched(Match::Exact));
    rig.register(1, "a.", matched(Match::Prefix));
    rig.subscribe(2, "t..u", Match::Wildcard);
    rig.subscribe(2, "wamp.session.on_join", Match::Exact);
    define(&mut rig, 1, "a.b", "x").unwrap();
    define(&mut rig, 1, "c.d", "x").unwrap();
    let of_error = schema("error", "x");
    let router = &mut rig.router;
    let defined = router.define(id(1), "a.error", Reflected::Error, of_error, &mut rig.sink);
    assert_eq!(defined, Ok(true));
    for (of, expected) in [
        (Reflected::Procedure, &["a.", "a.b", "a.b", "c.d"][..]),
        (Reflected::Topic, &["t..u"]),
        (Reflected::Error, &["a.error"]),
    ] {
        let mut found = rig.router.reflected(of);
        found.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        let found: Vec<&str> = found.iter().map(|(uri, _)| &**uri).collect();
        assert_eq!(found, expected);
    }
    for (of, uri, expected) in [
        (Reflected::Procedure, "a.b", Some(Match::Exact)),
        (Reflected::Procedure, "a.", Some(Match::Prefix)),
        (Reflected::Procedure, "c.d", Some(Match::Exact)),
        (Reflected::Procedure, "a.x", None),
        (Reflected::Topic, "t..u", Some(Match::Wildcard)),
        (Reflected::Topic, "a.b", None),
        (Reflected::Topic, "wamp.session.on_join", None),
        (Reflected::Error, "a.error", Some(Match::Exact)),
        (Reflected::Error, "a.b", None),
    ] {
        assert_eq!(rig.router.how_reflected(of, uri), expected, "{uri}");
    }
}

#[test]
fn what_is_defined_is_bounded() {
    let mut rig = Rig::of(&[1, 2]);
    for uri in ["", "a..b", "wamp.a"] {
        assert_eq!(define(&mut rig, 1, uri, "x"), Err(Refused::InvalidUri));
    }
    let large = "x".repeat(16 << 10);
    let refused = |what| Err(Refused::TooMany(what));
    let found = define(&mut rig, 1, "a", &large);
    assert_eq!(found, refused("bytes of a definition"));
    for n in 0..256 {
        assert_eq!(define(&mut rig, 1, &format!("a.{n}"), "x"), Ok(true));
    }
    let found = define(&mut rig, 1, "b", "x");
    assert_eq!(found, refused("definitions of this session"));
    assert_eq!(define(&mut rig, 1, "a.0", "y"), Ok(true));
    assert!(undefine(&mut rig, 1, "a.0"));
    assert_eq!(define(&mut rig, 1, "b", "x"), Ok(true));
    // All of a session's together, and all of a realm's.
    let some = "x".repeat(15 << 10);
    let sessions: Vec<u64> = (1..=20).collect();
    let mut rig = Rig::of(&sessions);
    let mut define_many = |session: u64| {
        let mut n_defined = 0;
        loop {
            let uri = format!("a.{session}.{n_defined}");
            match define(&mut rig, session, &uri, &some) {
                Ok(_) => n_defined += 1,
                Err(why) => return (n_defined, why),
            }
        }
    };
    let mut n_before_it_is_full = 0;
    for session in &sessions {
        let (n_defined, why) = define_many(*session);
        n_before_it_is_full += n_defined;
        match why {
            Refused::TooMany("bytes of definitions of this session") => {
                assert!((66..70).contains(&n_defined), "{n_defined}");
            }
            why => {
                assert_eq!(why, Refused::TooMany("bytes of definitions in the realm"));
                break;
            }
        }
    }
    assert!(
        (1000..1200).contains(&n_before_it_is_full),
        "{n_before_it_is_full}"
    );
    for session in sessions {
        rig.leave(session);
    }
    let mut rest = Rig::of(&[7]);
    std::mem::swap(&mut rest.router, &mut rig.router);
    assert_eq!(rest.router.definition("a.1.0"), None);
}
