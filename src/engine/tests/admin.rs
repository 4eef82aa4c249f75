//! What administrators see and take, and what a pause does.

use restante_storage::payload::Paused;
use restante_storage::{Draft, Kind, Offset, QueueId, Source};

use super::rig::{Rig, numbers, offsets};
use crate::engine::{Blocked, Cause, Errand, Standing, Wanted};

const ALL: Wanted = Wanted::Range(Offset::new(0), Offset::new(u64::MAX - 1), 10_000);

fn rig_with(messages: u64) -> (Rig, QueueId) {
    let mut rig = Rig::new();
    let queue = rig.define("q");
    rig.enqueue(queue, messages);
    (rig, queue)
}

fn paused(by: &str) -> Option<Paused> {
    Some(Paused {
        by: by.into(),
        since: 7,
        reason: "because".into(),
    })
}

fn range(first: u64, last: u64) -> Wanted {
    Wanted::Range(Offset::new(first), Offset::new(last), 10_000)
}

#[test]
fn a_paused_queue_takes_messages_and_gives_none_over_a_restart() {
    for with_store in [true, false] {
        let (mut rig, queue) = rig_with(1);
        rig.redefine(queue, |def| def.paused = paused("eve"));
        let revision = rig.definition(queue).revision;
        rig.consumer(queue, 10);
        rig.enqueue(queue, 1);
        assert_eq!(rig.offsets(), [0; 0]);
        if with_store {
            rig.checkpoint();
        }
        rig.restart();
        rig.consumer(queue, 10);
        assert_eq!(rig.offsets(), [0; 0]);
        assert_eq!(rig.definition(queue).revision, revision);
        assert_eq!(rig.definition(queue).paused, paused("eve"));
        rig.redefine(queue, |def| def.paused = None);
        assert_eq!(rig.offsets(), [1, 2], "at once");
    }
}

#[test]
fn what_waits_in_a_paused_queue_still_expires() {
    let (mut rig, queue) = rig_with(1);
    rig.redefine(queue, |def| {
        def.paused = paused("eve");
        def.ttl_ms = 5;
    });
    rig.now += 10;
    rig.errands();
    assert_eq!(rig.waiting("q"), []);
}

#[test]
fn a_new_limit_holds_for_what_waits() {
    let (mut rig, queue) = rig_with(3);
    rig.settle(queue, |it| it.released = vec![1, 2]);
    rig.settle(queue, |it| it.released = vec![2, 2]);
    rig.redefine(queue, |def| def.max_attempts = 2);
    rig.errands();
    assert_eq!(rig.waiting("q"), [(1, 1, false), (3, 0, false)]);
    rig.now += 100;
    rig.redefine(queue, |def| def.ttl_ms = 50);
    rig.errands();
    assert_eq!(rig.waiting("q"), []);
}

#[test]
fn a_revision_changes_with_the_definition_and_with_nothing_else() {
    let (mut rig, queue) = rig_with(0);
    let mut revisions = vec![rig.definition(queue).revision];
    assert_eq!(revisions, [queue.get()]);
    let next = |rig: &mut Rig| rig.definition(queue).revision;
    rig.redefine(queue, |def| def.ttl_ms = 9);
    revisions.push(next(&mut rig));
    rig.bind(queue, "x/+", true);
    revisions.push(next(&mut rig));
    rig.bind(queue, "x/+", true);
    assert_eq!(revisions.last(), Some(&next(&mut rig)), "it was bound");
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    rig.enqueue(queue, 3);
    rig.rewrite_and_cut();
    assert_eq!(revisions.last(), Some(&next(&mut rig)), "written again");
    rig.restart();
    assert_eq!(revisions.last(), Some(&next(&mut rig)), "after a restart");
    let rebuilt = rig.rebuilt();
    let def = rebuilt.queues.get(&queue).and_then(|it| it.def.as_deref());
    assert_eq!(def, Some(&rig.definition(queue)), "from a cut log");
}

#[test]
fn what_is_claimed_is_delivered_to_nobody_and_comes_back_in_its_place() {
    let (mut rig, queue) = rig_with(6);
    let consumer = rig.consumer(queue, 1);
    assert_eq!(rig.offsets(), [1]);
    let claim = rig.engine.claim(queue, &range(1, 4)).unwrap();
    assert_eq!(claim.claimed, offsets(2..=4));
    assert_eq!((claim.left, claim.next), (1, None));
    assert_eq!(rig.engine.claim(queue, &range(2, 4)).unwrap().left, 3);
    rig.engine.credit(consumer, 2);
    assert_eq!(rig.offsets(), [5]);
    rig.settle(queue, |it| it.dropped = vec![2, 2]);
    rig.engine.unclaim(queue, &offsets(2..=4));
    rig.engine.credit(consumer, 10);
    assert_eq!(rig.offsets(), [3, 4, 6]);
    assert_eq!(rig.engine.take_dropped(), [], "that is for others to count");
}

/// A client that comes back after a crash may release or reject what was claimed meanwhile.
#[test]
fn what_is_claimed_stays_so_whatever_a_client_says() {
    let (mut rig, queue) = rig_with(3);
    rig.redefine(queue, |def| def.dead_letter = Some("dead".into()));
    let dead = rig.define("dead");
    rig.engine.claim(queue, &ALL).unwrap();
    rig.settle(queue, |it| it.released = vec![1, 1]);
    rig.settle(queue, |it| it.rejected = vec![2, 2]);
    rig.settle(queue, |it| it.accepted = vec![3, 3]);
    rig.consumer(queue, 10);
    assert_eq!(rig.offsets(), [0; 0]);
    assert_eq!(rig.errands(), []);
    rig.engine.unclaim(queue, &offsets(1..=3));
    assert_eq!(rig.offsets(), [1]);
    rig.errands();
    assert_eq!(rig.waiting("dead").len(), 1);
    assert!(rig.engine.queue(dead).is_some());
}

#[test]
fn what_is_moved_leaves_with_the_record_that_brings_it() {
    let (mut rig, queue) = rig_with(2);
    let other = rig.define("other");
    let claim = rig.engine.claim(queue, &ALL).unwrap();
    let source = Source {
        queue,
        offset: claim.claimed[0],
    };
    let envelope = restante_storage::payload::Envelope::default();
    rig.append(&Draft {
        source: Some(source),
        targets: &[other],
        ..Draft::new(Kind::Enqueue, rig.time(), &envelope)
    });
    assert_eq!((rig.waiting("q").len(), rig.waiting("other").len()), (1, 1));
    rig.restart();
    assert_eq!((rig.waiting("q").len(), rig.waiting("other").len()), (1, 1));
    rig.consumer(queue, 1);
    assert_eq!(rig.offsets(), [2], "after a crash nothing is claimed");
}

#[test]
fn looking_changes_nothing() {
    let (mut rig, queue) = rig_with(5000);
    rig.redefine(queue, |def| def.dead_letter = Some("dead".into()));
    rig.consumer(queue, 2);
    rig.deliveries();
    rig.settle(queue, |it| it.rejected = vec![4, 4]);
    rig.engine.claim(queue, &range(5, 5)).unwrap();
    rig.checkpoint();
    let resident = |rig: &Rig| {
        let chunks = rig.engine.queues[&queue].chunks().unwrap().values();
        chunks.filter(|chunk| chunk.is_resident()).count()
    };
    let (before, rows) = (resident(&rig), rig.store.rows());
    assert!(before < 4, "{before} chunks are in memory");
    let (mut seen, mut at) = (Vec::new(), Some(Offset::new(0)));
    while let Some(from) = at {
        let wanted = Wanted::Range(from, Offset::new(4999), 700);
        let looked = rig.engine.look(queue, &wanted).unwrap();
        assert!(looked.sights.len() <= 700);
        seen.extend(looked.sights);
        at = looked.next;
        assert_eq!(resident(&rig), before);
    }
    assert_eq!(seen.len(), 4999);
    let standing: Vec<Standing> = seen.iter().take(6).map(|it| it.standing).collect();
    let (unsettled, ready) = (Standing::Unsettled, Standing::Ready);
    let leaving = Standing::Leaving;
    assert_eq!(
        standing,
        [unsettled, unsettled, ready, leaving, leaving, ready]
    );
    rig.checkpoint();
    let changed = |key: &[u8]| !key.starts_with(b"m/");
    let differ = rig.store.rows().into_iter().filter(|(key, _)| changed(key));
    assert!(differ.eq(rows.into_iter().filter(|(key, _)| changed(key))));
}

#[test]
fn gauges_say_how_a_queue_stands() {
    let (mut rig, queue) = rig_with(3);
    rig.now += 50;
    rig.enqueue(queue, 1);
    rig.consumer(queue, 2);
    let gauges = |rig: &mut Rig| {
        rig.deliveries();
        let gauges = &rig.engine.queue(queue).unwrap().gauges;
        let read =
            |gauge: &std::sync::atomic::AtomicU64| gauge.load(std::sync::atomic::Ordering::Relaxed);
        let now = [
            &gauges.messages,
            &gauges.in_flight,
            &gauges.consumers,
            &gauges.next,
        ];
        (now.map(read), gauges.oldest().map(|it| it.get()))
    };
    let begun = rig.now - 50;
    assert_eq!(gauges(&mut rig), ([4, 2, 1, 5], Some(begun)));
    rig.accept(queue, 2, 2);
    assert_eq!(gauges(&mut rig), ([3, 1, 1, 5], Some(begun)));
    rig.accept(queue, 1, 3);
    assert_eq!(gauges(&mut rig), ([1, 0, 1, 5], Some(begun + 50)));
    rig.checkpoint();
    rig.restart();
    assert_eq!(gauges(&mut rig), ([1, 0, 0, 5], Some(begun + 50)));
    rig.accept(queue, 4, 4);
    assert_eq!(gauges(&mut rig), ([0, 0, 0, 5], None));
}

#[test]
fn what_cannot_be_read_goes_to_the_dead_letter_address_or_is_dropped() {
    for dead_letter in [Some("dead".to_owned()), None] {
        let (mut rig, queue) = rig_with(2);
        rig.redefine(queue, |def| def.dead_letter.clone_from(&dead_letter));
        rig.define("dead");
        let consumer = rig.consumer(queue, 1);
        assert_eq!(rig.offsets(), [1]);
        rig.engine
            .undelivered(consumer, queue, Offset::new(1), true);
        assert_eq!(rig.offsets(), [2], "the credit is there again");
        let errands = rig.errands();
        assert!(matches!(&errands[0], Errand::Settle(it) if it.unreadable == [1, 1]));
        match dead_letter {
            Some(_) => {
                assert!(matches!(&errands[1], Errand::Move(it) if it.cause == Cause::Unreadable));
                assert_eq!(rig.waiting("dead").len(), 1);
            }
            None => assert_eq!(rig.engine.take_dropped(), [(queue, Cause::Unreadable)]),
        }
        assert_eq!(rig.waiting("q"), [(2, 0, false)]);
        assert_eq!(rig.rebuilt().all_rows(), rig.engine.all_rows());
    }
}

/// What keeps the queue from moving once `make` has done its part.
fn check(expected: impl FnOnce(&Rig) -> Blocked, make: impl FnOnce(&mut Rig, QueueId)) {
    let (mut rig, queue) = rig_with(3);
    make(&mut rig, queue);
    rig.deliveries();
    let expected = expected(&rig);
    assert_eq!(rig.engine.why(queue), Some(expected));
}

#[test]
fn why_names_the_one_thing() {
    use crate::engine::ConsumerId;
    let (first, second) = (ConsumerId(1), ConsumerId(2));
    check(
        |_| Blocked::Empty,
        |rig, queue| assert_eq!(rig.accept(queue, 1, 3), None),
    );
    check(
        |_| Blocked::Paused(paused("eve").unwrap()),
        |rig, queue| rig.redefine(queue, |def| def.paused = paused("eve")),
    );
    check(|_| Blocked::NoConsumer, |_, _| {});
    check(
        |_| Blocked::Leaving,
        |rig, queue| {
            rig.redefine(queue, |def| def.dead_letter = Some("dead".into()));
            rig.consumer(queue, 10);
            rig.engine.claim(queue, &range(2, 2)).unwrap();
            rig.settle(queue, |it| it.rejected = vec![1, 1, 3, 3]);
        },
    );
    check(
        |_| Blocked::AllUnsettled(vec![(first, 2), (second, 1)]),
        |rig, queue| {
            rig.consumer(queue, 2);
            rig.deliveries();
            rig.consumer(queue, 10);
        },
    );
    check(
        |_| Blocked::Away(vec![first]),
        |rig, queue| {
            let session = rig.session(1, 1000);
            let consumer = rig.consume(session, 1, "c", queue);
            rig.engine.credit(consumer, 1);
            rig.deliveries();
            let at = rig.time().saturating_add(1000);
            rig.detach(session, at);
        },
    );
    check(
        |_| Blocked::NoCredit(vec![first, second]),
        |rig, queue| {
            rig.consumer(queue, 1);
            rig.consumer(queue, 1);
        },
    );
    check(
        |_| Blocked::ComingBack(Offset::new(1)),
        |rig, queue| {
            let gone = rig.consumer(queue, 1);
            rig.deliveries();
            rig.consumer(queue, 10);
            rig.engine.remove_consumer(gone);
        },
    );
    let (mut rig, queue) = rig_with(3);
    rig.consumer(queue, 3);
    assert_eq!(rig.engine.why(queue), Some(Blocked::Moving));
    rig.delete(queue);
    assert_eq!(rig.engine.why(queue), None);
}

#[test]
fn idle_consumers_cost_nothing_and_keep_their_turn() {
    let (mut rig, queue) = rig_with(0);
    let consumers: Vec<_> = (0..1000).map(|_| rig.consumer(queue, 0)).collect();
    rig.engine.credit(consumers[500], 2);
    rig.engine.credit(consumers[10], 2);
    rig.enqueue(queue, 1);
    assert_eq!(rig.deliveries()[0].to, consumers[10]);
    rig.enqueue(queue, 3);
    let got = rig.deliveries();
    assert_eq!(numbers(&got), [2, 3, 4]);
    let to: Vec<_> = got.iter().map(|it| it.to).collect();
    assert_eq!(to, [consumers[500], consumers[10], consumers[500]]);
    assert!(rig.engine.queues[&queue].live.willing.is_empty());
}

#[test]
fn a_look_at_scattered_messages_reads_a_few_chunks_and_says_where_to_go_on() {
    let (mut rig, queue) = rig_with(30 * 1024);
    rig.checkpoint();
    let scattered: Vec<Offset> = (1..30).map(|n| Offset::new(n * 1024 - 1)).collect();
    let mut left = scattered.as_slice();
    let mut seen = Vec::new();
    loop {
        let before = rig.store.n_loaded();
        let wanted = Wanted::These(left.to_vec());
        let looked = rig.engine.look(queue, &wanted).unwrap();
        assert!(rig.store.n_loaded() - before <= 8);
        seen.extend(looked.sights.iter().map(|it| it.offset));
        let Some(next) = looked.next else { break };
        left = &scattered[scattered.partition_point(|it| *it < next)..];
    }
    assert_eq!(seen, scattered);
}
