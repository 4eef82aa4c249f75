//! What MQTT sessions keep: subscriptions, packet ids, a queue of their own, and queues that groups share.

use restante_storage::payload::{Advance, Subscription};
use restante_storage::{Kind, Lsn, QueueId, SessionNo};
use uuid::Uuid;

use super::rig::{REALM, Rig, origin};
use crate::engine::{Errand, OWN_CONSUMER};
use crate::refusal::Refusal;

fn to(filter: &str, qos: u32) -> Subscription {
    Subscription {
        filter: filter.into(),
        qos,
        ..Subscription::default()
    }
}

fn shared(filter: &str, queue: QueueId) -> Subscription {
    Subscription {
        share: "g".into(),
        queue: queue.get(),
        ..to(filter, 1)
    }
}

fn bound(rig: &Rig, address: &str) -> Vec<QueueId> {
    let mut found = Vec::new();
    let routes = rig.engine.routes.get(REALM).unwrap();
    routes
        .bindings
        .matches(address, &mut |handle| found.push(handle.id));
    found.sort_unstable();
    found.dedup();
    found
}

fn filters(rig: &Rig, session: SessionNo) -> Vec<(String, u32)> {
    let whole = rig.engine.session(session).unwrap();
    let subscriptions = whole.subscriptions.into_iter();
    subscriptions.map(|it| (it.filter, it.qos)).collect()
}

/// A session with its own queue.
fn session(rig: &mut Rig) -> (SessionNo, QueueId) {
    let session = rig.mqtt_session(1, 1000);
    let queue = rig.own_queue(session, "ada");
    (session, queue)
}

#[test]
fn an_own_queue_is_bound_to_what_its_session_subscribes_to() {
    let mut rig = Rig::new();
    let (session, queue) = session(&mut rig);
    rig.subscribe(session, 1, to("a/+", 1));
    rig.subscribe(session, 2, to("b", 2));
    rig.subscribe(session, 3, to("c", 0));
    let check = |rig: &Rig, address: &str, is_bound: bool| {
        let wanted = if is_bound { vec![queue] } else { Vec::new() };
        assert_eq!(bound(rig, address), wanted, "{address}");
    };
    for (address, is_bound) in [("a/x", true), ("b", true), ("c", false)] {
        check(&rig, address, is_bound);
    }
    // Replaced, and ended.
    rig.subscribe(session, 4, to("b", 0));
    rig.subscribe(session, 5, to("c", 1));
    rig.unsubscribe(session, 6, ("", "a/+"));
    for _ in 0..2 {
        for (address, is_bound) in [("a/x", false), ("b", false), ("c", true)] {
            check(&rig, address, is_bound);
        }
        let left = [("b".to_owned(), 0), ("c".to_owned(), 1)];
        assert_eq!(filters(&rig, session), left);
        rig.checkpoint();
        rig.restart();
    }
}

#[test]
fn an_own_queue_delivers_to_its_session_over_a_restart() {
    let mut rig = Rig::new();
    let (session, queue) = session(&mut rig);
    rig.subscribe(session, 1, to("a", 1));
    rig.enqueue(queue, 2);
    rig.restart();
    let resumed = rig.engine.resume_consumers(session);
    let [it] = &resumed[..] else {
        panic!("{resumed:?}")
    };
    assert_eq!((&*it.name, it.queue), (OWN_CONSUMER, queue));
    rig.engine.credit(it.id, 9);
    assert_eq!(rig.offsets(), [1, 2]);
}

#[test]
fn an_own_queue_goes_with_its_session() {
    let mut rig = Rig::new();
    let (first, queue) = session(&mut rig);
    rig.subscribe(first, 1, to("a", 1));
    rig.enqueue(queue, 3);
    let late = rig.definition(queue);
    rig.end(first);
    assert!(rig.engine.queue(queue).is_none());
    assert_eq!(bound(&rig, "a"), []);
    assert_eq!(rig.engine.segments.first_live(), None);
    // What comes too late makes none.
    rig.own_queue(first, "ada");
    rig.write_definition(&late);
    assert_eq!(rig.id("$mqtt/ada"), None);
    assert_eq!(rig.rebuilt().queues.len(), 0);
}

/// The log's beginning is gone, and with it the session's definition and end: its queue, written again late, came back.
#[test]
fn an_own_queue_that_is_written_again_behind_its_sessions_end_stays_away() {
    let mut rig = Rig::new();
    let (first, queue) = session(&mut rig);
    rig.enqueue(queue, 1);
    let rewrites = rig.rewrites();
    rig.end(first);
    rewrites.iter().for_each(|errand| rig.run(errand));
    rig.checkpoint();
    rig.cut();
    assert!(!rig.has_before(Lsn::new(8192)));
    assert_eq!(rig.rebuilt().queues.len(), 0);
}

/// A definition for a session that had ended was taken for the first of its name, and the next session's for a loser.
#[test]
fn what_comes_too_late_for_a_session_takes_nothing_from_the_clients_next_one() {
    let mut rig = Rig::new();
    let stays = rig.define("stays");
    let old = rig.mqtt_session(1, 1000);
    rig.end(old);
    rig.next_segment();
    rig.enqueue(stays, 1);
    rig.own_queue(old, "ada");
    let next = rig.mqtt_session(2, 1000);
    let queue = rig.own_queue(next, "ada");
    rig.subscribe(next, 1, to("a", 1));
    rig.enqueue(queue, 1);
    rig.rewrite_and_cut();
    assert!(!rig.has_before(Lsn::new(8192)));
    let mut rebuilt = rig.rebuilt();
    assert_eq!(rebuilt.pending(), rig.engine.pending());
    assert_eq!(rebuilt.session(next), rig.engine.session(next));
}

#[test]
fn packet_ids_are_kept_until_they_are_released_and_completed() {
    let mut rig = Rig::new();
    let (session, queue) = session(&mut rig);
    rig.receive(queue, Some(origin(session, 1)), 7);
    rig.receive(queue, Some(origin(session, 2)), 3);
    let advance = |rig: &mut Rig, seq, it: Advance| {
        rig.write(Kind::Advance, Some(origin(session, seq)), &it);
    };
    let none = Advance::default();
    let received = 5;
    advance(&mut rig, 3, Advance { received, ..none });
    rig.settle_from(queue, Some(origin(session, 4)), |it| {
        (it.accepted, it.releasing) = (vec![1, 2], vec![2, 1]);
    });
    let kept = |rig: &Rig| {
        let whole = rig.engine.session(session).unwrap();
        (whole.received, whole.releasing)
    };
    assert_eq!(kept(&rig), (vec![3, 5, 7], vec![2, 1]));
    rig.checkpoint();
    rig.restart();
    assert_eq!(kept(&rig), (vec![3, 5, 7], vec![2, 1]));
    let forgotten = 5;
    advance(&mut rig, 5, Advance { forgotten, ..none });
    let completed = 2;
    advance(&mut rig, 6, Advance { completed, ..none });
    assert_eq!(kept(&rig), (vec![3, 7], vec![1]));
    assert_eq!(rig.waiting("$mqtt/ada").len(), 0);
    rig.next_segment();
    rig.rewrite_and_cut();
    assert_eq!(rig.rebuilt().session(session), rig.engine.session(session));
}

#[test]
fn sessions_of_other_doors_keep_no_packet_ids() {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    let session = rig.session(1, 1000);
    rig.receive(queue, Some(origin(session, 1)), 7);
    assert_eq!(rig.engine.session(session).unwrap().received, [0; 0]);
}

fn group(rig: &mut Rig) -> QueueId {
    rig.define_with("$share/g/a", |def| {
        def.bindings = vec!["a".into()];
        def.linger_ms = 1000;
    })
}

fn deleted(errands: &[Errand]) -> bool {
    errands.iter().any(|it| matches!(it, Errand::Delete(_)))
}

#[test]
fn a_queue_that_lingers_goes_when_nobody_has_consumed_from_it_for_long_enough() {
    let mut rig = Rig::new();
    let queue = group(&mut rig);
    let consumer = rig.consumer(queue, 1);
    rig.now += 5000;
    assert!(!deleted(&rig.errands()));
    rig.engine.remove_consumer(consumer);
    rig.errands();
    rig.now += 999;
    assert!(!deleted(&rig.errands()));
    // Somebody came in time, and the time begins anew.
    let consumer = rig.consumer(queue, 1);
    rig.now += 5000;
    rig.errands();
    rig.engine.remove_consumer(consumer);
    assert!(!deleted(&rig.errands()));
    rig.now += 1000;
    assert!(deleted(&rig.errands()));
    assert!(rig.engine.queue(queue).is_none());
}

/// Whoever came and went between two looks left the old end standing.
#[test]
fn a_consumer_that_comes_and_goes_between_two_looks_begins_the_time_anew() {
    let mut rig = Rig::new();
    let queue = group(&mut rig);
    rig.errands();
    rig.now += 999;
    let consumer = rig.consumer(queue, 1);
    rig.engine.remove_consumer(consumer);
    rig.now += 1;
    assert!(!deleted(&rig.errands()));
    rig.now += 1000;
    assert!(deleted(&rig.errands()));
}

#[test]
fn nobody_consumes_from_a_queue_that_is_about_to_go() {
    let mut rig = Rig::new();
    let queue = group(&mut rig);
    rig.engine.take_errands(rig.time(), 16);
    rig.now += 1000;
    let errands = rig.engine.take_errands(rig.time(), 16);
    assert!(deleted(&errands));
    let late = rig.engine.add_consumer(queue, false, None);
    assert_eq!(late, Err(Refusal::NoRoute));
}

#[test]
fn a_session_that_is_expected_back_keeps_what_its_group_shares() {
    let mut rig = Rig::new();
    let queue = group(&mut rig);
    let session = rig.mqtt_session(1, 60_000);
    rig.subscribe(session, 1, shared("a", queue));
    rig.engine
        .add_consumer(queue, false, Some((session, "s/g/a".into())))
        .unwrap();
    rig.restart();
    rig.now += 5000;
    assert!(!deleted(&rig.errands()));
    let resumed = rig.engine.resume_consumers(session);
    assert_eq!(resumed.len(), 1);
    assert_eq!((&*resumed[0].name, resumed[0].queue), ("s/g/a", queue));
    rig.unsubscribe(session, 0, ("g", "a"));
    rig.errands();
    rig.now += 1000;
    assert!(deleted(&rig.errands()));
    let number = rig.engine.session_number(Uuid::from_u128(1)).unwrap();
    assert_eq!(filters(&rig, number), []);
}
