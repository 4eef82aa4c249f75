//! Durable sessions: their frames, their consumers, and what outlives a socket and a crash.

use uuid::Uuid;

use super::rig::{Rig, offsets, origin};
use crate::engine::{Errand, WINDOW_MAX};
use crate::refusal::Refusal;

#[test]
fn a_frame_that_is_resent_has_no_second_effect() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let session = rig.session(1, 1000);
    for _ in 0..2 {
        rig.enqueue_to(&[queue], None, Some(origin(session, 1)));
    }
    assert_eq!(rig.waiting("q").len(), 1);
    assert_eq!(rig.engine.session(session).unwrap().seq, 1);
    let next: Vec<_> = rig.engine.next_offsets().map(|it| it.1.get()).collect();
    assert_eq!(next, [3], "its number is used up");
}

#[test]
fn failures_are_kept_within_the_window() {
    let mut rig = Rig::new();
    let session = rig.session(1, 1000);
    let denied = Refusal::Denied.number();
    rig.advance(session, 1, denied);
    rig.advance(session, 2, denied);
    rig.advance(session, WINDOW_MAX, 0);
    let failed = |rig: &Rig| -> Vec<u64> {
        let session = rig.engine.session(session).unwrap();
        session.failures.iter().map(|it| it.seq).collect()
    };
    assert_eq!(failed(&rig), [1, 2]);
    rig.advance(session, WINDOW_MAX + 1, denied);
    assert_eq!(failed(&rig), [2, WINDOW_MAX + 1]);
    rig.checkpoint();
    rig.restart();
    assert_eq!(failed(&rig), [2, WINDOW_MAX + 1]);
}

#[test]
fn what_a_session_settled_in_vain_is_a_failure_of_that_frame() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let session = rig.session(1, 1000);
    rig.enqueue(queue, 1);
    let accept = |rig: &mut Rig, seq| {
        let origin = Some(origin(session, seq));
        rig.settle_from(queue, origin, |it| it.accepted = vec![1, 1])
    };
    assert_eq!(accept(&mut rig, 1), None);
    assert_eq!(accept(&mut rig, 2), Some(Refusal::NoSuchDelivery));
    let failures = rig.engine.session(session).unwrap().failures;
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].seq, 2);
}

#[test]
fn hold_keeps_exactly_what_is_named() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let session = rig.session(1, 1000);
    let consumer = rig.consume(session, 1, "x", queue);
    rig.enqueue(queue, 6);
    rig.engine.credit(consumer, 5);
    rig.deliveries();
    let at = rig.time().saturating_add(1000);
    rig.detach(session, at);
    rig.engine.attach(session);
    let resumed = rig.engine.resume_consumers(session);
    assert_eq!(resumed[0].in_flight, offsets(1..=5));
    rig.engine.hold(consumer, &offsets([2, 4, 9]));
    assert_eq!(rig.in_flight(queue, consumer), [2, 4]);
    rig.engine.credit(consumer, 1);
    rig.errands();
    assert_eq!(rig.offsets(), [1]);
    rig.engine.credit(consumer, 9);
    assert_eq!(rig.offsets(), [3, 5, 6]);
}

#[test]
fn what_is_given_up_cannot_be_held() {
    let mut rig = Rig::new();
    let queue = rig.define_with("q", |def| def.dead_letter = Some("dead".into()));
    let session = rig.session(1, 1000);
    let consumer = rig.consume(session, 1, "x", queue);
    rig.enqueue(queue, 1);
    rig.settle(queue, |it| it.rejected = vec![1, 1]);
    rig.engine.hold(consumer, &offsets([1]));
    assert_eq!(rig.in_flight(queue, consumer), [0; 0]);
}

#[test]
fn a_session_goes_on_after_a_crash_with_what_it_holds() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let session = rig.session(1, 1000);
    let consumer = rig.consume(session, 1, "x", queue);
    rig.enqueue(queue, 4);
    rig.engine.credit(consumer, 3);
    assert_eq!(rig.offsets(), [1, 2, 3]);
    rig.checkpoint();
    rig.restart();

    assert_eq!(rig.engine.session_number(Uuid::from_u128(1)), Some(session));
    rig.engine.attach(session);
    let resumed = rig.engine.resume_consumers(session);
    let [it] = &resumed[..] else {
        panic!("{resumed:?}")
    };
    assert_eq!((&*it.name, it.queue, it.in_flight.len()), ("x", queue, 0));
    assert_eq!(rig.offsets(), [0; 0], "nothing before credit");
    rig.engine.hold(it.id, &offsets([2, 3]));
    rig.engine.credit(it.id, 9);
    assert_eq!(rig.offsets(), [1, 4]);
    assert_eq!(rig.in_flight(queue, it.id), [1, 2, 3, 4]);
    assert_eq!(rig.accept(queue, 2, 3), None);
}

#[test]
fn a_session_that_is_over_gives_back_what_it_had() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let session = rig.session(1, 1000);
    let consumer = rig.consume(session, 1, "x", queue);
    rig.enqueue(queue, 3);
    rig.engine.credit(consumer, 2);
    rig.deliveries();
    let at = rig.time().saturating_add(1000);
    rig.detach(session, at);
    let other = rig.consumer(queue, 1);
    assert_eq!(rig.offsets(), [3]);
    rig.now += 1000;
    let errands = rig.errands();
    assert!(matches!(errands[0], Errand::End(_)), "{errands:?}");
    rig.engine.credit(other, 3);
    assert_eq!(rig.offsets(), [1, 2]);
    assert_eq!(rig.ended, [session]);
    assert_eq!(rig.engine.n_sessions(), 0);
    assert_eq!(rig.engine.session_number(Uuid::from_u128(1)), None);
}

#[test]
fn after_a_restart_sessions_end_unless_somebody_comes_back() {
    let mut rig = Rig::new();
    let sessions = [1, 2].map(|uuid| rig.session(uuid, 1000));
    rig.restart();
    rig.engine.attach(sessions[0]);
    rig.now += 1000;
    rig.errands();
    assert!(rig.engine.session(sessions[0]).is_some());
    assert!(rig.engine.session(sessions[1]).is_none());
}

#[test]
fn a_consumer_that_was_cancelled_is_not_there_after_a_restart() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let session = rig.session(1, 1000);
    let consumer = rig.consume(session, 1, "x", queue);
    rig.consume(session, 2, "y", queue);
    rig.enqueue(queue, 1);
    rig.engine.credit(consumer, 1);
    rig.deliveries();
    rig.cancel(session, 3, "x");
    rig.errands();
    rig.consumer(queue, 1);
    assert_eq!(rig.offsets(), [1]);
    rig.restart();
    let resumed = rig.engine.resume_consumers(session);
    let names: Vec<_> = resumed.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["y"]);
}

/// It came back to life, though its end was in the log already.
#[test]
fn a_session_that_ended_while_it_was_written_again_stays_ended() {
    let mut rig = Rig::new();
    let session = rig.session(1, 1000);
    let rewrites = rig.rewrites();
    assert_eq!(rewrites.len(), 1);
    rig.end(session);
    rewrites.iter().for_each(|errand| rig.run(errand));
    assert_eq!(rig.engine.n_sessions(), 0);
    assert_eq!(rig.rebuilt().n_sessions(), 0);
    rig.restart();
    assert_eq!(rig.engine.n_sessions(), 0);
}

#[test]
fn a_session_may_change_how_long_it_outlives_its_socket() {
    let mut rig = Rig::new();
    let session = rig.session(1, 1000);
    rig.advance(session, 1, 0);
    let home = rig.engine.needed_now();
    let mut changed = rig.engine.session(session).unwrap();
    (changed.expiry_ms, changed.seq) = (9000, 0);
    rig.run(&Errand::Session(Box::new(changed)));
    let known = rig.engine.session(session).unwrap();
    assert_eq!((known.expiry_ms, known.seq), (9000, 1));
    assert_eq!(rig.engine.needed_now(), home);
}
