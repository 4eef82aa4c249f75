//! Who gets what, when, and who no longer.

use super::rig::{Got, Rig, numbers, offsets};
use crate::engine::{ConsumerId, Errand};
use crate::refusal::Refusal;

fn rig_with(messages: u64) -> (Rig, restante_storage::QueueId) {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.enqueue(queue, messages);
    (rig, queue)
}

#[test]
fn messages_are_delivered_in_their_order() {
    let (mut rig, queue) = rig_with(3000);
    rig.consumer(queue, 10_000);
    assert_eq!(rig.offsets(), (1..=3000).collect::<Vec<_>>());
    rig.enqueue(queue, 1);
    assert_eq!(rig.offsets(), [3001]);
}

#[test]
fn released_messages_come_back_in_their_old_order_ahead_of_newer_ones() {
    let (mut rig, queue) = rig_with(8);
    let slow = rig.consumer(queue, 4);
    assert_eq!(rig.offsets(), [1, 2, 3, 4]);
    rig.settle(queue, |it| it.released = vec![3, 3, 1, 1]);
    let next = rig.consumer(queue, 3);
    assert_eq!(rig.offsets(), [1, 3, 5]);
    rig.engine.remove_consumer(slow);
    rig.errands();
    rig.engine.credit(next, 6);
    assert_eq!(rig.offsets(), [2, 4, 6]);
}

#[test]
fn an_offset_is_in_flight_with_at_most_one_consumer() {
    let (mut rig, queue) = rig_with(6);
    let consumers: Vec<ConsumerId> = (0..3).map(|_| rig.consumer(queue, 2)).collect();
    let mut got = numbers(&rig.deliveries());
    got.sort_unstable();
    assert_eq!(got, [1, 2, 3, 4, 5, 6]);
    for consumer in &consumers {
        rig.engine.credit(*consumer, 10);
    }
    assert_eq!(rig.offsets(), [0; 0]);
    // Held by one, it is nobody else's to hold.
    let [a, b, _] = consumers[..] else { panic!() };
    let held = rig.in_flight(queue, a);
    rig.engine.hold(b, &offsets(1..=6));
    assert_eq!(rig.in_flight(queue, a), held);
}

#[test]
fn what_was_released_meanwhile_is_not_returned_from_under_its_next_consumer() {
    let (mut rig, queue) = rig_with(1);
    let gone = rig.consumer(queue, 1);
    rig.deliveries();
    rig.engine.remove_consumer(gone);
    let errands = rig.engine.take_errands(rig.time(), 16);
    // The client's own release was in the log already.
    rig.settle(queue, |it| it.released = vec![1, 1]);
    let next = rig.consumer(queue, 5);
    assert_eq!(rig.offsets(), [1]);
    errands.iter().for_each(|errand| rig.run(errand));
    rig.consumer(queue, 5);
    assert_eq!(rig.offsets(), [0; 0]);
    assert_eq!(rig.in_flight(queue, next), [1]);
}

#[test]
fn credit_is_absolute_and_never_exceeded() {
    let (mut rig, queue) = rig_with(10);
    let consumer = rig.consumer(queue, 3);
    assert_eq!(rig.offsets(), [1, 2, 3]);
    rig.engine.credit(consumer, 3);
    rig.engine.credit(consumer, 1);
    assert_eq!(rig.offsets(), [0; 0]);
    rig.accept(queue, 1, 3);
    assert_eq!(rig.offsets(), [0; 0]);
    rig.engine.credit(consumer, 5);
    assert_eq!(rig.offsets(), [4, 5]);
}

#[test]
fn consumers_with_credit_take_turns() {
    let (mut rig, queue) = rig_with(0);
    let [a, b, c] = [10, 10, 1].map(|credit| rig.consumer(queue, credit));
    // Whether messages come one at a time or all at once.
    let mut turns = Vec::new();
    for n in [1, 1, 1, 1, 3] {
        rig.enqueue(queue, n);
        turns.extend(rig.deliveries().iter().map(|got| got.to));
    }
    assert_eq!(turns, [a, b, c, a, b, a, b]);
}

#[test]
fn a_consumer_that_goes_does_not_change_whose_turn_it_is() {
    let (mut rig, queue) = rig_with(2);
    let [a, b, c] = [10; 3].map(|credit| rig.consumer(queue, credit));
    let turns: Vec<_> = rig.deliveries().iter().map(|got| got.to).collect();
    assert_eq!(turns, [a, b]);
    // Otherwise what it had would have to come back first.
    rig.accept(queue, 1, 1);
    rig.engine.remove_consumer(a);
    rig.enqueue(queue, 2);
    let turns: Vec<_> = rig.deliveries().iter().map(|got| got.to).collect();
    assert_eq!(turns, [c, b]);
}

#[test]
fn an_exclusive_consumer_is_alone() {
    let (mut rig, queue) = rig_with(0);
    let other = rig.consumer(queue, 0);
    let add = |rig: &mut Rig, exclusive| rig.engine.add_consumer(queue, exclusive, None);
    assert_eq!(add(&mut rig, true), Err(Refusal::InUse));
    rig.engine.remove_consumer(other);
    let exclusive = add(&mut rig, true).unwrap();
    assert_eq!(add(&mut rig, false), Err(Refusal::InUse));
    rig.engine.remove_consumer(exclusive);
    assert!(add(&mut rig, false).is_ok());
    let nowhere = restante_storage::QueueId::new(5);
    let refused = rig.engine.add_consumer(nowhere, false, None);
    assert_eq!(refused, Err(Refusal::NoRoute));
}

#[test]
fn what_comes_back_counts_as_an_attempt_and_as_failed_only_where_it_was_released() {
    let (mut rig, queue) = rig_with(2);
    let gone = rig.consumer(queue, 2);
    rig.deliveries();
    rig.settle(queue, |it| it.released = vec![1, 1]);
    rig.engine.remove_consumer(gone);
    let errands = rig.errands();
    let returned: Vec<_> = errands
        .iter()
        .map(|errand| match errand {
            Errand::Settle(it) => it.returned.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(returned, [[2, 2]]);
    let to = rig.consumer(queue, 2);
    let attempt = 2;
    let got = [1, 2].map(|offset| Got {
        to,
        offset,
        attempt,
    });
    assert_eq!(rig.deliveries(), got);
    assert_eq!(rig.waiting("q"), [(1, 1, false), (2, 0, false)]);
}

#[test]
fn attempts_survive_a_restart() {
    let (mut rig, queue) = rig_with(1);
    let consumer = rig.consumer(queue, 9);
    for _ in 0..3 {
        assert_eq!(rig.offsets(), [1]);
        rig.settle(queue, |it| it.released = vec![1, 1]);
    }
    rig.checkpoint();
    rig.engine.remove_consumer(consumer);
    rig.restart();
    rig.consumer(queue, 1);
    assert_eq!(rig.deliveries()[0].attempt, 4);
}

#[test]
fn a_settlement_is_of_what_waits_however_wide_its_range() {
    let (mut rig, queue) = rig_with(5);
    rig.accept(queue, 2, 2);
    let all = rig.accept(queue, 1, u64::MAX);
    assert_eq!(all, Some(Refusal::NoSuchDelivery));
    assert_eq!(rig.waiting("q"), []);
    assert_eq!(rig.settle(queue, |_| {}), None);
    let malformed = rig.settle(queue, |it| it.accepted = vec![9, 3, 7]);
    assert_eq!(malformed, None);
}

#[test]
fn a_settlement_of_a_queue_that_is_gone_is_refused() {
    let (mut rig, queue) = rig_with(1);
    rig.delete(queue);
    assert_eq!(rig.accept(queue, 1, 1), Some(Refusal::NoSuchDelivery));
}

#[test]
fn deleting_a_queue_cancels_its_consumers_and_frees_its_segments() {
    let (mut rig, queue) = rig_with(40);
    let consumer = rig.consumer(queue, 2);
    rig.deliveries();
    let before = rig.engine.needed_now();
    rig.delete(queue);
    rig.deliveries();
    assert_eq!(rig.cancelled, [consumer]);
    assert!(rig.engine.needed_now() > before);
    assert_eq!(rig.engine.segments.first_live(), None);
    assert_eq!(rig.errands(), []);
}
