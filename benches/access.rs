//! What a decision and a change of the rules cost: `cargo bench --bench access`.
//!
//! Decisions are warm: the same few hundred questions again and again, as on a busy broker. `changed` is the whole work after a change
//! of any document of access.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use restante::access::{Access, Identity, Principal, Settings};
use restante::registry::{Document, DocumentId, DocumentKind, Registry, Rule, Stored, User, Verb};
use restante_admin_api::document::Effect;
use std::sync::Arc;

const RULES: u64 = 10_000;

fn main() {
    divan::main();
}

fn put(registry: &mut Registry, kind: DocumentKind, name: String, document: Document) {
    let id = DocumentId {
        kind,
        realm: String::new(),
        name,
    };
    let stored = Stored {
        id: id.clone(),
        document,
        revision: 1,
    };
    registry.documents.insert(id, Arc::new(stored));
}

fn rule(effect: Effect, role: String, verbs: &[Verb], realm: &str, filter: String) -> Rule {
    Rule {
        description: String::new(),
        role,
        verbs: verbs.to_vec(),
        realm: realm.to_owned(),
        filter,
        effect,
        trustlevel: None,
    }
}

fn registry(rules: impl Iterator<Item = Rule>) -> Registry {
    let mut registry = Registry::default();
    for (number, rule) in rules.enumerate() {
        let document = Document::Rule(rule);
        put(
            &mut registry,
            DocumentKind::Rule,
            format!("rule-{number:05}"),
            document,
        );
    }
    registry
}

fn access(rules: impl Iterator<Item = Rule>) -> Access {
    Access::new(&registry(rules), &Settings::default())
}

fn somebody(roles: &[&str]) -> Principal {
    Principal {
        name: "ada".into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        identity: Identity::User { password: None },
        expires: None,
    }
}

/// What a large installation might have: 200 roles over 5 realms, wildcards, placeholders, some for everybody, some that deny.
fn spread() -> impl Iterator<Item = Rule> {
    (0..RULES).map(|n| {
        let role = match n % 50 {
            0 => "*".to_owned(),
            _ => format!("team-{}", n % 200),
        };
        let realm = match n % 5 {
            0 => "default",
            1 => "prod",
            2 => "test",
            3 => "eu",
            _ => "*",
        };
        let filter = match n % 7 {
            0 => format!("area-{}/#", n % 1000),
            1 => format!("area-{}/+/new", n % 1000),
            2 => format!("inbox/${{user}}/{n}"),
            3 => format!("+/device-{n}/state"),
            _ => format!("area-{}/thing-{n}/new", n % 1000),
        };
        let effect = if n % 10 == 9 {
            Effect::Deny
        } else {
            Effect::Allow
        };
        let verbs: &[Verb] = if n % 2 == 0 {
            &Verb::ALL
        } else {
            &[Verb::Send, Verb::Consume]
        };
        rule(effect, role, verbs, realm, filter)
    })
}

fn ask(bencher: Bencher<'_, '_>, access: &Access, who: &Principal, addresses: &[String]) {
    let mut turn = addresses.iter().cycle();
    bencher.counter(ItemsCount::new(1_u64)).bench_local(|| {
        let address = turn.next().expect("a cycle has no end");
        access.allows(
            black_box(who),
            Some("client-1"),
            Verb::Send,
            "prod",
            black_box(address),
        )
    });
}

fn things() -> Vec<String> {
    let n = |i: u64| i * 37 % RULES;
    (0..500)
        .map(|i| format!("area-{}/thing-{}/new", n(i) % 1000, n(i)))
        .collect()
}

#[divan::bench(sample_size = 10_000)]
fn rules_spread_over_roles(bencher: Bencher<'_, '_>) {
    let access = access(spread());
    let who = somebody(&["team-1", "team-7", "team-50", "team-111"]);
    ask(bencher, &access, &who, &things());
}

#[divan::bench(sample_size = 10_000)]
fn ten_thousand_rules_of_one_role(bencher: Bencher<'_, '_>) {
    let access = access(spread().map(|it| Rule {
        role: "shop".to_owned(),
        realm: "prod".to_owned(),
        ..it
    }));
    ask(bencher, &access, &somebody(&["shop"]), &things());
}

/// Four roles, each with 2,500 rules in the realm and for all realms.
#[divan::bench(sample_size = 10_000)]
fn four_roles_with_everything(bencher: Bencher<'_, '_>) {
    let access = access(spread().enumerate().map(|(n, it)| Rule {
        role: format!("team-{}", n % 4),
        realm: if n % 8 < 4 { "prod" } else { "*" }.to_owned(),
        ..it
    }));
    let who = somebody(&["team-0", "team-1", "team-2", "team-3"]);
    ask(bencher, &access, &who, &things());
}

#[divan::bench(sample_size = 10_000)]
fn with_the_reason(bencher: Bencher<'_, '_>) {
    let access = access(spread());
    let who = somebody(&["team-1", "team-7", "team-50", "team-111"]);
    let addresses = things();
    let mut turn = addresses.iter().cycle();
    bencher.counter(ItemsCount::new(1_u64)).bench_local(|| {
        let address = turn.next().expect("a cycle has no end");
        access.decide(
            black_box(&who),
            None,
            Verb::Send,
            "prod",
            black_box(address),
        )
    });
}

#[divan::bench]
fn a_filter(bencher: Bencher<'_, '_>) {
    let access = access(spread());
    let who = somebody(&["team-1", "team-7", "team-50", "team-111"]);
    bencher.bench_local(|| {
        access.decide_filter(
            black_box(&who),
            None,
            Verb::Consume,
            "prod",
            black_box("area-7/#"),
        )
    });
}

/// All that is done when a document of access changed, with 10,000 rules and as many users.
#[divan::bench(sample_size = 1, sample_count = 20)]
fn changed(bencher: Bencher<'_, '_>) {
    let mut registry = registry(spread());
    for n in 0..RULES {
        let user = User {
            roles: vec![format!("team-{}", n % 200)],
            certificates: vec![format!("cn:user-{n}")],
            ..User::default()
        };
        put(
            &mut registry,
            DocumentKind::User,
            format!("user-{n}"),
            Document::User(user),
        );
    }
    let settings = Settings::default();
    bencher.bench_local(|| Access::new(black_box(&registry), &settings));
}
