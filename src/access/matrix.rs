//! One table for every door: who may do what, worked out by the plain definition.
//!
//! The definition is the few lines of [`expected`]: all rules, one after the other, each with its filter written out for whoever asks
//! and matched by the engine's own [`Filter::matches`]. It shares nothing with the index that decides in earnest.
//!
//! A door joins by implementing [`Door`] and calling [`run`]: it is asked for every line of the table that has one of its verbs, and
//! must do what the definition says, whatever its protocol calls it.

use restante_admin_api::document::Effect;

use super::snapshot::rules_of;
use super::testing::{House, principal, rule};
use super::{ADMIN, Access, Identity, MONITOR, Principal, RuleRef, Verdict};
use crate::engine::address::{Address, Filter, escape_first_segment, escape_segment};
use crate::registry::{Rule, Verb};

/// What a protocol lets people in by.
pub(crate) trait Door {
    /// The verbs that its protocol has words for.
    fn verbs(&self) -> Vec<Verb> {
        Verb::ALL.to_vec()
    }

    /// The documents that count from now on.
    fn set(&mut self, documents: &House);

    /// Tries it; whether it went through.
    fn attempt(&mut self, who: &Principal, verb: Verb, realm: &str, address: &str) -> bool;
}

/// A line of the table.
pub(crate) struct Case {
    pub(crate) who: Principal,
    pub(crate) verb: Verb,
    pub(crate) realm: &'static str,
    pub(crate) address: &'static str,
    pub(crate) expected: Verdict,
}

/// Asks `door` for all of the table. Gives how many lines were asked, and how many went through.
pub(crate) fn run(door: &mut impl Door) -> (usize, usize) {
    let (mut asked, mut through) = (0, 0);
    for (set, documents) in rule_sets() {
        door.set(&documents);
        for case in cases(&documents) {
            if !door.verbs().contains(&case.verb) {
                continue;
            }
            let went = door.attempt(&case.who, case.verb, case.realm, case.address);
            assert_eq!(
                went, case.expected.allowed,
                "{set}: {:?} {:?} {} {}: {}",
                case.who, case.verb, case.realm, case.address, case.expected
            );
            asked += 1;
            through += usize::from(went);
        }
    }
    (asked, through)
}

/// What the rules of `documents` say, by the plain definition: deny wins, what no rule allows is denied, and the first rule
/// by name is the one that counts; but of trust levels, the highest.
pub(crate) fn expected(
    documents: &House,
    who: &Principal,
    client: Option<&str>,
    verb: Verb,
    realm: &str,
    address: &str,
) -> Verdict {
    if who.has_role(ADMIN) {
        return Verdict {
            allowed: true,
            rule: RuleRef::Admin,
            trustlevel: None,
        };
    }
    let address: Address = address.parse().expect("an address");
    let rules = rules_of(&documents.registry);
    let about = |(_, rule): &&(String, Rule)| {
        concerns(rule, who, verb, realm) && matches(rule, who, client, &address)
    };
    let all_of = |effect| {
        let rules = rules.iter().filter(about);
        rules.filter(move |(_, it)| it.effect == effect)
    };
    let of = |effect| all_of(effect).next();
    let trustlevel = all_of(Effect::Allow).filter_map(|(_, it)| it.trustlevel);
    let named = |name: &String| RuleRef::Rule(name.as_str().into());
    match (of(Effect::Deny), of(Effect::Allow)) {
        (Some((name, _)), _) => Verdict {
            allowed: false,
            rule: named(name),
            trustlevel: None,
        },
        (None, Some((name, _))) => Verdict {
            allowed: true,
            rule: named(name),
            trustlevel: trustlevel.max(),
        },
        (None, None) => Verdict {
            allowed: false,
            rule: RuleRef::Default,
            trustlevel: None,
        },
    }
}

pub(crate) fn concerns(rule: &Rule, who: &Principal, verb: Verb, realm: &str) -> bool {
    (rule.role == "*" || who.has_role(&rule.role))
        && rule.verbs.contains(&verb)
        && (rule.realm == "*" || rule.realm == realm)
}

fn matches(rule: &Rule, who: &Principal, client: Option<&str>, address: &Address) -> bool {
    match written_out(&rule.filter, who, client) {
        Some(filter) => filter.matches(address),
        None => false,
    }
}

/// A rule's filter with names in the place of placeholders. None: it stands for nothing.
pub(crate) fn written_out(filter: &str, who: &Principal, client: Option<&str>) -> Option<Filter> {
    let mut segments = Vec::new();
    for (at, segment) in filter.split('/').enumerate() {
        let name = match segment {
            "${user}" => Some(&*who.name),
            "${client}" => Some(client.filter(|client| !client.is_empty())?),
            _ => None,
        };
        segments.push(match name {
            Some(name) if at == 0 => escape_first_segment(name).into_owned(),
            Some(name) => escape_segment(name).into_owned(),
            None => segment.to_owned(),
        });
    }
    segments.join("/").parse().ok()
}

/// Every kind of principal with every set of roles.
fn principals() -> Vec<Principal> {
    let identities = [
        ("ada", Identity::User { password: None }),
        ("a/b", Identity::User { password: None }),
        ("+", Identity::User { password: None }),
        (
            "eve",
            Identity::Certificate {
                shown: "cn:eve".into(),
            },
        ),
        (
            "token:ci",
            Identity::Token {
                id: "x".into(),
                mark: 1,
            },
        ),
        (
            "jwt:ada",
            Identity::Jwt {
                issuer: "https://login.example".into(),
            },
        ),
    ];
    let roles: [&[&str]; 6] = [
        &[],
        &["shop"],
        &["intern"],
        &["shop", "intern"],
        &[MONITOR],
        &["intern", ADMIN],
    ];
    let mut all = vec![Principal::broker()];
    for (name, identity) in identities {
        all.extend(roles.iter().map(|roles| Principal {
            identity: identity.clone(),
            ..principal(name, roles)
        }));
    }
    all
}

/// Sets of rules, each with what it is about.
fn rule_sets() -> Vec<(&'static str, House)> {
    let shop = || {
        House::new()
            .rule("a", allow("shop", &[Verb::Send, Verb::Consume], "orders/#"))
            .rule("b", allow("shop", &[Verb::Browse], "orders/+"))
            .rule(
                "c",
                allow("shop", &[Verb::Call, Verb::Register], "prices/eu"),
            )
    };
    let any = |filter: &str| rule(Effect::Allow, "*", &Verb::ALL, "*", filter);
    vec![
        ("no rule", House::new()),
        ("some are allowed", shop()),
        (
            "one is denied what all may",
            shop().rule("0", any("orders/eu/#")).rule(
                "z",
                rule(Effect::Deny, "intern", &[Verb::Send], "default", "orders/#"),
            ),
        ),
        (
            "all are denied what one may",
            shop().rule("z", rule(Effect::Deny, "*", &Verb::ALL, "*", "orders/eu")),
        ),
        (
            "what begins alike",
            House::new()
                .rule("a", allow("shop", &Verb::ALL, "ord#"))
                .rule("b", any("inbox/a#"))
                .rule(
                    "z",
                    rule(Effect::Deny, "intern", &[Verb::Call], "*", "orders/e#"),
                ),
        ),
        ("everybody, everywhere", House::new().rule("a", any("#"))),
        (
            "another realm",
            House::new().rule("a", rule(Effect::Allow, "shop", &Verb::ALL, "other", "#")),
        ),
        (
            "everybody's own",
            House::new()
                .rule("a", any("inbox/${user}"))
                .rule("b", any("${user}/orders"))
                .rule("c", any("clients/${client}")),
        ),
    ]
}

fn allow(role: &str, verbs: &[Verb], filter: &str) -> Rule {
    rule(Effect::Allow, role, verbs, "default", filter)
}

const ADDRESSES: [&str; 14] = [
    "orders",
    "orders/eu",
    "orders/eu/new",
    "order",
    "prices/eu",
    "inbox/ada",
    "inbox/a%2Fb",
    "inbox/%2B",
    "inbox/token:ci",
    "inbox/jwt:ada",
    "inbox/eve/more",
    "ada/orders",
    "clients/c",
    "clients/${client}",
];

/// Every line for some documents.
fn cases(documents: &House) -> Vec<Case> {
    let mut cases = Vec::new();
    for who in principals() {
        for verb in Verb::ALL {
            for realm in ["default", "other"] {
                cases.extend(ADDRESSES.map(|address| Case {
                    expected: expected(documents, &who, None, verb, realm, address),
                    who: who.clone(),
                    verb,
                    realm,
                    address,
                }));
            }
        }
    }
    cases
}

/// The decision itself, without a protocol.
struct DecisionPoint(Access);

impl Door for DecisionPoint {
    fn set(&mut self, documents: &House) {
        self.0 = documents.access();
    }

    fn attempt(&mut self, who: &Principal, verb: Verb, realm: &str, address: &str) -> bool {
        self.0.allows(who, None, verb, realm, address)
    }
}

#[test]
fn the_decision_point_keeps_to_the_matrix() {
    let mut door = DecisionPoint(House::new().access());
    let (asked, through) = run(&mut door);
    assert!(asked > 40_000, "{asked}");
    assert!(
        through > asked / 10 && through < asked / 2,
        "{through} of {asked}"
    );
}

#[test]
fn the_decision_point_names_the_rule_that_the_definition_names() {
    for (set, documents) in rule_sets() {
        let access = documents.access();
        for case in cases(&documents) {
            let verdict = access.decide(&case.who, None, case.verb, case.realm, case.address);
            assert_eq!(verdict, case.expected, "{set}: {}", case.address);
        }
    }
}
