use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use restante_admin_api::StepAct;
use restante_admin_api::document::{
    Choose, Condition, Effect, Grant, PreviousSecret, Target, Verb,
};
use restante_admin_api::queue::QueueSpec;

use super::*;
use crate::engine::address::AddressLimits;
use crate::registry::{
    Document, DocumentId, DocumentKind, Registry, Role, Route, Rule, Stored, Token, User,
};

const LIMITS: Limits = Limits {
    address: AddressLimits {
        bytes_max: 1024,
        segments_max: 64,
    },
    queues_per_realm: 1000,
    routes_per_realm: 1000,
    documents: 1000,
};

/// What a broker has set, and changes to it, without the broker.
#[derive(Clone, Default)]
struct Fake {
    registry: Registry,
    queues: BTreeMap<(String, String), QueueSpec>,
}

impl Fake {
    /// As after a first start: a user `admin` and the command line's token.
    fn started() -> Fake {
        let mut fake = Fake::default();
        let roles = vec!["admin".to_owned()];
        let password_hash = Some("$argon2id$its-own".to_owned());
        let user = User {
            roles: roles.clone(),
            password_hash,
            ..User::default()
        };
        let token = Token {
            label: CLI_LABEL.to_owned(),
            roles,
            hash: "c11".to_owned(),
            ..Token::default()
        };
        fake.make(ChangeOf::Put(
            id(DocumentKind::User, "admin"),
            Document::User(user),
        ));
        fake.make(ChangeOf::Put(
            id(DocumentKind::Token, "its0wn"),
            Document::Token(token),
        ));
        fake
    }

    fn holding(definitions: &Definitions) -> Fake {
        let mut fake = Fake::started();
        fake.apply(definitions, true);
        fake
    }

    fn apply(&mut self, wanted: &Definitions, prune: bool) -> Planned {
        let planned = plan(&self.export(true), wanted, prune);
        for change in planned.changes.clone() {
            self.make(change);
        }
        planned
    }

    fn make(&mut self, change: ChangeOf) {
        match change {
            ChangeOf::Put(id, document) => {
                let revision = self.registry.revision + 1;
                let stored = Stored {
                    id: id.clone(),
                    document,
                    revision,
                };
                self.registry.revision = revision;
                self.registry.documents.insert(id, Arc::new(stored));
            }
            ChangeOf::Remove(id) => {
                assert!(self.registry.documents.remove(&id).is_some(), "{id:?}");
            }
            ChangeOf::PutQueue { realm, name, spec } => {
                self.queues.insert((realm, name), spec);
            }
            ChangeOf::RemoveQueue { realm, name } => {
                assert!(self.queues.remove(&(realm, name)).is_some());
            }
        }
    }

    fn export(&self, with_hashes: bool) -> Definitions {
        let queues = self.queues.clone().into_iter();
        let queues = queues.map(|((realm, name), spec)| (realm, name, spec));
        export(&self.registry, queues, with_hashes)
    }
}

fn id(kind: DocumentKind, name: &str) -> DocumentId {
    DocumentId {
        kind,
        realm: String::new(),
        name: name.to_owned(),
    }
}

// Definitions that make sense, out of few names, so that two of them have much in common.

const ROLES: [&str; 3] = ["shop", "a role", "true"];

fn description() -> impl Strategy<Value = String> {
    select(vec!["", "a: b # c", "- x\ny", "null", "é😀\t"]).prop_map(str::to_owned)
}

fn texts(all: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    subsequence(all.to_vec(), 0..=all.len())
        .prop_map(|some| some.into_iter().map(str::to_owned).collect())
}

fn user() -> impl Strategy<Value = User> {
    let hash = option::of(select(vec!["$argon2id$one", "$argon2id$two"]).prop_map(str::to_owned));
    (
        description(),
        texts(&["admin", "shop", "true"]),
        any::<bool>(),
        hash,
    )
        .prop_map(|(description, roles, disabled, password_hash)| User {
            description,
            roles,
            disabled,
            certificates: vec!["cn:x".to_owned()],
            public_keys: Vec::new(),
            scram_verifier: password_hash.as_ref().map(|it| format!("of {it}")),
            wampcra_key: password_hash.as_ref().map(|it| format!("key of {it}")),
            scram_argon2_verifier: password_hash.as_ref().map(|it| format!("argon2 of {it}")),
            password_hash,
        })
}

fn token() -> impl Strategy<Value = Token> {
    let previous = option::of(any::<u32>().prop_map(|until| PreviousSecret {
        hash: "0ld".to_owned(),
        until: u64::from(until),
    }));
    let hash = select(vec!["", "beef", "cafe"]);
    (
        texts(&["admin", "a role"]),
        option::of(any::<u64>()),
        hash,
        previous,
    )
        .prop_map(|(roles, expires_at, hash, previous)| Token {
            roles,
            expires_at,
            created_at: 7,
            hash: hash.to_owned(),
            previous: previous.filter(|_| !hash.is_empty()),
            ..Token::default()
        })
}

fn role() -> impl Strategy<Value = Role> {
    (description(), subsequence(Grant::ALL.to_vec(), 0..=5)).prop_map(|(description, grants)| {
        Role {
            description,
            grants,
        }
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let verbs = subsequence(Verb::ALL.to_vec(), 1..=6);
    let filter = select(vec!["#", "orders/+/eu", "home/${user}/#"]);
    let role = select(vec!["*", "shop", "true", "admin"]);
    let realm = select(vec!["*", "default", "r1"]);
    let effect = select(vec![Effect::Allow, Effect::Deny]);
    let trustlevel = select(vec![None, Some(0), Some(9)]);
    (
        description(),
        verbs,
        filter,
        role,
        realm,
        effect,
        trustlevel,
    )
        .prop_map(
            |(description, verbs, filter, role, realm, effect, trustlevel)| {
                let is_told = |verb: &Verb| matches!(verb, Verb::Send | Verb::Call);
                let may_have_one = effect == Effect::Allow && verbs.iter().any(is_told);
                Rule {
                    description,
                    role: role.to_owned(),
                    verbs,
                    realm: realm.to_owned(),
                    filter: filter.to_owned(),
                    effect,
                    trustlevel: trustlevel.filter(|_| may_have_one),
                }
            },
        )
}

fn route() -> impl Strategy<Value = Route> {
    let target = (select(vec!["x/{1}", "x/{2}/{1}", "y"]), 1..5_u32);
    let to = vec(target, 0..3).prop_map(|to| {
        let mut to: Vec<Target> = to
            .into_iter()
            .map(|(address, weight)| Target {
                address: address.to_owned(),
                weight,
            })
            .collect();
        to.dedup_by(|a, b| a.address == b.address);
        to
    });
    let when = vec(
        (
            select(vec!["key", "property.a b"]),
            texts(&["", "1", "~"]),
            any::<bool>(),
        ),
        0..2,
    );
    (any::<[bool; 4]>(), any::<i32>(), when, to).prop_map(|(flags, order, when, to)| {
        let [disabled, unrouted, keep, last] = flags;
        let weighed = !to.is_empty() && to.len() < 3 && {
            let mut names: Vec<_> = to.iter().map(|it| &it.address).collect();
            names.sort();
            names.dedup();
            names.len() == to.len()
        };
        let plain = |mut to: Vec<Target>| {
            to.truncate(1);
            to.iter_mut().for_each(|it| it.weight = 1);
            to
        };
        Route {
            description: String::new(),
            disabled,
            order,
            filter: "in/+/x/#".to_owned(),
            when: (when.into_iter())
                .map(|(field, is, not)| Condition {
                    field: field.to_owned(),
                    is,
                    not,
                })
                .collect(),
            unrouted,
            choose: if weighed { Choose::Weight } else { Choose::All },
            to: if weighed { to } else { plain(to) },
            shard_by: None,
            keep,
            last,
        }
    })
}

fn spec() -> impl Strategy<Value = QueueSpec> {
    let bindings = option::of(texts(&["orders/#", "a/+/b", "123"]));
    (option::of(1..9_u64), option::of(1..9_u32), bindings).prop_map(
        |(max_messages, max_attempts, bindings)| QueueSpec {
            max_messages,
            max_attempts,
            bindings,
            dead_letter: max_attempts.map(|_| "dead/%2F".to_owned()),
            ..QueueSpec::default()
        },
    )
}

fn realm() -> impl Strategy<Value = RealmDefinitions> {
    let routes = btree_map(
        select(vec!["one", "two"]).prop_map(str::to_owned),
        route(),
        0..3,
    );
    let names = select(vec!["orders/eu", "1", "a b"]).prop_map(str::to_owned);
    let queues = btree_map(names, spec(), 0..3);
    (description(), option::of(5..9_u64), routes, queues).prop_map(
        |(description, max_queues, routes, queues)| RealmDefinitions {
            description,
            max_queues,
            max_connections: None,
            routes,
            queues,
        },
    )
}

fn names<T: Strategy>(
    all: &'static [&'static str],
    one: T,
) -> impl Strategy<Value = BTreeMap<String, T::Value>> {
    btree_map(select(all.to_vec()).prop_map(str::to_owned), one, 0..4)
}

prop_compose! {
    fn definitions()(
        mut realms in names(&["default", "r1", "r2"], realm()),
        roles in names(&ROLES, role()),
        mut users in names(&["ada", "admin", "1"], user()),
        mut tokens in names(&["aa", "bb"], token()),
        mut rules in names(&["first", "a/b~c"], rule()),
        turned in any::<bool>(),
    ) -> Definitions {
        realms.entry(DEFAULT_REALM.to_owned()).or_default();
        let has = |role: &String| role == "admin" || roles.contains_key(role);
        users.values_mut().for_each(|user| user.roles.retain(has));
        // The same two labels, on one token or the other.
        for (index, token) in tokens.values_mut().enumerate() {
            token.roles.retain(has);
            token.label = if (index == 0) == turned { "one" } else { "two" }.to_owned();
        }
        rules.retain(|_, rule| rule.role == "*" || has(&rule.role));
        rules.retain(|_, rule| rule.realm == "*" || realms.contains_key(&rule.realm));
        Definitions { version: VERSION, realms, roles, users, tokens, rules }
    }
}

proptest! {
    #[test]
    fn the_definitions_of_these_tests_make_sense(all in definitions()) {
        prop_assert_eq!(check(&all, &LIMITS), []);
    }

    #[test]
    fn an_export_applied_to_an_empty_broker_is_exported_the_same(all in definitions()) {
        let first = Fake::holding(&all);
        let text = to_yaml(&first.export(true));
        let mut second = Fake::started();
        second.apply(&parse(&text).unwrap(), true);
        prop_assert_eq!(to_yaml(&second.export(true)), text);
        prop_assert_eq!(canonical(&second.export(true)), canonical(&first.export(true)));
        prop_assert_eq!(checksum(&second.export(true)), checksum(&first.export(true)));
        let shown = second.export(false);
        prop_assert_eq!(&shown, &without_hashes(first.export(true)));
        prop_assert!(!to_yaml(&shown).contains("argon2id"));
        let before = second.registry.get(DocumentKind::Token, "", "its0wn");
        prop_assert!(before.is_some());
    }

    #[test]
    fn a_plan_leads_where_it_says(a in definitions(), b in definitions(), prune in any::<bool>()) {
        let mut fake = Fake::holding(&a);
        let held = fake.export(true);
        let nothing = plan(&held, &held, true);
        prop_assert!(nothing.changes.is_empty() && nothing.plan.steps.is_empty());
        let planned = fake.apply(&b, prune);
        let after = fake.export(true);
        prop_assert_eq!(&after, &planned.after);
        prop_assert_eq!(&planned.plan.checksum, &checksum(&after));
        prop_assert_eq!(planned.plan.steps.len(), planned.changes.len());
        if prune {
            prop_assert_eq!(without_hashes(after.clone()), without_hashes(b.clone()));
        }
        prop_assert!(plan(&after, &b, prune).changes.is_empty());
        prop_assert!(plan(&after, &without_hashes(b.clone()), prune).changes.is_empty());
        for (name, user) in &b.users {
            let present = held.users.get(name).and_then(|it| it.password_hash.clone());
            prop_assert_eq!(&after.users[name].password_hash, &user.password_hash.clone().or(present));
        }
        for (name, role) in &held.roles {
            let wanted = b.roles.get(name);
            prop_assert_eq!(after.roles.get(name), if prune { wanted } else { wanted.or(Some(role)) });
        }
    }

    #[test]
    fn each_step_leaves_no_name_without_its_owner(a in definitions(), b in definitions()) {
        let mut fake = Fake::holding(&a);
        for change in plan(&fake.export(true), &b, true).changes {
            fake.make(change);
            for stored in fake.registry.documents.values() {
                let wrong = check_document(&stored.id, &stored.document, &fake.registry, &LIMITS);
                let wrong: Vec<_> = wrong.iter().filter(|it| it.detail.contains("there is no")).collect();
                prop_assert!(wrong.is_empty(), "{:?}: {wrong:?}", stored.id);
            }
        }
    }

    #[test]
    fn what_is_written_is_parsed_to_the_same(all in definitions()) {
        prop_assert_eq!(parse(&to_yaml(&all)), Ok(all.clone()));
        prop_assert_eq!(parse(&to_json(&all)), Ok(all.clone()));
        prop_assert_eq!(parse(&canonical(&all)), Ok(all));
    }

    #[test]
    fn any_text_can_be_parsed(text in "[ \\-:#a-c1\\[\\]{}\"'|>*&!\n\t]{0,120}") {
        let head = format!("version: 1\n{text}");
        for text in [text, head] {
            if let Err(faults) = parse(&text) {
                prop_assert!(!faults.is_empty());
            }
        }
    }

    #[test]
    fn any_target_can_be_checked(address in "[a{}0-9/#$~%]{0,20}") {
        let route = Route { to: vec![Target { address, weight: 1 }], ..plain_route() };
        let id = DocumentId { realm: "default".into(), ..id(DocumentKind::Route, "r") };
        let _faults = check_document(&id, &Document::Route(route), &Registry::default(), &LIMITS);
    }
}

fn plain_route() -> Route {
    Route {
        description: String::new(),
        disabled: false,
        order: 0,
        filter: "a/+/#".to_owned(),
        when: Vec::new(),
        unrouted: false,
        to: Vec::new(),
        choose: Choose::All,
        shard_by: None,
        keep: false,
        last: false,
    }
}

#[test]
fn a_password_s_secrets_are_never_mixed() {
    let parsed = |user: &str| parse(&format!("version: 1\nusers:\n  ada: {user}\n")).unwrap();
    let before = parsed(
        "{password_hash: h1, scram_verifier: v1, wampcra_key: k1, scram_argon2_verifier: a1}",
    );
    for (wanted, after) in [
        ("{}", ["h1", "v1", "k1", "a1"]),
        // As files say it that were exported before there were verifiers, or keys.
        ("{password_hash: h1}", ["h1", "v1", "k1", "a1"]),
        (
            "{password_hash: h1, scram_verifier: v1}",
            ["h1", "v1", "k1", "a1"],
        ),
        (
            "{password_hash: h1, scram_verifier: v2}",
            ["h1", "v2", "-", "-"],
        ),
        ("{password_hash: h2}", ["h2", "-", "-", "-"]),
        (
            "{password_hash: h2, scram_verifier: v2}",
            ["h2", "v2", "-", "-"],
        ),
        // Refused, as documents: of which password would it be?
        ("{scram_verifier: v2}", ["-", "v2", "-", "-"]),
        ("{wampcra_key: k1}", ["-", "-", "k1", "-"]),
    ] {
        let planned = plan(&before, &parsed(wanted), false);
        let ada = &planned.after.users["ada"];
        let found = ada.password_secrets().map(|it| it.unwrap_or("-"));
        assert_eq!(found, after, "{wanted}");
    }
}

#[test]
fn a_plan_shows_no_secret() {
    let before = parse(
        "version: 1\nusers:\n  ada: {password_hash: old1, scram_verifier: old3, wampcra_key: old4, scram_argon2_verifier: old5}\ntokens:\n  t: {label: l, hash: old2}\n",
    )
    .unwrap();
    let after = parse(
        "version: 1\nusers:\n  ada: {password_hash: new1, scram_verifier: new4, wampcra_key: new5, scram_argon2_verifier: new6, roles: [admin]}\n  bob: {password_hash: new2}\n\
         tokens:\n  t: {label: l, hash: new3, previous: {hash: old2, until: 9}}\n",
    )
    .unwrap();
    let planned = plan(&before, &after, false);
    let text = serde_json::to_string(&planned.plan).unwrap();
    for secret in [
        "old1", "old2", "old3", "old4", "old5", "new1", "new2", "new3", "new4", "new5", "new6",
    ] {
        assert!(!text.contains(secret), "{text}");
    }
    let fields: Vec<_> = planned
        .plan
        .steps
        .iter()
        .map(|step| step.fields.join(", "))
        .collect();
    assert_eq!(
        fields,
        [
            "password_hash, roles: [] -> [\"admin\"], scram_argon2_verifier, scram_verifier, wampcra_key",
            "password_hash",
            "hash, previous"
        ]
    );
}

#[test]
fn a_step_says_what_changes() {
    let parsed = |text: &str| parse(&format!("version: 1\n{text}")).unwrap();
    let before =
        parsed("realms:\n  r:\n    max_queues: 5\n    queues: {q: {ttl_ms: 5}, gone: {}}\n");
    let after = parsed("realms:\n  r:\n    queues: {q: {ttl_ms: 6}, new: {max_bytes: 2048}}\n");
    let planned = plan(&before, &after, true);
    let said: Vec<_> = planned
        .plan
        .steps
        .iter()
        .map(|step| {
            (
                step.act,
                step.kind.as_str(),
                step.realm.as_deref(),
                step.name.as_str(),
                step.fields.join("; "),
            )
        })
        .collect();
    let field = |text: &str| text.to_owned();
    assert_eq!(
        said,
        [
            (
                StepAct::Change,
                "realm",
                None,
                "r",
                field("max_queues: 5 -> none")
            ),
            (StepAct::Remove, "queue", Some("r"), "gone", field("")),
            (
                StepAct::Create,
                "queue",
                Some("r"),
                "new",
                field("max_bytes: 2048")
            ),
            (
                StepAct::Change,
                "queue",
                Some("r"),
                "q",
                field("ttl_ms: 5 -> 6")
            ),
        ]
    );
}

#[test]
fn the_realm_default_is_set_back_and_never_removed() {
    let mut fake = Fake::started();
    fake.apply(
        &parse("version: 1\nrealms: {default: {max_queues: 3}, r: {}}\n").unwrap(),
        false,
    );
    let empty = Definitions {
        version: VERSION,
        ..Definitions::default()
    };
    let planned = fake.apply(&empty, true);
    assert_eq!(
        planned.after.realms.keys().collect::<Vec<_>>(),
        [DEFAULT_REALM]
    );
    assert_eq!(
        fake.export(true).realms[DEFAULT_REALM],
        RealmDefinitions::default()
    );
    assert!(
        fake.registry
            .get(DocumentKind::Token, "", "its0wn")
            .is_some()
    );
}

#[test]
fn a_checksum_is_of_the_text_that_stands_for_it() {
    let empty = Definitions {
        version: VERSION,
        ..Definitions::default()
    };
    let text = r#"{"realms":{},"roles":{},"rules":{},"tokens":{},"users":{},"version":1}"#;
    assert_eq!(canonical(&empty), text);
    // printf '%s' TEXT | sha256sum
    let digits = "e8fd1510e8a92a162464a3447540dbdad2908df43608e72f260aa565b5a48230";
    assert_eq!(checksum(&empty), format!("sha256:{digits}"));
}

#[track_caller]
fn faults(text: &str, expected: &[(Option<usize>, &str, &str)]) {
    let faults = parse(text).unwrap_err();
    let found: Vec<_> = faults
        .iter()
        .map(|it| (it.line, it.pointer.as_str()))
        .collect();
    let wanted: Vec<_> = expected.iter().map(|it| (it.0, it.1)).collect();
    assert_eq!(found, wanted, "{faults:?}");
    for (fault, (_, _, words)) in faults.iter().zip(expected) {
        assert!(fault.detail.contains(words), "{fault} should say {words}");
    }
}

#[test]
fn every_fault_of_the_form_has_its_place() {
    faults(
        "version: 2
realms:
  r:
    max_queues: many
    routes:
      a/b:
        filter: a
        to:
          - {address: x}
          - address: y
            wait: 1
    queues:
      q: {max_mesages: 3}
users:
  ada:
    roles: shop
rules:
  x: {role: shop, verbs: [fly], filter: a}
  y: {role: shop, verbs: [send]}
quotas: {}
",
        &[
            (Some(1), "/version", "version: 1"),
            (
                Some(11),
                "/realms/r/routes/a~1b/to/1/wait",
                "unknown field `wait`",
            ),
            (Some(13), "/realms/r/queues/q/max_mesages", "unknown field"),
            (
                Some(4),
                "/realms/r/max_queues",
                "invalid type: string \"many\"",
            ),
            (Some(16), "/users/ada/roles", "expected a sequence"),
            (Some(18), "/rules/x/verbs/0", "unknown variant `fly`"),
            (Some(19), "/rules/y", "missing field `filter`"),
            (Some(20), "/quotas", "no such section"),
        ],
    );
    faults(
        "{\"version\": 1, \"users\": {\"ada\": {\"rols\": []}}}",
        &[(None, "/users/ada/rols", "rols")],
    );
    faults(
        "{\"version\": 1,\n \"users\": {\"a\": {}, \"a\": {}}}",
        &[(Some(2), "", "twice")],
    );
    faults(
        "version: 1\nusers: [ada]\n",
        &[(Some(2), "/users", "no map")],
    );
    faults(
        "version: 1\nusers: {a: *b}\n",
        &[(Some(2), "", "not valid YAML")],
    );
    faults("", &[(Some(1), "/version", "version: 1")]);
    faults(
        "- a",
        &[(Some(1), "", "no map"), (Some(1), "/version", "version: 1")],
    );
}

#[test]
fn what_is_left_empty_is_left_out() {
    let text = "version: 1\nusers:\n  ada:\n    description:\nrules:\nrealms:\n  r:\n";
    let all = parse(text).unwrap();
    assert_eq!(all.users["ada"], User::default());
    assert_eq!(all.realms["r"], RealmDefinitions::default());
}

#[test]
fn a_text_too_large_or_too_deep_is_refused() {
    faults(&" ".repeat(FILE_BYTES_MAX + 1), &[(None, "", "16 MiB")]);
    let deep = format!("{{\"version\": 1, \"users\": {}}}", "[".repeat(100_000));
    faults(&deep, &[(Some(1), "", "JSON")]);
    let list = "a,".repeat(5000);
    let bomb = format!("version: 1\nx: &x [{list}]\ny: [{}]\n", "*x,".repeat(5000));
    assert!(parse(&bomb).unwrap_err()[0].detail.contains("aliases"));
}

#[test]
fn what_makes_no_sense_is_found_with_its_place() {
    let all = parse(
        "version: 1
realms:
  'a b': {}
  r:
    routes:
      bad-filter: {filter: 'a/#/b'}
      no-capture: {filter: 'a/+', to: [{address: 'x/{2}'}]}
      odd-brace: {filter: 'a/+', to: [{address: 'x/{user}'}]}
      wild-target: {filter: a, to: [{address: 'x/+'}]}
      broker: {filter: a, to: [{address: $SYS/x}]}
      no-weight: {filter: a, choose: weight, to: [{address: x, weight: 0}]}
      idle-weight: {filter: a, to: [{address: x, weight: 2}]}
      no-target: {filter: a, choose: weight}
      no-shard: {filter: a, choose: shard, to: [{address: x}]}
      odd-shard: {filter: a, choose: shard, shard_by: colour, to: [{address: x}]}
      odd-field: {filter: a, when: [{field: colour}, {field: priority, is: ['11']}]}
      fine: {filter: 'a/+/#', when: [{field: property.colour}], to: [{address: 'x/{2}/{1}-y'}]}
      drop: {filter: a}
    queues:
      q: {dead_letter: q, max_attempts: 0, bindings: ['a/#', 'a/#', 'a/b+']}
      'x/+': {}
roles:
  admin: {}
  'a:b': {}
  ok: {grants: [read, read]}
users:
  'a:b': {roles: [nobody, ok, admin]}
tokens:
  one: {label: x}
  two: {label: x}
  own: {label: cli}
rules:
  a: {role: nobody, verbs: [], realm: nowhere, filter: 'a/${host}'}
  b: {role: '*', verbs: [send], realm: '*', filter: 'a/${user}/#'}
",
    )
    .unwrap();
    let found = check(&all, &LIMITS);
    let places: Vec<_> = found.iter().map(|it| it.pointer.as_str()).collect();
    let expected = [
        "/realms/a b",
        "/realms/r/routes/bad-filter/filter",
        "/realms/r/routes/broker/to/0/address",
        "/realms/r/routes/idle-weight/to",
        "/realms/r/routes/no-capture/to/0/address",
        "/realms/r/routes/no-shard/choose",
        "/realms/r/routes/no-target/choose",
        "/realms/r/routes/no-weight/to",
        "/realms/r/routes/odd-brace/to/0/address",
        "/realms/r/routes/odd-field/when/0/field",
        "/realms/r/routes/odd-field/when/1/is",
        "/realms/r/routes/odd-shard/shard_by",
        "/realms/r/routes/wild-target/to/0/address",
        "/realms/r/queues/q/max_attempts",
        "/realms/r/queues/q/dead_letter",
        "/realms/r/queues/q/bindings/2",
        "/realms/r/queues/q/bindings",
        "/realms/r/queues/x~1+",
        "/roles/a:b",
        "/roles/admin",
        "/roles/ok/grants",
        "/users/a:b",
        "/users/a:b/roles/0",
        "/tokens/one/label",
        "/tokens/own/label",
        "/tokens/two/label",
        "/rules/a/role",
        "/rules/a/realm",
        "/rules/a/verbs",
        "/rules/a/filter",
    ];
    assert_eq!(places, expected, "{found:#?}");
}

#[test]
fn only_what_makes_queues_is_told_that_there_are_too_many() {
    let realm = |name: &str, most: u64, queues: &str| {
        let text = format!(
            "version: 1\nrealms: {{{name}: {{max_queues: {most}, queues: {{{queues}}}}}}}\n"
        );
        parse(&text).unwrap()
    };
    let places = |before: &Definitions, after: &Definitions| {
        let found = check_growth(before, after, &LIMITS);
        found.into_iter().map(|it| it.pointer).collect::<Vec<_>>()
    };
    let two = realm("r", 1, "a: {}, b: {}");
    assert_eq!(places(&two, &two), [""; 0], "it is so already");
    assert_eq!(places(&realm("r", 9, "a: {}, b: {}"), &two), [""; 0]);
    assert_eq!(places(&two, &realm("r", 1, "b: {}, c: {}")), [""; 0]);
    assert_eq!(places(&two, &realm("r", 9, "a: {}, b: {}, c: {}")), [""; 0]);
    let three = realm("r", 2, "a: {}, b: {}, c: {}");
    assert_eq!(places(&two, &three), ["/realms/r/queues"]);
    assert_eq!(places(&realm("s", 1, ""), &two), ["/realms/r/queues"]);
}

#[test]
fn a_document_is_checked_against_the_others() {
    let all = parse("version: 1\nroles: {shop: {}}\nrealms: {r: {}}\ntokens: {t: {label: one, roles: [shop]}}\nusers: {eve: {public_keys: [k1]}}\n").unwrap();
    let registry = Fake::holding(&all).registry;
    let check = |id: &DocumentId, document: Document| {
        let found = check_document(id, &document, &registry, &LIMITS);
        found.into_iter().map(|it| it.pointer).collect::<Vec<_>>()
    };
    let user = |role: &str| {
        let roles = vec![role.to_owned()];
        Document::User(User {
            roles,
            ..User::default()
        })
    };
    let ada = id(DocumentKind::User, "ada");
    let with_key = |key: &str| {
        let public_keys = vec![key.to_owned()];
        Document::User(User {
            public_keys,
            ..User::default()
        })
    };
    assert_eq!(check(&ada, with_key("k2")), [""; 0]);
    assert_eq!(check(&ada, with_key("k1")), ["/public_keys/0"]);
    assert_eq!(
        check(&id(DocumentKind::User, "eve"), with_key("k1")),
        [""; 0]
    );
    assert_eq!(check(&ada, user("shop")), [""; 0]);
    assert_eq!(check(&ada, user("ship")), ["/roles/0"]);
    let token = || {
        let label = "one".to_owned();
        Document::Token(Token {
            label,
            ..Token::default()
        })
    };
    assert_eq!(check(&id(DocumentKind::Token, "t"), token()), [""; 0]);
    assert_eq!(check(&id(DocumentKind::Token, "u"), token()), ["/label"]);
    let route = |realm: &str| DocumentId {
        realm: realm.to_owned(),
        ..id(DocumentKind::Route, "x")
    };
    for (realm, faults) in [("r", 0), ("default", 0), ("s", 1)] {
        assert_eq!(
            check(&route(realm), Document::Route(plain_route())).len(),
            faults,
            "{realm}"
        );
    }
    assert_eq!(
        users_of(&id(DocumentKind::Role, "shop"), &registry),
        ["token t"]
    );
    assert_eq!(
        users_of(&id(DocumentKind::Role, "other"), &registry),
        [""; 0]
    );
    let spec = QueueSpec {
        ttl_ms: Some(0),
        ..QueueSpec::default()
    };
    assert_eq!(check_queue("q", &spec, &LIMITS)[0].pointer, "/ttl_ms");
}
