//! Queues that keep a history.

use restante_storage::{Offset, QueueId};

use super::rig::Rig;
use crate::engine::{Blocked, Cause, Errand};
use crate::refusal::Refusal;

fn history(rig: &mut Rig, max_messages: u64) -> QueueId {
    rig.define_with("h", |def| {
        def.history = true;
        def.max_messages = max_messages;
    })
}

fn left(rig: &mut Rig) -> Vec<u64> {
    let waiting = rig.waiting("h");
    waiting.iter().map(|(offset, ..)| *offset).collect()
}

fn dropped(errands: &[Errand]) -> Vec<u64> {
    let settles = errands.iter().filter_map(|errand| match errand {
        Errand::Settle(it) => Some(it.dropped.clone()),
        _ => None,
    });
    settles.flatten().collect()
}

#[test]
fn the_oldest_go_when_a_history_has_more_than_it_may() {
    let mut rig = Rig::new();
    let queue = history(&mut rig, 3);
    rig.enqueue(queue, 3);
    assert!(!rig.engine.has_errands());
    assert_eq!(rig.errands(), []);
    rig.enqueue(queue, 4);
    assert!(rig.engine.has_errands());
    assert_eq!(dropped(&rig.errands()), [1, 4]);
    assert_eq!(left(&mut rig), [5, 6, 7]);
    assert_eq!(
        rig.engine.take_dropped(),
        vec![(queue, Cause::Surplus); 4],
        "counted"
    );
    assert!(!rig.engine.queue(queue).unwrap().is_full());
    // By bytes: no more than two of them, and not quite three.
    let bytes = rig.engine.queues[&queue].bytes;
    rig.redefine(queue, |def| {
        def.max_messages = 0;
        def.max_bytes = bytes - 1;
    });
    assert_eq!(dropped(&rig.errands()), [5, 5]);
    rig.redefine(queue, |def| def.max_bytes = 0);
    rig.enqueue(queue, 100);
    assert_eq!(rig.errands(), []);
}

#[test]
fn each_is_dropped_once() {
    let mut rig = Rig::new();
    let queue = history(&mut rig, 2);
    rig.enqueue(queue, 3);
    let now = rig.time();
    let first = rig.engine.take_news(now, 16);
    assert_eq!(dropped(&first), [1, 1]);
    // The record is not in the log yet.
    rig.enqueue(queue, 2);
    let second = rig.engine.take_news(now, 16);
    assert_eq!(dropped(&second), [2, 3]);
    for errand in first.iter().chain(&second) {
        rig.run(errand);
    }
    assert_eq!(rig.errands(), []);
    assert_eq!(left(&mut rig), [4, 5]);
}

#[test]
fn a_history_is_trimmed_after_a_restart_too() {
    let mut rig = Rig::new();
    let queue = history(&mut rig, 2);
    rig.enqueue(queue, 5);
    rig.checkpoint();
    rig.restart();
    assert_eq!(left(&mut rig).len(), 5);
    assert_eq!(dropped(&rig.errands()), [1, 3]);
    assert_eq!(left(&mut rig), [4, 5]);
}

#[test]
fn a_deep_queue_that_becomes_a_history_is_trimmed_step_by_step() {
    let mut rig = Rig::new();
    let queue = rig.define("h");
    rig.enqueue(queue, 40_000);
    rig.redefine(queue, |def| {
        def.history = true;
        def.max_messages = 10;
    });
    rig.errands();
    assert_eq!(left(&mut rig), Vec::from_iter(39_991..=40_000));
}

#[test]
fn nobody_consumes_from_a_history() {
    let mut rig = Rig::new();
    let queue = history(&mut rig, 9);
    let refused = rig.engine.add_consumer(queue, false, None);
    assert_eq!(refused, Err(Refusal::InUse));
    assert_eq!(rig.engine.why(queue), Some(Blocked::Empty));
    rig.enqueue(queue, 1);
    assert_eq!(rig.engine.why(queue), Some(Blocked::History));
}

#[test]
fn whoever_consumed_before_it_became_a_history_gets_no_more() {
    let mut rig = Rig::new();
    let queue = rig.define("h");
    rig.enqueue(queue, 3);
    rig.consumer(queue, 1);
    assert_eq!(rig.offsets(), [1]);
    rig.redefine(queue, |def| {
        def.history = true;
        def.max_messages = 1;
    });
    rig.accept(queue, 1, 1);
    rig.errands();
    assert_eq!(rig.offsets(), [0; 0]);
    assert_eq!(left(&mut rig), [3]);
    rig.redefine(queue, |def| def.history = false);
    let consumer = rig.consumer(queue, 9);
    assert_eq!(rig.offsets(), [3]);
    assert_eq!(rig.in_flight(queue, consumer), [3]);
}

#[test]
fn age_bounds_a_history_as_it_does_every_queue() {
    let mut rig = Rig::new();
    let queue = history(&mut rig, 9);
    rig.redefine(queue, |def| def.ttl_ms = 100);
    rig.enqueue(queue, 2);
    rig.now += 101;
    assert_eq!(dropped(&rig.errands()), [1, 2]);
    assert_eq!(rig.engine.take_dropped(), vec![(queue, Cause::Expired); 2]);
    rig.enqueue(queue, 1);
    let claimed = rig
        .engine
        .claim(queue, &crate::engine::Wanted::These(vec![Offset::new(3)]));
    assert_eq!(
        claimed.unwrap().claimed,
        [Offset::new(3)],
        "an administrator may delete it"
    );
}
