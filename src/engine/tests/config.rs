//! What administrators have set.

use bytes::Bytes;
use restante_storage::payload::{Config, ConfigEntry, DefineQueue, DeleteQueue};
use restante_storage::state::KEY_BYTES_MAX;
use restante_storage::{Draft, Kind, Lsn, QueueId, Stamp};

use super::rig::{REALM, Rig};
use crate::engine::{ConfigKey, Engine, Errand};

fn entry(name: &str, value: Option<&'static str>, revision: u64) -> ConfigEntry {
    ConfigEntry {
        kind: 2,
        realm: String::new(),
        name: name.to_owned(),
        value: value.map(|it| Bytes::from_static(it.as_bytes())),
        revision,
    }
}

fn set(rig: &mut Rig, name: &str, value: Option<&'static str>) -> Lsn {
    let entries = vec![entry(name, value, 0)];
    let config = Config {
        entries,
        ..Config::default()
    };
    rig.write(Kind::Config, None, &config).0
}

/// Names, documents and revisions.
fn documents(engine: &Engine) -> Vec<(String, Bytes, Lsn)> {
    let all = engine.config();
    all.map(|(key, it)| (key.name.clone(), it.value.clone(), it.revision))
        .collect()
}

fn queue(name: &str) -> DefineQueue {
    DefineQueue {
        realm: REALM.to_owned(),
        name: name.to_owned(),
        bindings: vec![name.to_owned()],
        ..DefineQueue::default()
    }
}

#[test]
fn one_record_changes_documents_and_queues_together() {
    let mut rig = Rig::new();
    let (old, changed) = (rig.define("old"), rig.define("changed"));
    rig.enqueue(changed, 3);
    let config = Config {
        entries: vec![entry("alice", Some("{}"), 0), entry("bob", None, 0)],
        queues: vec![
            queue("first"),
            DefineQueue {
                ttl_ms: 9,
                ..rig.definition(changed)
            },
            queue("second"),
        ],
        forgets: Vec::new(),
        gone: vec![DeleteQueue {
            queue: old.get(),
            realm: REALM.to_owned(),
            name: "old".to_owned(),
        }],
    };
    let targets = [changed, old];
    let (lsn, refusal) = rig.append(&Draft {
        targets: &targets,
        stamp: Stamp::Floor,
        ..Draft::new(Kind::Config, rig.time(), &config)
    });
    assert_eq!(refusal, None);
    let check = |rig: &mut Rig| {
        assert_eq!(documents(&rig.engine).len(), 1);
        assert_eq!(rig.id("old"), None);
        assert_eq!(rig.id("first"), Some(QueueId::new(lsn.get() + 1)));
        assert_eq!(rig.id("second"), Some(QueueId::new(lsn.get() + 3)));
        assert_eq!(rig.definition(changed).ttl_ms, 9);
        assert_eq!(rig.waiting("changed").len(), 3);
    };
    check(&mut rig);
    rig.restart();
    check(&mut rig);
    rig.checkpoint();
    rig.restart();
    check(&mut rig);
    let (mut rebuilt, mut live) = (rig.rebuilt(), rig.engine);
    assert_eq!(rebuilt.all_rows(), live.all_rows());
}

#[test]
fn a_document_written_again_keeps_its_revision() {
    let mut rig = Rig::new();
    let first = set(&mut rig, "alice", Some("1"));
    set(&mut rig, "bob", Some("1"));
    let rewrites = rig.rewrites();
    let [Errand::Config(keys)] = &rewrites[..] else {
        panic!("{rewrites:?}");
    };
    let names: Vec<&str> = keys
        .iter()
        .map(|key: &ConfigKey| key.name.as_str())
        .collect();
    assert_eq!(names, ["alice", "bob"]);
    set(&mut rig, "bob", None);
    let again = Config {
        entries: vec![entry("alice", Some("1"), first.get())],
        ..Config::default()
    };
    rig.write(Kind::Config, None, &again);
    rig.checkpoint();
    rig.cut();
    assert!(!rig.has_before(Lsn::new(first.get() + 1)));
    let expected = vec![("alice".to_owned(), Bytes::from_static(b"1"), first)];
    assert_eq!(documents(&rig.engine), expected);
    assert_eq!(documents(&rig.rebuilt()), expected);
    rig.restart();
    assert_eq!(documents(&rig.engine), expected);
}

#[test]
fn the_last_record_about_a_document_wins_wherever_the_log_begins() {
    let mut rig = Rig::new();
    for value in ["1", "2"] {
        set(&mut rig, "alice", Some(value));
        set(&mut rig, "bob", Some(value));
        rig.next_segment();
    }
    set(&mut rig, "bob", None);
    rig.checkpoint();
    rig.cut();
    assert!(rig.has_before(rig.engine.applied()));
    let kept = documents(&rig.engine);
    assert_eq!(kept.len(), 1);
    assert_eq!(documents(&rig.rebuilt()), kept);
}

/// A checkpoint with a name of 250 bytes failed, and so did each one after it.
#[test]
fn no_name_is_too_long_for_the_state_store() {
    let key = |realm: usize, name: usize| ConfigKey {
        kind: 6,
        realm: "r".repeat(realm),
        name: "n".repeat(name),
    };
    for realm in [0, 1, 64] {
        for name in 1..=256 {
            let key = key(realm, name).row_key();
            // With what a part's key has beside it.
            assert!(
                b"p/".len() + key.len() + 4 <= KEY_BYTES_MAX,
                "{realm}, {name}"
            );
            let short = 2 + 4 + realm + 1 + name <= KEY_BYTES_MAX - 6;
            assert_eq!(key.ends_with(b"nn") || name == 1, short, "{realm}, {name}");
        }
    }
    // Where the realm ends and the name begins counts in a hash as well.
    assert_ne!(key(64, 256).row_key(), key(63, 256).row_key());

    let mut rig = Rig::new();
    let names = [243, 244, 256].map(|bytes| "n".repeat(bytes));
    for name in &names {
        set(&mut rig, name, Some("1"));
        set(&mut rig, name, Some("2"));
    }
    rig.checkpoint();
    let expected = documents(&rig.engine);
    assert_eq!(expected.len(), 3);
    rig.restart();
    assert_eq!(documents(&rig.engine), expected);
    for name in &names {
        set(&mut rig, name, None);
    }
    rig.checkpoint();
    rig.restart();
    assert_eq!(documents(&rig.engine), []);
    assert!(!rig.store.rows().keys().any(|key| key.starts_with(b"c/")));
}
