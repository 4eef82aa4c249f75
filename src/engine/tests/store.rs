//! The state store: what leaves memory comes back right, and what is damaged there is found out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use restante_storage::QueueId;

use super::rig::{Rig, Rows, Store};
use crate::engine::{CKPT_KEY, Damage};

fn resident_chunks(rig: &Rig, queue: QueueId) -> usize {
    let queue = rig.engine.queues.get(&queue).unwrap();
    let chunks = queue.chunks().unwrap().values();
    chunks.filter(|chunk| chunk.is_resident()).count()
}

#[test]
fn chunks_leave_memory_after_a_checkpoint_and_come_back_right() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.enqueue(queue, 9000);
    let before = rig.engine.pending();
    rig.checkpoint();
    assert_eq!(
        resident_chunks(&rig, queue),
        3,
        "the head, the next, the tail"
    );
    assert_eq!(rig.engine.pending(), before);
    rig.engine.evict();
    let consumer = rig.consumer(queue, 9000);
    assert_eq!(rig.offsets(), (1..=9000).collect::<Vec<_>>());
    rig.checkpoint();
    rig.accept(queue, 1, 9000);
    assert_eq!(rig.waiting("q"), []);
    assert_eq!(rig.handle_messages(queue), 0);
    rig.checkpoint();
    assert_eq!(rig.engine.segments.first_live(), None);
    rig.engine.remove_consumer(consumer);
    rig.restart();
    assert_eq!(rig.waiting("q"), []);
}

/// The first message after a restart took the place of all that waited in the last chunk.
#[test]
fn the_last_chunk_grows_after_a_restart_and_loses_nothing() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.enqueue(queue, 5);
    rig.checkpoint();
    rig.restart();
    rig.enqueue(queue, 1);
    rig.checkpoint();
    rig.restart();
    rig.consumer(queue, 9);
    assert_eq!(rig.offsets(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(rig.accept(queue, 1, 6), None);
    assert_eq!(rig.engine.segments.first_live(), None);
}

#[test]
fn a_deleted_queue_leaves_no_rows() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.enqueue(queue, 4000);
    rig.accept(queue, 1, 1500);
    rig.checkpoint();
    rig.accept(queue, 1501, 2500);
    rig.delete(queue);
    rig.checkpoint();
    let keys: Vec<_> = rig.store.rows().into_keys().collect();
    assert_eq!(keys, [CKPT_KEY]);
    assert!(rig.store.load().unwrap().is_some());
}

/// Rows of every kind.
fn rows() -> (Rig, Rows) {
    let mut rig = Rig::new();
    let queue = rig.define_with("q", |def| def.dead_letter = Some("dead".into()));
    let expires = Some(rig.now + 1_000_000);
    for _ in 0..3 {
        rig.enqueue_to(&[queue], expires, None);
    }
    rig.enqueue(queue, 1100);
    rig.settle(queue, |it| {
        it.released = vec![1, 2];
        it.rejected = vec![5, 5];
        it.reason = Some("why".into());
    });
    let session = rig.session(1, 1000);
    rig.write_consume(session, 1, "x", queue);
    rig.advance(session, 2, 3);
    rig.retain_until("a", &[], b"1", Some(rig.now + 1_000_000));
    rig.retain("b", &[], b"1");
    rig.checkpoint();
    let rows = rig.store.rows();
    (rig, rows)
}

/// Whether an engine that begins with these rows notices that they are not what was written.
fn is_noticed(rows: Rows) -> bool {
    let store = Store::of(rows);
    let used = catch_unwind(AssertUnwindSafe(|| match store.load() {
        Ok(Some(mut engine)) => drop(engine.all_rows()), // reads every body
        Ok(None) => panic!("damaged: there was something"),
        Err(damage) => panic!("damaged: {damage}"),
    }));
    let Err(panic) = used else { return false };
    let text = panic.downcast::<String>().unwrap();
    assert!(text.starts_with("damaged: "), "{text}");
    true
}

#[test]
fn a_damaged_row_is_found_out() {
    let (_, rows) = rows();
    let kinds: std::collections::BTreeSet<&[u8]> = rows.keys().map(|key| &key[..2]).collect();
    assert_eq!(kinds.len(), 8, "{kinds:?}");
    for (key, value) in &rows {
        let step = value.len() / 50 + 1;
        for at in (0..value.len()).step_by(step) {
            for bit in [1, 0x80] {
                let mut rows = rows.clone();
                rows.get_mut(key).unwrap()[at] ^= bit;
                assert!(is_noticed(rows), "byte {at} of {key:?}");
            }
        }
        let mut rows = rows.clone();
        rows.get_mut(key).unwrap().pop();
        assert!(is_noticed(rows), "the last byte of {key:?}");
    }
}

#[test]
fn a_missing_row_is_found_out() {
    let (_, rows) = rows();
    for key in rows.keys() {
        let mut rows = rows.clone();
        rows.remove(key);
        assert!(is_noticed(rows), "without {key:?}");
    }
}

#[test]
fn a_row_of_another_checkpoint_is_found_out() {
    let (mut rig, older) = rows();
    let queue = rig.id("q").unwrap();
    let session = rig.engine.session_number(uuid::Uuid::from_u128(1)).unwrap();
    rig.enqueue(queue, 1);
    rig.settle(queue, |it| it.released = vec![3, 3]);
    rig.advance(session, 3, 0);
    rig.retain("b", &[], b"2");
    rig.checkpoint();
    let newer = rig.store.rows();
    for (key, value) in &older {
        if newer.get(key) != Some(value) {
            let mut mixed = newer.clone();
            mixed.insert(key.clone(), value.clone());
            assert!(is_noticed(mixed), "{key:?}");
        }
    }
}

#[test]
fn a_store_of_another_log_is_refused_and_an_empty_one_is_none() {
    let (_, rows) = rows();
    let store = Store::of(rows.clone());
    let load = |node, segment_bytes| {
        crate::engine::Engine::load(
            node,
            segment_bytes,
            Box::new(store.clone()),
            &mut |_, _| {},
            &|key| rows.get(key).cloned(),
        )
        .err()
    };
    let other = uuid::Uuid::from_u128(8);
    assert_eq!(
        load(other, super::rig::SEGMENT_BYTES),
        Some(Damage::Foreign)
    );
    assert_eq!(load(super::rig::NODE, 1 << 20), Some(Damage::Foreign));
    assert!(Store::default().load().unwrap().is_none());
}

#[test]
fn a_queue_pays_for_a_message_and_not_for_who_else_has_it() {
    let mut rig = Rig::new();
    let alone = rig.define("alone");
    rig.enqueue(alone, 1);
    let bytes = |rig: &Rig, id| rig.engine.queues.get(&id).unwrap().bytes;
    let price = bytes(&rig, alone);
    let crowd: Vec<QueueId> = (0..40).map(|n| rig.define(&format!("q{n}"))).collect();
    rig.enqueue_to(&crowd, None, None);
    for queue in &crowd {
        assert_eq!(bytes(&rig, *queue), price);
        assert_eq!(rig.accept(*queue, 1, 1), None);
        assert_eq!(bytes(&rig, *queue), 0);
    }
}

#[test]
fn a_deep_queue_that_is_deleted_is_looked_at_in_slices() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.enqueue(queue, 20 * 1024);
    rig.checkpoint();
    let loaded_before = rig.store.n_loaded();
    rig.delete(queue);
    let at_once = rig.store.n_loaded() - loaded_before;
    assert!(at_once <= 4, "{at_once}");
    assert!(rig.id("q").is_none());
    // A crash here changes nothing: only the log and what was checkpointed count.
    assert_eq!(rig.rebuilt().all_rows().len(), 0);
    let mut n_slices = 0;
    while rig.engine.has_errands() {
        let before = rig.store.n_loaded();
        rig.engine.take_errands(rig.time(), 16);
        assert!(rig.store.n_loaded() - before <= 16);
        n_slices += 1;
    }
    assert!(n_slices >= 1);
    assert_eq!(rig.engine.segments.first_live(), None);
    rig.checkpoint();
    rig.restart();
    assert_eq!(rig.engine.segments.first_live(), None);
}

#[test]
fn a_checkpoint_holds_nothing_of_a_queue_that_was_just_deleted() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.enqueue(queue, 20 * 1024);
    rig.checkpoint();
    rig.delete(queue);
    rig.checkpoint();
    let keys: Vec<_> = rig.store.rows().into_keys().collect();
    assert_eq!(keys, [CKPT_KEY]);
    rig.restart();
    assert_eq!(rig.engine.segments.first_live(), None);
}
