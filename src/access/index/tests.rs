//! What the header promises.

use proptest::prelude::*;
use restante_admin_api::document::Effect;

use super::super::matrix::{concerns, expected, written_out};
use super::super::snapshot::rules_of;
use super::super::testing::{House, principal, rule};
use super::super::{Principal, RuleRef, Verdict};
use super::*;
use crate::engine::address::{Address, Filter};

/// Segments that rules and addresses are made of: few, so that they meet.
fn literal() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "x", "xy", "y", "$s", "~t", "a%2Fb", "%2B", "%24s", "%00",
    ])
}

fn part() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => literal(),
        2 => Just("+"),
        1 => Just("${user}"),
        1 => Just("${client}"),
    ]
}

fn filter_of(
    part: impl Strategy<Value = &'static str>,
    parts_max: usize,
) -> impl Strategy<Value = String> {
    let parts = prop::collection::vec(part, 0..=parts_max);
    let ends = vec!["#", "#", "#", "x#", "xy#", "a#", "$s#"];
    let end = prop::option::of(prop::sample::select(ends));
    (parts, end).prop_map(move |(mut parts, end)| {
        let end = end.or(parts.is_empty().then_some("#"));
        if end.is_some_and(|end| end != "#") && parts.len() == parts_max {
            parts.pop();
        }
        parts.extend(end);
        parts.join("/")
    })
}

fn some_rule() -> impl Strategy<Value = Rule> {
    (
        prop_oneof![3 => Just(Effect::Allow), 1 => Just(Effect::Deny)],
        prop::sample::select(vec!["a", "b", "c", "*"]),
        prop::sample::subsequence(Verb::ALL.to_vec(), 1..=6),
        prop::sample::select(vec!["default", "r", "*"]),
        filter_of(part(), 3),
        prop_oneof![2 => Just(None), 1 => (0..=9_u8).prop_map(Some)],
    )
        .prop_map(|(effect, role, verbs, realm, filter, trustlevel)| Rule {
            trustlevel,
            ..rule(effect, role, &verbs, realm, &filter)
        })
}

fn house(rules: Vec<Rule>) -> House {
    let numbered = rules.into_iter().enumerate();
    // Names in another order than they came in.
    numbered.fold(House::new(), |house, (number, rule)| {
        house.rule(&format!("{:03}", (number * 37) % 101), rule)
    })
}

fn somebody() -> impl Strategy<Value = (Principal, Option<&'static str>)> {
    let names = vec![
        "x", "y", "a/b", "+", "#", "$s", "~t", "${user}", "token:x", "z",
    ];
    let roles = prop::sample::subsequence(vec!["a", "b", "c", "d"], 0..=3);
    let clients = vec![
        None,
        Some(""),
        Some("x"),
        Some("+"),
        Some("a/b"),
        Some("$s"),
    ];
    (
        prop::sample::select(names),
        roles,
        prop::sample::select(clients),
    )
        .prop_map(|(name, roles, client)| (principal(name, &roles), client))
}

fn address() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        6 => literal(),
        1 => Just("z"),
        1 => Just("%23"),
        1 => Just("${user}"),
        1 => Just("token:x"),
    ];
    let addresses = prop::collection::vec(segment, 1..=5).prop_map(|segments| segments.join("/"));
    // `$s` and `~t` are plain only in front, `%24s` only there.
    addresses.prop_filter("an address", |text| text.parse::<Address>().is_ok())
}

fn verb() -> impl Strategy<Value = Verb> {
    prop::sample::select(Verb::ALL.to_vec())
}

fn is_readable(rule: &Rule) -> bool {
    Pattern::parse(&rule.filter).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_index_agrees_with_the_definition(
        rules in prop::collection::vec(some_rule().prop_filter("readable", is_readable), 0..40),
        (who, client) in somebody(),
        addresses in prop::collection::vec(address(), 20),
        verb in verb(),
        realm in prop::sample::select(vec!["default", "r", "other"]),
    ) {
        let house = house(rules);
        let access = house.access();
        for address in addresses {
            let wanted = expected(&house, &who, client, verb, realm, &address);
            let found = access.decide(&who, client, verb, realm, &address);
            prop_assert_eq!(&found, &wanted, "{}", address);
            let permit = access.permit(&who, client, verb, realm, &address);
            let wanted = Some(wanted.trustlevel).filter(|_| wanted.allowed);
            prop_assert_eq!(permit.map(|it| it.trustlevel), wanted);
        }
    }
}

/// Every address of up to four segments of a few texts. Of those that begin alike, one at least is named by no filter.
fn universe() -> Vec<Address> {
    let mut all = Vec::new();
    let mut longest = vec![String::new()];
    for _ in 0..4 {
        let longer = longest.iter().flat_map(|front| {
            let segments = ["x", "xy", "xyz", "y", "a", "a%2Fb", "$s", "$st"];
            segments.map(|segment| format!("{front}/{segment}"))
        });
        longest = longer.collect();
        all.extend(
            longest
                .iter()
                .map(|text| text.trim_start_matches('/').to_owned()),
        );
    }
    let parsed = all.iter().filter_map(|text| text.parse().ok());
    parsed.collect()
}

/// What the definition says to a filter: one rule must allow all that it stands for, and none deny any of it.
fn expected_of_filter(
    house: &House,
    universe: &[Address],
    who: &Principal,
    client: Option<&str>,
    verb: Verb,
    filter: &str,
) -> Verdict {
    let asked: Filter = filter.parse().unwrap();
    let asked: Vec<&Address> = universe.iter().filter(|it| asked.matches(it)).collect();
    let rules = rules_of(&house.registry);
    let about = |effect| {
        let rules = rules
            .iter()
            .filter(move |(_, rule)| rule.effect == effect && concerns(rule, who, verb, "default"));
        rules.filter_map(|(name, rule)| {
            let filter = written_out(&rule.filter, who, client)?;
            Some((name, rule.trustlevel, filter))
        })
    };
    let denied = about(Effect::Deny).find(|(_, _, rule)| asked.iter().any(|it| rule.matches(it)));
    let allowing =
        about(Effect::Allow).filter(|(_, _, rule)| asked.iter().all(|it| rule.matches(it)));
    let allowing: Vec<_> = allowing.collect();
    let rule = denied.as_ref().or(allowing.first());
    let allowed = denied.is_none() && !allowing.is_empty();
    let trustlevel = allowing.iter().filter_map(|(_, trustlevel, _)| *trustlevel);
    Verdict {
        allowed,
        rule: rule.map_or(RuleRef::Default, |(name, _, _)| {
            RuleRef::Rule(name.as_str().into())
        }),
        trustlevel: trustlevel.max().filter(|_| allowed),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_filter_is_judged_by_all_that_it_stands_for(
        rules in prop::collection::vec(
            (some_rule().prop_filter("readable", is_readable), filter_of(
                prop::sample::select(vec!["x", "xy", "y", "+", "$s", "a%2Fb", "${user}", "${client}"]), 3)),
            0..8,
        ),
        asked in prop::collection::vec(filter_of(prop::sample::select(vec!["x", "y", "+", "$s", "a%2Fb"]), 3), 4),
        client in prop::sample::select(vec![None, Some("y")]),
        verb in verb(),
    ) {
        let rules = rules.into_iter().map(|(rule, filter)| Rule { filter, ..rule });
        let house = house(rules.filter(is_readable).collect());
        let who = principal("a/b", &["a", "b"]);
        let (access, universe) = (house.access(), universe());
        for asked in asked.iter().filter(|asked| asked.parse::<Filter>().is_ok()) {
            let wanted = expected_of_filter(&house, &universe, &who, client, verb, asked);
            let found = access.decide_filter(&who, client, verb, "default", asked);
            prop_assert_eq!(&found, &wanted, "{}", asked);
        }
    }
}

#[test]
fn a_prefix_covers_what_begins_with_it() {
    let allow = |filter| rule(Effect::Allow, "*", &[Verb::Consume], "*", filter);
    let deny = |filter| rule(Effect::Deny, "*", &[Verb::Consume], "*", filter);
    let who = principal("ada", &[]);
    let may = |access: &super::super::Access, asked: &str| {
        access.allows(&who, None, Verb::Consume, "default", asked)
    };
    let access = House::new().rule("a", allow("com/foo#")).access();
    for asked in [
        "com/foo",
        "com/foobar",
        "com/foo/x/y",
        "com/foobar/#",
        "com/foo/#",
        "com/foo/+",
        "com/foo#",
        "com/foobar#",
        "com/foo/x#",
    ] {
        assert!(may(&access, asked), "{asked}");
    }
    for asked in [
        "com", "com/fo", "com/#", "com/+", "com/+/#", "com/fo#", "com#", "#", "+/foo#",
    ] {
        assert!(!may(&access, asked), "{asked}");
    }
    // One segment or more below `com`, and all that is below it.
    let access = House::new().rule("a", allow("com/+/#")).access();
    assert!(may(&access, "com/foo#") && !may(&access, "com/#"));
    let access = House::new().rule("a", allow("com/+")).access();
    assert!(!may(&access, "com/foo#"));
    // The other spaces are named, or not meant.
    let access = House::new()
        .rule("a", allow("#"))
        .rule("b", allow("$SYS#"))
        .access();
    assert!(may(&access, "com#") && may(&access, "$SYS#") && may(&access, "$SYS/x#"));
    assert!(!may(&access, "$S#") && !may(&access, "$x#"));
    // What is denied anywhere below is denied.
    let access = House::new()
        .rule("a", allow("#"))
        .rule("b", deny("com/+/secret"))
        .rule("c", deny("org/${user}"))
        .rule("d", deny("net/secret#"))
        .access();
    for asked in [
        "com/foo#",
        "com#",
        "org/ad#",
        "net/s#",
        "net/secrets",
        "net/+",
        "net/secrets#",
    ] {
        assert!(!may(&access, asked), "{asked}");
    }
    for asked in ["com/foo/x#", "org/eve#", "net/x#", "coma#"] {
        assert!(may(&access, asked), "{asked}");
    }
}

#[test]
fn a_placeholder_is_never_a_wildcard() {
    let everybodys = |filter| rule(Effect::Allow, "*", &[Verb::Send], "*", filter);
    let access = House::new()
        .rule("a", everybodys("inbox/${user}"))
        .rule("b", everybodys("${user}/x"))
        .rule("c", everybodys("at/${client}"))
        .access();
    let may = |name: &str, client: Option<&str>, address: &str| {
        access.allows(
            &principal(name, &[]),
            client,
            Verb::Send,
            "default",
            address,
        )
    };
    for (name, own) in [
        ("ada", "inbox/ada"),
        ("a/b", "inbox/a%2Fb"),
        ("+", "inbox/%2B"),
        ("#", "inbox/%23"),
        ("%2B", "inbox/%252B"),
        ("${user}", "inbox/${user}"),
        ("$s", "%24s/x"),
        ("~t", "%7Et/x"),
    ] {
        assert!(may(name, None, own), "{name}");
        for other in [
            "inbox/eve",
            "inbox/a/b",
            "inbox/+",
            "inbox/#",
            "inbox",
            "$s/x",
            "~t/x",
        ] {
            assert!(!may(name, None, other), "{name} {other}");
        }
    }
    assert!(may("ada", Some("c/1"), "at/c%2F1") && !may("ada", Some("+"), "at/x"));
    for none in [None, Some("")] {
        assert!(!may("ada", none, "at/") && !may("ada", none, "at/%00"));
        assert!(!may("ada", none, "at/${client}"));
    }
}

#[test]
fn a_rule_that_cannot_be_read_denies_or_does_nothing() {
    let broken = |effect| rule(effect, "a", &[Verb::Send], "default", "a/#/b");
    let all = rule(Effect::Allow, "*", &Verb::ALL, "*", "#");
    let special = rule(Effect::Allow, "*", &Verb::ALL, "*", "$s/#");
    let allowing = House::new().rule("a", broken(Effect::Allow)).access();
    let who = principal("ada", &["a"]);
    assert!(!allowing.allows(&who, None, Verb::Send, "default", "a/x/b"));
    let denying = House::new()
        .rule("a", broken(Effect::Deny))
        .rule("b", all)
        .rule("c", special)
        .access();
    for address in ["x", "a/b", "$s/x", "+", "#"] {
        let verdict = denying.decide(&who, None, Verb::Send, "default", address);
        assert_eq!(verdict.to_string(), "denied: the rule a", "{address}");
    }
    assert!(denying.allows(&who, None, Verb::Consume, "default", "x"));
    assert!(denying.allows(&who, None, Verb::Send, "other", "x"));
    assert!(denying.allows(&principal("eve", &["b"]), None, Verb::Send, "default", "x"));
}

#[test]
fn what_is_no_address_matches_what_its_segments_match() {
    let access = House::new()
        .rule("a", rule(Effect::Allow, "*", &[Verb::Send], "*", "a/+/b"))
        .access();
    let who = principal("ada", &[]);
    let may = |text: &str| access.allows(&who, None, Verb::Send, "default", text);
    assert!(may("a/x/b") && may("a/+/b"));
    for odd in ["", "/", "a", "a/x/b/", "/a/x/b", "a/#", "a/x/b/#", "#"] {
        assert!(!may(odd), "{odd}");
    }
}
