//! What the header promises.

use restante_admin_api::document::{Effect, PreviousSecret};
use restante_storage::UnixMillis;

use super::testing::{House, principal, rule};
use super::*;
use crate::registry::{Document, DocumentKind, Grant, Rule, Token, User, Verb};

const NOW: UnixMillis = UnixMillis::new(1_000_000);

fn shop() -> House {
    let both = [Verb::Send, Verb::Consume];
    House::new()
        .rule(
            "a",
            rule(Effect::Allow, "shop", &both, "default", "orders/#"),
        )
        .rule(
            "b",
            rule(
                Effect::Deny,
                "shop",
                &[Verb::Consume],
                "default",
                "orders/secret/#",
            ),
        )
        .rule(
            "c",
            rule(Effect::Allow, "*", &[Verb::Browse], "*", "public/+"),
        )
        .rule("d", rule(Effect::Deny, "intern", &Verb::ALL, "*", "#"))
}

#[track_caller]
fn check(roles: &[&str], verb: Verb, realm: &str, asked: &str, verdict: &str) {
    let found = shop()
        .access()
        .decide(&principal("ada", roles), None, verb, realm, asked);
    assert_eq!(
        found.to_string(),
        verdict,
        "{roles:?} {verb:?} {realm} {asked}"
    );
}

const NO_RULE: &str = "denied: no rule allows it";

#[test]
fn nothing_is_allowed_by_default() {
    let access = House::new().access();
    let somebody = principal("ada", &["shop", MONITOR]);
    assert!(
        Verb::ALL
            .iter()
            .all(|verb| !access.allows(&somebody, None, *verb, "default", "a"))
    );
    check(&[], Verb::Send, "default", "orders/eu", NO_RULE);
    check(&["shop"], Verb::Manage, "default", "orders/eu", NO_RULE);
    check(&["shop"], Verb::Call, "default", "orders/eu", NO_RULE);
    check(&["shop"], Verb::Send, "other", "orders/eu", NO_RULE);
    check(&["shop"], Verb::Send, "default", "invoices", NO_RULE);
    check(&["Shop"], Verb::Send, "default", "orders/eu", NO_RULE);
}

#[test]
fn rules_allow_what_they_name() {
    check(
        &["shop"],
        Verb::Send,
        "default",
        "orders/eu",
        "allowed: the rule a",
    );
    check(
        &["x", "shop"],
        Verb::Consume,
        "default",
        "orders",
        "allowed: the rule a",
    );
    check(
        &[],
        Verb::Browse,
        "anywhere",
        "public/a",
        "allowed: the rule c",
    );
    check(&[], Verb::Browse, "anywhere", "public/a/b", NO_RULE);
}

#[test]
fn deny_wins() {
    check(
        &["shop"],
        Verb::Consume,
        "default",
        "orders/secret/a",
        "denied: the rule b",
    );
    check(
        &["shop"],
        Verb::Send,
        "default",
        "orders/secret/a",
        "allowed: the rule a",
    );
    check(
        &["shop", "intern"],
        Verb::Send,
        "default",
        "orders/eu",
        "denied: the rule d",
    );
}

#[test]
fn a_filter_must_be_allowed_as_a_whole() {
    check(
        &["shop"],
        Verb::Consume,
        "default",
        "orders/eu/#",
        "allowed: the rule a",
    );
    check(
        &["shop"],
        Verb::Consume,
        "default",
        "orders/+",
        "denied: the rule b",
    );
    check(
        &["shop"],
        Verb::Consume,
        "default",
        "orders/#",
        "denied: the rule b",
    );
    check(&["shop"], Verb::Send, "default", "#", NO_RULE);
    check(&[], Verb::Browse, "r", "public/+", "allowed: the rule c");
    check(&[], Verb::Browse, "r", "public/#", NO_RULE);
}

#[test]
fn procedures_are_called_and_registered_by_rules() {
    let both = [Verb::Call, Verb::Register];
    let access = House::new()
        .rule(
            "a",
            rule(Effect::Allow, "shop", &both, "default", "${user}/calc#"),
        )
        .rule(
            "b",
            rule(Effect::Allow, "shop", &[Verb::Call], "*", "$wamp/session/+"),
        )
        .rule(
            "c",
            rule(Effect::Deny, "*", &[Verb::Register], "*", "+/calc/root"),
        )
        .access();
    let may = |name: &str, verb, asked: &str| {
        let who = principal(name, &["shop"]);
        access.allows(&who, None, verb, "default", asked)
    };
    for verb in both {
        assert!(may("ada", verb, "ada/calc") && may("ada", verb, "ada/calc/sum"));
        assert!(may("ada", verb, "ada/calculate#") && may("a/b", verb, "a%2Fb/calc-2"));
        for other in [
            "eve/calc/sum",
            "ada/cal",
            "ada/cal#",
            "ada/#",
            "+/calc",
            "+/calc#",
            "#",
        ] {
            assert!(!may("ada", verb, other), "{verb:?} {other}");
        }
    }
    // What is registered with a pattern must be allowed as a whole; a call is to one address.
    assert!(may("ada", Verb::Call, "ada/calc/root") && may("ada", Verb::Call, "ada/calc/+"));
    for pattern in ["ada/calc/root", "ada/calc/+", "ada/calc/#", "ada/calc#"] {
        assert!(!may("ada", Verb::Register, pattern), "{pattern}");
    }
    assert!(may("ada", Verb::Call, "$wamp/session/list"));
    assert!(!may("ada", Verb::Register, "$wamp/session/list"));
}

#[test]
fn admin_may_do_everything() {
    check(
        &["intern", ADMIN],
        Verb::Manage,
        "any",
        "at/all",
        "allowed: the role admin",
    );
    let access = House::new().access();
    assert!(access.allows(&Principal::broker(), None, Verb::Send, "any", "at/all"));
    assert_eq!(access.grants(&["x", ADMIN]), Grants::ALL);
}

#[test]
fn roles_have_grants() {
    let access = House::new()
        .role("ops", &[Grant::Operate])
        .role("boss", &[Grant::Secure])
        .role(ADMIN, &[])
        .access();
    let of = |roles: &[&str]| format!("{:?}", access.grants(roles));
    assert_eq!(of(&[]), "{}");
    assert_eq!(of(&["nobody", "*"]), "{}");
    assert_eq!(of(&[MONITOR]), "{Monitor, Read}");
    assert_eq!(of(&["ops", "boss", "x"]), "{Operate, Secure}");
    assert_eq!(access.grants(&[ADMIN]), Grants::ALL);
}

fn user(roles: &[&str], certificates: &[&str]) -> User {
    User {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        certificates: certificates.iter().map(|name| (*name).to_owned()).collect(),
        ..User::default()
    }
}

fn token(label: &str, hash: &str) -> Token {
    Token {
        label: label.to_owned(),
        hash: hash.to_owned(),
        roles: vec!["shop".to_owned()],
        ..Token::default()
    }
}

/// Changes the one document and says who `who` is then.
fn renewed(
    house: &mut House,
    who: &Principal,
    name: &str,
    document: Document,
) -> Option<Principal> {
    house.put(document.kind(), name, document);
    house.access().renew(who, NOW)
}

#[test]
fn what_somebody_lost_is_lost_when_they_are_renewed() {
    let mut house = House::new().user("ada", user(&["shop"], &[]));
    let ada = house.access().principal_named("ada", NOW).unwrap();
    assert_eq!(house.access().renew(&ada, NOW), Some(ada.clone()));
    let other = renewed(&mut house, &ada, "ada", Document::User(user(&["x"], &[]))).unwrap();
    assert!(other.has_role("x") && !other.has_role("shop"));
    let disabled = User {
        disabled: true,
        ..user(&["shop"], &[])
    };
    assert_eq!(
        renewed(&mut house, &ada, "ada", Document::User(disabled)),
        None
    );
    house.put(
        DocumentKind::User,
        "ada",
        Document::User(user(&["shop"], &[])),
    );
    assert!(house.access().renew(&ada, NOW).is_some());
    house.remove(DocumentKind::User, "ada");
    assert_eq!(house.access().renew(&ada, NOW), None);
    let broker = Principal::broker();
    assert_eq!(house.access().renew(&broker, NOW), Some(broker));
}

#[test]
fn rules_for_everybody_give_nothing_to_who_shows_nothing() {
    let public = || rule(Effect::Allow, "*", &[Verb::Send], "*", "public/#");
    let secret = || rule(Effect::Deny, "*", &[Verb::Send], "*", "public/secret");
    let guests = || rule(Effect::Allow, "guest", &[Verb::Send], "*", "public/#");
    let mut house = House::new();
    assert_eq!(house.access().anonymous(), None);
    house.settings.anonymous_role = Some("guest".to_owned());
    let mut house = house.rule("public", public()).rule("secret", secret());
    let anonymous = house.access().anonymous().unwrap();
    assert!(anonymous.name.contains(':'), "no user can be called that");
    let may = |house: &House, who: &Principal, address: &str| {
        let access = house.access();
        access.allows(who, None, Verb::Send, "default", address)
    };
    let somebody = principal("ada", &["guest"]);
    assert!(may(&house, &somebody, "public/a") && !may(&house, &anonymous, "public/a"));
    house = house.rule("guests", guests());
    assert!(may(&house, &anonymous, "public/a"));
    for who in [&somebody, &anonymous] {
        assert!(!may(&house, who, "public/secret"));
    }
    assert_eq!(
        house.access().renew(&anonymous, NOW).as_ref(),
        Some(&anonymous)
    );
    house.settings.anonymous_role = Some("other".to_owned());
    let renewed = house.access().renew(&anonymous, NOW).unwrap();
    assert!(renewed.has_role("other") && !renewed.has_role("guest"));
    house.settings.anonymous_role = None;
    assert_eq!(house.access().renew(&anonymous, NOW), None);
}

#[test]
fn a_key_is_its_users_until_it_is_taken_from_them() {
    let with = |keys: &[&str]| User {
        public_keys: keys.iter().map(|it| (*it).to_owned()).collect(),
        ..user(&["shop"], &[])
    };
    let mut house = House::new().user("ada", with(&["k1", "k2"]));
    let ada = Principal {
        identity: Identity::PublicKey { shown: "k1".into() },
        ..house.access().principal_named("ada", NOW).unwrap()
    };
    assert_eq!(house.access().renew(&ada, NOW).as_ref(), Some(&ada));
    let other = renewed(&mut house, &ada, "ada", Document::User(with(&["k2"])));
    assert_eq!(other, None);
    let back = renewed(&mut house, &ada, "ada", Document::User(with(&["k1"])));
    assert!(back.is_some());
    // No door lets two users have it; if they had, it would be nobody's.
    let two = renewed(&mut house, &ada, "eve", Document::User(with(&["k1"])));
    assert_eq!(two, None);
}

#[test]
fn a_session_ends_with_the_password_that_began_it() {
    let with = |hash: Option<&str>| User {
        password_hash: hash.map(str::to_owned),
        ..user(&["shop"], &["cn:ada"])
    };
    let mut house = House::new().user("ada", with(Some("one")));
    let ada = house.access().principal_named("ada", NOW).unwrap();
    let by_certificate = Principal {
        identity: Identity::Certificate {
            shown: "cn:ada".into(),
        },
        ..ada.clone()
    };
    let other_roles = Document::User(User {
        roles: vec!["x".to_owned()],
        ..with(Some("one"))
    });
    assert!(renewed(&mut house, &ada, "ada", other_roles).is_some());
    for changed in [Some("two"), None] {
        let changed = Document::User(with(changed));
        assert_eq!(renewed(&mut house, &ada, "ada", changed), None);
        assert!(house.access().renew(&by_certificate, NOW).is_some());
    }
    // Nor is somebody else of the same name the one who logged in.
    house.remove(DocumentKind::User, "ada");
    let another = Document::User(with(Some("three")));
    assert_eq!(renewed(&mut house, &ada, "ada", another), None);
}

#[test]
fn a_tokens_session_ends_with_the_token() {
    let (old, new) = ("1".repeat(64), "2".repeat(64));
    let mut house = House::new().token("id", token("ci", &old));
    let ci = house.access().principal_named("token:ci", NOW).unwrap();
    assert_eq!(&*ci.name, "token:ci");
    assert_eq!(house.access().renew(&ci, NOW), Some(ci.clone()));
    let expiring = |at| Token {
        expires_at: Some(at),
        ..token("ci", &old)
    };
    let later = renewed(&mut house, &ci, "id", Document::Token(expiring(1_000_001))).unwrap();
    assert_eq!(later.expires, Some(UnixMillis::new(1_000_001)));
    assert_eq!(
        renewed(&mut house, &ci, "id", Document::Token(expiring(1_000_000))),
        None
    );
    let disabled = Token {
        disabled: true,
        ..token("ci", &old)
    };
    assert_eq!(
        renewed(&mut house, &ci, "id", Document::Token(disabled)),
        None
    );
    // Rotated: at once, or with a time for the old secret.
    assert_eq!(
        renewed(&mut house, &ci, "id", Document::Token(token("ci", &new))),
        None
    );
    let rotated = |until| Token {
        previous: Some(PreviousSecret {
            hash: old.clone(),
            until,
        }),
        expires_at: Some(3_000_000),
        ..token("ci", &new)
    };
    let during = renewed(&mut house, &ci, "id", Document::Token(rotated(2_000_000))).unwrap();
    assert_eq!(during.expires, Some(UnixMillis::new(2_000_000)));
    assert_eq!(
        renewed(&mut house, &ci, "id", Document::Token(rotated(1_000_000))),
        None
    );
    house.remove(DocumentKind::Token, "id");
    assert_eq!(house.access().renew(&ci, NOW), None);
}

#[test]
fn a_jwt_ends_with_its_time_its_issuer_and_its_leave() {
    let issuer = |allow_admin| IssuerSettings {
        issuer: "https://login.example".to_owned(),
        audience: "restante".to_owned(),
        algorithms: Vec::new(),
        keys: KeySource::Jwks("/nowhere".into()),
        user_claim: "sub".to_owned(),
        user_prefix: String::new(),
        roles_claim: "roles".to_owned(),
        roles_prefix: String::new(),
        leeway: std::time::Duration::ZERO,
        allow_admin,
    };
    let with = |issuers| {
        let mut house = House::new();
        house.settings.issuers = issuers;
        house.access()
    };
    let ada = Principal {
        identity: Identity::Jwt {
            issuer: "https://login.example".into(),
        },
        expires: Some(UnixMillis::new(1_000_001)),
        ..principal("jwt:ada", &["shop", ADMIN])
    };
    assert_eq!(with(vec![issuer(true)]).renew(&ada, NOW), Some(ada.clone()));
    let less = with(vec![issuer(false)]).renew(&ada, NOW).unwrap();
    assert!(less.has_role("shop") && !less.has_role(ADMIN));
    assert_eq!(
        with(vec![issuer(true)]).renew(&ada, UnixMillis::new(1_000_001)),
        None
    );
    assert_eq!(with(Vec::new()).renew(&ada, NOW), None);
}

#[test]
fn a_certificate_of_two_users_is_nobodys() {
    let mut house = House::new()
        .user("ada", user(&["shop"], &["cn:ada", "cn:ada", "cn:both"]))
        .user("bob", user(&[], &["cn:both", "dns:bob"]));
    let access = house.access();
    assert_eq!(
        access.user_of_certificate("cn:ada").map(|it| &**it),
        Some("ada")
    );
    assert_eq!(
        access.user_of_certificate("dns:bob").map(|it| &**it),
        Some("bob")
    );
    assert_eq!(access.user_of_certificate("cn:both"), None);
    assert!(access.is_ambiguous("cn:both") && !access.is_ambiguous("cn:nobody"));
    let ada = Principal {
        identity: Identity::Certificate {
            shown: "cn:ada".into(),
        },
        expires: Some(UnixMillis::new(1_000_001)),
        ..principal("ada", &["shop"])
    };
    assert_eq!(access.renew(&ada, NOW), Some(ada.clone()));
    assert_eq!(
        access.renew(&ada, UnixMillis::new(1_000_001)),
        None,
        "expired"
    );
    let taken = Document::User(user(&["shop"], &[]));
    assert_eq!(renewed(&mut house, &ada, "ada", taken), None);
    let moved = Document::User(user(&[], &["cn:ada"]));
    assert_eq!(renewed(&mut house, &ada, "bob", moved), None);
}

#[test]
fn principals_are_found_by_their_names() {
    let disabled = User {
        disabled: true,
        ..User::default()
    };
    let house = House::new()
        .user("ada", user(&["shop"], &[]))
        .user("eve", disabled)
        .token("id", token("ci", &"1".repeat(64)));
    let access = house.access();
    let named = |name| access.principal_named(name, NOW).map(|it| it.identity);
    assert_eq!(named("ada"), Some(Identity::User { password: None }));
    assert!(matches!(named("token:ci"), Some(Identity::Token { .. })));
    for nobody in ["eve", "ci", "id", "token:id", "jwt:ada", "broker:", ""] {
        assert_eq!(named(nobody), None, "{nobody}");
    }
    assert_eq!(access.token_labelled("ci"), Some("id"));
    let shut_out = |name| access.is_shut_out(name, NOW);
    assert!(["eve", "bob", "token:id"].into_iter().all(shut_out));
    assert!(!["ada", "token:ci", "jwt:bob"].into_iter().any(shut_out));
}

#[test]
fn a_change_counts_for_whoever_asks_next() {
    let current = Current::new(House::new().access());
    let somebody = principal("ada", &[]);
    let may = || {
        current
            .load()
            .allows(&somebody, None, Verb::Send, "default", "a")
    };
    assert!(!may());
    let all: Rule = rule(Effect::Allow, "*", &[Verb::Send], "*", "#");
    current.clone().store(House::new().rule("a", all).access());
    assert!(may());
}

#[test]
fn nothing_here_shows_a_secret() {
    const CANARY: &str = "canary-bird";
    let hash = hash::hash_password(CANARY).unwrap();
    let secrets = [CANARY, hash.as_str(), "c0ffee"];
    let stored = Token {
        hash: "c0ffee00".repeat(8),
        ..token("ci", "")
    };
    let known = User {
        password_hash: Some(hash.clone()),
        ..User::default()
    };
    let house = House::new().user("ada", known).token("id", stored);
    let access = house.access();
    let bad_user = User {
        password_hash: Some(format!("$argon2id${CANARY}")),
        ..User::default()
    };
    let new = new_token().unwrap();
    let made = [
        format!("{access:?} {:?}", Current::new(house.access())),
        format!("{:?}", access.principal_named("token:ci", NOW)),
        format!("{:?}", access.principal_named("ada", NOW)),
        format!("{:?}", Credentials::basic("ada", CANARY).unwrap()),
        format!("{:#?}", Credentials::bearer(CANARY).unwrap()),
        format!("{:?}", check_user(&bad_user)),
        format!("{:?}", check_password(&Secret::new(format!("{CANARY}\n")))),
        format!("{:?}", check_token(&token("ci", CANARY))),
        new.id.clone(),
        new.hash.clone(),
    ];
    for shown in &made {
        for secret in secrets {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert!(!shown.contains(new.secret.expose()), "{shown}");
    }
}
