//! What the header promises.

use super::*;

fn principal(roles: &[&str]) -> Principal {
    Principal {
        name: "ada".into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
    }
}

fn rule(effect: Effect, role: &str, verbs: &[Verb], realm: &str, filter: &str) -> Rule {
    let filter = Filter::parse(filter).unwrap();
    Rule {
        role: role.to_owned(),
        verbs: verbs.to_vec(),
        realm: realm.to_owned(),
        filter,
        effect,
    }
}

fn rules() -> Rules {
    Rules::new(vec![
        rule(
            Effect::Allow,
            "shop",
            &[Verb::Send, Verb::Consume],
            "default",
            "orders/#",
        ),
        rule(
            Effect::Deny,
            "shop",
            &[Verb::Consume],
            "default",
            "orders/secret/#",
        ),
        rule(Effect::Allow, "*", &[Verb::Browse], "*", "public/+"),
        rule(Effect::Deny, "intern", &Verb::ALL, "*", "#"),
    ])
}

#[track_caller]
fn check(roles: &[&str], verb: Verb, realm: &str, address: &str, allowed: bool, rule: RuleRef) {
    let verdict = rules().decide(&principal(roles), verb, realm, address);
    assert_eq!(
        verdict,
        Verdict { allowed, rule },
        "{roles:?} {verb:?} {realm} {address}"
    );
}

#[test]
fn nothing_is_allowed_by_default() {
    let nobody = Rules::default().decide(&principal(&["shop"]), Verb::Send, "default", "a");
    assert_eq!(
        nobody,
        Verdict {
            allowed: false,
            rule: RuleRef::Default
        }
    );
    check(
        &[],
        Verb::Send,
        "default",
        "orders/eu",
        false,
        RuleRef::Default,
    );
    check(
        &["shop"],
        Verb::Manage,
        "default",
        "orders/eu",
        false,
        RuleRef::Default,
    );
    check(
        &["shop"],
        Verb::Send,
        "other",
        "orders/eu",
        false,
        RuleRef::Default,
    );
    check(
        &["shop"],
        Verb::Send,
        "default",
        "invoices",
        false,
        RuleRef::Default,
    );
    check(
        &["Shop"],
        Verb::Send,
        "default",
        "orders/eu",
        false,
        RuleRef::Default,
    );
}

#[test]
fn rules_allow_what_they_name() {
    check(
        &["shop"],
        Verb::Send,
        "default",
        "orders/eu",
        true,
        RuleRef::Listed(0),
    );
    check(
        &["x", "shop"],
        Verb::Consume,
        "default",
        "orders",
        true,
        RuleRef::Listed(0),
    );
    check(
        &[],
        Verb::Browse,
        "anywhere",
        "public/a",
        true,
        RuleRef::Listed(2),
    );
    check(
        &[],
        Verb::Browse,
        "anywhere",
        "public/a/b",
        false,
        RuleRef::Default,
    );
}

#[test]
fn deny_wins() {
    check(
        &["shop"],
        Verb::Consume,
        "default",
        "orders/secret/a",
        false,
        RuleRef::Listed(1),
    );
    check(
        &["shop"],
        Verb::Send,
        "default",
        "orders/secret/a",
        true,
        RuleRef::Listed(0),
    );
    check(
        &["shop", "intern"],
        Verb::Send,
        "default",
        "orders/eu",
        false,
        RuleRef::Listed(3),
    );
}

#[test]
fn a_filter_must_be_allowed_as_a_whole() {
    check(
        &["shop"],
        Verb::Consume,
        "default",
        "orders/eu/#",
        true,
        RuleRef::Listed(0),
    );
    check(
        &["shop"],
        Verb::Consume,
        "default",
        "orders/+",
        false,
        RuleRef::Listed(1),
    );
    check(
        &["shop"],
        Verb::Consume,
        "default",
        "orders/#",
        false,
        RuleRef::Listed(1),
    );
    check(
        &["shop"],
        Verb::Send,
        "default",
        "#",
        false,
        RuleRef::Default,
    );
    check(&[], Verb::Browse, "r", "public/+", true, RuleRef::Listed(2));
    check(&[], Verb::Browse, "r", "public/#", false, RuleRef::Default);
}

#[test]
fn admin_may_do_everything() {
    check(
        &["intern", ADMIN],
        Verb::Manage,
        "any",
        "at/all",
        true,
        RuleRef::Admin,
    );
}

#[test]
fn verbs_have_names() {
    assert!(
        Verb::ALL
            .iter()
            .all(|verb| Verb::from_name(verb.name()) == Some(*verb))
    );
    assert_eq!(Verb::from_name("Send"), None);
}
