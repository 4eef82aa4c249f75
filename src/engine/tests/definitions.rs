//! Queues: definitions, names, bindings.

use super::rig::{REALM, Rig};
use crate::engine::WINDOW_MAX;

fn bound(rig: &Rig, address: &str) -> Vec<u64> {
    let mut found = Vec::new();
    let routes = rig.engine.routes.get(REALM).unwrap();
    routes
        .bindings
        .matches(address, &mut |handle| found.push(handle.id.get()));
    found.sort_unstable();
    found
}

#[test]
fn the_first_of_two_definitions_of_a_name_holds() {
    let mut rig = Rig::new();
    let first = rig.define("q");
    let second = rig.define_with("q", |def| def.ttl_ms = 5);
    assert_eq!(rig.id("q"), Some(first));
    assert!(rig.engine.queue(second).is_none());
    assert_eq!(rig.definition(first).ttl_ms, 0);
    rig.delete(first);
    assert_eq!(rig.id("q"), None);
    let third = rig.define("q");
    assert_eq!(rig.id("q"), Some(third));
}

#[test]
fn a_changed_definition_keeps_name_messages_and_offsets() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let other = rig.define("other");
    rig.enqueue(queue, 3);
    rig.redefine(queue, |def| {
        def.name = "other".into();
        def.max_messages = 3;
        def.bindings = vec!["x/#".into()];
    });
    assert_eq!(rig.id("q"), Some(queue));
    assert_eq!(rig.id("other"), Some(other));
    assert_eq!(rig.waiting("q").len(), 3);
    assert!(rig.engine.queue(queue).unwrap().is_full());
    assert_eq!(bound(&rig, "x/y"), [queue.get()]);
    assert_eq!(bound(&rig, "q"), [0; 0]);
}

#[test]
fn routes_are_the_same_after_a_restart() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.bind(queue, "a/+", true);
    rig.bind(queue, "b/#", true);
    rig.bind(queue, "b/#", true);
    rig.bind(queue, "not//+a filter#", true);
    rig.bind(queue, "a/+", false);
    for _ in 0..2 {
        assert_eq!(bound(&rig, "a/x"), [0; 0]);
        assert_eq!(bound(&rig, "b/x"), [queue.get()]);
        assert_eq!(rig.definition(queue).bindings, ["q", "b/#"]);
        rig.checkpoint();
        rig.restart();
    }
    assert!(rig.engine.changed_routes().is_some());
    assert!(rig.engine.changed_routes().is_none());
}

#[test]
fn a_late_message_to_a_queue_that_is_gone_has_no_effect() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let other = rig.define("other");
    rig.delete(queue);
    rig.enqueue_to(&[queue, other], None, None);
    rig.bind(queue, "x", true);
    assert_eq!(rig.waiting("other").len(), 1);
    assert_eq!(rig.rebuilt().all_rows(), rig.engine.all_rows());
}

/// It came back to life at a restart, though its end was in the log already.
#[test]
fn a_queue_that_went_while_it_was_written_again_stays_gone() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let rewrites = rig.rewrites();
    rig.delete(queue);
    rig.checkpoint();
    rewrites.iter().for_each(|errand| rig.run(errand));
    assert_eq!(rig.id("q"), None);
    assert_eq!(rig.rebuilt().queues.len(), 0);
    rig.restart();
    assert_eq!(rig.id("q"), None);
}

#[test]
fn what_is_written_again_is_asked_for_once() {
    let mut rig = Rig::new();
    rig.define("q");
    rig.session(1, WINDOW_MAX);
    assert_eq!(rig.rewrites().len(), 2);
    assert_eq!(rig.rewrites().len(), 0);
}

/// An empty chunk whose last numbers were used up by nothing stayed for ever.
#[test]
fn an_empty_chunk_goes_when_its_queue_has_left_it() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let session = rig.session(1, 1000);
    rig.enqueue(queue, 1022);
    rig.accept(queue, 1, 1022);
    let origin = super::rig::origin(session, 1);
    rig.advance(session, 1, 0);
    for _ in 0..2 {
        rig.enqueue_to(&[queue], None, Some(origin)); // seen before
    }
    let queue = rig.engine.queues.get(&queue).unwrap();
    assert_eq!(queue.next.get(), 1025);
    assert_eq!(queue.chunks().unwrap().len(), 0);
    rig.checkpoint();
    let rows = rig.store.rows();
    assert!(!rows.keys().any(|key| key.starts_with(b"b/")));
}
