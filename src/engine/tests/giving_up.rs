//! Messages that are rejected, expire or fail too often: to the dead-letter address, or to nowhere.

use restante_storage::QueueId;

use super::rig::Rig;
use crate::engine::{Cause, Errand};
use crate::refusal::Refusal;

/// A queue `q` with a dead-letter queue `dead`.
fn rig(dead_letter: bool) -> (Rig, QueueId) {
    let mut rig = Rig::new();
    rig.define("dead");
    let queue = rig.define_with("q", |def| {
        def.dead_letter = dead_letter.then(|| "dead".into());
        def.max_attempts = 2;
    });
    (rig, queue)
}

fn moves(errands: &[Errand]) -> Vec<(u64, Cause, Option<&str>, u32, u32)> {
    let moves = errands.iter().filter_map(|errand| match errand {
        Errand::Move(it) => Some(it),
        _ => None,
    });
    moves
        .map(|it| {
            let reason = it.reason.as_deref();
            (it.offset.get(), it.cause, reason, it.acquired, it.failed)
        })
        .collect()
}

#[test]
fn what_is_rejected_goes_to_the_dead_letter_address_with_the_reason() {
    let (mut rig, queue) = rig(true);
    rig.enqueue(queue, 3);
    rig.consumer(queue, 3);
    rig.deliveries();
    rig.settle(queue, |it| {
        it.rejected = vec![2, 2];
        it.reason = Some("no such customer".into());
    });
    assert_eq!(rig.waiting("q")[1], (2, 0, true));
    // On its way nobody can settle it, and nobody gets it.
    assert_eq!(rig.accept(queue, 2, 2), Some(Refusal::NoSuchDelivery));
    let released = rig.settle(queue, |it| it.released = vec![2, 2]);
    assert_eq!(released, Some(Refusal::NoSuchDelivery));
    assert_eq!(rig.offsets(), [0; 0]);

    let errands = rig.errands();
    let expected = [(2, Cause::Rejected, Some("no such customer"), 0, 0)];
    assert_eq!(moves(&errands), expected);
    assert_eq!(rig.waiting("q"), [(1, 0, false), (3, 0, false)]);
    assert_eq!(rig.waiting("dead"), [(1, 0, false)]);
    assert_eq!(rig.engine.take_dropped(), []);
}

#[test]
fn what_is_rejected_without_a_dead_letter_address_is_dropped_and_counted() {
    let (mut rig, queue) = rig(false);
    rig.enqueue(queue, 2);
    rig.settle(queue, |it| it.rejected = vec![1, 1]);
    rig.errands();
    assert_eq!(rig.waiting("q"), [(2, 0, false)]);
    assert_eq!(rig.engine.take_dropped(), [(queue, Cause::Rejected)]);
    assert_eq!(rig.handle_messages(queue), 1);
}

#[test]
fn what_fails_too_often_is_given_up() {
    let (mut rig, queue) = rig(true);
    rig.enqueue(queue, 1);
    rig.consumer(queue, 9);
    assert_eq!(rig.offsets(), [1]);
    rig.settle(queue, |it| it.released = vec![1, 1]);
    assert_eq!(rig.offsets(), [1]);
    rig.settle(queue, |it| it.released = vec![1, 1]);
    assert_eq!(rig.offsets(), [0; 0]);
    let errands = rig.errands();
    let expected = [(1, Cause::MaxAttempts, None, 2, 2)];
    assert_eq!(moves(&errands), expected);
    assert_eq!(rig.waiting("dead").len(), 1);
}

#[test]
fn what_fails_too_often_without_a_dead_letter_address_is_dropped() {
    let (mut rig, queue) = rig(false);
    rig.enqueue(queue, 1);
    for _ in 0..2 {
        rig.settle(queue, |it| it.released = vec![1, 1]);
    }
    rig.errands();
    assert_eq!(rig.waiting("q"), []);
    assert_eq!(rig.engine.take_dropped(), [(queue, Cause::MaxAttempts)]);
}

#[test]
fn what_failed_too_often_before_a_crash_is_given_up_after_it() {
    let (mut rig, queue) = rig(true);
    rig.enqueue(queue, 1);
    for _ in 0..2 {
        rig.settle(queue, |it| it.released = vec![1, 1]);
    }
    rig.restart();
    rig.consumer(queue, 9);
    assert_eq!(rig.offsets(), [0; 0]);
    assert_eq!(moves(&rig.errands()).len(), 1);
}

#[test]
fn fewer_attempts_are_kept_to_at_the_next_delivery() {
    let (mut rig, queue) = rig(true);
    rig.enqueue(queue, 1);
    rig.settle(queue, |it| it.released = vec![1, 1]);
    rig.redefine(queue, |def| def.max_attempts = 1);
    rig.consumer(queue, 9);
    assert_eq!(rig.offsets(), [0; 0]);
    assert_eq!(moves(&rig.errands()).len(), 1);
}

#[test]
fn messages_expire_by_their_own_time_wherever_they_stand() {
    let (mut rig, queue) = rig(true);
    let soon = rig.now + 100;
    rig.enqueue(queue, 1);
    rig.enqueue_to(&[queue], Some(soon), None);
    rig.enqueue_to(&[queue], Some(soon + 1000), None);
    rig.now = soon - 1;
    assert_eq!(rig.errands(), []);
    rig.now = soon;
    let expected = [(2, Cause::Expired, None, 0, 0)];
    assert_eq!(moves(&rig.errands()), expected);
    rig.now += 1000;
    let expected = [(3, Cause::Expired, None, 0, 0)];
    assert_eq!(moves(&rig.errands()), expected);
    assert_eq!(rig.waiting("q"), [(1, 0, false)]);
}

/// The chunk's first expiry stayed that of a message that was gone, so nobody looked for a later one.
#[test]
fn a_message_expires_that_came_after_an_earlier_one_had_expired() {
    let (mut rig, queue) = rig(false);
    let first = rig.now + 10;
    rig.enqueue_to(&[queue], Some(first), None);
    rig.now = first;
    rig.errands();
    rig.enqueue_to(&[queue], Some(first + 10), None);
    rig.now += 10;
    rig.errands();
    assert_eq!(rig.waiting("q"), []);
    let dropped = rig.engine.take_dropped();
    assert_eq!(dropped, [(queue, Cause::Expired), (queue, Cause::Expired)]);
}

#[test]
fn messages_expire_by_their_queues_time() {
    let mut rig = Rig::new();
    let queue = rig.define_with("q", |def| def.ttl_ms = 100);
    rig.enqueue(queue, 3);
    rig.now += 50;
    rig.enqueue(queue, 1);
    rig.now += 50;
    rig.errands();
    assert_eq!(rig.waiting("q"), [(4, 0, false)]);
    rig.now += 50;
    rig.consumer(queue, 9);
    assert_eq!(rig.offsets(), [0; 0], "expired, though nobody looked yet");
    rig.errands();
    assert_eq!(rig.waiting("q"), []);
}

/// They were asked for at every call until the log had answered.
#[test]
fn what_expires_is_asked_for_once() {
    let mut rig = Rig::new();
    let queue = rig.define_with("q", |def| def.ttl_ms = 100);
    rig.enqueue(queue, 3);
    rig.now += 100;
    assert_eq!(rig.engine.take_errands(rig.time(), 16).len(), 1);
    assert_eq!(rig.engine.take_errands(rig.time(), 16), []);
    rig.consumer(queue, 9);
    assert_eq!(rig.offsets(), [0; 0]);
    assert_eq!(rig.engine.take_errands(rig.time(), 16), []);
}

#[test]
fn what_a_consumer_has_in_hand_expires_only_if_it_comes_back() {
    let (mut rig, queue) = rig(true);
    let soon = rig.now + 100;
    for _ in 0..2 {
        rig.enqueue_to(&[queue], Some(soon), None);
    }
    let consumer = rig.consumer(queue, 2);
    rig.deliveries();
    rig.now = soon + 1;
    assert_eq!(rig.errands(), []);
    assert_eq!(rig.accept(queue, 1, 1), None);
    rig.engine.remove_consumer(consumer);
    let errands = rig.errands();
    let expected = [(2, Cause::Expired, None, 1, 0)];
    assert_eq!(moves(&errands), expected);
}

#[test]
fn expiry_is_known_after_a_restart() {
    let (mut rig, queue) = rig(true);
    let soon = rig.now + 100;
    for _ in 0..2 {
        rig.enqueue_to(&[queue], Some(soon), None);
    }
    rig.consumer(queue, 1);
    rig.deliveries();
    rig.now = soon;
    let asked = rig.engine.take_errands(rig.time(), 16); // the other one; a crash takes the record
    assert_eq!(asked.len(), 1);
    rig.checkpoint();
    rig.restart();
    assert_eq!(moves(&rig.errands()).len(), 2);
}

#[test]
fn a_move_that_failed_is_asked_for_again_and_so_after_a_restart() {
    let (mut rig, queue) = rig(true);
    rig.enqueue(queue, 1);
    rig.settle(queue, |it| it.rejected = vec![1, 1]);
    assert_eq!(rig.engine.take_errands(rig.time(), 16).len(), 1);
    assert_eq!(rig.engine.take_errands(rig.time(), 16), []);
    rig.engine
        .move_failed(queue, restante_storage::Offset::new(1));
    assert_eq!(rig.engine.take_errands(rig.time(), 16).len(), 1);
    rig.checkpoint();
    rig.restart();
    assert_eq!(moves(&rig.errands()).len(), 1);
    assert_eq!(rig.waiting("q"), []);
}

/// It waited for ever.
#[test]
fn what_was_given_up_is_dropped_where_the_dead_letter_address_is_gone_since() {
    let (mut rig, queue) = rig(true);
    rig.enqueue(queue, 1);
    rig.settle(queue, |it| it.rejected = vec![1, 1]);
    rig.redefine(queue, |def| def.dead_letter = None);
    rig.errands();
    assert_eq!(rig.waiting("q"), []);
    assert_eq!(rig.engine.take_dropped(), [(queue, Cause::Rejected)]);
}

#[test]
fn a_queue_may_be_its_own_dead_letter_address() {
    let mut rig = Rig::new();
    let queue = rig.define_with("q", |def| def.dead_letter = Some("q".into()));
    rig.enqueue(queue, 2);
    rig.settle(queue, |it| it.rejected = vec![1, 1]);
    rig.errands();
    assert_eq!(rig.waiting("q"), [(2, 0, false), (3, 0, false)]);
}

#[test]
fn a_dead_letter_address_that_nothing_takes_drops() {
    let (mut rig, queue) = rig(true);
    let dead = rig.id("dead").unwrap();
    rig.delete(dead);
    rig.enqueue(queue, 1);
    rig.settle(queue, |it| it.rejected = vec![1, 1]);
    rig.errands();
    assert_eq!(rig.waiting("q"), []);
}
