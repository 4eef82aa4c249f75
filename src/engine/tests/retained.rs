//! Messages that are kept at their addresses.

use restante_storage::payload::Config;
use restante_storage::{Kind, Lsn, QueueId, UnixMillis};

use super::rig::{REALM, Rig};
use crate::engine::{Engine, LookMax};

const MAX: LookMax = LookMax {
    looked: 1024,
    found: 256,
};

/// The addresses at which something is kept that matches, and its revision.
fn kept_of(engine: &Engine, filter: &str, now: u64) -> Vec<(String, u64)> {
    let filter = filter.parse().unwrap();
    let page = engine.retained(REALM, &filter, None, UnixMillis::new(now), MAX);
    assert_eq!(page.next, None);
    let found = page.found.into_iter();
    found.map(|it| (it.address, it.revision)).collect()
}

fn kept(rig: &Rig, filter: &str) -> Vec<String> {
    let kept = kept_of(&rig.engine, filter, rig.now).into_iter();
    kept.map(|(address, _)| address).collect()
}

/// A session with an own queue.
fn session(rig: &mut Rig) -> (restante_storage::SessionNo, QueueId) {
    let session = rig.mqtt_session(1, 1000);
    let own = rig.own_queue(session, "c");
    (session, own)
}

/// Until all that was written is old.
fn let_it_grow_old(rig: &mut Rig) {
    for _ in 0..4 {
        rig.next_segment();
    }
}

#[test]
fn the_last_one_is_kept_and_one_without_a_body_takes_it_away() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.retain("a", &[queue], b"1");
    let second = rig.retain("a", &[queue], b"2");
    rig.retain("b", &[], b"1");
    assert_eq!(
        kept_of(&rig.engine, "a", rig.now),
        [("a".to_owned(), second.get())]
    );
    assert_eq!(rig.engine.n_retained(), 2);
    assert_eq!(rig.waiting("q").len(), 2, "each is told of live as well");
    rig.retain("a", &[queue], b"");
    rig.retain("c", &[], b"");
    assert_eq!(kept(&rig, "#"), ["b"]);
    assert_eq!(
        rig.waiting("q").len(),
        3,
        "and so is the one without a body"
    );
    rig.checkpoint();
    rig.restart();
    assert_eq!(kept(&rig, "#"), ["b"]);
    assert_eq!(rig.engine.n_retained(), 1);
}

#[test]
fn what_matches_is_found() {
    let mut rig = Rig::new();
    for address in ["a", "a-b", "a/b", "a/b/c", "a/c", "a0", "b/c", "é"] {
        rig.retain(address, &[], b"1");
    }
    for (filter, expected) in [
        (
            "#",
            &["a", "a-b", "a/b", "a/b/c", "a/c", "a0", "b/c", "é"][..],
        ),
        ("a/#", &["a", "a/b", "a/b/c", "a/c"]),
        ("a/+", &["a/b", "a/c"]),
        ("+/c", &["a/c", "b/c"]),
        ("a/+/#", &["a/b", "a/b/c", "a/c"]),
        ("a/b/#", &["a/b", "a/b/c"]),
        ("+", &["a", "a-b", "a0", "é"]),
        ("a", &["a"]),
        ("x", &[]),
        ("x/#", &[]),
    ] {
        assert_eq!(kept(&rig, filter), expected, "{filter}");
    }
    let other = "#".parse().unwrap();
    let now = rig.time();
    let page = rig.engine.retained("other", &other, None, now, MAX);
    assert_eq!(page.found, [], "of another realm");
}

#[test]
fn a_look_is_bounded_and_goes_on_where_it_stopped() {
    let mut rig = Rig::new();
    let all: Vec<String> = (10..60).map(|n| format!("a/{n}")).collect();
    for address in &all {
        rig.retain(address, &[], b"1");
    }
    rig.retain("a", &[], b"1");
    for (looked, found) in [(1, 1), (7, 100), (100, 7), (7, 3)] {
        let filter = "a/#".parse().unwrap();
        let max = LookMax { looked, found };
        let (mut got, mut after) = (Vec::new(), None);
        loop {
            let after_text: Option<&str> = after.as_deref();
            let now = rig.time();
            let page = rig.engine.retained(REALM, &filter, after_text, now, max);
            assert!(page.found.len() <= looked.min(found) + 1);
            got.extend(page.found.into_iter().map(|it| it.address));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(got.first().map(String::as_str), Some("a"));
        assert_eq!(got[1..], all);
    }
}

#[test]
fn a_message_that_is_written_again_is_the_same_message() {
    let mut rig = Rig::new();
    rig.retain("a", &[], b"1");
    rig.retain("b", &[], b"1");
    let before = kept_of(&rig.engine, "#", rig.now);
    assert_eq!(rig.rewrites(), [], "it is not old yet");
    let_it_grow_old(&mut rig);
    let rewrites = rig.rewrites();
    assert_eq!(rewrites.len(), 2);
    // One is replaced while it is on its way to the log, and must not come back.
    let newer = rig.retain("b", &[], b"2");
    rewrites.iter().for_each(|errand| rig.run(errand));
    let after = [before[0].clone(), ("b".to_owned(), newer.get())];
    assert_eq!(kept_of(&rig.engine, "#", rig.now), after);
    rig.checkpoint();
    rig.cut();
    assert!(!rig.has_before(Lsn::new(8192)));
    assert_eq!(kept_of(&rig.rebuilt(), "#", rig.now), after);
    rig.restart();
    assert_eq!(kept_of(&rig.engine, "#", rig.now), after);
}

#[test]
fn one_that_was_taken_away_does_not_come_back_from_a_log_whose_beginning_is_gone() {
    let mut rig = Rig::new();
    rig.retain("a", &[], b"1");
    rig.retain("b", &[], b"1");
    let_it_grow_old(&mut rig);
    let late = rig.rewrites();
    rig.next_segment();
    rig.retain("a", &[], b"");
    rewrite_all(&mut rig);
    late.iter().for_each(|errand| rig.run(errand));
    rig.checkpoint();
    rig.cut();
    assert!(!rig.has_before(Lsn::new(8192)));
    assert_eq!(kept(&rig, "#"), ["b"]);
    let rebuilt = kept_of(&rig.rebuilt(), "#", rig.now);
    assert_eq!(rebuilt, kept_of(&rig.engine, "#", rig.now));
}

fn rewrite_all(rig: &mut Rig) {
    let_it_grow_old(rig);
    for errand in rig.rewrites() {
        rig.run(&errand);
    }
}

#[test]
fn what_has_expired_is_not_found_and_goes() {
    let mut rig = Rig::new();
    let soon = rig.now + 10;
    rig.retain_until("a", &[], b"1", Some(soon));
    rig.retain_until("b", &[], b"1", Some(soon));
    rig.retain("c", &[], b"1");
    rig.now += 10;
    assert_eq!(kept(&rig, "#"), ["c"]);
    assert_eq!(rig.engine.n_retained(), 3);
    let errands = rig.engine.take_errands(rig.time(), 16);
    assert_eq!(errands.len(), 2);
    assert_eq!(
        rig.engine.take_errands(rig.time(), 16),
        [],
        "each is given once"
    );
    // Another one came meanwhile: it stays.
    rig.retain("b", &[], b"2");
    errands.iter().for_each(|errand| rig.run(errand));
    assert_eq!(kept(&rig, "#"), ["b", "c"]);
    assert_eq!(rig.engine.n_retained(), 2);
    rig.restart();
    assert_eq!(kept(&rig, "#"), ["b", "c"]);
}

#[test]
fn a_realm_that_goes_takes_what_it_keeps_with_it() {
    let mut rig = Rig::new();
    rig.retain("a", &[], b"1");
    rig.checkpoint();
    let config = Config {
        forgets: vec![REALM.into(), "other".into()],
        ..Config::default()
    };
    rig.write(Kind::Config, None, &config);
    assert_eq!(kept(&rig, "#"), [""; 0]);
    rig.checkpoint();
    assert!(!rig.store.rows().keys().any(|key| key.starts_with(b"r/")));
    rig.restart();
    assert_eq!(rig.engine.n_retained(), 0);
}

#[test]
fn a_recall_brings_what_is_kept_to_an_own_queue_and_not_what_was_replaced_since() {
    let mut rig = Rig::new();
    let (session, own) = session(&mut rig);
    let first = rig.retain("a", &[], b"1");
    rig.retain("b", &[], b"1");
    rig.retain("c", &[], b"1");
    let listed = rig.list(session, "#");
    let newer = rig.retain("b", &[own], b"2");
    rig.retain("c", &[own], b"");
    rig.recall(own, &listed);
    let waiting = |engine: &mut Engine| engine.pending()["$mqtt/c"].clone();
    let live = waiting(&mut rig.engine);
    let lsns: Vec<u64> = live.iter().map(|it| it.1).collect();
    assert_eq!(lsns[0], newer.get());
    assert_eq!(lsns[2..], [first.get()], "behind what came live");
    let next: Vec<_> = rig.engine.next_offsets().map(|it| it.1.get()).collect();
    assert_eq!(
        next,
        [6],
        "offsets are used up whatever becomes of the message"
    );
    assert_eq!(waiting(&mut rig.rebuilt()), live);
    rig.restart();
    assert_eq!(waiting(&mut rig.engine), live);
}

#[test]
fn the_log_is_kept_for_what_a_recall_has_listed() {
    let mut rig = Rig::new();
    let (session, own) = session(&mut rig);
    let record = rig.retain("a", &[], b"1");
    let listed = rig.list(session, "#");
    for _ in 0..3 {
        rewrite_all(&mut rig);
        rig.checkpoint();
        rig.cut();
    }
    assert!(rig.has_before(Lsn::new(8192)), "it is not recalled yet");
    rig.recall(own, &listed);
    let lsns: Vec<u64> = rig.engine.pending()["$mqtt/c"]
        .iter()
        .map(|it| it.1)
        .collect();
    assert_eq!(lsns, [record.get()]);
    rig.accept(own, 1, 1);
    rewrite_all(&mut rig);
    rig.checkpoint();
    rig.cut();
    assert!(!rig.has_before(Lsn::new(8192)));

    // A client that is gone does not hold it for long.
    rig.list(session, "#");
    rig.detach(session, UnixMillis::new(u64::MAX));
    let oldest = rig.tape.oldest();
    for _ in 0..3 {
        rewrite_all(&mut rig);
        rig.checkpoint();
        rig.cut();
    }
    assert!(rig.tape.oldest() > oldest);
}

#[test]
fn a_queue_does_not_pay_for_who_else_had_what_is_recalled() {
    let mut rig = Rig::new();
    let (session, own) = session(&mut rig);
    let crowd: Vec<QueueId> = (0..40).map(|n| rig.define(&format!("q{n}"))).collect();
    rig.retain("a", &crowd, b"1");
    let bytes = |rig: &Rig, id| rig.engine.queues.get(&id).unwrap().bytes;
    let price = bytes(&rig, crowd[0]);
    let listed = rig.list(session, "#");
    rig.recall(own, &listed);
    assert_eq!(bytes(&rig, own), price);
    rig.accept(own, 1, 1);
    assert_eq!(bytes(&rig, own), 0);
}

#[test]
fn a_look_finds_what_its_filter_matches() {
    let mut rig = Rig::new();
    let addresses = [
        "a",
        "a/b",
        "a/b/c",
        "a/bc",
        "a/bd",
        "a/b%2F",
        "a/c",
        "ab",
        "ab/c",
        "b",
        "é/x",
        "éa",
        "ê",
        "%24S",
        "a/\u{D7FF}x",
        "a/\u{E000}",
        "a/\u{10FFFF}x",
    ];
    for address in addresses {
        rig.retain(address, &[], b"1");
    }
    for text in [
        "#",
        "a#",
        "a/#",
        "a/b#",
        "a/bc#",
        "a/b/#",
        "+/c#",
        "é#",
        "x#",
        "%24#",
        "a/+",
        "a/\u{D7FF}#",
        "a/\u{10FFFF}#",
        "\u{10FFFF}#",
    ] {
        let filter: crate::engine::address::Filter = text.parse().unwrap();
        let matching = addresses
            .iter()
            .filter(|it| filter.matches(&it.parse().unwrap()));
        let mut expected: Vec<&str> = matching.copied().collect();
        expected.sort_unstable();
        assert_eq!(kept(&rig, text), expected, "{text}");
    }
}
