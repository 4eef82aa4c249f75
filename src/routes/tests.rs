//! What routes make of messages.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::registry::{Choose, Condition, DocumentId, Route, Target};

const LIMITS: AddressLimits = AddressLimits {
    bytes_max: 64,
    segments_max: 8,
};

fn route(filter: &str, to: &[&str]) -> Route {
    let to = to.iter().map(|address| Target {
        address: (*address).to_owned(),
        weight: 1,
    });
    Route {
        description: String::new(),
        disabled: false,
        order: 0,
        filter: filter.to_owned(),
        when: Vec::new(),
        unrouted: false,
        to: to.collect(),
        choose: Choose::All,
        shard_by: None,
        keep: false,
        last: false,
    }
}

fn table(routes: &[(&str, Route)]) -> RouteTable {
    let mut registry = Registry::default();
    for (name, route) in routes {
        let id = DocumentId {
            kind: DocumentKind::Route,
            realm: "default".to_owned(),
            name: (*name).to_owned(),
        };
        registry = registry.with(8, &[(id, Some(Document::Route(route.clone())))]);
    }
    tables(&registry, LIMITS)
        .remove("default")
        .unwrap_or_default()
}

fn message(key: Option<&str>) -> NewMessage {
    NewMessage {
        key: key.map(str::to_owned),
        properties: BTreeMap::from([("region".to_owned(), "eu".to_owned())]),
        ..NewMessage::default()
    }
}

/// Where a message goes: `=` is where it was sent to; none: no route takes it.
fn goes(table: &RouteTable, address: &str) -> Option<Vec<String>> {
    let message = message(Some("k"));
    let sent = Sent {
        address,
        message: &message,
        id: b"1",
    };
    let routed = table.route(&sent)?;
    let stays = routed.stays.then(|| "=".to_owned());
    Some(stays.into_iter().chain(routed.to).collect())
}

fn is(table: &RouteTable, address: &str, expected: &[&str]) {
    assert_eq!(
        goes(table, address).unwrap_or_else(|| vec!["none".to_owned()]),
        expected,
        "{address}"
    );
}

#[test]
fn a_message_that_no_route_takes_stays() {
    let off = Route {
        disabled: true,
        ..route("#", &["y"])
    };
    let table = table(&[("a", route("a/+", &["x"])), ("off", off)]);
    assert_eq!(goes(&table, "b"), None);
    assert_eq!(goes(&table, "a/b/c"), None);
    is(&table, "a/b", &["x"]);
}

#[test]
fn a_route_without_targets_drops() {
    let keep = Route {
        keep: true,
        ..route("kept", &[])
    };
    let table = table(&[("drop", route("gone/#", &[])), ("keep", keep)]);
    is(&table, "gone/x", &[]);
    is(&table, "kept", &["="]);
}

#[test]
fn routes_count_in_their_order() {
    let last = Route {
        order: -1,
        last: true,
        ..route("a/last", &["first"])
    };
    let routes = [
        (
            "z",
            Route {
                order: -5,
                ..route("a/+", &["one", "two"])
            },
        ),
        ("b", route("a/#", &["two", "three"])),
        ("c", last),
    ];
    let table = table(&routes);
    is(&table, "a/x", &["one", "two", "three"]);
    is(&table, "a/last", &["one", "two", "first"]);
}

#[test]
fn captures_are_filled_in() {
    let table = table(&[(
        "a",
        route(
            "a/+/b/#",
            &["x/{2}/{1}", "pre-{1}", "y/{2}", "{3}", "{}z{x}"],
        ),
    )]);
    // A capture that is not there: the whole route is left out.
    assert!(table.is_empty());
    let table = self::table(&[(
        "a",
        route("a/+/b/#", &["x/{2}/{1}", "pre-{1}", "y/{2}", "{}z{x}"]),
    )]);
    is(
        &table,
        "a/1/b/2/3",
        &["x/2/3/1", "pre-1", "y/2/3", "{}z{x}"],
    );
    // `#` stands for nothing here, and `x//1` would be no address: the route does not take it.
    assert_eq!(goes(&table, "a/1/b"), None);
    let table = self::table(&[("a", route("a/#", &["y/{1}"]))]);
    is(&table, "a", &["y"]);
    is(&table, "a/b", &["y/b"]);
    // A prefix stands for all from its own beginning on.
    let table = self::table(&[("a", route("+/bc#", &["y/{2}/{1}"]))]);
    is(&table, "a/bc", &["y/bc/a"]);
    is(&table, "a/bcd/e", &["y/bcd/e/a"]);
    assert_eq!(goes(&table, "a/b"), None);
}

#[test]
fn nothing_is_routed_to_an_address_that_is_none() {
    for to in [
        "{1}",
        "~x/{1}",
        "$sys/{1}",
        "a/+/{1}",
        "x/{1}/1/2/3/4/5/6/7/8",
    ] {
        let table = table(&[("a", route("a/+", &[to]))]);
        let expected = (to == "{1}").then(|| vec!["b".to_owned()]);
        assert_eq!(goes(&table, "a/b"), expected, "{to}");
    }
}

#[test]
fn back_to_where_it_came_from_is_staying() {
    let table = table(&[("a", route("a", &["b", "a"])), ("b", route("b", &["a"]))]);
    is(&table, "a", &["=", "b"]);
    is(&table, "b", &["a"]);
}

#[test]
fn all_conditions_must_hold() {
    let condition = |field: &str, is: &[&str], not| Condition {
        field: field.to_owned(),
        is: is.iter().map(|it| (*it).to_owned()).collect(),
        not,
    };
    for (conditions, taken) in [
        (vec![condition("key", &["k"], false)], true),
        (vec![condition("key", &["x", "k"], false)], true),
        (vec![condition("key", &["x"], false)], false),
        (vec![condition("key", &["x"], true)], true),
        (vec![condition("key", &[], false)], true),
        (vec![condition("reply-to", &[], false)], false),
        (vec![condition("reply-to", &[], true)], true),
        (vec![condition("reply-to", &["x"], true)], true),
        (vec![condition("priority", &["0"], false)], true),
        (vec![condition("property.region", &["eu"], false)], true),
        (vec![condition("property.none", &[], false)], false),
        (
            vec![
                condition("key", &["k"], false),
                condition("property.region", &["us"], false),
            ],
            false,
        ),
    ] {
        let text = format!("{conditions:?}");
        let when = Route {
            when: conditions,
            ..route("a", &["x"])
        };
        assert_eq!(goes(&table(&[("a", when)]), "a").is_some(), taken, "{text}");
    }
    let unknown = Route {
        when: vec![condition("colour", &[], false)],
        ..route("a", &["x"])
    };
    assert!(table(&[("a", unknown)]).is_empty());
}

fn sharded(targets: &[&str], choose: Choose) -> RouteTable {
    let route = Route {
        choose,
        shard_by: Some("key".to_owned()),
        ..route("a", targets)
    };
    table(&[("a", route)])
}

fn shard(table: &RouteTable, key: Option<&str>, id: &[u8]) -> String {
    let message = message(key);
    let sent = Sent {
        address: "a",
        message: &message,
        id,
    };
    table.route(&sent).unwrap().to.to_vec().concat()
}

#[test]
fn a_shard_is_always_the_same_and_moves_little_when_targets_change() {
    let four = sharded(&["s/1", "s/2", "s/3", "s/4"], Choose::Shard);
    let five = sharded(&["s/1", "s/2", "s/3", "s/4", "s/5"], Choose::Shard);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut moved = 0;
    for n in 0..1000 {
        let key = format!("customer-{n}");
        let (before, after) = (
            shard(&four, Some(&key), b"1"),
            shard(&five, Some(&key), b"1"),
        );
        assert_eq!(before, shard(&four, Some(&key), b"2"));
        assert!(after == before || after == "s/5");
        moved += u32::from(after != before);
        *counts.entry(before).or_default() += 1;
    }
    assert!(
        counts.values().all(|n| (150..350).contains(n)),
        "{counts:?}"
    );
    assert!((100..300).contains(&moved), "{moved}");
    assert_eq!(shard(&four, None, b"1"), "s/1");
    // Fixed for ever: another answer would tear keys apart at an upgrade.
    assert_eq!(
        ["a", "b", "c"]
            .map(|key| shard(&four, Some(key), b"1"))
            .concat(),
        SHARDS_OF_ABC
    );
}

const SHARDS_OF_ABC: &str = "s/2s/2s/3";

#[test]
fn weights_are_shares() {
    let mut route = route("a", &["heavy", "light", "off"]);
    route.choose = Choose::Weight;
    for (target, weight) in route.to.iter_mut().zip([9, 1, 0]) {
        target.weight = weight;
    }
    let table = table(&[("a", route)]);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for n in 0_u64..2000 {
        *counts
            .entry(shard(&table, None, &n.to_be_bytes()))
            .or_default() += 1;
    }
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!((1700..1900).contains(&counts["heavy"]), "{counts:?}");
}

#[test]
fn what_is_explained_is_what_happens() {
    let unmet = Route {
        when: vec![Condition {
            field: "key".to_owned(),
            is: vec!["other".to_owned()],
            not: false,
        }],
        ..route("a/+", &["never"])
    };
    let late = Route {
        unrouted: true,
        ..route("#", &["lost/{1}"])
    };
    let table = table(&[
        ("one", route("a/#", &["x/{1}"])),
        ("two", unmet),
        ("bad", route("a/+", &["$sys"])),
        ("late", late),
    ]);
    let message = message(Some("k"));
    let sent = Sent {
        address: "a/b",
        message: &message,
        id: b"1",
    };
    let (routed, steps) = table.explain(&sent, false);
    assert_eq!(routed, table.route(&sent));
    let taken: Vec<(&str, bool)> = steps.iter().map(|it| (&*it.route, it.taken)).collect();
    assert_eq!(taken, [("bad", false), ("one", true), ("two", false)]);
    let (routed, steps) = table.explain(&sent, true);
    assert_eq!(routed, table.otherwise(&sent));
    assert_eq!(
        (steps.len(), routed.unwrap().to.to_vec()),
        (1, vec!["lost/a/b".to_owned()])
    );
    let filters: BTreeSet<_> = table.filters().map(|(filter, _)| filter).collect();
    assert_eq!(
        filters,
        BTreeSet::from(["a/#".into(), "a/+".into(), "#".into()])
    );
}
